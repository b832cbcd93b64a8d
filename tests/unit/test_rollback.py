"""The kept set of files, and the rule by which it is put back."""

import copy
import json

import calico_rollback as rollback
import calico_settings
import pytest

CNI_FILES = ("/etc/cni/net.d/10-calico.conf", "/etc/cni/net.d/10-calico.conflist")
FILES = {
    rollback.UNIT_FILE: (0o644, b"[Service]\nExecStart=docker --label=calico-formula.configuration=abc \\\n"),
    rollback.ENVIRONMENT_FILE: (0o600, b"SECRET=\xc3\xa4 \xff\x00"),
    CNI_FILES[1]: None,
}
IMAGE = {"name": "calico/node:v2.6.2", "id": "sha256:1"}


def settings(**tls):
    return calico_settings.check(
        {
            "version": "v2.6.2",
            "etcd": {"endpoints": ["https://10.0.0.9:2379"], "tls": {"ca": "salt://ca", **tls}},
            "network": {"pools": [{"cidr": "172.20.0.0/16"}]},
        }
    )


# --- the set -----------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_byte_for_byte():
    text = rollback.pack(FILES, IMAGE)
    assert rollback.unpack(text) == {"files": FILES, "image": IMAGE}
    assert rollback.pack(dict(reversed(FILES.items())), dict(IMAGE)) == text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: kept.update(format=99),
        lambda kept: kept.pop("image"),
        lambda kept: kept["files"].update(x={"mode": 1}),
        lambda kept: kept["files"].update(x={"mode": 1, "content": "SECRETKEY?"}),
        lambda kept: kept.update(files=["SECRETKEY"]),
    ],
)
def test_what_is_not_ours_is_refused_without_a_word_of_it(spoil):
    kept = json.loads(rollback.pack(FILES, IMAGE))
    spoil(kept)
    for text in (json.dumps(kept), json.dumps(kept)[:-9]):
        with pytest.raises(rollback.Unusable) as caught:
            rollback.unpack(text)
        assert "SECRETKEY" not in str(caught.value)


def test_a_certificate_at_the_very_path_is_the_users_own():
    own = settings(cert="/etc/calico/ssl/calico.pem", key="salt://key")
    found = rollback.paths(own, "/etc/calico/calicoctl.cfg")
    assert "/etc/calico/ssl/calico.pem" not in found
    assert {"/etc/calico/ssl/ca.pem", "/etc/calico/ssl/calico-key.pem", *CNI_FILES} <= set(found)
    # What the container does not read may change without a restart.
    assert not set(CNI_FILES) & set(rollback.read_by_container(own))
    own["cni"]["enabled"] = False
    assert not set(CNI_FILES) & set(rollback.paths(own, "x"))


def inspected(label="abc", running=True, started="2026-11-24T13:00:00.5Z"):
    labels = {"calico-formula.configuration": label}
    return {"State": {"Running": running, "StartedAt": started}, "Config": {"Labels": labels}}


STARTED = 1795525200.5


@pytest.mark.parametrize(
    ("changed", "container", "same"),
    [
        (STARTED - 1, inspected(), True),
        (STARTED + 0.1, inspected(), False),  # a file is newer than the container
        (STARTED - 1, inspected("other"), False),
        (STARTED - 1, inspected(None), False),  # started by hand
        (STARTED - 1, inspected(running=False), False),
        (STARTED - 1, inspected(started="0001-01-01T00:00:00Z"), False),
        (STARTED - 1, inspected(started="?"), False),
        (STARTED - 1, None, False),
    ],
)
def test_files_are_proven_only_by_a_container_that_was_started_with_them(changed, container, same):
    assert rollback.is_what_runs(FILES[rollback.UNIT_FILE][1], changed, container) is same
    assert not rollback.is_what_runs(b"no label", changed, container)


# --- the rule ----------------------------------------------------------------------------------------

TWO, THREE, SIX = ["10.0.0.2", 179], ["10.0.0.3", 179], ["fd00::2", 179]
BEFORE = {
    "node": "node1",
    "backend": "bird",
    "felix_port": 9099,
    "service": True,
    "felix": True,
    "birds": ["IPv4", "IPv6"],
    "sessions": [TWO, THREE],
    "registered": True,
    "expected": [TWO, THREE],
}


def after(**changes):
    return {**copy.deepcopy(BEFORE), **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"service": False}, "the service does not run"),
        ({"felix": False}, "Felix is not ready"),
        ({"registered": False}, "the node is not registered"),
        ({"birds": ["IPv6"]}, "BIRD gives no answer (IPv4)"),
        ({"sessions": []}, "none of 2 sessions that were Established is (IPv4)"),
        # Another one that came up makes no difference.
        ({"sessions": [SIX]}, "none of 2 sessions that were Established is (IPv4)"),
        # Where etcd cannot be asked, all that were up count.
        ({"sessions": [], "expected": None}, "none of 2 sessions that were Established is (IPv4)"),
    ],
)
def test_what_is_the_nodes_own_and_went_down_is_a_reason(changes, words):
    assert rollback.worse(BEFORE, after(**changes)) == [words]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sessions": [TWO]},  # a neighbour died meanwhile
        {"sessions": [], "expected": []},  # the datastore asks for none any more
        {"sessions": [THREE], "expected": [THREE]},
        {"registered": None},  # etcd could not be asked
        {"backend": "none", "birds": [], "sessions": []},  # as the settings want it
    ],
)
def test_what_is_no_reason(changes):
    assert rollback.worse(BEFORE, after(**changes)) == []


def test_what_was_down_before_is_no_reason_and_families_are_apart():
    down = after(service=False, felix=False, registered=False, birds=[], sessions=[])
    assert rollback.worse(down, down) == []
    assert rollback.worse(down, BEFORE) == []
    both = after(sessions=[TWO, SIX], expected=[TWO, SIX])
    found = rollback.worse(both, after(sessions=[TWO], expected=[TWO, SIX]))
    assert found == ["the session that was Established is not (IPv6)"]


def test_single_sessions_that_were_lost_are_named():
    assert rollback.lost(BEFORE, after(sessions=[TWO])) == ["10.0.0.3"]
    assert rollback.lost(BEFORE, after(sessions=[TWO], expected=[TWO])) == []
    assert rollback.lost(BEFORE, BEFORE) == []


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"sessions": [TWO]}, True),
        ({"sessions": []}, False),
        ({"sessions": [], "expected": []}, True),  # the only node
        ({"sessions": [], "expected": [], "registered": None}, False),
        ({"sessions": [], "backend": "none"}, True),
        ({"felix": False}, False),
        ({"service": False}, False),
    ],
)
def test_a_node_that_works_by_itself_is_good(changes, good):
    assert bool(rollback.is_good(after(**changes))) is good


def test_a_record_is_read_as_it_was_written_or_refused():
    assert rollback.recorded(rollback.record(BEFORE)) == BEFORE
    for text in ("", "{}", "[]", rollback.record({"service": True}), rollback.record(BEFORE)[:-5]):
        with pytest.raises(rollback.Unusable):
            rollback.recorded(text)
    later = json.loads(rollback.record(BEFORE))
    later["format"] = 2
    with pytest.raises(rollback.Unusable):
        rollback.recorded(json.dumps(later))


def test_what_is_seen_counts_sessions_that_wait_for_a_graceful_restart():
    def session(address, state, info):
        up = (state, info) == ("up", "Established")
        return {"address": address, "port": 179, "state": state, "info": info, "established": up}

    look = {
        "service": {"active": True},
        "felix": {"ready": False},
        "bird": {"IPv4": {"graceful_restart": True}},
        "sessions": [session("10.0.0.2", "wait", "Established"), session("10.0.0.3", "start", "Active")],
    }
    expected = [{"address": "10.0.0.3", "port": 179, "name": "x"}]
    found = rollback.seen(look, "node1", "bird", 9099, True, expected)
    assert (found["service"], found["felix"], found["birds"]) == (True, False, ["IPv4"])
    assert (found["sessions"], found["expected"]) == ([TWO], [THREE])
    # Where nodes listen at another port, BIRD's names have none.
    expected = [{"address": "10.0.0.3", "port": 1790, "name": "Mesh_10_0_0_3"}]
    assert rollback.seen(look, "node1", "bird", 9099, True, expected)["expected"] == [THREE]


def test_a_felix_that_cannot_be_asked_was_not_lost():
    """As after calico:felix:HealthEnabled was set to false."""
    look = {
        "service": {"active": True},
        "felix": {"live": None, "ready": None, "reason": "off"},
        "bird": {},
        "sessions": [],
    }
    now = rollback.seen(look, "node1", "none", 9099, True, [])
    before = dict(now, felix=True)
    assert rollback.worse(before, now) == []
    assert rollback.is_good(now)
    assert rollback.worse(before, dict(now, felix=False)) == ["Felix is not ready"]
