"""Clocks: which one counts, and what becomes of one that lies, stands still or raises."""

import logging
import math
from collections.abc import Callable

import pytest
from tests.breaker.scenes import CLOSED, COOLDOWN, OPEN, SETTINGS, BrokenError, adds_up, fail

from recloser.breaker import Breakers, CircuitBreaker, SystemClock
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import CircuitOpenError
from recloser.core.events import CircuitClosed
from recloser.core.failure import FailureKind
from recloser.testing import ManualClock, RecordingSink

DAY = 86_400.0


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_wall_clock_that_jumps_a_day_changes_nothing(
    breaker: CircuitBreaker, clock: ManualClock, jump: float
) -> None:
    """T1, MO2: elsewhere an hour back meant an hour more, and an hour forward an end at once."""
    fail(breaker, 2)
    before = breaker.snapshot()
    clock.jump_wall(jump)
    assert breaker.snapshot() == before
    clock.advance(COOLDOWN - 0.1)
    clock.jump_wall(jump)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    clock.advance(0.1)
    clock.jump_wall(-3 * jump)
    breaker.acquire().succeed()
    assert breaker.state is CLOSED


def test_a_moment_that_a_server_names_is_read_on_the_wall_clock_once(clock: ManualClock) -> None:
    class UsageLimitError(Exception):
        failure_kind = FailureKind.QUOTA
        headers = {"retry-after": "Fri, 25 Sep 2026 09:03:20 GMT"}  # noqa: RUF012 - as a library might have it

    clock.jump_wall(1_790_326_900.0 - clock.time())  # a hundred seconds before
    breaker = CircuitBreaker("x", SETTINGS, clock=clock)
    breaker.acquire().fail(UsageLimitError())
    assert breaker.snapshot().retry_after == 100.0
    clock.jump_wall(-DAY)
    assert breaker.snapshot().retry_after == 100.0


def test_the_machines_own_clocks_are_the_default() -> None:
    breaker = CircuitBreaker("x", CircuitSettings(failure_threshold=1, cooldown=COOLDOWN, jitter=0.0))
    assert isinstance(breaker.clock, SystemClock)
    fail(breaker)
    retry_after = breaker.snapshot().retry_after
    assert retry_after is not None
    assert COOLDOWN - 1.0 < retry_after <= COOLDOWN


class Faulty(ManualClock):
    """Gives the time until it breaks, and again when it is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[], float] | None = None

    def monotonic(self) -> float:
        return super().monotonic() if self.fault is None else self.fault()

    def time(self) -> float:
        return super().time() if self.fault is None else self.fault()


def raising() -> float:
    raise OSError("no time")


@pytest.mark.parametrize(
    "fault", [raising, lambda: math.nan, lambda: math.inf, lambda: -math.inf, lambda: "noon"],
    ids=["raises", "nan", "inf", "-inf", "a word"],
)  # fmt: skip
def test_a_clock_that_fails_stands_still_and_is_reported_once(
    fault: Callable[[], float], caplog: pytest.LogCaptureFixture
) -> None:
    clock, sink = Faulty(), RecordingSink()
    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[sink])
    fail(breaker, 2)
    clock.advance(COOLDOWN - 1.0)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    clock.fault = fault
    for _ in range(3):
        with pytest.raises(CircuitOpenError) as told:
            breaker.acquire()
        assert told.value.retry_after == 1.0, "as it was when it was last seen"
    breaker.reset()
    breaker.call(int)
    breaker.snapshot()
    fail(breaker, 2)
    assert breaker.state is OPEN
    clock.fault = None
    clock.advance(3600.0)
    breaker.acquire().succeed()
    assert breaker.state is CLOSED
    assert adds_up(breaker)
    said = [record for record in caplog.records if record.name == "recloser"]
    assert len(said) == 1
    assert said[0].levelno == logging.ERROR
    assert said[0].getMessage().startswith("the clock ")


def test_a_clock_that_goes_back_does_not_prolong_an_opening(clock: ManualClock) -> None:
    faulty = Faulty()
    breaker = CircuitBreaker("x", SETTINGS, clock=faulty)
    fail(breaker, 2)
    faulty.fault = lambda: 0.0
    assert breaker.snapshot().retry_after == COOLDOWN
    faulty.fault = None
    faulty.advance(COOLDOWN)
    breaker.acquire().succeed()


def test_a_clock_that_stands_still_admits_no_less_in_a_closed_circuit_and_no_more_in_an_open_one(
    breaker: CircuitBreaker,
) -> None:
    for _ in range(1000):
        breaker.call(int)
    fail(breaker, 2)
    for _ in range(1000):
        with pytest.raises(CircuitOpenError):
            breaker.call(int)
    s = breaker.snapshot()
    assert (s.succeeded, s.denied) == (1000, 1000)


def test_a_registry_whose_clock_fails_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    clock = Faulty()
    tools = Breakers(SETTINGS, clock=clock)
    fail(tools["shell"], 2)
    clock.fault = raising
    assert tools.snapshot().open == ("shell",)
    assert tools.should_pause(1)
    with pytest.raises(BrokenError):
        tools["search"].call(raise_broken)
    assert len(caplog.records) == 1


def raise_broken() -> None:
    raise BrokenError


# What the tests stand on


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    assert clock.monotonic() == 1000.0
    wall = clock.time()
    clock.advance(5.0)
    assert (clock.monotonic(), clock.time()) == (1005.0, wall + 5.0)
    clock.jump_wall(-DAY)
    assert (clock.monotonic(), clock.time()) == (1005.0, wall + 5.0 - DAY)
    with pytest.raises(ValueError, match="jump_wall"):
        clock.advance(-1.0)


def test_a_sink_remembers() -> None:
    sink = RecordingSink()
    closed = CircuitClosed(subject="x", seq=1, open_for=2.0)
    sink(closed)
    assert (sink.events, sink.kinds()) == ([closed], ["circuit_closed"])
