"""When the datastore's entry of a node is not what a start of calico-node would make of it."""

import calico_registration
import calico_settings
import pytest

NODE = {"ipv4": "10.0.0.7", "ipv6": None}
OWN = {"10.0.0.7", "127.0.0.1"}


def outdated(registered=NODE, own=OWN, **node):
    settings = calico_settings.check(
        {
            "version": "v3.22.5",
            "etcd": {"endpoints": ["http://10.0.0.1:2379"]},
            "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
            "node": node,
            "felix": {"Ipv6Support": True},
        }
    )
    return calico_registration.outdated(settings, "node1", registered, own)


@pytest.mark.parametrize("node", [{}, {"ip": "autodetect"}, {"ip": "10.0.0.7"}, {"ip": "10.0.0.7/24"}])
def test_a_node_that_is_known_as_it_is(node):
    assert outdated(**node) == {}


@pytest.mark.parametrize("backend", ["bird", "vxlan", "none"])
def test_an_entry_that_was_lost(backend):
    assert outdated(None, backend=backend) == {"registration": {"old": None, "new": "node1"}}


def test_an_address_that_this_host_has_no_more():
    own = {"10.0.0.9"}
    found = outdated(own=own, ip="autodetect")
    assert found == {"registration": {"old": "10.0.0.7", "new": "autodetect"}}
    # calico-node would keep it: nothing is gained by a restart.
    assert outdated(own=own) == {}
    # Nobody knows the host's addresses.
    assert outdated(own=None, ip="autodetect") == {}
    assert outdated(own=own, ip="autodetect", backend="none") == {}


def test_an_address_other_than_the_given_one():
    found = outdated(ip="10.0.0.9/24")
    assert found == {"registration": {"old": "10.0.0.7", "new": "10.0.0.9/24"}}
    node = {"ipv4": "10.0.0.7", "ipv6": "fd00::7"}
    assert outdated(node, ip6="fd00:0::7") == {}
    assert outdated(node, ip6="fd00::8")["registration"]["new"] == "fd00::8"


def test_addresses_that_bird_cannot_send_from():
    strange = calico_registration.strange
    assert strange(NODE, "bird", OWN) == []
    assert strange(NODE, "bird", {"10.0.0.9"}) == ["10.0.0.7"]
    for unknown in (strange(None, "bird", OWN), strange(NODE, "none", {"x"}), strange(NODE, "bird", None)):
        assert unknown == []


RUNS = {"active": True, "reason": ""}
FAILED = {"active": False, "reason": "it is failed"}


@pytest.mark.parametrize(
    ("service", "listens", "birds", "seconds", "why"),
    [
        (FAILED, True, {"IPv4": {}}, 99, "calico-node does not run: it is failed"),
        (RUNS, frozenset([7]), {}, 0.1, None),
        (RUNS, frozenset(), {"IPv4": {}}, 0.1, None),
        (RUNS, frozenset(), {}, 0.1, "calico-node's start is not over"),
        (RUNS, None, {}, None, "calico-node's start is not over"),
        # Neither a health port nor BIRD, as with the backend none: a start that fails ends sooner.
        (RUNS, None, {}, 10, None),
    ],
)
def test_what_proves_that_a_start_went_well(service, listens, birds, seconds, why):
    assert calico_registration.not_started(service, listens, birds, seconds) == why
