"""An `ip` that knows no -json tells the same."""

import json

import calico_hold
import calico_host
import calico_probe
import pytest

# What iproute2 6.1 printed of one network namespace with and without -json, lines of statistics apart.
LINKS = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0  allmulti 0 numtxqueues 1
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
3: eth0@ethx: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default qlen 1000
    link/ether 92:08:0e:e0:e2:71 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535
    veth numtxqueues 2 numrxqueues 2
    alias hello world
    altname enp0s3
    inet 10.0.0.5/24 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fd00::5/64 scope global nodad
       valid_lft forever preferred_lft forever
5: cali1@if9: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default qlen 1000
    link/ether ae:66:92:47:35:9b brd ff:ff:ff:ff:ff:ff link-netnsid 0 promiscuity 0
    veth
    bridge_slave state disabled priority 32 cost 2
    inet 10.1.1.1 peer 10.1.1.2/32 scope global cali1
       valid_lft forever preferred_lft forever
8: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1440 qdisc noqueue state UNKNOWN group default qlen 1
    link/ipip 0.0.0.0 brd 0.0.0.0 promiscuity 0
    ipip remote any local any ttl inherit nopmtudisc
    inet 172.20.1.1/32 scope global tunl0
       valid_lft forever preferred_lft forever
9: eth7: <BROADCAST,MULTICAST> mtu 9000 qdisc noop state DOWN qlen 1000
    link/ether 3a:de:4f:14:f2:de brd ff:ff:ff:ff:ff:ff
"""
ROUTES = """\
default via 10.0.0.1 dev eth0 metric 100 mtu 1400
10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.5
unreachable 10.9.0.0/16 metric 99
172.18.0.0/16 dev br-1 proto kernel scope link src 172.18.0.1 linkdown
blackhole 172.20.1.0/26 proto bird
172.20.1.3 dev cali1 scope link
172.20.2.0/26 via 10.0.0.7 dev eth0 proto bird onlink
172.20.3.0/26 proto bird
\tnexthop via 10.0.0.8 dev eth0 weight 1
\tnexthop via 10.0.0.9 dev eth0 weight 2
172.20.4.0/26 via inet6 fd00::9 dev eth0 proto 12
"""
ROUTES_AS_JSON = json.dumps(
    [
        {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "metric": 100, "flags": []},
        {"dst": "10.0.0.0/24", "dev": "eth0", "protocol": "kernel", "scope": "link", "flags": []},
        {"type": "unreachable", "dst": "10.9.0.0/16", "metric": 99, "flags": []},
        {"dst": "172.18.0.0/16", "dev": "br-1", "protocol": "kernel", "flags": ["linkdown"]},
        {"type": "blackhole", "dst": "172.20.1.0/26", "protocol": "bird", "flags": []},
        {"dst": "172.20.1.3", "dev": "cali1", "scope": "link", "flags": []},
        {
            **{"dst": "172.20.2.0/26", "gateway": "10.0.0.7", "dev": "eth0"},
            **{"protocol": "bird", "flags": ["onlink"]},
        },
        {
            **{"dst": "172.20.3.0/26", "protocol": "bird", "flags": []},
            "nexthops": [
                {"gateway": "10.0.0.8", "dev": "eth0", "weight": 1, "flags": []},
                {"gateway": "10.0.0.9", "dev": "eth0", "weight": 2, "flags": []},
            ],
        },
        {
            **{"dst": "172.20.4.0/26", "via": {"family": "inet6", "host": "fd00::9"}},
            **{"dev": "eth0", "protocol": "12", "flags": []},
        },
    ]
)


def test_interfaces_without_json():
    found = calico_probe.parse_links(LINKS)
    assert [(link["name"], link["mtu"]) for link in found] == [
        *(("lo", 65536), ("eth0", 1500), ("cali1", 1500), ("tunl0", 1440), ("eth7", 9000)),
    ]
    assert found[1]["addresses"] == [
        {"address": "10.0.0.5", "length": 24, "family": 4},
        {"address": "fd00::5", "length": 64, "family": 6},
    ]
    # The prefix of an address with a peer is the peer's.
    assert found[2]["addresses"] == [{"address": "10.1.1.1", "length": 32, "family": 4}]
    assert found[4]["addresses"] == []


def test_calicos_interfaces_without_json():
    assert calico_host.parse_interfaces(LINKS) == [
        {
            **{"name": "cali1", "kind": "veth", "state": "UP", "up": True, "mtu": 1500},
            **{"mac": "ae:66:92:47:35:9b", "addresses": ["10.1.1.1/32"]},
        },
        {
            **{"name": "tunl0", "kind": "ipip", "state": "UNKNOWN", "up": True, "mtu": 1440},
            **{"mac": None, "addresses": ["172.20.1.1/32"]},
        },
    ]


def test_routes_without_json():
    assert len(calico_host.parse_routes(ROUTES)) == 6
    for prefixes in (("cali",), ("cali", "eth"), ("",)):
        expected = calico_host.parse_routes(ROUTES_AS_JSON, prefixes=prefixes)
        assert calico_host.parse_routes(ROUTES, prefixes=prefixes) == expected
    assert calico_hold.additions(ROUTES) == calico_hold.additions(ROUTES_AS_JSON)
    held = "172.20.2.0/26 via 10.0.0.7 dev eth0 proto kernel metric %d onlink\n" % calico_hold.METRIC
    assert calico_hold.held(ROUTES + held) == 1


@pytest.mark.parametrize(
    "text", ["Usage: ip", "\tnexthop via 10.0.0.1", "  inet 10.0.0.1/8", "blackhole", "1: x"]
)
def test_what_ip_never_prints(text):
    for read in (calico_probe.parse_links, calico_host.parse_routes, calico_hold.additions):
        with pytest.raises(calico_host.HostError) as caught:
            read(text)
        assert caught.value.kind == "garbage"


OLD = """#!/bin/sh
case "$*" in *-json*) echo 'Option "-json" is unknown, try "ip -help".' >&2; exit 255;; esac
cat %s
"""


@pytest.mark.parametrize(("script", "text"), [(OLD, ROUTES), ("#!/bin/sh\ncat %s\n", ROUTES)])
def test_an_old_ip_is_asked_for_what_it_knows(tmp_path, monkeypatch, script, text):
    (tmp_path / "routes").write_text(text)
    program = tmp_path / "ip"
    program.write_text(script.replace("cat", "/bin/cat") % (tmp_path / "routes"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert calico_host.kernel_routes() == calico_host.parse_routes(ROUTES_AS_JSON)


def test_an_ip_that_fails_anyhow_says_why(tmp_path, monkeypatch):
    program = tmp_path / "ip"
    program.write_text("#!/bin/sh\necho 'Cannot open netlink socket' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(calico_host.HostError, match="Cannot open netlink socket"):
        calico_host.interfaces()
