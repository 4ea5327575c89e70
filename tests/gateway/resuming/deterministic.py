"""Providers that say the same, and go on with each other's answers as real models do: exactly, or almost."""

import random
from collections.abc import Iterable, Iterator

import msgspec

from recloser.gateway.canonical import (
    Answer,
    Event,
    Grew,
    Request,
    Role,
    Stop,
    Text,
    Thinking,
    ToolChoice,
    ToolUse,
    Usage,
)
from recloser.gateway.resuming.seam import anchor, telling
from recloser.gateway.wires import CODECS
from recloser.gateway.wires.telling import told
from recloser.testing_wires import asked

WORDS = [
    "the",
    "quick",
    "brown",
    "fox,",
    "jumps",
    "`over = {1: 2}`",
    "\n\n- lazy",
    "dog.",
    "é",
    "漢字",
    "\U0001f98a",
    '"',
    "\\n",
]


def text(rng: random.Random) -> str:
    """Some hundred characters that never repeat a longer stretch of themselves."""
    return "".join(
        f"{rng.choice(WORDS)}{rng.choice(['', ' ', ' ', '  ', chr(10)])}{number} " for number in range(30)
    ).strip()


def answer(rng: random.Random, *, thinks: bool = False, calls: bool = False) -> Answer:
    """What all of them say."""
    parts = (
        *((Thinking(text="let me see " + text(rng), signature="c2ln", issuer="anthropic"),) if thinks else ()),
        Text(text=text(rng)),
        *((ToolUse(id="call_1", name="get_weather", input='{"city":"Oslo","days":[1,2,3]}'),) if calls else ()),
    )
    return Answer(id="answer-1", model="served-1", parts=parts, stop=Stop.TOOL_USE if calls else Stop.END,
                  usage=Usage(input=10, output=200))  # fmt: skip


def pieces(events: Iterable[Event], rng: random.Random) -> Iterator[Event]:
    """The same stream in small pieces, as providers send it."""
    for event in events:
        if not isinstance(event, Grew):
            yield event
            continue
        rest = event.text
        while rest:
            size = rng.randint(1, 9)
            yield Grew(index=event.index, text=rest[:size])
            rest = rest[size:]
        if event.signature:
            yield Grew(index=event.index, signature=event.signature)


def streamed(wire: str, whole: Answer, rng: random.Random) -> list[bytes]:
    """The server-sent events of a provider of this wire."""
    writer = CODECS[wire].writer(msgspec.structs.replace(asked(), stream_usage=True))
    return [written for event in pieces(told(whole), rng) if (written := writer.write(event))]


def rest_of(whole: Answer, request: Request, way: str) -> Answer:
    """What a provider of the same mind answers to a request that holds the beginning of the answer.

    `way`: it says what is missing and no more (rest), begins as it was told (told), begins anew (restart), or says
    something of its own first (preamble).
    """
    words = "".join(part.text for part in whole.parts if isinstance(part, Text))
    calls = tuple(part for part in whole.parts if isinstance(part, ToolUse))
    if request.tool_choice is ToolChoice.NAMED:
        return msgspec.structs.replace(whole, parts=calls)
    known = next((turn for turn in reversed(request.turns) if turn.role is Role.ASSISTANT), None)
    said = "".join(part.text for part in known.parts if isinstance(part, Text)) if known else ""
    assert words.startswith(said), "what was said is said to the next one as it was"
    prefilled = request.turns[-1].role is Role.ASSISTANT
    new = words[len(said) :]
    if said and way == "restart":
        new = words
    elif said and not prefilled and (way != "rest" or not new):
        new = ("Sure! Here is the rest:\n" if way == "preamble" and telling(anchor(said)) else "") + anchor(said) + new
    return msgspec.structs.replace(whole, parts=(*((Text(text=new),) if new else ()), *calls))
