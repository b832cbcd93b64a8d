"""A real etcd with TLS and client certificates, for tests and the lab."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from tests.support import ports, waiting

STARTS_WITHIN = 90
# One question of many: the answer that does not come in this time may come to the next.
ANSWERS_WITHIN = 5


class NoStart(RuntimeError):
    """One sentence: what etcd does not do, and where its log lies."""


class Etcd:
    """
    One etcd that serves both APIs; as a context manager it is started and stopped.

    directory
        For its data, log and nothing else; kept over a stop, so that a start finds it again.
    pki
        Where tests.support.pki made the certificates.
    address, port
        Where it listens; without a port one is chosen that is free.
    """

    def __init__(self, directory, pki, address="127.0.0.1", port=None):
        self.directory = Path(directory)
        self.pki = Path(pki)
        self.address = address
        self.port = port or ports.free(address)
        self._process = None

    @property
    def log(self):
        return self.directory / "log"

    @property
    def endpoint(self):
        return f"https://{self.address}:{self.port}"

    @property
    def pid(self):
        return self._process.pid if self._process else None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_exc):
        self.stop()

    def start(self, *options):
        """Start it, with further options of etcd's, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        # The port that was free for its peers may be taken by the time it wants it.
        for _attempt in range(3):
            self._launch([*self._argv(), *options])
            try:
                waiting.until(self._answers, "etcd answers", STARTS_WITHIN, possible=self._alive)
                return self
            except waiting.Missed:
                ended = not self._alive()
                self.stop()
            if not ended:
                raise NoStart(f"etcd runs, and gives no answer within {STARTS_WITHIN} s: see {self.log}.")
        raise NoStart(f"etcd ends as soon as it starts: see {self.log}.")

    def _argv(self):
        peer = f"http://127.0.0.1:{ports.free()}"
        return [
            "etcd",
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--enable-v2=true",
            "--client-cert-auth",
            f"--trusted-ca-file={self.pki / 'ca.pem'}",
            f"--cert-file={self.pki / 'etcd.pem'}",
            f"--key-file={self.pki / 'etcd-key.pem'}",
            # A lost machine loses the test with it: no need to wait for the disk.
            "--unsafe-no-fsync",
        ]

    def _launch(self, argv):
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _alive(self):
        return self._process.poll() is None

    def stop(self):
        """End it, also while it is frozen."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            self._process.wait(waiting.PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def freeze(self):
        """It still takes connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        """Take a freeze back."""
        os.kill(self.pid, signal.SIGCONT)

    def alarm(self, action):
        """ACTIVATE or DEACTIVATE the alarm that it raises where its quota is used up: no more is written."""
        alarm = {"action": action, "memberID": 0, "alarm": "NOSPACE"}
        with self._ask(
            "/v3/maintenance/alarm", data=json.dumps(alarm).encode(), timeout=waiting.PATIENCE
        ) as answer:
            answer.read()

    def _ask(self, path, timeout, data=None):
        context = ssl.create_default_context(cafile=self.pki / "ca.pem")
        context.load_cert_chain(self.pki / "calico.pem", self.pki / "calico-key.pem")
        return urllib.request.urlopen(
            urllib.request.Request(self.endpoint + path, data), context=context, timeout=timeout
        )

    def _answers(self):
        try:
            with self._ask("/health", timeout=ANSWERS_WITHIN) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False
