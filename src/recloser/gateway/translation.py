"""What passes between a client and one target: bytes where both speak the same wire, else a translation.

A translation reads what comes into the canonical form and writes it in the other side's words. What was watched for
faults before, on the target's own wire, is all that it is fed.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from recloser.gateway import canonical, sse, unasked_usage
from recloser.gateway.metering import price_of
from recloser.gateway.providers import provider_kinds
from recloser.gateway.repairs.mending import Mending, mending
from recloser.gateway.request import Request
from recloser.gateway.splice import with_model
from recloser.gateway.targets import Target
from recloser.gateway.wires import ALL_WIRES, CODECS
from recloser.gateway.wires.foreign_thoughts import without_foreign_thoughts
from recloser.gateway.wires.wire import BadRequestError, Wire
from recloser.gateway.wires.words_in_results import with_words_in_results

_NAMES_AN_ANSWER = frozenset({"request-id", "x-request-id", "apim-request-id", "x-amzn-requestid", "cf-ray"})
"""Headers that find an answer again in its provider's logs. All others speak of the provider's own wire."""
_KEPT_BY_PROVIDERS = {"openai-responses": frozenset({"previous_response_id", "conversation", "prompt"})}
"""Fields that stand for what a provider of the wire keeps: without it, another one would answer something else."""
_MORE_THAN_ONE_ANSWER = frozenset({"n", "top_logprobs", "audio"})
"""Fields that ask for what no answer in the canonical form holds."""


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
    may_be_silent: bool
    """Whether an answer without anything in it is one."""

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
    may_be_silent = False

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


class UnaskedUsage(SameWire):
    """As the same wire; but the target is asked for the usage of its stream, which the client did not ask for."""

    __slots__ = ()

    def __init__(self, wire: Wire, path: str, body: bytes, dropped: tuple[str, ...]) -> None:
        super().__init__(wire, path, unasked_usage.asking(body), dropped)

    def piece(self, whole: bytes) -> bytes:
        """The events as they are, but for the one that tells it."""
        return unasked_usage.untold(whole)


class Translated:
    """Read on the target's wire and written on the client's."""

    __slots__ = (
        "_codec",
        "_mending",
        "_model",
        "_reader",
        "_wall_clock",
        "_writer",
        "body",
        "dropped",
        "path",
        "wire",
    )
    verbatim = False
    may_be_silent = False

    def __init__(
        self,
        wire: Wire,
        path: str,
        client_wire: Wire,
        request: canonical.Request,
        wall_clock: Callable[[], float],
        *,
        mended: Mending,
        written: canonical.Written | None = None,
    ) -> None:
        """`written` is the request as the target gets it, if it is not to be written anew."""
        upstream = CODECS[wire.name]
        written = written or upstream.write_request(request)
        self.wire = wire
        self.path = path
        self.body = written.body
        self.dropped = written.dropped
        self._codec = CODECS[client_wire.name]
        self._model = request.model
        self._mending = mended
        self._wall_clock = wall_clock
        self._reader = upstream.reader()
        self._writer = self._codec.writer(request)

    def headers(self, upstream: Mapping[str, str]) -> Mapping[str, str]:
        """Those by which the answer is found again."""
        return {name: value for name, value in upstream.items() if name in _NAMES_AN_ANSWER}

    def answer(self, body: bytes) -> bytes:
        """A plain answer, for the client."""
        answer = self._mending.whole(CODECS[self.wire.name].read_answer(body))
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
        if self._mending:
            return b"".join([self._written(mended) for mended in self._mending.feed(event)])
        return self._written(event)

    def _written(self, event: canonical.Event) -> bytes:
        if isinstance(event, canonical.Began):
            event = msgspec.structs.replace(
                event, model=event.model or self._model, created=event.created or self._now()
            )
        return self._writer.write(event)

    def _now(self) -> int:
        return int(self._wall_clock())


class Repaired(Translated):
    """Read, repaired and written again on one and the same wire: all but the answer passes as it is."""

    __slots__ = ()
    verbatim = True

    def headers(self, upstream: Mapping[str, str]) -> Mapping[str, str]:
        """All of them."""
        return upstream


class Translation:
    """A client's request on the wires of its targets."""

    __slots__ = ("_request", "_wall_clock")

    def __init__(self, request: Request, wall_clock: Callable[[], float]) -> None:
        self._request = request
        self._wall_clock = wall_clock

    def to(self, target: Target, on: str | None = None) -> Passage:
        """The way to a target and back; BadRequestError if the request cannot be said on its wire.

        `on` is one of the target's wires, if it is not to be asked on the one it is usually asked on.
        """
        passage = self._said_to(target, on)
        asked = target.endpoint.asked.get(passage.wire.name)
        if asked is not None:
            try:
                passage.path = asked.at(target.model, stream=self._request.envelope.stream)
                passage.body = asked.dressed(passage.body)
            except ValueError as error:
                raise BadRequestError(str(error), "model") from error
        return passage

    def _said_to(self, target: Target, on: str | None) -> Passage:
        request = self._request
        wire = ALL_WIRES[on or target.wire_for(request.wire.name)]
        path = wire.asked_at(target.model, stream=request.envelope.stream)
        if wire is not request.wire:
            said = msgspec.structs.replace(self._movable(), model=target.model)
            if provider_kinds()[target.endpoint.settings.kind].words_in_results:
                said = with_words_in_results(said)
            repairs = mending(target.endpoint.settings.repairs, said)
            return Translated(wire, path, request.wire, said, self._wall_clock, mended=repairs)
        body, dropped = without_foreign_thoughts(request.body, wire.name)
        if wire.model_in_body:
            body = with_model(body, request.envelope.model, target.model)
        unasked = request.metered and not request.envelope.usage_asked and price_of(target) is not None
        passage = (UnaskedUsage if unasked else SameWire)(wire, path, body, dropped)
        return self._repaired(passage, target) or passage

    def _repaired(self, passage: SameWire, target: Target) -> Passage | None:
        """The same passage with the target's repairs, if they have something to mend in such an answer.

        A request that cannot be read is left to whoever speaks its wire; and where more is asked for than the canonical
        form can say, the answer is not mended rather than cut down.
        """
        names, wire = target.endpoint.settings.repairs, passage.wire
        if not names or wire.name not in CODECS:
            return None
        try:
            said = msgspec.structs.replace(self._request.read(), model=target.model)
        except BadRequestError:
            return None
        repairs = mending(names, said)
        if not repairs or not _MORE_THAN_ONE_ANSWER.isdisjoint(said.unread):
            return None
        written = canonical.Written(body=passage.body, dropped=passage.dropped)
        return Repaired(wire, passage.path, wire, said, self._wall_clock, mended=repairs, written=written)

    def _movable(self) -> canonical.Request:
        read = self._request.read()
        for name in _KEPT_BY_PROVIDERS.get(self._request.wire.name, frozenset()).intersection(read.unread):
            raise BadRequestError(f"{name}: what one provider keeps, no other can be asked about", name)
        return read
