"""
The mesh in words and as data: what is wrong first, then how it stands. Pure: no Salt, no side effects.
"""

import calico_mesh
from calico_mesh import counted, number, some

# Findings that name the two ends of a session, and how many of them the text shows.
PAIRS = ("session", "one-sided")
MOST_PAIRS = 20


def figures(mesh):
    """How it stands, as data."""
    views = mesh.answers.views
    images = {}
    ends = []
    for name in mesh.names[: mesh.count]:
        view = mesh.view(name)
        if view:
            images[view["image"] or "none"] = images.get(view["image"] or "none", 0) + 1
            ends.extend(view["certificates"].values())
    silent, failed = len(mesh.answers.silent), len(mesh.answers.failed)
    return {
        "nodes": mesh.count,
        "registered": len(mesh.registered) if mesh.answers.datastore else None,
        "peers": len(mesh.names) - mesh.count,
        "minions": len(views) + silent + failed,
        "answered": len(views),
        "sessions": mesh.sessions,
        "established": mesh.established,
        "images": images,
        "first_certificate_ends": min(ends, default=None),
        "pools": mesh.store.get("pools") or [],
        "errors": sum(finding["level"] == "error" for finding in mesh.findings),
        "warnings": sum(finding["level"] == "warning" for finding in mesh.findings),
    }


def data(mesh):
    """All of it, for programs; ``retcode`` is 1 where there is an error."""
    found = figures(mesh)
    return {"findings": mesh.findings, "figures": found, "retcode": 1 if found["errors"] else 0}


def text(found, now):
    """
    The same for people.

    found
        What :func:`data` returned.
    now
        The time to count days from (aware datetime).
    """
    counts = found["figures"]
    lines = ["The mesh: %s" % verdict(counts), ""]
    single = [finding for finding in found["findings"] if finding["what"] in PAIRS]
    hidden = single[MOST_PAIRS:]
    for finding in found["findings"]:
        if hidden and finding is hidden[0]:
            lines.append(
                "  %-8s %s more, as format=json and format=html show"
                % ("error", counted(len(hidden), "session"))
            )
        if finding not in hidden:
            lines.extend(_finding(finding))
    if found["findings"]:
        lines.append("")
    lines.extend(standing(counts, now))
    return "\n".join(lines)


def verdict(counts):
    """One line: is all well?"""
    if not counts["errors"] and not counts["warnings"]:
        return "nothing is wrong"
    kinds = ("errors", "error"), ("warnings", "warning")
    return ", ".join(counted(counts[key], word) for key, word in kinds if counts[key])


def _finding(finding):
    names = some(finding["nodes"])
    if finding["what"] in PAIRS:
        names = " – ".join(finding["nodes"])
    yield "  %-8s %s%s" % (finding["level"], names + ": " if names else "", finding["seen"])
    if finding["do"]:
        yield "           %s" % finding["do"]


def standing(counts, now):
    """How many there are of what, as lines of text."""
    nodes = counted(counts["nodes"], "node")
    if counts["peers"]:
        nodes += " and %s of theirs" % counted(counts["peers"], "other peer")
    sessions = "%s, %s Established" % (counted(counts["sessions"], "session"), number(counts["established"]))
    answered = "%s of %s answered" % (number(counts["answered"]), counted(counts["minions"], "minion"))
    yield "%s; %s; %s" % (nodes, sessions, answered)
    images = sorted(counts["images"].items(), key=lambda item: -item[1])
    if images:
        yield "runs: %s" % ", ".join("%s on %s" % (image, number(count)) for image, count in images)
    if counts["first_certificate_ends"]:
        end = calico_mesh.read_time(counts["first_certificate_ends"])
        left = (end - now).days
        yield "certificates: the first ends on %s (%s)" % (end.date().isoformat(), counted(left, "day"))
    for pool in counts["pools"]:
        disabled = " (disabled)" if pool["disabled"] else ""
        yield "pool %s%s: %s" % (pool["cidr"], disabled, calico_mesh.pool_use(pool))
