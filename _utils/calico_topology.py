"""
What the datastore says about the cluster, and the BGP sessions that follow from it.

:func:`from_v2` (keys of Calico 2.6 in etcd v2) and :func:`from_v3` (resources of Calico 3) read the
same facts into a :class:`Cluster`; :func:`expected_sessions` works out, as Calico's confd does,
which sessions a node has to have and what BIRD calls them. Pure: no Salt, no side effects.
"""

import contextlib
import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Optional

import calico_selector

DEFAULT_AS_NUMBER = 64512
BGP_PORT = 179
FAMILIES = (4, 6)

V2_PREFIX = "/calico"
_BGP = "/calico/bgp/v1"
_FELIX = "/calico/v1"
_IPAM = "/calico/ipam/v2"


class NotRegistered(LookupError):
    """The datastore knows no node of this name."""


class Unreadable(ValueError):
    """A value in the datastore is not of the form that Calico writes."""


@dataclass
class Cluster:
    """
    The cluster as the datastore has it.

    nodes
        {name: {"ipv4", "ipv6": address or None, "network_ipv4", "network_ipv6": with prefix length,
        "as_number": int or None, "labels": dict, "cluster_id": text or None, "listen_port": int or
        None, "blocks": [CIDR, …] that are affine to it, "workloads": how many endpoints}}
    mesh, as_number, listen_port, log_level
        What holds for all nodes; listen_port is None where nothing was set (179 then).
    peerings
        Peers by address: {"node": name or None (all nodes), "address", "port", "as_number"}.
    selections
        The peers of Calico 3, which may name nodes by selectors: {"node", "node_selector",
        "address", "port", "as_number", "peer_selector"}, None where not given.
    blocks
        [{"cidr", "node": name or None, "confirmed": whether it is certain that it is that node's,
        "used": how many addresses}]
    workloads
        [{"node", "name", "networks": [CIDR, …]}]
    resources
        {kind: [resource, …]} in the words of the generation's API, as calicoctl prints them.
    config
        What ``calicoctl config get`` prints (Calico 2.6 only): {"nodeToNodeMesh", "asNumber",
        "logLevel", "ipip", "felix": {name: value}, "bgp": {…}, "nodes": {name: {"logLevel", "felix", "bgp"}}}
    ready
        False if the datastore is locked (a migration is under way).
    """

    generation: str
    nodes: dict = field(default_factory=dict)
    mesh: bool = True
    as_number: int = DEFAULT_AS_NUMBER
    listen_port: Optional[int] = None
    log_level: str = "info"
    peerings: list = field(default_factory=list)
    selections: list = field(default_factory=list)
    blocks: list = field(default_factory=list)
    workloads: list = field(default_factory=list)
    resources: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    ready: bool = True

    @property
    def pools(self):
        """The address pools, in the API's words."""
        return self.resources.get("ipPool" if self.generation == "v1" else "IPPool", [])

    @property
    def peers(self):
        """The BGP peers, in the API's words."""
        return self.resources.get("bgpPeer" if self.generation == "v1" else "BGPPeer", [])


def expected_sessions(cluster, node_name):
    """
    The BGP sessions that BIRD on ``node_name`` must have.

    Returns a list of {"name": BIRD's name of the protocol, "type": "mesh", "global" or "node",
    "address", "family": 4 or 6, "port", "as_number", "node": name of the node that has this address
    or None, "passive": True where the other side connects, False where this one does, None where
    both may, "duplicate_of": name of an earlier session with the same neighbour or None}.

    Raises :class:`NotRegistered` for a node that the datastore does not know.
    """
    if node_name not in cluster.nodes:
        raise NotRegistered(f"node {node_name!r} is not in the datastore")
    node = cluster.nodes[node_name]
    sessions = []
    for family in FAMILIES:
        own = node[f"ipv{family}"]
        if not own:
            continue
        owners = _owners(cluster, family)
        found = _mesh(cluster, node, family) + _explicit(cluster, node_name, family)
        neighbours = {}
        for session in found:
            if session["address"] == own:
                continue
            session["family"] = family
            session["node"] = owners.get(session["address"])
            neighbour = (session["address"], session["port"])
            session["duplicate_of"] = neighbours.get(neighbour)
            neighbours.setdefault(neighbour, session["name"])
            sessions.append(session)
    return sessions


def neighbour(session):
    """
    What the name of a session's protocol says of its other end: ``(address, port)``.

    Only a peer that was given with a port has it in its name. Where nodes listen elsewhere by
    ``listenPort``, BIRD connects there and its protocol's name says nothing of it: so this, and not the
    port that BIRD connects to, tells which of BIRD's sessions is the one that the datastore asks for.

    session
        One of :func:`expected_sessions`, or as :func:`calico_bird.protocols` tells it. One without a name
        goes by its port.
    """
    name = session.get("name")
    if not name:
        return session["address"], session["port"]
    found = _PORT_IN_NAME.search(name)
    return session["address"], int(found[1]) if found else BGP_PORT


_PORT_IN_NAME = re.compile(r"_port_([0-9]{1,5})$")


def matched(expected, sessions, is_up):
    """
    The sessions that there must be, each with the one that BIRD has: [(wanted, BIRD's or None), …].

    expected
        As :func:`expected_sessions` returns them.
    sessions
        As :func:`calico_bird.protocols` returns them.
    is_up
        Whether one of these is up (function).

    BIRD may have two protocols for one neighbour (in the mesh and named as a peer), of which only one can
    be up: that one counts for both.
    """
    present = {neighbour(session): session for session in sorted(sessions, key=is_up)}
    ends = {}
    for wanted in expected:
        ends.setdefault((wanted["address"], wanted["port"]), []).append(present.get(neighbour(wanted)))
    found = []
    for wanted in expected:
        own = present.get(neighbour(wanted))
        others = ends[wanted["address"], wanted["port"]]
        found.append((wanted, next((one for one in [own, *others] if one and is_up(one)), own)))
    return found


def connected(cluster, answered=False):
    """
    Over which address families each node must have any session: {name: {4, 6}, …}.

    answered
        True leaves out sessions that cannot come up as far as the datastore tells: a peer by the address
        of a node of ours that does not have this one as its neighbour, too, or has another AS number than
        the peer says. A neighbour that is none of our nodes is taken for granted: nothing here knows it.

    Without that, it says the same as :func:`expected_sessions` of every node, but without half a million
    sessions of a mesh of a thousand nodes.
    """
    found = {name: set() for name in cluster.nodes}
    if cluster.mesh:
        meshed = [name for name, node in cluster.nodes.items() if not node["cluster_id"]]
        for family in FAMILIES:
            _connect(cluster, found, family, meshed, _addresses(cluster, meshed, family))
    if cluster.generation == "v1":
        answers = _answers(cluster) if answered else None
        for peering in cluster.peerings:
            near = _near_ends(cluster, {**peering, "node_selector": None}, None)
            if answered:
                near = [name for name in near if answers(peering, name)]
            _connect(cluster, found, _family(peering["address"]), near, {peering["address"]})
        return found
    matching = _Matching(cluster)
    for selection in cluster.selections:
        near = _near_ends(cluster, selection, matching)
        if selection["peer_selector"]:
            far = matching.names(selection["peer_selector"])
            for family in FAMILIES:
                _connect(cluster, found, family, near, _addresses(cluster, far, family))
                _connect(cluster, found, family, far, _addresses(cluster, near, family))
        elif selection["address"]:
            family = _family(selection["address"])
            nodes = cluster.nodes.items()
            far = [name for name, node in nodes if _far_families(cluster, selection, node, matching)]
            if answered and not far and _bird_of_ours(cluster, selection):
                continue
            _connect(cluster, found, family, near, {selection["address"]})
            _connect(cluster, found, family, far, _addresses(cluster, near, family) if far else ())
    return found


def idle_peers(cluster):
    """
    The peers that make no session, as far as the datastore tells: one line (text) for each.

    A peer by an address that is none of our nodes is never among them: see :func:`connected`.
    """
    matching, answers = _Matching(cluster), _answers(cluster)
    none = {"node_selector": None, "peer_selector": None}
    for peer in [*({**peering, **none} for peering in cluster.peerings), *cluster.selections]:
        whom = peer["address"] or peer["peer_selector"]
        why = _why_idle(cluster, peer, matching, answers) if whom else None
        if why:
            yield "%s: %s" % (whom, why)


def _why_idle(cluster, peer, matching, answers):
    address = peer["address"]
    near = _near_ends(cluster, peer, matching)
    if not near and peer["node_selector"]:
        return "no node matches %s" % peer["node_selector"]
    if not near:
        return "there is no node %s" % peer["node"]
    if peer["peer_selector"]:
        return None if matching.names(peer["peer_selector"]) else "no node matches it"
    near = [n for n in near if address not in (cluster.nodes[n]["ipv4"], cluster.nodes[n]["ipv6"])]
    if not near:
        return "that node is the only one that it is for"
    if cluster.generation == "v1":
        if any(answers(peer, name) for name in near):
            return None
        return "that node has no such peer, or another AS number than %s" % peer["as_number"]
    far = any(_far_families(cluster, peer, node, matching) for node in cluster.nodes.values())
    if far or not _bird_of_ours(cluster, peer):
        return None
    return "that node has another AS number than %s" % peer["as_number"]


def _answers(cluster):
    """Of Calico 2.6: whether a node's session with a peer would be answered, as far as we can tell."""
    numbers = {(peer["node"], peer["address"]): peer["as_number"] for peer in cluster.peerings}
    owners = {}
    for name, node in cluster.nodes.items():
        for address in filter(None, (node["ipv4"], node["ipv6"])):
            owners.setdefault(address, []).append(name)

    def answers(peering, name):
        near, address = cluster.nodes[name], peering["address"]
        own = near[f"ipv{_family(address)}"]
        ours = owners.get(address)
        return not ours or any(
            _number(cluster, cluster.nodes[owner]) == peering["as_number"]
            and _number(cluster, near) in (numbers.get((owner, own)), numbers.get((None, own)))
            for owner in ours
        )

    return answers


def _bird_of_ours(cluster, selection):
    """Whether a peer by address means the BIRD of a node: at another port, something else listens."""
    return any(
        selection["address"] in (node["ipv4"], node["ipv6"])
        and selection["port"] in (None, node["listen_port"] or cluster.listen_port or BGP_PORT)
        for node in cluster.nodes.values()
    )


def near_ends(cluster, selection):
    """The names of the nodes that a peer of :attr:`Cluster.selections` is for."""
    return _near_ends(cluster, selection, _Matching(cluster))


def far_nodes(cluster, selection):
    """The names of the nodes that a peer of :attr:`Cluster.selections` chooses by its peer selector."""
    return _Matching(cluster).names(selection["peer_selector"]) if selection["peer_selector"] else []


def _addresses(cluster, names, family):
    key = f"ipv{family}"
    return {address for address in (cluster.nodes[name][key] for name in names) if address}


def _connect(cluster, found, family, names, addresses):
    """Note that each of these nodes has sessions with these addresses, its own left out."""
    key = f"ipv{family}"
    for name in names if addresses else ():
        own = cluster.nodes[name][key]
        if own and (len(addresses) > 1 or own not in addresses):
            found[name].add(family)


def _mesh(cluster, node, family):
    if not cluster.mesh or node["cluster_id"]:
        return []
    own = node[f"ipv{family}"]
    one_sided = cluster.generation != "v1"
    sessions = []
    for other in cluster.nodes.values():
        address = other[f"ipv{family}"]
        if not address or other["cluster_id"]:
            continue
        sessions.append(
            {
                "name": _name("Mesh", address),
                "type": "mesh",
                "address": address,
                "port": other["listen_port"] or cluster.listen_port or BGP_PORT,
                "as_number": other["as_number"] or cluster.as_number,
                # Calico compares the two as text.
                "passive": address > own if one_sided else None,
            }
        )
    return sessions


def _explicit(cluster, node_name, family):
    if cluster.generation == "v1":
        peers = [
            {**peering, "type": "global" if peering["node"] is None else "node", "passive": None}
            for peering in cluster.peerings
            if peering["node"] in (None, node_name)
        ]
    else:
        peers = _selected(cluster, node_name)
    found = [
        {
            "name": _name(peer["type"].capitalize(), peer["address"], peer["port"]),
            "type": peer["type"],
            "address": peer["address"],
            "port": peer["port"] or BGP_PORT,
            "as_number": peer["as_number"],
            "passive": peer["passive"],
        }
        for peer in peers
        if _family(peer["address"]) == family
    ]
    return sorted(found, key=lambda session: (session["type"], session["address"]))


def _owners(cluster, family):
    return {node[f"ipv{family}"]: name for name, node in cluster.nodes.items() if node[f"ipv{family}"]}


def _name(prefix, address, port=None):
    name = f"{prefix}_{address}".replace(".", "_").replace(":", "_")
    return f"{name}_port_{port}" if port else name


def _family(address):
    return 6 if ":" in address else 4


def _node(nodes, name):
    return nodes.setdefault(
        name,
        {
            "ipv4": None,
            "ipv6": None,
            "network_ipv4": None,
            "network_ipv6": None,
            "as_number": None,
            "labels": {},
            "cluster_id": None,
            "listen_port": None,
            "blocks": [],
            "workloads": 0,
        },
    )


def as_number(value):
    """An AS number in any of the forms that Calico writes or accepts, as int."""
    text = str(value).strip()
    high, dot, low = text.partition(".")
    try:
        parts = [int(high), int(low)] if dot else [0, int(high)]
    except ValueError:
        parts = [-1, 0]
    if (dot and max(parts) > 0xFFFF) or min(parts) < 0 or parts[1] > 0xFFFFFFFF:
        raise Unreadable(f"{value!r} is no AS number")
    return parts[0] << 16 | parts[1]


# Calico 2.6: keys of etcd's v2 API -----------------------------------------------------------


def from_v2(flat_keys):
    """The :class:`Cluster` that these keys of Calico 2.6 ({key: value}) describe."""
    cluster = Cluster("v1", resources={"ipPool": [], "bgpPeer": [], "node": []})
    config = {"felix": {}, "bgp": {}, "nodes": {}}
    blocks = {}
    # In the order of the keys, as calicoctl prints.
    for key in sorted(flat_keys):
        with _naming(key):
            _v2_key(cluster, config, blocks, key, flat_keys[key])
    _settle(cluster, blocks)
    config["nodeToNodeMesh"] = "on" if cluster.mesh else "off"
    config["asNumber"] = cluster.as_number
    config["logLevel"] = log_level(config["felix"], cluster.log_level)
    for of_node in config["nodes"].values():
        of_node["logLevel"] = log_level(of_node["felix"], of_node["bgp"].get("loglevel"))
    config["ipip"] = "on" if config["felix"].get("IpInIpEnabled") == "true" else "off"
    cluster.config = config
    cluster.resources["node"] = [_v2_node(name, n) for name, n in sorted(cluster.nodes.items())]
    return cluster


def log_level(felix, of_bird):
    """
    The log level that ``calicoctl config get logLevel`` prints, of Calico 2.6.

    felix
        What is set for Felix at this place ({name: value}).
    of_bird
        BIRD's level, None where none is set.

    calicoctl writes the level for Felix as it was given and for BIRD what it has of it. Where the two do
    not belong together, nobody set them as one: BIRD's is returned then, so that setting it is a change.
    """
    given = felix.get("LogSeverityScreen")
    together = given is not None and of_bird in (None, given if given in _BIRD_LEVELS else "none")
    return given if together else of_bird


_BIRD_LEVELS = ("debug", "info")


def _v2_key(cluster, config, blocks, key, value):
    parts = key.split("/")[1:]
    if key.startswith(_BGP + "/global/"):
        _v2_bgp_global(cluster, config, parts[4:], value)
    elif key.startswith(_BGP + "/host/") and len(parts) > 5:
        _v2_bgp_host(cluster, config, parts[4], parts[5:], value)
    elif key.startswith(_FELIX + "/host/") and len(parts) > 4:
        _v2_host(cluster, config, parts[3], parts[4:], value)
    elif key.startswith(_FELIX + "/config/"):
        config["felix"][parts[3]] = value
    elif key.startswith(_FELIX + "/ipam/") and parts[4] == "pool":
        cluster.resources["ipPool"].append(_v2_pool(_json(value)))
    elif key == _FELIX + "/Ready":
        cluster.ready = value == "true"
    elif key.startswith(_IPAM + "/"):
        _ipam(blocks, parts[3:], value)


def _v2_bgp_global(cluster, config, parts, value):
    if parts[0] == "as_num":
        cluster.as_number = as_number(value)
    elif parts[0] == "node_mesh":
        cluster.mesh = bool(_json(value).get("enabled"))
    elif parts[0] == "loglevel":
        cluster.log_level = value
    elif parts[0] in ("peer_v4", "peer_v6"):
        _v2_peer(cluster, None, _json(value))
    else:
        config["bgp"]["/".join(parts)] = value


def _v2_bgp_host(cluster, config, name, parts, value):
    node = _node(cluster.nodes, name)
    if parts[0] in ("ip_addr_v4", "ip_addr_v6"):
        node["ipv" + parts[0][-1]] = str(ipaddress.ip_address(value)) if value else None
    elif parts[0] in ("network_v4", "network_v6"):
        node["network_ipv" + parts[0][-1]] = value or None
    elif parts[0] == "as_num":
        node["as_number"] = as_number(value) if value else None
    elif parts[0] in ("peer_v4", "peer_v6"):
        _v2_peer(cluster, name, _json(value))
    else:
        config["nodes"].setdefault(name, {"felix": {}, "bgp": {}})["bgp"]["/".join(parts)] = value


def _v2_host(cluster, config, name, parts, value):
    if parts[0] == "metadata":
        _node(cluster.nodes, name)
    elif parts[0] == "config" and len(parts) > 1:
        config["nodes"].setdefault(name, {"felix": {}, "bgp": {}})["felix"][parts[1]] = value
    elif parts[0] == "workload" and len(parts) == 5 and parts[3] == "endpoint":
        endpoint = _json(value)
        networks = (endpoint.get("ipv4_nets") or []) + (endpoint.get("ipv6_nets") or [])
        cluster.workloads.append(
            {"node": name, "name": "/".join((parts[1], parts[2], parts[4])), "networks": networks}
        )


def _v2_peer(cluster, node, stored):
    address, number = str(ipaddress.ip_address(stored["ip"])), as_number(stored["as_num"])
    cluster.peerings.append({"node": node, "address": address, "port": None, "as_number": number})
    metadata = {"scope": "node" if node else "global", "peerIP": address}
    if node:
        metadata["node"] = node
    cluster.resources["bgpPeer"].append(
        {"kind": "bgpPeer", "apiVersion": "v1", "metadata": metadata, "spec": {"asNumber": number}}
    )


def _v2_pool(stored):
    spec = {}
    if stored.get("ipip") or stored.get("ipip_mode"):
        spec["ipip"] = {
            key: value
            for key, value in (
                ("enabled", bool(stored.get("ipip"))),
                ("mode", stored.get("ipip_mode")),
            )
            if value
        }
    if stored.get("masquerade"):
        spec["nat-outgoing"] = True
    if stored.get("disabled"):
        spec["disabled"] = True
    metadata = {"cidr": stored["cidr"]}
    return {"kind": "ipPool", "apiVersion": "v1", "metadata": metadata, "spec": spec}


def _v2_node(name, node):
    bgp = {}
    if node["as_number"] is not None:
        bgp["asNumber"] = node["as_number"]
    for family in FAMILIES:
        address, network = node[f"ipv{family}"], node[f"network_ipv{family}"]
        if address:
            length = network.rpartition("/")[2] if network else {4: 32, 6: 128}[family]
            bgp[f"ipv{family}Address"] = f"{address}/{length}"
    spec = {"bgp": bgp} if bgp else {}
    return {"kind": "node", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec}


# Calico 3: peers by address and by selectors ---------------------------------------------------


def _selected(cluster, node_name):
    """
    The peers of one node, as confd makes them from the BGPPeers of Calico 3.

    Each BGPPeer also works backwards: a node that it names as the far end gets a peer for each node
    that it names as the near end. What was named outright wins over what follows backwards, and a
    peer for all nodes over one for some.
    """
    matching = _Matching(cluster)
    node = cluster.nodes[node_name]
    everywhere, some = {}, {}
    for selection in cluster.selections:
        if not (selection["node"] or selection["node_selector"]):
            _emit(everywhere, "global", _far_ends(cluster, selection, matching))
    for selection in cluster.selections:
        outright = selection["node"] or selection["node_selector"]
        if outright and _near(selection, node_name, node, matching):
            _emit(some, "node", _far_ends(cluster, selection, matching), everywhere)
    for selection in cluster.selections:
        families = _far_families(cluster, selection, node, matching)
        if families:
            peers = matching.peers(_near_ends(cluster, selection, matching), families)
            _emit(some, "node", peers, everywhere)
    return [*everywhere.values(), *some.values()]


def _emit(found, kind, peers, winners=()):
    for peer in peers:
        neighbour = (peer["address"], peer["port"])
        if neighbour not in winners and neighbour not in found:
            found[neighbour] = {**peer, "type": kind}


class _Matching:
    """Which nodes a selector names, and their peers; everything is worked out but once."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._names = {}
        self._selectors = {}
        self._peers = {}

    def one(self, selector, labels):
        """Whether the selector names a node with these labels."""
        return self._read(selector)(labels)

    def names(self, selector):
        """The names of all nodes that the selector names."""
        if selector not in self._names:
            matches = self._read(selector)
            nodes = self._cluster.nodes.items()
            self._names[selector] = [name for name, node in nodes if matches(node["labels"])]
        return self._names[selector]

    def peers(self, names, families):
        """The nodes of these names, as peers over these families."""
        return [peer for name in names for peer in self._peers_of(name, families)]

    def _peers_of(self, name, families):
        key = (name, families)
        if key not in self._peers:
            self._peers[key] = _as_peers(self._cluster, name, families)
        return self._peers[key]

    def _read(self, selector):
        if selector not in self._selectors:
            try:
                self._selectors[selector] = calico_selector.parse(selector).matches
            except calico_selector.SelectorError:
                # Calico logs it and goes on as if it named no node.
                self._selectors[selector] = lambda _labels: False
        return self._selectors[selector]


def _near(selection, node_name, node, matching):
    if selection["node_selector"]:
        return matching.one(selection["node_selector"], node["labels"])
    return selection["node"] in (None, node_name)


def _near_ends(cluster, selection, matching):
    if selection["node_selector"]:
        return matching.names(selection["node_selector"])
    if selection["node"]:
        return [selection["node"]] if selection["node"] in cluster.nodes else []
    return list(cluster.nodes)


def _far_ends(cluster, selection, matching):
    if selection["peer_selector"]:
        return matching.peers(matching.names(selection["peer_selector"]), FAMILIES)
    address, port = selection["address"], selection["port"]
    if not address:
        return []
    owners = [n for n in cluster.nodes.values() if address in (n["ipv4"], n["ipv6"])]
    if port is None:
        same = [n for n in owners if _number(cluster, n) == (selection["as_number"] or cluster.as_number)]
        port = (same[0]["listen_port"] or cluster.listen_port) if same else None
    # Which side of a peering with one of our own nodes connects, differs between releases.
    passive = None if owners else False
    return [{"address": address, "port": port, "as_number": selection["as_number"], "passive": passive}]


def _far_families(cluster, selection, node, matching):
    """The families over which ``node`` is the far end of this selection; none if it is not."""
    if selection["peer_selector"]:
        return FAMILIES if matching.one(selection["peer_selector"], node["labels"]) else ()
    address, port = selection["address"], selection["port"]
    if not address or address not in (node["ipv4"], node["ipv6"]):
        return ()
    if _number(cluster, node) != (selection["as_number"] or cluster.as_number):
        return ()
    if port and port != (node["listen_port"] or cluster.listen_port or port):
        return ()
    return (_family(address),)


def _as_peers(cluster, name, families):
    node = cluster.nodes[name]
    return [
        {
            "address": node[f"ipv{family}"],
            "port": node["listen_port"] or cluster.listen_port,
            "as_number": _number(cluster, node),
            "passive": False,
        }
        for family in families
        if node[f"ipv{family}"]
    ]


def _number(cluster, node):
    return node["as_number"] or cluster.as_number


# Calico 3: resources, and the keys under which etcd keeps them -----------------------------------

V3_PREFIX = "/calico/"
_RESOURCES = "/calico/resources/v3/projectcalico.org/"


def from_v3(resources, ipam=()):
    """
    The :class:`Cluster` that these resources of Calico 3 describe.

    resources
        Resources of any kinds, as calicoctl prints them.
    ipam
        The keys and values below /calico/ipam/v2, where they are known: [(key, value), …]
    """
    cluster = Cluster("v3")
    listen_ports = {}
    for resource in resources:
        with _naming(f"{resource.get('kind')} {resource.get('metadata', {}).get('name')}"):
            cluster.resources.setdefault(resource["kind"], []).append(resource)
            reader = _V3_READERS.get(resource["kind"])
            if reader:
                name, spec = resource["metadata"]["name"], resource.get("spec") or {}
                reader(cluster, listen_ports, name, spec, resource["metadata"])
    for name, port in listen_ports.items():
        if name in cluster.nodes:
            cluster.nodes[name]["listen_port"] = port
    blocks = {}
    for key, value in ipam:
        with _naming(key):
            _ipam(blocks, key.split("/")[4:], value)
    _settle(cluster, blocks)
    return cluster


def from_v3_keys(pairs):
    """
    The :class:`Cluster` that these keys of etcd's v3 API describe: {key: (value, mod_revision)}.

    Resources carry their key's revision as ``resourceVersion``, as calicoctl prints it.
    """
    resources = []
    ipam = []
    for key in sorted(pairs):
        value, revision = pairs[key]
        if key.startswith(_RESOURCES):
            with _naming(key):
                resource = _json(value)
                resource.setdefault("metadata", {})["resourceVersion"] = str(revision)
                resources.append(resource)
        elif key.startswith(_IPAM + "/"):
            ipam.append((key, value))
    return from_v3(resources, ipam)


def _v3_node(cluster, _ports, name, spec, metadata):
    node = _node(cluster.nodes, name)
    node["labels"] = metadata.get("labels") or {}
    bgp = spec.get("bgp") or {}
    node["cluster_id"] = bgp.get("routeReflectorClusterID") or None
    if bgp.get("asNumber"):
        node["as_number"] = as_number(bgp["asNumber"])
    for family in FAMILIES:
        address = bgp.get(f"ipv{family}Address")
        if address:
            interface = ipaddress.ip_interface(address)
            node[f"ipv{family}"] = str(interface.ip)
            node[f"network_ipv{family}"] = str(interface.network)


def _v3_configuration(cluster, listen_ports, name, spec, _metadata):
    if name.startswith("node."):
        if spec.get("listenPort"):
            listen_ports[name[len("node.") :]] = spec["listenPort"]
    elif name == "default":
        cluster.mesh = spec.get("nodeToNodeMeshEnabled") is not False
        cluster.listen_port = spec.get("listenPort")
        cluster.log_level = (spec.get("logSeverityScreen") or "Info").lower()
        if spec.get("asNumber"):
            cluster.as_number = as_number(spec["asNumber"])


def _v3_peer(cluster, _ports, _name, spec, _metadata):
    address, port = _address_and_port(spec.get("peerIP"))
    cluster.selections.append(
        {
            "node": spec.get("node") or None,
            "node_selector": spec.get("nodeSelector") or None,
            "address": address,
            "port": port,
            "as_number": as_number(spec.get("asNumber") or 0),
            "peer_selector": spec.get("peerSelector") or None,
        }
    )


def _v3_workload(cluster, _ports, name, spec, metadata):
    full_name = "/".join(filter(None, (metadata.get("namespace"), name)))
    networks = list(spec.get("ipNetworks") or [])
    cluster.workloads.append({"node": spec.get("node"), "name": full_name, "networks": networks})


def _v3_information(cluster, _ports, _name, spec, _metadata):
    cluster.ready = spec.get("datastoreReady") is not False


_V3_READERS = {
    "Node": _v3_node,
    "BGPConfiguration": _v3_configuration,
    "BGPPeer": _v3_peer,
    "WorkloadEndpoint": _v3_workload,
    "ClusterInformation": _v3_information,
}


def _address_and_port(text):
    """The parts of ``10.0.0.1``, ``10.0.0.1:180``, ``fd00::1`` and ``[fd00::1]:180``."""
    if not text:
        return None, None
    found = re.fullmatch(r"\[(.+)\]:(\d+)|([^:]+):(\d+)", text)
    if not found:
        return str(ipaddress.ip_address(text)), None
    address = ipaddress.ip_address(found.group(1) or found.group(3))
    return str(address), int(found.group(2) or found.group(4))


# Both generations keep their address blocks under the same keys -------------------------------


def _ipam(blocks, parts, value):
    if parts[0] == "assignment" and parts[2] == "block":
        block = _json(value)
        allocations = block.get("allocations") or []
        used = sum(1 for allocation in allocations if allocation is not None)
        _block(blocks, block["cidr"])["used"] = used
    elif parts[0] == "host" and len(parts) == 5 and parts[3] == "block":
        address, _dash, length = parts[4].rpartition("-")
        # Calico 2.6 keeps nothing here; 3 says whether the claim, or the release, is still under way.
        claim = _json(value) if value else {"state": "confirmed"}
        confirmed = claim.get("state") == "confirmed" and not claim.get("deleted")
        _block(blocks, f"{address}/{length}").update(node=parts[1], confirmed=confirmed)


def _block(blocks, cidr):
    return blocks.setdefault(cidr, {"cidr": cidr, "node": None, "confirmed": False, "used": 0})


def _settle(cluster, blocks):
    """Give each node its blocks and workloads; those of nodes that are gone stay without one."""
    cluster.blocks = sorted(blocks.values(), key=lambda block: _network_order(block["cidr"]))
    for block in cluster.blocks:
        if block["node"] in cluster.nodes:
            cluster.nodes[block["node"]]["blocks"].append(block["cidr"])
    for workload in cluster.workloads:
        if workload["node"] in cluster.nodes:
            cluster.nodes[workload["node"]]["workloads"] += 1


def _network_order(cidr):
    network = ipaddress.ip_network(cidr, strict=False)
    return network.version, network


@contextlib.contextmanager
def _naming(key):
    """Any misfit in what was read becomes an error that names the key."""
    try:
        yield
    except Unreadable as err:
        raise Unreadable(f"{key}: {err}") from err
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as err:
        raise Unreadable(f"{key}: not what Calico writes there ({err!r})") from err


def _json(value):
    try:
        data = json.loads(value)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise Unreadable("the value is not the JSON object that Calico writes")
    return data
