"""The kinds of the v1 API."""

from .kinds import Kind

KINDS = (
    Kind(
        name="IPPool",
        document="ipPool",
        aliases=("ippool", "ippools", "ipp", "ipps", "pool", "pools"),
        identity=("cidr",),
        argument="cidr",
        columns={
            "CIDR": "{{.Metadata.CIDR}}",
            "NAT": "{{.Spec.NATOutgoing}}",
            "IPIP": "{{if .Spec.IPIP}}{{.Spec.IPIP.Enabled}}{{else}}false{{end}}",
        },
        ps=("CIDR",),
        wide=("CIDR", "NAT", "IPIP"),
    ),
    Kind(
        name="BGPPeer",
        document="bgpPeer",
        aliases=("bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"),
        identity=("node", "peerIP"),
        argument="peerIP",
        options=("scope", "node"),
        columns={
            "SCOPE": "{{.Metadata.Scope}}",
            "PEERIP": "{{.Metadata.PeerIP}}",
            "NODE": "{{.Metadata.Node}}",
            "ASN": "{{.Spec.ASNumber}}",
        },
        ps=("SCOPE", "PEERIP", "NODE", "ASN"),
        wide=("SCOPE", "PEERIP", "NODE", "ASN"),
    ),
    Kind(
        name="Node",
        document="node",
        aliases=("node", "nodes", "no", "nos"),
        columns={
            "NAME": "{{.Metadata.Name}}",
            "ASN": "{{if .Spec.BGP}}{{if .Spec.BGP.ASNumber}}{{.Spec.BGP.ASNumber}}"
            '{{else}}({{config "asnumber"}}){{end}}{{end}}',
            "IPV4": "{{if .Spec.BGP}}{{if .Spec.BGP.IPv4Address}}{{.Spec.BGP.IPv4Address}}{{end}}{{end}}",
            "IPV6": "{{if .Spec.BGP}}{{if .Spec.BGP.IPv6Address}}{{.Spec.BGP.IPv6Address}}{{end}}{{end}}",
        },
        ps=("NAME",),
        wide=("NAME", "ASN", "IPV4", "IPV6"),
        missing_is_error=True,
    ),
    Kind(
        name="WorkloadEndpoint",
        document="workloadEndpoint",
        aliases=("workloadendpoint", "workloadendpoints", "wep", "weps"),
        identity=("node", "orchestrator", "workload", "name"),
        options=("node", "orchestrator", "workload"),
        columns={
            "NODE": "{{.Metadata.Node}}",
            "ORCHESTRATOR": "{{.Metadata.Orchestrator}}",
            "WORKLOAD": "{{.Metadata.Workload}}",
            "NAME": "{{.Metadata.Name}}",
            "NETWORKS": '{{join .Spec.IPNetworks ","}}',
            "NATS": '{{join .Spec.IPNATs ","}}',
            "INTERFACE": "{{.Spec.InterfaceName}}",
            "PROFILES": '{{join .Spec.Profiles ","}}',
        },
        ps=("NODE", "ORCHESTRATOR", "WORKLOAD", "NAME"),
        wide=("NODE", "ORCHESTRATOR", "WORKLOAD", "NAME", "NETWORKS", "INTERFACE", "PROFILES"),
    ),
    Kind(
        name="HostEndpoint",
        document="hostEndpoint",
        aliases=("hostendpoint", "hostendpoints", "hep", "heps"),
        identity=("node", "name"),
        options=("node",),
        columns={
            "NAME": "{{.Metadata.Name}}",
            "NODE": "{{.Metadata.Node}}",
            "INTERFACE": "{{.Spec.InterfaceName}}",
            "IPS": '{{join .Spec.ExpectedIPs ","}}',
            "PROFILES": '{{join .Spec.Profiles ","}}',
        },
        ps=("NAME", "NODE"),
        wide=("NAME", "NODE", "INTERFACE", "IPS", "PROFILES"),
    ),
    Kind(
        name="Policy",
        document="policy",
        aliases=("policy", "policies", "pol", "pols"),
        columns={
            "NAME": "{{.Metadata.Name}}",
            "ORDER": "{{.Spec.Order}}",
            "SELECTOR": "{{.Spec.Selector}}",
        },
        ps=("NAME",),
        wide=("NAME", "ORDER", "SELECTOR"),
    ),
    Kind(
        name="Profile",
        document="profile",
        aliases=("profile", "profiles", "pro", "pros"),
        columns={
            "NAME": "{{.Metadata.Name}}",
            "TAGS": '{{join .Metadata.Tags ","}}',
        },
        ps=("NAME",),
        wide=("NAME", "TAGS"),
    ),
)
