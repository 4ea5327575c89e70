"""`--help` answers at once, because it imports nothing that it does not need."""

import subprocess
import sys
from typing import Any

import pytest

HEAVY = {"aiohttp", "asyncio", "msgspec", "prometheus_client", "sqlite3", "starlette", "uvicorn", "uvloop"}
LOOK = """
import sys
from recloser.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    assert ended.code == 0
print("\\nimported:", *sys.modules)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_no_server_and_no_store(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(arguments=arguments)], capture_output=True, text=True, check=True
    )
    assert HEAVY.isdisjoint(done.stdout.partition("imported:")[2].split())


@pytest.mark.parametrize("command", ["serve", "check", "init", "status", "events"])
def test_every_command_has_help_with_an_example(command: str, shell: Any) -> None:
    done = shell(command, "--help")
    assert done.returncode == 0
    assert f"example: recloser {command}" in done.stdout


def test_a_wrong_option_is_2(shell: Any) -> None:
    assert shell("status", "--jsn").returncode == 2
    assert shell("init", "--preset", "claude").returncode == 2
    assert shell().returncode == 2
