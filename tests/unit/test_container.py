"""The container that the settings ask for, held against the chapter's unit."""

import json

import calico_container
import calico_settings
import pytest

CHAPTER = {
    "version": "v2.6.2",
    "etcd": {
        "endpoints": ["https://10.0.0.1:2379", "https://10.0.0.2:2379"],
        "tls": {"ca": "/pki/ca.pem", "cert": "/pki/c.pem", "key": "/pki/k.pem"},
    },
    "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
}
# What the chapter's `docker run` gives the container.
CHAPTER_ENVIRONMENT = {
    "ETCD_ENDPOINTS": "https://10.0.0.1:2379,https://10.0.0.2:2379",
    "ETCD_CA_CERT_FILE": "/etc/calico/ssl/ca.pem",
    "ETCD_CERT_FILE": "/etc/calico/ssl/calico.pem",
    "ETCD_KEY_FILE": "/etc/calico/ssl/calico-key.pem",
    "CALICO_LIBNETWORK_ENABLED": "true",
    "CALICO_NETWORKING_BACKEND": "bird",
    "CALICO_DISABLE_FILE_LOGGING": "true",
    "CALICO_IPV4POOL_CIDR": "172.20.0.0/16",
    "CALICO_IPV4POOL_IPIP": "off",
    "FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT",
    "FELIX_IPV6SUPPORT": "false",
    "FELIX_LOGSEVERITYSCREEN": "info",
    "FELIX_IPINIPMTU": "1440",
    "FELIX_HEALTHENABLED": "true",
    "IP": "",
}
CHAPTER_MOUNTS = [
    "/etc/calico/ssl:/etc/calico/ssl",
    "/var/run/calico:/var/run/calico",
    "/lib/modules:/lib/modules",
    "/run/docker/plugins:/run/docker/plugins",
    "/var/run/docker.sock:/var/run/docker.sock",
    "/var/log/calico:/var/log/calico",
]


def container(certificates="one", **changes):
    return calico_container.container(settings(**changes), certificates)


def settings(**changes):
    return calico_settings.check(dict(CHAPTER, **changes))


def test_the_defaults_give_the_chapters_container():
    found = container()
    assert found["environment"] == CHAPTER_ENVIRONMENT
    assert found["mounts"] == CHAPTER_MOUNTS
    assert (found["name"], found["image"]) == ("calico-node", "calico/node:v2.6.2")
    assert (found["network"], found["privileged"]) == ("host", True)


def test_the_defaults_give_the_chapters_cni_configuration():
    assert calico_container.cni_configuration(settings()) == {
        "name": "calico-k8s-network",
        "cniVersion": "0.1.0",
        "type": "calico",
        "etcd_endpoints": "https://10.0.0.1:2379,https://10.0.0.2:2379",
        "etcd_key_file": "/etc/calico/ssl/calico-key.pem",
        "etcd_cert_file": "/etc/calico/ssl/calico.pem",
        "etcd_ca_cert_file": "/etc/calico/ssl/ca.pem",
        "log_level": "info",
        "mtu": 1500,
        "ipam": {"type": "calico-ipam"},
        "policy": {"type": "k8s"},
        "kubernetes": {"kubeconfig": "/root/.kube/config"},
    }


def test_the_defaults_give_the_chapters_calicoctl_configuration():
    assert calico_container.calicoctl_configuration(settings()) == {
        "apiVersion": "v1",
        "kind": "calicoApiConfig",
        "metadata": None,
        "spec": {
            "datastoreType": "etcdv2",
            "etcdEndpoints": "https://10.0.0.1:2379,https://10.0.0.2:2379",
            "etcdKeyFile": "/etc/calico/ssl/calico-key.pem",
            "etcdCertFile": "/etc/calico/ssl/calico.pem",
            "etcdCACertFile": "/etc/calico/ssl/ca.pem",
        },
    }


def test_without_tls_no_certificate_is_named():
    plain = {"endpoints": ["http://10.0.0.1:2379"]}
    found = container(etcd=plain)
    assert not [name for name in found["environment"] if name.endswith("_FILE")]
    assert "/etc/calico/ssl:/etc/calico/ssl" not in found["mounts"]
    assert "etcd_key_file" not in calico_container.cni_configuration(settings(etcd=plain))


@pytest.mark.parametrize(
    ("pools", "felix", "expected"),
    [
        (
            [{"cidr": "10.1.0.0/16", "ipip": "crosssubnet", "nat_outgoing": False}],
            {},
            {
                "CALICO_IPV4POOL_CIDR": "10.1.0.0/16",
                "CALICO_IPV4POOL_IPIP": "cross-subnet",
                "CALICO_IPV4POOL_NAT_OUTGOING": "false",
            },
        ),
        # The first node would make an IPv6 pool of its own: no default pools then.
        ([{"cidr": "10.1.0.0/16"}], {"Ipv6Support": True}, {"NO_DEFAULT_POOLS": "true"}),
        (
            [{"cidr": "10.1.0.0/16"}, {"cidr": "fd00::/64", "nat_outgoing": False}],
            {"Ipv6Support": True},
            {
                "CALICO_IPV4POOL_CIDR": "10.1.0.0/16",
                "CALICO_IPV4POOL_IPIP": "off",
                "CALICO_IPV6POOL_CIDR": "fd00::/64",
            },
        ),
        ([{"cidr": "10.1.0.0/16", "disabled": True}], {}, {"NO_DEFAULT_POOLS": "true"}),
        (
            [{"cidr": "10.1.0.0/16", "disabled": True}, {"cidr": "10.2.0.0/16"}],
            {},
            {"CALICO_IPV4POOL_CIDR": "10.2.0.0/16", "CALICO_IPV4POOL_IPIP": "off"},
        ),
    ],
)
def test_default_pools_are_asked_for_only_where_they_are_the_wanted_ones(pools, felix, expected):
    environment = container(network={"pools": pools}, felix=felix)["environment"]
    assert {name: environment[name] for name in environment if "POOL" in name} == expected


def test_settings_of_the_node_reach_the_container():
    node = {"name": "n1", "ip": "10.0.0.1/24", "ip6": "fd00::1/64", "as_number": "1.10", "backend": "none"}
    found = container(node=node, env={"WAIT_FOR_DATASTORE": True, "CALICO_LIBNETWORK_ENABLED": False})
    environment = found["environment"]
    assert environment["NODENAME"] == "n1"
    assert (environment["IP"], environment["IP6"]) == ("10.0.0.1/24", "fd00::1/64")
    assert environment["AS"] == "65546"
    assert environment["CALICO_NETWORKING_BACKEND"] == "none"
    assert environment["WAIT_FOR_DATASTORE"] == "true"
    assert environment["CALICO_LIBNETWORK_ENABLED"] == "false"


def as_inspected(wanted, **changes):
    """What docker shows of a container that was started as wanted."""
    return {
        "Image": "sha256:1",
        "Config": {
            "Env": ["%s=%s" % item for item in wanted["environment"].items()] + ["PATH=/bin"],
            "Labels": wanted["labels"],
        },
        "HostConfig": {"Binds": wanted["mounts"]},
        **changes,
    }


def test_a_container_that_was_started_as_wanted_is_current():
    wanted = container()
    assert calico_container.outdated(wanted, as_inspected(wanted), "sha256:1") == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"env": {"X": "1"}}, "environment"),
        ({"mounts": ["/a:/b"]}, "mounts"),
        ({"certificates": "two"}, "configuration"),
        ({"version": "v2.6.12"}, "configuration"),
    ],
)
def test_a_container_that_was_started_otherwise_is_out_of_date(changes, field):
    found = calico_container.outdated(container(**changes), as_inspected(container()), "sha256:1")
    assert field in found


A_POOL = {"cidr": "10.1.0.0/16"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([A_POOL], [{"cidr": "10.2.0.0/16"}]),
        ([A_POOL], [dict(A_POOL, disabled=True), {"cidr": "10.2.0.0/16"}]),
        ([A_POOL, {"cidr": "10.2.0.0/16"}], [{"cidr": "10.2.0.0/16"}, A_POOL]),
        ([A_POOL], [dict(A_POOL, nat_outgoing=False)]),
        ([A_POOL], [dict(A_POOL, ipip="always")]),
        ([A_POOL], [dict(A_POOL, disabled=True)]),
        ([dict(A_POOL, disabled=True)], [dict(A_POOL, disabled=True), {"cidr": "10.2.0.0/16"}]),
    ],
)
@pytest.mark.parametrize("version", ["v2.6.2", "v2.6.12", "v3.22.5", "v3.32.1"])
@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_pools_are_no_reason_to_restart(before, after, version, runtime):
    """calico/node looks at them only where the datastore has none."""
    more = {"version": version, "runtime": runtime}
    old = container(network={"pools": before}, **more)
    new = container(network={"pools": after}, **more)
    assert old["environment"] != new["environment"]
    assert old["labels"] == new["labels"]
    assert calico_container.outdated(new, as_inspected(old), "sha256:1") == {}


def test_a_change_of_pools_hides_no_other():
    new = container(network={"pools": [{"cidr": "10.2.0.0/16"}]}, env={"X": "1"})
    found = calico_container.outdated(new, as_inspected(container()), "sha256:1")
    assert found["environment"]["new"] == "X"
    assert "configuration" in found


def test_a_container_with_the_right_label_and_another_environment_is_out_of_date():
    """Somebody changed the file, and the container was started with it."""
    wanted = container(env={"X": "1"})
    inspected = as_inspected(wanted)
    inspected["Config"]["Env"].remove("X=1")
    inspected["Config"]["Env"].append("X=2")
    found = calico_container.outdated(wanted, inspected, "sha256:1")
    assert found == {"environment": {"old": "other values", "new": "X"}}


def test_a_container_of_another_image_is_out_of_date():
    wanted = container()
    found = calico_container.outdated(wanted, as_inspected(wanted), "sha256:2")
    assert found == {"image": {"old": "sha256:1", "new": "sha256:2"}}


def test_a_container_that_somebody_started_by_hand_is_out_of_date():
    wanted = container()
    by_hand = as_inspected(wanted, Config={"Env": ["IP="], "Labels": None})
    assert "configuration" in calico_container.outdated(wanted, by_hand, "sha256:1")


def test_values_of_the_environment_are_not_shown():
    wanted = container(env={"K8S_PASSWORD": "geheim"})
    assert "geheim" not in str(calico_container.outdated(wanted, as_inspected(container()), "x"))


# --- where Felix is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("felix", "host", "port"),
    [
        ({}, "127.0.0.1", 9099),
        ({"HealthPort": 9199}, "127.0.0.1", 9199),
        ({"HealthPort": "9199", "HealthHost": "10.0.0.7"}, "10.0.0.7", 9199),
        ({"HealthHost": "localhost"}, "127.0.0.1", 9099),
        ({"HealthHost": "0.0.0.0"}, "127.0.0.1", 9099),
        ({"HealthHost": "::"}, "127.0.0.1", 9099),
        ({"HealthHost": "::1"}, "::1", 9099),
        ({"healthenabled": "yes"}, "127.0.0.1", 9099),
    ],
)
def test_where_felix_says_whether_it_is_ready(felix, host, port):
    environment = container(felix=felix, version="v3.22.5")["environment"]
    assert calico_container.health(environment) == {"host": host, "port": port, "off": None}


@pytest.mark.parametrize("value", [False, "false", "no", "0", "F", "none", ""])
@pytest.mark.parametrize("version", ["v2.6.2", "v3.22.5"])
def test_a_felix_whose_health_is_off_cannot_be_asked(value, version):
    environment = container(felix={"HealthEnabled": value}, version=version)["environment"]
    assert "HealthEnabled" in calico_container.health(environment)["off"]


def test_no_felix_can_be_asked_where_none_is_started():
    environment = container(env={"CALICO_DISABLE_FELIX": True})["environment"]
    assert "CALICO_DISABLE_FELIX" in calico_container.health(environment)["off"]


def test_docker_may_have_another_unit():
    assert calico_container.unit(settings())["service"] == "docker.service"
    assert (
        calico_container.unit(settings(service="docker-engine.service"))["service"] == "docker-engine.service"
    )
    assert calico_container.unit(settings(runtime="podman"))["service"] is None


# --- what a restart is owed for --------------------------------------------------------------------


def pools(*found, **changes):
    return container(network={"pools": list(found)}, **changes)


@pytest.mark.parametrize(
    "after",
    [
        pools({"cidr": "172.20.0.0/16", "disabled": True}, {"cidr": "172.21.0.0/16"}),
        pools({"cidr": "172.21.0.0/16"}, {"cidr": "172.20.0.0/16"}),
        pools({"cidr": "172.20.0.0/16", "nat_outgoing": False}),
        pools({"cidr": "172.20.0.0/16", "ipip": "always"}),
        pools({"cidr": "172.20.0.0/16", "disabled": True}),
    ],
    ids=["another one", "order", "NAT", "IP-in-IP", "none"],
)
def test_pools_restart_nothing(after):
    before = pools({"cidr": "172.20.0.0/16"})
    assert after["environment"] != before["environment"]
    assert calico_container.outdated(after, as_inspected(before), "sha256:1") == {}


def test_pools_of_calico_3_restart_nothing():
    third = {"version": "v3.22.5"}
    before = pools({"cidr": "172.20.0.0/16", "block_size": 27}, **third)
    after = pools({"cidr": "172.20.0.0/16", "vxlan": "always"}, {"cidr": "10.9.0.0/16"}, **third)
    assert after["environment"] != before["environment"]
    assert calico_container.outdated(after, as_inspected(before), "sha256:1") == {}


def test_the_order_of_mounts_restarts_nothing():
    before, after = container(mounts=["/a:/a", "/b:/b"]), container(mounts=["/b:/b", "/a:/a"])
    assert calico_container.outdated(after, as_inspected(before), "sha256:1") == {}


def test_no_digest_that_others_may_read_is_made_of_a_secret():
    def label(**changes):
        return container(**changes)["labels"][calico_container.LABEL]

    user = [dict(CHAPTER["etcd"], username="u", password=word) for word in ("one", "two")]
    assert label(etcd=user[0]) == label(etcd=user[1])
    assert label(env={"API_KEY": "one"}) == label(env={"API_KEY": "two"})
    proxies = ["http://u:%s@proxy:1" % word for word in ("one", "two")]
    assert label(env={"HTTPS_PROXY": proxies[0]}) == label(env={"HTTPS_PROXY": proxies[1]})
    # What is none is in it, and so is that there is one.
    assert label(env={"X": "one"}) != label(env={"X": "two"})
    assert label(env={"API_KEY": "one"}) != label()


def test_a_secret_that_is_another_one_is_owed_a_restart():
    before, after = container(env={"API_KEY": "one"}), container(env={"API_KEY": "two"})
    found = calico_container.outdated(after, as_inspected(before), "sha256:1")
    assert found == {"environment": {"old": "other values", "new": "API_KEY"}}
    assert calico_container.outdated(before, as_inspected(before), "sha256:1") == {}


def test_a_file_that_was_changed_by_hand_before_a_restart_is_owed_another_one():
    wanted = container(env={"X": "one"})
    inspected = as_inspected(wanted)
    inspected["Config"]["Env"] = ["X=other", "PATH=/bin"]
    assert calico_container.outdated(wanted, inspected, "sha256:1")["environment"]["new"] == "X"
    inspected = as_inspected(wanted, HostConfig={"Binds": [*wanted["mounts"], "/x:/x"]})
    assert list(calico_container.outdated(wanted, inspected, "sha256:1")) == ["mounts"]


# --- IPv6 ------------------------------------------------------------------------------------------

BOTH = [{"cidr": "172.20.0.0/16"}, {"cidr": "fd01::/64", "nat_outgoing": False}]


@pytest.mark.parametrize("version", ["v2.6.2", "v3.22.5"])
@pytest.mark.parametrize(
    ("node", "pools", "felix", "ipam", "support"),
    [
        ({"ip6": "fd00::6/64"}, BOTH, {}, {"assign_ipv6": "true"}, "true"),
        ({"ip6": "autodetect"}, BOTH, {}, {"assign_ipv6": "true"}, "true"),
        ({"ip6": "fd00::6/64"}, BOTH[1:], {}, {"assign_ipv4": "false", "assign_ipv6": "true"}, "true"),
        ({"ip6": "fd00::6/64"}, BOTH, {"Ipv6Support": False}, {}, "false"),
        ({"ip6": "fd00::6/64"}, BOTH[:1], {}, {}, "false"),
        ({"ip6": "fd00::6/64"}, [BOTH[0], dict(BOTH[1], disabled=True)], {}, {}, "false"),
        ({}, BOTH, {}, {}, "false"),
        ({"ip6": ""}, BOTH, {}, {}, "false"),
    ],
)
def test_workloads_get_ipv6_where_the_node_has_it_and_a_pool_is_for_it(
    version, node, pools, felix, ipam, support
):
    found = settings(version=version, node=node, network={"pools": pools}, felix=felix)
    configuration = calico_container.cni_configuration(found)
    plugin = configuration.get("plugins", [configuration])[0]
    assert plugin["ipam"] == {"type": "calico-ipam", **ipam}
    assert calico_container.environment(found)["FELIX_IPV6SUPPORT"] == support


# --- whose CNI configuration it is -----------------------------------------------------------------


def written(**changes):
    return json.dumps(calico_container.cni_configuration(settings(**changes), ["bandwidth"]), indent=4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": "v3.22.5"},
        {"version": "v3.32.1", "datastore": "kubernetes", "etcd": {}},
        {"node": {"name": "n1", "ip6": "fd00::6/64"}, "network": {"pools": BOTH}},
        {"cni": {"name": "other", "mtu": 1400, "log_level": "debug"}},
    ],
)
def test_what_the_formula_has_written_is_known_again(changes):
    assert calico_container.wrote_cni(written(**changes))
    assert calico_container.wrote_cni(written(**changes) + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"plugins": []}',
        '{"plugins": [7]}',
        json.dumps(json.loads(written()), indent=2),
        json.dumps(dict(json.loads(written()), type="flannel"), indent=4),
        # As Calico's own install-cni container writes it.
        written().replace("/etc/calico/ssl/", "/etc/cni/net.d/calico-tls/"),
        written().replace('"type": "k8s"', '"type": "k8s",\n        "k8s_api_root": "https://10.96.0.1:443"'),
        json.dumps(dict(json.loads(written()), etcd_discovery_srv="x"), indent=4),
    ],
)
def test_what_others_have_written_is_theirs(text):
    assert not calico_container.wrote_cni(text)


@pytest.mark.parametrize(
    ("directory", "own"),
    [
        ("/opt/cni/bin", ["/opt/cni", "/opt/cni/bin"]),
        ("/usr/lib/cni", ["/usr/lib/cni"]),
        ("/k/conf", ["/k/conf"]),
        ("/cni", ["/cni"]),
    ],
)
def test_of_the_directories_above_only_cnis_own_are_made_roots(directory, own):
    assert calico_container.own_directories(directory) == own
