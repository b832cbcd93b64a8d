"""One way to ping, for all tests: packets from one workload to another, and which were lost."""

import contextlib
import re
import signal
import subprocess
import threading

from tests.support import programs, waiting

# What iputils' ping says of each answer, and at its end. (busybox keeps room for 18 answers: what it has no
# time to read looks lost on a busy machine.)
_ANSWER = re.compile(r"\bicmp_seq=(\d+) ttl")
_SENT = re.compile(r"^(\d+) packets transmitted")
FIRST = 1


class Pings:
    """What came back so far. ``lost`` and ``sent`` are told once ``pinging`` has ended."""

    def __init__(self):
        self._answered = set()
        self._said = 0
        self._ended = False
        self._arrived = threading.Condition()
        self.lost = []
        self.sent = 0

    def read(self, lines):
        """Take ping's lines as they come, until there are no more."""
        for line in lines:
            if found := _ANSWER.search(line):
                with self._arrived:
                    self._answered.add(int(found[1]))
                    self._arrived.notify_all()
            elif found := _SENT.match(line):
                self._said = int(found[1])
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    @property
    def answered(self):
        """How many have come back so far."""
        with self._arrived:
            return len(self._answered)

    def wait_for_answers(self, wanted, timeout, what):
        """Until so many packets have come back, of all that were sent."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._ended or len(self._answered) >= wanted, timeout)
            if len(self._answered) < wanted:
                reason = "ping has ended" if self._ended else f"no answer within {timeout} s"
                raise AssertionError(f"{reason} {what}")

    def wait_for_more(self, count, timeout=waiting.PATIENCE):
        """Until so many more have come back."""
        self.wait_for_answers(self.answered + count, timeout, f"of {count} more")

    def count(self, healed=True):
        """Packets come back in order: what is missing before the last answer is lost, and what was sent
        after it may still be under way. Where the path has not healed, that is lost as well."""
        with self._arrived:
            self.sent = max(self._answered, default=FIRST - 1)
            if not healed:
                self.sent = max(self.sent, self._said)
            self.lost = sorted(set(range(FIRST, self.sent + 1)) - self._answered)


def interrupt(process):
    process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def pinging(command, end=interrupt, heals=True, timeout=waiting.PATIENCE):
    """Ping while the block runs; yields ``Pings``.

    The block begins once packets pass, and what it did is judged once a packet has come back that was
    answered after it: a path that stays broken is an AssertionError.

    command
        A ping without end, as a list that takes further options; its first lines may say other things.
    end
        Ends the process by SIGINT, where it runs behind another one.
    heals
        False where packets need not pass any more after the block.
    """
    _find_the_way(command, timeout)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pings = Pings()
    reader = threading.Thread(target=pings.read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        pings.wait_for_answers(3, timeout, "before anything was done")
        yield pings
        if heals:
            pings.wait_for_answers(pings.answered + 3, timeout, "after all was done")
            pings.count()
    finally:
        end(process)
        process.wait(timeout)
        reader.join(timeout)
        process.stdout.close()
    if not heals:
        pings.count(healed=False)


def _find_the_way(command, timeout):
    """Neighbours are asked for their hardware addresses; meanwhile packets pile up, and come in one heap."""
    once = [*command, "-c", "1", "-W", "5"]
    waiting.until(
        lambda: programs.run(once, check=False).returncode == 0, "an answer before anything was done", timeout
    )
