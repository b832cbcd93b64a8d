"""calico/node's image archive and calicoctl: the originals where given, the stand-ins elsewhere."""

import fcntl
import hashlib
import os
import shutil
import sys
from pathlib import Path

from tests.lab import paths, salt
from tests.support import programs

STANDINS = Path(__file__).with_name("standins")
# Of Debian packages, which come by the network.
MADE_WITHIN = 3600
IMAGE = "calico-node.tar"
CALICOCTL = "calicoctl"


class BuildFailed(RuntimeError):
    pass


def prepare_image(settings):
    """The image archive lies in the hosts."""
    source = settings.image_archive or standin_image(settings.calico_version)
    paths.ARTIFACTS.mkdir(parents=True, exist_ok=True)
    _place(source, paths.ARTIFACTS / IMAGE)


def standin_image(version):
    """The archive of the stand-in for calico/node of this release."""
    return _built(
        f"node-{version}.tar",
        STANDINS / "node" / "build.py",
        [STANDINS / "node", STANDINS / "calicoctl", *STANDINS.glob("etcdv*.py")],
        ["--tag", f"calico/node:{version}"],
    )


def image_identity():
    """Other for another archive: a host that has loaded one does not look at the next."""
    seen = (paths.ARTIFACTS / IMAGE).stat()
    return seen.st_size, seen.st_mtime_ns


def prepare_calicoctl(settings):
    """calicoctl lies in the master's file_roots; returns its pillar entry."""
    source = settings.calicoctl or _built(
        f"calicoctl-{settings.calicoctl_version}",
        STANDINS / "build_calicoctl.py",
        [*STANDINS.glob("*calicoctl*"), *STANDINS.glob("etcdv*.py")],
        ["--version", settings.calicoctl_version],
    )
    (salt.FILES / "lab").mkdir(parents=True, exist_ok=True)
    _place(source, salt.FILES / "lab" / CALICOCTL)
    with open(source, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"source": f"salt://lab/{CALICOCTL}", "source_hash": f"sha256={digest}"}


def _built(name, script, sources, arguments):
    """A stand-in, made anew when any of its sources or the arguments are new."""
    directory = paths.CACHE / "standins"
    made = directory / f"{_hash(sources, arguments)}-{name}"
    directory.mkdir(parents=True, exist_ok=True)
    # Tests side by side, and commands of the lab, want the same one: the first of them makes it.
    with open(directory / f"lock-{script.parent.name}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(made, [sys.executable, script], arguments, directory.glob(f"*-{name}*"))
    return made


def _make(made, program, arguments, outdated):
    for old in outdated:
        old.unlink()
    partial = made.with_name(made.name + ".partial")
    done = programs.run([*program, partial, *arguments], check=False, timeout=MADE_WITHIN, cwd=paths.CHECKOUT)
    if done.returncode:
        raise BuildFailed(f"{program[-1].name}:\n{done.stdout}{done.stderr}"[-4000:])
    partial.rename(made)


def _hash(sources, arguments):
    digest = hashlib.sha256(repr(arguments).encode())
    files = [file for source in sources for file in (source, *source.rglob("*"))]
    for file in sorted(files):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(STANDINS)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _place(source, target):
    """As a link where that can be: the archive is hundreds of megabytes."""
    if target.exists() and _alike(target.stat(), source.stat()):
        return
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copy2(source, partial)
    partial.rename(target)


def _alike(one, other):
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
