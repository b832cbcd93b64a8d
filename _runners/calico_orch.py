"""
What takes more than one minion, step by step: upgrades, another topology, another pool (``calico/orch``).

:maturity: new
:depends: none beside Salt's own dependencies
:platform: a Salt master

Holds for Salt 3006 to 3008 and calico/node 2.6.x and 3.x. Bring it to the master with
``salt-run saltutil.sync_all``.
"""

import contextlib
import sys

import calico_loading
import salt.client
from salt.exceptions import SaltException

_helper = calico_loading.of_this_release()
calico_migration = _helper("calico_migration")
calico_minions = _helper("calico_minions")
calico_pools = _helper("calico_pools")
calico_rollout = _helper("calico_rollout")
calico_topology_report = _helper("calico_topology_report")

__virtualname__ = "calico"

# For an image that crosses the network, for a whole run of the formula, and for a node that is a bit late
# once its run is over; and how many hosts fetch the image at once.
IMAGE_DEADLINE = 900
APPLY_DEADLINE = 1800
LATE = 30
IMAGES_AT_ONCE = 25
# What `calico.own_place` says beside a node's own words.
NOT_OF_A_NODE = ("described", "held")


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


# --- upgrades --------------------------------------------------------------------------------------


def upgrade(
    tgt="*", tgt_type="glob", batch=1, version=None, test=False, format="text", timeout=60, saltenv=None
):
    """
    Bring all hosts to the release that their pillar wants, batch by batch.

    ``salt-run state.orch calico.orch.upgrade`` calls it. Hosts that run what their pillar wants and
    are ready are left alone, so that a run after a failure goes on where the last one stopped. First each is
    asked whether it is fit (``calico.check``), then the image is brought onto all of them; only then they are
    taken in batches, each with ``state.apply calico`` and its gate. It stops at the first batch in which a
    host fails.

    tgt
        The hosts of the cluster (text).
    tgt_type
        How ``tgt`` is meant, as for ``salt.execute`` (text).
    batch
        How many hosts are taken at once: a number, or a percentage of all, such as ``25%`` (int or text).
        Two reflectors are never in one batch.
    version
        The release that the pillar of all of them must want (text). It changes nothing: it is for those who
        want to be sure that the pillar is what they think it is.
    test
        True only says what would be done (bool).
    format
        ``text`` or ``json`` (text).
    timeout
        How long to wait for minions at most when they are only asked, in seconds (number).
    saltenv
        The environment of Salt's file server that has the formula (text); None: as the minions are set up.
        ``state.orch`` gives its own where that is not ``base``.

    Returns text, and with ``json`` a dict: test, refused (what speaks against it: nothing was changed),
    images (hosts that lacked the image), batches, skipped, upgraded, untouched (lists of minions), failed
    (``{minion: why}``), runs (what each host runs, at the end), changes (``{minion: {image: {old, new}}}``),
    next (what the operator must do), text, and retcode: 1 where it was refused or has failed.

    Holds for Salt 3006 to 3008, Calico 2.6 and 3.x, and as a guided way from 2.6 to 3.x.

    CLI Example:

    .. code-block:: bash

        salt-run calico.upgrade test=True
        salt-run calico.upgrade batch=25%
    """
    wrong = calico_minions.misuse(timeout, test, format)
    if wrong:
        return _refused(wrong, format)
    done = {
        "test": test,
        "refused": [],
        "images": [],
        "batches": [],
        "skipped": [],
        "upgraded": [],
        "untouched": [],
        "failed": {},
        "runs": {},
        "changes": {},
        "next": [],
        "retcode": 0,
    }
    try:
        _upgrade(done, tgt, tgt_type, batch, version, timeout, saltenv)
    except (calico_minions.Failed, SaltException, calico_rollout.Refused) as err:
        done["refused"].append(str(err))
    if done["refused"] or done["failed"]:
        done["retcode"] = 1
    done["text"] = calico_rollout.text(done)
    return _report(done, done["text"], format)


def _upgrade(done, tgt, tgt_type, batch, version, timeout, saltenv):
    calico_rollout.batch_size(batch, 1)
    _ask(tgt, "saltutil.refresh_pillar", tgt_type=tgt_type, timeout=timeout, wait=True)
    views, failed, silent = _views(tgt, tgt_type, timeout, saltenv=saltenv)
    if not views and not failed and not silent:
        raise calico_minions.Failed("tgt: '%s' (%s) matches no minion" % (tgt, tgt_type))
    plan = calico_rollout.plan(views, failed, silent, batch, version)
    locked = False
    if plan["migrates"]:
        plan, locked = _moving(done, plan, views, failed, silent, batch, version, timeout)
    done["refused"] = plan["refused"]
    done["batches"], done["skipped"] = plan["batches"], plan["skipped"]
    if not done["refused"] and plan["todo"]:
        done["refused"] = _unfit(plan, views, locked, timeout)
    done["images"] = [minion for minion in plan["todo"] if not views[minion]["present"]]
    done["untouched"] = list(plan["todo"])
    done["runs"] = _runs_now(views)
    if done["refused"] or not plan["todo"]:
        return
    if done["test"]:
        done["changes"] = {
            minion: _image_change(views[minion], views[minion]["wanted"]) for minion in plan["todo"]
        }
        done["untouched"] = []
        return
    _images(done, timeout)
    if not done["failed"]:
        _batches(done, views, locked, timeout, saltenv)
    asked = [*plan["todo"], *plan["waiting"]]
    views.update(_views(asked, "list", timeout, 0 if done["failed"] else LATE, saltenv)[0])
    for minion in plan["waiting"] if not done["failed"] else ():
        if not calico_rollout.finished(views[minion], locked):
            done["failed"][minion] = calico_rollout.why(views[minion])
    done["runs"] = _runs_now(views)
    if locked and not done["failed"]:
        done["next"].append(calico_migration.COMPLETE)


def _views(tgt, tgt_type, timeout, late=0, saltenv=None):
    """
    What hosts say of themselves; those whose modules are older than this command get them first.

    late
        How long each of them may wait until it is ready, in seconds (number).
    """

    def ask(whom, how):
        # By position: `timeout` is also a word of _ask's own.
        return _ask(whom, "calico.rollout", tgt_type=how, timeout=timeout + late, arg=(late,))

    views, failed, silent = ask(tgt, tgt_type)
    old = sorted(minion for minion, text in failed.items() if "is not available" in text)
    if old:
        # Not saltutil.sync_all: that would remove modules of others.
        _apply(old, "calico.modules", max(timeout, calico_minions.DEADLINE), saltenv)
        again = ask(old, "list")
        failed = {minion: text for minion, text in failed.items() if minion not in old}
        views.update(again[0])
        failed.update(again[1])
        silent = sorted({*silent, *again[2]})
    strange = [minion for minion, view in views.items() if not isinstance(view, dict) or "wanted" not in view]
    for minion in strange:
        failed[minion] = str(views.pop(minion))
    return views, failed, silent


def _moving(done, plan, views, failed, silent, batch, version, timeout):
    """From one generation to the next: only while the data is where the new one looks for it."""
    if any(view["generation"] == "v1" for view in views.values()):
        plan["refused"].append(
            "there is no way back from Calico 3 to 2.6 but `calico-upgrade abort`, and only before "
            "`calico-upgrade complete`"
        )
        return plan, False
    running = {minion: calico_rollout.release(view["image"]) for minion, view in views.items()}
    running = {minion: found for minion, found in running.items() if found}
    found = _ask_one(plan["todo"][0], "calico.migration", timeout=timeout)
    step = calico_migration.next_step(found, running)
    if step["refused"]:
        # What else speaks against it mostly follows from this.
        return dict(plan, refused=step["refused"]), False
    return plan, step["locked"]


def _unfit(plan, views, locked, timeout):
    """What the hosts' own preflight says, and whether the pillar changes more than the release."""
    refused = []
    answers, failed, silent = _ask(
        plan["todo"], "calico.check", tgt_type="list", timeout=max(timeout, calico_minions.DEADLINE)
    )
    for minion in plan["todo"]:
        if minion in failed or minion in silent:
            refused.append("%s: calico.check: %s" % (minion, failed.get(minion, "no answer")))
            continue
        refused.extend(
            "%s: %s: %s -- %s" % (minion, item["what"], item["seen"], item["do"])
            for item in answers.get(minion) or ()
            if item["level"] == "error"
        )
    if refused or plan["migrates"] or locked:
        return refused
    # While releases are mixed, each node writes its own into the datastore when it starts, and calicoctl
    # writes only where that is its own as well.
    if any(not views[minion]["current"] for minion in plan["todo"]):
        pending = _ask_one(
            plan["todo"][0], "calico.rollout", timeout=max(timeout, calico_minions.DEADLINE), pending=True
        )["pending"]
        if pending:
            refused.append(
                "the pillar also changes what the datastore holds for all: %s. Make that change before the "
                "upgrade or after it: while releases are mixed, calicoctl may refuse to write"
                % calico_rollout.some(pending)
            )
    return refused


def _images(done, timeout):
    """The image onto all hosts that lack it, before the first is restarted."""
    for start in range(0, len(done["images"]), IMAGES_AT_ONCE):
        some = done["images"][start : start + IMAGES_AT_ONCE]
        _progress("image onto %s" % calico_rollout.some(some))
        answers, failed, _silent = _ask(
            some, "calico.image_load", tgt_type="list", timeout=max(timeout, IMAGE_DEADLINE)
        )
        for minion in some:
            answer = answers.get(minion)
            if not isinstance(answer, dict) or not answer.get("present"):
                done["failed"][minion] = "image: %s" % (failed.get(minion) or answer or "no answer")
        if done["failed"]:
            return


def _batches(done, views, locked, timeout, saltenv=None):
    # Felix waits for the end of the migration, and nothing may be written: neither network nor gate. But
    # CNI, as these hosts are not run again when the datastore is unlocked.
    sls = "calico.cni" if locked else "calico"
    for number, batch in enumerate(done["batches"], 1):
        _progress("batch %d of %d: %s" % (number, len(done["batches"]), calico_rollout.some(batch)))
        done["untouched"] = [minion for minion in done["untouched"] if minion not in batch]
        applied, failed, _silent = _apply(batch, sls, max(timeout, APPLY_DEADLINE), saltenv)
        wrong = {}
        for minion in batch:
            said = failed.get(minion) or calico_rollout.failure(applied.get(minion))
            if said:
                wrong[minion] = said
        after, mute, _silent = _views(batch, "list", timeout, 0 if wrong else LATE, saltenv)
        for minion in batch:
            if minion in wrong:
                done["failed"][minion] = wrong[minion]
            elif minion not in after:
                done["failed"][minion] = mute.get(minion, "no answer after its run")
            elif not calico_rollout.finished(after[minion], locked):
                done["failed"][minion] = calico_rollout.why(after[minion])
            else:
                done["upgraded"].append(minion)
            if minion in after and after[minion]["image"] != views[minion]["image"]:
                done["changes"][minion] = _image_change(views[minion], after[minion]["image"])
        if done["failed"]:
            return


def _apply(minions, sls, timeout, saltenv):
    where = {"saltenv": saltenv} if saltenv else {}
    return _ask(minions, "state.apply", tgt_type="list", timeout=timeout, arg=(sls,), queue=True, **where)


def _image_change(view, new):
    return {"image": {"old": view["image"], "new": new}}


def _runs_now(views):
    return {
        minion: "%s%s"
        % (
            view["image"] or "no calico-node",
            "" if calico_rollout.finished(view) else "; " + calico_rollout.why(view),
        )
        for minion, view in views.items()
    }


def _progress(line):
    """At once, where what is returned comes at the end: to the terminal, and as an event."""
    print(line, file=sys.stderr, flush=True)
    with contextlib.suppress(NameError):
        __jid_event__.fire_event({"message": line}, "progress")


# --- pools -----------------------------------------------------------------------------------------


def pool_migration(old=None, writer=None, test=False, format="text", timeout=60):
    """
    Move from one pool to another: the pools of the pillar are made, the old one is disabled, and a later
    run removes it, when nothing uses it any more.

    ``salt-run state.orch calico.orch.pool_migration`` calls it, as often as it takes. Between two runs
    workloads are recreated, by whoever runs them; what still uses the old pool is listed for each node. All
    writes keep the rules for every change: a pool in use is never removed.

    old
        The network of the pool that is to go (text). All that the pillar does not list, or lists with
        ``disabled: true``, where none is given.
    writer
        The minion that changes the datastore, and whose pillar counts (text); the first that answers where
        none is given. It needs calicoctl.
    test
        True only says what would be done (bool).
    format
        ``text`` or ``json`` (text).
    timeout
        How long to wait for minions at most, in seconds (number).

    Returns text, and with ``json`` a dict: test, steps, refused, left (``{network: [who uses it, …]}`` of the
    pools that are to go and are still there), changes, next, text, and retcode: 1 where it was refused.

    Holds for Salt 3006 to 3008, Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt-run calico.pool_migration test=True
        salt-run calico.pool_migration old=172.20.0.0/16
    """
    wrong = calico_minions.misuse(timeout, test, format)
    if wrong:
        return _refused(wrong, format)
    done = {
        "test": test,
        "steps": [],
        "refused": [],
        "left": {},
        "changes": {},
        "next": [],
        "retcode": 0,
    }
    try:
        _migrate_pools(done, old, writer, timeout)
    except (calico_minions.Failed, SaltException) as err:
        done["refused"].append(str(err))
    done["retcode"] = 1 if done["refused"] else 0
    done["text"] = calico_pools.text(done)
    return _report(done, done["text"], format)


def _migrate_pools(done, old, writer, timeout):
    if writer is None:
        answering = _ask("*", "test.ping", timeout=timeout)[0]
        if not answering:
            raise calico_minions.Failed("No minion answers")
        writer = min(answering, key=calico_rollout.natural)
    _ask_one(writer, "saltutil.refresh_pillar", wait=True, timeout=timeout)
    declared = _ask_one(writer, "calico.declared", timeout=timeout)["pools"]
    before = _ask_one(writer, "calico.pools_used", timeout=timeout)
    going, refused = calico_pools.leaving(before, declared, old)
    done["refused"] = refused
    if refused or not going:
        return
    # In this order: there must always be a pool to take addresses from.
    enabled = [pool for pool in declared if not pool.get("disabled")]
    new = {"what": "pool", "wanted": enabled}
    disabling = [calico_pools.disabling(pool) for pool in going if not pool["disabled"]]
    off = {"what": "resource", "wanted": disabling}
    # Only what was disabled before this run: an address may be given out while it is.
    empty = [pool for pool in going if pool["disabled"] and not pool["users"]]
    listed = [
        pool for pool in empty if any(calico_pools.same(pool["cidr"], each["cidr"]) for each in declared)
    ]
    for pool in listed:
        done["next"].append("take %s out of calico:network:pools; then this again" % pool["cidr"])
    gone = [pool["cidr"] for pool in empty if pool not in listed]
    away = {"what": "pool", "absent": [{"cidr": cidr} for cidr in gone]}
    for call, items in ((new, enabled), (off, disabling), (away, gone)):
        if items and done["test"] and done["steps"]:
            # The new pool is only planned: by then it is there.
            call["allow"] = ["last_pool"]
        if items:
            _one_step(done, writer, call, timeout)
        if done["refused"]:
            return
    after = before if done["test"] else _ask_one(writer, "calico.pools_used", timeout=timeout)
    for pool in after:
        if any(pool["cidr"] == each["cidr"] for each in going) and pool["cidr"] not in gone:
            done["left"][pool["cidr"]] = calico_pools.users(pool)
    in_use = [cidr for cidr, rows in done["left"].items() if rows]
    if in_use:
        done["next"].append("recreate the workloads of %s; then this again" % ", ".join(in_use))
    elif done["left"] and not done["next"]:
        done["next"].append("this again removes %s" % ", ".join(done["left"]))


def _one_step(done, writer, call, timeout):
    """Plan or make one change, and note what it was."""
    arguments = {key: value for key, value in call.items() if key != "what"}
    function = "calico.plan" if done["test"] else "calico.converge"
    made = _ask_one(
        writer, function, call["what"], timeout=max(timeout, calico_minions.DEADLINE), **arguments
    )
    done["refused"] += made["refused"]
    if made.get("failed"):
        done["refused"].append("%s: %s" % (writer, made["failed"]))
    for name, change in made["changes"].items():
        done["changes"][name] = {**done["changes"].get(name, {}), **change}
        done["steps"].append("pool %s: %s, by %s" % (name, ", ".join(sorted(change)), writer))


# --- topology --------------------------------------------------------------------------------------


def topology(
    tgt="*", tgt_type="glob", writer=None, prune=None, hold=900, test=False, format="text", timeout=60
):
    """
    From one BGP topology to the one of the pillar: mesh, route reflectors, peers for each rack, and back.

    ``salt-run state.orch calico.orch.topology`` calls it. What adds sessions comes first, what takes some
    away last; after each stage all hosts must be ready again, with the sessions that belong to it, before the
    next begins. A node that becomes a reflector, or stops being one, gets all of its sessions anew: meanwhile
    all hosts hold the routes that they have (``calico.hold_routes``), and no packet is lost. Everything
    is planned from what the datastore holds, so a run after a failure goes on, and with the old
    pillar it goes back.

    tgt
        The hosts of the cluster (text): all of them, as each must be asked.
    tgt_type
        How ``tgt`` is meant, as for ``salt.execute`` (text).
    writer
        The minion that changes the datastore, and whose pillar counts for what belongs to all (text); the
        first of them where none is given. It needs calicoctl.
    prune
        True removes peers that the pillar does not list at the end (bool); as ``calico:network:prune`` says
        where it is not given.
    hold
        How long routes are held at most, in seconds (int): by then they go by themselves, also where this
        run was cut off.
    test
        True only says what would be done (bool).
    format
        ``text`` or ``json`` (text).
    timeout
        How long to wait for all hosts to be ready after each stage, in seconds (number).

    Returns text, and with ``json`` a dict: test, stages (titles), done (titles), refused (text for each:
    nothing was changed), failed (``{minion: why}``), unfit (whether that was so before the first stage),
    left (peers that stay and are not in the pillar), changes (``{resource: {field: {old, new}}}``), next,
    text, and retcode: 1 where it was refused or has failed.

    Holds for Salt 3006 to 3008, Calico 2.6 and 3.x.

    CLI Example:

    .. code-block:: bash

        salt-run calico.topology test=True
        salt-run calico.topology prune=True
    """
    wrong = calico_minions.misuse(timeout, test, format)
    if wrong:
        return _refused(wrong, format)
    done = {
        "test": test,
        "stages": [],
        "done": [],
        "refused": [],
        "failed": {},
        "unfit": False,
        "left": [],
        "changes": {},
        "next": [],
        "retcode": 0,
    }
    try:
        _topology(done, (tgt, tgt_type), writer, prune, hold, timeout)
    except (calico_minions.Failed, SaltException) as err:
        (done["next"] if done["changes"] else done["refused"]).append(str(err))
        done["retcode"] = 1
    if done["refused"] or done["failed"]:
        done["retcode"] = 1
    done["text"] = calico_topology_report.text(done)
    return _report(done, done["text"], format)


def _topology(done, whom, writer, prune, hold, timeout):
    done["refused"] = calico_topology_report.problems(prune, hold)
    if done["refused"]:
        return
    _all_of_them(whom, "saltutil.refresh_pillar", timeout, wait=True)
    places = _all_of_them(whom, "calico.own_place", timeout)
    if writer is None:
        writer = min(places, key=calico_rollout.natural)
    elif writer not in places:
        raise calico_minions.Failed(
            "writer: got '%s'; accepted: %s" % (writer, calico_rollout.some(sorted(places)))
        )
    done["refused"] = calico_topology_report.contradictions(places)
    if done["refused"]:
        return
    nodes = [{key: place[key] for key in place if key not in NOT_OF_A_NODE} for place in places.values()]
    plan = _ask_one(
        writer,
        "calico.rearrangement",
        timeout=max(timeout, calico_minions.DEADLINE),
        nodes=nodes,
        prune=prune,
    )
    done["stages"] = [stage["title"] for stage in plan["stages"]]
    done["left"] = plan["left"]
    done["refused"] = plan["refused"] + calico_topology_report.strangers(plan["strangers"])
    if done["refused"]:
        return
    if done["test"]:
        for stage in plan["stages"]:
            done["changes"].update(stage["changes"])
        if not plan["stages"]:
            _gate(done, whom, 0)
        return
    held = any(place["held"] for place in places.values())
    if plan["stages"]:
        _stages(done, plan["stages"], whom, writer, hold, timeout, held)
    elif not _gate(done, whom, timeout):
        return
    if not done["failed"] and (plan["stages"] or held):
        _all_of_them(whom, "calico.release_routes", timeout)


def _stages(done, stages, whom, writer, hold, timeout, held):
    def hold_them():
        _progress("routes are held for %d s" % hold)
        _all_of_them(whom, "calico.hold_routes", timeout, seconds=hold)

    if held:
        # Of a run that was stopped: what it left half-way may hang on them.
        hold_them()
    if stages[0]["careful"] and not _gate(done, whom, timeout):
        done["unfit"] = True
        return
    if not held:
        hold_them()
    for number, stage in enumerate(stages, 1):
        _progress("stage %d of %d: %s" % (number, len(stages), stage["title"]))
        what = {key: stage[key] for key in ("what", "wanted", "absent")}
        try:
            made = _ask_one(writer, "calico.converge", timeout=max(timeout, calico_minions.DEADLINE), **what)
        except calico_minions.Failed as err:
            # It may have written all the same: nobody can say that nothing was changed.
            done["failed"][writer] = str(err)
            return
        done["changes"].update(made["changes"])
        said = [*made["refused"], made["failed"]] if made["failed"] else made["refused"]
        if said:
            done["failed"][writer] = "%s: %s" % (stage["title"], "; ".join(said))
            return
        if not _gate(done, whom, timeout):
            return
        done["done"].append(stage["title"])


def _gate(done, whom, timeout):
    """All hosts are ready, with the sessions that the datastore asks for now and no others."""
    done["failed"] = _not_ready(whom, timeout)
    if done["failed"] and timeout:
        # One that was ready at once may be what the others have waited for in vain since.
        done["failed"].update(_not_ready(whom, 0))
    return not done["failed"]


def _not_ready(whom, timeout):
    """``{minion: why}`` of the hosts that are not."""
    answers, failed, silent = _ask(
        whom[0],
        "calico.ready",
        tgt_type=whom[1],
        timeout=timeout + calico_minions.DEADLINE,
        arg=(timeout,),
        exact=True,
        brief=True,
    )
    reasons = {name: "; ".join(answer["reasons"]) for name, answer in answers.items() if not answer["ready"]}
    return {**dict.fromkeys(silent, "no answer"), **failed, **reasons}


def _all_of_them(whom, function, timeout, **keywords):
    """What each of these minions says; one that cannot ends it."""
    answers, failed, silent = _ask(
        whom[0], function, tgt_type=whom[1], timeout=max(timeout, calico_minions.DEADLINE), **keywords
    )
    if silent:
        raise calico_minions.Failed(
            "no answer from %s: start their minions, or leave them out of tgt" % calico_rollout.some(silent)
        )
    if failed:
        raise calico_minions.Failed(
            "; ".join("%s: %s" % (minion, failed[minion]) for minion in sorted(failed))
        )
    if not answers:
        raise calico_minions.Failed("tgt: '%s' (%s) matches no minion" % whom)
    return answers
