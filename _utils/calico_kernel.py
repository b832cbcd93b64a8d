"""
What the kernel can do: which of its features Calico needs, and whether this one has them.

A feature is there where its module is loaded, built in or can be loaded. What the files of the kernel
and of its modules do not tell, the kernel is asked itself. ``calicoctl node checksystem`` is no help: it
looks for modules that healthy kernels no longer have (``ipt_set``, ``xt_icmp``), and not at the mode.

Parsers are pure; the readers read files. Only :func:`ask` does more: in a network namespace of its own,
which is gone with the process that made it. No Salt.
"""

import contextlib
import ctypes
import errno
import gzip
import os
import re
import socket
import struct

# How the kernel is asked: for a kind of link, or for a subsystem of netfilter (number, harmless message).
LINK, SUBSYSTEM = "link", "subsystem"

# Feature, by the name of its module -> where to look: its option in the kernel's configuration, what
# /proc/net shows of it (file below /proc/net, word in it), a file that proves it, and how the kernel itself
# is asked. `module` is False for what can only be built in: no list of modules has it.
FEATURES = {
    "ip_set": {"option": "IP_SET", "ask": (SUBSYSTEM, 6, 1)},
    "ip_set_hash_ip": {"option": "IP_SET_HASH_IP"},
    "ip_set_hash_net": {"option": "IP_SET_HASH_NET"},
    "xt_set": {"option": "NETFILTER_XT_SET", "shown": ("ip_tables_matches", "set")},
    "xt_mark": {"option": "NETFILTER_XT_MARK", "shown": ("ip_tables_matches", "mark")},
    "xt_conntrack": {
        "option": "NETFILTER_XT_MATCH_CONNTRACK",
        "shown": ("ip_tables_matches", "conntrack"),
    },
    "xt_addrtype": {"option": "NETFILTER_XT_MATCH_ADDRTYPE", "shown": ("ip_tables_matches", "addrtype")},
    "xt_multiport": {
        "option": "NETFILTER_XT_MATCH_MULTIPORT",
        "shown": ("ip_tables_matches", "multiport"),
    },
    "xt_comment": {"option": "NETFILTER_XT_MATCH_COMMENT", "shown": ("ip_tables_matches", "comment")},
    "iptable_filter": {"option": "IP_NF_FILTER", "shown": ("ip_tables_names", "filter")},
    "iptable_nat": {"option": "IP_NF_NAT", "shown": ("ip_tables_names", "nat")},
    "iptable_mangle": {"option": "IP_NF_MANGLE", "shown": ("ip_tables_names", "mangle")},
    "iptable_raw": {"option": "IP_NF_RAW", "shown": ("ip_tables_names", "raw")},
    "ip6table_filter": {"option": "IP6_NF_FILTER", "shown": ("ip6_tables_names", "filter")},
    "nf_tables": {"option": "NF_TABLES", "ask": (SUBSYSTEM, 10, 16)},
    "nft_compat": {"option": "NFT_COMPAT"},
    "ipip": {"option": "NET_IPIP", "ask": (LINK, "ipip")},
    "vxlan": {"option": "VXLAN", "ask": (LINK, "vxlan")},
    "wireguard": {"option": "WIREGUARD", "ask": (LINK, "wireguard")},
    "bpf_syscall": {
        "option": "BPF_SYSCALL",
        "exists": "proc/sys/kernel/unprivileged_bpf_disabled",
        "module": False,
    },
    "cgroup_bpf": {"option": "CGROUP_BPF", "module": False},
    "cls_bpf": {"option": "NET_CLS_BPF"},
    "sch_ingress": {"option": "NET_SCH_INGRESS"},
}


# --- pure ------------------------------------------------------------------------------------------


def parse_configuration(text, options):
    """``{option: "y" or "m"}`` of these options that a kernel's configuration has on (text or bytes)."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    names = "|".join(map(re.escape, options))
    return dict(re.findall(r"^CONFIG_(%s)=([ym])$" % names, text, re.MULTILINE))


def parse_modules(text, names):
    """
    Those of these modules that ``modules.builtin`` or ``modules.dep`` lists, as a set.

    Modules may be compressed (``.ko.xz``, ``.ko.zst``, ``.ko.gz``); ``-`` and ``_`` are the same.
    """
    words = "|".join(re.escape(name).replace("_", "[-_]") for name in names)
    found = re.findall(r"^(?:[^\s:]*/)?(%s)\.ko(?:\.\w+)?(?::|\s*$)" % words, text, re.MULTILINE)
    return {name.replace("-", "_") for name in found}


def judge(name, configuration, builtin, loadable):
    """
    Whether a feature is there that does not show yet: True, False, or None where the files do not tell.

    configuration
        What :func:`parse_configuration` returned, or None where there is no such file.
    builtin, loadable
        What :func:`parse_modules` returned of ``modules.builtin`` and ``modules.dep``, or None where
        there is no such file.
    """
    if name in (builtin or ()) or name in (loadable or ()):
        return True
    if configuration is not None:
        how = configuration.get(FEATURES[name]["option"])
        if how != "m":
            return how == "y"
    if not FEATURES[name].get("module", True) or builtin is None or loadable is None:
        return None
    # Made as a module, or perhaps so, but not on this host: distributions have packages for some.
    return False


# --- readers ---------------------------------------------------------------------------------------


def features(names, root="/", release=None, asking=None):
    """
    ``{name: True, False or None}`` for these names of :data:`FEATURES`.

    root
        Where the file systems of the host lie (text).
    release
        The kernel's, where it is not the running one's (text).
    asking
        Asks the kernel what its files do not tell: :func:`ask` unless another is given.
    """
    release = release or os.uname().release
    names = list(names)
    shown = {}
    unknown = [name for name in names if not _shows(name, root, shown)]
    found = dict.fromkeys(names, True)
    if unknown:
        configuration = _configuration(root, release, [FEATURES[name]["option"] for name in unknown])
        directory = _modules_directory(root, release)
        builtin = _modules(root, directory + "/modules.builtin", unknown)
        # The longest of the files, and not needed where all is built in.
        left = [name for name in unknown if not judge(name, configuration, builtin, None)]
        loadable = _modules(root, directory + "/modules.dep", left) if left else None
        for name in unknown:
            found[name] = judge(name, configuration, builtin, loadable)
    # Files may be those of another kernel, or say no more than how it was made: the kernel knows.
    doubtful = [name for name in names if not found[name] and "ask" in FEATURES[name]]
    if doubtful:
        answers = (asking or ask)(doubtful)
        found.update((name, answer) for name, answer in answers.items() if answer is not None)
    return found


def _shows(name, root, shown):
    """Whether it is in use, or built in, as the kernel shows; ``shown`` keeps what was read."""
    feature = FEATURES[name]
    file, word = feature.get("shown", (None, None))
    if file and file not in shown:
        shown[file] = (_text(root, "proc/net/" + file) or "").split()
    return (
        word in shown.get(file, ())
        or os.path.isdir(os.path.join(root, "sys/module", name))
        or ("exists" in feature and os.path.exists(os.path.join(root, feature["exists"])))
    )


def _text(root, path):
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _configuration(root, release, options):
    for path in ("proc/config.gz", "boot/config-" + release, "lib/modules/%s/config" % release):
        try:
            with open(os.path.join(root, path), "rb") as file:
                data = file.read()
            return parse_configuration(gzip.decompress(data) if path.endswith(".gz") else data, options)
        except (OSError, EOFError):
            continue
    return None


def _modules_directory(root, release):
    for path in ("lib/modules/", "usr/lib/modules/"):
        if os.path.isdir(os.path.join(root, path + release)):
            return path + release
    return "lib/modules/" + release


def _modules(root, path, names):
    text = _text(root, path)
    return None if text is None else parse_modules(text, names)


# --- the kernel itself -----------------------------------------------------------------------------

_CLONE_NEWNET = 0x40000000
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_REQUEST, _ACK, _CREATE, _EXCLUSIVE = 0x1, 0x4, 0x400, 0x200
_ERROR = 2
_NEW_LINK, _LINK_INFO, _INFO_KIND = 16, 18, 1


def ask(names):
    """
    Ask the kernel itself for these features: ``{name: True, False or None}``.

    A process of its own does it, in a network namespace of its own: what it makes is gone with it. The
    kernel may load modules for an answer, as it does for Calico.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            os.write(writer, bytes(_answers([FEATURES[name]["ask"] for name in names])))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answers = stream.read()
    os.waitpid(pid, 0)
    known = {1: True, 0: False}
    return {name: known.get(answers[at]) if at < len(answers) else None for at, name in enumerate(names)}


def _answers(questions):
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        return [2] * len(questions)
    return [_answer(*question) for question in questions]


def _answer(how, what, message=None):
    """1 where the kernel has it, 0 where it has not, 2 where it does not say."""
    try:
        if how == LINK:
            info = _attribute(_LINK_INFO, _attribute(_INFO_KIND, what.encode("ascii")))
            body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + info
            refusal = _netlink(_NETLINK_ROUTE, _NEW_LINK, _CREATE | _EXCLUSIVE, body)
            # Whatever else is wrong with the request: the kernel knows the kind.
            return 2 if refusal in (errno.EPERM, errno.EACCES) else int(refusal != errno.EOPNOTSUPP)
        # The version of the protocol is what ipset wants to be told; others do not look at it.
        body = struct.pack("=BBH", 0, 0, 0) + _attribute(1, b"\6")
        refusal = _netlink(_NETLINK_NETFILTER, what << 8 | message, 0, body)
        return 2 if refusal in (errno.EPERM, errno.EACCES) else int(refusal != errno.EINVAL)
    except OSError as err:
        # A kernel that has nothing of netfilter's netlink knows no such socket.
        return 0 if err.errno == errno.EPROTONOSUPPORT else 2


def _netlink(protocol, kind, flags, body):
    """Send one request; the number of the error that is answered, 0 where there is none."""
    header = struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST | _ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.settimeout(2)
        netlink.bind((0, 0))
        netlink.send(header + body)
        answer = netlink.recv(4096)
    if struct.unpack_from("=H", answer, 4)[0] != _ERROR:
        return 0
    return -struct.unpack_from("=i", answer, 16)[0]


def _attribute(number, payload):
    length = 4 + len(payload)
    return struct.pack("=HH", length, number) + payload + b"\0" * (-length % 4)
