"""
Is a node ready, and if not, what is missing? The gate's verdict, from what was seen.

What a host shows (service, Felix, BIRD, kernel routes) and what the datastore asks for (sessions,
address blocks) come in as data; the verdict with its reasons goes out. Pure: no Salt, no clock.
"""

import datetime
import ipaddress
import re

import calico_topology

# Kinds of expected sessions in the words that calicoctl and BIRD's sessions have for them.
SESSION_TYPES = {"mesh": "node-to-node mesh", "global": "global", "node": "node specific"}
# So many blocks of a node, or nodes, are named, the others counted.
_NAMED_BLOCKS = 3
# How BIRD writes times: a time of the last 20 hours, an older date, or both where it is told to.
_TIME = re.compile(r"(?:(\d{4})-(\d\d)-(\d\d))?(?:^| |$)(?:(\d\d):(\d\d):(\d\d)(?:\.\d+)?)?")
_DAY = 24 * 3600
# How long Felix must be seen ready, and of which age it needs not, in seconds. One that cannot stay up lives
# for a second, and answers now and then that it is ready; one that starts says so, too, before it is.
HOLD = 2
SETTLED = 30


# --- for how long ------------------------------------------------------------------------------------


def lasted(since, now):
    """
    Seconds between two times as BIRD writes them, or None where that cannot be told.

    since
        ``18:51:08`` (of the last 24 hours) or ``2026-11-20`` or both (text).
    now
        BIRD's own time, date and time (text): its zone may be another than the host's.
    """
    begin, end = _TIME.fullmatch(since or ""), _TIME.fullmatch(now or "")
    if not begin or not end or not end[1] or not end[4] or not (begin[1] or begin[4]):
        return None
    try:
        until = datetime.datetime(*map(int, end.groups()))
        if not begin[1]:
            start = until.replace(hour=int(begin[4]), minute=int(begin[5]), second=int(begin[6]))
            return int((until - start).total_seconds()) % _DAY
        start = datetime.datetime(*(int(part or 0) for part in begin.groups()))
    except ValueError:
        return None
    # A date without a time: whole days.
    passed = until - start if begin[4] else datetime.timedelta(days=(until.date() - start.date()).days)
    return max(int(passed.total_seconds()), 0)


def in_words(seconds):
    """A duration as a person says it: ``45 s``, ``2 min 5 s``, ``3 h 20 min``, ``2 days``."""
    if seconds < 60:
        return "%d s" % seconds
    if seconds < 3600:
        return "%d min %d s" % divmod(seconds, 60)
    if seconds < _DAY:
        return "%d h %d min" % (seconds // 3600, seconds % 3600 // 60)
    days = seconds // _DAY
    return "%d day%s" % (days, "" if days == 1 else "s")


# --- what a host shows -------------------------------------------------------------------------------


def is_up(session, birds):
    """
    Whether a session is Established. BIRD calls it up only after a graceful restart, when routes are
    taken from all at once: until then it waits, and the restart itself is what is to be told.
    """
    waiting = (birds.get(_family_word(session["address"])) or {}).get("graceful_restart")
    return session["established"] or bool(waiting and session["info"] == "Established")


def own_reasons(look, excused=()):
    """
    What keeps the node itself from being ready, sessions apart (list of text).

    look
        ``{unit, service, felix, bird, errors}``: the unit's name, what :mod:`calico_host` says of it
        and of Felix, BIRD's state by family, what kept us from asking BIRD, its sessions, and (``dropped``)
        what packet filters drop of workloads' packets.
    excused
        Families whose BIRD may be in a graceful restart.
    """
    reasons = []
    if not look["service"]["active"]:
        reasons.append("the service %s does not run: %s" % (look["unit"], look["service"]["reason"]))
    if look["felix"]["ready"] is False:
        reasons.append("Felix is not ready: %s" % look["felix"]["reason"])
    reasons.extend(look["errors"])
    reasons.extend(look.get("dropped", ()))
    reasons.extend(
        _restarting(family, look)
        for family, state in look["bird"].items()
        if state["graceful_restart"] and family not in excused
    )
    return reasons


def notes(look, backend):
    """
    What of a node cannot be looked at, and is not: a list of text.

    look
        As for :func:`own_reasons`; Felix is neither ready nor not (None) where it cannot be asked.
    backend
        The node's (text).
    """
    found = []
    if look["felix"]["ready"] is None:
        found.append("Felix was not asked whether it is ready: %s" % look["felix"]["reason"])
    if backend == "gobgp":
        found.append(
            "the sessions of gobgp (calico:node:backend) cannot be seen: none is waited for, and no route"
        )
    return found


class Steady:
    """
    Does Felix stay up? It does where one process of it was ready in looks :data:`HOLD` seconds apart, and in
    all between; and where it was ready at the first look and is older than :data:`SETTLED` seconds.
    """

    def __init__(self):
        self.restarts = 0
        self._begin = None
        self._since = None
        self._who = None
        self._asked = False

    @property
    def new(self):
        """Whether nothing was seen yet: only then the age counts."""
        return self._begin is None

    def saw(self, ready, who, seconds, now):
        """
        Take note of a look.

        ready
            Whether Felix said that it is (bool); None where it cannot be asked.
        who, seconds
            What tells its process from others, and for how long it has run, as
            :func:`calico_probe.listener` returns them.
        now
            The time of the look, in seconds of any clock that only goes forward.
        """
        self._asked = ready is not None
        first, self._begin = self._begin is None, now if self._begin is None else self._begin
        another = bool(who) and self._who is not None and who != self._who
        self.restarts += another
        if not ready or another:
            self._since = None
        if ready and self._since is None:
            old = first and seconds is not None and seconds >= SETTLED
            self._since = now - HOLD if old else now
        self._who = who or self._who

    def missing(self, now):
        """Why that is not shown yet (text), None where it is or cannot be told."""
        if not self._asked or (self._since is not None and now - self._since >= HOLD):
            return None
        if self.restarts:
            times = "once" if self.restarts == 1 else "%d times" % self.restarts
            return "Felix does not stay up: it was started anew %s within %s" % (
                times,
                in_words(max(int(now - self._begin), 1)),
            )
        if self._since is not None:
            return "Felix says only now that it is ready: it must say so for %d s, as one process" % HOLD
        return None


def _restarting(family, look):
    """BIRD waits until every neighbour has come back, or for some minutes."""
    away = [
        session["address"]
        for session in look["sessions"]
        if _family_word(session["address"]) == family and not is_up(session, look["bird"])
    ]
    waits = ", BIRD waits for %s" % ", ".join(sorted(away)) if away else ""
    return "graceful restart in progress (%s)%s" % (family, waits)


def why_down(session, birds, node=None):
    """
    One line about a session that is not Established.

    session
        As :func:`calico_bird.protocols` tells it.
    birds
        BIRD's state by family (``IPv4``, ``IPv6``): its own clock says for how long.
    node
        The neighbour's name, where it is a node (text).
    """
    state = session.get("info") or session.get("state")
    detail = ", ".join(text for text in (state, session.get("reason")) if text)
    whom = "%s (%s)" % (session["address"], node or session["type"])
    text = "no session with %s: %s since %s" % (whom, detail, session["since"])
    seconds = down_for(session, birds)
    return text if seconds is None else "%s, for %s" % (text, in_words(seconds))


def down_for(session, birds):
    """For how many seconds a session has been in its state, or None where that cannot be told."""
    bird = birds.get(_family_word(session["address"])) or {}
    return lasted(session["since"], bird.get("server_time"))


def _family_word(address):
    return "IPv6" if ":" in (address or "") else "IPv4"


# --- what the datastore asks for ---------------------------------------------------------------------


def blocks_to_learn(cluster, name, sessions, backend, absent=()):
    """
    The address blocks of other nodes that this node must have a route to.

    Only those of which that is certain: blocks of a node with which this one has a session of its own,
    or a reflector's clients like itself; with VXLAN, blocks of nodes whose tunnel has an address. Not:
    blocks without a confirmed owner or without a pool, of a pool that is not told to peers, of nodes
    that are away, and what peers outside the cluster may bring or not.

    cluster
        A :class:`calico_topology.Cluster` with its nodes, pools and affinities.
    sessions
        What :func:`calico_topology.expected_sessions` says of this node.
    backend
        ``bird``, ``vxlan``, …: with others nothing is known to write routes.
    absent
        Names of nodes that are known to be away.

    Returns a list of ``{cidr, node, by}``: ``by`` is None where Felix writes the route, else the
    sessions that may bring it (:func:`calico_topology.neighbour`). Holds for Calico 2.6 and 3.x. Source:
    the filters that calico/node configures BIRD with, and Felix' route manager for VXLAN.
    """
    if backend not in ("bird", "vxlan") or name not in cluster.nodes:
        return []
    pools = [_pool(resource) for resource in cluster.pools]
    carriers = _carriers(cluster, name, sessions, absent) if backend == "bird" else {}
    found = []
    for block in cluster.blocks:
        node = block["node"]
        if not block["confirmed"] or node in (None, name) or node in absent or node not in cluster.nodes:
            continue
        network = ipaddress.ip_network(block["cidr"])
        pool = next((pool for pool in pools if _within(network, pool["network"])), None)
        if pool is None:
            continue
        if pool["vxlan"]:
            if all(_has_tunnel(cluster, each, network.version) for each in (name, node)):
                found.append({"cidr": str(network), "node": node, "by": None})
        elif pool["told"] and carriers.get((network.version, node)):
            found.append({"cidr": str(network), "node": node, "by": carriers[network.version, node]})
    return found


def _pool(resource):
    """A pool of either generation: its network, whether VXLAN carries it, whether peers are told of it."""
    fields = {**resource.get("metadata", {}), **(resource.get("spec") or {})}
    return {
        "network": ipaddress.ip_network(fields["cidr"], strict=False),
        "vxlan": fields.get("vxlanMode") not in (None, "", "Never"),
        "told": not fields.get("disableBGPExport"),
    }


def _within(network, pool):
    return network.version == pool.version and network.subnet_of(pool)


def _has_tunnel(cluster, node, version):
    """Felix has no way to a node whose VXLAN tunnel has no address."""
    field = {4: "ipv4VXLANTunnelAddr", 6: "ipv6VXLANTunnelAddr"}[version]
    return any(
        resource["metadata"]["name"] == node and (resource.get("spec") or {}).get(field)
        for resource in cluster.resources.get("Node", ())
    )


def _carriers(cluster, name, sessions, absent):
    """``{(family, node): [neighbour, …]}``: the sessions that bring that node's own blocks."""
    filters = {"mesh": False, "global": _filtered(cluster), "node": _filtered(cluster)}
    if any(key.startswith("custom_filters") for key in cluster.config.get("bgp", ())):
        return {}
    direct, reflected = {}, {}
    for session in sessions:
        node, family = session["node"], session["family"]
        if node is None or node in absent or filters[session["type"]]:
            continue
        where = calico_topology.neighbour(session)
        direct.setdefault((family, node), []).append(where)
        for client in _clients(cluster, name, node, family):
            reflected.setdefault((family, client), []).append(where)
    return {**reflected, **direct}


def _filtered(cluster):
    """Whether a peer has filters of its own: what passes them is not known here."""
    return any((peer.get("spec") or {}).get("filters") for peer in cluster.peers)


def _clients(cluster, name, reflector, family):
    """The nodes whose routes a reflector tells this one: its clients, as this one is, in one AS."""
    nodes = cluster.nodes
    if not nodes[reflector]["cluster_id"] or nodes[name]["cluster_id"]:
        return
    number = nodes[reflector]["as_number"] or cluster.as_number
    clients = [
        session["node"]
        for session in calico_topology.expected_sessions(cluster, reflector)
        if session["family"] == family and session["node"] is not None
    ]
    same = {
        node
        for node in clients
        if not nodes[node]["cluster_id"] and (nodes[node]["as_number"] or cluster.as_number) == number
    }
    if name in same:
        yield from sorted(same - {name})


# --- the verdict -------------------------------------------------------------------------------------


def verdict(look, node, backend, registered, sessions=(), blocks=(), routes=(), strange=(), allowed=None):
    """
    Does the node have all that it must have?

    look
        As for :func:`own_reasons`, with ``sessions`` as BIRD tells them.
    node
        This node's name (text).
    backend
        ``bird`` where sessions count; with others there are none.
    registered
        Whether the datastore knows the node (bool).
    sessions
        The sessions that it must have, as :func:`calico_topology.expected_sessions` returns them.
    blocks
        What :func:`blocks_to_learn` returned.
    routes
        Calico's routes in the kernel, as :func:`calico_host.parse_routes` returns them.
    strange
        Addresses that the node is registered with and no interface has (:mod:`calico_registration`).
    allowed
        Where given: all sessions that BIRD may have, and each as what the datastore asks for. While the
        topology changes, an old one may still be there that is about to go.

    Returns ``{ready, reasons, missing, routes}``: missing has each expected session that is not
    Established as ``{address, port, node, type, state, reason, since, seconds}``; routes is
    ``{expected, missing}`` with how many blocks must be reachable and which are not, as ``{cidr, node}``.
    """
    sessions = sessions if backend == "bird" else ()
    reasons = own_reasons(look, _excused(look, set(map(calico_topology.neighbour, sessions))))
    if not registered:
        reasons.append(_not_registered(look, node))
    reasons.extend(
        "node %s is registered with %s, which no interface has: BIRD cannot send from it" % (node, address)
        for address in strange
    )
    missing = []

    def established(session):
        return is_up(session, look["bird"])

    for wanted, found in calico_topology.matched(sessions, look["sessions"], established):
        if not found or not established(found):
            missing.append(_missing(wanted, found, look["bird"]))
            reasons.append(_no_session(wanted, found, look["bird"]))
    if allowed is not None and backend == "bird":
        reasons.extend(_not_yet(look, allowed))
    up = set(map(calico_topology.neighbour, filter(established, look["sessions"])))
    without = _without_route(blocks, up, routes)
    reasons.extend(_no_routes(without, routes))
    lost = _lost_with_reflectors(blocks, up, routes, sessions)
    if lost:
        reasons.append(_lost(lost))
    without += lost
    return {
        "ready": not reasons,
        "reasons": reasons,
        "missing": missing,
        "routes": {
            "expected": len(blocks),
            "missing": [{"cidr": block["cidr"], "node": block["node"]} for block in without],
        },
    }


def _excused(look, asked):
    """
    Families whose graceful restart only waits for neighbours that nobody asks for.

    After a restart BIRD waits for minutes for a node that is known to be away. Meanwhile the kernel keeps
    its routes, and the verdict sees to those.
    """
    found = []
    for family in look["bird"]:
        sessions = [session for session in look["sessions"] if _family_word(session["address"]) == family]
        away = {calico_topology.neighbour(s) for s in sessions if not is_up(s, look["bird"])}
        if away and not away & asked:
            found.append(family)
    return found


def only_routes(judged):
    """Whether routes are all that a verdict misses: each node without them has one reason."""
    nodes = {block["node"] for block in judged["routes"]["missing"]}
    return bool(nodes) and len(judged["reasons"]) == len(nodes)


def _not_registered(look, node):
    text = "the datastore knows no node %s" % node
    if not look["service"]["active"]:
        return text
    return text + (
        ", while calico-node runs on: its entry was removed, and its workloads are cut off. "
        "state.apply, or 'systemctl restart calico-node', registers the node again; its workloads must be "
        "made anew"
    )


def _whom(wanted):
    return wanted["node"] or SESSION_TYPES[wanted["type"]]


def _missing(wanted, found, birds):
    return {
        "address": wanted["address"],
        "port": wanted["port"],
        "node": wanted["node"],
        "type": SESSION_TYPES[wanted["type"]],
        "state": (found["info"] or found["state"]) if found else None,
        "reason": found["reason"] if found else None,
        "since": found["since"] if found else None,
        "seconds": down_for(found, birds) if found else None,
    }


def _no_session(wanted, found, birds):
    if found:
        return why_down(found, birds, _whom(wanted))
    text = "no session with %s (%s): " % (wanted["address"], _whom(wanted))
    family = _family_word(wanted["address"])
    if birds and family not in birds:
        return text + "no BIRD for %s runs" % family
    return text + "BIRD has not been told of it yet"


def _not_yet(look, allowed):
    """One line for each of BIRD's sessions that the datastore asks for no longer, or in another way."""
    asked = {(calico_topology.neighbour(wanted), SESSION_TYPES[wanted["type"]]) for wanted in allowed}
    for session in look["sessions"]:
        if (calico_topology.neighbour(session), session["type"]) not in asked:
            yield "BIRD still has a session with %s (%s), which is to go" % (
                session["address"],
                session["type"],
            )


def _without_route(blocks, up, routes):
    """The blocks that a session which is up, or Felix, should have brought, and did not."""
    reached = {row["network"] for row in routes if row["kind"] == "unicast"}
    return [
        block
        for block in blocks
        if block["cidr"] not in reached and (block["by"] is None or not up.isdisjoint(block["by"]))
    ]


def _lost_with_reflectors(blocks, up, routes, sessions):
    """
    The blocks that no route leads to any more, as every reflector that brought them is away.

    That a neighbour's own blocks are lost with its session goes without saying.
    """
    neighbours = {session["node"] for session in sessions}
    reached = {row["network"] for row in routes if row["kind"] == "unicast"}
    return [
        block
        for block in blocks
        if block["by"] is not None
        and block["node"] not in neighbours
        and up.isdisjoint(block["by"])
        and block["cidr"] not in reached
    ]


def _lost(blocks):
    """One line for all of them: with a reflector, all nodes are gone at once."""
    nodes = list(dict.fromkeys(block["node"] for block in blocks))
    named = ", ".join(nodes[:_NAMED_BLOCKS])
    if len(nodes) > _NAMED_BLOCKS:
        named += " and %d more" % (len(nodes) - _NAMED_BLOCKS)
    by = sorted({address for block in blocks for address, _port in block["by"]})
    word = "block" if len(blocks) == 1 else "blocks"
    return "no route to %d %s of node %s, which came by %s" % (len(blocks), word, named, " or ".join(by))


def _no_routes(without, routes):
    """One line for each node with blocks that cannot be reached."""
    kinds = {row["network"]: row["kind"] for row in routes}
    by_node = {}
    for block in without:
        by_node.setdefault(block["node"], []).append(block)
    for node, blocks in by_node.items():
        cidrs = [block["cidr"] for block in blocks]
        named = ", ".join(cidrs[:_NAMED_BLOCKS])
        if len(cidrs) > _NAMED_BLOCKS:
            named += " and %d more" % (len(cidrs) - _NAMED_BLOCKS)
        if blocks[0]["by"] is None:
            why = "Felix has not written it (VXLAN)"
        else:
            why = "the session with %s is Established" % " or ".join(
                sorted(address for address, _port in blocks[0]["by"])
            )
        rejecting = sorted({kinds[cidr] for cidr in cidrs if cidr in kinds})
        if rejecting:
            why += ", the kernel's route is %s" % " or ".join(rejecting)
        yield "no route to %s of node %s: %s" % (named, node, why)
