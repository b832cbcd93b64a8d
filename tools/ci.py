"""Run .ci/run as CI does: in a fresh clone of HEAD, as a program without standard input.

A commit that passes is written into ``.git/ci-passed``, with the seconds it took: only such a one may
become `main`. Refuses while there are changes that no commit holds, since they would not be tested.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 90 * 60
# make's own words for its children, and what chooses another lab than CI's.
NOT_CIS = (
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS"),
    *("PROFILE", "CALICO_IMAGE_ARCHIVE", "CALICOCTL", "CALICO_VERSION"),
)
FAILED = re.compile(r"^(FAILED|ERROR) \S+", re.MULTILINE)
TAIL = 15


def git(*arguments):
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def main():
    if changes := git("status", "--porcelain"):
        print(f"These changes are in no commit, and would not be tested:\n{changes}", file=sys.stderr)
        return 2
    commit = git("rev-parse", "HEAD")
    kept = Path(git("rev-parse", "--path-format=absolute", "--git-common-dir"))
    log = kept / "ci.log"
    # Ended by a signal it still takes the clone and its lab away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{commit[:9]} {git('log', '-1', '--format=%s')}\nlog: {log}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="calico-ci-") as directory:
        clone = Path(directory) / "clone"
        # Nothing is shared: what a test does to the clone's repository stays there.
        git("clone", "--quiet", "--no-hardlinks", "--no-checkout", kept, clone)
        git("-C", clone, "checkout", "--quiet", "--detach", commit)
        try:
            reason = run(clone, log)
        finally:
            # Whatever ended it: a lab that stays would hold the folder.
            subprocess.run(
                ["make", "--silent", "demo-down"], cwd=clone, env=environment(), stdin=subprocess.DEVNULL
            )
    seconds = round(time.monotonic() - begin)
    if reason:
        said = log.read_text(errors="replace")
        failed = [line.group() for line in FAILED.finditer(said)] or said.splitlines()[-TAIL:]
        print("\n".join(failed))
        print(f"{commit[:9]} {reason} after {seconds} s: see {log}", file=sys.stderr)
        return 1
    (kept / "ci-passed").write_text(f"{commit} {seconds}\n")
    print(f"{commit[:9]} passed in {seconds} s")
    return 0


def environment():
    return {**{name: value for name, value in os.environ.items() if name not in NOT_CIS}, "CI": "true"}


def run(clone, log):
    """None where it passed, else what happened. Shows each phase as it begins and ends."""
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", ".ci/run"],
            cwd=clone,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            follow(process, log)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(120)
    if process.returncode is None or process.returncode < 0:
        return f"was ended ({process.returncode})"
    return f"failed (exit code {process.returncode})" if process.returncode else None


def follow(process, log):
    """Until it ends or its time is over; show what it says of its phases meanwhile."""
    deadline = time.monotonic() + LIMIT
    begun = ""
    with log.open(errors="replace") as output:
        while True:
            ended = process.poll() is not None
            *lines, begun = (begun + output.read()).split("\n")
            for line in lines:
                if line.startswith("== "):
                    print(line, flush=True)
            if ended or time.monotonic() > deadline:
                return
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
