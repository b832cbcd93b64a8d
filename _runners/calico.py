"""
Calico on all minions at once: the mesh at a glance, and nodes that leave it for good.

:maturity: new
:depends: none beside Salt's own dependencies
:platform: a Salt master

Holds for Salt 3006 to 3008 and calico/node 2.6.x and 3.x. Bring it to the master with
``salt-run saltutil.sync_all``.
"""

import contextlib
import datetime
import json
import os
import tempfile

import calico_loading
import salt.client
from salt.exceptions import SaltException

_helper = calico_loading.of_this_release()
calico_mesh = _helper("calico_mesh")
calico_minions = _helper("calico_minions")
calico_page = _helper("calico_page")
calico_removal = _helper("calico_removal")
calico_report = _helper("calico_report")

__virtualname__ = "calico"

FORMATS = ("text", "json", "html")
UNIT = "calico-node"
# How many minions are asked for the datastore before it counts as one that nobody can read.
READERS = 3


def __virtual__():
    return __virtualname__


def _ask(tgt, function, *args, **how):
    with salt.client.get_local_client(__opts__["conf_file"]) as client:
        return calico_minions.ask(client, __opts__["timeout"], tgt, function, *args, **how)


def _ask_one(*what, **how):
    return calico_minions.ask_one(_ask, *what, **how)


def _report(found, text, format="text"):
    return calico_minions.report(__context__, found, text, format)


def _refused(text, format="text"):
    return _report({"error": text, "retcode": 1}, text, format)


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


# --- the mesh --------------------------------------------------------------------------------------


def mesh(tgt="*", tgt_type="glob", format="text", out=None, timeout=60):
    """
    Every node's view of every session, held against what should be.

    Asks each minion once (``calico.overview``), and one of them for the datastore. Told are sessions that are
    not Established, on one side or both, with the reason that each side has; nodes without an answer and
    answers without a node; nodes that are not ready; images that differ; certificates that end within 30
    days; pools that are 80 % full; blocks of nodes that are gone.

    tgt
        The minions to ask (text). Nodes for which no minion answered are told only where all are asked.
    tgt_type
        How ``tgt`` is meant, as for ``salt.execute`` (text).
    format
        ``text``: what is wrong, then the figures. ``json``: the same as data. ``html``: a page with a
        picture of the mesh, complete in one file (text).
    out
        A file to write it to, on the master (path). ``html`` needs one; the text is printed then.
    timeout
        How long to wait for minions at most, in seconds (number). Minions that are gone are given up
        after the master's own ``timeout``.

    Returns text, and with ``json`` a dict: findings (a list of ``{level, what, nodes, seen, do}``),
    figures, and retcode: 1 where one of the findings is an error, which is also the return code of
    ``salt-run`` in every format. Warnings leave it 0.

    Holds for Salt 3006 to 3008, Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt-run calico.mesh
        salt-run calico.mesh format=html out=/root/mesh.html
    """
    wrong = calico_minions.misuse(timeout, format=format, formats=FORMATS)
    if wrong:
        return _refused(wrong)
    if format == "html" and not out:
        return _refused("out: got nothing; accepted: the path of a file, which format=html needs")
    try:
        answers = _answers(tgt, tgt_type, timeout)
    except SaltException as err:
        return _refused("The minions cannot be asked: %s" % err, format)
    if not answers.views and not answers.failed and not answers.silent:
        return _refused("tgt: '%s' (%s) matches no minion" % (tgt, tgt_type), format)
    now = _now()
    found = calico_mesh.judge(answers, now, whole=(tgt, tgt_type) == ("*", "glob"))
    result = calico_report.data(found)
    told = calico_report.text(result, now)
    if out:
        content = {
            "text": lambda: told + "\n",
            "json": lambda: json.dumps(result, indent=1) + "\n",
            "html": lambda: calico_page.page(found, result, now),
        }[format]()
        try:
            _write(out, content)
        except OSError as err:
            return _refused("out: cannot write %s: %s" % (out, err.strerror), format)
        told += "\n\nwritten to %s" % out
    return _report(result, told, format)


def _answers(tgt, tgt_type, timeout):
    views, failed, silent = _ask(tgt, "calico.overview", tgt_type=tgt_type, timeout=timeout)
    strange = [minion for minion, view in views.items() if not isinstance(view, dict) or "up" not in view]
    for minion in strange:
        failed[minion] = str(views.pop(minion))
    store, unread = None, None
    able = [minion for minion in sorted(views) if not views[minion]["error"]] or sorted(views)
    for minion in able[:READERS]:
        try:
            store = _ask_one(minion, "calico.overview", timeout=timeout, datastore=True)["datastore"]
            unread = None
            break
        except calico_minions.Failed as err:
            unread = str(err)
    return calico_mesh.Answers(views, failed, silent, store, unread)


def _write(path, text):
    """All of the file or none of it, readable by its owner: it tells a lot about the network."""
    directory = os.path.dirname(os.path.abspath(path))
    handle, scratch = tempfile.mkstemp(dir=directory, prefix=".calico-mesh-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise


# --- removal ---------------------------------------------------------------------------------------


def decommission(node, test=True, allow=None, writer=None, format="text", timeout=60):
    """
    Remove a node for good: from the datastore with its peers, its settings, its blocks and tunnel addresses.

    Drains nothing: while the node has workloads (Calico 3: addresses in use in its blocks), it refuses. Where
    calico-node still runs there, it is stopped and disabled first, as it would register again. A host that
    is dead is removed by another minion. Afterwards the datastore is read again, and every other node is
    asked whether it still waits for the one that left. A second call finds nothing left and is good.

    node
        Name of the node in the datastore (text).
    test
        True only says what would be done (bool). It is the default: nothing here can be taken back.
    allow
        Dangerous changes that are meant, as in ``calico:network:allow`` (list of text): ``node_in_use`` for a
        host that died with its workloads.
    writer
        The minion that changes the datastore (text); any other than the node's where none is given. It
        needs calicoctl.
    format
        ``text`` or ``json`` (text).
    timeout
        How long to wait for minions at most, in seconds (number).

    Returns text, and with ``json`` a dict: node, test, steps (what was or would be done), refused (what
    speaks against it), left (what is still there afterwards), waiting (nodes that still wait for it),
    notes, and retcode: 1 where it was refused or is not complete.

    With the datastore ``kubernetes`` the node is Kubernetes' own: remove it there first.

    Holds for Salt 3006 to 3008, Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt-run calico.decommission node3
        salt-run calico.decommission node3 test=False
    """
    wrong = calico_minions.misuse(timeout, test, format)
    if wrong:
        return _refused(wrong)
    if not isinstance(node, str) or not node:
        return _refused("node: got '%s'; accepted: the name of a node" % (node,))
    allow = [allow] if isinstance(allow, str) else list(allow or ())
    done = {
        "node": node,
        "test": test,
        "steps": [],
        "refused": [],
        "left": [],
        "waiting": [],
        "notes": [],
        "retcode": 0,
    }
    try:
        _decommission(done, node, test, allow, writer, timeout)
    except (calico_minions.Failed, SaltException) as err:
        done["refused"].append(str(err))
    if done["refused"] or (not test and (done["left"] or done["waiting"])):
        done["retcode"] = 1
    return _report(done, calico_removal.text(done), format)


def _decommission(done, node, test, allow, writer, timeout):
    names, failed, silent = _ask("*", "calico.node_name", timeout=timeout)
    own = sorted(minion for minion, name in names.items() if name == node)
    others = sorted(minion for minion, name in names.items() if name != node)
    if writer is not None and writer not in others:
        raise calico_minions.Failed(
            "writer: got '%s'; accepted: %s" % (writer, calico_mesh.some(others) or "none answers")
        )
    if not others:
        raise calico_minions.Failed("No minion of another node answers: nobody could change the datastore")
    writer = writer or others[0]
    found = _ask_one(writer, "calico.remains", node, timeout=timeout)
    # Minions of an older formula do not say it.
    if found.get("meant") and not found["registered"]:
        raise calico_minions.Failed(
            "node: got '%s'; accepted: the name of a node: did you mean %s?" % (node, found["meant"])
        )
    running = [minion for minion in own if _runs(minion, timeout)]
    if found["datastore"] == "kubernetes" and found["registered"]:
        raise calico_minions.Failed(
            "With the datastore kubernetes the node is Kubernetes' own: kubectl delete node %s, "
            "then this again for what is left of it" % node
        )
    if not own and found["registered"]:
        _refuse_the_living(done, node, found, writer, timeout)
    _judge(done, writer, node, found, allow, timeout)
    done["notes"].extend(
        "peer %s names its address: remove it from the pillar" % label for label in found["naming"]
    )
    if silent or failed:
        done["notes"].append("no answer from %s" % calico_mesh.some(sorted([*silent, *failed])))
    if done["refused"]:
        return
    done["steps"] = ["%s: calico-node stopped and disabled" % minion for minion in running]
    done["steps"] += ["%s removed, by %s" % (line, writer) for line in calico_removal.described(found)]
    if test:
        return
    for minion in running:
        _stop(minion, timeout)
    if calico_removal.orphaned(found):
        # calicoctl finds what is bound to a node by way of the node.
        _converge(writer, "node", timeout, wanted=[{"name": node}])
    # calicoctl removes most of the rest together with the node: what it left is in a second reading.
    for _reading in range(2):
        left = _ask_one(writer, "calico.remains", node, timeout=timeout)
        for what, absent in calico_removal.calls(left, node):
            _converge(writer, what, timeout, absent=absent, allow=allow or None)
    _verify(done, node, found, writer, timeout)


def _runs(minion, timeout):
    return bool(_ask_one(minion, "service.status", UNIT, timeout=timeout)) or bool(
        _ask_one(minion, "service.enabled", UNIT, timeout=timeout)
    )


def _stop(minion, timeout):
    _ask_one(minion, "service.stop", UNIT, timeout=max(timeout, calico_minions.DEADLINE))
    _ask_one(minion, "service.disable", UNIT, timeout=timeout)
    if _runs(minion, timeout):
        raise calico_minions.Failed(
            "%s: calico-node still runs or would start again: stop it, then this again" % minion
        )


def _refuse_the_living(done, node, found, writer, timeout):
    """A minion that is silent proves nothing: a BIRD that takes connections does."""
    port = found.get("port", calico_removal.BGP_PORT)
    for address in found["addresses"]:
        reached = _ask_one(writer, "network.connect", address, port, timeout=timeout, family=_family(address))
        if reached.get("result"):
            done["refused"].append(
                "no minion answers for %s, yet BIRD takes connections at %s: it would register again. "
                "Stop calico-node there: systemctl disable --now %s" % (node, address, UNIT)
            )


def _family(address):
    return "ipv6" if ":" in address else "ipv4"


def _judge(done, writer, node, found, allow, timeout):
    """Add what speaks against the removal, by the same rules that guard every write."""
    calls = calico_removal.calls(found, node)
    if calls or calico_removal.orphaned(found):
        # Before anything is stopped: a writer that cannot write would leave it half done.
        said = str(_ask_one(writer, "calico.version", timeout=timeout)["calicoctl"])
        if not said[:1].isdigit():
            done["refused"].append("%s: %s. Name another minion: writer=…" % (writer, said.rstrip(".")))
    for what, absent in calls:
        plan = _ask_one(writer, "calico.plan", what, timeout=timeout, absent=absent, allow=allow or None)
        done["refused"].extend(plan["refused"])
    if calico_removal.orphaned(found) and "node_in_use" not in allow:
        done["refused"].extend(calico_removal.in_use(found))


def _converge(writer, what, timeout, **keywords):
    made = _ask_one(
        writer, "calico.converge", what, timeout=max(timeout, calico_minions.DEADLINE), **keywords
    )
    if made["refused"] or made["failed"]:
        raise calico_minions.Failed("%s: %s" % (writer, made["failed"] or "; ".join(made["refused"])))


def _verify(done, node, found, writer, timeout):
    """Read what is left, and ask every other node whether it waits for the one that left."""
    left = _ask_one(writer, "calico.remains", node, timeout=timeout)
    done["left"] = calico_removal.described(left)
    views, _failed, silent = _ask("*", "calico.overview", timeout=timeout)
    views = [view for view in views.values() if isinstance(view, dict) and view.get("node") != node]
    done["waiting"] = calico_removal.waiting(views, found["addresses"])
    done["asked"] = len(views)
    if silent and not done["notes"]:
        done["notes"].append("no answer from %s" % calico_mesh.some(silent))
