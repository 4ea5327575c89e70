"""A coordinator's loop: paced by its circuit, and never spinning, whatever happens in it."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.breaker.scenes import (
    CLOSED,
    COOLDOWN,
    FORCED_OPEN,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    to_half_open,
)

from recloser.breaker import CircuitBreaker
from recloser.breaker.loop import Loop, Turn
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import ConfigError
from recloser.core.failure import FailureKind
from recloser.testing import ManualClock, RecordingSink

INTERVAL = 5.0


class Pauses:
    """Lets time pass instead of sleeping; ends the loop, or the test, when there were too many."""

    def __init__(self, clock: ManualClock, most: int = 1000) -> None:
        self.clock = clock
        self.taken: list[float] = []
        self.most = most
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, seconds: float) -> None:
        assert seconds > 0
        assert len(self.taken) < self.most, "it spins"
        self.taken.append(seconds)
        self.clock.advance(seconds)
        self.meanwhile()

    async def async_(self, seconds: float) -> None:
        self(seconds)


@pytest.fixture
def pauses(clock: ManualClock) -> Pauses:
    return Pauses(clock)


class Rounds:
    """A loop in either form, of which every turn runs the same work until there were enough."""

    def __init__(self, loop: Loop, work: Callable[[Turn], object], most: int) -> None:
        self.loop = loop
        self.work = work
        self.most = most
        self.errors: list[Exception | None] = []

    def run(self) -> None:
        for turn in self.loop:
            with turn:
                self.work(turn)
            self._end(turn)

    async def run_async(self) -> None:
        async for turn in self.loop:
            async with turn:
                self.work(turn)
            self._end(turn)

    def _end(self, turn: Turn) -> None:
        self.errors.append(turn.error)
        if turn.number >= self.most:
            self.loop.stop()


@pytest.fixture(params=["sync", "async"])
def run(
    request: pytest.FixtureRequest, breaker: CircuitBreaker, pauses: Pauses
) -> Callable[[Callable[[Turn], object], int], Rounds]:
    """Run so many turns with some work, in either form."""

    def run(work: Callable[[Turn], object], most: int) -> Rounds:
        rounds = Rounds(breaker.loop(INTERVAL, sleep=pauses, sleep_async=pauses.async_), work, most)
        rounds.run() if request.param == "sync" else asyncio.run(rounds.run_async())
        return rounds

    return run


Run = Callable[[Callable[[Turn], object], int], Rounds]


def nothing(_turn: Turn) -> None:
    pass


def broken(_turn: Turn) -> None:
    raise BrokenError


# Pace


def test_turns_are_an_interval_apart_and_numbered_from_one(run: Run, breaker: CircuitBreaker, pauses: Pauses) -> None:
    numbers: list[int] = []
    rounds = run(lambda turn: numbers.append(turn.number), 4)
    assert numbers == [1, 2, 3, 4]
    assert rounds.loop.turns == 4
    assert pauses.taken == [INTERVAL] * 3, "after the last one nobody waits"
    assert breaker.snapshot().succeeded == 4


def test_a_failing_turn_ends_the_turn_and_not_the_loop_and_does_not_hurry_it(
    run: Run, breaker: CircuitBreaker, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = run(lambda turn: broken(turn) if turn.number == 2 else None, 3)
    assert [type(error) for error in rounds.errors] == [type(None), BrokenError, type(None)]
    assert pauses.taken == [INTERVAL] * 2
    assert (breaker.snapshot().succeeded, breaker.snapshot().failed, breaker.state) == (2, 1, CLOSED)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "turn 2 of search failed")
    ]


def test_an_open_circuit_takes_no_turn_until_its_time_is_over(
    run: Run, breaker: CircuitBreaker, clock: ManualClock, pauses: Pauses
) -> None:
    at: list[float] = []

    def fail_twice(turn: Turn) -> None:
        at.append(clock.monotonic() - 1000.0)
        if turn.number <= 2:
            raise BrokenError

    run(fail_twice, 3)
    assert at == [0.0, INTERVAL, INTERVAL + COOLDOWN]
    s = breaker.snapshot()
    assert (s.state, s.open_count, s.succeeded, s.failed) == (CLOSED, 1, 1, 2)
    assert s.denied == 0, "a loop that waits asks for no permit"


def test_against_a_dead_end_it_slows_down_to_the_longest_cooldown(
    run: Run, breaker: CircuitBreaker, clock: ManualClock
) -> None:
    at: list[float] = []

    def fail_for_ever(_turn: Turn) -> None:
        at.append(clock.monotonic())
        raise BrokenError

    run(fail_for_ever, 12)
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert gaps == sorted(gaps), "in front, the interval between the two failures that opened it"
    assert gaps[-3:] == [SETTINGS.cooldown_max] * 3


def test_forced_open_for_good_it_asks_every_interval_and_sees_the_reset(
    run: Run, breaker: CircuitBreaker, pauses: Pauses, clock: ManualClock
) -> None:
    breaker.force_open()

    def reset_after_a_while() -> None:
        if len(pauses.taken) == 20:
            breaker.reset()

    pauses.meanwhile = reset_after_a_while
    run(nothing, 1)
    assert pauses.taken == [INTERVAL] * 20
    assert breaker.snapshot().calls == 1


def test_a_reset_during_a_long_cooldown_is_seen_within_an_interval(
    run: Run, breaker: CircuitBreaker, pauses: Pauses, clock: ManualClock
) -> None:
    breaker.force_open(3600.0)
    pauses.meanwhile = lambda: breaker.reset() if breaker.state is FORCED_OPEN else None
    run(nothing, 1)
    assert pauses.taken == [INTERVAL]


def test_while_somebody_else_makes_the_trial_it_waits(
    run: Run, breaker: CircuitBreaker, pauses: Pauses, clock: ManualClock
) -> None:
    to_half_open(breaker, clock)
    trial = breaker.acquire()
    pauses.meanwhile = lambda: trial.succeed() if len(pauses.taken) == 7 else None
    run(nothing, 1)
    assert (len(pauses.taken), breaker.state) == (7, CLOSED)


# It cannot spin

WAYS = st.lists(st.sampled_from(["succeeds", "fails", "raises", "ignored", "opens", "forces", "resets"]), min_size=1)


@given(
    ways=WAYS,
    interval=st.floats(0.001, 3600.0),
    intervals=st.floats(1e-9, 20.0),
    threshold=st.integers(1, 5),
    throttle=st.sampled_from([0.0, 1.0, 2.0]),
    is_async=st.booleans(),
)
def test_it_cannot_spin_whatever_its_turns_and_its_circuit_do(
    ways: list[str], interval: float, intervals: float, threshold: int, throttle: float, is_async: bool
) -> None:
    """Between two turns lies an interval, and between two looks at an open circuit never less than 50 ms of it."""
    clock, cooldown = ManualClock(), intervals * interval
    settings = CircuitSettings(
        failure_threshold=threshold, cooldown=cooldown, cooldown_max=40 * interval, jitter=0.0, throttle=throttle
    )
    breaker = CircuitBreaker("x", settings, clock=clock)
    pauses = Pauses(clock, most=12 * 42)
    loop = breaker.loop(interval, sleep=pauses, sleep_async=pauses.async_)
    began: list[float] = []

    def work(turn: Turn) -> None:
        began.append(clock.monotonic())
        way = ways[(turn.number - 1) % len(ways)]
        if way == "fails":
            turn.fail(FailureKind.SERVER_ERROR)
        elif way == "raises":
            raise BrokenError
        elif way == "ignored":
            turn.ignore()
        elif way == "opens":
            turn.fail(FailureKind.AUTH)
        elif way == "forces":
            breaker.force_open(cooldown)
        elif way == "resets":
            breaker.reset()

    rounds = Rounds(loop, work, 12)
    logging.disable()
    try:
        asyncio.run(rounds.run_async()) if is_async else rounds.run()
    finally:
        logging.disable(logging.NOTSET)
    assert len(began) == 12
    assert all(later - earlier >= interval * 0.999 for earlier, later in itertools.pairwise(began))
    assert all(pause >= min(interval, 0.05) * 0.999 for pause in pauses.taken)
    s = breaker.snapshot()
    assert adds_up(s)
    assert (s.live, s.admitted) == (0, 12)


@pytest.mark.parametrize("interval", [0, 0.0, -1.0, float("nan"), float("inf"), None, "5", True])
def test_an_interval_that_would_let_it_spin_is_refused(breaker: CircuitBreaker, interval: float) -> None:
    with pytest.raises(ConfigError, match="interval must be a finite duration above 0"):
        breaker.loop(interval)


def test_an_interval_may_be_a_timedelta(breaker: CircuitBreaker) -> None:
    assert Loop(breaker, timedelta(minutes=1)).interval == 60.0  # type: ignore[arg-type]


def test_a_circuit_that_would_admit_at_once_is_not_asked_at_once(clock: ManualClock, pauses: Pauses) -> None:
    """A cooldown of next to nothing makes no hot loop."""
    breaker = CircuitBreaker("x", replace(SETTINGS, cooldown=1e-9, cooldown_max=1e-9), clock=clock)
    loop = breaker.loop(INTERVAL, sleep=pauses)
    fail(breaker, 2)
    next(iter(loop))
    assert pauses.taken == [0.05]


# Turns


def test_a_turn_may_fail_without_raising(run: Run, breaker: CircuitBreaker) -> None:
    run(lambda turn: turn.fail(FailureKind.UNREACHABLE), 2)
    assert (breaker.state, breaker.snapshot().last_kind) == (OPEN, FailureKind.UNREACHABLE)


def test_a_turn_with_nothing_to_do_says_nothing_about_health(run: Run, breaker: CircuitBreaker) -> None:
    fail(breaker)
    run(Turn.ignore, 5)
    s = breaker.snapshot()
    assert (s.ignored, s.succeeded, s.failures) == (5, 0, 1)


def test_a_turn_that_is_not_judged_by_anybody_went_well(breaker: CircuitBreaker, pauses: Pauses) -> None:
    for turn in breaker.loop(INTERVAL, sleep=pauses):
        if turn.number == 3:
            break
    s = breaker.snapshot()
    assert (s.succeeded, s.cancelled, s.live) == (2, 1, 0), "the one that was broken off in the middle is no verdict"


def test_work_that_is_not_judged_and_raises_ends_the_loop_and_is_no_verdict(
    breaker: CircuitBreaker, clock: ManualClock, pauses: Pauses
) -> None:
    to_half_open(breaker, clock)

    def work() -> None:
        for turn in breaker.loop(INTERVAL, sleep=pauses):
            broken(turn)

    with pytest.raises(BrokenError):
        work()
    s = breaker.snapshot()
    assert (s.state, s.live, s.cancelled) == (HALF_OPEN, 0, 1)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interrupt_goes_through_and_is_no_verdict(
    run: Run, breaker: CircuitBreaker, interrupt: type[BaseException]
) -> None:
    def interrupted(_turn: Turn) -> None:
        raise interrupt

    with pytest.raises(interrupt):
        run(interrupted, 2)
    s = breaker.snapshot()
    assert (s.failed, s.cancelled, s.live, s.failures) == (0, 1, 0, 0)


# Leaving


def test_break_inside_a_turn_settles_it(breaker: CircuitBreaker, pauses: Pauses) -> None:
    for turn in breaker.loop(INTERVAL, sleep=pauses):
        with turn:
            break
    assert (breaker.snapshot().succeeded, breaker.snapshot().live) == (1, 0)


def test_break_in_an_async_loop_gives_the_trial_back_at_once(
    breaker: CircuitBreaker, clock: ManualClock, pauses: Pauses
) -> None:
    async def main() -> None:
        async for _turn in breaker.loop(INTERVAL, sleep_async=pauses.async_):
            break
        assert breaker.snapshot().live == 0
        breaker.acquire().succeed()

    to_half_open(breaker, clock)
    asyncio.run(main())
    assert (breaker.snapshot().cancelled, breaker.state) == (1, CLOSED)


def test_an_iteration_that_is_dropped_gives_its_permit_back(breaker: CircuitBreaker, pauses: Pauses) -> None:
    turns: Iterator[Turn] = iter(breaker.loop(INTERVAL, sleep=pauses))
    next(turns)
    assert breaker.snapshot().live == 1
    del turns
    assert (breaker.snapshot().live, breaker.snapshot().cancelled) == (0, 1)


def test_stopped_during_a_pause_it_takes_no_other_turn(run: Run, breaker: CircuitBreaker, pauses: Pauses) -> None:
    loops: list[Loop] = []

    def stop() -> None:
        for loop in loops:
            loop.stop()

    pauses.meanwhile = stop
    loop = breaker.loop(INTERVAL, sleep=pauses, sleep_async=pauses.async_)
    loops.append(loop)
    assert [turn.number for turn in loop] == [1]
    assert [turn.number for turn in loop] == [], "a stopped loop stays stopped"

    async def numbers(turns: AsyncIterator[Turn]) -> list[int]:
        return [turn.number async for turn in turns]

    loops.append(breaker.loop(INTERVAL, sleep_async=pauses.async_))
    assert asyncio.run(numbers(aiter(loops[-1]))) == [1]


def test_two_loops_of_one_circuit_share_its_trial(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """Of two coordinators that wait for the same thing, one tries."""
    to_half_open(breaker, clock)

    class Enough(Exception):  # noqa: N818 - it is no error
        pass

    def no_more(_seconds: float) -> None:
        raise Enough

    one = iter(breaker.loop(INTERVAL, sleep=no_more))
    other = iter(breaker.loop(INTERVAL, sleep=no_more))
    turn = next(one)
    with pytest.raises(Enough):
        next(other)
    with turn:
        pass
    assert breaker.state is CLOSED


def test_without_asyncio_running_the_sync_form_needs_none_of_it(breaker: CircuitBreaker, pauses: Pauses) -> None:
    async def never(_seconds: float) -> None:
        raise AssertionError("not this one")

    sleeping: Callable[[float], Awaitable[object]] = never
    loop = breaker.loop(INTERVAL, sleep=pauses, sleep_async=sleeping)
    for turn in loop:
        if turn.number == 2:
            loop.stop()
    assert pauses.taken == [INTERVAL]


def test_the_real_clock_and_the_real_sleeps_work_together() -> None:
    """The one test that takes real time: a few hundredths of a second."""
    sink = RecordingSink()
    breaker = CircuitBreaker("x", CircuitSettings(failure_threshold=1, cooldown=0.02, jitter=0.0), listeners=[sink])
    rounds = Rounds(breaker.loop(0.005), lambda turn: broken(turn) if turn.number == 1 else None, 3)
    logging.disable()
    try:
        rounds.run()
    finally:
        logging.disable(logging.NOTSET)
    asyncio.run(Rounds(breaker.loop(0.005), nothing, 2).run_async())
    assert sink.kinds() == ["circuit_opened", "circuit_half_opened", "circuit_closed"]
    assert breaker.snapshot().succeeded == 4
