"""The lab's network: a free subnet, and a way through this machine's packet filter."""

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.lab import paths

# Addresses the lab itself uses inside: Calico's pools, and Docker's default bridge in the hosts.
TAKEN = [ipaddress.ip_network(cidr) for cidr in ("172.16.0.0/12", "192.168.0.0/16")]
CANDIDATES = [
    subnet
    for block in ("10.96.0.0/11", "100.64.0.0/10")
    for subnet in ipaddress.ip_network(block).subnets(new_prefix=24)
]


@contextlib.contextmanager
def choosing():
    """Only one lab of this machine at a time may look for what is free and take it."""
    descriptor = os.open("/run", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def free_subnet():
    """A /24 that no address and no route of this machine touches."""
    used = TAKEN + list(_used())
    start = int(hashlib.sha256(paths.PREFIX.encode()).hexdigest(), 16) % len(CANDIDATES)
    for subnet in CANDIDATES[start:] + CANDIDATES[:start]:
        if not any(subnet.overlaps(other) for other in used):
            return subnet
    raise RuntimeError("No free subnet: every candidate is routed or in use on this machine.")


def _used():
    for link in _ip("address"):
        for address in link["addr_info"]:
            yield ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}").network
    for route in _ip("route", "show", "table", "all"):
        destination = route["dst"].removeprefix("default")
        if destination and route.get("table") != "local":
            yield ipaddress.ip_network(destination)


def _ip(*arguments):
    done = subprocess.run(["ip", "-4", "-json", *arguments], check=True, capture_output=True)
    return json.loads(done.stdout or b"[]")


def free_port(address, wanted):
    """WANTED, or the next port like it that nothing on this machine holds for ADDRESS."""
    for port in range(wanted, 65536, 10000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((str(address), port))
                return port
    raise RuntimeError(f"No free port for {address}:{wanted}.")


def _filter_rule(action):
    comment = ["-m", "comment", "--comment", paths.PREFIX]
    return ["iptables", "-w", action, "FORWARD", *_bridge_to_bridge(), *comment, "-j", "ACCEPT"]


def _bridge_to_bridge():
    return ["-i", paths.BRIDGE, "-o", paths.BRIDGE]


def open_filter():
    """Let hosts talk where this machine filters bridged traffic (as it does with Docker on it)."""
    if not _bridges_are_filtered() or _run(_filter_rule("-C")).returncode == 0:
        return
    if _run(["iptables", "-w", "-S", "FORWARD"]).stdout.strip() != b"-P FORWARD ACCEPT":
        _run(_filter_rule("-I"))


def close_filter():
    while shutil.which("iptables") and _run(_filter_rule("-C")).returncode == 0:
        _run(_filter_rule("-D"))


def _bridges_are_filtered():
    try:
        return Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text().strip() == "1"
    except FileNotFoundError:
        return False


def remove_links():
    """Remove the bridge and whatever is still plugged into it."""
    if not Path("/sys/class/net", paths.BRIDGE).exists():
        return
    for link in _ip("link", "show", "master", paths.BRIDGE):
        _run(["ip", "link", "delete", link["ifname"]])
    subprocess.run(["ip", "link", "delete", paths.BRIDGE], check=True)


def _run(command):
    return subprocess.run(command, capture_output=True)
