"""Resources as Calico 3 keeps them in etcd's v3 keys: reading, writing, removing."""

import contextlib
import datetime
import ipaddress
import json
import uuid

from . import blocks, rules_v3, structs
from .errors import NO_CAUSE, AlreadyExists, Conflict, CtlError, NotFound, Unsupported

ROOT = "/calico/resources/v3/projectcalico.org"
# name: (order, what happens to packets that no policy of the tier decides on)
TIERS = {"default": (1000000, "Deny"), "kube-admin": (1000, "Pass"), "kube-baseline": (10000000, "Pass")}
# Nobody writes it, everybody sees it.
ALLOW_ALL = {
    "metadata": {"name": "projectcalico-default-allow"},
    "spec": {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]},
}
TRIES = 5


class Layout:
    def __init__(self, client, version, kinds, schema):
        self.client = client
        self._version = version
        self._kinds = kinds
        self._schema = schema

    def initialise(self):
        """What the first writer leaves in an empty datastore."""
        self._write_if_new(
            "ClusterInformation", "default", {"clusterGUID": uuid.uuid4().hex, "datastoreReady": True}
        )
        if self._version.tiers:
            for name, (order, action) in TIERS.items():
                self._write_if_new("Tier", name, {"order": order, "defaultAction": action})

    def _write_if_new(self, kind_name, name, spec):
        import etcdv3

        kind = self._kinds.by_document(self._version.api_version, kind_name)
        resource = self._born({"metadata": {"name": name}, "spec": spec})
        with contextlib.suppress(etcdv3.KeyExists):
            self.client.put(self._key(kind, resource["metadata"]), self._stored(kind, resource), False)

    # --- reading ---

    def list(self, kind, metadata):
        """All resources of KIND that METADATA matches, and the revision of the datastore."""
        place = f"{ROOT}/{kind.plural}/"
        if metadata.get("namespace"):
            place += f"{metadata['namespace']}/"
        entries, revision = self.client.entries(place)
        found = [self._loaded(entry) for entry in entries]
        if kind.name == "Profile":
            own = {**ALLOW_ALL["metadata"], "resourceVersion": str(revision)}
            found.append({**self._typed(kind, ALLOW_ALL), "metadata": own})
            found.sort(key=lambda resource: resource["metadata"]["name"])
        return found, str(revision)

    def get(self, kind, metadata):
        if kind.name == "Profile" and metadata.get("name") == ALLOW_ALL["metadata"]["name"]:
            return next(
                item for item in self.list(kind, {})[0] if item["metadata"]["name"] == metadata["name"]
            )
        entry = self.client.entry(self._key(kind, metadata))
        if entry is None:
            raise NotFound(identity(kind, metadata), NO_CAUSE)
        return self._loaded(entry)

    @staticmethod
    def _loaded(entry):
        resource = json.loads(entry.value)
        resource["metadata"]["resourceVersion"] = str(entry.revision)
        return resource

    def as_number(self):
        entry = self.client.entry(f"{ROOT}/bgpconfigurations/default")
        spec = json.loads(entry.value).get("spec") or {} if entry else {}
        return str(spec.get("asNumber", 64512))

    # --- writing ---

    def create(self, kind, resource):
        import etcdv3

        self._changeable(kind, "create")
        new = self._prepared(kind, resource, None)
        # Whatever the file says of another cluster's object is not for this one.
        for field in ("uid", "creationTimestamp", "resourceVersion"):
            new["metadata"].pop(field, None)
        try:
            self.client.put(self._key(kind, new["metadata"]), self._stored(kind, self._born(new)), False)
        except etcdv3.KeyExists:
            cause = NO_CAUSE if self._version.exists_with_cause else ""
            raise AlreadyExists(identity(kind, new["metadata"]), cause) from None

    def apply(self, kind, resource):
        self._changeable(kind, "apply")
        try:
            self.create(kind, resource)
        except AlreadyExists:
            self.replace(kind, resource)

    def replace(self, kind, resource):
        self._changeable(kind, "replace")
        asked = resource["metadata"].get("resourceVersion")
        for _attempt in range(TRIES):
            old = self.get(kind, resource["metadata"])
            if asked and asked != old["metadata"]["resourceVersion"]:
                raise Conflict(identity(kind, resource["metadata"]))
            own = {
                name: resource["metadata"][name]
                for name in ("labels", "annotations")
                if resource["metadata"].get(name)
            }
            kept = {
                name: value
                for name, value in old["metadata"].items()
                if name not in ("labels", "annotations")
            }
            try:
                return self.update(kind, {**resource, "metadata": {**kept, **own}}, old)
            except Conflict:
                if asked:
                    raise
        raise CtlError("failed to update the resource: <nil>")

    def update(self, kind, resource, old):
        """Write what replaces OLD, as long as OLD is what is stored."""
        import etcdv3

        new = self._prepared(kind, resource, old)
        revision = int(old["metadata"]["resourceVersion"])
        try:
            self.client.put(self._key(kind, new["metadata"]), self._stored(kind, new), revision=revision)
        except etcdv3.CompareFailed:
            raise Conflict(identity(kind, new["metadata"])) from None
        except etcdv3.KeyMissing:
            raise NotFound(identity(kind, new["metadata"]), NO_CAUSE) from None

    def _changeable(self, kind, verb):
        if kind.readonly:
            raise Unsupported(f"operation {verb} is not supported on {kind.name}: resource is readonly")

    def _prepared(self, kind, resource, old):
        """A copy, checked and with the defaults."""
        new = json.loads(json.dumps(resource))
        if kind.name == "BGPConfiguration":
            rules_v3.check_bgp_configuration(new)
        if kind.name == "IPPool":
            others = self.list(kind, {})[0] if old is None else []
            rules_v3.check_pool(self._version, new, old, others)
        rules_v3.check(self._version, self._schema, kind, new)
        structs.add_defaults(self._schema, f"{kind.name}Spec", new["spec"])
        if kind.name in ("GlobalNetworkPolicy", "NetworkPolicy"):
            self._policy_defaults(new)
        return new

    def _policy_defaults(self, policy):
        spec = policy["spec"]
        if not spec.get("types"):
            spec["types"] = [word for word in ("Ingress", "Egress") if spec.get(word.lower())] or ["Ingress"]
        if self._version.tiers:
            labels = policy["metadata"].setdefault("labels", {})
            labels["projectcalico.org/tier"] = spec["tier"]

    def _born(self, resource):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {**resource["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now}
        return {**resource, "metadata": metadata}

    def _typed(self, kind, resource):
        return {"kind": kind.name, "apiVersion": self._version.api_version, **resource}

    def _stored(self, kind, resource):
        metadata = {name: value for name, value in resource["metadata"].items() if name != "resourceVersion"}
        full = self._typed(kind, {**resource, "metadata": metadata})
        return blocks.dumps(structs.encode(self._schema, kind.name, full))

    def _key(self, kind, metadata):
        space = f"{metadata.get('namespace') or 'default'}/" if kind.namespaced else ""
        return f"{ROOT}/{kind.plural}/{space}{metadata.get('name', '')}"

    # --- removing ---

    def delete(self, kind, metadata):
        self._changeable(kind, "delete")
        found = self.get(kind, metadata)
        if kind.name == "IPPool":
            self._retire_pool(kind, found)
        if kind.name == "Node":
            self._forget_node(metadata["name"])
        if not self.client.delete(self._key(kind, metadata)):
            raise NotFound(identity(kind, metadata), NO_CAUSE)

    def _retire_pool(self, kind, pool):
        pool["spec"]["disabled"] = True
        self.client.put(self._key(kind, pool["metadata"]), self._stored(kind, pool))
        blocks.release_affinities(self.client, network=ipaddress.ip_network(pool["spec"]["cidr"]))

    def _forget_node(self, name):
        """All that hangs on a node goes with it."""
        for plural in ("workloadendpoints", "bgppeers", "hostendpoints"):
            for entry in self.client.entries(f"{ROOT}/{plural}/")[0]:
                spec = json.loads(entry.value).get("spec") or {}
                if spec.get("node") == name:
                    self._release(spec.get("ipNetworks") or [])
                    self.client.delete(entry.key)
        blocks.release_affinities(self.client, node=name)
        for plural in ("felixconfigurations", "bgpconfigurations"):
            self.client.delete(f"{ROOT}/{plural}/node.{name}")

    def _release(self, networks):
        for network in networks:
            blocks.release(self.client, ipaddress.ip_interface(network).ip)


def identity(kind, metadata):
    """A resource as errors name it."""
    space = f"{metadata['namespace']}/" if kind.namespaced and metadata.get("namespace") else ""
    return f"{kind.name}({space}{metadata.get('name', '')})"
