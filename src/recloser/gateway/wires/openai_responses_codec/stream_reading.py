"""Streams of providers on the Responses wire."""

from collections.abc import Iterable
from typing import Any

import msgspec

from recloser.gateway.canonical import (
    Began,
    Ended,
    Event,
    Grew,
    Part,
    PartBegan,
    PartEnded,
    Refusal,
    Text,
    Thinking,
    ToolUse,
)
from recloser.gateway.wires.openai_responses_codec.answers import (
    read_call_id,
    read_item,
    read_reasoning,
    read_stop,
    read_usage,
)
from recloser.gateway.wires.openai_responses_codec.reading import WIRE
from recloser.gateway.wires.openai_responses_codec.shapes import Item


class _StreamEvent(msgspec.Struct):
    type: str = ""
    response: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None


_decode = msgspec.json.Decoder(_StreamEvent).decode

_Begun = Text | Thinking | ToolUse | Refusal
_Place = tuple[int, int]
"""Where a part is: its item's number, and in a message its own."""


class _Open:
    """A part that has begun."""

    __slots__ = ("ended", "part", "said", "section", "source")

    def __init__(self, part: int) -> None:
        self.part = part
        self.said = 0
        """How many characters of it have come: some backends send all of them at its end, some half of them."""
        self.ended = False
        self.source = ""
        """Of thoughts: whether they come as a summary or themselves. One of both is told."""
        self.section = 0


class ResponsesReader:
    """Reads one stream of a provider. Items of kinds without a word in the canonical form are skipped.

    Whatever is said twice is told once: backends differ in what they send piece by piece, and what in one piece when
    a part, an item or the answer is whole.
    """

    __slots__ = ("_began", "_called", "_ended", "_incomplete", "_parts", "_places", "_usage")

    def __init__(self) -> None:
        self._places: dict[_Place, _Open] = {}
        self._parts = 0
        self._began = self._called = self._ended = False
        self._incomplete: Any = None
        self._usage: dict[str, Any] | None = None

    def read(self, name: bytes, data: bytes) -> Iterable[Event]:  # noqa: ARG002 - the data names itself
        """What one server-sent event means; ValueError if it is none of this wire."""
        if self._ended or data == b"[DONE]":
            return ()
        try:
            event = _decode(data)
        except RecursionError as error:
            raise ValueError("an event that is nested too deeply") from error
        if event.response is not None:
            return (*self._begin(event.response), *self._read(event))
        events = self._read(event)
        return (*self._begin({}), *events) if events else ()

    def end(self) -> Iterable[Event]:
        """The stream ended as it should: what is still to be told."""
        if self._ended:
            return ()
        events = [*self._begin({})]
        for open_part in self._places.values():
            events += self._end_part(open_part)
        self._ended = True
        stop = read_stop(self._incomplete, called=self._called)
        return (*events, Ended(stop=stop, usage=read_usage(self._usage)))

    def _begin(self, response: Item) -> Iterable[Event]:
        if self._began:
            return ()
        self._began = True
        answer, model, created = response.get("id"), response.get("model"), response.get("created_at")
        return (
            Began(
                id=answer if isinstance(answer, str) else "",
                model=model if isinstance(model, str) else "",
                created=int(created) if isinstance(created, int | float) else 0,
            ),
        )

    def _read(self, event: _StreamEvent) -> Iterable[Event]:
        place = (event.output_index, event.content_index)
        match event.type:
            case "response.output_text.delta":
                return self._grow(place, Text(text=""), event.delta)
            case "response.function_call_arguments.delta":
                return self._grow((event.output_index, 0), None, event.delta)
            case "response.reasoning_summary_text.delta":
                return self._think(event.output_index, "summary", event.summary_index, event.delta)
            case "response.reasoning_text.delta":
                return self._think(event.output_index, "content", event.content_index, event.delta)
            case "response.refusal.delta":
                return self._grow(place, Refusal(text=""), event.delta)
            case "response.output_text.done":
                return self._complete(place, Text(text=""), event.text)
            case "response.refusal.done":
                return self._complete(place, Refusal(text=""), event.refusal)
            case "response.function_call_arguments.done":
                return self._complete((event.output_index, 0), None, event.arguments)
            case "response.output_item.added":
                return self._begin_item(event.output_index, event.item or {})
            case "response.output_item.done":
                return self._end_item(event.output_index, event.item or {})
            case "response.completed" | "response.incomplete":
                return self._finish(event.response or {})
        return ()

    # Parts

    def _part(self, place: _Place, part: _Begun | None) -> tuple[_Open | None, list[Event]]:
        """The part at a place, begun if it is new. A call cannot begin without its name, which the item brings."""
        open_part = self._places.get(place)
        if open_part is not None or part is None:
            return open_part, []
        self._places[place] = open_part = _Open(self._parts)
        self._called = self._called or isinstance(part, ToolUse)
        self._parts += 1
        return open_part, [PartBegan(index=open_part.part, part=part)]

    def _grow(self, place: _Place, part: Text | Refusal | None, delta: Any) -> Iterable[Event]:
        if not isinstance(delta, str) or not delta:
            return ()
        open_part, events = self._part(place, part)
        if open_part is None or open_part.ended:
            return events
        open_part.said += len(delta)
        return (*events, Grew(index=open_part.part, text=delta))

    def _complete(self, place: _Place, part: _Begun | None, whole: Any) -> list[Event]:
        """A part is whole, and this is all of it: tell what has not been told."""
        open_part, events = self._part(place, part)
        if open_part is None or open_part.ended:
            return events
        if isinstance(whole, str) and len(whole) > open_part.said:
            events.append(Grew(index=open_part.part, text=whole[open_part.said :]))
            open_part.said = len(whole)
        return events + self._end_part(open_part)

    def _think(self, output_index: int, source: str, section: int, delta: Any) -> Iterable[Event]:
        """Thoughts grow. The sections of a summary are parted by an empty line."""
        if not isinstance(delta, str) or not delta:
            return ()
        open_part, events = self._part((output_index, 0), Thinking(issuer=WIRE))
        if open_part is None or open_part.ended or open_part.source not in ("", source):
            return events
        if section > open_part.section and open_part.source:
            delta = "\n\n" + delta
        open_part.source, open_part.section = source, section
        open_part.said += len(delta)
        return (*events, Grew(index=open_part.part, text=delta))

    def _end_part(self, open_part: _Open) -> list[Event]:
        if open_part.ended:
            return []
        open_part.ended = True
        return [PartEnded(index=open_part.part)]

    # Items

    def _begin_item(self, output_index: int, item: Item) -> Iterable[Event]:
        if item.get("type") != "function_call":
            return ()
        call = next(iter(read_item(item)), None)
        if not isinstance(call, ToolUse):
            return ()
        return self._part((output_index, 0), ToolUse(id=read_call_id(item), name=call.name))[1]

    def _end_item(self, output_index: int, item: Item) -> Iterable[Event]:
        if item.get("type") == "reasoning":
            return self._end_thought(output_index, item)
        events: list[Event] = []
        for number, part in enumerate(read_item(item)):
            events += self._whole_part((output_index, number), part)
        return events

    def _whole_part(self, place: _Place, part: Part) -> list[Event]:
        match part:
            case Text() | Refusal():
                return self._complete(place, type(part)(text=""), part.text)
            case ToolUse():
                given = "" if part.input == "{}" else part.input
                return self._complete(place, ToolUse(id=part.id, name=part.name), given)
        return []

    def _end_thought(self, output_index: int, item: Item) -> Iterable[Event]:
        text, signature = read_reasoning(item)
        place = (output_index, 0)
        if place not in self._places and not text and not signature:
            return ()
        open_part, events = self._part(place, Thinking(issuer=WIRE))
        if open_part is None or open_part.ended:
            return events
        if text and not open_part.said:
            events.append(Grew(index=open_part.part, text=text))
        if signature:
            events.append(Grew(index=open_part.part, signature=signature))
        return events + self._end_part(open_part)

    def _finish(self, response: Item) -> Iterable[Event]:
        self._incomplete = response.get("incomplete_details")
        usage = response.get("usage")
        self._usage = usage if isinstance(usage, dict) else None
        events: list[Event] = []
        output = response.get("output")
        if not self._parts and isinstance(output, list):
            for number, item in enumerate(output):
                events += self._end_item(number, item) if isinstance(item, dict) else ()
        return (*events, *self.end())
