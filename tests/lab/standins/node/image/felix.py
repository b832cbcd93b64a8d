"""Felix's outside: its name, its health port, the routes to this host's own workloads.

Policy is not enforced: what a workload's profile would let pass, passes.
"""

from __future__ import annotations

import datetime
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dataplane
import health
import process
from environment import Environment

_LOOSE = (
    "Kernel's RPF check is set to 'loose'.  This would allow endpoints to spoof their IP address.  Calico "
    "requires net.ipv4.conf.all.rp_filter to be set to 0 or 1. If you require loose RPF and you are not "
    "concerned about spoofing, this check can be disabled by setting the IgnoreLooseRPF configuration "
    "parameter to 'true'."
)
_SHUTDOWN_S = 2.0  # so that it does not begin anew again and again
_RETRY_S = 1.0
_RESYNC_S = 90.0
_TRUE = ("true", "1", "yes", "y", "t")


class Settings:
    """Felix's settings: the environment goes before the datastore."""

    def __init__(self, env: Environment, snapshot, node: str):
        self._env, self._snapshot, self._node = env, snapshot, node

    def text(self, name: str, default: str) -> str:
        given = self._env.text(f"FELIX_{name.upper()}")
        return given or self._snapshot.felix_setting(self._node, name) or default

    def boolean(self, name: str) -> bool:
        return self.text(name, "false").lower() in _TRUE


class Nothing:
    """A datastore that has not been read yet."""

    def felix_setting(self, _node: str, _name: str) -> None:
        return None


class Felix:
    def __init__(
        self, store, errors: tuple, node: str, routes: dataplane.Dataplane, in_sync: threading.Event
    ):
        self._store, self._errors = store, errors
        self._node, self._dataplane = node, routes
        self._wanted: list | None = None
        self._work = threading.Event()
        self.in_sync = in_sync

    def follow_datastore(self) -> None:
        """In sync once everything was read; a datastore that goes away later changes nothing."""
        while True:
            try:
                snapshot, index = self._store.snapshot()
                if (flag := snapshot.ready_flag()) != "true":
                    self._stand_by(flag)
                    self._store.wait(index, _RESYNC_S)
                    continue
                self._wanted = snapshot.endpoints(self._node)
                self._work.set()
                self._store.wait(index, _RESYNC_S)
            except self._errors as error:
                say(f"datastore: {error}")
                time.sleep(_RETRY_S)

    def _stand_by(self, flag: str | None) -> None:
        """A migration is under way: it begins anew and waits, and calls that ready where it was told so."""
        if self._wanted is not None:
            time.sleep(_SHUTDOWN_S)
            fatal("felix.go 521", 'Exiting. reason="datastore became unready"')
            os._exit(1)
        (self.in_sync.set if flag == "false" else self.in_sync.clear)()

    def follow_links(self) -> None:
        """An endpoint may be stored before its interface is there."""
        for _ in dataplane.link_changes():
            self._work.set()

    def apply_forever(self) -> None:
        while True:
            self._work.wait(_RESYNC_S)
            self._work.clear()
            if self._wanted is None:
                continue
            self._dataplane.apply(self._wanted)
            self.in_sync.set()


def first_snapshot(store, errors: tuple):
    """Felix knows its settings, and hence its health port, only when it has read them."""
    while True:
        try:
            return store.snapshot()[0]
        except errors as error:
            say(f"datastore: {error}")
            time.sleep(_RETRY_S)


def say(text: str) -> None:
    print(f"calico-felix: {text}", flush=True)


def fatal(place: str, text: str) -> None:
    """A line as the original's last one."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    print(f"{now} [FATAL][{os.getpid()}] {place}: {text}", flush=True)


def loose() -> bool:
    """Whether the kernel lets packets in that come from where no answer would go."""
    return int(Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text()) > 1


def background(work: Callable[[], None]) -> None:
    """A thread whose failure ends the process, so that it is started again."""

    def run() -> None:
        try:
            work()
        except BaseException as error:
            say(f"{type(error).__name__}: {error}")
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()


def serve_health(settings: Settings, generation, in_sync: threading.Event) -> None:
    port = int(settings.text("HealthPort", "9099"))
    host = settings.text("HealthHost", generation.health_host)
    background(lambda: health.serve(host, port, in_sync.is_set))


def main() -> int:
    generation = process.generation()
    process.named(*generation.felix)
    env = Environment(os.environ)
    layout = importlib.import_module(generation.layout)
    store = layout.connect(env, process.version())
    node = env.text("FELIX_FELIXHOSTNAME") or env.node_name()
    in_sync = threading.Event()
    early = Settings(env, Nothing(), node)
    if generation.health_opens_first and early.boolean("HealthEnabled"):
        serve_health(early, generation, in_sync)
    settings = Settings(env, first_snapshot(store, layout.Error), node)
    if generation.refuses_loose_rpf and not settings.boolean("IgnoreLooseRPF") and loose():
        fatal("int_dataplane.go 763", _LOOSE)
        return 1
    tables = generation.felix_tables or dataplane.tables(settings.text("IptablesBackend", "auto"))
    routes = dataplane.Dataplane(settings.text("InterfacePrefix", "cali"), tables)
    felix = Felix(store, layout.Error, node, routes, in_sync)
    if settings.boolean("HealthEnabled") and not (
        generation.health_opens_first and early.boolean("HealthEnabled")
    ):
        serve_health(settings, generation, in_sync)
    background(felix.follow_datastore)
    background(felix.follow_links)
    felix.apply_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
