"""The start-up of 3: what the one before it did, with other words and in another order."""

from __future__ import annotations

import datetime
import ipaddress
import os
import platform
import secrets
from pathlib import Path

import autodetect
import process
import startup_v2
from environment import Invalid, Network, as_number

_MODES = {
    **dict.fromkeys(("", "off", "never"), "Never"),
    **dict.fromkeys(("crosssubnet", "cross-subnet"), "CrossSubnet"),
    "always": "Always",
}
_BLOCK_SIZES = {4: (26, range(20, 33)), 6: (122, range(64, 129))}
_SOURCE = "startup/startup.go"
_UTILS = "startup/utils.go"
_FILES = "startup/startup_linux.go"
_DETECTION = "startup/autodetection_methods.go"
# How an address was found, and how it was looked for in vain, by the method's word.
_FOUND = {
    "": "on interface {interface}: {address}",
    "interface": "{address} on matching interface {interface}",
    "skip-interface": "on interface {interface}: {address} while skipping matching interfaces",
    "cidr": "{address} on interface {interface} matching cidrs [{listed}]",
    "can-reach": "{address}, detected by connecting to {argument}",
}
_MISSED = {
    "": "auto-detect an IPv{version} address: {reason}",
    "interface": "auto-detect an IPv{version} address using interface regexes [{listed}]: {reason}",
    "skip-interface": "auto-detect an IPv{version} address while excluding [{listed}]: {reason}",
    "cidr": "auto-detect an IPv{version} address using interface cidr [{listed}]: {reason}",
    "can-reach": "auto-detect IPv{version} address by connecting to {argument}: {reason}",
}
_NOTHING_FOUND = "no valid host interfaces found"
# What should have been mounted, and what suffers.
_DIRECTORIES = {
    "/var/run/calico": "'calicoctl node status' may provide incomplete status information",
    "/var/lib/calico": "Node name may not be detected properly",
    "/var/log/calico": "'calicoctl node diags' will not be able to collect calico/node logs",
}


class Refused(Invalid):
    """Ends the start-up with a line of the log: its severity and its source are part of it."""

    def __init__(self, text: str, severity: str = "ERROR", source: str = _SOURCE):
        super().__init__(text)
        self.severity, self.source = severity, source


def log(text: str, severity: str = "INFO", source: str = _SOURCE) -> None:
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    print(f"{now} [{severity}][{os.getpid()}] {source}: {text}", flush=True)


def warn(text: str, source: str = _SOURCE) -> None:
    log(text, "WARNING", source)


def give_up(reason: str) -> None:
    if reason:
        log(reason, "ERROR")
    warn("Terminating", _UTILS)


class Startup(startup_v2.Startup):
    no_client = "Unable to create the datastore client: "

    def run(self) -> None:
        try:
            self._run()
        except Refused as refused:
            log(str(refused), refused.severity, refused.source)
            raise Invalid("") from refused

    def _run(self) -> None:
        log(f"Starting node {self._name} with version {process.version()}")
        self._store = store = self._connect()
        if self._env.text("WAIT_FOR_DATASTORE") == "true":
            log("Checking datastore connection")
            store.reachable()
            log("Datastore connection verified")
        else:
            log("Skipping datastore connection test")
        snapshot = self._snapshot(store)
        node = snapshot.node(self._name)
        if not node.exists:
            log(f'Building new node resource Name="{self._name}"')
        with_bgp = self._env.backend() != "none"
        if with_bgp:
            self._configure_bgp(node, snapshot)
        self._ensure_directories()
        try:
            store.write_node(node, with_bgp)
        except self._layout.Error as error:
            raise Refused(f"Unable to set node resource configuration error={error}") from error
        self._ensure_pools(store, self._snapshot(store))
        store.write_defaults(
            self._name, process.version(), self._merged_cluster_type(snapshot.cluster_type())
        )
        self._name_file().write_text(self._name)
        log(f"Using node name: {self._name}")

    # --- the node's name

    def _name_file(self) -> Path:
        return Path(self._env.text("CALICO_NODENAME_FILE") or self._generation.node_name_file)

    def _node_name(self) -> str:
        log("Early log level set to info")
        name = self._chosen_name()
        log(f"Determined node name: {name}", source=_UTILS)
        return name

    def _chosen_name(self) -> str:
        if name := self._env.text("NODENAME").strip():
            log(f"Using NODENAME environment for node name {name}", source=_UTILS)
        elif self._name_file().exists() and (name := self._name_file().read_text()):
            log(f"Using stored node name {name} from {self._name_file()}", source=_UTILS)
        elif name := self._env.text("HOSTNAME").strip().lower():
            log(f"Using HOSTNAME environment (lowercase) for node name {name}", source=_UTILS)
        else:
            name = platform.node().strip().lower()
            advice = "an explicit value is supplied using the NODENAME environment variable."
            warn(f"Using auto-detected node name. It is recommended that {advice}", _UTILS)
        return name

    # --- addresses

    def _configure_bgp(self, node, snapshot) -> None:
        if not any(node.address(version) for version in (4, 6)) and node.as_number is None:
            log("Initialize BGP data")
        before = {version: node.address(version) for version in (4, 6)}
        for version in (4, 6):
            self._configure_address(node, version)
        if not any(node.address(version) for version in (4, 6)):
            raise Refused("No IPv4 or IPv6 addresses configured or detected, required for Calico networking")
        changed = [version for version in (4, 6) if node.address(version) != before[version]]
        for version in changed:
            log(f"Node IPv{version} changed, will check for conflicts")
        if changed and self._env.text("DISABLE_NODE_IP_CHECK") != "true":
            self._refuse_duplicates(node, snapshot)
        self._configure_as_number(node)

    def _configure_address(self, node, version: int) -> None:
        variable = {4: "IP", 6: "IP6"}[version]
        given, stored = self._env.text(variable), node.address(version)
        if given == "autodetect" or (version == 4 and not given and stored is None):
            found = self._detected(variable, version)
            if found:
                node.set_address(version, found)
                return
            if stored is None and version == 4:
                advice = "If auto-detecting, choose a different autodetection method."
                otherwise = "Otherwise provide an explicit address."
                raise Refused(f"Couldn't autodetect an IPv4 address. {advice} {otherwise}", "WARNING")
            if stored is not None:
                warn(f"Autodetection of IPv{version} address failed, keeping existing value: {stored}")
        elif given == "none" and stored is not None:
            log(f"Autodetection for IPv{version} disabled, keeping existing value: {stored}")
        elif given not in ("", "none"):
            node.set_address(version, self._given_address(variable, given, version))
        self._look_for(node.address(version), version)

    def _detected(self, variable: str, version: int):
        method = self._env.text(f"{variable}_AUTODETECTION_METHOD")
        word, _, argument = method.partition("=")
        if method in ("", "first-found"):
            word = ""
        elif word not in self._generation.detection:
            raise Refused(f"Invalid IP autodetection method: {method}", source=_DETECTION)
        found = autodetect.find(method, version, self._generation)
        words = {"argument": argument, "listed": " ".join(autodetect.patterns(argument))}
        if not found:
            missed = _MISSED[word].format(version=version, reason=_NOTHING_FOUND, **words)
            warn(f"Unable to {missed}", _DETECTION)
            return None
        if word == "can-reach":
            connected = f'Destination="{argument}" IP={found.address.ip}'
            log(f"Auto-detected address by connecting to remote {connected}", source="startup/reachaddr.go")
        how = _FOUND[word].format(interface=found.interface, address=found.address, **words)
        log(f"Using autodetected IPv{version} address {how}", source=_DETECTION)
        return found.address

    def _given_address(self, variable: str, given: str, version: int):
        text = given if "/" in given else self._with_prefix(given, version)
        try:
            address = ipaddress.ip_interface(text)
        except ValueError:
            address = None
        if address is None or address.version != version:
            reason = f"Environment does not contain a valid IPv{version} address: {variable}={given}"
            raise Refused(reason, "WARNING")
        log(f"Using IPv{version} address from environment: {variable}={address}")
        return address

    def _with_prefix(self, given: str, version: int) -> str:
        """An address as its interface has it."""
        try:
            wanted = ipaddress.ip_address(given)
        except ValueError:
            warn(f"Attempt to get the local CIDR: {given} failed, {given} is invalid.")
            return given
        for found in autodetect.addresses(version):
            if found.address.ip == wanted:
                log(
                    f'Including CIDR information from host interface. CIDR="{found.address}"',
                    source=_DETECTION,
                )
                return str(found.address)
        warn(f"Unable to find matching host interface for IP {given}", _DETECTION)
        return given

    def _look_for(self, address, version: int) -> None:
        if address and all(found.address.ip != address.ip for found in autodetect.addresses(version)):
            warn(f"Unable to confirm IPv{version} address {address.ip} is assigned to this host")

    def _refuse_duplicates(self, node, snapshot) -> None:
        conflicts = self._duplicates(node, snapshot)
        if not conflicts:
            return
        for conflict in conflicts:
            warn(conflict)
        # What was found by itself is let go, so that two nodes may swap their addresses.
        if node.exists and self._env.text("IP") == "autodetect":
            log('Clearing out-of-date IPv4 address from this node IP=""')
            node.set_address(4, None)
            self._store.write_node(node, with_bgp=True)
        raise Invalid("")

    def _configure_as_number(self, node) -> None:
        text = self._env.text("AS")
        if text:
            try:
                node.as_number = as_number(text)
            except ValueError as error:
                raise Refused(
                    f"The AS number specified in the environment (AS={text}) is not valid error={error}"
                ) from error
            log(f"Using AS number specified in environment (AS={node.as_number})")
        elif node.as_number is None:
            log("No AS number configured on node resource, using global value")
        else:
            log(f"Using AS number {node.as_number} configured in node resource")

    # --- directories

    def _ensure_directories(self) -> None:
        for name, loss in _DIRECTORIES.items():
            if Path(name).is_dir():
                continue
            if name.endswith("run/calico") and self._env.backend() != "bird":
                continue
            if name.startswith("/var/log") and self._without_log_files():
                continue
            Path(name).mkdir(parents=True)
            warn(f"Expected {name} to be mounted into the container but it wasn't present. {loss}", _FILES)

    def _without_log_files(self) -> bool:
        return self._env.text("CALICO_DISABLE_FILE_LOGGING").lower() == "true"

    # --- pools

    def _ensure_pools(self, store, snapshot) -> None:
        given = {version: self._env.text(f"CALICO_IPV{version}POOL_CIDR") for version in (4, 6)}
        if self._env.text("NO_DEFAULT_POOLS").lower() == "true":
            if any(given.values()):
                raise Refused(
                    "Invalid configuration with NO_DEFAULT_POOLS defined and "
                    "CALICO_IPV4POOL_CIDR or CALICO_IPV6POOL_CIDR defined."
                )
            log("Skipping IP pool configuration")
            return
        # All are read before any is made: a bad value ends the start-up in any case.
        block_sizes = {version: self._block_size(version) for version in (4, 6)}
        if not given[4]:
            given[4] = self._generation.default_pools[4]
            log(f"Selected default IP pool is '{given[4]}'")
        given[6] = given[6] or _unique_local()
        networks = {version: self._network(version, given[version]) for version in (4, 6)}
        for version, network in networks.items():
            if not snapshot.pools(version) and (version == 4 or self._ipv6_supported()):
                self._create_pool(store, network, block_sizes[version])

    def _network(self, version: int, text: str) -> Network:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            network = None
        if network is None or network.version != version or "/" not in text:
            raise Refused(f"Invalid CIDR specified in CALICO_IPV{version}POOL_CIDR '{text}'")
        return network

    def _block_size(self, version: int) -> int:
        default, allowed = _BLOCK_SIZES[version]
        text = self._env.text(f"CALICO_IPV{version}POOL_BLOCK_SIZE")
        if text and not text.isdigit():
            raise Refused(f"Failed to convert blocksize {text} to int")
        size = int(text) if text else default
        if size not in allowed:
            raise Refused(f"Invalid blocksize {size} for version {version}")
        return size

    def _create_pool(self, store, network: Network, block_size: int) -> None:
        version = network.version
        nat = self._said_boolean(f"CALICO_IPV{version}POOL_NAT_OUTGOING", version == 4)
        ipip, vxlan = self._mode("IPIP", version), self._mode("VXLAN", version)
        modes = f"IPIP mode: {ipip}, VXLAN mode: {vxlan}"
        log(f"Ensure default IPv{version} pool is created. {modes}")
        spec = {
            "cidr": str(network),
            "natOutgoing": nat,
            "ipipMode": ipip,
            "vxlanMode": vxlan,
            "blockSize": block_size,
            "nodeSelector": self._env.text(f"CALICO_IPV{version}POOL_NODE_SELECTOR"),
        }
        try:
            created = store.create_pool(f"default-ipv{version}-ippool", spec)
        except self._layout.Error as error:
            reason = f"Failed to create default IPv{version} IP pool: {network} error={error}"
            raise Refused(reason) from error
        if created:
            said = f"({network}) with NAT outgoing {str(nat).lower()}"
            log(f"Created default IPv{version} pool {said}. {modes}")

    def _mode(self, kind: str, version: int) -> str:
        """Only pools for IPv4 are asked for a tunnel here."""
        variable = f"CALICO_IPV4POOL_{kind}"
        text = self._env.text(variable).lower() if version == 4 else ""
        if text not in _MODES:
            raise Refused(f"Unrecognized {kind} mode specified in {variable} '{text}'")
        return _MODES[text]

    def _ipv6_supported(self) -> bool:
        if not self._said_boolean("FELIX_IPV6SUPPORT", True):
            return False
        supported = Path("/proc/sys/net/ipv6").exists()
        log(f"IPv6 supported on this platform: {str(supported).lower()}")
        return supported

    def _said_boolean(self, name: str, default: bool) -> bool:
        value = self._env.boolean(name, default)
        defaulted = "" if self._env.given(name) else " (defaulted)"
        log(f"{name} is {str(value).lower()}{defaulted} through environment variable")
        return value


def _unique_local() -> str:
    """A /48 for IPv6, by lot."""
    first = int.from_bytes(b"\xfd" + secrets.token_bytes(5) + bytes(10), "big")
    return str(ipaddress.ip_network((first, 48)))
