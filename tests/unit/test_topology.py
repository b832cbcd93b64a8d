"""Cluster and expected sessions, from keys that the real calicoctl wrote."""

import json
import time
from pathlib import Path

import calico_topology as topology
import pytest

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


def test_a_thousand_nodes_and_fifty_peers_are_quick():
    nodes = {f"n{i}": (f"10.{i >> 8}.{i & 255}.1", f"fd00::{i:x}", None) for i in range(1, 1001)}
    peers = [(None, f"192.168.0.{i}", 64513) for i in range(1, 51)]
    cluster = topology.from_v2(v2_keys(nodes, peers=peers))
    start = time.perf_counter()
    sessions = topology.expected_sessions(cluster, "n500")
    assert time.perf_counter() - start < 0.1
    assert len(sessions) == 2 * 999 + 50
