"""A bundle: bounded in time and size, complete where half of it is broken, and without a process left."""

import json
import os
import signal
import stat
import sys
import tarfile
import time

import calico_diagnostics as diagnostics
import pytest
from calico_diagnostics import Part

from tests.support import waiting

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


def python(code):
    return [sys.executable, "-c", code]


def gather(*args, **kwargs):
    return diagnostics.gather(*args, **{"deadline": waiting.PATIENCE, **kwargs})


# --- one part --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part, content",
    [
        (Part("x", ["echo", "hello"]), b"hello\n"),
        (Part("x", python("import sys; print('out', flush=True); sys.stderr.write('err')")), b"out\nerr"),
        (Part("x", function=lambda: "text"), b"text"),
        (Part("x", function=lambda: b"\xff"), b"\xff"),
        (Part("x", function=lambda: {"a": [1, "ü"]}), '{\n "a": [\n  1,\n  "ü"\n ]\n}'.encode()),
        (Part("x", function=lambda: ""), b""),
    ],
)
def test_what_a_part_gives(part, content):
    found = gather(part)
    assert (found.content, found.truncated, found.error) == (content, False, None)


def fails():
    raise RuntimeError("the datastore cannot be read")


@pytest.mark.parametrize(
    "part, error",
    [
        (Part("x", ["no-such-program"]), "there is no program 'no-such-program' on this host"),
        (Part("x", ["/etc/passwd"]), "'/etc/passwd' cannot be run: Permission denied"),
        (Part("x", function=fails), "the datastore cannot be read"),
        (Part("x", function=lambda: os.kill(os.getpid(), signal.SIGKILL)), "it ended with status 9"),
        (Part("x", function=lambda: sys.exit(3)), "it ended with status 256"),
    ],
)
def test_why_a_part_failed(part, error):
    found = gather(part)
    assert (found.content, found.error) == (b"", error)


def test_what_a_command_said_before_it_failed_is_kept():
    found = gather(Part("x", python("print('half'); raise SystemExit(3)")))
    assert found.content == b"half\n"
    assert found.error.endswith("ended with exit code 3")


@pytest.mark.parametrize("end, content", [(False, b"0123456789"), (True, b"\nlast line")])
def test_what_is_too_long_is_cut(end, content):
    parts = [
        Part("x", ["sh", "-c", "printf '0123456789\n'; seq 100000; printf 'last line'"], end=end),
        Part("x", function=lambda: "0123456789\n" + "x" * 1000000 + "\nlast line", end=end),
    ]
    for part in parts:
        found = gather(part, size=10)
        assert (found.content, found.truncated, found.error) == (content, True, None)


def test_one_that_writes_for_ever_is_ended_at_its_size():
    found = gather(Part("x", ["yes"]), size=100000)
    # Not by its deadline, which would be an error.
    assert (len(found.content), found.truncated, found.error) == (100000, True, None)


@pytest.mark.parametrize("closes", [False, True])
def test_one_that_hangs_is_killed_with_its_children(tmp_path, closes):
    """Also those in a session of their own, as calicoctl's; also where its output is closed."""
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "grandchild = subprocess.Popen(['sh', '-c', 'sleep 600 & echo $!; wait'], stdout=subprocess.PIPE)\n"
        "last = grandchild.stdout.readline().decode()\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} {{grandchild.pid}} {{last}}')\n"
        "print('begun', flush=True)\n"
    )
    if closes:
        code += "os.close(1); os.close(2)\n"
    found = gather(Part("x", python(code + "time.sleep(600)\n")), deadline=5)
    assert found.content == b"begun\n"
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 4
    waiting.gone(started)


def test_a_function_that_hangs_is_killed():
    found = gather(Part("x", function=lambda: time.sleep(600)), deadline=0.3)
    assert found.error == "it did not end within 0.3 s and was killed"


# --- the bundle ------------------------------------------------------------------------------------


def made(tmp_path, parts, scrub=str, node="node1", **options):
    return diagnostics.bundle(parts, scrub, str(tmp_path), node, **options)


def contents(path):
    """``{name in the bundle: text}`` and the manifest, all in one folder."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert all(member.isfile() and member.mode == 0o600 for member in members)
        found = {member.name: archive.extractfile(member).read().decode() for member in members}
    (folder,) = {name.partition("/")[0] for name in found}
    assert os.path.basename(path) == folder + ".tar.gz"
    found = {name.partition("/")[2]: text for name, text in found.items()}
    return found, json.loads(found.pop("manifest.json"))


PARTS = [
    Part("good.txt", ["echo", "hello"]),
    Part("missing.txt", ["no-such-program"]),
    Part("hangs.txt", SLEEPS),
    Part("long.txt", ["yes"]),
    Part("data.json", function=lambda: {"a": 1}),
]


def test_where_half_of_it_is_broken_the_other_half_is_there(tmp_path):
    found = made(tmp_path, PARTS, deadline=5, about={"formula": "abc"})
    assert found["parts"] == 5
    assert sorted(found["failed"]) == ["hangs.txt", "missing.txt"]
    assert found["bytes"] == os.path.getsize(found["path"])
    assert stat.S_IMODE(os.stat(found["path"]).st_mode) == 0o600
    texts, manifest = contents(found["path"])
    assert texts["good.txt"] == "hello\n"
    assert json.loads(texts["data.json"]) == {"a": 1}
    assert len(texts["long.txt"]) == diagnostics.PART_SIZE
    assert (manifest["node"], manifest["formula"]) == ("node1", "abc")
    rows = {row["part"]: row for row in manifest["parts"]}
    assert list(rows) == [part.name for part in PARTS]
    assert rows["long.txt"]["truncated"] and not rows["good.txt"]["truncated"]
    assert rows["hangs.txt"]["error"] == "it did not end within 5 s and was killed"
    assert rows["hangs.txt"]["seconds"] >= 5
    assert rows["good.txt"]["bytes"] == 6
    assert rows["good.txt"]["command"] == "echo hello"
    assert os.listdir(tmp_path) == [os.path.basename(found["path"])]


def test_all_parts_together_have_a_budget(tmp_path):
    parts = [Part(f"{number}.txt", SLEEPS) for number in range(9)] + [Part("last.txt", ["true"])]
    found = made(tmp_path, parts, deadline=0.4, budget=1)
    assert "was killed" in found["failed"]["0.txt"]
    assert found["failed"]["last.txt"] == "not run: the time for all parts was used up"


def test_all_parts_together_have_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "WHOLE_SIZE", 1000)
    part = ["sh", "-c", "seq 1000 | head -c 600"]
    found = made(tmp_path, [Part("a", part), Part("b", part), Part("c", part)])
    texts, manifest = contents(found["path"])
    assert [len(texts[name]) for name in "ab"] == [600, 400]
    assert [row["truncated"] for row in manifest["parts"]] == [False, True, False]
    assert found["failed"] == {"c": "not run: the room for all parts was used up"}


def test_all_text_is_scrubbed_also_that_of_errors(tmp_path):
    def fails():
        raise RuntimeError("wrong password geheim")

    parts = [Part("a", ["echo", "geheim"]), Part("b", ["geheim"]), Part("c", function=fails)]
    found = made(tmp_path, parts, scrub=lambda text: text.replace("geheim", "***"), about={"x": "geheim"})
    texts, manifest = contents(found["path"])
    assert texts["a"] == "***\n"
    assert "geheim" not in json.dumps([texts, manifest, found])


def test_old_bundles_make_room_and_nothing_else_does(tmp_path):
    others = ["calico-diagnostics-x.txt", "other.tar.gz", "calico-diagnostics-d.tar.gz"]
    for name in others[:2]:
        (tmp_path / name).touch()
    (tmp_path / others[2]).mkdir()
    (tmp_path / "calico-diagnostics-link.tar.gz").symlink_to(tmp_path / "other.tar.gz")
    kept = []
    for number in range(5):
        found = made(tmp_path, [Part("a", ["true"])], keep=2, node=f"../n {number}")
        os.utime(found["path"], (number + 1, number + 1))
        kept.append(os.path.basename(found["path"]))
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "calico-diagnostics-link.tar.gz", *kept[-2:]])
    assert kept[0].startswith("calico-diagnostics-.._n_0-")


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(diagnostics.CannotWrite, match="not/there: No such file"):
        made(tmp_path / "not" / "there", [])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(diagnostics, "_add", full)
    with pytest.raises(diagnostics.CannotWrite, match="No space left"):
        made(tmp_path, [Part("a", ["echo", "x"])])
    assert os.listdir(tmp_path) == []


# --- files -----------------------------------------------------------------------------------------


def test_files_and_directories_with_headings(tmp_path):
    (tmp_path / "a.conf").write_text('{"token": "x"}')
    (tmp_path / "b.conf").write_text("b: {c: 1}\n---\nd: 2\n")
    (tmp_path / "c.env").write_text("# no\nA_PASSWORD=x=y z\n\nB=\n")
    (tmp_path / "d.conf").write_text("{not: [yaml")
    os.mkfifo(tmp_path / "pipe")
    text = diagnostics.files(str(tmp_path), str(tmp_path / "missing"))
    assert f"== {tmp_path}/a.conf\n" + '{"token": "x"}' in text
    assert text.endswith(f"== {tmp_path}/missing: No such file or directory")
    found = diagnostics.configurations(str(tmp_path), str(tmp_path / "missing"))
    assert [{"token": "x"}] in found
    assert [{"b": {"c": 1}}, {"d": 2}] in found
    assert {"A_PASSWORD": "x=y z", "B": ""} in found


def test_kernel_switches_without_the_secret_ones(tmp_path):
    for path, value in {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/eth0/rp_filter": "2",
        "net/ipv4/tcp_fastopen_key": "geheim",
        "net/ipv6/conf/all/stable_secret": "geheim",
        "kernel/random/uuid": "x",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(value + "\n")
    assert diagnostics.sysctls(str(tmp_path)) == "net.ipv4.conf.eth0.rp_filter = 2\nnet.ipv4.ip_forward = 1\n"
    assert "net.ipv4.ip_forward" in diagnostics.sysctls()
