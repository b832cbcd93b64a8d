"""What a host shows of Calico: text as real kernels and programs printed it, and fakes of both."""

import contextlib
import json
import socket
import threading
import time

import calico_host as host
import pytest
from hypothesis import given
from hypothesis import strategies as st

# --- Interfaces ------------------------------------------------------------------------------

LINKS = [
    {
        "ifname": "lo",
        "flags": ["LOOPBACK", "UP", "LOWER_UP"],
        "mtu": 65536,
        "operstate": "UNKNOWN",
        "link_type": "loopback",
        "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}],
    },
    {},
    {
        "ifname": "tunl0",
        "flags": ["NOARP"],
        "mtu": 1480,
        "operstate": "DOWN",
        "link_type": "ipip",
        "address": "0.0.0.0",
        "linkinfo": {"info_kind": "ipip"},
        "addr_info": [{"family": "inet", "local": "10.233.1.0", "prefixlen": 32}],
    },
    {
        "ifname": "cali97733724e79",
        "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
        "mtu": 1500,
        "operstate": "UP",
        "link_type": "ether",
        "address": "6a:87:c3:9b:cc:22",
        "linkinfo": {"info_kind": "veth"},
        "addr_info": [{"family": "inet6", "local": "fe80::6887:c3ff:fe9b:cc22", "prefixlen": 64}],
    },
]


def test_interfaces_are_those_of_workloads_and_tunnels():
    assert host.parse_interfaces(json.dumps(LINKS)) == [
        {
            "name": "cali97733724e79",
            "kind": "veth",
            "state": "UP",
            "up": True,
            "mtu": 1500,
            "mac": "6a:87:c3:9b:cc:22",
            "addresses": ["fe80::6887:c3ff:fe9b:cc22/64"],
        },
        {
            "name": "tunl0",
            "kind": "ipip",
            "state": "DOWN",
            "up": False,
            "mtu": 1480,
            "mac": None,
            "addresses": ["10.233.1.0/32"],
        },
    ]


def test_a_host_without_calico_has_no_interfaces_of_it():
    assert host.parse_interfaces(json.dumps(LINKS[:1])) == []
    assert host.parse_interfaces("") == []


@pytest.mark.parametrize("text", ["{", "no json", "{}", "[1]", 'Option "-json" is unknown'])
def test_output_that_is_not_ips_is_an_error(text):
    for parse in (host.parse_interfaces, host.parse_routes):
        with pytest.raises(host.HostError) as caught:
            parse(text)
        assert caught.value.kind == "garbage"


# --- Routes ----------------------------------------------------------------------------------

# One host's table, as `ip -json route` and `route -n` printed it at the same moment.
ROUTES = """[{"dst":"default","gateway":"172.31.78.9","dev":"v0","flags":[]},
{"type":"blackhole","dst":"10.233.1.0/26","protocol":"bird","flags":[]},
{"dst":"10.233.1.5","dev":"cali123","scope":"link","flags":[]},
{"dst":"10.233.2.0/26","gateway":"172.31.78.2","dev":"v0","protocol":"bird","flags":[]},
{"dst":"10.233.3.0/26","gateway":"172.31.78.2","dev":"v0","protocol":"bird","flags":["onlink"]},
{"dst":"10.233.4.0/26","protocol":"bird","flags":[],"nexthops":[
 {"gateway":"172.31.78.2","dev":"v0","weight":1,"flags":[]},
 {"gateway":"172.31.78.3","dev":"v0","weight":1,"flags":[]}]},
{"dst":"10.233.5.0/26","gateway":"172.31.78.2","dev":"v0","protocol":"80","flags":[]},
{"dst":"10.233.6.7","gateway":"172.31.78.2","dev":"v0","protocol":"bird","flags":[]},
{"type":"unreachable","dst":"10.233.9.0/26","protocol":"bird","metric":5,"flags":[]},
{"dst":"172.31.78.0/24","dev":"v0","protocol":"kernel","scope":"link","flags":[]}]"""
ROUTE_N = """
0.0.0.0         172.31.78.9     0.0.0.0         UG    0      0        0 v0
10.233.1.0      0.0.0.0         255.255.255.192 U     0      0        0 *
10.233.1.5      0.0.0.0         255.255.255.255 UH    0      0        0 cali123
10.233.2.0      172.31.78.2     255.255.255.192 UG    0      0        0 v0
10.233.3.0      172.31.78.2     255.255.255.192 UG    0      0        0 v0
10.233.4.0      172.31.78.2     255.255.255.192 UG    0      0        0 v0
10.233.5.0      172.31.78.2     255.255.255.192 UG    0      0        0 v0
10.233.6.7      172.31.78.2     255.255.255.255 UGH   0      0        0 v0
10.233.9.0      -               255.255.255.192 !     5      -        0 -
172.31.78.0     0.0.0.0         255.255.255.0   U     0      0        0 v0
"""


def test_routes_are_as_route_shows_them():
    shown = [line.split() for line in ROUTE_N.strip().split("\n")]
    expected = [
        (row[0], row[1], row[2], row[3], int(row[4]), row[7]) for row in shown if row[0][:4] == "10.2"
    ]
    found = [
        tuple(row[key] for key in ("destination", "gateway", "genmask", "flags", "metric", "interface"))
        for row in host.parse_routes(ROUTES)
    ]
    # route(8) knows one next hop only.
    second_hop = ("10.233.4.0", "172.31.78.3", "255.255.255.192", "UG", 0, "v0")
    assert [row for row in found if row != second_hop] == expected
    assert second_hop in found


def test_routes_tell_who_wrote_them():
    protocols = {row["network"]: row["protocol"] for row in host.parse_routes(ROUTES)}
    assert protocols["10.233.1.0/26"] == "bird"
    assert protocols["10.233.5.0/26"] == "80"
    assert "172.31.78.0/24" not in protocols


def test_birds_number_is_birds_name():
    text = '[{"dst":"10.0.0.0/26","gateway":"10.9.0.1","dev":"v0","protocol":"12"}]'
    assert host.parse_routes(text)[0]["protocol"] == "bird"


def test_blocks_tell_next_hops_and_the_addresses_inside():
    found = host.blocks(host.parse_routes(ROUTES))
    assert found["10.233.1.0/26"] == {
        "kind": "blackhole",
        "next_hops": [],
        "addresses": ["10.233.1.5"],
    }
    assert [hop["gateway"] for hop in found["10.233.4.0/26"]["next_hops"]] == [
        "172.31.78.2",
        "172.31.78.3",
    ]
    assert found["10.233.6.7/32"]["next_hops"] == [{"gateway": "172.31.78.2", "interface": "v0"}]
    assert len(found) == 7


def test_ipv6_routes():
    text = """[{"type":"blackhole","dst":"fd00:1::/122","dev":"lo","protocol":"bird","metric":1024},
    {"dst":"fd00:2::/122","gateway":"fd80::2","dev":"v0","protocol":"bird","metric":1024},
    {"dst":"fe80::/64","dev":"cali123","protocol":"kernel","metric":256}]"""
    found = host.parse_routes(text, family=6)
    assert [(row["network"], row["gateway"], row["flags"], row["interface"]) for row in found] == [
        ("fd00:1::/122", "::", "U", "*"),
        ("fd00:2::/122", "fd80::2", "UG", "v0"),
    ]


# --- Sockets ---------------------------------------------------------------------------------

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
TCP = f"""{HEAD}
   0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17001 1 0 100
   1: 014E1FAC:00B3 024E1FAC:9BA5 01 00000003:00000007 02:00000D4B 00000000     0        0 17002 2 0 20
   2: 014E1FAC:B439 034E1FAC:00B3 06 00000000:00000000 03:00001000 00000000     0        0 0 3 0
   3: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17004 1 0 100
"""
TCP6 = f"""{HEAD}
   0: 000080FDF998E224D7720000F9980100:00B3 00000000000000000000000001000000:A000 01 00000000:00000000 \
00:00000000 00000000     0        0 17005 1 0
"""


@pytest.fixture
def proc(tmp_path):
    """A /proc with one bird that holds two sockets, and a program that is none."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP)
    for pid, name, inodes in ((1346, "bird", (17001, 17002)), (99, "other", (17005,))):
        descriptors = tmp_path / str(pid) / "fd"
        descriptors.mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
        (descriptors / "0").symlink_to("/dev/null")
        for number, inode in enumerate(inodes, 1):
            (descriptors / str(number)).symlink_to(f"socket:[{inode}]")
    (tmp_path / "77").mkdir()  # has just ended
    return tmp_path


@pytest.mark.skipif(host.sys.byteorder != "little", reason="the text is a little-endian host's")
def test_sockets_are_bgps_with_the_process_that_holds_them(proc):
    (proc / "net" / "tcp6").write_text(TCP6)
    found = host.sockets(proc=str(proc))
    shown = [
        (
            f"{row['local_address']}:{row['local_port']}",
            f"{row['remote_address']}:{row['remote_port']}",
            row["state"],
            row["pid"],
            row["program"],
        )
        for row in found
    ]
    assert shown[:3] == [
        ("0.0.0.0:179", "0.0.0.0:0", "LISTEN", 1346, "bird"),
        ("172.31.78.1:179", "172.31.78.2:39845", "ESTABLISHED", 1346, "bird"),
        ("172.31.78.1:46137", "172.31.78.3:179", "TIME_WAIT", None, None),
    ]
    assert shown[3][1:] == ("::1:40960", "ESTABLISHED", None, None)
    assert (found[1]["send_queue"], found[1]["receive_queue"]) == (3, 7)


def test_a_kernel_without_ipv6_has_sockets(proc):
    assert len(host.sockets(proc=str(proc))) == 3


def test_another_port_has_other_sockets(proc):
    assert [row["local_port"] for row in host.sockets(8080, proc=str(proc))] == [8080]


@pytest.mark.parametrize(
    "line", ["garbage", TCP.split("\n")[1][:40], TCP.split("\n")[1].replace(" 0A ", " FF ")]
)
def test_a_line_that_is_no_socket_is_an_error(line):
    with pytest.raises(host.HostError) as caught:
        host.parse_sockets(f"{HEAD}\n{line}\n")
    assert caught.value.kind == "garbage"


def test_no_proc_is_an_error(tmp_path):
    with pytest.raises(host.HostError) as caught:
        host.sockets(proc=str(tmp_path))
    assert caught.value.kind == "missing"


def test_this_hosts_own_sockets():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with open("/proc/self/comm") as comm:
            name = comm.read().strip()
        (row,) = host.sockets(port, programs=(name,))
    assert (row["local_address"], row["state"], row["program"]) == ("127.0.0.1", "LISTEN", name)
    assert row["pid"] == host.os.getpid()


# --- Felix -----------------------------------------------------------------------------------


@contextlib.contextmanager
def felix(answer):
    """A health port; ``answer(path, connection)`` is called for each request."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError, IndexError):
                    answer(connection.recv(4096).split()[1].decode(), connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            with contextlib.suppress(OSError):
                socket.create_connection(listener.getsockname(), timeout=1).close()
            thread.join(5)
            assert not thread.is_alive()


def answers(live, ready=b"HTTP/1.1 204 No Content\r\n\r\n"):
    replies = {"/liveness": live, "/readiness": ready}
    return lambda path, connection: connection.sendall(replies[path])


GOOD = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(
    "good", [GOOD, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.0 302 Found\r\n\r\n"]
)
def test_felix_is_well(good):
    with felix(answers(good)) as port:
        assert host.felix_health(port) == {"live": True, "ready": True, "reason": ""}


def test_felix_is_well_and_keeps_the_connection():
    def answer(_, connection):
        connection.sendall(GOOD)
        connection.recv(4096)

    with felix(answer) as port:
        started = time.monotonic()
        assert host.felix_health(port)["ready"]
        assert time.monotonic() - started < 60


def test_felix_lives_and_is_not_ready():
    body = b"HTTP/1.1 503 Service Unavailable\r\n\r\nint_dataplane: not\n ready\n"
    with felix(answers(GOOD, body)) as port:
        found = host.felix_health(port)
    assert (found["live"], found["ready"]) == (True, False)
    assert found["reason"].endswith("answers 503 to /readiness: int_dataplane: not ready")


def test_felix_is_neither():
    bad = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
    with felix(answers(bad, bad)) as port:
        found = host.felix_health(port)
    assert (found["live"], found["ready"]) == (False, False)
    assert found["reason"].endswith("answers 503 to /liveness")


@pytest.mark.parametrize(
    ("said", "reason"),
    [(b"", "which is not HTTP"), (b"SSH-2.0-x\r\n", "SSH-2.0-x"), (b"HTTP/1.1 2", "not HTTP")],
)
def test_what_is_not_http_is_not_well(said, reason):
    with felix(answers(said)) as port:
        found = host.felix_health(port)
    assert not found["live"]
    assert reason in found["reason"]


def test_felix_refuses():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = host.felix_health(taken.getsockname()[1])
    assert (found["live"], found["ready"]) == (False, False)
    assert "refuses connections" in found["reason"]


def silent(_, connection):
    connection.recv(4096)


def dripping(_, connection):
    while True:
        connection.sendall(b"H")
        time.sleep(0.02)


@pytest.mark.parametrize("answer", [silent, dripping])
def test_felix_says_nothing_in_time(answer):
    with felix(answer) as port:
        started = time.monotonic()
        found = host.felix_health(port, timeout=0.2)
        assert time.monotonic() - started < 60
    assert not found["ready"]
    assert "does not answer /liveness in time" in found["reason"]


# --- The unit --------------------------------------------------------------------------------


@pytest.mark.parametrize("hierarchy", ["", "systemd", "unified"])
def test_a_unit_with_processes_runs(tmp_path, hierarchy):
    group = tmp_path / hierarchy / "system.slice" / "calico-node.service"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(f"{host.os.getpid()}\n")
    found = host.service_state("calico-node.service", cgroups=str(tmp_path))
    assert found["active"]
    assert found["main_pid"] == host.os.getpid()
    assert 0 <= found["seconds"] < 24 * 3600


def test_systemd_is_asked_why_a_unit_has_no_process(tmp_path, monkeypatch):
    group = tmp_path / "system.slice" / "calico-node.service"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text('#!/bin/sh\necho "ActiveState=failed\nSubState=failed\nResult=exit-code"\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = host.service_state("calico-node.service", cgroups=str(tmp_path))
    assert not found["active"]
    assert found["reason"].startswith("calico-node.service is failed (failed), exit-code")


def test_a_host_without_systemd_has_no_unit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = host.service_state("calico-node.service", cgroups=str(tmp_path))
    assert (found["active"], found["reason"]) == (False, "there is no program 'systemctl' on this host")


@pytest.mark.parametrize(
    ("text", "active", "reason"),
    [
        ("LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=12\n", True, ""),
        ("LoadState=not-found\nActiveState=inactive\n", False, "there is no unit u"),
        (
            "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\n"
            "ExecMainStatus=125\nMainPID=0\n",
            False,
            "u is activating (auto-restart), exit-code, status 125",
        ),
        (
            "LoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\n",
            False,
            "u is inactive (dead)",
        ),
    ],
)
def test_what_systemd_says(text, active, reason):
    found = host.parse_service(text, "u")
    assert (found["active"], found["reason"]) == (active, reason)


# --- Anything at all -------------------------------------------------------------------------


@given(text=st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text):
    for parse in (host.parse_interfaces, host.parse_routes, host.parse_sockets):
        with contextlib.suppress(host.HostError):
            parse(text)


def test_a_program_that_fails_is_quoted(tmp_path, monkeypatch):
    program = tmp_path / "ip"
    program.write_text('#!/bin/sh\necho "Option -json is unknown" >&2; exit 255\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for read in (host.interfaces, host.kernel_routes):
        with pytest.raises(host.HostError) as caught:
            read()
        assert caught.value.kind == "failed"
        assert "exit code 255: Option -json is unknown" in str(caught.value)


def test_a_program_that_hangs_is_left(tmp_path, monkeypatch):
    program = tmp_path / "ip"
    program.write_text("#!/bin/sh\nexec sleep 10\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(host.HostError) as caught:
        host.interfaces(timeout=0.2)
    assert caught.value.kind == "silent"
