"""Rules of policies and profiles: nested in the API, flat in the datastore."""

# field of an entity in the API: its name in the datastore, after src_ or dst_
ENTITY = {
    "tag": "tag",
    "net": "net",
    "selector": "selector",
    "ports": "ports",
    "notTag": "!tag",
    "notNet": "!net",
    "notSelector": "!selector",
    "notPorts": "!ports",
}
PLAIN = {"action": "action", "ipVersion": "ip_version", "protocol": "protocol", "notProtocol": "!protocol"}
ICMP = {"icmp": "", "notICMP": "!"}
SIDES = {"source": "src", "destination": "dst"}


def _flat(side, name):
    return f"!{side}_{name[1:]}" if name.startswith("!") else f"{side}_{name}"


def to_backend(rule):
    """A rule as the datastore has it."""
    stored = {name: rule[field] for field, name in PLAIN.items() if field in rule}
    for field, sign in ICMP.items():
        for part, value in (rule.get(field) or {}).items():
            stored[f"{sign}icmp_{part}"] = value
    for field, side in SIDES.items():
        for part, value in (rule.get(field) or {}).items():
            stored[_flat(side, ENTITY[part])] = value
    return stored


def from_backend(stored):
    """A rule as the API has it, in the order of its fields."""
    rule = {field: stored[name] for field, name in PLAIN.items() if name in stored}
    for field, sign in ICMP.items():
        found = {
            part: stored[f"{sign}icmp_{part}"] for part in ("type", "code") if f"{sign}icmp_{part}" in stored
        }
        if found:
            rule[field] = found
    for field, side in SIDES.items():
        rule[field] = {
            part: stored[_flat(side, name)] for part, name in ENTITY.items() if _flat(side, name) in stored
        }
    return rule
