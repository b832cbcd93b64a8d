"""``calicoctl ipam show|release``: who has an address."""

import ipaddress
import json

from .errors import CtlError
from .store import IPAM


def run(client, action, text):
    """(what is printed, exit code)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise CtlError(f"invalid IP address specified: {text}") from None
    key, block, ordinal = _block_of(client, address)
    assigned = block is not None and block["allocations"][ordinal] is not None
    if action == "show":
        if not assigned:
            return f"{address} is not assigned\n", 0
        attributes = block["attributes"][block["allocations"][ordinal]].get("secondary")
        if not attributes:
            return f"No attributes defined for IP {address}\n", 0
        lines = [f"IP {address} is assigned with the following attributes:"]
        lines += [f"  {name}: {value}" for name, value in sorted(attributes.items())]
        return "\n".join(lines) + "\n", 0
    if not assigned:
        return f"IP address {address} is not assigned\n", 1
    block["allocations"][ordinal] = None
    block["unallocated"] = [*block.get("unallocated", []), ordinal]
    client.put(key, json.dumps(block))
    return f"Successfully released IP address {address}\n", 0


def _block_of(client, address):
    for key, value in client.tree(f"{IPAM}/assignment/ipv{address.version}/block")[0].items():
        block = json.loads(value)
        network = ipaddress.ip_network(block["cidr"])
        if address in network:
            return key, block, int(address) - int(network.network_address)
    return None, None, None
