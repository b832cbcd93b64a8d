"""The loop that turns the datastore into BIRD's configuration.

`confd.py -onetime` writes the files once, so that BIRD has some to start with.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import birdconf
import birdctl
import process
from environment import Environment

_RETRY_S = 1.0
_PENDING_S = 0.2
_RESYNC_S = 60.0


@dataclass(frozen=True)
class Daemon:
    """One BIRD: the IP version it routes, its files."""

    version: int
    name: str

    @property
    def config(self) -> Path:
        return Path("/etc/calico/confd/config") / f"{self.name}.cfg"

    @property
    def socket(self) -> str:
        return f"/var/run/calico/{self.name}.ctl"


BIRD = Daemon(4, "bird")
BIRD6 = Daemon(6, "bird6")


def daemons() -> list[Daemon]:
    """BIRD for IPv6 runs wherever the kernel knows IPv6, as in the original."""
    return [BIRD, BIRD6] if Path("/proc/sys/net/ipv6").exists() else [BIRD]


class Loop:
    def __init__(self, store, errors: tuple, name: str, router_id: str):
        self._store, self._errors = store, errors
        self._name, self._router_id = name, router_id
        # A predecessor may have died after it wrote and before it told: BIRD is told once more.
        self._untold = set(daemons())

    def once(self) -> int:
        """Write what changed; the datastore's index that this reflects."""
        snapshot, index = self._store.snapshot()
        for daemon in daemons():
            try:
                text = birdconf.render(
                    snapshot, self._name, daemon.version, process.generation(), self._router_id
                )
            except LookupError as error:
                say(f"{error}: {daemon.config} stays as it is")
                continue
            if write(daemon.config, text):
                say(f"{daemon.config} has been updated")
                self._untold.add(daemon)
        return index

    def forever(self) -> None:
        while True:
            try:
                index = self.once()
                self._tell()
                while self._untold and not self._store.wait(index, _PENDING_S):
                    self._tell()
                if not self._untold:
                    self._store.wait(index, _RESYNC_S)
            except self._errors as error:
                say(f"datastore: {error}")
                self._tell()
                time.sleep(_RETRY_S)

    def _tell(self) -> None:
        for daemon in sorted(self._untold, key=lambda one: one.version):
            try:
                birdctl.configure(daemon.socket)
            except birdctl.Refused as error:
                say(f"{daemon.name} refused {daemon.config}: {error}")
            except OSError:
                continue  # not up yet
            self._untold.discard(daemon)


def write(path: Path, text: str) -> bool:
    """Replace the file in one step where it differs; whether it did."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)
    return True


def say(text: str) -> None:
    print(f"confd: {text}", flush=True)


def main() -> int:
    once = "-onetime" in sys.argv[1:]
    process.named(*process.generation().confd, *(["-run-once"] if once else []))
    env = Environment(os.environ)
    layout = importlib.import_module(process.generation().layout)
    store = layout.connect(env, process.version())
    loop = Loop(store, layout.Error, env.node_name(), env.text("CALICO_ROUTER_ID"))
    if once:
        loop.once()
    else:
        loop.forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
