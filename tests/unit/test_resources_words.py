"""Resources in the pillar's words: what is written, that a second run changes nothing, what is refused."""

import json
from pathlib import Path

import calico_kinds
import calico_resources as resources
import calico_secrets
import calico_topology
import pytest
import yaml

RECORDINGS = Path(__file__).parents[1] / "recordings"
WHAT = {
    (generation, kind): what
    for what, kinds in calico_kinds.DECLARED.items()
    for generation, kind in kinds.items()
}


def described(what, generation, **words):
    resource = resources.describe(what, words, generation)
    assert resources.problems(resource, generation) == []
    return resource


def refused(what, generation, **words):
    try:
        resource = resources.describe(what, words, generation)
    except resources.Problems as err:
        return [item["setting"] for item in err.problems]
    return [item["setting"] for item in resources.problems(resource, generation)]


# What is written -------------------------------------------------------------------------------


def test_a_peer_of_all_nodes():
    peer = described("peer", "v1", peer_ip="10.0.0.9", as_number="1.10", name="for readers")
    assert peer["metadata"] == {"scope": "global", "peerIP": "10.0.0.9"}
    assert peer["spec"] == {"asNumber": 65546}
    peer = described("peer", "v3", peer_ip="10.0.0.9", as_number="1.10")
    assert peer["metadata"] == {"name": "global-10-0-0-9"}
    assert peer["spec"] == {"peerIP": "10.0.0.9", "asNumber": 65546}


def test_a_peer_of_one_node():
    peer = described("peer", "v1", node="node1", peer_ip="FD00::9", as_number=64513)
    assert peer["metadata"] == {"scope": "node", "node": "node1", "peerIP": "fd00::9"}
    peer = described("peer", "v3", node="node1", peer_ip="10.0.0.9", as_number=64513)
    assert peer["metadata"] == {"name": "node1-10-0-0-9"}
    assert peer["spec"] == {"node": "node1", "peerIP": "10.0.0.9", "asNumber": 64513}


def test_all_words_of_a_peer():
    secret = {"secretKeyRef": {"name": "bgp", "key": "password"}}
    peer = described(
        "peer",
        "v3",
        name="tor",
        node_selector='rack == "1"',
        peer_ip="[FD00:0::9]:1790",
        as_number=64513,
        keep_original_next_hop=True,
        source_address="none",
        max_restart_time=90,
        password=secret,
        num_allowed_local_as_numbers=1,
        ttl_security=1,
        reachable_by="10.0.0.1",
        filters=["b", "a"],
        next_hop_mode="self",
        local_as_number="1.1",
        reverse_peering="manual",
        keepalive_time="1m",
    )
    assert peer["spec"] == {
        "nodeSelector": 'rack == "1"',
        "peerIP": "[fd00::9]:1790",
        "asNumber": 64513,
        "keepOriginalNextHop": True,
        "sourceAddress": "None",
        "maxRestartTime": "1m30s",
        "password": secret,
        "numAllowedLocalASNumbers": 1,
        "ttlSecurity": 1,
        "reachableBy": "10.0.0.1",
        "filters": ["b", "a"],
        "nextHopMode": "Self",
        "localASNumber": 65537,
        "reversePeering": "Manual",
        "keepaliveTime": "1m0s",
    }


def peer_name(**words):
    number = {"as_number": 1} if "peer_ip" in words else {}
    return described("peer", "v3", **{**number, **words})["metadata"]["name"]


def test_names_of_peers_are_stable_and_differ_where_the_peers_do():
    different = [
        {"peer_ip": "10.0.0.9"},
        {"peer_ip": "10.0.0.9:179"},
        {"peer_ip": "fd00::1"},
        {"peer_ip": "fd00:1::"},
        {"peer_ip": "fd00::1:179"},
        {"peer_ip": "[fd00::1]:179"},
        {"node": "node1", "peer_ip": "10.0.0.9"},
        {"node_selector": "all()", "peer_ip": "10.0.0.9"},
        {"node_selector": 'rack == "1"', "peer_ip": "10.0.0.9"},
        {"peer_selector": 'rack == "1"'},
        {"node_selector": 'rack == "1"', "peer_selector": 'rack == "1"'},
        {"node": "node1", "peer_selector": 'rack == "1"'},
    ]
    names = [peer_name(**words) for words in different]
    assert len(set(names)) == len(names), names
    assert peer_name(peer_selector="rack=='1'") == peer_name(peer_selector='rack == "1"')
    assert peer_name(peer_ip="FD00:0::1") == peer_name(peer_ip="fd00::1")
    assert peer_name(peer_ip="10.0.0.9", as_number=1) == peer_name(peer_ip="10.0.0.9", as_number=2)


def test_words_of_pools_that_only_later_releases_have():
    pool = described(
        "pool",
        "v3",
        cidr="10.0.0.0/16",
        allowed_uses=["workload", "Tunnel"],
        disable_bgp_export=True,
        assignment_mode="manual",
        namespace_selector='team == "a"',
    )
    assert pool["spec"] == {
        "cidr": "10.0.0.0/16",
        "allowedUses": ["Workload", "Tunnel"],
        "disableBGPExport": True,
        "assignmentMode": "Manual",
        "namespaceSelector": 'team == "a"',
    }


def test_settings_of_bgp():
    words = {"mesh": False, "as_number": "64999", "log_level": "WARNING"}
    spec = {"nodeToNodeMeshEnabled": False, "asNumber": 64999}
    v1, v3 = described("bgp", "v1", **words), described("bgp", "v3", **words)
    assert v1["metadata"] == v3["metadata"] == {"name": "default"}
    assert v1["spec"] == {**spec, "logSeverityScreen": "warning"}
    assert v3["spec"] == {**spec, "logSeverityScreen": "Warning"}
    v3 = described(
        "bgp",
        "v3",
        listen_port="178",
        service_cluster_ips=["10.96.0.0/12"],
        service_external_ips=[{"cidr": "FD00::/64"}],
        communities=[{"name": "a", "value": "1:2"}],
        prefix_advertisements=[{"cidr": "10.0.0.0/8", "communities": ["a"]}],
        bind_mode="nodeip",
        ignored_interfaces=["docker0"],
        node_mesh_max_restart_time=60,
    )
    assert v3["spec"] == {
        "listenPort": 178,
        "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}],
        "serviceExternalIPs": [{"cidr": "fd00::/64"}],
        "communities": [{"name": "a", "value": "1:2"}],
        "prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["a"]}],
        "bindMode": "NodeIP",
        "ignoredInterfaces": ["docker0"],
        "nodeMeshMaxRestartTime": "1m0s",
    }


@pytest.mark.parametrize(
    ("word", "v1", "v3"),
    [
        ("debug", "debug", "Debug"),
        ("Info", "info", "Info"),
        ("fatal", "critical", "Fatal"),
        ("CRITICAL", "critical", "Fatal"),
        ("none", "none", "Fatal"),
        (False, "none", "Fatal"),
    ],
)
def test_log_levels_are_spelt_as_each_generation_does(word, v1, v3):
    for generation, spelt in (("v1", v1), ("v3", v3)):
        wanted = described("bgp", generation, log_level=word)
        assert wanted["spec"] == {"logSeverityScreen": spelt}
        printed = {**wanted, "spec": {"logSeverityScreen": spelt}}
        assert resources.diff(printed, wanted, generation) == {}


FELIX = {
    "ipipMTU": "1440",
    "healthenabled": "yes",
    "DEFAULTENDPOINTTOHOSTACTION": "ACCEPT",
    "RouteRefreshInterval": 90,
    "iptablesLockProbeInterval": "50ms",
    "FailsafeInboundHostPorts": "udp:68,tcp:22",
    "iptablesMarkMask": "0xffff0000",
    "LogFilePath": "none",
    "ChainInsertMode": None,
}


def test_settings_of_felix_go_by_the_names_of_either_generation():
    v3 = described("felix", "v3", **FELIX)
    assert v3["spec"] == {
        "ipipMTU": 1440,
        "healthEnabled": True,
        "defaultEndpointToHostAction": "Accept",
        "routeRefreshInterval": "1m30s",
        "iptablesLockProbeInterval": "50ms",
        "failsafeInboundHostPorts": [{"protocol": "udp", "port": 68}, {"protocol": "tcp", "port": 22}],
        "iptablesMarkMask": 0xFFFF0000,
        "logFilePath": "none",
        "chainInsertMode": None,
    }
    v1 = described("felix", "v1", **FELIX)
    assert v1["spec"] == {
        "IpInIpMtu": "1440",
        "HealthEnabled": "true",
        "DefaultEndpointToHostAction": "Accept",
        "RouteRefreshInterval": "90",
        "IptablesLockProbeIntervalMillis": "50",
        "FailsafeInboundHostPorts": "tcp:22,udp:68",
        "IptablesMarkMask": "0xffff0000",
        "LogFilePath": "none",
        "ChainInsertMode": None,
    }


def test_what_felix_is_told_already_does_not_differ():
    stored = {
        "ipipMTU": 1440,
        "healthEnabled": True,
        "defaultEndpointToHostAction": "Accept",
        "routeRefreshInterval": "1m30s",
        "iptablesLockProbeInterval": "50ms",
        "failsafeInboundHostPorts": [
            {"protocol": "tcp", "port": 22, "net": ""},
            {"protocol": "udp", "port": 68, "net": ""},
        ],
        "iptablesMarkMask": 4294901760,
        "logFilePath": "none",
        "bpfLogLevel": "",
        "floatingIPs": "Disabled",
    }
    wanted = described("felix", "v3", **FELIX)
    assert resources.diff({**wanted, "spec": stored}, wanted, "v3") == {}
    raw = {
        "IpInIpMtu": "1440",
        "HealthEnabled": "1",
        "DefaultEndpointToHostAction": "ACCEPT",
        "RouteRefreshInterval": "90.0",
        "IptablesLockProbeIntervalMillis": "50",
        "FailsafeInboundHostPorts": "tcp:22, udp:68",
        "IptablesMarkMask": "4294901760",
        "LogFilePath": "None",
    }
    wanted = described("felix", "v1", **FELIX)
    assert resources.diff({**wanted, "spec": raw}, wanted, "v1") == {}


def test_a_list_that_is_empty_is_more_than_none():
    wanted = described("felix", "v3", failsafeInboundHostPorts=[])
    current = {**wanted, "spec": {"bpfLogLevel": ""}}
    merged, changes = resources.merge(current, wanted, "v3")
    assert changes == {"failsafeInboundHostPorts": {"old": None, "new": []}}
    assert merged["spec"]["failsafeInboundHostPorts"] == []
    assert resources.diff(merged, wanted, "v3") == {}


def test_a_node():
    node = described(
        "node",
        "v3",
        name="n",
        labels={"rack": 1, "old": None},
        as_number=1,
        route_reflector_cluster_id="1.0.0.1",
    )
    assert node["metadata"] == {"name": "n", "labels": {"rack": "1", "old": None}}
    assert node["spec"] == {"bgp": {"asNumber": 1, "routeReflectorClusterID": "1.0.0.1"}}
    current = {
        "kind": "Node",
        "metadata": {"name": "n", "resourceVersion": "7", "uid": "x", "labels": {"old": "x", "kept": "y"}},
        "spec": {"bgp": {"ipv4Address": "10.0.0.1/24", "ipv4IPIPTunnelAddr": "10.1.0.1"}},
    }
    merged, changes = resources.merge(current, node, "v3")
    assert changes == {
        "labels.rack": {"old": None, "new": "1"},
        "labels.old": {"old": "x", "new": None},
        "as_number": {"old": None, "new": 1},
        "route_reflector_cluster_id": {"old": None, "new": "1.0.0.1"},
    }
    assert merged["metadata"] == {"name": "n", "resourceVersion": "7", "labels": {"kept": "y", "rack": "1"}}
    assert merged["spec"]["bgp"]["ipv4IPIPTunnelAddr"] == "10.1.0.1"
    assert resources.diff(merged, node, "v3") == {}
    assert described("node", "v1", name="N", as_number=1)["spec"] == {"bgp": {"asNumber": 1}}


# What is refused -------------------------------------------------------------------------------

A_COMMUNITY = [{"name": "a", "value": "64512:120"}]


def uses(*communities):
    return {"prefix_advertisements": [{"cidr": "10.0.0.0/8", "communities": list(communities)}]}


REFUSED = [
    ("peer", "v1", {"peer_ip": "10.0.0.9", "peer_selector": "all()"}, ["peer_selector"]),
    ("peer", "v1", {"peer_ip": "10.0.0.9", "as_number": 1, "scope": "node"}, ["scope"]),
    ("peer", "v1", {"peer_ip": "10.0.0.9:180"}, ["peer_ip"]),
    ("peer", "v1", {"as_number": 1}, ["peer_ip"]),
    ("peer", "v3", {"as_number": 1}, ["peer_ip"]),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": 1, "password": "secret"}, ["password"]),
    (
        "peer",
        "v3",
        {"peer_ip": "10.0.0.9", "as_number": 1, "password": {"secretKeyRef": {"name": "a"}}},
        ["password"],
    ),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": 1, "filters": "a"}, ["filters"]),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": 1, "ttl_security": 256}, ["ttl_security"]),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": 1, "keepalive_time": "soon"}, ["keepalive_time"]),
    # Empty is not the same as absent: a template may have found nothing.
    ("peer", "v1", {"peer_ip": "10.0.0.9", "as_number": 1, "node": ""}, ["node"]),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": 1, "node": ""}, ["node"]),
    ("pool", "v1", {"cidr": "10.0.0.0/16", "ipip": ""}, ["ipip"]),
    ("pool", "v3", {"cidr": ""}, ["cidr"]),
    ("bgp", "v3", {"log_level": ""}, ["log_level"]),
    ("pool", "v3", {"cidr": "10.0.0.0/16", "allowed_uses": ["Everything"]}, ["allowed_uses"]),
    ("bgp", "v1", {"listen_port": 179}, ["listen_port"]),
    ("bgp", "v1", {"log_level": "loud"}, ["log_level"]),
    ("bgp", "v3", {"mash": True}, ["mash"]),
    ("bgp", "v3", {"mesh": "yes"}, ["mesh"]),
    ("bgp", "v3", {"name": "node.a", "mesh": True}, ["mesh"]),
    ("bgp", "v1", {"name": "node.a", "as_number": 1}, ["as_number"]),
    ("bgp", "v3", {"name": "other"}, ["name"]),
    ("bgp", "v3", {"listen_port": 0}, ["listen_port"]),
    ("bgp", "v3", {"service_cluster_ips": ["10.0.0.1"]}, ["service_cluster_ips"]),
    ("bgp", "v3", {"communities": [{"name": "a"}]}, ["communities"]),
    ("bgp", "v3", {"communities": [{"name": "a", "value": "1:70000"}]}, ["communities"]),
    ("bgp", "v3", {"communities": [{"name": "a", "value": "1:2:4294967296"}]}, ["communities"]),
    ("bgp", "v3", {"communities": [{"name": "a", "value": "1"}]}, ["communities"]),
    ("bgp", "v3", {"communities": A_COMMUNITY, "prefix_advertisements": []}, ["communities"]),
    ("bgp", "v3", {"communities": A_COMMUNITY, **uses("b")}, ["prefix_advertisements"]),
    ("bgp", "v3", {"communities": [], **uses("a")}, ["prefix_advertisements"]),
    ("bgp", "v3", {"communities": A_COMMUNITY, **uses("a", "b", "1:2:3")}, ["prefix_advertisements"]),
    ("bgp", "v3", uses("1:2:3:4"), ["prefix_advertisements"]),
    ("bgp", "v3", {"mesh": False, "node_mesh_max_restart_time": 5}, ["node_mesh_max_restart_time"]),
    ("felix", "v1", {"BPFEnabled": True}, ["BPFEnabled"]),
    ("felix", "v3", {"IgnoreLooseRPF": True}, ["IgnoreLooseRPF"]),
    ("felix", "v3", {"TyphaAddr": "a:1"}, ["TyphaAddr"]),
    ("felix", "v3", {"helthEnabled": True}, ["helthEnabled"]),
    ("felix", "v3", {"ipipMTU": 1, "IpInIpMtu": 2}, ["IpInIpMtu"]),
    ("felix", "v3", {"defaultEndpointToHostAction": "Perhaps"}, ["defaultEndpointToHostAction"]),
    ("felix", "v3", {"routeRefreshInterval": "often"}, ["routeRefreshInterval"]),
    ("felix", "v1", {"DefaultEndpointToHostAction": "none"}, ["DefaultEndpointToHostAction"]),
    ("felix", "v3", {"name": "other", "ipipMTU": 1}, ["name"]),
    ("node", "v1", {"name": "a", "labels": {}}, ["labels"]),
    ("node", "v3", {"labels": {"a": "b"}}, ["name"]),
    ("node", "v3", {"name": "a", "labels": {"a": True}}, ["labels.a"]),
    ("node", "v3", {"name": "a", "labels": {"a b": "c"}}, ["labels.a b"]),
    ("node", "v3", {"name": "a", "labels": ["a"]}, ["labels"]),
    ("node", "v3", {"name": "a", "route_reflector_cluster_id": "fd00::1"}, ["route_reflector_cluster_id"]),
]


@pytest.mark.parametrize(("what", "generation", "words", "settings"), REFUSED)
def test_what_cannot_be_is_refused_by_name_of_the_field(what, generation, words, settings):
    assert refused(what, generation, **words) == settings


def test_a_community_that_nothing_defines_is_told_with_those_that_are():
    words = {"communities": A_COMMUNITY, **uses("b")}
    (wrong,) = resources.problems(resources.describe("bgp", words, "v3"), "v3")
    assert wrong["given"] == "b"
    assert "64512:120" in wrong["accepted"] and wrong["accepted"].endswith("the name of one of communities")


@pytest.mark.parametrize("words", [{"communities": A_COMMUNITY}, uses("a")])
def test_communities_and_their_use_are_judged_by_what_will_be_there(words):
    """The pillar may name one of the two where the datastore has the other."""
    wanted = resources.describe("bgp", words, "v3")
    assert resources.problems(wanted, "v3") == []
    assert [item["setting"] for item in resources.problems(wanted, "v3", whole=True)] == list(words)
    both = resources.describe("bgp", {"communities": A_COMMUNITY, **uses("a")}, "v3")
    assert resources.problems(resources.merge(both, wanted, "v3")[0], "v3", whole=True) == []


def test_misspelt_words_are_told_what_is_near():
    with pytest.raises(resources.Problems) as raised:
        resources.describe("bgp", {"as_nubmer": 1}, "v1")
    assert raised.value.problems[0]["accepted"].endswith("(did you mean 'as_number'?)")


# A second run changes nothing ------------------------------------------------------------------


def recorded():
    """Every resource that a recorded calicoctl printed, or that lies in a recorded datastore."""
    for path in sorted(RECORDINGS.glob("calicoctl/*/*.json")):
        generation = "v1" if path.parent.name.startswith("v1.") else "v3"
        for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
            if step["rc"] != 0 or step["argv"][1] != "get" or not {"yaml", "json"} & set(step["argv"]):
                continue
            for document in yaml.safe_load_all(step["stdout"]):
                for item in document if isinstance(document, list) else [document]:
                    for resource in item.get("items", [item]):
                        yield f"{path.parent.name}/{path.stem}: {step['name']}", generation, resource
    rows = json.loads((RECORDINGS / "etcd-v3-keys.json").read_text(encoding="utf-8"))["keys"]
    for row in rows:
        if isinstance(row["value"], dict) and "kind" in row["value"]:
            yield row["key"], "v3", row["value"]
    keys = {
        row["key"]: row["value"] if isinstance(row["value"], str) else json.dumps(row["value"])
        for row in json.loads((RECORDINGS / "etcd-v2-keys.json").read_text(encoding="utf-8"))["keys"]
    }
    cluster = calico_topology.from_v2(keys)
    for items in (*cluster.resources.values(), *resources.from_config(cluster.config).values()):
        for resource in items:
            yield "etcd v2", "v1", resource


RECORDED = [
    pytest.param(generation, resource, id=f"{source} {number}")
    for number, (source, generation, resource) in enumerate(recorded())
]
DECLARABLE = [case for case in RECORDED if (case.values[0], case.values[1]["kind"]) in WHAT]


def words_of(resource, generation, defaults):
    """The words that describe a recorded resource; with ``defaults`` also those that it leaves out."""
    kind = calico_kinds.KINDS[generation, resource["kind"]]
    words = {
        word: value for word, value in resources.values(resource, generation).items() if word in kind.by_word
    }
    words = {word: value for word, value in words.items() if value != ""}
    if WHAT[generation, resource["kind"]] == "peer":
        words.pop("scope", None)
    for field in kind.fields if defaults else ():
        default = resources._default(field, resource)
        if default is not None and field.word != "scope":
            words.setdefault(field.word, default)
    if resource["metadata"].get("labels") and generation == "v3":
        words["labels"] = resource["metadata"]["labels"]
    return words


def test_there_are_resources_of_every_kind():
    assert {(case.values[0], case.values[1]["kind"]) for case in DECLARABLE} == set(WHAT)


@pytest.mark.parametrize("defaults", [False, True], ids=["as printed", "with defaults"])
@pytest.mark.parametrize(("generation", "printed"), DECLARABLE)
def test_what_is_printed_and_declared_in_words_does_not_differ(generation, printed, defaults):
    words = words_of(printed, generation, defaults)
    what = WHAT[generation, printed["kind"]]
    wanted = resources.describe(what, words, generation)
    assert resources.find([printed], wanted, generation) is printed
    merged, changes = resources.merge(printed, wanted, generation)
    assert changes == {}
    assert merged["spec"] == printed["spec"]
    peerless = what == "peer" and not {"peer_ip", "peer_selector"} & set(words)
    assert [item["setting"] for item in resources.problems(wanted, generation)] == ["peer_ip"] * peerless


@pytest.mark.parametrize(("generation", "printed"), RECORDED)
def test_what_is_printed_does_not_differ_from_itself_and_loses_nothing(generation, printed):
    merged, changes = resources.merge(printed, printed, generation)
    assert changes == {}
    assert merged["spec"] == printed["spec"]
    version = printed["metadata"].get("resourceVersion")
    assert merged["metadata"].get("resourceVersion") == version


def has_as_number(generation, resource):
    of_one_node = str(resource["metadata"].get("name")).startswith("node.")
    return "as_number" in calico_kinds.KINDS[generation, resource["kind"]].by_word and not of_one_node


@pytest.mark.parametrize(
    ("generation", "printed"), [case for case in DECLARABLE if has_as_number(*case.values)]
)
def test_one_word_changes_one_thing_only(generation, printed):
    kind = calico_kinds.KINDS[generation, printed["kind"]]
    words = {**words_of(printed, generation, False), "as_number": 4200000000}
    wanted = resources.describe(WHAT[generation, printed["kind"]], words, generation)
    merged, changes = resources.merge(printed, wanted, generation)
    assert list(changes) == ["as_number"]
    path = kind.by_word["as_number"].path
    assert calico_kinds.at(merged, path) == 4200000000
    calico_kinds.put(merged, path, calico_kinds.at(printed, path))
    assert (merged["spec"].get("bgp") or None, merged["metadata"].get("labels")) == (
        printed["spec"].get("bgp"),
        printed["metadata"].get("labels"),
    )


SAME = [
    (
        "peer",
        "v3",
        {"peer_ip": "10.0.0.9", "as_number": 1, "max_restart_time": 60},
        {"maxRestartTime": "1m0s"},
    ),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": "1.10"}, {"asNumber": 65546}),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": "65546"}, {"asNumber": "1.10"}),
    (
        "peer",
        "v3",
        {"peer_ip": "10.0.0.9", "as_number": 1, "node_selector": "a=='b'"},
        {"nodeSelector": 'a == "b"'},
    ),
    ("peer", "v3", {"peer_ip": "10.0.0.9", "as_number": 1, "source_address": "usenodeip"}, {}),
    (
        "bgp",
        "v3",
        {"service_cluster_ips": ["10.0.0.0/8", "FD00::/8"]},
        {"serviceClusterIPs": [{"cidr": "fd00::/8"}, {"cidr": "10.0.0.0/8"}]},
    ),
    ("bgp", "v3", {"service_cluster_ips": [], "communities": []}, {}),
    ("bgp", "v3", {"mesh": True, "as_number": 64512, "log_level": "info", "listen_port": 179}, {}),
    ("bgp", "v1", {"mesh": True, "as_number": 64512, "log_level": "info"}, {}),
    ("felix", "v3", {"kubeNodePortRanges": "80,30000:32767"}, {"kubeNodePortRanges": ["30000:32767", 80]}),
    (
        "felix",
        "v3",
        {"externalNodesList": "10.0.0.0/8,10.0.0.1"},
        {"externalNodesList": ["10.0.0.1", "10.0.0.0/8"]},
    ),
    ("felix", "v3", {"bpfLogFilters": "all=tcp"}, {"bpfLogFilters": {"all": "tcp"}}),
    (
        "pool",
        "v3",
        {"cidr": "10.0.0.0/8", "ipip": "cross-subnet"},
        {"cidr": "10.0.0.0/8", "ipipMode": "CrossSubnet"},
    ),
    ("pool", "v3", {"cidr": "10.0.0.0/8", "allowed_uses": ["tunnel", "workload"]}, {"cidr": "10.0.0.0/8"}),
]


@pytest.mark.parametrize(("what", "generation", "words", "spec"), SAME)
def test_spellings_of_the_same_do_not_differ(what, generation, words, spec):
    wanted = described(what, generation, **words)
    spec = {**({"peerIP": words["peer_ip"], "asNumber": 1} if "peer_ip" in words else {}), **spec}
    assert resources.diff({**wanted, "spec": spec}, wanted, generation) == {}


DIFFERENT = [
    (
        "peer",
        {"peer_ip": "10.0.0.9", "as_number": 1, "filters": ["a", "b"]},
        {"filters": ["b", "a"]},
        "filters",
    ),
    (
        "peer",
        {"peer_ip": "10.0.0.9", "as_number": 1, "max_restart_time": 61},
        {"maxRestartTime": "1m0s"},
        "max_restart_time",
    ),
    (
        "bgp",
        {"service_cluster_ips": []},
        {"serviceClusterIPs": [{"cidr": "fd00::/8"}]},
        "service_cluster_ips",
    ),
    ("bgp", {"mesh": False}, {}, "mesh"),
    ("felix", {"healthEnabled": False}, {}, "healthEnabled"),
    ("felix", {"healthEnabled": None}, {"healthEnabled": False}, "healthEnabled"),
]


@pytest.mark.parametrize(("what", "words", "spec", "field"), DIFFERENT)
def test_what_is_not_the_same_differs_until_it_is_written(what, words, spec, field):
    wanted = described(what, "v3", **words)
    spec = {**({"peerIP": words["peer_ip"], "asNumber": 1} if "peer_ip" in words else {}), **spec}
    merged, changes = resources.merge({**wanted, "spec": spec}, wanted, "v3")
    assert list(changes) == [field]
    assert resources.diff(merged, wanted, "v3") == {}


# Any other kind --------------------------------------------------------------------------------


def other_kind(**spec):
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "a"},
        "spec": spec,
    }


def test_any_other_kind_is_merged_as_it_is():
    current = other_kind(order=5, types=["Ingress"], ingress=[{"action": "Allow"}], extra={"a": 1, "b": 2})
    current["metadata"].update(uid="x", resourceVersion="9", labels={"kept": "yes"})
    wanted = other_kind(order="5", types=["Ingress", "Egress"], ingress=[{"action": "Allow"}], extra={"b": 3})
    wanted["spec"].update(egress=[], doNotTrack=False)
    wanted["metadata"]["resourceVersion"] = "1"
    merged, changes = resources.merge(current, wanted, "v3")
    assert changes == {
        "types": {"old": ["Ingress"], "new": ["Ingress", "Egress"]},
        "extra.b": {"old": 2, "new": 3},
    }
    assert merged["metadata"] == {"name": "a", "resourceVersion": "9", "labels": {"kept": "yes"}}
    assert merged["spec"]["extra"] == {"a": 1, "b": 3}
    assert resources.diff(merged, wanted, "v3") == {}


def test_a_version_is_never_taken_from_the_pillar():
    wanted = other_kind(order=1)
    wanted["metadata"].update(resourceVersion="1", uid="x")
    assert resources.merge(None, wanted, "v3")[0]["metadata"] == {"name": "a"}


def test_a_switch_is_no_number_and_a_label_no_duration():
    assert resources.diff(other_kind(a=1), other_kind(a=True), "v3")
    labelled = [other_kind() for _ in range(2)]
    for resource, label in zip(labelled, ("1m", "60s")):
        resource["metadata"]["labels"] = {"every": label}
    assert resources.diff(*labelled, "v3") == {"labels.every": {"old": "1m", "new": "60s"}}


def test_one_name_may_be_there_in_each_namespace():
    known = [
        {"kind": "NetworkPolicy", "metadata": {"name": "a", "namespace": namespace}}
        for namespace in ("default", "other")
    ]
    wanted = {"kind": "NetworkPolicy", "metadata": {"name": "a"}}
    assert resources.find(known, wanted, "v3") is known[0]
    wanted["metadata"]["namespace"] = "other"
    assert resources.find(known, wanted, "v3") is known[1]


GOOD = {
    "v1": {"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": "10.0.0.0/16"}},
    "v3": other_kind(),
}
BAD_RESOURCES = [
    ("v3", [], ""),
    ("v3", None, ""),
    ("v3", {**GOOD["v3"], "apiVersion": "v1"}, "apiVersion"),
    ("v3", {**GOOD["v3"], "kind": ["IPPool"]}, "kind"),
    ("v3", {**GOOD["v3"], "kind": "IPPoolList"}, "kind"),
    ("v3", {**GOOD["v3"], "metadata": {}}, "name"),
    ("v3", {**GOOD["v3"], "metadata": {"name": 5}}, "name"),
    ("v3", {**GOOD["v3"], "metadata": []}, "metadata"),
    ("v3", {**GOOD["v3"], "spec": "x"}, "spec"),
    ("v3", {**GOOD["v3"], "specs": {}}, "specs"),
    ("v1", {**GOOD["v1"], "kind": "FelixConfiguration", "metadata": {"name": "default"}}, "kind"),
    ("v1", {**GOOD["v1"], "metadata": {"cidr": "10.0.0.1/16"}}, "cidr"),
    ("v3", {**GOOD["v3"], "kind": "Node", "spec": {"bgp": 5}}, "bgp"),
]


@pytest.mark.parametrize(("generation", "resource", "setting"), BAD_RESOURCES)
def test_resources_of_any_kind_are_checked_for_their_shape(generation, resource, setting):
    assert setting in [item["setting"] for item in resources.resource_problems(resource, generation)]
    assert resources.resource_problems(GOOD[generation], generation) == []


def test_problems_do_not_show_secrets():
    bad = [
        {**other_kind(), "ETCD_PASSWORD": "geheim"},
        [{"token": "geheim"}],
        resources.describe("peer", {"peer_ip": "10.0.0.9", "password": "geheim"}, "v3"),
    ]
    for resource in bad:
        assert resources.resource_problems(resource, "v3")
        assert "geheim" not in str(resources.resource_problems(resource, "v3"))


# What cannot be changed, what is in the way, and what must not be shown -----------------------------


def test_a_pool_of_the_same_name_is_the_same_pool():
    current = described("pool", "v3", name="main", cidr="10.0.0.0/16", block_size=26)
    wanted = described("pool", "v3", name="main", cidr="10.0.0.0/17", block_size=27)
    assert resources.find([current], wanted, "v3") is current
    changes = resources.diff(current, wanted, "v3")
    assert resources.immutable(changes, wanted, "v3") == ["cidr", "block_size"]
    assert resources.immutable({"ipip": {}}, wanted, "v3") == []
    assert resources.find([current], described("pool", "v3", name="other", cidr="10.0.0.0/17"), "v3") is None


class Step:
    def __init__(self, action, resource):
        self.action, self.resource = action, resource


@pytest.mark.parametrize("generation", ["v1", "v3"])
def test_pools_that_go_are_in_the_way_of_those_that_overlap(generation):
    old = described("pool", generation, cidr="10.0.0.0/16")
    overlapping = Step("create", described("pool", generation, cidr="10.0.128.0/17"))
    elsewhere = Step("create", described("pool", generation, cidr="10.1.0.0/16"))
    deletion = Step("delete", None)
    assert resources.in_the_way([old], [deletion, elsewhere, overlapping], generation)
    assert not resources.in_the_way([old], [deletion, elsewhere], generation)
    peer = described("peer", generation, peer_ip="10.0.0.9", as_number=1)
    assert not resources.in_the_way([peer], [overlapping], generation)


def test_secrets_are_masked_and_references_are_not():
    reference = {"secretKeyRef": {"name": "bgp", "key": "password"}}
    changes = {
        "password": {"old": None, "new": reference},
        "api_token": {"old": "one", "new": "two"},
        "settings.sshKey": {"old": ["k"], "new": []},
        "spec": {"old": {"clientSecret": "x", "keyFile": "/k", "publicKey": "p"}, "new": None},
        "text": {"old": "-----BEGIN PRIVATE KEY-----\nx", "new": "plain"},
        "keepalive_time": {"old": None, "new": "1m0s"},
    }
    shown = calico_secrets.shown(changes)
    assert shown == {
        "password": {"old": None, "new": reference},
        "api_token": {"old": "********", "new": "********"},
        "settings.sshKey": {"old": ["********"], "new": []},
        "spec": {"old": {"clientSecret": "********", "keyFile": "/k", "publicKey": "p"}, "new": None},
        "text": {"old": "********", "new": "plain"},
        "keepalive_time": {"old": None, "new": "1m0s"},
    }
    assert changes["api_token"] == {"old": "one", "new": "two"}


def test_a_secret_inside_of_a_secret_is_masked():
    assert calico_secrets.shown({"token": {"value": {"name": "x"}}}) == {
        "token": {"value": {"name": "********"}}
    }


# The settings of Calico 2.6 ----------------------------------------------------------------------

CONFIG = {
    "nodeToNodeMesh": "off",
    "asNumber": 64599,
    "logLevel": "debug",
    "ipip": "on",
    "felix": {"IpInIpEnabled": "true", "ClusterGUID": "x", "LogFilePath": "none"},
    "bgp": {"foo": "bar"},
    "nodes": {
        "node1": {"logLevel": "info", "felix": {"LogSeverityScreen": "info"}},
        "node2": {"bgp": {}, "felix": {}},
    },
}


def test_what_calicoctl_config_sets_reads_like_resources():
    found = resources.from_config(CONFIG)
    assert [(item["metadata"]["name"], item["spec"]) for item in found["BGPConfiguration"]] == [
        ("default", {"nodeToNodeMeshEnabled": False, "asNumber": 64599, "logSeverityScreen": "debug"}),
        ("node.node1", {"logSeverityScreen": "info"}),
    ]
    assert [(item["metadata"]["name"], item["spec"]) for item in found["FelixConfiguration"]] == [
        ("default", CONFIG["felix"]),
        ("node.node1", {"LogSeverityScreen": "info"}),
    ]
    assert [len(items) for items in resources.from_config({}).values()] == [1, 1]


def calls(what, **words):
    wanted = described(what, "v1", **words)
    known = resources.from_config(CONFIG)[wanted["kind"]]
    merged, changes = resources.merge(resources.find(known, wanted, "v1"), wanted, "v1")
    return resources.config_calls(merged, changes)


@pytest.mark.parametrize(
    ("what", "words", "expected"),
    [
        ("bgp", {"mesh": False, "as_number": "64599", "log_level": "Debug"}, []),
        ("bgp", {"mesh": True}, [("nodeToNodeMesh", "on", None, None)]),
        ("bgp", {"as_number": "1.10"}, [("asNumber", "65546", None, None)]),
        ("bgp", {"log_level": "fatal"}, [("logLevel", "critical", None, None)]),
        ("bgp", {"name": "node.node1", "log_level": "INFO"}, []),
        ("bgp", {"name": "node.node2", "log_level": "info"}, [("logLevel", "info", "node2", None)]),
        ("felix", {"ipipEnabled": True, "LogFilePath": "none"}, []),
        ("felix", {"ipipEnabled": False}, [("IpInIpEnabled", "false", None, "felix")]),
        ("felix", {"LogFilePath": None, "LogPrefix": None}, [("LogFilePath", None, None, "felix")]),
        (
            "felix",
            {"name": "node.node1", "ReportingInterval": "1m", "LogSeverityScreen": ""},
            [
                ("LogSeverityScreen", None, "node1", "felix"),
                ("ReportingIntervalSecs", "60", "node1", "felix"),
            ],
        ),
    ],
)
def test_differences_become_calls_of_calicoctl_config(what, words, expected):
    assert calls(what, **words) == expected


@pytest.mark.parametrize("value", [{}, {"a": "b"}, [], 7, True])
def test_a_label_that_is_no_text_is_named(value):
    resource = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "Node",
        "metadata": {"name": "n", "labels": {"rack": value}},
    }
    (found,) = resources.problems(resource, "v3")
    assert found["setting"] == "labels.rack"
