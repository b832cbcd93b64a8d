"""Where the CNI plugin of each generation leaves a workload's keys, and what is in them."""

from __future__ import annotations

import datetime
import json
import time

PROFILE = "lab"
# Of containers that nobody orchestrates.
_ORCHESTRATOR = "cni"


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


class V1:
    """etcd's v2 keys."""

    affinity = ""

    def __init__(self, endpoints: list[str], **certificates: str):
        import etcdv2

        self.client = etcdv2.Client(endpoints, **certificates)
        self.Error, self.KeyExists = etcdv2.EtcdError, etcdv2.KeyExists

    @staticmethod
    def new_block(cidr: str, node: str, size: int) -> dict:
        return {
            "cidr": cidr,
            "affinity": f"host:{node}",
            "strictAffinity": False,
            "allocations": [None] * size,
            "unallocated": list(range(size)),
            "attributes": [],
        }

    @staticmethod
    def allocated(block: dict, ordinal: int, node: str) -> dict:
        """What the block says of an address that has just been taken."""
        return {"node": node}

    @staticmethod
    def released(block: dict, ordinal: int) -> None:
        """Nothing more is known of an address."""

    @staticmethod
    def handle(cidr: str) -> dict:
        return {"block": {cidr: 1}}

    def write_profile(self) -> None:
        """Whatever enforces policy lets everything pass."""
        allow = [{"action": "allow"}]
        for word, value in {
            "rules": {"inbound_rules": allow, "outbound_rules": allow},
            "tags": [PROFILE],
            "labels": {},
        }.items():
            self.client.put(f"/calico/v1/policy/profile/{PROFILE}/{word}", compact(value))

    @staticmethod
    def _endpoint(node: str, name: str) -> str:
        return f"/calico/v1/host/{node}/workload/{_ORCHESTRATOR}/{name}/endpoint/eth0"

    def write_endpoint(self, node: str, name: str, interface: str, mac: str, network: str) -> None:
        value = {
            "state": "active",
            "name": interface,
            "active_instance_id": "",
            "mac": mac,
            "profile_ids": [PROFILE],
            "ipv4_nets": [network],
            "ipv6_nets": [],
        }
        self.client.put(self._endpoint(node, name), compact(value))

    def delete_endpoint(self, node: str, name: str) -> None:
        self.client.delete(self._endpoint(node, name))


class V3:
    """etcd's v3 keys; resources as calicoctl writes them."""

    affinity = compact({"state": "confirmed", "deleted": False})

    def __init__(self, endpoints: list[str], **certificates: str):
        import etcdv3
        from calicoctl import kinds, layout_v3, structs, versions

        self.client = etcdv3.Client(endpoints, **certificates)
        self.Error, self.KeyExists = etcdv3.EtcdError, etcdv3.KeyExists
        version = next(version for version in versions.VERSIONS.values() if not version.first)
        self._kinds = kinds.Kinds(version)
        schema = structs.load("v3", version.number)
        self._resources = layout_v3.Layout(self.client, version, self._kinds, schema)
        self._api_version = version.api_version

    @staticmethod
    def new_block(cidr: str, node: str, size: int) -> dict:
        return {
            "cidr": cidr,
            "affinity": f"host:{node}",
            "allocations": [None] * size,
            "unallocated": list(range(size)),
            "attributes": [],
            "sequenceNumber": time.time_ns(),
            "sequenceNumberForAllocation": {},
            "deleted": False,
        }

    @staticmethod
    def allocated(block: dict, ordinal: int, node: str) -> dict:
        block["sequenceNumberForAllocation"][str(ordinal)] = block["sequenceNumber"]
        block["sequenceNumber"] += 1
        now = datetime.datetime.now(datetime.timezone.utc)
        return {"node": node, "timestamp": f"{now:%Y-%m-%d %H:%M:%S.%f} +0000 UTC"}

    @staticmethod
    def released(block: dict, ordinal: int) -> None:
        block["sequenceNumberForAllocation"].pop(str(ordinal), None)
        block["sequenceNumber"] += 1

    @staticmethod
    def handle(cidr: str) -> dict:
        return {"block": {cidr: 1}, "deleted": False}

    def write_profile(self) -> None:
        rule = {"action": "Allow", "source": {}, "destination": {}}
        spec = {"ingress": [rule], "egress": [rule], "labelsToApply": {PROFILE: ""}}
        self._write("Profile", {"name": PROFILE}, spec)

    @staticmethod
    def _identity(node: str, name: str) -> dict:
        parts = (node, _ORCHESTRATOR, name, "eth0")
        return {"name": "-".join(part.replace("-", "--") for part in parts), "namespace": "default"}

    def write_endpoint(self, node: str, name: str, interface: str, mac: str, network: str) -> None:
        labels = {
            "projectcalico.org/namespace": "default",
            "projectcalico.org/orchestrator": _ORCHESTRATOR,
        }
        spec = {
            "orchestrator": _ORCHESTRATOR,
            "node": node,
            "containerID": name,
            "endpoint": "eth0",
            "ipNetworks": [network],
            "profiles": [PROFILE],
            "interfaceName": interface,
            "mac": mac,
        }
        self._write("WorkloadEndpoint", {**self._identity(node, name), "labels": labels}, spec)

    def delete_endpoint(self, node: str, name: str) -> None:
        """Its address is given back apart, as the plugin does."""
        metadata = self._identity(node, name)
        kind = self._kind("WorkloadEndpoint")
        place = f"{metadata['namespace']}/{metadata['name']}"
        self.client.delete(f"/calico/resources/v3/projectcalico.org/{kind.plural}/{place}")

    def _write(self, kind_name: str, metadata: dict, spec: dict) -> None:
        from calicoctl import errors

        kind = self._kind(kind_name)
        try:
            there = self._resources.get(kind, metadata)
        except errors.NotFound:
            self._resources.create(kind, {"metadata": metadata, "spec": spec})
            return
        if there["spec"] != spec:
            self._resources.replace(kind, {"metadata": metadata, "spec": spec})

    def _kind(self, name: str):
        return self._kinds.by_document(self._api_version, name)


def of(version: str) -> type:
    """The layout of a version such as ``v2.6.2``."""
    return V1 if version.lstrip("v").startswith("2.") else V3
