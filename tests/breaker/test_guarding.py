"""Guarded functions: in whatever form they come, they stay what they were, and the circuit hears how they ended."""

import asyncio
import functools
import inspect
import subprocess
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.breaker.scenes import (
    CLOSED,
    COOLDOWN,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    BrokenError,
    fail,
    outcomes,
    to_half_open,
)

from recloser.breaker import CircuitBreaker
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import FailureKind
from recloser.testing import ManualClock

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

    breaker(Several())("!")
    breaker(SeveralLater())("!")
    assert outcomes(breaker) == {}, "of an iteration that has not begun nobody can say how it went"
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
