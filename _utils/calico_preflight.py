"""
Is a host fit for Calico? Facts in, findings out.

A finding is ``{level, what, seen, do}``. ``error`` is only what would surely do harm or fail; whatever is
doubtful is a ``warning``, and what could not be found out is no finding at all: a healthy host, also one
that Calico runs on, has none. :func:`questions` says what the rules want to know, :mod:`calico_probe` finds
it out, :func:`findings` judges. Pure: no Salt, no files, no network.
"""

import fnmatch
import ipaddress
import re

import calico_container
import calico_felix
import calico_filters
import calico_generations
import calico_migration
import calico_pem
import calico_regex
import calico_runtimes
import calico_situation
import calico_sources

# Bytes that each wrapping takes from a packet, by address family (calico's own MTU arithmetic).
OVERHEAD = {"ipip": {4: 20}, "vxlan": {4: 50, 6: 70}, "wireguard": {4: 60, 6: 80}}
# Felix' setting for the MTU of each tunnel, and the tunnel's interface.
TUNNEL_MTU = {
    ("ipip", 4): ("IpInIpMtu", "tunl0"),
    ("vxlan", 4): ("VXLANMTU", "vxlan.calico"),
    ("vxlan", 6): ("VXLANMTUV6", "vxlan-v6.calico"),
    ("wireguard", 4): ("WireguardMTU", "wireguard.cali"),
    ("wireguard", 6): ("WireguardMTUV6", "wg-v6.cali"),
}
WRAPPING = {"ipip": "IP-in-IP", "vxlan": "VXLAN", "wireguard": "WireGuard"}
# What Felix' rules are made of, in any mode but that of native nftables.
MATCHES = ("xt_set", "xt_mark", "xt_conntrack", "xt_addrtype", "xt_multiport", "xt_comment")
SETS = ("ip_set", "ip_set_hash_ip", "ip_set_hash_net")
LEGACY = ("iptable_filter", "iptable_nat", "iptable_mangle", "iptable_raw")
OVER_NFT = ("nf_tables", "nft_compat")
NATIVE_NFT = ("nf_tables",)
BPF = ("bpf_syscall", "cgroup_bpf", "cls_bpf", "sch_ingress")
LOAD = "Load or install the kernel's module; distributions have packages for some (linux-modules-extra)"
OLD_FOR_BPF = "Take a newer kernel, or set BPFEnabled to false: Felix would go on with iptables"
# The oldest kernel for eBPF, and the one that Red Hat has made fit for it (Calico's documentation).
BPF_KERNEL, BPF_KERNEL_OF_RED_HAT = (5, 3), (4, 18, 0, 193)
# The last minor release of Calico 3 whose Felix refuses a loose rp_filter (projectcalico/felix#2189).
LAST_WITH_RP_FILTER = 11
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
RP_FILTER = "net.ipv4.conf.all.rp_filter"
CONNTRACK, CONNTRACK_USED = "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_count"
# Fewer connections than a node with some dozen pods may have at once, and how full the table may be.
FEW_CONNECTIONS, NEARLY_FULL = 65536, 0.8
# The formula's own file of kernel settings.
SYSCTL_FILE = "/etc/sysctl.d/60-calico.conf"
# A plugin that hands over to the configuration that comes next.
META_PLUGINS = ("multus", "multus-shim")
WAS_ITSELF = ", which this host was itself"
OTHER_NAME = "where another host has this name, give this one another (calico:node:name)"
# How many of a list are named.
MANY = 3
# The variable with which calico/node does not look whether another node has its address.
NO_ADDRESS_CHECK = "DISABLE_NODE_IP_CHECK"
# How far clocks may be apart, in seconds.
SKEW = 30
# Room for what the formula itself writes, and what an image takes once it is unpacked (bytes).
FILE_ROOM, IMAGE_ROOM = 16 * 2**20, 2**30
# What Felix takes for the interfaces whose MTU counts, where nothing is set.
MTU_INTERFACES = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"
# The first minor release of Calico 3 whose BIRD may listen elsewhere.
LISTEN_PORT_SINCE = 16


def finding(what, seen, do, level="error"):
    """One thing that is wrong: where, what was seen, and what to do about it."""
    return {"level": level, "what": what, "seen": seen, "do": do}


def _warning(what, seen, do):
    return finding(what, seen, do, "warning")


# --- what the datastore would be made of ----------------------------------------------------------


def of_refusals(refused):
    """What `calico.network` must not do (:func:`calico_safety.refusals`), before it comes to that."""
    return [
        finding(
            "calico:network",
            "%(resource)s: %(seen)s" % item,
            "Instead: %(do)s. To do it nevertheless: %(allow)s in calico:network:allow" % item,
        )
        for item in refused
    ]


def of_declared_problems(problems):
    """What cannot be written at all over what the datastore holds."""
    where = "calico:network: "
    return [
        finding(where + item["setting"], "got " + item["given"], "Accepted: " + item["accepted"])
        for item in problems
    ]


def to_be_written(settings, name, cluster, steps, asked):
    """
    What calicoctl may have to write in this run (list of names).

    name
        The node's name.
    steps
        What differs now (list of ``calico_plan.Step``).
    asked
        What the pillar wants of this ``node``, and each ``resource`` that only calicoctl can read: lists.
    """
    names = [step.name for step in steps]
    # It has no labels before it has registered, and what differs of other resources only calicoctl tells.
    if asked["node"] and name not in cluster.nodes:
        names.append(name)
    return names + [resource["kind"] for resource in asked["resource"]]


def made_by_a_start(settings, cluster, steps):
    """
    The names of what the next start of calico/node writes by itself (set).

    That are the default pools where there are none, and BGP settings that nobody has made yet.
    """
    environment = calico_container.environment(settings)
    cidrs = {environment.get("CALICO_IPV%dPOOL_CIDR" % family) for family in (4, 6)}
    default = {"mesh": {"old": None, "new": True}, "as_number": {"old": None, "new": 64512}}
    return {
        step.name
        for step in steps
        if (step.name in cidrs and not cluster.pools)
        or (step.changes and all(default.get(word) == change for word, change in step.changes.items()))
    }


def of_no_calicoctl(failure, needed):
    """A calicoctl that cannot be used by a run that will need it."""
    more = " and %d more" % (len(needed) - MANY) if len(needed) > MANY else ""
    seen = "%s. This run needs it for: %s%s" % (failure.rstrip("."), ", ".join(needed[:MANY]), more)
    return finding("calico:calicoctl:path", seen, "Set calico:calicoctl:source, or put calicoctl there")


def of_unknown_kind(kind, said):
    """A resource of the pillar that calicoctl has no kind for."""
    return finding(
        "calico:network:resources: kind %s" % kind,
        "calicoctl says: %s" % said,
        "Correct the kind, or take a calicoctl that knows it",
    )


# --- what the pillar alone tells -------------------------------------------------------------------


def of_settings(problems):
    """Findings for the problems that the check of the pillar found."""
    return [
        finding(item["setting"], "got " + item["given"], "Accepted: " + item["accepted"]) for item in problems
    ]


def of_name(name):
    """A node's name that Kubernetes and the CNI plugin would not find, or that every host has."""
    if name.partition(".")[0] == "localhost":
        do = "Set calico:node:name, or rename the host: two hosts of one name would write one entry in turns"
        return [_warning("node name", "'%s' is the name of any host" % name, do)]
    if name == name.lower():
        return []
    do = "Set calico:node:name to '%s', or rename the host: Kubernetes and the CNI plugin look for lower case"
    return [finding("node name", "'%s' has capitals" % name, do % name.lower())]


def of_certificates(settings, parts, now):
    """Certificates and key ({part: PEM bytes}) that do not belong together, or are not valid now."""
    do = (
        "Give a CA, certificate and key that belong together and are valid now; where they are, set this "
        "host's clock"
    )
    ed25519 = calico_generations.GENERATIONS[settings["generation"]]["ed25519"]
    return [
        finding("calico:etcd:tls:" + part, "the %s%s %s" % (part, _source(settings, part), what), do, level)
        for level, part, what in calico_pem.findings(parts, now, ed25519)
    ]


def _source(settings, part):
    """Where a part comes from, in words; nothing where the pillar itself holds it."""
    given = settings["etcd"]["tls"][part] or ""
    return "" if "-----BEGIN " in given else " (%s)" % given


def of_source(path, source, source_hash, found):
    """A ``salt://`` source that is not there or is another one; ``found`` is its hash as Salt tells it."""
    what = "calico:%s:source" % path
    if not found:
        return [finding(what, "the master has no file %s" % source, "Put it there")]
    seen = calico_sources.mismatch(source, source_hash, found)
    return [finding(what + "_hash", seen, "Give the hash of the file that is meant")] if seen else []


def of_calicoctl_path(path, is_directory):
    """A directory in the place of the program itself."""
    if not is_directory:
        return []
    return [
        finding("calico:calicoctl:path", "%s is a directory" % path, "Give the path of the program itself")
    ]


# --- the runtime, and room -------------------------------------------------------------------------


def of_runtime(settings, version, image_present, archive):
    """
    A runtime that is too old for what has to be asked of it.

    version
        Its own (text), or None where it does not tell.
    archive
        ``{"found": bool, "bytes": size or None}`` of ``calico:image_archive``, None where none is set.
    """
    result = []
    if not image_present and archive and not archive["found"]:
        seen = "there is no file %s" % settings["image_archive"]
        result.append(finding("calico:image_archive", seen, "Put it there"))
    runtime = calico_runtimes.RUNTIMES[settings["runtime"]]
    pulls = not image_present and not archive
    numbers, oldest = _release(version or ""), runtime["oldest"]
    if numbers and numbers < _release(oldest):
        seen = "%s %s is older than %s" % (settings["runtime"], version, oldest)
        do = "Update it"
        if runtime["older_runs"] and pulls:
            do += ", or set calico:image_archive: it cannot pull in silence"
        fatal = pulls or not runtime["older_runs"]
        result.append(finding("container runtime", seen, do, "error" if fatal else "warning"))
    if version in runtime["misreads"]:
        result.extend(_misread(settings, version))
    if pulls and not runtime["has_registry"] and not _has_registry(settings["image"]):
        seen = "'%s' names no registry, and %s has none of its own" % (settings["image"], settings["runtime"])
        do = "Give the image with its registry, or an archive; right where registries.conf has a registry"
        result.append(_warning("calico:image", seen, do))
    return result


def _release(version):
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def _misread(settings, version):
    """Variables that a podman would not give as they are, which reads its file as a shell does."""
    found = sorted(
        name
        for name, value in calico_container.environment(settings).items()
        if "#" in value or value.startswith(("'", '"', "`"))
    )
    if not found:
        return []
    seen = "%s %s cuts values with quotes or #: %s" % (settings["runtime"], version, ", ".join(found))
    return [finding("container runtime", seen, "Update it")]


def _has_registry(image):
    first, slash, _rest = image.partition("/")
    return bool(slash) and (first == "localhost" or "." in first or ":" in first)


def of_no_runtime(settings, failure, others):
    """A runtime that does not answer; ``others`` are the names of those that are installed instead."""
    do = "Install and start %s" % settings["runtime"]
    do += "".join(", or set calico:runtime to %s, which is here" % name for name in others)
    return [finding("container runtime", failure, do)]


def of_service(settings, fault, others):
    """
    A unit that calico-node's own would wait for in vain.

    fault
        What :func:`calico_probe.unit_fault` says of ``calico:service`` (text), or None.
    others
        The names of units that run and may be the one that is meant.
    """
    service = settings["service"]
    if not fault:
        return []
    seen = "%s is masked" % service if fault == "masked" else "there is no unit %s" % service
    do = "Unmask it (systemctl unmask %s)" % service if fault == "masked" else "Install it"
    do += "".join(", or set calico:service to %s, which runs" % name for name in others)
    return [finding("calico:service", seen, do + ": calico-node's unit depends on it")]


def of_another_runtime(settings, running):
    """calico-node in another runtime (``running``, a list of names): two of them would fight."""
    seen = "calico-node runs in %s, and calico:runtime is %s"
    do = "Apply calico.clean with calico:runtime: %s first, or remove that container"
    return [finding("container runtime", seen % (name, settings["runtime"]), do % name) for name in running]


def of_mounts(settings, exists):
    """Mounts of the pillar that are not there, where the runtime makes none; ``exists`` tells of a path."""
    if calico_runtimes.RUNTIMES[settings["runtime"]]["makes_directories"]:
        return []
    return [
        finding(
            "calico:mounts:%d" % position,
            "there is no %s, and %s makes none" % (mount.split(":")[0], settings["runtime"]),
            "Make it",
        )
        for position, mount in enumerate(settings["mounts"])
        if not exists(mount.split(":")[0])
    ]


def of_room(rooms):
    """File systems that are full; ``rooms`` as :func:`calico_probe.room` tells them."""
    return [
        finding("disk space", _free(room), "Free %d MiB" % (FILE_ROOM // 2**20))
        for room in rooms
        if room and (room["bytes"] < FILE_ROOM or room["inodes"] == 0)
    ]


def of_image_room(room, archive):
    """Too little room for an image that is still to come; ``archive`` as :func:`of_runtime` has it."""
    needed = (archive or {}).get("bytes") or 0
    if not room or (room["bytes"] >= max(IMAGE_ROOM, needed) and room["inodes"] != 0):
        return []
    sure = room["bytes"] < max(FILE_ROOM, needed) or room["inodes"] == 0
    do = "Free %d MiB for calico/node's image" % (max(IMAGE_ROOM, needed) // 2**20)
    return [finding("disk space", _free(room), do, "error" if sure else "warning")]


def _free(room):
    inodes = "" if room["inodes"] is None else " and %d inodes" % room["inodes"]
    return "%s has %d MiB%s free" % (room["path"], room["bytes"] // 2**20, inodes)


# --- the datastore ---------------------------------------------------------------------------------


def of_datastore(settings, cluster, failure, skew=None, refused=None, moved=None):
    """
    A datastore that cannot be read, is locked, is empty beside one of 2.6, or tells another time.

    failure
        What kept us from reading it (text), or None.
    skew
        How many seconds its clock is ahead of ours, or None.
    refused
        The certificates that it did not accept, {part: PEM bytes}, or None.
    moved
        What etcd holds of both generations (see ``calico_migration.read``), or None where nobody looked.
    """
    if failure:
        kubernetes = settings["datastore"] == "kubernetes"
        where = "calico:kubernetes:kubeconfig" if kubernetes else "calico:etcd:endpoints"
        result = [finding(where, failure, "The run stops before it changes anything")]
        issuer = calico_pem.foreign_issuer(refused or {})
        if issuer:
            seen = "the cert was issued by '%s', which is not in calico:etcd:tls:ca" % issuer
            do = "Give a certificate of the CA that etcd trusts, or the CA that issued it"
            result.append(_warning("calico:etcd:tls:cert", seen, do))
        return result
    if moved and calico_migration.would_start_empty(moved):
        seen = "Calico 3 has no data, and etcd's v2 keys hold a cluster of 2.6 with %d nodes" % len(
            moved["v1"]["nodes"]
        )
        do = "Move it: %s. Where it is a leftover, remove it: etcdctl rm --recursive /calico"
        return [finding("datastore", seen, do % calico_migration.START)]
    if not cluster.ready:
        seen = "the datastore is locked: a migration or an upgrade is under way"
        if moved and calico_migration.under_way(moved):
            # Just now the nodes must go from one to the other.
            do = "Upgrade the nodes (calico.orch.upgrade); until %s, Felix waits" % calico_migration.COMPLETE
            return [_warning("datastore", seen, do)]
        return [finding("datastore", seen, "Finish or abort it, then run again")]
    if skew is not None and abs(skew) > SKEW:
        seen = "etcd's is %d s %s this host's" % (abs(skew), "ahead of" if skew > 0 else "behind")
        do = "Let a time service set both: with a wrong clock certificates are not valid yet, or no more"
        return [_warning("clock", seen, do)]
    return []


# --- the host --------------------------------------------------------------------------------------


def questions(settings, name, cluster=None):
    """What :func:`calico_probe.facts` has to find out for :func:`findings` (dict)."""
    situation = calico_situation.Situation(settings, name, cluster)
    needed = [feature for need in _kernel_needs(situation) for group in need["any"] for feature in group]
    reach = {}
    for family in (4, 6):
        word, _, place = calico_situation.method(situation, family).partition("=")
        # A name would have to be looked up, for as long as the resolver likes.
        if word == "can-reach" and calico_situation.is_address(place, family):
            reach[family] = place
    registered = situation.registered or {}
    return {
        "features": sorted(set(needed)),
        "sysctls": [*FORWARDING.values(), RP_FILTER, CONNTRACK, CONNTRACK_USED],
        "ports": [port for port in (situation.bgp_port, situation.health_port) if port],
        "reach": reach,
        "registered": [
            (registered[key], situation.bgp_port)
            for key in ("ipv4", "ipv6")
            if registered.get(key) and situation.bgp_port
        ],
        "cni": settings["cni"]["enabled"],
        "cni_directory": settings["cni"]["conf_dir"],
    }


def findings(settings, name, cluster, facts):
    """
    What speaks against Calico on this host.

    settings, name, cluster, facts
        As :class:`calico_situation.Situation` has them.

    Returns a list of findings, the errors first.
    """
    situation = calico_situation.Situation(settings, name, cluster, facts)
    found = [item for rule in RULES for item in rule(situation)]
    return sorted(found, key=lambda item: item["level"] != "error")


# --- the kernel ------------------------------------------------------------------------------------


def _kernel_needs(situation):
    """
    What the mode needs of the kernel: [{any, why, do, level}].

    ``any`` holds groups of features: one group must be there in full.
    """
    needs = []

    def need(why, do, *groups, level="error"):
        needs.append({"any": groups, "why": why, "do": do, "level": level})

    backends = _packet_filters(situation)
    if backends == (NATIVE_NFT,):
        need("Felix' rules in nftables", LOAD + ", or set NFTablesMode to Disabled", *backends)
    else:
        need("Felix' rules in iptables", LOAD, *backends)
        need("Felix' rules in iptables", LOAD, MATCHES)
        need("the IP sets of Felix' rules", LOAD, SETS)
        if backends == (LEGACY,) and situation.felix_flag("Ipv6Support", default=True):
            do = LOAD + ", or set calico:felix:Ipv6Support to false"
            need("Felix' rules for IPv6", do, ("ip6table_filter",))
    for (wrapping, _family), mode in situation.wrappings.items():
        if wrapping == "wireguard":
            do = LOAD + ", or set WireguardEnabled to false: this node's traffic would not be encrypted"
            need("WireguardEnabled", do, (wrapping,), level="warning")
        else:
            do = LOAD + ", or set the pools' %s to never" % wrapping
            # Where all nodes share a subnet, nothing is ever wrapped.
            level = "error" if mode == "always" else "warning"
            need("pools with %s: %s" % (wrapping, mode), do, (wrapping,), level=level)
    if situation.felix_flag("BPFEnabled"):
        need("BPFEnabled", OLD_FOR_BPF, BPF, level="warning")
    return needs


def _packet_filters(situation):
    """The ways of the kernel to filter packets that Felix of this release and these settings may use."""
    known = {
        calico_filters.LEGACY: (LEGACY,),
        calico_filters.NFT: (OVER_NFT,),
        calico_filters.NATIVE: (NATIVE_NFT,),
    }
    return known.get(_felix_writes(situation), (LEGACY, OVER_NFT))


def _felix_writes(situation):
    settings = situation.settings
    return calico_filters.writes(settings["major"], settings["minor"], situation.felix)


def _kernel(situation):
    """Features that the chosen mode needs; an unknown one counts as there."""
    features = situation.fact("features", {})
    found = []
    for need in _kernel_needs(situation):
        missing = [[name for name in group if features.get(name) is False] for group in need["any"]]
        if all(missing):
            names = " and no ".join(", ".join(group) for group in missing)
            found.append(finding("kernel", "no %s, for %s" % (names, need["why"]), need["do"], need["level"]))
    if situation.felix_flag("BPFEnabled"):
        found.extend(_bpf_kernel(situation.fact("release", "")))
    return found


def _bpf_kernel(release):
    numbers = tuple(map(int, re.findall(r"\d+", release)[:4]))
    if not numbers or numbers >= BPF_KERNEL or (".el8" in release and numbers >= BPF_KERNEL_OF_RED_HAT):
        return []
    seen = "%s, eBPF needs %d.%d" % (release, *BPF_KERNEL)
    return [_warning("kernel", seen, OLD_FOR_BPF)]


def _rp_filter(situation):
    """Felix ends at once where the host's own check of source addresses would override its stricter one."""
    old = situation.v1 or situation.settings["minor"] <= LAST_WITH_RP_FILTER
    if not old or situation.felix_flag("IgnoreLooseRPF"):
        return []
    if situation.fact("sysctls", {}).get(RP_FILTER) == 2:
        do = "Set it to 0 or 1 (/etc/sysctl.d), or calico:felix:IgnoreLooseRPF to true: "
        return [finding(RP_FILTER, "2 (loose)", do + "Felix would end at once")]
    files = [(path, to[RP_FILTER]) for path, to in situation.fact("sysctl_files", []) if RP_FILTER in to]
    if not files or files[-1][1] != "2":
        return []
    do = "Take the line out, or set calico:felix:IgnoreLooseRPF to true: Felix would end after the next boot"
    return [_warning(RP_FILTER, "%s says 2" % files[-1][0], do)]


def _dropped(situation):
    """Filters that drop what workloads send and get, and that nothing which Felix accepts passes by."""
    filters = situation.fact("filters", [])
    # Without BIRD or VXLAN hosts have no workloads of each other; eBPF passes netfilter by.
    if situation.backend == "none" or situation.felix_flag("BPFEnabled") or not filters:
        return []
    felix = _felix_writes(situation) or calico_filters.shows(filters)
    returning = calico_filters.returns(situation.felix)
    packets = _packets_of_workloads(situation)
    found = []
    for each, sure in calico_filters.dropping(filters, felix, packets, returning):
        curable = calico_filters.is_ours(each, felix)
        if curable and situation.settings["forwarding"]["accept"]:
            if calico_filters.program(each.backend, each.family, situation.fact("programs", ()).__contains__):
                continue
            do = "Install the program of iptables that writes there: calico:forwarding:accept needs it"
        elif curable:
            do = (
                "Set calico:forwarding:accept to true: rules then accept it, also after a restart of docker. "
                "Or take DROP away: %s -P FORWARD ACCEPT" % ("iptables" if each.family == 4 else "ip6tables")
            )
        else:
            do = "Have it accept what comes from cali* and goes there: the formula writes to iptables only"
        seen = calico_filters.drop(each, felix)
        found.append(finding("packet filter", seen, do, "error" if sure else "warning"))
    return found


def _packets_of_workloads(situation):
    prefixes = calico_filters.prefixes(situation.felix("InterfacePrefix"))
    found = []
    for pool in situation.settings["network"]["pools"]:
        family = 6 if ":" in pool["cidr"] else 4
        address = situation.plan(family)[1]
        pair = calico_situation.link_of(situation, address) if address else None
        outward = pair[0]["name"] if pair else "eth0"
        for (wrapping, of), mode in situation.wrappings.items():
            if of == family and mode == "always":
                outward = TUNNEL_MTU[wrapping, of][1]
        for prefix in prefixes:
            found.extend(calico_filters.packets(prefix, outward, pool["cidr"]))
    return found


def _forwarding(situation):
    """The formula switches forwarding of IPv4 on: here is who switches it off again, and IPv6."""
    values = situation.fact("sysctls", {})
    files = situation.fact("sysctl_files", [])
    found = []
    name = FORWARDING[4]
    if values.get(name) == 0 and any(path == SYSCTL_FILE for path, _values in files):
        seen = "0, although %s says 1" % SYSCTL_FILE
        found.append(_warning(name, seen, "The run sets it again; find out who took it back"))
    own = SYSCTL_FILE.rpartition("/")[2]
    later = [
        (path, set_to[name]) for path, set_to in files if path.rpartition("/")[2] > own and name in set_to
    ]
    if later and later[-1][1] != "1":
        seen = "%s says %s" % later[-1]
        do = "Take the line out: it counts after %s, and after the next boot" % SYSCTL_FILE
        found.append(_warning(name, seen, do))
    if 6 in situation.families and values.get(FORWARDING[6]) == 0:
        sets = 6 in calico_container.workload_families(situation.settings)
        do = "The run sets it to 1" if sets else "Set it to 1 (/etc/sysctl.d)"
        do += "; before that, set accept_ra to 2 where it has its IPv6 address from router advertisements"
        found.append(_warning(FORWARDING[6], "0, although IPv6 is used", do))
    return found


def _conntrack(situation):
    """A table of connections that is small or nearly full: what does not fit is dropped."""
    values = situation.fact("sysctls", {})
    limit, used = values.get(CONNTRACK), values.get(CONNTRACK_USED, 0)
    if not limit:
        return []
    do = "Raise it (/etc/sysctl.d), such as to 1000000: packets of connections that do not fit are dropped"
    if used > limit * NEARLY_FULL:
        return [_warning(CONNTRACK, "%d of %d are in use" % (used, limit), do)]
    if limit < FEW_CONNECTIONS:
        return [_warning(CONNTRACK, str(limit), do)]
    return []


# --- the node's address ----------------------------------------------------------------------------


def _shown(pair):
    return "%s %s/%d" % (pair[0]["name"], pair[1]["address"], pair[1]["length"])


def _addresses(situation):
    """Which address calico/node takes, whether it is this host's, and whether it could be another one."""
    found = []
    for family in (4, 6):
        how, address, length = situation.plan(family)
        if how == "detected":
            found.extend(_detected(situation, family, address))
        elif how in ("given", "kept") and situation.links:
            found.extend(_fixed(situation, family, how, address))
            if how == "kept":
                found.extend(_kept(situation, family, address))
        if how in ("given", "kept", "detected") and address:
            found.extend(_prefix(situation, family, how, address, length))
            found.extend(_moved(situation, family, how, address))
    return found


def _pools(situation):
    """Workloads must not get the addresses of hosts, and a block of such a pool may cut hosts off."""
    found = []
    for pool in situation.settings["network"]["pools"]:
        network = ipaddress.ip_network(pool["cidr"], strict=False)
        holders = [] if pool["disabled"] else _hosts_in(situation, network)
        if holders:
            others = ", and %d more" % (len(holders) - MANY) if len(holders) > MANY else ""
            seen = "%s holds %s%s" % (network, ", ".join(holders[:MANY]), others)
            do = "Give a network that no host and nothing else has an address of"
            found.append(_warning("calico:network:pools", seen, do))
    return found


def _hosts_in(situation, network):
    """Whose addresses lie in a network, in words: this host's, other nodes', etcd's."""
    family = network.version
    own = [entry["address"] for _link, entry in calico_situation.own_addresses(situation, family)]
    planned = situation.plan(family)[1]
    own = ([planned] if planned and planned not in own else []) + own
    named = [("this host's own address", address) for address in own]
    nodes = situation.cluster.nodes if situation.cluster else {}
    named += [
        ("node %s's address" % name, node["ipv%d" % family])
        for name, node in sorted(nodes.items())
        if name != situation.name
    ]
    hosts = [_host_of(url) for url in situation.settings["etcd"]["endpoints"] or ()]
    named += [("etcd's address", host) for host in hosts]
    return [
        "%s %s" % (whose, address)
        for whose, address in named
        if address
        and calico_situation.is_address(address, family)
        and ipaddress.ip_address(address) in network
    ]


def _host_of(url):
    """The host that a checked endpoint names."""
    return url.partition("//")[2].rpartition(":")[0].strip("[]")


def _own_ports(situation):
    """BIRD and Felix' health must not want the same port: the second of them would never come up."""
    port = situation.bgp_port
    if port is None or port != situation.health_port:
        return []
    seen = "BIRD and Felix' health would both listen at port %d" % port
    return [finding("calico:felix:HealthPort", seen, "Give it another port, or network:bgp:listen_port")]


def _detected(situation, family, address):
    key = "ip" if family == 4 else "ip6"
    method = calico_situation.method(situation, family)
    setting = "calico:node:%s_autodetection_method" % key
    if address is None:
        seen = "%s finds no IPv%d address" % (method, family)
        return [finding(setting, seen, "Set calico:node:%s, or another method: calico-node would end" % key)]
    places = calico_situation.places(calico_situation.candidates(situation, family))
    strange = calico_situation.of_containers(places[0][0])
    better = [pair for pair in places if not calico_situation.of_containers(pair[0])]
    # As it was chosen before, it will be chosen again.
    chosen = calico_situation.registered_address(situation, family) == address
    if not (strange and (better or _is_dockers(places[0][0]))) and (len(places) < 2 or chosen):
        return []
    seen = "%s: would be %s" % (method, _shown(places[0]))
    if len(places) > 1:
        seen += ", of %s" % ", ".join(map(_shown, places))
    do = "Set calico:node:%s" % key
    if better:
        name = re.escape(better[0][0]["name"])
        do += ", or %s to one that names the interface, such as interface=^%s$" % (setting, name)
    return [_warning(setting, seen, do)]


def _is_dockers(link):
    """Whether docker itself has named an interface so."""
    return bool(re.fullmatch("docker[0-9]*|br-[0-9a-f]{12}", link["name"]))


def _kept(situation, family, address):
    """An address that was detected once, on an interface of containers, while the host has another one."""
    pair = calico_situation.link_of(situation, address)
    if not pair or not calico_situation.of_containers(pair[0]):
        return []
    better = calico_situation.own_addresses(situation, family)
    if not better:
        return []
    seen = "node %s is registered with %s, which is the one of %s, an interface of containers" % (
        situation.name,
        address,
        pair[0]["name"],
    )
    do = "Set calico:node:%s to the address that other nodes reach, such as %s/%d" % (
        "ip" if family == 4 else "ip6",
        better[0][1]["address"],
        better[0][1]["length"],
    )
    return [_warning("address of node %s" % situation.name, seen, do)]


def _fixed(situation, family, how, address):
    """An address that was given, or registered earlier, and no interface has."""
    if calico_situation.link_of(situation, address):
        return []
    key = "ip" if family == 4 else "ip6"
    # BIRD cannot send from it. Without BIRD it only tells others where to send.
    level = "error" if situation.bgp_port else "warning"
    if how == "given":
        own = ", ".join(_shown(pair) for pair in calico_situation.own_addresses(situation, family)) or "none"
        seen = "no interface has %s (there is %s)" % (address, own)
        return [finding("calico:node:" + key, seen, "Give an address of this host", level)]
    if _is_another_hosts(situation, address):
        return []
    seen = "node %s is registered with %s, which no interface has" % (situation.name, address)
    do = "Where this host's address has changed, set calico:node:%s to it or to autodetect; " + OTHER_NAME
    return [finding("address of node %s" % situation.name, seen, do % key, level)]


def _prefix(situation, family, how, address, length):
    """Whether peers are in the same subnet is decided by this prefix."""
    modes = [mode for (_wrapping, of), mode in situation.wrappings.items() if of == family]
    if "crosssubnet" not in modes or how == "detected" or length is None:
        return []
    pair = calico_situation.link_of(situation, address)
    actual = pair[1]["length"] if pair else None
    single = how == "given" and length == {4: 32, 6: 128}[family]
    if (actual == length and not single) or (actual is None and not single):
        return []
    whence = "given" if how == "given" else "registered"
    seen = "%s is %s with prefix /%d" % (address, whence, length)
    if actual == length or actual is None:
        do = (
            "Set calico:node:%s with the prefix of the nodes' subnet: pools with crosssubnet wrap all packets"
        )
        do %= "ip" if family == 4 else "ip6"
    else:
        seen += ", %s has /%d" % (pair[0]["name"], actual)
        do = "Set calico:node:%s to %s/%d: pools with crosssubnet wrap what goes to another subnet"
        do %= ("ip" if family == 4 else "ip6", address, actual)
    return [_warning("address of node %s" % situation.name, seen, do)]


def _moved(situation, family, how, address):
    """The name is registered with an address that is not this host's, or will change."""
    stored = calico_situation.registered_address(situation, family)
    if not stored or not situation.links or stored == address:
        return []
    if calico_situation.link_of(situation, stored):
        if how != "detected":
            return []
        seen = "would change from %s to %s" % (stored, address)
        do = "Set calico:node:ip%s to the one that is meant" % ("" if family == 4 else "6")
        return [_warning("address of node %s" % situation.name, seen, do)]
    if _is_another_hosts(situation, stored) or situation.fact("nodename") == situation.name:
        return []
    seen = "node %s is registered with %s, which no interface of this host has" % (situation.name, stored)
    do = "Where this host's address has changed, all is well; " + OTHER_NAME
    return [_warning("node name", seen, do)]


def _is_another_hosts(situation, address):
    """Whether another host has an address that is registered under our name only."""
    others = [node for name, node in situation.cluster.nodes.items() if name != situation.name]
    owned = any(address in (node["ipv4"], node["ipv6"]) for node in others)
    return address in situation.fact("answering", []) and not owned


def _taken(situation):
    """The node's name or its address belongs to another node already."""
    if situation.cluster is None:
        return []
    found = []
    name = situation.name
    for family in (4, 6):
        stored = calico_situation.registered_address(situation, family)
        if stored and _is_another_hosts(situation, stored):
            seen = "node %s is registered with %s, and another host of this network has that address" % (
                name,
                stored,
            )
            do = "Give this host another name (calico:node:name): two hosts would write one entry in turns"
            found.append(finding("node name", seen, do))
    old = situation.fact("nodename")
    for family in (4, 6):
        found.extend(_shared(situation, family, old))
    renamed = old and old != name and old in situation.cluster.nodes
    if renamed and not any(item["seen"].endswith(WAS_ITSELF) for item in found):
        seen = "'%s' when this host registered, '%s' now" % (old, name)
        do = "Set calico:node:name to '%s', or remove node %s from the datastore: others go on waiting for it"
        found.append(_warning("node name", seen, do % (old, old)))
    return found


def _shared(situation, family, old):
    """Other nodes that are registered with the address that this one takes or may take; ``old``: our name."""
    how, address, _length = situation.plan(family)
    # The method decides which of this host's addresses count.
    pairs = calico_situation.candidates(situation, family)
    if pairs is None:
        pairs = calico_situation.own_addresses(situation, family)
    eligible = [entry["address"] for link, entry in pairs if not calico_situation.of_containers(link)]
    found = []
    for other, node in situation.cluster.nodes.items():
        theirs = node["ipv%d" % family]
        if other == situation.name or not theirs or theirs not in (address, *eligible):
            continue
        # Which of this host's addresses it will be, is not always known.
        sure = theirs == address or how is None
        found.append(_duplicate(situation, family, other, theirs, old, sure))
    return found


def _duplicate(situation, family, other, address, old, sure):
    unchecked = situation.settings["env"].get(NO_ADDRESS_CHECK) == "true"
    seen = "%s is registered by node %s" % (address, other)
    if other == old:
        seen += WAS_ITSELF
        do = "Set calico:node:name to '%s', or remove that node from the datastore" % other
    else:
        do = "Give this host another one (calico:node:%s), or remove node %s from the datastore if it is gone"
        do %= ("ip" if family == 4 else "ip6", other)
    if unchecked:
        do += (
            ": calico-node would start nevertheless (%s), and one of the two is not reached"
            % NO_ADDRESS_CHECK
        )
    else:
        do += ": calico-node would end at once"
    level = "error" if sure and not unchecked else "warning"
    return finding("address of node %s" % situation.name, seen, do, level)


def _strangers(situation):
    """Peers of nodes that the datastore does not know: of hosts that are yet to come, or misspelt."""
    nodes = situation.cluster.nodes if situation.cluster else {}
    named = {peer["node"] for peer in situation.settings["network"]["peers"] if peer.get("node")}
    unknown = sorted(named - set(nodes) - {situation.name})
    # Of a cluster that has no nodes yet, all are yet to come.
    if not nodes or not unknown:
        return []
    seen = "the datastore knows no node %s" % ", ".join(unknown)
    return [_warning("calico:network:peers", seen, "Correct the name, unless that host is yet to come")]


# --- what others on the host do --------------------------------------------------------------------


def _ports(situation):
    """Ports that calico-node wants and somebody else has."""
    purposes = {situation.bgp_port: "BGP", situation.health_port: "Felix' health"}
    found = {}
    for item in situation.fact("listeners", []):
        port = item["port"]
        if item["ours"] or port in found or port not in purposes:
            continue
        do = "Stop it" + _other_port(situation, port)
        seen = "listens there, which calico-node needs for %s" % purposes[port]
        if item["program"]:
            seen = "%s (pid %d) %s" % (item["program"], item["pid"], seen)
            found[port] = finding("port %d" % port, seen, do)
        else:
            found[port] = _warning("port %d" % port, "somebody " + seen, "Find out who (ss -tlnp). " + do)
    return list(found.values())


def _other_port(situation, port):
    if port == situation.health_port:
        return ", or set calico:felix:HealthPort"
    if situation.v1 or situation.settings["minor"] < LISTEN_PORT_SINCE:
        return ""
    return ", or set listen_port in calico:network:bgp"


def _mtu(situation):
    """Packets of workloads, once wrapped, that do not fit the interface between the nodes."""
    found = []
    mtu_of_workloads = situation.settings["cni"]["mtu"]
    limits = []
    for family in (4, 6):
        address = situation.plan(family)[1]
        pair = calico_situation.link_of(situation, address) if address else None
        if not pair or not pair[0]["mtu"]:
            continue
        link = pair[0]
        wrappings = [wrapping for wrapping, of in situation.wrappings if of == family]
        limits.append((link["mtu"], "", link))
        for wrapping in wrappings:
            room = link["mtu"] - OVERHEAD[wrapping][family]
            limits.append((room, WRAPPING[wrapping], link))
            name, tunnel = TUNNEL_MTU[wrapping, family]
            default = 1440 if wrapping == "ipip" and situation.v1 else 0
            tunnel_mtu = situation.felix_number(name, default)
            if tunnel_mtu > room:
                seen = "%d of %s; %s has %d, and %s takes %d" % (
                    *(tunnel_mtu, tunnel, link["name"], link["mtu"]),
                    *(WRAPPING[wrapping], OVERHEAD[wrapping][family]),
                )
                found.append(_warning("calico:felix:" + name, seen, "Set it to %d or less" % room))
    if limits and situation.settings["cni"]["enabled"]:
        room, wrapping, link = min(limits, key=lambda limit: limit[0])
        if mtu_of_workloads > room:
            taken = ", and %s takes %d" % (wrapping, link["mtu"] - room) if wrapping else ""
            seen = "%d for workloads; %s has %d%s" % (mtu_of_workloads, link["name"], link["mtu"], taken)
            do = "Set it to %d or less: larger packets would be fragmented or lost" % room
            found.append(_warning("calico:cni:mtu", seen, do))
        elif mtu_of_workloads == 0:
            found.extend(_auto_mtu(situation, link))
    return found


def _auto_mtu(situation, link):
    """Felix finds the MTU out from interfaces whose names it knows."""
    pattern = situation.felix("MTUIfacePattern") or MTU_INTERFACES
    try:
        expression = calico_regex.compiled(str(pattern))
    except calico_regex.RegexError:
        return []
    if expression is None or any(expression.search(item["name"]) for item in situation.links):
        return []
    seen = "matches none of this host's interfaces (%s has the node's address)" % link["name"]
    do = "Set it to ^%s, or calico:cni:mtu: Felix would not find the MTU out" % re.escape(link["name"])
    return [_warning("calico:felix:MTUIfacePattern", seen, do)]


def _cni(situation):
    """Another CNI configuration that pods would get, as the first in the order of names is taken."""
    own = calico_container.CNI_FILES[1 if situation.tables["cni_chain"] else 0]
    for item in situation.fact("cni", []):
        if item["name"] >= own:
            break
        # The other generation's own file goes with this run.
        if item["name"] in calico_container.CNI_FILES or any(kind in META_PLUGINS for kind in item["types"]):
            continue
        kinds = ", ".join(item["types"]) or "no plugin"
        directory = situation.settings["cni"]["conf_dir"]
        seen = "%s/%s (%s) comes before %s" % (directory, item["name"], kinds, own)
        do = "Remove it, or give it a name that sorts later: pods get the first one"
        return [_warning("CNI configuration", seen, do)]
    return []


def _network_manager(situation):
    """NetworkManager takes the interfaces of workloads for its own where nobody tells it otherwise."""
    told = situation.fact("network_manager")
    if told is None:
        return []
    prefixes = str(situation.felix("InterfacePrefix") or calico_felix.WORKLOADS).split(",")
    wanted = {prefix + "*": prefix + "0123456789a" for prefix in prefixes}
    wanted.update((TUNNEL_MTU[wrapping][1],) * 2 for wrapping in situation.wrappings)
    left = [shown for shown, name in wanted.items() if not any(_covers(item, name) for item in told)]
    if not left:
        return []
    names = ";".join("interface-name:" + name for name in left)
    do = "Put [keyfile] and unmanaged-devices+=%s into /etc/NetworkManager/conf.d/calico.conf, and reload it"
    return [_warning("NetworkManager", "it runs and may take over %s" % ", ".join(left), do % names)]


def _covers(item, name):
    """Whether an entry of NetworkManager's list of devices is for an interface of this name."""
    kind, colon, pattern = item.partition(":")
    if not colon:
        return fnmatch.fnmatchcase(name, item)
    if kind == "interface-name":
        return name == pattern[1:] if pattern.startswith("=") else fnmatch.fnmatchcase(name, pattern)
    if kind in ("type", "driver"):
        if name not in [tunnel for _setting, tunnel in TUNNEL_MTU.values()]:
            return pattern == "veth"
        return pattern in (("ip-tunnel", "ipip") if name == "tunl0" else (name.split(".")[0].split("-")[0],))
    return False


RULES = (
    _taken,
    _strangers,
    _addresses,
    _pools,
    _own_ports,
    _rp_filter,
    _kernel,
    _ports,
    _forwarding,
    _dropped,
    _conntrack,
    _mtu,
    _cni,
    _network_manager,
)
