"""
Run in namespaces of its own: make processes and sockets as asked, then be calicoctl node status.

    status_situation.py SITUATION.json CALICOCTL
"""

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_NAME = 15
PLACE = "/var/run/calico"


def main(situation, calicoctl):
    for directory in (PLACE, "/var/run/bird"):
        os.makedirs(directory, exist_ok=True)
        subprocess.check_call(["mount", "-t", "tmpfs", "tmpfs", directory])
    for name in situation.get("names", ()):
        _named(name)
    for argv in situation.get("command_lines", ()):
        _started(argv)
    for name, answer in situation["sockets"].items():
        _socket(f"{PLACE}/{name}", answer.encode())
    return subprocess.call([calicoctl, "node", "status"])


def _started(argv):
    """A child that waits, and whose command line reads like this."""
    # It takes any ``-f…`` for the name of its script, and waits for input that never comes.
    with contextlib.suppress(FileExistsError):
        Path("elix").touch(exist_ok=False)
    subprocess.Popen(argv, executable=shutil.which("sed"), stdin=subprocess.PIPE)


def _named(name):
    """A child that does nothing under this name."""
    read, write = os.pipe()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
        os.write(write, b"x")
        while True:
            time.sleep(3600)
    os.read(read, 1)


def _socket(path, answer):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()

    def serve():
        while True:
            connection, _ = listening.accept()
            connection.sendall(answer)
            connections.append(connection)  # kept open: BIRD does not hang up either

    connections = []
    threading.Thread(target=serve, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]))
