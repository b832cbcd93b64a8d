"""
One way to wait for an event, for all tests and the lab.

A deadline is there for what never comes: it is a minute or more, as a busy machine takes its time, and costs
nothing where the event does come. What must *not* happen is never waited for by a deadline: wait for an event
that comes after it would have.
"""

import threading
import time
from pathlib import Path

PATIENCE = 60


class Missed(AssertionError):
    """The event did not come."""


def until(condition, what, timeout=PATIENCE, pause=0.05, possible=None):
    """
    Wait for the event; what CONDITION returned for it, which is the first thing that is true.

    what
        The event as text, or a function that says at the end what there is instead.
    timeout
        Seconds. CONDITION is asked once more when they have passed: it may itself have taken long.
    pause
        Seconds between two questions.
    possible
        A function that is false once the event can come no more: then nothing is waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() > deadline
        over = possible is not None and not possible()
        if found := condition():
            return found
        if late or over:
            when = "any more" if over else f"within {timeout:g} s"
            raise Missed(f"not {when}: {what() if callable(what) else what}")
        time.sleep(pause)


def ends(function, timeout=PATIENCE):
    """
    What FUNCTION returns or raises, where it comes to its end at all.

    For what has a deadline of its own and would go on for ever without it: how long it took depends on the
    machine, that it ended does not.
    """
    outcome = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout)
    if not outcome:
        raise Missed(f"it has not ended within {timeout:g} s")
    ((result, error),) = outcome
    if error:
        raise error
    return result


def gone(pids, timeout=PATIENCE):
    """Wait until none of the processes runs: a killed orphan needs its new parent to be buried."""
    until(lambda: not any(map(alive, pids)), lambda: f"{list(filter(alive, pids))} still run", timeout)


def alive(pid):
    """Whether a process of this number runs: a zombie does not."""
    try:
        # After the last ')': the state.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
