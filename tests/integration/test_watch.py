"""The master hears of what happens on a node, and nothing else."""

import time

import pytest

from tests.integration import fleet as fleets
from tests.support.events import Events
from tests.support.waiting import until

INTERVAL = 1
BEAT = "status"


@pytest.fixture
def watched(fleet, host):
    """A host with the beacon, as the formula's own run has brought it; silent once, and so compared."""
    available = fleet.lab.salt([host.name], "beacons.list_available", return_yaml=False)[host.name]
    assert "calico_bgp" in available
    added = fleet.lab.salt([host.name], "beacons.add", "calico_bgp", [{"interval": INTERVAL}])[host.name]
    assert added["result"], added
    fleet.undo.callback(fleet.lab.salt, [host.name], "beacons.delete", "calico_bgp")
    # Tells something with each look: who waits for nothing knows by it that there was a look.
    beat = [{"loadavg": ["1-min"]}, {"interval": INTERVAL}]
    added = fleet.lab.salt([host.name], "beacons.add", BEAT, beat)[host.name]
    assert added["result"], added
    fleet.undo.callback(fleet.lab.salt, [host.name], "beacons.delete", BEAT)
    with Events(fleet.lab, f"salt/beacon/{host.name}/") as events:
        found = Watched(events)
        assert found.while_it_looks(2) == [], "the first look and a mesh that stays tell nothing"
        yield found


class Watched:
    """What the beacon tells, and that it looked."""

    def __init__(self, events):
        self._events = events

    def _next(self):
        return self._events.wait("the minion's beacons tell something")

    def wait(self):
        """The next event of Calico's beacon; whoever calls knows of one to come."""
        return until(lambda: self._told(self._next()), "an event of Calico's beacon")

    def while_it_looks(self, times):
        """What it tells until it has looked so many times."""
        told, beats = [], 0
        # One look may have been under way already.
        while beats < times + 1:
            event = self._next()
            told += filter(None, [self._told(event)])
            beats += f"/{BEAT}/" in event["tag"]
        return told

    @staticmethod
    def _told(event):
        return event if "/calico_bgp/" in event["tag"] else None


def test_a_neighbour_whose_bird_is_killed(watched, fleet, host, record_property):
    other = fleet.hosts[2]
    pid = other.exec("pgrep -x bird").stdout.split()[0]
    begin = time.monotonic()
    other.exec(["kill", "-KILL", pid])
    event = watched.wait()
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
    # It is started again by the container itself.
    event = watched.wait()
    assert event["tag"].endswith("/session/up")
    assert event["data"]["address"] == other.address
    fleets.ready(fleet)
    assert watched.while_it_looks(2) == []


def test_a_restart_of_the_node_itself_is_told_without_its_sessions(watched, fleet, host):
    host.exec("systemctl restart calico-node")
    fleets.ready(fleet)
    kinds = {event["data"]["kind"] for event in watched.while_it_looks(4)}
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
    found = fleet.ask(host, "diagnostics")[0]
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
