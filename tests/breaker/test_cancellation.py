"""Cancelled at any await: the permit is back at once, and that is no verdict.

After each cancellation the invariants of the breaker reference are looked at: no more trials than are allowed (I1), the
next caller is admitted (I2), every permit is settled once (I7), and nothing else has changed (I8).
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.breaker.hand_driven import Driven, cancel_at, drive, pause
from tests.breaker.scenes import CLOSED, HALF_OPEN, OPEN, SETTINGS, BrokenError, adds_up, fail, to_half_open

from recloser.breaker import CircuitBreaker
from recloser.breaker.loop import Loop
from recloser.core.errors import CircuitOpenError
from recloser.testing import ManualClock, RecordingSink

Work = Coroutine[Any, Any, object]


# What is cancelled: every form in which a coroutine is guarded. Each awaits several times.


async def steps() -> str:
    for _ in range(3):
        await pause()
    return "done"


async def items() -> AsyncGenerator[int, None]:
    for number in range(3):
        await pause()
        yield number


def by_call_async(breaker: CircuitBreaker) -> Work:
    return breaker.call_async(steps)


def by_decorated_coroutine(breaker: CircuitBreaker) -> Work:
    return breaker(steps)()


async def by_async_block(breaker: CircuitBreaker) -> None:
    async with breaker:
        await steps()


async def by_block(breaker: CircuitBreaker) -> None:
    with breaker:
        await steps()


async def by_permit(breaker: CircuitBreaker) -> None:
    with breaker.acquire():
        await steps()


async def by_async_generator(breaker: CircuitBreaker) -> None:
    """Cancelled while the generator waits, and while its consumer does."""
    async with aclosing(breaker(items)()) as guarded:
        async for _ in guarded:
            await pause()


async def by_abandoned_async_generator(breaker: CircuitBreaker) -> None:
    """As before, by a consumer who does not see to it that the generator is closed."""
    async for _ in breaker(items)():
        await pause()


async def by_loop(breaker: CircuitBreaker) -> None:
    """Cancelled in the middle of a turn, and in the pause between two."""
    turns = Loop(breaker, 5.0, sleep_async=lambda _seconds: pause())
    async for turn in turns:
        async with turn:
            await steps()
        if turn.number == 2:
            turns.stop()


async def by_loop_without_judging(breaker: CircuitBreaker) -> None:
    """As before, by a consumer who does not let the circuit judge each turn."""
    turns = Loop(breaker, 5.0, sleep_async=lambda _seconds: pause())
    async for turn in turns:
        await steps()
        if turn.number == 2:
            turns.stop()


FORMS: list[Callable[[CircuitBreaker], Work]] = [
    by_call_async, by_decorated_coroutine, by_async_block, by_block, by_permit, by_async_generator,
    by_abandoned_async_generator, by_loop, by_loop_without_judging,
]  # fmt: skip
every_form = pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])


# Where the circuit stands meanwhile


def in_a_clean_circuit(_breaker: CircuitBreaker, _clock: ManualClock) -> None:
    """Calls pass without a decision."""


def one_failure_before_opening(breaker: CircuitBreaker, _clock: ManualClock) -> None:
    """A cancellation that counted as a success would forget it, one that counted as a failure would open."""
    fail(breaker)


def in_half_open(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """The only trial is cancelled."""
    to_half_open(breaker, clock)


SCENES: list[Callable[[CircuitBreaker, ManualClock], None]] = [
    in_a_clean_circuit, one_failure_before_opening, in_half_open,
]  # fmt: skip
every_scene = pytest.mark.parametrize("scene", SCENES, ids=[scene.__name__ for scene in SCENES])


@every_scene
@every_form
def test_cancelled_at_any_await_the_permit_is_back_and_nothing_else_has_changed(
    form: Callable[[CircuitBreaker], Work], scene: Callable[[CircuitBreaker, ManualClock], None]
) -> None:
    def set_up() -> tuple[CircuitBreaker, RecordingSink]:
        clock, sink = ManualClock(), RecordingSink()
        breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[sink])
        scene(breaker, clock)
        return breaker, sink

    awaits = drive(form(set_up()[0]))
    assert awaits >= 3
    for nth in range(awaits + 1):
        breaker, sink = set_up()
        before = breaker.snapshot()
        with pytest.raises(asyncio.CancelledError):
            cancel_at(form(breaker), nth)
        after = breaker.snapshot()
        assert adds_up(after)
        assert after.live == 0, f"the permit is still out after the {nth}th await"
        assert after.cancelled <= 1
        if after.succeeded == 0:  # else a turn of the loop had ended before
            assert (after.failed, after.failures) == (before.failed, before.failures)
            assert (after.open_count, after.opened_at) == (before.open_count, before.opened_at)
            assert after.window_calls == before.window_calls
            assert after.state is (HALF_OPEN if scene is in_half_open and nth else before.state)
            assert "circuit_closed" not in sink.kinds()
        in_good_order(breaker)


def in_good_order(breaker: CircuitBreaker) -> None:
    """The next caller is admitted (I2), in half-open one and no more (I1), and its verdict is heard."""
    trial = breaker.acquire()
    if trial.trial:
        with pytest.raises(CircuitOpenError):
            breaker.acquire()
    trial.succeed()
    assert (breaker.state, breaker.snapshot().failures) == (CLOSED, 0)


@every_form
def test_what_is_cancelled_late_does_not_touch_a_circuit_that_has_opened(
    form: Callable[[CircuitBreaker], Work],
) -> None:
    """Elsewhere a cancelled older call has closed an open circuit."""
    for nth in range(1, 4):
        breaker = CircuitBreaker("x", SETTINGS, clock=ManualClock())
        late = Driven(form(breaker))
        for _ in range(nth):
            late.step()
        fail(breaker, 2)
        before = breaker.circuit
        with pytest.raises(asyncio.CancelledError):
            late.cancel()
        assert breaker.circuit is before
        s = breaker.snapshot()
        assert (s.state, s.live, s.cancelled, s.stale) == (OPEN, 0, 1, 1)


@every_scene
def test_whoever_cleans_up_after_a_cancellation_holds_the_permit_until_then(
    clock: ManualClock, scene: Callable[[CircuitBreaker, ManualClock], None]
) -> None:
    breaker = CircuitBreaker("x", SETTINGS, clock=clock)
    scene(breaker, clock)

    async def tidy() -> None:
        try:
            await pause()
        finally:
            assert breaker.snapshot().live == 1
            await pause()

    with pytest.raises(asyncio.CancelledError):
        cancel_at(breaker.call_async(tidy), 1)
    assert (breaker.snapshot().live, breaker.snapshot().cancelled) == (0, 1)


def test_a_cancellation_that_is_turned_into_a_failure_is_one(breaker: CircuitBreaker) -> None:
    async def at_the_end_of_its_patience() -> None:
        try:
            await pause()
        except asyncio.CancelledError:
            raise TimeoutError from None

    for _ in range(2):
        with pytest.raises(TimeoutError):
            cancel_at(breaker.call_async(at_the_end_of_its_patience), 1)
    assert breaker.state is OPEN


def test_a_cancellation_that_is_swallowed_is_a_success(breaker: CircuitBreaker) -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await pause()

    cancel_at(breaker.call_async(stubborn), 1)
    assert (breaker.snapshot().succeeded, breaker.snapshot().cancelled) == (1, 0)


# In a real event loop


@every_scene
@every_form
def test_a_real_task_that_is_cancelled_gives_its_permit_back_before_it_has_ended(
    form: Callable[[CircuitBreaker], Work], scene: Callable[[CircuitBreaker, ManualClock], None]
) -> None:
    async def cancelled_after(ticks: int) -> bool:
        """Whether it was still running."""
        clock = ManualClock()
        breaker = CircuitBreaker("x", SETTINGS, clock=clock)
        scene(breaker, clock)
        task = asyncio.create_task(form(breaker))
        for _ in range(ticks):
            await asyncio.sleep(0)
        if not task.cancel():
            return False
        with pytest.raises(asyncio.CancelledError):
            await task
        if form is by_abandoned_async_generator:
            await asyncio.sleep(0)  # the loop closes what nobody else has closed
            await asyncio.sleep(0)
        assert adds_up(breaker)
        assert breaker.snapshot().live == 0
        in_good_order(breaker)
        return True

    ticks = 0
    while asyncio.run(cancelled_after(ticks)):
        ticks += 1
    assert ticks > 3


def test_a_timeout_outside_is_a_cancellation_and_one_inside_a_failure(breaker: CircuitBreaker) -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    async def impatient(patience: float) -> None:
        async with asyncio.timeout(patience):
            await never()

    async def outside() -> None:
        async with asyncio.timeout(0), breaker:
            await never()

    with pytest.raises(TimeoutError):
        asyncio.run(outside())
    with pytest.raises(TimeoutError):
        asyncio.run(breaker.call_async(impatient, 0))
    s = breaker.snapshot()
    assert (s.cancelled, s.failed, s.live) == (1, 1, 0)


def test_of_a_group_of_tasks_the_broken_one_is_charged_and_the_others_are_not(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=3), clock=clock)

    async def broken() -> None:
        await asyncio.sleep(0)
        raise BrokenError

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for fn in (never, broken, never, never):
                tasks.create_task(breaker.call_async(fn))

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(main())
    assert [type(error) for error in raised.value.exceptions] == [BrokenError]
    s = breaker.snapshot()
    assert (s.failed, s.cancelled, s.live, s.state) == (1, 3, 0, CLOSED)


def test_a_hundred_cancelled_trials_in_a_row_keep_nobody_waiting(breaker: CircuitBreaker, clock: ManualClock) -> None:
    to_half_open(breaker, clock)
    for _ in range(100):
        with pytest.raises(asyncio.CancelledError):
            cancel_at(breaker.call_async(steps), 2)
    in_good_order(breaker)
    assert breaker.snapshot().cancelled == 100


def test_a_slow_cancelled_call_is_not_a_slow_call(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, slow_call=1.0, minimum_calls=1), clock=clock)

    async def slow() -> None:
        await pause()
        clock.advance(60.0)
        await pause()

    with pytest.raises(asyncio.CancelledError):
        cancel_at(breaker.call_async(slow), 2)
    s = breaker.snapshot()
    assert (s.state, s.window_calls, s.window_slow) == (CLOSED, 0, 0)


def test_a_call_that_is_never_awaited_takes_no_permit(breaker: CircuitBreaker) -> None:
    breaker.call_async(steps).close()
    breaker(steps)().close()
    assert breaker.snapshot().calls == 0


def test_a_limit_on_how_long_a_trial_may_be_silent_frees_it_even_if_nobody_cancels(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    to_half_open(breaker, clock)
    silent = Driven(breaker.call_async(steps))
    silent.step()
    clock.advance(SETTINGS.permit_lease)
    in_good_order(breaker)
    with pytest.raises(asyncio.CancelledError):
        silent.cancel()
    s = breaker.snapshot()
    assert (s.state, s.expired, s.cancelled, s.live) == (CLOSED, 1, 0, 0)
    assert s.retry_after is None
    assert s.open_until != math.inf
