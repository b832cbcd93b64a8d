"""Beacon, metrics and diagnostics on a real BIRD, loaded and called as Salt does it."""

import base64
import contextlib
import http.server
import io
import json
import os
import re
import socket
import stat
import tarfile
import tempfile
import threading
from pathlib import Path

import pytest
import yaml

from tests.support import birds, waiting
from tests.support import minion as minion_support
from tests.support.waiting import until
from tests.unit.test_metrics import parsed, value

ROOT = Path(__file__).parents[2]
DOCS = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("events.md", "metrics.md"))
CONTAINER = {"Id": "a" * 64, "State": {"Running": True, "StartedAt": "2026-11-24T10:00:00.5Z"}}


def documented(word):
    """The YAML block of the documentation that begins with this word, as data."""
    (text,) = re.findall(rf"```yaml\n({word}:.*?)```", DOCS, re.DOTALL)
    return yaml.safe_load(text)


@contextlib.contextmanager
def felix():
    """A health port; what it answers is ``answers["code"]``."""
    answers = {"code": 204}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answers["code"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"answers": answers, "port": server.server_port}
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def mesh():
    reason = birds.missing()
    if reason:
        pytest.skip(reason)
    # Not below pytest's own directory: a socket's path may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="calico-birds-") as directory,
        birds.Birds(directory, 2) as running,
    ):
        yield running


@pytest.fixture
def node(minion, give, engine, mesh):
    """A minion with BIRD, Felix and a container; its pillar fits."""
    mesh.wait_established()
    minion.path("/run/calico").mkdir()
    minion.path("/run/calico/bird.ctl").symlink_to(mesh.near)
    engine.knows(containers={"calico-node": CONTAINER})
    with felix() as health:
        give(felix={"HealthPort": health["port"]})
        minion.felix = health["answers"]
        minion.beacons({}, refresh=True)
        yield minion


def look(minion, refresh=False):
    """What the documented beacon tells now: tags behind the beacon's own, and data."""
    found = minion.beacons(documented("beacons")["beacons"], refresh)
    prefix = "salt/beacon/node1/calico_bgp/"
    assert all(event["tag"].startswith(prefix) and "error" not in event for event in found), found
    return [(event["tag"][len(prefix) :], event["data"]) for event in found]


# --- the beacon ------------------------------------------------------------------------------------


@pytest.fixture
def watched(node, monkeypatch):
    """The documented beacon without its interval: each call is a look."""
    documented_beacons = documented("beacons")

    def without_interval(word):
        assert documented_beacons["beacons"]["calico_bgp"] == [{"interval": 5}]
        return {"beacons": {"calico_bgp": []}}

    monkeypatch.setitem(globals(), "documented", without_interval)
    return node


def test_a_session_is_cut_and_comes_back(watched, mesh):
    assert look(watched) == []
    assert look(watched) == []
    near, far = mesh.pair(0)
    mesh.far(f"disable Mesh_{near.replace('.', '_')}")
    until(lambda: mesh.established == 1, mesh.show)
    ((tag, data),) = look(watched)
    assert tag == "session/down"
    assert (data["old"], data["new"], data["address"], data["node"]) == ("up", "down", far, "node1")
    assert (data["port"], data["as_number"], data["id"]) == (1790, 64512, "node1")
    assert data["reason"] and data["since"]
    assert look(watched) == []
    mesh.far(f"enable Mesh_{near.replace('.', '_')}")
    mesh.wait_established()
    ((tag, data),) = look(watched)
    assert (tag, data["old"], data["new"], data["address"]) == ("session/up", "down", "up", far)
    assert look(watched) == []


def test_after_a_refresh_the_first_look_is_silent_again(watched):
    assert look(watched) == []
    watched.felix["code"] = 503
    assert look(watched, refresh=True) == []
    watched.felix["code"] = 204
    ((tag, _data),) = look(watched)
    assert tag == "felix/ready"


def test_bird_is_killed_and_started_again(watched, mesh):
    assert look(watched) == []
    mesh.kill()
    ((tag, data),) = look(watched)
    assert (tag, data["old"], data["new"]) == ("bird/silent", "answers", "no answer")
    assert "BIRD does not run" in data["reason"]
    assert look(watched) == []
    mesh.start_again()
    assert [tag for tag, _data in look(watched)] == ["bird/back"]
    mesh.wait_established()
    assert look(watched) == []


def test_felix_and_the_container(watched, engine):
    assert look(watched) == []
    watched.felix["code"] = 503
    ((tag, data),) = look(watched)
    assert (tag, data["new"]) == ("felix/not_ready", "not ready")
    assert "503" in data["reason"]
    other = dict(CONTAINER, Id="b" * 64)
    engine.knows(containers={"calico-node": other})
    ((tag, data),) = look(watched)
    assert (tag, data["new"]["id"]) == ("container/restarted", "b" * 64)
    engine.knows()
    watched.felix["code"] = 204
    assert sorted(tag for tag, _data in look(watched)) == ["container/gone", "felix/ready"]
    watched.path("/run/docker.sock").unlink()
    assert [tag for tag, _data in look(watched)] == ["docker/silent"]
    assert look(watched) == []


def test_a_wrong_pillar_is_no_reason_to_stop_watching(watched, mesh):
    assert look(watched) == []
    watched.pillar({"verison": "x"})
    # Without the pillar Felix is looked for at its usual port, where nobody is here.
    assert {tag for tag, _data in look(watched)} == {"felix/not_ready"}
    assert look(watched) == []


def test_a_configuration_that_is_wrong_runs_nothing(node, engine):
    assert node.beacons({"calico_bgp": [{"intervall": 5}]}, refresh=True) == []
    engine.knows()
    assert node.beacons({"calico_bgp": [{"intervall": 5}]}) == []


# --- the reactor -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reactor(tmp_path_factory):
    """Salt's own reactor, of a master with the formula and the documented configuration."""
    import salt.config
    from salt.utils.reactor import Reactor

    directory = tmp_path_factory.mktemp("master")
    opts = salt.config.master_config(None)
    opts.update(
        root_dir=str(directory),
        cachedir=str(directory / "cache"),
        pki_dir=str(directory / "pki"),
        file_roots={"base": [str(ROOT)]},
        reactor=documented("reactor")["reactor"],
    )
    found = Reactor(opts)
    found.directory = directory
    yield found
    with contextlib.suppress(AttributeError):
        found.minion.destroy()


EVENT = {
    "id": "node1",
    "kind": "session",
    "new": "down",
    "address": "10.0.0.12",
    "reason": 'a "b" {{ 7 }}: c',
}


def test_the_documented_reactor_asks_the_minion(reactor):
    files = reactor.list_reactors("salt/beacon/node1/calico_bgp/session/down")
    assert files == ["salt://calico/reactor/look.sls"]
    assert reactor.list_reactors("salt/beacon/node1/calico_bgp/session/up") == []
    (chunk,) = reactor.reactions("salt/beacon/node1/calico_bgp/session/down", EVENT, files)
    assert (chunk["state"], chunk["fun"], chunk["tgt"]) == ("local", "calico.ready", "node1")
    assert chunk["args"] == [{"timeout": 30}] or chunk["args"] == {"timeout": 30}


def test_the_documented_notice_arrives_as_it_was_sent(reactor):
    (text,) = re.findall(r"```yaml\n(# /srv/reactor/calico_notify.sls.*?)```", DOCS, re.DOTALL)
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/calico"
    path = reactor.directory / "notify.sls"
    path.write_text(text.replace("https://alerts.example.org/calico", url))
    (chunk,) = reactor.reactions("salt/beacon/node1/calico_bgp/session/down", EVENT, [str(path)])
    assert (chunk["state"], chunk["fun"]) == ("runner", "http.query")
    import salt.loader

    arguments = chunk["args"]
    if isinstance(arguments, list):
        arguments = {key: value for item in arguments for key, value in item.items()}
    salt.loader.runner(reactor.opts)["http.query"](**arguments)
    server.shutdown()
    server.server_close()
    assert got == [EVENT]


# --- metrics ---------------------------------------------------------------------------------------


def test_metrics_of_a_node(node, mesh):
    found = parsed(node.call("calico.metrics"))
    assert value(found, "calico_felix_ready") == 1
    # There is no systemd here that would run the service.
    assert value(found, "calico_node_ready") == 0
    assert sorted(found["calico_bgp_session_up"].values()) == [1, 1]
    assert (
        value(found, "calico_bgp_session_up", address=mesh.pair(0)[1], port="1790", type="node specific") == 1
    )
    assert value(found, "calico_bgp_session_changed_seconds", address=mesh.pair(1)[1]) < 600
    assert value(found, "calico_container_running") == 1
    assert value(found, "calico_container_start_time_seconds") == 1795514400.5
    assert value(found, "calico_node_info", node="node1", wanted="v2.6.2") == 1
    assert {dict(key)["part"] for key in found["calico_certificate_expiry_timestamp_seconds"]} == {
        "ca",
        "cert",
    }
    # Whose container it is nobody knows: not the one of the pillar.
    assert value(found, "calico_drift_pending") == 1
    assert set(found["calico_read_error"].values()) == {0}
    assert "calico_bgp_sessions_expected" not in found


def test_metrics_of_a_broken_node(minion, give):
    give(etcd__endpoints=["https://127.0.0.1:1"], etcd__tls__ca="/not/there", felix={"HealthPort": 1})
    found = parsed(minion.call("calico.metrics", expected=True))
    assert value(found, "calico_node_ready") == 0
    assert value(found, "calico_felix_ready") == 0
    errors = {dict(key)["source"]: value for key, value in found["calico_read_error"].items()}
    assert errors == {
        "bird": 1,
        "certificates": 1,
        "datastore": 1,
        "docker": 1,
        "drift": 1,
        "settings": 0,
    }
    minion.pillar({"verison": "x"})
    found = parsed(minion.call("calico.metrics"))
    assert value(found, "calico_read_error", source="settings") == 1
    assert value(found, "calico_node_ready") == 0


def test_expected_sessions_where_they_are_asked_for(node, datastore):
    for name, address in (("node1", "10.97.0.1"), ("node2", "10.99.0.1"), ("node3", "10.99.0.9")):
        datastore.put(f"/calico/bgp/v1/host/{name}/ip_addr_v4", address)
        datastore.put(f"/calico/bgp/v1/host/{name}/network_v4", address + "/24")
    found = parsed(node.call("calico.metrics", expected=True))
    assert value(found, "calico_bgp_sessions_expected") == 2
    # Those of the two that are up have a port of their own, which the datastore does not ask for.
    assert value(found, "calico_bgp_sessions_missing") == 2
    assert value(found, "calico_read_error", source="datastore") == 0


def test_the_documented_schedule_writes_the_file(node, tmp_path):
    schedule = documented("schedule")["schedule"]
    (job,) = schedule.values()
    assert job["kwargs"]["path"] == "/var/lib/prometheus/node-exporter/calico.prom"
    job["kwargs"]["path"] = str(tmp_path / "calico.prom")
    node.scheduled(schedule, tmp_path / "calico.prom")
    found = parsed((tmp_path / "calico.prom").read_text())
    assert value(found, "calico_felix_ready") == 1
    assert stat.S_IMODE((tmp_path / "calico.prom").stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["calico.prom"]


def test_a_file_that_cannot_be_written_is_an_error(minion):
    with pytest.raises(minion_support.Failed, match=r"path: got '/tmp/x\.txt'.*ends in \.prom"):
        minion.call("calico.metrics", path="/tmp/x.txt")


# --- diagnostics -----------------------------------------------------------------------------------

PASSWORD, TOKEN, OLD = 'gehe1m-pa"ss w\\ort', "t0ken-geheim", "altes-geheimn1s"


def bundle(found):
    with tarfile.open(found["path"]) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    texts = {name.partition("/")[2]: data.decode() for name, data in members.items()}
    return texts, json.loads(texts["manifest.json"])


def program(minion, name, script):
    path = minion.bin / name
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


@pytest.fixture
def programs(minion):
    """Programs of this host by others; taken away afterwards."""
    made = []
    yield lambda name, script: made.append(program(minion, name, script))
    for path in made:
        path.unlink()


def test_a_bundle_has_everything_and_no_secret(node, give, engine, programs, formula_pki, tmp_path):
    """Secrets lie everywhere: pillar, files, container, logs, other programs' output, error texts."""
    key = (formula_pki / "calico-key.pem").read_text()
    lines = key.splitlines()[1:-1]
    port = node.call("calico.settings")["felix"]["HealthPort"]
    give(
        etcd__tls__key=key,
        env={"K8S_PASSWORD": PASSWORD, "K8S_API_TOKEN": TOKEN},
        felix={"HealthPort": int(port)},
        network__resources=[
            {
                "apiVersion": "v1",
                "kind": "policy",
                "metadata": {"name": "x"},
                "spec": {"password": PASSWORD},
            }
        ],
    )
    inspected = dict(
        CONTAINER,
        Config={
            "Env": [f"K8S_PASSWORD={OLD}", "ETCD_KEY=" + key.replace("\n", "\\n"), "NODENAME=node1"],
            "Image": "calico/node:v2.6.2",
        },
    )
    engine.knows(containers={"calico-node": inspected})
    files = {
        "/etc/calico/calico-node.env": f"NODENAME=node1\nK8S_PASSWORD={PASSWORD}\n",
        "/etc/calico/calicoctl.cfg": yaml.safe_dump({"spec": {"etcdPassword": OLD, "etcdEndpoints": "x"}}),
        "/etc/cni/net.d/10-calico.conf": json.dumps({"policy": {"k8s_auth_token": TOKEN}, "key": key}),
        "/etc/cni/net.d/kubeconfig": "client-key-data: " + base64.b64encode(key.encode()).decode(),
    }
    for path, text in files.items():
        node.path(path).parent.mkdir(parents=True, exist_ok=True)
        node.path(path).write_text(text)
    leaks = tmp_path / "leaks"
    leaks.write_text(
        f"plain {PASSWORD} and {TOKEN} and {OLD}\n{key}\nlone {lines[1]}\n"
        f"{json.dumps({'password': PASSWORD, 'k': key})}\nhttps://root:{OLD}@10.0.0.1/\n"
        "foreign_password=niemand-kennt-es\nAuthorization: Bearer niemand.kennt-es\n"
    )
    for name in ("journalctl", "nft", "ipset", "iptables-save", "systemctl"):
        programs(name, f"cat {leaks}; cat {leaks} >&2; exit 1")
    found = node.call("calico.diagnostics", path=str(tmp_path))
    texts, manifest = bundle(found)
    with tarfile.open(found["path"]) as archive, io.BytesIO() as joined:
        for member in archive.getmembers():
            joined.write(archive.extractfile(member).read())
        whole = joined.getvalue().decode() + json.dumps(found)
    for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], TOKEN, OLD, "niemand", *lines):
        at = whole.find(secret)
        assert at < 0, whole[max(at - 300, 0) : at + 100]
    assert "PRIVATE KEY" not in whole
    assert base64.b64encode(key.encode()).decode()[:60] not in whole
    # And what is no secret is there.
    assert "NODENAME=node1" in texts["container.json"] and "NODENAME" in texts["environment.json"]
    assert "K8S_PASSWORD=********" in texts["configuration.txt"]
    assert "etcdEndpoints: x" in texts["configuration.txt"]
    assert "BGP state:          Established" in texts["bird.txt"]
    assert "plain ******** and ******** and ********" in texts["journal.txt"]
    assert json.loads(texts["status.json"])["felix"]["ready"]
    assert json.loads(texts["settings.json"])["version"] == "v2.6.2", texts["settings.json"]
    assert len(json.loads(texts["host.json"])["saltversion"]) >= 4
    assert "net.ipv4.ip_forward" in texts["sysctl.txt"]
    assert re.search(r"\bdev lo\b", texts["ip-4-route-show-table-all.txt"])
    assert "pools" in found["failed"].get("resources.json", "pools")
    assert {row["part"] for row in manifest["parts"]} >= {*texts} - {"manifest.json"}
    assert found["parts"] == len(manifest["parts"])
    assert stat.S_IMODE(os.stat(found["path"]).st_mode) == 0o600
    assert found["bytes"] == os.path.getsize(found["path"]) < 4 * 1024 * 1024


def test_the_resources_of_the_datastore_are_in_it(node, datastore, tmp_path):
    datastore.put("/calico/bgp/v1/host/node1/ip_addr_v4", "10.97.0.1")
    datastore.put("/calico/bgp/v1/host/node1/network_v4", "10.97.0.0/24")
    texts, _manifest = bundle(node.call("calico.diagnostics", path=str(tmp_path)))
    assert "10.97.0.1" in texts["resources.json"]
    assert json.loads(texts["ready.json"])["node"] == "node1"
    assert isinstance(json.loads(texts["check.json"]), list)


def test_a_bundle_of_a_broken_host_is_made_in_time(minion, give, programs, tmp_path):
    """A frozen etcd, no docker, no BIRD, programs that hang or are not there: nothing keeps it."""
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen(50)
        give(etcd__endpoints=[f"https://127.0.0.1:{frozen.getsockname()[1]}"], calicoctl__timeout=300)
        pids = tmp_path / "pids"
        for name in ("journalctl", "nft", "ipset"):
            programs(name, f"sleep 300 & echo $! $$ >> {pids}; echo begun; wait")
        # Each part has a sixth of it: time enough for one that hangs to begin, and for one that does not.
        found = minion.call("calico.diagnostics", path=str(tmp_path), timeout=30)
    texts, manifest = bundle(found)
    rows = {row["part"]: row for row in manifest["parts"]}
    assert "killed" in found["failed"]["journal.txt"]
    assert texts["journal.txt"] == "begun\n"
    assert "no such socket" in found["failed"]["bird.txt"]
    assert "docker does not run" in found["failed"]["container.json"]
    assert re.search("not run|killed|no answer", found["failed"]["resources.json"])
    assert "version.json" in found["failed"]
    assert rows["status.json"]["error"] is None
    assert all(row["error"] is None or row["error"] for row in rows.values())
    waiting.gone(pids.read_text().split())


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"path": "relative"}, "path: got 'relative'; accepted: a directory that exists"),
        ({"path": "/not/there"}, "path: got '/not/there'"),
        ({"lines": 0}, "lines: got 0; accepted: 1 to 100000"),
        ({"keep": "all"}, "keep: got 'all'"),
        ({"timeout": 0.5}, "timeout: got 0.5; accepted: 1 to 3600"),
    ],
)
def test_arguments_that_cannot_be(minion, tmp_path, arguments, words):
    with pytest.raises(minion_support.Failed, match=re.escape(words)):
        minion.call("calico.diagnostics", **{"path": str(tmp_path), **arguments})
    assert os.listdir(tmp_path) == []
