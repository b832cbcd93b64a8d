"""calicoctl and a real etcd: what is written by the one is read from the other."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import calico_ctl as ctl
import calico_etcd
import calico_resources as resources
import calico_topology as topology
import pytest

from tests.support import etcd as etcd_support
from tests.support import pki as pki_support

pytestmark = pytest.mark.skipif(not shutil.which("etcd"), reason="needs the etcd program")

STANDINS = Path(__file__).parents[1] / "lab" / "standins"
POOLS = [
    {"cidr": "172.20.0.0/16", "ipip": "never", "nat_outgoing": True, "disabled": False},
    {"cidr": "172.21.0.0/16", "ipip": "crosssubnet", "nat_outgoing": False, "disabled": True},
    {"cidr": "172.22.0.0/16", "ipip": "always", "nat_outgoing": True, "disabled": False},
    {"cidr": "fd80:24e2:f998:72d6::/64", "ipip": "never", "nat_outgoing": False, "disabled": False},
]


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    return program(tmp_path_factory, "1.6.3")


@pytest.fixture(scope="module", params=["3.22.5", "3.32.1"])
def binary_v3(tmp_path_factory, request):
    return program(tmp_path_factory, request.param)


def program(tmp_path_factory, version):
    """The original where CALICOCTL names one of this generation, the stand-in elsewhere."""
    original = os.environ.get("CALICOCTL")
    if original and ctl.client_version(original)[0] == int(version[0]):
        return original
    path = tmp_path_factory.mktemp("calicoctl") / "calicoctl"
    build = STANDINS / "build_calicoctl.py"
    subprocess.run([sys.executable, str(build), str(path), "--version", version], check=True)
    return str(path)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return pki_support.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def etcd(tmp_path_factory, pki):
    with etcd_support.Etcd(tmp_path_factory.mktemp("etcd"), pki) as server:
        yield server


@pytest.fixture
def how(binary, pki, etcd, tmp_path):
    def make(endpoint=etcd.endpoint, ca="ca", deadline=20.0):
        config = tmp_path / "calicoctl.cfg"
        config.write_text(
            "apiVersion: v1\nkind: calicoApiConfig\nmetadata:\nspec:\n  datastoreType: etcdv2\n"
            f"  etcdEndpoints: {endpoint}\n"
            f"  etcdCACertFile: {pki / ca}.pem\n"
            f"  etcdCertFile: {pki / 'calico.pem'}\n"
            f"  etcdKeyFile: {pki / 'calico-key.pem'}\n",
            encoding="utf-8",
        )
        return {"binary": binary, "config": str(config), "deadline": deadline}

    return make


@pytest.fixture
def read(pki, etcd):
    def cluster():
        paths = {"ca": pki / "ca.pem", "cert": pki / "calico.pem", "key": pki / "calico-key.pem"}
        with calico_etcd.Client([etcd.endpoint], **paths) as client:
            return topology.from_v2(client.tree_v2(topology.V2_PREFIX))

    return cluster


def test_pools_written_are_equal_when_read_from_either_side(how, read):
    wanted = [resources.pool(words, "v1") for words in POOLS]
    ctl.apply([resources.merge(None, pool, "v1")[0] for pool in wanted], **how())
    printed = ctl.get("ipPool", **how())
    assert sorted(read().pools, key=str) == sorted(printed, key=str)
    for pool in wanted:
        assert resources.diff(resources.find(printed, pool, "v1"), pool, "v1") == {}
    assert ctl.get("ipPool", "172.21.0.0/16", **how())[0]["spec"]["disabled"] is True
    assert ctl.delete(wanted, **how()) == wanted
    assert ctl.delete(wanted, **how()) == []
    assert read().pools == ctl.get("ipPool", **how()) == []


def test_a_change_of_one_word_leaves_the_rest(how, read):
    pool = resources.pool(POOLS[1], "v1")
    ctl.create([pool], **how())
    with pytest.raises(ctl.AlreadyExists):
        ctl.create([pool], **how())
    (current,) = read().pools
    wanted = resources.pool({"cidr": "172.21.0.0/16", "nat_outgoing": True}, "v1")
    merged, changes = resources.merge(current, wanted, "v1")
    assert changes == {"nat_outgoing": {"old": False, "new": True}}
    ctl.replace([merged], **how())
    (now,) = read().pools
    assert now["spec"] == {
        "disabled": True,
        "ipip": {"enabled": True, "mode": "cross-subnet"},
        "nat-outgoing": True,
    }
    ctl.delete([pool], **how())
    with pytest.raises(ctl.NotFound):
        ctl.replace([merged], **how())


def test_peers_and_nodes(how, read):
    api = {"apiVersion": "v1"}
    peers = [
        {
            **api,
            "kind": "bgpPeer",
            "metadata": {"scope": "global", "peerIP": "10.0.0.9"},
            "spec": {"asNumber": 64512},
        },
        {
            **api,
            "kind": "bgpPeer",
            "metadata": {"scope": "node", "node": "n1", "peerIP": "fd00::9"},
            "spec": {"asNumber": 64513},
        },
    ]
    nodes = [
        {**api, "kind": "node", "metadata": {"name": "n1"}, "spec": {"bgp": {"ipv4Address": "10.0.0.1/24"}}},
        {
            **api,
            "kind": "node",
            "metadata": {"name": "n2"},
            "spec": {"bgp": {"asNumber": 64600, "ipv4Address": "10.0.0.2/24", "ipv6Address": "fd00::2/64"}},
        },
    ]
    ctl.apply([*nodes, *peers], **how())
    cluster = read()
    assert cluster.resources["node"] == ctl.get("node", **how()) == nodes
    assert cluster.peers == ctl.get("bgpPeer", **how()) == peers
    assert ctl.get("node", "nobody", **how()) == []
    sessions = topology.expected_sessions(cluster, "n1")
    assert [session["name"] for session in sessions] == ["Mesh_10_0_0_2", "Global_10_0_0_9"]
    assert ctl.delete([*peers, *nodes], **how()) == [*peers, *nodes]
    assert read().nodes == {}


def test_config(how, read):
    for name, value, default in (
        ("nodeToNodeMesh", "off", "on"),
        ("asNumber", "64599", "64512"),
        ("logLevel", "debug", "info"),
        ("ipip", "on", "off"),
    ):
        ctl.config_set(name, value, **how())
        assert ctl.config_get(name, **how()) == str(read().config[name]) == value
        ctl.config_unset(name, **how())
        assert ctl.config_get(name, **how()) == str(read().config[name]) == default
    assert ctl.config_get("PrometheusMetricsEnabled", raw="felix", **how()) is None
    ctl.config_set("PrometheusMetricsEnabled", "true", raw="felix", **how())
    assert read().config["felix"]["PrometheusMetricsEnabled"] == "true"
    ctl.config_unset("PrometheusMetricsEnabled", raw="felix", **how())
    assert ctl.config_get("logLevel", node="n1", **how()) is None


def test_a_frozen_etcd_ends_at_the_deadline_and_is_never_empty(how, etcd):
    ctl.client_version(how()["binary"])
    etcd.freeze()
    start = time.monotonic()
    try:
        with pytest.raises((ctl.TimedOut, ctl.Unreachable)):
            ctl.get("ipPool", **how(deadline=1.0))
    finally:
        etcd.thaw()
    assert time.monotonic() - start < 60


def test_faults_of_the_way(how, etcd):
    with pytest.raises(ctl.Unreachable, match="refused"):
        ctl.get("ipPool", **how(endpoint="https://127.0.0.1:1"))
    with pytest.raises(ctl.Unreachable, match="unknown authority"):
        ctl.get("ipPool", **how(ca="wrong-ca"))
    with pytest.raises(ctl.BadConfig, match=r"none\.pem"):
        ctl.get("ipPool", **how(ca="none"))
    with pytest.raises(ctl.BadConfig, match=r"absent\.cfg"):
        ctl.get("ipPool", **{**how(), "config": "absent.cfg"})


def test_bad_input_names_the_field(how, read):
    pool = resources.pool({"cidr": "10.1.2.0/30"}, "v1")
    with pytest.raises(ctl.Invalid) as caught:
        ctl.apply([pool], **how())
    assert (caught.value.field, caught.value.value) == ("CIDR", "10.1.2.0/30")
    assert read().pools == []


def test_the_version_is_that_of_the_program(binary):
    assert ctl.client_version(binary)[:2] == (1, 6)


# Calico 3 --------------------------------------------------------------------------------------


@pytest.fixture
def how_v3(binary_v3, pki, etcd, tmp_path):
    def make(endpoint=etcd.endpoint, deadline=20.0):
        config = tmp_path / "calicoctl.cfg"
        config.write_text(
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n"
            f"  datastoreType: etcdv3\n  etcdEndpoints: {endpoint}\n"
            f"  etcdCACertFile: {pki / 'ca.pem'}\n"
            f"  etcdCertFile: {pki / 'calico.pem'}\n"
            f"  etcdKeyFile: {pki / 'calico-key.pem'}\n",
            encoding="utf-8",
        )
        return {"binary": binary_v3, "config": str(config), "deadline": deadline}

    return make


@pytest.fixture
def read_v3(pki, etcd):
    def cluster():
        paths = {"ca": pki / "ca.pem", "cert": pki / "calico.pem", "key": pki / "calico-key.pem"}
        with calico_etcd.Client([etcd.endpoint], **paths) as client:
            return topology.from_v3_keys(client.range_v3(topology.V3_PREFIX)[0])

    return cluster


def test_v3_pools_converge_and_a_stale_write_is_a_conflict(how_v3, read_v3):
    words = {"cidr": "172.20.0.0/16", "ipip": "crosssubnet", "nat_outgoing": True, "block_size": 27}
    wanted = resources.pool(words, "v3")
    ctl.create([wanted], **how_v3())
    (printed,) = ctl.get("ippool", **how_v3())
    (current,) = read_v3().pools
    for found in (printed, current):
        assert resources.diff(found, wanted, "v3") == {}
    assert current["metadata"]["resourceVersion"] == printed["metadata"]["resourceVersion"]

    change = resources.pool({"cidr": "172.20.0.0/16", "disabled": True}, "v3")
    merged, changes = resources.merge(current, change, "v3")
    assert changes == {"disabled": {"old": False, "new": True}}
    ctl.apply([merged], **how_v3())
    (now,) = read_v3().pools
    assert (now["spec"]["disabled"], now["spec"]["blockSize"]) == (True, 27)
    # The version that was read first is no longer the one that is there.
    with pytest.raises(ctl.Conflict):
        ctl.apply([merged], **how_v3())

    assert ctl.delete([wanted], **how_v3()) == [wanted]
    assert ctl.delete([wanted], **how_v3()) == []
    assert ctl.get("ippool", "172-20-0-0-16", **how_v3()) == read_v3().pools == []


def test_v3_topology_from_keys_is_that_from_what_calicoctl_prints(how_v3, read_v3):
    def resource(kind, name, labels=None, **spec):
        metadata = {"name": name, **({"labels": labels} if labels else {})}
        return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}

    written = [
        resource("Node", "n1", bgp={"ipv4Address": "10.0.0.1/24"}),
        resource("Node", "n2", {"rr": "true"}, bgp={"ipv4Address": "10.0.0.2/24", "asNumber": 64600}),
        resource("BGPPeer", "up", nodeSelector="!has(rr)", peerSelector="rr == 'true'"),
        resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False, asNumber=64512),
    ]
    ctl.apply(written, **how_v3())
    printed = topology.from_v3(
        [found for kind in ("node", "bgppeer", "bgpconfig") for found in ctl.get(kind, **how_v3())]
    )
    for cluster in (printed, read_v3()):
        (session,) = topology.expected_sessions(cluster, "n1")
        assert (session["name"], session["as_number"], session["node"]) == ("Node_10_0_0_2", 64600, "n2")
        assert [s["name"] for s in topology.expected_sessions(cluster, "n2")] == ["Node_10_0_0_1"]
    assert len(ctl.delete(written, **how_v3())) == len(written)


def test_v3_that_waits_for_ever_is_ended(how_v3):
    start = time.monotonic()
    with pytest.raises(ctl.TimedOut):
        ctl.get("ippool", **how_v3(endpoint="https://127.0.0.1:1", deadline=1.0))
    assert time.monotonic() - start < 60
