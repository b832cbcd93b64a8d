"""
What BIRD says on its control socket, as data: sessions, routes, state of the daemon.

The parsers are pure (text in, data out) and take a reply as BIRD sent it, codes included. Only
:func:`query` touches a socket. The protocol, as BIRD 1.6 and Calico's fork of it speak it: after a
greeting (code 0001) each command is answered by lines ``CODE-text``; a line that begins with a
blank carries on with the code of the one before; ``CODE text`` (a blank for the dash) is the last.

Nothing is skipped in silence: what does not fit is a :class:`BirdError` that quotes it.
"""

import datetime
import re
import socket
import time

# More than a route reflector with a full table would say, and little enough to hold in memory.
MAX_REPLY = 64 * 1024 * 1024
# BIRD cuts its lines at about 1 KiB; the last line of a reply is looked for in this much.
_MAX_LINE = 8192

_HEADING = ["name", "proto", "table", "state", "since", "info"]
# A time of change is one word, or a date and a time when BIRD is told to write them so.
_ROW = re.compile(r"([^ \n]+) +([^ \n]+) +([^ \n]+) +([a-z?]+) +([^ \n]+(?: [0-9][0-9:.]+)?)(?: +([^\n]*))?")
_ROUTES = re.compile(
    r"\n   Routes: +([0-9]{1,10}) imported,(?: [0-9]{1,10} filtered,)? ([0-9]{1,10}) exported"
    r"(?:, ([0-9]{1,10}) preferred)?"
)
# In this order, and nothing between them: what follows depends on the session's state.
_BGP = re.compile(
    r"\n   BGP state:[^\n]*\n     Neighbor address: +([^ \n]+)\n     Neighbor AS: +([0-9]{1,10})\n"
)
_STRAY = re.compile(r"\n(?! )([^\n]*)")  # a line that does not carry on with the one before
_PORT = re.compile(r"_port_([0-9]{1,5})$")
_TYPES = (
    ("Mesh_", "node-to-node mesh"),
    ("Global_", "global"),
    ("Node_", "node specific"),
    ("Local_Workload_", "local workload"),
)
_ROUTE = re.compile(
    r"(?P<network>[^ \n]*) +"
    r"(?:via (?P<via>[^ ]+) on (?P<via_interface>[^ ]+)(?: [a-z]+)*|dev (?P<interface>[^ ]+)"
    r"|(?P<word>blackhole|unreachable|prohibited|multipath))"
    r" \[(?P<protocol>[^ ]+) (?P<since>[^\]]+?)(?: from (?P<source>[^ \]]+))?\]"
    r"(?P<primary> [*!])?(?: \((?P<preference>[0-9]{1,10})(?P<rest>[^)]*)\))?(?P<attributes>.*)"
)
_HOP = re.compile(r"\tvia ([^ ]+) on ([^ ]+)(?: [a-z]+)*? weight ([0-9]{1,10})(?: [a-z]+)*")
_FINAL = re.compile(r"[0-9]{4} ")


class BirdError(Exception):
    """
    BIRD could not be asked, or said what cannot be true.

    ``kind`` is one of: missing (no socket), permission, refused (a socket, nobody behind it),
    silent (no word within the deadline), cut (a reply that began and did not end), garbage (not
    BIRD's language), answer (BIRD itself reports an error).
    """

    def __init__(self, kind, text, path=None):
        super().__init__(f"{path}: {text}" if path else text)
        self.kind = kind
        self.text = text
        self.path = path


def query(path, commands, timeout=2.0):
    """
    Put ``commands`` to the daemon behind the socket ``path``; return one reply (str) for each.

    ``timeout`` is for all of it, from the connection to the last byte.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _connect(sock, path, deadline, timeout)
        greeting = _receive(sock, path, deadline, timeout, "in greeting")
        if not greeting.startswith(b"0001 "):
            text = f"greets with {_short(greeting)}, BIRD would with '0001 BIRD … ready.'"
            raise BirdError("garbage", text, path)
        replies = []
        for command in commands:
            try:
                sock.settimeout(_left(deadline))
                sock.sendall(command.encode() + b"\n")
            except socket.timeout:
                text = f"does not take '{command}' within {timeout:g} s"
                raise BirdError("silent", text, path) from None
            except OSError as err:
                text = f"closed the connection before '{command}' ({err.strerror})"
                raise BirdError("cut", text, path) from err
            replies.append(
                _receive(sock, path, deadline, timeout, f"to '{command}'").decode("utf-8", "replace")
            )
    return replies


def read(path, timeout=2.0):
    """
    Return ``{"daemon": …, "sessions": […]}`` of the BIRD behind ``path``: one connection for all.
    """
    state, table = query(path, ["show status", "show protocols all"], timeout)
    try:
        return {"daemon": status(state), "sessions": protocols(table)}
    except BirdError as err:
        raise BirdError(err.kind, err.text, path) from err


def protocols(text):
    """
    Return the BGP sessions in a reply to ``show protocols`` or ``show protocols all``, in order.

    Each has ``name``, ``type``, ``address``, ``port``, ``state``, ``since``, ``info`` (BGP's state,
    empty when the protocol is down), ``reason``, ``as_number``, ``local_address``, ``imported``,
    ``exported``, ``preferred`` and ``established``. What only ``all`` tells is None or 0 without
    it; where it tells an address, that counts, and not the protocol's name.
    """
    final = _final(text)
    if final.startswith("8003 "):  # a pattern that matches no protocol, or a daemon without any
        return []
    if not final.startswith("0000 "):
        raise BirdError("answer", f"answers {_short(final)}")
    # A big mesh answers with a megabyte: what follows takes care not to copy it once more.
    heading, *blocks = text.split("\n1002-")
    if blocks:
        blocks[-1] = blocks[-1][: -len(final) - 2]
    else:
        heading = heading[: -len(final) - 2]
    if not heading.startswith("2002-") or heading[5:].split() != _HEADING:
        shown = _short(heading.rpartition("\n")[2])
        expected = " ".join(_HEADING)
        raise BirdError("garbage", f"shows {shown} where the headings '{expected}' were expected")
    sessions = []
    for block in blocks:
        details = block.find("\n1006-")
        rows = block if details < 0 else block[:details]
        stray = _STRAY.search(block, details + 1) if details >= 0 else None
        if stray:
            text = f"shows {_short(stray[1])} among the details of a protocol"
            raise BirdError("garbage", text)
        for row in rows.split("\n "):
            match = _ROW.fullmatch(row)
            if not match:
                shown = _short(row.rpartition("\n")[2])
                raise BirdError("garbage", f"shows {shown} where a protocol was expected")
            if match[2] == "BGP":
                sessions.append(_session(match, block, details))
    return sessions


def routes(text):
    """
    Return the routes in a reply to ``show route``, in order.

    Each has ``network``, ``kind`` (via, dev, blackhole, unreachable, prohibit), ``via``,
    ``interface``, ``next_hops`` (of a multipath route, else empty), ``protocol``, ``since``,
    ``from`` (the neighbour that told, where it is not the next hop), ``primary`` (chosen),
    ``preference``, ``metric`` (None where BIRD gives none) and ``attributes``.
    """
    final = _final(text)
    if not final.startswith("0000 "):
        raise BirdError("answer", f"answers {_short(final)}")
    found = []
    for line_code, line in _lines(text):
        hop = _HOP.fullmatch(line)
        if hop and found and found[-1]["kind"] == "via":
            found[-1]["next_hops"].append({"via": hop[1], "interface": hop[2], "weight": int(hop[3])})
            continue
        match = _ROUTE.fullmatch(line)
        if line_code != "1007" or not match or not (match["network"] or found):
            raise BirdError("garbage", f"shows {_short(line)} where a route was expected")
        # A second route to the same network leaves the first column blank.
        found.append(_route(match, match["network"] or found[-1]["network"]))
    return found


def status(text):
    """
    Return what ``show status`` says.

    ``version``, ``router_id``, ``server_time``, ``last_reboot``, ``last_reconfiguration`` (as BIRD
    writes them), ``daemon`` (its own words) and ``graceful_restart`` (True while it recovers).
    """
    final = _final(text)
    if not final.startswith("0013 "):
        raise BirdError("answer", f"answers {_short(final)}")
    found = {
        "version": "",
        "router_id": "",
        "server_time": "",
        "last_reboot": "",
        "last_reconfiguration": "",
        "daemon": final[5:],
        "graceful_restart": False,
    }
    for line_code, line in _lines(text):
        if line_code == "1000":
            found["version"] = line[5:] if line.startswith("BIRD ") else line
        elif line_code == "1011":
            for start, key in _STATUS:
                if line.startswith(start):
                    found[key] = line[len(start) :]
        elif line_code == "0024":
            found["graceful_restart"] = True
        else:
            raise BirdError("garbage", f"shows {_short(line)} as its status")
    return found


def seconds_since(since, server_time):
    """
    Seconds from ``since`` (as ``show protocols`` has it) to ``server_time`` (of ``show status``).

    BIRD writes a time of day for what happened in the last 20 hours and a date for what is older: then
    it is counted from midnight, so up to a day too much. None where either is written otherwise.
    """
    try:
        now = datetime.datetime.fromisoformat(server_time[:19])
        if ":" not in since[:3]:
            then = datetime.datetime.fromisoformat(since[:19])
        else:
            then = datetime.datetime.combine(now.date(), datetime.time.fromisoformat(since[:8]))
            # Of yesterday. Both are rounded, so that what just happened may seem to lie ahead.
            if then - now > datetime.timedelta(seconds=5):
                then -= datetime.timedelta(days=1)
        return max(int((now - then).total_seconds()), 0)
    except (ValueError, TypeError):
        return None


_STATUS = (
    ("Router ID is ", "router_id"),
    ("Current server time is ", "server_time"),
    ("Last reboot on ", "last_reboot"),
    ("Last reconfiguration on ", "last_reconfiguration"),
)


def _connect(sock, path, deadline, timeout):
    while True:
        try:
            sock.settimeout(_left(deadline))
            sock.connect(path)
            return
        except (BlockingIOError, socket.timeout):
            # A full backlog: somebody listens and never accepts (a frozen daemon). A Unix socket
            # reports that at once and offers nothing to wait for.
            if time.monotonic() >= deadline:
                text = f"takes no connection within {timeout:g} s: BIRD hangs"
                raise BirdError("silent", text, path) from None
            time.sleep(0.01)
        except (FileNotFoundError, NotADirectoryError):
            raise BirdError("missing", "there is no such socket: BIRD does not run", path) from None
        except PermissionError:
            text = "permission denied: only root may ask BIRD"
            raise BirdError("permission", text, path) from None
        except OSError as err:
            text = f"nobody answers there: BIRD does not run ({err.strerror or err})"
            raise BirdError("refused", text, path) from err


def _receive(sock, path, deadline, timeout, what):
    """Read up to the last line of a reply."""
    reply = bytearray()
    while True:
        try:
            sock.settimeout(_left(deadline))
            chunk = sock.recv(1 << 16)
        except socket.timeout:
            raise _unfinished(reply, path, f"within {timeout:g} s", what) from None
        except OSError as err:
            raise _unfinished(reply, path, f"({err.strerror})", what, closed=True) from err
        if not chunk:
            raise _unfinished(reply, path, "before it closed the connection", what, closed=True)
        reply += chunk
        if reply.endswith(b"\n"):
            start = reply.rfind(b"\n", max(0, len(reply) - _MAX_LINE), len(reply) - 1) + 1
            if reply[start : start + 4].isdigit() and reply[start + 4 : start + 5] == b" ":
                return reply
        if len(reply) > MAX_REPLY:
            text = f"said {len(reply)} bytes {what} without an end: {_short(reply)}"
            raise BirdError("garbage", text, path)


def _unfinished(reply, path, when, what, closed=False):
    if not reply:
        return BirdError("cut" if closed else "silent", f"said nothing {what} {when}", path)
    if not re.match(rb"[0-9]{1,4}(?![^ -])", reply):
        return BirdError("garbage", f"said {_short(reply)} {what} {when}", path)
    last = _short(reply[-40:])
    text = f"did not end what it said {what} {when}: {len(reply)} bytes, the last {last}"
    return BirdError("cut", text, path)


def _left(deadline):
    """Seconds until ``deadline``, never none: a timeout of 0 would mean 'do not wait'."""
    return max(deadline - time.monotonic(), 0.001)


def _short(said):
    said = bytes(said[:80]).decode(errors="replace") if isinstance(said, (bytes, bytearray)) else said
    return repr(said if len(said) <= 60 else said[:60] + "…")


def _final(text):
    """Return the last line of a reply, which ends it."""
    if not text.endswith("\n"):
        raise BirdError("cut", f"did not end its answer, the last was {_short(text[-40:])}")
    final = text[text.rfind("\n", 0, -1) + 1 : -1]
    if not _FINAL.match(final):
        raise BirdError("cut", f"did not end its answer, the last line was {_short(final)}")
    return final


def _lines(text):
    """Return the (code, text) of each line of a reply but the last."""
    lines = []
    code = None
    for line in text.split("\n")[:-2]:
        if line.startswith(" ") and code:
            lines.append((code, line[1:]))
        elif re.match(r"[0-9]{4}-", line):
            code = line[:4]
            lines.append((code, line[5:]))
        else:
            raise BirdError("garbage", f"said {_short(line)} in the middle of an answer")
    return lines


def _session(row, block, details):
    """Make a session of its ``row`` and of the details that begin at a place in ``block``, if any."""
    name, state, since, said = row[1], row[4], row[5], row[6] or ""
    # A protocol that is down has no BGP state: all that follows is the reason.
    info, _, reason = ("", "", said) if state == "down" else said.partition(" ")
    reason = reason.strip()
    kind, prefix = _type(name)
    address, as_number, local_address, counts = None, None, None, None
    if details >= 0:
        counts = _ROUTES.match(block, max(block.find("\n   Routes:", details), 0))
        # What the protocol has to say stands below this line, what its description says above it.
        told = _BGP.match(block, max(block.find("\n   BGP state:", details), 0))
        if not told:
            text = f"does not tell address and AS of {_short(name)} where they were expected"
            raise BirdError("garbage", text)
        address, as_number = told[1], int(told[2])
        if state == "up":
            local_address = _line(block, "\n     Source address:", told.end() - 1)
        elif not reason:
            reason = _line(block, "\n     Last error:", told.end() - 1) or ""
    return {
        "name": name,
        "type": kind,
        "address": address or _address(name, prefix),
        "port": int(name.rpartition("_port_")[2]) if _PORT.search(name) else 179,
        "state": state,
        "since": since,
        "info": info,
        "reason": reason,
        "as_number": as_number,
        "local_address": local_address,
        "imported": int(counts[1]) if counts else 0,
        "exported": int(counts[2]) if counts else 0,
        "preferred": int(counts[3] or 0) if counts else 0,
        "established": state == "up" and info == "Established",
    }


def _line(block, key, start):
    """Return what stands behind ``key`` in a line below ``start``, or None."""
    at = block.find(key, start)
    if at < 0:
        return None
    end = block.find("\n", at + 1)
    return block[at + len(key) : end if end >= 0 else None].strip()


def _type(name):
    """Return the type that Calico's name for a session stands for, and the prefix that says so."""
    for prefix, kind in _TYPES:
        if name.startswith(prefix):
            return kind, prefix
    return "other", None


def _address(name, prefix):
    """Return the address that Calico wrote into a session's name."""
    if prefix is None:
        return None
    groups = _PORT.sub("", name[len(prefix) :]).split("_")
    dotted = len(groups) == 4 and all(group.isdigit() for group in groups)
    return ("." if dotted else ":").join(groups)


def _route(match, network):
    word = match["word"]
    if match["via"] or word == "multipath":
        kind = "via"
    else:
        kind = {None: "dev", "prohibited": "prohibit"}.get(word, word)
    metric = re.match("/([0-9]{1,10})", match["rest"] or "")
    return {
        "network": network,
        "kind": kind,
        "via": match["via"],
        "interface": match["via_interface"] or match["interface"],
        "next_hops": [],
        "protocol": match["protocol"],
        "since": match["since"],
        "from": match["source"],
        "primary": match["primary"] is not None,
        "preference": int(match["preference"]) if match["preference"] else None,
        "metric": int(metric[1]) if metric else None,
        "attributes": match["attributes"].strip(),
    }
