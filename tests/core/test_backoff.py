import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.backoff import backoff

bases = st.floats(1e-3, 1e3)
factors = st.floats(1.0, 1e300)
jitters = st.floats(0.0, 0.99)
unit = st.floats(0.0, 1.0, exclude_max=True)


@pytest.mark.parametrize(
    ("step", "wait"), [(0, 5.0), (1, 10.0), (2, 20.0), (3, 40.0), (5, 160.0), (6, 300.0), (10**9, 300.0)]
)
def test_it_doubles_up_to_the_cap(step: int, wait: float) -> None:
    assert backoff(5.0, 2.0, 300.0, step) == wait


def test_factor_1_does_not_grow_however_often() -> None:
    assert backoff(5.0, 1.0, 300.0, 10**12) == 5.0


def test_a_base_above_the_cap_is_the_cap() -> None:
    assert backoff(500.0, 2.0, 300.0, 0) == 300.0


@pytest.mark.parametrize(("rand", "wait"), [(0.0, 90.0), (0.25, 95.0), (0.5, 100.0), (0.75, 105.0)])
def test_jitter_spreads_evenly_around_the_middle(rand: float, wait: float) -> None:
    assert backoff(100.0, 2.0, 100.0, 3, jitter=0.1, rand=rand) == pytest.approx(wait)


@given(bases, factors, bases, st.integers(0, 10**6), jitters, unit)
def test_it_is_finite_and_within_its_spread(
    base: float, factor: float, cap: float, step: int, jitter: float, rand: float
) -> None:
    middle = backoff(base, factor, cap, step)
    wait = backoff(base, factor, cap, step, jitter=jitter, rand=rand)
    assert math.isfinite(wait)
    assert middle * (1 - jitter) * (1 - 1e-9) <= wait <= middle * (1 + jitter) * (1 + 1e-9)


@given(bases, st.floats(1.0, 10.0), bases, st.integers(0, 200))
def test_before_jitter_it_never_shrinks(base: float, factor: float, cap: float, step: int) -> None:
    assert backoff(base, factor, cap, step) <= backoff(base, factor, cap, step + 1) <= cap
