"""What holds for every test: in CI nothing is skipped, and no property fails for the time that it takes.

What a machine lacks in CI is installed, or the run fails. How long an example takes says something about who else uses
the machine, and nothing about the code.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped a test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return
    if skipped := len(reporter.stats.get("skipped", ())):
        reporter.write_line(f"\n{skipped} tests were skipped, and this is CI: install what they need", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
