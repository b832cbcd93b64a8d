"""
Ports for servers of tests: nobody has one, and nobody gets it before the server does.

Below the ports that the kernel gives to connections, so that none of those takes it meanwhile, and kept for
as long as this process lives, so that no other process of tests chooses it as well.
"""

import contextlib
import itertools
import os
import socket

_FIRST, _COUNT = 20000, 10000
# Each process begins somewhere else, and uses none twice: what was just closed may still be waiting.
_NUMBERS = (_FIRST + (os.getpid() * 97 + number) % _COUNT for number in itertools.count())
_KEPT = []


def free(address="127.0.0.1"):
    """A port of this address that is ours until this process ends."""
    for port in itertools.islice(_NUMBERS, _COUNT):
        with contextlib.suppress(OSError):
            _keep(port)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((str(address), port))
            return port
    raise RuntimeError(f"no free port for {address}")


def _keep(port):
    """A name that only one process can have, and that goes with it; OSError where another has it."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0calico-formula-port-{port}")
    except OSError:
        held.close()
        raise
    _KEPT.append(held)
