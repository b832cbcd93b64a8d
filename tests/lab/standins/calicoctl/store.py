"""Resources as Calico 2.6 keeps them in etcd's v2 keys: reading, writing, removing."""

import contextlib
import ipaddress
import json
import uuid

from .errors import AlreadyExists, NotFound
from .rules import from_backend, to_backend

V1 = "/calico/v1"
BGP = "/calico/bgp/v1"
IPAM = "/calico/ipam/v2"


class Store:
    def __init__(self, client):
        self.client = client

    def initialise(self):
        """What the first writer leaves in an empty datastore."""
        import etcdv2

        for key, value in (
            (f"{V1}/config/ClusterGUID", uuid.uuid4().hex),
            (f"{V1}/Ready", "true"),
        ):
            with contextlib.suppress(etcdv2.KeyExists):
                self.client.put(key, value, prev_exist=False)

    def tree(self, prefix):
        return dict(sorted(self.client.tree(prefix)[0].items()))

    def list(self, kind, wanted):
        """All resources of KIND whose metadata has what WANTED has, in the order of their keys."""
        return [
            {"kind": kind.name, "apiVersion": "v1", **resource}
            for resource in _READERS[kind.name](self)
            if all(resource["metadata"].get(name, "") == value for name, value in wanted.items())
        ]

    def exists(self, kind, metadata):
        wanted = {name: metadata[name] for name in identity(kind, metadata)}
        return bool(self.list(kind, wanted))

    def create(self, kind, resource):
        if self.exists(kind, resource["metadata"]):
            raise AlreadyExists(shown(kind, resource["metadata"]))
        self.write(kind, resource)

    def replace(self, kind, resource):
        if not self.exists(kind, resource["metadata"]):
            raise NotFound(shown(kind, resource["metadata"]))
        self.write(kind, resource)

    def write(self, kind, resource):
        """Create or replace: every key of the resource, and none of its old ones."""
        keys = _WRITERS[kind.name](resource["metadata"], resource["spec"])
        for key, value in keys.items():
            if value is None:
                self.client.delete(key)
            else:
                self.client.put(key, value)
        if kind.name == "ipPool" and (resource["spec"].get("ipip") or {}).get("enabled"):
            self.client.put(f"{V1}/config/IpInIpEnabled", "true")

    def delete(self, kind, metadata):
        if not self.exists(kind, metadata):
            raise NotFound(shown(kind, metadata))
        if kind.name == "ipPool":
            self._release_affinities(ipaddress.ip_network(metadata["cidr"]))
        if kind.name == "node":
            self._forget_node(metadata["name"])
        elif kind.name == "profile":
            self.client.delete(f"{V1}/policy/profile/{metadata['name']}", recursive=True)
        else:
            (key, *_rest) = _WRITERS[kind.name](metadata, {})
            self.client.delete(key)

    def _release_affinities(self, network):
        for key in self.tree(f"{IPAM}/host"):
            block = ipaddress.ip_network(key.rpartition("/")[2].replace("-", "/"))
            if block.version == network.version and block.subnet_of(network):
                self.client.delete(key)
                self._release_block(block)

    def _release_block(self, block):
        key = f"{IPAM}/assignment/ipv{block.version}/block/{str(block).replace('/', '-')}"
        value = self.client.get(key)
        if value is None:
            return
        found = json.loads(value)
        if all(item is None for item in found.get("allocations", [])):
            self.client.delete(key)
        else:
            found["affinity"] = None
            self.client.put(key, json.dumps(found))

    def _forget_node(self, name):
        for key in self.tree(f"{IPAM}/host/{name}"):
            self.client.delete(key)
            self._free_block(ipaddress.ip_network(key.rpartition("/")[2].replace("-", "/")))
        for tree in (f"{V1}/host/{name}", f"{BGP}/host/{name}", f"{IPAM}/host/{name}"):
            self.client.delete(tree, recursive=True)

    def _free_block(self, block):
        key = f"{IPAM}/assignment/ipv{block.version}/block/{str(block).replace('/', '-')}"
        self.client.delete(key)


def identity(kind, metadata):
    """The names of the metadata that tell this resource from others of its kind."""
    if kind.name == "bgpPeer" and not metadata.get("node"):
        return ("peerIP",)
    return kind.identity


def shown(kind, metadata):
    """A resource's identity as errors show it."""
    if kind.name == "bgpPeer":
        where = f"node={metadata['node']}" if metadata.get("node") else "global"
        return f"BGPPeer({where}, ip={metadata['peerIP']})"
    parts = ", ".join(f"{name}={metadata.get(name, '')}" for name in kind.identity)
    return f"{kind.shown}({parts})"


# --- pools -----------------------------------------------------------------------------------


def _read_pools(store):
    for version in (4, 6):
        for value in store.tree(f"{V1}/ipam/v{version}/pool").values():
            stored = json.loads(value)
            spec = {}
            if stored.get("ipip") or stored.get("ipip_mode"):
                spec["ipip"] = {}
                if stored.get("ipip"):
                    spec["ipip"]["enabled"] = True
                if stored.get("ipip_mode"):
                    spec["ipip"]["mode"] = stored["ipip_mode"]
            if stored.get("masquerade"):
                spec["nat-outgoing"] = True
            if stored.get("disabled"):
                spec["disabled"] = True
            yield {"metadata": {"cidr": stored["cidr"]}, "spec": spec}


def _pool_keys(metadata, spec):
    cidr = metadata["cidr"]
    ipip = spec.get("ipip") or {}
    enabled = ipip.get("enabled", False)
    stored = {
        "cidr": cidr,
        "ipip": "tunl0" if enabled else "",
        "ipip_mode": ipip.get("mode", "") if enabled or ipip.get("mode") else "",
        "masquerade": spec.get("nat-outgoing", False),
        "ipam": not spec.get("disabled", False),
        "disabled": spec.get("disabled", False),
    }
    version = 6 if ":" in cidr else 4
    return {f"{V1}/ipam/v{version}/pool/{cidr.replace('/', '-')}": _json(stored)}


# --- peers -----------------------------------------------------------------------------------


def _read_peers(store):
    tree = store.tree(BGP)
    for prefix, node in _peer_places(tree):
        for version in (4, 6):
            for key in sorted(tree):
                if key.startswith(f"{prefix}/peer_v{version}/"):
                    stored = json.loads(tree[key])
                    metadata = {"scope": "node" if node else "global"}
                    if node:
                        metadata["node"] = node
                    metadata["peerIP"] = stored["ip"]
                    number = int(stored.get("as_num") or 0)
                    yield {"metadata": metadata, "spec": {"asNumber": number} if number else {}}


def _peer_places(tree):
    yield f"{BGP}/global", None
    host = f"{BGP}/host/"
    for node in sorted({key[len(host) :].split("/")[0] for key in tree if key.startswith(host)}):
        yield host + node, node


def _peer_keys(metadata, spec):
    node, address = metadata.get("node"), metadata["peerIP"]
    place = f"host/{node}" if node else "global"
    version = 6 if ":" in address else 4
    stored = {"ip": address, "as_num": str(spec.get("asNumber", 0))}
    return {f"{BGP}/{place}/peer_v{version}/{address}": _json(stored)}


# --- nodes -----------------------------------------------------------------------------------


def _read_nodes(store):
    hosts = store.tree(f"{V1}/host")
    bgp = store.tree(f"{BGP}/host")
    names = {
        parts[0]
        for parts in (key[len(f"{V1}/host/") :].split("/") for key in hosts)
        if parts[1:] == ["metadata"]
    }
    for name in sorted(names):
        own = {
            key[len(f"{BGP}/host/{name}/") :]: value
            for key, value in bgp.items()
            if key.startswith(f"{BGP}/host/{name}/")
        }
        spec = {}
        found = {}
        if own.get("as_num"):
            found["asNumber"] = int(own["as_num"])
        for version in (4, 6):
            address = own.get(f"ip_addr_v{version}")
            if address:
                network = own.get(f"network_v{version}") or address
                length = ipaddress.ip_network(network, strict=False).prefixlen
                found[f"ipv{version}Address"] = f"{address}/{length}"
        if found:
            spec["bgp"] = found
        references = hosts.get(f"{V1}/host/{name}/orchestrator_refs")
        if references:
            spec["orchRefs"] = json.loads(references)
        yield {"metadata": {"name": name}, "spec": spec}


def _node_keys(metadata, spec):
    name = metadata["name"]
    keys = {f"{V1}/host/{name}/metadata": "{}"}
    host = f"{BGP}/host/{name}"
    bgp = spec.get("bgp")
    if bgp:
        keys[f"{host}/as_num"] = str(bgp["asNumber"]) if "asNumber" in bgp else None
        for version in (4, 6):
            given = bgp.get(f"ipv{version}Address")
            interface = ipaddress.ip_interface(given) if given else None
            keys[f"{host}/ip_addr_v{version}"] = str(interface.ip) if interface else ""
            keys[f"{host}/network_v{version}"] = str(interface.network) if interface else None
        v4 = keys[f"{host}/ip_addr_v4"]
        keys[f"{V1}/host/{name}/bird_ip"] = v4 or None
    references = spec.get("orchRefs")
    if references:
        keys[f"{V1}/host/{name}/orchestrator_refs"] = _json(references)
    return keys


# --- endpoints -------------------------------------------------------------------------------


def _read_workloads(store):
    for key, value in store.tree(f"{V1}/host").items():
        parts = key[len(f"{V1}/host/") :].split("/")
        if len(parts) != 6 or parts[1] != "workload" or parts[4] != "endpoint":
            continue
        stored = json.loads(value)
        metadata = {
            "name": parts[5],
            "workload": parts[3],
            "orchestrator": parts[2],
            "node": parts[0],
        }
        if stored.get("active_instance_id"):
            metadata["activeInstanceID"] = stored["active_instance_id"]
        if stored.get("labels"):
            metadata["labels"] = stored["labels"]
        spec = {"ipNetworks": stored.get("ipv4_nets", []) + stored.get("ipv6_nets", [])}
        if stored.get("profile_ids"):
            spec["profiles"] = stored["profile_ids"]
        spec["interfaceName"] = stored.get("name", "")
        if stored.get("mac"):
            spec["mac"] = stored["mac"]
        yield {"metadata": metadata, "spec": spec}


def _workload_keys(metadata, spec):
    networks = spec.get("ipNetworks") or []
    stored = {
        "state": "active",
        "name": spec.get("interfaceName", ""),
        "active_instance_id": metadata.get("activeInstanceID", ""),
        "mac": spec.get("mac"),
        "profile_ids": spec.get("profiles") or [],
        "ipv4_nets": [network for network in networks if ":" not in network],
        "ipv6_nets": [network for network in networks if ":" in network],
    }
    if metadata.get("labels"):
        stored["labels"] = metadata["labels"]
    path = "{node}/workload/{orchestrator}/{workload}/endpoint/{name}".format(**metadata)
    return {f"{V1}/host/{path}": _json(stored)}


def _read_host_endpoints(store):
    for key, value in store.tree(f"{V1}/host").items():
        parts = key[len(f"{V1}/host/") :].split("/")
        if len(parts) != 3 or parts[1] != "endpoint":
            continue
        stored = json.loads(value)
        metadata = {"name": parts[2], "node": parts[0]}
        if stored.get("labels"):
            metadata["labels"] = stored["labels"]
        spec = {}
        if stored.get("name"):
            spec["interfaceName"] = stored["name"]
        addresses = stored.get("expected_ipv4_addrs", []) + stored.get("expected_ipv6_addrs", [])
        if addresses:
            spec["expectedIPs"] = addresses
        if stored.get("profile_ids"):
            spec["profiles"] = stored["profile_ids"]
        yield {"metadata": metadata, "spec": spec}


def _host_endpoint_keys(metadata, spec):
    stored = {"name": spec.get("interfaceName", "")}
    addresses = spec.get("expectedIPs") or []
    for version, family in (
        (4, [a for a in addresses if ":" not in a]),
        (6, [a for a in addresses if ":" in a]),
    ):
        if family:
            stored[f"expected_ipv{version}_addrs"] = family
    if metadata.get("labels"):
        stored["labels"] = metadata["labels"]
    if spec.get("profiles"):
        stored["profile_ids"] = spec["profiles"]
    return {f"{V1}/host/{metadata['node']}/endpoint/{metadata['name']}": _json(stored)}


# --- policy ----------------------------------------------------------------------------------

POLICIES = f"{V1}/policy/tier/default/policy"
PROFILES = f"{V1}/policy/profile"


def _read_policies(store):
    for key, value in store.tree(POLICIES).items():
        stored = json.loads(value)
        spec = {}
        if stored.get("order") is not None:
            spec["order"] = stored["order"]
        for field, name in (("ingress", "inbound_rules"), ("egress", "outbound_rules")):
            if stored.get(name):
                spec[field] = [from_backend(rule) for rule in stored[name]]
        spec["selector"] = stored.get("selector", "")
        for field, name in (("doNotTrack", "untracked"), ("preDNAT", "pre_dnat")):
            if stored.get(name):
                spec[field] = True
        if stored.get("types"):
            spec["types"] = stored["types"]
        yield {"metadata": {"name": key[len(POLICIES) + 1 :]}, "spec": spec}


def _policy_keys(metadata, spec):
    stored = {}
    if "order" in spec:
        stored["order"] = spec["order"]
    for field, name in (("ingress", "inbound_rules"), ("egress", "outbound_rules")):
        if spec.get(field):
            stored[name] = [to_backend(rule) for rule in spec[field]]
    stored["selector"] = spec.get("selector", "")
    # Without types a policy is for what it has rules for, and for ingress where it has none.
    types = [field for field in ("ingress", "egress") if spec.get(field)] or ["ingress"]
    if spec.get("egress") and not spec.get("ingress"):
        types = ["egress"]
    stored["types"] = spec.get("types") or types
    return {f"{POLICIES}/{metadata['name']}": _json(stored)}


def _read_profiles(store):
    tree = store.tree(PROFILES)
    for name in sorted({key[len(PROFILES) + 1 :].split("/")[0] for key in tree}):
        metadata = {"name": name}
        labels = json.loads(tree.get(f"{PROFILES}/{name}/labels") or "null")
        tags = json.loads(tree.get(f"{PROFILES}/{name}/tags") or "null")
        if labels:
            metadata["labels"] = labels
        if tags:
            metadata["tags"] = tags
        rules = json.loads(tree.get(f"{PROFILES}/{name}/rules") or "{}")
        spec = {}
        for field, key in (("ingress", "inbound_rules"), ("egress", "outbound_rules")):
            if rules.get(key):
                spec[field] = [from_backend(rule) for rule in rules[key]]
        yield {"metadata": metadata, "spec": spec}


def _profile_keys(metadata, spec):
    place = f"{PROFILES}/{metadata['name']}"
    rules = {}
    for field, key in (("ingress", "inbound_rules"), ("egress", "outbound_rules")):
        if spec.get(field):
            rules[key] = [to_backend(rule) for rule in spec[field]]
    return {
        f"{place}/labels": _json(metadata.get("labels") or {}),
        f"{place}/rules": _json(rules),
        f"{place}/tags": _json(metadata.get("tags") or []),
    }


def _json(value):
    return json.dumps(value, separators=(",", ":"))


_READERS = {
    "ipPool": _read_pools,
    "bgpPeer": _read_peers,
    "node": _read_nodes,
    "workloadEndpoint": _read_workloads,
    "hostEndpoint": _read_host_endpoints,
    "policy": _read_policies,
    "profile": _read_profiles,
}
_WRITERS = {
    "ipPool": _pool_keys,
    "bgpPeer": _peer_keys,
    "node": _node_keys,
    "workloadEndpoint": _workload_keys,
    "hostEndpoint": _host_endpoint_keys,
    "policy": _policy_keys,
    "profile": _profile_keys,
}
