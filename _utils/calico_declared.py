"""
What the pillar declares for the datastore (``calico:network``), checked before anything is written.

Names are held against the tables of :mod:`calico_schema` and :mod:`calico_felix`, values by what would
be written (:mod:`calico_resources`). Pure: no Salt, no files, no network.
"""

import re

import calico_felix
import calico_generations
import calico_resources
import calico_schema
import calico_values
from calico_kinds import DECLARED, KINDS
from calico_problems import absent, meant, problem, unknown

ROOT = "calico:network"
# What a resource is made of.
PARTS = ("apiVersion", "kind", "metadata", "spec")
A_POOL = "a list with at least one pool such as [{cidr: 172.20.0.0/16}]"


def check(given, settings, problems):
    """
    Check the whole section.

    given
        What stands under ``calico:network`` in the pillar (dict).
    settings
        The settings derived so far, with release and generation; pools, peers and resources are laid
        into its ``network``.
    problems
        List that every mistake is added to.
    """
    network = settings["network"]
    network["pools"] = _pools(given.get("pools"), settings, problems)
    network["peers"] = _peers(given.get("peers"), settings, problems)
    bgp = network["bgp"]
    if isinstance(bgp, dict) and _names(bgp, "bgp", ROOT + ":bgp", settings, problems):
        # Judged together: some mean nothing where the mesh is off.
        own = {word: network[word] for word in calico_schema.OWNED_WORDS["bgp"]}
        _values("bgp", {**bgp, **own}, ROOT + ":bgp", settings, problems)
    felix = network["felix"]
    if isinstance(felix, dict) and _felix_names(felix, settings, problems):
        _values("felix", felix, ROOT + ":felix", settings, problems)
        if settings["generation"] == "v1" and isinstance(bgp, dict):
            _one_log_level(bgp.get("log_level"), felix, problems)
    network["resources"] = _resources(given.get("resources"), settings, problems)


def _one_log_level(of_bgp, felix, problems):
    """2.6 keeps one level for BIRD and Felix: two that differ would be written over each other for ever."""
    for name, value in felix.items():
        row = calico_felix.row(name)
        if row and row.name == "LogSeverityScreen" and of_bgp and str(value).lower() != str(of_bgp).lower():
            accepted = "nothing other than calico:network:bgp:log_level, which sets it as well in 2.6"
            problems.append(problem("%s:felix:%s" % (ROOT, name), value, accepted))


def not_yet(row, settings):
    """What is accepted where a release has no such setting."""
    return "nothing with version %s: Calico has it since 3.%d" % (settings["version"], row.since)


# Names ---------------------------------------------------------------------------------------------


def _names(given, what, path, settings, problems):
    """Whether all words are known to the release; those that are not are added to the problems."""
    if not isinstance(given, dict):
        problems.append(problem(path, given, "a mapping"))
        return False
    release = settings["major"], settings["minor"]
    rows = {row.path: row for row in calico_schema.WORDS[what]}
    known = [name for name, row in rows.items() if row.known(*release)]
    before = len(problems)
    for word, value in given.items():
        here = "%s:%s" % (path, word)
        field = _by_field(what, word, settings["generation"])
        owner = calico_schema.OWNED_WORDS.get(what, {}).get(field or word)
        if owner:
            problems.append(problem(here, value, "nothing here: set calico:%s instead" % owner))
        elif word not in rows:
            problems.append(unknown(here, known, field and meant(field)))
        elif value is not None and not rows[word].known(*release):
            problems.append(problem(here, value, not_yet(rows[word], settings)))
    return len(problems) == before


def _by_field(what, name, generation):
    """The word for a field that goes by its name in the API, or None."""
    kind = KINDS[generation, DECLARED[what][generation]]
    return next((field.word for field in kind.fields if field.path[-1] == name != field.word), None)


def _felix_names(given, settings, problems):
    before = len(problems)
    for name, value in given.items():
        here = "%s:felix:%s" % (ROOT, name)
        row = calico_felix.row(name)
        if name == "name":
            continue
        if row is None or not row.known(settings["major"], settings["minor"]):
            problems.append(felix_problem(here, name, value, settings))
        elif row.field is None and settings["major"] == 3:
            problems.append(problem(here, value, "nothing here: nodes have it from calico:felix only"))
    return len(problems) == before


def felix_problem(path, name, value, settings):
    """The problem that Felix of this release has no such setting."""
    release = settings["major"], settings["minor"]
    since = calico_felix.gone_hint(name, *release)
    if since:
        accepted = "nothing with version %s%s" % (settings["version"], since)
        return problem(path, value, accepted)
    hint = calico_felix.nearest(name, 3 if path.startswith(ROOT) and release[0] == 3 else None)
    accepted = "a setting of Felix%s, which ignores names that it does not know; calico:env takes any"
    return {"setting": path, "given": "an unknown setting", "accepted": accepted % hint}


# Values --------------------------------------------------------------------------------------------


def _values(what, words, path, settings, problems):
    """The resource that the words describe, or None where something is wrong with it."""
    generation = settings["generation"]
    try:
        resource = calico_resources.describe(what, words, generation)
        wrong = calico_resources.problems(resource, generation)
    except calico_resources.Problems as err:
        resource, wrong = None, err.problems
    # Settings of Felix go by two names each: said is the one that was given.
    given = {row.field: name for name in words for row in [calico_felix.row(name)] if row and what == "felix"}
    for item in _of_their_own(wrong):
        word = given.get(item["setting"], item["setting"])
        problems.append(problem("%s:%s" % (path, word), item["given"], item["accepted"]))
    return None if wrong else resource


def _of_their_own(wrong):
    """Without what is only wrong beside a word that is wrong itself, or was named for that before."""
    named = {item["setting"] for item in wrong if not item["accepted"].startswith("nothing, where ")}
    for item in wrong:
        beside = re.match(r"nothing, where (\w+) is", item["accepted"])
        if not beside or beside.group(1) not in named:
            yield item
        if beside:
            named.add(beside.group(1))


def _pools(given, settings, problems):
    """The pools in the formula's words, each checked alone and against the others."""
    path = ROOT + ":pools"
    if given is None:
        return []
    if not isinstance(given, list) or not given:
        problems.append(problem(path, given, A_POOL))
        return []
    pools = []
    for position, item in enumerate(given):
        here = "%s:%d" % (path, position)
        if _names(item, "pool", here, settings, problems):
            pool = _pool(item, here, problems)
            if pool is not None:
                pools.append((position, pool))
    words = [pool for _position, pool in pools]
    _vxlan_of_ipv6(pools, settings, problems)
    for index, key, value, accepted in calico_resources.pool_problems(words, settings["generation"]):
        problems.append(problem("%s:%d:%s" % (path, pools[index][0], key), value, accepted))
    names = {}
    for position, pool in pools:
        name = pool.get("name")
        if isinstance(name, str) and names.setdefault(name, position) != position:
            accepted = "another name: network:pools:%d has this one" % names[name]
            problems.append(problem("%s:%d:name" % (path, position), name, accepted))
    return [calico_resources.pool_words(pool, settings["generation"]) for pool in words]


def _vxlan_of_ipv6(pools, settings, problems):
    since = calico_generations.GENERATIONS[settings["generation"]]["vxlan_of_ipv6"]
    for position, pool in pools:
        wraps = str(pool.get("vxlan", "never")).lower() != "never"
        if wraps and ":" in str(pool["cidr"]) and settings["minor"] < since:
            accepted = "never with version %s: pools of IPv6 have it since 3.%d" % (
                settings["version"],
                since,
            )
            problems.append(problem("%s:pools:%d:vxlan" % (ROOT, position), pool["vxlan"], accepted))


def _pool(item, path, problems):
    """One pool with its defaults, or None where it cannot be judged any further."""
    pool = {}
    before = len(problems)
    for row in calico_schema.POOL_SETTINGS:
        value = item.get(row.path)
        if value is None:
            value = row.default
        elif row.kind is not None:
            value = calico_values.checked(row.kind, value, "%s:%s" % (path, row.path), problems)
        if value is calico_schema.REQUIRED:
            problems.append(absent("%s:%s" % (path, row.path), "the pool's network such as 172.20.0.0/16"))
        elif value is not None:
            pool[row.path] = value
    return pool if len(problems) == before else None


def _peers(given, settings, problems):
    path = ROOT + ":peers"
    if given is None:
        return []
    if not isinstance(given, list):
        accepted = "a list of mappings such as [{peer_ip: 10.0.0.1, as_number: 64512}]"
        problems.append(problem(path, given, accepted))
        return []
    known = []
    for position, item in enumerate(given):
        here = "%s:%d" % (path, position)
        if _names(item, "peer", here, settings, problems):
            resource = _values("peer", item, here, settings, problems)
            if resource is not None:
                _once(resource, item, known, here, settings, problems)
    return [item for item in given if isinstance(item, dict)]


def _resources(given, settings, problems):
    path = ROOT + ":resources"
    if given is None:
        return []
    if not isinstance(given, list):
        problems.append(problem(path, given, "a list of resources as calicoctl writes them"))
        return []
    generation = settings["generation"]
    elsewhere = {DECLARED[what][generation]: ROOT + ":" + what + "s" for what in ("pool", "peer")}
    found, known = [], []
    if not problems:
        known = [
            calico_resources.describe(what, words, generation)
            for what in ("pool", "peer")
            for words in settings["network"][what + "s"]
        ]
    for position, item in enumerate(given):
        here = "%s:%d" % (path, position)
        before = len(problems)
        for wrong in calico_resources.resource_problems(item, generation):
            where = here + _place(wrong["setting"], item, generation)
            if isinstance(item, dict) and wrong["setting"] in set(map(str, item)) - set(PARTS):
                problems.append(unknown(where, PARTS))
            else:
                problems.append(problem(where, wrong["given"], wrong["accepted"]))
        if len(problems) == before:
            if settings["network"]["prune"] and item["kind"] in elsewhere:
                accepted = "any kind but this, which prune would remove: set %s" % elsewhere[item["kind"]]
                problems.append(problem(here + ":kind", item["kind"], accepted))
            _once(item, item, known, here, settings, problems)
            found.append(item)
    return found


def _once(resource, item, known, path, settings, problems):
    """Two that mean the same thing would undo each other."""
    generation = settings["generation"]
    same_kind = [other for other in known if other["kind"] == resource["kind"]]
    if calico_resources.find(same_kind, resource, generation):
        problems.append(problem(path, item, "each one once: an earlier one has the same identity"))
    known.append(resource)


def _place(setting, resource, generation):
    """Where a field lies that goes by the formula's word for it, as the end of a pillar path."""
    if not setting:
        return ""
    kind = KINDS.get((generation, str(resource.get("kind"))))
    if kind and setting in kind.by_word:
        return ":" + ":".join(kind.by_word[setting].path)
    first = setting.partition(".")[0]
    parts = [top for top in ("metadata", "spec") if isinstance(resource.get(top), dict)]
    top = next((top for top in parts if first in resource[top]), None)
    if setting in resource or top is None:
        return ":metadata:name" if setting == "name" else ":" + setting
    # Names of labels have dots of their own.
    return ":%s:%s" % (top, setting.replace(".", ":", 1) if first == "labels" else setting.replace(".", ":"))
