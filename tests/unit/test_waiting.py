"""The ways to wait and to run a program that all tests and the lab share."""

import ast
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support import ports, programs, waiting

TESTS = Path(__file__).resolve().parents[1]


class Clock:
    """Time passes by sleeping alone."""

    def __init__(self):
        self.now, self.slept = 0.0, 0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.slept += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def test_what_is_there_is_not_waited_for(clock):
    assert waiting.until(lambda: "it", "it") == "it"
    assert clock.slept == 0


def test_an_event_is_waited_for_and_its_value_returned(clock):
    answers = iter([0, None, "", "it"])
    assert waiting.until(lambda: next(answers), "it") == "it"
    assert clock.slept == 3


def test_an_event_that_never_comes_is_said_after_a_minute(clock):
    with pytest.raises(waiting.Missed, match=r"^not within 60 s: it, but that$"):
        waiting.until(lambda: False, lambda: "it, but that")
    assert 60 <= clock.now < 61


def test_a_question_that_takes_longer_than_the_deadline_may_be_answered(clock):
    """On a busy machine the only answer may come late: it counts, if it is the right one."""

    def slow():
        clock.now += 100
        return clock.now > 150

    assert waiting.until(slow, "it")


def test_what_can_come_no_more_is_not_waited_for(clock):
    with pytest.raises(waiting.Missed, match=r"^not any more: it$"):
        waiting.until(lambda: False, "it", possible=lambda: False)
    assert clock.slept == 0
    # It came, and then its cause ended.
    assert waiting.until(lambda: "it", "it", possible=lambda: False) == "it"


def test_a_program_that_fails_says_what_it_said():
    argv = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        programs.run(argv)
    said = str(caught.value)
    assert "exit status 3" in said and "out\nerr" in said
    assert programs.run(argv, check=False).returncode == 3


def test_a_program_reads_nothing_of_the_terminal():
    assert programs.run([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"]).stdout == "''\n"
    assert programs.run(["cat"], input="it").stdout == "it"


def test_text_that_is_no_utf_8_is_no_error():
    assert programs.run(["printf", r"a\377b"]).stdout == "a\ufffdb"


def test_what_a_function_returns_or_raises_once_it_ends():
    assert waiting.ends(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        waiting.ends(lambda: 1 / 0)


def test_what_never_ends_is_said():
    never = threading.Event()
    try:
        with pytest.raises(waiting.Missed, match=r"^it has not ended within 0\.1 s$"):
            waiting.ends(never.wait, 0.1)
    finally:
        never.set()


def test_a_process_that_ended_is_gone_also_before_it_is_buried():
    process = subprocess.Popen(["sleep", "1000"])
    assert waiting.alive(process.pid)
    process.kill()
    waiting.gone([process.pid])
    process.wait()
    assert not waiting.alive(process.pid)


def test_two_servers_never_choose_the_same_port():
    """Also those of another process, and before either listens."""
    code = "from tests.support import ports; print(*(ports.free() for _ in range(50)))"
    program = subprocess.Popen([sys.executable, "-c", f"{code}; input()"], cwd=TESTS.parent, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    theirs = set(program.stdout.readline().split())
    ours = {str(ports.free()) for _ in range(ports._COUNT - 500)}
    program.communicate("\n")
    assert len(theirs) == 50
    assert not theirs & ours


# Where a file does it itself, and why.
OWN = {
    "lab/progress.py": "shows people how long a step takes",
    "tiers.py": "shows people how long a phase takes",
    "support/waiting.py": "is the one way",
    "support/programs.py": "is the one way",
    "support/replay.py": "a program that never ends is what was recorded",
    "support/status_situation.py": "is run in a process of its own that has no other thing to do",
    "unit/test_bird.py": "one that drips forever",
    "unit/test_host.py": "one that drips forever",
    "unit/test_diagnostics.py": "one that hangs",
    "functional/test_etcd_client.py": "one that drips forever",
    "integration/test_service.py": "the moment of a kill is what is tested",
    "integration/test_watch.py": "a figure for people",
}
ONE_WAY = {"time.sleep": "waiting.until", "time.monotonic": "waiting.until", "subprocess.run": "programs.run"}


def test_no_test_waits_or_runs_a_program_in_a_way_of_its_own():
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        name = str(path.relative_to(TESTS))
        if name.startswith(("bench/", "lab/standins/")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                used = f"{node.value.id}.{node.attr}"
                if used in ONE_WAY:
                    found.setdefault(name, set()).add(f"{used}: use {ONE_WAY[used]}")
    assert {name: said for name, said in found.items() if name not in OWN} == {}
    assert set(OWN) - set(found) == set(), "no exception any more"
