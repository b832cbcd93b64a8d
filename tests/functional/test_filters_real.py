"""Packet filters as the kernel itself tells them, whoever wrote them."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import programs

UTILS = Path(__file__).resolve().parents[2] / "_utils"
PROGRAMS = [f"{name}-{kind}" for name in ("iptables", "ip6tables") for kind in ("nft", "legacy")]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root"),
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="needs iptables of both kinds"),
]

LOOK = """\
import json, sys
sys.path.insert(0, sys.argv[1])
import calico_filters
filters = calico_filters.read()
shown = {
    calico_filters.shown(each): [
        list(calico_filters.outcome(each, packet))
        for packet in calico_filters.packets("cali", "eth0", network)
    ]
    for each in filters
    for network in ("172.20.0.0/16", "fd00::/64")
    if each.family in (0, 6 if ":" in network else 4)
}
print(json.dumps({"felix": calico_filters.shows(filters), "filters": shown}))
"""
# A table of nftables' own with a chain that drops what is forwarded, made without nft(8).
NATIVE = """\
import socket, struct
def attribute(number, payload):
    length = 4 + len(payload)
    return struct.pack("=HH", length, number) + payload + bytes(-length % 4)
def message(kind, flags, body, family=1, resource=0):
    head = struct.pack("=IHHII", 20 + len(body), kind, flags, 1, 0)
    return head + struct.pack(">BBH", family, 0, resource) + body
number = lambda value: struct.pack(">i", value)
hook = attribute(1, number(2)) + attribute(2, number(0))
table = attribute(1, b"filter\\0")
chain = attribute(1, b"filter\\0") + attribute(3, b"forward\\0") + attribute(4, hook)
chain += attribute(5, number(0)) + attribute(7, b"filter\\0")
batch = message(16, 1, b"", 0, 10) + message(10 << 8, 0x401, table) + message(10 << 8 | 3, 0x401, chain)
batch += message(17, 1, b"", 0, 10)
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
    netlink.bind((0, 0))
    netlink.send(batch)
"""


def look(*commands):
    """What is seen in a network namespace of its own after these commands."""
    lines = ["set -e", *commands, f"{sys.executable} -c '{LOOK}' {UTILS}"]
    return json.loads(programs.run(["unshare", "--net", "sh", "-c", "\n".join(lines)]).stdout)


def name(kind, family="ip"):
    return f"chain FORWARD of table {family} filter ({kind})"


KINDS = {"nft": "nftables, by iptables", "legacy": "iptables' legacy tables"}
DROPPED, PASSED = [["drop", False]] * 2, [["accept", False]] * 2
PERHAPS = [["drop", True]] * 2


def test_a_host_without_any_rule_has_no_filter():
    assert look() == {"felix": None, "filters": {}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rules", "met"),
    [
        ((), DROPPED),
        # As Docker makes them.
        (("-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",), DROPPED),
        (("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",), DROPPED),
        (("-A FORWARD -m state --state ESTABLISHED -j ACCEPT",), DROPPED),
        (("-A FORWARD -m conntrack ! --ctstate INVALID -j ACCEPT",), PASSED),
        (("-A FORWARD -i docker0 ! -o docker0 -j ACCEPT",), DROPPED),
        (("-N DU", "-A DU -j RETURN", "-A FORWARD -j DU"), DROPPED),
        # What lets workloads' packets pass.
        (("-A FORWARD -i cali+ -j ACCEPT", "-A FORWARD -o cali+ -j ACCEPT"), PASSED),
        (("-A FORWARD -i cali+ -j ACCEPT",), [["accept", False], ["drop", False]]),
        (("-N DU", "-A DU -m comment --comment all -j ACCEPT", "-I FORWARD -g DU"), PASSED),
        (("-A FORWARD ! -i docker0 -j ACCEPT",), PASSED),
        (("-A FORWARD -m limit --limit 5/s -j LOG", "-A FORWARD -j ACCEPT"), PASSED),
        (("-A FORWARD -j REJECT", "-A FORWARD -j ACCEPT"), DROPPED),
        # What cannot be told.
        (("-A FORWARD -p tcp -j ACCEPT",), PERHAPS),
        (("-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT",), PERHAPS),
    ],
)
def test_rules_of_iptables(kind, rules, met):
    commands = [f"iptables-{kind} -w {rule}" for rule in ("-P FORWARD DROP", *rules)]
    assert look(*commands)["filters"] == {name(KINDS[kind]): met}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ("-s 172.20.0.0/16 -d 172.20.0.0/16", PASSED),
        ("-s 172.16.0.0/12", PASSED),
        ("! -s 10.0.0.0/8", PASSED),
        ("-s 10.0.0.0/8", DROPPED),
        ("-s 172.20.0.0/30", DROPPED),
    ],
)
def test_addresses(kind, rule, met):
    found = look(f"iptables-{kind} -P FORWARD DROP", f"iptables-{kind} -A FORWARD {rule} -j ACCEPT")
    assert found["filters"] == {name(KINDS[kind]): met}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rules", "met"),
    [
        ((), DROPPED),
        (("-s fd00::/64",), PASSED),
        (("-d fd01::/64",), DROPPED),
        (("-i cali+", "-o cali+"), PASSED),
    ],
)
def test_rules_for_ipv6(kind, rules, met):
    commands = [f"ip6tables-{kind} -A FORWARD {rule} -j ACCEPT" for rule in rules]
    found = look(f"ip6tables-{kind} -P FORWARD DROP", *commands)["filters"]
    assert found[name(KINDS[kind], "ip6")] == met


@pytest.mark.parametrize("kind", KINDS)
def test_where_felix_chains_are_in_use(kind):
    chains = ("-N cali-FORWARD", "-I FORWARD -j cali-FORWARD")
    other = "nft" if kind == "legacy" else "legacy"
    found = look(f"iptables-{other} -P FORWARD DROP", *(f"iptables-{kind} {rule}" for rule in chains))
    assert found["felix"] == kind
    assert found["filters"] == {name(KINDS[other]): DROPPED, name(KINDS[kind]): PASSED}


def test_a_firewall_of_nftables_own():
    found = look(f"{sys.executable} -c '{NATIVE}'")["filters"]
    assert found == {"chain forward of table inet filter (nftables)": DROPPED}
