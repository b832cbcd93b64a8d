"""Metrics of a node, as a real parser of Prometheus' text format reads them."""

import datetime
import os
import stat

import calico_bird
import calico_metrics
import calico_pem
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import pki
from tests.unit.test_bird import recorded

SESSION = {"address": "172.31.78.2", "as": "64512", "name": "Mesh_172_31_78_2", "port": "179"}


def facts(**changes):
    sessions = calico_bird.protocols(recorded("show protocols all")[0])
    sessions += calico_bird.protocols(recorded("show protocols all", "bird6 1.6.8")[0])
    status = {
        "ready": True,
        "service": {"active": True},
        "felix": {"ready": True, "live": True},
        "bird": {
            "IPv4": calico_bird.status(recorded("show status")[0]),
            "IPv6": calico_bird.status(recorded("show status", "bird6 1.6.8")[0]),
        },
        "sessions": sessions,
    }
    made = {
        "node": "node1",
        "wanted": "v3.22.5",
        "image": "calico/node:v3.22.5",
        "formula": "abc",
        "status": status,
        "container": {"id": "aaaa", "started": "2026-11-23T18:51:08.500000001Z"},
        "drift": False,
        "expiry": {"cert": datetime.datetime(2027, 1, 1, tzinfo=datetime.timezone.utc)},
        "errors": {"bird": False, "docker": False},
        "seconds": 0.0123,
    }
    made.update(changes)
    return made


def parsed(text):
    """``{sample: {labels: value}}``, by a parser that is not ours; what it lets pass is checked here."""
    lines = text.split("\n")
    assert lines[-1] == "" and "" not in lines[:-1]
    assert "# EOF" not in text
    names = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(names) == len(set(names)), "a family in two places"
    current = None
    for line in lines[:-1]:
        if line.startswith("# HELP "):
            current = line.split()[2]
        assert line.split("{")[0].split()[0 if line[0] != "#" else 2] == current, line
    families = list(text_string_to_metric_families(text))
    assert [family.name for family in families] == names
    result = {}
    for family in families:
        assert family.documentation and family.type == "gauge"
        assert family.samples, f"{family.name} has no sample"
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in result.setdefault(sample.name, {}), "the same sample twice"
            result[sample.name][labels] = sample.value
    return result


def value(found, metric, /, **labels):
    """The one value of a metric whose labels include these."""
    (only,) = (value for key, value in found[metric].items() if set(labels.items()) <= key)
    return only


def test_a_node_that_is_up():
    found = parsed(calico_metrics.text(facts()))
    for name in ("node_ready", "service_active", "felix_ready", "felix_live", "container_running"):
        assert value(found, f"calico_{name}") == 1
    info = {"node": "node1", "wanted": "v3.22.5", "image": "calico/node:v3.22.5", "formula": "abc"}
    assert value(found, "calico_node_info", **info) == 1
    assert value(found, "calico_bird_info", family="IPv6", version="1.6.8", router_id="172.31.78.1") == 1
    assert value(found, "calico_drift_pending") == 0
    started = datetime.datetime(2026, 11, 23, 18, 51, 8, 500000, tzinfo=datetime.timezone.utc)
    assert value(found, "calico_container_start_time_seconds") == started.timestamp()
    ends = datetime.datetime(2027, 1, 1, tzinfo=datetime.timezone.utc).timestamp()
    assert found["calico_certificate_expiry_timestamp_seconds"] == {frozenset({("part", "cert")}): ends}
    assert value(found, "calico_read_error", source="bird") == 0
    assert value(found, "calico_scrape_duration_seconds") == 0.0123
    assert "calico_bgp_sessions_expected" not in found


def test_every_session_has_its_own():
    found = parsed(calico_metrics.text(facts()))
    up = {dict(key)["name"]: value for key, value in found["calico_bgp_session_up"].items()}
    assert up == {
        "Mesh_172_31_78_2": 1,
        "Mesh_172_31_78_99": 0,
        "Node_172_31_78_98": 0,
        "Mesh_172_31_78_97": 0,
        "Mesh_fd80_24e2_f998_72d7__2": 1,
    }
    assert value(found, "calico_bgp_session_up", type="node-to-node mesh", **SESSION) == 1
    assert value(found, "calico_bgp_routes_imported", **SESSION) == 2
    assert value(found, "calico_bgp_routes_exported", **SESSION) == 1
    assert value(found, "calico_bgp_routes_preferred", **SESSION) == 2
    # Up since 18:53:38 by BIRD's own clock, which says 18:53:48.
    assert value(found, "calico_bgp_session_changed_seconds", **SESSION) == 10
    assert value(found, "calico_bgp_session_changed_seconds", name="Mesh_fd80_24e2_f998_72d7__2") == 157


def test_expected_sessions_only_where_the_datastore_was_asked():
    expected = [
        {"address": "172.31.78.2", "port": 179},
        {"address": "172.31.78.99", "port": 179},
        {"address": "10.9.9.9", "port": 179},
    ]
    found = parsed(calico_metrics.text(facts(expected=expected)))
    assert value(found, "calico_bgp_sessions_expected") == 3
    assert value(found, "calico_bgp_sessions_missing") == 2
    found = parsed(calico_metrics.text(facts(expected=[])))
    assert value(found, "calico_bgp_sessions_expected") == 0


def test_a_broken_node_says_what_is_broken():
    status = {
        "ready": False,
        "service": {"active": False},
        "felix": {"ready": False, "live": False},
        "bird": {},
        "sessions": [],
    }
    errors = {"bird": True, "docker": True, "settings": True}
    found = parsed(calico_metrics.text({"node": "n", "status": status, "errors": errors, "seconds": 2}))
    for name in ("node_ready", "service_active", "felix_ready", "felix_live"):
        assert value(found, f"calico_{name}") == 0
    assert {dict(key)["source"]: value for key, value in found["calico_read_error"].items()} == {
        "bird": 1,
        "docker": 1,
        "settings": 1,
    }
    assert not [name for name in found if name.startswith(("calico_bgp", "calico_container", "calico_drift"))]


def test_no_container_is_a_value_and_no_answer_is_none():
    found = parsed(calico_metrics.text(facts(container=None)))
    assert value(found, "calico_container_running") == 0
    assert "calico_container_start_time_seconds" not in found
    made = facts()
    del made["container"]
    assert "calico_container_running" not in parsed(calico_metrics.text(made))


@pytest.mark.parametrize("nasty", ['a"b', "a\\b", "a\nb", 'a\\"b\\n', "{x=1} 2", "ü", ""])
def test_labels_are_escaped(nasty):
    found = parsed(calico_metrics.text(facts(node=nasty)))
    assert value(found, "calico_node_info", node=nasty) == 1


# --- the file --------------------------------------------------------------------------------------


def test_the_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "calico.prom"
    path.write_text("old")
    with open(path) as reader:
        calico_metrics.write(str(path), "new\n")
        assert reader.read() == "old"
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["calico.prom"]


@pytest.mark.parametrize(
    "path", ["calico.prom", "{}/calico.txt", "{}/.prom", "{}/not/there.prom", 7, "{}", ""]
)
def test_a_path_that_cannot_be_is_named(tmp_path, path):
    path = path.format(tmp_path) if isinstance(path, str) else path
    with pytest.raises(calico_metrics.BadPath) as caught:
        calico_metrics.write(path, "x")
    assert repr(path) in str(caught.value)
    assert "ends in .prom" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "calico.prom").mkdir()
    with pytest.raises(calico_metrics.BadPath, match="directory"):
        calico_metrics.write(str(tmp_path / "calico.prom"), "x")
    assert os.listdir(tmp_path) == ["calico.prom"]


# --- certificates ----------------------------------------------------------------------------------


def test_when_certificates_end(tmp_path):
    directory = pki.make(tmp_path)
    parts = {"ca": (directory / "ca.pem").read_bytes(), "cert": (directory / "calico.pem").read_bytes()}
    found = calico_pem.expiry(dict(parts, key=b"no matter"))
    assert sorted(found) == ["ca", "cert"]
    assert all(end > datetime.datetime.now(datetime.timezone.utc) for end in found.values())
    # A chain behind the certificate does not change when that ends; of CAs the last one counts.
    chained = calico_pem.expiry({"cert": parts["cert"] + parts["ca"], "ca": parts["ca"] + parts["cert"]})
    assert chained == {"cert": found["cert"], "ca": max(found.values())}
    with pytest.raises(ValueError, match="the ca is no PEM certificate"):
        calico_pem.expiry({"ca": b"nonsense"})
