"""
What happens to a fleet: each a context manager of the matrix (tests/integration/test_matrix.py).

Inside it the fault lasts; its end is what is done about it by hand in any case, such as starting etcd again.
One that passes by itself has no end.
"""

import contextlib
import shutil
import subprocess

from tests.integration import fleet as fleets
from tests.integration.slow import SlowProxy
from tests.lab import docker, network
from tests.support import pki, programs
from tests.support.waiting import until

SALT_CALL = ("salt-call", "--out=json", "state.apply", "calico")
CHANGED = {"env": {"CHANGED": "yes"}}
# Route refresh: BIRD sends something now, and not with its next keepalive.
TALK = r"""
import socket
with socket.socket(socket.AF_UNIX) as bird:
    bird.connect("/var/run/calico/bird.ctl")
    bird.recv(4096)
    bird.sendall(b"reload in all\n")
    bird.recv(4096)
"""


def passing(function):
    """A fault that is over by itself."""

    @contextlib.contextmanager
    def fault(matrix):
        function(matrix)
        yield

    return fault


# --- what runs on a host -----------------------------------------------------------------------------


bird_killed = passing(lambda matrix: matrix.host.exec("pkill -KILL -x bird"))
bird_ended = passing(lambda matrix: matrix.host.exec("pkill -TERM -x bird"))
container_killed = passing(lambda matrix: matrix.host.exec("docker kill calico-node"))
docker_restarted = passing(lambda matrix: matrix.host.exec("systemctl restart docker"))
docker_stopped = passing(
    lambda matrix: matrix.host.exec("systemctl stop docker.socket docker; systemctl start docker")
)


@contextlib.contextmanager
def _frozen(host, pattern):
    host.exec(["pkill", "-STOP", "-f", pattern])
    try:
        yield
    finally:
        host.exec(["pkill", "-CONT", "-f", pattern])


@contextlib.contextmanager
def bird_frozen(matrix):
    with _frozen(matrix.host, "^bird -R"):
        yield


@contextlib.contextmanager
def felix_frozen(matrix):
    with _frozen(matrix.host, f"^{matrix.generation.felix}"):
        yield


@passing
def rebooted(matrix):
    matrix.blind(matrix.host)
    matrix.host.restart()
    matrix.lab.master.wait_for([matrix.host.name])
    matrix.watch(matrix.host)


# --- etcd --------------------------------------------------------------------------------------------


def _no_empty_answer(matrix, words):
    for function in ("pools", "expected_peers"):
        said, code = matrix.fleet.ask(matrix.host, function)
        assert code and words in said
    # What cannot be known is no reason for a restart.
    assert matrix.fleet.ask(matrix.host, "drift") == ({}, 0)


@contextlib.contextmanager
def etcd_down(matrix):
    matrix.lab.etcd.stop()
    try:
        _no_empty_answer(matrix, "refused")
        yield
    finally:
        matrix.lab.etcd.start()


@contextlib.contextmanager
def etcd_frozen(matrix):
    matrix.lab.etcd.freeze()
    try:
        _no_empty_answer(matrix, "3 s")
        yield
    finally:
        matrix.lab.etcd.thaw()


@contextlib.contextmanager
def etcd_slow(matrix):
    """The same etcd, moved to another port; where it was before, answers take two seconds."""
    etcd = matrix.lab.etcd
    port = network.free_port(etcd.address, etcd.port + 1)
    etcd.stop()
    proxy = SlowProxy((etcd.address, etcd.port), (etcd.address, port))
    try:
        with proxy:
            etcd.start(f"--listen-client-urls=https://{etcd.address}:{port}")
            proxy.seconds = 2.0
            # Three seconds, as in the other rows, are too few for a handshake and an answer.
            matrix.pillar({"calicoctl": {"timeout": 30}})
            yield
    finally:
        etcd.stop()
        etcd.start()
        matrix.pillar()


@contextlib.contextmanager
def etcd_full(matrix):
    """As its alarm has it: it reads, and writes nothing; the run has something to write."""
    etcd = matrix.lab.etcd
    etcd.alarm("ACTIVATE")
    matrix.pillar({"network": {"felix": {"LogSeverityScreen": "warning"}}})
    try:
        yield
    finally:
        etcd.alarm("DEACTIVATE")
        matrix.fleet.converge()
        matrix.pillar()


@contextlib.contextmanager
def etcd_disk_full(matrix):
    """Its own disk: etcd ends with the first write, and does not start again before there is room."""
    etcd = matrix.lab.etcd
    with _small_disk(etcd) as disk:
        fill = disk / "fill"
        with contextlib.suppress(OSError), fill.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 20)):
                pass
        try:
            # Whoever writes first, this or calico-node.
            until(lambda: _write(matrix) and not etcd.pid, "an etcd that ends")
            _no_empty_answer(matrix, "refused")
            yield
        finally:
            fill.unlink()
            etcd.start()
            matrix.generation.client.delete("/full")


def _write(matrix):
    """Write so much that it finds no place in what etcd has allocated already; it may fail."""
    with contextlib.suppress(Exception):
        matrix.generation.client.put("/full", "x" * 100000)
    return True


@contextlib.contextmanager
def _small_disk(etcd):
    """A file system of its own for what etcd has, and back; holes stay holes, which take no room."""
    data, kept = etcd.directory / "data", etcd.directory / "kept"
    etcd.stop()
    data.rename(kept)
    data.mkdir()
    programs.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", data])
    try:
        programs.run(["cp", "-a", "--sparse=always", f"{kept}/.", data])
        etcd.start()
        yield data
        etcd.stop()
        shutil.rmtree(kept)
        shutil.copytree(data, kept)
    finally:
        etcd.stop()
        programs.run(["umount", data])
        data.rmdir()
        kept.rename(data)
        etcd.start()


@contextlib.contextmanager
def etcd_empty(matrix):
    etcd = matrix.lab.etcd
    etcd.stop()
    shutil.rmtree(etcd.directory / "data")
    etcd.start()
    yield


# --- certificates ------------------------------------------------------------------------------------


def _foreign(matrix):
    """A client certificate of a CA that etcd does not know."""
    pki.issue_ca(matrix.lab.etcd.pki, "foreign-ca")
    return matrix.fleet.certificates("foreign", ca="foreign-ca")


@contextlib.contextmanager
def certificates_on_disk(matrix):
    given = _foreign(matrix)["etcd"]["tls"]
    matrix.host.write("/etc/calico/ssl/calico.pem", given["cert"])
    matrix.host.write("/etc/calico/ssl/calico-key.pem", given["key"])
    yield


@contextlib.contextmanager
def certificates_in_pillar(matrix):
    matrix.pillar(_foreign(matrix))
    try:
        said, code = matrix.fleet.ask(matrix.host, "ready")
        assert code and "certificate" in said
        yield
    finally:
        matrix.pillar()


# --- the network between hosts -----------------------------------------------------------------------


@contextlib.contextmanager
def cut(matrix):
    """A packet filter refuses BGP in both directions; BIRD hears of it with the next thing it sends."""
    pairs = ((matrix.host, matrix.other), (matrix.other, matrix.host))
    rules = [
        (host, f"OUTPUT -p tcp -d {to.address} --{port} 179 -j REJECT --reject-with tcp-reset")
        for host, to in pairs
        for port in ("sport", "dport")
    ]
    for host, rule in rules:
        host.exec(f"iptables -I {rule}")
    try:
        for host, _to in pairs:
            host.exec(["python3", "-c", TALK])
        yield
    finally:
        for host, rule in rules:
            host.exec(f"iptables -D {rule}")


def _move(matrix, old, new):
    """The host's address changes under whatever runs; Salt's minion is restarted, as it would be."""
    host = matrix.host
    length = host.exec("ip -4 -o addr show dev eth0").stdout.split()[3].partition("/")[2]
    gateway = host.exec("ip -4 route show default").stdout.split()[2]
    host.exec(f"ip addr del {old}/{length} dev eth0 && ip addr add {new}/{length} dev eth0")
    host.exec(f"ip route replace default via {gateway}")
    host.exec("systemctl restart salt-minion")
    matrix.lab.master.wait_for([host.name])


def _another(matrix):
    return matrix.host.address.rpartition(".")[0] + ".240"


@contextlib.contextmanager
def address_changed(matrix):
    """And then changed back."""
    _move(matrix, matrix.host.address, _another(matrix))
    try:
        yield
    finally:
        _move(matrix, _another(matrix), matrix.host.address)


@contextlib.contextmanager
def address_changed_for_good(matrix):
    """The pillar says what the refused run has advised: autodetect. When it changes again, a run will do."""
    host = matrix.host
    _move(matrix, host.address, _another(matrix))
    try:
        matrix.pillar(**{host.name: {"node": {"ip": "autodetect"}}})
        yield
        matrix.all_ready(matrix.now())
    finally:
        _move(matrix, _another(matrix), host.address)
        states = matrix.fleet.converge(host)[host.name]
        matrix.pillar()
    assert "registration" in states["calico-node's container is current"]["changes"]
    matrix.fleet.converge(host)


@contextlib.contextmanager
def address_taken(matrix):
    matrix.generation.add_node("squatter", matrix.host.address)
    try:
        yield
    finally:
        matrix.generation.remove_node("squatter")


# --- what lies in the datastore ----------------------------------------------------------------------


@contextlib.contextmanager
def node_deleted(matrix):
    matrix.generation.remove_node(matrix.host.name)
    yield


@contextlib.contextmanager
def pool_deleted(matrix):
    (pool,) = matrix.lab.pillar()["network"]["pools"]
    matrix.generation.remove_pool(pool["cidr"])
    yield


@contextlib.contextmanager
def dead_node(matrix):
    """A node that no host is, until it is said to be away."""
    matrix.generation.add_node("dead", matrix.host.address.rpartition(".")[0] + ".250")
    try:
        yield
        matrix.pillar({"ready": {"absent_nodes": ["dead"]}})
        for states in matrix.fleet.converge().values():
            assert states.changed == set()
    finally:
        matrix.generation.remove_node("dead")
        matrix.pillar()


# --- runs --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk_full(matrix):
    """A change of the environment meets a file system without room."""
    host = matrix.host
    matrix.pillar(CHANGED)
    copy = "cp -a /etc/calico /run/kept && mount -t tmpfs -o size=64k tmpfs /etc/calico"
    host.exec(f"{copy} && cp -a /run/kept/. /etc/calico/ && dd if=/dev/zero of=/etc/calico/fill || true")
    try:
        yield
        before = fleets.container(host)
        host.exec("rm /etc/calico/fill")
        matrix.fleet.converge(host)
        assert fleets.container(host) != before
    finally:
        host.exec("umount /etc/calico; rm -rf /run/kept")
        matrix.pillar()
        matrix.fleet.converge(host)


@contextlib.contextmanager
def run_killed(matrix):
    """Between the files and the restart: only the container itself can tell."""
    host = matrix.host
    matrix.pillar(CHANGED)
    kill = (
        "until grep -q CHANGED /etc/calico/calico-node.env; do sleep 0.02; done; pkill -KILL -f '[s]alt-call'"
    )
    with _running(host) as first:
        host.exec(kill)
        first.wait(programs.PATIENCE)
    yield
    matrix.pillar()
    matrix.fleet.converge(host)


@contextlib.contextmanager
def two_runs(matrix):
    host = matrix.host
    matrix.pillar(CHANGED)
    with _running(host) as first:
        states = matrix.fleet.apply(host, queue=True)[host.name]
        first.wait(programs.PATIENCE)
    assert states.good, states.failures
    yield
    matrix.pillar()
    matrix.fleet.converge(host)


def _running(host):
    return subprocess.Popen(
        docker.command("exec", host.name, *SALT_CALL), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
