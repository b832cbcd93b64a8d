"""
What this host's own packet filters do to the packets of workloads, beside the rules of Felix.

A packet that is forwarded is shown to every base chain of the hook, one after the other: to those of
iptables' legacy tables and to those of nftables, which newer programs of iptables write, too. It passes
only where none of them drops it. So that Felix accepts it in the tables that Felix writes does not help
where Docker, a firewall or somebody else drops it in another one.

The rules come from the kernel itself, in the form that both kinds have in common: some bytes of a packet,
under a mask, held against a value. What a rule asks beyond that is unknown, and never taken for a match.

Parsers and judgement are pure; :func:`read` asks the kernel, and no program. No Salt.
"""

import collections
import ctypes
import ipaddress
import os
import re
import socket
import struct

# Who writes rules: the programs of iptables in legacy tables or in nftables, and nft by itself.
LEGACY, NFT, NATIVE = "legacy", "nft", "native"
WORDS = {LEGACY: "iptables' legacy tables", NFT: "nftables, by iptables", NATIVE: "nftables"}
# The table that Felix makes where it speaks nftables itself, and how its chains are called.
FELIX_TABLE, FELIX_CHAINS = "calico", "cali-"
# The tables of iptables that a forwarded packet meets.
TABLES = ("filter", "mangle", "security")
ACCEPT, DROP, RETURN, JUMP, GOTO, UNKNOWN = "accept", "drop", "return", "jump", "goto", "unknown"
# Deeper than rules may jump.
DEEPEST = 32
# What may be a word of a command in a unit.
PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
COMMENT = "calico-formula"
_NEW = struct.pack("=I", 8)  # the connection's state, as a bit
_NAME = 16  # bytes of an interface's name in the kernel

# `chains` has the rules of each chain by its name; `family` is 4, 6, or 0 for both.
Filter = collections.namedtuple("Filter", "backend family table chain policy chains")
Rule = collections.namedtuple("Rule", "conditions verdict target")
# `field` of a packet, from `offset` on, under `mask`, is (eq), is not (ne), … `value`. Unknown is None.
Condition = collections.namedtuple("Condition", "field offset mask value how")


# --- judgement -------------------------------------------------------------------------------------


def packets(prefix, outward, network):
    """
    A workload's packets to another host and from there, as the rules see them.

    prefix
        How interfaces of workloads begin (text).
    outward
        The interface towards other hosts (text).
    network
        A pool's network: both addresses are of it.
    """
    network = ipaddress.ip_network(network, strict=False)
    near, far = (network[min(number, network.num_addresses - 1)].packed for number in (10, 20))
    # The name that the CNI plugin would give it, as far as it fits.
    own, other = (prefix + "0123456789abcdef")[: _NAME - 1], outward
    protocol = bytes([2 if network.version == 4 else 10])
    common = {"family": network.version, "state": _NEW, "protocol": protocol}
    return [
        dict(common, source=near, destination=far, **{"in": _name(own), "out": _name(other)}),
        dict(common, source=far, destination=near, **{"in": _name(other), "out": _name(own)}),
    ]


def _name(text):
    return text.encode()[:_NAME].ljust(_NAME, b"\0")


def writes(major, minor, felix):
    """
    Where Felix of this release and with these settings writes its rules; None where it finds that out.

    felix
        Tells the value of one of Felix' settings by its name (a function).
    """
    if major == 2 or minor < 8:
        return LEGACY
    if minor >= 29 and str(felix("NFTablesMode")).lower() == "enabled":
        return NATIVE
    return {"legacy": LEGACY, "nft": NFT}.get(str(felix("IptablesBackend")).lower())


def returns(felix):
    """Whether what Felix allows goes back to the chain that sent it to Felix, which may drop it."""
    names = ("IptablesFilterAllowAction", "IptablesAllowAction")
    return any(str(felix(name)).lower() == RETURN for name in names)


def shows(filters):
    """Where Felix' chains are in use in the kernel, None where in none of the tables or in several."""
    found = {each.backend for each in filters if _is_felix(each)}
    return found.pop() if len(found) == 1 else None


def _is_felix(each):
    if each.backend == NATIVE:
        return each.table == FELIX_TABLE
    return any((rule.target or "").startswith(FELIX_CHAINS) for rule in each.chains[each.chain])


def dropping(filters, felix, packets, returning=False):
    """
    The filters that drop one of these packets although Felix would let it pass.

    filters
        What :func:`read` returned.
    felix
        Where Felix writes its own (:func:`writes`, :func:`shows`). None where that is not known: then only
        those are judged that cannot be Felix'.
    returning
        What :func:`returns` says.

    Returns a list of ``(filter, sure)``: sure is False where a rule might accept it that cannot be read.
    """
    found = []
    for each in filters:
        if decides(each, felix) and not (returning and each.backend != NATIVE):
            continue
        if felix is None and each.backend != NATIVE:
            continue
        met = [outcome(each, packet) for packet in packets if each.family in (0, packet["family"])]
        bad = [doubt for verdict, doubt in met if verdict == DROP]
        if bad:
            found.append((each, not all(bad)))
    return found


def outcome(each, packet):
    """What a filter does to a packet: (accept or drop, whether an unreadable rule might accept it)."""
    verdict, doubt = _walk(each.chains, each.chain, packet, 0)
    return (each.policy if verdict == RETURN else verdict), doubt


def _walk(chains, name, packet, depth):
    doubt = False
    for rule in chains[name] if depth < DEEPEST else ():
        matches = _matches(rule, packet)
        if matches is False or rule.verdict is None:
            continue
        verdict, goes = rule.verdict, rule.verdict in (JUMP, GOTO)
        if goes:
            # Felix' own chains let it pass; or return, where they are told to.
            if rule.target.startswith(FELIX_CHAINS):
                continue
            verdict, inner = _walk(chains, rule.target, packet, depth + 1)
            doubt = doubt or inner
        if matches is None or verdict == UNKNOWN:
            doubt = doubt or verdict in (ACCEPT, UNKNOWN)
        elif verdict != RETURN or rule.verdict in (RETURN, GOTO):
            return verdict, doubt
    return RETURN, doubt


def _matches(rule, packet):
    """True, False, or None where the rule asks what is not known."""
    known = [None if condition is None else _holds(condition, packet) for condition in rule.conditions]
    if False in known:
        return False
    return None if None in known else True


def _holds(condition, packet):
    field, offset, mask, value, how = condition
    there = packet.get(field)
    if there is None or offset + len(value) > len(there):
        return None
    seen = bytes(byte & bit for byte, bit in zip(there[offset : offset + len(value)], mask))
    return {
        "eq": seen == value,
        "ne": seen != value,
        "lt": seen < value,
        "le": seen <= value,
        "gt": seen > value,
        "ge": seen >= value,
    }[how]


def decides(each, felix):
    """Whether a filter is one that Felix writes to."""
    if each.backend == NATIVE:
        return each.table == FELIX_TABLE
    return each.backend == felix and each.table == "filter"


def is_ours(each, felix):
    """Whether the formula may accept packets there: in iptables' own chain, and not where Felix decides."""
    return (
        each.backend in (LEGACY, NFT)
        and (each.table, each.chain) == ("filter", "FORWARD")
        and felix not in (None, each.backend)
    )


def drop(each, felix):
    """What is to be said of a filter that drops what Felix accepts."""
    seen = "%s drops what workloads send or get" % shown(each)
    if felix in (None, each.backend):
        return seen + ", whatever Felix accepts"
    return "%s, and Felix accepts it in %s only" % (seen, WORDS[felix])


def shown(each):
    """``chain FORWARD of table ip filter (nftables, by iptables)``."""
    family = {0: "inet", 4: "ip", 6: "ip6"}[each.family]
    return "chain %s of table %s %s (%s)" % (each.chain, family, each.table, WORDS[each.backend])


# --- rules that accept -----------------------------------------------------------------------------


def prefixes(given):
    """How interfaces of workloads begin, of Felix' InterfacePrefix (text); those that a unit may name."""
    found = [item.strip() for item in str(given or "cali").split(",")]
    return [item for item in found if PREFIX.fullmatch(item)]


def program(backend, family, exists=os.path.exists):
    """
    The program of iptables that writes to this backend, None where there is none.

    Since there are two, each has a name of its own; before that, iptables was the legacy one.
    """
    name = "iptables" if family == 4 else "ip6tables"
    for directory in ("/usr/sbin/", "/sbin/", "/usr/local/sbin/"):
        own = directory + name + ("-nft" if backend == NFT else "-legacy")
        if exists(own):
            return own
        if backend == LEGACY and exists(directory + name) and not exists(directory + name + "-nft"):
            return directory + name
    return None


def programs(root="/"):
    """Those of :func:`program` that are installed below this root directory, as paths on the host."""

    def exists(path):
        return os.path.exists(os.path.join(root, path.lstrip("/")))

    found = {program(backend, family, exists) for backend in (LEGACY, NFT) for family in (4, 6)}
    # What an older release is known by is that the newer one's is not there.
    return sorted(path for path in found if path)


def others(felix):
    """The backends of iptables that Felix may not write to."""
    return [backend for backend in (LEGACY, NFT) if backend != felix]


def rules(names):
    """The rules that accept what goes to workloads and comes from them, as words of iptables."""
    return [
        [option, name + "+", "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT"]
        for name in names
        for option in ("-i", "-o")
    ]


def commands(felix, families, names, find=program):
    """
    Shell commands that make sure of :func:`rules`, for the unit: iptables keeps nothing over a boot.

    felix
        Where Felix writes its own, see :func:`writes`.
    families
        Those that workloads have (4, 6).
    """
    found = []
    # Where these may be Felix' own tables, behind its rules: before them, they would lift all policy.
    where = "-I" if felix else "-A"
    for backend in others(felix):
        for family in families:
            path = find(backend, family)
            # To ask for a legacy table makes it, also where nobody has one.
            table = "/proc/net/ip%s_tables_names" % ("" if family == 4 else "6")
            only = "grep -qsx filter %s && " % table if backend == LEGACY else ""
            for rule in rules(names) if path else ():
                words = " ".join(["FORWARD", *rule])
                found.append(
                    "%s{ %s -w -C %s 2>/dev/null || %s -w %s %s; }" % (only, path, words, path, where, words)
                )
    return found


# --- the kernel's nftables -------------------------------------------------------------------------

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 10
_GET_CHAIN, _GET_RULE = 4, 7
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_FORWARD = 2  # the hook
_FAMILIES = {1: 0, 2: 4, 10: 6}
_VERDICTS = {0: DROP, 1: ACCEPT, -3: JUMP, -4: GOTO, -5: RETURN, -1: None, -2: None}
_HOW = ("eq", "ne", "lt", "le", "gt", "ge")
_META = {6: "in", 7: "out", 15: "protocol"}
# Bytes of a packet's header: address family -> {offset: field}, and the length of an address.
_ADDRESSES = {4: ({12: "source", 16: "destination"}, 4), 6: ({8: "source", 24: "destination"}, 16)}
# Expressions that neither match nor decide anything.
_IDLE = ("counter", "log", "notrack", "dup")


def attributes(data, begin=0):
    """Netlink's attributes: ``{number: bytes}``."""
    found = {}
    while begin + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, begin)
        if length < 4:
            break
        found[number & 0x3FFF] = data[begin + 4 : begin + length]
        begin += (length + 3) & ~3
    return found


def elements(data):
    """The elements of a list of netlink's."""
    begin = 0
    while begin + 4 <= len(data):
        length = struct.unpack_from("=H", data, begin)[0]
        if length < 4:
            break
        yield data[begin + 4 : begin + length]
        begin += (length + 3) & ~3


def _text(data):
    return (data or b"").rstrip(b"\0").decode("utf-8", "replace")


def _number(data, default=0):
    return int.from_bytes(data, "big") if data else default


def parse_chain(family, message):
    """A base chain that forwarded packets meet, as a :class:`Filter` without rules; else None."""
    found = attributes(message)
    if 4 not in found or _number(attributes(found[4]).get(1)) != _FORWARD:
        return None
    table, chain = _text(found.get(1)), _text(found.get(3))
    if _text(found.get(7)) != "filter" or family not in _FAMILIES:
        return None
    iptables = family != 1 and table in TABLES and chain == "FORWARD"
    policy = ACCEPT if _number(found.get(5), 1) else DROP
    return Filter(NFT if iptables else NATIVE, _FAMILIES[family], table, chain, policy, None)


def parse_rule(family, message):
    """(table, chain, :class:`Rule`) of nftables; ``family`` is the address family, 0 for both."""
    found = attributes(message)
    conditions, verdict, target = [], None, None
    registers = {}
    for element in elements(found.get(4, b"")):
        expression = attributes(element)
        name, data = _text(expression.get(1)), attributes(expression.get(2, b""))
        if name == "immediate" and _number(data.get(1)) == 0:
            decided = attributes(attributes(data.get(2, b"")).get(2, b""))
            code = struct.unpack(">i", decided.get(1, b"\0\0\0\0"))[0]
            verdict, target = _VERDICTS.get(code, UNKNOWN), _text(decided.get(2)) or None
            if verdict in (JUMP, GOTO) and not target:
                verdict = UNKNOWN
        elif name in ("reject", "target"):
            verdict = _of_target(name, data)
        elif name == "lookup" and 3 in data and _number(data[3]) == 0:
            verdict = UNKNOWN  # a map of verdicts
        elif name not in _IDLE:
            conditions.extend(_expression(name, data, registers, family))
    return _text(found.get(1)), _text(found.get(2)), Rule(conditions, verdict, target)


def _of_target(name, data):
    word = "REJECT" if name == "reject" else _text(data.get(1))
    if word == "REJECT":
        return DROP
    # LOG, MARK and the like go on.
    return UNKNOWN if word in ("NFQUEUE", "QUEUE", "DROP", "ACCEPT") else None


def _expression(name, data, registers, family):
    """The conditions that an expression asks for; what it loads goes into ``registers``."""
    if name == "match":
        return _of_match(_text(data.get(1)), data.get(3, b""))
    if name in ("meta", "ct", "payload"):
        register = _number(data.get(1))
        registers[register] = _loaded(name, data, family)
        return []
    if name == "bitwise":
        source = registers.get(_number(data.get(1)))
        masked = None
        mask = attributes(data.get(4, b"")).get(1)
        if source and mask and not any(attributes(data.get(5, b"")).get(1, b"")):
            masked = (source[0], source[1], mask)
        registers[_number(data.get(2))] = masked
        return []
    if name == "cmp":
        source = registers.get(_number(data.get(1)))
        value = attributes(data.get(3, b"")).get(1, b"")
        how = _number(data.get(2))
        if source is None or how >= len(_HOW):
            return [None]
        field, offset, mask = source
        mask = (mask or b"\xff" * len(value))[: len(value)]
        return [Condition(field, offset, mask, value, _HOW[how])]
    if name == "immediate":
        return []
    return [None]


def _loaded(name, data, family):
    """(field, offset, mask) of what an expression loads, None where that is not known."""
    key = _number(data.get(2))
    if name == "meta":
        return (_META[key], 0, None) if key in _META else None
    if name == "ct":
        return ("state", 0, None) if key == 0 else None
    fields, length = _ADDRESSES.get(family, ({}, 0))
    offset, base = _number(data.get(3)), key
    for begin, field in fields.items():
        if base == 1 and begin <= offset < begin + length:
            return (field, offset - begin, None)
    return None


def _of_match(name, info):
    """The conditions of a match of iptables' own kind."""
    if name == "comment":
        return []
    if name == "state" and len(info) >= 4:
        return [Condition("state", 0, info[:4], b"\0" * 4, "ne")]
    if name == "conntrack" and len(info) >= 152:
        asked, inverted, states = struct.unpack_from("=HHH", info, 146)
        # For nothing but the state, whether it was asked by this name or by the older one.
        if asked & ~(1 << 13) == 1:
            mask = struct.pack("=I", states & 0xFF)
            return [Condition("state", 0, mask, b"\0" * 4, "eq" if inverted & 1 else "ne")]
    return [None]


class Chains(dict):
    """The rules of a table's chains, each read when it is first looked at."""

    def __init__(self, number, table):
        super().__init__()
        self._number, self._table = number, table

    def __missing__(self, name):
        try:
            self[name] = self._read(name)
        except OSError:
            # The kernel does not tell, or somebody has just removed it.
            self[name] = [Rule([None], UNKNOWN, None)]
        return self[name]

    def _read(self, name):
        found = []
        asked = _attribute(1, self._table.encode() + b"\0") + _attribute(2, name.encode() + b"\0")
        for message in _dump(_GET_RULE, self._number, asked):
            table, chain, rule = parse_rule(_FAMILIES[self._number], message)
            # Older kernels tell all rules, whatever they are asked for.
            if (table, chain) == (self._table, name):
                found.append(rule)
        return found


def _nftables():
    """The base chains of nftables that forwarded packets meet."""
    found = []
    for number in _FAMILIES:
        for message in _dump(_GET_CHAIN, number):
            chain = parse_chain(number, message)
            if chain:
                found.append(chain._replace(chains=Chains(number, chain.table)))
    return found


def _dump(kind, number, body=b""):
    """All that the kernel has of a kind, in a family: messages without their headers."""
    body = struct.pack("=BBH", number, 0, 0) + body
    head = struct.pack("=IHHII", 16 + len(body), kind | _SUBSYSTEM << 8, _REQUEST | _DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.settimeout(2)
        netlink.bind((0, 0))
        netlink.send(head + body)
        while True:
            answer = netlink.recv(1 << 18)
            begin = 0
            while begin < len(answer):
                length, what = struct.unpack_from("=IH", answer, begin)
                if what == _DONE:
                    return
                if what == _ERROR:
                    raise OSError(-struct.unpack_from("=i", answer, begin + 16)[0], "nftables")
                yield answer[begin + 20 : begin + length]
                begin += (length + 3) & ~3


def _attribute(number, payload):
    length = 4 + len(payload)
    return struct.pack("=HH", length, number) + payload + b"\0" * (-length % 4)


# --- the kernel's legacy tables --------------------------------------------------------------------

# Of linux/netfilter_ipv4/ip_tables.h and its brother for IPv6: the socket's family and level, the length
# of an address, and where in an entry there are the interfaces, the protocol, the flags (and the one for
# goto), the offsets, and the matches.
_Layout = collections.namedtuple("_Layout", "socket level address names protocol flags goto offsets matches")
_LAYOUTS = {
    4: _Layout(socket.AF_INET, 0, 4, 16, 80, 82, 0x02, 88, 112),
    6: _Layout(socket.AF_INET6, 41, 16, 64, 128, 131, 0x04, 140, 168),
}
_GET_INFO, _GET_ENTRIES = 64, 65
_HEADER = 40
_INVERTED = {"in": 0x01, "out": 0x02, "source": 0x08, "destination": 0x10}
_INVERTED_PROTOCOL = 0x40


def parse_legacy(family, table, begin, policy_at, entries):
    """
    A legacy table's FORWARD as a :class:`Filter`.

    begin, policy_at
        Where in ``entries`` (bytes) the chain begins, and where its policy stands.
    """
    layout = _LAYOUTS[family]
    chains, wanted, policy = {}, [("FORWARD", begin)], ACCEPT
    while wanted:
        name, at = wanted.pop()
        if name in chains:
            continue
        chains[name] = []
        while at < len(entries):
            target_at, next_at = struct.unpack_from("=HH", entries, at + layout.offsets)
            verdict, target, jump = _legacy_target(entries, at, target_at, layout)
            if verdict == "end" or not next_at:
                break
            if at == policy_at:
                policy = verdict
                break
            if target is not None:
                goal = _user_chain(entries, jump, layout)
                target = goal
                # Felix' own may be many, and are not looked at.
                if not goal.startswith(FELIX_CHAINS):
                    wanted.append((goal, jump))
            chains[name].append(Rule(_legacy_conditions(entries, at, target_at, layout), verdict, target))
            at += next_at
            if verdict == RETURN and not chains[name][-1].conditions:
                break
    return Filter(LEGACY, family, table, "FORWARD", policy, chains)


def _legacy_target(entries, at, target_at, layout):
    """(verdict, whether it goes to a chain, where that begins)."""
    name = _text(entries[at + target_at + 2 : at + target_at + 31].partition(b"\0")[0])
    if name == "ERROR":
        return "end", None, None
    if name:
        return _of_target("target", {1: name.encode()}), None, None
    code = struct.unpack_from("=i", entries, at + target_at + 32)[0]
    if code >= 0:
        # A rule that goes to the next one has no target at all.
        if code == at + struct.unpack_from("=H", entries, at + layout.offsets + 2)[0]:
            return None, None, None
        goto = entries[at + layout.flags] & layout.goto
        return (GOTO if goto else JUMP), True, code
    return {-1: DROP, -2: ACCEPT, -5: RETURN}.get(code, UNKNOWN), None, None


def _user_chain(entries, begin, layout):
    """The name of the chain whose first rule is there: it stands in the entry before that."""
    size = layout.matches + 32 + 32  # without matches, a target that holds the name
    return _text(entries[begin - size + layout.matches + 32 : begin].partition(b"\0")[0])


def _legacy_conditions(entries, at, target_at, layout):
    width, flags = layout.address, entries[at + layout.flags + 1]
    fields = {
        "source": (0, width, 2 * width),
        "destination": (width, width, 3 * width),
        "in": (layout.names, _NAME, layout.names + 2 * _NAME),
        "out": (layout.names + _NAME, _NAME, layout.names + 3 * _NAME),
    }
    found = []
    for field, (begin, length, mask_at) in fields.items():
        mask = entries[at + mask_at : at + mask_at + length]
        if any(mask):
            value = bytes(byte & bit for byte, bit in zip(entries[at + begin : at + begin + length], mask))
            found.append(Condition(field, 0, mask, value, "ne" if flags & _INVERTED[field] else "eq"))
    if struct.unpack_from("=H", entries, at + layout.protocol)[0]:
        found.append(None)
    begin, end = at + layout.matches, at + target_at
    while begin < end:
        size = struct.unpack_from("=H", entries, begin)[0]
        name = _text(entries[begin + 2 : begin + 31].partition(b"\0")[0])
        found.extend(_of_match(name, entries[begin + 32 : begin + size]))
        begin += max(size, 32)
    return found


def _legacy(family, root="/"):
    """The legacy tables that there are; to ask for one that is not there would make it."""
    try:
        path = "proc/net/ip%s_tables_names" % ("" if family == 4 else "6")
        with open(os.path.join(root, path), encoding="ascii", errors="replace") as file:
            names = [name for name in TABLES if name in file.read().split()] if file else []
    except OSError:
        return []
    layout = _LAYOUTS[family]
    found = []
    if names:
        with socket.socket(layout.socket, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            for name in names:
                found.append(_legacy_table(sock, family, layout, name))
    return found


def _legacy_table(sock, family, layout, name):
    info = _option(sock, layout.level, _GET_INFO, name.encode().ljust(84, b"\0"))
    numbers = struct.unpack_from("=13I", info, 32)
    begin, policy_at, size = numbers[1 + _FORWARD], numbers[6 + _FORWARD], numbers[12]
    question = name.encode().ljust(32, b"\0") + struct.pack("=I", size)
    answer = _option(sock, layout.level, _GET_ENTRIES, question.ljust(_HEADER + size, b"\0"))
    return parse_legacy(family, name, begin, policy_at, answer[_HEADER:])


def _option(sock, level, option, question):
    """getsockopt with a question in the buffer, which Python's own does not allow."""
    buffer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(length)) != 0:
        raise OSError(ctypes.get_errno(), "getsockopt")
    return buffer.raw


def read(root="/", without=None):
    """
    The filters that this host's forwarded packets meet, as a list of :class:`Filter`.

    without
        :data:`LEGACY` leaves its tables out, where they are Felix' own: they may be long.

    Raises OSError where the kernel does not tell them.
    """
    found = [] if without == LEGACY else [each for family in (4, 6) for each in _legacy(family, root)]
    # An old kernel may have nothing of netfilter's netlink.
    try:
        found.extend(_nftables())
    except OSError:
        if not found:
            raise
    return found


def outward(root="/"):
    """The interface of this host's default route, else ``eth0``."""
    try:
        with open(os.path.join(root, "proc/net/route"), encoding="ascii", errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        rows = []
    return next((row[0] for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"), "eth0")
