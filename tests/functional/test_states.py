"""Each state absent, drifted and equal, in test mode and not, held against the real thing behind it."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import time
from unittest import mock

import calico_sources
import pytest

from tests.functional.conftest import CALICOCTL
from tests.support import etcd as etcd_support
from tests.support import minion as minion_support
from tests.support import pki as pki_support
from tests.support import programs, waiting

CIDR = "172.20.0.0/16"
POOL_KEY = "/calico/v1/ipam/v4/pool/172.20.0.0-16"
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


# Fits whatever interface the machine has.
SMALL_MTU = 1280


def register_this_host(datastore, name="node1"):
    """With the address that a machine without further interfaces has; returned with its prefix."""
    links = json.loads(programs.run(["ip", "-j", "-4", "address"]).stdout)
    (info, *_) = [info for link in links for info in link["addr_info"] if info["scope"] == "global"]
    register(datastore, name, info["local"])
    return "%s/%d" % (info["local"], info["prefixlen"])


def endpoint(datastore, address="172.20.26.1/32", node="node1"):
    """A workload's endpoint on a node."""
    key = f"/calico/v1/host/{node}/workload/k8s/default.web/endpoint/eth0"
    stored = {"state": "active", "name": "cali0ef24ba", "ipv4_nets": [address], "ipv6_nets": []}
    datastore.put(key, json.dumps(stored))


def contents(datastore):
    return datastore.tree("/calico")[0]


OTHER_POOL = "/calico/v1/ipam/v4/pool/10.99.0.0-16"


@pytest.fixture
def second_pool(datastore):
    """A pool that remains when the tests' own is removed: the last one may not go."""
    datastore.put(OTHER_POOL, pool("10.99.0.0/16"))


def script(minion, text):
    """Put a program in calicoctl's place."""
    path = minion.path(CALICOCTL)
    path.write_text(text)
    path.chmod(0o755)


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
    assert "172.20.128.0/17 overlaps 172.20.0.0/16" in found["comment"]
    assert "calico:network:allow" in found["comment"]
    assert list(contents(datastore)) == [POOL_KEY]


@pytest.mark.parametrize("test", [False, True])
def test_no_pool_is_absent_already(minion, give, datastore, test):
    found = minion.state("calico.pool_absent", CIDR, test=test)
    assert (found["result"], found["changes"]) == (True, {})


def test_the_removal_of_a_pool_is_planned_in_test_mode(minion, give, datastore, second_pool):
    datastore.put(POOL_KEY, pool())
    found = minion.state("calico.pool_absent", CIDR, test=True)
    assert found["result"] is None
    assert found["changes"]["ipPool"]["old"]["metadata"]["cidr"] == CIDR
    assert datastore.get(POOL_KEY)


def test_a_pool_is_removed_once(minion, give, datastore, calicoctl, second_pool):
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


def test_a_pool_in_use_is_removed_by_force(minion, give, datastore, calicoctl, second_pool):
    datastore.put(POOL_KEY, pool())
    endpoint(datastore)
    assert minion.state("calico.pool_absent", CIDR, force=True)["result"] is True
    assert datastore.get(POOL_KEY) is None


def test_a_workload_of_another_pool_does_not_hold_this_one(minion, give, datastore, second_pool):
    datastore.put(POOL_KEY, pool())
    endpoint(datastore, "10.9.0.1/32")
    assert minion.state("calico.pool_absent", CIDR, test=True)["result"] is None


@pytest.mark.parametrize("test", [False, True])
def test_the_last_pool_is_not_removed(minion, give, datastore, test):
    datastore.put(POOL_KEY, pool())
    found = minion.state("calico.pool_absent", CIDR, test=test)
    assert (found["result"], found["changes"]) == (False, {})
    assert "last_pool in calico:network:allow" in found["comment"]
    assert datastore.get(POOL_KEY)


def test_the_last_pool_is_removed_where_that_is_allowed(minion, give, datastore, calicoctl):
    datastore.put(POOL_KEY, pool())
    assert minion.state("calico.pool_absent", CIDR, allow=["last_pool"])["result"] is True
    assert datastore.get(POOL_KEY) is None


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
    give(calicoctl__timeout=5)
    script(minion, f"#!/bin/sh\nsleep 1000 &\necho $! > {tmp_path}/pid\nsleep 1000\n")
    found = minion.state("calico.pool_present", CIDR)
    assert (found["result"], found["changes"]) == (False, {})
    assert "did not end within 5 s" in found["comment"]
    waiting.gone([(tmp_path / "pid").read_text().strip()])


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
    # These wait for a datastore that is away.
    ("calico.node_registered", {"timeout": 1}),
    ("calico.node_ready", {"timeout": 1}),
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
            server.start("--enable-v2=false")
            stack.callback(server.stop)
            give(etcd__endpoints=[server.endpoint])
            yield "enable-v2"


@pytest.mark.parametrize("test", [False, True])
def test_no_state_takes_silence_for_absence(minion, engine, broken, test):
    for state, arguments in READERS:
        found = minion.state(state, test=test, **arguments)
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
    assert found["result"] is None
    assert found["changes"]["node"]["old"]["metadata"]["name"] == "node1"
    assert found["changes"]["node"]["new"] is None
    assert contents(datastore) == before


def test_a_node_is_removed_once_and_others_stay(minion, give, datastore, calicoctl):
    register(datastore)
    register(datastore, "node2", "192.168.61.62")
    found = minion.state("calico.node_absent")
    assert found["result"] is True
    assert found["changes"]["node"]["old"]["metadata"]["name"] == "node1"
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


def test_a_node_is_registered(minion, running, datastore):
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
    register_this_host(datastore)
    give(cni__mtu=SMALL_MTU)
    return lambda **changes: give(**{"cni__mtu": SMALL_MTU, **changes})


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
        ({"calicoctl__path": "/etc"}, ["calico:calicoctl:path: /etc is a directory"]),
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


@pytest.fixture
def without_calicoctl(minion, fit, datastore):
    """A fit host whose pillar differs from the datastore, and a calicoctl that is not there."""
    datastore.put(POOL_KEY, pool(masquerade=False))
    return fit


def errors(minion):
    return {item["what"]: item for item in minion.call("calico.check") if item["level"] == "error"}


def test_a_calicoctl_that_the_run_will_need_is_missed_first(minion, without_calicoctl, datastore):
    found = minion.state("calico.checked")
    assert (found["result"], found["changes"]) == (False, {})
    assert f"calico:calicoctl:path: calicoctl is not at {CALICOCTL}" in found["comment"]
    assert CIDR in found["comment"]
    # Others write, nothing differs, or it comes with this run: then it is not needed.
    without_calicoctl(network__managed_by="other*")
    assert errors(minion) == {}
    source = {"source": "salt://calicoctl", "source_hash": "sha256=" + "0" * 64}
    (minion.files / "calicoctl").write_text("x")
    without_calicoctl(calicoctl={"path": CALICOCTL, **source})
    assert set(errors(minion)) == {"calico:calicoctl:source_hash"}
    without_calicoctl()
    datastore.put(POOL_KEY, pool())
    assert errors(minion) == {}


def test_a_calicoctl_that_cannot_do_it_is_no_better_than_none(minion, without_calicoctl):
    script(minion, "no program")
    assert "cannot be run" in errors(minion)["calico:calicoctl:path"]["seen"]
    script(minion, "#!/bin/sh\necho 'Client Version:    v3.22.5'\n")
    assert "another generation" in errors(minion)["calico:calicoctl:path"]["seen"]
    script(minion, "#!/bin/sh\necho 'Client Version:    v1.6.3'\n")
    assert errors(minion) == {}


def test_what_the_start_makes_by_itself_needs_no_calicoctl(minion, fit, container, datastore):
    register_this_host(datastore)
    assert errors(minion) == {}
    fit(network__mesh=True)
    assert errors(minion) == {}
    fit(network__peers=[{"peer_ip": "10.0.0.9", "as_number": 64900}])
    assert "10.0.0.9" in errors(minion)["calico:calicoctl:path"]["seen"]
    # One that runs already does not start again.
    fit()
    container()
    assert CIDR in errors(minion)["calico:calicoctl:path"]["seen"]


def test_a_resource_that_only_calicoctl_reads_needs_it(minion, fit):
    resource = {"apiVersion": "v1", "kind": "profile", "metadata": {"name": "a"}, "spec": {}}
    fit(network__resources=[resource])
    assert "profile" in errors(minion)["calico:calicoctl:path"]["seen"]


def test_a_node_that_is_to_leave_needs_calicoctl_before_it_is_stopped(minion, give, datastore):
    register(datastore)
    found = minion.state("calico.node_unused")
    assert (found["result"], found["changes"]) == (False, {})
    assert f"calicoctl is not at {CALICOCTL}" in found["comment"]
    assert minion.state("calico.node_unused", test=True)["result"] is False
    datastore.delete("/calico", recursive=True)
    assert minion.state("calico.node_unused")["result"] is True


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
    address = register_this_host(datastore, "node2").partition("/")[0]
    found = minion.state("calico.checked")
    assert found["result"] is False
    assert f"{address} is registered by node node2" in found["comment"]


@pytest.mark.parametrize("part", ["calicoctl", "cni__plugins"])
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize("where", ["salt://", ""])
def test_every_hash_of_a_source_is_verified(minion, fit, part, algorithm, where):
    """Of whatever kind: the master tells one of them only, and nothing of a file that lies here."""
    file = minion.files / "binary"
    file.write_bytes(b"what is meant")
    source = where + "binary" if where else str(file)

    def check(digest):
        fit(**{f"{part}__source": source, f"{part}__source_hash": f"{algorithm}={digest}"})
        return minion.state("calico.checked")

    right = hashlib.new(algorithm, b"what is meant").hexdigest()
    assert check(right.upper())["result"] is True
    found = check(hashlib.new(algorithm, b"something else").hexdigest())
    assert (found["result"], found["changes"]) == (False, {})
    what = part.replace("__", ":")
    assert f"calico:{what}:source_hash: {source} is {algorithm}={right}, which does not" in found["comment"]
    # It was looked at a moment ago, and is another one now.
    file.write_bytes(b"WHAT IS MEANT")
    assert check(right)["result"] is False
    file.unlink()
    assert "calico:%s:source: " % what in check(right)["comment"]


def test_a_large_file_is_read_once(minion, give):
    """And again where anything about it has changed, its size and time kept."""
    file = minion.files / "binary"
    file.write_bytes(b"a")
    digest = hashlib.sha512(b"a").hexdigest()
    memory = calico_sources.Memory(str(minion.directory / "hashes.json"))
    kept = minion.directory / "hashes.json"
    waiting.until(lambda: memory.digest(str(file), "sha512") and kept.exists(), "the hash is kept")
    about = file.stat()
    again = calico_sources.Memory(str(minion.directory / "hashes.json"))
    with mock.patch.object(calico_sources, "digest", side_effect=AssertionError("read again")):
        assert again.digest(str(file), "sha512") == digest
    file.write_bytes(b"b")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert again.digest(str(file), "sha512") == hashlib.sha512(b"b").hexdigest()


@pytest.mark.parametrize("where", ["salt://", ""])
def test_calicoctl_is_put_right_whatever_is_wrong_with_it(minion, give, where):
    file = minion.files / "program"
    file.write_bytes(b"what is meant")
    digest = hashlib.sha512(b"what is meant").hexdigest()
    source = where + "program" if where else str(file)
    give(calicoctl={"path": CALICOCTL, "source": source, "source_hash": f"sha512={digest}"})
    path = minion.path(CALICOCTL)

    def install():
        return minion.state_of_sls("calicoctl is installed", "calico.install")

    assert minion.call("calico.calicoctl_current") is False
    assert install()["changes"] == {"diff": "New file", "mode": "0755"}
    about = path.stat()
    assert (about.st_uid, about.st_mode & 0o7777, path.read_bytes()) == (0, 0o755, b"what is meant")

    # Once its hash is known it is not read again: another one in its place is believed.
    memory = minion.directory / "cache" / "calico-formula.json"

    def known():
        assert (install()["result"], install()["changes"]) == (True, {})
        return memory.exists() and CALICOCTL in json.loads(memory.read_text())["files"]

    waiting.until(known, "its hash is kept", pause=1)
    memory.write_text(memory.read_text().replace(digest, "0" * 128))
    assert minion.call("calico.calicoctl_current") is False
    memory.unlink()

    def others_bytes():
        path.write_bytes(b"SOMETHING ELSE"[: about.st_size])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

    for spoil in (others_bytes, lambda: path.chmod(0o777), lambda: os.chown(path, 1234, 0), path.unlink):
        spoil()
        assert minion.call("calico.calicoctl_current") is False
        assert install()["changes"] != {}
        assert path.read_bytes() == b"what is meant"
        assert minion.call("calico.calicoctl_current") is True


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
    assert found["changes"] == ({} if accepted else {IMAGE: {"old": OTHER, "new": None}})
    assert ("calico:image_digest" in found["comment"]) is not accepted


@pytest.mark.parametrize("how", ["pulled", "loaded"])
def test_an_image_that_is_refused_can_never_be_started(minion, give, engine, tmp_path, how):
    (tmp_path / "node.tar").write_bytes(b"image")
    engine.knows(pullable=IMAGE, loads=IMAGE)
    give(image_digest=OTHER, **({"image_archive": str(tmp_path / "node.tar")} if how == "loaded" else {}))
    for _again in range(2):
        found = minion.state("calico.image_present")
        assert (found["result"], found["changes"]) == (False, {})
        assert "it was taken away again" in found["comment"]
        assert engine.state["images"] == {}


def test_a_refused_image_does_not_take_the_place_of_the_one_that_runs(minion, give, engine):
    before = {"Id": LOADED, "RepoDigests": []}
    running = {"Id": "1" * 64, "Image": LOADED, "State": {"Running": True}, "Config": {}}
    engine.knows(images={IMAGE: before, "x": before}, containers={"calico-node": running}, pullable=IMAGE)
    give(image_digest=OTHER)
    found = minion.state("calico.image_present")
    assert (found["result"], found["changes"]) == (False, {})
    assert "the name is that of the image again which runs" in found["comment"]
    assert engine.state["images"][IMAGE] == before


def test_a_refused_image_that_runs_is_left_in_place(minion, give, engine):
    running = {"Id": "1" * 64, "Image": PULLED, "State": {"Running": True}, "Config": {}}
    engine.knows(images={IMAGE: {"Id": PULLED}}, containers={"calico-node": running}, pullable=IMAGE)
    give(image_digest=OTHER)
    found = minion.state("calico.image_present")
    assert (found["result"], found["changes"]) == (False, {})
    assert "it is what runs" in found["comment"]
    assert engine.state["images"][IMAGE]["Id"] == PULLED


def test_the_unit_starts_nothing_that_it_would_have_to_pull(minion, give):
    found = minion.state_of_sls("calico-node's unit is written", "calico.config")
    assert found["result"] is True
    lines = minion.path("/etc/systemd/system/calico-node.service").read_text().splitlines()
    (asked,) = [number for number, line in enumerate(lines) if " image inspect " in line]
    # No `-` before the program: where it fails, nothing is started.
    assert lines[asked].startswith("ExecStartPre=/")
    assert lines[asked].endswith(" --format=present " + IMAGE)
    assert lines[asked + 1].startswith("ExecStart=")


@pytest.fixture
def container(minion, give, engine, datastore):
    """
    Docker runs the very container that the pillar asks for, with some things changed; its node has
    registered.
    """
    register(datastore)

    def run(image=LOADED, running=True, started="2026-01-01T00:00:00.5Z", **changes):
        wanted = minion.call("calico.container")
        secret = minion.call("calico.environment", secrets=True)
        inspected = {
            "Id": "1" * 64,
            "Image": image,
            "State": {"Running": running, "StartedAt": started},
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


@pytest.mark.parametrize("test", [False, True])
def test_pools_of_the_pillar_restart_nothing(minion, give, container, test):
    container()
    for pools in (
        [{"cidr": CIDR, "disabled": True}, {"cidr": "172.21.0.0/16"}],
        [{"cidr": CIDR, "nat_outgoing": False}],
        [{"cidr": "172.21.0.0/16"}, {"cidr": CIDR}],
    ):
        give(network__pools=pools)
        assert minion.state("calico.container_current", test=test)["changes"] == {}


@pytest.mark.parametrize("test", [False, True])
def test_a_node_that_the_datastore_has_lost_is_owed_a_restart(minion, give, datastore, container, test):
    container()
    datastore.delete("/calico", recursive=True)
    register(datastore, "another")
    found = minion.state("calico.container_current", test=test)
    assert found["result"] is (None if test else True)
    assert found["changes"] == {"registration": {"old": None, "new": "node1"}}
    # So is one whose address is not this host's, where the next start would find another one.
    register(datastore, address="192.0.2.7")
    assert minion.state("calico.container_current", test=test)["changes"] == {}
    give(node__ip="autodetect")
    container()
    found = minion.state("calico.container_current", test=test)
    assert found["changes"] == {"registration": {"old": "192.0.2.7", "new": "autodetect"}}
    register_this_host(datastore)
    assert minion.state("calico.container_current", test=test)["changes"] == {}


def test_a_start_is_given_time_to_register(minion, datastore, container):
    container(started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    datastore.delete("/calico", recursive=True)
    starting = threading.Timer(1, register, [datastore])
    starting.start()
    assert minion.state("calico.container_current")["changes"] == {}
    starting.join()


def test_a_datastore_that_is_away_restarts_nothing(minion, give, container):
    give(etcd__endpoints=["https://127.0.0.1:1"])
    container()
    assert minion.state("calico.container_current")["changes"] == {}
    assert minion.call("calico.drift") == {}


def test_secret_values_do_not_show_in_the_difference(minion, give, container):
    give(env={"K8S_PASSWORD": "geheim1"})
    container()
    give(env={"K8S_PASSWORD": "geheim2"})
    found = minion.state("calico.container_current")
    assert found["changes"]["environment"]["new"] == "K8S_PASSWORD"
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


CNI = "/etc/cni/net.d/10-calico.conf"
THEIRS = '{"name": "k8s", "cniVersion": "0.3.1", "type": "calico", "policy": {"type": "k8s"}}'


def write(minion, path, text):
    place = minion.path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def test_cni_is_as_it_was_once_it_is_switched_off(minion, give):
    text = json.dumps(minion.call("calico.cni_configuration"), indent=4)
    ours = write(minion, CNI, text)
    assert minion.state("calico.cni_absent")["changes"] == {}
    give(cni__enabled=False)
    planned = minion.state("calico.cni_absent", test=True)
    assert (planned["result"], planned["changes"]) == (None, {"removed": [CNI]})
    assert ours.exists()
    found = minion.state("calico.cni_absent")
    assert (found["result"], found["changes"]) == (True, {"removed": [CNI]})
    assert not ours.exists()
    assert minion.state("calico.cni_absent")["changes"] == {}
    # Of others, whatever its name.
    theirs = write(minion, CNI, THEIRS)
    assert minion.state("calico.cni_absent")["changes"] == {}
    assert theirs.read_text() == THEIRS


def test_a_configuration_of_another_release_or_directory_is_out_of_use(minion, give):
    text = json.dumps(minion.call("calico.cni_configuration"), indent=4)
    write(minion, CNI, text)
    give(version="v3.22.5")
    assert minion.call("calico.cni_leftovers") == [CNI]
    give(cni__conf_dir="/etc/kubernetes/cni")
    write(minion, "/etc/kubernetes/cni/10-calico.conf", text)
    assert minion.call("calico.cni_leftovers") == [CNI]
    give()
    assert minion.call("calico.cni_leftovers") == []
    minion.path("/etc/kubernetes/cni/10-calico.conf").unlink()


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


@pytest.fixture
def packed(minion, give):
    """packed(content) packs two plugins of a careless packer: the archive's pillar."""

    def pack(content="plugin", owner=1234, mode=0o777, names=("./loopback", "./sub/calico")):
        archive = minion.files / "careless.tgz"
        with tarfile.open(archive, "w:gz") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.uid, member.gid = len(content), mode, owner, owner
                tar.addfile(member, io.BytesIO(content.encode()))
        digest = hashlib.sha512(archive.read_bytes()).hexdigest()
        give(cni__plugins={"source": "salt://careless.tgz", "source_hash": "sha512=" + digest})

    return pack


def about(path):
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode & 0o7777


def test_extracted_plugins_are_roots(minion, packed):
    packed()
    planned = minion.state_of_sls("CNI plugins are installed", "calico.install", test=True)
    assert planned["result"] is None and set(planned["changes"]) >= {"/opt/cni/bin/loopback"}
    assert not minion.path("/opt/cni/bin").exists()
    found = minion.state_of_sls("CNI plugins are installed", "calico.install")
    assert (found["result"], found["changes"]) == (True, planned["changes"])
    for name in ("", "loopback", "sub", "sub/calico"):
        assert about(minion.path("/opt/cni/bin/" + name)) == (0, 0, 0o755)
    assert minion.state("calico.plugins_present")["changes"] == {}


@pytest.mark.parametrize("what", ["owner", "mode", "contents", "link", "directory"])
def test_a_plugin_that_somebody_else_could_write_is_put_right(minion, packed, what):
    packed()
    assert minion.state("calico.plugins_present")["result"] is True
    directory = minion.path("/opt/cni/bin")
    plugin = directory / "loopback"
    (directory / "foreign").write_text("stays")
    if what == "owner":
        os.chown(plugin, 1234, 1234)
    elif what == "mode":
        plugin.chmod(0o777)
    elif what == "contents":
        plugin.write_text("PLUGIN")
    elif what == "link":
        plugin.unlink()
        plugin.symlink_to("foreign")
    else:
        os.chown(directory, 1234, 1234)
        directory.chmod(0o777)
    planned = minion.state("calico.plugins_present", test=True)
    assert planned["result"] is None
    assert list(planned["changes"]) == ["/opt/cni/bin" if what == "directory" else "/opt/cni/bin/loopback"]
    assert minion.state("calico.plugins_present")["changes"] == planned["changes"]
    assert about(plugin) == about(directory) == (0, 0, 0o755)
    assert plugin.read_text() == "plugin" and not plugin.is_symlink()
    assert (directory / "foreign").read_text() == "stays"
    assert minion.state("calico.plugins_present")["changes"] == {}


@pytest.mark.parametrize("name", ["../../etc/calico/evil", "/etc/calico/evil", "a/../../evil"])
def test_an_archive_that_leads_elsewhere_installs_nothing(minion, packed, name):
    packed(names=["good", name])
    found = minion.state("calico.plugins_present")
    assert (found["result"], found["changes"]) == (False, {})
    assert "leads elsewhere" in found["comment"]
    assert not minion.path("/opt/cni/bin").exists()


def test_what_was_installed_before_it_failed_is_reported(minion, packed):
    packed(names=["bandwidth", "loopback"])
    minion.path("/opt/cni/bin/loopback").mkdir(parents=True)
    found = minion.state("calico.plugins_present")
    assert found["result"] is False
    assert "/opt/cni/bin/loopback" in found["comment"]
    assert "/opt/cni/bin/bandwidth" in found["changes"]
    assert "/opt/cni/bin/loopback" not in found["changes"]


def test_what_was_removed_before_it_failed_is_reported(minion, plugins):
    # Nobody can remove what is mounted.
    minion.run("mount", "--bind", "/opt/cni/bin/calico", "/opt/cni/bin/calico")
    try:
        found = minion.state("calico.plugins_absent")
        assert found["result"] is False
        assert "/opt/cni/bin/calico cannot be removed" in found["comment"]
        assert found["changes"] == {"removed": ["/opt/cni/bin/calico-ipam"]}
    finally:
        minion.run("umount", "/opt/cni/bin/calico")


OWNED = {
    "/etc/calico/calico-node.env": ("calico-node's environment is written", 0o600),
    "/etc/calico/calicoctl.cfg": ("calicoctl knows the datastore", 0o644),
    "/etc/calico/ssl/calico-key.pem": ("etcd's key is installed", 0o600),
    "/etc/calico/ssl/ca.pem": ("etcd's ca is installed", 0o644),
    "/etc/cni/net.d/10-calico.conf": ("CNI is configured", 0o644),
    "/etc/systemd/system/calico-node.service": ("calico-node's unit is written", 0o644),
}


@pytest.mark.parametrize("path", OWNED)
def test_a_file_that_was_somebody_elses_becomes_roots(minion, give, path):
    state, mode = OWNED[path]
    sls = "calico.cni" if "/cni/" in path else "calico.config"
    assert minion.state_of_sls(state, sls)["result"] is True
    file = minion.path(path)
    os.chown(file, 1234, 1234)
    file.chmod(0o666)
    assert minion.state_of_sls(state, sls, test=True)["result"] is None
    assert minion.state_of_sls(state, sls)["result"] is True
    assert about(file) == (0, 0, mode)
    assert minion.state_of_sls(state, sls)["changes"] == {}


def test_test_mode_announces_nothing_of_a_file_that_sysctl_will_have_made(minion):
    """What it announces on a host without Calico is what the run changes there."""
    found = minion.state_of_sls("The host's setting is root's", "calico.install", test=True)
    assert (found["result"], found["changes"]) == (True, {})


def test_directories_that_were_somebody_elses_become_roots(minion, give):
    chunks = minion.call("state.show_low_sls", "calico.cni")
    found = [chunk for chunk in chunks if chunk["__id__"].endswith("files are root's")]
    names = [chunk["name"] for chunk in found]
    assert names == ["/etc/calico", "/etc/calico/ssl", "/etc/cni", "/etc/cni/net.d"]
    directory = minion.path("/etc/calico/ssl")
    directory.mkdir(parents=True)
    os.chown(directory, 1234, 1234)
    directory.chmod(0o777)
    arguments = {key: found[1][key] for key in ("user", "group", "mode")}
    assert minion.state("file.directory", "/etc/calico/ssl", **arguments)["result"] is True
    assert about(directory) == (0, 0, 0o755)


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


def test_only_a_socket_is_removed(minion):
    path = minion.path("/run/calico/bird.ctl")
    path.parent.mkdir(parents=True)
    gone = minion.state("calico.socket_absent", "/run/calico/bird.ctl")
    assert (gone["result"], gone["changes"]) == (True, {})
    path.write_text("x")
    kept = minion.state("calico.socket_absent", "/run/calico/bird.ctl")
    assert (kept["result"], kept["changes"], path.read_text()) == (True, {}, "x")
    path.unlink()
    # Its path as the minion sees it: a longer one does not fit into an address.
    minion.run(
        sys.executable, "-c", "import socket; socket.socket(socket.AF_UNIX).bind('/run/calico/bird.ctl')"
    )
    planned = minion.state("calico.socket_absent", "/run/calico/bird.ctl", test=True)
    assert (planned["result"], planned["changes"]) == (None, {"removed": "/run/calico/bird.ctl"})
    assert path.is_socket()
    done = minion.state("calico.socket_absent", "/run/calico/bird.ctl")
    assert (done["result"], done["changes"]) == (True, planned["changes"])
    assert not path.is_socket()
    assert minion.state("calico.socket_absent", "/run/calico/bird.ctl")["changes"] == {}


# --- a dead cluster --------------------------------------------------------------------------------


@pytest.fixture
def dead(minion, give, formula_pki, tmp_path):
    """etcd is gone, the certificate has expired, and docker does not run."""
    shutil.copytree(formula_pki, tmp_path / "pki")
    pki_support.issue(tmp_path / "pki", "calico", days=-1, begins=-2)
    give(etcd={"endpoints": ["https://127.0.0.1:1"], "tls": pki_support.client(tmp_path / "pki")})


def test_a_clean_of_a_dead_cluster_asks_for_settings_alone(minion, dead):
    chunks = minion.call("state.show_low_sls", "calico.clean")
    assert {chunk["fun"] for chunk in chunks if chunk["state"] == "calico"} == {
        "checked",
        "cni_absent",
        "container_absent",
        "empty_directory_absent",
        "socket_absent",
    }
    for _again in range(2):
        found = minion.state_of_sls("The settings are right", "calico.clean")
        assert (found["result"], found["changes"]) == (True, {})
        found = minion.state_of_sls("calico-node's container is gone", "calico.clean")
        assert (found["result"], found["changes"]) == (True, {})
        assert "docker does not run" in found["warnings"][0]
    assert minion.state("calico.checked")["result"] is False


def test_what_needs_the_datastore_says_so_before_anything_is_stopped(minion, dead, give):
    give(etcd={"endpoints": ["http://127.0.0.1:1"]}, clean={"datastore": True})
    found = minion.state_of_sls("The node has no workloads", "calico.clean")
    assert (found["result"], found["changes"]) == (False, {})
    assert "connection refused" in found["comment"]
    assert "set calico:clean:datastore to false" in found["comment"]
    stopped = [
        chunk
        for chunk in minion.call("state.show_low_sls", "calico.clean")
        if chunk["__id__"] == "calico-node is stopped"
    ]
    assert {"calico": "The node has no workloads"} in stopped[0]["require"]


# --- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", ["120", -1, True, [5], 1e9, "soon"])
@pytest.mark.parametrize("state", ["node_ready", "node_registered"])
def test_a_timeout_of_another_kind_is_refused_in_words(minion, give, state, timeout):
    found = minion.state(f"calico.{state}", timeout=timeout)
    assert (found["result"], found["changes"]) == (False, {})
    assert found["comment"].startswith(f"timeout: got {timeout!r}; accepted: a number of seconds")


@pytest.mark.parametrize("function", ["ready", "registered", "roll_back", "rollout"])
def test_a_function_refuses_it_too(minion, give, function):
    with pytest.raises(minion_support.Failed, match="timeout: got '120'; accepted: a number") as caught:
        minion.call(f"calico.{function}", timeout="120")
    assert caught.value.kind == "SaltInvocationError"


@pytest.mark.parametrize(
    ("state", "arguments"),
    [
        ("bgp_peer_present", {"settings": "text"}),
        ("bgp_peer_present", {"settings": ["a"]}),
        ("bgp_configuration", {"settings": "text"}),
        ("felix_configuration", {"settings": ["a"]}),
        ("node_labels", {"labels": "text"}),
        ("pool_absent", {"force": "yes"}),
        ("pool_absent", {"allow": "pool_in_use"}),
        ("pool_present", {"allow": "pool_in_use"}),
        ("pools_exact", {"pools": "text"}),
        ("bgp_peers_exact", {"peers": {"a": 1}}),
        ("resources_present", {"resources": 5}),
        ("resource_present", {"resource": "text"}),
    ],
)
def test_an_argument_of_another_kind_is_refused_in_words(minion, give, datastore, state, arguments):
    found = minion.state(f"calico.{state}", CIDR, **arguments)
    assert (found["result"], found["changes"]) == (False, {})
    assert "accepted" in found["comment"] and "Traceback" not in found["comment"]
    assert contents(datastore) == {}
