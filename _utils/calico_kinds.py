"""
The kinds of resources as data: what identifies them, and the fields that the formula has words for.

The words are those of the pillar, the same for all generations. A kind that no row names is written
and compared as it is. Pure data: no Salt, no side effects.
"""

import calico_felix
import calico_topology
from calico_forms import (
    Address,
    AddressAndPort,
    AsNumber,
    Blocks,
    Boolean,
    Community,
    ConfigurationName,
    Duration,
    Encapsulation,
    ListOf,
    LogLevel,
    Mapping,
    Name,
    Network,
    Number,
    OneOf,
    Port,
    Raw,
    Selector,
    SwitchAndMode,
    Text,
    Words,
)

# Kinds that every calicoctl of their generation writes: about others it is asked first.
USUAL = {
    "v1": {"bgpPeer", "hostEndpoint", "ipPool", "node", "policy", "profile", "workloadEndpoint"},
    "v3": {
        "BGPConfiguration",
        "BGPPeer",
        "ClusterInformation",
        "FelixConfiguration",
        "GlobalNetworkPolicy",
        "GlobalNetworkSet",
        "HostEndpoint",
        "IPPool",
        "NetworkPolicy",
        "NetworkSet",
        "Node",
        "Profile",
        "WorkloadEndpoint",
    },
}
API_VERSIONS = {"v1": "v1", "v3": "projectcalico.org/v3"}
# What can be declared in words -> its kind in each generation.
DECLARED = {
    "pool": {"v1": "ipPool", "v3": "IPPool"},
    "peer": {"v1": "bgpPeer", "v3": "BGPPeer"},
    "bgp": {"v1": "BGPConfiguration", "v3": "BGPConfiguration"},
    "felix": {"v1": "FelixConfiguration", "v3": "FelixConfiguration"},
    "node": {"v1": "node", "v3": "Node"},
}
POOL_KINDS = DECLARED["pool"]
PEER_KINDS = DECLARED["peer"]


class Field:
    """
    One field that the formula has a word for.

    word
        Its name in the pillar and in differences.
    path
        Where it lies in the resource.
    default
        The word that an absent field stands for, or a function of the resource.
    immutable
        True if the API refuses to change it.
    empty
        True if the API prints empty text where nothing is set.
    """

    def __init__(self, word, path, form, default=None, immutable=False, empty=False):
        self.word = word
        self.path = tuple(path.split("/"))
        self.form = form
        self.default = default
        self.immutable = immutable
        self.empty = empty


class Kind:
    """A kind of one generation: its name, what identifies it, and the fields we have words for."""

    def __init__(self, name, identity, fields):
        self.name = name
        self.identity = tuple(tuple(path.split("/")) for path in identity)
        self.fields = fields
        self.by_word = {field.word: field for field in fields}
        self.by_path = {field.path: field for field in fields}
        self.order = {field.path: number for number, field in enumerate(fields)}
        # Where only a mapping can lie, as there are fields below.
        self.inner = {field.path[:end] for field in fields for end in range(2, len(field.path))}


def at(resource, path):
    """What lies at ``path`` (names) of the resource, or None."""
    node = resource
    for name in path:
        if not isinstance(node, dict):
            return None
        node = node.get(name)
    return node


def put(resource, path, value):
    """Lay ``value`` at ``path`` of the resource; None takes away what lies there."""
    node = resource
    for name in path[:-1]:
        if not isinstance(node.get(name), dict):
            if value is None:
                return
            node[name] = {}
        node = node[name]
    if value is None:
        node.pop(path[-1], None)
    else:
        node[path[-1]] = value


def skeleton(kind, generation):
    """A resource of the kind that says nothing yet."""
    return {"apiVersion": API_VERSIONS[generation], "kind": kind.name, "metadata": {}, "spec": {}}


def _block_size(resource):
    return 122 if ":" in str(at(resource, ("spec", "cidr"))) else 26


def _of_all(value):
    """A default that only the settings of all nodes have; those of one node inherit."""
    return lambda resource: value if at(resource, ("metadata", "name")) == "default" else None


_V1_IPIP = SwitchAndMode(
    [{"enabled": False}, {"enabled": True, "mode": "always"}, {"enabled": True, "mode": "cross-subnet"}]
)
_V3_MODE = Encapsulation(["Never", "Always", "CrossSubnet"])
_LEVELS = ("debug", "info", "warning", "error")
_V1_LEVEL = LogLevel({**{word: word for word in _LEVELS}, "fatal": "critical", "none": "none"})
_V3_LEVEL = LogLevel({word: word.capitalize() for word in (*_LEVELS, "fatal")})
_SECRET = Mapping(
    "secretKeyRef with the name and the key of a Kubernetes secret",
    {"secretKeyRef": Mapping("name and key", {"name": Text(), "key": Text()}, {"optional": Boolean()})},
)
_COMMUNITY = Mapping(
    "a mapping with name and value: %s" % Community.accepted, {"name": Text(), "value": Community()}
)
_ADVERTISEMENT = Mapping(
    "a mapping with cidr and communities",
    {"cidr": Network()},
    {"communities": ListOf(Text())},
)
_SWITCH = Words("Enabled", "Disabled")

_NAME = Field("name", "metadata/name", Name(), immutable=True)
_OF_SETTINGS = Field("name", "metadata/name", ConfigurationName(), immutable=True)


def _raw(row):
    return Raw(row.form_of(*calico_felix.V1), row.name not in calico_felix.NEVER_NONE)


def _bgp_fields(level):
    number = calico_topology.DEFAULT_AS_NUMBER
    return [
        _OF_SETTINGS,
        Field("mesh", "spec/nodeToNodeMeshEnabled", Boolean(), _of_all(True)),
        Field("as_number", "spec/asNumber", AsNumber(), _of_all(number)),
        Field("log_level", "spec/logSeverityScreen", level, _of_all("info")),
    ]


_KINDS = [
    (
        "v1",
        Kind(
            "ipPool",
            ["metadata/cidr"],
            [
                Field("cidr", "metadata/cidr", Network(), immutable=True),
                Field("ipip", "spec/ipip", _V1_IPIP, "never"),
                Field("nat_outgoing", "spec/nat-outgoing", Boolean(), False),
                Field("disabled", "spec/disabled", Boolean(), False),
            ],
        ),
    ),
    (
        "v3",
        Kind(
            "IPPool",
            ["metadata/name"],
            [
                _NAME,
                Field("cidr", "spec/cidr", Network(), immutable=True),
                Field("ipip", "spec/ipipMode", _V3_MODE, "never"),
                Field("vxlan", "spec/vxlanMode", _V3_MODE, "never"),
                Field("nat_outgoing", "spec/natOutgoing", Boolean(), False),
                Field("disabled", "spec/disabled", Boolean(), False),
                Field("block_size", "spec/blockSize", Number(), _block_size, immutable=True),
                Field("node_selector", "spec/nodeSelector", Selector(), "all()"),
                Field(
                    "allowed_uses",
                    "spec/allowedUses",
                    ListOf(Words("Workload", "Tunnel", "LoadBalancer")),
                    ["Tunnel", "Workload"],
                ),
                Field("disable_bgp_export", "spec/disableBGPExport", Boolean(), False),
                Field("assignment_mode", "spec/assignmentMode", Words("Automatic", "Manual"), "Automatic"),
                Field("namespace_selector", "spec/namespaceSelector", Selector()),
            ],
        ),
    ),
    (
        "v1",
        Kind(
            "bgpPeer",
            ["metadata/scope", "metadata/node", "metadata/peerIP"],
            [
                Field("scope", "metadata/scope", OneOf("global", "node"), immutable=True),
                Field("node", "metadata/node", Text(), immutable=True),
                Field("peer_ip", "metadata/peerIP", Address(), immutable=True),
                Field("as_number", "spec/asNumber", AsNumber(), 0),
            ],
        ),
    ),
    (
        "v3",
        Kind(
            "BGPPeer",
            ["metadata/name"],
            [
                _NAME,
                Field("node", "spec/node", Text()),
                Field("node_selector", "spec/nodeSelector", Selector()),
                Field("peer_ip", "spec/peerIP", AddressAndPort()),
                Field("peer_selector", "spec/peerSelector", Selector()),
                Field("as_number", "spec/asNumber", AsNumber(), 0),
                Field("keep_original_next_hop", "spec/keepOriginalNextHop", Boolean(), False),
                Field("source_address", "spec/sourceAddress", Words("UseNodeIP", "None"), "UseNodeIP"),
                Field("max_restart_time", "spec/maxRestartTime", Duration()),
                Field("password", "spec/password", _SECRET),
                Field("num_allowed_local_as_numbers", "spec/numAllowedLocalASNumbers", Number(0)),
                Field("ttl_security", "spec/ttlSecurity", Number(0, 255)),
                Field("reachable_by", "spec/reachableBy", Address()),
                Field("filters", "spec/filters", ListOf(Text(), ordered=True)),
                Field("local_workload_selector", "spec/localWorkloadSelector", Selector()),
                Field("next_hop_mode", "spec/nextHopMode", Words("Auto", "Self", "Keep")),
                Field("local_as_number", "spec/localASNumber", AsNumber()),
                Field("reverse_peering", "spec/reversePeering", Words("Auto", "Manual")),
                Field("keepalive_time", "spec/keepaliveTime", Duration()),
            ],
        ),
    ),
    (
        "v1",
        Kind(
            "node",
            ["metadata/name"],
            [
                Field("name", "metadata/name", Text(), immutable=True),
                Field("as_number", "spec/bgp/asNumber", AsNumber()),
            ],
        ),
    ),
    (
        "v3",
        Kind(
            "Node",
            ["metadata/name"],
            [
                _NAME,
                Field("as_number", "spec/bgp/asNumber", AsNumber()),
                Field("route_reflector_cluster_id", "spec/bgp/routeReflectorClusterID", Address(4)),
            ],
        ),
    ),
    # Calico 2.6 has no such resources: these stand for what `calicoctl config` sets.
    ("v1", Kind("BGPConfiguration", ["metadata/name"], _bgp_fields(_V1_LEVEL))),
    (
        "v3",
        Kind(
            "BGPConfiguration",
            ["metadata/name"],
            [
                *_bgp_fields(_V3_LEVEL),
                Field("listen_port", "spec/listenPort", Port(), _of_all(calico_topology.BGP_PORT)),
                Field("service_cluster_ips", "spec/serviceClusterIPs", Blocks(), []),
                Field("service_external_ips", "spec/serviceExternalIPs", Blocks(), []),
                Field("service_load_balancer_ips", "spec/serviceLoadBalancerIPs", Blocks(), []),
                Field(
                    "service_load_balancer_aggregation",
                    "spec/serviceLoadBalancerAggregation",
                    _SWITCH,
                    "Enabled",
                ),
                Field("communities", "spec/communities", ListOf(_COMMUNITY), []),
                Field("prefix_advertisements", "spec/prefixAdvertisements", ListOf(_ADVERTISEMENT), []),
                Field("node_mesh_max_restart_time", "spec/nodeMeshMaxRestartTime", Duration()),
                Field("node_mesh_password", "spec/nodeMeshPassword", _SECRET),
                Field("bind_mode", "spec/bindMode", Words("None", "NodeIP"), "None"),
                Field("ignored_interfaces", "spec/ignoredInterfaces", ListOf(Text()), []),
                Field("local_workload_peering_ipv4", "spec/localWorkloadPeeringIPV4", Address(4)),
                Field("local_workload_peering_ipv6", "spec/localWorkloadPeeringIPV6", Address(6)),
                Field("program_cluster_routes", "spec/programClusterRoutes", _SWITCH),
                Field("ipv4_normal_route_priority", "spec/ipv4NormalRoutePriority", Number(1)),
                Field("ipv6_normal_route_priority", "spec/ipv6NormalRoutePriority", Number(1)),
            ],
        ),
    ),
    (
        "v1",
        Kind(
            "FelixConfiguration",
            ["metadata/name"],
            [
                _OF_SETTINGS,
                *(
                    Field(row.name, "spec/" + row.name, _raw(row))
                    for row in calico_felix.ROWS
                    if row.since is None
                ),
            ],
        ),
    ),
    (
        "v3",
        Kind(
            "FelixConfiguration",
            ["metadata/name"],
            [
                _NAME,
                *(
                    Field(row.field, "spec/" + row.field, row.form, empty=True)
                    for row in calico_felix.ROWS
                    if row.field
                ),
            ],
        ),
    ),
]
KINDS = {(generation, kind.name): kind for generation, kind in _KINDS}

# Of kinds that no row names: fields whose value is a set, so that their order means nothing …
SETS = {
    "allowedUses",
    "reservedCIDRs",
    "serviceClusterIPs",
    "serviceExternalIPs",
    "serviceLoadBalancerIPs",
    "communities",
}
# … and switches that the API leaves out of what it prints where they are off.
ABSENT_IS_FALSE = {"applyOnForward", "doNotTrack", "preDNAT"}
