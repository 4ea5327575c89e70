"""One target's answer on its way to the client: a part of an exchange.

Reads what the target sends, finds out what is wrong with it before anything is forwarded, and from the first content
on passes it through. All that is asked of the target, and all that is judged, is on the target's wire; what goes to the
client has come through the `Passage`.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from recloser.core.classify import INTERRUPTED, MALFORMED, classify_answer, classify_error_object
from recloser.core.failure import Effect, Failure, Scope, Then
from recloser.gateway import metering, sse
from recloser.gateway.asks import Ask, Begin, Broke, Chunk, Finish, Forward, Head, Read, ReadAll, Reply, Send
from recloser.gateway.request import Request
from recloser.gateway.resuming.joined import OtherwiseError
from recloser.gateway.targets import Target
from recloser.gateway.translation import Passage
from recloser.gateway.wires.wire import LARGEST_ERROR, UNREADABLE, Answer, Ending, Watch, decode_error

LARGEST_ANSWER = 64 * 2**20
ERROR_TIMEOUT = 10.0
"""How long the body of an error answer may take."""
LARGEST_PRELUDE = 2**20
"""Bytes of a stream that may come before its first content."""
LONGEST_SILENCE = 300.0
"""How long an upstream's keep-alives, without any content, keep a stream alive."""
FINISH_GRACE = 5.0
"""How long a finished stream may take to end itself before its last event is added for it."""

T = TypeVar("T")
Conversation = Generator[Ask, Any, T]
"""A part of an exchange: asks, is answered, and comes to a result."""


class Line:
    """The line to the world: what is asked goes out, and from every answer we learn the time."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now

    def ask(self, ask: Ask) -> Conversation[Any]:
        """Have something done; gives what came of it."""
        reading = yield ask
        self.now = reading.now
        return reading


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A target's own error answer, which may become the client's."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Delivery:
    """One call to one target. `run` gives None if its answer was delivered whole, else what went wrong."""

    __slots__ = (
        "_content_came",
        "_headers",
        "_line",
        "_note",
        "_passage",
        "_request",
        "_target",
        "_told",
        "_wall_clock",
        "_watch",
        "_wire",
        "content_at",
        "verbatim",
    )

    def __init__(
        self,
        request: Request,
        passage: Passage,
        target: Target,
        line: Line,
        *,
        headers: Callable[[Mapping[str, str]], Mapping[str, str]],
        content_came: Callable[[], None],
        note: Callable[[bytes], None],
        wall_clock: Callable[[], float],
    ) -> None:
        """`note` is told every piece of a stream that goes to the client."""
        self._request = request
        self._passage = passage
        self._wire = passage.wire
        self._target = target
        self._line = line
        self._headers = headers
        self._content_came = content_came
        self._note = note
        self._wall_clock = wall_clock
        self.content_at: float | None = None
        """When content was sent to the client: from then on it cannot be given another answer."""
        self.verbatim: Verbatim | None = None
        self._told = metering.Meter()
        self._watch: Watch | None = None

    @property
    def meter(self) -> metering.Meter:
        """What the target told so far that it used, and how much was said: also where the call failed."""
        return self._told if self._watch is None else metering.of_stream(self._watch)

    def run(self) -> Conversation[Failure | None]:
        """The call from its first byte to its last."""
        return (yield from self._stream() if self._request.envelope.stream else self._plain())

    def _plain(self) -> Conversation[Failure | None]:
        timeouts = self._target.endpoint.settings
        deadline = self._line.now + timeouts.total_timeout
        head = yield from self._send(deadline)
        if not isinstance(head, Head):
            return head
        if head.status != 200:
            return (yield from self._error_answer(head, deadline))
        body = yield from self._line.ask(ReadAll(deadline, LARGEST_ANSWER, timeouts.idle_timeout))
        if isinstance(body, Broke):
            return _broken(body)
        judged = self._wire.judge(body.data)
        self._told = metering.of_answer(judged, self._wire.name, body.data)
        failure = self._fault_of(judged)
        if failure is not None:
            return failure
        try:
            answer = self._passage.answer(body.data)
        except UNREADABLE as error:
            return _unreadable(error)
        self.content_at = self._line.now
        yield from self._line.ask(Reply(200, self._headers(head.headers), answer))
        return None

    def _stream(self) -> Conversation[Failure | None]:
        timeouts = self._target.endpoint.settings
        started = self._line.now
        first_token_by = started + timeouts.first_token_timeout
        head = yield from self._send(first_token_by)
        if not isinstance(head, Head):
            return head
        if head.status != 200 or not _is_stream(head):
            return (yield from self._error_answer(head, first_token_by))
        watch = self._watch = self._wire.watch()
        prelude = yield from self._until_content(watch, first_token_by)
        if not isinstance(prelude, bytes):
            return prelude
        try:
            data = self._passage.piece(prelude)
        except UNREADABLE as error:
            return _unreadable(error)
        self.content_at = self._line.now
        self._content_came()
        yield from self._line.ask(Begin(self._headers(head.headers)))
        try:
            return (yield from self._pass_through(watch, data, started + timeouts.stream_timeout))
        except UNREADABLE as error:
            return _unreadable(error)

    def _send(self, deadline: float) -> Conversation[Head | Failure]:
        """The head of the target's answer, or the failure to get one."""
        passage = self._passage
        reading = yield from self._line.ask(Send(self._target, passage.body, deadline, passage.wire.name, passage.path))
        return _broken(reading) if isinstance(reading, Broke) else reading

    def _until_content(self, watch: Watch, deadline: float) -> Conversation[bytes | Failure]:
        """Read up to the first content, of which the client has seen nothing: the bytes so far, or what went wrong."""
        prelude = b""
        while True:
            reading = yield from self._line.ask(Read(deadline))
            ended = not isinstance(reading, Chunk)
            prelude += watch.end() if ended else watch.feed(reading.data)
            if (fault := watch.fault()) is not None:
                return self._named(fault)
            if watch.content:
                return prelude
            if watch.terminated or (ended and watch.finished):
                silence = self._fault_of(Answer(content=False, ending=watch.ending))
                return prelude if silence is None else silence
            if isinstance(reading, Broke):
                return _broken(reading)
            if ended:
                row = INTERRUPTED if prelude.strip() else MALFORMED
                return row.failure(message="the stream ended before any content")
            if len(prelude) > LARGEST_PRELUDE:
                return MALFORMED.failure(message="too much before the first content")

    def _pass_through(self, watch: Watch, data: bytes, deadline: float) -> Conversation[Failure | None]:
        """Forward the stream from its first content to its end."""
        passage, idle = self._passage, self._target.endpoint.settings.idle_timeout
        spoke_at, events = self._line.now, watch.events
        while True:
            if watch.events != events:
                spoke_at, events = self._line.now, watch.events
            if data:
                self._note(data)
                yield from self._line.ask(Forward(data))
            fault = watch.fault()
            if fault is not None and not watch.finished:
                return self._named(fault)
            if watch.terminated or fault is not None:  # what is wrong after the end of an answer is no part of it
                if rest := passage.rest(terminated=watch.terminated):
                    yield from self._line.ask(Forward(rest))
                yield from self._line.ask(Finish())
                return None
            patience = FINISH_GRACE if watch.finished else idle
            reading = yield from self._line.ask(
                Read(min(self._line.now + patience, spoke_at + LONGEST_SILENCE, deadline))
            )
            if not isinstance(reading, Chunk):
                break
            data = passage.piece(watch.feed(reading.data))
        data = passage.piece(watch.end())
        if (fault := watch.fault()) is not None and not watch.finished:
            return self._named(fault)
        if watch.finished or watch.terminated:
            data += passage.rest(terminated=watch.terminated)
        if data:
            self._note(data)
            yield from self._line.ask(Forward(data))
        if watch.finished or watch.terminated:
            yield from self._line.ask(Finish())
            return None
        if isinstance(reading, Broke):
            return _broken(reading)
        return INTERRUPTED.failure(message="the stream ended in the middle of the answer")

    def _error_answer(self, head: Head, deadline: float) -> Conversation[Failure]:
        """An answer that is none: read what it says and name it."""
        body = yield from self._line.ask(ReadAll(min(deadline, self._line.now + ERROR_TIMEOUT), LARGEST_ERROR))
        if isinstance(body, Broke):
            # A status speaks for itself; but a client is told nothing of which half is missing.
            named = _broken(body) if head.status == 200 else self._classified(head, b"")
            return _broken(body) if named.then is Then.TELL_CALLER else named
        data = body.data
        if head.status == 200:
            fault = self._fault_of(self._wire.judge(data))
            return fault or MALFORMED.failure(status=200, message="a plain answer to a streaming request")
        if data and self._passage.verbatim:
            self.verbatim = Verbatim(head.status, head.headers, data)
        return self._classified(head, data)

    def _classified(self, head: Head, body: bytes) -> Failure:
        decoded, text = decode_error(body)
        return classify_answer(
            head.status, head.headers, decoded, text, model=self._target.model, wall_now=self._wall_clock()
        )

    def _fault_of(self, answer: Answer) -> Failure | None:
        """What is wrong with a 200."""
        if answer.error is not None:
            return classify_error_object(answer.error, model=self._target.model, wall_now=self._wall_clock())
        if answer.broken:
            return MALFORMED.failure(status=200, message=answer.broken)
        silent_on_purpose = answer.ending is Ending.CUT_SHORT or self._request.envelope.after_tool_result
        if not answer.content and not silent_on_purpose and not self._passage.may_be_silent:
            return MALFORMED.failure(status=200, message="an empty answer")
        return None

    def _named(self, fault: Answer) -> Failure:
        """The failure that a stream's fault amounts to."""
        return self._fault_of(fault) or MALFORMED.failure()


def _is_stream(head: Head) -> bool:
    """Whether an answer says that it is a stream, or does not say what it is."""
    media_type = head.headers.get("content-type", sse.MEDIA_TYPE).partition(";")[0]
    return media_type.strip().lower() == sse.MEDIA_TYPE


def _unreadable(error: Exception) -> Failure:
    """What was watched and found good, and still is not what its wire says, or not what the client was told before."""
    if isinstance(error, OtherwiseError):
        return replace(MALFORMED.failure(status=200, message=str(error)), scope=Scope.NOBODY, effect=Effect.NOTHING)
    return MALFORMED.failure(status=200, message=f"not to be read: {error}", quoted=True)


def _broken(broke: Broke) -> Failure:
    return broke.row.failure(message=broke.message)
