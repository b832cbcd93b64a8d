"""The one way to ping: what is lost, and what was only under way when ping was ended."""

import pytest

from tests.support.pings import FIRST, Pings, pinging

IPUTILS = "64 bytes from 10.0.0.2: icmp_seq={} ttl=62 time=0.05 ms"
BUSYBOX = "64 bytes from 10.0.0.2: seq={} ttl=62 time=0.050 ms"


def said(line, numbers):
    return ["PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.", *(line.format(number) for number in numbers)]


def counted(line, numbers, flavour):
    pings = Pings(FIRST[flavour])
    pings.read(said(line, numbers))
    pings.count()
    return pings.sent, pings.lost


@pytest.mark.parametrize(
    ("line", "flavour", "numbers", "expected"),
    [
        (IPUTILS, "iputils", [1, 2, 3], (3, [])),
        (IPUTILS, "iputils", [2, 3], (3, [1])),
        (IPUTILS, "iputils", [1, 4], (4, [2, 3])),
        (BUSYBOX, "busybox", [0, 1, 2], (3, [])),
        (BUSYBOX, "busybox", [1, 3], (4, [0, 2])),
    ],
)
def test_what_is_missing_before_the_last_answer_is_lost(line, flavour, numbers, expected):
    assert counted(line, numbers, flavour) == expected


def test_no_answer_counts_none():
    assert counted(IPUTILS, [], "iputils") == (0, [])


def test_what_no_packet_said_is_no_answer():
    """The kernel's own complaints bear the packet's number, too."""
    refused = "From 10.0.0.1 icmp_seq={} Destination Host Unreachable"
    assert counted(refused, [1, 2], "iputils") == (0, [])


def ping(*numbers, last="exec sleep 600"):
    """A program that prints the answers of these numbers, a few each second, and then says no more."""
    script = "for n in %s; do printf '64 bytes from x: icmp_seq=%%s ttl=62\\n' $n; sleep 0.01; done; %s"
    return ["sh", "-c", script % (" ".join(map(str, numbers)), last)]


def test_a_gap_within_is_found_and_one_at_the_begin_is_not():
    with pinging(ping(*range(5, 40), *range(42, 5000))) as pings:
        pings.wait_for_answers(60, 60, "over the gap")
    assert pings.lost == [40, 41]


@pytest.mark.parametrize(("numbers", "when"), [((1, 2), "before anything"), ((1, 2, 3), "after all")])
def test_a_ping_that_ends_by_itself_is_told_at_once(numbers, when):
    endless = pinging(ping(*numbers, last="exit 1"))
    with pytest.raises(AssertionError, match=f"ping has ended {when} was done"), endless:
        pass


def test_a_path_that_stays_broken_is_told():
    with pytest.raises(AssertionError, match=r"no answer within 0\.1 s at last"):
        Pings(FIRST["iputils"]).wait_for_answers(1, 0.1, "at last")
