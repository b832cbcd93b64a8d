"""The gate's verdict, from what a host shows and what the datastore asks for."""

import json
from pathlib import Path

import calico_bird
import calico_host
import calico_ready as ready
import calico_topology as topology
import pytest

from _modules import calico
from tests.support import work

RECORDINGS = Path(__file__).parents[1] / "recordings"
NOW = "2026-11-23 18:53:40"


# --- for how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "now", "seconds", "words"),
    [
        ("18:53:40", NOW, 0, "0 s"),
        ("18:52:55", NOW, 45, "45 s"),
        ("18:51:08", NOW, 152, "2 min 32 s"),
        ("15:33:00", NOW, 12040, "3 h 20 min"),
        # A time of day is one of the last 24 hours.
        ("23:59:30", "2026-11-24 00:00:15", 45, "45 s"),
        ("2026-11-22", NOW, 86400, "1 day"),
        ("2026-10-24", NOW, 30 * 86400, "30 days"),
        ("2026-11-23 18:51:08", NOW, 152, "2 min 32 s"),
        ("18:51:08.123", NOW + ".456", 152, "2 min 32 s"),
        # A clock that was set back.
        ("2026-11-24", NOW, 0, "0 s"),
    ],
)
def test_for_how_long(since, now, seconds, words):
    assert ready.lasted(since, now) == seconds
    assert ready.in_words(seconds) == words


@pytest.mark.parametrize(
    ("since", "now"),
    [("", NOW), (None, NOW), ("18:51:08", ""), ("18:51:08", None), ("??", NOW), ("1:2", NOW)],
)
@pytest.mark.parametrize("broken", ["99:99:99", "2026-13-40"])
def test_a_time_that_cannot_be_read_gives_no_duration(since, now, broken):
    assert ready.lasted(since, now) is None
    assert ready.lasted(broken, NOW) is None


def test_the_recorded_daemons_time_and_its_sessions_give_durations():
    """BIRD's clock and its sessions' times, as a real daemon wrote them."""
    recorded = json.loads((RECORDINGS / "bird/bird-1.6.8-socket.json").read_text(encoding="utf-8"))
    statuses = [item["received"] for item in recorded if item["sent"] == "show status\n"]
    tables = [
        item["received"] for item in recorded if item["sent"] in ("show protocols\n", "show protocols all\n")
    ]
    daemon = calico_bird.status(statuses[0])
    sessions = [found for table in tables for found in calico_bird.protocols(table)]
    assert sessions
    for session in sessions:
        assert ready.down_for(session, {"IPv4": daemon, "IPv6": daemon}) is not None


# --- the verdict -------------------------------------------------------------------------------------


def v2(*peers, mesh=True, blocks=(), pools=("172.20.0.0/16",), number=3, more=()):
    keys = {"/calico/bgp/v1/global/node_mesh": json.dumps({"enabled": mesh}), **dict(more)}
    for each in range(1, number + 1):
        host = "/calico/bgp/v1/host/node%d" % each
        keys[host + "/ip_addr_v4"] = "10.0.0.%d" % each
        keys[host + "/network_v4"] = "10.0.0.0/24"
    for node, address in peers:
        where = "host/" + node if node else "global"
        stored = json.dumps({"ip": address, "as_num": "64512"})
        keys["/calico/bgp/v1/%s/peer_v4/%s" % (where, address)] = stored
    for node, cidr in blocks:
        keys["/calico/ipam/v2/host/%s/ipv4/block/%s" % (node, cidr.replace("/", "-"))] = ""
    for cidr in pools:
        key = "/calico/v1/ipam/v4/pool/" + cidr.replace("/", "-")
        keys[key] = json.dumps({"cidr": cidr, "ipip": "", "masquerade": True, "disabled": False})
    return topology.from_v2(keys)


def session(address, established=True, reason="", name="Mesh", **more):
    found = {
        "name": "%s_%s" % (name, address.replace(".", "_")),
        "type": "node-to-node mesh",
        "address": address,
        "port": 179,
        "state": "up" if established else "start",
        "since": "18:51:08",
        "info": "Established" if established else "Active",
        "reason": reason,
        "established": established,
    }
    return dict(found, **more)


def look(*sessions, **changes):
    found = {
        "unit": "calico-node.service",
        "service": {"active": True, "reason": ""},
        "felix": {"ready": True, "reason": ""},
        "bird": {"IPv4": {"graceful_restart": False, "server_time": NOW}},
        "sessions": list(sessions),
        "errors": [],
    }
    return dict(found, **changes)


def judged(seen, cluster, absent=(), backend="bird", routes=()):
    known = "node1" in cluster.nodes
    sessions = topology.expected_sessions(cluster, "node1") if known and backend == "bird" else []
    sessions = [item for item in sessions if item["node"] not in absent]
    blocks = ready.blocks_to_learn(cluster, "node1", sessions, backend, absent) if known else []
    return ready.verdict(seen, "node1", backend, known, sessions, blocks, routes)


MESH = [session("10.0.0.2"), session("10.0.0.3")]


def test_all_sessions_up():
    found = judged(look(*MESH), v2())
    assert (found["ready"], found["reasons"], found["missing"]) == (True, [], [])


def test_a_session_that_is_down_is_named_with_its_node_state_error_and_duration():
    down = session("10.0.0.3", established=False, reason="Socket: Connection refused")
    found = judged(look(MESH[0], down), v2())
    text = (
        "no session with 10.0.0.3 (node3): Active, Socket: Connection refused since 18:51:08, for 2 min 32 s"
    )
    assert (found["ready"], found["reasons"]) == (False, [text])
    assert found["missing"] == [
        {
            "address": "10.0.0.3",
            "port": 179,
            "node": "node3",
            "type": "node-to-node mesh",
            "state": "Active",
            "reason": "Socket: Connection refused",
            "since": "18:51:08",
            "seconds": 152,
        }
    ]


def test_a_session_that_bird_has_not_been_told_of_is_missing():
    found = judged(look(MESH[0]), v2())
    assert found["reasons"] == ["no session with 10.0.0.3 (node3): BIRD has not been told of it yet"]
    assert found["missing"][0]["state"] is None


def test_a_family_without_a_daemon_is_told_from_a_session_that_is_new():
    cluster = v2(more={f"/calico/bgp/v1/host/node{n}/ip_addr_v6": f"fd00::{n}" for n in (1, 2)}.items())
    found = judged(look(*MESH), cluster)
    assert found["reasons"] == ["no session with fd00::2 (node2): no BIRD for IPv6 runs"]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_protocols_for_one_neighbour_the_one_that_is_up_counts(order):
    twin = session("10.0.0.2", established=False, name="Global")
    found = judged(look(*[*MESH, twin][::order]), v2((None, "10.0.0.2")))
    assert (found["ready"], found["reasons"]) == (True, [])


def test_a_session_that_nobody_asks_for_may_be_down():
    found = judged(look(*MESH, session("10.0.0.99", established=False)), v2())
    assert found["ready"]


def test_a_node_that_is_known_to_be_away_is_not_waited_for():
    cluster = v2(blocks=[("node3", "172.20.3.0/26")])
    down = session("10.0.0.3", established=False)
    assert judged(look(MESH[0], down), cluster, absent={"node3"})["ready"]
    assert judged(look(MESH[0]), cluster, absent={"node3"})["ready"]


def test_a_peer_outside_the_cluster_is_named_by_its_kind():
    found = judged(look(session("10.0.9.9", established=False)), v2((None, "10.0.9.9"), mesh=False))
    assert found["reasons"][0].startswith("no session with 10.0.9.9 (global): Active")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"service": {"active": False, "reason": "it is failed"}},
            "the service calico-node.service does not run",
        ),
        ({"felix": {"ready": False, "reason": "refuses"}}, "Felix is not ready: refuses"),
        ({"errors": ["/var/run/calico/bird.ctl: hangs"]}, "bird.ctl: hangs"),
        (
            {"bird": {"IPv4": {"graceful_restart": True, "server_time": NOW}}},
            "graceful restart in progress (IPv4)",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["bird", "none"])
def test_what_is_wrong_with_the_node_itself_counts_with_every_backend(changes, words, backend):
    found = judged(look(*MESH, **changes), v2(), backend=backend)
    assert not found["ready"]
    assert words in found["reasons"][0]


RESTARTING = {"IPv4": {"graceful_restart": True, "server_time": NOW}}
WAITING = {"established": False, "state": "wait", "info": "Established"}


def test_in_a_graceful_restart_what_bird_waits_for_is_named_and_the_others_are_not():
    """As seen after a restart beside a dead node: the living ones are Established, and wait."""
    sessions = [session("10.0.0.2", **WAITING), session("10.0.0.3", established=False)]
    found = judged(look(*sessions, bird=RESTARTING), v2())
    assert found["reasons"][0] == "graceful restart in progress (IPv4), BIRD waits for 10.0.0.3"
    assert [item["node"] for item in found["missing"]] == ["node3"]
    # Elsewhere such a session is not up yet.
    assert not judged(look(session("10.0.0.2", **WAITING), MESH[1]), v2())["ready"]


def test_a_graceful_restart_that_waits_for_a_node_known_to_be_away_does_not_count():
    sessions = [session("10.0.0.2", **WAITING), session("10.0.0.3", established=False)]
    seen = look(*sessions, bird=RESTARTING)
    cluster = v2(blocks=[("node2", "172.20.2.0/26")])
    assert judged(seen, cluster, absent={"node3"}, routes=routes(TWO))["ready"]
    assert judged(seen, cluster, absent={"node3"})["routes"]["missing"]
    # One that waits for nobody is about to end.
    ending = look(*[session(each["address"], **WAITING) for each in MESH], bird=RESTARTING)
    assert judged(ending, v2())["reasons"] == ["graceful restart in progress (IPv4)"]


def test_backends_without_bird_have_no_sessions():
    for backend in ("none", "vxlan", "gobgp"):
        found = judged(look(bird={}), v2(blocks=[("node2", "172.20.2.0/26")]), backend=backend)
        assert (found["ready"], found["routes"]["expected"]) == (True, 0)


@pytest.mark.parametrize("backend", ["bird", "none"])
def test_a_node_that_the_datastore_has_lost_is_told_what_to_do(backend):
    found = judged(look(*MESH), v2(number=0), backend=backend)
    (reason,) = found["reasons"]
    assert "the datastore knows no node node1, while calico-node runs on" in reason
    assert "systemctl restart calico-node" in reason
    stopped = judged(look(service={"active": False, "reason": "dead"}), v2(number=0))
    assert stopped["reasons"][-1] == "the datastore knows no node node1"


def test_an_address_that_the_host_has_not_is_named_while_sessions_still_last():
    found = ready.verdict(look(*MESH), "node1", "bird", True, strange=["10.0.0.1"])
    reason = "node node1 is registered with 10.0.0.1, which no interface has: BIRD cannot send from it"
    assert (found["ready"], found["reasons"]) == (False, [reason])


# --- routes ------------------------------------------------------------------------------------------


def routes(*rows):
    """Kernel routes as ``ip -json`` prints them: (network, kind or gateway, protocol)."""
    printed = []
    for network, via, protocol in rows:
        row = {"dst": network, "protocol": protocol, "flags": []}
        row.update({"gateway": via, "dev": "eth0"} if "." in via else {"type": via})
        printed.append(row)
    return calico_host.parse_routes(json.dumps(printed))


BLOCKS = [("node1", "172.20.1.0/26"), ("node2", "172.20.2.0/26"), ("node3", "172.20.3.0/26")]
OWN = ("172.20.1.0/26", "blackhole", "bird")
TWO, THREE = ("172.20.2.0/26", "10.0.0.2", "bird"), ("172.20.3.0/26", "10.0.0.3", "bird")


def test_every_other_nodes_block_has_a_route():
    found = judged(look(*MESH), v2(blocks=BLOCKS), routes=routes(OWN, TWO, THREE))
    assert (found["ready"], found["routes"]) == (True, {"expected": 2, "missing": []})


def test_a_block_without_a_route_is_named_with_its_node():
    found = judged(look(*MESH), v2(blocks=BLOCKS), routes=routes(OWN, TWO))
    assert found["reasons"] == [
        "no route to 172.20.3.0/26 of node node3: the session with 10.0.0.3 is Established"
    ]
    assert found["routes"] == {"expected": 2, "missing": [{"cidr": "172.20.3.0/26", "node": "node3"}]}
    assert ready.only_routes(found)


def test_a_route_that_rejects_is_none():
    rejecting = ("172.20.3.0/26", "unreachable", "bird")
    found = judged(look(*MESH), v2(blocks=BLOCKS), routes=routes(OWN, TWO, rejecting))
    assert "the kernel's route is unreachable" in found["reasons"][0]


def test_many_blocks_of_a_node_are_one_line():
    blocks = [("node2", "172.20.%d.0/26" % number) for number in range(10, 16)]
    found = judged(look(*MESH), v2(blocks=blocks))
    (reason,) = found["reasons"]
    assert "172.20.10.0/26, 172.20.11.0/26, 172.20.12.0/26 and 3 more of node node2" in reason


def test_where_the_session_is_down_its_routes_are_not_complained_of_as_well():
    found = judged(
        look(MESH[0], session("10.0.0.3", established=False)), v2(blocks=BLOCKS), routes=routes(TWO)
    )
    assert len(found["reasons"]) == 1
    assert found["routes"]["missing"] == []
    assert not ready.only_routes(found)


def test_single_addresses_that_a_node_borrowed_are_not_waited_for():
    """node2's addresses in a block of node1's: node1 learns a route to each, and has the block."""
    cluster = v2(blocks=BLOCKS[:2])
    borrowed = ("172.20.1.7", "10.0.0.2", "bird")
    assert judged(look(*MESH), cluster, routes=routes(OWN, TWO, borrowed))["ready"]
    assert judged(look(*MESH), cluster, routes=routes(OWN, TWO))["ready"]


def test_a_block_of_one_address_is_one():
    cluster = v2(blocks=[("node2", "172.20.2.9/32")])
    assert judged(look(*MESH), cluster, routes=routes(("172.20.2.9", "10.0.0.2", "bird")))["ready"]
    assert not judged(look(*MESH), cluster)["ready"]


@pytest.mark.parametrize(
    "situation",
    [
        {"blocks": [("gone", "172.20.9.0/26")]},  # of a node that is not registered
        {"blocks": BLOCKS, "pools": ()},  # a pool that was removed: its blocks are not told
        {"blocks": BLOCKS, "more": {"/calico/bgp/v1/global/custom_filters/v4/f": "reject;"}.items()},
    ],
)
def test_what_may_not_be_told_is_not_waited_for(situation):
    assert judged(look(*MESH), v2(**situation))["ready"]


def test_peers_outside_the_cluster_may_bring_routes_or_not():
    cluster = v2((None, "10.0.9.9"), mesh=False, blocks=BLOCKS)
    found = judged(look(session("10.0.9.9", name="Global")), cluster)
    assert (found["ready"], found["routes"]["expected"]) == (True, 0)


def test_a_node_that_is_a_peer_brings_its_own_blocks_only():
    cluster = v2(("node1", "10.0.0.2"), ("node2", "10.0.0.1"), mesh=False, blocks=BLOCKS)
    found = judged(look(session("10.0.0.2", name="Node")), cluster)
    assert found["routes"]["missing"] == [{"cidr": "172.20.2.0/26", "node": "node2"}]


def node(name, number, labels=None, vxlan=None, **bgp):
    spec = {"bgp": {"ipv4Address": "10.0.0.%d/24" % number, **bgp}}
    if vxlan:
        spec["ipv4VXLANTunnelAddr"] = vxlan
    return {"kind": "Node", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def resource(kind, name, **spec):
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def v3(*resources, blocks=BLOCKS, state="confirmed", deleted=False):
    value = json.dumps({"state": state, "deleted": deleted})
    keys = [
        ("/calico/ipam/v2/host/%s/ipv4/block/%s" % (name, cidr.replace("/", "-")), value)
        for name, cidr in blocks
    ]
    return topology.from_v3(resources, keys)


NODES = [node("node%d" % number, number) for number in (1, 2, 3)]
POOL = resource("IPPool", "pool", cidr="172.20.0.0/16")


def test_the_same_with_calico_3():
    found = judged(look(*MESH), v3(*NODES, POOL), routes=routes(OWN, TWO))
    assert found["routes"] == {"expected": 2, "missing": [{"cidr": "172.20.3.0/26", "node": "node3"}]}


@pytest.mark.parametrize("claim", [{"state": "pending"}, {"state": "pendingDeletion"}, {"deleted": True}])
def test_a_claim_under_way_is_not_waited_for(claim):
    assert judged(look(*MESH), v3(*NODES, POOL, **claim))["routes"]["expected"] == 0


def test_a_pool_that_peers_are_not_told_of():
    pool = resource("IPPool", "pool", cidr="172.20.0.0/16", disableBGPExport=True)
    assert judged(look(*MESH), v3(*NODES, pool))["ready"]


def test_a_disabled_pool_stays_routed():
    pool = resource("IPPool", "pool", cidr="172.20.0.0/16", disabled=True)
    assert judged(look(*MESH), v3(*NODES, pool))["routes"]["expected"] == 2


def test_peers_with_filters_may_keep_routes_back():
    mesh_off = resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False)
    peer = resource("BGPPeer", "all", peerSelector="all()")
    filtered = resource("BGPPeer", "all", peerSelector="all()", filters=["few"])
    assert judged(look(*MESH), v3(*NODES, POOL, mesh_off, peer))["routes"]["expected"] == 2
    assert judged(look(*MESH), v3(*NODES, POOL, mesh_off, filtered))["routes"]["expected"] == 0


REFLECTED = [
    node("node1", 1),
    node("node2", 2, {"reflector": ""}, routeReflectorClusterID="244.0.0.1"),
    node("node3", 3),
    POOL,
    resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False),
    resource("BGPPeer", "reflectors", nodeSelector="all()", peerSelector="has(reflector)"),
]


def test_a_reflector_brings_the_blocks_of_its_other_clients():
    up = look(session("10.0.0.2", name="Node"))
    found = judged(up, v3(*REFLECTED), routes=routes(TWO))
    assert found["routes"] == {"expected": 2, "missing": [{"cidr": "172.20.3.0/26", "node": "node3"}]}
    assert "node node3: the session with 10.0.0.2 is Established" in found["reasons"][0]
    assert judged(up, v3(*REFLECTED), routes=routes(TWO, THREE))["ready"]
    assert judged(up, v3(*REFLECTED), absent={"node3"}, routes=routes(TWO))["ready"]


def test_what_was_lost_with_a_reflector_is_one_line():
    """Not its own blocks; and none while BIRD keeps the routes, as in a graceful restart."""
    down = look(session("10.0.0.2", established=False))
    kept = judged(down, v3(*REFLECTED), routes=routes(TWO, THREE))
    assert (len(kept["reasons"]), kept["routes"]["missing"]) == (1, [])
    lost = judged(down, v3(*REFLECTED))
    assert lost["reasons"][1:] == ["no route to 1 block of node node3, which came by 10.0.0.2"]
    assert lost["routes"]["missing"] == [{"cidr": "172.20.3.0/26", "node": "node3"}]
    assert not ready.only_routes(lost)
    blocks = [(f"node{n}", f"172.20.{n}.{part}/26") for n in range(3, 9) for part in (0, 64)]
    many = v3(*REFLECTED, *(node(f"node{n}", n) for n in range(4, 9)), blocks=blocks)
    (_session, reason) = judged(down, many)["reasons"]
    assert reason == ("no route to 12 blocks of node node3, node4, node5 and 3 more, which came by 10.0.0.2")


def test_a_reflector_of_another_as_reflects_nothing():
    other = node("node2", 2, {"reflector": ""}, routeReflectorClusterID="244.0.0.1", asNumber=64999)
    cluster = v3(*[other if item["metadata"]["name"] == "node2" else item for item in REFLECTED])
    assert judged(look(session("10.0.0.2")), cluster)["routes"]["missing"] == [
        {"cidr": "172.20.2.0/26", "node": "node2"}
    ]


def test_with_vxlan_felix_writes_the_routes_of_nodes_with_a_tunnel():
    pool = resource("IPPool", "pool", cidr="172.20.0.0/16", vxlanMode="CrossSubnet")
    tunnels = [node("node%d" % n, n, vxlan="172.20.%d.0" % n) for n in (1, 2)]
    cluster = v3(*tunnels, NODES[2], pool)
    for backend in ("vxlan", "bird"):
        seen = look(*MESH) if backend == "bird" else look(bird={})
        found = judged(seen, cluster, backend=backend)
        assert found["reasons"] == [
            "no route to 172.20.2.0/26 of node node2: Felix has not written it (VXLAN)"
        ]
        written = routes(("172.20.2.0/26", "172.20.2.0", "80"))
        assert judged(seen, cluster, backend=backend, routes=written)["ready"]


def test_the_recorded_cluster_asks_for_the_one_block_that_has_an_owner():
    """Blocks of a pool that was removed meanwhile have no affinity: nobody tells them."""
    recorded = json.loads((RECORDINGS / "etcd-v3-keys.json").read_text(encoding="utf-8"))
    cluster = topology.from_v3_keys({row["key"]: (json.dumps(row["value"]), 1) for row in recorded["keys"]})
    asked = {}
    for name in cluster.nodes:
        sessions = topology.expected_sessions(cluster, name)
        blocks = ready.blocks_to_learn(cluster, name, sessions, "bird")
        asked[name] = {(block["node"], block["cidr"]) for block in blocks}
    one, three = ("node1", "10.233.166.192/26"), ("node3", "10.233.135.0/26")
    assert asked == {"node1": {three}, "node2": {one, three}, "node3": {one}}


def test_a_thousand_nodes_are_quick():
    def cost(count):
        numbers = range(1, count)
        blocks = [("node%d" % n, "172.%d.%d.0/26" % (20 + n // 256, n % 256)) for n in numbers]
        addresses = {
            "/calico/bgp/v1/host/node%d/ip_addr_v4" % n: "10.0.%d.%d" % divmod(n, 256) for n in numbers
        }
        cluster = v2(blocks=blocks, pools=["172.16.0.0/12"], number=0, more=addresses.items())
        sessions = topology.expected_sessions(cluster, "node1")
        found, calls = work.calls(lambda: ready.blocks_to_learn(cluster, "node1", sessions, "bird"))
        assert len(found) == count - 2
        return calls

    # With their square it would be sixteen times as much.
    assert cost(1000) < 5 * cost(250)


# --- waiting -----------------------------------------------------------------------------------------


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def gate(monkeypatch):
    """Wait for a node that becomes ready some seconds from now: the answer, how much was asked, the code."""

    def wait(ready_after, timeout, routes_missing=()):
        clock, counts = Clock(), {"readings": 0, "looks": 0}

        def reading(*_):
            counts["readings"] += 1

        def glance(*_):
            counts["looks"] += 1
            opened = clock.now >= 1000 + ready_after
            missing = [] if opened else [{"cidr": each, "node": each} for each in routes_missing]
            return {
                "ready": opened,
                "reasons": [] if opened else list(routes_missing or ["no session"]),
                "routes": {"expected": 0, "missing": missing},
            }

        monkeypatch.setattr(calico, "time", clock)
        monkeypatch.setattr(calico, "_settings", lambda: {"datastore": "etcdv3", "node": {"backend": "bird"}})
        monkeypatch.setattr(calico, "_cluster", reading)
        monkeypatch.setattr(calico, "_ready_now", glance)
        monkeypatch.setattr(calico, "__context__", {}, raising=False)
        return calico.ready(timeout=timeout), counts, calico.__context__.get("retcode", 0)

    return wait


def test_it_opens_soon_and_reads_the_datastore_seldom(gate):
    found, counts, code = gate(ready_after=20, timeout=90)
    assert (found["ready"], code) == (True, 0)
    assert 20 <= found["waited"] <= 20.5
    assert counts["readings"] <= 6
    assert counts["looks"] <= 90


@pytest.mark.parametrize("timeout", [0, 7])
def test_it_gives_up_in_time(gate, timeout):
    found, counts, code = gate(ready_after=99, timeout=timeout)
    assert (found["ready"], code) == (False, 1)
    assert timeout <= found["waited"] <= timeout + 1
    assert timeout or counts == {"readings": 1, "looks": 1}


def test_a_single_look_gives_a_new_block_two_seconds(gate):
    found, counts, _ = gate(ready_after=1, timeout=0, routes_missing=["172.20.9.0/26"])
    assert found["ready"] and found["waited"] <= 1.5
    found, counts, code = gate(ready_after=99, timeout=0, routes_missing=["172.20.9.0/26"])
    assert (found["ready"], code) == (False, 1)
    assert 2 <= found["waited"] <= 2.5
    assert counts["readings"] <= 10
