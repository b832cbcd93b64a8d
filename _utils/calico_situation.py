"""
What a host will do under Calico, as far as pillar, datastore and host tell: the mode, and the address.

How packets between nodes will be wrapped, which of Felix' settings hold, and which of its addresses
calico/node will take for the node's. Pure: no Salt, no files, no network.
"""

import ipaddress

import calico_felix
import calico_forms
import calico_generations
import calico_regex
import calico_values


class Situation:
    """
    What the rules look at.

    settings
        Finished settings (:func:`calico_settings.check`).
    name
        The node's name.
    cluster
        What the datastore holds (:class:`calico_topology.Cluster`), None where it could not be read.
    facts
        What :func:`calico_probe.facts` returned.
    """

    def __init__(self, settings, name, cluster=None, facts=None):
        self.settings = settings
        self.name = name
        self.cluster = cluster
        self.facts = facts or {}
        self.tables = calico_generations.GENERATIONS[settings["generation"]]
        self.v1 = settings["generation"] == "v1"
        self.registered = cluster.nodes.get(name) if cluster else None
        self.backend = settings["node"]["backend"]
        self.wrappings = _wrappings(self)
        self.families = _families(self)
        self._plans = {}

    def fact(self, name, unknown=None):
        """What was found out of this host, ``unknown`` where that could not be told."""
        found = self.facts.get(name)
        return unknown if found is None else found

    def felix(self, name):
        """The value of one of Felix' settings on this node, None where nothing is set."""
        own = self.settings["felix"].get(name)
        if own not in (None, ""):
            return own
        row = calico_felix.row(name)
        stored = _stored_felix(self, row)
        if stored[0] not in (None, ""):
            return stored[0]
        for key, value in self.settings["network"]["felix"].items():
            if calico_felix.row(key) is row:
                return value
        return stored[1] if stored[1] not in (None, "") else None

    def felix_flag(self, name, default=False):
        """The same of a switch."""
        value = calico_forms.Flag().read(self.felix(name))
        return value if isinstance(value, bool) else default

    def felix_number(self, name, default):
        """The same of a number."""
        value = calico_forms.Number().read(self.felix(name))
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def plan(self, family):
        """Which address of this family calico/node will take, see :func:`_plan`."""
        if family not in self._plans:
            self._plans[family] = _plan(self, family)
        return self._plans[family]

    @property
    def links(self):
        """The host's interfaces, [] where they could not be read."""
        return self.fact("links", [])

    @property
    def bgp_port(self):
        """The port that BIRD listens on, None where no BGP is spoken."""
        if self.backend not in ("bird", "gobgp"):
            return None
        declared = self.settings["network"]["bgp"]
        if declared.get("listen_port") and declared.get("name") in (None, "default", "node." + self.name):
            return declared["listen_port"]
        stored = (self.registered or {}).get("listen_port") or (self.cluster and self.cluster.listen_port)
        return stored or 179

    @property
    def health_port(self):
        """The port of Felix' health, None where that is off."""
        return self.felix_number("HealthPort", 9099) if self.felix_flag("HealthEnabled") else None


def _stored_felix(situation, row):
    """What the datastore has of a setting of Felix: for this node, and for all."""
    cluster = situation.cluster
    if cluster is None:
        return None, None
    if situation.v1:
        config = cluster.config
        own = config["nodes"].get(situation.name, {}).get("felix", {})
        return own.get(row.name), config["felix"].get(row.name)
    specs = {
        item["metadata"]["name"]: item.get("spec") or {}
        for item in cluster.resources.get("FelixConfiguration", [])
    }
    return tuple(specs.get(name, {}).get(row.field) for name in ("node." + situation.name, "default"))


def _wrappings(situation):
    """
    How packets between nodes are wrapped: {(wrapping, family): "always" or "crosssubnet"}.

    From the pools of the datastore, and those of the pillar, which it will hold.
    """
    pools = {}
    for pool in situation.cluster.pools if situation.cluster else ():
        pools.update([_pool_of_v1(pool) if situation.v1 else _pool_of_v3(pool)])
    for pool in situation.settings["network"]["pools"]:
        pools[pool["cidr"]] = {"ipip": pool["ipip"], "vxlan": pool.get("vxlan")}
    found = {}
    for cidr, modes in pools.items():
        family = 6 if ":" in cidr else 4
        for wrapping, mode in modes.items():
            mode = (mode or "never").lower().replace("-", "")
            if mode in ("always", "crosssubnet") and found.get((wrapping, family)) != "always":
                found[wrapping, family] = mode
    for name, family in (("WireguardEnabled", 4), ("WireguardEnabledV6", 6)):
        known = calico_felix.row(name).known(situation.settings["major"], situation.settings["minor"])
        if known and situation.felix_flag(name):
            found["wireguard", family] = "always"
    return found


def _pool_of_v1(pool):
    ipip = (pool.get("spec") or {}).get("ipip") or {}
    return pool["metadata"]["cidr"], {"ipip": (ipip.get("mode") or "always") if ipip.get("enabled") else None}


def _pool_of_v3(pool):
    spec = pool.get("spec") or {}
    return spec.get("cidr", ""), {"ipip": spec.get("ipipMode"), "vxlan": spec.get("vxlanMode")}


def _families(situation):
    """The address families that workloads or the node have."""
    node = situation.settings["node"]
    found = {6 if ":" in pool["cidr"] else 4 for pool in situation.settings["network"]["pools"]}
    if node["ip"] != "none":
        found.add(4)
    if node["ip6"] not in (None, "", "none") or (situation.registered or {}).get("ipv6"):
        found.add(6)
    return found


# --- the node's address ----------------------------------------------------------------------------


def method(situation, family):
    """How calico/node would look for its address of this family."""
    key = "ip_autodetection_method" if family == 4 else "ip6_autodetection_method"
    return situation.settings["node"][key] or "first-found"


def given_address(situation, family):
    """What the pillar says of the node's address of this family."""
    return situation.settings["node"]["ip" if family == 4 else "ip6"]


def registered_address(situation, family):
    """The address of this family that the node is registered with, or None."""
    return (situation.registered or {}).get("ipv%d" % family)


def _plan(situation, family):
    """
    Which address calico/node will take: (how, address, length of its prefix).

    how is ``given``, ``kept`` (the registered one), ``detected``, ``none`` (it takes none), or None where
    that cannot be told. An address that would not be found is None.
    """
    given = given_address(situation, family)
    stored = registered_address(situation, family)
    if situation.backend == "none" or given == "none":
        return "none", None, None
    if given not in (None, "", "autodetect"):
        address, slash, length = given.partition("/")
        address = str(ipaddress.ip_address(address))
        if slash:
            return "given", address, int(length)
        # 2.6 takes an address without a prefix for a network of its own; 3.x asks the interface.
        return "given", address, {4: 32, 6: 128}[family] if situation.v1 else _length_of(situation, address)
    if given != "autodetect" and stored:
        network = situation.registered.get("network_ipv%d" % family) or ""
        return "kept", stored, int(network.rpartition("/")[2] or {4: 32, 6: 128}[family])
    if family == 6 and given != "autodetect":
        return "none", None, None
    if situation.fact("links") is None or (given != "autodetect" and situation.cluster is None):
        return None, None, None
    found = candidates(situation, family)
    if found is None:
        return None, None, None
    if not found:
        return "detected", None, None
    return "detected", found[0][1]["address"], found[0][1]["length"]


def _length_of(situation, address):
    found = link_of(situation, address)
    return found[1]["length"] if found else None


def link_of(situation, address):
    """(interface, its entry) that has this address, or None."""
    for link in situation.links:
        for entry in link["addresses"]:
            if entry["address"] == address:
                return link, entry
    return None


def candidates(situation, family):
    """
    The addresses that the method of detection accepts, in calico/node's order: [(interface, entry)].

    None where that cannot be told. Source: the methods as calico/node documents them.
    """
    word, _, argument = method(situation, family).partition("=")
    # It goes through the interfaces from the last one to the first.
    found = [
        (link, entry)
        for link in reversed(situation.links)
        for entry in link["addresses"]
        if entry["family"] == family and _is_global(entry["address"])
    ]
    patterns = calico_values.comma_separated(argument)
    internal = situation.tables["internal_interfaces"]
    try:
        if word == "can-reach" and family in situation.fact("reach", {}):
            source = situation.fact("reach")[family]
            return [pair for pair in found if pair[1]["address"] == source]
        if word == "first-found":
            return [pair for pair in found if not _matches(pair[0]["name"], internal)]
        if word == "skip-interface":
            return [pair for pair in found if not _matches(pair[0]["name"], [*internal, *patterns])]
        if word == "interface":
            return [pair for pair in found if _matches(pair[0]["name"], patterns)]
        if word == "cidr":
            networks = [ipaddress.ip_network(item, strict=False) for item in patterns]
            return [
                pair
                for pair in found
                if any(ipaddress.ip_address(pair[1]["address"]) in network for network in networks)
            ]
    except ValueError:
        return None
    return None


def _matches(name, patterns):
    """Whether one of these expressions is found anywhere in a name; ValueError where that cannot be told."""
    expressions = [calico_regex.compiled(pattern) for pattern in patterns]
    if None in expressions:
        raise ValueError("nobody here knows what matches")
    return any(expression.search(name) for expression in expressions)


def is_address(text, family):
    """Whether a text is an address of this family, and not a name."""
    try:
        return ipaddress.ip_address(text).version == family
    except ValueError:
        return False


def _is_global(address):
    return calico_values.is_global(ipaddress.ip_address(address))


def places(pairs):
    """Those of some candidates that differ in network or interface."""
    found = {}
    for link, entry in pairs:
        network = ipaddress.ip_interface("%s/%d" % (entry["address"], entry["length"])).network
        found.setdefault((link["name"], network), (link, entry))
    return list(found.values())


def of_containers(link):
    """Whether an interface is for containers or a tunnel: alike on many hosts, and no way to any of them."""
    # 2.6 itself does not leave out all of them.
    return _matches(link["name"], calico_generations.GENERATIONS["v3"]["internal_interfaces"])


def own_addresses(situation, family):
    """The host's addresses of this family, without those of containers and tunnels: [(interface, entry)]."""
    return [
        (link, entry)
        for link in situation.links
        for entry in link["addresses"]
        if entry["family"] == family and _is_global(entry["address"]) and not of_containers(link)
    ]
