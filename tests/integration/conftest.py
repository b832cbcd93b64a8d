"""The lab as tests use it: one for the whole session, converged before and put right after each test."""

import contextlib

import pytest

from tests.integration import fleet as fleets
from tests.lab import processes
from tests.lab.lab import Lab


def pytest_collection_modifyitems(items):
    for item in items:
        if "/integration/" in str(item.path):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab():
    """Three hosts; a lab that runs already is used and left running."""
    running = processes.leader("salt-master")
    found = Lab().up()
    yield found
    if not running:
        found.down()


@pytest.fixture(scope="session")
def converged(lab):
    fleet = fleets.Fleet(lab)
    fleet.converge()
    fleet.attach_workloads()
    return fleet


@pytest.fixture
def fleet(converged):
    """The three hosts, converged; whatever a test does to them is taken back afterwards."""
    converged.harmed = True
    with contextlib.ExitStack() as undo:
        converged.undo = undo
        yield converged
    if converged.harmed:
        converged.recover()


@pytest.fixture
def host(fleet):
    """The host that a test of a single one works on."""
    return fleet.hosts[0]
