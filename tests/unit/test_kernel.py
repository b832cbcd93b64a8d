"""What the kernel can do: loaded, built in, to be loaded, configured, or not there."""

import gzip

import calico_kernel
import pytest

BUILTIN = "kernel/net/ipv4/ip_tables.ko\nkernel/drivers/net/vxlan/vxlan.ko\n"
DEP = """\
kernel/net/ipv4/ipip.ko.xz: kernel/net/ipv4/ip_tunnel.ko.xz kernel/net/ipv4/tunnel4.ko.xz
kernel/net/netfilter/xt_set.ko.zst: kernel/net/netfilter/ipset/ip_set.ko.zst
/lib/modules/3.10/kernel/net/netfilter/ipset/ip_set.ko: nfnetlink.ko
kernel/net/netfilter/nf-tables.ko.gz:
"""
CONFIG = """\
#
CONFIG_IP_SET=m
CONFIG_VXLAN=y
# CONFIG_NET_IPIP is not set
CONFIG_IP_SET_MAX=256
"""
RELEASE = "6.1.0-9-amd64"


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        (BUILTIN, ["vxlan", "ip_tables", "ipip"], {"vxlan", "ip_tables"}),
        # Dependencies are no entries of their own.
        (
            DEP,
            ["ipip", "ip_tunnel", "xt_set", "ip_set", "nf_tables"],
            {"ipip", "xt_set", "ip_set", "nf_tables"},
        ),
        (DEP, ["ip", "set", "ipi"], set()),
        ("", ["ipip"], set()),
    ],
)
def test_lists_of_modules(text, names, found):
    assert calico_kernel.parse_modules(text, names) == found


@pytest.mark.parametrize("text", [CONFIG, CONFIG.encode()])
def test_a_configuration(text):
    options = ["IP_SET", "VXLAN", "NET_IPIP", "WIREGUARD"]
    assert calico_kernel.parse_configuration(text, options) == {"IP_SET": "m", "VXLAN": "y"}


@pytest.mark.parametrize(
    ("configuration", "builtin", "loadable", "there"),
    [
        ({"NET_IPIP": "y"}, None, None, True),
        ({}, None, None, False),
        ({}, set(), set(), False),
        (None, {"ipip"}, set(), True),
        (None, set(), {"ipip"}, True),
        ({"NET_IPIP": "m"}, set(), {"ipip"}, True),
        # In a package that is not installed.
        ({"NET_IPIP": "m"}, set(), set(), False),
        (None, set(), set(), False),
        # No telling.
        ({"NET_IPIP": "m"}, None, None, None),
        (None, None, None, None),
        (None, set(), None, None),
    ],
)
def test_what_the_files_tell(configuration, builtin, loadable, there):
    assert calico_kernel.judge("ipip", configuration, builtin, loadable) is there


@pytest.mark.parametrize(
    ("configuration", "there"), [({"BPF_SYSCALL": "y"}, True), ({}, False), (None, None)]
)
def test_what_is_no_module_is_in_no_list(configuration, there):
    assert calico_kernel.judge("bpf_syscall", configuration, set(), set()) is there


@pytest.fixture
def root(tmp_path):
    def write(**files):
        for path, content in files.items():
            at = tmp_path / path.replace("__", "/").replace("RELEASE", RELEASE).replace("DOT", ".")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path)

    return write


def asked(answers):
    """Stands for the kernel; what it was asked is kept."""

    def ask(names):
        ask.names = names
        return {name: answers.get(name) for name in names}

    ask.names = []
    return ask


def test_a_kernel_of_a_distribution(root):
    at = root(
        lib__modules__RELEASE__modulesDOTbuiltin=BUILTIN,
        lib__modules__RELEASE__modulesDOTdep=DEP,
    )
    ask = asked({"wireguard": False})
    found = calico_kernel.features(["vxlan", "ipip", "xt_set", "wireguard", "xt_comment"], at, RELEASE, ask)
    expected = {"vxlan": True, "ipip": True, "xt_set": True, "wireguard": False, "xt_comment": False}
    assert found == expected
    assert ask.names == ["wireguard"]


def test_a_kernel_that_shows_its_configuration(root, tmp_path):
    at = root(proc__configDOTgz=gzip.compress(CONFIG.encode()))
    ask = asked({"ip_set": True})
    found = calico_kernel.features(["vxlan", "ip_set", "xt_set"], at, RELEASE, ask)
    assert found == {"vxlan": True, "ip_set": True, "xt_set": False}
    # Made as a module, and there is no list of modules: only the kernel can tell.
    assert ask.names == ["ip_set"]


def test_a_configuration_beside_the_kernel(root, tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / f"config-{RELEASE}").write_text("CONFIG_NFT_COMPAT=y\n")
    assert calico_kernel.features(["nft_compat"], root(), RELEASE, asked({})) == {"nft_compat": True}


def test_what_shows_needs_no_list(root, tmp_path):
    at = root(proc__net__ip_tables_matches="set\nset\nconntrack\n", proc__net__ip_tables_names="filter\n")
    (tmp_path / "sys/module/wireguard").mkdir(parents=True)
    names = ["xt_set", "xt_conntrack", "iptable_filter", "wireguard", "xt_mark"]
    found = calico_kernel.features(names, at, RELEASE, asked({}))
    assert found == {**dict.fromkeys(names, True), "xt_mark": None}


def test_files_of_another_kernel_do_not_count(root):
    at = root(lib__modules__other__modulesDOTbuiltin="", lib__modules__other__modulesDOTdep="")
    ask = asked({"vxlan": True, "ipip": False})
    found = calico_kernel.features(["vxlan", "ipip", "nft_compat"], at, RELEASE, ask)
    assert found == {"vxlan": True, "ipip": False, "nft_compat": None}


def test_the_kernel_is_right_where_files_say_otherwise(root):
    at = root(lib__modules__RELEASE__modulesDOTbuiltin="", lib__modules__RELEASE__modulesDOTdep="")
    assert calico_kernel.features(["vxlan"], at, RELEASE, asked({"vxlan": True})) == {"vxlan": True}
    # It does not say: then the files do.
    assert calico_kernel.features(["vxlan"], at, RELEASE, asked({})) == {"vxlan": False}


@pytest.mark.lab
def test_the_kernel_itself_agrees_with_its_files():
    names = [name for name, feature in calico_kernel.FEATURES.items() if "ask" in feature]
    told = calico_kernel.features(names, asking=lambda _names: {})
    answers = calico_kernel.ask(names)
    assert set(answers) == set(names)
    for name, answer in answers.items():
        assert answer is not None
        assert told[name] in (answer, None), name


@pytest.mark.lab
def test_asking_leaves_nothing_behind():
    def links():
        with open("/proc/net/dev") as devices:
            return {line.partition(":")[0].strip() for line in devices} - {"lo"}

    before = {name for name in links() if not name.startswith("veth")}
    calico_kernel.ask(["vxlan", "ipip", "wireguard"])
    assert not {"vxlan0", "tunl0", "wireguard0", "wg0"} & (links() - before)
