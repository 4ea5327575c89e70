"""Requests, answers and streams that a wire can say in full, as Hypothesis strategies."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from recloser.gateway.canonical import (
    Answer,
    Document,
    Effort,
    Event,
    Grew,
    Image,
    OutputSchema,
    Part,
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
)
from recloser.gateway.wires.phrasing import is_object
from recloser.gateway.wires.telling import told

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=20)
LETTERS = st.characters(exclude_categories=["Cs"])
SAID = st.text(LETTERS, min_size=1, max_size=30)
WORDS = SAID.filter(str.strip)
"""Words that are not blank, and that end in some: what goes on from them must not begin in white space."""
UNENDING = WORDS.map(lambda text: text + ".")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | SAID,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SAID, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(SAID, JSON, max_size=3).map(lambda given: msgspec.json.encode(given).decode())
BROKEN = WORDS.filter(lambda text: not is_object(text) and text.strip() != "null")
SCHEMAS = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.just({}), "additionalProperties": st.booleans()}
)
BASE64 = st.sampled_from(["iVBORw0KGgo=", "JVBERi0=", "AAAA"])
TOKENS = st.integers(0, 10**6)

PICTURES = st.builds(Image, media_type=st.sampled_from(["image/png", "image/jpeg"]), data=BASE64) | st.builds(
    Image, url=NAMES.map("https://example.com/{}".format)
)
PDFS = st.builds(Document, media_type=st.just("application/pdf"), data=BASE64, name=NAMES)
CALLS = st.builds(ToolUse, id=NAMES, name=NAMES, input=ARGUMENTS | BROKEN)
TOOLS = st.lists(
    st.builds(Tool, name=NAMES, description=st.just("") | SAID, schema=SCHEMAS, strict=st.none() | st.booleans()),
    max_size=3,
    unique_by=lambda tool: tool.name,
)


def _turns(users: st.SearchStrategy[Turn], assistants: st.SearchStrategy[Turn]) -> st.SearchStrategy[tuple[Turn, ...]]:
    pairs = st.lists(st.tuples(users, assistants), max_size=3)
    return st.tuples(pairs, users).map(lambda both: (*(turn for pair in both[0] for turn in pair), both[1]))


@st.composite
def _requests(draw: st.DrawFn, /, turns: st.SearchStrategy[tuple[Turn, ...]], **own: st.SearchStrategy[Any]) -> Request:
    tools = tuple(draw(TOOLS))
    choice = draw(st.none() | st.sampled_from(list(ToolChoice))) if tools else None
    given: dict[str, Any] = {name: draw(strategy) for name, strategy in own.items()}
    return Request(
        model=draw(NAMES),
        turns=draw(turns),
        tools=tools,
        tool_choice=choice,
        tool_name=draw(st.sampled_from(tools)).name if choice is ToolChoice.NAMED else "",
        max_tokens=draw(st.integers(1, 10**6)),
        user=draw(st.just("") | NAMES),
        **given,
    )


def _turn(role: Role) -> Callable[[list[list[Part]]], Turn]:
    return lambda groups: Turn(role=role, parts=tuple(part for group in groups for part in group))


def _groups(role: Role, *groups: st.SearchStrategy[list[Part]]) -> st.SearchStrategy[Turn]:
    return st.tuples(*groups).map(list).filter(any).map(_turn(role))


def _some(parts: st.SearchStrategy[Part], most: int = 3) -> st.SearchStrategy[list[Part]]:
    return st.lists(parts, max_size=most)


SCHEMED = st.builds(OutputSchema, schema=SCHEMAS)

# Anthropic Messages

_ANTHROPIC_FILES = (
    PDFS
    | st.builds(Document, media_type=st.just("text/plain"), text=WORDS, name=NAMES)
    | st.builds(Document, media_type=st.just("application/pdf"), url=NAMES.map("https://example.com/{}".format))
)
_ANTHROPIC_RESULTS = st.builds(
    ToolResult,
    id=NAMES,
    parts=st.lists(st.builds(Text, text=WORDS) | PICTURES | _ANTHROPIC_FILES, max_size=3).map(tuple),
    is_error=st.booleans(),
)
ANTHROPIC_THOUGHTS = st.builds(Thinking, text=SAID, signature=NAMES, issuer=st.just("anthropic")) | st.builds(
    Thinking, redacted=NAMES, issuer=st.just("anthropic")
)
_ANTHROPIC_TURNS = _turns(
    _groups(Role.USER, _some(_ANTHROPIC_RESULTS), _some(st.builds(Text, text=WORDS) | PICTURES | _ANTHROPIC_FILES)),
    _groups(Role.ASSISTANT, _some(ANTHROPIC_THOUGHTS | st.builds(Text, text=WORDS) | CALLS)),
)
_BUDGETED = st.builds(Reasoning, budget=st.just(1024), shown=st.none() | st.booleans())
ANTHROPIC_REQUESTS = st.one_of(
    _requests(
        _ANTHROPIC_TURNS,
        system=st.lists(st.builds(Text, text=WORDS), max_size=3).map(tuple),
        stop=st.lists(WORDS, max_size=5).map(tuple),
        output=st.none() | SCHEMED,
        temperature=st.none() | st.floats(0, 1),
        top_p=st.none() | st.floats(0, 1),
        top_k=st.none() | TOKENS,
        reasoning=st.none() | st.builds(Reasoning, enabled=st.none(), effort=st.sampled_from(["low", "high", "max"])),
    ),
    _requests(_ANTHROPIC_TURNS, top_p=st.none() | st.floats(0.95, 1), reasoning=st.just(Reasoning(enabled=False))),
    _requests(_ANTHROPIC_TURNS, reasoning=_BUDGETED).filter(
        lambda request: (
            request.max_tokens is not None
            and request.max_tokens > 1024
            and request.tool_choice not in (ToolChoice.ANY, ToolChoice.NAMED)
        )
    ),
)


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    read, written, output = draw(TOKENS), draw(TOKENS), draw(TOKENS)
    return Usage(
        input=draw(TOKENS) + read + written,
        output=output,
        cache_read=read,
        cache_write=written,
        reasoning=draw(st.none() | st.integers(0, output)),
    )


@st.composite
def _answers(
    draw: st.DrawFn, parts: st.SearchStrategy[list[list[Part]]], prefix: str, stops: list[Stop], created: int
) -> Answer:
    said = tuple(part for group in draw(parts) for part in group)
    calls = any(isinstance(part, ToolUse) for part in said)
    stop = draw(st.sampled_from([*stops, Stop.TOOL_USE if calls else Stop.END]))
    return Answer(
        id=prefix + draw(NAMES),
        model=draw(NAMES),
        parts=said,
        stop=stop,
        stop_sequence=draw(WORDS) if stop is Stop.SEQUENCE else "",
        usage=draw(_usages()),
        created=created,
    )


ANTHROPIC_ANSWERS = _answers(
    st.tuples(_some(st.builds(Text, text=SAID) | ANTHROPIC_THOUGHTS | CALLS, 5)).map(list),
    "msg_",
    [Stop.LENGTH, Stop.SEQUENCE, Stop.PAUSE, Stop.REFUSAL, Stop.CONTEXT],
    0,
)

# Chat Completions

CHAT_THOUGHTS = st.builds(Thinking, text=SAID, issuer=st.just("openai-chat"))
_CHAT_RESULTS = st.builds(ToolResult, id=NAMES, parts=st.tuples(st.builds(Text, text=st.just("") | SAID)))
_SHOWN = st.tuples(PICTURES | PDFS, _some(st.builds(Text, text=SAID) | PICTURES | PDFS)).map(
    lambda both: [both[0], *both[1]]
)
_CHAT_SAID = [
    _some(CHAT_THOUGHTS, 1),
    _some(st.builds(Text, text=SAID), 1),
    _some(st.builds(Refusal, text=SAID), 1),
    _some(CALLS),
]
CHAT_REQUESTS = _requests(
    _turns(
        _groups(Role.USER, _some(_CHAT_RESULTS), _some(st.builds(Text, text=SAID), 1) | _SHOWN),
        _groups(Role.ASSISTANT, *_CHAT_SAID),
    ),
    system=st.just(()) | st.tuples(st.builds(Text, text=SAID)),
    stop=st.lists(SAID, max_size=4).map(tuple),
    output=st.none()
    | st.just(OutputSchema())
    | st.builds(
        OutputSchema, schema=SCHEMAS, name=NAMES, description=st.just("") | SAID, strict=st.none() | st.booleans()
    ),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    seed=st.none() | TOKENS,
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    reasoning=st.none()
    | st.builds(Reasoning, effort=st.sampled_from([Effort.LOW, Effort.MEDIUM, Effort.HIGH]))
    | st.just(Reasoning(enabled=False, effort=Effort.NONE)),
)
CHAT_ANSWERS = _answers(st.tuples(*_CHAT_SAID).map(list), "chatcmpl-", [Stop.LENGTH, Stop.FILTER], 1_790_000_000)


@st.composite
def in_pieces(draw: st.DrawFn, answers: st.SearchStrategy[Answer]) -> list[Event]:
    """An answer as a stream in which parts grow by pieces."""
    events: list[Event] = []
    for event in told(draw(answers)):
        if not isinstance(event, Grew):
            events.append(event)
            continue
        cuts = sorted({0, len(event.text), *draw(st.lists(st.integers(0, len(event.text)), max_size=4))})
        pieces = [event.text[at:to] for at, to in pairwise(cuts)]
        events += [Grew(index=event.index, text=piece) for piece in pieces]
        if event.signature:
            events.append(Grew(index=event.index, signature=event.signature))
    return events
