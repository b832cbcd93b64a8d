"""Two looks at a node, and the events between them; the beacon's configuration."""

import importlib.util
import json
import re
from pathlib import Path

import calico_bird
import calico_watch
import pytest
import yaml

from tests.unit.test_bird import recorded

ROOT = Path(__file__).parents[2]
CONTAINER = {"id": "aaaa", "started": "2026-11-23T18:51:08.5Z"}
WELL = {"ready": True, "live": True, "reason": ""}
GONE = {"error": "/var/run/calico/bird.ctl: nobody answers there: BIRD does not run (Connection refused)"}


def bird(**sessions):
    """BIRD as it was recorded, with its sessions up or down as told, ``{address: up}``."""
    daemon = calico_bird.status(recorded("show status")[0])
    up, *_ = calico_bird.protocols(recorded("show protocols all")[0])
    down = dict(up, established=False, state="start", info="Active", reason="Socket: No route to host")
    found = [
        dict(up if is_up else down, name=f"Mesh_{name}", address=name.replace("_", "."))
        for name, is_up in sessions.items()
    ]
    return {"daemon": daemon, "sessions": found}


def later(bird, server_time, **daemon):
    return dict(bird, daemon=dict(bird["daemon"], server_time=server_time, **daemon))


def node(birds=None, felix=None, container=CONTAINER):
    if birds is None:
        birds = {"IPv4": bird(a=True, b=True)}
    return {"node": "node1", "birds": birds, "felix": felix or WELL, "container": container}


class Watch:
    """Looks one after the other; what the last one told."""

    def __init__(self, **options):
        self.state, self.now, self.options = None, 0, options

    def __call__(self, seconds=5, **seen):
        self.now += seconds
        # What is remembered passes through nothing that JSON could not: it may be looked at.
        state = json.loads(json.dumps(self.state))
        self.state, events = calico_watch.changes(state, node(**seen), self.now, **self.options)
        assert all(event["node"] == "node1" for event in events)
        return events

    def tags(self, *args, **seen):
        return [event["tag"] for event in self(*args, **seen)]


def v4(**sessions):
    return {"IPv4": bird(**sessions)}


@pytest.mark.parametrize(
    "seen",
    [
        {},
        {"birds": v4(a=False)},
        {"birds": {"IPv4": GONE}},
        {"birds": {}},
        {"felix": dict(WELL, ready=False)},
        {"container": None},
        {"container": {"error": "docker does not run"}},
    ],
)
def test_the_first_look_is_silent_and_so_is_one_that_shows_the_same(seen):
    watch = Watch()
    assert watch(**seen) == []
    assert watch(**seen) == []


def test_a_session_goes_down_and_comes_back():
    watch = Watch()
    watch()
    (event,) = watch(birds=v4(a=True, b=False))
    assert event == {
        "tag": "session/down",
        "kind": "session",
        "node": "node1",
        "name": "Mesh_b",
        "address": "b",
        "port": 179,
        "type": "node-to-node mesh",
        "as_number": 64512,
        "family": "IPv4",
        "old": "up",
        "new": "down",
        "info": "Active",
        "reason": "Socket: No route to host",
        "since": "18:53:38",
    }
    assert watch(birds=v4(a=True, b=False)) == []
    (event,) = watch()
    assert (event["tag"], event["old"], event["new"], event["address"]) == ("session/up", "down", "up", "b")
    assert watch() == []


def test_a_session_that_is_new_or_gone_counts_where_it_is_or_was_up():
    watch = Watch()
    watch(birds=v4(a=True))
    assert watch(birds=v4(a=True, new=False)) == []
    (event,) = watch(birds=v4(a=True, new=True))
    assert (event["tag"], event["old"], event["new"]) == ("session/up", "down", "up")
    (event,) = watch(birds=v4(a=True, new=True, other=True))
    assert (event["tag"], event["old"], event["new"]) == ("session/up", "absent", "up")
    assert watch(birds=v4(a=True, new=False, other=True))[0]["tag"] == "session/down"
    assert watch(birds=v4(a=True, other=True)) == []
    (event,) = watch(birds=v4(a=True))
    assert (event["tag"], event["old"], event["new"]) == ("session/down", "up", "absent")
    assert "no longer" in event["reason"]


def test_a_session_that_was_down_between_two_looks_is_told():
    watch = Watch()
    found = v4(a=True)
    assert watch(birds=found) == []
    # Up since 18:53:38; BIRD rounds, so that a second more or less is none.
    assert watch(birds={"IPv4": later(found["IPv4"], "2026-11-23 18:53:47")}) == []
    session = dict(found["IPv4"]["sessions"][0], since="18:53:51")
    again = dict(later(found["IPv4"], "2026-11-23 18:53:53"), sessions=[session])
    (event,) = watch(birds={"IPv4": again})
    assert (event["tag"], event["old"], event["new"]) == ("session/restarted", "up", "up")
    # After twenty hours BIRD writes a date: that is no change.
    watch(birds={"IPv4": later(again, "2026-11-24 13:00:00")})
    dated = dict(session, since="2026-11-23")
    assert watch(birds={"IPv4": dict(later(again, "2026-11-24 15:00:00"), sessions=[dated])}) == []


def test_a_bird_that_does_not_answer_is_told_once_and_not_as_sessions():
    watch = Watch()
    watch()
    (event,) = watch(birds={"IPv4": GONE})
    assert (event["tag"], event["family"], event["old"], event["new"]) == (
        "bird/silent",
        "IPv4",
        "answers",
        "no answer",
    )
    assert event["reason"] == GONE["error"]
    assert watch(birds={"IPv4": GONE}) == []
    # Another reason for the same is no news.
    assert watch(birds={"IPv4": {"error": "there is no such socket"}}) == []
    assert watch.tags() == ["bird/back"]
    assert watch() == []


def test_after_a_restart_of_bird_only_what_does_not_come_back_is_told():
    watch = Watch(settle=30)
    watch()
    watch(birds={"IPv4": GONE})
    assert watch.tags(birds=v4(a=False, b=False)) == ["bird/back"]
    assert watch(10, birds=v4(a=True, b=False)) == []
    assert watch(10, birds=v4(a=True)) == []
    (event,) = watch(10, birds=v4(a=True, b=False))
    assert (event["tag"], event["name"]) == ("session/down", "Mesh_b")
    assert watch.tags() == ["session/up"]


def test_a_restart_of_bird_between_two_looks_is_seen_by_its_age():
    watch = Watch(settle=30)
    watch()
    anew = later(
        bird(a=False, b=True),
        "2026-11-23 18:53:53",
        last_reboot="2026-11-23 18:53:50",
    )
    assert watch.tags(birds={"IPv4": anew}) == ["bird/restarted"]
    assert watch(birds={"IPv4": later(anew, "2026-11-23 18:53:58")}) == []
    # The clock of the host was set: how long BIRD runs is the same.
    moved = later(anew, "2026-11-23 20:53:58", last_reboot="2026-11-23 20:53:50")
    moved["sessions"] = [dict(session, since="20:53:38") for session in moved["sessions"]]
    assert watch(birds={"IPv4": moved}) == []
    assert watch.tags(60, birds={"IPv4": moved}) == ["session/down"]


def test_both_families_are_watched_apart():
    watch = Watch()
    both = {"IPv4": bird(a=True), "IPv6": bird(c=True)}
    watch(birds=both)
    assert watch.tags(birds={"IPv4": bird(a=False), "IPv6": GONE}) == ["session/down", "bird/silent"]
    watch(birds=both)
    assert watch.tags(60, birds={"IPv4": bird(a=True)}) == ["bird/silent"]
    # A family that comes later is not compared with anything.
    watch = Watch()
    watch(birds=v4(a=True))
    assert watch(birds=both) == []


def test_very_many_sessions_are_one_event():
    names = [f"s{number}" for number in range(60)]
    watch = Watch(most=50)
    watch(birds=v4(**dict.fromkeys(names, True)))
    (event,) = watch(birds=v4(**dict.fromkeys(names, False)))
    assert (event["tag"], event["kind"], event["count"]) == ("sessions/down", "sessions", 60)
    assert (event["old"], event["new"]) == ("up", "down")
    assert sorted(event["addresses"]) == sorted(names)
    assert watch(birds=v4(**dict.fromkeys(names, False))) == []
    some = {name: number < 50 for number, name in enumerate(names)}
    assert watch.tags(birds=v4(**some)) == ["session/up"] * 50


def test_felix_and_the_container():
    watch = Watch()
    watch()
    (event,) = watch(felix={"ready": False, "live": True, "reason": "127.0.0.1:9099 answers 503"})
    assert (event["tag"], event["old"], event["new"]) == ("felix/not_ready", "ready", "not ready")
    assert "503" in event["reason"]
    assert watch.tags() == ["felix/ready"]
    other = dict(CONTAINER, started="2026-11-23T19:00:00Z")
    (event,) = watch(container=other)
    assert (event["tag"], event["old"], event["new"]) == ("container/restarted", CONTAINER, other)
    assert watch.tags(container={"id": "bbbb", "started": "x"}) == ["container/restarted"]
    assert watch.tags(container=None) == ["container/gone"]
    assert watch(container=None) == []
    assert watch.tags() == ["container/back"]


def test_a_docker_that_does_not_answer_is_not_a_container_that_is_gone():
    watch = Watch()
    watch()
    silent = {"error": "there is no /var/run/docker.sock: docker does not run"}
    (event,) = watch(container=silent)
    assert (event["tag"], event["reason"]) == ("docker/silent", silent["error"])
    assert watch(container=silent) == []
    assert watch.tags() == ["docker/back"]
    watch(container=silent)
    assert watch.tags(container=dict(CONTAINER, id="bbbb")) == ["docker/back", "container/restarted"]
    # Never seen before: nothing is known that could have changed.
    watch = Watch()
    watch(container=silent)
    assert watch.tags() == ["docker/back"]


def test_which_container_runs():
    state = {"Running": True, "StartedAt": "2026-11-23T18:51:08.5Z"}
    assert calico_watch.running({"Id": "aaaa", "State": state}) == CONTAINER
    assert calico_watch.running({"Id": "aaaa", "State": dict(state, Running=False)}) is None
    assert calico_watch.running(None) is None


@pytest.mark.parametrize(
    "since, server_time, seconds",
    [
        ("18:53:38", "2026-11-23 18:53:48", 10),
        ("18:53:50", "2026-11-23 18:53:48", 0),
        ("23:59:59", "2026-11-23 00:00:09", 10),
        ("18:53:38.123", "2026-11-23 18:53:48.500", 10),
        ("2026-11-21", "2026-11-23 00:00:10", 2 * 86400 + 10),
        ("2026-11-23 18:00:00", "2026-11-23 18:53:48", 53 * 60 + 48),
        ("yesterday", "2026-11-23 18:53:48", None),
        ("18:53:38", "", None),
    ],
)
def test_how_long_ago(since, server_time, seconds):
    assert calico_bird.seconds_since(since, server_time) == seconds


# --- the beacon ------------------------------------------------------------------------------------


@pytest.fixture
def beacon():
    """The beacon as a loader has it: read anew, with Salt's functions put in."""
    spec = importlib.util.spec_from_file_location("calico_bgp", ROOT / "_beacons" / "calico_bgp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__salt__ = {}
    return module


@pytest.mark.parametrize(
    "config",
    [
        [],
        [{"interval": 5}],
        [{"interval": 5, "settle": 0}, {"most": 100}],
        [{"settle": 1.5}, {"enabled": True}, {"_beacon_name": "x"}, {"beacon_module": "calico_bgp"}],
    ],
)
def test_configurations_that_are_right(beacon, config):
    assert beacon.validate(config) == (True, "Valid beacon configuration")


@pytest.mark.parametrize(
    "config, words",
    [
        ({"interval": 5}, ["calico_bgp: got {'interval': 5}", "a list of mappings"]),
        (["interval"], ["got ['interval']", "a list of mappings"]),
        ([{"intervall": 5}], ["calico_bgp:intervall: got an unknown key", "interval", "settle", "most"]),
        ([{"settle": "long"}], ["calico_bgp:settle: got 'long'", "from 0 to 3600"]),
        ([{"settle": True}], ["calico_bgp:settle: got True"]),
        ([{"most": 0}], ["calico_bgp:most: got 0", "from 1 to 100000"]),
        ([{"most": 1.5}], ["calico_bgp:most: got 1.5"]),
    ],
)
def test_configurations_that_are_wrong(beacon, config, words):
    valid, said = beacon.validate(config)
    assert valid is False
    assert all(word in said for word in words), said


def test_the_beacon_hands_on_what_it_remembers(beacon):
    calls = []

    def watched(**given):
        calls.append(given)
        return {"state": {"number": len(calls)}, "events": [{"tag": "felix/ready"}]}

    beacon.__salt__["calico.watched"] = watched
    config = [{"interval": 5, "settle": 7}, {"_beacon_name": "one"}]
    assert beacon.beacon(config) == [{"tag": "felix/ready"}]
    beacon.beacon(config)
    beacon.beacon([{"_beacon_name": "two"}])
    assert calls == [
        {"before": None, "settle": 7},
        {"before": {"number": 1}, "settle": 7},
        {"before": None},
    ]


def test_a_beacon_without_its_module_says_so_once_and_sends_nothing(beacon, monkeypatch):
    said = []
    monkeypatch.setattr(beacon.log, "warning", lambda *words: said.append(words))
    assert beacon.beacon([]) == []
    assert beacon.beacon([]) == []
    assert len(said) == 1


def test_the_example_pillar_shows_what_the_documentation_does(beacon):
    text = (ROOT / "pillar.example").read_text(encoding="utf-8").partition("docs/metrics.md.\n")[2]
    shown = yaml.safe_load(re.sub(r"(?m)^# ", "", text))
    docs = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("events.md", "metrics.md"))
    blocks = [
        yaml.safe_load(block) for block in re.findall(r"```yaml\n((?:beacons|schedule):.*?)```", docs, re.S)
    ]
    documented = {key: value for block in blocks for key, value in block.items()}
    assert shown["schedule"] == documented["schedule"]
    assert shown["beacons"]["calico_bgp"][:1] == documented["beacons"]["calico_bgp"]
    assert beacon.validate(shown["beacons"]["calico_bgp"])[0]
