"""
Changes that would cut workloads off or split the cluster: found before anything is written.

Each has a word in :data:`ALLOW`; whoever wants the change all the same gives the word. Pure: no Salt,
no side effects; what is given is never changed.
"""

import bisect
import copy
import functools
import ipaddress
from typing import Any, NamedTuple, Optional

import calico_topology
from calico_kinds import DECLARED, at
from calico_resources import network_of

ALLOW = (
    "pool_in_use",
    "pool_recreate",
    "pool_overlap",
    "last_pool",
    "node_in_use",
    "no_sessions",
    "as_number",
    "own_node_peer",
)

# How many of many are named.
_NAMED = 5
_DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}
# calicoctl is not particular about the spelling of kinds.
_WHAT = {kind.lower(): what for what, kinds in DECLARED.items() for kind in kinds.values()}
# Where a node's tunnel addresses lie: in its Node (3.x), in what `calicoctl config` sets for it (2.6).
TUNNELS = (
    ("spec", "bgp", "ipv4IPIPTunnelAddr"),
    ("spec", "ipv4VXLANTunnelAddr"),
    ("spec", "ipv6VXLANTunnelAddr"),
    ("spec", "wireguard", "interfaceIPv4Address"),
    ("spec", "wireguard", "interfaceIPv6Address"),
)
V1_TUNNELS = (("felix", "IpInIpTunnelAddr"),)


def refusals(cluster, writes=(), deletes=(), allow=()):
    """
    What speaks against a change, an empty list if nothing does.

    cluster
        :class:`calico_topology.Cluster` as it is, with all that the words are about: nodes, pools,
        peers, BGP settings, workloads and blocks.
    writes
        [(current resource or None, the resource as it will be written)]. Of Calico 2.6,
        BGPConfiguration stands for what ``calicoctl config`` sets.
    deletes
        Resources that will be removed, before anything is written.
    allow
        Words of :data:`ALLOW` that are not to be refused.

    Returns a list of {"resource", "allow": the word that would allow it, "seen": what is the matter,
    "do": what to do instead}. The words:

    pool_in_use
        A pool is removed (or made anew) that has addresses in use: by workload endpoints, and by the
        blocks that lie in the pool. What these have beyond the endpoints may be the tunnel addresses of
        nodes, or a workload's that is just being made.
    pool_recreate
        The network or the block size of a pool is changed, or a pool gives way to one that overlaps it
        without covering all of its addresses in use.
    pool_overlap
        Two pools overlap that did not do so before.
    last_pool
        An address family has no enabled pool any more.
    node_in_use
        A node is deleted that has workloads, or whose blocks have addresses in use other than the
        node's own tunnel addresses, which go with it.
    no_sessions
        A node that had to have BGP sessions of an address family would have none of it. One that is
        left alone, as all nodes that it had sessions with are deleted, needs none. Sessions that cannot
        come up count for nothing: of peers that select no node or no neighbour, and with nodes of ours
        that do not have this one as a neighbour. A neighbour that is none of our nodes counts once it is
        declared, up or not: nothing in the datastore tells.
    as_number
        The AS number of all nodes changes while several of them go by it: they would all restart
        their sessions, with numbers that do not fit until the last one has followed.
    own_node_peer
        A peer by address is one of our own nodes. For the node that has this address, named outright,
        it never makes sense: Calico leaves it out. For other nodes it is a second session with the
        same neighbour if both are in the mesh, and BIRD lets only one of them live. Accepted is what
        reflectors are declared with: the mesh is off after the change, or one of the two sides has a
        cluster id, and so is not in the mesh. So is another port than the node's own: something else
        listens there. Between nodes, a peer that was no better before may be changed in other ways.
    """
    change = _Change(cluster, writes, deletes)
    return [
        {"resource": resource, "allow": word, "seen": seen, "do": do}
        for word in ALLOW
        if word not in allow
        for resource, seen, do in _RULES[word](change)
    ]


def after(cluster, writes=(), deletes=()):
    """The cluster, with everything about BGP as it will be. Arguments as for :func:`refusals`."""
    return _Change(cluster, writes, deletes).after


# The change -----------------------------------------------------------------------------------


class _Pool(NamedTuple):
    title: str
    network: Any
    block_size: int
    enabled: bool

    @property
    def fixed(self):
        """What cannot be changed."""
        return self.network, self.block_size


class _User(NamedTuple):
    """An address in use; the first two are what addresses are sorted by."""

    version: int
    number: int
    node: Optional[str]
    whose: str

    def __str__(self):
        address = {4: ipaddress.IPv4Address, 6: ipaddress.IPv6Address}[self.version]
        return f"{address(self.number)} of {self.whose}"


class _Block(NamedTuple):
    """A block with addresses in use; the first two are those of its first address."""

    version: int
    number: int
    network: Any
    node: Optional[str]
    used: int

    def __str__(self):
        return f"the block {self.network} of {self.node or 'no node'}"


def _sorted(items):
    return sorted(items, key=lambda item: item[:2])


def _inside(items, network):
    """Those of the sorted users or blocks that lie in the network."""
    first = bisect.bisect_left(items, (network.version, int(network.network_address)))
    last = bisect.bisect_left(items, (network.version, int(network.broadcast_address) + 1))
    return items[first:last]


class _Change:
    """The cluster as it is, what is done to it, and the cluster that this makes."""

    def __init__(self, cluster, writes, deletes):
        self.before = cluster
        self.generation = cluster.generation
        self.writes = {what: [] for what in DECLARED}
        self.deletes = {what: [] for what in DECLARED}
        for old, new in writes:
            if _what(new):
                self.writes[_what(new)].append((old, new))
        for old in deletes:
            if _what(old):
                self.deletes[_what(old)].append(old)

    def of(self, *whats):
        """All resources of these kinds that are written or deleted."""
        written = [new for what in whats for _old, new in self.writes[what]]
        return written + [old for what in whats for old in self.deletes[what]]

    def existing(self, what):
        """{key: resource} as it is."""
        existing = self.before.resources.get(DECLARED[what][self.generation], [])
        return {self._key(what, resource): resource for resource in existing}

    def resources(self, what, writes=True):
        """{key: resource} as it will be; without ``writes``, as it is when the deletes are done."""
        found = self.existing(what)
        for old in self.deletes[what]:
            found.pop(self._key(what, old), None)
        for old, new in self.writes[what] if writes else ():
            if old is not None:
                found.pop(self._key(what, old), None)
            found[self._key(what, new)] = new
        return found

    def _key(self, what, resource):
        metadata = resource.get("metadata") or {}
        if self.generation == "v1" and what == "pool":
            return str(network_of(metadata.get("cidr")) or metadata.get("cidr"))
        if self.generation == "v1" and what == "peer":
            return metadata.get("node") or None, _address(metadata.get("peerIP"))
        return metadata.get("name")

    # Pools

    @functools.cached_property
    def pools(self):
        """{key: pool} as they are."""
        return self._pools(self.existing("pool"))

    @functools.cached_property
    def pools_after(self):
        """{key: pool} as they will be."""
        return self._pools(self.resources("pool"))

    def _pools(self, resources):
        pools = {key: _pool(resource, self.generation) for key, resource in resources.items()}
        return {key: pool for key, pool in pools.items() if pool}

    @functools.cached_property
    def made_anew(self):
        """[(pool, as which it will be made anew)]: what cannot be changed differs."""
        found = []
        for old, new in self.writes["pool"]:
            key = self._key("pool", new if old is None else old)
            was, will_be = self.pools.get(key), self.pools_after.get(self._key("pool", new))
            if was and will_be and was.fixed != will_be.fixed:
                found.append((was, will_be))
        return found

    @functools.cached_property
    def removed(self):
        """The pools that are removed, also those that are made anew afterwards."""
        keys = [self._key("pool", old) for old in self.deletes["pool"]]
        found = [self.pools[key] for key in keys if key in self.pools]
        return found + [was for was, _will_be in self.made_anew if was not in found]

    # Addresses in use

    @functools.cached_property
    def endpoints(self):
        """The addresses of workloads."""
        return _sorted(
            _User(net.version, int(net.network_address), item["node"], f"{item['name']} on {item['node']}")
            for item in self.before.workloads
            for net in map(network_of, item["networks"])
            if net is not None
        )

    @functools.cached_property
    def tunnels(self):
        """The addresses of the nodes' tunnels."""
        if self.generation == "v1":
            nodes = (self.before.config.get("nodes") or {}).items()
            given = [(name, at(node, path)) for name, node in nodes for path in V1_TUNNELS]
        else:
            nodes = self.existing("node").items()
            given = [(name, at(node, path)) for name, node in nodes for path in TUNNELS]
        found = [(name, ipaddress.ip_interface(address).ip) for name, address in given if address]
        return _sorted(_User(ip.version, int(ip), name, f"the tunnel of {name}") for name, ip in found)

    @functools.cached_property
    def blocks(self):
        """The blocks with addresses in use."""
        used = [(network_of(block["cidr"]), block) for block in self.before.blocks if block["used"]]
        return _sorted(
            _Block(net.version, int(net.network_address), net, block["node"], block["used"])
            for net, block in used
        )

    # Nodes and sessions

    @functools.cached_property
    def after(self):
        """The cluster with everything about BGP as it will be."""
        return self._derived(True) if self.of("node", "peer", "bgp") else self.before

    @functools.cached_property
    def connected(self):
        """:func:`calico_topology.connected` of the cluster as it is, with what can come up at all."""
        return calico_topology.connected(self.before, answered=True)

    @functools.cached_property
    def connected_without(self):
        """The same as if the nodes that are to be deleted had never been there."""
        if not self.deletes["node"]:
            return self.connected
        return calico_topology.connected(self._derived(False), answered=True)

    def _derived(self, writes):
        """The cluster after the change; without ``writes``, only the deleted nodes are taken away."""
        nodes = self.resources("node", writes)
        peers = self.resources("peer") if writes else self.existing("peer")
        if self.generation == "v1":
            return self._derived_v1(nodes, peers, writes)
        settings = self.resources("bgp") if writes else self.existing("bgp")
        of_kind = {"node": nodes, "peer": peers, "bgp": settings}
        return calico_topology.from_v3(
            {**resource, "kind": DECLARED[what]["v3"]}
            for what, resources in of_kind.items()
            for resource in resources.values()
        )

    def _derived_v1(self, nodes, peers, writes):
        after = copy.copy(self.before)
        known, facts = self.existing("node"), self.before.nodes
        after.nodes = {
            name: facts[name] if resource is known.get(name) else _v1_node(facts.get(name), resource)
            for name, resource in nodes.items()
        }
        after.peerings = [_v1_peering(peer) for peer in peers.values()]
        if writes:
            for old in self.deletes["bgp"]:
                _v1_settings(after, old, {})
            for old, new in self.writes["bgp"]:
                _v1_settings(after, old, new)
        return after


def _what(resource):
    return _WHAT.get(str(resource.get("kind")).lower())


def _title(resource):
    metadata = resource.get("metadata") or {}
    names = [metadata.get(key) for key in ("name", "cidr", "node", "peerIP")]
    return " ".join(str(part) for part in [resource["kind"], *names] if part)


def _pool(resource, generation):
    metadata, spec = resource.get("metadata") or {}, resource.get("spec") or {}
    network = network_of(metadata.get("cidr") if generation == "v1" else spec.get("cidr"))
    if network is None:
        return None
    size = int(spec.get("blockSize") or _DEFAULT_BLOCK_SIZE[network.version])
    return _Pool(_title(resource), network, size, not spec.get("disabled"))


def _address(text):
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _v1_node(known, resource):
    """The facts about a node of Calico 2.6 as it will be."""
    bgp = at(resource, ("spec", "bgp")) or {}
    number = bgp.get("asNumber")
    node = dict(known or {"labels": {}, "cluster_id": None, "listen_port": None})
    node["as_number"] = None if number is None else calico_topology.as_number(number)
    for family in calico_topology.FAMILIES:
        address = bgp.get(f"ipv{family}Address")
        node[f"ipv{family}"] = _address(address.partition("/")[0]) if address else None
    return node


def _v1_peering(resource):
    return {
        "node": at(resource, ("metadata", "node")) or None,
        "address": _address(at(resource, ("metadata", "peerIP"))),
        "port": None,
        "as_number": calico_topology.as_number(at(resource, ("spec", "asNumber")) or 0),
    }


def _v1_settings(cluster, old, new):
    """Apply what ``calicoctl config`` sets for all nodes; what was there and is no more is the default."""
    if at(new or old, ("metadata", "name")) != "default":
        return
    settings = {**dict.fromkeys(at(old, ("spec",)) or {}), **(at(new, ("spec",)) or {})}
    if "nodeToNodeMeshEnabled" in settings:
        cluster.mesh = settings["nodeToNodeMeshEnabled"] is not False
    if "asNumber" in settings:
        number = settings["asNumber"]
        cluster.as_number = calico_topology.as_number(number or calico_topology.DEFAULT_AS_NUMBER)


# Pools ------------------------------------------------------------------------------------------


class _Use:
    """The addresses of a network that are in use, by name where they have one."""

    def __init__(self, change, network):
        self.known = _inside(change.endpoints, network)
        taken = {user[:2] for user in self.known}
        self.tunnels = [user for user in _inside(change.tunnels, network) if user[:2] not in taken]
        self.known += self.tunnels
        self.unnamed = _unnamed(_inside(change.blocks, network), self.known)
        self.total = len(self.known) + sum(count for count, _block in self.unnamed)

    def outside(self, network):
        """How many of them the other network does not have; a block counts as a whole."""
        inside = len(_inside(_sorted(self.known), network))
        blocks = [
            count
            for count, block in self.unnamed
            if block.version == network.version and block.network.subnet_of(network)
        ]
        return self.total - inside - sum(blocks)

    def __str__(self):
        return _some([*self.known, *(f"{count} more in {block}" for count, block in self.unnamed)])


def _unnamed(blocks, known):
    """[(how many, block)] of addresses in use that are not among the known ones."""
    known = _sorted(known)
    found = [(block.used - len(_inside(known, block.network)), block) for block in blocks]
    return [(count, block) for count, block in found if count > 0]


def _some(items):
    """Up to five of them by name, and how many more there are."""
    items = [str(item) for item in items]
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _count(number, thing):
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"


def _in_use(number):
    return f"{_count(number, 'address')} {'is' if number == 1 else 'are'} in use"


def _pool_in_use(change):
    for pool in change.removed:
        use = _Use(change, pool.network)
        if not use.total:
            continue
        seen = f"of {pool.network} {_in_use(use.total)}"
        do = "disable the pool, recreate its workloads, and remove it when none of its addresses is in use"
        if use.tunnels:
            seen += f" ({len(use.tunnels)} by tunnels of nodes)"
            do += "; a node takes another tunnel address when calico-node restarts with the pool disabled"
        yield pool.title, f"{seen}, and their routes do not come back with the pool: {use}", do


def _pool_recreate(change):
    for was, will_be in [*change.made_anew, *_replacements(change)]:
        differs = []
        if was.network != will_be.network:
            differs.append(f"cidr from {was.network} to {will_be.network}")
        if was.block_size != will_be.block_size:
            differs.append(f"block_size from {was.block_size} to {will_be.block_size}")
        seen = f"it would have to be made anew: {' and '.join(differs)}"
        use = _Use(change, was.network)
        if use.total:
            outside = use.outside(will_be.network)
            seen += f"; {_in_use(use.total)}, {outside} of them outside of the new one: {use}"
        yield (
            was.title,
            seen,
            "make a new pool with another name and network, disable this one, recreate the workloads, and "
            "remove it then",
        )


def _replacements(change):
    """[(pool, another)]: a new one that overlaps it takes its place, but not all of its addresses in use."""
    there = {pool.network for pool in change.pools.values()}
    new = [pool for pool in change.pools_after.values() if pool.network not in there]
    anew = [was for was, _will_be in change.made_anew]
    for pool in change.removed:
        heirs = [heir for heir in new if _overlap(pool, heir)] if pool not in anew else []
        use = _Use(change, pool.network) if heirs else None
        if heirs and all(use.outside(heir.network) for heir in heirs):
            yield pool, heirs[0]


def _overlap(one, other):
    return one.network.version == other.network.version and one.network.overlaps(other.network)


def _pool_overlap(change):
    there = {(key, pool.network) for key, pool in change.pools.items()}
    for one, other in _overlaps(change.pools_after):
        new = [pool for key, pool in (one, other) if (key, pool.network) not in there]
        if new:
            known = one[1] if new[0] is other[1] else other[1]
            yield (
                new[0].title,
                f"{new[0].network} overlaps {known.network} of {known.title}",
                "give it a network that no other pool has a part of",
            )


def _overlaps(pools):
    """All pairs that overlap. Of two networks one holds the other, or they have nothing in common."""
    around = []
    for item in sorted(pools.items(), key=lambda item: (item[1].network.version, item[1].network)):
        while around and not _overlap(around[-1][1], item[1]):
            around.pop()
        for other in around:
            yield item, other
        around.append(item)


def _last_pool(change):
    for family in calico_topology.FAMILIES:
        enabled = _enabled(change.pools, family)
        if enabled and not _enabled(change.pools_after, family):
            yield (
                _some(enabled),
                f"no enabled pool for IPv{family} would be left: new workloads would get no address",
                f"make another pool for IPv{family}, or enable one, before this change or with it",
            )


def _enabled(pools, family):
    return [pool.title for pool in pools.values() if pool.enabled and pool.network.version == family]


# Nodes ------------------------------------------------------------------------------------------


def _node_in_use(change):
    for resource in change.deletes["node"]:
        name = resource["metadata"]["name"]
        workloads = [item["name"] for item in change.before.workloads if item["node"] == name]
        known = [user for user in (*change.endpoints, *change.tunnels) if user.node == name]
        unnamed = _unnamed([block for block in change.blocks if block.node == name], known)
        seen = []
        if workloads:
            seen.append(f"{_count(len(workloads), 'workload')} would be cut off for good: {_some(workloads)}")
        if unnamed:
            count = sum(count for count, _block in unnamed)
            blocks = _some(block.network for _count, block in unnamed)
            seen.append(f"{_in_use(count)} in its blocks that none of its workloads has: {blocks}")
        if seen:
            yield (
                _title(resource),
                "; ".join(seen),
                "remove its workloads (drain the node), stop calico-node there, and delete the node then",
            )


# Sessions ---------------------------------------------------------------------------------------


def _no_sessions(change):
    if change.after is change.before:
        return
    sessions = calico_topology.connected(change.after, answered=True)
    lost = {
        family: [
            name
            for name in _needing(change, family)
            if name in change.after.nodes and family not in sessions[name]
        ]
        for family in calico_topology.FAMILIES
    }
    names = {name: None for family in lost.values() for name in family}
    if not names:
        return
    families = " and ".join(f"IPv{family}" for family, of_family in lost.items() if of_family)
    seen = f"{_count(len(names), 'node')} would have no BGP session left for {families}: {_some(names)}"
    idle = list(calico_topology.idle_peers(change.after))
    if idle:
        seen += f" (no session comes of {_count(len(idle), 'peer')}: {_some(idle)})"
    yield (
        _title(_cause(change)),
        seen,
        "write the peers first (and label the nodes that are to be reflectors), wait until their sessions "
        "are Established, and switch the mesh off or remove other peers then; a cluster id, which takes a "
        "node out of the mesh, goes together with its peers. A peer that is none of our nodes counts once "
        "it is declared: whether it answers only its sessions tell",
    )


def _needing(change, family):
    """The nodes that have sessions of this family; one that is left alone needs none with the deleted."""
    key = f"ipv{family}"
    left = [node for node in change.after.nodes.values() if node[key]]
    connected = change.connected if len(left) > 1 else change.connected_without
    return [name for name, families in connected.items() if family in families]


def _cause(change):
    """What is to blame: the mesh if it was switched off, else the first that has to do with sessions."""
    mesh_off = change.before.mesh and not change.after.mesh
    return change.of(*(("bgp", "peer", "node") if mesh_off else ("peer", "node", "bgp")))[0]


def _as_number(change):
    if not change.of("bgp") or change.before.as_number == change.after.as_number:
        return
    before, after = change.before, change.after
    names = [
        name
        for name, node in before.nodes.items()
        if name in after.nodes
        and change.connected[name]
        # One with a number of its own has it still.
        and not (node["as_number"] and after.nodes[name]["as_number"])
        and (node["as_number"] or before.as_number) != (after.nodes[name]["as_number"] or after.as_number)
    ]
    if len(names) > 1:
        yield (
            _title(change.of("bgp")[0]),
            f"the AS number would change from {before.as_number} to {after.as_number} for "
            f"{_count(len(names), 'node')} at once: {_some(names)}",
            "give one node after the other the new number as its own, wait each time until its sessions are "
            "Established, and change that of all nodes when none goes by it any more",
        )


def _own_node_peer(change):
    for old, new in change.writes["peer"]:
        found = _own_node(change.after, new)
        if found is None:
            continue
        owner, itself = found
        if not itself and old is not None and found == _own_node(change.before, old):
            continue
        address = _peer(new, change.generation)["address"]
        if itself:
            yield (
                _title(new),
                f"its address {address} is that of {owner}, the node that it is for",
                "name the address of another node or router, or leave the peer out",
            )
        else:
            yield (
                _title(new),
                f"its address {address} is that of our own node {owner}, with which the mesh has a session",
                "leave the peer out; if the node is to be a reflector, give it a cluster id, or switch the "
                "mesh off in the same change",
            )


def _own_node(cluster, resource):
    """(the node that the peer's address belongs to, whether the peer is for itself), None if all is well."""
    peer = _peer(resource, cluster.generation)
    owners = [name for name, node in cluster.nodes.items() if peer["address"] in (node["ipv4"], node["ipv6"])]
    if not peer["address"] or not owners:
        return None
    if peer["node"] in owners:
        return peer["node"], True
    if not cluster.mesh:
        return None
    for name in owners:
        owner = cluster.nodes[name]
        port = owner["listen_port"] or cluster.listen_port or calico_topology.BGP_PORT
        if not owner["cluster_id"] and peer["port"] in (None, port) and _meshed(cluster, peer, name):
            return name, False
    return None


def _meshed(cluster, peer, owner):
    """Whether any node that the peer is for has a session of the mesh with its owner."""
    family = 6 if ":" in peer["address"] else 4
    near = calico_topology.near_ends(cluster, peer)
    nodes = (cluster.nodes[name] for name in near if name != owner)
    return any(node[f"ipv{family}"] and not node["cluster_id"] for node in nodes)


def _peer(resource, generation):
    if generation == "v1":
        return {**_v1_peering(resource), "node_selector": None, "peer_selector": None}
    kind = DECLARED["peer"]["v3"]
    return calico_topology.from_v3([{**resource, "kind": kind}]).selections[0]


_RULES = {
    "pool_in_use": _pool_in_use,
    "pool_recreate": _pool_recreate,
    "pool_overlap": _pool_overlap,
    "last_pool": _last_pool,
    "node_in_use": _node_in_use,
    "no_sessions": _no_sessions,
    "as_number": _as_number,
    "own_node_peer": _own_node_peer,
}
