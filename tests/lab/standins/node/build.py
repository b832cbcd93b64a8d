#!/usr/bin/env python3
"""Build the stand-in image ``calico/node:VERSION`` as an archive for ``docker load``.

    build.py OUT.tar --tag calico/node:v2.6.2

Needs root and mmdebstrap, but no Docker. Two layers: Debian packages, cut down, and the programs
in ``image/``. The same packages and programs give the same archive, byte for byte.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3]))

# Run as a script, the checkout is not on the path.
from tests.lab import packages  # noqa: E402
from tests.lab.standins.node.image import generations  # noqa: E402

PROGRAMS = HERE / "image"
# Of the other stand-ins: the clients of etcd, and how calicoctl writes resources.
SHARED = ["etcdv2.py", "etcdv3.py"]
SHARED_PACKAGE = "calicoctl"
INSTALLED = "usr/local/lib/calico-node"

SUITE = "bookworm"
PACKAGES = ["bird", "busybox-static", "iproute2", "iptables", "libpython3.11-stdlib", "python3.11-minimal"]
# What the programs never reach, of these packages and of those that they depend on.
UNWANTED = [
    "usr/share/*",
    "usr/include/*",
    "var/*",
    "etc/*",
    "run/*",
    "tmp/*",
    "boot/*",
    "home/*",
    "media/*",
    "mnt/*",
    "opt/*",
    "srv/*",
    "root/*",
    "lib/systemd/*",
    "usr/lib/systemd/*",
    "lib/init/*",
    "usr/lib/init/*",
    "usr/lib/tmpfiles.d/*",
    "usr/lib/sysusers.d/*",
    "usr/lib/dpkg/*",
    "usr/lib/apt/*",
    "usr/lib/mime/*",
    "usr/lib/tc/*",
    "usr/lib/locale/C.utf8/LC_COLLATE",
    "*/gconv/*",
    "*/perl*",
    "*/perl-base/*",
    "*/libperl*",
    "*/audit/*",
    "*/pkgconfig/*",
    "*/security/*",
    "*/libdb-5*",
    "*/libsqlite3*",
    "*/libkrb5*",
    "*/libgssapi*",
    "*/libk5crypto*",
    "*/libsepol*",
    "*/libsemanage*",
    "*/libmvec*",
    "*/libtirpc*",
    "*/libnsl*",
    "*/libpam*",
    "*/libdebconfclient*",
    "*/libgcrypt*",
    "*/libgpg-error*",
    "*/libapt*",
    "*/krb5/*",
    "*/e2fsprogs/*",
    "*/coreutils/*",
    "*/ossl-modules/*",
    "*/engines-3/*",
    "usr/lib/python3.11/pydoc_data/*",
    "usr/lib/python3.11/asyncio/*",
    "usr/lib/python3.11/test/*",
    "usr/lib/python3.11/xml/*",
    "usr/lib/python3.11/xmlrpc/*",
    "usr/lib/python3.11/unittest/*",
    "usr/lib/python3.11/multiprocessing/*",
    "usr/lib/python3.11/sqlite3/*",
    "usr/lib/python3.11/dbm/*",
    "usr/lib/python3.11/curses/*",
    "usr/lib/python3.11/wsgiref/*",
    "usr/lib/python3.11/ensurepip/*",
    "usr/lib/python3.11/config-3.11*/*",
    "usr/lib/python3.11/distutils/*",
    "usr/lib/python3.11/lib2to3/*",
    "usr/lib/python3.11/idlelib/*",
    "usr/lib/python3.11/tkinter/*",
    "usr/lib/python3.11/turtle*",
    "usr/lib/python3.11/pydoc.py",
    "usr/lib/python3.11/_pydecimal.py",
    "usr/lib/python3.11/doctest.py",
    "usr/lib/python3.11/lib-dynload/_codecs_*",
    "usr/lib/python3.11/lib-dynload/_curses*",
    "usr/lib/python3.11/lib-dynload/_test*",
    "usr/lib/python3.11/lib-dynload/_dbm*",
    "usr/lib/python3.11/lib-dynload/_sqlite3*",
    "usr/lib/python3.11/lib-dynload/nis*",
    "usr/lib/python3.11/lib-dynload/readline*",
]
# Of the programs, only these; busybox has the rest.
WANTED_PROGRAMS = [
    "bin/busybox",
    "bin/ip",
    "sbin/ip",
    "usr/bin/python3.11",
    "usr/sbin/bird",
    "usr/sbin/bird6",
    "usr/sbin/birdc*",
    "usr/sbin/iptables*",
    "usr/sbin/ip6tables*",
    "usr/sbin/xtables-*",
]
PROGRAM_DIRECTORIES = ("bin", "sbin", "usr/bin", "usr/sbin")
BUSYBOX = [
    "[",
    "awk",
    "base64",
    "cat",
    "chmod",
    "cp",
    "cut",
    "date",
    "df",
    "dmesg",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "free",
    "grep",
    "head",
    "hexdump",
    "hostname",
    "id",
    "kill",
    "killall",
    "ln",
    "ls",
    "mkdir",
    "more",
    "mount",
    "mv",
    "nc",
    "netstat",
    "nslookup",
    "pgrep",
    "pidof",
    "ping",
    "pkill",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "route",
    "sed",
    "sh",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tar",
    "tee",
    "test",
    "timeout",
    "top",
    "touch",
    "tr",
    "true",
    "umount",
    "uname",
    "uniq",
    "uptime",
    "vi",
    "watch",
    "wc",
    "wget",
    "which",
    "xargs",
]
LINKS = {
    "bin/birdcl": "/usr/sbin/birdc",
    "bin/birdcl6": "/usr/sbin/birdc6",
    "sbin/start_runit": f"/{INSTALLED}/start_runit.py",
}
DIRECTORIES = [
    "dev",
    "etc/calico/confd/config",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "var/lib",
    "var/log/calico",
]
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/hosts": "127.0.0.1 localhost\n",  # Docker puts its own in place of it
}
CONFIG = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    "Cmd": ["start_runit"],
    "WorkingDir": "/",
}
# 2017-11-06: any time will do, as long as it is always the same.
TIMESTAMP = 1509926400
CREATED = "2017-11-06T00:00:00Z"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--tag", required=True, help="such as calico/node:v2.6.2")
    given = parser.parse_args()
    if ":" not in given.tag:
        parser.error("--tag: NAME:VERSION")
    if not shutil.which("mmdebstrap"):
        parser.error("mmdebstrap is not installed")
    build(given.out, given.tag)
    return 0


def build(out: Path, tag: str) -> None:
    version = tag.rpartition(":")[2]
    with tempfile.TemporaryDirectory(prefix="calico-node-image.") as scratch:
        root = Path(scratch) / "root"
        say(f"unpacking {', '.join(PACKAGES)}")
        unpack(root, Path(scratch))
        say("cutting down")
        cut_down(root)
        compile_library(root)
        base = layer(root)
        say(f"packages: {len(base) / 1e6:.1f} MB")
        programs = Path(scratch) / "programs"
        install_programs(programs, root, version)
        write_archive(out, tag, [base, layer(programs)])
    say(f"{tag}: {out} ({out.stat().st_size / 1e6:.1f} MB)")


def unpack(root: Path, scratch: Path) -> None:
    """Packages are unpacked, not installed: nothing of them runs."""
    settings, sources = scratch / "machine-apt.conf", scratch / "debian.list"
    settings.write_text(packages.machine_settings())
    sources.write_text(packages.debian_sources())
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=extract",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={settings}",
        SUITE,
        str(root),
        str(sources),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the packages could not be unpacked:\n{done.stderr[-3000:]}")


def cut_down(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        name = str(path.relative_to(root))
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif unwanted(name):
            path.unlink()
    for name, text in FILES.items():
        place(root, name).write_text(text)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/run").symlink_to("/run")
    (root / "tmp").chmod(0o1777)
    for name in BUSYBOX:
        link(root, f"bin/{name}", "/bin/busybox")
    for name, target in LINKS.items():
        link(root, name, target)
    for name in ("iptables", "ip6tables"):
        # Debian makes these when it installs the package.
        link(root, f"usr/sbin/{name}", f"/usr/sbin/{name}-nft")


def unwanted(name: str) -> bool:
    if str(Path(name).parent) in PROGRAM_DIRECTORIES:
        return not matches(name, WANTED_PROGRAMS)
    return matches(name, UNWANTED)


def matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def place(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def link(root: Path, name: str, target: str) -> None:
    path = place(root, name)
    if not path.is_symlink() and not path.exists():
        path.symlink_to(target)


def compile_library(root: Path, directory: str = "/usr/lib/python3.11") -> None:
    """By the image's own Python: without, each start of a program would compile anew."""
    command = ["chroot", str(root), "/usr/bin/python3.11", "-m", "compileall", "-q"]
    subprocess.run([*command, "--invalidation-mode", "unchecked-hash", directory], check=True)


def install_programs(target: Path, root: Path, version: str) -> None:
    installed = target / INSTALLED
    place_programs(installed, version)
    for name, script in generations.of(version).commands.items():
        link(target, f"usr/local/bin/{name}", f"/{INSTALLED}/{script}")
    inside = root / INSTALLED
    shutil.copytree(installed, inside)
    compile_library(root, f"/{INSTALLED}")
    shutil.copytree(inside, installed, dirs_exist_ok=True)


def place_programs(installed: Path, version: str) -> None:
    """Which generation they are of, they read from their version."""
    package = HERE.parent / SHARED_PACKAGE
    (installed / SHARED_PACKAGE).mkdir(parents=True)
    for source in [*sorted(PROGRAMS.glob("*.py")), *(HERE.parent / name for name in SHARED)]:
        copied = installed / source.name
        copied.write_bytes(source.read_bytes())
        copied.chmod(0o755 if copied.read_bytes().startswith(b"#!") else 0o644)
    for source in sorted([*package.glob("*.py"), *package.glob("*.structs")]):
        (installed / SHARED_PACKAGE / source.name).write_bytes(source.read_bytes())
    (installed / "VERSION").write_text(f"{version}\n")


def layer(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            archive.add(path, str(path.relative_to(root)), recursive=False, filter=anonymous)
    return buffer.getvalue()


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Neither times nor owners of the machine that built it."""
    member.mtime = TIMESTAMP
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def write_archive(out: Path, tag: str, layers: list[bytes]) -> None:
    digests = [hashlib.sha256(content).hexdigest() for content in layers]
    config = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "created": CREATED,
            "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created": CREATED} for _ in layers],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    names = [f"{digest}/layer.tar" for digest in digests]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": names}]).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.unfinished")
    with tarfile.open(unfinished, "w", format=tarfile.GNU_FORMAT) as archive:
        contents = [(config_name, config), *zip(names, layers), ("manifest.json", manifest)]
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(anonymous(member), io.BytesIO(content))
    unfinished.replace(out)


def architecture() -> str:
    """Debian's word is Docker's word for the architectures that Calico is built for."""
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
