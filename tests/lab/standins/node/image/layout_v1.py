"""Calico's data in etcd's v2 keys, as the v1 API lays it out."""

from __future__ import annotations

import ipaddress
import json
import uuid
from collections.abc import Iterator

import etcdv2
from environment import Environment, Interface, Network
from model import Endpoint, Node, Peer

ROOT = "/calico"
_BGP = f"{ROOT}/bgp/v1"
_BGP_GLOBAL = f"{_BGP}/global"
_CONFIG = f"{ROOT}/v1/config"
_HOSTS = f"{ROOT}/v1/host"
_IPAM_HOSTS = f"{ROOT}/ipam/v2/host"

_DEFAULT_AS = "64512"

# Whatever the datastore may answer with; and that none answers.
Error = (etcdv2.EtcdError,)
Unreachable = (etcdv2.Unreachable,)


def connect(env: Environment, _version: str) -> Datastore:
    return Datastore(etcdv2.Client(env.endpoints(), **env.certificates(), timeout=30.0))


class Snapshot:
    """Everything below Calico's root at one moment, with readers for it."""

    def __init__(self, keys: dict[str, str]):
        self._keys = keys

    def nodes(self) -> list[Node]:
        return [self.node(name) for name in self._node_names()]

    def _node_names(self) -> list[str]:
        names = {
            key.removeprefix(root).split("/")[0]
            for root in (f"{_HOSTS}/", f"{_BGP}/host/")
            for key in self._keys
            if key.startswith(root)
        }
        return sorted(names)

    def node(self, name: str) -> Node:
        number = self._keys.get(f"{_BGP}/host/{name}/as_num")
        return Node(name, self._address(name, 4), self._address(name, 6), int(number) if number else None)

    def listen_port(self, node: str) -> int | None:
        """This generation knows but one."""
        return None

    def _address(self, name: str, version: int) -> Interface | None:
        ip = self._keys.get(f"{_BGP}/host/{name}/ip_addr_v{version}")
        if not ip:
            return None
        network = self._keys.get(f"{_BGP}/host/{name}/network_v{version}", "")
        length = network.partition("/")[2]
        return ipaddress.ip_interface(f"{ip}/{length}" if length else ip)

    def pools(self, version: int) -> list[dict]:
        prefix = f"{ROOT}/v1/ipam/v{version}/pool/"
        return [json.loads(value) for _, value in self._below(prefix)]

    def blocks(self, node: str, version: int) -> list[Network]:
        """The blocks that belong to the node."""
        prefix = f"{_IPAM_HOSTS}/{node}/ipv{version}/block/"
        return sorted(ipaddress.ip_network(name.replace("-", "/")) for name, _ in self._below(prefix))

    def mesh(self) -> bool:
        return json.loads(self._keys.get(f"{_BGP_GLOBAL}/node_mesh", '{"enabled": true}'))["enabled"]

    def as_number(self, node: Node) -> str:
        if node.as_number is not None:
            return str(node.as_number)
        return self._keys.get(f"{_BGP_GLOBAL}/as_num", _DEFAULT_AS)

    def global_peers(self, version: int) -> list[Peer]:
        return self._peers(f"{_BGP_GLOBAL}/peer_v{version}/")

    def node_peers(self, node: str, version: int) -> list[Peer]:
        return self._peers(f"{_BGP}/host/{node}/peer_v{version}/")

    def custom_filters(self, version: int) -> list[str]:
        return [value for _, value in self._below(f"{_BGP_GLOBAL}/custom_filters/v{version}/")]

    def log_level(self, node: str) -> str:
        own = self._keys.get(f"{_BGP}/host/{node}/loglevel")
        return own or self._keys.get(f"{_BGP_GLOBAL}/loglevel", "info")

    def endpoints(self, node: str) -> list[Endpoint]:
        found = []
        for name, value in self._below(f"{_HOSTS}/{node}/workload/"):
            parts = name.split("/")
            if len(parts) != 4 or parts[2] != "endpoint":
                continue
            data = json.loads(value)
            networks = [*data.get("ipv4_nets", []), *data.get("ipv6_nets", [])]
            found.append(Endpoint(data["name"], tuple(map(ipaddress.ip_network, networks))))
        return found

    def ready_flag(self) -> str | None:
        return self._keys.get(f"{ROOT}/v1/Ready")

    def felix_setting(self, node: str, name: str) -> str | None:
        own = self._keys.get(f"{_HOSTS}/{node}/config/{name}")
        return own if own is not None else self._keys.get(f"{_CONFIG}/{name}")

    def cluster_type(self) -> str:
        return self._keys.get(f"{_CONFIG}/ClusterType", "")

    def _peers(self, prefix: str) -> list[Peer]:
        values = (json.loads(value) for _, value in self._below(prefix))
        return [Peer(value["ip"], str(value["as_num"])) for value in values]

    def _below(self, prefix: str) -> Iterator[tuple[str, str]]:
        for key in sorted(self._keys):
            if key.startswith(prefix):
                yield key.removeprefix(prefix), self._keys[key]


class Datastore:
    """Reads and writes of the start-up, the loop and Felix."""

    def __init__(self, client: etcdv2.Client):
        self._client = client

    def snapshot(self) -> tuple[Snapshot, int]:
        """What is stored, and the index to wait from."""
        keys, index = self._client.tree(ROOT)
        return Snapshot(keys), index

    def wait(self, index: int, timeout: float) -> bool:
        return self._client.wait(ROOT, index, timeout)

    def reachable(self) -> None:
        """Raises where the datastore does not answer."""
        self._client.get(f"{ROOT}/v1/Ready")

    def write_node(self, node: Node, with_bgp: bool) -> None:
        host, bgp = f"{_HOSTS}/{node.name}", f"{_BGP}/host/{node.name}"
        self._client.put(f"{host}/metadata", "{}")
        if not with_bgp:
            for version in (4, 6):
                self._client.put(f"{bgp}/ip_addr_v{version}", "")
            return
        for version in (4, 6):
            address = node.address(version)
            self._client.put(f"{bgp}/ip_addr_v{version}", str(address.ip) if address else "")
            if address:
                self._client.put(f"{bgp}/network_v{version}", str(address.network))
        if node.ipv4:
            self._client.put(f"{host}/bird_ip", str(node.ipv4.ip))
        if node.as_number is not None:
            self._client.put(f"{bgp}/as_num", str(node.as_number))

    def create_pool(self, network: Network, ipip: str, nat: bool) -> bool:
        """False where another node was faster."""
        value = {
            "cidr": str(network),
            "ipip": "tunl0" if ipip else "",
            "ipip_mode": ipip,
            "masquerade": nat,
            "ipam": True,
            "disabled": False,
        }
        name = str(network).replace("/", "-")
        created = self._put_if_unset(f"{ROOT}/v1/ipam/v{network.version}/pool/{name}", compact(value))
        if ipip:
            self._client.put(f"{_CONFIG}/IpInIpEnabled", "true")
        return created

    def write_defaults(self, node: str, version: str, cluster_type: str) -> None:
        """Settings that nobody made before the first node started."""
        defaults = {
            f"{ROOT}/v1/Ready": "true",
            f"{_CONFIG}/ClusterGUID": uuid.uuid4().hex,
            f"{_CONFIG}/ReportingIntervalSecs": "0",
            f"{_CONFIG}/LogSeverityScreen": "info",
            f"{_HOSTS}/{node}/config/DefaultEndpointToHostAction": "RETURN",
            f"{_BGP_GLOBAL}/node_mesh": compact({"enabled": True}),
            f"{_BGP_GLOBAL}/as_num": _DEFAULT_AS,
            f"{_BGP_GLOBAL}/loglevel": "info",
        }
        for key, value in defaults.items():
            self._put_if_unset(key, value)
        self._client.put(f"{_CONFIG}/CalicoVersion", version)
        if cluster_type:
            self._client.put(f"{_CONFIG}/ClusterType", cluster_type)

    def _put_if_unset(self, key: str, value: str) -> bool:
        try:
            self._client.put(key, value, prev_exist=False)
        except etcdv2.KeyExists:
            return False
        return True


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
