"""The lab as tests see it: hosts, Salt, etcd, and the pillar.

lab = Lab().up()                        # made, or used as it is where it runs already
lab.salt("*", "state.apply", "calico")["node1"]
lab.hosts[0].exec("ip route").stdout
"""

import contextlib
import copy
import fcntl
from concurrent.futures import ThreadPoolExecutor

from tests.lab import (
    artifacts,
    checks,
    docker,
    hosts,
    image,
    packages,
    paths,
    pillar,
    processes,
    progress,
    salt,
    settings,
)
from tests.lab.etcd import Etcd

HOSTS = 3


class Lab:
    def __init__(self, count=HOSTS, exactly=False, chosen=None, report=None):
        self.count = count
        # Whether hosts beside so many, which an earlier command has made, are removed.
        self.exactly = exactly
        self.settings = chosen or settings.from_environment()
        self.report = report or progress.Progress()
        self.hosts = []

    def up(self):
        """All of the lab runs and every minion answers; what does already is left alone."""
        checks.check("lab")
        with exclusive():
            self._up()
        return self

    def _up(self):
        self._claim_profile()
        step = self.report.step
        if missing := packages.missing("lab"):
            with step(f"packages: {', '.join(missing)}"):
                packages.install(missing)
        with step("docker"):
            docker.start()
            self.subnet, gateway = docker.ensure_network()
        with ThreadPoolExecutor() as background:
            # The two images take the same time, each on one processor.
            archive = background.submit(artifacts.prepare_image, self.settings)
            with step("image of the hosts"):
                self.image = image.ensure()
            with step(f"image calico/node:{self.settings.calico_version}"):
                archive.result()
        with step("calicoctl"):
            calicoctl = artifacts.prepare_calicoctl(self.settings)
        self.etcd = Etcd(gateway)
        with step("etcd"):
            self.etcd.start()
        self.master = salt.Master(gateway)
        self._pillar = pillar.Pillar(self._base_pillar(calicoctl))
        with step("Salt master"):
            self._pillar.write()
            self.master.start()
        with step("hosts") as note:
            self.hosts = self._ensure_hosts(range(1, self._wanted(hosts.all_hosts()) + 1))
            note(", ".join(f"{host.name} {host.address}" for host in self.hosts))
        with step("Salt minions"):
            names = [host.name for host in self.hosts]
            self.master.wait_for(names)
            self.master.forget_all_but(names)
            # What an earlier command has told them may be something else.
            self.salt("*", "saltutil.refresh_pillar", wait=True)

    def _wanted(self, there):
        """How many hosts there shall be: those of an earlier command stay, or are removed first."""
        if not self.exactly:
            return max(self.count, len(there))
        for host in there[self.count :]:
            hosts.remove(host)
        return self.count

    def _claim_profile(self):
        """Hosts and datastore of one generation are none of the other."""
        wanted = self.settings.profile
        made = made_with()
        if made not in (None, wanted):
            raise settings.Refused(f"The lab runs with PROFILE={made}; `make demo-down` removes it.")
        PROFILE.write_text(wanted)

    def _base_pillar(self, calicoctl):
        return pillar.merged(
            {
                "version": self.settings.calico_version,
                "image_archive": f"{hosts.ARTIFACTS}/{artifacts.IMAGE}",
                "calicoctl": calicoctl,
                "etcd": {
                    "endpoints": [self.etcd.endpoint],
                    "tls": {
                        "ca": self.etcd.pem("ca"),
                        "cert": self.etcd.pem("calico"),
                        "key": self.etcd.pem("calico-key"),
                    },
                },
            },
            self.settings.pillar,
        )

    def _ensure_hosts(self, numbers):
        def make(number):
            configuration = self.master.minion_configuration(f"node{number}")
            loaded = artifacts.image_identity()
            host = hosts.ensure(number, self.subnet, self.image, configuration, loaded)
            host.wait_until_booted()
            # Whatever an earlier command has stopped.
            host.exec("systemctl start docker salt-minion")
            return host

        with ThreadPoolExecutor() as pool:
            return list(pool.map(make, numbers))

    def add_host(self):
        """One more host, its minion connected; the formula has not been applied to it."""
        (host,) = self._ensure_hosts([len(self.hosts) + 1])
        self.hosts.append(host)
        self.master.wait_for([host.name])
        return host

    def remove_host(self, host):
        """As if its power were cut for good: nobody cleans up behind it."""
        hosts.remove(host)
        self.hosts.remove(host)
        self.master.forget_all_but([each.name for each in self.hosts])

    def host(self, name):
        return next(host for host in self.hosts if host.name == name)

    def salt(self, target, function, *arguments, timeout=120, **keywords):
        """What each minion returned, by name; `.retcode` likewise."""
        return self.master.call(target, function, *arguments, timeout=timeout, **keywords)

    def pillar(self):
        """The `calico` pillar that the lab was made with, as a copy."""
        return copy.deepcopy(self._pillar.base)

    def master_pillar(self, changes=None, hosts=None):
        """Pillar = the lab's own with CHANGES for all and HOSTS={name: changes} for single ones.

        Without arguments it is the lab's own again. pillar.REMOVED as a value removes a key.
        """
        if not self._pillar.write(changes, hosts):
            return  # the minions have it already
        self.salt("*", "saltutil.refresh_pillar", wait=True)

    @contextlib.contextmanager
    def changed_pillar(self, changes=None, hosts=None):
        self.master_pillar(changes, hosts)
        try:
            yield
        finally:
            self.master_pillar()

    def down(self):
        with exclusive():
            down()
        self.hosts = []


def attach(**options):
    """The lab that runs, without a look at whether all of it does."""
    found = Lab(**options)
    found.subnet, gateway = docker.ensure_network()
    found.etcd = Etcd(gateway)
    found.master = salt.Master(gateway)
    found.hosts = hosts.all_hosts()
    return found


def down():
    """Nothing of the lab is left but its cache, whatever state it is in."""
    for name in ("salt-master", "etcd"):
        processes.stop(name, patience=5)
    docker.stop()
    processes.end(processes.find(), 0)
    docker.remove_tree(paths.RUN)
    for entry in paths.STATE.glob("*") if paths.STATE.is_dir() else ():
        if entry not in (paths.CACHE, LOCK):
            docker.remove_tree(entry)


LOCK = paths.STATE / "lock"
# The profile that the lab was made with.
PROFILE = paths.STATE / "profile"


def made_with():
    """The profile of the lab that runs, or None."""
    return PROFILE.read_text() if PROFILE.exists() and docker.running() else None


class Busy(RuntimeError):
    """Another command is at work on the lab of this checkout."""


@contextlib.contextmanager
def exclusive():
    paths.STATE.mkdir(exist_ok=True)
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("Another command is making or removing this checkout's lab.") from None
        yield
