"""
The datastore's resources: checks before a write, and true differences.

A resource is a dict as calicoctl reads and prints it. The formula's own words for its fields (those
of the pillar) are the same for all generations; :mod:`calico_kinds` says how each generation writes
them, what it takes an absent field for, and what it can never change. Pure: no Salt, no side effects.
"""

import copy
import ipaddress
import re

import calico_secrets
from calico_forms import (
    Address,
    AddressAndPort,
    Community,
    ConfigurationName,
    host_bits,
    milliseconds,
    network_of,
)
from calico_kinds import (
    ABSENT_IS_FALSE,
    API_VERSIONS,
    KINDS,
    PEER_KINDS,
    POOL_KINDS,
    SETS,
    Kind,
    at,
    put,
    skeleton,
)
from calico_words import Problems, describe
from calico_words import problem as _problem

__all__ = [
    "API_VERSIONS",
    "KINDS",
    "POOL_KINDS",
    "Problems",
    "canonical",
    "config_calls",
    "describe",
    "diff",
    "find",
    "from_config",
    "immutable",
    "in_the_way",
    "merge",
    "network_of",
    "pool",
    "pool_problems",
    "pool_words",
    "problems",
    "resource_problems",
    "values",
]

# What the datastore adds; resourceVersion goes back with a write, so that it cannot undo another.
SERVER_OWNED = ("uid", "creationTimestamp", "generation", "managedFields", "selfLink")


def _kind(resource, generation):
    name = resource.get("kind", "")
    known = KINDS.get((generation, name)) if isinstance(name, str) else None
    return known or Kind(name, ["metadata/name"], [])


# Reading ---------------------------------------------------------------------------------------


def values(resource, generation):
    """
    Every field that ``resource`` names, flat: {word: value}.

    Fields that the formula has no word for go by their path (``spec/`` left out, parts joined by
    dots). Values are in the formula's words and spelling.
    """
    kind = _kind(resource, generation)
    found = {}
    for path, value in _leaves(resource, kind):
        field = kind.by_path.get(path)
        found[field.word if field else _path_name(path)] = field.form.read(value) if field else value
    return found


def diff(current, wanted, generation):
    """
    What would change: {field: {"old": …, "new": …}}, of the fields that ``wanted`` names.

    current
        The resource as it is, or None where there is none.

    An absent field counts as what the API takes it for; a field that ``wanted`` has as None is
    wanted absent.
    """
    return merge(current, wanted, generation)[1]


def merge(current, wanted, generation):
    """
    The resource to write so that all is as ``wanted`` says, and the difference that this makes.

    Whatever ``wanted`` does not name stays as it is in ``current``, whose ``resourceVersion`` the
    resource keeps: where the API knows it, a write fails that would undo another's.
    """
    kind = _kind(wanted, generation)
    merged = copy.deepcopy(current) if current else skeleton(kind, generation)
    for name in SERVER_OWNED:
        merged.get("metadata", {}).pop(name, None)
    merged.pop("status", None)
    changes = {}
    for path, raw in _leaves(wanted, kind):
        field = kind.by_path.get(path)
        if current is not None and path in kind.identity:
            # Found by another name for the same thing (a pool's CIDR): that one stays.
            continue
        if field is not None and field.empty and raw == "":
            raw = None
        old = _word(current, path, field)
        new = _default(field, wanted) if raw is None else field.form.read(raw) if field else raw
        if _same(old, new, field, path) and (current is not None or raw is None):
            continue
        changes[field.word if field else _path_name(path)] = {"old": old, "new": new}
        put(merged, path, raw if raw is None or not field else field.form.write(raw))
    return merged, changes


def _same(old, new, field, path):
    if field is not None:
        old, new = field.form.comparable(old), field.form.comparable(new)
        # A list that is empty may be more than none at all: no port is open, instead of the usual ones.
        return (old is None) == (new is None) and _comparable(old, path[-1]) == _comparable(new, path[-1])
    if path[:2] in _TEXT_ONLY:
        return old == new
    return _comparable(old, path[-1]) == _comparable(new, path[-1])


# Whatever these hold is text, and means nothing but itself.
_TEXT_ONLY = (("metadata", "labels"), ("metadata", "annotations"))


def _comparable(value, name):
    """What two values must have in common to mean the same: 1m is 1m0s, an empty part is none."""
    if isinstance(value, bool):
        return None if value is False and name in ABSENT_IS_FALSE else ("switch", value)
    if isinstance(value, dict):
        parts = {key: _comparable(part, key) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not None} or None
    if isinstance(value, (list, tuple)):
        parts = [_comparable(part, name) for part in value]
        return (sorted(parts, key=repr) if name in SETS else parts) or None
    if isinstance(value, str):
        length = milliseconds(value)
        if length is not None:
            return ("duration", length)
        return int(value) if re.fullmatch("[1-9][0-9]{0,14}|0", value) else value or None
    return value


def canonical(resource, generation):
    """The resource in canonical spelling, without what the server adds."""
    return merge(None, resource, generation)[0]


def find(resources, wanted, generation):
    """
    The resource among ``resources`` that ``wanted`` means, or None.

    Pools go by their CIDR; where no pool has it, the one of the same name is meant.
    """
    key = _identity(wanted, generation)
    for resource in resources:
        if _identity(resource, generation) == key:
            return resource
    kind = _kind(wanted, generation)
    name = at(wanted, ("metadata", "name"))
    if kind.name == POOL_KINDS["v3"] and isinstance(name, str):
        return next((item for item in resources if at(item, ("metadata", "name")) == name), None)
    return None


def meant(resources, name=None, node=None, namespace=None):
    """
    The resources that go by this name, of this node and in this namespace; None is any, a node of "" none.

    A pool goes by its network as well, a peer by its address, in whatever way these are written.
    """

    def fits(resource):
        metadata, spec = resource.get("metadata") or {}, resource.get("spec") or {}
        names = [part.get(key) for part in (metadata, spec) for key in ("name", "cidr", "peerIP")]
        nodes = [metadata.get("node"), spec.get("node")]
        return (
            (name is None or _canonical_name(name) in map(_canonical_name, filter(None, names)))
            and (node is None or node in nodes or not (node or any(nodes)))
            and (namespace is None or namespace == metadata.get("namespace"))
        )

    return [resource for resource in resources if fits(resource)]


def _canonical_name(name):
    for kind in (ipaddress.ip_address, ipaddress.ip_network):
        try:
            return str(kind(name))
        except ValueError:
            pass
    return name


def not_one(found, kind, name):
    """Why the resources of a name are not the one to remove (text), None where nothing speaks against it."""
    if len(found) > 1:
        which = ", ".join(sorted(map(_place, found)))
        return "%d resources of kind %s go by %s: %s. Say which by node or namespace" % (
            len(found),
            kind,
            name,
            which,
        )
    if found or kind.lower() != PEER_KINDS["v1"].lower() or _is_address(name):
        return None
    return "name: got %r; accepted: the address of a peer: of 2.6 they have no names" % (name,)


def _place(resource):
    metadata, spec = resource.get("metadata") or {}, resource.get("spec") or {}
    if metadata.get("namespace"):
        return "in namespace %s" % metadata["namespace"]
    node = metadata.get("node") or spec.get("node")
    return "of node %s" % node if node else "of all nodes (node: '')"


def _is_address(text):
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _identity(resource, generation):
    kind = _kind(resource, generation)
    if "cidr" in kind.by_word:
        field = kind.by_word["cidr"]
        return field.form.read(at(resource, field.path))
    key = [_word(resource, path, kind.by_path.get(path)) for path in kind.identity]
    # Of a kind with namespaces, one name may be there once in each.
    return (*key, at(resource, ("metadata", "namespace")) or "default")


def immutable(changes, resource, generation):
    """The words among ``changes`` that the API does not change: the resource has to be made anew."""
    known = _kind(resource, generation).by_word
    return [word for word in changes if word in known and known[word].immutable]


def in_the_way(removals, steps, generation):
    """
    Whether resources that are to go must do so before others come: pools that overlap new ones.

    removals
        The resources as they are.
    steps
        Those that bring the others about, each with an ``action`` and a ``resource``.
    """
    new = [step.resource for step in steps if step.action in ("create", "recreate")]
    return any(
        theirs.version == ours.version and theirs.overlaps(ours)
        for theirs in _pool_networks(removals, generation)
        for ours in _pool_networks(new, generation)
    )


def _pool_networks(resources, generation):
    for resource in resources:
        if resource.get("kind") == POOL_KINDS[generation]:
            network = network_of(_identity(resource, generation))
            if network:
                yield network


def _leaves(resource, kind):
    """(path, value) of everything that is said about the resource, in the order of the table."""
    found = []
    for top in ("metadata", "spec"):
        part = resource.get(top)
        _walk(part if isinstance(part, dict) else {}, (top,), kind, found)
    return sorted(found, key=lambda leaf: kind.order.get(leaf[0], len(kind.order)))


def _walk(node, path, kind, found):
    for name, value in node.items():
        here = (*path, name)
        if path == ("metadata",) and name in (*SERVER_OWNED, "resourceVersion"):
            continue
        if isinstance(value, dict) and here not in kind.by_path and path not in _TEXT_ONLY:
            _walk(value, here, kind, found)
        else:
            found.append((here, value))


def _word(resource, path, field):
    if resource is None:
        return None
    value = at(resource, path)
    if field is not None and value in (None, ""):
        return _default(field, resource)
    return field.form.read(value) if field else value


def _default(field, resource):
    if field is None:
        return None
    return field.default(resource) if callable(field.default) else field.default


def _path_name(path):
    return ".".join(str(name) for name in (path[1:] if path[0] in ("spec", "metadata") else path))


# Pools ----------------------------------------------------------------------------------------

LINK_LOCAL = {4: ipaddress.ip_network("169.254.0.0/16"), 6: ipaddress.ip_network("fe80::/10")}
# What no host's own traffic can go to: the network itself, loopback, multicast.
NOBODYS = {4: ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4"), 6: ("::/127", "ff00::/8")}
BLOCK = {4: 26, 6: 122}
BLOCK_SIZES = {4: (20, 32), 6: (116, 128)}


def pool(words, generation):
    """The pool that these words of the pillar describe: :func:`describe` for pools."""
    return describe("pool", words, generation)


def pool_words(words, generation):
    """The same words with every value in the spelling that comparisons use (``crosssubnet``)."""
    known = KINDS[generation, POOL_KINDS[generation]].by_word
    return {
        word: known[word].form.read(value) if word in known and value is not None else value
        for word, value in words.items()
    }


def pool_problems(words, generation):
    """
    What is wrong with the pools of a pillar, each alone and with those before it.

    Returns a list of (position, word, given, accepted).
    """
    found = []
    before = []
    for position, item in enumerate(words):
        try:
            resource = pool(item, generation)
            wrong = problems(resource, generation, before)
            before.append(resource)
        except Problems as err:
            wrong = err.problems
        found.extend((position, p["setting"], p["given"], p["accepted"]) for p in wrong)
    return found


# Checks ---------------------------------------------------------------------------------------


def resource_problems(resource, generation):
    """
    What is wrong with a resource as a person wrote it for calicoctl, found before anything is written.

    Returns a list as :func:`problems` does; where it is the resource as a whole, "setting" is ''.
    """
    if not isinstance(resource, dict):
        return [_problem("", calico_secrets.shown(resource), "a resource as calicoctl writes it: a mapping")]
    found = []
    if resource.get("apiVersion") != API_VERSIONS[generation]:
        found.append(_problem("apiVersion", resource.get("apiVersion"), API_VERSIONS[generation]))
    kind = resource.get("kind")
    if not isinstance(kind, str) or not kind:
        found.append(_problem("kind", kind, "a kind such as " + POOL_KINDS[generation]))
    elif kind.endswith("List"):
        found.append(_problem("kind", kind, "a single resource"))
    elif kind == "BGPConfiguration" and generation == "v1":
        found.append(_problem("kind", kind, "no settings of BGP: calico:network:bgp has them"))
    elif kind == "FelixConfiguration" and generation == "v1":
        found.append(_problem("kind", kind, "no settings of Felix: calico:network:felix has them"))
    found.extend(
        _problem(name, resource[name], "apiVersion, kind, metadata and spec")
        for name in resource
        if name not in ("apiVersion", "kind", "metadata", "spec", "status")
    )
    return _unshown(found) or problems(resource, generation)


def _unshown(found):
    """The same problems without the secrets in what was given."""
    return [
        dict(item, given=calico_secrets.shown(item["given"], calico_secrets.is_secret(item["setting"])))
        for item in found
    ]


def problems(resource, generation, others=(), whole=False):
    """
    What is wrong with a resource, found before anything is written.

    others
        The resources of the same kind that it will live with.
    whole
        Whether the resource is all that will be there. If not, the datastore may have fields that it
        leaves out, and what is wrong only without them is not told.

    Returns a list of {"setting": the field's word, "given", "accepted"}; secrets are masked.
    """
    kind = _kind(resource, generation)
    found = _shape_problems(resource, kind)
    for path, raw in _leaves(resource, kind):
        field = kind.by_path.get(path)
        if raw is None or (field and field.empty and raw == ""):
            continue
        word = field.form.read(raw) if field else raw
        if field and not field.form.valid(word):
            found.append(_problem(field.word, word, field.form.accepted))
        elif path in kind.inner:
            found.append(_problem(_path_name(path), raw, "a mapping"))
        elif path[:2] == ("metadata", "labels"):
            found.extend(_label_problems(path, raw))
    wrong = {problem["setting"] for problem in found}
    found.extend(
        _problem(kind.by_path[path].word if path in kind.by_path else _path_name(path), None, "text")
        for path in (("metadata", "name"),)
        if path in kind.identity and not at(resource, path) and kind.name not in POOL_KINDS.values()
    )
    if kind.name == POOL_KINDS[generation]:
        found.extend(_pool_problems(resource, generation, others, wrong))
    elif kind.name == PEER_KINDS[generation]:
        ends = _peer_problems(values(resource, generation), generation, wrong)
        found.extend(item for item in ends if item["setting"] not in wrong)
    elif (
        kind.name == "FelixConfiguration"
        and generation == "v3"
        and not at(resource, ("spec", "nodeSelector"))
    ):
        form = ConfigurationName()
        name = at(resource, ("metadata", "name"))
        if name and "name" not in wrong and not form.valid(name):
            found.append(_problem("name", name, form.accepted))
    elif kind.name == "BGPConfiguration":
        words = values(resource, generation)
        found.extend(_bgp_problems(words, generation, wrong))
        if not wrong & {"communities", "prefix_advertisements"}:
            found.extend(_community_problems(words, whole))
    return _unshown(found)


def _shape_problems(resource, kind):
    found = []
    for top in ("metadata", "spec"):
        if resource.get(top) is not None and not isinstance(resource[top], dict):
            found.append(_problem(top, resource[top], "a mapping"))
    if not kind.by_path and not found:
        name = at(resource, ("metadata", "name"))
        if name is not None and not isinstance(name, str):
            found.append(_problem("name", name, "text"))
    return found


_LABEL = re.compile(
    r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,253}[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def _label_problems(path, value):
    if len(path) == 2:
        return [_problem("labels", value, "a mapping of names to text")]
    name = path[2]
    where = _path_name(path)
    if not isinstance(name, str) or not _LABEL.fullmatch(name):
        return [_problem(where, value, "a name of letters, digits, -, _ and ., with or without a prefix/")]
    if len(path) > 3 or not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
        return [_problem(where, value, 'text of up to 63 letters, digits, -, _ and . (in quotes: "true")')]
    return []


def _peer_problems(words, generation, wrong):
    yield from _neighbour_problems(words, wrong)
    if generation == "v1":
        if words.get("peer_ip") is None:
            yield _problem("peer_ip", None, Address.accepted)
        if words.get("scope") == "node" and not words.get("node"):
            yield _problem("node", words.get("node"), "the node's name, where scope is node")
        if words.get("scope") == "global" and words.get("node"):
            yield _problem("node", words["node"], "nothing, where scope is global")
        return
    far = words.get("peer_ip") or words.get("peer_selector") or words.get("local_workload_selector")
    if words.get("node") and words.get("node_selector"):
        yield _problem("node", words["node"], "nothing, where node_selector is given")
    if words.get("peer_ip") and words.get("peer_selector"):
        yield _problem("peer_ip", words["peer_ip"], "nothing, where peer_selector is given")
    if not far and not wrong & {"peer_ip", "peer_selector", "spec"}:
        yield _problem("peer_ip", None, "an address, or else peer_selector")
    if words.get("as_number") and words.get("peer_selector"):
        yield _problem("as_number", words["as_number"], "nothing, where peer_selector is given")


def _neighbour_problems(words, wrong):
    """
    What BIRD refuses of a neighbour by address, and with it all of its configuration: no change of any
    session would reach it any more. Source: BIRD's own words, `Neighbor must be configured` and
    `Remote AS number must be set`.
    """
    found = AddressAndPort().parts(words.get("peer_ip")) if "peer_ip" not in wrong else None
    if not found:
        return
    address = ipaddress.ip_address(found[0])
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        yield _problem("peer_ip", words["peer_ip"], "the address of a neighbour: %s is none" % address)
    given = words.get("as_number")
    if not given and not words.get("peer_selector") and not wrong & {"as_number", "spec"}:
        # Calico stores a peer without one all the same, as recorded of 1.6.3, 3.22.5 and 3.32.1.
        yield _problem("as_number", given, "the neighbour's AS number, from 1 on, where peer_ip is given")


# What BIRD can have but once, for the whole cluster.
_OF_ALL_NODES = (
    "mesh",
    "as_number",
    "service_cluster_ips",
    "service_external_ips",
    "service_load_balancer_ips",
    "node_mesh_password",
    "node_mesh_max_restart_time",
)


def _bgp_problems(words, generation, wrong):
    if words.get("name") != "default" and "name" not in wrong:
        known = KINDS[generation, "BGPConfiguration"].by_word
        for word in _OF_ALL_NODES:
            if word in known and words.get(word) not in (None, []) and word not in wrong:
                yield _problem(word, words[word], "nothing, where name is not default")
    if words.get("mesh") is False:
        for word in ("node_mesh_password", "node_mesh_max_restart_time"):
            if words.get(word) is not None and word not in wrong:
                yield _problem(word, words[word], "nothing, where mesh is false")


def _community_problems(words, whole):
    """
    Communities that nothing uses, and uses of what nothing defines, which calicoctl refuses.

    Source: the validation of BGPConfiguration in libcalico-go.
    """
    named, used = words.get("communities"), words.get("prefix_advertisements")
    names = [item["name"] for item in named or ()]
    if named and not used and (whole or used is not None):
        yield _problem("communities", names, "nothing, where prefix_advertisements uses none of them")
    form = Community()
    for item in used or ():
        for text in item.get("communities") or ():
            # A name may be one that the datastore has, as long as nothing says otherwise.
            if text not in names and not form.valid(text) and (whole or named is not None or ":" in text):
                accepted = form.accepted + ", or the name of one of communities"
                yield _problem("prefix_advertisements", text, accepted)


def _pool_problems(resource, generation, others, wrong):
    kind = _kind(resource, generation)
    field = kind.by_word["cidr"]
    given = at(resource, field.path)
    if given in (None, ""):
        return [_problem("cidr", given, field.form.accepted)] if "cidr" not in wrong else []
    network = network_of(given)
    if network is None:
        return []
    if host_bits(given, network):
        return [_problem("cidr", given, f"{network} (no host bits set)")]
    found = []

    def word(name):
        return _word(resource, kind.by_word[name].path, kind.by_word[name])

    if word("disabled") is not True or generation != "v1":
        block = word("block_size") if "block_size" in kind.by_word else BLOCK[network.version]
        if "block_size" not in wrong:
            found.extend(_size_problems(network, block, generation))
    if network.overlaps(LINK_LOCAL[network.version]):
        found.append(_problem("cidr", str(network), f"a network outside {LINK_LOCAL[network.version]}"))
    elif any(network.overlaps(ipaddress.ip_network(taken)) for taken in NOBODYS[network.version]):
        found.append(_problem("cidr", str(network), "a network that workloads can have addresses of"))
    if network.version == 6 and word("ipip") != "never" and "ipip" not in wrong:
        found.append(_problem("ipip", word("ipip"), "never: IP-in-IP is not for IPv6 pools"))
    if (
        "vxlan" in kind.by_word
        and not wrong & {"ipip", "vxlan"}
        and "never" not in (word("ipip"), word("vxlan"))
    ):
        found.append(_problem("vxlan", word("vxlan"), "never, where ipip is not never"))
    for other in others:
        theirs = network_of(at(other, field.path))
        if theirs and theirs.version == network.version and theirs.overlaps(network):
            found.append(_problem("cidr", str(network), f"a network that does not overlap the pool {theirs}"))
    return found


def _size_problems(network, block, generation):
    low, high = BLOCK_SIZES[network.version]
    if generation != "v1" and not low <= block <= high:
        return [_problem("block_size", block, f"a whole number from {low} to {high}")]
    if network.prefixlen > block:
        accepted = f"a pool of at least one block (/{block} or larger), or disabled: true"
        return [_problem("cidr", str(network), accepted)]
    return []


# The settings of Calico 2.6 that `calicoctl config` has ------------------------------------------

_NODE = "node."
_CONFIG = {
    "mesh": ("nodeToNodeMesh", lambda value: "on" if value else "off"),
    "as_number": ("asNumber", str),
    "log_level": ("logLevel", str),
}


def from_config(config):
    """
    What is set with ``calicoctl config``, as if it were resources of Calico 3: {kind: [resource, …]}.

    config
        As :attr:`calico_topology.Cluster.config` has it.
    """
    spec = {}
    if "nodeToNodeMesh" in config:
        spec["nodeToNodeMeshEnabled"] = config["nodeToNodeMesh"] == "on"
    if config.get("asNumber") is not None:
        spec["asNumber"] = config["asNumber"]
    if config.get("logLevel"):
        spec["logSeverityScreen"] = config["logLevel"]
    found = {
        "BGPConfiguration": [_settings_of("BGPConfiguration", "default", spec)],
        "FelixConfiguration": [_settings_of("FelixConfiguration", "default", config.get("felix") or {})],
    }
    for node, of_node in sorted((config.get("nodes") or {}).items()):
        level = of_node.get("logLevel")
        if level:
            found["BGPConfiguration"].append(
                _settings_of("BGPConfiguration", _NODE + node, {"logSeverityScreen": level})
            )
        if of_node.get("felix"):
            found["FelixConfiguration"].append(
                _settings_of("FelixConfiguration", _NODE + node, of_node["felix"])
            )
    return found


def _settings_of(kind, name, spec):
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def config_calls(resource, changes):
    """
    The calls of ``calicoctl config`` that bring these differences about.

    resource
        BGPConfiguration or FelixConfiguration of Calico 2.6, as it is to be.
    changes
        The differences, as :func:`merge` returns them.

    Returns a list of (name, value, node, raw) as :func:`calico_ctl.config_set` takes them; where value
    is None, :func:`calico_ctl.config_unset` is meant.
    """
    kind = KINDS["v1", resource["kind"]]
    name = resource["metadata"]["name"]
    node = name[len(_NODE) :] if name.startswith(_NODE) else None
    calls = []
    for word in changes:
        field = kind.by_word.get(word)
        if field is None or field.path in kind.identity:
            continue
        value = at(resource, field.path)
        if kind.name == "FelixConfiguration":
            calls.append((field.path[-1], value, node, "felix"))
        else:
            setting, spelt = _CONFIG[word]
            calls.append((setting, None if value is None else spelt(value), node, None))
    return calls
