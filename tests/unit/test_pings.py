"""The one way to ping: what is lost, and what was only under way when ping was ended."""

import subprocess

import pytest

from tests.support.pings import Pings, pinging

ANSWER = "64 bytes from 10.0.0.2: icmp_seq={} ttl=62 time=0.05 ms"
REFUSED = "From 10.0.0.1 icmp_seq={} Destination Host Unreachable"


@pytest.mark.parametrize(
    ("line", "numbers", "expected"),
    [
        (ANSWER, [1, 2, 3], (3, [])),
        (ANSWER, [2, 3], (3, [1])),
        (ANSWER, [1, 4], (4, [2, 3])),
        (ANSWER, [], (0, [])),
        # The kernel's own complaints bear the packet's number, too.
        (REFUSED, [1, 2], (0, [])),
    ],
)
def test_what_is_missing_before_the_last_answer_is_lost(line, numbers, expected):
    pings = Pings()
    head = "PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data."
    pings.read([head, *(line.format(number) for number in numbers)])
    pings.count()
    assert (pings.sent, pings.lost) == expected


def ping(*numbers, last="exec sleep 600"):
    """A program that prints the answers of these numbers, some each second, and then does LAST."""
    script = """
        [ "$1" = -c ] && exit  # the way is looked for
        trap "echo '9 packets transmitted'; exit" TERM
        for n in %s; do printf '64 bytes from x: icmp_seq=%%s ttl=62\\n' $n; sleep 0.01; done
        %s
    """
    return ["sh", "-c", script % (" ".join(map(str, numbers)), last), "sh"]


def pinging_so(command, **options):
    """A shell cannot trap SIGINT where it was started with it ignored; ping itself can."""
    return pinging(command, end=subprocess.Popen.terminate, **options)


def test_a_gap_is_found():
    with pinging_so(ping(*range(1, 40), *range(42, 5000))) as pings:
        pings.wait_for_more(60)
    assert pings.lost == [40, 41]


def test_what_a_path_that_need_not_heal_lost_is_told_by_ping_itself():
    with pinging_so(ping(1, 2, 4, last="while :; do sleep 0.1; done"), heals=False) as pings:
        pass
    assert (pings.sent, pings.lost) == (9, [3, 5, 6, 7, 8, 9])


@pytest.mark.parametrize(("numbers", "when"), [((1, 2), "before anything"), ((1, 2, 3), "after all")])
def test_a_ping_that_ends_by_itself_is_told_at_once(numbers, when):
    endless = pinging_so(ping(*numbers, last="exit 1"))
    with pytest.raises(AssertionError, match=f"ping has ended {when} was done"), endless:
        pass


def test_a_path_that_never_was_is_told():
    with (
        pytest.raises(AssertionError, match="not within 0 s: an answer before anything was done"),
        pinging(["false"], timeout=0),
    ):
        pass


def test_a_path_that_stays_broken_is_told():
    with pytest.raises(AssertionError, match=r"no answer within 0\.1 s at last"):
        Pings().wait_for_answers(1, 0.1, "at last")
