"""
The pillar of a minion, checked once: ``calico:…`` in, finished settings or a list of problems out.

The settings and what their values may be are tables (:mod:`calico_schema`). Values that depend on the
release (see :mod:`calico_generations`) are derived here and nowhere else.

Pure: no Salt, no files, no network.
"""

import copy
import posixpath

import calico_container
import calico_declared
import calico_families
import calico_felix
import calico_generations
import calico_runtimes
import calico_schema
import calico_values
from calico_problems import SettingsError, absent, meant, problem, problem_text, unknown
from calico_schema import REQUIRED, SETTINGS

__all__ = ["SETTINGS", "SettingsError", "check", "problem", "problem_text"]

ROOT = "calico"
_ENDPOINTS = "a list of URLs such as [https://10.0.0.1:2379]"
_REQUIRED_HINTS = {
    "version": "a full release such as v3.22.5 or v2.6.12; it has no default",
    "network:pools": calico_declared.A_POOL,
}


def check(given, family=None):
    """
    Check the pillar and derive what it leaves open.

    given
        What stands under ``calico:`` in the pillar (any type; only a mapping can be right).
    family
        The host's family of distributions (text), whose defaults may differ (:mod:`calico_families`).

    Returns the finished settings: a dict with every row of :data:`SETTINGS` under its path, and
    ``generation`` (name of the table in :mod:`calico_generations`), ``major`` and ``minor`` of the
    release, ``image`` with its tag.

    Raises :class:`SettingsError` with every problem found.
    """
    problems = []
    if given is None:
        given = {}
    _unknown_keys(given, _known_tree(), ROOT, problems)
    if not isinstance(given, dict):
        raise SettingsError(problems)

    settings = {}
    others = calico_families.defaults(family)
    for row in SETTINGS:
        value = _lookup(given, row.path)
        full = "%s:%s" % (ROOT, row.path)
        if value is None:
            if row.default is REQUIRED:
                problems.append(absent(full, _REQUIRED_HINTS[row.path]))
            later = row.default is REQUIRED or callable(row.default)
            _store(settings, row.path, None if later else copy.copy(others.get(row.path, row.default)))
        elif row.kind is not None:
            _store(settings, row.path, calico_values.checked(row.kind, value, full, problems))
        if row.path == "version":
            settings["_tables"] = _tables(settings, given, problems)
        elif callable(row.default) and value is None and settings["_tables"]:
            _store(settings, row.path, row.default(settings))

    tables = settings.pop("_tables")
    if tables:
        network = _lookup(given, "network")
        calico_declared.check(network if isinstance(network, dict) else {}, settings, problems)
        _check_together(settings, tables, problems)
    elif _lookup(given, "etcd:endpoints") is None and settings["datastore"] != "kubernetes":
        problems.append(absent(ROOT + ":etcd:endpoints", _ENDPOINTS))
    if problems:
        raise SettingsError(_once(problems))
    settings["felix"] = {
        **{name: calico_values.scalar(value) for name, value in tables["felix_defaults"].items()},
        **_ipv6(settings),
        **settings["felix"],
    }
    if not calico_values.tag(settings["image"]):
        settings["image"] += ":" + settings["version"]
    _check_finished(settings)
    return settings


def _ipv6(settings):
    """Workloads that get IPv6 addresses need a Felix that looks after them."""
    return {"Ipv6Support": "true"} if 6 in calico_container.workload_families(settings) else {}


def _once(problems):
    """
    Each mistake once.

    What lies at or below a refused path was only judged for want of a value, and what is missing is
    there under a misspelt name.
    """
    result = {}
    for item in problems:
        parts = item["setting"].split(":")
        places = [(":".join(parts[:end]), parts[end]) for end in range(1, len(parts))]
        known = any(place in result for place, _name in [*places, (item["setting"], "")])
        if not known and not (item["given"] == "nothing" and _misspelt(places, problems)):
            result[item["setting"]] = item
    return list(result.values())


def _misspelt(places, problems):
    """Whether the name of one of these places (parent, name) was taken for a misspelt one."""
    return any(
        item["setting"].rpartition(":")[0] == parent and meant(name) in item["accepted"]
        for item in problems
        for parent, name in places
    )


# --- reading ---------------------------------------------------------------------------------------


def _known_tree():
    tree = {}
    for row in SETTINGS:
        _store(tree, row.path, None)
    return tree


def _unknown_keys(given, tree, path, problems):
    if not isinstance(given, dict):
        problems.append(problem(path, given, "a mapping with " + ", ".join(sorted(tree))))
        return
    for key, value in given.items():
        here = "%s:%s" % (path, key)
        if key not in tree:
            problems.append(unknown(here, tree))
        elif tree[key] is not None and value is not None:
            _unknown_keys(value, tree[key], here, problems)


def _lookup(given, path):
    for part in path.split(":"):
        if not isinstance(given, dict):
            return None
        given = given.get(part)
    return given


def _store(settings, path, value):
    *parents, leaf = path.split(":")
    for parent in parents:
        settings = settings.setdefault(parent, {})
    settings[leaf] = value


def _tables(settings, given, problems):
    release = settings["version"]
    if release is None:
        return None
    major, minor = calico_values.release_numbers(release)
    name = calico_generations.generation_of(major, minor)
    if name is None:
        known = " or ".join(sorted(table["versions"] for table in calico_generations.GENERATIONS.values()))
        problems.append(problem(ROOT + ":version", given.get("version"), "a release of " + known))
        return None
    settings["generation"] = name
    settings["major"], settings["minor"] = major, minor
    return calico_generations.GENERATIONS[name]


# --- what can only be judged when several settings are looked at -----------------------------------


def _check_together(settings, tables, problems):
    def refuse(path, value, accepted):
        problems.append(problem("%s:%s" % (ROOT, path), value, accepted))

    _check_release(settings, tables, refuse)
    runtime = settings["runtime"]
    if settings["service"] and runtime and not calico_runtimes.RUNTIMES[runtime]["service"]:
        refuse("service", settings["service"], "nothing where calico:runtime is %s" % runtime)
    if settings["datastore"] in tables["datastores"]:
        _check_etcd(settings, refuse, [item["setting"] for item in problems])
    _check_sources(settings, refuse)
    _check_addresses(settings, refuse)
    settings["felix"] = _felix(settings["felix"] or {}, settings, problems)
    for name in tables["mounts_of"]:
        if settings["felix"].get(name):
            path = "%s:felix:%s" % (ROOT, name)
            calico_values.checked(calico_values.path, settings["felix"][name], path, problems)
    _check_env(settings, problems)


def _check_release(settings, tables, refuse):
    """What the release has, and which words of it."""
    release, minor, node = settings["version"], settings["minor"], settings["node"]
    for row in SETTINGS:
        value = _lookup(settings, row.path)
        if value and not row.known(settings["major"], minor):
            refuse(row.path, value, calico_declared.not_yet(row, settings))

    def one_of(path, value, known, shown=None):
        if value is not None and value not in known:
            refuse(path, value, "%s with version %s" % (shown or " or ".join(known), release))

    one_of("datastore", settings["datastore"], tables["datastores"])
    one_of("node:backend", node["backend"], calico_generations.since(tables["backends"], minor))
    one_of("cni:log_level", settings["cni"]["log_level"], tables["cni_log_levels"])
    methods = calico_generations.since(tables["autodetection"], minor)
    for key in ("ip_autodetection_method", "ip6_autodetection_method"):
        if node[key] is not None and node[key].partition("=")[0] not in methods:
            one_of("node:" + key, node[key], (), calico_values.detections(methods))
    if tables["without_ipv4"] is None:
        for key in ("ip", "ip6"):
            if node[key] == "none":
                one_of("node:" + key, "none", (), "an address, 'autodetect' or ''")
    if settings["cni"]["mtu"] == 0 and calico_generations.cni_mtu(tables, minor) != 0:
        refuse(
            "cni:mtu", 0, "a whole number from 576 to 65535 with version %s; 0 is known since 3.17" % release
        )
    carried = calico_values.tag(settings["image"] or "")
    if carried and carried != release:
        refuse("image", settings["image"], "a name without a tag, or with the tag of calico:version")


def _check_etcd(settings, refuse, refused):
    etcd = settings["etcd"]
    endpoints, tls = etcd["endpoints"], etcd["tls"]
    if settings["datastore"] == "kubernetes":
        given = {key: value for key, value in etcd.items() if value and key != "tls"}
        if any(tls.values()):
            given["tls"] = {key: value for key, value in tls.items() if value}
        if given:
            refuse("etcd", given, "nothing where calico:datastore is kubernetes")
        return
    for one, other in (("username", "password"), ("password", "username")):
        if etcd[one] and not etcd[other]:
            refuse("etcd:" + other, None, "both a user of etcd and its password, or neither")
    if not endpoints:
        # Where every single one was refused, that has been said already.
        if not any(path.startswith(ROOT + ":etcd:endpoints") for path in refused):
            refuse("etcd:endpoints", endpoints, _ENDPOINTS)
        return
    schemes = {url.split(":", 1)[0] for url in endpoints}
    if len(schemes) > 1:
        refuse("etcd:endpoints", endpoints, "endpoints that are all http or all https")
        return
    if schemes == {"https"} and not tls["ca"]:
        refuse("etcd:tls:ca", None, "the CA of the https endpoints: PEM text, salt://… or a path")
    if schemes == {"http"} and any(tls.values()):
        refuse("etcd:endpoints", endpoints, "https endpoints where calico:etcd:tls is given")
    elif bool(tls["cert"]) != bool(tls["key"]):
        missing = "key" if tls["cert"] else "cert"
        refuse("etcd:tls:" + missing, None, "both a client certificate and its key, or neither")


def _check_sources(settings, refuse):
    for path in ("cni:plugins", "calicoctl"):
        part = _lookup(settings, path)
        if part["source"] and not part["source_hash"]:
            accepted = calico_values.HASH_WORDS + ": a source is never used without one"
            refuse(path + ":source_hash", None, accepted)
        if part["source_hash"] and not part["source"]:
            refuse(path + ":source", None, "the source that the hash belongs to")


def _check_addresses(settings, refuse):
    own, own6 = settings["node"]["ip"], settings["node"]["ip6"]
    if own == "none" and own6 in (None, "none") and settings["node"]["backend"] != "none":
        refuse("node:ip6", own6, "an IPv6 address, 'autodetect' or '' where calico:node:ip is none")
    bare = own not in (None, "", "autodetect", "none") and "/" not in own
    if bare and any(pool["ipip"] == "crosssubnet" for pool in settings["network"]["pools"]):
        refuse(
            "node:ip",
            own,
            "an address with its prefix (such as %s/24): without it every peer counts as another "
            "subnet for the pool with ipip: crosssubnet" % own,
        )


def _felix(given, settings, problems):
    """Felix' settings under their documented spelling; unknown names and values are refused."""
    release = settings["major"], settings["minor"]
    spelling = {name.lower(): name for name in calico_felix.names(*release)}
    result = {}
    for key, value in given.items():
        name = spelling.get(str(key).lower())
        path = "%s:felix:%s" % (ROOT, key)
        owner = calico_schema.OWNED_WORDS["felix"].get(name)
        if owner:
            problems.append(problem(path, value, "nothing here: set %s:%s instead" % (ROOT, owner)))
        elif name is None:
            problems.append(calico_declared.felix_problem(path, key, value, settings))
        elif name in result:
            problems.append(problem(path, value, "each name once"))
        else:
            accepted = calico_felix.problem(name, value, *release)
            if accepted:
                problems.append(problem(path, value, accepted))
            result[name] = value
    return result


def _check_env(settings, problems):
    felix = calico_felix.names(settings["major"], settings["minor"])
    for name, value in (settings["env"] or {}).items():
        owner = calico_container.owner(name, settings["datastore"], felix)
        if owner:
            accepted = "nothing here: set %s:%s instead" % (ROOT, owner)
            problems.append(problem("%s:env:%s" % (ROOT, name), value, accepted))


def _check_finished(settings):
    """What depends on defaults that follow from the release."""
    problems = []
    if settings["node"]["ip"] == "none" and calico_container.switch(settings, "Ipv6Support") is False:
        accepted = "true where calico:node:ip is none"
        problems.append(problem(ROOT + ":felix:Ipv6Support", settings["felix"]["Ipv6Support"], accepted))
    # docker starts no container with two mounts in one place.
    taken = [_cleaned(mount.split(":")[1]) for mount in calico_container.mounts(dict(settings, mounts=[]))]
    for position, mount in enumerate(settings["mounts"]):
        target = _cleaned(mount.split(":")[1])
        if target in taken:
            accepted = "a path in the container that nothing else is mounted at"
            problems.append(problem("%s:mounts:%d" % (ROOT, position), mount, accepted))
        taken.append(target)
    if problems:
        raise SettingsError(problems)


def _cleaned(path):
    """A path as docker and podman compare it: no `//`, no `.`, no `..`."""
    # posixpath leaves two slashes at the beginning alone.
    return posixpath.normpath("/" + path.lstrip("/"))
