"""The pillar's check: what is derived, what is refused, and how a refusal reads."""

import copy

import calico_generations
import calico_secrets
import calico_settings
import pytest
import yaml

MINIMAL = {
    "version": "v2.6.2",
    "etcd": {"endpoints": ["http://10.0.0.1:2379"]},
    "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
}
CERT = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"

POOL_RESOURCE = {"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": "10.9.0.0/16"}, "spec": {}}


def given(**changes):
    """The minimal pillar with some paths (``a__b`` for a:b) set or, with None, taken out."""
    pillar = copy.deepcopy(MINIMAL)
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        branch = pillar
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return pillar


def problems(pillar):
    with pytest.raises(calico_settings.SettingsError) as caught:
        calico_settings.check(pillar)
    return {problem["setting"]: problem for problem in caught.value.problems}


def test_three_settings_are_enough():
    settings = calico_settings.check(MINIMAL)
    assert settings["generation"] == "v1"
    assert settings["datastore"] == "etcdv2"
    assert settings["image"] == "calico/node:v2.6.2"
    assert settings["cni"]["mtu"] == 1500
    assert settings["network"]["pools"] == [
        {"cidr": "172.20.0.0/16", "ipip": "never", "nat_outgoing": True, "disabled": False}
    ]


def test_checking_leaves_the_pillar_as_it_was():
    pillar = given(felix__IpInIpMtu=1400)
    before = copy.deepcopy(pillar)
    calico_settings.check(pillar)
    assert pillar == before


def test_defaults_of_one_check_do_not_leak_into_the_next():
    calico_settings.check(MINIMAL)["env"]["LEFT"] = "over"
    assert calico_settings.check(MINIMAL)["env"] == {}


@pytest.mark.parametrize(
    ("pillar", "setting", "accepted"),
    [
        (None, "calico:version", "v2.6.12"),
        ({}, "calico:etcd:endpoints", "https://10.0.0.1:2379"),
        ({}, "calico:network:pools", "cidr"),
        ("text", "calico", "a mapping"),
        (["version"], "calico", "a mapping"),
        (given(version="two"), "calico:version", "v2.6.12"),
        (given(version=2.6), "calico:version", "v2.6.12"),
        (given(version="v2.6"), "calico:version", "v2.6.12"),
        (given(version="v1.3.0"), "calico:version", "2.6.x"),
        (given(version="v2.6.2; rm -rf /"), "calico:version", "v2.6.12"),
        (given(datastore="consul"), "calico:datastore", "etcdv2"),
        (given(datastore="etcdv3"), "calico:datastore", "etcdv2 with version v2.6.2"),
        (given(runtime="lxc"), "calico:runtime", "docker"),
        (given(image="Calico/Node"), "calico:image", "calico/node"),
        (given(image="calico/node; reboot"), "calico:image", "calico/node"),
        (given(image="calico/node:v2.6.1"), "calico:image", "without a tag"),
        (given(image_digest="sha256:1"), "calico:image_digest", "64 hex"),
        (given(image_archive="ftp://x/y"), "calico:image_archive", "salt://"),
        (given(etcd__endpoints="https://10.0.0.1:2379"), "calico:etcd:endpoints", "a list"),
        (given(etcd__endpoints=[]), "calico:etcd:endpoints", "list"),
        (given(etcd__endpoints=["10.0.0.1:2379"]), "calico:etcd:endpoints:0", "scheme"),
        (given(etcd__endpoints=["https://10.0.0.1:99999"]), "calico:etcd:endpoints:0", "port"),
        (given(etcd__endpoints=["http://a:1 -e X=1"]), "calico:etcd:endpoints:0", "URL"),
        (given(etcd__endpoints=["http://a:1", "https://b:1"]), "calico:etcd:endpoints", "all http"),
        (given(etcd__endpoints=["https://a:1"]), "calico:etcd:tls:ca", "CA"),
        (given(etcd__tls={"ca": CERT}), "calico:etcd:endpoints", "https"),
        (given(etcd__tls={"ca": "not pem"}), "calico:etcd:tls:ca", "PEM text"),
        (given(node__name="Node1"), "calico:node:name", "lower-case"),
        (given(node__name="node1; x"), "calico:node:name", "lower-case"),
        (given(node__ip="10.0.0"), "calico:node:ip", "IPv4"),
        (given(node__ip="fd00::1"), "calico:node:ip", "IPv4"),
        (given(node__ip="10.0.0.1/33"), "calico:node:ip", "IPv4"),
        (given(node__ip=17), "calico:node:ip", "IPv4"),
        (given(node__ip="none"), "calico:node:ip", "autodetect"),
        (given(node__as_number=0), "calico:node:as_number", "AS number"),
        (given(node__as_number="1.99999"), "calico:node:as_number", "AS number"),
        (given(node__ip_autodetection_method="guess"), "calico:node:ip_autodetection_method", "can-reach"),
        (
            given(node__ip_autodetection_method="interface=eth["),
            "calico:node:ip_autodetection_method",
            "bad regular expression",
        ),
        *(
            (given(node__ip_autodetection_method=method), "calico:node:ip_autodetection_method", "for Go: ")
            for method in (
                "interface=^(?!docker).*",
                r"interface=(a)\1",
                "interface=eth++",
                "skip-interface=eth0,(?<=a)b",
                "interface=eth[0,1]",
                # It would match every interface.
                "interface=eth0,",
                "skip-interface=eth0,,eth1",
            )
        ),
        *(
            (given(node__ip=ip), "calico:node:ip", accepted)
            for ip, accepted in (
                ("10.0.0.11/255.255.255.0", "number of its bits"),
                ("10.0.0.11/0.0.0.255", "number of its bits"),
                ("10.0.0.11/0", "number of its bits"),
                ("10.0.0.11/", "with or without /prefix"),
                ("127.0.0.1/8", "other nodes reach"),
                ("127.8.0.1", "other nodes reach"),
                ("169.254.1.1/16", "other nodes reach"),
                ("255.255.255.255", "other nodes reach"),
                ("0.0.0.0/8", "other nodes reach"),
                ("224.0.0.5/24", "other nodes reach"),
            )
        ),
        *(
            (given(node__ip6=ip), "calico:node:ip6", accepted)
            for ip, accepted in (
                ("::1/128", "other nodes reach"),
                ("fe80::1/64", "other nodes reach"),
                ("::ffff:10.0.0.1/120", "other nodes reach"),
                ("fe80::1%eth0/64", "without a zone"),
                ("fd00::1/ffff::", "with or without /prefix"),
            )
        ),
        *(
            (
                given(network__pools=[{"cidr": cidr, "nat_outgoing": False}]),
                "calico:network:pools:0:cidr",
                "can",
            )
            for cidr in (
                *("127.0.0.0/8", "127.1.0.0/16", "126.0.0.0/7", "224.1.0.0/16", "192.0.0.0/2", "0.1.0.0/16"),
                *("ff02::/64", "::/64", "::/100"),
            )
        ),
        *(
            (given(env={name: "x"}), "calico:env:" + name, "set calico:%s instead" % setting)
            for name, setting in (
                ("HOSTNAME", "node:name"),
                ("FELIX_FELIXHOSTNAME", "node:name"),
                ("Felix_FelixHostname", "node:name"),
                ("CALICO_NETWORKING", "node:backend"),
                ("FELIX_ETCDADDR", "etcd:endpoints"),
                ("felix_EtcdCaFile", "etcd:tls:ca"),
                ("FELIX_ETCDDRIVERLOGFILEPATH", "etcd:endpoints"),
                ("ETCD_AUTHORITY", "etcd:endpoints"),
                ("ETCD_SCHEME", "etcd:endpoints"),
                ("CALICO_ETCD_SCHEME", "etcd:endpoints"),
                # Felix reads its variables in any case.
                ("Felix_LogSeverityScreen", "felix:LogSeverityScreen"),
                ("felix_ipinipmtu", "felix:IpInIpMtu"),
            )
        ),
        (given(service="docker"), "calico:service", "such as docker.service"),
        (given(service="docker.service; x"), "calico:service", "such as docker.service"),
        (given(service="docker.service", runtime="podman"), "calico:service", "nothing where"),
        (given(felix__HealthEnable=True), "calico:felix:HealthEnable", "'HealthEnabled'"),
        (given(felix__LogPrefix="a\nb"), "calico:felix:LogPrefix", "line break"),
        (given(felix="x"), "calico:felix", "a mapping"),
        (given(env={"A B": 1}), "calico:env:A B", "letters"),
        (given(env={"A": "x\ny"}), "calico:env:A", "line break"),
        (given(env={"A": ["x"]}), "calico:env:A", "line break"),
        (given(env={"ETCD_ENDPOINTS": "x"}), "calico:env:ETCD_ENDPOINTS", "calico:etcd:endpoints"),
        (given(env={"FELIX_LOGPREFIX": "x"}), "calico:env:FELIX_LOGPREFIX", "calico:felix:LogPrefix"),
        (given(mounts=["/a"]), "calico:mounts:0", "/host"),
        (given(mounts=["/a:/b %i"]), "calico:mounts:0", "plain"),
        (given(mounts=["/a:/b:shared"]), "calico:mounts:0", ":ro"),
        *(
            (given(mounts=["/a:" + root]), "calico:mounts:0", "/container/path")
            for root in ("/", "//", "/.", "/x/..")
        ),
        (given(cni__mtu=0), "calico:cni:mtu", "576"),
        (given(cni__mtu="1500"), "calico:cni:mtu", "whole number"),
        (given(cni__mtu=True), "calico:cni:mtu", "whole number"),
        (given(cni__mtu=70000), "calico:cni:mtu", "65535"),
        (given(cni__enabled="yes"), "calico:cni:enabled", "true or false"),
        (given(cni__plugins={"source": "salt://p.tgz"}), "calico:cni:plugins:source_hash", "hash"),
        (given(calicoctl__source="salt://calicoctl"), "calico:calicoctl:source_hash", "hash"),
        (given(calicoctl__path="bin/calicoctl"), "calico:calicoctl:path", "absolute"),
        (given(network__pools="172.20.0.0/16"), "calico:network:pools", "a list"),
        (given(network__pools=[]), "calico:network:pools", "at least one"),
        (given(network__pools=["172.20.0.0/16"]), "calico:network:pools:0", "a mapping"),
        (given(network__pools=[{"ipip": "never"}]), "calico:network:pools:0:cidr", "172.20.0.0/16"),
        (given(network__pools=[{"cidr": "172.20.0.0"}]), "calico:network:pools:0:cidr", "/"),
        (given(network__pools=[{"cidr": "x"}]), "calico:network:pools:0:cidr", "network"),
        (given(network__pools=[{"cidr": "172.20.0.1/16"}]), "calico:network:pools:0:cidr", "172.20.0.0/16"),
        (given(network__pools=[{"cidr": "172.20.0.0/27"}]), "calico:network:pools:0:cidr", "/26"),
        (
            given(network__pools=[{"cidr": "169.254.0.0/16"}]),
            "calico:network:pools:0:cidr",
            "outside 169.254.0.0/16",
        ),
        (
            given(network__pools=[{"cidr": "172.20.0.0/16", "ipip": "sometimes"}]),
            "calico:network:pools:0:ipip",
            "crosssubnet",
        ),
        (
            given(network__pools=[{"cidr": "172.20.0.0/16", "nat": True}]),
            "calico:network:pools:0:nat",
            "nat_outgoing",
        ),
        (
            given(network__pools=[{"cidr": "172.20.0.0/16", "nat_outgoing": "yes"}]),
            "calico:network:pools:0:nat_outgoing",
            "true or false",
        ),
        (
            given(network__pools=[{"cidr": "172.20.0.0/16"}, {"cidr": "172.20.128.0/17"}]),
            "calico:network:pools:1:cidr",
            "overlap",
        ),
        (
            given(node__ip="10.0.0.1", network__pools=[{"cidr": "172.20.0.0/16", "ipip": "crosssubnet"}]),
            "calico:node:ip",
            "10.0.0.1/24",
        ),
        (given(network__managed_by=""), "calico:network:managed_by", "compound"),
        (given(network__managed_by="G@os:Debian and ("), "calico:network:managed_by", "compound"),
        (given(network__managed_by="G@os:Debian or"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="( web* ) )"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="web* db*"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="web* and or db*"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="web* and ( )"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="(web* and db*)"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="not not web*"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="X@role:db"), "calico:network:managed_by", "compound"),
        (given(network__managed_by="E@web[0-9"), "calico:network:managed_by", "compound"),
        (
            given(calicoctl={"source": "salt://x", "source_hash": "sha512=" + "0" * 64}),
            "calico:calicoctl:source_hash",
            "a hash such as",
        ),
        (
            given(calicoctl={"source": "salt://x", "source_hash": "0" * 33}),
            "calico:calicoctl:source_hash",
            "a hash such as",
        ),
        (
            given(network__resources=[dict(POOL_RESOURCE), dict(POOL_RESOURCE)]),
            "calico:network:resources:1",
            "once",
        ),
        (
            given(network__resources=[dict(POOL_RESOURCE, metadata={"cidr": "172.20.0.0/16"})]),
            "calico:network:resources:0",
            "once",
        ),
        (
            given(network__resources=[dict(POOL_RESOURCE)], network__prune=True),
            "calico:network:resources:0:kind",
            "calico:network:pools",
        ),
        (given(network__resources=[{"kind": {}}]), "calico:network:resources:0:kind", "a kind"),
        (given(network__resources=[dict(POOL_RESOURCE, x=1)]), "calico:network:resources:0:x", "apiVersion"),
        (given(network__bgp={"mesh": True}), "calico:network:bgp:mesh", "calico:network:mesh"),
        (given(felix={"DatastoreType": "x"}), "calico:felix:DatastoreType", "calico:datastore"),
        (given(env={"CALICO_ETCD_ENDPOINTS": "x"}), "calico:env:CALICO_ETCD_ENDPOINTS", "etcd:endpoints"),
        (given(datastore="kubernetes"), "calico:datastore", "etcdv2 with version v2.6.2"),
        (given(node__name="a..b"), "calico:node:name", "lower-case"),
        (given(mounts=["/a:/lib/modules"]), "calico:mounts:0", "nothing else"),
        *(
            (given(mounts=["/a:/x", "/b:" + path]), "calico:mounts:1", "nothing else")
            for path in ("/x", "/x:ro", "/x/", "//x", "/x/.", "/./x", "/y/../x")
        ),
        *(
            (given(mounts=["/lib/modules:" + path]), "calico:mounts:0", "nothing else")
            for path in ("/lib/modules:ro", "/lib//modules/", "//lib/modules")
        ),
        (given(ready__timeout=0), "calico:ready:timeout", "whole number"),
        (given(ready__absent_nodes="node1"), "calico:ready:absent_nodes", "a list"),
        (given(clean__datastore=1), "calico:clean:datastore", "true or false"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(pillar, setting, accepted):
    found = problems(pillar)
    assert setting in found
    assert accepted in found[setting]["accepted"]


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("verison", "version"), ("pool", None), ("Version", "version"), ("calicoctl_path", None)],
)
def test_an_unknown_key_names_the_nearest_known_one(key, nearest):
    found = problems(dict(MINIMAL, **{key: "x"}))["calico:" + key]
    assert found["given"] == "an unknown setting"
    assert ("(did you mean '%s'?)" % nearest in found["accepted"]) == bool(nearest)


def test_unknown_keys_are_found_at_every_depth():
    assert "calico:etcd:tls:crt" in problems(given(etcd__tls={"crt": "x"}))


def test_every_problem_is_reported_at_once():
    found = problems({"version": "x", "etcd": {"endpoints": ["x"]}, "network": {"pools": []}, "y": 1})
    assert set(found) == {"calico:version", "calico:etcd:endpoints:0", "calico:y"}


def test_keys_are_not_shown_in_errors():
    tls = {"ca": CERT, "cert": CERT, "key": KEY + "\x00"}
    pillar = given(etcd__endpoints=["https://a:1"], etcd__tls=tls, env={"K8S_TOKEN": ["geheim"]})
    found = problems(pillar)
    assert "geheim" not in str(found)
    assert "MIIB" not in str(found)


@pytest.mark.parametrize("source", ["salt://p", "https://h/p", "http://h/p", "/srv/p"])
def test_a_source_may_be_short(source):
    plugins = {"source": source, "source_hash": "0" * 64}
    assert calico_settings.check(given(cni={"plugins": plugins}))["cni"]["plugins"]["source"] == source


def test_masked_settings_show_no_key_and_no_password():
    tls = {"ca": CERT, "cert": CERT, "key": KEY}
    settings = calico_settings.check(
        given(etcd__endpoints=["https://a:1"], etcd__tls=tls, env={"K8S_PASSWORD": "geheim"})
    )
    shown = str(calico_secrets.shown(settings))
    assert "geheim" not in shown
    assert KEY not in shown
    assert settings["etcd"]["tls"]["key"] == KEY


@pytest.mark.parametrize(
    "value",
    ["'", '"', "50%", "$HOME", "a\\b", "a;b", "größe", " both ends ", "", "{{ 7 * 7 }}", "#x", "a=b", "`id`"],
)
def test_text_of_the_environment_stays_as_it_is(value):
    assert calico_settings.check(given(env={"X": value}))["env"]["X"] == value


def test_values_of_other_types_become_text():
    pillar = given(env={"A": True, "B": 5, "C": None}, felix={"ipinipmtu": 1400, "HealthEnabled": False})
    settings = calico_settings.check(pillar)
    assert settings["env"] == {"A": "true", "B": "5", "C": ""}
    assert settings["felix"]["IpInIpMtu"] == "1400"
    assert settings["felix"]["HealthEnabled"] == "false"
    assert settings["felix"]["Ipv6Support"] == "false"


def test_felix_settings_are_given_once():
    pillar = given(felix={"IpInIpMtu": 1, "ipinipmtu": 2})
    assert "calico:felix:ipinipmtu" in problems(pillar)


def test_a_dotted_as_number_becomes_the_plain_one():
    settings = calico_settings.check(given(node__as_number="1.10"))
    assert settings["node"]["as_number"] == 65546


def test_the_defaults_of_the_sls_files_are_the_ones_of_the_check(request):
    with open(request.config.rootpath / "calico/defaults.yaml", encoding="utf-8") as file:
        defaults = yaml.safe_load(file)
    known = {row.path: row.default for row in calico_settings.SETTINGS}

    def leaves(branch, path=()):
        for key, value in branch.items():
            if isinstance(value, dict):
                yield from leaves(value, (*path, key))
            else:
                yield ":".join((*path, key)), value

    for path, value in leaves(defaults):
        assert path in known
        assert known[path] == value


def test_every_generation_has_the_same_tables():
    tables = [set(table) for table in calico_generations.GENERATIONS.values()]
    assert all(table == tables[0] for table in tables)
