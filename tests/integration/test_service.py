"""Restarts: once where something changed, never otherwise, and back after whatever happens to docker."""

import subprocess
import time

import pytest

from tests.integration import fleet as fleets
from tests.lab import docker, workloads
from tests.support import pings, pki


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
    directory = fleet.lab.etcd.pki
    pki.issue(directory, "renewed")
    fleet.pillar(
        {"etcd": {"tls": {"cert": fleet.lab.etcd.pem("renewed"), "key": fleet.lab.etcd.pem("renewed-key")}}}
    )


def change_image(fleet, host):
    """A newer release whose image is on the host already."""
    image = fleets.inspect(host)["Config"]["Image"]
    newer = image.rpartition(":")[0] + ":v2.6.12"
    host.exec(["docker", "tag", image, newer])
    fleet.pillar({"version": "v2.6.12"})


@pytest.mark.parametrize(
    "change", [change_environment, change_felix, change_mounts, change_certificates, change_image]
)
def test_a_change_restarts_once(fleet, host, change):
    change(fleet, host)
    before = fleets.starts(host)
    planned = fleet.apply(host, test=True)[host.name]
    assert "calico-node is running" in {name for name, state in planned.items() if state["result"] is None}
    assert fleets.starts(host) == before
    with pinging(fleet, host, fleet.hosts[1]) as packets:
        applied = fleet.converge(host)[host.name]
    assert "calico-node is running" in applied.changed
    assert fleets.starts(host) == before + 1
    assert fleet.converge(host)[host.name].changed == set()
    assert fleets.starts(host) == before + 1
    assert packets.lost == [], f"of {packets.sent} packets these were lost by a restart: {packets.lost}"


def test_files_that_the_container_does_not_read_restart_nothing(fleet, host):
    fleet.pillar({"cni": {"mtu": 1400}, "calicoctl": {"timeout": 10}, "ready": {"timeout": 30}})
    before = fleets.container(host)
    assert fleet.converge(host)[host.name].changed == {"CNI is configured"}
    assert fleets.container(host) == before


def pinging(fleet, host, other):
    """A hundred pings a second from a workload of one host to one of the other."""
    address = fleet.workloads[other.name]["address"]
    ping = ["ip", "netns", "exec", "w1", "ping", "-n", "-i", "0.01", address]
    # Ending `docker exec` ends nothing inside: the host is told by the number of its process.
    number = "/run/ping.pid"
    command = docker.command("exec", host.name, "sh", "-c", f'echo $$ > {number}; exec "$@"', "sh", *ping)
    return pings.pinging(command, end=lambda _process: host.exec(f"kill $(cat {number})"))


def test_a_run_that_was_killed_before_its_restart_is_made_good(fleet, host):
    """The files are new, the container is old: only the container itself can tell."""
    change_environment(fleet, host)
    applied = fleet.apply(host, sls="calico.config")[host.name]
    assert "calico-node's environment is written" in applied.changed
    before = fleets.starts(host)
    planned = fleet.apply(host, test=True)[host.name]
    assert planned["calico-node's container is current"]["changes"]["environment"]["new"] == "CHANGED"
    applied = fleet.converge(host)[host.name]
    assert {"calico-node's container is current", "calico-node is running"} <= applied.changed
    assert fleets.starts(host) == before + 1


@pytest.mark.parametrize("moment", [0.3, 0.8, 1.5, 3])
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
    job.wait(timeout=30)
    fleet.converge(host)
    assert_running(fleet, host)
    assert fleet.converge(host)[host.name].changed == set()


def test_a_stale_container_of_the_name_does_not_block_the_start(fleet, host):
    host.exec("systemctl stop calico-node")
    image = fleet.ask(host, "container")[0]["image"]
    host.exec(["docker", "create", "--name=calico-node", image])
    fleet.converge(host)
    assert_running(fleet, host)


def test_a_killed_container_comes_back(fleet, host):
    before = fleets.container(host)
    host.exec("docker kill calico-node")
    fleets.until(lambda: fleets.container(host) not in ("", before), 60, "another container")
    assert_running(fleet, host)
    assert fleet.converge(host)[host.name].changed == set()


@pytest.mark.parametrize(
    "command", ["systemctl restart docker", "systemctl stop docker.socket docker; systemctl start docker"]
)
def test_docker_brings_it_back(fleet, host, command):
    before = fleets.container(host)
    host.exec(command, timeout=120)
    fleets.until(lambda: fleets.container(host) not in ("", before), 60, "another container")
    assert_running(fleet, host)


def test_a_rebooted_host_comes_back_by_itself(fleet, host):
    host.restart()
    fleet.lab.master.wait_for([host.name])
    fleets.until(lambda: fleets.container(host).endswith(" true"), 60, "the container")
    fleets.ready(fleet, *fleet.hosts[1:])
    assert_running(fleet, host)
    fleet.workloads[host.name] = workloads.attach(fleet.lab, host, "w1")


def test_two_runs_at_once_on_a_minion_end_well(fleet, host):
    change_environment(fleet, host)
    first = subprocess.Popen(
        docker.command("exec", host.name, "salt-call", "--out=json", "state.apply", "calico"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    second = fleet.apply(host, queue=True)[host.name]
    first.communicate(timeout=120)
    assert second.good, second.failures
    assert_running(fleet, host)
    assert fleet.converge(host)[host.name].changed == set()
