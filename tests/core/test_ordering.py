"""Who is asked first, from facts."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.ordering import (
    LEAST_GAIN,
    MARGIN,
    PERSISTS,
    Order,
    Standing,
    by_least,
    by_load,
    by_speed,
    by_weight,
    tried_first,
)

LISTED = Standing((0, 1, 2))
SECONDS = st.floats(0, 600) | st.none()
WEIGHTS = st.floats(0, 1e6)


def permutation(order: Order, size: int) -> bool:
    return sorted(order) == list(range(size))


@given(st.lists(st.floats(allow_nan=False)))
def test_by_least_whatever_the_values_nobody_is_left_out(values: list[float]) -> None:
    order = by_least(values)
    assert permutation(order, len(values))
    assert all((values[a], a) <= (values[b], b) for a, b in pairwise(order))


@given(st.lists(st.tuples(WEIGHTS, st.floats(0, 1), st.integers(0, 10**6), st.booleans()), max_size=8))
def test_whatever_weights_and_loads_nobody_is_left_out(facts: list[tuple[float, float, int, bool]]) -> None:
    weights, draws = [fact[0] for fact in facts], [fact[1] for fact in facts]
    loads, due = [fact[2] for fact in facts], [fact[3] for fact in facts]
    for order in (by_weight(weights, draws), by_load(loads, weights)):
        assert permutation(order, len(facts))
        assert permutation(tried_first(order, due), len(facts))
        heavy = [weights[place] > 0 for place in order]
        assert heavy == sorted(heavy, reverse=True)  # who has no weight comes last


@given(st.lists(st.tuples(st.lists(SECONDS, min_size=4, max_size=4), st.floats(0, 1000)), max_size=30))
def test_whatever_is_measured_an_order_by_speed_leaves_nobody_out(
    facts: list[tuple[list[float | None], float]],
) -> None:
    standing, now = Standing((0, 1, 2, 3)), 0.0
    for seconds, later in facts:
        now += later
        standing = by_speed(standing, seconds, now)
        assert permutation(standing.order, 4)


@given(
    st.permutations(range(4)),
    st.lists(st.floats(0.01, 60), min_size=4, max_size=4),
    st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4), min_size=1, max_size=20),
)
def test_noise_below_the_margin_never_changes_the_order(
    order: list[int], first: list[float], noise: list[list[float]]
) -> None:
    """Times that stand in the right order, and swing about it by less than half the margin, change nothing."""
    base = sorted(first)
    true = [base[order.index(place)] for place in range(4)]
    standing, now = Standing(tuple(order)), 0.0
    for swings in noise:
        now += PERSISTS
        seconds = [time * (1 + swing * MARGIN / 2.01 / 2) for time, swing in zip(true, swings, strict=True)]
        standing = by_speed(standing, seconds, now)
        assert standing == Standing(tuple(order))


def test_equal_ones_stay_as_they_are_listed() -> None:
    assert by_least([3.0, 1.0, 1.0, 2.0]) == (1, 2, 3, 0)
    assert by_load([0, 0, 0], [1.0, 1.0, 1.0]) == (0, 1, 2)


def test_next_to_no_weight_is_more_than_none() -> None:
    assert by_weight([0.0, 5e-324], [0.9, 0.1]) == (1, 0)
    assert by_load([0, 5], [0.0, 5e-324]) == (1, 0)


def test_load_is_relative_to_weight() -> None:
    assert by_load([0, 0], [1.0, 2.0]) == (1, 0)
    assert by_load([0, 1], [1.0, 2.0]) == (0, 1)  # the next one would make 1 of 1, and 2 of 2
    assert by_load([0, 2], [1.0, 2.0]) == (0, 1)
    assert by_load([5, 0], [0.0, 1.0]) == (1, 0)


def test_each_is_first_as_often_as_its_weight_says_and_second_likewise() -> None:
    rng = random.Random(7)
    orders = [by_weight([1.0, 2.0, 5.0, 0.0], [rng.random() for _ in range(4)]) for _ in range(8000)]
    firsts = Counter(order[0] for order in orders)
    assert [round(firsts[place] / 1000, 1) for place in range(4)] == pytest.approx([1.0, 2.0, 5.0, 0.0], abs=0.2)
    seconds = Counter(order[1] for order in orders if order[0] == 2)
    assert seconds[1] / seconds[0] == pytest.approx(2.0, abs=0.3)
    assert {order[3] for order in orders} == {3}


def test_a_clearly_faster_target_takes_the_first_place_only_when_it_stays_so() -> None:
    faster = [2.0, 1.0, 9.0]
    standing = by_speed(LISTED, faster, 100.0)
    assert (standing.order, standing.challenge) == ((0, 1, 2), (0, 1))
    assert by_speed(standing, faster, 100.0 + PERSISTS - 0.1).order == (0, 1, 2)
    assert by_speed(standing, faster, 100.0 + PERSISTS) == Standing((1, 0, 2))


def test_who_is_slow_again_has_to_begin_anew() -> None:
    standing = by_speed(LISTED, [2.0, 1.0, 9.0], 0.0)
    standing = by_speed(standing, [2.0, 1.9, 9.0], 20.0)
    assert standing == LISTED
    standing = by_speed(standing, [2.0, 1.0, 9.0], 25.0)
    assert by_speed(standing, [2.0, 1.0, 9.0], 40.0).order == (0, 1, 2)


def test_another_challenger_has_to_wait_for_itself() -> None:
    standing = by_speed(LISTED, [2.0, 1.0, 9.0], 0.0)
    standing = by_speed(standing, [2.0, 1.0, 0.5], 29.0)
    assert standing.challenge == (0, 2)
    assert by_speed(standing, [2.0, 1.0, 0.5], 31.0).order == (0, 1, 2)
    assert by_speed(standing, [2.0, 1.0, 0.5], 59.0).order == (2, 1, 0)


@pytest.mark.parametrize(
    ("leader", "other", "changes"),
    [
        (1.0, 1 - MARGIN + 0.01, False),
        (1.0, 1 - MARGIN - 0.01, True),
        (0.2, 0.2 - LEAST_GAIN, False),
        (0.2, 0.05, True),
    ],
)
def test_what_counts_as_faster(leader: float, other: float, changes: bool) -> None:
    standing = by_speed(Standing((0, 1)), [leader, other], 0.0)
    assert (standing.challenge is not None) is changes


def test_the_fastest_passes_those_that_are_near_it_too() -> None:
    """1.0, 0.85, 0.72: no neighbours differ clearly, and still the last is clearly faster than the first."""
    seconds = [1.0, 0.85, 0.72]
    standing = by_speed(by_speed(LISTED, seconds, 0.0), seconds, PERSISTS)
    assert standing.order == (2, 0, 1)


def test_the_unknown_keep_their_place() -> None:
    assert by_speed(LISTED, [None, 0.1, 0.2], 0.0) == LISTED
    seconds = [9.0, None, 0.5]
    assert by_speed(by_speed(LISTED, seconds, 0.0), seconds, PERSISTS).order == (2, 0, 1)


def test_who_is_due_is_tried_first() -> None:
    assert tried_first((2, 0, 1), [True, True, False]) == (0, 2, 1)
    assert tried_first((2, 0, 1), [False, False, False]) == (2, 0, 1)
