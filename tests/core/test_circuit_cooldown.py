"""How long a circuit stays open: the server's word verbatim, or an estimate that grows while there is no health."""

import math
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
    NO_KEY,
    OBSERVE_ONLY,
    OPEN,
    SETTINGS,
    TOLD_TO_WAIT,
    Story,
    fail_trials,
    failure,
    heal,
    opened,
    reopen,
    trying,
)

from recloser.core import circuit as machine
from recloser.core.circuit import LONGEST_OPENING
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, Denied
from recloser.core.events import CircuitExtended, CircuitOpened
from recloser.core.failure import Effect, Failure, FailureKind

MORE_THAN_EIGHT_DAYS = [LONGEST_OPENING + 1, 30 * 86400.0, 1e12, 1e308, 10**400]
ABSURD: list[Any] = [math.nan, math.inf, -math.inf, -1.0, -1e-300, float("1e400"), -(10**400)]

# The server's word


@pytest.mark.parametrize("seconds", [0.001, 1.0, 61.7, 3600.0, 7 * 86400.0, LONGEST_OPENING])
def test_the_servers_word_is_used_verbatim(seconds: float) -> None:
    story = Story(replace(SETTINGS, jitter=0.5))
    story.fail(story.admit(0.0), 0.0, replace(TOLD_TO_WAIT, retry_after=seconds), rand=0.99)
    circuit = story.circuit
    assert (circuit.opened_at, circuit.open_until, circuit.openings) == (0.0, seconds, 0)
    assert circuit.authoritative
    assert story.events == [
        CircuitOpened(
            subject=NAME,
            seq=1,
            failure="quota",
            failures=1,
            rule="at_once",
            retry_after=seconds,
            authoritative=True,
            reason="quota: 5 h limit",
        )
    ]


@pytest.mark.parametrize("seconds", MORE_THAN_EIGHT_DAYS)
def test_no_server_closes_a_circuit_for_longer_than_eight_days(seconds: float) -> None:
    story = opened(what=replace(TOLD_TO_WAIT, retry_after=seconds))
    assert story.circuit.open_until == 15.0 + 8 * 86400


@pytest.mark.parametrize("absurd", ABSURD)
def test_an_absurd_word_counts_as_none(absurd: float) -> None:
    story = Story()
    story.bad(16.0, what=replace(TOLD_TO_WAIT, retry_after=absurd))
    assert (story.circuit.open_until, story.circuit.openings) == (26.0, 1)
    (event,) = story.events
    assert isinstance(event, CircuitOpened)
    assert (event.retry_after, event.authoritative, story.circuit.authoritative) == (10.0, False, False)


def test_a_server_that_says_now_is_believed() -> None:
    story = opened(what=replace(TOLD_TO_WAIT, retry_after=0.0))
    assert story.circuit.open_until == 15.0
    assert story.admit(15.0).generation == 2


def test_opening_at_once_without_a_time_takes_the_estimated_cooldown() -> None:
    story = opened(what=failure(Effect.OPENS, FailureKind.QUOTA))
    assert (story.circuit.open_until, story.circuit.openings) == (25.0, 1)


def test_a_time_that_is_nobodys_word_is_waited_for_and_not_called_the_servers() -> None:
    """The contract's 120 s for exhausted resources, for example."""
    story = opened(what=failure(Effect.OPENS, FailureKind.RESOURCES, retry_after=120.0))
    assert (story.circuit.open_until, story.circuit.openings, story.circuit.authoritative) == (135.0, 0, False)


@pytest.mark.parametrize(("hint", "until", "told"), [(3.0, 26.0, False), (25.0, 41.0, True), (10.0, 26.0, True)])
def test_a_hint_of_a_failure_that_only_counts_is_the_least_wait(hint: float, until: float, *, told: bool) -> None:
    story = Story()
    overloaded = failure(kind=FailureKind.OVERLOADED, retry_after=hint, authoritative=True)
    story.bad(16.0, 2, overloaded)
    assert (story.circuit.open_until, story.circuit.openings) == (until, 1)
    (event,) = story.events
    assert isinstance(event, CircuitOpened)
    assert event.authoritative is story.circuit.authoritative is told


def late_after_opening(settings: CircuitSettings = SETTINGS) -> tuple[Story, Any]:
    """Open since 16 until 26, and a call from before is still out."""
    story = Story(settings)
    late = story.admit(14.0)
    story.bad(16.0, 2)
    story.events.clear()
    return story, late


def test_a_later_reset_from_the_server_extends_and_says_so() -> None:
    story, late = late_after_opening()
    before = story.circuit
    assert story.fail(late, 17.0, replace(TOLD_TO_WAIT, retry_after=7200.0)) == replace(
        before,
        seq=2,
        open_until=7217.0,
        authoritative=True,
        outage_began=None,
        last_kind=FailureKind.QUOTA,
        reason="quota: 5 h limit",
    )
    assert story.events == [
        CircuitExtended(subject=NAME, seq=2, failure="quota", retry_after=7200.0, reason="quota: 5 h limit")
    ]
    assert story.refused(7216.0) == Denied(OPEN, 1.0, "quota: 5 h limit", FailureKind.QUOTA)
    assert story.admit(7217.0).number == 1


@pytest.mark.parametrize(("seconds", "at"), [(60.0, 18.0), (7199.0, 18.0)])
def test_an_earlier_reset_or_the_same_one_changes_nothing(seconds: float, at: float) -> None:
    story, late = late_after_opening()
    extended = story.fail(late, 17.0, replace(TOLD_TO_WAIT, retry_after=7200.0))
    assert story.fail(late, at, replace(TOLD_TO_WAIT, retry_after=seconds)) is extended
    assert len(story.events) == 1


def test_a_later_reset_is_clamped_to_eight_days_too() -> None:
    story, late = late_after_opening()
    assert story.fail(late, 17.0, replace(TOLD_TO_WAIT, retry_after=1e12)).open_until == 17.0 + 8 * 86400


@pytest.mark.parametrize(
    "what",
    [
        replace(TOLD_TO_WAIT, authoritative=False),
        replace(TOLD_TO_WAIT, effect=Effect.COUNTS),
        replace(TOLD_TO_WAIT, retry_after=None),
        *(replace(TOLD_TO_WAIT, retry_after=absurd) for absurd in ABSURD),
    ],
)
def test_only_a_servers_own_reset_extends(what: Failure) -> None:
    story, late = late_after_opening()
    before = story.circuit
    assert story.fail(late, 17.0, what) is before


@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY])
def test_a_late_reset_extends_nothing_but_an_open_circuit(state: str) -> None:
    story, late = late_after_opening()
    match state:
        case "closed":
            story.good(26.0)
        case "half_open":
            story.admit(26.0)
        case "forced_open":
            story.force_open(17.0, 60.0)
        case "disabled":
            story.disable()
        case _:
            story.observe_only()
    before = story.circuit
    assert before.state == state
    assert story.fail(late, 28.0, TOLD_TO_WAIT) is before


def test_what_needs_proof_is_closed_by_no_time_and_extended_by_none() -> None:
    story = Story()
    late = story.admit(15.0)
    story.bad(16.0, what=NO_KEY)
    assert story.circuit.open_until == math.inf
    assert story.refused(1e12) == Denied(OPEN, None, "auth", FailureKind.AUTH)
    (event,) = story.events
    assert isinstance(event, CircuitOpened)
    assert (event.retry_after, event.authoritative) == (None, False)
    before = story.circuit
    assert story.fail(late, 17.0, TOLD_TO_WAIT) is before
    assert story.reset(17.0).state is CLOSED


def test_proof_is_needed_even_where_the_server_gave_a_time() -> None:
    story = opened(what=replace(NO_KEY, retry_after=5.0, authoritative=True))
    assert (story.circuit.open_until, story.circuit.authoritative) == (math.inf, False)


def test_a_trial_that_meets_a_limit_takes_the_servers_word() -> None:
    story, permit = trying()
    story.fail(permit, 27.0, TOLD_TO_WAIT)
    assert (story.circuit.open_until, story.circuit.openings, story.circuit.authoritative) == (3627.0, 1, True)


def test_the_servers_word_is_forgotten_once_its_time_is_over() -> None:
    story = opened(what=TOLD_TO_WAIT)
    story.admit(3615.0)
    assert not story.circuit.authoritative


# Growth


def test_the_cooldown_grows_to_its_cap() -> None:
    assert fail_trials(opened(), 5) == [20.0, 40.0, 40.0, 40.0, 40.0]


def test_factor_1_does_not_grow() -> None:
    assert fail_trials(opened(replace(SETTINGS, cooldown_factor=1.0)), 5) == [10.0] * 5


@pytest.mark.parametrize("factor", [1.0, 1.0000001, 2.0, 3, 1e9, 1e300, 1.7976931348623157e308])
def test_the_cooldown_is_finite_for_every_step_and_never_shrinks(factor: float) -> None:
    settings = replace(SETTINGS, cooldown_factor=factor)
    cooldowns = []
    for openings in (0, 1, 2, 3, 10, 1000, 10**6):
        story = opened(settings)
        story.circuit = replace(story.circuit, openings=openings)
        cooldowns += fail_trials(story, 1)
    assert cooldowns == sorted(cooldowns)
    assert cooldowns[0] == 10.0
    assert all(10.0 <= cooldown <= 40.0 for cooldown in cooldowns)


@given(
    base=st.floats(0.001, 1e4),
    factor=st.floats(1.0, 1e308),
    over=st.floats(1.0, 1e4),
    jitter=st.floats(0.0, 0.99),
    rands=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=12),
)
def test_every_cooldown_is_within_its_spread(
    base: float, factor: float, over: float, jitter: float, rands: list[float]
) -> None:
    """T2, over the real life of a circuit: it opens, and trial after trial fails."""
    cap = base * over
    settings = CircuitSettings(
        failure_threshold=1, cooldown=base, cooldown_factor=factor, cooldown_max=cap, jitter=jitter
    )
    story = Story(settings)
    story.fail(story.admit(0.0), 0.0, rand=0.5)
    middle = base
    for rand in rands:
        middle = min(middle * factor, cap)  # infinite for a moment, where it must not be
        until = story.circuit.open_until
        assert until is not None
        story.fail(story.admit(until), until, rand=rand)
        circuit = story.circuit
        assert math.isfinite(circuit.cooldown)
        assert middle * (1 - jitter) * (1 - 1e-9) <= circuit.cooldown <= middle * (1 + jitter) * (1 + 1e-9)
        assert circuit.open_until == pytest.approx(until + circuit.cooldown)


@pytest.mark.parametrize(("rand", "until"), [(0.0, 25.0), (0.5, 26.0), (0.75, 26.5), (1.0, 27.0)])
def test_the_cooldown_is_spread_by_jitter(rand: float, until: float) -> None:
    story = Story(replace(SETTINGS, jitter=0.1))
    story.fail(story.admit(16.0), 16.0, rand=0.9)
    story.fail(story.admit(16.0), 16.0, rand=rand)
    assert story.circuit.open_until == pytest.approx(until)


def test_one_lucky_success_does_not_make_the_growth_forgotten() -> None:
    story, permit = trying()
    story.succeed(permit, 27.0)
    assert reopen(story, 66.9) == 20.0
    story.succeed(story.admit(86.9), 87.0)
    assert reopen(story, 88.0) == 40.0


def test_flapping_grows_to_the_cap_and_stays_there() -> None:
    """It fails, is well for one call, fails again, and so on: such a one is left alone for longer and longer."""
    story = Story(replace(SETTINGS, failure_threshold=1))
    now, cooldowns = 0.0, []
    for _ in range(8):
        cooldowns.append(reopen(story, now))
        now = heal(story) + 1.0
        story.good(now)
    assert cooldowns == [10.0, 20.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0]


def test_lasting_health_makes_the_growth_forgotten() -> None:
    story, permit = trying()
    story.succeed(permit, 27.0)
    assert reopen(story, 67.0) == 10.0
    assert story.circuit.openings == 1


def test_health_is_lasting_from_the_last_closing_on_not_from_the_first() -> None:
    story = Story(replace(SETTINGS, failure_threshold=1))
    reopen(story, 0.0)
    assert heal(story) == 10.0
    reopen(story, 30.0)
    assert heal(story) == 50.0
    assert reopen(story, 80.0) == 40.0, "70 s after the first closing, and 30 s after the last"


def test_a_long_pause_without_a_trial_is_no_health() -> None:
    story = opened()
    story.bad(10_000.0)
    assert story.circuit.cooldown == 20.0


def test_what_a_probe_has_closed_remembers_its_growth() -> None:
    story = opened()
    story.restore(18.0)
    assert reopen(story, 19.0) == 20.0


def test_a_servers_word_does_not_make_the_next_estimate_grow() -> None:
    story = opened(what=TOLD_TO_WAIT)
    story.bad(3615.0)
    assert story.circuit.cooldown == 10.0


def test_nor_does_what_needs_proof() -> None:
    story = opened(what=NO_KEY)
    story.restore(18.0)
    assert reopen(story, 19.0) == 10.0


# How much an outage costs


def call_every_second(settings: CircuitSettings, seconds: int, *, well_from: float = math.inf) -> tuple[int, Circuit]:
    """One caller a second, from 0 on; how many calls were sent, and what the circuit is in the end."""
    circuit, sent = Circuit(), 0
    for now in map(float, range(seconds)):
        step, answer = machine.admit(circuit, settings, NAME, now)
        circuit = step.circuit
        if not isinstance(answer, Denied):
            sent += 1
            settled = (
                machine.succeed(circuit, settings, answer, NAME, now)
                if now >= well_from
                else machine.fail(circuit, settings, answer, failure(), NAME, now)
            )
            circuit = settled.circuit
    return sent, circuit


def test_an_hour_of_outage_costs_sixteen_trials() -> None:
    """5 s, doubling, at most 300 s, no jitter, each trial at its earliest."""
    story = Story(CircuitSettings(failure_threshold=1, jitter=0.0))
    story.bad(0.0)
    trials = 0
    while story.circuit.open_until is not None and story.circuit.open_until < 3600.0:
        fail_trials(story, 1)
        trials += 1
    assert trials == 16


def test_a_call_a_second_against_a_dead_upstream_for_an_hour_sends_21() -> None:
    sent, circuit = call_every_second(CircuitSettings(failure_threshold=5, cooldown=5.0, jitter=0.0), 3600)
    assert sent == 21
    assert circuit.state is OPEN


@pytest.mark.parametrize("well_from", [20.0, 100.0, 777.0, 2000.0])
def test_after_the_upstream_heals_it_closes_within_the_longest_cooldown(well_from: float) -> None:
    _, circuit = call_every_second(SETTINGS, int(well_from + 40.0 + 2.0), well_from=well_from)
    assert circuit.state is CLOSED
    assert circuit.closed_at is not None
    assert circuit.closed_at <= well_from + 40.0 + 1.0
