"""The lab's own parts that can go wrong without a lab."""

import ipaddress
import os
import re
import subprocess
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from tests.integration import fleet as fleets
from tests.lab import __main__ as command
from tests.lab import (
    checks,
    demo,
    docker,
    etcd,
    hosts,
    lab,
    network,
    paths,
    pillar,
    processes,
    salt,
    settings,
)
from tests.lab.salt import Returned
from tests.support import programs, waiting

GOOD = {"result": True, "changes": {}, "duration": 1500.0}


@pytest.fixture
def refusal(monkeypatch):
    """A function that checks this machine as it is, and returns why it is refused."""

    def run(purpose="lab"):
        with pytest.raises((checks.Unfit, settings.Refused)) as caught:
            checks.check(purpose)
        said = str(caught.value)
        assert said.endswith(".") and "\n" not in said
        return said

    return run


@pytest.fixture
def root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(checks.capabilities, "has", lambda name: True)
    monkeypatch.setattr(checks.packages, "missing", lambda purpose: [])


def test_refuses_another_python(refusal, monkeypatch):
    monkeypatch.setattr(checks.sys, "version_info", (3, 12, 0))
    assert "Python 3.11 is needed" in refusal("venv")


def test_refuses_another_system(refusal, monkeypatch):
    monkeypatch.setattr(checks.sys, "platform", "darwin")
    assert "needs Linux" in refusal()


def test_refuses_without_root(refusal, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in refusal()


def test_refuses_without_packages_and_apt(refusal, root, monkeypatch):
    monkeypatch.setattr(checks.packages, "missing", lambda purpose: ["docker.io"])
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    assert "docker.io" in refusal()


def test_refuses_without_disk(refusal, root, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**10, 10**10, 10**8)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(checks, "_kernel", lambda: None)
    assert "0.1 GB free" in refusal()


def test_refuses_without_overlays_bridges_or_veths(refusal, root, monkeypatch):
    def no_bridge():
        raise checks.Unfit("The lab needs bridge interfaces (Operation not supported).")

    monkeypatch.setattr(checks, "_try_kernel", no_bridge)
    assert "needs bridge interfaces" in refusal()


@pytest.mark.parametrize("variable", ["CALICO_IMAGE_ARCHIVE", "CALICOCTL", "PROFILE"])
def test_refuses_originals_and_profiles_that_are_not_there(refusal, root, monkeypatch, variable):
    monkeypatch.setattr(checks, "_kernel", lambda: None)
    with pytest.raises(settings.Refused, match=variable):
        settings.check({variable: "/no/such"})


def test_a_version_given_replaces_the_profile_s():
    assert settings.from_environment({}).calico_version == "v2.6.2"
    assert settings.from_environment({"CALICO_VERSION": "v2.6.12"}).calico_version == "v2.6.12"


def test_a_version_given_belongs_to_a_profile():
    found = settings.from_environment({"CALICO_VERSION": "v3.32.1"})
    assert (found.profile, found.calico_version) == ("v3", "v3.32.1")
    with pytest.raises(settings.Refused, match="v4"):
        settings.check({"CALICO_VERSION": "v4.0.0"})


def test_a_lab_of_another_profile_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "PROFILE", tmp_path / "profile")
    monkeypatch.setattr(lab.docker, "running", lambda: True)
    lab.Lab(chosen=settings.from_environment({}))._claim_profile()
    lab.Lab(chosen=settings.from_environment({}))._claim_profile()
    with pytest.raises(settings.Refused, match="PROFILE=v2"):
        lab.Lab(chosen=settings.from_environment({"PROFILE": "v3"}))._claim_profile()
    monkeypatch.setattr(lab.docker, "running", lambda: False)
    lab.Lab(chosen=settings.from_environment({"PROFILE": "v3"}))._claim_profile()
    assert lab.PROFILE.read_text() == "v3"


def test_a_free_subnet_touches_neither_addresses_nor_routes(monkeypatch):
    taken = [subnet for subnet in network.CANDIDATES if subnet.network_address.packed[2] % 2]
    monkeypatch.setattr(network, "_used", lambda: iter(taken))
    free = network.free_subnet()
    assert not any(free.overlaps(other) for other in taken)


def test_no_free_subnet_is_said(monkeypatch):
    everything = [ipaddress.ip_network("0.0.0.0/1"), ipaddress.ip_network("64.0.0.0/2")]
    monkeypatch.setattr(network, "_used", lambda: iter(everything))
    with pytest.raises(RuntimeError, match="No free subnet"):
        network.free_subnet()


def test_a_port_in_use_is_not_taken():
    port = network.free_port("127.0.0.1", 20000)
    with network.socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        assert network.free_port("127.0.0.1", 20000) != port


def test_pillar_changes_go_deep_replace_lists_and_remove():
    base = {"etcd": {"endpoints": ["a", "b"], "tls": {"ca": "x"}}, "version": "v2.6.2"}
    changes = {"etcd": {"endpoints": ["c"]}, "version": pillar.REMOVED}
    assert pillar.merged(base, changes) == {"etcd": {"endpoints": ["c"], "tls": {"ca": "x"}}}
    assert base["version"] == "v2.6.2"


def test_a_minion_without_an_answer_is_not_in_the_answer():
    silent = {"out": "no_return", "ret": "Minion did not return. [No response]"}
    returned = Returned({"node1": {"ret": {"ready": False}, "retcode": 1}, "node2": silent})
    assert returned == {"node1": {"ready": False}}
    assert returned.retcode == {"node1": 1}


def test_demo_shows_hosts_that_failed_beside_those_that_did_not():
    broken = {"result": False, "changes": {}, "comment": "no such image", "name": "calico/node"}
    applied = {
        "node1": {"a": GOOD, "b": {**GOOD, "changes": {"x": 1}}},
        "node2": {"a": GOOD, "b": broken},
        "node3": ["Rendering SLS failed"],
    }
    rows = list(demo._apply_rows(["node1", "node2", "node3", "node4"], applied))
    assert rows == [
        ("node1", 2, 1, 0, "3.0 s"),
        ("node2", 1, 0, 1, "1.5 s"),
        ("node3", "-", "-", "-", "not applied"),
        ("node4", "-", "-", "-", "no answer"),
    ]
    assert list(demo._failures(["node1", "node2", "node3"], applied)) == [
        "node2: calico/node: no such image",
        "node3: Rendering SLS failed",
    ]


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Processes of a lab that is not there."""
    monkeypatch.setattr(processes.paths, "LOGS", tmp_path)
    monkeypatch.setattr(processes.paths, "RUN", tmp_path)
    monkeypatch.setattr(processes.paths, "PREFIX", f"test-{os.getpid()}")


def test_a_process_is_found_as_soon_as_it_was_started(family, monkeypatch):
    # The kernel starts a program and shows its environment a moment later: slow storage makes it a long one.
    shows, seen = processes.environ, []

    def later(pid):
        seen.append(pid)
        return shows(pid) if seen.count(pid) > 3 else b""

    monkeypatch.setattr(processes, "environ", later)
    pid = processes.spawn("sleeper", ["sleep", "60"])
    try:
        assert seen[:4] == [pid] * 4
        assert processes.leader("sleeper") == pid
    finally:
        processes.stop("sleeper")


def test_processes_are_found_by_their_mark_and_end_with_their_children(family):
    # A child that ignores being asked, as one that hangs does.
    stubborn = "trap '' TERM; sleep 1000 & echo started; wait"
    pid = processes.spawn("family", ["sh", "-c", stubborn])
    said = processes.log("family").read_text
    waiting.until(lambda: "started" in said(), said, possible=lambda: processes.alive(pid))
    assert processes.leader("family") == pid
    assert len(processes.find()) == 2
    processes.stop("family", patience=0.1)
    assert processes.find() == [] and processes.leader("family") is None


# --- what starts, and does not answer yet -----------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Deadlines pass without a wait."""
    passed = iter(range(10**9))
    clock = SimpleNamespace(monotonic=lambda: float(next(passed)), sleep=lambda _seconds: None)
    monkeypatch.setattr(waiting, "time", clock)


def one_sentence(error, log):
    """What the lab's command would print of it."""
    said = str(error)
    assert said.endswith(f"see {log}.") or f"see {log}, " in said, said
    assert "\n" not in said and "Traceback" not in said
    return said


class Client:
    """A client of a master; each question takes what ``answers`` has next: an error, or a function."""

    def __init__(self, answers):
        self._answers, self.patience = answers, []

    def cmd(self, target, _function, _arguments=(), timeout=None, **_options):
        self.patience.append(timeout)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer(target)


@pytest.fixture
def master(quick, monkeypatch, tmp_path):
    """master(answers, runs=True): a master whose clients get these answers; its minions are known."""
    monkeypatch.setattr(salt, "PKI", tmp_path)
    (tmp_path / "minions").mkdir()
    for name in ("node1", "node2"):
        (tmp_path / "minions" / name).touch()

    def make(*answers, runs=True):
        found, stream = salt.Master("10.96.0.1"), iter(answers)
        made = Client(stream)
        monkeypatch.setattr(salt.Master, "client", made)
        monkeypatch.setattr(processes, "leader", lambda name: 1 if runs else None)
        return found

    return make


def both(target):
    return dict.fromkeys(target, True)


def errors():
    from salt import exceptions

    return [
        exceptions.SaltReqTimeoutError("Salt request timed out. The master is not responding.\nUse --async"),
        exceptions.SaltClientError("no publisher"),
        exceptions.AuthenticationError("no key yet"),
        exceptions.EauthAuthenticationError("Failed to authenticate!"),
        exceptions.PublishError("not connected"),
    ]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_a_master_that_does_not_answer_yet_is_waited_for(master, error):
    master(error, error, both).wait_for(["node1", "node2"])


def test_minions_that_answer_one_by_one_are_asked_no_more(master):
    asked = []

    def first_only(target):
        asked.append(target)
        return {"node1": True, "node2": False}

    def again(target):
        asked.append(target)
        return both(target)

    found = master(first_only, again)
    found.wait_for(["node1", "node2"])
    assert asked == [["node1", "node2"], ["node2"]]
    # Impatient at first, as what is not connected yet never sees the question.
    assert found.client.patience == [1, 2]


def test_a_master_that_never_answers_is_one_sentence(master):
    error = errors()[0]
    with pytest.raises(salt.NoAnswer) as caught:
        master(*[error] * 1000).wait_for(["node2", "node1"])
    said = one_sentence(caught.value, processes.log("salt-master"))
    assert said.startswith("No answer from node1, node2 within 180 s")


def test_a_master_that_has_ended_is_not_waited_for(master):
    with pytest.raises(salt.NoAnswer) as caught:
        master(lambda _target: {}, runs=False).wait_for(["node1"])
    assert one_sentence(caught.value, processes.log("salt-master")).startswith("The Salt master has ended")


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_a_question_that_no_master_takes_is_one_sentence(master, error):
    with pytest.raises(salt.NoAnswer) as caught:
        master(error).call("*", "test.ping")
    one_sentence(caught.value, processes.log("salt-master"))


@pytest.mark.parametrize(
    "failure",
    [
        salt.NoAnswer("The Salt master gives no answer: see log."),
        docker.DockerError("dockerd gives no answer within 120 s: see log."),
        hosts.NotBooted("node1 has not booted: see log."),
        etcd.etcd.NoStart("etcd ends as soon as it starts: see log."),
        programs.Failed(1, ["false"], "", ""),
        waiting.Missed("not within 60 s: they end"),
        subprocess.TimeoutExpired(["sleep"], 3),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_the_commands_print_a_failure_and_no_traceback(monkeypatch, capsys, failure):
    def fails(_options):
        raise failure

    monkeypatch.setattr(command, "_status", fails)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    assert command.main(["status"]) == 1
    assert capsys.readouterr().err == f"{failure}\n"


@pytest.fixture
def daemon(quick, monkeypatch):
    """daemon(answers, alive=True): dockerd runs, and its client gets these answers, one each time."""

    def make(*answers, alive=True):
        stream = iter(answers)

        def run(*_arguments, **_options):
            answer = next(stream)
            if isinstance(answer, Exception):
                raise answer
            return subprocess.CompletedProcess([], answer)

        monkeypatch.setattr(docker, "run", run)
        monkeypatch.setattr(processes, "leader", lambda name: 1)
        monkeypatch.setattr(processes, "alive", lambda pid: alive)

    return make


def test_a_dockerd_that_does_not_answer_yet_is_no_dockerd_that_is_gone(daemon):
    """Else the next command would end it with all of its hosts."""
    daemon(1, subprocess.TimeoutExpired(["docker"], 60), 0)
    assert docker.running()


def test_a_dockerd_that_never_answers_does_not_run(daemon):
    daemon(*[1] * 1000)
    assert not docker.running()
    daemon(1, alive=False)
    assert not docker.running()


@pytest.mark.parametrize(("alive", "words"), [(True, "within 120 s"), (False, "ends as it starts")])
def test_a_dockerd_that_does_not_start_is_one_sentence(daemon, alive, words):
    daemon(alive=alive)
    with pytest.raises(docker.DockerError) as caught:
        docker._wait_for("dockerd", 1, lambda: False)
    assert words in one_sentence(caught.value, processes.log("dockerd"))


def test_an_etcd_that_runs_in_another_way_is_started_anew(monkeypatch, tmp_path, quick):
    """A test that was killed may have left one without an API, or at another port."""
    monkeypatch.setattr(etcd, "DIRECTORY", tmp_path)
    found = etcd.Etcd("127.0.0.1")
    monkeypatch.setattr(processes, "leader", lambda name: os.getpid())
    monkeypatch.setattr(found, "_answers", lambda: True)
    monkeypatch.setattr(found, "_alive", lambda: True)
    monkeypatch.setattr(processes, "command_line", lambda pid: found._argv())
    assert found._serves(())
    assert not found._serves(("--enable-v2=false",))
    monkeypatch.setattr(processes, "command_line", lambda pid: [*found._argv(), "--enable-v2=false"])
    assert not found._serves(())
    monkeypatch.setattr(processes, "command_line", lambda pid: found._argv())
    monkeypatch.setattr(found, "_answers", lambda: False)
    assert not found._serves(())


def test_an_etcd_that_starts_is_waited_for(monkeypatch, tmp_path, quick):
    monkeypatch.setattr(etcd, "DIRECTORY", tmp_path)
    found, answers = etcd.Etcd("127.0.0.1"), iter([False] * 20 + [True])
    monkeypatch.setattr(processes, "leader", lambda name: os.getpid())
    monkeypatch.setattr(processes, "command_line", lambda pid: found._argv())
    monkeypatch.setattr(found, "_answers", lambda: next(answers))
    monkeypatch.setattr(found, "_alive", lambda: True)
    assert found._serves(())


@pytest.mark.parametrize(
    ("count", "exactly", "there", "wanted", "removed"),
    [(3, True, 5, 3, ["node4", "node5"]), (3, True, 2, 3, []), (3, False, 5, 5, []), (4, False, 3, 4, [])],
)
def test_hosts_of_an_earlier_command_stay_or_are_removed(monkeypatch, count, exactly, there, wanted, removed):
    gone = []
    monkeypatch.setattr(hosts, "remove", lambda host: gone.append(host.name))
    found = lab.Lab(count=count, exactly=exactly, chosen=settings.from_environment({}))
    assert found._wanted([hosts.Host(f"node{n}", f"10.96.0.{10 + n}") for n in range(1, there + 1)]) == wanted
    assert gone == removed


# --- where the integration tests begin ---------------------------------------------------------------


class Recorder:
    """A lab, a host and a datastore that only note what is done to them, in order."""

    name, address = "node1", "10.96.0.11"

    def __init__(self, runs):
        self.hosts, self.master, self.done, self._runs = [self], self, [], iter(runs)

    def salt(self, names, function, *_arguments):
        self.done.append(function)
        return next(self._runs) if function == "saltutil.is_running" else {}

    def exec(self, command, check=True):
        self.done.append("tidied" if "systemctl" in command else "looked at")
        return subprocess.CompletedProcess([], 0, "2: eth0 inet 10.96.0.11/24")

    def wait_for(self, names):
        self.done.append("answers")

    def empty(self):
        self.done.append("emptied")

    def restart(self):
        self.done.append("restarted")


def settled(monkeypatch, *runs):
    here = Recorder(runs)
    monkeypatch.setattr(fleets.generations, "of", lambda lab: here)
    fleets.Fleet(here).settle()
    return here.done


def test_tests_begin_when_nothing_runs_any_more_and_the_datastore_is_empty(monkeypatch, quick):
    running, silent, rests = {"node1": [{"fun": "state.apply"}]}, {}, {"node1": []}
    done = settled(monkeypatch, running, silent, rests)
    asked = ["saltutil.is_running"] * 3
    assert done == [*asked, "tidied", "looked at", "answers", *["beacons.delete"] * 2, "emptied"]


def test_a_host_whose_address_a_killed_test_has_changed_is_restarted(monkeypatch, quick):
    monkeypatch.setattr(Recorder, "address", "10.96.0.12")
    assert "restarted" in settled(monkeypatch, {"node1": []})


def test_what_tidies_a_host_is_a_script_and_does_not_end_itself():
    script = fleets.TIDY.format(name="node1")
    programs.run(["sh", "-n"], input=script)
    patterns = re.findall(r"pkill \S+ -f '([^']+)'", script)
    assert patterns
    assert not [pattern for pattern in patterns if re.search(pattern, script)]


# --- nothing is printed that is not for the reader --------------------------------------------------

LOGS = """
from pathlib import Path
from tests.lab import paths
paths.LOGS = Path({place!r})
import salt.client, logging
logging.getLogger("salt.transport").error("Request timed out while waiting for a response. reconnecting.")
{quiet}
logging.getLogger("salt.transport").error("Once more.")
"""


@pytest.mark.parametrize("quiet", [True, False])
def test_what_salt_logs_goes_to_a_file(tmp_path, quiet):
    code = LOGS.format(
        place=str(tmp_path), quiet=2 * "from tests.lab import salt; salt.keep_quiet()\n" if quiet else ""
    )
    done = programs.run([sys.executable, "-c", code], cwd=paths.CHECKOUT)
    log = tmp_path / "salt-client.log"
    if quiet:
        assert done.stdout + done.stderr == ""
        assert log.read_text().count("reconnecting.") == log.read_text().count("Once more.") == 1
    else:
        # What the function is there for.
        assert "reconnecting." in done.stderr


def test_pytest_ends_without_a_word_of_salts_log(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import logging, salt.client\ndef test_it():\n    logging.getLogger('salt.x').error('not for you')\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        "test_it.py",
    ]
    done = programs.run(argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(paths.CHECKOUT)})
    assert "1 passed" in done.stdout
    assert "Logging error" not in done.stderr and "not for you" not in done.stdout + done.stderr
