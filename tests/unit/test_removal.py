"""What a node leaves in the datastore, in both generations, and what it takes to remove it."""

import json

import calico_removal
import calico_topology
import pytest

from tests.support.views import Fleet

PEER = {"ip": "192.0.2.1", "as_num": "64600"}


def v2():
    block = json.dumps({"cidr": "172.20.1.0/26", "allocations": [0] * 2 + [None] * 62})
    return calico_topology.from_v2(
        {
            "/calico/bgp/v1/host/node1/ip_addr_v4": "10.0.0.1",
            "/calico/bgp/v1/host/node3/ip_addr_v4": "10.0.0.3",
            "/calico/bgp/v1/host/node3/peer_v4/192.0.2.1": json.dumps(PEER),
            "/calico/bgp/v1/global/peer_v4/10.0.0.3": json.dumps({"ip": "10.0.0.3", "as_num": "64512"}),
            "/calico/v1/host/node3/config/IpInIpTunnelAddr": "172.20.1.1",
            "/calico/v1/host/node3/workload/cni/w1/endpoint/eth0": json.dumps(
                {"ipv4_nets": ["172.20.1.0/32"]}
            ),
            "/calico/ipam/v2/assignment/ipv4/block/172.20.1.0-26": block,
            "/calico/ipam/v2/host/node3/ipv4/block/172.20.1.0-26": "{}",
        }
    )


def resource(kind, name, **spec):
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def v3(*more):
    tunnel = {"bgp": {"ipv4Address": "10.0.0.3/24", "ipv4IPIPTunnelAddr": "172.20.1.1"}}
    return calico_topology.from_v3(
        [
            resource("Node", "node1", bgp={"ipv4Address": "10.0.0.1/24"}),
            resource("Node", "node3", **tunnel),
            resource("BGPPeer", "own", node="node3", peerIP="192.0.2.1", asNumber=64600),
            resource("BGPPeer", "its-address", peerIP="10.0.0.3:1790", asNumber=64512),
            resource("BGPPeer", "other", node="node1", peerIP="192.0.2.1", asNumber=64600),
            resource("BGPConfiguration", "node.node3", listenPort=1790),
            resource("FelixConfiguration", "node.node3", logSeverityScreen="Debug"),
            resource("FelixConfiguration", "node.node1", logSeverityScreen="Debug"),
            *more,
        ]
    )


def test_what_there_is_in_2_6():
    assert calico_removal.remains(v2(), "node3") == {
        "meant": None,
        "registered": True,
        "addresses": ["10.0.0.3"],
        "port": 179,
        "workloads": ["cni/w1/eth0"],
        "blocks": [["172.20.1.0/26", 2]],
        "peers": [{"words": {"node": "node3", "peer_ip": "192.0.2.1"}, "label": "node3 192.0.2.1"}],
        "naming": ["10.0.0.3"],
        "settings": ["felix"],
        "tunnels": ["172.20.1.1"],
    }


def test_what_there_is_in_3():
    found = calico_removal.remains(v3(), "node3")
    assert found == {
        "meant": None,
        "registered": True,
        "addresses": ["10.0.0.3"],
        # A BIRD that lives is looked for there.
        "port": 1790,
        "workloads": [],
        "blocks": [],
        "peers": [{"words": {"name": "own"}, "label": "own"}],
        "naming": ["its-address"],
        "settings": ["bgp", "felix"],
        "tunnels": ["172.20.1.1"],
    }
    assert calico_removal.calls(found, "node3") == [
        ("node", [{"name": "node3"}]),
        ("peer", [{"name": "own"}]),
        ("bgp", [{"name": "node.node3"}]),
        ("felix", [{"name": "node.node3"}]),
    ]


def test_of_a_node_that_nobody_knows_there_is_nothing():
    for cluster in (v2(), v3()):
        found = calico_removal.remains(cluster, "node9")
        assert calico_removal.described(found) == []
        assert calico_removal.calls(found, "node9") == []


def test_what_is_bound_to_a_node_that_is_gone():
    found = {"datastore": "etcdv3", **calico_removal.remains(v3(), "node9"), "blocks": [["172.20.1.0/26", 0]]}
    assert calico_removal.orphaned(found)
    assert list(calico_removal.in_use(found)) == []
    found["blocks"][0][1] = 3
    (reason,) = calico_removal.in_use(found)
    assert "172.20.1.0/26" in reason
    # There the node is Kubernetes' own, and cannot be made for a moment.
    assert not calico_removal.orphaned({**found, "datastore": "kubernetes"})
    assert not calico_removal.orphaned({**found, "registered": True})


def test_who_waits_for_an_address():
    fleet = Fleet(4)
    fleet.breaks("node2", "node4")
    for name in ("node1", "node3"):
        fleet.up[name].pop("10.0.0.4")
    fleet.says("node3", error="The datastore cannot be read", up="10.0.0.4")
    views = [fleet.view(name) for name in fleet.names[:3]]
    assert calico_removal.waiting(views, ["10.0.0.4"]) == ["node2"]
    assert calico_removal.waiting(views, ["10.0.0.40"]) == []


@pytest.mark.parametrize("text", ["NODE3", "10.0.0.3"])
def test_a_node_that_was_meant(text):
    cluster = calico_topology.from_v2({"/calico/bgp/v1/host/node3/ip_addr_v4": "10.0.0.3"})
    found = calico_removal.remains(cluster, text)
    assert (found["meant"], found["registered"]) == ("node3", False)
    assert calico_removal.remains(cluster, "node4")["meant"] is None
