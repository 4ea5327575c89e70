"""The circuit for ordinary code: a breaker around calls in every form."""

import math
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from recloser.breaker import guarding
from recloser.breaker.clock import trusted
from recloser.breaker.held import pop, push, trial_under
from recloser.breaker.listeners import Listeners
from recloser.breaker.live import LiveCircuit
from recloser.breaker.permit import HeldPermit
from recloser.breaker.reports import report_once
from recloser.breaker.snapshot import CircuitSnapshot
from recloser.core import circuit as machine
from recloser.core import circuit_control
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, CircuitState, Denied, Permit
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.core.raised import Classify, classifier, classify_exception
from recloser.ports import Clock, Emit, Store

if TYPE_CHECKING:  # what not everybody needs is loaded by those who do: the library must be quick to import
    from recloser.breaker.loop import Loop
    from recloser.breaker.retrying import RetryBudget, Retrying
    from recloser.breaker.sharing import Sharing

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")
_UNKNOWN = Failure(kind=FailureKind.EXECUTION_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS)


class CircuitBreaker(LiveCircuit):
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
        classify: Classify | None = None,
        store: "str | Store | Sharing | None" = None,
        listeners: Iterable[Emit] | Listeners = (),
        clock: Clock | None = None,
        rng: random.Random | None = None,
        circuit: Circuit | None = None,
    ) -> None:
        if not name or not _is_text(name):
            raise ConfigError(f"a circuit's name must be a string that is not empty, not {name!r}")
        listeners = listeners if isinstance(listeners, Listeners) else Listeners(listeners)
        super().__init__(
            name,
            settings or CircuitSettings(),
            clock=trusted(clock),
            rng=rng,
            listeners=listeners,
        )
        self._classify = None if classify is None else classifier(classify)
        self._budget: RetryBudget | None = None
        self._blocks: dict[int, list[HeldPermit]] = {}
        """The permits of the `with` blocks that are under way, by the frame that each stands in."""
        self.asked_for = False
        """For the registry: whether somebody asked for this breaker since it was last looked at."""
        self._own_sharing: Sharing | None = None
        if store is not None:
            from recloser.breaker.sharing import sharing  # noqa: PLC0415 - see above

            self._sharing = sharing(store, self._clock, self._outbox, only=name)
            if self._sharing is not store:  # else it is a registry's, which looks for all its breakers
                self._own_sharing = self._sharing
                circuit = self._sharing.load().get(name, circuit)
        self._begin(circuit)
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
        return push(self.acquire(), self._blocks)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pop(self, self._blocks).__exit__(kind, error, trace)

    async def __aenter__(self) -> HeldPermit:
        return push(self.acquire(), self._blocks)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pop(self, self._blocks).__exit__(kind, error, trace)

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
        answer = self._asked()
        if isinstance(answer, Denied):
            answer = self._denied(answer, now)
        try:
            self._tell()
        except BaseException:  # an interrupt in a listener: the caller never learns of its permit
            answer.cancel()
            raise
        return answer

    def _denied(self, denied: Denied, now: float) -> HeldPermit:
        """Refuse; but a call within a trial of this very circuit is a part of it, and no verdict of its own."""
        trial = trial_under(self)
        if trial is not None and trial.permit.generation == self._circuit.generation:
            self._admissions.up()
            return HeldPermit(self, Permit(trial.permit.generation), now)
        self._denials.up()
        self._last_denied_at = now
        self._tell()
        raise CircuitOpenError(self.name, denied.state, denied.retry_after, denied.reason)

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
        """What an exception means to this breaker. Never raises, whatever the exception is."""
        try:
            wall_now = self._clock.time()
            if self._classify is not None and not isinstance(error, guarding.MisuseError):
                try:
                    return self._classify(error, wall_now)
                except Exception as fault:  # noqa: BLE001 - a classifier is a stranger; what it raises reaches no caller
                    report_once(self._classify, "classifier", fault)
            return classify_exception(error, wall_now=wall_now)
        except Exception:  # noqa: BLE001 - no file descriptor left to load a table by: a failure it is all the same
            return _UNKNOWN

    def snapshot(self) -> CircuitSnapshot:
        """The breaker at one moment."""
        return self.moment().snapshot(self._monotonic())

    @property
    def forgettable(self) -> bool:
        """Whether this breaker may make room for another: at most a count of failures is lost with it."""
        if not self._lock.acquire(blocking=False):
            return False  # somebody is at it
        try:
            live = self._moment().live
        finally:
            self._lock.release()
        return not live and machine.forgettable(self._circuit, self.settings, self._monotonic())

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be copied or pickled: make one of the same name, with a store to share it")

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self._circuit.state}>"

    def listen(self, listener: Emit) -> None:
        """Have one more listener hear of every event from now on."""
        self._listeners.add(listener)

    # By hand.

    def force_open(self, for_: float | timedelta | None = None, *, reason: str = "by hand") -> None:
        """Refuse every call for `for_` seconds, or until released or reset."""
        if isinstance(for_, timedelta):
            for_ = for_.total_seconds()
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


def _is_text(name: object) -> bool:
    """Whether it is a string that can be written down: half a surrogate pair cannot."""
    try:
        return isinstance(name, str) and bool(name.encode())
    except UnicodeEncodeError:
        return False
