"""Embeddings: passed through to whoever speaks an OpenAI wire, with everything else that an exchange has."""

import json
from typing import Any

import pytest
from tests.gateway.conversation import JSON, Conversation

from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes
from recloser.gateway.wires import EMBEDDINGS
from recloser.gateway.wires.wire import BadRequestError

BODY = b'{"input": ["one", "two"],  "model":"m", "encoding_format": "base64", "of_tomorrow": {"a": 1}}'
ANSWER = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1, -2e-3]}],"model":"up"}'
IN_BASE64 = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":"zczMPQ=="}],"model":"up"}'


def talk(body: bytes = BODY, *, spoken: tuple[str, ...] = ("openai-chat", "openai-chat"), **more: Any) -> Conversation:
    names = "abc"[: len(spoken)]
    wires = dict(zip(names, spoken, strict=True))
    return Conversation(body, wire="openai-embeddings", targets=[f"{name}/up" for name in names], wires=wires, **more)


class TestPassingThrough:
    def test_every_byte_but_the_models_name(self) -> None:
        conversation = talk()
        assert conversation.ask is not None
        assert conversation.ask.body == BODY.replace(b'"model":"m"', b'"model":"up"')  # type: ignore[union-attr]
        assert conversation.ask.path == "/embeddings"  # type: ignore[union-attr]

    @pytest.mark.parametrize("answer", [ANSWER, IN_BASE64])
    def test_the_answer_as_it_is(self, answer: bytes) -> None:
        reply = talk().answers(200, JSON).says(answer).reply
        assert reply.status == 200
        assert reply.body == answer
        assert reply.headers["x-recloser-target"] == "a/up"

    @pytest.mark.parametrize("wire", ["openai-chat", "openai-responses"])
    def test_both_of_openais_wires_have_them(self, wire: str) -> None:
        assert talk(spoken=(wire,)).asked == ["a/up"]

    def test_the_key_is_carried_as_on_the_wire_beside(self) -> None:
        """Gemini's own wire wants it elsewhere than its OpenAI-compatible one."""
        settings = {"g": ProviderSettings(kind="gemini", headers={"x-own": "1"})}
        (target,) = Routes(settings, {"*": RouteSettings(targets=("g/{model}",))}, {}).targets("m") or ()
        assert target.wire_for("openai-embeddings") == "openai-embeddings"
        assert target.endpoint.url_on("openai-embeddings") == target.endpoint.url_on("openai-chat")
        assert target.endpoint.headers_on("openai-embeddings") == target.endpoint.headers_on("openai-chat")


class TestWhoHasNone:
    @pytest.mark.parametrize("wire", ["anthropic", "gemini"])
    def test_is_passed_over(self, wire: str) -> None:
        conversation = talk(spoken=(wire, "openai-chat"))
        assert conversation.asked == ["b/up"]
        assert conversation.answers(200, JSON).says(ANSWER).reply.status == 200

    def test_leads_to_an_honest_error_where_nobody_has_any(self) -> None:
        conversation = talk(spoken=("anthropic", "gemini"))
        assert conversation.asked == []
        assert conversation.reply.status == 400
        error = json.loads(conversation.reply.body)["error"]
        assert "/v1/embeddings" in error["message"]
        assert conversation.failures == [("invalid_request", "nobody")] * 2


class TestFailures:
    @pytest.mark.parametrize(
        "garbage",
        [
            b"", b"{}", b"[]", b"<html>", b'{"data":[]}', b'{"data":[{}]}', b'{"data":{}}', b'{"data":null}',
            b'{"data":[{"embedding":[]}]}', b'{"data":[{"embedding":""}]}', b'{"data":[{"embedding":null}]}',
            b'{"data":[{"embedding":[0.1]},{"embedding":[ ]}]}', b'{"data":[{"embedding":{"a":1}}]}',
            b'{"data":[{"embedding":[0.1}]}', ANSWER[:-20], b"[" * 100_000, b"\xff",
        ],
    )  # fmt: skip
    def test_no_embeddings_are_no_answer(self, garbage: bytes) -> None:
        conversation = talk().answers(200, JSON).says(garbage)
        assert conversation.failures == [("malformed", "model/a/up")]
        assert conversation.asked == ["a/up", "b/up"]

    def test_an_error_inside_a_200_is_named(self) -> None:
        conversation = talk().answers(200, JSON).says(b'{"error":{"type":"insufficient_quota","message":"pay"}}')
        assert conversation.failures == [("billing", "account/a")]

    def test_an_error_of_null_is_none(self) -> None:
        assert talk().answers(200, JSON).says(ANSWER[:-1] + b',"error":null}').reply.status == 200

    def test_the_next_answers(self) -> None:
        conversation = talk().fails(503).answers(200, JSON).says(ANSWER)
        assert conversation.reply.status == 200
        assert conversation.reply.headers["x-recloser-attempts"] == "2"
        assert conversation.failures == [("server_error", "endpoint/a")]

    def test_a_limit_of_all_tells_when_to_come_back(self) -> None:
        conversation = talk().fails(429, headers={"retry-after": "7"}).fails(429, headers={"retry-after": "9"})
        assert conversation.reply.status == 429
        assert conversation.reply.headers["retry-after"] == "7"

    def test_what_the_client_got_wrong_is_told_once_and_verbatim(self) -> None:
        conversation = talk().fails(400, b'{"error":{"message":"too many inputs","type":"invalid_request_error"}}')
        assert conversation.asked == ["a/up"]
        assert conversation.reply.status == 400
        assert b"too many inputs" in conversation.reply.body


class TestRequests:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b"{}", "model"),
            (b'{"model":"m"}', "input"),
            (b'{"input":"a"}', "model"),
            (b'{"model":5,"input":"a"}', "model"),
            (b'{"model":"m","input":5}', "input"),
            (b'{"model":"m","input":null}', "input"),
            (b"", None),
            (b"[]", None),
        ],
    )
    def test_a_wrong_one_is_refused_by_the_field(self, body: bytes, field: str | None) -> None:
        with pytest.raises(BadRequestError) as refused:
            EMBEDDINGS.read(body)
        assert refused.value.field == field

    @pytest.mark.parametrize("given", [b'"one"', b'["one","two"]', b"[1,2]", b"[[1,2],[3]]"])
    def test_all_that_may_be_asked_about(self, given: bytes) -> None:
        envelope = EMBEDDINGS.read(b'{"model":"m","stream":true,"input":%s}' % given)
        assert envelope.model == "m"
        assert not envelope.stream
