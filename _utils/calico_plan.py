"""
What it takes to bring declared resources about: every step with its difference, or why it is refused.

Pure: the cluster as it was read goes in, a :class:`Plan` comes out. Whoever carries it out reads the
cluster anew afterwards and plans again: an empty plan is the proof that all is as declared.
"""

import copy
import dataclasses

import calico_resources
import calico_safety
import calico_secrets
from calico_kinds import DECLARED
from calico_words import problem

# What can be declared as a whole.
PRUNED = ("pool", "peer")


@dataclasses.dataclass
class Step:
    """
    One resource's way to what it shall be.

    action
        ``create``, ``update``, ``delete`` or ``recreate``.
    current, resource
        The resource as it is, and as it is to be written; None where there is none.
    changes
        ``{field: {"old", "new"}}`` in the formula's words.
    """

    name: str
    action: str
    current: dict
    resource: dict
    changes: dict


@dataclasses.dataclass
class Plan:
    """The steps, what speaks against them (:func:`calico_safety.refusals`), and what is as it was (text)."""

    steps: list
    refused: list
    notes: list = dataclasses.field(default_factory=list)

    @property
    def changes(self):
        """All differences: ``{name: {field: {"old", "new"}}}``, secrets masked."""
        return {step.name: calico_secrets.shown(step.changes) for step in self.steps}


def resource_of(what, item, generation):
    """The resource that a declaration means: words of the pillar, or a resource for ``resource``."""
    if what == "resource":
        return item
    return calico_resources.describe(what, item, generation)


def kind_of(what, item, generation):
    """The kind of a declaration's resource, as the API names it."""
    return item["kind"] if what == "resource" else DECLARED[what][generation]


def check(what, wanted, absent, generation, prune=False, allow=()):
    """
    Refuse what is wrong by itself, whatever the datastore holds.

    Arguments are those of :func:`steps`. Raises :class:`calico_resources.Problems`.
    """
    _refuse(list(_argument_problems(what, wanted, absent, prune, allow)))
    for item in wanted:
        if what == "resource":
            found = calico_resources.resource_problems(item, generation)
            # Other fields that are not given may be there already.
            names = _names(item, generation) if isinstance(item, dict) else ()
            _refuse([wrong for wrong in found if wrong["given"] is not None or wrong["setting"] in names])
        else:
            _refuse(calico_resources.problems(resource_of(what, item, generation), generation))
    for item in absent:
        words = _absent(what, item, generation)
        found = calico_resources.problems(resource_of(what, words, generation), generation)
        _refuse([problem for problem in found if problem["setting"] in words])


def _argument_problems(what, wanted, absent, prune, allow):
    """Also of a command line, where everything can be of every type."""
    if what not in (*DECLARED, "resource"):
        yield problem("what", what, ", ".join((*DECLARED, "resource")))
    for name, items in (("wanted", wanted), ("absent", absent)):
        whole = isinstance(items, (list, tuple))
        # What is wrong with a single resource that is wanted is told of that one.
        if whole and (what, name) != ("resource", "wanted"):
            whole = all(isinstance(item, dict) for item in items)
        if not whole:
            yield problem(name, items, "a list of mappings")
    if not isinstance(prune, bool):
        yield problem("prune", prune, "True or False")
    elif prune and what not in PRUNED:
        yield problem("prune", prune, "False: it is for %s" % " and ".join(PRUNED))
    if not isinstance(allow, (list, tuple, set)) or not set(map(str, allow)) <= set(calico_safety.ALLOW):
        yield problem("allow", allow, "a list of %s" % ", ".join(calico_safety.ALLOW))


def _names(resource, generation):
    """The words without which nobody can tell which resource is meant."""
    metadata = resource.get("metadata")
    named = generation != "v1" and isinstance(metadata, dict) and metadata.get("name")
    return ("apiVersion", "kind", "name") if named else ("apiVersion", "kind", "name", "cidr", "peer_ip")


def _refuse(found):
    if found:
        raise calico_resources.Problems([dict(item, setting=item["setting"] or "resource") for item in found])


def _absent(what, item, generation):
    """What names a resource that shall not be there; pools of Calico 3 go by their names as well."""
    if what == "pool" and generation != "v1" and "/" not in str(item.get("cidr", "/")):
        return {"name": item["cidr"]}
    return item


def steps(cluster, what, wanted=(), absent=(), prune=False, allow=()):
    """
    The steps that differ from nothing, without a judgement.

    cluster
        :class:`calico_topology.Cluster` with the kind's resources.
    what
        A key of :data:`calico_kinds.DECLARED`, or ``resource`` for resources as calicoctl writes them.
    wanted, absent
        What shall be there and what shall not: words of the pillar, or resources.
    prune
        True also removes every resource of the kind that is not wanted.
    allow
        With ``pool_recreate`` in it, a pool whose network or block size differs is made anew.

    Raises :class:`calico_resources.Problems` for what cannot be written at all.
    """
    generation = cluster.generation
    known = _known(cluster, what)
    found = []
    kept = []
    for item in wanted:
        resource = resource_of(what, item, generation)
        current = _current(known, resource, what, item, generation)
        if current is not None:
            kept.append(current)
        step = _step(current, resource, generation, allow)
        _judge(step, known, generation)
        if step.changes:
            found.append(step)
    gone = []
    for item in absent:
        words = _absent(what, item, generation)
        gone.append(_current(known, resource_of(what, words, generation), what, words, generation))
    if prune:
        kind = DECLARED[what][generation]
        gone.extend(item for item in known if item["kind"] == kind and item not in kept)
    found.extend(_removal(item, generation) for item in gone if item is not None)
    return found


def notes(cluster, what, wanted):
    """
    What was asked for and is left as it is, a list of text: the names of pools that are there already.

    Arguments are those of :func:`steps`.
    """
    generation, known = cluster.generation, _known(cluster, what)
    found = []
    for item in wanted:
        resource = resource_of(what, item, generation)
        name = item.get("name") if what == "pool" else (resource.get("metadata") or {}).get("name")
        if resource["kind"] != DECLARED["pool"]["v3"] or not name:
            continue
        current = _current(known, resource, what, item, generation)
        there = current and current["metadata"]["name"]
        if there and there != name:
            found.append(
                "The pool %s is there as %s, and is to be named %s: a pool keeps its name for life. Give it "
                "that name, or none" % (label(current, generation), there, name)
            )
    return found


def plan(cluster, found, allow=(), others=()):
    """
    The :class:`Plan` of these steps, held against the safety rules.

    cluster
        With everything that the rules look at: nodes, peers, pools, workloads and blocks.
    others
        Steps that count as taken by then.
    """
    writes, deletes = [], []
    for step in [*others, *found]:
        if step.action in ("delete", "recreate"):
            deletes.append(step.current)
        if step.action == "recreate":
            writes.append((None, step.resource))
        elif step.action != "delete":
            writes.append((step.current, step.resource))
    return Plan(found, calico_safety.refusals(cluster, writes=writes, deletes=deletes, allow=allow))


def _known(cluster, what):
    if cluster.generation == "v1" and what in ("bgp", "felix"):
        return calico_resources.from_config(cluster.config)[DECLARED[what]["v1"]]
    if what == "resource":
        return [item for items in cluster.resources.values() for item in items]
    return cluster.resources.get(DECLARED[what][cluster.generation], [])


def _current(known, resource, what, item, generation):
    of_kind = [other for other in known if other["kind"] == resource["kind"]]
    current = calico_resources.find(of_kind, resource, generation)
    if current is None and what == "peer" and generation != "v1" and not item.get("name"):
        # One that connects the same under a name of its own is the one that is meant.
        current = next((other for other in of_kind if _ends(other) == _ends(resource)), None)
    return current


def _ends(peer):
    """What a peer of Calico 3 connects."""
    spec = peer.get("spec") or {}
    return [spec.get(key) or None for key in ("node", "nodeSelector", "peerIP", "peerSelector")]


def _step(current, resource, generation, allow):
    merged, changes = calico_resources.merge(current, resource, generation)
    action = "create" if current is None else "update"
    if current and "pool_recreate" in allow and calico_resources.immutable(changes, resource, generation):
        action = "recreate"
        merged = copy.deepcopy(merged)
        merged["metadata"].pop("resourceVersion", None)
    return Step(label(merged, generation), action, current, merged, changes)


def _judge(step, known, generation):
    """What the API would refuse is refused here, before anything is written."""
    wrong = calico_resources.problems(step.resource, generation, whole=True) if step.changes else ()
    if wrong:
        name = "%s %s" % (step.resource["kind"], step.name)
        raise calico_resources.Problems(
            [dict(item, setting="%s: %s" % (name, item["setting"])) for item in wrong]
        )


def _removal(resource, generation):
    changes = {resource["kind"]: {"old": calico_secrets.shown(resource), "new": None}}
    return Step(label(resource, generation), "delete", resource, None, changes)


def label(resource, generation):
    """What a resource is called in differences: a pool goes by its network, a peer of 2.6 by its ends."""
    metadata = resource.get("metadata") or {}
    if resource["kind"] in DECLARED["pool"].values():
        return metadata.get("cidr") or (resource.get("spec") or {}).get("cidr") or metadata.get("name")
    if "peerIP" in metadata:
        return " ".join(filter(None, (metadata.get("node"), metadata["peerIP"])))
    return metadata.get("name")
