"""What each wire makes of requests, answers and streams."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.gateway.wires import WIRES
from recloser.gateway.wires.wire import BadRequestError, Ending, Envelope, Refusal

ANTHROPIC, CHAT = WIRES["anthropic"], WIRES["openai-chat"]
BOTH = pytest.mark.parametrize("wire", [ANTHROPIC, CHAT], ids=lambda wire: wire.name)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def events(*pairs: tuple[str, dict[str, Any]] | dict[str, Any] | str) -> bytes:
    said = b""
    for pair in pairs:
        name, data = pair if isinstance(pair, tuple) else ("", pair)
        text = data if isinstance(data, str) else json.dumps(data)
        said += (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
    return said


def delta(**said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": None}]}


def block(kind: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": kind, **more}}


def block_delta(kind: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **more}}


class TestReading:
    @BOTH
    def test_what_routing_needs(self, wire: Any) -> None:
        assert wire.read(body()) == Envelope("m", stream=False, after_tool_result=False)
        assert wire.read(body(stream=True)).stream
        assert not wire.read(body(stream=None)).stream
        assert wire.read(body(unknown={"deep": [1, None]}, messages=[])).model == "m"

    def test_the_last_word_of_a_tool(self) -> None:
        result = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "tool_result", "content": "b"}]}]
        assert ANTHROPIC.read(body(messages=result)).after_tool_result
        assert CHAT.read(body(messages=[{"role": "tool", "content": "b"}])).after_tool_result
        assert not CHAT.read(body(messages=[{"role": "tool"}, {"role": "user"}])).after_tool_result

    @BOTH
    @pytest.mark.parametrize(
        ("said", "field"),
        [
            (b"", None),
            (b"{", None),
            (b"[]", None),
            (b"\xff", None),
            (b'{"messages":[]}', "model"),
            (b'{"model":7,"messages":[]}', "model"),
            (b'{"model":"m"}', "messages"),
            (b'{"model":"m","messages":{}}', "messages"),
            (b'{"model":"m","messages":[],"stream":"yes"}', "stream"),
            (b'{"model":"m","messages":[' + b"[" * 5000 + b"]" * 5000 + b"]}", None),
        ],
    )
    def test_what_cannot_be_routed_is_refused_by_name(self, wire: Any, said: bytes, field: str | None) -> None:
        with pytest.raises(BadRequestError) as refused:
            wire.read(said)
        assert refused.value.field == field

    @BOTH
    @given(st.binary(max_size=60))
    def test_garbage_is_refused_and_never_raises_anything_else(self, wire: Any, garbage: bytes) -> None:
        with pytest.raises(BadRequestError):
            wire.read(garbage)
        assert wire.judge(garbage).broken


class TestJudging:
    @pytest.mark.parametrize(
        ("content", "says_something"),
        [
            ([], False),
            ([{"type": "text", "text": ""}], False),
            ([{"type": "text", "text": "a"}], True),
            ([{"type": "thinking", "thinking": "hm", "signature": "s"}], True),
            ([{"type": "redacted_thinking", "data": "x"}], True),
            ([{"type": "tool_use", "id": "1", "name": "f", "input": {}}], True),
        ],
    )
    def test_anthropic(self, content: list[Any], says_something: bool) -> None:
        answer = ANTHROPIC.judge(
            json.dumps({"type": "message", "content": content, "stop_reason": "end_turn"}).encode()
        )
        assert (answer.content, answer.ending) == (says_something, Ending.ORDINARY)

    @pytest.mark.parametrize(
        ("message", "says_something"),
        [
            ({"content": ""}, False),
            ({"content": None}, False),
            ({"content": "a"}, True),
            ({"content": None, "refusal": "no"}, True),
            ({"content": None, "tool_calls": [{"id": "1"}]}, True),
            ({"content": "", "reasoning_content": "hm"}, True),
            ({"content": "", "tool_calls": []}, False),
        ],
    )
    def test_chat(self, message: dict[str, Any], says_something: bool) -> None:
        answer = CHAT.judge(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())
        assert (answer.content, answer.ending) == (says_something, Ending.ORDINARY)

    @pytest.mark.parametrize("reason", ["max_tokens", "pause_turn", "refusal"])
    def test_an_answer_that_was_cut_short_may_be_empty(self, reason: str) -> None:
        said = json.dumps({"type": "message", "content": [], "stop_reason": reason}).encode()
        assert ANTHROPIC.judge(said).ending is Ending.CUT_SHORT

    @BOTH
    def test_an_error_with_status_200(self, wire: Any) -> None:
        said = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
        assert wire.judge(said).error["error"]["type"] == "overloaded_error"

    @BOTH
    @pytest.mark.parametrize("said", [b"", b"<html>", b'{"choices": [', b"{}", b"null", b'"text"'])
    def test_what_is_no_answer(self, wire: Any, said: bytes) -> None:
        assert wire.judge(said).broken

    @BOTH
    @pytest.mark.parametrize(
        "said",
        [
            b'{"choices":[{"finish_reason":["x"],"message":{"content":"x"}}]}',
            b'{"type":"message","content":[],"stop_reason":{}}',
            b'{"error":{"type":"overloaded_error","message":"x"},"z":"\xff"}',
            b'{"type":"error","error":{"type":"x","n":' + b"9" * 5000 + b"}}",
            b'{"type":"message","content":[{"type":["text"]}],"stop_reason":"end_turn"}',
        ],
    )
    def test_an_answer_that_is_nearly_right_is_broken_and_not_our_fault(self, wire: Any, said: bytes) -> None:
        wire.judge(said)
        watch = wire.watch()
        watch.feed(b"data: " + said + b"\n\n")
        watch.end()


class TestWatching:
    @pytest.mark.parametrize(
        ("first", "says_something"),
        [
            (("message_start", {"type": "message_start", "message": {}}), False),
            (("ping", {"type": "ping"}), False),
            (block("text", text=""), False),
            (block("thinking", thinking=""), False),
            (block("tool_use", name="f"), True),
            (block("redacted_thinking", data="x"), True),
            (block_delta("text_delta", text=""), False),
            (block_delta("text_delta", text="a"), True),
            (block_delta("thinking_delta", thinking="hm"), True),
            (block_delta("signature_delta", signature="s"), False),
            (block_delta("input_json_delta", partial_json="{"), True),
        ],
    )
    def test_anthropic_s_first_content(self, first: tuple[str, dict[str, Any]], says_something: bool) -> None:
        watch = ANTHROPIC.watch()
        said = events(first)
        assert watch.feed(said) == said
        assert watch.content is says_something

    @pytest.mark.parametrize(
        ("first", "says_something"),
        [
            (delta(role="assistant", content=""), False),
            (delta(role="assistant", content=None, refusal=None), False),
            (delta(content="a"), True),
            (delta(tool_calls=[{"index": 0}]), True),
            (delta(tool_calls=[]), False),
            (delta(reasoning_content="hm"), True),
            ({"choices": [], "usage": {"total_tokens": 1}}, False),
            ({"choices": None, "usage": {"total_tokens": 1}}, False),
        ],
    )
    def test_chat_s_first_content(self, first: dict[str, Any], says_something: bool) -> None:
        watch = CHAT.watch()
        watch.feed(events(first))
        assert watch.content is says_something

    def test_the_end_of_a_message(self) -> None:
        watch = ANTHROPIC.watch()
        watch.feed(events(("message_delta", {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}})))
        assert (watch.finished, watch.terminated, watch.ending) == (True, False, Ending.CUT_SHORT)
        watch.feed(events(("message_stop", {"type": "message_stop"})))
        assert watch.terminated

    def test_the_end_of_a_chat(self) -> None:
        watch = CHAT.watch()
        watch.feed(events({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}))
        assert (watch.finished, watch.terminated, watch.ending) == (True, False, Ending.CUT_SHORT)
        watch.feed(events("[DONE]"))
        assert watch.terminated

    def test_a_chat_with_two_choices_is_finished_when_both_are(self) -> None:
        watch = CHAT.watch()
        for index in (0, 1):
            watch.feed(events({"choices": [{"index": index, "delta": {"content": "a"}, "finish_reason": None}]}))
        watch.feed(events({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        assert not watch.finished
        watch.feed(events({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}))
        assert watch.finished

    @BOTH
    def test_nothing_from_an_error_on_is_let_through(self, wire: Any) -> None:
        watch = wire.watch()
        good = events(delta(content="a")) if wire is CHAT else events(block_delta("text_delta", text="a"))
        bad = events(("error", {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}))
        assert watch.feed(good + bad + good) == good
        assert watch.fault().error["error"]["type"] == "overloaded_error"

    @BOTH
    def test_text_that_looks_like_an_end_or_an_error_is_text(self, wire: Any) -> None:
        text = 'data: [DONE] {"type":"error","error":{}} "finish_reason":"stop" event: error'
        watch = wire.watch()
        said = events(delta(content=text)) if wire is CHAT else events(block_delta("text_delta", text=text))
        assert watch.feed(said) == said
        assert (watch.fault(), watch.finished, watch.terminated) == (None, False, False)

    @BOTH
    @given(st.data())
    def test_where_a_stream_is_cut_makes_no_difference(self, wire: Any, data: st.DataObject) -> None:
        whole = (
            events(delta(role="assistant", content=""), delta(content="é"), "[DONE]")
            if wire is CHAT
            else events(
                block("text", text=""), block_delta("text_delta", text="é"), ("message_stop", {"type": "message_stop"})
            )
        )
        marks = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        watch = wire.watch()
        pieces = [watch.feed(whole[a:b]) for a, b in zip([0, *marks], [*marks, len(whole)], strict=True)]
        assert b"".join(pieces) == whole
        assert (watch.content, watch.terminated) == (True, True)


class TestTelling:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error"),
            (403, "permission_error"), (404, "not_found_error"), (413, "request_too_large"), (429, "rate_limit_error"),
            (500, "api_error"), (503, "overloaded_error"), (418, "invalid_request_error"),
        ],
    )  # fmt: skip
    def test_anthropic_s_shape(self, status: int, kind: str) -> None:
        said = json.loads(ANTHROPIC.error(Refusal(status, "invalid_request", "why"), "req_1"))
        assert said == {"type": "error", "error": {"type": kind, "message": "why"}, "request_id": "req_1"}

    def test_chat_s_shape(self) -> None:
        said = json.loads(CHAT.error(Refusal(404, "not_found", "why", "model"), "req_1"))
        error = {"message": "why", "type": "invalid_request_error", "code": "model_not_found", "param": "model"}
        assert said == {"error": error}

    @BOTH
    def test_an_error_event_is_read_as_one(self, wire: Any) -> None:
        watch = wire.watch()
        assert watch.feed(wire.stream_error(Refusal(503, "x", "why"), "req_1")) == b""
        assert watch.fault().error["error"]["message"] == "why"

    @BOTH
    def test_a_keepalive_is_no_event_of_the_answer(self, wire: Any) -> None:
        watch = wire.watch()
        assert watch.feed(wire.keepalive) == wire.keepalive
        assert (watch.events, watch.content, watch.fault()) == (0, False, None)

    @BOTH
    def test_the_terminator_ends_a_stream(self, wire: Any) -> None:
        watch = wire.watch()
        assert watch.feed(wire.terminator) == wire.terminator
        assert watch.terminated
