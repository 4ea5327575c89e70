"""Streams on the Chat Completions wire, read and written."""

from collections.abc import Iterable
from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import (
    Began,
    Ended,
    Event,
    Grew,
    PartBegan,
    PartEnded,
    Refusal,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from recloser.gateway.wires.openai_chat_codec.answers import (
    ID_PREFIX,
    Call,
    Said,
    call_id,
    read_stop,
    read_usage,
    text_or_nothing,
    write_stop,
    write_usage,
)
from recloser.gateway.wires.openai_chat_codec.reading import WIRE
from recloser.gateway.wires.openai_chat_codec.writing import SEAM
from recloser.gateway.wires.phrasing import answer_id, count, is_object

_Flow = type[Text] | type[Thinking] | type[Refusal]


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: Said | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    created: Any = None
    usage: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


_MOST_CALLS = 1000
_LONGEST_CHECKED = 2**16
_LONGEST_NAME = 256


class _CallSoFar:
    """A tool call as far as it has come."""

    __slots__ = ("checked", "ended", "id", "name", "part", "pieces", "size")

    def __init__(self) -> None:
        self.id = self.name = ""
        self.pieces: list[str] = []
        """All of its arguments so far."""
        self.part: int | None = None
        """Its number, once it has been told: not before its name is known, and the first of its arguments."""
        self.ended = False
        self.size = self.checked = 0
        """How many characters have come, and how many there were when they were last no whole object."""

    def is_whole(self) -> bool:
        """Whether its arguments are a JSON object already: more of them could only break it.

        Each state is looked at once, and very long ones are not: they count as whole at the end.
        """
        if self.size in (0, self.checked) or self.size > _LONGEST_CHECKED or not self.pieces[-1].rstrip().endswith("}"):
            return False
        whole = is_object("".join(self.pieces))
        self.checked = 0 if whole else self.size
        return whole


class ChatReader:
    """Reads one stream of a provider. Of several choices the first is the answer.

    This wire does not say where a part ends. Text ends where something else begins. Calls may be told by turns, so one
    ends where another begins only if its arguments are whole; otherwise at the end.
    """

    __slots__ = ("_began", "_calls", "_ended", "_flow", "_id", "_latest", "_parts", "_reason", "_usage")

    def __init__(self) -> None:
        self._began = self._ended = False
        self._id = ""
        self._parts = 0
        self._flow: tuple[_Flow, int] | None = None
        """What kind of words is being said, and its part."""
        self._calls: list[_CallSoFar] = []
        self._latest: dict[int, _CallSoFar] = {}
        """The call that was last told under a number: some backends give all the same."""
        self._reason: Any = None
        self._usage = Usage()

    def read(self, name: bytes, data: bytes) -> Iterable[Event]:  # noqa: ARG002 - chunks have no names
        """What one server-sent event means; ValueError if it is none of this wire."""
        if self._ended:
            return ()
        if data == b"[DONE]":
            return self.end()
        try:
            chunk = _decode(data)
        except RecursionError as error:
            raise ValueError("a chunk that is nested too deeply") from error
        if chunk.usage is not None:
            self._usage = read_usage(chunk.usage)
        events: list[Event] = []
        for choice in chunk.choices or ():
            if choice.index:
                continue
            if not self._began:
                events.append(self._begin(chunk))
            if choice.delta is not None:
                self._read_delta(choice.delta, events)
            if choice.finish_reason is not None:
                self._reason = choice.finish_reason
                self._end_parts(events)
        return events

    def end(self) -> Iterable[Event]:
        """The stream ended as it should: what is still to be told."""
        if self._ended:
            return ()
        events: list[Event] = [] if self._began else [self._begin(_Chunk())]
        self._end_parts(events)
        self._ended = True
        called = any(call.part is not None for call in self._calls)
        events.append(Ended(stop=read_stop(self._reason, called=called), usage=self._usage))
        return events

    def _begin(self, chunk: _Chunk) -> Event:
        self._began = True
        self._id = text_or_nothing(chunk.id)
        return Began(id=self._id, model=text_or_nothing(chunk.model), created=count(chunk.created) or 0)

    def _read_delta(self, delta: Said, events: list[Event]) -> None:
        thought = delta.thought()
        if thought:
            self._say(Thinking, thought, events)
        for kind, text in delta.pieces():
            if text:
                self._say(kind, text, events)
        if delta.refusal:
            self._say(Refusal, delta.refusal, events)
        for call in delta.tool_calls or ():
            self._call(call, events)
        if delta.function_call is not None:
            self._call(Call(index=0, function=delta.function_call), events)

    def _say(self, kind: _Flow, text: str, events: list[Event]) -> None:
        """Words, thoughts or a refusal: go on with what is being said, or begin anew."""
        flow = self._flow
        if flow is None or flow[0] is not kind:
            self._end_flow(events)
            self._end_whole_calls(events)
            self._flow = flow = kind, self._parts
            part = Thinking(issuer=WIRE) if kind is Thinking else kind(text="")
            events.append(PartBegan(index=self._parts, part=part))
            self._parts += 1
        events.append(Grew(index=flow[1], text=text))

    def _call(self, given: Call, events: list[Event]) -> None:
        call = self._find(given)
        if call is None:
            self._end_flow(events)
            self._end_whole_calls(events)
            if len(self._calls) == _MOST_CALLS:
                raise ValueError(f"more than {_MOST_CALLS} tool calls")
            call = _CallSoFar()
            self._calls.append(call)
        self._latest[given.index or 0] = call
        if given.id and call.part is None:
            call.id = given.id
        function = given.function
        if function is None:
            return
        if function.name and call.part is None and function.name != call.name:
            call.name += function.name
            if len(call.name) > _LONGEST_NAME:
                raise ValueError(f"a tool's name of more than {_LONGEST_NAME} characters")
        text = function.text()
        if not text:
            return
        if call.ended:
            if text.strip():
                raise ValueError("more of a tool call that was whole")
            return
        call.pieces.append(text)
        call.size += len(text)
        if call.part is not None:
            events.append(Grew(index=call.part, text=text))
        elif call.name:
            self._begin_calls(self._calls.index(call), events)

    def _find(self, given: Call) -> _CallSoFar | None:
        """The call that this is more of; None if it is a new one.

        A number should tell. Where it is missing, or the same for all, another id or another name after a whole call
        begins a new one.
        """
        known = self._latest.get(given.index or 0)
        if given.index is None and given.id:
            known = next((call for call in self._calls if call.id == given.id), None)
        if known is None:
            return None
        name = given.function.name if given.function is not None else None
        if given.id and known.id and given.id != known.id and name:
            return None
        if given.index is None and name and not given.id and known.is_whole():
            return None
        return known

    def _begin_calls(self, last: int, events: list[Event]) -> None:
        """Tell the calls up to this one that have not been told yet, in the order in which they came."""
        for number, call in enumerate(self._calls[: last + 1]):
            if call.part is not None or not call.name:
                continue
            call.part = self._parts
            self._parts += 1
            call.id = call.id or call_id(self._id, number)
            events.append(PartBegan(index=call.part, part=ToolUse(id=call.id, name=call.name)))
            if call.pieces:
                events.append(Grew(index=call.part, text="".join(call.pieces)))

    def _end_flow(self, events: list[Event]) -> None:
        if self._flow is not None:
            events.append(PartEnded(index=self._flow[1]))
            self._flow = None

    def _end_whole_calls(self, events: list[Event]) -> None:
        for call in self._calls:
            if call.part is not None and not call.ended and call.is_whole():
                call.ended = True
                events.append(PartEnded(index=call.part))

    def _end_parts(self, events: list[Event]) -> None:
        """Nothing more will come: begin what has waited, and end all."""
        self._end_flow(events)
        self._begin_calls(len(self._calls), events)
        for call in self._calls:
            if call.part is None:
                if call.pieces:
                    raise ValueError("a tool call without a name")
            elif not call.ended:
                call.ended = True
                events.append(PartEnded(index=call.part))


class ChatWriter:
    """Writes one stream for a client. `usage_wanted`: whether it asked for the usage at the end."""

    __slots__ = ("_apart", "_argued", "_calls", "_head", "_texts", "_usage_wanted", "_words")

    def __init__(self, *, usage_wanted: bool) -> None:
        self._usage_wanted = usage_wanted
        self._head = b""
        """What every chunk begins with."""
        self._words: dict[int, str] = {}
        """Which field the parts grow in, by their number; calls are not in it."""
        self._calls: dict[int, int] = {}
        """The calls' own numbers, by the parts'."""
        self._argued: set[int] = set()
        """The calls of whose arguments something was told."""
        self._texts = False
        """Whether text has been told."""
        self._apart = False
        """Whether something else has been told since."""

    def write(self, event: Event) -> bytes:
        """An event as this wire's server-sent events; may be empty."""
        match event:
            case Grew():
                return self._grow(event)
            case PartBegan():
                return self._begin_part(event)
            case PartEnded():
                return self._end_part(event.index)
            case Began():
                return self._begin(event)
            case Ended():
                return self._end(event)

    def go_on(self, sent: bytes) -> None:
        """Go on with a stream that somebody else began, under its id, whatever that looks like."""
        chunks = (_decode(data) for _, data, _ in sse.parse(sent) if data and data != b"[DONE]")
        first = next((chunk for chunk in chunks if chunk.choices), _Chunk())
        self._begin_chunks(text_or_nothing(first.id), text_or_nothing(first.model), count(first.created) or 0)

    def _begin(self, event: Began) -> bytes:
        self._begin_chunks(answer_id(event.id, ID_PREFIX), event.model, event.created)
        return self._chunk(b'{"role":"assistant","content":""}')

    def _begin_chunks(self, answer: str, model: str, created: int) -> None:
        head = {"id": answer, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['

    def _chunk(self, delta: bytes, reason: bytes = b"null") -> bytes:
        return self._head + b'{"index":0,"delta":' + delta + b',"logprobs":null,"finish_reason":' + reason + b"}]}\n\n"

    def _begin_part(self, event: PartBegan) -> bytes:
        part = event.part
        if isinstance(part, ToolUse):
            number = self._calls[event.index] = len(self._calls)
            self._apart = True
            function = {"name": part.name, "arguments": ""}
            call = {"index": number, "id": part.id, "type": "function", "function": function}
            return self._chunk(_encode({"tool_calls": [call]}))
        if isinstance(part, Text):
            self._words[event.index] = "content"
        else:
            self._apart = True
            self._words[event.index] = "refusal" if isinstance(part, Refusal) else "reasoning_content"
        return b""

    def _grow(self, event: Grew) -> bytes:
        text = event.text
        if not text:
            return b""  # there is no word for a signature
        field = self._words.get(event.index)
        if field is None:
            self._argued.add(event.index)
            return self._arguments(event.index, _encode(text))
        if field == "content":
            if self._apart and self._texts:
                text = SEAM + text
            self._apart, self._texts = False, True
        return self._chunk(b'{"' + field.encode() + b'":' + _encode(text) + b"}")

    def _arguments(self, index: int, text: bytes) -> bytes:
        number = str(self._calls[index]).encode()
        return self._chunk(b'{"tool_calls":[{"index":' + number + b',"function":{"arguments":' + text + b"}}]}")

    def _end_part(self, index: int) -> bytes:
        """A call without arguments says so: clients decode them."""
        if index not in self._calls or index in self._argued:
            return b""
        return self._arguments(index, b'"{}"')

    def _end(self, event: Ended) -> bytes:
        ending = self._chunk(b"{}", _encode(write_stop(event.stop)))
        usage = write_usage(event.usage) if self._usage_wanted else None
        if usage is not None:
            ending += self._head + b'],"usage":' + _encode(usage) + b"}\n\n"
        return ending + sse.event(b"[DONE]")


_encode = msgspec.json.Encoder().encode
