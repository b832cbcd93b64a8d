"""The start-up of 2.6."""

from __future__ import annotations

import datetime
import importlib
import os
import time
from pathlib import Path

import autodetect
import process
from environment import Environment, Invalid, Network

_WAIT_FOR_DATASTORE_S = 1.0
# With these words the client's library ends the program, waiting or not: nothing comes behind them.
_NO_CLIENT = "ERROR: Error accessing the Calico datastore: "
_IPIP_MODES = {"": "", "off": "", "always": "always", "cross-subnet": "cross-subnet"}
# The mode of CALICO_IPV4POOL_IPIP is for IPv4 only: there is no IPIP pool for IPv6.
_NAT_DEFAULT = {4: True, 6: False}


def say(text: str, line: int, severity: str = "INFO") -> None:
    """As the original writes it, with the line of its source."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    print(f"{now} [{severity}][{os.getpid()}] startup.go {line}: {text}", flush=True)


def warn(text: str, line: int) -> None:
    say(text, line, "WARNING")


class Startup:
    no_client = _NO_CLIENT

    def __init__(self, env: Environment):
        self._env = env
        self._generation = process.generation()
        self._layout = importlib.import_module(self._generation.layout)
        self._name = self._node_name()

    def run(self) -> None:
        store = self._connect()
        if self._env.text("WAIT_FOR_DATASTORE") == "true":
            self._wait_for(store)
        else:
            say("Skipping datastore connection test", 83)
        snapshot = self._snapshot(store)
        node = snapshot.node(self._name)
        with_bgp = self._env.backend() != "none"
        if with_bgp:
            self._configure_bgp(node, snapshot)
        store.write_node(node, with_bgp)
        # Another node may have made the pool while this one looked for its address.
        self._ensure_pools(store, self._snapshot(store))
        store.write_defaults(
            self._name, process.version(), self._merged_cluster_type(snapshot.cluster_type())
        )
        Path("startup.env").write_text(f"export NODENAME={self._name}\n")
        say(f"Using node name: {self._name}", 131)

    def _node_name(self) -> str:
        return self._env.node_name()

    def _connect(self):
        try:
            return self._layout.connect(self._env, process.version())
        except (OSError, ValueError, *self._layout.Error) as error:
            raise Invalid(self.no_client + self._why(error)) from error

    def _why(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            for path in self._env.certificates().values():
                if path and not Path(path).exists():
                    return f"open {path}: no such file or directory"
        return str(error)

    def _wait_for(self, store) -> None:
        say("Checking datastore connection", 204)
        while True:
            try:
                store.reachable()
            except self._layout.Unreachable:
                time.sleep(_WAIT_FOR_DATASTORE_S)
            else:
                say("Datastore connection verified", 204)
                return

    def _snapshot(self, store):
        try:
            return store.snapshot()[0]
        except self._layout.Error as error:
            raise Invalid(f"Unable to access datastore to query node configuration: {error}") from error

    def _configure_bgp(self, node, snapshot) -> None:
        before = {version: node.address(version) for version in (4, 6)}
        for version in (4, 6):
            self._configure_address(node, version)
        changed = any(node.address(version) != before[version] for version in (4, 6))
        if changed and self._env.text("DISABLE_NODE_IP_CHECK") != "true":
            self._refuse_duplicates(node, snapshot)
        number = self._env.as_number()
        if number is not None:
            say(f"Using AS number specified in environment (AS={number})", 525)
            node.as_number = number
        elif node.as_number is None:
            say("No AS number configured on node resource, using global value", 530)
        else:
            say(f"Using AS number {node.as_number} configured in node resource", 532)

    def _configure_address(self, node, version: int) -> None:
        variable = {4: "IP", 6: "IP6"}[version]
        given, stored = self._env.text(variable), node.address(version)
        # IPv4 is looked for once where nothing is known; IPv6 only on request.
        if given == "autodetect" or (version == 4 and not given and stored is None):
            found = autodetect.find(
                self._env.text(f"{variable}_AUTODETECTION_METHOD"), version, self._generation
            )
            if found:
                where = f"on interface {found.interface}: {found.address}"
                say(f"Using autodetected IPv{version} address {where}", 467)
                node.set_address(version, found.address)
                return
            if stored is None:
                raise Invalid(f"Couldn't autodetect a management IPv{version} address:")
            warn(f"Autodetection of IPv{version} address failed, keeping existing value: {stored}", 307)
        elif given:
            node.set_address(version, self._env.address(variable, version))
            say(f"Using IPv{version} address from environment: {variable}={given}", 362)
        self._look_for(node.address(version), version)

    def _look_for(self, address, version: int) -> None:
        if address is None:
            return
        for found in autodetect.addresses(version):
            if found.address.ip == address.ip:
                say(f"IPv{version} address {address.ip} discovered on interface {found.interface}", 392)
                return
        warn(f"Unable to confirm IPv{version} address {address.ip} is assigned to this host", 397)

    def _refuse_duplicates(self, node, snapshot) -> None:
        conflicts = self._duplicates(node, snapshot)
        if conflicts:
            raise Invalid("\n".join(conflicts))

    @staticmethod
    def _duplicates(node, snapshot) -> list[str]:
        return [
            f"Calico node '{other.name}' is already using the IPv{version} "
            f"address {node.address(version).ip}."
            for other in snapshot.nodes()
            if other.name != node.name
            for version in (4, 6)
            if node.address(version)
            and other.address(version)
            and other.address(version).ip == node.address(version).ip
        ]

    def _ensure_pools(self, store, snapshot) -> None:
        if self._env.text("NO_DEFAULT_POOLS").lower() == "true":
            if self._env.text("CALICO_IPV4POOL_CIDR") or self._env.text("CALICO_IPV6POOL_CIDR"):
                raise Invalid(
                    "Invalid configuration with NO_DEFAULT_POOLS defined and "
                    "CALICO_IPV4POOL_CIDR or CALICO_IPV6POOL_CIDR defined."
                )
            return
        # Both are read before either is made: a bad value ends the start-up in any case.
        wanted = {
            version: self._env.pool(version, default)
            for version, default in self._generation.default_pools.items()
        }
        for version, network in wanted.items():
            if not snapshot.pools(version) and (version == 4 or self._ipv6_supported()):
                self._create_pool(store, network)

    def _create_pool(self, store, network: Network) -> None:
        mode = self._env.text("CALICO_IPV4POOL_IPIP").lower() if network.version == 4 else ""
        if mode not in _IPIP_MODES:
            raise Invalid(f"Failed to create default IPv4 IP pool error=error with field mode = '{mode}'")
        smallest = self._generation.smallest_pool[network.version]
        if network.prefixlen > smallest:
            raise Invalid(
                f"Failed to create default IPv{network.version} IP pool error=error with field CIDR = "
                f"'{network}' (IP pool size is too small (min /{smallest}) for use with Calico "
                "IPAM)"
            )
        nat = self._env.boolean(
            f"CALICO_IPV{network.version}POOL_NAT_OUTGOING", _NAT_DEFAULT[network.version]
        )
        if store.create_pool(network, _IPIP_MODES[mode], nat):
            say(
                f"Created default IPv{network.version} pool ({network}) with NAT outgoing "
                f"{str(nat).lower()}. IPIP mode: {mode or 'off'}",
                669,
            )

    def _ipv6_supported(self) -> bool:
        return self._env.boolean("FELIX_IPV6SUPPORT", True) and Path("/proc/sys/net/ipv6").exists()

    def _merged_cluster_type(self, stored: str) -> str:
        """What is stored stays; words of this node's that are missing are added."""
        words = [word for word in stored.split(",") if word]
        own = self._env.text("CLUSTER_TYPE").split(",")
        return ",".join([*words, *(word for word in own if word and word not in words)])


def give_up(reason: str) -> None:
    if reason.startswith(_NO_CLIENT):
        print(reason, flush=True)
        return
    failed = reason.startswith("Failed to create")
    for text in reason.splitlines():
        say(text, 665 if failed else 718, "ERROR" if failed else "WARNING")
    warn("Terminating", 915)
