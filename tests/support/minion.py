"""
A Salt minion of its own for tests: the formula loaded as on a real one, its paths apart from ours.

The minion is a process with a host name and mounts of its own: ``/etc``, ``/run`` and ``/opt`` are
overlays that nobody else sees and that vanish with it. So the formula's fixed paths
(``/etc/calico/calicoctl.cfg``, docker's socket, …) can be used as they are. Started as a program, this
file is that process: it answers one request a line with the loaders of pytest-salt-factories.
"""

import contextlib
import json
import os
import select
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a compiled state holds beside the arguments of its function.
NO_ARGUMENTS = {"__id__", "__sls__", "__env__", "state", "fun", "order", "require", "watch", "failhard"}
PRIVATE = ("etc", "run", "opt")
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
    """

    def __init__(self, directory, private=True):
        self.directory = Path(directory)
        self._private = private
        self.bin = self.directory / "bin"
        self.files = self.directory / "files"
        self.log = self.directory / "log"
        self._pillar = self.directory / "pillar" / "calico.sls"
        self._process = None

    def __enter__(self):
        for directory in (self.bin, self.files, self._pillar.parent, self.directory / "roots"):
            directory.mkdir(parents=True)
        for name in ("calico", "_modules", "_states", "_utils"):
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
        program = [sys.executable, "-m", "tests.support.minion", str(self.directory)]
        if not self._private:
            return program
        lines = ["set -e", "mount --make-rprivate /", f"mount -t tmpfs tmpfs {self._scratch()}"]
        for name in PRIVATE:
            upper, work = f"{self._scratch()}/{name}", f"{self._scratch()}/{name}.work"
            options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
            lines += [f"mkdir {upper} {work}", f"mount -t overlay overlay -o {options} /{name}"]
        lines.append(f"exec {shlex.join(program)}")
        return ["unshare", "--mount", "--uts", "sh", "-c", "\n".join(lines)]

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

    def run(self, *argv):
        """Run a program in the minion's namespaces."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--uts"]
        subprocess.run([*enter, *map(str, argv)], check=True, capture_output=True)

    def path(self, path):
        """A file as the minion sees it. Symbolic links lead to this machine's own."""
        return Path(f"/proc/{self.pid}/root{path}")

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWERS_WITHIN)
        line = self._process.stdout.readline() if ready else b""
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
    for line in sys.stdin:
        # Each in a process of its own, as on a minion: Salt keeps much between runs in one process.
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                print(json.dumps(_try(loaders, json.loads(line))), file=answers, flush=True)
            os._exit(0)
        os.waitpid(child, 0)


def _try(loaders, request):
    try:
        return _answer(loaders, request)
    except Exception as err:
        return {"error": [type(err).__name__, str(err)]}


def _loaders(directory):
    import salt.config
    from saltfactories.utils.functional import Loaders

    opts = salt.config.minion_config(f"{directory}/minion")
    opts["__role"] = "minion"
    return Loaders(opts)


def _answer(loaders, request):
    if request["do"] == "ping":
        return {"return": True}
    if request["do"] == "state":
        state = loaders.modules["state.single"](
            request["function"], request["name"], test=request["test"], **request["kwargs"]
        )
        return {"return": state.full_return}
    loaders.refresh_pillar()
    loaders.modules.pack["__pillar__"] = _hidden(loaders.opts["pillar"])
    loaders.context.clear()
    function = loaders.modules[request["function"]]
    result = function(*request["args"], **request["kwargs"])
    return {"return": result, "retcode": loaders.context.get("retcode", 0)}


def _hidden(pillar):
    """The pillar as a minion of Salt 3008 gets it from its master: values hide where they are shown."""
    with contextlib.suppress(ImportError):
        from salt.utils.secret import hide

        return hide(pillar)
    return pillar


if __name__ == "__main__":
    main(sys.argv[1])
