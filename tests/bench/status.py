"""``calico.status`` through Salt's own loader, against real BIRD daemons."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.measure import Figure, ratio, timed
from tests.support import birds

REPOSITORY = Path(__file__).parents[2]
LIMITS = {3: 5.0, 1000: 25.0}  # sessions: milliseconds
MODULE = "salt.loaded.ext.module.calico"


def figures(rounds, calicoctl=None):
    """Measure; ``calicoctl`` is the path of an original to compare with, or None."""
    found = []
    for sessions, limit in LIMITS.items():
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            running = stack.enter_context(birds.Birds(directory, sessions))
            status = stack.enter_context(node(directory, running.near))
            running.wait_established()
            result = status()
            established = sum(session["established"] for session in result["sessions"])
            if not result["ready"] or established != sessions:
                raise RuntimeError(f"{established} of {sessions} sessions: {result['reasons']}")
            ours = Figure(f"calico.status, {sessions} sessions", [], limit=limit)
            theirs = Figure(f"calicoctl node status, {sessions} sessions", [])
            ask = stack.enter_context(original(directory, running.near, calicoctl))
            for _ in range(rounds):
                ours.samples.append(timed(status))
                if calicoctl:
                    theirs.samples.append(timed(ask))
        found.append(ours)
        if calicoctl:
            name = f"calicoctl node status against calico.status, {sessions} sessions"
            found += [theirs, ratio(name, theirs, ours)]
    return found


@contextlib.contextmanager
def node(directory, bird_socket):
    """Yield ``calico.status`` of a minion whose BIRD, Felix and unit are stood up here."""
    import salt.config
    import salt.loader

    felix = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("felix.py"))], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(felix.stdout.readline())
        pillar = {
            "version": "v2.6.2",
            "etcd": {"endpoints": ["http://127.0.0.1:2379"]},  # nobody asks it
            "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
            "felix": {"HealthPort": port},
        }
        options = salt.config.minion_config(None)
        options.update(
            id="bench",
            root_dir=str(directory / "salt"),
            cachedir=str(directory / "salt" / "cache"),
            extension_modules=str(directory / "salt" / "extmods"),
            module_dirs=[str(REPOSITORY / "_modules")],
            utils_dirs=[str(REPOSITORY / "_utils")],
            file_client="local",
            grains={"id": "bench"},
            pillar={"calico": pillar},
        )
        modules = salt.loader.minion_mods(options, utils=salt.loader.utils(options))
        status = modules["calico.status"]
        modules["calico.settings"]()  # loads the module; fails where the pillar above is wrong
        module = sys.modules[MODULE]
        module.BIRD_SOCKETS = {4: bird_socket, 6: str(directory / "no bird6")}
        # A unit that runs is one with processes in its control group: the same reading anywhere.
        group = directory / "cgroup" / "system.slice" / module.UNIT
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text(f"{os.getpid()}\n")
        module.calico_host.service_state = functools.partial(
            module.calico_host.service_state, cgroups=str(directory / "cgroup")
        )
        yield status
    finally:
        felix.kill()
        felix.wait()
        felix.stdout.close()


@contextlib.contextmanager
def original(directory, bird_socket, calicoctl):
    """Yield a function that runs ``calicoctl node status`` where it finds this BIRD."""
    if not calicoctl:
        yield None
        return
    # calicoctl looks for a process of this name, and for the socket in /var/run/calico.
    program = directory / "calico-felix"
    shutil.copy(shutil.which("sleep"), program)
    felix = subprocess.Popen([str(program), "infinity"])
    script = (
        "mount -t tmpfs none /run && mkdir /run/calico"
        f" && ln -s {bird_socket} /run/calico/bird.ctl && exec {Path(calicoctl).resolve()} node status"
    )
    argv = ["unshare", "--mount", "sh", "-c", script]

    def ask():
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
        if "Established" not in done.stdout:
            raise RuntimeError(f"calicoctl shows no session: {done.stdout}{done.stderr}")

    try:
        yield ask
    finally:
        felix.kill()
        felix.wait()
