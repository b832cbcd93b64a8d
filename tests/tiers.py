"""What `make test` and `make matrix` run, phase by phase, and what it took.

    .venv/bin/python -m tests.tiers TIER

A tier is one of TIERS. Integration tests run on hosts of both generations, unless PROFILE names one, or
CALICO_VERSION an original that belongs to one.

Every phase runs, also after one that failed: one run tells all that is wrong. At the end: the seconds of
each phase, and the ten slowest tests.

Tests on hosts mostly wait for them, so `make test` has two lanes: what needs processors runs beside the lab,
which goes first. What that lane prints comes whole when it is done.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

SLOWEST = 10
# A process for each processor, each of which takes whole files: their fixtures are made once. In the order in
# which they are given: the functional tests are few and slow, and one that begins last would keep the other
# process waiting.
SIDE_BY_SIDE = ("--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder")


TEST, MATRIX = "-m not matrix", "-m matrix"
GENERATIONS = {"v2": "2.6", "v3": "3"}


@dataclass(frozen=True)
class Phase:
    name: str
    arguments: tuple
    environment: dict = field(default_factory=dict)
    before: tuple = ()

    def command(self, report):
        return [*self.before, sys.executable, "-m", "pytest", *self.arguments, f"--junitxml={report}"]


def beside(name, *arguments):
    # Those on hosts have deadlines of programs that are not ours: the lab's turn comes first.
    return Phase(name, (*SIDE_BY_SIDE, *arguments), before=("nice", "-n", "5"))


def hosts(name, *arguments):
    """The lab is one, and so is its process: a phase for each generation."""
    chosen = os.environ.get("PROFILE") or os.environ.get("CALICO_VERSION", "").partition(".")[0]
    return [
        Phase(f"{name}, Calico {release}", arguments, {"PROFILE": profile})
        for profile, release in GENERATIONS.items()
        if not chosen or chosen == profile
    ]


INTEGRATION = hosts("integration tests", TEST, "tests/integration")
FAULTS = hosts("every fault", MATRIX, "tests/integration/test_matrix.py")
FLEET = hosts("the fleet", MATRIX, "tests/integration", "--ignore=tests/integration/test_matrix.py")
SALT = [Phase("other releases of Salt", (MATRIX, "tests/functional/test_salt_releases.py"))]

# Each tier as lanes that run at the same time, each of which runs its phases one after the other.
TIERS = {
    "test-unit": [[beside("unit tests", TEST, "tests/unit")]],
    "test-functional": [[beside("functional tests", TEST, "tests/functional")]],
    "test-integration": [INTEGRATION],
    "test": [
        INTEGRATION,
        [beside("unit and functional tests", TEST, "tests/functional", "tests/unit")],
    ],
    "matrix-faults": [FAULTS],
    "matrix-fleet": [FLEET],
    "matrix-salt": [SALT],
    "matrix": [[*FAULTS, *FLEET, *SALT]],
}


@dataclass
class Run:
    """What phases took, which of them failed, and (seconds, test, phase) of their tests."""

    seconds: dict = field(default_factory=dict)
    failed: list = field(default_factory=list)
    tests: list = field(default_factory=list)
    running: list = field(default_factory=list)

    def end(self):
        for process in self.running:
            process.terminate()

    def lane(self, phases, directory, output=None):
        """Run these one after the other; ``output``: the file that takes what they print."""
        report = Path(directory) / "report.xml"
        for phase in phases:
            # In one piece: the other lane prints at the same time.
            print(f"== {phase.name}\n", end="", flush=True)
            begin = time.monotonic()
            environment = {**os.environ, **phase.environment}
            command, errors = phase.command(report), output and subprocess.STDOUT
            with subprocess.Popen(command, env=environment, stdout=output, stderr=errors) as process:
                self.running.append(process)
                code = process.wait()
            self.seconds[phase.name] = time.monotonic() - begin
            if code:
                self.failed.append(phase.name)
            self.tests += times(report, phase.name)
            report.unlink(missing_ok=True)


def main(tier):
    # Ended by a signal it still shows what was printed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run, (first, *others) = Run(), TIERS[tier]
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as beside_it:
        for number, phases in enumerate(others):
            place = Path(directory) / str(number)
            place.mkdir()
            output = (place / "output").open("w+")
            beside_it.callback(show, output)
            thread = threading.Thread(target=run.lane, args=(phases, place, output), daemon=True)
            thread.start()
            beside_it.callback(thread.join)
        try:
            run.lane(first, directory)
        except BaseException:
            run.end()
            raise
    for taken, test, phase in sorted(run.tests, reverse=True)[:SLOWEST]:
        print(f"{taken:8.1f} s  {test} ({phase})")
    for name, taken in run.seconds.items():
        print(f"== {name}: {taken:.0f} s{', FAILED' if name in run.failed else ''}", flush=True)
    return 1 if run.failed else 0


def show(output):
    with output:
        output.seek(0)
        print(output.read(), end="", flush=True)


def times(report, phase):
    """(seconds, test, phase) of every test; none where pytest did not come to its end."""
    if not report.is_file():
        return
    for case in xml.parse(report).iter("testcase"):
        yield float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}", phase


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
