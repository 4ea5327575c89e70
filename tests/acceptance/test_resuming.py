"""The official packages in front of a provider whose streams break off: another one finishes the answer."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from tests.acceptance.conftest import PATIENCE, QUESTION

if TYPE_CHECKING:
    from tests.acceptance.conftest import Gateway, Provider, Starts

WIRES = ("anthropic", "openai-chat", "openai-responses", "gemini")
Asks = Callable[[str, str], str]


def _root(provider: Provider, wire: str) -> str:
    return provider.base_url if wire.startswith("openai") else provider.url


@pytest.fixture(scope="module")
def gateway(first: Provider, second: Provider, start_shared: Starts) -> Gateway:
    """The model `X-to-Y` is served by the first provider on wire X and by the second on wire Y, in that order."""
    wires = {f"{name}-{wire}": {"kind": "simulated", "wire": wire, "base_url": _root(provider, wire),
                                "idle_timeout": "1s", "circuit": {"failure_threshold": 0}}
             for name, provider in (("first", first), ("second", second)) for wire in WIRES}  # fmt: skip
    routes = {f"{one}-to-{other}": {"targets": [f"first-{one}/{{model}}", f"second-{other}/{{model}}"]}
              for one in WIRES for other in WIRES}  # fmt: skip
    return start_shared({"gateway": {"max_hold": "0s"}, "providers": wires, "routes": routes})


@pytest.fixture(scope="module")
def asks(gateway: Gateway) -> Iterator[dict[str, Asks]]:
    """The streaming helper of each wire's official package."""
    claude = anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0, timeout=PATIENCE)
    gpt = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=PATIENCE)
    google = genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=gateway.url))

    def messages(model: str, text: str) -> str:
        said: list[Any] = [{"role": "user", "content": text}]
        with claude.messages.stream(model=model, max_tokens=100, messages=said) as stream:
            heard = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert heard == "".join(block.text for block in final.content if block.type == "text")
        assert final.stop_reason == "end_turn"
        return heard

    def chat(model: str, text: str) -> str:
        said: list[Any] = [{"role": "user", "content": text}]
        with gpt.chat.completions.stream(model=model, messages=said) as stream:
            ids = {event.chunk.id for event in stream if event.type == "chunk"}
            final = stream.get_final_completion()
        assert len(ids) == 1
        assert final.choices[0].finish_reason == "stop"
        return final.choices[0].message.content or ""

    def responses(model: str, text: str) -> str:
        heard = ""
        with gpt.responses.stream(model=model, input=text) as stream:
            numbers = []
            for event in stream:
                numbers.append(event.sequence_number)
                heard += event.delta if event.type == "response.output_text.delta" else ""
            final = stream.get_final_response()
        assert numbers == sorted(set(numbers))
        assert final.status == "completed"
        assert final.output_text == heard
        return heard

    def gemini(model: str, text: str) -> str:
        chunks = list(google.models.generate_content_stream(model=model, contents=text))
        assert chunks[-1].candidates
        assert chunks[-1].candidates[0].finish_reason is types.FinishReason.STOP
        return "".join(chunk.text or "" for chunk in chunks)

    with contextlib.closing(claude), contextlib.closing(gpt):
        yield {"anthropic": messages, "openai-chat": chat, "openai-responses": responses, "gemini": gemini}


@pytest.fixture(scope="module")
def whole(asks: dict[str, Asks]) -> str:
    """What the providers say when nothing breaks."""
    return asks["openai-chat"]("openai-chat-to-openai-chat", QUESTION)


@pytest.mark.parametrize("how", ["rest", "tail", "restart"])
@pytest.mark.parametrize("client", WIRES)
@pytest.mark.parametrize("model", [f"{one}-to-{other}" for one in WIRES for other in WIRES])
def test_the_answer_is_whole_whichever_wires_it_crosses(
    asks: dict[str, Asks], first: Provider, second: Provider, whole: str, client: str, model: str, how: str
) -> None:
    first.misbehave(model, "cut=5")
    second.misbehave(model, f"resume={how}")
    try:
        assert asks[client](model, QUESTION) == whole
    finally:
        first.behave(model)
        second.behave(model)


@pytest.mark.parametrize("client", WIRES)
def test_a_stall_is_over_after_the_idle_timeout(
    asks: dict[str, Asks], first: Provider, whole: str, client: str
) -> None:
    model = f"{client}-to-anthropic"
    first.misbehave(model, "stall=5", 1)
    began = time.monotonic()
    assert asks[client](model, QUESTION) == whole
    assert time.monotonic() - began < PATIENCE


def test_the_account_says_who_finished_it(gateway: Gateway, first: Provider) -> None:
    first.misbehave("openai-chat-to-gemini", "cut=5", 1)
    body = json.dumps({"model": "openai-chat-to-gemini", "stream": True,
                       "messages": [{"role": "user", "content": QUESTION}]}).encode()  # fmt: skip
    answer = gateway.fetch("/v1/chat/completions", body, {"content-type": "application/json"})
    assert answer.headers["x-recloser-target"] == "first-openai-chat/openai-chat-to-gemini"
    assert answer.body.endswith(b": finished by second-gemini/openai-chat-to-gemini\n\n")
