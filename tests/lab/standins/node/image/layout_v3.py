"""Calico's data in etcd's v3 keys, as the v3 API lays it out.

Resources are written by what calicoctl writes them with, so both leave the same bytes.
"""

from __future__ import annotations

import copy
import dataclasses
import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator

import etcdv3
from calicoctl import blocks, errors, kinds, selectors, structs, versions
from calicoctl import layout_v3 as resources
from environment import Environment, Interface, Network
from model import Endpoint, Node, Peer

ROOT = "/calico/"
_HOSTS = f"{blocks.ROOT}/host"
_DEFAULT_AS = 64512
_BGP_PORT = 179
_TRIES = 5
# From here on the start-up leaves a BGPConfiguration of the cluster, too.
_BGP_CONFIGURATION_SINCE = (3, 32)

# Whatever the datastore may answer with. That none answers is no error: one waits.
Error = (etcdv3.EtcdError, errors.CtlError)
Unreachable = ()


def connect(env: Environment, version: str) -> Datastore:
    return Datastore(etcdv3.Client(env.endpoints(), **env.certificates(), timeout=30.0), version)


class Snapshot:
    """Everything below Calico's root at one moment, with readers for it."""

    def __init__(self, keys: dict[str, str]):
        self._keys = keys

    # --- nodes

    def nodes(self) -> list[Node]:
        return [_node(resource) for resource in self._all("nodes")]

    def node(self, name: str) -> Node:
        resource = self._one("nodes", name)
        return _node(resource) if resource else Node(name)

    def pools(self, version: int) -> list[dict]:
        specs = (resource["spec"] for resource in self._all("ippools"))
        return [spec for spec in specs if ipaddress.ip_network(spec["cidr"]).version == version]

    def blocks(self, node: str, version: int) -> list[Network]:
        """The blocks that belong to the node."""
        prefix = f"{_HOSTS}/{node}/ipv{version}/block/"
        return sorted(ipaddress.ip_network(name.replace("-", "/")) for name, _ in self._below(prefix))

    def endpoints(self, node: str) -> list[Endpoint]:
        specs = (resource["spec"] for resource in self._all("workloadendpoints"))
        return [
            Endpoint(spec["interfaceName"], tuple(map(ipaddress.ip_network, spec.get("ipNetworks", []))))
            for spec in specs
            if spec.get("node") == node
        ]

    # --- settings

    def _bgp(self, field: str, node: str = ""):
        """A setting of BGP: the node's own goes before the cluster's."""
        for name in [f"node.{node}", "default"] if node else ["default"]:
            value = _spec(self._one("bgpconfigurations", name)).get(field)
            if value is not None:
                return value
        return None

    def mesh(self) -> bool:
        return self._bgp("nodeToNodeMeshEnabled") is not False

    def as_number(self, node: Node) -> str:
        return str(node.as_number or self._bgp("asNumber") or _DEFAULT_AS)

    def listen_port(self, node: str) -> int | None:
        return self._bgp("listenPort", node)

    def log_level(self, node: str) -> str:
        return (self._bgp("logSeverityScreen", node) or "info").lower()

    def custom_filters(self, _version: int) -> list[str]:
        """There is no place for them in this generation."""
        return []

    def ready_flag(self) -> str:
        """What this Felix does with it is not known here."""
        return "true"

    def felix_setting(self, node: str, name: str) -> str | None:
        field = name[:1].lower() + name[1:]
        for place in (f"node.{node}", "default"):
            value = _spec(self._one("felixconfigurations", place)).get(field)
            if value is not None:
                return str(value)
        return None

    # --- peers

    def global_peers(self, version: int) -> list[Peer]:
        specs = self._peerings(everywhere=True)
        return _in_order(peer for spec in specs for peer in self._remote(spec, version))

    def node_peers(self, node: str, version: int) -> list[Peer]:
        """What is a peer of every node anyway is left out."""
        own = self.node(node)
        everywhere = {(peer.ip, peer.port) for peer in self.global_peers(version)}
        found = [*self._named_peers(own, version), *self._reverse_peers(own, version)]
        return _in_order(peer for peer in found if (peer.ip, peer.port) not in everywhere)

    def _named_peers(self, own: Node, version: int) -> Iterator[Peer]:
        for spec in self._peerings(everywhere=False):
            if own.name in self._local(spec):
                yield from self._remote(spec, version)

    def _remote(self, spec: dict, version: int) -> Iterator[Peer]:
        if spec.get("peerSelector"):
            yield from self._as_peers(self._matching(spec["peerSelector"]), version, spec)
        for ip, port in _addresses(spec.get("peerIP", "")):
            if ipaddress.ip_address(ip).version == version:
                yield Peer(ip, str(spec.get("asNumber", 0)), port, **_manners(spec))

    def _reverse_peers(self, own: Node, version: int) -> Iterator[Peer]:
        """A node that others are told to peer with peers with them."""
        for spec in [*self._peerings(everywhere=True), *self._peerings(everywhere=False)]:
            if spec.get("peerSelector"):
                remote = self._matching(spec["peerSelector"])
            else:
                remote = {
                    node.name for ip, port in _addresses(spec.get("peerIP", ""))
                    for node in self.nodes() if self._is_at(node, ip, port, spec.get("asNumber"))
                }  # fmt: skip
            if own.name in remote:
                yield from self._as_peers(self._local(spec), version, spec)

    def _is_at(self, node: Node, ip: str, port: int | None, as_number: int | None) -> bool:
        return (
            ip in {str(address.ip) for address in (node.ipv4, node.ipv6) if address}
            and (port or _BGP_PORT) == (self.listen_port(node.name) or _BGP_PORT)
            and self.as_number(node) == str(as_number or self.as_number(Node("")))
        )

    def _peerings(self, everywhere: bool) -> list[dict]:
        specs = [resource.get("spec") or {} for resource in self._all("bgppeers")]
        return [spec for spec in specs if everywhere != bool(spec.get("node") or spec.get("nodeSelector"))]

    def _local(self, spec: dict) -> set[str]:
        if spec.get("node"):
            return {spec["node"]}
        return self._matching(spec.get("nodeSelector") or "all()")

    def _matching(self, selector: str) -> set[str]:
        try:
            matches = selectors.parsed(selector)
        except selectors.NoSelector:
            return set()
        metadata = [resource["metadata"] for resource in self._all("nodes")]
        return {data["name"] for data in metadata if matches(data.get("labels") or {})}

    def _as_peers(self, names: set[str], version: int, spec: dict) -> Iterator[Peer]:
        for node in self.nodes():
            address = node.address(version)
            if node.name in names and address:
                yield Peer(
                    str(address.ip),
                    self.as_number(node),
                    self.listen_port(node.name),
                    node.cluster_id,
                    **_manners(spec),
                )

    # --- resources

    def cluster_type(self) -> str:
        return _spec(self._one("clusterinformations", "default")).get("clusterType", "")

    def _one(self, plural: str, name: str) -> dict | None:
        value = self._keys.get(f"{resources.ROOT}/{plural}/{name}")
        return json.loads(value) if value else None

    def _all(self, plural: str) -> list[dict]:
        return [json.loads(value) for _, value in self._below(f"{resources.ROOT}/{plural}/")]

    def _below(self, prefix: str) -> Iterator[tuple[str, str]]:
        for key in sorted(self._keys):
            if key.startswith(prefix):
                yield key.removeprefix(prefix), self._keys[key]


def _in_order(peers: Iterable[Peer]) -> list[Peer]:
    """By address, each once."""
    found: dict[tuple, Peer] = {}
    for peer in peers:
        found.setdefault((peer.ip, peer.port), peer)
    return sorted(found.values(), key=lambda peer: peer.ip)


def _spec(resource: dict | None) -> dict:
    return (resource or {}).get("spec") or {}


def _node(resource: dict) -> Node:
    bgp = _spec(resource).get("bgp") or {}
    return Node(
        resource["metadata"]["name"],
        _interface(bgp.get("ipv4Address")),
        _interface(bgp.get("ipv6Address")),
        bgp.get("asNumber"),
        bgp.get("routeReflectorClusterID", ""),
        exists=True,
    )


def _interface(text: str | None) -> Interface | None:
    return ipaddress.ip_interface(text) if text else None


def _addresses(text: str) -> list[tuple[str, int | None]]:
    """``1.2.3.4``, ``1.2.3.4:179``, ``fd00::1`` or ``[fd00::1]:179``, apart; none where it is empty."""
    if not text:
        return []
    if text.startswith("["):
        ip, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        ip, _, port = text.partition(":")
    else:
        ip, port = text, ""
    return [(ip, int(port) if port else None)]


def _manners(spec: dict) -> dict:
    return {
        "from_node_address": spec.get("sourceAddress") != "None",
        "keeps_next_hop": bool(spec.get("keepOriginalNextHop")),
    }


def played(version: str) -> versions.Version:
    """The API of a version: that of the newest one known which is not newer."""
    known = sorted((one for one in versions.VERSIONS.values() if not one.first), key=lambda one: one.number)
    wanted = dataclasses.replace(known[0], name=version).number
    older = [one for one in known if one.number <= wanted]
    return dataclasses.replace(older[-1] if older else known[0], name=version)


class Datastore:
    """Reads and writes of the start-up, the loop and Felix."""

    def __init__(self, client: etcdv3.Client, version: str):
        self._client = client
        self._version = played(version)
        self._kinds = kinds.Kinds(self._version)
        schema = structs.load("v3", self._version.number)
        self._resources = resources.Layout(client, self._version, self._kinds, schema)

    def snapshot(self) -> tuple[Snapshot, int]:
        """What is stored, and the revision to wait from."""
        keys, revision = self._client.tree(ROOT)
        return Snapshot(keys), revision

    def wait(self, revision: int, timeout: float) -> bool:
        return self._client.wait(ROOT, revision, timeout)

    def reachable(self) -> None:
        """Returns when the datastore answers."""
        self._client.get(f"{resources.ROOT}/clusterinformations/default")

    def write_node(self, node: Node, with_bgp: bool) -> None:
        def change(spec: dict) -> None:
            if not with_bgp:
                return
            own = {f"ipv{version}Address": str(node.address(version) or "") for version in (4, 6)}
            if node.as_number is not None:
                own["asNumber"] = node.as_number
            bgp = {field: value for field, value in {**(spec.pop("bgp", None) or {}), **own}.items() if value}
            if bgp:
                spec["bgp"] = bgp

        self._ensure("Node", node.name, change)

    def create_pool(self, name: str, spec: dict) -> bool:
        """False where another node was faster."""
        try:
            self._resources.create(self._kind("IPPool"), {"metadata": {"name": name}, "spec": spec})
        except errors.AlreadyExists:
            return False
        return True

    def write_defaults(self, node: str, version: str, cluster_type: str) -> None:
        """Settings that nobody made before the first node started."""
        self._resources.initialise()

        def information(spec: dict) -> None:
            spec["calicoVersion"] = version
            if cluster_type:
                spec["clusterType"] = cluster_type

        self._ensure("ClusterInformation", "default", information)
        felix = _unless_set(reportingInterval="0s", logSeverityScreen="Info")
        self._ensure("FelixConfiguration", "default", felix)
        self._ensure("FelixConfiguration", f"node.{node}", _unless_set(defaultEndpointToHostAction="Return"))
        if self._version.number >= _BGP_CONFIGURATION_SINCE:
            self._ensure("BGPConfiguration", "default", _unless_set(nodeToNodeMeshEnabled=True))

    def _ensure(self, kind_name: str, name: str, change: Callable[[dict], None]) -> None:
        """The resource is there, and as CHANGE makes its spec; a conflict is read again."""
        kind = dataclasses.replace(self._kind(kind_name), readonly=False)
        for attempt in range(_TRIES):
            try:
                old = self._resources.get(kind, {"name": name})
            except errors.NotFound:
                old = {"metadata": {"name": name}, "spec": {}}
            new = copy.deepcopy(old)
            change(new.setdefault("spec", {}))
            if new == old and "uid" in old["metadata"]:
                return
            try:
                if "uid" in old["metadata"]:
                    self._resources.update(kind, new, old)
                else:
                    self._resources.create(kind, new)
                return
            except (errors.Conflict, errors.AlreadyExists, errors.NotFound):
                if attempt == _TRIES - 1:
                    raise

    def _kind(self, name: str) -> kinds.Kind:
        return self._kinds.by_document(self._version.api_version, name)


def _unless_set(**values) -> Callable[[dict], None]:
    def change(spec: dict) -> None:
        for field, value in values.items():
            if spec.get(field) in (None, ""):
                spec[field] = value

    return change
