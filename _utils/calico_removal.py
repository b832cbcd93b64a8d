"""
What a node leaves in the datastore, and what it takes to remove it. Pure: no Salt, no side effects.
"""

import calico_plan
from calico_kinds import at
from calico_safety import TUNNELS, V1_TUNNELS
from calico_topology import BGP_PORT

_OF_NODE = "node."


def remains(cluster, node):
    """
    What the datastore holds of a node: a dict as ``calico.remains`` returns it, without ``datastore``.

    cluster
        :class:`calico_topology.Cluster` with bgp, felix, workloads and blocks.
    """
    known = cluster.nodes.get(node)
    addresses = [known[key] for key in ("ipv4", "ipv6") if known and known[key]]
    own, naming = [], []
    for peer in cluster.peers:
        label = calico_plan.label(peer, cluster.generation)
        where = "metadata" if cluster.generation == "v1" else "spec"
        if at(peer, (where, "node")) == node:
            own.append({"words": _words(peer, cluster.generation), "label": label})
        elif _host_of(at(peer, (where, "peerIP"))) in addresses:
            naming.append(label)
    return {
        "meant": _meant(cluster, node),
        "registered": known is not None,
        "addresses": addresses,
        "port": (known and known["listen_port"]) or cluster.listen_port or BGP_PORT,
        "workloads": [item["name"] for item in cluster.workloads if item["node"] == node],
        "blocks": [[block["cidr"], block["used"]] for block in cluster.blocks if block["node"] == node],
        "peers": own,
        "naming": naming,
        "settings": _settings(cluster, node),
        "tunnels": _tunnels(cluster, node),
    }


def _words(peer, generation):
    """What names the peer for ``calico.converge``."""
    if generation == "v1":
        return {"node": peer["metadata"]["node"], "peer_ip": peer["metadata"]["peerIP"]}
    return {"name": peer["metadata"]["name"]}


def _host_of(text):
    """The address of ``10.0.0.1``, ``10.0.0.1:180``, ``fd00::1`` and ``[fd00::1]:180``."""
    if text and text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text and text.count(":") == 1 else text


def _settings(cluster, node):
    if cluster.generation == "v1":
        given = (cluster.config.get("nodes") or {}).get(node) or {}
        return [what for what in ("bgp", "felix") if given.get(what)]
    kinds = (("bgp", "BGPConfiguration"), ("felix", "FelixConfiguration"))
    return [
        what
        for what, kind in kinds
        if any(item["metadata"]["name"] == _OF_NODE + node for item in cluster.resources.get(kind, []))
    ]


def _tunnels(cluster, node):
    if cluster.generation == "v1":
        given, paths = (cluster.config.get("nodes") or {}).get(node), V1_TUNNELS
    else:
        nodes = {item["metadata"]["name"]: item for item in cluster.resources.get("Node", [])}
        given, paths = nodes.get(node), TUNNELS
    return [at(given, path) for path in paths if at(given, path)]


def orphaned(found):
    """Is there something that is bound to a node which is gone itself?"""
    bound = found["blocks"] or found["workloads"]
    return bool(bound) and not found["registered"] and found["datastore"] != "kubernetes"


def in_use(found):
    """What of that is in use, as reasons against its removal."""
    used = [cidr for cidr, count in found["blocks"] if count]
    if found["workloads"]:
        yield "workloads are left of it: %s. Remove them, or give allow=node_in_use" % ", ".join(
            found["workloads"][:5]
        )
    elif used:
        yield "addresses are in use in its blocks: %s. Release them, or give allow=node_in_use" % ", ".join(
            used[:5]
        )


def described(found):
    """What there is of the node, for people (list of text)."""
    lines = []
    if found["registered"]:
        lines.append("the node%s" % (" " + ", ".join(found["addresses"]) if found["addresses"] else ""))
    lines.extend("BGP peer %s" % peer["label"] for peer in found["peers"])
    names = {"bgp": "BGP", "felix": "Felix"}
    lines.extend("%s settings of its own" % names[what] for what in found["settings"])
    lines.extend("tunnel address %s" % address for address in found["tunnels"])
    for cidr, used in found["blocks"]:
        lines.append("block %s%s" % (cidr, ", %d in use" % used if used else ""))
    lines.extend("workload %s" % name for name in found["workloads"])
    return lines


def calls(found, node):
    """
    What has to be removed, in order: [(what, absent)] as ``calico.converge`` takes them.

    calicoctl removes blocks, tunnel addresses and most of the rest together with the node itself; what it
    left is removed by the same calls made of a second reading.
    """
    made = []
    if found["registered"]:
        made.append(("node", [{"name": node}]))
    if found["peers"]:
        made.append(("peer", [peer["words"] for peer in found["peers"]]))
    made.extend((what, [{"name": _OF_NODE + node}]) for what in found["settings"])
    return made


def _meant(cluster, text):
    """The node that was meant by another spelling or by its address, None where there is no such."""
    for name, node in cluster.nodes.items():
        if name != text and (name.lower() == text.lower() or text in (node["ipv4"], node["ipv6"])):
            return name
    return None


def waiting(views, addresses):
    """The nodes that still must have a session with one of the addresses, by their views."""
    return sorted(
        view["node"]
        for view in views
        if not view["error"] and any(address in _wanted(view) for address in addresses)
    )


def _wanted(view):
    found = set(view["up"].split())
    for _why, names in view["down"]:
        found.update(item.partition(" ")[0] for item in names.split(","))
    return found


def text(done):
    """What ``salt-run calico.decommission`` did or would do, for people."""
    node = done["node"]
    lines = []
    if done["refused"]:
        lines.append("%s is not removed:" % node)
        lines.extend("  " + reason for reason in done["refused"])
    elif not done["steps"]:
        lines.append("Nothing is left of %s." % node)
    elif done["test"]:
        lines.append("Would be done to remove %s:" % node)
    else:
        lines.append("Done to remove %s:" % node)
    if not done["refused"]:
        lines.extend("  " + step for step in done["steps"])
    if done["left"]:
        lines.append("Still there:")
        lines.extend("  " + item for item in done["left"])
    if done["waiting"]:
        lines.append("Still wait for it: %s" % ", ".join(done["waiting"]))
    elif done.get("asked"):
        lines.append("None of the %d other nodes waits for it." % done["asked"])
    lines.extend("Note: " + note for note in done["notes"])
    if done["test"] and done["steps"] and not done["refused"]:
        lines.append("Nothing was changed. To do it: salt-run calico.decommission %s test=False" % node)
    return "\n".join(lines)
