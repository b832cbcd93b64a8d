"""
From one BGP topology to another: what is to be written, in an order that leaves no node without sessions.

What adds sessions comes first (the mesh where it is wanted, peers, labels), then one reflector after the
other, and only then what takes sessions away. Every stage is held against the safety rules as it will
find the cluster, so that a change that cannot be brought to its end is refused before it begins. Pure: the
cluster as it was read goes in, stages come out; who carries them out plans anew after a failure.
"""

import calico_plan
import calico_safety
import calico_topology

MESH_ON = "the node-to-node mesh is switched on"
MESH_OFF = "the node-to-node mesh is switched off"
PEERS = "BGP peers are written"
LABELS = "labels that are added"
UNLABELLED = "labels that go"
PRUNE = "BGP peers that the pillar does not list are removed"


class Stage:
    """
    What is written in one call, with the gate after it.

    title
        What it does (text).
    what, wanted, absent
        As ``calico.converge`` takes them.
    steps
        The :class:`calico_plan.Step` that it comes to.
    careful
        Whether all must be ready before it: it takes something away that others may rely on. What is not
        may be just what brings a broken cluster back.
    kin
        Stages with the same may become one, where one alone would be refused.
    """

    def __init__(self, title, what, wanted, steps, absent=(), careful=False, kin=None):
        self.careful = careful
        self.kin = kin
        self.title = title
        self.what = what
        self.wanted = list(wanted)
        self.absent = list(absent)
        self.steps = steps

    @property
    def writes(self):
        return [(step.current, step.resource) for step in self.steps if step.action != "delete"]

    @property
    def deletes(self):
        return [step.current for step in self.steps if step.action == "delete"]

    def with_next(self, other):
        title = "%s, and with it: %s" % (self.title, other.title)
        wanted, steps = self.wanted + other.wanted, self.steps + other.steps
        return Stage(title, self.what, wanted, steps, careful=self.careful, kin=self.kin)

    def as_dict(self):
        changes = calico_plan.Plan(self.steps, []).changes
        return {
            "title": self.title,
            "careful": self.careful,
            "what": self.what,
            "wanted": self.wanted,
            "absent": self.absent,
            "changes": changes,
        }


def plan(cluster, nodes, network, prune=False, allow=()):
    """
    The stages to the topology that the pillar describes.

    cluster
        :class:`calico_topology.Cluster` with all that the safety rules look at.
    nodes
        What the pillar says of each node: ``[{name, labels, route_reflector_cluster_id}, …]``. Labels that
        are not named stay; a cluster id that is empty goes.
    network
        ``{mesh, peers}`` in the pillar's words; mesh may be None, then it stays as it is.
    prune
        Whether peers that are not listed go.
    allow
        Words of :data:`calico_safety.ALLOW`.

    Returns ``(stages, refused, left)``: refused has what speaks against it, as
    :func:`calico_safety.refusals` says it; left names the peers that stay and are not listed.
    """
    refused = list(_unknown(cluster, nodes))
    if refused:
        return [], refused, []
    stages, refused, writes, deletes = [], [], [], []
    waiting = [stage for stage in _stages(cluster, nodes, network, prune) if stage.steps]
    while waiting and not refused:
        stage = waiting.pop(0)
        found = _against(cluster, stage, writes, deletes, allow)
        # A reflector alone in its rack has its sessions only with other reflectors: then they go together.
        while found and stage.kin and waiting and waiting[0].kin == stage.kin:
            stage = stage.with_next(waiting.pop(0))
            found = _against(cluster, stage, writes, deletes, allow)
        refused = [dict(item, stage=stage.title) for item in found]
        stages.append(stage)
        writes, deletes = writes + stage.writes, deletes + stage.deletes
    left = [] if prune else [step.name for step in _others(cluster, network)]
    return stages, refused, left


def _against(cluster, stage, writes, deletes, allow):
    """What speaks against a stage after the ones before it."""
    writes, deletes = writes + stage.writes, deletes + stage.deletes
    after = calico_safety.after(cluster, writes, deletes)
    found = calico_safety.refusals(cluster, writes, deletes, allow) + list(_doubled(after))
    return found if "no_sessions" in allow else found + list(_apart(after))


def _unknown(cluster, nodes):
    """Nodes that have never registered: a cluster id alone would make a node without an address."""
    for words in nodes:
        if words["name"] not in cluster.nodes:
            yield {
                "stage": "all nodes are there",
                "resource": "Node %s" % words["name"],
                "allow": None,
                "seen": "the datastore knows no such node",
                "do": "state.apply calico on its host first, or leave it out of tgt",
            }


def _stages(cluster, nodes, network, prune):
    if network["mesh"] and not cluster.mesh:
        yield _mesh(cluster, True, MESH_ON)
    yield Stage(
        PEERS,
        "peer",
        network["peers"],
        calico_plan.steps(cluster, "peer", network["peers"]),
    )
    if cluster.generation != "v1":
        meshed = cluster.mesh if network["mesh"] is None else network["mesh"] or cluster.mesh
        yield from _node_stages(cluster, nodes, meshed)
    if network["mesh"] is False and cluster.mesh:
        yield _mesh(cluster, False, MESH_OFF)
    if prune:
        others = _others(cluster, network)
        absent = [_name(step.current, cluster.generation) for step in others]
        yield Stage(PRUNE, "peer", (), others, absent, careful=True)


def _mesh(cluster, on, title):
    wanted = [{"name": "default", "mesh": on}]
    return Stage(title, "bgp", wanted, calico_plan.steps(cluster, "bgp", wanted), careful=not on)


def _node_stages(cluster, nodes, meshed):
    """
    Labels that choose more come before the reflectors change, those that choose less after it.

    One reflector at a time: a node whose cluster id changes loses all of its sessions and gets others. Those
    that become reflectors come first, so that there is one at any time.
    """
    becoming, leaving, more, less = [], [], [], []
    for words in nodes:
        if _as_described(cluster.nodes[words["name"]], words):
            continue
        steps = calico_plan.steps(cluster, "node", [words])
        changes = steps[0].changes if steps else {}
        reflector = changes.get("route_reflector_cluster_id")
        if reflector:
            (becoming if reflector["new"] else leaving).append((words, steps))
        elif any(change["new"] is not None for change in changes.values()):
            more.append((words, steps))
        elif changes:
            less.append((words, steps))
    yield _together(LABELS, more)
    for words, steps in becoming:
        title = "%(name)s becomes a route reflector of cluster %(route_reflector_cluster_id)s" % words
        yield Stage(title, "node", [words], steps, careful=True, kin="becoming")
    for words, steps in leaving:
        title = "%s is a route reflector no longer" % words["name"]
        yield Stage(title, "node", [words], steps, careful=not meshed, kin="leaving")
    yield _together(UNLABELLED, less, careful=True)


def _as_described(node, words):
    """Whether nothing is to be done for this node: seen without a search through all of them."""
    labels = words.get("labels") or {}
    return (node["cluster_id"] or "") == (words.get("route_reflector_cluster_id") or "") and all(
        node["labels"].get(name) == value for name, value in labels.items()
    )


def _together(title, items, careful=False):
    wanted = [words for words, _steps in items]
    return Stage(title, "node", wanted, [step for _words, own in items for step in own], careful=careful)


def _others(cluster, network):
    found = calico_plan.steps(cluster, "peer", network["peers"], prune=True)
    return [step for step in found if step.action == "delete"]


def _name(resource, generation):
    metadata = resource["metadata"]
    if generation != "v1":
        return {"name": metadata["name"]}
    return {"node": metadata.get("node"), "peer_ip": metadata["peerIP"]}


def _doubled(cluster):
    """Peers that choose nodes which the mesh connects already: BIRD lets only one of two sessions live."""
    if not cluster.mesh or cluster.generation == "v1":
        return
    meshed = {name for name, node in cluster.nodes.items() if not node["cluster_id"]}
    names = [resource["metadata"]["name"] for resource in cluster.peers]
    for name, selection in zip(names, cluster.selections):
        if not selection["peer_selector"]:
            continue
        far = meshed.intersection(calico_topology.far_nodes(cluster, selection))
        near = meshed.intersection(calico_topology.near_ends(cluster, selection))
        if far and near and (len(far | near) > 1):
            yield {
                "resource": "BGPPeer %s" % name,
                "allow": None,
                "seen": "it chooses %s, which the mesh connects with %s already"
                % (_some(far), _some(near - far or near)),
                "do": "let the labels that its peer_selector asks for be those of reflectors alone, and take "
                "them from nodes that are none (a label that is null in calico:node:labels is removed)",
            }


def _apart(cluster):
    """Reflectors that tell each other nothing: their clients never learn what the other's have."""
    reflectors = sorted(name for name, node in cluster.nodes.items() if node["cluster_id"])
    neighbours = {
        name: {session["node"] for session in calico_topology.expected_sessions(cluster, name)}
        for name in reflectors
    }
    for number, one in enumerate(reflectors):
        for other in reflectors[number + 1 :]:
            # None is a router outside, which may carry what we do not know of.
            if None in neighbours[one] & neighbours[other]:
                continue
            linked = other in neighbours[one] or neighbours[one] & neighbours[other] & set(reflectors)
            if not linked:
                yield _split(
                    other,
                    "the reflectors %s and %s would have no session with each other: neither they nor their "
                    "clients would learn the other's routes" % (one, other),
                    "let reflectors be peers of each other, as by a peer whose node_selector is all()",
                )
            elif cluster.nodes[one]["cluster_id"] == cluster.nodes[other]["cluster_id"]:
                alone = (neighbours[one] ^ neighbours[other]).difference(reflectors, [None])
                if alone:
                    yield _split(
                        other,
                        "the reflectors %s and %s have the same cluster id and not the same clients: neither "
                        "takes the routes of %s from the other" % (one, other, _some(alone)),
                        "give reflectors of different clients different values of route_reflector_cluster_id",
                    )


def _split(name, seen, do):
    return {"resource": "Node %s" % name, "allow": "no_sessions", "seen": seen, "do": do}


def _some(names):
    names = sorted(names)
    return ", ".join(names[:5]) + (" and %d more" % (len(names) - 5) if len(names) > 5 else "")
