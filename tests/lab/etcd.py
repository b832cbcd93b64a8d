"""The lab's etcd: TLS with client certificates, both APIs, reachable from every host."""

from tests.lab import network, paths, processes
from tests.support import etcd

DIRECTORY = paths.STATE / "etcd"


class Etcd(etcd.Etcd):
    """One that goes on when the command that started it ends, and is found again by the next."""

    def __init__(self, address):
        super().__init__(DIRECTORY / "member", DIRECTORY / "pki", address, _port(address))

    @property
    def log(self):
        return processes.log("etcd")

    @property
    def pid(self):
        return processes.leader("etcd")

    def pem(self, name):
        return (self.pki / f"{name}.pem").read_text()

    def start(self, *options):
        from tests.support import pki  # needs what comes with Salt; `lab down` must do without

        pki.make(self.pki, [self.address])
        return self if self.pid and self._answers() else super().start(*options)

    def stop(self):
        processes.stop("etcd")

    def _launch(self, argv):
        self.stop()
        processes.spawn("etcd", argv)

    def _alive(self):
        return self.pid is not None


def _port(address):
    """Kept from one run to the next: pillars and hosts' files name it."""
    file = DIRECTORY / "port"
    if not file.exists():
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        file.write_text(str(network.free_port(address, 2379)))
    return int(file.read_text())
