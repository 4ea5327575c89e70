"""For tests of wires, ours and yours: what every codec must do, whatever words its wire has."""

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import (
    Answer,
    Began,
    Document,
    Effort,
    Ended,
    Event,
    Grew,
    Image,
    OutputSchema,
    Part,
    PartBegan,
    PartEnded,
    Reasoning,
    Refusal,
    Request,
    Role,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
    Usage,
    Written,
)
from recloser.gateway.wires.codec import Codec
from recloser.gateway.wires.telling import gathered, told
from recloser.gateway.wires.wire import BadRequestError

MODEL = "model-1"
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
_WEATHER = Tool(name="weather", description="What the sky does.", schema=_SCHEMA)
_CLOCK = Tool(name="clock", schema={"type": "object", "properties": {}})
_PICTURE = Image(media_type="image/png", data="iVBORw0KGgo=")
_CALL = ToolUse(id="call_1", name="weather", input='{"city":"Bern"}')


def asked(*turns: Turn) -> Request:
    """A request of these turns, or of a greeting."""
    return Request(model=MODEL, turns=turns or (user(Text(text="hello")),), max_tokens=4096)


def user(*parts: Part) -> Turn:
    """A user's turn."""
    return Turn(role=Role.USER, parts=parts)


def assistant(*parts: Part) -> Turn:
    """An assistant's turn."""
    return Turn(role=Role.ASSISTANT, parts=parts)


def with_tools(**fields: object) -> Request:
    """A request that offers two tools."""
    return msgspec.structs.replace(asked(), tools=(_WEATHER, _CLOCK), **fields)


def with_result(*parts: Text | Image | Document, is_error: bool = False) -> Request:
    """A request whose last word is a tool's."""
    result = ToolResult(id="call_1", parts=parts, is_error=is_error)
    return asked(user(Text(text="weather?")), assistant(_CALL), user(result))


def changed(**fields: object) -> Request:
    """A greeting with these fields."""
    return msgspec.structs.replace(asked(), **fields)


REQUESTS: dict[str, Request] = {
    "words": asked(),
    "a conversation": asked(user(Text(text="a")), assistant(Text(text="b")), user(Text(text="c"))),
    "a system text": changed(system=(Text(text="Be brief."),)),
    "several system texts": changed(system=(Text(text="Be brief."), Text(text="Be kind."))),
    "a system turn in the middle": asked(
        user(Text(text="a")), Turn(role=Role.SYSTEM, parts=(Text(text="Now in French."),))
    ),
    "a picture": asked(user(Text(text="what is it?"), _PICTURE)),
    "the address of a picture": asked(user(Text(text="what is it?"), Image(url="https://example.com/a.png"))),
    "a picture to look at closely": asked(user(Text(text="look"), msgspec.structs.replace(_PICTURE, detail="high"))),
    "a file": asked(
        user(Text(text="sum up"), Document(media_type="application/pdf", data="JVBERi0=", name="report.pdf"))
    ),
    "the address of a file": asked(
        user(Text(text="sum up"), Document(media_type="application/pdf", url="https://example.com/a.pdf"))
    ),
    "a file of plain text": asked(
        user(Text(text="sum up"), Document(media_type="text/plain", text="much text", name="notes"))
    ),
    "tools": with_tools(),
    "a strict tool": changed(tools=(msgspec.structs.replace(_WEATHER, strict=True),)),
    "tools if wanted": with_tools(tool_choice=ToolChoice.AUTO),
    "any tool": with_tools(tool_choice=ToolChoice.ANY),
    "no tool": with_tools(tool_choice=ToolChoice.NONE),
    "this tool": with_tools(tool_choice=ToolChoice.NAMED, tool_name="clock"),
    "one tool at a time": with_tools(tool_choice=ToolChoice.AUTO, parallel_tools=False),
    "two calls": asked(
        user(Text(text="weather and time?")),
        assistant(Text(text="I look."), _CALL, ToolUse(id="call_2", name="clock")),
        user(
            ToolResult(id="call_1", parts=(Text(text="rain"),)),
            ToolResult(id="call_2", parts=(Text(text="noon"),)),
            Text(text="And?"),
        ),
    ),
    "an empty result": with_result(Text(text="")),
    "a failed result": with_result(Text(text="no such city"), is_error=True),
    "a result with a picture": with_result(Text(text="see"), _PICTURE),
    "a limit": changed(max_tokens=100),
    "no limit": changed(max_tokens=None),
    "temperature": changed(temperature=0.5),
    "a high temperature": changed(temperature=1.5),
    "top_p": changed(top_p=0.9),
    "top_k": changed(top_k=40),
    "stop": changed(stop=("END", "STOP")),
    "seed": changed(seed=7),
    "penalties": changed(presence_penalty=0.5, frequency_penalty=-0.5),
    "user": changed(user="user-1"),
    "an effort": changed(reasoning=Reasoning(effort=Effort.HIGH)),
    "a budget": changed(reasoning=Reasoning(budget=2048)),
    "thinking as it likes": changed(reasoning=Reasoning(adaptive=True)),
    "no thinking": changed(reasoning=Reasoning(enabled=False, effort=Effort.NONE)),
    "structured output": changed(output=OutputSchema(schema=_SCHEMA, name="answer")),
    "any JSON": changed(output=OutputSchema()),
    "a stream": changed(stream=True, stream_usage=True),
}
"""A request for each thing that can be asked."""

ANSWERS: dict[str, Answer] = {
    "words": Answer(id="a1", model=MODEL, parts=(Text(text="Hello, wörld 🌧\n\n"),), usage=Usage(input=10, output=3)),
    "nothing": Answer(id="a2", model=MODEL, parts=(), usage=Usage(input=10, output=0)),
    "cut short": Answer(id="a3", model=MODEL, parts=(Text(text="Hel"),), stop=Stop.LENGTH),
    "a call": Answer(id="a4", model=MODEL, parts=(_CALL,), stop=Stop.TOOL_USE),
    "a call of a tool without arguments": Answer(
        id="a5", model=MODEL, parts=(ToolUse(id="call_2", name="clock"),), stop=Stop.TOOL_USE
    ),
    "thoughts, words and two calls": Answer(
        id="a6",
        model=MODEL,
        parts=(
            Thinking(text="Where? In Bern.", signature="c2ln", issuer="elsewhere"),
            Text(text="I look."),
            _CALL,
            ToolUse(id="call_2", name="weather", input='{"city": "Z\\u00fcrich"}'),
        ),
        stop=Stop.TOOL_USE,
        usage=Usage(input=100, output=20, cache_read=80),
    ),
    "a refusal": Answer(id="a7", model=MODEL, parts=(Refusal(text="I will not."),)),
}
"""An answer of each kind."""

_WRONG: tuple[object, ...] = (7, -1.5, True, "wrong", [], [7], {}, {"type": 7}, [{"type": 7}], [{}])

BROKEN = '{"city": "Be'
"""Arguments as a model may break them."""

INTERLEAVED: tuple[Event, ...] = (
    Began(id="a8", model=MODEL),
    PartBegan(index=0, part=ToolUse(id="call_1", name="weather")),
    PartBegan(index=1, part=ToolUse(id="call_2", name="weather")),
    Grew(index=0, text='{"city":'),
    Grew(index=1, text='{"city":'),
    Grew(index=1, text='"Basel"}'),
    Grew(index=0, text='"Bern"}'),
    PartEnded(index=1),
    PartEnded(index=0),
    Ended(stop=Stop.TOOL_USE),
)
"""Two calls that are told by turns."""


class WireContract(ABC):
    """What every wire's codec must do. Inherit it in a test class named `Test...` and say how to make the codec."""

    rephrased: frozenset[str] = frozenset()
    """The names in `REQUESTS` that this wire says in other words: they come back changed although nothing is lost."""

    unheard_of = b'{"type":"unheard_of","object":"unheard_of"}'
    """An event that the wire may come to know one day."""

    @abstractmethod
    def make_codec(self) -> Codec:
        """The codec."""

    def again(self, written: Written, request: Request) -> Request:  # noqa: ARG002 - for wires that need it
        """A written request, read. A wire that says something outside of the body (in the path, say) puts it back."""
        return self.make_codec().read_request(written.body)

    # Requests

    def test_what_is_asked_comes_back_or_is_named(self) -> None:
        """Nothing is lost in silence: what is written is read again the same, or it is named as dropped."""
        for name, request in REQUESTS.items():
            written = self.make_codec().write_request(request)
            again = self.again(written, request)
            if name not in self.rephrased and not written.dropped:
                assert again == request, name

    def test_what_comes_back_does_not_change_any_more(self) -> None:
        """Written, read and written again it is the same, byte for byte: prompts stay in the provider's cache."""
        for name, request in REQUESTS.items():
            written = self.make_codec().write_request(request)
            again = self.again(written, request)
            assert self.make_codec().write_request(again).body == written.body, name

    def test_what_could_not_be_read_is_named(self) -> None:
        """The names of what a reader had no word for are among what the writer dropped."""
        written = self.make_codec().write_request(changed(unread=("context_management", "tools.web_search")))
        assert {"context_management", "tools.web_search"} <= set(written.dropped)

    def test_a_field_nobody_knows_is_named(self) -> None:
        """It is read over, and told."""
        body = json.loads(self._body("words"))
        body["field_nobody_knows"] = 1
        request = self.make_codec().read_request(json.dumps(body).encode())
        assert "field_nobody_knows" in request.unread

    def test_a_result_has_the_id_of_its_call(self) -> None:
        """Whatever a wire does to ids: strange and long ones too."""
        for strange in ("functions.weather:0", "x" * 200, "id with spaces"):
            turns = assistant(ToolUse(id=strange, name="weather")), user(ToolResult(id=strange))
            request = asked(user(Text(text="a")), *turns)
            again = self.again(self.make_codec().write_request(request), request)
            ids = {part.id for turn in again.turns for part in turn.parts if isinstance(part, ToolUse | ToolResult)}
            assert len(ids) == 1

    def test_a_thought_goes_to_its_provider_alone(self) -> None:
        """It is left out elsewhere, and told. A turn that was nothing else is not there."""
        thought = Thinking(text="secret thought", signature="secret signature", issuer="elsewhere")
        request = asked(user(Text(text="a")), assistant(thought), user(Text(text="b")), assistant(thought, _CALL))
        written = self.make_codec().write_request(request)
        assert b"secret" not in written.body
        assert any("thinking" in name for name in written.dropped)
        said = [turn for turn in self.again(written, request).turns if turn.role is Role.ASSISTANT]
        assert [len(turn.parts) for turn in said] == [1]

    def test_broken_arguments_are_not_lost(self) -> None:
        """Neither in the history nor in an answer; and nobody is sent what is no JSON in the place of JSON."""
        codec = self.make_codec()
        broken = ToolUse(id="call_1", name="weather", input=BROKEN)
        request = asked(user(Text(text="a")), assistant(broken), user(ToolResult(id="call_1")))
        again = self.again(codec.write_request(request), request)
        assert again.turns[1].parts == (broken,)
        answer = codec.read_answer(codec.write_answer(Answer(id="a", model=MODEL, parts=(broken,))))
        assert [part.input for part in answer.parts if isinstance(part, ToolUse)] == [BROKEN]

    def test_a_malformed_request_is_refused(self) -> None:
        """As no request, and never in another way."""
        for body in (b"", b"{", b"[]", b"null", b'"a"', b"\xff", b"[" * 5000, b'{"model":"m"}'):
            assert _refusal(self.make_codec().read_request, body) is not None, body

    def test_a_field_of_a_wrong_type_is_named(self) -> None:
        """Whatever stands in the place of whatever: it is read, or refused by its name."""
        codec = self.make_codec()
        for name in REQUESTS:
            body = json.loads(self._body(name))
            for field in body:
                for wrong in _WRONG:
                    refusal = _refusal(codec.read_request, json.dumps({**body, field: wrong}).encode())
                    if refusal is not None:
                        assert (refusal.field or "").startswith(field), (name, field, wrong, refusal)

    def test_a_deep_schema_is_written_or_refused(self) -> None:
        """In a time that grows with its depth, and no faster."""
        for depth in range(50, 1050, 50):
            schema: dict[str, object] = {}
            for _ in range(depth):
                schema = {"type": "object", "properties": {"deeper": schema}, "items": {}}
            deep = changed(
                tools=(msgspec.structs.replace(_WEATHER, schema=schema),), output=OutputSchema(schema=schema)
            )
            _refusal(lambda _: self.make_codec().write_request(deep), b"")  # noqa: B023 - called at once

    def test_mutilated_requests_raise_nothing_else(self) -> None:
        """Three thousand requests with bytes changed, cut out and doubled."""
        codec = self.make_codec()
        for body in _mutilated([self._body(name) for name in REQUESTS], 3000):
            _refusal(codec.read_request, body)

    # Answers

    def test_an_answer_comes_back(self) -> None:
        """Words, calls, the end and the cost."""
        codec = self.make_codec()
        for name, answer in ANSWERS.items():
            _same(name, codec.read_answer(codec.write_answer(answer)), answer)

    def test_mutilated_answers_raise_nothing_else(self) -> None:
        """A provider's garbage is a ValueError."""
        codec = self.make_codec()
        for body in _mutilated([codec.write_answer(answer) for answer in ANSWERS.values()], 3000):
            _survives(codec.read_answer, body)

    # Streams

    def test_a_stream_tells_what_the_answer_says(self) -> None:
        """Event by event, and well told."""
        for name, answer in ANSWERS.items():
            events = list(self._events([self._stream(told(answer))]))
            _well_told(events)
            _same(name, gathered(events), answer)

    def test_a_stream_cut_anywhere_tells_the_same(self) -> None:
        """At every byte in two, and byte by byte."""
        stream = self._stream(told(ANSWERS["thoughts, words and two calls"]))
        whole = list(self._events([stream]))
        assert list(self._events([bytes([byte]) for byte in stream])) == whole
        for at in range(len(stream)):
            assert list(self._events([stream[:at], stream[at:]])) == whole

    def test_parts_told_by_turns_stay_apart(self) -> None:
        """No word of one call gets into another."""
        events = list(self._events([self._stream(INTERLEAVED)]))
        _well_told(events)
        calls = [part for part in gathered(events).parts if isinstance(part, ToolUse)]
        assert [(part.id, part.input) for part in calls] == [
            ("call_1", '{"city":"Bern"}'),
            ("call_2", '{"city":"Basel"}'),
        ]

    def test_a_stream_ends_once(self) -> None:
        """Whether its own last event came or not, and nothing comes after it."""
        stream = self._stream(told(ANSWERS["words"]))
        reader = self.make_codec().reader()
        for name, data, _ in sse.parse(stream):
            list(reader.read(name, data))
        assert list(reader.end()) == []
        assert [event for name, data, _ in sse.parse(stream) for event in reader.read(name, data)] == []
        reader = self.make_codec().reader()
        assert isinstance(list(reader.end())[-1], Ended)
        assert list(reader.end()) == []

    def test_events_nobody_knows_are_skipped(self) -> None:
        """A provider may learn new words."""
        stream = self._stream(told(ANSWERS["words"]))
        whole = list(self._events([stream]))
        reader = self.make_codec().reader()
        events: list[Event] = []
        for name, data, _ in sse.parse(stream):
            events += reader.read(b"unheard_of", self.unheard_of)
            events += reader.read(name, data)
        assert [*events, *reader.end()] == whole

    def test_mutilated_streams_raise_nothing_else(self) -> None:
        """A provider's garbage is a ValueError."""
        streams = [self._stream(told(answer)) for answer in ANSWERS.values()]
        for stream in _mutilated(streams, 1500):
            reader = self.make_codec().reader()
            for name, data, _ in sse.parse(stream):
                if not _survives(partial(reader.read, name), data):
                    break
            else:
                _survives(lambda _: reader.end(), b"")  # noqa: B023 - called at once

    # How it is asked

    def _body(self, name: str) -> bytes:
        return self.make_codec().write_request(REQUESTS[name]).body

    def _stream(self, events: Iterable[Event]) -> bytes:
        writer = self.make_codec().writer(REQUESTS["a stream"])
        return b"".join(writer.write(event) for event in events)

    def _events(self, chunks: Iterable[bytes]) -> Iterator[Event]:
        splitter, reader = sse.Splitter(), self.make_codec().reader()
        for chunk in chunks:
            for name, data, _ in sse.parse(splitter.feed(chunk)):
                yield from reader.read(name, data)
        yield from reader.end()


def _same(name: str, again: Answer, answer: Answer) -> None:
    """What must be the same on every wire. A refusal may become words, and parts of a kind may be joined."""
    assert _words(again) == _words(answer), name
    assert _calls(again) == _calls(answer), name
    thoughts = ["".join(part.text for part in one.parts if isinstance(part, Thinking)) for one in (again, answer)]
    assert thoughts[0] in (thoughts[1], ""), name
    if answer.stop in (Stop.END, Stop.LENGTH, Stop.TOOL_USE) and name != "a refusal":
        assert again.stop is answer.stop, name
    if answer.usage.input is not None:
        usage, again_usage = answer.usage, again.usage
        assert (again_usage.input, again_usage.output) == (usage.input, usage.output), name
        assert (again_usage.cache_read or 0) == (usage.cache_read or 0), name


def _words(answer: Answer) -> str:
    return "".join(part.text for part in answer.parts if isinstance(part, Text | Refusal))


def _calls(answer: Answer) -> list[tuple[str, str, object]]:
    return [(part.id, part.name, json.loads(part.input)) for part in answer.parts if isinstance(part, ToolUse)]


def _well_told(events: list[Event]) -> None:
    """One beginning, first; one end, last; each part begun, grown and ended in this order."""
    assert isinstance(events[0], Began)
    assert isinstance(events[-1], Ended)
    assert sum(isinstance(event, Began | Ended) for event in events) == 2
    began: list[int] = []
    running: set[int] = set()
    for event in events[1:-1]:
        match event:
            case PartBegan(index=index):
                began.append(index)
                running.add(index)
            case Grew(index=index):
                assert index in running
            case PartEnded(index=index):
                running.remove(index)
    assert not running
    assert began == list(range(len(began)))


def _mutilated(bodies: list[bytes], count: int) -> Iterator[bytes]:
    """Bodies with something wrong; the same ones each time."""
    dice = random.Random(20)  # noqa: S311 - no secret is made of it
    for number in range(count):
        body = bytearray(bodies[number % len(bodies)])
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(body) + 1)
            match dice.randrange(4):
                case 0:
                    del body[at : at + dice.randint(1, 20)]
                case 1:
                    body[at:at] = body[at : at + dice.randint(1, 40)]
                case 2:
                    body[at : at + 1] = dice.choice((b"{", b"}", b"[", b'"', b"0", b"null", b"\xff", b"\\", b"-", b":"))
                case _:
                    body[at:at] = dice.choice((b"null,", b"{},", b"[],", b'"",', b'{"type":"text"},', b"1e999,"))
        yield bytes(body)


def _refusal(read: Callable[[bytes], object], body: bytes) -> BadRequestError | None:
    try:
        read(body)
    except BadRequestError as error:
        return error
    return None


def _survives(read: Callable[[bytes], Answer | Iterable[Event]], body: bytes) -> bool:
    try:
        said = read(body)
        if not isinstance(said, Answer):
            list(said)
    except ValueError:
        return False
    return True
