"""A node's view of the datastore -> the text of BIRD's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable

from generations import Generation

_DEBUG = {"debug": "debug all", "none": None}


def render(snapshot, name: str, version: int, generation: Generation) -> str:
    """The configuration of `bird` (version 4) or `bird6` (6) on the node."""
    node = snapshot.node(name)
    if node.ipv4 is None:
        # Without a router id BIRD could not run; the one that runs keeps what it has.
        raise LookupError(f"node {name} has no IPv4 address in the datastore")
    debug = _DEBUG.get(snapshot.log_level(name), "debug { states }")
    parts = [
        f"router id {node.ipv4.ip};",
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


def _filters(snapshot, name: str, version: int, generation: Generation) -> list[str]:
    blocks = snapshot.blocks(name, version)
    # The block is announced, nothing beneath it.
    own = [
        line
        for block in blocks
        for line in (f"if ( net = {block} ) then accept", f"if ( net ~ {block} ) then reject")
    ]
    pools = [f"if ( net ~ {pool['cidr']} ) then accept" for pool in snapshot.pools(version)]
    custom = snapshot.custom_filters(version)
    return [
        _section("protocol static", [f"route {block} blackhole" for block in blocks]),
        _section("function calico_aggr()", own),
        "\n".join(["function custom_filters()", "{", *custom, "}"]),
        _section(
            f"filter {generation.bgp_filter}",
            ["calico_aggr()", "custom_filters()", *pools, "reject"],
        ),
        # The original also names the IPIP tunnel here, with a word of its own BIRD's.
        _section(f"filter {generation.kernel_filter}", ["accept"]),
    ]


def _sessions(snapshot, node, version: int, generation: Generation, debug) -> list[str]:
    own = node.address(version).ip
    template = _section(
        "template bgp bgp_template",
        [
            debug,
            f"local as {snapshot.as_number(node)}",
            f"source address {own}",
            f"export filter {generation.bgp_filter}",
            *generation.peer,
        ],
    )
    sessions = [
        *_mesh(snapshot, node, version, generation),
        *(_peer("Global", p.ip, p.as_number) for p in snapshot.global_peers(version)),
        *(_peer("Node", p.ip, p.as_number) for p in snapshot.node_peers(node.name, version)),
    ]
    return [template, *sessions]


def _mesh(snapshot, node, version: int, generation: Generation) -> list[str]:
    if not snapshot.mesh():
        return []
    own = node.address(version).ip
    sessions = []
    for other in snapshot.nodes():
        address = other.address(version)
        if address is None or address.ip == own:
            continue
        waits = generation.mesh_waits if str(address.ip) > str(own) else ()
        sessions.append(_peer("Mesh", str(address.ip), snapshot.as_number(other), waits))
    return sessions


def _peer(kind: str, ip: str, as_number: str, more: tuple[str, ...] = ()) -> str:
    name = re.sub("[.:]", "_", f"{kind}_{ip}")
    return _section(f"protocol bgp {name} from bgp_template", [f"neighbor {ip} as {as_number}", *more])


def _section(head: str, statements: Iterable[str | None]) -> str:
    body = (f"  {statement};" for statement in statements if statement)
    return "\n".join([f"{head} {{" if "(" not in head else f"{head}\n{{", *body, "}"])
