"""What lies in the datastore: a run that finds 200 pools as described, and the sessions of a large mesh."""

import json
import tempfile
from pathlib import Path

import calico_topology
import calico_words

from tests.bench.measure import Figure, timed
from tests.lab.standins import etcdv2, etcdv3
from tests.support import etcd, minion, pki

POOLS = 200
NODES, PEERS = 1000, 50
LIMITS = {"pools": 1000, "sessions": 100}
THIRD = "/calico/resources/v3/projectcalico.org"


def figures(rounds):
    return [*_equal_pools(rounds), *_sessions(rounds)]


def pools():
    return [{"cidr": f"10.{number // 256}.{number % 256}.0/24"} for number in range(POOLS)]


def _equal_pools(rounds):
    """Milliseconds of the state that finds all of them equal: one reading of etcd, and no calicoctl."""
    with (
        tempfile.TemporaryDirectory(prefix="calico-bench-") as directory,
        etcd.Etcd(Path(directory) / "etcd", pki.make(Path(directory) / "pki")) as server,
        minion.Minion(Path(directory) / "m") as node,
    ):
        for version, store, client in (("v2.6.2", _store_v1, etcdv2), ("v3.22.5", _store_v3, etcdv3)):
            names = [str(server.pki / f"{name}.pem") for name in ("ca", "calico", "calico-key")]
            store(client.Client([server.endpoint], *names))
            node.pillar(
                {
                    "version": version,
                    "etcd": {
                        "endpoints": [server.endpoint],
                        "tls": dict(zip(("ca", "cert", "key"), names, strict=True)),
                    },
                    "network": {"pools": pools()},
                }
            )
            found = [node.state("calico.pools_exact") for _ in range(rounds)]
            for state in found:
                if state["changes"] or not state["result"]:
                    raise AssertionError(state["comment"])
            spent = [state["duration"] for state in found]
            yield Figure(f"{POOLS} equal pools, {version}", spent, "ms", LIMITS["pools"])


def _store_v1(client):
    for item in pools():
        stored = {"cidr": item["cidr"], "ipip": "", "ipip_mode": "", "masquerade": True, "ipam": True}
        key = "/calico/v1/ipam/v4/pool/" + item["cidr"].replace("/", "-")
        client.put(key, json.dumps(dict(stored, disabled=False)))


def _store_v3(client):
    for item in pools():
        resource = calico_words.describe("pool", item, "v3")
        resource["spec"].update(blockSize=26, nodeSelector="all()", vxlanMode="Never", natOutgoing=True)
        client.put(f"{THIRD}/ippools/{resource['metadata']['name']}", json.dumps(resource))


def _sessions(rounds):
    """Milliseconds of one node's expected sessions, the reading of the datastore's answer left out."""
    resources = [_resource("Node", f"n{number}", _node(number)) for number in range(NODES)]
    resources += [_resource("BGPPeer", f"p{number}", _peer(number)) for number in range(PEERS)]
    cluster = calico_topology.from_v3(resources)
    spent = [timed(lambda: calico_topology.expected_sessions(cluster, "n1")) for _ in range(rounds)]
    return [Figure(f"sessions of one of {NODES} nodes, {PEERS} peers", spent, "ms", LIMITS["sessions"])]


def _resource(kind, name, spec):
    labels = {"rack": name[-1], "zone": name[-2:]}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def _node(number):
    return {"bgp": {"ipv4Address": f"10.{number // 256}.{number % 256}.1/24"}}


def _peer(number):
    return {"nodeSelector": f'rack == "{number % 10}"', "peerSelector": f'zone in {{"{number:02}", "1"}}'}
