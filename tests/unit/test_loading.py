"""Helpers are loaded when they are needed, anew once they have changed, and by many at the same time."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support import programs

ROOT = Path(__file__).resolve().parents[2]
LOADING = ROOT / "_utils" / "calico_loading.py"
# Each program runs beside these: calico_a says what release it and calico_b are of.
A = "import calico_b\n\ndef release():\n    return '{release}' + calico_b.RELEASE\n"
HEAD = "import sys\nimport calico_loading\nhelper = calico_loading.of_this_release()\n"
B = "RELEASE = '{release}'\n"


@pytest.fixture
def helpers(tmp_path):
    """run(program): what it prints; run.write(release) puts another release of the helpers there."""
    shutil.copy(LOADING, tmp_path)

    def write(release):
        (tmp_path / "calico_a.py").write_text(A.format(release=release))
        (tmp_path / "calico_b.py").write_text(B.format(release=release))

    def run(program):
        path = tmp_path / "program.py"
        path.write_text(HEAD + program)
        return programs.run([sys.executable, path], cwd=tmp_path).stdout

    run.write = write
    run.directory = tmp_path
    write("one")
    return run


def test_what_is_not_needed_is_not_loaded(helpers):
    said = helpers("""
a, b = helper("calico_a"), helper("calico_b")
hasattr(a, "__wrapped__"), isinstance(a, type)
print([name for name in sys.modules if name in ("calico_a", "calico_b")])
print(b.RELEASE, [name for name in sys.modules if name in ("calico_a", "calico_b")])
""")
    assert said == "[]\none ['calico_b']\n"


def test_a_new_release_is_used_by_the_next_load_and_by_no_other(helpers):
    said = helpers(f"""
import pathlib
def load():
    return calico_loading.of_this_release()("calico_a")
first = load()
print(first.release(), load().release is first.release)
for name, text in (("a", {A!r}), ("b", {B!r})):
    pathlib.Path("calico_%s.py" % name).write_text(text.format(release="second"))
print(load().release(), first.release())
pathlib.Path("calico_b.py").write_text({B!r}.format(release="third"))
print(load().release())
""")
    # All helpers are of one release: also calico_a was read again with calico_b.
    assert said == "oneone True\nsecondsecond oneone\nsecondthird\n"


def test_what_somebody_else_has_imported_is_not_trusted(helpers):
    """The release before this one imported them plainly."""
    said = helpers(f"""
import calico_b, pathlib
pathlib.Path("calico_b.py").write_text({B!r}.format(release="second"))
print(calico_loading.of_this_release()("calico_b").RELEASE)
""")
    assert said == "second\n"


def test_helpers_of_another_directory_are_not_taken_for_ours(helpers):
    other = helpers.directory / "other"
    other.mkdir()
    shutil.copy(LOADING, other)
    (other / "calico_b.py").write_text(B.format(release="other"))
    said = helpers(f"""
print(helper("calico_b").RELEASE)
sys.path.insert(0, {str(other)!r})
print(calico_loading.of_this_release()("calico_b").RELEASE)
""")
    assert said == "one\nother\n"


def test_threads_load_side_by_side(helpers):
    """Minions with `multiprocessing: False` run jobs in threads; the files change meanwhile."""
    said = helpers(f"""
import pathlib, threading
# Compiled files are told apart by size and whole seconds, which is too coarse for these.
sys.dont_write_bytecode = True
failed = []
def job():
    try:
        for _ in range(50):
            assert calico_loading.of_this_release()("calico_a").release()
    except BaseException as err:
        failed.append(repr(err))
threads = [threading.Thread(target=job) for _ in range(4)]
for thread in threads:
    thread.start()
number = 0
while any(thread.is_alive() for thread in threads):
    number += 1
    new = pathlib.Path("new")
    new.write_text({B!r}.format(release=str(number)))
    new.rename("calico_b.py")
for thread in threads:
    thread.join()
print(failed, calico_loading.of_this_release()("calico_a").release() == "one" + str(number))
""")
    assert said == "[] True\n"


def test_a_job_does_not_inherit_a_lock(helpers):
    """A job is a fork, made at a moment when a thread of the minion's may be loading."""
    (helpers.directory / "calico_slow.py").write_text(
        "import threading\nthreading.loading.set()\nthreading.go.wait(60)\nRELEASE = 'slow'\n"
    )
    said = helpers("""
import os, threading
threading.loading, threading.go = threading.Event(), threading.Event()
slow = helper("calico_slow")
thread = threading.Thread(target=lambda: slow.RELEASE)
thread.start()
threading.loading.wait(60)
threading.Timer(0.2, threading.go.set).start()
if not os.fork():
    print(helper("calico_b").RELEASE, flush=True)
    os._exit(0)
print(os.wait()[1], flush=True)
thread.join()
""")
    assert said == "one\n0\n"


def test_the_module_itself_is_loaded_side_by_side():
    """As Salt's loader does it, which gives it no place in sys.modules that others would find it by."""
    program = f"""
import importlib.util, threading
failed = []
def load():
    try:
        for _ in range(25):
            spec = importlib.util.spec_from_file_location("loaded", {str(ROOT / "_modules/calico.py")!r})
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            assert module.calico_settings.SettingsError
    except BaseException as err:
        failed.append(repr(err))
threads = [threading.Thread(target=load) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failed)
"""
    environment = {"PYTHONPATH": str(ROOT / "_utils"), "PATH": "/usr/bin:/bin"}
    assert programs.run([sys.executable, "-c", program], env=environment).stdout == "[]\n"
