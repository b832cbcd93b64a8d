"""Tell a running BIRD to read its configuration again."""

from __future__ import annotations

import socket

_DEADLINE_S = 2.0
# The first digit of a reply's code: 0 done, 8 and 9 refused.
_DONE = b"0"


class Refused(Exception):
    """BIRD runs, and does not like the configuration."""


def configure(path: str) -> None:
    """Raises OSError where BIRD is not there (yet), Refused where it keeps what it had."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(_DEADLINE_S)
        control.connect(path)
        with control.makefile("rwb") as stream:
            stream.readline()  # the greeting
            stream.write(b"configure\n")
            stream.flush()
            for line in stream:
                code, kind = line[:4], line[4:5]
                if not code.isdigit() or kind != b" ":
                    continue  # more lines follow
                if not code.startswith(_DONE):
                    raise Refused(line[5:].decode(errors="replace").strip())
                return
    raise ConnectionError("BIRD closed its socket before it answered")
