"""Guards functions in every form they come in.

A call's permit is settled when the call ends; that of a generator when its iteration ends, and is given back without a
verdict when the consumer closes it early.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from recloser.breaker.held import part_of
from recloser.core.failure import FailureKind

if TYPE_CHECKING:
    from recloser.breaker.breaker import CircuitBreaker

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class MisuseError(TypeError):
    """A function of the wrong form was given: no verdict on the circuit."""

    failure_kind = FailureKind.CANCELLED


def guard(breaker: "CircuitBreaker", fn: F) -> F:
    """The function with the circuit around it, in its own form."""
    if isinstance(fn, staticmethod | classmethod):
        return cast("F", type(fn)(guard(breaker, fn.__func__)))
    if isinstance(fn, type) or not callable(fn):
        raise TypeError(f"a circuit breaker guards functions, not {fn!r}")
    forms = [fn, getattr(fn, "__call__", fn)]  # noqa: B004 - the form of a callable object is that of its method
    if any(map(inspect.isasyncgenfunction, forms)):
        guarded = _async_generator(breaker, fn)
    elif any(map(inspect.iscoroutinefunction, forms)):
        guarded = _coroutine(breaker, fn)
    elif any(map(inspect.isgeneratorfunction, forms)):
        guarded = _generator(breaker, fn)
    else:
        guarded = _function(breaker, fn)
    return cast("F", functools.wraps(fn)(guarded))


def call(breaker: "CircuitBreaker", fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """Call a function where the circuit has something to decide."""
    with breaker.acquire() as held, part_of(held):
        result = fn(*args, **kwargs)
        if type(result) is CoroutineType:
            raise misused(fn, result)
        return result


async def call_async(
    breaker: "CircuitBreaker", fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    """Call a coroutine function where the circuit has something to decide."""
    with breaker.acquire() as held, part_of(held):
        awaitable = fn(*args, **kwargs)
        if type(awaitable) is not CoroutineType:
            check_awaitable(fn, awaitable)
        return await awaitable


def misused(fn: Callable[..., Any], coroutine: object) -> MisuseError:
    """The error for a coroutine function that was called as a function. Nothing of it has run."""
    cast("CoroutineType[Any, Any, Any]", coroutine).close()
    return MisuseError(f"{_name(fn)} gives a coroutine: use `await breaker.call_async(...)`, or decorate it itself")


def check_awaitable(fn: Callable[..., Any], result: object) -> None:
    """MisuseError if there is nothing to await."""
    if not inspect.isawaitable(result):
        raise MisuseError(f"{_name(fn)} gave {type(result).__name__}, nothing to await: use `breaker.call(...)`")


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", fn))


# The two functions below have the lines of `CircuitBreaker.call` and `call_async` once more: to call those instead
# would cost a third of all that they do.


def _function(breaker: "CircuitBreaker", fn: Callable[..., T]) -> Callable[..., T]:
    admitted, succeeded, monotonic = breaker._admissions.up, breaker._successes.up, breaker._monotonic

    def guarded(*args: Any, **kwargs: Any) -> T:
        lane = breaker._lane
        if lane is None:
            return call(breaker, fn, args, kwargs)
        admitted()
        began = monotonic()
        try:
            result = fn(*args, **kwargs)
            if type(result) is CoroutineType:
                raise misused(fn, result)
        except BaseException as error:
            breaker._lane_failed(lane, began, error)
            raise
        now = monotonic()
        if now >= lane.until or now - began >= lane.slow_call or breaker._lane is not lane:
            breaker._lane_left(lane, now - began)
        elif succeeded() >= lane.last:
            breaker._lane_used_up()
        return result

    return guarded


def _coroutine(breaker: "CircuitBreaker", fn: Callable[..., Any]) -> Callable[..., Any]:
    admitted, succeeded, monotonic = breaker._admissions.up, breaker._successes.up, breaker._monotonic

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        lane = breaker._lane
        if lane is None:
            return await call_async(breaker, fn, args, kwargs)
        admitted()
        began = monotonic()
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            breaker._lane_failed(lane, began, error)
            raise
        now = monotonic()
        if now >= lane.until or now - began >= lane.slow_call or breaker._lane is not lane:
            breaker._lane_left(lane, now - began)
        elif succeeded() >= lane.last:
            breaker._lane_used_up()
        return result

    return guarded


def _generator(breaker: "CircuitBreaker", fn: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        held = breaker.acquire()
        first: float | None = None
        thrown: BaseException | None = None
        result: Any = None
        try:
            inner = fn(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, inner)
            while True:
                try:
                    with part_of(held):
                        item = step()
                except StopIteration as end:
                    result = end.value
                    break
                first = breaker.clock.monotonic() - held.began if first is None else first
                try:
                    step = functools.partial(inner.send, (yield item))
                except GeneratorExit:
                    try:
                        inner.close()
                    finally:
                        held.cancel()  # the consumer has left, whatever comes of tidying up
                    raise
                except BaseException as error:  # noqa: BLE001 - the generator may catch what its consumer throws
                    thrown, step = error, functools.partial(inner.throw, error)
        except BaseException as error:
            if error is thrown:
                held.cancel()  # it is the consumer's own, on its way back
            else:
                held.fail(error, took=first)
            raise
        held.succeed(took=first)
        return result

    return guarded


def _async_generator(breaker: "CircuitBreaker", fn: Callable[..., AsyncGenerator[Any, Any]]) -> Callable[..., Any]:
    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        held = breaker.acquire()
        first: float | None = None
        thrown: BaseException | None = None
        try:
            inner = fn(*args, **kwargs)
            step: Callable[[], Any] = inner.__anext__
            while True:
                try:
                    with part_of(held):
                        item = await step()
                except StopAsyncIteration:
                    break
                first = breaker.clock.monotonic() - held.began if first is None else first
                try:
                    step = functools.partial(inner.asend, (yield item))
                except GeneratorExit:
                    try:
                        await inner.aclose()
                    finally:
                        held.cancel()  # the consumer has left, whatever comes of tidying up
                    raise
                except BaseException as error:  # noqa: BLE001 - as above
                    thrown, step = error, functools.partial(inner.athrow, error)
        except BaseException as error:
            if error is thrown:
                held.cancel()  # it is the consumer's own, on its way back
            else:
                held.fail(error, took=first)
            raise
        held.succeed(took=first)

    return guarded
