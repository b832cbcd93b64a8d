"""The lab's network: a free subnet, and a way through this machine's packet filter."""

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import socket
from pathlib import Path

from tests.lab import paths
from tests.support import programs

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
    return json.loads(programs.run(["ip", "-4", "-json", *arguments]).stdout or "[]")


def free_port(address, wanted):
    """WANTED, or the next port like it that nothing on this machine holds for ADDRESS."""
    for port in range(wanted, 65536, 10000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((str(address), port))
                return port
    raise RuntimeError(f"No free port for {address}:{wanted}.")


# Bridged traffic passes FORWARD where Docker is on the machine; Salt and etcd are reached by INPUT.
FILTERS = {
    "FORWARD": ["-i", paths.BRIDGE, "-o", paths.BRIDGE],
    "INPUT": ["-i", paths.BRIDGE],
}


def open_filter():
    """Let hosts talk to each other and to this machine, where its packet filter has other rules."""
    for chain in FILTERS:
        rules = _run(["iptables", "-w", "-S", chain]).stdout.strip()
        if rules != f"-P {chain} ACCEPT" and not _has_filter_rule(chain):
            _filter("-I", chain)


def close_filter():
    if shutil.which("iptables"):
        for chain in FILTERS:
            while _has_filter_rule(chain):
                _filter("-D", chain)


def _has_filter_rule(chain):
    return _filter("-C", chain).returncode == 0


def _filter(action, chain):
    comment = ["-m", "comment", "--comment", paths.PREFIX]
    return _run(["iptables", "-w", action, chain, *FILTERS[chain], *comment, "-j", "ACCEPT"])


def remove_links():
    """Remove the bridge and whatever is still plugged into it."""
    if not Path("/sys/class/net", paths.BRIDGE).exists():
        return
    for link in _ip("link", "show", "master", paths.BRIDGE):
        _run(["ip", "link", "delete", link["ifname"]])
    programs.run(["ip", "link", "delete", paths.BRIDGE])


def _run(command):
    return programs.run(command, check=False)
