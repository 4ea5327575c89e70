"""Faults that circuit breakers are known for, each as the scenario that shows it elsewhere, and does not here.

The letters are those of the breaker reference: MO a coordinator's breaker, V a tool runner's, M an LLM backend's;
libraries are named. What several threads are needed for stands in test_threads.py.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.breaker.hand_driven import cancel_at, pause
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    HALF_OPEN,
    LEASE,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    to_half_open,
)

from recloser.breaker import Breakers, CircuitBreaker, HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.failure import FailureKind
from recloser.testing import ManualClock, RecordingSink


class AnswerError(Exception):
    """An answer over HTTP that is none, as clients raise it."""

    def __init__(self, status_code: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code
        self.headers = headers or {}


def raises(error: BaseException) -> Callable[[], None]:
    """A function that raises this."""

    def fn() -> None:
        raise error

    return fn


def is_refused(breaker: CircuitBreaker) -> bool:
    try:
        breaker.acquire().cancel()
    except CircuitOpenError:
        return True
    return False


# Too much is let through


@pytest.mark.parametrize("cooldown", [30.0, 60.0])
def test_of_a_hundred_tasks_after_the_cooldown_one_reaches_the_upstream(clock: ManualClock, cooldown: float) -> None:
    """MO1, V1, circuitbreaker, aiobreaker, purgatory, hyx: all hundred did."""
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=1, cooldown=cooldown), clock=clock)
    reached: list[int] = []

    async def upstream(number: int) -> None:
        reached.append(number)
        await asyncio.sleep(0)

    async def main() -> list[BaseException | None]:
        calls = (breaker.call_async(upstream, number) for number in range(100))
        return await asyncio.gather(*calls, return_exceptions=True)

    fail(breaker)
    clock.advance(cooldown)
    ended = asyncio.run(main())
    assert reached == [0]
    assert sum(isinstance(error, CircuitOpenError) for error in ended) == 99
    assert breaker.state is CLOSED


def test_a_trial_whose_owner_has_died_makes_room_for_one_other_and_not_for_everybody(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """M8: everybody was refused for an hour, and then everybody was let in. V7, interlock: for ever."""
    to_half_open(breaker, clock)
    silent = breaker.acquire()  # and never a word from it again
    clock.advance(LEASE - 0.1)
    assert is_refused(breaker)
    clock.advance(0.1)
    second = breaker.acquire()
    assert all(is_refused(breaker) for _ in range(50))
    second.succeed()
    assert breaker.state is CLOSED
    assert not silent.settled


def test_a_refused_caller_does_not_keep_a_dead_owners_trial_alive(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """interlock: each refusal prolonged the lease."""
    to_half_open(breaker, clock)
    silent = breaker.acquire()
    for _ in range(99):
        clock.advance(1.0)
        assert is_refused(breaker)
    clock.advance(1.0)
    assert not is_refused(breaker)
    assert not silent.settled


def test_an_old_failure_does_not_free_a_trial_that_is_running(clock: ManualClock) -> None:
    """M4: the second trial was admitted beside the first."""
    breaker = CircuitBreaker("x", SETTINGS, clock=clock)
    old = breaker.acquire()
    to_half_open(breaker, clock)
    trial = breaker.acquire()
    old.fail(BROKEN)
    assert breaker.state is HALF_OPEN
    assert is_refused(breaker)
    clock.advance(COOLDOWN)
    assert is_refused(breaker)
    trial.succeed()
    assert breaker.state is CLOSED


def test_one_success_of_a_burst_does_not_outweigh_the_failures(clock: ManualClock) -> None:
    """MO4: the first answer decided, and four failures after it did not."""
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=5, half_open_permits=5), clock=clock)
    to_half_open(breaker, clock)
    burst = [breaker.acquire() for _ in range(5)]
    burst[0].succeed()
    assert breaker.state is HALF_OPEN
    for permit in burst[1:]:
        permit.fail(BROKEN)
    assert breaker.state is OPEN


def test_an_upstream_that_cannot_be_reached_opens_the_circuit(clock: ManualClock) -> None:
    """M5: connection errors, timeouts and 504 never counted; two hundred calls went out."""
    for error in (ConnectionRefusedError(), TimeoutError(), AnswerError(504), AnswerError(408), OSError(101, "down")):
        breaker, reached = CircuitBreaker("x", clock=clock), 0
        for _ in range(200):
            with suppress(type(error), CircuitOpenError):
                reached += 1
                breaker.call(raises(error))
        assert breaker.snapshot().failed == 5
        assert breaker.state is OPEN


# Too much is kept out


def test_late_failures_do_not_prolong_an_opening(
    breaker: CircuitBreaker, clock: ManualClock, sink: RecordingSink
) -> None:
    """MO3, V3: a failure every 29 s of 30 kept it open for ever, each counted as a transition."""
    late = [breaker.acquire() for _ in range(20)]
    fail(breaker, 2)
    for permit in late:
        clock.advance(COOLDOWN / 20)
        permit.fail(BROKEN)
    assert not is_refused(breaker)
    assert sink.kinds() == ["circuit_opened", "circuit_half_opened"]
    assert breaker.snapshot().open_count == 1


def test_a_cancelled_trial_does_not_leave_the_circuit_half_open_for_ever(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """MO10, M21, pybreaker's and Polly's cousins."""
    to_half_open(breaker, clock)
    with pytest.raises(asyncio.CancelledError):
        cancel_at(breaker.call_async(pause), 1)
    assert not is_refused(breaker)


@pytest.mark.parametrize("error", [AnswerError(400), PermissionError(), FileNotFoundError(), GeneratorExit()])
def test_an_error_that_says_nothing_leaves_half_open_open_to_the_next_trial(
    breaker: CircuitBreaker, clock: ManualClock, error: BaseException
) -> None:
    """M6: it opened again. M21: it was stuck until a restart. pybreaker, Polly: it closed."""
    to_half_open(breaker, clock)
    for _ in range(3):
        with pytest.raises(type(error)):
            breaker.call(raises(error))
        assert breaker.state is HALF_OPEN
    assert breaker.snapshot().failures == 2
    breaker.acquire().succeed()
    assert breaker.state is CLOSED


def test_a_stream_that_its_consumer_closes_gives_its_trial_back(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """M21"""

    @breaker
    def stream() -> Iterator[int]:
        yield 1
        yield 2

    to_half_open(breaker, clock)
    for _item in stream():
        break
    assert (breaker.state, is_refused(breaker)) == (HALF_OPEN, False)


def test_a_health_page_that_asks_takes_nobodys_trial(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """M17: the page asked, got the only trial, and never called. MO7: asking alone changed the state."""
    to_half_open(breaker, clock)
    before = breaker.circuit
    for _ in range(5):
        breaker.denial()
        breaker.snapshot()
        assert (breaker.state, repr(breaker)) == (OPEN, "<CircuitBreaker 'search' open>")
    assert breaker.circuit is before
    assert [is_refused(breaker) for _ in range(5)] == [False] * 5


def test_a_trial_that_meets_a_short_limit_and_is_tried_again_does_not_refuse_itself(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """M1: half-open, then 429 with `retry-after: 0`, then 200: it was refused by its own probe."""
    answers: list[Exception | None] = [AnswerError(429, {"retry-after": "0"}), None]

    def upstream() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    to_half_open(breaker, clock)
    breaker.retry(sleep=clock.advance).call(upstream)
    assert answers == []
    assert (breaker.state, breaker.snapshot().live) == (CLOSED, 0)


def test_a_pause_does_not_wait_for_a_call_that_the_pause_prevents(clock: ManualClock) -> None:
    """V5: open one tool, let its time pass, call nothing: the pause never ended."""
    tools = Breakers(SETTINGS, clock=clock)
    fail(tools["shell"], 2)
    assert tools.should_pause(1)
    clock.advance(COOLDOWN)
    assert not tools.should_pause(1)


@pytest.mark.parametrize("told", ["nan", "inf", "1e400", "-5", "9" * 400, "soon", ""])
def test_a_nonsensical_hint_closes_nothing_for_ever(breaker: CircuitBreaker, clock: ManualClock, told: str) -> None:
    """M7: `nan` stopped everything, `inf` opened until infinity, `-5` slept for a negative time."""
    limited = AnswerError(429, {"retry-after": told})
    for _ in range(2):
        with pytest.raises(AnswerError):
            breaker.call(raises(limited))
    retry_after = breaker.snapshot().retry_after
    assert retry_after == COOLDOWN, "as for a limit without a hint"


# Verdicts that are none


def test_a_late_success_does_not_close_an_open_circuit_or_touch_what_it_knows(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """MO5, V4: it closed, and erased when and for how long it had opened."""
    late = breaker.acquire()
    fail(breaker, 2)
    before = breaker.circuit
    clock.advance(1.0)
    late.succeed()
    assert breaker.circuit is before
    assert breaker.snapshot().failures == 2


def test_a_success_from_before_an_outage_forgets_no_failure_after_it(breaker: CircuitBreaker) -> None:
    """MO5: it set the count to nought."""
    old = breaker.acquire()
    fail(breaker, 2)
    breaker.reset()
    fail(breaker)
    old.succeed()
    s = breaker.snapshot()
    assert (s.failures, s.window_calls, s.stale) == (1, 1, 1)
    fail(breaker)
    assert breaker.state is OPEN


def test_a_late_success_does_not_end_a_servers_limit(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """M2: an older call that succeeded ended a stop of an hour."""
    older = breaker.acquire()
    with pytest.raises(AnswerError):
        breaker.call(raises(AnswerError(429, {"retry-after": "3600"})))
    older.succeed()
    assert (breaker.state, breaker.snapshot().retry_after) == (OPEN, 3600.0)


def test_a_late_failure_does_not_open_a_circuit_that_is_being_tried(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    """MO5: the trial's own answer was not waited for."""
    late = breaker.acquire()
    to_half_open(breaker, clock)
    trial = breaker.acquire()
    late.fail(BROKEN)
    assert breaker.state is HALF_OPEN
    trial.succeed()
    assert breaker.state is CLOSED


def test_of_ten_failing_trials_growth_is_one_step_and_a_late_success_closes_nothing(clock: ManualClock) -> None:
    """V6: one of ten doubled the time, and one late success closed."""
    breaker = CircuitBreaker("x", replace(SETTINGS, half_open_permits=11), clock=clock)
    to_half_open(breaker, clock)
    trials = [breaker.acquire() for _ in range(11)]
    for permit in trials[:10]:
        permit.fail(BROKEN)
    assert (breaker.state, breaker.snapshot().cooldown) == (OPEN, 2 * COOLDOWN)
    trials[10].succeed()
    assert (breaker.state, breaker.snapshot().open_count) == (OPEN, 2)


def test_three_interrupts_do_not_open_and_are_not_replaced(breaker: CircuitBreaker) -> None:
    """pybreaker: the third Ctrl-C became the breaker's own error. purgatory: one cancelled call opened."""
    for interrupt in (KeyboardInterrupt(), KeyboardInterrupt(), KeyboardInterrupt(), asyncio.CancelledError()):
        with pytest.raises(type(interrupt)) as raised:
            breaker.call(raises(interrupt))
        assert raised.value is interrupt
    s = breaker.snapshot()
    assert (s.state, s.failures, s.cancelled) == (CLOSED, 0, 4)


def test_a_cancelled_call_does_not_forget_the_failures_before_it(clock: ManualClock) -> None:
    """hyx: two failures and a cancellation were none."""
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=3), clock=clock)
    fail(breaker, 2)
    with pytest.raises(asyncio.CancelledError):
        cancel_at(breaker.call_async(pause), 1)
    assert breaker.snapshot().failures == 2
    fail(breaker)
    assert breaker.state is OPEN


def test_a_plain_function_that_is_awaited_is_a_mistake_and_not_an_outage(breaker: CircuitBreaker) -> None:
    """MO6: it ran three times, each counted as a failure by the TypeError of `await`."""
    ran: list[int] = []
    with pytest.raises(TypeError, match="nothing to await"):
        asyncio.run(breaker.call_async(ran.append, 1))  # type: ignore[arg-type]
    assert ran == [1], "once"
    assert (breaker.state, breaker.snapshot().failed) == (CLOSED, 0)


def test_bad_arguments_do_not_open_if_they_are_called_so(clock: ManualClock) -> None:
    """MO12: every exception did."""
    breaker = CircuitBreaker("x", SETTINGS, classify={ValueError: FailureKind.INVALID_REQUEST}, clock=clock)
    for _ in range(20):
        with pytest.raises(ValueError, match="invalid literal"):
            breaker.call(int, "seven")
    assert (breaker.state, breaker.snapshot().ignored) == (CLOSED, 20)


def test_a_classifier_that_raises_does_not_leave_a_trial_behind(clock: ManualClock) -> None:
    """Polly: a predicate that threw left it half-open for ever."""

    def rules(_error: BaseException) -> None:
        raise LookupError

    breaker = CircuitBreaker("x", SETTINGS, classify=rules, clock=clock)
    to_half_open(breaker, clock)
    with pytest.raises(BrokenError):
        breaker.call(raises(BrokenError()))
    assert (breaker.state, breaker.snapshot().live) == (OPEN, 0)


# Times


def test_the_first_opening_lasts_as_long_as_the_settings_say(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """V2: the setting was never read. V9: what was shown and what was done were two times."""
    fail(breaker, 2)
    retry_after = breaker.snapshot().retry_after
    assert retry_after == COOLDOWN
    clock.advance(retry_after - 0.001)
    assert is_refused(breaker)
    clock.advance(0.001)
    assert breaker.snapshot().retry_after is None
    assert not is_refused(breaker)


def test_the_time_of_an_earlier_opening_is_not_left_over(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """M3: forced open for an hour, closed, forced open for a minute: it was open for the hour."""
    breaker.force_open(3600.0)
    breaker.reset()
    breaker.acquire().succeed()
    breaker.force_open(60.0)
    assert breaker.snapshot().retry_after == 60.0
    clock.advance(60.0)
    assert not is_refused(breaker)


def test_flapping_grows_the_cooldown(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """V8: fail, succeed, fail, succeed: it stayed at the minimum for ever."""
    cooldowns: list[float] = []
    for _ in range(6):
        fail(breaker, 2)
        cooldowns.append(breaker.snapshot().cooldown)
        clock.advance(cooldowns[-1])
        breaker.acquire().succeed()
    assert cooldowns == [COOLDOWN * 2**k for k in range(5)] + [SETTINGS.cooldown_max]


def test_a_time_zone_moves_no_reopening() -> None:
    """aiobreaker: with TZ=Asia/Tokyo there was no time of reopening."""
    program = (
        "from recloser import CircuitBreaker\n"
        "breaker = CircuitBreaker('x'); breaker.force_open(60.0)\n"
        "assert 59.0 < breaker.snapshot().retry_after <= 60.0"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "TZ": "Asia/Tokyo"}, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


# What is told


def test_a_reset_is_told_and_numbered_like_any_other_change(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    """MO9: it was not counted among the transitions."""
    fail(breaker, 2)
    breaker.reset()
    assert [(event.kind, event.seq) for event in sink.events] == [("circuit_opened", 1), ("circuit_forced", 2)]
    assert breaker.snapshot().generation == 2


def test_a_reset_forgets_no_history(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """V11: what was denied and opened was gone with it."""
    fail(breaker, 2)
    assert is_refused(breaker)
    breaker.reset()
    s = breaker.snapshot()
    assert (s.state, s.denied, s.last_denied_at, s.open_count, s.failed) == (CLOSED, 1, 1000.0, 1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_threshold": -1}, {"failure_threshold": 1.5}, {"failure_rate": 1.5}, {"cooldown": -5.0},
        {"cooldown": float("nan")}, {"cooldown": float("inf")}, {"permit_lease": 0.0}, {"half_open_permits": 0},
        {"jitter": 1.0}, {"cooldown_factor": 0.5}, {"cooldown": 400.0}, {"window": -1.0}, {"slow_rate": -0.1},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_work_are_refused_by_name(wrong: dict[str, Any]) -> None:
    """MO8: a threshold of -1 and a cooldown of -5 were taken."""
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        CircuitSettings(**wrong)


WALK = """
import random
from recloser import CircuitBreaker, CircuitOpenError, CircuitSettings, FailureKind
from recloser.core.circuit_state import TRANSITIONS
from recloser.testing import ManualClock

if __debug__: raise SystemExit("this is to run without asserts")
rng, clock, seen, held = random.Random(7), ManualClock(), set(), []
breaker = CircuitBreaker("x", CircuitSettings(failure_threshold=1, half_open_permits=2), clock=clock, rng=rng)
def take():
    try: held.append(breaker.acquire())
    except CircuitOpenError: pass
def settle(how, *what):
    if held: getattr(held.pop(rng.randrange(len(held))), how)(*what)
steps = [
    take, take, take, take, lambda: settle("succeed"), lambda: settle("fail", FailureKind.TIMEOUT),
    lambda: settle("fail", FailureKind.AUTH), lambda: settle("cancel"), lambda: clock.advance(rng.choice([1, 50, 700])),
    breaker.force_open, lambda: breaker.force_open(5.0), breaker.release, breaker.disable, breaker.observe_only,
    breaker.reset, breaker.restore,
]
for _ in range(20_000):
    before = breaker.state
    rng.choice(steps)()
    if breaker.state is not before: seen.add((before, breaker.state))
if not seen <= set(TRANSITIONS): raise SystemExit(f"not in the table: {seen - set(TRANSITIONS)}")
if len(seen) < 20: raise SystemExit(f"only {len(seen)} were made")
"""


def test_every_transition_is_in_the_table_also_where_nothing_asserts_it() -> None:
    """V10: invalid ones were caught in debug builds alone."""
    ran = subprocess.run([sys.executable, "-O", "-c", WALK], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


# The store


class DeadStore:
    """Nothing works."""

    def now(self) -> float:
        raise OSError("the store is gone")

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        raise OSError("the store is gone")

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        raise OSError("the store is gone")

    def close(self) -> None:
        raise OSError("the store is gone")


def test_with_the_store_down_no_answer_is_lost_and_the_circuit_still_opens(clock: ManualClock) -> None:
    """M9: healthy calls failed, and a paid answer was thrown away. pybreaker: it never opened."""
    sink = RecordingSink()
    breaker = CircuitBreaker("x", SETTINGS, store=DeadStore(), clock=clock, listeners=[sink])
    assert [breaker.call(lambda: "an answer") for _ in range(3)] == ["an answer"] * 3
    for _ in range(2):
        with pytest.raises(BrokenError):
            breaker.call(raises(BrokenError()))
    assert is_refused(breaker)
    assert "circuit_opened" in sink.kinds()
    assert sink.kinds().count("store_lost") == 1
    assert adds_up(breaker)


# The whole list of ways to settle, once more, for a trial that comes too late


@pytest.mark.parametrize(
    "settle", [HeldPermit.succeed, HeldPermit.cancel, HeldPermit.ignore], ids=lambda way: way.__name__
)
def test_a_trial_that_answers_after_its_lease_has_no_say(
    breaker: CircuitBreaker, clock: ManualClock, settle: Callable[[HeldPermit], None]
) -> None:
    to_half_open(breaker, clock)
    slow = breaker.acquire()
    clock.advance(LEASE)
    next_one = breaker.acquire()
    settle(slow)
    assert breaker.state is HALF_OPEN
    assert is_refused(breaker), "the next trial is running"
    next_one.fail(BROKEN)
    assert breaker.state is OPEN
