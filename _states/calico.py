"""
Calico on this minion and in its cluster, as declared state.

Every state reads, compares, stops in test mode, applies and then reports what it changed. A datastore
or daemon that gives no answer is a failure that says so, never "absent".

Holds for Salt 3006 to 3008 and calico/node 2.6.x and 3.x.
"""

import stat

from salt.exceptions import CommandExecutionError, SaltException, SaltInvocationError

__virtualname__ = "calico"


def __virtual__():
    return __virtualname__


def _report(name):
    return {"name": name, "result": True, "comment": "", "changes": {}}


_KINDS = {"a mapping": dict, "a list": list, "text": str, "true or false (without quotes)": bool}


def _misuse(**given):
    """What is wrong with arguments, each ``(value, what is accepted)``; None where nothing is."""
    for name, (value, accepted) in given.items():
        if value is not None and not isinstance(value, _KINDS[accepted]):
            return "%s: got %r; accepted: %s" % (name, value, accepted)
    return None


def _failed(ret, err):
    return dict(ret, result=False, comment=str(err), changes={})


def checked(name, host=True):
    """
    The settings are right and the host is fit for Calico; nothing is changed.

    name
        Any text.
    host
        False looks at the settings alone, neither at the host nor at the datastore (bool).

    What is wrong fails the state, with every finding in its comment; what is only doubtful is shown
    as a warning. Let the states that shall not run then require it. With ``failhard`` it would also end
    what is not Calico's.

    .. code-block:: yaml

        Settings and host are fit for Calico:
          calico.checked: []
    """
    ret = _report(name)
    try:
        # `salt://` files are looked for where the states of this run come from, now and later.
        findings = __salt__["calico.check"](saltenv=__env__, host=host)
    except CommandExecutionError as err:
        return _failed(ret, err)
    errors = [_finding(item) for item in findings if item["level"] == "error"]
    warnings = [_finding(item) for item in findings if item["level"] == "warning"]
    if warnings:
        ret["warnings"] = warnings
    if errors:
        ret["result"] = False
        ret["comment"] = "Nothing has been changed.\n" + "\n".join(errors)
    else:
        ret["comment"] = "Settings and host are fit for Calico" if host else "The settings are right"
    return ret


def _finding(item):
    return "%(what)s: %(seen)s -- %(do)s" % item


def image_present(name):
    """
    The image that the settings ask for is on the host: from ``calico:image_archive``, or by a pull.

    name
        Any text.

    .. code-block:: yaml

        calico/node's image is on the host:
          calico.image_present: []
    """
    ret = _report(name)
    try:
        before = __salt__["calico.image"]()
        if before["present"] and before["accepted"]:
            return dict(ret, comment="%s is on the host" % before["name"])
        if __opts__["test"]:
            ret["changes"] = {before["name"]: {"old": before["id"], "new": "loaded"}}
            return dict(ret, result=None, comment="%s would be loaded" % before["name"])
        after = __salt__["calico.image_load"]()
    except CommandExecutionError as err:
        return dict(_failed(ret, err), changes=_image_changes(before))
    ret["changes"] = {after["name"]: {"old": before["id"], "new": after["id"]}}
    return dict(ret, comment="%s was loaded" % after["name"])


def _image_changes(before):
    """What a load that failed has left behind."""
    try:
        after = __salt__["calico.image"]()
    except CommandExecutionError:
        return {}
    if after["id"] == before["id"]:
        return {}
    return {after["name"]: {"old": before["id"], "new": after["id"]}}


def container_current(name):
    """
    The running container is the one that the settings ask for.

    It changes nothing itself: where the container was started with another image, environment, mounts
    or certificates it reports the difference as its changes, for the service to watch. So a restart
    that is owed happens also where the run that made the change was ended before it.

    name
        Any text.

    .. code-block:: yaml

        calico-node's container is current:
          calico.container_current: []

        calico-node is running:
          service.running:
            - name: calico-node
            - watch:
              - calico: calico-node's container is current
    """
    ret = _report(name)
    try:
        ret["changes"] = __salt__["calico.drift"]()
    except CommandExecutionError as err:
        return _failed(ret, err)
    if not ret["changes"]:
        return dict(ret, comment="The container is current, or none is running")
    if __opts__["test"]:
        return dict(ret, result=None, comment="The container would be replaced")
    return dict(ret, comment="The container is out of date and will be replaced")


def forwarding_accepted(name):
    """
    What workloads send and get is accepted where iptables would drop it, in tables that are not Felix' own.

    name
        Any text.

    It changes nothing where nothing is dropped: see ``calico.forwarding_accept``.

    .. code-block:: yaml

        Packets of workloads are accepted:
          calico.forwarding_accepted: []
    """
    ret = _report(name)
    try:
        changes = __salt__["calico.forwarding_accept"](test=__opts__["test"])
    except CommandExecutionError as err:
        return _failed(ret, err)
    if not changes:
        return dict(ret, comment="Nothing drops what workloads send and get")
    if __opts__["test"]:
        return dict(ret, result=None, changes=changes, comment="Rules would accept it")
    return dict(ret, changes=changes, comment="Rules accept what workloads send and get")


def restorable(name):
    """
    What runs can be restored, should the node not become ready after the changes of this run.

    Where a change is due it notes what is up, and keeps the files that it is up with, in
    ``/var/lib/calico-formula``; elsewhere it writes nothing. Put it before the files that change. That
    is the formula's own memory, and no change of the host: it reports none.

    name
        Any text.

    .. code-block:: yaml

        What runs can be restored:
          calico.restorable: []
    """
    ret = _report(name)
    if __opts__["test"]:
        return dict(ret, comment="What runs would be noted before a change")
    try:
        done = __salt__["calico.remember"]()
    except CommandExecutionError as err:
        return _failed(ret, err)
    if not done["noted"]:
        return dict(ret, comment="No new change is due")
    kept = "; the files are kept" if done["kept"] else ""
    return dict(ret, comment="What is up was noted%s" % kept)


def _recovered(ret, comment):
    """The gate has failed: what was done about it, or why not, beside what it said."""
    try:
        done = __salt__["calico.recover"]()
    except CommandExecutionError as err:
        return dict(ret, result=False, comment="%s\nNot rolled back: %s" % (comment, err))
    changes = {}
    if done["rolled_back"]:
        changes = {"rolled back": {"old": None, "new": done["restored"]}}
    return dict(
        ret, result=False, comment="\n".join(filter(None, [comment, done["comment"]])), changes=changes
    )


def node_registered(name, timeout=None):
    """
    calico-node's start went well: it runs, and the node is in the datastore. An entry of an earlier start is
    no proof of this one.

    name
        Any text.
    timeout
        How long to wait, in seconds (int). Without it ``calico:ready:timeout``.

    On failure the comment has the last lines of the service, and with ``calico:on_failure: rollback``
    the last good files are put back as :func:`node_ready` does it.

    .. code-block:: yaml

        calico-node has registered:
          calico.node_registered:
            - onchanges:
              - service: calico-node is running
    """
    ret = _report(name)
    if __opts__["test"]:
        return dict(ret, result=None, comment="Would wait until the node has registered")
    try:
        if timeout is None:
            timeout = __salt__["calico.settings"]()["ready"]["timeout"]
        found = __salt__["calico.registered"](timeout=timeout)
    except SaltInvocationError as err:
        # Nothing was looked at: no reason to take anything back.
        return _failed(ret, err)
    except CommandExecutionError as err:
        return _recovered(ret, str(err))
    if found["registered"]:
        return dict(ret, comment="Node %(node)s is registered with %(address)s" % found)
    return _recovered(ret, "Node %(node)s has not registered: %(reason)s" % found + _said(found["log"]))


def _said(log):
    """The last words of calico-node, below a comment."""
    return "\n".join(["\ncalico-node said:", *log]) if log else ""


def node_ready(name, timeout=None):
    """
    Felix is ready and stays up, every BGP session that the datastore asks for is Established, and other
    nodes' blocks have routes. Where Felix cannot be asked (``calico:felix:HealthEnabled`` is false) or
    sessions cannot be seen (gobgp), the comment says that the gate has done without.

    name
        Any text.
    timeout
        How long to wait for it, in seconds (int). Without it ``calico:ready:timeout``.

    On failure the comment names each missing session, its node, BIRD's own reason and for how long; where
    calico-node or Felix does not stay up, it has their last words. A
    change after which this node is worse than before is then taken back where ``calico:on_failure`` is
    ``rollback``: the last good files are put back and calico-node is restarted with them. The state
    fails in any case; what was put back stands in its changes.

    .. code-block:: yaml

        The node is ready:
          calico.node_ready:
            - timeout: 120
    """
    ret = _report(name)
    try:
        if __opts__["test"]:
            timeout = 0
        elif timeout is None:
            timeout = __salt__["calico.settings"]()["ready"]["timeout"]
        found = __salt__["calico.ready"](timeout=timeout)
    except SaltInvocationError as err:
        return _failed(ret, err)
    except CommandExecutionError as err:
        # On the first run in test mode there is nothing yet that could be ready.
        if __opts__["test"]:
            return dict(_failed(ret, err), result=None)
        return _recovered(ret, str(err))
    if not found["ready"]:
        comment = "\n".join(["Node %s is not ready:" % found["node"], *found["reasons"]])
        if __opts__["test"]:
            return dict(ret, result=None, comment="Would wait. " + comment)
        comment = "\n".join([comment, *found["notes"]])
        return _recovered(ret, "%s\nWaited %s s.%s" % (comment, found["waited"], _said(found["log"])))
    comment = "Node %s is ready: %d of %d sessions Established, %d of %d blocks reachable" % (
        found["node"],
        len(found["expected"]),
        len(found["expected"]),
        found["routes"]["expected"],
        found["routes"]["expected"],
    )
    # What the gate has done without.
    comment = "\n".join([comment, *found["notes"]])
    if __opts__["test"]:
        return dict(ret, comment=comment)
    try:
        kept = __salt__["calico.proven"]()
    except CommandExecutionError as err:
        # It is ready all the same; but a change after this one could not be taken back.
        return dict(ret, comment=comment, warnings=["The last good files cannot be kept: %s" % err])
    return dict(ret, comment=comment + ("; its files are kept as the last good ones" if kept else ""))


def pool_present(
    name,
    cidr=None,
    ipip="never",
    vxlan=None,
    nat_outgoing=True,
    disabled=False,
    block_size=None,
    node_selector=None,
    allowed_uses=None,
    disable_bgp_export=None,
    assignment_mode=None,
    namespace_selector=None,
    allow=None,
):
    """
    An IP pool is in the datastore, and is as described.

    name
        The pool's network, such as ``172.20.0.0/16``; with ``cidr``, its name (text).
    cidr
        The pool's network where ``name`` is its name (Calico 3) (text).
    ipip
        IP-in-IP between nodes: ``never``, ``always`` or ``crosssubnet`` (text).
    vxlan
        VXLAN between nodes, likewise (since 3.7) (text).
    nat_outgoing
        NAT for traffic that leaves the pools (bool).
    disabled
        No new addresses from this pool; those in use stay routed (bool).
    block_size
        Size of a node's blocks (Calico 3): 20 to 32, IPv6 116 to 128 (int). It cannot be changed.
    node_selector
        The nodes that take addresses from it (since 3.5) (text).
    allowed_uses
        What it is for: Workload, Tunnel, LoadBalancer (since 3.22) (list).
    disable_bgp_export
        Do not tell its routes to peers (since 3.22) (bool).
    assignment_mode
        ``Automatic`` or ``Manual`` (since 3.30) (text).
    namespace_selector
        The namespaces that take addresses from it (since 3.31) (text).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    Changes are ``{field: {old, new}}``, the same in test mode.

    .. code-block:: yaml

        172.20.0.0/16:
          calico.pool_present:
            - ipip: crosssubnet
            - nat_outgoing: true
    """
    words = {
        "cidr": cidr or name,
        "name": name if cidr else None,
        "ipip": ipip,
        "vxlan": vxlan,
        "nat_outgoing": nat_outgoing,
        "disabled": disabled,
        "block_size": block_size,
        "node_selector": node_selector,
        "allowed_uses": allowed_uses,
        "disable_bgp_export": disable_bgp_export,
        "assignment_mode": assignment_mode,
        "namespace_selector": namespace_selector,
    }
    return _one(name, "Pool %s" % name, "pool", wanted=[_given(words)], allow=allow)


def pool_absent(name, force=False, allow=None):
    """
    An IP pool is not in the datastore.

    name
        The pool's network, such as ``172.20.0.0/16`` (text).
    force
        True removes it also while workloads have addresses from it (bool): the same as
        ``allow: [pool_in_use]``. They keep their addresses but lose NAT and encapsulation, and their
        blocks' routes do not come back with the pool.
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    .. code-block:: yaml

        172.21.0.0/16:
          calico.pool_absent: []
    """
    wrong = _misuse(force=(force, "true or false (without quotes)"), allow=(allow, "a list"))
    if wrong:
        return _failed(_report(name), wrong)
    allow = [*(allow or ()), *(["pool_in_use"] if force else [])]
    return _one(name, "Pool %s" % name, "pool", absent=[{"cidr": name}], allow=allow)


def pools_exact(name, pools=None, prune=True, allow=None):
    """
    The datastore has these IP pools, and no others.

    name
        Any text.
    pools
        List of pools, each with ``cidr`` and the words of :func:`pool_present`. Without it those of
        the pillar (``calico:network:pools``).
    prune
        False leaves other pools where they are (bool).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    The pools are read once and written together. Changes are ``{network: {field: {old, new}}}``. A pool
    of Calico 3 that is there under another name keeps it: a warning says so.

    .. code-block:: yaml

        These are all pools:
          calico.pools_exact:
            - pools:
              - cidr: 172.20.0.0/16
                ipip: crosssubnet
    """
    return _all(name, "pool", "pools", pools, prune, allow)


def bgp_peer_present(
    name,
    peer_ip=None,
    as_number=None,
    node=None,
    node_selector=None,
    peer_selector=None,
    settings=None,
    allow=None,
):
    """
    A BGP peer is in the datastore, and is as described.

    name
        The peer's name (Calico 3); with 2.6, where peers have none, its address unless ``peer_ip``
        says it (text).
    peer_ip
        The neighbour's address, with Calico 3 also with a port (text).
    as_number
        Its AS number (int, or text such as ``64086.59904``).
    node
        The one node that has this peer (text); without it and ``node_selector`` all have it.
    node_selector
        The nodes that have it (Calico 3) (text).
    peer_selector
        The nodes to peer with, instead of an address (Calico 3) (text).
    settings
        Further fields of Calico 3's BGPPeer, such as ``{source_address: None}`` (dict).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    Changes are ``{field: {old, new}}``, the same in test mode.

    .. code-block:: yaml

        rack1-tor:
          calico.bgp_peer_present:
            - peer_ip: 10.0.1.1
            - as_number: 64601
            - node_selector: rack == "1"
    """
    wrong = _misuse(name=(name, "text"), settings=(settings, "a mapping"))
    if wrong:
        return _failed(_report(name), wrong)
    words = _peer_words(name, peer_ip, node, node_selector, peer_selector)
    words.update(_given({"as_number": as_number}), **(settings or {}))
    return _one(name, "Peer %s" % name, "peer", wanted=[words], allow=allow)


def bgp_peer_absent(name, peer_ip=None, node=None, allow=None):
    """
    A BGP peer is not in the datastore.

    name
        As for :func:`bgp_peer_present` (text).
    peer_ip
        As for :func:`bgp_peer_present` (text).
    node
        As for :func:`bgp_peer_present` (text).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    .. code-block:: yaml

        10.0.0.9:
          calico.bgp_peer_absent:
            - node: node1
    """
    wrong = _misuse(name=(name, "text"))
    if wrong:
        return _failed(_report(name), wrong)
    words = _peer_words(name, peer_ip, node, None, None)
    return _one(name, "Peer %s" % name, "peer", absent=[words], allow=allow)


def _peer_words(name, peer_ip, node, node_selector, peer_selector):
    words = {
        "peer_ip": peer_ip,
        "node": node,
        "node_selector": node_selector,
        "peer_selector": peer_selector,
        "name": name,
    }
    if not peer_ip and not peer_selector and _is_address(name):
        words.update(peer_ip=name, name=None)
    return _given(words)


def _is_address(text):
    return (text.count(".") == 3 and text.replace(".", "").replace(":", "").isdigit()) or "::" in text


def bgp_peers_exact(name, peers=None, prune=True, allow=None):
    """
    The datastore has these BGP peers, and no others.

    name
        Any text.
    peers
        List of peers in the words of :func:`bgp_peer_present` (``settings`` beside the others).
        Without it those of the pillar (``calico:network:peers``).
    prune
        False leaves other peers where they are (bool).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    Changes are ``{peer: {field: {old, new}}}``. A peer of Calico 3 that connects the same under
    another name is the same peer.

    .. code-block:: yaml

        These are all peers:
          calico.bgp_peers_exact:
            - peers:
              - peer_ip: 10.0.0.9
                as_number: 64900
    """
    return _all(name, "peer", "peers", peers, prune, allow)


def bgp_configuration(name, mesh=None, as_number=None, settings=None, allow=None):
    """
    The cluster's BGP settings are as described; what is not described stays as it is.

    name
        ``default``, or ``node.NODE`` for the few settings of one node (text).
    mesh
        The full mesh between the nodes (bool).
    as_number
        The cluster's AS number (int, or text such as ``64086.59904``).
    settings
        Further ones: ``log_level``; with Calico 3 all of BGPConfiguration, such as ``listen_port``
        (dict).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    Without any of them, those of the pillar: ``calico:network:mesh``, ``as_number`` and ``bgp``. With
    2.6 they are the settings of ``calicoctl config``. Changes are ``{field: {old, new}}``.

    .. code-block:: yaml

        default:
          calico.bgp_configuration:
            - mesh: false
            - as_number: 64900
    """
    wrong = _misuse(settings=(settings, "a mapping"))
    if wrong:
        return _failed(_report(name), wrong)
    words = dict(settings or {}, **_given({"mesh": mesh, "as_number": as_number}))
    return _of_pillar(name, "BGP configuration", "bgp", words and dict(words, name=name), allow)


def felix_configuration(name, settings=None, allow=None):
    """
    Felix' settings in the datastore are as described; what is not described stays as it is.

    name
        ``default``, or ``node.NODE`` for those of one node (text).
    settings
        By Felix' names or those of Calico 3's FelixConfiguration, for either generation (dict).
        Without it those of the pillar (``calico:network:felix``).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    Changes are ``{field: {old, new}}``.

    .. code-block:: yaml

        default:
          calico.felix_configuration:
            - settings:
                LogSeverityScreen: warning
                IpInIpMtu: 1400
    """
    wrong = _misuse(settings=(settings, "a mapping"))
    if wrong:
        return _failed(_report(name), wrong)
    words = settings and dict(settings, name=name)
    return _of_pillar(name, "Felix configuration", "felix", words, allow)


def node_labels(name, labels=None, route_reflector_cluster_id=None, allow=None):
    """
    A node has these labels in the datastore (Calico 3); its other labels stay.

    name
        The node's name (text); without ``labels`` and ``route_reflector_cluster_id`` any text: then this
        minion's node is meant, with what its pillar says.
    labels
        ``{label: value}``; a value of null removes the label (dict).
    route_reflector_cluster_id
        Makes the node a route reflector of this cluster (text).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    The node must have registered: calico-node does that itself.

    .. code-block:: yaml

        node1:
          calico.node_labels:
            - labels:
                rack: "1"
    """
    words = {"labels": labels or None, "route_reflector_cluster_id": route_reflector_cluster_id}
    words = _given(words)
    return _of_pillar(name, "Node", "node", words and dict(words, name=name), allow)


def resource_present(name, resource, allow=None):
    """
    A resource of any kind is in the datastore, and has what is described.

    name
        Any text.
    resource
        The resource as calicoctl writes it (dict). What it does not name stays as it is; null removes
        a field.
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    .. code-block:: yaml

        Nodes are protected:
          calico.resource_present:
            - resource:
                apiVersion: projectcalico.org/v3
                kind: GlobalNetworkPolicy
                metadata: {name: nodes}
                spec: {selector: has(node), types: [Ingress]}
    """
    return _one(name, "%s" % name, "resource", wanted=[resource], allow=allow)


def resource_absent(name, kind, allow=None, node=None, namespace=None):
    """
    A resource is not in the datastore.

    name
        Its name; a pool's is also its network, a peer's its address (text).
    kind
        Its kind as calicoctl prints it (text).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).
    node
        The node whose it is, where another peer has the same address; empty for the one of all nodes (text).
    namespace
        Its namespace, where another one has a resource of that name (text).

    .. code-block:: yaml

        nodes:
          calico.resource_absent:
            - kind: GlobalNetworkPolicy
    """
    try:
        found = __salt__["calico.find"](kind, name, node=node, namespace=namespace)
    except CommandExecutionError as err:
        return _failed(_report(name), err)
    return _one(name, "%s %s" % (kind, name), "resource", absent=found, allow=allow)


def resources_present(name, resources=None, allow=None):
    """
    Resources of any kind are in the datastore, and have what is described.

    name
        Any text.
    resources
        List of resources as :func:`resource_present` takes them. Without it those of the pillar
        (``calico:network:resources``).
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    .. code-block:: yaml

        Policies are there:
          calico.resources_present: []
    """
    return _all(name, "resource", "resources", resources, False, allow)


# --- what the pillar declares: one state for each kind, for calico.network -----------------------------


def pools(name):
    """
    The pillar's IP pools (``calico:network:pools``) are in the datastore, with ``prune`` no others.

    name
        Any text.

    Like :func:`felix`, :func:`peers`, :func:`node`, :func:`bgp`, :func:`other_peers_absent` and
    :func:`resources`: what is wanted comes from the checked settings, the datastore is read once,
    changes are ``{resource: {field: {old, new}}}``. What is for all nodes is left alone on a minion that
    ``calico:network:managed_by`` does not name.

    .. code-block:: yaml

        IP pools are in the datastore:
          calico.pools: []
    """
    return _of_network(name, "pool")


def felix(name):
    """
    Felix' settings for the whole cluster (``calico:network:felix``) are in the datastore, see :func:`pools`.

    name
        Any text.

    .. code-block:: yaml

        Felix' cluster-wide settings are in the datastore:
          calico.felix: []
    """
    return _of_network(name, "felix")


def peers(name):
    """
    The pillar's BGP peers (``calico:network:peers``) are in the datastore, others stay, see :func:`pools`.

    name
        Any text.

    .. code-block:: yaml

        BGP peers are in the datastore:
          calico.peers: []
    """
    return _of_network(name, "peer", prune=False)


def other_peers_absent(name):
    """
    With ``calico:network:prune`` the datastore has no BGP peers but the pillar's, see :func:`pools`.

    name
        Any text.

    .. code-block:: yaml

        No other BGP peers are in the datastore:
          calico.other_peers_absent: []
    """
    return _of_network(name, "peer", prune=True)


def node(name):
    """
    This minion's node has the labels and the cluster id of the pillar (``calico:node``), see :func:`pools`.

    name
        Any text.

    .. code-block:: yaml

        The node is labelled:
          calico.node: []
    """
    return _of_network(name, "node")


def bgp(name):
    """
    BGP settings of the cluster (``calico:network:mesh``, ``as_number``, ``bgp``) are in the datastore, see
    :func:`pools`.

    name
        Any text.

    .. code-block:: yaml

        BGP settings are in the datastore:
          calico.bgp: []
    """
    return _of_network(name, "bgp")


def resources(name):
    """
    The pillar's other resources (``calico:network:resources``) are in the datastore, see :func:`pools`.

    name
        Any text.

    .. code-block:: yaml

        Other resources are in the datastore:
          calico.resources: []
    """
    return _of_network(name, "resource")


def _of_network(name, what, prune=None):
    ret = _report(name)
    try:
        found = __salt__["calico.asked_for"](what)
    except CommandExecutionError as err:
        return _failed(ret, err)
    # Of peers, those that are wanted come first and the others go last: two states.
    if prune is True and not found["prune"]:
        return dict(ret, comment=found["why_not"] or "Others may be there: calico:network:prune is false")
    pruned = found["prune"] and prune is not False
    if not found["wanted"] and not pruned:
        return dict(ret, comment=found["why_not"] or "The pillar says nothing of it")
    subject = "What the pillar says (%d)" % len(found["wanted"])
    return _converge(name, subject, what, wanted=found["wanted"], prune=pruned)


def _given(words):
    return {word: value for word, value in words.items() if value is not None}


def _one(name, subject, what, **wanted):
    """One resource: its changes stand alone."""
    ret = _converge(name, subject, what, **wanted)
    ret["changes"] = next(iter(ret["changes"].values()), {})
    return ret


def _of_pillar(name, subject, what, words, allow):
    """One resource as given, or else as the pillar declares it."""
    if not words:
        try:
            words = __salt__["calico.declared"]()[what]
        except CommandExecutionError as err:
            return _failed(_report(name), err)
    return _one(name, "%s %s" % (subject, words["name"]), what, wanted=[words], allow=allow)


def _all(name, what, section, items, prune, allow):
    """Several resources of a kind: changes go by the resource's name."""
    if items is None:
        try:
            items = __salt__["calico.declared"]()[section]
        except CommandExecutionError as err:
            return _failed(_report(name), err)
    wrong = _misuse(**{section: (items, "a list")})
    if wrong:
        return _failed(_report(name), wrong)
    return _converge(name, "All %d %s" % (len(items), section), what, wanted=items, prune=prune, allow=allow)


def _converge(name, subject, what, **wanted):
    ret = _report(name)
    try:
        if __opts__["test"]:
            done = dict(__salt__["calico.plan"](what, **wanted), failed=None)
        else:
            done = __salt__["calico.converge"](what, **wanted)
    except CommandExecutionError as err:
        return _failed(ret, err)
    ret["changes"] = done["changes"]
    if done["notes"]:
        ret["warnings"] = done["notes"]
    if done["refused"]:
        comment = "\n".join(["Nothing has been changed.", *done["refused"]])
        return dict(ret, result=False, changes={}, comment=comment)
    if done["failed"]:
        return dict(ret, result=False, comment=done["failed"])
    if not done["changes"]:
        return dict(ret, comment="%s: as described" % subject)
    if __opts__["test"]:
        return dict(ret, result=None, comment="%s: would be changed" % subject)
    return dict(ret, comment="%s: changed" % subject)


def node_unused(name):
    """
    Nothing speaks against removing this minion's node from the datastore; nothing is changed.

    name
        Any text.

    It has no workloads, and calicoctl, which removes it, can be run.

    .. code-block:: yaml

        The node has no workloads:
          calico.node_unused: []
    """
    ret = _report(name)
    try:
        node = __salt__["calico.node_name"]()
        found = __salt__["calico.plan"]("node", absent=[{"name": node}])
        if found["steps"] and not found["refused"]:
            __salt__["calico.calicoctl_version"]()
    except CommandExecutionError as err:
        do = "To take Calico off this host alone, set calico:clean:datastore to false."
        return _failed(ret, "%s\nNothing has been changed. %s" % (err, do))
    if found["refused"]:
        return dict(ret, result=False, comment="\n".join(found["refused"]))
    return dict(ret, comment="Node %s has no workloads" % node)


def node_absent(name, allow=None):
    """
    This minion's node is not in the datastore. It is refused while workloads remain on it.

    name
        Any text.
    allow
        Dangerous changes that are to be made nevertheless, beside ``calico:network:allow`` (list).

    .. code-block:: yaml

        The node has left the cluster:
          calico.node_absent: []
    """
    try:
        node = __salt__["calico.node_name"]()
    except CommandExecutionError as err:
        return _failed(_report(name), err)
    return _one(name, "Node %s" % node, "node", absent=[{"name": node}], allow=allow)


def container_absent(name):
    """
    There is no container named ``calico-node`` on this host.

    name
        Any text.

    Where the runtime does not run, no container of it can be asked for: a warning says so, and nothing is
    changed.

    .. code-block:: yaml

        calico-node's container is gone:
          calico.container_absent: []
    """
    ret = _report(name)
    try:
        down = __salt__["calico.runtime_down"]()
        if down:
            left = "%s. What it has kept of calico-node can be removed once it runs: apply this again" % down
            return dict(ret, comment="Nobody can be asked for the container", warnings=[left])
        found = __salt__["calico.container_id"]()
        if not found:
            return dict(ret, comment="There is no such container")
        ret["changes"] = {"container": {"old": found, "new": None}}
        if __opts__["test"]:
            return dict(ret, result=None, comment="The container would be removed")
        __salt__["calico.container_remove"]()
    except CommandExecutionError as err:
        return _failed(ret, err)
    return dict(ret, comment="The container was removed")


def cni_absent(name):
    """
    The host has no CNI configuration that the formula has written and would not write any more.

    name
        Any text.

    Those are the one of the other generation, of an earlier ``calico:cni:conf_dir`` where that was
    /etc/cni/net.d, and any where ``calico:cni:enabled`` is false. Files of others stay, whatever their
    name.

    .. code-block:: yaml

        CNI has no configuration that is out of use:
          calico.cni_absent: []
    """
    ret = _report(name)
    try:
        found = __salt__["calico.cni_leftovers"]()
        if not found:
            return dict(ret, comment="There is none")
        if __opts__["test"]:
            comment = "%s would be removed" % ", ".join(found)
            return dict(ret, result=None, changes={"removed": found}, comment=comment)
        removed = []
        for path in found:
            __salt__["file.remove"](path)
            removed.append(path)
            ret["changes"] = {"removed": removed}
    except CommandExecutionError as err:
        return dict(ret, result=False, comment=str(err))
    return dict(ret, comment="%s was removed" % ", ".join(found))


def plugins_absent(name):
    """
    The CNI plugins that came from ``calico:cni:plugins:source`` are gone; others stay.

    name
        Any text.

    .. code-block:: yaml

        CNI plugins are gone:
          calico.plugins_absent: []
    """
    ret = _report(name)
    try:
        found = __salt__["calico.plugins"]()
        if not found:
            return dict(ret, comment="None of the archive's plugins are installed")
        if __opts__["test"]:
            changes = {"removed": found}
            return dict(ret, result=None, changes=changes, comment="%d plugins would be removed" % len(found))
    except CommandExecutionError as err:
        return _failed(ret, err)
    removed, failed = [], []
    for path in found:
        try:
            __salt__["file.remove"](path)
            removed.append(path)
        except SaltException as err:
            failed.append("%s cannot be removed: %s" % (path, err))
    if removed:
        ret["changes"] = {"removed": removed}
    if failed:
        return dict(ret, result=False, comment="\n".join(failed))
    return dict(ret, comment="%d plugins were removed" % len(found))


def plugins_present(name):
    """
    The CNI plugins of ``calico:cni:plugins:source`` are in ``calico:cni:bin_dir``: as they are in the
    archive, root's and with mode 0755, as their directories are. Others stay as they are.

    name
        Any text.

    Nothing is taken from an archive that is another one than its hash says. Changes are
    ``{path: {old, new}}``; what was done before something failed is among them.

    .. code-block:: yaml

        CNI plugins are installed:
          calico.plugins_present: []
    """
    ret = _report(name)
    try:
        due = __salt__["calico.plugins_due"]()
        if not due:
            return dict(ret, comment="All plugins are as in the archive, and root's")
        if __opts__["test"]:
            return dict(ret, result=None, changes=due, comment="The plugins would be installed")
        done = __salt__["calico.plugins_install"]()
    except CommandExecutionError as err:
        return _failed(ret, err)
    ret["changes"] = done["changes"]
    if done["failed"]:
        return dict(ret, result=False, comment=done["failed"])
    return dict(ret, comment="The plugins were installed")


def socket_absent(name):
    """
    A socket that outlived whoever made it is gone. Salt's own ``file.absent`` looks at files and directories
    only, and says of a socket that it is not there.

    name
        Its path (text). Anything else that is there is kept.

    .. code-block:: yaml

        /var/run/calico/bird.ctl:
          calico.socket_absent: []
    """
    ret = _report(name)
    mode = __salt__["file.lstat"](name).get("st_mode")
    if mode is None:
        return dict(ret, comment="%s is not there" % name)
    if not stat.S_ISSOCK(mode):
        return dict(ret, comment="%s is kept: it is no socket" % name)
    ret["changes"] = {"removed": name}
    if __opts__["test"]:
        return dict(ret, result=None, comment="%s would be removed" % name)
    try:
        __salt__["file.remove"](name)
    except SaltException as err:
        return dict(ret, result=False, changes={}, comment=str(err))
    return dict(ret, comment="%s was removed" % name)


def empty_directory_absent(name):
    """
    A directory is gone, if there was nothing in it: what others put there is kept.

    name
        Its path (text).

    .. code-block:: yaml

        /etc/calico:
          calico.empty_directory_absent: []
    """
    ret = _report(name)
    if not __salt__["file.directory_exists"](name):
        return dict(ret, comment="%s is not there" % name)
    if __salt__["file.readdir"](name) != [".", ".."]:
        return dict(ret, comment="%s is kept: there are files of others in it" % name)
    ret["changes"] = {"removed": name}
    if __opts__["test"]:
        return dict(ret, result=None, comment="%s would be removed" % name)
    done = __salt__["file.rmdir"](name)
    if done is not True:
        return dict(ret, result=False, changes={}, comment="%s cannot be removed: %s" % (name, done))
    return dict(ret, comment="%s was removed" % name)


def orchestrated(name, arguments=None):
    """
    What needs more than one minion has been done. For ``salt-run state.orch`` only: it runs on the master.

    name
        The runner's function: ``upgrade``, ``topology`` or ``pool_migration`` (text).
    arguments
        What that function takes (dict); ``test`` follows from the run's own.

    Salt's own ``salt.runner`` calls nothing in test mode: this one shows what would be done.

    .. code-block:: yaml

        All hosts run the release that their pillar wants:
          calico.orchestrated:
            - name: upgrade
            - arguments: {batch: 25%}
    """
    ret = _report(name)
    if not isinstance(arguments or {}, dict):
        return _failed(ret, "%s: got %r; accepted: a mapping of arguments" % (name, arguments))
    given = dict(arguments or {}, test=bool(__opts__["test"]), format="json")
    try:
        done = __salt__["saltutil.runner"]("calico." + name, kwarg=given)
    except SaltException as err:
        return _failed(ret, err)
    if not isinstance(done, dict) or "retcode" not in done:
        return dict(ret, result=False, comment=str(done))
    text = done.get("text") or done.get("error")
    if done["retcode"]:
        return dict(ret, result=False, comment=text, changes=done.get("changes") or {})
    ret.update(comment=text, changes=done["changes"])
    if __opts__["test"] and done["changes"]:
        ret["result"] = None
    return ret
