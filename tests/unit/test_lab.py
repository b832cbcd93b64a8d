"""The lab's own parts that can go wrong without a lab."""

import ipaddress
import os
from collections import namedtuple

import pytest

from tests.lab import checks, demo, lab, network, pillar, processes, settings
from tests.lab.salt import Returned

GOOD = {"result": True, "changes": {}, "duration": 1500.0}


@pytest.fixture
def refusal(monkeypatch):
    """A function that checks this machine as it is, and returns why it is refused."""

    def run(purpose="lab"):
        with pytest.raises((checks.Unfit, settings.Refused)) as caught:
            checks.check(purpose)
        said = str(caught.value)
        assert said.endswith(".") and "\n" not in said
        return said

    return run


@pytest.fixture
def root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(checks.capabilities, "has", lambda name: True)
    monkeypatch.setattr(checks.packages, "missing", lambda purpose: [])


def test_refuses_another_python(refusal, monkeypatch):
    monkeypatch.setattr(checks.sys, "version_info", (3, 12, 0))
    assert "Python 3.11 is needed" in refusal("venv")


def test_refuses_another_system(refusal, monkeypatch):
    monkeypatch.setattr(checks.sys, "platform", "darwin")
    assert "needs Linux" in refusal()


def test_refuses_without_root(refusal, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in refusal()


def test_refuses_without_packages_and_apt(refusal, root, monkeypatch):
    monkeypatch.setattr(checks.packages, "missing", lambda purpose: ["docker.io"])
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    assert "docker.io" in refusal()


def test_refuses_without_disk(refusal, root, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**10, 10**10, 10**8)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(checks, "_kernel", lambda: None)
    assert "0.1 GB free" in refusal()


def test_refuses_without_overlays_bridges_or_veths(refusal, root, monkeypatch):
    def no_bridge():
        raise checks.Unfit("The lab needs bridge interfaces (Operation not supported).")

    monkeypatch.setattr(checks, "_try_kernel", no_bridge)
    assert "needs bridge interfaces" in refusal()


@pytest.mark.parametrize("variable", ["CALICO_IMAGE_ARCHIVE", "CALICOCTL", "PROFILE"])
def test_refuses_originals_and_profiles_that_are_not_there(refusal, root, monkeypatch, variable):
    monkeypatch.setattr(checks, "_kernel", lambda: None)
    with pytest.raises(settings.Refused, match=variable):
        settings.check({variable: "/no/such"})


def test_a_version_given_replaces_the_profile_s():
    assert settings.from_environment({}).calico_version == "v2.6.2"
    assert settings.from_environment({"CALICO_VERSION": "v2.6.12"}).calico_version == "v2.6.12"


def test_a_version_given_belongs_to_a_profile():
    found = settings.from_environment({"CALICO_VERSION": "v3.32.1"})
    assert (found.profile, found.calico_version) == ("v3", "v3.32.1")
    with pytest.raises(settings.Refused, match="v4"):
        settings.check({"CALICO_VERSION": "v4.0.0"})


def test_a_lab_of_another_profile_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "PROFILE", tmp_path / "profile")
    monkeypatch.setattr(lab.docker, "running", lambda: True)
    lab.Lab(chosen=settings.from_environment({}))._claim_profile()
    lab.Lab(chosen=settings.from_environment({}))._claim_profile()
    with pytest.raises(settings.Refused, match="PROFILE=v2"):
        lab.Lab(chosen=settings.from_environment({"PROFILE": "v3"}))._claim_profile()
    monkeypatch.setattr(lab.docker, "running", lambda: False)
    lab.Lab(chosen=settings.from_environment({"PROFILE": "v3"}))._claim_profile()
    assert lab.PROFILE.read_text() == "v3"


def test_a_free_subnet_touches_neither_addresses_nor_routes(monkeypatch):
    taken = [subnet for subnet in network.CANDIDATES if subnet.network_address.packed[2] % 2]
    monkeypatch.setattr(network, "_used", lambda: iter(taken))
    free = network.free_subnet()
    assert not any(free.overlaps(other) for other in taken)


def test_no_free_subnet_is_said(monkeypatch):
    everything = [ipaddress.ip_network("0.0.0.0/1"), ipaddress.ip_network("64.0.0.0/2")]
    monkeypatch.setattr(network, "_used", lambda: iter(everything))
    with pytest.raises(RuntimeError, match="No free subnet"):
        network.free_subnet()


def test_a_port_in_use_is_not_taken():
    port = network.free_port("127.0.0.1", 20000)
    with network.socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        assert network.free_port("127.0.0.1", 20000) != port


def test_pillar_changes_go_deep_replace_lists_and_remove():
    base = {"etcd": {"endpoints": ["a", "b"], "tls": {"ca": "x"}}, "version": "v2.6.2"}
    changes = {"etcd": {"endpoints": ["c"]}, "version": pillar.REMOVED}
    assert pillar.merged(base, changes) == {"etcd": {"endpoints": ["c"], "tls": {"ca": "x"}}}
    assert base["version"] == "v2.6.2"


def test_a_minion_without_an_answer_is_not_in_the_answer():
    silent = {"out": "no_return", "ret": "Minion did not return. [No response]"}
    returned = Returned({"node1": {"ret": {"ready": False}, "retcode": 1}, "node2": silent})
    assert returned == {"node1": {"ready": False}}
    assert returned.retcode == {"node1": 1}


def test_demo_shows_hosts_that_failed_beside_those_that_did_not():
    broken = {"result": False, "changes": {}, "comment": "no such image", "name": "calico/node"}
    applied = {
        "node1": {"a": GOOD, "b": {**GOOD, "changes": {"x": 1}}},
        "node2": {"a": GOOD, "b": broken},
        "node3": ["Rendering SLS failed"],
    }
    rows = list(demo._apply_rows(["node1", "node2", "node3", "node4"], applied))
    assert rows == [
        ("node1", 2, 1, 0, "3.0 s"),
        ("node2", 1, 0, 1, "1.5 s"),
        ("node3", "-", "-", "-", "not applied"),
        ("node4", "-", "-", "-", "no answer"),
    ]
    assert list(demo._failures(["node1", "node2", "node3"], applied)) == [
        "node2: calico/node: no such image",
        "node3: Rendering SLS failed",
    ]


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Processes of a lab that is not there."""
    monkeypatch.setattr(processes.paths, "LOGS", tmp_path)
    monkeypatch.setattr(processes.paths, "RUN", tmp_path)
    monkeypatch.setattr(processes.paths, "PREFIX", f"test-{os.getpid()}")


def test_a_process_is_found_as_soon_as_it_was_started(family, monkeypatch):
    # The kernel starts a program and shows its environment a moment later: slow storage makes it a long one.
    shows, seen = processes.environ, []

    def later(pid):
        seen.append(pid)
        return shows(pid) if seen.count(pid) > 3 else b""

    monkeypatch.setattr(processes, "environ", later)
    pid = processes.spawn("sleeper", ["sleep", "60"])
    try:
        assert seen == [pid] * 4
        assert processes.leader("sleeper") == pid
    finally:
        processes.stop("sleeper")


def test_processes_are_found_by_their_mark_and_end_with_their_children(family):
    # A child that ignores being asked, as one that hangs does.
    stubborn = "trap '' TERM; sleep 1000 & echo started; wait"
    pid = processes.spawn("family", ["sh", "-c", stubborn])
    while "started" not in processes.log("family").read_text():
        assert processes.alive(pid)
    assert processes.leader("family") == pid
    assert len(processes.find()) == 2
    processes.stop("family", patience=0.1)
    assert processes.find() == [] and processes.leader("family") is None
