import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.duration import WORDS, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("90s", 90.0),
        ("10m", 600.0),
        ("5h", 18000.0),
        ("250ms", 0.25),
        ("2d", 172800.0),
        ("1w", 604800.0),
        ("1h30m", 5400.0),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1d2h3m4s", 93784.0),
        ("4 days 3 hours", 356400.0),
        ("4 days, 3 hours and 5 minutes", 356700.0),
        ("1 hour", 3600.0),
        ("20 secs", 20.0),
        (" 10 MIN ", 600.0),
    ],
)
def test_durations_as_people_and_servers_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "s", "10x", "10 mississippi", "5h later", "1,5h", "nan", "inf", "-inf", "1e400"]
)
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_duration(text)


def test_the_complaint_about_a_long_text_is_short() -> None:
    with pytest.raises(ValueError) as told:
        parse_duration("x" * 100_000)
    assert len(str(told.value)) < 200


def test_a_duration_is_found_inside_a_sentence() -> None:
    found = WORDS.search("come back in 4 days 3 hours, or in 5 years")
    assert found is not None
    assert found[0] == "4 days 3 hours"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.85, "850 ms"),
        (1.0, "1.0 s"),
        (4.2, "4.2 s"),
        (9.9, "9.9 s"),
        (9.97, "10 s"),
        (59.0, "59 s"),
        (60.0, "1 min"),
        (200.0, "3 min 20 s"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 min"),
        (86400.0, "1 day"),
        (90000.0, "1 day 1 h"),
        (273600.0, "3 days 4 h"),
        (math.inf, "until it is proven well"),
    ],
)
def test_durations_are_shown_as_people_say_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0.01, 1e8))
def test_what_is_shown_is_read_back_roughly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.06)


@given(st.text(max_size=100))
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    try:
        assert math.isfinite(parse_duration(text))
    except ValueError as error:
        assert "is not a" in str(error)  # noqa: PT017 - either outcome is right


def test_a_hostile_text_takes_no_longer_than_another() -> None:
    """With an ambiguous pattern, each repetition multiplied the time by four."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("1s   " * 18 + "x")
