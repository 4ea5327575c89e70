"""What holds for every test: in CI nothing is skipped. What a machine lacks there is installed, or the run fails."""

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped a test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return
    if skipped := len(reporter.stats.get("skipped", ())):
        reporter.write_line(f"\n{skipped} tests were skipped, and this is CI: install what they need", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
