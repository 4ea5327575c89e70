"""The official packages take every translated answer and stream for one of their own provider's, all pairs of wires."""

import json
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest

from recloser.gateway import sse
from recloser.gateway.canonical import Event, Refusal, Request, Text, Thinking, ToolUse
from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.codec import Codec
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.telling import told
from recloser.testing_wires import ANSWERS, INTERLEAVED

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CODECS: dict[str, Codec] = {"anthropic": AnthropicCodec(), "openai-chat": ChatCodec()}
TOOLS = {"weather": {"city": "Bern"}, "clock": {}}


class Heard(NamedTuple):
    """What an application gets from its SDK."""

    text: str
    thoughts: str
    calls: list[tuple[str, str, Any]]
    stop: str
    tokens: tuple[int, int, int] | None


def transport(answer: bytes, media_type: str) -> httpx2.MockTransport:
    return httpx2.MockTransport(lambda _: httpx2.Response(200, content=answer, headers={"content-type": media_type}))


class Anthropic:
    def __init__(self, answer: bytes, media_type: str) -> None:
        client = httpx2.Client(transport=transport(answer, media_type))
        self.client = anthropic.Anthropic(api_key="k", base_url="http://sdk.test", http_client=client, max_retries=0)

    def plain(self) -> Heard:
        said = self.client.messages.create(model="m", max_tokens=10, messages=[{"role": "user", "content": "hi"}])
        return self.heard(said)

    def stream(self) -> Heard:
        text, thoughts, inputs = "", "", ""
        with self.client.messages.stream(
            model="m", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            for event in stream:
                text += event.text if event.type == "text" else ""
                thoughts += event.thinking if event.type == "thinking" else ""
                inputs += event.partial_json if event.type == "input_json" else ""
            heard = self.heard(stream.get_final_message())
        assert (text, thoughts) == (heard.text, heard.thoughts)
        if len(heard.calls) == 1:
            assert json.loads(inputs) == heard.calls[0][2]
        return heard

    def heard(self, message: anthropic.types.Message) -> Heard:
        anthropic.types.Message.model_validate(message.model_dump())
        assert message.id.startswith("msg_")
        usage = message.usage
        cached = usage.cache_read_input_tokens or 0
        return Heard(
            "".join(block.text for block in message.content if block.type == "text"),
            "".join(block.thinking for block in message.content if block.type == "thinking"),
            [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"],
            str(message.stop_reason),
            (usage.input_tokens + cached, usage.output_tokens, cached),
        )


class Chat:
    def __init__(self, answer: bytes, media_type: str) -> None:
        client = httpx2.Client(transport=transport(answer, media_type))
        self.client = openai.OpenAI(api_key="k", base_url="http://sdk.test/v1", http_client=client, max_retries=0)

    def plain(self) -> Heard:
        said = self.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        return self.heard(said)

    def stream(self) -> Heard:
        text, arguments = "", ""
        with self.client.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "hi"}], stream_options={"include_usage": True}
        ) as stream:
            for event in stream:
                text += event.delta if event.type in ("content.delta", "refusal.delta") else ""
                arguments += event.arguments if event.type == "tool_calls.function.arguments.done" else ""
            # not get_final_completion(): it raises where an answer was cut short, the provider's own too
            heard = self.heard(stream.current_completion_snapshot)
        assert text == heard.text
        assert bool(arguments) == bool(heard.calls)
        return heard

    def heard(self, completion: openai.types.chat.ChatCompletion) -> Heard:
        openai.types.chat.ChatCompletion.model_validate(
            completion.model_dump(exclude={"choices": True})
            | {"choices": [choice.model_dump(exclude={"message": {"parsed"}}) for choice in completion.choices]}
        )
        assert completion.id.startswith("chatcmpl-")
        (choice,) = completion.choices
        message, usage = choice.message, completion.usage
        cached = (usage.prompt_tokens_details.cached_tokens or 0) if usage and usage.prompt_tokens_details else 0
        return Heard(
            (message.content or "") + (message.refusal or ""),
            (message.model_extra or {}).get("reasoning_content") or "",
            [
                (call.id, call.function.name, json.loads(call.function.arguments))
                for call in message.tool_calls or ()
                if call.type == "function"
            ],
            choice.finish_reason,
            (usage.prompt_tokens, usage.completion_tokens, cached) if usage else None,
        )


SDKS: dict[str, Any] = {"anthropic": Anthropic, "openai-chat": Chat}
STOPS = {
    "anthropic": {"cut short": "max_tokens", "a refusal": "refusal"},
    "openai-chat": {"cut short": "length", "a refusal": "stop"},
}
ENDINGS = {"anthropic": ("tool_use", "end_turn"), "openai-chat": ("tool_calls", "stop")}


def expected(name: str, wire: str, provider: str) -> Heard:
    answer = ANSWERS[name]
    calls = [(part.id, part.name, json.loads(part.input)) for part in answer.parts if isinstance(part, ToolUse)]
    usage = answer.usage
    stop = STOPS[wire].get(name) or ENDINGS[wire][0 if calls else 1]
    if name == "a refusal" and provider == "anthropic":
        stop = "refusal" if wire == "anthropic" else "content_filter"
    tokens: tuple[int, int, int] | None = (usage.input or 0, usage.output or 0, usage.cache_read or 0)
    if usage.input is None and wire == provider == "openai-chat":
        tokens = None
    return Heard(
        "".join(part.text for part in answer.parts if isinstance(part, Text | Refusal)),
        "".join(part.text for part in answer.parts if isinstance(part, Thinking)),
        calls,
        stop,
        tokens,
    )


def crossing(provider: Codec, client: Codec, events: Iterable[Event]) -> bytes:
    """A stream of a provider as its client gets it."""
    asked = Request(model="m", turns=(), stream=True, stream_usage=True)
    upstream = provider.writer(asked)
    stream = b"".join(upstream.write(event) for event in events)
    reader, writer = provider.reader(), client.writer(asked)
    read = [event for name, data, _ in sse.parse(stream) for event in reader.read(name, data)]
    return b"".join(writer.write(event) for event in [*read, *reader.end()])


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("wire", CODECS)
@pytest.mark.parametrize("provider", CODECS)
class TestEveryPair:
    def test_plain(self, provider: str, wire: str, name: str) -> None:
        upstream, client = CODECS[provider], CODECS[wire]
        body = client.write_answer(upstream.read_answer(upstream.write_answer(ANSWERS[name])))
        assert SDKS[wire](body, "application/json").plain() == expected(name, wire, provider)

    def test_streaming(self, provider: str, wire: str, name: str) -> None:
        stream = crossing(CODECS[provider], CODECS[wire], told(ANSWERS[name]))
        assert SDKS[wire](stream, sse.MEDIA_TYPE).stream() == expected(name, wire, provider)


@pytest.mark.parametrize("wire", CODECS)
@pytest.mark.parametrize("provider", CODECS)
def test_calls_told_by_turns(provider: str, wire: str) -> None:
    stream = crossing(CODECS[provider], CODECS[wire], INTERLEAVED)
    assert SDKS[wire](stream, sse.MEDIA_TYPE).stream().calls == [
        ("call_1", "weather", {"city": "Bern"}),
        ("call_2", "weather", {"city": "Basel"}),
    ]


def test_warnings_are_ours_to_see() -> None:
    """The packages warn of models they know; nothing here does."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Anthropic(CODECS["anthropic"].write_answer(ANSWERS["words"]), "application/json").plain().text
