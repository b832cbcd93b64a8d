"""salt-ssh, to a host that runs already: nothing was synced, and no minion is asked."""

import json
import shlex
from types import SimpleNamespace

import pytest

from tests.integration import fleet as fleets
from tests.support import programs

PORT = 2222
PLACE = "/run/by-ssh"
# Not beside the keys: of what lies in memory nothing can be loaded as a program.
THIN = "/var/tmp/by-ssh"
DAEMON = [
    *("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", str(PORT), "-h", f"{PLACE}/host"),
    *("-o", f"AuthorizedKeysFile={PLACE}/authorized", "-o", "PidFile=none"),
    # scp goes by way of it; salt-ssh tries for ever where it fails.
    *("-o", "Subsystem=sftp internal-sftp"),
]


@pytest.fixture(scope="module")
def by_ssh(converged, tmp_path_factory):
    """A function that runs salt-ssh against the first host: (what it returned, its exit code)."""
    host, here = converged.hosts[0], tmp_path_factory.mktemp("ssh")
    programs.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / "key"])
    host.exec(f"mkdir -m 0700 -p {PLACE} /run/sshd && ssh-keygen -q -t ed25519 -N '' -f {PLACE}/host")
    host.write(f"{PLACE}/authorized", (here / "key.pub").read_text())
    kind, key = host.read(f"{PLACE}/host.pub").split()[:2]
    (here / "known").write_text(f"[{host.address}]:{PORT} {kind} {key}\n")
    options = [f"UserKnownHostsFile={here / 'known'}", "StrictHostKeyChecking=yes"]
    roster = {
        "host": host.address,
        "port": PORT,
        "user": "root",
        "priv": str(here / "key"),
        "thin_dir": THIN,
        "ssh_options": options,
    }
    (here / "roster").write_text(json.dumps({host.name: roster}))

    def call(*arguments):
        where = [f"--roster-file={here / 'roster'}", f"--log-file={here / 'log'}", "--out=json"]
        done = converged.lab.master.cli(*where, host.name, *arguments, program="salt-ssh")
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        return json.loads(done.stdout)[host.name], done.returncode

    # Returns when it listens.
    host.exec(f"systemd-run --quiet --unit=by-ssh --property=Type=notify {shlex.join(DAEMON)}")
    yield SimpleNamespace(call=call, host=host)
    host.exec(f"systemctl stop by-ssh; rm -rf {PLACE} {THIN}")


def test_what_looks_at_the_host_needs_no_pillar(by_ssh):
    status, code = by_ssh.call("calico.status")
    assert (status["ready"], code) == (True, 0)
    assert {session["established"] for session in status["sessions"]} == {True}


def test_a_single_function_has_no_pillar_and_says_so(by_ssh):
    findings, code = by_ssh.call("calico.check")
    assert "calico:version" in {finding["what"] for finding in findings}
    assert code != 0


def test_a_run_changes_nothing_where_all_is_as_it_should_be(by_ssh, fleet):
    with fleet.untouched():
        for test in ("True", "False"):
            returned, code = by_ssh.call("state.apply", "calico", f"test={test}")
            states = fleets.States(returned, code)
            assert (states.good, states.changed, code) == (True, set(), 0), states.failures
            assert states["The node is ready"]["comment"].startswith("Node node1 is ready: 2 of 2 sessions")
    fleet.harmed = False
