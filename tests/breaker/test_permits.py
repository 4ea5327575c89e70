"""Permits and what is counted of them; looking, which changes nothing; and the hand on the switch."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from tests.breaker.hand_driven import drive
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    LEASE,
    OBSERVE_ONLY,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    to_half_open,
)

from recloser.breaker import CircuitBreaker, HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.testing import ManualClock, RecordingSink

NO_KEY = Failure(kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True)
BACK_IN_AN_HOUR = replace(BROKEN, effect=Effect.OPENS, retry_after=3600.0, authoritative=True)
SETTLEMENTS: list[Callable[[HeldPermit], None]] = [
    HeldPermit.succeed,
    lambda held: held.fail(BROKEN),
    HeldPermit.ignore,
    HeldPermit.cancel,
]
HOW = ["succeeded", "failed", "ignored", "cancelled"]


def nothing() -> None:
    pass


async def nothing_async() -> None:
    pass


# Permits


def test_a_breaker_needs_no_more_than_a_name() -> None:
    breaker = CircuitBreaker("search")
    breaker.acquire().succeed()
    assert breaker.settings == CircuitSettings()
    assert breaker.snapshot().succeeded == 1


@pytest.mark.parametrize("name", ["", None, 7, b"search"])
def test_a_name_that_is_none_is_refused_at_construction(name: object) -> None:
    with pytest.raises(ConfigError, match="must be a string that is not empty"):
        CircuitBreaker(name)  # type: ignore[arg-type]


def test_refused_says_who_and_why_and_for_how_long(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, 2)
    clock.advance(4.0)
    with pytest.raises(
        CircuitOpenError, match=r"circuit 'search' is open \(server_error\); try again in 6.0 s"
    ) as told:
        breaker.acquire()
    error = told.value
    assert (error.name, error.state, error.retry_after, error.reason) == ("search", OPEN, 6.0, "server_error")


def test_refused_for_good_says_that_time_does_not_help(breaker: CircuitBreaker) -> None:
    breaker.force_open(reason="maintenance")
    with pytest.raises(CircuitOpenError, match=r"is forced_open \(maintenance\); until it is reset") as told:
        breaker.acquire()
    assert told.value.retry_after is None


@pytest.mark.parametrize("where", [CLOSED, HALF_OPEN])
@pytest.mark.parametrize("how", range(4), ids=HOW)
def test_only_the_first_settlement_counts(breaker: CircuitBreaker, clock: ManualClock, where: str, how: int) -> None:
    if where == HALF_OPEN:
        to_half_open(breaker, clock)
    permit = breaker.acquire()
    SETTLEMENTS[how](permit)
    before = breaker.snapshot()
    for settle in SETTLEMENTS:
        settle(permit)
    assert permit.settled
    assert breaker.snapshot() == before
    assert getattr(before, HOW[how]) - (2 if where == HALF_OPEN and HOW[how] == "failed" else 0) == 1


@pytest.mark.parametrize("how", range(4), ids=HOW)
def test_a_permit_settled_inside_its_block_is_not_settled_again_by_the_blocks_end(
    breaker: CircuitBreaker, how: int
) -> None:
    with breaker.acquire() as permit:
        SETTLEMENTS[how](permit)
        before = breaker.snapshot()
    assert breaker.snapshot() == before
    permit = breaker.acquire()
    with pytest.raises(BrokenError), permit:
        settled_and_broken(permit, SETTLEMENTS[how])
    assert getattr(breaker.snapshot(), HOW[how]) == 2
    assert breaker.snapshot().admitted == 2


def settled_and_broken(permit: HeldPermit, settle: Callable[[HeldPermit], None]) -> None:
    settle(permit)
    raise BrokenError


def test_a_permit_is_a_block_that_settles_itself(breaker: CircuitBreaker) -> None:
    with breaker.acquire():
        pass
    with pytest.raises(BrokenError), breaker.acquire():
        raise BrokenError
    with pytest.raises(KeyboardInterrupt), breaker.acquire():
        raise KeyboardInterrupt
    s = breaker.snapshot()
    assert (s.succeeded, s.failed, s.cancelled, s.live) == (1, 1, 1, 0)


def test_what_failed_may_be_told_as_an_exception_a_kind_or_a_failure(breaker: CircuitBreaker) -> None:
    breaker.acquire().fail(PermissionError("not yours"))
    breaker.acquire().fail(FailureKind.INVALID_REQUEST)
    breaker.acquire().fail(FailureKind.CANCELLED)
    breaker.acquire().fail(TimeoutError())
    breaker.acquire().fail(FailureKind.UNREACHABLE)
    s = breaker.snapshot()
    assert (s.ignored, s.cancelled, s.failed, s.state, s.last_kind) == (2, 1, 2, OPEN, FailureKind.UNREACHABLE)


def test_only_half_opens_permits_are_trials(breaker: CircuitBreaker, clock: ManualClock) -> None:
    first = breaker.acquire()
    assert not first.trial
    first.succeed()
    to_half_open(breaker, clock)
    assert breaker.acquire().trial


def test_a_permit_says_whose_it_is_and_whether_it_is_settled(breaker: CircuitBreaker) -> None:
    permit = breaker.acquire()
    assert repr(permit) == "<HeldPermit of 'search'>"
    permit.succeed()
    assert repr(permit) == "<HeldPermit of 'search', settled>"


def test_as_many_trials_as_the_settings_say_run_at_once_and_all_must_succeed(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, half_open_permits=3), clock=clock)
    to_half_open(breaker, clock)
    trials = [breaker.acquire() for _ in range(3)]
    with pytest.raises(CircuitOpenError) as told:
        breaker.acquire()
    assert (told.value.state, told.value.retry_after) == (HALF_OPEN, COOLDOWN)
    for trial in trials:
        assert breaker.state is HALF_OPEN
        trial.succeed()
    assert breaker.state is CLOSED


# Counts


def test_the_snapshot_of_a_whole_life(breaker: CircuitBreaker, clock: ManualClock) -> None:
    slow, slower = breaker.acquire(), breaker.acquire()
    breaker.acquire().succeed()
    breaker.acquire().ignore()
    breaker.acquire().cancel()
    fail(breaker, 2)
    clock.advance(3.0)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    slow.succeed()
    s = breaker.snapshot()
    assert (s.name, s.state, s.generation, s.seq, s.failures, s.threshold) == ("search", OPEN, 1, 1, 2, 2)
    assert (s.opened_at, s.open_until, s.retry_after, s.cooldown, s.open_count) == (1000.0, 1010.0, 7.0, 10.0, 1)
    assert (s.calls, s.admitted, s.denied, s.last_denied_at) == (8, 7, 1, 1003.0)
    assert (s.succeeded, s.failed, s.ignored, s.cancelled, s.expired, s.stale, s.live) == (2, 2, 1, 1, 0, 1, 1)
    assert (s.last_kind, s.reason, s.refusing, s.authoritative) == (
        FailureKind.SERVER_ERROR, "server_error", True, False,
    )  # fmt: skip
    slower.cancel()
    assert adds_up(breaker)


def test_the_window_tells_of_calls_failures_and_slow_calls(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=0, slow_call=5.0), clock=clock)
    breaker.acquire().succeed()
    slow = breaker.acquire()
    clock.advance(5.0)
    slow.succeed()
    fail(breaker)
    s = breaker.snapshot()
    assert (s.window_calls, s.window_failures, s.window_slow) == (3, 1, 1)
    clock.advance(SETTINGS.window + 6.0)
    s = breaker.snapshot()
    assert (s.window_calls, s.succeeded) == (0, 2), "the window forgets, the counts do not"


@pytest.mark.parametrize("form", ["call", "decorated", "call_async", "decorated coroutine", "permit"])
def test_the_window_holds_no_more_calls_than_it_is_to(clock: ManualClock, form: str) -> None:
    """Whatever needs no decision is counted in good time."""
    breaker = CircuitBreaker("x", replace(SETTINGS, window_calls=50), clock=clock)
    forms: dict[str, Callable[[], object]] = {
        "call": lambda: breaker.call(nothing),
        "decorated": breaker(nothing),
        "call_async": lambda: drive(breaker.call_async(nothing_async)),
        "decorated coroutine": lambda: drive(breaker(nothing_async)()),
        "permit": lambda: breaker.acquire().succeed(),
    }
    seen = set()
    for _ in range(300):
        forms[form]()
        seen.add(breaker.snapshot().window_calls)
    assert set(range(1, 46)) <= seen <= set(range(51))


def test_the_window_does_not_tell_of_what_was_hours_ago(breaker: CircuitBreaker, clock: ManualClock) -> None:
    for _ in range(1000):
        breaker.call(int)
    clock.advance(3600.0)
    s = breaker.snapshot()
    assert (s.window_calls, s.succeeded) == (0, 1000)


def test_a_probe_restores_what_time_does_not(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    breaker.acquire().fail(NO_KEY)
    breaker.restore()
    breaker.acquire().succeed()
    assert sink.kinds() == ["circuit_opened", "circuit_closed"]


def test_counts_survive_a_reset(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.reset()
    s = breaker.snapshot()
    assert (s.state, s.failures, s.failed, s.open_count) == (CLOSED, 0, 2, 1)


def test_two_openings_at_one_moment_are_two(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.reset()
    fail(breaker, 2)
    breaker.force_open(5.0)
    assert breaker.snapshot().open_count == 3


def test_an_opening_that_a_server_extends_is_still_one(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    late = breaker.acquire()
    fail(breaker, 2)
    late.fail(BACK_IN_AN_HOUR)
    s = breaker.snapshot()
    assert (s.retry_after, s.open_count, s.stale, s.authoritative) == (3600.0, 1, 1, True)
    assert sink.kinds() == ["circuit_opened", "circuit_extended"]


def test_an_expired_permit_is_counted_as_such_and_not_again_when_its_owner_comes_back(
    breaker: CircuitBreaker, clock: ManualClock, sink: RecordingSink
) -> None:
    to_half_open(breaker, clock)
    silent = breaker.acquire()
    clock.advance(LEASE)
    next_one = breaker.acquire()
    s = breaker.snapshot()
    assert (s.expired, s.live, s.stale) == (1, 1, 0)
    assert sink.kinds() == ["circuit_opened", "circuit_half_opened", "permit_expired"]
    silent.succeed()
    s = breaker.snapshot()
    assert (s.state, s.succeeded, s.expired, s.stale, s.live) == (HALF_OPEN, 0, 1, 1, 1)
    next_one.succeed()
    assert breaker.state is CLOSED
    assert adds_up(breaker)


@pytest.mark.parametrize("seed", range(20))
def test_the_counts_add_up_whatever_happens(seed: int) -> None:
    rng, clock = random.Random(seed), ManualClock()
    settings = replace(SETTINGS, half_open_permits=2, throttle=2.0 if seed % 2 else 0.0)
    breaker = CircuitBreaker("x", settings, clock=clock, rng=rng)
    held: list[HeldPermit] = []
    waits: list[float | None] = []
    hands: list[Callable[[], None]] = [
        breaker.reset,
        breaker.disable,
        breaker.observe_only,
        breaker.release,
        partial(breaker.force_open, 5.0),
    ]
    for _ in range(400):
        clock.advance(rng.choice([0.0, 1.0, 11.0, 101.0]))
        if rng.random() < 0.03:
            rng.choice(hands)()
        if held and rng.random() < 0.5:
            rng.choice(SETTLEMENTS)(held.pop(rng.randrange(len(held))))
        else:
            try:
                held.append(breaker.acquire())
            except CircuitOpenError as refused:
                waits.append(refused.retry_after)
        assert adds_up(breaker)
    assert waits
    assert all(wait is None or 0.0 <= wait <= settings.cooldown_max for wait in waits), "A3"
    for permit in held:
        permit.cancel()
    assert adds_up(breaker)
    assert breaker.snapshot().live == 0


def test_a_breaker_may_go_on_from_a_circuit_that_was_kept(clock: ManualClock) -> None:
    first = CircuitBreaker("x", SETTINGS, clock=clock)
    fail(first, 2)
    second = CircuitBreaker("x", SETTINGS, clock=clock, circuit=first.circuit)
    with pytest.raises(CircuitOpenError):
        second.acquire()


# Looking


@pytest.mark.parametrize("lead_to", [fail, partial(fail, times=2)], ids=[CLOSED, OPEN])
def test_looking_changes_nothing(
    breaker: CircuitBreaker, clock: ManualClock, sink: RecordingSink, lead_to: Callable[[CircuitBreaker], None]
) -> None:
    """Not even when the cooldown is over: a dashboard is no caller (I5)."""
    lead_to(breaker)
    clock.advance(1000.0)
    before, told, snapshot = breaker.circuit, sink.kinds(), breaker.snapshot()
    for _ in range(3):
        assert breaker.state is before.state
        assert breaker.denial() is None
        assert repr(breaker) == f"<CircuitBreaker 'search' {before.state}>"
        assert breaker.forgettable
        assert breaker.snapshot() == snapshot
    assert breaker.circuit is before
    assert sink.kinds() == told


def test_denial_says_what_acquire_would_say(breaker: CircuitBreaker) -> None:
    assert breaker.denial() is None
    fail(breaker, 2)
    denied = breaker.denial()
    assert denied is not None
    assert (denied.state, denied.retry_after, denied.kind) == (OPEN, COOLDOWN, FailureKind.SERVER_ERROR)
    with pytest.raises(CircuitOpenError) as told:
        breaker.acquire()
    assert (told.value.retry_after, told.value.reason) == (denied.retry_after, denied.reason)


def test_asking_whether_it_would_refuse_takes_no_trial(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """A health page that asks a hundred times leaves the trial to a caller who needs it."""
    to_half_open(breaker, clock)
    assert [breaker.denial() for _ in range(100)] == [None] * 100
    breaker.acquire().succeed()
    assert breaker.state is CLOSED


# By hand


def test_forced_open_for_a_time_is_tried_when_it_is_over(breaker: CircuitBreaker, clock: ManualClock) -> None:
    breaker.force_open(60.0, reason="deploy")
    clock.advance(59.0)
    with pytest.raises(CircuitOpenError, match=r"forced_open \(deploy\); try again in 1.0 s"):
        breaker.acquire()
    clock.advance(1.0)
    breaker.acquire().succeed()
    assert breaker.state is CLOSED


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_forced_open_for_no_time_at_all_is_refused_and_leaves_the_breaker_in_working_order(
    breaker: CircuitBreaker, wrong: float
) -> None:
    with pytest.raises(ConfigError, match="of at least 0"):
        breaker.force_open(wrong)
    fail(breaker, 2)
    assert breaker.state is OPEN


def test_released_it_is_tried_at_once(breaker: CircuitBreaker) -> None:
    breaker.force_open()
    breaker.release()
    assert breaker.state is HALF_OPEN
    breaker.acquire().succeed()
    assert breaker.state is CLOSED


def test_disabled_it_lets_everything_pass_and_counts_no_failure(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    breaker.disable()
    fail(breaker, 50)
    s = breaker.snapshot()
    assert (s.state, s.failures, s.failed, s.window_calls) == (DISABLED, 0, 50, 0)
    breaker.release()
    fail(breaker, 2)
    assert sink.kinds() == ["circuit_forced", "circuit_forced", "circuit_opened"]


def test_observed_only_it_tells_when_it_would_have_opened(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    breaker.observe_only()
    fail(breaker, 5)
    assert breaker.state is OBSERVE_ONLY
    assert sink.kinds() == ["circuit_forced", "circuit_would_open", "circuit_would_open"]
    assert breaker.snapshot().open_count == 0


def test_a_hand_that_changes_nothing_is_not_told(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    breaker.reset()
    breaker.release()
    breaker.restore()
    assert sink.events == []


def test_what_was_out_when_a_hand_came_is_no_verdict_on_what_it_left(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    to_half_open(breaker, clock)
    trial = breaker.acquire()
    breaker.force_open()
    trial.succeed()
    assert breaker.state is FORCED_OPEN
    assert breaker.snapshot().stale == 1
