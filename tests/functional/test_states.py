"""Each state absent, drifted and equal, in test mode and not, held against the real thing behind it."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml

from tests.functional.conftest import CALICOCTL
from tests.support import etcd as etcd_support
from tests.support import pki as pki_support

CIDR = "172.20.0.0/16"
POOL_KEY = "/calico/v1/ipam/v4/pool/172.20.0.0-16"
BUILD = Path(__file__).parents[1] / "lab" / "standins" / "build_calicoctl.py"
FULL = {
    "cidr": {"old": None, "new": CIDR},
    "ipip": {"old": None, "new": "never"},
    "nat_outgoing": {"old": None, "new": True},
    "disabled": {"old": None, "new": False},
}


def pool(cidr=CIDR, **fields):
    """A pool as Calico 2.6 keeps it."""
    stored = {"cidr": cidr, "ipip": "", "ipip_mode": "", "masquerade": True, "ipam": True, "disabled": False}
    return json.dumps(dict(stored, **fields))


def register(datastore, name="node1", address="192.168.61.61"):
    base = f"/calico/bgp/v1/host/{name}"
    datastore.put(f"{base}/ip_addr_v4", address)
    datastore.put(f"{base}/ip_addr_v6", "")
    datastore.put(f"{base}/network_v4", "192.168.61.0/24")
    datastore.put(f"/calico/v1/host/{name}/metadata", "{}")
    datastore.put(f"/calico/v1/host/{name}/bird_ip", address)


def endpoint(datastore, address="172.20.26.1/32", node="node1"):
    """A workload's endpoint on a node."""
    key = f"/calico/v1/host/{node}/workload/k8s/default.web/endpoint/eth0"
    stored = {"state": "active", "name": "cali0ef24ba", "ipv4_nets": [address], "ipv6_nets": []}
    datastore.put(key, json.dumps(stored))


def contents(datastore):
    return datastore.tree("/calico")[0]


def script(minion, text):
    """Put a program in calicoctl's place."""
    path = minion.path(CALICOCTL)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture(scope="session")
def binary(tmp_path_factory):
    """The original calicoctl where CALICOCTL names it, the stand-in elsewhere."""
    if os.environ.get("CALICOCTL"):
        return os.environ["CALICOCTL"]
    path = tmp_path_factory.mktemp("calicoctl") / "calicoctl"
    subprocess.run([sys.executable, str(BUILD), str(path), "--version", "1.6.3"], check=True)
    return path


@pytest.fixture
def calicoctl(binary, minion, give, formula_pki):
    """calicoctl is installed and configured, as the formula does it."""
    shutil.copy(binary, minion.path(CALICOCTL))
    minion.path("/etc/calico/ssl").mkdir(parents=True)
    for name in ("ca.pem", "calico.pem", "calico-key.pem"):
        shutil.copy(formula_pki / name, minion.path(f"/etc/calico/ssl/{name}"))
    configuration = minion.call("calico.calicoctl_configuration")
    minion.path("/etc/calico/calicoctl.cfg").write_text(yaml.safe_dump(configuration))


# --- pools -----------------------------------------------------------------------------------------


def test_an_absent_pool_is_planned_in_test_mode_without_calicoctl(minion, give, datastore):
    found = minion.state("calico.pool_present", CIDR, test=True)
    assert found["result"] is None
    assert found["changes"] == FULL
    assert contents(datastore) == {}


def test_an_absent_pool_is_written_once(minion, give, datastore, calicoctl):
    found = minion.state("calico.pool_present", CIDR)
    assert (found["result"], found["changes"]) == (True, FULL)
    assert json.loads(datastore.get(POOL_KEY)) == json.loads(pool())
    before = datastore.tree("/calico")
    again = minion.state("calico.pool_present", CIDR)
    assert (again["result"], again["changes"]) == (True, {})
    assert datastore.tree("/calico") == before


DRIFTS = [
    ({"ipip": "tunl0", "ipip_mode": "always"}, {"ipip": {"old": "always", "new": "never"}}),
    ({"ipip": "tunl0", "ipip_mode": "cross-subnet"}, {"ipip": {"old": "crosssubnet", "new": "never"}}),
    ({"masquerade": False}, {"nat_outgoing": {"old": False, "new": True}}),
    ({"disabled": True, "ipam": False}, {"disabled": {"old": True, "new": False}}),
]


@pytest.mark.parametrize(("stored", "changes"), DRIFTS)
def test_a_drifted_pool_is_shown_in_test_mode(minion, give, datastore, stored, changes):
    datastore.put(POOL_KEY, pool(**stored))
    before = contents(datastore)
    found = minion.state("calico.pool_present", CIDR, test=True)
    assert (found["result"], found["changes"]) == (None, changes)
    assert contents(datastore) == before


@pytest.mark.parametrize(("stored", "changes"), DRIFTS)
def test_a_drifted_pool_is_put_right(minion, give, datastore, calicoctl, stored, changes):
    datastore.put(POOL_KEY, pool(**stored))
    found = minion.state("calico.pool_present", CIDR)
    assert (found["result"], found["changes"]) == (True, changes)
    assert json.loads(datastore.get(POOL_KEY)) == json.loads(pool())
    assert minion.state("calico.pool_present", CIDR)["changes"] == {}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("further", [{}, {"vxlan_mode": "", "added": {"by": "somebody"}}])
def test_an_equal_pool_needs_no_calicoctl(minion, give, datastore, test, further):
    datastore.put(POOL_KEY, pool(**further))
    before = datastore.tree("/calico")
    found = minion.state("calico.pool_present", CIDR, test=test)
    assert (found["result"], found["changes"]) == (True, {})
    assert datastore.tree("/calico") == before


@pytest.mark.parametrize(
    ("name", "arguments", "field"),
    [
        ("garbage", {}, "cidr"),
        ("172.20.0.1/16", {}, "cidr"),
        ("172.20.0.0/27", {}, "cidr"),
        ("172.20.0.0", {}, "cidr"),
        ("169.254.0.0/16", {}, "cidr"),
        ("fd00::/64", {"ipip": "always"}, "ipip"),
        (CIDR, {"ipip": "sometimes"}, "ipip"),
        (CIDR, {"ipip": 7}, "ipip"),
        (CIDR, {"nat_outgoing": "yes"}, "nat_outgoing"),
        (CIDR, {"disabled": 1}, "disabled"),
    ],
)
def test_bad_arguments_name_the_field_and_write_nothing(minion, give, datastore, name, arguments, field):
    found = minion.state("calico.pool_present", name, **arguments)
    assert (found["result"], found["changes"]) == (False, {})
    assert f"{field}: got " in found["comment"]
    assert contents(datastore) == {}


def test_an_overlapping_pool_is_refused(minion, give, datastore):
    datastore.put(POOL_KEY, pool())
    found = minion.state("calico.pool_present", "172.20.128.0/17")
    assert found["result"] is False
    assert "does not overlap the pool 172.20.0.0/16" in found["comment"]


@pytest.mark.parametrize("test", [False, True])
def test_no_pool_is_absent_already(minion, give, datastore, test):
    found = minion.state("calico.pool_absent", CIDR, test=test)
    assert (found["result"], found["changes"]) == (True, {})


def test_the_removal_of_a_pool_is_planned_in_test_mode(minion, give, datastore):
    datastore.put(POOL_KEY, pool())
    found = minion.state("calico.pool_absent", CIDR, test=True)
    assert found["result"] is None
    assert found["changes"]["pool"]["old"]["metadata"]["cidr"] == CIDR
    assert datastore.get(POOL_KEY)


def test_a_pool_is_removed_once(minion, give, datastore, calicoctl):
    datastore.put(POOL_KEY, pool())
    assert minion.state("calico.pool_absent", CIDR)["result"] is True
    assert datastore.get(POOL_KEY) is None
    again = minion.state("calico.pool_absent", CIDR)
    assert (again["result"], again["changes"]) == (True, {})


@pytest.mark.parametrize("test", [False, True])
def test_a_pool_in_use_is_not_removed(minion, give, datastore, test):
    datastore.put(POOL_KEY, pool())
    endpoint(datastore)
    found = minion.state("calico.pool_absent", CIDR, test=test)
    assert (found["result"], found["changes"]) == (False, {})
    assert "k8s/default.web/eth0 on node1" in found["comment"]
    assert datastore.get(POOL_KEY)


def test_a_pool_in_use_is_removed_by_force(minion, give, datastore, calicoctl):
    datastore.put(POOL_KEY, pool())
    endpoint(datastore)
    assert minion.state("calico.pool_absent", CIDR, force=True)["result"] is True
    assert datastore.get(POOL_KEY) is None


def test_a_workload_of_another_pool_does_not_hold_this_one(minion, give, datastore):
    datastore.put(POOL_KEY, pool())
    endpoint(datastore, "10.9.0.1/32")
    assert minion.state("calico.pool_absent", CIDR, test=True)["result"] is None


@pytest.mark.parametrize("name", ["garbage", "172.20.0.0./16", "172.20.0.1/16"])
def test_a_misspelt_pool_is_not_taken_for_absent(minion, give, datastore, name):
    datastore.put(POOL_KEY, pool())
    found = minion.state("calico.pool_absent", name)
    assert found["result"] is False
    assert "cidr: got " in found["comment"]


# --- calicoctl -------------------------------------------------------------------------------------


@pytest.fixture
def drifted(give, datastore):
    datastore.put(POOL_KEY, pool(masquerade=False))
    before = contents(datastore)
    yield
    assert contents(datastore) == before


def test_calicoctl_is_missed_only_where_it_is_needed(minion, drifted):
    found = minion.state("calico.pool_present", CIDR)
    assert (found["result"], found["changes"]) == (False, {})
    assert f"calicoctl is not at {CALICOCTL}" in found["comment"]
    assert "calico:calicoctl:source" in found["comment"]


def test_a_calicoctl_that_hangs_is_killed_with_its_children(minion, drifted, give, tmp_path):
    give(calicoctl__timeout=1)
    script(minion, f"#!/bin/sh\nsleep 1000 &\necho $! > {tmp_path}/pid\nsleep 1000\n")
    begin = time.monotonic()
    found = minion.state("calico.pool_present", CIDR)
    assert time.monotonic() - begin < 60
    assert (found["result"], found["changes"]) == (False, {})
    assert "did not end within 1 s" in found["comment"]
    assert_gone((tmp_path / "pid").read_text().strip())


def assert_gone(pid, within=5):
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} still runs")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/bin/sh\necho 'Failed to execute command: error with field cidr'; exit 1\n", "error with field"),
        ("#!/bin/sh\nprintf 'sch\\303\\266n \\377'; exit 3\n", "schön"),
        ("#!/bin/sh\nexit 1\n", "without a word"),
        ("no program\n", "cannot be run"),
        ("#!/no/interpreter\n", "interpreter"),
    ],
)
def test_what_calicoctl_says_is_the_reason(minion, drifted, text, reason):
    script(minion, text)
    found = minion.state("calico.pool_present", CIDR)
    assert (found["result"], found["changes"]) == (False, {})
    assert reason in found["comment"]


# --- an etcd that does not answer ------------------------------------------------------------------

READERS = [
    ("calico.pool_present", {"name": CIDR}),
    ("calico.pool_absent", {"name": CIDR}),
    ("calico.node_absent", {}),
    ("calico.node_registered", {}),
    ("calico.node_ready", {}),
    ("calico.checked", {}),
]


@pytest.fixture(params=["refused", "frozen", "wrong CA", "foreign certificate", "no v2 API"])
def broken(request, give, formula_pki, formula_etcd, tmp_path):
    """(What is wrong with etcd is set up) the words that say so."""
    with contextlib.ExitStack() as stack:
        if request.param == "refused":
            give(etcd__endpoints=["https://127.0.0.1:1"])
            yield "refused"
        elif request.param == "frozen":
            give(calicoctl__timeout=1)
            formula_etcd.freeze()
            stack.callback(formula_etcd.thaw)
            yield "does not answer (1 s)"
        elif request.param == "wrong CA":
            give(etcd__tls__ca=str(formula_pki / "wrong-ca.pem"))
            yield "CA"
        elif request.param == "foreign certificate":
            pki_support.issue(formula_pki, "foreign", ca="wrong-ca")
            at = str(formula_pki / "foreign")
            give(etcd__tls__cert=at + ".pem", etcd__tls__key=at + "-key.pem")
            yield "does not accept our certificate"
        else:
            server = etcd_support.Etcd(tmp_path / "etcd", formula_pki)
            server.start(enable_v2=False)
            stack.callback(server.stop)
            give(etcd__endpoints=[server.endpoint])
            yield "enable-v2"


@pytest.mark.parametrize("test", [False, True])
def test_no_state_takes_silence_for_absence(minion, engine, broken, test):
    for state, arguments in READERS:
        begin = time.monotonic()
        found = minion.state(state, test=test, **arguments)
        assert time.monotonic() - begin < 60, state
        if test and state in ("calico.node_registered", "calico.node_ready"):
            assert found["result"] is None
        else:
            assert found["result"] is False, state
            assert broken in found["comment"], state
        assert found["changes"] == {}, state


# --- the node --------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", [False, True])
def test_an_unknown_node_is_absent_already(minion, give, datastore, test):
    register(datastore, "node2")
    found = minion.state("calico.node_absent", test=test)
    assert (found["result"], found["changes"]) == (True, {})


def test_the_removal_of_a_node_is_planned_in_test_mode(minion, give, datastore):
    register(datastore)
    before = contents(datastore)
    found = minion.state("calico.node_absent", test=True)
    assert (found["result"], found["changes"]) == (None, {"node": {"old": "node1", "new": None}})
    assert contents(datastore) == before


def test_a_node_is_removed_once_and_others_stay(minion, give, datastore, calicoctl):
    register(datastore)
    register(datastore, "node2", "192.168.61.62")
    found = minion.state("calico.node_absent")
    assert (found["result"], found["changes"]) == (True, {"node": {"old": "node1", "new": None}})
    left = "\n".join(contents(datastore))
    assert "/node2/" in left
    assert "/bgp/v1/host/node1/" not in left
    assert minion.state("calico.node_absent")["changes"] == {}


@pytest.mark.parametrize("test", [False, True])
def test_a_node_with_workloads_stays(minion, give, datastore, test):
    register(datastore)
    endpoint(datastore)
    before = contents(datastore)
    found = minion.state("calico.node_absent", test=test)
    assert (found["result"], found["changes"]) == (False, {})
    assert "default.web" in found["comment"]
    assert contents(datastore) == before


def test_a_node_is_registered(minion, give, datastore):
    register(datastore)
    found = minion.state("calico.node_registered", timeout=1)
    assert found["result"] is True
    assert "192.168.61.61" in found["comment"]


def test_a_node_that_does_not_register_is_named(minion, give, datastore):
    found = minion.state("calico.node_registered", timeout=1)
    assert found["result"] is False
    assert "node1 has not registered" in found["comment"]


def test_a_node_that_is_not_ready_says_what_is_missing(minion, give, datastore):
    register(datastore)
    found = minion.state("calico.node_ready", timeout=1)
    assert found["result"] is False
    assert "Felix is not ready" in found["comment"]
    assert "/var/run/calico/bird.ctl" in found["comment"]
    shown = minion.state("calico.node_ready", test=True)
    assert shown["result"] is None
    assert "Would wait" in shown["comment"]


# --- preflight -------------------------------------------------------------------------------------


@pytest.fixture
def fit(give, datastore, engine):
    """All that calico.checked looks at is right."""
    register(datastore)
    return give


def test_a_host_that_is_fit(minion, fit):
    found = minion.state("calico.checked")
    assert (found["result"], found["changes"]) == (True, {})
    assert "warnings" not in found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verison": "v2.6.2"}, ["calico:verison", "did you mean 'version'"]),
        ({"cni__mtu": 7, "node__ip": "x"}, ["calico:cni:mtu: got 7", "calico:node:ip"]),
        ({"etcd__tls__ca": "/no/such/ca.pem"}, ["calico:etcd:tls", "/no/such/ca.pem"]),
        ({"etcd__tls__ca": "salt://no/ca.pem"}, ["calico:etcd:tls", "salt://no/ca.pem"]),
        ({"image_archive": "/no/image.tar"}, ["calico:image_archive", "/no/image.tar"]),
        ({"image_archive": "salt://no/image.tar"}, ["calico:image_archive", "salt://no/image.tar"]),
    ],
)
def test_what_is_wrong_with_the_pillar(minion, fit, changes, words):
    fit(**changes)
    for test in (False, True):
        found = minion.state("calico.checked", test=test)
        assert (found["result"], found["changes"]) == (False, {})
        assert "Nothing has been changed" in found["comment"]
        for word in words:
            assert word in found["comment"]


@pytest.mark.parametrize(
    ("options", "word"),
    [({"days": -1, "begins": -30}, "expired on"), ({"days": 30, "begins": 5}, "not valid before")],
)
def test_certificates_out_of_time(minion, fit, formula_pki, options, word):
    pki_support.issue(formula_pki, "timed", **options)
    at = str(formula_pki / "timed")
    fit(etcd__tls__cert=at + ".pem", etcd__tls__key=at + "-key.pem")
    found = minion.state("calico.checked")
    assert found["result"] is False
    assert "calico:etcd:tls:cert" in found["comment"]
    assert word in found["comment"]


def test_a_key_of_another_certificate(minion, fit, formula_pki):
    fit(etcd__tls__key=str(formula_pki / "etcd-key.pem"))
    found = minion.state("calico.checked")
    assert found["result"] is False
    assert "does not belong to the certificate" in found["comment"]


def test_a_certificate_that_expires_soon_is_a_warning(minion, fit, formula_pki):
    pki_support.issue(formula_pki, "soon", days=9)
    at = str(formula_pki / "soon")
    fit(etcd__tls__cert=at + ".pem", etcd__tls__key=at + "-key.pem")
    found = minion.state("calico.checked")
    assert found["result"] is True
    assert "expires in 8 days" in "".join(found["warnings"])


def test_a_warning_about_certificates_does_not_hide_a_datastore_that_is_away(minion, fit, formula_pki):
    pki_support.issue(formula_pki, "soon", days=9)
    at = str(formula_pki / "soon")
    refused = ["https://127.0.0.1:2999"]
    fit(etcd__tls__cert=at + ".pem", etcd__tls__key=at + "-key.pem", etcd__endpoints=refused)
    found = minion.state("calico.checked")
    assert found["result"] is False
    assert "connection refused" in found["comment"]


def test_a_host_name_in_capitals(minion, fit):
    fit(node={})
    own = os.uname().nodename
    minion.run("hostname", "Node1")
    try:
        found = minion.state("calico.checked")
    finally:
        minion.run("hostname", own)
    assert found["result"] is False
    assert "'Node1' has capitals" in found["comment"]
    assert "'node1'" in found["comment"]


def test_a_full_disk(minion, fit):
    minion.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/etc")
    try:
        found = minion.state("calico.checked")
    finally:
        minion.run("umount", "/etc")
    assert found["result"] is False
    assert "disk space: /etc has 1 MiB" in found["comment"]


def test_an_address_that_another_node_has(minion, fit, datastore):
    register(datastore, "node2", "192.168.61.61")
    found = minion.state("calico.checked")
    assert found["result"] is False
    assert "192.168.61.61 is registered by node node2" in found["comment"]


def test_a_host_without_docker(minion, fit):
    minion.path("/run/docker.sock").unlink()
    for state in ("calico.checked", "calico.image_present", "calico.container_current"):
        found = minion.state(state)
        assert (found["result"], found["changes"]) == (False, {})
        assert "docker does not run" in found["comment"]


# --- image and container ---------------------------------------------------------------------------

IMAGE = "calico/node:v2.6.2"
LOADED = "sha256:" + "a" * 64
PULLED = "sha256:" + "b" * 64
OTHER = "sha256:" + "c" * 64


@pytest.mark.parametrize("test", [False, True])
def test_an_image_that_is_there(minion, give, engine, test):
    engine.knows(images={IMAGE: {"Id": LOADED}})
    found = minion.state("calico.image_present", test=test)
    assert (found["result"], found["changes"]) == (True, {})
    assert engine.state["calls"] == []


def test_a_missing_image_is_shown_in_test_mode(minion, give, engine):
    found = minion.state("calico.image_present", test=True)
    assert (found["result"], found["changes"]) == (None, {IMAGE: {"old": None, "new": "loaded"}})
    assert engine.state["calls"] == []


@pytest.mark.parametrize("where", ["salt://", ""])
def test_a_missing_image_is_loaded_from_its_archive(minion, give, engine, where):
    archive = minion.files / "node.tar"
    archive.write_bytes(b"image")
    engine.knows(loads=IMAGE)
    give(image_archive=where + "node.tar" if where else str(archive))
    found = minion.state("calico.image_present")
    assert (found["result"], found["changes"]) == (True, {IMAGE: {"old": None, "new": LOADED}})
    assert minion.state("calico.image_present")["changes"] == {}
    assert [call[0] for call in engine.state["calls"]] == ["load"]


def test_a_missing_image_is_pulled(minion, give, engine):
    engine.knows(pullable=IMAGE)
    found = minion.state("calico.image_present")
    assert (found["result"], found["changes"]) == (True, {IMAGE: {"old": None, "new": PULLED}})


def test_an_image_that_cannot_be_had(minion, give, engine):
    found = minion.state("calico.image_present")
    assert (found["result"], found["changes"]) == (False, {})
    assert f"manifest for {IMAGE} not found" in found["comment"]


def test_an_archive_without_the_image(minion, give, engine, tmp_path):
    (tmp_path / "node.tar").write_bytes(b"image")
    engine.knows(loads="calico/node:v2.6.1")
    give(image_archive=str(tmp_path / "node.tar"))
    found = minion.state("calico.image_present")
    assert (found["result"], found["changes"]) == (False, {})
    assert f"holds no image {IMAGE}" in found["comment"]


@pytest.mark.parametrize(
    ("image", "accepted"),
    [
        ({"Id": LOADED}, True),
        ({"Id": OTHER, "RepoDigests": ["calico/node@" + LOADED]}, True),
        ({"Id": OTHER, "RepoDigests": ["calico/node@" + PULLED]}, False),
    ],
)
def test_the_image_must_have_the_digest(minion, give, engine, image, accepted):
    give(image_digest=LOADED)
    engine.knows(images={IMAGE: image}, pullable=IMAGE)
    found = minion.state("calico.image_present")
    assert found["result"] is accepted
    assert found["changes"] == {}
    assert ("calico:image_digest" in found["comment"]) is not accepted


@pytest.fixture
def container(minion, give, engine):
    """Docker runs the very container that the pillar asks for, with some things changed."""

    def run(image=LOADED, running=True, **changes):
        wanted = minion.call("calico.container")
        secret = minion.call("calico.environment", secrets=True)
        inspected = {
            "Id": "1" * 64,
            "Image": image,
            "State": {"Running": running},
            "Config": {
                "Labels": changes.get("labels", wanted["labels"]),
                "Env": [f"{name}={value}" for name, value in secret.items()] + ["PATH=/bin"],
            },
            "HostConfig": {"Binds": wanted["mounts"]},
        }
        engine.knows(images={IMAGE: {"Id": LOADED}}, containers={"calico-node": inspected})

    return run


@pytest.mark.parametrize("test", [False, True])
def test_the_container_is_current(minion, container, test):
    container()
    found = minion.state("calico.container_current", test=test)
    assert (found["result"], found["changes"]) == (True, {})


def test_no_container_runs(minion, give, engine, container):
    assert minion.state("calico.container_current")["changes"] == {}
    container(running=False, labels={})
    assert minion.state("calico.container_current")["changes"] == {}


@pytest.mark.parametrize("test", [False, True])
def test_the_container_was_started_with_something_else(minion, give, container, test, formula_pki):
    expected = None if test else True
    container()
    give(felix={"IpInIpMtu": 1400}, mounts=["/srv:/srv"])
    found = minion.state("calico.container_current", test=test)
    assert found["result"] is expected
    assert found["changes"]["environment"]["new"] == "FELIX_IPINIPMTU"
    assert "/srv:/srv" in found["changes"]["mounts"]["new"]
    # The same certificate by another name is the same; another one is not.
    shutil.copy(formula_pki / "ca.pem", formula_pki / "same.pem")
    give(etcd__tls__ca=str(formula_pki / "same.pem"))
    assert minion.state("calico.container_current", test=test)["changes"] == {}
    give(etcd__tls__ca=str(formula_pki / "wrong-ca.pem"))
    found = minion.state("calico.container_current", test=test)
    assert (found["result"], list(found["changes"])) == (expected, ["configuration"])


def test_the_container_runs_another_image(minion, container):
    container(image=OTHER)
    found = minion.state("calico.container_current")
    assert found["changes"] == {"image": {"old": OTHER, "new": LOADED}}


def test_secret_values_do_not_show_in_the_difference(minion, give, container):
    give(env={"ETCD_PASSWORD": "geheim1"})
    container()
    give(env={"ETCD_PASSWORD": "geheim2"})
    found = minion.state("calico.container_current")
    assert found["changes"]["environment"]["new"] == "ETCD_PASSWORD"
    assert "geheim" not in json.dumps(found)


def test_the_container_is_removed_once(minion, engine, container):
    container()
    planned = minion.state("calico.container_absent", test=True)
    assert (planned["result"], planned["changes"]) == (None, {"container": {"old": "1" * 64, "new": None}})
    assert engine.state["calls"] == []
    found = minion.state("calico.container_absent")
    assert (found["result"], found["changes"]) == (True, planned["changes"])
    assert engine.state["containers"] == {}
    again = minion.state("calico.container_absent")
    assert (again["result"], again["changes"]) == (True, {})


# --- files -----------------------------------------------------------------------------------------


@pytest.fixture
def plugins(minion, give, tmp_path):
    """The archive's plugins are installed beside one of somebody else."""
    for name in ("calico", "calico-ipam"):
        (tmp_path / name).write_text(name)
    archive = minion.files / "plugins.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("calico", "calico-ipam"):
            tar.add(tmp_path / name, "./" + name)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    give(cni__plugins={"source": "salt://plugins.tgz", "source_hash": "sha256=" + digest})
    directory = minion.path("/opt/cni/bin")
    directory.mkdir(parents=True)
    for name in ("calico", "calico-ipam", "loopback"):
        (directory / name).write_text(name)
    return directory


def test_only_the_archives_plugins_are_removed(minion, plugins):
    installed = ["/opt/cni/bin/calico", "/opt/cni/bin/calico-ipam"]
    planned = minion.state("calico.plugins_absent", test=True)
    assert (planned["result"], planned["changes"]) == (None, {"removed": installed})
    assert len(list(plugins.iterdir())) == 3
    found = minion.state("calico.plugins_absent")
    assert (found["result"], found["changes"]) == (True, {"removed": installed})
    assert [path.name for path in plugins.iterdir()] == ["loopback"]
    again = minion.state("calico.plugins_absent")
    assert (again["result"], again["changes"]) == (True, {})


def test_an_archive_that_is_gone_removes_nothing(minion, give, plugins):
    give(cni__plugins={"source": "salt://no/plugins.tgz", "source_hash": "sha256=" + "0" * 64})
    found = minion.state("calico.plugins_absent")
    assert (found["result"], found["changes"]) == (False, {})
    assert len(list(plugins.iterdir())) == 3


def test_only_an_empty_directory_is_removed(minion, give):
    directory = minion.path("/etc/calico/ssl")
    directory.mkdir(parents=True)
    (directory / "foreign.pem").write_text("x")
    kept = minion.state("calico.empty_directory_absent", "/etc/calico/ssl")
    assert (kept["result"], kept["changes"]) == (True, {})
    (directory / "foreign.pem").unlink()
    planned = minion.state("calico.empty_directory_absent", "/etc/calico/ssl", test=True)
    assert (planned["result"], planned["changes"]) == (None, {"removed": "/etc/calico/ssl"})
    assert directory.exists()
    assert minion.state("calico.empty_directory_absent", "/etc/calico/ssl")["result"] is True
    assert not directory.exists()
    assert minion.state("calico.empty_directory_absent", "/etc/calico/ssl")["changes"] == {}
