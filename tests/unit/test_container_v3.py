"""The container and the files of Calico 3, minor release by minor release."""

import calico_container
import calico_settings
import pytest

MINORS = (0, 1, 6, 8, 15, 22, 28, 32)
TLS = {"ca": "/pki/ca.pem", "cert": "/pki/c.pem", "key": "/pki/k.pem"}
ETCD = {"endpoints": ["https://10.0.0.1:2379", "https://10.0.0.2:2379"], "tls": TLS}
POOL = {"cidr": "172.20.0.0/16"}
ENVIRONMENT = {
    "DATASTORE_TYPE": "etcdv3",
    "ETCD_ENDPOINTS": "https://10.0.0.1:2379,https://10.0.0.2:2379",
    "ETCD_CA_CERT_FILE": "/etc/calico/ssl/ca.pem",
    "ETCD_CERT_FILE": "/etc/calico/ssl/calico.pem",
    "ETCD_KEY_FILE": "/etc/calico/ssl/calico-key.pem",
    "CALICO_MANAGE_CNI": "false",
    "CALICO_DISABLE_FILE_LOGGING": "true",
    "CALICO_NETWORKING_BACKEND": "bird",
    "CALICO_IPV4POOL_CIDR": "172.20.0.0/16",
    "CALICO_IPV4POOL_IPIP": "Never",
    "FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT",
    "FELIX_IPV6SUPPORT": "false",
    "FELIX_LOGSEVERITYSCREEN": "info",
    "FELIX_HEALTHENABLED": "true",
    "IP": "",
}
MOUNTS = [
    "/etc/calico/ssl:/etc/calico/ssl",
    "/var/lib/calico:/var/lib/calico",
    "/var/run/calico:/var/run/calico",
    "/lib/modules:/lib/modules",
    "/run:/run",
    "/var/log/calico:/var/log/calico",
]
KUBERNETES = {"datastore": "kubernetes", "kubernetes": {"kubeconfig": "/etc/calico/kubeconfig"}}


def settings(minor, pools=(POOL,), datastore="etcdv3", **changes):
    pillar = {
        "version": f"v3.{minor}.1",
        "network": {"pools": list(pools)},
        "datastore": datastore,
        **changes,
    }
    if datastore == "etcdv3":
        pillar["etcd"] = ETCD
    return calico_settings.check(pillar)


def refused(minor, **changes):
    with pytest.raises(calico_settings.SettingsError) as caught:
        settings(minor, **changes)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("minor", MINORS)
def test_the_smallest_pillar_gives_what_every_release_needs(minor):
    found = calico_container.container(settings(minor))
    assert found["environment"] == ENVIRONMENT
    assert found["mounts"] == MOUNTS
    assert (found["image"], found["network"], found["privileged"]) == (
        f"calico/node:v3.{minor}.1",
        "host",
        True,
    )


@pytest.mark.parametrize("minor", MINORS)
def test_kubernetes_as_datastore(minor):
    checked = settings(minor, **KUBERNETES)
    found = calico_container.container(checked)
    assert found["environment"]["DATASTORE_TYPE"] == "kubernetes"
    assert found["environment"]["KUBECONFIG"] == "/etc/calico/kubeconfig"
    assert not [name for name in found["environment"] if name.startswith("ETCD_")]
    assert found["mounts"] == [*MOUNTS[1:], "/etc/calico/kubeconfig:/etc/calico/kubeconfig:ro"]
    assert calico_container.calicoctl_configuration(checked) == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "CalicoAPIConfig",
        "metadata": None,
        "spec": {"datastoreType": "kubernetes", "kubeconfig": "/etc/calico/kubeconfig"},
    }
    plugin = calico_container.cni_configuration(checked)["plugins"][0]
    assert plugin["datastore_type"] == "kubernetes"
    assert plugin["kubernetes"] == {"kubeconfig": "/etc/calico/kubeconfig"}
    assert not [name for name in plugin if name.startswith("etcd")]


def test_with_etcd_startup_is_not_led_to_kubernetes():
    """A KUBECONFIG makes it ask the API for the node, and end where there is none."""
    assert "KUBECONFIG" not in calico_container.environment(settings(22))
    assert refused(22, env={"KUBECONFIG": "/x"})["setting"] == "calico:env:KUBECONFIG"


@pytest.mark.parametrize("minor", [*MINORS, 16, 17])
@pytest.mark.parametrize("installed", [(), ("bandwidth",)], ids=["portmap", "bandwidth"])
def test_the_cni_configuration(minor, installed):
    found = calico_container.cni_configuration(settings(minor, node={"name": "node1"}), installed)
    plugin, *others = found.pop("plugins")
    assert found == {"name": "calico-k8s-network", "cniVersion": "0.3.1"}
    assert plugin == {
        "type": "calico",
        "datastore_type": "etcdv3",
        "etcd_endpoints": "https://10.0.0.1:2379,https://10.0.0.2:2379",
        "etcd_key_file": "/etc/calico/ssl/calico-key.pem",
        "etcd_cert_file": "/etc/calico/ssl/calico.pem",
        "etcd_ca_cert_file": "/etc/calico/ssl/ca.pem",
        "nodename": "node1",
        "log_level": "info",
        "mtu": 0 if minor >= 17 else 1500,
        "ipam": {"type": "calico-ipam"},
        "policy": {"type": "k8s"},
        "kubernetes": {"kubeconfig": "/root/.kube/config"},
    }
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    assert others == [
        {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
        *([bandwidth] if installed else []),
    ]


def test_the_calicoctl_configuration():
    assert calico_container.calicoctl_configuration(settings(0)) == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "CalicoAPIConfig",
        "metadata": None,
        "spec": {
            "datastoreType": "etcdv3",
            "etcdEndpoints": "https://10.0.0.1:2379,https://10.0.0.2:2379",
            "etcdKeyFile": "/etc/calico/ssl/calico-key.pem",
            "etcdCertFile": "/etc/calico/ssl/calico.pem",
            "etcdCACertFile": "/etc/calico/ssl/ca.pem",
        },
    }


NONE = {"NO_DEFAULT_POOLS": "true"}
V6 = {"cidr": "fd00:1::/64"}


def of_pool(**variables):
    return {f"CALICO_IPV4POOL_{name}": value for name, value in variables.items()}


@pytest.mark.parametrize(
    ("words", "since", "variables"),
    [
        ({"ipip": "crosssubnet"}, 0, {"IPIP": "CrossSubnet"}),
        ({"nat_outgoing": False}, 0, {"IPIP": "Never", "NAT_OUTGOING": "false"}),
        ({"vxlan": "always"}, 7, {"IPIP": "Never", "VXLAN": "Always"}),
        ({"vxlan": "never"}, 7, {"IPIP": "Never"}),
        ({"block_size": 26}, 0, {"IPIP": "Never"}),
        ({"block_size": 24}, 10, {"IPIP": "Never", "BLOCK_SIZE": "24"}),
        ({"node_selector": 'rack == "1"'}, 10, {"IPIP": "Never", "NODE_SELECTOR": 'rack == "1"'}),
        ({"disable_bgp_export": True}, 24, {"IPIP": "Never", "DISABLE_BGP_EXPORT": "true"}),
        ({"name": "default-ipv4-ippool"}, 0, {"IPIP": "Never"}),
        # No release has a variable for these.
        ({"name": "mine"}, 99, {}),
        ({"allowed_uses": ["Workload"]}, 99, {}),
        ({"assignment_mode": "Manual"}, 99, {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("minor", [*MINORS, 7, 9, 10, 23, 24])
def test_variables_ask_for_a_pool_only_where_the_release_has_them(minor, words, since, variables):
    """Where it has not, no default pool is made: a wrong one could not be changed any more."""
    first = {
        "vxlan": 7,
        "node_selector": 5,
        "disable_bgp_export": 22,
        "allowed_uses": 22,
        "assignment_mode": 30,
    }
    (word,) = words
    if minor < first.get(word, 0):
        assert refused(minor, pools=[dict(POOL, **words)])["setting"] == f"calico:network:pools:0:{word}"
        return
    environment = calico_container.environment(settings(minor, pools=[dict(POOL, **words)]))
    wanted = of_pool(CIDR=POOL["cidr"], **variables) if minor >= since else NONE
    assert {name: value for name, value in environment.items() if "POOL" in name} == wanted


@pytest.mark.parametrize(
    ("value", "made"),
    [(True, NONE), ("yes", NONE), (1, NONE), (False, None), ("no", None), ("0", None), ("F", None)],
)
def test_without_an_ipv6_pool_none_is_made_while_ipv6_is_on(value, made):
    environment = calico_container.environment(settings(22, felix={"Ipv6Support": value}))
    wanted = made or of_pool(CIDR=POOL["cidr"], IPIP="Never")
    assert {name: found for name, found in environment.items() if "POOL" in name} == wanted


def test_the_variables_of_an_ipv6_pool():
    on = {"felix": {"Ipv6Support": True}}
    environment = calico_container.environment(settings(23, pools=[POOL, dict(V6, vxlan="always")], **on))
    assert environment["CALICO_IPV6POOL_CIDR"] == "fd00:1::/64"
    assert environment["CALICO_IPV6POOL_VXLAN"] == "Always"
    assert environment["CALICO_IPV6POOL_NAT_OUTGOING"] == "true"
    assert "CALICO_IPV6POOL_IPIP" not in environment
    problem = refused(22, pools=[POOL, dict(V6, vxlan="always")])
    assert problem["setting"] == "calico:network:pools:1:vxlan"
    assert "3.23" in problem["accepted"]


@pytest.mark.parametrize(
    ("method", "since"),
    [
        ("first-found", 0),
        ("can-reach=10.0.0.1", 0),
        ("interface=eth.*,ens.*", 0),
        ("skip-interface=docker.*", 0),
        ("cidr=10.0.0.0/8,192.168.0.0/16", 16),
        ("kubernetes-internal-ip", 22),
    ],
)
@pytest.mark.parametrize("minor", [*MINORS, 16, 21])
@pytest.mark.parametrize("key", ["ip", "ip6"])
def test_ways_to_detect_an_address(minor, method, since, key):
    node = {f"{key}_autodetection_method": method}
    if minor >= since:
        environment = calico_container.environment(settings(minor, node=node))
        assert environment[f"{key.upper()}_AUTODETECTION_METHOD"] == method
    else:
        assert refused(minor, node=node)["setting"] == f"calico:node:{key}_autodetection_method"


@pytest.mark.parametrize("minor", [*MINORS, 7])
@pytest.mark.parametrize(("backend", "since"), [("bird", 0), ("none", 0), ("vxlan", 7), ("gobgp", 99)])
def test_backends(minor, backend, since):
    if minor >= since:
        environment = calico_container.environment(settings(minor, node={"backend": backend}))
        assert environment["CALICO_NETWORKING_BACKEND"] == backend
    else:
        assert refused(minor, node={"backend": backend})["setting"] == "calico:node:backend"


def test_without_ipv4_the_router_id_is_made_from_the_name():
    """Else BIRD has none, and does not start."""
    node = {"ip": "none", "ip6": "fd00::1/64"}
    on = {"felix": {"Ipv6Support": True}}
    environment = calico_container.environment(settings(22, node=node, **on))
    assert (environment["IP"], environment["CALICO_ROUTER_ID"]) == ("none", "hash")
    given = calico_container.environment(settings(22, node=node, env={"CALICO_ROUTER_ID": "1.1.1.1"}, **on))
    assert given["CALICO_ROUTER_ID"] == "1.1.1.1"
    assert "CALICO_ROUTER_ID" not in calico_container.environment(settings(22))
    assert refused(22, node={"ip": "none"}, **on)["setting"] == "calico:node:ip6"
    assert refused(22, node=node)["setting"] == "calico:felix:Ipv6Support"


@pytest.mark.parametrize("value", [True, "true", "yes", 1])
def test_what_ebpf_and_policy_sync_need_is_mounted(value):
    felix = {"BPFEnabled": value, "PolicySyncPathPrefix": "/var/run/nodeagent"}
    found = calico_container.mounts(settings(22, felix=felix))
    assert found == [*MOUNTS, "/sys/fs/bpf:/sys/fs/bpf", "/var/run/nodeagent:/var/run/nodeagent"]
    assert calico_container.mounts(settings(22, felix={"BPFEnabled": False})) == MOUNTS
    wrong = refused(22, felix={"PolicySyncPathPrefix": "run/x y"})
    assert wrong["setting"] == "calico:felix:PolicySyncPathPrefix"


@pytest.mark.parametrize("minor", range(33))
def test_an_mtu_of_0_means_as_felix_found_out(minor):
    if minor >= 17:
        assert settings(minor, cni={"mtu": 0})["cni"]["mtu"] == 0
    else:
        assert refused(minor, cni={"mtu": 0})["setting"] == "calico:cni:mtu"


@pytest.mark.parametrize("mount", ["/a:/var/lib/calico", "/a:/run/:ro", "/a:/b/"])
def test_nothing_is_mounted_where_something_is(mount):
    assert refused(22, mounts=["/x:/b", mount])["setting"] == "calico:mounts:1"


def test_settings_of_felix_by_release():
    """(name, first and last minor release) of some that came or went."""
    for name, value, first, last in (
        ("HealthHost", "localhost", 2, 32),
        ("VXLANMTU", 1450, 7, 32),
        ("WireguardEnabled", True, 14, 32),
        ("IptablesLockTimeoutSecs", 5, 0, 28),
        ("NFTablesMode", "Enabled", 29, 32),
    ):
        for minor in range(33):
            if first <= minor <= last:
                environment = calico_container.environment(settings(minor, felix={name: value}))
                assert environment[f"FELIX_{name.upper()}"] == str(value).replace("True", "true")
            else:
                assert refused(minor, felix={name: value})["setting"] == f"calico:felix:{name}"


@pytest.mark.parametrize("name", calico_container.OWNED_VARIABLES)
def test_a_variable_that_a_setting_decides_is_not_taken_twice(name):
    problem = refused(32, env={name: "x"})
    assert problem["setting"] == f"calico:env:{name}"
    assert f"set calico:{calico_container.OWNED_VARIABLES[name]} instead" in problem["accepted"]


@pytest.mark.parametrize("name", [*calico_container.KUBERNETES_VARIABLES, "CALICO_K8S_API_ENDPOINT"])
def test_variables_that_go_before_the_kubeconfig(name):
    problem = refused(22, **KUBERNETES, env={name: "x"})
    assert problem["setting"] == "calico:env:" + name
    assert "set calico:kubernetes:kubeconfig instead" in problem["accepted"]
