"""
Routes that hold while BGP sessions are made anew: copies of BIRD's, which count only once BIRD's are gone.

When a neighbour becomes a route reflector, or stops being one, BIRD replaces its session by another and
withdraws what it brought, for the seconds until the other is Established: packets are lost. A copy of the
route with a worse metric takes over in the same moment, and gives way again by itself. Pure: what ``ip``
prints comes in, what ``ip -batch`` is to do goes out.
"""

import calico_host

# No router of a fleet is likely to use it: it is what a copy is known by.
METRIC = 42179
# BIRD would learn a route of any other protocol, tell its neighbours of it, and remove one of its own; what
# the kernel made itself it leaves alone (`learn` in what calico/node configures BIRD with; krt_got_route).
_PROTOCOL = "kernel"
_MARK = "proto %s metric %d" % (_PROTOCOL, METRIC)
_BIRD = ("bird", "12")


def additions(text):
    """
    The lines for ``ip -batch`` that add a copy of each of BIRD's routes to other hosts.

    text
        What ``ip -json route show`` printed (text).

    Raises :class:`calico_host.HostError` for what is no such output.
    """
    return ["route replace %s %s" % (route["dst"], way) for route, way in _ways(text)]


def held(text):
    """How many copies there are, in what ``ip -json route show`` printed."""
    return sum(route.get("metric") == METRIC for route in calico_host.ip_rows(text, "dst"))


def removal(family):
    """The command that removes all copies of a family."""
    return ["ip", "-%d" % family, "route", "flush", "proto", _PROTOCOL, "metric", str(METRIC)]


def _ways(text):
    for route in calico_host.ip_rows(text, "dst"):
        if route.get("protocol") not in _BIRD or route.get("type", "unicast") != "unicast":
            continue
        hops = route.get("nexthops") or [route]
        ways = [_hop(hop) for hop in hops if _gateway(hop) and "dead" not in hop.get("flags", ())]
        if len(ways) == 1:
            yield route, "%s %s" % (ways[0], _MARK)
        elif ways:
            yield route, "%s %s" % (_MARK, " ".join("nexthop " + way for way in ways))


def _gateway(hop):
    return hop.get("gateway") or hop.get("via", {}).get("host")


def _hop(hop):
    onlink = " onlink" if "onlink" in hop.get("flags", ()) else ""
    return "via %s dev %s%s" % (_gateway(hop), hop["dev"], onlink)
