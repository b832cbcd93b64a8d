"""From one BGP topology to another: the order of what is written, what is refused, what the runner does."""

import calico_hold
import calico_host
import calico_plan
import calico_rearrange
import calico_safety
import calico_topology
import pytest

from _runners import calico_orch
from tests.support import work

V3 = "projectcalico.org/v3"
PEERS = [{"name": "to-reflectors", "node_selector": "all()", "peer_selector": "has(reflector)"}]
BECOMES = "%s becomes a route reflector of cluster 244.0.0.1"
LEAVES = "%s is a route reflector no longer"


def node(name, number, cluster_id=None, labels=None):
    bgp = {"ipv4Address": f"10.0.{number // 250}.{number % 250 + 1}/16"}
    if cluster_id:
        bgp["routeReflectorClusterID"] = cluster_id
    metadata = {"name": name, "labels": labels or {}, "resourceVersion": "1"}
    return {"apiVersion": V3, "kind": "Node", "metadata": metadata, "spec": {"bgp": bgp}}


def meshed(count):
    return calico_topology.from_v3([node(f"node{number}", number) for number in range(count)])


def wanted(count, reflectors=(), label="yes", cluster_id="244.0.0.1"):
    return [
        {
            "name": f"node{number}",
            "labels": {"reflector": label} if number in reflectors else None,
            "route_reflector_cluster_id": cluster_id if number in reflectors else "",
        }
        for number in range(count)
    ]


def plan(cluster, nodes, mesh, peers, **more):
    stages, refused, left = calico_rearrange.plan(cluster, nodes, {"mesh": mesh, "peers": peers}, **more)
    return [stage.title for stage in stages], refused, left


def carried_out(cluster, nodes, mesh, peers, count=None, **more):
    """The cluster when the first COUNT stages are done."""
    stages, _refused, _left = calico_rearrange.plan(cluster, nodes, {"mesh": mesh, "peers": peers}, **more)
    steps = [step for stage in stages[:count] for step in stage.steps]
    writes = [(step.current, step.resource) for step in steps if step.action != "delete"]
    deletes = [step.current for step in steps if step.action == "delete"]
    return calico_safety.after(cluster, writes, deletes)


@pytest.fixture
def reflected():
    return carried_out(meshed(4), wanted(4, {0, 1}), False, PEERS)


def test_what_adds_sessions_comes_first_and_the_mesh_goes_last():
    titles, refused, left = plan(meshed(4), wanted(4, {0, 1}), False, PEERS)
    assert titles == [
        calico_rearrange.PEERS,
        BECOMES % "node0",
        BECOMES % "node1",
        calico_rearrange.MESH_OFF,
    ]
    assert (refused, left) == ([], [])


def test_the_way_back(reflected):
    nodes = wanted(4)
    for words in nodes[:2]:
        words["labels"] = {"reflector": None}
    titles, refused, left = plan(reflected, nodes, True, [])
    assert titles == [calico_rearrange.MESH_ON, LEAVES % "node0", LEAVES % "node1"]
    assert (refused, left) == ([], ["to-reflectors"])
    titles, refused, left = plan(reflected, nodes, True, [], prune=True)
    assert (titles[-1], refused, left) == (calico_rearrange.PRUNE, [], [])
    # After that there is nothing left to do.
    assert plan(carried_out(reflected, nodes, True, [], prune=True), nodes, True, [], prune=True)[0] == []


@pytest.mark.parametrize("count", range(5))
def test_a_run_that_ended_anywhere_is_gone_on_with_or_taken_back(count):
    nodes = wanted(4, {0, 1})
    titles, _refused, _left = plan(meshed(4), nodes, False, PEERS)
    half = carried_out(meshed(4), nodes, False, PEERS, count)
    assert plan(half, nodes, False, PEERS)[:2] == (titles[count:], [])
    back = [dict(words, labels={"reflector": None}, route_reflector_cluster_id="") for words in nodes]
    assert plan(half, back, True, [], prune=True)[1] == []
    assert plan(carried_out(half, back, True, [], prune=True), back, True, [], prune=True)[0] == []


def test_what_may_bring_a_broken_cluster_back_waits_for_nobody(reflected):
    nodes = [dict(words, labels={"reflector": None}) for words in wanted(4)]
    stages, _refused, _left = calico_rearrange.plan(reflected, nodes, {"mesh": True, "peers": []}, True)
    assert [stage.careful for stage in stages] == [False, False, False, True]
    # With the mesh off, a reflector goes only when the others do their work.
    one = wanted(4, {1})
    one[0]["labels"] = {"reflector": None}
    stages, _refused, _left = calico_rearrange.plan(reflected, one, {"mesh": False, "peers": PEERS})
    assert [(stage.title, stage.careful) for stage in stages] == [(LEAVES % "node0", True)]


def test_a_reflector_that_takes_the_place_of_another_comes_before_it_goes(reflected):
    nodes = wanted(4, {1, 2})
    nodes[0]["labels"] = {"reflector": None}
    titles, refused, _left = plan(reflected, nodes, False, PEERS)
    assert (titles, refused) == ([BECOMES % "node2", LEAVES % "node0"], [])


def test_labels_that_choose_more_come_before_and_those_that_go_after():
    cluster = calico_topology.from_v3(
        [node("node0", 0), node("node1", 1, labels={"rack": "1"}), node("node2", 2)]
    )
    nodes = wanted(3, {0})
    nodes[1]["labels"] = {"rack": None}
    nodes[2]["labels"] = {"rack": "2"}
    titles, refused, _left = plan(cluster, nodes, False, PEERS)
    order = [
        calico_rearrange.PEERS,
        calico_rearrange.LABELS,
        BECOMES % "node0",
        calico_rearrange.UNLABELLED,
        calico_rearrange.MESH_OFF,
    ]
    assert (titles, refused) == (order, [])


def refusals(*arguments, **more):
    _titles, refused, _left = plan(*arguments, **more)
    return [item["seen"] for item in refused]


def test_a_change_that_cannot_be_brought_to_its_end_is_not_begun(reflected):
    assert refusals(meshed(3), wanted(3), False, []) == [
        "3 nodes would have no BGP session left for IPv4: node0, node1, node2"
    ]
    # The label was forgotten: node0 would be chosen by the peer and be in the mesh.
    assert refusals(reflected, wanted(4), True, []) == [
        "it chooses node0, node1, which the mesh connects with node2, node3 already"
    ]


def test_a_host_whose_node_has_never_registered():
    assert refusals(meshed(2), wanted(3, {0}), False, PEERS) == ["the datastore knows no such node"]


def test_reflectors_that_would_tell_each_other_nothing():
    clients_only = [dict(PEERS[0], node_selector="!has(reflector)")]
    apart = ["the reflectors node0 and node1 would have no session with each other: neither they nor their "]
    found = refusals(meshed(4), wanted(4, {0, 1}), False, clients_only)
    assert [text[: len(apart[0])] for text in found] == apart
    assert refusals(meshed(4), wanted(4, {0, 1}), False, clients_only, allow=["no_sessions"]) == []


def racks(first="244.0.0.1", second="244.0.0.2"):
    nodes = wanted(4)
    for number, words in enumerate(nodes):
        words["labels"] = {"rack": "12"[number // 2]}
    for words, cluster_id in ((nodes[0], first), (nodes[2], second)):
        words["labels"]["reflector"] = "yes"
        words["route_reflector_cluster_id"] = cluster_id
    peers = [
        {
            "name": f"rack-{rack}",
            "node_selector": f"rack == '{rack}'",
            "peer_selector": f"rack == '{rack}' && has(reflector)",
        }
        for rack in "12"
    ]
    between = {"name": "racks", "node_selector": "has(reflector)", "peer_selector": "has(reflector)"}
    return nodes, [*peers, between]


def test_racks_need_clusters_of_their_own():
    nodes, peers = racks()
    assert refusals(meshed(4), nodes, False, peers) == []
    nodes, peers = racks(second="244.0.0.1")
    assert refusals(meshed(4), nodes, False, peers) == [
        "the reflectors node0 and node2 have the same cluster id and not the same clients: neither takes the "
        "routes of node1, node3 from the other"
    ]


def test_a_reflector_alone_in_its_rack_changes_together_with_the_other():
    nodes, peers = racks()
    # Its own rack has no one else.
    cluster, nodes = calico_topology.from_v3([node(f"node{n}", n) for n in range(3)]), nodes[:3]
    together = "node%d becomes a route reflector of cluster 244.0.0.%d"
    titles, refused, _left = plan(cluster, nodes, False, peers)
    assert refused == [] and titles[2:4] == [together % (0, 1), together % (2, 2)]
    back = [dict(words, labels={"reflector": None}, route_reflector_cluster_id="") for words in nodes]
    titles, refused, _left = plan(carried_out(cluster, nodes, False, peers), back, True, [], prune=True)
    assert refused == []
    assert titles[1] == f"{LEAVES % 'node0'}, and with it: {LEAVES % 'node2'}"
    # It becomes one before there is another that it could have a session with.
    nodes[1]["labels"]["reflector"], nodes[0]["labels"] = "yes", {"rack": "1"}
    alone = [dict(nodes[2]), dict(nodes[0]), dict(nodes[1], route_reflector_cluster_id="244.0.0.1")]
    alone[1]["route_reflector_cluster_id"] = ""
    titles, refused, _left = plan(cluster, alone, False, peers)
    assert refused == [] and "and with it" in titles[2]


def test_calico_2_has_peers_by_address_and_the_mesh():
    keys = {}
    for number in range(3):
        keys[f"/calico/bgp/v1/host/node{number}/ip_addr_v4"] = f"10.0.0.{number + 1}"
    cluster = calico_topology.from_v2(keys)
    peers = [{"peer_ip": "10.0.9.9", "as_number": 64512}]
    titles, refused, _left = plan(cluster, wanted(3), False, peers)
    assert (titles, refused) == ([calico_rearrange.PEERS, calico_rearrange.MESH_OFF], [])


def test_the_plan_for_many_nodes_grows_with_their_number():
    calls = []
    for count in (250, 1000):
        cluster, nodes = meshed(count), wanted(count, {0, 1})
        (steps, *_rest), counted = work.calls(lambda: plan(cluster, nodes, False, PEERS))  # noqa: B023
        assert len(steps) == 4
        calls.append(counted)
    # Four times as many; with their square it would be sixteen times as much.
    assert calls[1] < 5 * calls[0], calls


# --- routes that hold ------------------------------------------------------------------------------

ROUTES = """[
{"dst": "default", "gateway": "10.0.0.254", "dev": "eth0", "flags": []},
{"dst": "10.1.0.0/26", "gateway": "10.0.0.2", "dev": "eth0", "protocol": "bird", "flags": []},
{"dst": "10.1.1.0/26", "gateway": "10.0.0.2", "dev": "tunl0", "protocol": "12", "flags": ["onlink"]},
{"dst": "10.1.2.0/26", "protocol": "bird", "flags": [], "nexthops": [
    {"gateway": "10.0.0.3", "dev": "eth0", "weight": 1, "flags": []},
    {"gateway": "10.0.0.4", "dev": "eth0", "weight": 1, "flags": []}]},
{"dst": "10.1.3.0/26", "protocol": "bird", "flags": [], "nexthops": [
    {"gateway": "10.0.0.3", "dev": "eth0", "weight": 1, "flags": ["dead", "linkdown"]}]},
{"type": "blackhole", "dst": "10.1.4.0/26", "protocol": "bird", "flags": []},
{"dst": "10.1.4.2", "dev": "cali1", "scope": "link", "flags": []},
{"dst": "10.1.0.0/26", "gateway": "10.0.0.2", "dev": "eth0", "protocol": "kernel", "metric": 42179}
]"""


def test_copies_of_birds_routes_to_other_hosts_and_of_no_others():
    assert calico_hold.additions(ROUTES) == [
        "route replace 10.1.0.0/26 via 10.0.0.2 dev eth0 proto kernel metric 42179",
        "route replace 10.1.1.0/26 via 10.0.0.2 dev tunl0 onlink proto kernel metric 42179",
        "route replace 10.1.2.0/26 proto kernel metric 42179 nexthop via 10.0.0.3 dev eth0 "
        "nexthop via 10.0.0.4 dev eth0",
    ]
    assert calico_hold.held(ROUTES) == 1
    assert calico_hold.additions("[]") == calico_hold.additions("") == []
    # What the formula takes for Calico's routes elsewhere does not change: the copies are not.
    assert len(calico_host.parse_routes(ROUTES)) == 7


# --- the runner ------------------------------------------------------------------------------------


class Hosts:
    """Minions of a cluster that changes as it is told; what is asked of them is noted."""

    def __init__(self, cluster, nodes, mesh, peers, prune=False):
        self.cluster, self.nodes = cluster, {words["name"]: words for words in nodes}
        self.network = {"mesh": mesh, "peers": peers}
        self.prune = prune
        self.calls, self.unready, self.silent, self.held = [], {}, [], 0
        self.described = {}

    def ask(self, tgt, function, tgt_type="glob", timeout=None, arg=(), **keywords):
        names = [name for name in (self.nodes if tgt == "*" else tgt) if name not in self.silent]
        self.calls.append(function.partition(".")[2])
        done = {name: getattr(self, self.calls[-1])(name, *arg, **keywords) for name in names}
        return done, {}, self.silent if tgt == "*" else []

    def refresh_pillar(self, _name, wait):
        return True

    def own_place(self, name):
        return dict(self.nodes[name], held=self.held, described=self.described.get(name, "the same"))

    def rearrangement(self, _name, nodes, prune):
        prune = self.prune if prune is None else prune
        stages, refused, left = calico_rearrange.plan(self.cluster, nodes, self.network, prune)
        strangers = sorted(set(self.cluster.nodes) - {words["name"] for words in nodes})
        return {
            "stages": [stage.as_dict() for stage in stages],
            "refused": [item["seen"] for item in refused],
            "left": left,
            "strangers": strangers,
        }

    def converge(self, _name, what, wanted, absent):
        steps = calico_plan.steps(self.cluster, what, wanted, absent)
        writes = [(step.current, step.resource) for step in steps if step.action != "delete"]
        deletes = [step.current for step in steps if step.action == "delete"]
        self.cluster = calico_safety.after(self.cluster, writes, deletes)
        return {"changes": calico_plan.Plan(steps, []).changes, "refused": [], "failed": None}

    def ready(self, name, _timeout, exact, brief):
        assert exact and brief
        reasons = self.unready.get(name, [])
        return {"node": name, "ready": not reasons, "reasons": reasons, "waited": 0}

    def hold_routes(self, _name, seconds):
        self.held = 3
        return 3

    def release_routes(self, _name):
        self.held = 0
        return 3


@pytest.fixture
def fleet(monkeypatch):
    def made(*arguments, **more):
        found = Hosts(*arguments, **more)
        monkeypatch.setattr(calico_orch, "_ask", found.ask)
        return found

    monkeypatch.setattr(calico_orch, "__context__", {}, raising=False)
    return made


def topology(**arguments):
    return calico_orch.topology(format="json", **arguments)


def test_routes_are_held_from_before_the_first_change_until_all_are_ready_again(fleet):
    found = fleet(meshed(4), wanted(4, {0, 1}), False, PEERS)
    done = topology()
    assert done["retcode"] == 0 and len(done["done"]) == 4, done["text"]
    calls = [call for call in found.calls if call in ("hold_routes", "converge", "ready", "release_routes")]
    assert calls == ["hold_routes", *["converge", "ready"] * 4, "release_routes"]
    done = topology(test=True)
    assert done["text"] == "The topology is the one of the pillar, and all hosts are ready."
    found.unready = {"node2": ["Felix is not ready"]}
    done = topology(test=True)
    assert (done["retcode"], done["failed"]) == (1, {"node2": "Felix is not ready"})
    found.unready = {}
    assert topology()["text"] == "The topology is the one of the pillar, and all hosts are ready."
    assert not found.cluster.mesh


def test_it_stops_where_a_host_is_not_ready_and_goes_on_or_back_from_there(fleet):
    found = fleet(meshed(4), wanted(4, {0, 1}), False, PEERS)
    found.unready = {"node3": ["no session with 10.0.0.1"]}
    done = topology()
    # The peers choose nobody yet, but not all is well: what takes something away does not begin.
    assert done["retcode"] == 1 and done["failed"] == {"node3": "no session with 10.0.0.1"}
    assert done["done"] == [] and found.cluster.mesh and found.held
    assert "Stopped at: BGP peers are written" in done["text"]
    assert "the former pillar" in done["text"]
    done = topology()
    assert done["retcode"] == 1 and done["done"] == [] and "converge" not in found.calls[-3:]
    found.unready = {}
    assert topology()["done"] == [BECOMES % "node0", BECOMES % "node1", calico_rearrange.MESH_OFF]
    assert not found.held


def test_the_way_back_does_not_wait_for_what_is_broken(fleet):
    found = fleet(carried_out(meshed(4), wanted(4, {0, 1}), False, PEERS), wanted(4), True, [], prune=True)
    for words in found.nodes.values():
        words["labels"] = {"reflector": None}
    found.unready = {"node3": ["no session with 10.0.0.1"]}
    done = topology()
    assert done["retcode"] == 1 and found.cluster.mesh
    found.unready = {}
    assert topology()["retcode"] == 0
    assert found.cluster.peers == [] and not any(n["cluster_id"] for n in found.cluster.nodes.values())


def test_nothing_is_touched_in_test_mode(fleet):
    found = fleet(meshed(4), wanted(4, {0}), False, PEERS)
    done = topology(test=True)
    assert set(done["changes"]) == {"to-reflectors", "node0", "default"} and done["retcode"] == 0
    assert "1. BGP peers are written\n  2. node0 becomes" in done["text"]
    assert set(found.calls) == {"refresh_pillar", "own_place", "rearrangement"}


def test_held_routes_of_a_run_that_was_killed_are_released_by_the_next(fleet):
    found = fleet(meshed(2), wanted(2), True, [])
    found.held = 3
    assert topology()["retcode"] == 0 and found.held == 0
    assert "hold_routes" not in found.calls


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hold": 5}, "hold: got '5'; accepted: seconds from 60"),
        ({"hold": "long"}, "hold: got 'long'"),
        ({"prune": "perhaps"}, "prune: got 'perhaps'; accepted: True or False"),
        ({"writer": "nobody"}, "writer: got 'nobody'; accepted: node0, node1"),
        ({"tgt": ["node0"], "tgt_type": "list"}, "no minion of tgt is node1: the datastore knows it"),
        ({"tgt": []}, "matches no minion"),
    ],
)
def test_what_was_asked_in_a_wrong_way(fleet, arguments, words):
    found = fleet(meshed(2), wanted(2, {0}), False, PEERS)
    done = topology(**arguments)
    assert done["retcode"] == 1 and done["text"].startswith("Nothing was changed:")
    assert words in done["text"]
    assert "converge" not in found.calls and "hold_routes" not in found.calls


def test_pillars_that_contradict_each_other(fleet):
    found = fleet(meshed(3), wanted(3, {0}), False, PEERS)
    found.described = {"node1": "another"}
    done = topology()
    assert done["retcode"] == 1 and "converge" not in found.calls
    assert "the pillars of node0, node2 describe another mesh or other peers" in done["text"]
    assert "than those of node1" in done["text"]
    # One that says nothing contradicts nobody.
    found.described = {"node1": ""}
    assert topology()["retcode"] == 0


def test_what_takes_something_away_is_not_begun_while_a_host_is_not_ready(fleet):
    found = fleet(meshed(3), wanted(3), False, [])
    found.cluster = carried_out(meshed(3), wanted(3, {0}), None, PEERS)
    found.nodes["node0"].update(labels={"reflector": "yes"}, route_reflector_cluster_id="244.0.0.1")
    found.network["peers"] = PEERS
    found.unready = {"node1": ["no session with 10.0.0.1"]}
    done = topology()
    assert done["retcode"] == 1 and not {"converge", "hold_routes"} & set(found.calls)
    assert done["text"].startswith("Nothing was changed: not all hosts are ready")
    assert "Not begun: the node-to-node mesh is switched off" in done["text"]


def test_a_host_that_broke_while_others_waited_is_named(fleet):
    found = fleet(meshed(3), wanted(3, {0}), False, PEERS)
    late = {"node1": ["no session with 10.0.0.3"]}
    looks = []

    def ready(name, timeout, exact, brief):
        looks.append(timeout)
        reasons = dict(late, node2=["the service does not run"] if not timeout else []).get(name, [])
        return {"node": name, "ready": not reasons, "reasons": reasons, "waited": 0}

    found.ready = ready
    done = topology()
    # The second look is at once: all that could be waited for has been.
    assert set(looks) == {60, 0}
    assert done["failed"] == {"node1": "no session with 10.0.0.3", "node2": "the service does not run"}


def test_a_writer_that_fell_silent_may_have_written(fleet):
    found = fleet(meshed(3), wanted(3, {0}), False, PEERS)

    def converge(_name, what, wanted, absent):
        raise calico_orch.calico_minions.Failed("node0: calico.converge: no answer")

    found.converge = converge
    done = topology()
    assert done["retcode"] == 1 and done["refused"] == []
    assert done["failed"] == {"node0": "node0: calico.converge: no answer"}
    assert "Nothing was changed" not in done["text"] and "Stopped at: BGP peers are written" in done["text"]


def test_an_error_after_a_write_is_not_told_as_nothing_changed(fleet):
    found = fleet(meshed(3), wanted(3, {0}), False, PEERS)

    def ready(_name, _timeout, exact, brief):
        if "converge" in found.calls:
            raise calico_orch.SaltException("the master went away")
        return {"node": _name, "ready": True, "reasons": [], "waited": 0}

    found.ready = ready
    done = topology()
    assert done["retcode"] == 1 and set(done["changes"]) == {"to-reflectors"}
    assert "Nothing was changed" not in done["text"] and "the master went away" in done["text"]


def test_a_host_that_gives_no_answer(fleet):
    found = fleet(meshed(2), wanted(2, {0}), False, PEERS)
    found.silent = ["node1"]
    done = topology()
    assert done["retcode"] == 1 and "no answer from node1" in done["text"]
    assert found.cluster.mesh and "converge" not in found.calls
