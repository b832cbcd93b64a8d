"""The lab's own containerd and dockerd: they share nothing with a Docker of this machine."""

import contextlib
import ctypes
import json
import os
import subprocess
from pathlib import Path

from tests.lab import capabilities, network, paths, processes
from tests.support import programs, waiting

NETWORK = "lab"
DATA = paths.CACHE / "docker"
SOCKET = paths.RUN / "docker.sock"
CONTAINERD_SOCKET = paths.RUN / "containerd.sock"
CONTAINERD_STATE = paths.RUN / "containerd"
PIDFILE = paths.RUN / "docker.pid"
WRAPPER = Path(__file__).with_name("runc_wrapper.py")
RUNTIME = "without-sys-resource"
# dockerd 20.10 makes this one, and no option of the command line says where.
KEY = Path("/etc/docker/key.json")
KEY_IS_OURS = paths.RUN / "key-is-ours"
# Parts of containerd that are of no use here, and make directories outside the lab.
UNUSED = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]


MNT_DETACH = 2
STARTS_WITHIN = 120


class DockerError(RuntimeError):
    pass


def run(*arguments, check=True, **options):
    """Run the docker client against the lab's daemon."""
    done = programs.run(command(*arguments), check=False, **options)
    if check and done.returncode:
        raise DockerError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def command(*arguments):
    # An empty configuration, so that contexts and credentials of the person have no say.
    return ["docker", "--config", str(paths.RUN / "client"), "-H", f"unix://{SOCKET}", *arguments]


def runtimes(wrapper):
    """daemon.json for machines where runc as it is could start no privileged container."""
    return {"runtimes": {RUNTIME: {"path": str(wrapper)}}, "default-runtime": RUNTIME}


def needs_wrapper():
    return not capabilities.has("CAP_SYS_RESOURCE")


def running():
    """Whether the daemon answers. One that starts, or is busy, is waited for."""
    pid = processes.leader("dockerd")
    if not pid:
        return False
    try:
        waiting.until(_answers, "dockerd answers", STARTS_WITHIN, possible=lambda: processes.alive(pid))
    except waiting.Missed:
        return False
    return True


def _answers():
    try:
        return run("version", check=False, timeout=waiting.PATIENCE).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def start():
    if running():
        return
    _clear_leftovers()
    (paths.RUN / "client").mkdir(parents=True, exist_ok=True)
    if not KEY.exists():
        KEY_IS_OURS.touch()
    _start_containerd()
    configuration = paths.RUN / "daemon.json"
    configuration.write_text(json.dumps(runtimes(WRAPPER) if needs_wrapper() else {}))
    pid = processes.spawn(
        "dockerd",
        [
            "dockerd",
            f"--config-file={configuration}",
            f"--host=unix://{SOCKET}",
            f"--containerd={CONTAINERD_SOCKET}",
            f"--data-root={DATA}",
            f"--exec-root={paths.RUN / 'exec'}",
            f"--pidfile={PIDFILE}",
            # One control group above all hosts tells their processes from all others.
            f"--cgroup-parent=/{paths.PREFIX}",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            # Hosts talk to each other and to this machine, and to nobody else.
            "--bridge=none",
            "--iptables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            "--userland-proxy=false",
        ],
    )
    _wait_for("dockerd", pid, _answers)


def _start_containerd():
    configuration = paths.RUN / "containerd.toml"
    configuration.write_text(f"version = 2\ndisabled_plugins = {json.dumps(UNUSED)}\n")
    pid = processes.spawn(
        "containerd",
        [
            "containerd",
            f"--config={configuration}",
            f"--address={CONTAINERD_SOCKET}",
            f"--root={DATA / 'containerd'}",
            f"--state={CONTAINERD_STATE}",
        ],
    )
    _wait_for("containerd", pid, CONTAINERD_SOCKET.exists)


def _wait_for(name, pid, answers):
    """Until the daemon that was started answers; while it starts, no answer is 'not yet'."""
    try:
        waiting.until(answers, name, STARTS_WITHIN, possible=lambda: processes.alive(pid))
    except waiting.Missed:
        silent = f"gives no answer within {STARTS_WITHIN} s" if processes.alive(pid) else "ends as it starts"
        raise DockerError(f"{name} {silent}: see {processes.log(name)}.") from None


def ensure_network():
    """The hosts' network, as (subnet, gateway); made on a free subnet when there is none."""
    found = run("network", "inspect", NETWORK, "--format={{json .IPAM.Config}}", check=False)
    if found.returncode:
        with network.choosing():
            subnet = network.free_subnet()
            run(
                "network",
                "create",
                f"--subnet={subnet}",
                f"--gateway={subnet[1]}",
                f"--opt=com.docker.network.bridge.name={paths.BRIDGE}",
                "--opt=com.docker.network.bridge.enable_ip_masquerade=false",
                NETWORK,
            )
        found = run("network", "inspect", NETWORK, "--format={{json .IPAM.Config}}")
    network.open_filter()
    (configuration,) = json.loads(found.stdout)
    return configuration["Subnet"], configuration["Gateway"]


def stop():
    """End hosts, network, daemons. Images stay in the cache, unless a stop in order fails."""
    tidy = running() and _remove_containers_and_network()
    for name in ("dockerd", "containerd"):
        processes.stop(name)
    _clear_leftovers()
    network.close_filter()
    network.remove_links()
    if DATA.exists() and not tidy:
        # Containers of a daemon that died cannot be removed by hand, layer by layer.
        remove_tree(DATA)
    if KEY_IS_OURS.exists():
        KEY.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            KEY.parent.rmdir()


def _remove_containers_and_network():
    with contextlib.suppress(DockerError, subprocess.TimeoutExpired):
        containers = run("ps", "--all", "--quiet").stdout.split()
        if containers:
            run("rm", "--force", "--volumes", *containers)
        run("network", "rm", NETWORK, check=False)
        return True
    return False


def _clear_leftovers():
    """Processes, mounts and control groups of containers whose daemon died."""
    for name in ("dockerd", "containerd"):
        processes.stop(name)
    while left := list(_contained()):
        processes.end(left, 0)
    unmount_all(DATA, paths.RUN)
    for stale in (PIDFILE, SOCKET, CONTAINERD_SOCKET, paths.RUN / "exec", CONTAINERD_STATE):
        remove_tree(stale)
    for hierarchy in Path("/sys/fs/cgroup").glob("**/" + paths.PREFIX):
        for directory, _, _ in os.walk(hierarchy, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(directory)
    # Both make these, whatever they are told; another Docker's are not empty.
    for directory in (
        "/run/containerd/s",
        "/run/containerd",
        "/run/docker/plugins",
        "/run/docker",
    ):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _contained():
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit() or not processes.alive(entry.name):
                continue
            if f"/{paths.PREFIX}/" in (entry / "cgroup").read_text():
                yield int(entry.name)


def unmount_all(*directories):
    """What is mounted on the directories (dockerd does that to its own) and anywhere below."""
    prefixes = tuple(f"{directory}/" for directory in directories)
    mounts = [
        line.split()[4].replace("\\040", " ")
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    # By hand: the program is in a package of its own, and this must not need any.
    libc = ctypes.CDLL(None, use_errno=True)
    for mount in reversed(mounts):
        ours = f"{mount}/".startswith(prefixes)
        if ours and libc.umount2(os.fsencode(mount), MNT_DETACH):
            raise OSError(ctypes.get_errno(), "cannot unmount", mount)


def remove_tree(directory):
    """Never through a mount: what is mounted below belongs to somebody else."""
    unmount_all(directory)
    programs.run(["rm", "-rf", "--one-file-system", "--", directory])
