"""
The pillar of a minion, checked once: ``calico:…`` in, finished settings or a list of problems out.

Every setting is one row of :data:`SETTINGS`; what no row names is refused, so that a misspelt key can
never pass in silence. Values that depend on the release (see :mod:`calico_generations`) are derived
here and nowhere else.

Pure: no Salt, no files, no network.
"""

import copy
import difflib
import ipaddress
import re

import calico_generations
import calico_resources

ROOT = "calico"
REQUIRED = object()
MASK = "********"


class SettingsError(Exception):
    """
    The pillar cannot be used.

    problems
        List of dicts ``{setting, given, accepted}``: the pillar path, what was given (as text, masked
        where it is secret) and what is accepted. One for each mistake found, in pillar order.
    """

    def __init__(self, problems):
        super().__init__("\n".join(problem_text(problem) for problem in problems))
        self.problems = problems


class Refused(Exception):
    """A value is not accepted; the argument says what would be."""


def is_secret(name):
    """True where the value of a setting or variable of this name must not be shown."""
    return bool(_SECRET.search(name)) and not name.upper().endswith(("_FILE", "FILE"))


def problem_text(problem):
    """One problem as one line for a person: ``setting: got …; accepted: …``."""
    return "{setting}: got {given}; accepted: {accepted}".format(**problem)


# --- kinds of values -------------------------------------------------------------------------------
# A kind takes what the pillar holds and returns the finished value, or raises Refused.

_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)([-+][0-9A-Za-z.+-]+)?")
# Whatever stands in the unit file must survive systemd's parsing unchanged: no blank, quote, %, $, \.
_IMAGE = re.compile(r"[a-z0-9]([a-z0-9._/:-]*[a-z0-9])?")
_TAGGED = re.compile(r":[A-Za-z0-9_][A-Za-z0-9._-]*$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PATH = re.compile(r"/[A-Za-z0-9._/@+=,-]*")
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:([0-9]{1,5}))/?")
_HASH = re.compile(r"((md5|sha1|sha224|sha256|sha384|sha512)[=:])?[0-9a-fA-F]{32,128}")
_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE", re.IGNORECASE)
_LINE_BREAKS = re.compile("[\x00\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
# Halves of surrogate pairs are in no text that a file could hold.
_NO_LINE = re.compile("[\x00\n\r\ud800-\udfff]")
_ONE_LINE = "text without a line break or NUL"
# docker reads a line of its environment file up to 64 KiB, the variable's name included.
_LONGEST_VALUE = 60000


def text(value):
    """One line of text, any characters but line breaks."""
    if not isinstance(value, str) or not value or _NO_LINE.search(value):
        raise Refused(_ONE_LINE + ", not empty")
    return value


def boolean(value):
    """true or false, as YAML knows them: ``"yes"`` in quotes is text and refused."""
    if not isinstance(value, bool):
        raise Refused("true or false (without quotes)")
    return value


def integer(low, high):
    """A whole number from low to high."""

    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Refused("a whole number from %d to %d" % (low, high))
        return value

    return check


def one_of(*words):
    """One of the words, in any case."""

    def check(value):
        if isinstance(value, str) and value.lower() in words:
            return value.lower()
        raise Refused("one of " + ", ".join(words))

    return check


def matching(pattern, accepted):
    """Text that the whole pattern matches."""

    def check(value):
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Refused(accepted)
        return value

    return check


def version(value):
    """A full release; ``v`` is added where it is missing, as the image tags have it."""
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise Refused("a full release such as 'v2.6.12', in quotes where it could be a number")
    return value if value.startswith("v") else "v" + value


def endpoint(value):
    """One etcd endpoint."""
    match = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if not match or (match.group(3) and not 0 < int(match.group(3)) < 65536):
        raise Refused("a URL with scheme, host and port, such as https://10.0.0.1:2379")
    return value.rstrip("/")


def pem_source(value):
    """A certificate or key: PEM text, a ``salt://`` URL, or a path on the minion."""
    if isinstance(value, str):
        if "-----BEGIN " in value:
            return value if value.endswith("\n") else value + "\n"
        if file_source(value, schemes=("salt://",)):
            return value
    raise Refused("PEM text, a salt:// URL, or a path on the minion")


def file_source(value, schemes=("salt://", "http://", "https://")):
    """True if value names a file that Salt can fetch or that lies on the minion."""
    if not isinstance(value, str) or re.search(r"[\s\x00]", value):
        return False
    return bool(_PATH.fullmatch(value)) or (value.startswith(tuple(schemes)) and len(value) > len("https://"))


def source(value):
    """Where a file comes from."""
    if not file_source(value):
        raise Refused("salt://…, https://…, or a path on the minion, without blanks")
    return value


def archive(value):
    """Where an image archive comes from."""
    if not file_source(value, schemes=("salt://",)):
        raise Refused("salt://… or a path on the minion, without blanks")
    return value


def address(family):
    """An address of one family, with or without prefix length; '' keeps what is registered."""
    accepted = f"an IPv{family} address with or without /prefix, 'autodetect', or '' (keep or detect)"

    def check(value):
        if value in ("", "autodetect"):
            return value
        try:
            interface = ipaddress.ip_interface(value if isinstance(value, str) else None)
        except ValueError:
            raise Refused(accepted) from None
        if interface.version != family or interface.ip.is_unspecified or interface.ip.is_multicast:
            raise Refused(accepted)
        if "%" in value:
            raise Refused(accepted + ", without a zone")
        return value

    return check


def autodetection(value):
    """How calico/node looks for its address."""
    words = "first-found, can-reach=…, interface=REGEX[,…], skip-interface=REGEX[,…]"
    if not isinstance(value, str) or _NO_LINE.search(value):
        raise Refused(words)
    if value == "first-found":
        return value
    method, equals, argument = value.partition("=")
    if not equals or not argument or method not in ("can-reach", "interface", "skip-interface"):
        raise Refused(words)
    if method != "can-reach":
        for pattern in argument.split(","):
            try:
                re.compile(pattern)
            except re.error as err:
                raise Refused(words + " (bad regular expression: %s)" % err) from None
    return value


def as_number(value):
    """An AS number; dotted notation becomes the plain number that Calico prints."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}\.[0-9]{1,5}", value):
        high, low = (int(part) for part in value.split("."))
        value = high * 65536 + low if max(high, low) < 65536 else -1
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4294967295:
        raise Refused("an AS number from 1 to 4294967295, or dotted such as '64086.59904'")
    return value


def mount(value):
    """One mount, ``/host/path:/container/path[:ro|:rw]``."""
    parts = value.split(":") if isinstance(value, str) else []
    if (
        len(parts) not in (2, 3)
        or not all(_PATH.fullmatch(part) for part in parts[:2])
        or (len(parts) == 3 and parts[2] not in ("ro", "rw"))
    ):
        raise Refused("/host/path:/container/path with :ro or :rw where wanted, plain characters")
    return value


def scalar(value):
    """
    The value of an environment variable as the container shall see it.

    Text arrives byte for byte. Line breaks cannot be had in a file that docker reads line by line.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str) or _NO_LINE.search(value):
        raise Refused(_ONE_LINE + ", a number, or true or false")
    if len(value.encode("utf-8")) > _LONGEST_VALUE:
        raise Refused("text of at most %d bytes" % _LONGEST_VALUE)
    return value


def compound(value):
    """A compound target."""
    if not isinstance(value, str) or not value.strip() or _LINE_BREAKS.search(value):
        raise Refused("a compound match of minions such as '*' or 'G@role:master and web*'")
    return value


def list_of(kind):
    """A list whose items are of one kind; problems name the item by its position."""

    def check(value, path, problems):
        if not isinstance(value, list):
            raise Refused("a list")
        items = []
        for position, item in enumerate(value):
            here = "%s:%d" % (path, position)
            try:
                items.append(kind(item))
            except Refused as err:
                problems.append(problem(here, item, str(err)))
        return items

    check.nested = True
    return check


def mapping_of(kind, name_kind):
    """A mapping whose values are of one kind and whose keys name_kind accepts."""

    def check(value, path, problems):
        if not isinstance(value, dict):
            raise Refused("a mapping")
        result = {}
        for key, item in value.items():
            here = "%s:%s" % (path, key)
            try:
                result[name_kind(key)] = kind(item)
            except Refused as err:
                problems.append(problem(here, item, str(err), secret=is_secret(str(key))))
        return result

    check.nested = True
    return check


def variable(name):
    """The name of an environment variable."""
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise Refused("as a name: letters, digits and _, not beginning with a digit")
    return name


def any_key(name):
    """Keys are checked later, against what the release knows."""
    return name


# --- the settings ----------------------------------------------------------------------------------
# (pillar path below calico:, kind, default, what it is for). A default that is a function takes the
# settings derived so far; REQUIRED has none.

_HASH_WORDS = "a hash such as sha256=<64 hex digits>"

SETTINGS = (
    (
        "version",
        version,
        REQUIRED,
        "The calico/node release. No default: an update of the formula must never upgrade a data plane.",
    ),
    (
        "image",
        matching(_IMAGE, "an image name such as calico/node or registry.example.org:5000/calico/node"),
        "calico/node",
        "The image, without its tag: the tag is `version`. A name that carries a tag is used as it is.",
    ),
    (
        "image_digest",
        matching(_DIGEST, "sha256:<64 hex digits>"),
        None,
        "The image must have this digest (of the registry) or ID. Nothing is started where it has not.",
    ),
    (
        "image_archive",
        archive,
        None,
        "An archive made by `docker save`, loaded where the image is missing. Without one: a pull.",
    ),
    ("runtime", one_of("docker"), "docker", "What runs the container."),
    (
        "datastore",
        one_of("etcdv2", "etcdv3", "kubernetes"),
        lambda settings: settings["_tables"]["datastores"][0],
        "Where Calico keeps its data. Derived from `version`: etcdv2 for 2.6.",
    ),
    ("etcd:endpoints", list_of(endpoint), REQUIRED, "The etcd endpoints, all http or all https."),
    ("etcd:tls:ca", pem_source, None, "The CA that signed etcd's certificate: PEM text, salt://… or a path."),
    ("etcd:tls:cert", pem_source, None, "The client certificate: PEM text, salt://… or a path."),
    ("etcd:tls:key", pem_source, None, "Its key: PEM text, salt://… or a path."),
    (
        "kubernetes:kubeconfig",
        matching(_PATH, "an absolute path"),
        "/root/.kube/config",
        "The kubeconfig that the CNI plugin uses.",
    ),
    (
        "node:name",
        matching(_NODE_NAME, "lower-case letters, digits, '-' and '.'"),
        None,
        "The node's name in the datastore. Without it the host's own name, which must be in lower case.",
    ),
    (
        "node:ip",
        address(4),
        "",
        "The node's IPv4 address with prefix. Empty: keep the registered one, or detect it once.",
    ),
    ("node:ip6", address(6), None, "The node's IPv6 address with prefix. Without it no IPv6 BGP is set up."),
    (
        "node:ip_autodetection_method",
        autodetection,
        None,
        "How the IPv4 address is detected: first-found, can-reach=…, interface=…, skip-interface=….",
    ),
    ("node:ip6_autodetection_method", autodetection, None, "The same for IPv6."),
    (
        "node:as_number",
        as_number,
        None,
        "The node's own AS number. Without it the cluster's is used (64512).",
    ),
    (
        "node:backend",
        one_of("bird", "gobgp", "none"),
        "bird",
        "What speaks BGP. `none`: policy only, no sessions.",
    ),
    (
        "felix",
        mapping_of(scalar, any_key),
        {},
        "Felix' settings on this node by their own names (DefaultEndpointToHostAction, IpInIpMtu, …).",
    ),
    (
        "env",
        mapping_of(scalar, variable),
        {},
        "Anything else that calico/node reads. A variable that has a setting of its own is refused.",
    ),
    ("mounts", list_of(mount), [], "Mounts beside the ones the container needs, `/host:/container[:ro]`."),
    ("cni:enabled", boolean, True, "Write /etc/cni/net.d/10-calico.conf."),
    ("cni:name", text, "calico-k8s-network", "The network's name in the CNI configuration."),
    ("cni:mtu", integer(576, 65535), 1500, "MTU of the workloads' interfaces, in bytes."),
    ("cni:log_level", one_of("debug", "info", "warning"), "info", "Log level of the CNI plugin."),
    ("cni:policy", one_of("k8s"), "k8s", "Who applies network policy."),
    ("cni:plugins:source", source, None, "Archive with the CNI plugins, extracted into /opt/cni/bin."),
    (
        "cni:plugins:source_hash",
        matching(_HASH, _HASH_WORDS),
        None,
        "Its hash; a source is never used without one.",
    ),
    (
        "calicoctl:source",
        source,
        None,
        "The calicoctl binary. Without it the one at `path` is used as it is.",
    ),
    (
        "calicoctl:source_hash",
        matching(_HASH, _HASH_WORDS),
        None,
        "Its hash; a source is never used without one.",
    ),
    (
        "calicoctl:path",
        matching(_PATH, "an absolute path of plain characters"),
        "/usr/local/bin/calicoctl",
        "Where calicoctl lies on the minion.",
    ),
    ("calicoctl:timeout", integer(1, 600), 20, "Deadline of every call to the datastore, in seconds."),
    ("network:pools", None, REQUIRED, "The IP pools, at least one: see below."),
    (
        "network:managed_by",
        compound,
        "*",
        "Which minions write cluster-wide resources such as pools (compound match).",
    ),
    (
        "ready:timeout",
        integer(1, 3600),
        90,
        "How long the gate waits for Felix and all sessions, in seconds.",
    ),
    (
        "ready:absent_nodes",
        list_of(text),
        [],
        "Nodes known to be away; their sessions are not waited for.",
    ),
    (
        "clean:datastore",
        boolean,
        False,
        "`calico.clean` also removes this node's entry from the datastore (refused while workloads remain).",
    ),
)

POOL_SETTINGS = (
    ("cidr", None, REQUIRED, "The pool's network, at least one block (/26, /122)."),
    ("ipip", None, "never", "IP-in-IP: never, always or crosssubnet."),
    ("nat_outgoing", boolean, True, "NAT for traffic that leaves the pools."),
    ("disabled", boolean, False, "No new addresses from this pool; those in use stay routed."),
)


def problem(setting, given, accepted, secret=False):
    """A problem as data; what was given is shortened, and masked where it is secret."""
    shown = MASK if secret else repr(_showable(given))
    if len(shown) > 120:
        shown = shown[:117] + "…"
    return {"setting": setting, "given": shown, "accepted": accepted}


def _showable(value, secret=False):
    """Whatever was given, without what must not be shown: a mistake may put it anywhere."""
    if isinstance(value, dict):
        return {key: _showable(item, secret or is_secret(str(key))) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_showable(item, secret) for item in value]
    return MASK if secret or "-----BEGIN" in str(value) else value


def _known_tree():
    tree = {}
    for path, _kind, _default, _doc in SETTINGS:
        branch = tree
        *parents, leaf = path.split(":")
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = None
    return tree


def nearest(word, known):
    """' (did you mean …?)' where a known word is near, else ''."""
    lowered = {str(item).lower(): str(item) for item in known}
    found = difflib.get_close_matches(str(word).lower(), list(lowered), n=1, cutoff=0.6)
    return " (did you mean '%s'?)" % lowered[found[0]] if found else ""


def _unknown_keys(given, tree, path, problems):
    if not isinstance(given, dict):
        problems.append(problem(path, given, "a mapping with " + ", ".join(sorted(tree))))
        return
    for key, value in given.items():
        here = "%s:%s" % (path, key)
        if key not in tree:
            accepted = "one of %s%s" % (", ".join(sorted(tree)), nearest(key, tree))
            problems.append({"setting": here, "given": "an unknown setting", "accepted": accepted})
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


def _checked(kind, value, path, problems):
    try:
        if getattr(kind, "nested", False):
            return kind(value, path, problems)
        return kind(value)
    except Refused as err:
        # What is neither a path nor a URL may be a key whose first line was lost.
        secret = path.startswith(ROOT + ":etcd:tls") and ("\n" in str(value) or len(str(value)) > 100)
        problems.append(problem(path, value, str(err), secret=secret))
        return None


def _tables(settings, given, problems):
    release = settings["version"]
    if release is None:
        return None
    major, minor = (int(number) for number in _VERSION.fullmatch(release).groups()[:2])
    name = calico_generations.generation_of(major, minor)
    if name is None:
        known = ", ".join(sorted(table["versions"] for table in calico_generations.GENERATIONS.values()))
        problems.append(problem(ROOT + ":version", given.get("version"), "a release of " + known))
        return None
    settings["generation"] = name
    return calico_generations.GENERATIONS[name]


def check(given):
    """
    Check the pillar and derive what it leaves open.

    given
        What stands under ``calico:`` in the pillar (any type; only a mapping can be right).

    Returns the finished settings: a dict with every row of :data:`SETTINGS` under its path, and
    ``generation`` (name of the table in :mod:`calico_generations`), ``image`` with its tag.

    Raises :class:`SettingsError` with every problem found.
    """
    problems = []
    if given is None:
        given = {}
    _unknown_keys(given, _known_tree(), ROOT, problems)
    if not isinstance(given, dict):
        raise SettingsError(problems)

    settings = {}
    for path, kind, default, _doc in SETTINGS:
        value = _lookup(given, path)
        full = "%s:%s" % (ROOT, path)
        if value is None:
            if default is REQUIRED:
                accepted = _required_hint(path)
                problems.append({"setting": full, "given": "nothing", "accepted": accepted})
            _store(settings, path, None if default is REQUIRED or callable(default) else copy.copy(default))
        elif kind is not None:
            _store(settings, path, _checked(kind, value, full, problems))
        if path == "version":
            settings["_tables"] = _tables(settings, given, problems)
        elif callable(default) and value is None and settings["_tables"]:
            _store(settings, path, default(settings))

    tables = settings.pop("_tables")
    if tables:
        settings["network"]["pools"] = _pools(_lookup(given, "network:pools"), settings, problems)
        _check_together(settings, given, tables, problems)
    if problems:
        raise SettingsError(problems)
    settings["felix"] = dict(
        {name: scalar(value) for name, value in tables["felix_defaults"].items()},
        **settings["felix"],
    )
    if not _TAGGED.search(settings["image"]):
        settings["image"] += ":" + settings["version"]
    return settings


def _required_hint(path):
    return {
        "version": "a full release such as v2.6.12; it has no default",
        "etcd:endpoints": "a list of URLs such as [https://10.0.0.1:2379]",
        "network:pools": "a list with at least one pool such as [{cidr: 172.20.0.0/16}]",
    }[path]


def _pools(given, settings, problems):
    """The pools in the formula's words, each checked alone and against the others."""
    path = ROOT + ":network:pools"
    if given is None:
        return []
    if not isinstance(given, list) or not given:
        problems.append(problem(path, given, _required_hint("network:pools")))
        return []
    known = {row[0]: row for row in POOL_SETTINGS}
    pools = []
    for position, item in enumerate(given):
        here = "%s:%d" % (path, position)
        before = len(problems)
        _unknown_keys(item, dict.fromkeys(known), here, problems)
        if not isinstance(item, dict):
            continue
        pool = {}
        for key, (_name, kind, default, _doc) in known.items():
            value = item.get(key)
            if value is None:
                value = default
            elif kind is not None:
                value = _checked(kind, value, "%s:%s" % (here, key), problems)
            if value is REQUIRED:
                accepted = "the pool's network such as 172.20.0.0/16"
                problems.append({"setting": here + ":cidr", "given": "nothing", "accepted": accepted})
            pool[key] = value
        if len(problems) == before:
            pools.append((position, pool))
    words = [pool for _position, pool in pools]
    for index, key, value, accepted in calico_resources.pool_problems(words, settings["generation"]):
        where = "%s:%d:%s" % (path, pools[index][0], key)
        problems.append(problem(where, value, accepted))
    return [calico_resources.pool_words(pool, settings["generation"]) for pool in words]


def _check_together(settings, given, tables, problems):
    """What can only be judged when several settings are looked at."""

    def refuse(path, value, accepted):
        problems.append(problem("%s:%s" % (ROOT, path), value, accepted))

    if settings["datastore"] not in tables["datastores"] + (None,):
        refuse(
            "datastore",
            settings["datastore"],
            "%s with version %s" % (" or ".join(tables["datastores"]), settings["version"]),
        )
    _check_etcd(settings, refuse)
    for path in ("cni:plugins", "calicoctl"):
        part = _lookup(settings, path)
        if part["source"] and not part["source_hash"]:
            refuse(path + ":source_hash", None, _HASH_WORDS + ": a source is never used without one")
        if part["source_hash"] and not part["source"]:
            refuse(path + ":source", None, "the source that the hash belongs to")
    if (
        _TAGGED.search(settings["image"] or "")
        and settings["version"]
        and not settings["image"].endswith(":" + settings["version"])
    ):
        refuse("image", settings["image"], "a name without a tag, or with the tag of calico:version")
    prefix_needed = any(pool["ipip"] == "crosssubnet" for pool in settings["network"]["pools"])
    own = settings["node"]["ip"]
    if prefix_needed and own not in ("", "autodetect", None) and "/" not in own:
        refuse(
            "node:ip",
            own,
            "an address with its prefix (such as %s/24): without it every peer counts as another "
            "subnet for the pool with ipip: crosssubnet" % own,
        )
    settings["felix"] = _felix(settings["felix"] or {}, tables, problems)
    _check_env(settings, tables, problems)


def _check_etcd(settings, refuse):
    endpoints = settings["etcd"]["endpoints"]
    if endpoints is None:
        return
    if not endpoints:
        refuse("etcd:endpoints", endpoints, _required_hint("etcd:endpoints"))
        return
    schemes = {url.split(":", 1)[0] for url in endpoints}
    if len(schemes) > 1:
        refuse("etcd:endpoints", endpoints, "endpoints that are all http or all https")
        return
    tls = settings["etcd"]["tls"]
    if schemes == {"https"} and not tls["ca"]:
        refuse("etcd:tls:ca", None, "the CA of the https endpoints: PEM text, salt://… or a path")
    if schemes == {"http"} and any(tls.values()):
        refuse("etcd:endpoints", endpoints, "https endpoints where calico:etcd:tls is given")
    if bool(tls["cert"]) != bool(tls["key"]):
        missing = "key" if tls["cert"] else "cert"
        refuse("etcd:tls:" + missing, None, "both a client certificate and its key, or neither")


def _felix(given, tables, problems):
    """Felix' settings under their documented spelling; unknown names are refused."""
    spelling = {name.lower(): name for name in tables["felix_names"]}
    result = {}
    for key, value in given.items():
        name = spelling.get(str(key).lower())
        if name is None:
            accepted = "a setting of Felix%s; it ignores names it does not know (calico:env takes any)"
            problems.append(
                {
                    "setting": "%s:felix:%s" % (ROOT, key),
                    "given": "an unknown setting",
                    "accepted": accepted % nearest(key, tables["felix_names"]),
                }
            )
        elif name in result:
            problems.append(problem("%s:felix:%s" % (ROOT, key), value, "each name once"))
        else:
            result[name] = value
    return result


# Variables that a setting of its own decides: two sources for one value would hide one of them.
OWNED_VARIABLES = {
    "ETCD_ENDPOINTS": "etcd:endpoints",
    "ETCD_CA_CERT_FILE": "etcd:tls:ca",
    "ETCD_CERT_FILE": "etcd:tls:cert",
    "ETCD_KEY_FILE": "etcd:tls:key",
    "DATASTORE_TYPE": "datastore",
    "NODENAME": "node:name",
    "IP": "node:ip",
    "IP6": "node:ip6",
    "IP_AUTODETECTION_METHOD": "node:ip_autodetection_method",
    "IP6_AUTODETECTION_METHOD": "node:ip6_autodetection_method",
    "AS": "node:as_number",
    "CALICO_NETWORKING_BACKEND": "node:backend",
    "CALICO_IPV4POOL_CIDR": "network:pools",
    "CALICO_IPV4POOL_IPIP": "network:pools",
    "CALICO_IPV4POOL_NAT_OUTGOING": "network:pools",
    "CALICO_IPV6POOL_CIDR": "network:pools",
    "CALICO_IPV6POOL_NAT_OUTGOING": "network:pools",
    "NO_DEFAULT_POOLS": "network:pools",
}


def _check_env(settings, tables, problems):
    felix = {"FELIX_" + name.upper(): name for name in tables["felix_names"]}
    for name, value in (settings["env"] or {}).items():
        owner = OWNED_VARIABLES.get(name)
        if owner is None and name in felix:
            owner = "felix:" + felix[name]
        if owner:
            accepted = "any variable but this one: set %s:%s instead" % (ROOT, owner)
            secret = is_secret(name)
            problems.append(problem("%s:env:%s" % (ROOT, name), value, accepted, secret=secret))


def masked(settings):
    """The settings as they may be shown: keys and passwords are replaced by asterisks."""

    def walk(value, name):
        if isinstance(value, dict):
            return {key: walk(item, key) for key, item in value.items()}
        if isinstance(value, str) and ("PRIVATE KEY-----" in value or is_secret(name)):
            return MASK
        return value

    return walk(settings, "")
