"""
What a host shows of Calico, as data: interfaces, routes, BGP's sockets, Felix's health, the unit.

Each source has a pure parser (text in, data out) and a thin reader. What is not there is an empty
result; what could not be read, or makes no sense, is a :class:`HostError`.
"""

import datetime
import ipaddress
import json
import os
import re
import socket
import subprocess
import sys
import time

import calico_iproute

# Beside the interfaces of workloads: those that carry traffic between hosts.
TUNNELS = ("tunl0", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali")
# Who writes Calico's routes: BIRD, and Felix (80) with VXLAN. iproute2 may show BIRD as a number.
ROUTE_PROTOCOLS = ("bird", "12", "80")
# What route(8) knows: it prints other kinds (blackhole) as a route on no interface.
_REJECTING = ("unreachable", "prohibit")

_TCP_STATES = (  # from 1, as the kernel numbers them
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)
_SOCKET = re.compile(
    r" *[0-9]+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) "
    r"([0-9A-F]{2}) ([0-9A-F]{8}):([0-9A-F]{8}) \S+ \S+ +[0-9]+ +[0-9]+ ([0-9]+)(?: .*)?"
)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r?\n")
MAX_ANSWER = 64 * 1024


class HostError(Exception):
    """
    ``kind`` is one of: missing (no such program or file), failed, silent, garbage; ``code`` is how a
    program ended, where that is what failed.
    """

    def __init__(self, kind, text, code=None):
        super().__init__(text)
        self.kind = kind
        self.code = code


# --- Interfaces ------------------------------------------------------------------------------


def interfaces(prefixes=("cali",), timeout=5.0):
    """Return this host's Calico interfaces, see :func:`parse_interfaces`."""
    text = ip(["-details", "address", "show"], timeout)
    return parse_interfaces(text, prefixes)


def parse_interfaces(text, prefixes=("cali",)):
    """
    Return the Calico interfaces in the output of ``ip -json -details address show``.

    Those of workloads (a name with one of ``prefixes``) and the tunnels; each with ``name``,
    ``kind`` (veth, ipip, vxlan, wireguard, …), ``state`` (as ``ip`` shows it), ``up``, ``mtu``,
    ``mac`` (None on a tunnel) and ``addresses`` (with prefix length).
    """
    found = []
    for link in ip_rows(text, "ifname"):
        name = link["ifname"]
        if not (name.startswith(tuple(prefixes)) or name in TUNNELS):
            continue
        found.append(
            {
                "name": name,
                "kind": link.get("linkinfo", {}).get("info_kind", ""),
                "state": link.get("operstate", ""),
                "up": "UP" in link.get("flags", ()),
                "mtu": link.get("mtu"),
                "mac": link.get("address") if link.get("link_type") == "ether" else None,
                "addresses": [
                    f"{address['local']}/{address['prefixlen']}"
                    for address in link.get("addr_info", ())
                    if "local" in address and "prefixlen" in address
                ],
            }
        )
    return sorted(found, key=lambda link: link["name"])


# --- Routes ----------------------------------------------------------------------------------


def kernel_routes(family=4, prefixes=("cali",), timeout=5.0):
    """Return Calico's routes in this host's main table, see :func:`parse_routes`."""
    return parse_routes(routes_text(family, timeout), family, prefixes)


def routes_text(family=4, timeout=5.0):
    """What ``ip -json route show`` prints of this host's main table."""
    return ip([f"-{family}", "route", "show"], timeout)


def parse_routes(text, family=4, prefixes=("cali",)):
    """
    Return Calico's routes in the output of ``ip -json route show``, as ``route -n`` shows them.

    Calico's are those that BIRD or Felix wrote, and those to workloads (on an interface with one
    of ``prefixes``). Each has ``network``, ``destination``, ``gateway``, ``genmask``, ``flags``,
    ``metric``, ``interface`` (``*`` where a route has none), and what ``route -n`` does not tell:
    ``protocol`` and ``kind`` (unicast, blackhole, …). A route with several next hops is one row for
    each.
    """
    found = []
    for route in ip_rows(text, "dst"):
        hops = route.get("nexthops") or [route]
        protocol = {"12": "bird"}.get(route.get("protocol"), route.get("protocol", "boot"))
        workload = any(hop.get("dev", "").startswith(tuple(prefixes)) for hop in hops)
        # The kernel's own link-local route lies on every interface.
        if protocol not in ROUTE_PROTOCOLS and not (workload and protocol != "kernel"):
            continue
        found += [_route(route, hop, protocol, family) for hop in hops]
    return found


def _route(route, hop, protocol, family):
    try:
        word = {"default": "0.0.0.0/0" if family == 4 else "::/0"}.get(route["dst"], route["dst"])
        network = ipaddress.ip_network(word)
    except ValueError as err:
        raise HostError("garbage", f"ip shows a route to {route['dst']!r}: {err}") from err
    kind = route.get("type", "unicast")
    gateway = hop.get("gateway") or hop.get("via", {}).get("host")
    row = {
        "network": str(network),
        "destination": str(network.network_address),
        "gateway": gateway or ("0.0.0.0" if family == 4 else "::"),
        "genmask": str(network.netmask),
        "flags": "U" + ("G" if gateway else "") + ("H" if network.num_addresses == 1 else ""),
        "metric": route.get("metric", 0),
        "interface": hop.get("dev", "*") if kind == "unicast" else "*",
        "protocol": protocol,
        "kind": kind,
    }
    if kind in _REJECTING:
        row.update(gateway="-", flags="!", interface="-")
    return row


def blocks(routes):
    """
    Group the rows of :func:`parse_routes` by block: ``{network: {…}}``.

    ``next_hops`` is how the block is reached ([] for one of this host's own, which is a blackhole
    with more precise routes to its workloads), ``kind`` is the kind of its route, and
    ``addresses`` are the single addresses in it that have a route of their own.
    """
    found = {}
    narrow = []
    for row in routes:
        network = ipaddress.ip_network(row["network"])
        if network.prefixlen == network.max_prefixlen:
            narrow.append((network, row))
        else:
            _add_hop(found, row)
    lengths = sorted({ipaddress.ip_network(block).prefixlen for block in found}, reverse=True)
    for network, row in narrow:
        around = (str(network.supernet(new_prefix=length)) for length in lengths)
        block = next((name for name in around if name in found), None)
        if block is None:  # a block may be a single address
            _add_hop(found, row)
        else:
            found[block]["addresses"].append(row["destination"])
    return found


def _add_hop(found, row):
    block = found.setdefault(row["network"], {"kind": row["kind"], "next_hops": [], "addresses": []})
    if row["kind"] == "unicast":
        hop = {"gateway": row["gateway"], "interface": row["interface"]}
        block["next_hops"].append(hop)


# --- Sockets ---------------------------------------------------------------------------------


def sockets(port=179, programs=("bird", "bird6"), proc="/proc"):
    """
    Return this host's TCP sockets with ``port`` at either end, as ``netstat -tnp`` shows them.

    See :func:`parse_sockets`; ``pid`` and ``program`` are told for processes named in ``programs``.
    """
    found = []
    for family in ("tcp", "tcp6"):
        try:
            with open(f"{proc}/net/{family}", encoding="ascii", errors="replace") as table:
                found += parse_sockets(table.read(), family, port)
        except FileNotFoundError:  # a kernel without IPv6
            if family == "tcp":
                raise HostError("missing", f"there is no {proc}/net/tcp") from None
        except OSError as err:
            raise HostError("failed", f"{proc}/net/{family}: {err.strerror}") from err
    owners = _owners(proc, programs)
    for row in found:
        row["pid"], row["program"] = owners.get(row.pop("inode"), (None, None))
    return found


def parse_sockets(text, family="tcp", port=179):
    """
    Return the sockets with ``port`` at either end in the text of ``/proc/net/tcp`` or ``tcp6``.

    Each has ``family``, ``local_address``, ``local_port``, ``remote_address``, ``remote_port``,
    ``state``, ``receive_queue``, ``send_queue`` and ``inode``.
    """
    found = []
    for line in text.split("\n")[1:]:
        if not line.strip():
            continue
        match = _SOCKET.fullmatch(line.rstrip())
        state = int(match[5], 16) - 1 if match else -1
        if not 0 <= state < len(_TCP_STATES):
            raise HostError("garbage", f"/proc/net/{family} has the line {line[:80]!r}")
        local_port, remote_port = int(match[2], 16), int(match[4], 16)
        if port in (local_port, remote_port):
            found.append(
                {
                    "family": family,
                    "local_address": _kernel_address(match[1]),
                    "local_port": local_port,
                    "remote_address": _kernel_address(match[3]),
                    "remote_port": remote_port,
                    "state": _TCP_STATES[state],
                    "receive_queue": int(match[7], 16),
                    "send_queue": int(match[6], 16),
                    "inode": int(match[8]),
                }
            )
    return found


def _kernel_address(digits):
    """Return the address that the kernel prints as 32-bit words in the host's byte order."""
    words = bytes.fromhex(digits)
    if sys.byteorder == "little":
        words = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    return str(ipaddress.ip_address(words))


def _owners(proc, programs):
    """Return {inode: (pid, program)} of the sockets that processes named in ``programs`` hold."""
    found = {}
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                program = comm.read().rstrip("\n")
            if program not in programs:
                continue
            for descriptor in os.listdir(f"{proc}/{pid}/fd"):
                target = os.readlink(f"{proc}/{pid}/fd/{descriptor}")
                if target.startswith("socket:["):
                    found[int(target[8:-1])] = (int(pid), program)
        except OSError:  # it has ended meanwhile, or is not ours to look into
            continue
    return found


# --- Felix -----------------------------------------------------------------------------------


def felix_health(port=9099, host="127.0.0.1", timeout=1.0):
    """
    Ask Felix's health port; return ``live``, ``ready`` and ``reason`` (empty when both are good).

    ``timeout`` is for both questions together.
    """
    deadline = time.monotonic() + timeout
    found = {"live": False, "ready": False, "reason": ""}
    for key, path in (("live", "/liveness"), ("ready", "/readiness")):
        try:
            code, body = _get(host, port, path, deadline)
        except HostError as err:
            found["reason"] = f"{host}:{port} {err}"
            return found
        found[key] = 200 <= code < 400
        if not found[key] and not found["reason"]:
            said = f": {body}" if body else ""
            found["reason"] = f"{host}:{port} answers {code} to {path}{said}"
    return found


def _get(host, port, path, deadline):
    """Return the status code and the text that a GET of ``path`` gets."""
    name = f"[{host}]" if ":" in host else host
    request = f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        left = max(deadline - time.monotonic(), 0.001)
        with socket.create_connection((host, port), timeout=left) as sock:
            sock.sendall(request.encode())
            while not _complete(answer) and len(answer) < MAX_ANSWER:
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = sock.recv(MAX_ANSWER)
                if not chunk:
                    break
                answer += chunk
    except socket.timeout:
        if not _STATUS_LINE.match(answer):
            raise HostError("silent", f"does not answer {path} in time") from None
    except ConnectionRefusedError:
        text = "refuses connections: Felix does not run, or its HealthEnabled is not true"
        raise HostError("missing", text) from None
    except OSError as err:
        raise HostError("failed", f"fails: {err.strerror or err}") from err
    match = _STATUS_LINE.match(answer)
    if not match:
        raise HostError("garbage", f"answers {answer[:60]!r} to {path}, which is not HTTP")
    body = re.split(rb"\r?\n\r?\n", answer, maxsplit=1)[1:]
    text = b"".join(body).decode("utf-8", "replace")
    return int(match[1]), " ".join(text.split())


def _complete(answer):
    """True when an HTTP answer has come in full; else its end is the connection's."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = re.search(rb"(?i)\r\nContent-Length: *([0-9]{1,9}) *(?:\r\n|$)", head)
    return head[9:12] == b"204" or (length is not None and len(body) >= int(length[1]))


# A line of calico/node's programs (UTC), what they cannot go on with, and how a Go program ends by itself.
_SAID = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d+ \[([A-Z]+)\]\[\d+\] (?:\S+ \d+: )?(.*)")
_FATAL = ("FATAL", "PANIC")
_ENDED = re.compile(r"(?:panic|fatal error): .+")
LONGEST_WORDS = 400


def felix_last_words(text, now, within):
    """
    What a program of calico/node said when it ended, out of its log; "" where it did not end.

    now
        The time (datetime with its zone).
    within
        How old, in seconds, that may be: of an earlier start it says nothing.
    """
    found, at = "", None
    for line in text.splitlines():
        said = _SAID.search(line)
        if said:
            at = _utc(said[1])
        words = said[3] if said and said[2] in _FATAL else None
        # A panic is written without a time, behind what has one.
        if words is None and not said and _ENDED.match(line):
            words = line
        if words and at and abs((now - at).total_seconds()) <= within:
            found = " ".join(words.split())
    return found if len(found) <= LONGEST_WORDS else found[: LONGEST_WORDS - 1] + "…"


def _utc(text):
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None


# --- The unit --------------------------------------------------------------------------------


def service_state(unit, cgroups="/sys/fs/cgroup", proc="/proc", timeout=5.0):
    """
    Return whether systemd's ``unit`` runs: ``active``, ``main_pid``, ``seconds``, ``reason``.

    A unit with processes in its control group runs: that is read without starting a program. A
    unit that is only just being started or stopped counts, too. systemd is asked when there is no
    such process; ``reason`` then says why.
    """
    pids = processes_of(unit, cgroups)
    if pids:
        ages = {pid: age(pid, proc) for pid in pids}
        main = max(pids, key=lambda pid: ages[pid] or 0)
        return {"active": True, "main_pid": main, "seconds": ages[main], "reason": ""}
    names = "LoadState,ActiveState,SubState,Result,ExecMainStatus,MainPID"
    try:
        text = run(["systemctl", "show", f"--property={names}", "--", unit], timeout)
    except HostError as err:
        return {"active": False, "main_pid": None, "seconds": None, "reason": str(err)}
    return parse_service(text, unit)


def processes_of(unit, cgroups="/sys/fs/cgroup"):
    """Return the numbers of the processes in a unit's control group, [] where there are none."""
    for hierarchy in ("", "systemd/", "unified/"):  # cgroup v2, v1, both
        try:
            with open(f"{cgroups}/{hierarchy}system.slice/{unit}/cgroup.procs") as processes:
                pids = [int(pid) for pid in processes.read().split()]
        except (OSError, ValueError):
            continue
        if pids:
            return pids
    return []


def parse_service(text, unit):
    """Return what :func:`service_state` does, from the output of ``systemctl show``."""
    told = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
    active = told.get("ActiveState") == "active"
    main_pid = told.get("MainPID", "0")
    if active:
        reason = ""
    elif told.get("LoadState") == "not-found":
        reason = f"there is no unit {unit}"
    else:
        reason = f"{unit} is {told.get('ActiveState')} ({told.get('SubState')})"
        if told.get("Result", "success") != "success":
            reason += f", {told['Result']}, status {told.get('ExecMainStatus')}"
    return {
        "active": active,
        "main_pid": int(main_pid) if main_pid.isdecimal() and main_pid != "0" else None,
        "seconds": None,
        "reason": reason,
    }


# How Felix (2.6) and confd begin the lines that say why they end, and the two lines that each question to
# Felix' health port makes it write.
_GRAVE = re.compile(
    r"\[(?:ERROR|FATAL|PANIC)\]|: (?:ERROR|FATAL|PANIC) |^panic: |^fatal error: |failed to start$"
)
_ASKED = re.compile(r"(?:^|[ /])health\.go[ :]")


def last_words(lines, most=10):
    """
    Of a journal's lines (texts, oldest first) those that tell best why a program did not stay up.

    The last of what is grave, each but once however often it was said, and then the last lines as they
    are; without those that Felix writes whenever its health is asked. At most ``most`` of each.
    """
    lines = [line for line in lines if line.strip() and not _ASKED.search(line)]
    tail = lines[-most:]
    grave = {}
    for line in lines[:-most]:
        if _GRAVE.search(line):
            # Said again and again, it differs in time and process only.
            said = re.sub(r"[0-9]+", "0", line)
            grave.pop(said, None)
            grave[said] = line
    told = {re.sub(r"[0-9]+", "0", line) for line in tail}
    return [line for said, line in grave.items() if said not in told][-most:] + tail


def age(pid, proc="/proc"):
    """Return for how many seconds a process has run, None when it has gone."""
    try:
        with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            # The name, in parentheses, may hold anything: fields count from behind it.
            started = int(stat.read().rpartition(")")[2].split()[19])
        with open(f"{proc}/uptime", encoding="ascii") as uptime:
            up = float(uptime.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return round(up - started / os.sysconf("SC_CLK_TCK"), 1)


# --- Reading ---------------------------------------------------------------------------------


def run(argv, timeout, text=""):
    """Return what a program prints when it is told ``text``; it may take ``timeout`` seconds."""
    words = " ".join(argv)
    try:
        done = subprocess.run(
            argv,
            input=text.encode("utf-8"),
            capture_output=True,
            timeout=timeout,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        raise HostError("missing", f"there is no program '{argv[0]}' on this host") from None
    except subprocess.TimeoutExpired:
        raise HostError("silent", f"'{words}' did not end within {timeout:g} s") from None
    except OSError as err:
        raise HostError("failed", f"'{words}': {err.strerror}") from err
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        failure = f"'{words}' ended with exit code {done.returncode}: {said}"
        raise HostError("failed", failure, done.returncode)
    return done.stdout.decode("utf-8", "replace")


def ip(words, timeout):
    """What ``ip`` prints, with ``-json`` where it knows that; :func:`ip_rows` reads either."""
    try:
        return run(["ip", "-json", *words], timeout)
    except HostError as err:
        if err.code is None:
            raise
    return run(["ip", *words], timeout)


# How each kind of rows is told from what `ip` prints for people: by what all of them have.
_PLAIN = {"ifname": calico_iproute.links, "dst": calico_iproute.routes}


def ip_rows(text, key):
    """
    The objects in what :func:`ip` printed; it leaves gaps ({}) for what it does not show.

    key
        What each object has: ``ifname`` of interfaces, ``dst`` of routes.
    """
    try:
        if text.lstrip()[:1] in ("[", "{"):
            rows = json.loads(text)
        else:
            rows = _PLAIN[key](text)
    except (IndexError, ValueError) as err:
        raise HostError("garbage", f"ip printed {text[:60]!r}, which makes no sense: {err}") from err
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise HostError("garbage", f"ip printed {text[:60]!r}, which is no list of objects")
    return [row for row in rows if isinstance(row.get(key), str)]
