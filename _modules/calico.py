"""
Calico on this minion: node status, BGP sessions, IP pools, and what its files should hold.

Reads come straight from their source: BIRD's control socket, Felix' health port, systemd, and etcd
over HTTP. Writes to the datastore go through ``calicoctl``, which validates them and keeps Calico's
IP address management in step.

:maturity: new
:depends: none beside Salt's own dependencies
:platform: Linux with systemd

Holds for Salt 3006 to 3008 and calico/node 2.6.x.
"""

import datetime
import hashlib
import importlib
import ipaddress
import os
import subprocess
import sys
import time

import salt.utils.path
from salt.exceptions import CommandExecutionError

# A plain import would keep the helpers of the release before this one for as long as the process
# lives: they are read anew whenever the loader reads this file anew.
HELPERS = (
    "calico_bird",
    "calico_container",
    "calico_ctl",
    "calico_docker",
    "calico_etcd",
    "calico_felix",
    "calico_forms",
    "calico_generations",
    "calico_host",
    "calico_kinds",
    "calico_pem",
    "calico_resources",
    "calico_selector",
    "calico_settings",
    "calico_topology",
    "calico_words",
)
for _name in HELPERS:
    sys.modules.pop(_name, None)
importlib.invalidate_caches()

import calico_bird  # noqa: E402
import calico_container  # noqa: E402
import calico_ctl  # noqa: E402
import calico_docker  # noqa: E402
import calico_etcd  # noqa: E402
import calico_host  # noqa: E402
import calico_pem  # noqa: E402
import calico_resources  # noqa: E402
import calico_settings  # noqa: E402
import calico_topology  # noqa: E402

__virtualname__ = "calico"

UNIT = "calico-node.service"
PLUGINS = "/opt/cni/bin"
# Kinds that need no calicoctl to be read.
DIRECT = ("bgpPeer", "ipPool", "node")
CALICOCTL_CONFIG = "/etc/calico/calicoctl.cfg"
BIRD_SOCKETS = {4: "/var/run/calico/bird.ctl", 6: "/var/run/calico/bird6.ctl"}
# Kinds of expected sessions in the words that calicoctl and peers() have for them.
SESSION_TYPES = {"mesh": "node-to-node mesh", "global": "global", "node": "node specific"}
# Kernel and docker answer at once; an image may have to cross the network.
COMMAND_DEADLINE = 30
# Waiting for sessions, in seconds: between looks at BIRD, between readings of the datastore, and how
# old a reading may be that the verdict rests on.
POLL = 0.25
REREAD = 5
FRESH = 1
IMAGE_DEADLINE = 900
# Room for what the formula itself writes (bytes).
FILE_ROOM = 16 * 1024 * 1024


def __virtual__():
    # Never False: that answer would be kept for the rest of the run, also after an install.
    return __virtualname__


def _digest():
    """One text for all files that this release of the code is made of, as they lie on disk."""
    modules = os.path.dirname(os.path.abspath(__file__))
    # Beside `modules` lies `states`; in a checkout they are `_modules` and `_states`.
    files = {
        "module": os.path.abspath(__file__),
        "state": os.path.join(modules[: -len("modules")] + "states", "calico.py"),
    }
    files.update((name, os.path.abspath(sys.modules[name].__file__)) for name in HELPERS)
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
        return calico_settings.check(_pillar())
    except calico_settings.SettingsError as err:
        raise CommandExecutionError("The pillar cannot be used:\n%s" % err) from err


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
        elif given.startswith("salt://"):
            cached = __salt__["cp.cache_file"](given)
            if not cached:
                raise CommandExecutionError("%s: the master has no file %s" % (where, given))
            result[part] = _read(cached, where)
        else:
            result[part] = _read(given, where)
    return result


def _read(path, where):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as err:
        raise CommandExecutionError("%s: cannot read %s: %s" % (where, path, err.strerror)) from err


def settings():
    """
    The settings of this minion: its pillar, checked, with everything that it leaves open.

    Returns a dict; keys and passwords are masked.

    Raises CommandExecutionError that names every setting that is wrong.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.settings
    """
    return calico_settings.masked(_settings())


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
    if secrets:
        return result
    return {
        name: calico_settings.MASK if calico_settings.is_secret(name) else value
        for name, value in result.items()
    }


def container():
    """
    All that decides how calico-node's container runs.

    Returns a dict with name, image, environment (secrets masked), mounts, network, privileged,
    labels and the path of the runtime.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.container
    """
    checked = _settings()
    result = calico_container.container(checked, calico_pem.digest(_certificates(checked)))
    result["environment"] = environment()
    result["runtime_path"] = _runtime_path(checked)
    return result


def cni_configuration():
    """
    What /etc/cni/net.d/10-calico.conf holds, as data.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.cni_configuration
    """
    return calico_container.cni_configuration(_settings())


def calicoctl_configuration():
    """
    What /etc/calico/calicoctl.cfg holds, as data.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.calicoctl_configuration
    """
    return calico_container.calicoctl_configuration(_settings())


# --- preflight -------------------------------------------------------------------------------------


def check():
    """
    Are the settings right and is this host fit for Calico? Nothing is changed.

    Returns a list of findings ``{level, what, seen, do}``; level is ``error`` (a run would do harm or
    fail) or ``warning``. Empty where all is well. The return code is 1 where there is an error.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.check
    """
    findings = _check()
    if any(finding["level"] == "error" for finding in findings):
        __context__["retcode"] = 1
    return findings


def _finding(what, seen, do, level="error"):
    return {"level": level, "what": what, "seen": seen, "do": do}


def _check():
    try:
        checked = calico_settings.check(_pillar())
    except calico_settings.SettingsError as err:
        return [
            _finding(item["setting"], "got " + item["given"], "Accepted: " + item["accepted"])
            for item in err.problems
        ]
    findings = _check_name(checked)
    findings.extend(_check_certificates(checked))
    findings.extend(_check_sources(checked))
    findings.extend(_check_runtime(checked))
    findings.extend(_check_room())
    # With certificates that cannot work, what etcd says of them would only be said twice.
    useless = [item for item in findings if item["level"] == "error" and "calico:etcd" in item["what"]]
    if not useless:
        findings.extend(_check_datastore(checked))
    return findings


def _check_name(checked):
    name = _node_name(checked)
    if name == name.lower():
        return []
    do = "Set calico:node:name to '%s', or rename the host: Kubernetes and the CNI plugin look for lower case"
    return [_finding("node name", "'%s' has capitals" % name, do % name.lower())]


def _check_certificates(checked):
    try:
        parts = _certificates(checked)
    except CommandExecutionError as err:
        return [_finding("calico:etcd:tls", str(err), "Give a file that is there")]
    now = datetime.datetime.now(datetime.timezone.utc)
    do = "Give a CA, certificate and key that belong together and are valid now"
    return [
        _finding("calico:etcd:tls:" + part, "the %s %s" % (part, what), do, level)
        for level, part, what in calico_pem.findings(parts, now)
    ]


def _check_sources(checked):
    """Salt compares the hashes of http sources only; a file of the master's is compared here."""
    findings = []
    for path, given in (
        ("calicoctl", checked["calicoctl"]),
        ("cni:plugins", checked["cni"]["plugins"]),
    ):
        if not (given["source"] or "").startswith("salt://"):
            continue
        what = "calico:%s:source" % path
        found = __salt__["cp.hash_file"](given["source"])
        if not found:
            findings.append(_finding(what, "the master has no file %s" % given["source"], "Put it there"))
            continue
        kind, _, wanted = given["source_hash"].replace(":", "=").rpartition("=")
        if (kind or found["hash_type"]) == found["hash_type"] and wanted.lower() != found["hsum"]:
            seen = "%s is %s=%s, which does not match" % (given["source"], found["hash_type"], found["hsum"])
            findings.append(_finding(what + "_hash", seen, "Give the hash of the file that is meant"))
    return findings


def _check_runtime(checked):
    try:
        present = image()["present"]
    except CommandExecutionError as err:
        return [_finding("container runtime", str(err), "Install and start %s" % checked["runtime"])]
    archive = checked["image_archive"]
    if present or not archive:
        return []
    if archive.startswith("salt://"):
        known = __salt__["cp.hash_file"](archive)
    else:
        known = os.path.isfile(archive)
    if known:
        return []
    return [_finding("calico:image_archive", "there is no file %s" % archive, "Put it there")]


def _check_room():
    findings = []
    for path, wanted in (("/etc", FILE_ROOM), ("/var", FILE_ROOM)):
        room = os.statvfs(path)
        free = room.f_bavail * room.f_frsize
        if free < wanted or (room.f_files and not room.f_favail):
            seen = "%s has %d MiB and %d inodes free" % (path, free // 2**20, room.f_favail)
            findings.append(_finding("disk space", seen, "Free %d MiB" % (wanted // 2**20)))
    return findings


def _check_datastore(checked):
    try:
        cluster = _cluster(checked)
    except CommandExecutionError as err:
        return [_finding("calico:etcd:endpoints", str(err), "The run stops before it changes anything")]
    name = _node_name(checked)
    own = _own_addresses(checked, cluster.nodes.get(name))
    findings = []
    for other, node in cluster.nodes.items():
        for family in ("ipv4", "ipv6"):
            if other != name and node[family] in own:
                seen = "%s is registered by node %s" % (node[family], other)
                do = (
                    "Give this host another address (calico:node:ip), or remove node %s from the "
                    "datastore if it is gone: calico-node would end at once" % other
                )
                findings.append(_finding("address of node %s" % name, seen, do))
    return findings


def _own_addresses(checked, registered):
    """The addresses that calico-node on this host may register."""
    given = {
        text.split("/")[0]
        for text in (checked["node"]["ip"], checked["node"]["ip6"])
        if text and text != "autodetect"
    }
    if given:
        return given
    if registered and checked["node"]["ip"] != "autodetect":
        return {registered["ipv4"], registered["ipv6"]} - {None, ""}
    return _host_reading(calico_host.own_addresses)


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


def _inspect(function, name):
    """What docker knows under a name, or None where there is no such thing."""
    try:
        return function(name)
    except calico_docker.DockerError as err:
        raise CommandExecutionError(str(err)) from err


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
    found = _inspect(calico_docker.image, checked["image"])
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
    ``calico:image_digest`` names.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.image_load
    """
    checked = _settings()
    archive = checked["image_archive"]
    if archive:
        path = __salt__["cp.cache_file"](archive) if archive.startswith("salt://") else archive
        if not path or not os.path.isfile(path):
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
        raise CommandExecutionError(
            "calico:image_digest: %s is %s, not %s" % (result["name"], result["id"], checked["image_digest"])
        )
    return result


def drift():
    """
    How the running container differs from the one that the settings ask for.

    Returns ``{field: {old, new}}``; empty where it is the wanted one or none is running.

    Raises CommandExecutionError where the runtime gives no answer.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.drift
    """
    checked = _settings()
    wanted = calico_container.container(checked, calico_pem.digest(_certificates(checked)))
    running = _inspect(calico_docker.container, wanted["name"])
    if not running or not (running.get("State") or {}).get("Running"):
        return {}
    return calico_container.outdated(wanted, running, image()["id"])


def container_id():
    """
    ID of the container named ``calico-node``, running or not; None where there is none.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.container_id
    """
    found = _inspect(calico_docker.container, calico_container.NAME)
    return found["Id"] if found else None


def container_remove():
    """
    Remove the container named ``calico-node``, running or not. Its unit would start another one.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.container_remove
    """
    _runtime(_settings(), "rm", "--force", calico_container.NAME)
    return True


def plugins():
    """
    The CNI plugins on this host that came from ``calico:cni:plugins:source``, as a list of paths.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.plugins
    """
    given = _settings()["cni"]["plugins"]
    if not given["source"]:
        return []
    members = __salt__["archive.list"](given["source"], source_hash=given["source_hash"])
    paths = (os.path.normpath(os.path.join(PLUGINS, member)) for member in members)
    return sorted(path for path in paths if path.startswith(PLUGINS + "/") and os.path.isfile(path))


# --- the node --------------------------------------------------------------------------------------


def _felix_port():
    try:
        return int(_settings()["felix"].get("HealthPort", 9099))
    except (CommandExecutionError, ValueError):
        # Looking at a node must be possible also where its pillar is wrong or missing.
        return 9099


def _backend():
    try:
        return _settings()["node"]["backend"]
    except CommandExecutionError:
        return "bird"


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

    Returns a dict with ready (bool), reasons (list of text, empty where ready), service, felix,
    bird (version, router id, state) and sessions (as :func:`peers` returns them). The return code is
    1 where the node is not ready.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.status
    """
    result = _status()
    if not result["ready"]:
        __context__["retcode"] = 1
    return result


def _status():
    reasons = []
    service = calico_host.service_state(UNIT)
    if not service["active"]:
        reasons.append("the service %s does not run: %s" % (UNIT, service["reason"]))
    felix = calico_host.felix_health(port=_felix_port())
    if not felix["ready"]:
        reasons.append("Felix is not ready: %s" % felix["reason"])
    sessions, states = [], {}
    if _backend() == "bird":
        sessions, states, errors = _birds()
        reasons.extend(errors)
        reasons.extend(
            "graceful restart in progress (%s)" % family
            for family, state in states.items()
            if state["graceful_restart"]
        )
        reasons.extend(_why_down(session) for session in sessions if not session["established"])
    return {
        "ready": not reasons,
        "reasons": reasons,
        "service": service,
        "felix": felix,
        "bird": states,
        "sessions": sessions,
    }


def _why_down(session, node=None):
    detail = ", ".join(
        text for text in (session.get("info") or session.get("state"), session.get("reason")) if text
    )
    whom = "%s (%s)" % (session["address"], node or session["type"])
    return "no session with %s: %s since %s" % (whom, detail, session["since"])


def routes():
    """
    Calico's routes in this host's kernel, as ``route -n`` shows them.

    Returns ``{routes, blocks}``: routes is a list of dicts (destination, gateway, genmask, flags,
    metric, interface, protocol, kind), blocks groups them: how each block is reached.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.routes
    """
    found = _host_reading(calico_host.kernel_routes)
    return {"routes": found, "blocks": calico_host.blocks(found)}


def interfaces():
    """
    The interfaces that Calico made on this host: workloads' (``cali…``) and tunnels (``tunl0``, …).

    Returns a list of dicts: name, state, mtu (bytes), mac, addresses.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.interfaces
    """
    return _host_reading(calico_host.interfaces)


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
    return _host_reading(calico_host.sockets, port=port)


def _host_reading(function, **arguments):
    try:
        return function(**arguments)
    except calico_host.HostError as err:
        raise CommandExecutionError(str(err)) from err


# --- the datastore ---------------------------------------------------------------------------------


def _etcd(checked):
    texts = {part: pem.decode("utf-8") for part, pem in _certificates(checked).items()}
    return calico_etcd.Client(
        checked["etcd"]["endpoints"], tls=texts, deadline=checked["calicoctl"]["timeout"]
    )


def _cluster(checked, prefix="/calico/bgp/v1"):
    """What the datastore holds below a prefix; unreachable is an error, never an empty answer."""
    try:
        with _etcd(checked) as client:
            return calico_topology.from_v2(client.tree_v2(prefix))
    except calico_etcd.EtcdError as err:
        raise CommandExecutionError("The datastore cannot be read: %s" % err) from err
    except calico_topology.Unreadable as err:
        raise CommandExecutionError("The datastore holds what Calico cannot read: %s" % err) from err


def expected_peers():
    """
    The BGP sessions that this node must have, from the nodes, the mesh setting and the peers in the
    datastore.

    Returns a list of dicts: name (of BIRD's protocol), type, address, port, as_number, and node (the
    neighbour's name, where it is a node).

    Raises CommandExecutionError where the datastore cannot be read.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.expected_peers
    """
    checked = _settings()
    return _expected(checked, _cluster(checked))


def _expected(checked, cluster):
    absent = set(checked["ready"]["absent_nodes"])
    try:
        sessions = calico_topology.expected_sessions(cluster, _node_name(checked))
    except calico_topology.NotRegistered as err:
        raise CommandExecutionError(str(err)) from err
    return [
        dict(session, type=SESSION_TYPES[session["type"]])
        for session in sessions
        if session["node"] not in absent
    ]


def ready(timeout=0):
    """
    Does this node have everything that the datastore says it must have?

    The service runs, Felix is ready, the node is registered, and every session with another
    registered node or configured peer is Established. Nodes in ``calico:ready:absent_nodes`` are not
    waited for.

    timeout
        How long to wait for it to become true, in seconds (number). 0 looks once.

    Returns what :func:`status` returns, with ``node`` (this node's name) and ``expected``; ``reasons``
    names each missing session with the neighbour's name and BIRD's own reason. The return code is 1
    where the node is not ready.

    Raises CommandExecutionError where the datastore cannot be read.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.ready timeout=30
    """
    checked = _settings()
    begin = time.monotonic()
    while True:
        # One reading of the datastore serves for some looks at BIRD: a thousand waiting nodes must
        # not make a thousand readings of a thousand nodes each moment.
        cluster = _cluster(checked)
        read_at = time.monotonic()
        result = _ready_now(checked, cluster)
        while not result["ready"] and time.monotonic() < min(read_at + REREAD, begin + timeout):
            time.sleep(POLL)
            result = _ready_now(checked, cluster)
        # Ready by an old reading is no proof: another node may have registered since.
        if time.monotonic() - begin >= timeout or (result["ready"] and time.monotonic() - read_at < FRESH):
            break
    result["waited"] = round(time.monotonic() - begin, 2)
    if not result["ready"]:
        __context__["retcode"] = 1
    return result


def _ready_now(checked, cluster):
    name = _node_name(checked)
    result = _status()
    result["node"] = name
    if checked["node"]["backend"] == "none":
        result["expected"] = []
        return result
    if name not in cluster.nodes:
        result["expected"] = []
        result["reasons"].append("the datastore knows no node %s" % name)
        result["ready"] = False
        return result
    result["expected"] = _expected(checked, cluster)
    wanted = {(session["address"], session["port"]): session for session in result["expected"]}
    # BIRD may have two protocols for one neighbour (in the mesh and named as a peer), of which only one
    # can be up: that one counts.
    present = {
        (session["address"], session["port"]): session
        for session in sorted(result["sessions"], key=lambda session: session["established"])
    }
    # status() complains of every session that is down; here only those count that must be up.
    down = {_why_down(session) for session in result["sessions"] if not session["established"]}
    reasons = [reason for reason in result["reasons"] if reason not in down]
    for key, session in wanted.items():
        found = present.get(key)
        if not found:
            reasons.append(
                "no session with %s (%s): BIRD has not been told of it yet"
                % (session["address"], session["node"] or session["type"])
            )
        elif not found["established"]:
            reasons.append(_why_down(found, session["node"]))
    result["reasons"] = reasons
    result["ready"] = not reasons
    return result


def registered(timeout=0):
    """
    Has this node registered in the datastore? It does so at the end of a start that went well.

    timeout
        How long to wait for it, in seconds (number).

    Returns ``{registered, node, address, log}``; ``log`` holds the last lines of the service where it
    has not registered.

    Raises CommandExecutionError where the datastore cannot be read.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.registered
    """
    checked = _settings()
    name = _node_name(checked)
    end = time.monotonic() + timeout
    while True:
        node = _cluster(checked).nodes.get(name)
        if node or time.monotonic() >= end or _failed_twice():
            break
        time.sleep(0.5)
    return {
        "registered": bool(node),
        "node": name,
        "address": node["ipv4"] if node else None,
        "log": [] if node else _journal(10),
    }


def _failed_twice():
    done = _command(["systemctl", "show", "--property=NRestarts", "--value", UNIT])
    return done.stdout.strip().isdigit() and int(done.stdout) >= 2


def _journal(lines):
    done = _command(["journalctl", "--unit", UNIT, "--lines", str(lines), "--output=cat", "--quiet"])
    return done.stdout.splitlines()


def pools():
    """
    The IP pools in the datastore, in the words of calicoctl.

    Returns a list of resources (dicts), as ``calicoctl get ipPool -o yaml`` shows them.

    Raises CommandExecutionError where the datastore cannot be read: that is never an empty list.

    CLI Example:

    .. code-block:: bash

        salt '*' calico.pools
    """
    return _cluster(_settings(), "/calico/v1/ipam").pools


def pool_plan(pool, present=True, pools=None):
    """
    What it takes to bring a pool to the described state.

    pool
        The pool in the pillar's words (dict): cidr, ipip, nat_outgoing, disabled.
    present
        False plans its removal (bool).
    pools
        The pools as :func:`pools` returned them; read where it is left out (list).

    Returns ``{changes, resource, in_use}``: the difference as ``{field: {old, new}}``, the resource to
    write in calicoctl's words, and for a removal the workloads that have addresses from the pool.

    Raises CommandExecutionError where the description is wrong (every problem is named) or the
    datastore cannot be read.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.pool_plan '{cidr: 172.20.0.0/16, ipip: always}'
    """
    checked = _settings()
    generation = checked["generation"]
    if pools is None:
        pools = _cluster(checked, "/calico/v1/ipam").pools
    try:
        wanted = calico_resources.pool(pool, generation)
    except calico_resources.Problems as err:
        raise CommandExecutionError(_pool_problems(pool, err.problems)) from err
    current = calico_resources.find(pools, wanted, generation)
    if not present:
        _require_network(pool["cidr"])
        changes = {"pool": {"old": current, "new": None}} if current else {}
        used = _workloads_in(checked, pool["cidr"]) if current else []
        return {"changes": changes, "resource": wanted, "in_use": used}
    others = [item for item in pools if item is not current]
    problems = calico_resources.problems(wanted, generation, others=others)
    if problems:
        raise CommandExecutionError("\n".join(calico_settings.problem_text(item) for item in problems))
    merged, changes = calico_resources.merge(current, wanted, generation)
    return {"changes": changes, "resource": merged, "in_use": []}


def _pool_problems(pool, problems):
    return "\n".join(
        calico_settings.problem_text(dict(item, setting="pool %s: %s" % (pool.get("cidr"), item["setting"])))
        for item in problems
    )


def _require_network(cidr):
    # Misspelt, a pool that is there would look absent.
    network = calico_resources.network_of(cidr)
    if network is None or ipaddress.ip_interface(cidr).ip != network.network_address:
        accepted = "a network such as %s" % (network or "172.20.0.0/16")
        item = calico_settings.problem("cidr", cidr, accepted)
        raise CommandExecutionError(_pool_problems({"cidr": cidr}, [item]))


def _workloads_in(checked, cidr):
    network = ipaddress.ip_network(cidr)
    found = []
    for workload in _cluster(checked, "/calico/v1/host").workloads:
        for text in workload["networks"]:
            address = ipaddress.ip_interface(text).ip
            if address.version == network.version and address in network:
                found.append("%s on %s" % (workload["name"], workload["node"]))
    return found


def node_plan():
    """
    What it takes to remove this minion's node from the datastore.

    Returns ``{node, changes, in_use}`` like :func:`pool_plan`.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.node_plan
    """
    checked = _settings()
    name = _node_name(checked)
    cluster = _cluster(checked, "/calico")
    known = name in cluster.nodes
    used = [workload["name"] for workload in cluster.workloads if workload["node"] == name]
    return {
        "node": name,
        "changes": {"node": {"old": name, "new": None}} if known else {},
        "in_use": used if known else [],
    }


def get(kind, name=None):
    """
    Resources of one kind in the datastore, in the words of calicoctl.

    kind
        ``ipPool``, ``bgpPeer`` and ``node`` are read directly; for any other kind calicoctl is asked
        (text).
    name
        Only the one with this name; a pool's is its network, a peer's its address (text).

    Returns a list of resources (dicts), empty where there is none.

    Raises CommandExecutionError where the datastore cannot be read.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.get bgpPeer
    """
    checked = _settings()
    known = _cluster(checked, "/calico").resources if kind in DIRECT else {}
    if kind not in known:
        found = _calicoctl(calico_ctl.get, kind)
    else:
        found = known[kind]
    if name is None:
        return found
    return [item for item in found if name in _names(item["metadata"])]


def _names(metadata):
    return [metadata[key] for key in ("name", "cidr", "peerIP") if key in metadata]


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
        running = _inspect(calico_docker.container, calico_container.NAME)
        return running["Config"]["Image"] if running else None

    def calicoctl():
        return ".".join(map(str, calico_ctl.client_version(checked["calicoctl"]["path"])))

    def datastore():
        with _etcd(checked) as client:
            return "etcd " + client.server()["version"]

    return {
        "formula": _CODE,
        "wanted": checked["version"],
        "image": told(image_of_container),
        "calicoctl": told(calicoctl),
        "datastore": told(datastore),
    }


def apply(resource):
    """
    Write a resource to the datastore by ``calicoctl apply``.

    resource
        The whole resource in calicoctl's words (dict).

    Returns True.

    Raises CommandExecutionError with calicoctl's reason.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.apply '{apiVersion: v1, kind: ipPool, metadata: {cidr: 10.1.0.0/16}, spec: {}}'
    """
    _calicoctl(calico_ctl.apply, [resource])
    return True


def delete(kind, name):
    """
    Remove a resource from the datastore by ``calicoctl delete``.

    kind
        The resource's kind, such as ``ipPool`` (text).
    name
        Its name; a pool's is its network (text).

    Returns True if it was removed, False where there was none.

    Raises CommandExecutionError with calicoctl's reason.

    CLI Example:

    .. code-block:: bash

        salt node1 calico.delete ipPool 10.1.0.0/16
    """
    generation = _settings()["generation"]
    if kind == calico_resources.POOL_KINDS[generation]:
        resource = calico_resources.pool({"cidr": name}, generation)
    else:
        version = calico_resources.API_VERSIONS[generation]
        resource = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
    return bool(_calicoctl(calico_ctl.delete, [resource]))


def _calicoctl(verb, subject):
    """Let calicoctl do it; its typed errors become Salt's."""
    given = _settings()["calicoctl"]
    try:
        return verb(subject, binary=given["path"], config=CALICOCTL_CONFIG, deadline=given["timeout"])
    except calico_ctl.NotInstalled as err:
        raise CommandExecutionError(
            "%s. It is needed for every change of the datastore, and for kinds that are not read "
            "directly: set calico:calicoctl:source, or calico:calicoctl:path" % err
        ) from err
    except calico_ctl.CtlError as err:
        raise CommandExecutionError(str(err)) from err
