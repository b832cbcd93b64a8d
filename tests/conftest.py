"""What holds for every test."""

import logging
import os
import sys

import pytest


def pytest_configure():
    _drop_what_salt_keeps()


def pytest_unconfigure():
    _drop_what_salt_keeps()


def _drop_what_salt_keeps():
    """
    Salt keeps what it logs for the end of the program where nobody has said where it shall go, and writes it
    to a standard error that pytest has closed by then: each record a traceback below pytest's last line.
    """
    logs = sys.modules.get("salt._logging")
    if logs:
        logs.shutdown_temp_handler()
        # Without any handler, Python itself would write to standard error.
        logging.root.addHandler(logging.NullHandler())


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
