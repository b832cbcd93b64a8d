"""Regular expressions are read as Go reads them."""

import calico_regex
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"^(?!docker).*", r"a(?=b)", r"(?<=a)b", r"(?<!a)b", r"(?>a)", r"(?#x)", r"(?P=a)"),
        *(r"(?P<a>x)(?P<a>y)", "(?P<a-b>x)", "(?P<>a)", "(?", "(?)", r"(?x)a", r"(?i-)a", "(?i)*"),
        *(r"(a)\1", r"\8", r"\k<a>", r"\Z", r"\G", r"\C", r"\u00e9", r"\N", r"\h", "\\", r"\é"),
        *("eth++", "a**", "a*+", "a??+", "a{2}{3}", "a{2}*", "*a", "+", "?", "(*a)", "a|*"),
        *("a{1001}", "a{2,1}", "(a{100}){11}", "a{2}(?i){501}", "a{0,1001}"),
        *("(", ")", "(a", "a)", "[", "[a", "[]", "[^]", "[z-a]", "[[:alfa:]]", r"[a-\d]", r"[\z]"),
        *(r"\x{110000}", r"\xg0"),
    ],
)
def test_what_go_does_not_accept(pattern):
    assert calico_regex.problem(pattern)
    with pytest.raises(calico_regex.RegexError):
        calico_regex.compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("eth1", ["eth1", "eth10", "veth1"], ["eth2"]),
        ("^eth[0-9]+$", ["eth0", "eth12"], ["veth0", "eth0x", "eth0\n"]),
        ("[[:alpha:]]+[0-9]", ["eth0"], ["0", "eth"]),
        ("^[^[:digit:]]+$", ["lo"], ["eth0"]),
        ("^[[:^digit:]]+$", ["lo", "é"], ["eth0"]),
        (r"^\D+$", ["lo"], ["eth0"]),
        (r"^[\D1]+$", ["lo1"], ["lo2"]),
        ("(?i)ETH", ["eth0"], ["lo"]),
        ("e(?i)TH|LO", ["eth0", "lo"], ["ETH0"]),
        ("(e(?i)t)H", ["eTH"], ["eth"]),
        ("(?i:e)t", ["Et"], ["eT"]),
        (r"\Qe.h\E0", ["e.h0"], ["eth0"]),
        (r"^eth0\z", ["eth0"], ["eth0\n"]),
        ("^eth{,2}", ["eth{,2}"], ["et"]),
        ("eth{", ["eth{"], ["eth"]),
        ("a-b", ["a-b"], ["ab"]),
        ("^[a-]+$", ["a-"], ["b"]),
        ("^[]a]+$", ["]a"], ["b"]),
        ("^[[]$", ["["], ["]"]),
        (r"^\x65\x{74}\150$", ["eth"], ["lo"]),
        (r"^en\-p\_1$", ["en-p_1"], ["enp1"]),
        ("^(?P<a>x)(?:y)$", ["xy"], ["x"]),
        ("(?U)^a+?$", ["aa"], ["b"]),
        ("^*a", ["a"], ["b"]),
        ("", ["eth0"], []),
        ("^()*$", [""], ["a"]),
        (r"\beth", ["eth", "-eth", "éeth"], ["veth"]),
        (r"^\w+$", ["eth0"], ["é"]),
        ("(?s)^.$", ["\n"], [""]),
        ("^a{2,}$", ["aa", "aaaa"], ["a"]),
        ("^a{0}$", [""], ["a"]),
        ("^a{2}(?i)?$", ["", "aa"], ["a"]),
    ],
)
def test_what_go_accepts_and_what_it_matches(pattern, matches, others):
    assert calico_regex.problem(pattern) is None
    found = calico_regex.compiled(pattern)
    assert [name for name in [*matches, *others] if found.search(name)] == matches


@pytest.mark.parametrize("pattern", [r"\pL+", r"\p{Greek}", r"[\pN_]", r"\PL"])
def test_what_go_accepts_and_nobody_here_can_match(pattern):
    assert calico_regex.problem(pattern) is None
    assert calico_regex.compiled(pattern) is None


@given(st.text(alphabet=r"ab01(){}[]^$|*+?.\-,:<>=!PQEidswx", max_size=12))
def test_nothing_else_comes_out(pattern):
    if calico_regex.problem(pattern) is None:
        calico_regex.compiled(pattern)
