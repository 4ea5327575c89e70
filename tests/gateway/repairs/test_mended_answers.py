"""A provider's answers are mended on their way to the client, on its own wire and on others."""

import json
from typing import Any

import msgspec
import pytest
from tests.gateway.conversation import JSON, SSE, Conversation
from tests.gateway.repairs.told import ASKED, BARE, answer

from recloser.gateway import sse
from recloser.gateway.asks import Finish, Send
from recloser.gateway.canonical import Answer, Grew, Part, Request, Stop, Text, Thinking, ToolUse, Usage
from recloser.gateway.wires import CODECS, WIRES
from recloser.gateway.wires.telling import gathered, told

REPAIRS = ("byte_fallback", "reasoning_leak", "tool_call_text", "tool_names", "tool_arguments", "stop_markers")
WRITTEN = (
    "<think>\nWhich town?\n</think>\n\nLet me look.\n"
    '<tool_call>\n{"name": "Get-Weather", "arguments": {"city": "Troms<0xC3><0xB8>", "days": "3"}}\n'
    "</tool_call><|im_end|>"
)
MEANT = [
    Thinking(text="Which town?\n"),
    Text(text="Let me look.\n"),
    ("get_weather", {"city": "Tromsø", "days": 3}),
]
MODEL = msgspec.structs.replace(answer(WRITTEN), usage=Usage(input=10, output=5), created=1_790_000_000)


def sent_by(wire: str, *, stream: bool, request: Request = ASKED) -> bytes:
    """What a client of this wire sends."""
    own = msgspec.structs.replace(request, stream=stream, stream_usage=stream)
    return CODECS[wire].write_request(own).body


def talk(client: str, target: str, sent: bytes, *, stream: bool, repairs: tuple[str, ...] = REPAIRS) -> Conversation:
    """A client of one wire, and a provider of another or the same, whose answers are mended."""
    return Conversation(
        sent,
        wire=client,
        targets=["a/m"],
        wires={"a": target},
        address=("m", stream),
        provider={"repairs": repairs},
    )


def streamed(wire: str, model: Answer = MODEL) -> bytes:
    """A provider's stream, letter by letter."""
    writer = CODECS[wire].writer(msgspec.structs.replace(ASKED, stream_usage=True))
    events = []
    for event in told(model):
        letters = [msgspec.structs.replace(event, text=letter) for letter in getattr(event, "text", "")]
        events += letters or [event]
    return b"".join(writer.write(event) for event in events)


def heard(wire: str, conversation: Conversation, *, stream: bool) -> Answer:
    """What the client makes of what it got."""
    if not stream:
        return CODECS[wire].read_answer(conversation.reply.body)
    assert isinstance(conversation.sent[-1], Finish)
    watch = WIRES[wire].watch()
    assert watch.feed(conversation.received) == conversation.received
    assert watch.finished
    assert watch.fault() is None
    reader = CODECS[wire].reader()
    events = [e for name, data, _ in sse.parse(conversation.received) if data for e in reader.read(name, data)]
    return gathered([*events, *reader.end()])


def answered(conversation: Conversation, target: str, *, stream: bool, model: Answer = MODEL) -> Conversation:
    """The provider answers."""
    if not stream:
        return conversation.answers(200, {**JSON, "x-request-id": "up_1"}).says(CODECS[target].write_answer(model))
    conversation.answers(200, {**SSE, "x-request-id": "up_1"})
    data = streamed(target, model)
    for start in range(0, len(data), 53):
        if not conversation.over:
            conversation.says(data[start : start + 53])
    return conversation if conversation.over else conversation.ends()


def meant(got: Answer) -> list[Any]:
    """The parts of an answer, without what a wire adds to them."""
    return [_meant(part) for part in got.parts]


def _meant(part: Part) -> Any:
    match part:
        case ToolUse():
            return part.name, json.loads(part.input)
        case Thinking():
            return Thinking(text=part.text)
    return part


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("target", ["openai-chat", "anthropic"])
@pytest.mark.parametrize("client", WIRES)
def test_what_a_local_model_breaks_is_mended(client: str, target: str, stream: bool) -> None:
    conversation = talk(client, target, sent_by(client, stream=stream), stream=stream)
    got = heard(client, answered(conversation, target, stream=stream), stream=stream)
    assert meant(got) == MEANT
    assert got.stop is Stop.TOOL_USE
    assert (got.usage.input, got.usage.output) == (10, 5)
    assert conversation.account.outcome == "ok"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("wire", ["openai-chat", "anthropic"])
class TestOnTheSameWire:
    def test_all_but_the_answer_passes_as_it_is(self, wire: str, stream: bool) -> None:
        sent = sent_by(wire, stream=stream)[:-1] + b',"unheard_of":{"a":[1.50]}}'
        conversation = talk(wire, wire, sent, stream=stream)
        assert isinstance(conversation.ask, Send)
        assert conversation.ask.body == sent
        answered(conversation, wire, stream=stream)
        headers = conversation.sent[0].headers  # type: ignore[union-attr]
        assert headers["x-request-id"] == "up_1"
        assert "x-recloser-dropped" not in headers

    def test_where_nothing_can_be_mended_bytes_pass(self, wire: str, stream: bool) -> None:
        sent = sent_by(wire, stream=stream, request=BARE)
        conversation = talk(wire, wire, sent, stream=stream, repairs=("tool_call_text", "tool_names", "tool_arguments"))
        answered(conversation, wire, stream=stream)
        got = conversation.received if stream else conversation.reply.body
        assert got == (streamed(wire) if stream else CODECS[wire].write_answer(MODEL))

    def test_an_error_is_the_providers_own(self, wire: str, stream: bool) -> None:
        error = b'{"error":{"message":"no","type":"invalid_request_error"},"type":"error","of_its_own":1}'
        conversation = talk(wire, wire, sent_by(wire, stream=stream), stream=stream).fails(400, error)
        assert conversation.reply.body == error

    def test_an_ordinary_answer_says_the_same(self, wire: str, stream: bool) -> None:
        call = ToolUse(id="call_1", name="clock", input='{"a":1}')
        model = msgspec.structs.replace(answer("Hello <b>there</b>\n", call, stop=Stop.TOOL_USE), created=5)
        conversation = talk(wire, wire, sent_by(wire, stream=stream), stream=stream)
        got = heard(wire, answered(conversation, wire, stream=stream, model=model), stream=stream)
        assert (got.parts, got.stop) == (model.parts, model.stop)


def test_an_answer_of_several_is_not_cut_down_to_one() -> None:
    sent = sent_by("openai-chat", stream=False)[:-1] + b',"n":2}'
    conversation = talk("openai-chat", "openai-chat", sent, stream=False)
    body = (
        b'{"choices":[{"index":0,"message":{"content":"a<|im_end|>"},"finish_reason":"stop"},'
        b'{"index":1,"message":{"content":"b"},"finish_reason":"stop"}]}'
    )
    assert conversation.answers(200, JSON).says(body).reply.body == body


def test_a_request_that_cannot_be_read_is_the_providers_to_refuse() -> None:
    sent = b'{"model":"m","messages":[{"role":"nobody","content":5}]}'
    conversation = talk("openai-chat", "openai-chat", sent, stream=False)
    assert isinstance(conversation.ask, Send)
    assert conversation.ask.body == sent


def test_a_stream_that_breaks_while_something_is_held_ends_in_an_error() -> None:
    conversation = talk("openai-chat", "openai-chat", sent_by("openai-chat", stream=True), stream=True)
    whole = streamed("openai-chat", answer('Look: <tool_call>{"name": "clock", "argum'))
    last_letter = whole.rindex(b'{"content":"m"}')
    conversation.answers(200, SSE).says(whole[: whole.index(b"\n\n", last_letter) + 2]).breaks()
    reader = CODECS["openai-chat"].reader()
    told_, error = conversation.received.rsplit(b"data: ", 1)
    events = [event for name, data, _ in sse.parse(told_) if data for event in reader.read(name, data)]
    assert "".join(event.text for event in events if isinstance(event, Grew)) == "Look: "
    assert "error" in json.loads(error)
