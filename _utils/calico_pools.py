"""
Who uses a pool, and what it takes to move from one to another. Pure: no Salt, no side effects.
"""

import ipaddress

from calico_kinds import at

# Names of workloads that a node's row holds at most.
MOST_WORKLOADS = 20


def used(cluster):
    """
    The pools, each with what still uses it: a list as ``calico.pools_used`` returns it.

    cluster
        :class:`calico_topology.Cluster` with bgp, pools, workloads and blocks.
    """
    found = [_pool(resource) for resource in cluster.pools]
    for workload in cluster.workloads:
        for text in workload["networks"]:
            network = ipaddress.ip_network(text, strict=False)
            for pool in found:
                if _within(network, pool["cidr"]):
                    user = _user(pool, workload["node"])
                    user["workloads"] += 1
                    if len(user["names"]) < MOST_WORKLOADS:
                        user["names"].append(workload["name"])
    for block in cluster.blocks:
        network = ipaddress.ip_network(block["cidr"], strict=False)
        for pool in found:
            if block["used"] and _within(network, pool["cidr"]):
                _user(pool, block["node"] or "no node")["addresses"] += block["used"]
    return found


def _pool(resource):
    spec, metadata = resource.get("spec") or {}, resource["metadata"]
    return {
        "cidr": spec.get("cidr") or metadata["cidr"],
        "name": metadata.get("name"),
        "disabled": bool(spec.get("disabled")),
        "kind": resource["kind"],
        "apiVersion": resource["apiVersion"],
        "users": {},
    }


def _user(pool, node):
    return pool["users"].setdefault(node, {"workloads": 0, "names": [], "addresses": 0})


def _within(network, cidr):
    pool = ipaddress.ip_network(cidr, strict=False)
    return network.version == pool.version and network.subnet_of(pool)


def same(cidr, other):
    """Are these texts the same network?"""
    return ipaddress.ip_network(cidr, strict=False) == ipaddress.ip_network(other, strict=False)


def disabling(pool):
    """The resource that disables a pool and says nothing else of it: all other fields stay."""
    resource = {"apiVersion": pool["apiVersion"], "kind": pool["kind"]}
    if pool["name"]:
        resource["metadata"] = {"name": pool["name"]}
        resource["spec"] = {"cidr": pool["cidr"], "disabled": True}
    else:
        resource["metadata"] = {"cidr": pool["cidr"]}
        resource["spec"] = {"disabled": True}
    return resource


def users(pool):
    """What still uses a pool, one line for each node."""
    lines = []
    for node in sorted(pool["users"]):
        user = pool["users"][node]
        count = "%d workload%s" % (user["workloads"], "" if user["workloads"] == 1 else "s")
        if user["addresses"] > user["workloads"]:
            count += (
                ", %d addresses (the rest: tunnels, or workloads that left without a word)"
                % user["addresses"]
            )
        names = ": " + ", ".join(user["names"]) if user["names"] else ""
        more = user["workloads"] - len(user["names"])
        lines.append("%s: %s%s%s" % (node, count, names, " and %d more" % more if more else ""))
    return lines


def leaving(pools, declared, old=None):
    """
    The pools that are to go.

    pools
        What :func:`used` returned.
    declared
        The pools that the pillar lists.
    old
        The network of the one that is to go (text); all that the pillar does not list, or lists as disabled,
        where None.

    Returns ``(pools, refused)``.
    """
    listed = [pool for pool in declared if not at(pool, ("disabled",))]
    try:
        wanted = None if old is None else str(ipaddress.ip_network(old, strict=False))
    except ValueError:
        return [], ["old: got '%s'; accepted: the network of a pool, such as 172.20.0.0/16" % (old,)]
    if not listed:
        return [], ["calico:network:pools: the pillar lists no enabled pool that could take its place"]
    unlisted = [pool for pool in pools if not any(same(pool["cidr"], each["cidr"]) for each in listed)]
    if wanted is None:
        return unlisted, []
    chosen = [pool for pool in pools if same(pool["cidr"], wanted)]
    # One that is gone was the one that went; but where others are to go, it was never there.
    if not chosen and unlisted:
        there = ", ".join(pool["cidr"] for pool in unlisted)
        return [], ["old: got '%s'; accepted: a pool that the pillar does not list: %s" % (wanted, there)]
    if any(same(each["cidr"], wanted) for each in listed):
        return [], [
            "the pillar lists %s as enabled: take it out of calico:network:pools, or set disabled: true"
            % wanted
        ]
    return chosen, []


def text(done):
    """What was done or would be done, for people."""
    lines = []
    if done["refused"]:
        lines.append("Nothing was changed:" if not done["steps"] else "Stopped:")
        lines += ["  " + reason for reason in done["refused"]]
    elif not done["steps"] and not done["left"]:
        lines.append("No pool is to go: all that there are stand in the pillar.")
    if done["steps"]:
        lines.append("Would be done:" if done["test"] else "Done:")
        lines += ["  " + step for step in done["steps"]]
    for cidr, rows in done["left"].items():
        lines.append("%s is still used by:" % cidr if rows else "%s is empty." % cidr)
        lines += ["  " + row for row in rows]
    lines += ["Next: " + step for step in done["next"]]
    return "\n".join(lines)
