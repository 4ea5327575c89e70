"""Guards of a real gateway, in front of real clients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.acceptance.conftest import Fetched, Gateway, Provider, Starts, Until

TOOLS = [
    {"name": name, "description": name, "input_schema": {"type": "object", "properties": {}}}
    for name in ("find", "open")
]


def guarded(provider: Provider, **guards: Any) -> dict[str, Any]:
    return {
        "gateway": {"max_hold": "0s"},
        "providers": {"a": {"kind": "simulated", "base_url": provider.base_url}},
        "routes": {"*": {"targets": ["a/{model}"]}},
        **({"guards": guards} if guards else {}),
    }


def conversation(calls: int, *, failed: bool = False, model: str = "m1") -> bytes:
    """A request of an agent that has made the same call so many times."""
    messages: list[Any] = [{"role": "user", "content": "find the fault"}]
    for n in range(calls):
        call = {"type": "tool_use", "id": f"toolu_{n}", "name": "find", "input": {"for": "fault"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": "nothing", "is_error": failed}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return json.dumps({"model": model, "max_tokens": 100, "messages": messages, "tools": TOOLS}).encode()


def ask(gateway: Gateway, body: bytes, **headers: str) -> Fetched:
    own = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.fetch("/v1/messages", body, {"content-type": "application/json", **own})


def tripped(gateway: Gateway) -> list[tuple[str, str, str]]:
    events = [event for event in gateway.events if event["kind"] == "guard_tripped"]
    return [(event["guard"], event["action"], event["agent"]) for event in events]


def test_without_a_word_of_configuration_loops_are_told(first: Provider, start: Starts, until: Until) -> None:
    gateway = start(guarded(first))
    answer = ask(gateway, conversation(3), x_recloser_agent="nightly")
    assert (answer.status, answer.headers["x-recloser-guard"]) == (200, "tool_loop")
    assert json.loads(first.last_body) == json.loads(conversation(3))
    assert until(lambda: tripped(gateway), "the event is written") == [("tool_loop", "warn", "nightly")]
    metrics = gateway.fetch("/metrics").body.decode()
    assert 'recloser_guard_tripped_total{action="warn",guard="tool_loop"} 1.0' in metrics
    assert 'recloser_attempts_total{outcome="ok",provider="a"} 1.0' in metrics


def test_a_loop_is_refused_where_that_is_wanted(first: Provider, start: Starts) -> None:
    gateway = start(guarded(first, tool_loop={"window": 5, "repeats": 3, "action": "refuse"}))
    assert ask(gateway, conversation(2, model="looping")).status == 200
    answer = ask(gateway, conversation(3, model="looping"))
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["error"]["message"].endswith("(tool_loop_detected)")
    assert first.asked("looping") == 1


def test_a_tool_that_keeps_failing_is_a_circuit_like_others(first: Provider, start: Starts, until: Until) -> None:
    gateway = start(guarded(first, failing_tool={"failures": 2, "cooldown": "1h"}, tool_loop=False))
    for calls in (1, 2):
        ask(gateway, conversation(calls, failed=True), x_recloser_agent="nightly")
    sent = json.loads(first.last_body)
    assert [tool["name"] for tool in sent["tools"]] == ["open"]
    assert "The last results of find were all errors" in sent["messages"][-1]["content"][-1]["text"]
    assert gateway.circuit("tool/find@nightly")["state"] == "open"
    assert until(lambda: tripped(gateway), "the event is written") == [("failing_tool", "trim", "nightly")]
    ask(gateway, conversation(2, failed=True))
    assert [tool["name"] for tool in json.loads(first.last_body)["tools"]] == ["find", "open"]
