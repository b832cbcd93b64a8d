"""Pools as resources: what is written, what differs, and what is refused before a write."""

import json
from pathlib import Path

import calico_resources as resources
import calico_topology
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

RECORDINGS = Path(__file__).parents[1] / "recordings"


def v1_pool(cidr, **spec):
    return {"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": cidr}, "spec": spec}


def given_and_accepted(words, generation="v1", before=()):
    found = resources.pool_problems([*before, words], generation)
    return [(setting, accepted) for _position, setting, _given, accepted in found]


# What calicoctl 1.6.3 prints of a pool that was applied with these words.
PRINTED = [
    ({}, {}),
    ({"ipip": "never", "nat_outgoing": False, "disabled": False}, {}),
    ({"nat_outgoing": True}, {"nat-outgoing": True}),
    (
        {"ipip": "crosssubnet", "disabled": True},
        {"disabled": True, "ipip": {"enabled": True, "mode": "cross-subnet"}},
    ),
    ({"ipip": "always"}, {"ipip": {"enabled": True}}),
    ({"ipip": "never"}, {"ipip": {"mode": "cross-subnet"}}),
]


@pytest.mark.parametrize(("words", "spec"), PRINTED)
def test_what_was_applied_does_not_differ_from_what_is_printed(words, spec):
    wanted = resources.pool({"cidr": "10.233.0.0/16", **words}, "v1")
    assert resources.diff(v1_pool("10.233.0.0/16", **spec), wanted, "v1") == {}


def test_the_recorded_pools_are_those_of_their_words():
    recorded = json.loads((RECORDINGS / "etcd-v2-keys.json").read_text(encoding="utf-8"))
    keys = {
        row["key"]: row["value"] if isinstance(row["value"], str) else json.dumps(row["value"])
        for row in recorded["keys"]
    }
    pools = calico_topology.from_v2(keys).pools
    words = [
        {"cidr": "172.20.0.0/16", "ipip": "never", "nat_outgoing": True, "disabled": False},
        {"cidr": "172.21.0.0/16", "ipip": "cross-subnet", "nat_outgoing": False, "disabled": True},
    ]
    for pool, word in zip(pools, words):
        wanted = resources.pool(word, "v1")
        assert resources.find(pools, wanted, "v1") is pool
        assert resources.diff(pool, wanted, "v1") == {}
        assert resources.problems(wanted, "v1", [other for other in pools if other is not pool]) == []


def test_a_difference_is_told_in_the_pillars_words_and_the_rest_is_kept():
    current = v1_pool("10.233.0.0/16", disabled=True, ipip={"enabled": True})
    wanted = resources.pool({"cidr": "10.233.0.0/16", "ipip": "Cross-Subnet", "nat_outgoing": True}, "v1")
    merged, changes = resources.merge(current, wanted, "v1")
    assert changes == {
        "ipip": {"old": "always", "new": "crosssubnet"},
        "nat_outgoing": {"old": False, "new": True},
    }
    assert merged == v1_pool(
        "10.233.0.0/16",
        **{"disabled": True, "ipip": {"enabled": True, "mode": "cross-subnet"}, "nat-outgoing": True},
    )
    assert current["spec"] == {"disabled": True, "ipip": {"enabled": True}}
    assert resources.diff(merged, wanted, "v1") == {}


def test_a_new_pool():
    wanted = resources.pool({"cidr": "10.233.0.0/16", "ipip": "never", "nat_outgoing": True}, "v1")
    merged, changes = resources.merge(None, wanted, "v1")
    assert changes == {
        "cidr": {"old": None, "new": "10.233.0.0/16"},
        "ipip": {"old": None, "new": "never"},
        "nat_outgoing": {"old": None, "new": True},
    }
    assert merged == v1_pool("10.233.0.0/16", **{"ipip": {"enabled": False}, "nat-outgoing": True})


def test_the_same_words_make_a_pool_of_the_v3_api():
    words = {"cidr": "10.233.0.0/16", "ipip": "crosssubnet", "nat_outgoing": True}
    wanted = resources.pool(words, "v3")
    assert wanted == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "10-233-0-0-16"},
        "spec": {"cidr": "10.233.0.0/16", "ipipMode": "CrossSubnet", "natOutgoing": True},
    }
    current = {
        **wanted,
        "metadata": {"name": "default-ipv4-ippool", "uid": "x", "resourceVersion": "7"},
        "spec": {"cidr": "10.233.0.0/16", "ipipMode": "Never", "blockSize": 26, "nodeSelector": "all()"},
    }
    assert resources.find([current], wanted, "v3") is current
    merged, changes = resources.merge(current, wanted, "v3")
    assert changes == {
        "ipip": {"old": "never", "new": "crosssubnet"},
        "nat_outgoing": {"old": False, "new": True},
    }
    assert merged["metadata"] == {"name": "default-ipv4-ippool", "resourceVersion": "7"}
    assert merged["spec"]["blockSize"] == 26


V1_REFUSED = [
    ({"cidr": "not-a-cidr"}, "cidr"),
    ({"cidr": "10.1.2.3"}, "cidr"),
    ({"cidr": "10.233.7.1/16"}, "cidr"),
    ({"cidr": "10.15.0.1/33"}, "cidr"),
    ({"cidr": "fe80::1%eth0/64"}, "cidr"),
    ({"cidr": "010.1.0.0/16"}, "cidr"),
    ({"cidr": "10.1.0.0/255.255.0.0"}, "cidr"),
    ({"cidr": 10}, "cidr"),
    ({"cidr": None}, "cidr"),
    ({}, "cidr"),
    ({"cidr": "10.1.2.0/30"}, "cidr"),
    ({"cidr": "10.1.2.0/27"}, "cidr"),
    ({"cidr": "fd00::/123"}, "cidr"),
    ({"cidr": "169.254.0.0/17"}, "cidr"),
    ({"cidr": "168.0.0.0/7"}, "cidr"),
    ({"cidr": "fe80::/64"}, "cidr"),
    ({"cidr": "10.1.0.0/16", "ipip": "sometimes"}, "ipip"),
    ({"cidr": "10.1.0.0/16", "ipip": True}, "ipip"),
    ({"cidr": "10.1.0.0/16", "ipip": {"enabled": True, "mode": "x"}}, "ipip"),
    ({"cidr": "fd00::/64", "ipip": "always"}, "ipip"),
    ({"cidr": "10.1.0.0/16", "nat_outgoing": "yes"}, "nat_outgoing"),
    ({"cidr": "10.1.0.0/16", "disabled": 1}, "disabled"),
    ({"cidr": "10.1.0.0/16", "vxlan": "always"}, "vxlan"),
    ({"cidr": "10.1.0.0/16", "block_size": 26}, "block_size"),
    ({"cidr": "10.233.128.0/17"}, "cidr"),
    ({"cidr": "10.0.0.0/8"}, "cidr"),
]


@pytest.mark.parametrize(("words", "field"), V1_REFUSED)
def test_bad_pools_are_refused_by_name_of_the_field(words, field):
    before = [{"cidr": "10.233.0.0/16"}]
    assert [name for name, _accepted in given_and_accepted(words, before=before)] == [field]


@pytest.mark.parametrize(
    "words",
    [
        {"cidr": "10.1.2.0/26"},
        {"cidr": "10.1.2.0/30", "disabled": True},
        {"cidr": "FD80:24E2:F998:72D6:0::/64", "ipip": "never"},
        {"cidr": "10.1.0.0/16", "ipip": "ALWAYS"},
        {"cidr": "10.1.0.0/16", "ipip": False},
        {"cidr": "10.1.0.0/16", "name": "for the reader"},
        {"cidr": "10.1.0.0/16", "ipip": None, "disabled": None},
    ],
)
def test_legal_pools(words):
    assert given_and_accepted(words) == []


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"cidr": "10.1.0.0/16", "ipip": "always", "vxlan": "always"}, "vxlan"),
        ({"cidr": "10.1.0.0/16", "vxlan": "often"}, "vxlan"),
        ({"cidr": "10.1.0.0/16", "block_size": 19}, "block_size"),
        ({"cidr": "10.1.0.0/16", "block_size": "large"}, "block_size"),
        ({"cidr": "10.1.0.0/24", "block_size": 23}, "cidr"),
        ({"cidr": "fd00::/112", "block_size": 26}, "block_size"),
        ({"cidr": "10.1.0.0/16", "node_selector": 3}, "node_selector"),
        ({"cidr": "10.1.0.0/16", "node_selector": "rack =="}, "node_selector"),
        ({"cidr": "10.1.0.0/16", "nat": True}, "nat"),
    ],
)
def test_bad_pools_of_the_v3_api(words, field):
    assert [name for name, _accepted in given_and_accepted(words, "v3")] == [field]


def test_ipv6_is_compared_by_meaning():
    current = v1_pool("fd80:24e2:f998:72d6::/64")
    wanted = resources.pool({"cidr": "FD80:24E2:F998:72D6:0:0:0:0/64"}, "v1")
    assert wanted["metadata"]["cidr"] == "fd80:24e2:f998:72d6::/64"
    assert resources.find([current], wanted, "v1") is current
    assert resources.diff(current, wanted, "v1") == {}


def test_words_in_the_spelling_of_comparisons():
    words = {"cidr": "FD00::/64", "ipip": "Cross-Subnet", "disabled": None}
    assert resources.pool_words(words, "v1") == {"cidr": "fd00::/64", "ipip": "crosssubnet", "disabled": None}


# Every kind ------------------------------------------------------------------------------------


def written_and_printed():
    """What was written by the recorded calicoctl, each with what a later get printed of it."""
    for path in sorted(RECORDINGS.glob("calicoctl/*/*.json")):
        scenario = json.loads(path.read_text(encoding="utf-8"))
        generation = "v1" if path.parent.name.startswith("v1.") else "v3"
        files, written = dict(scenario["files"]), {}
        for step in scenario["steps"] if path.stem != "live-cluster" else []:
            files.update(step.get("files", {}))
            verb, *arguments = step["argv"][1:]
            if (
                step["rc"] == 0
                and verb in ("apply", "create", "replace")
                and "--skip-exists" not in arguments
            ):
                name = arguments[arguments.index("-f") + 1]
                for resource in documents(step["stdin"] if name == "-" else files[name]):
                    written[resource["kind"], resources._identity(resource, generation)] = resource
            elif verb in ("delete", "patch", "label", "config", "replace"):
                written = {}
            elif step["rc"] == 0 and verb == "get" and ("yaml" in arguments or "json" in arguments):
                for printed in documents(step["stdout"]):
                    wanted = written.get((printed["kind"], resources._identity(printed, generation)))
                    if wanted:
                        name = f"{path.parent.name}/{path.stem}: {step['name']}"
                        yield pytest.param(wanted, printed, generation, id=name)


def documents(text):
    for document in yaml.safe_load_all(text):
        for item in document if isinstance(document, list) else [document]:
            yield from item.get("items", [item])


@pytest.mark.parametrize(("wanted", "printed", "generation"), list(written_and_printed()))
def test_nothing_that_was_written_differs_from_what_is_printed(wanted, printed, generation):
    assert resources.diff(printed, wanted, generation) == {}


def v3_resource(kind, name="a", labels=None, **spec):
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def test_words_of_bgp_settings():
    current = v3_resource("BGPConfiguration", "default", logSeverityScreen="Info")
    wanted = v3_resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False, asNumber="1.10")
    assert resources.diff(current, wanted, "v3") == {
        "mesh": {"old": True, "new": False},
        "as_number": {"old": 64512, "new": 65546},
    }
    current["spec"].update(nodeToNodeMeshEnabled=False, asNumber=65546)
    assert resources.diff(current, wanted, "v3") == {}


def test_labels_that_are_not_named_stay():
    current = v3_resource("Node", "n", {"rack": "1", "kept": "yes"}, bgp={"ipv4Address": "10.0.0.1/24"})
    wanted = v3_resource("Node", "n", {"rack": "2"})
    merged, changes = resources.merge(current, wanted, "v3")
    assert changes == {"labels.rack": {"old": "1", "new": "2"}}
    assert merged["metadata"]["labels"] == {"rack": "2", "kept": "yes"}
    assert merged["spec"] == current["spec"]


def test_none_is_wanted_absent():
    current = v3_resource("FelixConfiguration", "default", logSeverityScreen="Debug", mtu=1)
    wanted = v3_resource("FelixConfiguration", "default", logSeverityScreen=None, other=None)
    merged, changes = resources.merge(current, wanted, "v3")
    assert changes == {"logSeverityScreen": {"old": "Debug", "new": None}}
    assert merged["spec"] == {"mtu": 1}


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        ("1m0s", "1m", True),
        ("90s", "1m30s", True),
        ("90s", "1m", False),
        ("500ms", "0.5s", True),
        (["Tunnel", "Workload"], ["Workload", "Tunnel"], True),
        (["Tunnel"], ["Workload", "Tunnel"], False),
    ],
)
def test_values_are_compared_by_meaning(old, new, equal):
    current = v3_resource("FelixConfiguration", allowedUses=old)
    wanted = v3_resource("FelixConfiguration", allowedUses=new)
    assert (resources.diff(current, wanted, "v3") == {}) is equal


V1_PEER = {"scope": "global", "peerIP": "10.0.0.9"}
BAD_PEERS = [
    ("v1", {"metadata": {**V1_PEER, "peerIP": "x"}}, "peer_ip"),
    ("v1", {"metadata": {**V1_PEER, "peerIP": "10.0.0.9:180"}}, "peer_ip"),
    ("v1", {"metadata": {"scope": "global"}}, "peer_ip"),
    ("v1", {"metadata": {**V1_PEER, "scope": "rack"}, "spec": {"asNumber": 1}}, "scope"),
    ("v1", {"metadata": {**V1_PEER, "scope": "node"}, "spec": {"asNumber": 1}}, "node"),
    ("v1", {"metadata": {**V1_PEER, "node": "n"}, "spec": {"asNumber": 1}}, "node"),
    ("v1", {"metadata": V1_PEER}, "as_number"),
    ("v1", {"metadata": V1_PEER, "spec": 5}, "spec"),
    ("v1", {"metadata": V1_PEER, "spec": {"asNumber": 99999999999}}, "as_number"),
    ("v1", {"metadata": V1_PEER, "spec": {"asNumber": "x"}}, "as_number"),
    ("v1", {"metadata": V1_PEER, "spec": {"asNumber": 1.1}}, "as_number"),
    ("v1", {"metadata": V1_PEER, "spec": {"asNumber": True}}, "as_number"),
    ("v3", {"spec": {"peerIP": "10.0.0.9:0"}}, "peer_ip"),
    ("v3", {"spec": {"peerIP": "fd00::1%eth0"}}, "peer_ip"),
    ("v3", {"spec": {}}, "peer_ip"),
    ("v3", {"spec": {"peerIP": "10.0.0.9", "peerSelector": "all()"}}, "peer_ip"),
    ("v3", {"spec": {"peerSelector": "rack =="}}, "peer_selector"),
    ("v3", {"spec": {"peerSelector": "all()", "asNumber": 1}}, "as_number"),
    ("v3", {"spec": {"peerIP": "10.0.0.9", "asNumber": 1, "node": "n", "nodeSelector": "all()"}}, "node"),
    ("v3", {"metadata": {"name": "Bad_Name"}, "spec": {"peerIP": "10.0.0.9", "asNumber": 1}}, "name"),
    ("v3", {"spec": {"peerIP": "10.0.0.9:180"}}, "as_number"),
]


@pytest.mark.parametrize(("generation", "given", "field"), BAD_PEERS)
def test_bad_peers_are_refused_by_name_of_the_field(generation, given, field):
    kind = "bgpPeer" if generation == "v1" else "BGPPeer"
    resource = {"kind": kind, "metadata": {"name": "a"} if generation == "v3" else {}, **given}
    assert [problem["setting"] for problem in resources.problems(resource, generation)] == [field]


def test_a_peer_is_itself_in_any_spelling():
    wanted = {"kind": "bgpPeer", "metadata": {"scope": "global", "peerIP": "FD00:0::9"}}
    current = {"kind": "bgpPeer", "metadata": {"scope": "global", "peerIP": "fd00::9"}}
    other = {"kind": "bgpPeer", "metadata": {"scope": "node", "node": "n", "peerIP": "fd00::9"}}
    assert resources.find([other, current], wanted, "v1") is current


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.lists(st.none()))


@given(
    st.fixed_dictionaries(
        {"cidr": st.one_of(scalars, st.just("10.0.0.0/16"), st.ip_addresses().map("{}/24".format))},
        optional=dict.fromkeys(("ipip", "nat_outgoing", "disabled", "name", "vxlan"), scalars),
    )
)
def test_whatever_a_pillar_holds_is_either_written_or_refused_by_field(words):
    for generation in ("v1", "v3"):
        found = resources.pool_problems([words], generation)
        assert {field for _position, field, _given, _accepted in found} <= {*words, "block_size"}
        if not found:
            wanted = resources.pool(words, generation)
            assert resources.diff(resources.merge(None, wanted, generation)[0], wanted, generation) == {}


@pytest.mark.parametrize("generation", ["v1", "v3"])
@pytest.mark.parametrize(
    ("words", "setting"),
    [
        ({"peer_ip": "0.0.0.0", "as_number": 64900}, "peer_ip"),
        ({"peer_ip": "127.0.0.1", "as_number": 64900}, "peer_ip"),
        ({"peer_ip": "224.0.0.1", "as_number": 64900}, "peer_ip"),
        ({"peer_ip": "::1", "as_number": 64900}, "peer_ip"),
        ({"peer_ip": "10.0.0.9", "as_number": 0}, "as_number"),
        ({"peer_ip": "10.0.0.9"}, "as_number"),
        ({"peer_ip": "fd00::9", "node": "n"}, "as_number"),
    ],
)
def test_a_neighbour_that_bird_refuses_with_all_else_is_refused(generation, words, setting):
    wanted = resources.describe("peer", words, generation)
    assert [item["setting"] for item in resources.problems(wanted, generation)] == [setting]


@pytest.mark.parametrize("cidr", ["127.0.0.0/8", "224.0.0.0/8", "ff00::/16"])
def test_a_pool_is_of_addresses_that_workloads_can_have(cidr):
    wanted = resources.describe("pool", {"cidr": cidr, "nat_outgoing": False}, "v3")
    assert [item["setting"] for item in resources.problems(wanted, "v3")] == ["cidr"]
