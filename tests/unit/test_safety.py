"""What is refused, which word allows it, and the near misses that must go through."""

import copy
import json
from pathlib import Path

import calico_safety as safety
import calico_topology as topology
import pytest

from tests.support import work

RECORDINGS = Path(__file__).parents[1] / "recordings"
OFF = {"nodeToNodeMeshEnabled": False, "asNumber": 64512}


def words(*args, **kwargs):
    return [refusal["allow"] for refusal in safety.refusals(*args, **kwargs)]


def the_one(word, *args, **kwargs):
    """The only refusal, which its word and no other allows."""
    before = copy.deepcopy((args, kwargs))
    (refusal,) = safety.refusals(*args, **kwargs)
    assert refusal["allow"] == word
    assert refusal["seen"] and refusal["do"]
    assert safety.refusals(*args, **kwargs, allow=[word]) == []
    others = set(safety.ALLOW) - {word}
    assert safety.refusals(*args, **kwargs, allow=others) == [refusal]
    assert (args, kwargs) == before, "what is given is never changed"
    return refusal


# Clusters of Calico 3 ----------------------------------------------------------------------------


@pytest.fixture
def living():
    """Three nodes, one pool, a workload or two on each, as they were recorded."""
    recorded = json.loads((RECORDINGS / "etcd-v3-keys.json").read_text(encoding="utf-8"))
    return topology.from_v3_keys({row["key"]: (json.dumps(row["value"]), 7) for row in recorded["keys"]})


def v3(kind, name, labels=None, **spec):
    metadata = {"name": name, "labels": labels} if labels else {"name": name}
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": kind,
        "metadata": metadata,
        "spec": json.loads(json.dumps(spec)),
    }


def node(name, address=None, labels=None, ipv6=None, spec=None, **bgp):
    bgp.update({"ipv4Address": f"{address}/24"} if address else {})
    bgp.update({"ipv6Address": f"{ipv6}/64"} if ipv6 else {})
    return v3("Node", name, labels, bgp=bgp, **(spec or {}))


def pool(name, cidr, **spec):
    return v3("IPPool", name, cidr=cidr, **spec)


def peer(name, **spec):
    return v3("BGPPeer", name, **spec)


def bgp(**spec):
    return v3("BGPConfiguration", "default", **spec)


def workload(name, on, address):
    endpoint = v3("WorkloadEndpoint", name, node=on, ipNetworks=[address])
    endpoint["metadata"]["namespace"] = "default"
    return endpoint


def block(cidr, owner, used):
    address, _slash, length = cidr.partition("/")
    allocations = [*range(used), *[None] * (4 - used)]
    stored = json.dumps({"cidr": cidr, "allocations": allocations})
    return [
        (f"/calico/ipam/v2/assignment/ipv4/block/{address}-{length}", stored),
        (f"/calico/ipam/v2/host/{owner}/ipv4/block/{address}-{length}", "{}"),
    ]


TRIO = [node(f"n{i}", f"10.0.0.{i}") for i in (1, 2, 3)]


def existing(cluster, kind, name=None):
    return next(item for item in cluster.resources[kind] if name is None or item["metadata"]["name"] == name)


def changed(resource, labels=None, **spec):
    """The write of the resource with these fields of spec."""
    new = copy.deepcopy(resource)
    for key, value in spec.items():
        new["spec"].pop(key, None)
        if value is not None:
            new["spec"][key] = value
    if labels is not None:
        new["metadata"]["labels"] = labels
    return resource, new


# Clusters of Calico 2.6 --------------------------------------------------------------------------


@pytest.fixture
def recorded_v1():
    recorded = json.loads((RECORDINGS / "etcd-v2-keys.json").read_text(encoding="utf-8"))
    return topology.from_v2(
        {
            row["key"]: row["value"] if isinstance(row["value"], str) else json.dumps(row["value"])
            for row in recorded["keys"]
        }
    )


def v1_cluster(nodes=3, mesh=True, peers=(), pools=(), workloads=(), own_numbers=(), more=None):
    """Nodes n1 (10.0.0.1), n2 …; peers [(node or None, address)], workloads [(node, address)]."""
    keys = {
        "/calico/bgp/v1/global/as_num": "64512",
        "/calico/bgp/v1/global/node_mesh": json.dumps({"enabled": mesh}),
        **(more or {}),
    }
    for i in range(1, nodes + 1):
        keys[f"/calico/bgp/v1/host/n{i}/ip_addr_v4"] = f"10.0.0.{i}"
        keys[f"/calico/v1/host/n{i}/metadata"] = "{}"
    for name, number in own_numbers:
        keys[f"/calico/bgp/v1/host/{name}/as_num"] = str(number)
    for name, address in peers:
        where = f"host/{name}" if name else "global"
        stored = json.dumps({"ip": address, "as_num": "64512"})
        keys[f"/calico/bgp/v1/{where}/peer_v4/{address}"] = stored
    for cidr, disabled in pools:
        key = f"/calico/v1/ipam/v4/pool/{cidr.replace('/', '-')}"
        keys[key] = json.dumps({"cidr": cidr, "disabled": disabled})
    for i, (name, address) in enumerate(workloads):
        key = f"/calico/v1/host/{name}/workload/k8s/default.w{i}/endpoint/eth0"
        keys[key] = json.dumps({"ipv4_nets": [address], "ipv6_nets": []})
    return topology.from_v2(keys)


def v1(kind, metadata, **spec):
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}


def v1_pool(cidr, **spec):
    return v1("ipPool", {"cidr": cidr}, **spec)


def v1_peer(address, on=None):
    metadata = {"scope": "node", "node": on} if on else {"scope": "global"}
    return v1("bgpPeer", {**metadata, "peerIP": address}, asNumber=64512)


def v1_bgp(**spec):
    return v1("BGPConfiguration", {"name": "default"}, **spec)


def v1_config(mesh=True, as_number=64512):
    return v1_bgp(nodeToNodeMeshEnabled=mesh, asNumber=as_number, logSeverityScreen="info")


# pool_in_use ------------------------------------------------------------------------------------


def test_a_pool_with_addresses_in_use_is_not_removed(living):
    new = pool("new", "10.234.0.0/16")
    refusal = the_one("pool_in_use", living, [(None, new)], [existing(living, "IPPool")])
    assert refusal["resource"] == "IPPool default-ipv4-ippool"
    assert "of 10.233.0.0/16 4 addresses are in use" in refusal["seen"]
    assert "10.233.104.0 of default/node2-cni-w1--h2-eth0 on node2" in refusal["seen"]
    assert "disable the pool" in refusal["do"]


def test_a_pool_without_addresses_in_use_is_removed(living):
    other = pool("other", "10.99.0.0/16")
    living.resources["IPPool"].append(other)
    assert safety.refusals(living, deletes=[other]) == []


def test_blocks_tell_of_addresses_that_no_workload_has():
    pools = [pool("a", "10.1.0.0/16"), pool("b", "10.2.0.0/16")]
    cluster = topology.from_v3(
        [*TRIO, *pools, workload("w", "n1", "10.1.0.0/32")],
        [*block("10.1.0.0/30", "n1", 3), *block("10.1.0.4/30", "n2", 0)],
    )
    refusal = the_one("pool_in_use", cluster, deletes=[pools[0]])
    assert "3 addresses are in use" in refusal["seen"]
    assert "10.1.0.0 of default/w on n1, 2 more in the block 10.1.0.0/30 of n1" in refusal["seen"]
    assert safety.refusals(cluster, deletes=[pools[1]]) == []
    free = topology.from_v3([*TRIO, *pools], block("10.1.0.0/30", "n1", 0))
    assert safety.refusals(free, deletes=[pools[0]]) == []


def test_tunnels_count_and_are_told_apart():
    tunnel = node("n1", "10.0.0.1", ipv4IPIPTunnelAddr="10.1.0.0")
    vxlan = node("n2", "10.0.0.2", spec={"ipv4VXLANTunnelAddr": "10.1.0.4"})
    pools = [pool("a", "10.1.0.0/16"), pool("b", "10.2.0.0/16")]
    blocks = [*block("10.1.0.0/30", "n1", 1), *block("10.1.0.4/30", "n2", 1)]
    cluster = topology.from_v3([tunnel, vxlan, *pools], blocks)
    refusal = the_one("pool_in_use", cluster, deletes=[pools[0]])
    assert "2 addresses are in use (2 by tunnels of nodes)" in refusal["seen"]
    assert refusal["seen"].endswith("10.1.0.0 of the tunnel of n1, 10.1.0.4 of the tunnel of n2")
    assert "restarts" in refusal["do"]


def test_five_are_named_and_the_rest_is_counted():
    endpoints = [workload(f"w{i}", "n1", f"10.1.0.{i}/32") for i in range(8)]
    pools = [pool("a", "10.1.0.0/16"), pool("b", "10.2.0.0/16")]
    cluster = topology.from_v3([*TRIO, *pools, *endpoints])
    refusal = the_one("pool_in_use", cluster, deletes=[pools[0]])
    assert "8 addresses are in use" in refusal["seen"]
    assert refusal["seen"].endswith("10.1.0.4 of default/w4 on n1 and 3 more")


def test_a_pool_of_2_6_is_in_use_by_its_workload_endpoints(recorded_v1):
    used, unused = recorded_v1.pools
    recorded_v1.resources["ipPool"].append(v1_pool("172.22.0.0/16"))
    refusal = the_one("pool_in_use", recorded_v1, deletes=[used])
    assert refusal["resource"] == "ipPool 172.20.0.0/16"
    assert "172.20.26.1 of k8s/default.web/eth0 on node1" in refusal["seen"]
    assert safety.refusals(recorded_v1, deletes=[unused]) == []


def test_what_is_said_of_a_pool_besides_its_network_is_no_removal(living, recorded_v1):
    assert safety.refusals(living, [changed(existing(living, "IPPool"), ipipMode="Always")]) == []
    assert safety.refusals(recorded_v1, [changed(recorded_v1.pools[0], ipip={"enabled": True})]) == []


# pool_recreate ----------------------------------------------------------------------------------


def unused(*pools):
    return topology.from_v3([*TRIO, *pools])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("cidr", "10.1.0.0/17", "cidr from 10.1.0.0/16 to 10.1.0.0/17"),
        ("cidr", "10.7.0.0/16", "cidr from 10.1.0.0/16 to 10.7.0.0/16"),
        ("blockSize", 24, "block_size from 26 to 24"),
    ],
)
def test_network_and_block_size_of_a_pool_stay(field, value, said):
    cluster = unused(pool("a", "10.1.0.0/16"), pool("b", "10.2.0.0/16"))
    write = changed(cluster.pools[0], **{field: value})
    refusal = the_one("pool_recreate", cluster, [write])
    assert refusal["resource"] == "IPPool a"
    assert said in refusal["seen"]
    # As the plan has it once the word is given: removed, and made anew.
    the_one("pool_recreate", cluster, [(None, write[1])], [write[0]])


def test_a_block_size_that_the_server_would_default_is_a_change():
    cluster = unused(pool("a", "10.1.0.0/16", blockSize=24))
    the_one("pool_recreate", cluster, [changed(cluster.pools[0], blockSize=None)])


def test_other_spellings_of_the_same_network_and_block_size_are_no_change():
    cluster = unused(pool("a", "fd00:0::/48"))
    assert safety.refusals(cluster, [changed(cluster.pools[0], cidr="fd00::/48", blockSize=122)]) == []


def test_a_pool_in_use_needs_both_words_to_be_made_anew(living):
    write = changed(existing(living, "IPPool"), cidr="10.233.128.0/17")
    in_use, anew = safety.refusals(living, [write])
    assert (in_use["allow"], anew["allow"]) == ("pool_in_use", "pool_recreate")
    assert "4 addresses are in use, 1 of them outside of the new one" in anew["seen"]
    assert words(living, [write], allow=["pool_recreate"]) == ["pool_in_use"]
    assert words(living, [write], allow=["pool_recreate", "pool_in_use"]) == []


def test_a_smaller_pool_of_2_6_in_place_of_one_in_use():
    cluster = v1_cluster(pools=[("10.1.0.0/16", False)], workloads=[("n1", "10.1.200.1/32")])
    deletes = [v1_pool("10.1.0.0/16")]
    shrunk = [(None, v1_pool("10.1.0.0/17"))]
    assert words(cluster, shrunk, deletes) == ["pool_in_use", "pool_recreate"]
    covering = [(None, v1_pool("10.1.128.0/17"))]
    assert words(cluster, covering, deletes) == ["pool_in_use"]
    idle = v1_cluster(pools=[("10.1.0.0/16", False)])
    assert words(idle, shrunk, deletes) == []


# pool_overlap -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cidr", ["10.1.0.0/17", "10.0.0.0/8", "10.1.0.0/16"])
def test_a_new_pool_does_not_overlap_another(cidr):
    cluster = unused(pool("a", "10.1.0.0/16"))
    refusal = the_one("pool_overlap", cluster, [(None, pool("b", cidr))])
    assert refusal["resource"] == "IPPool b"
    assert f"{cidr} overlaps 10.1.0.0/16 of IPPool a" in refusal["seen"]


def test_new_pools_do_not_overlap_each_other():
    writes = [(None, v1_pool(cidr)) for cidr in ("10.1.0.0/16", "10.1.64.0/24", "10.2.0.0/16")]
    refusal = the_one("pool_overlap", v1_cluster(), writes)
    assert refusal["resource"] == "ipPool 10.1.64.0/24"
    assert refusal["seen"] == "10.1.64.0/24 overlaps 10.1.0.0/16 of ipPool 10.1.0.0/16"


def test_neighbours_and_families_do_not_overlap():
    cluster = unused(pool("a", "10.1.0.0/16"), pool("six", "fd00::/48"))
    writes = [(None, pool("b", "10.2.0.0/16")), (None, pool("c", "fd00:0:1::/48"))]
    assert safety.refusals(cluster, writes) == []


def test_an_overlap_that_was_there_is_not_held_against_other_changes():
    cluster = v1_cluster(pools=[("10.1.0.0/16", False), ("10.1.0.0/24", False)])
    write = changed(cluster.pools[0], **{"nat-outgoing": True})
    assert safety.refusals(cluster, [write]) == []
    third = (None, v1_pool("10.1.0.0/26"))
    assert words(cluster, [write, third]) == ["pool_overlap"] * 2


def test_a_pool_that_goes_is_not_in_the_way():
    cluster = v1_cluster(pools=[("10.1.0.0/16", False)])
    assert safety.refusals(cluster, [(None, v1_pool("10.0.0.0/8"))], [v1_pool("10.1.0.0/16")]) == []


# last_pool --------------------------------------------------------------------------------------


def test_the_last_enabled_pool_of_a_family_stays():
    pools = [pool("a", "10.1.0.0/16"), pool("b", "10.2.0.0/16", disabled=True), pool("six", "fd00::/48")]
    cluster = unused(*pools)
    refusal = the_one("last_pool", cluster, [changed(pools[0], disabled=True)])
    assert refusal["resource"] == "IPPool a"
    assert "IPv4" in refusal["seen"]
    the_one("last_pool", cluster, deletes=[pools[0]])
    assert "IPv6" in the_one("last_pool", cluster, deletes=[pools[2]])["seen"]
    # One is enabled instead, or made.
    enabled = changed(pools[1], disabled=None)
    assert safety.refusals(cluster, [changed(pools[0], disabled=True), enabled]) == []
    assert safety.refusals(cluster, [(None, pool("c", "10.3.0.0/16"))], [pools[0]]) == []
    # There is none enabled to be lost.
    assert safety.refusals(unused(pools[1]), deletes=[pools[1]]) == []


def test_the_last_enabled_pool_of_2_6_stays(recorded_v1):
    write = changed(recorded_v1.pools[0], disabled=True)
    assert the_one("last_pool", recorded_v1, [write])["resource"] == "ipPool 172.20.0.0/16"
    other = changed(recorded_v1.pools[1], disabled=None)
    assert safety.refusals(recorded_v1, [write, other]) == []


# node_in_use ------------------------------------------------------------------------------------


def test_a_node_with_workloads_stays(living):
    refusal = the_one("node_in_use", living, deletes=[existing(living, "Node", "node1")])
    assert refusal["resource"] == "Node node1"
    assert "2 workloads would be cut off for good: default/node1-cni-w1--h1-eth0" in refusal["seen"]


def test_a_node_whose_blocks_are_in_use_stays():
    cluster = topology.from_v3(TRIO, block("10.1.0.0/30", "n3", 2))
    refusal = the_one("node_in_use", cluster, deletes=[TRIO[2]])
    assert "2 addresses are in use in its blocks" in refusal["seen"]
    assert "10.1.0.0/30" in refusal["seen"]
    assert safety.refusals(cluster, deletes=[TRIO[1]]) == []


def test_a_nodes_own_tunnel_goes_with_it():
    third = node("n3", "10.0.0.3", ipv4IPIPTunnelAddr="10.1.0.0")
    assert (
        safety.refusals(topology.from_v3([*TRIO[:2], third], block("10.1.0.0/30", "n3", 1)), deletes=[third])
        == []
    )
    blocks = {
        "/calico/ipam/v2/host/n1/ipv4/block/10.1.0.0-30": "{}",
        "/calico/ipam/v2/assignment/ipv4/block/10.1.0.0-30": json.dumps(
            {"cidr": "10.1.0.0/30", "allocations": [0, None]}
        ),
    }
    tunnel = {"/calico/v1/host/n1/config/IpInIpTunnelAddr": "10.1.0.0"}
    gone = [v1("node", {"name": "n1"})]
    assert words(v1_cluster(more=blocks), deletes=gone) == ["node_in_use"]
    assert words(v1_cluster(more={**blocks, **tunnel}), deletes=gone) == []


def test_a_node_of_2_6_with_workloads_stays(recorded_v1):
    node1, node2 = recorded_v1.resources["node"]
    refusal = the_one("node_in_use", recorded_v1, deletes=[node1])
    assert refusal["resource"] == "node node1"
    assert "1 workload would be cut off for good: k8s/default.web/eth0" in refusal["seen"]
    assert safety.refusals(recorded_v1, deletes=[node2]) == []


# no_sessions ------------------------------------------------------------------------------------


def test_the_mesh_stays_on_where_nothing_takes_its_place(living):
    refusal = the_one("no_sessions", living, [changed(existing(living, "BGPConfiguration"), **OFF)])
    assert refusal["resource"] == "BGPConfiguration default"
    assert "3 nodes would have no BGP session left for IPv4: node1, node2, node3" in refusal["seen"]
    assert "Established" in refusal["do"]


def test_the_mesh_goes_off_where_peers_take_its_place(living):
    off = changed(existing(living, "BGPConfiguration"), **OFF)
    outside = peer("rr", peerIP="172.31.77.9", asNumber=64512)
    assert safety.refusals(living, [off, (None, outside)]) == []
    living.selections = topology.from_v3([outside]).selections
    living.resources["BGPPeer"] = [outside]
    assert safety.refusals(living, [off]) == []


def test_one_that_the_peers_leave_out_is_named(living):
    off = changed(existing(living, "BGPConfiguration"), **OFF)
    some = peer("rr", nodeSelector="rack == 'a'", peerIP="172.31.77.9", asNumber=64512)
    labelled = changed(existing(living, "Node", "node1"), labels={"rack": "a"})
    refusal = the_one("no_sessions", living, [off, labelled, (None, some)])
    assert "2 nodes would have no BGP session left for IPv4: node2, node3" in refusal["seen"]


REFLECTED = [
    node("rr", "10.0.0.9", {"rr": "yes"}, routeReflectorClusterID="244.0.0.1"),
    node("a", "10.0.0.1"),
    node("b", "10.0.0.2"),
    peer("to-rr", nodeSelector="!has(rr)", peerSelector="rr == 'yes'"),
    bgp(**OFF),
]


def test_where_reflectors_are_in_use_their_labels_and_peers_stay():
    cluster = topology.from_v3(REFLECTED)
    refusal = the_one("no_sessions", cluster, [changed(REFLECTED[0], labels={})])
    assert refusal["resource"] == "Node rr"
    assert "3 nodes" in refusal["seen"]
    assert the_one("no_sessions", cluster, deletes=[REFLECTED[3]])["resource"] == "BGPPeer to-rr"
    the_one("no_sessions", cluster, [changed(REFLECTED[3], peerSelector="rr == 'no'")])
    # The reflector itself is a node, too: without it the others are alone.
    assert "a, b" in the_one("no_sessions", cluster, deletes=[REFLECTED[0]])["seen"]
    assert safety.refusals(cluster, [changed(REFLECTED[0], labels={"rr": "yes", "x": "y"})]) == []
    assert safety.refusals(cluster, deletes=[REFLECTED[1]]) == []
    back_to_the_mesh = changed(REFLECTED[4], nodeToNodeMeshEnabled=True)
    assert words(cluster, [back_to_the_mesh], [REFLECTED[3]]) == ["no_sessions"], "rr is not in the mesh"
    assert words(cluster, [back_to_the_mesh]) == []


def test_a_cluster_id_goes_together_with_its_peers():
    cluster = topology.from_v3(TRIO)
    reflector = changed(
        TRIO[0], labels={"rr": "y"}, bgp={**TRIO[0]["spec"]["bgp"], "routeReflectorClusterID": "1.1.1.1"}
    )
    refusal = the_one("no_sessions", cluster, [reflector])
    assert refusal["resource"] == "Node n1"
    assert "1 node would have" in refusal["seen"]
    with_peers = [reflector, (None, peer("p", nodeSelector="!has(rr)", peerSelector="has(rr)"))]
    assert safety.refusals(cluster, with_peers) == []


def test_both_families_count():
    nodes = [node(f"n{i}", f"10.0.0.{i}", ipv6=f"fd00::{i}") for i in (1, 2)]
    cluster = topology.from_v3(nodes)
    four = (None, peer("p", peerIP="10.0.0.99", asNumber=64512))
    refusal = the_one("no_sessions", cluster, [(None, bgp(**OFF)), four])
    assert "left for IPv6" in refusal["seen"]
    six = (None, peer("q", peerIP="fd00::99", asNumber=64512))
    assert safety.refusals(cluster, [(None, bgp(**OFF)), four, six]) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"node": "gone", "peerIP": "10.9.9.9", "asNumber": 64512},
        {"nodeSelector": "has(gone)", "peerIP": "10.9.9.9", "asNumber": 64512},
        {"peerSelector": "has(gone)"},
        # Two of three: n2 is left without one.
        {"nodeSelector": "all()", "peerIP": "10.0.0.2", "asNumber": 64999},
    ],
)
def test_a_peer_that_makes_no_session_does_not_take_the_place_of_the_mesh(spec):
    refusal = the_one("no_sessions", topology.from_v3(TRIO), [(None, bgp(**OFF)), (None, peer("p", **spec))])
    assert "3 nodes would have" in refusal["seen"]
    assert "no session comes of 1 peer: " in refusal["seen"]


def test_a_neighbour_that_is_no_node_of_ours_counts_once_it_is_declared():
    outside = (None, peer("p", peerIP="10.9.9.9", asNumber=64512))
    assert safety.refusals(topology.from_v3(TRIO), [(None, bgp(**OFF)), outside]) == []
    # So does whatever listens at another port of a node.
    other = (None, peer("p", peerIP="10.0.0.9:1790", asNumber=64999))
    spare = node("spare", "10.0.0.9")
    found = safety.refusals(topology.from_v3([*TRIO, spare]), [(None, bgp(**OFF)), other])
    assert [item["seen"] for item in found] == ["1 node would have no BGP session left for IPv4: spare"]


def test_a_node_of_ours_that_peers_back_takes_the_place_of_the_mesh():
    back = (None, peer("p", nodeSelector="all()", peerIP="10.0.0.2", asNumber=64512))
    assert safety.refusals(topology.from_v3(TRIO), [(None, bgp(**OFF)), back]) == []


def test_a_node_of_2_6_that_does_not_peer_back_is_no_neighbour():
    off = (v1_config(), v1_config(mesh=False))
    one_way = [(None, v1_peer("10.0.0.2"))]
    refusal = the_one("no_sessions", v1_cluster(), [off, *one_way])
    assert "3 nodes" in refusal["seen"] and "10.0.0.2: that node has no such peer" in refusal["seen"]
    back = [*one_way, (None, v1_peer("10.0.0.1", on="n2")), (None, v1_peer("10.0.0.3", on="n2"))]
    assert safety.refusals(v1_cluster(), [off, *back]) == []


def test_one_that_is_left_alone_needs_no_session():
    assert safety.refusals(topology.from_v3(TRIO[:1]), [(None, bgp(**OFF))]) == []
    assert safety.refusals(topology.from_v3(TRIO[:2]), deletes=[TRIO[1]]) == []
    assert safety.refusals(topology.from_v3(TRIO), deletes=TRIO[1:]) == []
    assert safety.refusals(v1_cluster(2), deletes=[v1("node", {"name": "n1"})]) == []
    assert safety.refusals(v1_cluster(1), [(v1_config(), v1_config(mesh=False))]) == []
    # But it keeps the sessions that it has with others than nodes.
    router = peer("tor", peerIP="10.9.9.9", asNumber=64999)
    cluster = topology.from_v3([*TRIO[:2], router, bgp(**OFF)])
    assert words(cluster, deletes=[TRIO[1], router]) == ["no_sessions"]


def test_the_mesh_of_2_6_stays_on_where_nothing_takes_its_place():
    off = (v1_config(), v1_config(mesh=False))
    refusal = the_one("no_sessions", v1_cluster(8), [off])
    assert refusal["seen"].endswith(
        "8 nodes would have no BGP session left for IPv4: n1, n2, n3, n4, n5 and 3 more"
    )
    assert safety.refusals(v1_cluster(), [off, (None, v1_peer("10.0.0.99"))]) == []
    assert safety.refusals(v1_cluster(peers=[(None, "10.0.0.99")]), [off]) == []
    of_one = v1_cluster(peers=[("n1", "10.0.0.99")])
    assert "n2, n3" in the_one("no_sessions", of_one, [off])["seen"]
    # Already off: no session is lost by saying so again.
    assert safety.refusals(v1_cluster(mesh=False), [(v1_config(False), v1_config(False))]) == []


def test_the_last_peer_of_2_6_stays_while_the_mesh_is_off():
    cluster = v1_cluster(mesh=False, peers=[(None, "10.0.0.99"), (None, "10.0.0.98")])
    one, other = cluster.peers
    assert safety.refusals(cluster, deletes=[one]) == []
    assert the_one("no_sessions", cluster, deletes=[one, other])["resource"] == "bgpPeer 10.0.0.98"
    assert safety.refusals(v1_cluster(peers=[(None, "10.0.0.99")]), deletes=[v1_peer("10.0.0.99")]) == []


def test_settings_of_2_6_that_are_taken_away_are_the_defaults():
    cluster = v1_cluster(mesh=False, more={"/calico/bgp/v1/global/as_num": "64600"})
    written = v1_bgp(nodeToNodeMeshEnabled=True)
    assert safety.refusals(cluster, [(None, written)]) == [], "the AS number was not spoken of"
    meshed = v1_cluster(more={"/calico/bgp/v1/global/as_num": "64600"})
    assert words(meshed, [(v1_config(as_number=64600), written)]) == ["as_number"]
    assert words(meshed, deletes=[v1_config(as_number=64600)]) == ["as_number"]


# as_number --------------------------------------------------------------------------------------


def test_the_as_number_does_not_change_for_all_nodes_at_once(living):
    refusal = the_one("as_number", living, [changed(existing(living, "BGPConfiguration"), asNumber=64600)])
    assert "from 64512 to 64600 for 3 nodes at once: node1, node2, node3" in refusal["seen"]
    the_one("as_number", topology.from_v3([*TRIO, bgp(asNumber=64600)]), deletes=[bgp(asNumber=64600)])


def test_the_same_as_number_in_another_spelling_is_no_change():
    cluster = topology.from_v3([*TRIO, bgp(asNumber=65546)])
    assert safety.refusals(cluster, [(bgp(asNumber=65546), bgp(asNumber="1.10"))]) == []


def test_the_as_number_changes_where_at_most_one_node_goes_by_it():
    own = [node("n1", "10.0.0.1", asNumber=64600), node("n2", "10.0.0.2", asNumber=64600), TRIO[2]]
    write = (None, bgp(asNumber=64600))
    assert safety.refusals(topology.from_v3(own), [write]) == []
    assert words(topology.from_v3([own[0], *TRIO[1:]]), [write]) == ["as_number"]
    # No sessions, nothing to be lost.
    alone = topology.from_v3([*TRIO, bgp(**OFF)])
    assert safety.refusals(alone, [(bgp(**OFF), bgp(**{**OFF, "asNumber": 64600}))]) == []
    # Whoever keeps the old number as its own does not change.
    kept = [changed(item, bgp={**item["spec"]["bgp"], "asNumber": 64512}) for item in TRIO]
    assert safety.refusals(topology.from_v3(TRIO), [write, *kept]) == []
    # The number moves from the nodes to all: nobody's changes.
    moved = [
        changed(item, bgp={k: v for k, v in item["spec"]["bgp"].items() if k != "asNumber"}) for item in own
    ]
    assert safety.refusals(topology.from_v3(own[:2]), [write, *moved[:2]]) == []


def test_the_as_number_of_2_6():
    write = (v1_config(), v1_config(as_number=64600))
    assert "3 nodes at once: n1, n2, n3" in the_one("as_number", v1_cluster(), [write])["seen"]
    assert safety.refusals(v1_cluster(own_numbers=[("n1", 64512), ("n2", 64600)]), [write]) == []
    own = v1("node", {"name": "n1"}, bgp={"ipv4Address": "10.0.0.1/24", "asNumber": 64512})
    current = v1_cluster(2).resources["node"][0]
    assert safety.refusals(v1_cluster(2), [write, (current, own)]) == []


# own_node_peer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [{}, {"node": "n1"}, {"nodeSelector": "all()"}])
def test_a_peer_is_none_of_our_own_nodes_while_the_mesh_has_both(ends):
    cluster = topology.from_v3(TRIO)
    new = peer("p", peerIP="10.0.0.2", asNumber=64512, **ends)
    refusal = the_one("own_node_peer", cluster, [(None, new)])
    assert refusal["resource"] == "BGPPeer p"
    assert "10.0.0.2 is that of our own node n2" in refusal["seen"]
    # Something else may listen on another port; on the node's own port it is the node.
    new["spec"]["peerIP"] = "10.0.0.2:1790"
    assert safety.refusals(cluster, [(None, new)]) == []
    new["spec"]["peerIP"] = "10.0.0.2:179"
    assert words(cluster, [(None, new)]) == ["own_node_peer"]


def test_reflectors_may_be_declared_by_address():
    new = peer("p", peerIP="10.0.0.9", asNumber=64512)
    assert safety.refusals(topology.from_v3([*TRIO, REFLECTED[0]]), [(None, new)]) == []
    # Written on the reflector's side.
    from_rr = peer("p", node="rr", peerIP="10.0.0.1", asNumber=64512)
    assert safety.refusals(topology.from_v3([*TRIO, REFLECTED[0]]), [(None, from_rr)]) == []
    # Without the mesh, or with the mesh switched off in the same change.
    new = peer("p", peerIP="10.0.0.2", asNumber=64512)
    assert safety.refusals(topology.from_v3([*TRIO, bgp(**OFF)]), [(None, new)]) == []
    assert safety.refusals(topology.from_v3(TRIO), [(None, new), (None, bgp(**OFF))]) == []


@pytest.mark.parametrize("others", [[], [bgp(**OFF)]])
def test_a_peer_is_never_the_very_node_that_it_is_for(others):
    new = peer("p", node="n1", peerIP="10.0.0.1", asNumber=64512)
    refusal = the_one("own_node_peer", topology.from_v3([*TRIO, *others]), [(None, new)])
    assert "10.0.0.1 is that of n1, the node that it is for" in refusal["seen"]


def test_a_peer_outside_or_of_another_family_is_none_of_our_nodes():
    cluster = topology.from_v3([*TRIO, node("six", ipv6="fd00::1")])
    assert safety.refusals(cluster, [(None, peer("p", peerIP="10.0.0.99", asNumber=64512))]) == []
    # No other node has IPv6: there is no session of the mesh.
    assert safety.refusals(cluster, [(None, peer("p", peerIP="fd00::1", asNumber=64512))]) == []


def test_a_peer_that_was_no_better_may_be_changed_in_other_ways():
    bad = peer("p", peerIP="10.0.0.2", asNumber=64512)
    cluster = topology.from_v3([*TRIO, bad])
    assert safety.refusals(cluster, [changed(bad, maxRestartTime="5m")]) == []
    assert words(cluster, [changed(bad, peerIP="10.0.0.3")]) == ["own_node_peer"]
    assert safety.refusals(cluster, deletes=[bad]) == []


def test_own_nodes_as_peers_in_2_6():
    new = (None, v1_peer("10.0.0.2"))
    assert the_one("own_node_peer", v1_cluster(), [new])["resource"] == "bgpPeer 10.0.0.2"
    assert safety.refusals(v1_cluster(), [(None, v1_peer("10.0.0.99", on="n1"))]) == []
    assert safety.refusals(v1_cluster(mesh=False), [new]) == []
    assert words(v1_cluster(mesh=False), [(None, v1_peer("10.0.0.2", on="n2"))]) == ["own_node_peer"]
    # The first node of a cluster, which has its peers before it has company.
    assert safety.refusals(v1_cluster(1), [(None, v1_peer("10.0.0.1"))]) == []


# All of it --------------------------------------------------------------------------------------


def test_nothing_speaks_against_nothing(living, recorded_v1):
    assert safety.refusals(living) == safety.refusals(recorded_v1) == []
    for cluster in (living, recorded_v1):
        again = [(item, item) for items in cluster.resources.values() for item in items]
        assert safety.refusals(cluster, again) == []


def test_other_kinds_are_none_of_its_business(living):
    profile = existing(living, "Profile")
    assert safety.refusals(living, [(None, v3("GlobalNetworkPolicy", "p", order=1))], [profile]) == []


def test_kinds_are_known_in_any_spelling(living):
    off = {**bgp(**OFF), "kind": "bgpconfiguration"}
    assert words(living, [(existing(living, "BGPConfiguration"), off)]) == ["no_sessions"]


def test_every_refusal_of_one_change_is_told(living):
    writes = [
        changed(existing(living, "BGPConfiguration"), nodeToNodeMeshEnabled=False, asNumber=64600),
        (None, peer("p", node="node1", peerIP="172.31.77.11", asNumber=64512)),
    ]
    deletes = [existing(living, "IPPool"), existing(living, "Node", "node3")]
    found = words(living, writes, deletes)
    assert found == ["pool_in_use", "last_pool", "node_in_use", "no_sessions", "as_number", "own_node_peer"]
    assert words(living, writes, deletes, allow=safety.ALLOW) == []


# Large numbers -----------------------------------------------------------------------------------


def work_on(cluster, writes=(), deletes=()):
    """The refusals, and how much work they took."""
    return work.calls(lambda: safety.refusals(cluster, writes, deletes))


def many_nodes(mesh=True):
    nodes = [
        node(f"n{i}", f"10.{i >> 8}.{i & 255}.1", {"rack": str(i % 50)}, ipv6=f"fd00::{i:x}")
        for i in range(1, 1001)
    ]
    peers = [
        peer(f"p{i}", nodeSelector=f"rack == '{i}'", peerSelector=f"rack == '{i + 1}' && !has(x{i})")
        for i in range(50)
    ]
    return topology.from_v3([*nodes, bgp(nodeToNodeMeshEnabled=mesh), *([] if mesh else peers)])


def test_the_mesh_of_a_thousand_nodes_is_judged():
    found, calls = work_on(many_nodes(), [(bgp(), bgp(**OFF))])
    assert [item["allow"] for item in found] == ["no_sessions"]
    assert "1000 nodes" in found[0]["seen"]
    assert calls < 400 * 1000, "for each node some hundred; with their square it would be millions"


def test_fifty_selectors_and_a_thousand_nodes_are_judged():
    cluster = many_nodes(mesh=False)
    found, calls = work_on(cluster, [changed(cluster.peers[0], peerSelector="none ==")], cluster.peers[2:])
    assert [item["allow"] for item in found] == ["no_sessions"]
    assert calls < 20 * 50 * 1000, "for each pair of a selector and a node"


def test_two_hundred_pools_and_ten_thousand_workloads_are_judged():
    pools = [pool(f"p{i}", f"10.{i}.0.0/16") for i in range(200)]
    endpoints = [workload(f"w{i}", "n1", f"10.{i % 200}.0.{i // 200}/32") for i in range(10000)]
    blocks = [pair for i in range(2000) for pair in block(f"10.{i % 200}.1.{i // 200 * 4}/30", "n1", 3)]
    cluster = topology.from_v3([*TRIO, *pools, *endpoints], blocks)
    new = [(None, pool(f"q{i}", f"10.{i}.0.0/17")) for i in range(200)]
    found, calls = work_on(cluster, new, pools)
    assert [item["allow"] for item in found] == ["pool_in_use"] * 200
    assert "80 addresses are in use" in found[0]["seen"]
    assert calls < 300 * 12000, "for each workload and block; with all pools it would be many times that"
