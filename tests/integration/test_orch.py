"""``salt-run state.orch calico.orch.…``: what takes more than one host, while packets flow."""

import contextlib
import json

import pytest

from tests.integration import fleet as fleets
from tests.lab import workloads

BROKEN = "tar --create --files-from=/dev/null | docker import - {}"


pytestmark = [pytest.mark.matrix, pytest.mark.usefixtures("runner")]


def orchestrate(fleet, name, test=False, **arguments):
    """(the state's return, `salt-run`'s exit code, what it said meanwhile)."""
    pillar = f"pillar={json.dumps({name: arguments})}"
    command = ["--out=json", "state.orch", f"calico.orch.{name}", pillar, f"test={test}"]
    done = fleet.lab.master.cli(*command, program="salt-run", timeout=1200)
    # Where a target matches nobody, Salt itself prints a line before the rest.
    (states,) = json.loads(done.stdout[done.stdout.index("{") :])["data"].values()
    (state,) = states.values()
    return state, done.returncode, done.stderr


@contextlib.contextmanager
def everyone_pinging(fleet):
    """A hundred pings a second from the workload of each host to that of the next."""
    ways = list(zip(fleet.hosts, fleet.hosts[1:] + fleet.hosts[:1], strict=True))
    with contextlib.ExitStack() as stack:
        pings = {}
        for here, there in ways:
            pings[here.name, there.name] = stack.enter_context(fleets.pinging(fleet, here, there))
        yield pings


def lost(pings):
    return {way: found.lost for way, found in pings.items() if found.lost}


def image_of(fleet, host):
    return fleets.inspect(host)["Config"]["Image"]


def newer(fleet):
    """A newer release: its image is on no host yet."""
    image = image_of(fleet, fleet.hosts[0])
    return image, f"{image.rpartition(':')[0]}:{fleet.generation.newer}"


def tag(host, image, name):
    host.exec(["docker", "tag", image, name])


def want(fleet, name, **more):
    fleet.pillar({"version": name.rpartition(":")[2], "ready": {"timeout": 60}, **more})


def test_an_upgrade_loses_no_packet_and_a_failure_leaves_the_rest_alone(fleet):
    image, name = newer(fleet)
    first, second, third = fleet.hosts
    tag(first, image, name)
    tag(third, image, name)
    second.exec(BROKEN.format(name))
    want(fleet, name)

    with fleet.untouched(), everyone_pinging(fleet) as pings:
        state, code, _said = orchestrate(fleet, "upgrade", test=True)
    assert (state["result"], code) == (None, 0), state["comment"]
    assert "batch 2 of 3: node2" in state["comment"]
    assert set(state["changes"]) == {"node1", "node2", "node3"}

    # The image on the second host cannot run.
    with everyone_pinging(fleet) as pings, fleet.untouched(third, datastore=False):
        state, code, said = orchestrate(fleet, "upgrade")
    assert (state["result"], code) == (False, 1), state["comment"]
    assert "batch 1 of 3: node1" in said and "batch 2 of 3: node2" in said and "batch 3" not in said, state[
        "comment"
    ]
    assert "Stopped at node2:" in state["comment"] and "Untouched: node3" in state["comment"]
    assert set(state["changes"]) == {"node1", "node2"}
    assert image_of(fleet, first) == name and image_of(fleet, third) == image
    assert lost(pings) == {}

    # Put right, it goes on there: the first host is not touched again. systemd would start the second one by
    # itself as soon as the image is a good one, and there might be nothing left to do there.
    second.exec("systemctl stop calico-node")
    tag(second, image, name)
    with everyone_pinging(fleet) as pings, fleet.untouched(first, datastore=False):
        state, code, said = orchestrate(fleet, "upgrade")
    assert (state["result"], code) == (True, 0), state["comment"]
    assert "batch 1 of 2: node2" in said and "batch 2 of 2: node3" in said
    assert "Upgraded: node2, node3" in state["comment"]
    assert all(image_of(fleet, host) == name for host in fleet.hosts)
    assert lost(pings) == {}

    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "upgrade")
    assert (state["result"], code, state["changes"]) == (True, 0, {})


def test_an_image_that_cannot_be_had_stops_it_before_the_first_restart(fleet):
    image, name = newer(fleet)
    for host in fleet.hosts:
        host.exec(["docker", "rmi", name], check=False)
    tag(fleet.hosts[0], image, name)
    want(fleet, name)
    with fleet.untouched():
        state, code, said = orchestrate(fleet, "upgrade", batch="100%")
    assert (state["result"], code) == (False, 1), state["comment"]
    assert "batch" not in said
    assert f"holds no image {name}" in state["comment"]
    assert "Untouched: node1, node2, node3" in state["comment"]
    fleet.harmed = False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch": "0"}, "batch: got '0'; accepted: a number of hosts from 1"),
        ({"tgt": "nobody*"}, "matches no minion"),
        ({"version": "v1.2.3"}, "version: got 'v1.2.3', but the pillar of node1, node2, node3 says"),
        ({"speed": 3}, "speed"),
    ],
)
def test_what_was_asked_in_a_wrong_way(fleet, arguments, words):
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "upgrade", **arguments)
    assert (state["result"], code) == (False, 1), state["comment"]
    assert words in state["comment"]
    assert "Traceback" not in state["comment"]
    fleet.harmed = False


def test_a_host_that_gives_no_answer_and_one_that_is_not_fit(fleet):
    image, name = newer(fleet)
    gone = fleet.hosts[2]
    for host in fleet.hosts:
        tag(host, image, name)
    want(fleet, name, cni={"plugins": {"source": "salt://nowhere.tgz", "source_hash": "sha256=" + "0" * 64}})
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "upgrade")
    assert (state["result"], code) == (False, 1), state["comment"]
    assert "node3: calico:cni:plugins:source: the master has no file" in state["comment"]
    gone.exec("systemctl stop salt-minion")
    fleet.undo.callback(fleet.lab.master.wait_for, [gone.name])
    fleet.undo.callback(gone.exec, "systemctl start salt-minion")
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "upgrade", timeout=10)
    assert (state["result"], code) == (False, 1), state["comment"]
    assert "no answer from node3" in state["comment"]
    fleet.harmed = False


def test_a_pillar_that_changes_more_than_the_release(fleet):
    image, name = newer(fleet)
    for host in fleet.hosts:
        tag(host, image, name)
    # A level that no other test leaves behind: settings that no pillar names any longer stay as they are.
    want(fleet, name, network={"bgp": {"log_level": "debug"}})
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "upgrade")
    assert (state["result"], code) == (False, 1), state["comment"]
    assert "the pillar also changes what the datastore holds for all: bgp" in state["comment"]
    fleet.harmed = False


# --- pools -----------------------------------------------------------------------------------------

SECOND = "172.21.0.0/16"


def test_a_pool_gives_way_to_another(fleet):
    (pool,) = fleet.lab.pillar()["network"]["pools"]
    old = pool["cidr"]
    fleet.pillar({"network": {"pools": [{**pool, "cidr": SECOND}]}})
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "pool_migration", test=True)
    assert (state["result"], code) == (None, 0), state["comment"]

    with everyone_pinging(fleet) as pings:
        state, code, _said = orchestrate(fleet, "pool_migration")
    assert (state["result"], code) == (True, 0), state["comment"]
    assert f"{old} is still used by:" in state["comment"]
    for host in fleet.hosts:
        assert f"{host.name}: " in state["comment"]
    pools = {each["cidr"]: each for each in fleet.ask(fleet.hosts[0], "pools_used")[0]}
    assert pools[old]["disabled"] and not pools[SECOND]["disabled"]
    # Nothing of the old one was changed but that.
    (resource,) = [each for each in fleet.ask(fleet.hosts[0], "pools")[0] if old in json.dumps(each)]
    assert resource["spec"].get("natOutgoing", resource["spec"].get("nat-outgoing")) is True
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "pool_migration")
    assert (state["result"], code, state["changes"]) == (True, 0, {}), state["comment"]
    assert lost(pings) == {}

    for host in fleet.hosts:
        for name in ("w1", "w2"):
            workloads.detach(fleet.lab, host, name)
    state, code, _said = orchestrate(fleet, "pool_migration")
    assert (state["result"], code) == (True, 0), state["comment"]
    assert [each["cidr"] for each in fleet.ask(fleet.hosts[0], "pools_used")[0]] == [SECOND]
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "pool_migration")
    assert "No pool is to go" in state["comment"]
    fleet.lab.master_pillar({"network": {"prune": True}})
    fleet.converge()


def test_a_pool_that_the_pillar_wants_does_not_go(fleet):
    (pool,) = fleet.lab.pillar()["network"]["pools"]
    with fleet.untouched():
        state, code, _said = orchestrate(fleet, "pool_migration", old=pool["cidr"])
    assert (state["result"], code) == (False, 1)
    assert f"the pillar lists {pool['cidr']} as enabled" in state["comment"]
    fleet.harmed = False
