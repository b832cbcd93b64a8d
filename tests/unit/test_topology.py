"""Cluster and expected sessions, from keys that the real calicoctl wrote."""

import json
from pathlib import Path

import calico_topology as topology
import pytest
import yaml

RECORDINGS = Path(__file__).parents[1] / "recordings"


@pytest.fixture(scope="module")
def keys():
    recorded = json.loads((RECORDINGS / "etcd-v2-keys.json").read_text(encoding="utf-8"))
    return {
        row["key"]: row["value"] if isinstance(row["value"], str) else json.dumps(row["value"])
        for row in recorded["keys"]
    }


def v2_keys(nodes, mesh=True, peers=(), as_number=64512):
    """Keys of a cluster: nodes {name: (ipv4, ipv6, AS)}, peers [(node or None, address, AS)]."""
    found = {
        "/calico/bgp/v1/global/as_num": str(as_number),
        "/calico/bgp/v1/global/node_mesh": json.dumps({"enabled": mesh}),
    }
    for name, (ipv4, ipv6, number) in nodes.items():
        host = f"/calico/bgp/v1/host/{name}"
        found[f"{host}/ip_addr_v4"] = ipv4
        found[f"{host}/ip_addr_v6"] = ipv6
        if number:
            found[f"{host}/as_num"] = str(number)
        found[f"/calico/v1/host/{name}/metadata"] = "{}"
    for node, address, number in peers:
        where = f"host/{node}" if node else "global"
        version = "v6" if ":" in address else "v4"
        value = json.dumps({"ip": address, "as_num": str(number)})
        found[f"/calico/bgp/v1/{where}/peer_{version}/{address}"] = value
    return found


def names(cluster, node):
    return [session["name"] for session in topology.expected_sessions(cluster, node)]


def test_resources_are_those_that_were_applied(keys):
    cluster = topology.from_v2(keys)
    assert [(pool["metadata"], pool["spec"]) for pool in cluster.pools] == [
        ({"cidr": "172.20.0.0/16"}, {"nat-outgoing": True}),
        (
            {"cidr": "172.21.0.0/16"},
            {"ipip": {"enabled": True, "mode": "cross-subnet"}, "disabled": True},
        ),
    ]
    assert [(peer["metadata"], peer["spec"]) for peer in cluster.peers] == [
        ({"scope": "global", "peerIP": "192.168.61.9"}, {"asNumber": 64512}),
        ({"scope": "node", "node": "node1", "peerIP": "192.168.61.10"}, {"asNumber": 64513}),
    ]
    assert [(node["metadata"], node["spec"]) for node in cluster.resources["node"]] == [
        ({"name": "node1"}, {"bgp": {"asNumber": 64512, "ipv4Address": "192.168.61.61/24"}}),
        (
            {"name": "node2"},
            {
                "bgp": {
                    "ipv4Address": "192.168.61.62/24",
                    "ipv6Address": "fd80:24e2:f998:72d7::2/64",
                }
            },
        ),
    ]


def test_config_is_what_was_set(keys):
    cluster = topology.from_v2(keys)
    config = cluster.config
    assert (config["nodeToNodeMesh"], config["asNumber"]) == ("off", 64599)
    assert (config["logLevel"], config["ipip"]) == ("debug", "on")
    assert config["felix"]["LogFilePath"] == "none"
    assert config["bgp"] == {"foo": "bar"}
    assert config["nodes"]["node1"]["bgp"] == {"loglevel": "info"}
    assert cluster.workloads == [
        {"node": "node1", "name": "k8s/default.web/eth0", "networks": ["172.20.26.1/32"]}
    ]
    assert {name: node["workloads"] for name, node in cluster.nodes.items()} == {
        "node1": 1,
        "node2": 0,
    }


def test_defaults_of_an_empty_datastore_are_those_that_calicoctl_prints():
    config = topology.from_v2({}).config
    assert (config["nodeToNodeMesh"], config["asNumber"]) == ("on", 64512)
    assert (config["logLevel"], config["ipip"]) == ("info", "off")


def test_mesh_of_both_families():
    cluster = topology.from_v2(
        v2_keys(
            {
                "a": ("10.0.0.1", "fd00::1", None),
                "b": ("10.0.0.2", "", 64513),
                "c": ("10.0.0.3", "fd00::3", None),
                "no-address": ("", "", None),
            }
        )
    )
    assert topology.expected_sessions(cluster, "a") == [
        session("Mesh_10_0_0_2", "mesh", "10.0.0.2", 4, 64513, "b"),
        session("Mesh_10_0_0_3", "mesh", "10.0.0.3", 4, 64512, "c"),
        session("Mesh_fd00__3", "mesh", "fd00::3", 6, 64512, "c"),
    ]
    assert names(cluster, "b") == ["Mesh_10_0_0_1", "Mesh_10_0_0_3"]
    assert names(cluster, "no-address") == []
    with pytest.raises(topology.NotRegistered, match="'nobody'"):
        topology.expected_sessions(cluster, "nobody")


def session(name, kind, address, family, as_number, node, duplicate_of=None):
    return {
        "name": name,
        "type": kind,
        "address": address,
        "family": family,
        "port": 179,
        "as_number": as_number,
        "node": node,
        "passive": None,
        "duplicate_of": duplicate_of,
    }


def test_peers_beside_and_instead_of_the_mesh():
    nodes = {"a": ("10.0.0.1", "", None), "b": ("10.0.0.2", "", None)}
    peers = [(None, "10.0.0.9", 64512), ("a", "10.0.0.10", 64513), (None, "10.0.0.1", 64512)]
    cluster = topology.from_v2(v2_keys(nodes, peers=peers))
    assert names(cluster, "a") == ["Mesh_10_0_0_2", "Global_10_0_0_9", "Node_10_0_0_10"]
    # A peer that is one of our own nodes doubles the mesh's session.
    sessions = topology.expected_sessions(cluster, "b")
    assert [(s["name"], s["duplicate_of"]) for s in sessions] == [
        ("Mesh_10_0_0_1", None),
        ("Global_10_0_0_1", "Mesh_10_0_0_1"),
        ("Global_10_0_0_9", None),
    ]
    cluster = topology.from_v2(v2_keys(nodes, mesh=False, peers=peers[:2]))
    assert names(cluster, "a") == ["Global_10_0_0_9", "Node_10_0_0_10"]
    assert names(cluster, "b") == ["Global_10_0_0_9"]


def test_blocks_belong_to_registered_nodes():
    keys = v2_keys({"a": ("10.0.0.1", "", None)})
    ipam = "/calico/ipam/v2"
    keys[f"{ipam}/host/a/ipv4/block/172.20.0.64-26"] = ""
    keys[f"{ipam}/host/gone/ipv4/block/172.20.1.0-26"] = ""
    keys[f"{ipam}/host/a/ipv6/block/fd00:1::-122"] = ""
    block = {"cidr": "172.20.0.64/26", "affinity": "host:a", "allocations": [0, None, 1]}
    keys[f"{ipam}/assignment/ipv4/block/172.20.0.64-26"] = json.dumps(block)
    keys[f"{ipam}/config"] = json.dumps({"strict_affinity": False})
    cluster = topology.from_v2(keys)
    assert cluster.nodes["a"]["blocks"] == ["172.20.0.64/26", "fd00:1::/122"]
    assert list(cluster.nodes) == ["a"]
    assert cluster.blocks[0] == {"cidr": "172.20.0.64/26", "node": "a", "used": 2}
    assert cluster.blocks[1]["node"] == "gone"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("/calico/bgp/v1/global/node_mesh", "on"),
        ("/calico/bgp/v1/global/node_mesh", "[]"),
        ("/calico/bgp/v1/global/as_num", "x"),
        ("/calico/bgp/v1/global/peer_v4/10.0.0.9", "{}"),
        ("/calico/v1/ipam/v4/pool/10.0.0.0-8", "{}"),
        ("/calico/v1/ipam/v4/pool/10.0.0.0-8", "{"),
    ],
)
def test_a_value_that_calico_does_not_write_is_an_error_that_names_the_key(key, value):
    with pytest.raises(topology.Unreadable, match=key):
        topology.from_v2({key: value})


@pytest.mark.parametrize(
    ("given", "number"),
    [("64512", 64512), (64512, 64512), ("1.10", 65546), ("4294967295", 2**32 - 1), ("0.1", 1)],
)
def test_as_numbers(given, number):
    assert topology.as_number(given) == number


@pytest.mark.parametrize("given", ["", "x", "-1", "4294967296", "1.65536", "1.2.3", "1.-1"])
def test_bad_as_numbers(given):
    with pytest.raises(topology.Unreadable):
        topology.as_number(given)


def test_a_thousand_nodes_and_fifty_peers_are_all_told():
    nodes = {f"n{i}": (f"10.{i >> 8}.{i & 255}.1", f"fd00::{i:x}", None) for i in range(1, 1001)}
    peers = [(None, f"192.168.0.{i}", 64513) for i in range(1, 51)]
    cluster = topology.from_v2(v2_keys(nodes, peers=peers))
    sessions = topology.expected_sessions(cluster, "n500")
    assert len(sessions) == 2 * 999 + 50


# Calico 3 --------------------------------------------------------------------------------------


def v3_node(name, address=None, labels=None, ipv6=None, **bgp):
    if address:
        bgp["ipv4Address"] = address
    if ipv6:
        bgp["ipv6Address"] = ipv6
    spec = {"bgp": bgp} if bgp else {}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def v3(kind, name, **spec):
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def recorded_situations():
    """Each situation that calico-node was seen in, with the resources of that moment."""
    path = RECORDINGS / "calico-node" / "v3.22.5" / "bird-protocols.json"
    # What the recording began with.
    cluster = {("Node", f"node{i}"): v3_node(f"node{i}", f"172.31.78.{i}/24") for i in (1, 2, 3)}
    for situation in json.loads(path.read_text(encoding="utf-8")):
        for change in situation["changes"]:
            applied = change.get("calicoctl apply -f -")
            if applied:
                resource = yaml.safe_load(applied)
                cluster[resource["kind"], resource["metadata"]["name"]] = resource
            elif change["calicoctl"][0] == "patch":
                _verb, _kind, name, _option, patch = change["calicoctl"]
                cluster["Node", name]["spec"]["bgp"].update(json.loads(patch)["spec"]["bgp"])
            else:
                _verb, _kind, name, label = change["calicoctl"]
                key, value = label.split("=")
                cluster["Node", name]["metadata"]["labels"][key] = value
        yield pytest.param(
            situation, json.loads(json.dumps(list(cluster.values()))), id=situation["situation"]
        )


def recorded_session(protocol):
    words = protocol["statements"][0].split()
    assert words[0] == "neighbor"
    options = dict(zip(words[2::2], words[3::2]))
    return {
        "name": protocol["name"],
        "address": words[1],
        "port": int(options.get("port", 179)),
        "as_number": int(options["as"]),
        "passive": "passive on" in protocol["statements"],
    }


@pytest.mark.parametrize(("situation", "resources"), list(recorded_situations()))
def test_every_recorded_situation(situation, resources):
    expected = [
        recorded_session(protocol)
        for protocol in situation["protocols"]
        if protocol["type"] == "bgp" and protocol["what"] == "protocol"
    ]
    sessions = topology.expected_sessions(topology.from_v3(resources), situation["seen_on"])
    found = [{key: session[key] for key in expected[0]} for session in sessions] if expected else sessions
    assert found == expected


@pytest.mark.parametrize(("situation", "resources"), list(recorded_situations()))
def test_every_situation_is_the_same_from_both_ends(situation, resources):
    cluster = topology.from_v3(resources)
    ends = {}
    for name in cluster.nodes:
        for session in topology.expected_sessions(cluster, name):
            if session["node"]:
                ends[name, session["node"]] = session
    for (near, far), session in ends.items():
        other = ends[far, near]
        assert other["type"] == session["type"]
        if session["type"] == "mesh":
            assert other["passive"] is not session["passive"]


def test_the_living_cluster_of_the_recordings():
    recorded = json.loads((RECORDINGS / "etcd-v3-keys.json").read_text(encoding="utf-8"))
    pairs = {row["key"]: (json.dumps(row["value"]), 7) for row in recorded["keys"]}
    cluster = topology.from_v3_keys(pairs)
    assert {name: node["workloads"] for name, node in cluster.nodes.items()} == {
        "node1": 2,
        "node2": 1,
        "node3": 1,
    }
    assert {name: node["blocks"] for name, node in cluster.nodes.items()} == {
        "node1": ["10.233.166.192/26"],
        "node2": [],
        "node3": ["10.233.135.0/26"],
    }
    assert [block["used"] for block in cluster.blocks] == [1, 1, 1, 1]
    assert cluster.pools[0]["metadata"]["resourceVersion"] == "7"
    assert cluster.ready
    assert names(cluster, "node2") == ["Mesh_172_31_77_11", "Mesh_172_31_77_13"]


def test_text_decides_which_side_of_the_mesh_connects():
    cluster = topology.from_v3([v3_node("a", "10.0.0.9/24"), v3_node("b", "10.0.0.10/24")])
    (session,) = topology.expected_sessions(cluster, "b")
    # "10.0.0.9" is the greater text.
    assert session["passive"] is True


def test_reflectors_have_no_mesh_and_nodes_without_address_nothing():
    nodes = [
        v3_node("rr", "10.0.0.1/24", routeReflectorClusterID="244.0.0.1"),
        v3_node("a", "10.0.0.2/24", ipv6="fd00::2/64"),
        v3_node("b", "10.0.0.3/24", ipv6="fd00::3/64"),
        v3_node("new"),
    ]
    cluster = topology.from_v3(nodes)
    assert names(cluster, "rr") == names(cluster, "new") == []
    assert names(cluster, "a") == ["Mesh_10_0_0_3", "Mesh_fd00__3"]


def test_ports_of_peers_and_of_nodes():
    resources = [
        v3_node("a", "10.0.0.1/24"),
        v3_node("b", "10.0.0.2/24"),
        v3("BGPConfiguration", "default", nodeToNodeMeshEnabled=False),
        v3("BGPConfiguration", "node.b", listenPort=1790),
        v3("BGPPeer", "x", peerIP="192.168.0.1:180", asNumber=64513),
        v3("BGPPeer", "y", peerIP="[fd00::9]:180", asNumber="1.10"),
        v3("BGPPeer", "z", node="a", peerSelector="all()"),
    ]
    sessions = topology.expected_sessions(topology.from_v3(resources), "a")
    assert [(s["name"], s["port"], s["as_number"]) for s in sessions] == [
        ("Global_192_168_0_1_port_180", 180, 64513),
        ("Node_10_0_0_2_port_1790", 1790, 64512),
    ]
    sessions = topology.expected_sessions(topology.from_v3(resources), "b")
    assert [s["name"] for s in sessions] == ["Global_192_168_0_1_port_180", "Node_10_0_0_1"]


def test_a_peer_by_address_that_is_one_of_our_nodes_works_backwards_too():
    resources = [
        v3_node("a", "10.0.0.1/24"),
        v3_node("b", "10.0.0.2/24", asNumber=64600),
        v3("BGPConfiguration", "default", nodeToNodeMeshEnabled=False),
        v3("BGPPeer", "x", node="a", peerIP="10.0.0.2", asNumber=64600),
        v3("BGPPeer", "other-as", node="b", peerIP="10.0.0.1", asNumber=65000),
    ]
    cluster = topology.from_v3(resources)
    assert [(s["name"], s["as_number"]) for s in topology.expected_sessions(cluster, "a")] == [
        ("Node_10_0_0_2", 64600)
    ]
    # What was named outright wins over what follows backwards.
    assert [(s["name"], s["as_number"]) for s in topology.expected_sessions(cluster, "b")] == [
        ("Node_10_0_0_1", 65000)
    ]


def test_a_global_peer_wins_over_one_for_some_nodes():
    resources = [
        v3_node("a", "10.0.0.1/24", labels={"rack": "1"}),
        v3("BGPPeer", "some", nodeSelector="rack == '1'", peerIP="192.168.0.1", asNumber=64513),
        v3("BGPPeer", "all", peerIP="192.168.0.1", asNumber=64512),
        v3("BGPPeer", "broken", nodeSelector="rack ==", peerIP="192.168.0.2", asNumber=64512),
    ]
    sessions = topology.expected_sessions(topology.from_v3(resources), "a")
    assert [(s["name"], s["as_number"]) for s in sessions] == [("Global_192_168_0_1", 64512)]


@pytest.mark.parametrize(
    "resource",
    [
        v3_node("a", "nonsense"),
        v3("BGPPeer", "a", peerIP="nonsense"),
        v3("BGPPeer", "a", peerIP="10.0.0.1", asNumber="x"),
        {"kind": "Node", "metadata": {}},
    ],
)
def test_resources_that_calico_would_not_keep(resource):
    with pytest.raises(topology.Unreadable, match=resource["kind"]):
        topology.from_v3([resource])


def test_a_thousand_nodes_and_fifty_selections_are_all_told():
    nodes = [
        v3_node(f"n{i}", f"10.{i >> 8}.{i & 255}.1/16", labels={"rack": str(i % 50), "rr": str(i % 7)})
        for i in range(1, 1001)
    ]
    peers = [
        v3(
            "BGPPeer",
            f"p{i}",
            nodeSelector=f"rack in {{'{i}', '7'}}",
            peerSelector=f"rr == '3' && !has(x{i})",
        )
        for i in range(50)
    ]
    cluster = topology.from_v3([*nodes, *peers])
    sessions = topology.expected_sessions(cluster, "n507")
    assert len(sessions) > 999
