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
    LATE,
    NAME,
    NO_FAULT,
    NO_KEY,
    OBSERVE_ONLY,
    OPEN,
    SETTINGS,
    TOLD_TO_WAIT,
    Story,
    failure,
    look_at,
    opened,
    trying,
)

from recloser.core import circuit as machine
from recloser.core import circuit_control as hand
from recloser.core.circuit_state import TRANSITIONS, Circuit, CircuitState, Denied, Lease, Permit, Step
from recloser.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened
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
