"""Calls through a breaker that are tried again.

What follows from a failure is decided in `core/retry.py`; here it is done: waiting, with the permit kept or given back,
and asking the circuit anew.
"""

import contextlib
import functools
import inspect
import math
import threading
import time
from collections.abc import Awaitable, Callable
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from recloser.breaker import guarding
from recloser.breaker.clock import trusted
from recloser.breaker.counts import Count
from recloser.breaker.forks import set_up_anew
from recloser.breaker.held import enter, leave
from recloser.core import budget as bucket
from recloser.core.budget import Budget, BudgetSettings
from recloser.core.circuit_state import REFUSING
from recloser.core.errors import CircuitOpenError
from recloser.core.retry import RetrySettings, decide, given_up
from recloser.ports import Clock

if TYPE_CHECKING:
    from recloser.breaker.breaker import CircuitBreaker

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")


class RetryBudget:
    """What retries may cost, for everything that shares it: at most a tenth of the calls, and a little more.

    Safe across threads and event loops. `recloser.core.budget` says what the settings bound.
    """

    def __init__(self, settings: BudgetSettings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings or BudgetSettings()
        self._clock = trusted(clock)
        self._lock = threading.RLock()  # a finaliser may come back here in the same thread
        set_up_anew(self)
        self._budget = bucket.full(self.settings, self._clock.monotonic())
        self._calls = Count()
        self._paid_in = 0
        """Of the calls, how many the budget knows."""
        self.deposit = self._calls.up
        """Call it at each first call. It only counts, without a lock; what it is worth is seen when it is needed."""

    def forked(self) -> None:
        """This is a copy of the process: nobody else holds the lock in it."""
        self._lock = threading.RLock()

    @property
    def balance(self) -> float:
        """How many retries there are now."""
        with self._lock:
            return self._brought_up_to_date().tokens

    def withdraw(self) -> bool:
        """Take one retry; False if there is not enough for it."""
        with self._lock:
            left = bucket.withdraw(self._brought_up_to_date(), self.settings, self._budget.paid_until)
            if left is None:
                return False
            self._budget = left
            return True

    def _brought_up_to_date(self) -> Budget:
        """The budget with the calls and the time that it does not know yet. The lock is held."""
        calls = self._calls.value()
        new, self._paid_in = calls - self._paid_in, calls
        self._budget = bucket.deposit(self._budget, self.settings, self._clock.monotonic(), calls=new)
        return self._budget

    def __repr__(self) -> str:
        return f"<RetryBudget of {self.settings.capacity:g}, {self.balance:.1f} left>"


class Retrying:
    """Calls that are tried again, whole, when they fail: only for calls that may run twice.

    As a decorator for functions and coroutine functions, or by `call` and `call_async`. If the circuit refuses the
    first try, that is a CircuitOpenError. When the retries end, the error of the last try is raised, with a note that
    says how many there were and why there is no other. `sleep` and `sleep_async` take seconds.
    """

    def __init__(
        self,
        breaker: "CircuitBreaker",
        settings: RetrySettings,
        budget: RetryBudget,
        *,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self.breaker = breaker
        self.settings = settings
        self.budget = budget
        self._sleep = sleep
        self._sleep_async = sleep_async or _asyncio_sleep

    def call(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function, again if need be. Sleeps in the caller's thread."""
        with _Tries(self) as tries:
            while True:
                try:
                    result = fn(*args, **kwargs)
                except Exception as error:
                    wait = tries.failed(error)
                    if wait is None:
                        raise
                    self._sleep(wait)
                    if not tries.resumed(error):
                        raise
                else:
                    if isinstance(result, CoroutineType):
                        raise guarding.misused(fn, result)
                    tries.succeeded()
                    return result

    async def call_async(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a coroutine function, again if need be. Whenever the task is cancelled, the permit is back at once."""
        with _Tries(self) as tries:
            while True:
                awaitable = fn(*args, **kwargs)
                guarding.check_awaitable(fn, awaitable)
                try:
                    result = await awaitable
                except Exception as error:
                    wait = tries.failed(error)
                    if wait is None:
                        raise
                    await self._sleep_async(wait)
                    if not tries.resumed(error):
                        raise
                else:
                    tries.succeeded()
                    return result

    def __call__(self, fn: F) -> F:
        """Let a function or a coroutine function be tried again."""
        forms = [fn, getattr(fn, "__call__", fn)]  # noqa: B004 - the form of a callable object is that of its method
        if any(inspect.isgeneratorfunction(form) or inspect.isasyncgenfunction(form) for form in forms):
            raise TypeError(f"a generator cannot be retried, what it has yielded is gone: {fn!r}")

        def retried(*args: Any, **kwargs: Any) -> Any:
            return self.call(fn, *args, **kwargs)

        async def retried_async(*args: Any, **kwargs: Any) -> Any:
            return await self.call_async(fn, *args, **kwargs)

        is_async = any(map(inspect.iscoroutinefunction, forms))
        return cast("F", functools.wraps(fn)(retried_async if is_async else retried))

    def __repr__(self) -> str:
        return f"<Retrying {self.breaker.name!r}, {self.settings.attempts} attempts>"


async def _asyncio_sleep(seconds: float) -> None:
    import asyncio  # noqa: PLC0415 - whoever gets here has it loaded; those who do not use it are not to pay for it

    await asyncio.sleep(seconds)


class _Tries:
    """One call with its retries: the permit that it holds, how often it was tried, until when it may go on."""

    __slots__ = ("_breaker", "_budget", "_clock", "_count", "_held", "_leased_until", "_settings", "_until")

    def __init__(self, retrying: Retrying) -> None:
        self._breaker = retrying.breaker
        self._budget = retrying.budget
        self._settings = retrying.settings
        self._clock = self._breaker.clock
        self._until = self._clock.monotonic() + self._settings.deadline
        self._count = 1
        self._acquire()
        self._budget.deposit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(self._held)
        if error is None or isinstance(error, Exception):
            self._held.cancel()  # settled long ago, unless it is our caller's sleep that failed
        else:
            self._held.fail(error)  # an interrupt is never retried; whether it says anything, the classifier knows

    def succeeded(self) -> None:
        """The last try went well."""
        self._held.succeed()

    def failed(self, error: Exception) -> float | None:
        """The last try failed: the seconds until the next one, or None if there is none."""
        now = self._clock.monotonic()
        failure = self._breaker.classified(error)
        told = decide(
            failure,
            self._settings,
            tries=self._count,
            left=self._until - now,
            lease_left=self._leased_until - now,
            rand=self._breaker._rng.random(),
        )
        if told.wait is not None and not self._budget.withdraw():
            told = given_up(failure, "the retry budget is empty")
        if told.charge is not None:
            self._held.fail(told.charge)
            if told.wait is not None and self._refused_for(told.wait):
                told = given_up(failure, "the circuit has opened")
        if told.wait is None:
            self._ended(error, told.why)
        return told.wait

    def resumed(self, error: Exception) -> bool:
        """The wait is over: whether there is a permit for the next try. The circuit may have changed meanwhile."""
        now = self._clock.monotonic()
        if now >= self._until:
            self._ended(error, "the deadline has passed")
            return False
        if self._is_valid(now):
            self._held.began = now  # the wait is no part of how long the call takes
        else:
            self._held.cancel()
            leave(self._held)
            try:
                self._acquire()
            except CircuitOpenError as refusal:
                self._ended(error, str(refusal))
                return False
        self._count += 1
        return True

    def _acquire(self) -> None:
        self._held = enter(self._breaker.acquire())  # what is called through the same circuit is a part of it
        leased = self._breaker.settings.permit_lease if self._held.trial else math.inf
        self._leased_until = self._held.began + leased

    def _is_valid(self, now: float) -> bool:
        """Whether the permit was kept and is still good: a result of an earlier generation would be no verdict."""
        if self._held.settled or now >= self._leased_until:
            return False
        return self._held.permit.generation == self._breaker.snapshot().generation

    def _refused_for(self, wait: float) -> bool:
        """Whether the circuit is certain to refuse the next try, so that there is nothing to wait for."""
        denied = self._breaker.denial()
        if denied is None or denied.state not in REFUSING:
            return False
        return denied.retry_after is None or denied.retry_after > wait

    def _ended(self, error: Exception, why: str) -> None:
        """Say on the error why there is no other try."""
        times = "once" if self._count == 1 else f"{self._count} times"
        note = f"recloser: tried {times} through circuit {self._breaker.name!r}, and not again: {why}"
        said = getattr(error, "__notes__", ())  # one exception object may be raised many times
        if not any(str(other).startswith("recloser: tried") for other in said):
            with contextlib.suppress(Exception):  # it may be frozen
                error.add_note(note)
