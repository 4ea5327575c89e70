"""Streams for clients on the Responses wire."""

from collections.abc import Iterator

import msgspec

from recloser.gateway import sse
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
    ID_PREFIX,
    item_id,
    write_content,
    write_item,
    write_response,
    write_stop,
)
from recloser.gateway.wires.openai_responses_codec.shapes import Item
from recloser.gateway.wires.phrasing import answer_id

_Begun = Text | Thinking | ToolUse | Refusal


class _Part:
    """A part that is being written, as an item of its own."""

    __slots__ = ("event", "extra", "field", "index", "part", "place", "signature", "texts")

    def __init__(self, part: _Begun, item: str, index: int) -> None:
        self.part = part
        self.index = index
        self.texts: list[str] = []
        self.signature = ""
        self.place: Item = {"item_id": item, "output_index": index}
        self.extra: Item = {}
        match part:
            case Text():
                self.event, self.field, self.extra = "response.output_text", "text", {"logprobs": []}
                self.place["content_index"] = 0
            case Refusal():
                self.event, self.field = "response.refusal", "refusal"
                self.place["content_index"] = 0
            case ToolUse():
                self.event, self.field = "response.function_call_arguments", "arguments"
            case Thinking():
                self.event, self.field = "response.reasoning_summary_text", "text"
                self.place["summary_index"] = 0

    def whole(self) -> _Begun:
        """The part with all that has come of it."""
        text = "".join(self.texts)
        match self.part:
            case Thinking():
                return msgspec.structs.replace(self.part, text=text, signature=self.signature)
            case ToolUse():
                return msgspec.structs.replace(self.part, input=text or "{}")
        return type(self.part)(text=text)


_SECTION = "response.reasoning_summary_part"
_OURS = frozenset({"message", "reasoning", "function_call"})
"""The kinds of items with a word in the canonical form."""
_OF_THE_PROVIDER = frozenset(
    {"code_interpreter_call", "file_search_call", "image_generation_call", "mcp_call", "mcp_list_tools",
     "web_search_call"}
)  # fmt: skip
"""The kinds that tell what the provider did. Once such an item is whole, the answer goes on without the client."""


class ResponsesWriter:
    """Writes one stream for a client. Each part is an item, so parts may grow by turns as they come."""

    __slots__ = ("_created", "_id", "_items", "_model", "_open", "_sequence")

    def __init__(self) -> None:
        self._id = self._model = ""
        self._created = 0
        self._open: dict[int, _Part] = {}
        self._items: list[Item] = []
        self._sequence = 0

    def write(self, event: Event) -> bytes:
        """An event as this wire's server-sent events; may be empty."""
        match event:
            case Grew():
                return self._grow(self._open[event.index], event)
            case PartBegan():
                return self._begin_part(event)
            case PartEnded():
                return b"".join(self._end_part(self._open.pop(event.index)))
            case Began():
                self._id, self._model, self._created = answer_id(event.id, ID_PREFIX), event.model, event.created
                response = write_response(self._id, self._model, self._created)
                return self._sent("response.created", {"response": response}) + self._sent(
                    "response.in_progress", {"response": response}
                )
            case Ended():
                return self._end(event)

    def go_on(self, sent: bytes) -> None:
        """Go on with a stream that somebody else began: its ids, its items, and its numbers."""
        items: dict[int, Item] = {}
        done: set[int] = set()
        for _, data, _ in sse.parse(sent):
            event: Item = msgspec.json.decode(data or b"{}")
            self._sequence = max(self._sequence, event.get("sequence_number", -1) + 1)
            if event.get("type") == "response.created":
                self._id = event["response"]["id"]
            if "item" in event:
                items[event["output_index"]] = event["item"]
            if event.get("type") == "response.output_item.done":
                done.add(event["output_index"])
            if event.get("content_index"):
                raise ValueError("a message of several parts")
        for index, item in items.items():
            if item["type"] not in _OURS and (item["type"] not in _OF_THE_PROVIDER or index not in done):
                raise ValueError("an item that nobody else can finish, or that the client answers")
        self._items = [items[index] for index in range(len(items))]
        for part in self._open.values():
            part.index = max(items)
            part.place |= {"item_id": items[part.index]["id"], "output_index": part.index}

    def _begin_part(self, event: PartBegan) -> bytes:
        part, index = event.part, len(self._items)
        opened = _Part(part, item_id(part, self._id, index), index)
        self._open[event.index] = opened
        empty: Part = msgspec.structs.replace(part, input="{}") if isinstance(part, ToolUse) else part
        item = write_item(empty, self._id, index, "in_progress")
        assert item is not None
        self._items.append(item)
        said = {**item}
        if isinstance(part, ToolUse):
            said["arguments"] = ""
        elif isinstance(part, Thinking):
            said.pop("encrypted_content", None)
        else:
            said["content"] = []
        written = self._sent("response.output_item.added", {"output_index": index, "item": said})
        if isinstance(part, Text | Refusal):
            written += self._sent("response.content_part.added", {**opened.place, "part": write_content(part)})
        return written

    def _grow(self, part: _Part, event: Grew) -> bytes:
        part.signature += event.signature
        if not event.text:
            return b""
        written = b""
        if not part.texts and isinstance(part.part, Thinking):
            section = {"type": "summary_text", "text": ""}
            written = self._sent(f"{_SECTION}.added", {**part.place, "part": section})
        part.texts.append(event.text)
        return written + self._sent(f"{part.event}.delta", {**part.place, "delta": event.text, **part.extra})

    def _end_part(self, part: _Part) -> Iterator[bytes]:
        if not part.texts and isinstance(part.part, ToolUse):
            yield self._grow(part, Grew(index=0, text="{}"))  # an object is needed, and here it is empty
        whole, text = part.whole(), "".join(part.texts)
        item = write_item(whole, self._id, part.index)
        assert item is not None
        item["id"] = part.place["item_id"]
        self._items[part.index] = item
        if text or not isinstance(whole, Thinking):
            yield self._sent(f"{part.event}.done", {**part.place, part.field: text, **part.extra})
        match whole:
            case Text() | Refusal():
                yield self._sent("response.content_part.done", {**part.place, "part": write_content(whole)})
            case Thinking() if text:
                yield self._sent(f"{_SECTION}.done", {**part.place, "part": item["summary"][0]})
        yield self._sent("response.output_item.done", {"output_index": part.index, "item": item})

    def _end(self, event: Ended) -> bytes:
        written = b"".join(piece for part in self._open.values() for piece in self._end_part(part))
        self._open = {}
        refusals = (Refusal(text="") for item in self._items if _refuses(item))
        response = write_response(
            self._id,
            self._model,
            self._created,
            output=self._items,
            stop=write_stop(event.stop, refusals),
            usage=event.usage,
        )
        return written + self._sent(f"response.{response['status']}", {"response": response})

    def _sent(self, kind: str, data: Item) -> bytes:
        number, self._sequence = self._sequence, self._sequence + 1
        return sse.event(_encode({"type": kind, "sequence_number": number, **data}), kind.encode())


_encode = msgspec.json.Encoder().encode


def _refuses(item: Item) -> bool:
    return any(entry["type"] == "refusal" for entry in item.get("content", ()))
