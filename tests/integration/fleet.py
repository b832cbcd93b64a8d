"""The lab's hosts with Calico on them, in the words that tests need."""

import contextlib
import json
import time

from tests.lab import workloads
from tests.lab.standins import etcdv2

# What the formula may have made or changed on a host.
FILES = (
    "/etc/calico",
    "/etc/cni",
    "/etc/systemd/system",
    "/etc/sysctl.d",
    "/opt/cni",
    "/usr/local/bin/calicoctl",
    "/var/log/calico",
)
CONTAINER = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}"


class Fleet:
    def __init__(self, lab):
        self.lab = lab
        self.undo = contextlib.ExitStack()
        # False once a test has shown that nothing was changed: then nothing has to be put right.
        self.harmed = True

    @property
    def hosts(self):
        return self.lab.hosts

    # --- the formula -------------------------------------------------------------------------

    def apply(self, *hosts, sls="calico", timeout=240, **options):
        """{host name: {state's ID: its return}}; a host that refused to run is an AssertionError."""
        names = [host.name for host in hosts or self.hosts]
        returned = self.lab.salt(names, "state.apply", sls, timeout=timeout, **options)
        assert set(returned) == set(names), f"no answer from {set(names) - set(returned)}"
        return {name: States(returned[name], returned.retcode[name]) for name in names}

    def converge(self, *hosts, **options):
        applied = self.apply(*hosts, **options)
        for name, states in applied.items():
            assert states.good, f"{name}: {states.failures}"
        return applied

    def ask(self, host, function, *arguments, **options):
        """(what one host returned, its return code)."""
        returned = self.lab.salt([host.name], f"calico.{function}", *arguments, **options)
        return returned[host.name], returned.retcode[host.name]

    def pillar(self, changes=None, **single):
        """Change the pillar for all hosts, or of single ones; taken back after the test."""
        self.undo.callback(self.lab.master_pillar)
        self.lab.master_pillar(changes, single)

    def attach_workloads(self):
        self.workloads = {host.name: workloads.attach(self.lab, host, "w1") for host in self.hosts}

    def recover(self):
        """Everything runs and is as the lab's own pillar says."""
        self.lab.etcd.start()
        self.lab.master_pillar()
        self.converge()
        self.attach_workloads()

    # --- what can be seen --------------------------------------------------------------------

    def datastore(self):
        """All of Calico's keys in etcd with their values."""
        return self.etcd().tree("/calico")[0]

    def etcd(self):
        """A client of the lab's etcd."""
        pki = self.lab.etcd.pki
        files = [str(pki / f"{name}.pem") for name in ("ca", "calico", "calico-key")]
        return etcdv2.Client([self.lab.etcd.endpoint], *files)

    @contextlib.contextmanager
    def untouched(self, *hosts, datastore=True):
        """Nothing on the hosts, their containers or in the datastore changes meanwhile."""
        hosts = hosts or self.hosts
        before = {host.name: seen(host) for host in hosts}
        keys = self.datastore() if datastore else None
        yield
        for host in hosts:
            assert seen(host) == before[host.name]
        if datastore:
            assert self.datastore() == keys


class States(dict):
    """What a state run returned, by the states' IDs."""

    def __init__(self, returned, retcode):
        self.retcode = retcode
        self.raw = returned
        if isinstance(returned, dict):
            super().__init__({state["__id__"]: state for state in returned.values()})

    @property
    def good(self):
        return isinstance(self.raw, dict) and all(state["result"] for state in self.values())

    @property
    def failures(self):
        if not isinstance(self.raw, dict):
            return str(self.raw)
        return "\n".join(
            f"{name}: {state['comment']}" for name, state in self.items() if state["result"] is False
        )

    @property
    def changed(self):
        return {name for name, state in self.items() if state["changes"]}


def seen(host):
    """Files with their contents and modes, the container, the unit, forwarding: to be compared."""
    listing = f"find {' '.join(FILES)} -xdev 2>/dev/null | sort | xargs -r stat -c '%n %a %F'"
    contents = f"find {' '.join(FILES)} -xdev -type f 2>/dev/null | sort | xargs -r sha256sum"
    return {
        "files": host.exec(listing, check=False).stdout,
        "contents": host.exec(contents, check=False).stdout,
        "container": container(host),
        "enabled": host.exec("systemctl is-enabled calico-node", check=False).stdout,
        "forwarding": host.exec("sysctl -n net.ipv4.ip_forward").stdout,
    }


def container(host):
    """ID and time of start of the container, '' where there is none or docker is away."""
    show = ["docker", "inspect", "--type=container", f"--format={CONTAINER}", "calico-node"]
    done = host.exec(show, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def inspect(host):
    return json.loads(host.exec(["docker", "inspect", "--type=container", "calico-node"]).stdout)[0]


def starts(host):
    """How often systemd has started the unit since the host booted."""
    done = host.exec("journalctl --unit calico-node --output=cat --quiet | grep -c '^Started '", check=False)
    return int(done.stdout or 0)


def until(condition, timeout, what):
    """Wait for an event that cannot be waited for in a better way."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.2)


def ready(fleet, *hosts, timeout=60):
    """Every session of these hosts is Established."""
    names = [host.name for host in hosts or fleet.hosts]
    returned = fleet.lab.salt(names, "calico.ready", f"timeout={timeout}", timeout=timeout + 30)
    for name in names:
        assert returned[name]["ready"], returned[name]["reasons"]
