"""What differs between calico/node's generations, as data."""

from __future__ import annotations

from dataclasses import dataclass

_INTERNAL = ("docker.*", "cbr.*", "lxcbr.*", "virbr.*", "dummy.*", "veth.*", "lo")


@dataclass(frozen=True)
class Generation:
    """One generation: its defaults, its datastore layout, its BIRD configuration."""

    layout: str  # the module that knows the keys
    startup: str  # the module that registers the node
    # Where the start-up leaves the node's name for the services; without, they find it out again.
    node_name_file: str
    commands: dict[str, str]  # name -> the program behind it, for `docker run` and `docker exec`
    # How Felix and confd show themselves: a process name, and the command line where it matters.
    felix: tuple[str, ...]
    confd: tuple[str, ...]
    felix_tables: str  # the kind of iptables that Felix writes; empty: as it is told, or finds out
    hears_while_starting: bool  # whether SIGTERM ends the container while its start-up runs
    health_opens_first: bool  # whether Felix answers, not ready, before it has read the datastore
    refuses_loose_rpf: bool  # whether Felix ends where net.ipv4.conf.all.rp_filter is 2
    health_host: str  # what Felix listens on where nobody says; empty: everywhere
    detection: tuple[str, ...]  # the methods to find the host's own address
    internal_interfaces: tuple[str, ...]  # that container runtimes and Calico itself make
    default_pools: dict[int, str]  # IP version -> CIDR of the pool made when there is none
    smallest_pool: dict[int, int]  # IP version -> longest prefix a pool may have
    # What the node with the lower address says of a mesh session.
    mesh_waits: tuple[str, ...]
    reflectors_mesh: bool  # whether route reflectors are part of the mesh
    bgp_filter: str
    kernel_filter: str
    kernel: tuple[str, ...]
    direct: tuple[str, ...]
    peer: tuple[str, ...]
    # Whether each session says from which address, or their template does once.
    peers_name_source: bool


_TIMERS = ("connect delay time 2", "connect retry time 5", "error wait time 5,30")
_KERNEL = ("learn", "persist", "scan time 2", "import all")
_PEER = ("multihop", "gateway recursive", "import all")

V2 = Generation(
    layout="layout_v1",
    startup="startup_v2",
    node_name_file="",
    commands={"versions": "versions.py"},
    felix=("calico-felix",),
    confd=("confd",),
    felix_tables="legacy",
    hears_while_starting=False,
    health_opens_first=True,
    refuses_loose_rpf=True,
    health_host="",
    detection=("first-found", "can-reach", "interface", "skip-interface"),
    internal_interfaces=(*_INTERNAL, "cali.*", "tunl.*", "flannel.*", "kube-ipvs.*"),
    default_pools={4: "192.168.0.0/16", 6: "fd80:24e2:f998:72d6::/64"},
    smallest_pool={4: 26, 6: 122},
    # Both sides connect. Where they do so within one second, BIRD may drop the session that it has
    # and the routes with it; that is chance, so here one side gives the other time to be first.
    mesh_waits=("connect delay time 30",),
    reflectors_mesh=True,
    bgp_filter="calico_pools",
    kernel_filter="calico_ipip",
    kernel=(*_KERNEL, "graceful restart"),
    direct=('interface -"cali*", "*"',),
    peer=(*_PEER, "next hop self", "add paths on", "graceful restart", *_TIMERS),
    peers_name_source=False,
)

V3 = Generation(
    layout="layout_v3",
    startup="startup_v3",
    node_name_file="/var/lib/calico/nodename",
    commands={"calico-node": "calico_node.py"},
    felix=("calico-node", "-felix"),
    confd=("calico-node", "-confd"),
    felix_tables="",
    hears_while_starting=True,
    health_opens_first=False,
    refuses_loose_rpf=False,
    health_host="localhost",
    detection=("first-found", "can-reach", "interface", "skip-interface", "cidr"),
    internal_interfaces=tuple(
        f"^{name}"
        for name in (
            *_INTERNAL,
            *("podman.*", "br-.*", "cali.*", "tunl.*", "flannel.*", "kube-ipvs.*", "cni.*"),
            *("vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali", "nodelocaldns.*"),
        )
    ),
    default_pools={4: "192.168.0.0/16"},  # for IPv6, one by lot
    smallest_pool={},  # a matter of the API
    mesh_waits=("passive on",),
    reflectors_mesh=False,
    bgp_filter="calico_export_to_bgp_peers",
    kernel_filter="calico_kernel_programming",
    kernel=(*_KERNEL, "graceful restart", "merge paths on"),
    direct=('interface -"cali*", -"kube-ipvs*", "*"',),
    peer=(*_PEER, "add paths on", "graceful restart", *_TIMERS),
    peers_name_source=True,
)

_BY_MAJOR = {2: V2, 3: V3}


def of(version: str) -> Generation:
    """The generation of a version such as ``v2.6.2``."""
    major = int(version.lstrip("v").split(".")[0])
    try:
        return _BY_MAJOR[major]
    except KeyError:
        known = ", ".join(f"v{number}" for number in sorted(_BY_MAJOR))
        raise SystemExit(f"no stand-in for calico/node {version}; known: {known}") from None
