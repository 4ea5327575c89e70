"""What passes between a client and one target: bytes where both speak the same wire, else a translation.

A translation reads what comes into the canonical form and writes it in the other side's words. What was watched for
faults before, on the target's own wire, is all that it is fed.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from recloser.gateway import canonical, sse
from recloser.gateway.request import Request
from recloser.gateway.splice import with_model
from recloser.gateway.targets import Target
from recloser.gateway.wires import CODECS, WIRES
from recloser.gateway.wires.foreign_thoughts import without_foreign_thoughts
from recloser.gateway.wires.wire import BadRequestError, Wire

_NAMES_AN_ANSWER = frozenset({"request-id", "x-request-id", "apim-request-id", "x-amzn-requestid", "cf-ray"})
"""Headers that find an answer again in its provider's logs. All others speak of the provider's own wire."""
_KEPT_BY_PROVIDERS = {"openai-responses": frozenset({"previous_response_id", "conversation", "prompt"})}
"""Fields that stand for what a provider of the wire keeps: without it, another one would answer something else."""


class Passage(Protocol):
    """One attempt's way there and back."""

    wire: Wire
    """The target's."""
    path: str
    """Where it is asked, after its base URL."""
    body: bytes
    """What it is sent."""
    dropped: tuple[str, ...]
    """The names of what could not be carried."""
    verbatim: bool
    """Whether the target's own errors are in the client's shape."""

    def headers(self, upstream: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of the target's answer that are of use to the client."""
        ...

    def answer(self, body: bytes) -> bytes:
        """A plain answer, for the client; raises one of `UNREADABLE` if it is none."""
        ...

    def piece(self, whole: bytes) -> bytes:
        """Whole events of a stream, for the client; raises one of `UNREADABLE` if they are none."""
        ...

    def rest(self, *, terminated: bool) -> bytes:
        """What a finished stream still lacks, and whether its last event came."""
        ...


class SameWire:
    """Bytes pass; only the model's name is changed."""

    __slots__ = ("body", "dropped", "path", "wire")
    verbatim = True

    def __init__(self, wire: Wire, path: str, body: bytes, dropped: tuple[str, ...]) -> None:
        self.wire = wire
        self.path = path
        self.body = body
        self.dropped = dropped

    def headers(self, upstream: Mapping[str, str]) -> Mapping[str, str]:
        """All of them."""
        return upstream

    def answer(self, body: bytes) -> bytes:
        """The answer as it is."""
        return body

    def piece(self, whole: bytes) -> bytes:
        """The events as they are."""
        return whole

    def rest(self, *, terminated: bool) -> bytes:
        """The stream's own last event, if it did not come."""
        return b"" if terminated else self.wire.terminator


class Translated:
    """Read on the target's wire and written on the client's."""

    __slots__ = ("_codec", "_model", "_reader", "_wall_clock", "_writer", "body", "dropped", "path", "wire")
    verbatim = False

    def __init__(
        self, wire: Wire, path: str, client_wire: Wire, request: canonical.Request, wall_clock: Callable[[], float]
    ) -> None:
        upstream = CODECS[wire.name]
        written = upstream.write_request(request)
        self.wire = wire
        self.path = path
        self.body = written.body
        self.dropped = written.dropped
        self._codec = CODECS[client_wire.name]
        self._model = request.model
        self._wall_clock = wall_clock
        self._reader = upstream.reader()
        self._writer = self._codec.writer(request)

    def headers(self, upstream: Mapping[str, str]) -> Mapping[str, str]:
        """Those by which the answer is found again."""
        return {name: value for name, value in upstream.items() if name in _NAMES_AN_ANSWER}

    def answer(self, body: bytes) -> bytes:
        """A plain answer, for the client."""
        answer = CODECS[self.wire.name].read_answer(body)
        return self._codec.write_answer(
            msgspec.structs.replace(answer, model=answer.model or self._model, created=answer.created or self._now())
        )

    def piece(self, whole: bytes) -> bytes:
        """Whole events of a stream, for the client."""
        read, write = self._reader.read, self._write
        return b"".join([write(event) for name, data, _ in sse.parse(whole) if data for event in read(name, data)])

    def rest(self, *, terminated: bool) -> bytes:  # noqa: ARG002 - the reader knows what it was fed
        """Whatever ends the parts and the answer."""
        return b"".join([self._write(event) for event in self._reader.end()])

    def _write(self, event: canonical.Event) -> bytes:
        if isinstance(event, canonical.Began):
            event = msgspec.structs.replace(
                event, model=event.model or self._model, created=event.created or self._now()
            )
        return self._writer.write(event)

    def _now(self) -> int:
        return int(self._wall_clock())


class Translation:
    """A client's request on the wires of its targets."""

    __slots__ = ("_request", "_wall_clock")

    def __init__(self, request: Request, wall_clock: Callable[[], float]) -> None:
        self._request = request
        self._wall_clock = wall_clock

    def to(self, target: Target) -> Passage:
        """The way to a target and back; BadRequestError if the request cannot be said on its wire."""
        request = self._request
        wire = WIRES[target.wire_for(request.wire.name)]
        path = wire.asked_at(target.model, stream=request.envelope.stream)
        if wire is not request.wire:
            said = msgspec.structs.replace(self._movable(), model=target.model)
            return Translated(wire, path, request.wire, said, self._wall_clock)
        body, dropped = without_foreign_thoughts(request.body, wire.name)
        if wire.model_in_body:
            body = with_model(body, request.envelope.model, target.model)
        return SameWire(wire, path, body, dropped)

    def _movable(self) -> canonical.Request:
        read = self._request.read()
        for name in _KEPT_BY_PROVIDERS.get(self._request.wire.name, frozenset()).intersection(read.unread):
            raise BadRequestError(f"{name}: what one provider keeps, no other can be asked about", name)
        return read
