"""One client request, from its first byte to its last, as a state machine.

`Exchange.run` is a generator: it yields what it wants done (`asks.py`) and is sent what came of it. It does no I/O and
learns the time from what it is sent, so that failover reads from top to bottom and is tested as a conversation; only
the circuits that it asks have a clock of their own. `runtime/driver.py` performs what it asks.

Before the first content (or the first keep-alive) nothing has been sent to the client, and every failure is invisible:
the next target is asked. After it, another target finishes the answer (`resuming/`); where nobody can, the stream ends
in the wire's own error event.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from recloser.breaker import Breakers
from recloser.core.backoff import backoff
from recloser.core.classify import INVALID_REQUEST
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import LIMITS, Effect, Failure, FailureKind, Then
from recloser.core.route import Choice, choose
from recloser.gateway.account import Account
from recloser.gateway.asks import ClientSide, Finish, Forward, GatewayStops, Hold, Reply
from recloser.gateway.delivery import Conversation, Delivery, Line, Verbatim
from recloser.gateway.fitness import Fitness
from recloser.gateway.guards import Guards
from recloser.gateway.own_credentials import theirs
from recloser.gateway.request import Request
from recloser.gateway.resuming.rest import Rest
from recloser.gateway.resuming.resumption import Refusals, Resumption
from recloser.gateway.settings import GatewaySettings
from recloser.gateway.targets import PathPermit, Target
from recloser.gateway.telling import (
    Failed,
    broken_off,
    come_again,
    in_a_header,
    nobody_left,
    passed_on,
    when_to_come_back,
)
from recloser.gateway.traffic import BUSY, Place, Traffic
from recloser.gateway.translation import Passage, Translation, UnaskedUsage
from recloser.gateway.unasked_usage import complains_of_it
from recloser.gateway.wires.foreign_thoughts import complains_of_thoughts
from recloser.gateway.wires.wire import BadRequestError, Refusal
from recloser.ports import Emit

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""The pauses between rounds over all targets within one request, which double from the shortest to the longest."""


class Exchange:
    """One client request and everything that is tried for it."""

    def __init__(
        self,
        request: Request,
        settings: GatewaySettings,
        breakers: Breakers,
        *,
        guards: Guards,
        refusals: Refusals,
        traffic: Traffic | None = None,
        client: ClientSide,
        emit: Emit,
        wall_clock: Callable[[], float],
        now: float,
    ) -> None:
        self._request = request
        self._settings = settings
        self._breakers = breakers
        self._guards = guards
        self._refusals = refusals
        self._client = client
        self._wall_clock = wall_clock
        self._line = Line(now)
        self._account = Account(request, emit, started=now)
        self._traffic = traffic or Traffic()
        self._place = Place(self._traffic)
        self._fitness = Fitness(request)
        self._tried: set[Target] = set()
        self._answers: dict[Target, Verbatim] = {}
        self._translation = Translation(request, wall_clock)
        self._rest: Resumption | None = None
        """What was sent of a stream, where another target may finish it."""
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
            self._place.leave()
            account.finish(self._line.now, begun=self._client.begun)

    def _guarded(self) -> Conversation[bool]:
        """Have the guards look. False if one of them refused, which the client has been told."""
        request, seen = self._guards.look(self._request)
        self._take_up(request)
        for one in seen:
            self._account.note_guard(one)
        last = seen[-1].verdict if seen else None
        if last is None or last.refusal is None:
            return True
        self._account.outcome = last.refusal.kind
        yield from self._tell(last.refusal, retry_after=last.retry_after, headers=last.headers)
        return False

    def _serve(self) -> Conversation[None]:
        """Ask target after target until one answers; wait for one where that is allowed; else give up."""
        while True:
            choice = self._choose()
            if choice.target is None:
                if self._unfinished is not None and (again := self._unfinished.last_resorts()):
                    self._tried -= again
                    continue
                if not (yield from self._hold(choice)):
                    yield from self._give_up(choice)
                    return
                continue
            self._tried.add(choice.target)
            try:
                passage = (self._unfinished or self._translation).to(choice.target)
            except BadRequestError as error:
                self._pass_over(choice.target, error)
                continue
            try:
                permit = PathPermit.acquire(self._breakers, choice.target.path)
            except CircuitOpenError:
                continue  # the circuit changed between asking and taking
            if (yield from self._attempt(choice.target, passage, permit)):
                return

    def _take_up(self, request: Request) -> None:
        """This is what is to be said to the targets from now on."""
        self._request = self._account.request = request
        self._fitness = Fitness(request)
        self._translation = Translation(request, self._wall_clock)
        if request.envelope.stream and self._settings.midstream == "resume":
            self._rest = Resumption(request, self._refusals, self._wall_clock)

    def _choose(self) -> Choice[Target]:
        def unfit(target: Target) -> str | None:
            return "not to be asked again" if target in self._tried else self._place.busy(target)

        barred = self._fitness.barred
        return choose(self._request.targets, lambda t: t.path, self._breakers.denial, unfit, barred)

    def _hold(self, choice: Choice[Target]) -> Conversation[bool]:
        """Wait for the first target that reopens, or has a place for us. False if that takes too long."""
        now, started = self._line.now, self._account.started
        latest, attempt_ends = started + self._settings.max_hold, started + self._settings.hold_attempt
        # A limit whose time is over already is none that the circuit could tell of.
        earliest = choice.earliest if choice.earliest is not None or not self._was_limited() else 0.0
        in_time = earliest is not None and now + earliest <= latest
        in_line = now < latest and self._place.line_up(p.target for p in choice.passed if p.why == BUSY)
        if now >= attempt_ends or not (in_time or in_line):
            return False
        # A server that says "at once" again and again must not be asked without pause.
        pause = backoff(SHORTEST_PAUSE, 2.0, LONGEST_PAUSE, max(0, self._account.attempts - 1))
        until = now + max(earliest, pause) if in_time and earliest is not None else latest
        yield from self._line.ask(Hold(min(until, attempt_ends), self._place if in_line else None))
        self._account.held += self._line.now - now
        if self._place.granted is not None:
            return True
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
        self._account.passed_over += 1
        self._account.note_failure(target, failure.fit_to_note(), 0.0)

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
            headers=lambda upstream: passed_on(passage.headers(upstream)) | account.headers_of_answer(target),
            content_came=permit.content_came,
            note=_nothing if self._rest is None else self._rest.note,
            wall_clock=self._wall_clock,
        )
        try:
            with self._place.call(target):
                failure = yield from delivery.run()
        except BaseException:
            permit.cancel()  # the client left, or we stop: that is no verdict on the target
            raise
        finally:
            if (used := delivery.meter.used(target, self._request)) is not None:
                account.used.append(used)
        if delivery.content_at is not None:
            account.content_at = account.content_at or delivery.content_at
            account.status = 200
            if self._unfinished is not None and isinstance(passage, Rest):
                account.note_resumed(self._unfinished.first, self._unfinished.said, target, passage)
        if failure is None:
            first_token = delivery.content_at if self._request.envelope.stream else None
            permit.succeed(first_token=0.0 if first_token is None else first_token - started)
            if first_token is not None:
                self._traffic.first_token(target, first_token - started, self._line.now)
            account.outcome = "ok"
            return True
        failure = theirs(target.endpoint.without_secrets(failure), target, self._request)
        noted = failure.fit_to_note()
        permit.fail(noted)
        account.failed.append(Failed(target, failure))
        account.note_failure(target, noted, self._line.now - started)
        if delivery.verbatim is not None:
            self._answers[target] = delivery.verbatim
        if delivery.content_at is not None:
            return (yield from self._break_off(Failed(target, failure)))
        if failure.then is Then.TELL_CALLER and not self._may_be_said_otherwise(target, failure):
            yield from self._pass_on(target, failure)
            return True
        return False

    def _may_be_said_otherwise(self, target: Target, failure: Failure) -> bool:
        """Whether what a target refuses is not what the client wants: it is asked again without that, or another is."""
        if self._unfinished is not None:
            if self._unfinished.refused(target, failure.message):
                self._tried.discard(target)
            return True
        without = self._request.without_thoughts() if complains_of_thoughts(failure.message) else None
        answer = self._answers.get(target)
        if isinstance(self._account.passage, UnaskedUsage) and answer is not None and complains_of_it(answer.body):
            without = replace(self._request, metered=False)
        if without is None:
            return False
        self._take_up(without)
        self._tried.discard(target)
        return True

    # A stream that breaks off after content --------------------------------------------------------------------------

    @property
    def _unfinished(self) -> Resumption | None:
        """The answer that broke off and is to be finished, if there is one."""
        return self._rest if self._rest is not None and self._rest.under_way else None

    def _break_off(self, broken: Failed) -> Conversation[bool]:
        """The client has a part of an answer. True if that is all it gets; False if another target may finish it."""
        rest = self._rest
        self._account.breaks += 1
        if rest is None or not rest.broke(broken):
            yield from self._tell(broken_off(*(broken if rest is None else rest.first)))
            return True
        if closing := rest.closing():
            yield from self._line.ask(Forward(closing))
            yield from self._line.ask(Finish())
            self._account.outcome = "ok"
            return True
        self._tried = set(rest.broken)
        return False

    # What the client is told when it gets no answer ------------------------------------------------------------------

    def _give_up(self, choice: Choice[Target]) -> Conversation[None]:
        """No target is left, and none may be waited for."""
        if self._unfinished is not None:
            yield from self._tell(broken_off(*self._unfinished.first))
            return
        failed = self._account.failed
        told = failed[-1] if failed and all(self._may_be_told(f.failure) for f in failed) else None
        if told is not None:
            yield from self._pass_on(told.target, told.failure)
            return
        if not failed and (refusal := self._fitness.refusal()) is not None:
            yield from self._tell(refusal)
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
        without_keys = target.endpoint.without_keys
        headers = {name: without_keys(value) for name, value in passed_on(answer.headers).items()}
        body = without_keys(answer.body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        yield from self._line.ask(Reply(answer.status, headers | self._account.headers(target), body))

    def _tell(
        self,
        refusal: Refusal,
        *,
        retry_after: float | None = None,
        circuit: str | None = None,
        target: Target | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Conversation[None]:
        """An error in the wire's own shape: as an answer, or as an event once the stream has begun."""
        wire, request_id = self._request.wire, self._request.id
        if self._client.begun:
            yield from self._line.ask(Forward(wire.stream_error(refusal, request_id)))
            yield from self._line.ask(Finish())
            return
        headers = {"content-type": "application/json", **(headers or {}), **self._account.headers(target)}
        if retry_after is not None:
            headers |= when_to_come_back(retry_after, self._settings.retry_after_max, self._wall_clock())
        if circuit is not None:
            headers["x-recloser-circuit"] = in_a_header(circuit)
        self._account.status = refusal.status
        yield from self._line.ask(Reply(refusal.status, headers, wire.error(refusal, request_id)))


def _nothing(_: bytes) -> None:
    """Where nobody keeps what was sent."""
