"""What holds for every test."""

import os

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI nothing may be left out: what cannot run there has failed."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI skips nothing: {report.longrepr}"


def pytest_terminal_summary(terminalreporter):
    """What tests have measured or counted, for people: `record_property("figure", text)`."""
    passed = terminalreporter.stats.get("passed", ())
    found = [text for report in passed for name, text in report.user_properties if name == "figure"]
    if found:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(found))
