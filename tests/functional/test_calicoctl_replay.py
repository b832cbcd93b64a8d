"""The stand-in calicoctl, held to every step that was recorded of the original, version by version."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.lab.standins import etcdv2, etcdv3
from tests.support import pki, replay
from tests.support.etcd import Etcd

pytestmark = pytest.mark.skipif(not shutil.which("etcd"), reason="needs the etcd program")

BUILD = Path(__file__).resolve().parents[1] / "lab" / "standins" / "build_calicoctl.py"
SITUATION = Path(__file__).resolve().parents[1] / "support" / "status_situation.py"
VERSIONS = ("v1.6.3", "v3.22.5", "v3.32.1")
STATUS = "node-status"
# The file is what a living cluster said: there is no way to get there by the commands in it.
NOT_REPLAYED = (STATUS, "live-cluster")
NOT_AIMED_FOR = json.loads(Path(__file__).with_name("calicoctl_not_aimed_for.json").read_text())


def scenarios():
    """(version, scenario, [names of its steps]) of all that is replayed."""
    for version in VERSIONS:
        for path in sorted((replay.RECORDINGS / version).glob("*.json")):
            if path.stem not in NOT_REPLAYED:
                yield version, path.stem, [step["name"] for step in replay.load(version, path.stem)["steps"]]


def aimed_for(version, scenario, name):
    return name not in NOT_AIMED_FOR.get(version, {}).get(scenario, {})


@pytest.fixture(scope="session")
def calicoctl(tmp_path_factory):
    """Function: version -> the program."""
    directory = tmp_path_factory.mktemp("bin")

    def built(version):
        out = directory / f"calicoctl-{version}"
        if not out.exists():
            subprocess.run([sys.executable, str(BUILD), str(out), "--version", version[1:]], check=True)
        return str(out)

    return built


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return pki.make(tmp_path_factory.mktemp("certificates") / "pki")


@pytest.fixture(scope="session")
def replayed(calicoctl, certificates, tmp_path_factory):
    """Function: version and scenario -> its steps as the stand-in went through them, and etcd's port."""
    done = {}

    def once(version, scenario):
        if (version, scenario) not in done:
            room = tmp_path_factory.mktemp(scenario)
            (room / "pki").symlink_to(certificates)
            with Etcd(room / "etcd", certificates) as etcd:
                steps = replay.run(replay.load(version, scenario), calicoctl(version), room, etcd)
                done[version, scenario] = steps, etcd.port
        return done[version, scenario]

    return once


@pytest.mark.parametrize(
    ("version", "scenario", "number"),
    [
        pytest.param(version, scenario, number, id=f"{version} {scenario}: {name}")
        for version, scenario, names in scenarios()
        for number, name in enumerate(names)
        if aimed_for(version, scenario, name)
    ],
)
def test_a_recorded_step_is_answered_as_the_original_did(replayed, version, scenario, number):
    steps, port = replayed(version, scenario)
    assert not steps[number].differences(port)


# --- node status: it looks at processes and at fixed paths, so it gets a world of its own ----------


def status_steps():
    """Each step of node status, of each version."""
    for version in VERSIONS:
        for step in replay.load(version, STATUS)["steps"]:
            yield pytest.param(version, step, id=f"{version} {step['name']}")


@pytest.fixture(scope="session")
def status_agreements():
    """Which steps of node status agreed, by version; for the count."""
    return {version: [] for version in VERSIONS}


@pytest.mark.lab
@pytest.mark.parametrize(("version", "recorded"), list(status_steps()))
def test_node_status_is_told_as_the_original_did(calicoctl, tmp_path, status_agreements, version, recorded):
    if os.geteuid() != 0:
        pytest.skip("needs root for a mount namespace")
    situation = tmp_path / "situation.json"
    situation.write_text(json.dumps(_situation(version, recorded["name"], recorded["stdout"])))
    argv = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    process = subprocess.Popen(
        [*argv, sys.executable, str(SITUATION), str(situation), calicoctl(version)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    differences = replay.Step(recorded["name"], recorded, process.returncode, stdout, stderr).differences(0)
    if not differences:
        status_agreements[version].append(recorded["name"])
    assert not differences


def _situation(version, name, stdout):
    """Which processes run and what the sockets answer, so that the recorded text is the answer."""
    if name == "no calico process":
        return {"sockets": {}}
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
    # The first generation looks for names, the others for command lines.
    if version == "v1.6.3":
        return {"names": ["calico-felix", "bird", "bird6"], "sockets": answers[name]}
    felix = ["calico-felix" if name == "with calico-felix too" else "calico-node", "-felix"]
    return {"command_lines": [felix, ["bird", "-felix"], ["bird6", "-felix"]], "sockets": answers[name]}


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


# --- the count, for people; that each step agrees is held by the tests above -----------------------


def test_how_many_steps_agree(replayed, status_agreements, capsys):
    lines = []
    for version, scenario, names in scenarios():
        steps, port = replayed(version, scenario)
        good = sum(not step.differences(port) for step in steps)
        lines.append(f"calicoctl {version} {scenario}: {good} of {len(names)} steps agree")
    for version, agreed in status_agreements.items():
        total = len(replay.load(version, STATUS)["steps"])
        lines.append(f"calicoctl {version} {STATUS}: {len(agreed)} of {total} steps agree")
    with capsys.disabled():
        print("\n" + "\n".join(sorted(lines)))


def test_what_is_not_aimed_for_was_recorded_and_has_a_reason():
    recorded = {(version, scenario): names for version, scenario, names in scenarios()}
    for version, left_out in NOT_AIMED_FOR.items():
        for scenario, steps in left_out.items():
            assert set(steps) <= set(recorded[version, scenario])
            assert all(steps.values())


# --- the keys ------------------------------------------------------------------------------------


@pytest.fixture
def room(certificates, tmp_path):
    """Function: version -> the arguments that lead to an etcd of its own, and a client of it."""
    with Etcd(tmp_path / "etcd", certificates) as etcd, contextlib.ExitStack():
        files = [str(certificates / f"{name}.pem") for name in ("ca", "calico", "calico-key")]

        def made(version):
            first = version == "v1.6.3"
            spec = {
                "datastoreType": "etcdv2" if first else "etcdv3",
                "etcdEndpoints": etcd.endpoint,
                "etcdCACertFile": files[0],
                "etcdCertFile": files[1],
                "etcdKeyFile": files[2],
            }
            head = {
                "apiVersion": "v1" if first else "projectcalico.org/v3",
                "kind": "calicoApiConfig" if first else "CalicoAPIConfig",
            }
            config = tmp_path / f"{version}.cfg"
            config.write_text(yaml.safe_dump({**head, "spec": spec}))
            module = etcdv2 if first else etcdv3
            return f"--config={config}", module.Client([etcd.endpoint], *files)

        yield made


def test_resources_and_settings_are_kept_in_the_recorded_keys(calicoctl, room):
    recorded = json.loads((replay.RECORDINGS.parent / "etcd-v2-keys.json").read_text())
    config, client = room("v1.6.3")
    base = [calicoctl("v1.6.3"), config]
    subprocess.run([*base, "apply", "-f", "-"], input=recorded["applied"], text=True, check=True)
    for setting in recorded["config"]:
        subprocess.run([*base, "config", "set", *setting.split()], check=True)
    found = {key: _parsed(value) for key, value in client.tree("/calico")[0].items()}
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


RESOURCES = "/calico/resources/v3/projectcalico.org/"


@pytest.fixture(scope="module")
def living():
    """{key: value} of a living v3 cluster."""
    recorded = json.loads((replay.RECORDINGS.parent / "etcd-v3-keys.json").read_text())
    return {item["key"]: item["value"] for item in recorded["keys"]}


def _without_what_varies(value):
    metadata = {
        key: item for key, item in value["metadata"].items() if key not in ("uid", "creationTimestamp")
    }
    spec = {key: item for key, item in value["spec"].items() if key != "clusterGUID"}
    return {**value, "metadata": metadata, "spec": spec}


def test_v3_resources_are_kept_in_the_recorded_keys(calicoctl, room, living):
    """What was read from the living cluster, applied to an empty one, gives the same keys and values."""
    config, client = room("v3.32.1")
    wanted = {key: _without_what_varies(value) for key, value in living.items() if key.startswith(RESOURCES)}
    # These are of the older version that the cluster ran; the newer one adds its own defaults.
    older = ("felixconfigurations", "bgpconfigurations", "profiles")
    wanted = {key: value for key, value in wanted.items() if key[len(RESOURCES) :].split("/")[0] not in older}
    applied = [value for value in wanted.values() if value["kind"] not in ("ClusterInformation", "Tier")]
    subprocess.run(
        [calicoctl("v3.32.1"), "apply", "-f", "-", config],
        input=yaml.safe_dump_all(applied),
        text=True,
        check=True,
    )
    found = {key: json.loads(value) for key, value in client.tree(RESOURCES)[0].items()}
    assert {key: _without_what_varies(value) for key, value in found.items()} == wanted
    for value in found.values():
        assert len(value["metadata"]["uid"]) == 36
        assert list(value)[:3] == ["kind", "apiVersion", "metadata"]


@pytest.fixture
def cluster(calicoctl, room, living):
    """The living cluster's keys in an etcd, and a function that runs calicoctl 3.32.1 on it."""
    config, client = room("v3.32.1")
    for key, value in living.items():
        client.put(key, json.dumps(value))

    def run(*argv):
        command = [calicoctl("v3.32.1"), *argv, config]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return client, run


def test_usage_of_pools_and_blocks_is_counted(cluster):
    _client, run = cluster
    rows = [line.split("|")[1:-1] for line in run("ipam", "show", "--show-blocks").splitlines()[3:-1]]
    cells = [tuple(cell.strip() for cell in row) for row in rows]
    assert cells[0] == ("IP Pool", "10.233.0.0/16", "65536", "4 (0%)", "65532 (100%)")
    assert [cell[1] for cell in cells[1:]] == [
        "10.233.104.0/26",
        "10.233.135.0/26",
        "10.233.166.128/26",
        "10.233.166.192/26",
    ]


def test_a_pool_in_use_is_deleted_and_its_blocks_belong_to_nobody(cluster):
    client, run = cluster
    assert run("delete", "ippool", "default-ipv4-ippool") == "Successfully deleted 1 'IPPool' resource(s)\n"
    blocks = client.tree("/calico/ipam/v2/assignment/")[0].values()
    assert [json.loads(block)["affinity"] for block in blocks] == [None] * 4
    assert client.tree("/calico/ipam/v2/host/")[0] == {}
    assert "10.233.135.0/26" in run("ipam", "show", "--show-blocks")
    assert "10.233.135.0" in run("get", "workloadendpoint", "-o", "wide")


def test_a_node_goes_with_its_workloads_blocks_and_settings(cluster):
    client, run = cluster
    assert run("delete", "node", "node3") == "Successfully deleted 1 'Node' resource(s)\n"
    left = "\n".join(client.tree("/calico/")[0])
    assert "node3" not in left
    assert "10.233.135.0-26" not in left
    assert "lab.w2-h3" not in left
    assert "10.233.166.192-26" in left


def test_a_v1_node_goes_with_its_workloads_and_blocks(calicoctl, room, living):
    config, client = room("v1.6.3")
    recorded = json.loads((replay.RECORDINGS.parent / "etcd-v2-keys.json").read_text())
    base = [calicoctl("v1.6.3"), config]
    subprocess.run([*base, "apply", "-f", "-"], input=recorded["applied"], text=True, check=True)
    for key, value in living.items():
        if key.startswith("/calico/ipam/v2/"):
            client.put(key, json.dumps(value))
    client.put("/calico/v1/host/node3/metadata", "{}")
    endpoint = {"name": "caliw2-h3", "ipv4_nets": ["10.233.135.0/32"], "ipv6_nets": []}
    client.put("/calico/v1/host/node3/workload/cni/w2-h3/endpoint/eth0", json.dumps(endpoint))
    subprocess.run([*base, "delete", "node", "node3"], check=True)
    left = "\n".join(client.tree("/calico")[0])
    assert "node3" not in left
    assert "10.233.135.0-26" not in left
    assert "10.233.166.192-26" in left


def test_the_same_sources_give_the_same_program(tmp_path):
    for name in ("one", "two"):
        subprocess.run([sys.executable, str(BUILD), str(tmp_path / name), "--version", "3.22.5"], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_call_is_quick(calicoctl, tmp_path, version):
    """The lab's figures must not be those of a slow stand-in: starting it costs little."""
    program = calicoctl(version)
    began = time.monotonic()
    subprocess.run([program, "get", "ipPool", "--config=absent"], stdout=subprocess.DEVNULL, check=False)
    assert time.monotonic() - began < 60
