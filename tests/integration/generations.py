"""What tests must know of a generation: where its datastore keeps nodes, and what its files hold."""

import json

from tests.lab.standins import etcdv2, etcdv3


class V1:
    """Calico 2.6: etcd's v2 keys."""

    newer = "v2.6.12"
    other = "v2.6.7"
    # etcd without the API that this generation needs, and the word for it.
    without_api = ("--enable-v2=false", "v2")
    felix = "calico-felix"
    # What says that a block belongs to a node.
    affinity = ""
    # What is said of a host whose name has become NODE-ONE.
    in_capitals = ("node name", "NODE-ONE", "calico:node:name")
    cni = "/etc/cni/net.d/10-calico.conf"

    def __init__(self, etcd):
        files = [str(etcd.pki / f"{name}.pem") for name in ("ca", "calico", "calico-key")]
        self.client = self._client([etcd.endpoint], *files)

    _client = etcdv2.Client

    def tree(self):
        """All of Calico's keys with their values."""
        return self.client.tree("/calico")[0]

    def empty(self):
        self.client.delete("/calico", recursive=True)

    def nodes(self):
        return {key.split("/")[4] for key in self.tree() if key.startswith("/calico/v1/host/")}

    def add_node(self, name, address):
        """A node as if it had registered, and were away since."""
        self.client.put(f"/calico/v1/host/{name}/metadata", "{}")
        self.client.put(f"/calico/bgp/v1/host/{name}/ip_addr_v4", address)
        self.client.put(f"/calico/bgp/v1/host/{name}/network_v4", address + "/32")

    def remove_node(self, name):
        for tree in ("v1", "bgp/v1"):
            self.client.delete(f"/calico/{tree}/host/{name}", recursive=True)

    def remove_pool(self, cidr):
        self.client.delete("/calico/v1/ipam/v4/pool/" + cidr.replace("/", "-"))

    def pool(self, cidr):
        """The lab's own pool as `calico.pools` shows it."""
        metadata = {"cidr": cidr}
        return {"apiVersion": "v1", "kind": "ipPool", "metadata": metadata, "spec": {"nat-outgoing": True}}

    def cni_data(self, etcd_endpoint, _node):
        return {
            "name": "calico-k8s-network",
            "cniVersion": "0.1.0",
            "type": "calico",
            **_cni_etcd(etcd_endpoint),
            "log_level": "info",
            "mtu": 1500,
            "ipam": {"type": "calico-ipam"},
            "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": "/root/.kube/config"},
        }

    def calicoctl_data(self, etcd_endpoint):
        return {
            "apiVersion": "v1",
            "kind": "calicoApiConfig",
            "metadata": None,
            "spec": {"datastoreType": "etcdv2", **_calicoctl_etcd(etcd_endpoint)},
        }

    # The chapter's `docker run`, with the lab's endpoint and pool.
    container = """
docker run --detach --net=host --privileged --name=chapter
  -e ETCD_ENDPOINTS={endpoint}
  -e ETCD_CA_CERT_FILE=/etc/calico/ssl/ca.pem
  -e ETCD_CERT_FILE=/etc/calico/ssl/calico.pem
  -e ETCD_KEY_FILE=/etc/calico/ssl/calico-key.pem
  -e CALICO_LIBNETWORK_ENABLED=true
  -e CALICO_NETWORKING_BACKEND=bird
  -e CALICO_DISABLE_FILE_LOGGING=true
  -e CALICO_IPV4POOL_CIDR={pool}
  -e CALICO_IPV4POOL_IPIP=off
  -e FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT
  -e FELIX_IPV6SUPPORT=false
  -e FELIX_LOGSEVERITYSCREEN=info
  -e FELIX_IPINIPMTU=1440
  -e FELIX_HEALTHENABLED=true
  -e IP=
  -v /etc/calico/ssl:/etc/calico/ssl
  -v /var/run/calico:/var/run/calico
  -v /lib/modules:/lib/modules
  -v /run/docker/plugins:/run/docker/plugins
  -v /var/run/docker.sock:/var/run/docker.sock
  -v /var/log/calico:/var/log/calico
  {image}
"""


class V3(V1):
    """Calico 3: resources in etcd's v3 keys."""

    newer = "v3.22.6"
    other = "v3.21.0"
    without_api = ("--enable-grpc-gateway=false", "v3")
    felix = "calico-node -felix"
    affinity = json.dumps({"state": "confirmed", "deleted": False})
    # It takes the name in lower case, under which the host has not registered.
    in_capitals = ("node-one", "is registered by node node1")
    cni = "/etc/cni/net.d/10-calico.conflist"
    _client = etcdv3.Client
    _nodes = "/calico/resources/v3/projectcalico.org/nodes/"

    def nodes(self):
        return {key[len(self._nodes) :] for key in self.tree() if key.startswith(self._nodes)}

    def add_node(self, name, address):
        node = {
            "kind": "Node",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": name, "uid": f"lab-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"bgp": {"ipv4Address": address + "/32"}},
            "status": {},
        }
        self.client.put(self._nodes + name, json.dumps(node))

    def remove_node(self, name):
        self.client.delete(self._nodes + name)

    def remove_pool(self, _cidr):
        self.client.delete("/calico/resources/v3/projectcalico.org/ippools/default-ipv4-ippool")

    def pool(self, cidr):
        return {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": "default-ipv4-ippool"},
            "spec": {
                "allowedUses": ["Workload", "Tunnel"],
                "blockSize": 26,
                "cidr": cidr,
                "ipipMode": "Never",
                "natOutgoing": True,
                "nodeSelector": "all()",
                "vxlanMode": "Never",
            },
        }

    def cni_data(self, etcd_endpoint, node):
        calico = {
            "type": "calico",
            "datastore_type": "etcdv3",
            "nodename": node,
            **_cni_etcd(etcd_endpoint),
            "log_level": "info",
            "mtu": 0,
            "ipam": {"type": "calico-ipam"},
            "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": "/root/.kube/config"},
        }
        portmap = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
        return {"name": "calico-k8s-network", "cniVersion": "0.3.1", "plugins": [calico, portmap]}

    def calicoctl_data(self, etcd_endpoint):
        return {
            "apiVersion": "projectcalico.org/v3",
            "kind": "CalicoAPIConfig",
            "metadata": None,
            "spec": {"datastoreType": "etcdv3", **_calicoctl_etcd(etcd_endpoint)},
        }

    # The chapter's, in the words of Calico 3: what has no meaning there any more is not in it.
    container = """
docker run --detach --net=host --privileged --name=chapter
  -e DATASTORE_TYPE=etcdv3
  -e NODENAME={node}
  -e ETCD_ENDPOINTS={endpoint}
  -e ETCD_CA_CERT_FILE=/etc/calico/ssl/ca.pem
  -e ETCD_CERT_FILE=/etc/calico/ssl/calico.pem
  -e ETCD_KEY_FILE=/etc/calico/ssl/calico-key.pem
  -e CALICO_NETWORKING_BACKEND=bird
  -e CALICO_DISABLE_FILE_LOGGING=true
  -e CALICO_MANAGE_CNI=false
  -e CALICO_IPV4POOL_CIDR={pool}
  -e CALICO_IPV4POOL_IPIP=Never
  -e FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT
  -e FELIX_IPV6SUPPORT=false
  -e FELIX_LOGSEVERITYSCREEN=info
  -e FELIX_HEALTHENABLED=true
  -e IP=
  -v /etc/calico/ssl:/etc/calico/ssl
  -v /var/run/calico:/var/run/calico
  -v /var/lib/calico:/var/lib/calico
  -v /lib/modules:/lib/modules
  -v /run:/run
  -v /var/log/calico:/var/log/calico
  {image}
"""


def _cni_etcd(endpoint):
    return {
        "etcd_endpoints": endpoint,
        "etcd_key_file": "/etc/calico/ssl/calico-key.pem",
        "etcd_cert_file": "/etc/calico/ssl/calico.pem",
        "etcd_ca_cert_file": "/etc/calico/ssl/ca.pem",
    }


def _calicoctl_etcd(endpoint):
    return {
        "etcdEndpoints": endpoint,
        "etcdKeyFile": "/etc/calico/ssl/calico-key.pem",
        "etcdCertFile": "/etc/calico/ssl/calico.pem",
        "etcdCACertFile": "/etc/calico/ssl/ca.pem",
    }


def of(lab):
    """The generation of the lab's Calico, with a client of its datastore."""
    return (V1 if lab.settings.calico_version.startswith("v2.") else V3)(lab.etcd)
