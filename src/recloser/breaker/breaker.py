"""The circuit for ordinary code.

A breaker holds one `Circuit` value; what becomes of it is decided in `core/circuit.py`. While the circuit is closed and
no call fails there is nothing to decide, and no lock is taken: the `Lane` says how far that holds, calls are counted as
they pass, and the circuit takes the counts in when the next decision comes.
"""

import math
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar

from recloser.breaker import guarding
from recloser.breaker.clock import trusted
from recloser.breaker.counts import Count
from recloser.breaker.forks import set_up_anew
from recloser.breaker.held import pop, push
from recloser.breaker.listeners import Listeners, Outbox
from recloser.breaker.permit import HeldPermit
from recloser.breaker.reports import report_once
from recloser.breaker.snapshot import CircuitSnapshot
from recloser.core import adaptive, circuit_control, window
from recloser.core import circuit as machine
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_sharing import adopted, announcement, same_phase
from recloser.core.circuit_state import PASSING, REFUSING, Circuit, CircuitState, Denied, Permit, Step
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.failure import Effect, Failure, FailureKind
from recloser.ports import Clock, Emit, Store

if TYPE_CHECKING:  # what not everybody needs is loaded by those who do: the library must be quick to import
    from recloser.breaker.loop import Loop
    from recloser.breaker.retrying import RetryBudget, Retrying
    from recloser.breaker.sharing import Sharing
    from recloser.core.raised import Classify

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")
_Change = Callable[[Circuit, float], tuple[Step, T]]
Ask = Literal["never", "if needed", "always"]
_NO_LIMIT = 1 << 62
_OUTCOMES = ("succeeded", "failed", "ignored", "cancelled", "expired")


class Lane:
    """How far calls need no decision: from which generation, until when, for how many successes, how slow at most."""

    __slots__ = ("generation", "last", "permit", "slow_call", "until")

    def __init__(self, easy: machine.Easy, last: int) -> None:
        self.generation = easy.generation
        self.permit = Permit(easy.generation)
        self.until = easy.until
        self.slow_call = easy.slow_call
        self.last = last


class CircuitBreaker:
    """One circuit, safe across threads, asyncio tasks and event loops.

    It guards calls in whatever form is at hand: `@breaker` on a function, coroutine function, generator or async
    generator; `breaker.call(fn)`, `await breaker.call_async(fn)`; `with breaker:`, `async with breaker:`; or an
    explicit permit from `acquire()`. A refused call is a CircuitOpenError.

    `classify` maps exceptions to what they mean (see `recloser.core.raised`). `store` is a URL or a store, through
    which processes share the circuit. `listeners` are called with each event.
    """

    def __init__(
        self,
        name: str,
        settings: CircuitSettings | None = None,
        *,
        classify: "Classify | None" = None,
        store: "str | Store | Sharing | None" = None,
        listeners: Iterable[Emit] | Listeners = (),
        clock: Clock | None = None,
        rng: random.Random | None = None,
        circuit: Circuit | None = None,
    ) -> None:
        if not name or not isinstance(name, str):
            raise ConfigError(f"a circuit's name must be a string that is not empty, not {name!r}")
        self.name = name
        self.settings = settings or CircuitSettings()
        self._classify = None if classify is None else _classifier(classify)
        self._clock = trusted(clock)
        self._monotonic = self._clock.monotonic
        self._rng = rng or random.Random()  # noqa: S311 - spreads cooldowns, keeps no secret
        self._listeners = listeners if isinstance(listeners, Listeners) else Listeners(listeners)
        self._outbox = Outbox(self._listeners)
        self._lock = threading.RLock()
        self._deciding = False
        self._postponed: deque[tuple[_Change[None], Ask, int]] = deque()
        self._admissions = Count()
        self._successes = Count()
        self._denials = Count()
        self._taken_in = 0
        """Of the successes, how many the circuit knows."""
        self._counts = dict.fromkeys((*_OUTCOMES, "stale", "opened"), 0)
        self._expired: set[int] = set()
        """The numbers of expired permits whose owners are still silent."""
        self._trials: set[int] = set()
        """The numbers of the half-open permits that are out here."""
        self._last_denied_at: float | None = None
        self._budget: RetryBudget | None = None
        self.asked_for = False
        """For the registry: whether somebody asked for this breaker since it was last looked at."""
        self._sharing: Sharing | None = None
        self._own_sharing: Sharing | None = None
        if store is not None:
            from recloser.breaker.sharing import sharing  # noqa: PLC0415 - see above

            self._sharing = sharing(store, self._clock, self._outbox)
            if self._sharing is not store:  # else it is a registry's, which looks for all its breakers
                self._own_sharing = self._sharing
                circuit = self._sharing.load(name).get(name, circuit)
        self._circuit = circuit or Circuit()
        self._lane: Lane | None = None
        now = self._monotonic()
        self._become(machine.tally(self._circuit, self.settings, 0, now), now)
        set_up_anew(self)
        if self._own_sharing is not None:
            self._look_on(self._own_sharing)

    # Guarded calls. The first lines of `call` and `call_async` are those of `guarding.py` once more: a shared function
    # would cost more than all that they do.

    def __call__(self, fn: F) -> F:
        """Guard a function, coroutine function, generator function or async generator function."""
        return guarding.guard(self, fn)

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function through the circuit. CircuitOpenError if it refuses, TypeError for a coroutine function."""
        lane = self._lane
        if lane is None:
            return guarding.call(self, fn, args, kwargs)
        self._admissions.up()
        monotonic = self._monotonic
        began = monotonic()
        try:
            result = fn(*args, **kwargs)
            if type(result) is CoroutineType:
                raise guarding.misused(fn, result)
        except BaseException as error:
            self._lane_failed(lane, began, error)
            raise
        now = monotonic()
        if now >= lane.until or now - began >= lane.slow_call or self._lane is not lane:
            self._lane_left(lane, now - began)
        elif self._successes.up() >= lane.last:
            self._lane_used_up()
        return result

    async def call_async(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a coroutine function through the circuit; the permit is back at once if the task is cancelled."""
        lane = self._lane
        if lane is None:
            return await guarding.call_async(self, fn, args, kwargs)
        self._admissions.up()
        monotonic = self._monotonic
        began = monotonic()
        try:
            awaitable = fn(*args, **kwargs)
            if type(awaitable) is not CoroutineType:
                guarding.check_awaitable(fn, awaitable)
            result = await awaitable
        except BaseException as error:
            self._lane_failed(lane, began, error)
            raise
        now = monotonic()
        if now >= lane.until or now - began >= lane.slow_call or self._lane is not lane:
            self._lane_left(lane, now - began)
        elif self._successes.up() >= lane.last:
            self._lane_used_up()
        return result

    def __enter__(self) -> HeldPermit:
        return push(self.acquire())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pop(self).__exit__(kind, error, trace)

    async def __aenter__(self) -> HeldPermit:
        return push(self.acquire())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pop(self).__exit__(kind, error, trace)

    def acquire(self) -> HeldPermit:
        """A permit for one call; CircuitOpenError if the circuit refuses."""
        lane = self._lane
        if lane is not None:
            self._admissions.up()
            return HeldPermit(self, lane.permit, self._monotonic())
        now, circuit = self._monotonic(), self._circuit
        until = circuit.open_until
        if until is not None and now < until:  # refused for certain: no lock for that either
            self._denials.up()
            self._last_denied_at = now
            retry_after = None if until == math.inf else until - now
            raise CircuitOpenError(self.name, circuit.state, retry_after, circuit.reason)
        with self._lock:
            now = self._monotonic()
            answer = self._asked(now)
            if isinstance(answer, Denied):
                self._denials.up()
                self._last_denied_at = now
            else:
                self._admissions.up()
                if answer.number:
                    self._trials.add(answer.number)
        if isinstance(answer, Denied):
            self._tell()
            raise CircuitOpenError(self.name, answer.state, answer.retry_after, answer.reason)
        held = HeldPermit(self, answer, now)
        try:
            self._tell()
        except BaseException:  # an interrupt in a listener: the caller never learns of its permit
            held.cancel()
            raise
        return held

    def retry(
        self,
        attempts: int = 3,
        deadline: float = 60.0,
        wait_limit: float = 120.0,
        *,
        backoff: float = 0.5,
        backoff_max: float = 20.0,
        budget: "RetryBudget | None" = None,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] | None = None,
    ) -> "Retrying":
        """Calls that are tried again: at most so many attempts, all of them and the waits within `deadline` seconds.

        A limit that is over within `wait_limit` seconds is waited for with the permit kept; a longer one opens the
        circuit; after other failures the pauses grow from `backoff` to `backoff_max`. Retries share one budget per
        breaker, or the given one. `sleep` and `sleep_async` wait for so many seconds.
        """
        from recloser.breaker.retrying import RetryBudget, Retrying  # noqa: PLC0415 - see above
        from recloser.core.retry import RetrySettings  # noqa: PLC0415

        settings = RetrySettings(
            attempts=attempts, deadline=deadline, wait_limit=wait_limit, backoff=backoff, backoff_max=backoff_max
        )
        if budget is None:
            with self._lock:
                budget = self._budget = self._budget or RetryBudget(clock=self._clock)
        return Retrying(self, settings, budget, sleep=sleep, sleep_async=sleep_async)

    def loop(
        self,
        interval: float = 5.0,
        *,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] | None = None,
    ) -> "Loop":
        """A coordinator's loop, `for turn in` or `async for turn in`, that is paced by this circuit and cannot spin."""
        from recloser.breaker.loop import Loop  # noqa: PLC0415 - see above

        return Loop(self, interval, sleep=sleep, sleep_async=sleep_async)

    # Looking. Nothing here changes anything.

    @property
    def state(self) -> CircuitState:
        """Where the circuit stands."""
        return self._circuit.state

    @property
    def circuit(self) -> Circuit:
        """The circuit as one value, of which the last successes may not know yet."""
        return self._circuit

    @property
    def clock(self) -> Clock:
        """The clock that this breaker goes by."""
        return self._clock

    def denial(self) -> Denied | None:
        """Why the next call would be refused, or None."""
        if self._lane is not None:
            return None
        return machine.denial(self._living(), self.settings, self._monotonic())

    def classified(self, error: BaseException) -> Failure:
        """What an exception means to this breaker."""
        from recloser.core.raised import classify_exception  # noqa: PLC0415 - see above

        wall_now = self._clock.time()
        if self._classify is not None and not isinstance(error, guarding.MisuseError):
            try:
                return self._classify(error, wall_now)
            except Exception as fault:  # noqa: BLE001 - a classifier is a stranger; what it raises reaches no caller
                report_once(self._classify, "classifier", fault)
        return classify_exception(error, wall_now=wall_now)

    def snapshot(self) -> CircuitSnapshot:
        """The breaker at one moment."""
        with self._lock:
            moment = self._moment()
        return self._snapshot(moment, self._monotonic())

    @property
    def forgettable(self) -> bool:
        """Whether this breaker may make room for another: at most a count of failures is lost with it."""
        with self._lock:
            live = _live(self._moment().counts)
        return not live and machine.forgettable(self._circuit, self.settings, self._monotonic())

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self._circuit.state}>"

    def listen(self, listener: Emit) -> None:
        """Have one more listener hear of every event from now on."""
        self._listeners.add(listener)

    # By hand.

    def force_open(self, for_: float | None = None, *, reason: str = "by hand") -> None:
        """Refuse every call for `for_` seconds, or until released or reset."""
        self._change(lambda c, now: circuit_control.force_open(c, self.name, now, duration=for_, reason=reason))

    def release(self, *, reason: str = "by hand") -> None:
        """Take the hand off: what was forced open is tried at once, what was let pass is judged again."""
        self._change(lambda c, now: circuit_control.release(c, self.name, now, reason=reason))

    def disable(self, *, reason: str = "by hand") -> None:
        """Let every call pass and count nothing, until released or reset."""
        self._change(lambda c, _now: circuit_control.disable(c, self.name, reason=reason))

    def observe_only(self, *, reason: str = "by hand") -> None:
        """Let every call pass, count them, and only tell when the circuit would have opened."""
        self._change(lambda c, _now: circuit_control.observe_only(c, self.name, reason=reason))

    def reset(self, *, reason: str = "by hand") -> None:
        """Close the circuit and forget its failures. Counters stay."""
        self._change(lambda c, now: circuit_control.reset(c, self.name, now, reason=reason))

    def restore(self) -> None:
        """Close an open circuit because a probe succeeded."""
        self._change(lambda c, now: machine.restore(c, self.settings, self.name, now))

    def close(self) -> None:
        """Let go of the store, if this breaker opened one. The circuit goes on in memory."""
        if self._own_sharing is not None:
            self._own_sharing.close()

    # Settling.

    def _succeeded(self, held: HeldPermit, took: float | None) -> None:
        now, lane = self._monotonic(), self._lane
        took = now - held.began if took is None else took
        permit = held.permit
        ours = lane is not None and (permit is lane.permit or permit == lane.permit)
        if lane is not None and ours and now < lane.until and took < lane.slow_call:
            with self._lock:
                if held.settled:
                    return
                if self._lane is lane:
                    held.settled = True
                    if self._successes.up() >= lane.last:
                        self._lane_used_up()
                    return
        self._settle(held, "succeeded", self._success(held.permit, took))

    def _failed(self, held: HeldPermit, what: Failure | FailureKind | BaseException) -> None:
        try:
            failure = self._failure(what)
        except BaseException:  # an interrupt in a classifier
            self._returned(held, "cancelled")
            raise
        if failure.kind is FailureKind.CANCELLED:
            self._returned(held, "cancelled")
        elif failure.effect is Effect.NOTHING:
            self._returned(held, "ignored")
        else:
            took = self._monotonic() - held.began
            self._settle(held, "failed", self._charge(held.permit, failure.fit_to_note(), took))

    def _returned(self, held: HeldPermit, outcome: str) -> None:
        permit = held.permit
        if permit.number:
            self._settle(held, outcome, lambda c, _now: (machine.give_back(c, permit), None))
        else:
            self._settle(held, outcome, None)

    def _lane_left(self, lane: Lane, took: float) -> None:
        """A call that began in a lane succeeded beyond it."""
        self._settle(HeldPermit(self, lane.permit, 0.0), "succeeded", self._success(lane.permit, took))

    def _lane_used_up(self) -> None:
        """A lane's number of calls is reached: the circuit takes them in."""
        with self._lock:
            self._decide(lambda c, _now: (Step(c), None))

    def _lane_failed(self, lane: Lane, began: float, error: BaseException) -> None:
        self._failed(HeldPermit(self, lane.permit, began), error)

    def _failure(self, what: Failure | FailureKind | BaseException) -> Failure:
        if isinstance(what, Failure):
            return what
        if isinstance(what, FailureKind):
            from recloser.core.raised import failure_of  # noqa: PLC0415 - see above

            return failure_of(what)
        return self.classified(what)

    def _success(self, permit: Permit, took: float) -> _Change[None]:
        rand = self._rng.random()
        return lambda c, now: (machine.succeed(c, self.settings, permit, self.name, now, took=took, rand=rand), None)

    def _charge(self, permit: Permit, failure: Failure, took: float) -> _Change[None]:
        rand = self._rng.random()
        return lambda c, now: (
            machine.fail(c, self.settings, permit, failure, self.name, now, rand=rand, took=took), None
        )  # fmt: skip

    def _settle(self, held: HeldPermit, outcome: str, change: _Change[None] | None) -> None:
        """Count the settlement and decide what it leads to; only the first one counts."""
        with self._lock:
            if held.settled:
                return
            held.settled = True
            number = held.permit.number
            expired = number in self._expired
            self._expired.discard(number)
            self._counts[outcome] += not expired  # else it was counted when its lease ran out
            self._counts["stale"] += expired or held.permit.generation != self._circuit.generation
            if change is not None:
                self._decide(change, settles=number)
        self._tell()

    # Deciding. The lock is held.

    def _change(self, change: Callable[[Circuit, float], Step]) -> None:
        with self._lock:
            self._decide(lambda c, now: (change(c, now), None), ask="always")
        self._tell()

    def _tell(self) -> None:
        """Tell the listeners what was committed. The lock is left."""
        self._outbox.tell()
        if self._sharing is not None:
            self._sharing.tell()

    def _asked(self, now: float) -> Permit | Denied:
        """The answer to a call that wants to be admitted."""
        circuit = self._circuit
        if circuit.state in PASSING and not self.settings.throttle:
            return Permit(circuit.generation)
        refused = machine.denial(self._living(), self.settings, now)
        if refused is not None:
            return refused
        if self._deciding:
            return Denied(circuit.state, 0.0, "asked in the middle of a decision", circuit.last_kind)
        rand, live = self._rng.random(), _live(self._moment().counts)
        owner = self._sharing.owner if self._sharing is not None else ""
        return self._decide(
            lambda c, now: machine.admit(c, self.settings, self.name, now, rand=rand, live=live, owner=owner)
        )

    def _living(self) -> Circuit:
        """The circuit without the permits of those who have ended."""
        return self._circuit if self._sharing is None else self._sharing.living(self._circuit, self._trials)

    def _decide(self, change: _Change[T], *, ask: Ask = "if needed", settles: int = 0) -> T:
        """Run a decision, and make what it leads to the present.

        `ask`: the store. An order given by hand is always decided there, for others may have changed what it is about.
        `settles`: the number of the half-open permit that is not out any more then.

        A finaliser or a signal handler may come back here in the middle of it, in the same thread; its decision waits.
        """
        if self._deciding:
            self._postponed.append((lambda c, now: (change(c, now)[0], None), ask, settles))
            return None  # type: ignore[return-value]  # `_asked`, which wants an answer, never comes here then
        try:
            self._deciding = True
            answer = self._decided(change, ask, settles)
            while self._postponed:
                self._decided(*self._postponed.popleft())
        finally:
            self._deciding = False
        return answer

    def _decided(self, change: _Change[T], ask: Ask, settles: int) -> T:
        now = self._monotonic()
        successes = self._successes.value()
        mine = machine.tally(self._circuit, self.settings, successes - self._taken_in, now)
        try:
            if self._sharing is None or ask == "never":
                step, answer = change(mine, now)
            else:
                step, answer = self._sharing.decide(
                    self.name, mine, lambda c: change(c, now), now, self._trials, always=ask == "always"
                )
        finally:
            self._trials.discard(settles)
        self._taken_in = successes
        self._note_expired(mine, step.circuit)
        self._outbox.put(step.events)
        self._become(step.circuit, now)
        return answer

    def _become(self, circuit: Circuit, now: float) -> None:
        """Make a circuit the present one."""
        if circuit.generation != self._circuit.generation and circuit.state in REFUSING:
            self._counts["opened"] += 1
        self._lane = None  # first: whoever is interrupted here must not leave a lane into an open circuit
        self._circuit = circuit
        easy = machine.easy(circuit, self.settings, now)
        if easy is not None:
            last = _NO_LIMIT if math.isinf(easy.calls) else self._successes.mark(int(easy.calls))
            self._lane = Lane(easy, last)

    def _note_expired(self, before: Circuit, after: Circuit) -> None:
        """Count the leases that ran out."""
        if not self._trials or before.generation != after.generation:
            return
        owner = self._sharing.owner if self._sharing is not None else ""
        out, kept = ({x.number for x in circuit.leases if x.owner == owner} for circuit in (before, after))
        expired = (out - kept) & self._trials
        self._trials -= expired
        self._expired |= expired
        self._counts["expired"] += len(expired)

    # Sharing.

    def _look_on(self, shared: "Sharing") -> None:
        """Hear of what others change, for as long as somebody has this breaker."""
        me = weakref.ref(self)

        def heard(name: str, circuit: Circuit) -> None:
            breaker = me()
            if breaker is not None and name == breaker.name:
                breaker.heard_of(circuit)

        def known() -> Iterable[tuple[str, Circuit]]:
            breaker = me()
            return () if breaker is None else ((breaker.name, breaker.circuit),)

        shared.watch(heard, known)

    def heard_of(self, circuit: Circuit) -> None:
        """Take over a circuit that another process has changed."""

        def taken_over(mine: Circuit, now: float) -> tuple[Step, None]:
            if self._sharing is None or not self._sharing.takes_over(self.name, circuit, mine):
                return Step(mine), None
            theirs = machine.tally(adopted(circuit, mine), self.settings, 0, now)
            news = () if same_phase(circuit, mine) else (announcement(circuit, self.name, now),)
            return Step(theirs, news), None

        mine = self._circuit
        if circuit.seq == mine.seq and same_phase(circuit, mine):
            return  # most looks find what is known
        with self._lock:
            self._decide(taken_over, ask="never")
        self._tell()

    def forked(self) -> None:
        """This is a copy of the process: nobody else holds a lock in it, or is in the middle of a decision."""
        self._lock = threading.RLock()
        self._deciding = False
        self._postponed.clear()
        self._outbox.forked()
        self._become(self._circuit, self._monotonic())

    # A moment.

    def _moment(self) -> "Moment":
        """Everything a snapshot tells, taken at once."""
        successes = self._successes.value()
        counts = dict(self._counts)
        counts["succeeded"] += successes
        counts["denied"] = self._denials.value()
        counts["admitted"] = self._admissions.value()  # read last: nothing is settled before it is admitted
        recent = window.recent(self._circuit.window, self.settings, self._monotonic())
        past = window.total(recent)
        return Moment(self._circuit, counts, self._last_denied_at, past.plus(successes - self._taken_in, 0, 0, 0))

    def _snapshot(self, moment: "Moment", now: float) -> CircuitSnapshot:
        circuit, counts, last_denied_at, past = moment
        refused = machine.denial(circuit, self.settings, now)
        return CircuitSnapshot(
            name=self.name, state=circuit.state, generation=circuit.generation, seq=circuit.seq,
            failures=circuit.failures, threshold=adaptive.threshold(self.settings, circuit.window),
            window_calls=past.calls, window_failures=past.failures, window_slow=past.slow,
            opened_at=circuit.opened_at, open_until=circuit.open_until,
            retry_after=refused.retry_after if refused else None, authoritative=circuit.authoritative,
            cooldown=circuit.cooldown, open_count=counts["opened"], calls=counts["admitted"] + counts["denied"],
            admitted=counts["admitted"], succeeded=counts["succeeded"], failed=counts["failed"],
            ignored=counts["ignored"], cancelled=counts["cancelled"], expired=counts["expired"], stale=counts["stale"],
            live=_live(counts), denied=counts["denied"], last_denied_at=last_denied_at, last_kind=circuit.last_kind,
            reason=circuit.reason,
        )  # fmt: skip


def _classifier(rules: "Classify") -> Callable[[BaseException, float], Failure]:
    from recloser.core.raised import classifier  # noqa: PLC0415 - see above

    return classifier(rules)


class Moment(NamedTuple):
    """What a snapshot is made of."""

    circuit: Circuit
    counts: dict[str, int]
    last_denied_at: float | None
    past: window.Slice


def _live(counts: dict[str, int]) -> int:
    """The permits that are out."""
    return counts["admitted"] - sum(counts[how] for how in _OUTCOMES)
