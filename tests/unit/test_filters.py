"""What other packet filters do to workloads' packets, judged on rules as they are read."""

import calico_filters
import pytest
from calico_filters import (
    ACCEPT,
    DROP,
    GOTO,
    JUMP,
    LEGACY,
    NATIVE,
    NFT,
    RETURN,
    UNKNOWN,
    Condition,
    Filter,
    Rule,
)

POOL = "172.20.0.0/16"
OUT, BACK = calico_filters.packets("cali", "eth0", POOL)


def interface(field, name, how="eq"):
    """`-i NAME` or `-o NAME`; with a + all that begin so."""
    value = name.rstrip("+").encode() if name.endswith("+") else name.encode() + b"\0"
    return Condition(field, 0, b"\xff" * len(value), value, how)


def state(bits):
    return Condition("state", 0, bytes([bits, 0, 0, 0]), b"\0" * 4, "ne")


def rule(verdict, *conditions, target=None):
    return Rule(list(conditions), verdict, target)


def filters(*rules, policy=DROP, backend=NFT, family=4, table="filter", chain="FORWARD", **chains):
    chains = {name.replace("_", "-"): items for name, items in chains.items()}
    return Filter(backend, family, table, chain, policy, {chain: list(rules), **chains})


# As Docker leaves it: its own jumps, and what it accepts of its own networks.
DOCKER = (
    rule(JUMP, target="DOCKER-USER"),
    rule(ACCEPT, interface("out", "docker0"), state(6)),
    rule(JUMP, interface("out", "docker0"), target="DOCKER"),
    rule(ACCEPT, interface("in", "docker0"), interface("out", "docker0", "ne")),
)
USER = {"DOCKER_USER": [rule(RETURN)], "DOCKER": []}
CALI = [rule(ACCEPT, interface(field, "cali+")) for field in ("in", "out")]
FELIX = rule(JUMP, target="cali-FORWARD")


def test_dockers_policy_drops_it_and_felix_in_legacy_tables_cannot_help():
    (found,) = calico_filters.dropping([filters(*DOCKER, **USER)], LEGACY, [OUT, BACK])
    assert found[1] is True
    assert calico_filters.drop(found[0], LEGACY) == (
        "chain FORWARD of table ip filter (nftables, by iptables) drops what workloads send or get, and "
        "Felix accepts it in iptables' legacy tables only"
    )


def test_where_felix_itself_writes_it_decides():
    assert calico_filters.dropping([filters(*DOCKER, **USER)], NFT, [OUT, BACK]) == []


@pytest.mark.parametrize("felix", [LEGACY, NFT, NATIVE, None])
def test_the_formulas_rules_and_a_policy_to_accept(felix):
    assert calico_filters.dropping([filters(*CALI, *DOCKER, **USER)], felix, [OUT, BACK]) == []
    assert calico_filters.dropping([filters(*DOCKER, policy=ACCEPT, **USER)], felix, [OUT, BACK]) == []


def test_one_direction_is_not_enough():
    for one in CALI:
        (found,) = calico_filters.dropping([filters(one)], LEGACY, [OUT, BACK])
        assert found[1] is True


@pytest.mark.parametrize(
    ("rules", "chains", "policy", "expected"),
    [
        ((rule(DROP),), {}, ACCEPT, True),
        ((rule(JUMP, target="A"),), {"A": [rule(GOTO, target="B")], "B": [rule(DROP)]}, ACCEPT, True),
        # What B leaves undecided goes back behind the jump, and to the policy.
        ((rule(JUMP, target="A"),), {"A": [rule(GOTO, target="B"), rule(DROP)], "B": []}, ACCEPT, None),
        ((rule(ACCEPT, state(6)),), {}, DROP, True),
        ((rule(ACCEPT, state(8)),), {}, DROP, None),
        ((rule(RETURN), rule(ACCEPT)), {}, DROP, True),
        ((rule(None), rule(DROP)), {}, ACCEPT, True),
        # Only part of it, or something that cannot be read.
        ((rule(ACCEPT, None),), {}, DROP, False),
        ((rule(UNKNOWN),), {}, DROP, False),
        ((rule(JUMP, None, target="A"),), {"A": [rule(ACCEPT)]}, DROP, False),
        ((rule(DROP, None),), {}, ACCEPT, None),
        ((rule(JUMP, None, target="A"),), {"A": [rule(DROP)]}, ACCEPT, None),
        # Rules that go round.
        ((rule(JUMP, target="A"),), {"A": [rule(JUMP, target="A")]}, DROP, True),
    ],
)
def test_the_way_through_the_rules(rules, chains, policy, expected):
    """True: surely dropped; False: perhaps; None: it passes."""
    found = calico_filters.dropping([filters(*rules, policy=policy, **chains)], LEGACY, [OUT])
    assert (found[0][1] if found else None) is expected


def source(mask, value, how="eq"):
    return Condition("source", 0, mask, value, how)


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        (source(b"\xff\xff\0\0", b"\xac\x14\0\0"), ACCEPT),
        (source(b"\xff\xff", b"\xac\x14"), ACCEPT),
        (source(b"\xff\xff\0\0", b"\x0a\0\0\0"), DROP),
        (source(b"\xff\xff\0\0", b"\x0a\0\0\0", "ne"), ACCEPT),
        (Condition("protocol", 0, b"\xff", b"\x02", "eq"), ACCEPT),
        (Condition("protocol", 0, b"\xff", b"\x0a", "eq"), DROP),
        (interface("out", "eth0"), ACCEPT),
        (interface("out", "eth1"), DROP),
        (interface("out", "eth01"), DROP),
        (interface("out", "cali+", "ne"), ACCEPT),
        (interface("in", "ca+"), ACCEPT),
    ],
)
def test_what_a_rule_asks_of_a_packet(condition, verdict):
    assert calico_filters.outcome(filters(rule(ACCEPT, condition)), OUT)[0] == verdict


def test_a_family_that_no_pool_has_is_not_judged():
    assert calico_filters.dropping([filters(family=6)], LEGACY, [OUT, BACK]) == []
    six = calico_filters.packets("cali", "eth0", "fd00::/64")
    assert len(calico_filters.dropping([filters(family=6)], LEGACY, six)) == 1
    assert len(calico_filters.dropping([filters(family=0, backend=NATIVE)], LEGACY, six)) == 1


def test_what_felix_itself_returns_may_be_dropped_behind_it():
    own = filters(FELIX, backend=LEGACY)
    assert calico_filters.dropping([own], LEGACY, [OUT]) == []
    ((found, sure),) = calico_filters.dropping([own], LEGACY, [OUT], returning=True)
    assert sure and calico_filters.drop(found, LEGACY).endswith("whatever Felix accepts")
    assert calico_filters.dropping([filters(FELIX, *CALI, backend=LEGACY)], LEGACY, [OUT, BACK], True) == []


def test_a_firewall_of_nftables_own_drops_it_whoever_felix_writes_to():
    fire = filters(backend=NATIVE, table="firewalld", chain="filter_FORWARD", family=0)
    for felix in (LEGACY, NFT, NATIVE, None):
        ((found, sure),) = calico_filters.dropping([fire], felix, [OUT])
        assert sure and not calico_filters.is_ours(found, felix)
    own = filters(backend=NATIVE, table="calico", chain="filter-FORWARD")
    assert calico_filters.dropping([own], NATIVE, [OUT]) == []


def test_where_felix_writes_is_known_or_seen():
    def writes(major, minor, **felix):
        return calico_filters.writes(major, minor, felix.get)

    assert writes(2, 6) == writes(3, 7) == LEGACY
    assert writes(3, 22) is writes(3, 22, IptablesBackend="Auto") is None
    assert writes(3, 22, IptablesBackend="NFT") == NFT
    assert writes(3, 32, IptablesBackend="legacy") == LEGACY
    assert writes(3, 29, NFTablesMode="Enabled") == NATIVE
    here, there = filters(FELIX, backend=LEGACY), filters(*DOCKER, **USER)
    assert calico_filters.shows([here, there]) == LEGACY
    # Also of an earlier release: then it is not known which of them are in use.
    assert calico_filters.shows([here, filters(FELIX)]) is None
    assert calico_filters.shows([there]) is None


def test_where_the_formula_may_write():
    ours = filters(*DOCKER, **USER)
    assert calico_filters.is_ours(ours, LEGACY)
    assert not calico_filters.is_ours(ours, NFT)
    assert not calico_filters.is_ours(ours, None)
    assert not calico_filters.is_ours(ours._replace(table="mangle"), LEGACY)
    assert not calico_filters.is_ours(ours._replace(chain="forward"), LEGACY)


@pytest.mark.parametrize(
    ("installed", "legacy", "nft"),
    [
        (("iptables", "iptables-legacy", "iptables-nft"), "iptables-legacy", "iptables-nft"),
        # Before there were two; and where only the newer one is.
        (("iptables",), "iptables", None),
        (("iptables", "iptables-nft"), None, "iptables-nft"),
        ((), None, None),
    ],
)
def test_the_program_that_writes_there(installed, legacy, nft):
    there = {"/usr/sbin/" + name for name in installed}
    for backend, name in ((LEGACY, legacy), (NFT, nft)):
        assert calico_filters.program(backend, 4, there.__contains__) == (name and "/usr/sbin/" + name)
        assert calico_filters.program(backend, 6, there.__contains__) is None


def test_what_the_unit_does_before_each_start():
    words = "FORWARD -i cali+ -m comment --comment calico-formula -j ACCEPT"
    found = calico_filters.commands(LEGACY, [4], ["cali"], lambda backend, family: "/sbin/" + backend)
    assert found[0] == "{ /sbin/nft -w -C %s 2>/dev/null || /sbin/nft -w -I %s; }" % (words, words)
    assert len(found) == 2 and "-o cali+" in found[1]
    # Tables that nobody has are not made by asking for them.
    (first, _second) = calico_filters.commands(NFT, [6], ["cali"], lambda backend, family: "/sbin/x")
    assert first.startswith("grep -qsx filter /proc/net/ip6_tables_names && { /sbin/x -w -C FORWARD -i")
    # Perhaps Felix' own: never before its rules.
    both = calico_filters.commands(None, [4], ["cali"], lambda backend, family: "/sbin/x")
    assert len(both) == 4 and all(" -w -A FORWARD " in each and " -I " not in each for each in both)
    assert calico_filters.commands(LEGACY, [4, 6], ["cali"], lambda backend, family: None) == []


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, ["cali"]),
        ("cali,tap", ["cali", "tap"]),
        (" veth , cali ", ["veth", "cali"]),
        # Nothing of it may be more than a word to a shell or to systemd.
        ("$(x),a'b,%n,-j,cali", ["cali"]),
    ],
)
def test_the_interfaces_of_workloads(given, names):
    assert calico_filters.prefixes(given) == names


def test_a_host_without_a_default_route(tmp_path):
    assert calico_filters.outward(str(tmp_path)) == "eth0"
    (tmp_path / "proc/net").mkdir(parents=True)
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eth9\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\n"
        "bond0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n"
    )
    (tmp_path / "proc/net/route").write_text(table)
    assert calico_filters.outward(str(tmp_path)) == "bond0"
