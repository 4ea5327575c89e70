"""A circuit set by hand. What a hand does no result of a call undoes."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.story import (
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
    heal,
    opened,
    reopen,
    trying,
)

from recloser.core import circuit as machine
from recloser.core import circuit_control as hand
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, Denied, Lease, Permit, Step
from recloser.core.errors import ConfigError
from recloser.core.events import (
    CircuitClosed,
    CircuitForced,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitWouldOpen,
)
from recloser.core.failure import FailureKind
from recloser.core.window import Slice

HANDS: list[Callable[[Story], Circuit]] = [
    lambda s: s.force_open(27.0, 3600.0),
    Story.disable,
    Story.observe_only,
    lambda s: s.reset(27.0),
]

# Forced open


def test_forced_open_for_a_time_is_open_for_that_time_and_then_tries() -> None:
    story = Story()
    story.bad(15.0)
    assert story.force_open(16.0, 60.0) == Circuit(
        state=FORCED_OPEN,
        generation=1,
        seq=1,
        failures=1,
        opened_at=16.0,
        open_until=76.0,
        reason="maintenance",
    )
    assert story.events == [
        CircuitForced(subject=NAME, seq=1, state="forced_open", retry_after=60.0, reason="maintenance")
    ]
    assert story.refused(17.0) == Denied(FORCED_OPEN, 59.0, "maintenance")
    assert story.refused(75.9).retry_after == pytest.approx(0.1)
    story.succeed(story.admit(76.0), 77.0)
    assert story.events[1:] == [
        CircuitHalfOpened(subject=NAME, seq=2, open_for=60.0),
        CircuitClosed(subject=NAME, seq=3, open_for=61.0),
    ]


def test_forced_open_without_a_time_stays_open_until_a_hand_comes() -> None:
    story = Story()
    story.force_open(16.0)
    assert story.refused(1e12) == Denied(FORCED_OPEN, None, "maintenance")
    assert story.events == [
        CircuitForced(subject=NAME, seq=1, state="forced_open", retry_after=None, reason="maintenance")
    ]
    story.reset(20.0)
    assert story.admit(20.0) == Permit(generation=2)


def test_forcing_again_replaces_the_time_even_by_a_shorter_one() -> None:
    story = Story()
    story.force_open(16.0, 3600.0)
    story.force_open(17.0, 60.0)
    assert (story.circuit.open_until, story.circuit.generation) == (77.0, 2)
    assert [event.kind for event in story.events] == ["circuit_forced", "circuit_forced"]


def test_forced_open_for_no_time_at_all_is_a_trial_at_once() -> None:
    story = Story()
    story.force_open(16.0, 0)
    assert story.admit(16.0).number == 1


@pytest.mark.parametrize("duration", [math.nan, math.inf, -math.inf, -1.0, -1e-9, 10**400, "60s", True])
def test_nobody_forces_a_circuit_for_an_absurd_time(duration: Any) -> None:
    with pytest.raises(ConfigError, match="finite time of at least 0 seconds, not"):
        Story().force_open(16.0, duration)


def test_what_opened_it_before_the_hand_did_is_not_what_holds_it_now() -> None:
    story = opened(what=TOLD_TO_WAIT)
    story.force_open(17.0, 60.0)
    assert (story.circuit.last_kind, story.circuit.authoritative) == (None, False)
    assert story.refused(18.0).kind is None


def test_a_trial_after_the_hand_that_fails_opens_as_usual() -> None:
    story = Story()
    story.force_open(16.0, 60.0)
    assert story.bad(76.0).state is OPEN
    assert (story.circuit.open_until, story.circuit.openings) == (86.0, 1)


# Disabled


def test_disabled_lets_everything_pass_and_counts_nothing() -> None:
    story = opened()
    assert story.disable() == replace(
        story.circuit, state=DISABLED, generation=2, seq=2, open_until=None, reason="maintenance"
    )
    assert story.events == [
        CircuitForced(subject=NAME, seq=2, state="disabled", retry_after=None, reason="maintenance")
    ]
    before = story.circuit
    for _ in range(10):
        assert story.bad(16.0) is before
        assert story.bad(16.0, what=TOLD_TO_WAIT) is before
        assert story.good(16.0, took=1e6) is before
        assert story.give_back(story.admit(16.0)) is before
    assert machine.denial(before, SETTINGS, 16.0) is None
    assert story.disable() is before, "once is enough"
    assert len(story.events) == 1


# Observed only


def test_observed_only_it_lets_everything_pass_and_tells_when_it_would_have_opened() -> None:
    story = Story()
    story.bad(14.0)
    watching = story.observe_only()
    assert watching == Circuit(
        state=OBSERVE_ONLY, generation=1, seq=1, last_kind=FailureKind.SERVER_ERROR, reason="a new rule"
    )
    story.bad(15.0)
    assert story.bad(16.0) == replace(watching, seq=2)
    assert story.events == [
        CircuitForced(subject=NAME, seq=1, state="observe_only", retry_after=None, reason="a new rule"),
        CircuitWouldOpen(
            subject=NAME,
            seq=2,
            failure="server_error",
            failures=2,
            rule="consecutive_failures",
            reason="server_error: internal error",
        ),
    ]
    before = story.circuit
    assert machine.denial(before, SETTINGS, 16.0) is None
    assert story.observe_only() is before, "once is enough"


def test_in_an_outage_it_tells_once_for_each_time_the_rule_is_met_not_for_each_call() -> None:
    story = Story()
    story.observe_only()
    story.bad(15.0, 100)
    assert [event.kind for event in story.events[1:]] == ["circuit_would_open"] * 50


@pytest.mark.parametrize("what", [TOLD_TO_WAIT, NO_KEY])
def test_what_would_open_at_once_is_told_at_once(what: Any) -> None:
    story = Story()
    story.observe_only()
    assert story.bad(15.0, what=what).state is OBSERVE_ONLY
    event = story.events[-1]
    assert isinstance(event, CircuitWouldOpen)
    assert (event.rule, event.failure) == ("at_once", what.kind)


def test_slowness_is_only_observed_as_well() -> None:
    story = Story(replace(SETTINGS, minimum_calls=1, slow_call=5.0))
    story.observe_only()
    story.good(15.0, took=5.0)
    event = story.events[-1]
    assert isinstance(event, CircuitWouldOpen)
    assert (event.rule, event.failure, event.failures) == ("slow_rate", "timeout", 0)


def test_what_is_nobodys_fault_is_not_observed_either() -> None:
    story = Story()
    before = story.observe_only()
    assert story.fail(story.admit(15.0), 15.0, NO_FAULT) is before
    assert story.give_back(story.admit(15.0)) is before


@given(
    calls=st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, 30.0]), st.sampled_from([0.0, 9.0])), max_size=60
    ),
    threshold=st.integers(0, 4),
    window_calls=st.sampled_from([0, 10]),
    adaptive=st.booleans(),
)
def test_it_would_open_exactly_where_a_closed_one_opens(
    calls: list[tuple[bool, float, float]], threshold: int, window_calls: int, adaptive: bool
) -> None:
    settings = CircuitSettings(
        failure_threshold=threshold, minimum_calls=6, window_calls=window_calls, slow_call=5.0, slow_rate=0.6,
        adaptive=adaptive, jitter=0.0,
    )  # fmt: skip
    closed, watching = Story(settings), Story(settings)
    watching.observe_only()
    watching.events.clear()
    now = 0.0
    for good, pause, took in calls:
        now += pause
        for story in (closed, watching):
            permit = story.admit(now)
            story.succeed(permit, now, took) if good else story.fail(permit, now, took=took)
        assert bool(closed.events) == bool(watching.events)
        if closed.events:
            opening, told = closed.events[0], watching.events[0]
            assert isinstance(opening, CircuitOpened)
            assert isinstance(told, CircuitWouldOpen)
            assert (opening.rule, opening.failure, opening.failures) == (told.rule, told.failure, told.failures)
            assert (watching.circuit.failures, watching.circuit.window) == (0, ())
            return
        assert closed.circuit.window == watching.circuit.window


# Released


def test_released_from_forced_open_it_is_tried_at_once() -> None:
    story = Story()
    story.force_open(16.0)
    forced = story.circuit
    assert story.release(20.0) == replace(forced, state=HALF_OPEN, generation=2, seq=2, open_until=None, reason="done")
    assert story.events[1:] == [CircuitForced(subject=NAME, seq=2, state="half_open", retry_after=None, reason="done")]
    trial = story.admit(20.0)
    assert story.circuit.leases == (Lease(1, 20.0, 120.0),)
    assert story.refused(20.0).reason == "done"
    assert story.succeed(trial, 21.0).state is CLOSED


@pytest.mark.parametrize("how", [Story.disable, Story.observe_only])
def test_released_from_letting_pass_it_is_judged_again_from_nothing(how: Callable[[Story], Circuit]) -> None:
    story = Story()
    how(story)
    story.bad(15.0)
    held = story.circuit
    assert story.release(20.0) == replace(
        held, state=CLOSED, generation=2, seq=2, failures=0, window=(), closed_at=20.0, reason=""
    )
    assert story.events[-1] == CircuitForced(subject=NAME, seq=2, state="closed", retry_after=None, reason="done")
    assert story.bad(21.0).state is CLOSED
    assert story.bad(21.0).state is OPEN


@pytest.mark.parametrize("how", [Story.disable, Story.observe_only])
def test_a_hand_in_between_is_no_lasting_health(how: Callable[[Story], Circuit]) -> None:
    story = opened()
    how(story)
    story.release(10_000.0)
    assert reopen(story, 10_001.0) == 20.0


def test_where_no_hand_is_on_it_there_is_nothing_to_release() -> None:
    for circuit in (Circuit(), opened().circuit, opened(what=NO_KEY).circuit, trying()[0].circuit):
        step = hand.release(circuit, NAME, 26.0, reason="x")
        assert step == Step(circuit)
        assert step.circuit is circuit


def test_a_reason_is_words() -> None:
    with pytest.raises(ConfigError, match="the reason for a change by hand must be a string, not 3"):
        hand.reset(opened().circuit, NAME, 26.0, reason=3)  # type: ignore[arg-type]


# Reset


def test_reset_closes_and_forgets() -> None:
    story = opened()
    before = story.circuit
    assert story.reset(18.0) == replace(
        before,
        state=CLOSED,
        generation=2,
        seq=2,
        failures=0,
        openings=0,
        open_until=None,
        outage_began=None,
        failed_at=None,
        closed_at=18.0,
        reason="",
    )
    assert story.events == [CircuitForced(subject=NAME, seq=2, state="closed", retry_after=None, reason="mended")]
    assert reopen(story, 19.0) == 10.0


def test_reset_of_a_closed_circuit_forgets_in_silence() -> None:
    story = Story()
    story.bad(15.0)
    assert story.reset(16.0) == Circuit(last_kind=FailureKind.SERVER_ERROR)
    flapping = Story(circuit=Circuit(generation=5, seq=5, openings=3, closed_at=14.0, recovery=9.0))
    flapping.good(15.0)
    assert flapping.reset(16.0) == Circuit(generation=5, seq=5, closed_at=14.0)
    assert story.events == flapping.events == []
    before = story.circuit
    assert story.reset(17.0) is before


def test_reset_forgets_how_long_recoveries_took() -> None:
    story = opened(replace(SETTINGS, adaptive=True))
    heal(story)
    assert story.circuit.recovery is not None
    assert story.reset(100.0).recovery is None


# All of them


@pytest.mark.parametrize("by_hand", HANDS)
def test_no_result_from_before_undoes_a_hand(by_hand: Callable[[Story], Circuit]) -> None:
    story = Story()
    late = [story.admit(14.0) for _ in range(4)]
    story.bad(16.0, 2)
    before = by_hand(story)
    assert story.succeed(late[0], 28.0, took=1e6) is before
    assert story.fail(late[1], 28.0) is before
    assert story.fail(late[2], 28.0, replace(TOLD_TO_WAIT, retry_after=7200.0)) is before
    assert story.give_back(late[3]) is before


@pytest.mark.parametrize("by_hand", HANDS)
def test_a_trial_does_not_survive_the_hand(by_hand: Callable[[Story], Circuit]) -> None:
    story, permit = trying(TWO_TRIALS)
    other = story.admit(26.0)
    story.succeed(other, 26.5)
    before = by_hand(story)
    assert (before.leases, before.successes) == ((), 0)
    assert story.succeed(permit, 28.0) is before
    assert story.fail(permit, 28.0) is before


@pytest.mark.parametrize("by_hand", HANDS[:3])
def test_a_hand_forgets_what_was_seen_recently(by_hand: Callable[[Story], Circuit]) -> None:
    story = Story()
    story.bad(15.0)
    assert story.circuit.window == (Slice(15.0, calls=1, failures=1),)
    assert by_hand(story).window == ()
