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
import time
from pathlib import Path

_COUNTER = itertools.count()
_SUBNETS = ipaddress.ip_network("198.18.0.0/15")


def ip(*arguments, check=True):
    return subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True, check=check)


class Fabric:
    """``hosts`` namespaces on one network; ``gateway`` is this machine's address on it."""

    def __init__(self, hosts):
        self._tag = f"cf{os.getpid() % 100000}x{next(_COUNTER)}"
        self.network = _free_network()
        self.gateway = str(self.network[1])
        self.hosts = [
            Host(f"{self._tag}h{number}", f"{self.network[10 + number]}/{self.network.prefixlen}")
            for number in range(1, hosts + 1)
        ]

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        ip("link", "add", self._tag, "type", "bridge")
        ip("address", "add", f"{self.gateway}/{self.network.prefixlen}", "dev", self._tag)
        ip("link", "set", self._tag, "up")
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
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=check, **options
        )

    def ip(self, *arguments):
        return self.run("ip", *arguments).stdout

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
        children = f"/proc/{self._process.pid}/task/{self._process.pid}/children"
        return int(Path(children).read_text().split()[0])

    def run(self, *arguments):
        """As ``docker exec``."""
        inside = ["nsenter", f"--target={self.first_process}", "--mount", "--pid", "--net", "--root", "--wd"]
        return subprocess.run([*inside, *arguments], capture_output=True, text=True, check=False)

    def processes(self):
        """{name: number} of what runs inside."""
        found = {}
        first = self.first_process
        for number in Path(f"/proc/{first}/task/{first}/children").read_text().split():
            with contextlib.suppress(OSError):
                found[Path(f"/proc/{number}/comm").read_text().strip()] = int(number)
        return found

    def wait(self, timeout=30):
        return self._process.wait(timeout)

    def stop(self, timeout=10):
        """As ``docker stop``; the exit code."""
        os.kill(self.first_process, signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def until(condition, timeout, what):
    """Wait for the event; its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(0.05)


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
