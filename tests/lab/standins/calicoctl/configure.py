"""``calicoctl config get|set|unset``: settings of the v1 API that are no resources."""

import json

from .blocks import dumps
from .errors import CtlError
from .keys_v1 import BGP, V1
from .scalars import as_number

DEFAULT_LEVEL = "info"
# Felix's level: BIRD's
LEVELS = {
    "none": "none",
    "debug": "debug",
    "info": "info",
    "warning": "none",
    "error": "none",
    "critical": "none",
}
RAW = {
    "felix": (f"{V1}/config", f"{V1}/host/{{node}}/config"),
    "bgp": (f"{BGP}/global", f"{BGP}/host/{{node}}"),
}


def run(client, action, name, value, node, raw):
    """Do it, and return what is printed."""
    if raw:
        return _raw(client, action, name, value, node, raw)
    handler = _SETTINGS.get(name.lower())
    if handler is None:
        raise CtlError(f"unrecognised config name '{name}'")
    if node and handler is not _log_level:
        raise CtlError("--node should not be specified")
    return handler(client, action, value, node)


def _raw(client, action, name, value, node, component):
    if component not in RAW:
        raise CtlError(f"unrecognised component '{component}'")
    everywhere, on_node = RAW[component]
    key = f"{on_node.format(node=node) if node else everywhere}/{name}"
    if action == "set":
        client.put(key, value)
    elif action == "unset":
        client.delete(key)
    else:
        found = client.get(key)
        return "(unset)\n" if found is None else f"{found}\n"
    return ""


def _simple(client, action, key, stored, default, shown):
    """To unset such a setting is to write its default."""
    if action == "get":
        found = client.get(key)
        return f"{shown(default if found is None else found)}\n"
    client.put(key, stored if action == "set" else default)
    return ""


def _on_off(value):
    if value not in ("on", "off"):
        raise CtlError(f"invalid value '{value}'")
    return value == "on"


def _mesh(client, action, value, _node):
    stored = dumps({"enabled": _on_off(value)}) if action == "set" else None

    def shown(found):
        return "on" if json.loads(found).get("enabled") else "off"

    return _simple(client, action, f"{BGP}/global/node_mesh", stored, dumps({"enabled": True}), shown)


def _as_number(client, action, value, _node):
    number = as_number(value) if action == "set" else 0
    if number is None:
        raise CtlError("the supplied AS number is not valid")
    return _simple(client, action, f"{BGP}/global/as_num", str(number), "64512", str)


def _ipip(client, action, value, _node):
    stored = "true" if action == "set" and _on_off(value) else "false"

    def shown(found):
        return "on" if found == "true" else "off"

    return _simple(client, action, f"{V1}/config/IpInIpEnabled", stored, "false", shown)


def _log_level(client, action, value, node):
    bgp = f"{BGP}/host/{node}/loglevel" if node else f"{BGP}/global/loglevel"
    everywhere = f"{V1}/config/LogSeverityScreen"
    felix = f"{V1}/host/{node}/config/LogSeverityScreen" if node else everywhere
    if action == "get":
        found = client.get(felix)
        if found is None and node:
            return f"{client.get(everywhere) or DEFAULT_LEVEL} (inherited from global)\n"
        return f"{found or DEFAULT_LEVEL}\n"
    if action == "unset" and node:
        client.delete(felix)
        client.delete(bgp)
        return ""
    level = value if action == "set" else DEFAULT_LEVEL
    if level not in LEVELS:
        raise CtlError(f"error with field loglevel = '{level}'")
    client.put(felix, level)
    client.put(bgp, LEVELS[level])
    return ""


_SETTINGS = {
    "nodetonodemesh": _mesh,
    "asnumber": _as_number,
    "ipip": _ipip,
    "loglevel": _log_level,
}
