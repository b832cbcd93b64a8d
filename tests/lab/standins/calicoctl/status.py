"""``calicoctl node status``: what runs, and the BGP sessions that BIRD tells of."""

import os
import re
import socket

from .errors import CtlError

SOCKETS = ("/var/run/calico/{}", "/var/run/bird/{}")
TYPES = {"Mesh": "node-to-node mesh", "Node": "node specific", "Global": "global"}
HEADINGS = ("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO")
WRAP = 30
LINE_TIMEOUT = 2


class Halted(CtlError):
    """The command ends in the middle of its output."""


def run(write):
    """Write the report piece by piece; the exit code is returned."""
    if os.geteuid() != 0:
        write("Need super user privileges: Operation not permitted\n")
        return 1
    running = _processes()
    if "calico-felix" not in running:
        write("Calico process is not running.\n")
        return 1
    write("Calico process is running.\n")
    if not running & {"bird", "bird6", "calico-bgp-daemon"}:
        write("\nNone of the BGP backend processes (BIRD or GoBGP) are running.\n")
        return 0
    for version, name, separator in ((4, "bird", "."), (6, "bird6", ":")):
        if name in running:
            write(f"\nIPv{version} BGP status\n")
            _family(write, version, f"{name}.ctl", separator)
        else:
            write(f"\nINFO: BIRDv{version} process: '{name}' is not running.\n")
    write("\n")
    return 0


def _processes():
    names = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/comm", encoding="utf-8") as file:
                    names.add(file.read().strip())
            except OSError:
                continue
    return names


def _family(write, version, name, separator):
    sock = socket.socket(socket.AF_UNIX)
    for place in SOCKETS:
        path = place.format(name)
        try:
            sock.connect(path)
            break
        except OSError as error:
            reason = error.strerror.lower()
    else:
        write(
            f"Error querying BIRD: unable to connect to BIRDv{version} socket: "
            f"dial unix {path}: connect: {reason}"
        )
        return
    with sock:
        peers = _peers(sock, path, separator)
    if peers:
        write(_table(peers))
    else:
        write(f"No IPv{version} peers found.\n")


def _peers(sock, path, separator):
    sock.settimeout(LINE_TIMEOUT)
    sock.sendall(b"show protocols\n")
    peers = []
    for line in _lines(sock, path):
        if line.startswith("0001"):
            continue
        if line.startswith("0000"):
            return peers
        if line.startswith("2002-"):
            if line[5:].split() != ["name", "proto", "table", "state", "since", "info"]:
                raise Halted("unknown BIRD table output format")
        elif line.startswith("1002-"):
            _row(line[5:], separator, peers)
        elif line.startswith(" "):
            _row(line[1:], separator, peers)
        else:
            raise Halted("unexpected output line from BIRD")
    return peers


def _lines(sock, path):
    waiting = b""
    while True:
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            yield line.decode("utf-8", "replace")
        try:
            chunk = sock.recv(65536)
        except socket.timeout:
            raise Halted(f"read unix @->{path}: i/o timeout") from None
        if not chunk:
            if waiting:
                yield waiting.decode("utf-8", "replace")
            return
        waiting += chunk


def _row(text, separator, peers):
    words = text.split()
    if len(words) < 6 or words[1] != "BGP":
        return
    match = re.fullmatch(r"(Global|Node|Mesh)_(.+)", words[0])
    if match:
        address = match[2].replace("_", separator)
        peers.append((address, TYPES[match[1]], words[3], words[4], " ".join(words[5:])))


def _table(peers):
    rows = [[_wrapped(cell) for cell in peer] for peer in peers]
    # A wrapped cell leaves its column as wide as the limit, not as its longest line.
    widths = [
        max(len(heading), *(min(len(peer[column]), WRAP) for peer in peers))
        for column, heading in enumerate(HEADINGS)
    ]
    border = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    out = border
    out += "|" + "|".join(_centred(h, w) for h, w in zip(HEADINGS, widths, strict=True)) + "|\n" + border
    for row in rows:
        for number in range(max(map(len, row))):
            cells = [cell[number] if number < len(cell) else "" for cell in row]
            out += "|" + "|".join(f" {c.ljust(w)} " for c, w in zip(cells, widths, strict=True)) + "|\n"
    return out + border


def _centred(text, width):
    gap = width - len(text)
    return " " * (gap // 2 + 1) + text + " " * (gap - gap // 2 + 1)


def _wrapped(text):
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > WRAP:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
