"""What is kept, and put back, on a minion whose docker and systemd only pretend."""

import os
import threading

import pytest

from tests.support.waiting import until

UNIT = "/etc/systemd/system/calico-node.service"
ENVIRONMENT = "/etc/calico/calico-node.env"
KEY = "/etc/calico/ssl/calico-key.pem"
CNI = "/etc/cni/net.d/10-calico.conflist"
MEMORY = "/var/lib/calico-formula"
IMAGE = {"Id": "sha256:good", "RepoDigests": []}
NAME = "calico/node:v2.6.1"
GOOD = {UNIT: "--label=calico-formula.configuration=good \\\n", ENVIRONMENT: "A=good\n", KEY: "GOODKEY\n"}
BAD = {
    UNIT: "--label=calico-formula.configuration=bad \\\n",
    ENVIRONMENT: "A=bad\n",
    KEY: "BADKEY\n",
    CNI: "{}",
}


def write(minion, files):
    for path, text in files.items():
        place = minion.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o600 if path in (KEY, ENVIRONMENT) else 0o644)


def read(minion):
    places = {path: minion.path(path) for path in (*GOOD, CNI)}
    return {path: place.read_text() for path, place in places.items() if place.exists()}


def container(label, **more):
    return {
        "Id": "1",
        "Image": IMAGE["Id"],
        "State": {"Running": True, "StartedAt": "2099-01-01T00:00:00Z"},
        "Config": {
            "Image": NAME,
            "Labels": {"calico-formula.configuration": label},
            "Env": ["CALICO_NETWORKING_BACKEND=none", "NODENAME=node1", *more.get("env", ())],
        },
    }


@pytest.fixture
def node(minion, running, engine, give):
    """A node that runs from the good files, which are kept; then the bad ones were written."""
    port = running.server_port
    log = minion.path("/run/systemctl.log")
    systemctl = minion.bin / "systemctl"
    systemctl.write_text(
        '#!/bin/sh\necho "$@" >> /run/systemctl.log\n'
        "case $* in *NRestarts*) echo 0; exit;; esac\n"
        "printf 'LoadState=loaded\\nActiveState=active\\nMainPID=1\\n'\n"
    )
    env = [f"FELIX_HEALTHPORT={port}"]

    class Node:
        felix = running

        def settings(self, on_failure="rollback"):
            give(
                node__backend="none",
                felix={"HealthPort": port},
                on_failure=on_failure,
                ready={"timeout": 2},
            )

        def runs(self, label, images=None):
            images = {NAME: IMAGE, IMAGE["Id"]: IMAGE} if images is None else images
            engine.knows(images=images, containers={"calico-node": container(label, env=env)})

        def calls(self):
            lines = log.read_text().splitlines() if log.exists() else []
            return [line for line in lines if line.split()[0] in ("daemon-reload", "restart")]

        def is_well_once_restarted(self):
            """With the good files it would be, as soon as it runs from them."""
            until(lambda: "restart calico-node.service" in self.calls(), "a restart")
            running.code = 204

        def goes_bad(self):
            """The next run has noted what was up, written its files and restarted calico-node."""
            assert minion.call("calico.remember") == {"noted": True, "kept": False}
            write(minion, BAD)
            self.runs("bad")
            running.code = 503

    log.unlink(missing_ok=True)
    found = Node()
    found.settings()
    write(minion, GOOD)
    found.runs("good")
    assert minion.call("calico.proven") is True
    return found


def test_the_good_files_are_kept_once_and_for_nobody_else_to_read(minion, node):
    kept = minion.path(f"{MEMORY}/last-good.json")
    modes = [oct(os.stat(path).st_mode & 0o777) for path in (kept.parent, kept)]
    assert modes == ["0o700", "0o600"]
    before = kept.stat().st_mtime_ns, kept.stat().st_ino
    assert minion.call("calico.proven") is False
    shown = minion.state("calico.node_ready")
    assert (shown["result"], shown["changes"]) == (True, {})
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before
    # A file that is newer than the container was not proven by it.
    write(minion, BAD)
    assert minion.call("calico.proven") is False
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before


@pytest.mark.parametrize("test", [False, True])
def test_before_a_change_what_is_up_is_noted(minion, node, test):
    found = minion.state("calico.restorable", test=test)
    assert (found["result"], found["changes"]) == (True, {})
    assert minion.path(f"{MEMORY}/unproven.json").exists() is not test


def test_a_record_of_better_times_is_not_overwritten(minion, node):
    node.goes_bad()
    record = minion.path(f"{MEMORY}/unproven.json")
    before = record.read_text()
    # Killed before its gate; this is the next run.
    assert minion.call("calico.remember") == {"noted": False, "kept": False}
    assert record.read_text() == before


def test_the_gate_puts_the_good_files_back_and_fails(minion, node):
    node.goes_bad()
    recovers = threading.Thread(target=node.is_well_once_restarted)
    recovers.start()
    found = minion.state("calico.node_ready", timeout=1)
    recovers.join()
    assert found["result"] is False
    assert "Felix is not ready: " in found["comment"]
    assert "Since the change: Felix is not ready. The last good files are in place again" in found["comment"]
    assert sorted(found["changes"]["rolled back"]["new"]) == sorted(BAD)
    assert "KEY" not in str(found).replace(KEY, "")
    assert read(minion) == GOOD
    assert minion.path(KEY).stat().st_mode & 0o777 == 0o600
    assert node.calls() == ["daemon-reload", "restart calico-node.service"]


def test_good_files_that_do_not_help_either_are_said_not_to(minion, node):
    node.goes_bad()
    done = minion.call("calico.recover")
    assert (done["rolled_back"], done["up"]) == (True, False)
    assert "calico-node was restarted with them: but Felix is not ready." in done["comment"]
    assert read(minion) == GOOD
    # What was up is still to be compared with by the next run.
    assert minion.path(f"{MEMORY}/unproven.json").exists()


def test_without_the_setting_the_files_stay(minion, node):
    node.goes_bad()
    node.settings("stop")
    done = minion.call("calico.recover")
    assert done["rolled_back"] is False
    assert "calico.roll_back puts them back (calico:on_failure is stop)" in done["comment"]
    assert read(minion) == BAD
    assert node.calls() == []


def test_nothing_that_was_up_is_down(minion, node):
    node.goes_bad()
    node.felix.code = 204
    done = minion.call("calico.recover")
    assert "Not rolled back: what is this node's own" in done["comment"]
    assert read(minion) == BAD
    assert not minion.path(f"{MEMORY}/unproven.json").exists()


def test_an_image_that_is_gone_leaves_all_as_it_is(minion, node):
    node.goes_bad()
    node.runs("bad", images={})
    done = minion.call("calico.recover")
    assert done["rolled_back"] is False
    assert f"image {NAME} (sha256:good) is not on the host any more: nothing was put back" in done["comment"]
    assert (read(minion), node.calls()) == (BAD, [])


def test_a_name_that_another_image_has_taken_is_given_back(minion, node, engine):
    node.goes_bad()
    node.runs("bad", images={NAME: {"Id": "sha256:new"}, IMAGE["Id"]: IMAGE})
    assert minion.call("calico.recover")["rolled_back"] is True
    assert engine.state["images"][NAME] == IMAGE


def test_docker_that_is_gone_leaves_all_as_it_is(minion, node):
    node.goes_bad()
    minion.path("/run/docker.sock").unlink()
    done = minion.call("calico.recover")
    assert done["rolled_back"] is False
    assert "Rolling back failed: there is no /var/run/docker.sock" in done["comment"]
    assert (read(minion), node.calls()) == (BAD, [])


@pytest.mark.parametrize("name", ["last-good.json", "unproven.json"])
def test_a_memory_that_cannot_be_read_is_named_and_not_shown(minion, node, name):
    node.goes_bad()
    minion.path(f"{MEMORY}/{name}").write_text('{"files": "GOODKEY"')
    found = minion.state("calico.node_ready", timeout=1)
    assert found["result"] is False
    assert f"{MEMORY}/{name}: it is not what the formula writes" in found["comment"]
    assert "GOODKEY" not in str(found)
    assert read(minion) == BAD


def test_a_first_install_has_nothing_to_roll_back_to(minion, running, engine, give):
    give(node__backend="none", felix={"HealthPort": running.server_port}, on_failure="rollback")
    assert minion.state("calico.restorable")["result"] is True
    running.code = 503
    found = minion.state("calico.node_ready", timeout=1)
    assert found["result"] is False
    assert "There is nothing to roll back to: the node has not been ready yet." in found["comment"]
    assert not minion.path(MEMORY).exists()
