"""What lies in the datastore, on real hosts: several writers, one writer, and a mesh that gives way."""

from tests.integration import fleet as fleets

SECOND = "172.21.0.0/16"


def network(fleet, **more):
    pools = fleet.lab.pillar()["network"]["pools"]
    return {"network": {"pools": [*pools, {"cidr": SECOND, "nat_outgoing": False}], **more}}


def test_three_minions_that_write_at_once_end_in_the_same_state(fleet):
    settings = {"felix": {"LogSeverityScreen": "warning"}, "bgp": {"log_level": "warning"}}
    settings["peers"] = [{"peer_ip": "100.64.0.9", "as_number": 64999}]
    # Nobody is there: the gate must not wait for it.
    fleet.pillar({**network(fleet, **settings), "ready": {"timeout": 2}})
    for name, states in fleet.apply().items():
        failed = {each for each, state in states.items() if state["result"] is False}
        assert failed == {"The node is ready"}, f"{name}: {states.failures}"
        assert "100.64.0.9" in states["The node is ready"]["comment"]
    found = fleet.ask(fleet.hosts[0], "pools")[0]
    assert SECOND in str(found) and len(found) == 2
    with fleet.untouched():
        for states in fleet.apply().values():
            assert states.changed == set()

    # What was declared and is no longer: gone with `prune`, and only then.
    fleet.lab.master_pillar({"ready": {"timeout": 2}})
    assert all(states.changed <= {"calico-node is running"} for states in fleet.apply().values())
    fleet.lab.master_pillar({"network": {"prune": True}})
    changed = set().union(*(states.changed for states in fleet.converge().values()))
    assert {"IP pools are in the datastore", "No other BGP peers are in the datastore"} <= changed
    assert len(fleet.ask(fleet.hosts[0], "pools")[0]) == 1
    fleets.ready(fleet)


def test_only_the_minions_that_are_named_write(fleet):
    writer, other = fleet.hosts[:2]
    fleet.pillar({**network(fleet, managed_by=f"L@{writer.name}"), "ready": {"timeout": 60}})
    with fleet.untouched():
        states = fleet.converge(other)[other.name]
        assert "IP pools are in the datastore" not in states.changed
        assert "calico:network:managed_by" in states["IP pools are in the datastore"]["comment"]
    states = fleet.converge(writer)[writer.name]
    assert "IP pools are in the datastore" in states.changed
    fleet.lab.master_pillar({"network": {"prune": True}})
    fleet.converge(writer)


def test_what_would_cut_workloads_off_is_refused(fleet, host):
    fleet.pillar({"network": {"mesh": False}})
    for test in (True, False):
        with fleet.untouched(host):
            states = fleet.apply(host, test=test)[host.name]
        assert states.retcode or test
        assert "no_sessions" in states.failures and "mesh" in states.failures
    (pool,) = fleet.lab.pillar()["network"]["pools"]
    fleet.lab.master_pillar(
        {"network": {"pools": [{"cidr": SECOND}], "prune": True, "managed_by": host.name}}
    )
    with fleet.untouched(host):
        states = fleet.apply(host, test=True)[host.name]
    assert "pool_in_use" in states.failures and pool["cidr"] in states.failures
