"""The coordinator of the examples: what its readers see, and what they may rely on when things go wrong."""

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.coordinator import Agent, Backlog, Coordinator

from recloser import CircuitState

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "coordinator.py"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def run(coordinator: Coordinator, seconds: float | None = None) -> None:
    """Run it to the end, or break it off after so many seconds."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await coordinator.start()

    asyncio.run(bounded())


def test_it_runs_to_the_end_and_prints_its_statistics() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    first, _, head, *rows, total = ran.stdout.splitlines()
    assert re.fullmatch(r"60 tasks done in \d+\.\d s", first)
    assert head.split() == ["circuit", "state", "turns", "failed", "opened", "denied", "last", "failure"]
    table = {row[:22].strip(): row[22:].split() for row in rows}
    assert set(table) == {
        "poll", "orchestrate", "planner", "coder", "reviewer", "context of planner", "context of coder",
        "context of reviewer",
    }  # fmt: skip
    sums = [sum(int(row[column]) for row in table.values()) for column in range(1, 5)]
    assert total.split() == ["all", *map(str, sums)]
    assert table["coder"][2:] == ["4", *table["coder"][3:5], "execution_error"]
    assert int(table["coder"][3]) == 2, "it opened, and once more after a failed trial"
    assert int(table["coder"][4]) > 0
    assert table["poll"][2:4] == ["4", "2"]
    assert table["poll"][5] == "unreachable"
    assert table["reviewer"][2:4] == ["1", "0"], "one failure opens nothing"
    assert {row[0] for row in table.values()} <= {"closed", "open", "half_open"}


def test_every_task_is_done_once_although_agents_fail() -> None:
    coordinator = Coordinator(Backlog(12, unreachable=range(2, 3)), [Agent("a", fails=range(1, 4)), Agent("b")])
    run(coordinator, 30)
    assert sorted(int(answer.split(",")[0].split()[1]) for answer in coordinator.done) == list(range(1, 13))
    a, b = (coordinator.circuits[name].snapshot() for name in "ab")
    assert (a.failed, a.open_count) == (3, 1)
    assert b.succeeded + a.succeeded == 12
    assert (a.live, b.live) == (0, 0)


def test_with_every_agent_out_of_order_few_are_asked_and_nothing_spins() -> None:
    coordinator = Coordinator(Backlog(9), [Agent("a", fails=range(10**6)), Agent("b", fails=range(10**6))])
    with pytest.raises(TimeoutError):
        run(coordinator, 0.6)
    for name in "ab":
        s = coordinator.circuits[name].snapshot()
        assert 3 <= s.failed <= 3 + 3, "three, and one for each cooldown that has passed"
        assert s.live == 0
    orchestrate = coordinator.loops["orchestrate"].snapshot()
    assert 10 < orchestrate.admitted < 100, "it went on all the while, an interval of 10 ms apart"
    assert orchestrate.failed == 0, "it is the agents that are broken, not the loop"


def test_with_the_backlog_out_of_reach_few_requests_are_made() -> None:
    coordinator = Coordinator(Backlog(9, unreachable=range(10**6)), [Agent("a")])
    with pytest.raises(TimeoutError):
        run(coordinator, 0.6)
    s = coordinator.loops["poll"].snapshot()
    assert 3 <= s.failed <= 3 + 3
    assert s.state is CircuitState.OPEN
    assert s.live == 0


def test_no_context_runs_full() -> None:
    agent = Agent("a")
    run(coordinator := Coordinator(Backlog(30), [agent]), 30)
    assert len(coordinator.done) == 30
    assert coordinator.circuits["a"].snapshot().failed == 0
