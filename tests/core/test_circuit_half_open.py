"""Half-open: who may try, what a trial decides, and how permits come back that nobody settles."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.core.story import (
    CLOSED,
    HALF_OPEN,
    LATE,
    NAME,
    NO_FAULT,
    OPEN,
    SETTINGS,
    TWO_TRIALS,
    Story,
    failure,
    trying,
)

from recloser.core import circuit as machine
from recloser.core.circuit_state import Circuit, Denied, Lease, Permit, Step
from recloser.core.events import CircuitClosed, CircuitOpened, PermitExpired
from recloser.core.failure import FailureKind


def test_only_one_may_try_at_a_time() -> None:
    story, _ = trying()
    assert story.refused(26.0) == Denied(HALF_OPEN, 10.0, "server_error: internal error", FailureKind.SERVER_ERROR)


def test_nobody_is_told_to_wait_longer_than_the_lease_has_left() -> None:
    story, _ = trying()
    assert story.refused(120.0) == Denied(HALF_OPEN, 6.0, "server_error: internal error", FailureKind.SERVER_ERROR)


def test_with_several_out_the_first_lease_to_end_is_waited_for() -> None:
    story, _ = trying(TWO_TRIALS)
    story.admit(50.0)
    assert story.refused(125.0).retry_after == 1.0


def test_a_trial_that_succeeds_closes() -> None:
    story, permit = trying()
    before = story.circuit
    assert story.succeed(permit, 27.0) == replace(
        before,
        state=CLOSED,
        generation=3,
        seq=3,
        failures=0,
        closed_at=27.0,
        outage_began=None,
        failed_at=None,
        recovery=7.0,
        leases=(),
        reason="",
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
        failed_at=27.0,
        openings=2,
        cooldown=20.0,
        leases=(),
        reason="timeout",
    )
    assert story.events == [
        CircuitOpened(
            subject=NAME,
            seq=3,
            failure="timeout",
            failures=3,
            rule="trial",
            retry_after=20.0,
            authoritative=False,
            reason="timeout",
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


@pytest.mark.parametrize("late", LATE)
def test_who_comes_after_his_lease_was_taken_back_decides_nothing(
    late: Callable[[Story, Permit, float], Circuit],
) -> None:
    story, expired = trying()
    story.admit(126.0)
    before = story.circuit
    assert late(story, expired, 127.0) is before


@pytest.mark.parametrize("late", LATE)
def test_a_trial_is_settled_once(late: Callable[[Story, Permit, float], Circuit]) -> None:
    story, first = trying(replace(SETTINGS, half_open_permits=3))
    story.admit(26.0)
    before = story.succeed(first, 27.0)
    assert late(story, first, 28.0) is before


def test_who_comes_after_his_deadline_but_before_anybody_else_still_counts() -> None:
    story, permit = trying()
    assert story.succeed(permit, 200.0).state is CLOSED


@pytest.mark.parametrize("late", LATE)
def test_a_result_from_before_the_opening_neither_closes_nor_reopens_nor_frees(
    late: Callable[[Story, Permit, float], Circuit],
) -> None:
    story = Story()
    ancient = story.admit(14.0)
    story.bad(16.0, 2)
    story.admit(26.0)
    before = story.circuit
    assert late(story, ancient, 27.0) is before
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


def test_a_silent_owner_wedges_nothing_in_any_half_open() -> None:
    """Every trial is abandoned, again and again: after each lease somebody else is admitted."""
    story, _ = trying(TWO_TRIALS)
    story.admit(26.0)
    for turn in range(1, 50):
        story.refused(26.0 + 100.0 * turn - 0.01)
        assert [story.admit(26.0 + 100.0 * turn).number for _ in range(2)] == [2 * turn + 1, 2 * turn + 2]


def test_a_reloaded_lease_rules_those_who_come_after_it() -> None:
    story, _ = trying()
    story.settings = replace(SETTINGS, permit_lease=5.0)
    story.refused(125.0)
    assert story.admit(126.0).number == 2
    assert story.circuit.leases == (Lease(2, 126.0, 131.0),)


# Leases are taken back by hand, too


def test_reclaiming_before_any_deadline_changes_nothing() -> None:
    story, _ = trying()
    assert machine.reclaim(story.circuit, NAME, 125.9) == Step(story.circuit)
    assert machine.reclaim(story.circuit, NAME, 125.9).circuit is story.circuit


def test_the_permits_of_who_is_gone_come_back_before_their_deadline() -> None:
    story, _ = trying(TWO_TRIALS)
    step, _permit = machine.admit(story.circuit, TWO_TRIALS, NAME, 27.0, owner="host:17")
    story.take(step)
    story.take(machine.reclaim(story.circuit, NAME, 30.0, lambda lease: lease.owner == "host:17"))
    assert story.circuit.leases == (Lease(1, 26.0, 126.0),)
    assert story.events == [PermitExpired(subject=NAME, seq=3, held_for=3.0)]


@pytest.mark.parametrize("late", LATE)
def test_a_permit_of_another_generation_with_the_same_number_is_another_permit(
    late: Callable[[Story, Permit, float], Circuit],
) -> None:
    """Numbers come again where a process had to go on without the others."""
    story, permit = trying()
    before = story.circuit
    assert late(story, permit._replace(generation=1), 27.0) is before


def test_a_permit_of_another_owner_with_the_same_number_is_another_permit() -> None:
    story, permit = trying()
    before = story.circuit
    stranger = permit._replace(owner="host:17")
    assert story.succeed(stranger, 27.0) is before
    assert story.fail(stranger, 27.0) is before
    assert story.give_back(stranger) is before
