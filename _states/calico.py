"""
Calico on this minion and in its cluster, as declared state.

Every state reads, compares, stops in test mode, applies and then reports what it changed. A datastore
or daemon that gives no answer is a failure that says so, never "absent".

Holds for Salt 3006 to 3008 and calico/node 2.6.x.
"""

import time

from salt.exceptions import CommandExecutionError

__virtualname__ = "calico"

# How long one reading of the pools serves the states of the same run, in seconds.
READING = 10
POOLS = "calico.pools"


def __virtual__():
    return __virtualname__


def _report(name):
    return {"name": name, "result": True, "comment": "", "changes": {}}


def _failed(ret, err):
    return dict(ret, result=False, comment=str(err), changes={})


def checked(name):
    """
    The settings are right and the host is fit for Calico; nothing is changed.

    name
        Any text.

    What is wrong fails the state, with every finding in its comment; what is only doubtful is shown
    as a warning. Put it first, with ``failhard``, so that a run stops before it changes anything.

    .. code-block:: yaml

        Settings and host are fit for Calico:
          calico.checked:
            - failhard: true
    """
    ret = _report(name)
    try:
        findings = __salt__["calico.check"]()
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
        ret["comment"] = "Settings and host are fit for Calico"
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
        return _failed(ret, err)
    ret["changes"] = {after["name"]: {"old": before["id"], "new": after["id"]}}
    return dict(ret, comment="%s was loaded" % after["name"])


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


def node_registered(name, timeout=None):
    """
    calico-node's start went well: the node is in the datastore.

    name
        Any text.
    timeout
        How long to wait, in seconds (int). Without it ``calico:ready:timeout``.

    On failure the comment ends with the last lines of the service.

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
        timeout = timeout or __salt__["calico.settings"]()["ready"]["timeout"]
        found = __salt__["calico.registered"](timeout=timeout)
    except CommandExecutionError as err:
        return _failed(ret, err)
    if found["registered"]:
        return dict(ret, comment="Node %(node)s is registered with %(address)s" % found)
    said = "\n".join(["Node %(node)s has not registered; calico-node said:" % found, *found["log"]])
    return dict(ret, result=False, comment=said)


def node_ready(name, timeout=None):
    """
    Felix is ready and every BGP session that the datastore asks for is Established.

    name
        Any text.
    timeout
        How long to wait for it, in seconds (int). Without it ``calico:ready:timeout``.

    On failure the comment names each missing session, its node, and BIRD's own reason.

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
    except CommandExecutionError as err:
        # On the first run in test mode there is nothing yet that could be ready.
        return dict(_failed(ret, err), result=None if __opts__["test"] else False)
    if found["ready"]:
        comment = "Node %s is ready: %d of %d sessions Established" % (
            found["node"],
            len(found["expected"]),
            len(found["expected"]),
        )
        return dict(ret, comment=comment)
    comment = "\n".join(["Node %s is not ready:" % found["node"], *found["reasons"]])
    if __opts__["test"]:
        return dict(ret, result=None, comment="Would wait. " + comment)
    return dict(ret, result=False, comment="%s\nWaited %s s." % (comment, found["waited"]))


def pool_present(name, ipip="never", nat_outgoing=True, disabled=False):
    """
    An IP pool is in the datastore, and is as described.

    name
        The pool's network, such as ``172.20.0.0/16`` (text).
    ipip
        IP-in-IP between nodes: ``never``, ``always`` or ``crosssubnet`` (text).
    nat_outgoing
        NAT for traffic that leaves the pools (bool).
    disabled
        No new addresses from this pool; those in use stay routed (bool).

    Changes are ``{field: {old, new}}``, the same in test mode.

    .. code-block:: yaml

        172.20.0.0/16:
          calico.pool_present:
            - ipip: crosssubnet
            - nat_outgoing: true
    """
    words = {"cidr": name, "ipip": ipip, "nat_outgoing": nat_outgoing, "disabled": disabled}
    ret = _report(name)
    try:
        plan = __salt__["calico.pool_plan"](words, pools=_pools())
        if not plan["changes"]:
            return dict(ret, comment="Pool %s is as described" % name)
        if __opts__["test"]:
            comment = "Pool %s would be written" % name
            return dict(ret, result=None, changes=plan["changes"], comment=comment)
        __context__.pop(POOLS, None)
        __salt__["calico.apply"](plan["resource"])
    except CommandExecutionError as err:
        return _failed(ret, err)
    return dict(ret, changes=plan["changes"], comment="Pool %s was written" % name)


def pool_absent(name, force=False):
    """
    An IP pool is not in the datastore.

    name
        The pool's network, such as ``172.20.0.0/16`` (text).
    force
        True removes it also while workloads have addresses from it (bool). They keep their addresses
        but lose NAT and IP-in-IP, and their blocks' routes do not come back with the pool.

    .. code-block:: yaml

        172.21.0.0/16:
          calico.pool_absent: []
    """
    ret = _report(name)
    try:
        plan = __salt__["calico.pool_plan"]({"cidr": name}, present=False, pools=_pools())
        if not plan["changes"]:
            return dict(ret, comment="There is no pool %s" % name)
        if plan["in_use"] and not force:
            shown = ", ".join(plan["in_use"][:5])
            comment = (
                "Pool %s is in use by %d workloads (%s): disable it, recreate them in another pool, "
                "then remove it; or set force: true" % (name, len(plan["in_use"]), shown)
            )
            return dict(ret, result=False, comment=comment)
        if __opts__["test"]:
            comment = "Pool %s would be removed" % name
            return dict(ret, result=None, changes=plan["changes"], comment=comment)
        __context__.pop(POOLS, None)
        __salt__["calico.delete"]("ipPool", name)
    except CommandExecutionError as err:
        return _failed(ret, err)
    return dict(ret, changes=plan["changes"], comment="Pool %s was removed" % name)


def _pools():
    """The pools, read once for all states that follow each other closely."""
    read, found = __context__.get(POOLS, (None, None))
    if read is None or time.monotonic() - read > READING:
        found = __salt__["calico.pools"]()
        __context__[POOLS] = (time.monotonic(), found)
    return found


def node_unused(name):
    """
    No workload endpoint of the datastore lies on this minion's node; nothing is changed.

    name
        Any text.

    .. code-block:: yaml

        The node has no workloads:
          calico.node_unused:
            - failhard: true
    """
    ret = _report(name)
    try:
        plan = __salt__["calico.node_plan"]()
    except CommandExecutionError as err:
        return _failed(ret, err)
    return _refused_in_use(ret, plan) or dict(ret, comment="Node %s has no workloads" % plan["node"])


def _refused_in_use(ret, plan):
    if not plan["in_use"]:
        return None
    shown = ", ".join(plan["in_use"][:5])
    comment = "Node %s still has %d workloads (%s): move or end them first"
    return dict(ret, result=False, comment=comment % (plan["node"], len(plan["in_use"]), shown))


def node_absent(name):
    """
    This minion's node is not in the datastore. It is refused while workloads remain on it.

    name
        Any text.

    .. code-block:: yaml

        The node has left the cluster:
          calico.node_absent: []
    """
    ret = _report(name)
    try:
        plan = __salt__["calico.node_plan"]()
        if not plan["changes"]:
            return dict(ret, comment="The datastore knows no node %s" % plan["node"])
        refused = _refused_in_use(ret, plan)
        if refused:
            return refused
        if __opts__["test"]:
            comment = "Node %s would be removed" % plan["node"]
            return dict(ret, result=None, changes=plan["changes"], comment=comment)
        __salt__["calico.delete"]("node", plan["node"])
    except CommandExecutionError as err:
        return _failed(ret, err)
    return dict(ret, changes=plan["changes"], comment="Node %s was removed" % plan["node"])


def container_absent(name):
    """
    There is no container named ``calico-node`` on this host.

    name
        Any text.

    .. code-block:: yaml

        calico-node's container is gone:
          calico.container_absent: []
    """
    ret = _report(name)
    try:
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
        ret["changes"] = {"removed": found}
        if __opts__["test"]:
            return dict(ret, result=None, comment="%d plugins would be removed" % len(found))
        for path in found:
            __salt__["file.remove"](path)
    except CommandExecutionError as err:
        return _failed(ret, err)
    return dict(ret, comment="%d plugins were removed" % len(found))


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
    __salt__["file.rmdir"](name)
    return dict(ret, comment="%s was removed" % name)
