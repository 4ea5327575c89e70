"""Streams on the Gemini wire, read and written. Their chunks have no names, and nothing comes after the last."""

from collections.abc import Iterable
from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import Began, Ended, Event, Grew, PartBegan, PartEnded, Refusal, Text, Thinking, ToolUse
from recloser.gateway.wires.gemini_codec.answers import (
    Calls,
    Piece,
    Response,
    read_response,
    read_stop,
    read_usage,
    text_or_nothing,
    write_response,
)
from recloser.gateway.wires.gemini_codec.shapes import Fields
from recloser.gateway.wires.gemini_codec.signatures import WIRE, read_signature, write_signature
from recloser.gateway.wires.gemini_codec.writing import write_call, write_thought


class GeminiReader:
    """Reads one stream of a provider. Words of a kind that follow one another are one part."""

    __slots__ = ("_blocked", "_calls", "_ended", "_open", "_parts", "_reason", "_usage")

    def __init__(self) -> None:
        self._calls: Calls | None = None
        self._open: type[Text | Thinking] | None = None
        """What the part that grows is."""
        self._parts = 0
        self._blocked = self._ended = False
        self._reason: Any = None
        self._usage: dict[str, Any] = {}

    def read(self, name: bytes, data: bytes) -> Iterable[Event]:  # noqa: ARG002 - chunks have no names
        """What one chunk means; ValueError if it is none of this wire."""
        if self._ended:
            return ()
        response = read_response(data)
        self._blocked = self._blocked or response.blocked()
        self._usage.update(response.usage_metadata or {})
        candidate = response.first()
        pieces = (candidate and candidate.content and candidate.content.parts) or []
        if candidate is not None and candidate.finish_reason is not None:
            self._reason = candidate.finish_reason
        if not response.response_id and not any(map(_says_something, pieces)):
            return ()  # a sign of life at most
        events = self._begin(response)
        for piece in pieces:
            events += self._read(piece)
        return events

    def end(self) -> Iterable[Event]:
        """The stream ended as it should: what is still to be told."""
        if self._ended:
            return ()
        events = [*self._begin(Response()), *self._end_part()]
        self._ended = True
        called = self._calls is not None and self._calls.count > 0
        reason = "SAFETY" if self._blocked and self._reason is None else self._reason
        return (*events, Ended(stop=read_stop(reason, called=called), usage=read_usage(self._usage)))

    def _begin(self, response: Response) -> list[Event]:
        if self._calls is not None:
            return []
        self._calls = Calls(response)
        model = text_or_nothing(response.model_version)
        return [Began(id=self._calls.answer, model=model, usage=read_usage(response.usage_metadata or {}))]

    def _read(self, piece: Piece) -> list[Event]:
        if piece.function_call is not None:
            return self._call(piece)
        if piece.text is None:
            return []
        signature = piece.thought_signature or ""
        if piece.thought:
            return self._grow(Thinking, piece.text, signature)
        events = self._grow(Text, piece.text, "")
        if signature:  # of the words that were said
            events += [*self._end_part(), *self._grow(Thinking, "", signature), *self._end_part()]
        return events

    def _call(self, piece: Piece) -> list[Event]:
        assert self._calls is not None
        call = self._calls.read(piece)
        events = [*self._end_part(), self._begin_part(ToolUse(id=call.id, name=call.name, signature=call.signature))]
        if call.input != "{}":
            events.append(Grew(index=self._parts - 1, text=call.input))
        return [*events, PartEnded(index=self._parts - 1)]

    def _grow(self, kind: type[Text] | type[Thinking], text: str, signature: str) -> list[Event]:
        if not text and not signature:
            return []
        events: list[Event] = []
        issuer, plain, redacted = read_signature(signature)
        if self._open is not kind or redacted:
            events += self._end_part()
            part = Text(text="") if kind is Text else Thinking(redacted=redacted, issuer=issuer)
            events.append(self._begin_part(part))
            self._open = kind
        if text or plain:
            events.append(Grew(index=self._parts - 1, text=text, signature=plain))
        if signature:
            events += self._end_part()
        return events

    def _begin_part(self, part: Text | Thinking | ToolUse) -> Event:
        self._parts += 1
        return PartBegan(index=self._parts - 1, part=part)

    def _end_part(self) -> list[Event]:
        if self._open is None:
            return []
        self._open = None
        return [PartEnded(index=self._parts - 1)]


class _Part:
    """A part that is being written."""

    __slots__ = ("ended", "head", "part", "signature", "tail", "texts")

    def __init__(self, part: Text | Thinking | ToolUse | Refusal, response: Fields) -> None:
        self.part = part
        self.texts: list[str] = []
        self.signature = ""
        self.ended = False
        mark: Fields = {"text": _MARK, "thought": True} if isinstance(part, Thinking) else {"text": _MARK}
        chunk = _encode(response | {"candidates": [_candidate([mark])]})
        self.head, _, self.tail = chunk.partition(_MARKED)


class GeminiWriter:
    """Writes one stream for a client. Words flow; a call is told when it is whole, as this wire does."""

    __slots__ = ("_id", "_model", "_open")

    def __init__(self) -> None:
        self._id = self._model = ""
        self._open: dict[int, _Part] = {}

    def write(self, event: Event) -> bytes:
        """An event as this wire's server-sent events; may be empty."""
        match event:
            case Grew():
                return self._grow(self._open[event.index], event)
            case PartBegan():
                self._open[event.index] = _Part(event.part, write_response(self._id, self._model, ()))
            case PartEnded():
                return self._end_part(event.index)
            case Began():
                self._id, self._model = event.id, event.model
            case Ended():
                return self._end(event)
        return b""

    def go_on(self, sent: bytes) -> None:
        """Nothing: every chunk of this wire stands for itself, and the id is the one that was read."""

    def _grow(self, part: _Part, event: Grew) -> bytes:
        part.signature += event.signature
        if not event.text:
            return b""
        part.texts.append(event.text)
        if isinstance(part.part, ToolUse):
            return b""
        return b"data: " + part.head + _encode(event.text) + part.tail + b"\n\n"

    def _end_part(self, index: int) -> bytes:
        """A part is whole. Calls are told in the order in which they began."""
        self._open[index].ended = True
        written = b""
        for begun, part in list(self._open.items()):
            if part.ended:
                written += self._whole(self._open.pop(begun))
            elif isinstance(part.part, ToolUse):
                break
        return written

    def _whole(self, opened: _Part) -> bytes:
        part = opened.part
        match part:
            case ToolUse():
                signature = part.signature or opened.signature
                whole = "".join(opened.texts) or "{}"
                return self._chunk(write_call(msgspec.structs.replace(part, input=whole, signature=signature)))
            case Thinking():
                signature = write_signature(msgspec.structs.replace(part, signature=opened.signature))
                if signature:
                    return self._chunk(write_thought("", signature, words=part.issuer == WIRE and not opened.texts))
        return b""

    def _chunk(self, part: Fields) -> bytes:
        return sse.event(_encode(write_response(self._id, self._model, [part])))

    def _end(self, event: Ended) -> bytes:
        written = b"".join(self._whole(part) for part in self._open.values())
        self._open = {}
        nothing = [{"text": ""}]
        return written + sse.event(_encode(write_response(self._id, self._model, nothing, event.stop, event.usage)))


_MARK = "\x00words\x00"
_encode = msgspec.json.Encoder().encode
_MARKED = _encode(_MARK)


def _candidate(parts: list[Fields]) -> Fields:
    return {"content": {"parts": parts, "role": "model"}, "index": 0}


def _says_something(piece: Piece) -> bool:
    return bool(piece.text or piece.thought_signature or piece.function_call)
