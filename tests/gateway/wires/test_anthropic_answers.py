"""Answers and streams on the Messages wire, as providers tell them and as clients want them."""

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
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.phrasing import UNPARSED

CODEC = AnthropicCodec()


def read(*events: dict[str, Any]) -> list[Event]:
    reader = CODEC.reader()
    said = [event for data in events for event in reader.read(b"", json.dumps(data).encode())]
    return [*said, *reader.end()]


def write(*events: Event) -> list[dict[str, Any]]:
    """What a client gets, with the names of the events checked against what they are."""
    writer = CODEC.writer(None)  # type: ignore[arg-type]
    sent = []
    for name, data, _ in sse.parse(b"".join(writer.write(event) for event in events)):
        sent.append(json.loads(data))
        assert sent[-1]["type"] == name.decode()
    return sent


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **grown: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": grown}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


BEGIN = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude",
        "content": [],
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 1},
    },
}
END: list[dict[str, Any]] = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
]
BEGAN = Began(id="msg_1", model="claude", usage=Usage(input=95, output=1, cache_read=90))
ENDED = Ended(stop=Stop.END, usage=Usage(input=95, output=7, cache_read=90))


class TestReadingStreams:
    def test_thoughts_words_and_a_call(self) -> None:
        events = read(
            BEGIN,
            {"type": "ping"},
            start(0, type="thinking", thinking="", signature=""),
            delta(0, type="thinking_delta", thinking="hm"),
            delta(0, type="signature_delta", signature="sig"),
            stop(0),
            start(1, type="text", text=""),
            delta(1, type="text_delta", text="Let me "),
            delta(1, type="citations_delta", citation={}),
            delta(1, type="text_delta", text="look."),
            stop(1),
            start(2, type="tool_use", id="t1", name="look", input={}),
            delta(2, type="input_json_delta", partial_json=""),
            delta(2, type="input_json_delta", partial_json='{"at":'),
            delta(2, type="input_json_delta", partial_json='"sky"}'),
            stop(2),
            *END,
        )
        assert events == [
            BEGAN,
            PartBegan(index=0, part=Thinking(issuer="anthropic")),
            Grew(index=0, text="hm"),
            Grew(index=0, signature="sig"),
            PartEnded(index=0),
            PartBegan(index=1, part=Text(text="")),
            Grew(index=1, text="Let me "),
            Grew(index=1, text="look."),
            PartEnded(index=1),
            PartBegan(index=2, part=ToolUse(id="t1", name="look")),
            Grew(index=2, text='{"at":'),
            Grew(index=2, text='"sky"}'),
            PartEnded(index=2),
            Ended(stop=Stop.TOOL_USE, usage=ENDED.usage),  # it called, whatever it says
        ]

    def test_blocks_nobody_knows_are_skipped_and_the_rest_is_counted_anew(self) -> None:
        events = read(
            BEGIN,
            start(0, type="server_tool_use", id="s", name="web_search", input={}),
            delta(0, type="input_json_delta", partial_json='{"q":1}'),
            stop(0),
            start(1, type="web_search_tool_result", tool_use_id="s", content=[]),
            stop(1),
            start(2, type="text", text="a"),
            stop(2),
            *END,
        )
        assert events == [
            BEGAN,
            PartBegan(index=0, part=Text(text="")),
            Grew(index=0, text="a"),
            PartEnded(index=0),
            ENDED,
        ]

    def test_what_only_its_provider_can_read_comes_whole(self) -> None:
        events = read(BEGIN, start(0, type="redacted_thinking", data="xyz"), stop(0), *END)
        assert events[1:-1] == [
            PartBegan(index=0, part=Thinking(redacted="xyz", issuer="anthropic")),
            PartEnded(index=0),
        ]

    @pytest.mark.parametrize("given", [{"at": "sky"}, '{"at":"sky"}'])
    def test_an_input_that_comes_with_the_beginning(self, given: Any) -> None:
        """Some backends put it there, some as a string, and some tell it again."""
        begun = start(0, type="tool_use", id="t", name="look", input=given)
        again = delta(0, type="input_json_delta", partial_json='{"at":"sky"}')
        for events in (read(BEGIN, begun, stop(0), *END), read(BEGIN, begun, again, stop(0), *END)):
            assert events[2:-1] == [Grew(index=0, text='{"at":"sky"}'), PartEnded(index=0)]

    def test_what_was_never_begun_or_ended(self) -> None:
        """A stream that is whole is told whole."""
        events = read(delta(0, type="text_delta", text="a"), start(1, type="thinking"), start(1, type="text"), END[0])
        assert events == [
            Began(id="", model=""),
            PartBegan(index=0, part=Text(text="")),
            Grew(index=0, text="a"),
            PartBegan(index=1, part=Thinking(issuer="anthropic")),
            PartEnded(index=1),
            PartBegan(index=2, part=Text(text="")),
            PartEnded(index=0),
            PartEnded(index=2),
            Ended(usage=Usage(output=7)),
        ]

    def test_nobody_calls_a_tool_without_a_name(self) -> None:
        with pytest.raises(ValueError, match="never began"):
            read(BEGIN, delta(0, type="input_json_delta", partial_json="{"))

    @pytest.mark.parametrize(
        ("reason", "told"),
        [
            ("end_turn", Stop.END),
            ("max_tokens", Stop.LENGTH),
            ("stop_sequence", Stop.SEQUENCE),
            ("tool_use", Stop.TOOL_USE),
            ("pause_turn", Stop.PAUSE),
            ("refusal", Stop.REFUSAL),
            ("model_context_window_exceeded", Stop.CONTEXT),
            ("a_new_one", Stop.END),
            (None, Stop.END),
            (7, Stop.END),
        ],
    )
    def test_why_it_ended(self, reason: Any, told: Stop) -> None:
        ending = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": "X"}}
        ended = read(BEGIN, ending)[-1]
        assert isinstance(ended, Ended)
        assert ended.stop is told

    def test_the_last_counts_are_the_right_ones(self) -> None:
        usage = {
            "input_tokens": 6,
            "cache_creation_input_tokens": 4,
            "output_tokens": 9,
            "cache_read_input_tokens": None,
        }
        details = {"output_tokens_details": {"thinking_tokens": 3}}
        ended = read(BEGIN, {"type": "message_delta", "delta": {}, "usage": usage | details})[-1]
        assert isinstance(ended, Ended)
        assert ended.usage == Usage(input=100, output=9, cache_read=90, cache_write=4, reasoning=3)


class TestWritingStreams:
    def test_a_stream(self) -> None:
        sent = write(
            Began(id="chatcmpl-1", model="m"),
            PartBegan(index=0, part=Thinking(issuer="anthropic")),
            Grew(index=0, text="hm"),
            Grew(index=0, signature="si"),
            Grew(index=0, signature="g"),
            PartEnded(index=0),
            PartBegan(index=1, part=ToolUse(id="c:1", name="look")),
            Grew(index=1, text="{}"),
            PartEnded(index=1),
            Ended(stop=Stop.TOOL_USE, usage=Usage(input=10, output=5, cache_read=4)),
        )
        assert sent == [
            {
                "type": "message_start",
                "message": {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "model": "m",
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {"input_tokens": 0, "output_tokens": 0},
                },
            },
            start(0, type="thinking", thinking="", signature=""),
            delta(0, type="thinking_delta", thinking="hm"),
            delta(0, type="signature_delta", signature="sig"),
            stop(0),
            start(1, type="tool_use", id="c_1", name="look", input={}),
            delta(1, type="input_json_delta", partial_json="{}"),
            stop(1),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": None},
                "usage": {"input_tokens": 6, "output_tokens": 5, "cache_read_input_tokens": 4},
            },
            {"type": "message_stop"},
        ]

    def test_what_comes_for_a_later_part_waits(self) -> None:
        sent = write(
            BEGAN,
            PartBegan(index=0, part=Text(text="")),
            PartBegan(index=1, part=ToolUse(id="c1", name="look")),
            Grew(index=1, text="{"),
            Grew(index=0, text="I "),
            PartBegan(index=2, part=ToolUse(id="c2", name="hear")),
            PartEnded(index=2),
            Grew(index=1, text="}"),
            Grew(index=0, text="look."),
            PartEnded(index=0),
            PartEnded(index=1),
            ENDED,
        )
        assert sent[1:-2] == [
            start(0, type="text", text=""),
            delta(0, type="text_delta", text="I "),
            delta(0, type="text_delta", text="look."),
            stop(0),
            start(1, type="tool_use", id="c1", name="look", input={}),
            delta(1, type="input_json_delta", partial_json="{}"),
            stop(1),
            start(2, type="tool_use", id="c2", name="hear", input={}),
            stop(2),
        ]

    def test_no_block_is_left_open(self) -> None:
        sent = write(BEGAN, PartBegan(index=0, part=Text(text="")), PartBegan(index=1, part=Text(text="")), ENDED)
        assert [event["type"] for event in sent[1:-2]] == ["content_block_start", "content_block_stop"] * 2

    def test_the_open_part_is_not_held_back(self) -> None:
        writer = CODEC.writer(None)  # type: ignore[arg-type]
        assert writer.write(BEGAN)
        assert writer.write(PartBegan(index=0, part=Text(text="")))
        assert b'"text":"a"' in writer.write(Grew(index=0, text="a"))

    def test_a_foreign_thought_says_whose_it_is(self) -> None:
        """So that it is of use to its provider again, and nobody else takes it for its own."""
        sent = write(BEGAN, PartBegan(index=0, part=Thinking(issuer="openai-chat")), PartEnded(index=0), ENDED)
        assert sent[2] == delta(0, type="signature_delta", signature="recloser.openai-chat.")

    def test_a_refusal_is_one(self) -> None:
        part = PartBegan(index=0, part=Refusal(text=""))
        sent = write(BEGAN, part, Grew(index=0, text="No."), PartEnded(index=0), ENDED)
        assert sent[2] == delta(0, type="text_delta", text="No.")
        assert sent[-2]["delta"]["stop_reason"] == "refusal"


class TestPlainAnswers:
    def test_reading(self) -> None:
        answer = CODEC.read_answer(
            json.dumps(
                {
                    "id": "msg_1",
                    "type": "message",
                    "model": "claude",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}},
                        {"type": "text", "text": "a", "citations": None},
                        {"type": "tool_use", "id": "t", "name": "look", "input": {"at": 1.0}},
                    ],
                    "stop_reason": "tool_use",
                    "usage": {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 3},
                }
            ).encode()
        )
        assert answer == Answer(
            id="msg_1",
            model="claude",
            parts=(
                Thinking(text="hm", signature="s", issuer="anthropic"),
                Text(text="a"),
                ToolUse(id="t", name="look", input='{"at":1.0}'),
            ),
            stop=Stop.TOOL_USE,
            usage=Usage(input=4, output=2, cache_write=3),
        )

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"content":"a"}', b'{"content":[{}]}', b"[" * 9999])
    def test_what_is_none(self, body: bytes) -> None:
        with pytest.raises(ValueError):
            CODEC.read_answer(body)

    def test_broken_arguments_keep_their_text(self) -> None:
        """The field is an object: the tool will say what it misses, and the model sees what it wrote."""
        call = ToolUse(id="t", name="look", input='{"at": "s')
        body = json.loads(CODEC.write_answer(Answer(id="a", model="m", parts=(call,))))
        assert body["content"][0]["input"] == {UNPARSED: '{"at": "s'}

    def test_an_answer_without_an_id_gets_one_of_its_own(self) -> None:
        ids = {json.loads(CODEC.write_answer(Answer(id="", model="m", parts=())))["id"] for _ in range(3)}
        assert len(ids) == 3
        assert all(one.startswith("msg_") for one in ids)

    @pytest.mark.parametrize(
        ("stop", "reason"),
        [(Stop.FILTER, "refusal"), (Stop.LENGTH, "max_tokens"), (Stop.CONTEXT, "model_context_window_exceeded")],
    )
    def test_why_it_ended(self, stop: Stop, reason: str) -> None:
        body = json.loads(CODEC.write_answer(Answer(id="a", model="m", parts=(), stop=stop)))
        assert body["stop_reason"] == reason
