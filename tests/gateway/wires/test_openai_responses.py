"""What the Responses wire makes of requests, answers and streams."""

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.classify import classify_error_object
from recloser.core.failure import FailureKind
from recloser.gateway import sse
from recloser.gateway.canonical import Answer, Request, Text
from recloser.gateway.wires.openai_responses import OpenAIResponses
from recloser.gateway.wires.openai_responses_codec import ResponsesCodec
from recloser.gateway.wires.openai_responses_codec.hold import Hold
from recloser.gateway.wires.telling import told
from recloser.gateway.wires.wire import BadRequestError, Ending, Envelope, Refusal

WIRE = OpenAIResponses()


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()


def event(kind: str, **fields: Any) -> bytes:
    return sse.event(json.dumps({"type": kind, **fields}).encode(), kind.encode())


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(content)}


def said(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text}


def response(*output: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"id": "resp_1", "status": "completed", "output": output, **fields}).encode()


class TestReading:
    def test_what_routing_needs(self) -> None:
        assert WIRE.read(body()) == Envelope("m", stream=False, after_tool_result=False)
        assert WIRE.read(body(stream=True, input=[])).stream
        assert not WIRE.read(body(stream=None)).stream

    @pytest.mark.parametrize("kind", ["function_call_output", "custom_tool_call_output", "local_shell_call_output"])
    def test_the_last_word_of_a_tool(self, kind: str) -> None:
        items = [{"type": "message", "role": "user", "content": "a"}, {"type": kind, "call_id": "c", "output": "b"}]
        assert WIRE.read(body(input=items)).after_tool_result
        assert not WIRE.read(body(input=items[:1])).after_tool_result
        assert not WIRE.read(body(input=[{"role": "user", "content": "a"}])).after_tool_result

    def test_what_the_provider_keeps_needs_no_input(self) -> None:
        kept = json.dumps({"model": "m", "previous_response_id": "resp_0"}).encode()
        assert WIRE.read(kept).model == "m"

    @pytest.mark.parametrize(
        ("given_body", "field"),
        [
            (b"", None),
            (b"[]", None),
            (b"\xff", None),
            (b'{"input":"a"}', "model"),
            (b'{"model":7,"input":"a"}', "model"),
            (b'{"model":"m"}', "input"),
            (b'{"model":"m","input":{}}', "input"),
            (b'{"model":"m","input":"a","stream":"yes"}', "stream"),
        ],
    )
    def test_what_cannot_be_routed_is_refused_by_name(self, given_body: bytes, field: str | None) -> None:
        with pytest.raises(BadRequestError) as refused:
            WIRE.read(given_body)
        assert refused.value.field == field

    @given(st.binary(max_size=60))
    def test_garbage_is_refused_and_never_raises_anything_else(self, garbage: bytes) -> None:
        with pytest.raises(BadRequestError):
            WIRE.read(garbage)
        assert WIRE.judge(garbage).broken


class TestJudging:
    @pytest.mark.parametrize(
        ("output", "says_something"),
        [
            ([], False),
            ([message()], False),
            ([message(said(""))], False),
            ([message(said("a"))], True),
            ([message({"type": "refusal", "refusal": "no"})], True),
            ([{"type": "reasoning", "summary": []}], False),
            ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}], True),
            ([{"type": "reasoning", "summary": [], "encrypted_content": "x"}], True),
            ([{"type": "function_call", "call_id": "1", "name": "f", "arguments": ""}], True),
            ([{"type": "web_search_call"}], True),
        ],
    )
    def test_what_is_said(self, output: list[dict[str, Any]], says_something: bool) -> None:
        judged = WIRE.judge(response(*output))
        assert (judged.content, judged.ending, judged.error, judged.broken) == (
            says_something, Ending.ORDINARY, None, "",
        )  # fmt: skip

    def test_an_answer_that_was_cut_short_may_be_empty(self) -> None:
        judged = WIRE.judge(response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}))
        assert judged.ending is Ending.CUT_SHORT

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("rate_limit_exceeded", FailureKind.RATE_LIMITED),
            ("insufficient_quota", FailureKind.BILLING),
            ("server_error", FailureKind.SERVER_ERROR),
            ("server_is_overloaded", FailureKind.OVERLOADED),
            ("context_length_exceeded", FailureKind.TOO_LARGE),
        ],
    )
    def test_a_failed_response_is_an_error_of_its_kind(self, code: str, kind: FailureKind) -> None:
        failed = response(status="failed", error={"code": code, "message": "no"})
        failure = classify_error_object(WIRE.judge(failed).error, wall_now=0.0)
        assert (failure.kind, failure.message) == (kind, "no")
        watch = WIRE.watch()
        assert watch.feed(event("response.failed", response=json.loads(failed))) == b""
        fault = watch.fault()
        assert fault is not None
        assert classify_error_object(fault.error, wall_now=0.0).kind is kind

    def test_a_failed_response_without_a_reason_is_an_error_all_the_same(self) -> None:
        assert WIRE.judge(response(status="failed", error=None)).error
        watch = WIRE.watch()
        watch.feed(event("response.failed", response={"status": "failed", "error": None}))
        fault = watch.fault()
        assert fault is not None
        assert "without a reason" in classify_error_object(fault.error, wall_now=0.0).message

    @pytest.mark.parametrize(
        "given_body", [b"", b"<html>", b"{}", b"null", b'{"output":7}', b'{"output":null}', b'{"output":[7]}']
    )
    def test_what_is_no_answer(self, given_body: bytes) -> None:
        assert WIRE.judge(given_body).broken


class TestWatching:
    @pytest.mark.parametrize(
        ("first", "says_something"),
        [
            (event("response.created", response={"id": "r"}), False),
            (event("response.output_item.added", item=message()), False),
            (event("response.output_item.added", item={"type": "reasoning", "encrypted_content": "x"}), False),
            (event("response.output_item.added", item={"type": "function_call", "name": "f"}), True),
            (event("response.content_part.added", part=said("")), False),
            (event("response.output_text.delta", delta=""), False),
            (event("response.output_text.delta", delta="a"), True),
            (event("response.output_text.done", text="a"), True),
            (event("response.refusal.delta", delta="n"), True),
            (event("response.reasoning_summary_text.delta", delta="hm"), True),
            (event("response.function_call_arguments.done", arguments="{}"), True),
            (event("response.output_item.done", item=message(said("a"))), True),
            (event("response.output_item.done", item={"type": "reasoning", "summary": []}), False),
            (event("response.output_item.done", item={"type": "reasoning", "encrypted_content": "x"}), True),
            (event("response.completed", response={"output": [message(said("a"))]}), True),
            (event("response.completed", response={"output": []}), False),
            (event("response.unheard_of", anything=1), False),
        ],
    )
    def test_the_first_content(self, first: bytes, says_something: bool) -> None:
        watch = WIRE.watch()
        assert watch.feed(first) == first
        assert watch.content is says_something

    @pytest.mark.parametrize(
        ("kind", "ending"), [("response.completed", Ending.ORDINARY), ("response.incomplete", Ending.CUT_SHORT)]
    )
    def test_the_end(self, kind: str, ending: Ending) -> None:
        watch = WIRE.watch()
        watch.feed(event("response.output_text.delta", delta="a"))
        assert not watch.finished
        watch.feed(event(kind, response={"output": []}))
        assert (watch.finished, watch.terminated, watch.ending) == (True, True, ending)

    def test_a_terminator_of_another_wire_ends_nothing(self) -> None:
        watch = WIRE.watch()
        done = sse.event(b"[DONE]")
        assert watch.feed(done) == done
        assert (watch.fault(), watch.finished, watch.terminated) == (None, False, False)

    @pytest.mark.parametrize(
        "error",
        [
            {"type": "error", "code": "rate_limit_exceeded", "message": "no", "param": None, "sequence_number": 3},
            {"type": "error", "error": {"type": "requests", "code": "rate_limit_exceeded", "message": "no"}},
        ],
    )
    def test_nothing_from_an_error_on_is_let_through(self, error: dict[str, Any]) -> None:
        watch = WIRE.watch()
        good = event("response.output_text.delta", delta="a")
        assert watch.feed(good + sse.event(json.dumps(error).encode(), b"error") + good) == good
        fault = watch.fault()
        assert fault is not None
        failure = classify_error_object(fault.error, wall_now=0.0)
        assert (failure.kind, failure.message) == (FailureKind.RATE_LIMITED, "no")

    def test_text_that_looks_like_an_end_or_an_error_is_text(self) -> None:
        watch = WIRE.watch()
        text = event("response.output_text.delta", delta='event: error\n\ndata: {"type":"response.completed"}')
        assert watch.feed(text) == text
        assert (watch.fault(), watch.finished) == (None, False)

    @given(st.data())
    def test_where_a_stream_is_cut_makes_no_difference(self, data: st.DataObject) -> None:
        whole = (
            event("response.created", response={"id": "r"})
            + event("response.output_text.delta", delta="é")
            + event("response.completed", response={"output": []})
        )
        marks = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        watch = WIRE.watch()
        pieces = [watch.feed(whole[a:b]) for a, b in zip([0, *marks], [*marks, len(whole)], strict=True)]
        assert b"".join(pieces) == whole
        assert (watch.content, watch.terminated) == (True, True)

    @given(st.binary(max_size=80))
    def test_garbage_is_a_fault_and_raises_nothing(self, garbage: bytes) -> None:
        watch = WIRE.watch()
        watch.feed(b"data: " + garbage + b"\n\n")
        watch.end()


class TestTelling:
    def test_an_error_has_the_shape_of_this_wire(self) -> None:
        refused = json.loads(WIRE.error(Refusal(400, "invalid_request", "input: Field required", "input"), "r1"))
        assert refused == {
            "error": {
                "message": "input: Field required",
                "type": "invalid_request_error",
                "code": None,
                "param": "input",
            }
        }
        overloaded = json.loads(WIRE.error(Refusal(503, "overloaded", "later"), "r1"))
        assert overloaded["error"]["type"] == "server_error"

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_broken_stream_is_an_error_to_the_official_package(self) -> None:
        begun = streamed("Hello")[:2]
        broken = b"".join(begun) + WIRE.stream_error(Refusal(503, "overloaded", "overloaded today"), "r1")
        with pytest.raises(openai.APIError, match="overloaded today"):
            ask(broken)


class TestHolding:
    def test_without_a_sign_of_life_the_stream_is_untouched(self) -> None:
        stream = b"".join(streamed("Hello"))
        assert Hold("r1", "m").rewrite(stream) == stream

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_the_official_package_takes_signs_of_life_and_the_answer_for_one_response(self) -> None:
        hold = Hold("r1", "m", created=5)
        alive = hold.keepalive() + hold.keepalive() + hold.keepalive()
        final = ask(alive + b"".join(hold.rewrite(piece) for piece in streamed("Hello")))
        assert (final.id, final.output_text) == ("resp_r1", "Hello")

    def test_there_is_one_beginning_one_id_and_rising_numbers(self) -> None:
        hold = Hold("r1", "m")
        stream = hold.keepalive() + hold.keepalive() + b"".join(hold.rewrite(piece) for piece in streamed("Hello"))
        events = [json.loads(data) for _, data, _ in sse.parse(stream)]
        assert [event["type"] for event in events].count("response.created") == 1
        assert {event["response"]["id"] for event in events if "response" in event} == {"resp_r1"}
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert "Hello" in [event.get("delta") for event in events]

    def test_a_stream_that_falls_silent_is_kept_alive_as_what_it_is(self) -> None:
        hold = Hold("r1", "m")
        pieces = streamed("Hello")
        stream = b""
        for number, piece in enumerate(pieces):
            stream += hold.rewrite(piece)
            if number == 2:
                assert stream == b"".join(pieces[:3])
                stream += hold.keepalive()
        events = [json.loads(data) for _, data, _ in sse.parse(stream)]
        assert [event["type"] for event in events].count("response.created") == 1
        assert [event["type"] for event in events].count("response.in_progress") == 2
        assert {event["response"]["id"] for event in events if "response" in event} == {"resp_up"}
        assert [event["sequence_number"] for event in events] == list(range(len(events)))

    def test_what_is_no_event_of_ours_passes(self) -> None:
        hold = Hold("r1", "m")
        hold.keepalive()
        assert hold.rewrite(b": comment\n\n") == b""
        assert hold.rewrite(sse.event(b"[DONE]")) == sse.event(b"[DONE]")
        odd = b'data: {"type":7,\ndata: "response":null}\n\n'
        assert b'"response":null' in hold.rewrite(odd)


def streamed(text: str) -> list[bytes]:
    """An answer's events, as a provider sends them."""
    writer = ResponsesCodec().writer(Request(model="m", turns=(), stream=True))
    return [writer.write(event) for event in told(Answer(id="resp_up", model="m", parts=(Text(text=text),)))]


def ask(stream: bytes) -> Any:
    """What the official package makes of a stream."""
    answer = httpx2.Response(200, content=stream, headers={"content-type": sse.MEDIA_TYPE})
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
    client = openai.OpenAI(api_key="k", base_url="http://sdk.test/v1", http_client=http, max_retries=0)
    with client.responses.stream(model="m", input="hi") as events:
        return events.get_final_response()
