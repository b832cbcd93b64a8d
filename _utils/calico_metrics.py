"""
A node as metrics in Prometheus' text format, for the node exporter's textfile collector.

Pure but for :func:`write`: no Salt, no network; the clock is passed in. The format is the classic one,
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format: one family after the
other, each with HELP and TYPE, and no ``# EOF``, which only OpenMetrics has.
"""

import contextlib
import datetime
import os
import re
import tempfile

import calico_bird
import calico_topology

# What is told of a node that is up: name, type, help. In this order.
FAMILIES = (
    ("calico_node_info", "gauge", "The node, the wanted release and the running image; always 1."),
    ("calico_node_ready", "gauge", "1 where calico.status calls the node ready."),
    ("calico_service_active", "gauge", "1 where systemd runs calico-node."),
    ("calico_felix_ready", "gauge", "1 where Felix answers that it is ready."),
    ("calico_felix_live", "gauge", "1 where Felix answers that it is live."),
    ("calico_container_running", "gauge", "1 where the container calico-node runs."),
    ("calico_container_start_time_seconds", "gauge", "When the container was started, Unix time."),
    (
        "calico_drift_pending",
        "gauge",
        "1 where the running container is not the one that the pillar asks for.",
    ),
    ("calico_bird_info", "gauge", "BIRD's version and router id, by address family; always 1."),
    ("calico_bird_graceful_restart", "gauge", "1 while BIRD recovers from a restart."),
    ("calico_bgp_session_up", "gauge", "1 where the session is Established."),
    ("calico_bgp_session_changed_seconds", "gauge", "Seconds since the session's last change of state."),
    ("calico_bgp_routes_imported", "gauge", "Routes that the neighbour told and that were taken."),
    ("calico_bgp_routes_exported", "gauge", "Routes told to the neighbour."),
    ("calico_bgp_routes_preferred", "gauge", "Routes of the neighbour that are in use."),
    ("calico_bgp_sessions_expected", "gauge", "Sessions that the datastore asks for."),
    ("calico_bgp_sessions_missing", "gauge", "Sessions that the datastore asks for and that are not up."),
    ("calico_certificate_expiry_timestamp_seconds", "gauge", "When the certificate ends, Unix time."),
    ("calico_read_error", "gauge", "1 where a source could not be read; its other metrics are missing then."),
    ("calico_scrape_duration_seconds", "gauge", "How long it took to collect these metrics."),
)
SUFFIX = ".prom"


class BadPath(Exception):
    """The file cannot be written; the text says what is accepted."""


def text(facts):
    """
    The metrics of a node.

    facts
        A dict of what could be read: node, wanted, image, formula (text); ``status`` as
        ``calico.status`` has it; ``container`` (``{id, started}`` or None; left out where unknown);
        ``drift`` (bool); ``expected`` (list of sessions); ``expiry`` (``{part: aware datetime}``);
        ``errors`` (``{source: bool}``); ``seconds``. What is left out has no metrics.
    """
    lines = []
    samples = _samples(facts)
    for name, kind, said in FAMILIES:
        if samples.get(name):
            lines.append("# HELP %s %s" % (name, said))
            lines.append("# TYPE %s %s" % (name, kind))
            lines.extend(
                "%s%s %s" % (name, _labels(labels), _number(value)) for labels, value in samples[name]
            )
    return "\n".join(lines) + "\n"


def _samples(facts):
    """``{family: [(labels, value)]}``."""
    status = facts["status"]
    info = {key: facts.get(key) or "" for key in ("node", "wanted", "image", "formula")}
    result = {
        "calico_node_info": [(info, 1)],
        "calico_node_ready": [({}, status["ready"])],
        "calico_service_active": [({}, status["service"]["active"])],
        # None where Felix cannot be asked.
        **{
            "calico_felix_" + key: [({}, status["felix"][key])]
            for key in ("ready", "live")
            if status["felix"][key] is not None
        },
        "calico_read_error": [({"source": key}, bad) for key, bad in sorted(facts["errors"].items())],
        "calico_scrape_duration_seconds": [({}, facts["seconds"])],
        "calico_certificate_expiry_timestamp_seconds": [
            ({"part": part}, end.timestamp()) for part, end in sorted(facts.get("expiry", {}).items())
        ],
        "calico_bird_info": [
            ({"family": family, "router_id": bird["router_id"], "version": bird["version"]}, 1)
            for family, bird in sorted(status["bird"].items())
        ],
        "calico_bird_graceful_restart": [
            ({"family": family}, bird["graceful_restart"]) for family, bird in sorted(status["bird"].items())
        ],
    }
    if "container" in facts:
        result["calico_container_running"] = [({}, bool(facts["container"]))]
        started = _unix_time((facts["container"] or {}).get("started"))
        if started is not None:
            result["calico_container_start_time_seconds"] = [({}, started)]
    if "drift" in facts:
        result["calico_drift_pending"] = [({}, facts["drift"])]
    result.update(_sessions(status))
    if "expected" in facts:
        result.update(_expected(facts["expected"], status["sessions"]))
    return result


def _sessions(status):
    times = {family: bird["server_time"] for family, bird in status["bird"].items()}
    keys = {
        "calico_bgp_session_up": "established",
        "calico_bgp_routes_imported": "imported",
        "calico_bgp_routes_exported": "exported",
        "calico_bgp_routes_preferred": "preferred",
    }
    result = {name: [] for name in (*keys, "calico_bgp_session_changed_seconds")}
    for session in status["sessions"]:
        family = "IPv6" if ":" in (session["address"] or "") else "IPv4"
        labels = {
            "address": session["address"] or "",
            "as": session["as_number"] or "",
            "name": session["name"],
            "port": session["port"],
            "type": session["type"],
        }
        for name, key in keys.items():
            result[name].append((labels, session[key]))
        seconds = calico_bird.seconds_since(session["since"], times.get(family, ""))
        if seconds is not None:
            result["calico_bgp_session_changed_seconds"].append((labels, seconds))
    return result


def _expected(expected, sessions):
    found = calico_topology.matched(expected, sessions, lambda session: session["established"])
    missing = [wanted for wanted, session in found if not (session and session["established"])]
    return {
        "calico_bgp_sessions_expected": [({}, len(expected))],
        "calico_bgp_sessions_missing": [({}, len(missing))],
    }


def _unix_time(started):
    """Unix time of what docker writes: nanoseconds, and a Z or an offset."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(Z|[+-]\d\d:\d\d)$", started or "")
    if not found:
        return None
    zone = "+00:00" if found[3] == "Z" else found[3]
    return datetime.datetime.fromisoformat(found[1] + zone).timestamp() + float("0." + (found[2] or "0"))


def _labels(labels):
    if not labels:
        return ""
    return "{%s}" % ",".join('%s="%s"' % (name, _escaped(value)) for name, value in labels.items())


def _escaped(value):
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value):
    return "%d" % value if float(value).is_integer() else repr(float(value))


def write(path, content):
    """
    Write the file at once: a reader sees the old content or the new one, and nobody's half.

    path
        An absolute path that ends in ``.prom``: the node exporter reads no other file. Its directory
        must exist.

    Raises :class:`BadPath` where that cannot be.
    """
    accepted = "an absolute path that ends in %s, in a directory that exists" % SUFFIX
    directory, name = os.path.split(path) if isinstance(path, str) else ("", "")
    if not os.path.isabs(directory) or not name.endswith(SUFFIX) or name == SUFFIX:
        raise BadPath("path: got %r; accepted: %s" % (path, accepted))
    temporary = None
    try:
        # Its name must not end in .prom, or the half of it would be read.
        handle, temporary = tempfile.mkstemp(prefix=".%s." % name, suffix=".tmp", dir=directory)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except OSError as err:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise BadPath("path: got %r (%s); accepted: %s" % (path, err.strerror, accepted)) from err
