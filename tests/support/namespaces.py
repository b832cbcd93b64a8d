"""Hosts made of network namespaces: a bridge with an address, and namespaces that reach it.

``Fabric`` makes them and takes them away. ``Container`` runs an image's root directory on one of
them, with a process namespace of its own, as ``docker run --net=host`` would: no Docker needed.
"""

import contextlib
import ipaddress
import itertools
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

from tests.lab.network import choosing
from tests.support import programs, waiting

_COUNTER = itertools.count()
_SUBNETS = ipaddress.ip_network("198.18.0.0/15")


def ip(*arguments, check=True):
    return programs.run(["ip", *arguments], check=check)


class Fabric:
    """``hosts`` namespaces on one network; ``gateway`` is this machine's address on it."""

    def __init__(self, hosts):
        self._tag = f"cf{os.getpid() % 100000}x{next(_COUNTER)}"
        self._count = hosts
        self.hosts = []

    def __enter__(self):
        try:
            # Taken before another process of tests looks for what is free.
            with choosing():
                self._take(_free_network())
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _take(self, network):
        self.network, self.gateway = network, str(network[1])
        self.hosts = [
            Host(f"{self._tag}h{number}", f"{network[10 + number]}/{network.prefixlen}")
            for number in range(1, self._count + 1)
        ]
        # Another process of this number may have been killed.
        self.__exit__()
        ip("link", "add", self._tag, "type", "bridge")
        ip("address", "add", f"{self.gateway}/{network.prefixlen}", "dev", self._tag)
        ip("link", "set", self._tag, "up")

    def _make(self):
        for host in self.hosts:
            outer = f"{host.name}o"
            ip("netns", "add", host.name)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            ip("link", "set", outer, "master", self._tag, "up")
            host.ip("link", "set", "lo", "up")
            host.ip("link", "set", "eth0", "up")
            host.ip("address", "add", host.address, "dev", "eth0")
            # Without a default route the kernel answers no workload that asks for its gateway.
            host.ip("route", "add", "default", "via", self.gateway)
            host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def __exit__(self, *_):
        for host in self.hosts:
            ip("netns", "delete", host.name, check=False)
        ip("link", "delete", self._tag, check=False)


class Host:
    def __init__(self, name, address):
        self.name, self.address = name, address

    @property
    def plain_address(self):
        return self.address.partition("/")[0]

    def command(self, *arguments):
        # Not `ip netns exec`: that hides the namespaces which a command makes from all others.
        return ["nsenter", f"--net=/run/netns/{self.name}", *map(str, arguments)]

    def run(self, *arguments, check=True, **options):
        return programs.run(self.command(*arguments), check=check, **options)

    def ip(self, *arguments):
        return self.run("ip", *arguments).stdout

    @contextlib.contextmanager
    def route_changes(self):
        """What becomes of IPv4 routes while the block runs: a list that grows by `ip monitor`'s lines."""
        lines, mark = [], "192.0.2.255"
        monitor = self.command("stdbuf", "-oL", "ip", "-4", "monitor", "route")
        with subprocess.Popen(monitor, stdout=subprocess.PIPE, text=True) as process:
            reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
            reader.start()

            def listens():
                self.ip("route", "add", "blackhole", mark)
                self.ip("route", "delete", "blackhole", mark)
                return any(mark in line for line in lines)

            try:
                waiting.until(listens, "ip monitor listens", possible=lambda: process.poll() is None)
                yield lines
            finally:
                process.kill()
                reader.join(waiting.PATIENCE)

    def routes(self):
        return {route["dst"]: route for route in json.loads(self.ip("-j", "-4", "route", "show"))}


class Container:
    """``root`` is the image's directory, the container's own; ``mounts`` are {inside: outside}."""

    def __init__(self, host, root, environment, mounts, command=("start_runit",)):
        self.root = Path(root)
        self._log = self.root.with_suffix(".log")
        binds = [f"mount --bind {source} {self.root}{target}" for target, source in mounts.items()]
        for target in mounts:
            (self.root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        script = "\n".join(
            [
                "set -e",
                "mount --make-rprivate /",
                f"mount -t proc proc {self.root}/proc",
                *binds,
                f"exec chroot {self.root} {' '.join(command)}",
            ]
        )
        alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "unchanged"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                host.command(*alone, "sh", "-c", script),
                env={"PATH": os.environ["PATH"], "HOSTNAME": host.name, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def log(self):
        return self._log.read_text(errors="replace")

    @property
    def first_process(self):
        """The container's process 1, by its number on this machine."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        alive = lambda: self._process.poll() is None  # noqa: E731
        found = waiting.until(lambda: children.read_text().split(), lambda: self.log, possible=alive)
        return int(found[0])

    def run(self, *arguments):
        """As ``docker exec``."""
        inside = ["nsenter", f"--target={self.first_process}", "--mount", "--pid", "--net", "--root", "--wd"]
        return programs.run([*inside, *arguments], check=False)

    def processes(self):
        """{name: number} of what runs inside."""
        found = {}
        first = self.first_process
        for number in Path(f"/proc/{first}/task/{first}/children").read_text().split():
            with contextlib.suppress(OSError):
                found[Path(f"/proc/{number}/comm").read_text().strip()] = int(number)
        return found

    def wait(self, timeout=waiting.PATIENCE):
        return self._process.wait(timeout)

    def stop(self, timeout=waiting.PATIENCE):
        """As ``docker stop``, but it is never killed; the exit code."""
        os.kill(self.first_process, signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _free_network():
    taken = [
        ipaddress.ip_network(route["dst"], strict=False)
        for route in json.loads(ip("-j", "-4", "route", "show").stdout)
        if route["dst"] != "default"
    ]
    for network in _SUBNETS.subnets(new_prefix=24):
        if not any(network.overlaps(other) for other in taken):
            return network
    raise RuntimeError(f"no free network in {_SUBNETS}")
