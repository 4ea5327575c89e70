"""What a wire is to the provider: how it is asked, answered, refused and kept alive.

A wire is one file in `answers/` that offers `WIRE`. It decides bytes and knows no socket.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

import msgspec


class Kind(Enum):
    """What a part of an answer is to those who break it off."""

    OPENING = auto()
    KEEPALIVE = auto()
    CONTENT = auto()
    CLOSING = auto()
    FINISH = auto()
    TERMINATOR = auto()


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes that are sent together, after a delay in seconds."""

    kind: Kind
    data: bytes
    delay: float = 0.0


class End(Enum):
    """Why an answer ends, in no wire's words."""

    STOP = auto()
    TOOL = auto()
    LENGTH = auto()
    REFUSAL = auto()
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request was sent."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said, up to where the other began."""

    by_model: bool
    text: str = ""
    calls: bool = False
    """Whether tools were called in it."""
    results: bool = False
    """Whether it holds what tools answered."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the request declares, with the JSON schema of its input."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seal:
    """A signature of a thought that came back, over these words; what to say if it is not the provider's own."""

    signature: str
    words: str
    complaint: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What the provider needs to know of a request."""

    model: str
    stream: bool = False
    turns: Sequence[Turn] = ()
    tools: Sequence[Tool] = ()
    forced: bool = False
    """Whether a tool must be called: the first of `tools`."""
    thinks: bool = False
    """Whether the model is told to think before it says anything."""
    seals: Sequence[Seal] = ()
    include_usage: bool = False
    array: bool = False
    """Whether the stream is a JSON array instead of events."""
    input_tokens: int = 1


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the request's tools, its input as JSON text."""

    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class Thought:
    """What was thought before the answer, and the signature that proves whose it is."""

    pieces: Sequence[str]
    signature: str
    seal: str
    """A signature that stands for itself, for wires on which the words of a thought do not come back."""

    @property
    def text(self) -> str:
        """All pieces as one."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the provider answers, before a wire dresses it: a thought, words, a call, in this order."""

    id: str
    created: int
    fingerprint: str = "fp_chaos"
    thought: Thought | None = None
    pieces: Sequence[str] = ()
    tool: ToolCall | None = None
    end: End = End.STOP

    @property
    def text(self) -> str:
        """All pieces as one."""
        return "".join(self.pieces)

    @property
    def thought_tokens(self) -> int:
        """One a piece."""
        return len(self.thought.pieces) if self.thought else 0

    @property
    def output_tokens(self) -> int:
        """One a piece, thoughts included; a tool call costs a few as well."""
        return self.thought_tokens + len(self.pieces) + (len(self.tool.arguments) // 4 + 8 if self.tool else 0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with an error status, ready to be sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a wire needs to phrase a refusal."""

    request_id: str
    now: float
    model: str = ""
    stream: bool = False
    wait: float | None = None
    message: str | None = None
    param: str | None = None


class BadAskError(ValueError):
    """The request lacks something; `param` names it."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Wire(Protocol):
    """One protocol, as the provider speaks it."""

    @property
    def name(self) -> str:
        """How it is called in reports."""

    @property
    def paths(self) -> Sequence[str]:
        """Where it is asked for answers."""

    @property
    def counting_paths(self) -> Sequence[str]:
        """Where it is asked how many tokens a request has."""

    @property
    def listing_paths(self) -> Sequence[str]:
        """Where it alone is asked for the models; the path that wires share is none of them."""

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Whether a request on a shared path comes from one of its clients."""

    def headers(self, request_id: str) -> Mapping[str, str]:
        """What stands on every response."""

    def read(self, address: Address, body: Mapping[str, Any], size: int) -> Ask:
        """Understand a request; a BadAskError says what it lacks."""

    def answer(self, ask: Ask, reply: Reply) -> Any:
        """The plain answer."""

    def events(self, ask: Ask, reply: Reply) -> Iterator[Part]:
        """The same answer as a stream."""

    def keepalive(self) -> bytes:
        """What keeps a stream open without saying anything."""

    def malformed(self) -> bytes:
        """An event whose JSON breaks off."""

    def error(self, kind: str, request_id: str) -> Any:
        """The error object inside a 200; an empty kind takes the wire's most usual one."""

    def error_event(self, kind: str, request_id: str) -> bytes:
        """The same as an event of a stream."""

    def refuse(self, reason: str, grounds: Grounds) -> Refusal:
        """The error for a status or a named refusal such as `credit`."""

    def count(self, ask: Ask) -> Any:
        """The answer on a counting path."""

    def models(self, names: Sequence[str], owner: str) -> Any:
        """The list of models."""


ERROR_MESSAGES = {
    "overloaded_error": "Overloaded",
    "api_error": "Internal server error",
    "server_error": "The server had an error while processing your request. Sorry about that!",
    "rate_limit_error": "This request would exceed your organization's rate limit. Please try again later.",
    "rate_limit_exceeded": "Rate limit reached for requests.",
    "timeout_error": "The request timed out.",
    "invalid_request_error": "The request is invalid.",
}


def to_json(value: Any) -> bytes:
    """Compact JSON, as providers send it."""
    return msgspec.json.encode(value)


def retry_after(wait: float | None) -> dict[str, str]:
    """The header for a wait; a header of whole seconds cannot say less than one, so another says it."""
    if wait is None:
        return {}
    if wait.is_integer():
        return {"retry-after": str(int(wait))}
    return {"retry-after-ms": str(math.ceil(wait * 1000))}


def merged(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """The turns as they alternate: what one side said in several messages is one turn.

    A model's words go on where they ended; a user's messages are apart.
    """
    whole: list[Turn] = []
    for turn in turns:
        goes_on = bool(whole) and whole[-1].by_model == turn.by_model
        whole.append(_joined(whole.pop(), turn) if goes_on else turn)
    return tuple(whole)


def _joined(last: Turn, turn: Turn) -> Turn:
    between = " " if last.text and turn.text and not turn.by_model else ""
    text = last.text + between + turn.text
    return Turn(turn.by_model, text, last.calls or turn.calls, last.results or turn.results)


def objects(given: Any) -> list[dict[str, Any]]:
    """The objects of a list in somebody's JSON; none where there is no list."""
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def in_tokens(arguments: str) -> Iterator[str]:
    """A call's input as models write it: broken wherever a token ends."""
    yield from (arguments[at : at + 8] for at in range(0, len(arguments), 8))


def only(tools: Sequence[Tool], name: Any) -> tuple[Tool, ...]:
    """The tool that a request insists on, where it names one it declares; otherwise all of them."""
    return tuple(tool for tool in tools if tool.name == name) or tuple(tools)
