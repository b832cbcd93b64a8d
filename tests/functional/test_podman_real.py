"""calico-node by the real podman, from the unit's own lines, on a host of its own."""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path

import pytest

from tests.functional.test_templates import ENV, NASTY, STATES, UNIT
from tests.lab import artifacts, capabilities, runc_wrapper
from tests.lab.standins import etcdv2
from tests.support import engine as engine_support
from tests.support import minion as minion_support
from tests.support import programs, waiting

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not capabilities.has("CAP_SYS_ADMIN"), reason="needs CAP_SYS_ADMIN"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("podman", "runc", "etcd"))), reason="needs podman, runc and etcd"
    ),
]

HOSTS = 1
CERTIFICATES = {"ca": "ca", "cert": "calico", "key": "calico-key"}
# A program that is told to end writes that down.
LISTENER = "trap 'echo asked > /var/log/calico/asked' TERM; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def archive():
    return artifacts.standin_image("v2.6.2")


@pytest.fixture(scope="module")
def host(fabric):
    """A minion with a podman that shares nothing with the machine's own."""
    with (
        tempfile.TemporaryDirectory(prefix="calico-podman-") as directory,
        minion_support.Minion(Path(directory) / "m", network=fabric.hosts[0].name) as minion,
    ):
        # Not the machine's /run, of which the overlay would show sockets and locks.
        for path in ("/run", "/var/log/calico", "/var/lib/calico"):
            os.makedirs(path, exist_ok=True)
            minion.run("mount", "-t", "tmpfs", "tmpfs", path)
        configure(minion, Path(directory))
        yield minion
        with contextlib.suppress(subprocess.CalledProcessError):
            minion.run("podman", "rm", "--all", "--force", "--time=0")


def configure(minion, directory):
    storage = f'driver = "overlay"\nrunroot = "/run/storage"\ngraphroot = "{directory}/storage"\n'
    engine = ['cgroup_manager = "cgroupfs"', 'events_logger = "file"', 'lock_type = "file"']
    if not capabilities.has("CAP_SYS_RESOURCE"):
        wrapper = directory / "runc"
        shutil.copy(runc_wrapper.__file__, wrapper)
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        engine += ['runtime = "lessened"', "[engine.runtimes]", f'lessened = ["{wrapper}"]']
    at = minion.path("/etc/containers")
    (at / "storage.conf").write_text("[storage]\n" + storage)
    (at / "containers.conf").write_text("\n".join(["[engine]", *engine, ""]))


@pytest.fixture
def settings(server, pki, archive):
    return {
        "version": "v2.6.2",
        "runtime": "podman",
        "image_archive": str(archive),
        "etcd": {
            "endpoints": [server.endpoint],
            "tls": {part: f"/etc/calico/ssl/{name}.pem" for part, name in CERTIFICATES.items()},
        },
        "node": {"name": "node1"},
        "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
    }


@pytest.fixture
def minion(host, pki, settings):
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(host.path("/etc/calico"))
    host.path("/etc/calico/ssl").mkdir(parents=True)
    for name in ("ca.pem", "calico.pem", "calico-key.pem"):
        shutil.copy(Path(pki) / name, host.path(f"/etc/calico/ssl/{name}"))
    host.pillar(settings)
    return host


@pytest.fixture
def image(minion):
    assert minion.state("calico.image_present")["result"] is True


@pytest.fixture
def unit(minion, image):
    """What systemd would run: unit.start() runs it, unit.stop() ends it; the code that it ended with."""
    with contextlib.ExitStack() as stack:
        made = Unit(minion)
        stack.callback(made.stop)
        yield made


class Unit:
    def __init__(self, minion):
        self.minion = minion
        self._process = None

    def write(self):
        for path in (ENV, UNIT):
            found = self.minion.state_of_sls(STATES[path], "calico.config")
            assert found["result"] is True, found

    def lines(self, name):
        text = self.minion.path(UNIT).read_text().replace("\\\n", "")
        return [shlex.split(line) for line in re.findall(rf"^{name}=-?(.*)", text, re.MULTILINE)]

    def start(self):
        for argv in self.lines("ExecStartPre"):
            self.minion.run(*argv)
        (argv,) = self.lines("ExecStart")
        self._process = subprocess.Popen(
            self.minion.command(*argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # systemd's own, which has no PATH of ours.
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
        )
        self.output = []
        threading.Thread(target=lambda: self.output.extend(self._process.stdout), daemon=True).start()
        self.until(lambda: self.inspect() and self.inspect()["State"]["Running"])

    def until(self, condition):
        waiting.until(condition, lambda: "".join(self.output), possible=lambda: self._process.poll() is None)

    def inspect(self):
        done = self.podman("container", "inspect", "calico-node", check=False)
        return json.loads(done.stdout)[0] if done.returncode == 0 else None

    def podman(self, *arguments, check=True):
        return programs.run(self.minion.command("podman", *arguments), check=check)

    def stop(self):
        if self._process is None:
            return None
        for argv in self.lines("ExecStop"):
            self.minion.run(*argv)
        process, self._process = self._process, None
        return process.wait(timeout=waiting.PATIENCE)


def test_the_image_comes_from_the_archive_once(minion, settings):
    unit = Unit(minion)
    unit.podman("image", "rm", "--force", "--ignore", "calico/node:v2.6.2", check=False)
    assert minion.call("calico.image") == {
        "name": "calico/node:v2.6.2",
        "present": False,
        "id": None,
        "accepted": False,
    }
    assert minion.state("calico.image_present", test=True)["result"] is None
    assert minion.state("calico.image_present")["changes"]
    assert minion.state("calico.image_present")["changes"] == {}
    found = minion.call("calico.image")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found["id"])
    minion.pillar(dict(settings, image_digest=found["id"]))
    assert minion.call("calico.image")["accepted"] is True
    minion.pillar(dict(settings, image_digest="sha256:" + "0" * 64))
    assert minion.call("calico.image")["accepted"] is False


def test_a_host_without_a_network_has_everything_from_the_master(minion, settings, archive, tmp_path):
    """Image, calicoctl and CNI plugins together, by the states of calico.install."""
    (minion.files / "node.tar").symlink_to(archive)
    (minion.files / "calicoctl").write_text("#!/bin/sh\n")
    (tmp_path / "calico").write_text("a plugin")
    with tarfile.open(minion.files / "plugins.tgz", "w:gz") as plugins:
        plugins.add(tmp_path / "calico", "calico")

    def source(name):
        digest = hashlib.sha256((minion.files / name).read_bytes()).hexdigest()
        return {"source": f"salt://{name}", "source_hash": f"sha256={digest}"}

    pillar = {
        "image_archive": "salt://node.tar",
        "calicoctl": dict(source("calicoctl"), path="/opt/calicoctl"),
        "cni": {"plugins": source("plugins.tgz")},
    }
    minion.pillar(dict(settings, **pillar))
    Unit(minion).podman("image", "rm", "--force", "calico/node:v2.6.2", check=False)
    assert [item for item in minion.call("calico.check") if item["level"] == "error"] == []
    for state in (
        "calico/node's image is on the host",
        "calicoctl is installed",
        "CNI plugins are installed",
    ):
        found = minion.state_of_sls(state, "calico.install")
        assert (found["result"], bool(found["changes"])) == (True, True), found
    assert minion.call("calico.image")["present"] is True
    assert minion.path("/opt/calicoctl").stat().st_mode & 0o777 == 0o755
    assert minion.path("/opt/cni/bin/calico").read_text() == "a plugin"


def test_the_node_is_ready_and_the_container_the_wanted_one(unit, minion, settings, server, pki):
    unit.write()
    unit.start()
    unit.until(lambda: minion.call("calico.status")["bird"])
    assert minion.call("calico.drift") == {}
    found = minion.call("calico.version")
    assert found["image"] == "calico/node:v2.6.2"
    assert unit.inspect()["Id"] == minion.call("calico.container_id")
    first = minion.call("calico.watched")
    assert first["state"]["container"]["now"]["id"] == unit.inspect()["Id"]
    client = etcdv2.Client(
        [server.endpoint], **{name: str(Path(pki) / f"{file}.pem") for name, file in CERTIFICATES.items()}
    )
    assert client.get("/calico/bgp/v1/host/node1/ip_addr_v4")
    # Another pillar: what runs is not what is asked for any more.
    minion.pillar(dict(settings, env={"A": "b"}, mounts=["/srv:/srv:ro"]))
    drift = minion.call("calico.drift")
    assert drift["environment"]["new"] == "A"
    assert set(drift["mounts"]["new"]) - set(drift["mounts"]["old"]) == {"/srv:/srv:ro"}
    minion.pillar(settings)
    assert minion.call("calico.container_remove") is True
    assert minion.call("calico.container_id") is None


def test_it_is_ended_at_once_and_not_asked_to(unit, minion, settings):
    """Asked, BIRD would withdraw its routes."""
    unit.write()
    path = minion.path(UNIT)
    # The same line, with a program that tells.
    line = f"  --entrypoint=/bin/busybox calico/node:v2.6.2 sh -c {shlex.quote(LISTENER)}\n"
    path.write_text(path.read_text().replace("  calico/node:v2.6.2\n", line))
    unit.start()
    assert unit.stop() == 137
    assert not minion.path("/var/log/calico/asked").exists()
    assert unit.inspect() is None


def test_every_value_arrives_byte_for_byte(unit, minion, settings):
    minion.pillar(dict(settings, env=NASTY))
    unit.write()
    unit.start()
    pid = unit.inspect()["State"]["Pid"]
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    found = dict(pair.partition("=")[::2] for pair in pairs)
    assert {name: found.get(name) for name in NASTY} == NASTY
    assert minion.call("calico.environment", secrets=True).items() <= found.items()


def test_the_container_is_dockers_twin(unit, minion):
    """The host's name, no limit of processes, no second log; docker's own paths are left out."""
    shutil.rmtree(minion.path("/run/calico"), ignore_errors=True)
    unit.write()
    unit.start()
    found = unit.inspect()
    assert found["HostConfig"]["UTSMode"] == "host"
    assert found["HostConfig"]["PidsLimit"] == 0
    assert found["HostConfig"]["LogConfig"]["Type"] == "none"
    assert found["HostConfig"]["Privileged"] is True
    sources = {bind.split(":")[0] for bind in found["HostConfig"]["Binds"]}
    assert sources == {"/etc/calico/ssl", "/var/run/calico", "/lib/modules", "/var/log/calico"}
    unit.until(lambda: unit.output)


def test_a_mount_that_is_missing_is_found_before_anything_changes(minion, settings, image):
    minion.pillar(dict(settings, mounts=["/nowhere/at/all:/x"]))
    (item,) = (item for item in minion.call("calico.check") if "mounts" in item["what"])
    assert (item["level"], item["what"]) == ("error", "calico:mounts:0")
    assert "/nowhere/at/all" in item["seen"]


def test_a_calico_node_of_docker_is_not_joined_by_a_second(minion, settings, image):
    running = {"Id": "c" * 64, "State": {"Running": True}}
    with engine_support.Engine(minion.directory) as engine:
        engine.install(minion.bin)
        minion.path("/run/docker.sock").symlink_to(engine.socket)
        try:
            engine.knows(containers={"calico-node": running})
            found = {item["what"]: item for item in minion.call("calico.check")}
            assert found["container runtime"]["level"] == "error"
            assert "calico-node runs in docker" in found["container runtime"]["seen"]
            engine.knows(containers={"calico-node": dict(running, State={"Running": False})})
            assert "container runtime" not in {item["what"] for item in minion.call("calico.check")}
        finally:
            minion.path("/run/docker.sock").unlink()
            (minion.bin / "docker").unlink()


def test_a_podman_that_fails_is_no_missing_container(minion):
    """It ends with 1 then, with which `podman container exists` also says that there is none."""
    broken = minion.path("/etc/containers/containers.conf")
    text = broken.read_text()
    broken.write_text(text.replace('"file"', "7"))
    try:
        for function in ("calico.container_id", "calico.image", "calico.drift"):
            with pytest.raises(minion_support.Failed, match="exit code 1"):
                minion.call(function)
        assert "exit code 1" in minion.call("calico.watched")["state"]["container"]["error"]
    finally:
        broken.write_text(text)
