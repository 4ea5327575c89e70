"""What follows from a failure: wait, stop, count and back off, or refuse."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.circuit import LONGEST_OPENING
from recloser.core.classify import ROWS
from recloser.core.errors import ConfigError
from recloser.core.failure import LIMITS, Effect, Failure, FailureKind, Scope
from recloser.core.raised import failure_of
from recloser.core.retry import WORTH_A_RETRY, Decision, RetrySettings, Verdict, decide, given_up

COUNTS, OPENS, NOTHING = Effect.COUNTS, Effect.OPENS, Effect.NOTHING
SETTINGS = RetrySettings(attempts=4, deadline=60.0, wait_limit=40.0, backoff=1.0, backoff_max=8.0, jitter=0.5)


def failure(kind: FailureKind, effect: Effect = COUNTS, retry_after: float | None = None) -> Failure:
    return Failure(kind=kind, scope=Scope.MODEL, effect=effect, retry_after=retry_after)


def limit(retry_after: float | None, kind: FailureKind = FailureKind.RATE_LIMITED) -> Failure:
    return failure(kind, OPENS, retry_after)


BROKEN = failure(FailureKind.SERVER_ERROR)


def decided(of: Failure, *, tries: int = 1, left: float = 60.0, rand: float = 0.5, **more: Any) -> Decision:
    return decide(of, SETTINGS, tries=tries, left=left, rand=rand, **more)


def outcome(decision: Decision) -> tuple[Verdict, float | None, Effect | None]:
    """The decision in short: its verdict, the seconds until the next try, and what is done to the circuit."""
    return decision.verdict, decision.wait, decision.charge.effect if decision.charge else None


# Wait


@pytest.mark.parametrize("kind", sorted(LIMITS))
def test_a_limit_that_is_soon_over_is_waited_out_and_nothing_is_counted(kind: FailureKind) -> None:
    assert decided(limit(30.0, kind)) == Decision(verdict=Verdict.WAIT, wait=30.0, charge=None)


@pytest.mark.parametrize(("hint", "verdict"), [(40.0, Verdict.WAIT), (40.1, Verdict.STOP)])
def test_a_limit_is_waited_out_up_to_wait_limit(hint: float, verdict: Verdict) -> None:
    assert decided(limit(hint)).verdict is verdict


@pytest.mark.parametrize(("left", "verdict"), [(30.1, Verdict.WAIT), (30.0, Verdict.STOP), (-5.0, Verdict.STOP)])
def test_a_limit_is_waited_out_only_if_a_try_fits_in_afterwards(left: float, verdict: Verdict) -> None:
    assert decided(limit(30.0), left=left).verdict is verdict


def test_a_limit_that_outlasts_the_permit_is_not_waited_out() -> None:
    assert decided(limit(30.0), lease_left=30.0).verdict is Verdict.STOP
    assert decided(limit(30.0), lease_left=31.0).verdict is Verdict.WAIT


def test_a_limit_that_is_counted_only_is_waited_out_too() -> None:
    assert outcome(decided(failure(FailureKind.RATE_LIMITED, COUNTS, 30.0))) == (Verdict.WAIT, 30.0, None)


@pytest.mark.parametrize(("tries", "wait"), [(1, 1.0), (2, 2.0), (3, 4.0)])
def test_a_server_that_keeps_saying_at_once_is_asked_at_a_growing_pace(tries: int, wait: float) -> None:
    assert decided(limit(0.0), tries=tries).wait == wait


def test_the_pace_gives_way_to_the_deadline_the_servers_word_does_not() -> None:
    assert decided(limit(2.0), tries=3, left=4.0).wait == 2.0
    assert decided(limit(0.0), tries=3, left=3.0).wait == 1.0
    assert decided(limit(0.0), tries=3, left=1.0).wait is None


# Stop


def test_a_limit_that_lasts_too_long_opens_the_circuit_until_then() -> None:
    tired = limit(3600.0, FailureKind.QUOTA)
    told = decided(tired)
    assert (told.verdict, told.wait, told.charge) == (Verdict.STOP, None, tired)
    assert told.why == "the server asks for 1 h, more than wait_limit (40 s)"


def test_a_limit_that_lasts_too_long_opens_the_circuit_even_if_it_was_merely_counted() -> None:
    assert outcome(decided(failure(FailureKind.RATE_LIMITED, COUNTS, 3600.0))) == (Verdict.STOP, None, OPENS)


def test_a_limit_that_is_to_have_no_effect_has_none() -> None:
    assert outcome(decided(failure(FailureKind.RATE_LIMITED, NOTHING, 3600.0)))[2] is NOTHING


def test_a_limit_that_does_not_fit_says_so() -> None:
    assert decided(limit(30.0), left=12.0).why == "the limit lasts 30 s, longer than there is time (12 s)"
    assert decided(limit(30.0), left=-5.0).why == "the limit lasts 30 s, longer than there is time (0 ms)"


def test_a_quota_without_an_end_is_not_retried_against_its_own_circuit() -> None:
    assert outcome(decided(limit(None, FailureKind.QUOTA))) == (Verdict.STOP, None, OPENS)


def test_what_opens_the_circuit_is_not_retried_against_it() -> None:
    assert outcome(decided(failure(FailureKind.RESOURCES, OPENS, 10.0))) == (Verdict.STOP, None, OPENS)


def test_a_limit_at_the_last_attempt_opens_the_circuit() -> None:
    assert outcome(decided(limit(5.0), tries=4)) == (Verdict.STOP, None, OPENS)


# Count and back off


@pytest.mark.parametrize(("tries", "wait"), [(1, 1.0), (2, 2.0), (3, 4.0)])
def test_a_breakdown_is_counted_and_backed_off_from(tries: int, wait: float) -> None:
    assert decided(BROKEN, tries=tries) == Decision(verdict=Verdict.CAP, wait=wait, charge=BROKEN)


def test_a_rate_limit_without_a_hint_is_a_failure_like_another() -> None:
    assert outcome(decided(failure(FailureKind.RATE_LIMITED))) == (Verdict.CAP, 1.0, COUNTS)


@pytest.mark.parametrize(("rand", "wait"), [(0.0, 1.0), (0.25, 1.5), (0.75, 2.5)])
def test_the_pause_is_spread(rand: float, wait: float) -> None:
    assert decided(BROKEN, tries=2, rand=rand).wait == wait


def test_the_pause_grows_up_to_its_cap() -> None:
    patient = replace(SETTINGS, attempts=10**6)
    assert decide(BROKEN, patient, tries=10**5, left=60.0).wait == 8.0


def test_the_last_attempt_is_counted_and_ends_it() -> None:
    assert decided(BROKEN, tries=4) == Decision(verdict=Verdict.CAP, wait=None, charge=BROKEN, why="no attempt is left")


@pytest.mark.parametrize(("left", "wait"), [(2.1, 2.0), (2.0, None), (0.0, None), (-100.0, None)])
def test_a_pause_that_does_not_fit_the_deadline_ends_it(left: float, wait: float | None) -> None:
    assert outcome(decided(BROKEN, tries=2, left=left)) == (Verdict.CAP, wait, COUNTS)


def test_an_overloaded_server_that_names_a_time_is_not_asked_before() -> None:
    assert outcome(decided(failure(FailureKind.OVERLOADED, COUNTS, 20.0))) == (Verdict.CAP, 20.0, COUNTS)
    assert outcome(decided(failure(FailureKind.OVERLOADED, COUNTS, 41.0))) == (Verdict.CAP, None, COUNTS)


def test_a_failure_that_is_not_counted_may_be_retried_all_the_same() -> None:
    assert outcome(decided(failure(FailureKind.TIMEOUT, NOTHING))) == (Verdict.CAP, 1.0, NOTHING)


# Refuse


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - WORTH_A_RETRY))
def test_what_another_try_does_not_cure_is_refused_at_once(kind: FailureKind) -> None:
    refused = failure(kind, OPENS, 1.0)
    assert decided(refused) == Decision(
        verdict=Verdict.REFUSE, wait=None, charge=refused, why=f"another try does not cure {kind}"
    )


def test_what_counts_as_a_failure_of_health_is_worth_a_retry_and_nothing_else_is() -> None:
    """And a limit, whose end may be told. So a kind that is new is not forgotten here."""
    health = {kind for kind in FailureKind if failure_of(kind).effect is COUNTS}
    assert health | LIMITS == WORTH_A_RETRY


def test_no_row_of_the_table_of_answers_says_otherwise() -> None:
    for row in ROWS:
        if row.effect is COUNTS:
            assert row.kind in WORTH_A_RETRY, row.kind
        if row.scope is Scope.NOBODY or row.until_proven:
            assert row.kind not in WORTH_A_RETRY, row.kind


def test_giving_up_for_another_reason_charges_the_circuit_as_ever() -> None:
    why = "the retry budget is empty"
    assert given_up(limit(5.0), why) == Decision(verdict=Verdict.STOP, wait=None, charge=limit(5.0), why=why)
    assert given_up(BROKEN, why) == Decision(verdict=Verdict.CAP, wait=None, charge=BROKEN, why=why)


# Absurd hints


@pytest.mark.parametrize("hint", [-5.0, -math.inf, math.nan, math.inf])
def test_a_rate_limit_with_an_absurd_hint_is_one_without(hint: float) -> None:
    assert decided(limit(hint)) == decided(failure(FailureKind.RATE_LIMITED))


def test_an_absurd_hint_gives_no_effect_to_a_failure_that_is_to_have_none() -> None:
    assert outcome(decided(failure(FailureKind.RATE_LIMITED, NOTHING, -5.0))) == (Verdict.CAP, 1.0, NOTHING)


@pytest.mark.parametrize("hint", [-5.0, math.nan, math.inf, None])
def test_a_quota_with_an_absurd_hint_opens_the_circuit_for_its_own_cooldown(hint: float | None) -> None:
    assert decided(limit(hint, FailureKind.QUOTA)).charge == limit(None, FailureKind.QUOTA)


def test_who_says_that_a_rate_limit_opens_the_circuit_is_believed() -> None:
    assert outcome(decided(limit(None))) == (Verdict.STOP, None, OPENS)


def test_nobody_waits_for_longer_than_eight_days() -> None:
    patient = RetrySettings(deadline=1e300, wait_limit=1e300)
    assert decide(limit(1e299), patient, tries=1, left=1e300).wait == LONGEST_OPENING


@given(
    st.builds(
        Failure,
        kind=st.sampled_from(FailureKind),
        scope=st.sampled_from(Scope),
        effect=st.sampled_from(Effect),
        retry_after=st.none() | st.floats() | st.sampled_from([0.0, 1.0, 30.0, 40.0]),
    ),
    st.integers(1, 6),
    st.floats(-1e6, 1e6) | st.floats(0.0, 60.0),
    st.floats(0.0, 1e6),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_whatever_is_told_no_loop_is_hot_and_no_wait_too_long(
    of: Failure, tries: int, left: float, lease_left: float, rand: float
) -> None:
    told = decide(of, SETTINGS, tries=tries, left=left, lease_left=lease_left, rand=rand)
    if told.wait is None:
        assert told.charge is not None
        assert told.why
        return
    assert SETTINGS.backoff * (1 - SETTINGS.jitter) <= told.wait < left
    assert told.wait <= max(SETTINGS.wait_limit, SETTINGS.backoff_max * (1 + SETTINGS.jitter))
    assert tries < SETTINGS.attempts
    assert (told.charge is None) == (told.verdict is Verdict.WAIT)
    if told.verdict is Verdict.WAIT:
        assert of.kind in LIMITS
        assert of.retry_after is not None
        assert of.retry_after <= told.wait < lease_left


# Settings


def test_the_defaults_are_three_attempts_in_a_minute() -> None:
    usual = RetrySettings()
    assert (usual.attempts, usual.deadline, usual.wait_limit) == (3, 60.0, 120.0)


def test_durations_may_be_timedeltas() -> None:
    minute = timedelta(minutes=1)
    assert RetrySettings(deadline=minute, wait_limit=minute, backoff=timedelta(seconds=2), backoff_max=minute) == (  # type: ignore[arg-type]
        RetrySettings(deadline=60.0, wait_limit=60.0, backoff=2.0, backoff_max=60.0)
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("attempts", bad) for bad in (0, -1, 2.0, "3", None, True)),
        *(
            (key, bad)
            for key in ("deadline", "wait_limit", "backoff", "backoff_max")
            for bad in (0, -1.0, math.nan, math.inf, "60s", None, timedelta(0))
        ),
        *(("backoff_factor", bad) for bad in (0.9, math.nan, math.inf, "2")),
        *(("jitter", bad) for bad in (-0.1, 1.0, math.nan, None)),
        ("backoff_max", 0.1),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}\b"):
        RetrySettings(**{key: value})
