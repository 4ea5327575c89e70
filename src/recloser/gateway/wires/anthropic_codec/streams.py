"""Streams on the Messages wire, read and written."""

from collections.abc import Iterable, Iterator, Sequence
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
)
from recloser.gateway.wires.anthropic_codec.answers import (
    ID_PREFIX,
    read_input,
    read_stop,
    read_usage,
    write_stop,
    write_usage,
)
from recloser.gateway.wires.anthropic_codec.reading import WIRE
from recloser.gateway.wires.anthropic_codec.writing import result_id
from recloser.gateway.wires.phrasing import answer_id, sealed


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: dict[str, Any] | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: Any = None
    stop_sequence: Any = None


class _StreamEvent(msgspec.Struct):
    type: str = ""
    index: int = -1
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_StreamEvent).decode


class _Open:
    """A block of the provider's that has begun."""

    __slots__ = ("given", "part")

    def __init__(self, part: int, given: str) -> None:
        self.part = part
        self.given = given
        """A tool's input that came with the block's beginning; of use only if none comes after it."""


class MessagesReader:
    """Reads one stream of a provider. Blocks of kinds without a word in the canonical form are skipped."""

    __slots__ = ("_began", "_called", "_ended", "_open", "_parts", "_reason", "_sequence", "_usage")

    def __init__(self) -> None:
        self._open: dict[int, _Open | None] = {}
        """The provider's blocks by their number; None is one that is skipped."""
        self._parts = 0
        self._began = self._called = self._ended = False
        self._reason: Any = None
        self._sequence: Any = None
        self._usage: dict[str, Any] = {}

    def read(self, name: bytes, data: bytes) -> Iterable[Event]:  # noqa: ARG002 - the data names itself
        """What one server-sent event means; ValueError if it is none of this wire."""
        if self._ended:
            return ()
        try:
            event = _decode(data)
        except RecursionError as error:
            raise ValueError("an event that is nested too deeply") from error
        match event.type:
            case "content_block_delta":
                return self._grow(event.index, event.delta) if event.delta else ()
            case "content_block_start":
                return self._begin_block(event.index, event.content_block) if event.content_block else ()
            case "content_block_stop":
                return self._end_block(event.index)
            case "message_start":
                return self._begin(event.message or _Message())
            case "message_delta":
                self._note(event)
            case "message_stop":
                return self.end()
        return ()

    def end(self) -> Iterable[Event]:
        """The stream ended as it should: what is still to be told."""
        if self._ended:
            return ()
        events = [*self._begin(_Message())]
        for index in list(self._open):
            events += self._end_block(index)
        self._ended = True
        stop = read_stop(self._reason, called=self._called)
        sequence = self._sequence if isinstance(self._sequence, str) else ""
        events.append(Ended(stop=stop, stop_sequence=sequence, usage=read_usage(self._usage)))
        return events

    def _begin(self, message: _Message) -> Iterable[Event]:
        if self._began:
            return ()
        self._began = True
        self._usage.update(message.usage or {})
        return (Began(id=message.id, model=message.model, usage=read_usage(self._usage)),)

    def _note(self, event: _StreamEvent) -> None:
        """How the answer ends, and what it cost: all counts are of the whole answer so far."""
        self._usage.update({name: value for name, value in (event.usage or {}).items() if value is not None})
        if event.delta is not None and event.delta.stop_reason is not None:
            self._reason, self._sequence = event.delta.stop_reason, event.delta.stop_sequence

    def _begin_block(self, index: int, block: _Block) -> Iterable[Event]:
        part: Text | Thinking | ToolUse
        given, text, signature = "", "", ""
        match block.type:
            case "text":
                part, text = Text(text=""), block.text or ""
            case "thinking":
                part, text, signature = Thinking(issuer=WIRE), block.thinking or "", block.signature or ""
            case "redacted_thinking":
                part = Thinking(redacted=block.data or "", issuer=WIRE)
            case "tool_use":
                part, self._called = ToolUse(id=block.id, name=block.name), True
                given = read_input(block.input)
            case _:
                self._open[index] = None
                return ()
        events = [*self._begin(_Message()), *self._end_block(index), self._begin_part(index, part, given)]
        if text or signature:
            events.append(Grew(index=self._parts - 1, text=text, signature=signature))
        return events

    def _begin_part(self, index: int, part: Text | Thinking | ToolUse, given: str = "") -> Event:
        self._open[index] = _Open(self._parts, given)
        self._parts += 1
        return PartBegan(index=self._parts - 1, part=part)

    def _grow(self, index: int, delta: _Delta) -> Iterable[Event]:
        text = delta.text or delta.thinking or delta.partial_json or ""
        if not text and not delta.signature:
            return ()
        if index not in self._open:
            return self._grow_unannounced(index, delta, text)
        block = self._open[index]
        if block is None:
            return ()
        block.given = ""
        return (Grew(index=block.part, text=text, signature=delta.signature or ""),)

    def _grow_unannounced(self, index: int, delta: _Delta, text: str) -> Iterable[Event]:
        """Some backends forget to begin a block of words. A tool without a name is no call."""
        if delta.partial_json:
            raise ValueError("input of a tool call that never began")
        part = Text(text="") if delta.text else Thinking(issuer=WIRE)
        begun = self._begin_part(index, part)
        grown = Grew(index=self._parts - 1, text=text, signature=delta.signature or "")
        return (*self._begin(_Message()), begun, grown)

    def _end_block(self, index: int) -> Iterable[Event]:
        block = self._open.pop(index, None)
        if block is None:
            return ()
        if block.given not in ("", "{}"):
            return (Grew(index=block.part, text=block.given), PartEnded(index=block.part))
        return (PartEnded(index=block.part),)


class _Part:
    """A part that is being written, or waits for its turn."""

    __slots__ = ("delta", "ended", "field", "issuer", "signature", "start", "waiting")

    def __init__(self, part: Text | Thinking | ToolUse | Refusal) -> None:
        self.waiting: list[str] = []
        self.ended = False
        self.signature: list[str] = []
        self.issuer = ""
        match part:
            case Thinking():
                self.issuer = part.issuer
                self.delta, self.field = "thinking_delta", "thinking"
                self.start: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
                if part.redacted:
                    data = sealed(part.redacted, part.issuer, WIRE)
                    self.start = {"type": "redacted_thinking", "data": data}
            case ToolUse():
                self.delta, self.field = "input_json_delta", "partial_json"
                self.start = {"type": "tool_use", "id": result_id(part.id), "name": part.name, "input": {}}
            case _:
                self.delta, self.field = "text_delta", "text"
                self.start = {"type": "text", "text": ""}


class MessagesWriter:
    """Writes one stream for a client.

    Blocks follow one another on this wire: what comes for a part while another is open waits until that one ends.
    """

    __slots__ = ("_block", "_delta_head", "_parts", "_refused")

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        """The parts that are not told to the end, by number. The first is the open block."""
        self._block = 0
        self._refused = False
        self._delta_head = b""

    def write(self, event: Event) -> bytes:
        """An event as this wire's server-sent events; may be empty."""
        match event:
            case Grew():
                return self._grow(event)
            case PartBegan():
                return self._begin_part(event)
            case PartEnded():
                self._parts[event.index].ended = True
                return self._advance()
            case Began():
                return _sent(b"message_start", {"type": "message_start", "message": _message(event)})
            case Ended():
                return self._end(event)

    def go_on(self, sent: bytes) -> None:
        """Go on with a stream that somebody else began, whose blocks may be more than those that have a word here."""
        events = list(_events(sent))
        begun = [event.index for event in events if event.type == "content_block_start"]
        if _is_unanswered(events):
            raise ValueError("a block that nobody else can finish")
        self._block = begun[-1] if self._parts else max(begun, default=-1) + 1
        if self._parts:
            self._open(next(iter(self._parts.values())))

    def _is_open(self, index: int) -> bool:
        return next(iter(self._parts), None) == index

    def _begin_part(self, event: PartBegan) -> bytes:
        self._refused = self._refused or isinstance(event.part, Refusal)
        self._parts[event.index] = part = _Part(event.part)
        return self._open(part) if len(self._parts) == 1 else b""

    def _open(self, part: _Part) -> bytes:
        start = {"type": "content_block_start", "index": self._block, "content_block": part.start}
        self._delta_head = (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{self._block},'
            f'"delta":{{"type":"{part.delta}","{part.field}":'
        ).encode()
        return _sent(b"content_block_start", start)

    def _grow(self, event: Grew) -> bytes:
        part = self._parts[event.index]
        if event.signature:
            part.signature.append(event.signature)
        if not event.text:
            return b""
        if not self._is_open(event.index):
            part.waiting.append(event.text)
            return b""
        return self._delta(event.text)

    def _delta(self, text: str) -> bytes:
        return self._delta_head + _encode(text) + b"}}\n\n"

    def _advance(self) -> bytes:
        """End the open block if it is whole, and tell what has come for the next ones."""
        said: list[bytes] = []
        while self._parts:
            index = next(iter(self._parts))
            part = self._parts[index]
            if part.waiting:
                said.append(self._delta("".join(part.waiting)))
                part.waiting = []
            if not part.ended:
                break
            said.append(self._close(part))
            del self._parts[index]
            if self._parts:
                said.append(self._open(next(iter(self._parts.values()))))
        return b"".join(said)

    def _close(self, part: _Part) -> bytes:
        said = b""
        if part.start["type"] == "thinking":
            signature = sealed("".join(part.signature), part.issuer, WIRE)
            delta = {"type": "signature_delta", "signature": signature}
            said = _sent(b"content_block_delta", {"type": "content_block_delta", "index": self._block, "delta": delta})
        said += _sent(b"content_block_stop", {"type": "content_block_stop", "index": self._block})
        self._block += 1
        return said

    def _end(self, event: Ended) -> bytes:
        for part in self._parts.values():
            part.ended = True  # whoever tells it forgot: no client can read on in an open block
        rest = self._advance()
        stop = write_stop(event.stop, (Refusal(text=""),) if self._refused else ())
        delta = {"stop_reason": stop, "stop_sequence": event.stop_sequence or None}
        ending = {"type": "message_delta", "delta": delta, "usage": write_usage(event.usage)}
        return rest + _sent(b"message_delta", ending) + _sent(b"message_stop", {"type": "message_stop"})


_encode = msgspec.json.Encoder().encode


_WORDS = frozenset({"redacted_thinking", "text", "thinking", "tool_use"})
"""The kinds of blocks with a word in the canonical form."""
_ASKED_THERE = frozenset({"mcp_tool_use", "server_tool_use"})


def _events(sent: bytes) -> Iterator[_StreamEvent]:
    return (_decode(data) for _, data, _ in sse.parse(sent) if data)


def _is_unanswered(events: Sequence[_StreamEvent]) -> bool:
    """Whether the provider has called a tool of its own and not told the result, or not all of it."""
    blocks = {event.index: event.content_block.type for event in events if event.content_block is not None}
    asked = sum(kind in _ASKED_THERE for kind in blocks.values())
    ended = {event.index for event in events if event.type == "content_block_stop"}
    return asked > sum(kind.endswith("_tool_result") for kind in blocks.values()) or any(
        kind not in _WORDS and index not in ended for index, kind in blocks.items()
    )


def _sent(name: bytes, data: dict[str, Any]) -> bytes:
    return sse.event(_encode(data), name)


def _message(event: Began) -> dict[str, Any]:
    return {
        "id": answer_id(event.id, ID_PREFIX),
        "type": "message",
        "role": "assistant",
        "model": event.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": write_usage(event.usage),
    }
