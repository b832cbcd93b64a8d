"""The SLS files as an unsynced minion renders them: whatever the pillar holds, and in test mode."""

import copy
import json
import shutil
import sys
from pathlib import Path

import calico_container
import pytest

from tests.support import minion as minion_support
from tests.support import pki, programs
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
    ("calicoctl", "path"),
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
    call = caller(directory, {"base": [str(formula(directory / "roots"))]})

    def never_synced(*arguments, **how):
        shutil.rmtree(directory / "cache", ignore_errors=True)
        return call(*arguments, **how)

    return never_synced


def formula(roots):
    """A file root that holds the formula."""
    roots.mkdir(parents=True)
    for name in ("calico", "_beacons", "_modules", "_states", "_utils"):
        (roots / name).symlink_to(ROOT / name)
    return roots


def caller(directory, file_roots, **options):
    """``salt-call --local`` of a minion that keeps what it has between two calls."""
    configuration = {
        "id": "node1",
        "root_dir": str(directory),
        "cachedir": str(directory / "cache"),
        "extension_modules": str(directory / "cache" / "extmods"),
        "file_client": "local",
        "file_roots": file_roots,
        "pillar_roots": {"base": [str(directory / "pillar")]},
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
        **options,
    }
    (directory / "minion").write_text(json.dumps(configuration))
    (directory / "pillar").mkdir()
    (directory / "pillar" / "top.sls").write_text("base: {'*': [calico]}\n")

    def call(*arguments, pillar, code=0):
        (directory / "pillar" / "calico.sls").write_text("#!json\n" + json.dumps({"calico": pillar}))
        program = Path(sys.executable).with_name("salt-call")
        done = programs.run(
            [
                program,
                f"--config-dir={directory}",
                "--local",
                "--out=json",
                "--retcode-passthrough",
                *arguments,
            ],
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)["local"]

    return call


def test_a_minion_that_never_synced_shows_the_states(salt_call):
    for sls, check in (("calico", CHECK), ("calico.clean", "The settings are right")):
        shown = salt_call("state.show_sls", sls, pillar=CHAPTER)
        assert isinstance(shown, dict), shown
        assert {check, "Calico's modules are the ones of this release"} <= set(shown)


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


# --- beside others -----------------------------------------------------------------------------------

OWN_MODULES = "def here():\n    return True\n"
OTHER = "Something else is there"


@pytest.fixture
def dev(tmp_path):
    """Two environments: others' modules and states in base, the formula in dev. A minion with both."""
    base = tmp_path / "base"
    for folder in ("_modules", "_states", "_utils", "_beacons", "_grains"):
        (base / folder).mkdir(parents=True)
        (base / folder / "mymod.py").write_text(OWN_MODULES)
    (base / "other.sls").write_text(f"{OTHER}:\n  file.managed: [{{name: {tmp_path}/other, contents: x}}]\n")
    (base / "top.sls").write_text("base: {'*': [other]}\ndev: {'*': [calico]}\n")
    roots = {"base": [str(base)], "dev": [str(formula(tmp_path / "dev"))]}
    return caller(tmp_path, roots, extension_modules=str(tmp_path / "extmods"))


@pytest.mark.parametrize("test", [True, False])
def test_modules_of_others_stay_when_the_formulas_arrive(dev, tmp_path, test):
    dev("saltutil.sync_all", "saltenv=base", pillar=None)
    theirs = list((tmp_path / "extmods").rglob("mymod.py"))
    assert len(theirs) == 5
    wrong = dict(CHAPTER, verison="x")
    dev("state.apply", "calico", "saltenv=dev", f"test={test}", pillar=wrong, code=2)
    assert all(path.exists() for path in theirs)
    assert dev("mymod.here", pillar=None) is True
    assert "formula" not in dev("calico.code", pillar=None)
    for kind, name in (("beacons", "calico_bgp"), ("states", "calico"), ("utils", "calico_bird")):
        assert (tmp_path / "extmods" / kind / f"{name}.py").exists()


@pytest.mark.parametrize("test", [True, False])
def test_only_calicos_own_states_stop_in_a_highstate(dev, tmp_path, test):
    """Calico comes first in its order and fails; what is not its own runs, in test mode or not."""
    (tmp_path / "base" / "top.sls").write_text("dev: {'*': [calico]}\nbase: {'*': [other]}\n")
    shown = dev("state.apply", f"test={test}", pillar=dict(CHAPTER, verison="x"), code=2)
    by_id = {value["__id__"]: value for value in shown.values()}
    assert by_id[CHECK]["result"] is False
    assert by_id[OTHER]["result"] is (None if test else True)
    assert (tmp_path / "other").exists() is not test
    changed = {name for name, value in by_id.items() if value["changes"]}
    assert changed == {OTHER}


def with_pki(tmp_path, *environments):
    """A pillar whose certificates are the master's, from the environments that have them; etcd is away."""
    made = pki.make(tmp_path / "pki")
    for name in environments:
        shutil.copytree(made, tmp_path / name / "pki")
    files = {part: "salt://pki/" + Path(path).name for part, path in pki.client("x").items()}
    return with_value(("etcd",), {"endpoints": ["https://127.0.0.1:1"], "tls": files})


def test_files_of_the_master_are_found_where_the_run_comes_from(dev, tmp_path):
    """In the run, and by single functions after it; what other environments have is of no matter."""
    pillar = with_pki(tmp_path, "dev")
    shown = dev("state.apply", "test=True", pillar=pillar, code=2)
    (said,) = [value["comment"] for value in shown.values() if value["__id__"] == CHECK]
    assert "the master has no" not in said
    assert "connection refused" in said
    (tmp_path / "base" / "pki").mkdir()
    for file in (tmp_path / "dev" / "pki").iterdir():
        (tmp_path / "base" / "pki" / file.name).write_text("not this one")
    found = dev("calico.check", pillar=pillar, code=1)
    assert not [item for item in found if item["what"].startswith("calico:etcd:tls")]
    assert any("connection refused" in item["seen"] for item in found)


def test_before_the_first_run_a_file_is_found_where_it_can_only_be(dev, tmp_path):
    pillar = with_pki(tmp_path, "dev")
    dev("saltutil.sync_all", "saltenv=base,dev", pillar=None)
    found = dev("calico.check", pillar=pillar, code=1)
    assert not [item for item in found if item["what"].startswith("calico:etcd:tls")]


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
    assert not any(chunk.get("failhard") for chunk in chunks)


# Of these, one has states only where modules are to be brought.
SLS = sorted({path.stem for path in (ROOT / "calico").glob("*.sls")} - {"modules"})


@pytest.mark.parametrize("sls", SLS)
def test_each_sls_can_be_applied_by_itself(minion, sls):
    name = "calico" if sls == "init" else f"calico.{sls}"
    chunks = states_of(minion, CHAPTER, name)
    # A dead cluster can be cleaned: that asks for right settings alone.
    assert chunks[0]["__id__"] == ("The settings are right" if sls == "clean" else CHECK)
    assert sls != "clean" or CHECK not in {chunk["__id__"] for chunk in chunks}
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
    assert ids - {chunk["__id__"] for chunk in off} == {
        "CNI is configured",
        "Directories of CNI's files are root's",
    }


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
    pillar = with_value(("cni",), {"conf_dir": "/k/conf/", "bin_dir": "/k/bin"})
    names = {chunk["name"] for chunk in states_of(minion, pillar, "calico")}
    assert {"/k/conf", "/k/conf/10-calico.conf"} <= names
    # Above, all is the host's.
    assert "/k" not in names
    assert "/k/conf/10-calico.conf" in {chunk["name"] for chunk in states_of(minion, pillar, "calico.clean")}


def test_the_cni_configuration_and_its_directories_are_roots(minion):
    """Owner and modes are exact; the directory above is CNI's as well where it is called so."""
    chunks = [chunk for chunk in states_of(minion, CHAPTER, "calico.cni") if chunk["__sls__"] == "calico.cni"]
    (file,) = (chunk for chunk in chunks if chunk["name"] == "/etc/cni/net.d/10-calico.conf")
    assert [file[key] for key in ("user", "group", "mode", "dir_mode")] == ["root", "root", "0644", "0755"]
    directories = {chunk["name"]: chunk for chunk in chunks if chunk["fun"] == "directory"}
    for directory in directories.values():
        assert [directory[key] for key in ("user", "group", "mode")] == ["root", "root", "0755"]
    assert (
        list(directories)
        == calico_container.own_directories("/etc/cni/net.d")
        == ["/etc/cni", "/etc/cni/net.d"]
    )


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


def test_clean_removes_no_directory_that_others_have_files_in(minion):
    """Given in the place of calicoctl's own path, a directory would go with all that is in it."""
    pillar = with_value(("calicoctl",), {"source": "/x", "source_hash": "0" * 64, "path": "/usr/bin"})
    names = {chunk["name"] for chunk in states_of(minion, pillar, "calico.clean")}
    assert "/usr/bin" not in names
    pillar["calicoctl"]["path"] = "/usr/bin/no-such-calicoctl"
    assert pillar["calicoctl"]["path"] in {
        chunk["name"] for chunk in states_of(minion, pillar, "calico.clean")
    }


@pytest.mark.parametrize(
    "path",
    [
        "/var/run/calico/bird.ctl",
        "/var/run/calico/bird6.ctl",
        "/run/docker/plugins/calico.sock",
        "/run/docker/plugins/calico-ipam.sock",
    ],
)
def test_sockets_that_the_container_leaves_are_cleaned(minion, path):
    chunks = states_of(minion, CHAPTER, "calico.clean")
    gone = {chunk["name"]: chunk for chunk in chunks if chunk["fun"] == "socket_absent"}
    # Only once nobody listens there any more.
    assert {"calico": "calico-node's container is gone"} in gone[path]["require"]


def test_what_only_the_first_node_uses_restarts_nothing(minion):
    (service,) = [
        chunk for chunk in states_of(minion, CHAPTER, "calico.service") if chunk["fun"] == "running"
    ]
    watched = {name for item in service["watch"] for name in item.values()}
    assert "calico-node's environment is written" not in watched
    assert "calico-node's container is current" in watched


def test_the_datastore_is_only_cleaned_where_that_is_asked_for(minion):
    assert "node_absent" not in {chunk["fun"] for chunk in states_of(minion, CHAPTER, "calico.clean")}
    asked = states_of(minion, with_value(("clean",), {"datastore": True}), "calico.clean")
    assert "node_absent" in {chunk["fun"] for chunk in asked}
