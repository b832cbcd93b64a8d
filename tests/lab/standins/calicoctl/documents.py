"""Input files: YAML to resources, strictly. Field types of the v1 API."""

import ipaddress
import re

from .errors import BadFile, CtlError
from .kinds import by_document

_FLOW_END = re.compile(r"expected ',' or '([\]}])'")
MINIMUM_BLOCK = {4: 26, 6: 122}
LINK_LOCAL = {4: ("Link Local range 169.254.0.0/16", "169.254.0.0/16"), 6: ("Link Local", "fe80::/10")}


def parse_yaml(text):
    """All documents in TEXT; errors in the words of Go's YAML library."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return [document for document in yaml.load_all(text, Loader=loader) if document is not None]
    except yaml.YAMLError as error:
        raise BadFile(f"error parsing document: yaml: {_go_words(error)}") from None


def _go_words(error):
    mark = getattr(error, "context_mark", None) or getattr(error, "problem_mark", None)
    line = (mark.line if mark else 0) + 1
    problem = str(getattr(error, "problem", error))
    found = _FLOW_END.search(problem) or re.search("flow sequence()", str(error))
    if found:
        return f"line {line}: did not find expected ',' or '{found.group(1) or ']'}'"
    return f"line {line}: {problem}"


def load(text):
    """[(kind, resource), …] of an input file."""
    found = []
    for document in parse_yaml(text):
        for item in document if isinstance(document, list) else [document]:
            found.append(decode(item))
    return found


def decode(document):
    """(kind, resource) of one document: checked, and only with what it says."""
    if not isinstance(document, dict):
        raise BadFile(f"error parsing document: cannot unmarshal {document!r} into a resource")
    version, name = document.get("apiVersion") or "", document.get("kind") or ""
    kind = by_document(version, name)
    if kind is None:
        raise BadFile(f"Unknown resource type ({name}) and/or version ({version})")
    schema = {"kind": "text", "apiVersion": "text", "metadata": kind.metadata, "spec": kind.spec}
    resource = _struct(document, schema, kind.go_name)
    resource = {
        "kind": kind.name,
        "apiVersion": "v1",
        "metadata": resource.get("metadata") or {},
        "spec": resource.get("spec") or {},
    }
    _validate(kind, resource)
    return kind, resource


def _struct(value, schema, go_name):
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(f"json: cannot unmarshal into Go value of type {go_name}")
    if "*" in schema:
        return {str(key): _typed(item, schema["*"], go_name, key) for key, item in value.items()}
    for key in value:
        if key not in schema:
            raise _bad(f"field in document is not recognized or is in the wrong location: {key}")
    result = {}
    for key, kind in schema.items():
        if value.get(key) is not None:
            result[key] = _typed(value[key], kind, go_name, key)
    return result


def _typed(value, kind, go_name, key):
    if isinstance(kind, dict):
        return _struct(value, kind, go_name + key[0].upper() + key[1:])
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise _bad(f"cannot parse {value!r} into field {go_name}.{key} of type list")
        return [_typed(item, kind[0], go_name, key) for item in value]
    return _TYPES[kind](value, f"{go_name}.{key}")


def _bad(text):
    return BadFile(f"error parsing document: {text}")


def _bool(value, where):
    if isinstance(value, bool):
        return value
    # The field of a struct, as Go names it: IPPoolSpec.nat-outgoing
    struct, _, key = where.rpartition(".")
    raise _bad(f"cannot parse {_described(value)} into field {struct}.{key} of type bool")


def _described(value):
    return f"string '{value}'" if isinstance(value, str) else f"number '{value}'"


def _text(value, where):
    if isinstance(value, (dict, list)):
        raise _bad(f"cannot parse {value!r} into field {where} of type string")
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _int(value, where):
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(f"cannot parse {_described(value)} into field {where} of type int")
    return value


def _float(value, where):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _bad(f"cannot parse {_described(value)} into field {where} of type float64")
    return value


def _network(value, _where):
    try:
        interface = ipaddress.ip_interface(str(value))
    except ValueError:
        raise _bad(f"invalid IP address: {value}") from None
    return f"{interface.ip}/{interface.network.prefixlen}"


def _interface(value, where):
    return _network(value, where)


def _address(value, _where):
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise _bad(f"invalid IP address: {value}") from None


def as_number(value):
    """The plain number that a number, its text, or a dotted one means; None if it is none."""
    text = str(value)
    dotted = re.fullmatch(r"(\d{1,5})\.(\d{1,5})", text)
    if dotted and all(int(part) < 65536 for part in dotted.groups()):
        return int(dotted[1]) * 65536 + int(dotted[2])
    if re.fullmatch(r"\d{1,10}", text) and int(text) < 2**32:
        return int(text)
    return None


def _as_number(value, _where):
    number = as_number(value)
    if number is None or isinstance(value, bool):
        if isinstance(value, (int, float)):
            raise _bad("json: cannot unmarshal number into Go value of type string")
        raise _bad(f"invalid AS Number format ({value})")
    return number


def _port(value, _where):
    return value if isinstance(value, int) else _text(value, "Port")


_TYPES = {
    "text": _text,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "network": _network,
    "interface": _interface,
    "address": _address,
    "as number": _as_number,
    "port": _port,
    "protocol": lambda value, _where: value,
    # Checked once the document is decoded.
    "ipip mode": _text,
    "scope": _text,
}


def _validate(kind, resource):
    metadata, spec = resource["metadata"], resource["spec"]
    if kind.name == "ipPool":
        _validate_pool(metadata, spec)
    elif kind.name == "bgpPeer":
        scope = metadata.get("scope", "")
        if scope not in ("global", "node", ""):
            raise BadFile(f"error with field scope = '{scope}'")
        if scope == "global" and metadata.get("node"):
            reason = "no BGP Peer node name should be specified when scope is global"
            raise BadFile(f"error with field Metadata.Node = '{metadata['node']}' ({reason})")
    elif kind.name == "node" and "bgp" in spec:
        bgp = spec["bgp"]
        if not bgp.get("ipv4Address") and not bgp.get("ipv6Address"):
            raise BadFile("error with field BGP.IPv4Address = '' (no BGP IP address and subnet specified)")


def _validate_pool(metadata, spec):
    mode = (spec.get("ipip") or {}).get("mode", "")
    if mode not in ("", "always", "cross-subnet"):
        raise BadFile(f"error with field mode = '{mode}'")
    if "cidr" not in metadata:
        return
    interface = ipaddress.ip_interface(metadata["cidr"])
    network = interface.network

    def refuse(reason):
        raise BadFile(f"error with field CIDR = '{metadata['cidr']}' ({reason})")

    if (spec.get("ipip") or {}).get("enabled") and network.version == 6:
        raise BadFile("error with field ipip.enabled = 'true' (IPIP is not supported on an IPv6 IP pool)")
    if not spec.get("disabled") and network.prefixlen > MINIMUM_BLOCK[network.version]:
        refuse(f"IP pool size is too small (min /{MINIMUM_BLOCK[network.version]}) for use with Calico IPAM")
    if interface.ip != network.network_address:
        refuse("IP pool CIDR is not strictly masked")
    name, link_local = LINK_LOCAL[network.version]
    if network.overlaps(ipaddress.ip_network(link_local)):
        refuse(f"IP pool range overlaps with IPv{network.version} {name}")


def required(kind, metadata):
    """Raise where METADATA does not identify one resource of this kind."""
    wanted = kind.identity
    if kind.name == "bgpPeer" and metadata.get("scope") == "global":
        wanted = ("peerIP",)
    for name in wanted:
        if not metadata.get(name):
            raise CtlError(f"insufficient identifiers, missing '{name}'")
