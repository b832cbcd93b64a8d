"""One way to run a program to its end, for all tests and the lab: in a failure stands what it said."""

import subprocess

# A program that hangs must not hang the tests for ever; one on a busy machine takes its time.
PATIENCE = 300


class Failed(subprocess.CalledProcessError):
    """It ended with another code than 0: with what it said, which is what a reader needs."""

    def __str__(self):
        return f"{super().__str__()}\n{self.stdout or ''}{self.stderr or ''}".rstrip()


def run(argv, check=True, timeout=PATIENCE, shown=None, **options):
    """
    A CompletedProcess with text; the rest are options of subprocess.run.

    check
        A code that is not 0 is :class:`Failed`.
    shown
        What the failure calls the command, where that is not how it is run.
    """
    words = [str(word) for word in argv]
    given = {"stdin": subprocess.DEVNULL} if options.get("input") is None else {}
    done = subprocess.run(
        words,
        timeout=timeout,
        **{"capture_output": True, "text": True, "errors": "replace", **given, **options},
    )
    if check and done.returncode:
        raise Failed(done.returncode, shown or words, done.stdout, done.stderr)
    return done
