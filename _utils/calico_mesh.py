"""
The views of all nodes held against each other and against the datastore: what is wrong with the mesh?

Made for a thousand nodes and half a million sessions: each node's row is a string of bytes, one for each
neighbour, and rows that agree with their column are never looked at one session at a time. Pure: no Salt.
"""

import array
import datetime
import ipaddress
import re
from collections import Counter
from typing import NamedTuple

import calico_view

# What a node's row says of a neighbour: no session and none wanted; Established; Established and wanted by
# nobody; from here on not Established, one number for each reason.
NONE, UP, EXTRA, DOWN = 0, 1, 2, 3
LAST = 255
_NOT_DOWN = bytes(range(DOWN))
_UNWANTED = (NONE, EXTRA)

WARN_DAYS = 30
# From which share on a pool is said to be almost full, and as good as full.
FULL = ((0.95, "error"), (0.8, "warning"))
# A node is what is wrong, rather than each of its sessions, from this share and number on.
_SHARE, _LEAST = 0.5, 4
MOST_PAIRS = 200


class Answers(NamedTuple):
    """
    What came back from the minions.

    views
        {minion: what ``calico.overview`` returned}
    failed
        {minion: what it said instead}
    silent
        Minions that gave no answer.
    datastore
        ``calico.overview``'s datastore of one of them, or None.
    unread
        Why there is none (text), or None.
    """

    views: dict
    failed: dict
    silent: list
    datastore: dict = None
    unread: str = None


def judge(answers, now, whole=True):
    """
    What is wrong, and how it stands.

    answers
        :class:`Answers`.
    now
        The time to judge certificates by (aware datetime).
    whole
        Were all minions asked? Else a node for which none answered is nothing to speak of.

    Returns a :class:`Mesh`.
    """
    mesh = Mesh(answers)
    findings = []
    for rule in (
        _minions,
        _nodes,
        _conditions,
        _sessions,
        _extras,
        _versions,
        _certificates,
        _pools,
        _datastore,
    ):
        findings.extend(rule(mesh, now, whole))
    mesh.findings = sorted(findings, key=lambda finding: finding["level"] != "error")
    return mesh


def _finding(level, what, nodes, seen, do=None):
    return {"level": level, "what": what, "nodes": list(nodes), "seen": seen, "do": do}


class Mesh:
    """
    All nodes in one order, each with its row.

    names
        The nodes, and behind them the peers that are no nodes of ours: put together by AS number and rack.
    count
        How many of the names are nodes.
    rows
        For each name a string of bytes with one for each name: NONE, UP, EXTRA, or DOWN + the number of the
        reason; None where nobody told (peers, and nodes whose minion gave no answer).
    reasons
        Why sessions are down.
    findings
        What is wrong: [{"level": error or warning, "what", "nodes", "seen", "do"}].
    """

    def __init__(self, answers):
        self.answers = answers
        self.store = answers.datastore or {}
        self.registered = self.store.get("nodes") or {}
        self.findings = []
        self.minions = {}
        self.twice = {}
        for minion in sorted(answers.views, key=_natural):
            name = answers.views[minion]["node"]
            if name in self.minions:
                self.twice.setdefault(name, [self.minions[name]]).append(minion)
            else:
                self.minions[name] = minion
        known = {name: self._described(name) for name in {*self.registered, *self.minions}}
        self.described = known
        nodes = sorted(known, key=lambda name: (*_place(known[name]), _natural(name)))
        self.count = len(nodes)
        owners = {}
        self.claims = {}
        for index, name in enumerate(nodes):
            for address in known[name][0]:
                if address in owners and owners[address] != index:
                    self.claims.setdefault(address, [nodes[owners[address]]]).append(name)
                owners.setdefault(address, index)
        views = [self.view(name) for name in nodes]
        peers = sorted({*_tokens(views)} - set(owners), key=_natural)
        self.index = dict(owners, **{peer: self.count + number for number, peer in enumerate(peers)})
        self.names = nodes + peers
        self.reasons = []
        self._codes = {}
        self.rows = [self._row(index, view) for index, view in enumerate(views)] + [None] * len(peers)
        self._count_sessions()

    def view(self, name):
        """What the node's minion told, or None."""
        return self.answers.views.get(self.minions.get(name))

    def _described(self, name):
        if name in self.registered:
            return self.registered[name]
        view = self.view(name)
        return [view["addresses"], view["as_number"], None, False]

    def _row(self, index, view):
        # What gobgp has cannot be seen: only the other side can tell.
        if view is None or view["backend"] == "gobgp":
            return None
        row = bytearray(len(self.names))
        where = self.index
        for name in view["up"].split():
            row[where[name]] = UP
        # What is down outweighs: a neighbour may be one over IPv4 and over IPv6.
        for why, names in view["down"]:
            code = self._code(why)
            for item in names.split(","):
                row[where[item.partition(" ")[0]]] = code
        for name, why in view["extra"]:
            place = where.get(name)
            if why is None and place is not None and row[place] == NONE:
                row[place] = EXTRA
        row[index] = NONE
        return row

    def _code(self, why):
        if why not in self._codes:
            if DOWN + len(self.reasons) > LAST - 1:
                why = calico_view.OTHER
            if why not in self._codes:
                self._codes[why] = DOWN + len(self.reasons)
                self.reasons.append(why)
        return self._codes[why]

    def why(self, code):
        """What a row's byte means, in words."""
        return {NONE: "no such session", UP: "Established", EXTRA: "Established, wanted by nobody"}.get(
            code
        ) or self.reasons[code - DOWN]

    def _count_sessions(self):
        """Fill in how many sessions there must be and are, and which are bad: [lower * width + higher]."""
        width = len(self.names)
        self.bad = array.array("Q")
        self.wanted = [0] * width
        sessions = established = 0
        blank = bytes(width)
        columns = list(zip(*(blank if row is None else row for row in self.rows))) if width else []
        told = bytes(row is not None for row in self.rows)
        for index in range(width):
            row, column = self.rows[index], bytes(columns[index])
            if row is not None and row == column and not row.translate(None, _NOT_DOWN):
                up = row.count(UP, index + 1)
                sessions += up
                established += up
                self.wanted[index] = row.count(UP)
                continue
            row = blank if row is None else row
            for other in range(width):
                here, there = row[other], column[other]
                if here in _UNWANTED and there in _UNWANTED:
                    continue
                self.wanted[index] += 1
                if other < index:
                    continue
                sessions += 1
                both = told[index] and told[other]
                if (here in (UP, EXTRA) and there in (UP, EXTRA)) or (not both and UP in (here, there)):
                    established += 1
                else:
                    self.bad.append(index * width + other)
        self.sessions, self.established = sessions, established

    def pairs(self):
        """The bad sessions, as two indices."""
        width = len(self.names)
        return [divmod(pair, width) for pair in self.bad]

    def says(self, index, other):
        """The byte with which one says what it sees of the other, None where it was not asked."""
        row = self.rows[index]
        return None if row is None else row[other]


def _tokens(views):
    for view in views:
        if view is None:
            continue
        yield from view["up"].split()
        for _why, names in view["down"]:
            for item in names.split(","):
                yield item.partition(" ")[0]
        # An extra one that is down leads nowhere.
        yield from (name for name, why in view["extra"] if why is None)


def _natural(name):
    """node2 comes before node10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


def _place(described):
    _addresses, number, rack, _reflector = described
    return number or 0, _natural(rack or "")


def some(names, most=5):
    """Names for people: the first of many."""
    names = [str(name) for name in names]
    if len(names) <= most + 1:
        return ", ".join(names)
    return "%s and %s more" % (", ".join(names[:most]), number(len(names) - most))


def number(count):
    """1000 is 1,000."""
    return f"{count:,}"


def counted(count, what):
    """1 node, 2 nodes."""
    return "%s %s%s" % (number(count), what, "" if count == 1 else "s")


# Who answered ------------------------------------------------------------------------------------


def _short_name(name):
    return name.partition(".")[0].lower()


def _minions(mesh, _now, whole):
    """Minions without an answer, and nodes for which none answered."""
    unheard = [name for name in mesh.names[: mesh.count] if name not in mesh.minions]
    by_name = {_short_name(name): name for name in unheard}
    by_name.update((name, name) for name in unheard)
    of_minion = {}
    strangers = []
    for minion in sorted(mesh.answers.silent, key=_natural):
        node = by_name.get(minion) or by_name.get(_short_name(minion))
        if node is None or node in of_minion:
            strangers.append(minion)
        else:
            of_minion[node] = minion
    for node, minion in of_minion.items():
        yield _finding(
            "error",
            "silent",
            [node],
            "its minion%s gave no answer; the datastore has the node"
            % ("" if minion == node else " %s" % minion),
            "Look at the host. If it is gone for good: salt-run calico.decommission %s" % node,
        )
    for minion in strangers:
        yield _finding(
            "error",
            "minion",
            [minion],
            "the minion gave no answer",
            "Look at the host, or remove its key",
        )
    failed = {}
    for minion, said in mesh.answers.failed.items():
        failed.setdefault(calico_view.short(said), []).append(minion)
    for said, minions in failed.items():
        do = "salt %s state.apply calico.modules: it has no such function" % minions[0]
        new = "is not available" in said
        yield _finding("error", "failed", sorted(minions, key=_natural), said, do if new else None)
    absent = {name for view in mesh.answers.views.values() for name in view["absent"]}
    of_failed = {_short_name(minion) for minion in mesh.answers.failed}
    if whole and mesh.answers.datastore is not None:
        for node in unheard:
            if node not in of_minion and node not in absent and _short_name(node) not in of_failed:
                yield _finding(
                    "error",
                    "missing",
                    [node],
                    "in the datastore, but no minion answered for it",
                    "If it is gone for good: salt-run calico.decommission %s" % node,
                )


def _nodes(mesh, _now, _whole):
    """Nodes that the datastore lacks or mixes up."""
    if mesh.answers.datastore is not None:
        for name in sorted(mesh.minions, key=_natural):
            if name not in mesh.registered and mesh.view(name)["backend"] != "none":
                yield _finding(
                    "error",
                    "unregistered",
                    [name],
                    "the datastore does not know the node",
                    "systemctl restart calico-node there, and look at its journal",
                )
    for name, minions in mesh.twice.items():
        seen = "several minions go by this node name: %s" % some(minions)
        yield _finding("error", "name", [name], seen, "Give each its own calico:node:name")
    for address, names in mesh.claims.items():
        seen = "all have the address %s" % address
        yield _finding("error", "address", names, seen, "Give each its own calico:node:ip")


def _conditions(mesh, _now, _whole):
    """What a node itself complains of: service, Felix, BIRD, the datastore as it sees it."""
    found = {}
    for name in mesh.names[: mesh.count]:
        view = mesh.view(name)
        if view is None:
            continue
        for reason in view["reasons"]:
            found.setdefault(("node", reason), []).append(name)
        if view["error"] and (name in mesh.registered or mesh.answers.datastore is None):
            found.setdefault(("datastore", view["error"]), []).append(name)
    for (what, reason), names in found.items():
        yield _finding("error", what, names, reason)


# Sessions ----------------------------------------------------------------------------------------


def _sessions(mesh, _now, _whole):
    """Bad sessions: told of the node where it has (almost) none, else one by one."""
    if not mesh.bad:
        return
    partners = {}
    for one, other in mesh.pairs():
        partners.setdefault(one, set()).add(other)
        partners.setdefault(other, set()).add(one)
    left = {index: len(others) for index, others in partners.items()}
    sick = {index: _sick(mesh, index) for index in left}
    done = set()
    told = {}
    while True:
        whole = [
            index for index in left if _is_the_cause(left[index], len(partners[index]), mesh.wanted[index])
        ]
        if not whole:
            break
        worst = max(whole, key=lambda index: (left[index], sick[index], -index))
        del left[worst]
        done.add(worst)
        for other in partners[worst] - done:
            if other in left:
                left[other] -= 1
                if not left[other]:
                    del left[other]
        told.setdefault(_of_node(mesh, worst, sorted(partners[worst])), []).append(mesh.names[worst])
    for seen, names in told.items():
        yield _finding("error", "sessions", names, seen)
    rest = [(one, other) for one, other in mesh.pairs() if one not in done and other not in done]
    for one, other in rest[:MOST_PAIRS]:
        yield _of_pair(mesh, one, other)
    if len(rest) > MOST_PAIRS:
        names = list(dict.fromkeys(mesh.names[index] for pair in rest[MOST_PAIRS:] for index in pair))
        seen = "%s more are not Established" % counted(len(rest) - MOST_PAIRS, "session")
        yield _finding("error", "more", names[:MOST_PAIRS], seen, "The page shows all: format=html out=…")


def _is_the_cause(left, bad, wanted):
    """Is a node to be named as a whole? ``left`` are its bad sessions that no other node explains."""
    return bad == wanted >= 2 or (left >= _LEAST and bad >= _SHARE * wanted)


def _sick(mesh, index):
    """Is the node itself a reason to have no sessions?"""
    view = mesh.view(mesh.names[index]) if index < mesh.count else None
    return view is None or bool(view["reasons"] or view["error"])


def _of_node(mesh, index, others):
    wanted = mesh.wanted[index]
    number_of = "none of its %s is" % counted(wanted, "session")
    if len(others) < wanted:
        number_of = "%s of its %s are not" % (number(len(others)), counted(wanted, "session"))
    parts = ["%s Established" % number_of]
    own = Counter(mesh.says(index, other) for other in others)
    own.pop(None, None)
    if own:
        parts.append("it says: %s" % _reasons(mesh, own))
    elif index < mesh.count:
        parts.append("it gave no answer")
    told = Counter(mesh.says(other, index) for other in others)
    told.pop(None, None)
    if told:
        names = [mesh.names[other] for other in others if mesh.rows[other] is not None]
        parts.append("%s: %s" % (_speakers(names), _reasons(mesh, told)))
    return "; ".join(parts)


def _speakers(names):
    if len(names) > 3:
        return "its %s neighbours say" % number(len(names))
    return "%s %s" % (" and ".join(names), "says" if len(names) == 1 else "say")


def _reasons(mesh, counts):
    found = counts.most_common()
    shown = [
        mesh.why(code) + ("" if len(found) == 1 else " (%s)" % number(count)) for code, count in found[:3]
    ]
    if len(found) > 3:
        shown.append("other reasons (%s)" % number(sum(count for _code, count in found[3:])))
    return ", ".join(shown)


def _of_pair(mesh, one, other):
    said = [_said(mesh, one, other), _said(mesh, other, one)]
    codes = mesh.says(one, other), mesh.says(other, one)
    one_sided = None not in codes and any(code in (UP, EXTRA) for code in codes)
    what = "one-sided" if one_sided else "session"
    names = [mesh.names[one], mesh.names[other]]
    return _finding("error", what, names, "; ".join(text for text in said if text))


def _said(mesh, index, other):
    code = mesh.says(index, other)
    name = mesh.names[index]
    if code is None:
        return "%s gave no answer" % name if index < mesh.count else None
    when = None
    if code >= DOWN:
        found = mesh.view(name)
        places = [token for token, place in mesh.index.items() if place == other]
        when = next(filter(None, (calico_view.since(found, place) for place in places)), None)
    return "%s says: %s%s" % (name, mesh.why(code), " since " + when if when else "")


def _extras(mesh, _now, _whole):
    """Sessions that are up and that nothing in the datastore asks for."""
    found = {}
    for index in range(mesh.count):
        name, row = mesh.names[index], mesh.rows[index]
        # A node that is not registered, or cannot read the datastore, wants none.
        if row is None or mesh.view(name)["error"] or EXTRA not in row:
            continue
        for other, code in enumerate(row):
            # Where the other side wants it, it is told as a bad session.
            if code == EXTRA and not (mesh.says(other, index) or 0) >= DOWN:
                found.setdefault(other, []).append(name)
    for other, names in found.items():
        seen = "Established with %s, which nothing in the datastore asks for" % mesh.names[other]
        yield _finding("warning", "extra", names, seen, "Stop calico-node there, or declare the peer")


# Versions, certificates, pools -------------------------------------------------------------------


def _versions(mesh, _now, _whole):
    """Nodes that run another image than their pillar wants, or want another than the rest."""
    stale, wanted = {}, {}
    for name in mesh.names[: mesh.count]:
        view = mesh.view(name)
        if view is None:
            continue
        wanted.setdefault(view["wanted"], []).append(name)
        if view["image"] and view["image"] != view["wanted"]:
            stale.setdefault((view["image"], view["wanted"]), []).append(name)
    for (image, wish), names in stale.items():
        seen = "runs %s, its pillar wants %s" % (image, wish)
        yield _finding("warning", "version", names, seen, "salt -b 1 … state.apply calico")
    groups = sorted(wanted.items(), key=lambda group: -len(group[1]))
    for image, names in groups[1:]:
        seen = "the pillar wants %s here, and %s on %s" % (
            image,
            groups[0][0],
            counted(len(groups[0][1]), "node"),
        )
        yield _finding("warning", "wanted", names, seen, "Is an upgrade half done?")


def _certificates(mesh, now, _whole):
    """Certificates that have ended or are about to."""
    found = {}
    for name in mesh.names[: mesh.count]:
        view = mesh.view(name)
        for part, text in sorted((view["certificates"] if view else {}).items()):
            found.setdefault((text, part), []).append(name)
    words = {"ca": "the CA", "cert": "the certificate"}
    for (text, part), names in sorted(found.items()):
        end = read_time(text)
        days = (end - now).days
        if days < WARN_DAYS:
            verb = "ended" if end <= now else "ends in %s," % counted(days, "day")
            seen = "%s %s on %s" % (words[part], verb, end.date().isoformat())
            level = "error" if end <= now else "warning"
            yield _finding(level, "certificate", names, seen, "Replace it: calico:etcd:tls:%s" % part)


def read_time(text):
    """A time as :func:`calico_pem.ends` writes it."""
    # Python 3.8 reads what isoformat() writes, which is all that is needed.
    return datetime.datetime.fromisoformat(text)


def pool_size(pool):
    """How many addresses and blocks a pool has room for."""
    network = ipaddress.ip_network(pool["cidr"])
    return network.num_addresses, 2 ** max(0, pool["block_size"] - network.prefixlen)


def _pools(mesh, _now, _whole):
    """Pools that are almost full."""
    for pool in mesh.store.get("pools") or ():
        size, most = pool_size(pool)
        share = max(pool["used"] / size, pool["blocks"] / most)
        level = next((level for least, level in FULL if share >= least), None)
        if level and not pool["disabled"]:
            yield _finding(
                level,
                "pool",
                [pool["cidr"]],
                pool_use(pool),
                "Add a pool before the last block is taken: a node without one gets no addresses",
            )


def pool_use(pool):
    """How full a pool is, for people."""
    size, most = pool_size(pool)
    parts = ["%s of %s addresses" % (number(pool["used"]), _rough(size))]
    if pool["blocks"]:
        parts.append("%s of %s blocks" % (number(pool["blocks"]), _rough(most)))
    return ", ".join(parts) + " in use"


def _rough(count):
    return number(count) if count < 10**12 else "2^%d" % (count.bit_length() - 1)


def _datastore(mesh, _now, _whole):
    """What is wrong with the datastore itself."""
    if mesh.answers.unread:
        seen = "no minion could read the datastore: %s" % calico_view.short(mesh.answers.unread)
        yield _finding("error", "datastore", [], seen)
    if mesh.store.get("locked"):
        seen = "the datastore is locked: a migration or an upgrade is under way"
        yield _finding("warning", "datastore", [], seen, "Finish or abort it")
    stray = {}
    for cidr, node, used in mesh.store.get("stray") or ():
        stray.setdefault(node, []).append((cidr, used))
    for node, blocks in sorted(stray.items()):
        used = sum(count for _cidr, count in blocks)
        seen = "the node is gone, its blocks are not: %s (%s in use)" % (
            some(cidr for cidr, _used in blocks),
            counted(used, "address") if used == 1 else number(used) + " addresses",
        )
        yield _finding("warning", "blocks", [node], seen, "salt-run calico.decommission %s" % node)
