"""How a program shows itself in the host's process list, and which version the image has."""

from __future__ import annotations

from pathlib import Path

import generations

_VERSION_FILE = Path(__file__).with_name("VERSION")


def named(name: str) -> None:
    """Give this process the name that the original has there (calicoctl looks for it)."""
    Path("/proc/self/comm").write_text(name)


def version() -> str:
    """The version that the image was built as; a checkout has no such file."""
    return _VERSION_FILE.read_text().strip() if _VERSION_FILE.exists() else "v2.6.2"


def generation() -> generations.Generation:
    return generations.of(version())
