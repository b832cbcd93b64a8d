"""What a person reads while the lab works: one line for each step, with the time it took."""

import contextlib
import sys
import time


class Progress:
    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.started = time.monotonic()

    @contextlib.contextmanager
    def step(self, title):
        """`with progress.step("etcd") as note:`; note("…") adds what came out to the line."""
        begin = time.monotonic()
        notes = []
        # On a terminal the line is there while the step runs, and is completed when it ends.
        if self.stream.isatty():
            self._write(f"         {title} …")
        try:
            yield notes.append
        except BaseException:
            self._line(begin, title, ["failed"])
            raise
        self._line(begin, title, notes)

    def _line(self, begin, title, notes):
        took = f"{time.monotonic() - begin:6.1f} s"
        start = "\r\033[K" if self.stream.isatty() else ""
        self._write(f"{start}{took} {': '.join([title, *notes])}\n")

    def total(self):
        return time.monotonic() - self.started

    def _write(self, text):
        self.stream.write(text)
        self.stream.flush()
