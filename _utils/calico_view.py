"""
One node's view of the mesh, and one minion's view of the datastore, small enough to be sent a thousand times.

In a mesh of a thousand nodes each has a thousand sessions: a session that is as it should be is told by its
address alone, and those that are not share their reasons. :mod:`calico_mesh` holds the views of all nodes
against each other. Pure: no Salt, no side effects.
"""

import ipaddress

from calico_topology import BGP_PORT, FAMILIES, matched, neighbour

# How much a view says at most: of reasons, of sessions that nothing asks for, of letters in one text.
MOST_REASONS = 20
MOST_EXTRA = 50
MOST_LETTERS = 300
OTHER = "other reasons"
UNTOLD = "BIRD has not been told of it yet"
MUTE = "BIRD gives no answer"
# What nodes are put together by, where they have it: the first of these labels.
RACKS = (
    "rack",
    "topology.kubernetes.io/rack",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
)
_BLOCK_SIZE = {4: 26, 6: 122}
_BITS = {4: 32, 6: 128}
_MOST_STRAYS = 100


def view(expected, sessions, families):
    """
    What there is of the sessions that must be.

    expected
        The sessions that the node must have, as ``calico.expected_peers`` returns them; None where that
        cannot be told: then all that BIRD has count.
    sessions
        The ones that there are, as ``calico.peers`` returns them.
    families
        The address families (4, 6) whose BIRD answered.

    Returns ``{"up", "down", "extra", "extras"}``: up is the addresses of sessions that are Established and
    must be, joined by blanks; down is ``[[why, "address since,address since,…"], …]`` of the ones that must
    be and are not; extra is ``[[address, why or None where Established], …]`` of the ones that nothing
    asks for, the first of them, extras their number. A port is shown where it is not BGP's own and the
    neighbour is no node of ours.
    """
    # BIRD may have two protocols for one neighbour, of which only one can be up: that one counts.
    present = {neighbour(session): session for session in sorted(sessions, key=_established)}
    if expected is None:
        expected = [dict(session, node=None) for session in present.values()]
    up, down = {}, {}
    for wanted, found in matched(expected, present.values(), _established):
        key = neighbour(wanted)
        present.pop(key, None)
        name = token(*key) if wanted["node"] is None else wanted["address"]
        if found is not None and found["established"]:
            up[name] = True
            continue
        if found is not None:
            why, since = _why(found), found["since"]
        else:
            # Twice in the datastore, or not (yet) in BIRD.
            if name in up or any(name in names for names in down.values()):
                continue
            family = 6 if ":" in wanted["address"] else 4
            why, since = UNTOLD if family in families else MUTE, ""
        if why not in down and len(down) >= MOST_REASONS:
            why = OTHER
        down.setdefault(why, {})[name] = since
    extra = [[token(*key), None if found["established"] else _why(found)] for key, found in present.items()]
    # The ones that are up matter more.
    extra.sort(key=lambda item: item[1] is not None)
    return {
        "up": " ".join(up),
        "down": [
            [why, ",".join(" ".join(filter(None, pair)) for pair in names.items())]
            for why, names in down.items()
        ],
        "extra": extra[:MOST_EXTRA],
        "extras": len(extra),
    }


def _established(session):
    return session["established"]


def _why(session):
    parts = (session.get("info") or session.get("state"), session.get("reason"))
    return short(", ".join(part for part in parts if part))


def short(text):
    """The text on one line, with an end."""
    line = " ".join(str(text).split())
    return line if len(line) <= MOST_LETTERS else line[: MOST_LETTERS - 1] + "…"


def token(address, port):
    """What a session goes by: the address, and the port where it is not BGP's own."""
    if port in (None, BGP_PORT):
        return address
    return ("[%s]:%d" if ":" in address else "%s:%d") % (address, port)


def since(found, name):
    """Since when a session of this view is down, in BIRD's words; None where BIRD does not say."""
    for _why_down, names in found["down"]:
        for item in names.split(","):
            address, _, when = item.partition(" ")
            if address == name:
                return when or None
    return None


# The datastore ----------------------------------------------------------------------------------


def summary(cluster):
    """
    What there must be: the nodes, and the pools with how full they are.

    cluster
        :class:`calico_topology.Cluster` with bgp, pools, blocks and ready; where it has no blocks, with
        workloads.

    Returns ``{"generation", "as_number", "mesh", "locked", "nodes", "pools", "stray", "strays"}``: nodes is
    ``{name: [addresses, AS number, rack or None, True for a reflector]}``, pools a list of ``{"cidr",
    "disabled", "block_size", "used" (addresses), "blocks"}``, stray ``[[block, its node, addresses
    in use], …]`` of blocks that are bound to nodes that are gone, the first of them, strays their number.
    """
    nodes = {
        name: [
            [node[f"ipv{family}"] for family in FAMILIES if node[f"ipv{family}"]],
            node["as_number"] or cluster.as_number,
            next((node["labels"][label] for label in RACKS if label in node["labels"]), None),
            bool(node["cluster_id"]),
        ]
        for name, node in cluster.nodes.items()
    }
    stray = [
        [block["cidr"], block["node"], block["used"]]
        for block in cluster.blocks
        if block["node"] and block["node"] not in cluster.nodes
    ]
    return {
        "generation": cluster.generation,
        "as_number": cluster.as_number,
        "mesh": cluster.mesh,
        "locked": not cluster.ready,
        "nodes": nodes,
        "pools": _pools(cluster),
        "stray": stray[:_MOST_STRAYS],
        "strays": len(stray),
    }


def _pools(cluster):
    found = []
    for pool in cluster.pools:
        spec = pool.get("spec") or {}
        network = ipaddress.ip_network(spec.get("cidr") or pool["metadata"]["cidr"], strict=False)
        size = int(spec.get("blockSize") or _BLOCK_SIZE[network.version])
        found.append(
            (
                network,
                {
                    "cidr": str(network),
                    "disabled": bool(spec.get("disabled")),
                    "block_size": size,
                    "used": 0,
                    "blocks": 0,
                },
            )
        )
    starts = {}
    for network, pool in found:
        starts.setdefault((network.version, network.prefixlen), {})[int(network.network_address)] = pool
    for block in cluster.blocks:
        pool = _pool_of(starts, ipaddress.ip_network(block["cidr"], strict=False))
        if pool:
            pool["blocks"] += 1
            pool["used"] += block["used"]
    if not cluster.blocks:
        # Without Calico's own address management, or where it cannot be read.
        for workload in cluster.workloads:
            for network in workload["networks"]:
                pool = _pool_of(starts, ipaddress.ip_network(network, strict=False))
                if pool:
                    pool["used"] += 1
    return [pool for _network, pool in found]


def _pool_of(starts, network):
    """The pool that the network lies in: found by its start, as there may be many of both."""
    number = int(network.network_address)
    for (version, length), pools in starts.items():
        if version == network.version and length <= network.prefixlen:
            shift = _BITS[version] - length
            pool = pools.get(number >> shift << shift)
            if pool:
                return pool
    return None
