"""What is wrong with a mesh: planted faults are found exactly, and nothing else is."""

import datetime
import json
import sys
from pathlib import Path

import calico_mesh
import calico_page
import calico_report
import pytest

from tests.support import programs
from tests.support.views import NOW, REFUSED, UNREACHABLE, Fleet


def judged(fleet, **options):
    return calico_mesh.judge(fleet.answers(), NOW, **options)


def found(fleet, **options):
    """What is wrong, as {(what, names)}."""
    findings = judged(fleet, **options).findings
    kinds = [(finding["what"], tuple(finding["nodes"])) for finding in findings]
    assert len(kinds) == len(set(kinds))
    return set(kinds)


def seen(fleet, what, **options):
    (text,) = [item["seen"] for item in judged(fleet, **options).findings if item["what"] == what]
    return text


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_a_mesh_that_is_well(count):
    mesh = judged(Fleet(count))
    assert mesh.findings == []
    assert mesh.sessions == mesh.established == count * (count - 1) // 2
    data = calico_report.data(mesh)
    assert data["retcode"] == 0
    assert calico_report.text(data, NOW).startswith("The mesh: nothing is wrong\n")


def test_a_bird_that_is_stopped_is_named_from_both_sides():
    fleet = Fleet(3)
    fleet.breaks_all("node3", "BIRD gives no answer", REFUSED)
    assert found(fleet) == {("sessions", ("node3",))}
    assert seen(fleet, "sessions") == (
        "none of its 2 sessions is Established; it says: BIRD gives no answer; node1 and node2 say: "
        + REFUSED
    )
    mesh = judged(fleet)
    assert (mesh.sessions, mesh.established) == (3, 1)


def test_a_session_that_only_one_side_has():
    fleet = Fleet(5)
    fleet.breaks("node2", "node4")
    assert found(fleet) == {("one-sided", ("node2", "node4"))}
    text = "node2 says: %s since 11:58:03; node4 says: Established" % REFUSED
    assert seen(fleet, "one-sided") == text
    # The other knows of no such session at all.
    fleet = Fleet(5)
    del fleet.up["node2"][fleet.addresses["node4"]]
    assert seen(fleet, "one-sided") == "node2 says: no such session; node4 says: Established"


def test_two_that_do_not_reach_each_other():
    fleet = Fleet(5)
    fleet.breaks("node2", "node4", UNREACHABLE)
    fleet.breaks("node4", "node2")
    assert found(fleet) == {("session", ("node2", "node4"))}


def test_over_two_address_families_the_one_that_is_down_counts():
    fleet = Fleet(3)
    for number, name in enumerate(fleet.names):
        fleet.store["nodes"][name][0].append("fd00::%d" % number)
        for other in range(3):
            if other != number:
                fleet.peers(name, "fd00::%d" % other)
    assert found(fleet) == set()
    del fleet.up["node1"]["fd00::1"]
    fleet.down["node1"] = {"Active": {"fd00::1": "11:00:00"}}
    assert found(fleet) == {("one-sided", ("node1", "node2"))}
    assert "since 11:00:00" in seen(fleet, "one-sided")


def test_a_peer_that_is_down_for_all_is_told_once():
    fleet = Fleet(6)
    for name in fleet.names:
        fleet.breaks(name, "192.0.2.1", "Connect")
        fleet.peers(name, "192.0.2.2")
    fleet.up["node1"].pop("192.0.2.2")
    fleet.breaks("node1", "192.0.2.2")
    assert found(fleet) == {("sessions", ("192.0.2.1",)), ("session", ("node1", "192.0.2.2"))}
    (text,) = [item["seen"] for item in judged(fleet).findings if item["nodes"] == ["192.0.2.1"]]
    assert text == "none of its 6 sessions is Established; its 6 neighbours say: Connect"


def test_answers_that_are_missing():
    fleet = Fleet(6)
    fleet.silences("node2")
    fleet.failed["node3"] = "The pillar cannot be used"
    fleet.names.remove("node4")
    fleet.silences("stranger.example.org")
    assert found(fleet) == {
        ("silent", ("node2",)),
        ("failed", ("node3",)),
        ("missing", ("node4",)),
        ("minion", ("stranger.example.org",)),
    }
    # Only some were asked: the rest is nothing to speak of.
    assert ("missing", ("node4",)) not in found(fleet, whole=False)
    # A minion's name may be longer than its node's.
    fleet.silent[0] = "node2.example.org"
    fleet.names.remove("node2")
    assert ("silent", ("node2",)) in found(fleet)
    # A node that the pillar says is away is not missing.
    fleet.says("node1", absent=["node4"])
    assert ("missing", ("node4",)) not in found(fleet)


def test_a_node_that_the_datastore_does_not_know():
    fleet = Fleet(4)
    del fleet.store["nodes"]["node4"]
    address = fleet.addresses["node4"]
    for name in fleet.names[:3]:
        del fleet.up[name][address]
    extra = [[fleet.addresses[name], None] for name in fleet.names[:3]]
    fleet.says("node4", error="the datastore knows no node node4", addresses=[], up="", extra=extra, extras=3)
    assert found(fleet) == {("unregistered", ("node4",))}


def test_names_and_addresses_that_are_given_twice():
    fleet = Fleet(4)
    fleet.store["nodes"]["node3"][0] = ["10.0.0.2"]
    for name in fleet.names:
        fleet.up[name].pop("10.0.0.3", None)
    fleet.up["node3"] = dict.fromkeys(["10.0.0.1", "10.0.0.4"])
    fleet.up["node2"] = dict.fromkeys(["10.0.0.1", "10.0.0.4"])
    kinds = found(fleet)
    assert ("address", ("node2", "node3")) in kinds
    fleet = Fleet(3)
    fleet.says("node2", node="node1")
    assert ("name", ("node1",)) in found(fleet)


def test_what_nodes_complain_of_themselves():
    fleet = Fleet(4)
    fleet.says("node1", reasons=["Felix is not ready: 503"])
    fleet.says("node2", reasons=["Felix is not ready: 503"])
    fleet.says("node3", error="The datastore cannot be read: refused")
    assert found(fleet) == {("node", ("node1", "node2")), ("datastore", ("node3",))}


def test_a_session_that_nothing_asks_for():
    fleet = Fleet(4)
    for name in ("node1", "node2"):
        fleet.says(name, extra=[["10.9.9.9", None], ["10.9.9.8", "Active"]], extras=2)
    assert found(fleet) == {("extra", ("node1", "node2"))}
    assert calico_report.data(judged(fleet))["retcode"] == 0


def test_versions():
    fleet = Fleet(5)
    fleet.says("node1", image="calico/node:v3.21.0")
    fleet.says("node2", image="calico/node:v3.20.0", wanted="calico/node:v3.20.0")
    fleet.says("node3", image=None)
    assert found(fleet) == {("version", ("node1",)), ("wanted", ("node2",))}


def test_certificates():
    fleet = Fleet(4)
    in_days = {days: (NOW + datetime.timedelta(days=days)).isoformat() for days in (-1, 12, 31)}
    fleet.says("node1", certificates={"cert": in_days[12]})
    fleet.says("node2", certificates={"cert": in_days[12], "ca": in_days[-1]})
    fleet.says("node3", certificates={"cert": in_days[31]})
    assert found(fleet) == {("certificate", ("node1", "node2")), ("certificate", ("node2",))}
    levels = {item["level"]: item["seen"] for item in judged(fleet).findings}
    assert levels == {
        "error": "the CA ended on 2026-05-31",
        "warning": "the certificate ends in 12 days, on 2026-06-13",
    }


@pytest.mark.parametrize(
    ("used", "blocks", "level"),
    [(9000, 700, None), (9000, 820, "warning"), (52500, 900, "warning"), (63000, 1024, "error")],
)
def test_pools(used, blocks, level):
    fleet = Fleet(2)
    fleet.store["pools"][0].update(used=used, blocks=blocks)
    assert [item["level"] for item in judged(fleet).findings] == ([level] if level else [])
    fleet.store["pools"][0]["disabled"] = True
    assert found(fleet) == set()


def test_the_datastore():
    fleet = Fleet(3)
    fleet.store.update(
        locked=True, stray=[["172.20.1.0/26", "node9", 3], ["172.20.2.0/26", "node9", 0]], strays=2
    )
    assert found(fleet) == {("datastore", ()), ("blocks", ("node9",))}
    nothing = fleet.answers()._replace(datastore=None, unread="node1: refused")
    mesh = calico_mesh.judge(nothing, NOW)
    # The sessions are held against each other all the same.
    assert [item["what"] for item in mesh.findings] == ["datastore"]
    assert (mesh.sessions, mesh.established) == (3, 3)


def test_nodes_lie_by_number_and_rack_in_the_order_that_people_count():
    fleet = Fleet(12)
    fleet.store["nodes"]["node2"][2] = "r9"
    fleet.store["nodes"]["node3"][1] = 100
    assert judged(fleet).names == ["node3", "node1", *["node%d" % n for n in range(4, 13)], "node2"]


def planted():
    """A thousand nodes with faults of all sorts, and what has to be found of them."""
    fleet = Fleet(1000)
    fleet.breaks_all("node334", "BIRD gives no answer", REFUSED)
    fleet.breaks("node5", "node994", UNREACHABLE)
    fleet.breaks("node994", "node5", "Connect")
    fleet.breaks("node8", "node501")
    fleet.silences("node998")
    fleet.says("node6", image="calico/node:v3.21.0")
    fleet.says("node3", certificates={"cert": "2026-06-12T00:00:00+00:00"})
    expected = {
        ("sessions", ("node334",)),
        ("session", ("node5", "node994")),
        ("one-sided", ("node8", "node501")),
        ("silent", ("node998",)),
        ("version", ("node6",)),
        ("certificate", ("node3",)),
    }
    return fleet, expected


def test_what_is_wrong_among_a_thousand_nodes_is_found():
    fleet, expected = planted()
    answers = fleet.answers()
    mesh = calico_mesh.judge(answers, NOW)
    data = calico_report.data(mesh)
    calico_report.text(data, NOW)
    page = calico_page.page(mesh, data, NOW)
    assert {(item["what"], tuple(item["nodes"])) for item in mesh.findings} == expected
    assert (mesh.sessions, mesh.established) == (499_500, 498_499)
    assert len(page) < 1_000_000


def test_a_thousand_nodes_without_any_session():
    fleet = Fleet(300)
    for name in fleet.names:
        fleet.down[name] = {REFUSED: dict.fromkeys(fleet.up[name], "11:58:03")}
        fleet.up[name] = {}
    mesh = judged(fleet)
    assert mesh.established == 0
    text = calico_report.text(calico_report.data(mesh), NOW)
    assert text.count("\n") < 10
    assert "none of its 299 sessions is Established; it says: " + REFUSED in text


def page_of(fleet):
    mesh = judged(fleet)
    return calico_page.page(mesh, calico_report.data(mesh), NOW)


def test_the_page_holds_the_sessions_as_they_are():
    fleet = Fleet(30)
    fleet.breaks("node2", "node4")
    fleet.silences("node9")
    page = page_of(fleet)
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    mesh = judged(fleet)
    assert data["names"] == mesh.names
    rows = [
        None
        if row is None
        else bytes(value for at in range(0, len(row), 2) for value in row[at : at + 1] * row[at + 1])
        for row in data["rows"]
    ]
    assert rows == [None if row is None else bytes(row) for row in mesh.rows]
    assert data["reasons"] == [REFUSED]


def test_nothing_from_the_datastore_is_markup():
    evil = "</script><script>alert(1)</script><!--"
    fleet = Fleet(3)
    fleet.breaks("node1", "node2", evil)
    fleet.says("node3", reasons=[evil], node="node3" + evil)
    page = page_of(fleet)
    plain = page_of(Fleet(3))
    assert evil not in page
    for tag in ("<script", "</script", "<!--"):
        assert page.count(tag) == plain.count(tag)
    script = page.partition("<script>")[2]
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert way not in script


def test_the_page_asks_nobody():
    page = page_of(Fleet(3))
    assert "default-src 'none'" in page
    for way in (
        "http:",
        "https:",
        "//cdn",
        "src=",
        "@import",
        "url(",
        "fetch(",
        "XMLHttp",
        "<link",
        "import(",
    ):
        assert way not in page, way


MEASURE = """
import resource, sys
from tests.unit.test_mesh import planted
from tests.support.views import NOW
import calico_mesh, calico_page, calico_report
mesh = calico_mesh.judge(planted()[0].answers(), NOW)
data = calico_report.data(mesh)
calico_report.text(data, NOW)
calico_page.page(mesh, data, NOW)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_thousand_nodes_within_500_megabytes():
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": f"{root}:{root / '_utils'}"}
    done = programs.run([sys.executable, "-c", MEASURE], env=environment)
    assert int(done.stdout) < 500 * 1024
