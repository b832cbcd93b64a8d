"""The lab's etcd: TLS with client certificates, both APIs, reachable from every host."""

from tests.lab import network, paths, processes
from tests.support import etcd, waiting

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
        return self if self._serves(options) else super().start(*options)

    def _serves(self, options):
        """
        Whether the one that runs is as it is wanted, and answers: while it starts, no answer is 'not yet'.

        Another command may have frozen it, and a test that was killed may have started it in another way.
        """
        pid = self.pid
        if not pid or not _same(processes.command_line(pid)[1:], [*self._argv(), *options][1:]):
            return False
        self.thaw()
        try:
            return waiting.until(self._answers, "etcd", etcd.STARTS_WITHIN, possible=self._alive)
        except waiting.Missed:
            return False

    def stop(self):
        processes.stop("etcd")

    def _launch(self, argv):
        self.stop()
        processes.spawn("etcd", argv)

    def _alive(self):
        return self.pid is not None


def _same(given, wanted):
    """But for the port for its peers, which is another one each time."""
    one, other = (
        [word for word in words if "peer" not in word and "cluster" not in word] for words in (given, wanted)
    )
    return one == other


def _port(address):
    """Kept from one run to the next: pillars and hosts' files name it."""
    file = DIRECTORY / "port"
    if not file.exists():
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        file.write_text(str(network.free_port(address, 2379)))
    return int(file.read_text())
