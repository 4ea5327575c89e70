"""What a wire can say comes back from it unchanged; and through it, whatever the order and the cuts."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.wires import sayable

from recloser.gateway import sse
from recloser.gateway.canonical import Answer, Began, Ended, Event, Grew, PartBegan, PartEnded, Request, ToolUse
from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.codec import Codec
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.phrasing import is_object
from recloser.gateway.wires.telling import gathered, told
from recloser.gateway.wires.wire import BadRequestError

ANTHROPIC, CHAT = AnthropicCodec(), ChatCodec()
BOTH = pytest.mark.parametrize("codec", [ANTHROPIC, CHAT], ids=["anthropic", "chat"])
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""What is measured here is what is said, on machines with other things to do."""
ASKED = Request(model="m", turns=(), stream=True, stream_usage=True)


def written(codec: Codec, events: list[Event]) -> bytes:
    writer = codec.writer(ASKED)
    return b"".join(writer.write(event) for event in events)


def read(codec: Codec, *chunks: bytes) -> list[Event]:
    splitter, reader = sse.Splitter(), codec.reader()
    events = [
        event
        for chunk in chunks
        for name, data, _ in sse.parse(splitter.feed(chunk))
        for event in reader.read(name, data)
    ]
    return [*events, *reader.end()]


class TestRequests:
    @UNHURRIED
    @given(sayable.ANTHROPIC_REQUESTS)
    def test_anthropic(self, request: Request) -> None:
        said = ANTHROPIC.write_request(request)
        assert said.dropped == ()
        assert ANTHROPIC.read_request(said.body) == request

    @UNHURRIED
    @given(sayable.CHAT_REQUESTS)
    def test_chat(self, request: Request) -> None:
        said = CHAT.write_request(request)
        assert said.dropped == ()
        assert CHAT.read_request(said.body) == request

    @BOTH
    @UNHURRIED
    @given(st.binary(max_size=80) | sayable.JSON.map(lambda value: str(value).encode()))
    def test_garbage_is_refused_and_raises_nothing_else(self, codec: Codec, garbage: bytes) -> None:
        with pytest.raises(BadRequestError):
            codec.read_request(garbage)

    @BOTH
    @UNHURRIED
    @given(st.dictionaries(st.sampled_from(["model", "messages", "tools", "system", "stop"]), sayable.JSON))
    def test_json_of_any_shape_is_read_or_refused(self, codec: Codec, fields: dict[str, object]) -> None:
        refusal: BadRequestError | None = None
        try:
            codec.read_request(msgspec.json.encode({"model": "m", "messages": [], **fields}))
        except BadRequestError as error:
            refusal = error
        assert refusal is None or refusal.field


class TestAnswers:
    @UNHURRIED
    @given(sayable.ANTHROPIC_ANSWERS)
    def test_anthropic(self, answer: Answer) -> None:
        assert ANTHROPIC.read_answer(ANTHROPIC.write_answer(answer)) == answer

    @UNHURRIED
    @given(sayable.CHAT_ANSWERS)
    def test_chat(self, answer: Answer) -> None:
        assert CHAT.read_answer(CHAT.write_answer(answer)) == answer


class TestStreams:
    @UNHURRIED
    @given(sayable.in_pieces(sayable.ANTHROPIC_ANSWERS))
    def test_anthropic_event_by_event(self, events: list[Event]) -> None:
        again = read(ANTHROPIC, written(ANTHROPIC, events))
        assert isinstance(again[0], Began)
        assert again[1:] == events[1:]

    @UNHURRIED
    @given(sayable.in_pieces(sayable.CHAT_ANSWERS))
    def test_chat_event_by_event(self, events: list[Event]) -> None:
        calls = [part for part in gathered(events).parts if isinstance(part, ToolUse)]
        again = read(CHAT, written(CHAT, events))
        if all(is_object(call.input) for call in calls):
            assert again == events
        assert gathered(again) == gathered(events)

    @BOTH
    @settings(UNHURRIED, max_examples=50)
    @given(sayable.in_pieces(sayable.ANTHROPIC_ANSWERS), st.data())
    def test_cut_anywhere(self, codec: Codec, events: list[Event], data: st.DataObject) -> None:
        stream = written(codec, events)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        chunks = [stream[at:to] for at, to in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert read(codec, *chunks) == read(codec, stream)

    @BOTH
    @UNHURRIED
    @given(st.lists(sayable.CALLS, min_size=2, max_size=4), st.randoms(use_true_random=False))
    def test_calls_told_by_turns_stay_apart(self, codec: Codec, calls: list[ToolUse], dice: object) -> None:
        events = by_turns(calls, dice)
        again = gathered(read(codec, written(codec, events)))
        assert [(part.name, part.input) for part in again.parts if isinstance(part, ToolUse)] == [
            (call.name, call.input) for call in calls
        ]

    @BOTH
    @UNHURRIED
    @given(st.lists(sayable.CALLS, min_size=2, max_size=4), st.randoms(use_true_random=False))
    def test_blocks_never_overlap_for_a_client(self, codec: Codec, calls: list[ToolUse], dice: object) -> None:
        open_block: int | None = None
        for event in read(ANTHROPIC, written(ANTHROPIC, by_turns(calls, dice))):
            match event:
                case PartBegan(index=index):
                    assert open_block is None
                    open_block = index
                case Grew(index=index):
                    assert open_block == index
                case PartEnded(index=index):
                    assert open_block == index
                    open_block = None


def by_turns(calls: list[ToolUse], dice: object) -> list[Event]:
    """The events of a stream that tells calls letter by letter, a letter of this one and a letter of that one."""
    begun: list[Event] = [Began(id="a", model="m")]
    begun += [PartBegan(index=at, part=ToolUse(id=call.id, name=call.name)) for at, call in enumerate(calls)]
    waiting: dict[int, list[Event]] = {
        at: [*(Grew(index=at, text=letter) for letter in call.input), PartEnded(index=at)]
        for at, call in enumerate(calls)
    }
    while waiting:
        at = dice.choice(list(waiting))  # type: ignore[attr-defined]
        begun.append(waiting[at].pop(0))
        if not waiting[at]:
            del waiting[at]
    return [*begun, Ended()]


@pytest.mark.parametrize("events", [list(told(Answer(id="a", model="m", parts=())))])
def test_a_silent_answer_is_one(events: list[Event]) -> None:
    for codec in (ANTHROPIC, CHAT):
        assert gathered(read(codec, written(codec, events))).parts == ()
