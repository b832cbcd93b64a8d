"""The stand-in calico/node of 3, held to what the original was seen to do."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.lab.standins import etcdv3
from tests.lab.standins.calicoctl import selectors
from tests.lab.standins.node import build
from tests.support import programs, replay
from tests.support.calico_nodes import tls
from tests.support.namespaces import Fabric
from tests.support.waiting import PATIENCE

STANDINS = Path(etcdv3.__file__).resolve().parent
RECORDINGS = Path(__file__).resolve().parents[1] / "recordings"
STARTUPS = json.loads((RECORDINGS / "calico-node" / "v3.22.5" / "startup.json").read_text())
SITUATIONS = json.loads((RECORDINGS / "calico-node" / "v3.22.5" / "bird-protocols.json").read_text())
RESOURCES = "/calico/resources/v3/projectcalico.org"
VERSION = "v3.22.5"
# The address that the recordings' node had.
ADDRESS = "172.31.78.1/24"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("etcd", "ip", "nsenter", "unshare"))),
        reason="needs etcd, iproute2 and util-linux",
    ),
]


@pytest.fixture(scope="module")
def fabric():
    """One host: besides the recordings' address, one by which etcd is reached and nothing is detected."""
    with Fabric(1) as made:
        (host,) = made.hosts
        host.ip("link", "set", "eth0", "down")
        host.ip("link", "set", "eth0", "name", "veth0")
        host.ip("link", "set", "veth0", "up")
        host.ip("link", "add", "v0", "type", "bridge")
        host.ip("address", "add", ADDRESS, "dev", "v0")
        host.ip("link", "set", "v0", "up")
        yield made


@pytest.fixture(scope="module")
def of_image(tmp_path_factory):
    """The programs as an image of that version has them."""
    directory = tmp_path_factory.mktemp("programs") / "calico-node"
    build.place_programs(directory, VERSION)
    return directory


class Startups:
    """The start-up as in a container whose directories are DIRECTORY's, on a machine named `vm`."""

    def __init__(self, host, programs, directory, replacements):
        self._host, self._programs, self._directory = host, programs, directory
        self._replacements = replacements
        for name in ("lib", "log", "run/calico"):
            (directory / name).mkdir(parents=True)
        self.name_file = directory / "lib" / "calico" / "nodename"

    def popen(self, given):
        environment = {name: self._replaced(value) for name, value in given.items()}
        mounts = [f"mount --bind {self._directory}/{name} /var/{name}" for name in ("lib", "log", "run")]
        script = "; ".join(["set -e", "hostname vm", *mounts, 'exec "$0" "$@"'])
        command = self._host.command(
            "unshare", "--mount", "--uts", "sh", "-c", script, sys.executable, self._programs / "startup.py"
        )
        return subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], **environment},
            cwd=self._directory,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _replaced(self, value):
        for old, new in self._replacements.items():
            value = value.replace(old, new)
        return value

    def forget_the_name(self):
        """As the recordings' machine did from run to run; what was logged stayed."""
        shutil.rmtree(self.name_file.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def replayed(fabric, of_image, server, client, pki, calicoctl_v3, tmp_path_factory):
    """{name of a recorded start: what the same start did here}, run in their order."""
    startups = Startups(
        fabric.hosts[0],
        of_image,
        tmp_path_factory.mktemp("startup"),
        {
            "https://127.0.0.1:2999": f"https://{fabric.gateway}:9",
            "https://127.0.0.1:2379": server.endpoint,
            "<pki>": str(pki),
        },
    )
    found = {}
    for recorded in STARTUPS:
        if recorded["datastore_before"] == "empty":
            client.delete("/calico", recursive=True)
        startups.forget_the_name()
        found[recorded["name"]] = _replayed(startups, recorded, calicoctl_v3)
    return found


def _replayed(startups, recorded, calicoctl_v3):
    process = startups.popen(recorded["env"])
    if recorded["rc"] is None:
        return _unending(process, recorded)
    log = process.communicate(timeout=PATIENCE)[0].splitlines()
    name = startups.name_file
    return {
        "rc": process.returncode,
        "log": log,
        "/var/lib/calico/nodename": name.read_text() if name.exists() else None,
        "calicoctl get node -o yaml": calicoctl_v3("get", "node", "-o", "yaml"),
        "calicoctl get ippool -o yaml": calicoctl_v3("get", "ippool", "-o", "yaml"),
    }


def _unending(process, recorded):
    """What it says until it waits; that it still does after a while tells that it waits."""
    try:
        log = [process.stdout.readline().rstrip("\n") for _ in recorded["log"]]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        return {"rc": process.poll(), "log": log, "/var/lib/calico/nodename": None}
    finally:
        process.kill()
        process.communicate()


def _as_recorded(line):
    line = re.sub(r"^\S+ \S+ \[(\w+)\]\[\d+\]", r"<time> [\1][<pid>]", line)
    # The original of the recordings was built without its version.
    return line.replace(f"with version {VERSION}", "with version ")


class TestStartup:
    @pytest.mark.parametrize("recorded", STARTUPS, ids=lambda recorded: recorded["name"])
    def test_it_does_what_the_original_did(self, replayed, recorded):
        found = replayed[recorded["name"]]
        assert [_as_recorded(line) for line in found["log"]] == recorded["log"]
        assert found["rc"] == recorded["rc"]
        assert found["/var/lib/calico/nodename"] == recorded["/var/lib/calico/nodename"]
        for command in (key for key in recorded if key.startswith("calicoctl")):
            assert replay.matches(recorded[command], found[command]), found[command]

    def test_an_empty_datastore_gets_what_a_living_cluster_has(self, start, client):
        assert start().returncode == 0
        recorded = json.loads((RECORDINGS / "etcd-v3-keys.json").read_text())["keys"]
        wanted = {entry["key"]: entry["value"]["spec"] for entry in recorded if "spec" in entry["value"]}
        found = {key: json.loads(value) for key, value in client.tree(f"{RESOURCES}/")[0].items()}
        assert sorted(found) == [
            f"{RESOURCES}/{name}"
            for name in (
                "clusterinformations/default",
                "felixconfigurations/default",
                "felixconfigurations/node.node1",
                "ippools/default-ipv4-ippool",
                "nodes/node1",
            )
        ]
        for name in ("default", "node.node1"):
            key = f"{RESOURCES}/felixconfigurations/{name}"
            # In the same order, too: etcd has the bytes that the original writes.
            assert json.dumps(found[key]["spec"]) == json.dumps(wanted[key])
        information = found[f"{RESOURCES}/clusterinformations/default"]["spec"]
        assert (information["calicoVersion"], information["datastoreReady"]) == (VERSION, True)
        assert found[f"{RESOURCES}/nodes/node1"]["spec"] == {"bgp": {"ipv4Address": ADDRESS}}

    @pytest.mark.parametrize(
        ("version", "more"),
        [
            ("v3.18.0", set()),
            ("v3.26.4", set()),
            (
                "v3.32.1",
                {
                    "bgpconfigurations/default",
                    "tiers/default",
                    "tiers/kube-admin",
                    "tiers/kube-baseline",
                },
            ),
        ],
    )
    def test_other_versions_leave_what_is_theirs(self, fabric, server, client, pki, tmp_path, version, more):
        client.delete("/calico", recursive=True)
        build.place_programs(tmp_path / "programs", version)
        startups = Startups(fabric.hosts[0], tmp_path / "programs", tmp_path / "machine", {})
        process = startups.popen(environment(server, pki))
        said = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == 0, said
        found = {key.removeprefix(f"{RESOURCES}/") for key in client.tree(f"{RESOURCES}/")[0]}
        assert found == {
            "clusterinformations/default",
            "felixconfigurations/default",
            "felixconfigurations/node.node1",
            "ippools/default-ipv4-ippool",
            "nodes/node1",
            *more,
        }

    def test_a_second_start_changes_nothing(self, start, client):
        start()
        before = client.entries("/calico/")[0]
        assert start().returncode == 0
        assert client.entries("/calico/")[0] == before

    def test_what_others_set_survives(self, start, client, calicoctl_v3):
        start(AS="64599", CLUSTER_TYPE="k8s,bgp")
        calicoctl_v3("label", "nodes", "node1", "rack=1")
        calicoctl_v3("apply", "-f", "-", stdin=_FELIX)
        assert start(AS="", CLUSTER_TYPE="bgp,mesos").returncode == 0
        node = yaml.safe_load(calicoctl_v3("get", "node", "node1", "-o", "yaml"))
        assert node["metadata"]["labels"] == {"rack": "1"}
        assert node["spec"]["bgp"] == {"asNumber": 64599, "ipv4Address": ADDRESS}
        felix = yaml.safe_load(calicoctl_v3("get", "felixconfiguration", "default", "-o", "yaml"))
        assert (felix["spec"]["logSeverityScreen"], felix["spec"]["reportingInterval"]) == ("Debug", "0s")
        key = f"{RESOURCES}/clusterinformations/default"
        assert json.loads(client.get(key))["spec"]["clusterType"] == "k8s,bgp,mesos"

    def test_the_name_is_taken_from_the_file_then_from_the_hostname(self, start, startups, client):
        start(NODENAME="", HOSTNAME="Rack-1", IP="10.1.0.1/16")
        assert startups.name_file.read_text() == "rack-1"
        start(NODENAME="", HOSTNAME="Other", IP="10.1.0.1/16")
        assert list(client.tree(f"{RESOURCES}/nodes/")[0]) == [f"{RESOURCES}/nodes/rack-1"]

    def test_an_address_found_that_another_has_is_let_go(self, start, calicoctl_v3):
        start(NODENAME="node2", IP="10.1.0.1/16")
        calicoctl_v3("apply", "-f", "-", stdin=node_document("node1", ADDRESS))
        done = start(NODENAME="node2", IP="autodetect")
        assert done.returncode == 1
        assert "Calico node 'node1' is already using the IPv4 address 172.31.78.1.\n" in done.stdout
        node = yaml.safe_load(calicoctl_v3("get", "node", "node2", "-o", "yaml"))
        assert node["spec"] == {}

    def test_policy_only_needs_no_address(self, start, calicoctl_v3):
        assert start(CALICO_NETWORKING_BACKEND="none", IP="abc", AS="x").returncode == 0
        assert yaml.safe_load(calicoctl_v3("get", "node", "node1", "-o", "yaml"))["spec"] == {}

    def test_an_ipv6_pool_is_made_by_lot(self, start, calicoctl_v3):
        start(FELIX_IPV6SUPPORT="true")
        spec = yaml.safe_load(calicoctl_v3("get", "ippool", "default-ipv6-ippool", "-o", "yaml"))["spec"]
        assert re.fullmatch(r"fd[0-9a-f:]+::/48", spec["cidr"])
        assert (spec["blockSize"], spec.get("natOutgoing", False)) == (122, False)

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({"IP": "fd00::1"}, "Environment does not contain a valid IPv4 address: IP=fd00::1"),
            (
                {"IP": "autodetect", "IP_AUTODETECTION_METHOD": "best"},
                "Invalid IP autodetection method: best",
            ),
            ({"CALICO_IPV4POOL_BLOCK_SIZE": "33"}, "Invalid blocksize 33 for version 4"),
            ({"CALICO_IPV4POOL_VXLAN": "x"}, "Unrecognized VXLAN mode specified in CALICO_IPV4POOL_VXLAN"),
            (
                {"CALICO_IPV4POOL_VXLAN": "Always", "CALICO_IPV4POOL_IPIP": "Always"},
                "Cannot enable both VXLAN and IPIP on the same IPPool",
            ),
            ({"CALICO_IPV4POOL_NODE_SELECTOR": "rack ="}, "Failed to create default IPv4 IP pool"),
            ({"ETCD_KEY_FILE": "/none.pem"}, "Unable to create the datastore client"),
            ({"NO_DEFAULT_POOLS": "true", "CALICO_IPV4POOL_CIDR": "10.0.0.0/8"}, "NO_DEFAULT_POOLS defined"),
        ],
    )
    def test_an_invalid_value_ends_it(self, start, client, given, reason):
        done = start(**given)
        assert done.returncode == 1
        assert reason in done.stdout
        assert done.stdout.endswith(": Terminating\n")
        assert client.tree(f"{RESOURCES}/ippools/")[0] == {}


_FELIX = """
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata:
  name: default
spec:
  logSeverityScreen: Debug
"""


def node_document(name, address):
    return yaml.safe_dump(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"bgp": {"ipv4Address": address}},
        }
    )


def environment(server, pki):
    return {
        "DATASTORE_TYPE": "etcdv3",
        "ETCD_ENDPOINTS": server.endpoint,
        **tls(pki),
        "NODENAME": "node1",
        "IP": ADDRESS,
        "FELIX_IPV6SUPPORT": "false",
    }


@pytest.fixture
def startups(fabric, of_image, tmp_path):
    return Startups(fabric.hosts[0], of_image, tmp_path, {})


@pytest.fixture
def start(startups, server, client, pki):
    """start(**environment) runs the start-up against an empty datastore; a CompletedProcess."""
    client.delete("/calico", recursive=True)

    def run(**given):
        process = startups.popen({**environment(server, pki), **given})
        stdout = process.communicate(timeout=PATIENCE)[0]
        return subprocess.CompletedProcess(process.args, process.returncode, stdout)

    return run


# What the recordings show of a configuration: its protocols, not the filters and static routes.
_SHOWN = ("kernel", "device", "direct", "bgp")
_RENDER = """
import os, sys
import birdconf, environment, layout_v3, process
store = layout_v3.connect(environment.Environment(os.environ), process.version())
snapshot, _ = store.snapshot()
print(birdconf.render(snapshot, sys.argv[1], int(sys.argv[2]), process.generation()))
"""


@pytest.fixture(scope="module")
def configured(server, pki, of_image):
    """configured(node, version=4) -> the text of BIRD's configuration on that node."""
    environment = {
        "PYTHONPATH": str(of_image),
        "ETCD_ENDPOINTS": server.endpoint,
        **tls(pki),
    }

    def render(node, version=4):
        command = [sys.executable, "-c", _RENDER, node, str(version)]
        return programs.run(command, env=environment).stdout

    return render


@pytest.fixture(scope="module")
def situations(client, calicoctl_v3, configured):
    """The configurations of the recorded situations, one after the other on the same datastore."""
    client.delete("/calico", recursive=True)
    for number in (1, 2, 3):
        calicoctl_v3("apply", "-f", "-", stdin=node_document(f"node{number}", f"172.31.78.{number}/24"))
    calicoctl_v3("apply", "-f", "-", stdin=_POOL)
    found = {}
    for recorded in SITUATIONS:
        for change in recorded["changes"]:
            (kind,) = change.keys() - {"said"}
            arguments = change[kind] if kind == "calicoctl" else kind.split()[1:]
            said = calicoctl_v3(*arguments, stdin=None if kind == "calicoctl" else change[kind])
            assert said == change["said"]
        found[recorded["situation"], recorded["seen_on"]] = configured(recorded["seen_on"])
    return found


_POOL = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default-ipv4-ippool
spec:
  cidr: 10.233.0.0/16
  natOutgoing: true
"""


def protocols(text):
    """[{what, type, name, from, statements}] as the recordings have them, statements in no order."""
    pattern = r"^(protocol|template) (\w+)(?: (\w+))?(?: from (\w+))? \{\n(.*?)^\}"
    return [
        {
            "what": what,
            "type": kind,
            "name": name or None,
            "from": template or None,
            "statements": sorted(line.strip(" ;") for line in body.splitlines()),
        }
        for what, kind, name, template, body in re.findall(pattern, text, re.MULTILINE | re.DOTALL)
        if kind in _SHOWN
    ]


class TestBird:
    @pytest.mark.parametrize(
        "recorded", SITUATIONS, ids=lambda recorded: f"{recorded['situation']}, {recorded['seen_on']}"
    )
    def test_its_protocols_are_those_of_the_original(self, situations, recorded):
        text = situations[recorded["situation"], recorded["seen_on"]]
        wanted = [
            {**protocol, "statements": sorted(protocol["statements"])} for protocol in recorded["protocols"]
        ]
        assert protocols(text) == wanted
        assert re.findall(r"^router id (.*);", text, re.MULTILINE) == [recorded["router id"]]
        assert re.findall(r"^(listen .*);", text, re.MULTILINE) == recorded["global"]

    @pytest.mark.skipif(not shutil.which("bird"), reason="needs bird")
    def test_bird_takes_all_of_them(self, situations, tmp_path):
        file = tmp_path / "bird.cfg"
        for text in situations.values():
            file.write_text(text)
            done = programs.run(["bird", "-p", "-c", file], check=False)
            assert done.returncode == 0, done.stderr + text

    def test_sessions_of_a_pair_fit_together(self, client, calicoctl_v3, configured):
        """What one side of a recorded situation says of a session, the other must answer."""
        client.delete("/calico", recursive=True)
        for number in (1, 2, 10):
            calicoctl_v3("apply", "-f", "-", stdin=node_document(f"node{number}", f"172.31.78.{number}/24"))
        waits = {}
        for number in (1, 2, 10):
            for protocol in protocols(configured(f"node{number}")):
                if protocol["type"] == "bgp" and protocol["name"].startswith("Mesh"):
                    other = protocol["name"].rpartition("_")[2]
                    waits[str(number), other] = "passive on" in protocol["statements"]
        assert len(waits) == 6
        assert all(waits[here, there] != waits[there, here] for here, there in waits)
        # Addresses are compared as texts.
        assert (waits["10", "2"], waits["1", "10"]) == (True, True)

    @pytest.mark.parametrize(
        ("peer", "session"),
        [
            ({"peerIP": "172.31.78.9:180", "asNumber": 64512}, ("172.31.78.9 port 180 as 64512", "")),
            ({"peerIP": "172.31.78.9", "asNumber": 64513, "keepOriginalNextHop": True},
             ("172.31.78.9 as 64513", "next hop keep")),
            ({"peerIP": "172.31.78.9", "asNumber": 64512, "sourceAddress": "None"},
             ("172.31.78.9 as 64512", None)),
        ],
    )  # fmt: skip
    def test_what_a_peer_may_say(self, client, calicoctl_v3, configured, peer, session):
        client.delete("/calico", recursive=True)
        calicoctl_v3("apply", "-f", "-", stdin=node_document("node1", ADDRESS))
        document = {"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "one"}}
        calicoctl_v3("apply", "-f", "-", stdin=yaml.safe_dump({**document, "spec": peer}))
        (found,) = [
            p for p in protocols(configured("node1")) if p["type"] == "bgp" and p["what"] == "protocol"
        ]
        neighbor, more = session
        source = [] if more is None else ["source address 172.31.78.1"]
        assert found["statements"] == sorted([f"neighbor {neighbor}", *([more] if more else []), *source])

    def test_a_node_that_is_a_peer_by_address_peers_back(self, client, calicoctl_v3, configured):
        client.delete("/calico", recursive=True)
        calicoctl_v3("apply", "-f", "-", stdin=node_document("node1", ADDRESS))
        calicoctl_v3("apply", "-f", "-", stdin=node_document("node2", "172.31.78.2/24"))
        calicoctl_v3("apply", "-f", "-", stdin=_MESH_OFF)
        document = {"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "one"}}
        spec = {"node": "node1", "peerIP": "172.31.78.2", "asNumber": 64512}
        calicoctl_v3("apply", "-f", "-", stdin=yaml.safe_dump({**document, "spec": spec}))
        names = [[p["name"] for p in protocols(configured(f"node{n}")) if p["from"]] for n in (1, 2)]
        assert names == [["Node_172_31_78_2"], ["Node_172_31_78_1"]]


_MESH_OFF = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata:
  name: default
spec:
  nodeToNodeMeshEnabled: false
"""


class TestSelectors:
    """The two stand-ins share one reader of selectors."""

    RECORDED = json.loads((RECORDINGS / "selectors-v3.32.1.json").read_text())

    @pytest.mark.parametrize("row", RECORDED["rows"], ids=lambda row: repr(row["selector"]))
    def test_it_reads_every_recorded_one(self, row):
        if "error" in row:
            assert not selectors.is_selector(row["selector"])
        else:
            matches = selectors.parsed(row["selector"])
            assert [matches(labels) for labels in self.RECORDED["labels"]] == row["matches"]
