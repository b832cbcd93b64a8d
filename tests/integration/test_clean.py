"""calico.clean takes back what the formula made, and nothing else."""

from tests.integration import fleet as fleets
from tests.lab import workloads

# What libnetwork of 2.6 leaves, and nobody listens at.
PLUGINS = ("/run/docker/plugins/calico.sock", "/run/docker/plugins/calico-ipam.sock")
OURS = (
    "/etc/systemd/system/calico-node.service",
    "/etc/calico",
    "/usr/local/bin/calicoctl",
    "/run/calico/bird.ctl",
    *PLUGINS,
)
LEAVE_SOCKETS = """
import os, socket, sys
for path in sys.argv[1:]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path):
        socket.socket(socket.AF_UNIX).bind(path)
"""


def test_what_was_made_is_gone_and_the_rest_is_there(fleet, host):
    foreign = "/etc/cni/net.d/99-loopback.conf"
    host.write(foreign, "{}\n")
    host.exec("iptables -N LAB-FOREIGN && iptables -A LAB-FOREIGN -j RETURN")
    fleet.undo.callback(host.exec, f"rm -f {foreign}; iptables -F LAB-FOREIGN; iptables -X LAB-FOREIGN")
    rules = host.exec("iptables-save | grep -v '^[#:]'").stdout
    keys = fleet.datastore()
    host.exec(["python3", "-c", LEAVE_SOCKETS, *PLUGINS])
    with fleet.untouched(host):
        assert not fleet.apply(host, sls="calico.clean", test=True)[host.name].failures

    fleet.converge(host, sls="calico.clean")
    left = host.exec(["ls", "-d", fleet.generation.cni, *OURS], check=False).stdout
    assert left == ""
    assert fleets.container(host) == ""
    assert "calico" not in host.exec("systemctl list-units --all --no-legend 'calico*'").stdout
    assert host.read(foreign) == "{}\n"
    assert host.exec("iptables-save | grep -v '^[#:]'").stdout == rules
    assert fleet.datastore() == keys

    with fleet.untouched(host):
        assert fleet.converge(host, sls="calico.clean")[host.name].changed == set()
    fleet.converge(host)
    fleets.ready(fleet)


def test_the_node_leaves_the_datastore_only_when_asked_and_without_workloads(fleet, host):
    fleet.pillar({"clean": {"datastore": True}})
    with fleet.untouched(host):
        refused = fleet.apply(host, sls="calico.clean")[host.name]
    assert refused.retcode
    assert "w1" in refused.failures
    assert host.name in fleet.generation.nodes()

    for name in ("w1", "w2"):
        workloads.detach(fleet.lab, host, name)
    fleet.converge(host, sls="calico.clean")
    assert host.name not in fleet.generation.nodes()
    with fleet.untouched(host):
        assert fleet.converge(host, sls="calico.clean")[host.name].changed == set()


def test_a_dead_cluster_can_be_cleaned(fleet, host):
    """etcd is gone, the certificate has expired, docker is stopped; the second run changes nothing."""
    fleet.pillar(fleet.certificates("expired", days=-1, begins=-3))
    fleet.undo.callback(fleet.lab.etcd.start)
    fleet.lab.etcd.stop()
    fleet.undo.callback(host.exec, "systemctl start docker", timeout=120)
    host.exec("systemctl stop docker.socket docker", timeout=120)
    fleet.converge(host, sls="calico.clean")
    assert host.exec(["ls", "-d", fleet.generation.cni, *OURS], check=False).stdout == ""
    with fleet.untouched(host, datastore=False):
        assert fleet.converge(host, sls="calico.clean")[host.name].changed == set()
