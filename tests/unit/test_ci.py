"""`make ci` in repositories of a few files: what it tests, what it keeps, and what it says."""

import os
import sys
from pathlib import Path

import pytest

from tests.support import programs

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "ci.py"
NOBODY = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ENVIRONMENT = {**os.environ, **NOBODY, "PROFILE": "v9", "MAKEFLAGS": "n"}


class Repository:
    def __init__(self, path):
        self.path = path
        self.git("init", "--quiet", "--initial-branch=main")
        (path / "Makefile").write_text("demo-down:\n\t@echo removed >> $(KEPT)\n")
        (path / ".ci").mkdir()

    def git(self, *arguments):
        command = ["git", *arguments]
        return programs.run(command, cwd=self.path, env=ENVIRONMENT).stdout.strip()

    def commit(self, script):
        (self.path / ".ci" / "run").write_text(script)
        self.git("add", "-A")
        self.git("commit", "--quiet", "--message=a commit")
        return self.git("rev-parse", "HEAD")

    def ci(self, kept):
        return programs.run(
            [sys.executable, PROGRAM],
            check=False,
            cwd=self.path,
            env={**ENVIRONMENT, "KEPT": str(kept)},
            input="something on standard input\n",
        )

    @property
    def passed(self):
        file = self.path / ".git" / "ci-passed"
        return file.read_text().split() if file.exists() else None


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "repository").mkdir()
    return Repository(tmp_path / "repository")


@pytest.fixture
def kept(tmp_path):
    """A file outside of the clone, for scripts to write to."""
    return tmp_path / "kept"


def test_a_commit_that_passes_is_noted(repository, kept):
    commit = repository.commit("""
        echo "== a phase"
        echo noise
        echo "$CI ${PROFILE-none} ${MAKEFLAGS-none} <$(cat)>" > "$KEPT"
        pwd >> "$KEPT"
    """)
    done = repository.ci(kept)
    assert (done.returncode, done.stderr) == (0, "")
    assert repository.passed[0] == commit and repository.passed[1].isdigit()
    said, where, removed = kept.read_text().splitlines()
    # No standard input, CI's own environment, and a folder that is gone now with its lab.
    assert (said, removed) == ("true none none <>", "removed")
    assert not Path(where).exists() and Path(where) != repository.path
    assert "== a phase" in done.stdout and "noise" not in done.stdout


def test_what_failed_is_named_and_nothing_is_noted(repository, kept):
    repository.commit("""
        echo 'FAILED tests/x.py::test_a - AssertionError'
        echo 'ERROR tests/x.py::test_b'
        exit 2
    """)
    done = repository.ci(kept)
    assert done.returncode == 1
    assert "FAILED tests/x.py::test_a\nERROR tests/x.py::test_b\n" in done.stdout
    log = repository.path / ".git" / "ci.log"
    assert "failed (exit code 2)" in done.stderr and str(log) in done.stderr
    assert "AssertionError" in log.read_text()
    assert repository.passed is None
    assert kept.read_text() == "removed\n"


def test_where_no_test_failed_the_last_words_are_shown(repository, kept):
    repository.commit("echo 'no such package'; exit 1")
    assert "no such package" in repository.ci(kept).stdout


@pytest.mark.parametrize("change", ["new", ".ci/run"])
def test_changes_in_no_commit_are_refused(repository, kept, change):
    repository.commit("true")
    (repository.path / change).write_text("false")
    done = repository.ci(kept)
    assert (done.returncode, repository.passed) == (2, None)
    assert change in done.stderr
    assert not kept.exists()


def test_a_work_tree_beside_the_first_notes_it_in_the_same_place(repository, kept, tmp_path):
    repository.commit("true")
    repository.git("worktree", "add", "--quiet", "-b", "other", tmp_path / "beside")
    beside = Repository.__new__(Repository)
    beside.path = tmp_path / "beside"
    commit = beside.commit("true\n")
    assert beside.ci(kept).returncode == 0
    assert repository.passed[0] == commit
