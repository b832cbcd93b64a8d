"""The host's side of its workloads: a route to each, and the firewall's leave to forward."""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from environment import Network

_RTMGRP_LINK = 1
_CHAIN = "cali-FORWARD"
LEGACY, NFT = "legacy", "nft"
_PROGRAMS = ("iptables", "ip6tables")
# What Felix sets on the host's end of a workload's interface.
_SYSCTLS = {
    4: {"route_localnet": "1", "proxy_arp": "1", "forwarding": "1", "rp_filter": "1"},
    6: {"proxy_ndp": "1", "forwarding": "1"},
}


def link_changes() -> Iterator[None]:
    """Once for each message of the kernel about an interface."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.bind((0, _RTMGRP_LINK))
        while True:
            link.recv(65536)
            yield


class Dataplane:
    def __init__(self, prefix: str, tables: str):
        self._prefix, self._tables = prefix, tables

    def apply(self, endpoints: list) -> None:
        self._allow_forwarding()
        links = self._links()
        wanted = {
            (endpoint.interface, network)
            for endpoint in endpoints
            for network in endpoint.networks
            if endpoint.interface in links
        }
        present = set(self._routes())
        for interface, network in sorted(wanted - present, key=str):
            self._sysctls(interface, network.version)
            _ip("route", "replace", str(network), "dev", interface, "scope", "link",
                version=network.version)  # fmt: skip
        for interface, network in sorted(present - wanted, key=str):
            _ip("route", "del", str(network), "dev", interface, version=network.version)

    def _links(self) -> set[str]:
        """Workload interfaces that are up: the kernel takes no route to one that is down."""
        return {
            link["ifname"]
            for link in _shown("link", version=4)
            if link["ifname"].startswith(self._prefix) and "UP" in link["flags"]
        }

    def _routes(self) -> Iterator[tuple[str, Network]]:
        for version in (4, 6):
            for route in _shown("route", version=version):
                if not route.get("dev", "").startswith(self._prefix):
                    continue
                if route.get("protocol") == "kernel" or route["dst"] == "default":
                    continue
                yield route["dev"], ipaddress.ip_network(route["dst"])

    def _sysctls(self, interface: str, version: int) -> None:
        directory = Path(f"/proc/sys/net/ipv{version}/conf") / interface
        for name, value in _SYSCTLS[version].items():
            try:
                (directory / name).write_text(value)
            except FileNotFoundError:
                return  # the interface went away, or the kernel has no IPv6

    def _allow_forwarding(self) -> None:
        """In one kind of tables only: what drops packets in the other kind goes on dropping them."""
        _ensure_chain([f"iptables-{self._tables}", "--wait"], self._prefix)


def tables(asked_for: str) -> str:
    """`legacy` or `nft`, as asked for; else where there are more rules already."""
    if asked_for.lower() in (LEGACY, NFT):
        return asked_for.lower()
    rules = {kind: sum(_rules(f"{name}-{kind}-save") for name in _PROGRAMS) for kind in (LEGACY, NFT)}
    return LEGACY if rules[LEGACY] >= rules[NFT] else NFT


def _rules(command: str) -> int:
    saved = subprocess.run([command], capture_output=True, text=True).stdout
    return sum(line.startswith("-") for line in saved.splitlines())


def _ensure_chain(iptables: list[str], prefix: str) -> None:
    rules = [
        [_CHAIN, "-i", f"{prefix}+", "-j", "ACCEPT"],
        [_CHAIN, "-o", f"{prefix}+", "-j", "ACCEPT"],
    ]
    if not _succeeds(*iptables, "-L", _CHAIN, "-n"):
        _succeeds(*iptables, "-N", _CHAIN)
    for rule in rules:
        if not _succeeds(*iptables, "-C", *rule):
            _succeeds(*iptables, "-A", *rule)
    jump = ["FORWARD", "-j", _CHAIN]
    if not _succeeds(*iptables, "-C", *jump):
        _succeeds(*iptables, "-I", *jump)


def _succeeds(*argv: str) -> bool:
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def _ip(*argv: str, version: int) -> None:
    """Interfaces come and go: what fails now is tried again at the next change."""
    done = subprocess.run(["ip", f"-{version}", *argv], capture_output=True, text=True)
    if done.returncode:
        print(f"calico-felix: ip {' '.join(argv)}: {done.stderr.strip()}", flush=True)


def _shown(what: str, version: int) -> list[dict]:
    done = subprocess.run(["ip", f"-{version}", "-j", what, "show"], capture_output=True)
    return json.loads(done.stdout or "[]") if done.returncode == 0 else []
