"""
A rolling upgrade: which hosts, in which order, in which batches, and what speaks against it.

Everything is decided from what the hosts say of themselves (``calico.rollout``), so a run that ended at
any point is gone on with by the next one: there is no file that could be wrong. Work is done once for each
host, never once for each pair. Pure: no Salt, no side effects.
"""

import re

from calico_generations import generation_of

# Names of neighbours that a host says at most: more would make the answers of all grow with the square.
MOST_MISSING = 50
# How many hosts are named in a sentence.
MOST_NAMES = 10
BATCH = "a number of hosts from 1, or a percentage from 1% to 100%"


class Refused(ValueError):
    """The upgrade cannot begin as it was asked for; the text says why."""


def release(image):
    """``(major, minor, patch)`` of an image by its tag, None where the tag is no release."""
    tag = (image or "").rpartition(":")[2]
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", tag)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def missing(view, expected):
    """
    The neighbours that a node has no session with.

    view
        What ``calico_view.view`` made of its sessions.
    expected
        The sessions that it must have, as ``calico.expected_peers`` returns them.

    Returns ``(names, count)``: the nodes' names, for peers that are no node of ours their addresses, the
    first of them only.
    """
    names = {session["address"]: session["node"] for session in expected}
    addresses = [item.partition(" ")[0] for _why, items in view["down"] for item in items.split(",")]
    return [names.get(item) or item for item in addresses[:MOST_MISSING]], len(addresses)


def finished(view, locked=False):
    """
    Does this host run what its pillar wants, and is it ready?

    locked
        The datastore is locked by a migration: Felix then waits for its end.
    """
    waits = view["felix"] and not locked
    return bool(view["current"] and not view["reasons"] and not waits and not view["missing_count"])


def why(view):
    """What keeps a host from being finished, on one line."""
    parts = []
    if not view["current"]:
        same = view["image"] == view["wanted"]
        parts.append("its pillar wants %s" % ("other settings" if same else view["wanted"]))
    parts += view["reasons"]
    if view["felix"]:
        parts.append("Felix is not ready: %s" % view["felix"])
    if view["missing_count"]:
        parts.append("no session with %s" % some(view["missing"], view["missing_count"]))
    return "; ".join(parts)


def some(names, count=None):
    """The first of these names, and how many more there are."""
    names = list(names)
    more = (count or len(names)) - min(len(names), MOST_NAMES)
    return ", ".join(names[:MOST_NAMES]) + (" and %d more" % more if more else "")


def natural(name):
    """The key by which node2 comes before node10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]


def batch_size(batch, hosts):
    """
    How many hosts are taken at once.

    batch
        A number, or a percentage of all hosts as text (``25%``), which is never less than one.

    Raises :class:`Refused`.
    """
    text = str(batch).strip()
    number = text[:-1] if text.endswith("%") else text
    if isinstance(batch, bool) or not number.isdigit() or int(number) < 1:
        raise Refused("batch: got '%s'; accepted: %s" % (batch, BATCH))
    if number == text:
        return int(number)
    if int(number) > 100:
        raise Refused("batch: got '%s'; accepted: %s" % (batch, BATCH))
    return max(1, hosts * int(number) // 100)


def order(views):
    """
    The hosts (``{minion: view}``) in the order in which they are taken.

    First those that are broken themselves, as the one that an earlier run stopped at: until they are well,
    no other host can have all of its sessions. Among these, the ones that miss most.
    """

    def key(minion):
        view = views[minion]
        return (not (view["reasons"] or view["felix"]), -view["missing_count"], natural(minion))

    return sorted(views, key=key)


def batches(names, size, views):
    """These hosts, ``size`` at once; never two reflectors together: each other host needs one of them."""
    made = []
    # Batches that can still take a host, and one of them for each kind.
    open_for = {True: 0, False: 0}
    for name in names:
        reflector = bool(views[name]["reflector"])
        at = open_for[reflector]
        while at < len(made) and (len(made[at]) >= size or (reflector and _has_reflector(made[at], views))):
            at += 1
        if at == len(made):
            made.append([])
        made[at].append(name)
        open_for[reflector] = at
    return made


def _has_reflector(names, views):
    return any(views[name]["reflector"] for name in names)


def plan(views, failed, silent, batch, version=None):
    """
    What is to be done, and what speaks against it.

    views
        ``{minion: what calico.rollout returned}``.
    failed, silent
        Minions that answered with an error (``{minion: text}``), and those that did not answer.
    batch
        As for :func:`batch_size`.
    version
        The release that all pillars must want (text), or None.

    Returns ``{todo, skipped, waiting, batches, refused, migrates}``; waiting are those of the skipped that
    will be ready when others are; migrates is True where hosts go from one generation to the next.
    """
    refused = ["%s: %s" % (minion, failed[minion]) for minion in sorted(failed, key=natural)]
    if silent:
        refused.append(
            "no answer from %s: start their minions, or leave them out of tgt"
            % some(sorted(silent, key=natural))
        )
    if version is not None:
        other = [minion for minion in sorted(views, key=natural) if views[minion]["version"] != version]
        if other:
            refused.append(
                "version: got '%s', but the pillar of %s says %s: change calico:version there"
                % (version, some(other), ", ".join(sorted({views[minion]["version"] for minion in other})))
            )
    if len({view["generation"] for view in views.values()}) > 1:
        refused.append(
            "calico:version is of 2.6 on some hosts and of 3.x on others: all hosts of a cluster go together"
        )
    todo = {minion: view for minion, view in views.items() if not finished(view)}
    refused += _hopeless(todo)
    waiting = _waiting(todo)
    todo = {minion: view for minion, view in todo.items() if minion not in waiting}
    names = order(todo)
    return {
        "todo": names,
        "skipped": sorted(set(views) - set(todo), key=natural),
        "waiting": waiting,
        "batches": batches(names, batch_size(batch, len(views)), views),
        "refused": refused,
        "migrates": any(migrates(view) for view in views.values()),
    }


def _waiting(todo):
    """Hosts that only wait for others which are taken: there is nothing to be done there."""
    taken = {
        view["node"] for view in todo.values() if not view["current"] or view["reasons"] or view["felix"]
    }
    return [
        minion
        for minion in sorted(todo, key=natural)
        if todo[minion]["node"] not in taken and taken.issuperset(todo[minion]["missing"])
    ]


def migrates(view):
    """Does this host run a release of another generation than its pillar wants?"""
    runs = release(view["image"])
    return bool(runs) and generation_of(*runs[:2]) not in (None, view["generation"])


def _hopeless(todo):
    """Sessions that no host of this run can bring back: no gate would ever be passed."""
    ours = {view["node"] for view in todo.values()}
    whom = {}
    for minion, view in todo.items():
        for name in view["missing"]:
            if name not in ours:
                whom.setdefault(name, []).append(minion)
    return [
        "%s: no session with %s, which this run does not touch: the gate after its batch would fail. Bring "
        "it back, or name it in calico:ready:absent_nodes" % (some(sorted(who, key=natural)), name)
        for name, who in sorted(whom.items())
    ]


def failure(returned):
    """What went wrong in a ``state.apply``, as one text; None where nothing did."""
    if not isinstance(returned, dict):
        text = "; ".join(map(str, returned)) if isinstance(returned, list) else str(returned)
        return text or "no answer"
    said = [
        "%s: %s" % (state.get("__id__") or name, str(state.get("comment")).strip())
        for name, state in returned.items()
        if isinstance(state, dict)
        and state.get("result") is False
        # What only follows from another failure says nothing.
        and not str(state.get("comment")).startswith("One or more requisite failed")
    ]
    return "\n".join(said) or None


def text(done):
    """What was done or would be done, for people."""
    lines = []
    if done["refused"]:
        lines.append("Nothing was changed:")
        lines += ["  " + reason.replace("\n", "\n    ") for reason in done["refused"]]
    elif done["test"] and done["batches"]:
        lines.append("Would be done:")
        if done["images"]:
            lines.append("  the image onto %s" % some(done["images"]))
        lines += _numbered(done["batches"], "  batch %d of %d: %s")
    elif done["failed"]:
        lines.append("Stopped at %s:" % some(done["failed"]))
        for minion, reason in done["failed"].items():
            lines.append("  %s: %s" % (minion, reason.replace("\n", "\n    ")))
    elif done["upgraded"]:
        lines.append("Upgraded: %s" % some(done["upgraded"], len(done["upgraded"])))
    elif not done["batches"]:
        lines.append("All %d hosts run what their pillar wants, and are ready." % len(done["skipped"]))
    if done["skipped"] and done["batches"]:
        lines.append("Left alone, as they run it and are ready: %s" % some(done["skipped"]))
    if done["failed"] and done["upgraded"]:
        lines.append("Upgraded: %s" % some(done["upgraded"]))
    if done["untouched"]:
        lines.append("Untouched: %s" % some(done["untouched"]))
    if done["runs"]:
        lines.append("What runs:")
        width = max(map(len, done["runs"]))
        for minion in sorted(done["runs"], key=natural):
            lines.append("  %-*s  %s" % (width, minion, done["runs"][minion]))
    lines += ["Next: " + step for step in done["next"]]
    return "\n".join(lines)


def _numbered(made, form):
    return [form % (number, len(made), some(names)) for number, names in enumerate(made, 1)]
