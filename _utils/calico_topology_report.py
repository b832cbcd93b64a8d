"""
What ``calico.orch.topology`` says: of its arguments, and of what it did. Pure: no Salt, no side effects.
"""

import calico_rollout

MOST_HOLD = 86400
GO_ON = "Run this again to go on, or put the former pillar back and run it to go back."


def problems(prune, hold):
    """What is wrong with the arguments (list of text)."""
    found = []
    if prune not in (None, True, False):
        found.append("prune: got '%s'; accepted: True or False" % (prune,))
    if isinstance(hold, bool) or not isinstance(hold, int) or not 60 <= hold <= MOST_HOLD:
        found.append("hold: got '%s'; accepted: seconds from 60 to %d" % (hold, MOST_HOLD))
    return found


def strangers(names):
    """What speaks against a change while nobody can ask these nodes (list of text)."""
    if not names:
        return []
    return [
        "no minion of tgt is %s: the datastore knows it as a node, and nobody could say whether it has its "
        "sessions. Take all hosts of the cluster, name it in calico:ready:absent_nodes, or remove it with "
        "calico.decommission" % calico_rollout.some(names)
    ]


def contradictions(places):
    """Hosts whose pillars describe the cluster in different ways (list of text)."""
    found = {}
    for minion in sorted(places, key=calico_rollout.natural):
        # Only those that write may have it in their pillar.
        if places[minion]["described"]:
            found.setdefault(places[minion]["described"], []).append(minion)
    if len(found) < 2:
        return []
    groups = [calico_rollout.some(minions) for minions in found.values()]
    return [
        "calico:network: the pillars of %s describe another mesh or other peers than those of %s: "
        "the next state.apply there would write the opposite" % (groups[0], "; ".join(groups[1:]))
    ]


def text(done):
    """What was done or would be done, for people."""
    lines = []
    if done["refused"]:
        lines.append("Nothing was changed:")
        lines += ["  " + reason.replace("\n", "\n    ") for reason in done["refused"]]
    elif not done["stages"] and not done["failed"]:
        lines.append("The topology is the one of the pillar, and all hosts are ready.")
    elif done["test"]:
        lines.append("Would be done, with all hosts ready after each:")
        lines += ["  %d. %s" % item for item in enumerate(done["stages"], 1)]
    elif not done["failed"] and not done["next"]:
        lines.append("Done, with all hosts ready after each:")
        lines += ["  %d. %s" % item for item in enumerate(done["done"], 1)]
    else:
        lines += _stopped(done)
    if done["left"]:
        lines.append(
            "Left alone: BGP peers that the pillar does not list: %s (prune=True removes them)"
            % calico_rollout.some(done["left"])
        )
    lines += ["Next: " + step for step in done["next"]]
    return "\n".join(lines)


def _stopped(done):
    lines = ["Done:"] if done["done"] else []
    lines += ["  " + title for title in done["done"]]
    left = [title for title in done["stages"] if title not in done["done"]]
    if done["unfit"]:
        lines.append("Nothing was changed: not all hosts are ready, and what is to come takes something away")
    else:
        lines.append("Stopped at: %s" % left[0] if left else "Stopped:")
    lines += ["  %s: %s" % (minion, why.replace("\n", "\n    ")) for minion, why in done["failed"].items()]
    left = left if done["unfit"] else left[1:]
    if left:
        lines.append("Not begun: %s" % "; ".join(left))
    if done["unfit"]:
        lines.append(GO_ON)
    elif done["stages"]:
        lines.append("Routes are held until the time that was given for them is over. " + GO_ON)
    return lines
