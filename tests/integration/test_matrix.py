"""
The faults: what `calico.status`, `calico.ready` and `state.apply` say of each, and that the fleet converges.

`pytest tests/integration/test_matrix.py` (or `make matrix-faults`) makes each of them on the lab's hosts and
prints the figures as a table at its end.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.integration import faults
from tests.integration import fleet as fleets
from tests.integration.watching import Watcher
from tests.lab import settings
from tests.lab.pillar import merged
from tests.support.waiting import until

pytestmark = pytest.mark.matrix

# Seconds: until a fault is noticed, and until all is ready again.
NOTICED, AGAIN = 120, 180
# A session that BIRD knows to be down is named by `calico.ready` within so many seconds.
NAMED = 5
# What no expectation is written down for.
ANY = ""
RUNNING = "calico-node is running"
RESTART = frozenset({"calico-node's container is current", RUNNING})
NOTHING = frozenset()
GONE = "bird.ctl|no session"
STOPPED = "does not run"
LOST = "the datastore knows no node {node}, while calico-node runs on: .* registers the node again"
STRANGE = "registered with .*, which no interface has"


@dataclass(frozen=True)
class Row:
    """
    A fault, and what is said of it.

    name
        As the table has it.
    fault
        A context manager of a Matrix, see tests/integration/faults.py.
    status, ready
        What both must say of it (a regular expression), None where they must go on to say that all is
        well, ANY where they may say anything.
    refused
        What a run says while the fault lasts (a regular expression): it fails, and restarts nothing.
    mends
        What a run changes while the fault lasts (IDs): it succeeds, and one in test mode announced it.
    writes
        Whether a run that is refused may have written files before it met the fault.
    everywhere
        Whether that run is on all hosts at once.
    workloads
        Whether they have to be made anew: what the datastore had of them is gone.
    lost
        How many seconds long packets between workloads may be lost.
    on
        The two hosts between whose workloads they go.
    """

    name: str
    fault: Callable
    status: str | None = None
    ready: str | None = None
    refused: str | None = None
    mends: frozenset | None = None
    writes: bool = False
    everywhere: bool = False
    workloads: bool = False
    lost: float = 0
    on: tuple = (0, 1)


FOREVER = 1e9


def third():
    return settings.from_environment().calico_version.startswith("v3.")


ROWS = [
    Row("BIRD killed by SIGKILL", faults.bird_killed, GONE, GONE),
    # It takes its routes out of the kernel and bids its neighbours farewell.
    Row("BIRD killed by SIGTERM", faults.bird_ended, GONE, GONE, lost=15),
    Row("BIRD frozen", faults.bird_frozen, "bird.ctl", "bird.ctl", refused="bird.ctl"),
    Row(
        "Felix stopped", faults.felix_frozen, "Felix is not ready", "Felix is not ready", "Felix is not ready"
    ),
    Row("container killed", faults.container_killed, STOPPED, STOPPED),
    Row("Docker restarted", faults.docker_restarted, STOPPED, STOPPED),
    Row("Docker stopped and started", faults.docker_stopped, STOPPED, STOPPED),
    Row("host rebooted", faults.rebooted, ANY, "no session with {address}", workloads=True, on=(1, 2)),
    Row("etcd down", faults.etcd_down, None, "refused", refused="calico:etcd:endpoints: .*refused"),
    Row("etcd frozen", faults.etcd_frozen, None, "3 s", refused="calico:etcd:endpoints: .*3 s"),
    Row("etcd slow (2 s an answer)", faults.etcd_slow, None, ANY, mends=NOTHING),
    # Its alarm does not touch the v2 API of etcd; a disk that is full does.
    Row("etcd full", faults.etcd_full, refused="database space exceeded")
    if third()
    else Row("etcd full", faults.etcd_disk_full, None, "refused", refused="calico:etcd:endpoints: .*refused"),
    Row(
        "etcd restored from an empty disk",
        faults.etcd_empty,
        ANY,
        LOST,
        mends=RESTART,
        everywhere=True,
        workloads=True,
        lost=FOREVER,
    ),
    Row(
        "certificates replaced on the host",
        faults.certificates_on_disk,
        mends=frozenset({"etcd's cert is installed", "etcd's key is installed", RUNNING}),
    ),
    Row("certificates of another CA in the pillar", faults.certificates_in_pillar, refused="certificate"),
    Row(
        "port 179 cut between two hosts",
        faults.cut,
        "no session with ({address}|{other})",
        r"no session with {other} \({name}\)",
        refused=r"no session with {other} \({name}\)",
    ),
    Row(
        "address of a host changed",
        faults.address_changed,
        ANY,
        STRANGE,
        refused="set calico:node:ip to it or to autodetect",
        lost=FOREVER,
    ),
    Row(
        "the same, node:ip set as advised",
        faults.address_changed_for_good,
        ANY,
        STRANGE,
        mends=frozenset({"calico-node's environment is written", RUNNING}),
        lost=FOREVER,
    ),
    Row("duplicate address", faults.address_taken, refused="{address} is registered by node squatter"),
    Row(
        "node's resource deleted", faults.node_deleted, ANY, LOST, None, RESTART, workloads=True, lost=FOREVER
    ),
    Row("pool deleted", faults.pool_deleted, mends=frozenset({"IP pools are in the datastore"})),
    Row("disk full", faults.disk_full, refused="No space left|disk space", writes=True),
    Row("state run killed half-way", faults.run_killed, mends=RESTART),
    Row("two runs at once on one minion", faults.two_runs, ANY, ANY, mends=NOTHING),
    Row(
        "three minions at once, a dead fourth node",
        faults.dead_node,
        ANY,
        r"no session with .* \(dead\)",
        refused=r"no session with .* \(dead\)",
        everywhere=True,
    ),
]


class Matrix:
    """The fleet, with somebody who looks at it all the time."""

    now = staticmethod(time.time)
    # Time enough for a start; a run that is to fail is given less.
    settings = {"calicoctl": {"timeout": 3}, "ready": {"timeout": 60}}  # noqa: RUF012
    hurry = {"calico": {"ready": {"timeout": 3}}}  # noqa: RUF012

    def __init__(self, fleet):
        self.fleet, self.lab, self.generation = fleet, fleet.lab, fleet.generation
        self.host, self.other = fleet.hosts[:2]
        self.watchers = {}
        self.figures = []

    def watch(self, host):
        for function in ("status", "ready") if host is self.host else ("ready",):
            self.watchers[function, host.name] = Watcher(host, function)

    def blind(self, host):
        for key in [key for key in self.watchers if key[1] == host.name]:
            self.watchers.pop(key).close()

    def of(self, function):
        return [watcher for (asked, _host), watcher in self.watchers.items() if asked == function]

    def pillar(self, changes=None, **single):
        self.lab.master_pillar(merged(self.settings, changes or {}), single)

    def words(self, text):
        """What is expected, of these hosts and this generation."""
        return text and text.format(
            address=re.escape(self.host.address),
            node=self.host.name,
            other=re.escape(self.other.address),
            name=self.other.name,
        )

    def said(self, function, words, begin):
        """The first look, by whichever host, that has these words; and the reason that has them."""
        fits = re.compile(words)

        def found():
            said = [
                (look.end, reason, look)
                for watcher in self.of(function)
                for look in watcher.looks(begin)
                for reason in look.reasons
                if fits.search(reason)
            ]
            return said and min(said, key=lambda item: item[0])

        def instead():
            last = [watcher.looks(0)[-1].reasons for watcher in self.of(function)]
            return f"calico.{function} says {words!r}, but {last}"

        _end, reason, look = until(found, instead, NOTICED)
        return look, reason

    def quiet(self, function, begin):
        """Whoever looked since then found that all is well."""
        for watcher in self.of(function):
            watcher.first(lambda _look: True, begin, NOTICED, "anything")
            for look in watcher.looks(begin):
                assert look.reasons == [], f"{watcher.name} said {look.reasons}"

    def all_ready(self, since):
        """When all hosts said so."""
        fits = [watcher.first(_is_ready, since, AGAIN, "ready") for watcher in self.of("ready")]
        return max(look.end for look in fits)


def _is_ready(look):
    return not look.reasons


@pytest.fixture(scope="module")
def matrix(converged, request):
    found = Matrix(converged)
    found.pillar()
    converged.converge()
    try:
        for host in converged.hosts:
            found.watch(host)
        found.all_ready(0)
        yield found
    finally:
        for host in converged.hosts:
            found.blind(host)
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        terminal.write_line("")
        for line in table(found.figures):
            terminal.write_line(line)
    converged.recover()


def table(figures):
    head = ("fault", "noticed", "ready again", "pings lost", "status", "ready", "state.apply")
    rows = [head, *figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_fault(matrix, row):
    host = matrix.host
    matrix.all_ready(matrix.now())
    told, first = {}, None
    hosts = [matrix.fleet.hosts[number] for number in row.on]
    with fleets.pinging(matrix.fleet, *hosts, heals=row.lost != FOREVER) as pings:
        begin = matrix.now()
        with row.fault(matrix):
            for function, words in (("status", row.status), ("ready", row.ready)):
                if words is None:
                    matrix.quiet(function, begin)
                elif words != ANY:
                    look, told[function] = matrix.said(function, matrix.words(words), begin)
                    first = min(first or look.end, look.end)
                    for session in look.missing:
                        assert session["seconds"] is None or session["seconds"] < NAMED, session
            lasts = row.refused or row.mends is not None
            if row.refused:
                told["apply"] = refuses(matrix, row)
            elif lasts:
                told["apply"] = mends(matrix, row)
            end = matrix.now() if lasts else begin
        again = matrix.all_ready(end if lasts else first) - end
        # Nobody has to do anything by hand: all is as it is wanted.
        states = matrix.fleet.converge(host)[host.name]
        assert states.changed == set()
    if row.workloads:
        matrix.fleet.attach_workloads()
    quiet = {"status": "ready", "ready": "ready", "apply": "changes nothing"}
    unasked = {function for function in ("status", "ready") if getattr(row, function) == ANY}
    quiet.update((function, "(not held)") for function in unasked)
    said = [_short(told.get(function, text)) for function, text in quiet.items()]
    noticed = f"{first - begin:.1f} s" if first else "-"
    matrix.figures.append((row.name, noticed, f"{again:.1f} s", f"{len(pings.lost)} of {pings.sent}", *said))
    assert len(pings.lost) <= row.lost * 100, f"of {pings.sent} packets these were lost: {pings.lost}"


def _short(text, most=60):
    text = text.splitlines()[0]
    return text if len(text) <= most else text[: most - 1] + "…"


def refuses(matrix, row):
    """A run fails, says why, and changes nothing; what it said."""
    hosts = matrix.fleet.hosts if row.everywhere else [matrix.host]
    before = {host.name: fleets.container(host) for host in hosts}
    for name, states in matrix.fleet.apply(*hosts, pillar=matrix.hurry).items():
        assert states.retcode
        found = re.search(matrix.words(row.refused), states.failures)
        assert found, states.failures
        assert RUNNING not in states.changed if row.writes else not states.changed, states.changed
        assert fleets.container(matrix.lab.host(name)) == before[name]
    return next(line for line in states.failures.splitlines() if re.search(matrix.words(row.refused), line))


def mends(matrix, row):
    """A run puts it right, with one restart where it needs one, and was announced; what it changed."""
    host = matrix.host
    if row.mends:
        planned = matrix.fleet.apply(host, test=True)[host.name]
        left = row.mends - {name for name, state in planned.items() if state["result"] is None}
        assert not left, f"not announced: {left}"
    before = fleets.starts(host)
    states = matrix.fleet.converge(*(() if row.everywhere else (host,)))[host.name]
    assert row.mends <= states.changed if row.mends else not states.changed, states.changed
    assert fleets.starts(host) == before + (RUNNING in row.mends)
    if not row.mends:
        return "succeeds, changes nothing"
    return "mends: " + ", ".join(sorted(row.mends))
