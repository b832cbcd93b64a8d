"""
The last set of files that a node was ready with, and when to go back to it.

What is kept is one JSON text: contents and modes of the files, and the image. What was up before a
change is another, without secrets. Both are made, read and compared here; pure: no Salt, no files.
"""

import base64
import calendar
import json
import re
import time

import calico_container
import calico_ready
import calico_topology

FORMAT = 1
UNIT_FILE = "/etc/systemd/system/calico-node.service"
ENVIRONMENT_FILE = "/etc/calico/calico-node.env"
_STARTED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z")


class Unusable(ValueError):
    """What was kept cannot be read."""


# --- the set -----------------------------------------------------------------------------------------


def read_by_container(settings):
    """
    The files that calico-node reads when it starts, as far as the formula writes them (list of paths).

    A certificate that the pillar names by the very path where Calico looks is the user's own: it is
    neither kept nor put back.
    """
    return [
        UNIT_FILE,
        ENVIRONMENT_FILE,
        *(
            "%s/%s" % (calico_container.CERTIFICATES, file)
            for part, file in calico_container.CERTIFICATE_FILES.items()
            if settings["etcd"]["tls"][part] != "%s/%s" % (calico_container.CERTIFICATES, file)
        ),
    ]


def paths(settings, calicoctl_configuration):
    """
    All files of a set: those of the container, and those that must fit them.

    calicoctl and the CNI plugin use the same endpoints, certificates and node name: new ones beside an
    old container would be another cluster's.
    """
    cni = calico_container.cni_files(settings) if settings["cni"]["enabled"] else ()
    return [*read_by_container(settings), calicoctl_configuration, *cni]


def pack(files, image):
    """
    The text to keep.

    files
        ``{path: (mode, contents)}``, None for a file that is not there.
    image
        ``{name, id}`` of the container.
    """
    return json.dumps(
        {
            "format": FORMAT,
            "image": image,
            "files": {
                path: found and {"mode": found[0], "content": base64.b64encode(found[1]).decode("ascii")}
                for path, found in files.items()
            },
        },
        sort_keys=True,
    )


def unpack(text):
    """``{files, image}`` of a kept text, as :func:`pack` took them. Raises :class:`Unusable`."""
    try:
        kept = json.loads(text)
        if kept["format"] != FORMAT:
            raise Unusable("it is of format %r, this release knows %d" % (kept["format"], FORMAT))
        return {
            "image": {"name": kept["image"]["name"], "id": kept["image"]["id"]},
            "files": {
                path: found and (int(found["mode"]), base64.b64decode(found["content"], validate=True))
                for path, found in kept["files"].items()
            },
        }
    except Unusable:
        raise
    # The text may hold a key: nothing of it is shown.
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise Unusable("it is not what the formula writes (%s)" % type(err).__name__) from None


def label(unit):
    """The label that a unit (bytes) gives the container, or None."""
    found = re.search(rb"--label=%s=(\S+)" % re.escape(calico_container.LABEL.encode("ascii")), unit)
    return found[1].decode("ascii", "replace") if found else None


def environment(text):
    """The variables of an environment file (bytes), ``{name: text}``."""
    lines = text.decode("utf-8", "replace").split("\n")
    return dict(line.partition("=")[::2] for line in lines if "=" in line and not line.startswith("#"))


def has_values(text, inspected, missing=False):
    """
    Whether a running container (or None) has the values of an environment file (bytes) that count.

    missing
        Whether it must have all of its variables (bool).
    """
    return bool(inspected) and not calico_container.other_values(environment(text), inspected, missing)


def started(inspected):
    """When a container was started, in seconds since 1970, or None (from ``docker inspect``)."""
    found = _STARTED.fullmatch((inspected.get("State") or {}).get("StartedAt") or "")
    if not found:
        return None
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) + float(found[2] or 0)


def is_what_runs(unit, changed, inspected):
    """
    Whether the files on the disk are the ones that the running container was started with.

    unit
        The unit's contents (bytes).
    changed
        When the latest of the files that the container reads was written (seconds since 1970).
    inspected
        The container as ``docker inspect`` shows it (dict), or None.
    """
    if not inspected or not (inspected.get("State") or {}).get("Running"):
        return False
    labels = (inspected.get("Config") or {}).get("Labels") or {}
    begin, named = started(inspected), label(unit)
    if begin is None or named is None:
        return False
    return changed <= begin and named == labels.get(calico_container.LABEL)


# --- before and after --------------------------------------------------------------------------------


def seen(look, node, backend, felix_port, registered=None, expected=None, health=None):
    """
    What is up, to be compared with what was or will be.

    look
        As for :func:`calico_ready.own_reasons`, with ``sessions``.
    registered, expected
        Whether the datastore knows the node, and the sessions that it asks for (with address and port);
        None where it could not be asked.
    health
        Where Felix was asked (:func:`calico_container.health`).
    """
    birds = look["bird"]
    neighbour = calico_topology.neighbour
    up = {neighbour(found) for found in look["sessions"] if calico_ready.is_up(found, birds)}
    wanted = None
    if expected is not None:
        wanted = sorted(map(list, map(neighbour, expected)))
    return {
        "node": node,
        "backend": backend,
        "felix_port": felix_port,
        "health": health,
        "service": bool(look["service"]["active"]),
        # None where Felix cannot be asked: then nobody can say that it was lost.
        "felix": look["felix"]["ready"],
        "birds": sorted(look["bird"]),
        "sessions": sorted([address, port] for address, port in up),
        "registered": registered,
        "expected": wanted,
    }


def is_good(now):
    """Whether a node works by itself: it may miss neighbours, but not all of them."""
    alone = now["backend"] != "bird" or (now["registered"] and now["expected"] == [])
    return now["service"] and now["felix"] is not False and bool(now["sessions"] or alone)


def worse(before, now):
    """
    What was up before and is not now, of what is this node's own (list of text).

    Single sessions do not count: a neighbour may have died meanwhile. All sessions of a family do, if
    they are still asked for.
    """
    found = []
    if before["service"] and not now["service"]:
        found.append("the service does not run")
    if before["felix"] and now["felix"] is False:
        found.append("Felix is not ready")
    if before["registered"] and now["registered"] is False:
        found.append("the node is not registered")
    # Where BIRD was taken out of use by the settings, it is not missed.
    if now["backend"] != "bird":
        return found
    found.extend(
        "BIRD gives no answer (%s)" % family for family in before["birds"] if family not in now["birds"]
    )
    up = _sessions(now["sessions"])
    for family in ("IPv4", "IPv6"):
        still = {key for key in _wanted(before, now) if family == _family(key)}
        if still and not still & up:
            count = len(still)
            found.append(
                "the session that was Established is not (%s)" % family
                if count == 1
                else "none of %d sessions that were Established is (%s)" % (count, family)
            )
    return found


def lost(before, now):
    """The addresses of the sessions that were Established before, are asked for, and are not now."""
    return sorted(address for address, _port in _wanted(before, now) - _sessions(now["sessions"]))


def _wanted(before, now):
    """The sessions of before that must still be there."""
    were = _sessions(before["sessions"])
    return were if now["expected"] is None else were & _sessions(now["expected"])


def _sessions(pairs):
    return {(address, port) for address, port in pairs}


def _family(key):
    return "IPv6" if ":" in key[0] else "IPv4"


def record(before):
    """What was up before a change, as a text to keep."""
    return json.dumps({"format": FORMAT, "before": before}, sort_keys=True)


def recorded(text):
    """What :func:`record` was given. Raises :class:`Unusable`."""
    try:
        kept = json.loads(text)
        before = kept["before"]
        # Looked at once, so that a record of another release is told here and not in the middle.
        worse(before, before)
        if kept["format"] != FORMAT or not {"node", "felix_port"} <= set(before):
            raise Unusable("it is of another release")
        return before
    except Unusable:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise Unusable("it is not what the formula writes (%s)" % type(err).__name__) from None
