"""Recorded runs of a program, replayed against its stand-in."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

RECORDINGS = Path(__file__).resolve().parents[1] / "recordings" / "calicoctl"
# What differed from run to run is recorded as <name> and matches any text without a line break.
VARYING = re.compile(r"<[a-z ]+>")


@dataclass
class Step:
    name: str
    recorded: dict
    rc: int
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
        done = subprocess.run(
            [program, *recorded["argv"][1:]],
            input=recorded.get("stdin", ""),
            capture_output=True,
            text=True,
            cwd=directory,
            env={"PATH": os.environ["PATH"], **environment},
            timeout=120,
            check=False,
        )
        steps.append(Step(recorded["name"], recorded, done.returncode, done.stdout, done.stderr))
    return steps


def _write(directory, files, port):
    for name, text in (files or {}).items():
        (Path(directory) / name).write_text(_with_port(text, port))
