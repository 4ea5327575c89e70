"""A request of one wire's client, as a provider of the other is sent it: in the types of its official package."""

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import openai
import pydantic
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.testing_wires import REQUESTS

ANTHROPIC, CHAT = AnthropicCodec(), ChatCodec()
OLDER = {"temperature", "top_p", "top_k"}
"""Fields that older models take and the package has forgotten."""
ANTHROPIC_TYPES: list[pydantic.TypeAdapter[Any]] = [
    pydantic.TypeAdapter(MessageCreateParamsNonStreaming),
    pydantic.TypeAdapter(MessageCreateParamsStreaming),
]
CHAT_TYPES: list[pydantic.TypeAdapter[Any]] = [
    pydantic.TypeAdapter(CompletionCreateParamsNonStreaming),
    pydantic.TypeAdapter(CompletionCreateParamsStreaming),
]
LOOK = {"type": "object", "properties": {"at": {"type": "string"}}}


def sent_by(client_of: type[anthropic.Anthropic | openai.OpenAI], **asked: Any) -> bytes:
    """What the official package sends for a call."""
    bodies: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        bodies.append(request.read())
        return httpx2.Response(400, json={"error": {"message": "enough"}})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client: Any = client_of(api_key="k", base_url="http://sdk.test", http_client=http, max_retries=0)
    create = client.messages.create if client_of is anthropic.Anthropic else client.chat.completions.create
    with pytest.raises((anthropic.BadRequestError, openai.BadRequestError)):
        create(**asked)
    return bodies[0]


def plain(value: Any) -> Any:
    """A value whose iterables are lists, as the packages' types leave them lazy."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(inner) for inner in value]
    return value


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_sent_is_in_the_types_of_the_official_packages(name: str) -> None:
    request = REQUESTS[name]
    body = json.loads(ANTHROPIC.write_request(request).body)
    known = plain(ANTHROPIC_TYPES[request.stream].validate_python(body))
    assert {field: value for field, value in body.items() if field not in OLDER} == known

    body = json.loads(CHAT.write_request(request).body)
    assert plain(CHAT_TYPES[request.stream].validate_python(body)) == body


def test_from_anthropic_to_chat() -> None:
    body = sent_by(
        anthropic.Anthropic,
        model="claude-opus-4-5",
        max_tokens=2000,
        stream=True,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        thinking={"type": "enabled", "budget_tokens": 1024},
        tools=[{"name": "look", "description": "Look.", "input_schema": LOOK}],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        messages=[
            {"role": "user", "content": "Which colour is the sky?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I look.", "signature": "sig"},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sky"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "blue"},
                    {"type": "text", "text": "Sure?"},
                ],
            },
        ],
    )
    written = CHAT.write_request(ANTHROPIC.read_request(body))
    assert json.loads(written.body) == {
        "model": "claude-opus-4-5",
        "max_tokens": 2000,
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
        "stop": ["END"],
        "user": "u",
        "tools": [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": LOOK}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Which colour is the sky?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "blue"},
            {"role": "user", "content": "Sure?"},
        ],
    }
    assert written.dropped == ("system.cache_control", "messages.thinking")


def test_from_chat_to_anthropic() -> None:
    body = sent_by(
        openai.OpenAI,
        model="claude-opus-4-5",
        reasoning_effort="medium",
        temperature=1,
        seed=7,
        n=2,
        parallel_tool_calls=False,
        tools=[{"type": "function", "function": {"name": "look", "parameters": LOOK, "strict": True}}],
        messages=[
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}},
                    {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "tool", "tool_call_id": "call_2", "content": "a dog"},
        ],
    )
    written = ANTHROPIC.write_request(CHAT.read_request(body))
    assert json.loads(written.body) == {
        "model": "claude-opus-4-5",
        "max_tokens": 32_000,
        "system": [{"type": "text", "text": "Be brief."}],
        "temperature": 1.0,
        "tools": [{"name": "look", "input_schema": LOOK, "strict": True}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "it"}},
                    {"type": "tool_use", "id": "call_2", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "a cat"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "a dog"},
                ],
            },
        ],
    }
    assert written.dropped == ("n", "reasoning", "seed")
