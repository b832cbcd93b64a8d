"""The stand-in calico/node: its start-up, and three of its containers meshed by the real BIRD."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.standins import etcdv2
from tests.support import etcd, programs
from tests.support import pki as pki_support
from tests.support.calico_nodes import POOL, mesh_of, meshed, pinging, tls, unpacked
from tests.support.namespaces import Container
from tests.support.waiting import PATIENCE, until

STANDINS = Path(etcdv2.__file__).resolve().parent
HOSTS = 3
STARTUP = STANDINS / "node" / "image" / "startup.py"
# How the original writes: when, how grave, where in its source, what.
LINE = r"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} \[{}\]\[\d+\] startup\.go \d+: {}"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("etcd", "ip", "nsenter", "unshare"))),
        reason="needs etcd, iproute2 and util-linux",
    ),
]


@pytest.fixture
def store(server, pki):
    """A client of an etcd with nothing in it."""
    client = etcdv2.Client([server.endpoint], **pki_support.client(pki))
    client.delete("/calico", recursive=True)
    return client


@pytest.fixture
def start(fabric, server, pki, store, tmp_path):
    """start(**environment) runs the start-up on the first host; a CompletedProcess."""

    def run(background=False, **given):
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(STANDINS),
            "ETCD_ENDPOINTS": server.endpoint,
            **tls(pki),
            "NODENAME": "node1",
            "CALICO_NETWORKING_BACKEND": "bird",
            "FELIX_IPV6SUPPORT": "false",
            "IP": "",
            **given,
        }
        command = fabric.hosts[0].command(sys.executable, STARTUP)
        options = {"env": environment, "cwd": tmp_path}
        if background:
            return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)
        return programs.run(command, check=False, **options)

    return run


def keys(store):
    return store.tree("/calico")[0]


def pools(store, version=4):
    found, _ = store.tree(f"/calico/v1/ipam/v{version}/pool")
    return [json.loads(value) for value in found.values()]


def address_of(store, node="node1"):
    return (
        store.get(f"/calico/bgp/v1/host/{node}/ip_addr_v4"),
        store.get(f"/calico/bgp/v1/host/{node}/network_v4"),
    )


class TestStartup:
    def test_an_empty_datastore_gets_the_node_the_pool_and_the_defaults(self, start, store, fabric):
        done = start(CALICO_IPV4POOL_CIDR=POOL, CALICO_IPV4POOL_IPIP="off")
        assert done.returncode == 0, done.stdout
        found = keys(store)
        guid = found.pop("/calico/v1/config/ClusterGUID")
        assert len(guid) == 32 and int(guid, 16)
        pool = json.loads(found.pop("/calico/v1/ipam/v4/pool/172.20.0.0-16"))
        assert pool == {
            "cidr": POOL,
            "ipip": "",
            "ipip_mode": "",
            "masquerade": True,
            "ipam": True,
            "disabled": False,
        }
        own = fabric.hosts[0].plain_address
        assert found == {
            "/calico/bgp/v1/global/as_num": "64512",
            "/calico/bgp/v1/global/loglevel": "info",
            "/calico/bgp/v1/global/node_mesh": '{"enabled":true}',
            "/calico/bgp/v1/host/node1/ip_addr_v4": own,
            "/calico/bgp/v1/host/node1/ip_addr_v6": "",
            "/calico/bgp/v1/host/node1/network_v4": str(fabric.network),
            "/calico/v1/Ready": "true",
            "/calico/v1/config/CalicoVersion": "v2.6.2",
            "/calico/v1/config/LogSeverityScreen": "info",
            "/calico/v1/config/ReportingIntervalSecs": "0",
            "/calico/v1/host/node1/bird_ip": own,
            "/calico/v1/host/node1/config/DefaultEndpointToHostAction": "RETURN",
            "/calico/v1/host/node1/metadata": "{}",
        }

    def test_a_second_start_changes_nothing(self, start, store):
        start(CALICO_IPV4POOL_CIDR=POOL)
        before = keys(store)
        assert start(CALICO_IPV4POOL_CIDR=POOL).returncode == 0
        assert keys(store) == before

    def test_settings_made_before_the_first_start_survive(self, start, store):
        made = {
            "/calico/bgp/v1/global/node_mesh": '{"enabled":false}',
            "/calico/bgp/v1/global/as_num": "64999",
            "/calico/bgp/v1/global/loglevel": "debug",
            "/calico/v1/config/LogSeverityScreen": "warning",
            "/calico/v1/config/ReportingIntervalSecs": "7",
            "/calico/v1/host/node1/config/DefaultEndpointToHostAction": "DROP",
        }
        for key, value in made.items():
            store.put(key, value)
        start()
        assert {key: store.get(key) for key in made} == made

    def test_the_name_is_nodename_else_hostname_and_keeps_its_case(self, start, store):
        start(NODENAME="", HOSTNAME="Rack-1", IP="10.1.0.1/16")
        start(NODENAME="Rack-2", HOSTNAME="Rack-1", IP="10.1.0.2/16")
        assert store.get("/calico/v1/host/Rack-1/metadata") == "{}"
        assert store.get("/calico/v1/host/Rack-2/metadata") == "{}"

    @pytest.mark.parametrize(
        ("given", "stored"),
        [
            ("10.1.0.1/16", ("10.1.0.1", "10.1.0.0/16")),
            ("10.1.0.1", ("10.1.0.1", "10.1.0.1/32")),
        ],
    )
    def test_a_given_address_wins_and_a_stored_one_is_kept(self, start, store, given, stored):
        start()
        start(IP=given)
        assert address_of(store) == stored
        start(IP="")
        assert address_of(store) == stored
        start(IP="autodetect")
        assert address_of(store) != stored

    def test_an_ipv6_address_is_stored_only_when_asked_for(self, start, store):
        start(IP6="fd00:1::1/64")
        assert store.get("/calico/bgp/v1/host/node1/ip_addr_v6") == "fd00:1::1"
        assert store.get("/calico/bgp/v1/host/node1/network_v6") == "fd00:1::/64"

    @pytest.mark.parametrize(
        ("method", "found"),
        [
            ("", "data0"),
            ("first-found", "data0"),
            ("interface=eth.*,data.*", "data0"),
            ("interface=eth", "eth0"),
            ("skip-interface=data", "eth0"),
            ("interface=cbr.*", "cbr0"),
            ("interface=nothing,data.*", "data0"),
            ("skip-interface=eth.*", "data0"),
            ("can-reach=10.93.0.77", "data0"),
        ],
    )
    def test_autodetection(self, start, store, fabric, method, found):
        host = fabric.hosts[0]
        addresses = {"eth0": fabric.hosts[0].plain_address, "cbr0": "10.92.0.1"}
        addresses["data0"] = "10.93.0.1"
        # Made after eth0: cbr0 is of a container runtime, data0 is none of those.
        with bridges(host, {"cbr0": "10.92.0.1/24", "data0": "10.93.0.1/24"}):
            done = start(IP="autodetect", IP_AUTODETECTION_METHOD=method)
        assert done.returncode == 0, done.stdout
        assert address_of(store)[0] == addresses[found]

    @pytest.mark.parametrize("method", ["interface=zz.*", "best-guess", "interface=(", "can-reach=fd00::1"])
    def test_autodetection_that_finds_nothing_ends_it(self, start, store, method):
        done = start(IP="autodetect", IP_AUTODETECTION_METHOD=method)
        assert (done.returncode, keys(store)) == (1, {})
        assert done.stdout.endswith("Terminating\n")

    def test_an_address_of_another_node_ends_it(self, start, store):
        start(IP="10.1.0.1/16")
        before = keys(store)
        done = start(NODENAME="node2", IP="10.1.0.1/16")
        assert done.returncode == 1
        *_, reason, last = done.stdout.splitlines()
        assert re.fullmatch(
            LINE.format("WARNING", "Calico node 'node1' is already using .* 10.1.0.1."), reason
        )
        assert re.fullmatch(LINE.format("WARNING", "Terminating"), last)
        assert keys(store) == before

    def test_the_check_for_duplicates_can_be_switched_off(self, start, store):
        start(IP="10.1.0.1/16")
        done = start(NODENAME="node2", IP="10.1.0.1/16", DISABLE_NODE_IP_CHECK="true")
        assert done.returncode == 0
        # ... and an address that did not change is not checked.
        assert start(NODENAME="node2", IP="10.1.0.1/16").returncode == 0

    @pytest.mark.parametrize(("given", "stored"), [("64599", "64599"), ("1.10", "65546")])
    def test_as_number(self, start, store, given, stored):
        start(AS=given)
        assert store.get("/calico/bgp/v1/host/node1/as_num") == stored
        start(AS="")
        assert store.get("/calico/bgp/v1/host/node1/as_num") == stored

    @pytest.mark.parametrize(
        ("environment", "nat"),
        [
            ({}, True),
            ({"CALICO_IPV4POOL_NAT_OUTGOING": "false"}, False),
            ({"CALICO_IPV4POOL_NAT_OUTGOING": "N"}, False),
            ({"CALICO_IPV4POOL_NAT_OUTGOING": ""}, True),
            ({"CALICO_IPV4POOL_NAT_OUTGOING": "off"}, True),
        ],
    )
    def test_booleans(self, start, store, environment, nat):
        start(**environment)
        (pool,) = pools(store)
        assert (pool["cidr"], pool["masquerade"]) == ("192.168.0.0/16", nat)

    @pytest.mark.parametrize("mode", ["always", "Cross-Subnet"])
    def test_a_pool_with_ipip_switches_it_on_for_felix(self, start, store, mode):
        start(CALICO_IPV4POOL_IPIP=mode)
        (pool,) = pools(store)
        assert (pool["ipip"], pool["ipip_mode"]) == ("tunl0", mode.lower())
        assert store.get("/calico/v1/config/IpInIpEnabled") == "true"

    def test_an_ipv6_pool_is_made_unless_felix_has_no_ipv6(self, start, store):
        start(FELIX_IPV6SUPPORT="true")
        (pool,) = pools(store, version=6)
        assert (pool["cidr"], pool["masquerade"]) == ("fd80:24e2:f998:72d6::/64", False)

    def test_an_existing_pool_stays_and_no_other_is_made(self, start, store):
        start(CALICO_IPV4POOL_CIDR=POOL)
        start(CALICO_IPV4POOL_CIDR="10.244.0.0/16", CALICO_IPV4POOL_IPIP="always")
        assert [pool["cidr"] for pool in pools(store)] == [POOL]

    def test_no_default_pools(self, start, store):
        assert start(NO_DEFAULT_POOLS="TRUE").returncode == 0
        assert pools(store) == []

    @pytest.mark.parametrize(
        ("environment", "reason"),
        [
            ({"IP": "abc"}, "Environment does not contain a valid IPv4 address: IP=abc"),
            ({"IP": "none"}, "Environment does not contain a valid IPv4 address: IP=none"),
            ({"IP": "fd00::1"}, "Environment does not contain a valid IPv4 address: IP=fd00::1"),
            ({"IP": "10.1.0.1/33"}, "valid IPv4 address"),
            ({"IP6": "10.1.0.1"}, "Environment does not contain a valid IPv6 address"),
            ({"AS": "x"}, "The AS number specified in the environment (AS=x) is not valid"),
            ({"AS": "4294967296"}, "is not valid"),
            ({"CALICO_IPV4POOL_CIDR": "zz"}, "in CALICO_IPV4POOL_CIDR 'zz'"),
            ({"CALICO_IPV4POOL_CIDR": "10.0.0.0"}, "in CALICO_IPV4POOL_CIDR"),
            ({"CALICO_IPV6POOL_CIDR": "10.0.0.0/8"}, "in CALICO_IPV6POOL_CIDR"),
            ({"CALICO_IPV4POOL_CIDR": "10.0.0.0/27"}, "pool size is too small (min /26)"),
            ({"CALICO_IPV4POOL_IPIP": "sometimes"}, "error with field mode = 'sometimes'"),
            (
                {"NO_DEFAULT_POOLS": "true", "CALICO_IPV4POOL_CIDR": POOL},
                "Invalid configuration with NO_DEFAULT_POOLS defined",
            ),
        ],
    )
    def test_an_invalid_value_ends_it(self, start, store, environment, reason):
        done = start(**environment)
        assert done.returncode == 1
        assert reason in done.stdout
        assert done.stdout.endswith("Terminating\n")
        assert pools(store) == []

    def test_cluster_types_are_added_up(self, start, store):
        for given in ("k8s,bgp", "", "bgp,mesos"):
            start(CLUSTER_TYPE=given)
        assert store.get("/calico/v1/config/ClusterType") == "k8s,bgp,mesos"

    def test_policy_only_needs_no_address(self, start, store):
        done = start(CALICO_NETWORKING_BACKEND="none", IP="abc", AS="x")
        assert done.returncode == 0
        own = "/calico/bgp/v1/host/node1"
        assert store.tree(own)[0] == {f"{own}/ip_addr_v4": "", f"{own}/ip_addr_v6": ""}

    def test_a_datastore_that_refuses_ends_it(self, start, fabric):
        done = start(ETCD_ENDPOINTS=f"https://{fabric.gateway}:9")
        assert done.returncode == 1
        assert "Unable to access datastore" in done.stdout

    def test_another_certificate_authority_ends_it(self, start, store, pki):
        done = start(ETCD_CA_CERT_FILE=f"{pki}/wrong-ca.pem")
        assert (done.returncode, keys(store)) == (1, {})

    def test_a_missing_certificate_ends_it(self, start, store, pki):
        done = start(ETCD_KEY_FILE=f"{pki}/none.pem")
        assert (done.returncode, keys(store)) == (1, {})
        said = (
            f"ERROR: Error accessing the Calico datastore: open {pki}/none.pem: no such file or directory\n"
        )
        assert done.stdout == said

    def test_it_waits_for_the_datastore_when_told_to(self, start, fabric, pki, tmp_path):
        late = etcd.Etcd(tmp_path / "late", pki, fabric.gateway)
        (tmp_path / "late").mkdir(exist_ok=True)
        waiting = start(background=True, WAIT_FOR_DATASTORE="true", ETCD_ENDPOINTS=late.endpoint)
        with waiting:
            first = LINE.format("INFO", "Checking datastore connection") + "\n"
            assert re.fullmatch(first, waiting.stdout.readline())
            with late:
                assert waiting.wait(timeout=PATIENCE) == 0
                assert "Datastore connection verified\n" in waiting.stdout.read()


@contextlib.contextmanager
def bridges(host, addresses):
    for name, address in addresses.items():
        host.ip("link", "add", name, "type", "bridge")
        host.ip("address", "add", address, "dev", name)
        host.ip("link", "set", name, "up")
    try:
        yield
    finally:
        for name in addresses:
            host.ip("link", "delete", name)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if not shutil.which("mmdebstrap"):
        pytest.skip("needs mmdebstrap")
    return unpacked("v2.6.2", tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def nodes(fabric, image, server, pki, tmp_path_factory):
    """Three nodes, meshed; on the first two of them a workload."""
    client = etcdv2.Client([server.endpoint], **pki_support.client(pki))
    client.delete("/calico", recursive=True)
    directory = tmp_path_factory.mktemp("n")
    with mesh_of(fabric, "v2.6.2", image, server, pki, directory) as made:
        for node in made[:2]:
            node.client = client
        yield made


@pytest.fixture
def mesh(nodes):
    until(lambda: meshed(nodes), lambda: str([node.sessions() for node in nodes]))
    return nodes


class TestContainers:
    def test_sessions_are_named_after_their_neighbours(self, mesh):
        others = [node.host.plain_address.replace(".", "_") for node in mesh[1:]]
        assert mesh[0].sessions() == {f"Mesh_{other}": "Established" for other in others}

    def test_it_says_that_it_started(self, mesh):
        assert "Calico node started successfully\n" in mesh[0].container.log

    def test_it_knows_its_version(self, mesh):
        assert mesh[0].container.run("versions").stdout == "calico/node v2.6.2\n"

    def test_processes_have_the_names_of_the_original(self, mesh):
        assert set(mesh[0].container.processes()) == {"calico-felix", "bird", "bird6", "confd"}

    def test_health(self, mesh):
        assert [mesh[0].health(path) for path in ("readiness", "liveness", "other")] == [
            204,
            204,
            404,
        ]

    def test_a_workload_has_a_route_a_block_and_an_endpoint(self, mesh):
        node, attached = mesh[0], mesh[0].attached
        route = node.host.routes()[attached["address"]]
        assert (route["dev"], route["scope"]) == (attached["interface"], "link")
        assert node.host.routes()[attached["block"]]["type"] == "blackhole"
        sysctl = f"net.ipv4.conf.{attached['interface']}.proxy_arp"
        assert node.host.run("sysctl", "-n", sysctl).stdout == "1\n"
        key = f"/calico/v1/host/{node.name}/workload/cni/{node.workload}/endpoint/eth0"
        endpoint = json.loads(node.client.get(key))
        assert endpoint["ipv4_nets"] == [f"{attached['address']}/32"]
        assert endpoint["name"] == attached["interface"]

    def test_the_other_host_has_the_block_and_nothing_beneath_it(self, mesh):
        routes = mesh[1].host.routes()
        attached = mesh[0].attached
        assert routes[attached["block"]]["gateway"] == mesh[0].host.plain_address
        assert attached["address"] not in routes

    def test_attaching_twice_changes_nothing(self, mesh):
        before = keys(mesh[0].client)
        assert mesh[0].attach("add") == mesh[0].attached
        assert keys(mesh[0].client) == before

    def test_workloads_reach_each_other(self, mesh):
        with pinging(mesh) as packets:
            packets.wait_for_more(100)
        assert packets.lost == []

    def test_a_stop_is_in_order_and_a_restart_loses_no_packet(self, mesh):
        with pinging(mesh) as packets:
            # Not 137: it ends when it is asked to, and nobody has to kill it.
            assert mesh[0].container.stop() == 0
            mesh[0].start()
            until(lambda: meshed(mesh), lambda: mesh[0].container.log)
        assert packets.lost == []

    @pytest.mark.parametrize("name", ["calico-felix", "confd", "bird6"])
    def test_a_process_that_dies_is_started_again(self, mesh, name):
        container = mesh[2].container
        before = container.processes()
        os.kill(before[name], signal.SIGKILL)
        until(lambda: container.processes().get(name) not in (None, before[name]), name)
        others = {key: value for key, value in container.processes().items() if key != name}
        assert others == {key: value for key, value in before.items() if key != name}
        until(lambda: mesh[2].health() == 204, "ready again")

    def test_felix_writes_legacy_tables_only(self, mesh):
        rules = {kind: mesh[0].host.run(f"iptables-{kind}", "-S").stdout for kind in ("legacy", "nft")}
        assert {kind: "cali-FORWARD" in text for kind, text in rules.items()} == {
            "legacy": True,
            "nft": False,
        }

    def test_felix_ends_where_the_kernel_lets_foreign_sources_in(self, mesh):
        node = mesh[2]
        name = "net.ipv4.conf.all.rp_filter"
        before = node.host.run("sysctl", "-n", name).stdout.strip()
        node.host.run("sysctl", "-qw", f"{name}=2")
        try:
            # Only a start looks at it.
            assert node.health() == 204
            os.kill(node.container.processes()["calico-felix"], signal.SIGKILL)
            fatal = r"\[FATAL\]\[\d+\] int_dataplane\.go 763: Kernel's RPF check is set to 'loose'\."
            until(lambda: len(re.findall(fatal, node.container.log)) > 1, lambda: node.container.log)
        finally:
            node.host.run("sysctl", "-qw", f"{name}={before}")
        until(lambda: node.health() == 204, "ready again")

    def test_felix_begins_anew_and_waits_while_the_datastore_is_locked(self, mesh):
        node = mesh[2]
        # The test before this one ends it again and again: between two starts there is none.
        before = until(lambda: node.container.processes().get("calico-felix"), "felix")
        mesh[0].client.put("/calico/v1/Ready", "false")
        try:
            until(lambda: node.container.processes().get("calico-felix", before) != before, "a new one")
            # It calls that ready, as the original does.
            until(lambda: node.health() == 204, "ready")
        finally:
            mesh[0].client.put("/calico/v1/Ready", "true")
        until(lambda: all(each.health() == 204 for each in mesh), "all ready again")

    def test_a_killed_bird_loses_no_packet(self, mesh):
        with pinging(mesh) as packets:
            pid = mesh[0].container.processes()["bird"]
            os.kill(pid, signal.SIGKILL)
            until(lambda: mesh[0].container.processes().get("bird", pid) != pid, "bird")
            until(lambda: meshed(mesh), lambda: str(mesh[0].sessions()))
        assert packets.lost == []

    def test_a_bird_that_ends_in_order_withdraws_its_routes(self, mesh):
        block = mesh[0].attached["block"]
        # It is started again in a second: who looks now and then may never see that the route is away.
        with mesh[1].host.route_changes() as changes:
            os.kill(mesh[0].container.processes()["bird"], signal.SIGTERM)
            until(lambda: any(line.startswith(f"Deleted {block} ") for line in changes), "withdrawn")
        until(lambda: block in mesh[1].host.routes(), "back")

    def test_peers_come_and_go_with_the_datastore(self, mesh):
        client, first = mesh[0].client, mesh[0]
        everywhere = "/calico/bgp/v1/global/peer_v4/198.19.0.9"
        here = f"/calico/bgp/v1/host/{first.name}/peer_v4/198.19.0.10"
        client.put(everywhere, '{"ip":"198.19.0.9","as_num":"64512"}')
        client.put(here, '{"ip":"198.19.0.10","as_num":"64513"}')
        added = {"Global_198_19_0_9", "Node_198_19_0_10"}
        until(lambda: added <= set(first.sessions()), lambda: str(first.sessions()))
        assert "Node_198_19_0_10" not in mesh[1].sessions()
        client.delete(everywhere)
        client.delete(here)
        until(lambda: not added & set(first.sessions()), lambda: str(first.sessions()))
        assert meshed(mesh)

    def test_nodes_with_ipv6_addresses_mesh_over_ipv6_too(self, mesh):
        assert mesh[0].sessions("bird6") == {}
        pair = mesh[:2]
        for number, node in enumerate(pair, 1):
            node.host.ip("address", "add", f"fd00:98::{number}/64", "dev", "eth0", "nodad")
            key = f"/calico/bgp/v1/host/{node.name}"
            mesh[0].client.put(f"{key}/network_v6", "fd00:98::/64")
            mesh[0].client.put(f"{key}/ip_addr_v6", f"fd00:98::{number}")
        until(
            lambda: mesh[0].sessions("bird6") == {"Mesh_fd00_98__2": "Established"},
            lambda: str([node.sessions("bird6") for node in pair]),
        )

    def test_the_mesh_can_be_switched_off(self, mesh):
        client = mesh[0].client
        client.put("/calico/bgp/v1/global/node_mesh", '{"enabled":false}')
        until(lambda: not any(node.sessions() for node in mesh), "no sessions")
        client.put("/calico/bgp/v1/global/node_mesh", '{"enabled":true}')
        until(lambda: meshed(mesh), lambda: str([node.sessions() for node in mesh]))

    def test_a_frozen_datastore_changes_nothing(self, mesh, server):
        server.freeze()
        try:
            with pinging(mesh) as packets:
                # Three seconds of them, if not more.
                packets.wait_for_more(300)
            assert (mesh[0].health("readiness"), mesh[0].health("liveness")) == (204, 204)
            assert meshed(mesh)
        finally:
            server.thaw()
        assert packets.lost == []

    def test_a_detached_workload_leaves_nothing(self, mesh):
        node, attached = mesh[1], mesh[1].attached
        node.attach("del")
        until(lambda: attached["address"] not in node.host.routes(), "its route")
        assert node.attach("del")["interface"] == attached["interface"]
        block = json.loads(
            node.client.get(f"/calico/ipam/v2/assignment/ipv4/block/{attached['block'].replace('/', '-')}")
        )
        assert len(block["unallocated"]) == 64
        assert block["attributes"] == []

    def test_a_failed_start_ends_the_container(self, mesh, image, tmp_path):
        root = tmp_path / "root"
        programs.run(["cp", "-al", image, root])
        with Container(mesh[2].host, root, {"ETCD_ENDPOINTS": "http://127.0.0.1:9"}, {}) as container:
            assert container.wait() == 1
        assert container.log.endswith("Terminating\nCalico node failed to start\n")
