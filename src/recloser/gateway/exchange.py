"""One client request, from its first byte to its last, as a state machine.

`Exchange.run` is a generator: it yields what it wants done and is sent what came of it. It has no clock and no I/O, so
that failover reads from top to bottom and is tested as a conversation. `runtime/driver.py` performs what it asks.

Before the first content (or the first keep-alive) nothing has been sent to the client, and every failure is invisible:
the next target is asked. After it, a failure ends in the wire's own error event.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from recloser.breaker import Breakers
from recloser.core.classify import INTERRUPTED, MALFORMED, classify_answer, classify_error_object
from recloser.core.duration import format_duration
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import LIMITS, REFUSALS, Failure, FailureKind, Then
from recloser.core.route import Choice, choose
from recloser.gateway import sse
from recloser.gateway.asks import (
    Ask,
    Begin,
    Broke,
    Chunk,
    Finish,
    Forward,
    GatewayStops,
    Head,
    Hold,
    Read,
    ReadAll,
    Reply,
    Send,
)
from recloser.gateway.events import AttemptFailed, RequestFinished
from recloser.gateway.settings import GatewaySettings
from recloser.gateway.splice import with_model
from recloser.gateway.targets import PathPermit, Target
from recloser.gateway.wires.wire import Answer, Ending, Envelope, Refusal, Watch, Wire, decode_error
from recloser.ports import Emit

LARGEST_ANSWER = 256 * 2**20
LARGEST_ERROR = 2**20
LARGEST_PRELUDE = 2**20
"""Bytes of a stream that may come before its first content."""
LONGEST_SILENCE = 300.0
"""How long an upstream's keep-alives, without any content, keep a stream alive."""
FINISH_GRACE = 5.0
"""How long a finished stream may take to end itself before its last event is added for it."""

_KEPT_TO_OURSELVES = frozenset(
    {"connection", "content-encoding", "content-length", "date", "keep-alive", "server", "set-cookie",
     "transfer-encoding", "upgrade", "trailer", "alt-svc"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks."""

    id: str
    wire: Wire
    envelope: Envelope
    body: bytes
    targets: Sequence[Target]
    """Every target of the route that can serve this wire, in order."""


@dataclass(slots=True)
class ClientSide:
    """What the client has seen so far. Whoever sends a keep-alive sets `begun` as well."""

    begun: bool = False


@dataclass(frozen=True, slots=True)
class _Failed:
    target: Target
    failure: Failure


@dataclass(frozen=True, slots=True)
class _Verbatim:
    """A target's own error answer, which may become the client's."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Account:
    """What there is to tell about this exchange."""

    started: float
    attempts: int = 0
    held: float = 0.0
    first_token: float | None = None
    target: Target | None = None
    status: int | None = None
    outcome: str = "refused"
    events: int = 0
    failed: list[_Failed] = field(default_factory=list)


T = TypeVar("T")
Conversation = Generator[Ask, Any, T]
"""A part of an exchange: asks, is answered, and comes to a result."""


class Exchange:
    """One client request and everything that is tried for it."""

    def __init__(
        self,
        request: Request,
        settings: GatewaySettings,
        breakers: Breakers,
        *,
        client: ClientSide,
        emit: Emit,
        wall_clock: Callable[[], float],
        now: float,
    ) -> None:
        self._request = request
        self._wire = request.wire
        self._settings = settings
        self._breakers = breakers
        self._client = client
        self._emit = emit
        self._wall_clock = wall_clock
        self._now = now
        self._account = _Account(started=now)
        self._tried: set[Target] = set()
        self._answers: dict[Target, _Verbatim] = {}

    def run(self) -> Conversation[None]:
        """The life of the request. Closing the generator means that the client has left."""
        try:
            yield from self._serve()
        except GatewayStops:
            self._account.outcome = "stopped"
            yield from self._tell(Refusal(503, "stopping", "the gateway is shutting down"))
        except GeneratorExit:
            self._account.outcome = FailureKind.CANCELLED
            raise
        except Exception:
            self._account.outcome = "internal_error"
            raise
        finally:
            self._report()

    def _serve(self) -> Conversation[None]:
        hold_until = self._now + min(self._settings.max_hold, self._settings.hold_attempt)
        while True:
            choice = self._choose()
            if choice.target is None:
                if not (yield from self._hold(choice, hold_until)):
                    yield from self._give_up(choice)
                    return
                continue
            self._tried.add(choice.target)
            try:
                permit = PathPermit.acquire(self._breakers, choice.target.path)
            except CircuitOpenError:
                continue  # the circuit changed between asking and taking
            if (yield from self._attempt(choice.target, permit)):
                return

    def _choose(self) -> Choice[Target]:
        def unfit(target: Target) -> str | None:
            return "failed for this request" if target in self._tried else None

        return choose(self._request.targets, lambda t: t.path, self._breakers.denial, unfit)

    def _hold(self, choice: Choice[Target], hold_until: float) -> Conversation[bool]:
        """Wait for the first target that reopens. False if that is too far away."""
        if choice.earliest is None or self._now + choice.earliest > hold_until:
            return False
        since = self._now
        yield from self._ask(Hold(self._now + choice.earliest))
        self._account.held += self._now - since
        self._tried.clear()
        return True

    def _attempt(self, target: Target, permit: PathPermit) -> Conversation[bool]:
        """Ask one target. True if the client has its answer, or its error."""
        account = self._account
        account.attempts += 1
        account.target = target
        started = self._now
        try:
            serve = self._stream if self._request.envelope.stream else self._plain
            failure = yield from serve(target)
        except BaseException:
            permit.cancel()  # the client left, or we stop: that is no verdict on the target
            raise
        if failure is None:
            permit.succeed()
            account.outcome = "ok"
            return True
        permit.fail(failure)
        self._note_failure(target, failure, started)
        if account.status is not None:  # content was sent: the client cannot be given another answer
            yield from self._break_off(target, failure)
            return True
        if failure.then is Then.TELL_CALLER:
            yield from self._pass_on(target, failure)
            return True
        return False

    # One answer ----------------------------------------------------------------------------------------------------

    def _plain(self, target: Target) -> Conversation[Failure | None]:
        """A plain answer. None if it was delivered, else what went wrong."""
        deadline = self._now + target.endpoint.settings.total_timeout
        head = yield from self._send(target, deadline)
        if not isinstance(head, Head):
            return head
        if head.status != 200:
            return (yield from self._error_answer(target, head, deadline))
        body = yield from self._ask(ReadAll(deadline, LARGEST_ANSWER))
        if isinstance(body, Broke):
            return self._broken(body)
        answer = self._wire.judge(body.data)
        failure = self._fault_of(answer, target)
        if failure is not None:
            return failure
        self._account.first_token = self._now - self._account.started
        self._account.status = 200
        yield from self._ask(Reply(200, self._headers(head.headers, target), body.data))
        return None

    def _stream(self, target: Target) -> Conversation[Failure | None]:
        """A streamed answer. None if it was delivered to its end, else what went wrong."""
        timeouts = target.endpoint.settings
        started = self._now
        first_token_by = started + timeouts.first_token_timeout
        head = yield from self._send(target, first_token_by)
        if not isinstance(head, Head):
            return head
        if head.status != 200 or not head.headers.get("content-type", "").startswith(sse.MEDIA_TYPE):
            return (yield from self._error_answer(target, head, first_token_by))
        watch = self._wire.watch()
        prelude = yield from self._until_content(watch, target, first_token_by)
        if not isinstance(prelude, bytes):
            return prelude
        self._account.first_token = self._now - self._account.started
        self._account.status = 200
        yield from self._ask(Begin(self._headers(head.headers, target)))
        return (yield from self._pass_through(watch, prelude, target, started + timeouts.stream_timeout))

    def _until_content(self, watch: Watch, target: Target, deadline: float) -> Conversation[bytes | Failure]:
        """Read up to the first content, of which the client has seen nothing: the bytes so far, or what went wrong."""
        prelude = b""
        while True:
            reading = yield from self._ask(Read(deadline))
            ended = not isinstance(reading, Chunk)
            prelude += watch.end() if ended else watch.feed(reading.data)
            if watch.error is not None or watch.broken:
                return self._fault_of(Answer(error=watch.error, broken=watch.broken), target) or MALFORMED.failure()
            if watch.content:
                return prelude
            if watch.terminated or (ended and watch.finished):
                silence = self._fault_of(Answer(content=False, ending=watch.ending), target)
                return prelude if silence is None else silence
            if isinstance(reading, Broke):
                return self._broken(reading)
            if ended:
                row = INTERRUPTED if prelude.strip() else MALFORMED
                return row.failure(message="the stream ended before any content")
            if len(prelude) > LARGEST_PRELUDE:
                return MALFORMED.failure(message="too much before the first content")

    def _pass_through(self, watch: Watch, data: bytes, target: Target, deadline: float) -> Conversation[Failure | None]:
        """Forward a stream from its first content to its end. None if it was whole, else what broke it."""
        idle = target.endpoint.settings.idle_timeout
        spoke_at, events = self._now, watch.events
        while True:
            if watch.events != events:
                spoke_at, events = self._now, watch.events
            if data:
                yield from self._ask(Forward(data))
            if watch.error is not None or watch.broken:
                return self._fault_of(Answer(error=watch.error, broken=watch.broken), target)
            if watch.terminated:
                yield from self._ask(Finish())
                return None
            until = min(self._now + (FINISH_GRACE if watch.finished else idle), spoke_at + LONGEST_SILENCE, deadline)
            reading = yield from self._ask(Read(until))
            if isinstance(reading, Chunk):
                data = watch.feed(reading.data)
                continue
            data = watch.end()
            if data:
                yield from self._ask(Forward(data))
            if watch.finished and watch.error is None:
                if not watch.terminated:
                    yield from self._ask(Forward(self._wire.terminator))
                yield from self._ask(Finish())
                return None
            if isinstance(reading, Broke):
                return self._broken(reading)
            return INTERRUPTED.failure(message="the stream ended in the middle of the answer")

    def _send(self, target: Target, deadline: float) -> Conversation[Head | Failure]:
        """The head of a target's answer, or the failure to get one."""
        body = with_model(self._request.body, self._request.envelope.model, target.model)
        reading = yield from self._ask(Send(target, body, deadline))
        return self._broken(reading) if isinstance(reading, Broke) else reading

    def _error_answer(self, target: Target, head: Head, deadline: float) -> Conversation[Failure]:
        """An answer that is none: read what it says and name it."""
        body = yield from self._ask(ReadAll(min(deadline, self._now + 10.0), LARGEST_ERROR))
        data = body.data if isinstance(body, Chunk) else b""
        decoded, text = decode_error(data)
        if head.status == 200:
            answer = self._wire.judge(data)
            return self._fault_of(answer, target) or MALFORMED.failure(message="a plain answer to a streaming request")
        self._answers[target] = _Verbatim(head.status, head.headers, data)
        return classify_answer(
            head.status, head.headers, decoded, text, model=target.model, wall_now=self._wall_clock()
        )

    def _fault_of(self, answer: Answer, target: Target) -> Failure | None:
        """What is wrong with a 200."""
        if answer.error is not None:
            return classify_error_object(answer.error, model=target.model, wall_now=self._wall_clock())
        if answer.broken:
            return MALFORMED.failure(status=200, message=answer.broken)
        silent_on_purpose = answer.ending is Ending.CUT_SHORT or self._request.envelope.after_tool_result
        if not answer.content and not silent_on_purpose:
            return MALFORMED.failure(status=200, message="an empty answer")
        return None

    def _broken(self, broke: Broke) -> Failure:
        return broke.row.failure(message=broke.message)

    # What the client is told -----------------------------------------------------------------------------------------

    def _give_up(self, choice: Choice[Target]) -> Conversation[None]:
        """No target is left, and none may be waited for."""
        failed = self._account.failed
        self._account.outcome = failed[-1].failure.kind if failed else "refused"
        told = next((f for f in failed if self._may_be_told(f.failure)), None)
        if told is not None:
            yield from self._pass_on(told.target, told.failure)
            return
        kinds = [f.failure.kind for f in failed] + [p.denied.kind for p in choice.passed if p.denied is not None]
        yield from self._tell(
            Refusal(
                429 if kinds and LIMITS.issuperset(kinds) else 503, "all_targets_failed", self._what_happened(choice)
            ),
            retry_after=choice.earliest,
            circuit=next((p.circuit for p in choice.passed if p.circuit), None),
        )

    def _may_be_told(self, failure: Failure) -> bool:
        """Whether a target's own error is the honest answer: too large, or not found where there is but one target."""
        if failure.then is Then.LARGER_TARGET:
            return True
        return failure.kind is FailureKind.NOT_FOUND and len(self._request.targets) == 1

    def _what_happened(self, choice: Choice[Target]) -> str:
        """For people: each target and why it did not serve."""
        failures = {f.target: f.failure for f in self._account.failed}
        said = []
        for passed in choice.passed:
            failure = failures.get(passed.target)
            why = _shown(failure) if failure is not None else (passed.denied.kind if passed.denied else passed.why)
            wait = "" if passed.retry_after is None else f", open again in {format_duration(passed.retry_after)}"
            said.append(f"{passed.target.label}: {why}{wait}")
        return "no target could serve this request (" + "; ".join(said) + ")"

    def _tell(
        self, refusal: Refusal, *, retry_after: float | None = None, circuit: str | None = None
    ) -> Conversation[None]:
        """An error in the wire's own shape: as an answer, or as an event once the stream has begun."""
        request_id = self._request.id
        if self._client.begun:
            yield from self._ask(Forward(self._wire.stream_error(refusal, request_id)))
            yield from self._ask(Finish())
            return
        headers = {"content-type": "application/json", **self._own_headers(None)}
        if retry_after is not None:
            headers |= retry_headers(retry_after, self._settings.retry_after_max, self._wall_clock())
        if circuit is not None:
            headers["x-recloser-circuit"] = circuit
        self._account.status = refusal.status
        yield from self._ask(Reply(refusal.status, headers, self._wire.error(refusal, request_id)))

    def _break_off(self, target: Target, failure: Failure) -> Conversation[None]:
        """A stream broke after content: the wire's own error event."""
        message = f"the stream from {target.label} broke off: {_shown(failure)}"
        yield from self._tell(Refusal(503, failure.kind, message))

    def _pass_on(self, target: Target, failure: Failure) -> Conversation[None]:
        """A target's own error, verbatim where it came as an answer of its own."""
        answer = self._answers.get(target)
        if answer is None or self._client.begun:
            yield from self._tell(Refusal(answer.status if answer else 400, failure.kind, failure.message))
            return
        self._account.status = answer.status
        yield from self._ask(Reply(answer.status, self._headers(answer.headers, target), answer.body))

    def _headers(self, upstream: Mapping[str, str], target: Target) -> dict[str, str]:
        kept = {
            name: value
            for name, value in upstream.items()
            if name not in _KEPT_TO_OURSELVES and value.isascii() and value.isprintable()
        }
        return kept | self._own_headers(target)

    def _own_headers(self, target: Target | None) -> dict[str, str]:
        own = {"x-recloser-request-id": self._request.id, "x-recloser-attempts": str(self._account.attempts)}
        if target is not None:
            own["x-recloser-target"] = target.label
        return own

    # Keeping track ---------------------------------------------------------------------------------------------------

    def _ask(self, ask: Ask) -> Conversation[Any]:
        """Have something done; from every answer we learn the time."""
        reading = yield ask
        self._now = reading.now
        return reading

    def _note_failure(self, target: Target, failure: Failure, started: float) -> None:
        account = self._account
        account.outcome = failure.kind
        account.failed.append(_Failed(target, failure))
        account.events += 1
        self._emit(AttemptFailed(
            subject=f"request/{self._request.id}", seq=account.events, target=target.label, failure=failure.kind,
            status=failure.status, circuit=target.path.charged(failure.scope), message=failure.message,
            retry_after=failure.retry_after, duration=self._now - started,
        ))  # fmt: skip

    def _report(self) -> None:
        account = self._account
        self._emit(RequestFinished(
            subject=f"request/{self._request.id}", seq=account.events + 1, wire=self._wire.name,
            model=self._request.envelope.model, stream=self._request.envelope.stream,
            target=account.target.label if account.target else None, status=account.status, outcome=account.outcome,
            attempts=account.attempts, held=account.held, first_token=account.first_token,
            duration=self._now - account.started,
        ))  # fmt: skip


def retry_headers(retry_after: float, longest: float, wall_now: float) -> dict[str, str]:
    """When to come back: `retry-after` never longer than agents bear, the full time beside it."""
    moment = datetime.fromtimestamp(wall_now + retry_after, UTC).isoformat(timespec="seconds")
    seconds = max(1, round(min(retry_after, longest)))
    return {"retry-after": str(seconds), "x-recloser-reset": moment.replace("+00:00", "Z")}


def _shown(failure: Failure) -> str:
    """A failure for a client: what a provider says of our key or our bill is not for its ears."""
    if failure.kind in REFUSALS or not failure.message:
        return failure.kind
    return f"{failure.kind}: {failure.message[:200]}"
