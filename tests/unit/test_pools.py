"""Who uses a pool, which pools are to go, and what disables one."""

import calico_pools
import calico_topology
import pytest

OLD = {"kind": "IPPool", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "old"}}


def cluster():
    found = calico_topology.Cluster("v3")
    found.resources["IPPool"] = [
        {**OLD, "spec": {"cidr": "172.20.0.0/16", "natOutgoing": True}},
        {**OLD, "metadata": {"name": "new"}, "spec": {"cidr": "172.21.0.0/16"}},
    ]
    found.workloads = [
        {"node": "node1", "name": "w1", "networks": ["172.20.1.1/32"]},
        {"node": "node2", "name": "w2", "networks": ["172.21.1.1/32", "fd00::1/128"]},
    ]
    found.blocks = [
        {"cidr": "172.20.1.0/26", "node": "node1", "used": 2},
        {"cidr": "172.20.2.0/26", "node": "node2", "used": 0},
        {"cidr": "172.21.1.0/26", "node": "node2", "used": 1},
    ]
    return found


def test_users_are_told_by_node():
    old, new = calico_pools.used(cluster())
    assert old["users"] == {"node1": {"workloads": 1, "names": ["w1"], "addresses": 2}}
    assert set(new["users"]) == {"node2"}
    (line,) = calico_pools.users(old)
    assert line.startswith("node1: 1 workload, 2 addresses") and line.endswith(": w1")


def test_what_the_pillar_does_not_list_or_disables_is_to_go():
    pools = calico_pools.used(cluster())
    going, refused = calico_pools.leaving(pools, [{"cidr": "172.21.0.0/16"}])
    assert ([pool["cidr"] for pool in going], refused) == (["172.20.0.0/16"], [])
    listed = [{"cidr": "172.20.0.0/16", "disabled": True}, {"cidr": "172.21.0.0/16"}]
    assert [pool["cidr"] for pool in calico_pools.leaving(pools, listed)[0]] == ["172.20.0.0/16"]


@pytest.mark.parametrize(
    ("declared", "old", "words"),
    [
        ([{"cidr": "172.20.0.0/16"}], "172.20.0.0/16", "lists 172.20.0.0/16 as enabled"),
        ([{"cidr": "172.21.0.0/16"}], "nonsense", "old: got 'nonsense'"),
        ([{"cidr": "172.21.0.0/16", "disabled": True}], None, "no enabled pool"),
    ],
)
def test_what_is_refused(declared, old, words):
    going, refused = calico_pools.leaving(calico_pools.used(cluster()), declared, old)
    assert going == [] and words in refused[0]


def test_disabling_says_nothing_else():
    old, _new = calico_pools.used(cluster())
    assert calico_pools.disabling(old) == {**OLD, "spec": {"cidr": "172.20.0.0/16", "disabled": True}}
    assert calico_pools.disabling({**old, "name": None, "kind": "ipPool", "apiVersion": "v1"}) == {
        "apiVersion": "v1",
        "kind": "ipPool",
        "metadata": {"cidr": "172.20.0.0/16"},
        "spec": {"disabled": True},
    }


def test_a_pool_that_there_is_not_is_no_pool_that_is_gone():
    pools = [{"cidr": "172.20.0.0/16"}]
    listed = [{"cidr": "172.21.0.0/16"}]
    assert calico_pools.leaving(pools, listed, "10.0.0.0/8") == (
        [],
        ["old: got '10.0.0.0/8'; accepted: a pool that the pillar does not list: 172.20.0.0/16"],
    )
    # After it has gone, the same command finds nothing to do.
    assert calico_pools.leaving([{"cidr": "172.21.0.0/16"}], listed, "172.20.0.0/16") == ([], [])
