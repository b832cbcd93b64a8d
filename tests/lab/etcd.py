"""The lab's etcd: TLS with client certificates, both APIs, reachable from every host."""

import os
import signal
import ssl
import time
import urllib.request

from tests.lab import network, paths, processes
from tests.support import pki

DIRECTORY = paths.STATE / "etcd"


class Etcd:
    def __init__(self, address):
        self.address = str(address)
        self.pki = DIRECTORY / "pki"

    @property
    def port(self):
        """Kept from one run to the next: hosts' pillars name it."""
        file = DIRECTORY / "port"
        if not file.exists():
            DIRECTORY.mkdir(parents=True, exist_ok=True)
            file.write_text(str(network.free_port(self.address, 2379)))
        return int(file.read_text())

    @property
    def endpoint(self):
        return f"https://{self.address}:{self.port}"

    @property
    def pid(self):
        return processes.leader("etcd")

    def pem(self, name):
        return (self.pki / f"{name}.pem").read_text()

    def make_certificates(self):
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        pki.make(self.pki, [self.address])

    def start(self):
        self.make_certificates()
        if not self.pid:
            processes.spawn("etcd", self._command())
        self._wait()

    def stop(self):
        processes.stop("etcd", patience=5)

    def freeze(self):
        """Connections are taken by the kernel, and nobody ever answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def _command(self):
        return [
            "etcd",
            "--name=lab",
            f"--data-dir={DIRECTORY / 'data'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            # There is one member: nobody comes to the peer port, and nobody needs to know it.
            f"--listen-peer-urls=http://127.0.0.1:{network.free_port('127.0.0.1', 0)}",
            "--client-cert-auth",
            f"--trusted-ca-file={self.pki / 'ca.pem'}",
            f"--cert-file={self.pki / 'etcd.pem'}",
            f"--key-file={self.pki / 'etcd-key.pem'}",
            "--enable-v2=true",
            # The data lives as long as the lab; what it costs to be safe from power cuts is not due.
            "--unsafe-no-fsync",
        ]

    def _wait(self, seconds=30):
        context = ssl.create_default_context(cafile=self.pki / "ca.pem")
        context.load_cert_chain(self.pki / "calico.pem", self.pki / "calico-key.pem")
        deadline = time.monotonic() + seconds
        while True:
            try:
                url = f"{self.endpoint}/health"
                with urllib.request.urlopen(url, timeout=2, context=context) as answer:
                    if b"true" in answer.read():
                        return
            except OSError as error:
                if not self.pid or time.monotonic() > deadline:
                    log = paths.LOGS / "etcd.log"
                    raise RuntimeError(f"etcd does not answer ({error}): see {log}") from error
            time.sleep(0.05)
