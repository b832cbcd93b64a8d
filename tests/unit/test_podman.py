"""podman asked by its program: what it printed (4.3.1, shortened) in docker's words, and every failure."""

import json
import stat
import sys

import calico_container
import calico_families
import calico_podman
import calico_preflight
import calico_runtimes
import calico_schema
import calico_settings
import pytest

from tests.support import waiting
from tests.unit.test_container import CHAPTER

IMAGE_ID = "67d95076197c837a9446e3b89e86847b5c5b6791f9d9e1e2c4f67de87f51251f"
DIGEST = "sha256:c626d64e06cbf0a736904e879fb6be1ada194b665444335cb661a2a0b0e4f729"
IMAGE = {
    "Id": IMAGE_ID,
    "Digest": DIGEST,
    "RepoTags": ["localhost/calico/node:v2.6.2"],
    "RepoDigests": [f"localhost/calico/node@{DIGEST}"],
}
CONTAINER = {
    "Id": "0d6e2896d9230dc52ac05e60f438d31d439a69d44a2bb06126589e78f817ba55",
    "State": {"Status": "running", "Running": True, "StartedAt": "2026-11-24T14:32:30.774289797Z"},
    "Image": IMAGE_ID,
    "ImageName": "localhost/calico/node:v2.6.2",
    "Config": {
        "Env": ["PATH=/bin", "TERM=xterm", "container=podman", "HOME=/root", "HOSTNAME=node1"],
        "Image": "localhost/calico/node:v2.6.2",
        "Labels": {calico_container.LABEL: "another"},
        "CreateCommand": ["podman", "run", "--name=calico-node", "-v", "/run:/run", "calico/node:v2.6.2"],
    },
    "HostConfig": {
        "Binds": ["/run:/run:rw,rprivate,rbind", "/lib/modules:/lib/modules:ro,rprivate,rbind"],
    },
}
# Answers {first words: [code, stdout, stderr]}; what is not named ends as an unknown thing does.
PROGRAM = """\
#!{python}
import json, sys
words = " ".join(sys.argv[1:])
for begin, (code, out, err) in json.load(open({answers!r})).items():
    if words.startswith(begin):
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)
sys.stderr.write("Error: no such thing")
sys.exit(1 if " exists " in words else 0 if " ls " in words else 125)
"""


@pytest.fixture
def podman(tmp_path, monkeypatch):
    """A podman that prints what it is told to."""

    def answers(given):
        (tmp_path / "answers").write_text(json.dumps(given))

    program = tmp_path / "podman"
    program.write_text(PROGRAM.format(python=sys.executable, answers=str(tmp_path / "answers")))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    answers({})
    return answers


def test_an_image_in_dockers_words(podman):
    podman({"image inspect calico/node:v2.6.2": [0, json.dumps([IMAGE]), ""]})
    found = calico_podman.image("calico/node:v2.6.2")
    assert found["Id"] == "sha256:" + IMAGE_ID
    assert found["RepoDigests"] == IMAGE["RepoDigests"]
    assert calico_podman.image("calico/node:v2.6.3") is None


def test_a_container_in_dockers_words(podman):
    podman({"container inspect calico-node": [0, json.dumps([CONTAINER]), ""]})
    found = calico_podman.container("calico-node")
    assert found["Image"] == "sha256:" + IMAGE_ID
    assert found["Config"]["Image"] == "calico/node:v2.6.2"
    assert found["HostConfig"]["Binds"] == ["/run:/run", "/lib/modules:/lib/modules:ro"]
    assert (found["Id"], found["State"]) == (CONTAINER["Id"], CONTAINER["State"])
    assert calico_podman.container("another") is None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("registry.example.org/calico/node:v2.6.2", "registry.example.org/calico/node:v2.6.2"),
        ("node:v2.6.2", "node:v2.6.2"),
        ("de:v2.6.2", "registry.example.org/calico/node:v2.6.2"),
        (None, "registry.example.org/calico/node:v2.6.2"),
    ],
)
def test_the_image_has_the_name_that_was_given(given, shown):
    command = [] if given is None else ["podman", "run", given]
    config = {"Image": "registry.example.org/calico/node:v2.6.2", "CreateCommand": command}
    assert calico_podman.as_docker({"Config": config})["Config"]["Image"] == shown


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"container inspect": [125, "", "Error: storage"], "container exists": [125, "", "no"]}, "code 125"),
        # A configuration that it cannot read ends every call with 1.
        ({"container": [1, "", "reading system config"]}, "reading system config"),
        # Something is there, and cannot be looked at.
        ({"container inspect": [125, "", "broken"], "container exists": [0, "", ""]}, "broken"),
        ({"container inspect": [0, "", ""]}, "no JSON"),
        ({"container inspect": [0, "[]", ""]}, "no JSON"),
        ({"container inspect": [0, "[1]", ""]}, "no object"),
        ({"container inspect": [0, "[{}, {}]", ""]}, "no JSON"),
        ({"container inspect": [0, "null", ""]}, "no JSON"),
    ],
)
def test_what_is_no_answer_says_why(podman, answers, reason):
    podman(answers)
    with pytest.raises(calico_runtimes.EngineError, match=reason):
        calico_podman.container("calico-node")


def test_a_podman_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for function in (calico_podman.version, calico_podman.root_directory):
        with pytest.raises(calico_runtimes.EngineError, match="no program 'podman'"):
            function()


def test_a_podman_that_hangs(podman, tmp_path):
    (tmp_path / "podman").write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    with pytest.raises(calico_runtimes.EngineError, match="did not end within"):
        waiting.ends(lambda: calico_podman.container("calico-node", timeout=0.3))


def test_version_and_place(podman):
    podman({"--version": [0, "podman version 4.3.1\n", ""], "info": [0, "/var/lib/containers/storage\n", ""]})
    assert calico_podman.version() == "4.3.1"
    assert calico_podman.root_directory() == "/var/lib/containers/storage"
    podman({"--version": [0, "something else\n", ""], "info": [0, "\n", ""]})
    assert calico_podman.version() is None
    assert calico_podman.root_directory() is None


# --- what follows from it --------------------------------------------------------------------------


def settings(**changes):
    return calico_settings.check(dict(CHAPTER, **{"runtime": "podman", **changes}))


def test_what_belongs_to_docker_is_left_out():
    found = calico_container.container(settings())
    docker = calico_container.container(settings(runtime="docker"))
    assert set(docker["mounts"]) - set(found["mounts"]) == {
        "/run/docker/plugins:/run/docker/plugins",
        "/var/run/docker.sock:/var/run/docker.sock",
    }
    assert set(found["mounts"]) < set(docker["mounts"])
    differing = {name for name, value in docker["environment"].items() if found["environment"][name] != value}
    assert differing == {"CALICO_LIBNETWORK_ENABLED"}
    assert found["environment"]["CALICO_LIBNETWORK_ENABLED"] == "false"
    assert found["labels"] != docker["labels"]
    assert docker["options"] == []


def test_calico_3_has_no_variable_that_it_did_not_have():
    given = settings(version="v3.22.5")
    docker = calico_container.environment(settings(version="v3.22.5", runtime="docker"))
    assert calico_container.environment(given) == docker


def test_the_pillar_may_say_otherwise():
    found = calico_container.environment(settings(env={"CALICO_LIBNETWORK_ENABLED": "true"}))
    assert found["CALICO_LIBNETWORK_ENABLED"] == "true"


def test_what_is_mounted_is_made_but_for_what_is_the_users():
    found = calico_container.unit(settings(version="v3.22.5", mounts=["/srv:/srv"]))
    assert found["service"] is None
    assert "/var/run/calico" in found["directories"]
    assert "/srv" not in found["directories"]
    assert calico_container.unit(settings(runtime="docker"))["directories"] == []


@pytest.mark.parametrize(
    ("family", "given", "runtime"),
    [
        ("RedHat", {}, "podman"),
        ("RedHat", {"runtime": "docker"}, "docker"),
        ("Debian", {}, "docker"),
        ("Debian", {"runtime": "podman"}, "podman"),
        ("Suse", {}, "docker"),
        (None, {}, "docker"),
    ],
)
def test_the_default_is_the_familys(family, given, runtime):
    assert calico_settings.check(dict(CHAPTER, **given), family)["runtime"] == runtime


def test_a_familys_defaults_are_settings():
    known = {row.path: row for row in calico_schema.SETTINGS}
    for family in calico_families.FAMILIES.values():
        for path, value in family.items():
            assert known[path].kind(value) == value


def test_another_runtime_is_refused():
    with pytest.raises(calico_settings.SettingsError, match=r"calico:runtime: .*docker.*podman"):
        settings(runtime="containerd")


def test_a_running_container_is_compared_in_dockers_words():
    wanted = calico_container.container(settings(mounts=["/srv:/srv:ro"]))
    binds = [
        f"{mount}:ro,rbind" if mount.count(":") == 1 else mount.replace(":ro", ":ro,rprivate")
        for mount in wanted["mounts"]
    ]
    running = calico_podman.as_docker(dict(CONTAINER, HostConfig={"Binds": binds}))
    changes = calico_container.outdated(wanted, running, "sha256:" + IMAGE_ID)
    assert "image" not in changes
    # Mounted read-only, what is wanted writable.
    assert changes["mounts"]["old"] != changes["mounts"]["new"]
    assert "/srv:/srv:ro" in changes["mounts"]["old"]


# --- preflight -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "pillar", "present", "level"),
    [
        ("4.3.1", {"image": "registry.example.org/calico/node"}, False, None),
        ("4.3.1", {"image": "registry:5000/calico/node"}, False, None),
        ("4.3.1", {"image": "localhost/calico/node"}, False, None),
        ("4.3.1", {}, False, "warning"),
        ("4.3.1", {}, True, None),
        ("3.4.4", {}, True, "error"),
        (None, {}, True, None),
        ("4.7.0", {}, True, None),
        ("4.7.0", {"env": {"A": "b#c"}}, True, "error"),
        ("4.7.0", {"env": {"A": "'b'"}}, True, "error"),
        ("4.7.1", {"env": {"A": "b#c"}}, True, None),
    ],
)
def test_releases_and_names_that_are_not_good_enough(version, pillar, present, level):
    found = calico_preflight.of_runtime(settings(**pillar), version, present, None)
    assert [item["level"] for item in found] == ([level] if level else [])


def test_the_archive_needs_no_registry():
    given = settings(image_archive="/srv/calico-node.tar")
    assert calico_preflight.of_runtime(given, "4.3.1", False, {"found": True, "bytes": 1}) == []


def test_a_runtime_that_is_not_there_names_the_one_that_is():
    (item,) = calico_preflight.of_no_runtime(settings(runtime="docker"), "there is no socket", ["podman"])
    assert item["do"] == "Install and start docker, or set calico:runtime to podman, which is here"
    (item,) = calico_preflight.of_no_runtime(settings(), "there is no program", [])
    assert item["do"] == "Install and start podman"


def test_two_calico_nodes_would_fight():
    (item,) = calico_preflight.of_another_runtime(settings(), ["docker"])
    assert item["level"] == "error"
    assert "docker" in item["do"]
    assert calico_preflight.of_another_runtime(settings(), []) == []


def test_a_mount_that_nobody_makes():
    given = settings(mounts=["/srv:/srv", "/gone:/gone:ro"])
    (item,) = calico_preflight.of_mounts(given, lambda path: path == "/srv")
    assert (item["what"], item["level"]) == ("calico:mounts:1", "error")
    assert (
        calico_preflight.of_mounts(settings(runtime="docker", mounts=["/gone:/gone"]), lambda _: False) == []
    )
