"""Sessions, routes and sockets of real BIRD daemons."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import calico_bird as bird
import calico_host as host
import pytest

from tests.support import birds

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(bool(birds.missing()), reason=birds.missing() or "runs"),
]

# What a mesh looks like on a bad day. Nobody has these addresses.
TROUBLE = """
protocol bgp Mesh_10_99_9_1 from bgp_template {
  neighbor 10.99.9.1 as 64512; passive on; }
protocol bgp Node_10_99_9_2 from bgp_template { neighbor 10.99.9.2 as 64513; }
protocol bgp Mesh_10_99_9_3 from bgp_template {
  neighbor 10.99.9.3 as 64512; disabled; }
protocol bgp Global_10_98_0_1_port_9 from bgp_template {
  neighbor 10.98.0.1 port 9 as 64520; source address 10.97.0.1; }
"""
UTILS = Path(host.__file__).parent
ROUTES = ("10.233.2.0/26", "10.233.2.64/26")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with birds.Birds(tmp_path_factory.mktemp("birds"), 3, TROUBLE, ROUTES) as running:
        running.command("ip", "address", "add", "10.98.0.1/32", "dev", "lo")
        running.wait_established()
        yield running


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_session_is_told(mesh):
    until(lambda: "Connection refused" in mesh.birdc("show protocols"))
    found = {s["address"]: s for s in bird.read(mesh.near)["sessions"]}
    for number in range(3):
        near, far = mesh.pair(number)
        session = found.pop(far)
        assert session["established"]
        assert (session["as_number"], session["local_address"]) == (64512, near)
        assert session["port"] == 1790
    assert {address: (s["type"], s["state"], s["as_number"]) for address, s in found.items()} == {
        "10.99.9.1": ("node-to-node mesh", "start", 64512),
        "10.99.9.2": ("node specific", "start", 64513),
        "10.99.9.3": ("node-to-node mesh", "down", 64512),
        "10.98.0.1": ("global", "start", 64520),
    }
    assert found["10.99.9.1"]["info"] == "Passive"
    assert found["10.99.9.3"]["info"] == ""
    assert found["10.98.0.1"]["reason"] == "Socket: Connection refused"


def test_as_many_routes_as_bird_counts(mesh):
    until(lambda: all(route in mesh.birdc("show route") for route in ROUTES))
    (text,) = bird.query(mesh.near, ["show route"])
    found = bird.routes(text)
    count = int(mesh.birdc("show route count").split("\n")[1].split()[0])
    assert len(found) == count
    learned = [r["network"] for r in found if r["protocol"].startswith("Node_10_99_0_1")]
    assert sorted(learned) == sorted(ROUTES)
    imported = sum(s["imported"] for s in bird.read(mesh.near)["sessions"])
    assert imported == len([r for r in found if r["protocol"].startswith("Node_")])


def test_the_kernel_shows_the_sockets(mesh):
    found = host.parse_sockets(mesh.command("cat", "/proc/net/tcp"), port=1790)
    pairs = {
        (row["local_address"], row["remote_address"])
        for row in found
        if row["state"] == "ESTABLISHED" and row["remote_port"] == 1790
    }
    assert pairs == {mesh.pair(number) for number in range(3)}


def test_status_and_a_reconfiguration(mesh):
    daemon = bird.read(mesh.near)["daemon"]
    assert (daemon["router_id"], daemon["daemon"]) == ("10.98.0.1", "Daemon is up and running")
    assert f"BIRD {daemon['version']}" in mesh.birdc("show status")


def test_errors_are_birds_own_words(mesh):
    (text,) = bird.query(mesh.near, ["show protocols all Mesh_1_1_1_1"])
    with pytest.raises(bird.BirdError) as caught:
        bird.protocols(text)
    assert caught.value.kind == "answer"
    assert bird.protocols(*bird.query(mesh.near, ['show protocols all "Global_1_*"'])) == []


def test_a_frozen_daemon_is_silent(mesh):
    os.kill(mesh.pid, signal.SIGSTOP)
    try:
        for _ in range(12):  # more than fit in its backlog
            started = time.monotonic()
            with pytest.raises(bird.BirdError) as caught:
                bird.read(mesh.near, timeout=0.1)
            assert caught.value.kind == "silent"
            assert time.monotonic() - started < 60
    finally:
        os.kill(mesh.pid, signal.SIGCONT)
    assert len(bird.read(mesh.near)["sessions"]) == 7


def test_a_killed_daemon_leaves_a_socket_that_refuses(tmp_path):
    with birds.Birds(tmp_path, 1) as mesh:
        os.kill(mesh.pid, signal.SIGKILL)
        until(lambda: kind_of(mesh.near) == "refused")


def kind_of(path):
    try:
        bird.read(path)
    except bird.BirdError as err:
        return err.kind
    return "well"


def test_a_namespace_shows_its_calico_interfaces_and_routes():
    """The readers themselves, against this machine's iproute2."""
    script = (
        "ip link set lo up; ip link add cali1 type veth peer name other;"
        "ip link set cali1 up; ip link set other up; ip address add 172.31.78.1/24 dev other;"
        "ip route add blackhole 10.233.1.0/26 proto bird; ip route add 10.233.1.5 dev cali1;"
        "ip route add 10.233.2.0/26 via 172.31.78.2 proto bird;"
        f'PYTHONPATH={UTILS} {sys.executable} -c "import calico_host as h, json;'
        'print(json.dumps([h.interfaces(), h.kernel_routes(), h.blocks(h.kernel_routes())]))"'
    )
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script], capture_output=True, text=True, check=True
    )
    interfaces, routes, blocks = json.loads(done.stdout)
    assert [(i["name"], i["kind"], i["up"]) for i in interfaces] == [("cali1", "veth", True)]
    assert {(r["network"], r["gateway"], r["flags"], r["interface"]) for r in routes} == {
        ("10.233.1.0/26", "0.0.0.0", "U", "*"),
        ("10.233.1.5/32", "0.0.0.0", "UH", "cali1"),
        ("10.233.2.0/26", "172.31.78.2", "UG", "other"),
    }
    assert blocks["10.233.1.0/26"]["addresses"] == ["10.233.1.5"]
