"""What lies in the datastore, by every state and in both generations: absent, drifted, equal, fought over."""

import contextlib
import json
import shutil
import sys
from dataclasses import dataclass, field

import pytest
import yaml

from tests.functional.conftest import BUILD, CALICOCTL
from tests.lab.standins import etcdv2, etcdv3
from tests.support import minion as minion_support
from tests.support import programs

ORIGINAL = "/opt/calicoctl.original"
CALLS = "/opt/calls"
# Notes each call, so that a test can tell how many there were.
COUNTING = f'#!/bin/sh\necho "$*" >> {CALLS}\n'
THIRD = "projectcalico.org/v3"
# calicoctl, and the release of calico/node that it goes with.
VERSIONS = {"1.6.3": "v2.6.12", "3.22.5": "v3.22.5", "3.32.1": "v3.32.1"}


class Cluster:
    """A minion, its calicoctl and an empty datastore, all of one release."""

    def __init__(self, version, minion, client):
        self.version = version
        self.minion = minion
        self.client = client
        self.third = not version.startswith("1.")

    def state(self, function, name, test=False, **arguments):
        return self.minion.state(f"calico.{function}", name=name, test=test, **arguments)

    def tree(self):
        return self.client.tree("/calico")[0]

    def calls(self):
        """The verbs of calicoctl's calls since this was last asked."""
        path = self.minion.path(CALLS)
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]

    def calicoctl(self, script):
        """What is called in calicoctl's place; it finds the original as $ORIGINAL."""
        path = self.minion.path(CALICOCTL)
        path.write_text(script)
        path.chmod(0o755)

    def write(self, *resources):
        """As somebody else would, by calicoctl itself."""
        path = self.minion.path("/opt/resources.yaml")
        path.write_text(yaml.safe_dump_all(resources))
        config = "--config=/etc/calico/calicoctl.cfg"
        self.minion.run(ORIGINAL, "apply", "-f", "/opt/resources.yaml", config)

    def node(self, name="node1", address="192.168.61.61/24", **metadata):
        """A node as it registers."""
        kind = {"apiVersion": THIRD, "kind": "Node"} if self.third else {"apiVersion": "v1", "kind": "node"}
        self.write(
            {**kind, "metadata": {"name": name, **metadata}, "spec": {"bgp": {"ipv4Address": address}}}
        )


@pytest.fixture(scope="module", params=VERSIONS)
def program(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("calicoctl") / "calicoctl"
    programs.run([sys.executable, BUILD, path, "--version", request.param])
    return request.param, path


@pytest.fixture
def cluster(program, minion, give, formula_etcd, formula_pki):
    version, path = program
    names = {part: str(formula_pki / f"{name}.pem") for part, name in PEM.items()}
    clients = [kind([formula_etcd.endpoint], **names) for kind in (etcdv2.Client, etcdv3.Client)]
    for client in clients:
        client.delete("/calico", recursive=True)
    cluster = Cluster(version, minion, clients[0 if version.startswith("1.") else 1])
    give(version=VERSIONS[version])
    shutil.copy(path, minion.path(ORIGINAL))
    cluster.calicoctl(f'{COUNTING}exec {ORIGINAL} "$@"\n')
    minion.path("/etc/calico/ssl").mkdir(parents=True)
    for name in PEM.values():
        shutil.copy(formula_pki / f"{name}.pem", minion.path(f"/etc/calico/ssl/{name}.pem"))
    configuration = minion.call("calico.calicoctl_configuration")
    minion.path("/etc/calico/calicoctl.cfg").write_text(yaml.safe_dump(configuration))
    cluster.node()
    # The mesh of the two: a session that is left whatever becomes of peers.
    cluster.node("node2", "192.168.61.62/24")
    yield cluster
    for client in clients:
        client.delete("/calico", recursive=True)


PEM = {"ca": "ca", "cert": "calico", "key": "calico-key"}


def test_the_states_of_the_pillar_write_once_what_it_declares(cluster, give):
    """One for each kind: the checked settings and one reading; absent, equal, null, and nothing said."""
    pools = [{"cidr": "172.20.0.0/16", "nat_outgoing": None}]
    peers = [{"peer_ip": "10.0.0.9", "as_number": 64900}]
    felix = {"LogSeverityScreen": "warning"}
    give(
        version=VERSIONS[cluster.version],
        network={"pools": pools, "peers": peers, "felix": felix, "bgp": {"log_level": "warning"}},
    )
    for function in ("pools", "felix", "peers", "bgp"):
        planned = cluster.state(function, "x", test=True)
        assert planned["result"] is None, planned
        found = cluster.state(function, "x")
        assert (found["result"], found["changes"]) == (True, planned["changes"]), found
        again = cluster.state(function, "x")
        assert (again["result"], again["changes"]) == (True, {}), again
    # What is null is the default, to the settings and to the datastore alike.
    assert cluster.minion.call("calico.settings")["network"]["pools"][0]["nat_outgoing"] is True
    (stored,) = cluster.minion.call("calico.pools")
    assert (stored["spec"].get("nat-outgoing"), stored["spec"].get("natOutgoing")).count(True) == 1
    cluster.calls()
    for function in ("node", "resources", "other_peers_absent"):
        found = cluster.state(function, "x")
        assert (found["result"], found["changes"]) == (True, {}), found
    assert cluster.calls() == []


def test_what_is_for_all_is_left_to_those_that_are_named(cluster, give):
    peers = [{"peer_ip": "10.0.0.9", "as_number": 64900}]
    network = {"pools": [{"cidr": "172.20.0.0/16"}], "peers": peers, "mesh": True, "prune": True}
    give(version=VERSIONS[cluster.version], network=dict(network, managed_by="other*"))
    for function in ("pools", "felix", "peers", "bgp", "other_peers_absent", "resources"):
        found = cluster.state(function, "x")
        assert (found["result"], found["changes"]) == (True, {}), found
        assert "calico:network:managed_by" in found["comment"]
    assert cluster.minion.call("calico.pools") == []


def test_other_peers_go_last(cluster, give):
    cluster.state("bgp_peer_present", "10.0.0.8", as_number=64900)
    give(version=VERSIONS[cluster.version], network={"pools": [{"cidr": "172.20.0.0/16"}]})
    assert cluster.state("other_peers_absent", "x")["changes"] == {}
    give(version=VERSIONS[cluster.version], network={"pools": [{"cidr": "172.20.0.0/16"}], "prune": True})
    assert cluster.state("peers", "x")["changes"] == {}
    assert len(cluster.state("other_peers_absent", "x")["changes"]) == 1
    assert cluster.state("other_peers_absent", "x")["changes"] == {}


@dataclass
class Case:
    """A state, what it makes of nothing, and a change of one field; ``only`` names a generation."""

    function: str
    name: str
    arguments: dict
    new: dict
    drift: dict
    drifted: dict
    only: str = None
    absent: str = None
    gone: dict = field(default_factory=dict)

    def fits(self, cluster):
        return self.only in (None, "v3" if cluster.third else "v1")


POLICY = {"apiVersion": THIRD, "kind": "GlobalNetworkPolicy", "metadata": {"name": "web"}}
V1_POLICY = {"apiVersion": "v1", "kind": "policy", "metadata": {"name": "web"}}
CASES = {
    "pool": Case(
        "pool_present",
        "172.20.0.0/16",
        {},
        {"cidr": "172.20.0.0/16", "nat_outgoing": True},
        {"nat_outgoing": False},
        {"nat_outgoing": (True, False)},
        absent="pool_absent",
    ),
    "pool by name": Case(
        "pool_present",
        "rack1",
        {"cidr": "172.20.0.0/16", "block_size": 27, "vxlan": "crosssubnet"},
        {"cidr": "172.20.0.0/16", "block_size": 27, "vxlan": "crosssubnet", "name": "rack1"},
        {"vxlan": "always"},
        {"vxlan": ("crosssubnet", "always")},
        only="v3",
        absent="pool_absent",
    ),
    "global peer": Case(
        "bgp_peer_present",
        "10.0.0.9",
        {"as_number": 64900},
        {"peer_ip": "10.0.0.9", "as_number": 64900},
        {"as_number": "64086.59904"},
        {"as_number": (64900, 4200000000)},
        absent="bgp_peer_absent",
    ),
    "peer of a node": Case(
        "bgp_peer_present",
        "fd00::9",
        {"as_number": 64900, "node": "node1"},
        {"peer_ip": "fd00::9", "as_number": 64900, "node": "node1"},
        {"as_number": 64901},
        {"as_number": (64900, 64901)},
        absent="bgp_peer_absent",
        gone={"node": "node1"},
    ),
    "peer by selectors": Case(
        "bgp_peer_present",
        "reflectors",
        {"node_selector": "all()", "peer_selector": 'has(reflector) && zone in {"a", "b"}'},
        {"name": "reflectors", "node_selector": "all()"},
        {"settings": {"source_address": "None"}},
        {"source_address": ("UseNodeIP", "None")},
        only="v3",
        absent="bgp_peer_absent",
    ),
    "BGP settings": Case(
        "bgp_configuration",
        "default",
        {"as_number": 64900, "settings": {"log_level": "warning"}, "allow": ["as_number"]},
        {"as_number": 64900, "log_level": "warning"},
        {"as_number": 64900, "settings": {"log_level": "debug"}},
        {"log_level": ("warning", "debug")},
    ),
    "Felix' settings": Case(
        "felix_configuration",
        "default",
        {"settings": {"PrometheusMetricsEnabled": True, "LogSeverityScreen": "warning"}},
        {"prometheusMetricsEnabled": True},
        {"settings": {"PrometheusMetricsEnabled": False}},
        {"prometheusMetricsEnabled": (True, False)},
    ),
    "labels": Case(
        "node_labels",
        "node1",
        {"labels": {"rack": "1"}},
        {"labels.rack": "1"},
        {"labels": {"rack": "2"}},
        {"labels.rack": ("1", "2")},
        only="v3",
    ),
    "a resource": Case(
        "resource_present",
        "web",
        {"resource": {**POLICY, "spec": {"selector": 'app == "web"', "order": 10, "types": ["Ingress"]}}},
        {"order": 10},
        {"resource": {**POLICY, "spec": {"order": 20}}},
        {"order": (10, 20)},
        only="v3",
        absent="resource_absent",
        gone={"kind": "GlobalNetworkPolicy"},
    ),
    "a resource of 2.6": Case(
        "resource_present",
        "web",
        {"resource": {**V1_POLICY, "spec": {"selector": 'app == "web"', "order": 10}}},
        {"order": 10},
        {"resource": {**V1_POLICY, "spec": {"order": 20}}},
        {"order": (10, 20)},
        only="v1",
        absent="resource_absent",
        gone={"kind": "policy"},
    ),
}


def run(cluster, case, arguments, wanted):
    """Planned and made, with the same changes each time; then there is nothing left to do."""
    before = cluster.tree()
    planned = cluster.state(case.function, case.name, test=True, **arguments)
    assert planned["result"] is None, planned["comment"]
    assert cluster.tree() == before
    made = cluster.state(case.function, case.name, **arguments)
    assert made["result"] is True, made["comment"]
    assert made["changes"] == planned["changes"]
    # Felix' settings go by a name in 2.6 and by a field in 3.x, which differ in their first letter.
    changes = {name[0].lower() + name[1:]: pair for name, pair in made["changes"].items()}
    for name, pair in wanted.items():
        assert changes[name] == pair, changes
    cluster.calls()
    after = cluster.tree()
    for test in (False, True):
        again = cluster.state(case.function, case.name, test=test, **arguments)
        assert (again["result"], again["changes"]) == (True, {}), again["comment"]
    assert cluster.tree() == after
    return changes


@pytest.mark.parametrize("name", CASES)
def test_absent_drifted_and_equal(cluster, name):
    case = CASES[name]
    if not case.fits(cluster):
        ret = cluster.state(case.function, case.name, **case.arguments)
        assert (ret["result"], ret["changes"]) == (False, {})
        assert "accepted: " in ret["comment"], ret["comment"]
        return
    made = run(cluster, case, case.arguments, {})
    assert {name: made[name]["new"] for name in case.new} == case.new
    drifted = {key: {"old": old, "new": new} for key, (old, new) in case.drifted.items()}
    changes = run(cluster, case, {**case.arguments, **case.drift}, drifted)
    assert set(changes) == set(drifted)
    if not case.absent:
        return
    before = cluster.tree()
    for test in (True, False):
        ret = cluster.state(case.absent, case.name, test=test, **_gone(case))
        assert ret["result"] is (None if test else True), ret["comment"]
        assert [pair["new"] for pair in ret["changes"].values()] == [None]
        assert (cluster.tree() == before) is test
    for test in (True, False):
        ret = cluster.state(case.absent, case.name, test=test, **_gone(case))
        assert (ret["result"], ret["changes"]) == (True, {})


def _gone(case):
    allow = {"allow": ["last_pool"]} if case.absent == "pool_absent" else {}
    return {**case.gone, **allow}


def test_what_others_have_set_survives(cluster):
    """Labels, fields and settings that the pillar does not name, through a change of another one."""
    if cluster.third:
        cluster.node(labels={"theirs": "yes"})
        cluster.write(
            {
                "apiVersion": THIRD,
                "kind": "FelixConfiguration",
                "metadata": {"name": "default"},
                "spec": {"routeRefreshInterval": "1m30s", "logSeverityScreen": "Info"},
            },
            {
                "apiVersion": THIRD,
                "kind": "IPPool",
                "metadata": {"name": "theirs", "annotations": {"by": "them"}},
                "spec": {"cidr": "172.20.0.0/16", "nodeSelector": "has(theirs)", "natOutgoing": True},
            },
        )
        assert cluster.state("node_labels", "node1", labels={"ours": "1"})["result"] is True
    else:
        cluster.minion.run(
            ORIGINAL,
            "config",
            "set",
            "--raw=felix",
            "RouteRefreshInterval",
            "90",
            "--config=/etc/calico/calicoctl.cfg",
        )
        cluster.state("pool_present", "172.20.0.0/16", ipip="crosssubnet")
    done = cluster.state("felix_configuration", "default", settings={"LogSeverityScreen": "warning"})
    assert [name.lower() for name in done["changes"]] == ["logseverityscreen"], done["comment"]
    done = cluster.state("pool_present", "172.20.0.0/16", nat_outgoing=False, **kept(cluster))
    assert done["changes"] == {"nat_outgoing": {"old": True, "new": False}}, done["comment"]
    text = json.dumps(cluster.tree())
    assert ("1m30s" in text and "has(theirs)" in text) if cluster.third else "RouteRefreshInterval" in text
    if cluster.third:
        node = json.loads(cluster.tree()["/calico/resources/v3/projectcalico.org/nodes/node1"])
        assert node["metadata"]["labels"] == {"theirs": "yes", "ours": "1"}
        assert node["spec"]["bgp"] == {"ipv4Address": "192.168.61.61/24"}
        assert '\\"by\\":\\"them\\"' in text
    else:
        assert "cross-subnet" in text


def kept(cluster):
    return {} if cluster.third else {"ipip": "crosssubnet"}


def test_a_field_that_the_server_defaults_is_no_difference(cluster):
    """The least that a pool can be made of, by calicoctl itself, is what the same words ask for."""
    if cluster.third:
        kind = {
            "apiVersion": THIRD,
            "kind": "IPPool",
            "metadata": {"name": "p"},
            "spec": {"cidr": "10.1.0.0/16"},
        }
    else:
        kind = {"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": "10.1.0.0/16"}, "spec": {}}
    cluster.write(kind)
    for more in ({}, {"node_selector": "all()", "block_size": 26, "vxlan": "never"} if cluster.third else {}):
        ret = cluster.state("pool_present", "10.1.0.0/16", nat_outgoing=False, **more)
        assert (ret["result"], ret["changes"]) == (True, {}), ret


@pytest.mark.parametrize("test", [False, True])
def test_a_peer_by_address_needs_an_as_number(cluster, test):
    """calicoctl takes one without; BIRD refuses it, and all that it is told from then on."""
    before = cluster.tree()
    ret = cluster.state("bgp_peer_present", "10.0.0.9", test=test)
    assert ret["result"] is False and ret["changes"] == {}
    assert ret["comment"].startswith("as_number: got nothing; accepted: the neighbour's AS number")
    assert cluster.tree() == before


@pytest.mark.parametrize("program", ["3.22.5", "3.32.1"], indirect=True)
def test_a_pool_that_is_there_keeps_its_name_and_says_so(cluster):
    """As the one that calico-node made when it first started."""
    spec = {"cidr": "172.20.0.0/16", "natOutgoing": True}
    cluster.write(
        {"apiVersion": THIRD, "kind": "IPPool", "metadata": {"name": "default-ipv4-ippool"}, "spec": spec}
    )
    quiet = cluster.state("pool_present", "172.20.0.0/16")
    assert (quiet["result"], quiet["changes"], quiet.get("warnings")) == (True, {}, None), quiet
    for nat, test in ((True, False), (False, True), (False, False)):
        ret = cluster.state("pool_present", "rack1", cidr="172.20.0.0/16", nat_outgoing=nat, test=test)
        assert (ret["result"] is not False, bool(ret["changes"])) == (True, not nat), ret
        assert "default-ipv4-ippool" in ret["warnings"][0] and "rack1" in ret["warnings"][0]
    assert [item["metadata"]["name"] for item in cluster.minion.call("calico.pools")] == [
        "default-ipv4-ippool"
    ]


@pytest.mark.parametrize("program", ["3.22.5", "3.32.1"], indirect=True)
def test_communities_are_held_against_their_use(cluster):
    """Before calicoctl is asked; what the datastore has counts."""
    used = {"prefix_advertisements": [{"cidr": "172.20.0.0/16", "communities": ["rack"]}]}
    named = {"communities": [{"name": "rack", "value": "64512:120"}]}
    before = cluster.tree()
    for settings in (used, named):
        ret = cluster.state("bgp_configuration", "default", settings=settings)
        assert ret["result"] is False and next(iter(settings)) in ret["comment"], ret
    assert cluster.tree() == before
    assert cluster.state("bgp_configuration", "default", settings={**used, **named})["result"] is True
    assert cluster.state("bgp_configuration", "default", settings=used)["changes"] == {}


def test_what_would_be_refused_is_found_before_a_run_changes_anything(cluster, give):
    """By `calico.check`, which comes first: of all that the pillar declares, without a write."""
    cluster.state("pool_present", "172.20.0.0/16")
    version = VERSIONS[cluster.version]

    def found(**network):
        give(version=version, **{f"network__{word}": value for word, value in network.items()})
        before = cluster.tree()
        findings = [item for item in cluster.minion.call("calico.check") if item["what"] == "calico:network"]
        assert cluster.tree() == before
        return " ".join(item["seen"] + item["do"] for item in findings)

    assert found() == ""
    assert "last_pool" in found(pools=[{"cidr": "172.20.0.0/16", "disabled": True}])
    refused = found(mesh=False, as_number=64900)
    assert "no_sessions" in refused and "as_number" in refused
    assert found(mesh=False, allow=["no_sessions"]) == ""
    # The peers are written before the mesh goes, and count.
    outside = {"peer_ip": "10.0.0.9", "as_number": 64900}
    assert found(mesh=False, peers=[outside]) == ""
    # But not those of which no session can come.
    missing = found(mesh=False, peers=[{**outside, "node": "gone"}])
    assert "no_sessions" in missing and "10.0.0.9: there is no node gone" in missing
    other = found(mesh=False, peers=[{"peer_ip": "192.168.61.62", "as_number": 64900}])
    assert "no_sessions" in other and "192.168.61.62: that node has" in other
    assert found(mesh=False, managed_by="L@other") == ""


@pytest.mark.parametrize("arguments", [{"prune": True}, {"absent": [{"cidr": "172.20.0.0/16"}]}])
def test_what_is_refused_on_a_command_line_has_a_return_code(cluster, arguments):
    cluster.state("pool_present", "172.20.0.0/16")
    done, code = cluster.minion.call_with_code("calico.converge", "pool", **arguments)
    assert (done["changes"], code) == ({}, 1)
    assert "last_pool" in done["refused"][0]
    with pytest.raises(minion_support.Failed, match="last_pool"):
        cluster.minion.call("calico.delete", "IPPOOL", "172.20.0.0/16")


@pytest.mark.parametrize(("kind", "name"), [("", None), (5, None), (["a"], None), ("node", ""), ("node", 5)])
def test_what_is_asked_for_in_a_wrong_way(cluster, kind, name):
    with pytest.raises(minion_support.Failed, match="accepted: text"):
        cluster.minion.call("calico.get", kind, name)


# --- several at once ---------------------------------------------------------------------------------


def pools(count, **words):
    return [{"cidr": f"10.{number // 256}.{number % 256}.0/24", **words} for number in range(count)]


def test_pools_of_the_pillar_are_written_in_one_call_and_the_rest_pruned(cluster, give):
    give(version=VERSIONS[cluster.version], network__pools=pools(20), network__prune=True)
    cluster.state("pool_present", "172.20.0.0/16")
    cluster.calls()
    planned = cluster.state("pools_exact", "all pools", test=True)
    made = cluster.state("pools_exact", "all pools")
    assert made["result"] is True, made["comment"]
    assert made["changes"] == planned["changes"]
    assert set(made["changes"]) == {item["cidr"] for item in pools(20)} | {"172.20.0.0/16"}
    assert sorted(cluster.calls()) == ["create", "delete"]
    assert cluster.state("pools_exact", "all pools")["changes"] == {}
    assert len(cluster.minion.call("calico.pools")) == 20

    give(version=VERSIONS[cluster.version], network__pools=pools(20, ipip="always"))
    assert len(cluster.state("pools_exact", "all pools", prune=False)["changes"]) == 20
    assert cluster.calls() == ["replace"]


def test_peers_that_the_pillar_does_not_list_are_pruned(cluster, give):
    peers = [{"peer_ip": f"10.0.0.{number}", "as_number": 64900} for number in range(1, 6)]
    cluster.state("bgp_peer_present", "10.9.9.9", as_number=64999)
    cluster.state("bgp_peer_present", "10.9.9.8", as_number=64999, node="node1")
    give(version=VERSIONS[cluster.version], network__peers=peers)
    kept = cluster.state("bgp_peers_exact", "peers", prune=False)
    assert len(kept["changes"]) == 5, kept["comment"]
    pruned = cluster.state("bgp_peers_exact", "peers")
    assert (pruned["result"], len(pruned["changes"])) == (True, 2), pruned["comment"]
    assert cluster.state("bgp_peers_exact", "peers")["changes"] == {}


def test_a_partial_success_is_reported_as_what_it_was(cluster):
    """calicoctl makes one of three and then fails: that one is a change, the others are not."""
    said = (
        "Partial success: created the first 1 out of 3 'X' resources:\\nHit error: disk on fire"
        if not cluster.third
        else "Partial success: created the first 1 out of 3 'X' resources:"
    )
    error = "" if not cluster.third else 'echo "Hit error(s): [disk on fire]" >&2\n'
    split = "import sys, yaml; print(yaml.safe_dump(next(yaml.safe_load_all(sys.stdin))))"
    cluster.calicoctl(
        f"{COUNTING}if [ $1 = create ]; then\n{sys.executable} -c '{split}' | {ORIGINAL} \"$@\" > /dev/null\n"
        f'printf "{said}\\n"\n{error}exit 1\nfi\nexec {ORIGINAL} "$@"\n'
    )
    ret = cluster.state("pools_exact", "pools", pools=pools(3), prune=False)
    assert ret["result"] is False
    assert set(ret["changes"]) == {pools(3)[0]["cidr"]}
    assert "1 of 3" in ret["comment"] and "disk on fire" in ret["comment"]
    assert len(cluster.minion.call("calico.pools")) == 1


# With 2.6 there is nothing to tell by: the last one to write is right.
@pytest.mark.parametrize("program", ["3.22.5", "3.32.1"], indirect=True)
@pytest.mark.parametrize(("times", "good"), [(1, True), (2, True), (9, False)])
def test_a_conflict_is_read_again_and_retried_at_most_thrice(cluster, times, good):
    """Somebody else writes the pool each time between our reading and our writing."""
    cluster.state("pool_present", "172.20.0.0/16")
    theirs = {
        "apiVersion": THIRD,
        "kind": "IPPool",
        "metadata": {"name": "172-20-0-0-16"},
        "spec": {"cidr": "172.20.0.0/16", "natOutgoing": True, "nodeSelector": "has(rackN)"},
    }
    (pool,) = cluster.minion.call("calico.pools")
    theirs["metadata"]["name"] = pool["metadata"]["name"]
    cluster.minion.path("/opt/theirs.yaml").write_text(yaml.safe_dump(theirs))
    cluster.calicoctl(
        f"{COUNTING}n=$(grep -c replace {CALLS})\n"
        f'if [ "$1" = replace ] && [ "$n" -le {times} ]; then sed "s/rackN/rack$n/" /opt/theirs.yaml | '
        f"{ORIGINAL} apply -f - --config=/etc/calico/calicoctl.cfg > /dev/null; fi\n"
        f'exec {ORIGINAL} "$@"\n'
    )
    cluster.calls()
    ret = cluster.state("pool_present", "172.20.0.0/16", nat_outgoing=False)
    assert ret["result"] is good, ret["comment"]
    assert cluster.calls().count("replace") == (times + 1 if good else 3)
    (pool,) = cluster.minion.call("calico.pools")
    # Whoever wrote last, nothing of theirs is lost.
    assert pool["spec"]["nodeSelector"] == f"has(rack{min(times, 3)})"
    assert pool["spec"].get("natOutgoing", False) is not good
    if not good:
        assert "conflict" in ret["comment"].lower()
        assert ret["changes"] == {}


def test_one_who_was_first_to_make_it_is_no_error(cluster):
    """Another minion makes the same pool between our reading and our writing."""
    cluster.calicoctl(
        f"{COUNTING}if [ $1 = create ] && [ ! -e /opt/once ]; then touch /opt/once\n"
        f'tee /opt/docs | {ORIGINAL} "$@" > /dev/null; exec {ORIGINAL} "$@" < /opt/docs; fi\n'
        f'exec {ORIGINAL} "$@"\n'
    )
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.minion.path("/opt/once").unlink)
        ret = cluster.state("pool_present", "172.20.0.0/16")
    assert ret["result"] is True, ret["comment"]
    assert len(cluster.minion.call("calico.pools")) == 1


# --- faults ------------------------------------------------------------------------------------------

STATES = {case.function: (case.name, case.arguments) for case in reversed(CASES.values())} | {
    "pool_absent": ("172.20.0.0/16", {}),
    "bgp_peer_absent": ("10.0.0.9", {}),
    "pools_exact": ("pools", {"pools": []}),
    "bgp_peers_exact": ("peers", {"peers": []}),
    "resources_present": ("resources", {"resources": []}),
    "resource_absent": ("web", {"kind": "IPPool"}),
}


@pytest.mark.parametrize("test", [False, True])
def test_a_datastore_that_refuses_is_never_an_empty_one(cluster, give, test):
    give(version=VERSIONS[cluster.version], etcd__endpoints=["https://127.0.0.1:1"])
    kind = "IPPool" if cluster.third else "ipPool"
    for function, (name, arguments) in STATES.items():
        if function == "resource_absent":
            arguments = {"kind": kind}
        elif function == "resource_present":
            fitting = (case for case in CASES.values() if case.function == function and case.fits(cluster))
            arguments = next(fitting).arguments
        elif function == "node_labels" and not cluster.third:
            continue
        if function == "resources_present":
            continue
        ret = cluster.state(function, name, test=test, **arguments)
        assert (ret["result"], ret["changes"]) == (False, {}), function
        assert "refused" in ret["comment"], (function, ret["comment"])


def test_a_locked_datastore_is_left_alone(cluster):
    if cluster.third:
        key = "/calico/resources/v3/projectcalico.org/clusterinformations/default"
        spec = {"calicoVersion": VERSIONS[cluster.version], "datastoreReady": False}
        value = {
            "kind": "ClusterInformation",
            "apiVersion": THIRD,
            "metadata": {"name": "default"},
            "spec": spec,
        }
        cluster.client.put(key, json.dumps(value))
    else:
        cluster.client.put("/calico/v1/Ready", "false")
    before = cluster.tree()
    ret = cluster.state("pool_present", "172.20.0.0/16")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "locked" in ret["comment"]
    assert cluster.tree() == before


# calicoctl 1.6 does not compare releases.
@pytest.mark.parametrize("program", ["3.22.5", "3.32.1"], indirect=True)
def test_a_cluster_of_another_release_is_read_but_not_written(cluster):
    key = "/calico/resources/v3/projectcalico.org/clusterinformations/default"
    spec = {"calicoVersion": "v3.30.0", "datastoreReady": True}
    value = {"kind": "ClusterInformation", "apiVersion": THIRD, "metadata": {"name": "default"}, "spec": spec}
    cluster.client.put(key, json.dumps(value))
    before = cluster.tree()
    assert cluster.minion.call("calico.get", "GlobalNetworkPolicy") == []
    ret = cluster.state("pool_present", "172.20.0.0/16")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "3.30.0" in ret["comment"] and "calicoctl of the cluster's release" in ret["comment"]
    assert cluster.tree() == before
