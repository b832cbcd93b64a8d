"""One way to ping, for all tests: packets from one workload to another, and which were lost."""

import contextlib
import re
import signal
import subprocess
import threading

from tests.support import waiting

# iputils says `icmp_seq=`, busybox says `seq=`; both on a line of its own for each answer.
_ANSWER = re.compile(r"\bicmp_seq=(\d+) ttl|(?<!_)\bseq=(\d+) ttl")
_SENT = re.compile(r"^(\d+) packets transmitted")
FIRST = {"iputils": 1, "busybox": 0}


class Pings:
    """What came back so far. ``lost`` and ``sent`` are told once ``pinging`` has ended."""

    def __init__(self, first):
        self._begin = self._first = first
        self._answered = set()
        # What ping itself says of it when it ends.
        self._said = None
        self._ended = False
        self._arrived = threading.Condition()
        self.lost = []
        self.sent = 0

    def read(self, lines):
        """Take ping's lines as they come, until there are no more."""
        for line in lines:
            if found := _ANSWER.search(line):
                with self._arrived:
                    self._answered.add(int(found[1] or found[2]))
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

    def forget(self):
        """Count from the last answer on."""
        with self._arrived:
            self._first = max(self._answered)

    def count(self, healed=True):
        """Packets come back in order: what is missing before the last answer is lost, and what was sent
        after it may still be under way. Where the path has not healed, that is lost as well."""
        with self._arrived:
            last = max(self._answered, default=self._first - 1)
            if not healed:
                last = max(last, self._begin + (self._said or 0) - 1)
            self.sent = last - self._first + 1
            self.lost = sorted(set(range(self._first, last + 1)) - self._answered)


def interrupt(process):
    process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def pinging(command, flavour="iputils", end=interrupt, heals=True, timeout=waiting.PATIENCE):
    """Ping while the block runs; yields ``Pings``.

    The block begins once packets pass (neighbours that have yet to be found take their time), and what it
    did is judged once a packet has come back that was answered after it: a path that stays broken is an
    AssertionError.

    command
        A ping without end, as a list; its first lines may say other things.
    flavour
        Whose ping it is: each counts from another number.
    end
        Ends the process by SIGINT, where it runs behind another one.
    heals
        False where packets need not pass any more after the block.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pings = Pings(FIRST[flavour])
    reader = threading.Thread(target=pings.read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        pings.wait_for_answers(3, timeout, "before anything was done")
        # What was lost while the path was looked for is none of the block's.
        pings.forget()
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
