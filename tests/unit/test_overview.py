"""What a node tells ``salt-run calico.mesh``, also where half of it cannot be told."""

import calico_settings
import calico_topology
import pytest
from salt.exceptions import CommandExecutionError

from _modules import calico
from tests.support.views import Fleet

CHECKED = calico_settings.check(
    {
        "version": "v2.6.2",
        "etcd": {"endpoints": ["http://10.0.0.9:2379"]},
        "node": {"name": "node1"},
        "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
        "ready": {"absent_nodes": ["node4"]},
    }
)
KEYS = {f"/calico/bgp/v1/host/node{n}/ip_addr_v4": f"10.0.0.{n}" for n in (1, 2, 3, 4)}


def session(address, established=True):
    return {
        "address": address,
        "port": 179,
        "type": "node-to-node mesh",
        "state": "up" if established else "start",
        "since": "11:58:03",
        "info": "Established" if established else "Active",
        "reason": "",
        "established": established,
    }


@pytest.fixture
def node(monkeypatch):
    """Its parts, to be changed."""
    sessions = [session("10.0.0.2"), session("10.0.0.3", False)]
    parts = {
        "keys": KEYS,
        "look": {
            "unit": "calico-node.service",
            "service": {"active": True},
            "felix": {"ready": False, "reason": "503"},
            "bird": {"IPv4": {"graceful_restart": False}},
            "sessions": sessions,
            "errors": [],
        },
        "asked": [],
    }

    def cluster(_checked, *wanted):
        parts["asked"].append(wanted)
        if parts["keys"] is None:
            raise CommandExecutionError("The datastore cannot be read: refused")
        return calico_topology.from_v2(parts["keys"])

    monkeypatch.setattr(calico, "_settings", lambda: CHECKED)
    monkeypatch.setattr(calico, "_cluster", cluster)
    monkeypatch.setattr(calico, "_look", lambda: parts["look"])
    monkeypatch.setattr(calico, "_running_image", lambda: "calico/node:v2.6.2")
    return parts


def test_a_node_tells_what_the_fleet_of_the_tests_tells(node):
    found = calico.overview()
    assert set(found) == set(Fleet(1).view("node1"))
    assert (found["node"], found["addresses"], found["error"]) == ("node1", ["10.0.0.1"], None)
    # Sessions that are down are told once, among the sessions; node4 is not waited for.
    assert found["reasons"] == ["Felix is not ready: 503"]
    assert (found["up"], found["down"]) == ("10.0.0.2", [["Active", "10.0.0.3 11:58:03"]])
    assert found["absent"] == ["node4"]
    assert found["wanted"] == found["image"]
    assert node["asked"] == [("bgp",)]


def test_a_datastore_that_cannot_be_read_is_told_and_the_sessions_too(node):
    node["keys"] = None
    found = calico.overview()
    assert found["error"] == "The datastore cannot be read: refused"
    assert (found["up"], found["addresses"]) == ("10.0.0.2", [])
    with pytest.raises(CommandExecutionError):
        calico.overview(datastore=True)


def test_a_node_that_is_not_registered_says_so(node):
    node["keys"] = {key: value for key, value in KEYS.items() if "node1" not in key}
    found = calico.overview()
    assert found["error"] == "the datastore knows no node node1"
    assert (found["up"], found["extras"]) == ("", 2)


def test_one_is_asked_for_the_datastore_as_well(node):
    found = calico.overview(datastore=True)["datastore"]
    assert sorted(found["nodes"]) == ["node1", "node2", "node3", "node4"]
    # Without blocks the workloads are counted.
    assert [parts for parts in node["asked"] if "workloads" in parts]
