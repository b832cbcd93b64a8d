"""
What ``ip`` prints for people, in the shape of what it prints with ``-json``.

Old releases of iproute2 do not know ``-json`` (CentOS 7, Ubuntu 16.04), or know it for addresses only (4.15).
Pure: no Salt, no programs.
"""

import ipaddress
import re

_LINK = r"[0-9]+: ([^:@\s]+)(?:@[^:\s]+)?: <([^>]*)> mtu ([0-9]+)(.*)"
_KINDS_OF_ROUTES = (
    *("unicast", "local", "broadcast", "multicast", "anycast", "nat"),
    *("blackhole", "unreachable", "prohibit", "throw"),
)
# Words of a route that have a value which somebody asks for, and its name in JSON.
_OF_ROUTES = {"dev": "dev", "proto": "protocol", "scope": "scope", "src": "prefsrc", "metric": "metric"}
_FLAGS_OF_ROUTES = ("onlink", "dead", "linkdown", "pervasive", "offload", "notify", "unresolved")


def links(text):
    """
    The interfaces in the output of ``ip address show``, with or without ``-details``.

    Returns dicts as ``ip -json`` has them: ifname, flags, mtu, operstate, link_type, address, linkinfo,
    addr_info. Raises ValueError for what is no such output.
    """
    found = []
    for line in text.splitlines():
        head = re.fullmatch(_LINK, line)
        words = line.split()
        if head:
            found.append(_link(head))
        elif words and not (found and line[0].isspace()):
            raise ValueError("no interface begins with %r" % line[:60])
        elif words:
            _of_link(found[-1], words)
    return found


def _link(head):
    name, flags, mtu, rest = head.groups()
    words = rest.split()
    state = words[words.index("state") + 1] if "state" in words[:-1] else "UNKNOWN"
    return {
        "ifname": name,
        "flags": [flag for flag in flags.split(",") if flag],
        "mtu": int(mtu),
        "operstate": state,
        "addr_info": [],
    }


def _of_link(link, words):
    """One further line of an interface."""
    if words[0].startswith("link/"):
        link["link_type"] = words[0].partition("/")[2]
        if len(words) > 1:
            link["address"] = words[1]
    elif words[0] in ("inet", "inet6"):
        local = words[1].partition("/")[0]
        # Of an address with a peer, the prefix is the peer's.
        given = words[3] if words[2:3] == ["peer"] else words[1]
        bits = ipaddress.ip_address(local).max_prefixlen
        length = int(given.partition("/")[2] or bits)
        link["addr_info"].append({"family": words[0], "local": local, "prefixlen": length})
    elif "linkinfo" not in link and not link["addr_info"] and _is_kind(words[0]):
        link["linkinfo"] = {"info_kind": words[0]}


def _is_kind(word):
    """Whether a line of ``-details`` begins with the interface's kind (veth); bridge_slave is none."""
    return bool(re.fullmatch("[a-z][a-z0-9]*", word)) and word not in ("alias", "altname", "vf")


def routes(text):
    """
    The routes in the output of ``ip route show``.

    Returns dicts as ``ip -json`` has them: type (where it is not unicast), dst, gateway or via, dev,
    protocol, scope, prefsrc, metric, flags, nexthops. Raises ValueError for what is no such output.
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if not line[0].isspace():
            found.append(_route(words))
        elif not found:
            raise ValueError("no route begins with %r" % line[:60])
        elif words[0] == "nexthop":
            found[-1].setdefault("nexthops", []).append(_hop(words[1:]))
    return found


def _route(words):
    route = {}
    if words[0] in _KINDS_OF_ROUTES:
        route["type"] = words[0]
        words = words[1:]
    if not words or not (words[0] == "default" or ipaddress.ip_network(words[0], strict=False)):
        raise ValueError("a route without a destination")
    return dict(route, dst=words[0], **_hop(words[1:]))


def _hop(words):
    found = {"flags": [word for word in words if word in _FLAGS_OF_ROUTES]}
    rest = iter(words)
    for word in rest:
        if word == "via":
            gateway = next(rest, "")
            if gateway in ("inet", "inet6"):
                found["via"] = {"family": gateway, "host": next(rest, "")}
            else:
                found["gateway"] = gateway
        elif word in _OF_ROUTES:
            value = next(rest, "")
            found[_OF_ROUTES[word]] = int(value) if word == "metric" else value
    return found
