"""CNI plugins come from an archive with a hash, and go again alone."""

import hashlib
import io
import tarfile

import pytest

from tests.lab import salt

NAMES = {"calico", "calico-ipam", "loopback"}


@pytest.fixture
def archive(fleet):
    """{source, source_hash} of an archive that the master serves."""
    path = salt.FILES / "plugins.tgz"
    with tarfile.open(path, "w:gz") as packed:
        for name in sorted(NAMES):
            member = tarfile.TarInfo(f"./{name}")
            member.mode, member.size = 0o755, 10
            packed.addfile(member, io.BytesIO(b"#!/bin/sh\n"))
    yield {
        "source": "salt://plugins.tgz",
        "source_hash": "sha256=" + hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.unlink()


def installed(host):
    return set(host.exec("ls /opt/cni/bin 2>/dev/null", check=False).stdout.split())


def test_plugins_are_installed_once_and_only_they_are_removed(fleet, host, archive):
    fleet.pillar({"cni": {"plugins": archive}})
    assert fleet.converge(host)[host.name].changed == {"CNI plugins are installed"}
    assert installed(host) == NAMES
    assert fleet.converge(host)[host.name].changed == set()
    host.exec("touch /opt/cni/bin/foreign")
    fleet.undo.callback(host.exec, "rm -f /opt/cni/bin/foreign")
    fleet.converge(host, sls="calico.clean")
    assert installed(host) == {"foreign"}


def test_an_archive_that_does_not_match_its_hash_is_not_used(fleet, host, archive):
    fleet.pillar({"cni": {"plugins": dict(archive, source_hash="sha256=" + "0" * 64)}})
    states = fleet.apply(host)[host.name]
    assert states.retcode
    assert "does not match" in states.failures
    assert installed(host) == set()
