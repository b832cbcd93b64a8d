"""Debian packages that the lab and the tests need on this machine, installed when missing.

python3.11 -m tests.lab.packages venv|tests|lab
"""

import contextlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from tests.support import programs

APT_WITHIN = 3600
# What for: {package: a program (or a file) of it}.
TESTS = {
    "etcd-server": "etcd",
    "bird": "bird",
    "iproute2": "ip",
    "iptables": "iptables",
    "iputils-ping": "ping",
    "mmdebstrap": "mmdebstrap",
    "openssh-client": "ssh",
    "procps": "sysctl",
    # The stand-in calicoctl runs by Debian's own Python, as it does in the hosts.
    "python3-yaml": "/usr/lib/python3/dist-packages/yaml/__init__.py",
    # Also where a machine was not booted with it: tests ask it about services.
    "systemd": "systemctl",
}
# runc is what podman starts containers with, where the root user lacks a capability (runc_wrapper.py).
PODMAN = {"podman": "podman", "runc": "runc"}
NEEDED = {"venv": {}, "tests": {**TESTS, **PODMAN}, "lab": {**TESTS, "docker.io": "dockerd"}}
# Debian starts these when it installs them, and at every boot; the lab runs its own, by hand.
SERVICES = (
    *("etcd", "bird", "bird6", "docker", "docker.socket", "containerd"),
    *("podman", "podman.socket", "podman-restart", "podman-auto-update", "podman-auto-update.timer"),
)
PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
POLICY = Path("/usr/sbin/policy-rc.d")


def missing(purpose):
    absent = [package for package, proof in NEEDED[purpose].items() if not _is_there(proof)]
    if sys.prefix == sys.base_prefix:
        absent += _missing_for_environments()
    return absent


def _is_there(proof):
    return os.path.isfile(proof) or shutil.which(proof, path=PLACES)


def _missing_for_environments():
    """Debian's Python leaves venv to a package; one of Salt's requirements is compiled."""
    if not importlib.util.find_spec("ensurepip"):
        yield "python3-venv"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        yield "python3-dev"
    if not shutil.which(sysconfig.get_config_var("CC").split()[0]):
        yield from ("gcc", "libc6-dev")


def install(packages):
    """Install packages; nothing that they bring is started, now or at the next boot."""
    present = set(_installed_services())
    with _no_service_starts():
        # An earlier run may have been interrupted while packages were being unpacked.
        programs.run(["dpkg", "--configure", "-a"], timeout=APT_WITHIN)
        apt("update")
        apt("install", "--yes", "--no-install-recommends", *packages)
    fresh = [service for service in _installed_services() if service not in present]
    if fresh and Path("/run/systemd/system").is_dir():
        programs.run(["systemctl", "--quiet", "disable", *fresh])


def apt(*arguments):
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments]
    done = programs.run(command, check=False, timeout=APT_WITHIN, env=environment)
    if done.returncode:
        raise RuntimeError(f"apt-get {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def _installed_services():
    for service in SERVICES:
        unit = service if "." in service else f"{service}.service"
        if any(Path(place, unit).exists() for place in ("/lib/systemd/system", "/etc/systemd/system")):
            yield unit


@contextlib.contextmanager
def _no_service_starts():
    """policy-rc.d is Debian's own way to say so (101: not allowed)."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def debian_sources():
    """Where this machine has Debian 12's packages from, as lines of sources.list."""
    if not (lines := _sources()):
        apt("update")
        lines = _sources()
    return "\n".join(lines) + "\n"


def _sources():
    done = programs.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
            "Origin: Debian",
        ]
    )
    return [line for line in dict.fromkeys(done.stdout.splitlines()) if " bookworm" in line]


def machine_settings():
    """How this machine's apt reaches its sources (proxies and the like), as an apt.conf."""
    dump = programs.run(["apt-config", "dump"]).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(wanted))


def main():
    if packages := missing(sys.argv[1]):
        print(f"Debian packages are installed: {', '.join(packages)} …", flush=True)
        install(packages)


if __name__ == "__main__":
    main()
