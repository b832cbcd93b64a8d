"""`make demo`: a lab, Calico on its hosts, and what came out of it as a person reads it."""

from tests.lab import workloads


def run(lab):
    lab.up()
    with lab.report.step("salt '*' state.apply calico") as note:
        # The minions may still be at what an interrupted demo asked them for.
        applied = lab.salt("*", "state.apply", "calico", queue=True, timeout=300)
        note(_in_short(applied))
    # Where the formula failed there is no network to attach to.
    applied_to = [host for host in lab.hosts if _succeeded(applied.get(host.name))]
    with lab.report.step("workloads") as note:
        addresses = {host: _attach(lab, host) for host in applied_to}
        note(", ".join(f"{host.name} {' '.join(addresses[host])}" for host in applied_to) or "none")
    with lab.report.step("packets from each host's workload to the next host's") as note:
        ways = zip(applied_to, applied_to[1:] + applied_to[:1], strict=True)
        passed = [workloads.reaches(here, "w1", addresses[there][1]) for here, there in ways]
        note(f"{sum(passed)} of {len(passed)} pass")
    with lab.report.step("salt '*' calico.status"):
        status = lab.salt("*", "calico.status")
        expected = lab.salt("*", "calico.expected_peers")
    names = [host.name for host in lab.hosts]
    print(f"\nsalt '*' state.apply calico\n{table(APPLY_HEAD, _apply_rows(names, applied))}")
    for failure in _failures(names, applied):
        print(failure)
    print(f"\nsalt '*' calico.status\n{table(STATUS_HEAD, _status_rows(names, status, expected))}")
    good = len(applied_to) == len(names) and all(passed) and all(map(_ready, map(status.get, names)))
    print(f"\n{_what_next(good)}   ({lab.report.total():.0f} s)")
    return 0 if good else 1


def _attach(lab, host):
    return [workloads.attach(lab, host, name)["address"] for name in ("w1", "w2")]


APPLY_HEAD = ("host", "succeeded", "changed", "failed", "time")
STATUS_HEAD = ("host", "ready", "service", "felix", "sessions", "reason")


def _apply_rows(names, applied):
    for name in names:
        states = applied.get(name)
        if not isinstance(states, dict):
            yield name, "-", "-", "-", "no answer" if states is None else "not applied"
            continue
        results = [state["result"] for state in states.values()]
        seconds = sum(float(state.get("duration", 0)) for state in states.values()) / 1000
        changed = sum(bool(state["changes"]) for state in states.values())
        failed = results.count(False)
        yield name, len(results) - failed, changed, failed, f"{seconds:.1f} s"


def _status_rows(names, status, expected):
    for name in names:
        state = status.get(name)
        if not isinstance(state, dict):
            yield name, "no", "?", "?", "?", state or "no answer"
            continue
        established = sum(session["established"] for session in state["sessions"])
        peers = expected.get(name)
        wanted = len(peers) if isinstance(peers, list) else "?"
        yield (
            name,
            "yes" if state["ready"] else "NO",
            "runs" if state["service"]["active"] else "stopped",
            "ready" if state["felix"]["ready"] else "not ready",
            f"{established}/{wanted} established",
            "; ".join(state["reasons"]) or "-",
        )


def _failures(names, applied):
    for name in names:
        states = applied.get(name)
        if isinstance(states, dict):
            for state in states.values():
                if state["result"] is False:
                    yield f"{name}: {state.get('__id__', state['name'])}: {state['comment']}"
        elif states is not None:
            yield f"{name}: {states if isinstance(states, str) else '; '.join(states)}"


def _succeeded(states):
    return isinstance(states, dict) and all(state["result"] for state in states.values())


def _ready(state):
    return isinstance(state, dict) and state["ready"]


def _in_short(applied):
    changes = sum(
        bool(state["changes"])
        for states in applied.values()
        if isinstance(states, dict)
        for state in states.values()
    )
    return f"{changes} changes"


def _what_next(good):
    if good:
        return "Go on: `make shell` gives a prompt, `make demo-down` removes everything."
    return "Something failed: `make shell` to look, `make demo` to try again, `make demo-down`."


def table(head, rows):
    cells = [tuple(map(str, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
