"""Which findings follow from what was seen; and from what is well, unknown, or another's affair: none."""

import copy
import datetime

import calico_filters
import calico_preflight
import calico_settings
import calico_topology
import pytest

from tests.support import pki as pki_support

UTC = datetime.timezone.utc
POOL = {"cidr": "172.20.0.0/16"}
V2, V3 = "v2.6.2", "v3.22.5"


def settings(version=V2, **changes):
    pillar = {
        "version": version,
        "etcd": {"endpoints": ["http://10.0.0.9:2379"]},
        "node": {"name": "node1"},
        "network": {"pools": [POOL]},
    }
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        branch = pillar
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return calico_settings.check(copy.deepcopy(pillar))


def link(name, *networks, mtu=1500):
    addresses = []
    for network in networks:
        address, _, length = network.partition("/")
        family = 6 if ":" in address else 4
        addresses.append({"address": address, "length": int(length), "family": family})
    return {"name": name, "mtu": mtu, "addresses": addresses}


LO = link("lo", "127.0.0.1/8", "::1/128", mtu=65536)
ETH0 = link("eth0", "10.0.0.1/24", "fe80::1/64")
ETH1 = link("eth1", "192.0.2.1/24")
DOCKER0 = link("docker0", "172.17.0.1/16")


def facts(*links, **changes):
    """A healthy host."""
    healthy = {
        "links": list(links or (LO, ETH0, DOCKER0)),
        "features": {},
        "release": "6.1.0-9-amd64",
        "sysctls": {
            "net.ipv4.ip_forward": 0,
            "net.ipv6.conf.all.forwarding": 0,
            "net.ipv4.conf.all.rp_filter": 1,
            "net.netfilter.nf_conntrack_max": 262144,
            "net.netfilter.nf_conntrack_count": 100,
        },
        "sysctl_files": [("/usr/lib/sysctl.d/50-default.conf", {"net.ipv4.ip_forward": "0"})],
        "listeners": [],
        "reach": {},
        "cni": [],
        "nodename": None,
        "network_manager": None,
        "answering": [],
        "filters": [],
        "programs": [],
    }
    return {**healthy, **changes}


def cluster(version=V2, pools=(), felix=None, own_felix=None, listen_port=None, **nodes):
    """Nodes by name, each with its IPv4 address and prefix, or None for one that has none."""
    if version == V2:
        keys = {"/calico/v1/Ready": "true"}
        for name, network in nodes.items():
            keys[f"/calico/v1/host/{name}/metadata"] = "{}"
            if network:
                keys[f"/calico/bgp/v1/host/{name}/ip_addr_v4"] = network.partition("/")[0]
                keys[f"/calico/bgp/v1/host/{name}/network_v4"] = network
        for cidr, stored in pools:
            key = "/calico/v1/ipam/v4/pool/" + cidr.replace("/", "-")
            keys[key] = '{"cidr": "%s", %s}' % (cidr, stored)
        keys.update((f"/calico/v1/config/{name}", value) for name, value in (felix or {}).items())
        keys.update(
            (f"/calico/v1/host/node1/config/{name}", value) for name, value in (own_felix or {}).items()
        )
        return calico_topology.from_v2(keys)
    resources = [
        {
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"bgp": {"ipv4Address": network}} if network else {},
        }
        for name, network in nodes.items()
    ]
    resources += [
        {"kind": "IPPool", "metadata": {"name": cidr}, "spec": {"cidr": cidr, **spec}} for cidr, spec in pools
    ]
    for name, spec in (("default", felix), ("node.node1", own_felix)):
        if spec:
            resources.append({"kind": "FelixConfiguration", "metadata": {"name": name}, "spec": spec})
    if listen_port:
        spec = {"listenPort": listen_port}
        resources.append({"kind": "BGPConfiguration", "metadata": {"name": "default"}, "spec": spec})
    return calico_topology.from_v3(resources)


def judge(given=None, found=None, stored=None, name="node1"):
    """What is found, as a list of (level, what, seen)."""
    given = given or settings()
    items = calico_preflight.findings(given, name, stored or cluster(), found or facts())
    for item in items:
        assert set(item) == {"level", "what", "seen", "do"}
        assert item["do"]
        assert "%" not in item["seen"] + item["do"]
    return [(item["level"], item["what"], item["seen"]) for item in items]


def one(*arguments, **options):
    (found,) = judge(*arguments, **options)
    return found


# --- nothing to find -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V2, V3, "v3.0.1", "v3.32.1"])
def test_a_healthy_host(version):
    given = settings(version, **({"cni__mtu": 1500} if version == "v3.0.1" else {}))
    assert judge(given, stored=cluster(version)) == []
    assert judge(given, stored=cluster(version, node1="10.0.0.1/24", node2="10.0.0.2/24")) == []


@pytest.mark.parametrize("version", [V2, V3])
def test_a_healthy_host_on_which_calico_runs(version):
    ours = {"address": "0.0.0.0", "pid": 7, "ours": True}
    found = facts(
        *(LO, ETH0, DOCKER0, link("cali0", "fe80::2/64"), link("tunl0", "172.20.1.0/32", mtu=1440)),
        listeners=[
            {**ours, "port": 179, "program": "bird"},
            {**ours, "port": 9099, "program": "calico-felix"},
        ],
        nodename="node1",
        cni=[{"name": "10-calico.conf", "types": ["calico"]}],
        sysctl_files=[("/etc/sysctl.d/60-calico.conf", {"net.ipv4.ip_forward": "1"})],
    )
    found["sysctls"]["net.ipv4.ip_forward"] = 1
    assert judge(settings(version), found, cluster(version, node1="10.0.0.1/24")) == []


@pytest.mark.parametrize("version", [V2, V3])
def test_what_could_not_be_read_is_no_finding(version):
    unknown = {
        "links": None,
        "features": None,
        "release": None,
        "sysctls": None,
        "sysctl_files": None,
        "listeners": None,
        "reach": None,
        "cni": None,
        "nodename": None,
        "network_manager": None,
        "answering": [],
    }
    for given in (settings(version), settings(version, node__ip="10.0.0.1/24")):
        assert judge(given, unknown, cluster(version)) == []
        assert judge(given, unknown, cluster(version, node1="10.0.0.1/24")) == []
        assert calico_preflight.findings(given, "node1", None, unknown) == []
        assert calico_preflight.findings(given, "node1", None, facts()) == []


# --- the kernel ------------------------------------------------------------------------------------

VXLAN = {"version": V3, "network__pools": [{**POOL, "vxlan": "always"}]}
IPIP = {"network__pools": [{**POOL, "ipip": "always"}], "cni__mtu": 1400}


@pytest.mark.parametrize(
    ("given", "lacks", "level", "seen"),
    [
        (IPIP, ["ipip"], "error", "no ipip, for pools with ipip: always"),
        ({**IPIP, "version": V3}, ["ipip"], "error", "no ipip, for pools with ipip: always"),
        (
            {"network__pools": [{**POOL, "ipip": "crosssubnet"}], "cni__mtu": 1400},
            ["ipip"],
            "warning",
            "no ipip, for pools with ipip: crosssubnet",
        ),
        (VXLAN, ["vxlan"], "error", "no vxlan, for pools with vxlan: always"),
        (
            {"version": V3, "felix__WireguardEnabled": True},
            ["wireguard"],
            "warning",
            "no wireguard, for WireguardEnabled",
        ),
        (
            {"version": V3, "felix__BPFEnabled": True},
            ["cls_bpf", "bpf_syscall"],
            "warning",
            "no bpf_syscall, cls_bpf, for BPFEnabled",
        ),
        (
            {},
            ["ip_set", "ip_set_hash_net"],
            "error",
            "no ip_set, ip_set_hash_net, for the IP sets of Felix' rules",
        ),
        ({}, ["xt_set"], "error", "no xt_set, for Felix' rules in iptables"),
        ({}, ["iptable_raw"], "error", "no iptable_raw, for Felix' rules in iptables"),
        # Nothing of nftables is in the image of 2.6.
        ({}, ["iptable_nat"], "error", "no iptable_nat, for Felix' rules in iptables"),
        (
            {"felix__Ipv6Support": True},
            ["ip6table_filter"],
            "error",
            "no ip6table_filter, for Felix' rules for IPv6",
        ),
        (
            {"version": V3},
            ["iptable_nat", "nft_compat"],
            "error",
            "no iptable_nat and no nft_compat, for Felix' rules in iptables",
        ),
        (
            {"version": V3, "felix__IptablesBackend": "NFT"},
            ["nf_tables"],
            "error",
            "no nf_tables, for Felix' rules in iptables",
        ),
        (
            {"version": V3, "network__felix": {"iptablesBackend": "Legacy"}},
            ["iptable_filter"],
            "error",
            "no iptable_filter, for Felix' rules in iptables",
        ),
        (
            {"version": "v3.30.0", "felix__NFTablesMode": "Enabled"},
            ["nf_tables"],
            "error",
            "no nf_tables, for Felix' rules in nftables",
        ),
    ],
)
def test_what_the_mode_needs_of_the_kernel(given, lacks, level, seen):
    given = settings(**given)
    assert set(lacks) <= set(calico_preflight.questions(given, "node1")["features"])
    found = facts(features=dict.fromkeys(lacks, False))
    assert one(given, found, cluster(given["version"])) == (level, "kernel", seen)
    found["features"] = dict.fromkeys(lacks)
    assert judge(given, found, cluster(given["version"])) == []


EVERYTHING = ("ipip", "vxlan", "wireguard", "bpf_syscall", "cls_bpf", "nf_tables", "nft_compat")


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({}, EVERYTHING),
        ({}, ["ip6table_filter"]),
        ({"version": V3}, ["ipip", "vxlan", "wireguard", "bpf_syscall", "nf_tables", "nft_compat"]),
        # One of the two ways will do.
        ({"version": V3}, ["iptable_filter", "iptable_nat", "iptable_mangle", "iptable_raw"]),
        ({"version": V3, "felix__IptablesBackend": "Auto"}, ["nft_compat"]),
        ({"version": V3, "felix__IptablesBackend": "NFT"}, ["iptable_filter"]),
        # In nftables of its own Felix needs neither matches nor sets of iptables.
        ({"version": "v3.30.0", "felix__NFTablesMode": "Enabled"}, ["xt_set", "ip_set", "iptable_filter"]),
        ({"version": V3, "felix__WireguardEnabled": False}, ["wireguard"]),
    ],
)
def test_what_another_mode_needs_is_not_asked_for(given, lacks):
    given = settings(**given)
    assert judge(given, facts(features=dict.fromkeys(lacks, False)), cluster(given["version"])) == []


@pytest.mark.parametrize(
    ("version", "stored", "lacks", "level"),
    [
        (V2, {"pools": [("10.9.0.0/16", '"ipip": "tunl0", "ipip_mode": "always"')]}, "ipip", "error"),
        (V2, {"pools": [("10.9.0.0/16", '"ipip": "tunl0", "ipip_mode": ""')]}, "ipip", "error"),
        (V2, {"pools": [("10.9.0.0/16", '"ipip": "tunl0", "ipip_mode": "cross-subnet"')]}, "ipip", "warning"),
        (V2, {"pools": [("10.9.0.0/16", '"ipip": "", "ipip_mode": "always"')]}, "ipip", None),
        # The pillar has this pool without ipip, and the run will see to it.
        (V2, {"pools": [("172.20.0.0/16", '"ipip": "tunl0", "ipip_mode": "always"')]}, "ipip", None),
        (V3, {"pools": [("10.9.0.0/16", {"ipipMode": "Always"})]}, "ipip", "error"),
        (V3, {"pools": [("10.9.0.0/16", {"vxlanMode": "CrossSubnet"})]}, "vxlan", "warning"),
        (V3, {"pools": [("10.9.0.0/16", {"ipipMode": "Never"})]}, "ipip", None),
        (
            V3,
            {
                "pools": [
                    ("10.9.0.0/16", {"vxlanMode": "CrossSubnet"}),
                    ("10.8.0.0/16", {"vxlanMode": "Always"}),
                ]
            },
            "vxlan",
            "error",
        ),
        (V3, {"felix": {"wireguardEnabled": True}}, "wireguard", "warning"),
        (
            V3,
            {"own_felix": {"wireguardEnabled": True}, "felix": {"wireguardEnabled": False}},
            "wireguard",
            "warning",
        ),
        (
            V3,
            {"own_felix": {"wireguardEnabled": False}, "felix": {"wireguardEnabled": True}},
            "wireguard",
            None,
        ),
    ],
)
def test_the_mode_follows_from_the_datastore_too(version, stored, lacks, level):
    given = settings(version, cni__mtu=1400)
    found = judge(given, facts(features={lacks: False}), cluster(version, **stored))
    assert [item[:2] for item in found] == ([(level, "kernel")] if level else [])


def test_the_pillar_goes_before_the_datastore():
    stored = cluster(V3, felix={"wireguardEnabled": True}, own_felix={"wireguardEnabled": True})
    given = settings(V3, felix__WireguardEnabled=False)
    lacking = facts(features={"wireguard": False})
    assert judge(given, lacking, stored) == []
    # Of the whole cluster's settings the pillar's are written over what is there, a node's own are not.
    given = settings(V3, network__felix={"wireguardEnabled": False})
    assert judge(given, lacking, cluster(V3, felix={"wireguardEnabled": True})) == []
    assert judge(given, lacking, stored) != []
    given = settings(V3, network__felix={"wireguardEnabled": None})
    assert judge(given, lacking, cluster(V3, felix={"wireguardEnabled": True})) == []


@pytest.mark.parametrize(
    ("release", "old"),
    [
        ("4.19.0-27-amd64", True),
        ("5.2.21", True),
        ("5.3.0", False),
        ("6.1.0-9-amd64", False),
        ("4.18.0-193.el8.x86_64", False),
        ("4.18.0-147.el8.x86_64", True),
        ("4.18.0-193-generic", True),
        ("", False),
    ],
)
def test_kernels_for_ebpf(release, old):
    found = facts(release=release)
    assert bool(judge(settings(V3, felix__BPFEnabled=True), found, cluster(V3))) is old
    assert judge(settings(V3), found, cluster(V3)) == []


# --- the kernel's settings -------------------------------------------------------------------------


def sysctl(**values):
    found = facts()
    found["sysctls"].update((name.replace("__", "."), value) for name, value in values.items())
    return found


@pytest.mark.parametrize(
    ("version", "value", "given", "stops"),
    [
        (V2, 2, {}, True),
        (V2, 1, {}, False),
        (V2, 0, {}, False),
        (V2, 2, {"felix__IgnoreLooseRPF": True}, False),
        ("v3.11.3", 2, {"cni__mtu": 1500}, True),
        ("v3.12.0", 2, {"cni__mtu": 1500}, False),
        (V3, 2, {}, False),
    ],
)
def test_a_loose_rp_filter(version, value, given, stops):
    found = judge(settings(version, **given), sysctl(net__ipv4__conf__all__rp_filter=value), cluster(version))
    assert found == ([("error", "net.ipv4.conf.all.rp_filter", "2 (loose)")] if stops else [])


def test_a_loose_rp_filter_that_the_datastore_allows():
    loose = sysctl(net__ipv4__conf__all__rp_filter=2)
    assert judge(found=loose, stored=cluster(felix={"IgnoreLooseRPF": "true"})) == []


def test_forwarding_of_ipv6_where_it_is_used():
    pools = [POOL, {"cidr": "fd00:1::/64", "nat_outgoing": False}]
    given = settings(V3, network__pools=pools)
    seen = ("warning", "net.ipv6.conf.all.forwarding", "0, although IPv6 is used")
    assert one(given, stored=cluster(V3)) == seen
    assert judge(given, sysctl(net__ipv6__conf__all__forwarding=1), cluster(V3)) == []
    dual = facts(LO, link("eth0", "10.0.0.1/24", "fd00::1/64"))
    assert one(settings(node__ip6="fd00::1/64"), dual) == seen


@pytest.mark.parametrize(
    ("files", "seen"),
    [
        ([("/etc/sysctl.d/90-x.conf", "0")], "/etc/sysctl.d/90-x.conf says 0"),
        ([("/etc/sysctl.d/90-x.conf", "0"), ("/etc/sysctl.d/99-y.conf", "1")], None),
        ([("/usr/lib/sysctl.d/50-x.conf", "0")], None),
        # The formula's own file comes in between.
        ([("/etc/sysctl.d/10-x.conf", "0"), ("/etc/sysctl.d/60-calico.conf", "1")], None),
        ([], None),
    ],
)
def test_files_that_switch_forwarding_off_again(files, seen):
    found = facts(sysctl_files=[(path, {"net.ipv4.ip_forward": value}) for path, value in files])
    found["sysctls"]["net.ipv4.ip_forward"] = 1
    assert judge(found=found) == ([("warning", "net.ipv4.ip_forward", seen)] if seen else [])


def test_forwarding_that_was_switched_off_since():
    found = facts(sysctl_files=[("/etc/sysctl.d/60-calico.conf", {"net.ipv4.ip_forward": "1"})])
    level, what, seen = one(found=found)
    assert (level, what) == ("warning", "net.ipv4.ip_forward")
    assert "60-calico.conf says 1" in seen


@pytest.mark.parametrize(
    ("limit", "used", "seen"),
    [
        (32768, 10, "32768"),
        (65536, 10, None),
        (262144, 250000, "250000 of 262144 are in use"),
        (262144, 200000, None),
        (None, 0, None),
    ],
)
def test_the_table_of_connections(limit, used, seen):
    found = sysctl(net__netfilter__nf_conntrack_max=limit, net__netfilter__nf_conntrack_count=used)
    assert judge(found=found) == ([("warning", "net.netfilter.nf_conntrack_max", seen)] if seen else [])


# --- the node's address ----------------------------------------------------------------------------

METHOD = "calico:node:ip_autodetection_method"


@pytest.mark.parametrize(
    ("links", "given", "seen"),
    [
        (
            [LO, ETH0, ETH1],
            {},
            "first-found: would be eth1 192.0.2.1/24, of eth1 192.0.2.1/24, eth0 10.0.0.1/24",
        ),
        (
            [LO, ETH1, ETH0],
            {},
            "first-found: would be eth0 10.0.0.1/24, of eth0 10.0.0.1/24, eth1 192.0.2.1/24",
        ),
        (
            [LO, link("eth0", "10.0.0.1/24", "10.9.0.1/16")],
            {},
            "first-found: would be eth0 10.0.0.1/24, of eth0 10.0.0.1/24, eth0 10.9.0.1/16",
        ),
        ([LO, ETH0, ETH1], {"method": "interface=eth.*"}, "interface=eth.*: would be"),
        ([LO, ETH0, ETH1, link("eth2")], {"method": "skip-interface=eth2"}, "skip-interface=eth2: would be"),
        # 2.6 does not leave out bridges of docker's networks.
        (
            [LO, ETH0, link("br-1f", "172.18.0.1/16")],
            {},
            "first-found: would be br-1f 172.18.0.1/16, of br-1f 172.18.0.1/16, eth0 10.0.0.1/24",
        ),
        ([LO, link("eth0"), link("br-0123456789ab", "172.18.0.1/16")], {}, "first-found: would be br-0123"),
    ],
)
def test_several_addresses_to_choose_from(links, given, seen):
    changes = {"node__ip_autodetection_method": given["method"]} if given else {}
    for ip in ("", "autodetect"):
        level, what, text = one(settings(node__ip=ip, **changes), facts(*links))
        assert (level, what) == ("warning", METHOD)
        assert text.startswith(seen)


@pytest.mark.parametrize(
    ("version", "links", "changes"),
    [
        (V2, [LO, ETH0, DOCKER0, link("tunl0", "172.20.0.0/32"), link("vethx", "10.1.1.1/24")], {}),
        (V2, [LO, link("eth0", "10.0.0.1/24", "10.0.0.2/24")], {}),
        (V2, [LO, ETH0, ETH1], {"node__ip_autodetection_method": "interface=eth1"}),
        (V2, [LO, ETH0, ETH1], {"node__ip_autodetection_method": "skip-interface=eth0"}),
        (V2, [LO, ETH0, ETH1], {"node__ip": "10.0.0.1/24"}),
        (V2, [LO, ETH0, ETH1], {"node__backend": "none"}),
        (V3, [LO, ETH0, link("br-1f", "172.18.0.1/16"), link("vxlan.calico", "172.20.1.0/32")], {}),
        (V3, [LO, ETH0, ETH1], {"node__ip_autodetection_method": "cidr=10.0.0.0/8"}),
        # Kubernetes tells it, and is not asked here.
        (V3, [LO, ETH0, ETH1], {"node__ip_autodetection_method": "kubernetes-internal-ip"}),
        # A regular expression of Go's.
        (V2, [LO, ETH0, ETH1], {"node__ip_autodetection_method": "interface=^[[:alpha:]]{3}0$"}),
        # One that only Go can read.
        (V2, [LO, ETH0, ETH1], {"node__ip_autodetection_method": r"interface=\pL+[0-9]"}),
        # A name is not looked up.
        (V2, [LO, ETH0, ETH1], {"node__ip_autodetection_method": "can-reach=gateway.example.org"}),
    ],
)
def test_one_address_to_choose_from(version, links, changes):
    given = settings(version, **changes)
    assert calico_preflight.questions(given, "node1")["reach"] == {}
    assert judge(given, facts(*links), cluster(version)) == []


def test_an_address_that_was_chosen_is_kept():
    several = facts(LO, ETH0, ETH1)
    assert judge(found=several, stored=cluster(node1="10.0.0.1/24")) == []
    assert judge(settings(node__ip="autodetect"), several, cluster(node1="192.0.2.1/24")) == []
    found = judge(settings(node__ip="autodetect"), several, cluster(node1="10.0.0.1/24"))
    assert [item[1] for item in found] == [METHOD, "address of node node1"]
    assert found[1][2] == "would change from 10.0.0.1 to 192.0.2.1"


NET_OF_DOCKER = link("br-1f", "172.18.0.1/16")


def test_a_bridge_of_containers_that_was_chosen():
    on_bridge = facts(LO, ETH0, NET_OF_DOCKER)
    stored = cluster(node1="172.18.0.1/16")
    (item,) = calico_preflight.findings(settings(), "node1", stored, on_bridge)
    assert (item["level"], item["what"]) == ("warning", "address of node node1")
    assert "172.18.0.1, which is the one of br-1f, an interface of containers" in item["seen"]
    assert "calico:node:ip to the address that other nodes reach, such as 10.0.0.1/24" in item["do"]
    # It would be chosen again, and that is no better.
    (item,) = calico_preflight.findings(settings(node__ip="autodetect"), "node1", stored, on_bridge)
    assert (item["level"], item["what"]) == ("warning", METHOD)
    assert item["seen"].startswith("first-found: would be br-1f 172.18.0.1/16, of")
    assert "interface=^eth0$" in item["do"]
    # A host whose own network lies on a bridge.
    assert judge(found=facts(LO, link("eth0"), link("br-lan", "10.0.0.1/24"))) == []
    assert judge(found=facts(LO, link("br-lan", "10.0.0.1/24")), stored=cluster(node1="10.0.0.1/24")) == []
    # 3.x leaves bridges out.
    assert judge(settings(V3), on_bridge, cluster(V3)) == []


@pytest.mark.parametrize("method", ["interface=eth1", "interface=th1", "skip-interface=br-"])
def test_the_method_decides_which_addresses_count(method):
    found = facts(LO, link("eth1", "192.168.61.62/24"), NET_OF_DOCKER)
    given = settings(node__ip="autodetect", node__ip_autodetection_method=method)
    # Another node has registered its bridge, which is like ours.
    assert judge(given, found, cluster(node3="172.18.0.1/16")) == []
    assert judge(given, found, cluster(node3="192.168.61.62/24"))[0][:2] == ("error", "address of node node1")


def test_a_check_of_addresses_that_is_switched_off():
    stored = cluster(node1="10.0.0.8/24", node2="10.0.0.1/24")
    for value, level in (("true", "warning"), ("TRUE", "error"), ("false", "error")):
        given = settings(node__ip="10.0.0.1/24", env={"DISABLE_NODE_IP_CHECK": value})
        found = judge(given, stored=stored)
        assert [item[0] for item in found if "node2" in item[2]] == [level]


DUAL = link("eth0", "10.0.0.5/24", "fd00::6/64")


def with_both(name, address, address6):
    stored = cluster(**{name: address})
    stored.nodes[name]["ipv6"] = address6
    return stored


def test_each_family_is_judged_by_itself():
    forwards = facts(LO, DUAL)
    forwards["sysctls"]["net.ipv6.conf.all.forwarding"] = 1
    stored = with_both("node9", "10.0.0.5/24", "fd00::5")
    seen = "10.0.0.5 is registered by node node9"
    assert one(settings(node__ip6="fd00::6/64"), forwards, stored) == ("error", "address of node node1", seen)
    forwards["links"] = [LO, link("eth0", "10.0.0.7/24", "fd00::5/64")]
    given = settings(node__ip="10.0.0.7/24", node__ip6="FD00:0::5/64")
    (item,) = calico_preflight.findings(given, "node1", stored, forwards)
    assert (item["level"], item["seen"]) == ("error", "fd00::5 is registered by node node9")
    assert "calico:node:ip6" in item["do"]
    # What is not known of one family says nothing of the other.
    given = settings(V3, node__ip6="autodetect", node__ip6_autodetection_method="can-reach=x.example.org")
    found = facts(LO, link("eth0", "10.0.0.7/24"), ETH1)
    found["sysctls"]["net.ipv6.conf.all.forwarding"] = 1
    given["node"]["ip"] = "10.0.0.7/24"
    assert [item[0] for item in judge(given, found, cluster(V3, node9="192.0.2.1/24"))] == ["warning"]


@pytest.mark.parametrize("address", ["FD00:0::5", "fd00:0:0::5"])
def test_addresses_are_compared_as_addresses(address):
    keys = {"/calico/v1/Ready": "true", "/calico/bgp/v1/host/node9/ip_addr_v6": address}
    assert calico_topology.from_v2(keys).nodes["node9"]["ipv6"] == "fd00::5"


def test_the_way_to_an_address_decides():
    given = settings(node__ip_autodetection_method="can-reach=192.0.2.9")
    assert calico_preflight.questions(given, "node1")["reach"] == {4: "192.0.2.9"}
    assert judge(given, facts(LO, ETH0, ETH1, reach={4: "192.0.2.1"})) == []
    level, what, seen = one(given, facts(LO, ETH0, ETH1, reach={4: None}))
    assert (level, what, seen) == ("error", METHOD, "can-reach=192.0.2.9 finds no IPv4 address")


@pytest.mark.parametrize(
    "links", [[LO], [LO, DOCKER0], [LO, link("eth0", "169.254.7.7/16", "fe80::1/64", "fd00::1/64")]]
)
def test_no_address_to_choose_from(links):
    assert one(found=facts(*links)) == ("error", METHOD, "first-found finds no IPv4 address")


@pytest.mark.parametrize(
    ("version", "backend", "level"), [(V2, "bird", "error"), (V3, "bird", "error"), (V3, "vxlan", "warning")]
)
def test_a_given_address_that_no_interface_has(version, backend, level):
    given = settings(version, node__ip="10.0.0.7/24", node__backend=backend)
    seen = "no interface has 10.0.0.7 (there is eth0 10.0.0.1/24)"
    assert one(given, stored=cluster(version)) == (level, "calico:node:ip", seen)


def test_a_given_ipv6_address_that_no_interface_has():
    level, what, seen = one(settings(node__ip6="fd00::7/64"), sysctl(net__ipv6__conf__all__forwarding=1))
    assert (level, what) == ("error", "calico:node:ip6")
    assert "(there is none)" in seen


def test_a_registered_address_that_no_interface_has():
    stored = cluster(node1="10.0.0.7/24")
    seen = "node node1 is registered with 10.0.0.7, which no interface has"
    assert one(stored=stored) == ("error", "address of node node1", seen)
    # It is replaced at the next start.
    for ip in ("autodetect", "10.0.0.1/24"):
        level, what, _seen = one(settings(node__ip=ip), stored=stored)
        assert (level, what) == ("warning", "node name")
        # It was this very host that registered.
        assert (
            judge(settings(V3, node__ip=ip), facts(nodename="node1"), cluster(V3, node1="10.0.0.7/24")) == []
        )


@pytest.mark.parametrize("ip", ["", "autodetect", "10.0.0.1/24"])
def test_a_name_that_another_host_has(ip):
    given = settings(node__ip=ip)
    stored = cluster(node1="10.0.0.7/24")
    assert calico_preflight.questions(given, "node1", stored)["registered"] == [("10.0.0.7", 179)]
    found = judge(given, facts(answering=["10.0.0.7"]), stored)
    assert [item[:2] for item in found] == [("error", "node name")]
    assert "another host of this network has that address" in found[0][2]
    # That address is another node's by now: it is no sign of a second node1.
    found = judge(given, facts(answering=["10.0.0.7"]), cluster(node1="10.0.0.7/24", node2="10.0.0.7/24"))
    assert all("another host" not in item[2] for item in found)


@pytest.mark.parametrize("version", [V2, V3])
def test_a_peer_of_a_node_that_nobody_knows(version):
    peers = [{"peer_ip": "10.0.0.9", "as_number": 1, "node": name} for name in ("node1", "node2", "gone")]
    given = settings(version, network__peers=[*peers, {"peer_ip": "10.0.0.8", "as_number": 1}])
    seen = ("warning", "calico:network:peers", "the datastore knows no node gone")
    assert one(given, stored=cluster(version, node2="10.0.0.2/24")) == seen
    # They are all yet to come; or the datastore could not be read.
    assert judge(given, stored=cluster(version)) == []
    assert calico_preflight.findings(given, "node1", None, facts()) == []


def test_an_address_that_another_node_has():
    assert one(stored=cluster(node2="10.0.0.1/24")) == (
        "error",
        "address of node node1",
        "10.0.0.1 is registered by node node2",
    )
    # It may be chosen, but will not.
    level, what, seen = one(
        settings(node__ip="10.0.0.1/24"), facts(LO, ETH0, ETH1), cluster(node2="192.0.2.1/24")
    )
    assert (level, what, seen) == (
        "warning",
        "address of node node1",
        "192.0.2.1 is registered by node node2",
    )
    assert judge(stored=cluster(node2="10.0.0.2/24", node3=None)) == []
    # Containers' networks are alike on all hosts.
    assert judge(settings(node__ip="10.0.0.1/24"), stored=cluster(node2="172.17.0.1/16")) == []


def test_an_address_that_another_node_has_where_it_is_not_known_which_will_be_taken():
    given = settings(V3, node__ip_autodetection_method="kubernetes-internal-ip")
    level, _what, _seen = one(given, facts(LO, ETH0, ETH1), cluster(V3, node2="192.0.2.1/24"))
    assert level == "error"


def test_a_host_with_another_name_than_when_it_registered():
    found = facts(nodename="old")
    (item,) = calico_preflight.findings(settings(V3), "node1", cluster(V3, old="10.0.0.1/24"), found)
    assert item["level"] == "error"
    assert item["seen"] == "10.0.0.1 is registered by node old, which this host was itself"
    assert "calico:node:name to 'old'" in item["do"]
    level, what, seen = one(settings(V3), found, cluster(V3, old="10.0.0.9/24", node1="10.0.0.1/24"))
    assert (level, what, seen) == ("warning", "node name", "'old' when this host registered, 'node1' now")
    assert judge(settings(V3), found, cluster(V3, node1="10.0.0.1/24")) == []
    assert judge(settings(V3), facts(nodename="node1"), cluster(V3, node1="10.0.0.1/24")) == []


CROSSING = {"pools": [("10.9.0.0/16", '"ipip": "tunl0", "ipip_mode": "cross-subnet"')]}


@pytest.mark.parametrize(
    ("ip", "registered", "seen"),
    [
        ("10.0.0.1", None, "10.0.0.1 is given with prefix /32, eth0 has /24"),
        ("10.0.0.1/16", None, "10.0.0.1 is given with prefix /16, eth0 has /24"),
        ("10.0.0.1/24", None, None),
        ("10.0.0.1/32", None, "10.0.0.1 is given with prefix /32, eth0 has /24"),
        ("", "10.0.0.1/32", "10.0.0.1 is registered with prefix /32, eth0 has /24"),
        ("", "10.0.0.1/24", None),
    ],
)
def test_the_prefix_where_subnets_matter(ip, registered, seen):
    given = settings(node__ip=ip, cni__mtu=1480)
    nodes = {"node1": registered} if registered else {}
    expected = [("warning", "address of node node1", seen)] if seen else []
    assert judge(given, stored=cluster(**CROSSING, **nodes)) == expected
    assert judge(given, stored=cluster(**nodes)) == []


def test_a_prefix_of_one_address_where_subnets_matter():
    alone = facts(LO, link("eth0", "10.0.0.1/32"))
    given = settings(node__ip="10.0.0.1/32", cni__mtu=1480)
    seen = "10.0.0.1 is given with prefix /32"
    assert one(given, alone, cluster(**CROSSING)) == ("warning", "address of node node1", seen)
    assert judge(settings(cni__mtu=1480), alone, cluster(**CROSSING)) == []
    assert judge(given, alone) == []


def test_calico_3_asks_the_interface_for_a_missing_prefix():
    pools = [("10.9.0.0/16", {"ipipMode": "CrossSubnet"})]
    assert judge(settings(V3, node__ip="10.0.0.1"), stored=cluster(V3, pools=pools)) == []


# --- others on the host ----------------------------------------------------------------------------


def listening(port, program="haproxy", ours=False, pid=8):
    return {"port": port, "address": "0.0.0.0", "pid": program and pid, "program": program, "ours": ours}


@pytest.mark.parametrize(
    ("version", "given", "ports"),
    [
        (V2, {}, [179, 9099]),
        (V2, {"felix__HealthPort": 9199}, [179, 9199]),
        (V2, {"felix__HealthEnabled": False}, [179]),
        (V2, {"node__backend": "none"}, [9099]),
        (V3, {"node__backend": "vxlan"}, [9099]),
        (V3, {"network__bgp": {"listen_port": 180}}, [180, 9099]),
    ],
)
def test_the_ports_that_calico_needs(version, given, ports):
    given = settings(version, **given)
    assert calico_preflight.questions(given, "node1", cluster(version))["ports"] == ports
    found = facts(listeners=[listening(port) for port in (179, 180, 9099, 9199)])
    judged = judge(given, found, cluster(version))
    assert [(level, what) for level, what, _seen in judged] == [("error", f"port {port}") for port in ports]
    assert all("haproxy (pid 8)" in seen for _level, _what, seen in judged)


@pytest.mark.parametrize(("version", "offered"), [(V2, False), ("v3.15.0", False), ("v3.16.0", True)])
def test_another_port_is_offered_where_the_release_has_it(version, offered):
    given = settings(version, cni__mtu=1500)
    (item,) = calico_preflight.findings(given, "node1", cluster(version), facts(listeners=[listening(179)]))
    assert ("listen_port" in item["do"]) is offered


def test_the_port_of_the_datastore():
    assert (
        calico_preflight.questions(settings(V3), "node1", cluster(V3, listen_port=1179))["ports"][0] == 1179
    )


def test_ports_that_are_our_own_or_somebodys():
    assert (
        judge(found=facts(listeners=[listening(179, "bird", True), listening(9099, "calico-node", True)]))
        == []
    )
    level, what, _seen = one(found=facts(listeners=[listening(179, None)]))
    assert (level, what) == ("warning", "port 179")
    # One listener for each family is one finding.
    assert len(judge(found=facts(listeners=[listening(179), listening(179)]))) == 1


@pytest.mark.parametrize(
    ("version", "given", "mtu", "expected"),
    [
        (V2, {}, 1500, []),
        (V2, {}, 9000, []),
        (V2, {}, 1450, [("calico:cni:mtu", "1500 for workloads; eth0 has 1450")]),
        (V2, {"cni__mtu": 1450}, 1450, []),
        (V2, {"cni__enabled": False}, 1450, []),
        (
            V2,
            {"network__pools": [{**POOL, "ipip": "always"}]},
            1500,
            [("calico:cni:mtu", "1500 for workloads; eth0 has 1500, and IP-in-IP takes 20")],
        ),
        (V2, {"network__pools": [{**POOL, "ipip": "always"}], "cni__mtu": 1480}, 1500, []),
        (
            V2,
            {"network__pools": [{**POOL, "ipip": "always"}], "cni__mtu": 1430},
            1450,
            [("calico:felix:IpInIpMtu", "1440 of tunl0; eth0 has 1450, and IP-in-IP takes 20")],
        ),
        (V3, {"network__pools": [{**POOL, "ipip": "always"}]}, 1400, []),
        (
            V3,
            {"network__pools": [{**POOL, "vxlan": "crosssubnet"}], "cni__mtu": 1460, "felix__VXLANMTU": 1500},
            1500,
            [
                ("calico:felix:VXLANMTU", "1500 of vxlan.calico; eth0 has 1500, and VXLAN takes 50"),
                ("calico:cni:mtu", "1460 for workloads; eth0 has 1500, and VXLAN takes 50"),
            ],
        ),
        (
            V3,
            {"felix__WireguardEnabled": True, "cni__mtu": 1500},
            1500,
            [("calico:cni:mtu", "1500 for workloads; eth0 has 1500, and WireGuard takes 60")],
        ),
        (V3, {"felix__WireguardEnabled": True, "cni__mtu": 1440}, 1500, []),
    ],
)
def test_mtu(version, given, mtu, expected):
    found = judge(
        settings(version, **given), facts(LO, link("eth0", "10.0.0.1/24", mtu=mtu)), cluster(version)
    )
    assert found == [("warning", *item) for item in expected]


def test_mtu_of_the_interface_that_is_chosen():
    links = [LO, link("eth0", "10.0.0.1/24", mtu=1400), ETH1]
    assert judge(settings(node__ip="192.0.2.1/24"), facts(*links)) == []
    assert one(settings(node__ip="10.0.0.1/24"), facts(*links))[1] == "calico:cni:mtu"


def test_the_mtu_that_felix_finds_out():
    bond = facts(LO, link("bond0", "10.0.0.1/24"))
    level, what, seen = one(settings(V3), bond, cluster(V3))
    assert (level, what) == ("warning", "calico:felix:MTUIfacePattern")
    assert "bond0" in seen
    assert judge(settings(V3, cni__mtu=1400), bond, cluster(V3)) == []
    assert judge(settings(V3, felix__MTUIfacePattern="^bond"), bond, cluster(V3)) == []
    assert judge(settings(V3), facts(LO, link("enp1s0", "10.0.0.1/24")), cluster(V3)) == []


BRIDGE = {"name": "05-bridge.conf", "types": ["bridge"]}


@pytest.mark.parametrize(
    ("version", "files", "seen"),
    [
        (V2, [BRIDGE], "/etc/cni/net.d/05-bridge.conf (bridge) comes before 10-calico.conf"),
        (V3, [BRIDGE], "/etc/cni/net.d/05-bridge.conf (bridge) comes before 10-calico.conflist"),
        (V3, [{"name": "01-x.conf", "types": []}], "/etc/cni/net.d/01-x.conf (no plugin) comes before"),
        (
            V2,
            [{"name": "10-calico.conf", "types": ["calico"]}, {"name": "87-podman.conflist", "types": []}],
            None,
        ),
        # Of the other generation: the run takes it away.
        (V3, [{"name": "10-calico.conf", "types": ["calico"]}], None),
        (V2, [{"name": "10-calico.conflist", "types": ["calico"]}], None),
        (V3, [{"name": "00-multus.conf", "types": ["multus"]}], None),
        (V3, [], None),
    ],
)
def test_cni_configurations(version, files, seen):
    found = judge(settings(version), facts(cni=files), cluster(version))
    assert [item[:2] for item in found] == ([("warning", "CNI configuration")] if seen else [])
    assert not seen or found[0][2].startswith(seen)


@pytest.mark.parametrize(
    ("given", "told", "left"),
    [
        ({}, None, None),
        ({}, [], "cali*"),
        ({}, ["interface-name:cali*"], None),
        ({}, ["interface-name:=cali*"], "cali*"),
        ({}, ["except:interface-name:cali*"], "cali*"),
        ({}, ["type:veth"], None),
        ({}, ["driver:veth"], None),
        ({}, ["*"], None),
        ({}, ["interface-name:docker*", "mac:00:11:22:33:44:55"], "cali*"),
        (VXLAN, ["interface-name:cali*"], "vxlan.calico"),
        (VXLAN, ["interface-name:cali*", "interface-name:vxlan.calico"], None),
        (VXLAN, ["type:veth", "type:vxlan"], None),
        (IPIP, ["interface-name:cali*"], "tunl0"),
        (IPIP, ["interface-name:cali*", "interface-name:tunl*"], None),
    ],
)
def test_network_manager(given, told, left):
    given = settings(**given)
    found = judge(given, facts(network_manager=told), cluster(given["version"]))
    seen = [("warning", "NetworkManager", f"it runs and may take over {left}")] if left else []
    assert found == seen


def test_network_manager_and_interfaces_of_another_name():
    given = settings(felix__InterfacePrefix="cali,tap")
    seen = "it runs and may take over tap*"
    found = facts(network_manager=["interface-name:cali*"])
    assert judge(given, found) == [("warning", "NetworkManager", seen)]
    assert judge(given, facts(network_manager=["type:veth"])) == []


# --- before the host -------------------------------------------------------------------------------


def shown(items):
    return [(item["level"], item["what"], item["seen"]) for item in items]


def test_a_name_in_capitals():
    assert shown(calico_preflight.of_name("Node1")) == [("error", "node name", "'Node1' has capitals")]
    assert calico_preflight.of_name("node-1.example.org") == []


@pytest.mark.parametrize(
    ("source_hash", "found", "seen"),
    [
        ("sha256=AB", {"hash_type": "sha256", "hsum": "ab"}, None),
        ("sha256:ab", {"hash_type": "sha256", "hsum": "ab"}, None),
        ("ab", {"hash_type": "sha256", "hsum": "ab"}, None),
        ("sha512=CD", {"hash_type": "sha512", "hsum": "cd"}, None),
        ("sha512=cd", {"hash_type": "sha512", "hsum": "ab"}, "salt://x is sha512=ab, which does not match"),
        ("sha256=cd", {"hash_type": "sha256", "hsum": "ab"}, "salt://x is sha256=ab, which does not match"),
        ("sha256=cd", "", "the master has no file salt://x"),
    ],
)
def test_sources(source_hash, found, seen):
    items = calico_preflight.of_source("calicoctl", "salt://x", source_hash, found)
    assert [item["seen"] for item in items] == ([seen] if seen else [])


@pytest.mark.parametrize(
    ("version", "present", "archive", "level"),
    [
        ("20.10.24+dfsg1", False, None, None),
        ("19.03.15", False, None, None),
        ("18.09.1", True, None, "warning"),
        ("18.09.1", False, {"found": True, "bytes": 1}, "warning"),
        ("18.09.1", False, None, "error"),
        ("1.13.1", False, None, "error"),
        (None, False, None, None),
        ("dev", False, None, None),
    ],
)
def test_the_version_of_the_runtime(version, present, archive, level):
    items = calico_preflight.of_runtime(settings(), version, present, archive)
    assert [item["level"] for item in items] == ([level] if level else [])


def test_an_archive_that_is_not_there():
    given = settings(image_archive="/no/image.tar")
    missing = {"found": False, "bytes": None}
    (item,) = calico_preflight.of_runtime(given, "20.10.1", False, missing)
    assert (item["level"], item["what"]) == ("error", "calico:image_archive")
    assert calico_preflight.of_runtime(given, "20.10.1", True, None) == []


MIB = 2**20


@pytest.mark.parametrize(
    ("room", "archive", "level"),
    [
        ({"bytes": 2000 * MIB, "inodes": 7}, None, None),
        ({"bytes": 2000 * MIB, "inodes": None}, None, None),
        ({"bytes": 500 * MIB, "inodes": 7}, None, "warning"),
        ({"bytes": 2 * MIB, "inodes": 7}, None, "error"),
        ({"bytes": 2000 * MIB, "inodes": 0}, None, "error"),
        ({"bytes": 2000 * MIB, "inodes": 7}, {"bytes": 3000 * MIB}, "error"),
        ({"bytes": 500 * MIB, "inodes": 7}, {"bytes": 300 * MIB}, "warning"),
        (None, None, None),
    ],
)
def test_room_for_the_image(room, archive, level):
    items = calico_preflight.of_image_room(room and {"path": "/var/lib/docker", **room}, archive)
    assert [item["level"] for item in items] == ([level] if level else [])


def test_room_for_files():
    enough = {"path": "/etc", "bytes": 100 * MIB, "inodes": 9}
    assert calico_preflight.of_room([enough, None, {**enough, "inodes": None}]) == []
    items = calico_preflight.of_room([{**enough, "bytes": MIB}, {**enough, "inodes": 0}])
    assert [item["seen"] for item in items] == [
        "/etc has 1 MiB and 9 inodes free",
        "/etc has 100 MiB and 0 inodes free",
    ]
    assert {item["level"] for item in items} == {"error"}


@pytest.mark.parametrize(
    ("skew", "seen"),
    [
        (None, None),
        (0.7, None),
        (-29, None),
        (31, "etcd's is 31 s ahead of this host's"),
        (-3600, "etcd's is 3600 s behind this host's"),
    ],
)
def test_clocks(skew, seen):
    items = calico_preflight.of_datastore(settings(), cluster(), None, skew)
    assert shown(items) == ([("warning", "clock", seen)] if seen else [])


def test_a_datastore_that_cannot_be_used():
    (item,) = calico_preflight.of_datastore(settings(), None, "connection refused")
    assert (item["level"], item["what"], item["seen"]) == (
        "error",
        "calico:etcd:endpoints",
        "connection refused",
    )
    locked = cluster()
    locked.ready = False
    (item,) = calico_preflight.of_datastore(settings(), locked, None)
    assert (item["level"], item["what"]) == ("error", "datastore")


def test_certificates(tmp_path):
    pki = pki_support.make(tmp_path)
    pki_support.issue(pki, "tomorrow", begins=5, days=30)
    pki_support.issue(pki, "stranger", ca="wrong-ca")

    def parts(name):
        files = {"ca": "ca.pem", "cert": f"{name}.pem", "key": f"{name}-key.pem"}
        return {part: (pki / file).read_bytes() for part, file in files.items()}

    now = datetime.datetime.now(UTC)
    assert calico_preflight.of_certificates(settings(), parts("calico"), now) == []
    (item,) = calico_preflight.of_certificates(settings(), parts("tomorrow"), now)
    assert item["what"] == "calico:etcd:tls:cert"
    assert "is not valid before" in item["seen"]
    assert f"this host's clock says {now.isoformat(timespec='seconds')}" in item["seen"]
    # Which file it is stands beside it.
    ours = settings(etcd__endpoints=["https://a:1"], etcd__tls={"ca": "/pki/bundle.pem"})
    (item,) = calico_preflight.of_certificates(ours, {"ca": b" " + parts("calico")["ca"]}, now)
    assert item["what"] == "calico:etcd:tls:ca"
    assert "the ca (/pki/bundle.pem) is no PEM certificate" in item["seen"]
    # etcd may trust another CA: that is only told where it refused.
    assert calico_preflight.of_certificates(settings(), parts("stranger"), now) == []
    refused = calico_preflight.of_datastore(settings(), None, "refused", refused=parts("stranger"))
    assert [item["level"] for item in refused] == ["error", "warning"]
    assert "CN=wrong-ca" in refused[1]["seen"]
    assert len(calico_preflight.of_datastore(settings(), None, "refused", refused=parts("calico"))) == 1
    assert (
        len(calico_preflight.of_datastore(settings(), None, "refused", refused={"ca": b"x", "cert": b"y"}))
        == 1
    )


def test_errors_come_first():
    found = facts(LO, ETH0, ETH1, listeners=[listening(179)], network_manager=[])
    levels = [item[0] for item in judge(found=found)]
    assert levels == sorted(levels)
    assert set(levels) == {"error", "warning"}


# --- what the formula's own settings would do to each other ---------------------------------------


@pytest.mark.parametrize("version", [V2, V3])
def test_a_pool_that_holds_addresses_of_hosts(version):
    def found(pool, stored=None, **changes):
        given = settings(version, network__pools=[POOL, pool], **changes)
        return judge(given, facts(LO, link("eth0", "192.168.50.11/24"), DOCKER0), stored or cluster(version))

    pool = {"cidr": "192.168.0.0/16"}
    seen = "192.168.0.0/16 holds this host's own address 192.168.50.11"
    assert found(pool) == [("warning", "calico:network:pools", seen)]
    # Such a pool tells that its addresses need no NAT.
    assert found(dict(pool, disabled=True)) == []
    seen = "10.0.0.0/8 holds etcd's address 10.0.0.9"
    assert found({"cidr": "10.0.0.0/8"}) == [("warning", "calico:network:pools", seen)]
    endpoints = ["http://etcd.example.org:2379", "http://[fd00:9::1]:2379"]
    assert found({"cidr": "10.0.0.0/8"}, etcd__endpoints=endpoints) == []
    nodes = cluster(version, **{"n%d" % n: "10.9.0.%d/24" % n for n in range(1, 6)})
    seen = "10.9.0.0/16 holds node n1's address 10.9.0.1, node n2's address 10.9.0.2, "
    seen += "node n3's address 10.9.0.3, and 2 more"
    assert found({"cidr": "10.9.0.0/16"}, nodes) == [("warning", "calico:network:pools", seen)]


@pytest.mark.parametrize(("port", "level"), [(179, ["error"]), (9100, [])])
def test_ports_of_bird_and_felix_that_are_the_same(port, level):
    found = judge(settings(felix={"HealthPort": port}))
    assert [item[0] for item in found if item[1] == "calico:felix:HealthPort"] == level


@pytest.mark.parametrize(
    ("fault", "running", "seen", "do"),
    [
        ("not-found", [], "there is no unit docker.service", "Install it: "),
        ("masked", [], "docker.service is masked", "systemctl unmask docker.service"),
        (
            "not-found",
            ["snap.docker.dockerd.service"],
            "there is no unit docker.service",
            "set calico:service to snap.docker.dockerd.service, which runs",
        ),
    ],
)
def test_a_unit_of_docker_that_cannot_be_started(fault, running, seen, do):
    (item,) = calico_preflight.of_service(settings(), fault, running)
    assert (item["level"], item["what"], item["seen"]) == ("error", "calico:service", seen)
    assert do in item["do"]
    assert calico_preflight.of_service(settings(), None, running) == []


@pytest.mark.parametrize(
    ("name", "level"),
    [("localhost", ["warning"]), ("localhost.localdomain", ["warning"]), ("localhost1", []), ("node1", [])],
)
def test_a_name_that_every_host_has(name, level):
    assert [item["level"] for item in calico_preflight.of_name(name)] == level


# --- packet filters --------------------------------------------------------------------------------


def dropping(backend="nft", family=4, table="filter", chain="FORWARD", rules=()):
    return calico_filters.Filter(backend, family, table, chain, "drop", {chain: list(rules)})


IPTABLES_NFT = ["/usr/sbin/iptables-nft"]


@pytest.mark.parametrize(
    ("changes", "filters", "levels"),
    [
        ({}, [dropping()], ["error"]),
        ({}, [dropping("legacy")], []),
        ({}, [dropping(table="mangle")], ["error"]),
        ({}, [dropping(family=6)], []),
        ({}, [dropping("native", 0, chain="forward")], ["error"]),
        ({}, [dropping(rules=[calico_filters.Rule([None], "accept", None)])], ["warning"]),
        ({"forwarding__accept": True}, [dropping()], []),
        # The rules of the formula do not help there.
        ({"forwarding__accept": True}, [dropping("native", 0, chain="forward")], ["error"]),
        ({"node__backend": "none"}, [dropping()], []),
        ({"felix__IptablesFilterAllowAction": "RETURN"}, [dropping("legacy")], ["error"]),
        ({"version": V3}, [dropping(), dropping("legacy")], []),
        ({"version": V3, "felix__IptablesBackend": "NFT"}, [dropping(), dropping("legacy")], ["error"]),
        (
            {"version": V3, "felix__IptablesBackend": "NFT", "felix__BPFEnabled": True},
            [dropping("legacy")],
            [],
        ),
        # Where Felix has chosen already, its chains tell.
        (
            {"version": V3},
            [dropping(), dropping("legacy", rules=[calico_filters.Rule([], "jump", "cali-FORWARD")])],
            ["error"],
        ),
    ],
)
def test_filters_that_drop_what_felix_accepts(changes, filters, levels):
    given = settings(**changes)
    found = judge(given, facts(filters=filters, programs=IPTABLES_NFT), cluster(given["version"]))
    assert [(what, level) for level, what, _seen in found] == [("packet filter", level) for level in levels]


def test_the_cure_needs_its_program():
    given = settings(forwarding__accept=True)
    found = facts(filters=[dropping()], programs=["/usr/sbin/iptables"])
    (item,) = calico_preflight.findings(given, "node1", cluster(), found)
    assert item["level"] == "error" and "Install the program" in item["do"]


def test_unknown_filters_are_no_finding():
    assert judge(settings(), facts(filters=None)) == []


def test_source_addresses_after_the_next_boot():
    name = "net.ipv4.conf.all.rp_filter"
    files = [("/etc/sysctl.d/10-network-security.conf", {name: "2"})]
    (found,) = judge(settings(), facts(sysctl_files=files))
    assert found == ("warning", name, "/etc/sysctl.d/10-network-security.conf says 2")
    assert judge(settings(felix__IgnoreLooseRPF=True), facts(sysctl_files=files)) == []
    assert (
        judge(settings(), facts(sysctl_files=[*files, ("/etc/sysctl.d/99-sysctl.conf", {name: "1"})])) == []
    )
    assert judge(settings(V3), facts(sysctl_files=files), cluster(V3)) == []
