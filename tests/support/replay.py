"""Recorded runs of a program, replayed against its stand-in."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

RECORDINGS = Path(__file__).resolve().parents[1] / "recordings" / "calicoctl"
# What differed from run to run is recorded as <name>, quoted or not as that value may be, and matches any
# text without a line break.
VARYING = re.compile(r'"?<[a-z ]+>"?')
# So do addresses in memory.
POINTER = re.compile(r"0x[0-9a-f]{12}")
# What never ended was killed after 40 s; a shorter wait tells the same.
NEVER_ENDS = 1


@dataclass
class Step:
    name: str
    recorded: dict
    rc: "int | None"
    stdout: str
    stderr: str

    def differences(self, port):
        """What is not as recorded, as text; empty where all of it is."""
        found = []
        if self.rc != self.recorded["rc"]:
            found.append(f"exit code {self.rc}, recorded {self.recorded['rc']}")
        for stream in ("stdout", "stderr"):
            said = getattr(self, stream)
            wanted = _with_port(self.recorded.get(stream) or "", port)
            if not matches(wanted, said):
                found.append(f"{stream}:\n{said!r}\nrecorded:\n{wanted!r}")
        return "\n".join(found)


def matches(recorded, said):
    """True if SAID is RECORDED, byte for byte but for the parts that vary."""
    pattern = VARYING.sub("[^\n]*", re.escape(recorded).replace(r"\ ", " "))
    pattern = POINTER.sub("0x[0-9a-f]{12}", pattern)
    return re.fullmatch(pattern, said) is not None


def load(version, scenario):
    return json.loads((RECORDINGS / version / f"{scenario}.json").read_text())


def _with_port(text, port):
    return text.replace("127.0.0.1:2379", f"127.0.0.1:{port}")


def run(scenario, program, directory, etcd):
    """Run all steps in order in DIRECTORY, where ``pki`` lies, against an empty ETCD."""
    steps = []
    _write(directory, scenario.get("files"), etcd.port)
    for recorded in scenario["steps"]:
        _write(directory, recorded.get("files"), etcd.port)
        own = {**scenario.get("env", {}), **recorded.get("env", {})}
        environment = {name: _with_port(value, etcd.port) for name, value in own.items()}
        argv = [program, *recorded["argv"][1:]]
        more = {"cwd": directory, "env": {"PATH": os.environ["PATH"], **environment}}
        seconds = NEVER_ENDS if recorded["rc"] is None else 120
        steps.append(Step(recorded["name"], recorded, *_ran(argv, recorded.get("stdin", ""), seconds, more)))
    return steps


def _ran(argv, stdin, seconds, more):
    """(exit code, stdout, stderr); without an exit code where it did not end in time."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=seconds, check=False, **more
        )
    except subprocess.TimeoutExpired as expired:
        return None, (expired.stdout or b"").decode(), (expired.stderr or b"").decode()
    return done.returncode, done.stdout, done.stderr


def _write(directory, files, port):
    for name, text in (files or {}).items():
        (Path(directory) / name).write_text(_with_port(text, port))
