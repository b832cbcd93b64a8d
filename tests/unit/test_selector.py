"""The selector language, held to what Calico 3.32.1 itself made of each text."""

import json
from pathlib import Path

import calico_selector as selector
import pytest
from hypothesis import given
from hypothesis import strategies as st

RECORDED = json.loads(
    (Path(__file__).parents[1] / "recordings" / "selectors-v3.32.1.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("row", RECORDED["rows"], ids=lambda row: repr(row["selector"]))
def test_every_recorded_selector(row):
    if "error" in row:
        with pytest.raises(selector.SelectorError) as caught:
            selector.parse(row["selector"])
        assert str(caught.value) == row["error"]
        assert 0 <= caught.value.position <= len(row["selector"])
    else:
        read = selector.parse(row["selector"])
        assert str(read) == row["canonical"]
        assert [read.matches(labels) for labels in RECORDED["labels"]] == row["matches"]


@pytest.mark.parametrize("row", [row for row in RECORDED["rows"] if "canonical" in row])
def test_canonical_text_means_the_same(row):
    again = selector.parse(row["canonical"])
    assert str(again) == row["canonical"]
    assert [again.matches(labels) for labels in RECORDED["labels"]] == row["matches"]


def test_the_position_points_at_the_mistake():
    with pytest.raises(selector.SelectorError) as caught:
        selector.parse('has(rr) && rack < "2"')
    assert caught.value.position == len("has(rr) && rack ")


@pytest.mark.parametrize("text", ["   ", "\t", "(all())", 'a in {"1",}', "global()", "a in {}"])
def test_legal(text):
    assert isinstance(selector.parse(text).matches({}), bool)


@pytest.mark.parametrize(
    "text", ['a == "x', "a ==", 'a in "x"', "has()", "(has(a)", "a == b", "\n", "has(a)\n", "(" * 5000]
)
def test_illegal(text):
    with pytest.raises(selector.SelectorError):
        selector.parse(text)


pieces = st.sampled_from(
    ["has(a)", "all()", "a", '"x"', "'y'", "==", "!=", "in", "not", "{", "}", ",", "(", ")", "&&", "||", "!"]
)


@given(st.lists(pieces, max_size=12).map(" ".join))
def test_any_row_of_words_is_read_or_refused_by_position(text):
    try:
        read = selector.parse(text)
    except selector.SelectorError as err:
        assert 0 <= err.position <= len(text)
    else:
        for labels in RECORDED["labels"]:
            assert selector.parse(str(read)).matches(labels) == read.matches(labels)
