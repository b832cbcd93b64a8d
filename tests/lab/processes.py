"""Background processes of the lab.

Each carries a mark in its environment, which its children inherit. So all that the lab started is
found again by any later run, also when the run that started it was interrupted.
"""

import contextlib
import os
import signal
from pathlib import Path

from tests.lab import paths
from tests.support import waiting
from tests.support.waiting import alive

MARK = "CALICO_FORMULA_LAB"


def environment(name):
    return {
        **os.environ,
        MARK: f"{paths.PREFIX}/{name}",
        # setproctitle (salt-master) would overwrite the environment that the mark lies in.
        "SPT_NOENV": "1",
    }


def spawn(name, argv):
    """Start argv as the background process NAME, its output in .lab/logs/NAME.log."""
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    paths.RUN.mkdir(parents=True, exist_ok=True)
    with open(log(name), "ab") as output, open(os.devnull, "rb") as nothing:
        pid = os.posix_spawnp(
            str(argv[0]),
            [str(word) for word in argv],
            environment(name),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
            ],
            # A Ctrl-C at the terminal is for the command in the foreground only.
            setsid=True,
        )
    _pidfile(name).write_text(str(pid))
    # We may go on before the kernel shows what lies in the environment of the new program.
    waiting.until(lambda: environ(pid) or not alive(pid), f"{name} starts", pause=0.001)
    return pid


def log(name):
    return paths.LOGS / f"{name}.log"


def leader(name):
    """The pid of the process that spawn(NAME) started, or None when it is gone."""
    try:
        pid = int(_pidfile(name).read_text())
    except (OSError, ValueError):
        return None
    return pid if pid in find(name) else None


def find(name=None):
    """Pids of all living processes of the lab, or of those that belong to NAME."""
    wanted = f"{MARK}={paths.PREFIX}/{name or ''}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            marks = [
                value
                for value in environ(int(entry.name)).split(b"\0")
                if value == wanted or (name is None and value.startswith(wanted))
            ]
        except OSError:
            continue
        # A zombie waits for its parent only.
        if marks and alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def stop(name, patience=30):
    """Ask the process NAME to end, wait for all of its family, and kill what stays."""
    pid = leader(name)
    if pid:
        end([pid], patience, family=lambda: find(name))
    end(find(name), 0)
    _pidfile(name).unlink(missing_ok=True)


def end(pids, patience, family=None):
    """SIGTERM pids, wait until they (or their family) are gone, SIGKILL what stays."""
    for pid in pids:
        _signal(pid, signal.SIGTERM)
        # A frozen process takes no other signal.
        _signal(pid, signal.SIGCONT)
    remaining = family or (lambda: [pid for pid in pids if alive(pid)])
    with contextlib.suppress(waiting.Missed):
        waiting.until(lambda: not remaining(), "they end", patience)

    def killed():
        left = remaining()
        for pid in left:
            _signal(pid, signal.SIGKILL)
        return not left

    waiting.until(killed, lambda: f"{remaining()} do not end by SIGKILL")


def command_line(pid):
    """The words that it was started with; none where it is gone."""
    try:
        return [word.decode() for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def environ(pid):
    """What lies in its environment; nothing where it is a zombie, or just about to start."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def _signal(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _pidfile(name):
    return paths.RUN / f"{name}.pid"
