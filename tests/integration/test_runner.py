"""``salt-run calico.…`` against the lab's master: the mesh at a glance, and nodes that leave it."""

import json

import pytest

from tests.integration import fleet as fleets
from tests.lab import workloads
from tests.support.waiting import until

# Where a minion is silent, Salt's own patience is twice as long.
PATIENCE = "timeout=10"


@pytest.fixture(scope="module", autouse=True)
def runner(converged):
    """The master has the runner; the minions got their part with the run that converged them."""
    done = converged.lab.master.cli("saltutil.sync_all", program="salt-run")
    assert done.returncode == 0, done.stderr


def run(fleet, function, *arguments):
    """(what `salt-run` printed, its exit code)."""
    done = fleet.lab.master.cli(f"calico.{function}", *arguments, program="salt-run")
    return done.stdout.strip(), done.returncode


def mesh(fleet, *arguments):
    """The findings as {(what, names): what was seen}, and the exit code."""
    said, code = run(fleet, "mesh", "format=json", *arguments)
    found = json.loads(said)["findings"]
    return {(item["what"], tuple(item["nodes"])): item["seen"] for item in found}, code


def quiet(fleet):
    return until(lambda: mesh(fleet) == ({}, 0), "a mesh without findings")


def ghost(fleet, host):
    """A node in the datastore that no host stands behind."""
    address = ".".join([*host.address.split(".")[:3], "250"])
    version = "projectcalico.org/v3" if fleet.lab.settings.profile == "v3" else "v1"
    resource = {
        "apiVersion": version,
        "kind": "Node" if version != "v1" else "node",
        "metadata": {"name": "ghost"},
        "spec": {"bgp": {"ipv4Address": address + "/24"}},
    }
    fleet.ask(host, "apply", json.dumps(resource))
    return address


def test_a_mesh_that_is_well(fleet, tmp_path):
    quiet(fleet)
    said, code = run(fleet, "mesh")
    assert code == 0
    assert said.startswith("The mesh: nothing is wrong\n")
    assert "3 nodes; 3 sessions, 3 Established; 3 of 3 minions answered" in said
    assert fleet.lab.settings.calico_version in said
    assert "pool 172.20.0.0/16: " in said
    page = tmp_path / "mesh.html"
    said, code = run(fleet, "mesh", "format=html", f"out={page}")
    assert code == 0 and str(page) in said
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert page.stat().st_mode & 0o777 == 0o600
    fleet.harmed = False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("format=xml",), "format: got 'xml'; accepted: text, json, html"),
        (("format=html",), "out: got nothing"),
        (("timeout=never",), "timeout: got 'never'"),
        (("nobody*",), "matches no minion"),
        (("format=html", "out=/nowhere/mesh.html"), "cannot write /nowhere/mesh.html: No such file"),
    ],
)
def test_what_was_asked_in_a_wrong_way(fleet, arguments, words):
    said, code = run(fleet, "mesh", *arguments)
    assert code == 1
    assert words in said
    assert "Traceback" not in said
    fleet.harmed = False


def test_a_host_that_stands_still_is_named_from_both_sides(fleet):
    gone = fleet.hosts[2]
    gone.exec("systemctl stop calico-node")
    sessions = ("sessions", (gone.name,))
    until(lambda: sessions in mesh(fleet)[0], "the sessions are down")
    found, code = mesh(fleet)
    assert code == 1
    assert "none of its 2 sessions is Established; it says: BIRD gives no answer" in found[sessions]
    assert "node1 and node2 say: " in found[sessions]
    assert {names for _what, names in found} == {(gone.name,)}
    gone.exec("systemctl start calico-node")
    fleets.ready(fleet)


def test_a_minion_that_is_silent_is_named(fleet):
    gone = fleet.hosts[1]
    gone.exec("systemctl stop salt-minion")
    fleet.undo.callback(fleet.lab.master.wait_for, [gone.name])
    fleet.undo.callback(gone.exec, "systemctl start salt-minion")
    found, code = mesh(fleet, PATIENCE)
    assert (set(found), code) == ({("silent", (gone.name,))}, 1)
    # BIRD lives there: the node would register again.
    said, code = run(fleet, "decommission", gone.name, "test=False", PATIENCE)
    assert code == 1
    assert "BIRD takes connections at %s" % gone.address in said
    fleet.harmed = False


def test_a_node_that_is_only_in_the_datastore(fleet, host):
    address = ghost(fleet, host)
    until(lambda: ("sessions", ("ghost",)) in mesh(fleet)[0], "BIRD tries to reach the ghost")
    found, code = mesh(fleet)
    assert (set(found), code) == ({("missing", ("ghost",)), ("sessions", ("ghost",))}, 1)
    said, code = run(fleet, "decommission", "ghost")
    assert code == 0
    assert "Would be done" in said and f"the node {address} removed" in said
    assert fleet.ask(host, "remains", "ghost")[0]["registered"]
    said, code = run(fleet, "decommission", "ghost", "test=False")
    assert code == 0
    assert "None of the 3 other nodes waits for it." in said
    assert not fleet.ask(host, "remains", "ghost")[0]["registered"]
    said, code = run(fleet, "decommission", "ghost", "test=False")
    assert code == 0
    assert "Nothing is left of ghost." in said
    quiet(fleet)
    fleet.harmed = False


def test_a_node_with_workloads_stays(fleet):
    host = fleet.hosts[2]
    before = fleet.ask(fleet.hosts[0], "remains", host.name)[0]
    with fleet.untouched(host, datastore=False):
        said, code = run(fleet, "decommission", host.name, "test=False")
    assert code == 1
    assert f"{host.name} is not removed:" in said and "would be cut off for good: " in said
    assert before["workloads"] and fleet.ask(fleet.hosts[0], "remains", host.name)[0] == before
    fleet.harmed = False


def test_a_host_that_runs_is_stopped_and_leaves_nothing(fleet):
    host, other = fleet.hosts[2], fleet.hosts[0]
    for name in ("w1", "w2"):
        workloads.detach(fleet.lab, host, name)
    peer = {"node": host.name, "peer_ip": "192.0.2.1", "as_number": 64600}
    fleet.ask(other, "converge", "peer", json.dumps([peer]))
    left = fleet.ask(other, "remains", host.name)[0]
    assert left["registered"] and left["peers"] and left["blocks"]
    said, code = run(fleet, "decommission", host.name)
    assert code == 0
    assert f"{host.name}: calico-node stopped and disabled" in said
    assert fleets.container(host).endswith("true")
    said, code = run(fleet, "decommission", host.name, "test=False")
    assert code == 0, said
    assert "None of the 2 other nodes waits for it." in said
    assert fleets.container(host) == ""
    assert host.exec("systemctl is-enabled calico-node", check=False).stdout.strip() == "disabled"
    left = fleet.ask(other, "remains", host.name)[0]
    assert not any(left[part] for part in ("registered", "peers", "blocks", "settings", "tunnels"))
    said, code = run(fleet, "decommission", host.name, "test=False")
    assert code == 0 and f"Nothing is left of {host.name}." in said


def test_a_host_whose_power_is_cut(fleet):
    lost = fleet.lab.add_host()
    try:
        fleet.converge(lost)
        name, address = lost.name, lost.address
    finally:
        fleet.lab.remove_host(lost)
    assert mesh(fleet)[0][("missing", (name,))]
    said, code = run(fleet, "decommission", name, "test=False")
    assert code == 0, said
    assert f"the node {address} removed, by " in said
    assert "None of the 3 other nodes waits for it." in said
    quiet(fleet)
    fleet.harmed = False
