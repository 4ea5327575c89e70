"""The life of a circuit, told as values: every time is given, every step is compared."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.core.story import (
    BROKEN,
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    NAME,
    NO_FAULT,
    NO_KEY,
    OBSERVE_ONLY,
    OPEN,
    SETTINGS,
    TOLD_TO_WAIT,
    TWO_TRIALS,
    Story,
    failure,
    look_at,
    opened,
    trying,
)

from recloser.core import circuit as machine
from recloser.core import circuit_control as hand
from recloser.core.circuit_state import TRANSITIONS, Circuit, CircuitState, Denied, Lease, Permit, Step
from recloser.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, PermitExpired
from recloser.core.failure import Effect, FailureKind
from recloser.core.window import Slice

# Closed


def test_a_healthy_call_is_counted_and_nothing_else_happens() -> None:
    fresh = Circuit()
    step, permit = machine.admit(fresh, SETTINGS, NAME, 16.0)
    assert permit == Permit(generation=0, number=0)
    assert step == Step(fresh, ())
    assert step.circuit is fresh
    counted = machine.succeed(fresh, SETTINGS, Permit(0), NAME, 17.0)
    assert counted == Step(replace(fresh, window=(Slice(17.0, calls=1),)))


def test_below_the_threshold_failures_are_counted_and_nothing_is_told() -> None:
    story = Story()
    assert story.bad(15.0) == Circuit(
        failures=1, last_kind=FailureKind.SERVER_ERROR, window=(Slice(15.0, calls=1, failures=1),)
    )
    assert story.events == []


def test_a_success_ends_the_row_of_failures() -> None:
    story = Story()
    story.bad(15.0)
    assert story.good(15.5) == Circuit(
        failures=0, last_kind=FailureKind.SERVER_ERROR, window=(Slice(15.0, calls=2, failures=1),)
    )
    assert story.bad(16.0).state is CLOSED
    assert story.bad(16.0).state is OPEN


def test_the_threshold_opens_and_says_everything_about_it() -> None:
    story = Story()
    story.bad(15.0)
    assert story.bad(16.0) == Circuit(
        state=OPEN,
        generation=1,
        seq=1,
        failures=2,
        last_kind=FailureKind.SERVER_ERROR,
        opened_at=16.0,
        open_until=26.0,
        outage_began=16.0,
        failed_at=16.0,
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
            rule="consecutive_failures",
            retry_after=10.0,
            authoritative=False,
            reason="server_error: internal error",
        )
    ]


@pytest.mark.parametrize("threshold", [1, 2, 5, 9])
def test_it_opens_at_the_threshold_and_not_before(threshold: int) -> None:
    story = Story(replace(SETTINGS, failure_threshold=threshold))
    assert story.bad(16.0, threshold - 1).state is CLOSED
    assert story.bad(16.0).state is OPEN
    assert story.circuit.failures == threshold


def test_threshold_0_never_opens_by_counting_in_a_row() -> None:
    story = Story(replace(SETTINGS, failure_threshold=0, failure_rate=0.0))
    story.bad(16.0, 100)
    assert (story.circuit.state, story.circuit.failures) == (CLOSED, 100)
    assert story.bad(16.0, what=TOLD_TO_WAIT).state is OPEN


def test_what_is_nobodys_fault_is_not_counted() -> None:
    story = Story()
    story.bad(15.0)
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
    assert machine.denial(before, SETTINGS, 1e9) is None
    assert story.circuit is before


LATE: list[Callable[[Story, Permit, float], Circuit]] = [
    lambda s, p, now: s.succeed(p, now),
    lambda s, p, now: s.succeed(p, now, took=1000.0),
    lambda s, p, now: s.fail(p, now),
    lambda s, p, now: s.fail(p, now, NO_KEY),
    lambda s, p, now: s.fail(p, now, NO_FAULT),
    lambda s, p, _now: s.give_back(p),
]


@pytest.mark.parametrize("late", LATE)
def test_a_late_result_is_no_verdict_on_an_open_circuit(late: Callable[[Story, Permit, float], Circuit]) -> None:
    story = Story()
    slow = story.admit(14.0)
    story.bad(16.0, 2)
    before = story.circuit
    assert late(story, slow, 17.0) is before
    assert len(story.events) == 1


def test_a_success_from_before_the_opening_does_not_end_todays_row_of_failures() -> None:
    story = Story()
    ancient = story.admit(14.0)
    story.bad(16.0, 2)
    story.good(26.0)
    before = story.bad(28.0)
    assert story.succeed(ancient, 29.0) is before
    assert story.bad(30.0).state is OPEN


def test_late_failures_do_not_extend_the_cooldown() -> None:
    """Else a row of slow failures would keep it open for ever."""
    story = Story()
    slow = [story.admit(14.0) for _ in range(50)]
    story.bad(16.0, 2)
    for number, permit in enumerate(slow):
        story.fail(permit, 16.0 + number, failure(Effect.OPENS, FailureKind.RESOURCES, retry_after=120.0))
    assert story.circuit.open_until == 26.0


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


def test_a_permit_of_another_owner_with_the_same_number_is_another_permit() -> None:
    story, permit = trying()
    before = story.circuit
    stranger = permit._replace(owner="host:17")
    assert story.succeed(stranger, 27.0) is before
    assert story.fail(stranger, 27.0) is before
    assert story.give_back(stranger) is before


# A probe


def test_a_probe_closes_an_open_circuit() -> None:
    story = opened(what=NO_KEY)
    before = story.circuit
    assert story.restore(18.0) == replace(
        before,
        state=CLOSED,
        generation=2,
        seq=2,
        failures=0,
        open_until=None,
        closed_at=18.0,
        failed_at=None,
        reason="",
    )
    assert story.events == [CircuitClosed(subject=NAME, seq=2, open_for=3.0)]


@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY])
def test_a_probe_closes_nothing_else(state: CircuitState) -> None:
    circuit = reached()[state]
    step = machine.restore(circuit, SETTINGS, NAME, 26.0)
    assert step == Step(circuit)
    assert step.circuit is circuit


# The table


def reached() -> dict[CircuitState, Circuit]:
    """A circuit in each state, at 26."""
    return {
        CLOSED: Circuit(),
        OPEN: opened().circuit,
        HALF_OPEN: trying()[0].circuit,
        FORCED_OPEN: Story().force_open(16.0, 10.0),
        DISABLED: Story().disable(),
        OBSERVE_ONLY: Story().observe_only(),
    }


ONE_IS_ENOUGH = replace(SETTINGS, failure_threshold=1, minimum_calls=1, slow_call=5.0, slow_rate=0.5)


def every_step(circuit: Circuit) -> list[Step]:
    """Everything that can happen to a circuit at 26."""
    numbers = [lease.number for lease in circuit.leases] or [0]
    steps = [machine.admit(circuit, SETTINGS, NAME, 26.0)[0]]
    steps += [hand.force_open(circuit, NAME, 26.0, duration=5.0, reason="x")]
    steps += [machine.restore(circuit, SETTINGS, NAME, 26.0), hand.release(circuit, NAME, 26.0, reason="x")]
    steps += [hand.disable(circuit, NAME, reason="x"), hand.observe_only(circuit, NAME, reason="x")]
    steps += [hand.reset(circuit, NAME, 26.0, reason="x"), machine.reclaim(circuit, NAME, 1e6)]
    if circuit.state not in (OPEN, FORCED_OPEN):  # nobody holds a permit of an open circuit
        permit = Permit(circuit.generation, numbers[0])
        steps += [machine.give_back(circuit, permit)]
        steps += [
            machine.succeed(circuit, ONE_IS_ENOUGH, permit, NAME, 26.0, took=took) for took in (0.0, 4.9, 5.0, 60.0)
        ]
        steps += [
            machine.fail(circuit, settings, permit, what, NAME, 26.0)
            for what in (BROKEN, NO_FAULT, TOLD_TO_WAIT, NO_KEY)
            for settings in (SETTINGS, ONE_IS_ENOUGH)
        ]
    return steps


def test_the_table_has_every_transition_and_no_other() -> None:
    happened = {
        (state, step.circuit.state)
        for state, circuit in reached().items()
        for step in every_step(circuit)
        if step.circuit.state is not state
    }
    assert happened == set(TRANSITIONS)
    assert all(TRANSITIONS.values())


def test_every_step_from_every_state_is_sound() -> None:
    for circuit in reached().values():
        for step in every_step(circuit):
            look_at(circuit, step)


def test_what_changes_nothing_returns_the_very_same_circuit() -> None:
    """By `is` the caller knows whether there is anything to store."""
    for circuit in reached().values():
        for step in every_step(circuit):
            assert step.circuit is circuit or step.circuit != circuit


# May it be forgotten?


def test_a_circuit_that_is_lastingly_well_may_be_forgotten() -> None:
    assert machine.forgettable(Circuit(), SETTINGS, 0.0)
    closed = replace(Circuit(), closed_at=27.0)
    assert not machine.forgettable(closed, SETTINGS, 66.9)
    assert machine.forgettable(closed, SETTINGS, 67.0)


def test_an_open_one_only_long_after_its_time_is_over() -> None:
    circuit = opened().circuit
    assert not machine.forgettable(circuit, SETTINGS, 26.0)
    assert not machine.forgettable(circuit, SETTINGS, 65.9)
    assert machine.forgettable(circuit, SETTINGS, 66.0)
    assert not machine.forgettable(opened(what=NO_KEY).circuit, SETTINGS, 1e12)


@pytest.mark.parametrize("state", [HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY])
def test_what_is_being_tried_or_was_set_by_hand_is_never_forgotten(state: CircuitState) -> None:
    assert not machine.forgettable(reached()[state], SETTINGS, 1e12)


# Another clock


def test_another_clock_moves_every_time_and_nothing_else() -> None:
    circuit = replace(trying()[0].circuit, closed_at=3.0)
    assert circuit.shifted(1000.0) == replace(
        circuit,
        opened_at=1016.0,
        outage_began=1016.0,
        failed_at=1016.0,
        closed_at=1003.0,
        leases=(Lease(1, 1026.0, 1126.0),),
    )
    assert Circuit().shifted(1000.0) == Circuit()
    assert Story().bad(16.0).shifted(1000.0).window == (Slice(1016.0, calls=1, failures=1),)
    assert opened().circuit.shifted(-6.0).open_until == 20.0
    assert opened(what=NO_KEY).circuit.shifted(-6.0).open_until == math.inf
