"""Three containers of the stand-in calico/node of 3, meshed by the real BIRD."""

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.calico_nodes import mesh_of, meshed, pinging, unpacked
from tests.support.waiting import until

RECORDED = json.loads((Path(__file__).resolve().parents[1] / "recordings" / "etcd-v3-keys.json").read_text())
RESOURCES = "/calico/resources/v3/projectcalico.org"
IPAM = "/calico/ipam/v2"
VERSION = "v3.22.5"
HOSTS = 3

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("etcd", "ip", "nsenter", "unshare", "mmdebstrap"))),
        reason="needs etcd, iproute2, mmdebstrap and util-linux",
    ),
]


@pytest.fixture(scope="module")
def nodes(fabric, server, pki, tmp_path_factory):
    """Three nodes, meshed; on the first two of them a workload."""
    image = unpacked(VERSION, tmp_path_factory.mktemp("image"))
    directory = tmp_path_factory.mktemp("n")
    with mesh_of(fabric, VERSION, image, server, pki, directory) as made:
        yield made


@pytest.fixture
def mesh(nodes):
    until(lambda: meshed(nodes), lambda: str([node.sessions() for node in nodes]))
    return nodes


def commands(container):
    """{the command line's words: number} of what runs inside, besides the first process."""
    first = container.first_process
    numbers = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    found = {}
    for number in numbers:
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{number}/cmdline").read_text().rstrip("\0")
            found[tuple(line.split("\0")[:2])] = int(number)
    return found


FELIX, CONFD = ("calico-node", "-felix"), ("calico-node", "-confd")


def shape(value):
    """Which fields there are and of which type; texts that name things are apart from their values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if not key.isdigit()}
    return type(value).__name__


class TestContainers:
    def test_it_says_that_it_started(self, mesh):
        assert "Calico node started successfully\n" in mesh[0].container.log

    def test_processes_show_the_command_lines_of_the_original(self, mesh):
        birds = ("bird", "-R"), ("bird6", "-R")
        assert set(commands(mesh[0].container)) == {FELIX, CONFD, *birds}
        names = {Path(f"/proc/{number}/comm").read_text() for number in commands(mesh[0].container).values()}
        assert names == {"calico-node\n", "bird\n", "bird6\n"}

    def test_health_listens_on_the_loopback_alone(self, mesh):
        assert [mesh[0].health(path) for path in ("readiness", "liveness", "other")] == [204, 204, 404]
        listening = mesh[0].host.run("ss", "-Hltn", "sport", "=", ":9099").stdout.split()
        assert listening[3] == "127.0.0.1:9099"

    def test_a_workload_has_the_keys_of_the_original(self, mesh, client):
        node, attached = mesh[0], mesh[0].attached
        block = attached["block"].replace("/", "-")
        name = f"{node.name}-cni-{node.workload}-eth0"
        blocks, hosts = "assignment/ipv4/block", "ipv4/block"
        endpoints = f"{RESOURCES}/workloadendpoints/default"
        recorded = {entry["key"]: entry["value"] for entry in RECORDED["keys"]}
        for own, theirs in (
            (f"{IPAM}/{blocks}/{block}", f"{IPAM}/{blocks}/10.233.166.192-26"),
            (f"{IPAM}/host/{node.name}/{hosts}/{block}", f"{IPAM}/host/node1/{hosts}/10.233.166.192-26"),
            (f"{endpoints}/{name}", f"{endpoints}/node1-cni-w2--h1-eth0"),
            (f"{RESOURCES}/profiles/lab", f"{RESOURCES}/profiles/lab"),
        ):
            # In the same order, too.
            assert json.dumps(shape(json.loads(client.get(own)))) == json.dumps(shape(recorded[theirs]))
        affinity = client.get(f"{IPAM}/host/{node.name}/{hosts}/{block}")
        assert affinity == '{"state":"confirmed","deleted":false}'
        handle = client.get(f"{IPAM}/handle/lab.{node.name}.{node.workload}")
        assert json.loads(handle) == {"block": {attached["block"]: 1}, "deleted": False}

    def test_calicoctl_sees_the_workload(self, mesh, calicoctl_v3):
        attached = mesh[0].attached
        row = next(
            line.split()
            for line in calicoctl_v3("get", "workloadendpoints", "-o", "wide").splitlines()
            if attached["address"] in line
        )
        assert {mesh[0].name, f"{attached['address']}/32", attached["interface"], "lab"} <= set(row)
        said = calicoctl_v3("ipam", "show", f"--ip={attached['address']}")
        assert said.startswith(f"IP {attached['address']} is in use\n")
        assert f"node: {mesh[0].name}" in said
        assert attached["block"] in calicoctl_v3("ipam", "show", "--show-blocks")

    def test_a_workload_has_a_route_and_the_other_host_its_block(self, mesh):
        node, attached = mesh[0], mesh[0].attached
        own, other = node.host.routes(), mesh[1].host.routes()
        assert (own[attached["address"]]["dev"], own[attached["block"]]["type"]) == (
            attached["interface"],
            "blackhole",
        )
        assert other[attached["block"]]["gateway"] == node.host.plain_address
        assert attached["address"] not in other

    def test_attaching_twice_changes_nothing(self, mesh, client):
        before = client.entries("/calico/")[0]
        assert mesh[0].attach("add") == mesh[0].attached
        assert client.entries("/calico/")[0] == before

    def test_a_stop_is_in_order_and_a_restart_loses_no_packet(self, mesh):
        with pinging(mesh) as packets:
            # Not 137: it ends when it is asked to, and nobody has to kill it.
            assert mesh[0].container.stop() == 0
            mesh[0].start()
            until(lambda: meshed(mesh), lambda: mesh[0].container.log)
        assert packets.lost == []

    @pytest.mark.parametrize("words", [FELIX, CONFD], ids=lambda words: words[1])
    def test_a_process_that_dies_is_started_again(self, mesh, words):
        container = mesh[2].container
        before = commands(container)
        os.kill(before[words], signal.SIGKILL)
        until(lambda: commands(container).get(words) not in (None, before[words]), words)
        until(lambda: mesh[2].health() == 204, "ready again")

    def test_ready_says_why_not(self, mesh):
        container = mesh[2].container
        ready = ("calico-node", "-felix-ready", "-bird-ready")
        until(lambda: container.run(*ready).returncode == 0, lambda: container.run(*ready).stdout)
        # A threshold above the container's age: all sessions count, then one is enough.
        others = [node.host.plain_address for node in mesh[:2]]
        mesh[0].container.stop()
        try:
            until(lambda: "Established" in mesh[2].sessions().values(), "one session")
            gone = f"Mesh_{others[0].replace('.', '_')}"
            until(lambda: mesh[2].sessions()[gone] != "Established", lambda: str(mesh[2].sessions()))
            strict = container.run("calico-node", "-bird-ready", "-threshold-time=1000s")
            assert (strict.returncode, strict.stdout) == (
                1,
                f"calico/node is not ready: BIRD is not ready: BGP not established with {others[0]}",
            )
            later = container.run("calico-node", "-bird-ready", "-threshold-time=0s")
            assert (later.returncode, later.stdout) == (0, "")
        finally:
            mesh[0].start()
        # The first process, frozen, does not start it again before it was asked.
        os.kill(container.first_process, signal.SIGSTOP)
        try:
            os.kill(commands(container)[FELIX], signal.SIGKILL)
            refused = container.run("calico-node", "-felix-ready")
        finally:
            os.kill(container.first_process, signal.SIGCONT)
        assert refused.returncode == 1
        assert refused.stdout.startswith("calico/node is not ready: felix is not ready: ")

    def test_no_option_is_an_error(self, mesh):
        assert mesh[2].container.run("calico-node").returncode == 1
        # That one was of 2.6.
        assert mesh[2].container.run("versions").returncode != 0
        assert mesh[2].container.run("calico-node", "-v").stdout == f"{VERSION}\n"

    def test_peers_and_the_mesh_follow_the_datastore(self, mesh, calicoctl_v3):
        calicoctl_v3("apply", "-f", "-", stdin=_PEER)
        until(lambda: "Global_198_19_0_9" in mesh[0].sessions(), lambda: str(mesh[0].sessions()))
        calicoctl_v3("delete", "bgppeer", "elsewhere")
        until(lambda: "Global_198_19_0_9" not in mesh[0].sessions(), lambda: str(mesh[0].sessions()))
        calicoctl_v3("apply", "-f", "-", stdin=_MESH.format("false"))
        until(lambda: not any(node.sessions() for node in mesh), "no sessions")
        calicoctl_v3("apply", "-f", "-", stdin=_MESH.format("true"))
        until(lambda: meshed(mesh), lambda: str([node.sessions() for node in mesh]))

    def test_a_reflector_takes_the_place_of_the_mesh(self, mesh, calicoctl_v3, client):
        node = json.loads(client.get(f"{RESOURCES}/nodes/node3"))
        node["metadata"]["labels"] = {"route-reflector": "true"}
        node["spec"]["bgp"]["routeReflectorClusterID"] = "244.0.0.1"
        calicoctl_v3("apply", "-f", "-", stdin=json.dumps(node))
        calicoctl_v3("apply", "-f", "-", stdin=_REFLECTED)
        try:
            calicoctl_v3("apply", "-f", "-", stdin=_MESH.format("false"))
            names = [f"Node_{node.host.plain_address.replace('.', '_')}" for node in mesh]
            wanted = [dict.fromkeys(set(names[2:]), "Established")] * 2
            wanted.append(dict.fromkeys(names[:2], "Established"))
            until(
                lambda: [node.sessions() for node in mesh] == wanted,
                lambda: str([node.sessions() for node in mesh]),
            )
            block = mesh[0].attached["block"]
            until(lambda: block in mesh[1].host.routes(), "the route by way of the reflector")
            # Reflected, not routed: packets go straight from one host to the other.
            assert mesh[1].host.routes()[block]["gateway"] == mesh[0].host.plain_address
        finally:
            calicoctl_v3("apply", "-f", "-", stdin=_MESH.format("true"))
            calicoctl_v3("delete", "bgppeer", "to-reflectors")
            del node["spec"]["bgp"]["routeReflectorClusterID"]
            calicoctl_v3("apply", "-f", "-", stdin=json.dumps(node))
        until(lambda: meshed(mesh), lambda: str([node.sessions() for node in mesh]))

    def test_a_frozen_datastore_changes_nothing(self, mesh, server):
        server.freeze()
        try:
            with pinging(mesh) as packets:
                # Three seconds of them, if not more.
                packets.wait_for_more(300)
            assert (mesh[0].health("readiness"), mesh[0].health("liveness")) == (204, 204)
            assert meshed(mesh)
        finally:
            server.thaw()
        assert packets.lost == []

    def test_a_detached_workload_leaves_nothing(self, mesh, client):
        node, attached = mesh[1], mesh[1].attached
        node.attach("del")
        until(lambda: attached["address"] not in node.host.routes(), "its route")
        assert node.attach("del")["interface"] == attached["interface"]
        place = f"/calico/ipam/v2/assignment/ipv4/block/{attached['block'].replace('/', '-')}"
        block = json.loads(client.get(place))
        assert (len(block["unallocated"]), block["attributes"]) == (64, [])
        assert block["sequenceNumberForAllocation"] == {}
        assert not any(node.workload in key for key in client.tree("/calico/")[0])


_PEER = """
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: elsewhere
spec:
  peerIP: 198.19.0.9
  asNumber: 64512
"""
_MESH = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata:
  name: default
spec:
  nodeToNodeMeshEnabled: {}
"""
_REFLECTED = """
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: to-reflectors
spec:
  nodeSelector: '!has(route-reflector)'
  peerSelector: route-reflector == "true"
"""
