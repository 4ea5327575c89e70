"""Settings that follow what the circuit has lived through, and a share of the calls refused before it opens.

The recovery samples are D1 to D4 of the breaker reference: a system that counts its own waiting as downtime can only
wait longer and longer.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.story import CLOSED, NAME, NO_KEY, OPEN, TOLD_TO_WAIT, Story, fail_trials, failure, heal, opened, reopen

from recloser.core import adaptive
from recloser.core import circuit as machine
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, Denied
from recloser.core.failure import FailureKind
from recloser.core.window import Slice

SETTINGS = CircuitSettings(
    failure_threshold=6, failure_rate=0.0, slow_rate=0.0, jitter=0.0, adaptive=True, threshold_min=2, threshold_max=20,
    cooldown=60.0, cooldown_min=10.0, cooldown_max=600.0,
)  # fmt: skip
ONE = replace(SETTINGS, failure_threshold=1)
THROTTLED = CircuitSettings(failure_threshold=0, failure_rate=0.0, slow_rate=0.0, throttle=2.0, minimum_calls=10)

rates = st.integers(0, 1000)


def threshold(failures: int, calls: int = 1000, settings: CircuitSettings = SETTINGS) -> int:
    return adaptive.threshold(settings, (Slice(0.0, calls=calls, failures=failures),))


# The threshold


@pytest.mark.parametrize(
    ("failures", "expected"),
    [(0, 12), (50, 12), (51, 12), (200, 9), (270, 8), (350, 6), (425, 4), (499, 3), (500, 3), (501, 3), (1000, 3)],
)
def test_it_is_twice_the_setting_in_calm_weather_and_half_of_it_in_rough(failures: int, expected: int) -> None:
    assert threshold(failures) == expected


@given(rates, rates)
def test_the_rougher_the_lower(some: int, others: int) -> None:
    fewer, more = sorted((some, others))
    assert threshold(more) <= threshold(fewer)


@given(rates, st.integers(1, 10**6), st.integers(1, 50), st.integers(0, 50))
def test_it_is_within_its_bounds(failures: int, base: int, lowest: int, more: int) -> None:
    settings = replace(SETTINGS, failure_threshold=base, threshold_min=lowest, threshold_max=lowest + more)
    assert lowest <= threshold(failures, settings=settings) <= lowest + more


@pytest.mark.parametrize(("base", "calm", "rough"), [(1, 2, 2), (2, 4, 2), (10, 20, 5), (11, 20, 6), (100, 20, 20)])
def test_its_bounds_are_kept_at_both_ends(base: int, calm: int, rough: int) -> None:
    settings = replace(SETTINGS, failure_threshold=base)
    assert (threshold(0, settings=settings), threshold(1000, settings=settings)) == (calm, rough)


def test_before_there_are_enough_calls_it_is_what_was_set() -> None:
    assert [threshold(0, calls) for calls in (0, 9, 10)] == [6, 6, 12]
    assert [threshold(calls, calls) for calls in (1, 9, 10)] == [6, 6, 3]


def test_without_adapting_it_is_what_was_set() -> None:
    assert threshold(0, settings=replace(SETTINGS, adaptive=False)) == 6


def test_a_rule_that_is_off_stays_off() -> None:
    assert threshold(1000, settings=replace(SETTINGS, failure_threshold=0)) == 0


def test_after_calm_weather_a_circuit_bears_twice_as_many_failures() -> None:
    story = Story(SETTINGS)
    story.good(0.0, 1000)
    assert story.bad(1.0, 11).state is CLOSED
    assert story.bad(1.0).state is OPEN


def test_after_rough_weather_only_half_as_many() -> None:
    story = Story(SETTINGS)
    for _ in range(50):
        story.bad(0.0)
        story.good(0.0)
    assert story.bad(1.0, 2).state is CLOSED
    assert story.bad(1.0).state is OPEN


# The cooldown


@pytest.mark.parametrize(
    ("recovery", "expected"), [(None, 60.0), (0.0, 10.0), (9.9, 10.0), (10.1, 10.1), (599.0, 599.0), (1e9, 600.0)]
)
def test_the_cooldown_is_what_recoveries_have_taken_within_its_bounds(recovery: float | None, expected: float) -> None:
    assert adaptive.cooldown(SETTINGS, recovery) == expected
    assert adaptive.cooldown(replace(SETTINGS, adaptive=False), recovery) == 60.0


def test_a_recovery_moves_the_average_by_a_third_of_the_way_or_so() -> None:
    assert adaptive.recovered(SETTINGS, None, 0.0) == pytest.approx(42.0)
    assert adaptive.recovered(SETTINGS, None, 160.0) == pytest.approx(90.0)
    assert adaptive.recovered(SETTINGS, 100.0, 200.0) == pytest.approx(130.0)


def test_a_single_bad_day_is_not_felt_for_weeks() -> None:
    assert adaptive.recovered(SETTINGS, None, 86_400.0) == adaptive.recovered(SETTINGS, None, 600.0)


def outages_that_heal_at_once(story: Story, count: int) -> list[float]:
    """Failures, the whole cooldown, and then the first trial succeeds; how long each opening lasted."""
    cooldowns, now = [], 0.0
    for _ in range(count):
        cooldowns.append(reopen(story, now))
        now = heal(story) + story.settings.cooldown_max  # healthy for so long that no growth is left
    return cooldowns


def test_thirty_outages_that_heal_at_once_bring_the_cooldown_down() -> None:
    """D3. A system that counts its waiting goes up here: 60 to 64.5 s."""
    cooldowns = outages_that_heal_at_once(Story(ONE), 30)
    assert cooldowns[:3] == pytest.approx([60.0, 42.0, 29.4])
    assert cooldowns == sorted(cooldowns, reverse=True)
    assert cooldowns[-1] == 10.0


def test_without_adapting_they_leave_it_as_it_was() -> None:
    assert outages_that_heal_at_once(Story(replace(ONE, adaptive=False)), 5) == [60.0] * 5


def test_an_idle_hour_while_open_does_not_raise_it() -> None:
    """D2. A system that counts its waiting is at its cap after one such hour."""
    story = Story(ONE)
    reopen(story, 0.0)
    story.good(3600.0)
    assert story.circuit.recovery == pytest.approx(42.0)


def test_nor_does_an_idle_hour_before_a_trial_that_fails() -> None:
    idle, prompt = Story(ONE), Story(ONE)
    for story, pause in ((idle, 3600.0), (prompt, 0.0)):
        reopen(story, 0.0)
        story.bad(60.0 + pause)
        heal(story)
    assert idle.circuit.recovery == prompt.circuit.recovery == pytest.approx(60.0)


def test_how_long_the_trial_takes_that_succeeds_is_no_downtime() -> None:
    story = Story(ONE)
    reopen(story, 0.0)
    story.succeed(story.admit(60.0), 600.0)
    assert story.circuit.recovery == pytest.approx(42.0)


def test_a_long_outage_raises_it_by_what_was_seen_of_it() -> None:
    story = Story(ONE)
    reopen(story, 0.0)
    fail_trials(story, 2)  # at 60 and at 180
    assert heal(story) == 420.0
    assert story.circuit.recovery == pytest.approx(0.7 * 60 + 0.3 * 180)
    assert reopen(story, 2000.0) == pytest.approx(96.0)


def test_what_is_open_because_the_server_said_so_is_no_recovery() -> None:
    story = opened(ONE, TOLD_TO_WAIT)
    fail_trials(story, 1)
    heal(story)
    assert story.circuit.recovery is None


def test_nor_is_what_a_trial_was_told_to_wait_for() -> None:
    story = Story(ONE)
    reopen(story, 0.0)
    story.fail(story.admit(60.0), 60.0, TOLD_TO_WAIT)
    heal(story)
    assert story.circuit.recovery is None


def test_nor_is_what_a_late_answer_has_extended() -> None:
    story = Story(ONE)
    late = story.admit(0.0)
    reopen(story, 0.0)
    story.fail(late, 1.0, TOLD_TO_WAIT)
    fail_trials(story, 1)
    heal(story)
    assert story.circuit.recovery is None


def test_nor_is_what_waited_for_proof() -> None:
    story = opened(ONE, NO_KEY)
    story.restore(10_000.0)
    assert story.circuit.recovery is None


def test_nor_is_what_a_hand_kept_open() -> None:
    story = opened(ONE)
    story.force_open(20.0, 3600.0)
    story.bad(3620.0)
    heal(story)
    assert story.circuit.recovery is None


def test_a_probe_that_finds_it_well_is_a_recovery_too() -> None:
    story = opened(ONE)
    story.restore(30.0)
    assert story.circuit.recovery == pytest.approx(42.0)


@given(
    outages=st.lists(
        st.tuples(st.floats(0.0, 2000.0), st.lists(st.floats(0.0, 100.0), max_size=20), st.floats(0.0, 2000.0)),
        max_size=5,
    )
)
def test_whatever_happens_the_first_cooldown_stays_within_its_bounds_and_no_sample_exceeds_the_outage(
    outages: list[tuple[float, list[float], float]],
) -> None:
    """D1, D2: each outage lasts so long; callers come after these pauses, then regularly until it has closed."""
    story, now = Story(ONE), 0.0
    for downtime, pauses, health in outages:
        ends, before = now + downtime, story.circuit.recovery
        reopen(story, now)
        assert 10.0 <= story.circuit.cooldown <= 600.0
        upcoming = iter(pauses)
        while story.circuit.state is not CLOSED:
            now += next(upcoming, 30.0)
            step, answer = machine.admit(story.circuit, ONE, NAME, now)
            story.take(step)
            if not isinstance(answer, Denied):
                story.succeed(answer, now) if now >= ends else story.fail(answer, now)
        after = story.circuit.recovery
        assert after is not None
        sample = (after - 0.7 * (60.0 if before is None else before)) / 0.3
        assert -1e-6 <= sample <= downtime + 1e-6
        now += health


# Throttling


def chance(calls: int, failures: int, live: int = 0, throttled: int = 0, throttle: float = 2.0) -> float:
    settings = replace(THROTTLED, throttle=throttle)
    past = (Slice(0.0, calls=calls, failures=failures, throttled=throttled),)
    return adaptive.refusal_chance(settings, past, live)


@pytest.mark.parametrize(
    ("calls", "failures", "live", "throttled", "throttle", "expected"),
    [
        (100, 50, 0, 0, 2.0, 0.0),
        (100, 51, 0, 0, 2.0, 2 / 101),
        (100, 100, 0, 0, 2.0, 100 / 101),
        (100, 80, 0, 0, 2.0, 60 / 101),
        (100, 80, 0, 0, 1.0, 80 / 101),
        (100, 80, 0, 100, 2.0, 160 / 201),
        (100, 50, 50, 0, 2.0, 50 / 151),
        (100, 50, 50, 50, 2.0, 100 / 201),
        (9, 9, 0, 0, 2.0, 0.0),
        (9, 9, 1, 0, 2.0, 10 / 11),
        (9, 9, 0, 1, 2.0, 10 / 11),
        (100, 100, 0, 0, 0.0, 0.0),
        (0, 0, 500, 0, 2.0, 0.0),
        (10, 0, 500, 500, 2.0, 0.0),
    ],
)
def test_the_share_of_refused_calls_follows_the_formula(
    calls: int, failures: int, live: int, throttled: int, throttle: float, expected: float
) -> None:
    """max(0, (requests - K x accepts) / (requests + 1)), of calls sent, under way and refused."""
    assert chance(calls, failures, live, throttled, throttle) == pytest.approx(expected)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.floats(1.0, 10.0))
def test_it_is_a_share_and_never_all_of_them(calls: int, bad: int, live: int, throttled: int, throttle: float) -> None:
    share = chance(calls, min(bad, calls), live, throttled, throttle)
    assert 0.0 <= share < 1.0


def mixed(calls: int, failures: int) -> Circuit:
    """A closed circuit in whose window so many of the calls failed."""
    story = Story(THROTTLED)
    story.bad(10.0, failures)
    return story.good(10.0, calls - failures)


def refusals(circuit: Circuit, now: float = 10.0, live: int = 0) -> int:
    """Of 1000 calls, each asking the same circuit with another of 1000 evenly spread numbers."""
    answers = (machine.admit(circuit, THROTTLED, NAME, now, rand=number / 1000, live=live)[1] for number in range(1000))
    return sum(isinstance(answer, Denied) for answer in answers)


def test_as_many_calls_are_refused_as_the_formula_says() -> None:
    assert refusals(mixed(100, 50)) == 0
    assert refusals(mixed(100, 80)) == pytest.approx(1000 * 60 / 101, abs=1)
    assert refusals(mixed(100, 100)) == pytest.approx(1000 * 100 / 101, abs=1)


def test_a_burst_is_counted_while_it_is_under_way() -> None:
    """Counting what has finished lets it through: nothing of it has failed yet."""
    assert refusals(mixed(100, 40), live=0) == 0
    assert refusals(mixed(100, 40), live=120) == pytest.approx(1000 * 100 / 221, abs=1)


def test_a_burst_to_one_that_has_not_failed_is_no_outage() -> None:
    assert refusals(Circuit(), live=1000) == 0
    assert refusals(mixed(10, 0), live=1000) == 0


def test_a_refused_caller_is_told_why_and_to_come_back_soon() -> None:
    circuit = mixed(100, 80)
    step, answer = machine.admit(circuit, THROTTLED, NAME, 12.0, rand=0.0)
    assert answer == Denied(
        CLOSED, 1.0, "throttled: 59% of the calls are refused while many fail", FailureKind.SERVER_ERROR
    )
    assert step.events == ()
    assert step.circuit == replace(circuit, window=(Slice(10.0, calls=100, failures=80, throttled=1),))
    quick = replace(THROTTLED, cooldown=0.25)
    _, answer = machine.admit(circuit, quick, NAME, 12.0, rand=0.0)
    assert isinstance(answer, Denied)
    assert answer.retry_after == 0.25


def test_refusals_add_up_as_requests_and_not_as_calls() -> None:
    circuit = mixed(100, 80)
    for _ in range(50):
        circuit = machine.admit(circuit, THROTTLED, NAME, 12.0, rand=0.0)[0].circuit
    assert circuit.window == (Slice(10.0, calls=100, failures=80, throttled=50),)
    assert refusals(circuit) == pytest.approx(1000 * 110 / 151, abs=1)


def test_who_throws_the_highest_number_is_always_admitted_and_nothing_changes() -> None:
    circuit = mixed(100, 100)
    step, answer = machine.admit(circuit, THROTTLED, NAME, 12.0)
    assert not isinstance(answer, Denied)
    assert step.circuit is circuit


def test_it_stops_when_the_failures_are_outnumbered() -> None:
    story = Story(THROTTLED, mixed(100, 80))
    assert refusals(story.circuit) > 0
    story.good(12.0, 60)
    assert refusals(story.circuit, 12.0) == 0


def test_it_stops_when_the_failures_are_long_ago() -> None:
    circuit = mixed(100, 100)
    assert refusals(circuit, 69.9) > 0
    assert refusals(circuit, 70.0) == 0


def test_where_we_only_observe_or_do_not_judge_nobody_is_refused() -> None:
    for hand in (Story.observe_only, Story.disable):
        story = Story(THROTTLED)
        hand(story)
        story.bad(10.0, 100, failure())
        assert refusals(story.circuit) == 0


def test_without_the_setting_nobody_is_refused() -> None:
    settings = replace(THROTTLED, throttle=0.0)
    _, answer = machine.admit(mixed(100, 100), settings, NAME, 12.0, rand=0.0, live=1000)
    assert not isinstance(answer, Denied)
