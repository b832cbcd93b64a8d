"""
What differs between the generations of Calico, as data.

A *generation* is what ``calico:version`` belongs to, named after the ``apiVersion`` of its resources:
``v1`` for calico/node 2.6.x, ``v3`` for 3.x. Every difference between generations that the formula
knows of stands here, in :mod:`calico_schema` (which settings there are), in :mod:`calico_felix` or in
:mod:`calico_kinds`; the code that reads these tables is the same for all. Where minor releases of
a generation differ, a row has the first minor release that it holds for.

Pure data: no Salt, no side effects.
"""

# When packets between nodes are wrapped: word of the pillar -> value of the variables.
_ENCAPSULATION = {"never": "Never", "always": "Always", "crosssubnet": "CrossSubnet"}
_YES_NO = {True: "true", False: "false"}

GENERATIONS = {
    "v1": {
        "versions": "2.6.x",
        "datastores": ("etcdv2",),
        # What the chapter's unit sets and Felix would otherwise decide differently.
        "felix_defaults": {
            "DefaultEndpointToHostAction": "ACCEPT",
            "Ipv6Support": False,
            "LogSeverityScreen": "info",
            "IpInIpMtu": 1440,
            "HealthEnabled": True,
        },
        # Variables without a setting of their own; calico:env may override them.
        "env_defaults": {
            "CALICO_LIBNETWORK_ENABLED": "true",
            "CALICO_DISABLE_FILE_LOGGING": "true",
        },
        # Variables that are left out where their value is the image's own default.
        "env_in_image": {"DATASTORE_TYPE": "etcdv2"},
        "backends": {"bird": 0, "gobgp": 0, "none": 0},
        # Where the address may be 'none': variables without which a node has no router ID then.
        "without_ipv4": None,
        "autodetection": {"first-found": 0, "can-reach": 0, "interface": 0, "skip-interface": 0},
        # Interfaces on which first-found and skip-interface do not look for the node's address
        # (regular expressions, found anywhere in the name).
        "internal_interfaces": (
            *("docker.*", "cbr.*", "dummy.*", "virbr.*", "lxcbr.*", "veth.*", "lo"),
            *("cali.*", "tunl.*", "flannel.*", "kube-ipvs.*"),
        ),
        # Node names are used as they are; v3 turns them into lower case.
        "lower_case_names": False,
        # How the default pools' variables follow from a pool's words, one row for each: end of the
        # name, word, families, first minor release, values, and the value that needs no variable.
        "pool_environment": (
            (
                "IPIP",
                "ipip",
                (4,),
                0,
                {"never": "off", "always": "always", "crosssubnet": "cross-subnet"},
                (),
            ),
            ("NAT_OUTGOING", "nat_outgoing", (4,), 0, _YES_NO, (True,)),
            ("NAT_OUTGOING", "nat_outgoing", (6,), 0, _YES_NO, (False,)),
        ),
        # The first minor release whose IPv6 pools may have VXLAN.
        "vxlan_of_ipv6": None,
        # Name that the image gives the default pools; None where pools have no names.
        "pool_name": None,
        # The same path on the host and in the container; the certificates come first, see mounts().
        "mounts": (
            "/var/run/calico",
            "/lib/modules",
            "/run/docker/plugins",
            "/var/run/docker.sock",
            "/var/log/calico",
        ),
        # Further ones, where one of Felix' settings is on, and settings of Felix that name one.
        "mounts_for": {},
        "mounts_of": (),
        "cni_version": "0.1.0",
        "cni_log_levels": ("debug", "info", "warning"),
        # Where True, the configuration is a list: Calico's plugin and those that work on after it.
        "cni_chain": False,
        "cni_mtu": ((0, 1500),),
        "calicoctl_config": {"apiVersion": "v1", "kind": "calicoApiConfig"},
        "etcd_api": "v2",
        # Whether the Go that it was built with knows keys of this kind.
        "ed25519": False,
    },
    "v3": {
        "versions": "3.x",
        "datastores": ("etcdv3", "kubernetes"),
        "felix_defaults": {
            "DefaultEndpointToHostAction": "ACCEPT",
            "Ipv6Support": False,
            "LogSeverityScreen": "info",
            "HealthEnabled": True,
        },
        "env_defaults": {
            # Outside a pod it finds no service account, and in 3.32 ends the process again and again.
            "CALICO_MANAGE_CNI": "false",
            "CALICO_DISABLE_FILE_LOGGING": "true",
        },
        "env_in_image": {},
        "backends": {"bird": 0, "vxlan": 7, "none": 0},
        "without_ipv4": {"CALICO_ROUTER_ID": "hash"},
        "autodetection": {
            "first-found": 0,
            "can-reach": 0,
            "interface": 0,
            "skip-interface": 0,
            "cidr": 16,
            "kubernetes-internal-ip": 22,
        },
        "internal_interfaces": (
            *("^docker.*", "^cbr.*", "^dummy.*", "^podman.*", "^virbr.*", "^lxcbr.*", "^veth.*", "^lo"),
            *("^br-.*", "^cali.*", "^tunl.*", "^flannel.*", "^kube-ipvs.*", "^cni.*"),
            *("^vxlan.calico", "^vxlan-v6.calico", "^wireguard.cali", "^wg-v6.cali", "^nodelocaldns.*"),
        ),
        "lower_case_names": True,
        "pool_environment": (
            ("IPIP", "ipip", (4,), 0, _ENCAPSULATION, ()),
            ("VXLAN", "vxlan", (4,), 7, _ENCAPSULATION, ("never",)),
            ("VXLAN", "vxlan", (6,), 23, _ENCAPSULATION, ("never",)),
            ("BLOCK_SIZE", "block_size", (4,), 10, None, (None, 26)),
            ("BLOCK_SIZE", "block_size", (6,), 10, None, (None, 122)),
            ("NODE_SELECTOR", "node_selector", (4, 6), 10, None, (None, "all()")),
            ("NAT_OUTGOING", "nat_outgoing", (4,), 0, _YES_NO, (True,)),
            ("NAT_OUTGOING", "nat_outgoing", (6,), 0, _YES_NO, (False,)),
            ("DISABLE_BGP_EXPORT", "disable_bgp_export", (4, 6), 24, _YES_NO, (None, False)),
        ),
        "vxlan_of_ipv6": 23,
        "pool_name": {4: "default-ipv4-ippool", 6: "default-ipv6-ippool"},
        "mounts": (
            # calico/node does not start without a place for its name, and the CNI plugin reads it there.
            "/var/lib/calico",
            "/var/run/calico",
            "/lib/modules",
            # Holds the lock of iptables: mounted alone, docker would make a directory of that name
            # where the host has no such file yet.
            "/run",
            "/var/log/calico",
        ),
        "mounts_for": {"BPFEnabled": ("/sys/fs/bpf",)},
        "mounts_of": ("PolicySyncPathPrefix",),
        "cni_version": "0.3.1",
        "cni_log_levels": ("debug", "info", "warning", "error"),
        "cni_chain": True,
        # 0: the plugin takes what Felix found out, which is so since 3.17.
        "cni_mtu": ((17, 0), (0, 1500)),
        "calicoctl_config": {"apiVersion": "projectcalico.org/v3", "kind": "CalicoAPIConfig"},
        "etcd_api": "v3",
        "ed25519": True,
    },
}


def generation_of(major, minor):
    """
    Name of the generation a release belongs to.

    major, minor
        The first two numbers of the release (int).

    Returns the name, a key of :data:`GENERATIONS`, or None where the formula has no data for it.
    """
    if (major, minor) == (2, 6):
        return "v1"
    if major == 3:
        return "v3"
    return None


def cni_mtu(tables, minor):
    """The MTU that the CNI configuration gets where the pillar says nothing (bytes)."""
    return next(mtu for since, mtu in tables["cni_mtu"] if minor >= since)


def since(table, minor):
    """The keys of a table (name: first minor release) that hold for a minor release, in its order."""
    return [name for name, first in table.items() if minor >= first]
