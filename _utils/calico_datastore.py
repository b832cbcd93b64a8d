"""
The datastore as it is: every kind of it is read into one :class:`calico_topology.Cluster`.

etcd is read over HTTP, the Kubernetes API through calicoctl. What cannot be read is an error of its
own, never an empty answer. Side effects: reads only. No Salt.
"""

import calico_ctl
import calico_etcd
import calico_topology

_RESOURCES = "/calico/resources/v3/projectcalico.org/"
_ADDRESSES = "/calico/ipam/v2/"

# What one needs to know -> where it lies. The kinds are those that calicoctl is asked for. Affinities
# say which node has which blocks: a small part of what blocks are.
PARTS = {
    "etcdv2": {
        "ready": ("/calico/v1/Ready",),
        "bgp": ("/calico/bgp/v1",),
        "pools": ("/calico/v1/ipam",),
        "felix": ("/calico/v1/config",),
        "workloads": ("/calico/v1/host",),
        "blocks": (_ADDRESSES[:-1],),
        "affinities": (_ADDRESSES + "host",),
    },
    "etcdv3": {
        "ready": (_RESOURCES + "clusterinformations/",),
        "bgp": tuple(_RESOURCES + kind for kind in ("nodes/", "bgppeers/", "bgpconfigurations/")),
        "pools": (_RESOURCES + "ippools/",),
        "felix": (_RESOURCES + "felixconfigurations/",),
        "workloads": (_RESOURCES + "workloadendpoints/",),
        "blocks": (_ADDRESSES + "assignment/", _ADDRESSES + "host/"),
        "affinities": (_ADDRESSES + "host/",),
    },
    "kubernetes": {
        "ready": ("ClusterInformation",),
        "bgp": ("Node", "BGPPeer", "BGPConfiguration"),
        "pools": ("IPPool",),
        "felix": ("FelixConfiguration",),
        "workloads": ("WorkloadEndpoint",),
        # The addresses in use are read from the workloads: calicoctl does not show blocks as resources.
        "blocks": (),
        "affinities": (),
    },
}
# Parts in which a kind of resource is found; other kinds are asked from calicoctl.
KINDS = {
    "ipPool": "pools",
    "bgpPeer": "bgp",
    "node": "bgp",
    "IPPool": "pools",
    "BGPPeer": "bgp",
    "Node": "bgp",
    "BGPConfiguration": "bgp",
    "FelixConfiguration": "felix",
    "ClusterInformation": "ready",
}


class Unavailable(Exception):
    """The datastore could not be read; the text says why."""

    @property
    def certificate_refused(self):
        """Whether etcd is there and does not accept our certificate."""
        reasons = getattr(self.__cause__, "reasons", {}).values()
        return any(isinstance(reason, calico_etcd.ClientCertificateRefused) for reason in reasons)


def cluster(datastore, parts, etcd=None, calicoctl=None):
    """
    What the datastore holds of these parts.

    datastore
        ``etcdv2``, ``etcdv3`` or ``kubernetes``.
    parts
        Names of :data:`PARTS`.
    etcd
        Makes the client for etcd (a function without arguments, a context manager).
    calicoctl
        Asks calicoctl for one kind (a function of the kind that returns a list of resources).

    Returns a :class:`calico_topology.Cluster`. Raises :class:`Unavailable`.
    """
    places = [place for part in parts for place in PARTS[datastore][part]]
    try:
        if datastore == "kubernetes":
            found = [resource for kind in places for resource in _of_kind(calicoctl, kind)]
            return calico_topology.from_v3(found)
        with etcd() as client:
            if datastore == "etcdv2":
                return calico_topology.from_v2(_keys_v2(client, places))
            pairs = {}
            for prefix in places:
                pairs.update(client.range_v3(prefix)[0])
            return calico_topology.from_v3_keys(pairs)
    except (calico_etcd.EtcdError, calico_ctl.CtlError) as err:
        raise Unavailable("The datastore cannot be read: %s" % err) from err
    except calico_topology.Unreadable as err:
        raise Unavailable("The datastore holds what Calico cannot read: %s" % err) from err


def _keys_v2(client, places):
    keys = {}
    for place in places:
        keys.update(client.tree_v2(place))
    return keys


def _of_kind(calicoctl, kind):
    for resource in calicoctl(kind):
        yield dict(resource, kind=resource.get("kind") or kind)
