"""One mistake in a pillar that is right otherwise: one message, which names it."""

import copy
import re

import calico_felix
import calico_kinds
import calico_schema
import calico_settings
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.unit.test_settings_properties import BASES, PLACES, SCALARS, checked, paths, with_value

FIXED = settings(max_examples=1500, derandomize=True, deadline=None, database=None)
# The release decides about all else; which datastore it is, about a whole section.
SINGLE = [path for path in PLACES if path[1:] not in ((), ("version",), ("datastore",))]


@FIXED
@given(st.sampled_from(SINGLE), SCALARS)
def test_one_wrong_value_is_one_message(path, value):
    problems = checked(with_value(path, value))[1]
    assert problems is None or len(problems) == 1


# Keys that may be anything, or belong to a value that is judged as a whole.
ANY_KEY = {"env", "labels", "spec", "metadata", "communities", "prefix_advertisements"}
NAMES = [
    (generation, *path)
    for generation, base in BASES.items()
    for path in paths(base)
    if path and isinstance(path[-1], str) and not ANY_KEY & set(path[:-1])
]


def misspelt(name):
    """The name with two letters swapped, one missing, one twice, or another case."""
    positions = st.integers(0, len(name) - 1)
    return st.one_of(
        positions.map(lambda at: name[:at] + name[at + 1 :]),
        positions.map(lambda at: name[:at] + name[at] + name[at:]),
        positions.map(lambda at: name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :]),
        st.just(name.upper()),
    )


@FIXED
@given(st.sampled_from(NAMES), st.data())
def test_a_misspelt_name_is_one_message_with_the_right_name(path, data):
    generation, *parents, name = path
    wrong = data.draw(misspelt(name))
    pillar = copy.deepcopy(BASES[generation])
    branch = pillar
    for part in parents:
        branch = branch[part]
    felix = parents[-1:] == ["felix"]
    siblings = {*branch, *(row.path for rows in calico_schema.WORDS.values() for row in rows)}
    assume(wrong and wrong not in siblings and not (felix and calico_felix.row(wrong)))
    branch[wrong] = branch.pop(name)
    problems = checked(pillar)[1]
    problem, *others = problems
    assert problem["setting"] == ":".join(["calico", *map(str, parents), wrong])
    if len(name) > 3:
        assert name.lower() in problem["accepted"].lower()
        assert not others


# Of every setting that not all releases have: one that is right.
SAMPLES = {
    "node:labels": {"rack": "1"},
    "node:route_reflector_cluster_id": "244.0.0.1",
    "pool": {
        "vxlan": "always",
        "block_size": 24,
        "node_selector": "all()",
        "allowed_uses": ["Workload"],
        "disable_bgp_export": True,
        "assignment_mode": "Manual",
        "namespace_selector": "all()",
    },
    "peer": {
        "node_selector": "all()",
        "peer_selector": "has(rr)",
        "keep_original_next_hop": True,
        "password": {"secretKeyRef": {"name": "bgp", "key": "rr"}},
        "source_address": "None",
        "max_restart_time": "120s",
        "num_allowed_local_as_numbers": 1,
        "ttl_security": 1,
        "reachable_by": "10.0.0.1",
        "filters": ["one"],
        "local_workload_selector": "has(bgp)",
        "next_hop_mode": "Keep",
        "local_as_number": 64513,
        "reverse_peering": "Manual",
        "keepalive_time": "30s",
    },
    "bgp": {
        "listen_port": 180,
        "service_cluster_ips": ["10.96.0.0/12"],
        "service_external_ips": ["192.0.2.0/24"],
        "service_load_balancer_ips": ["192.0.2.0/24"],
        "service_load_balancer_aggregation": "Disabled",
        "communities": [{"name": "one", "value": "64512:1"}],
        "prefix_advertisements": [{"cidr": "10.0.0.0/8", "communities": ["64512:1"]}],
        "node_mesh_password": {"secretKeyRef": {"name": "bgp", "key": "mesh"}},
        "node_mesh_max_restart_time": "120s",
        "bind_mode": "NodeIP",
        "ignored_interfaces": ["eth9"],
        "local_workload_peering_ipv4": "169.254.1.1",
        "local_workload_peering_ipv6": "fe80::1",
        "program_cluster_routes": "Disabled",
        "ipv4_normal_route_priority": 1000,
        "ipv6_normal_route_priority": 1000,
    },
}


def test_every_setting_of_some_releases_has_a_sample():
    for what, rows in calico_schema.WORDS.items():
        assert set(SAMPLES[what]) == {row.path for row in rows if row.since is not None}
    several = {row.path for row in calico_schema.SETTINGS if row.since is not None}
    assert several == {path for path in SAMPLES if ":" in path}


# By the history of the originals, and not by our tables: minor release -> words that came with it.
CAME = {
    "pool": {
        0: ["block_size"],
        5: ["node_selector"],
        7: ["vxlan"],
        22: ["allowed_uses", "disable_bgp_export"],
        30: ["assignment_mode"],
        31: ["namespace_selector"],
    },
    "peer": {
        0: ["max_restart_time"],
        3: ["node_selector", "peer_selector"],
        16: ["keep_original_next_hop"],
        17: ["password"],
        18: ["source_address"],
        23: ["num_allowed_local_as_numbers"],
        25: ["reachable_by", "ttl_security"],
        26: ["filters"],
        30: ["local_workload_selector"],
        31: ["local_as_number", "next_hop_mode", "reverse_peering"],
        32: ["keepalive_time"],
    },
    "bgp": {
        0: ["service_load_balancer_ips"],
        10: ["service_cluster_ips", "service_external_ips"],
        16: ["communities", "listen_port", "prefix_advertisements"],
        23: ["bind_mode", "node_mesh_max_restart_time", "node_mesh_password"],
        25: ["ignored_interfaces"],
        30: ["local_workload_peering_ipv4", "local_workload_peering_ipv6"],
        31: ["service_load_balancer_aggregation"],
        32: ["ipv4_normal_route_priority", "ipv6_normal_route_priority", "program_cluster_routes"],
    },
}


@pytest.mark.parametrize("what", CAME)
def test_the_tables_say_when_a_word_came(what):
    found = {}
    for row in calico_schema.WORDS[what]:
        if row.since is not None:
            found.setdefault(row.since, []).append(row.path)
    assert {minor: sorted(words) for minor, words in found.items()} == CAME[what]


def test_every_word_of_calico_3_is_a_setting():
    for what, rows in calico_schema.WORDS.items():
        words = set(calico_kinds.KINDS["v3", calico_kinds.DECLARED[what]["v3"]].by_word)
        assert {row.path for row in rows} == words - set(calico_schema.OWNED_WORDS.get(what, ()))


def small(release):
    return {
        "version": release,
        "etcd": {"endpoints": ["http://10.0.0.1:2379"]},
        "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
        "node": {},
    }


def with_word(release, what, word):
    """A small pillar with one setting, and the setting's path."""
    pillar, sample = small(release), SAMPLES[what][word] if word else SAMPLES[what]
    if what == "pool":
        pillar["network"]["pools"][0][word] = sample
        return pillar, f"calico:network:pools:0:{word}"
    if what == "bgp":
        pillar["network"]["bgp"] = {word: sample}
        return pillar, f"calico:network:bgp:{word}"
    if what == "peer":
        near = word == "node_selector" or not word.endswith("_selector")
        far = {"peer_ip": "10.0.0.1", "as_number": 64512} if near else {}
        pillar["network"]["peers"] = [{**far, word: sample}]
        return pillar, f"calico:network:peers:0:{word}"
    pillar["node"][what.partition(":")[2]] = sample
    return pillar, f"calico:{what}"


SINCE = [
    (what, row.path, row.since)
    for what, rows in calico_schema.WORDS.items()
    for row in rows
    if row.since is not None
] + [(row.path, None, row.since) for row in calico_schema.SETTINGS if row.since is not None]


@pytest.mark.parametrize(("what", "word", "since"), SINCE)
def test_a_setting_is_accepted_from_its_release_on(what, word, since):
    releases = ["v2.6.12", *(f"v3.{minor}.1" for minor in range(33))]
    for number, release in enumerate(releases):
        pillar, path = with_word(release, what, word)
        problems = checked(pillar)[1]
        if number - 1 >= since:
            assert problems is None, (release, problems)
            continue
        (problem,) = problems
        assert problem["setting"] == path
        assert release in problem["accepted"]
        assert f"3.{since}" in problem["accepted"]


@pytest.mark.parametrize(
    "row", [row for row in calico_felix.ROWS if row.since or row.until], ids=lambda row: row.name
)
def test_a_setting_of_felix_holds_for_its_releases(row):
    value = {"Flag": True, "Duration": 5, "Number": 5, "Words": row.form.accepted.split(" ")[0]}.get(
        type(row.form).__name__
    )
    if value is None:
        return
    for section in ("felix", "network"):
        for major, minor in [(2, 6), *((3, minor) for minor in range(33))]:
            pillar = small(f"v{major}.{minor}.1")
            name = row.name if section == "felix" or major == 2 or not row.field else row.field
            pillar["network"]["felix"] = {name: value} if section == "network" else {}
            pillar["felix"] = {name: value} if section == "felix" else {}
            problems = checked(pillar)[1]
            if row.known(major, minor) and (row.field or section == "felix" or major == 2):
                assert problems is None
            else:
                (problem,) = problems
                assert problem["setting"].endswith(f":felix:{name}")


def test_each_message_shows_path_value_and_what_is_accepted():
    """As a person reads them; each line has all there is to know."""
    pillar = {
        "version": "v3.22.5",
        "etcd": {"endpoints": ["https://10.0.0.1:2379"]},
        "network": {
            "pools": [{"cidr": "172.20.0.0/16", "vxlanMode": "Always"}, {"cidr": "172.20.1.5/16"}],
            "peers": [{"peer_ip": "10.0.0.1", "as_number": 1, "next_hop_mode": "Self"}],
            "bgp": {"nodeToNodeMeshEnabled": False},
            "felix": {"wiregardEnabled": True},
        },
        "env": {"FELIX_VXLANMTU": 1400, "K8S_TOKEN": ["geheim"]},
        "node": {"backend": "gobgp", "labels": {"rack": 1}},
    }
    with pytest.raises(calico_settings.SettingsError) as caught:
        calico_settings.check(pillar)
    lines = str(caught.value).splitlines()
    assert [line.partition(": got ")[0] for line in lines] == [
        "calico:node:labels:rack",
        "calico:env:K8S_TOKEN",
        "calico:network:pools:0:vxlanMode",
        "calico:network:pools:1:cidr",
        "calico:network:peers:0:next_hop_mode",
        "calico:network:bgp:nodeToNodeMeshEnabled",
        "calico:network:felix:wiregardEnabled",
        "calico:node:backend",
        "calico:etcd:tls:ca",
        "calico:env:FELIX_VXLANMTU",
    ]
    assert "geheim" not in str(caught.value)
    assert all(re.fullmatch(r"calico:\S+: got .+; accepted: .+", line) for line in lines)
    assert "did you mean 'vxlan'?" in lines[2]
    assert "172.20.0.0/16" in lines[3]
    assert "since 3.31" in lines[4]
    assert "set calico:network:mesh instead" in lines[5]
    assert "did you mean 'wireguardEnabled'?" in lines[6]
    assert "bird or vxlan or none with version v3.22.5" in lines[7]
    assert "set calico:felix:VXLANMTU instead" in lines[9]


@pytest.mark.parametrize(
    ("of_bgp", "of_felix", "wrong"),
    [("debug", "warning", True), ("Debug", "debug", False), (None, "info", False)],
)
def test_the_one_log_level_of_2_6_has_one_value(of_bgp, of_felix, wrong):
    """Two would be written over each other for ever."""
    pillar = copy.deepcopy(BASES["2.6"])
    pillar["network"].update(
        felix={"LogSeverityScreen": of_felix}, bgp={"log_level": of_bgp} if of_bgp else {}
    )
    problems = checked(pillar)[1]
    named = [item["setting"] for item in problems or ()]
    assert named == (["calico:network:felix:LogSeverityScreen"] if wrong else [])


def test_a_name_belongs_to_one_pool():
    pillar = copy.deepcopy(BASES["3.x"])
    pillar["network"]["pools"] = [{"cidr": "10.1.0.0/16", "name": "a"}, {"cidr": "10.2.0.0/16", "name": "a"}]
    assert [item["setting"] for item in checked(pillar)[1]] == ["calico:network:pools:1:name"]
