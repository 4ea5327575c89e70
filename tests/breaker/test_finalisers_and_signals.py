"""Finalisers and signal handlers that use the breaker or the registry, whenever they come."""

import gc
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from tests.breaker.in_the_middle import Passage, everywhere, in_time
from tests.breaker.scenes import (
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    names_in,
    to_half_open,
)

from recloser.breaker import Breakers, CircuitBreaker, HeldPermit
from recloser.core.errors import CircuitOpenError
from recloser.testing import ManualClock, in_threads


def nothing() -> None:
    pass


def broken() -> None:
    raise BrokenError


# Finalisers


@pytest.mark.parametrize("where", ["clock", "random numbers", "listener", "classifier"])
def test_a_generator_that_is_finalised_in_the_middle_gives_its_trial_back(where: str) -> None:
    """Its permit goes back while a decision of the same breaker is under way, or just before, or just after."""
    abandoned: list[Iterator[int]] = []

    def come_by(at: str) -> None:
        if at == where:
            abandoned.clear()

    class Clock(ManualClock):
        def monotonic(self) -> float:
            come_by("clock")
            return super().monotonic()

    class Numbers(random.Random):
        def random(self) -> float:
            come_by("random numbers")
            return super().random()

    def classify(_error: BaseException) -> None:
        come_by("classifier")

    def look() -> None:
        clock = Clock()
        breaker = CircuitBreaker(
            "x", replace(SETTINGS, half_open_permits=3), clock=clock, rng=Numbers(7), classify=classify,
            listeners=[lambda _event: come_by("listener")],
        )  # fmt: skip
        to_half_open(breaker, clock)

        @breaker
        def numbers() -> Iterator[int]:
            yield 1
            yield 2

        held = breaker.acquire()
        for _ in range(2):
            abandoned.append(numbers())
            with suppress(CircuitOpenError):  # if the first one is gone by then
                next(abandoned[-1])
        held.fail(BrokenError())
        s = breaker.snapshot()
        assert (s.state, s.failed, s.cancelled, s.live) == (OPEN, 3, 2, 0)
        assert adds_up(s)

    in_time(look)


def test_garbage_that_holds_permits_may_be_collected_at_any_allocation(clock: ManualClock) -> None:
    """The collector runs at nearly every allocation here, also in the middle of decisions."""
    breaker = CircuitBreaker("x", replace(SETTINGS, cooldown=1.0, cooldown_factor=1.0, permit_lease=1e9), clock=clock)

    @breaker
    def numbers() -> Iterator[object]:
        yield 1
        yield 2

    class Knot:
        """Only the collector gets rid of it."""

        def __init__(self) -> None:
            self.me, self.iteration = self, numbers()

    def work() -> None:
        begun = 0
        while begun < 15 or breaker.snapshot().open_count < 4:
            with suppress(CircuitOpenError):
                next(Knot().iteration)
                begun += 1
            with suppress(BrokenError, CircuitOpenError):
                breaker.call(broken)
            clock.advance(1.0)
            gc.collect()  # the old ones, which are looked at rarely
        while breaker.snapshot().live:  # it may be that another thread is just collecting
            gc.collect()
        assert adds_up(breaker)
        assert breaker.snapshot().cancelled == begun

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        in_time(work)
    finally:
        gc.set_threshold(*before)


def test_two_threads_whose_finalisers_cross_do_not_wait_for_each_other_for_ever() -> None:
    """Each is deciding in one circuit when it drops a stream of the other one."""
    together = threading.Barrier(2)

    class Crossing(ManualClock):
        """In the middle of the next decision, waits for the other thread and then drops what is left with it."""

        left: Iterator[int] | None = None

        def monotonic(self) -> float:
            if self.left is not None and self.breaker._deciding:
                left, self.left = self.left, None
                together.wait(30)
                del left
            return super().monotonic()

        def __init__(self, name: str) -> None:
            super().__init__()
            self.breaker = CircuitBreaker(name, SETTINGS, clock=self)

    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    clocks = [Crossing("one"), Crossing("other")]
    for mine, its in (clocks, clocks[::-1]):
        left = its.breaker(numbers)()
        next(left)
        mine.left = left
        del left
    turns = iter(clocks)
    in_time(lambda: in_threads(lambda: fail(next(turns).breaker), 2))
    for clock in clocks:
        s = clock.breaker.snapshot()
        assert (s.failed, s.cancelled, s.live) == (1, 1, 0)


# Signal handlers

STORM = """
import signal, time
from recloser import CircuitBreaker, CircuitOpenError, CircuitSettings, Breakers

tools = Breakers(max_size=5)
settings = CircuitSettings(failure_threshold=1, cooldown=1e-5, cooldown_factor=1.0, permit_lease=3600.0)
breaker = CircuitBreaker("x", settings)
met = {"succeeded": 0, "failed": 0, "denied": 0, "handled": 0}

def call(fn):
    try:
        breaker.call(fn)
    except CircuitOpenError:
        met["denied"] += 1
    except ZeroDivisionError:
        met["failed"] += 1
    else:
        met["succeeded"] += 1

depth = 0  # a handler that takes long is interrupted by the next one

def handle(*_):
    global depth
    depth += 1
    met["handled"] += 1
    call(int)
    tools[f"handler-{met['handled']}"].call(int)
    assert 1 <= len(tools.snapshot().circuits) <= 6
    s = breaker.snapshot()
    assert s.calls == s.admitted + s.denied and 0 <= s.live <= depth, s
    depth -= 1

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
until = time.monotonic() + 1.0
turn = 0
try:
    while time.monotonic() < until:
        turn += 1
        call(int if turn % 7 < 4 else lambda: 1 / 0)
        tools[f"tool-{turn}"].call(int)
finally:
    signal.setitimer(signal.ITIMER_REAL, 0, 0)
s = breaker.snapshot()
assert s.live == 0, s
assert (s.succeeded, s.failed, s.denied) == (met["succeeded"], met["failed"], met["denied"]), (s, met)
assert s.open_count > 10 and met["handled"] > 10, (s, met)
"""


def test_a_storm_of_signals_whose_handler_calls_the_breaker_deadlocks_nothing_and_every_call_is_counted() -> None:
    ran = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# The registry


def new_names(tools: Breakers) -> None:
    for number in range(3):
        tools[f"tool-{number}"].call(nothing)


@pytest.mark.parametrize("look", [new_names, Breakers.snapshot, lambda tools: tools.should_pause(1)])
def test_whoever_comes_by_may_use_the_registry_at_any_place(look: Callable[[Breakers], object]) -> None:
    def once(nth: int) -> bool:
        tools = Breakers(SETTINGS, max_size=3, clock=ManualClock())
        for number in range(3):
            tools[f"old-{number}"].call(nothing)
        seen: list[CircuitBreaker] = []
        held: list[HeldPermit] = []

        def handle() -> None:
            seen.append(tools["tool-1"])
            held.append(seen[0].acquire())  # so that it is not forgotten meanwhile
            tools["handler"].call(nothing)
            tools["another"].call(nothing)
            tools.snapshot()

        there_was = Passage(nth, handle).run(lambda: look(tools))
        if seen:
            assert tools["tool-1"] is seen[0], "there is one breaker a name"
        for number in range(4):
            tools[f"later-{number}"].call(nothing)
        assert len(names_in(tools)) == 3
        return there_was

    assert everywhere(once) > 2


@pytest.mark.parametrize("look", [new_names, Breakers.snapshot])
def test_an_interrupted_registry_stays_in_working_order(look: Callable[[Breakers], object]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def once(nth: int) -> bool:
        tools = Breakers(SETTINGS, max_size=3, clock=ManualClock())
        there_was = True
        with suppress(KeyboardInterrupt):
            there_was = Passage(nth, interrupt).run(lambda: look(tools))
        from_another_thread = threading.Thread(target=lambda: new_names(tools), daemon=True)
        from_another_thread.start()
        from_another_thread.join(10)
        assert not from_another_thread.is_alive()
        assert {"tool-0", "tool-1", "tool-2"} <= names_in(tools)
        return there_was

    assert everywhere(once) > 2
