"""Calls that are tried again: how often, when, with which permit, and what is told in the end."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.breaker.breaker import CircuitBreaker
from recloser.breaker.permit import HeldPermit
from recloser.breaker.retrying import RetryBudget, Retrying
from recloser.core.budget import BudgetSettings
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import FailureKind
from recloser.core.retry import RetrySettings
from recloser.testing import ManualClock, in_threads

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, *_ = CircuitState
START = 1000.0
SETTINGS = RetrySettings(attempts=3, deadline=60.0, wait_limit=40.0, backoff=1.0, jitter=0.0)


class LimitedError(Exception):
    """The server says when to come back."""

    failure_kind = FailureKind.RATE_LIMITED

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


class Upstream:
    """Gives its answers one after the other, the last one for ever; notes when it was asked."""

    def __init__(self, clock: ManualClock, *answers: object, takes: float = 0.0) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.takes = takes
        self.asked: list[float] = []

    def ask(self, *_: object, **__: object) -> object:
        self.asked.append(self.clock.monotonic() - START)
        self.clock.advance(self.takes)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def ask_async(self, *_: object, **__: object) -> object:
        return self.ask()


class Sleep:
    """Lets time pass instead of sleeping, after having run what happens meanwhile."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()
        self.clock.advance(seconds)

    async def async_(self, seconds: float) -> None:
        self(seconds)


class Run(Protocol):
    def __call__(self, retrying: Retrying, upstream: Upstream) -> object: ...


def run_sync(retrying: Retrying, upstream: Upstream) -> object:
    return retrying.call(upstream.ask)


def run_async(retrying: Retrying, upstream: Upstream) -> object:
    return asyncio.run(retrying.call_async(upstream.ask_async))


@pytest.fixture(params=[run_sync, run_async])
def run(request: pytest.FixtureRequest) -> Run:
    """Every story is told of functions and of coroutine functions."""
    way: Run = request.param
    return way


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=START)


@pytest.fixture
def sleep(clock: ManualClock) -> Sleep:
    return Sleep(clock)


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    settings = CircuitSettings(failure_threshold=5, cooldown=10.0, jitter=0.0, permit_lease=100.0)
    return CircuitBreaker("search", settings, clock=clock, rng=random.Random(1))


@pytest.fixture
def budget(clock: ManualClock) -> RetryBudget:
    return RetryBudget(clock=clock)


@pytest.fixture
def retrying(breaker: CircuitBreaker, budget: RetryBudget, sleep: Sleep) -> Retrying:
    return made(breaker, SETTINGS, budget, sleep)


def made(breaker: CircuitBreaker, settings: RetrySettings, budget: RetryBudget, sleep: Sleep) -> Retrying:
    return Retrying(breaker, settings, budget, sleep=sleep, sleep_async=sleep.async_)


def note(error: BaseException) -> str:
    """The one note on an error."""
    (only,) = error.__notes__
    return str(only)


def half_open_next(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """Open the circuit and let its time pass: the next call is a trial."""
    for _ in range(5):
        breaker.acquire().fail(FailureKind.TIMEOUT)
    clock.advance(10.0)


# Trying again


def test_a_call_that_goes_well_is_made_once(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    upstream = Upstream(clock, "found")
    assert run(retrying, upstream) == "found"
    assert upstream.asked == [0.0]
    assert breaker.snapshot().succeeded == 1


def test_arguments_are_handed_over(retrying: Retrying) -> None:
    async def shown(*args: object, fn: object) -> object:
        return args, fn

    assert retrying.call(lambda *args, fn: (args, fn), 1, 2, fn="x") == ((1, 2), "x")
    assert asyncio.run(retrying.call_async(shown, 1, 2, fn="x")) == ((1, 2), "x")


def test_a_hiccup_is_backed_off_from_and_nobody_notices(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    upstream = Upstream(clock, ConnectionError(), TimeoutError(), "found")
    assert run(retrying, upstream) == "found"
    assert upstream.asked == [0.0, 1.0, 3.0]
    s = breaker.snapshot()
    assert (s.failed, s.succeeded, s.failures, s.live) == (2, 1, 0, 0)


def test_the_pauses_are_spread(
    run: Run, breaker: CircuitBreaker, budget: RetryBudget, sleep: Sleep, clock: ManualClock
) -> None:
    for _ in range(4):
        run(made(breaker, replace(SETTINGS, jitter=0.5), budget, sleep), Upstream(clock, ConnectionError(), "found"))
    assert all(0.5 <= slept <= 1.5 for slept in sleep.slept)
    assert len(set(sleep.slept)) > 1


def test_the_last_error_itself_is_raised_and_says_how_often_it_was_tried(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    last = TimeoutError("too slow")
    upstream = Upstream(clock, ConnectionError(), ConnectionError(), last)
    with pytest.raises(TimeoutError) as told:
        run(retrying, upstream)
    assert told.value is last
    assert note(last) == "recloser: tried 3 times through circuit 'search', and not again: no attempt is left"
    assert breaker.snapshot().failed == 3


def test_an_exception_object_that_is_raised_for_ever_does_not_grow(
    run: Run, breaker: CircuitBreaker, budget: RetryBudget, sleep: Sleep, clock: ManualClock
) -> None:
    always = ConnectionError()
    once = made(breaker, replace(SETTINGS, attempts=1), budget, sleep)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            run(once, Upstream(clock, always))
    assert note(always) == "recloser: tried once through circuit 'search', and not again: no attempt is left"


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError(), CircuitOpenError("inner", "open", 1.0, "x")])
def test_what_another_try_does_not_cure_is_raised_at_once(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock, error: Exception
) -> None:
    upstream = Upstream(clock, error)
    with pytest.raises(type(error)) as told:
        run(retrying, upstream)
    assert told.value is error
    assert upstream.asked == [0.0]
    s = breaker.snapshot()
    assert (s.ignored, s.failed, s.live) == (1, 0, 0)


# Limits


def test_a_limit_is_waited_out_with_the_permit_kept_and_nothing_counted(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    live: list[int] = []
    sleep.meanwhile = lambda: live.append(breaker.snapshot().live)
    upstream = Upstream(clock, LimitedError(30.0), "found")
    assert run(retrying, upstream) == "found"
    assert upstream.asked == [0.0, 30.0]
    s = breaker.snapshot()
    assert live == [1]
    assert (s.admitted, s.succeeded, s.failed, s.failures, s.state) == (1, 1, 0, 0, CLOSED)


@pytest.mark.parametrize("hint", [0.0, 30.0])
def test_a_trial_that_meets_a_limit_waits_and_does_not_refuse_itself(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock, hint: float
) -> None:
    half_open_next(breaker, clock)
    refused: list[bool] = []
    sleep.meanwhile = lambda: refused.append(breaker.denial() is not None)
    upstream = Upstream(clock, LimitedError(hint), "found")
    assert run(retrying, upstream) == "found"
    assert len(upstream.asked) == 2
    assert refused == [True], "others must not try while the trial waits"
    assert breaker.state is CLOSED


def test_a_limit_that_lasts_too_long_opens_the_circuit_and_is_told_at_once(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    upstream = Upstream(clock, LimitedError(3600.0))
    with pytest.raises(LimitedError) as told:
        run(retrying, upstream)
    assert note(told.value).endswith("not again: the server asks for 1 h, more than wait_limit (40 s)")
    assert (sleep.slept, breaker.state, breaker.snapshot().retry_after) == ([], OPEN, 3600.0)


def test_a_limit_that_does_not_fit_the_deadline_opens_the_circuit(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    upstream = Upstream(clock, LimitedError(35.0), LimitedError(35.0))
    with pytest.raises(LimitedError):
        run(retrying, upstream)
    assert upstream.asked == [0.0, 35.0]
    assert breaker.snapshot().retry_after == 35.0


def test_a_trial_does_not_wait_for_longer_than_it_may_keep_its_permit(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    breaker.settings = replace(breaker.settings, permit_lease=20.0)
    half_open_next(breaker, clock)
    with pytest.raises(LimitedError):
        run(retrying, Upstream(clock, LimitedError(30.0)))
    assert (sleep.slept, breaker.state) == ([], OPEN)


def test_a_permit_that_is_no_trial_is_kept_for_as_long_as_it_takes(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    breaker.settings = replace(breaker.settings, permit_lease=20.0)
    assert run(retrying, Upstream(clock, LimitedError(30.0), "found")) == "found"
    assert breaker.snapshot().admitted == 1


def test_a_limit_waited_for_does_not_make_the_call_a_slow_one(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    breaker.settings = replace(breaker.settings, slow_call=10.0)
    run(retrying, Upstream(clock, LimitedError(30.0), "found", takes=9.0))
    assert breaker.snapshot().window_slow == 0
    with pytest.raises(ConnectionError):
        run(made_once(retrying), Upstream(clock, ConnectionError(), takes=10.0))
    assert breaker.snapshot().window_slow == 1


def made_once(retrying: Retrying) -> Retrying:
    """The same without retries."""
    return Retrying(retrying.breaker, replace(SETTINGS, attempts=1), retrying.budget)


# The circuit meanwhile


def test_who_is_refused_the_first_try_gets_the_circuits_own_error(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, budget: RetryBudget, clock: ManualClock
) -> None:
    breaker.force_open(reason="maintenance")
    budget.withdraw()
    upstream = Upstream(clock, "found")
    with pytest.raises(CircuitOpenError, match="maintenance"):
        run(retrying, upstream)
    assert upstream.asked == []
    assert budget.balance == 9.0, "a call that is not made pays for no retry"


def test_nobody_waits_before_a_door_that_has_just_closed(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    for _ in range(4):
        breaker.acquire().fail(FailureKind.TIMEOUT)
    upstream = Upstream(clock, ConnectionError())
    with pytest.raises(ConnectionError) as told:
        run(retrying, upstream)
    assert (upstream.asked, sleep.slept, breaker.state) == ([0.0], [], OPEN)
    assert note(told.value).endswith("tried once through circuit 'search', and not again: the circuit has opened")


def test_a_disabled_circuit_disables_no_retries(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    breaker.disable()
    assert run(retrying, Upstream(clock, ConnectionError(), LimitedError(5.0), "found")) == "found"


def test_a_pause_that_outlasts_the_opening_is_worth_it(
    run: Run, breaker: CircuitBreaker, budget: RetryBudget, sleep: Sleep, clock: ManualClock
) -> None:
    for _ in range(4):
        breaker.acquire().fail(FailureKind.TIMEOUT)
    patient = made(breaker, replace(SETTINGS, backoff=10.0), budget, sleep)
    assert run(patient, Upstream(clock, ConnectionError(), "found")) == "found"
    assert breaker.state is CLOSED


def test_a_circuit_that_is_forced_open_during_the_call_is_not_waited_for(
    retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep
) -> None:
    def search() -> None:
        breaker.force_open()
        raise ConnectionError

    with pytest.raises(ConnectionError) as told:
        retrying.call(search)
    assert note(told.value).endswith("the circuit has opened")
    assert sleep.slept == []


def test_somebody_elses_trial_may_be_over_after_the_pause(
    retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    trials: list[HeldPermit] = []

    def search() -> str:
        if trials:
            return "found"
        half_open_next(breaker, clock)
        trials.append(breaker.acquire())
        raise ConnectionError

    def heal() -> None:
        trials[0].succeed()

    sleep.meanwhile = heal
    assert retrying.call(search) == "found"


@pytest.mark.parametrize("error", [ConnectionError(), LimitedError(30.0)])
def test_a_circuit_that_is_opened_meanwhile_lets_nobody_try_again(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock, error: Exception
) -> None:
    sleep.meanwhile = lambda: breaker.force_open(reason="maintenance")
    upstream = Upstream(clock, error)
    with pytest.raises(type(error)) as told:
        run(retrying, upstream)
    assert told.value is error
    assert len(upstream.asked) == 1
    assert "circuit 'search' is forced_open (maintenance)" in note(error)
    assert breaker.snapshot().live == 0


def test_a_permit_of_an_earlier_phase_is_exchanged_for_a_new_one(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    def restart() -> None:
        breaker.force_open()
        breaker.reset()

    sleep.meanwhile = restart
    assert run(retrying, Upstream(clock, LimitedError(30.0), "found")) == "found"
    s = breaker.snapshot()
    assert (s.admitted, s.cancelled, s.succeeded, s.live) == (2, 1, 1, 0)


def test_a_trial_that_overslept_its_lease_asks_again_and_does_not_disturb_the_next(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    half_open_next(breaker, clock)
    retrying.settings = replace(SETTINGS, deadline=1000.0)
    others: list[HeldPermit] = []

    def oversleep() -> None:
        clock.advance(101.0)
        others.append(breaker.acquire())

    sleep.meanwhile = oversleep
    upstream = Upstream(clock, LimitedError(30.0), "found")
    with pytest.raises(LimitedError) as told:
        run(retrying, upstream)
    assert len(upstream.asked) == 1
    assert "half_open" in note(told.value)
    others[0].succeed()
    assert breaker.state is CLOSED


# The deadline


def test_the_deadline_covers_calls_and_pauses_but_breaks_off_no_call(
    run: Run, breaker: CircuitBreaker, budget: RetryBudget, sleep: Sleep, clock: ManualClock
) -> None:
    patient = made(breaker, replace(SETTINGS, attempts=10), budget, sleep)
    upstream = Upstream(clock, ConnectionError(), takes=25.0)
    with pytest.raises(ConnectionError) as told:
        run(patient, upstream)
    assert upstream.asked == [0.0, 26.0, 53.0]
    assert clock.monotonic() == START + 78.0
    assert "the next pause is 4.0 s, longer than there is time (0 ms)" in note(told.value)


@pytest.mark.parametrize("error", [ConnectionError(), LimitedError(1.0)])
def test_who_oversleeps_the_deadline_does_not_try_again(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock, error: Exception
) -> None:
    sleep.meanwhile = lambda: clock.advance(59.0)
    upstream = Upstream(clock, error)
    with pytest.raises(type(error)):
        run(retrying, upstream)
    assert upstream.asked == [0.0]
    assert note(error).endswith("the deadline has passed")
    s = breaker.snapshot()
    assert (s.live, s.state) == (0, CLOSED)


# The budget


def test_an_empty_budget_fails_fast(run: Run, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock) -> None:
    poor = RetryBudget(BudgetSettings(ratio=0.0, per_second=0.0, capacity=1.0), clock=clock)
    upstream = Upstream(clock, ConnectionError())
    with pytest.raises(ConnectionError) as told:
        run(made(breaker, SETTINGS, poor, sleep), upstream)
    assert upstream.asked == [0.0, 1.0]
    assert note(told.value).endswith("tried 2 times through circuit 'search', and not again: the retry budget is empty")
    assert breaker.snapshot().failed == 2


def test_without_a_budget_a_limit_opens_the_circuit_for_everybody(
    run: Run, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    poor = RetryBudget(BudgetSettings(ratio=0.0, per_second=0.0, capacity=1.0), clock=clock)
    upstream = Upstream(clock, LimitedError(5.0))
    with pytest.raises(LimitedError):
        run(made(breaker, SETTINGS, poor, sleep), upstream)
    assert upstream.asked == [0.0, 5.0]
    assert breaker.snapshot().retry_after == 5.0


def test_ten_calls_pay_for_one_retry(run: Run, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock) -> None:
    poor = RetryBudget(BudgetSettings(ratio=0.1, per_second=0.0, capacity=1.0), clock=clock)
    poor.withdraw()
    retrying = made(breaker, SETTINGS, poor, sleep)
    for _ in range(9):
        run(retrying, Upstream(clock, "found"))
    upstream = Upstream(clock, ConnectionError())
    with pytest.raises(ConnectionError):
        run(retrying, upstream)
    assert len(upstream.asked) == 2


def test_a_budget_may_be_shared(run: Run, sleep: Sleep, clock: ManualClock) -> None:
    shared = RetryBudget(BudgetSettings(ratio=0.0, per_second=0.0, capacity=3.0), clock=clock)
    asked = 0
    for name in ("a", "b", "c"):
        upstream = Upstream(clock, ConnectionError())
        with pytest.raises(ConnectionError):
            run(made(CircuitBreaker(name, clock=clock), SETTINGS, shared, sleep), upstream)
        asked += len(upstream.asked)
    assert asked == 3 + 3


def test_an_outage_is_not_made_worse(run: Run, budget: RetryBudget, sleep: Sleep, clock: ManualClock) -> None:
    """A circuit that never opens, so that the budget is all there is."""
    never = CircuitBreaker("x", CircuitSettings(failure_threshold=0, failure_rate=0.0), clock=clock)
    retrying = made(never, SETTINGS, budget, sleep)
    upstream = Upstream(clock, ConnectionError())
    for _ in range(500):
        with pytest.raises(ConnectionError):
            run(retrying, upstream)
    retries, elapsed = len(upstream.asked) - 500, clock.monotonic() - START
    assert 10 <= retries <= 10 + 0.1 * 500 + 0.5 * elapsed


class BusyClock(ManualClock):
    """Lets other threads in whenever it is read."""

    def monotonic(self) -> float:
        Path(__file__).stat()
        return super().monotonic()


def test_sixteen_threads_take_no_more_than_there_is() -> None:
    budget = RetryBudget(BudgetSettings(ratio=0.0, per_second=0.0, capacity=200.0), clock=BusyClock())
    taken: list[bool] = []
    in_threads(lambda: taken.extend([budget.withdraw() for _ in range(25)]), 16)
    assert (taken.count(True), taken.count(False)) == (200, 200)


def test_sixteen_threads_put_in_what_they_should_and_may_look_at_it() -> None:
    budget = RetryBudget(BudgetSettings(ratio=0.1, per_second=0.0, capacity=1000.0), clock=BusyClock())
    while budget.withdraw():
        pass

    def pay() -> None:
        for _ in range(25):
            budget.deposit()
            assert budget.balance <= 40.0 + 1e-9

    in_threads(pay, 16)
    assert budget.balance == pytest.approx(40.0)


# Interrupts


class Step:
    """One await."""

    def __await__(self) -> Generator[None]:
        yield


@pytest.mark.parametrize("trial", [False, True])
@pytest.mark.parametrize("error", [ConnectionError, lambda: LimitedError(5.0)])
def test_whenever_a_task_is_cancelled_the_permit_is_back_at_once(
    clock: ManualClock, error: Callable[[], Exception], *, trial: bool
) -> None:
    """Two awaits in each try, two in each wait: cancelled at every one of them."""

    async def flaky(errors: list[Exception]) -> str:
        await Step()
        await Step()
        if errors:
            raise errors.pop()
        return "found"

    async def sleep(seconds: float) -> None:
        await Step()
        clock.advance(seconds)
        await Step()

    awaits = 0
    while True:
        breaker = CircuitBreaker("x", CircuitSettings(failure_threshold=5, cooldown=10.0, jitter=0.0), clock=clock)
        if trial:
            half_open_next(breaker, clock)
        settings = replace(SETTINGS, backoff=21.0, backoff_max=21.0)  # a trial that failed opens the circuit for 20 s
        retrying = Retrying(breaker, settings, RetryBudget(clock=clock), sleep_async=sleep)
        task = retrying.call_async(flaky, [error()])
        try:
            for _ in range(awaits + 1):
                task.send(None)
        except StopIteration:
            break
        awaits += 1
        failed = breaker.snapshot().failed
        with pytest.raises(asyncio.CancelledError) as told:
            task.throw(asyncio.CancelledError())
        assert not hasattr(told.value, "__notes__")
        s = breaker.snapshot()
        assert (s.live, s.failed) == (0, failed), f"at await number {awaits}"
        clock.advance(20.0)
        breaker.acquire().cancel()
    assert awaits == 6


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_call_is_not_retried(
    run: Run, retrying: Retrying, breaker: CircuitBreaker, clock: ManualClock, interrupt: type[BaseException]
) -> None:
    upstream = Upstream(clock, interrupt())
    with pytest.raises(interrupt):
        run(retrying, upstream)
    s = breaker.snapshot()
    assert (len(upstream.asked), s.cancelled, s.failed, s.live) == (1, 1, 0, 0)


def test_an_interrupt_in_a_wait_gives_the_permit_back(
    retrying: Retrying, breaker: CircuitBreaker, sleep: Sleep, clock: ManualClock
) -> None:
    half_open_next(breaker, clock)

    def interrupt() -> None:
        raise KeyboardInterrupt

    sleep.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        retrying.call(Upstream(clock, LimitedError(5.0)).ask)
    breaker.acquire().succeed()
    assert breaker.state is CLOSED


# Forms


def test_a_function_and_a_coroutine_function_may_be_decorated(retrying: Retrying, clock: ManualClock) -> None:
    upstream = Upstream(clock, ConnectionError(), "found", ConnectionError(), "found again")

    @retrying
    def search(word: str) -> str:
        """Search."""
        return f"{word}: {upstream.ask()}"

    @retrying
    async def search_async(word: str) -> str:
        return f"{word}: {await upstream.ask_async()}"

    assert search("x") == "x: found"
    assert asyncio.run(search_async("y")) == "y: found again"
    assert (search.__name__, search.__doc__) == ("search", "Search.")


def test_an_object_with_an_async_call_is_a_coroutine_function(retrying: Retrying) -> None:
    class Search:
        __name__ = "search"

        async def __call__(self) -> str:
            return "found"

    search: Callable[[], Awaitable[str]] = retrying(Search())

    async def main() -> str:
        return await search()

    assert asyncio.run(main()) == "found"


def test_generators_cannot_be_retried(retrying: Retrying) -> None:
    def numbers() -> Generator[int]:
        yield 1

    async def numbers_async() -> Any:
        yield 1

    for form in (numbers, numbers_async):
        with pytest.raises(TypeError, match="a generator cannot be retried"):
            retrying(form)


def test_the_wrong_form_is_a_type_error_and_not_tried_three_times(retrying: Retrying, breaker: CircuitBreaker) -> None:
    runs: list[str] = []

    async def coroutine_function() -> None:
        runs.append("async")

    with pytest.raises(TypeError, match="call_async"):
        _ = retrying.call(coroutine_function)
    with pytest.raises(TypeError, match="nothing to await"):
        asyncio.run(retrying.call_async(lambda: runs.append("sync")))  # type: ignore[arg-type,return-value]
    assert runs == ["sync"]
    s = breaker.snapshot()
    assert (s.cancelled, s.failed, s.live) == (2, 0, 0)


def test_the_usual_sleeps_are_those_of_time_and_asyncio(run: Run, breaker: CircuitBreaker, clock: ManualClock) -> None:
    quick = replace(SETTINGS, backoff=1e-6, backoff_max=1e-6)
    retrying = Retrying(breaker, quick, RetryBudget(clock=clock))
    assert run(retrying, Upstream(clock, ConnectionError(), "found")) == "found"


def test_who_only_imports_it_does_not_pay_for_asyncio() -> None:
    asked = "import sys, recloser.breaker.retrying; print('asyncio' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert told.stdout == "False\n"


def test_it_can_be_made_by_its_breaker(breaker: CircuitBreaker, clock: ManualClock) -> None:
    retrying = breaker.retry(attempts=1, deadline=30.0, wait_limit=10.0)
    assert (retrying.settings.attempts, retrying.settings.deadline, retrying.settings.wait_limit) == (1, 30.0, 10.0)
    assert breaker.retry().budget is retrying.budget, "one budget for all that retries through this breaker"
    own = RetryBudget(clock=clock)
    assert breaker.retry(budget=own).budget is own


def test_what_is_shown_of_them_says_what_they_are(retrying: Retrying, budget: RetryBudget) -> None:
    assert repr(retrying) == "<Retrying 'search', 3 attempts>"
    assert repr(budget) == "<RetryBudget of 10, 10.0 left>"


# Whatever happens


answers = st.lists(
    st.sampled_from(
        [
            ConnectionError(),
            ValueError(),
            FileNotFoundError(),
            "found",
            LimitedError(0.0),
            LimitedError(3.0),
            LimitedError(50.0),
        ]
    ),
    min_size=1,
    max_size=8,
)


@given(
    answers=answers,
    attempts=st.integers(1, 6),
    deadline=st.floats(0.5, 100.0),
    takes=st.floats(0.0, 30.0),
    jitter=st.floats(0.0, 0.9),
    meanwhile=st.sampled_from(["nothing", "opened", "restarted"]),
    trial=st.booleans(),
)
def test_no_trace_breaks_the_bounds(
    answers: list[object],
    attempts: int,
    deadline: float,
    takes: float,
    jitter: float,
    meanwhile: str,
    *,
    trial: bool,
) -> None:
    clock = ManualClock(start=START)
    settings = CircuitSettings(failure_threshold=5, cooldown=10.0, jitter=0.0)
    breaker = CircuitBreaker("x", settings, clock=clock, rng=random.Random(1))
    if trial:
        half_open_next(breaker, clock)
    sleep = Sleep(clock)

    def happens() -> None:
        if meanwhile != "nothing":
            breaker.force_open(1.0)
        if meanwhile == "restarted":
            breaker.reset()

    sleep.meanwhile = happens
    budget = RetryBudget(BudgetSettings(ratio=0.0, per_second=0.0, capacity=3.0), clock=clock)
    how = RetrySettings(attempts=attempts, deadline=deadline, wait_limit=40.0, backoff=1.0, jitter=jitter)
    upstream, began = Upstream(clock, *answers, takes=takes), clock.monotonic()
    outcome: object
    try:
        outcome = made(breaker, how, budget, sleep).call(upstream.ask)
    except Exception as error:  # noqa: BLE001 - whatever is raised must be one of the upstream's own
        outcome = error
    assert any(outcome is answer for answer in answers)
    assert 1 <= len(upstream.asked) <= min(attempts, 1 + 3)
    assert all(asked + START < began + deadline for asked in upstream.asked)
    assert all(0.1 <= slept < deadline for slept in sleep.slept)
    s = breaker.snapshot()
    assert s.live == 0
    assert s.admitted == s.succeeded + s.failed + s.ignored + s.cancelled + s.expired
