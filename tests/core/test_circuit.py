"""The life of a circuit, told as values: every time is given, every step is compared."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recloser.core import circuit as machine
from recloser.core.circuit import LONGEST_OPENING
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import TRANSITIONS, Circuit, CircuitState, Denied, Lease, Permit, Step
from recloser.core.errors import ConfigError
from recloser.core.events import (
    CircuitClosed,
    CircuitForced,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    PermitExpired,
)
from recloser.core.failure import Effect, Failure, FailureKind, Scope

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED = CircuitState
NAME = "model/anthropic/sonnet"
SETTINGS = CircuitSettings(failure_threshold=2, cooldown=10.0, cooldown_max=40.0, jitter=0.0, permit_lease=100.0)
TWO_TRIALS = replace(SETTINGS, half_open_permits=2)


def failure(effect: Effect = Effect.COUNTS, kind: FailureKind = FailureKind.SERVER_ERROR, **more: Any) -> Failure:
    return Failure(kind=kind, scope=Scope.MODEL, effect=effect, **more)


BROKEN = failure(message="internal error")
TOLD_TO_WAIT = failure(Effect.OPENS, FailureKind.QUOTA, retry_after=3600.0, authoritative=True, message="5 h limit")
NO_FAULT = failure(Effect.NOTHING, FailureKind.INVALID_REQUEST)
NO_KEY = failure(Effect.OPENS, FailureKind.AUTH, until_proven=True)


class Story:
    """One circuit, step by step."""

    def __init__(self, settings: CircuitSettings = SETTINGS, circuit: Circuit | None = None) -> None:
        self.settings = settings
        self.circuit = circuit or Circuit()
        self.events: list[Event] = []

    def _take(self, step: Step) -> Circuit:
        self.events += step.events
        self.circuit = step.circuit
        return self.circuit

    def admit(self, now: float) -> Permit:
        step, answer = machine.admit(self.circuit, self.settings, NAME, now)
        self._take(step)
        assert isinstance(answer, Permit), answer
        return answer

    def refused(self, now: float) -> Denied:
        step, answer = machine.admit(self.circuit, self.settings, NAME, now)
        assert step == Step(self.circuit)
        assert step.circuit is self.circuit, "a refusal leaves nothing to store"
        assert answer == machine.denial(self.circuit, self.settings, now)
        assert isinstance(answer, Denied), answer
        return answer

    def succeed(self, permit: Permit, now: float) -> Circuit:
        return self._take(machine.succeed(self.circuit, self.settings, permit, NAME, now))

    def fail(self, permit: Permit, now: float, what: Failure = BROKEN, rand: float = 0.5) -> Circuit:
        return self._take(machine.fail(self.circuit, self.settings, permit, what, NAME, now, rand=rand))

    def give_back(self, permit: Permit) -> Circuit:
        return self._take(machine.give_back(self.circuit, permit))

    def force_open(self, now: float, duration: float | None = None) -> Circuit:
        return self._take(machine.force_open(self.circuit, NAME, now, duration=duration, reason="maintenance"))

    def disable(self) -> Circuit:
        return self._take(machine.disable(self.circuit, NAME, reason="maintenance"))

    def reset(self, now: float) -> Circuit:
        return self._take(machine.reset(self.circuit, NAME, now, reason="mended"))


def opened(settings: CircuitSettings = SETTINGS, what: Failure = BROKEN) -> Story:
    """A circuit that opened at 16, until 26."""
    story = Story(settings)
    story.fail(story.admit(15.0), 15.0, what)
    if story.circuit.state is CLOSED:
        story.fail(story.admit(16.0), 16.0, what)
    assert story.circuit.state is OPEN
    story.events.clear()
    return story


def trying(settings: CircuitSettings = SETTINGS) -> tuple[Story, Permit]:
    """A circuit in half-open with one trial out since 26."""
    story = opened(settings)
    permit = story.admit(26.0)
    story.events.clear()
    return story, permit


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


# Growth


def fail_trials(story: Story, count: int) -> list[float]:
    """Let trial after trial fail, each at its earliest; how long the circuit opened for."""
    cooldowns = []
    for _ in range(count):
        assert story.circuit.open_until is not None
        now = story.circuit.open_until
        story.fail(story.admit(now), now)
        cooldowns.append(story.circuit.open_until - now)
    return cooldowns


def test_the_cooldown_grows_to_its_cap() -> None:
    assert fail_trials(opened(), 5) == [20.0, 40.0, 40.0, 40.0, 40.0]


def test_the_cooldown_stays_finite_for_ever() -> None:
    story = opened(replace(SETTINGS, cooldown_factor=1e300))
    story.circuit = replace(story.circuit, openings=10**6)
    assert fail_trials(story, 1) == [40.0]


@pytest.mark.parametrize(("rand", "until"), [(0.0, 25.0), (0.5, 26.0), (0.75, 26.5), (1.0, 27.0)])
def test_the_cooldown_is_spread_by_jitter(rand: float, until: float) -> None:
    story = Story(replace(SETTINGS, jitter=0.1))
    story.fail(story.admit(16.0), 16.0, rand=0.9)
    story.fail(story.admit(16.0), 16.0, rand=rand)
    assert story.circuit.open_until == pytest.approx(until)


def reopen(story: Story, now: float) -> float:
    """Two failures at `now`; how long the circuit opened for."""
    for _ in range(2):
        story.fail(story.admit(now), now)
    assert story.circuit.open_until is not None
    return story.circuit.open_until - now


def test_one_lucky_success_does_not_make_the_growth_forgotten() -> None:
    story, permit = trying()
    story.succeed(permit, 27.0)
    assert reopen(story, 66.9) == 20.0
    story.succeed(story.admit(86.9), 87.0)
    assert reopen(story, 88.0) == 40.0


def test_lasting_health_makes_the_growth_forgotten() -> None:
    story, permit = trying()
    story.succeed(permit, 27.0)
    assert reopen(story, 67.0) == 10.0
    assert story.circuit.openings == 1


def test_a_long_pause_without_a_trial_is_no_health() -> None:
    story = opened()
    story.fail(story.admit(10_000.0), 10_000.0)
    assert story.circuit.cooldown == 20.0


def test_a_servers_word_does_not_make_the_next_estimate_grow() -> None:
    story = opened(what=TOLD_TO_WAIT)
    story.fail(story.admit(3615.0), 3615.0)
    assert story.circuit.cooldown == 10.0


def test_an_hour_of_outage_costs_sixteen_trials() -> None:
    """5 s, doubling, at most 300 s, no jitter: the bound L1."""
    story = Story(CircuitSettings(failure_threshold=1, jitter=0.0))
    story.fail(story.admit(0.0), 0.0)
    trials = 0
    while story.circuit.open_until is not None and story.circuit.open_until < 3600.0:
        fail_trials(story, 1)
        trials += 1
    assert trials == 16


# By hand


def test_forced_open_for_a_time_is_open_for_that_time_and_then_tries() -> None:
    story = Story()
    story.fail(story.admit(15.0), 15.0)
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
    story.succeed(story.admit(76.0), 77.0)
    assert [e.kind for e in story.events] == ["circuit_forced", "circuit_half_opened", "circuit_closed"]
    assert story.events[1:] == [
        CircuitHalfOpened(subject=NAME, seq=2, open_for=60.0),
        CircuitClosed(subject=NAME, seq=3, open_for=61.0),
    ]


def test_forced_open_without_a_time_stays_open_until_reset() -> None:
    story = Story()
    story.force_open(16.0)
    assert story.refused(1e12) == Denied(FORCED_OPEN, None, "maintenance")
    story.reset(20.0)
    assert story.admit(20.0) == Permit(generation=2)


def test_forcing_again_replaces_the_time_even_by_a_shorter_one() -> None:
    story = Story()
    story.force_open(16.0, 3600.0)
    story.force_open(17.0, 60.0)
    assert (story.circuit.open_until, story.circuit.generation) == (77.0, 2)


@pytest.mark.parametrize("duration", [math.nan, math.inf, -math.inf, -1.0])
def test_nobody_forces_a_circuit_for_an_absurd_time(duration: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        Story().force_open(16.0, duration)


def test_a_result_from_before_the_hand_does_not_undo_it() -> None:
    story = Story()
    slow, slower = story.admit(14.0), story.admit(14.0)
    story.force_open(16.0, 3600.0)
    before = story.circuit
    assert story.succeed(slow, 17.0) is before
    assert story.fail(slower, 17.0, replace(TOLD_TO_WAIT, retry_after=7200.0)) is before


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
        assert story.fail(story.admit(16.0), 16.0, TOLD_TO_WAIT) is before
        assert story.succeed(story.admit(16.0), 16.0) is before
        assert story.give_back(story.admit(16.0)) is before
    assert machine.denial(before, SETTINGS, 16.0) is None
    assert story.disable() is before, "once is enough"
    assert len(story.events) == 1


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
        closed_at=18.0,
        reason="",
    )
    assert story.events == [CircuitForced(subject=NAME, seq=2, state="closed", retry_after=None, reason="mended")]
    assert reopen(story, 19.0) == 10.0


def test_reset_of_a_closed_circuit_forgets_in_silence() -> None:
    story = Story()
    story.fail(story.admit(15.0), 15.0)
    assert story.reset(16.0) == Circuit(last_kind=FailureKind.SERVER_ERROR)
    flapping = Story(circuit=Circuit(generation=5, seq=5, openings=3, closed_at=14.0))
    assert flapping.reset(16.0) == Circuit(generation=5, seq=5, closed_at=14.0)
    assert story.events == flapping.events == []
    before = story.circuit
    assert story.reset(17.0) is before


def test_a_probe_closes_an_open_circuit_and_its_growth_is_remembered() -> None:
    story = opened(what=NO_KEY)
    before = story.circuit
    step = machine.restore(before, NAME, 18.0)
    assert step == Step(
        replace(before, state=CLOSED, generation=2, seq=2, failures=0, open_until=None, closed_at=18.0, reason=""),
        (CircuitClosed(subject=NAME, seq=2, open_for=3.0),),
    )
    grown = Story(circuit=machine.restore(opened().circuit, NAME, 18.0).circuit)
    assert reopen(grown, 19.0) == 20.0


@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN, FORCED_OPEN, DISABLED])
def test_a_probe_closes_nothing_else(state: CircuitState) -> None:
    circuit = reached()[state]
    assert machine.restore(circuit, NAME, 26.0) == Step(circuit)


def test_a_trial_does_not_survive_the_hand() -> None:
    hands: list[Callable[[Story], Circuit]] = [
        Story.disable,
        lambda s: s.force_open(27.0, 1.0),
        lambda s: s.reset(27.0),
    ]
    for by_hand in hands:
        story, permit = trying()
        by_hand(story)
        before = story.circuit
        assert before.leases == ()
        assert story.succeed(permit, 28.0) is before


# The table


def reached() -> dict[CircuitState, Circuit]:
    """A circuit in each state, at 26."""
    story, _ = trying()
    return {
        CLOSED: Circuit(),
        OPEN: opened().circuit,
        HALF_OPEN: story.circuit,
        FORCED_OPEN: Story().force_open(16.0, 10.0),
        DISABLED: Story().disable(),
    }


def every_step(circuit: Circuit) -> list[Step]:
    """Everything that can happen to a circuit at 26."""
    numbers = [lease.number for lease in circuit.leases] or [0]
    steps = [machine.admit(circuit, SETTINGS, NAME, 26.0)[0]]
    steps += [machine.force_open(circuit, NAME, 26.0, duration=5.0, reason="x")]
    steps += [machine.restore(circuit, NAME, 26.0)]
    steps += [machine.disable(circuit, NAME, reason="x"), machine.reset(circuit, NAME, 26.0, reason="x")]
    if circuit.state not in (OPEN, FORCED_OPEN):  # nobody holds a permit of an open circuit
        permit = Permit(circuit.generation, numbers[0])
        steps += [machine.succeed(circuit, SETTINGS, permit, NAME, 26.0), machine.give_back(circuit, permit)]
        steps += [machine.fail(circuit, SETTINGS, permit, f, NAME, 26.0) for f in (BROKEN, NO_FAULT, TOLD_TO_WAIT)]
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


def test_every_transition_is_a_new_generation_and_one_event_and_nothing_else_is() -> None:
    for state, circuit in reached().items():
        for step in every_step(circuit):
            entered = step.circuit.generation - circuit.generation
            assert entered == len(step.events) == step.circuit.seq - circuit.seq
            assert entered in (0, 1)
            assert entered == 1 or step.circuit.state is state
            assert [event.seq for event in step.events] == list(range(circuit.seq + 1, step.circuit.seq + 1))
            assert all(event.subject == NAME for event in step.events)


def test_only_an_open_circuit_has_an_end_and_only_half_open_has_leases() -> None:
    for circuit in reached().values():
        for step in every_step(circuit):
            after = step.circuit
            assert (after.open_until is not None) == (after.state in (OPEN, FORCED_OPEN))
            assert not after.leases or after.state is HALF_OPEN


# Another process, another clock


@pytest.mark.parametrize("state", [CLOSED, DISABLED, FORCED_OPEN])
def test_a_circuit_at_rest_is_taken_over_as_it_is(state: CircuitState) -> None:
    circuit = reached()[state]
    assert machine.revived(circuit, 1e9) is circuit


def test_an_open_circuit_is_taken_over_with_its_end() -> None:
    circuit = opened().circuit
    assert machine.revived(circuit, 20.0) == circuit


def test_an_open_circuit_is_never_taken_over_for_longer_than_a_server_may_close_it() -> None:
    circuit = replace(opened().circuit, open_until=1e12)
    assert machine.revived(circuit, 20.0) == replace(circuit, open_until=20.0 + LONGEST_OPENING)


def test_a_half_open_circuit_is_taken_over_as_due() -> None:
    circuit = reached()[HALF_OPEN]
    assert machine.revived(circuit, 30.0) == replace(circuit, state=OPEN, generation=3, open_until=30.0, leases=())


def test_what_needs_proof_is_taken_over_as_due() -> None:
    circuit = opened(what=NO_KEY).circuit
    assert machine.revived(circuit, 30.0) == replace(circuit, open_until=30.0)


def test_another_clock_moves_every_time_and_nothing_else() -> None:
    circuit = replace(reached()[HALF_OPEN], closed_at=3.0)
    assert circuit.shifted(1000.0) == replace(
        circuit, opened_at=1016.0, closed_at=1003.0, leases=(Lease(1, 1026.0, 1126.0),)
    )
    assert Circuit().shifted(1000.0) == Circuit()
    assert opened().circuit.shifted(-6.0).open_until == 20.0
    assert opened(what=NO_KEY).circuit.shifted(-6.0).open_until == math.inf


# Settings


def test_durations_are_numbers_or_timedeltas() -> None:
    settings = CircuitSettings(cooldown=timedelta(seconds=5), cooldown_max=60, permit_lease=1)  # type: ignore[arg-type]
    assert (settings.cooldown, settings.cooldown_max, settings.permit_lease) == (5.0, 60.0, 1.0)
    assert isinstance(settings.cooldown_max, float)


def test_what_may_be_zero_or_equal() -> None:
    CircuitSettings(failure_threshold=0, jitter=0.0, cooldown_factor=1.0, cooldown=7.0, cooldown_max=7.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("failure_threshold", -1),
        ("failure_threshold", 2.5),
        ("failure_threshold", math.nan),
        ("half_open_permits", 0),
        ("half_open_permits", math.nan),
        ("half_open_permits", "2"),
        ("permit_lease", 0.0),
        ("permit_lease", math.inf),
        ("permit_lease", None),
        ("cooldown", -1.0),
        ("cooldown", math.nan),
        ("cooldown", "5s"),
        ("cooldown_max", timedelta(0)),
        ("cooldown_max", 4.9),
        ("cooldown_factor", 0.99),
        ("cooldown_factor", math.inf),
        ("cooldown_factor", math.nan),
        ("jitter", -0.01),
        ("jitter", 1.0),
        ("jitter", math.nan),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=key):
        CircuitSettings(**{key: value})
