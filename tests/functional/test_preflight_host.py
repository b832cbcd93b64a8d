"""calico.check on a host of its own: each finding made true, and none on a host where all is well."""

import contextlib
import http.server
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import calico_etcd
import calico_kernel
import calico_preflight
import pytest

from tests.functional.test_states import pool, register
from tests.lab import capabilities
from tests.lab.standins import etcdv2
from tests.support import engine as engine_support
from tests.support import kernels
from tests.support import minion as minion_support
from tests.support import pki as pki_support

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not capabilities.has("CAP_SYS_ADMIN"), reason="needs CAP_SYS_ADMIN"),
    pytest.mark.skipif(not shutil.which("etcd"), reason="needs the etcd program"),
]

LISTEN = """\
import socket, sys
with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[1])
listeners = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[2:]]
print("listening", flush=True)
sys.stdin.read()
"""
HOSTS = 2
CONNTRACK_MAX = "/proc/sys/net/netfilter/nf_conntrack_max"
# A root directory of its own, as a container has.
CONTAINED = """\
set -e
mount --make-rprivate /
for directory in usr lib lib64 proc dev; do
    [ -e /$directory ] || continue
    mkdir -p {root}/$directory
    mount --rbind /$directory {root}/$directory
done
exec chroot {root} {argv}
"""


@pytest.fixture(scope="module")
def here(fabric):
    """A minion and a docker on the first host."""
    with (
        tempfile.TemporaryDirectory(prefix="calico-minion-") as directory,
        minion_support.Minion(Path(directory) / "m", network=fabric.hosts[0].name) as minion,
        engine_support.Engine(minion.directory) as engine,
    ):
        engine.install(minion.bin)
        minion.path("/run/docker.sock").unlink(missing_ok=True)
        minion.path("/run/docker.sock").symlink_to(engine.socket)
        yield minion, engine


class Host:
    """The first host: what a test changes on it is put right afterwards."""

    def __init__(self, minion, engine, host, datastore, settings, undo):
        self.minion, self.engine, self.host = minion, engine, host
        self.datastore, self.settings, self._undo = datastore, settings, undo

    @property
    def address(self):
        return self.host.plain_address

    def check(self, **changes):
        """What is found as ``{what: finding}``, with the pillar changed at paths a__b."""
        self.minion.pillar(self.pillar(changes))
        found = self.minion.call("calico.check")
        assert len({item["what"] for item in found}) == len(found), found
        return {item["what"]: item for item in found}

    def kernel(self, minion, **changes):
        """What another minion of this host finds of its kernel as ``{what was seen: level}``."""
        minion.pillar(self.pillar(changes))
        found = minion.call("calico.check")
        return {item["seen"]: item["level"] for item in found if item["what"] == "kernel"}

    def pillar(self, changes):
        pillar = json.loads(json.dumps(self.settings))
        for path, value in changes.items():
            *parents, leaf = path.split("__")
            branch = pillar
            for parent in parents:
                branch = branch.setdefault(parent, {})
            branch[leaf] = value
        return pillar

    def ip(self, *arguments, undo=None):
        self.host.ip(*arguments)
        if undo:
            self._undo.callback(self.host.ip, *undo)

    def sysctl(self, name, value):
        before = self.host.run("sysctl", "-n", name).stdout.strip()
        self.host.run("sysctl", "-qw", f"{name}={value}")
        self._undo.callback(self.host.run, "sysctl", "-qw", f"{name}={before}")

    def nic(self, name, *addresses, mtu=1500):
        self.ip("link", "add", name, "type", "veth", "peer", "name", f"veth{name}")
        self._undo.callback(self.host.ip, "link", "delete", name)
        self.ip("link", "set", name, "mtu", mtu, "up")
        for address in addresses:
            self.ip("address", "add", address, "dev", name)

    def write(self, path, content):
        at = self.minion.path(path)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(content)
        self._undo.callback(at.unlink)

    def cover(self, path, files):
        """A directory of this machine shows these files, on this host."""
        self.minion.run("mount", "-t", "tmpfs", "tmpfs", path)
        self._undo.callback(self.minion.run, "umount", path)
        for name, content in files.items():
            at = self.minion.path(f"{path}/{name}")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(content)

    def listen(self, name, *ports, root=None, host=None):
        """A program of that name listens on ports, with a root directory of its own if one is given."""
        argv = [sys.executable, "-c", LISTEN, name, *map(str, ports)]
        if root:
            argv[0] = "/usr/bin/python3"
            words = " ".join(f"'{word}'" for word in argv)
            argv = ["unshare", "--mount", "sh", "-c", CONTAINED.format(root=root, argv=words)]
        process = subprocess.Popen(
            (host or self.host).command(*argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._undo.callback(process.wait)
        self._undo.callback(process.send_signal, signal.SIGKILL)
        assert process.stdout.readline() == b"listening\n"
        return process


@pytest.fixture
def host(here, fabric, server, pki):
    minion, engine = here
    datastore = etcdv2.Client([server.endpoint], **pki_support.client(pki))
    datastore.delete("/calico", recursive=True)
    for path in ("/etc/cni", "/etc/calico"):
        shutil.rmtree(minion.path(path), ignore_errors=True)
    engine.knows(images={"calico/node:v2.6.2": {"Id": "sha256:" + "a" * 64}})
    settings = {
        "version": "v2.6.2",
        "etcd": {
            "endpoints": [server.endpoint],
            "tls": pki_support.client(pki),
        },
        "node": {"name": "node1"},
        "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
    }
    with contextlib.ExitStack() as undo:
        found = Host(minion, engine, fabric.hosts[0], datastore, settings, undo)
        # Whatever this machine has there is not this host's.
        for path in ("/etc/sysctl.d", "/etc/NetworkManager", "/usr/lib/sysctl.d", "/usr/lib/NetworkManager"):
            if minion.path(path).is_dir():
                found.cover(path, {})
        yield found


V3 = {"version": "v3.22.5"}


# --- all is well -----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, V3])
def test_before_the_first_run(host, changes):
    assert host.check(**changes) == {}


def test_while_calico_runs(host, tmp_path):
    """Its own name, address, CNI configuration and programs are nobody else's."""
    register(host.datastore, "node1", host.address)
    register(host.datastore, "node2", "198.51.100.2")
    host.write("/etc/cni/net.d/10-calico.conf", '{"type": "calico"}')
    host.listen("bird", 179, root=tmp_path / "bird")
    host.listen("calico-felix", 9099, root=tmp_path / "felix")
    assert host.check() == {}


# --- the kernel ------------------------------------------------------------------------------------


def test_a_mode_that_the_kernel_lacks(host):
    has_ipip = calico_kernel.ask(["ipip"])["ipip"]
    found = host.check(network__pools=[{"cidr": "172.20.0.0/16", "ipip": "always"}], cni__mtu=1400)
    assert ("kernel" in found) is not has_ipip
    if not has_ipip:
        assert found["kernel"]["level"] == "error"
        assert found["kernel"]["seen"] == "no ipip, for pools with ipip: always"


def test_a_mode_of_pools_that_only_the_datastore_has(host):
    host.datastore.put("/calico/v1/ipam/v4/pool/10.9.0.0-16", pool("10.9.0.0/16", ipip="tunl0", ipip_mode=""))
    found = host.check(cni__mtu=1400)
    assert ("kernel" in found) is not calico_kernel.ask(["ipip"])["ipip"]


def test_a_loose_check_of_source_addresses(host):
    host.sysctl("net.ipv4.conf.all.rp_filter", 2)
    found = host.check()
    assert found.pop("net.ipv4.conf.all.rp_filter")["level"] == "error"
    assert found == {}
    assert host.check(felix__IgnoreLooseRPF=True) == {}
    assert host.check(**V3) == {}


def test_forwarding_of_ipv6(host):
    host.sysctl("net.ipv6.conf.all.forwarding", 0)
    assert host.check() == {}
    pools = [{"cidr": "172.20.0.0/16"}, {"cidr": "fd00:1::/64", "nat_outgoing": False}]
    # The datastore has no such pool, and the host no calicoctl to write it.
    found = host.check(network__pools=pools)
    assert {what: item["level"] for what, item in found.items()} == {
        "calico:calicoctl:path": "error",
        "net.ipv6.conf.all.forwarding": "warning",
    }


def test_forwarding_that_is_taken_back_at_the_next_boot(host):
    host.write("/etc/sysctl.d/90-hardening.conf", "net.ipv4.ip_forward = 0\n")
    (found,) = host.check().values()
    assert found["what"] == "net.ipv4.ip_forward"
    assert "/etc/sysctl.d/90-hardening.conf says 0" in found["seen"]
    host.write("/etc/sysctl.d/99-last.conf", "net/ipv4/ip_forward=1\n")
    assert host.check() == {}


def test_forwarding_that_was_taken_back(host):
    host.write("/etc/sysctl.d/60-calico.conf", "net.ipv4.ip_forward = 1\n")
    assert host.check() == {}
    host.sysctl("net.ipv4.ip_forward", 0)
    assert host.check()["net.ipv4.ip_forward"]["level"] == "warning"


def test_encryption_that_the_kernel_lacks(host):
    host.settings["cni"] = {"mtu": 1440}
    found = host.check(**V3, felix__WireguardEnabled=True)
    assert ("kernel" in found) is not calico_kernel.ask(["wireguard"])["wireguard"]
    for item in found.values():
        assert (item["level"], item["seen"]) == ("warning", "no wireguard, for WireguardEnabled")


@pytest.mark.parametrize(("limit", "level"), [("65535", "warning"), ("65536", None)])
def test_a_table_of_connections_that_is_too_small(host, limit, level):
    """The kernel has one limit for all hosts of this machine: this one is shown another."""
    if not Path(CONNTRACK_MAX).exists():
        pytest.skip("this kernel follows no connections")
    host.write("/etc/limit", limit + "\n")
    host.minion.run("mount", "--bind", "/etc/limit", CONNTRACK_MAX)
    try:
        found = host.check()
    finally:
        host.minion.run("umount", CONNTRACK_MAX)
    assert {what: item["level"] for what, item in found.items()} == (
        {"net.netfilter.nf_conntrack_max": level} if level else {}
    )


@pytest.fixture(scope="module")
def lesser(fabric, tmp_path_factory):
    """A minion on the first host that gets no socket of netfilter's netlink."""
    if not kernels.known():
        pytest.skip("no seccomp filter for this machine")
    python = kernels.interpreter(tmp_path_factory.mktemp("lesser"))
    with (
        tempfile.TemporaryDirectory(prefix="calico-minion-") as directory,
        minion_support.Minion(Path(directory) / "m", network=fabric.hosts[0].name, python=python) as minion,
    ):
        yield minion


# What Felix needs of a kernel in any mode but that of native nftables.
NEEDED = (*calico_preflight.LEGACY, *calico_preflight.MATCHES, *calico_preflight.SETS)
MATCHES = (
    "no xt_set, xt_mark, xt_conntrack, xt_addrtype, xt_multiport, xt_comment, for Felix' rules in iptables"
)
SETS = "no ip_set, ip_set_hash_ip, ip_set_hash_net, for the IP sets of Felix' rules"
TABLES = "no iptable_filter, iptable_nat, iptable_mangle, iptable_raw"


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({}, {f"{TABLES}, for Felix' rules in iptables", MATCHES, SETS}),
        (V3, {f"{TABLES} and no nf_tables, nft_compat, for Felix' rules in iptables", MATCHES, SETS}),
        (
            {"version": "v3.32.1", "felix__NFTablesMode": "Enabled"},
            {"no nf_tables, for Felix' rules in nftables"},
        ),
    ],
)
def test_a_kernel_that_lacks_what_felix_needs(host, lesser, changes, lacking):
    """Its files name nothing, and netfilter's netlink is not there."""
    with kernels.hidden(lesser, "CONFIG_NETFILTER=y\n"):
        found = host.kernel(lesser, **changes)
    assert found == dict.fromkeys(lacking, "error")


def test_a_kernel_whose_files_tell_nothing_is_asked(host, lesser):
    """As in a container without them: the answer is all that there is, and the rest stays unknown."""
    with kernels.hidden(lesser, None):
        assert host.kernel(lesser) == {"no ip_set, for the IP sets of Felix' rules": "error"}
        found = host.kernel(lesser, version="v3.32.1", felix__NFTablesMode="Enabled")
        assert found == {"no nf_tables, for Felix' rules in nftables": "error"}


def test_a_kernel_without_ebpf_or_vxlan(host, lesser):
    """Of eBPF its files tell; whether it knows VXLAN, it is asked itself, and is right against its files."""
    has = "".join(f"CONFIG_{calico_kernel.FEATURES[name]['option']}=y\n" for name in NEEDED)
    pools = [{"cidr": "172.20.0.0/16", "vxlan": "always"}]
    with kernels.hidden(lesser, has):
        found = host.kernel(lesser, **V3, felix__BPFEnabled=True, network__pools=pools)
    lacking = {"no bpf_syscall, cgroup_bpf, cls_bpf, sch_ingress, for BPFEnabled": "warning"}
    if not calico_kernel.ask(["vxlan"])["vxlan"]:
        lacking["no vxlan, for pools with vxlan: always"] = "error"
    assert found == lacking


# --- the node's address ----------------------------------------------------------------------------


def test_several_interfaces(host):
    host.nic("nic1", "203.0.113.7/24")
    setting = "calico:node:ip_autodetection_method"
    (found,) = host.check().values()
    assert (found["what"], found["level"]) == (setting, "warning")
    # calico-node begins with the interface that was made last.
    assert "would be nic1 203.0.113.7/24" in found["seen"]
    assert f"eth0 {host.address}/24" in found["seen"]
    assert host.check(node__ip_autodetection_method="interface=nic1") == {}
    assert host.check(node__ip_autodetection_method="skip-interface=nic1") == {}
    assert host.check(node__ip_autodetection_method="can-reach=203.0.113.9") == {}
    assert host.check(node__ip=host.host.address) == {}
    # It was chosen once, and stays.
    register(host.datastore, "node1", host.address)
    assert host.check() == {}


def test_no_address_would_be_found(host):
    method = "interface=ib.*"
    (found,) = host.check(node__ip_autodetection_method=method).values()
    assert found["level"] == "error"
    assert found["seen"] == "interface=ib.* finds no IPv4 address"


def test_an_address_that_no_interface_has(host):
    (found,) = host.check(node__ip="203.0.113.7/24").values()
    assert (found["what"], found["level"]) == ("calico:node:ip", "error")
    assert f"(there is eth0 {host.address}/24)" in found["seen"]


def test_the_address_has_changed_since_the_node_registered(host):
    register(host.datastore, "node1", "198.51.100.7")
    (found,) = host.check().values()
    assert (found["what"], found["level"]) == ("address of node node1", "error")
    assert "198.51.100.7, which no interface has" in found["seen"]
    (found,) = host.check(node__ip="autodetect").values()
    assert (found["what"], found["level"]) == ("node name", "warning")


def test_another_host_has_the_name(host, fabric):
    other = fabric.hosts[1]
    host.listen("bird", 179, host=other)
    register(host.datastore, "node1", other.plain_address)
    for address in ("", "autodetect", host.host.address):
        found = host.check(node__ip=address)
        assert found["node name"]["level"] == "error", found
        assert "another host of this network has that address" in found["node name"]["seen"]


def test_a_peer_is_for_a_node_that_nobody_knows(host):
    register(host.datastore, "node2", "198.51.100.2")
    peers = [{"peer_ip": "198.51.100.9", "as_number": 64900, "node": name} for name in ("node1", "nod2")]
    found = host.check(network__peers=peers)
    # The host has no calicoctl to write them.
    assert set(found) == {"calico:network:peers", "calico:calicoctl:path"}
    assert found["calico:network:peers"]["level"] == "warning"
    assert found["calico:network:peers"]["seen"] == "the datastore knows no node nod2"
    register(host.datastore, "nod2", "198.51.100.3")
    assert set(host.check(network__peers=peers)) == {"calico:calicoctl:path"}


def test_another_node_has_the_address(host):
    register(host.datastore, "node2", host.address)
    (found,) = host.check().values()
    assert (found["what"], found["level"]) == ("address of node node1", "error")
    assert "registered by node node2" in found["seen"]


def test_the_hosts_name_has_changed(host):
    host.cover("/var/lib", {"calico/nodename": "old1\n"})
    assert host.check(**V3) == {}
    key = "/calico/resources/v3/projectcalico.org/nodes/old1"
    old = {"kind": "Node", "metadata": {"name": "old1"}, "spec": {"bgp": {"ipv4Address": host.host.address}}}
    with v3_key(host, key, old):
        (found,) = host.check(**V3).values()
    assert (found["what"], found["level"]) == ("address of node node1", "error")
    assert "which this host was itself" in found["seen"]
    assert "calico:node:name to 'old1'" in found["do"]
    old["spec"] = {}
    with v3_key(host, key, old):
        (found,) = host.check(**V3).values()
    assert (found["what"], found["level"]) == ("node name", "warning")


@contextlib.contextmanager
def v3_key(host, key, value):
    tls = {name: Path(path).read_text() for name, path in host.settings["etcd"]["tls"].items()}
    with calico_etcd.Client(host.settings["etcd"]["endpoints"], tls=tls) as client:

        def call(path, **query):
            encoded = {name: calico_etcd._b64(text.encode()) for name, text in query.items()}
            client._on_any_endpoint(lambda ask: client._gateway_call(ask, path, encoded))

        call("/kv/put", key=key, value=json.dumps(value))
        try:
            yield
        finally:
            call("/kv/deleterange", key=key)


def test_the_prefix_decides_what_is_another_subnet(host):
    host.datastore.put(
        "/calico/v1/ipam/v4/pool/10.9.0.0-16", pool("10.9.0.0/16", ipip="tunl0", ipip_mode="cross-subnet")
    )
    found = host.check(node__ip=host.address, cni__mtu=1400)["address of node node1"]
    assert found["level"] == "warning"
    assert "with prefix /32, eth0 has /24" in found["seen"]
    assert "address of node node1" not in host.check(node__ip=host.host.address, cni__mtu=1400)


# --- others on the host ----------------------------------------------------------------------------


def test_ports_that_others_have(host):
    host.listen("haproxy", 9099)
    # The host's own BIRD is not calico/node's.
    bird = host.listen("bird", 179)
    found = host.check()
    assert set(found) == {"port 179", "port 9099"}
    assert {item["level"] for item in found.values()} == {"error"}
    assert f"bird (pid {bird.pid})" in found["port 179"]["seen"]
    assert "haproxy" in found["port 9099"]["seen"]
    assert set(host.check(felix__HealthPort=9199)) == {"port 179"}
    assert set(host.check(felix__HealthEnabled=False, node__backend="none")) == set()


def test_mtu_of_the_interface(host):
    host.ip("link", "set", "eth0", "mtu", "1450", undo=("link", "set", "eth0", "mtu", "1500"))
    (found,) = host.check().values()
    assert (found["what"], found["level"]) == ("calico:cni:mtu", "warning")
    assert found["seen"] == "1500 for workloads; eth0 has 1450"
    assert host.check(cni__mtu=1450) == {}
    vxlan = [{"cidr": "172.20.0.0/16", "vxlan": "always"}]
    (found,) = host.check(**V3, network__pools=vxlan, cni__mtu=1450).values()
    assert found["seen"] == "1450 for workloads; eth0 has 1450, and VXLAN takes 50"
    assert host.check(**V3, network__pools=vxlan, cni__mtu=1400) == {}
    assert host.check(**V3, network__pools=vxlan) == {}
    found = host.check(**V3, network__pools=vxlan, felix__VXLANMTU=1450)
    assert set(found) == {"calico:felix:VXLANMTU"}


def test_another_cni_configuration(host):
    host.write("/etc/cni/net.d/05-bridge.conflist", '{"plugins": [{"type": "bridge"}, {"type": "portmap"}]}')
    (found,) = host.check().values()
    assert (found["what"], found["level"]) == ("CNI configuration", "warning")
    assert found["seen"] == "/etc/cni/net.d/05-bridge.conflist (bridge, portmap) comes before 10-calico.conf"
    assert host.check(cni__enabled=False) == {}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("00-multus.conf", '{"type": "multus"}'),
        ("99-loopback.conf", '{"type": "loopback"}'),
        ("05-bridge.conf.bak", '{"type": "bridge"}'),
        # Of the other generation: the run removes it.
        ("10-calico.conf", '{"type": "calico"}'),
    ],
)
def test_cni_configurations_that_do_no_harm(host, name, content):
    host.write("/etc/cni/net.d/" + name, content)
    assert host.check(**V3) == {}


def test_network_manager(host):
    host.cover("/sys/fs/cgroup", {"system.slice/NetworkManager.service/cgroup.procs": "1\n"})
    (found,) = host.check().values()
    assert (found["what"], found["level"]) == ("NetworkManager", "warning")
    assert "unmanaged-devices+=interface-name:cali*" in found["do"]
    host.write(
        "/etc/NetworkManager/conf.d/calico.conf", "[keyfile]\nunmanaged-devices=interface-name:cali*\n"
    )
    assert host.check() == {}
    vxlan = [{"cidr": "172.20.0.0/16", "vxlan": "always"}]
    found = host.check(**V3, network__pools=vxlan)
    assert found["NetworkManager"]["seen"].endswith("vxlan.calico")


def test_a_runtime_that_is_old(host):
    host.engine.knows(images={"calico/node:v2.6.2": {"Id": "sha256:1"}}, version="18.09.1")
    assert host.check()["container runtime"]["level"] == "warning"
    host.engine.knows(version="18.09.1")
    assert host.check()["container runtime"]["level"] == "error"
    assert host.check(image_archive="/etc/passwd")["container runtime"]["level"] == "warning"


def test_no_room_for_the_image(host):
    host.minion.run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", "/opt")
    try:
        host.engine.knows(root="/opt")
        assert host.check()["disk space"]["level"] == "warning"
        # Once it is there, nothing more is needed.
        host.engine.knows(images={"calico/node:v2.6.2": {"Id": "sha256:1"}}, root="/opt")
        assert host.check() == {}
    finally:
        host.minion.run("umount", "/opt")


@pytest.mark.parametrize(("ahead", "words"), [(3600, "ahead of"), (-120, "behind"), (5, None)])
def test_a_clock_that_goes_wrong(host, fabric, ahead, words):
    """An etcd whose clock is another: all that differs from the real one is its Date."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"action": "get", "node": {"key": "/", "dir": true}}'
            self.send_response_only(200)
            self.send_header("Date", self.date_time_string(time.time() + ahead))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer((fabric.gateway, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = host.check(etcd={"endpoints": [f"http://{fabric.gateway}:{server.server_port}"]})
        server.shutdown()
    assert set(found) == ({"clock"} if words else set()), found
    if words:
        assert found["clock"]["level"] == "warning"
        assert words in found["clock"]["seen"]


def test_a_certificate_that_is_not_valid_yet_points_to_the_clock(host, pki):
    pki_support.issue(pki, "tomorrow", days=30, begins=5)
    at = str(pki / "tomorrow")
    (found,) = host.check(etcd__tls__cert=at + ".pem", etcd__tls__key=at + "-key.pem").values()
    assert "and this host's clock says 20" in found["seen"]
    assert "set this host's clock" in found["do"]


def test_a_certificate_of_another_ca_is_named_where_etcd_refuses_it(host, pki):
    pki_support.issue(pki, "stranger", ca="wrong-ca")
    at = str(pki / "stranger")
    found = host.check(etcd__tls__cert=at + ".pem", etcd__tls__key=at + "-key.pem")
    assert found["calico:etcd:endpoints"]["level"] == "error"
    assert found["calico:etcd:tls:cert"]["level"] == "warning"
    assert "CN=wrong-ca" in found["calico:etcd:tls:cert"]["seen"]
    # An etcd that is away has refused nothing.
    found = host.check(
        etcd__endpoints=["https://127.0.0.1:1"], etcd__tls__cert=at + ".pem", etcd__tls__key=at + "-key.pem"
    )
    assert set(found) == {"calico:etcd:endpoints"}


# --- packet filters --------------------------------------------------------------------------------

DROPS = "chain FORWARD of table ip filter (nftables, by iptables) drops what workloads send or get"
both_kinds = pytest.mark.skipif(
    not all(map(shutil.which, ("iptables-nft", "iptables-legacy"))), reason="needs iptables of both kinds"
)


@pytest.fixture
def docker_drops(host):
    """As Docker leaves a host on which it has switched forwarding on itself."""

    def iptables(*words):
        return host.host.run("iptables-nft", "-w", *words).stdout

    iptables("-P", "FORWARD", "DROP")
    yield iptables
    for words in (("-F",), ("-X",), ("-P", "FORWARD", "ACCEPT")):
        iptables(*words)
    host.host.run("iptables-legacy", "-F")


@both_kinds
def test_what_felix_accepts_is_dropped_in_other_tables(host, docker_drops):
    found = host.check()["packet filter"]
    assert (found["level"], found["seen"]) == (
        "error",
        DROPS + ", and Felix accepts it in iptables' legacy tables only",
    )
    assert "calico:forwarding:accept" in found["do"] and "iptables -P FORWARD ACCEPT" in found["do"]
    # Where Felix writes there itself, or may do so, it is the one to accept it; without sessions, nobody's.
    for changes in (V3, dict(V3, felix__IptablesBackend="NFT"), {"node__backend": "none"}):
        assert host.check(**changes) == {}
    assert host.check(**V3, felix__IptablesBackend="Legacy")["packet filter"]["level"] == "error"
    # This run would see to it.
    assert host.check(forwarding__accept=True) == {}
    docker_drops("-A", "FORWARD", "-p", "tcp", "-j", "ACCEPT")
    assert host.check()["packet filter"]["level"] == "warning"
    docker_drops("-P", "FORWARD", "ACCEPT")
    assert host.check() == {}


@both_kinds
def test_a_node_whose_workloads_packets_are_dropped_is_not_ready(host, docker_drops):
    host.check()
    (reason,) = [each for each in host.minion.call("calico.status")["reasons"] if "drops" in each]
    assert reason.startswith(DROPS)
    (shown,) = [each for each in host.minion.call("calico.forwarding") if each["drops"]]
    assert (shown["policy"], shown["felix"]) == ("drop", False)
    docker_drops("-P", "FORWARD", "ACCEPT")
    assert not [each for each in host.minion.call("calico.status")["reasons"] if "drops" in each]


@both_kinds
def test_rules_accept_what_would_be_dropped(host, docker_drops):
    host.check(forwarding__accept=True)
    before = docker_drops("-S")
    would = host.minion.state("calico.forwarding_accepted", name="x", test=True)
    assert would["result"] is None and list(would["changes"]) == [DROPS.partition(" drops")[0]]
    assert docker_drops("-S") == before
    done = host.minion.state("calico.forwarding_accepted", name="x")
    assert done["result"] is True and done["changes"] == would["changes"]
    rules = docker_drops("-S", "FORWARD").splitlines()
    assert [line.split()[2:4] for line in rules[1:]] == [["-o", "cali+"], ["-i", "cali+"]]
    assert host.minion.state("calico.forwarding_accepted", name="x")["changes"] == {}
    # The unit makes sure of the same rules, and of no others.
    for command in host.minion.call("calico.container")["unit"]["forwarding"]:
        host.host.run("sh", "-c", command)
    assert docker_drops("-S", "FORWARD").splitlines() == rules
    docker_drops("-F", "FORWARD")
    for command in host.minion.call("calico.container")["unit"]["forwarding"]:
        host.host.run("sh", "-c", command)
    assert sorted(docker_drops("-S", "FORWARD").splitlines()) == sorted(rules)
    assert not [each for each in host.minion.call("calico.status")["reasons"] if "drops" in each]


@both_kinds
def test_rules_that_are_not_needed_are_not_made(host):
    host.check(forwarding__accept=True)
    done = host.minion.state("calico.forwarding_accepted", name="x")
    assert (done["result"], done["changes"]) == (True, {})
    assert "cali+" not in host.host.run("iptables-nft", "-S").stdout
