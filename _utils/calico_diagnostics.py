"""
A bundle for a bug report: many parts, each with a deadline and a largest size, and all of them together.

A part is a command, or a function that runs in a process of its own: both are killed with all their
children when their time is up. What failed is named with its reason in the bundle's manifest.

No Salt.
"""

import contextlib
import dataclasses
import errno
import io
import json
import os
import re
import selectors
import signal
import stat
import subprocess
import tarfile
import tempfile
import time
from typing import Any, Callable, Optional

import yaml

# Seconds: one part, and all of them together.
PART_DEADLINE, BUDGET = 10.0, 60.0
# Bytes before compression: one part, and all of them together.
PART_SIZE, WHOLE_SIZE = 4 * 1024 * 1024, 48 * 1024 * 1024
# Bytes of a file that is looked through for secrets.
LARGEST_CONFIGURATION = 256 * 1024
PREFIX, SUFFIX = "calico-diagnostics-", ".tar.gz"
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Part:
    """
    One part of the bundle.

    name
        Its file's name in the bundle.
    command
        The command whose output it is (list of text); or
    function
        a function without arguments that returns text, bytes, or data that JSON can hold.
    end
        True keeps the end of what is too long instead of its begin.
    """

    name: str
    command: Optional[list] = None
    function: Optional[Callable[[], Any]] = None
    end: bool = False


class CannotWrite(Exception):
    """The bundle cannot be written; the text says why."""


@dataclasses.dataclass
class _Outcome:
    content: bytes = b""
    truncated: bool = False
    error: Optional[str] = None


# --- one part --------------------------------------------------------------------------------------


def gather(part, deadline=PART_DEADLINE, size=PART_SIZE):
    """Run a part; what it gave, whether that was cut, and what went wrong. Raises nothing."""
    if part.function is not None:
        return _of_function(part, deadline, size)
    try:
        process = subprocess.Popen(
            part.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
            start_new_session=True,
        )
    except FileNotFoundError:
        return _Outcome(error="there is no program '%s' on this host" % part.command[0])
    except OSError as err:
        return _Outcome(error="'%s' cannot be run: %s" % (part.command[0], err.strerror))
    with process.stdout:
        outcome = _read(process.stdout.fileno(), process.pid, deadline, size, part.end)
    code = process.wait()
    if outcome.error is None and not outcome.truncated and code:
        outcome.error = "'%s' ended with exit code %d" % (" ".join(part.command), code)
    return outcome


def _of_function(part, deadline, size):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _child(part.function, writing)
    os.close(writing)
    try:
        outcome = _read(reading, pid, deadline, size, part.end)
    finally:
        os.close(reading)
        _, status = os.waitpid(pid, 0)
    if outcome.error is None and not outcome.truncated and status:
        # The function failed: its last line says why, and is not what it should have given.
        text = outcome.content.decode("utf-8", "replace").strip()
        return _Outcome(error=text or "it ended with status %d" % status)
    return outcome


def _child(function, writing):
    code = 1
    try:
        os.setsid()
        with open(os.devnull, "r+b", buffering=0) as nowhere:
            for descriptor in (0, 1, 2):
                os.dup2(nowhere.fileno(), descriptor)
        try:
            result, code = function(), 0
        except Exception as err:
            result = str(err) or type(err).__name__
        if not isinstance(result, (str, bytes)):
            result = json.dumps(result, indent=1, default=str, ensure_ascii=False)
        data = result if isinstance(result, bytes) else result.encode("utf-8", "replace")
        while data:
            data = data[os.write(writing, data) :]
    finally:
        # Nothing of what the parent would do at its end, and no way back into it.
        os._exit(code)


def _read(descriptor, pid, deadline, size, end):
    """Read up to the end of the stream, within time and size; then nothing of the process is left."""
    outcome, content, stop = _Outcome(), bytearray(), time.monotonic() + deadline
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            left = stop - time.monotonic()
            if left <= 0:
                outcome.error = "it did not end within %g s and was killed" % round(deadline, 1)
                break
            if not selector.select(left):
                continue
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            content += chunk
            if len(content) > size:
                outcome.truncated = True
                if not end:
                    break
                del content[: len(content) - size]
    # One that has closed its output may still run, and so may its children: none is waited for.
    kill(pid) if outcome.error or outcome.truncated else _let_end(pid, stop)
    outcome.content = bytes(content[:size])
    return outcome


def _let_end(pid, stop):
    """Wait for a process that has said all, until ``stop``; it stays to be waited for by its parent."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() >= stop:
            kill(pid)
            return
        time.sleep(0.01)
    # What it left running in its session holds nothing that anybody waits for.
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def kill(pid):
    """Kill a process with all its descendants, also those that have a session of their own."""
    # Stopped first: so it cannot make new ones meanwhile.
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGSTOP)
    for each in [pid, *_descendants(pid)]:
        with contextlib.suppress(OSError):
            os.kill(each, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _descendants(pid):
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/%s/stat" % name, "rb") as file:
            parent = int(file.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(pid, ()))
    for each in found:
        found += children.get(each, ())
    return found


# --- the bundle ------------------------------------------------------------------------------------


def bundle(parts, scrub, directory, node, about=None, keep=5, budget=BUDGET, deadline=PART_DEADLINE):
    """
    Gather all parts into a file.

    parts
        List of :class:`Part`; the most important first: what the budget does not reach is left out.
    scrub
        A function of text that takes the secrets out of it; nothing gets into the file without it.
    directory
        Where the file shall lie.
    node
        Goes into the file's name (text).
    about
        Goes into the manifest (dict).
    keep
        How many bundles are left in the directory, this one included (int).
    budget
        Seconds for all parts.
    deadline
        Seconds for each of them.

    Returns ``{path, bytes, seconds, parts, failed}``: parts is a number, failed ``{name: reason}``.
    Raises :class:`CannotWrite`.
    """
    begin = time.monotonic()
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + ".%03dZ" % (now % 1 * 1000)
    name = PREFIX + re.sub(r"[^A-Za-z0-9._-]", "_", node) + "-" + stamp
    path = os.path.join(directory, name + SUFFIX)
    temporary = None
    try:
        # Made with mode 0600 under a name that nobody can guess: the directory may be everybody's.
        handle, temporary = tempfile.mkstemp(prefix="." + PREFIX, suffix=".tmp", dir=directory)
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            rows = _parts(archive, name, parts, scrub, begin + budget, deadline)
            manifest = {
                **(about or {}),
                "node": node,
                "made": stamp,
                "seconds": round(time.monotonic() - begin, 2),
                "limits": {
                    "seconds": budget,
                    "seconds_each": deadline,
                    "bytes": WHOLE_SIZE,
                    "bytes_each": PART_SIZE,
                },
                "parts": rows,
            }
            text = scrub(json.dumps(manifest, indent=1, default=str, ensure_ascii=False)) + "\n"
            _add(archive, "%s/%s" % (name, MANIFEST), text.encode("utf-8"))
        os.rename(temporary, path)
        size = os.stat(path).st_size
    except OSError as err:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise CannotWrite("no bundle can be written to %s: %s" % (directory, err.strerror or err)) from err
    _prune(directory, keep)
    return {
        "path": path,
        "bytes": size,
        "seconds": round(time.monotonic() - begin, 2),
        "parts": len(rows),
        "failed": {row["part"]: row["error"] for row in rows if row["error"]},
    }


def _parts(archive, folder, parts, scrub, stop, deadline):
    """Gather each part and add it; a row of the manifest for each."""
    rows, room = [], WHOLE_SIZE
    for part in parts:
        begin = time.monotonic()
        if begin >= stop:
            outcome = _Outcome(error="not run: the time for all parts was used up")
        elif room <= 0:
            outcome = _Outcome(error="not run: the room for all parts was used up")
        else:
            outcome = gather(part, min(deadline, stop - begin), min(PART_SIZE, room))
        text = scrub(outcome.content.decode("utf-8", "replace")).encode("utf-8", "replace")
        if text:
            _add(archive, "%s/%s" % (folder, part.name), text)
        room -= len(text)
        rows.append(
            {
                "part": part.name,
                "command": " ".join(part.command) if part.command else None,
                "seconds": round(time.monotonic() - begin, 3),
                "bytes": len(text),
                "truncated": outcome.truncated,
                "error": scrub(outcome.error) if outcome.error else None,
            }
        )
    return rows


def _add(archive, name, content):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(content))


def _prune(directory, keep):
    """Leave the newest bundles; only files of our own making and owner are touched."""
    found = []
    for entry in os.scandir(directory):
        ours = entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX)
        with contextlib.suppress(OSError):
            about = entry.stat(follow_symlinks=False)
            if ours and stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid():
                found.append((about.st_mtime, entry.path))
    for _time, path in sorted(found, reverse=True)[keep:]:
        with contextlib.suppress(OSError):
            os.unlink(path)


# --- files -----------------------------------------------------------------------------------------


def file(path, size=PART_SIZE):
    """The text of a file, no more than ``size`` bytes of it."""
    try:
        # Never waits: a path may turn out to be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            return opened.read(size).decode("utf-8", "replace")
    except OSError as err:
        raise OSError(err.errno, "%s: %s" % (path, os.strerror(err.errno or errno.EIO))) from err


def files(*places):
    """Every file of these paths and directories, each under a heading; what cannot be read is said."""
    result = []
    for path in _paths(places):
        try:
            result.append("== %s\n%s" % (path, file(path)))
        except OSError as err:
            result.append("== %s" % err.strerror)
    return "\n".join(result)


def configurations(*places):
    """What the files of these paths and directories hold, as data; other files are left out."""
    result = []
    for path in _paths(places):
        with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
            text = file(path, LARGEST_CONFIGURATION)
            # JSON is YAML, too.
            found = environment(text) if path.endswith(".env") else list(yaml.safe_load_all(text))
            result.append(found)
    return result


def _paths(places):
    for place in places:
        if os.path.isdir(place):
            yield from sorted(os.path.join(place, name) for name in os.listdir(place))
        else:
            yield place


def environment(text):
    """The names and values of an environment file, as a dict."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return dict(line.partition("=")[::2] for line in lines)


def sysctls(root="/proc/sys"):
    """The kernel's switches that matter here, ``name = value``; by name, as some others are secret."""
    wanted = re.compile(
        r"net/ipv4/(ip_forward|conf/[^/]+/(rp_filter|forwarding|arp_ignore|arp_announce|proxy_arp)"
        r"|neigh/default/gc_thresh[123]|fib_multipath_hash_policy)"
        r"|net/ipv6/(conf/[^/]+/(disable_ipv6|forwarding|accept_ra|proxy_ndp)|neigh/default/gc_thresh[123])"
        r"|net/bridge/bridge-nf-call-.*|net/netfilter/nf_conntrack_(max|count)|net/core/somaxconn"
        r"|fs/(file-max|file-nr)|kernel/pid_max"
    )
    result = []
    for top in ("net/ipv4", "net/ipv6", "net/bridge", "net/netfilter", "net/core", "fs", "kernel"):
        for directory, _folders, names in os.walk(os.path.join(root, top)):
            for path in (os.path.relpath(os.path.join(directory, name), root) for name in names):
                if wanted.fullmatch(path):
                    with contextlib.suppress(OSError), open(os.path.join(root, path)) as opened:
                        result.append("%s = %s" % (path.replace("/", "."), opened.read().strip()))
    return "\n".join(sorted(result)) + "\n"
