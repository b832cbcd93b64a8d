"""
From Calico 2.6 to 3.x: where the move of the data stands, and what comes next.

Calico's own tool ``calico-upgrade`` copies the data from etcd's v2 keys to its v3 keys: ``start`` pauses both
sides (workloads keep running, none can be added), then all nodes are upgraded, ``complete`` ends the pause,
``abort`` goes back (docs.projectcalico.org, v3.0, "Upgrading Calico"). The data in the v2 keys stays
afterwards. Side effects: reads only. No Salt.
"""

import json

import calico_etcd

# The first release of 2.6 from which calico-upgrade can start.
SINCE = (2, 6, 5)
_V1_HOSTS, _V1_READY = "/calico/bgp/v1/host", "/calico/v1/Ready"
_V3 = "/calico/resources/v3/projectcalico.org/"
_NO_DATA = {"nodes": [], "ready": None, "error": None}
START = (
    "`calico-upgrade dry-run`, then `calico-upgrade start`: it copies the data and pauses Calico; "
    "then this again"
)
COMPLETE = "`calico-upgrade complete`: it ends the pause; then this again"


def read(etcd):
    """
    What etcd holds of both generations.

    etcd
        Makes the client for etcd (a function without arguments, a context manager).

    Returns ``{"v1", "v3"}``, each with nodes (names), ready (False: paused, None: never set) and error
    (text, where these keys cannot be read).
    """
    return {"v1": _told(etcd, _v1), "v3": _told(etcd, _v3)}


def _told(etcd, function):
    try:
        with etcd() as client:
            return dict(_NO_DATA, **function(client))
    except calico_etcd.EtcdError as err:
        return dict(_NO_DATA, error=str(err))


def _v1(client):
    keys = client.tree_v2(_V1_HOSTS)
    ready = client.tree_v2(_V1_READY).get(_V1_READY)
    nodes = {key[len(_V1_HOSTS) + 1 :].partition("/")[0] for key in keys}
    return {"nodes": sorted(nodes), "ready": None if ready is None else ready == "true"}


def _v3(client):
    nodes = client.range_v3(_V3 + "nodes/")[0]
    found = client.range_v3(_V3 + "clusterinformations/")[0]
    ready = None
    for value, _revision in found.values():
        ready = (json.loads(value).get("spec") or {}).get("datastoreReady")
    names = (key.rpartition("/")[2] for key in nodes)
    return {"nodes": sorted(names), "ready": ready}


def would_start_empty(found):
    """Would Calico 3 begin with nothing beside a cluster of 2.6?"""
    return bool(found["v1"]["nodes"]) and not found["v3"]["nodes"]


def under_way(found):
    """Is the datastore locked because the data was copied, and the nodes are to be upgraded now?"""
    return found["v1"]["ready"] is False and found["v3"]["ready"] is False and not left_behind(found)


def left_behind(found):
    """Nodes of 2.6 that Calico 3's data does not have; names are in lower case there."""
    return sorted({name.lower() for name in found["v1"]["nodes"]} - set(found["v3"]["nodes"]))


def next_step(found, running):
    """
    Where the move stands.

    found
        What :func:`read` returned.
    running
        ``{minion: (major, minor, patch)}`` of what runs.

    Returns ``{"refused": [text, …], "locked": bool}``. Empty ``refused``: the nodes can be upgraded now,
    with ``locked`` while Felix waits for ``calico-upgrade complete``.
    """
    refused = []
    old = sorted(minion for minion, release in running.items() if release < SINCE)
    if old:
        refused.append(
            "%s: older than v2.6.5, which cannot be moved to Calico 3. Next: set calico:version to v2.6.12 "
            "and run this; then v3 again"
            % ", ".join("%s runs v%d.%d.%d" % (name, *running[name]) for name in old)
        )
    v1, v3 = found["v1"], found["v3"]
    if v3["error"]:
        refused.append(
            "etcd's v3 API cannot be read, where Calico 3 keeps its data: %s. Next: an etcd server of 3.x, "
            "with the same endpoints for both APIs" % v3["error"]
        )
    elif v1["error"]:
        refused.append("the data of 2.6 cannot be read: %s. Next: switch etcd's v2 API on" % v1["error"])
    elif not v1["nodes"] and not v3["nodes"]:
        refused.append(
            "neither etcd's v2 keys nor its v3 keys hold a node, while 2.6 runs: calico:etcd:endpoints is "
            "another etcd than the one that runs the cluster"
        )
    elif not v3["nodes"]:
        refused.append("Calico 3's data is empty, the nodes would lose each other. Next: " + START)
    elif v3["ready"] is False and v1["ready"] is not False:
        refused.append(
            "Calico 3's data is locked and 2.6 is not paused: `calico-upgrade start` did not end, or was "
            "aborted. Next: " + START
        )
    elif left_behind(found) and v1["nodes"]:
        refused.append(
            "Calico 3's data lacks %s: it was not made by `calico-upgrade start`, or nodes have joined "
            "since. Next: `calico-upgrade abort`, remove Calico 3's data, then %s"
            % (", ".join(left_behind(found)), START)
        )
    elif v1["nodes"] and v1["ready"] is not False:
        refused.append(
            "2.6 is not paused: what it writes now would be missing in Calico 3's data. Next: " + START
        )
    return {"refused": refused, "locked": v3["ready"] is False}
