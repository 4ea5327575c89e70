"""Interrupts, signal handlers and finalisers in the middle of the breaker's own work, wherever they may come.

Nothing deadlocks, no decision is half made, and the counts stay exact.
"""

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.breaker.hand_driven import drive
from tests.breaker.in_the_middle import Passage, everywhere, in_time
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    LEASE,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    to_half_open,
)

from recloser.breaker import CircuitBreaker, HeldPermit
from recloser.core.errors import CircuitOpenError
from recloser.testing import ManualClock, RecordingSink


def nothing() -> None:
    pass


def broken() -> None:
    raise BrokenError


class Soon:
    def __await__(self) -> Generator[None, None, None]:
        yield


class Scene:
    """A breaker, its clock, its listener."""

    def __init__(self, *, half_open: bool = False, failures: int = 0, window_calls: int = 0) -> None:
        self.clock, self.sink = ManualClock(), RecordingSink()
        settings = replace(SETTINGS, window_calls=window_calls)
        self.breaker = CircuitBreaker("x", settings, clock=self.clock, listeners=[self.sink])
        self.guarded = self.breaker(nothing)
        fail(self.breaker, failures)
        if half_open:
            to_half_open(self.breaker, self.clock)


# What is going on: each is given a scene and calls the breaker in one way.


def a_call(scene: Scene) -> None:
    scene.breaker.call(nothing)


def a_decorated_call(scene: Scene) -> None:
    scene.guarded()


def a_failing_call(scene: Scene) -> None:
    with suppress(BrokenError):
        scene.breaker.call(broken)


def a_block(scene: Scene) -> None:
    with scene.breaker:
        pass


def a_permit_given_back(scene: Scene) -> None:
    scene.breaker.acquire().cancel()


def a_generator(scene: Scene) -> None:
    @scene.breaker
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    list(numbers())


def an_async_call(scene: Scene) -> None:
    work = scene.breaker.call_async(Soon)
    try:
        drive(work)
    finally:
        work.close()


def a_retried_call(scene: Scene) -> None:
    answers = [BrokenError(), None]

    def upstream() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    with suppress(BrokenError):
        scene.breaker.retry(sleep=scene.clock.advance).call(upstream)


def a_turn_of_a_loop(scene: Scene) -> None:
    loop = scene.breaker.loop(1.0, sleep=scene.clock.advance)
    for turn in loop:
        loop.stop()
        with turn:
            pass


def a_hand(scene: Scene) -> None:
    scene.breaker.force_open(5.0)
    scene.breaker.snapshot()
    scene.breaker.reset()


WORKS: list[Callable[[Scene], None]] = [
    a_call, a_decorated_call, a_failing_call, a_block, a_permit_given_back, a_generator, an_async_call, a_retried_call,
    a_turn_of_a_loop, a_hand,
]  # fmt: skip
SCENES: dict[str, Callable[[], Scene]] = {
    "clean": Scene,
    "before opening": lambda: Scene(failures=1),
    "half-open": lambda: Scene(half_open=True),
    "a slice of one call": lambda: Scene(window_calls=10),
}
every_work = pytest.mark.parametrize("work", WORKS, ids=[work.__name__ for work in WORKS])
every_scene = pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())


# Interrupts


@pytest.mark.filterwarnings("ignore:coroutine 'call_async' was never awaited:RuntimeWarning")  # it was interrupted
@pytest.mark.filterwarnings("ignore:(?s).*KeyboardInterrupt:pytest.PytestUnraisableExceptionWarning")  # in a finaliser
@every_scene
@every_work
def test_interrupted_anywhere_the_breaker_stays_in_working_order(
    work: Callable[[Scene], None], scene: Callable[[], Scene]
) -> None:
    """Never wedged, decisions are still made and told; at most the interrupted caller's permit is not given back."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    def once(nth: int) -> bool:
        here = scene()
        there_was = True
        with suppress(KeyboardInterrupt):
            there_was = Passage(nth, interrupt).run(lambda: work(here))
        s = here.breaker.snapshot()
        assert adds_up(s), nth
        assert s.live <= 1, nth
        assert here.breaker._lane is None or s.state is CLOSED, "no lane may be left that leads into an open circuit"
        in_working_order(here)
        return there_was

    assert everywhere(once) >= 4


def in_working_order(scene: Scene) -> None:
    """After a lease and a cooldown it admits, closes, opens, and tells of it."""
    breaker = scene.breaker
    scene.clock.advance(LEASE + SETTINGS.cooldown_max)
    breaker.call(nothing)
    assert breaker.state is CLOSED
    breaker.call(nothing)
    fail(breaker, 2)
    assert breaker.state is OPEN
    assert scene.sink.kinds()[-1] == "circuit_opened"
    assert scene.sink.events[-1].seq == breaker.snapshot().seq
    assert not breaker._deciding


# Signal handlers and finalisers


@every_scene
@every_work
def test_a_handler_that_uses_the_breaker_may_come_anywhere(
    work: Callable[[Scene], None], scene: Callable[[], Scene]
) -> None:
    """Calls, looks and settlements from within; each of them is counted, and no decision of the outer one is lost."""

    def once(nth: int) -> bool:
        here = scene()
        before = here.breaker.snapshot()
        met: Counter[str] = Counter()

        def call(do: Callable[[], object]) -> None:
            try:
                do()
            except CircuitOpenError:
                met["denied"] += 1
            except BrokenError:
                met["failed"] += 1
            else:
                met["not failed"] += 1

        def handle() -> None:
            met["handled"] += 1
            call(lambda: here.breaker.call(nothing))
            call(lambda: here.breaker.retry(sleep=here.clock.advance).call(nothing))
            assert adds_up(here.breaker)
            call(here.breaker.acquire().cancel if here.breaker.state is CLOSED else nothing)
            here.breaker.denial()

        with suppress(CircuitOpenError):
            Passage(nth, handle).run(lambda: work(here))
        s = here.breaker.snapshot()
        assert adds_up(s), nth
        assert s.live == 0, nth
        assert s.window_calls >= 0, nth
        assert s.window_calls <= s.succeeded + s.failed, nth
        assert s.denied - before.denied >= met["denied"], nth
        assert here.breaker._taken_in <= s.succeeded, nth
        in_working_order(here)
        return met["handled"] > 0

    assert everywhere(once) >= 4


VERDICTS: dict[str, Callable[[HeldPermit], None]] = {
    "succeeds": HeldPermit.succeed,
    "fails": lambda permit: permit.fail(BROKEN),
}


@pytest.mark.parametrize("inner", VERDICTS)
@pytest.mark.parametrize("outer", VERDICTS)
def test_of_two_trials_that_end_one_in_the_middle_of_the_other_none_is_lost(outer: str, inner: str) -> None:
    def once(nth: int) -> bool:
        clock = ManualClock()
        breaker = CircuitBreaker("x", replace(SETTINGS, half_open_permits=2), clock=clock)
        to_half_open(breaker, clock)
        one, other = breaker.acquire(), breaker.acquire()
        passage = Passage(nth, lambda: VERDICTS[inner](other))
        there_was = passage.run(lambda: VERDICTS[outer](one))
        if not there_was:
            VERDICTS[inner](other)
        s = breaker.snapshot()
        assert adds_up(s)
        assert s.live == 0
        assert s.state is (CLOSED if outer == inner == "succeeds" else OPEN), nth
        return there_was

    assert everywhere(once) > 10


def test_of_two_failures_one_in_the_middle_of_the_other_none_is_lost() -> None:
    def once(nth: int) -> bool:
        sink = RecordingSink()
        breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=3), clock=ManualClock(), listeners=[sink])
        one, two, three = (breaker.acquire() for _ in range(3))
        one.fail(BROKEN)
        there_was = Passage(nth, lambda: two.fail(BROKEN)).run(lambda: three.fail(BROKEN))
        if not there_was:
            two.fail(BROKEN)
        s = breaker.snapshot()
        assert (s.state, s.failures, s.open_count, s.window_failures, s.live) == (OPEN, 3, 1, 0, 0), nth
        assert sink.kinds() == ["circuit_opened"]
        return there_was

    assert everywhere(once) > 10


@pytest.mark.parametrize("scene", [Scene, lambda: Scene(failures=1)], ids=["clean", "before opening"])
def test_a_snapshot_is_one_moment_even_if_calls_are_made_in_the_middle_of_it(scene: Callable[[], Scene]) -> None:
    """Those calls are in it as a whole or not at all (A2)."""

    def once(nth: int) -> bool:
        here = scene()
        breaker, seen = here.breaker, []

        def handle() -> None:
            breaker.call(nothing)
            with suppress(BrokenError):
                breaker.call(broken)
            breaker.acquire().cancel()
            breaker.call(nothing)

        before = breaker.snapshot()
        there_was = Passage(nth, handle).run(lambda: seen.append(breaker.snapshot()))
        (s,) = seen
        assert (s.live, s.calls - before.calls) in ((0, 0), (0, 4)), nth
        assert s.window_calls == s.succeeded + s.failed
        assert s.window_failures == s.failed
        assert adds_up(s)
        return there_was

    assert everywhere(once) > 3


def test_events_are_told_in_order_even_if_others_commit_while_the_teller_packs_up() -> None:
    """What is committed in another thread between the last event and the end of telling is told by somebody."""

    def once(nth: int) -> bool:
        sink = RecordingSink()
        breaker = CircuitBreaker("x", SETTINGS, clock=ManualClock(), listeners=[sink])

        def somebody_else() -> None:
            other = threading.Thread(target=breaker._outbox.tell)
            with breaker._lock:
                breaker.disable() if breaker.state is CLOSED else breaker.reset()
            other.start()
            other.join()

        there_was = Passage(nth, somebody_else).run(breaker._tell)
        breaker._tell()
        assert [event.seq for event in sink.events] == list(range(1, breaker.snapshot().seq + 1))
        return there_was

    assert everywhere(once) >= 1


def test_a_trial_asked_for_in_the_middle_of_a_decision_is_refused_and_not_for_long() -> None:
    """It cannot be decided upon, and must not wait."""
    refused: list[CircuitOpenError] = []

    class Meddling(ManualClock):
        """Has somebody ask for a trial, once, in the middle of the next decision."""

        asker: CircuitBreaker | None = None

        def monotonic(self) -> float:
            if self.asker is not None and self.asker._deciding:
                asker, self.asker = self.asker, None
                with pytest.raises(CircuitOpenError, match="asked in the middle of a decision") as told:
                    asker.acquire()
                refused.append(told.value)
            return super().monotonic()

    clock = Meddling()
    breaker = CircuitBreaker("x", SETTINGS, clock=clock)
    to_half_open(breaker, clock)
    clock.asker = breaker
    in_time(lambda: breaker.acquire().succeed())
    assert [error.retry_after for error in refused] == [0.0]
    assert (breaker.state, breaker.snapshot().denied) == (CLOSED, 1)
