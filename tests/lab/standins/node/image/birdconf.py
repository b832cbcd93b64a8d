"""A node's view of the datastore -> the text of BIRD's configuration."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from generations import Generation
from model import Peer

_DEBUG = {"debug": "debug all", "none": None}
# From here on addresses are for groups, and for nobody: no router may be called so.
_FIRST_MULTICAST = 224


def render(snapshot, name: str, version: int, generation: Generation, router_id: str = "") -> str:
    """The configuration of `bird` (version 4) or `bird6` (6) on the node."""
    node = snapshot.node(name)
    if not router_id and node.ipv4 is None:
        # Without a router id BIRD could not run; the one that runs keeps what it has.
        raise LookupError(f"node {name} has no IPv4 address in the datastore")
    debug = _DEBUG.get(snapshot.log_level(name), "debug { states }")
    port = snapshot.listen_port(name)
    parts = [
        f"router id {_router_id(router_id, node)};",
        *([f"listen bgp port {port};"] if port else []),
        *_filters(snapshot, name, version, generation),
        _section(
            "protocol kernel",
            [*generation.kernel, f"export filter {generation.kernel_filter}"],
        ),
        _section("protocol device", [debug, "scan time 2"]),
        _section("protocol direct", [debug, *generation.direct]),
    ]
    if node.address(version):
        parts += _sessions(snapshot, node, version, generation, debug)
    return "\n\n".join(parts) + "\n"


def _router_id(asked_for: str, node) -> str:
    if asked_for != "hash":
        return asked_for or str(node.ipv4.ip)
    first, *others = hashlib.sha256(node.name.encode()).digest()[:4]
    if first >= _FIRST_MULTICAST:
        first -= 32
    return ".".join(map(str, (first, *others)))


def _filters(snapshot, name: str, version: int, generation: Generation) -> list[str]:
    blocks = snapshot.blocks(name, version)
    # The block is announced, nothing beneath it.
    own = [
        line
        for block in blocks
        for line in (f"if ( net = {block} ) then accept", f"if ( net ~ {block} ) then reject")
    ]
    pools = snapshot.pools(version)
    exported = [
        f"if ( net ~ {pool['cidr']} ) then {'reject' if pool.get('disableBGPExport') else 'accept'}"
        for pool in pools
    ]
    # Felix sees to the routes of these.
    vxlan = [
        f"if ( net ~ {pool['cidr']} ) then reject"
        for pool in pools
        if pool.get("vxlanMode", "Never") != "Never"
    ]
    custom = snapshot.custom_filters(version)
    return [
        _section("protocol static", [f"route {block} blackhole" for block in blocks]),
        _section("function calico_aggr()", own),
        "\n".join(["function custom_filters()", "{", *custom, "}"]),
        _section(
            f"filter {generation.bgp_filter}",
            ["calico_aggr()", "custom_filters()", *exported, "reject"],
        ),
        # The original also names the IPIP tunnel here, with a word of its own BIRD's.
        _section(f"filter {generation.kernel_filter}", [*vxlan, "accept"]),
    ]


def _sessions(snapshot, node, version: int, generation: Generation, debug) -> list[str]:
    own = node.address(version).ip
    source = f"source address {own}"
    template = _section(
        "template bgp bgp_template",
        [
            debug,
            'description "Connection to BGP peer"',
            f"local as {snapshot.as_number(node)}",
            None if generation.peers_name_source else source,
            f"export filter {generation.bgp_filter}",
            *generation.peer,
        ],
    )
    sessions = [template]
    for kind, peers in (
        ("Mesh", _mesh(snapshot, node, version, generation)),
        ("Global", snapshot.global_peers(version)),
        ("Node", snapshot.node_peers(node.name, version)),
    ):
        for peer in peers:
            if peer.ip == str(own):
                continue
            more = [source] if generation.peers_name_source and peer.from_node_address else []
            if kind == "Mesh":
                more += generation.mesh_waits if peer.ip > str(own) else ()
            else:
                more += _manners(peer, node, snapshot.as_number(node))
            sessions.append(_session(kind, peer, more))
    return sessions


def _mesh(snapshot, node, version: int, generation: Generation) -> list[Peer]:
    def apart(one) -> bool:
        return bool(one.cluster_id) and not generation.reflectors_mesh

    if not snapshot.mesh() or apart(node):
        return []
    return [
        Peer(str(other.address(version).ip), snapshot.as_number(other), snapshot.listen_port(other.name))
        for other in snapshot.nodes()
        if other.address(version) and not apart(other)
    ]


def _manners(peer: Peer, node, own_as: str) -> list[str]:
    if peer.as_number == own_as:
        reflects = node.cluster_id and peer.cluster_id != node.cluster_id
        return ["rr client", f"rr cluster id {node.cluster_id}"] if reflects else []
    return ["next hop keep"] if peer.keeps_next_hop else []


def _session(kind: str, peer: Peer, more: Iterable[str]) -> str:
    name, port = re.sub("[.:]", "_", f"{kind}_{peer.ip}"), ""
    if peer.port:
        port = f" port {peer.port}"
        # The mesh's names tell nothing of ports.
        name += "" if kind == "Mesh" else f"_port_{peer.port}"
    neighbor = f"neighbor {peer.ip}{port} as {peer.as_number}"
    return _section(f"protocol bgp {name} from bgp_template", [neighbor, *more])


def _section(head: str, statements: Iterable[str | None]) -> str:
    body = (f"  {statement};" for statement in statements if statement)
    return "\n".join([f"{head} {{" if "(" not in head else f"{head}\n{{", *body, "}"])
