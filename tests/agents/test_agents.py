"""Real coding agents write a file through a gateway, in all weathers: none of them notices what fails behind it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.conftest import Gateway, Provider
from tests.agents.agents import AIDER, ALL, CLAUDE, Agent, Run

PROMPT = "Write the greeting into greeting.txt."
CONTENT = "hello from the far end of the line, whole and only once\n"
OPENING = "I write the greeting into the file now, as I was asked, and nothing else."
CLOSING = "The file is written, it holds the greeting that was asked for, and I am done."
SOON = 20.0
"""Seconds within which an agent ends, whatever the weather."""
PATIENCE = 30.0
"""Seconds after which it counts as hanging."""


@dataclass(frozen=True)
class Weather:
    """What befalls the first target; the second is well."""

    mode: str = "off"
    settings: Mapping[str, Any] = field(default_factory=dict)
    refused: bool = False


WEATHERS = {
    "all well": Weather(),
    "529": Weather("529"),
    "503": Weather("503"),
    "refused": Weather(refused=True),
    "cut after 5 tokens": Weather("cut=5"),
    "stalled after 5 tokens": Weather("stall=5", {"idle_timeout": "3s"}),
}
WIRES: dict[str, Callable[[Agent], tuple[str, str]]] = {
    "its own wire": lambda agent: (agent.wire, agent.wire),
    "a foreign wire": lambda agent: (agent.foreign, agent.foreign),
    "from its own to a foreign wire": lambda agent: (agent.wire, agent.foreign),
    "from a foreign wire to its own": lambda agent: (agent.foreign, agent.wire),
}


@pytest.fixture(params=ALL, ids=lambda agent: agent.name)
def agent(request: pytest.FixtureRequest) -> Agent:
    """Each agent; one that is not there fails with the reason."""
    chosen: Agent = request.param
    if chosen.package.missing:
        pytest.fail(chosen.package.missing)
    return chosen


@pytest.fixture
def providers(tmp_path: Path) -> Iterator[tuple[Provider, Provider]]:
    """Two, which know each other's thoughts as little as two vendors do."""
    first = Provider(tmp_path, "--name", "first")
    try:
        second = Provider(tmp_path, "--name", "second")
        try:
            yield first, second
        finally:
            second.stop()
    finally:
        first.stop()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway on two targets."""
    running: list[Gateway] = []

    def start(first: str, second: str, wires: tuple[str, str], **settings: Any) -> Gateway:
        targets = {
            "first": {"kind": "simulated", "wire": wires[0], "base_url": _base_url(first, wires[0]), **settings},
            "second": {"kind": "simulated", "wire": wires[1], "base_url": _base_url(second, wires[1])},
        }
        routes = {"*": {"targets": ["first/{model}", "second/{model}"]}}
        running.append(Gateway(tmp_path, {"providers": targets, "routes": routes}))
        return running[-1]

    yield start
    for gateway in running:
        gateway.stop()


def _base_url(url: str, wire: str) -> str:
    return f"{url}/v1" if wire.startswith("openai") else url


def order(provider: Provider, body: dict[str, Any]) -> None:
    """Tell a provider what to say, or what to get wrong."""
    answer = provider.fetch("/chaos", json.dumps(body).encode())
    assert answer.status == 200, answer.body


def task(file: Path, agent: Agent, **first: str) -> dict[str, Any]:
    """Write a file, and say so. An agent without tools is told the file by name, as it knows it."""
    path = file.name if agent is AIDER else str(file)
    return {"task": [{"say": OPENING, "write": {"path": path, "content": CONTENT}, **first}, {"say": CLOSING}]}


def is_done(agent: Agent, run: Run, file: Path, gateway: Gateway) -> None:
    """It went well: the file, the last words, the exit code and the time."""
    story = f"{agent.name} ended with {run.code} after {run.seconds:.1f} s:\n{run.output[-4000:]}\n\n" + "\n".join(
        str(event) for event in gateway.events
    )
    assert file.exists(), f"no file\n{story}"
    assert file.read_text("utf-8") == CONTENT, story
    assert run.code == 0, story
    assert agent.last_words(run.output) == ("Applied edit to greeting.txt" if agent is AIDER else CLOSING), story
    assert run.seconds < SOON, story


SKIES = [
    (name, wires)
    for name in WEATHERS
    for wires in WIRES
    # Where nothing fails, or nothing is ever said, a second wire adds nothing to what 529 shows.
    if " to " not in wires or name in {"529", "cut after 5 tokens", "stalled after 5 tokens"}
]


@pytest.mark.parametrize(("name", "wires"), SKIES, ids=[f"{name}, {wires}" for name, wires in SKIES])
def test_an_agent_does_its_task(
    name: str,
    wires: str,
    agent: Agent,
    providers: tuple[Provider, Provider],
    serve: Callable[..., Gateway],
    tmp_path: Path,
) -> None:
    weather = WEATHERS[name]
    first, second = providers
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "greeting.txt"
    for provider in providers:
        order(provider, task(file, agent))
    order(first, {"mode": weather.mode})
    gateway = serve(
        "http://127.0.0.1:9" if weather.refused else first.url, second.url, WIRES[wires](agent), **weather.settings
    )
    run = agent.run(gateway.url, PROMPT, file, tmp_path / "home", PATIENCE)
    is_done(agent, run, file, gateway)
    if name != "all well":
        assert second.report["requests"], "the second was never asked"


@pytest.mark.parametrize("agent", [agent for agent in ALL if agent.thinks], ids=lambda agent: agent.name, indirect=True)
@pytest.mark.parametrize("wires", WIRES)
def test_thoughts_of_a_provider_that_failed_are_no_error_for_the_next(
    wires: str, agent: Agent, providers: tuple[Provider, Provider], serve: Callable[..., Gateway], tmp_path: Path
) -> None:
    """The first thinks, signs its thought, calls a tool, and is gone; the second knows no such signature."""
    first, second = providers
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "greeting.txt"
    for provider in providers:
        order(provider, task(file, agent, think="The greeting goes into the file, so I write it."))
    order(first, {"modes": [{"mode": "off", "count": 1}, {"mode": "529"}]})
    gateway = serve(first.url, second.url, WIRES[wires](agent))
    goes_on_with_the_second(agent, gateway, file, tmp_path / "home", second)


@pytest.mark.parametrize("agent", [CLAUDE], ids=["claude"], indirect=True)
def test_a_turn_without_a_thought_is_no_error_for_a_provider_that_thinks(
    agent: Agent, providers: tuple[Provider, Provider], serve: Callable[..., Gateway], tmp_path: Path
) -> None:
    """The first speaks a wire that shows none; on the second's, a turn that calls tools begins with one."""
    first, second = providers
    (tmp_path / "work").mkdir()
    file = tmp_path / "work" / "greeting.txt"
    for provider in providers:
        order(provider, task(file, agent))
    order(first, {"modes": [{"mode": "off", "count": 1}, {"mode": "529"}]})
    gateway = serve(first.url, second.url, (agent.foreign, agent.wire))
    goes_on_with_the_second(agent, gateway, file, tmp_path / "home", second)


def goes_on_with_the_second(agent: Agent, gateway: Gateway, file: Path, home: Path, second: Provider) -> None:
    """The first is gone after one turn, and the agent never hears of it."""
    run = agent.run(gateway.url, PROMPT, file, home, PATIENCE)
    is_done(agent, run, file, gateway)
    assert second.report["requests"], "the second was never asked"
    outcomes = [event["outcome"] for event in gateway.events if event["kind"] == "request_finished"]
    assert set(outcomes) == {"ok"}, "the agent was told of it"
