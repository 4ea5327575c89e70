"""What can be protected, and whether a failure is seen there."""

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from benchmarks.compare.library import Library, Settings, UpstreamError
from benchmarks.compare.row import NONE, On, Told, fact, judged, ways


@fact("For functions there is")
def for_functions(library: Library) -> Told:
    return _tried(library, On.SYNC)


@fact("For coroutine functions there is")
def for_coroutines(library: Library) -> Told:
    return _tried(library, On.ASYNC)


def _tried(library: Library, on: On) -> Told:
    """The ways in which three failures do open the circuit."""
    names = []
    for name, make in ways(library, on).items():
        calls = make()
        calls.fail(3)
        if calls.refuses():
            names.append(name.removeprefix("async ").partition(",")[0])
    return Told(", ".join(dict.fromkeys(names)) or "nothing", bool(names))


class _Subject:
    """Work of each kind, that fails at its end, and how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0

    def function(self) -> None:
        self.begun += 1
        raise UpstreamError

    async def coroutine(self) -> None:
        self.begun += 1
        raise UpstreamError

    def generator(self) -> Iterator[int]:
        self.begun += 1
        yield 1
        yield 2
        raise UpstreamError

    async def async_generator(self) -> AsyncIterator[int]:
        self.begun += 1
        yield 1
        yield 2
        raise UpstreamError


@fact("The decorator sees a function fail")
def function(library: Library) -> Told:
    return _seen(library, "function")


@fact("The decorator sees a coroutine function fail")
def coroutine(library: Library) -> Told:
    return _seen(library, "coroutine")


@fact("The decorator sees a generator fail in the middle")
def generator(library: Library) -> Told:
    return _seen(library, "generator")


@fact("The decorator sees an async generator fail in the middle")
def async_generator(library: Library) -> Told:
    return _seen(library, "async_generator")


def _seen(library: Library, kind: str) -> Told:
    """Three that fail, and a fourth that must not begin."""
    subject = _Subject()
    use = library.decorate(library.make(Settings()), getattr(subject, kind))
    for _ in range(4):
        _used(use, kind)
    if subject.begun < 3:
        return judged(False, "it is not run")
    return judged(subject.begun == 3, "" if subject.begun == 3 else "accepted, not seen")


def _used(use: Callable[[], Any], kind: str) -> None:
    """As its caller would: call it, await it, or go through it to the end."""
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a coroutine that a library never awaits
        match kind:
            case "function":
                use()
            case "coroutine":
                asyncio.run(use())
            case "generator":
                list(use())
            case _:
                asyncio.run(_exhausted(use()))


async def _exhausted(items: AsyncIterator[int]) -> None:
    async for _ in items:
        pass


@fact("A generator left early is neither a failure nor a success")
def generator_left_early(library: Library) -> Told:
    if not generator(library).good:
        return NONE
    once = library.make(Settings(failures=1))
    _leave(library.decorate(once, _Subject().generator))
    if not _begins(library, once):
        return judged(False, "a failure")
    third = library.make(Settings())
    fails = library.decorate(third, _Subject().generator)
    _used(fails, "generator")
    _used(fails, "generator")
    _leave(fails)
    _used(fails, "generator")
    return judged(not _begins(library, third), "" if not _begins(library, third) else "a success")


def _leave(use: Callable[[], Any]) -> None:
    items = use()
    next(items)
    with contextlib.suppress(Exception):
        items.close()


def _begins(library: Library, breaker: Any) -> bool:
    subject = _Subject()
    _used(library.decorate(breaker, subject.generator), "generator")
    return subject.begun == 1
