"""Answers and streams on the Chat Completions wire, as its many backends tell them and as clients want them."""

import json
from typing import Any

import pytest

from recloser.gateway import sse
from recloser.gateway.canonical import (
    Answer,
    Began,
    Ended,
    Event,
    Grew,
    PartBegan,
    PartEnded,
    Refusal,
    Request,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.telling import gathered

CODEC = ChatCodec()
THOUGHT = Thinking(issuer="openai-chat")


def read(*chunks: dict[str, Any] | str) -> list[Event]:
    reader = CODEC.reader()
    data = [chunk.encode() if isinstance(chunk, str) else json.dumps(chunk).encode() for chunk in chunks]
    return [*(event for one in data for event in reader.read(b"", one)), *reader.end()]


def said(_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": _reason}
    return {"id": "chatcmpl-1", "model": "m", "created": 7, "choices": [choice]}


def call(arguments: Any = "", /, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": fields.pop("name")} if "name" in fields else {})
    return said(tool_calls=[{**fields, "function": function}])


def calls(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(part.id, part.name, part.input) for part in gathered(events).parts if isinstance(part, ToolUse)]


def write(*events: Event, usage: bool = False) -> list[Any]:
    writer = CODEC.writer(Request(model="m", turns=(), stream=True, stream_usage=usage))
    stream = b"".join(writer.write(event) for event in events)
    return [data.decode() if data == b"[DONE]" else json.loads(data) for _, data, _ in sse.parse(stream)]


BEGAN = Began(id="chatcmpl-1", model="m", created=7)


class TestReadingStreams:
    def test_thoughts_words_and_a_call(self) -> None:
        events = read(
            {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
            said(role="assistant", content="", tool_calls=None),
            said(reasoning_content="h"),
            said(reasoning_content="m", content=None),
            said(content="Let me "),
            said(content="look.", tool_calls=[]),
            call(index=0, id="c1", type="function", name="look"),
            call('{"at":', index=0),
            call('"sky"}', index=0),
            said("tool_calls"),
            {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}},
            "[DONE]",
        )
        assert events == [
            BEGAN,
            PartBegan(index=0, part=THOUGHT),
            Grew(index=0, text="h"),
            Grew(index=0, text="m"),
            PartEnded(index=0),
            PartBegan(index=1, part=Text(text="")),
            Grew(index=1, text="Let me "),
            Grew(index=1, text="look."),
            PartEnded(index=1),
            PartBegan(index=2, part=ToolUse(id="c1", name="look")),
            Grew(index=2, text='{"at":'),
            Grew(index=2, text='"sky"}'),
            PartEnded(index=2),
            Ended(stop=Stop.TOOL_USE, usage=Usage(input=10, output=5)),
        ]

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    def test_thoughts_have_two_names(self, field: str) -> None:
        assert read(said(**{field: "hm"}))[1:3] == [PartBegan(index=0, part=THOUGHT), Grew(index=0, text="hm")]

    def test_thoughts_told_under_both_names_are_told_once(self) -> None:
        assert gathered(read(said(reasoning="hm", reasoning_content="hm"))).parts == (
            Thinking(text="hm", issuer="openai-chat"),
        )

    def test_thoughts_may_stand_in_the_content(self) -> None:
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "x"}]}
        events = read(said(content=[thought]), said(content=[{"type": "thinking", "thinking": "m"}]), said(content="a"))
        assert gathered(events).parts == (Thinking(text="hm", issuer="openai-chat"), Text(text="a"))

    def test_the_name_comes_later_and_the_id_last(self) -> None:
        """Then nobody can wait for the id: there is one from here on."""
        named = read(call(index=0, id="c1"), call(index=0, name="look"), call("{}", index=0))
        assert calls(named) == [("c1", "look", "{}")]
        late = read(call("{", index=0), call("}", index=0, name="look"), call(index=0, id="c1"))
        assert calls(late) == [("call_1_0", "look", "{}")]

    def test_a_name_in_pieces_or_told_again(self) -> None:
        pieces = read(call(index=0, id="c1", name="look"), call(index=0, name="_up"), call("{}", index=0))
        again = read(*(call(piece, index=0, id="c1", name="look") for piece in ("", '{"a"', ":1}")))
        assert calls(pieces) == [("c1", "look_up", "{}")]
        assert calls(again) == [("c1", "look", '{"a":1}')]

    def test_arguments_in_one_piece_or_as_an_object(self) -> None:
        assert calls(read(call('{"a":1}', index=0, id="c1", name="look"))) == [("c1", "look", '{"a":1}')]
        assert calls(read(call({"a": 1}, index=0, id="c1", name="look"))) == [("c1", "look", '{"a":1}')]

    def test_a_call_without_arguments(self) -> None:
        events = read(call(index=0, id="c1", name="look"), said("tool_calls"))
        assert events[1:3] == [PartBegan(index=0, part=ToolUse(id="c1", name="look")), PartEnded(index=0)]

    def test_interleaved_calls_stay_apart(self) -> None:
        events = read(
            call(index=0, id="c1", name="look"),
            call(index=1, id="c2", name="hear"),
            call('{"a":', index=1),
            call('{"b":', index=0),
            call("1}", index=1),
            call("2}", index=0),
        )
        assert calls(events) == [("c1", "look", '{"b":2}'), ("c2", "hear", '{"a":1}')]

    def test_a_call_that_is_whole_ends_where_the_next_begins(self) -> None:
        """So that a client whose blocks follow one another gets it without waiting for the end."""
        events = read(call("{}", index=0, id="c1", name="look"), call("{", index=1, id="c2", name="hear"))
        assert events[1:6] == [
            PartBegan(index=0, part=ToolUse(id="c1", name="look")),
            Grew(index=0, text="{}"),
            PartEnded(index=0),
            PartBegan(index=1, part=ToolUse(id="c2", name="hear")),
            Grew(index=1, text="{"),
        ]
        with pytest.raises(ValueError, match="whole"):
            read(call("{}", index=0, name="a"), call("{}", index=1, name="b"), call("x", index=0))
        assert len(calls(read(call("{}", index=0, name="a"), call("{}", index=1, name="b"), call("\n", index=0)))) == 2

    @pytest.mark.parametrize("index", [{"index": 0}, {}])
    def test_calls_that_all_have_the_same_number_or_none(self, index: dict[str, int]) -> None:
        events = read(
            call('{"a":1}', id="c1", name="look", **index),
            call('{"a":', id="c2", name="look", **index),
            call("2}", **index),
        )
        assert calls(events) == [("c1", "look", '{"a":1}'), ("c2", "look", '{"a":2}')]

    def test_calls_with_neither_number_nor_id(self) -> None:
        events = read(call('{"a":1}', name="look"), call('{"a":2}', name="look"))
        assert calls(events) == [("call_1_0", "look", '{"a":1}'), ("call_1_1", "look", '{"a":2}')]

    def test_a_call_is_known_by_its_id(self) -> None:
        events = read(
            call("{", id="c1", name="look"), call("{", id="c2", name="hear"), call("}", id="c1"), call("}", id="c2")
        )
        assert calls(events) == [("c1", "look", "{}"), ("c2", "hear", "{}")]

    def test_the_oldest_form_of_a_call(self) -> None:
        events = read(
            said(function_call={"name": "look", "arguments": "{"}),
            said("function_call", function_call={"arguments": "}"}),
        )
        assert calls(events) == [("call_1_0", "look", "{}")]
        assert events[-1] == Ended(stop=Stop.TOOL_USE)

    def test_words_after_a_call_are_a_part_of_their_own(self) -> None:
        events = read(said(content="a"), call("{}", index=0, id="c1", name="look"), said(content="b"))
        assert gathered(events).parts == (Text(text="a"), ToolUse(id="c1", name="look"), Text(text="b"))

    def test_a_call_without_a_name_is_none(self) -> None:
        with pytest.raises(ValueError, match="without a name"):
            read(call("{}", index=0, id="c1"), said("tool_calls"))
        assert calls(read(call(index=0, id="c1"), said("stop"))) == []

    def test_no_answer_has_a_thousand_calls_or_names_without_end(self) -> None:
        """What only a broken backend says must cost no more than other answers."""
        with pytest.raises(ValueError, match="more than 1000 tool calls"):
            read(*(call("{", index=number, name="look") for number in range(1001)))
        with pytest.raises(ValueError, match="name"):
            read(*(call(index=0, name=f"look{number}") for number in range(100)))

    def test_the_first_choice_is_the_answer(self) -> None:
        second = {"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}
        events = read({**said(content="a"), "choices": [second, *said(content="a")["choices"]]}, {"choices": [second]})
        assert gathered(events).parts == (Text(text="a"),)

    def test_usage_in_every_chunk(self) -> None:
        events = read(
            {**said(content="a"), "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
            {**said("stop"), "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
            {**said(), "usage": None},
        )
        assert events[-1] == Ended(usage=Usage(input=3, output=2))

    @pytest.mark.parametrize(
        ("reason", "stop", "stop_after_a_call"),
        [
            ("stop", Stop.END, Stop.TOOL_USE),
            ("tool_calls", Stop.END, Stop.TOOL_USE),
            ("function_call", Stop.END, Stop.TOOL_USE),
            ("length", Stop.LENGTH, Stop.LENGTH),
            ("model_length", Stop.LENGTH, Stop.LENGTH),
            ("content_filter", Stop.FILTER, Stop.FILTER),
            ("eos", Stop.END, Stop.TOOL_USE),
            (7, Stop.END, Stop.TOOL_USE),
        ],
    )
    def test_why_it_ended(self, reason: Any, stop: Stop, stop_after_a_call: Stop) -> None:
        assert read(said(reason, content="a"))[-1] == Ended(stop=stop)
        assert read(call("{}", index=0, id="c", name="f"), said(reason))[-1] == Ended(stop=stop_after_a_call)

    @pytest.mark.parametrize(
        "data", ["", "{", "[]", '{"choices":7}', '{"choices":[{"delta":{"content":7}}]}', "[" * 9999]
    )
    def test_what_is_no_chunk(self, data: str) -> None:
        with pytest.raises(ValueError):
            read(data)


class TestWritingStreams:
    def test_a_stream(self) -> None:
        events = (
            Began(id="msg_1", model="m", created=7),
            PartBegan(index=0, part=Thinking(issuer="anthropic")),
            Grew(index=0, text="hm"),
            Grew(index=0, signature="sig"),
            PartEnded(index=0),
            PartBegan(index=1, part=Text(text="")),
            Grew(index=1, text="I look."),
            PartEnded(index=1),
            PartBegan(index=2, part=ToolUse(id="t1", name="look")),
            Grew(index=2, text='{"at":1}'),
            PartEnded(index=2),
            PartBegan(index=3, part=ToolUse(id="t2", name="hear")),
            PartEnded(index=3),
            Ended(stop=Stop.TOOL_USE, usage=Usage(input=10, output=5, cache_read=4, reasoning=2)),
        )
        sent = write(*events, usage=True)
        heads = [{name: chunk[name] for name in ("id", "object", "created", "model")} for chunk in sent[:-1]]
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
        assert heads == [head] * len(heads)
        assert [choice["delta"] for chunk in sent[:-1] for choice in chunk["choices"]] == [
            {"role": "assistant", "content": ""},
            {"reasoning_content": "hm"},
            {"content": "I look."},
            {
                "tool_calls": [
                    {"index": 0, "id": "t1", "type": "function", "function": {"name": "look", "arguments": ""}}
                ]
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"at":1}'}}]},
            {
                "tool_calls": [
                    {"index": 1, "id": "t2", "type": "function", "function": {"name": "hear", "arguments": ""}}
                ]
            },
            {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
            {},
        ]
        assert [choice["finish_reason"] for chunk in sent[:-1] for choice in chunk["choices"]][-2:] == [
            None,
            "tool_calls",
        ]
        assert sent[-2]["choices"] == []
        assert sent[-2]["usage"] == {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        assert sent[-1] == "[DONE]"
        assert all("usage" not in chunk for chunk in write(*events)[:-1])

    def test_usage_nobody_told_is_not_made_up(self) -> None:
        assert write(BEGAN, Ended(), usage=True)[1:] == [
            said("stop")
            | {
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}],
            },
            "[DONE]",
        ]

    def test_a_refusal(self) -> None:
        sent = write(BEGAN, PartBegan(index=0, part=Refusal(text="")), Grew(index=0, text="No."), PartEnded(index=0))
        assert sent[1]["choices"][0]["delta"] == {"refusal": "No."}

    def test_what_stood_apart_is_set_apart_streamed_or_not(self) -> None:
        parts: tuple[Text | Thinking, ...] = (
            Text(text="a"),
            Text(text="b"),
            Thinking(text="hm", issuer="anthropic"),
            Text(text=""),
            Text(text="c"),
        )
        body = json.loads(CODEC.write_answer(Answer(id="a", model="m", parts=parts)))
        events: list[Event] = [BEGAN]
        for index, part in enumerate(parts):
            events += [PartBegan(index=index, part=part), Grew(index=index, text=part.text), PartEnded(index=index)]
        sent = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in write(*events))
        assert sent == body["choices"][0]["message"]["content"] == "ab\n\nc"


class TestPlainAnswers:
    def test_reading(self) -> None:
        message = {
            "role": "assistant",
            "content": "I look.",
            "reasoning": "hm",
            "refusal": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "s'}},
                {"type": "function", "function": {"name": "hear", "arguments": ""}},
            ],
        }
        other = {"index": 1, "message": {"content": "b"}}
        body = {
            "id": "chatcmpl-1",
            "created": 7,
            "model": "m",
            "choices": [other, {"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}},
        }
        assert CODEC.read_answer(json.dumps(body).encode()) == Answer(
            id="chatcmpl-1",
            model="m",
            created=7,
            parts=(
                Thinking(text="hm", issuer="openai-chat"),
                Text(text="I look."),
                ToolUse(id="c1", name="look", input='{"at": "s'),
                ToolUse(id="call_1_1", name="hear"),
            ),
            stop=Stop.TOOL_USE,
            usage=Usage(input=9, output=4, cache_read=3),
        )

    def test_the_oldest_form_of_a_call(self) -> None:
        body = {"id": "1", "choices": [{"message": {"function_call": {"name": "look", "arguments": "{}"}}}]}
        assert CODEC.read_answer(json.dumps(body).encode()).parts == (ToolUse(id="call_1_0", name="look"),)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b'{"choices":[]}',
            b'{"choices":[{}]}',
            b'{"choices":[{"message":{"content":7}}]}',
            b'{"choices":[{"message":{"tool_calls":[{}]}}]}',
            b"[" * 9999,
        ],
    )
    def test_what_is_none(self, body: bytes) -> None:
        with pytest.raises(ValueError):
            CODEC.read_answer(body)

    @pytest.mark.parametrize(
        ("usage", "told"),
        [
            ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, Usage(input=9, cache_read=4)),
            ({"prompt_tokens": 9, "cached_tokens": 4}, Usage(input=9, cache_read=4)),
            (
                {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cache_write_tokens": 2}},
                Usage(input=9, output=5, cache_write=2),
            ),
            (
                {
                    "prompt_tokens": 9,
                    "completion_tokens": 5,
                    "total_tokens": 34,
                    "completion_tokens_details": {"reasoning_tokens": 20},
                },
                Usage(input=9, output=25, reasoning=20),
            ),
            ({"prompt_tokens": -1, "completion_tokens": "5", "prompt_tokens_details": []}, Usage()),
            ([], Usage()),
        ],
    )
    def test_usage_has_many_names(self, usage: Any, told: Usage) -> None:
        body = {"choices": [{"message": {"content": "a"}}], "usage": usage}
        assert CODEC.read_answer(json.dumps(body).encode()).usage == told

    def test_broken_arguments_are_passed_on(self) -> None:
        """They are a string here, and the client decides what to make of it."""
        call = ToolUse(id="t", name="look", input='{"at": "s')
        body = json.loads(CODEC.write_answer(Answer(id="a", model="m", parts=(call,))))
        assert body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"at": "s'

    @pytest.mark.parametrize(
        ("stop", "reason"),
        [
            (Stop.SEQUENCE, "stop"),
            (Stop.PAUSE, "length"),
            (Stop.CONTEXT, "length"),
            (Stop.REFUSAL, "content_filter"),
            (Stop.FILTER, "content_filter"),
        ],
    )
    def test_why_it_ended(self, stop: Stop, reason: str) -> None:
        body = json.loads(CODEC.write_answer(Answer(id="a", model="m", parts=(), stop=stop)))
        assert body["choices"][0]["finish_reason"] == reason
