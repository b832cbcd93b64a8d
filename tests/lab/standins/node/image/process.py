"""How a program shows itself in the host's process list, and which version the image has."""

from __future__ import annotations

from pathlib import Path

import generations

_VERSION_FILE = Path(__file__).with_name("VERSION")
# In /proc/self/stat behind the name: where the command line begins and ends.
_COMMAND_LINE = slice(45, 47)


def named(name: str, *arguments: str) -> None:
    """Give this process the name that the original has there (calicoctl looks for it).

    With arguments, the command line too: that is what tells one `calico-node` from another.
    """
    Path("/proc/self/comm").write_text(name)
    if arguments:
        _show("\0".join((name, *arguments)).encode())


def _show(words: bytes) -> None:
    """In place of the command line that this process was started with."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = map(int, fields[_COMMAND_LINE])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(words[: end - begin - 1].ljust(end - begin, b"\0"))


def version() -> str:
    """The version that the image was built as; a checkout has no such file."""
    return _VERSION_FILE.read_text().strip() if _VERSION_FILE.exists() else "v2.6.2"


def generation() -> generations.Generation:
    return generations.of(version())


def numbers() -> list[int]:
    """Of all processes that there are."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def shown(number: int) -> tuple[str, ...]:
    """The words of a process's command line; empty ones where it has none or is gone."""
    try:
        return tuple(Path(f"/proc/{number}/cmdline").read_text().split("\0"))
    except OSError:
        return ("",)
