"""
A Salt minion of its own for tests: the formula loaded as on a real one, its paths apart from ours.

The minion is a process with a host name and mounts of its own: ``/etc``, ``/run``, ``/opt`` and
``/var/lib`` are overlays that nobody else sees and that vanish with it. So the formula's fixed paths
(``/etc/calico/calicoctl.cfg``, docker's socket, …) can be used as they are. Started as a program, this
file is that process: it answers one request a line with the loaders of pytest-salt-factories.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import selectors
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import programs, waiting

ROOT = Path(__file__).resolve().parents[2]
# What a compiled state holds beside the arguments of its function.
NO_ARGUMENTS = {"__id__", "__sls__", "__env__", "state", "fun", "order", "require", "watch", "failhard"}
PRIVATE = ("etc", "run", "opt", "var/lib")
# Loading all of Salt for the first time takes long on a slow machine.
ANSWERS_WITHIN = 240


def missing():
    """Why such a minion cannot run here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root for a mount namespace"
    if not shutil.which("unshare"):
        return "no program 'unshare'"
    return ""


class Failed(Exception):
    """The function raised an error; ``kind`` is the name of its class."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Minion:
    """
    ``directory`` holds ``bin`` (programs found before all others), ``files`` (what ``salt://`` finds
    beside the formula) and whatever the minion writes. ``pillar`` is what stands below ``calico:``.

    private
        False leaves it this machine's paths: for what changes nothing, and needs no root.
    network
        The name of the network namespace (``ip netns``) that it lives in; this machine's without one.
    python
        The interpreter whose Salt it is: ours, or the one of another release.
    """

    def __init__(self, directory, private=True, network=None, python=sys.executable):
        self.directory = Path(directory)
        self._python = str(python)
        self._private = private
        self._network = [f"--net=/run/netns/{network}"] if network else []
        self.bin = self.directory / "bin"
        self.files = self.directory / "files"
        self.log = self.directory / "log"
        self._pillar = self.directory / "pillar" / "calico.sls"
        self._process = None

    def __enter__(self):
        for directory in (self.bin, self.files, self._pillar.parent, self.directory / "roots"):
            directory.mkdir(parents=True)
        for name in ("calico", "_beacons", "_modules", "_states", "_utils"):
            (self.directory / "roots" / name).symlink_to(ROOT / name)
        (self._pillar.parent / "top.sls").write_text("base: {'*': [calico]}\n")
        self.pillar(None)
        (self.directory / "minion").write_text(json.dumps(self._configuration()))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._argv(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            )
        try:
            self._ask({"do": "ping"})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def _argv(self):
        program = [self._python, "-m", "tests.support.minion", str(self.directory)]
        if not self._private:
            return program
        lines = ["set -e", "mount --make-rprivate /", f"mount -t tmpfs tmpfs {self._scratch()}"]
        for name in PRIVATE:
            upper, work = f"{self._scratch()}/{name}", f"{self._scratch()}/{name}.work"
            options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
            lines += [f"mkdir -p {upper} {work}", f"mount -t overlay overlay -o {options} /{name}"]
        if self._network:
            # Names are asked for there as well, and nobody would answer: let it be known at once.
            lines += ["rm -f /etc/resolv.conf", "echo nameserver 127.0.0.1 > /etc/resolv.conf"]
        lines.append(f"exec {shlex.join(program)}")
        alone = ["unshare", "--mount", "--uts", "sh", "-c", "\n".join(lines)]
        return ["nsenter", *self._network, *alone] if self._network else alone

    def _scratch(self):
        scratch = self.directory / "scratch"
        scratch.mkdir(exist_ok=True)
        return scratch

    def _configuration(self):
        at = str(self.directory)
        return {
            "id": "node1",
            "root_dir": at,
            "cachedir": f"{at}/cache",
            "extension_modules": f"{at}/extmods",
            "file_client": "local",
            "file_roots": {"base": [f"{at}/roots", str(self.files)]},
            "pillar_roots": {"base": [str(self._pillar.parent)]},
            "log_level": "error",
            # Nothing here asks for them, and each costs a program or a name lookup.
            "enable_fqdns_grains": False,
            "enable_gpu_grains": False,
        }

    @property
    def pid(self):
        return self._process.pid

    def pillar(self, settings):
        """What the next call finds below ``calico:``; None takes it away."""
        text = json.dumps({} if settings is None else {"calico": settings})
        self._pillar.write_text("#!json\n" + text)

    def call(self, function, *args, **kwargs):
        """Run a function of an execution module; what it returned. Raises :class:`Failed`."""
        return self.call_with_code(function, *args, **kwargs)[0]

    def call_with_code(self, function, *args, **kwargs):
        """The same, and the return code that ``salt-call --retcode-passthrough`` would have."""
        answer = self._ask({"do": "module", "function": function, "args": args, "kwargs": kwargs})
        return answer["return"], answer["retcode"]

    def beacons(self, configuration, refresh=False):
        """
        One look of Salt's own beacon loader; the events that a minion would send.

        refresh
            The beacons are loaded anew before it, as a minion does it with each refresh.
        """
        return self._ask({"do": "beacons", "configuration": configuration, "refresh": refresh})["return"]

    def scheduled(self, schedule, path):
        """Let Salt's own scheduler work through this schedule until there is the file; jobs run in it."""
        return self._ask({"do": "schedule", "schedule": schedule, "path": str(path)})["return"]

    def state(self, function, name="it", test=False, **arguments):
        """Run one state; its return as a dict."""
        request = {"do": "state", "function": function, "name": name, "test": test}
        return self._ask(dict(request, kwargs=arguments))["return"]

    def state_of_sls(self, state, sls, test=False):
        """Run the state of this ID as the SLS has it, without what it requires; its return."""
        chunks = self.call("state.show_low_sls", sls)
        if not all(isinstance(chunk, dict) for chunk in chunks):
            raise Failed("SLS", "\n".join(map(str, chunks)))
        (chunk,) = (chunk for chunk in chunks if chunk["__id__"] == state)
        arguments = {key: value for key, value in chunk.items() if key not in NO_ARGUMENTS}
        return self.state(f"{chunk['state']}.{chunk['fun']}", test=test, **arguments)

    def command(self, *argv):
        """The words that run a program in the minion's namespaces."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--net", *map(str, argv)]

    def run(self, *argv):
        """Run a program in the minion's namespaces."""
        programs.run(self.command(*argv))

    def path(self, path):
        """A file as the minion sees it. Symbolic links lead to this machine's own."""
        return Path(f"/proc/{self.pid}/root{path}")

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        # Not by select(): that takes no file whose number is above 1023.
        with selectors.DefaultSelector() as arrivals:
            arrivals.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if arrivals.select(ANSWERS_WITHIN) else b""
        if not line:
            raise RuntimeError("the minion gave no answer: " + self.log.read_text(errors="replace")[-3000:])
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(*answer["error"])
        return answer


# --- in the minion ---------------------------------------------------------------------------------


def main(directory):
    # What a program or module prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    loaders = _loaders(directory)
    loaders.modules["state.single"]("test.nop", "loads what every state needs")
    beacons = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "beacons":
            beacons = beacons or _beacon_process(loaders)
            beacons.send(request)
            print(json.dumps(beacons.recv()), file=answers, flush=True)
            continue
        # Each in a process of its own, as on a minion: Salt keeps much between runs in one process.
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                answer = _try(functools.partial(_answer, loaders), request)
                print(json.dumps(answer), file=answers, flush=True)
            os._exit(0)
        os.waitpid(child, 0)


def _try(function, request):
    try:
        return function(request)
    except Exception as err:
        return {"error": [type(err).__name__, str(err)]}


def _loaders(directory):
    import salt.config
    from saltfactories.utils.functional import Loaders

    opts = salt.config.minion_config(f"{directory}/minion")
    opts["__role"] = "minion"
    # As salt-call does it: states use the pillar that is there already.
    opts["__cli"] = "salt-call"
    return Loaders(opts)


def _answer(loaders, request):
    if request["do"] == "ping":
        return {"return": True}
    _with_pillar(loaders)
    if request["do"] == "state":
        state = loaders.modules["state.single"](
            request["function"], request["name"], test=request["test"], **request["kwargs"]
        )
        return {"return": state.full_return}
    if request["do"] == "schedule":
        return {"return": _scheduled(loaders, request["schedule"], request["path"])}
    function = loaders.modules[request["function"]]
    result = function(*request["args"], **request["kwargs"])
    return {"return": result, "retcode": loaders.context.get("retcode", 0)}


def _with_pillar(loaders):
    # As the minion's master would make it of that one file, for a third of the time that a call takes.
    path = Path(loaders.opts["pillar_roots"]["base"][0], "calico.sls")
    pillar = _hidden(json.loads(path.read_text().partition("\n")[2]))
    loaders.opts["pillar"] = pillar
    loaders.modules.pack["__pillar__"] = pillar
    # Beacons call the functions through a loader of its own in Salt 3008; a minion refreshes both. An
    # older loader, asked for an attribute that it has not, loads every module there is.
    inner = vars(loaders.modules).get("_dunder_salt")
    if inner is not None:
        inner.pack["__pillar__"] = pillar
    loaders.context.clear()


def _beacon_process(loaders):
    """A process that stays, as beacons remember what they saw; what it loads is not the others'."""
    here, there = multiprocessing.Pipe()
    if not os.fork():
        here.close()
        with contextlib.suppress(BaseException):
            beacons = Beacons(loaders)
            while True:
                there.send(_try(beacons.look, there.recv()))
        os._exit(0)
    there.close()
    return here


class Beacons:
    """Salt's beacons in this minion, as salt.minion.Minion handles them."""

    def __init__(self, loaders):
        self._loaders, self._beacons = loaders, None

    def look(self, request):
        import salt.beacons

        _with_pillar(self._loaders)
        if self._beacons is None or request["refresh"]:
            self._beacons = salt.beacons.Beacon(self._loaders.opts, self._loaders.modules)
        return {"return": self._beacons.process(request["configuration"], self._loaders.grains)}


def _scheduled(loaders, schedule, path):
    import salt.utils.schedule

    opts = dict(loaders.opts, schedule=schedule, multiprocessing=False)
    scheduler = salt.utils.schedule.Schedule(opts, loaders.modules, standalone=True, new_instance=True)

    def done():
        scheduler.eval()
        return os.path.exists(path)

    return waiting.until(done, path, pause=0.1)


def _hidden(pillar):
    """The pillar as a minion of Salt 3008 gets it from its master: values hide where they are shown."""
    with contextlib.suppress(ImportError):
        from salt.utils.secret import hide

        return hide(pillar)
    return pillar


if __name__ == "__main__":
    main(sys.argv[1])
