"""What the v1 API demands of a resource beyond its fields' types; checked as a file is read."""

import ipaddress

from .errors import BadFile, CtlError, Invalid

MINIMUM_BLOCK = {4: 26, 6: 122}
LINK_LOCAL = {4: ("Link Local range 169.254.0.0/16", "169.254.0.0/16"), 6: ("Link Local", "fe80::/10")}


def check(kind, resource):
    """Raise BadFile where a rule is broken."""
    found = _CHECKS.get(kind.name, lambda _metadata, _spec: None)(resource["metadata"], resource["spec"])
    if found:
        raise BadFile(str(Invalid([found])))


def _pool(metadata, spec):
    ipip = spec.get("ipip") or {}
    mode = ipip.get("mode", "")
    if mode not in ("", "always", "cross-subnet"):
        return "mode", mode, ""
    if "cidr" not in metadata:
        return None
    cidr = metadata["cidr"]
    interface = ipaddress.ip_interface(cidr)
    network = interface.network
    if ipip.get("enabled") and network.version == 6:
        return "ipip.enabled", "true", "IPIP is not supported on an IPv6 IP pool"
    smallest = MINIMUM_BLOCK[network.version]
    if not spec.get("disabled") and network.prefixlen > smallest:
        return "CIDR", cidr, f"IP pool size is too small (min /{smallest}) for use with Calico IPAM"
    if interface.ip != network.network_address:
        return "CIDR", cidr, "IP pool CIDR is not strictly masked"
    name, link_local = LINK_LOCAL[network.version]
    if network.overlaps(ipaddress.ip_network(link_local)):
        return "CIDR", cidr, f"IP pool range overlaps with IPv{network.version} {name}"
    return None


def _peer(metadata, _spec):
    scope = metadata.get("scope", "")
    if scope not in ("global", "node", ""):
        return "scope", scope, ""
    if scope == "global" and metadata.get("node"):
        reason = "no BGP Peer node name should be specified when scope is global"
        return "Metadata.Node", metadata["node"], reason
    return None


def _node(_metadata, spec):
    bgp = spec.get("bgp")
    if bgp is not None and not bgp.get("ipv4Address") and not bgp.get("ipv6Address"):
        return "BGP.IPv4Address", "", "no BGP IP address and subnet specified"
    return None


_CHECKS = {"IPPool": _pool, "BGPPeer": _peer, "Node": _node}


def identify(kind, metadata):
    """Raise where METADATA does not identify one resource of this kind."""
    wanted = kind.identity
    if kind.name == "BGPPeer" and metadata.get("scope") == "global":
        wanted = ("peerIP",)
    for name in wanted:
        if not metadata.get(name):
            raise CtlError(f"insufficient identifiers, missing '{name}'")
