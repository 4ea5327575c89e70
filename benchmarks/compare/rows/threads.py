"""Many threads on one breaker, in real time."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.compare.clock import real_monotonic
from benchmarks.compare.library import Library, Settings, UpstreamError, Way, Work, protected
from benchmarks.compare.row import Told, fact

THREADS = 8
FAILURES = 1000
CALLS = 25
TAKES = 0.002


@fact(f"Of {THREADS * FAILURES:,} failures in {THREADS} threads, lost")
def lost_failures(library: Library) -> Told:
    expected = THREADS * FAILURES
    breaker = library.make(Settings(failures=expected + 1))
    fail = _failing(library, breaker)

    def work() -> None:
        for _ in range(FAILURES):
            fail()

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        _in_threads(work)
    finally:
        sys.setswitchinterval(usual)
    lost = expected - library.failures(breaker)
    return Told(str(lost), lost == 0)


def _failing(library: Library, breaker: Any) -> Callable[[], None]:
    """One call that fails, in whatever way the library has."""
    plain, coroutines = library.sync(breaker), library.asynchronous(breaker)
    call = protected(next(iter(plain.values())), _raise) if plain else _stepped(next(iter(coroutines.values())))

    def fail() -> None:
        with contextlib.suppress(UpstreamError):
            call()

    return fail


def _stepped(way: Way) -> Work:
    """A coroutine that waits for nothing, run without a loop."""
    call = protected(way, _raise_async)
    return lambda: call().send(None)


def _raise() -> None:
    raise UpstreamError


async def _raise_async() -> None:
    raise UpstreamError


@fact(f"{THREADS} callers of {CALLS} calls of {TAKES * 1000:g} ms each: throughput, of what it is without a breaker")
def throughput(library: Library) -> Told:
    """The worst of the library's ways: one lock around the call is enough to line everybody up."""
    breaker = library.make(Settings())
    ratios = {name: _ratio(way, _threads) for name, way in library.sync(breaker).items()}
    ratios |= {f"async {name}": _ratio(way, _tasks) for name, way in library.asynchronous(breaker).items()}
    worst = min(ratios, key=lambda name: ratios[name])
    good = ratios[worst] >= 0.9
    return Told(f"{ratios[worst]:.2f}" + ("" if good else f" (`{worst}`)"), good)


def _ratio(way: Way, timed: Callable[[Callable[[Work], Work]], float]) -> float:
    """The median of five, each beside a bare one."""
    return median(timed(lambda work: work) / timed(lambda work: protected(way, work)) for _ in range(5))


def _threads(protect: Callable[[Work], Work]) -> float:
    call = protect(lambda: time.sleep(TAKES))

    def work() -> None:
        for _ in range(CALLS):
            call()

    began = real_monotonic()
    _in_threads(work)
    return real_monotonic() - began


def _tasks(protect: Callable[[Work], Work]) -> float:
    async def sleep() -> None:
        await asyncio.sleep(TAKES)

    call = protect(sleep)

    async def caller() -> None:
        for _ in range(CALLS):
            await call()

    async def callers() -> None:
        await asyncio.gather(*(caller() for _ in range(THREADS)))

    began = real_monotonic()
    asyncio.run(callers())
    return real_monotonic() - began


def _in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
