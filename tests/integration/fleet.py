"""The lab's hosts with Calico on them, in the words that tests need."""

import contextlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

from tests.integration import generations
from tests.lab import docker, workloads
from tests.support import pings, pki
from tests.support.waiting import until

# What the formula may have made or changed on a host.
FILES = (
    "/etc/calico",
    "/etc/cni",
    "/etc/systemd/system",
    "/etc/sysctl.d",
    "/opt/cni",
    "/usr/local/bin/calicoctl",
    "/var/lib/calico-formula",
    "/var/log/calico",
)
# A run that waits for what never comes ends by its own gate.
RUNS_END_WITHIN = 600
CONTAINER = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}"
# What a container is like, whenever it was started.
SETTINGS = "{{.State.Running}} {{.Image}} {{json .Config}} {{json .HostConfig.Binds}}"
# What commands and tests do to a host is taken back; what comes of the formula is left to its next run.
TIDY = r"""
pkill -CONT . ; pkill -INT -x ping ; pkill -KILL -f '[l]ab-watch'
hostname {name}
systemctl start docker
for unit in squatter by-ssh calico-node; do systemctl stop $unit; done
rm -f /run/squatting
if mountpoint -q /etc/calico; then umount /etc/calico; fi
if [ -e /usr/local/bin/calicoctl.away ]; then mv /usr/local/bin/calicoctl.away /usr/local/bin/calicoctl; fi
rm -f /etc/cni/net.d/99-loopback.conf /opt/cni/bin/foreign ; rm -rf /run/by-ssh /etc/lab-pki
docker rm --force broken chapter
sysctl -qw net.ipv4.conf.all.rp_filter=0
iptables -F LAB-FOREIGN ; iptables -X LAB-FOREIGN
iptables -S | grep -E '^-A (INPUT|OUTPUT) .*ports? 179( |$)' | sed 's/^-A/-D/' | while read -r rule; do
    iptables $rule
done
ip -all netns delete
for link in $(ls /sys/class/net | grep -E '^(cali|vxlan[.]calico)'); do ip link delete "$link"; done
ip -4 route flush proto bird ; ip -4 route flush metric 42179
systemctl start salt-minion
"""
_OF_WORKLOADS = re.compile("/ipam/v2/|/workload|/profiles?/|/felix/|status")


class Fleet:
    def __init__(self, lab):
        self.lab = lab
        self.generation = generations.of(lab)
        self.undo = contextlib.ExitStack()
        # False once a test has shown that nothing was changed: then nothing has to be put right.
        self.harmed = True
        # What hosts and datastore look like when all is as the lab's own pillar says.
        self.sound = {}
        self.declared = None

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
        with ThreadPoolExecutor() as pool:
            made = pool.map(lambda host: workloads.attach(self.lab, host, "w1"), self.hosts)
            self.workloads = {host.name: workload for host, workload in zip(self.hosts, made, strict=True)}

    def settle(self):
        """
        Whatever a demo has done on these hosts, or a test that was killed, is of no matter any more.

        All that is in the datastore goes, as nothing tells it from what tests make: it is made anew.
        """
        names = [host.name for host in self.hosts]
        until(self._at_rest, lambda: f"state runs end: {self._running()}", RUNS_END_WITHIN, pause=1)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._tidy, self.hosts))
        self.lab.master.wait_for(names)
        for beacon in ("calico_bgp", "status"):
            self.lab.salt(names, "beacons.delete", beacon)
        self.generation.empty()

    def _at_rest(self):
        """No run is under way that an earlier command has asked for."""
        running = self._running()
        return len(running) == len(self.hosts) and not any(running.values())

    def _running(self):
        return self.lab.salt([host.name for host in self.hosts], "saltutil.is_running", "state.*")

    @staticmethod
    def _tidy(host):
        # Each of it may have nothing to do.
        host.exec(TIDY.format(name=host.name), check=False)
        if host.address not in host.exec("ip -4 -o address show dev eth0").stdout:
            host.restart()

    def recover(self):
        """
        Everything runs and is as the lab's own pillar says.

        A host that looks as it did then, and is ready, is not converged once more: that would be most of the
        time that all tests take.
        """
        self.lab.etcd.start()
        self.lab.master_pillar()
        strange = self.hosts
        if self.sound and self._declared() == self.declared:
            found = self._sound(self.hosts)
            strange = [host for host in self.hosts if found[host.name] != self.sound.get(host.name)]
        if strange:
            # One that a test has given up waiting for may still be at work.
            self.converge(*strange, queue=True)
            self.sound.update(self._sound(strange))
            self.declared = self._declared()
        if others := [host for host in self.hosts if host not in strange]:
            ready(self, *others)
        self.attach_workloads()

    @staticmethod
    def _sound(hosts):
        with ThreadPoolExecutor() as pool:
            return {host.name: each for host, each in zip(hosts, pool.map(sound, hosts), strict=True)}

    def _declared(self):
        """The datastore without what comes and goes with workloads."""
        return {key: value for key, value in self.datastore().items() if not _OF_WORKLOADS.search(key)}

    # --- what can be seen --------------------------------------------------------------------

    def datastore(self):
        """All of Calico's keys in etcd with their values."""
        return self.generation.tree()

    def add_dead_node(self, name="dead"):
        """A node in the datastore that no host is; its address. Taken out again after the test."""
        address = self.hosts[0].address.rpartition(".")[0] + ".250"
        self.undo.callback(self.generation.remove_node, name)
        self.generation.add_node(name, address)
        return address

    def certificates(self, name, **more):
        """Pillar of a newly issued client certificate; MORE is for pki.issue."""
        pki.issue(self.lab.etcd.pki, name, **more)
        return {"etcd": {"tls": {"cert": self.lab.etcd.pem(name), "key": self.lab.etcd.pem(f"{name}-key")}}}

    @contextlib.contextmanager
    def untouched(self, *hosts, datastore=True):
        """Nothing on the hosts, their containers or in the datastore changes meanwhile."""
        hosts = hosts or self.hosts
        before = {host.name: seen(host) for host in hosts}
        keys = self.datastore() if datastore else None
        yield
        for host in hosts:
            # A daemon that is busy for a moment answers the second time; a change is still there then.
            differs = difference(before[host.name], seen(host)) and difference(before[host.name], seen(host))
            assert not differs, f"{host.name}: {differs}"
        if datastore:
            assert self.datastore() == keys


def pinging(fleet, host, other, heals=True):
    """A hundred pings a second from a workload of one host to one of the other."""
    address = fleet.workloads[other.name]["address"]
    ping = ["ip", "netns", "exec", "w1", "ping", "-n", "-i", "0.01", address]
    # Ending `docker exec` ends nothing inside: the host is told by the number of its process.
    number = f"/run/ping-{other.name}.pid"
    command = docker.command("exec", host.name, "sh", "-c", f'echo $$ > {number}; exec "$@"', "sh", *ping)
    return pings.pinging(
        command, end=lambda _process: host.exec(f"kill -INT $(cat {number})", check=False), heals=heals
    )


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


def sound(host):
    """The same, but a container that was only started anew is the same one."""
    show = ["docker", "inspect", "--type=container", f"--format={SETTINGS}", "calico-node"]
    return {**seen(host), "container": host.exec(show, check=False).stdout}


def difference(before, now):
    return {key: (before[key], now[key]) for key in before if before[key] != now[key]}


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


def ready(fleet, *hosts, timeout=120):
    """Every session of these hosts is Established."""
    names = [host.name for host in hosts or fleet.hosts]
    returned = fleet.lab.salt(names, "calico.ready", f"timeout={timeout}", timeout=timeout + 30)
    for name in names:
        assert returned[name]["ready"], returned[name]["reasons"]
