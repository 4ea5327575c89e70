"""The official packages' streaming helpers take thoughts and calls of tools from a provider of any wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from tests.acceptance.conftest import PATIENCE

if TYPE_CHECKING:
    from tests.acceptance.conftest import Gateway, Provider, Starts

WIRES = ("anthropic", "openai-chat", "openai-responses", "gemini")
PLEASE = "Please use the tool."
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


class Heard(NamedTuple):
    """What an application gets of a streamed call."""

    tool: str
    arguments: Any
    thought: str


Asks = Callable[[str, str], Heard]


@pytest.fixture(scope="module")
def gateway(first: Provider, start_shared: Starts) -> Gateway:
    """The model `on-X` is served on wire X alone. The provider thinks before it calls."""
    providers = {wire: {"kind": "simulated", "wire": wire, "base_url": _root(first, wire)} for wire in WIRES}
    for wire in WIRES:
        first.misbehave(f"on-{wire}", "think=6")
    routes = {f"on-{wire}": {"targets": [f"{wire}/{{model}}"]} for wire in WIRES}
    return start_shared({"gateway": {"max_hold": "0s"}, "providers": providers, "routes": routes})


def _root(provider: Provider, wire: str) -> str:
    return provider.base_url if wire.startswith("openai") else provider.url


def messages(root: str, model: str) -> Heard:
    """Claude's package."""
    said: list[Any] = [{"role": "user", "content": PLEASE}]
    tools: list[Any] = [{"name": "look", "description": "Looks.", "input_schema": SCHEMA}]
    with (
        anthropic.Anthropic(base_url=root, api_key="unused", max_retries=0, timeout=PATIENCE) as claude,
        claude.messages.stream(
            model=model, max_tokens=4000, messages=said, tools=tools,
            thinking={"type": "enabled", "budget_tokens": 1024},
        ) as stream,
    ):  # fmt: skip
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    (call,) = [block for block in final.content if block.type == "tool_use"]
    thoughts = [block.thinking for block in final.content if block.type == "thinking"]
    return Heard(call.name, call.input, "".join(thoughts))


def chat(root: str, model: str) -> Heard:
    """OpenAI's package, Chat Completions."""
    said: list[Any] = [{"role": "user", "content": PLEASE}]
    tools: list[Any] = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]
    thought = ""
    with (
        openai.OpenAI(base_url=f"{root}/v1", api_key="unused", max_retries=0, timeout=PATIENCE) as gpt,
        gpt.chat.completions.stream(model=model, messages=said, tools=tools) as stream,
    ):
        for event in stream:
            if event.type == "chunk" and event.chunk.choices:
                thought += getattr(event.chunk.choices[0].delta, "reasoning_content", None) or ""
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    (call,) = final.choices[0].message.tool_calls or []
    return Heard(call.function.name, json.loads(call.function.arguments), thought)


def responses(root: str, model: str) -> Heard:
    """OpenAI's package, Responses."""
    tools: list[Any] = [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}]
    with (
        openai.OpenAI(base_url=f"{root}/v1", api_key="unused", max_retries=0, timeout=PATIENCE) as gpt,
        gpt.responses.stream(
            model=model, input=PLEASE, tools=tools, reasoning={"effort": "low", "summary": "auto"}
        ) as stream,
    ):
        stream.until_done()
        final = stream.get_final_response()
    assert final.status == "completed"
    (call,) = [item for item in final.output if item.type == "function_call"]
    thoughts = [part.text for item in final.output if item.type == "reasoning" for part in item.summary]
    return Heard(call.name, json.loads(call.arguments), "".join(thoughts))


def gemini(root: str, model: str) -> Heard:
    """Google's package."""
    google = genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=root))
    look = types.FunctionDeclaration(name="look", description="Looks.", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[look])],
        thinking_config=types.ThinkingConfig(include_thoughts=True),
    )
    parts = [
        part
        for chunk in google.models.generate_content_stream(model=model, contents=PLEASE, config=config)
        for candidate in chunk.candidates or ()
        for part in (candidate.content and candidate.content.parts) or ()
    ]
    (call,) = [part.function_call for part in parts if part.function_call]
    return Heard(call.name or "", call.args, "".join(part.text or "" for part in parts if part.thought))


CLIENTS: dict[str, Asks] = {
    "anthropic": messages, "openai-chat": chat, "openai-responses": responses, "gemini": gemini,
}  # fmt: skip


@pytest.mark.parametrize("target", WIRES)
@pytest.mark.parametrize("client", WIRES)
def test_a_thought_and_a_call_come_through(gateway: Gateway, client: str, target: str) -> None:
    heard = CLIENTS[client](gateway.url, f"on-{target}")
    assert heard.tool == "look"
    assert heard.arguments == CLIENTS[target](gateway.url, f"on-{target}").arguments
    assert heard.thought, "what the model thought is shown"
