"""Guarded generators and async generators: their permit is settled at the end of the iteration."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import replace
from typing import Any, Self

import pytest
from tests.breaker.scenes import CLOSED, OPEN, SETTINGS, BrokenError, outcomes, to_half_open

from recloser.breaker import CircuitBreaker
from recloser.core.errors import CircuitOpenError
from recloser.testing import ManualClock

# Generators


@pytest.fixture
def numbers(breaker: CircuitBreaker) -> Callable[[int], Generator[int, Any, str]]:
    @breaker
    def numbers(depth: int) -> Generator[int, Any, str]:
        yield from range(depth)
        return "over"

    return numbers


def test_a_generator_takes_its_permit_when_it_begins_and_settles_it_when_it_ends(
    breaker: CircuitBreaker, numbers: Callable[[int], Generator[int, Any, str]]
) -> None:
    iteration = numbers(2)
    assert outcomes(breaker) == {}, "nothing has begun"
    assert next(iteration) == 0
    assert outcomes(breaker) == {"live": 1}
    assert list(iteration) == [1]
    assert outcomes(breaker) == {"succeeded": 1}


def test_a_generator_that_never_began_took_no_permit(
    breaker: CircuitBreaker, numbers: Callable[[int], Generator[int, Any, str]]
) -> None:
    numbers(2).close()
    assert outcomes(breaker) == {}


def test_a_generator_closed_early_was_cancelled(
    breaker: CircuitBreaker, numbers: Callable[[int], Generator[int, Any, str]]
) -> None:
    for iteration in (numbers(2), numbers(2)):
        for _number in iteration:
            break
        iteration.close()
    assert outcomes(breaker) == {"cancelled": 2}


def test_an_abandoned_generator_was_cancelled(
    breaker: CircuitBreaker, numbers: Callable[[int], Generator[int, Any, str]]
) -> None:
    for _number in numbers(2):
        break
    assert outcomes(breaker) == {"cancelled": 1}


def test_a_failure_in_the_middle_counts(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """Of a stream that breaks after the first item, nobody may say that it went well (M22)."""

    @breaker
    def breaking() -> Iterator[int]:
        yield 1
        raise BrokenError

    for _ in range(2):
        with pytest.raises(BrokenError):
            list(breaking())
    assert breaker.state is OPEN
    with pytest.raises(CircuitOpenError):
        next(breaking())


def test_what_is_sent_thrown_and_returned_passes_through(breaker: CircuitBreaker) -> None:
    @breaker
    def echo() -> Generator[str, str, str]:
        said = yield "begin"
        try:
            said = yield said
        except BrokenError as error:
            said = yield f"caught {error}"
        return f"over after {said}"

    talk = echo()
    assert next(talk) == "begin"
    assert talk.send("a word") == "a word"
    assert talk.throw(BrokenError("by the consumer")) == "caught by the consumer"
    with pytest.raises(StopIteration) as end:
        talk.send("the last word")
    assert end.value.value == "over after the last word"
    assert outcomes(breaker) == {"succeeded": 1}


def test_a_generator_may_be_delegated_to(
    breaker: CircuitBreaker, numbers: Callable[[int], Generator[int, Any, str]]
) -> None:
    def delegating() -> Generator[int, Any, str]:
        ended = yield from numbers(3)
        return ended

    iteration = delegating()
    assert [next(iteration), next(iteration), next(iteration)] == [0, 1, 2]
    with pytest.raises(StopIteration) as end:
        next(iteration)
    assert end.value.value == "over"
    assert outcomes(breaker) == {"succeeded": 1}


def test_what_the_consumer_threw_is_the_consumers_own(
    breaker: CircuitBreaker, numbers: Callable[[int], Generator[int, Any, str]]
) -> None:
    iteration = numbers(3)
    next(iteration)
    with pytest.raises(BrokenError):
        iteration.throw(BrokenError())
    assert outcomes(breaker) == {"cancelled": 1}


def test_what_a_generator_makes_of_it_is_the_generators(breaker: CircuitBreaker) -> None:
    @breaker
    def stumbling() -> Iterator[int]:
        try:
            yield 1
        except BrokenError as error:
            raise ConnectionError("while answering") from error

    iteration = stumbling()
    next(iteration)
    with pytest.raises(ConnectionError):
        iteration.throw(BrokenError())  # type: ignore[attr-defined]
    assert outcomes(breaker) == {"failed": 1}


def test_a_generator_that_is_left_tidies_up_before_the_permit_is_back(breaker: CircuitBreaker) -> None:
    live_at_the_end: list[int] = []

    @breaker
    def holding() -> Iterator[int]:
        try:
            yield 1
        finally:
            live_at_the_end.append(breaker.snapshot().live)

    for _number in holding():
        break
    assert live_at_the_end == [1]
    assert outcomes(breaker) == {"cancelled": 1}


def test_a_stream_is_slow_if_its_first_item_is_however_long_it_goes_on(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, slow_call=5.0), clock=clock)

    @breaker
    def stream(before: float, after: float) -> Iterator[int]:
        clock.advance(before)
        yield 1
        clock.advance(after)
        yield 2

    @breaker
    async def stream_async(before: float, after: float) -> AsyncIterator[int]:
        clock.advance(before)
        yield 1
        clock.advance(after)
        yield 2

    async def consume(before: float, after: float) -> None:
        async for _ in stream_async(before, after):
            pass

    list(stream(1.0, 20.0))
    asyncio.run(consume(1.0, 20.0))
    assert breaker.snapshot().window_slow == 0
    list(stream(5.0, 0.0))
    asyncio.run(consume(5.0, 0.0))
    assert breaker.snapshot().window_slow == 2
    assert outcomes(breaker) == {"succeeded": 4}


def test_a_stream_without_items_is_slow_if_its_end_is(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, slow_call=5.0), clock=clock)

    @breaker
    def silent() -> Iterator[int]:
        clock.advance(5.0)
        yield from ()

    list(silent())
    assert breaker.snapshot().window_slow == 1


# Async generators


@pytest.fixture
def numbers_async(breaker: CircuitBreaker) -> Callable[[int], AsyncGenerator[int, Any]]:
    @breaker
    async def numbers_async(depth: int) -> AsyncGenerator[int, Any]:
        for number in range(depth):
            await asyncio.sleep(0)
            yield number

    return numbers_async


def test_an_async_generator_takes_its_permit_when_it_begins_and_settles_it_when_it_ends(
    breaker: CircuitBreaker, numbers_async: Callable[[int], AsyncGenerator[int, Any]]
) -> None:
    async def main() -> None:
        iteration = numbers_async(2)
        assert outcomes(breaker) == {}
        assert await anext(iteration) == 0
        assert outcomes(breaker) == {"live": 1}
        assert [number async for number in iteration] == [1]
        assert outcomes(breaker) == {"succeeded": 1}

    asyncio.run(main())


def test_an_async_generator_closed_early_was_cancelled(
    breaker: CircuitBreaker, numbers_async: Callable[[int], AsyncGenerator[int, Any]]
) -> None:
    async def main() -> None:
        await numbers_async(2).aclose()
        assert outcomes(breaker) == {}, "it never began"
        iteration = numbers_async(2)
        async for _number in iteration:
            break
        await iteration.aclose()
        assert outcomes(breaker) == {"cancelled": 1}

    asyncio.run(main())


def test_an_abandoned_async_generator_was_cancelled_as_soon_as_the_loop_gets_to_it(
    breaker: CircuitBreaker, numbers_async: Callable[[int], AsyncGenerator[int, Any]]
) -> None:
    async def main() -> None:
        async for _number in numbers_async(2):
            break
        for _ in range(3):  # the loop starts a task that closes it
            await asyncio.sleep(0)
        assert outcomes(breaker) == {"cancelled": 1}

    asyncio.run(main())


def test_a_failure_in_the_middle_of_an_async_generator_counts(breaker: CircuitBreaker) -> None:
    @breaker
    async def breaking() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        raise BrokenError

    async def main() -> None:
        iteration = breaking()
        assert await anext(iteration) == 1
        with pytest.raises(BrokenError):
            await anext(iteration)

    asyncio.run(main())
    asyncio.run(main())
    assert breaker.state is OPEN


def test_what_is_sent_and_thrown_passes_through_an_async_generator(breaker: CircuitBreaker) -> None:
    @breaker
    async def echo() -> AsyncGenerator[str, str]:
        said = yield "begin"
        try:
            said = yield said
        except BrokenError as error:
            said = yield f"caught {error}"
        yield f"over after {said}"

    async def main() -> None:
        talk = echo()
        assert await anext(talk) == "begin"
        assert await talk.asend("a word") == "a word"
        assert await talk.athrow(BrokenError("by the consumer")) == "caught by the consumer"
        assert await talk.asend("the last word") == "over after the last word"
        with pytest.raises(StopAsyncIteration):
            await anext(talk)

    asyncio.run(main())
    assert outcomes(breaker) == {"succeeded": 1}


def test_what_the_consumer_threw_into_an_async_generator_is_the_consumers_own(
    breaker: CircuitBreaker, numbers_async: Callable[[int], AsyncGenerator[int, Any]]
) -> None:
    async def main() -> None:
        iteration = numbers_async(2)
        await anext(iteration)
        with pytest.raises(BrokenError):
            await iteration.athrow(BrokenError())

    asyncio.run(main())
    assert outcomes(breaker) == {"cancelled": 1}


def test_an_async_generator_that_is_left_tidies_up_before_the_permit_is_back(breaker: CircuitBreaker) -> None:
    class Connection:
        def __init__(self) -> None:
            self.live_at_the_end = -1

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            await asyncio.sleep(0)
            self.live_at_the_end = breaker.snapshot().live

    connection = Connection()

    @breaker
    async def holding() -> AsyncGenerator[int, None]:
        async with connection:
            yield 1
            yield 2

    async def main() -> None:
        iteration = holding()
        await anext(iteration)
        await iteration.aclose()

    asyncio.run(main())
    assert connection.live_at_the_end == 1
    assert outcomes(breaker) == {"cancelled": 1}


def test_tidying_up_that_fails_after_the_consumer_has_left_is_no_verdict(breaker: CircuitBreaker) -> None:
    @breaker
    def untidy() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise BrokenError

    iteration = untidy()
    next(iteration)
    with pytest.raises(BrokenError):
        iteration.close()  # type: ignore[attr-defined]
    assert outcomes(breaker) == {"cancelled": 1}


def test_a_loop_that_ends_while_a_stream_is_open_charges_nobody(breaker: CircuitBreaker) -> None:
    """The event loop closes the guarded generator and the one within at the same time."""

    @breaker
    async def holding() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)

    async def main() -> AsyncGenerator[int, None]:
        iteration = holding()
        await anext(iteration)
        return iteration

    for _ in range(10):
        asyncio.run(main())
    assert outcomes(breaker) == {"cancelled": 10}


@pytest.mark.parametrize("form", ["sync", "async"])
def test_what_a_stream_calls_is_a_part_of_its_trial_and_what_its_consumer_calls_is_not(
    breaker: CircuitBreaker, clock: ManualClock, form: str
) -> None:
    @breaker
    def stream() -> Iterator[int]:
        for _ in range(3):
            yield breaker.call(int)

    @breaker
    async def stream_async() -> AsyncIterator[int]:
        for _ in range(3):
            yield await breaker.call_async(asyncio.sleep, 0, 0)

    def is_refused() -> bool:
        with pytest.raises(CircuitOpenError):
            breaker.call(int)
        return True

    async def consume() -> list[int]:
        return [item async for item in stream_async() if is_refused()]

    to_half_open(breaker, clock)
    got = [item for item in stream() if is_refused()] if form == "sync" else asyncio.run(consume())
    assert got == [0, 0, 0]
    assert breaker.state is CLOSED
    assert outcomes(breaker) == {"failed": 2, "succeeded": 4, "denied": 3}


def test_a_stream_that_breaks_off_late_was_not_slow(clock: ManualClock) -> None:
    """What its consumer does between two items is the consumer's business."""
    breaker = CircuitBreaker("x", replace(SETTINGS, slow_call=5.0), clock=clock)

    @breaker
    def breaking() -> Iterator[int]:
        yield 1
        clock.advance(20.0)
        raise BrokenError

    with pytest.raises(BrokenError):
        list(breaking())
    s = breaker.snapshot()
    assert (s.window_failures, s.window_slow) == (1, 0)
