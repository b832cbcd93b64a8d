"""Certificates are replaced with one restart, a bad set touches nothing, and no key is ever shown."""

import subprocess

from tests.integration import fleet as fleets
from tests.integration.test_rollback import NO_FELIX
from tests.lab import docker
from tests.support import pki
from tests.support.waiting import PATIENCE

FILES = ("/etc/calico/ssl/calico.pem", "/etc/calico/ssl/calico-key.pem")


def test_a_bad_set_is_refused_before_anything_is_touched(fleet, host):
    """Mismatch, expired, not valid yet, signed by another CA, another CA: also in test mode."""
    directory, etcd = fleet.lab.etcd.pki, fleet.lab.etcd
    pki.issue_ca(directory, "foreign-ca")
    mismatch = fleet.certificates("renewed")
    mismatch["etcd"]["tls"]["key"] = etcd.pem("calico-key")
    bad = {
        "does not belong to the certificate": mismatch,
        "expired on": fleet.certificates("expired", days=-1, begins=-3),
        "is not valid before": fleet.certificates("early", days=9, begins=5),
        # Only etcd can tell, asked with the new set before the old one is replaced.
        "certificate": fleet.certificates("foreign", ca="foreign-ca"),
        "its certificate": {"etcd": {"tls": {"ca": etcd.pem("wrong-ca")}}},
    }
    with fleet.untouched(host):
        for words, changes in bad.items():
            fleet.pillar(changes)
            for test in (True, False):
                states = fleet.apply(host, test=test)[host.name]
                assert states.retcode
                assert states.changed == set()
                assert "calico:etcd" in states.failures and words in states.failures
    fleet.harmed = False


def test_a_rotation_shows_no_key_anywhere(fleet, host):
    """
    Given as text in the pillar, which is the worst case: not in the log of a run at its most talkative,
    not among the processes, not in what is returned, and in no file that others may read.
    """
    secrets = set()
    for name, source in (("first", "text"), ("second", "file")):
        changes = fleet.certificates(name)
        secrets |= _lines(changes["etcd"]["tls"]["key"])
        if source == "file":
            host.write("/etc/lab-pki/key.pem", changes["etcd"]["tls"]["key"])
            host.exec("chmod 600 /etc/lab-pki/key.pem")
            changes["etcd"]["tls"]["key"] = "/etc/lab-pki/key.pem"
        fleet.undo.callback(host.exec, "rm -rf /etc/lab-pki")
        fleet.pillar(changes)
        starts = fleets.starts(host)
        with fleets.pinging(fleet, host, fleet.hosts[1]) as pings:
            said, processes = _applied(host)
        assert fleets.starts(host) == starts + 1
        assert pings.lost == []
        assert "calico-node.service" in said
        for shown in (said, processes):
            assert not [secret for secret in secrets if secret in shown]
    for function in ("ready", "status", "settings", "container", "check", "proven"):
        assert not [secret for secret in secrets if secret in str(fleet.ask(host, function)[0])]
    assert not [secret for secret in secrets if secret in host.exec("journalctl --quiet").stdout]
    places = "/etc/calico /var/lib/calico-formula /var/log/calico /tmp"
    readable = host.exec(f"find {places} -type f -perm /044 -exec cat {{}} +").stdout
    assert not [secret for secret in secrets if secret in readable]


def _lines(key):
    """The lines of a key that say anything."""
    return {line for line in key.splitlines() if line and not line.startswith("-----")}


def _applied(host):
    """What a run by hand said at its most talkative, and all processes that were seen meanwhile."""
    watch = "while :; do ps -eo args; sleep 0.02; done"
    watching = subprocess.Popen(
        docker.command("exec", host.name, "sh", "-c", f"exec timeout 600 sh -c '{watch}'"),
        stdout=subprocess.PIPE,
        text=True,
    )
    done = host.exec("salt-call --log-level=trace state.apply calico 2>&1")
    host.exec(["pkill", "-TERM", "-x", "timeout"])
    return done.stdout, watching.communicate(timeout=PATIENCE)[0]


def test_certificates_that_are_taken_out_of_use_can_be_put_back(fleet, host):
    """The kept set has the old key with its mode: no one else can read it, kept or put back."""
    before = host.exec(["stat", "-c", "%a %U %n", *FILES]).stdout + host.exec(["sha256sum", *FILES]).stdout
    changes = fleet.certificates("brief")
    fleet.pillar({**changes, "on_failure": "rollback", "ready": {"timeout": 3}, **NO_FELIX})
    states = fleet.apply(host)[host.name]
    assert states.retcode
    after = host.exec(["stat", "-c", "%a %U %n", *FILES]).stdout + host.exec(["sha256sum", *FILES]).stdout
    assert after == before
    secrets = _lines(changes["etcd"]["tls"]["key"])
    assert not [secret for secret in secrets if secret in str(states.raw)]
