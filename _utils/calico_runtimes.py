"""
What differs between the runtimes of containers, as data.

docker is a service with a socket; podman is a program without either. Every difference that the
formula knows of stands here, or in the module that asks the one about its containers
(:mod:`calico_docker`, :mod:`calico_podman`). Pure data: no Salt, no side effects.
"""


class EngineError(Exception):
    """The runtime gave no usable answer; the text says why."""


class NotRunning(EngineError):
    """There is no runtime that could have a container; the text says why."""


RUNTIMES = {
    "docker": {
        # What has to run before it can start a container; None where nothing has to.
        "service": "docker.service",
        # What it is called where it came another way (Docker's old packages, CentOS, snap).
        "other_services": (
            "docker-engine.service",
            "docker-latest.service",
            "docker.io.service",
            "snap.docker.dockerd.service",
        ),
        # Options of `run` beside those that both have.
        "options": (),
        # Ends a container at once, without asking it to stop, and removes it.
        "remove": ("rm", "-f"),
        # Whether it makes the directories that are mounted, where they are missing.
        "makes_directories": True,
        # Whether a name without a registry has one that it is pulled from.
        "has_registry": True,
        # The default mounts and variables of a generation that make no sense with it.
        "without_mounts": (),
        "environment": {},
        # The oldest release (`docker pull --quiet` came with it), and whether an older one is good enough
        # where nothing has to be pulled.
        "oldest": "19.03",
        "older_runs": True,
        # Releases that do not read the environment file byte for byte.
        "misreads": (),
    },
    "podman": {
        "service": None,
        "other_services": (),
        "options": (
            # As docker has it with --net=host: the node's name is the host's, also after that was changed.
            "--uts=host",
            # It would allow 2048 processes and threads.
            "--pids-limit=-1",
            # All goes to the journal by the unit; podman would write everything a second time.
            "--log-driver=none",
            # It would hand on the proxies of its own environment, and calico-node ask them for the datastore.
            "--http-proxy=false",
        ),
        # `rm -f` alone asks the container to stop and waits ten seconds: BIRD would withdraw its routes.
        "remove": ("rm", "-f", "--ignore", "--time=0"),
        "makes_directories": False,
        "has_registry": False,
        # libnetwork is docker's.
        "without_mounts": ("/run/docker/plugins", "/var/run/docker.sock"),
        "environment": {"CALICO_LIBNETWORK_ENABLED": "false"},
        # `rm --time` came with it.
        "oldest": "4.0",
        "older_runs": False,
        # https://github.com/containers/podman/issues/20255
        "misreads": ("4.7.0",),
    },
}
