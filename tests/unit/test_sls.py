"""The SLS files as an unsynced minion renders them: whatever the pillar holds, and in test mode."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import minion as minion_support
from tests.unit.test_container import CHAPTER

ROOT = Path(__file__).parents[2]
SECTIONS = ("etcd", "cni", "calicoctl", "network", "clean", "version")
GARBAGE = {
    "text": "text",
    "list": ["a", {"b": 1}],
    "nothing": None,
    "number": 7,
    "mapping": {"x": {"y": [1]}},
}
INNER = [
    ("etcd", "tls"),
    ("etcd", "tls", "ca"),
    ("cni", "plugins"),
    ("cni", "plugins", "source"),
    ("calicoctl", "source"),
    ("network", "pools"),
    ("network", "managed_by"),
    ("network", "mesh"),
    ("network", "peers"),
    ("network", "felix"),
    ("network", "prune"),
    ("node", "labels"),
    ("clean", "datastore"),
]
CHECK = "Settings and host are fit for Calico"


@pytest.fixture(scope="module")
def salt_call(tmp_path_factory):
    """Run ``salt-call --local`` on a minion that knows nothing but where the formula lies."""
    directory = tmp_path_factory.mktemp("minion")
    (directory / "roots").mkdir()
    for name in ("calico", "_modules", "_states", "_utils"):
        (directory / "roots" / name).symlink_to(ROOT / name)
    configuration = {
        "id": "node1",
        "root_dir": str(directory),
        "cachedir": str(directory / "cache"),
        "file_client": "local",
        "file_roots": {"base": [str(directory / "roots")]},
        "pillar_roots": {"base": [str(directory / "pillar")]},
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
    }
    (directory / "minion").write_text(json.dumps(configuration))
    (directory / "pillar").mkdir()
    (directory / "pillar" / "top.sls").write_text("base: {'*': [calico]}\n")

    def call(*arguments, pillar, code=0):
        shutil.rmtree(directory / "cache", ignore_errors=True)
        (directory / "pillar" / "calico.sls").write_text("#!json\n" + json.dumps({"calico": pillar}))
        program = Path(sys.executable).with_name("salt-call")
        done = subprocess.run(
            [
                program,
                f"--config-dir={directory}",
                "--local",
                "--out=json",
                "--retcode-passthrough",
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)["local"]

    return call


def test_a_minion_that_never_synced_shows_the_states(salt_call):
    for sls, first in (("calico", "Calico's modules are the ones of this release"), ("calico.clean", None)):
        shown = salt_call("state.show_sls", sls, pillar=CHAPTER)
        assert isinstance(shown, dict), shown
        assert CHECK in shown
        assert first is None or first in shown


def test_a_pillar_that_is_wrong_stops_the_first_run_in_test_mode(salt_call):
    """Never synced, test mode, a misspelt key: the first state says so and no other runs."""
    shown = salt_call("state.apply", "calico", "test=True", pillar=dict(CHAPTER, verison="x"), code=2)
    by_id = {value["__id__"]: value for value in shown.values()}
    assert by_id[CHECK]["result"] is False
    assert "did you mean 'version'" in by_id[CHECK]["comment"]
    assert not any(value["changes"] for value in by_id.values())
    # All others failed with it; but what waits for a change was not asked.
    right = {name for name, value in by_id.items() if value["result"] is not False}
    assert right <= {
        "Calico's modules are the ones of this release",
        "calico-node has registered",
        "systemd has read calico-node's unit",
    }


# --- in one process, for speed ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def minion(tmp_path_factory):
    with minion_support.Minion(tmp_path_factory.mktemp("minion") / "m", private=False) as minion:
        yield minion


def states_of(minion, pillar, sls):
    """The compiled states of an SLS; fails where it cannot be rendered or compiled."""
    minion.pillar(pillar)
    chunks = minion.call("state.show_low_sls", sls)
    assert all(isinstance(chunk, dict) for chunk in chunks), chunks
    return chunks


def with_value(path, value):
    pillar = copy.deepcopy(CHAPTER)
    branch = pillar
    for part in path[:-1]:
        branch = branch.setdefault(part, {})
    branch[path[-1]] = value
    return pillar


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("path", [(), *((section,) for section in SECTIONS), *INNER], ids=":".join)
def test_garbage_is_left_to_the_check(minion, path, garbage):
    pillar = with_value(path, garbage) if path else garbage
    chunks = states_of(minion, pillar, "calico,calico.clean")
    assert chunks[0]["__id__"] == CHECK
    assert chunks[0]["failhard"] is True


@pytest.mark.parametrize("sls", [path.stem for path in sorted((ROOT / "calico").glob("*.sls"))])
def test_each_sls_can_be_applied_by_itself(minion, sls):
    name = "calico" if sls == "init" else f"calico.{sls}"
    chunks = states_of(minion, CHAPTER, name)
    assert chunks[0]["__id__"] == CHECK
    for chunk in chunks:
        assert " " in chunk["__id__"], "an ID is a sentence"


def test_values_arrive_in_the_states_as_they_were_given(minion):
    nasty = "salt://a/{{ 7 }}%20'x'#y"
    pillar = with_value(("calicoctl",), {"source": nasty, "source_hash": "sha256=0", "path": "/opt/a: b"})
    (chunk,) = (chunk for chunk in states_of(minion, pillar, "calico") if chunk["name"] == "/opt/a: b")
    assert chunk["source"] == nasty


def test_parts_that_nobody_asked_for_have_no_states(minion):
    ids = {chunk["__id__"] for chunk in states_of(minion, CHAPTER, "calico")}
    assert not ids & {"calicoctl is installed", "CNI plugins are installed"}
    off = states_of(minion, with_value(("cni",), {"enabled": False}), "calico")
    assert ids - {chunk["__id__"] for chunk in off} == {"CNI is configured"}


def test_what_lies_in_the_datastore_is_the_same_list_of_states_for_every_pillar(minion):
    text = (ROOT / "calico" / "network.sls").read_text()
    assert "{%" not in text and "{{" not in text
    kinds = {chunk["fun"] for chunk in states_of(minion, CHAPTER, "calico.network")}
    assert {"pools", "felix", "peers", "node", "bgp", "other_peers_absent", "resources"} <= kinds


def order(chunks):
    return [chunk["__id__"] for chunk in sorted(chunks, key=lambda chunk: chunk["order"])]


def test_cni_comes_once_calico_node_runs(minion):
    ids = order(states_of(minion, CHAPTER, "calico"))
    assert (
        ids.index("calico-node is running") < ids.index("CNI is configured") < ids.index("The node is ready")
    )
    off = order(states_of(minion, with_value(("cni",), {"enabled": False}), "calico"))
    assert "CNI has no configuration that is out of use" in off


def test_directories_of_cni_are_settings(minion):
    source = {"source": "salt://a.tgz", "source_hash": "0" * 64}
    pillar = with_value(("cni",), {"conf_dir": "/k/conf/", "bin_dir": "/k/bin", "plugins": source})
    names = {chunk["name"] for chunk in states_of(minion, pillar, "calico")}
    assert {"/k/conf/10-calico.conf", "/k/bin"} <= names
    assert "/k/conf/10-calico.conf" in {chunk["name"] for chunk in states_of(minion, pillar, "calico.clean")}


@pytest.mark.parametrize(
    ("ip6", "pools", "wanted"),
    [
        ("fd00::6/64", [{"cidr": "172.20.0.0/16"}, {"cidr": "fd01::/64"}], True),
        ("autodetect", [{"cidr": "fd01::/64"}], True),
        ("fd00::6/64", [{"cidr": "172.20.0.0/16"}], False),
        ("fd00::6/64", [{"cidr": "fd01::/64", "disabled": True}], False),
        ("none", [{"cidr": "fd01::/64"}], False),
        (None, [{"cidr": "fd01::/64"}], False),
        ("fd00::6/64", [{"cidr": 7}, "fd01::/64", None], False),
    ],
)
def test_the_host_forwards_ipv6_where_workloads_have_it(minion, ip6, pools, wanted):
    pillar = with_value(("network", "pools"), pools)
    pillar["node"] = {"ip6": ip6}
    names = {chunk["name"] for chunk in states_of(minion, pillar, "calico") if chunk["state"] == "sysctl"}
    assert names == {"net.ipv4.ip_forward"} | ({"net.ipv6.conf.all.forwarding"} if wanted else set())


def test_a_password_of_etcd_is_in_no_file_that_others_may_read(minion):
    pillar = with_value(("etcd", "username"), "calico")
    for password, mode in ((None, "0644"), ("geheim", "0600")):
        pillar["etcd"]["password"] = password
        chunks = states_of(minion, pillar, "calico")
        (chunk,) = (chunk for chunk in chunks if chunk["name"] == "/etc/calico/calicoctl.cfg")
        assert (chunk["mode"], chunk["show_changes"]) == (mode, password is None)


def test_a_restart_is_owed_for_what_the_container_has_read(minion):
    chunks = states_of(minion, CHAPTER, "calico.service")
    (service,) = (chunk for chunk in chunks if chunk["__id__"] == "calico-node is running")
    watched = {name for item in service["watch"] for name in item.values()}
    assert not watched & {"calico-node's environment is written", "calico-node's unit is written"}
    assert "calico-node's container is current" in watched


def test_clean_takes_away_what_was_switched_off_meanwhile(minion):
    off = states_of(minion, with_value(("cni",), {"enabled": False}), "calico.clean")
    assert "cni_absent" in {chunk["fun"] for chunk in off}


def test_the_datastore_is_only_cleaned_where_that_is_asked_for(minion):
    assert "node_absent" not in {chunk["fun"] for chunk in states_of(minion, CHAPTER, "calico.clean")}
    asked = states_of(minion, with_value(("clean",), {"datastore": True}), "calico.clean")
    assert "node_absent" in {chunk["fun"] for chunk in asked}
