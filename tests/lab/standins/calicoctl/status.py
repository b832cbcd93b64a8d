"""``calicoctl node status``: what runs, and the BGP sessions that BIRD tells of."""

import os
import re
import socket

from .borders import bordered
from .errors import CtlError, OnStdout

SOCKETS = ("/var/run/calico/{}", "/var/run/bird/{}")
TYPES = {"Mesh": "node-to-node mesh", "Node": "node specific", "Global": "global"}
HEADINGS = ("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO")
LINE_TIMEOUT = 2


class Halted(CtlError):
    """The command ends in the middle of its output."""


def run(version, write):
    """Write the report piece by piece."""
    if os.geteuid() != 0:
        raise OnStdout("Need super user privileges: Operation not permitted")
    runs = _by_name() if version.felix_by_name else _by_command_line()
    if not runs("calico-felix") and (version.felix_by_name or not runs("calico-node", "-felix")):
        raise CtlError("Calico process is not running.")
    write("Calico process is running.\n")
    if not any(runs(name) for name in version.backend_names):
        write(f"\n{version.backends}\n")
        return
    for family, name, separator in ((4, "bird", "."), (6, "bird6", ":")):
        if runs(name):
            write(f"\nIPv{family} BGP status\n")
            _family(write, family, f"{name}.ctl", separator)
        else:
            write(f"\nINFO: BIRDv{family} process: '{name}' is not running.\n")
    write("\n")


def _by_name():
    """A function that tells whether a process of this name runs."""
    names = {text.decode(errors="replace").strip() for text in _of_each_process("comm")}
    return lambda name: name in names


def _by_command_line():
    """
    A function that tells whether a process with these words runs.

    One word at its place is enough, as it is in the original: any calico-node satisfies it.
    """
    lines = [text.decode(errors="replace").split("\0") for text in _of_each_process("cmdline")]
    return lambda *words: any(
        word == there for line in lines for word, there in zip(words, line, strict=False)
    )


def _of_each_process(file_name):
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/{file_name}", "rb") as file:
                    yield file.read()
            except OSError:
                continue


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
        write(bordered(HEADINGS, peers))
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
