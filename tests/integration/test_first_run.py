"""The very first run on a minion that never synced, and the second one."""

import pytest

from tests.integration import fleet as fleets


@pytest.fixture
def newcomer(fleet):
    """A host that the formula has never been applied to, gone again afterwards."""
    host = fleet.lab.add_host()
    yield host
    fleet.lab.remove_host(host)
    fleet.generation.remove_node(host.name)


def test_a_new_host_joins_and_the_second_run_changes_nothing(fleet, newcomer):
    with fleet.untouched(newcomer):
        planned = fleet.apply(newcomer, test=True)[newcomer.name]
        assert not planned.failures
        assert {state["result"] for state in planned.values()} == {True, None}

    applied = fleet.converge(newcomer)[newcomer.name]
    # In test mode the same was announced, but for what could not be known then.
    assert applied.changed >= planned.changed - {"The node is ready"}
    assert len(fleet.ask(newcomer, "expected_peers")[0]) == len(fleet.hosts) - 1
    fleets.ready(fleet)

    with fleet.untouched(newcomer):
        again = fleet.converge(newcomer)[newcomer.name]
        assert again.changed == set()
    assert fleets.starts(newcomer) == 1


def test_a_run_that_changes_nothing_restarts_nothing(fleet):
    starts = {host.name: fleets.starts(host) for host in fleet.hosts}
    with fleet.untouched():
        for states in fleet.converge().values():
            assert states.changed == set()
        for states in fleet.converge(test=True).values():
            assert states.changed == set()
    assert {host.name: fleets.starts(host) for host in fleet.hosts} == starts


def test_the_next_run_uses_the_code_of_an_updated_formula(fleet, host, tmp_path):
    """A minion whose synced code is another one, in _utils as well, has this one after a run."""
    helper = "/var/cache/salt/minion/extmods/utils/calico_generations.py"
    host.exec(f"echo 'OfAnotherRelease = True' >> {helper}")
    fleet.lab.salt([host.name], "saltutil.refresh_modules", wait=True)
    host.exec("systemctl restart salt-minion")
    fleet.lab.master.wait_for([host.name])
    before = fleet.ask(host, "code")[0]
    states = fleet.converge(host)[host.name]
    assert "Calico's modules are the ones of this release" in states
    assert states.changed == set()
    assert fleet.ask(host, "code")[0] != before
    assert "OfAnotherRelease" not in host.read(helper)
    assert "Calico's modules are the ones of this release" not in fleet.converge(host)[host.name]
