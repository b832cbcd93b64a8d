"""BIRD's control socket: what real daemons said, and sockets that misbehave."""

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from pathlib import Path

import calico_bird as bird
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

RECORDINGS = Path(__file__).parents[1] / "recordings"
RECORDED = json.loads((RECORDINGS / "bird" / "bird-1.6.8-socket.json").read_text(encoding="utf-8"))
BANNER = b"0001 BIRD 1.6.8 ready.\n"
HEADING = "2002-name     proto    table    state  since       info\n"


def recorded(command, daemon="bird 1.6.8"):
    return [row["received"] for row in RECORDED if (row["sent"], row["daemon"]) == (f"{command}\n", daemon)]


# --- Sessions --------------------------------------------------------------------------------


def test_sessions_of_a_real_daemon():
    found = bird.protocols(recorded("show protocols all")[0])
    assert found[0] == {
        "name": "Mesh_172_31_78_2",
        "type": "node-to-node mesh",
        "address": "172.31.78.2",
        "port": 179,
        "state": "up",
        "since": "18:53:38",
        "info": "Established",
        "reason": "",
        "as_number": 64512,
        "local_address": "172.31.78.1",
        "imported": 2,
        "exported": 1,
        "preferred": 2,
        "established": True,
    }
    shown = [(s["address"], s["state"], s["info"], s["reason"], s["as_number"]) for s in found[1:]]
    assert shown == [
        ("172.31.78.99", "start", "Passive", "", 64512),
        ("172.31.78.98", "start", "Active", "Socket: No route to host", 64513),
        ("172.31.78.97", "down", "", "", 64512),
    ]
    assert not any(session["established"] for session in found[1:])


def test_a_session_that_is_administratively_down_is_not_dropped():
    for command in ("show protocols", "show protocols all"):
        found = bird.protocols(recorded(command)[0])
        assert [s["name"] for s in found if s["state"] == "down"] == ["Mesh_172_31_78_97"]


def test_ipv6():
    (session,) = bird.protocols(recorded("show protocols all", "bird6 1.6.8")[0])
    assert session["address"] == "fd80:24e2:f998:72d7::2"
    assert session["local_address"] == "fd80:24e2:f998:72d7::1"
    assert session["established"]


@pytest.mark.parametrize("daemon", ["bird 1.6.8", "bird6 1.6.8"])
def test_names_alone_tell_the_same_addresses(daemon):
    pairs = zip(recorded("show protocols", daemon), recorded("show protocols all", daemon))
    for short, long in pairs:
        keys = ("name", "type", "address", "port", "state", "since", "info", "established")
        assert [[s[key] for key in keys] for s in bird.protocols(short)] == [
            [s[key] for key in keys] for s in bird.protocols(long)
        ]


def table_of(stdout, section):
    """Read one section of calicoctl's table: joins the rows that it wrapped."""
    rows = []
    for line in stdout.partition(f"{section} BGP status\n")[2].split("\n\n")[0].split("\n"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or cells[0] == "PEER ADDRESS":
            continue
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells)]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(
    ("section", "daemon"), [("IPv4", "bird 1.6.8"), ("IPv6", "bird6 1.6.8")], ids=["v4", "v6"]
)
@pytest.mark.parametrize("version", ["v1.6.3", "v3.22.5", "v3.32.1"])
def test_agrees_with_calicoctls_table(version, section, daemon):
    """
    The tables and the socket were recorded one after the other from the same daemons: type and the
    set of peers must agree always, and the rest where BIRD had not moved on in between.
    """
    scenario = json.loads((RECORDINGS / "calicoctl" / version / "node-status.json").read_text())
    (stdout,) = {s["stdout"] for s in scenario["steps"] if "PEER ADDRESS" in s["stdout"]}
    table = table_of(stdout, section)
    ours = bird.protocols(recorded("show protocols all", daemon)[-1])
    ours = {
        s["address"]: [s["type"], s["state"], s["since"], f"{s['info']} {s['reason']}".strip()]
        for s in ours
        if s["state"] != "down"  # calicoctl leaves these out
    }
    assert {address: row[0] for address, row in ours.items()} == {
        address: row[0] for address, row in table.items()
    }
    agreeing = [
        address for address, row in ours.items() if row[1] == table[address][1] and row == table[address]
    ]
    still = {"IPv4": "172.31.78.99", "IPv6": "fd80:24e2:f998:72d7::2"}[section]
    assert still in agreeing


def one(name, state="start", info="Active", details=""):
    row = f"1002-{name} BGP      master   {state:<6} 18:51:08    {info}\n{details}0000 \n"
    (session,) = bird.protocols(HEADING + row)
    return session


@pytest.mark.parametrize(
    ("name", "kind", "address", "port"),
    [
        ("Mesh_10_0_0_1", "node-to-node mesh", "10.0.0.1", 179),
        ("Global_10_0_0_1", "global", "10.0.0.1", 179),
        ("Node_172_31_78_3_port_1790", "node specific", "172.31.78.3", 1790),
        ("Node_fd80_24e2_f998_72d7__2_port_180", "node specific", "fd80:24e2:f998:72d7::2", 180),
        ("Mesh_fd00__1_2", "node-to-node mesh", "fd00::1:2", 179),
        ("Mesh_1__2_3", "node-to-node mesh", "1::2:3", 179),
        ("Local_Workload_10_65_0_2", "local workload", "10.65.0.2", 179),
        ("uplink", "other", None, 179),
    ],
)
def test_names(name, kind, address, port):
    session = one(name)
    assert (session["type"], session["address"], session["port"]) == (kind, address, port)


def test_what_bird_says_counts_more_than_the_name():
    details = (
        "1006-  Description:    says   BGP state: and     Neighbor AS: 1\n"
        "   Routes:         7 imported, 1 filtered, 3 exported, 5 preferred\n"
        "   BGP state:          Active\n"
        "     Neighbor address: fe80::1%eth0\n"
        "     Neighbor AS:      4200000000\n"
        "     Neighbor graceful restart active\n"
        "     Last error:       Received: Administrative shutdown\n"
        " \n"
    )
    session = one("Mesh_10_0_0_1", info="Active        ", details=details)
    assert session["address"] == "fe80::1%eth0"
    assert session["as_number"] == 4200000000
    assert session["reason"] == "Received: Administrative shutdown"
    assert (session["imported"], session["exported"], session["preferred"]) == (7, 3, 5)


def test_a_session_that_is_down_for_a_reason_has_no_bgp_state():
    session = one("Mesh_10_0_0_1", "down", "Error: Hold timer expired")
    assert (session["info"], session["reason"]) == ("", "Error: Hold timer expired")


def test_a_name_that_fills_its_column_and_a_long_date():
    long_name = "Node_" + "_".join(["ffff"] * 8) + "_port_65535"
    row = f"1002-{long_name} BGP master up 2026-11-23 18:51:08  Established   \n0000 \n"
    (session,) = bird.protocols(HEADING + row)
    assert session["since"] == "2026-11-23 18:51:08"
    assert session["established"]
    assert session["address"] == ":".join(["ffff"] * 8)


def test_established_needs_a_protocol_that_is_up():
    assert not one("Mesh_10_0_0_1", "stop", "Established")["established"]


def test_no_sessions():
    assert bird.protocols(HEADING + "0000 \n") == []
    assert bird.protocols(recorded('show protocols "Nope_*"')[0]) == []


ROW = "1002-Mesh_10_0_0_1 BGP      master   up     18:51:08    Established   \n"


@pytest.mark.parametrize(
    ("text", "kind", "quoted"),
    [
        ("", "cut", "''"),
        ("hello\n", "cut", "hello"),
        (HEADING + ROW, "cut", "Mesh_10_0_0_1"),
        ((HEADING + ROW)[:-20], "cut", "up "),
        ("2002-Name Proto Table State Since Info\n" + ROW + "0000 \n", "garbage", "Name Proto"),
        ("2002-name proto state since info\n0000 \n", "garbage", "name proto state"),
        (ROW + "0000 \n", "garbage", "Mesh_10_0_0_1"),
        ("0000 \n", "garbage", "''"),
        (HEADING + "1002-Mesh_10_0_0_1 BGP up\n0000 \n", "garbage", "Mesh_10_0_0_1 BGP up"),
        (HEADING + "surprise\n0000 \n", "garbage", "surprise"),
        (HEADING + ROW + "surprise\n0000 \n", "garbage", "surprise"),
        (HEADING + ROW + "1006-  Preference: 1\nsurprise\n \n0000 \n", "garbage", "surprise"),
        (HEADING + ROW + "1006-  Preference: 1\n \n0000 \n", "garbage", "address and AS"),
        (HEADING + ROW + "0000 \n" + ROW + "0000 \n", "garbage", "0000"),
        (recorded("show nonsense")[0], "answer", "9001 syntax error"),
        (recorded("show protocols all Mesh_172_31_78_2", "bird6 1.6.8")[0], "answer", "not a proto"),
    ],
)
def test_what_is_no_table_is_an_error_that_quotes_it(text, kind, quoted):
    with pytest.raises(bird.BirdError) as caught:
        bird.protocols(text)
    assert caught.value.kind == kind
    assert quoted in str(caught.value)


# --- Routes and status -----------------------------------------------------------------------


def test_routes_of_a_real_daemon():
    found = bird.routes(recorded("show route")[0])
    shown = [
        (r["network"], r["kind"], r["via"], r["interface"], r["protocol"], r["preference"], r["metric"])
        for r in found
    ]
    assert shown == [
        ("172.31.78.0/24", "dev", None, "v0", "direct1", 240, None),
        ("10.233.11.0/26", "blackhole", None, None, "static1", 200, None),
        ("10.233.22.64/26", "via", "172.31.78.2", "v0", "Mesh_172_31_78_2", 100, 0),
        ("10.233.22.0/26", "via", "172.31.78.2", "v0", "Mesh_172_31_78_2", 100, 0),
        ("192.0.2.0/24", "dev", None, "eth0", "direct1", 240, None),
        ("172.17.0.0/16", "dev", None, "docker0", "direct1", 240, None),
    ]
    assert all(route["primary"] for route in found)
    assert found[2]["since"] == "18:53:38"
    assert bird.routes(recorded("show route", "bird6 1.6.8")[0]) == []


def test_routes_by_several_ways():
    found = bird.routes(
        "1007-10.1.0.0/26        multipath [kernel1 18:51:08] * (10)\n"
        " \tvia 172.31.78.2 on v0 weight 1\n"
        " \tvia 172.31.78.3 on v0 weight 2\n"
        " 10.2.0.0/26        via 172.31.78.2 on tunl0 onlink [Mesh_172_31_78_2 2026-11-23"
        " from 172.31.78.9] * (100/?) [AS64513i]\n"
        "                    via 172.31.78.3 on v0 [Mesh_172_31_78_3 18:51:08] (100/0) [i]\n"
        " 10.3.0.0/26        prohibited [static1 18:51:08] ! (200)\n"
        "0000 \n"
    )
    assert found[0]["next_hops"] == [
        {"via": "172.31.78.2", "interface": "v0", "weight": 1},
        {"via": "172.31.78.3", "interface": "v0", "weight": 2},
    ]
    assert found[1]["from"] == "172.31.78.9"
    assert (found[1]["interface"], found[1]["metric"]) == ("tunl0", None)
    assert found[1]["attributes"] == "[AS64513i]"
    assert (found[2]["network"], found[2]["primary"]) == ("10.2.0.0/26", False)
    assert found[3]["kind"] == "prohibit"


@pytest.mark.parametrize(
    "text",
    [
        "1007-10.1.0.0/26 sideways [static1 18:51:08] * (200)\n0000 \n",
        "1007-                   via 1.1.1.1 on v0 [x 18:51:08] * (200)\n0000 \n",
        "1007-\tvia 1.1.1.1 on v0 weight 1\n0000 \n",
        "1002-10.1.0.0/26 blackhole [static1 18:51:08] * (200)\n0000 \n",
    ],
)
def test_what_is_no_route_is_an_error(text):
    with pytest.raises(bird.BirdError) as caught:
        bird.routes(text)
    assert caught.value.kind == "garbage"


def test_status_of_a_real_daemon():
    assert bird.status(recorded("show status")[0]) == {
        "version": "1.6.8",
        "router_id": "172.31.78.1",
        "server_time": "2026-11-23 18:53:48",
        "last_reboot": "2026-11-23 18:51:08",
        "last_reconfiguration": "2026-11-23 18:53:33",
        "daemon": "Daemon is up and running",
        "graceful_restart": False,
    }


def test_a_graceful_restart_shows():
    found = bird.status(
        "1000-BIRD v0.3.2+birdv1.6.8\n1011-Router ID is 10.0.0.1\n"
        "0024-Graceful restart recovery in progress\n"
        "   Waiting for 2 protocols to recover\n   Wait timer is 100/120\n"
        "0013 Daemon is up and running\n"
    )
    assert found["graceful_restart"]
    assert found["version"] == "v0.3.2+birdv1.6.8"


# --- The socket ------------------------------------------------------------------------------


@contextlib.contextmanager
def served(directory, behave):
    """A Unix socket; ``behave(connection)`` is called for each that connects."""
    path = str(Path(directory) / "bird.ctl")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(4)
        done = threading.Event()

        def serve():
            while not done.is_set():
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield path
        finally:
            done.set()
            with socket.socket(socket.AF_UNIX) as last, contextlib.suppress(OSError):
                last.connect(path)
            thread.join(5)
            assert not thread.is_alive()


def until_closed(connection):
    while connection.recv(4096):
        pass


def says(*pieces, then=until_closed):
    """Say the first piece at once and each of the others when a command came in."""

    def behave(connection):
        connection.sendall(pieces[0])
        for piece in pieces[1:]:
            if not connection.recv(4096):
                return
            connection.sendall(piece)
        then(connection)

    return behave


def closes(connection):
    """Leave: the connection is closed when this returns."""


def drips(connection):
    connection.sendall(BANNER)
    connection.recv(4096)
    for byte in itertools.cycle(b" slow\n"):
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


def pours(line):
    def behave(connection):
        connection.sendall(BANNER)
        while True:
            connection.sendall(line * 4096)

    return behave


STATUS = recorded("show status")[0].encode()
TABLE = recorded("show protocols all")[0].encode()


def test_read_asks_a_well_behaved_socket(tmp_path):
    with served(tmp_path, says(BANNER, STATUS, TABLE)) as path:
        found = bird.read(path)
    assert found["daemon"]["router_id"] == "172.31.78.1"
    assert [session["info"] for session in found["sessions"]] == ["Established", "Passive", "Active", ""]


def test_a_reply_in_small_pieces_is_put_together(tmp_path):
    def behave(connection):
        for byte in BANNER:
            connection.sendall(bytes([byte]))
        for reply in (STATUS, TABLE):
            connection.recv(4096)
            for at in range(0, len(reply), 7):
                connection.sendall(reply[at : at + 7])

    with served(tmp_path, behave) as path:
        assert len(bird.read(path)["sessions"]) == 4


@pytest.mark.parametrize(
    ("behave", "kind", "quoted"),
    [
        (says(b""), "silent", "said nothing in greeting within 0.3 s"),
        (says(BANNER), "silent", "said nothing to 'show status' within 0.3 s"),
        (says(BANNER, STATUS), "silent", "said nothing to 'show protocols all'"),
        (says(b"hello\n"), "garbage", "hello"),
        (says(b"\x00\xff\xfe\n"), "garbage", "\\x00"),
        (says(b"0013 hello\n"), "garbage", "0013 hello"),
        (says(BANNER, b"garbage\n"), "garbage", "garbage"),
        (says(BANNER, STATUS, b"garbage\n0000 \n"), "garbage", "garbage"),
        (says(BANNER, STATUS, TABLE[:-200]), "cut", f"{len(TABLE) - 200} bytes"),
        (says(BANNER, STATUS, TABLE[:-200], then=closes), "cut", "closed the connection"),
        (says(BANNER, STATUS[:-10], then=closes), "cut", "closed the connection"),
        (says(b"", then=closes), "cut", "closed the connection"),
        (says(BANNER, STATUS, b"2002-Name Proto Info\n0000 \n"), "garbage", "Name Proto Info"),
        (says(BANNER, b"9001 syntax error\n", TABLE), "answer", "syntax error"),
        (drips, "garbage", "slow"),
    ],
)
def test_a_socket_that_misbehaves_is_told_apart(tmp_path, behave, kind, quoted):
    with served(tmp_path, behave) as path:
        started = time.monotonic()
        with pytest.raises(bird.BirdError) as caught:
            bird.read(path, timeout=0.3)
        assert time.monotonic() - started < 60
    assert caught.value.kind == kind
    assert quoted in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("line", [b" more\n", b"x"])
def test_endless_output_ends_at_a_bound(tmp_path, monkeypatch, line):
    monkeypatch.setattr(bird, "MAX_REPLY", 1024 * 1024)
    with served(tmp_path, pours(line)) as path, pytest.raises(bird.BirdError) as caught:
        bird.read(path, timeout=5)
    assert caught.value.kind == "garbage"
    assert "without an end" in str(caught.value)


def test_no_socket(tmp_path):
    for path in (tmp_path / "bird.ctl", tmp_path / "nowhere" / "bird.ctl"):
        with pytest.raises(bird.BirdError) as caught:
            bird.read(str(path))
        assert caught.value.kind == "missing"


def test_a_socket_that_nobody_serves(tmp_path):
    left_behind = str(tmp_path / "bird.ctl")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(left_behind)
    plain = tmp_path / "file"
    plain.write_text("")
    for path in (left_behind, str(plain), str(tmp_path / ("long" * 40))):
        with pytest.raises(bird.BirdError) as caught:
            bird.read(path)
        assert caught.value.kind == "refused"


def test_a_daemon_that_accepts_no_connection(tmp_path):
    path = str(tmp_path / "bird.ctl")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        for _ in range(2):  # fill its backlog
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(path)
        started = time.monotonic()
        with pytest.raises(bird.BirdError) as caught:
            bird.read(path, timeout=0.3)
        assert time.monotonic() - started < 60
    assert caught.value.kind == "silent"


# --- Anything at all -------------------------------------------------------------------------

# Words of BIRD's language, so that the nonsense comes close enough to be mistaken for it.
WORDS = st.sampled_from(
    [
        *("0000 ", "0013 ", "1002-", "1006-", "1007-", "1000-", "1011-", "2002-", HEADING, ROW),
        *("\n", " ", "\n ", "\t", "\x85", "²", "9" * 30, "BGP ", "up ", "18:51:08 "),
        *("   BGP state:  ", "\n     Neighbor AS: ", "_port_", "Mesh_"),
        *("via 10.0.0.1 on v0 ", "blackhole ", "[x y] ", "* ", "(100/0)"),
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=30).map("".join))


@settings(max_examples=400, deadline=1000)
@given(text=TEXTS)
@example(text=HEADING + "1002-Mesh_" + "9" * 5000 + " BGP master up 1 Established\n0000 \n")
@pytest.mark.parametrize("parse", [bird.protocols, bird.routes, bird.status])
def test_any_text_is_parsed_or_refused(parse, text):
    for reply in (text, f"{text}\n0000 \n", f"{HEADING}{text}\n0000 \n", f"1007-{text}\n0000 \n"):
        with contextlib.suppress(bird.BirdError):
            parse(reply)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(greeting=st.one_of(st.just(BANNER), st.binary(max_size=60)), reply=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_time(tmp_path, greeting, reply):
    with served(tmp_path, says(greeting, reply)) as path:
        started = time.monotonic()
        with contextlib.suppress(bird.BirdError):
            bird.read(path, timeout=0.05)
        assert time.monotonic() - started < 60


@pytest.mark.parametrize("line", [" " * 200_000, "a " * 100_000, "1006-" + "\n     Last error:" * 9999])
def test_a_monstrous_line_takes_no_time(line):
    started = time.monotonic()
    for parse in (bird.protocols, bird.routes, bird.status):
        with contextlib.suppress(bird.BirdError):
            parse(f"{HEADING}1002-{line}\n0000 \n")
        with contextlib.suppress(bird.BirdError):
            parse(f"1007-{line}\n0000 \n")
    assert time.monotonic() - started < 60
