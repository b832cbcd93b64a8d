"""Resources of the v1 API to the keys that Calico 2.6 keeps them in, and back."""

import ipaddress
import json

from .blocks import dumps
from .policy_rules import from_backend, to_backend

V1 = "/calico/v1"
BGP = "/calico/bgp/v1"
HOSTS = f"{V1}/host"
BGP_HOSTS = f"{BGP}/host"
POLICIES = f"{V1}/policy/tier/default/policy"
PROFILES = f"{V1}/policy/profile"
RULES = (("ingress", "inbound_rules"), ("egress", "outbound_rules"))
# field of a policy: its name in the datastore
FLAGS = (("doNotTrack", "untracked"), ("preDNAT", "pre_dnat"))


def family(version, addresses):
    """Those of the addresses that are of this IP version."""
    return [address for address in addresses or [] if (":" in address) == (version == 6)]


def below(tree, prefix):
    """[(the rest of the key, value)] of what lies below PREFIX, in the order of keys."""
    return [(key[len(prefix) + 1 :], tree[key]) for key in sorted(tree) if key.startswith(f"{prefix}/")]


# --- pools ---------------------------------------------------------------------------------------


def read_pools(read):
    for version in (4, 6):
        for _name, value in below(read(V1), f"{V1}/ipam/v{version}/pool"):
            stored = json.loads(value)
            spec = {"nat-outgoing": stored.get("masquerade"), "disabled": stored.get("disabled")}
            if stored.get("ipip") or stored.get("ipip_mode"):
                spec["ipip"] = {"enabled": bool(stored.get("ipip")), "mode": stored.get("ipip_mode", "")}
            yield {"cidr": stored["cidr"]}, spec


def pool_keys(metadata, spec):
    cidr = metadata["cidr"]
    ipip = spec.get("ipip") or {}
    disabled = spec.get("disabled", False)
    stored = {
        "cidr": cidr,
        "ipip": "tunl0" if ipip.get("enabled") else "",
        "ipip_mode": ipip.get("mode", ""),
        "masquerade": spec.get("nat-outgoing", False),
        "ipam": not disabled,
        "disabled": disabled,
    }
    version = 6 if ":" in cidr else 4
    return {f"{V1}/ipam/v{version}/pool/{cidr.replace('/', '-')}": dumps(stored)}


# --- peers ---------------------------------------------------------------------------------------


def read_peers(read):
    tree = read(BGP)
    nodes = sorted({name.split("/")[0] for name, _value in below(tree, BGP_HOSTS)})
    for place, metadata in (
        (f"{BGP}/global", {"scope": "global"}),
        *((f"{BGP_HOSTS}/{node}", {"scope": "node", "node": node}) for node in nodes),
    ):
        for version in (4, 6):
            for _name, value in below(tree, f"{place}/peer_v{version}"):
                stored = json.loads(value)
                yield {**metadata, "peerIP": stored["ip"]}, {"asNumber": int(stored.get("as_num") or 0)}


def peer_keys(metadata, spec):
    node, address = metadata.get("node"), metadata["peerIP"]
    place = f"host/{node}" if node else "global"
    version = 6 if ":" in address else 4
    stored = {"ip": address, "as_num": str(spec.get("asNumber", 0))}
    return {f"{BGP}/{place}/peer_v{version}/{address}": dumps(stored)}


# --- nodes ---------------------------------------------------------------------------------------


def read_nodes(read):
    hosts = dict(below(read(V1), HOSTS))
    bgp = dict(below(read(BGP), BGP_HOSTS))
    for key in sorted(hosts):
        name, _, rest = key.partition("/")
        if rest != "metadata":
            continue
        found = {}
        if bgp.get(f"{name}/as_num"):
            found["asNumber"] = int(bgp[f"{name}/as_num"])
        for version in (4, 6):
            address = bgp.get(f"{name}/ip_addr_v{version}")
            if address:
                network = bgp.get(f"{name}/network_v{version}") or address
                length = ipaddress.ip_network(network, strict=False).prefixlen
                found[f"ipv{version}Address"] = f"{address}/{length}"
        references = hosts.get(f"{name}/orchestrator_refs")
        spec = {"orchRefs": json.loads(references)} if references else {}
        yield {"name": name}, {**spec, "bgp": found} if found else spec


def node_keys(metadata, spec):
    name = metadata["name"]
    bgp = spec.get("bgp") or {}
    own = f"{BGP_HOSTS}/{name}"
    keys = {f"{HOSTS}/{name}/metadata": "{}"}
    # The addresses are always there, the container wants it so; without one they are empty.
    for version in (4, 6):
        given = bgp.get(f"ipv{version}Address")
        interface = ipaddress.ip_interface(given) if given else None
        keys[f"{own}/ip_addr_v{version}"] = str(interface.ip) if interface else ""
        keys[f"{own}/network_v{version}"] = str(interface.network) if interface else None
    keys[f"{HOSTS}/{name}/bird_ip"] = keys[f"{own}/ip_addr_v4"] or None
    keys[f"{own}/as_num"] = str(bgp["asNumber"]) if "asNumber" in bgp else None
    if spec.get("orchRefs"):
        keys[f"{HOSTS}/{name}/orchestrator_refs"] = dumps(spec["orchRefs"])
    return keys


# --- endpoints -----------------------------------------------------------------------------------


def read_workloads(read):
    for name, value in below(read(V1), HOSTS):
        parts = name.split("/")
        if len(parts) != 6 or parts[1] != "workload" or parts[4] != "endpoint":
            continue
        stored = json.loads(value)
        metadata = {
            "name": parts[5],
            "workload": parts[3],
            "orchestrator": parts[2],
            "node": parts[0],
            "activeInstanceID": stored.get("active_instance_id"),
            "labels": stored.get("labels"),
        }
        nats = (stored.get("ipv4_nat") or []) + (stored.get("ipv6_nat") or [])
        spec = {
            "ipNetworks": (stored.get("ipv4_nets") or []) + (stored.get("ipv6_nets") or []),
            "ipNATs": [{"internalIP": nat["int_ip"], "externalIP": nat["ext_ip"]} for nat in nats],
            "profiles": stored.get("profile_ids"),
            "interfaceName": stored.get("name", ""),
        }
        for field, key in (("ipv4Gateway", "ipv4_gateway"), ("ipv6Gateway", "ipv6_gateway"), ("mac", "mac")):
            if stored.get(key):
                spec[field] = stored[key]
        yield metadata, spec


def workload_keys(metadata, spec):
    stored = {
        "state": "active",
        "name": spec.get("interfaceName", ""),
        "active_instance_id": metadata.get("activeInstanceID", ""),
        "mac": spec.get("mac"),
        "profile_ids": spec.get("profiles") or [],
        "ipv4_nets": family(4, spec.get("ipNetworks")),
        "ipv6_nets": family(6, spec.get("ipNetworks")),
    }
    for version in (4, 6):
        nats = [
            {"int_ip": nat["internalIP"], "ext_ip": nat["externalIP"]}
            for nat in spec.get("ipNATs") or []
            if family(version, [nat["internalIP"]])
        ]
        if nats:
            stored[f"ipv{version}_nat"] = nats
        if spec.get(f"ipv{version}Gateway"):
            stored[f"ipv{version}_gateway"] = spec[f"ipv{version}Gateway"]
    if metadata.get("labels"):
        stored["labels"] = metadata["labels"]
    path = "{node}/workload/{orchestrator}/{workload}/endpoint/{name}".format(**metadata)
    return {f"{HOSTS}/{path}": dumps(stored)}


def read_host_endpoints(read):
    for name, value in below(read(V1), HOSTS):
        parts = name.split("/")
        if len(parts) != 3 or parts[1] != "endpoint":
            continue
        stored = json.loads(value)
        addresses = (stored.get("expected_ipv4_addrs") or []) + (stored.get("expected_ipv6_addrs") or [])
        spec = {
            "interfaceName": stored.get("name"),
            "expectedIPs": addresses,
            "profiles": stored.get("profile_ids"),
        }
        yield {"name": parts[2], "node": parts[0], "labels": stored.get("labels")}, spec


def host_endpoint_keys(metadata, spec):
    stored = {"name": spec.get("interfaceName", "")}
    for version in (4, 6):
        addresses = family(version, spec.get("expectedIPs"))
        if addresses:
            stored[f"expected_ipv{version}_addrs"] = addresses
    if metadata.get("labels"):
        stored["labels"] = metadata["labels"]
    if spec.get("profiles"):
        stored["profile_ids"] = spec["profiles"]
    return {f"{HOSTS}/{metadata['node']}/endpoint/{metadata['name']}": dumps(stored)}


# --- policy --------------------------------------------------------------------------------------


def read_policies(read):
    for name, value in below(read(V1), POLICIES):
        stored = json.loads(value)
        spec = {"selector": stored.get("selector", ""), "types": stored.get("types")}
        if stored.get("order") is not None:
            spec["order"] = stored["order"]
        for field, key in RULES:
            spec[field] = [from_backend(rule) for rule in stored.get(key) or []]
        for field, key in FLAGS:
            spec[field] = stored.get(key)
        yield {"name": name, "annotations": stored.get("annotations")}, spec


def policy_keys(metadata, spec):
    stored = {"order": spec["order"]} if "order" in spec else {}
    for field, key in RULES:
        if spec.get(field):
            stored[key] = [to_backend(rule) for rule in spec[field]]
    stored["selector"] = spec.get("selector", "")
    for field, key in FLAGS:
        if spec.get(field):
            stored[key] = True
    if metadata.get("annotations"):
        stored["annotations"] = metadata["annotations"]
    # Without types a policy is for what it has rules for, and for ingress where it has none.
    has_rules = [field for field, _key in RULES if spec.get(field)]
    stored["types"] = spec.get("types") or has_rules or ["ingress"]
    return {f"{POLICIES}/{metadata['name']}": dumps(stored)}


def read_profiles(read):
    tree = dict(below(read(V1), PROFILES))
    for name in sorted({key.partition("/")[0] for key in tree}):
        labels = json.loads(tree.get(f"{name}/labels") or "null")
        tags = json.loads(tree.get(f"{name}/tags") or "null")
        rules = json.loads(tree.get(f"{name}/rules") or "{}")
        spec = {field: [from_backend(rule) for rule in rules.get(key) or []] for field, key in RULES}
        yield {"name": name, "labels": labels, "tags": tags}, spec


def profile_keys(metadata, spec):
    place = f"{PROFILES}/{metadata['name']}"
    rules = {key: [to_backend(rule) for rule in spec[field]] for field, key in RULES if spec.get(field)}
    return {
        f"{place}/tags": dumps(metadata.get("tags") or []),
        f"{place}/labels": dumps(metadata.get("labels") or {}),
        f"{place}/rules": dumps(rules),
    }


READERS = {
    "IPPool": read_pools,
    "BGPPeer": read_peers,
    "Node": read_nodes,
    "WorkloadEndpoint": read_workloads,
    "HostEndpoint": read_host_endpoints,
    "Policy": read_policies,
    "Profile": read_profiles,
}
# The first key of each is the one that says whether the resource is there.
WRITERS = {
    "IPPool": pool_keys,
    "BGPPeer": peer_keys,
    "Node": node_keys,
    "WorkloadEndpoint": workload_keys,
    "HostEndpoint": host_endpoint_keys,
    "Policy": policy_keys,
    "Profile": profile_keys,
}
