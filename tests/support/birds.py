"""
Real BIRD daemons in a network namespace of their own, meshed the way Calico configures them.

One has as many sessions as asked for; the others play its neighbours, 50 each, because BIRD's
listen queue holds 8 connections: a single daemon would take a minute to accept 1,000. Each session
has a pair of addresses on the loopback device, because BIRD keeps one for each neighbour address.
"""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.support import programs, waiting

SESSIONS_EACH = 50
TEMPLATE = """
router id {router_id};
listen bgp port {port};
protocol kernel {{ learn; persist; scan time 2; import all; graceful restart; }}
protocol device {{ scan time 10; }}
template bgp bgp_template {{
  description "Connection to BGP peer";
  local as 64512; multihop; gateway recursive; import all; export all;
  add paths on; graceful restart; connect delay time 1; connect retry time 5;
  error wait time 1,2;
}}
{routes}
"""


def missing():
    """Return why BIRDs cannot run here, or an empty string."""
    for program in ("bird", "ip", "unshare", "nsenter"):
        if not shutil.which(program):
            return f"no program '{program}'"
    if os.geteuid() != 0:
        return "needs root for a network namespace"
    return ""


class Birds:
    """
    Context manager: BIRD with ``sessions`` Established neighbours.

    ``near`` is the control socket (a path) of the one to look at. ``extra`` is added to its
    configuration, ``routes`` (prefixes) are announced by the first neighbour.
    """

    def __init__(self, directory, sessions, extra="", routes=()):
        self.directory = Path(directory)
        self.sessions = sessions
        self.near = str(self.directory / "near.ctl")
        self._extra = extra
        self._routes = routes
        self._processes = []

    @staticmethod
    def pair(number):
        """Return the addresses (near, far) of a session."""
        host = f"{number // 250}.{number % 250 + 1}"
        return f"10.97.{host}", f"10.99.{host}"

    def __enter__(self):
        try:
            neighbours = self._write()
            # A connection too many shall not be half open for minutes, but be dropped when it
            # begins (no SYN cookies), or fail: then it is tried again.
            tcp = "/proc/sys/net/ipv4/tcp_"
            overflow = f"echo 0 > {tcp}syncookies && echo 1 > {tcp}abort_on_overflow"
            set_up = f"ip -batch {self.directory}/addresses && {overflow}"
            near = self._daemon("near")
            self._start("unshare", "--net", "sh", "-c", f"{set_up} && exec {near}")
            self._wait_for("near")
            for name in neighbours:
                self._start("nsenter", "-t", str(self.pid), "-n", *self._daemon(name).split())
            for name in neighbours:
                self._wait_for(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def pid(self):
        """The process id of the daemon to look at."""
        return self._processes[0].pid

    def command(self, *argv):
        """Run a command in the daemons' network namespace; return its output."""
        argv = ["nsenter", "-t", str(self.pid), "-n", *argv]
        return programs.run(argv).stdout

    def birdc(self, command):
        """Return what BIRD's own client prints for ``command``."""
        argv = ["birdc", "-s", self.near, *command.split()]
        return programs.run(argv).stdout

    def far(self, command):
        """The same for the first neighbour's daemon."""
        argv = ["birdc", "-s", str(self.directory / "far0.ctl"), *command.split()]
        return programs.run(argv).stdout

    def kill(self):
        """End the one to look at, as a crash would."""
        self._processes[0].kill()
        self._processes[0].wait()

    def start_again(self):
        """Start the one to look at anew, in the namespace that its neighbours keep."""
        self._start("nsenter", "-t", str(self._processes[1].pid), "-n", *self._daemon("near").split())
        self._wait_for("near")

    def wait_established(self):
        """Wait until every session between the two is up."""
        waiting.until(lambda: self.established >= self.sessions, self.show)

    @property
    def established(self):
        """How many sessions the one to look at has that are up."""
        return self.show().count("Established")

    def show(self):
        """Its sessions, as BIRD's own client shows them."""
        return self.birdc("show protocols")

    def _write(self):
        """Write addresses and configurations; return the names of the neighbours' daemons."""
        near = [TEMPLATE.format(router_id="10.98.0.1", port=179, routes="")]
        addresses = ["link set lo up"]
        neighbours = {}
        for number in range(self.sessions):
            here, there = self.pair(number)
            addresses += [f"addr add {address}/32 dev lo" for address in (here, there)]
            daemon = number // SESSIONS_EACH
            port = 1790 + daemon
            if daemon not in neighbours:
                static = "".join(f"  route {route} blackhole;\n" for route in self._routes)
                routes = f"protocol static {{\n{static}}}" if static and not daemon else ""
                router_id = f"10.98.1.{daemon}"
                text = TEMPLATE.format(router_id=router_id, port=port, routes=routes)
                neighbours[daemon] = [text]
            # Calico's name for a neighbour on a port of its own.
            near.append(
                f"protocol bgp Node_{there.replace('.', '_')}_port_{port} from bgp_template "
                f"{{ neighbor {there} port {port} as 64512; source address {here}; }}"
            )
            neighbours[daemon].append(
                f"protocol bgp Mesh_{here.replace('.', '_')} from bgp_template "
                f"{{ neighbor {here} as 64512; source address {there}; passive on; }}"
            )
        near.append(self._extra)
        files = {f"far{daemon}": lines for daemon, lines in neighbours.items()}
        for name, lines in {"near": near, **files}.items():
            (self.directory / f"{name}.conf").write_text("\n".join(lines) + "\n")
        (self.directory / "addresses").write_text("\n".join(addresses) + "\n")
        return list(files)

    def _daemon(self, name):
        path = self.directory / name
        return f"bird -f -c {path}.conf -s {path}.ctl -P {path}.pid"

    def _start(self, *argv):
        with open(self.directory / "log", "ab") as log:
            self._processes.append(subprocess.Popen(argv, stdout=log, stderr=log))

    def _wait_for(self, name):
        path, process = str(self.directory / f"{name}.ctl"), self._processes[-1]
        log = self.directory / "log"
        waiting.until(
            lambda: _listens(path), lambda: log.read_text(), possible=lambda: process.poll() is None
        )


def _listens(path):
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True
