"""
Calico on this minion: node status, BGP sessions, IP pools, and what its files should hold.

Reads come straight from their source: BIRD's control socket, Felix' health port, systemd, and etcd
over HTTP. Writes to the datastore go through ``calicoctl``, which validates them and keeps Calico's
IP address management in step.

:maturity: new
:depends: none beside Salt's own dependencies
:platform: Linux with systemd

Holds for Salt 3006 to 3008 and calico/node 2.6.x and 3.x.
"""

import contextlib
import datetime
import functools
import hashlib
import os
import subprocess
import time

import calico_loading
import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

_helper = calico_loading.of_this_release()
calico_bird = _helper("calico_bird")
calico_container = _helper("calico_container")
calico_ctl = _helper("calico_ctl")
calico_datastore = _helper("calico_datastore")
calico_diagnostics = _helper("calico_diagnostics")
calico_docker = _helper("calico_docker")
calico_etcd = _helper("calico_etcd")
calico_families = _helper("calico_families")
calico_felix = _helper("calico_felix")
calico_filters = _helper("calico_filters")
calico_generations = _helper("calico_generations")
calico_hold = _helper("calico_hold")
calico_host = _helper("calico_host")
calico_kinds = _helper("calico_kinds")
calico_metrics = _helper("calico_metrics")
calico_migration = _helper("calico_migration")
calico_pem = _helper("calico_pem")
calico_plan = _helper("calico_plan")
calico_podman = _helper("calico_podman")
calico_pools = _helper("calico_pools")
calico_preflight = _helper("calico_preflight")
calico_probe = _helper("calico_probe")
calico_ready = _helper("calico_ready")
calico_rearrange = _helper("calico_rearrange")
calico_registration = _helper("calico_registration")
calico_removal = _helper("calico_removal")
calico_resources = _helper("calico_resources")
calico_rollback = _helper("calico_rollback")
calico_rollout = _helper("calico_rollout")
calico_runtimes = _helper("calico_runtimes")
calico_scrub = _helper("calico_scrub")
calico_secrets = _helper("calico_secrets")
calico_settings = _helper("calico_settings")
calico_sources = _helper("calico_sources")
calico_topology = _helper("calico_topology")
calico_values = _helper("calico_values")
calico_view = _helper("calico_view")
calico_watch = _helper("calico_watch")

# These and what they import: the code that a minion runs.
HELPERS = (
    "calico_bird",
    "calico_container",
    "calico_ctl",
    "calico_datastore",
    "calico_declared",
    "calico_diagnostics",
    "calico_docker",
    "calico_etcd",
    "calico_families",
    "calico_felix",
    "calico_filters",
    "calico_forms",
    "calico_generations",
    "calico_hold",
    "calico_host",
    "calico_iproute",
    "calico_kernel",
    "calico_kinds",
    "calico_loading",
    "calico_metrics",
    "calico_migration",
    "calico_pem",
    "calico_plan",
    "calico_podman",
    "calico_pools",
    "calico_preflight",
    "calico_probe",
    "calico_problems",
    "calico_ready",
    "calico_rearrange",
    "calico_regex",
    "calico_registration",
    "calico_removal",
    "calico_resources",
    "calico_rollback",
    "calico_rollout",
    "calico_runtimes",
    "calico_safety",
    "calico_schema",
    "calico_scrub",
    "calico_secrets",
    "calico_selector",
    "calico_settings",
    "calico_situation",
    "calico_sources",
    "calico_topology",
    "calico_values",
    "calico_view",
    "calico_watch",
    "calico_words",
)

__virtualname__ = "calico"

UNIT = "calico-node.service"
PLUGINS_SOURCE = "calico:cni:plugins:source"
CALICOCTL_CONFIG = "/etc/calico/calicoctl.cfg"
BIRD_SOCKETS = {4: "/var/run/calico/bird.ctl", 6: "/var/run/calico/bird6.ctl"}
# Kinds that lie in a namespace of Kubernetes.
NAMESPACED = ("WorkloadEndpoint", "NetworkPolicy", "NetworkSet")
# What `calicoctl config` of 2.6 sets, in the shape of Calico 3's resources.
SETTINGS_OF_V1 = ("BGPConfiguration", "FelixConfiguration")
# How often a write is tried that lost against another one, or whose datastore was away for a moment.
ATTEMPTS = 3
# Kernel and docker answer at once; an image may have to cross the network.
COMMAND_DEADLINE = 30
# Whatever the safety rules look at.
JUDGED = ("bgp", "pools", "workloads", "blocks", "ready")
# How many of a service's last lines are searched for its last words.
LAST_LINES = 400
# Waiting for sessions, in seconds: between looks at BIRD, between readings of the datastore, how old a
# reading may be that the verdict rests on, and how long the route to a new block may take.
POLL = 0.25
REREAD = 5
# Between two tries to read a datastore that is away, and to write where it was: a leader is elected in a
# second or two.
REPOLL = 0.5
PAUSE = 2
FRESH = 1
GRACE = 2
# After so many starts that failed a node will not register: each takes some two seconds.
RESTARTS = 5
# Where Felix writes what it has to say, unless that goes to the container's output; how old, in seconds,
# its last words may be to be those of this start; how much of a log is looked at (bytes, lines).
FELIX_LOG = "/var/log/calico/felix/current"
RECENT = 60
LOG_BYTES, LOG_LINES = 64 * 1024, 200
LOCKED = "The datastore is locked: a migration or an upgrade is under way. Nothing was changed."
# The timer that ends what `hold_routes` began.
HOLD = "calico-routes-held"
IMAGE_DEADLINE = 900
# What a bundle for a bug report has of a host, in this order.
CONFIGURATIONS = (CALICOCTL_CONFIG, "/etc/calico/calico-node.env")
HOST_GRAINS = (
    "id",
    "osfullname",
    "osrelease",
    "kernelrelease",
    "cpuarch",
    "num_cpus",
    "mem_total",
    "saltversion",
    "pythonversion",
    "virtual",
)
HOST_COMMANDS = (
    ["ip", "-4", "route", "show", "table", "all"],
    ["ip", "-6", "route", "show", "table", "all"],
    ["ip", "-4", "rule"],
    ["ip", "-6", "rule"],
    ["ip", "-s", "address"],
    ["ip", "neighbour"],
    ["ipset", "list"],
    ["iptables-save", "-c"],
    ["ip6tables-save", "-c"],
    ["nft", "list", "ruleset"],
)
# Seconds that the runtime has for an answer to what is asked again and again.
LOOK_DEADLINE = 2
# The formula's own memory: the last set of files that the node was ready with, and what was up before
# a change that has not been proven yet.
MEMORY = "/var/lib/calico-formula"
LAST_GOOD = MEMORY + "/last-good.json"
UNPROVEN = MEMORY + "/unproven.json"
# Who asks a runtime about its images and containers.
ENGINES = {"docker": calico_docker, "podman": calico_podman}
# Room for what the formula itself writes (bytes).
FILE_ROOM = 16 * 1024 * 1024


def __virtual__():
    # Never False: that answer would be kept for the rest of the run, also after an install.
    return __virtualname__


def _digest():
    """One text for all files that this release of the code is made of, as they lie on disk."""
    modules = os.path.dirname(os.path.abspath(__file__))
    # Beside `modules` lie `states` and `utils`; in a checkout they are `_modules` and so on.
    beside = modules[: -len("modules")]
    files = {
        "module": os.path.abspath(__file__),
        "state": os.path.join(beside + "states", "calico.py"),
    }
    files.update((name, os.path.join(beside + "utils", name + ".py")) for name in HELPERS)
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode("ascii"))
        try:
            with open(files[name], "rb") as file:
                digest.update(file.read())
        except OSError:
            digest.update(b"missing")
    return digest.hexdigest()


# Of the code as it was loaded, not as it lies on disk by the time somebody asks.
_CODE = _digest()


def code():
    """
    Digest of the formula's code that this minion has loaded (SHA-256, hex text).

    The formula compares it with its own (``calico/release.yaml``) at the start of every run, and
    syncs where they differ.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.code
    """
    return _CODE


# --- settings --------------------------------------------------------------------------------------


def _pillar():
    """What stands under ``calico:``, in plain dicts and lists."""

    # Salt 3008 gives containers that hide their values when shown, and a pillar.get that hides them
    # altogether. Read at the source and unwrapped, values are the same in every release.
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value

    return plain(__pillar__.get("calico"))


def _settings():
    try:
        return _of_this_host(calico_settings.check(_pillar(), __grains__.get("os_family")))
    except calico_settings.SettingsError as err:
        raise CommandExecutionError("The pillar cannot be used:\n%s" % err) from err


def _of_this_host(checked):
    # calico/node 3 would rather take the name that an earlier start left in a file than the host's.
    if calico_generations.GENERATIONS[checked["generation"]]["lower_case_names"]:
        checked["node"]["name"] = checked["node"]["name"] or os.uname().nodename.lower()
    return checked


def _node_name(settings):
    # The container runs in the host's network and UTS name: without NODENAME it takes the host's.
    return settings["node"]["name"] or os.uname().nodename


def _certificates(settings):
    """The certificates' contents, from wherever the pillar says, as ``{part: bytes}``."""
    result = {}
    for part, given in settings["etcd"]["tls"].items():
        if not given:
            continue
        where = "calico:etcd:tls:%s" % part
        if "-----BEGIN " in given:
            result[part] = given.encode("utf-8")
        else:
            result[part] = _read(_fetched(given, where), where)
    return result


def _memory():
    """What this minion has found out before; it lies in Salt's own cache, which test mode may fill, too."""
    return calico_sources.Memory(os.path.join(__opts__["cachedir"], "calico-formula.json"))


def _asked(function, source, where):
    """
    What a function of ``cp`` says of a file of the master's, in the environment that it lies in.

    That is the one which the last run came from. Before the first run it is the minion's own, or else the
    only one that has such a file.
    """
    noted = _memory().saltenv
    first = noted or __opts__.get("saltenv") or "base"
    found = __salt__[function](source, saltenv=first)
    # In a run, Salt's own states look nowhere else.
    if found or noted or "?saltenv=" in source:
        return found
    answers = {}
    for name in __salt__["cp.envs"]() or ():
        answer = None if name == first else __salt__[function](source, saltenv=name)
        if answer:
            answers[name] = answer
    if len(answers) > 1:
        raise CommandExecutionError(
            "%s: the master has %s in several environments (%s): say which, as in %s?saltenv=%s"
            % (where, source, ", ".join(sorted(answers)), source, min(answers))
        )
    return next(iter(answers.values()), None)


def _fetched(source, where, source_hash=None):
    """The path on this host of a file that lies there, or that Salt brings."""
    if source.startswith("/"):
        return source
    if source.startswith("salt://"):
        path = _asked("cp.cache_file", source, where)
        if not path:
            raise CommandExecutionError("%s: the master has no file %s" % (where, source))
        return path
    path = __salt__["cp.cache_file"](source, source_hash=source_hash)
    if not path:
        raise CommandExecutionError("%s: cannot fetch %s" % (where, source))
    return path


def _hash_of(path, algorithm, where):
    try:
        return _memory().digest(path, algorithm)
    except OSError as err:
        raise CommandExecutionError("%s: cannot read %s: %s" % (where, path, err.strerror)) from err


def _read(path, where):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as err:
        raise CommandExecutionError("%s: cannot read %s: %s" % (where, path, err.strerror)) from err


def _argument(name, kind, value):
    """A finished argument of a function; one of the wrong kind is refused in the settings' own words."""
    try:
        return kind(value)
    except calico_values.Refused as err:
        raise SaltInvocationError("%s: got %r; accepted: %s" % (name, value, err)) from None


def _timeout(value):
    return _argument("timeout", calico_values.seconds, value)


def settings():
    """
    The settings of this minion: its pillar, checked, with everything that it leaves open.

    Returns a dict; keys and passwords are masked.

    Raises CommandExecutionError that names every setting that is wrong.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.settings
    """
    return calico_secrets.shown(_settings())


def environment(secrets=False):
    """
    The environment of calico-node's container, as a dict of names to text.

    secrets
        True shows passwords and tokens instead of asterisks (bool).

    CLI Example:

    .. code-block:: bash

        salt '*' calico.environment
    """
    result = calico_container.environment(_settings())
    return result if secrets else calico_secrets.shown(result)


def container():
    """
    All that decides how calico-node's container runs.

    Returns a dict with name, image, environment (secrets masked), mounts, network, privileged, options
    (further ones of the runtime), labels, unit (what the unit has beside: service, remove, directories,
    forwarding) and the path of the runtime.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.container
    """
    checked = _settings()
    result = calico_container.container(checked, calico_pem.digest(_certificates(checked)))
    result["environment"] = environment()
    result["unit"] = calico_container.unit(checked, calico_filters.program)
    result["runtime_path"] = _runtime_path(checked)
    return result


def cni_configuration():
    """
    What 10-calico.conf (Calico 3: 10-calico.conflist) in ``calico:cni:conf_dir`` holds, as data.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.cni_configuration
    """
    checked = _settings()
    directory = checked["cni"]["bin_dir"]
    installed = os.listdir(directory) if os.path.isdir(directory) else ()
    return calico_container.cni_configuration(checked, installed)


def cni_leftovers():
    """
    The CNI configurations on this host that the formula has written, and would not write any more.

    Looks for them in ``calico:cni:conf_dir`` and in /etc/cni/net.d: of the other generation, or of any
    where ``calico:cni:enabled`` is false. Files of others are none, whatever their name.

    Returns a list of paths.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.cni_leftovers
    """
    checked = _settings()
    usual = dict(checked, cni=dict(checked["cni"], conf_dir=calico_probe.CNI))
    wanted = calico_container.cni_file(checked) if checked["cni"]["enabled"] else None
    paths = dict.fromkeys([*calico_container.cni_files(checked), *calico_container.cni_files(usual)])
    found = {path: _file(path) for path in paths if path != wanted}
    return [
        path
        for path, file in found.items()
        if file and calico_container.wrote_cni(file[1].decode("utf-8", "replace"))
    ]


def calicoctl_configuration():
    """
    What /etc/calico/calicoctl.cfg holds, as data.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.calicoctl_configuration
    """
    return calico_container.calicoctl_configuration(_settings())


# --- preflight -------------------------------------------------------------------------------------


def check(saltenv=None, host=True):
    """
    Are the settings right and is this host fit for Calico? Nothing is changed.

    Looks at settings, certificates, sources, runtime, room, the datastore, the kernel's features and
    settings, the node's name and address, ports, MTU, CNI and NetworkManager, as far as the mode needs
    them. docs/troubleshooting.md lists all findings.

    saltenv
        The environment of Salt's file server that the formula's files come from (text). A run says its own;
        later calls look for ``salt://`` files there.
    host
        False looks at the settings alone: neither at this host nor at the datastore (bool).

    Returns a list of findings ``{level, what, seen, do}``; level is ``error`` (a run would do harm or
    fail) or ``warning``. Empty where all is well. The return code is 1 where there is an error.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.check
    """
    if saltenv:
        _memory().saltenv = saltenv
    findings = _check(host)
    if any(finding["level"] == "error" for finding in findings):
        __context__["retcode"] = 1
    return findings


def _check(host=True):
    try:
        checked = _of_this_host(calico_settings.check(_pillar(), __grains__.get("os_family")))
    except calico_settings.SettingsError as err:
        return calico_preflight.of_settings(err.problems)
    if not host:
        return []
    name = _node_name(checked)
    findings = calico_preflight.of_name(name)
    parts = {}
    try:
        parts = _certificates(checked)
    except CommandExecutionError as err:
        findings.append(calico_preflight.finding("calico:etcd:tls", str(err), "Give a file that is there"))
    now = datetime.datetime.now(datetime.timezone.utc)
    findings.extend(calico_preflight.of_certificates(checked, parts, now))
    # With certificates that cannot work, what etcd says of them would only be said twice.
    useless = any(item["level"] == "error" and "calico:etcd" in item["what"] for item in findings)
    findings.extend(_check_sources(checked))
    program = checked["calicoctl"]["path"]
    findings.extend(calico_preflight.of_calicoctl_path(program, os.path.isdir(program)))
    findings.extend(_check_runtime(checked))
    findings.extend(calico_preflight.of_room([calico_probe.room("/etc"), calico_probe.room("/var")]))
    cluster = None
    if not useless:
        cluster, found = _check_datastore(checked, parts)
        findings.extend(found)
    if cluster is not None and cluster.ready:
        findings.extend(_check_declared(checked, cluster))
        findings.extend(_check_kinds(checked))
    facts = calico_probe.facts(calico_preflight.questions(checked, name, cluster))
    return findings + calico_preflight.findings(checked, name, cluster, facts)


def _check_declared(checked, cluster):
    """What `calico.network` would be refused is refused before anything on the host has changed."""
    try:
        steps = _declared_steps(checked, cluster)
        if not steps:
            return _check_calicoctl(checked, cluster, steps)
        # What is equal needs no look at workloads and blocks.
        cluster = _cluster(checked, *JUDGED, "felix")
        steps = _declared_steps(checked, cluster)
        refused = calico_plan.plan(cluster, steps, checked["network"]["allow"]).refused
    except calico_resources.Problems as err:
        return calico_preflight.of_declared_problems(err.problems)
    except CommandExecutionError as err:
        return [
            calico_preflight.finding("calico:network", str(err), "The run stops before it changes anything")
        ]
    return calico_preflight.of_refusals(refused) + _check_calicoctl(checked, cluster, steps)


def _check_calicoctl(checked, cluster, steps):
    """A calicoctl that this run will need is there; one from a source comes before it is needed."""
    if checked["calicoctl"]["source"]:
        return []
    asked = {what: _asked_for(checked, what)["wanted"] for what in ("node", "resource")}
    asked["resource"] = [item for item in asked["resource"] if item["kind"] not in calico_datastore.KINDS]
    needed = calico_preflight.to_be_written(checked, _node_name(checked), cluster, steps, asked)
    if not needed:
        return []
    try:
        calicoctl_version()
    except CommandExecutionError as err:
        made = calico_preflight.made_by_a_start(checked, cluster, steps) if _starts(checked) else ()
        needed = [item for item in needed if item not in made]
        return [calico_preflight.of_no_calicoctl(str(err), needed)] if needed else []
    return []


def _starts(checked):
    """Whether this run starts calico-node, as far as can be told."""
    try:
        running = _running_container(checked)
        return not running or bool(_drift(checked, _certificates(checked), running))
    except CommandExecutionError:
        return True


def calicoctl_version():
    """
    The release of the calicoctl at ``calico:calicoctl:path``, which every change of the datastore needs.

    Returns text such as ``1.6.3``.

    Raises CommandExecutionError where there is none, it cannot be run, or it is one for another generation of
    Calico.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.calicoctl_version
    """
    checked = _settings()
    given = checked["calicoctl"]
    try:
        numbers = calico_ctl.client_version(given["path"], given["timeout"])
    except calico_ctl.CtlError as err:
        raise CommandExecutionError(_ctl_text(err)) from err
    text = ".".join(map(str, numbers))
    if (numbers[0] == 1) != (checked["generation"] == "v1"):
        raise CommandExecutionError(
            "%s is calicoctl %s, which is for another generation than calico:version %s"
            % (given["path"], text, checked["version"])
        )
    return text


def calicoctl_current():
    """
    Whether calicoctl is what ``calico:calicoctl:source_hash`` says, root's, and with mode 0755.

    A large program is not read on every run: its hash is known for as long as nothing about the file has
    changed (size, inode, both times).

    Returns bool; False where the pillar names no source.

    Raises CommandExecutionError where the file cannot be read.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.calicoctl_current
    """
    given = _settings()["calicoctl"]
    if not given["source"]:
        return False
    algorithm, digits = calico_values.hash_parts(given["source_hash"])
    memory = _memory()
    try:
        return not calico_sources.file_differs(
            given["path"], digits, lambda path: memory.digest(path, algorithm)
        )
    except OSError as err:
        raise CommandExecutionError("%s cannot be read: %s" % (given["path"], err.strerror)) from err


def _check_kinds(checked):
    """Kinds that calicoctl does not know. Whatever else keeps it from an answer is told by others."""
    findings = []
    kinds = {resource["kind"] for resource in checked["network"]["resources"]}
    for kind in sorted(kinds - calico_kinds.USUAL[checked["generation"]]):
        try:
            _list_kind(kind, **_ctl_options(checked))
        except calico_ctl.Unsupported as err:
            findings.append(calico_preflight.of_unknown_kind(kind, str(err)))
        except calico_ctl.CtlError:
            pass
    return findings


def _declared_steps(checked, cluster):
    """All that `calico.network` would write on this minion, but for resources of other kinds."""
    allow, registered = checked["network"]["allow"], _node_name(checked) in cluster.nodes
    steps = []
    for what in ("pool", "felix", "peer", "node", "bgp"):
        asked = _asked_for(checked, what)
        # It has to register first.
        wanted = asked["wanted"] if what != "node" or registered else ()
        steps.extend(calico_plan.steps(cluster, what, wanted, prune=asked["prune"], allow=allow))
    return steps


def asked_for(what):
    """
    What the pillar wants of one kind of thing in the datastore, as far as it is this minion's to write.

    what
        ``pool``, ``felix``, ``peer``, ``node``, ``bgp`` or ``resource`` (text).

    Returns ``{wanted, prune, why_not}``: what shall be there, as :func:`plan` takes it (list), whether
    nothing else shall be (bool), and why this minion leaves it alone (text), or None.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.asked_for pool
    """
    return _asked_for(_settings(), what)


def _asked_for(checked, what):
    network, items = checked["network"], _items(checked)
    if what not in items:
        raise CommandExecutionError("what: got %r; accepted: one of %s" % (what, ", ".join(items)))
    writer = network["managed_by"]
    # Every node its own.
    if what != "node" and writer != "*" and not __salt__["match.compound"](writer):
        why_not = "Left to the minions that calico:network:managed_by names: %s" % writer
        return {"wanted": [], "prune": False, "why_not": why_not}
    prune = network["prune"] and what in calico_plan.PRUNED
    return {"wanted": items[what], "prune": prune, "why_not": None}


def _items(checked):
    """What the pillar declares of each kind, as lists."""
    declares = _declared(checked)
    return {
        "pool": declares["pools"],
        "felix": _described(declares["felix"]),
        "peer": declares["peers"],
        "node": _described(declares["node"]),
        "bgp": _described(declares["bgp"]),
        "resource": declares["resources"],
    }


def _described(words):
    # A name alone declares nothing.
    return [words] if set(words) - {"name"} else []


def _check_sources(checked):
    """
    Files of the master's and of this host are held to their hashes here: Salt compares those of http sources
    only, and what is fetched from there is compared before it is installed.
    """
    findings = []
    for path, given in (
        ("calicoctl", checked["calicoctl"]),
        ("cni:plugins", checked["cni"]["plugins"]),
    ):
        source = given["source"] or ""
        if source.startswith(("salt://", "/")):
            what = "calico:%s:source" % path
            try:
                found = _hash_of_source(source, given["source_hash"], what)
            except CommandExecutionError as err:
                said = str(err).partition(what + ": ")[2] or str(err)
                findings.append(calico_preflight.finding(what, said, "Give a file that is there"))
                continue
            findings.extend(calico_preflight.of_source(path, source, given["source_hash"], found))
    return findings


def _hash_of_source(source, source_hash, where):
    """``{hash_type, hsum}`` of a source by the algorithm of its hash; None where there is no such file."""
    algorithm, _digits = calico_values.hash_parts(source_hash)
    if source.startswith("salt://"):
        found = _asked("cp.hash_file", source, where)
        # The master knows one kind of hash; for any other the file has to be here.
        if not found or found["hash_type"] == algorithm:
            return found or None
    return {"hash_type": algorithm, "hsum": _hash_of(_fetched(source, where), algorithm, where)}


def _check_runtime(checked):
    engine = ENGINES[checked["runtime"]]
    others = [name for name in ENGINES if name != checked["runtime"] and salt.utils.path.which(name)]
    try:
        present = image()["present"]
        version = _inspect(engine.version)
        root = None if present else _inspect(engine.root_directory)
    except CommandExecutionError as err:
        return calico_preflight.of_no_runtime(checked, str(err), others)
    archive = _archive(checked) if checked["image_archive"] and not present else None
    findings = calico_preflight.of_runtime(checked, version, present, archive)
    if not _runs_calico_node(checked["runtime"]):
        findings.extend(calico_preflight.of_another_runtime(checked, list(filter(_runs_calico_node, others))))
    findings.extend(_check_service(checked))
    findings.extend(calico_preflight.of_mounts(checked, os.path.exists))
    if root:
        findings.extend(calico_preflight.of_image_room(calico_probe.room(root), archive))
    return findings


def _check_service(checked):
    """The unit that calico-node's own depends on."""
    fault = calico_probe.unit_fault(checked["service"]) if checked["service"] else None
    known = calico_runtimes.RUNTIMES[checked["runtime"]]["other_services"] if fault else ()
    running = [name for name in known if name != checked["service"] and calico_host.processes_of(name)]
    return calico_preflight.of_service(checked, fault, running)


def _runs_calico_node(runtime):
    """Whether calico-node runs in this runtime."""
    engine = ENGINES[runtime]
    with contextlib.suppress(calico_runtimes.EngineError):
        # Without a version it is not docker itself: podman answers at docker's socket where it is told to.
        found = engine.version(timeout=LOOK_DEADLINE) and _calico_node(engine)
        return bool(found) and bool((found.get("State") or {}).get("Running"))
    return False


def _archive(checked):
    path = checked["image_archive"]
    if path.startswith("salt://"):
        return {"found": bool(_asked("cp.hash_file", path, "calico:image_archive")), "bytes": None}
    found = os.path.isfile(path)
    return {"found": found, "bytes": os.path.getsize(path) if found else None}


def _check_datastore(checked, certificates):
    """The datastore, None where it cannot be read, and what is to be said of it."""
    clients = []

    def etcd():
        clients.append(_etcd(checked))
        return clients[0]

    try:
        cluster = _read_cluster(checked, ("ready", "bgp", "pools", "felix"), etcd)
    except calico_datastore.Unavailable as err:
        if isinstance(err.__cause__, (calico_ctl.NotInstalled, calico_ctl.NotRunnable)):
            # One from a source comes with this run, and then the datastore can be read.
            given = checked["calicoctl"]
            missing = calico_preflight.of_no_calicoctl(_ctl_text(err.__cause__), ["the datastore's contents"])
            return None, [] if given["source"] else [missing]
        refused = certificates if err.certificate_refused else None
        return None, calico_preflight.of_datastore(checked, None, str(err), refused=refused)
    clock = clients[0].clock if clients else None
    skew = calico_probe.skew(*clock) if clock else None
    moved = None
    if checked["datastore"] == "etcdv3" and not (cluster.nodes and cluster.ready):
        moved = calico_migration.read(lambda: _etcd(checked))
    return cluster, calico_preflight.of_datastore(checked, cluster, None, skew, moved=moved)


# --- the container ---------------------------------------------------------------------------------


def _runtime_path(checked):
    # In a unit the path must be absolute; before the runtime is installed the usual one is right.
    return salt.utils.path.which(checked["runtime"]) or "/usr/bin/" + checked["runtime"]


def _command(argv, deadline=COMMAND_DEADLINE):
    """Run a command and return the finished process; typed failure if it cannot run or hangs."""
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=deadline,
            check=False,
        )
    except FileNotFoundError as err:
        raise CommandExecutionError("%s is not installed" % argv[0]) from err
    except OSError as err:
        raise CommandExecutionError("%s cannot be run: %s" % (argv[0], err)) from err
    except subprocess.TimeoutExpired as err:
        raise CommandExecutionError("'%s' gave no answer within %s s" % (" ".join(argv), deadline)) from err


def _runtime(checked, *arguments, deadline=COMMAND_DEADLINE):
    done = _command([_runtime_path(checked), *arguments], deadline)
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or "exit code %d" % done.returncode
        raise CommandExecutionError("%s %s: %s" % (checked["runtime"], arguments[0], said))
    return done.stdout


def _inspect(function, *names):
    """What the runtime knows, of a thing of that name or of itself; None where there is no such thing."""
    try:
        return function(*names)
    except calico_runtimes.EngineError as err:
        raise CommandExecutionError(str(err)) from err


def _engine():
    """Who is to be asked about containers, also where the pillar is wrong."""
    given = _pillar()
    wanted = given.get("runtime") if isinstance(given, dict) else None
    if wanted is None:
        wanted = calico_families.defaults(__grains__.get("os_family")).get("runtime")
    return ENGINES.get(str(wanted), calico_docker)


def _calico_node(engine=None):
    """calico-node's container, asked for often: it must not take long. None where there is none."""
    return (engine or _engine()).container(calico_container.NAME, timeout=LOOK_DEADLINE)


def image():
    """
    The image that the settings ask for.

    Returns ``{name, present, id, accepted}``; ``accepted`` is False where ``calico:image_digest``
    asks for another one than the host has.

    Raises CommandExecutionError where the runtime gives no answer.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.image
    """
    checked = _settings()
    found = _inspect(ENGINES[checked["runtime"]].image, checked["image"])
    digest = checked["image_digest"]
    known = [found["Id"], *(found.get("RepoDigests") or [])] if found else []
    return {
        "name": checked["image"],
        "present": bool(found),
        "id": found["Id"] if found else None,
        "accepted": bool(found) and (digest is None or any(item.split("@")[-1] == digest for item in known)),
    }


def image_load():
    """
    Bring the image onto the host: from ``calico:image_archive`` where that is set, else by a pull.

    Returns what :func:`image` returns afterwards.

    Raises CommandExecutionError where the image cannot be had, or is not the one that
    ``calico:image_digest`` names: then the name is taken from it again, so that no restart can start it. It
    goes back to the image that runs, if that had it before.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.image_load
    """
    checked = _settings()
    archive = checked["image_archive"]
    before = image()
    if archive:
        path = _fetched(archive, "calico:image_archive")
        if not os.path.isfile(path):
            raise CommandExecutionError("calico:image_archive: there is no file %s" % archive)
        _runtime(checked, "load", "--quiet", "--input", path, deadline=IMAGE_DEADLINE)
    else:
        _runtime(checked, "pull", "--quiet", checked["image"], deadline=IMAGE_DEADLINE)
    result = image()
    if not result["present"]:
        raise CommandExecutionError(
            "calico:image_archive: %s was loaded but holds no image %s" % (archive, result["name"])
        )
    if not result["accepted"]:
        done = _take_back(checked, before, result)
        raise CommandExecutionError(
            "calico:image_digest: %s is %s, not %s: %s"
            % (result["name"], result["id"], checked["image_digest"], done)
        )
    return result


def _take_back(checked, before, refused):
    """A refused image loses its name, for the unit starts what has it; what was done (text)."""
    name = refused["name"]
    try:
        runs = (_running_container(checked) or {}).get("Image")
        if runs == refused["id"]:
            return "it is what runs, and was left in place"
        if before["id"] and before["id"] == runs:
            _runtime(checked, "tag", before["id"], name)
            return "the name is that of the image again which runs"
        _runtime(checked, "rmi", name)
    except CommandExecutionError as err:
        return "it could not be taken away: %s" % err
    return "it was taken away again"


def drift():
    """
    What of calico-node only a restart puts right: how the running container differs from the one that
    the settings ask for, and how the node's entry in the datastore differs from the one that a start
    makes (``registration``: it was removed, or has an address that is not the host's any more).

    Returns ``{field: {old, new}}``; empty where all is as wanted or no container is running. A datastore
    that gives no answer is no difference. A container that has just been started is given some seconds to
    register its node.

    Raises CommandExecutionError where the runtime gives no answer.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.drift
    """
    checked = _settings()
    running = _running_container(checked)
    return _drift(checked, _certificates(checked), running) or _unregistered(checked, running)


def _container():
    """calico-node's container as its runtime shows it, running or not; None where there is none."""
    return _inspect(_engine().container, calico_container.NAME)


def _running_container(checked):
    found = _inspect(ENGINES[checked["runtime"]].container, calico_container.NAME)
    return found if found and (found.get("State") or {}).get("Running") else None


def _drift(checked, certificates, running):
    if not running:
        return {}
    wanted = calico_container.container(checked, calico_pem.digest(certificates))
    return calico_container.outdated(wanted, running, image()["id"])


def _unregistered(checked, running):
    # With the datastore kubernetes, nodes are Kubernetes' own: no start makes one.
    if not running or checked["datastore"] == "kubernetes":
        return {}
    name = _node_name(checked)
    started = calico_rollback.started(running) or 0
    while True:
        try:
            registered = _cluster(checked, "bgp", *_where_nodes_are(checked)).nodes.get(name)
        except CommandExecutionError:
            # Nobody knows. Were it taken for "no", an etcd that is away would restart the whole fleet.
            return {}
        # A start that is under way registers the node itself.
        if registered or not 0 <= time.time() - started < calico_registration.START:
            break
        time.sleep(0.5)
    return calico_registration.outdated(checked, name, registered, _own_addresses())


def _own_addresses():
    """All addresses of this host, None where they cannot be read."""
    try:
        return {entry["address"] for link in calico_probe.links() for entry in link["addresses"]}
    except calico_host.HostError:
        return None


def container_id():
    """
    ID of the container named ``calico-node``, running or not; None where there is none.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.container_id
    """
    found = _container()
    return found["Id"] if found else None


def runtime_down():
    """
    Why there is nobody to ask about containers: the runtime does not run, or is not installed (text). None
    where it runs.

    Raises CommandExecutionError where it runs, but gives no answer.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.runtime_down
    """
    try:
        _engine().version(timeout=COMMAND_DEADLINE)
    except calico_runtimes.NotRunning as err:
        return str(err)
    except calico_runtimes.EngineError as err:
        raise CommandExecutionError(str(err)) from err
    return None


def forget_unit():
    """
    systemd reads its units anew, and does not remember that calico-node's has failed: one that did could not
    be loaded again after its file was removed and written anew.

    Returns True.

    Raises CommandExecutionError where systemd refuses.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.forget_unit
    """
    _systemctl("daemon-reload")
    # It refuses where there is no such unit any more, which is as good.
    _command(["systemctl", "reset-failed", UNIT])
    return True


def container_remove():
    """
    Remove the container named ``calico-node``, running or not. Its unit would start another one.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.container_remove
    """
    checked = _settings()
    _runtime(checked, *calico_runtimes.RUNTIMES[checked["runtime"]]["remove"], calico_container.NAME)
    return True


def plugins():
    """
    The CNI plugins on this host that came from ``calico:cni:plugins:source``, as a list of paths.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.plugins
    """
    checked = _settings()
    paths = (os.path.join(checked["cni"]["bin_dir"], name) for name in _wanted_plugins(checked))
    return sorted(filter(os.path.isfile, paths))


def plugins_due():
    """
    How the CNI plugins on this host differ from those in ``calico:cni:plugins:source``: in contents, owner or
    mode.

    Returns ``{path: {old, new}}``, empty where all are root's, have mode 0755 and are the archive's.

    Raises CommandExecutionError where the archive cannot be had, is another one than its hash says, or cannot
    be read.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.plugins_due
    """
    checked = _settings()
    wanted, directory = _wanted_plugins(checked), checked["cni"]["bin_dir"]
    memory = _memory()

    def read(path):
        return memory.digest(path, "sha256")

    seen = {path: calico_sources.directory_differs(path) for path in _plugin_directories(directory, wanted)}
    for name, digest in wanted.items():
        path = os.path.join(directory, name)
        seen[path] = calico_sources.file_differs(path, digest, read)
    return {
        path: {"old": None if old == "not there" else old, "new": "root's, mode 0755"}
        for path, old in sorted(seen.items())
        if old
    }


def plugins_install():
    """
    Install the CNI plugins of ``calico:cni:plugins:source`` that are not there as they are in the archive,
    each in one step, owned by root and with mode 0755.

    Returns ``{changes, failed}``: changes as :func:`plugins_due` tells them, of what was done; failed says
    what kept the rest from it (text), or None.

    Raises CommandExecutionError as :func:`plugins_due`: nothing was changed then.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.plugins_install
    """
    checked = _settings()
    directory = checked["cni"]["bin_dir"]
    due, changes, failed = plugins_due(), {}, None
    if not due:
        return {"changes": {}, "failed": None}
    archive = _verified_plugins(checked)
    try:
        for path in _plugin_directories(directory, _wanted_plugins(checked)):
            if path in due:
                _own_directory(path)
                changes[path] = due[path]
        for name, file in calico_sources.files(archive):
            path = os.path.join(directory, name)
            if path in due:
                _write_file(path, calico_sources.FILE_MODE, file.read())
                changes[path] = due[path]
    except (CommandExecutionError, calico_sources.Unusable) as err:
        failed = str(err)
        __context__["retcode"] = 1
    return {"changes": changes, "failed": failed}


def _wanted_plugins(checked):
    """``{name: SHA-256}`` of the plugins in the archive; it is read once for each hash that it is to have."""
    given = checked["cni"]["plugins"]
    if not given["source"]:
        return {}
    try:
        return _memory().contents(
            given["source_hash"], lambda: calico_sources.contents(_verified_plugins(checked))
        )
    except calico_sources.Unusable as err:
        raise CommandExecutionError("%s: %s" % (PLUGINS_SOURCE, err)) from err


def _plugin_directories(directory, names):
    """All directories that hold plugins of these names (``calico:cni:bin_dir``), outer ones first."""
    if not names:
        return []
    inner = {os.path.dirname(name) for name in names} - {""}
    inner |= {path[:end] for path in inner for end in range(len(path)) if path[end] == "/"}
    return [
        *calico_container.own_directories(directory),
        *(os.path.join(directory, path) for path in sorted(inner)),
    ]


def _verified_plugins(checked):
    """The archive's path on this host; it is what its hash says."""
    given = checked["cni"]["plugins"]
    path = _fetched(given["source"], PLUGINS_SOURCE, given["source_hash"])
    algorithm, _digits = calico_values.hash_parts(given["source_hash"])
    found = {"hash_type": algorithm, "hsum": _hash_of(path, algorithm, PLUGINS_SOURCE)}
    wrong = calico_sources.mismatch(given["source"], given["source_hash"], found)
    if wrong:
        raise CommandExecutionError("%s_hash: %s" % (PLUGINS_SOURCE, wrong))
    return path


def _own_directory(path):
    try:
        os.makedirs(path, exist_ok=True)
        os.chown(path, os.geteuid(), os.getegid())
        os.chmod(path, calico_sources.DIRECTORY_MODE)
    except OSError as err:
        raise CommandExecutionError("cannot make %s: %s" % (path, err.strerror)) from err


# --- the node --------------------------------------------------------------------------------------


def _looked_for(checked):
    """What connects the nodes, and where Felix is to be asked (:func:`calico_container.health`)."""
    if checked is None:
        return "bird", calico_container.health({})
    return checked["node"]["backend"], calico_container.health(calico_container.environment(checked))


def _workload_prefixes():
    checked = _settings_if_any()
    return calico_felix.interface_prefixes(checked) if checked else (calico_felix.WORKLOADS,)


def _felix(health):
    """What Felix says of itself; neither live nor ready (None) where it cannot be asked."""
    if health["off"]:
        return {"live": None, "ready": None, "reason": health["off"]}
    return calico_host.felix_health(port=health["port"], host=health["host"])


def _bird(family):
    """Sessions and BIRD's own state, or None where no BIRD of this family runs."""
    path = BIRD_SOCKETS[family]
    if family == 6 and not os.path.exists(path):
        return None
    return calico_bird.read(path)


def _birds():
    """All sessions of both families, BIRD's own state, and what kept us from reading either."""
    sessions, states, errors = [], {}, []
    for family in (4, 6):
        try:
            found = _bird(family)
        except calico_bird.BirdError as err:
            errors.append(str(err))
            continue
        if found:
            sessions.extend(found["sessions"])
            states["IPv%d" % family] = found["daemon"]
    return sessions, states, errors


def peers():
    """
    The BGP sessions of this node, as BIRD itself tells them.

    Returns a list of dicts: name, type (``node-to-node mesh``, ``global``, ``node specific``),
    address, port, as_number, state, since, info (the BGP state), reason, established, and routes
    imported, exported and preferred. Sessions that are administratively down are in it, too.

    Raises CommandExecutionError where BIRD gives no complete answer.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.peers
    """
    sessions, _states, errors = _birds()
    if errors:
        raise CommandExecutionError("; ".join(errors))
    return sessions


def status():
    """
    Is this node ready, and if not, why?

    Looks at systemd, Felix' health port and BIRD's control sockets: it needs neither calicoctl nor
    the datastore. Whether sessions are missing that the datastore asks for is told by
    :func:`ready`.

    Returns a dict with ready (bool), reasons (list of text, empty where ready), notes (what cannot be
    looked at, list of text), service, felix (its ready and live are None where it cannot be asked), bird
    (version, router id, state) and sessions (as :func:`peers` returns them). The return code is 1 where
    the node is not ready.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.status
    """
    result = _status()
    if not result["ready"]:
        __context__["retcode"] = 1
    return result


def _status():
    look = _look()
    reasons = calico_ready.own_reasons(look)
    reasons.extend(
        calico_ready.why_down(session, look["bird"])
        for session in look["sessions"]
        if not calico_ready.is_up(session, look["bird"])
    )
    return dict(_shown_of(look), ready=not reasons, reasons=_with_last_words(dict(look, reasons=reasons)))


def _look(backend=None, health=None):
    """What this host shows of the node, for :mod:`calico_ready` to judge."""
    checked = _settings_if_any()
    if backend is None:
        backend, health = _looked_for(checked)
    sessions, birds, errors = _birds() if backend == "bird" else ([], {}, [])
    look = {
        "unit": UNIT,
        "service": calico_host.service_state(UNIT),
        "felix": _felix(health),
        "bird": birds,
        "sessions": sessions,
        "errors": errors,
        "dropped": _dropped(checked),
    }
    return dict(look, notes=calico_ready.notes(look, backend))


def _shown_of(look):
    return {key: look[key] for key in ("service", "felix", "bird", "sessions", "notes")}


def routes():
    """
    Calico's routes in this host's kernel, as ``route -n`` shows them.

    Returns ``{routes, blocks}``: routes is a list of dicts (destination, gateway, genmask, flags,
    metric, interface, protocol, kind), blocks groups them: how each block is reached.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.routes
    """
    found = _host_reading(calico_host.kernel_routes, prefixes=_workload_prefixes())
    return {"routes": found, "blocks": calico_host.blocks(found)}


def interfaces():
    """
    The interfaces that Calico made on this host: workloads' (``cali…``, or what Felix' ``InterfacePrefix``
    says) and tunnels (``tunl0``, …).

    Returns a list of dicts: name, state, mtu (bytes), mac, addresses.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.interfaces
    """
    return _host_reading(calico_host.interfaces, prefixes=_workload_prefixes())


def sockets(port=179):
    """
    TCP sockets of a port, BGP's unless another is named.

    port
        TCP port number (int).

    Returns a list of dicts: local and remote address and port, state, pid and program.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.sockets
    """
    port = _argument("port", calico_values.integer(1, 65535), port)
    return _host_reading(calico_host.sockets, port=port)


def forwarding():
    """
    What this host's packet filters do to what workloads send and get, beside Felix' own rules.

    Every filter that forwarded packets meet is asked in turn, in the legacy tables of iptables and in
    nftables alike: what one of them drops is gone, whatever Felix accepts in its own.

    Returns a list of dicts: filter (chain and table), policy (``accept`` or ``drop``), felix (whether Felix
    decides there) and drops (bool; None where a rule asks what is not known).

    Raises CommandExecutionError where the kernel does not tell.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.forwarding
    """
    try:
        filters, felix, dropping = _filters(_settings_if_any())
    except OSError as err:
        raise CommandExecutionError("the kernel does not tell its packet filters: %s" % err) from err
    return [
        {
            "filter": calico_filters.shown(each),
            "policy": each.policy,
            "felix": calico_filters.decides(each, felix),
            "drops": {True: True, False: None}.get(dropping.get(each[:4]), False),
        }
        for each in filters
    ]


def _settings_if_any():
    """The settings, None where the pillar is wrong or missing: one must be able to look all the same."""
    try:
        return _settings()
    except CommandExecutionError:
        return None


def _filters(checked, without_felix=False):
    """All filters, where Felix writes, and those that drop: ``{(backend, family, table, chain): sure}``."""
    felix = calico_container.felix_writes(checked) if checked else None
    settings = checked["felix"] if checked else {}
    returning = calico_filters.returns(settings.get)
    filters = calico_filters.read(without=felix if without_felix and not returning else None)
    felix = felix or calico_filters.shows(filters)
    networks = [pool["cidr"] for pool in checked["network"]["pools"]] if checked else ["192.168.0.0/16"]
    packets = [
        packet
        for prefix in calico_filters.prefixes(settings.get("InterfacePrefix"))
        for network in networks
        for packet in calico_filters.packets(prefix, calico_filters.outward(), network)
    ]
    dropping = calico_filters.dropping(filters, felix, packets, returning)
    return filters, felix, {each[:4]: sure for each, sure in dropping}


def _dropped(checked):
    """What is surely dropped of workloads' packets, in words; nothing where that cannot be told."""
    elsewhere = checked and calico_container.switch(checked, "BPFEnabled") is True
    if elsewhere or _looked_for(checked)[0] == "none":
        return []
    try:
        filters, felix, dropping = _filters(checked, without_felix=True)
    except OSError:
        return []
    return [calico_filters.drop(each, felix) for each in filters if dropping.get(each[:4])]


def forwarding_accept(test=False):
    """
    Have the packets of workloads accepted, where iptables drops them in tables that are not Felix' own.

    Two rules are put before the others of FORWARD, for the interfaces of workloads only: policy goes on
    being Felix' affair, in its own tables. The unit does the same before each start of calico-node.

    test
        True tells what would be done (bool).

    Returns the changes, ``{filter: [rules]}``; empty where nothing is dropped.

    Raises CommandExecutionError where the program of iptables is missing or fails, or where the packets
    are dropped all the same.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.forwarding_accept
    """
    checked = _settings()
    changes = {}
    for each in _closed(checked):
        program = calico_filters.program(each.backend, each.family)
        if not program:
            raise CommandExecutionError("no program of iptables writes %s" % calico_filters.shown(each))
        prefixes = calico_filters.prefixes(checked["felix"].get("InterfacePrefix"))
        rules = calico_filters.rules(prefixes)
        for rule in [] if test else rules:
            done = _command([program, "-w", "-I", "FORWARD", *rule])
            if done.returncode:
                said = done.stderr.strip() or "exit code %d" % done.returncode
                raise CommandExecutionError("%s: %s" % (program, said))
        changes[calico_filters.shown(each)] = [" ".join(rule) for rule in rules]
    still = [] if test or not changes else _closed(checked)
    if still:
        raise CommandExecutionError("%s, also with these rules" % calico_filters.drop(still[0], None))
    return changes


def _closed(checked):
    """The filters that drop workloads' packets, and that the formula may write to."""
    try:
        filters, felix, dropping = _filters(checked)
    except OSError as err:
        raise CommandExecutionError("the kernel does not tell its packet filters: %s" % err) from err
    return [each for each in filters if each[:4] in dropping and calico_filters.is_ours(each, felix)]


def _host_reading(function, **arguments):
    try:
        return function(**arguments)
    except calico_host.HostError as err:
        raise CommandExecutionError(str(err)) from err


# --- watching --------------------------------------------------------------------------------------


def watched(before=None, settle=30, most=50):
    """
    What has happened on this node since the last look. The beacon ``calico_bgp`` asks this.

    Looks at BIRD's control sockets, Felix' health port and docker's socket; it starts no program (but
    podman, where that is the runtime) and needs neither calicoctl nor the datastore, nor a pillar that is
    right.

    before
        The state that the call before returned (dict), or None: then nothing is told.
    settle
        How long sessions may take to come back after BIRD was started anew before they count as
        down, in seconds (number).
    most
        How many sessions that went the same way are told one by one; more are one event (int).

    Returns ``{state, events}``; state is for the next call, events is a list of dicts as
    docs/events.md describes them.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.watched
    """
    _argument("settle", calico_values.seconds, settle)
    _argument("most", calico_values.integer(0, 1000000), most)
    backend, health = _looked_for(_settings_if_any())
    seen = {
        "node": _any_node_name(),
        "birds": _watched_birds() if backend == "bird" else {},
        "felix": _felix(health),
    }
    try:
        seen["container"] = calico_watch.running(_calico_node())
    except calico_runtimes.EngineError as err:
        seen["container"] = {"error": str(err)}
    state, events = calico_watch.changes(before, seen, time.monotonic(), settle, most)
    return {"state": state, "events": events}


def _watched_birds():
    result = {}
    for family in (4, 6):
        try:
            found = _bird(family)
        except calico_bird.BirdError as err:
            found = {"error": str(err)}
        if found:
            result["IPv%d" % family] = found
    return result


def _any_node_name():
    """This node's name, also where the pillar is wrong."""
    try:
        return node_name()
    except CommandExecutionError:
        return os.uname().nodename


def metrics(path=None, expected=False):
    """
    This node in Prometheus' text format, for the node exporter's textfile collector.

    Broken nodes have metrics, too: ``calico_read_error`` names each source that could not be read.

    path
        Also write it to this file, at once (by a rename) and with mode 0644: an absolute path that
        ends in ``.prom``, in a directory that exists (text).
    expected
        Also ask the datastore which sessions there must be (bool). Without it neither the datastore
        nor calicoctl is asked.

    Returns the metrics (text).

    Raises CommandExecutionError where the file cannot be written.

    Holds for Salt 3006 to 3008 and calico/node 2.6.x and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.metrics path=/var/lib/prometheus/node-exporter/calico.prom
    """
    begin = time.monotonic()
    facts = _facts(expected)
    facts["seconds"] = time.monotonic() - begin
    result = calico_metrics.text(facts)
    if path is not None:
        try:
            calico_metrics.write(path, result)
        except calico_metrics.BadPath as err:
            raise CommandExecutionError(str(err)) from err
    return result


def _facts(expected):
    """What :func:`calico_metrics.text` makes metrics of; a source that fails is named, no more."""
    status = _status()
    facts = {"node": _any_node_name(), "formula": _CODE, "status": status, "errors": {}}
    if _looked_for(_settings_if_any())[0] == "bird":
        facts["errors"]["bird"] = "IPv4" not in status["bird"]
        if os.path.exists(BIRD_SOCKETS[6]):
            facts["errors"]["bird6"] = "IPv6" not in status["bird"]

    def told(source, function):
        try:
            facts.update(function())
        except (CommandExecutionError, calico_runtimes.EngineError, ValueError):
            facts["errors"][source] = True
        else:
            facts["errors"][source] = False

    def of_docker():
        found = _calico_node()
        return {
            "container": calico_watch.running(found),
            "image": ((found or {}).get("Config") or {}).get("Image"),
        }

    told("docker", of_docker)
    try:
        checked = _settings()
    except CommandExecutionError:
        facts["errors"]["settings"] = True
        return facts
    facts["errors"]["settings"] = False
    facts["wanted"] = checked["version"]
    told("certificates", lambda: {"expiry": calico_pem.expiry(_certificates_here(checked))})
    if facts["errors"]["docker"]:
        # It has not answered a moment ago, and would be waited for once more.
        facts["errors"]["drift"] = True
    else:
        told("drift", lambda: {"drift": _drift_here(checked)})
    if expected:
        told("datastore", lambda: {"expected": _expected(checked, _cluster(checked, "bgp"))})
    return facts


def _drift_here(checked):
    """Whether the container is another one than the settings ask for; the datastore is not asked."""
    return bool(_drift(checked, _certificates_here(checked), _running_container(checked)))


def _certificates_here(checked):
    """The certificates, those of the master's as they lie on this host: it is asked too often to fetch."""
    installed = calico_container.certificate_paths(checked)
    given = {
        part: installed[part] if (text or "").startswith("salt://") else text
        for part, text in checked["etcd"]["tls"].items()
    }
    return _certificates(dict(checked, etcd=dict(checked["etcd"], tls=given)))


# --- for a bug report ------------------------------------------------------------------------------


def diagnostics(path="/var/tmp", lines=1000, keep=5, timeout=60):
    """
    A bundle of all that a bug report needs, also of a host where half of it is broken.

    Unit and journal, container and environment, BIRD, routes, rules, ipsets, packet filters, kernel
    switches, configuration files, resources in the datastore, and what this module says of the node.
    Keys, passwords and tokens are taken out. ``manifest.json`` in it has for each part its time, size,
    whether it was cut, and what went wrong. Nothing is changed but the file made.

    path
        The directory that the bundle is written to, ``calico-diagnostics-NODE-TIME.tar.gz``, mode
        0600 (text).
    lines
        How many lines of calico-node's journal go into it (int).
    keep
        How many bundles are left in the directory, the new one included; older ones are removed (int).
    timeout
        Seconds for all parts (number); each may take a sixth of it, and no more than ten. Each may
        have 4 MiB, all together 48 MiB, before they are compressed.

    Returns ``{path, bytes, seconds, parts, failed}``: parts is their number, failed ``{part: reason}``.

    Raises CommandExecutionError where the arguments are wrong or the file cannot be written.

    Holds for Salt 3006 to 3008 and calico/node 2.6.x and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.diagnostics
    """
    for name, value, least, most in (
        ("lines", lines, 1, 100000),
        ("keep", keep, 1, 1000),
        ("timeout", timeout, 1, 3600),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise CommandExecutionError("%s: got %r; accepted: %d to %d" % (name, value, least, most))
    if not isinstance(path, str) or not os.path.isabs(path) or not os.path.isdir(path):
        raise CommandExecutionError("path: got %r; accepted: a directory that exists" % (path,))
    try:
        return calico_diagnostics.bundle(
            _parts(int(lines)),
            calico_scrub.Scrubber(_known_secrets()),
            path,
            _any_node_name(),
            about={"formula": _CODE},
            keep=int(keep),
            budget=timeout,
            # So that one that hangs leaves something to the others, also where there is little time.
            deadline=min(calico_diagnostics.PART_DEADLINE, timeout / 6),
        )
    except calico_diagnostics.CannotWrite as err:
        raise CommandExecutionError(str(err)) from err


def _known_secrets():
    """All secrets that this host has of Calico, to find them again in any text."""
    known = [_pillar()]
    with contextlib.suppress(calico_runtimes.EngineError):
        known.append(calico_container.environment_of(_calico_node()))
    known += calico_diagnostics.configurations(_cni_directory(), *CONFIGURATIONS)
    with contextlib.suppress(OSError):
        known.append(calico_diagnostics.file(calico_container.KEY))
    with contextlib.suppress(CommandExecutionError):
        known.append(_certificates_here(_settings()))
    return calico_scrub.secrets(*known)


def _cni_directory():
    """Where CNI configurations lie, also where the pillar is wrong."""
    try:
        return _settings()["cni"]["conf_dir"]
    except CommandExecutionError:
        return calico_probe.CNI


def _parts(lines):
    """What a bundle holds; most important first."""
    part = calico_diagnostics.Part
    read = calico_diagnostics.files

    def checked(function):
        return lambda: function(_settings())

    def inspected():
        return _container()

    def bird(family):
        if family == 6 and not os.path.exists(BIRD_SOCKETS[6]):
            return "No BIRD of IPv6 runs here: there is no %s.\n" % BIRD_SOCKETS[6]
        commands = ["show status", "show protocols all", "show route all"]
        replies = calico_bird.query(BIRD_SOCKETS[family], commands, calico_diagnostics.PART_DEADLINE)
        return "\n".join("> %s\n%s" % pair for pair in zip(commands, replies))

    runtime = "docker"
    with contextlib.suppress(CommandExecutionError):
        runtime = _runtime_path(_settings())
    return [
        part("status.json", function=_status),
        part("host.json", function=lambda: {name: __grains__.get(name) for name in HOST_GRAINS}),
        part("unit.txt", ["systemctl", "cat", UNIT]),
        part("unit-state.txt", ["systemctl", "show", UNIT]),
        part("journal.txt", ["journalctl", "--unit", UNIT, "--lines", str(lines), "--no-pager"], end=True),
        part("container.json", function=lambda: calico_container.shown(inspected())),
        part("environment.json", function=environment),
        part("settings.json", function=settings),
        part("bird.txt", function=lambda: bird(4)),
        part("bird6.txt", function=lambda: bird(6)),
        *(part("%s.txt" % "-".join(argv).replace("--", "-"), argv) for argv in HOST_COMMANDS),
        part("runtime.txt", [runtime, "version"]),
        part("sockets.json", function=sockets),
        part("interfaces.json", function=interfaces),
        part("sysctl.txt", function=calico_diagnostics.sysctls),
        part("modules.txt", function=lambda: read("/proc/modules")),
        part("configuration.txt", function=lambda: read(_cni_directory(), *CONFIGURATIONS)),
        part(
            "certificates.json", function=checked(lambda found: calico_pem.expiry(_certificates_here(found)))
        ),
        part("drift.json", function=drift),
        # Those that ask the datastore come last: where it hangs, they use up what is left of the time.
        part("resources.json", function=checked(_all_resources)),
        part("ready.json", function=ready),
        part("check.json", function=check),
        part("version.json", function=version),
    ]


def _all_resources(checked):
    found = _cluster(checked, "pools", "bgp", "felix").resources
    return calico_secrets.shown(found)


# --- what needs more than one minion ---------------------------------------------------------------


def rollout(timeout=0, pending=False):
    """
    What an upgrade must know of this node, in few bytes: ``calico.orch.upgrade`` asks it of every host.

    timeout
        How long to wait for the node to run what the pillar wants and to be ready, in seconds (number).
    pending
        True adds what the pillar would change of the datastore for all (bool).

    Returns a dict: node (its name), version, generation and wanted (image) as the pillar has them, image
    (that runs, or None), present (is the wanted one on the host?), current (does the container run as the
    pillar says?), reasons (text: what keeps it from being ready, sessions and Felix apart), felix (text:
    why it is not ready, or None), missing (the neighbours that it has no session with, the first 50),
    missing_count, reflector (bool), and with ``pending`` pending (names of resources).

    Raises CommandExecutionError where the pillar cannot be used or the runtime gives no answer; with
    ``pending`` also where the datastore cannot be read.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.rollout
    """
    end = time.monotonic() + _timeout(timeout)
    checked = _settings()
    while True:
        result = _rollout(checked)
        if calico_rollout.finished(result) or time.monotonic() >= end:
            break
        time.sleep(1)
    if pending:
        result["pending"] = _pending(checked)
    return result


def _rollout(checked):
    name, expected, own, reasons = _node_name(checked), [], {}, []
    try:
        cluster = _cluster(checked, "bgp")
        own = cluster.nodes.get(name) or {}
        expected = _expected(checked, cluster) if own else []
        if not own and checked["node"]["backend"] != "none":
            reasons.append("the datastore knows no node %s" % name)
    except CommandExecutionError as err:
        reasons.append(str(err))
    found = _look()
    felix = found["felix"]["reason"] if found["felix"]["ready"] is False else None
    reasons += [each for each in calico_ready.own_reasons(found) if each != "Felix is not ready: %s" % felix]
    families = [family for family in BIRD_SOCKETS if "IPv%d" % family in found["bird"]]
    missing, count = calico_rollout.missing(calico_view.view(expected, found["sessions"], families), expected)
    running = _running_container(checked)
    there = image()
    return {
        "node": name,
        "version": checked["version"],
        "generation": checked["generation"],
        "wanted": checked["image"],
        "image": running["Config"]["Image"] if running else None,
        "present": there["present"] and there["accepted"],
        "current": bool(running) and not _drift(checked, _certificates(checked), running),
        "reasons": [calico_view.short(each) for each in reasons[: calico_view.MOST_REASONS]],
        "felix": felix,
        "missing": missing,
        "missing_count": count,
        "reflector": bool(own.get("cluster_id")),
    }


def _pending(checked):
    """Names of the resources that the cluster shares and that the pillar would change."""
    prune = checked["network"]["prune"]
    return [
        "%s %s" % (what, step.name)
        for what, wanted in _items(checked).items()
        if what != "node"
        for step in _plan(checked, what, wanted, (), prune and what in calico_plan.PRUNED, None, True).steps
    ]


def rearrangement(nodes=(), prune=None):
    """
    How the BGP topology comes to be what the pillar describes: ``calico.orch.topology`` asks one minion.

    nodes
        What the other minions say in :func:`own_place` (list of dicts).
    prune
        True also removes peers that the pillar does not list (bool); None: as the pillar says.

    Returns a dict: stages (list of dicts: title, careful (whether all must be ready before it), what,
    wanted and absent as :func:`converge` takes them, changes), refused (text for each), left (names of
    peers that stay and are not in the pillar), strangers (nodes in the datastore that none of these minions
    is, those left out that are known to be away).

    Raises CommandExecutionError where the datastore cannot be read or is locked.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.rearrangement
    """
    checked = _settings()
    network = dict(checked["network"], peers=_declared(checked)["peers"])
    cluster = _cluster(checked, *JUDGED)
    if not cluster.ready:
        raise CommandExecutionError(LOCKED)
    prune = network["prune"] if prune is None else prune
    stages, refused, left = calico_rearrange.plan(cluster, nodes, network, prune, network["allow"])
    known = {*checked["ready"]["absent_nodes"], *(words["name"] for words in nodes)}
    return {
        "stages": [stage.as_dict() for stage in stages],
        "refused": ["%s: %s" % (item["stage"], _refusal(item)) for item in refused],
        "left": left,
        "strangers": sorted(set(cluster.nodes) - known),
    }


def own_place():
    """
    This node's place in the BGP topology, as the pillar has it.

    Returns a dict: name, labels (dict or None), route_reflector_cluster_id (text, empty for none), described
    (a digest of the mesh and the peers that this pillar describes, empty for none), and held (how many routes
    :func:`hold_routes` has added).

    CLI Example:

    .. code-block:: bash

        salt '*' calico.own_place
    """
    checked = _settings()
    node = _declared(checked)["node"]
    mesh, peers = checked["network"]["mesh"], checked["network"]["peers"]
    described = hashlib.sha256(repr((mesh, peers)).encode("utf-8")).hexdigest()
    texts = [_host_reading(calico_host.routes_text, family=family) for family in BIRD_SOCKETS]
    return {
        "name": node["name"],
        "labels": node.get("labels"),
        "route_reflector_cluster_id": node.get("route_reflector_cluster_id") or "",
        "described": "" if mesh is None and not peers else described,
        "held": sum(map(calico_hold.held, texts)),
    }


def hold_routes(seconds=900):
    """
    Keep the ways to other hosts' blocks while BGP sessions are made anew.

    Adds to each route of BIRD a copy that counts only while BIRD has withdrawn its own. They go with
    :func:`release_routes`, and by themselves when the time is over.

    seconds
        For how long, from now (int).

    Returns how many there are (int).

    Raises CommandExecutionError for another value, and where the kernel refuses a route or systemd the timer.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.hold_routes 300
    """
    _argument("seconds", calico_values.integer(1, calico_values.DAY), seconds)
    _end_hold()
    removal = "; ".join(" ".join(calico_hold.removal(family)) for family in BIRD_SOCKETS)
    timer = ["systemd-run", "--quiet", "--collect", "--unit=" + HOLD, "--on-active=%d" % seconds]
    timer.append("--timer-property=AccuracySec=1s")
    # First the end, then the beginning: routes that nobody removes would outlive their blocks.
    _host_reading(calico_host.run, argv=[*timer, "/bin/sh", "-c", removal], timeout=COMMAND_DEADLINE)
    held = 0
    for family in BIRD_SOCKETS:
        lines = calico_hold.additions(_host_reading(calico_host.routes_text, family=family))
        if lines:
            batch = ["ip", "-%d" % family, "-batch", "-"]
            text = "\n".join(lines) + "\n"
            _host_reading(calico_host.run, argv=batch, timeout=COMMAND_DEADLINE, text=text)
        held += calico_hold.held(_host_reading(calico_host.routes_text, family=family))
    return held


def release_routes():
    """
    Remove what :func:`hold_routes` has added.

    Returns how many there were (int).

    CLI Example:

    .. code-block:: bash

        salt '*' calico.release_routes
    """
    held = 0
    for family in BIRD_SOCKETS:
        found = calico_hold.held(_host_reading(calico_host.routes_text, family=family))
        if found:
            _host_reading(calico_host.run, argv=calico_hold.removal(family), timeout=COMMAND_DEADLINE)
        held += found
    _end_hold()
    return held


def _end_hold():
    """The timer goes; that there is none is as good."""
    with contextlib.suppress(CommandExecutionError):
        _host_reading(calico_host.run, argv=["systemctl", "stop", HOLD + ".timer"], timeout=COMMAND_DEADLINE)


def pools_used():
    """
    The IP pools with what still uses each of them.

    Returns a list of dicts: cidr, name (Calico 3), disabled, kind, apiVersion, and users, ``{node:
    {workloads (their number), names (the first 20), addresses (in use in its blocks)}}``.

    Raises CommandExecutionError where the datastore cannot be read: that is never an empty list.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.pools_used
    """
    return calico_pools.used(_cluster(_settings(), "bgp", "pools", "workloads", "blocks"))


def migration():
    """
    What etcd holds of Calico 2.6 and of Calico 3: where a move from one to the other stands.

    Returns ``{v1, v3}``, each a dict with nodes (names), ready (False: paused or locked, None: never
    set) and error (text where these keys cannot be read, else None).

    Holds for a pillar of either generation, with etcd.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.migration
    """
    checked = _settings()
    return calico_migration.read(lambda: _etcd(checked))


# --- the datastore ---------------------------------------------------------------------------------


def _etcd(checked):
    # What stands around the blocks may be in any encoding, and is none of OpenSSL's business.
    texts = {part: calico_pem.readable(part, pem) for part, pem in _certificates(checked).items()}
    return calico_etcd.Client(
        checked["etcd"]["endpoints"],
        tls=texts,
        username=checked["etcd"]["username"],
        password=checked["etcd"]["password"],
        deadline=checked["calicoctl"]["timeout"],
    )


def _cluster(checked, *parts):
    """What the datastore holds of these parts; unreachable is an error, never an empty answer."""
    try:
        return _read_cluster(checked, parts, lambda: _etcd(checked))
    except calico_datastore.Unavailable as err:
        raise CommandExecutionError(str(err)) from err


def _is_away(err):
    """Whether the datastore could not be reached, so that it is worth asking once more."""
    cause = err.__cause__
    unreadable = isinstance(cause and cause.__cause__, calico_topology.Unreadable)
    return isinstance(cause, calico_datastore.Unavailable) and not unreadable


def _hurried(checked, seconds):
    """The settings, for calls to the datastore that are to end by then, also where it hangs."""
    given = checked["calicoctl"]
    return dict(checked, calicoctl=dict(given, timeout=max(1, min(given["timeout"], seconds))))


def _patiently(function, seconds):
    """What a function returns that reads the datastore; one that is away for a moment is waited for."""
    end = time.monotonic() + seconds
    while True:
        try:
            return function()
        except CommandExecutionError as err:
            if not _is_away(err) or time.monotonic() >= end:
                raise
        time.sleep(REPOLL)


def _read_cluster(checked, parts, etcd):
    return calico_datastore.cluster(
        checked["datastore"],
        parts,
        etcd=etcd,
        calicoctl=lambda kind: _list_kind(kind, **_ctl_options(checked)),
    )


def _list_kind(kind, **how):
    """All resources of a kind, as calicoctl reads them; also while the cluster is being upgraded."""
    options = {"all-namespaces": True} if kind in NAMESPACED else {}
    return calico_ctl.get(kind, options=options, allow_version_mismatch=True, **how)


def expected_peers():
    """
    The BGP sessions that this node must have, from the nodes, the mesh setting and the peers in the
    datastore.

    Returns a list of dicts: name (of BIRD's protocol), type, address, port, as_number, and node (the
    neighbour's name, where it is a node).

    A node whose backend is not BIRD (``calico:node:backend``) has none.

    Raises CommandExecutionError where the datastore cannot be read, or does not know this node.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.expected_peers
    """
    checked = _settings()
    return _expected(checked, _cluster(checked, "bgp"))


def _expected(checked, cluster):
    return _typed(_sessions(checked, cluster))


def _typed(sessions):
    """Their kinds in the words that calicoctl and :func:`peers` have for them."""
    return [dict(session, type=calico_ready.SESSION_TYPES[session["type"]]) for session in sessions]


def _sessions(checked, cluster, absent=None):
    """The sessions that there must be; those with nodes that are known to be away are not among them."""
    absent = set(checked["ready"]["absent_nodes"]) if absent is None else absent
    if checked["node"]["backend"] != "bird":
        return []
    try:
        sessions = calico_topology.expected_sessions(cluster, _node_name(checked))
    except calico_topology.NotRegistered as err:
        raise CommandExecutionError(str(err)) from err
    return [session for session in sessions if session["node"] not in absent]


def ready(timeout=0, exact=False, brief=False):
    """
    Does this node have everything that the datastore says it must have?

    The service runs, Felix is ready and stays up, the node is registered with an address that it has,
    every session with another registered node or configured peer is Established, and the kernel has a
    route to every block of addresses that those nodes must tell this one of
    (:func:`calico_ready.blocks_to_learn`). Nodes in ``calico:ready:absent_nodes`` are not waited for.

    timeout
        How long to wait for it to become true, in seconds (number); a datastore that is away meanwhile is
        waited for, too. 0 looks once; where nothing but routes is missing, for two seconds: so long may a
        new block take. As long is a Felix looked at that was started in the last half minute.
    exact
        True also wants that BIRD has no other sessions than these, and each as what the datastore asks for
        (bool): after a change of the topology, an old one may still be there for a moment.
    brief
        True returns only node, ready, reasons (the first of them) and waited (bool).

    Returns what :func:`status` returns, with ``node`` (this node's name), ``expected`` (as
    :func:`expected_peers`), ``missing`` (each expected session that is not Established: address, port,
    node, type, state, reason, since, and for how many seconds), ``routes`` (how many blocks are
    expected, which are missing), ``log`` (what calico-node said last, where it or Felix does not run as it
    should) and ``waited`` (seconds); ``reasons`` says the same in words. The return code is 1 where the
    node is not ready.

    Raises CommandExecutionError where the datastore cannot be read, also at the end of that time: with the
    last cause, and what the host itself shows.

    Holds for Calico 2.6 and 3.x. With the datastore kubernetes no routes are looked at: calicoctl does
    not show which node has which block.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.ready timeout=30
    """
    _timeout(timeout)
    checked = _settings()
    begin = time.monotonic()
    end = begin + timeout
    steady = calico_ready.Steady()
    while True:
        # One reading of the datastore serves for some looks at BIRD: a thousand waiting nodes must
        # not make a thousand readings of a thousand nodes each moment.
        try:
            hurried = _hurried(checked, end - time.monotonic()) if timeout else checked
            cluster = _cluster(hurried, *_READY_PARTS, *_where_nodes_are(checked))
        except CommandExecutionError as err:
            if not _is_away(err):
                raise
            if time.monotonic() >= end:
                if not timeout:
                    raise
                raise _unread(err, begin) from err
            time.sleep(REPOLL)
            continue
        read_at = time.monotonic()
        own = _own_addresses()
        result, grace = _look_once(checked, cluster, own, exact, steady)
        end = max(end, begin + grace(timeout))
        while not result["ready"] and time.monotonic() < min(read_at + REREAD, end):
            time.sleep(POLL)
            result, grace = _look_once(checked, cluster, own, exact, steady)
            end = max(end, begin + grace(timeout))
        # Ready by an old reading is no proof: another node may have registered since.
        if result["ready"] and time.monotonic() - read_at < FRESH:
            break
        if time.monotonic() >= end:
            break
        if not result["ready"]:
            time.sleep(POLL)
    result["waited"] = round(time.monotonic() - begin, 2)
    if not result["ready"]:
        __context__["retcode"] = 1
        result["reasons"] = _with_last_words(result)
    if brief:
        reasons = [calico_view.short(reason) for reason in result["reasons"][: calico_view.MOST_REASONS]]
        return dict({key: result[key] for key in ("node", "ready", "waited")}, reasons=reasons)
    result["log"] = _last_words() if result.pop("failing", False) else []
    return result


def _look_once(checked, cluster, own, exact, steady):
    """The verdict of this moment, and what is made of the time that was asked for: some is worth more."""
    result = _ready_now(checked, cluster, own, exact, steady)
    grace = _no_longer
    if calico_ready.only_routes(result):
        grace = functools.partial(max, GRACE)
    unsteady = steady.missing(time.monotonic())
    if unsteady:
        if result["ready"] and not steady.restarts:
            grace = _long_enough
        failing = bool(result.get("failing") or steady.restarts)
        result = dict(result, ready=False, reasons=[*result["reasons"], unsteady], failing=failing)
    return result, grace


def _steadily(steady, health, look):
    """What a function shows of the node, whose word of Felix counts for its steadiness."""
    # Before it is asked: the answer of another one cannot count for this one.
    who, age = (None, None) if health["off"] else calico_probe.listener(health["port"], aged=steady.new)
    shown = look()
    felix = shown["felix"]
    steady.saw(felix["ready"] if isinstance(felix, dict) else felix, who, age, time.monotonic())
    return shown


def _no_longer(timeout):
    return timeout


def _long_enough(timeout):
    """Who is ready only now has time to show it, and a little more for the look that shows it."""
    return timeout + calico_ready.HOLD + 1


def _unread(err, begin):
    """The end of a wait for a datastore that cannot be read."""
    look = _look()
    reasons = [str(err), *calico_ready.own_reasons(look)]
    said = _last_words() if not look["service"]["active"] else []
    text = "%s\nWaited %d s." % ("\n".join(reasons), time.monotonic() - begin)
    return CommandExecutionError("\n".join([text, *(["calico-node said:", *said] if said else [])]))


_READY_PARTS = ("bgp", "pools", "affinities")


def _where_nodes_are(checked):
    """What must be read beside BGP's part to see all nodes: in 2.6 one without BGP is not in it."""
    alone = checked["datastore"] == "etcdv2" and checked["node"]["backend"] == "none"
    return ("workloads",) if alone else ()


def _ready_now(checked, cluster, own, exact=False, steady=None):
    name, backend = _node_name(checked), checked["node"]["backend"]
    health = calico_container.health(calico_container.environment(checked))
    steady = steady or calico_ready.Steady()
    look = _steadily(steady, health, lambda: _look(backend, health))
    known = name in cluster.nodes
    sessions = _sessions(checked, cluster) if known else []
    blocks = []
    if known:
        absent = set(checked["ready"]["absent_nodes"])
        blocks = calico_ready.blocks_to_learn(cluster, name, sessions, backend, absent)
    families = sorted({6 if ":" in block["cidr"] else 4 for block in blocks})
    prefixes = calico_felix.interface_prefixes(checked)
    rows = []
    try:
        for family in families:
            rows.extend(calico_host.kernel_routes(family=family, prefixes=prefixes))
    except calico_host.HostError as err:
        # A busy host may have no answer in time; the next look has.
        look["errors"].append("the kernel's routes cannot be read: %s" % err)
        blocks = []
    strange = calico_registration.strange(cluster.nodes.get(name), backend, own)
    # Those with nodes that are away are not waited for, and belong there all the same.
    allowed = _sessions(checked, cluster, absent=()) if exact and known else None
    judged = calico_ready.verdict(look, name, backend, known, sessions, blocks, rows, strange, allowed)
    failing = not look["service"]["active"] or look["felix"]["ready"] is False
    return dict(_shown_of(look), node=name, expected=_typed(sessions), failing=failing, **judged)


def overview(datastore=False):
    """
    What ``salt-run calico.mesh`` asks every node, in few bytes: a thousand answers meet on the master.

    datastore
        True adds what the datastore holds for all: nodes, pools and how full they are (bool).

    Returns a dict: node (its name), addresses and as_number as registered, backend, absent (nodes that
    are not waited for), reasons (text: what keeps the node from being ready, sessions apart), error
    (text, where the datastore cannot be read or does not know the node, else None), up, down, extra and
    extras (its sessions, see ``calico_view.view``), wanted and image (the image that the pillar asks for,
    and the one that runs), certificates (when they end: ``{ca, cert}``), and with ``datastore`` datastore
    (see ``calico_view.summary``).

    Raises CommandExecutionError where the pillar cannot be used; with ``datastore`` also where the
    datastore cannot be read.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.overview
    """
    checked = _settings()
    name = _node_name(checked)
    own, expected, error = {}, None, None
    try:
        cluster = _cluster(checked, "bgp")
        own = cluster.nodes.get(name) or {}
        expected = _expected(checked, cluster) if own else []
        error = None if own else "the datastore knows no node %s" % name
    except CommandExecutionError as err:
        error = calico_view.short(err)
    found = _look()
    reasons = [calico_view.short(reason) for reason in calico_ready.own_reasons(found)]
    families = [family for family in BIRD_SOCKETS if "IPv%d" % family in found["bird"]]
    result = {
        "node": name,
        "addresses": [own[key] for key in ("ipv4", "ipv6") if own.get(key)],
        "as_number": own.get("as_number"),
        "backend": checked["node"]["backend"],
        "absent": checked["ready"]["absent_nodes"],
        "reasons": reasons[: calico_view.MOST_REASONS],
        "error": error,
        "wanted": checked["image"],
        "image": _running_image(),
        "certificates": _certificate_ends(checked),
        **calico_view.view(expected, found["sessions"], families),
    }
    if datastore:
        cluster = _cluster(checked, "bgp", "pools", "blocks", "ready")
        if not cluster.blocks:
            cluster = _cluster(checked, "bgp", "pools", "workloads", "ready")
        result["datastore"] = calico_view.summary(cluster)
    return result


def _running_image():
    try:
        running = _container()
    except CommandExecutionError:
        return None
    return running["Config"]["Image"] if running else None


def _certificate_ends(checked):
    try:
        return calico_pem.ends(_certificates(checked))
    except CommandExecutionError:
        return {}


def remains(node):
    """
    What the datastore holds of a node: what ``salt-run calico.decommission`` removes, and looks for
    afterwards.

    node
        Name of the node (text).

    Returns a dict with datastore (its kind), meant (a node that is spelt in another way or has this as its
    address, or None), registered (bool), addresses, port (where its BIRD listens), workloads (names), blocks
    (``[[block, addresses in use], …]``), peers (``[{words, label}, …]`` of the node's own), naming
    (labels of the peers that name the node's address), settings (``bgp`` and ``felix``, where there are
    any for this node alone) and tunnels (addresses).

    Raises CommandExecutionError where the datastore cannot be read.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.remains node3
    """
    checked = _settings()
    cluster = _cluster(checked, "bgp", "felix", "workloads", "blocks")
    return {"datastore": checked["datastore"], **calico_removal.remains(cluster, node)}


def registered(timeout=0):
    """
    Has this node registered in the datastore? It does so at the end of a start that went well: that the
    datastore has an entry of it, perhaps of an earlier start, is not enough.

    timeout
        How long to wait for it, in seconds (number); a datastore that is away meanwhile is waited for, too.

    Returns ``{registered, node, address, reason, log}``; where it has not registered, ``reason`` says why
    (text), and ``log`` holds what calico-node said last.

    Raises CommandExecutionError where the datastore cannot be read, also at the end of that time.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.registered
    """
    end = time.monotonic() + _timeout(timeout)
    checked = _settings()
    name = _node_name(checked)
    runs_since = None
    while True:
        node = away = None
        try:
            hurried = _hurried(checked, end - time.monotonic()) if timeout else checked
            node = _cluster(hurried, "bgp", *_where_nodes_are(checked)).nodes.get(name)
        except CommandExecutionError as err:
            if not _is_away(err):
                raise
            away = err
        service = calico_host.service_state(UNIT)
        runs_since = (runs_since or time.monotonic()) if service["active"] else None
        reason = _not_started(service, runs_since)
        if not reason and not node:
            reason = "the datastore knows no such node"
        if not reason or time.monotonic() >= end or _fails_again_and_again():
            break
        time.sleep(0.5)
    if away:
        said = ["calico-node said:", *_last_words()] if not service["active"] else []
        raise CommandExecutionError("\n".join([str(away), *said]))
    return {
        "registered": not reason,
        "node": name,
        "address": (node["ipv4"] or node["ipv6"]) if node else None,
        "reason": reason,
        "log": _last_words() if reason else [],
    }


def _not_started(service, runs_since):
    """Why it is not certain that the start under way went well (text), or None."""
    backend, health = _looked_for(_settings_if_any())
    seconds = service["seconds"]
    if seconds is None and runs_since is not None:
        seconds = time.monotonic() - runs_since
    listens = None if health["off"] else calico_probe.listener(health["port"])[0]
    birds = _birds()[1] if service["active"] and backend == "bird" and not listens else {}
    return calico_registration.not_started(service, listens, birds, seconds)


def _fails_again_and_again():
    """Whether calico-node was started so often that waiting is no use: about as long as etcd may be away."""
    done = _command(["systemctl", "show", "--property=NRestarts", "--value", UNIT])
    return done.stdout.strip().isdigit() and int(done.stdout) >= RESTARTS


def _with_last_words(found):
    """The reasons of a node that is not ready; Felix' own where it does not stay up."""
    if found["felix"]["ready"] is not False or not found["service"]["active"]:
        return found["reasons"]
    text = _end_of(FELIX_LOG)
    with contextlib.suppress(CommandExecutionError):
        text += "\n".join(["", *_journal(LOG_LINES)])
    now = datetime.datetime.now(datetime.timezone.utc)
    words = calico_host.felix_last_words(text, now, RECENT)
    return found["reasons"] + (["Felix does not stay up; its last words: %s" % words] if words else [])


def _end_of(path):
    try:
        with open(path, "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_BYTES, 0))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _journal(lines):
    done = _command(["journalctl", "--unit", UNIT, "--lines", str(lines), "--output=cat", "--quiet"])
    return done.stdout.splitlines()


def _last_words():
    """What calico-node said last (list of text)."""
    try:
        return calico_host.last_words(_journal(LAST_LINES))
    except CommandExecutionError as err:
        return [str(err)]


# --- rolling back ----------------------------------------------------------------------------------


def remember():
    """
    Before files change: note what is up, and keep the files that it is up with.

    Nothing is written where no other container is due (:func:`drift`), or where an earlier change has not
    been proven and is no better than what was before it: that is still to be compared with.

    Returns ``{noted, kept}``: whether what is up was noted, and whether the files were kept (bool).

    Raises CommandExecutionError where the runtime gives no answer, or the disk takes no file.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.remember
    """
    checked = _settings()
    if not _drift(checked, _certificates(checked), _running_container(checked)):
        return {"noted": False, "kept": False}
    now = _seen(checked, _running())
    earlier = _kept(UNPROVEN, calico_rollback.recorded)
    if earlier and calico_rollback.worse(earlier, now):
        return {"noted": False, "kept": False}
    kept = calico_rollback.is_good(now) and _keep(checked)
    _write_private(UNPROVEN, calico_rollback.record(now))
    return {"noted": True, "kept": kept}


def proven():
    """
    The node is ready: its files are the last good ones from now on.

    They are kept in ``/var/lib/calico-formula`` (mode 0700, the file 0600), with the keys that are
    among them; written only where they differ from the ones that are kept. Files that were changed
    after the container was started are not what was proven, and are not kept.

    Returns True if they were written.

    Raises CommandExecutionError where the runtime gives no answer, or the disk takes no file.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.proven
    """
    kept = _keep(_settings())
    _forget(UNPROVEN)
    return kept


def recover():
    """
    The gate has failed: with ``calico:on_failure: rollback``, go back to the last good files.

    That is done where something was changed since the node was last ready, and something of this
    node's own that was up before is not up now: service, Felix, BIRD, its registration, or all
    sessions of an address family. Single sessions do not count: a neighbour may have died.

    Returns what :func:`roll_back` returns, ``comment`` also says why nothing was done.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.recover
    """
    checked = _settings()
    back = checked["on_failure"] == "rollback"
    before = _kept(UNPROVEN, calico_rollback.recorded)
    if not before:
        if not back:
            return _not_rolled_back("")
        if not os.path.exists(LAST_GOOD):
            return _not_rolled_back("There is nothing to roll back to: the node has not been ready yet.")
        return _not_rolled_back("Not rolled back: nothing was changed since the node was last looked at.")
    now = _seen(checked)
    worse = calico_rollback.worse(before, now)
    if not worse:
        lost = calico_rollback.lost(before, now)
        if not lost and calico_rollback.is_good(now):
            _keep(checked)
        _forget(UNPROVEN)
        text = "Not rolled back: what is this node's own and was up before the change is up."
        if lost:
            text += " Of its sessions those with %s are not, others are." % ", ".join(lost)
        return _not_rolled_back(text)
    because = "Since the change: %s." % ", ".join(worse)
    if not os.path.exists(LAST_GOOD):
        return _not_rolled_back(because + " There is nothing to roll back to: no files have been kept.")
    if not back:
        return _not_rolled_back(
            because
            + " The last good files are kept: calico.roll_back puts them back (calico:on_failure is stop)."
        )
    try:
        done = roll_back()
    except CommandExecutionError as err:
        return _not_rolled_back("%s Rolling back failed: %s" % (because, err))
    return dict(done, comment="%s %s" % (because, done["comment"]))


def _not_rolled_back(comment):
    return {"rolled_back": False, "up": False, "restored": [], "comment": comment}


def roll_back(timeout=None):
    """
    Put the last good files back and restart calico-node with them.

    Unit, environment, certificates, ``calicoctl.cfg`` and the CNI configuration are put back as they
    were when the node was last ready, files that were not there are removed, systemd reads its unit
    anew, and calico-node is restarted unless it runs from those files already. Nothing is put back
    where the image of that time is not on the host any more, or docker gives no answer.

    timeout
        How long to wait until what was up before the change is up again, in seconds (number). Without
        it ``calico:ready:timeout``.

    Returns ``{rolled_back, up, restored, comment}``: whether files were put back or the service was
    restarted, whether all is up again (bool), the paths of the files that differed (list), and the same
    in words.

    Raises CommandExecutionError where nothing is kept, or it cannot be put back.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.roll_back timeout=60
    """
    if timeout is not None:
        _timeout(timeout)
    checked = _settings()
    good = _kept(LAST_GOOD, calico_rollback.unpack)
    if not good:
        raise CommandExecutionError("There is nothing to roll back to: no files have been kept")
    before = _kept(UNPROVEN, calico_rollback.recorded)
    _image_of(checked, good["image"])
    restored = [path for path, found in good["files"].items() if _put_back(path, found)]
    _systemctl("daemon-reload")
    unit = good["files"][calico_rollback.UNIT_FILE]
    environment = good["files"].get(calico_rollback.ENVIRONMENT_FILE)
    restart = not _runs_from(
        unit[1] if unit else b"", environment[1] if environment else b"", good["image"]["id"]
    )
    if restart:
        _systemctl("restart", UNIT)
    worse = _wait_for(checked, before, checked["ready"]["timeout"] if timeout is None else timeout)
    if not worse:
        _forget(UNPROVEN)
    what = "The last good files are in place again (%s)" % (", ".join(restored) or "none differed")
    if restart:
        what += ", and calico-node was restarted with them"
    up = "but " + ", ".join(worse) if worse else "what was up before the change is up again"
    return {
        "rolled_back": bool(restored) or restart,
        "up": not worse,
        "restored": restored,
        "comment": "%s: %s." % (what, up),
    }


def _running():
    """What the running container was started with: its node's name, backend and where Felix is asked."""
    given = calico_container.environment_of(_container())
    health = calico_container.health(given)
    return {
        "node": given.get("NODENAME") or os.uname().nodename,
        "backend": given.get("CALICO_NETWORKING_BACKEND") or "bird",
        "felix_port": health["port"],
        "health": health,
    }


def _seen(checked, of=None):
    """What is up, of the node as the settings have it, or as OF says; the datastore may be away."""
    name = of["node"] if of else _node_name(checked)
    backend = of["backend"] if of else checked["node"]["backend"]
    health = _health_of(of) if of else calico_container.health(calico_container.environment(checked))
    registered = expected = None
    try:
        cluster = _cluster(checked, "bgp", *_where_nodes_are(checked))
        registered = name in cluster.nodes
        if registered and backend == "bird":
            absent = set(checked["ready"]["absent_nodes"])
            sessions = calico_topology.expected_sessions(cluster, name)
            expected = [session for session in sessions if session["node"] not in absent]
    except CommandExecutionError:
        # What the host itself shows can be compared all the same.
        pass
    look = _look(backend, health)
    return calico_rollback.seen(look, name, backend, health["port"], registered, expected, health)


def _wait_for(checked, before, timeout):
    """Until what was up BEFORE is up again; what is not by then (list of text)."""
    if not before:
        try:
            return ready(timeout)["reasons"]
        except CommandExecutionError as err:
            return [str(err)]
    end = time.monotonic() + timeout
    latest = time.monotonic() + _long_enough(timeout)
    steady = calico_ready.Steady()
    while True:
        now = _steadily(steady, _health_of(before), lambda: _seen(checked, before))
        worse = calico_rollback.worse(before, now)
        unsteady = steady.missing(time.monotonic()) if before["felix"] else None
        if unsteady and not worse and not steady.restarts:
            end = latest
        worse += [unsteady] if unsteady else []
        if not worse or time.monotonic() >= end or _fails_again_and_again():
            return worse
        time.sleep(POLL)


def _health_of(before):
    """Where Felix was asked; a record of an earlier release has only the port."""
    return before.get("health") or calico_container.health({"FELIX_HEALTHPORT": str(before["felix_port"])})


def _systemctl(*words):
    done = _command(["systemctl", *words], 4 * COMMAND_DEADLINE)
    if done.returncode:
        raise CommandExecutionError("systemctl %s: %s" % (" ".join(words), done.stderr.strip()))


def _runs_from(unit, environment, image_id):
    running = _container()
    # Files may be of any age: only the label tells, and the values that are not in it.
    return (
        bool(running)
        and running.get("Image") == image_id
        and calico_rollback.is_what_runs(unit, 0, running)
        and calico_rollback.has_values(environment, running)
    )


def _image_of(checked, kept):
    """The image of the last good files is there, under the name that their unit has for it."""
    named = _inspect(_engine().image, kept["name"])
    if named and named["Id"] == kept["id"]:
        return
    if not _inspect(_engine().image, kept["id"]):
        raise CommandExecutionError(
            "image %s (%s) is not on the host any more: nothing was put back" % (kept["name"], kept["id"])
        )
    _runtime(checked, "tag", kept["id"], kept["name"])


def _keep(checked):
    """Keep the files on the disk, if the running container was started with them; whether it wrote."""
    running = _container()
    files = {path: _file(path) for path in calico_rollback.paths(checked, CALICOCTL_CONFIG)}
    read = [path for path in calico_rollback.read_by_container(checked) if files[path]]
    environment = files[calico_rollback.ENVIRONMENT_FILE]
    # Written since for what a container that runs does not look at.
    if environment and calico_rollback.has_values(environment[1], running, missing=True):
        read.remove(calico_rollback.ENVIRONMENT_FILE)
    unit = files[calico_rollback.UNIT_FILE]
    if not unit or not calico_rollback.is_what_runs(unit[1], max(map(os.path.getmtime, read)), running):
        return False
    image_of = {"name": running["Config"]["Image"], "id": running["Image"]}
    text = calico_rollback.pack(files, image_of)
    kept = _file(LAST_GOOD)
    if kept and _is_own(LAST_GOOD) and kept[1].decode("utf-8", "replace") == text:
        return False
    _write_private(LAST_GOOD, text)
    return True


def _kept(path, read):
    """What lies in a file of the formula's memory, or None where there is no such file."""
    found = _file(path)
    # What anybody may have written is nothing to go back to: it would be put in place as root's.
    if not found or not _is_own(path):
        return None
    try:
        return read(found[1].decode("utf-8", "replace"))
    except calico_rollback.Unusable as err:
        raise CommandExecutionError("%s: %s; remove it" % (path, err)) from err


def _file(path):
    """(mode, contents) of a file, or None where there is none."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mode & 0o7777, file.read()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise CommandExecutionError("cannot read %s: %s" % (path, err.strerror)) from err


def _is_own(path):
    """Whether nobody but root can have written a file, nor put another one in its place."""
    try:
        return all(map(calico_sources.is_own, (path, os.path.dirname(path))))
    except OSError:
        return False


def _put_back(path, found):
    """Make a file what it was, (mode, contents) or None, and root's; whether it was anything else."""
    if _file(path) == found and (found is None or calico_sources.is_own(path)):
        return False
    if found is None:
        _forget(path)
    else:
        _write_file(path, *found)
    return True


def _write_private(path, text):
    try:
        os.makedirs(MEMORY, mode=0o700, exist_ok=True)
        os.chown(MEMORY, os.geteuid(), os.getegid())
        os.chmod(MEMORY, 0o700)
    except OSError as err:
        raise CommandExecutionError("cannot make %s: %s" % (MEMORY, err.strerror)) from err
    _write_file(path, 0o600, text.encode("utf-8"))


def _write_file(path, mode, contents):
    """In one step, and at no moment readable for more than MODE says: a run may be killed anywhere."""
    new = path + ".new"
    try:
        _forget(new)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(contents)
            file.flush()
            # A directory may give its own group to what is made in it.
            os.fchown(file.fileno(), os.geteuid(), os.getegid())
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as err:
        _forget(new)
        raise CommandExecutionError("cannot write %s: %s" % (path, err.strerror)) from err


def _forget(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as err:
        raise CommandExecutionError("cannot remove %s: %s" % (path, err.strerror)) from err


def pools():
    """
    The IP pools in the datastore, in the words of calicoctl.

    Returns a list of resources (dicts), as ``calicoctl get ipPool -o yaml`` shows them.

    Raises CommandExecutionError where the datastore cannot be read: that is never an empty list.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.pools
    """
    return _cluster(_settings(), "pools").pools


def declared():
    """
    What the pillar declares of the datastore, in the form that :func:`plan` takes.

    Returns a dict with pools, peers and resources (lists), and bgp, felix and node (dicts); node is
    this minion's own.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.declared
    """
    return _declared(_settings())


def _declared(checked):
    network, node = checked["network"], checked["node"]
    own = {"mesh": network["mesh"], "as_number": network["as_number"]}
    described = {
        "labels": node["labels"] or None,
        "route_reflector_cluster_id": node["route_reflector_cluster_id"],
    }
    return {
        "pools": network["pools"],
        "peers": network["peers"],
        "resources": network["resources"],
        "bgp": {"name": "default", **network["bgp"], **_said(own)},
        "felix": {"name": "default", **network["felix"]},
        "node": {"name": _node_name(checked), **_said(described)},
    }


def _said(words):
    return {word: value for word, value in words.items() if value is not None}


def node_name():
    """
    The name of this minion's node in the datastore.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.node_name
    """
    return _node_name(_settings())


def plan(what, wanted=(), absent=(), prune=False, allow=None):
    """
    What it takes to bring resources of the datastore to the described state. Nothing is changed.

    what
        ``pool``, ``peer``, ``bgp`` (BGP settings of the cluster), ``felix`` (Felix' settings of the
        cluster), ``node``, or ``resource`` for resources of any kind as calicoctl writes them (text).
    wanted
        What shall be there, each in the pillar's words or, for ``resource``, in calicoctl's (list of
        dicts).
    absent
        What shall not be there, likewise (list of dicts).
    prune
        True also removes every resource of the kind that is not wanted (bool).
    allow
        Dangerous changes that are to be made nevertheless, as ``calico:network:allow`` lists them
        (list of text); added to those of the pillar.

    Returns ``{changes, refused, steps, notes}``: changes as ``{name: {field: {old, new}}}``, secrets
    masked; refused with a text for each change that would do harm; steps as a list of ``{name, action}``;
    notes with a text for each pool that has another name and keeps it.

    Raises CommandExecutionError where a description is wrong (every problem is named) or the
    datastore cannot be read.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.plan pool '[{cidr: 172.20.0.0/16, ipip: always}]'
    """
    made = _plan(_settings(), what, wanted, absent, prune, allow, planned=True)
    return {
        "changes": made.changes,
        "refused": [_refusal(item) for item in made.refused],
        "steps": [{"name": step.name, "action": step.action} for step in made.steps],
        "notes": made.notes,
    }


def _plan(checked, what, wanted, absent, prune, allow, planned=False):
    """
    The plan, from a fresh reading. What needs no change costs one reading of its own kind only.

    planned
        The plan is only looked at: what the pillar declares that comes before it counts as written,
        as it will be by the time that this is carried out.
    """
    try:
        calico_plan.check(what, wanted, absent, checked["generation"], prune, () if allow is None else allow)
        allow = {*checked["network"]["allow"], *(allow or ())}
        cluster = _reading(checked, what, [*wanted, *absent])
        found = calico_plan.steps(cluster, what, wanted, absent, prune, allow)
        notes = calico_plan.notes(cluster, what, wanted)
        if not found:
            return calico_plan.Plan([], [], notes)
        # Whatever the safety rules look at, read at about the same time as the resources themselves.
        cluster = _reading(checked, what, [*wanted, *absent], *JUDGED)
        if not cluster.ready:
            raise CommandExecutionError(LOCKED)
        found = calico_plan.steps(cluster, what, wanted, absent, prune, allow)
        others = _steps_before(checked, cluster, what) if planned else []
        made = calico_plan.plan(cluster, found, allow, others)
        made.notes = notes
        return made
    except calico_resources.Problems as err:
        problems = "\n".join(calico_settings.problem_text(_shown(item)) for item in err.problems)
        raise CommandExecutionError(problems) from err


def _steps_before(checked, cluster, what):
    """What `calico.network` writes of the BGP sessions before it comes to this: peers, node, settings."""
    declares = _declared(checked)
    before = {"node": ("peer",), "bgp": ("peer", "node")}.get(what, ())
    items = {"peer": declares["peers"], "node": [declares["node"]]}
    return [step for kind in before for step in calico_plan.steps(cluster, kind, items[kind])]


def _shown(item):
    return calico_settings.problem(item["setting"], item["given"], item["accepted"])


def _reading(checked, what, items, *parts):
    """The cluster with these parts, and with the resources of the kinds in question."""
    generation = checked["generation"]
    kinds = {calico_plan.kind_of(what, item, generation) for item in items}
    if what != "resource":
        kinds.add(calico_kinds.DECLARED[what][generation])
    known = calico_datastore.KINDS
    parts = {*parts, *(known[kind] for kind in kinds if kind in known)}
    # The settings that `calicoctl config` knows lie in two places.
    if generation == "v1" and what in ("bgp", "felix"):
        parts |= {"bgp", "felix"}
    cluster = _cluster(checked, *sorted(parts))
    for kind in sorted(kinds):
        if kind not in known:
            cluster.resources[kind] = _calicoctl(_list_kind, kind)
    return cluster


def _refusal(item):
    text = "%(resource)s: %(seen)s. Instead: %(do)s" % item
    if not item["allow"]:
        return text
    return "%s. To do it nevertheless: %s in calico:network:allow" % (text, item["allow"])


def converge(what, wanted=(), absent=(), prune=False, allow=None):
    """
    Bring resources of the datastore to the described state.

    Reads, compares, writes what differs, and reads again: what is reported as changed was seen to be
    so. Resources that another minion changes at the same time are read again and written at most
    thrice; with Calico 3 every write carries the ``resourceVersion`` that was read. What the
    description does not name stays as it is.

    what
        As for :func:`plan` (text).
    wanted
        As for :func:`plan` (list of dicts).
    absent
        As for :func:`plan` (list of dicts).
    prune
        As for :func:`plan` (bool).
    allow
        As for :func:`plan` (list of text).

    Returns ``{changes, refused, failed, notes}``: changes that were made, as ``{name: {field: {old,
    new}}}``; refused and notes as :func:`plan` returns them, where something is refused nothing was
    changed; failed holds what kept the rest from being written (text), or None. The return code is 1
    where it was refused or failed.

    Raises CommandExecutionError where a description is wrong or the datastore cannot be read: nothing
    was changed then.

    Holds for Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.converge peer '[{peer_ip: 10.0.0.9, as_number: 64900}]'
    """
    checked = _settings()
    changes = {}
    failed = None
    made = _plan(checked, what, wanted, absent, prune, allow)
    if made.refused:
        __context__["retcode"] = 1
        refused = [_refusal(item) for item in made.refused]
        return {"changes": {}, "refused": refused, "failed": None, "notes": made.notes}
    for _attempt in range(ATTEMPTS):
        if not made.steps:
            break
        again = False
        failed = None
        try:
            _write(checked, made.steps)
        except calico_ctl.CtlError as err:
            failed = _ctl_text(err)
            reason = err.reason if isinstance(err, calico_ctl.PartialSuccess) else err
            again = isinstance(reason, calico_ctl.AGAIN)
            if isinstance(reason, calico_ctl.Unreachable):
                time.sleep(PAUSE)
        before = made
        try:
            plan_again = functools.partial(_plan, checked, what, wanted, absent, prune, allow)
            made = _patiently(plan_again, checked["calicoctl"]["timeout"])
        except CommandExecutionError as err:
            names = ", ".join(step.name for step in before.steps)
            failed = "%s may have been written, and nobody can say: %s" % (names, failed or err)
            __context__["retcode"] = 1
            return {"changes": changes, "refused": [], "failed": failed, "notes": before.notes}
        left = {step.name for step in made.steps}
        changes.update((name, change) for name, change in before.changes.items() if name not in left)
        if made.steps and not failed:
            failed = "calicoctl reported success, but the datastore still differs in %s" % ", ".join(
                sorted(left)
            )
        if failed and not again:
            break
        if made.refused:
            failed = "\n".join(_refusal(item) for item in made.refused)
            break
    if not made.steps:
        failed = None
    if failed:
        __context__["retcode"] = 1
    return {"changes": changes, "refused": [], "failed": failed, "notes": made.notes}


def _write(checked, steps):
    """
    Carry out these steps, those of one kind and action in one call of calicoctl.

    New resources come first and removals last, except where a new pool needs the room of an old one.
    """
    generation = checked["generation"]
    how = _ctl_options(checked)
    if generation == "v1" and steps[0].resource and steps[0].resource["kind"] in SETTINGS_OF_V1:
        for step in steps:
            for name, value, node, raw in calico_resources.config_calls(step.resource, step.changes):
                if value is None:
                    calico_ctl.config_unset(name, node=node, raw=raw, **how)
                else:
                    calico_ctl.config_set(name, value, node=node, raw=raw, **how)
        return
    removals = [step.current for step in steps if step.action == "delete"]
    remade = [step for step in steps if step.action == "recreate"]
    first = bool(removals) and calico_resources.in_the_way(removals, steps, generation)
    if first:
        calico_ctl.delete(removals, **how)
    if remade:
        calico_ctl.delete([step.current for step in remade], **how)
    updates = [step.resource for step in steps if step.action == "update"]
    if updates:
        calico_ctl.replace(updates, **how)
    new = [step.resource for step in steps if step.action in ("create", "recreate")]
    if new:
        calico_ctl.create(new, **how)
    if removals and not first:
        calico_ctl.delete(removals, **how)


def get(kind, name=None, node=None, namespace=None):
    """
    Resources of one kind in the datastore, in the words of calicoctl.

    kind
        Such as ``ipPool`` (2.6) or ``IPPool`` (3.x). Pools, peers, nodes and settings are read
        directly; for any other kind calicoctl is asked (text).
    name
        Only the one with this name; a pool's is also its network, a peer's its address (text).
    node
        Only those of this node, as a peer may be; empty for those of no node (text).
    namespace
        Only those in this namespace, for kinds that have them (text).

    Returns a list of resources (dicts), empty where there is none.

    Raises CommandExecutionError where the datastore cannot be read.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.get bgpPeer
    """
    checked = _settings()
    for argument, given in (("kind", kind), ("name", "any" if name is None else name)):
        if not isinstance(given, str) or not given:
            raise CommandExecutionError("%s: got %r; accepted: text" % (argument, given))
    # As calicoctl, in any case; the API's own spelling differs between generations.
    first = checked["generation"] == "v1"
    known = {item.lower(): item for item in calico_datastore.KINDS if item[0].islower() is first}
    kind = known.get(kind.lower(), kind)
    if kind not in calico_datastore.KINDS:
        found = _calicoctl(_list_kind, kind)
    else:
        found = _cluster(checked, calico_datastore.KINDS[kind]).resources.get(kind, [])
    return calico_resources.meant(found, name, node, namespace)


def find(kind, name, node=None, namespace=None):
    """
    The one resource of this name, in the words of calicoctl.

    kind
        As for :func:`get` (text).
    name
        As for :func:`get` (text).
    node
        As for :func:`get` (text).
    namespace
        As for :func:`get` (text).

    Returns a list with that resource, empty where there is none.

    Raises CommandExecutionError where several go by that name, saying what tells them apart, and where none
    of the kind can.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.find bgpPeer 10.0.0.9 node=node1
    """
    found = get(kind, name, node, namespace)
    wrong = calico_resources.not_one(found, kind, name)
    if wrong:
        raise CommandExecutionError(wrong)
    return found


def version():
    """
    What of Calico there is, and in which version.

    Returns a dict with formula (digest of its code), wanted (``calico:version``), image (of the
    running container), calicoctl and datastore (etcd's version). Where one cannot be told, its text
    says why.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.version
    """
    checked = _settings()

    def told(function):
        try:
            return function()
        except (CommandExecutionError, calico_ctl.CtlError, calico_etcd.EtcdError) as err:
            return str(err)

    def image_of_container():
        running = _container()
        return running["Config"]["Image"] if running else None

    def calicoctl():
        return ".".join(map(str, calico_ctl.client_version(checked["calicoctl"]["path"])))

    def datastore():
        if checked["datastore"] == "kubernetes":
            found = _cluster(checked, "ready").resources.get("ClusterInformation") or [{}]
            return "kubernetes, Calico %s" % (found[0].get("spec") or {}).get("calicoVersion")
        with _etcd(checked) as client:
            return "etcd " + client.server()["version"]

    return {
        "formula": _CODE,
        "wanted": checked["version"],
        "image": told(image_of_container),
        "calicoctl": told(calicoctl),
        "datastore": told(datastore),
    }


def apply(resource, allow=None):
    """
    Write a resource to the datastore, within the safety rules.

    What the resource does not name stays as it is, other than by ``calicoctl apply``.

    resource
        The resource in calicoctl's words (dict).
    allow
        Dangerous changes that are to be made nevertheless (list of text), see :func:`plan`.

    Returns what was changed, as ``{field: {old, new}}``; empty where all was so before.

    Raises CommandExecutionError with the reason where it was refused or could not be written.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.apply '{apiVersion: v1, kind: ipPool, metadata: {cidr: 10.1.0.0/16}, spec: {}}'
    """
    return _one(converge("resource", [resource], allow=allow))


def delete(kind, name, allow=None, node=None, namespace=None):
    """
    Remove a resource from the datastore, within the safety rules.

    kind
        The resource's kind, such as ``ipPool`` (2.6) or ``IPPool`` (3.x) (text).
    name
        Its name; a pool's is also its network, a peer's its address (text). With 2.6 peers have no name.
    allow
        Dangerous changes that are to be made nevertheless (list of text), see :func:`plan`.
    node
        The node whose it is, where another peer has the same address; empty for the one of all nodes (text).
    namespace
        Its namespace, where another one has a resource of that name (text).

    Returns True if it was removed, False where there was none.

    Raises CommandExecutionError with the reason where it was refused or could not be removed.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.delete ipPool 10.1.0.0/16
    """
    found = find(kind, name, node, namespace)
    return bool(found) and bool(_one(converge("resource", absent=found, allow=allow)))


def _one(done):
    """The changes of a single resource, where nothing spoke against them."""
    if done["refused"] or done["failed"]:
        raise CommandExecutionError("\n".join(done["refused"]) or done["failed"])
    return next(iter(done["changes"].values()), {})


def _calicoctl(verb, subject):
    """Let calicoctl do it; its typed errors become Salt's."""
    try:
        return verb(subject, **_ctl_options(_settings()))
    except calico_ctl.CtlError as err:
        raise CommandExecutionError(_ctl_text(err)) from err


def _ctl_options(checked):
    given = checked["calicoctl"]
    return {"binary": given["path"], "config": CALICOCTL_CONFIG, "deadline": given["timeout"]}


def _ctl_text(err):
    """calicoctl's error with what can be done about it, where that is known."""
    hints = {
        calico_ctl.NotInstalled: "It is needed for every change of the datastore, and for kinds that are "
        "not read directly: set calico:calicoctl:source, or calico:calicoctl:path",
        calico_ctl.VersionMismatch: "Use a calicoctl of the cluster's release; nothing was changed",
        calico_ctl.WrongGeneration: "calicoctl and calico:version belong to different generations",
    }
    hint = hints.get(type(err))
    return "%s. %s" % (str(err).rstrip("."), hint) if hint else str(err)
