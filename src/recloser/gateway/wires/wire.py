"""What every wire offers, and what they share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from recloser.core.failure import FailureKind
from recloser.gateway import sse
from recloser.gateway.canonical import Usage
from recloser.gateway.estimate import CHARACTERS_PER_TOKEN


class BadRequestError(ValueError):
    """A request that cannot be routed. `field` is the name of what is wrong with it, if it has one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Envelope(NamedTuple):
    """What routing needs to know of a request."""

    model: str
    stream: bool
    after_tool_result: bool
    """Whether the conversation's last word is a tool's result: a model may end its turn in silence after it."""
    usage_asked: bool = True
    """Whether the answer's usage is told, as it always is on most wires."""


class Ending(Enum):
    """How an answer ended."""

    ORDINARY = "ordinary"
    """A finished turn: it ought to have said something."""
    CUT_SHORT = "cut short"
    """A limit, a pause, a refusal: an empty answer is no fault."""


class Answer(NamedTuple):
    """What a plain answer turned out to be."""

    content: bool = False
    ending: Ending = Ending.ORDINARY
    error: Any = None
    """The decoded error object, if the answer is one."""
    broken: str = ""
    """Why it is no answer of this wire at all."""
    usage: Usage = Usage()
    """What the target tells that it used."""


class Refusal(NamedTuple):
    """What a client is told when it gets no answer."""

    status: int
    kind: str
    """A failure kind, or what was wrong with the request."""
    message: str
    field: str | None = None

    @property
    def own_name(self) -> str | None:
        """What a gateway refuses for reasons of its own: a name that says more than the status does; else None."""
        return self.kind if self.status in _OWN_STATUSES and self.kind not in _GENERAL else None


_OWN_STATUSES = (400, 402, 403, 413, 422)
_GENERAL = frozenset(kind.value for kind in FailureKind) | {"forbidden"}


class Watch(Protocol):
    """Watches one upstream stream: lets whole events through and notes what they mean."""

    content: bool
    """Whether something was said, thought or called."""
    finished: bool
    """Whether the answer said how it ended."""
    terminated: bool
    """Whether the stream's own last event came."""
    ending: Ending
    events: int
    """How many events came that were not keep-alives."""
    said: float
    """How much was said, thought and called with so far: in ASCII characters, others being worth a token each."""

    def usage(self) -> Usage:
        """What the target told so far that it used."""
        ...

    def fault(self) -> Answer | None:
        """The error object, or what was no event of this wire, if either came. Nothing after it is let through."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; give what may be forwarded."""
        ...

    def end(self) -> bytes:
        """The stream ended; give what may still be forwarded."""
        ...


class Hold(Protocol):
    """What a streaming client is told while it waits, and how its stream goes on from there."""

    def keepalive(self) -> bytes:
        """A sign of life."""
        ...

    def rewrite(self, whole: bytes) -> bytes:
        """Whole events of the answer, as they go on from what the client was told."""
        ...


class SteadyHold:
    """The same sign of life each time, which changes nothing about the answer."""

    __slots__ = ("_sign",)

    def __init__(self, sign: bytes) -> None:
        self._sign = sign

    def keepalive(self) -> bytes:
        """A sign of life."""
        return self._sign

    def rewrite(self, whole: bytes) -> bytes:
        """The answer as it is."""
        return whole


class Wire(Protocol):
    """One protocol, as a client and as a provider speak it."""

    name: str
    path: str
    """Where clients ask."""
    upstream_path: str
    """Where providers answer, relative to the base URL as the wire's SDK takes it."""
    models_path: str
    model_in_body: bool
    """Whether a request names its model; else its address does."""
    comments: bool
    """Whether clients pass over a comment in a stream."""
    keepalive: bytes
    terminator: bytes
    """The stream's own last event, for a stream that finished without it."""

    def asked_at(self, model: str, *, stream: bool) -> str:
        """Where a provider is asked for this model, relative to the base URL; BadRequestError if that is no name."""
        ...

    def read(self, body: bytes, model: str = "", *, stream: bool = False) -> Envelope:
        """What routing needs of a request; BadRequestError if it cannot be routed.

        `model` and `stream` are what the address says, on a wire where it does.
        """
        ...

    def hold(self, request_id: str, model: str, created: int) -> Hold:
        """What keeps a stream alive while nobody answers. `created` is in Unix seconds."""
        ...

    def judge(self, body: bytes) -> Answer:
        """What a plain answer is."""
        ...

    def watch(self) -> Watch:
        """A watch for one stream."""
        ...

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """The body of an error answer."""
        ...

    def stream_error(self, refusal: Refusal, request_id: str) -> bytes:
        """The event that ends a broken stream."""
        ...


UNREADABLE = (msgspec.MsgspecError, RecursionError, TypeError, ValueError)
"""What decoding a stranger's bytes, and looking at what came of it, may raise."""


class EventWatch(ABC):
    """The part of a watch that all wires share: splitting, and stopping at an error or at the end."""

    __slots__ = ("_splitter", "broken", "content", "ending", "error", "events", "finished", "said", "terminated")

    def __init__(self) -> None:
        self._splitter = sse.Splitter()
        self.content = self.finished = self.terminated = False
        self.events = 0
        self.said: float = 0
        self.ending = Ending.ORDINARY
        self.error: Any = None
        self.broken: str = ""

    def usage(self) -> Usage:
        """What the target told so far that it used."""
        return Usage()

    def say(self, text: Any) -> None:
        """Something was said, if it is text. This is asked of every event."""
        if isinstance(text, str):
            self.said += len(text)
            if not text.isascii():
                beyond = len(text) - len(text.encode("ascii", "ignore"))
                self.said += beyond * (CHARACTERS_PER_TOKEN - 1)

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; give what may be forwarded."""
        try:
            return self._passed(self._splitter.feed(chunk))
        except sse.EventTooLargeError as error:
            self.broken = str(error)
            return b""

    def end(self) -> bytes:
        """The stream ended; give what may still be forwarded."""
        rest = self._passed(self._splitter.end())
        self.broken = ""  # half an event at the end is a break of the connection, not of the wire
        return rest

    def fault(self) -> Answer | None:
        """The error object, or what was no event of this wire, if either came."""
        if self.error is None and not self.broken:
            return None
        return Answer(content=True, error=self.error, broken=self.broken)

    def _passed(self, whole: bytes) -> bytes:
        """Note what whole events mean; give those before an error and up to the end of the stream."""
        good = 0
        for name, data, length in sse.parse(whole):
            if self.terminated:
                break
            if data and name != b"ping":
                self.events += 1
                try:
                    self._note(name, data)
                except UNREADABLE as error:
                    self.broken = f"not an event: {error}"
                if self.error is not None or self.broken:
                    break
            good += length
        return whole if good == len(whole) else whole[:good]

    @abstractmethod
    def _note(self, name: bytes, data: bytes) -> None:
        """Note what an event means; raise one of `UNREADABLE` if it is no event of this wire."""


LARGEST_ERROR = 2**20
"""Bytes of an error that are read and decoded: nobody has more to say, and decoding all of a hostile one takes long."""


def error_object(body: bytes) -> Any:
    """The decoded error inside a 200; ValueError if it is too large to be one."""
    if len(body) > LARGEST_ERROR:
        raise ValueError(f"an error of {len(body)} bytes")
    return msgspec.json.decode(body)


def decode_error(body: bytes) -> tuple[Any, str]:
    """An error body as JSON (None if it is none) and as text."""
    try:
        return msgspec.json.decode(body), body[:4096].decode("utf-8", "replace")
    except UNREADABLE:
        return None, body[:4096].decode("utf-8", "replace")


R = TypeVar("R")


def read_request(decode: Callable[[bytes | msgspec.Raw], R], body: bytes | msgspec.Raw) -> R:
    """A request, or a part of it, decoded as far as it matters; BadRequestError if it is none."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise wrong_field(error) from error
    except UNREADABLE as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from error


def wrong_field(error: msgspec.ValidationError, inside: str = "") -> BadRequestError:
    """What msgspec found wrong with a request, or with what stands at `inside` of it, naming the field."""
    what, _, path = str(error).partition(" - at `$")
    missing = what.split("`")[1] if "required field" in what else ""
    path = path.rstrip("`").removeprefix("[...]").lstrip(".")  # so it calls a field whose name it does not tell
    steps = (inside, path, missing)
    place = ".".join(step for step in steps if step).replace(".[", "[")
    if missing:
        return BadRequestError(f"{place}: Field required", place)
    return BadRequestError(f"{place or 'body'}: {what}", place or None)
