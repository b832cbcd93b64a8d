"""What `state.apply calico` costs on the lab's hosts: the first run, and one that changes nothing."""

import subprocess

from tests.bench import measure
from tests.lab import salt
from tests.lab.lab import Lab
from tests.lab.standins import etcdv2

NOTHING = "nothing:\n  test.nop: []\n"
NO_OP_LIMIT = 1.35
FIRST_LIMIT = 30


class NotQuiet(AssertionError):
    """A run that should have changed nothing did."""


def figures(rounds):
    """The figures; the lab is used where it runs, and made and removed where it does not."""
    lab = Lab()
    running = bool(salt.processes.leader("salt-master"))
    lab.up()
    try:
        return [_first(lab), *_no_op(lab, rounds)]
    finally:
        if not running:
            lab.down()


def _first(lab):
    """Image present, datastore empty, nothing else there: to all sessions Established."""
    _must(lab.salt("*", "state.apply", "calico", timeout=300))
    _must(lab.salt("*", "state.apply", "calico.clean", timeout=120))
    pki = lab.etcd.pki
    names = ("ca", "calico", "calico-key")
    ca, cert, key = (str(pki / f"{name}.pem") for name in names)
    etcdv2.Client([lab.etcd.endpoint], ca, cert, key).delete("/calico", recursive=True)
    applied = []
    took = measure.timed(lambda: applied.append(lab.salt("*", "state.apply", "calico", timeout=300)))
    _must(applied[0])
    for host, ready in lab.salt("*", "calico.ready").items():
        if not ready["ready"] or len(ready["expected"]) != len(lab.hosts) - 1:
            raise AssertionError(f"{host} is not ready after the first run: {ready['reasons']}")
    return measure.Figure("first converge, image present", [took / 1000], "s", FIRST_LIMIT)


def _no_op(lab, rounds):
    (salt.FILES / "nothing.sls").write_text(NOTHING)
    before = _containers(lab)
    calico, nothing = [], []
    for number in range(rounds + 1):
        sample = measure.timed(lambda: _apply("calico")), measure.timed(lambda: _apply("nothing"))
        if number:  # the first round warms the minions' caches up
            calico.append(sample[0])
            nothing.append(sample[1])
    for host, states in _must(lab.salt("*", "state.apply", "calico")).items():
        if any(state["changes"] for state in states.values()):
            raise NotQuiet(f"{host}: a second run changed something")
    if _containers(lab) != before:
        raise NotQuiet("a container was restarted by a run that changed nothing")
    one = measure.Figure("salt '*' state.apply calico, no change", calico)
    other = measure.Figure("salt '*' state.apply of one test.nop", nothing)
    return [one, other, measure.ratio("the two, pair by pair", one, other, NO_OP_LIMIT)]


def _apply(sls):
    # As a user does it, with the start of the command line client: both have that in them.
    subprocess.run(salt.command("*", "state.apply", sls), stdout=subprocess.DEVNULL, check=True)


def _containers(lab):
    show = ["docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", "calico-node"]
    return {host.name: host.exec(show).stdout for host in lab.hosts}


def _must(applied):
    for host, states in applied.items():
        failed = [state for state in states.values() if not state["result"]]
        if failed:
            raise AssertionError(f"{host}: {failed[0]['comment']}")
    return applied
