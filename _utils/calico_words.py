"""
From the words of the pillar to resources: what they describe, and what they cannot.

Pure: no Salt, no side effects.
"""

import difflib
import hashlib
import re

import calico_felix
from calico_forms import AddressAndPort, Selector, network_of
from calico_kinds import DECLARED, KINDS, put, skeleton


class Problems(ValueError):
    """
    What was given cannot be expressed.

    problems
        List of {"setting", "given", "accepted"}, as :func:`problem` returns them.
    """

    def __init__(self, found):
        super().__init__("; ".join(f"{p['setting']}: {p['given']!r}" for p in found))
        self.problems = found


def problem(setting, given, accepted):
    """One thing that is wrong: the field's word, what it was, and what would do."""
    return {"setting": str(setting), "given": given, "accepted": accepted}


# Words that a generation's API has no place for, but which pillars may give for readers.
_IGNORED = {("v1", "pool"): ("name",), ("v1", "peer"): ("name",)}
# What follows from the rest is no word of the pillar.
_DERIVED = {("v1", "peer"): ("scope",)}
_PLURAL = {
    "pool": "the pools",
    "peer": "the BGP peers",
    "bgp": "the BGP settings",
    "felix": "the settings of Felix",
    "node": "the nodes",
}
SETTINGS = ("bgp", "felix")


def describe(what, words, generation):
    """
    The resource that these words of the pillar describe.

    what
        ``pool``, ``peer``, ``bgp``, ``felix`` or ``node``.
    words
        Dict. A word whose value is None counts as not given; but a label or a setting of Felix that
        is None, and a cluster id that is empty, are wanted absent.

    Raises :class:`Problems` for words that this generation has no field for. Values are not judged
    here: see :func:`calico_resources.problems`.
    """
    if not isinstance(words, dict):
        raise Problems([problem(what, words, "a mapping of words such as name")])
    kind = KINDS[generation, DECLARED[what][generation]]
    resource = skeleton(kind, generation)
    unknown = []
    taken = set()
    for word, value in words.items():
        if word in _IGNORED.get((generation, what), ()):
            continue
        if value is None and (what != "felix" or word == "name"):
            continue
        field, hint = _field(what, word, kind, generation)
        if what == "node" and word == "labels" and generation == "v3":
            resource["metadata"]["labels"] = _labels(value)
        elif field is None:
            unknown.append(problem(word, value, hint))
        elif field.path in taken:
            unknown.append(problem(word, value, f"{field.word} once"))
        elif what == "felix" and value in (None, "") and field.path not in kind.identity:
            # Empty text is as good as nothing to Felix itself, too.
            taken.add(field.path)
            resource["spec"][field.path[-1]] = None
        elif word == "route_reflector_cluster_id" and value == "":
            taken.add(field.path)
            resource["spec"].setdefault("bgp", {})[field.path[-1]] = None
        else:
            taken.add(field.path)
            put(resource, field.path, field.form.write(value))
    if unknown:
        raise Problems(unknown)
    _complete(what, resource, words, kind, generation)
    return resource


def _field(what, word, kind, generation):
    """The field that a word means, and what to say where there is none."""
    if what == "felix" and word != "name":
        return _felix_field(word, kind, generation)
    if word in kind.by_word and word not in _DERIVED.get((generation, what), ()):
        return kind.by_word[word], None
    known = [name for name in kind.by_word if name not in _DERIVED.get((generation, what), ())]
    known += ["labels"] if what == "node" and generation == "v3" else []
    return None, f"{_PLURAL[what]} of this release know {', '.join(known)}{_nearest(word, known)}"


def _felix_field(word, kind, generation):
    row = calico_felix.row(word)
    field = kind.by_word.get(row.field if generation == "v3" else row.name) if row else None
    if field is not None:
        return field, None
    if row is None:
        hint = calico_felix.nearest(word, 3 if generation == "v3" else 2)
    elif generation == "v1":
        hint = calico_felix.gone_hint(row.name, 2, 6)
    elif row.until is None:
        hint = " (this one each node takes from its environment only: calico:felix)"
    else:
        hint = calico_felix.gone_hint(row.name, 3, row.until + 1)
    return None, "a setting of Felix" + hint


def _nearest(word, known):
    found = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f" (did you mean '{found[0]}'?)" if found else ""


def _labels(value):
    if not isinstance(value, dict):
        return value
    # Labels are text; YAML makes numbers of some.
    return {name: str(text) if type(text) is int else text for name, text in value.items()}


def _complete(what, resource, words, kind, generation):
    """Fill in what follows from the rest: names, and the scope of a peer."""
    metadata, named = resource["metadata"], words.get("name") is not None
    if what in SETTINGS and not named:
        metadata["name"] = "default"
    elif what == "peer" and generation == "v1":
        metadata["scope"] = "node" if words.get("node") is not None else "global"
    elif what == "peer" and not named:
        metadata["name"] = _peer_name(words)
    elif what == "pool" and not named and "name" in kind.by_word:
        network = network_of(words.get("cidr"))
        if network:
            metadata["name"] = re.sub("[^a-z0-9]+", "-", str(network)).strip("-")


def _peer_name(words):
    """
    A name for a peer of Calico 3 that was given none: the same as long as it connects the same.

    Selectors cannot be read off a name, so a hash of what they mean ends it.
    """
    hashed = []

    def end(word, plain):
        text = words.get(word)
        if text is None:
            return None
        hashed.append(f"{word}={Selector().comparable(text)}")
        return plain

    near = str(words["node"]) if words.get("node") is not None else end("node_selector", "nodes")
    far = _slug(words["peer_ip"]) if words.get("peer_ip") is not None else end("peer_selector", "peers")
    local = end("local_workload_selector", "workloads")
    parts = [near or "global", *filter(None, (far, None if far else local))]
    if hashed:
        parts.append(hashlib.sha256("\n".join(hashed).encode("utf-8", "replace")).hexdigest()[:8])
    return re.sub("[^a-z0-9.-]+", "-", "-".join(parts).lower()).strip("-.")


def _slug(peer_ip):
    """An address as part of a name; no two addresses have the same."""
    found = AddressAndPort().parts(peer_ip)
    if not found:
        return str(peer_ip)
    address, port = found
    text = re.sub("[.:]", "-", address)
    # Nothing may end with a dash.
    text += "0" if text.endswith("-") else ""
    return text if port is None else f"{text}-port-{port}"
