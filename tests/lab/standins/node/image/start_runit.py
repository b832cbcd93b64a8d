#!/usr/bin/python3.11 -Es
"""The container's first process: start-up once, then the services, each started again when it dies.

On SIGTERM everything ends at once by SIGKILL, so that BIRD withdraws nothing: its kernel routes
stay, and its neighbours wait for the graceful restart. Only 2.6 hears nothing while its start-up runs, as
where that waits for the datastore: it has to be killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import confd
import process
from environment import Environment

_HERE = Path(__file__).resolve().parent  # a link leads here
_PAUSE_S = 1.0  # between two starts of one service
_LOGS = Path("/var/log/calico")
_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


class Stopped(Exception):
    """SIGTERM or SIGINT came."""


@dataclass
class Service:
    name: str
    program: str
    arguments: tuple[str, ...]
    pid: int = 0
    exit_code: int = 0
    due: float = 0.0  # when it may be started again


def python_service(name: str, script: str, *arguments: str) -> Service:
    return Service(name, sys.executable, ("-E", "-s", str(_HERE / script), *arguments))


def bird_service(daemon: confd.Daemon) -> Service:
    # -R: a BIRD that takes over from one that died asks its neighbours to wait.
    return Service(
        daemon.name,
        f"/usr/sbin/{daemon.name}",
        ("-R", "-s", daemon.socket, "-d", "-c", str(daemon.config)),
    )


class Supervisor:
    def __init__(self, env: Environment):
        self._env = env
        self._environ = dict(os.environ)
        self._services: list[Service] = []
        self._hears = process.generation().hears_while_starting

    def run(self) -> int:
        """The container's exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            return self._run()
        except Stopped:
            return 0
        finally:
            for service in self._services:
                if service.pid:
                    os.kill(service.pid, signal.SIGKILL)

    def _run(self) -> int:
        Path(confd.BIRD.socket).parent.mkdir(parents=True, exist_ok=True)
        if code := self._complete(python_service("startup", "startup.py")):
            print("Calico node failed to start", file=sys.stderr, flush=True)
            return code
        self._hears = True
        name = self._node_name()
        self._environ |= {"NODENAME": name, "FELIX_FELIXHOSTNAME": name}
        self._services = self._wanted()
        print("Calico node started successfully", flush=True)
        process.named("runsvdir")
        while True:
            self._start_those_due()
            self._wait()

    def _node_name(self) -> str:
        """As the start-up has found it."""
        file = process.generation().node_name_file
        return Path(file).read_text() if file else self._env.node_name()

    def _wanted(self) -> list[Service]:
        services = []
        if not self._env.text("CALICO_DISABLE_FELIX"):
            services.append(python_service("calico-felix", "felix.py"))
        if self._env.backend() in ("none", "vxlan"):
            print(f"CALICO_NETWORKING_BACKEND is {self._env.backend()} - no BGP daemon running", flush=True)
            return services
        # As far as it goes: a BIRD without a configuration is started until it has one.
        self._complete(python_service("confd", "confd.py", "-onetime"))
        services += [bird_service(daemon) for daemon in confd.daemons()]
        return [*services, python_service("confd", "confd.py")]

    def _complete(self, service: Service) -> int:
        self._services = [service]
        self._start(service, sys.stdout.fileno())
        while service.pid:
            self._wait()
        return service.exit_code

    def _start_those_due(self) -> None:
        for service in self._services:
            if not service.pid and service.due <= time.monotonic():
                output = self._output(service)
                self._start(service, output)
                if output != sys.stdout.fileno():
                    os.close(output)

    def _output(self, service: Service) -> int:
        if self._env.text("CALICO_DISABLE_FILE_LOGGING") == "true":
            return sys.stdout.fileno()
        path = _LOGS / service.name.removeprefix("calico-") / "current"
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def _start(self, service: Service, output: int) -> None:
        service.due = time.monotonic() + _PAUSE_S
        service.pid = os.posix_spawn(
            service.program,
            [service.name, *service.arguments],
            self._environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)],
            setsigmask=[],
        )

    def _wait(self) -> None:
        """Until a child ended, a service is due, or the end was asked for."""
        due = [service.due for service in self._services if not service.pid]
        if due:
            info = signal.sigtimedwait(_SIGNALS, max(0.0, min(due) - time.monotonic()))
        else:
            info = signal.sigwaitinfo(_SIGNALS)
        if info and info.si_signo != signal.SIGCHLD and self._hears:
            raise Stopped
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for service in self._services:
                if service.pid == pid:
                    service.pid = 0
                    service.exit_code = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(Supervisor(Environment(os.environ)).run())
