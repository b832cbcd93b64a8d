"""Restarts: once where something changed, never otherwise, and back after whatever happens to docker."""

import subprocess
import time

import pytest

from tests.integration import fleet as fleets
from tests.lab import docker
from tests.support import programs


def assert_running(fleet, host):
    fleets.ready(fleet, host)
    assert fleets.container(host).endswith(" true")


def change_environment(fleet, _host):
    fleet.pillar({"env": {"CHANGED": "yes"}})


def change_felix(fleet, _host):
    fleet.pillar({"felix": {"LogSeverityScreen": "debug"}})


def change_mounts(fleet, _host):
    fleet.pillar({"mounts": ["/etc/hostname:/etc/lab-hostname:ro"]})


def change_certificates(fleet, _host):
    fleet.pillar(fleet.certificates("renewed"))


def change_image(fleet, host):
    """A newer release whose image is on the host already."""
    image = fleets.inspect(host)["Config"]["Image"]
    newer = fleet.generation.newer
    host.exec(["docker", "tag", image, f"{image.rpartition(':')[0]}:{newer}"])
    fleet.pillar({"version": newer})


@pytest.mark.parametrize(
    "change", [change_environment, change_felix, change_mounts, change_certificates, change_image]
)
def test_a_change_restarts_once(fleet, host, change):
    change(fleet, host)
    before = fleets.starts(host)
    planned = fleet.apply(host, test=True)[host.name]
    assert "calico-node is running" in {name for name, state in planned.items() if state["result"] is None}
    assert fleets.starts(host) == before
    with fleets.pinging(fleet, host, fleet.hosts[1]) as pings:
        applied = fleet.converge(host)[host.name]
    assert "calico-node is running" in applied.changed
    assert fleets.starts(host) == before + 1
    assert fleet.converge(host)[host.name].changed == set()
    assert fleets.starts(host) == before + 1
    assert pings.lost == [], f"of {pings.sent} packets these were lost by a restart: {pings.lost}"


def test_a_change_of_pools_restarts_nothing(fleet, host):
    """Its variables are in the environment's file, for the first node of a cluster."""
    before = fleets.container(host)
    (pool,) = fleet.ask(host, "settings")[0]["network"]["pools"]
    pool = {word: value for word, value in pool.items() if value is not None}
    # There, and back.
    for change in ({"network": {"pools": [dict(pool, nat_outgoing=not pool["nat_outgoing"])]}}, None):
        fleet.pillar(change)
        changed = fleet.converge(host)[host.name].changed
        assert {"IP pools are in the datastore", "calico-node's environment is written"} <= changed
        assert "calico-node is running" not in changed
        assert fleets.container(host) == before


def test_files_that_the_container_does_not_read_restart_nothing(fleet, host):
    fleet.pillar({"cni": {"mtu": 1400}, "calicoctl": {"timeout": 10}, "ready": {"timeout": 30}})
    before = fleets.container(host)
    assert fleet.converge(host)[host.name].changed == {"CNI is configured"}
    assert fleets.container(host) == before


@pytest.mark.parametrize(
    "moment", [0.8, *(pytest.param(moment, marks=pytest.mark.matrix) for moment in (0.3, 1.5, 3))]
)
def test_a_run_killed_at_any_moment_can_be_run_again(fleet, host, moment):
    """From nothing: image, files, unit and container are in the making when the minion is killed."""
    fleet.converge(host, sls="calico.clean")
    host.exec("docker image rm --force $(docker image ls --quiet calico/node) || true")
    job = subprocess.Popen(
        docker.command("exec", host.name, "salt-call", "state.apply", "calico"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(1 + moment)  # the moment itself is what is tested
    host.exec(["pkill", "-KILL", "-f", "salt-call"], check=False)
    job.wait(timeout=programs.PATIENCE)
    fleet.converge(host)
    assert_running(fleet, host)
    assert fleet.converge(host)[host.name].changed == set()


def test_a_stale_container_of_the_name_does_not_block_the_start(fleet, host):
    host.exec("systemctl stop calico-node")
    image = fleet.ask(host, "container")[0]["image"]
    host.exec(["docker", "create", "--name=calico-node", image])
    fleet.converge(host)
    assert_running(fleet, host)
