"""What holds for every test: in CI nothing is skipped. What a machine lacks there is installed, or the run fails."""

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped a test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", ())) if reporter is not None else 0
    if skipped and os.environ.get("CI"):
        reporter.write_line(f"{skipped} tests were skipped, and this is CI: install what they need", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
