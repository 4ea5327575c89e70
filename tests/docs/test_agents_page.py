"""The page of the agents names the versions that are tried."""

from pathlib import Path

import pytest
from tests.agents.agents import ALL, Agent

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"


@pytest.mark.parametrize("agent", ALL, ids=lambda agent: agent.name)
def test_each_agent_stands_there_with_its_version_and_wires(agent: Agent) -> None:
    version = agent.package.requirement.rpartition("@")[2].rpartition("=")[2]
    rows = PAGE.read_text("utf-8").splitlines()
    assert [row for row in rows if row.endswith(f"| {version} | `{agent.wire}` | `{agent.foreign}` |")]
