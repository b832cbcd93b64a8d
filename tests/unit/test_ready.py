"""The gate's verdict, from what BIRD says and what the datastore asks for."""

import json

import calico_settings
import calico_topology
import pytest

from _modules import calico

CHECKED = calico_settings.check(
    {
        "version": "v2.6.2",
        "etcd": {"endpoints": ["http://10.0.0.9:2379"]},
        "node": {"name": "node1"},
        "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
    }
)


def cluster(*peers):
    keys = {}
    for number in (1, 2, 3):
        host = "/calico/bgp/v1/host/node%d" % number
        keys[host + "/ip_addr_v4"] = "10.0.0.%d" % number
        keys[host + "/network_v4"] = "10.0.0.0/24"
    for address in peers:
        stored = json.dumps({"ip": address, "as_num": "64512"})
        keys["/calico/bgp/v1/global/peer_v4/" + address] = stored
    return calico_topology.from_v2(keys)


def session(name, address, established=True, reason=""):
    return {
        "name": name,
        "type": "node-to-node mesh",
        "address": address,
        "port": 179,
        "state": "up" if established else "start",
        "since": "18:51:08",
        "info": "Established" if established else "Active",
        "reason": reason,
        "established": established,
    }


@pytest.fixture
def verdict(monkeypatch):
    def judge(sessions, *peers, checked=CHECKED):
        reasons = [calico._why_down(found) for found in sessions if not found["established"]]
        status = {"ready": not reasons, "reasons": reasons, "sessions": sessions}
        monkeypatch.setattr(calico, "_status", lambda: dict(status))
        return calico._ready_now(checked, cluster(*peers))

    return judge


MESH = [session("Mesh_10_0_0_2", "10.0.0.2"), session("Mesh_10_0_0_3", "10.0.0.3")]


def test_all_sessions_up(verdict):
    found = verdict(MESH)
    assert (found["ready"], found["reasons"], len(found["expected"])) == (True, [], 2)


def test_a_session_that_is_down_is_named_with_its_node_and_birds_reason(verdict):
    down = session("Mesh_10_0_0_3", "10.0.0.3", established=False, reason="Socket: Connection refused")
    found = verdict([MESH[0], down])
    wanted = "no session with 10.0.0.3 (node3): Active, Socket: Connection refused since 18:51:08"
    assert (found["ready"], found["reasons"]) == (False, [wanted])


def test_a_session_that_bird_has_not_been_told_of_is_missing(verdict):
    found = verdict(MESH[:1])
    assert not found["ready"]
    assert "10.0.0.3 (node3)" in found["reasons"][0]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_protocols_for_one_neighbour_the_one_that_is_up_counts(verdict, order):
    twin = session("Global_10_0_0_2", "10.0.0.2", established=False)
    found = verdict([*MESH, twin][::order], "10.0.0.2")
    assert (found["ready"], found["reasons"]) == (True, [])


def test_a_node_that_is_known_to_be_away_is_not_waited_for(verdict):
    checked = dict(CHECKED, ready={"timeout": 1, "absent_nodes": ["node3"]})
    down = session("Mesh_10_0_0_3", "10.0.0.3", established=False)
    assert verdict([MESH[0], down], checked=checked)["ready"]
    assert verdict(MESH[:1], checked=checked)["ready"]
