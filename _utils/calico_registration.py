"""
Does the datastore know this node as it is? What a restart of calico-node would put right, and only it.

calico-node registers once, when it starts: an entry that was lost, or has an address that the host has no
more, stays so while the container runs on. Pure: no Salt, no clock.
"""

import ipaddress

# A start that goes well has registered the node by then (seconds).
START = 10
# Backends for which calico-node registers an address; for the others it ignores `calico:node:ip`.
WITH_ADDRESS = ("bird", "gobgp", "vxlan")
_KEYS = {4: "ip", 6: "ip6"}


def outdated(settings, name, registered, own):
    """
    How the node's entry differs from the one that a start would make.

    settings
        Finished settings (:func:`calico_settings.check`).
    name
        The node's name (text).
    registered
        The node as the datastore has it (dict with ipv4, ipv6), None where it has none.
    own
        All addresses of this host (texts), None where they are not known.

    Returns ``{"registration": {old, new}}``, or ``{}`` where a restart would change nothing. Holds for
    Calico 2.6 and 3.x with etcd: Kubernetes makes its nodes itself.
    """
    if registered is None:
        return {"registration": {"old": None, "new": name}}
    if settings["node"]["backend"] not in WITH_ADDRESS:
        return {}
    old, new = [], []
    for family, key in _KEYS.items():
        stored, given = registered["ipv%d" % family], settings["node"][key]
        if not stored or not given or given == "none":
            continue
        if given == "autodetect":
            if own is not None and stored not in own:
                old.append(stored)
                new.append(given)
        elif str(ipaddress.ip_address(given.partition("/")[0])) != stored:
            old.append(stored)
            new.append(given)
    return {"registration": {"old": ", ".join(old), "new": ", ".join(new)}} if old else {}


def not_started(service, listens, birds, seconds):
    """
    Why it is not certain that calico-node's start went well; None where it did (text).

    The entry in the datastore proves nothing where the node was there before: a start that fails leaves
    it as it is. Felix and BIRD are only started once the node has registered.

    service
        What :func:`calico_host.service_state` says of the unit.
    listens
        Whether somebody listens at Felix' health port.
    birds
        BIRD's state by family, as far as it answers.
    seconds
        For how long the service has run without an end, None where that is not known.
    """
    if not service["active"]:
        return "calico-node does not run: %s" % service["reason"]
    if listens or birds or (seconds is not None and seconds >= START):
        return None
    return "calico-node's start is not over"


def strange(registered, backend, own):
    """
    The addresses that a node is registered with and this host does not have (list of text).

    BIRD sends from the registered address: without it, sessions that are up are lost when they next end.
    Arguments as for :func:`outdated`, with the backend alone; for others than BIRD the list is empty.
    """
    if not registered or backend != "bird" or not own:
        return []
    return [address for address in (registered["ipv4"], registered["ipv6"]) if address and address not in own]
