"""How long a call through each library takes: `python -m benchmarks.compare.speed NAMES ROUNDS SECONDS`.

Written as JSON, a list of `Measured`. Every loop is timed right after a loop of bare calls of the same kind, and their
ratio is what counts. Rounds go through all libraries, so that a busy neighbour hits all of them. The loops are written
out, one for each way of calling, so that nothing but the library stands between two turns.
"""

import asyncio
import contextlib
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from benchmarks.compare.library import (
    AsyncWith,
    Call,
    Decorator,
    Library,
    Settings,
    UpstreamError,
    Way,
    With,
    Work,
    load,
    protected,
)

THREADS = 8
IO_CALLS = 50
IO_TAKES = 0.002

Loop = Callable[[int], None]
"""So many calls, one after the other."""


@dataclass(slots=True)
class Measured:
    """One row of one table: nanoseconds a call, round by round, and of the bare loops before."""

    measure: str
    library: str
    way: str
    ns: list[float] = field(default_factory=list)
    bare_ns: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Subject:
    """Two loops to be compared, and how they are timed. `loop` is made anew in each round, with a new breaker."""

    measured: Measured
    bare: Loop
    loop: Callable[[], Loop]
    timed: Callable[[Loop, int], float]


def noop() -> None:
    """The protected function."""


async def noop_async() -> None:
    """The protected coroutine function."""


def wait() -> None:
    """A protected function that does what most of them do."""
    time.sleep(IO_TAKES)


def plain(work: Work, count: int) -> None:
    """Bare calls, and those of a decorated function."""
    for _ in range(count):
        work()


def called(run: Callable[[Work], Any], work: Work, count: int) -> None:
    """`breaker.call(work)`."""
    for _ in range(count):
        run(work)


def inside_kept(manager: Any, work: Work, count: int) -> None:
    """`with breaker:`."""
    for _ in range(count):
        with manager:
            work()


def inside(make: Callable[[], Any], work: Work, count: int) -> None:
    """`with breaker.something():`."""
    for _ in range(count):
        with make():
            work()


async def plain_async(work: Work, count: int) -> None:
    """As above, awaited."""
    for _ in range(count):
        await work()


async def called_async(run: Callable[[Work], Any], work: Work, count: int) -> None:
    """`await breaker.call_async(work)`."""
    for _ in range(count):
        await run(work)


async def inside_kept_async(manager: Any, work: Work, count: int) -> None:
    """`async with breaker:`."""
    for _ in range(count):
        async with manager:
            await work()


def refused(call: Work, refusal: type[Exception], count: int) -> None:
    """What a caller does who knows that the circuit may be open."""
    for _ in range(count):
        try:  # noqa: SIM105 - this is what is measured
            call()
        except refusal:
            pass


def loop_of(way: Way, work: Work, *, asynchronous: bool) -> Loop:
    """The loop for a way of calling."""
    if asynchronous:
        return _loop_of_coroutines(way, work)
    match way:
        case Call(run):
            return partial(called, run, work)
        case Decorator(wrap):
            return partial(plain, wrap(work))
        case With(make, kept):
            return partial(inside_kept, make(), work) if kept else partial(inside, make, work)
        case _:
            raise TypeError(f"{way} is for coroutine functions")


def _loop_of_coroutines(way: Way, work: Work) -> Loop:
    match way:
        case Call(run):
            return _run(partial(called_async, run, work))
        case Decorator(wrap):
            return _run(partial(plain_async, wrap(work)))
        case AsyncWith(make):
            return _run(partial(inside_kept_async, make(), work))
        case _:
            raise TypeError(f"{way} is for functions")


def _run(loop: Callable[[int], Any]) -> Loop:
    return lambda count: asyncio.run(loop(count))


def in_one(loop: Loop, count: int) -> float:
    """CPU nanoseconds a call, in this thread."""
    gc.collect()
    began = time.thread_time_ns()
    loop(count)
    return (time.thread_time_ns() - began) / count


def in_many(loop: Loop, count: int) -> float:
    """Nanoseconds on the wall for each of the calls of all threads together."""
    gc.collect()
    together = threading.Barrier(THREADS + 1)

    def work() -> None:
        together.wait()
        loop(count // THREADS)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    together.wait()
    began = time.perf_counter_ns()
    for thread in threads:
        thread.join()
    return (time.perf_counter_ns() - began) / (count // THREADS * THREADS)


def subjects(library: Library) -> Iterator[Subject]:
    """Everything that is measured of a library."""
    for asynchronous, kind, work in ((False, "sync", noop), (True, "async", noop_async)):
        bare = _run(partial(plain_async, work)) if asynchronous else partial(plain, work)
        for name in _ways(library, library.make(), asynchronous=asynchronous):
            loop = partial(_closed, library, name, work, asynchronous=asynchronous)
            for threads, timed in ((1, in_one), (THREADS, in_many)):
                yield Subject(Measured(f"{kind} {threads}", library.package, name), bare, loop, timed)
    yield Subject(
        Measured("refused", library.package, _first(library)[0]),
        partial(refused, _raising, UpstreamError),
        partial(_open, library),
        in_one,
    )
    for name in library.sync(library.make()):
        loop = partial(_closed, library, name, wait, asynchronous=False)
        yield Subject(Measured("I/O", library.package, name), partial(plain, wait), loop, in_many)


def _ways(library: Library, breaker: Any, *, asynchronous: bool) -> Mapping[str, Way]:
    return library.asynchronous(breaker) if asynchronous else library.sync(breaker)


def _first(library: Library) -> tuple[str, bool]:
    breaker = library.make()
    found = _ways(library, breaker, asynchronous=False)
    return (next(iter(found)), False) if found else (next(iter(_ways(library, breaker, asynchronous=True))), True)


def _closed(library: Library, name: str, work: Work, *, asynchronous: bool) -> Loop:
    """Of a breaker as the library makes it by itself."""
    return loop_of(_ways(library, library.make(), asynchronous=asynchronous)[name], work, asynchronous=asynchronous)


def _open(library: Library) -> Loop:
    """Of a breaker that is open for a minute, in the library's first way of calling."""
    name, asynchronous = _first(library)
    way = _ways(library, library.make(Settings(failures=1)), asynchronous=asynchronous)[name]
    if asynchronous:
        failing, call = protected(way, _raising_async), protected(way, noop_async)
        with contextlib.suppress(Exception):
            asyncio.run(failing())
        return partial(refused, lambda: call().send(None), library.refusal)
    with contextlib.suppress(Exception):
        protected(way, _raising)()
    match way:
        case Call(run):
            return partial(refused, partial(run, noop), library.refusal)
        case _:
            return partial(refused, protected(way, noop), library.refusal)


def _raising() -> None:
    raise UpstreamError


async def _raising_async() -> None:
    raise UpstreamError


def measure(subject: Subject, seconds: float) -> None:
    """One round: so many calls as fill the time, bare and then guarded."""
    loop = subject.loop()
    if subject.measured.measure == "I/O":
        counts = (IO_CALLS * THREADS, IO_CALLS * THREADS)
    else:
        counts = (_filling(subject.bare, seconds), _filling(loop, seconds))
    subject.measured.bare_ns.append(subject.timed(subject.bare, counts[0]))
    subject.measured.ns.append(subject.timed(loop, counts[1]))


def _filling(loop: Loop, seconds: float) -> int:
    """How many turns take about so long, found out in a twentieth of it; the same for one thread and for many."""
    count = 64
    while True:
        began = time.thread_time_ns()
        loop(count)
        took = (time.thread_time_ns() - began) / 1e9
        if took > seconds / 20:
            return max(int(count * seconds / took), THREADS)
        count *= 4


def main() -> None:
    """Every round of every library."""
    names, rounds, seconds = sys.argv[1:]
    logging.disable()
    found = [subject for name in names.split(",") for subject in subjects(load(name))]
    gc.collect()
    gc.freeze()  # so that nobody pays for the garbage collector's walks through all libraries
    for number in range(int(rounds)):
        for subject in found:
            measure(subject, float(seconds))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    print(json.dumps([asdict(subject.measured) for subject in found]))


if __name__ == "__main__":
    main()
