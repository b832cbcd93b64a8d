"""The runner with minions that are only pretended: whom it asks, what it makes of the answers."""

import json

import pytest

from _runners import calico, calico_orch
from tests.support.views import NOW, Fleet


class Minions:
    """What minions answer, by function; every call is kept."""

    def __init__(self):
        self.calls = []
        self.answers = {}
        self.silent = []

    def ask(self, tgt, function, tgt_type="glob", timeout=None, arg=(), **keywords):
        self.calls.append((tgt, function, tuple(arg), keywords))
        said = self.answers[function]
        everyone = said(*arg, **keywords) if callable(said) else said
        if tgt != "*":
            everyone = {minion: everyone[minion] for minion in tgt if minion in everyone}
        failed = {minion: text for minion, text in everyone.items() if isinstance(text, Exception)}
        answers = {minion: answer for minion, answer in everyone.items() if minion not in failed}
        return answers, {minion: str(err) for minion, err in failed.items()}, list(self.silent)

    def asked(self, function):
        return [call for call in self.calls if call[1] == function]


@pytest.fixture
def minions(monkeypatch):
    found = Minions()
    monkeypatch.setattr(calico, "_ask", found.ask)
    monkeypatch.setattr(calico, "_now", lambda: NOW)
    monkeypatch.setattr(calico, "__context__", {}, raising=False)
    monkeypatch.setattr(calico, "__opts__", {"timeout": 5, "conf_file": None}, raising=False)
    return found


def overviews(fleet, unread=()):
    def answer(datastore=False):
        found = fleet.answers().views
        if not datastore:
            return found
        return {
            name: ValueError("refused") if name in unread else dict(view, datastore=fleet.store)
            for name, view in found.items()
        }

    return answer


def test_all_are_asked_once_and_one_for_the_datastore(minions):
    minions.answers["calico.overview"] = overviews(Fleet(5))
    printed = calico.mesh()
    assert printed["data"].startswith("The mesh: nothing is wrong")
    assert printed["retcode"] == 0 and calico.__context__["retcode"] == 0
    assert [(call[0], call[3]) for call in minions.calls] == [("*", {}), (["node1"], {"datastore": True})]


def test_another_is_asked_where_one_cannot_read_the_datastore(minions):
    minions.answers["calico.overview"] = overviews(Fleet(5), unread=["node1", "node2"])
    assert calico.mesh(format="json")["retcode"] == 0
    minions.answers["calico.overview"] = overviews(Fleet(5), unread=[f"node{n}" for n in range(1, 6)])
    minions.calls.clear()
    found = calico.mesh(format="json")
    assert len(minions.calls) == 1 + calico.READERS
    (finding,) = found["findings"]
    assert finding["what"] == "datastore" and "refused" in finding["seen"]


def test_what_salt_run_needs_to_print_plainly_and_to_end_with_a_code(minions):
    fleet = Fleet(3)
    fleet.silences("node3")
    minions.answers["calico.overview"] = overviews(fleet)
    minions.silent = ["node3"]
    printed = calico.mesh()
    assert set(printed) == {"data", "outputter"}
    assert "retcode" in printed and printed["retcode"] == 1
    # Salt takes what is under `data` for results of states where it finds it.
    assert "data" not in printed
    assert json.loads(json.dumps(printed))["data"] == printed["data"]
    with pytest.raises(KeyError):
        printed["other"]


def test_what_is_no_overview_is_no_answer(minions):
    everyone = {
        "node1": Fleet(1).view("node1"),
        "node2": None,
        "node3": ValueError("The pillar cannot be used"),
    }
    minions.answers["calico.overview"] = lambda datastore=False: everyone
    everyone["node1"]["datastore"] = Fleet(1).store
    found = calico.mesh(format="json")
    assert {(item["what"], *item["nodes"]) for item in found["findings"]} == {
        ("failed", "node2"),
        ("failed", "node3"),
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "xml"}, "format: got 'xml'"),
        ({"format": "html"}, "out: got nothing"),
        ({"timeout": 0}, "timeout: got '0'"),
        ({"timeout": True}, "timeout: got 'True'"),
        ({"format": "text", "out": "/nowhere/x"}, "cannot write /nowhere/x"),
    ],
)
def test_bad_arguments(minions, arguments, words):
    minions.answers["calico.overview"] = overviews(Fleet(2))
    printed = calico.mesh(**arguments)
    assert words in printed["data"] and printed["retcode"] == 1


def test_files_are_complete_and_private(minions, tmp_path):
    minions.answers["calico.overview"] = overviews(Fleet(3))
    for form, begins in (("html", "<!DOCTYPE html>"), ("json", "{"), ("text", "The mesh: ")):
        target = tmp_path / form
        calico.mesh(format=form, out=str(target))
        assert target.read_text().startswith(begins)
        assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["html", "json", "text"]


# --- removal ---------------------------------------------------------------------------------------

NOTHING = {
    "datastore": "etcdv3",
    "registered": False,
    "addresses": [],
    "workloads": [],
    "blocks": [],
    "peers": [],
    "naming": [],
    "settings": [],
    "tunnels": [],
}


class Datastore:
    """Three nodes, of which node3 may be removed; what changes is kept."""

    def __init__(self, minions, runs=True):
        self.left = {
            **NOTHING,
            "registered": True,
            "addresses": ["10.0.0.3"],
            "blocks": [["172.20.1.0/26", 0]],
        }
        self.refused = []
        self.reached = False
        self.calicoctl = "3.22.5"
        self.runs = runs
        self.names = {"m1": "node1", "m2": "node2", "m3": "node3"}
        self.fleet = Fleet(3)
        self.changes = []
        minions.answers = {
            "calico.node_name": lambda: self.names,
            "calico.remains": lambda node: self.all(self.left),
            "calico.version": lambda: self.all({"calicoctl": self.calicoctl}),
            "calico.plan": lambda what, absent, allow: self.all({"refused": [] if allow else self.refused}),
            "calico.converge": self.converge,
            "calico.overview": lambda: {m: self.fleet.view(name) for m, name in self.names.items()},
            "service.status": lambda unit: self.all(self.runs),
            "service.enabled": lambda unit: self.all(self.runs),
            "service.stop": self.stop,
            "service.disable": lambda unit: self.all(True),
            "network.connect": lambda address, port, family: self.all({"result": self.reached}),
        }

    def all(self, answer):
        return dict.fromkeys(self.names, answer)

    def stop(self, unit):
        self.changes.append("stop")
        self.runs = False
        return self.all(True)

    def converge(self, what, wanted=(), absent=(), allow=None):
        self.changes.append((what, tuple(item["name"] for item in (*wanted, *absent))))
        if what == "node":
            self.left = {
                **NOTHING,
                "registered": bool(wanted),
                "blocks": self.left["blocks"] if wanted else [],
            }
            for name in ("node1", "node2"):
                self.fleet.up[name].pop("10.0.0.3", None)
        return self.all({"changes": {}, "refused": [], "failed": None})


@pytest.fixture
def datastore(minions):
    return Datastore(minions)


def test_a_dry_run_says_all_and_changes_nothing(datastore, minions):
    found = calico.decommission("node3", format="json")
    assert found["steps"] == [
        "m3: calico-node stopped and disabled",
        "the node 10.0.0.3 removed, by m1",
        "block 172.20.1.0/26 removed, by m1",
    ]
    assert (datastore.changes, found["retcode"]) == ([], 0)
    text = calico.decommission("node3")["data"]
    assert "Nothing was changed. To do it: salt-run calico.decommission node3 test=False" in text


def test_the_service_is_stopped_before_the_node_goes(datastore, minions):
    found = calico.decommission("node3", test=False, format="json")
    assert datastore.changes == ["stop", ("node", ("node3",))]
    assert (found["left"], found["waiting"], found["retcode"]) == ([], [], 0)
    assert minions.asked("service.stop")[0][0] == ["m3"]
    again = calico.decommission("node3", test=False, format="json")
    assert (again["steps"], again["retcode"]) == ([], 0)
    assert len(datastore.changes) == 2


def test_what_the_rules_refuse_is_not_done(datastore):
    datastore.refused = ["node node3: 2 workloads would be cut off for good"]
    found = calico.decommission("node3", test=False, format="json")
    assert found["refused"] == datastore.refused
    assert (found["retcode"], datastore.changes) == (1, [])
    assert calico.decommission("node3", test=False, allow="node_in_use", format="json")["retcode"] == 0


def test_a_dead_host_is_removed_by_another(datastore, minions):
    del datastore.names["m3"]
    found = calico.decommission("node3", test=False, format="json")
    assert found["retcode"] == 0
    assert datastore.changes == [("node", ("node3",))]
    assert {tuple(call[0]) for call in minions.asked("calico.converge")} == {("m1",)}


def test_a_silent_minion_is_no_proof_of_death(datastore, minions):
    del datastore.names["m3"]
    datastore.reached = True
    found = calico.decommission("node3", test=False, format="json")
    assert (found["retcode"], datastore.changes) == (1, [])
    assert "BIRD takes connections at 10.0.0.3" in found["refused"][0]
    assert [call[2] for call in minions.asked("network.connect")] == [("10.0.0.3", 179)]
    # It need not be at BGP's usual port.
    datastore.left["port"] = 1790
    assert calico.decommission("node3", test=False, format="json")["refused"]
    assert [call[2] for call in minions.asked("network.connect")][1:] == [("10.0.0.3", 1790)]


def test_blocks_of_a_node_that_is_gone_go_with_a_node_made_for_it(datastore):
    datastore.names = {"m1": "node1", "m2": "node2"}
    datastore.left = {**NOTHING, "blocks": [["172.20.1.0/26", 2]]}
    found = calico.decommission("node3", test=False, format="json")
    assert (found["retcode"], datastore.changes) == (1, [])
    datastore.left["blocks"] = [["172.20.1.0/26", 0]]
    found = calico.decommission("node3", test=False, format="json")
    assert (found["retcode"], found["left"]) == (0, [])
    assert datastore.changes == [("node", ("node3",)), ("node", ("node3",))]


def test_who_still_waits_makes_it_fail(datastore, monkeypatch):
    datastore.left["naming"] = ["rack-a"]
    monkeypatch.setattr(datastore.fleet, "up", {**datastore.fleet.up, "node2": {"10.0.0.3": None}})
    views = {"m1": datastore.fleet.view("node1"), "m2": {**datastore.fleet.view("node2"), "up": "10.0.0.3"}}
    answers = calico._ask.__self__.answers
    answers["calico.overview"] = lambda: views
    views["m1"]["up"] = "10.0.0.2"
    found = calico.decommission("node3", test=False, format="json")
    assert (found["waiting"], found["retcode"]) == (["node2"], 1)
    assert found["notes"] == ["peer rack-a names its address: remove it from the pillar"]


def test_another_spelling_of_a_node_is_not_a_node_that_is_gone(datastore):
    datastore.left.update(registered=False, meant="node3")
    found = calico.decommission("NODE3", test=False, format="json")
    assert found["retcode"] == 1 and "did you mean node3?" in found["refused"][0]


def test_a_node_of_kubernetes_is_kubernetes_own(datastore):
    datastore.left["datastore"] = "kubernetes"
    found = calico.decommission("node3", test=False, format="json")
    assert found["retcode"] == 1 and "kubectl delete node node3" in found["refused"][0]
    assert datastore.changes == []


def test_the_writer_is_another_node_that_answers(datastore):
    for writer in ("m3", "m9"):
        found = calico.decommission("node3", test=False, writer=writer, format="json")
        assert found["refused"] == [f"writer: got '{writer}'; accepted: m1, m2"]
    assert calico.decommission("node3", writer="m2", format="json")["steps"][1].endswith("by m2")
    datastore.names = {"m3": "node3"}
    found = calico.decommission("node3", test=False, format="json")
    assert "No minion of another node answers" in found["refused"][0]
    assert datastore.changes == []


def test_a_writer_that_cannot_write_is_told_before_anything_is_stopped(datastore):
    datastore.calicoctl = "calicoctl is not at /usr/local/bin/calicoctl"
    found = calico.decommission("node3", test=False, format="json")
    assert found["refused"] == [f"m1: {datastore.calicoctl}. Name another minion: writer=…"]
    assert datastore.changes == []


def test_the_words_of_a_call_are_checked(datastore):
    for arguments in ({"node": ""}, {"node": "node3", "test": "no"}, {"node": "node3", "format": "html"}):
        printed = calico.decommission(**arguments)
        assert printed["retcode"] == 1 and "accepted: " in printed["data"]
    assert datastore.changes == []


@pytest.mark.parametrize("function", ["upgrade", "topology", "pool_migration"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "xml"}, "format: got 'xml'; accepted: text, json"),
        ({"test": "perhaps"}, "test: got 'perhaps'; accepted: True, False"),
        ({"timeout": "long"}, "timeout: got 'long'; accepted: a number of seconds above 0"),
        ({"timeout": 0}, "timeout: got '0'"),
    ],
)
def test_what_all_steps_of_a_fleet_refuse(monkeypatch, function, arguments, words):
    monkeypatch.setattr(calico_orch, "__context__", {}, raising=False)
    printed = getattr(calico_orch, function)(**arguments)
    assert words in printed["data"] and printed["retcode"] == 1
    assert calico_orch.__context__["retcode"] == 1
