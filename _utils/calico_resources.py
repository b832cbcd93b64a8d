"""
The datastore's resources: their kinds as data, checks before a write, and true differences.

A resource is a dict as calicoctl reads and prints it. The formula's own words for its fields (those
of the pillar) are the same for all generations; :data:`KINDS` says how each generation writes them,
what it takes an absent field for, and what it can never change. Pure: no Salt, no side effects.
"""

import copy
import ipaddress
import re

import calico_selector
import calico_topology

API_VERSIONS = {"v1": "v1", "v3": "projectcalico.org/v3"}
# What the datastore adds; resourceVersion goes back with a write, so that it cannot undo another.
SERVER_OWNED = ("uid", "creationTimestamp", "generation", "managedFields", "selfLink")
ABSENT = object()


class Problems(ValueError):
    """
    What was given cannot be expressed.

    problems
        List of {"setting", "given", "accepted"}, as :func:`problems` returns them.
    """

    def __init__(self, found):
        super().__init__("; ".join(f"{p['setting']}: {p['given']!r}" for p in found))
        self.problems = found


def _problem(setting, given, accepted):
    return {"setting": setting, "given": given, "accepted": accepted}


# Forms: how a value is written in the API, and what is accepted --------------------------------


class Plain:
    """A value that is written as it is."""

    accepted = "a value"

    def read(self, value):
        """The formula's word for the API's value; what is no API value comes back unchanged."""
        return value

    def write(self, word):
        """The API's value for the formula's word; nonsense comes back as nonsense."""
        return word

    def valid(self, _word):
        """Whether the word is one that we accept."""
        return True


class Boolean(Plain):
    """true or false."""

    accepted = "true or false (without quotes)"

    def valid(self, word):
        return isinstance(word, bool)


class Number(Plain):
    """A whole number, which some write as text."""

    accepted = "a whole number"

    def read(self, value):
        return int(value) if isinstance(value, str) and value.isdigit() else value

    def valid(self, word):
        return isinstance(word, int) and not isinstance(word, bool)


class Text(Plain):
    """Text that is not empty."""

    accepted = "text"

    def valid(self, word):
        return isinstance(word, str) and bool(word)


class OneOf(Plain):
    """One of a few words."""

    def __init__(self, *words):
        self.words = words
        self.accepted = " or ".join(words)

    def valid(self, word):
        return word in self.words


class AsNumber(Plain):
    """An AS number, which may be written as text or with a dot."""

    accepted = "an AS number from 0 to 4294967295, or dotted such as 1.10"

    def read(self, value):
        return calico_topology.as_number(value) if self.valid(value) else value

    write = read

    def valid(self, word):
        # A dotted number without quotes is a fraction to YAML: 1.10 has become 1.1.
        if isinstance(word, bool) or not isinstance(word, (int, str)):
            return False
        try:
            calico_topology.as_number(word)
        except calico_topology.Unreadable:
            return False
        return True


class Port(Number):
    """A TCP port."""

    accepted = "a port from 1 to 65535"

    def valid(self, word):
        return super().valid(word) and 0 < word < 65536


class Address(Plain):
    """An IP address in its canonical spelling."""

    accepted = "an IP address such as 10.0.0.1"

    def read(self, value):
        try:
            return str(ipaddress.ip_address(value)) if isinstance(value, str) else value
        except ValueError:
            return value

    write = read

    def valid(self, word):
        try:
            return isinstance(word, str) and "%" not in word and bool(ipaddress.ip_address(word))
        except ValueError:
            return False


class AddressAndPort(Address):
    """An IP address, with or without a port."""

    accepted = "an IP address, or one with port such as 10.0.0.1:180 or [fd00::1]:180"
    _with_port = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})")

    def read(self, value):
        found = self._with_port.fullmatch(value) if isinstance(value, str) else None
        if not found:
            return super().read(value)
        address = super().read(found.group(1) or found.group(2))
        return f"[{address}]:{found.group(3)}" if ":" in address else f"{address}:{found.group(3)}"

    write = read

    def valid(self, word):
        found = self._with_port.fullmatch(word) if isinstance(word, str) else None
        if not found:
            return super().valid(word)
        return super().valid(found.group(1) or found.group(2)) and 0 < int(found.group(3)) < 65536


class Selector(Text):
    """A selector of labels."""

    accepted = 'a selector such as rack == "1"'

    def valid(self, word):
        try:
            calico_selector.parse(word)
        except (TypeError, calico_selector.SelectorError):
            return False
        return True


class Name(Text):
    """What the v3 API takes for the name of a resource."""

    accepted = "a name of lower case letters, digits, - and ."
    _names = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

    def valid(self, word):
        return isinstance(word, str) and bool(self._names.fullmatch(word)) and len(word) < 254


class Network(Plain):
    """A network in its canonical spelling."""

    accepted = "a network such as 172.20.0.0/16"

    def read(self, value):
        network = network_of(value)
        # Host bits are a mistake to be told, not to be mended in silence.
        return str(network) if network and not _host_bits(value, network) else value

    write = read

    def valid(self, word):
        return network_of(word) is not None


class Encapsulation(Plain):
    """When packets between nodes are wrapped; ``written`` has the API's value for each word."""

    words = ("never", "always", "crosssubnet")
    accepted = "never, always or crosssubnet"

    def __init__(self, written):
        self.written = dict(zip(self.words, written))

    def read(self, value):
        word = str(value).lower().replace("-", "")
        # YAML reads an unquoted off as false.
        word = "never" if value is False or word == "off" else word
        return word if word in self.words else value

    def write(self, word):
        known = self.read(word)
        return copy.copy(self.written[known]) if known in self.words else word

    def valid(self, word):
        return self.read(word) in self.words


class SwitchAndMode(Encapsulation):
    """The same in the v1 API: a switch and a mode, of which the mode may be absent."""

    def read(self, value):
        if not isinstance(value, dict) or not set(value) <= {"enabled", "mode"}:
            return super().read(value)
        return super().read(value.get("mode") or "always") if value.get("enabled") else "never"


# Kinds ----------------------------------------------------------------------------------------


class Field:
    """
    One field that the formula has a word for.

    word
        Its name in the pillar and in differences.
    path
        Where it lies in the resource.
    default
        The word that an absent field stands for, or a function of the resource.
    immutable
        True if the API refuses to change it.
    """

    def __init__(self, word, path, form, default=None, immutable=False):
        self.word = word
        self.path = tuple(path.split("/"))
        self.form = form
        self.default = default
        self.immutable = immutable


class Kind:
    """A kind of one generation: its name, what identifies it, and the fields we have words for."""

    def __init__(self, name, identity, fields):
        self.name = name
        self.identity = tuple(tuple(path.split("/")) for path in identity)
        self.fields = fields
        self.by_word = {field.word: field for field in fields}
        self.by_path = {field.path: field for field in fields}


def _block_size(resource):
    return 122 if ":" in str(_at(resource, ("spec", "cidr"))) else 26


_V1_IPIP = SwitchAndMode(
    [{"enabled": False}, {"enabled": True, "mode": "always"}, {"enabled": True, "mode": "cross-subnet"}]
)
_V3_MODE = Encapsulation(["Never", "Always", "CrossSubnet"])

KINDS = {
    ("v1", "ipPool"): Kind(
        "ipPool",
        ["metadata/cidr"],
        [
            Field("cidr", "metadata/cidr", Network(), immutable=True),
            Field("ipip", "spec/ipip", _V1_IPIP, "never"),
            Field("nat_outgoing", "spec/nat-outgoing", Boolean(), False),
            Field("disabled", "spec/disabled", Boolean(), False),
        ],
    ),
    ("v3", "IPPool"): Kind(
        "IPPool",
        ["metadata/name"],
        [
            Field("name", "metadata/name", Name(), immutable=True),
            Field("cidr", "spec/cidr", Network(), immutable=True),
            Field("ipip", "spec/ipipMode", _V3_MODE, "never"),
            Field("vxlan", "spec/vxlanMode", _V3_MODE, "never"),
            Field("nat_outgoing", "spec/natOutgoing", Boolean(), False),
            Field("disabled", "spec/disabled", Boolean(), False),
            Field("block_size", "spec/blockSize", Number(), _block_size, immutable=True),
            Field("node_selector", "spec/nodeSelector", Selector(), "all()"),
        ],
    ),
    ("v1", "bgpPeer"): Kind(
        "bgpPeer",
        ["metadata/scope", "metadata/node", "metadata/peerIP"],
        [
            Field("scope", "metadata/scope", OneOf("global", "node"), immutable=True),
            Field("node", "metadata/node", Text(), immutable=True),
            Field("peer_ip", "metadata/peerIP", Address(), immutable=True),
            Field("as_number", "spec/asNumber", AsNumber(), 0),
        ],
    ),
    ("v3", "BGPPeer"): Kind(
        "BGPPeer",
        ["metadata/name"],
        [
            Field("name", "metadata/name", Name(), immutable=True),
            Field("node", "spec/node", Text()),
            Field("node_selector", "spec/nodeSelector", Selector()),
            Field("peer_ip", "spec/peerIP", AddressAndPort()),
            Field("peer_selector", "spec/peerSelector", Selector()),
            Field("as_number", "spec/asNumber", AsNumber(), 0),
        ],
    ),
    ("v1", "node"): Kind(
        "node",
        ["metadata/name"],
        [
            Field("name", "metadata/name", Text(), immutable=True),
            Field("as_number", "spec/bgp/asNumber", AsNumber()),
        ],
    ),
    ("v3", "Node"): Kind(
        "Node",
        ["metadata/name"],
        [
            Field("name", "metadata/name", Name(), immutable=True),
            Field("as_number", "spec/bgp/asNumber", AsNumber()),
            Field("route_reflector_cluster_id", "spec/bgp/routeReflectorClusterID", Address()),
        ],
    ),
    ("v3", "BGPConfiguration"): Kind(
        "BGPConfiguration",
        ["metadata/name"],
        [
            Field("name", "metadata/name", Name(), immutable=True),
            Field("mesh", "spec/nodeToNodeMeshEnabled", Boolean(), True),
            Field("as_number", "spec/asNumber", AsNumber(), calico_topology.DEFAULT_AS_NUMBER),
            Field("log_level", "spec/logSeverityScreen", Text(), "Info"),
            Field("listen_port", "spec/listenPort", Port(), calico_topology.BGP_PORT),
        ],
    ),
}
# Fields whose value is a set: their order means nothing.
SETS = {
    "allowedUses",
    "reservedCIDRs",
    "serviceClusterIPs",
    "serviceExternalIPs",
    "serviceLoadBalancerIPs",
    "communities",
}
POOL_KINDS = {"v1": "ipPool", "v3": "IPPool"}


def _kind(resource, generation):
    name = resource.get("kind", "")
    return KINDS.get((generation, name)) or Kind(name, ["metadata/name"], [])


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

    Whatever ``wanted`` does not name stays as it is in ``current``.
    """
    kind = _kind(wanted, generation)
    merged = copy.deepcopy(current) if current else _skeleton(kind, generation)
    for name in SERVER_OWNED:
        merged.get("metadata", {}).pop(name, None)
    merged.pop("status", None)
    changes = {}
    for path, raw in _leaves(wanted, kind):
        field = kind.by_path.get(path)
        if current is not None and path in kind.identity:
            # Found by another name for the same thing (a pool's CIDR): that one stays.
            continue
        old = _word(current, path, field)
        new = _default(field, wanted) if raw is None else field.form.read(raw) if field else raw
        if current is None or _comparable(old, path[-1]) != _comparable(new, path[-1]):
            changes[field.word if field else _path_name(path)] = {"old": old, "new": new}
            _put(merged, path, raw if raw is None or not field else field.form.write(raw))
    return merged, changes


_DURATION_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")


def _comparable(value, name):
    """What two values must have in common to mean the same: 1m is 1m0s, an empty part is none."""
    if isinstance(value, dict):
        parts = {key: _comparable(part, key) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, {})}
    if isinstance(value, (list, tuple)):
        parts = [_comparable(part, name) for part in value]
        return sorted(parts, key=repr) if name in SETS else parts
    if isinstance(value, str) and _DURATION.fullmatch(value):
        found = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
        return ("duration", sum(float(number) * _DURATION_UNITS[unit] for number, unit in found))
    return value


def canonical(resource, generation):
    """The resource in canonical spelling, without what the server adds."""
    return merge(None, resource, generation)[0]


def find(resources, wanted, generation):
    """The resource among ``resources`` that ``wanted`` means, or None. Pools go by their CIDR."""
    key = _identity(wanted, generation)
    for resource in resources:
        if _identity(resource, generation) == key:
            return resource
    return None


def _identity(resource, generation):
    kind = _kind(resource, generation)
    if "cidr" in kind.by_word:
        field = kind.by_word["cidr"]
        return field.form.read(_at(resource, field.path))
    return tuple(_word(resource, path, kind.by_path.get(path)) for path in kind.identity)


def _leaves(resource, kind):
    """(path, value) of everything that is said about the resource, in the order of the table."""
    found = []
    for top in ("metadata", "spec"):
        _walk(resource.get(top) or {}, (top,), kind, found)
    order = {field.path: number for number, field in enumerate(kind.fields)}
    return sorted(found, key=lambda leaf: order.get(leaf[0], len(order)))


def _walk(node, path, kind, found):
    for name, value in node.items():
        here = (*path, name)
        if path == ("metadata",) and name in (*SERVER_OWNED, "resourceVersion"):
            continue
        if isinstance(value, dict) and here not in kind.by_path:
            _walk(value, here, kind, found)
        else:
            found.append((here, value))


def _word(resource, path, field):
    if resource is None:
        return None
    value = _at(resource, path)
    if value is None:
        return _default(field, resource)
    return field.form.read(value) if field else value


def _default(field, resource):
    if field is None:
        return None
    return field.default(resource) if callable(field.default) else field.default


def _skeleton(kind, generation):
    return {"apiVersion": API_VERSIONS[generation], "kind": kind.name, "metadata": {}, "spec": {}}


def _path_name(path):
    return ".".join(path[1:] if path[0] in ("spec", "metadata") else path)


def _at(resource, path):
    node = resource
    for name in path:
        if not isinstance(node, dict):
            return None
        node = node.get(name)
    return node


def _put(resource, path, value):
    node = resource
    for name in path[:-1]:
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
    if value is None:
        node.pop(path[-1], None)
    else:
        node[path[-1]] = value


# Pools ----------------------------------------------------------------------------------------

LINK_LOCAL = {4: ipaddress.ip_network("169.254.0.0/16"), 6: ipaddress.ip_network("fe80::/10")}
BLOCK = {4: 26, 6: 122}
BLOCK_SIZES = {4: (20, 32), 6: (116, 128)}


def network_of(value):
    """The network of a CIDR, whose host bits may be set, or None if it is none."""
    if not isinstance(value, str) or "/" not in value or "%" in value:
        return None
    address, _slash, length = value.partition("/")
    if not re.fullmatch(r"\d{1,3}", length):
        return None
    try:
        return ipaddress.ip_network((ipaddress.ip_address(address), int(length)), strict=False)
    except ValueError:
        return None


def _host_bits(text, network):
    return ipaddress.ip_address(text.partition("/")[0]) != network.network_address


def pool(words, generation):
    """
    The pool that these words of the pillar describe.

    words
        Dict with ``cidr`` and any of ``ipip``, ``nat_outgoing``, ``disabled``; Calico 3 also knows
        ``name``, ``vxlan``, ``block_size`` and ``node_selector``.

    Raises :class:`Problems` for words that this generation has no field for. Values are not judged
    here: see :func:`problems`.
    """
    kind = KINDS[generation, POOL_KINDS[generation]]
    known = ", ".join(kind.by_word)
    unknown = [
        _problem(word, value, f"the pools of this release know {known}")
        for word, value in words.items()
        # A name is no field of the v1 API, but pillars may give one for readers.
        if word not in kind.by_word and word != "name" and value is not None
    ]
    if unknown:
        raise Problems(unknown)
    resource = _skeleton(kind, generation)
    for word, value in words.items():
        field = kind.by_word.get(word)
        if field and value is not None:
            _put(resource, field.path, field.form.write(value))
    network = network_of(words.get("cidr"))
    if "name" in kind.by_word and words.get("name") is None and network:
        resource["metadata"]["name"] = re.sub("[^a-z0-9]+", "-", str(network)).strip("-")
    return resource


def pool_words(words, generation):
    """The same words with every value in the spelling that comparisons use (``crosssubnet``)."""
    known = KINDS[generation, POOL_KINDS[generation]].by_word
    return {
        word: known[word].form.read(value) if word in known and value is not None else value
        for word, value in words.items()
    }


def problems(resource, generation, others=()):
    """
    What is wrong with a resource, found before anything is written.

    others
        The resources of the same kind that it will live with.

    Returns a list of {"setting": the field's word, "given", "accepted"}.
    """
    kind = _kind(resource, generation)
    found = []
    for word, value in values(resource, generation).items():
        field = kind.by_word.get(word)
        if field and value is not None and not field.form.valid(value):
            found.append(_problem(word, value, field.form.accepted))
    if kind.name == POOL_KINDS[generation]:
        wrong = {problem["setting"] for problem in found}
        found.extend(_pool_problems(resource, generation, others, wrong))
    if kind.name in ("bgpPeer", "BGPPeer"):
        found.extend(_peer_problems(values(resource, generation), generation))
    return found


def _peer_problems(words, generation):
    if generation == "v1":
        if words.get("peer_ip") is None:
            yield _problem("peer_ip", None, Address.accepted)
        if words.get("scope") == "node" and not words.get("node"):
            yield _problem("node", words.get("node"), "the node's name, where scope is node")
        if words.get("scope") == "global" and words.get("node"):
            yield _problem("node", words["node"], "nothing, where scope is global")
        return
    if words.get("node") and words.get("node_selector"):
        yield _problem("node", words["node"], "nothing, where node_selector is given")
    if words.get("peer_ip") and words.get("peer_selector"):
        yield _problem("peer_ip", words["peer_ip"], "nothing, where peer_selector is given")
    if not (words.get("peer_ip") or words.get("peer_selector")):
        yield _problem("peer_ip", None, "an address, or else peer_selector")
    if words.get("as_number") and words.get("peer_selector"):
        yield _problem("as_number", words["as_number"], "nothing, where peer_selector is given")


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


def _pool_problems(resource, generation, others, wrong):
    kind = _kind(resource, generation)
    field = kind.by_word["cidr"]
    given = _at(resource, field.path)
    if given is None:
        return [_problem("cidr", None, field.form.accepted)]
    network = network_of(given)
    if network is None:
        return []
    if _host_bits(given, network):
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
    if network.version == 6 and word("ipip") != "never" and "ipip" not in wrong:
        found.append(_problem("ipip", word("ipip"), "never: IP-in-IP is not for IPv6 pools"))
    if "vxlan" in kind.by_word and "never" not in (word("ipip"), word("vxlan")):
        found.append(_problem("vxlan", word("vxlan"), "never, where ipip is not never"))
    for other in others:
        theirs = network_of(_at(other, field.path))
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
