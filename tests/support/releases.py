"""Other releases of Salt, each in a virtual environment that is kept between runs."""

import sys
from pathlib import Path

from tests.lab import paths
from tests.support import programs

# The newest of each line that can be installed with Python 3.11; ours is in tests/requirements.txt.
RELEASES = ("3006.29", "3007.16")
INSTALLS_WITHIN = 600


def requirements(release):
    """What such an environment holds: Salt, and what tests.support.minion needs there."""
    lines = (Path(__file__).parents[1] / "requirements.txt").read_text().splitlines()
    return [f"salt=={release}", *(line for line in lines if line.startswith("pytest-salt-factories=="))]


def directory(release):
    """The environment of a release, made where it is missing or was not completed."""
    place = paths.CACHE / "salt" / release
    wanted = "\n".join(requirements(release))
    ready = place / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        place.parent.mkdir(parents=True, exist_ok=True)
        _run(sys.executable, "-m", "venv", "--clear", place)
        options = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
        _run(place / "bin" / "pip", "install", *options, *requirements(release))
        ready.write_text(wanted)
    return place


def _run(*argv):
    try:
        programs.run(argv, timeout=INSTALLS_WITHIN)
    except programs.Failed as failed:
        raise RuntimeError(str(failed)[-4000:]) from None
