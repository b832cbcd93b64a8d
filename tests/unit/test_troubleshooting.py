"""docs/troubleshooting.md quotes nothing that the code does not say, and leaves nothing of it out."""

import ast
import functools
import itertools
import re
from pathlib import Path

import calico_preflight
import calico_safety
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
# What varies, in the page as in the texts of the code.
VARIES = "…"
# Style and script of a page, and the texts of docs/settings.md.
NO_MESSAGES = ("calico_page.py", "calico_schema.py")
# A shorter part of a text may be anybody's.
TELLING = 12
_FORMAT = re.compile(r"%(?:\(\w+\))?[-+#0 ]*[\d*]*(?:\.\d+)?[a-zA-Z]|\{\w*(?:![rs])?(?::[^}\s]*)?\}")
# What the code joins messages with.
_JOINED = re.compile(r": |; |(?:^|, )for |, ")


# --- the page --------------------------------------------------------------------------------------


@functools.cache
def quoted():
    """The messages that the page quotes: what stands in backticks in the column `message` of its tables."""
    found, reading = [], False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            reading = False
            continue
        first = line.split("|")[1].strip()
        if first == "message":
            reading = True
        elif reading and first.strip("-"):
            assert "`" in first, f"nothing is quoted: {line}"
            found += re.findall(r"`([^`]+)`", first)
    return sorted(set(found))


def parts(text):
    """What of a text does not vary, without what only joins it."""
    pieces = (piece.strip(" :;,.()'\"-=/\n") for piece in text.split(VARIES))
    return [piece for piece in pieces if re.search(r"[A-Za-z0-9]", piece)]


def longest(text):
    return max(parts(text), key=len, default="")


@functools.cache
def telling():
    """The parts of the page's messages by which these can be told."""
    return {part for message in quoted() for part in parts(message) if len(part) >= TELLING}


def is_missing(text):
    """Whether the page has nothing of this text of the code."""
    own = [part for part in parts(text) if len(part) >= TELLING]
    return bool(own) and not any(part in message or message in part for part in own for message in telling())


# --- the code --------------------------------------------------------------------------------------


def ways(node, names=None):
    """The texts that an expression may make, with … for what varies: [] where it makes none."""
    names = names or {}
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        pieces = [part.value if isinstance(part, ast.Constant) else VARIES for part in node.values]
        return ["".join(pieces)]
    if isinstance(node, ast.IfExp):
        return ways(node.body, names) + ways(node.orelse, names)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return [filled(text) for text in ways(node.left, names)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = ways(node.left, names), ways(node.right, names)
        pairs = itertools.product(*(side or [VARIES] for side in sides)) if any(sides) else ()
        return ["".join(pair) for pair in pairs]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return [filled(text) for text in ways(node.func.value, names)]
    if isinstance(node, ast.Subscript):
        return names.get(ast.unparse(node), [])
    return names.get(node.id, []) if isinstance(node, ast.Name) else []


def filled(text):
    return _FORMAT.sub(VARIES, text).replace("%%", "%")


def texts(tree):
    """Every text of a piece of code, docstrings apart."""
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            left_out.update(id(part) for part in node.values)
        # Of two that are joined only the whole says something.
        if isinstance(node, ast.BinOp) and ways(node):
            left_out.update(id(side) for side in (node.left, node.right))
        if id(node) not in left_out:
            for text in ways(node):
                yield filled(text)


@functools.cache
def tree_of(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def functions_of(path):
    """``{name: function}`` of a file, methods too."""
    return {node.name: node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)}


def locals_of(function, names):
    """The texts that a function gives its variables, beside those that are known already."""
    found = dict(names)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            found[name] = found.get(name, []) + ways(node.value, found)
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            name = node.target.id if isinstance(node.target, ast.Name) else None
            found[name] = found.get(name, []) + ways(node.value, found)
    return found


@functools.cache
def said():
    """Every text that the formula's code has, one after the other."""
    found = set()
    for directory in ("_modules", "_states", "_runners", "_beacons", "_utils"):
        for path in (ROOT / directory).glob("*.py"):
            if path.name not in NO_MESSAGES:
                found.update(texts(tree_of(path.relative_to(ROOT))))
    return "\0".join(sorted(found))


# --- from the page to the code ---------------------------------------------------------------------


def is_unknown(part):
    """Whether the code says this nowhere; what it joins may be of several places."""
    return part not in said() and any(piece not in said() for piece in _JOINED.split(part))


def test_what_the_page_quotes_is_what_the_code_says():
    assert len(quoted()) > 200
    unknown = {message: [part for part in parts(message) if is_unknown(part)] for message in quoted()}
    assert {message: strange for message, strange in unknown.items() if strange} == {}


# --- from the code to the page ---------------------------------------------------------------------


def preflight_findings():
    """[(what, seen)] of every finding that the preflight knows."""
    constants = {name: [value] for name, value in vars(calico_preflight).items() if isinstance(value, str)}
    constants.update(
        (f"FORWARDING[{family}]", [name]) for family, name in calico_preflight.FORWARDING.items()
    )
    for path in ("_utils/calico_preflight.py", "_modules/calico.py"):
        for function in functions_of(path).values():
            names = locals_of(function, constants)
            for node in ast.walk(function):
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if called in ("finding", "_warning", "calico_preflight.finding"):
                    seen = ways(node.args[1], names) or [VARIES]
                    for what in ways(node.args[0], names) or [VARIES]:
                        yield from ((filled(what), filled(text)) for text in seen)


def test_every_finding_of_the_preflight_stands_in_the_page():
    findings = sorted(set(preflight_findings()))
    subjects = {what.partition(": ")[0] for what, _seen in findings}
    assert len(subjects) > 25
    own = {message.partition(": ")[0] for message in quoted() if ": " in message} - {VARIES}
    patterns = [re.escape(subject).replace(re.escape(VARIES), ".+") for subject in own]
    nowhere = [what for what in subjects if not any(re.fullmatch(pattern, what) for pattern in patterns)]
    # The problems of settings, whose subject is the setting.
    assert nowhere == [VARIES]
    assert [(what, seen) for what, seen in findings if is_missing(seen)] == []


def test_every_change_that_is_refused_stands_in_the_page():
    section = PAGE.partition("## Refused changes\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `.*\| `(\w+)` \|", section, re.MULTILINE)
    assert set(rows) == set(calico_safety.ALLOW)
    functions = functions_of("_utils/calico_safety.py")
    missing = []
    for word in calico_safety.ALLOW:
        names = locals_of(functions[f"_{word}"], {})
        for node in ast.walk(functions[f"_{word}"]):
            if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                missing += [text for text in ways(node.value.elts[1], names) if is_missing(filled(text))]
    assert missing == []


# Where reasons are made: all that these say stands in the page.
REASONS = {
    "_utils/calico_ready.py": (
        "own_reasons _restarting why_down _not_registered verdict _no_session _no_routes _not_yet _lost "
        "notes missing"
    ),
    "_utils/calico_registration.py": "not_started",
    "_utils/calico_container.py": "health",
    "_utils/calico_filters.py": "drop",
    "_utils/calico_rollback.py": "worse recorded unpack",
    "_utils/calico_migration.py": "next_step",
    "_utils/calico_rollout.py": "plan _hopeless why",
    "_utils/calico_pools.py": "leaving",
    "_utils/calico_plan.py": "notes",
    "_utils/calico_topology_report.py": "problems strangers _stopped",
    "_utils/calico_removal.py": "in_use",
    "_utils/calico_etcd.py": "_explained _hint _why_refused json not_etcd _load_pair",
    "_utils/calico_ctl.py": "_why_not_started _supervise classify",
    "_utils/calico_bird.py": "_connect",
    "_utils/calico_host.py": "service_state parse_service _get run",
    "_modules/calico.py": "recover roll_back _ctl_text converge _ready_now registered _unread",
}
# Whose every error stands there.
ERRORS = (
    "_modules/calico.py",
    "_runners/calico.py",
    "_runners/calico_orch.py",
    "_utils/calico_ctl.py",
    "_utils/calico_datastore.py",
    "_utils/calico_docker.py",
    "_utils/calico_etcd.py",
)


def missing_of(tree):
    """The sentences of a piece of code that the page has not."""
    return [text for text in texts(tree) if longest(text).count(" ") > 1 and is_missing(text)]


@pytest.mark.parametrize("path", REASONS)
def test_every_reason_stands_in_the_page(path):
    functions = functions_of(path)
    assert [text for name in REASONS[path].split() for text in missing_of(functions[name])] == []


@pytest.mark.parametrize("path", ERRORS)
def test_every_error_stands_in_the_page(path):
    missing = []
    for node in ast.walk(tree_of(path)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if (
            isinstance(node, ast.Raise)
            or called == "_refused"
            or re.search("refused.*(append|extend)", called)
        ):
            missing += missing_of(node)
    assert missing == []
