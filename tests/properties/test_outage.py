"""What an outage costs the other side, and how soon its end is seen: hours of it, in virtual time.

The bounds are L1 and L3 of the invariants: calls that reach a dead upstream are at most the threshold, those under way
when it trips, and one round of trials for each opening; after it has healed it is called again within the longest
cooldown.
"""

import asyncio
import contextlib
import math
import random
from collections import deque
from collections.abc import Callable

import pytest

from recloser.breaker import CircuitBreaker
from recloser.breaker.permit import HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState
from recloser.core.errors import CircuitOpenError
from recloser.testing import ManualClock, RecordingSink

HOUR = 3600
GROWING = CircuitSettings(failure_threshold=5, cooldown=5.0, cooldown_factor=2.0, cooldown_max=300.0, jitter=0.0)
FIXED = CircuitSettings(failure_threshold=5, cooldown=60.0, cooldown_factor=1.0, cooldown_max=60.0, jitter=0.0)
SPREAD = CircuitSettings(failure_threshold=5, cooldown=5.0, cooldown_factor=2.0, cooldown_max=300.0, jitter=0.1)


class Upstream:
    """A server that is dead until somebody heals it, and counts who called."""

    def __init__(self) -> None:
        self.calls = 0
        self.healed = False

    def __call__(self) -> str:
        self.calls += 1
        if not self.healed:
            raise ConnectionRefusedError
        return "well"

    async def asked(self) -> str:
        return self()


class Outage:
    """A caller who comes once a second, a breaker, and what is behind it."""

    def __init__(self, settings: CircuitSettings, seed: int = 0) -> None:
        self.clock = ManualClock()
        self.upstream = Upstream()
        self.events = RecordingSink()
        self.told_to_wait: list[float | None] = []
        self.breaker = CircuitBreaker(
            "search", settings, clock=self.clock, listeners=[self.events], rng=random.Random(seed)
        )

    def go_on(self, seconds: int, call: Callable[[], object] | None = None) -> None:
        for _ in range(seconds):
            try:
                self.breaker.call(self.upstream) if call is None else call()
            except ConnectionRefusedError:
                pass
            except CircuitOpenError as refused:
                self.told_to_wait.append(refused.retry_after)
            self.clock.advance(1.0)

    def rounds(self) -> int:
        return self.events.kinds().count("circuit_half_opened")


def rounds_in(seconds: int, settings: CircuitSettings) -> int:
    """How many cooldowns end within so many seconds of the first opening."""
    rounds, wait = 0, float(settings.cooldown)
    left = seconds - wait
    while left >= 0:
        rounds += 1
        wait = min(wait * settings.cooldown_factor, float(settings.cooldown_max))
        left -= wait
    return rounds


# What it costs


def test_an_hour_of_a_dead_upstream_costs_it_21_calls() -> None:
    outage = Outage(GROWING)
    outage.go_on(HOUR)
    assert (outage.upstream.calls, outage.rounds()) == (21, 16)
    seen = outage.breaker.snapshot()
    assert (seen.calls, seen.admitted, seen.failed, seen.denied, seen.live) == (3600, 21, 21, 3579, 0)
    assert seen.open_count == 17


def test_it_costs_coroutines_the_same() -> None:
    outage = Outage(GROWING)
    outage.go_on(HOUR, lambda: asyncio.run(outage.breaker.call_async(outage.upstream.asked)))
    assert (outage.upstream.calls, outage.rounds()) == (21, 16)


def test_a_cooldown_that_does_not_grow_costs_three_times_as_much() -> None:
    outage = Outage(FIXED)
    outage.go_on(HOUR)
    assert (outage.upstream.calls, outage.rounds()) == (64, 59)


@pytest.mark.parametrize(("settings", "rounds"), [(GROWING, 16), (FIXED, 60)])
def test_in_the_hour_after_the_trip_there_are_so_many_rounds(settings: CircuitSettings, rounds: int) -> None:
    outage = Outage(settings)
    outage.go_on(settings.failure_threshold)
    assert outage.breaker.state is CircuitState.OPEN
    outage.go_on(HOUR)
    assert outage.rounds() == rounds == rounds_in(HOUR, settings)


def test_a_day_of_it_costs_one_call_every_longest_cooldown() -> None:
    outage = Outage(GROWING)
    outage.go_on(24 * HOUR)
    assert outage.upstream.calls == 5 + rounds_in(24 * HOUR - 5, GROWING) == 5 + 292


def test_many_callers_at_once_cost_it_no_more_than_the_permits() -> None:
    """Seven callers a second, each of whose calls takes ten seconds."""
    settings = CircuitSettings(
        failure_threshold=3, half_open_permits=2, permit_lease=60.0, cooldown=5.0, cooldown_max=80.0, jitter=0.0
    )
    outage = Outage(settings)
    under_way: deque[tuple[int, HeldPermit]] = deque()
    calls = under_way_at_trip = 0
    for second in range(HOUR):
        while under_way and under_way[0][0] == second - 10:
            under_way.popleft()[1].fail(ConnectionRefusedError())
            if not under_way_at_trip and outage.breaker.state is CircuitState.OPEN:
                under_way_at_trip = len(under_way)
        for _ in range(7):
            with contextlib.suppress(CircuitOpenError):
                under_way.append((second, outage.breaker.acquire()))
                calls += 1
        outage.clock.advance(1.0)
    assert (under_way_at_trip, outage.rounds()) == (67, 42)
    assert calls == settings.failure_threshold + under_way_at_trip + settings.half_open_permits * outage.rounds()


def test_who_is_refused_is_told_to_wait_no_longer_than_the_longest_cooldown() -> None:
    outage = Outage(SPREAD)
    outage.go_on(HOUR)
    waits = [wait for wait in outage.told_to_wait if wait is not None]
    assert len(waits) == len(outage.told_to_wait) > 3500
    assert 0 < min(waits) < 1
    assert 300 < max(waits) <= 330


# How soon its end is seen


@pytest.mark.parametrize("settings", [GROWING, FIXED, SPREAD])
def test_whenever_it_heals_it_is_called_again_within_the_longest_cooldown(settings: CircuitSettings) -> None:
    longest = math.ceil(float(settings.cooldown_max) * (1 + settings.jitter))
    for healed_at in range(6, HOUR, 61):
        outage = Outage(settings, seed=healed_at)
        outage.go_on(healed_at)
        outage.upstream.healed = True
        before = outage.upstream.calls
        outage.go_on(longest + 1)
        assert outage.breaker.state is CircuitState.CLOSED, f"healed after {healed_at} s"
        assert outage.upstream.calls > before
        refused = len(outage.told_to_wait)
        outage.go_on(60)
        assert len(outage.told_to_wait) == refused


def test_a_short_outage_is_over_soon() -> None:
    """Waits grow with the outage: from its end on they are never much longer than it was."""
    for dead_for in range(6, 300, 7):
        outage = Outage(GROWING)
        outage.go_on(dead_for)
        outage.upstream.healed = True
        outage.go_on(dead_for + 5)
        assert outage.breaker.state is CircuitState.CLOSED
