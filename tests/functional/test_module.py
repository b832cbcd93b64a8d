"""The execution module as Salt loads it: what a pillar gives, what the datastore holds, return codes."""

import contextlib
import json
import socket
import threading

import pytest

from tests.functional.test_states import (
    CIDR,
    POOL_KEY,
    SMALL_MTU,
    contents,
    endpoint,
    pool,
    register,
    register_this_host,
)
from tests.support import minion as minion_support


@pytest.fixture
def refused(minion):
    """The text of the error that a function ends with."""

    def call(function, *args, **kwargs):
        with pytest.raises(minion_support.Failed) as caught:
            minion.call(function, *args, **kwargs)
        assert caught.value.kind == "CommandExecutionError"
        return str(caught.value)

    return call


# --- settings --------------------------------------------------------------------------------------


def test_values_are_the_pillars_although_salt_hides_them(minion, give):
    """Salt 3008 shows asterisks for pillar values outside of templates, also to modules."""
    given = give(env={"ANY": "thing", "A_TOKEN": "geheim"}, cni__name="mine", ready__timeout=7)
    found = minion.call("calico.settings")
    assert found["etcd"]["endpoints"] == given["etcd"]["endpoints"]
    assert (found["cni"]["name"], found["ready"]["timeout"]) == ("mine", 7)
    secret = minion.call("calico.environment", secrets=True)
    assert (secret["ANY"], secret["A_TOKEN"]) == ("thing", "geheim")
    assert minion.call("calico.cni_configuration")["name"] == "mine"
    assert minion.call("calico.calicoctl_configuration")["spec"]["etcdEndpoints"]


def test_secrets_are_masked_wherever_settings_are_shown(minion, give, formula_pki):
    key = (formula_pki / "calico-key.pem").read_text()
    give(env={"K8S_PASSWORD": "geheim", "K8S_API_TOKEN": "geheim"}, etcd__tls__key=key)
    for function in ("calico.settings", "calico.environment", "calico.container"):
        shown = json.dumps(minion.call(function))
        assert "geheim" not in shown
        assert key.splitlines()[1] not in shown
    assert "K8S_PASSWORD" in minion.call("calico.environment")


def test_the_container_is_all_that_decides_how_it_runs(minion, give):
    found = minion.call("calico.container")
    assert (found["name"], found["image"]) == ("calico-node", "calico/node:v2.6.2")
    assert (found["network"], found["privileged"]) == ("host", True)
    assert found["runtime_path"].endswith("/docker")
    assert found["environment"]["NODENAME"] == "node1"
    (label,) = found["labels"].values()
    give(env={"ANY": "another"})
    (other,) = minion.call("calico.container")["labels"].values()
    assert label != other


@pytest.mark.parametrize(
    "function",
    [
        "settings",
        "environment",
        "container",
        "cni_configuration",
        "calicoctl_configuration",
        "pools",
        "expected_peers",
        "ready",
        "registered",
        "image",
        "drift",
        "declared",
    ],
)
def test_a_pillar_that_is_wrong_or_missing_is_the_reason(minion, give, refused, function):
    give(verison="x", network__pools=[])
    said = refused("calico." + function)
    assert "calico:verison" in said
    assert "calico:network:pools" in said
    minion.pillar(None)
    assert "calico:version: got nothing" in refused("calico." + function)


def test_the_digest_of_the_code_is_the_releases(minion):
    from tools import release

    assert minion.call("calico.code") in release.release_yaml()


# --- preflight -------------------------------------------------------------------------------------


def test_findings_and_the_return_code(minion, give, datastore, engine):
    register_this_host(datastore)
    give(cni__mtu=SMALL_MTU)
    assert minion.call_with_code("calico.check") == ([], 0)
    give(cni__mtu=7)
    findings, code = minion.call_with_code("calico.check")
    assert code == 1
    (finding,) = findings
    assert (finding["level"], finding["what"], finding["seen"]) == ("error", "calico:cni:mtu", "got 7")
    assert "576" in finding["do"]


def test_all_that_is_wrong_is_found_at_once(minion, give, datastore, engine):
    register(datastore, "node2", "192.168.61.61")
    minion.path("/run/docker.sock").unlink()
    give(node__ip="192.168.61.61/24")
    whats = [finding["what"] for finding in minion.call("calico.check")]
    assert whats == ["container runtime", "address of node node1", "calico:node:ip"]


def test_a_calicoctl_that_comes_with_the_run_is_not_asked_before(minion, give, engine):
    """The Kubernetes API is read by calicoctl."""
    given = {"version": "v3.22.5", "datastore": "kubernetes", "etcd": None}
    give(**given)
    found = {item["what"]: item for item in minion.call("calico.check")}
    assert "calicoctl is not at" in found["calico:calicoctl:path"]["seen"]
    assert "calico:kubernetes:kubeconfig" not in found
    (minion.files / "calicoctl").write_text("x")
    source = {"source": "salt://calicoctl", "source_hash": "sha256=" + "0" * 64}
    give(**given, calicoctl={"path": "/opt/calicoctl", **source})
    found = {item["what"]: item for item in minion.call("calico.check")}
    assert not {"calico:calicoctl:path", "calico:kubernetes:kubeconfig"} & set(found)


def test_an_address_that_this_node_itself_has_is_no_finding(minion, give, datastore, engine):
    give(node__ip=register_this_host(datastore), cni__mtu=SMALL_MTU)
    assert minion.call_with_code("calico.check") == ([], 0)


# --- the datastore ---------------------------------------------------------------------------------


def test_pools_in_the_words_of_calicoctl(minion, give, datastore):
    assert minion.call("calico.pools") == []
    datastore.put(POOL_KEY, pool(masquerade=True))
    (found,) = minion.call("calico.pools")
    assert (found["apiVersion"], found["kind"]) == ("v1", "ipPool")
    assert found["metadata"] == {"cidr": CIDR}
    assert found["spec"]["nat-outgoing"] is True


@pytest.mark.parametrize("value", ["no json", "[]", "{}"])
def test_a_pool_that_cannot_be_read_is_an_error(minion, give, datastore, refused, value):
    datastore.put(POOL_KEY, value)
    assert "The datastore holds what Calico cannot read" in refused("calico.pools")


def test_peers_that_the_datastore_asks_for(minion, give, datastore):
    for number in (1, 2, 3):
        register(datastore, f"node{number}", f"192.168.61.6{number}")
    found = minion.call("calico.expected_peers")
    assert [(peer["node"], peer["address"]) for peer in found] == [
        ("node2", "192.168.61.62"),
        ("node3", "192.168.61.63"),
    ]
    assert {peer["type"] for peer in found} == {"node-to-node mesh"}
    give(ready__absent_nodes=["node3"])
    assert [peer["node"] for peer in minion.call("calico.expected_peers")] == ["node2"]


def test_a_node_that_is_not_registered_has_no_peers_to_expect(minion, give, datastore, refused):
    register(datastore, "node2", "192.168.61.62")
    assert "node1" in refused("calico.expected_peers")


def test_registered(minion, running, datastore):
    datastore.delete("/calico", recursive=True)
    found = minion.call("calico.registered")
    assert (found["registered"], found["reason"]) == (False, "the datastore knows no such node")
    register(datastore)
    found = minion.call("calico.registered", timeout=60)
    assert (found["registered"], found["node"], found["address"]) == (True, "node1", "192.168.61.61")
    assert (found["reason"], found["log"]) == (None, [])


def test_registered_waits_for_it(minion, running, datastore):
    datastore.delete("/calico", recursive=True)
    timer = threading.Timer(0.7, register, [datastore])
    timer.start()
    found = minion.call("calico.registered", timeout=60)
    timer.join()
    assert found["registered"] is True


@pytest.fixture
def journal(minion):
    """What calico-node said."""
    journalctl = minion.bin / "journalctl"
    journalctl.write_text("#!/bin/sh\necho 'Skipping datastore connection test'\necho 'Terminating'\n")
    journalctl.chmod(0o755)
    yield ["Skipping datastore connection test", "Terminating"]
    journalctl.unlink()


def stopped(minion):
    """The start has failed, and systemd will not try again."""
    systemctl = minion.bin / "systemctl"
    systemctl.write_text(
        "#!/bin/sh\ncase $* in *NRestarts*) echo 5; exit;; esac\n"
        "printf 'LoadState=loaded\\nActiveState=failed\\nSubState=failed\\n'\n"
    )


def test_an_entry_of_an_earlier_start_is_no_proof_of_this_one(minion, running, datastore, journal):
    register(datastore)
    assert minion.state("calico.node_registered")["result"] is True
    stopped(minion)
    found = minion.call("calico.registered", timeout=60)
    assert (found["registered"], found["log"]) == (False, journal)
    ret = minion.state("calico.node_registered")
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "calico-node does not run: calico-node.service is failed (failed)" in ret["comment"]
    assert "\n".join(["calico-node said:", *journal]) in ret["comment"]


def test_the_gate_has_the_last_words_of_a_calico_node_that_does_not_run(minion, running, journal):
    stopped(minion)
    ret = minion.state("calico.node_ready", timeout=1)
    assert ret["result"] is False
    assert "\n".join(["calico-node said:", *journal]) in ret["comment"]


def test_a_start_that_is_not_over_is_no_proof(minion, running, give, datastore, journal):
    """The unit is active, as its container has only just been started; nobody listens yet."""
    register(datastore)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    give(node__backend="none", felix={"HealthPort": port})
    found = minion.call("calico.registered")
    assert (found["registered"], found["reason"]) == (False, "calico-node's start is not over")


def test_a_plan_changes_nothing(minion, give, datastore):
    datastore.put(POOL_KEY, pool())
    endpoint(datastore)
    before = contents(datastore)
    wanted = {"cidr": CIDR, "ipip": "always"}
    plan = minion.call("calico.plan", "pool", [wanted])
    assert plan["changes"] == {CIDR: {"ipip": {"old": "never", "new": "always"}}}
    assert plan["steps"] == [{"name": CIDR, "action": "update"}]
    assert plan["refused"] == []
    plan = minion.call("calico.plan", "pool", absent=[wanted], allow=["last_pool"])
    assert [step["action"] for step in plan["steps"]] == ["delete"]
    assert "k8s/default.web/eth0 on node1" in "".join(plan["refused"])
    assert contents(datastore) == before


def test_what_the_pools_of_a_release_do_not_know(minion, give, datastore, refused):
    said = refused("calico.plan", "pool", [{"cidr": CIDR, "vxlan": "always"}])
    assert "vxlan" in said
    assert "nat_outgoing" in said


PEER = {"apiVersion": "v1", "kind": "bgpPeer", "metadata": {"scope": "global", "peerIP": "10.0.0.9"}}


def test_a_resource_is_applied_once_and_deleted_once(minion, give, datastore, calicoctl):
    wanted = dict(PEER, spec={"asNumber": "64900"})
    assert minion.call("calico.apply", wanted)["as_number"] == {"old": None, "new": 64900}
    assert minion.call("calico.apply", wanted) == {}
    assert [item["spec"] for item in minion.call("calico.get", "bgpPeer")] == [{"asNumber": 64900}]
    assert minion.call("calico.delete", "bgpPeer", "10.0.0.9") is True
    assert minion.call("calico.get", "bgpPeer") == []
    assert minion.call("calico.delete", "bgpPeer", "10.0.0.9") is False


def test_a_resource_is_deleted_by_what_identifies_it(minion, give, datastore, calicoctl, refused):
    """Peers of 2.6 have no name: it is their address, however it is written, and their node."""
    minion.call("calico.apply", dict(PEER, spec={"asNumber": 64900}))
    own = {"scope": "node", "node": "node1", "peerIP": "10.0.0.9"}
    minion.call("calico.apply", dict(PEER, metadata=own, spec={"asNumber": 64901}))
    minion.call("calico.apply", dict(PEER, metadata=dict(own, peerIP="fd00::9"), spec={"asNumber": 64902}))
    said = refused("calico.delete", "bgpPeer", "rack1-tor")
    assert "rack1-tor" in said and "the address of a peer" in said
    said = refused("calico.delete", "bgpPeer", "10.0.0.9")
    assert "of all nodes (node: ''), of node node1. Say which by node" in said
    found = minion.state("calico.resource_absent", "10.0.0.9", kind="bgpPeer")
    assert (found["result"], found["changes"]) == (False, {})
    assert len(minion.call("calico.get", "bgpPeer")) == 3
    assert minion.call("calico.delete", "BGPPEER", "10.0.0.9", node="node1") is True
    assert minion.call("calico.delete", "bgpPeer", "FD00:0::9") is True
    assert [item["metadata"] for item in minion.call("calico.get", "bgpPeer")] == [PEER["metadata"]]
    assert minion.call("calico.delete", "bgpPeer", "10.0.0.9", node="") is True
    assert minion.call("calico.get", "bgpPeer") == []


def test_a_delete_is_guarded_like_the_state(minion, give, datastore, calicoctl, refused):
    datastore.put(POOL_KEY, pool())
    datastore.put("/calico/v1/ipam/v4/pool/10.99.0.0-16", pool("10.99.0.0/16"))
    endpoint(datastore)
    before = contents(datastore)
    said = refused("calico.delete", "ipPool", CIDR)
    assert "k8s/default.web/eth0 on node1" in said and "pool_in_use" in said
    assert contents(datastore) == before
    assert minion.call("calico.delete", "ipPool", CIDR, allow=["pool_in_use"]) is True


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        ("text", "resource: got 'text'; accepted: a resource"),
        ({"kind": "bgpPeer"}, "apiVersion: got"),
        ({"apiVersion": "v1", "metadata": {}}, "kind: got"),
        ({"apiVersion": "v1", "kind": 7}, "kind: got 7"),
        ({"apiVersion": "v1", "kind": "ipPool", "metadata": {}, "spec": {}}, "cidr: got"),
        (dict(PEER, spec={"asNumber": "many"}), "as_number: got"),
        (dict(PEER, sepc={}), "sepc: got"),
    ],
)
def test_a_resource_that_is_wrong_is_not_applied(
    minion, give, datastore, calicoctl, refused, resource, words
):
    assert words in refused("calico.apply", resource)
    assert contents(datastore) == {}


# --- ready -----------------------------------------------------------------------------------------


def test_a_node_that_is_ready(minion, running):
    found, code = minion.call_with_code("calico.ready")
    assert (found["ready"], found["reasons"], code) == (True, [], 0)
    assert found["node"] == "node1"
    status, code = minion.call_with_code("calico.status")
    assert (status["ready"], code) == (True, 0)
    assert minion.state("calico.node_ready")["result"] is True


def test_a_felix_that_is_not_ready(minion, running):
    running.code = 503
    for function in ("calico.ready", "calico.status"):
        found, code = minion.call_with_code(function)
        assert (found["ready"], code) == (False, 1)
        assert "Felix is not ready" in found["reasons"][0]
        assert "503" in found["reasons"][0]


@pytest.mark.parametrize("value", [False, "no", "none"])
def test_a_node_whose_felix_cannot_be_asked_is_ready_without_and_says_so(minion, running, give, value):
    """Another service is at that port; it is not asked."""
    running.code = 503
    give(node__backend="none", felix={"HealthPort": running.server_port, "HealthEnabled": value})
    for function in ("calico.ready", "calico.status"):
        found, code = minion.call_with_code(function)
        assert (found["ready"], found["reasons"], code) == (True, [], 0)
        assert found["felix"]["ready"] is None
        assert "HealthEnabled" in found["notes"][0]
    ret = minion.state("calico.node_ready")
    assert ret["result"] is True
    assert "Felix was not asked whether it is ready" in ret["comment"]
    assert "calico_felix_ready" not in minion.call("calico.metrics")
    minion.call("calico.watched", minion.call("calico.watched")["state"])


def test_two_nodes_with_gobgp_are_ready_and_it_is_said_what_was_not_seen(minion, running, give, datastore):
    for number in (1, 2):
        register(datastore, f"node{number}", f"192.168.61.6{number}")
    give(node__backend="gobgp", felix={"HealthPort": running.server_port})
    found, code = minion.call_with_code("calico.ready")
    assert (found["ready"], found["expected"], code) == (True, [], 0)
    ret = minion.state("calico.node_ready")
    assert ret["result"] is True
    assert "the sessions of gobgp (calico:node:backend) cannot be seen" in ret["comment"]


@contextlib.contextmanager
def forwarded(endpoint, port):
    """Another way to etcd, for as long as this lasts."""
    address = endpoint.rpartition("//")[2].rpartition(":")
    ended = threading.Event()

    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve():
        while not ended.is_set():
            with contextlib.suppress(OSError):
                near = listener.accept()[0]
                far = socket.create_connection((address[0], int(address[2])))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield
        ended.set()


@pytest.mark.parametrize("function", ["calico.ready", "calico.registered"])
def test_a_datastore_that_is_away_for_some_seconds_is_waited_for(
    minion, running, give, formula_etcd, function
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"node__backend": "none", "felix": {"HealthPort": running.server_port}}
    give(**settings, etcd__endpoints=[f"https://127.0.0.1:{port}"])
    with pytest.raises(minion_support.Failed, match="connection refused"):
        minion.call(function)
    with pytest.raises(minion_support.Failed, match="connection refused"):
        minion.call(function, timeout=2)
    back = contextlib.ExitStack()
    timer = threading.Timer(3, lambda: back.enter_context(forwarded(formula_etcd.endpoint, port)))
    timer.start()
    with back:
        found = minion.call(function, timeout=120)
        timer.join()
    assert found["ready" if function == "calico.ready" else "registered"] is True


def test_ready_waits_no_longer_than_it_must(minion, running):
    running.code = 503

    def recover():
        running.code = 204

    timer = threading.Timer(1, recover)
    timer.start()
    found = minion.call("calico.ready", timeout=60)
    timer.join()
    assert found["ready"] is True


def test_status_needs_neither_pillar_nor_datastore(minion):
    minion.pillar({"verison": "x"})
    found, code = minion.call_with_code("calico.status")
    assert (found["ready"], code) == (False, 1)
    assert any("calico-node.service" in reason for reason in found["reasons"])
    assert any("bird.ctl" in reason for reason in found["reasons"])


@pytest.mark.parametrize("answer", [b"", b"garbage\n", b"0001 BIRD 1.6.3 ready.\n", None])
def test_a_bird_that_gives_no_answer_is_a_reason(minion, give, refused, answer):
    """Cut, garbage, no more after the greeting, silent: never an empty list of sessions."""
    minion.path("/run/calico").mkdir()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(minion.path("/run/calico/bird.ctl")))
        listener.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection = stack.enter_context(listener.accept()[0])
                    if answer is not None:
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        assert "bird.ctl" in refused("calico.peers")
        assert minion.call("calico.status")["ready"] is False


def test_a_kind_that_calicoctl_does_not_know_is_found_before_anything_is_done(
    minion, datastore, give, calicoctl
):
    resource = {"apiVersion": "v1", "kind": "Nonsense", "metadata": {"name": "a"}, "spec": {}}
    give(network__resources=[resource])
    found = {item["what"]: item for item in minion.call("calico.check")}
    assert found["calico:network:resources: kind Nonsense"]["level"] == "error"
    assert "Nonsense" in found["calico:network:resources: kind Nonsense"]["seen"]
    give(network__resources=[dict(resource, kind="profile")])
    assert not [item for item in minion.call("calico.check") if "kind" in item["what"]]
