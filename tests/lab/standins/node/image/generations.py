"""What differs between calico/node's generations, as data."""

from __future__ import annotations

from dataclasses import dataclass

_TIMERS = ("connect delay time 2", "connect retry time 5", "error wait time 5,30")


@dataclass(frozen=True)
class Generation:
    """One generation: its defaults, its datastore layout, its BIRD configuration."""

    layout: str  # the module that knows the keys
    default_pools: dict[int, str]  # IP version -> CIDR of the pool made when there is none
    smallest_pool: dict[int, int]  # IP version -> longest prefix a pool may have
    log_level: str
    mesh_waits: tuple[str, ...]  # what the node with the lower address says of a mesh session
    bgp_filter: str
    kernel_filter: str
    kernel: tuple[str, ...]
    direct: tuple[str, ...]
    peer: tuple[str, ...]


V2 = Generation(
    layout="layout_v1",
    default_pools={4: "192.168.0.0/16", 6: "fd80:24e2:f998:72d6::/64"},
    smallest_pool={4: 26, 6: 122},
    log_level="info",
    # Both sides connect. Where they do so within one second, BIRD may drop the session that it has
    # and the routes with it; that is chance, so here one side gives the other time to be first.
    mesh_waits=("connect delay time 30",),
    bgp_filter="calico_pools",
    kernel_filter="calico_ipip",
    kernel=("learn", "persist", "scan time 2", "import all", "graceful restart"),
    direct=('interface -"cali*", "*"',),
    peer=(
        'description "Connection to BGP peer"',
        "multihop",
        "gateway recursive",
        "import all",
        "next hop self",
        "add paths on",
        "graceful restart",
        *_TIMERS,
    ),
)

_BY_MAJOR = {2: V2}


def of(version: str) -> Generation:
    """The generation of a version such as ``v2.6.2``."""
    major = int(version.lstrip("v").split(".")[0])
    try:
        return _BY_MAJOR[major]
    except KeyError:
        known = ", ".join(f"v{number}" for number in sorted(_BY_MAJOR))
        raise SystemExit(f"no stand-in for calico/node {version}; known: {known}") from None
