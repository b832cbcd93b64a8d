"""What the v3 API demands of a resource beyond its fields' types; checked as it is written."""

import ipaddress
import re

from .errors import Invalid
from .selectors import is_selector

BLOCK_SIZES = {4: (20, 32), 6: (116, 128)}
DEFAULT_BLOCK = {4: 26, 6: 122}
LINK_LOCAL = {4: "169.254.0.0/16", 6: "fe80::/10"}
NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def check(version, schema, kind, resource):
    """Raise Invalid with all rules that the resource breaks by itself."""
    name = resource["metadata"].get("name", "")
    found = []
    if not re.fullmatch(NAME, name):
        reason = f"name must consist of lower case alphanumeric characters, '-' or '.' (regex: {NAME})"
        found.append(("Metadata.Name", name, reason))
    found += _tags(schema, f"{kind.name}Spec", resource["spec"])
    found += [(go, value, reason) for go, value, reason in _pairs(kind, resource["spec"])]
    if version.crd_checks and kind.name != "Node":
        found += _crd(schema, f"{kind.name}Spec", resource["spec"], "spec")
        found += [("spec", None, reason) for reason in _crd_pairs(kind, resource["spec"])]
    if found:
        raise Invalid(found)


def check_bgp_configuration(resource):
    """Some settings are for the whole cluster only."""
    if resource["metadata"].get("name") == "default":
        return
    for field, go, word in (
        ("asNumber", "ASNumber", "ASNumber"),
        ("nodeToNodeMeshEnabled", "NodeToNodeMeshEnabled", "nodeToNodeMeshEnabled"),
        ("serviceExternalIPs", "ServiceExternalIPs", "ServiceExternalIPs"),
        ("serviceClusterIPs", "ServiceClusterIPs", "ServiceClusterIPs"),
        ("nodeMeshPassword", "NodeMeshPassword", "NodeMeshPassword"),
        ("nodeMeshMaxRestartTime", "NodeMeshMaxRestartTime", "NodeMeshMaxRestartTime"),
    ):
        if resource["spec"].get(field) is not None:
            reason = f"Cannot set {word} on a non default BGP Configuration."
            raise Invalid([(f"BGPConfiguration.Spec.{go}", None, reason)])


def check_pool(version, resource, old, others):
    """The rules of a pool, also against the one it was and all others; puts its text in order."""
    spec = resource["spec"]
    network = _pool_network(spec)
    host_bits = ipaddress.ip_interface(spec["cidr"]).ip != network.network_address
    spec["cidr"] = str(network)
    if not spec.get("blockSize"):
        spec["blockSize"] = DEFAULT_BLOCK[network.version]
    if old is not None:
        if ipaddress.ip_network(old["spec"]["cidr"]) != network:
            _refuse_pool("CIDR", spec["cidr"], "IPPool CIDR cannot be modified")
        if old["spec"].get("blockSize") != spec["blockSize"]:
            _refuse_pool("BlockSize", spec["blockSize"], "IPPool BlockSize cannot be modified")
    _pool_modes(version, spec, network)
    low, high = BLOCK_SIZES[network.version]
    if not low <= spec["blockSize"] <= high:
        _refuse_pool("BlockSize", spec["blockSize"], f"block size must be between {low} and {high}")
    if network.prefixlen > spec["blockSize"]:
        reason = (
            "IP pool size is too small for use with Calico IPAM. "
            "It must be equal to or greater than the block size."
        )
        _refuse_pool("CIDR", spec["cidr"], reason)
    if host_bits:
        _refuse_pool("CIDR", spec["cidr"], "IPPool CIDR is not strictly masked")
    if network.overlaps(ipaddress.ip_network(LINK_LOCAL[network.version])):
        reason = (
            f"IPPool CIDR overlaps with IPv{network.version} Link Local range {LINK_LOCAL[network.version]}"
        )
        _refuse_pool("CIDR", spec["cidr"], reason)
    if old is None:
        _overlaps(resource["metadata"].get("name", ""), network, others)


def _pool_network(spec):
    cidr = spec.get("cidr", "")
    if not cidr:
        _refuse_pool("CIDR", "", "IPPool CIDR must be specified")
    try:
        if "/" not in cidr:
            raise ValueError
        return ipaddress.ip_interface(cidr).network
    except ValueError:
        _refuse_pool("CIDR", cidr, "IPPool CIDR must be a valid subnet")


def _pool_modes(version, spec, network):
    never = ("", "Never")
    ipip, vxlan = spec.get("ipipMode", ""), spec.get("vxlanMode", "")
    if network.version == 6 and ipip not in never:
        _refuse_pool("IPIPMode", ipip, "IPIP is not supported on an IPv6 IP pool")
    if network.version == 6 and vxlan not in never and version.number < (3, 23):
        _refuse_pool("VXLANMode", vxlan, "VXLAN is not supported on an IPv6 IP pool")
    if ipip not in never and vxlan not in never:
        _refuse_pool("VXLANMode", vxlan, "Cannot enable both VXLAN and IPIP on the same IPPool")


def _overlaps(name, network, others):
    for other in others:
        its = ipaddress.ip_network(other["spec"]["cidr"])
        its_name = other["metadata"]["name"]
        if its_name != name and its.version == network.version and its.overlaps(network):
            reason = f"IPPool({name}) CIDR overlaps with IPPool({its_name}) CIDR {its}"
            _refuse_pool("CIDR", str(network), reason)


def _refuse_pool(field, value, reason):
    raise Invalid([(f"IPPool.Spec.{field}", value, reason)])


# --- by field ------------------------------------------------------------------------------------


def _tags(schema, struct, values):
    """The fields whose value breaks the rule that Go's validator has for them."""
    found = []
    for key, field in schema.fields(struct).items():
        value = values.get(key)
        if value is None or value == "" or value == []:
            continue
        if field.type in schema:
            for item in value if field.repeated else [value]:
                found += _tags(schema, field.type, item)
        elif field.tag and not _RULES[field.tag](value):
            reason = f"Reason: failed to validate Field: {field.go} because of Tag: {field.tag} "
            found.append((field.go, value, reason))
    return found


def _crd(schema, struct, values, path):
    """What the custom resource definition says of the same fields."""
    found = []
    for key, field in schema.fields(struct).items():
        value = values.get(key)
        where = f"{path}.{key}"
        if value is None:
            continue
        if field.type in schema:
            for item in value if field.repeated else [value]:
                found += _crd(schema, field.type, item, where)
        elif field.enum and not field.repeated and value not in field.enum:
            known = ", ".join(f'"{word}"' for word in field.enum)
            found.append((where, None, f"supported values: {known}"))
        elif field.match and not re.search(field.match.replace("^(?i)", "(?i)^"), value):
            found.append((where, None, f"{where} in body should match '{field.match}'"))
    return found


def _pairs(kind, spec):
    """Fields that exclude each other."""
    if kind.name == "BGPPeer":
        if spec.get("node") and spec.get("nodeSelector"):
            yield "Node", spec["node"], "Node field must be empty when NodeSelector is specified"
        if spec.get("peerIP") and spec.get("peerSelector"):
            yield "PeerIP", spec["peerIP"], "PeerIP field must be empty when PeerSelector is specified"
        if spec.get("asNumber") and spec.get("peerSelector"):
            reason = "ASNumber field must be empty when PeerSelector is specified"
            yield "ASNumber", spec["asNumber"], reason
    if kind.name == "Node" and spec.get("bgp") == {}:
        yield "BGP", "{<nil>    }", "Reason: Spec.BGP should not be empty"


def _crd_pairs(kind, spec):
    if kind.name == "BGPPeer":
        if spec.get("node") and spec.get("nodeSelector"):
            yield "node and nodeSelector cannot both be set"
        if spec.get("peerIP") and spec.get("peerSelector"):
            yield "peerIP and peerSelector cannot both be set"


def _one_of(*words):
    return lambda value: value in words


def _any_case(*words):
    return lambda value: re.fullmatch("|".join(words), value, re.IGNORECASE) is not None


def _ip(version=None):
    def rule(value):
        try:
            found = ipaddress.ip_address(value)
        except ValueError:
            return False
        return version in (None, found.version)

    return rule


def _cidr(version=None):
    def rule(value):
        try:
            found = ipaddress.ip_interface(value)
        except ValueError:
            return False
        return "/" in value and version in (None, found.version)

    return rule


def _ip_and_port(value):
    address, port = value, None
    bracketed = re.fullmatch(r"\[(.+)\]:(\d+)", value)
    if bracketed:
        address, port = bracketed.groups()
    elif value.count(":") == 1:
        address, _, port = value.partition(":")
    return _ip()(address) and (port is None or (port.isdigit() and 0 < int(port) < 65536))


def _uses(value):
    return all(use in ("Workload", "Tunnel", "LoadBalancer") for use in value)


_RULES = {
    "name": lambda value: re.fullmatch(NAME, value) is not None,
    "selector": is_selector,
    "ipIpMode": _one_of("Never", "Always", "CrossSubnet"),
    "vxlanMode": _one_of("Never", "Always", "CrossSubnet"),
    "assignmentMode": _one_of("Automatic", "Manual"),
    "allowedUses": _uses,
    "mustBeNil": lambda _value: False,
    "mustBeFalse": lambda value: not value,
    "sourceAddress": _one_of("UseNodeIP", "None"),
    "logLevel": _any_case("Trace", "Debug", "Info", "Warning", "Error", "Fatal"),
    "bpfLogLevel": _any_case("Off", "Info", "Debug"),
    "dropAcceptReturn": _any_case("Drop", "Accept", "Return"),
    "acceptReturn": _any_case("Accept", "Return"),
    "dropReject": _any_case("Drop", "Reject"),
    "iptablesBackend": _any_case("Legacy", "NFT", "Auto"),
    "routeSource": _any_case("WorkloadIPs", "CalicoIPAM"),
    "IP:port": _ip_and_port,
    "ipv4": _ip(4),
    "cidrv4": _cidr(4),
    "cidrv6": _cidr(6),
    "net": lambda value: _cidr()(value) or _ip()(value),
}
