"""Listeners and classifiers: what they do, or fail to do, never changes an admission."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.breaker.in_the_middle import in_time
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    to_half_open,
)

from recloser.breaker import Breakers, CircuitBreaker
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.events import Event
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.testing import ManualClock, RecordingSink, in_threads


def broken() -> None:
    raise BrokenError


# In order


def test_events_are_told_in_the_order_of_the_commits(
    breaker: CircuitBreaker, clock: ManualClock, sink: RecordingSink
) -> None:
    fail(breaker, 2)
    clock.advance(COOLDOWN)
    breaker.acquire().fail(BROKEN)
    clock.advance(2 * COOLDOWN)
    breaker.acquire().succeed()
    breaker.force_open(5.0)
    breaker.disable()
    breaker.reset()
    assert sink.kinds() == [
        "circuit_opened", "circuit_half_opened", "circuit_opened", "circuit_half_opened", "circuit_closed",
        "circuit_forced", "circuit_forced", "circuit_forced",
    ]  # fmt: skip
    assert [event.seq for event in sink.events] == list(range(1, 9))
    assert {event.subject for event in sink.events} == {"search"}


@pytest.mark.parametrize("threads", [8, 32])
def test_events_of_many_threads_arrive_whole_and_in_order(clock: ManualClock, threads: int) -> None:
    heard: list[int] = []
    together = threading.Barrier(threads)
    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[lambda event: heard.append(event.seq)])

    def toggle() -> None:
        together.wait(30)
        for _ in range(800 // threads):
            breaker.force_open(1.0)
            breaker.reset()

    in_threads(toggle, threads)
    assert heard == list(range(1, breaker.snapshot().seq + 1))
    assert len(heard) > 800


def test_whoever_listens_hears_in_the_end_where_the_circuit_stands(clock: ManualClock) -> None:
    """E2, in threads that open and close it; the last event says the last state."""
    sink, together = RecordingSink(), threading.Barrier(8)
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=1, cooldown=1e-9), clock=clock, listeners=[sink])

    def work() -> None:
        together.wait(30)
        for number in range(60):
            clock.advance(1.0)
            try:
                permit = breaker.acquire()
            except CircuitOpenError:
                continue
            permit.fail(BROKEN) if number % 3 else permit.succeed()

    in_threads(work, 8)
    state_after = {"circuit_opened": OPEN, "circuit_half_opened": HALF_OPEN, "circuit_closed": CLOSED}
    assert [event.seq for event in sink.events] == list(range(1, breaker.snapshot().seq + 1))
    assert state_after[sink.kinds()[-1]] is breaker.state
    assert sink.kinds().count("circuit_opened") == breaker.snapshot().open_count > 3


def test_a_healthy_call_is_told_to_nobody(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    for _ in range(100):
        breaker.call(int)
    fail(breaker)
    breaker.call(int)
    assert sink.events == []


def test_somebody_may_begin_to_listen_later(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    later = RecordingSink()
    breaker.force_open()
    breaker.listen(later)
    breaker.reset()
    assert (len(sink.events), [event.seq for event in later.events]) == (2, [2])


def test_whoever_listens_to_a_registry_hears_of_all_its_breakers(clock: ManualClock) -> None:
    tools, later = Breakers(SETTINGS, clock=clock), RecordingSink()
    before = tools["before"]
    tools.listen(later)
    for breaker in (before, tools["after"]):
        fail(breaker, 2)
    assert [(event.subject, event.seq) for event in later.events] == [("before", 1), ("after", 1)]


# Calling back in


def test_a_listener_may_use_the_breaker_and_hears_what_it_causes_afterwards(clock: ManualClock) -> None:
    heard: list[str] = []

    def meddling(event: Event) -> None:
        heard.append(f"{event.kind} while {mine.state}")
        if event.kind == "circuit_opened":
            mine.reset()
            mine.call(int)
            mine.snapshot()
            heard.append("meddled")

    mine = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[meddling])
    in_time(lambda: fail(mine, 2))
    assert heard == ["circuit_opened while open", "meddled", "circuit_forced while closed"]
    assert adds_up(mine)


def test_two_breakers_whose_listeners_call_each_other_do_not_wait_for_each_other(clock: ManualClock) -> None:
    """As in a cascade; from two threads, which with a lock held would each wait for the other for ever."""
    together = threading.Barrier(2)
    breakers: list[CircuitBreaker] = []

    def other_way(number: int) -> Callable[[Event], None]:
        def look(_event: Event) -> None:
            breakers[1 - number].snapshot()
            breakers[1 - number].denial()

        return look

    breakers += [CircuitBreaker(f"{n}", SETTINGS, clock=clock, listeners=[other_way(n)]) for n in range(2)]
    mine = iter(breakers)

    def work() -> None:
        breaker = next(mine)
        together.wait(30)
        for _ in range(300):
            breaker.force_open(1.0)
            breaker.reset()

    in_time(lambda: in_threads(work, 2))
    assert [breaker.snapshot().seq for breaker in breakers] == [600, 600]


# Slow ones


@pytest.mark.parametrize("by", ["hand", "failure"])
def test_a_slow_listener_holds_up_no_other_caller_and_hears_everything_in_order(clock: ManualClock, by: str) -> None:
    entered, leave = threading.Event(), threading.Event()
    heard: list[int] = []

    def slow(event: Event) -> None:
        heard.append(event.seq)
        entered.set()
        assert leave.wait(30)

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[slow])
    opener = threading.Thread(target=lambda: breaker.force_open(5.0) if by == "hand" else fail(breaker, 2))
    opener.start()
    assert entered.wait(30)
    try:

        def meanwhile() -> None:  # all these return although the listener is still at its first event
            breaker.reset()
            breaker.call(int)
            breaker.snapshot()
            fail(breaker, 2)
            clock.advance(COOLDOWN)
            breaker.acquire().succeed()

        in_time(meanwhile)
        assert (breaker.snapshot().seq, heard) == (5, [1])
    finally:
        leave.set()
    opener.join()
    assert heard == [1, 2, 3, 4, 5]


# Those that raise


class OddError(Exception):
    """What nobody has heard of."""


def reported(caplog: pytest.LogCaptureFixture, what: str) -> int:
    """How often it was said that such a one raised; nothing else may have been said."""
    said = [record for record in caplog.records if record.name == "recloser"]
    assert all(record.levelno == logging.ERROR and record.exc_info for record in said)
    assert all(record.getMessage().startswith(f"the {what} ") for record in said)
    return len(said)


def test_a_listener_that_raises_harms_nobody_and_is_reported_once(
    clock: ManualClock, sink: RecordingSink, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(event: Event) -> None:
        raise OddError(event.kind)

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[raising, sink])
    fail(breaker, 2)
    clock.advance(COOLDOWN)
    breaker.acquire().succeed()
    assert sink.kinds() == ["circuit_opened", "circuit_half_opened", "circuit_closed"]
    assert breaker.state is CLOSED
    assert reported(caplog, "listener") == 1
    assert "OddError: circuit_opened" in caplog.text


def test_each_of_many_listeners_that_raise_is_reported_even_where_one_has_the_place_of_another(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that are gone leave their address in memory to the next ones, and must not leave their silence."""
    for _ in range(50):

        def raising(_event: Event) -> None:
            raise OddError

        breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[raising])
        fail(breaker, 2)
        breaker.reset()
        del breaker, raising
    assert reported(caplog, "listener") == 50


def test_a_listener_that_raises_in_many_threads_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    def raising(_event: Event) -> None:
        raise OddError

    tools, together, names = Breakers(SETTINGS, listeners=[raising]), threading.Barrier(16), iter(range(16))

    def work() -> None:
        breaker = tools[f"tool-{next(names)}"]
        together.wait(30)
        breaker.force_open()

    in_threads(work, 16)
    assert reported(caplog, "listener") == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_listener_passes_through_and_leaves_no_permit_behind(
    clock: ManualClock, sink: RecordingSink, interrupt: type[BaseException]
) -> None:
    def interrupted(event: Event) -> None:
        if event.kind == "circuit_half_opened":
            raise interrupt

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[sink, interrupted])
    to_half_open(breaker, clock)
    with pytest.raises(interrupt):
        breaker.acquire()
    assert (breaker.snapshot().live, breaker.snapshot().cancelled) == (0, 1)
    breaker.acquire().succeed()
    assert sink.kinds()[-1] == "circuit_closed"


# Classifiers

TOO_MANY = Failure(
    kind=FailureKind.RATE_LIMITED, scope=Scope.MODEL, effect=Effect.OPENS, retry_after=77.0, authoritative=True
)


class RefusedError(Exception):
    """A guarded function's own word for an argument that it does not take."""


@pytest.mark.parametrize(
    "rules",
    [
        {RefusedError: FailureKind.INVALID_REQUEST, BrokenError: TOO_MANY},
        lambda error: FailureKind.INVALID_REQUEST if isinstance(error, RefusedError) else TOO_MANY,
    ],
    ids=["mapping", "callable"],
)
def test_the_users_rules_say_what_an_exception_means(clock: ManualClock, rules: Any) -> None:
    breaker = CircuitBreaker("x", SETTINGS, clock=clock, classify=rules)

    def refuse() -> None:
        raise RefusedError

    for _ in range(5):
        with pytest.raises(RefusedError):
            breaker.call(refuse)
    assert (breaker.state, breaker.snapshot().ignored) == (CLOSED, 5)
    with pytest.raises(BrokenError):
        breaker.call(broken)
    s = breaker.snapshot()
    assert (s.state, s.retry_after, s.authoritative, s.last_kind) == (OPEN, 77.0, True, FailureKind.RATE_LIMITED)


@pytest.mark.parametrize("wrong", [7, "search", {7: FailureKind.AUTH}, {ValueError: "auth"}])
def test_rules_that_are_none_are_refused_at_construction(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="classify"):
        CircuitBreaker("x", classify=wrong)


@pytest.mark.parametrize("answer", ["raises", "nonsense"])
@pytest.mark.parametrize("where", [CLOSED, HALF_OPEN])
def test_a_classifier_that_raises_changes_nothing_and_is_reported_once(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, answer: str, where: str
) -> None:
    """The failure means what it would mean without the rules."""

    def rules(_error: BaseException) -> Any:
        if answer == "raises":
            raise OddError
        return "server_error"

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, classify=rules)
    if where == HALF_OPEN:
        to_half_open(breaker, clock)
    for _ in range(2):
        with pytest.raises((BrokenError, CircuitOpenError)):
            breaker.call(broken)
    s = breaker.snapshot()
    assert (s.state, s.live, s.last_kind) == (OPEN, 0, FailureKind.EXECUTION_ERROR)
    assert reported(caplog, "classifier") == 1


@pytest.mark.parametrize("where", [CLOSED, HALF_OPEN])
def test_an_error_that_cannot_be_looked_at_is_a_failure_all_the_same(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """As where no file descriptor is left: the caller gets its own error, and the circuit opens."""

    def unable(_error: BaseException, *, wall_now: float) -> Failure:
        raise OSError(24, "too many open files")

    monkeypatch.setattr("recloser.breaker.breaker.classify_exception", unable)
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=1), clock=clock)
    if where == HALF_OPEN:
        to_half_open(breaker, clock)
    with pytest.raises(BrokenError):
        breaker.call(broken)
    assert (breaker.state, breaker.snapshot().live) == (OPEN, 0)


def test_an_interrupt_in_a_classifier_passes_through_and_the_trial_is_free_again(clock: ManualClock) -> None:
    def rules(_error: BaseException) -> None:
        raise KeyboardInterrupt

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, classify=rules)
    to_half_open(breaker, clock)
    with pytest.raises(KeyboardInterrupt):
        breaker.call(broken)
    s = breaker.snapshot()
    assert (s.state, s.live, s.cancelled) == (HALF_OPEN, 0, 1)
    breaker.acquire().succeed()


def test_a_classifier_may_use_the_breaker(clock: ManualClock) -> None:
    def rules(_error: BaseException) -> None:
        breaker.snapshot()
        breaker.call(int)

    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=3), clock=clock, classify=rules)

    def once() -> None:
        with pytest.raises(BrokenError):
            breaker.call(broken)

    in_time(once)
    assert (breaker.snapshot().failed, breaker.snapshot().succeeded, breaker.snapshot().failures) == (1, 1, 1)
