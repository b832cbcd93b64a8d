"""The formula on each Salt that it is for: modules, states, beacon and runner; masterless, never synced."""

import contextlib
import copy
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import calico_container
import calico_settings
import pytest
import yaml

from tests.support import engine as engine_support
from tests.support import minion as minion_support
from tests.support import programs, releases

ROOT = Path(__file__).parents[2]
CALICOCTL = "/opt/calicoctl"
CHECK = "Settings and host are fit for Calico"
IMAGES = {"calico/node:v2.6.2": {"Id": "sha256:" + "a" * 64, "RepoDigests": []}}
POOL = "172.20.0.0/16"

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.lab,
    pytest.mark.skipif(bool(minion_support.missing()), reason=minion_support.missing()),
    pytest.mark.skipif(not shutil.which("etcd"), reason="needs the etcd program"),
]


class Host:
    """A minion of one release, and that release's programs on it."""

    def __init__(self, minion, engine, bin_directory, settings):
        self.minion, self.engine, self.bin, self.settings = minion, engine, bin_directory, settings

    def program(self, name, *arguments, code=0):
        """Run a program of that Salt on the host; what it printed."""
        argv = self.minion.command(self.bin / name, *arguments)
        environment = {"PATH": f"{self.minion.bin}:/usr/sbin:/usr/bin:/sbin:/bin"}
        done = programs.run(argv, check=False, env=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=["ours", *releases.RELEASES])
def host(request, formula_etcd, formula_pki, binary):
    ours = request.param == "ours"
    place = Path(sys.prefix) if ours else releases.directory(request.param)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="calico-salt-")))
        python = place / "bin" / "python"
        minion = stack.enter_context(minion_support.Minion(directory / "m", python=python))
        engine = stack.enter_context(engine_support.Engine(minion.directory))
        engine.install(minion.bin)
        minion.path("/run/docker.sock").unlink(missing_ok=True)
        minion.path("/run/docker.sock").symlink_to(engine.socket)
        engine.knows(images=IMAGES)
        minion.path("/etc/calico/ssl").mkdir(parents=True)
        tls = {"ca": "ca", "cert": "calico", "key": "calico-key"}
        for name in tls.values():
            shutil.copy(formula_pki / f"{name}.pem", minion.path(f"/etc/calico/ssl/{name}.pem"))
        settings = {
            "version": "v2.6.2",
            "etcd": {
                "endpoints": [formula_etcd.endpoint],
                "tls": {part: f"/etc/calico/ssl/{name}.pem" for part, name in tls.items()},
            },
            "node": {"name": "node1"},
            "calicoctl": {"path": CALICOCTL, "timeout": 20},
            "network": {"pools": [{"cidr": POOL}]},
        }
        minion.pillar(settings)
        shutil.copy(binary, minion.path(CALICOCTL))
        minion.path("/etc/calico/calicoctl.cfg").write_text(
            yaml.safe_dump(minion.call("calico.calicoctl_configuration"))
        )
        found = minion.call("test.version")
        assert ours or found == request.param
        yield Host(minion, engine, place / "bin", settings)


@pytest.fixture
def minion(host, datastore):
    """With an empty datastore."""
    host.minion.pillar(host.settings)
    return host.minion


@pytest.fixture
def datastore(formula_etcd, formula_pki):
    from tests.lab.standins import etcdv2

    files = {"ca": "ca", "cert": "calico", "key": "calico-key"}
    certificates = {name: str(formula_pki / f"{file}.pem") for name, file in files.items()}
    client = etcdv2.Client([formula_etcd.endpoint], **certificates)
    client.delete("/calico", recursive=True)
    return client


def test_what_the_modules_say(minion, host):
    checked = calico_settings.check(copy.deepcopy(host.settings))
    assert minion.call("calico.environment") == calico_container.environment(checked)
    assert minion.call("calico.container")["mounts"] == calico_container.mounts(checked)
    assert minion.call("calico.settings")["image"] == "calico/node:v2.6.2"
    assert minion.call("calico.plugins") == []
    assert minion.call("calico.image")["present"] is True
    assert [item for item in minion.call("calico.check") if item["level"] == "error"] == []
    assert minion.call("calico.status")["ready"] is False
    assert minion.call_with_code("calico.status")[1] == 1


def test_secrets_of_the_pillar_are_values_and_not_asterisks(minion, host):
    minion.pillar(dict(host.settings, env={"A_PASSWORD": "geheim"}))
    assert minion.call("calico.environment", secrets=True)["A_PASSWORD"] == "geheim"
    assert minion.call("calico.environment")["A_PASSWORD"] != "geheim"


def test_a_pillar_that_is_wrong(minion, host):
    minion.pillar(dict(host.settings, verison="x"))
    with pytest.raises(minion_support.Failed, match="did you mean 'version'") as caught:
        minion.call("calico.settings")
    assert caught.value.kind == "CommandExecutionError"


def test_a_state_absent_test_applied_equal(minion, datastore):
    key = "/calico/v1/ipam/v4/pool/172.20.0.0-16"
    assert minion.state("calico.pool_present", name=POOL, test=True)["result"] is None
    assert datastore.get(key) is None
    plan = minion.call("calico.plan", "pool", [{"cidr": POOL}])
    assert plan
    found = minion.state("calico.pool_present", name=POOL)
    assert (found["result"], bool(found["changes"])) == (True, True), found
    assert json.loads(datastore.get(key))["cidr"] == POOL
    assert minion.state("calico.pool_present", name=POOL)["changes"] == {}
    assert [pool["metadata"]["cidr"] for pool in minion.call("calico.pools")] == [POOL]


def test_the_files_are_written_once(minion):
    for state, sls in (("calico-node's unit is written", "config"), ("CNI is configured", "cni")):
        found = minion.state_of_sls(state, "calico." + sls)
        assert found["result"] is True, found
        assert minion.state_of_sls(state, "calico." + sls)["changes"] == {}
    assert "Requires=docker.service" in minion.path("/etc/systemd/system/calico-node.service").read_text()


def test_the_beacon(minion, host):
    configuration = {"calico_bgp": []}
    assert minion.beacons(configuration) == []
    running = {"Id": "c" * 64, "State": {"Running": True, "StartedAt": "2026-01-01T00:00:00Z"}}
    host.engine.knows(images=IMAGES, containers={"calico-node": running})
    try:
        (event,) = minion.beacons(configuration)
        assert event["data"]["kind"] == "container", event
    finally:
        host.engine.knows(images=IMAGES)


def test_the_runner(host):
    directory = host.minion.directory / "master"
    directory.mkdir(exist_ok=True)
    configuration = {
        "root_dir": str(directory),
        "conf_file": str(directory / "master"),
        "runner_dirs": [str(ROOT / "_runners")],
        "utils_dirs": [str(ROOT / "_utils")],
        "log_file": str(directory / "log"),
    }
    (directory / "master").write_text(json.dumps(configuration))
    found = host.program("salt-run", f"--config-dir={directory}", "-d", "calico")
    assert "calico.mesh" in found and "calico.topology" in found
    assert "calico.decommission" in found


def test_masterless_and_never_synced(host, minion, tmp_path):
    """As docs/platforms.md says it: a checkout, a pillar, one command; nothing is changed by test=True."""
    masterless(host, minion, tmp_path, ROOT)


@pytest.mark.parametrize("host", ["ours"], indirect=True)
def test_red_hats_family_has_podman(host, tmp_path):
    """As a minion there would see it; what the pillar says goes before."""
    (tmp_path / "minion").write_text(json.dumps({"id": "node1", "root_dir": str(tmp_path)}))
    (tmp_path / "grains").write_text("os_family: RedHat\n")

    def container(settings):
        (tmp_path / "calico.sls").write_text("#!json\n" + json.dumps({"calico": settings}))
        (tmp_path / "top.sls").write_text("base: {'*': [calico]}\n")
        options = [f"--config-dir={tmp_path}", "--local", "--out=json", f"--pillar-root={tmp_path}"]
        found = host.program("salt-call", *options, f"--module-dirs={ROOT}", "calico.container")
        return json.loads(found)["local"]

    found = container(host.settings)
    assert found["unit"]["service"] is None
    assert found["runtime_path"].endswith("/podman")
    assert container(dict(host.settings, runtime="docker"))["unit"]["service"] == "docker.service"


@pytest.mark.parametrize("host", ["ours"], indirect=True)
def test_what_spm_installs_runs(host, minion, tmp_path):
    """SPM itself is the same in all releases."""
    paths = {
        "formula_path": "srv/salt",
        "pillar_path": "srv/pillar",
        "reactor_path": "srv/reactor",
        "spm_build_dir": "build",
        "spm_db": "packages.db",
        "spm_cache_dir": "cache",
        "spm_share_dir": "share",
        "spm_logfile": "log",
        "cachedir": "cached",
        "pki_dir": "pki",
    }
    configuration = {name: f"{tmp_path}/{path}" for name, path in paths.items()}
    (tmp_path / "spm").write_text(json.dumps(dict(configuration, root_dir=str(tmp_path))))

    def spm(*arguments):
        argv = [host.bin / "spm", f"--config-dir={tmp_path}", "-y", *arguments]
        return programs.run(argv, cwd=ROOT).stdout

    spm("build", ".")
    (package,) = (tmp_path / "build").iterdir()
    wanted = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert package.name == f"calico-{wanted}.spm"
    spm("local", "install", package)
    roots = tmp_path / "srv" / "salt"
    for name in ("_beacons", "_modules", "_runners", "_states", "_utils"):
        installed = {path.name: path.read_bytes() for path in (roots / name).iterdir()}
        assert installed == {path.name: path.read_bytes() for path in (ROOT / name).glob("*.py")}
    for path in (ROOT / "calico").rglob("*"):
        if path.is_file():
            assert (roots / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    assert (tmp_path / "srv" / "pillar" / "calico.sls.orig").read_text() == (
        ROOT / "pillar.example"
    ).read_text()
    assert "_modules/calico.py" in spm("files", "calico")
    masterless(host, minion, tmp_path, roots)
    spm("remove", "calico")
    assert not (roots / "calico" / "init.sls").exists()


def masterless(host, minion, directory, roots):
    """Apply the formula that lies there with ``salt-call --local``, in test mode, never synced."""
    (directory / "pillar").mkdir(exist_ok=True)
    (directory / "pillar" / "top.sls").write_text("base: {'*': [calico]}\n")
    (directory / "pillar" / "calico.sls").write_text("#!json\n" + json.dumps({"calico": host.settings}))
    configuration = {
        "id": "node1",
        "root_dir": str(directory),
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
    }
    (directory / "minion").write_text(json.dumps(configuration))
    before = {path: path.read_bytes() for path in minion.path("/etc/calico").rglob("*") if path.is_file()}
    printed = host.program(
        "salt-call",
        f"--config-dir={directory}",
        "--local",
        "--out=json",
        "--retcode-passthrough",
        f"--file-root={roots}",
        f"--pillar-root={directory}/pillar",
        "state.apply",
        "calico",
        "test=True",
    )
    shown = json.loads(printed)["local"]
    assert shown, "no state was run"
    by_id = {value["__id__"]: value for value in shown.values()}
    assert by_id[CHECK]["result"] is True
    assert {value["result"] for value in by_id.values()} <= {True, None}
    assert by_id["calico/node's image is on the host"]["result"] is True
    after = {path: path.read_bytes() for path in minion.path("/etc/calico").rglob("*") if path.is_file()}
    assert after == before
