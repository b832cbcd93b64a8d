"""Another kernel, as far as a process can tell: some system calls fail, some files are others.

Started as a program it puts a seccomp filter on itself and then runs another: from there on, the kernel
answers as one does that has no nfnetlink, and so neither ipset nor nftables. Its answers over netlink
themselves cannot be changed that way: which kinds of links it knows stays as it is.
"""

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

# Numbers of the system call socket, and how seccomp calls the machine (linux/audit.h).
_SOCKET = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}
_AF_NETLINK, _NETLINK_NETFILTER = 16, 12
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
# Instructions of classic BPF: load a word, jump if equal, return.
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06


def known():
    """Whether this machine's system calls are known here."""
    return platform.machine() in _SOCKET


def without_nfnetlink():
    """From now on, this process and all that it starts get no socket of netfilter's netlink."""
    call, machine = _SOCKET[platform.machine()]
    # Offsets in struct seccomp_data: nr 0, arch 4, args from 16 on, eight bytes each.
    steps = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, 6, machine),
        (_LOAD, 0, 0, 0),
        (_EQUAL, 0, 4, call),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 0, 2, _AF_NETLINK),
        (_LOAD, 0, 0, 32),
        (_EQUAL, 1, 0, _NETLINK_NETFILTER),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPROTONOSUPPORT),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def interpreter(directory):
    """A Python without netfilter's netlink, for :class:`tests.support.minion.Minion`."""
    script = Path(directory) / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {sys.executable} "$@"\n')
    script.chmod(0o755)
    return script


@contextlib.contextmanager
def hidden(minion, configuration):
    """
    What shows of the kernel to this minion is CONFIGURATION, the one that it was made with: text, or None.

    Meanwhile it sees no more of /proc than processes: what lies there of the network cannot be covered
    otherwise, as each process has its own.
    """
    boot = f"/boot/config-{platform.release()}"
    mounts = ["/sys/module", *(path for path in ("/boot", "/lib/modules") if Path(path).is_dir())]
    with contextlib.ExitStack() as undo:
        for path in mounts:
            minion.run("mount", "-t", "tmpfs", "tmpfs", path)
            undo.callback(minion.run, "umount", path)
        if configuration is not None:
            minion.path(boot).write_text(configuration)
        minion.run("mount", "-t", "proc", "-o", "subset=pid", "proc", "/proc")
        undo.callback(minion.run, "umount", "/proc")
        yield


if __name__ == "__main__":
    without_nfnetlink()
    os.execv(sys.argv[1], sys.argv[1:])
