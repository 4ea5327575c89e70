"""One client request, from its first byte to its last, as a state machine.

`Exchange.run` is a generator: it yields what it wants done (`asks.py`) and is sent what came of it. It does no I/O and
learns the time from what it is sent, so that failover reads from top to bottom and is tested as a conversation; only
the circuits that it asks have a clock of their own. `runtime/driver.py` performs what it asks.

Before the first content (or the first keep-alive) nothing has been sent to the client, and every failure is invisible:
the next target is asked. After it, a failure ends in the wire's own error event.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from recloser.breaker import Breakers
from recloser.core.backoff import backoff
from recloser.core.classify import INVALID_REQUEST
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import LIMITS, Effect, Failure, FailureKind, Then
from recloser.core.route import Choice, choose
from recloser.gateway.asks import ClientSide, Finish, Forward, GatewayStops, Hold, Reply
from recloser.gateway.delivery import Conversation, Delivery, Line, Verbatim
from recloser.gateway.events import AttemptFailed, GuardTripped, RequestFinished
from recloser.gateway.guards import Guards
from recloser.gateway.request import Request
from recloser.gateway.settings import GatewaySettings
from recloser.gateway.targets import PathPermit, Target
from recloser.gateway.telling import (
    MOST_DROPPED,
    Failed,
    broken_off,
    come_again,
    dropped_names,
    in_a_header,
    nobody_left,
    passed_on,
    when_to_come_back,
)
from recloser.gateway.translation import Passage, Translation
from recloser.gateway.wires.wire import BadRequestError, Refusal
from recloser.ports import Emit

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""The pauses between rounds over all targets within one request, which double from the shortest to the longest."""


@dataclass(slots=True)
class _Account:
    """What there is to tell about an exchange."""

    started: float
    attempts: int = 0
    held: float = 0.0
    content_at: float | None = None
    target: Target | None = None
    status: int | None = None
    outcome: str = "refused"
    guards: tuple[str, ...] = ()
    """Those that saw something in the request."""
    passage: Passage | None = None
    """The way to the last target that was asked."""
    failed: list[Failed] = field(default_factory=list)
    told: int = 0
    """How many events."""

    def next(self) -> int:
        """The number of the next event."""
        self.told += 1
        return self.told


class Exchange:
    """One client request and everything that is tried for it."""

    def __init__(
        self,
        request: Request,
        settings: GatewaySettings,
        breakers: Breakers,
        *,
        guards: Guards,
        client: ClientSide,
        emit: Emit,
        wall_clock: Callable[[], float],
        now: float,
    ) -> None:
        self._request = request
        self._settings = settings
        self._breakers = breakers
        self._guards = guards
        self._client = client
        self._emit = emit
        self._wall_clock = wall_clock
        self._line = Line(now)
        self._account = _Account(started=now)
        self._tried: set[Target] = set()
        self._answers: dict[Target, Verbatim] = {}
        self._wrong_fields: dict[Target, str | None] = {}
        """Of a request that could not be said on a target's wire."""

    def run(self) -> Conversation[None]:
        """The life of the request. Closing the generator means that the client has left."""
        account = self._account
        try:
            if (yield from self._guarded()):
                yield from self._serve()
        except GatewayStops:
            account.outcome = "stopped"
            yield from self._tell(Refusal(503, "stopping", "the gateway is shutting down"))
        except GeneratorExit:
            account.outcome = FailureKind.CANCELLED
            raise
        except Exception:
            account.outcome = "internal_error"
            raise
        finally:
            self._report()

    def _guarded(self) -> Conversation[bool]:
        """Have the guards look. False if one of them refused, which the client has been told."""
        self._request, seen = self._guards.look(self._request)
        self._account.guards = tuple(guard for guard, _ in seen)
        for guard, verdict in seen:
            self._emit(GuardTripped(
                subject=f"request/{self._request.id}", seq=self._account.next(), guard=guard, action=verdict.action,
                message=verdict.why, client=self._request.client, agent=self._request.agent,
            ))  # fmt: skip
        refusal = seen[-1].verdict.refusal if seen else None
        if refusal is None:
            return True
        self._account.outcome = refusal.kind
        yield from self._tell(refusal)
        return False

    def _serve(self) -> Conversation[None]:
        """Ask target after target until one answers; wait for one where that is allowed; else give up."""
        translation = Translation(self._request, self._wall_clock)
        while True:
            choice = self._choose()
            if choice.target is None:
                if not (yield from self._hold(choice)):
                    yield from self._give_up(choice)
                    return
                continue
            self._tried.add(choice.target)
            try:
                passage = translation.to(choice.target)
            except BadRequestError as error:
                self._pass_over(choice.target, error)
                continue
            try:
                permit = PathPermit.acquire(self._breakers, choice.target.path)
            except CircuitOpenError:
                continue  # the circuit changed between asking and taking
            if (yield from self._attempt(choice.target, passage, permit)):
                return

    def _choose(self) -> Choice[Target]:
        def unfit(target: Target) -> str | None:
            return "not to be asked again" if target in self._tried else None

        return choose(self._request.targets, lambda t: t.path, self._breakers.denial, unfit)

    def _hold(self, choice: Choice[Target]) -> Conversation[bool]:
        """Wait for the first target that reopens. False if that is too far away, or this attempt has waited enough."""
        now, started = self._line.now, self._account.started
        # A limit whose time is over already is none that the circuit could tell of.
        earliest = choice.earliest if choice.earliest is not None or not self._was_limited() else 0.0
        if earliest is None or now + earliest > started + self._settings.max_hold:
            return False
        attempt_ends = started + self._settings.hold_attempt
        if now >= attempt_ends:
            return False
        # A server that says "at once" again and again must not be asked without pause.
        pause = backoff(SHORTEST_PAUSE, 2.0, LONGEST_PAUSE, max(0, self._account.attempts - 1))
        yield from self._line.ask(Hold(min(now + max(earliest, pause), attempt_ends)))
        self._account.held += self._line.now - now
        # What time cures may be asked again; what is too small for this request stays so.
        self._tried = {f.target for f in self._account.failed if f.failure.then is Then.LARGER_TARGET}
        return True

    def _was_limited(self) -> bool:
        latest = {f.target: f.failure for f in self._account.failed}
        return any(f.kind in LIMITS and f.effect is Effect.OPENS for f in latest.values())

    def _pass_over(self, target: Target, error: BadRequestError) -> None:
        """A request that cannot be said on a target's wire is like one that is too large for it."""
        failure = INVALID_REQUEST.failure(message=str(error), quoted=True)
        failure = replace(failure, then=Then.LARGER_TARGET)
        self._account.failed.append(Failed(target, failure))
        self._wrong_fields[target] = error.field
        self._note_failure(target, failure.fit_to_note(), self._line.now)

    def _attempt(self, target: Target, passage: Passage, permit: PathPermit) -> Conversation[bool]:
        """Ask one target. True if the client has its answer, or its error."""
        account = self._account
        account.attempts += 1
        account.target = target
        account.passage = passage
        started = self._line.now
        delivery = Delivery(
            self._request,
            passage,
            target,
            self._line,
            headers=lambda upstream: passed_on(passage.headers(upstream)) | self._headers_of(passage, target),
            content_came=permit.content_came,
            wall_clock=self._wall_clock,
        )
        try:
            failure = yield from delivery.run()
        except BaseException:
            permit.cancel()  # the client left, or we stop: that is no verdict on the target
            raise
        if delivery.content_at is not None:
            account.content_at = delivery.content_at
            account.status = 200
        if failure is None:
            first_token = delivery.content_at if self._request.envelope.stream else None
            permit.succeed(first_token=0.0 if first_token is None else first_token - started)
            account.outcome = "ok"
            return True
        failure = target.endpoint.without_secrets(failure)
        noted = failure.fit_to_note()
        permit.fail(noted)
        account.failed.append(Failed(target, failure))
        self._note_failure(target, noted, started)
        if delivery.verbatim is not None:
            self._answers[target] = delivery.verbatim
        if delivery.content_at is not None:
            yield from self._tell(broken_off(target, failure))
            return True
        if failure.then is Then.TELL_CALLER:
            yield from self._pass_on(target, failure)
            return True
        return False

    # What the client is told when it gets no answer ------------------------------------------------------------------

    def _give_up(self, choice: Choice[Target]) -> Conversation[None]:
        """No target is left, and none may be waited for."""
        failed = self._account.failed
        told = failed[-1] if failed and all(self._may_be_told(f.failure) for f in failed) else None
        if told is not None:
            yield from self._pass_on(told.target, told.failure)
            return
        waited_enough = self._line.now - self._account.started >= self._settings.hold_attempt
        yield from self._tell(
            come_again(choice) if waited_enough else nobody_left(self._account.failed, choice),
            retry_after=choice.earliest,
            circuit=next((p.circuit for p in choice.passed if p.circuit), None),
        )

    def _may_be_told(self, failure: Failure) -> bool:
        """Whether a target's own error is the honest answer: too large, or not found where there is but one target."""
        if failure.then is Then.LARGER_TARGET:
            return True
        return failure.kind is FailureKind.NOT_FOUND and len(self._request.targets) == 1

    def _pass_on(self, target: Target, failure: Failure) -> Conversation[None]:
        """A target's own error, verbatim where it came as an answer of its own."""
        answer = self._answers.get(target)
        if answer is None or self._client.begun:
            status = answer.status if answer else failure.status or 400
            field = self._wrong_fields.get(target)
            refusal = Refusal(max(status, 400), failure.kind, failure.message, field)  # some errors come as a 200
            yield from self._tell(refusal, target=target)
            return
        self._account.status = answer.status
        headers = passed_on(answer.headers) | self._own_headers(target)
        yield from self._line.ask(Reply(answer.status, headers, answer.body))

    def _tell(
        self,
        refusal: Refusal,
        *,
        retry_after: float | None = None,
        circuit: str | None = None,
        target: Target | None = None,
    ) -> Conversation[None]:
        """An error in the wire's own shape: as an answer, or as an event once the stream has begun."""
        wire, request_id = self._request.wire, self._request.id
        if self._client.begun:
            yield from self._line.ask(Forward(wire.stream_error(refusal, request_id)))
            yield from self._line.ask(Finish())
            return
        headers = {"content-type": "application/json", **self._own_headers(target)}
        if retry_after is not None:
            headers |= when_to_come_back(retry_after, self._settings.retry_after_max, self._wall_clock())
        if circuit is not None:
            headers["x-recloser-circuit"] = in_a_header(circuit)
        self._account.status = refusal.status
        yield from self._line.ask(Reply(refusal.status, headers, wire.error(refusal, request_id)))

    def _own_headers(self, target: Target | None) -> dict[str, str]:
        own = {"x-recloser-request-id": self._request.id, "x-recloser-attempts": str(self._account.attempts)}
        if self._account.guards:
            own["x-recloser-guard"] = ", ".join(self._account.guards)
        if target is not None:
            own["x-recloser-target"] = in_a_header(target.label)
        return own

    def _headers_of(self, passage: Passage, target: Target) -> dict[str, str]:
        """Our own headers of an answer. A translated one has its media type from us, if it is no stream."""
        own = self._own_headers(target)
        if passage.dropped:
            own["x-recloser-dropped"] = dropped_names(passage.dropped)
        if not passage.verbatim and not self._request.envelope.stream:
            own["content-type"] = "application/json"
        return own

    # Keeping track ---------------------------------------------------------------------------------------------------

    def _note_failure(self, target: Target, failure: Failure, started: float) -> None:
        account = self._account
        account.outcome = failure.kind
        self._emit(AttemptFailed(
            subject=f"request/{self._request.id}", seq=account.next(), target=target.label, failure=failure.kind,
            status=failure.status, circuit=target.path.charged(failure.scope), message=failure.message,
            retry_after=failure.retry_after, duration=self._line.now - started,
        ))  # fmt: skip

    def _report(self) -> None:
        account, request, passage = self._account, self._request, self._account.passage
        status = 200 if account.status is None and self._client.begun else account.status
        self._emit(RequestFinished(
            subject=f"request/{request.id}", seq=account.next(), wire=request.wire.name,
            model=request.envelope.model, stream=request.envelope.stream,
            target=account.target.label if account.target else None, status=status, outcome=account.outcome,
            attempts=account.attempts, held=account.held,
            first_token=None if account.content_at is None else account.content_at - account.started,
            duration=self._line.now - account.started, target_wire=passage.wire.name if passage else None,
            dropped=passage.dropped[:MOST_DROPPED] if passage else (),
        ))  # fmt: skip
