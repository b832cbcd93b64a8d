"""
Two looks at a node, and what happened between them: the events of the beacon ``calico_bgp``.

The difference lies here and not in the beacon: a beacon can import nothing of the formula's, and what it
remembers is what :func:`changes` returned the time before.

Pure: no Salt, no files, no network; the clock is passed in.
"""

import calico_bird

# A source that cannot be read is a state of its own; the texts are what an event shows of it.
ANSWERS, SILENT = "answers", "no answer"
LONGEST_REASON = 500
# The container where docker has not answered yet.
_UNKNOWN = "unknown"
# What an event tells of a session beside its states.
_SESSION = ("name", "address", "port", "type", "as_number", "info", "reason", "since")


def changes(before, seen, now, settle=30, most=50):
    """
    What happened since the last look.

    before
        The state that the last call returned, or None: then there is nothing to compare with, and
        nothing is told.
    seen
        The node as it is: ``node`` (its name), ``birds`` (``{family: {daemon, sessions}}`` or
        ``{family: {error}}``), ``felix`` (ready, reason) and ``container`` (``{id, started}``, None
        where none runs, or ``{error}``).
    now
        Seconds of a clock that never goes back (number).
    settle
        How long sessions may take to come back after BIRD was started anew before they count as down
        (seconds).
    most
        How many sessions are told one by one; more that went the same way are one event (int).

    Returns ``(state, events)``.
    """
    first = before is None
    state = dict(before or {"birds": {}, "sessions": {}})
    events = []
    state["container"], told = _container(before, seen["container"])
    events += told
    state["birds"], state["sessions"] = {}, {}
    earlier = {} if first else before["birds"]
    for family in sorted({*earlier, *seen["birds"]}):
        known = {} if first else before["sessions"].get(family, {})
        bird, told = _bird(earlier.get(family), family, seen["birds"].get(family), now, settle)
        events += told
        state["birds"][family] = bird
        if bird["error"]:
            # Nobody knows how the sessions are: they stay as they were seen last.
            state["sessions"][family] = known
            continue
        sessions = {
            session["name"]: _session(session, family, seen["birds"][family])
            for session in seen["birds"][family]["sessions"]
        }
        begin = family not in earlier or (not known and earlier[family]["error"])
        told, sessions = _sessions(known, sessions, settling=now < bird["settled"], begin=begin)
        events += _bounded(told, family, most)
        state["sessions"][family] = sessions
    state["felix"], told = _felix(before, seen["felix"])
    events += told
    if first:
        events = []
    return state, [dict(event, node=seen["node"]) for event in events]


def running(inspected):
    """Which container runs, ``{id, started}``, of what docker says of it; None where none does."""
    state = (inspected or {}).get("State") or {}
    if not state.get("Running"):
        return None
    return {"id": inspected["Id"], "started": state.get("StartedAt")}


def _event(kind, change, old, new, **more):
    if "reason" in more:
        more["reason"] = more["reason"][:LONGEST_REASON]
    return dict(more, tag="%s/%s" % (kind, change), kind=kind, old=old, new=new)


def _container(before, seen):
    """The container as it is known now, and events; ``error`` says why it is not known better."""
    known = before["container"] if before else {"error": "", "now": _UNKNOWN}
    if seen and "error" in seen:
        told = []
        if not known["error"]:
            told = [_event("docker", "silent", ANSWERS, SILENT, reason=seen["error"])]
        return {"error": seen["error"], "now": known["now"]}, told
    told = [_event("docker", "back", SILENT, ANSWERS)] if known["error"] else []
    old = known["now"]
    if seen != old and old != _UNKNOWN:
        change = "gone" if not seen else "back" if not old else "restarted"
        told.append(_event("container", change, old, seen))
    return {"error": "", "now": seen}, told


def _bird(known, family, seen, now, settle):
    """BIRD of a family as it is known now, and events."""
    if seen is None:
        # Known a moment ago, and now there is not even a socket.
        seen = {"error": "there is no socket of BIRD's any more (%s)" % family}
    if "error" in seen:
        told = []
        if known and not known["error"]:
            told = [_event("bird", "silent", ANSWERS, SILENT, family=family, reason=seen["error"])]
        return dict(known or {"started": None, "age": None}, error=seen["error"], settled=now), told
    started = seen["daemon"]["last_reboot"]
    age = calico_bird.seconds_since(started, seen["daemon"]["server_time"])
    bird = {"error": "", "started": started, "age": age, "settled": known["settled"] if known else now}
    if not known:
        return bird, []
    told = []
    if known["error"]:
        told = [_event("bird", "back", SILENT, ANSWERS, family=family, since=started)]
        bird["settled"] = now + settle
    elif _younger(known["age"], age):
        told = [_event("bird", "restarted", known["started"], started, family=family)]
        bird["settled"] = now + settle
    return bird, told


def _younger(before, after):
    """Whether what began so long ago has begun anew since."""
    # BIRD rounds to seconds, so two looks may differ by one in either direction.
    return before is not None and after is not None and after < before - 1


def _session(session, family, bird):
    told = {key: session[key] for key in _SESSION}
    age = calico_bird.seconds_since(session["since"], bird["daemon"]["server_time"])
    return dict(told, family=family, up=session["established"], age=age)


def _sessions(known, seen, settling, begin):
    """
    Events of sessions that went up or down, and the sessions as they are known now.

    Sessions that were up keep that while BIRD, just started, has not settled. One that is new or gone
    matters only where it is or was up: the cluster has got or lost a node otherwise.
    """
    events, now = [], {}
    for name in sorted({*known, *seen}):
        old, new = known.get(name), seen.get(name)
        was, is_up = bool(old and old["up"]), bool(new and new["up"])
        if was and not is_up and settling:
            now[name] = old
            continue
        if new:
            now[name] = new
        if begin:
            continue
        if was != is_up:
            words = {True: "up", False: "down"}
            shown = dict(new or dict(old, info="", reason="BIRD no longer has this session", since=""))
            before = words[was] if old else "absent"
            after = words[is_up] if new else "absent"
            events.append(_session_event("up" if is_up else "down", before, after, shown))
        elif was and not settling and _younger(old["age"], new["age"]):
            events.append(_session_event("restarted", "up", "up", new))
    return events, now


def _session_event(change, old, new, session):
    told = {key: value for key, value in session.items() if key not in ("up", "age")}
    return _event("session", change, old, new, **told)


def _bounded(events, family, most):
    """Where very many sessions went the same way (a switch, a rack), one event tells of them all."""
    result = []
    for change in ("down", "up", "restarted"):
        same = [event for event in events if event["tag"] == "session/" + change]
        if len(same) <= most:
            result += same
            continue
        told = {"family": family, "count": len(same), "addresses": [event["address"] for event in same]}
        last = same[-1]
        told["reason"] = last["reason"]
        result.append(_event("sessions", change, last["old"], last["new"], **told))
    return result


def _felix(before, seen):
    words = {True: "ready", False: "not ready"}
    told = []
    # None where it cannot be asked, which is no news of Felix.
    if before and None not in (before["felix"], seen["ready"]) and before["felix"] != seen["ready"]:
        change = "ready" if seen["ready"] else "not_ready"
        old, new = words[before["felix"]], words[seen["ready"]]
        told = [_event("felix", change, old, new, reason=seen["reason"])]
    return seen["ready"], told
