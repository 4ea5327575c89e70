"""The life of a circuit, told as values: every time is given, every step is compared."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from recloser.core import circuit as machine
from recloser.core.circuit import LONGEST_OPENING
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, Denied, Lease, Permit, Step
from recloser.core.events import CircuitClosed, CircuitExtended, CircuitHalfOpened, CircuitOpened, PermitExpired
from recloser.core.failure import Effect, Failure, FailureKind
from recloser.core.window import Slice
from tests.core.story import (
    BROKEN,
    CLOSED,
    HALF_OPEN,
    NAME,
    NO_FAULT,
    NO_KEY,
    OPEN,
    SETTINGS,
    TOLD_TO_WAIT,
    TWO_TRIALS,
    Story,
    failure,
    opened,
    trying,
)

# Closed


def test_a_healthy_call_changes_nothing_at_all() -> None:
    fresh = Circuit()
    step, permit = machine.admit(fresh, SETTINGS, NAME, 16.0)
    assert permit == Permit(generation=0, number=0)
    assert step == Step(fresh, ())
    assert step.circuit is fresh
    assert machine.succeed(fresh, SETTINGS, permit, NAME, 17.0).circuit is fresh


def test_below_the_threshold_failures_are_counted_and_nothing_is_told() -> None:
    story = Story()
    permit = story.admit(15.0)
    assert story.fail(permit, 15.0) == Circuit(failures=1, last_kind=FailureKind.SERVER_ERROR)
    assert story.events == []


def test_a_success_ends_the_row_of_failures() -> None:
    story = Story()
    story.fail(story.admit(15.0), 15.0)
    assert story.succeed(story.admit(15.5), 15.5) == Circuit(failures=0, last_kind=FailureKind.SERVER_ERROR)
    assert story.fail(story.admit(16.0), 16.0).state is CLOSED


def test_the_threshold_opens_and_says_everything_about_it() -> None:
    story = Story()
    story.fail(story.admit(15.0), 15.0)
    assert story.fail(story.admit(15.0), 16.0) == Circuit(
        state=OPEN,
        generation=1,
        seq=1,
        failures=2,
        last_kind=FailureKind.SERVER_ERROR,
        opened_at=16.0,
        open_until=26.0,
        openings=1,
        cooldown=10.0,
        reason="server_error: internal error",
    )
    assert story.events == [
        CircuitOpened(
            subject=NAME,
            seq=1,
            failure="server_error",
            failures=2,
            retry_after=10.0,
            authoritative=False,
            reason="server_error: internal error",
        )
    ]


def test_threshold_0_never_opens_by_counting() -> None:
    story = Story(replace(SETTINGS, failure_threshold=0))
    for _ in range(100):
        story.fail(story.admit(16.0), 16.0)
    assert (story.circuit.state, story.circuit.failures) == (CLOSED, 100)
    assert story.fail(story.admit(16.0), 16.0, TOLD_TO_WAIT).state is OPEN


def test_what_is_nobodys_fault_is_not_counted() -> None:
    story = Story()
    story.fail(story.admit(15.0), 15.0)
    before = story.circuit
    assert story.fail(story.admit(16.0), 16.0, NO_FAULT) is before
    assert story.give_back(story.admit(16.0)) is before


def test_a_failure_without_words_gives_its_kind_as_the_reason() -> None:
    assert opened(what=failure()).circuit.reason == "server_error"


# Open


def test_while_open_nobody_passes_and_everybody_learns_how_long() -> None:
    story = opened()
    assert story.refused(16.0) == Denied(OPEN, 10.0, "server_error: internal error", FailureKind.SERVER_ERROR)
    assert story.refused(25.75) == Denied(OPEN, 0.25, "server_error: internal error", FailureKind.SERVER_ERROR)
    assert story.events == []


def test_at_the_very_end_of_the_cooldown_one_call_may_try() -> None:
    story = opened()
    before = story.circuit
    assert machine.denial(before, SETTINGS, 26.0) is None
    assert story.admit(26.0) == Permit(generation=2, number=1)
    assert story.circuit == replace(
        before,
        state=HALF_OPEN,
        generation=2,
        seq=2,
        open_until=None,
        permits=1,
        leases=(Lease(1, 26.0, 126.0),),
    )
    assert story.events == [CircuitHalfOpened(subject=NAME, seq=2, open_for=10.0)]


def test_nobody_asks_and_time_alone_changes_nothing() -> None:
    story = opened()
    before = story.circuit
    machine.denial(before, SETTINGS, 1e9)
    assert story.circuit is before


@pytest.mark.parametrize(
    "late", [lambda s, p: s.succeed(p, 17.0), lambda s, p: s.fail(p, 17.0), lambda s, p: s.give_back(p)]
)
def test_a_late_result_is_no_verdict_on_an_open_circuit(late: Callable[[Story, Permit], Circuit]) -> None:
    story = Story()
    slow = story.admit(14.0)
    story.fail(story.admit(15.0), 15.0)
    story.fail(story.admit(16.0), 16.0)
    before = story.circuit
    assert late(story, slow) is before
    assert len(story.events) == 1


def test_a_success_from_before_the_opening_does_not_end_todays_row_of_failures() -> None:
    story = Story()
    ancient = story.admit(14.0)
    story.fail(story.admit(15.0), 15.0)
    story.fail(story.admit(16.0), 16.0)
    story.succeed(story.admit(26.0), 27.0)
    before = story.fail(story.admit(28.0), 28.0)
    assert story.succeed(ancient, 29.0) is before
    assert story.fail(story.admit(30.0), 30.0).state is OPEN


def test_late_failures_do_not_extend_the_cooldown() -> None:
    """Else a row of slow failures would keep it open for ever."""
    story = Story()
    slow = [story.admit(14.0) for _ in range(50)]
    story.fail(story.admit(15.0), 15.0)
    story.fail(story.admit(16.0), 16.0)
    for number, permit in enumerate(slow):
        story.fail(permit, 16.0 + number, failure(Effect.OPENS, FailureKind.RESOURCES, retry_after=120.0))
    assert story.circuit.open_until == 26.0


# The server's word


def test_the_servers_word_is_used_verbatim() -> None:
    story = Story(replace(SETTINGS, jitter=0.5))
    story.fail(story.admit(16.0), 16.0, TOLD_TO_WAIT, rand=0.99)
    circuit = story.circuit
    assert (circuit.opened_at, circuit.open_until, circuit.openings) == (16.0, 3616.0, 0)
    assert story.events == [
        CircuitOpened(
            subject=NAME,
            seq=1,
            failure="quota",
            failures=1,
            retry_after=3600.0,
            authoritative=True,
            reason="quota: 5 h limit",
        )
    ]


def test_no_server_closes_a_circuit_for_longer_than_eight_days() -> None:
    story = opened(what=replace(TOLD_TO_WAIT, retry_after=LONGEST_OPENING + 1))
    assert story.circuit.open_until == 15.0 + 8 * 86400


@pytest.mark.parametrize("absurd", [math.nan, math.inf, -math.inf, -1.0])
def test_an_absurd_word_counts_as_none(absurd: float) -> None:
    story = Story()
    story.fail(story.admit(16.0), 16.0, replace(TOLD_TO_WAIT, retry_after=absurd))
    assert (story.circuit.open_until, story.circuit.openings) == (26.0, 1)
    (event,) = story.events
    assert isinstance(event, CircuitOpened)
    assert (event.retry_after, event.authoritative) == (10.0, False)


def test_a_server_that_says_now_is_believed() -> None:
    story = opened(what=replace(TOLD_TO_WAIT, retry_after=0.0))
    assert story.circuit.open_until == 15.0
    assert story.admit(15.0).generation == 2


def test_opening_at_once_without_a_time_takes_the_estimated_cooldown() -> None:
    story = opened(what=failure(Effect.OPENS, FailureKind.QUOTA))
    assert (story.circuit.open_until, story.circuit.openings) == (25.0, 1)


@pytest.mark.parametrize(("hint", "until", "told"), [(3.0, 26.0, False), (25.0, 41.0, True), (10.0, 26.0, True)])
def test_a_hint_of_a_failure_that_only_counts_is_the_least_wait(hint: float, until: float, *, told: bool) -> None:
    story = Story()
    overloaded = failure(kind=FailureKind.OVERLOADED, retry_after=hint, authoritative=True)
    story.fail(story.admit(15.0), 15.0, overloaded)
    story.fail(story.admit(16.0), 16.0, overloaded)
    assert (story.circuit.open_until, story.circuit.openings) == (until, 1)
    (event,) = story.events
    assert isinstance(event, CircuitOpened)
    assert event.authoritative is told


def test_a_later_reset_from_the_server_extends_and_an_earlier_one_does_not() -> None:
    story = Story()
    late, later, latest = story.admit(14.0), story.admit(14.0), story.admit(14.0)
    story.fail(story.admit(15.0), 15.0)
    story.fail(story.admit(16.0), 16.0)
    before = story.circuit
    assert story.fail(late, 17.0, replace(TOLD_TO_WAIT, retry_after=7200.0)) == replace(
        before, open_until=7217.0, last_kind=FailureKind.QUOTA, reason="quota: 5 h limit"
    )
    extended = story.circuit
    assert story.fail(later, 18.0, replace(TOLD_TO_WAIT, retry_after=60.0)) is extended
    assert story.fail(latest, 18.0, replace(TOLD_TO_WAIT, retry_after=7199.0)) is extended, "the same moment"
    assert len(story.events) == 1


@pytest.mark.parametrize(
    "what",
    [
        replace(TOLD_TO_WAIT, authoritative=False),
        replace(TOLD_TO_WAIT, effect=Effect.COUNTS),
        replace(TOLD_TO_WAIT, retry_after=None),
        replace(TOLD_TO_WAIT, retry_after=math.inf),
    ],
)
def test_only_a_servers_own_reset_extends(what: Failure) -> None:
    story = Story()
    late = story.admit(14.0)
    story.fail(story.admit(15.0), 15.0)
    story.fail(story.admit(16.0), 16.0)
    before = story.circuit
    assert story.fail(late, 17.0, what) is before


@pytest.mark.parametrize("how", ["half_open", "forced", "closed"])
def test_a_late_reset_extends_nothing_but_an_open_circuit(how: str) -> None:
    story = Story()
    late = story.admit(14.0)
    story.fail(story.admit(15.0), 15.0)
    story.fail(story.admit(16.0), 16.0)
    if how == "forced":
        story.force_open(17.0, 60.0)
    else:
        trial = story.admit(26.0)
        if how == "closed":
            story.succeed(trial, 27.0)
    before = story.circuit
    assert story.fail(late, 28.0, TOLD_TO_WAIT) is before


def test_what_needs_proof_is_closed_by_no_time() -> None:
    story = Story()
    story.fail(story.admit(16.0), 16.0, NO_KEY)
    assert story.circuit.open_until == math.inf
    assert story.refused(1e12) == Denied(OPEN, None, "auth", FailureKind.AUTH)
    (event,) = story.events
    assert isinstance(event, CircuitOpened)
    assert event.retry_after is None
    assert story.reset(17.0).state is CLOSED


def test_proof_is_needed_even_where_the_server_gave_a_time() -> None:
    story = opened(what=replace(NO_KEY, retry_after=5.0, authoritative=True))
    assert story.circuit.open_until == math.inf


# Half-open


def test_only_one_may_try_at_a_time() -> None:
    story, _ = trying()
    assert story.refused(26.0) == Denied(HALF_OPEN, 10.0, "server_error: internal error", FailureKind.SERVER_ERROR)


def test_nobody_is_told_to_wait_longer_than_the_lease_has_left() -> None:
    story, _ = trying()
    assert story.refused(120.0) == Denied(HALF_OPEN, 6.0, "server_error: internal error", FailureKind.SERVER_ERROR)


def test_a_trial_that_succeeds_closes() -> None:
    story, permit = trying()
    before = story.circuit
    assert story.succeed(permit, 27.0) == replace(
        before, state=CLOSED, generation=3, seq=3, failures=0, closed_at=27.0, leases=(), reason=""
    )
    assert story.events == [CircuitClosed(subject=NAME, seq=3, open_for=11.0)]


def test_a_trial_that_fails_opens_for_longer() -> None:
    story, permit = trying()
    before = story.circuit
    assert story.fail(permit, 27.0, failure(kind=FailureKind.TIMEOUT)) == replace(
        before,
        state=OPEN,
        generation=3,
        seq=3,
        failures=3,
        last_kind=FailureKind.TIMEOUT,
        opened_at=27.0,
        open_until=47.0,
        openings=2,
        cooldown=20.0,
        leases=(),
        reason="timeout",
    )
    assert story.events == [
        CircuitOpened(
            subject=NAME, seq=3, failure="timeout", failures=3, retry_after=20.0, authoritative=False, reason="timeout"
        )
    ]


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_trial_without_a_verdict_is_free_again_at_once(*, cancelled: bool) -> None:
    story, permit = trying()
    before = story.circuit
    returned = story.give_back(permit) if cancelled else story.fail(permit, 26.0, NO_FAULT)
    assert returned == replace(before, leases=())
    assert story.events == []
    assert story.admit(26.0) == Permit(generation=2, number=2)


def test_a_silent_trial_is_taken_back_at_its_deadline() -> None:
    story, _ = trying()
    story.refused(125.99)
    assert story.admit(126.0) == Permit(generation=2, number=2)
    assert story.circuit.leases == (Lease(2, 126.0, 226.0),)
    assert story.events == [PermitExpired(subject=NAME, seq=3, held_for=100.0)]
    assert story.circuit.seq == 3


@pytest.mark.parametrize(
    "late", [lambda s, p: s.succeed(p, 127.0), lambda s, p: s.fail(p, 127.0), lambda s, p: s.give_back(p)]
)
def test_who_comes_after_his_lease_was_taken_back_decides_nothing(late: Callable[[Story, Permit], Circuit]) -> None:
    story, expired = trying()
    story.admit(126.0)
    before = story.circuit
    assert late(story, expired) is before


def test_who_comes_after_his_deadline_but_before_anybody_else_still_counts() -> None:
    story, permit = trying()
    assert story.succeed(permit, 200.0).state is CLOSED


@pytest.mark.parametrize(
    "late", [lambda s, p: s.succeed(p, 27.0), lambda s, p: s.fail(p, 27.0), lambda s, p: s.give_back(p)]
)
def test_a_result_from_before_the_opening_neither_closes_nor_reopens_nor_frees(
    late: Callable[[Story, Permit], Circuit],
) -> None:
    story = Story()
    ancient = story.admit(14.0)
    story.fail(story.admit(15.0), 15.0)
    story.fail(story.admit(16.0), 16.0)
    story.admit(26.0)
    before = story.circuit
    assert late(story, ancient) is before
    story.refused(27.0)


def test_the_trial_of_an_earlier_half_open_does_not_free_the_trial_of_this_one() -> None:
    story, first = trying(TWO_TRIALS)
    second = story.admit(26.0)
    story.fail(first, 27.0)
    third = story.admit(47.0)
    before = story.circuit
    assert (second.generation, third.generation) == (2, 4)
    for late in (story.succeed(second, 48.0), story.fail(second, 48.0), story.give_back(second)):
        assert late is before


def test_with_two_permits_two_may_try_and_two_must_succeed() -> None:
    story, first = trying(TWO_TRIALS)
    second = story.admit(27.0)
    story.refused(27.0)
    after_one = story.succeed(first, 28.0)
    assert (after_one.state, after_one.successes, after_one.leases) == (HALF_OPEN, 1, (Lease(2, 27.0, 127.0),))
    story.refused(28.0)
    closed = story.succeed(second, 29.0)
    assert (closed.state, closed.successes, closed.leases) == (CLOSED, 0, ())


def test_with_two_permits_one_failure_opens_although_the_other_succeeded() -> None:
    story, first = trying(TWO_TRIALS)
    second = story.admit(26.0)
    story.succeed(first, 27.0)
    reopened = story.fail(second, 27.0)
    assert (reopened.state, reopened.successes) == (OPEN, 0)


def test_with_two_permits_each_lease_runs_out_by_itself() -> None:
    story, _ = trying(TWO_TRIALS)
    second = story.admit(50.0)
    third = story.admit(126.0)
    assert story.circuit.leases == (Lease(2, 50.0, 150.0), Lease(3, 126.0, 226.0))
    story.succeed(second, 127.0)
    assert story.succeed(third, 127.0).state is CLOSED


def test_two_leases_that_ran_out_are_told_one_by_one() -> None:
    story, _ = trying(TWO_TRIALS)
    story.admit(50.0)
    story.admit(500.0)
    assert story.events == [
        PermitExpired(subject=NAME, seq=3, held_for=474.0),
        PermitExpired(subject=NAME, seq=4, held_for=450.0),
    ]


def test_fewer_permits_than_have_succeeded_already_wedge_nothing() -> None:
    """The settings were reloaded in the middle of half-open."""
    story, first = trying(replace(SETTINGS, half_open_permits=3))
    story.succeed(first, 27.0)
    story.settings = SETTINGS
    last = story.admit(28.0)
    story.refused(28.0)
    assert story.succeed(last, 29.0).state is CLOSED


