"""Hosts: containers that run systemd, a Docker of their own and a Salt minion."""

import contextlib
import hashlib
import ipaddress
import json
import subprocess
from pathlib import Path

from tests.lab import docker, paths, processes
from tests.support import programs, waiting

LABEL = "lab.recipe"
# In every host. Calico's image and whatever else a profile names lie here.
ARTIFACTS = "/opt/lab"
STANDINS = "/opt/standins"
FIRST_ADDRESS = 10
BOOTS_WITHIN = 180


class NotBooted(RuntimeError):
    """What keeps a host from being up."""


class Host:
    def __init__(self, name, address):
        self.name = name
        self.address = address

    def __repr__(self):
        return f"Host({self.name}, {self.address})"

    def exec(self, cmd, check=True, **options):
        """Run cmd (a list, or a string for sh) in the host; a CompletedProcess with text."""
        words = ["sh", "-c", cmd] if isinstance(cmd, str) else [str(word) for word in cmd]
        interactive = ["--interactive"] if options.get("input") is not None else []
        inside = docker.command("exec", *interactive, self.name, *words)
        return programs.run(inside, check, shown=f"{self.name}: {cmd}", **options)

    def write(self, path, text):
        self.exec(f'mkdir -p "$(dirname "{path}")" && cat > "{path}"', input=text)

    def read(self, path):
        return self.exec(["cat", path]).stdout

    def restart(self):
        """The machine goes down in order and comes up again."""
        docker.run("restart", "--time=30", self.name)
        self.wait_until_booted()

    def wait_until_booted(self):
        seen = {}

        def booted():
            # `--wait` is an error until systemd answers at all, and blocks from then on.
            waited = ["systemctl", "is-system-running", "--wait"]
            with contextlib.suppress(subprocess.TimeoutExpired):
                seen["state"] = self.exec(waited, check=False, timeout=BOOTS_WITHIN).stdout.strip()
            return seen.get("state") in ("running", "degraded")

        try:
            waiting.until(
                booted, "it boots", BOOTS_WITHIN, possible=lambda: _inspect(self.name)[0] == "running"
            )
        except waiting.Missed:
            container, _ = _inspect(self.name)
            found = seen.get("state") or f"container: {container or 'none'}, systemd is silent"
            log = processes.log("dockerd")
            raise NotBooted(f"{self.name} has not booted ({found}): see {log}.") from None
        state = seen["state"]
        if state == "degraded":
            failed = self.exec(["systemctl", "--failed", "--plain", "--no-legend"]).stdout
            raise NotBooted(f"{self.name} has failed units:\n{failed}")


def all_hosts():
    """The hosts that there are, whether they run or not, in the order of their numbers."""
    names = docker.run("ps", "--all", f"--filter=label={LABEL}", "--format={{.Names}}").stdout
    if not names.split():
        return []
    found = json.loads(docker.run("inspect", *names.split()).stdout)
    hosts = [
        Host(
            container["Name"].lstrip("/"),
            container["NetworkSettings"]["Networks"][docker.NETWORK]["IPAMConfig"]["IPv4Address"],
        )
        for container in found
    ]
    return sorted(hosts, key=lambda host: ipaddress.ip_address(host.address))


def ensure(number, subnet, image, minion_config, loaded):
    """Host NUMBER runs, made from IMAGE; the same one as before where nothing has changed.

    LOADED says what the host's own Docker will have been given: when that changes, so must the host.
    """
    name = f"node{number}"
    address = str(ipaddress.ip_network(subnet)[FIRST_ADDRESS + number])
    directory = paths.STATE / "hosts" / name
    directory.mkdir(parents=True, exist_ok=True)
    _write_if_new(directory / "minion", minion_config)
    arguments = _run_arguments(name, address, image, directory)
    # A mount goes on showing a directory that was removed and made anew.
    salt_identity = paths.SITE_PACKAGES.stat().st_ino
    made_from = repr((arguments, minion_config, loaded, salt_identity))
    recipe = hashlib.sha256(made_from.encode()).hexdigest()
    state, made_by = _inspect(name)
    if state and made_by != recipe:
        docker.run("rm", "--force", "--volumes", name)
        state = None
    if state is None:
        docker.run("run", "--detach", f"--label={LABEL}={recipe}", *arguments)
    elif state != "running":
        docker.run("start", name)
    else:
        # What failed under an earlier command is no news; it is started again by whoever needs it.
        Host(name, address).exec("systemctl reset-failed", check=False)
    return Host(name, address)


def remove(host):
    docker.run("rm", "--force", "--volumes", host.name)


def _inspect(name):
    template = f'--format={{{{.State.Status}}}} {{{{index .Config.Labels "{LABEL}"}}}}'
    found = docker.run("inspect", "--type=container", template, name, check=False)
    return found.stdout.split() if found.returncode == 0 else (None, None)


def _run_arguments(name, address, image, directory):
    mounts = [
        "/lib/modules:/lib/modules:ro",
        f"{paths.SITE_PACKAGES}:/opt/salt:ro",
        f"{directory / 'minion'}:/etc/salt/minion:ro",
        # Outlives the container: the master knows a minion by its key.
        f"{directory / 'pki'}:/var/lib/salt/pki",
        f"{paths.ARTIFACTS}:{ARTIFACTS}:ro",
        f"{Path(__file__).with_name('standins')}:{STANDINS}:ro",
    ]
    if docker.needs_wrapper():
        wrapper = "/usr/local/sbin/runc-wrapper"
        daemon = directory / "daemon.json"
        _write_if_new(daemon, json.dumps(docker.runtimes(wrapper)))
        mounts += [f"{docker.WRAPPER}:{wrapper}:ro", f"{daemon}:/etc/docker/daemon.json:ro"]
    return [
        f"--name={name}",
        f"--hostname={name}",
        f"--network={docker.NETWORK}",
        f"--ip={address}",
        "--privileged",
        "--cgroupns=private",
        "--env=container=docker",
        "--tmpfs=/run",
        "--tmpfs=/tmp",
        # systemd's word for "power off".
        "--stop-signal=SIGRTMIN+3",
        # Overlays cannot lie on an overlay: the host's own Docker gets a real directory.
        "--volume=/var/lib/docker",
        *(f"--volume={mount}" for mount in mounts),
        image,
    ]


def _write_if_new(path, text):
    # In place: a bind mount goes on showing the file that it was made with.
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
