"""Any wire in, any wire out, over real sockets: clients as they come in front of providers that speak another wire."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Client, Gateway, Provider, Starts

QUESTION = [{"role": "user", "content": "What holds the line up?"}]


@pytest.fixture(scope="module")
def gateway(first: Provider, second: Provider, start_shared: Starts) -> Gateway:
    """`on-a-*` is served on Messages alone, `on-c-*` on Chat Completions alone, `both-*` on either in that order."""
    return start_shared({
        "gateway": {"max_hold": "0s", "midstream": "error"},
        "providers": {
            "a": {"kind": "simulated", "wire": "anthropic", "base_url": first.url},
            "c": {"kind": "simulated", "wire": "openai-chat", "base_url": second.base_url},
        },
        "routes": {
            "on-a-*": {"targets": ["a/{model}"]},
            "on-c-*": {"targets": ["c/{model}"]},
            "*": {"targets": ["a/{model}", "c/{model}"]},
        },
    })  # fmt: skip


@pytest.mark.parametrize("model", ["on-a-1", "on-c-1"])
def test_the_official_packages_take_what_comes_from_any_wire(gateway: Gateway, client: Client, model: str) -> None:
    answer = client.ask(gateway.url, model)
    assert answer.text
    assert answer.ending == client.ordinary_ending
    assert answer.model == model
    assert answer.headers["x-recloser-target"] == f"{model[3]}/{model}"


def test_a_failure_leads_from_one_wire_to_the_other(
    gateway: Gateway, client: Client, first: Provider, second: Provider
) -> None:
    model = f"both-{client.name}"
    before = second.asked(model)
    first.misbehave(model, "529", 1)
    assert client.ask(gateway.url, model).text
    assert second.asked(model) == before + 1


def test_a_stream_that_breaks_off_on_another_wire_ends_in_the_clients_own_error(
    gateway: Gateway, streaming: Client, first: Provider, second: Provider
) -> None:
    for model, provider in (("on-a-cut", first), ("on-c-cut", second)):
        provider.misbehave(model, "cut=2", 1)
        answer = streaming.fetch(gateway, model)
        assert answer.status == 200
        assert streaming.pieces(answer.body)
        streaming.breaks_off(answer.body)


@pytest.mark.parametrize("model", ["on-a-2", "on-c-2"])
def test_responses(gateway: Gateway, sdks: tuple[Any, openai.OpenAI], model: str) -> None:
    sdk = sdks[1].with_options(base_url=f"{gateway.url}/v1", api_key="unused")
    plain = sdk.responses.create(model=model, input="What holds the line up?")
    with sdk.responses.stream(model=model, input="What holds the line up?") as stream:
        assert next(event.type for event in stream) == "response.created"
        streamed = stream.get_final_response()
    for whole in (plain, streamed):
        assert whole.output_text
        assert (whole.status, whole.model) == ("completed", model)


@pytest.mark.parametrize("model", ["on-a-3", "on-c-3"])
def test_gemini(gateway: Gateway, model: str) -> None:
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "What holds the line up?"}]}]}).encode()
    at = f"/v1beta/models/{model}"
    plain = gateway.fetch(f"{at}:generateContent", body)
    array = gateway.fetch(f"{at}:streamGenerateContent", body)
    stream = gateway.fetch(f"{at}:streamGenerateContent?alt=sse", body)
    assert stream.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(line[6:]) for line in stream.body.splitlines() if line.startswith(b"data: ")]
    (element,) = array.json
    for answers in ([plain.json], [element], chunks):
        parts = [part for answer in answers for part in answer["candidates"][0]["content"]["parts"]]
        assert "".join(part["text"] for part in parts)
        assert answers[-1]["candidates"][0]["finishReason"] == "STOP"
        assert answers[-1]["modelVersion"] == model


def test_what_is_listed_in_geminis_own_shape(gateway: Gateway) -> None:
    assert isinstance(gateway.fetch("/v1beta/models").json["models"], list)


def test_what_was_left_out_is_told(gateway: Gateway) -> None:
    body = {"model": "on-c-4", "max_tokens": 10, "messages": QUESTION, "top_k": 3}
    answer = gateway.fetch("/v1/messages", json.dumps(body).encode())
    assert answer.status == 200
    assert "top_k" in answer.headers["x-recloser-dropped"]
