"""What the templates write, by Salt itself: values arrive as they are, whatever they are made of."""

import json
import re
import shutil

import pytest
import yaml

from tests.support import programs
from tests.unit.test_container import CHAPTER, CHAPTER_ENVIRONMENT, CHAPTER_MOUNTS
from tests.unit.test_container_v3 import ENVIRONMENT as ENVIRONMENT_V3
from tests.unit.test_container_v3 import MOUNTS as MOUNTS_V3
from tests.unit.test_settings_properties import read_env_file

ENV = "/etc/calico/calico-node.env"
UNIT = "/etc/systemd/system/calico-node.service"
CNI = "/etc/cni/net.d/10-calico.conf"
CNI_V3 = "/etc/cni/net.d/10-calico.conflist"
CALICOCTL_CONFIG = "/etc/calico/calicoctl.cfg"
STATES = {
    ENV: "calico-node's environment is written",
    UNIT: "calico-node's unit is written",
    CNI: "CNI is configured",
    CNI_V3: "CNI is configured",
    CALICOCTL_CONFIG: "calicoctl knows the datastore",
}


def sls_of(path):
    return "calico.cni" if "/cni/" in path else "calico.config"


NASTY = {
    "QUOTES": "'single' \"double\" `back`",
    "PERCENT": "50% %i %n %%",
    "DOLLAR": "$HOME ${HOME} $$",
    "BACKSLASH": "a\\b\\n\\",
    "SEMICOLON": "a; reboot; #",
    "NON_ASCII": "größe 大きさ \U0001f642",
    "JINJA": "{{ 7 * 7 }} {% raw %} {# gone? #}",
    "JINJA_LINE": "{%- set x = 1 -%}",
    "BLANKS": "  both ends \t ",
    "EMPTY": "",
    "HASH": "#not a comment",
    "EQUALS": "a=b==",
    "YAML": "- {a: [1, *x]} !!python/none",
    # Of all these, str.splitlines() would make lines.
    "SEPARATORS": "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i",
    "LAST": "blanks at the end of the file   ",
}


@pytest.fixture
def written(minion, give):
    """Apply the SLS' own state for a file with this pillar; the file's bytes as text."""

    def write(path, **pillar):
        give(**pillar)
        found = minion.state_of_sls(STATES[path], sls_of(path))
        assert found["result"] is True, found["comment"]
        return minion.path(path).read_bytes().decode("utf-8")

    return write


@pytest.fixture
def chapter(minion, formula_pki):
    """The chapter's settings, with certificates that are there."""
    tls = {"ca": "ca", "cert": "calico", "key": "calico-key"}
    files = {part: str(formula_pki / f"{name}.pem") for part, name in tls.items()}
    return dict(CHAPTER, etcd=dict(CHAPTER["etcd"], tls=files), node={})


def test_the_environment_of_the_chapter(written, chapter):
    text = written(ENV, **chapter)
    assert read_env_file(text) == CHAPTER_ENVIRONMENT
    assert text.endswith("\n")


def test_the_environment_holds_every_value_byte_for_byte(written, minion):
    text = written(ENV, env=NASTY, felix={"LogPrefix": NASTY["JINJA"]})
    found = read_env_file(text)
    assert {name: found[name] for name in NASTY} == NASTY
    assert found["FELIX_LOGPREFIX"] == NASTY["JINJA"]
    assert found == minion.call("calico.environment", secrets=True)
    assert minion.path(ENV).stat().st_mode & 0o777 == 0o600


def test_a_secret_is_in_the_file_and_not_in_the_report(minion, give):
    give(env={"K8S_PASSWORD": "geheim"})
    found = minion.state_of_sls(STATES[ENV], "calico.config")
    assert "geheim" not in json.dumps(found)
    assert "K8S_PASSWORD=geheim\n" in minion.path(ENV).read_text()


@pytest.mark.parametrize("path", STATES)
def test_what_is_written_is_written_once(minion, give, path):
    give(env=NASTY, version="v3.22.5" if path == CNI_V3 else "v2.6.2")
    assert minion.state_of_sls(STATES[path], sls_of(path), test=True)["result"] is None
    assert not minion.path(path).exists()
    assert minion.state_of_sls(STATES[path], sls_of(path))["changes"]
    assert minion.state_of_sls(STATES[path], sls_of(path))["changes"] == {}


@pytest.mark.parametrize("path", STATES)
def test_settings_that_are_wrong_write_nothing(minion, give, path):
    give(cni__mtu="x")
    found = minion.state_of_sls(STATES[path], sls_of(path))
    assert found["result"] is False
    assert "calico:cni:mtu" in found["comment"]
    assert not minion.path(path).exists()


@pytest.mark.parametrize("name", ["calico-k8s-network", *NASTY.values()])
def test_the_cni_configuration_is_the_same_data(written, minion, name):
    if not name:
        return
    text = written(CNI, cni={"name": name})
    assert json.loads(text) == minion.call("calico.cni_configuration")
    assert json.loads(text)["name"] == name


def test_the_cni_configuration_of_the_chapter(written, chapter):
    found = json.loads(written(CNI, **chapter))
    assert list(found) == [
        "name",
        "cniVersion",
        "type",
        "etcd_endpoints",
        "etcd_key_file",
        "etcd_cert_file",
        "etcd_ca_cert_file",
        "log_level",
        "mtu",
        "ipam",
        "policy",
        "kubernetes",
    ]
    assert (found["cniVersion"], found["mtu"]) == ("0.1.0", 1500)


def test_the_calicoctl_configuration_of_the_chapter(written, chapter, minion):
    found = yaml.safe_load(written(CALICOCTL_CONFIG, **chapter))
    assert found == minion.call("calico.calicoctl_configuration")
    assert found["spec"] == {
        "datastoreType": "etcdv2",
        "etcdEndpoints": ",".join(CHAPTER["etcd"]["endpoints"]),
        "etcdKeyFile": "/etc/calico/ssl/calico-key.pem",
        "etcdCertFile": "/etc/calico/ssl/calico.pem",
        "etcdCACertFile": "/etc/calico/ssl/ca.pem",
    }


THIRD = ["v3.0.1", "v3.22.5", "v3.32.1"]


@pytest.mark.parametrize("version", THIRD)
def test_the_files_of_calico_3(written, chapter, minion, version):
    pillar = dict(chapter, version=version, node={"name": "node1"})
    assert read_env_file(written(ENV, **pillar)) == dict(ENVIRONMENT_V3, NODENAME="node1")
    argv = exec_start(written(UNIT, **pillar))
    assert [argv[number + 1] for number, word in enumerate(argv) if word == "-v"] == MOUNTS_V3
    assert argv[-1] == f"calico/node:{version}"
    found = json.loads(written(CNI_V3, **pillar))
    assert found == minion.call("calico.cni_configuration")
    assert [plugin["type"] for plugin in found["plugins"]] == ["calico", "portmap"]
    assert found["plugins"][0]["nodename"] == "node1"
    config = yaml.safe_load(written(CALICOCTL_CONFIG, **pillar))
    assert (config["apiVersion"], config["kind"]) == ("projectcalico.org/v3", "CalicoAPIConfig")
    assert config["spec"]["datastoreType"] == "etcdv3"
    assert config["spec"]["etcdCACertFile"] == "/etc/calico/ssl/ca.pem"


@pytest.mark.parametrize("version", THIRD)
def test_the_files_with_kubernetes_as_datastore(written, version):
    pillar = {"version": version, "datastore": "kubernetes", "etcd": {}, "node": {"name": "node1"}}
    environment = read_env_file(written(ENV, **pillar))
    assert environment["KUBECONFIG"] == "/root/.kube/config"
    assert not [name for name in environment if name.startswith("ETCD")]
    assert "-v /root/.kube/config:/root/.kube/config:ro" in written(UNIT, **pillar)
    assert json.loads(written(CNI_V3, **pillar))["plugins"][0]["datastore_type"] == "kubernetes"
    spec = yaml.safe_load(written(CALICOCTL_CONFIG, **pillar))["spec"]
    assert spec == {"datastoreType": "kubernetes", "kubeconfig": "/root/.kube/config"}


def exec_start(unit):
    (line,) = re.findall(r"^ExecStart=(.*)", unit.replace("\\\n", ""), re.MULTILINE)
    return line.split()


def test_the_unit_runs_the_container_of_the_chapter(written, chapter):
    argv = exec_start(written(UNIT, **chapter))
    assert argv[1] == "run"
    mounts = [argv[number + 1] for number, word in enumerate(argv) if word == "-v"]
    assert mounts == CHAPTER_MOUNTS
    assert {"--net=host", "--privileged", "--name=calico-node"} <= set(argv)
    assert f"--env-file={ENV}" in argv
    assert argv[-1] == "calico/node:v2.6.2"


def test_the_unit_holds_no_text_of_the_users(written):
    unit = written(UNIT, env=NASTY, felix={"LogPrefix": NASTY["PERCENT"]}, cni={"name": NASTY["DOLLAR"]})
    plain = written(UNIT)
    # Only the label that says which configuration this is differs.
    label = re.compile(r"--label=\S+=[0-9a-f]{64} ")
    assert label.sub("", unit) == label.sub("", plain)
    assert unit != plain
    assert all(re.fullmatch(r"[A-Za-z0-9._/@+=,:-]+", word) for word in exec_start(unit))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say_about_the_unit(written, minion, tmp_path):
    text = written(UNIT, mounts=["/srv/a-b_c.d@e:/srv:ro"], image="registry.example.org:5000/calico/node")
    # Units of docker need not be on this machine; an executable that is missing would be told, too.
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    unit = tmp_path / "calico-node.service"
    unit.write_text(text.replace(exec_start(text)[0], "/bin/true"))
    done = programs.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )
    about = [line for line in (done.stdout + done.stderr).splitlines() if "calico-node" in line]
    assert about == []


@pytest.mark.parametrize("part", ["ca", "cert", "key"])
def test_certificates_arrive_as_they_were_given(minion, give, formula_pki, part):
    names = {"ca": ("ca.pem", "ca.pem"), "cert": ("calico.pem",) * 2, "key": ("calico-key.pem",) * 2}
    source, target = names[part]
    text = (formula_pki / source).read_text()
    shutil.copy(formula_pki / source, minion.files / source)
    path = minion.path(f"/etc/calico/ssl/{target}")
    state = f"etcd's {part} is installed"
    for given in (text, f"salt://{source}", str(formula_pki / source)):
        path.unlink(missing_ok=True)
        give(**{f"etcd__tls__{part}": given})
        found = minion.state_of_sls(state, "calico.config")
        assert found["result"] is True, found["comment"]
        assert path.read_text() == text
        assert path.stat().st_mode & 0o777 == (0o600 if part == "key" else 0o644)
        if part == "key":
            assert text.splitlines()[1] not in json.dumps(found)
