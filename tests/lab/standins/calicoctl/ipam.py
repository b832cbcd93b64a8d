"""``calicoctl ipam``: who has which address, and how full the pools are."""

import ipaddress
import json

from . import blocks
from .borders import bordered
from .errors import CtlError, OnStdout

CONFIG = f"{blocks.ROOT}/config"
DEFAULTS = {"strict_affinity": False, "auto_allocate_blocks": True, "maxBlocksPerHost": 0}
# property of the table: how it is kept
KEPT = {
    "StrictAffinity": "strict_affinity",
    "AutoAllocateBlocks": "auto_allocate_blocks",
    "MaxBlocksPerHost": "maxBlocksPerHost",
}
# The original shows where in memory this one lies.
POINTERS = {"KubeVirtVMAddressPersistence": "(*ipam.VMAddressPersistence)(0xc000012345a0)"}
USAGE = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE")
BORROWED = ("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")


def address_of(text):
    """The address that is asked for; what is none ends the command in every version the same way."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise OnStdout(f"Error executing command: invalid IP address specified: {text}") from None


def show_address_v1(client, address):
    _key, _block, attributes = blocks.find(client, address)
    if attributes is None:
        return f"{address} is not assigned\n"
    found = attributes.get("secondary")
    if not found:
        return f"No attributes defined for IP {address}\n"
    return f"IP {address} is assigned with the following attributes:\n{_listed(found)}"


def show_address(client, address, version):
    _key, _block, attributes = blocks.find(client, address)
    if attributes is None:
        return f"{address} is not assigned\n"
    found = attributes.get("secondary")
    said = f"IP {address} is in use\n"
    if version.ipam_owner_words:
        said += f"Handle ID: {attributes.get('handle_id') or '<none>'}\n"
        return said + (
            f"Active Owner Attributes:\n{_listed(found)}" if found else "No Active Owner attributes defined\n"
        )
    return said + (f"Attributes:\n{_listed(found)}" if found else "No attributes defined\n")


def _listed(attributes):
    return "".join(f"  {name}: {value}\n" for name, value in sorted(attributes.items()))


def release(client, address):
    if not blocks.release(client, address):
        raise CtlError(f"IP address {address} is not assigned")
    return f"Successfully released IP address {address}\n"


# --- pools and blocks ----------------------------------------------------------------------------


def usage(client, pools, with_blocks):
    """The table of all pools, and of the blocks in each; blocks of no pool come last."""
    rows = []
    left = [block for _key, block in blocks.all_blocks(client)]
    for network in pools:
        mine = [block for block in left if _within(block, network)]
        left = [block for block in left if block not in mine]
        used = sum(len(blocks.in_use(block)) for block in mine)
        rows.append(_usage_row("IP Pool", network, network.num_addresses, used))
        if with_blocks:
            rows += [_block_row(block) for block in mine]
    if with_blocks:
        rows += [_block_row(block) for block in left]
    return bordered(USAGE, rows)


def _within(block, network):
    own = blocks.network_of(block)
    return own.version == network.version and own.subnet_of(network)


def _block_row(block):
    network = blocks.network_of(block)
    return _usage_row("Block", network, network.num_addresses, len(blocks.in_use(block)))


def _usage_row(kind, network, total, used):
    free = total - used
    return (kind, str(network), f"{total:.5g}", _share(used, total), _share(free, total))


def _share(part, total):
    return f"{part:.5g} ({100 * part / total:.0f}%)"


def borrowed(client):
    """The addresses that are used on another node than the one their block belongs to."""
    rows = []
    for _key, block in blocks.all_blocks(client):
        for address, attributes in blocks.in_use(block).items():
            owner = attributes.get("secondary") or {}
            node = owner.get("node")
            if node and node != blocks.owner(block):
                pod = f"{owner.get('namespace', '')}/{owner['pod']}" if "pod" in owner else ""
                kind = "pod" if pod else owner.get("type", "")
                rows.append((str(address), node, block["cidr"], blocks.owner(block), kind, pod))
    return bordered(BORROWED, rows)


# --- configuration -------------------------------------------------------------------------------


def configuration(client):
    value = client.get(CONFIG)
    return {**DEFAULTS, **(json.loads(value) if value else {})}


def show_configuration(client, properties):
    found = configuration(client)
    shown = {name: json.dumps(found[kept]) for name, kept in KEPT.items()}
    return bordered(("PROPERTY", "VALUE"), [(name, {**shown, **POINTERS}[name]) for name in properties])


def configure(client, strict_affinity, max_blocks):
    found = configuration(client)
    said = ""
    if strict_affinity is not None:
        if strict_affinity not in ("true", "false"):
            raise CtlError("Invalid value. Use true or false to set strictaffinity")
        found["strict_affinity"] = strict_affinity == "true"
        said += f"Successfully set StrictAffinity to: {strict_affinity}\n"
    if max_blocks is not None:
        if not max_blocks.isdigit():
            raise CtlError(f'strconv.Atoi: parsing "{max_blocks}": invalid syntax')
        found["maxBlocksPerHost"] = int(max_blocks)
        said += f"Successfully set MaxBlocksPerHost to: {max_blocks}\n"
    client.put(CONFIG, blocks.dumps(found))
    return said


# --- check ---------------------------------------------------------------------------------------


def check(client, pools, nodes, workloads):
    """The report on what is allocated against what is used."""
    found = [block for _key, block in blocks.all_blocks(client)]
    allocated = {address for block in found for address in blocks.in_use(block)}
    tunnels = {address for node in nodes for address in node}
    in_workloads = {address for endpoint in workloads for address in endpoint}
    used = tunnels | in_workloads
    leaked = allocated - used
    outside = {address for address in used if not any(address in pool for pool in pools)}
    unallocated = used - allocated - outside
    by_node = _by_node(found)
    lines = ["Checking IPAM for inconsistencies...", "", "Loading all IPAM blocks..."]
    lines.append(f"Found {len(found)} IPAM blocks.")
    lines += [f" IPAM block {block['cidr']} affinity={block['affinity'] or '<none>'}:" for block in found]
    lines += [f"IPAM blocks record {len(allocated)} allocations.", "", "Loading all IPAM pools..."]
    lines += [f"  {pool}" for pool in pools]
    lines += [f"Found {len(pools)} active IP pools.", "", "Loading all nodes."]
    lines += [f"Found {len(tunnels)} node tunnel IPs.", "", "Loading all workload endpoints."]
    lines += [
        f"Found {len(in_workloads)} workload IPs.",
        f"Workloads and nodes are using {len(used)} IPs.",
        "",
    ]
    lines.append("Looking for top (up to 20) nodes by allocations...")
    if by_node:
        lines += [f"  {node} has {count} allocations" for node, count in by_node[:20]]
        median = sorted(count for _node, count in by_node)[len(by_node) // 2]
        lines.append(f"Node with most allocations has {by_node[0][1]}; median is {median}")
    lines += ["", "Scanning for IPs that are allocated but not actually in use..."]
    lines.append(f"Found {len(leaked)} IPs that are allocated in IPAM but not actually in use.")
    lines.append("Scanning for IPs that are in use by a workload or node but not allocated in IPAM...")
    lines.append(f"Found {len(outside)} in-use IPs that are not in active IP pools.")
    lines.append(
        f"Found {len(unallocated)} in-use IPs that are in active IP pools "
        "but have no corresponding IPAM allocation."
    )
    problems = len(leaked) + len(outside) + len(unallocated)
    lines += ["", f"Check complete; found {problems} problems."]
    return "\n".join(lines) + "\n"


def _by_node(found):
    counts = {}
    for block in found:
        for attributes in blocks.in_use(block).values():
            node = (attributes.get("secondary") or {}).get("node")
            if node:
                counts[node] = counts.get(node, 0) + 1
    return sorted(counts.items(), key=lambda item: -item[1])
