"""What a client has been told of an answer that broke off, and what may be done about the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

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
from recloser.gateway.wires.codec import StreamReader
from recloser.gateway.wires.phrasing import is_object


@dataclass(slots=True)
class SaidPart:
    """A part of the answer, as far as it has come."""

    index: int
    part: Part
    texts: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def text(self) -> str:
        """All that has come of it."""
        return "".join(self.texts)

    @property
    def whole(self) -> bool:
        """Whether nothing can be missing. Not every wire says where a call ends, but its arguments do."""
        return self.ended or (isinstance(self.part, ToolUse) and is_object(self.text))


_ENDINGS = (".", "!", "?", "`", ")", "]", "}", '"', ">", "|", "*", ":", ";", "\u3002", "\uff01", "\uff1f", "\u201d")
"""What a text ends with, as a rule; a word or a comma is not among them."""


class Missing(Enum):
    """What is still to be said of an answer."""

    WORDS = "words"
    """More of the text; or text, where nothing but finished thoughts came."""
    CALL = "call"
    """The input of a tool call of which only the name is known."""
    END = "end"
    """Nothing but the end: the last call is whole, and the model waits for what the tool gives."""
    NOBODY_KNOWS = "nobody knows"
    """It cannot be finished by anybody else: thoughts are private, and half an input is nobody's."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as far as its client was told."""

    events: Sequence[Event]
    """In the order in which they came; without the ends that did not come."""
    parts: Sequence[SaidPart]
    began: Began

    @property
    def words(self) -> str:
        """All its text."""
        return "".join(said.text for said in self.parts if isinstance(said.part, Text))

    @property
    def called(self) -> str:
        """The tool that the last part calls, if it calls one."""
        last = self.parts[-1].part
        return last.name if isinstance(last, ToolUse) else ""

    @property
    def looks_finished(self) -> bool:
        """Whether perhaps nothing is missing but the end, so that there may be nothing more to say."""
        return self.parts[-1].ended or self.words.rstrip().endswith(_ENDINGS)

    def missing(self) -> Missing:
        """What is still to be said."""
        if not self.parts or any(isinstance(said.part, Refusal) for said in self.parts):
            return Missing.NOBODY_KNOWS
        *before, last = self.parts
        calls = [said for said in before if isinstance(said.part, ToolUse)]
        match last.part:
            case ToolUse() if all(said.whole for said in calls):
                if last.whole:
                    return Missing.END
                return Missing.NOBODY_KNOWS if calls or last.text.strip() else Missing.CALL
            case Text() if not calls:
                return Missing.WORDS
            case Thinking() if last.ended and not calls:
                return Missing.WORDS
        return Missing.NOBODY_KNOWS


def read_said(reader: StreamReader, sent: bytes) -> Said:
    """What a client was told; ValueError or MsgspecError if its own wire cannot be read."""
    events = [event for name, data, _ in sse.parse(sent) if data for event in reader.read(name, data)]
    # A reader may keep something until it knows more, such as a call without any input yet: the client has seen it.
    events += [event for event in reader.end() if not isinstance(event, PartEnded | Ended)]
    began = next((event for event in events if isinstance(event, Began)), Began(id="", model=""))
    return Said(events, _parts(events), began)


def _parts(events: Iterable[Event]) -> list[SaidPart]:
    parts: dict[int, SaidPart] = {}
    for event in events:
        match event:
            case PartBegan():
                parts[event.index] = SaidPart(event.index, event.part)
            case Grew():
                parts[event.index].texts.append(event.text)
            case PartEnded():
                parts[event.index].ended = True
    return list(parts.values())


UNREADABLE = (ValueError, msgspec.MsgspecError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading back what was sent may raise."""
