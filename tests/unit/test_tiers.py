"""`make test`'s phases: lanes at the same time, everything told at the end, nothing lost."""

import pytest

from tests import tiers

# Each waits for the other one: they pass only where they run at the same time.
MEET = """
import pathlib
from tests.support import waiting

def test_meets():
    here = pathlib.Path(__file__).parent
    (here / "{mine}").touch()
    waiting.until((here / "{other}").exists, "the other lane")
    print("what {mine} prints")
    assert {good}
"""


def lane(directory, mine, other, good=True):
    path = directory / f"test_{mine}.py"
    path.write_text(MEET.format(mine=mine, other=other, good=good))
    return [tiers.Phase(f"phase {mine}", (f"--rootdir={directory}", "-p", "no:cacheprovider", str(path)))]


@pytest.mark.parametrize("good", [True, False])
def test_lanes_run_at_the_same_time(tmp_path, monkeypatch, capfd, good):
    lanes = [lane(tmp_path, "a", "b"), lane(tmp_path, "b", "a", good)]
    monkeypatch.setitem(tiers.TIERS, "two", lanes)
    code = tiers.main("two")
    said = capfd.readouterr().out
    assert code == (0 if good else 1)
    ends = [
        line for line in said.splitlines() if line.startswith("== phase") and line.endswith(("s", "FAILED"))
    ]
    assert [line.endswith("FAILED") for line in sorted(ends)] == [False, not good]
    assert ("FAILED " in said) is not good
    assert "test_meets (phase a)" in said and "test_meets (phase b)" in said


def test_every_phase_runs_after_one_that_failed(tmp_path, monkeypatch, capfd):
    for name in "ab":
        (tmp_path / name).touch()
    phases = [*lane(tmp_path, "a", "b", good=False), *lane(tmp_path, "b", "a")]
    monkeypatch.setitem(tiers.TIERS, "one", [phases])
    assert tiers.main("one") == 1
    said = capfd.readouterr().out
    assert "== phase a: " in said and "== phase b: " in said
    assert "1 passed" in said and "1 failed" in said
