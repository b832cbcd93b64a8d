"""Can the lab run on this machine? Asked before anything is changed, hence standard library only.

    python3.11 tests/lab/checks.py venv|tests|lab

prints one sentence on stderr and exits with 1 when it cannot.
"""

import ctypes
import errno
import os
import platform
import shutil
import socket
import struct
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run by path with the machine's own Python, before there is a virtual environment.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.lab import capabilities, packages, paths, settings

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC_PRIVATE = 0x44000

GIGABYTE = 10**9
DISK_FOR_ALL = 6 * GIGABYTE
# Once images and packages are there, containers' own files are what grows.
DISK_FOR_RUNNING = 2 * GIGABYTE


class Unfit(Exception):
    """One sentence: why the lab cannot run here."""


def check(purpose):
    _python()
    if purpose in ("tests", "lab"):
        _linux()
        _root()
    _packages(purpose)
    if purpose == "lab":
        settings.check()
        _kernel()
    _disk()


def _python():
    if sys.version_info[:2] != (3, 11):
        raise Unfit(f"Python 3.11 is needed, this is {platform.python_version()}.")


def _linux():
    if sys.platform != "linux":
        raise Unfit(f"The lab needs Linux, this is {platform.system()}.")


def _root():
    if os.geteuid() != 0:
        raise Unfit("The lab needs root: it makes hosts with networks and mounts of their own.")
    for name in ("CAP_SYS_ADMIN", "CAP_NET_ADMIN"):
        if not capabilities.has(name):
            raise Unfit(f"The lab needs {name}, which this root user lacks.")


def _packages(purpose):
    missing = packages.missing(purpose)
    if missing and not (shutil.which("apt-get") and os.geteuid() == 0):
        names = ", ".join(missing)
        raise Unfit(f"Debian's {names} must be installed first: that needs root and apt-get.")


def _disk():
    room = DISK_FOR_RUNNING if (paths.CACHE / "docker" / "image").is_dir() else DISK_FOR_ALL
    free = shutil.disk_usage(paths.CHECKOUT).free
    if free < room:
        raise Unfit(
            f"{paths.CHECKOUT} has {free / GIGABYTE:.1f} GB free, the lab needs {room // GIGABYTE} GB."
        )


def _kernel():
    for name in ("net", "mnt", "pid", "uts", "ipc", "cgroup"):
        if not os.path.exists(f"/proc/self/ns/{name}"):
            raise Unfit(f"The lab needs a kernel with {name} namespaces.")
    if not any(Path("/sys/fs/cgroup").glob("*")):
        raise Unfit("The lab needs control groups mounted on /sys/fs/cgroup.")
    _in_a_child(_try_kernel)


def _in_a_child(function):
    """Run function in a process of its own; what it unshares and makes is gone with it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except Unfit as unfit:
            os.write(writer, str(unfit).encode())
        except OSError as error:
            os.write(writer, f"The kernel refused what the lab needs: {error}.".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        reason = stream.read().decode()
    os.waitpid(pid, 0)
    if reason:
        raise Unfit(reason)


def _try_kernel():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise Unfit("The lab needs to make namespaces, which this machine does not allow.")
    libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
    # Without directories the mount fails in any case; how tells whether the kernel has overlays.
    libc.mount(b"overlay", b"/mnt", b"overlay", 0, b"")
    if ctypes.get_errno() == errno.ENODEV:
        raise Unfit("The lab needs a kernel with the overlay file system.")
    for kind in ("bridge", "veth"):
        refusal = _make_link(kind)
        if refusal:
            raise Unfit(f"The lab needs {kind} interfaces ({os.strerror(refusal)}).")


def _make_link(kind):
    """Ask the kernel for an interface by rtnetlink, since `ip` may not be there yet."""
    rtm_newlink, request_ack_create_excl, ifla_linkinfo, ifla_info_kind = 16, 0x605, 18, 1
    info_kind = _attribute(ifla_info_kind, kind.encode())
    link_info = _attribute(ifla_linkinfo, info_kind)
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + link_info
    header = struct.pack("=IHHII", 16 + len(body), rtm_newlink, request_ack_create_excl, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.bind((0, 0))
        netlink.send(header + body)
        answer = netlink.recv(4096)
    return -struct.unpack_from("=i", answer, 16)[0]


def _attribute(number, payload):
    length = 4 + len(payload)
    return struct.pack("=HH", length, number) + payload + b"\0" * (-length % 4)


def main():
    try:
        check(sys.argv[1])
    except (Unfit, settings.Refused) as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
