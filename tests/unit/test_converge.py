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
