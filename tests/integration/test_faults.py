"""Bad input and faults: a clear error, a return code, and nothing changed on the host or in etcd."""

import time

import pytest

from tests.integration import fleet as fleets
from tests.support import pki

CHECK = "Settings and host are fit for Calico"


def refused(fleet, host, *words, datastore=True, **options):
    """A run on HOST fails, says all WORDS and changes nothing."""
    with fleet.untouched(host, datastore=datastore):
        states = fleet.apply(host, **options)[host.name]
    assert states.retcode
    assert states.changed == set()
    for word in words:
        assert word in states.failures
    fleet.harmed = False


@pytest.mark.parametrize(
    ("pillar", "words"),
    [
        ({"verison": "v2.6.2"}, ("calico:verison", "did you mean 'version'")),
        ({"version": "latest"}, ("calico:version", "latest", "v2.6.12")),
        ({"etcd": {"endpoints": ["10.0.0.1:2379"]}}, ("calico:etcd:endpoints:0", "scheme")),
        ({"network": {"pools": [{"cidr": "172.20.0.1/16"}]}}, ("calico:network:pools:0:cidr", "host bits")),
        ({"network": {"pools": [{"cidr": "172.20.0.0/28"}]}}, ("calico:network:pools:0:cidr", "/26")),
        ({"network": {"pools": "172.20.0.0/16"}}, ("calico:network:pools", "a list")),
        ({"node": {"ip": "10.0.0.300"}}, ("calico:node:ip", "10.0.0.300")),
        ({"node": {"name": "Node1"}}, ("calico:node:name", "lower-case")),
        ({"cni": {"mtu": 100}}, ("calico:cni:mtu", "576")),
        ({"cni": "yes"}, ("calico:cni", "a mapping")),
        ({"env": {"A": "two\nlines"}}, ("calico:env:A", "line break")),
    ],
)
def test_settings_that_are_wrong(fleet, host, pillar, words):
    fleet.pillar(pillar)
    refused(fleet, host, *words)


def test_etcd_refuses(fleet, host):
    fleet.undo.callback(fleet.lab.etcd.start)
    fleet.lab.etcd.stop()
    refused(fleet, host, "calico:etcd:endpoints", "refused", datastore=False)
    for function in ("pools", "expected_peers", "ready"):
        said, code = fleet.ask(host, function)
        assert code and "refused" in said
    # What runs goes on.
    assert fleet.ask(host, "status")[0]["ready"]


def test_etcd_is_frozen(fleet, host):
    fleet.pillar({"calicoctl": {"timeout": 5}})
    fleet.lab.etcd.freeze()
    fleet.undo.callback(fleet.lab.etcd.thaw)
    refused(fleet, host, "calico:etcd:endpoints", "5 s", datastore=False)
    begin = time.monotonic()
    said, code = fleet.ask(host, "pools")
    assert code and "5 s" in said
    assert time.monotonic() - begin < 60


def test_etcd_without_the_api_that_calico_needs(fleet, host):
    fleet.lab.etcd.stop()
    fleet.undo.callback(fleet.lab.etcd.start)
    fleet.undo.callback(fleet.lab.etcd.stop)
    fleet.lab.etcd.start(enable_v2=False)
    refused(fleet, host, "calico:etcd:endpoints", "v2", datastore=False)


def tls(fleet, **files):
    fleet.pillar({"etcd": {"tls": {part: fleet.lab.etcd.pem(name) for part, name in files.items()}}})


def test_another_ca(fleet, host):
    tls(fleet, ca="wrong-ca")
    refused(fleet, host, "calico:etcd", "certificate")


def test_a_client_certificate_of_another_ca(fleet, host):
    directory = fleet.lab.etcd.pki
    pki.issue_ca(directory, "foreign-ca")
    pki.issue(directory, "foreign", ca="foreign-ca")
    tls(fleet, cert="foreign", key="foreign-key")
    refused(fleet, host, "calico:etcd", "certificate")


def test_a_certificate_that_has_expired(fleet, host):
    pki.issue(fleet.lab.etcd.pki, "expired", days=-1, begins=-3)
    tls(fleet, cert="expired", key="expired-key")
    refused(fleet, host, "calico:etcd:tls:cert", "expired on")


def test_a_key_of_another_certificate(fleet, host):
    tls(fleet, key="etcd-key")
    refused(fleet, host, "calico:etcd:tls:key", "does not belong")


@pytest.mark.parametrize("given", ["/etc/pki/nowhere.pem", "salt://nowhere.pem"])
def test_a_certificate_file_that_is_not_there(fleet, host, given):
    fleet.pillar({"etcd": {"tls": {"cert": given}}})
    refused(fleet, host, "calico:etcd:tls:cert", given)


def test_no_docker(fleet, host):
    host.exec("systemctl stop docker.socket docker", timeout=120)
    fleet.undo.callback(host.exec, "systemctl start docker")
    refused(fleet, host, "container runtime", "docker")
    fleet.harmed = True


def test_no_image(fleet, host):
    fleet.pillar({"version": "v2.6.7", "image_archive": "/opt/lab/nowhere.tar"})
    refused(fleet, host, "calico:image_archive", "/opt/lab/nowhere.tar")


def test_an_archive_that_holds_another_image(fleet, host):
    fleet.pillar({"version": "v2.6.7"})
    refused(fleet, host, "calico:image_archive", "calico/node:v2.6.7")


def test_an_image_that_is_not_the_one_of_the_digest(fleet, host):
    fleet.pillar({"image_digest": "sha256:" + "0" * 64})
    refused(fleet, host, "calico:image_digest", "0" * 64)


def test_an_image_that_cannot_be_pulled(fleet, host):
    fleet.pillar({"version": "v2.6.7", "image_archive": None})
    refused(fleet, host, "docker pull")


def test_a_host_name_in_capitals(fleet, host):
    host.exec("hostname NODE-ONE")
    fleet.undo.callback(host.exec, f"hostname {host.name}")
    refused(fleet, host, "node name", "NODE-ONE", "calico:node:name")


def test_an_address_that_another_node_has(fleet, host):
    etcd = fleet.etcd()
    place = "/calico/bgp/v1/host/squatter"
    fleet.undo.callback(etcd.delete, place, recursive=True)
    etcd.put(f"{place}/ip_addr_v4", host.address)
    etcd.put(f"{place}/network_v4", host.address + "/32")
    refused(fleet, host, host.address, "squatter")


def test_a_full_disk(fleet, host):
    """A change of the environment meets a file system without room."""
    fleet.pillar({"env": {"CHANGED": "yes"}})
    before = fleets.container(host)
    copy = "cp -a /etc/calico /run/kept && mount -t tmpfs -o size=64k tmpfs /etc/calico"
    host.exec(f"{copy} && cp -a /run/kept/. /etc/calico/ && dd if=/dev/zero of=/etc/calico/fill || true")
    fleet.undo.callback(host.exec, "umount /etc/calico; rm -rf /run/kept")
    states = fleet.apply(host)[host.name]
    assert states.retcode
    assert "No space left" in states.failures or "disk space" in states.failures
    assert fleets.container(host) == before
    host.exec("rm /etc/calico/fill")
    fleet.converge(host)
    assert fleets.container(host) != before


def test_birds_socket_that_is_gone(fleet, host):
    host.exec("mv /var/run/calico/bird.ctl /var/run/calico/away.ctl")
    fleet.undo.callback(host.exec, "mv /var/run/calico/away.ctl /var/run/calico/bird.ctl")
    status, code = fleet.ask(host, "status")
    assert code == 1
    assert any("/var/run/calico/bird.ctl" in reason for reason in status["reasons"])


def test_a_dead_node_in_the_datastore_fails_the_gate_by_name_until_it_is_said_to_be_away(fleet):
    etcd = fleet.etcd()
    dead = fleet.hosts[0].address.rpartition(".")[0] + ".250"
    fleet.undo.callback(etcd.delete, "/calico/bgp/v1/host/dead", recursive=True)
    fleet.undo.callback(etcd.delete, "/calico/v1/host/dead", recursive=True)
    etcd.put("/calico/v1/host/dead/metadata", "{}")
    etcd.put("/calico/bgp/v1/host/dead/ip_addr_v4", dead)
    etcd.put("/calico/bgp/v1/host/dead/network_v4", dead + "/32")
    fleet.pillar({"ready": {"timeout": 3}})
    for states in fleet.apply().values():
        assert states.retcode
        assert dead in states["The node is ready"]["comment"]
        assert "dead" in states["The node is ready"]["comment"]
    fleet.lab.master_pillar({"ready": {"timeout": 3, "absent_nodes": ["dead"]}})
    fleet.converge()
