"""
The kinds of the v1 API as data: names, identity, fields in the order in which Go prints them.

A schema maps a field to its type: a schema of its own, a list ``[type]``, or a name that
:mod:`documents` knows. What no schema names is refused.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    name: str
    shown: str  # as errors name it
    go_name: str  # of its struct, as errors about fields name it
    aliases: tuple
    metadata: dict
    spec: dict
    # Metadata that identifies one, in the order in which errors ask for it.
    identity: tuple
    # What the bare argument of get and delete stands for.
    argument: str
    # heading: function of resource -> text, by output
    columns: dict = field(default_factory=dict)
    # A list without this one is an error where it is asked for by name.
    missing_is_error: bool = False


ENTITY = {
    "tag": "text",
    "net": "network",
    "selector": "text",
    "ports": ["port"],
    "notTag": "text",
    "notNet": "network",
    "notSelector": "text",
    "notPorts": ["port"],
}
ICMP = {"type": "int", "code": "int"}
RULE = {
    "action": "text",
    "ipVersion": "int",
    "protocol": "protocol",
    "icmp": ICMP,
    "notProtocol": "protocol",
    "notICMP": ICMP,
    "source": ENTITY,
    "destination": ENTITY,
}
LABELS = {"*": "text"}


def _meta(name):
    return lambda resource, _inherited: resource["metadata"].get(name, "")


def _spec(*path):
    def value(resource, _inherited):
        found = resource.get("spec") or {}
        for part in path:
            found = (found or {}).get(part, "")
        return found

    return value


def _flag(*path):
    return lambda resource, inherited: "true" if _spec(*path)(resource, inherited) else "false"


def _listed(*path):
    return lambda resource, inherited: ",".join(_spec(*path)(resource, inherited) or [])


def _peer_as(resource, _inherited):
    return str((resource.get("spec") or {}).get("asNumber", 0))


def _node_as(resource, inherited):
    bgp = (resource.get("spec") or {}).get("bgp")
    if not bgp:
        return ""
    return str(bgp["asNumber"]) if "asNumber" in bgp else f"({inherited})"


def _order(resource, _inherited):
    order = (resource.get("spec") or {}).get("order")
    return "<no value>" if order is None else f"{order:g}"


IP_POOL = Kind(
    name="ipPool",
    shown="IPPool",
    go_name="IPPool",
    aliases=("ippool", "ippools", "ipp", "ipps", "pool", "pools"),
    metadata={"cidr": "network"},
    spec={
        "ipip": {"enabled": "bool", "mode": "ipip mode"},
        "nat-outgoing": "bool",
        "disabled": "bool",
    },
    identity=("cidr",),
    argument="cidr",
    columns={
        "CIDR": _meta("cidr"),
        "NAT": _flag("nat-outgoing"),
        "IPIP": _flag("ipip", "enabled"),
        "ps": ("CIDR",),
        "wide": ("CIDR", "NAT", "IPIP"),
    },
)
BGP_PEER = Kind(
    name="bgpPeer",
    shown="BGPPeer",
    go_name="BGPPeer",
    aliases=("bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"),
    metadata={"scope": "scope", "node": "text", "peerIP": "address"},
    spec={"asNumber": "as number"},
    identity=("node", "peerIP"),
    argument="peerIP",
    columns={
        "SCOPE": _meta("scope"),
        "PEERIP": _meta("peerIP"),
        "NODE": _meta("node"),
        "ASN": _peer_as,
        "ps": ("SCOPE", "PEERIP", "NODE", "ASN"),
        "wide": ("SCOPE", "PEERIP", "NODE", "ASN"),
    },
)
NODE = Kind(
    name="node",
    shown="Node",
    go_name="Node",
    aliases=("node", "nodes", "no", "nos"),
    metadata={"name": "text"},
    spec={
        "bgp": {"asNumber": "as number", "ipv4Address": "interface", "ipv6Address": "interface"},
        "orchRefs": [{"nodeName": "text", "orchestrator": "text"}],
    },
    identity=("name",),
    argument="name",
    columns={
        "NAME": _meta("name"),
        "ASN": _node_as,
        "IPV4": _spec("bgp", "ipv4Address"),
        "IPV6": _spec("bgp", "ipv6Address"),
        "ps": ("NAME",),
        "wide": ("NAME", "ASN", "IPV4", "IPV6"),
    },
    missing_is_error=True,
)
WORKLOAD_ENDPOINT = Kind(
    name="workloadEndpoint",
    shown="WorkloadEndpoint",
    go_name="WorkloadEndpoint",
    aliases=("workloadendpoint", "workloadendpoints", "wep", "weps"),
    metadata={
        "name": "text",
        "workload": "text",
        "orchestrator": "text",
        "node": "text",
        "activeInstanceID": "text",
        "labels": LABELS,
    },
    spec={
        "ipNetworks": ["network"],
        "ipNATs": [{"internalIP": "address", "externalIP": "address"}],
        "ipv4Gateway": "address",
        "ipv6Gateway": "address",
        "profiles": ["text"],
        "interfaceName": "text",
        "mac": "text",
    },
    identity=("node", "orchestrator", "workload", "name"),
    argument="name",
    columns={
        "NODE": _meta("node"),
        "ORCHESTRATOR": _meta("orchestrator"),
        "WORKLOAD": _meta("workload"),
        "NAME": _meta("name"),
        "NETWORKS": _listed("ipNetworks"),
        "INTERFACE": _spec("interfaceName"),
        "PROFILES": _listed("profiles"),
        "ps": ("NODE", "ORCHESTRATOR", "WORKLOAD", "NAME"),
        "wide": ("NODE", "ORCHESTRATOR", "WORKLOAD", "NAME", "NETWORKS", "INTERFACE", "PROFILES"),
    },
)
HOST_ENDPOINT = Kind(
    name="hostEndpoint",
    shown="HostEndpoint",
    go_name="HostEndpoint",
    aliases=("hostendpoint", "hostendpoints", "hep", "heps"),
    metadata={"name": "text", "node": "text", "labels": LABELS},
    spec={"interfaceName": "text", "expectedIPs": ["address"], "profiles": ["text"]},
    identity=("node", "name"),
    argument="name",
    columns={
        "NAME": _meta("name"),
        "NODE": _meta("node"),
        "INTERFACE": _spec("interfaceName"),
        "IPS": _listed("expectedIPs"),
        "PROFILES": _listed("profiles"),
        "ps": ("NAME", "NODE"),
        "wide": ("NAME", "NODE", "INTERFACE", "IPS", "PROFILES"),
    },
)
POLICY = Kind(
    name="policy",
    shown="Policy",
    go_name="Policy",
    aliases=("policy", "policies", "pol", "pols"),
    metadata={"name": "text", "annotations": LABELS},
    spec={
        "order": "float",
        "ingress": [RULE],
        "egress": [RULE],
        "selector": "text",
        "doNotTrack": "bool",
        "preDNAT": "bool",
        "types": ["text"],
    },
    identity=("name",),
    argument="name",
    columns={
        "NAME": _meta("name"),
        "ORDER": _order,
        "SELECTOR": _spec("selector"),
        "ps": ("NAME",),
        "wide": ("NAME", "ORDER", "SELECTOR"),
    },
)
PROFILE = Kind(
    name="profile",
    shown="Profile",
    go_name="Profile",
    aliases=("profile", "profiles", "pro", "pros"),
    metadata={"name": "text", "labels": LABELS, "tags": ["text"]},
    spec={"ingress": [RULE], "egress": [RULE]},
    identity=("name",),
    argument="name",
    columns={
        "NAME": _meta("name"),
        "TAGS": lambda resource, _inherited: ",".join(resource["metadata"].get("tags") or []),
        "ps": ("NAME",),
        "wide": ("NAME", "TAGS"),
    },
)
KINDS = (IP_POOL, BGP_PEER, NODE, WORKLOAD_ENDPOINT, HOST_ENDPOINT, POLICY, PROFILE)


def by_argument(word):
    """The kind that a word on the command line means, or None."""
    return next((kind for kind in KINDS if word.lower() in kind.aliases), None)


def by_document(api_version, name):
    """The kind that a document names, or None. Here the spelling counts."""
    if api_version != "v1":
        return None
    return next((kind for kind in KINDS if kind.name == name), None)
