"""An answer of a model as a stream cut anywhere, and what a repair makes of it."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import msgspec
from hypothesis import strategies as st

from recloser.gateway.canonical import (
    Answer,
    Began,
    Ended,
    Event,
    Grew,
    Part,
    PartBegan,
    PartEnded,
    Request,
    Role,
    Stop,
    Text,
    Tool,
    ToolUse,
    Turn,
)
from recloser.gateway.repairs.mending import mending
from recloser.gateway.wires.telling import gathered, told

WEATHER = Tool(
    name="get_weather",
    schema={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "metric": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    },
)
CLOCK = Tool(name="clock")
WRITE = Tool(
    name="write_file",
    schema={"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}},
)
ASKED = Request(
    model="m", turns=(Turn(role=Role.USER, parts=(Text(text="hi"),)),), tools=(WEATHER, CLOCK, WRITE), max_tokens=100
)
BARE = msgspec.structs.replace(ASKED, tools=())


def answer(*parts: Part | str, stop: Stop = Stop.END) -> Answer:
    """An answer of these parts; text may stand for itself."""
    return Answer(id="a1", model="m", parts=tuple(Text(text=p) if isinstance(p, str) else p for p in parts), stop=stop)


def mended(repairs: str | Sequence[str], given: Answer | str, request: Request = ASKED, size: int = 0) -> Answer:
    """An answer as it is after its repairs; streamed in pieces of a size, or plain."""
    names = [repairs] if isinstance(repairs, str) else repairs
    whole = answer(given) if isinstance(given, str) else given
    if not size:
        return mending(names, request).whole(whole)
    return after(names, in_pieces(whole, lambda text: range(0, len(text), size)), request)


def after(repairs: Sequence[str], events: Iterable[Event], request: Request = ASKED) -> Answer:
    """A stream after its repairs, which is one as it should be."""
    repairing = mending(repairs, request)
    return gathered(well_told([one for event in events for one in repairing.feed(event)]))


def in_pieces(whole: Answer, cuts: Callable[[str], Iterable[int]]) -> Iterable[Event]:
    """An answer as a stream whose parts grow by pieces."""
    for event in told(whole):
        if not isinstance(event, Grew):
            yield event
            continue
        places = sorted({0, len(event.text), *cuts(event.text)})
        yield from (Grew(index=event.index, text=event.text[a:b]) for a, b in pairwise(places))
        if event.signature:
            yield Grew(index=event.index, signature=event.signature)


def well_told(events: list[Event]) -> list[Event]:
    """The same events, which obey the rules of a stream."""
    assert isinstance(events[0], Began)
    assert isinstance(events[-1], Ended)
    open_: set[int] = set()
    begun = 0
    for event in events[1:-1]:
        match event:
            case PartBegan():
                assert event.index == begun
                begun += 1
                open_.add(event.index)
            case Grew():
                assert event.index in open_
            case PartEnded():
                open_.remove(event.index)
            case _:
                raise AssertionError(event)
    assert not open_
    return events


def calls(given: Answer) -> list[tuple[str, str]]:
    """The calls in an answer."""
    return [(part.name, part.input) for part in given.parts if isinstance(part, ToolUse)]


def text(given: Answer) -> str:
    """The words of an answer."""
    return "".join(part.text for part in given.parts if isinstance(part, Text))


CUTS = st.lists(st.integers(0, 400), max_size=12)
