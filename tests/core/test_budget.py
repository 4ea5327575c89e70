"""Retries are bounded by calls and time, whatever happens."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.budget import Budget, BudgetSettings, balance, deposit, full, withdraw
from recloser.core.errors import ConfigError

SETTINGS = BudgetSettings(ratio=0.1, per_second=0.5, capacity=10.0)
CALLS_ONLY = replace(SETTINGS, per_second=0.0)
EMPTY = Budget(0.0, 100.0)


def spent(budget: Budget, settings: BudgetSettings, now: float) -> int:
    """How many retries in a row the budget pays for."""
    retries = 0
    while (left := withdraw(budget, settings, now)) is not None:
        budget, retries = left, retries + 1
    return retries


def test_it_starts_full() -> None:
    assert spent(full(SETTINGS, 100.0), SETTINGS, 100.0) == 10


def test_empty_means_no_retry() -> None:
    assert withdraw(EMPTY, SETTINGS, 100.0) is None


def test_ten_calls_pay_for_one_retry() -> None:
    budget = EMPTY
    for _ in range(9):
        budget = deposit(budget, CALLS_ONLY, 100.0)
    assert withdraw(budget, CALLS_ONLY, 100.0) is None
    budget = deposit(budget, CALLS_ONLY, 100.0)
    assert withdraw(budget, CALLS_ONLY, 100.0) == Budget(0.0, 100.0)


def test_two_seconds_pay_for_one_retry_without_any_call() -> None:
    assert withdraw(EMPTY, SETTINGS, 101.9) is None
    assert withdraw(EMPTY, SETTINGS, 102.0) == Budget(0.0, 102.0)


def test_time_is_paid_out_once() -> None:
    budget = EMPTY
    for _ in range(3):
        budget = deposit(budget, SETTINGS, 104.0)
    assert budget.tokens == pytest.approx(2.3)
    assert budget.paid_until == 104.0


def test_a_night_without_calls_saves_up_no_more_than_the_capacity() -> None:
    assert spent(EMPTY, SETTINGS, 30_000.0) == 10


def test_a_day_of_good_calls_saves_up_no_more_than_the_capacity() -> None:
    budget = EMPTY
    for _ in range(1000):
        budget = deposit(budget, CALLS_ONLY, 100.0)
    assert spent(budget, CALLS_ONLY, 100.0) == 10


def test_looking_at_the_balance_spends_nothing() -> None:
    budget = Budget(3.0, 100.0)
    assert balance(budget, SETTINGS, 102.0) == 4.0
    assert balance(budget, SETTINGS, 102.0) == 4.0


@pytest.mark.parametrize("settle", [deposit, withdraw])
def test_time_that_goes_back_and_forth_is_paid_out_once(settle: Any) -> None:
    budget = Budget(2.0, 100.0)
    for now in (104.0, 90.0, 104.0):
        budget = settle(budget, replace(SETTINGS, ratio=0.0), now)
    assert budget.paid_until == 104.0
    assert budget.tokens == pytest.approx(4.0 if settle is deposit else 1.0)


def test_an_outage_costs_the_capacity_and_a_tenth() -> None:
    """A thousand calls, all of which fail and want two retries each; the deposit of the first finds the bucket full."""
    budget, retries = full(CALLS_ONLY, 0.0), 0
    for _ in range(1000):
        budget = deposit(budget, CALLS_ONLY, 0.0)
        for _ in range(2):
            left = withdraw(budget, CALLS_ONLY, 0.0)
            if left is not None:
                budget, retries = left, retries + 1
    assert retries == 10 + 99


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("ratio", bad) for bad in (-0.1, 1.1, float("nan"), float("inf"), "0.1", None, True)),
        *(("per_second", bad) for bad in (-1.0, float("nan"), float("inf"), "1")),
        *(("capacity", bad) for bad in (0.0, 0.9, -1.0, float("nan"), float("inf"), None)),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{key} must be a finite number"):
        BudgetSettings(**{key: value})


@pytest.mark.parametrize(("ratio", "per_second"), [(0, 0), (1, 0), (0.0, 1e9)])
def test_either_source_may_be_turned_off(ratio: float, per_second: float) -> None:
    assert full(BudgetSettings(ratio=ratio, per_second=per_second, capacity=1), 0.0) == Budget(1, 0.0)


settings_of_any_kind = st.builds(
    BudgetSettings, ratio=st.floats(0.0, 1.0), per_second=st.floats(0.0, 100.0), capacity=st.floats(1.0, 50.0)
)
traces = st.lists(st.tuples(st.booleans(), st.floats(-100.0, 100.0)), max_size=300)
"""Whether it is a first call or a retry, and how the clock has moved since the last one, back as well as on."""


@given(settings_of_any_kind, traces)
def test_retries_never_exceed_what_capacity_calls_and_time_pay_for(
    settings: BudgetSettings, trace: list[tuple[bool, float]]
) -> None:
    now = latest = start = 1000.0
    budget, calls, retries = full(settings, now), 0, 0
    for is_call, moved in trace:
        now += moved
        latest = max(latest, now)
        if is_call:
            budget, calls = deposit(budget, settings, now), calls + 1
        elif (left := withdraw(budget, settings, now)) is not None:
            budget, retries = left, retries + 1
        assert 0.0 <= budget.tokens <= settings.capacity
        bound = settings.capacity + settings.ratio * calls + settings.per_second * (latest - start)
        assert retries <= bound + 1e-6


@given(settings_of_any_kind, st.floats(0.0, 50.0), st.lists(st.floats(0.0, 5.0), max_size=50))
def test_calls_that_are_told_later_are_paid_the_same(
    settings: BudgetSettings, tokens: float, pauses: list[float]
) -> None:
    now, one_by_one = 0.0, Budget(min(tokens, settings.capacity), 0.0)
    at_once = one_by_one
    for pause in pauses:
        now += pause
        one_by_one = deposit(one_by_one, settings, now)
    at_once = deposit(at_once, settings, now, calls=len(pauses))
    assert at_once.tokens == pytest.approx(one_by_one.tokens)
    assert at_once.paid_until == one_by_one.paid_until


@given(settings_of_any_kind, st.integers(1, 200))
def test_while_nothing_overflows_what_was_paid_for_is_there(settings: BudgetSettings, calls: int) -> None:
    """The bound is reached, not merely kept: nothing is lost to rounding."""
    roomy = replace(settings, capacity=1e6, per_second=0.0)
    budget = Budget(0.0, 0.0)
    for _ in range(calls):
        budget = deposit(budget, roomy, 0.0)
    assert spent(budget, roomy, 0.0) == int(settings.ratio * calls + 1e-8)
