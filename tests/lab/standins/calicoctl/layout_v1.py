"""Resources as Calico 2.6 keeps them in etcd's v2 keys: reading, writing, removing."""

import contextlib
import ipaddress
import uuid

from . import blocks, structs
from .errors import AlreadyExists, NotFound
from .keys_v1 import BGP, BGP_HOSTS, HOSTS, PROFILES, READERS, V1, WRITERS


class Layout:
    def __init__(self, client, version, _kinds, schema):
        self.client = client
        self._version = version
        self._schema = schema

    def initialise(self):
        """What the first writer leaves in an empty datastore."""
        import etcdv2

        for key, value in (
            (f"{V1}/config/ClusterGUID", uuid.uuid4().hex),
            (f"{V1}/Ready", "true"),
        ):
            with contextlib.suppress(etcdv2.KeyExists):
                self.client.put(key, value, prev_exist=False)

    # --- reading ---

    def list(self, kind, wanted):
        """All resources of KIND whose metadata has what WANTED has; there is no revision."""
        trees = {}

        def read(prefix):
            if prefix not in trees:
                trees[prefix] = self.client.tree(prefix)[0]
            return trees[prefix]

        found = [
            self._resource(kind, metadata, spec)
            for metadata, spec in READERS[kind.name](read)
            if all(metadata.get(name) == value for name, value in wanted.items() if value)
        ]
        if not found and kind.missing_is_error and wanted.get(kind.argument):
            raise NotFound(identity(kind, wanted))
        return found, ""

    def _resource(self, kind, metadata, spec):
        values = {
            "kind": kind.kind,
            "apiVersion": self._version.api_version,
            "metadata": _given(metadata),
            "spec": _given(spec),
        }
        return structs.encode(self._schema, kind.name, values)

    def as_number(self):
        return self.client.get(f"{BGP}/global/as_num") or "64512"

    # --- writing ---

    def create(self, kind, resource):
        import etcdv2

        try:
            self._write(kind, resource, prev_exist=False)
        except etcdv2.KeyExists:
            raise AlreadyExists(identity(kind, resource["metadata"])) from None

    def replace(self, kind, resource):
        import etcdv2

        try:
            self._write(kind, resource, prev_exist=True)
        except etcdv2.KeyMissing:
            raise NotFound(identity(kind, resource["metadata"])) from None

    def apply(self, kind, resource):
        self._write(kind, resource)

    def _write(self, kind, resource, prev_exist=None):
        (first, stored), *others = WRITERS[kind.name](resource["metadata"], resource["spec"]).items()
        self.client.put(first, stored, prev_exist=prev_exist)
        for key, value in others:
            if value is None:
                self.client.delete(key)
            else:
                self.client.put(key, value)
        if kind.name == "IPPool" and (resource["spec"].get("ipip") or {}).get("enabled"):
            self.client.put(f"{V1}/config/IpInIpEnabled", "true")

    # --- removing ---

    def delete(self, kind, metadata):
        first = next(iter(WRITERS[kind.name](metadata, {})))
        if kind.name == "IPPool":
            self._retire_pool(kind, metadata)
        if kind.name == "Node":
            self._forget_node(kind, metadata, first)
        elif not self.client.delete(first):
            raise NotFound(identity(kind, metadata))
        if kind.name == "Profile":
            self.client.delete(f"{PROFILES}/{metadata['name']}", recursive=True)

    def _retire_pool(self, kind, metadata):
        for pool in self.list(kind, metadata)[0]:
            pool["spec"]["disabled"] = True
            self._write(kind, pool)
            blocks.release_affinities(self.client, network=ipaddress.ip_network(metadata["cidr"]))

    def _forget_node(self, kind, metadata, first):
        """All that hangs on a node goes with it."""
        if self.client.get(first) is None:
            raise NotFound(identity(kind, metadata))
        name = metadata["name"]
        tree, _ = self.client.tree(f"{HOSTS}/{name}/workload")
        for endpoint, spec in READERS["WorkloadEndpoint"](lambda _prefix: tree):
            if endpoint["node"] == name:
                for network in spec["ipNetworks"]:
                    blocks.release(self.client, ipaddress.ip_interface(network).ip)
        blocks.release_affinities(self.client, node=name)
        for place in (f"{HOSTS}/{name}", f"{BGP_HOSTS}/{name}", f"{blocks.ROOT}/host/{name}"):
            self.client.delete(place, recursive=True)


def _given(values):
    return {name: value for name, value in values.items() if value is not None}


def identity(kind, metadata):
    """A resource as errors name it."""
    if kind.name == "BGPPeer":
        where = f"node={metadata['node']}" if metadata.get("node") else "global"
        return f"BGPPeer({where}, ip={metadata['peerIP']})"
    parts = ", ".join(f"{name}={metadata.get(name, '')}" for name in kind.identity)
    return f"{kind.name}({parts})"
