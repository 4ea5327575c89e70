"""What is measured, and in which order: every contender, measure by measure, round by round.

Rows that will be compared are measured seconds apart, in an order that turns from round to round, so that a busy
neighbour hits all of them. Every round starts every proxy anew, for each wire.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import uvloop
from benchmarks.answers import EVENTS, WIRES, Wire
from benchmarks.contenders import CONTENDERS, Place, upstream
from benchmarks.load import Load, Outcome, drive, hold
from benchmarks.processes import NotStarted, Process, core_idle, free_port
from benchmarks.questions import Size, body, http

T = TypeVar("T")

OPEN_STREAMS = 400
OPEN_FEW = 100
OUT_OF_STEP = 0.618  # so that the events of paced streams do not come all at the same moment
WARM_UP = 0.2


@dataclass(frozen=True, slots=True)
class Measure:
    """One load and what its numbers are called."""

    name: str
    size: Size
    connections: int
    stream: bool = False
    pace_ms: int = 0


MEASURES = (
    Measure("plain 1 KB", "1 KB", 64),
    Measure("plain 88 KB", "88 KB", 64),
    Measure("streams 1 KB", "1 KB", 64, stream=True),
    Measure("streams 88 KB", "88 KB", 64, stream=True),
    Measure("one connection", "1 KB", 1),
    Measure("paced", "1 KB", 100, stream=True, pace_ms=10),
)


@dataclass(slots=True)
class Numbers:
    """One measurement, in the units it is told in. NaN-free: what was not measured is 0."""

    rate: float = 0.0
    cpu_us: float = 0.0  # of the proxy, for one whole answer
    busy: float = 0.0  # share of its core that the proxy used
    idle: float = 0.0  # share of that core that nobody used
    p50_us: float = 0.0
    p99_us: float = 0.0
    first_us: float = 0.0  # median time to the first word of the answer
    kilobytes: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)


# wire, contender, measure -> one Numbers a round
Results = dict[tuple[str, str, str], list[Numbers]]


@dataclass(slots=True)
class Plan:
    """What a run is asked to do."""

    contenders: Sequence[str]
    wires: Sequence[str]
    rounds: int
    seconds: float


@dataclass(slots=True)
class Run:
    """Everything that came of it."""

    results: Results = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def cores() -> tuple[int, int]:
    """The core of the proxy and the core of upstream and load; this process moves to the latter."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        print("!!! only one core: proxy, upstream and load share it, the figures say little", file=sys.stderr)
    os.sched_setaffinity(0, {mine[-1]})
    return mine[0], mine[-1]


def run(plan: Plan) -> Run:
    """All rounds."""
    proxy_core, load_core = cores()
    made = Run()
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        source = Process("upstream", upstream(free_port()), load_core, folder)
        try:
            for number in range(plan.rounds):
                for wire in plan.wires:
                    with _started(plan, source.port, proxy_core, folder, made.missing) as running:
                        order = _turned(list(running), number)
                        _round(plan, WIRES[wire], {key: running[key] for key in order}, source.port, made.results)
                print(f"round {number + 1} of {plan.rounds} done", file=sys.stderr, flush=True)
        finally:
            source.stop()
    made.results = {key: rounds for key, rounds in made.results.items() if key[1] not in made.missing}
    return made


@contextlib.contextmanager
def _started(
    plan: Plan, source: int, core: int, folder: Path, missing: dict[str, str]
) -> Iterator[Mapping[str, Process | None]]:
    running: dict[str, Process | None] = {}
    with contextlib.ExitStack() as stack:
        for key in plan.contenders:
            if key in missing:
                continue
            launch = CONTENDERS[key].launch
            if launch is None:
                running[key] = None
                continue
            try:
                process = Process(key, launch(Place(free_port(), source, folder)), core, folder)
            except NotStarted as why:
                print(f"!!! {key} is NOT measured: {why}", file=sys.stderr, flush=True)
                missing[key] = str(why)
                continue
            stack.callback(process.stop)
            running[key] = process
        yield running


def _turned(keys: list[str], by: int) -> list[str]:
    by %= len(keys)
    return keys[by:] + keys[:by]


def _round(plan: Plan, wire: Wire, running: Mapping[str, Process | None], source: int, results: Results) -> None:
    for key, process in running.items():
        if process is not None:  # first of all, while the process is fresh
            _keep(results, (wire.name, key, "open streams"), _memory(wire, process))
    for measure in MEASURES:
        for key, process in running.items():
            numbers = _numbers(plan, wire, measure, process, source)
            _keep(results, (wire.name, key, measure.name), numbers)


def _keep(results: Results, key: tuple[str, str, str], numbers: Numbers) -> None:
    results.setdefault(key, []).append(numbers)
    for error, count in numbers.errors.items():
        print(f"!!! ERRORS {' / '.join(key)}: {count} x {error}", file=sys.stderr, flush=True)


def _numbers(plan: Plan, wire: Wire, measure: Measure, process: Process | None, source: int) -> Numbers:
    port = process.port if process else source
    check = wire.check_stream if measure.stream else wire.check_plain
    known = b"" if measure.stream else wire.plain

    def load(connections: int, seconds: float, pace_ms: int) -> Load:
        content = body(wire, measure.size, stream=measure.stream, pace_ms=pace_ms)
        spread = measure.connections * pace_ms / 1000 * OUT_OF_STEP
        return Load(port, http(wire, port, content), check, connections, seconds, known, spread)

    _performed(drive(load(min(8, measure.connections), WARM_UP, 0)))
    used, idle = _core_times(process)
    outcome = _performed(drive(load(measure.connections, plan.seconds, measure.pace_ms)))
    used_after, idle_after = _core_times(process)
    return _told(outcome, used_after - used, idle_after - idle)


def _performed(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a loop of its own; a signal ends it as an exception, so that what was started is ended too."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    async def until_stopped() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        for number in handlers:
            loop.add_signal_handler(number, task.cancel)
        return await task

    try:
        return uvloop.run(until_stopped())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _core_times(process: Process | None) -> tuple[float, float]:
    return (process.cpu(), core_idle(process.core)) if process else (0.0, 0.0)


def _told(outcome: Outcome, used: float, idle: float) -> Numbers:
    times = sorted(outcome.times) or [0.0]
    firsts = sorted(outcome.firsts) or [0.0]
    return Numbers(
        rate=outcome.rate,
        cpu_us=used / max(outcome.done, 1) * 1e6,
        busy=used / outcome.seconds,
        idle=idle / outcome.seconds,
        p50_us=times[len(times) // 2] * 1e6,
        p99_us=times[min(len(times) * 99 // 100, len(times) - 1)] * 1e6,
        first_us=firsts[len(firsts) // 2] * 1e6,
        errors=dict(outcome.errors),
    )


def _memory(wire: Wire, process: Process) -> Numbers:
    content = body(wire, "1 KB", stream=True, pace_ms=1000)
    request = http(wire, process.port, content)
    load = Load(process.port, request, wire.check_stream, OPEN_STREAMS, 0.5)
    each, outcome = _performed(hold(load, process.memory, OPEN_FEW))
    return Numbers(kilobytes=each / 1024, errors=dict(outcome.errors))


def events_cpu(numbers: Numbers) -> float:
    """CPU of the proxy for one event of a stream, in microseconds."""
    return numbers.cpu_us / EVENTS
