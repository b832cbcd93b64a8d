"""What a host shows before Calico runs on it: parsers on captured texts, readers on a root of their own."""

import json
import os
import socket

import calico_host
import calico_probe
import pytest

from tests.support import work

# As `ip -json address show` prints (iproute2 6.1), shortened.
ADDRESSES = [
    {
        "ifindex": 1,
        "ifname": "lo",
        "flags": ["LOOPBACK", "UP", "LOWER_UP"],
        "mtu": 65536,
        "addr_info": [
            {"family": "inet", "local": "127.0.0.1", "prefixlen": 8, "scope": "host"},
            {"family": "inet6", "local": "::1", "prefixlen": 128, "scope": "host"},
        ],
    },
    {},
    {
        "ifindex": 2,
        "ifname": "eth0",
        "mtu": 1450,
        "addr_info": [
            {"family": "inet", "local": "192.0.2.2", "prefixlen": 24, "scope": "global"},
            {"family": "inet", "local": "192.0.2.3", "prefixlen": 24, "scope": "global", "secondary": True},
            {"family": "inet6", "local": "FD00::0002", "prefixlen": 64, "scope": "global"},
            {},
        ],
    },
    {"ifindex": 3, "ifname": "cali1", "mtu": 1440, "addr_info": []},
]
ARP = """\
IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         aa:bb:cc:dd:ee:ff     *        eth0
192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.7        0x1         0x6         aa:bb:cc:dd:ee:fe     *        eth0
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0
   1: 0100007F:238B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0
   2: 0A3DA8C0:9C40 0B3DA8C0:00B3 01 00000000:00000000 00:00000000 00000000     0        0 103 1 0 20 4
   3: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 104 1 0 100 0
"""


def write(root, files):
    for path, content in files.items():
        at = root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(content)


# --- interfaces ------------------------------------------------------------------------------------


def test_interfaces_with_their_addresses():
    lo, eth0, cali1 = calico_probe.parse_links(json.dumps(ADDRESSES))
    assert (lo["name"], eth0["name"], cali1["name"]) == ("lo", "eth0", "cali1")
    assert eth0["mtu"] == 1450
    assert cali1["addresses"] == []
    assert eth0["addresses"] == [
        {"address": "192.0.2.2", "length": 24, "family": 4},
        {"address": "192.0.2.3", "length": 24, "family": 4},
        {"address": "fd00::2", "length": 64, "family": 6},
    ]


def test_what_ip_prints_else_is_an_error():
    with pytest.raises(calico_host.HostError):
        calico_probe.parse_links("Usage: ip")


def test_this_machines_own():
    assert "127.0.0.1" in [entry["address"] for link in calico_probe.links() for entry in link["addresses"]]
    assert calico_probe.source_towards("127.0.0.1", 4) == "127.0.0.1"
    assert calico_probe.source_towards("no address", 4) is None


def test_neighbours_that_have_answered():
    assert calico_probe.parse_neighbours(ARP) == {"192.0.2.1", "192.0.2.7"}
    assert calico_probe.parse_neighbours("") == set()


def test_that_somebody_answers_is_no_proof_without_a_neighbour(tmp_path):
    """Firewalls and proxies answer for hosts that there are not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        write(tmp_path, {"net/arp": ARP})
        assert calico_probe.answers("127.0.0.1", port, str(tmp_path)) is False
        write(tmp_path, {"net/arp": ARP.replace("192.0.2.1 ", "127.0.0.1 ")})
        assert calico_probe.answers("127.0.0.1", port, str(tmp_path)) is True
    assert calico_probe.answers("127.0.0.1", port, str(tmp_path)) is False


# --- the kernel's settings -------------------------------------------------------------------------


def test_settings_of_the_kernel(tmp_path):
    write(tmp_path, {"proc/sys/net/ipv4/ip_forward": "1\n", "proc/sys/net/odd": "1 2\n"})
    names = ["net.ipv4.ip_forward", "net.odd", "net.not.there"]
    assert calico_probe.sysctls(names, str(tmp_path)) == {"net.ipv4.ip_forward": 1}


def test_files_that_set_them(tmp_path):
    write(
        tmp_path,
        {
            "usr/lib/sysctl.d/50-default.conf": "-net.ipv4.conf.all.rp_filter = 2\n",
            "usr/lib/sysctl.d/90-twice.conf": "net.ipv4.ip_forward = 0\n",
            "etc/sysctl.d/90-twice.conf": "# net.ipv4.ip_forward = 0\n; x = 1\n\nnet/ipv4/ip_forward=1\n",
            "etc/sysctl.d/README": "net.ipv4.ip_forward = 0\n",
            "run/sysctl.d/10-first.conf": "",
        },
    )
    assert calico_probe.sysctl_files(str(tmp_path)) == [
        ("/run/sysctl.d/10-first.conf", {}),
        ("/usr/lib/sysctl.d/50-default.conf", {"net.ipv4.conf.all.rp_filter": "2"}),
        ("/etc/sysctl.d/90-twice.conf", {"net.ipv4.ip_forward": "1"}),
    ]


# --- ports -----------------------------------------------------------------------------------------


@pytest.fixture
def proc(tmp_path):
    """A /proc with BIRD in a container, Felix' port with a program of the host, and this process."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write(tmp_path, {"proc/net/tcp": TCP, "proc/net/tcp6": TCP.partition("\n")[0] + "\n"})

    def process(pid, name, root, *inodes):
        at = tmp_path / "proc" / str(pid)
        write(at, {"comm": name + "\n"})
        (at / "root").symlink_to(root)
        (at / "fd").mkdir()
        for number, inode in enumerate(inodes):
            (at / "fd" / str(number)).symlink_to(f"socket:[{inode}]")

    process("self", "salt-minion", outside)
    process(7, "bird", inside, 101, 103)
    process(8, "haproxy", outside, 102)
    return tmp_path / "proc"


def by_table(ports, proc):
    """Where the kernel cannot be asked."""
    return calico_probe.listeners(ports, str(proc), ask=lambda: None)


def test_who_listens(proc):
    assert by_table([179, 9099], proc) == [
        {"port": 179, "address": "0.0.0.0", "pid": 7, "program": "bird", "ours": True},
        {"port": 9099, "address": "127.0.0.1", "pid": 8, "program": "haproxy", "ours": False},
    ]
    assert by_table([180], proc) == []


def test_a_bird_of_the_hosts_is_not_ours(proc):
    (proc / "7" / "root").unlink()
    (proc / "7" / "root").symlink_to(proc.parent / "outside")
    (bird,) = by_table([179], proc)
    assert (bird["program"], bird["ours"]) == ("bird", False)


def test_a_listener_that_cannot_be_told(proc):
    (proc / "8" / "fd" / "0").unlink()
    (found,) = by_table([9099], proc)
    assert (found["pid"], found["program"], found["ours"]) == (None, None, False)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_tells_who_listens(family, address):
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        # One that only talks, from the same port.
        with socket.create_connection((address, port)), listener.accept()[0]:
            (found,) = calico_probe.listeners([port])
            with open("/proc/self/comm") as comm:
                program = comm.read().strip()
            assert found == {
                "port": port,
                "address": address,
                "pid": os.getpid(),
                "program": program,
                "ours": False,
            }
            (by_file,) = calico_probe.listeners([port], ask=lambda: None)
            assert by_file == found
    assert calico_probe.listeners([port]) == []


def test_what_is_not_asked_for_in_a_long_table_is_passed_over(proc):
    lines = [
        f"   4: 0A3DA8C0:{port:04X} 0B3DA8C0:0050 01 00000000:00000000 00:00000000 00000000 0 0 9 1 0"
        for port in range(1024, 61024)
    ]
    (proc / "net" / "tcp").write_text(TCP + "\n".join(lines) + "\n")
    found, calls = work.calls(lambda: by_table([179, 9099], proc))
    assert len(found) == 2
    assert calls < 10 * len(lines), "of each line no more is looked at than its port"


# --- files of others -------------------------------------------------------------------------------


def test_cni_configurations(tmp_path):
    write(
        tmp_path,
        {
            "etc/cni/net.d/10-calico.conflist": '{"plugins": [{"type": "calico"}, {"type": "portmap"}]}',
            "etc/cni/net.d/05-bridge.conf": '{"type": "bridge"}',
            "etc/cni/net.d/01-broken.json": "{",
            "etc/cni/net.d/calico-kubeconfig": "",
            "etc/cni/net.d/whereabouts.d/x.conf": "",
        },
    )
    assert calico_probe.cni_configurations(str(tmp_path)) == [
        {"name": "01-broken.json", "types": []},
        {"name": "05-bridge.conf", "types": ["bridge"]},
        {"name": "10-calico.conflist", "types": ["calico", "portmap"]},
    ]
    assert calico_probe.cni_configurations(str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize(
    "content", [None, "", "null", "[]", '{"plugins": 7}', '{"plugins": [7]}', '{"type": 7}', '"x"']
)
def test_what_is_no_cni_configuration_names_no_plugin(content):
    assert calico_probe.parse_cni(content) == []


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        ([], []),
        (["[main]\nplugins=keyfile\n"], []),
        (
            ["[keyfile]\nunmanaged-devices=interface-name:cali*;mac:0a:0b:0c:0d:0e:0f\n"],
            ["interface-name:cali*", "mac:0a:0b:0c:0d:0e:0f"],
        ),
        (["[keyfile]\nunmanaged-devices = a, b\n", "[keyfile]\nunmanaged-devices=c\n"], ["c"]),
        (["[keyfile]\nunmanaged-devices=a\n", "[keyfile]\nunmanaged-devices+=b\n"], ["a", "b"]),
        (["[device-calico]\nmatch-device=interface-name:cali*\nmanaged=0\n"], ["interface-name:cali*"]),
        (["[device]\nmatch-device=type:veth\nmanaged=1\n"], []),
        # A broken file does not hide the others.
        (["no section\n", "[keyfile]\nunmanaged-devices=a\n"], ["a"]),
    ],
)
def test_what_network_manager_leaves_alone(contents, told):
    files = [(str(number), content) for number, content in enumerate(contents)]
    assert calico_probe.parse_network_manager(files) == told


def test_network_manager_counts_only_where_it_runs(tmp_path):
    cgroups, root = tmp_path / "cgroup", tmp_path / "root"
    conf = "[keyfile]\nunmanaged-devices=interface-name:cali*\n"
    write(
        root,
        {
            "usr/lib/NetworkManager/conf.d/calico.conf": "[keyfile]\nunmanaged-devices=x\n",
            "etc/NetworkManager/conf.d/calico.conf": conf,
            "etc/NetworkManager/NetworkManager.conf": "[main]\n",
        },
    )
    assert calico_probe.network_manager(str(root), str(cgroups)) is None
    write(cgroups, {"system.slice/NetworkManager.service/cgroup.procs": ""})
    assert calico_probe.network_manager(str(root), str(cgroups)) is None
    write(cgroups, {"systemd/system.slice/NetworkManager.service/cgroup.procs": "312\n"})
    assert calico_probe.network_manager(str(root), str(cgroups)) == ["interface-name:cali*"]


# --- room and time ---------------------------------------------------------------------------------


def test_room(tmp_path):
    found = calico_probe.room(str(tmp_path))
    assert found["path"] == str(tmp_path)
    assert 0 < found["bytes"] <= os.statvfs(tmp_path).f_frsize * os.statvfs(tmp_path).f_blocks
    assert calico_probe.room(str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(
    ("date", "now", "seconds"),
    [
        ("Tue, 24 Nov 2026 13:00:10 GMT", 1795525200.0, 10),
        ("Tue, 24 Nov 2026 12:59:00 GMT", 1795525200.0, -60),
        ("yesterday", 0, None),
        (None, 0, None),
        ("", 0, None),
    ],
)
def test_how_far_clocks_are_apart(date, now, seconds):
    assert calico_probe.skew(date, now) == seconds


# --- all together ----------------------------------------------------------------------------------

NOTHING = {"features": [], "sysctls": [], "ports": [], "reach": {}, "registered": [], "cni": True}


def test_what_cannot_be_read_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    questions = dict(NOTHING, features=["nft_compat"], sysctls=["net.x"], registered=[("192.0.2.7", 179)])
    monkeypatch.setattr(calico_probe, "listening", lambda: None)
    found = calico_probe.facts(questions, str(tmp_path), str(tmp_path), str(tmp_path))
    assert found.pop("release")
    assert found == {
        "links": None,
        "features": {"nft_compat": None},
        "sysctls": {},
        "sysctl_files": [],
        "listeners": None,
        "reach": {},
        "cni": [],
        "nodename": None,
        "network_manager": None,
        "answering": [],
    }


def test_the_name_of_the_node_as_it_registered(tmp_path):
    write(tmp_path, {"var/lib/calico/nodename": "node1\n"})
    assert calico_probe.facts(NOTHING, str(tmp_path))["nodename"] == "node1"
