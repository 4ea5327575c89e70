"""Opening by what share of the recent calls failed, or was slow. The three rules combine with "or"."""

from dataclasses import replace

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
    OBSERVE_ONLY,
    OPEN,
    TOLD_TO_WAIT,
    Story,
    heal,
    opened,
    trying,
)

from recloser.core import circuit as machine
from recloser.core.circuit import Easy
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, CircuitState
from recloser.core.events import CircuitOpened, CircuitWouldOpen
from recloser.core.failure import FailureKind
from recloser.core.window import Slice

HALF = CircuitSettings(failure_threshold=0, failure_rate=0.5, minimum_calls=4, slow_rate=0.0, cooldown=10.0, jitter=0.0)
SLOW = replace(HALF, failure_rate=0.0, slow_call=5.0, slow_rate=0.5)


def rule_of(story: Story) -> str:
    event = story.events[-1]
    assert isinstance(event, CircuitOpened | CircuitWouldOpen)
    return event.rule


# The failure rate


def test_when_half_of_the_calls_fail_it_opens_and_says_by_which_rule() -> None:
    story = Story(HALF)
    story.good(10.0, 3)
    story.bad(11.0, 2)
    assert story.circuit.state is CLOSED
    assert story.bad(12.0).state is OPEN
    assert story.events == [
        CircuitOpened(
            subject=NAME,
            seq=1,
            failure="server_error",
            failures=3,
            rule="failure_rate",
            retry_after=10.0,
            authoritative=False,
            reason="server_error: internal error",
        )
    ]


def test_below_the_rate_it_stays_closed() -> None:
    story = Story(HALF)
    for turn in range(100):
        story.good(10.0 + turn, 2)
        assert story.bad(10.0 + turn).state is CLOSED


def test_fewer_calls_than_the_minimum_say_nothing() -> None:
    story = Story(HALF)
    assert story.bad(10.0, 3).state is CLOSED
    assert story.bad(10.0).state is OPEN


def test_rate_1_opens_only_where_every_call_fails() -> None:
    story = Story(replace(HALF, failure_rate=1.0))
    story.good(10.0)
    assert story.bad(10.0, 50).state is CLOSED
    assert Story(replace(HALF, failure_rate=1.0)).bad(10.0, 4).state is OPEN


def test_rate_0_is_off() -> None:
    assert Story(replace(HALF, failure_rate=0.0)).bad(10.0, 100).state is CLOSED


def test_what_is_nobodys_fault_is_no_call_of_the_rate() -> None:
    story = Story(HALF)
    for _ in range(50):
        story.fail(story.admit(10.0), 10.0, NO_FAULT)
        story.give_back(story.admit(10.0))
    assert story.circuit == Circuit()


def test_by_time_what_was_long_ago_is_no_part_of_it() -> None:
    story = Story(replace(HALF, window=60.0))
    story.bad(10.0, 3)
    assert story.good(77.0).window == (Slice(77.0, calls=1),)
    assert story.bad(77.0).state is CLOSED


def test_by_time_what_was_a_moment_ago_is() -> None:
    story = Story(replace(HALF, window=60.0))
    story.bad(10.0, 3)
    assert story.good(63.9).window == (Slice(10.0, calls=3, failures=3), Slice(63.9, calls=1))
    assert story.bad(63.9).state is OPEN


def test_many_good_calls_hold_it_closed_unless_only_the_last_ones_are_asked() -> None:
    by_time, by_count = Story(HALF), Story(replace(HALF, window_calls=10))
    for story in (by_time, by_count):
        story.good(10.0, 100)
        story.bad(11.0, 4)
        assert story.circuit.state is CLOSED
        story.bad(11.0)
    assert (by_time.circuit.state, by_count.circuit.state) == (CLOSED, OPEN)


@pytest.mark.parametrize("window_calls", [1, 10, 19, 20, 25, 29, 100, 1000])
def test_a_full_window_of_calls_is_enough_whatever_the_minimum(window_calls: int) -> None:
    """It forgets a slice at a time: a minimum as large as the window must not depend on where in a slice we are."""
    story = Story(replace(HALF, minimum_calls=window_calls, window_calls=window_calls))
    calls = 0
    while story.circuit.state is CLOSED and calls <= window_calls:
        story.bad(10.0 + calls / 1000)
        if story.circuit.state is CLOSED:
            story.good(10.0 + calls / 1000)
        calls += 2
    assert story.circuit.state is OPEN
    assert calls > window_calls * 0.9


@given(
    pattern=st.lists(st.booleans(), min_size=1, max_size=10).filter(lambda calls: sum(calls) >= 0.7 * len(calls)),
    window_calls=st.sampled_from([0, 10, 20, 25, 33, 100]),
    minimum=st.integers(1, 100),
    adaptive=st.booleans(),
    pause=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_a_stream_that_fails_above_the_rate_always_opens(
    pattern: list[bool], window_calls: int, minimum: int, adaptive: bool, pause: float
) -> None:
    """D4, for every order of failures and successes, and whether or not the threshold adapts."""
    minimum = min(minimum, window_calls or minimum)
    settings = replace(HALF, failure_threshold=15, minimum_calls=minimum, window_calls=window_calls, adaptive=adaptive)
    story = Story(settings)
    for turn in range(300):
        failing = pattern[turn % len(pattern)]
        (story.bad if failing else story.good)(10.0 + turn * pause)
        if story.circuit.state is OPEN:
            return
    raise AssertionError(story.circuit)


def test_failures_from_before_an_opening_do_not_open_it_again() -> None:
    story = Story(HALF)
    story.bad(10.0, 4)
    heal(story)
    assert story.circuit.window == ()
    assert story.bad(20.0, 3).state is CLOSED
    assert story.bad(20.0).state is OPEN


# Slow calls


def test_when_half_of_the_calls_are_slow_it_opens_although_they_succeed() -> None:
    story = Story(SLOW)
    story.good(10.0, 2, took=4.9)
    assert story.good(10.0, took=5.0).state is CLOSED
    assert story.good(12.0, took=60.0).state is OPEN
    assert story.circuit.last_kind is FailureKind.TIMEOUT
    assert story.circuit.open_until == 22.0
    assert story.events == [
        CircuitOpened(
            subject=NAME,
            seq=1,
            failure="timeout",
            failures=0,
            rule="slow_rate",
            retry_after=10.0,
            authoritative=False,
            reason="timeout: calls take 5.0 s or more",
        )
    ]


def test_a_fast_call_never_opens_however_slow_the_others_were() -> None:
    story = Story(SLOW)
    story.good(10.0, 3, took=60.0)
    assert story.good(10.0).state is CLOSED
    assert story.good(10.0, took=60.0).state is OPEN


def test_slowness_is_spread_by_jitter_like_every_cooldown() -> None:
    story = Story(replace(SLOW, jitter=0.5, minimum_calls=1))
    story.succeed(story.admit(10.0), 10.0, took=5.0, rand=0.0)
    assert story.circuit.open_until == 15.0


def test_fewer_slow_calls_than_the_minimum_say_nothing() -> None:
    assert Story(SLOW).good(10.0, 3, took=60.0).state is CLOSED


def test_below_the_rate_of_slow_calls_it_stays_closed() -> None:
    story = Story(SLOW)
    for turn in range(100):
        story.good(10.0 + turn, 2)
        assert story.good(10.0 + turn, took=60.0).state is CLOSED


@pytest.mark.parametrize("settings", [replace(SLOW, slow_call=0.0), replace(SLOW, slow_rate=0.0)])
def test_either_setting_at_0_turns_slowness_off(settings: CircuitSettings) -> None:
    story = Story(settings)
    assert story.good(10.0, 100, took=1e6).state is CLOSED
    assert story.circuit.window[-1].slow == 0
    story, trial = trying(replace(settings, failure_threshold=1, cooldown_max=10.0))
    assert story.succeed(trial, 27.0, took=1e6).state is CLOSED


def test_a_slow_call_that_fails_is_slow_as_well() -> None:
    story = Story(SLOW)
    story.good(10.0, 2)
    story.fail(story.admit(10.0), 10.0, took=5.0)
    assert story.circuit.window == (Slice(10.0, calls=3, failures=1, slow=1),)
    assert story.fail(story.admit(10.0), 10.0, took=5.0).state is OPEN
    assert rule_of(story) == "slow_rate"


def test_a_slow_success_ends_the_row_of_failures_like_any_other() -> None:
    story = Story(replace(SLOW, failure_threshold=2))
    story.bad(10.0)
    assert story.good(10.0, took=60.0).failures == 0
    assert story.bad(10.0).state is CLOSED


def test_a_slow_trial_opens_again_and_for_longer() -> None:
    story, trial = trying(replace(SLOW, failure_threshold=2))
    assert story.succeed(trial, 31.0, took=5.0).state is OPEN
    assert (story.circuit.open_until, story.circuit.openings, rule_of(story)) == (51.0, 2, "trial")


def test_a_trial_that_is_just_not_slow_closes() -> None:
    story, trial = trying(replace(SLOW, failure_threshold=2))
    assert story.succeed(trial, 31.0, took=4.999).state is CLOSED


# Together


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        (replace(HALF, failure_threshold=4, slow_call=1.0, slow_rate=0.5), "consecutive_failures"),
        (replace(HALF, failure_threshold=5, slow_call=1.0, slow_rate=0.5), "failure_rate"),
        (replace(HALF, failure_rate=0.0, slow_call=1.0, slow_rate=0.5), "slow_rate"),
    ],
)
def test_each_rule_opens_by_itself(settings: CircuitSettings, rule: str) -> None:
    story = Story(settings)
    for _ in range(4):
        assert story.circuit.state is CLOSED
        story.fail(story.admit(10.0), 10.0, took=1.0)
    assert story.circuit.state is OPEN
    assert rule_of(story) == rule


def test_what_opens_at_once_needs_no_rule() -> None:
    story = Story(replace(HALF, failure_rate=0.0))
    story.good(10.0, 1000)
    assert story.bad(10.0, what=TOLD_TO_WAIT).state is OPEN
    assert rule_of(story) == "at_once"


# What needs no decision


def test_with_a_slice_begun_successes_may_just_be_counted_until_it_ends() -> None:
    circuit = machine.tally(Circuit(), HALF, 0, 10.0)
    assert circuit == Circuit(window=(Slice(10.0),))
    assert machine.easy(circuit, HALF, 10.0) == Easy(0, 16.0, float("inf"), float("inf"))
    assert machine.easy(circuit, HALF, 15.9) is not None
    assert machine.easy(circuit, HALF, 16.0) is None
    assert machine.tally(circuit, HALF, 5, 16.0).window == (Slice(10.0, calls=5), Slice(16.0))


def test_where_slow_calls_matter_the_slow_ones_are_to_be_told() -> None:
    circuit = machine.tally(Circuit(), SLOW, 0, 10.0)
    assert machine.easy(circuit, SLOW, 10.0) == Easy(0, 16.0, float("inf"), 5.0)


def test_where_calls_limit_the_window_so_many_may_be_counted_as_its_slice_has_room_for() -> None:
    settings = replace(HALF, window_calls=100)
    circuit = machine.tally(Circuit(), settings, 0, 10.0)
    assert machine.easy(circuit, settings, 10.0) == Easy(0, 16.0, 10, float("inf"))
    circuit = machine.tally(circuit, settings, 7, 11.0)
    assert machine.easy(circuit, settings, 11.0) == Easy(0, 16.0, 3, float("inf"))
    circuit = machine.tally(circuit, settings, 3, 12.0)
    assert circuit.window == (Slice(10.0, calls=10), Slice(12.0))


def test_a_slice_that_is_full_leaves_nothing_easy() -> None:
    settings = replace(HALF, window_calls=100)
    story = Story(settings)
    assert machine.easy(story.good(10.0, 9), settings, 10.0) == Easy(0, 16.0, 1, float("inf"))
    assert machine.easy(story.good(10.0), settings, 10.0) is None


def test_more_successes_than_there_was_room_for_fill_the_next_slices() -> None:
    """Threads race to the limit, and some of them pass it."""
    settings = replace(HALF, window_calls=100)
    circuit = machine.tally(machine.tally(Circuit(), settings, 0, 10.0), settings, 25, 11.0)
    assert circuit.window == (Slice(10.0, calls=10), Slice(10.0, calls=10), Slice(10.0, calls=5))


def test_after_one_failure_every_call_needs_a_decision_until_one_succeeds() -> None:
    story = Story(HALF)
    story.bad(10.0)
    assert machine.easy(story.circuit, HALF, 10.0) is None
    story.good(10.0)
    assert machine.easy(story.circuit, HALF, 10.0) is not None


def test_while_throttling_may_refuse_every_call_needs_a_decision() -> None:
    settings = replace(HALF, throttle=2.0)
    story = Story(settings)
    story.good(10.0)
    assert machine.easy(story.circuit, settings, 10.0) is not None
    story.bad(10.0)
    story.good(10.0)
    assert machine.easy(story.circuit, settings, 10.0) is None


@pytest.mark.parametrize("state", [OPEN, HALF_OPEN, FORCED_OPEN])
def test_where_not_everybody_passes_nothing_is_easy_and_nothing_is_counted(state: CircuitState) -> None:
    circuit = {
        OPEN: opened().circuit, HALF_OPEN: trying()[0].circuit, FORCED_OPEN: Story().force_open(1.0)
    }[state]  # fmt: skip
    assert machine.easy(circuit, HALF, 26.0) is None
    assert machine.tally(circuit, HALF, 7, 26.0) is circuit


def test_where_nothing_is_judged_everything_is_easy_for_ever() -> None:
    circuit = Story().disable()
    assert circuit.state is DISABLED
    assert machine.easy(circuit, SLOW, 1e9) == Easy(1, float("inf"), float("inf"), float("inf"))
    assert machine.tally(circuit, SLOW, 7, 26.0) is circuit


def test_where_we_only_observe_it_is_easy_like_a_closed_one() -> None:
    circuit = machine.tally(Story().observe_only(), SLOW, 0, 10.0)
    assert circuit.state is OBSERVE_ONLY
    assert machine.easy(circuit, SLOW, 10.0) == Easy(1, 16.0, float("inf"), 5.0)


def test_taking_in_nothing_while_the_slice_lasts_changes_nothing() -> None:
    circuit = machine.tally(Circuit(), HALF, 0, 10.0)
    assert machine.tally(circuit, HALF, 0, 12.0) is circuit
