"""How often the datastore is asked: what is as described costs one reading, however many resources."""

import calico_settings
import calico_topology
import pytest

from _modules import calico

POOLS = [f"10.0.{number}.0/24" for number in range(200)]
KEYS = {
    "/calico/v1/ipam/v4/pool/" + cidr.replace("/", "-"): '{"cidr": "%s", "masquerade": true}' % cidr
    for cidr in POOLS
}


@pytest.fixture
def readings(monkeypatch):
    """The parts that were read, one entry a reading; writes are an error."""
    found = []
    checked = calico_settings.check(
        {
            "version": "v2.6.2",
            "etcd": {"endpoints": ["http://10.0.0.9:2379"]},
            "network": {"pools": [{"cidr": cidr} for cidr in POOLS]},
        }
    )

    def cluster(_checked, *parts):
        found.append(parts)
        return calico_topology.from_v2(KEYS)

    monkeypatch.setattr(calico, "_settings", lambda: checked)
    monkeypatch.setattr(calico, "_cluster", cluster)
    monkeypatch.setattr(calico, "_write", lambda *_: pytest.fail("nothing was to be written"))
    return found


@pytest.mark.parametrize("ask", [calico.converge, calico.plan])
def test_two_hundred_equal_pools_are_read_once(readings, ask):
    assert ask("pool", [{"cidr": cidr} for cidr in POOLS])["changes"] == {}
    assert readings == [("pools",)]


def test_what_differs_is_read_again_with_all_that_the_rules_look_at(readings):
    found = calico.plan("pool", [{"cidr": POOLS[0], "nat_outgoing": False}])
    assert list(found["changes"]) == [POOLS[0]]
    assert len(readings) == 2
    assert {"pools", "workloads", "blocks", "bgp", "ready"} <= set(readings[1])


# --- a datastore that is away for a moment ---------------------------------------------------------


class Datastore:
    """One pool; each of these happenings comes to pass in its turn, at a reading or at a write."""

    def __init__(self, monkeypatch, writes=(), readings=()):
        self.keys = {key: KEYS[key] for key in list(KEYS)[:1]}
        self.writes, self.readings = list(writes), list(readings)
        self.now, self.written = 0.0, 0
        monkeypatch.setattr(calico, "_cluster", self.cluster)
        monkeypatch.setattr(calico, "_write", self.write)
        monkeypatch.setattr(calico, "time", self)
        monkeypatch.setattr(calico, "__context__", {}, raising=False)

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def cluster(self, _checked, *_parts):
        # Two readings make the first plan.
        away = self.readings.pop(0) if self.readings else False
        if away:
            text = "The datastore cannot be read: no leader"
            raise calico.CommandExecutionError(text) from calico.calico_datastore.Unavailable(text)
        return calico_topology.from_v2(self.keys)

    def write(self, _checked, _steps):
        error = self.writes.pop(0) if self.writes else None
        if error and error[0] != "after":
            raise error[0]
        self.written += 1
        key = next(iter(self.keys))
        self.keys = {key: '{"cidr": "%s"}' % POOLS[0]}
        if error:
            raise error[1]


CHANGE = [{"cidr": POOLS[0], "nat_outgoing": False}]
GONE = calico.calico_ctl.Unreachable("client: etcd member http://10.0.0.9:2379 has no leader")


@pytest.mark.parametrize("writes", [[(GONE,)], [(GONE,), (GONE,)], [("after", GONE)]])
def test_a_write_that_found_no_leader_is_tried_again(readings, monkeypatch, writes):
    store = Datastore(monkeypatch, writes)
    found = calico.converge("pool", CHANGE)
    assert (list(found["changes"]), found["failed"]) == ([POOLS[0]], None)
    assert store.written == 1


def test_what_cannot_be_read_after_a_write_is_waited_for(readings, monkeypatch):
    Datastore(monkeypatch, readings=[False, False, True, True, True])
    found = calico.converge("pool", CHANGE)
    assert (list(found["changes"]), found["failed"]) == ([POOLS[0]], None)


def test_a_datastore_that_stays_away_after_a_write_is_no_success_and_no_traceback(readings, monkeypatch):
    Datastore(monkeypatch, readings=[False, False] + [True] * 1000)
    found = calico.converge("pool", CHANGE)
    assert found["changes"] == {}
    assert "%s may have been written" % POOLS[0] in found["failed"]
    assert "no leader" in found["failed"]
    assert calico.__context__["retcode"] == 1


def test_before_a_write_it_is_told_at_once(readings, monkeypatch):
    store = Datastore(monkeypatch, readings=[True] * 1000)
    with pytest.raises(calico.CommandExecutionError, match="no leader"):
        calico.converge("pool", CHANGE)
    assert (store.written, store.now) == (0, 0)
