"""Find this host's own address by one of calico/node's methods."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from environment import Interface, Invalid
from generations import Generation


@dataclass(frozen=True)
class Found:
    interface: str
    address: Interface


def find(method: str, version: int, generation: Generation) -> Found | None:
    """The first address that the method accepts, or None; an unknown method is Invalid."""
    word, separator, argument = method.partition("=")
    internal = generation.internal_interfaces
    if method in ("", "first-found"):
        return _first(version, exclude=internal)
    if not separator or word not in generation.detection:
        raise Invalid(f"Invalid IP autodection method: {method}")
    if word == "interface":
        return _first(version, include=patterns(argument))
    if word == "skip-interface":
        return _first(version, exclude=(*internal, *patterns(argument)))
    if word == "cidr":
        return _within(argument, version)
    return _towards(argument, version)


def addresses(version: int) -> Iterator[Found]:
    """Every address of that version, those of the interface that was made last first."""
    shown = subprocess.run(["ip", "-j", "address", "show"], capture_output=True, check=True)
    family = {4: "inet", 6: "inet6"}[version]
    for link in reversed(json.loads(shown.stdout)):
        for info in link.get("addr_info", []):
            if info.get("family") == family:
                address = ipaddress.ip_interface(f"{info['local']}/{info['prefixlen']}")
                yield Found(link["ifname"], address)


def _first(version: int, include: tuple = (), exclude: tuple = ()) -> Found | None:
    wanted, unwanted = _matcher(include), _matcher(exclude)
    for found in addresses(version):
        if (include and not wanted(found.interface)) or unwanted(found.interface):
            continue
        if _is_global_unicast(found.address):
            return found
    return None


def _towards(destination: str, version: int) -> Found | None:
    family = {4: socket.AF_INET, 6: socket.AF_INET6}[version]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((destination, 80))
            own = ipaddress.ip_address(probe.getsockname()[0])
    except OSError:
        return None
    return next((found for found in addresses(version) if found.address.ip == own), None)


def _within(cidrs: str, version: int) -> Found | None:
    try:
        networks = [ipaddress.ip_network(cidr, strict=False) for cidr in patterns(cidrs)]
    except ValueError:
        return None
    for found in addresses(version):
        if any(found.address.ip in network for network in networks):
            return found
    return None


def patterns(argument: str) -> tuple[str, ...]:
    return tuple(re.split(r"\s*,\s*", argument))


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    if not patterns:
        return lambda name: False
    try:
        return re.compile("|".join(f"({pattern})" for pattern in patterns)).search
    except re.error as error:
        raise Invalid(f"Invalid interface pattern: {error}") from error


def _is_global_unicast(address: Interface) -> bool:
    ip = address.ip
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)
