"""The lab's Salt: one master on this machine, a minion in each host."""

import contextlib
import json
import logging

from tests.lab import network, paths, processes
from tests.support import programs, waiting

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


# From the start of a master to the answer of the last minion, on a busy machine.
STARTS_WITHIN = 180
# The same for one question of many, which begins impatient: what is not connected yet never sees it.
LEAST_PATIENCE, MOST_PATIENCE = 1, 15


class NoAnswer(RuntimeError):
    """One sentence: who is silent, and where its log lies."""


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
        processes.stop("salt-master", patience=20)

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
            # A minion on a busy machine that says late that it is still at work has not lost its job.
            "gather_job_timeout": 30,
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

    def wait_for(self, minions, timeout=STARTS_WITHIN):
        """Until every one of MINIONS answers. While master or minions start, no answer is 'not yet'."""
        missing, patience = set(minions), iter(range(LEAST_PATIENCE, MOST_PATIENCE))

        def all_answer():
            missing.difference_update(self._answering(missing, next(patience, MOST_PATIENCE)))
            return not missing

        try:
            waiting.until(all_answer, "minions", timeout, pause=0.2, possible=self._runs)
        except waiting.Missed:
            raise NoAnswer(self._silence(missing, timeout)) from None

    def _silence(self, minions, timeout):
        log = processes.log("salt-master")
        if not self._runs():
            return f"The Salt master has ended: see {log}."
        names = ", ".join(sorted(minions))
        return f"No answer from {names} within {timeout:g} s: see {log}, or their journals."

    @staticmethod
    def _runs():
        return processes.leader("salt-master") is not None

    def _answering(self, minions, patience):
        """Those of the minions that say so within about so many seconds."""
        accepted = PKI / "minions"
        known = [name for name in sorted(minions) if (accepted / name).exists()]
        if not known:
            return set()
        try:
            with self._speaking():
                answers = self.client.cmd(
                    known, "test.ping", tgt_type="list", timeout=patience, gather_job_timeout=patience
                )
        except NoAnswer:
            # The master itself does not take the request: not yet.
            return set()
        return {name for name, answer in answers.items() if answer is True}

    def forget_all_but(self, minions):
        """No other minion is known: where all are asked, one that is gone would be waited for."""
        for key in sorted((PKI / "minions").iterdir()):
            if key.name not in minions:
                self.cli("--yes", "--delete", key.name, program="salt-key")

    @contextlib.contextmanager
    def _speaking(self):
        """Whatever Salt says of a master that does not answer becomes NoAnswer."""
        from salt.exceptions import SaltException

        try:
            yield
        except SaltException as error:
            # What it was given by a master that was just starting may be good for nothing.
            self._client = None
            log = processes.log("salt-master")
            raise NoAnswer(f"The Salt master gives no answer: see {log}.") from error

    @property
    def client(self):
        if self._client is None:
            # Importing Salt takes a second, which `lab exec` and its like can do without.
            import salt.client

            keep_quiet()
            self._client = salt.client.LocalClient(c_path=str(ETC / "master"))
        return self._client

    def call(self, target, function, *arguments, timeout=120, **keywords):
        """`salt TARGET FUNCTION ARGUMENTS`, in process; target may be a list of minions."""
        from salt.utils.args import parse_input

        arguments = parse_input([*arguments, {"__kwarg__": True, **keywords}])
        with self._speaking():
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

    def cli(self, *arguments, program="salt", timeout=600):
        """The command as a person types it; a CompletedProcess."""
        return programs.run(command(*arguments, program=program), check=False, timeout=timeout)


def keep_quiet():
    """
    What Salt logs in this process goes to a file.

    It would be kept, as nobody has said where it shall go, and be shown when the program ends: below what a
    person came to read, or, where standard error is closed by then, as a traceback.
    """
    import salt._logging

    log = processes.log("salt-client")
    if any(getattr(handler, "baseFilename", None) == str(log) for handler in logging.root.handlers):
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    # Opened now: the lab may be taken down, with its logs, before this process ends.
    handler = logging.FileHandler(log)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.root.addHandler(handler)
    salt._logging.shutdown_temp_handler()
