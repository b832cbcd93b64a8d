"""Which hosts an upgrade takes, in which order, what stops it, and what it costs for a large fleet."""

import calico_etcd
import calico_migration
import calico_preflight
import calico_rollout
import calico_topology
import pytest

from _runners import calico_orch as calico
from _states import calico as states
from tests.support import work

OLD, NEW = "calico/node:v3.22.5", "calico/node:v3.22.6"


def view(node, image=NEW, wanted=NEW, **more):
    return {
        "node": node,
        "version": wanted.rpartition(":")[2],
        "generation": "v3",
        "wanted": wanted,
        "image": image,
        "present": True,
        "current": image == wanted,
        "reasons": [],
        "felix": None,
        "missing": [],
        "missing_count": 0,
        "reflector": False,
        **more,
    }


def fleet(count, image=OLD):
    return {f"node{n}": view(f"node{n}", image) for n in range(1, count + 1)}


@pytest.mark.parametrize(
    ("batch", "hosts", "size"), [(1, 3, 1), ("2", 3, 2), ("25%", 200, 50), ("1%", 10, 1), ("100%", 7, 7)]
)
def test_a_batch_is_a_number_or_a_share(batch, hosts, size):
    assert calico_rollout.batch_size(batch, hosts) == size


@pytest.mark.parametrize("batch", [0, -1, "0%", "101%", "many", True, None, "1.5", "", "%"])
def test_what_is_no_batch(batch):
    with pytest.raises(calico_rollout.Refused, match="accepted: a number of hosts from 1, or a percentage"):
        calico_rollout.batch_size(batch, 10)


def test_hosts_that_are_done_are_left_alone_and_the_rest_goes_by_number():
    views = {**fleet(12), "node3": view("node3")}
    plan = calico_rollout.plan(views, {}, [], 5)
    assert plan["skipped"] == ["node3"]
    assert plan["batches"][0] == ["node1", "node2", "node4", "node5", "node6"]
    assert plan["batches"][-1] == ["node12"]
    assert plan["refused"] == []


def test_the_host_that_an_earlier_run_stopped_at_comes_first():
    views = fleet(4)
    views["node1"] = view("node1", missing=["node3"], missing_count=1)
    views["node3"] = view("node3", reasons=["BIRD gives no answer"], missing=["node1"], missing_count=3)
    plan = calico_rollout.plan(views, {}, [], 1)
    assert [names[0] for names in plan["batches"]] == ["node3", "node2", "node4"]
    # It runs what it should and only waits for another.
    assert (plan["skipped"], plan["waiting"], plan["refused"]) == (["node1"], ["node1"], [])
    views["node3"] = view("node3", missing=["node1"], missing_count=1)
    # Nobody else is to blame here.
    assert {"node1", "node3"} <= set(calico_rollout.plan(views, {}, [], 1)["todo"])


def test_reflectors_are_never_taken_together():
    views = fleet(8)
    for name in ("node1", "node2", "node3"):
        views[name]["reflector"] = True
    made = calico_rollout.plan(views, {}, [], 4)["batches"]
    assert sorted(name for names in made for name in names) == sorted(views)
    assert max(len({"node1", "node2", "node3"} & set(names)) for names in made) == 1
    assert max(map(len, made)) <= 4


def test_what_no_gate_could_be_passed_with_is_told_before():
    views = fleet(3)
    for name in views:
        views[name].update(missing=["node9"], missing_count=1)
    (reason,) = calico_rollout.plan(views, {}, [], 1)["refused"]
    assert "node1, node2, node3: no session with node9" in reason and "absent_nodes" in reason


def test_who_gave_no_answer_or_another_release_is_told():
    views = fleet(2)
    plan = calico_rollout.plan(views, {"node3": "The pillar cannot be used"}, ["node4"], 1, "v3.23.0")
    assert [reason.partition(":")[0] for reason in plan["refused"]] == [
        "node3",
        "no answer from node4",
        "version",
    ]


def test_what_failed_is_told_and_what_only_follows_is_not():
    returned = {
        "a": {"__id__": "The node is ready", "result": False, "comment": "no session with node3"},
        "b": {"__id__": "other", "result": False, "comment": "One or more requisite failed: x"},
        "c": {"__id__": "good", "result": True, "comment": ""},
    }
    assert calico_rollout.failure(returned) == "The node is ready: no session with node3"
    assert calico_rollout.failure({"c": returned["c"]}) is None
    assert calico_rollout.failure(["Rendering SLS failed"]) == "Rendering SLS failed"
    assert calico_rollout.failure(None)


# --- from 2.6 to 3.x -------------------------------------------------------------------------------


def store(v1=(), v3=(), paused=None, unlocked=None, v1_error=None, v3_error=None):
    return {
        "v1": {"nodes": list(v1), "ready": paused, "error": v1_error},
        "v3": {"nodes": list(v3), "ready": unlocked, "error": v3_error},
    }


BOTH = ("node1", "Node2")
LOWER = ("node1", "node2")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (store(BOTH, (), True), "calico-upgrade start"),
        (store(BOTH, LOWER, True, True), "2.6 is not paused"),
        (store(BOTH, LOWER, True, False), "did not end, or was aborted"),
        (store(BOTH, LOWER[:1], False, False), "lacks node2"),
        (store(BOTH, (), True, v3_error="404"), "etcd server of 3.x"),
        (store((), LOWER, None, False, v1_error="switched off"), "switch etcd's v2 API on"),
        (store(), "another etcd"),
    ],
)
def test_what_cannot_be_moved_now_says_what_comes_next(found, words):
    (reason,) = calico_migration.next_step(found, {"m1": (2, 6, 12)})["refused"]
    assert words in reason and ("Next: " in reason or "calico:etcd:endpoints" in reason)


def test_old_releases_go_to_the_last_one_of_2_6_first():
    found = calico_migration.next_step(store(BOTH, LOWER, False, False), {"m1": (2, 6, 2), "m2": (2, 6, 5)})
    (reason,) = found["refused"]
    assert reason.startswith("m1 runs v2.6.2: older than v2.6.5") and "v2.6.12" in reason


@pytest.mark.parametrize("unlocked", [False, True])
def test_between_start_and_complete_nodes_can_go_and_also_those_that_were_late(unlocked):
    found = calico_migration.next_step(store(BOTH, LOWER, False, unlocked), {"m1": (2, 6, 12)})
    assert found == {"refused": [], "locked": not unlocked}


def test_an_empty_datastore_beside_one_of_2_6_is_seen():
    assert calico_migration.would_start_empty(store(BOTH))
    assert not calico_migration.would_start_empty(store(BOTH, LOWER))
    assert not calico_migration.would_start_empty(store())
    assert calico_migration.under_way(store(BOTH, LOWER, False, False))
    assert not calico_migration.under_way(store(BOTH, LOWER, True, False))
    assert not calico_migration.under_way(store(BOTH, LOWER, False, True))


class Etcd:
    """Both of etcd's stores; one that is None cannot be read."""

    def __init__(self, v2, v3):
        self.v2, self.v3 = v2, v3

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def tree_v2(self, prefix):
        if self.v2 is None:
            raise calico_etcd.EtcdError("does not serve the v2 API")
        return {key: value for key, value in self.v2.items() if key.startswith(prefix)}

    def range_v3(self, prefix):
        return {key: (value, 7) for key, value in self.v3.items() if key.startswith(prefix)}, 7


V3 = "/calico/resources/v3/projectcalico.org/"


def test_both_stores_are_read():
    v2 = {"/calico/bgp/v1/host/node1/ip_addr_v4": "10.0.0.1", "/calico/v1/Ready": "false"}
    information = V3 + "clusterinformations/default"
    v3 = {V3 + "nodes/node1": "{}", information: '{"spec": {"datastoreReady": false}}'}
    found = calico_migration.read(lambda: Etcd(v2, v3))
    assert found == store(["node1"], ["node1"], False, False)
    assert calico_migration.read(lambda: Etcd({}, {})) == store()
    assert "v2 API" in calico_migration.read(lambda: Etcd(None, v3))["v1"]["error"]


@pytest.mark.parametrize(
    ("found", "locked", "level", "words"),
    [
        (store(BOTH), False, "error", "hold a cluster of 2.6 with 2 nodes"),
        (store(BOTH, LOWER, False, False), True, "warning", "locked"),
        (store(BOTH, LOWER, True, False), True, "error", "locked"),
        (store((), LOWER, None, False), True, "error", "locked"),
    ],
)
def test_preflight_keeps_calico_3_from_an_empty_datastore(found, locked, level, words):
    cluster = calico_topology.Cluster("v3", ready=not locked)
    (item,) = calico_preflight.of_datastore({"datastore": "etcdv3"}, cluster, None, moved=found)
    assert item["level"] == level and words in item["seen"]
    assert calico_preflight.of_datastore({"datastore": "etcdv3"}, calico_topology.Cluster("v3"), None) == []


# --- the state on the master -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "said", "result"),
    [
        (True, {"retcode": 0, "text": "Would be done", "changes": {"node1": {}}}, None),
        (True, {"retcode": 0, "text": "nothing", "changes": {}}, True),
        (False, {"retcode": 0, "text": "done", "changes": {"node1": {}}}, True),
        (False, {"retcode": 1, "text": "refused", "changes": {}}, False),
        (False, "Passed invalid arguments", False),
    ],
)
def test_the_state_tells_what_the_runner_said(monkeypatch, test, said, result):
    asked = []

    def runner(name, kwarg):
        asked.append((name, kwarg))
        return said

    monkeypatch.setattr(states, "__opts__", {"test": test}, raising=False)
    monkeypatch.setattr(states, "__salt__", {"saltutil.runner": runner}, raising=False)
    ret = states.orchestrated("upgrade", {"batch": 2})
    assert asked == [("calico.upgrade", {"batch": 2, "test": test, "format": "json"})]
    assert ret["result"] is result
    assert ret["comment"] == (said if isinstance(said, str) else said["text"])
    assert "a mapping" in states.orchestrated("upgrade", ["batch"])["comment"]


# --- the run itself --------------------------------------------------------------------------------


class Hosts:
    """Minions that do what they are told; what is asked of them is counted, host by host."""

    def __init__(self, count, image=OLD):
        self.views = fleet(count, image)
        self.broken = {}
        self.store = store(self.views, self.views, False, False)
        self.applied, self.calls, self.asked = [], [], 0

    def ask(self, tgt, function, tgt_type="glob", timeout=None, arg=(), **keywords):
        names = list(self.views) if tgt == "*" else tgt
        self.calls.append(function)
        self.asked += len(names)
        return (
            {name: getattr(self, function.partition(".")[2])(name, *arg, **keywords) for name in names},
            {},
            [],
        )

    def refresh_pillar(self, _name, wait):
        return True

    def rollout(self, name, _timeout=0, pending=False):
        return dict(self.views[name], pending=[]) if pending else self.views[name]

    def check(self, _name):
        return []

    def migration(self, _name):
        return self.store

    def image_load(self, name):
        self.views[name]["present"] = True
        return {"present": True}

    def apply(self, name, sls, queue):
        self.applied.append((name, sls))
        if name in self.broken:
            return {"x": {"__id__": "The node is ready", "result": False, "comment": self.broken[name]}}
        self.views[name].update(image=self.views[name]["wanted"], current=True)
        return {"x": {"result": True}}


@pytest.fixture
def hosts(monkeypatch):
    def made(count, image=OLD):
        found = Hosts(count, image)
        monkeypatch.setattr(calico, "_ask", found.ask)
        return found

    monkeypatch.setattr(calico, "__context__", {}, raising=False)
    monkeypatch.setattr(calico, "__opts__", {"timeout": 5, "conf_file": None}, raising=False)
    return made


def test_a_failure_leaves_the_rest_and_the_next_run_goes_on(hosts):
    found = hosts(6)
    found.broken["node3"] = "no session"
    done = calico.upgrade(batch=2, format="json")
    assert done["retcode"] == 1 and done["failed"] == {"node3": "The node is ready: no session"}
    assert done["upgraded"] == ["node1", "node2", "node4"] and done["untouched"] == ["node5", "node6"]
    found.broken.clear()
    found.applied.clear()
    done = calico.upgrade(batch=2, format="json")
    assert done["retcode"] == 0
    assert [name for name, _sls in found.applied] == ["node3", "node5", "node6"]
    assert calico.upgrade(format="json")["text"].startswith("All 6 hosts run what their pillar wants")


def test_images_come_before_the_first_restart(hosts):
    found = hosts(3)
    found.views["node2"]["present"] = False
    assert calico.upgrade(format="json")["retcode"] == 0
    assert found.calls.index("calico.image_load") < found.calls.index("state.apply")


def test_test_mode_asks_and_does_nothing(hosts):
    found = hosts(3)
    done = calico.upgrade(test=True, format="json")
    assert set(done["changes"]) == set(found.views) and "batch 3 of 3: node3" in done["text"]
    assert not found.applied


def test_the_guided_way_to_calico_3(hosts):
    found = hosts(2, "calico/node:v2.6.12")
    found.store = store(found.views, (), True)
    done = calico.upgrade(format="json")
    assert done["retcode"] == 1 and "calico-upgrade start" in done["text"] and not found.applied
    # After `start` Felix waits for `complete`: neither gate nor network can be had.
    found.store = store(found.views, found.views, False, False)
    for each in found.views.values():
        each["felix"] = "not ready"
    done = calico.upgrade(format="json")
    assert done["retcode"] == 0, done["text"]
    assert [sls for _name, sls in found.applied] == ["calico.service"] * 2
    assert "Next: `calico-upgrade complete`" in done["text"]


@pytest.mark.parametrize("batch", [1, "10%"])
def test_the_work_grows_with_the_fleet_and_not_with_its_square(hosts, batch):
    def cost(count):
        found = hosts(count)
        done, calls = work.calls(lambda: calico.upgrade(batch=batch, format="json"))
        assert done["retcode"] == 0
        return found.asked / count, calls / count

    (asked, calls), (asked_of_many, calls_for_many) = cost(50), cost(200)
    assert asked_of_many <= asked + 0.5, "what is asked of each host"
    assert calls_for_many < 2 * calls, "what is done for each host"
