"""The execution module as Salt loads it: what a pillar gives, what the datastore holds, return codes."""

import contextlib
import http.server
import json
import socket
import threading
import time

import pytest

from tests.functional.test_states import CIDR, POOL_KEY, contents, endpoint, pool, register
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
    give(env={"ETCD_PASSWORD": "geheim", "K8S_API_TOKEN": "geheim"}, etcd__tls__key=key)
    for function in ("calico.settings", "calico.environment", "calico.container"):
        shown = json.dumps(minion.call(function))
        assert "geheim" not in shown
        assert key.splitlines()[1] not in shown
    assert "ETCD_PASSWORD" in minion.call("calico.environment")


def test_the_container_is_all_that_decides_how_it_runs(minion, give):
    found = minion.call("calico.container")
    assert (found["name"], found["image"]) == ("calico-node", "calico/node:v2.6.2")
    assert (found["network"], found["privileged"]) == ("host", True)
    assert found["runtime_path"].endswith("/docker")
    assert found["environment"]["NODENAME"] == "node1"
    (label,) = found["labels"].values()
    give(env={"ETCD_PASSWORD": "another"})
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
        "node_plan",
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
    register(datastore)
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
    assert whats == ["container runtime", "address of node node1"]


def test_an_address_that_this_node_itself_has_is_no_finding(minion, give, datastore, engine):
    register(datastore)
    give(node__ip="192.168.61.61/24")
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


def test_registered(minion, give, datastore):
    assert minion.call("calico.registered")["registered"] is False
    register(datastore)
    found = minion.call("calico.registered", timeout=5)
    assert (found["registered"], found["node"], found["address"]) == (True, "node1", "192.168.61.61")


def test_registered_waits_for_it(minion, give, datastore):
    timer = threading.Timer(0.7, register, [datastore])
    timer.start()
    found = minion.call("calico.registered", timeout=30)
    timer.join()
    assert found["registered"] is True


def test_a_plan_changes_nothing(minion, give, datastore):
    datastore.put(POOL_KEY, pool())
    endpoint(datastore)
    before = contents(datastore)
    wanted = {"cidr": CIDR, "ipip": "always"}
    plan = minion.call("calico.pool_plan", wanted)
    assert plan["changes"] == {"ipip": {"old": "never", "new": "always"}}
    assert plan["resource"]["spec"]["ipip"] == {"enabled": True, "mode": "always"}
    plan = minion.call("calico.pool_plan", wanted, present=False)
    assert plan["in_use"] == ["k8s/default.web/eth0 on node1"]
    assert contents(datastore) == before


def test_what_the_pools_of_a_release_do_not_know(minion, give, datastore, refused):
    said = refused("calico.pool_plan", {"cidr": CIDR, "vxlan": "always"})
    assert "vxlan" in said
    assert "nat_outgoing" in said


# --- ready -----------------------------------------------------------------------------------------


@pytest.fixture
def felix():
    """A health port; its number. ``answers`` is the code that it gives."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.code)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.code = 204
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def running(minion, felix, give, datastore):
    """calico-node runs, without BGP: systemd says so, Felix is ready, the node is registered."""
    systemctl = minion.bin / "systemctl"
    systemctl.write_text("#!/bin/sh\nprintf 'LoadState=loaded\\nActiveState=active\\nMainPID=1\\n'\n")
    systemctl.chmod(0o755)
    register(datastore)
    give(node__backend="none", felix={"HealthPort": felix.server_port})
    yield felix
    systemctl.unlink()


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


def test_ready_waits_no_longer_than_it_must(minion, running):
    running.code = 503

    def recover():
        running.code = 204

    timer = threading.Timer(1, recover)
    timer.start()
    found = minion.call("calico.ready", timeout=60)
    timer.join()
    assert found["ready"] is True
    assert found["waited"] < 30


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
        begin = time.monotonic()
        assert "bird.ctl" in refused("calico.peers")
        assert minion.call("calico.status")["ready"] is False
        assert time.monotonic() - begin < 60
