"""What clients ask beside answers, through the official SDKs: token counts, embeddings, and lists of models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

if TYPE_CHECKING:
    from tests.acceptance.conftest import Gateway, Provider, Starts

QUESTION = "How many words are in this?"


@pytest.fixture(scope="module")
def gateway(first: Provider, second: Provider, start_shared: Starts) -> Gateway:
    return start_shared({
        "circuit": {"failure_threshold": 2, "cooldown": "5m"},
        "providers": {
            "a": {"kind": "simulated", "base_url": first.base_url},
            "b": {"kind": "simulated", "base_url": second.base_url},
            "chat": {"kind": "compatible", "wire": "openai-chat", "base_url": second.base_url},
            "claude": {"kind": "compatible", "wire": "anthropic", "base_url": second.url},
        },
        "routes": {
            "both": {"targets": ["a/up", "b/up"]},
            "chat": {"targets": ["chat/up"]},
            "claude": {"targets": ["claude/up"]},
            "late": {"targets": ["claude/up", "b/up"]},
            "free-*": {"targets": ["a/{model}"]},
        },
    })  # fmt: skip


@pytest.fixture(scope="module")
def claude(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def gpt(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def google(gateway: Gateway) -> Iterator[genai.Client]:
    sdk = genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=gateway.url))
    yield sdk
    sdk.close()


class TestCounting:
    def test_a_provider_counts(self, claude: anthropic.Anthropic, first: Provider) -> None:
        raw = claude.messages.with_raw_response.count_tokens(
            model="both", messages=[{"role": "user", "content": QUESTION}]
        )
        assert raw.parse().input_tokens == len(first.last_body) // 4
        assert json.loads(first.last_body)["model"] == "up"
        assert raw.headers["x-recloser-target"] == "a/up"
        assert "x-recloser-estimated" not in raw.headers

    @pytest.mark.parametrize("mode", ["529", "401", "hang", "html", "reset"])
    def test_the_next_counts_and_nothing_is_charged(
        self, mode: str, claude: anthropic.Anthropic, first: Provider, gateway: Gateway
    ) -> None:
        first.misbehave("up", mode)
        raw = claude.messages.with_raw_response.count_tokens(
            model="both", messages=[{"role": "user", "content": QUESTION}]
        )
        first.behave("up")
        assert raw.parse().input_tokens > 0
        assert raw.headers["x-recloser-target"] == "b/up"
        assert gateway.charged("a") == gateway.charged("b") == []

    def test_where_nobody_counts_it_is_estimated(
        self, claude: anthropic.Anthropic, gpt: openai.OpenAI, google: genai.Client, gateway: Gateway
    ) -> None:
        raw = claude.messages.with_raw_response.count_tokens(
            model="chat", messages=[{"role": "user", "content": QUESTION}]
        )
        assert raw.headers["x-recloser-estimated"] == "true"
        assert 5 < raw.parse().input_tokens < 20
        assert 5 < gpt.responses.input_tokens.count(model="chat", input=QUESTION).input_tokens < 20
        assert 5 < (google.models.count_tokens(model="chat", contents=QUESTION).total_tokens or 0) < 20
        kinds = {event["kind"] for event in gateway.events if event.get("target") == "chat/up"}
        assert kinds == set()

    def test_a_provider_of_another_wire_counts(self, google: genai.Client, second: Provider) -> None:
        counted = google.models.count_tokens(model="claude", contents=QUESTION)
        assert counted.total_tokens == len(second.last_body) // 4
        assert json.loads(second.last_body)["messages"][0]["content"] in (
            QUESTION,
            [{"type": "text", "text": QUESTION}],
        )


class TestEmbeddings:
    def test_they_come(self, gpt: openai.OpenAI, first: Provider) -> None:
        raw = gpt.embeddings.with_raw_response.create(model="both", input=["one", "two"])
        answer = raw.parse()
        assert [len(one.embedding) for one in answer.data] == [8, 8]
        assert answer.model == "up"
        assert raw.headers["x-recloser-target"] == "a/up"
        assert json.loads(first.last_body)["model"] == "up"
        floats = gpt.embeddings.create(model="both", input="one", encoding_format="float", dimensions=3)
        assert len(floats.data[0].embedding) == 3

    @pytest.mark.parametrize("mode", ["429=30s", "500", "html", "empty", "cut", "reset", "error200"])
    def test_the_next_has_them_too(self, mode: str, gpt: openai.OpenAI, first: Provider, gateway: Gateway) -> None:
        first.misbehave("up", mode)
        raw = gpt.embeddings.with_raw_response.create(model="both", input="one")
        first.behave("up")
        assert len(raw.parse().data[0].embedding) == 8
        assert raw.headers["x-recloser-target"] == "b/up"
        assert raw.headers["x-recloser-attempts"] == "2"
        assert len(gateway.charged("a")) == 1
        for circuit in gateway.charged("a"):
            gateway.order(circuit, "reset")

    def test_who_has_none_is_passed_over(self, gpt: openai.OpenAI) -> None:
        raw = gpt.embeddings.with_raw_response.create(model="late", input="one")
        assert raw.headers["x-recloser-target"] == "b/up"
        with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
            gpt.embeddings.create(model="claude", input="one")

    def test_what_is_no_request_is_refused_by_its_field(self, gpt: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            gpt.embeddings.create(model="both", input=5)  # type: ignore[arg-type]
        assert refused.value.param == "input"


class TestModels:
    NAMES = frozenset({"both", "chat", "claude", "late"})

    def test_each_sdk_lists_them(self, claude: anthropic.Anthropic, gpt: openai.OpenAI, google: genai.Client) -> None:
        assert {model.id for model in gpt.models.list()} == self.NAMES
        assert {model.id for model in claude.models.list()} == self.NAMES
        assert {model.name for model in google.models.list()} == {f"models/{name}" for name in self.NAMES}

    @pytest.mark.parametrize("name", ["both", "free-of-all", "free-org/model:8b"])
    def test_each_sdk_gets_one(
        self, name: str, claude: anthropic.Anthropic, gpt: openai.OpenAI, google: genai.Client
    ) -> None:
        assert gpt.models.retrieve(name).id == name
        assert claude.models.retrieve(name).id == name
        assert google.models.get(model=f"models/{name}").name == f"models/{name}"

    def test_each_sdk_is_told_of_one_that_is_not_there(
        self, claude: anthropic.Anthropic, gpt: openai.OpenAI, google: genai.Client
    ) -> None:
        with pytest.raises(openai.NotFoundError, match="nowhere"):
            gpt.models.retrieve("nowhere")
        with pytest.raises(anthropic.NotFoundError, match="nowhere") as refused:
            claude.models.retrieve("nowhere")
        body: Any = refused.value.body
        assert body["error"]["type"] == "not_found_error"
        with pytest.raises(errors.ClientError, match="nowhere") as unknown:
            google.models.get(model="nowhere")
        assert unknown.value.code == 404
