"""What calicoctl says, told apart: every step that the real ones were recorded with."""

import json
import os
import stat
import time
from pathlib import Path

import calico_ctl as ctl
import pytest

RECORDINGS = Path(__file__).parents[1] / "recordings" / "calicoctl"

# (scenario, step) -> class. A step of exit code 0 that is not listed here has no error.
EXPECTED = {
    ctl.NotFound: {
        "bgppeer": ["delete node peer again"],
        "bgp": ["get bgpconfig default missing", "delete peer again"],
        "ippool": [
            "get one missing",
            "get two one missing",
            "replace missing",
            "delete missing",
            "patch missing",
        ],
        "node-and-others": ["get missing", "delete again", "ipam release", "label missing node"],
    },
    ctl.AlreadyExists: {
        "bgppeer": ["create global again"],
        "bgp": ["peer again"],
        "ippool": ["create again"],
        "node-and-others": ["label other no overwrite"],
    },
    ctl.Conflict: {
        "node-labels": [
            "apply with a stale resourceVersion",
            "replace with a stale resourceVersion",
        ]
    },
    ctl.Invalid: {
        "bgppeer": [
            "bad ip",
            "bad as",
            "bad scope",
            "node scope no node",
            "delete node peer no scope",
        ],
        "config": [
            "mesh bad value",
            "as bad",
            "loglevel bad",
            "raw bad component",
            "unknown key",
            "unknown key set",
        ],
        "bgp": [
            "bgpconfig bad name",
            "bgpconfig per node mesh",
            "peer bad ip",
            "peer node and selector",
            "peer big as",
            "felix bad value",
            "felix unknown field",
        ],
        "ippool": [
            "host bits set",
            "apply bad cidr",
            "apply host bits",
            "apply too small",
            "apply unknown field",
            "apply unknown ipip mode",
            "apply bad mode",
            "apply bad yaml",
            "apply empty",
            "apply no cidr",
            "apply no name",
            "apply bad name",
            "apply string bool",
            "apply partly bad list",
            "apply missing file",
            "apply cidr change",
            "apply blockSize change",
            "ipip and vxlan",
            "overlap",
            "bad selector",
            "get bad output",
        ],
        "node-and-others": ["ipam show bad", "bad cluster id", "upper case name"],
    },
    ctl.Unsupported: {
        "ippool": ["apply unknown kind", "apply v3 kind", "apply v1 kind"],
        "node-and-others": [
            "get none blockaffinity",
            "get none caliconodestatus",
            "get none ipamconfig",
            "get none bgpfilter",
            "cluster version ahead",
        ],
    },
    ctl.PartialSuccess: {"ippool": ["delete two by file", "apply partly bad"]},
    ctl.NotRunning: {"node-status": ["no calico process"]},
    ctl.Unknown: {
        "node-status": [
            "socket answers: garbage",
            "socket answers: banner only",
            "socket answers: wrong banner",
            "socket answers: silent",
            "socket answers: other headings",
        ]
    },
    ctl.BadConfig: {"node-and-others": ["ipam check"]},
}
FAULTS = {
    "refused": ctl.Unreachable,
    "plain http": ctl.Unreachable,
    "wrong ca": ctl.Unreachable,
    "no client cert": ctl.Unreachable,
    "missing ca file": ctl.BadConfig,
    "missing key file": ctl.BadConfig,
    "bad datastore type": ctl.BadConfig,
    "bad yaml": ctl.BadConfig,
    "unknown field": ctl.BadConfig,
    "kubernetes without kubeconfig": ctl.BadConfig,
    "no config file": ctl.BadConfig,
    "wrong apiVersion": ctl.WrongGeneration,
}


def recorded():
    for path in sorted(RECORDINGS.glob("*/*.json")):
        scenario = json.loads(path.read_text(encoding="utf-8"))
        # live-cluster is for parsers: a report of commands, not steps with an outcome each.
        for step in scenario["steps"] if path.stem != "live-cluster" else []:
            name = f"{path.parent.name}/{path.stem}: {step['name']}"
            yield pytest.param(path.stem, step, id=name)


def expected_class(scenario, step):
    if step["rc"] is None:
        return ctl.TimedOut
    if step["rc"] == 0:
        return None
    if scenario == "datastore-faults":
        return FAULTS[step["name"].split(": ")[-1]]
    for kind, scenarios in EXPECTED.items():
        if step["name"] in scenarios.get(scenario, []):
            return kind
    raise AssertionError(f"no class is expected for {scenario}: {step['name']}")


def result_of(step):
    return ctl.Result(step["rc"], step["stdout"], step["stderr"])


@pytest.mark.parametrize(("scenario", "step"), list(recorded()))
def test_every_recorded_step_has_its_class(scenario, step):
    error = ctl.classify(result_of(step))
    kind = expected_class(scenario, step)
    assert (type(error) if error else None) == kind


def step_of(version, scenario, name):
    path = RECORDINGS / version / f"{scenario}.json"
    steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
    return next(step for step in steps if step["name"] == name)


def classified(version, scenario, name):
    return ctl.classify(result_of(step_of(version, scenario, name)))


def test_invalid_says_field_value_and_reason():
    error = classified("v1.6.3", "ippool", "host bits set")
    assert (error.field, error.value) == ("CIDR", "10.233.7.1/16")
    assert error.reason == "IP pool CIDR is not strictly masked"
    error = classified("v1.6.3", "ippool", "apply unknown field")
    assert error.field == "nat_outgoing"
    error = classified("v3.32.1", "ippool", "apply bad mode")
    assert (error.field, error.value) == ("IPIPMode", "sometimes")
    error = classified("v3.32.1", "bgp", "bgpconfig bad name")
    assert (error.field, error.value) == ("BGPConfiguration.Spec.ASNumber", None)
    assert error.reason.startswith("Cannot set ASNumber")


def test_partial_success_says_how_much_and_why():
    error = classified("v1.6.3", "ippool", "delete two by file")
    assert (error.done, error.total) == (1, 2)
    assert isinstance(error.reason, ctl.NotFound)
    error = classified("v3.22.5", "ippool", "apply partly bad")
    assert isinstance(error.reason, ctl.Invalid)
    assert (error.done, error.total) == (None, None)


def test_words_inside_a_value_do_not_decide():
    text = "Failed to apply 'ipPool' resource: error with field mode = 'update conflict: x'\n"
    assert type(ctl.classify(ctl.Result(1, text, ""))) is ctl.Invalid


def test_what_libraries_log_does_not_hide_the_error():
    log = '{"level":"warn","ts":"2022","msg":"retrying of unary invoker failed"}\n'
    said = "Failed to create Calico API client: context deadline exceeded\n"
    assert type(ctl.classify(ctl.Result(1, said, log))) is ctl.Unreachable


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("version mismatch.\nClient Version:   v3.22.5\n", ctl.VersionMismatch),
        (
            "failed to get resources: unable to get Cluster Information to verify version mismatch:"
            ' Get "https://10.0.0.1:6443": dial tcp 10.0.0.1:6443: i/o timeout\n',
            ctl.Unreachable,
        ),
        ("failed to apply 'IPPool' resource: [datastore is locked]\n", ctl.Locked),
        ("", ctl.Unknown),
        ("boom\n", ctl.Unknown),
    ],
)
def test_further_words_of_the_source(stderr, kind):
    assert type(ctl.classify(ctl.Result(1, "", stderr))) is kind


# Running ---------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path):
    def write(script, name="calicoctl"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n" + script, encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return write


def how(binary, deadline=5.0):
    return {"binary": binary, "config": "/etc/calico/calicoctl.cfg", "deadline": deadline}


def test_arguments_input_and_environment(program, monkeypatch):
    monkeypatch.setenv("ETCD_ENDPOINTS", "http://elsewhere:2379")
    monkeypatch.setenv("CALICO_ETCD_KEY_FILE", "x")
    monkeypatch.setenv("DATASTORE_TYPE", "kubernetes")
    monkeypatch.setenv("KUBECONFIG", "x")
    monkeypatch.setenv("KEPT", "yes")
    result = ctl.run(["apply", "-f", "-"], stdin="in", **how(program('echo "$@"; cat; env >&2')))
    assert result.rc == 0
    assert result.stdout == "apply -f - --config=/etc/calico/calicoctl.cfg\nin"
    assert "KEPT=yes" in result.stderr
    assert not [word for word in ("ETCD", "CALICO_", "DATASTORE", "KUBE") if word in result.stderr]


def test_input_that_nobody_reads_and_large_output(program):
    large = "x" * 3_000_000
    assert ctl.run([], stdin=large, **how(program("exit 3"))).rc == 3
    assert ctl.run([], stdin=large, **how(program("cat"))).stdout == large


def test_a_hung_calicoctl_is_killed_with_its_children(program, tmp_path):
    pid_file = tmp_path / "child"
    binary = program(f"sleep 600 & echo $! > {pid_file}\nwait")
    start = time.monotonic()
    with pytest.raises(ctl.TimedOut, match="get ipPool"):
        ctl.get("ipPool", **how(binary, deadline=0.5))
    assert time.monotonic() - start < 60
    assert gone(int(pid_file.read_text()))


def gone(pid, within=5):
    """Whether the process ends; a killed orphan needs its new parent to be buried."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_child_that_stays_behind_is_killed_too(program, tmp_path):
    pid_file = tmp_path / "child"
    binary = program(f"sleep 600 > /dev/null 2>&1 & echo $! > {pid_file}\nexit 0")
    assert ctl.run([], **how(binary)).rc == 0
    assert gone(int(pid_file.read_text()))


def test_too_much_output_is_stopped(program, monkeypatch):
    monkeypatch.setattr(ctl, "LARGEST_OUTPUT", 1000)
    with pytest.raises(ctl.TooMuchOutput):
        ctl.run([], **how(program("exec yes")))


def test_missing_and_unusable_programs_are_errors_that_name_the_path(program, tmp_path):
    missing = str(tmp_path / "missing")
    with pytest.raises(ctl.NotInstalled, match=missing):
        ctl.get("ipPool", **how(missing))
    with pytest.raises(ctl.NotInstalled, match=missing):
        ctl.client_version(missing)
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"\x7fELF" + b"\0" * 60)
    foreign.chmod(0o755)
    with pytest.raises(ctl.NotRunnable, match="architecture"):
        ctl.get("ipPool", **how(str(foreign)))
    foreign.chmod(stat.S_IRUSR)
    with pytest.raises(ctl.NotRunnable, match=f"{foreign}.*not executable"):
        ctl.get("ipPool", **how(str(foreign)))


def test_version_is_asked_once_and_does_not_wait_for_the_datastore(program, tmp_path):
    calls = tmp_path / "calls"
    binary = program(f"echo x >> {calls}; echo 'Client Version:    v1.6.3'; sleep 600")
    assert ctl.client_version(binary) == (1, 6, 3)
    assert ctl.client_version(binary) == (1, 6, 3)
    assert len(calls.read_text().split()) == 1
    os.utime(binary, (1, 1))
    assert ctl.client_version(binary) == (1, 6, 3)
    assert len(calls.read_text().split()) == 2
    with pytest.raises(ctl.Unknown, match="hello"):
        ctl.client_version(program("echo hello", name="other"))


@pytest.mark.parametrize(("version", "passed"), [("v3.19.4", False), ("v3.20.0", True)])
def test_version_mismatch_is_allowed_where_the_option_exists(program, version, passed):
    answer = '{"kind": "IPPoolList", "items": []}'
    binary = program(
        f'[ "$1" = version ] && echo "Client Version: {version}" && exit\n'
        f'echo "$*" > "$0.said"\necho \'{answer}\'\n'
    )
    assert ctl.get("ippool", allow_version_mismatch=True, **how(binary)) == []
    assert ("--allow-version-mismatch" in Path(binary + ".said").read_text()) is passed


# Verbs, on what the real ones answered ------------------------------------------------------------


@pytest.fixture
def replay(program):
    """A calicoctl that answers as in one recorded step."""

    def make(version, scenario, name):
        step = step_of(version, scenario, name)
        script = f"cat > /dev/null\ncat <<'OUT'\n{step['stdout']}\nOUT\n"
        script += f"cat >&2 <<'ERR'\n{step['stderr']}\nERR\nexit {step['rc']}\n"
        return how(program(script))

    return make


def test_get(replay):
    found = ctl.get("ipPool", **replay("v1.6.3", "ippool", "get -o json"))
    assert [(pool["metadata"], pool["spec"]) for pool in found] == [
        ({"cidr": "10.233.0.0/16"}, {"nat-outgoing": True})
    ]
    assert ctl.get("ipPool", **replay("v1.6.3", "ippool", "get none -o json")) == []
    found = ctl.get("ippool", **replay("v3.22.5", "ippool", "list as json"))
    assert {pool["metadata"]["name"] for pool in found} >= {"default-pool", "p1"}
    found = ctl.get("node", "node3", **replay("v3.22.5", "node-labels", "get labelled"))
    assert found[0]["metadata"]["labels"] == {"route-reflector": "true"}


@pytest.mark.parametrize("version", ["v3.22.5", "v3.32.1"])
def test_get_of_a_missing_name_is_empty(replay, version):
    assert ctl.get("ippool", "x", **replay(version, "ippool", "get one missing")) == []


def test_nothing_unreachable_is_taken_for_absent(replay):
    for fault in ("refused", "wrong ca", "no client cert", "plain http"):
        with pytest.raises(ctl.Unreachable):
            ctl.get("ipPool", **replay("v1.6.3", "datastore-faults", f"get: {fault}"))
        with pytest.raises(ctl.Unreachable):
            ctl.config_get("x", **replay("v1.6.3", "datastore-faults", f"config get: {fault}"))


def test_output_that_is_no_json_is_an_error(program):
    for said in ("", "null", "<html>"):
        with pytest.raises(ctl.Unknown):
            ctl.get("ipPool", **how(program(f"echo '{said}'")))


def test_config(replay):
    assert ctl.config_get("asNumber", **replay("v1.6.3", "config", "as get")) == "64599"
    assert ctl.config_get("logLevel", **replay("v1.6.3", "config", "node loglevel get")) == "debug"
    inherited = replay("v1.6.3", "config", "node loglevel get none")
    assert ctl.config_get("logLevel", node="node1", **inherited) is None
    unset = replay("v1.6.3", "config", "raw felix get none")
    assert ctl.config_get("Nothing", raw="felix", **unset) is None
    with pytest.raises(ctl.Invalid, match="maybe"):
        ctl.config_set("nodeToNodeMesh", "maybe", **replay("v1.6.3", "config", "mesh bad value"))


def test_delete_says_what_was_there(replay):
    pool = {"kind": "ipPool", "apiVersion": "v1", "metadata": {"cidr": "10.1.0.0/16"}}
    gone_already = replay("v1.6.3", "ippool", "delete missing")
    assert ctl.delete([pool], **gone_already) == []
    with pytest.raises(ctl.NotFound):
        ctl.delete([pool], missing_ok=False, **gone_already)
    assert ctl.delete([pool], **replay("v1.6.3", "ippool", "delete by file")) == [pool]


def test_writes_are_a_stream_of_documents(program, tmp_path):
    seen = tmp_path / "seen"
    binary = program(f"cat > {seen}")
    pools = [{"kind": "ipPool", "metadata": {"cidr": f"10.{i}.0.0/16"}} for i in (1, 2)]
    ctl.apply(pools, **how(binary))
    documents = seen.read_text().split("\n---\n")
    assert [json.loads(document) for document in documents] == pools
