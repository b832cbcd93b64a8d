"""The kinds of the v3 API."""

from dataclasses import replace

from .kinds import Kind

# Columns that not all versions have.
COLUMNS_SINCE = {"ASSIGNMENTMODE": (3, 30), "TIER": (3, 29)}
NAME = {"NAME": "{{.ObjectMeta.Name}}"}
NAMESPACED = {"NAMESPACE": "{{.ObjectMeta.Namespace}}", **NAME}


def _policy(name, plural, aliases, namespaced=False):
    """One policy as versions with and without tiers show it."""
    columns = {
        **(NAMESPACED if namespaced else NAME),
        "TIER": "{{.Spec.Tier}}",
        "ORDER": "{{.Spec.Order}}",
        "SELECTOR": "{{.Spec.Selector}}",
    }
    return Kind(
        name=name,
        plural=plural,
        aliases=aliases,
        namespaced=namespaced,
        columns=columns,
        ps=("NAME", "TIER"),
        wide=("NAME", "TIER", "ORDER", "SELECTOR"),
    )


KINDS = (
    Kind(
        name="IPPool",
        plural="ippools",
        aliases=("ippool", "ippools", "ipp", "ipps", "pool", "pools"),
        columns={
            **NAME,
            "CIDR": "{{.Spec.CIDR}}",
            "NAT": "{{.Spec.NATOutgoing}}",
            "IPIPMODE": "{{.Spec.IPIPMode}}",
            "VXLANMODE": "{{.Spec.VXLANMode}}",
            "DISABLED": "{{.Spec.Disabled}}",
            "DISABLEBGPEXPORT": "{{.Spec.DisableBGPExport}}",
            "SELECTOR": "{{.Spec.NodeSelector}}",
            "ASSIGNMENTMODE": "{{.Spec.AssignmentMode}}",
        },
        ps=("NAME", "CIDR", "SELECTOR"),
        wide=(
            "NAME",
            "CIDR",
            "NAT",
            "IPIPMODE",
            "VXLANMODE",
            "DISABLED",
            "DISABLEBGPEXPORT",
            "SELECTOR",
            "ASSIGNMENTMODE",
        ),
    ),
    Kind(
        name="BGPPeer",
        plural="bgppeers",
        aliases=("bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"),
        columns={
            **NAME,
            "PEERIP": "{{.Spec.PeerIP}}",
            "NODE": "{{if .Spec.Node}}{{.Spec.Node}}{{else if .Spec.NodeSelector}}"
            "{{.Spec.NodeSelector}}{{else}}(global){{end}}",
            "ASN": "{{.Spec.ASNumber}}",
        },
        ps=("NAME", "PEERIP", "NODE", "ASN"),
        wide=("NAME", "PEERIP", "NODE", "ASN"),
    ),
    Kind(
        name="BGPConfiguration",
        plural="bgpconfigurations",
        aliases=("bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"),
        columns={
            **NAME,
            "LOGSEVERITY": "{{.Spec.LogSeverityScreen}}",
            "MESHENABLED": "{{if .Spec.NodeToNodeMeshEnabled}}{{.Spec.NodeToNodeMeshEnabled}}"
            "{{else}}-{{end}}",
            "ASNUMBER": "{{if .Spec.ASNumber}}{{.Spec.ASNumber}}{{else}}-{{end}}",
        },
        ps=("NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"),
        wide=("NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"),
    ),
    Kind(
        name="BGPFilter",
        plural="bgpfilters",
        aliases=("bgpfilter", "bgpfilters"),
        columns=NAME,
        ps=("NAME",),
        wide=("NAME",),
        since=(3, 26),
    ),
    Kind(
        name="FelixConfiguration",
        plural="felixconfigurations",
        aliases=("felixconfiguration", "felixconfigurations", "felixconfig", "felixconfigs"),
        columns={
            **NAME,
            "LOGSEVERITY": "{{.Spec.LogSeverityScreen}}",
        },
        ps=("NAME",),
        wide=("NAME",),
    ),
    Kind(
        name="Node",
        plural="nodes",
        aliases=("node", "nodes", "no", "nos"),
        columns={
            **NAME,
            "ASN": "{{if .Spec.BGP}}{{if .Spec.BGP.ASNumber}}{{.Spec.BGP.ASNumber}}"
            '{{else}}({{config "asnumber"}}){{end}}{{end}}',
            "IPV4": "{{if .Spec.BGP}}{{if .Spec.BGP.IPv4Address}}{{.Spec.BGP.IPv4Address}}{{end}}{{end}}",
            "IPV6": "{{if .Spec.BGP}}{{if .Spec.BGP.IPv6Address}}{{.Spec.BGP.IPv6Address}}{{end}}{{end}}",
        },
        ps=("NAME",),
        wide=("NAME", "ASN", "IPV4", "IPV6"),
    ),
    Kind(
        name="ClusterInformation",
        plural="clusterinformations",
        aliases=("clusterinformation", "clusterinformations", "clusterinfo", "clusterinfos"),
        columns={
            **NAME,
            "CLUSTERGUID": "{{.Spec.ClusterGUID}}",
            "CLUSTERTYPE": "{{.Spec.ClusterType}}",
            "CALICOVERSION": "{{.Spec.CalicoVersion}}",
            "DATASTOREREADY": "{{if .Spec.DatastoreReady}}{{.Spec.DatastoreReady}}{{end}}",
        },
        ps=("NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"),
        wide=("NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"),
        readonly=True,
    ),
    Kind(
        name="WorkloadEndpoint",
        plural="workloadendpoints",
        aliases=("workloadendpoint", "workloadendpoints", "wep", "weps"),
        namespaced=True,
        columns={
            **NAMESPACED,
            "WORKLOAD": "{{if .Spec.Workload}}{{.Spec.Workload}}{{else}}{{.Spec.Pod}}{{end}}",
            "NODE": "{{.Spec.Node}}",
            "ORCHESTRATOR": "{{.Spec.Orchestrator}}",
            "NETWORKS": '{{join .Spec.IPNetworks ","}}',
            "INTERFACE": "{{.Spec.InterfaceName}}",
            "PROFILES": '{{join .Spec.Profiles ","}}',
            "NATS": '{{join .Spec.IPNATs ","}}',
        },
        ps=("WORKLOAD", "NODE", "NETWORKS", "INTERFACE"),
        wide=("NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"),
    ),
    Kind(
        name="HostEndpoint",
        plural="hostendpoints",
        aliases=("hostendpoint", "hostendpoints", "hep", "heps"),
        columns={
            **NAME,
            "NODE": "{{.Spec.Node}}",
            "INTERFACE": "{{.Spec.InterfaceName}}",
            "IPS": '{{join .Spec.ExpectedIPs ","}}',
            "PROFILES": '{{join .Spec.Profiles ","}}',
        },
        ps=("NAME", "NODE"),
        wide=("NAME", "NODE", "INTERFACE", "IPS", "PROFILES"),
    ),
    _policy(
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        ("globalnetworkpolicy", "globalnetworkpolicies", "gnp", "gnps"),
    ),
    _policy(
        "NetworkPolicy",
        "networkpolicies",
        ("networkpolicy", "networkpolicies", "policy", "np", "policies", "pol", "pols"),
        namespaced=True,
    ),
    Kind(
        name="GlobalNetworkSet",
        plural="globalnetworksets",
        aliases=("globalnetworkset", "globalnetworksets"),
        columns={**NAME, "NETS": '{{join .Spec.Nets ","}}'},
        ps=("NAME",),
        wide=("NAME", "NETS"),
    ),
    Kind(
        name="NetworkSet",
        plural="networksets",
        aliases=("networkset", "networksets", "netsets"),
        namespaced=True,
        columns={**NAMESPACED, "NETS": '{{join .Spec.Nets ","}}'},
        ps=("NAME",),
        wide=("NAME", "NETS"),
    ),
    Kind(
        name="Profile",
        plural="profiles",
        aliases=("profile", "profiles", "pro", "pros"),
        columns={**NAME, "LABELS": "{{.Spec.LabelsToApply}}"},
        ps=("NAME",),
        wide=("NAME", "LABELS"),
    ),
    Kind(
        name="IPReservation",
        plural="ipreservations",
        aliases=("ipreservation", "ipreservations", "reservation", "reservations"),
        columns={**NAME, "CIDRS": '{{join .Spec.ReservedCIDRs ","}}'},
        ps=("NAME", "CIDRS"),
        wide=("NAME", "CIDRS"),
    ),
    Kind(
        name="KubeControllersConfiguration",
        plural="kubecontrollersconfigurations",
        aliases=(
            "kubecontrollersconfiguration",
            "kubecontrollersconfigurations",
            "kubecontrollersconfig",
            "kubecontrollersconfigs",
        ),
        columns=NAME,
        ps=("NAME",),
        wide=("NAME",),
    ),
    Kind(
        name="Tier",
        plural="tiers",
        aliases=("tier", "tiers"),
        columns={**NAME, "ORDER": "{{.Spec.Order}}"},
        ps=("NAME", "ORDER"),
        wide=("NAME", "ORDER"),
        since=(3, 29),
    ),
)


def kinds_of(number):
    """The kinds that a version knows, each with the columns that it knows."""

    def known(names):
        return tuple(name for name in names if COLUMNS_SINCE.get(name, number) <= number)

    return [
        replace(
            kind,
            columns={name: kind.columns[name] for name in known(kind.columns)},
            ps=known(kind.ps),
            wide=known(kind.wide),
        )
        for kind in KINDS
        if kind.since <= number
    ]
