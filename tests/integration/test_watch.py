"""The master hears of what happens on a node, and nothing else."""

import time

import pytest

from tests.integration import fleet as fleets
from tests.support.events import Events

INTERVAL = 1


@pytest.fixture
def watched(fleet, host):
    """A host with the beacon, as the formula's own run has brought it; silent once, and so compared."""
    available = fleet.lab.salt([host.name], "beacons.list_available", return_yaml=False)[host.name]
    assert "calico_bgp" in available
    added = fleet.lab.salt([host.name], "beacons.add", "calico_bgp", [{"interval": INTERVAL}])[host.name]
    assert added["result"], added
    fleet.undo.callback(fleet.lab.salt, [host.name], "beacons.delete", "calico_bgp")
    with Events(fleet.lab, f"salt/beacon/{host.name}/calico_bgp/") as events:
        assert events.wait(5 * INTERVAL) is None, "the first look and a mesh that stays tell nothing"
        yield events


def test_a_neighbour_whose_bird_is_killed(watched, fleet, host, record_property):
    other = fleet.hosts[2]
    pid = other.exec("pgrep -x bird").stdout.split()[0]
    begin = time.monotonic()
    other.exec(["kill", "-KILL", pid])
    event = watched.wait(30)
    took = time.monotonic() - begin
    assert event["tag"].endswith("/session/down")
    data = event["data"]
    assert (data["address"], data["node"], data["old"], data["new"]) == (
        other.address,
        host.name,
        "up",
        "down",
    )
    # The kernel tells the neighbour at once; the beacon looks each second.
    said = f"from kill to event on the master's bus: {took:.2f} s (interval {INTERVAL} s)"
    record_property("figure", said)
    assert took < 10
    other.exec("systemctl restart calico-node")
    event = watched.wait(60)
    assert event["tag"].endswith("/session/up")
    assert event["data"]["address"] == other.address
    fleets.ready(fleet)
    assert watched.wait(3 * INTERVAL) is None


def test_a_restart_of_the_node_itself_is_told_without_its_sessions(watched, fleet, host):
    host.exec("systemctl restart calico-node")
    fleets.ready(fleet)
    kinds = set()
    while event := watched.wait(4 * INTERVAL):
        kinds.add(event["data"]["kind"])
    assert "container" in kinds
    assert kinds <= {"container", "bird", "felix"}


def test_metrics_and_a_bundle_of_a_real_node(fleet, host):
    text = fleet.ask(host, "metrics", expected=True)[0]
    for line in (
        "calico_node_ready 1",
        "calico_drift_pending 0",
        f"calico_bgp_sessions_expected {len(fleet.hosts) - 1}",
        "calico_bgp_sessions_missing 0",
        'calico_read_error{source="datastore"} 0',
    ):
        assert line in text.splitlines(), text
    found = fleet.ask(host, "diagnostics", timeout=60)[0]
    assert set(found["failed"]) <= {
        "ipset-list.txt",
        "iptables-save-c.txt",
        "nft-list-ruleset.txt",
        "ip6tables-save-c.txt",
    }, found
    listed = host.exec(["tar", "-tzf", found["path"]]).stdout
    assert "/manifest.json" in listed and "/resources.json" in listed
    whole = host.exec(f"tar -xzOf {found['path']}").stdout
    assert "PRIVATE KEY" not in whole
    host.exec(["rm", found["path"]])
