"""calico.check on real hosts: silent where all is well, and an error stops the run before any change."""

import pytest

from tests.integration import fleet as fleets
from tests.integration.test_faults import refused
from tests.support.waiting import until

LISTEN = "systemd-run --unit=squatter --collect python3 -c '{}'"
SERVER = (
    'import socket; s = socket.create_server(("0.0.0.0", 9099)); open("/run/squatting", "w"); '
    "[s.accept() for _ in iter(int, 1)]"
)


def test_nothing_is_found_where_calico_runs(fleet):
    for host in fleet.hosts:
        assert fleet.ask(host, "check") == ([], 0)
    fleet.harmed = False


def test_what_felix_would_end_for_stops_the_run(fleet, host):
    """Of these releases only Felix 2.6 looks at it."""
    host.exec("sysctl -w net.ipv4.conf.all.rp_filter=2")
    fleet.undo.callback(host.exec, "sysctl -w net.ipv4.conf.all.rp_filter=0")
    if fleet.lab.pillar()["version"].startswith("v3"):
        assert fleet.ask(host, "check") == ([], 0)
        fleet.harmed = False
    else:
        refused(fleet, host, "net.ipv4.conf.all.rp_filter: 2 (loose)", "IgnoreLooseRPF")


def test_a_mode_that_the_kernel_lacks_stops_the_run(fleet, host):
    features, _code = fleet.ask(host, "check")
    assert features == []
    fleet.pillar({"network": {"pools": [{"cidr": "172.20.0.0/16", "ipip": "always"}]}, "cni": {"mtu": 1400}})
    found, code = fleet.ask(host, "check")
    if not code:
        pytest.skip("this kernel has ipip")
    assert [item["what"] for item in found] == ["kernel"]
    refused(fleet, host, "no ipip, for pools with ipip: always")


def test_a_port_that_somebody_else_has(fleet, host):
    host.exec("systemctl stop calico-node")
    host.exec(LISTEN.format(SERVER))
    fleet.undo.callback(
        host.exec, "systemctl stop squatter; rm -f /run/squatting; systemctl start calico-node"
    )
    until(lambda: host.exec("test -e /run/squatting", check=False).returncode == 0, "the port is taken")
    found, code = fleet.ask(host, "check")
    assert code == 1
    assert [item["what"] for item in found] == ["port 9099"]
    assert "python3" in found[0]["seen"]


def test_packets_that_docker_drops(fleet, host):
    """Docker has nftables drop what is forwarded, and Felix of 2.6 accepts in legacy tables only."""
    if fleet.lab.pillar()["version"].startswith("v3"):
        pytest.skip("Felix of Calico 3 takes the tables that docker has")
    for option in ("-i", "-o"):
        host.exec(f"iptables-nft -w -D FORWARD {option} cali+ -m comment --comment calico-formula -j ACCEPT")
    for function in ("status", "ready"):
        found, code = fleet.ask(host, function)
        assert (found["ready"], code) == (False, 1)
        assert any("drops what workloads send or get" in reason for reason in found["reasons"])
    fleet.pillar({"forwarding": {"accept": False}})
    refused(fleet, host, "packet filter", "calico:forwarding:accept")
    fleet.pillar()
    assert "Packets of workloads are accepted" in fleet.converge(host)[host.name].changed
    # And they still are when docker has come back, and calico-node with it.
    for option in ("-i", "-o"):
        host.exec(f"iptables-nft -w -D FORWARD {option} cali+ -m comment --comment calico-formula -j ACCEPT")
    host.exec("systemctl restart docker", timeout=120)
    fleets.ready(fleet, host)
    assert host.exec("iptables-nft -S FORWARD").stdout.count(" cali+ ") == 2
