"""Guarded functions: in whatever form they come, they stay what they were, and the circuit hears how they ended."""

import asyncio
import functools
import inspect
import subprocess
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from dataclasses import replace
from typing import Any, Self

import pytest
from tests.breaker.scenes import (
    CLOSED,
    COOLDOWN,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    to_half_open,
)

from recloser.breaker import CircuitBreaker
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import FailureKind
from recloser.testing import ManualClock


def outcomes(breaker: CircuitBreaker) -> dict[str, int]:
    """What became of the calls, without what did not happen."""
    s = breaker.snapshot()
    assert adds_up(s)
    named = {
        "succeeded": s.succeeded, "failed": s.failed, "ignored": s.ignored, "cancelled": s.cancelled, "live": s.live,
        "denied": s.denied,
    }  # fmt: skip
    return {how: count for how, count in named.items() if count}


# Every form of a call: each is given a breaker and an error to raise (or None), and gives back "done".


def work(error: BaseException | None) -> str:
    if error is not None:
        raise error
    return "done"


async def work_async(error: BaseException | None) -> str:
    await asyncio.sleep(0)
    return work(error)


def by_call(breaker: CircuitBreaker, error: BaseException | None) -> str:
    return breaker.call(work, error)


def by_decorated_function(breaker: CircuitBreaker, error: BaseException | None) -> str:
    return breaker(work)(error)


def by_block(breaker: CircuitBreaker, error: BaseException | None) -> str:
    with breaker:
        return work(error)


def by_permit(breaker: CircuitBreaker, error: BaseException | None) -> str:
    with breaker.acquire():
        return work(error)


def by_generator(breaker: CircuitBreaker, error: BaseException | None) -> str:
    @breaker
    def items() -> Iterator[str]:
        yield "done"
        work(error)

    return "".join(items())


async def by_call_async(breaker: CircuitBreaker, error: BaseException | None) -> str:
    return str(await breaker.call_async(work_async, error))


async def by_decorated_coroutine(breaker: CircuitBreaker, error: BaseException | None) -> str:
    return await breaker(work_async)(error)


async def by_async_block(breaker: CircuitBreaker, error: BaseException | None) -> str:
    async with breaker:
        return await work_async(error)


async def by_async_generator(breaker: CircuitBreaker, error: BaseException | None) -> str:
    @breaker
    async def items() -> AsyncIterator[str]:
        yield "done"
        await work_async(error)

    return "".join([item async for item in items()])


FORMS: list[Callable[[CircuitBreaker, BaseException | None], str | Coroutine[Any, Any, str]]] = [
    by_call, by_decorated_function, by_block, by_permit, by_generator, by_call_async, by_decorated_coroutine,
    by_async_block, by_async_generator,
]  # fmt: skip
every_form = pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
Form = Callable[[CircuitBreaker, BaseException | None], Any]


def run(form: Form, breaker: CircuitBreaker, error: BaseException | None = None) -> str:
    result = form(breaker, error)
    return str(asyncio.run(result) if inspect.iscoroutine(result) else result)


@every_form
def test_a_success_is_given_back_and_counted(breaker: CircuitBreaker, form: Form) -> None:
    assert run(form, breaker) == "done"
    assert outcomes(breaker) == {"succeeded": 1}


@every_form
def test_an_error_passes_through_as_it_is_and_is_counted(breaker: CircuitBreaker, form: Form) -> None:
    broken = BrokenError("the very same")
    for _ in range(2):
        with pytest.raises(BrokenError) as raised:
            run(form, breaker, broken)
        assert raised.value is broken
    assert outcomes(breaker) == {"failed": 2}
    assert breaker.state is OPEN


@every_form
def test_refused_it_runs_nothing(breaker: CircuitBreaker, form: Form) -> None:
    fail(breaker, 2)
    with pytest.raises(CircuitOpenError):
        run(form, breaker, BrokenError("this is never raised"))
    assert outcomes(breaker) == {"failed": 2, "denied": 1}


@every_form
def test_the_trial_of_half_open_closes_or_opens(breaker: CircuitBreaker, clock: ManualClock, form: Form) -> None:
    to_half_open(breaker, clock)
    with pytest.raises(BrokenError):
        run(form, breaker, BrokenError())
    assert breaker.state is OPEN
    clock.advance(2 * COOLDOWN)
    run(form, breaker)
    assert breaker.state is CLOSED
    assert outcomes(breaker) == {"failed": 3, "succeeded": 1}


@every_form
@pytest.mark.parametrize("error", [PermissionError("not yours"), FileNotFoundError("gone")], ids=type)
def test_what_says_nothing_about_health_is_ignored(breaker: CircuitBreaker, form: Form, error: Exception) -> None:
    for _ in range(5):
        with pytest.raises(type(error)):
            run(form, breaker, error)
    assert outcomes(breaker) == {"ignored": 5}
    assert breaker.state is CLOSED


@every_form
@pytest.mark.parametrize("way_out", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("where", [CLOSED, HALF_OPEN])
def test_what_ends_a_task_is_no_verdict(
    breaker: CircuitBreaker, clock: ManualClock, form: Form, way_out: type[BaseException], where: str
) -> None:
    fail(breaker)
    if where == HALF_OPEN:
        fail(breaker)
        clock.advance(COOLDOWN)
    failed = breaker.snapshot().failed
    for _ in range(3):
        with pytest.raises(way_out):
            run(form, breaker, way_out())
        assert breaker.state is where
    assert outcomes(breaker) == {"failed": failed, "cancelled": 3}
    assert breaker.snapshot().failures == failed, "neither tripped nor forgotten (I8)"


@every_form
def test_a_slow_success_is_slow_in_every_form(clock: ManualClock, form: Form) -> None:
    class Slow(ManualClock):
        """Each look at it takes two seconds."""

        def monotonic(self) -> float:
            self.advance(2.0)
            return super().monotonic()

    breaker = CircuitBreaker("x", replace(SETTINGS, slow_call=2.0), clock=Slow())
    run(form, breaker)
    assert breaker.snapshot().window_slow == 1


# What a decorated function still is


def plain(depth: int, /, *, wide: bool = False) -> str:
    """Says how deep."""
    return f"{depth} {wide}"


async def coroutine(depth: int) -> str:
    """Says how deep, later."""
    return f"{depth}"


def generator(depth: int) -> Generator[int, str, str]:
    """Counts down."""
    yield from range(depth)
    return "over"


async def async_generator(depth: int) -> AsyncGenerator[int, str]:
    """Counts down, later."""
    for number in range(depth):
        yield number


@pytest.mark.parametrize("fn", [plain, coroutine, generator, async_generator])
def test_a_decorated_function_keeps_its_name_its_signature_and_its_form(
    breaker: CircuitBreaker, fn: Callable[..., Any]
) -> None:
    guarded = breaker(fn)
    assert (guarded.__name__, guarded.__doc__, guarded.__module__) == (fn.__name__, fn.__doc__, fn.__module__)
    assert inspect.signature(guarded) == inspect.signature(fn)
    assert inspect.unwrap(guarded) is fn
    for is_of_form in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        asyncio.iscoroutinefunction,
    ):
        assert is_of_form(guarded) == is_of_form(fn)


def test_arguments_pass_through_even_those_that_are_named_like_ours(breaker: CircuitBreaker) -> None:
    def named(*args: object, **kwargs: object) -> tuple[object, object]:
        return args, kwargs

    async def named_async(*args: object, **kwargs: object) -> tuple[object, object]:
        return args, kwargs

    names = {"fn": 1, "self": 2, "breaker": 3, "args": 4, "kwargs": 5}
    assert breaker.call(named, 0, **names) == ((0,), names)
    assert breaker(named)(0, **names) == ((0,), names)
    assert asyncio.run(breaker.call_async(named_async, 0, **names)) == ((0,), names)
    fail(breaker)  # from here on each call is decided upon
    assert breaker.call(named, 0, **names) == ((0,), names)


def test_two_breakers_around_one_function_both_hear_of_it(breaker: CircuitBreaker) -> None:
    other = CircuitBreaker("other", SETTINGS)
    guarded = breaker(other(work))
    guarded(None)
    for _ in range(2):
        with pytest.raises(BrokenError):
            guarded(BrokenError())
    assert outcomes(breaker) == outcomes(other) == {"succeeded": 1, "failed": 2}
    other.force_open()
    breaker.reset()
    with pytest.raises(CircuitOpenError, match="'other'"):
        guarded(None)
    assert outcomes(breaker) == {"succeeded": 1, "failed": 2, "ignored": 1}, "a refusal further in is not our failure"


# Methods and callable objects


def test_methods_of_every_kind_are_guarded() -> None:
    breaker = CircuitBreaker("x", SETTINGS)

    class Tool:
        name = "a tool"

        @breaker
        def plain(self, word: str) -> str:
            return self.name + word

        @breaker
        async def later(self, word: str) -> str:
            return self.name + word

        @breaker
        def several(self, word: str) -> Iterator[str]:
            yield self.name + word

        @classmethod
        @breaker
        def of_class(cls, word: str) -> str:
            return cls.name + word

        @staticmethod
        @breaker
        def of_nobody(word: str) -> str:
            return word

        @property
        @breaker
        def shown(self) -> str:
            return self.name

    tool = Tool()
    assert tool.plain("!") == "a tool!"
    assert asyncio.run(tool.later("!")) == "a tool!"
    assert list(tool.several("!")) == ["a tool!"]
    assert Tool.of_class("!") == tool.of_class("!") == "a tool!"
    assert Tool.of_nobody("!") == tool.of_nobody("!") == "!"
    assert tool.shown == "a tool"
    assert breaker.call(tool.plain, "?") == "a tool?"
    assert breaker(tool.plain)("?") == "a tool?"
    assert outcomes(breaker) == {"succeeded": 12}, "the last two pass two guards"


def test_staticmethod_and_classmethod_may_stand_below_as_well() -> None:
    breaker = CircuitBreaker("x", SETTINGS)

    class Tool:
        name = "a tool"

        @breaker
        @staticmethod
        def of_nobody(word: str) -> str:
            return word

        @breaker
        @staticmethod
        async def of_nobody_later(word: str) -> str:
            return word

        @breaker
        @classmethod
        def of_class(cls, word: str) -> str:
            return cls.name + word

    assert Tool.of_nobody("!") == Tool().of_nobody("!") == "!"
    assert asyncio.run(Tool().of_nobody_later("!")) == "!"
    assert Tool.of_class("!") == Tool().of_class("!") == "a tool!"
    assert outcomes(breaker) == {"succeeded": 5}


def test_objects_that_can_be_called_have_the_form_of_their_call(breaker: CircuitBreaker) -> None:
    class Plain:
        def __call__(self, word: str) -> str:
            return word

    class Later:
        async def __call__(self, word: str) -> str:
            return word

    class Several:
        def __call__(self, word: str) -> Iterator[str]:
            yield word

    class SeveralLater:
        async def __call__(self, word: str) -> AsyncIterator[str]:
            yield word

    async def collected() -> list[str]:
        return [item async for item in breaker(SeveralLater())("!")]

    assert breaker(Plain())("!") == "!"
    assert inspect.iscoroutinefunction(breaker(Later()))
    assert asyncio.run(breaker(Later())("!")) == "!"
    assert list(breaker(Several())("!")) == ["!"]
    assert asyncio.run(collected()) == ["!"]
    assert asyncio.run(breaker.call_async(Later(), "!")) == "!"
    assert outcomes(breaker) == {"succeeded": 5}


def test_partial_functions_have_the_form_of_what_they_complete(breaker: CircuitBreaker) -> None:
    assert breaker(functools.partial(plain, 1))(wide=True) == "1 True"
    assert asyncio.run(breaker(functools.partial(coroutine, 1))()) == "1"
    assert list(breaker(functools.partial(generator, 2))()) == [0, 1]
    assert outcomes(breaker) == {"succeeded": 3}


def test_a_class_may_be_called_but_not_decorated(breaker: CircuitBreaker) -> None:
    assert breaker.call(dict, a=1) == {"a": 1}
    with pytest.raises(TypeError, match="guards functions, not <class 'dict'>"):
        breaker(dict)


@pytest.mark.parametrize("thing", [7, "search", None, property(lambda _: 1)])
def test_what_cannot_be_called_cannot_be_guarded(breaker: CircuitBreaker, thing: Any) -> None:
    with pytest.raises(TypeError, match="a circuit breaker guards functions, not"):
        breaker(thing)


# The wrong form

RULES: list[Any] = [None, {Exception: FailureKind.SERVER_ERROR}, lambda _error: FailureKind.SERVER_ERROR]


@pytest.mark.parametrize("rules", RULES, ids=["no rules", "mapping", "callable"])
@pytest.mark.parametrize("failures", [0, 1])
def test_a_coroutine_function_is_not_to_be_called_and_that_is_no_verdict(rules: Any, failures: int) -> None:
    breaker = CircuitBreaker("x", SETTINGS, classify=rules)
    fail(breaker, failures)
    began: list[int] = []

    async def never_begun(depth: int) -> None:
        began.append(depth)

    wrapped: Callable[[int], Any] = lambda depth: never_begun(depth)  # noqa: E731, PLW0108 - a function that gives one
    for wrong in (never_begun, functools.partial(never_begun), wrapped):
        with pytest.raises(TypeError, match=r"use `await breaker.call_async\(...\)`"):
            breaker.call(wrong, 1)
    assert began == []
    assert outcomes(breaker) == {"cancelled": 3} | ({"failed": failures} if failures else {})
    assert breaker.snapshot().failures == failures


@pytest.mark.parametrize("rules", RULES, ids=["no rules", "mapping", "callable"])
@pytest.mark.parametrize("failures", [0, 1])
def test_what_gives_nothing_to_await_is_not_to_be_awaited_and_that_is_no_verdict(rules: Any, failures: int) -> None:
    breaker = CircuitBreaker("x", SETTINGS, classify=rules)
    fail(breaker, failures)
    wrongs: list[tuple[Callable[..., Any], str]] = [
        (work, "str"), (generator, "generator"), (async_generator, "async_generator"),
    ]  # fmt: skip
    for wrong, gave in wrongs:
        with pytest.raises(TypeError, match=rf"gave {gave}, nothing to await"):
            asyncio.run(breaker.call_async(wrong, None))
    assert outcomes(breaker) == {"cancelled": 3} | ({"failed": failures} if failures else {})


def test_no_coroutine_is_left_behind_that_nobody_awaited() -> None:
    """Python says so on stderr when it is; a process of its own shows that it does not."""
    program = (
        "import gc, warnings\n"
        "warnings.simplefilter('error')\n"
        "from recloser import CircuitBreaker\n"
        "async def co(): ...\n"
        "try: CircuitBreaker('x').call(co)\n"
        "except TypeError: pass\n"
        "gc.collect()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stderr == ""


def test_other_things_may_be_awaited_too(breaker: CircuitBreaker) -> None:
    class Soon:
        def __await__(self) -> Generator[Any, Any, str]:
            yield from asyncio.sleep(0).__await__()
            return "soon"

    async def of_a_future() -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_result("a future")
        return str(await breaker.call_async(lambda: future))

    async def of_soon() -> str:
        return str(await breaker.call_async(Soon))

    @types.coroutine
    def old_fashioned() -> Generator[Any, Any, str]:
        yield from asyncio.sleep(0).__await__()
        return "old-fashioned"

    assert asyncio.run(breaker.call_async(old_fashioned)) == "old-fashioned"
    assert asyncio.run(of_a_future()) == "a future"
    assert asyncio.run(of_soon()) == "soon"
    assert outcomes(breaker) == {"succeeded": 3}


# Blocks


def test_blocks_of_one_breaker_may_stand_in_one_another(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, half_open_permits=2), clock=clock)
    to_half_open(breaker, clock)
    with breaker as outer, breaker as inner:
        assert outer is not inner
        with pytest.raises(CircuitOpenError), breaker:
            raise AssertionError("not reached")
    assert (outer.settled, inner.settled, breaker.state) == (True, True, CLOSED)


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


def test_a_block_that_ends_in_a_foreign_context_says_what_to_do(breaker: CircuitBreaker) -> None:
    def enter() -> None:
        breaker.__enter__()

    import contextvars  # noqa: PLC0415 - for this one test

    contextvars.copy_context().run(enter)
    with pytest.raises(RuntimeError, match=r"use `with breaker.acquire\(\):` there"):
        breaker.__exit__(None, None, None)


# Generators: settled at the end of the iteration


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


def test_a_generator_closes_what_it_holds_before_the_permit_is_back(breaker: CircuitBreaker) -> None:
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


def test_an_async_generator_closes_what_it_holds_before_the_permit_is_back(breaker: CircuitBreaker) -> None:
    class Connection:
        def __init__(self) -> None:
            self.live_at_the_end = 0

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
