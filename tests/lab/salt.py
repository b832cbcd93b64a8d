"""The lab's Salt: one master on this machine, a minion in each host."""

import json
import subprocess
import time

from tests.lab import network, paths, processes

ETC = paths.STATE / "salt" / "etc"
PKI = paths.STATE / "salt" / "pki"
FORMULA = paths.STATE / "formula"
FILES = paths.STATE / "files"
PILLAR = paths.STATE / "pillar"
# What a user of the formula puts in the master's file_roots.
FORMULA_DIRECTORIES = ("calico", "_beacons", "_modules", "_runners", "_states", "_utils")


def command(*arguments, program="salt"):
    """The command line of one of Salt's programs, against the lab's master."""
    return [str(paths.VENV / "bin" / program), "-c", str(ETC), *map(str, arguments)]


class NoAnswer(RuntimeError):
    pass


class Returned(dict):
    """What each minion returned, by its id; `retcode` has their return codes.

    A minion that did not answer is in neither.
    """

    def __init__(self, full):
        full = {key: answer for key, answer in full.items() if answer.get("out") != "no_return"}
        super().__init__({minion: answer.get("ret") for minion, answer in full.items()})
        self.retcode = {minion: answer.get("retcode", 0) for minion, answer in full.items()}


class Master:
    def __init__(self, address):
        self.address = address
        self._client = None

    def start(self):
        """The master runs with this configuration: left alone where it does already."""
        self._link_formula()
        for directory in (ETC, FILES, PILLAR):
            directory.mkdir(parents=True, exist_ok=True)
        target = ETC / "master"
        wanted = json.dumps(self._configuration())
        if processes.leader("salt-master") and target.read_text() == wanted:
            return
        self.stop()
        target.write_text(wanted)
        (paths.RUN / "salt").mkdir(parents=True, exist_ok=True)
        processes.spawn("salt-master", [paths.VENV / "bin" / "salt-master", "-c", ETC])

    def stop(self):
        self._client = None
        processes.stop("salt-master", patience=5)

    def minion_configuration(self, name):
        ports = self._ports()
        return json.dumps(
            {
                "id": name,
                "master": str(self.address),
                "publish_port": ports["publish_port"],
                "master_port": ports["ret_port"],
                "pki_dir": "/var/lib/salt/pki",
                # To the journal, through the service's output.
                "log_level": "warning",
                "log_file": "/dev/null",
                "log_level_logfile": "quiet",
                # A master that is not there yet, or restarted, is found at once.
                "acceptance_wait_time": 1,
                "random_reauth_delay": 1,
                "recon_default": 200,
                "recon_max": 1000,
                "recon_randomize": False,
                # The network has no name server and no cloud to ask.
                "enable_fqdns_grains": False,
            }
        )

    def _configuration(self):
        return {
            "interface": str(self.address),
            **self._ports(),
            "user": "root",
            "auto_accept": True,
            "worker_threads": 3,
            "timeout": 10,
            "root_dir": str(paths.STATE / "salt"),
            "pki_dir": str(PKI),
            "cachedir": str(paths.STATE / "salt" / "cache"),
            "sock_dir": str(paths.RUN / "salt"),
            "pidfile": str(paths.RUN / "salt-master-own.pid"),
            "log_file": "/dev/null",
            "log_level_logfile": "quiet",
            "log_level": "warning",
            "file_roots": {"base": [str(FORMULA), str(FILES)]},
            "pillar_roots": {"base": [str(PILLAR)]},
        }

    def _ports(self):
        """Kept from one run to the next: minions know them."""
        file = paths.STATE / "salt" / "ports.json"
        if not file.exists():
            ports = {
                "publish_port": network.free_port(self.address, 4505),
                "ret_port": network.free_port(self.address, 4506),
            }
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(ports))
        return json.loads(file.read_text())

    def _link_formula(self):
        """Only what a user would install: the master walks all of its roots, again and again."""
        FORMULA.mkdir(parents=True, exist_ok=True)
        for name in FORMULA_DIRECTORIES:
            link = FORMULA / name
            if (paths.CHECKOUT / name).is_dir() and not link.is_symlink():
                link.symlink_to(paths.CHECKOUT / name)

    def wait_for(self, minions, timeout=180):
        """Until every one of MINIONS answers; a minion that connects says so by an event."""
        deadline = time.monotonic() + timeout
        missing = set(minions)
        with self._events() as events:
            while missing := missing - self._answering(missing):
                if time.monotonic() > deadline:
                    names, log = ", ".join(sorted(missing)), processes.log("salt-master")
                    raise NoAnswer(f"no answer from {names}: see {log}, or their journals")
                events.get_event(wait=2, tag="salt/minion/", match_type="startswith")

    def _answering(self, minions):
        from salt.exceptions import SaltClientError

        accepted = PKI / "minions"
        known = [name for name in sorted(minions) if (accepted / name).exists()]
        if not known:
            return set()
        # A minion that is not connected yet never sees this: little patience, and once more.
        patience = {"timeout": 1, "gather_job_timeout": 1}
        try:
            answers = self.client.cmd(known, "test.ping", tgt_type="list", **patience)
        except SaltClientError:
            # The master itself is too busy to take the request.
            return set()
        return {name for name, answer in answers.items() if answer is True}

    def _events(self):
        import salt.utils.event

        return salt.utils.event.get_event(
            "master", sock_dir=self.client.opts["sock_dir"], opts=self.client.opts, listen=True
        )

    @property
    def client(self):
        if self._client is None:
            # Importing Salt takes a second, which `lab exec` and its like can do without.
            import salt.client

            self._client = salt.client.LocalClient(c_path=str(ETC / "master"))
        return self._client

    def call(self, target, function, *arguments, timeout=60, **keywords):
        """`salt TARGET FUNCTION ARGUMENTS`, in process; target may be a list of minions."""
        from salt.utils.args import parse_input

        arguments = parse_input([*arguments, {"__kwarg__": True, **keywords}])
        return Returned(
            self.client.cmd(
                target,
                function,
                arguments,
                timeout=timeout,
                tgt_type="list" if isinstance(target, (list, tuple)) else "compound",
                full_return=True,
            )
        )

    def cli(self, *arguments, program="salt", timeout=300):
        """The command as a person types it; a CompletedProcess."""
        return subprocess.run(
            command(*arguments, program=program),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
