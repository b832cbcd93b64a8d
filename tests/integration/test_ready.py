"""The gate: how soon it opens, how soon it names what is missing, and what it looks at."""

import datetime
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration import fleet as fleets
from tests.support.waiting import until

CONFD = "[c]onfd"
# Prints the time at which as many sessions as are asked for are Established, seen 50 times a second.
WATCH = r"""
import socket, sys, time
def established():
    try:
        with socket.socket(socket.AF_UNIX) as bird:
            bird.settimeout(1)
            bird.connect("/var/run/calico/bird.ctl")
            stream = bird.makefile("rwb")
            stream.readline()
            stream.write(b"show protocols\n")
            stream.flush()
            count = 0
            for line in stream:
                if line.startswith(b"0000"):
                    return count
                count += b"Established" in line
    except OSError:
        pass
    return 0
end = time.monotonic() + 120
while established() < int(sys.argv[1]) and time.monotonic() < end:
    time.sleep(0.02)
print(time.time())
"""


def test_it_opens_and_names_a_cut_session_as_soon_as_bird_knows_of_it(fleet, host, record_property):
    others = len(fleet.hosts) - 1
    host.write("/run/watch.py", WATCH)
    gone = fleet.hosts[2]
    gone.exec("systemctl stop calico-node")

    silent = []

    def cut():
        begin = time.time()
        found = fleet.ask(host, "ready")[0]
        if [item for item in found["missing"] if item["node"] == gone.name]:
            return found
        silent.append(begin)
        return None

    # Nobody tells: asked again and again, the answer counts from what BIRD says itself.
    found = until(cut, "the cut session")
    answered = time.time()
    (item,) = found["missing"]
    reason = next(text for text in found["reasons"] if gone.address in text)
    assert re.search(rf"no session with {gone.address} \({gone.name}\): \w+.* since .*, for \d+ s", reason)
    assert item["state"] and item["seconds"] is not None
    noticed = datetime.datetime.strptime(
        found["bird"]["IPv4"]["server_time"][:11] + item["since"][-8:], "%Y-%m-%d %H:%M:%S"
    ).replace(tzinfo=datetime.timezone.utc)
    named = answered - noticed.timestamp()
    # Nobody who asked after that got another answer; BIRD's time is in whole seconds.
    assert not [begin for begin in silent if begin > noticed.timestamp() + 1]

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(fleet.lab.salt, [host.name], "calico.ready", "timeout=120", timeout=180)
        watching = pool.submit(host.exec, ["python3", "/run/watch.py", others])
        gone.exec("systemctl start calico-node")
        established = float(watching.result().stdout)
        answer = waiting.result()[host.name]
        opened = time.time() - established
    assert answer["ready"] and answer["waited"] > 0
    said = f"ready {opened:.2f} s after the last session, a cut one named after {named:.2f} s"
    record_property("figure", said)


def test_a_block_is_waited_for_until_its_route_is_there(fleet, host):
    """The neighbour's confd stands still: its new block is not told, though the session is Established."""
    other, block = fleet.hosts[1], "172.20.255.192/26"
    key = f"/calico/ipam/v2/host/{other.name}/ipv4/block/{block.replace('/', '-')}"
    etcd = fleet.generation.client
    before = fleet.ask(host, "ready")[0]["routes"]
    assert before["missing"] == [] and before["expected"] >= len(fleet.hosts) - 1
    fleet.undo.callback(etcd.delete, key)
    fleet.undo.callback(other.exec, ["pkill", "-CONT", "-f", CONFD])
    other.exec(["pkill", "-STOP", "-f", CONFD])
    etcd.put(key, fleet.generation.affinity)
    found, code = fleet.ask(host, "ready")
    assert code == 1
    assert found["routes"]["missing"] == [{"cidr": block, "node": other.name}]
    # A Felix that was just started for this test has to be looked at for longer.
    assert [reason for reason in found["reasons"] if "Felix says only now" not in reason] == [
        f"no route to {block} of node {other.name}: the session with {other.address} is Established"
    ]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(fleet.lab.salt, [host.name], "calico.ready", "timeout=120", timeout=180)
        other.exec(["pkill", "-CONT", "-f", CONFD])
        assert waiting.result()[host.name]["ready"]
    # Nor is it waited for where its node is known to be away.
    other.exec(["pkill", "-STOP", "-f", CONFD])
    host.exec(["ip", "route", "del", block], check=False)
    fleet.pillar({"ready": {"absent_nodes": [other.name]}})
    assert fleet.ask(host, "ready")[0]["ready"]


def test_a_felix_that_ends_again_and_again_is_not_ready(fleet, host):
    """In between it answers that it is."""
    felix = "[c]alico-felix|[c]alico-node -felix"
    loop = f"while :; do pkill -KILL -f '{felix}'; sleep 1; done"
    fleet.undo.callback(host.exec, "systemctl stop lab-killer", check=False)
    host.exec(["systemd-run", "--quiet", "--collect", "--unit=lab-killer", "/bin/sh", "-c", loop])
    found, code = fleet.ask(host, "ready", "timeout=8")
    assert code == 1
    assert any("Felix" in reason for reason in found["reasons"])
    assert found["log"]
    host.exec("systemctl stop lab-killer")
    found, code = fleet.ask(host, "ready", "timeout=60")
    assert (found["ready"], code) == (True, 0), found["reasons"]


def test_without_bgp_the_gate_asks_for_no_session(fleet, host):
    fleet.pillar(**{host.name: {"node": {"backend": "none"}}})
    fleet.converge(host)
    found, code = fleet.ask(host, "ready")
    assert (found["ready"], found["expected"], code) == (True, [], 0)
    fleet.generation.remove_node(host.name)
    found, code = fleet.ask(host, "ready")
    assert code == 1
    assert f"the datastore knows no node {host.name}, while" in found["reasons"][0]


RESOURCES = "/calico/resources/v3/projectcalico.org/"


def kept(fleet):
    """Settings, peers, pools and nodes of the datastore, to be put back after the test as they are."""
    before = fleet.datastore()

    def put_back():
        for key, value in fleet.datastore().items():
            if key.startswith(RESOURCES) and value != before.get(key):
                if key in before:
                    fleet.generation.client.put(key, before[key])
                elif "/bgp" in key:
                    fleet.generation.client.delete(key)

    fleet.undo.callback(put_back)


@pytest.mark.third
def test_a_reflector_takes_the_place_of_the_mesh(fleet, host, record_property):
    """Set up with no packet lost; what comes by it alone is waited for; and without it nobody is ready."""
    kept(fleet)
    other, reflector = fleet.hosts[1:]
    network = {"peers": [{"node_selector": "!has(rr)", "peer_selector": "has(rr)"}]}
    of_reflector = {"labels": {"rr": "yes"}, "route_reflector_cluster_id": "244.0.0.1"}
    only = {reflector.name: {"node": of_reflector}}
    with fleets.pinging(fleet, host, other) as pings:
        fleet.pillar({"network": network}, **only)
        fleet.converge()
        fleet.pillar({"network": {**network, "mesh": False}}, **only)
        fleet.converge()
    assert pings.lost == []
    for each, neighbours in ((host, [reflector]), (other, [reflector]), (reflector, [host, other])):
        found, code = fleet.ask(each, "ready", "timeout=120")
        assert (found["ready"], code) == (True, 0), found["reasons"]
        assert {(item["node"], item["type"]) for item in found["expected"]} == {
            (neighbour.name, "node specific") for neighbour in neighbours
        }
        # Of the other nodes' blocks, those of the reflector's other clients as well.
        assert found["routes"]["expected"] >= 2 and found["routes"]["missing"] == []

    # What a client tells, the reflector passes on: until then the block is missed.
    block = "172.20.255.192/26"
    key = f"/calico/ipam/v2/host/{other.name}/ipv4/block/{block.replace('/', '-')}"
    fleet.undo.callback(fleet.generation.client.delete, key)
    fleet.undo.callback(other.exec, ["pkill", "-CONT", "-f", CONFD])
    other.exec(["pkill", "-STOP", "-f", CONFD])
    fleet.generation.client.put(key, fleet.generation.affinity)
    found, code = fleet.ask(host, "ready")
    assert code == 1
    assert found["routes"]["missing"] == [{"cidr": block, "node": other.name}]
    (reason,) = found["reasons"]
    assert reason == (
        f"no route to {block} of node {other.name}: the session with {reflector.address} is Established"
    )
    other.exec(["pkill", "-CONT", "-f", CONFD])
    assert fleet.ask(host, "ready", "timeout=120")[0]["ready"]

    # BIRD bids farewell, so that its clients do not keep its routes for a graceful restart.
    fleet.undo.callback(reflector.exec, "systemctl start calico-node")
    reflector.exec("pkill -TERM -x bird; systemctl stop calico-node")
    for client, unreached in ((host, other), (other, host)):
        found, code = fleet.ask(client, "ready")
        assert code == 1
        assert [item["node"] for item in found["missing"]] == [reflector.name]
        said = "\n".join(found["reasons"])
        assert f"no session with {reflector.address} ({reflector.name})" in said
        assert f"of node {unreached.name}, which came by {reflector.address}" in said
        assert unreached.name in {item["node"] for item in found["routes"]["missing"]}
    reflector.exec("systemctl start calico-node")
    fleets.ready(fleet)
    record_property("figure", f"mesh to reflector: {len(pings.lost)} of {pings.sent} packets lost")


VXLAN = """
ip link add vxlan.calico type vxlan id 4096 dev eth0 dstport 4789 nolearning
ip link set vxlan.calico up
"""


@pytest.mark.third
def test_with_vxlan_the_gate_waits_for_the_routes_that_felix_writes(fleet, host):
    """The test does what Felix and the tunnels' allocation do: the stand-in for calico-node does neither."""
    if host.exec(VXLAN, check=False).returncode:
        pytest.skip("this kernel has no vxlan")
    fleet.undo.callback(host.exec, "ip link delete vxlan.calico")
    kept(fleet)
    (pool,) = fleet.lab.pillar()["network"]["pools"]
    fleet.pillar(
        {"network": {"pools": [{**pool, "vxlan": "always"}]}, "cni": {"mtu": 1400}},
        **{host.name: {"node": {"backend": "vxlan"}}},
    )
    fleet.converge(host)
    found, code = fleet.ask(host, "ready")
    # No node has a tunnel yet: nothing can be missed.
    assert (found["ready"], found["expected"], found["routes"]["expected"], code) == (True, [], 0, 0)
    for number, each in enumerate(fleet.hosts):
        key = f"{RESOURCES}nodes/{each.name}"
        node = json.loads(fleet.datastore()[key])
        node["spec"]["ipv4VXLANTunnelAddr"] = f"172.20.255.{number}"
        fleet.generation.client.put(key, json.dumps(node))
    # The routes of BIRD, which is gone, stay until then.
    host.exec("ip route flush proto bird")
    found, code = fleet.ask(host, "ready")
    missing = found["routes"]["missing"]
    assert code == 1
    assert {item["node"] for item in missing} == {each.name for each in fleet.hosts[1:]}
    assert len(found["reasons"]) == 2
    assert all(reason.endswith("Felix has not written it (VXLAN)") for reason in found["reasons"])
    with ThreadPoolExecutor() as pool_of_threads:
        waiting = pool_of_threads.submit(
            fleet.lab.salt, [host.name], "calico.ready", "timeout=120", timeout=180
        )
        for item in missing:
            host.exec(f"ip route add {item['cidr']} via 172.20.255.1 dev vxlan.calico onlink proto 80")
        answer = waiting.result()[host.name]
    assert answer["ready"] and answer["routes"]["missing"] == []
    assert answer["routes"]["expected"] == len(missing)
