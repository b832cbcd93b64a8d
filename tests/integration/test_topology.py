"""``salt-run state.orch calico.orch.topology``: on four hosts, there and back, while packets flow."""

import pytest

from tests.integration import fleet as fleets
from tests.integration.test_orch import everyone_pinging, lost, orchestrate
from tests.lab import workloads
from tests.support.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.usefixtures("runner")]

REFLECTOR = {"labels": {"reflector": "yes"}, "route_reflector_cluster_id": "244.0.0.1"}
NONE_ANY_LONGER = {"labels": {"reflector": None}}


@pytest.fixture
def four(fleet):
    """A fourth host beside the three."""
    host = fleet.lab.add_host()
    fleet.undo.callback(decommission, fleet, host.name)
    fleet.undo.callback(fleet.lab.remove_host, host)
    fleet.undo.callback(workloads.detach, fleet.lab, host, "w1")
    fleet.converge()
    fleet.attach_workloads()
    return fleet


def decommission(fleet, name):
    done = fleet.lab.master.cli("calico.decommission", name, "test=False", program="salt-run")
    assert done.returncode == 0, done.stdout


def reflected(fleet, *names):
    """Pillar of the hosts, where these are reflectors and the mesh is off."""
    peers = [{"name": "to-reflectors", "node_selector": "all()", "peer_selector": "reflector == 'yes'"}]
    hosts = {name: {"node": REFLECTOR} for name in names}
    fleet.pillar({"network": {"mesh": False, "peers": peers}, "ready": {"timeout": 60}}, **hosts)


def in_racks(fleet):
    """A reflector for each rack, and a session between the two."""
    within = [
        {
            "name": f"rack-{rack}",
            "node_selector": f"rack == '{rack}'",
            "peer_selector": f"rack == '{rack}' && reflector == 'yes'",
        }
        for rack in (1, 2)
    ]
    between = {"name": "racks", "node_selector": "has(reflector)", "peer_selector": "has(reflector)"}
    hosts = {}
    for name, rack in (("node1", "1"), ("node2", "1"), ("node3", "2"), ("node4", "2")):
        hosts[name] = {"node": {"labels": {"rack": rack}}}
        if name in ("node2", "node3"):
            hosts[name]["node"]["labels"]["reflector"] = "yes"
            hosts[name]["node"]["route_reflector_cluster_id"] = f"244.0.0.{rack}"
    network = {"mesh": False, "peers": [*within, between], "prune": True}
    fleet.pillar({"network": network, "ready": {"timeout": 60}}, **hosts)


def meshed(fleet, *names):
    hosts = {name: {"node": NONE_ANY_LONGER} for name in names}
    fleet.pillar({"network": {"mesh": True, "prune": True}, "ready": {"timeout": 60}}, **hosts)


def sessions(fleet, host):
    found, _code = fleet.ask(host, "peers")
    return sorted((each["type"], each["address"]) for each in found if each["established"])


def held(host):
    return host.exec("ip route show metric 42179").stdout.strip()


def rearranged(fleet, record_property, title):
    """The way to what the pillar says: nothing is lost, nothing is left over, a second run does nothing."""
    with everyone_pinging(fleet) as pings:
        state, code, said = orchestrate(fleet, "topology")
    assert (state["result"], code) == (True, 0), state["comment"]
    sent = sum(found.sent for found in pings.values())
    assert lost(pings) == {}
    record_property("figure", f"{title}, {len(fleet.hosts)} hosts: 0 of {sent} pings lost")
    assert [held(host) for host in fleet.hosts] == [""] * len(fleet.hosts)
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "topology")
    assert (state["result"], code, state["changes"]) == (True, 0, {}), state["comment"]
    return said


def neighbours(fleet):
    names = {host.address: host.name for host in fleet.hosts}
    return {
        host.name: sorted(names[address] for _type, address in sessions(fleet, host)) for host in fleet.hosts
    }


def test_from_a_mesh_to_reflectors_to_racks_and_to_a_mesh_again(four, record_property):
    started = {host.name: fleets.starts(host) for host in four.hosts}
    reflected(four, "node2", "node3")
    with four.untouched():
        state, code, _said = orchestrate(four, "topology", test=True)
    assert (state["result"], code) == (None, 0), state["comment"]
    assert set(state["changes"]) == {"to-reflectors", "node2", "node3", "default"}
    said = rearranged(four, record_property, "mesh to reflectors")
    assert "stage 4 of 4: the node-to-node mesh is switched off" in said
    everyone = ["node1", "node2", "node3", "node4"]
    assert neighbours(four) == {
        "node1": ["node2", "node3"],
        "node2": ["node1", "node3", "node4"],
        "node3": ["node1", "node2", "node4"],
        "node4": ["node2", "node3"],
    }
    # What the formula itself says of it: nothing is left to do.
    for states in four.apply().values():
        assert states.good and states.changed == set()

    in_racks(four)
    rearranged(four, record_property, "reflectors to racks")
    assert neighbours(four) == {
        "node1": ["node2"],
        "node2": ["node1", "node3"],
        "node3": ["node2", "node4"],
        "node4": ["node3"],
    }

    meshed(four, "node2", "node3")
    rearranged(four, record_property, "racks to mesh")
    assert neighbours(four) == {name: [other for other in everyone if other != name] for name in everyone}
    # Nothing of it was restarted.
    assert {host.name: fleets.starts(host) for host in four.hosts} == started


def test_a_run_that_was_stopped_goes_on(fleet, record_property):
    first, second, third = fleet.hosts
    reflected(fleet, "node2")
    cut = f"INPUT -p tcp -m multiport --ports 179 -s {third.address} -j DROP"
    with everyone_pinging(fleet) as pings:
        # The peers are there already when the one that is to be the reflector loses a neighbour.
        second.exec(f"iptables -I {cut}")
        state, code, _said = orchestrate(fleet, "topology", timeout=5)
        assert (state["result"], code) == (False, 1), state["comment"]
        assert "Stopped at: node2 becomes a route reflector" in state["comment"]
        assert f"no session with {third.address}" in state["comment"]
        assert "Not begun: the node-to-node mesh is switched off" in state["comment"]
        assert len(held(first).splitlines()) == 2
        # Again, while it is still cut: nothing more is taken away.
        with fleet.untouched(first, datastore=True):
            state, code, _said = orchestrate(fleet, "topology", timeout=5)
        assert (state["result"], code) == (False, 1), state["comment"]
        second.exec(f"iptables -D {cut}")
        state, code, said = orchestrate(fleet, "topology")
        assert (state["result"], code) == (True, 0), state["comment"]
        assert "stage 1 of 1: the node-to-node mesh is switched off" in said
    assert lost(pings) == {}
    sent = sum(found.sent for found in pings.values())
    record_property("figure", f"stopped half-way, and gone on with: 0 of {sent} pings lost")
    meshed(fleet, "node2")
    rearranged(fleet, record_property, "and back")


def test_a_mesh_that_nothing_takes_the_place_of(fleet):
    fleet.pillar({"network": {"mesh": False}})
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "topology")
    assert (state["result"], code) == (False, 1), state["comment"]
    assert "3 nodes would have no BGP session left for IPv4" in state["comment"]
    fleet.harmed = False


def test_routes_that_nobody_releases_go_by_themselves(fleet, host):
    assert fleet.ask(host, "hold_routes", 15) == (2, 0)
    assert len(held(host).splitlines()) == 2
    until(lambda: held(host) == "", "held routes are gone")
    fleet.ask(host, "hold_routes", 600)
    # What the formula sees of routes is not changed by the copies.
    assert len(fleet.ask(host, "routes")[0]["blocks"]) == 3
    assert fleet.ask(host, "release_routes") == (2, 0)
    assert "calico-routes-held" not in host.exec("systemctl list-timers --all").stdout
    assert fleet.ask(host, "release_routes") == (0, 0)
    fleet.harmed = False
