"""What functional tests share: a real etcd, a minion with the formula, a docker that only pretends."""

import copy
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.lab.standins import etcdv2
from tests.support import engine as engine_support
from tests.support import etcd as etcd_support
from tests.support import minion as minion_support
from tests.support import pki as pki_support

CALICOCTL = "/opt/calicoctl"


@pytest.fixture(scope="session")
def formula_pki(tmp_path_factory):
    return pki_support.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def formula_etcd(tmp_path_factory, formula_pki):
    if not shutil.which("etcd"):
        pytest.skip("needs the etcd program")
    with etcd_support.Etcd(tmp_path_factory.mktemp("etcd"), formula_pki) as server:
        yield server


@pytest.fixture
def datastore(formula_etcd, formula_pki):
    """A client of the empty datastore, apart from the formula's own."""
    client = etcdv2.Client(
        [formula_etcd.endpoint],
        ca=str(formula_pki / "ca.pem"),
        cert=str(formula_pki / "calico.pem"),
        key=str(formula_pki / "calico-key.pem"),
    )
    client.delete("/calico", recursive=True)
    return client


@pytest.fixture(scope="session")
def shared_minion():
    reason = minion_support.missing()
    if reason:
        pytest.skip(reason)
    # Not below pytest's own directory: a socket's path may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="calico-minion-") as directory,
        minion_support.Minion(Path(directory) / "m") as minion,
    ):
        yield minion


@pytest.fixture(scope="session")
def shared_engine(shared_minion):
    with engine_support.Engine(shared_minion.directory) as server:
        server.install(shared_minion.bin)
        yield server


@pytest.fixture
def minion(shared_minion):
    """A minion without a pillar and with nothing of Calico's on it."""
    shared_minion.pillar(None)
    for path in ("/etc/calico", "/etc/cni", "/opt/cni", "/run/calico"):
        shutil.rmtree(shared_minion.path(path), ignore_errors=True)
    for path in ("/run/docker.sock", CALICOCTL, "/etc/systemd/system/calico-node.service"):
        shared_minion.path(path).unlink(missing_ok=True)
    return shared_minion


@pytest.fixture
def engine(minion, shared_engine):
    """Docker as this minion sees it; it knows nothing yet."""
    minion.path("/run/docker.sock").symlink_to(shared_engine.socket)
    shared_engine.knows()
    return shared_engine


@pytest.fixture
def settings(formula_etcd, formula_pki):
    """A pillar that fits the datastore; change it and give it to the minion."""
    return {
        "version": "v2.6.2",
        "etcd": {
            "endpoints": [formula_etcd.endpoint],
            "tls": {
                "ca": str(formula_pki / "ca.pem"),
                "cert": str(formula_pki / "calico.pem"),
                "key": str(formula_pki / "calico-key.pem"),
            },
        },
        "node": {"name": "node1"},
        "calicoctl": {"path": CALICOCTL, "timeout": 3},
        "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
    }


@pytest.fixture
def give(minion, settings):
    """Give the minion the pillar with some paths (``a__b`` for a:b) set or, with None, taken out."""

    def give(**changes):
        pillar = copy.deepcopy(settings)
        for path, value in changes.items():
            *parents, leaf = path.split("__")
            branch = pillar
            for parent in parents:
                branch = branch.setdefault(parent, {})
            branch[leaf] = value
        minion.pillar(pillar)
        return pillar

    give()
    return give
