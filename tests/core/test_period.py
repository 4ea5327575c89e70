from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.period import EVERY, Per, ends, period


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "day", "month", "day_ends", "month_ends"),
    [
        ("2026-11-20T10:15:30.5", "2026-11-20", "2026-11", "2026-11-21", "2026-12-01"),
        ("2026-12-31T23:59:59", "2026-12-31", "2026-12", "2027-01-01", "2027-01-01"),
        ("2028-02-28T00:00:00", "2028-02-28", "2028-02", "2028-02-29", "2028-03-01"),
        ("2026-01-31T12:00:00", "2026-01-31", "2026-01", "2026-02-01", "2026-02-01"),
    ],
)
def test_days_and_months_are_those_of_utc(moment: str, day: str, month: str, day_ends: str, month_ends: str) -> None:
    wall = at(moment)
    assert (period("day", wall), period("month", wall)) == (day, month)
    assert (ends("day", wall), ends("month", wall)) == (at(day_ends), at(month_ends))


@given(st.floats(0, 4e9), st.sampled_from(EVERY))
def test_a_period_lasts_until_its_end_and_not_a_moment_longer(wall: float, per: Per) -> None:
    end = ends(per, wall)
    assert wall < end
    assert period(per, end - 1e-3) == period(per, wall) < period(per, end)
