"""The stand-in calicoctl, held to every step that was recorded of the original."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support import pki, replay
from tests.support.etcd import Etcd

STANDINS = Path(__file__).resolve().parents[1] / "lab" / "standins"
VERSION = "v1.6.3"
SCENARIOS = ("config", "ippool", "bgppeer", "node-and-others", "datastore-faults")
STATUS = "node-status"
SITUATION = Path(__file__).resolve().parents[1] / "support" / "status_situation.py"
# Steps that the stand-in is not held to, by scenario and name, with the reason.
NOT_AIMED_FOR = {}


def steps_of(scenario):
    return [step["name"] for step in replay.load(VERSION, scenario)["steps"]]


@pytest.fixture(scope="session")
def calicoctl(tmp_path_factory):
    out = tmp_path_factory.mktemp("bin") / "calicoctl"
    build = STANDINS / "build_calicoctl.py"
    subprocess.run([sys.executable, str(build), str(out), "--version", VERSION[1:]], check=True)
    return str(out)


@pytest.fixture(scope="session")
def replayed(calicoctl, tmp_path_factory):
    """Function: scenario -> its steps as the stand-in went through them, and etcd's port."""
    done = {}
    directory = tmp_path_factory.mktemp("certificates")
    pki.make(directory / "pki")

    def once(name):
        if name not in done:
            room = tmp_path_factory.mktemp(name)
            (room / "pki").symlink_to(directory / "pki")
            with Etcd(room / "etcd", directory / "pki") as etcd:
                steps = replay.run(replay.load(VERSION, name), calicoctl, room, etcd)
                done[name] = steps, etcd.port
        return done[name]

    return once


@pytest.mark.parametrize(
    ("scenario", "number"),
    [
        pytest.param(scenario, number, id=f"{scenario}: {name}")
        for scenario in SCENARIOS
        for number, name in enumerate(steps_of(scenario))
        if name not in NOT_AIMED_FOR.get(scenario, {})
    ],
)
def test_a_recorded_step_is_answered_as_the_original_did(replayed, scenario, number):
    steps, port = replayed(scenario)
    assert not steps[number].differences(port)


def test_how_many_steps_agree(replayed, capsys):
    """The count, for people; that each agrees is held by the test above."""
    lines = []
    total = agreeing = 0
    for scenario in SCENARIOS:
        steps, port = replayed(scenario)
        good = sum(not step.differences(port) for step in steps)
        lines.append(f"calicoctl {VERSION} {scenario}: {good} of {len(steps)} steps agree")
        total, agreeing = total + len(steps), agreeing + good
    with capsys.disabled():
        print("\n" + "\n".join([*lines, f"calicoctl {VERSION}: {agreeing} of {total}, {STATUS} apart"]))
    assert agreeing == total - sum(map(len, NOT_AIMED_FOR.values()))


# --- node status: it looks at processes and at fixed paths, so it gets a world of its own ----------


@pytest.mark.lab
@pytest.mark.parametrize("name", steps_of(STATUS))
def test_node_status_is_told_as_the_original_did(calicoctl, tmp_path, name):
    recorded = next(step for step in replay.load(VERSION, STATUS)["steps"] if step["name"] == name)
    situation = tmp_path / "situation.json"
    situation.write_text(json.dumps(_situation(name, recorded["stdout"])))
    argv = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    process = subprocess.Popen(
        [*argv, sys.executable, str(SITUATION), str(situation), calicoctl],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    step = replay.Step(name, recorded, process.returncode, stdout, stderr)
    assert not step.differences(0)


def _situation(name, stdout):
    """Which processes run and what the sockets answer, so that the recorded text is the answer."""
    if name == "no calico process":
        return {"processes": [], "sockets": {}}
    answers = {
        "BIRD runs but its socket is gone": {},
        "socket answers: garbage": {"bird.ctl": "this is not BIRD\n"},
        "socket answers: banner only": {"bird.ctl": "0001 BIRD 1.6.8 ready.\n"},
        "socket answers: wrong banner": {"bird.ctl": "0001 hello\n"},
        "socket answers: silent": {"bird.ctl": ""},
        "socket answers: banner, headings, no rows": {"bird.ctl": _answer([])},
        "socket answers: other headings": {
            "bird.ctl": "0001 BIRD 1.6.8 ready.\n2002-name proto table state since\n0000 \n"
        },
    }
    if name not in answers:
        sections = stdout.split("IPv6 BGP status")
        answers[name] = {
            "bird.ctl": _answer(_rows(sections[0], "_", ".")),
            "bird6.ctl": _answer(_rows(sections[1], "_", ":")),
        }
    return {"processes": ["calico-felix", "bird", "bird6"], "sockets": answers[name]}


def _rows(text, separator, mark):
    """BIRD's lines for the rows of a recorded table; wrapped cells are joined."""
    prefixes = {"node-to-node mesh": "Mesh", "node specific": "Node", "global": "Global"}
    rows = []
    for line in text.splitlines():
        if not line.startswith("| ") or "PEER ADDRESS" in line:
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1][4] += " " + cells[4]
    return [
        f"{prefixes[kind]}_{address.replace(mark, separator)} BGP master {state} {since} {info}"
        for address, kind, state, since, info in rows
    ]


def _answer(rows):
    lines = ["0001 BIRD 1.6.8 ready.", "2002-name     proto    table    state  since       info"]
    lines += ["1002-" + row if number == 0 else " " + row for number, row in enumerate(rows)]
    return "\n".join([*lines, "0000 ", ""])


# --- the keys ------------------------------------------------------------------------------------


def test_resources_and_settings_are_kept_in_the_recorded_keys(calicoctl, tmp_path):
    recorded = json.loads((replay.RECORDINGS.parent / "etcd-v2-keys.json").read_text())
    certificates = pki.make(tmp_path / "pki")
    sys.path.insert(0, str(STANDINS))
    try:
        import etcdv2
    finally:
        sys.path.remove(str(STANDINS))
    with Etcd(tmp_path / "etcd", certificates) as etcd:
        spec = {
            "datastoreType": "etcdv2",
            "etcdEndpoints": etcd.endpoint,
            "etcdKeyFile": str(certificates / "calico-key.pem"),
            "etcdCertFile": str(certificates / "calico.pem"),
            "etcdCACertFile": str(certificates / "ca.pem"),
        }
        config = tmp_path / "calicoctl.cfg"
        config.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "calicoApiConfig", "spec": spec}))
        base = [calicoctl, f"--config={config}"]
        subprocess.run([*base, "apply", "-f", "-"], input=recorded["applied"], text=True, check=True)
        for setting in recorded["config"]:
            subprocess.run([*base, "config", "set", *setting.split()], check=True)
        files = (str(certificates / f"{name}.pem") for name in ("ca", "calico", "calico-key"))
        keys, _index = etcdv2.Client([etcd.endpoint], *files).tree("/calico")
    found = {key: _parsed(value) for key, value in keys.items()}
    wanted = {item["key"]: item["value"] for item in recorded["keys"]}
    guid = "/calico/v1/config/ClusterGUID"
    assert len(found.pop(guid)) == len(wanted.pop(guid))
    assert found == wanted


def _parsed(value):
    try:
        parsed = json.loads(value)
    except ValueError:
        return value
    return parsed if isinstance(parsed, (dict, list)) else value


def test_a_call_is_quick(calicoctl, tmp_path):
    """The lab's figures must not be those of a slow stand-in: starting it costs little."""
    began = time.monotonic()
    subprocess.run([calicoctl, "get", "ipPool", "--config=absent"], stdout=subprocess.DEVNULL, check=False)
    assert time.monotonic() - began < 1
