"""A client of one wire is served by targets of others: the life of such a request, told as conversations."""

import json
from base64 import b64encode
from itertools import permutations
from typing import Any

import msgspec
import pytest
from tests.gateway.conversation import JSON, SSE, Conversation

from recloser.gateway import sse
from recloser.gateway.asks import Begin, Finish, Send
from recloser.gateway.canonical import Answer, Event, Request, Stop, Text, Thinking, ToolResult, ToolUse, Usage
from recloser.gateway.wires import CODECS, WIRES
from recloser.gateway.wires.telling import gathered, told
from recloser.gateway.wires.wire import Refusal
from recloser.testing import ManualClock
from recloser.testing_wires import asked, assistant, user, with_tools

PAIRS = list(permutations(WIRES, 2))
LOOK = ToolUse(id="call_1", name="get_weather", input='{"city":"Oslo"}')
ANSWER = Answer(
    id="answer-1",
    model="served-1",
    parts=(Text(text="hello there"), LOOK),
    stop=Stop.TOOL_USE,
    usage=Usage(input=10, output=5),
)
OVERLOADED = {
    "anthropic": (529, b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}'),
    "openai-chat": (503, b'{"error":{"message":"busy"}}'),
    "openai-responses": (503, b'{"error":{"message":"busy"}}'),
    "gemini": (503, b'{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}'),
}


def body(wire: str, request: Request | None = None, *, stream: bool = False) -> bytes:
    """What a client of this wire sends."""
    own = msgspec.structs.replace(request or with_tools(), model="m", stream=stream, stream_usage=stream)
    return CODECS[wire].write_request(own).body


def talk(
    client: str,
    *others: str,
    request: Request | None = None,
    sent: bytes | None = None,
    stream: bool = False,
    clock: ManualClock | None = None,
) -> Conversation:
    """A client of one wire, and a route to targets `a/m`, `b/m` … of these."""
    names = "abcd"[: len(others)]
    return Conversation(
        sent or body(client, request, stream=stream),
        wire=client,
        targets=[f"{name}/m" for name in names],
        wires=dict(zip(names, others, strict=True)),
        address=("m", stream),
        clock=clock,
    )


def put(conversation: Conversation, wire: str) -> Request:
    """What the target was sent, read on its wire."""
    assert isinstance(conversation.ask, Send)
    return CODECS[wire].read_request(conversation.ask.body, "m")


def streamed(wire: str, answer: Answer = ANSWER) -> bytes:
    """The stream of a provider of this wire."""
    writer = CODECS[wire].writer(msgspec.structs.replace(asked(), stream_usage=True))
    return b"".join(writer.write(event) for event in told(answer))


def broken(wire: str) -> tuple[bytes, ...]:
    """A provider's stream up to the middle of its words."""
    writer = CODECS[wire].writer(msgspec.structs.replace(asked(), stream_usage=True))
    events: list[Event] = list(told(ANSWER))[:3]
    return tuple(writer.write(event) for event in events)


def heard(wire: str, received: bytes) -> Answer:
    """What a client of this wire makes of a whole stream."""
    reader = CODECS[wire].reader()
    events = [event for name, data, _ in sse.parse(received) if data for event in reader.read(name, data)]
    return gathered([*events, *reader.end()])


def said(answer: Answer) -> tuple[Any, ...]:
    """What of an answer every wire can carry."""
    parts = [
        (part.name, json.loads(part.input)) if isinstance(part, ToolUse) else getattr(part, "text", None)
        for part in answer.parts
    ]
    return parts, answer.stop, answer.usage.input, answer.usage.output


@pytest.mark.parametrize(("client", "target"), PAIRS)
class TestEveryPair:
    def test_a_plain_answer_comes_in_the_clients_words(self, client: str, target: str) -> None:
        conversation = talk(client, target)
        assert isinstance(conversation.ask, Send)
        assert conversation.ask.wire == target
        assert put(conversation, target).tools == with_tools().tools
        conversation.answers(200, {**JSON, "x-request-id": "up_1", "anthropic-ratelimit-x": "1"})
        conversation.says(CODECS[target].write_answer(ANSWER))
        reply = conversation.reply
        assert said(CODECS[client].read_answer(reply.body)) == said(ANSWER)
        assert CODECS[client].read_answer(reply.body).model == "served-1"
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-request-id"] == "up_1"
        assert "anthropic-ratelimit-x" not in reply.headers
        assert conversation.account.outcome == "ok"
        assert conversation.account.target_wire == target

    def test_a_stream_cut_anywhere_comes_in_the_clients_words(self, client: str, target: str) -> None:
        conversation = talk(client, target, stream=True).answers(200, SSE)
        data = streamed(target)
        for start in range(0, len(data), 7):
            if not conversation.over:
                conversation.says(data[start : start + 7])
        if not conversation.over:
            conversation.ends()
        assert isinstance(conversation.sent[0], Begin)
        assert isinstance(conversation.sent[-1], Finish)
        assert said(heard(client, conversation.received)) == said(ANSWER)
        watch = WIRES[client].watch()
        assert watch.feed(conversation.received) == conversation.received
        assert watch.finished
        assert watch.fault() is None

    def test_a_failure_before_content_is_invisible_and_the_clients_own_wire_answers(
        self, client: str, target: str
    ) -> None:
        status, error = OVERLOADED[target]
        conversation = talk(client, target, client, stream=True).fails(status, error)
        assert conversation.asked == ["a/m", "b/m"]
        data = streamed(client)
        conversation.answers(200, SSE).says(data)
        if not conversation.over:
            conversation.ends()
        assert conversation.received == data  # bytes pass where both speak one wire

    def test_a_stream_that_breaks_after_content_ends_in_the_clients_own_error(self, client: str, target: str) -> None:
        conversation = talk(client, target, stream=True).answers(200, SSE)
        for piece in broken(target):
            conversation.says(piece)
        conversation.breaks()
        watch = WIRES[client].watch()
        watch.feed(conversation.received)
        assert not watch.finished
        assert watch.fault() is not None
        assert isinstance(conversation.sent[-1], Finish)
        assert conversation.failures == [("interrupted", "model/a/m")]

    def test_a_targets_refusal_is_told_in_the_clients_own_shape(self, client: str, target: str) -> None:
        conversation = talk(client, target).fails(
            422, b'{"error":{"type":"invalid_request_error","message":"no such knob","status":"INVALID_ARGUMENT"}}'
        )
        assert conversation.reply.status == 422
        refusal = Refusal(422, "invalid_request", "no such knob")
        assert conversation.reply.body == WIRES[client].error(refusal, "req_1")
        assert conversation.reply.headers["x-recloser-target"] == "a/m"


def test_what_could_not_be_carried_is_told_in_a_header_and_in_the_event() -> None:
    given = json.loads(body("anthropic"))
    given["top_k"] = 5
    given["tools"].append({"type": "web_search_20250305", "name": "web_search"})
    conversation = talk("anthropic", "openai-chat", sent=json.dumps(given).encode())
    conversation.answers(200, JSON).says(CODECS["openai-chat"].write_answer(ANSWER))
    dropped = conversation.reply.headers["x-recloser-dropped"].split(", ")
    assert {"top_k", "tools.web_search"} <= set(dropped)
    assert set(conversation.account.dropped) == set(dropped)


def test_what_was_dropped_is_told_within_bounds_and_on_one_line() -> None:
    given = json.loads(body("anthropic"))
    given |= {f"odd\r\n,{number:03}" + "x" * 200: 1 for number in range(50)}
    conversation = talk("anthropic", "openai-chat", sent=json.dumps(given).encode())
    conversation.answers(200, JSON).says(CODECS["openai-chat"].write_answer(ANSWER))
    header = conversation.reply.headers["x-recloser-dropped"]
    assert header.isprintable()
    assert len(header) < 4000
    assert header.endswith(", +30")
    assert len(conversation.account.dropped) == 20


def test_the_same_wire_drops_nothing() -> None:
    conversation = talk("anthropic", "anthropic")
    conversation.answers(200, JSON).says(CODECS["anthropic"].write_answer(ANSWER))
    assert "x-recloser-dropped" not in conversation.reply.headers
    assert conversation.account.dropped == ()


def test_an_answer_that_cannot_be_read_fails_over_while_nothing_was_sent() -> None:
    odd = b'{"content":[{"type":"tool_use","id":5,"name":[],"input":{}}],"stop_reason":"tool_use"}'
    assert WIRES["anthropic"].judge(odd).broken == ""
    conversation = talk("openai-chat", "anthropic", "openai-chat").answers(200, JSON).says(odd)
    assert conversation.failures == [("malformed", "model/a/m")]
    assert conversation.asked == ["a/m", "b/m"]


def test_a_stream_that_cannot_be_read_fails_over_before_content_and_breaks_after_it() -> None:
    odd = sse.event(
        b'{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}',
        b"content_block_delta",
    )
    before = talk("openai-chat", "anthropic", "openai-chat", stream=True).answers(200, SSE).says(odd)
    assert before.failures == [("malformed", "model/a/m")]
    assert before.asked == ["a/m", "b/m"]
    after = talk("openai-chat", "anthropic", "openai-chat", stream=True).answers(200, SSE)
    for piece in broken("anthropic"):
        after.says(piece)
    after.says(odd.replace(b'"index":0', b'"index":7'))
    assert after.asked == ["a/m"]
    assert after.failures == [("malformed", "model/a/m")]
    assert isinstance(after.sent[-1], Finish)
    assert b'"error"' in after.received


def test_a_request_that_cannot_be_translated_passes_the_target_over() -> None:
    stored = json.dumps({"model": "m", "input": "go on", "previous_response_id": "resp_1"}).encode()
    conversation = talk("openai-responses", "anthropic", "openai-responses", sent=stored)
    assert conversation.asked == ["b/m"]
    conversation.answers(200, JSON).says(CODECS["openai-responses"].write_answer(ANSWER))
    assert conversation.reply.headers["x-recloser-attempts"] == "1"


def test_a_request_that_no_target_can_be_told_is_a_400_that_names_the_field() -> None:
    given = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [{"text": "no type"}]}]}
    conversation = talk("anthropic", "openai-chat", "gemini", sent=json.dumps(given).encode())
    assert conversation.asked == []
    assert conversation.reply.status == 400
    assert "messages[0].content[0].type" in json.loads(conversation.reply.body)["error"]["message"]
    assert conversation.reply.headers["x-recloser-attempts"] == "0"
    responses = talk("openai-responses", "anthropic", sent=b'{"model":"m","input":[{"role":"user","content":[{}]}]}')
    assert json.loads(responses.reply.body)["error"]["param"] == "input[0].content[0].type"


@pytest.mark.parametrize("client", ["gemini", "openai-chat"])
@pytest.mark.parametrize("model", ["../../v1/projects", "tuned/../m", "."])
def test_a_models_name_does_not_lead_elsewhere_at_a_provider(client: str, model: str) -> None:
    sent = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "contents": []}).encode()
    conversation = Conversation(sent, wire=client, targets=["a/{model}"], wires={"a": "gemini"}, address=(model, False))
    assert conversation.asked == []
    assert conversation.reply.status == 400


def test_a_request_is_read_once_for_all_its_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[bytes] = []
    codec = type(CODECS["anthropic"])
    read = codec.read_request

    def counted(self: Any, given: bytes, model: str = "", *, stream: bool = False) -> Request:
        readings.append(given)
        return read(self, given, model, stream=stream)

    monkeypatch.setattr(codec, "read_request", counted)
    conversation = talk("anthropic", "openai-chat", "gemini", "openai-responses")
    conversation.fails(500).fails(500).answers(200, JSON)
    assert conversation.asked == ["a/m", "b/m", "c/m"]
    assert len(readings) == 1


def test_a_provider_that_names_neither_model_nor_time_is_helped() -> None:
    clock = ManualClock(start=1000.0)
    conversation = talk("openai-chat", "anthropic", clock=clock).answers(200, JSON)
    conversation.says(CODECS["anthropic"].write_answer(Answer(id="x", model="", parts=(Text(text="hi"),))))
    answer = json.loads(conversation.reply.body)
    assert answer["model"] == "m"
    assert answer["created"] == int(clock.time())


class TestThoughtsOfAnotherWire:
    """A conversation that was begun with a model of one wire goes on with one that speaks the client's own."""

    THOUGHT = Thinking(text="hm", signature="c2ln", issuer="gemini")

    def history(self, wire: str) -> bytes:
        """A client that gives back a thought as it was told it, and a call."""
        turns = CODECS[wire].write_answer(Answer(id="x", model="m", parts=(self.THOUGHT, LOOK), stop=Stop.TOOL_USE))
        given = json.loads(body(wire, asked(user(Text(text="hello")), assistant(Text(text="x")))))
        told_before = json.loads(turns)
        match wire:
            case "anthropic":
                given["messages"][1]["content"] = told_before["content"]
                given["metadata_of_ours"] = {"kept": True}
            case "openai-responses":
                given["input"][-1:] = told_before["output"]
        return json.dumps(given).encode()

    @pytest.mark.parametrize("wire", ["anthropic", "openai-responses"])
    def test_it_is_taken_out_and_nothing_else(self, wire: str) -> None:
        sent = self.history(wire)
        assert b"recloser.gemini" in sent
        conversation = talk(wire, wire, sent=sent)
        assert isinstance(conversation.ask, Send)
        assert b"recloser." not in conversation.ask.body
        assert b"get_weather" in conversation.ask.body
        if wire == "anthropic":
            assert json.loads(conversation.ask.body)["metadata_of_ours"] == {"kept": True}
        conversation.answers(200, JSON).says(CODECS[wire].write_answer(ANSWER))
        assert conversation.reply.headers["x-recloser-dropped"] == "messages.thinking"

    @pytest.mark.parametrize(
        ("own", "kept"),
        [
            ([], False),
            ([{"type": "thinking", "thinking": "mine", "signature": "own"}], True),
        ],
    )
    def test_a_turn_that_is_left_without_a_thought_goes_on_without_any(self, own: list[Any], kept: bool) -> None:
        given = json.loads(self.history("anthropic"))
        given["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        given["messages"][1]["content"][:0] = own
        given["messages"][2:] = [
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "12"}]}
        ]
        conversation = talk("anthropic", "anthropic", sent=json.dumps(given).encode())
        assert isinstance(conversation.ask, Send)
        sent = json.loads(conversation.ask.body)
        assert ("thinking" in sent) is kept
        assert [block["type"] for block in sent["messages"][1]["content"]][-1] == "tool_use"

    @pytest.mark.parametrize("wire", ["anthropic", "openai-responses"])
    def test_the_model_that_thought_it_gets_it_back(self, wire: str) -> None:
        conversation = talk(wire, "gemini", sent=self.history(wire))
        assert isinstance(conversation.ask, Send)
        assert b"c2ln" in conversation.ask.body

    def test_on_gemini_a_call_keeps_its_place_with_the_word_that_stands_for_a_signature(self) -> None:
        sealed = b64encode(b"recloser.anthropic.sig").decode()
        call = {"functionCall": {"name": "get_weather", "args": {}}, "thoughtSignature": sealed}
        thought = {"text": "hm", "thought": True, "thoughtSignature": sealed}
        words = {"text": "well", "thoughtSignature": sealed}
        given = {"contents": [{"role": "model", "parts": [thought, words, call, {"thoughtSignature": sealed}]}]}
        conversation = talk("gemini", "gemini", sent=json.dumps(given).encode())
        assert isinstance(conversation.ask, Send)
        (content,) = json.loads(conversation.ask.body)["contents"]
        assert content["parts"] == [
            {"text": "well"},
            {"functionCall": call["functionCall"], "thoughtSignature": "skip_thought_signature_validator"},
        ]

    def test_a_body_without_any_passes_byte_by_byte(self) -> None:
        sent = b'{ "model":"m",  "messages":[{"role":"user","content":"what is \\"recloser.\\" for?"}], "odd": 1 }'
        conversation = talk("anthropic", "anthropic", sent=sent)
        assert isinstance(conversation.ask, Send)
        assert conversation.ask.body == sent


def test_mistrals_models_hear_the_user_in_the_result_of_the_tool() -> None:
    """They take no user's message right after a tool's."""
    spoken = asked(
        user(Text(text="hi")),
        assistant(LOOK),
        user(ToolResult(id="call_1", parts=(Text(text="rain"),)), Text(text="be brief")),
    )
    talk = Conversation(body("anthropic", spoken), wire="anthropic", targets=["a/m"], wires={"a": "openai-chat"},
                        kind="mistral")  # fmt: skip
    assert isinstance(talk.ask, Send)
    *_, last = json.loads(talk.ask.body)["messages"]
    assert last == {"role": "tool", "tool_call_id": "call_1", "content": "rain\n\nA note from the user:\nbe brief"}
