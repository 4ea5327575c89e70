"""`with breaker:` and `async with breaker:`, in one another, out of turn, and in tasks that begin inside."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from tests.breaker.scenes import CLOSED, HALF_OPEN, OPEN, SETTINGS, BrokenError, outcomes, to_half_open

from recloser.breaker import CircuitBreaker, HeldPermit
from recloser.core.errors import CircuitOpenError
from recloser.testing import ManualClock


def test_blocks_of_one_breaker_may_stand_in_one_another(breaker: CircuitBreaker) -> None:
    with breaker as outer, breaker as inner:
        assert outer is not inner
    assert (outer.settled, inner.settled) == (True, True)
    assert outcomes(breaker) == {"succeeded": 2}


def test_what_is_called_in_a_trial_is_a_part_of_it(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """Else a function that calls another through the same circuit would refuse itself for ever."""
    to_half_open(breaker, clock)
    with breaker as trial:
        with breaker as part:
            assert (trial.trial, part.trial) == (True, False)
        assert breaker.call(int) == 0
        assert breaker.state is HALF_OPEN, "the whole is not over yet"
    assert breaker.state is CLOSED
    assert outcomes(breaker) == {"failed": 2, "succeeded": 3}


def test_the_verdict_is_that_of_the_whole_trial(breaker: CircuitBreaker, clock: ManualClock) -> None:
    def whole() -> None:
        with pytest.raises(ConnectionError), breaker:
            raise ConnectionError
        assert breaker.state is HALF_OPEN
        breaker.call(int)
        raise BrokenError

    to_half_open(breaker, clock)
    with pytest.raises(BrokenError), breaker:
        whole()
    assert (breaker.state, breaker.snapshot().open_count) == (OPEN, 2)


def test_a_part_of_a_trial_is_so_in_its_tasks_too_and_for_nobody_else(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    async def part() -> str:
        async with breaker:
            await asyncio.sleep(0)
        return "done"

    async def stranger() -> None:
        with pytest.raises(CircuitOpenError):
            await part()

    async def trial() -> None:
        async with breaker:
            assert set(await asyncio.gather(part(), breaker.call_async(part))) == {"done"}
            assert breaker.state is HALF_OPEN

    async def main() -> None:
        await asyncio.gather(trial(), stranger())

    to_half_open(breaker, clock)
    asyncio.run(main())
    assert breaker.state is CLOSED


def test_a_trial_that_a_hand_has_ended_has_no_parts_any_more(breaker: CircuitBreaker, clock: ManualClock) -> None:
    to_half_open(breaker, clock)
    with breaker:
        breaker.force_open()
        with pytest.raises(CircuitOpenError):
            breaker.call(int)
        breaker.release()
        somebody_elses = contextvars.Context().run(breaker.acquire)
        with pytest.raises(CircuitOpenError):
            breaker.call(int)
    assert breaker.state is HALF_OPEN
    somebody_elses.succeed()
    assert breaker.state is CLOSED


def test_a_trial_that_was_given_back_has_no_parts_any_more(breaker: CircuitBreaker, clock: ManualClock) -> None:
    to_half_open(breaker, clock)
    with breaker as trial:
        trial.cancel()
        somebody_elses = contextvars.Context().run(breaker.acquire)
        with pytest.raises(CircuitOpenError):
            breaker.call(int)
    somebody_elses.succeed()
    assert breaker.state is CLOSED


def test_after_the_trial_its_tasks_are_on_their_own(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """What outlives a trial that failed is refused like everybody."""

    async def main() -> None:
        over = asyncio.Event()

        async def survivor() -> None:
            await over.wait()
            with pytest.raises(CircuitOpenError):
                breaker.call(int)

        async def trial() -> None:
            tasks.append(asyncio.create_task(survivor()))
            raise BrokenError

        tasks: list[asyncio.Task[None]] = []
        with pytest.raises(BrokenError):
            await breaker.call_async(trial)
        over.set()
        await tasks[0]

    to_half_open(breaker, clock)
    asyncio.run(main())
    assert breaker.state is OPEN


def test_each_block_settles_the_permit_that_it_took(breaker: CircuitBreaker) -> None:
    other = CircuitBreaker("other", SETTINGS)
    with breaker, pytest.raises(BrokenError), other, breaker:
        raise BrokenError
    assert outcomes(breaker) == {"succeeded": 1, "failed": 1}
    assert outcomes(other) == {"failed": 1}


def test_blocks_of_two_breakers_may_end_in_the_order_in_which_they_began(breaker: CircuitBreaker) -> None:
    other = CircuitBreaker("other", SETTINGS)
    breaker.__enter__()
    other.__enter__()
    breaker.__exit__(None, None, None)
    other.__exit__(BrokenError, BrokenError(), None)
    assert (outcomes(breaker), outcomes(other)) == ({"succeeded": 1}, {"failed": 1})


def test_a_task_started_inside_a_block_has_blocks_of_its_own(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=0), clock=clock)

    async def one(number: int) -> None:
        async with breaker:
            await asyncio.sleep(0)
            if number % 2:
                raise BrokenError

    async def main() -> list[BaseException | None]:
        async with breaker as outer:
            async with breaker:
                ended = await asyncio.gather(*map(one, range(10)), return_exceptions=True)
            assert not outer.settled
        return ended

    ended = asyncio.run(main())
    assert [type(error) for error in ended] == [type(None), BrokenError] * 5
    assert outcomes(breaker) == {"succeeded": 7, "failed": 5}


def test_a_block_that_outlives_its_task_s_creator_still_ends(breaker: CircuitBreaker) -> None:
    async def inside(begun: asyncio.Event, go_on: asyncio.Event) -> None:
        async with breaker:
            begun.set()
            await go_on.wait()

    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        async with breaker:
            task = asyncio.create_task(inside(begun, go_on))
            await begun.wait()
        assert breaker.snapshot().live == 1
        go_on.set()
        await task

    asyncio.run(main())
    assert outcomes(breaker) == {"succeeded": 2}


def test_a_block_may_begin_in_one_context_and_end_in_another(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """As where a framework runs the two halves of a generator in two threads."""

    def dependency() -> Iterator[HeldPermit]:
        with breaker as held:
            yield held

    to_half_open(breaker, clock)
    halves = dependency()
    held = contextvars.copy_context().run(next, halves)
    assert held.trial
    other = threading.Thread(target=lambda: next(halves, None))
    other.start()
    other.join()
    assert (held.settled, breaker.state) == (True, CLOSED)


def test_blocks_of_generators_end_each_with_its_own_permit(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """An old call that ends well during the trial says nothing about the trial."""

    def inside() -> Iterator[HeldPermit]:
        with breaker as held:
            yield held

    old = inside()
    assert not next(old).trial
    to_half_open(breaker, clock)
    new = inside()
    assert next(new).trial
    assert next(old, None) is None
    assert breaker.state is HALF_OPEN
    with pytest.raises(BrokenError):
        new.throw(BrokenError())  # type: ignore[attr-defined]
    assert breaker.state is OPEN


def test_an_exit_stack_leaves_what_it_entered(breaker: CircuitBreaker) -> None:
    other = CircuitBreaker("other", SETTINGS)

    def inside() -> None:
        with ExitStack() as stack:
            for one in (breaker, other, breaker):
                stack.enter_context(one)
            raise BrokenError

    with pytest.raises(BrokenError):
        inside()
    assert (outcomes(breaker), outcomes(other)) == ({"failed": 2}, {"failed": 1})


def test_an_end_without_a_beginning_says_what_to_do(breaker: CircuitBreaker) -> None:
    with pytest.raises(RuntimeError, match=r"use `with breaker.acquire\(\)`"):
        breaker.__exit__(None, None, None)
