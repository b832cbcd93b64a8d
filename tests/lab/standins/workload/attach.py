#!/usr/bin/env python3
"""Attach a workload to Calico's network on this host, as the CNI plugin would.

    attach.py add NAME --node NODE --etcd URL[,URL] --pool CIDR   # prints what there is, as JSON
    attach.py del NAME --node NODE --etcd URL[,URL]

The workload is a network namespace NAME behind a `cali…` interface. Needs what the stand-ins share
one directory above. Doing either twice changes nothing the second time.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import ipaddress
import json
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[1:1] = [str(_HERE.parent)]

import layouts  # noqa: E402  (what it needs is found by the line above)

_LOCK = "/run/calico-workload.lock"
_IPAM = "/calico/ipam/v2"
_BLOCK_LENGTH = 26
# A next hop that no interface has: the host's end answers for it (proxy_arp).
_GATEWAY = "169.254.1.1"


class Failed(Exception):
    pass


class Workload:
    def __init__(self, layout: layouts.V1 | layouts.V3, name: str, node: str):
        self._layout, self._store = layout, layout.client
        self._name, self._node = name, node
        self._handle = f"lab.{node}.{name}"
        digest = hashlib.sha1(self._handle.encode()).hexdigest()
        self._interface = f"cali{digest[:11]}"

    def add(self, pool: ipaddress.IPv4Network) -> dict:
        address, block = self._held() or self._assign(pool)
        mac = self._attach(address)
        self._layout.write_profile()
        self._layout.write_endpoint(self._node, self._name, self._interface, mac, f"{address}/32")
        return {
            "name": self._name,
            "interface": self._interface,
            "address": str(address),
            "block": str(block),
        }

    def delete(self) -> dict:
        self._layout.delete_endpoint(self._node, self._name)
        ip("link", "delete", self._interface, check=False)
        ip("netns", "delete", self._name, check=False)
        while held := self._held():
            self._release(*held)
        self._store.delete(f"{_IPAM}/handle/{self._handle}")
        return {"name": self._name, "interface": self._interface}

    # --- addresses

    def _held(self) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Network] | None:
        """The address that the workload has, and its block."""
        value = self._store.get(f"{_IPAM}/handle/{self._handle}")
        for cidr in json.loads(value)["block"] if value else {}:
            block = self._block(ipaddress.ip_network(cidr))
            for ordinal, attribute in enumerate(block["allocations"] if block else []):
                if attribute is None:
                    continue
                if block["attributes"][attribute]["handle_id"] == self._handle:
                    network = ipaddress.ip_network(cidr)
                    return network[ordinal], network
        return None

    def _assign(self, pool: ipaddress.IPv4Network) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Network]:
        for network in self._own_blocks(pool):
            block = self._block(network)
            if block and block["unallocated"]:
                return self._take(network, block), network
        network, block = self._claim(pool)
        return self._take(network, block), network

    def _own_blocks(self, pool: ipaddress.IPv4Network) -> list[ipaddress.IPv4Network]:
        root = f"{_IPAM}/host/{self._node}/ipv4/block"
        keys, _ = self._store.tree(root)
        blocks = [ipaddress.ip_network(Path(key).name.replace("-", "/")) for key in keys]
        return sorted(block for block in blocks if block.subnet_of(pool))

    def _claim(self, pool: ipaddress.IPv4Network) -> tuple[ipaddress.IPv4Network, dict]:
        """The first free block from a place in the pool that depends on the node's name."""
        count = 2 ** (_BLOCK_LENGTH - pool.prefixlen)
        start = int(hashlib.sha1(self._node.encode()).hexdigest(), 16) % count
        for number in range(count):
            offset = (start + number) % count * 2 ** (32 - _BLOCK_LENGTH)
            network = ipaddress.ip_network((pool[offset], _BLOCK_LENGTH))
            block = self._layout.new_block(str(network), self._node, network.num_addresses)
            try:
                self._put(self._block_key(network), block, prev_exist=False)
            except self._layout.KeyExists:
                block = self._block(network)
                # This host's own, from a run that was cut short, or another's.
                if block is None or block["affinity"] != f"host:{self._node}":
                    continue
            self._store.put(f"{_IPAM}/host/{self._node}/ipv4/block/{dashed(network)}", self._layout.affinity)
            if block["unallocated"]:
                return network, block
        raise Failed(f"no free block in {pool}")

    def _take(self, network: ipaddress.IPv4Network, block: dict) -> ipaddress.IPv4Address:
        ordinal = block["unallocated"].pop(0)
        block["allocations"][ordinal] = len(block["attributes"])
        more = self._layout.allocated(block, ordinal, self._node)
        block["attributes"].append({"handle_id": self._handle, "secondary": more})
        # The handle first: what is cut short here can be given back by it.
        self._put(f"{_IPAM}/handle/{self._handle}", self._layout.handle(str(network)))
        self._put(self._block_key(network), block)
        return network[ordinal]

    def _release(self, address: ipaddress.IPv4Address, network: ipaddress.IPv4Network) -> None:
        block = self._block(network)
        ordinal = int(address) - int(network.network_address)
        attribute = block["allocations"][ordinal]
        del block["attributes"][attribute]
        block["allocations"] = [
            None if index in (None, attribute) else index - (index > attribute)
            for index in block["allocations"]
        ]
        block["unallocated"].append(ordinal)
        self._layout.released(block, ordinal)
        self._put(self._block_key(network), block)
        self._store.delete(f"{_IPAM}/handle/{self._handle}")

    def _block(self, network: ipaddress.IPv4Network) -> dict | None:
        value = self._store.get(self._block_key(network))
        return json.loads(value) if value else None

    def _block_key(self, network: ipaddress.IPv4Network) -> str:
        return f"{_IPAM}/assignment/ipv4/block/{dashed(network)}"

    def _put(self, key: str, value: object, **condition) -> None:
        self._store.put(key, layouts.compact(value), **condition)

    # --- the namespace and its interface

    def _attach(self, address: ipaddress.IPv4Address) -> str:
        """The MAC of the workload's end."""
        if ip("netns", "exec", self._name, "true", check=False).returncode:
            ip("netns", "add", self._name)
        if ip("link", "show", self._interface, check=False).returncode:
            ip("link", "add", self._interface, "type", "veth",
               "peer", "name", "eth0", "netns", self._name)  # fmt: skip
        inside = ("-n", self._name)
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "address", "replace", f"{address}/32", "dev", "eth0")
        ip("link", "set", self._interface, "up")
        ip(*inside, "route", "replace", _GATEWAY, "dev", "eth0", "scope", "link")
        ip(*inside, "route", "replace", "default", "via", _GATEWAY, "dev", "eth0")
        shown = ip(*inside, "-j", "link", "show", "eth0").stdout
        return json.loads(shown)[0]["address"]


def dashed(network: ipaddress.IPv4Network) -> str:
    return str(network).replace("/", "-")


def ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if check and done.returncode:
        raise Failed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("add", "del"))
    parser.add_argument("name")
    parser.add_argument("--node", required=True, help="the node's name in Calico")
    parser.add_argument("--etcd", required=True, help="endpoints, with commas between them")
    parser.add_argument("--calico", default="v2.6.2", help="the version of calico/node here")
    parser.add_argument("--pool", type=ipaddress.IPv4Network, help="for add: the pool's CIDR")
    ssl = Path("/etc/calico/ssl")
    parser.add_argument("--ca", default=str(ssl / "ca.pem"))
    parser.add_argument("--cert", default=str(ssl / "calico.pem"))
    parser.add_argument("--key", default=str(ssl / "calico-key.pem"))
    given = parser.parse_args()
    if given.action == "add" and given.pool is None:
        parser.error("add needs --pool")
    if given.pool is not None and given.pool.prefixlen > _BLOCK_LENGTH:
        parser.error(f"--pool: smaller than a block (/{_BLOCK_LENGTH})")
    return given


def main() -> int:
    given = parsed()
    layout = layouts.of(given.calico)(given.etcd.split(","), ca=given.ca, cert=given.cert, key=given.key)
    workload = Workload(layout, given.name, given.node)
    # A block belongs to one host, and on a host to one of these at a time.
    with open(_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            done = workload.add(given.pool) if given.action == "add" else workload.delete()
        except (Failed, layout.Error) as error:
            print(f"attach.py: {error}", file=sys.stderr)
            return 1
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
