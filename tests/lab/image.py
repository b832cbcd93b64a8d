"""The hosts' image: Debian 12 with systemd, Docker and what a Salt minion needs."""

import hashlib
import os
import shlex
import subprocess
from pathlib import Path

from tests.lab import docker, packages, paths
from tests.support import programs

FILES = Path(__file__).with_name("host")
PACKAGES = (
    "ca-certificates",
    "dbus",
    "docker.io",
    "ethtool",
    "iproute2",
    "ipset",
    "iptables",
    "iputils-ping",
    "kmod",
    "less",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    # salt-ssh brings Salt, but of what Salt depends on only what is Python.
    "python3-cryptography",
    "python3-yaml",
    "systemd",
    "systemd-sysv",
)
# Consoles, and what Debian does by the clock, have no meaning in a host of the lab.
MASKED = (
    "console-getty.service",
    "getty@tty1.service",
    # Only the test of salt-ssh has use for it, and starts one of its own.
    "ssh.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-timesyncd.service",
    "dev-hugepages.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
)


def ensure():
    """The image's name; made of Debian packages when this recipe has none yet."""
    name = f"host:{recipe_hash()}"
    if docker.run("image", "inspect", name, check=False).returncode:
        _build(name)
        _forget_all_but(name)
    return name


def _forget_all_but(name):
    """Images of older recipes; one that a host still runs from stays until it is replaced."""
    known = docker.run("image", "ls", "--format={{.Repository}}:{{.Tag}}", "host").stdout.split()
    for other in known:
        if other != name:
            docker.run("image", "rm", other, check=False)


def recipe_hash():
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(FILES.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(FILES)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _build(name):
    # Below .lab: an interrupted build leaves its tree where `demo-down` finds it.
    scratch = paths.STATE / "build"
    docker.remove_tree(scratch)
    scratch.mkdir(parents=True)
    log = scratch / "log"
    with open(log, "wb") as output:
        maker = subprocess.Popen(
            bootstrap_command(scratch),
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=output,
        )
    # What mmdebstrap wrote before it failed or was interrupted must not pass for the image.
    partial = "host:partial"
    importing = docker.command("import", '--change=CMD ["/sbin/init"]', "-", partial)
    importer = programs.run(importing, check=False, timeout=packages.APT_WITHIN, stdin=maker.stdout)
    maker.stdout.close()
    if maker.wait() or importer.returncode:
        said = log.read_text()[-3000:]
        raise RuntimeError(f"The host image could not be made:\n{said}{importer.stderr}")
    docker.run("tag", partial, name)
    docker.remove_tree(scratch)


def bootstrap_command(scratch):
    settings = scratch / "machine-apt.conf"
    settings.write_text(packages.machine_settings())
    sources = scratch / "debian.list"
    sources.write_text(packages.debian_sources())
    removed = (
        # This machine's way to the packages is not the hosts' business.
        "etc/apt/apt.conf.d/99mmdebstrap etc/apt/sources.list.d/* var/lib/apt/lists/*"
        # Kernel-wide settings would reach this machine: the kernel is shared.
        " usr/lib/sysctl.d/* etc/sysctl.d/*"
        " etc/machine-id etc/hostname etc/resolv.conf"
        # Every lab would have the same.
        " etc/ssh/ssh_host_*"
    )
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={settings}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        f"--customize-hook=copy-in {shlex.join(map(str, sorted(FILES.iterdir())))} /",
        f'--customize-hook=chroot "$1" systemctl mask {" ".join(MASKED)}',
        '--customize-hook=chroot "$1" systemctl enable salt-minion.service',
        f'--customize-hook=cd "$1" && rm -rf {removed} && touch etc/machine-id',
        "bookworm",
        "-",
        str(sources),
    ]
