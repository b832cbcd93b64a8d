"""A change after which the node is worse than before: the last good files are put back, and said to be."""

from tests.integration import fleet as fleets
from tests.support.waiting import until

GATE = "The node is ready"
KEPT = "/var/lib/calico-formula"
# Felix cannot start then, and the gate never open: in the image's own place for it, and in the stand-in's.
NO_FELIX = {
    "mounts": [
        "/bin/false:/etc/service/available/felix/run:ro",
        "/bin/false:/usr/local/lib/calico-node/felix.py:ro",
    ]
}


def bad(fleet, on_failure="rollback", timeout=15, **more):
    fleet.pillar({"on_failure": on_failure, "ready": {"timeout": timeout}, **more})


def configuration(host):
    """What the container and its neighbours read, and what is kept of it."""
    return {path: text for path, text in fleets.seen(host).items() if path in ("files", "contents")}


def assert_kept_in_private(host):
    modes = host.exec(f"stat -c '%a %n' {KEPT} {KEPT}/*").stdout.split()
    assert modes == ["700", KEPT, "600", f"{KEPT}/last-good.json"]


def broken_image(fleet, host):
    """A release whose image ends as soon as it starts; its version."""
    image = fleets.inspect(host)["Config"]["Image"]
    version = fleet.generation.newer
    broken = image.rpartition(":")[0] + ":" + version
    host.exec(["docker", "create", "--name=broken", "--entrypoint=/bin/false", image])
    host.exec(["docker", "commit", '--change=ENTRYPOINT ["/bin/false"]', "broken", broken])
    host.exec("docker rm broken")
    fleet.undo.callback(host.exec, ["docker", "image", "rm", "--force", broken])
    return version


def test_a_release_that_does_not_start_is_taken_back_with_its_certificates(fleet, host):
    """No packet is lost, nothing differs from before, the run fails and says what was done."""
    before, image = configuration(host), fleets.inspect(host)["Image"]
    bad(fleet, version=broken_image(fleet, host), **fleet.certificates("unlucky"))
    planned = fleet.apply(host, test=True)[host.name]
    assert not planned.failures
    with fleets.pinging(fleet, host, fleet.hosts[1]) as pings:
        states = fleet.apply(host)[host.name]
    assert states.retcode
    comment = states.failures
    assert "Since the change: " in comment and "Felix is not ready" in comment
    assert "The last good files are in place again" in comment
    assert "calico-node was restarted with them: what was up before the change is up again" in comment
    (restored,) = [
        state["changes"]["rolled back"] for state in states.values() if "rolled back" in state["changes"]
    ]
    assert "/etc/systemd/system/calico-node.service" in restored["new"]
    assert "/etc/calico/ssl/calico-key.pem" in restored["new"]
    assert configuration(host) == before
    assert fleets.inspect(host)["Image"] == image
    fleets.ready(fleet, host)
    assert_kept_in_private(host)
    assert pings.lost == [], f"of {pings.sent} packets these were lost: {pings.lost}"

    # The pillar still wants it: that the next run would try again can be seen.
    planned = fleet.apply(host, test=True)[host.name]
    assert {"calico-node's unit is written", "etcd's key is installed"} <= planned.changed
    fleet.lab.master_pillar()
    starts = fleets.starts(host)
    assert fleet.converge(host)[host.name].changed == set()
    assert fleets.starts(host) == starts


def test_without_the_setting_nothing_is_put_back_but_by_hand(fleet, host):
    before = configuration(host)
    bad(fleet, on_failure="stop", **NO_FELIX)
    states = fleet.apply(host)[host.name]
    assert states.retcode
    assert "calico.roll_back puts them back" in states[GATE]["comment"]
    assert states[GATE]["changes"] == {}
    assert configuration(host)["contents"] != before["contents"]
    done, code = fleet.ask(host, "roll_back")
    assert (done["rolled_back"], done["up"], code) == (True, True, 0)
    assert configuration(host) == before
    # Once more changes nothing, and restarts nothing.
    container = fleets.container(host)
    fleet.lab.master_pillar()
    again = fleet.ask(host, "roll_back")[0]
    assert (again["rolled_back"], again["up"], again["restored"]) == (False, True, [])
    assert fleets.container(host) == container
    fleet.harmed = False


def test_a_dead_node_in_the_datastore_is_no_reason(fleet, host):
    """The gate fails, but all of this node's own is up: the change stays, and is good from now on."""
    address = fleet.add_dead_node()
    bad(fleet, timeout=15, env={"CHANGED": "yes"})
    states = fleet.apply(host)[host.name]
    assert states.retcode
    assert address in states[GATE]["comment"]
    assert "Not rolled back" in states[GATE]["comment"]
    assert "CHANGED=yes" in host.read("/etc/calico/calico-node.env")
    assert_kept_in_private(host)
    # A bad change after it goes back to it, and to nothing older.
    bad(fleet, timeout=15, env={"CHANGED": "twice"}, **NO_FELIX)
    comment = fleet.apply(host)[host.name][GATE]["comment"]
    assert "what was up before the change is up again" in comment
    assert "CHANGED=yes" in host.read("/etc/calico/calico-node.env")


def test_a_run_that_ended_before_its_gate_is_taken_back_by_the_next(fleet, host):
    """Killed between restart and gate: what was up before is still known, without etcd and docker, too."""
    before = configuration(host)
    bad(fleet, timeout=15, **NO_FELIX)
    fleet.converge(host, sls="calico.service")
    fleet.undo.callback(host.exec, "systemctl start docker")
    host.exec("systemctl stop docker.socket docker")
    done = fleet.ask(host, "recover")[0]
    assert not done["rolled_back"]
    assert "Rolling back failed: " in done["comment"] and "docker" in done["comment"]
    host.exec("systemctl start docker")
    until(lambda: fleets.container(host).endswith(" true"), "the container")

    states = fleet.apply(host)[host.name]
    assert "what was up before the change is up again" in states[GATE]["comment"]
    assert configuration(host) == before
    fleets.ready(fleet, host)


def test_without_the_datastore_the_host_itself_is_judged(fleet, host):
    before = configuration(host)
    bad(fleet, timeout=15, env={"CHANGED": "yes"}, **NO_FELIX)
    fleet.converge(host, sls="calico.service")
    fleet.undo.callback(fleet.lab.etcd.start)
    fleet.lab.etcd.stop()
    done = fleet.ask(host, "recover")[0]
    assert "Felix is not ready" in done["comment"]
    assert done["rolled_back"]
    assert "/etc/calico/calico-node.env" in done["restored"]
    # Only etcd is missing now, and what is up is put right by itself once it is there.
    fleet.lab.etcd.start()
    until(lambda: fleet.ask(host, "status")[0]["ready"], "the node is ready")
    kept = {line for line in configuration(host)["contents"].splitlines() if KEPT not in line}
    assert kept == {line for line in before["contents"].splitlines() if KEPT not in line}
