"""Calico's blocks of addresses; both generations keep them in the same keys."""

import ipaddress
import json

ROOT = "/calico/ipam/v2"


def dumps(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def all_blocks(client, version=None):
    """[(key, block)] in the order of their keys."""
    found = []
    for family in (4, 6):
        if version in (None, family):
            tree, _ = client.tree(f"{ROOT}/assignment/ipv{family}/block/")
            found += [(key, json.loads(value)) for key, value in sorted(tree.items())]
    return found


def network_of(block):
    return ipaddress.ip_network(block["cidr"])


def owner(block):
    """The node that a block belongs to, or an empty text."""
    return (block.get("affinity") or "").partition(":")[2]


def in_use(block):
    """{address: its attributes} of the addresses that are given away."""
    first = network_of(block).network_address
    return {
        first + number: block["attributes"][index]
        for number, index in enumerate(block["allocations"])
        if index is not None
    }


def find(client, address):
    """(key, block, attributes or None) of an address; no key where no block has it."""
    for key, block in all_blocks(client, address.version):
        if address in network_of(block):
            return key, block, in_use(block).get(address)
    return None, None, None


def release(client, address):
    """Give an address back; False where it was not in use."""
    key, block, attributes = find(client, address)
    if attributes is None:
        return False
    number = int(address) - int(network_of(block).network_address)
    index = block["allocations"][number]
    block["allocations"][number] = None
    block["unallocated"] = [*(block.get("unallocated") or []), number]
    block.get("sequenceNumberForAllocation", {}).pop(str(number), None)
    if index not in block["allocations"]:
        block["attributes"] = block["attributes"][:index] + block["attributes"][index + 1 :]
        block["allocations"] = [
            given - 1 if given is not None and given > index else given for given in block["allocations"]
        ]
    _forget_in_handle(client, attributes.get("handle_id"), block["cidr"])
    if block["affinity"] is None and not in_use(block):
        client.delete(key)
    else:
        client.put(key, dumps(block))
    return True


def _forget_in_handle(client, handle, cidr):
    key = f"{ROOT}/handle/{handle}"
    value = client.get(key) if handle else None
    if value is None:
        return
    found = json.loads(value)
    left = found["block"].get(cidr, 0) - 1
    if left > 0:
        found["block"][cidr] = left
    else:
        found["block"].pop(cidr, None)
    if found["block"]:
        client.put(key, dumps(found))
    else:
        client.delete(key)


def release_affinities(client, node=None, network=None):
    """The blocks of a node, or those within a network, belong to nobody; the empty ones vanish."""
    place = f"{ROOT}/host/" + (f"{node}/" if node else "")
    for key in client.tree(place)[0]:
        if "/block/" not in key:
            continue
        cidr = ipaddress.ip_network(key.rpartition("/")[2].replace("-", "/"))
        if network is None or (cidr.version == network.version and cidr.subnet_of(network)):
            _disown(client, cidr)
            client.delete(key)


def _disown(client, cidr):
    key = f"{ROOT}/assignment/ipv{cidr.version}/block/{str(cidr).replace('/', '-')}"
    value = client.get(key)
    if value is None:
        return
    block = json.loads(value)
    if in_use(block):
        client.put(key, dumps({**block, "affinity": None}))
    else:
        client.delete(key)
