"""What is written about the formula is true: derived files, docstrings, links, names."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest
import yaml

from tests.support import programs
from tools import release

ROOT = Path(__file__).parents[2]


@functools.cache
def tracked():
    """The repository's files, as git knows them."""
    listed = programs.run(["git", "ls-files", "-z"], cwd=ROOT).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def text_of(path):
    return path.read_text(encoding="utf-8", errors="replace")


def functions(path):
    """The public functions of a module, with their docstrings."""
    for node in ast.parse(text_of(ROOT / path)).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node, ast.get_docstring(node) or ""


MODULE = {name: (node, doc) for name, node, doc in functions("_modules/calico.py")}
# Several files are one runner to Salt.
RUNNERS = sorted(path.name for path in (ROOT / "_runners").glob("*.py"))
RUNNER = {name: (node, doc) for file in RUNNERS for name, node, doc in functions(f"_runners/{file}")}
STATES = {name: (node, doc) for name, node, doc in functions("_states/calico.py")}


@pytest.mark.parametrize("name", release.FILES)
def test_what_is_derived_from_the_code_is_up_to_date(name):
    assert text_of(ROOT / name) == release.FILES[name](), "run tools/release.py"


@pytest.mark.parametrize("name", MODULE)
def test_a_function_shows_a_command_that_fits_it(name):
    node, doc = MODULE[name]
    example = doc.partition("CLI Example:")[2]
    (call,) = re.findall(r"^\s+salt \S+ calico\.(.*)$", example, re.MULTILINE)
    assert call.split()[0] == name
    arguments = {argument.arg for argument in node.args.args}
    for keyword in re.findall(r"\s(\w+)=", re.sub(r"'[^']*'", "", call)):
        assert keyword in arguments
    for argument in arguments:
        assert re.search(rf"^{argument}$", doc, re.MULTILINE), f"{argument} is not explained"


@pytest.mark.parametrize("name", RUNNER)
def test_a_runner_shows_commands_that_fit_it(name):
    node, doc = RUNNER[name]
    calls = re.findall(r"^\s+salt-run calico\.(.*)$", doc.partition("CLI Example:")[2], re.MULTILINE)
    assert calls
    arguments = {argument.arg for argument in node.args.args}
    for call in calls:
        assert call.split()[0] == name
        assert set(re.findall(r"\s(\w+)=", call)) <= arguments
    for argument in arguments:
        assert re.search(rf"^    {argument}$|^{argument}$", doc, re.MULTILINE), f"{argument} is not explained"


@pytest.mark.parametrize("name", STATES)
def test_a_state_shows_how_to_write_it(name):
    node, doc = STATES[name]
    example = doc.partition(".. code-block:: yaml")[2]
    shown = yaml.safe_load(example)
    arguments = {argument.arg for argument in node.args.args}
    used = [body[f"calico.{name}"] for body in shown.values() if f"calico.{name}" in body]
    assert used
    for parameters in used:
        given = {key for parameter in parameters for key in parameter}
        assert given <= arguments | {"failhard", "require", "watch", "onchanges"}
    for argument in arguments:
        assert re.search(rf"^{argument}$", doc, re.MULTILINE), f"{argument} is not explained"


def test_every_link_leads_somewhere():
    broken = []
    for path in tracked():
        if path.suffix != ".md" or "recordings" in path.parts:
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(path)):
            file, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            there = (path.parent / file).resolve() if file else path
            # Not one that lies here and is not part of the repository.
            found = there in tracked() or there.is_dir()
            if not found or (anchor and anchor not in anchors(there)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def prose_of(path):
    """A text without its code blocks, where a line may begin with # and be no heading."""
    return re.sub(r"^ *```.*?^ *```$", "", text_of(path), flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """What a heading can be linked by."""
    found = []
    for heading in re.findall(r"^#+ (.*)$", prose_of(path), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        # A second one of the same words has a number.
        found.append(anchor if anchor not in found else f"{anchor}-{found.count(anchor)}")
    return set(found)


# Pages of a task answer the same questions, in their own order.
TASKS = re.findall(r"\[(\w[\w-]*\.md)\]", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
NO_TASKS = {"troubleshooting.md", "platforms.md"}


def test_every_page_is_found_from_the_index():
    linked = set(re.findall(r"\]\(([\w-]+\.md)[)#]", text_of(ROOT / "docs" / "operations.md")))
    there = {path.name for path in tracked() if path.parent == ROOT / "docs" and path.suffix == ".md"}
    assert there - linked == {"operations.md"}


@pytest.mark.parametrize("name", sorted(set(TASKS) - NO_TASKS))
def test_a_page_of_a_task_says_when_and_by_which_command(name):
    page = text_of(ROOT / "docs" / name)
    assert re.search(r"^# .+\n\n\*\*When:\*\* ", page), "it begins with when"
    assert re.search(r"```console\n# salt|```yaml\n", page), "it has no command"
    for heading in ("What it refuses|Changes that are refused", "Going back"):
        assert re.search(rf"^## ({heading})$", page, re.MULTILINE), heading


def names_in_sls(pattern):
    """What a pattern finds in the SLS files and templates."""
    found = set()
    for path in tracked():
        if path.is_relative_to(ROOT / "calico") and path.suffix in (".sls", ".jinja"):
            found.update(re.findall(pattern, text_of(path), re.MULTILINE))
    return found


CALLED = r"salt\[.calico\.(\w+).\]"


def test_what_the_sls_files_name_exists():
    used = names_in_sls(r"^\s+calico\.(\w+):")
    assert used
    assert used <= set(STATES)
    called = names_in_sls(CALLED)
    assert called
    assert called <= set(MODULE)


def test_what_the_states_call_exists():
    called = set(re.findall(r'__salt__\["calico\.(\w+)"\]', text_of(ROOT / "_states/calico.py")))
    assert called
    assert called <= set(MODULE)


def test_no_function_is_without_use():
    """Each is called by a state or template, named in a text for users, or held by a test."""
    texts = "".join(text_of(path) for path in tracked() if path.suffix == ".md" or path.match("test_*.py"))
    called = set(re.findall(r'"calico\.(\w+)"', text_of(ROOT / "_states/calico.py")))
    called |= names_in_sls(CALLED)
    unused = [name for name in MODULE if name not in called and f"calico.{name}" not in texts]
    assert unused == []


def test_the_commands_of_the_texts_exist():
    slses = {path.stem for path in ROOT.glob("calico/*.sls")}
    known = {*MODULE, *STATES, *RUNNER, *slses, "orch", "sls", "py"}
    for path in tracked():
        if path.suffix == ".md" and "recordings" not in path.parts:
            for name in re.findall(r"`(?:salt \S+ )?calico\.(\w+)", text_of(path)):
                assert name in known, f"{path.name}: calico.{name}"
            for name in re.findall(r"calico\.orch\.(\w+)", text_of(path)):
                assert (ROOT / f"calico/orch/{name}.sls").is_file(), f"{path.name}: calico.orch.{name}"
            for name in re.findall(r"salt-run calico\.(\w+)", text_of(path)):
                assert name in RUNNER, f"{path.name}: salt-run calico.{name}"


def imports(path):
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def named_helpers(path):
    """Those that a file which Salt's loader reads stands for by :class:`calico_loading.Helper`."""
    return set(re.findall(r'^(\w+) = _helper\("\1"\)$', text_of(path), re.MULTILINE))


def test_the_code_of_a_minion_is_all_that_its_module_uses():
    path = ROOT / "_modules/calico.py"
    helpers, found = set(), {*imports(path), *named_helpers(path)}
    while found:
        name = found.pop()
        path = ROOT / "_utils" / f"{name}.py"
        if name not in helpers and path.is_file():
            helpers.add(name)
            found.update(imports(path))
    module = importlib.import_module("_modules.calico")
    assert sorted(module.HELPERS) == sorted(helpers)


@pytest.mark.parametrize("file", ["_modules/calico.py", *(f"_runners/{name}" for name in RUNNERS)])
def test_what_salt_loads_keeps_no_helper_of_an_older_release(file):
    """A plain import would: each is named by what loads it anew."""
    helpers = {path.stem for path in (ROOT / "_utils").glob("*.py")}
    assert named_helpers(ROOT / file) <= helpers
    assert set(imports(ROOT / file)) & helpers == {"calico_loading"}


def test_helpers_know_nothing_of_salt():
    for path in (ROOT / "_utils").glob("*.py"):
        names = set(imports(path))
        assert not [name for name in names if name.split(".")[0] == "salt"], path.name
        assert not re.search(r"__(salt|opts|pillar|grains|context|utils)__", text_of(path)), path.name


def test_no_private_key_lies_in_the_repository():
    key = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(\\n|\s)+[A-Za-z0-9+/=]{16}")
    assert [path for path in tracked() if key.search(text_of(path))] == []


def test_no_path_of_a_checkout_lies_in_the_repository():
    found = [path for path in tracked() if str(ROOT) in text_of(path) and len(ROOT.parts) > 2]
    assert found == []


def test_requirements_name_releases_and_no_hosts():
    lines = text_of(ROOT / "tests/requirements.txt").splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line), line


def test_what_is_executable_says_by_what():
    for path in tracked():
        if path.stat().st_mode & 0o100:
            assert text_of(path).startswith("#!"), path


def test_no_two_test_files_have_one_name():
    """Those of `make test` that run side by side are one run of pytest, which takes one for the other."""
    folders = [ROOT / "tests" / folder for folder in ("functional", "unit")]
    names = [path.name for folder in folders for path in folder.glob("test_*.py")]
    assert sorted(names) == sorted(set(names))
