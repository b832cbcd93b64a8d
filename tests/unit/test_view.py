"""One node's view: what is told of its sessions, and of the datastore, in few bytes."""

import json

import calico_topology
import calico_view
import pytest

from tests.support.views import Fleet


def session(address, established=True, info="Established", reason="", port=179):
    return {
        "address": address,
        "port": port,
        "since": "18:51:08",
        "state": "up" if established else "start",
        "info": info,
        "reason": reason,
        "established": established,
    }


def expected(address, node="another", port=179):
    return {"address": address, "port": port, "node": node}


def test_where_nodes_listen_elsewhere_sessions_go_by_their_names():
    named = [dict(session("10.0.0.%d" % n), name="Mesh_10_0_0_%d" % n) for n in (2, 3)]
    wanted = [dict(expected(item["address"], port=1790), name=item["name"]) for item in named]
    found = calico_view.view(wanted, named, [4])
    assert found == {"up": "10.0.0.2 10.0.0.3", "down": [], "extra": [], "extras": 0}


DOWN = session("10.0.0.3", False, "Active", "Socket: Connection refused")


def test_sessions_by_what_became_of_them():
    wanted = [expected(f"10.0.0.{number}") for number in (2, 3, 4)] + [expected("fd00::2")]
    found = calico_view.view(wanted, [session("10.0.0.2"), DOWN, session("10.0.0.9")], [4])
    assert found == {
        "up": "10.0.0.2",
        "down": [
            ["Active, Socket: Connection refused", "10.0.0.3 18:51:08"],
            [calico_view.UNTOLD, "10.0.0.4"],
            # No BIRD answers for that family.
            [calico_view.MUTE, "fd00::2"],
        ],
        "extra": [["10.0.0.9", None]],
        "extras": 1,
    }
    assert calico_view.since(found, "10.0.0.3") == "18:51:08"
    assert calico_view.since(found, "10.0.0.4") is None


def test_where_nobody_knows_what_must_be_all_that_is_there_counts():
    found = calico_view.view(None, [session("10.0.0.2"), DOWN], [4])
    assert (found["up"], found["down"][0][1], found["extra"]) == ("10.0.0.2", "10.0.0.3 18:51:08", [])


def test_a_neighbour_that_bird_has_twice_counts_once():
    twice = [session("10.0.0.2", False, "Idle"), session("10.0.0.2")]
    wanted = [expected("10.0.0.2"), expected("10.0.0.2")]
    assert calico_view.view(wanted, twice, [4]) == {"up": "10.0.0.2", "down": [], "extra": [], "extras": 0}


def test_ports_are_told_of_peers_that_are_no_nodes():
    wanted = [
        expected("10.0.0.2", port=1790),
        expected("10.1.0.1", None, 1790),
        expected("fd00::9", None, 180),
    ]
    found = calico_view.view(wanted, [session(item["address"], port=item["port"]) for item in wanted], [4, 6])
    assert found["up"] == "10.0.0.2 10.1.0.1:1790 [fd00::9]:180"


def test_a_view_is_bounded():
    sessions = [
        session(f"10.0.{number // 200}.{number % 200}", False, "Active", f"odd {number} " + "x" * 5000)
        for number in range(1000)
    ]
    wanted = [expected(found["address"]) for found in sessions]
    found = calico_view.view(wanted, sessions, [4])
    assert len(found["down"]) == calico_view.MOST_REASONS + 1
    assert found["down"][-1][0] == calico_view.OTHER
    assert sum(len(names.split(",")) for _why, names in found["down"]) == 1000
    assert len(json.dumps(found)) < 40_000
    found = calico_view.view([], sessions, [4])
    assert (len(found["extra"]), found["extras"]) == (calico_view.MOST_EXTRA, 1000)


def test_the_fleet_of_the_tests_speaks_as_nodes_do():
    fleet = Fleet(4)
    fleet.breaks("node1", "node3", "Active, Socket: Connection refused")
    sessions = [
        session(
            address,
            address != "10.0.0.3",
            *(("Active", "Socket: Connection refused") if address == "10.0.0.3" else ()),
        )
        for address in list(fleet.addresses.values())[1:]
    ]
    for item in sessions:
        item["since"] = "11:58:03"
    wanted = [expected(item["address"]) for item in sessions]
    made = fleet.view("node1")
    assert {**made, **calico_view.view(wanted, sessions, [4])} == made


def v3(*resources, ipam=()):
    return calico_topology.from_v3(resources, ipam)


def node(name, address, labels=None, **bgp):
    spec = {"bgp": {"ipv4Address": address, **bgp}}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def block(cidr, used):
    key = "/calico/ipam/v2/assignment/ipv4/block/" + cidr.replace("/", "-")
    return key, json.dumps({"cidr": cidr, "allocations": [1] * used + [None] * (64 - used)})


def affinity(name, cidr):
    return f"/calico/ipam/v2/host/{name}/ipv4/block/" + cidr.replace("/", "-"), "{}"


def pool(name, cidr, **spec):
    return {"kind": "IPPool", "metadata": {"name": name}, "spec": {"cidr": cidr, **spec}}


def test_the_datastore_in_short():
    cluster = v3(
        node("node1", "10.0.0.1/24", {"rack": "r1"}, asNumber=64600),
        node("node2", "10.0.0.2/24", routeReflectorClusterID="1.1.1.1"),
        pool("a", "172.20.0.0/16"),
        pool("b", "172.21.0.0/24", disabled=True, blockSize=28),
        pool("six", "fd00:1::/48"),
        ipam=[
            block("172.20.1.0/26", 5),
            block("172.20.2.0/26", 1),
            block("172.21.0.16/28", 2),
            affinity("node1", "172.20.1.0/26"),
            affinity("node9", "172.20.2.0/26"),
        ],
    )
    found = calico_view.summary(cluster)
    assert found["nodes"] == {
        "node1": [["10.0.0.1"], 64600, "r1", False],
        "node2": [["10.0.0.2"], 64512, None, True],
    }
    assert found["pools"] == [
        {"cidr": "172.20.0.0/16", "disabled": False, "block_size": 26, "used": 6, "blocks": 2},
        {"cidr": "172.21.0.0/24", "disabled": True, "block_size": 28, "used": 2, "blocks": 1},
        {"cidr": "fd00:1::/48", "disabled": False, "block_size": 122, "used": 0, "blocks": 0},
    ]
    assert (found["stray"], found["strays"]) == ([["172.20.2.0/26", "node9", 1]], 1)
    # A minion's answer travels as msgpack, which has no number above 64 bits.
    pytest.importorskip("msgpack").dumps(found)


def test_without_blocks_the_workloads_are_counted():
    endpoint = {
        "kind": "WorkloadEndpoint",
        "metadata": {"name": "w", "namespace": "default"},
        "spec": {"node": "node1", "ipNetworks": ["172.20.0.5/32", "192.0.2.1/32"]},
    }
    (found,) = calico_view.summary(v3(pool("a", "172.20.0.0/16"), endpoint))["pools"]
    assert (found["used"], found["blocks"]) == (1, 0)
