"""Workloads in the hosts' Calico networks: what a container's network is, without a container."""

import json

from tests.lab import hosts


def attach(lab, host, name):
    """A network namespace NAME on HOST, on Calico's network: {name, interface, address, block}.

    The namespace is the host's: `host.exec(f"ip netns exec {name} ping …")`.
    """
    pool = lab.pillar()["network"]["pools"][0]["cidr"]
    return _run(lab, host, "add", name, f"--pool={pool}")


def detach(lab, host, name):
    return _run(lab, host, "del", name)


def reaches(host, name, address):
    """Does a packet from the workload come back?"""
    ping = ["ip", "netns", "exec", name, "ping", "-q", "-c", "1", "-W", "3", address]
    return host.exec(ping, check=False).returncode == 0


def _run(lab, host, action, name, *options):
    program = f"{hosts.STANDINS}/workload/attach.py"
    where = [f"--node={host.name}", f"--etcd={lab.etcd.endpoint}", f"--calico={lab.settings.calico_version}"]
    return json.loads(host.exec(["python3", program, action, name, *where, *options]).stdout)
