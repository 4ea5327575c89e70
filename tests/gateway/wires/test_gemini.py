"""What the Gemini wire makes of addresses, requests, answers and streams."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.classify import classify_error_object
from recloser.core.failure import FailureKind
from recloser.gateway import sse
from recloser.gateway.wires.gemini import Address, Gemini, address, array, upstream_address
from recloser.gateway.wires.wire import BadRequestError, Ending, Envelope, Refusal

WIRE = Gemini()
UNAVAILABLE = {"error": {"code": 503, "message": "This model is overloaded.", "status": "UNAVAILABLE"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields}).encode()


def chunk(*parts: dict[str, Any], **candidate: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0, **candidate}]}


def events(*chunks: dict[str, Any]) -> bytes:
    return b"".join(sse.event(json.dumps(one).encode()) for one in chunks)


class TestAddresses:
    @pytest.mark.parametrize(
        ("path", "query", "said"),
        [
            ("/v1beta/models/gemini-2.5-pro:generateContent", "", Address("gemini-2.5-pro", False, False)),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "alt=sse", Address("gemini-2.5-pro", True, True)),
            ("/v1/models/gemini-2.5-pro:streamGenerateContent", "key=k&alt=sse", Address("gemini-2.5-pro", True, True)),
            ("/v1beta/models/m:streamGenerateContent", "", Address("m", True, False)),
            ("/v1beta/models/ollama/qwen3:8b:generateContent", "", Address("ollama/qwen3:8b", False, False)),
            ("/v1beta/tunedModels/t:generateContent", "", Address("tunedModels/t", False, False)),
            ("/v1beta/models/m:countTokens", "", Address("m", False, False, counted=True)),
            ("/v1beta/models/:generateContent", "", None),
            ("/v1beta/models", "", None),
            ("/v1/messages", "", None),
        ],
    )
    def test_what_an_address_says(self, path: str, query: str, said: Address | None) -> None:
        assert address(path, query) == said

    def test_an_array_of_pieces_is_no_stream(self) -> None:
        said = address("/v1beta/models/m:streamGenerateContent")
        assert said is not None
        assert not said.stream
        assert json.loads(array(b'{"candidates":[]}')) == [{"candidates": []}]

    @pytest.mark.parametrize("model", ["gemini-2.5-pro", "tunedModels/t", "ollama/qwen3:8b"])
    @pytest.mark.parametrize("stream", [False, True])
    def test_the_address_of_a_provider_says_the_same(self, model: str, stream: bool) -> None:
        path, _, query = upstream_address(model, stream=stream).partition("?")
        said = address(path.replace("%3A", ":"), query)
        assert said is not None
        assert (said.model, said.stream) == (model, stream)


class TestReading:
    def test_what_routing_needs(self) -> None:
        assert WIRE.read(body(), "m") == Envelope("m", stream=False, after_tool_result=False)
        assert WIRE.read(body(), "m", stream=True).stream
        assert WIRE.read(body(model="models/in-the-body")).model == "in-the-body"

    @pytest.mark.parametrize("spelling", ["functionResponse", "function_response"])
    def test_the_last_word_of_a_tool(self, spelling: str) -> None:
        said = {"role": "user", "parts": [{spelling: {"name": "f", "response": {}}}]}
        assert WIRE.read(body(contents=[said]), "m").after_tool_result
        assert not WIRE.read(body(contents=[said, {"parts": [{"text": "a"}]}]), "m").after_tool_result
        assert not WIRE.read(body(contents={"parts": {"text": "a"}}), "m").after_tool_result

    @pytest.mark.parametrize(
        ("given_body", "model", "field"),
        [
            (b"", "m", None),
            (b"[]", "m", None),
            (b"\xff", "m", None),
            (b"{}", "m", "contents"),
            (b'{"contents":7}', "m", "contents"),
            (b'{"contents":[7]}', "m", None),
            (b'{"contents":[]}', "", "model"),
        ],
    )
    def test_what_cannot_be_routed_is_refused_by_name(self, given_body: bytes, model: str, field: str | None) -> None:
        with pytest.raises(BadRequestError) as refused:
            WIRE.read(given_body, model)
        assert refused.value.field == field

    @given(st.binary(max_size=60))
    def test_garbage_is_refused_and_never_raises_anything_else(self, garbage: bytes) -> None:
        with pytest.raises(BadRequestError):
            WIRE.read(garbage, "m")
        assert WIRE.judge(garbage).broken


SAID = [
    ([], False),
    ([{"text": ""}], False),
    ([{"text": "a"}], True),
    ([{"text": "hm", "thought": True}], True),
    ([{"text": "", "thoughtSignature": "s"}], False),
    ([{"functionCall": {"name": "f"}}], True),
    ([{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}], True),
    ([{"executableCode": {"code": "1"}}], True),
]


class TestJudging:
    @pytest.mark.parametrize(("parts", "says_something"), SAID)
    def test_what_is_said(self, parts: list[dict[str, Any]], says_something: bool) -> None:
        judged = WIRE.judge(json.dumps(chunk(*parts, finishReason="STOP")).encode())
        assert (judged.content, judged.ending, judged.error, judged.broken) == (
            says_something, Ending.ORDINARY, None, "",
        )  # fmt: skip

    @pytest.mark.parametrize("reason", ["MAX_TOKENS", "SAFETY", "RECITATION", "PROHIBITED_CONTENT"])
    def test_an_answer_that_was_cut_short_may_be_empty(self, reason: str) -> None:
        said = {"candidates": [{"finishReason": reason, "index": 0}]}
        assert WIRE.judge(json.dumps(said).encode()).ending is Ending.CUT_SHORT

    @pytest.mark.parametrize("reason", ["STOP", "MALFORMED_FUNCTION_CALL", "OTHER", "UNEXPECTED_TOOL_CALL"])
    def test_an_answer_that_failed_may_not(self, reason: str) -> None:
        said = {"candidates": [{"finishReason": reason, "index": 0}]}
        assert WIRE.judge(json.dumps(said).encode())[:2] == (False, Ending.ORDINARY)

    def test_a_question_that_is_refused_is_answered_with_nothing(self) -> None:
        judged = WIRE.judge(b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{}}')
        assert (judged.content, judged.ending, judged.broken) == (False, Ending.CUT_SHORT, "")

    @pytest.mark.parametrize("around", ["%s", "[%s]", "\n[%s,\n{}]"])
    def test_an_error_with_status_200(self, around: str) -> None:
        said = (around % json.dumps(UNAVAILABLE)).encode()
        failure = classify_error_object(WIRE.judge(said).error, wall_now=0.0)
        assert (failure.kind, failure.message) == (FailureKind.OVERLOADED, "This model is overloaded.")

    def test_an_array_of_pieces(self) -> None:
        pieces = [chunk({"text": "a"}), chunk({"text": "b"}, finishReason="MAX_TOKENS")]
        assert WIRE.judge(json.dumps(pieces).encode())[:2] == (True, Ending.CUT_SHORT)

    @pytest.mark.parametrize(
        "given_body", [b"", b"<html>", b"{}", b"[]", b"null", b"[7]", b'{"candidates":7}', b'{"candidates":[]}']
    )
    def test_what_is_no_answer(self, given_body: bytes) -> None:
        assert WIRE.judge(given_body).broken


class TestWatching:
    @pytest.mark.parametrize(("parts", "says_something"), SAID)
    def test_the_first_content(self, parts: list[dict[str, Any]], says_something: bool) -> None:
        watch = WIRE.watch()
        said = events(chunk(*parts))
        assert watch.feed(said) == said
        assert (watch.content, watch.finished) == (says_something, False)

    @pytest.mark.parametrize(
        ("reason", "ending"),
        [("STOP", Ending.ORDINARY), ("MAX_TOKENS", Ending.CUT_SHORT), (["odd"], Ending.ORDINARY)],
    )
    def test_the_end(self, reason: Any, ending: Ending) -> None:
        watch = WIRE.watch()
        watch.feed(events(chunk({"text": "a"}), chunk(finishReason=reason)))
        assert (watch.finished, watch.terminated, watch.ending) == (True, False, ending)
        more = events({"usageMetadata": {"totalTokenCount": 3}})
        assert watch.feed(more) == more
        assert watch.finished

    def test_a_refused_question_is_an_end(self) -> None:
        watch = WIRE.watch()
        watch.feed(events({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}))
        assert (watch.content, watch.finished, watch.ending) == (False, True, Ending.CUT_SHORT)

    def test_two_candidates_are_finished_when_both_are(self) -> None:
        watch = WIRE.watch()
        watch.feed(events(chunk({"text": "a"}), chunk({"text": "b"}, index=1), chunk(finishReason="STOP")))
        assert not watch.finished
        watch.feed(events(chunk(finishReason="STOP", index=1)))
        assert watch.finished

    def test_nothing_from_an_error_on_is_let_through(self) -> None:
        watch = WIRE.watch()
        good = events(chunk({"text": "a"}))
        assert watch.feed(good + events(UNAVAILABLE) + good) == good
        fault = watch.fault()
        assert fault is not None
        assert fault.error == UNAVAILABLE

    @pytest.mark.parametrize("indent", [None, 2])
    @given(st.data())
    def test_an_error_that_is_no_event_is_one_too(self, indent: int | None, data: st.DataObject) -> None:
        """In the middle of a stream the provider gives up with bare JSON."""
        good = events(chunk({"text": "a"}))
        whole = good + json.dumps(UNAVAILABLE, indent=indent).encode() + b"\n"
        marks = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
        watch = WIRE.watch()
        passed = b"".join(watch.feed(whole[a:b]) for a, b in zip([0, *marks], [*marks, len(whole)], strict=True))
        assert passed + watch.end() == good
        fault = watch.fault()
        assert fault is not None
        assert fault.error == UNAVAILABLE

    def test_half_an_error_is_a_broken_connection(self) -> None:
        watch = WIRE.watch()
        good = events(chunk({"text": "a"}))
        assert watch.feed(good + b'{\n  "error": {\n') + watch.end() == good
        assert (watch.fault(), watch.finished) == (None, False)

    def test_text_that_looks_like_an_error_is_text(self) -> None:
        watch = WIRE.watch()
        said = events(chunk({"text": '\n\n{"error": {"code": 503}}\n\ndata: [DONE]'}))
        assert watch.feed(said) == said
        assert watch.fault() is None

    @given(st.binary(max_size=80))
    def test_garbage_is_a_fault_and_raises_nothing(self, garbage: bytes) -> None:
        for said in (b"data: " + garbage + b"\n\n", garbage + b"\n\n"):
            watch = WIRE.watch()
            watch.feed(said)
            watch.end()


class TestTelling:
    @pytest.mark.parametrize(
        ("status", "word"),
        [
            (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"),
            (413, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"), (529, "UNAVAILABLE"),
        ],
    )  # fmt: skip
    def test_an_error_has_the_shape_of_this_wire(self, status: int, word: str) -> None:
        said = json.loads(WIRE.error(Refusal(status, "invalid_request", "words"), "r1"))
        assert said == {"error": {"code": status, "message": "words", "status": word}}

    def test_a_wrong_field_is_named_where_clients_of_this_wire_look(self) -> None:
        said = json.loads(WIRE.error(Refusal(400, "invalid_request", "contents: Field required", "contents"), "r1"))
        (detail,) = said["error"]["details"]
        assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
        assert detail["fieldViolations"] == [{"field": "contents", "description": "contents: Field required"}]

    def test_what_is_told_in_a_stream_is_data_and_nothing_else(self) -> None:
        """Its clients stumble over comments and over the names of events."""
        for said in (WIRE.keepalive, WIRE.stream_error(Refusal(503, "overloaded", "later"), "r1")):
            assert said.startswith(b"data: {")
            assert said.endswith(b"}\n\n")
        watch = WIRE.watch()
        watch.feed(WIRE.keepalive)
        assert (watch.content, watch.finished, watch.fault()) == (False, False, None)
