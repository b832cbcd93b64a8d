#!/usr/bin/env python3
"""Attach a workload to Calico's network on this host, as the CNI plugin of 2.6 would.

    attach.py add NAME --node NODE --etcd URL[,URL] --pool CIDR   # prints what there is, as JSON
    attach.py del NAME --node NODE --etcd URL[,URL]

The workload is a network namespace NAME behind a `cali…` interface. Needs `etcdv2.py` beside this
file or one directory above. Doing either twice changes nothing the second time.
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

import etcdv2  # noqa: E402  (found by the line above)

_LOCK = "/run/calico-workload.lock"
_IPAM = "/calico/ipam/v2"
_BLOCK_LENGTH = 26
# A next hop that no interface has: the host's end answers for it (proxy_arp).
_GATEWAY = "169.254.1.1"
_PROFILE = "lab"
# Whatever enforces policy lets everything pass.
_PROFILE_KEYS = {
    "rules": {"inbound_rules": [{"action": "allow"}], "outbound_rules": [{"action": "allow"}]},
    "tags": [_PROFILE],
    "labels": {},
}


class Failed(Exception):
    pass


class Workload:
    def __init__(self, store: etcdv2.Client, name: str, node: str):
        self._store, self._name, self._node = store, name, node
        self._handle = f"lab.{node}.{name}"
        digest = hashlib.sha1(self._handle.encode()).hexdigest()
        self._interface = f"cali{digest[:11]}"
        self._endpoint_key = f"/calico/v1/host/{node}/workload/cni/{name}/endpoint/eth0"

    def add(self, pool: ipaddress.IPv4Network) -> dict:
        address, block = self._held() or self._assign(pool)
        mac = self._attach(address)
        for word, value in _PROFILE_KEYS.items():
            self._put(f"/calico/v1/policy/profile/{_PROFILE}/{word}", value)
        self._put(
            self._endpoint_key,
            {
                "state": "active",
                "name": self._interface,
                "active_instance_id": "",
                "mac": mac,
                "profile_ids": [_PROFILE],
                "ipv4_nets": [f"{address}/32"],
                "ipv6_nets": [],
            },
        )
        return {
            "name": self._name,
            "interface": self._interface,
            "address": str(address),
            "block": str(block),
        }

    def delete(self) -> dict:
        self._store.delete(self._endpoint_key)
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
            block = {
                "cidr": str(network),
                "affinity": f"host:{self._node}",
                "strictAffinity": False,
                "allocations": [None] * network.num_addresses,
                "unallocated": list(range(network.num_addresses)),
                "attributes": [],
            }
            try:
                self._put(self._block_key(network), block, prev_exist=False)
            except etcdv2.KeyExists:
                block = self._block(network)
                # This host's own, from a run that was cut short, or another's.
                if block is None or block["affinity"] != f"host:{self._node}":
                    continue
            self._store.put(f"{_IPAM}/host/{self._node}/ipv4/block/{dashed(network)}", "")
            if block["unallocated"]:
                return network, block
        raise Failed(f"no free block in {pool}")

    def _take(self, network: ipaddress.IPv4Network, block: dict) -> ipaddress.IPv4Address:
        ordinal = block["unallocated"].pop(0)
        block["allocations"][ordinal] = len(block["attributes"])
        block["attributes"].append({"handle_id": self._handle, "secondary": {"node": self._node}})
        # The handle first: what is cut short here can be given back by it.
        self._put(f"{_IPAM}/handle/{self._handle}", {"block": {str(network): 1}})
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
        self._put(self._block_key(network), block)
        self._store.delete(f"{_IPAM}/handle/{self._handle}")

    def _block(self, network: ipaddress.IPv4Network) -> dict | None:
        value = self._store.get(self._block_key(network))
        return json.loads(value) if value else None

    def _block_key(self, network: ipaddress.IPv4Network) -> str:
        return f"{_IPAM}/assignment/ipv4/block/{dashed(network)}"

    def _put(self, key: str, value: object, **condition) -> None:
        self._store.put(key, json.dumps(value, separators=(",", ":")), **condition)

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
    store = etcdv2.Client(given.etcd.split(","), ca=given.ca, cert=given.cert, key=given.key)
    workload = Workload(store, given.name, given.node)
    # A block belongs to one host, and on a host to one of these at a time.
    with open(_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            done = workload.add(given.pool) if given.action == "add" else workload.delete()
        except (Failed, etcdv2.EtcdError) as error:
            print(f"attach.py: {error}", file=sys.stderr)
            return 1
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
