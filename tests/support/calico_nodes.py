"""calico/node from the image that the lab builds, in containers on hosts made of namespaces."""

import contextlib
import json
import sys
import tarfile
from pathlib import Path

from tests.lab.standins import etcdv2
from tests.support import pings, programs, waiting
from tests.support.namespaces import Container, ip

STANDINS = Path(etcdv2.__file__).resolve().parent
ATTACH = STANDINS / "workload" / "attach.py"
POOL = "172.20.0.0/16"


def tls(directory):
    return {
        "ETCD_CA_CERT_FILE": f"{directory}/ca.pem",
        "ETCD_CERT_FILE": f"{directory}/calico.pem",
        "ETCD_KEY_FILE": f"{directory}/calico-key.pem",
    }


def unpacked(version, directory):
    """The image's root directory, unpacked from the archive that the build makes."""
    archive = directory / "node.tar"
    tag = f"calico/node:{version}"
    programs.run([sys.executable, STANDINS / "node" / "build.py", archive, "--tag", tag])
    root = directory / "root"
    with tarfile.open(archive) as outer:
        (manifest,) = json.load(outer.extractfile("manifest.json"))
        assert manifest["RepoTags"] == [tag]
        assert json.load(outer.extractfile(manifest["Config"]))["config"]["Cmd"] == ["start_runit"]
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(name)) as layer:
                layer.extractall(root)
    return root


class Node:
    """A calico/node on a host of the fabric, with its workload."""

    def __init__(self, number, host, version, image, server, certificates, directory):
        self.name, self.host, self.version = f"node{number}", host, version
        self.workload = f"{host.name}w"
        self.image, self._server, self._certificates = image, server, certificates
        self._directory = directory
        self.run_directory = directory / "run" / self.name
        self._generation = 0
        self.container = None

    def start(self):
        self._generation += 1
        root = self._directory / f"{self.name}.{self._generation}"
        programs.run(["cp", "-al", self.image, root])
        environment = {
            "NODENAME": self.name,
            "ETCD_ENDPOINTS": self._server.endpoint,
            **tls("/etc/calico/ssl"),
            "CALICO_NETWORKING_BACKEND": "bird",
            "CALICO_DISABLE_FILE_LOGGING": "true",
            "CALICO_IPV4POOL_CIDR": POOL,
            "CALICO_IPV4POOL_IPIP": "off",
            "FELIX_IPV6SUPPORT": "false",
            "FELIX_HEALTHENABLED": "true",
            "IP": "",
        }
        mounts = {"/etc/calico/ssl": self._certificates}
        for name in ("run", "lib"):
            (self._directory / name / self.name).mkdir(parents=True, exist_ok=True)
        mounts["/run/calico"] = self.run_directory
        mounts["/var/lib/calico"] = self._directory / "lib" / self.name
        self.container = Container(self.host, root, environment, mounts)

    def sessions(self, daemon="bird"):
        """{protocol: BGP state} as BIRD shows them."""
        socket = self.run_directory / f"{daemon}.ctl"
        done = programs.run(["birdc", "-s", socket, "show", "protocols"], check=False)
        rows = [line.split() for line in done.stdout.splitlines()]
        return {row[0]: row[5] for row in rows if len(row) > 5 and row[1] == "BGP"}

    def health(self, path="readiness"):
        """The status of the health port, or None where nothing answers."""
        done = self.host.run(sys.executable, "-c", _ASK, f"http://127.0.0.1:9099/{path}", check=False)
        return int(done.stdout) if done.stdout.strip() else None

    def attach(self, action):
        certificates = self._certificates
        done = self.host.run(
            sys.executable, ATTACH, action, self.workload, "--node", self.name, "--calico", self.version,
            "--etcd", self._server.endpoint, "--pool", POOL, "--ca", certificates / "ca.pem",
            "--cert", certificates / "calico.pem", "--key", certificates / "calico-key.pem",
        )  # fmt: skip
        return json.loads(done.stdout)


_ASK = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=60) as answer:
        print(answer.status if answer.read() == b"" else "a body")
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    pass
"""


@contextlib.contextmanager
def mesh_of(fabric, version, image, server, certificates, directory):
    """A node on each host of the fabric, all meshed; on the first two of them a workload."""
    made = [
        Node(number, host, version, image, server, certificates, directory)
        for number, host in enumerate(fabric.hosts, 1)
    ]
    try:
        for node in made:
            node.start()
        waiting.until(lambda: meshed(made), lambda: "\n".join(node.container.log for node in made))
        here, there = made[:2]
        for node in (here, there):
            node.attached = node.attach("add")
        waiting.until(
            lambda: (
                there.attached["block"] in here.host.routes()
                and here.attached["block"] in there.host.routes()
            ),
            "the route to the other host's block",
        )
        yield made
    finally:
        for node in made:
            ip("netns", "delete", node.workload, check=False)
            if node.container:
                node.container.kill()


def meshed(nodes):
    return all(list(node.sessions().values()) == ["Established"] * 2 for node in nodes)


def pinging(nodes, interval="0.01"):
    """Workload to workload over two hosts."""
    ping = ["ip", "netns", "exec", nodes[0].workload, "ping", "-n", "-i", interval]
    return pings.pinging([*ping, nodes[1].attached["address"]])
