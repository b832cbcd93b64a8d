"""
The settings as data: one row for each, in the order of the documentation.

What no row names is refused, so that a misspelt key can never pass in silence. ``docs/settings.md`` is
made from these tables. Pure data: no Salt, no files, no network.
"""

import dataclasses
from typing import Any, Callable, Optional

import calico_generations
import calico_runtimes
import calico_safety
import calico_values as values

REQUIRED = object()


@dataclasses.dataclass(frozen=True)
class Setting:
    """
    One setting.

    path
        Where it lies in the pillar: below ``calico:``, or in each entry of a list.
    kind
        The kind of its value (:mod:`calico_values`), or None where it is judged as part of a resource.
    default
        Its value where the pillar has none; a function is given the settings derived so far;
        :data:`REQUIRED` has none.
    doc
        What it is for, for people (Markdown).
    since
        The first minor release of Calico 3 that has it; None where 2.6 has it, too.
    """

    path: str
    kind: Optional[Callable]
    default: Any
    doc: str
    since: Optional[int] = None

    def known(self, major, minor):
        """Whether Calico of this release has it."""
        return self.since is None or (major == 3 and minor >= self.since)


def _word(path, doc, since=None):
    """A word for a field of a resource: what the resource's kind does not accept is refused."""
    return Setting(path, None, None, doc, since)


SETTINGS = (
    Setting(
        "version",
        values.version,
        REQUIRED,
        "The calico/node release. No default: an update of the formula must never upgrade a data plane.",
    ),
    Setting(
        "image",
        values.image,
        "calico/node",
        "The image, without its tag: the tag is `version`. A name that carries a tag is used as it is.",
    ),
    Setting(
        "image_digest",
        values.image_digest,
        None,
        "The image must have this digest (of the registry) or ID. Nothing is started where it has not.",
    ),
    Setting(
        "image_archive",
        values.archive,
        None,
        "An archive made by `docker save`, loaded where the image is missing. Without one: a pull.",
    ),
    Setting(
        "runtime",
        values.one_of(*calico_runtimes.RUNTIMES),
        "docker",
        "What runs the container: docker or [podman](platforms.md#podman). On Red Hat's family podman is "
        "the default.",
    ),
    Setting(
        "service",
        values.service_unit,
        lambda settings: calico_runtimes.RUNTIMES[settings.get("runtime") or "docker"]["service"],
        "The unit of docker, which calico-node's own depends on, where it has another name such as "
        "`docker-engine.service` or `snap.docker.dockerd.service`. podman has none.",
    ),
    Setting(
        "datastore",
        values.one_of("etcdv2", "etcdv3", "kubernetes"),
        lambda settings: settings["_tables"]["datastores"][0],
        "Where Calico keeps its data: etcdv2 with 2.6; etcdv3 or kubernetes with 3.x.",
    ),
    Setting(
        "etcd:endpoints",
        values.list_of(values.endpoint),
        None,
        "The etcd endpoints, all http or all https. Required, unless the datastore is kubernetes.",
    ),
    Setting(
        "etcd:tls:ca",
        values.pem_source,
        None,
        "The CA that signed etcd's certificate: PEM text, salt://… or a path.",
    ),
    Setting(
        "etcd:tls:cert", values.pem_source, None, "The client certificate: PEM text, salt://… or a path."
    ),
    Setting("etcd:tls:key", values.pem_source, None, "Its key: PEM text, salt://… or a path."),
    Setting(
        "etcd:username",
        values.etcd_user,
        None,
        "A user of etcd's own, where its authentication is on. calico/node's start and calicoctl use it "
        "(3.x: Felix, too); the CNI plugin and Felix of 2.6 know only certificates.",
    ),
    Setting("etcd:password", values.text, None, "The password of that user."),
    Setting(
        "kubernetes:kubeconfig",
        values.path,
        "/root/.kube/config",
        "The kubeconfig that the CNI plugin uses. With the datastore kubernetes calico/node uses it, too: "
        "files that it names must be in the container (`mounts`), or their contents in the kubeconfig.",
    ),
    Setting(
        "node:name",
        values.node_name,
        None,
        "The node's name in the datastore. Without it the host's own name: with 2.6 that must be in lower "
        "case, with 3.x it is turned into lower case.",
    ),
    Setting(
        "node:ip",
        values.address(4),
        "",
        "The node's IPv4 address with prefix. Empty: keep the registered one, or detect it once. "
        "`none` (3.x): no IPv4; `ip6` must be given then.",
    ),
    Setting(
        "node:ip6",
        values.address(6),
        None,
        "The node's IPv6 address with prefix. Without it no IPv6 BGP is set up.",
    ),
    Setting(
        "node:ip_autodetection_method",
        values.autodetection,
        None,
        "How the IPv4 address is detected: first-found, can-reach=ADDRESS, interface=REGEX[,…], "
        "skip-interface=REGEX[,…]; since 3.16 cidr=CIDR[,…], since 3.22 kubernetes-internal-ip. REGEX is a "
        "regular expression of Go's, found anywhere in the name. Of several interfaces the last is taken.",
    ),
    Setting("node:ip6_autodetection_method", values.autodetection, None, "The same for IPv6."),
    Setting(
        "node:as_number",
        values.as_number,
        None,
        "The node's own AS number. Without it the cluster's is used (64512).",
    ),
    Setting(
        "node:backend",
        values.one_of("bird", "gobgp", "vxlan", "none"),
        "bird",
        "What connects the nodes: bird, gobgp (2.6; its sessions cannot be seen, and the gate does without), "
        "vxlan (since 3.7), or `none`: policy only, no sessions.",
    ),
    Setting(
        "node:labels",
        values.mapping_of(values.label_value, values.label_name),
        {},
        "The node's labels in the datastore: names to text. Others stay; null removes one.",
        since=0,
    ),
    Setting(
        "node:route_reflector_cluster_id",
        values.cluster_id,
        None,
        "Makes the node a route reflector of this cluster (such as 244.0.0.1): it leaves the mesh.",
        since=0,
    ),
    Setting(
        "felix",
        values.mapping_of(values.scalar, values.any_key),
        {},
        "Felix' settings on this node, [by their own names](#felix). They go before those of the datastore.",
    ),
    Setting(
        "env",
        values.mapping_of(values.scalar, values.variable),
        {},
        "Any other variable for calico/node. One that has [a setting of its own](#variables) is refused.",
    ),
    Setting(
        "mounts",
        values.list_of(values.mount),
        [],
        "Mounts beside the ones that the container has anyway, `/host:/container[:ro]`.",
    ),
    Setting(
        "cni:enabled",
        values.boolean,
        True,
        "Write 10-calico.conf (3.x: 10-calico.conflist) into `cni:conf_dir`. false: it is taken away again.",
    ),
    Setting(
        "cni:conf_dir",
        values.directory,
        "/etc/cni/net.d",
        "The directory where the container runtime (or kubelet) looks for CNI configurations.",
    ),
    Setting(
        "cni:bin_dir",
        values.directory,
        "/opt/cni/bin",
        "The directory where it looks for CNI plugins.",
    ),
    Setting("cni:name", values.text, "calico-k8s-network", "The network's name in the CNI configuration."),
    Setting(
        "cni:mtu",
        values.workload_mtu,
        lambda settings: calico_generations.cni_mtu(settings["_tables"], settings["minor"]),
        "MTU of the workloads' interfaces, in bytes: 576 to 65535. 0 (since 3.17): as Felix found out.",
    ),
    Setting(
        "cni:log_level",
        values.one_of("debug", "info", "warning", "error"),
        "info",
        "Log level of the CNI plugin: debug, info, warning; error (3.x).",
    ),
    Setting("cni:policy", values.one_of("k8s"), "k8s", "Who applies network policy."),
    Setting(
        "cni:plugins:source",
        values.source,
        None,
        "Archive with the CNI plugins, extracted into `cni:bin_dir`.",
    ),
    Setting(
        "cni:plugins:source_hash",
        values.file_hash,
        None,
        "Its hash; a source is never used without one.",
    ),
    Setting(
        "calicoctl:source",
        values.source,
        None,
        "The calicoctl binary. Without it the one at `path` is used as it is.",
    ),
    Setting(
        "calicoctl:source_hash",
        values.file_hash,
        None,
        "Its hash; a source is never used without one.",
    ),
    Setting(
        "calicoctl:path",
        values.path,
        "/usr/local/bin/calicoctl",
        "Where calicoctl lies on the minion.",
    ),
    Setting(
        "calicoctl:timeout",
        values.integer(1, 600),
        20,
        "Deadline of every call to the datastore, in seconds.",
    ),
    Setting(
        "forwarding:accept",
        values.boolean,
        False,
        "Where another packet filter than the one Felix writes drops what is forwarded (Docker has iptables "
        "do so), rules that accept what goes to workloads and comes from them. "
        "[docs/forwarding.md](forwarding.md)",
    ),
    Setting("network:pools", None, REQUIRED, "[The IP pools](#each-of-networkpools), at least one."),
    Setting(
        "network:peers",
        None,
        [],
        "[BGP peers](#each-of-networkpeers): of all nodes, of one node, or by selectors (since 3.3).",
    ),
    Setting(
        "network:mesh",
        values.boolean,
        None,
        "The full mesh between the nodes, on or off. Without it, it stays as it is (on at first).",
    ),
    Setting(
        "network:as_number",
        values.as_number,
        None,
        "The cluster's AS number. Without it, it stays (64512 at first).",
    ),
    Setting(
        "network:bgp",
        values.mapping,
        {},
        "[Further BGP settings](#in-networkbgp) of the cluster.",
    ),
    Setting(
        "network:felix",
        values.mapping,
        {},
        "[Felix' settings](#felix) for the whole cluster, kept in the datastore; those under `felix` win. "
        "With 3.x by their field or their name, with 2.6 by their name; null takes one away.",
    ),
    Setting(
        "network:resources",
        None,
        [],
        "Any other resources, as calicoctl writes them: apiVersion, kind, metadata, spec.",
    ),
    Setting(
        "network:prune",
        values.boolean,
        False,
        "Remove the pools and peers that the pillar does not list, within the safety rules.",
    ),
    Setting(
        "network:allow",
        values.list_of(values.one_of(*calico_safety.ALLOW)),
        [],
        "Dangerous changes that are to be made nevertheless; each is named by the refusal that it lifts: "
        + ", ".join(calico_safety.ALLOW)
        + ".",
    ),
    Setting(
        "network:managed_by",
        values.compound,
        "*",
        "Which minions write cluster-wide resources such as pools (compound match).",
    ),
    Setting(
        "ready:timeout",
        values.integer(1, 3600),
        90,
        "How long the gate waits for Felix and all sessions, in seconds.",
    ),
    Setting(
        "ready:absent_nodes",
        values.list_of(values.text),
        [],
        "Nodes known to be away; their sessions are not waited for.",
    ),
    Setting(
        "on_failure",
        values.one_of("stop", "rollback"),
        "stop",
        "Where the node does not become ready after a change: `stop` leaves everything as it is, `rollback` "
        "puts the last good files back ([docs/rollback.md](rollback.md)). The run fails in either case.",
    ),
    Setting(
        "clean:datastore",
        values.boolean,
        False,
        "`calico.clean` also removes this node's entry from the datastore (refused while workloads remain).",
    ),
)

POOL_SETTINGS = (
    Setting("cidr", None, REQUIRED, "The pool's network, at least one block (/26, /122)."),
    Setting(
        "name",
        values.resource_name,
        None,
        "Its name with 3.x. Without it one is made from the network; an existing one stays.",
    ),
    Setting("ipip", None, "never", "IP-in-IP (IPv4): never, always or crosssubnet."),
    _word("vxlan", "VXLAN: never, always or crosssubnet; not with ipip.", 7),
    Setting("nat_outgoing", values.boolean, True, "NAT for traffic that leaves the pools."),
    Setting("disabled", values.boolean, False, "No new addresses from this pool; those in use stay routed."),
    _word("block_size", "Size of a node's blocks: 20 to 32 (26), IPv6 116 to 128 (122).", 0),
    _word("node_selector", "The nodes that take addresses from it; `all()` without it.", 5),
    _word("allowed_uses", "What it is for, a list: Workload, Tunnel; or LoadBalancer alone.", 22),
    _word("disable_bgp_export", "Do not tell its routes to peers.", 22),
    _word("assignment_mode", "Automatic, or Manual: addresses only for pods that name the pool.", 30),
    _word("namespace_selector", "The namespaces that take addresses from it.", 31),
)

PEER_SETTINGS = (
    _word("peer_ip", "The neighbour's address; with 3.x also with a port, `10.0.0.1:180`, `[fd00::1]:180`."),
    _word("as_number", "Its AS number, which `peer_ip` needs; not with `peer_selector`."),
    _word("node", "The one node that has this peer. Without it (and `node_selector`) all nodes have it."),
    _word("name", "The peer's name with 3.x. Without it one is made from what it connects."),
    _word("node_selector", "The nodes that have this peer, instead of `node`.", 3),
    _word("peer_selector", "The nodes to peer with, instead of `peer_ip`.", 3),
    _word("keep_original_next_hop", "true: routes are told on with their next hop as it was.", 16),
    _word("password", "`secretKeyRef: {name: …, key: …}` of a Kubernetes secret.", 17),
    _word("source_address", "UseNodeIP or None.", 18),
    _word("max_restart_time", "How long routes outlive a neighbour's restart, such as 120s.", 0),
    _word("num_allowed_local_as_numbers", "How often the own AS number may be in a route's path.", 23),
    _word("ttl_security", "Hops to the neighbour; packets that came farther are dropped.", 25),
    _word("reachable_by", "Address of the gateway to the neighbour.", 25),
    _word("filters", "Names of BGPFilter resources, in their order.", 26),
    _word("local_workload_selector", "Workloads of the node to peer with, instead of `peer_ip`.", 30),
    _word("next_hop_mode", "Auto, Self or Keep.", 31),
    _word("local_as_number", "The AS number that this peer sees instead of the node's.", 31),
    _word("reverse_peering", "Auto or Manual.", 31),
    _word("keepalive_time", "Time between keepalives, such as 30s.", 32),
)

BGP_SETTINGS = (
    _word("log_level", "Of BIRD: debug, info, warning, error, fatal; none (2.6)."),
    _word("name", "`default`: of all nodes; or `node.NAME`: of one node."),
    _word("listen_port", "The port of BIRD on all nodes (179).", 16),
    _word("service_cluster_ips", "Networks of cluster IPs to tell to peers, a list.", 10),
    _word("service_external_ips", "Networks of external IPs to tell to peers, a list.", 10),
    _word("service_load_balancer_ips", "Networks of load balancers' IPs to tell to peers, a list.", 0),
    _word("service_load_balancer_aggregation", "Enabled or Disabled.", 31),
    _word("communities", "Names for BGP communities: a list of {name, value}.", 16),
    _word("prefix_advertisements", "Communities of networks: a list of {cidr, communities}.", 16),
    _word("node_mesh_password", "`secretKeyRef: {name: …, key: …}`; not with the mesh off.", 23),
    _word("node_mesh_max_restart_time", "Of the mesh, such as 120s; not with the mesh off.", 23),
    _word("bind_mode", "None (BIRD listens on all addresses) or NodeIP.", 23),
    _word("ignored_interfaces", "Interfaces whose networks are not told, a list.", 25),
    _word("local_workload_peering_ipv4", "The address that local workloads peer with.", 30),
    _word("local_workload_peering_ipv6", "The same for IPv6.", 30),
    _word("program_cluster_routes", "Enabled or Disabled.", 32),
    _word("ipv4_normal_route_priority", "Priority of routes to workloads (1024).", 32),
    _word("ipv6_normal_route_priority", "The same for IPv6.", 32),
)
# Words of each kind of thing that the network section describes.
WORDS = {"pool": POOL_SETTINGS, "peer": PEER_SETTINGS, "bgp": BGP_SETTINGS}
# Words that a setting of its own decides: two sources for one value would hide one of them.
OWNED_WORDS = {
    "bgp": {"mesh": "network:mesh", "as_number": "network:as_number"},
    "felix": {"DatastoreType": "datastore"},
}
