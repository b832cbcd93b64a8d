"""The container's environment, read as calico/node reads it: an empty value means unset."""

from __future__ import annotations

import ipaddress
import os
import platform
import re
from collections.abc import Mapping

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FALSE = ("false", "0", "no", "n", "f")
_AS_LIMIT = 2**32


class Invalid(Exception):
    """A value that ends the start-up."""


class Environment:
    def __init__(self, values: Mapping[str, str] = os.environ):
        self._values = values

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def given(self, name: str) -> bool:
        """Whether it is there at all, be it empty."""
        return name in self._values

    def boolean(self, name: str, default: bool) -> bool:
        """Present and not one of the words for false is true: so is the empty value."""
        if name not in self._values:
            return default
        return self._values[name].lower() not in _FALSE

    def node_name(self) -> str:
        return self.text("NODENAME") or self.text("HOSTNAME") or platform.node()

    def backend(self) -> str:
        old = self.text("CALICO_NETWORKING")
        if old:
            return "none" if old == "false" else "bird"
        return self.text("CALICO_NETWORKING_BACKEND") or "bird"

    def as_number(self) -> int | None:
        text = self.text("AS")
        if not text:
            return None
        try:
            return as_number(text)
        except ValueError as error:
            raise Invalid(
                f"The AS number specified in the environment (AS={text}) is not valid: {error}"
            ) from error

    def address(self, name: str, version: int) -> Interface | None:
        """``IP`` or ``IP6`` where it holds an address; without a prefix it is a single host."""
        text = self.text(name)
        if text in ("", "autodetect"):
            return None
        try:
            address = ipaddress.ip_interface(text)
        except ValueError:
            address = None
        if address is None or address.version != version or not _plain_prefix(text):
            raise Invalid(f"Environment does not contain a valid IPv{version} address: {name}={text}")
        return address

    def pool(self, version: int, default: str) -> Network:
        name = f"CALICO_IPV{version}POOL_CIDR"
        text = self.text(name) or default
        try:
            # Host bits are cut off without a word, as Go's parser does.
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            network = None
        if network is None or network.version != version or not _plain_prefix(text, needed=True):
            raise Invalid(f"Invalid CIDR specified in {name} '{text}'")
        return network

    def certificates(self) -> dict[str, str | None]:
        """The files of the client's TLS, as the clients of both APIs take them."""
        return {
            "ca": self._datastore("ETCD_CA_CERT_FILE") or None,
            "cert": self._datastore("ETCD_CERT_FILE") or None,
            "key": self._datastore("ETCD_KEY_FILE") or None,
        }

    def endpoints(self) -> list[str]:
        endpoints = self._datastore("ETCD_ENDPOINTS")
        if endpoints:
            return endpoints.split(",")
        scheme = self._datastore("ETCD_SCHEME") or "http"
        return [f"{scheme}://{self._datastore('ETCD_AUTHORITY') or '127.0.0.1:2379'}"]

    def _datastore(self, name: str) -> str:
        return self.text(f"CALICO_{name}") or self.text(name)


def as_number(text: str) -> int:
    """Plain or dotted (``1.10``), as a plain number."""
    if re.fullmatch(r"\d+", text) and int(text) < _AS_LIMIT:
        return int(text)
    if re.fullmatch(r"\d+\.\d+", text):
        high, low = (int(part) for part in text.split("."))
        if high < 2**16 and low < 2**16:
            return high * 2**16 + low
    raise ValueError(f"invalid AS Number format ({text})")


def _plain_prefix(text: str, needed: bool = False) -> bool:
    """Python reads netmasks after the slash, and networks without one; Go does not."""
    _, slash, prefix = text.partition("/")
    return prefix.isdigit() if slash else not needed
