"""What `make test` and `make matrix` run, phase by phase, and what it took.

    .venv/bin/python -m tests.tiers TIER

A tier is one of TIERS. Integration tests run on hosts of both generations, unless PROFILE names one, or
CALICO_VERSION an original that belongs to one.

Every phase runs, also after one that failed: one run tells all that is wrong. At the end: the seconds of
each phase, and the ten slowest tests.
"""

import os
import subprocess
import sys
import tempfile
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


def beside(name, *arguments):
    return Phase(name, (*SIDE_BY_SIDE, *arguments))


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

TIERS = {
    "test-unit": [beside("unit tests", TEST, "tests/unit")],
    "test-functional": [beside("functional tests", TEST, "tests/functional")],
    "test-integration": INTEGRATION,
    "test": [beside("unit and functional tests", TEST, "tests/functional", "tests/unit"), *INTEGRATION],
    "matrix-faults": FAULTS,
    "matrix-fleet": FLEET,
    "matrix-salt": SALT,
    "matrix": [*FAULTS, *FLEET, *SALT],
}


def main(tier):
    seconds, failed, slowest = {}, [], []
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        for phase in TIERS[tier]:
            print(f"== {phase.name}", flush=True)
            begin = time.monotonic()
            command = [sys.executable, "-m", "pytest", *phase.arguments, f"--junitxml={report}"]
            code = subprocess.run(command, env={**os.environ, **phase.environment}).returncode
            seconds[phase.name] = time.monotonic() - begin
            if code:
                failed.append(phase.name)
            slowest += times(report, phase.name)
            report.unlink(missing_ok=True)
    slowest = sorted(slowest, reverse=True)[:SLOWEST]
    print("\n".join(f"{taken:8.1f} s  {test} ({phase})" for taken, test, phase in slowest))
    for name, taken in seconds.items():
        print(f"== {name}: {taken:.0f} s{', FAILED' if name in failed else ''}", flush=True)
    return 1 if failed else 0


def times(report, phase):
    """(seconds, test, phase) of every test; none where pytest did not come to its end."""
    if not report.is_file():
        return
    for case in xml.parse(report).iter("testcase"):
        yield float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}", phase


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
