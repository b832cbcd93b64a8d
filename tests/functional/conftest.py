"""What functional tests share: a real etcd, a minion with the formula, a docker that only pretends."""

import copy
import http.server
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import yaml

from tests.lab.standins import build_calicoctl, etcdv2, etcdv3
from tests.support import calico_nodes, namespaces, programs
from tests.support import engine as engine_support
from tests.support import etcd as etcd_support
from tests.support import minion as minion_support
from tests.support import pki as pki_support

CALICOCTL = "/opt/calicoctl"
BUILD = Path(__file__).parents[1] / "lab" / "standins" / "build_calicoctl.py"


@pytest.fixture(scope="session")
def formula_pki(tmp_path_factory):
    return pki_support.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def formula_etcd(tmp_path_factory, formula_pki):
    with etcd_support.Etcd(tmp_path_factory.mktemp("etcd"), formula_pki) as server:
        yield server


@pytest.fixture
def datastore(formula_etcd, formula_pki):
    """A client of the empty datastore, apart from the formula's own."""
    client = etcdv2.Client([formula_etcd.endpoint], **pki_support.client(formula_pki))
    client.delete("/calico", recursive=True)
    return client


# Hosts in namespaces, with an etcd that they reach: each file has its own, of HOSTS hosts.


@pytest.fixture(scope="module")
def fabric(request):
    with namespaces.Fabric(request.module.HOSTS) as made:
        yield made


@pytest.fixture(scope="module")
def pki(fabric, tmp_path_factory):
    return pki_support.make(tmp_path_factory.mktemp("pki"), hosts=[fabric.gateway])


@pytest.fixture(scope="module")
def server(fabric, pki, tmp_path_factory):
    with etcd_support.Etcd(tmp_path_factory.mktemp("etcd"), pki, address=fabric.gateway) as started:
        yield started


@pytest.fixture(scope="module")
def client(server, pki):
    """A client of that etcd, for the keys of Calico 3."""
    return etcdv3.Client([server.endpoint], **pki_support.client(pki))


@pytest.fixture(scope="module")
def calicoctl_v3(server, pki, tmp_path_factory):
    """calicoctl_v3(*arguments, stdin=None): what the stand-in says on stdout."""
    program = tmp_path_factory.mktemp("calicoctl") / "calicoctl"
    build_calicoctl.build(program, "v3.22.5")
    environment = {
        "PATH": os.environ["PATH"],
        "DATASTORE_TYPE": "etcdv3",
        "ETCD_ENDPOINTS": server.endpoint,
        **calico_nodes.tls(pki),
    }

    def run(*arguments, stdin=None):
        command = [program, *arguments]
        done = programs.run(command, check=False, env=environment, input=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


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
    for path in ("/etc/calico", "/etc/cni", "/opt/cni", "/run/calico", "/var/lib/calico-formula"):
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
            "tls": pki_support.client(formula_pki),
        },
        "node": {"name": "node1"},
        "calicoctl": {"path": CALICOCTL, "timeout": 60},
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


@pytest.fixture(scope="session")
def binary(tmp_path_factory):
    """The original calicoctl where CALICOCTL names it, the stand-in elsewhere."""
    if os.environ.get("CALICOCTL"):
        return os.environ["CALICOCTL"]
    path = tmp_path_factory.mktemp("calicoctl") / "calicoctl"
    programs.run([sys.executable, BUILD, path, "--version", "1.6.3"])
    return path


@pytest.fixture
def calicoctl(binary, minion, give, formula_pki):
    """calicoctl is installed and configured, as the formula does it."""
    shutil.copy(binary, minion.path(CALICOCTL))
    minion.path("/etc/calico/ssl").mkdir(parents=True)
    for name in ("ca.pem", "calico.pem", "calico-key.pem"):
        shutil.copy(formula_pki / name, minion.path(f"/etc/calico/ssl/{name}"))
    configuration = minion.call("calico.calicoctl_configuration")
    minion.path("/etc/calico/calicoctl.cfg").write_text(yaml.safe_dump(configuration))


@pytest.fixture
def felix():
    """A health port; its number. ``answers`` is the code that it gives."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.code)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.code = 204
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def running(minion, felix, give, datastore):
    """calico-node runs, without BGP: systemd says so, Felix is ready, the node is registered."""
    systemctl = minion.bin / "systemctl"
    systemctl.write_text("#!/bin/sh\nprintf 'LoadState=loaded\\nActiveState=active\\nMainPID=1\\n'\n")
    systemctl.chmod(0o755)
    # calico-node of 2.6 leaves no more of a node without BGP.
    datastore.put("/calico/v1/host/node1/metadata", "{}")
    give(node__backend="none", felix={"HealthPort": felix.server_port})
    yield felix
    systemctl.unlink()
