"""The lab as tests use it: one for the whole session, converged before and put right after each test."""

import contextlib

import pytest

from tests.integration import fleet as fleets
from tests.lab import processes, settings
from tests.lab.lab import Lab, down, exclusive, made_with

# Alike in both generations, files or tests by how they begin: the profile that shows it in `make test`. The
# other one does in `make matrix`.
SHOWN_ON = {
    "v2": (
        "test_faults.py",
        "test_plugins.py",
        "test_preflight.py",
        "test_clean.py::test_a_dead_cluster",
        "test_service.py::test_a_change_restarts_once[change_felix]",
        "test_service.py::test_a_change_restarts_once[change_mounts]",
        "test_service.py::test_files_that_the_container_does_not_read",
        "test_service.py::test_a_stale_container",
        "test_status.py::test_status_needs_neither",
    ),
    "v3": (
        "test_runner.py",
        "test_watch.py",
        "test_rollback.py",
        "test_certificates.py",
        "test_container.py::test_values_arrive",
        "test_first_run.py::test_the_next_run_uses",
        "test_network.py::test_only_the_minions",
        "test_service.py::test_a_change_restarts_once[change_environment]",
        "test_service.py::test_a_run_killed",
    ),
}
# Calico 2.6 has no reflectors of its own, and salt-ssh knows nothing of generations: once is enough.
ONLY_THIRD = ("test_topology.py", "test_ssh.py")


@pytest.hookimpl(tryfirst=True)  # before the marks decide
def pytest_collection_modifyitems(config, items):
    elsewhere = tuple(
        name
        for profile, names in SHOWN_ON.items()
        if profile != settings.from_environment().profile
        for name in names
    )
    for item in items:
        if "/integration/" in str(item.path):
            item.add_marker(pytest.mark.lab)
            if item.nodeid.rpartition("/")[2].startswith(elsewhere):
                item.add_marker(pytest.mark.matrix)
    if settings.from_environment().profile == "v2":
        left = [item for item in items if item.path.name in ONLY_THIRD or item.get_closest_marker("third")]
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


@pytest.fixture(scope="session")
def lab():
    """
    Three hosts, whatever earlier commands have left.

    A lab that runs already is used and left running; but one of another generation is removed, and so are
    hosts beside the three.
    """
    if made_with() not in (None, settings.from_environment().profile):
        with exclusive():
            down()
    running = processes.leader("salt-master")
    found = Lab(exactly=True).up()
    yield found
    if not running:
        found.down()


@pytest.fixture(scope="session")
def converged(lab):
    fleet = fleets.Fleet(lab)
    fleet.settle()
    fleet.recover()
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


@pytest.fixture(scope="session")
def runner(converged):
    """The master has runner and state; the minions got their part with the run that converged them."""
    done = converged.lab.master.cli("saltutil.sync_all", program="salt-run")
    assert done.returncode == 0, done.stderr
