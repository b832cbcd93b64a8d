"""
What a host shows before Calico runs on it, as data for :mod:`calico_preflight`.

Each source has a pure parser and a thin reader. What cannot be read is None (or left out), never an
error: a question without an answer must not stop a run. One program is started (``ip``), all else is
files and sockets. No Salt, and nothing is changed.
"""

import contextlib
import email.utils
import ipaddress
import json
import os
import socket
import struct
import time

import calico_filters
import calico_host
import calico_kernel

# How calico/node's programs that listen are called. One of these in a root directory of its own is the
# container's; a BIRD of the host's is another matter. The kernel keeps 15 letters of a name.
PROGRAMS = ("bird", "bird6", "calico-felix", "calico-node", "calico-bgp-daem")
CNI = "/etc/cni/net.d"
# What libcni takes for a configuration.
CNI_ENDINGS = (".conf", ".conflist", ".json")
# Where settings of the kernel and of NetworkManager lie: of two files of one name the later one counts.
SYSCTL = ("lib/sysctl.d", "usr/lib/sysctl.d", "usr/local/lib/sysctl.d", "run/sysctl.d", "etc/sysctl.d")
NETWORK_MANAGER = ("usr/lib/NetworkManager/conf.d", "run/NetworkManager/conf.d", "etc/NetworkManager/conf.d")
# More of a file is not read.
LONGEST = 1024 * 1024
# How long a host is waited for that should not be there.
PATIENCE = 0.5


def facts(questions, root="/", proc="/proc", cgroups="/sys/fs/cgroup"):
    """
    What this host shows, as far as it is asked for.

    questions
        What :func:`calico_preflight.questions` returned (dict): features (names), sysctls (names),
        ports (numbers), reach ({family: destination}), registered ([(address, port)]), cni (bool),
        cni_directory (where its configurations lie).

    Returns a dict: links, features, release, sysctls, sysctl_files, listeners, reach, answering, cni,
    nodename, network_manager, filters, programs (of iptables). What could not be read is None.
    """
    probes = {
        "links": links,
        "features": lambda: calico_kernel.features(questions["features"], root),
        "release": lambda: os.uname().release,
        "sysctls": lambda: sysctls(questions["sysctls"], root),
        "sysctl_files": lambda: sysctl_files(root),
        "listeners": lambda: listeners(questions["ports"], proc),
        "reach": lambda: {
            family: source_towards(place, family) for family, place in questions["reach"].items()
        },
        "cni": lambda: _cni(questions, root) if questions["cni"] else [],
        "nodename": lambda: text(root, "var/lib/calico/nodename"),
        "network_manager": lambda: network_manager(root, cgroups),
        "filters": lambda: calico_filters.read(root),
        "programs": lambda: calico_filters.programs(root),
    }
    found = {name: _told(probe) for name, probe in probes.items()}
    own = {address["address"] for link in found["links"] or () for address in link["addresses"]}
    found["answering"] = [
        address
        for address, port in questions["registered"]
        if found["links"] is not None and address not in own and answers(address, port, proc)
    ]
    return found


def _told(probe):
    try:
        return probe()
    except (calico_host.HostError, OSError, ValueError):
        return None


def text(root, path):
    """A file's text without the blanks around it, or None."""
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST).strip()
    except OSError:
        return None


# --- interfaces ------------------------------------------------------------------------------------


def links():
    """This host's interfaces, see :func:`parse_links`."""
    return parse_links(calico_host.ip(["address", "show"], 5.0))


def parse_links(shown):
    """
    The interfaces in the output of ``ip -json address show``, in its order.

    Each has name, mtu (bytes), and addresses: dicts of address, length (of the prefix) and family (4, 6).
    """
    found = []
    for link in calico_host.ip_rows(shown, "ifname"):
        addresses = [
            {
                "address": str(ipaddress.ip_address(item["local"])),
                "length": item["prefixlen"],
                "family": 6 if item.get("family") == "inet6" else 4,
            }
            for item in link.get("addr_info", ())
            if "local" in item and "prefixlen" in item
        ]
        found.append({"name": link["ifname"], "mtu": link.get("mtu"), "addresses": addresses})
    return found


def source_towards(destination, family):
    """The address from which the kernel would send to a destination, or None. Nothing is sent."""
    kind = {4: socket.AF_INET, 6: socket.AF_INET6}[family]
    with contextlib.suppress(OSError, UnicodeError), socket.socket(kind, socket.SOCK_DGRAM) as probe:
        probe.connect((destination, 80))
        return probe.getsockname()[0]
    return None


def answers(address, port, proc="/proc"):
    """
    Whether another host of our own network has this address and takes connections there.

    That somebody answers is no proof: farther away, firewalls and proxies do so in a host's place. Of
    IPv6 nothing is known here.
    """
    try:
        socket.create_connection((address, port), PATIENCE).close()
    except OSError:
        return False
    return address in parse_neighbours(text(proc, "net/arp") or "")


def parse_neighbours(table):
    """The addresses in /proc/net/arp that a neighbour has answered for, as a set."""
    rows = [line.split() for line in table.splitlines()[1:]]
    # 0x2: its hardware address is known.
    return {row[0] for row in rows if len(row) >= 6 and int(row[2], 16) & 2}


# --- the kernel's settings -------------------------------------------------------------------------


def sysctls(names, root="/"):
    """``{name: number}`` of the kernel's settings; those that there are not are left out."""
    found = {}
    for name in names:
        with contextlib.suppress(TypeError, ValueError):
            found[name] = int(text(root, "proc/sys/" + name.replace(".", "/")))
    return found


def sysctl_files(root="/"):
    """The files that set the kernel's settings at boot, in their order: [(path, {name: value})]."""
    return [(path, parse_sysctl(content)) for path, content in _overriding(root, SYSCTL, ".conf")]


def parse_sysctl(content):
    """``{name: value}`` (text) of a file of /etc/sysctl.d."""
    found = {}
    for line in content.splitlines():
        name, equals, value = line.strip().lstrip("-").partition("=")
        if equals and not name.startswith(("#", ";")):
            found[name.strip().replace("/", ".")] = value.strip()
    return found


def _overriding(root, directories, ending):
    """The files of these directories by name, one of a later directory instead of an earlier one's."""
    paths = {}
    for directory in directories:
        with contextlib.suppress(OSError):
            for name in os.listdir(os.path.join(root, directory)):
                if name.endswith(ending):
                    paths[name] = "%s/%s" % (directory, name)
    return [("/" + paths[name], text(root, paths[name]) or "") for name in sorted(paths)]


# --- ports -----------------------------------------------------------------------------------------


def listeners(ports, proc="/proc", ask=None):
    """
    Who listens on these TCP ports.

    ask
        Asks the kernel for its listening sockets: :func:`listening` unless another is given.

    Returns a list of dicts: port, address, pid, program (None where that cannot be told), and ours:
    whether it is one of calico/node's, in a container.
    """
    found = _rows(ports, proc, ask)
    owners = _owners({row["inode"] for row in found}, proc)
    for row in found:
        row["pid"], row["program"] = owners.get(row.pop("inode"), (None, None))
        row["ours"] = row["program"] in PROGRAMS and _contained(row["pid"], proc)
    return found


def _rows(ports, proc, ask):
    rows = (ask or listening)()
    if rows is None:
        rows = [row for family in ("tcp", "tcp6") for row in _listening_in_table(family, ports, proc)]
    return [row for row in rows if row["port"] in ports]


def listener(port, aged=False, proc="/proc", ask=None):
    """
    What tells the process that listens on a TCP port from any other, and for how long that has run.

    aged
        Whether its age is wanted, which takes a look at the host's processes.

    Returns ``(sockets, seconds)``: sockets is a set of the kernel's numbers, which are never used twice:
    empty where nobody listens, None where that cannot be told; seconds None where they are not known.
    """
    try:
        sockets = frozenset(row["inode"] for row in _rows((port,), proc, ask))
        owners = _owners(sockets, proc).values() if aged else ()
    except (calico_host.HostError, OSError):
        return None, None
    ages = [calico_host.age(pid, proc) for pid, _program in owners]
    return sockets, min((age for age in ages if age is not None), default=None)


def listening():
    """
    The listening TCP sockets: [{port, address, inode}]; None where the kernel gives no answer.

    Asked as ss(8) does: /proc/net/tcp has all other sockets too, which may be a hundred thousand.
    """
    found = []
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            found.extend(_listening(family))
    except OSError:
        return None
    return found


# Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301
_ERROR, _DONE, _LISTEN = 2, 3, 10
_MESSAGE = struct.Struct("=4x2s2x16s16x12x16xI")


def _listening(family):
    body = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.settimeout(2)
        netlink.send(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _DUMP, 1, 0) + body)
        while True:
            answer = netlink.recv(65536)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == _DONE:
                    return
                if kind == _ERROR or length < 16 + _MESSAGE.size:
                    raise OSError("the kernel does not tell its sockets")
                port, address, inode = _MESSAGE.unpack_from(answer, 16)
                size = 4 if family == socket.AF_INET else 16
                yield {
                    "port": int.from_bytes(port, "big"),
                    "address": str(ipaddress.ip_address(address[:size])),
                    "inode": inode,
                }
                answer = answer[(length + 3) // 4 * 4 :]


def _listening_in_table(family, ports, proc):
    """The same from /proc/net, of these ports."""
    shown = text_of_table(proc, family)
    for port in ports:
        for row in calico_host.parse_sockets(lines_of_port(shown, port), family, port):
            if row["state"] == "LISTEN":
                yield {"port": row["local_port"], "address": row["local_address"], "inode": row["inode"]}


def text_of_table(proc, family):
    """The kernel's table of sockets; it may be long, and is read as a whole."""
    try:
        with open("%s/net/%s" % (proc, family), encoding="ascii", errors="replace") as table:
            return table.read()
    except OSError as err:
        if family == "tcp6":  # a kernel without IPv6
            return ""
        raise calico_host.HostError("failed", "%s/net/%s: %s" % (proc, family, err.strerror)) from err


def lines_of_port(shown, port):
    """The heading and those lines that name a port; a host may have a hundred thousand sockets."""
    word = ":%04X " % port
    head, _, rest = shown.partition("\n")
    return "\n".join([head, *(line for line in rest.split("\n") if word in line)])


def _owners(inodes, proc):
    """{inode: (pid, program)}; calico/node's own programs are looked at first, they are few."""
    found = {}
    others = []
    for pid in filter(str.isdigit, os.listdir(proc)) if inodes else ():
        if len(found) == len(inodes):
            return found
        program = text(proc, pid + "/comm")
        if program in PROGRAMS:
            _sockets_of(pid, program, inodes, found, proc)
        elif program:
            others.append((pid, program))
    for pid, program in others:
        if len(found) == len(inodes):
            break
        _sockets_of(pid, program, inodes, found, proc)
    return found


def _sockets_of(pid, program, inodes, found, proc):
    with contextlib.suppress(OSError):
        for descriptor in os.listdir("%s/%s/fd" % (proc, pid)):
            target = os.readlink("%s/%s/fd/%s" % (proc, pid, descriptor))
            if target.startswith("socket:[") and int(target[8:-1]) in inodes:
                found.setdefault(int(target[8:-1]), (int(pid), program))


def _contained(pid, proc):
    """Whether a process has another root directory than we have, whatever made the container."""
    with contextlib.suppress(OSError):
        inside, outside = (os.stat("%s/%s/root/" % (proc, which)) for which in (pid, "self"))
        return (inside.st_dev, inside.st_ino) != (outside.st_dev, outside.st_ino)
    return False


# --- units -----------------------------------------------------------------------------------------


def unit_fault(unit, root="/", cgroups="/sys/fs/cgroup"):
    """Why systemd would not start a unit: ``masked``, ``not-found``; None where it would or nobody knows."""
    for directory in ("etc/systemd/system", "run/systemd/system"):
        path = os.path.join(root, directory, unit)
        if os.path.islink(path) and os.readlink(path) == os.devnull:
            return "masked"
    if calico_host.processes_of(unit, cgroups):
        return None
    shown = _told(lambda: calico_host.run(["systemctl", "show", "--property=LoadState", "--", unit], 5.0))
    state = (shown or "").strip().partition("=")[2]
    return state if state in ("masked", "not-found") else None


# --- files of others -------------------------------------------------------------------------------


def _cni(questions, root):
    return cni_configurations(root, questions.get("cni_directory", CNI))


def cni_configurations(root="/", directory=CNI):
    """The CNI configurations in the order in which they are looked at: [{name, types}]."""
    directory = directory.lstrip("/")
    try:
        names = [name for name in os.listdir(os.path.join(root, directory)) if name.endswith(CNI_ENDINGS)]
    except FileNotFoundError:
        return []
    return [
        {"name": name, "types": parse_cni(text(root, "%s/%s" % (directory, name)))} for name in sorted(names)
    ]


def parse_cni(content):
    """The types of the plugins that a CNI configuration names, [] where it is none."""
    try:
        given = json.loads(content or "")
        plugins = given.get("plugins", [given])
        return [plugin["type"] for plugin in plugins if isinstance(plugin.get("type"), str)]
    except (AttributeError, TypeError, ValueError):
        return []


def network_manager(root="/", cgroups="/sys/fs/cgroup"):
    """The devices that NetworkManager leaves alone, as it is told (list of text); None: it does not run."""
    if not calico_host.processes_of("NetworkManager.service", cgroups):
        return None
    files = [("", text(root, "etc/NetworkManager/NetworkManager.conf") or "")]
    return parse_network_manager([*files, *_overriding(root, NETWORK_MANAGER, ".conf")])


def parse_network_manager(files):
    """What these files ([(path, text)], each before those that override it) tell it to leave alone."""
    # Few hosts run it, and to load this takes longer than all probes together.
    import configparser

    unmanaged = []
    for _path, content in files:
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",), allow_no_value=True)
        try:
            parser.read_string(content)
        except configparser.Error:
            continue
        for section in parser.sections():
            options = {key.strip(): value or "" for key, value in parser.items(section)}
            if section == "keyfile":
                if "unmanaged-devices" in options:
                    unmanaged = _devices(options["unmanaged-devices"])
                unmanaged = unmanaged + _devices(options.get("unmanaged-devices+", ""))
            elif section.startswith("device") and options.get("managed", "").lower() in ("0", "false", "no"):
                unmanaged = unmanaged + _devices(options.get("match-device", ""))
    return unmanaged


def _devices(value):
    return [item.strip() for item in value.replace(",", ";").split(";") if item.strip()]


# --- room and time ---------------------------------------------------------------------------------


def room(path):
    """Free room of the file system there: {path, bytes, inodes (None where it counts none)}, or None."""
    try:
        shown = os.statvfs(path)
    except OSError:
        return None
    inodes = shown.f_favail if shown.f_files else None
    return {"path": path, "bytes": shown.f_bavail * shown.f_frsize, "inodes": inodes}


def skew(date, now=None):
    """How many seconds a server's clock, as its ``Date`` header shows it, is ahead of ours; or None."""
    try:
        there = email.utils.parsedate_to_datetime(date).timestamp()
    except (AttributeError, IndexError, TypeError, ValueError):
        return None
    return there - (time.time() if now is None else now)
