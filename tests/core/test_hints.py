"""Every way in which a server says when to come back."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from recloser.core.hints import LONGEST_HINT, retry_after

NOW = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC).timestamp()
DAY = 86400.0


def hint(headers: dict[str, str] | None = None, body: Any = None, text: str = "", now: float = NOW) -> float | None:
    return retry_after(headers or {}, body, text, now, zone=by_name)


def by_name(name: str) -> tzinfo | None:
    """Time zones as the system knows them."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


def test_the_core_itself_knows_one_time_zone() -> None:
    assert retry_after({}, None, "resets 2pm (UTC)", NOW) == 14400.0
    assert retry_after({}, None, "resets 2pm (GMT)", NOW) == 14400.0
    assert retry_after({}, None, "resets 2pm (Asia/Tokyo)", NOW) is None


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine stands in another time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Fri, 20 Nov 2026 10:02:00 GMT", 120.0),
        ("Fri, 20 Nov 2026 10:02:00", 120.0),
        ("Fri, 20 Nov 2026 10:02:00 -0000", 120.0),
        ("Fri, 20 Nov 2026 11:02:00 +0100", 120.0),
        ("Fri Nov 20 10:02:00 2026", 120.0),
        ("Fri, 20 Nov 2026 09:59:59 GMT", None),
        ("Fri, 20 Nov 2099 10:00:00 GMT", None),
        ("tomorrow", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert hint({"retry-after": value}) == seconds


@pytest.mark.parametrize(
    "value", ["-1", "-0.001", "nan", "inf", "-inf", "1e400", "1e308", f"{366 * DAY + 1:.0f}", "", " "]
)
def test_an_absurd_hint_is_absent(value: str) -> None:
    assert hint({"retry-after": value}) is None
    assert hint({"retry-after-ms": value.replace(f"{366 * DAY + 1:.0f}", "1e300")}) is None
    assert hint(body={"retry_after": value}) is None


def test_a_long_hint_counts_as_eight_days() -> None:
    assert LONGEST_HINT == 8 * DAY
    assert hint({"retry-after": f"{8 * DAY:.0f}"}) == 8 * DAY
    assert hint({"retry-after": f"{8 * DAY + 1:.0f}"}) == 8 * DAY
    assert hint({"retry-after": f"{366 * DAY:.0f}"}) == 8 * DAY


def test_retry_after_wins_over_everything_unless_it_is_absurd() -> None:
    others = {
        "retry-after-ms": "90000",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-11-20T11:00:00Z",
    }
    body = {"error": {"resets_in_seconds": 7}}
    assert hint({**others, "retry-after": "5"}, body, "try again in 9s") == 5.0
    assert hint({**others, "retry-after": "never"}, body, "try again in 9s") == 3600.0
    assert hint({}, body, "try again in 9s") == 7.0
    assert hint({}, {}, "try again in 9s") == 9.0
    assert hint() is None


def test_milliseconds() -> None:
    assert hint({"retry-after-ms": "1500"}) == 1.5


def test_anthropic_windows_with_nothing_remaining_the_latest_counts() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-11-20T10:01:00Z",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-20T10:02:00Z",
        "anthropic-ratelimit-output-tokens-remaining": "1",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-20T10:09:00Z",
        "anthropic-ratelimit-tokens-reset": "2026-11-20T10:10:00Z",
    }
    assert hint(headers) == 120.0


def test_anthropic_unified_reset_counts_only_when_rejected() -> None:
    headers = {"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": f"{NOW + 99:.0f}"}
    assert hint(headers) == 99.0
    assert hint({**headers, "anthropic-ratelimit-unified-status": "allowed_warning"}) is None
    assert hint({"anthropic-ratelimit-unified-status": "rejected"}) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("120ms", 0.12),
        ("1s", 1.0),
        ("42", 42.0),
        (f"{NOW + 60:.0f}", 60.0),
        (f"{(NOW + 60) * 1000:.0f}", 60.0),
        ("2026-11-20T10:01:00Z", 60.0),
        ("later", None),
    ],
)
def test_x_ratelimit_reset(value: str, seconds: float | None) -> None:
    expected = None if seconds is None else pytest.approx(seconds)
    spent = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": value}
    assert hint(spent) == expected
    assert hint({"x-ratelimit-remaining": "0", "x-ratelimit-reset": value}) == expected
    assert hint({**spent, "x-ratelimit-remaining-tokens": "1"}) is None
    assert hint({**spent, "x-ratelimit-remaining-tokens": "few"}) is None
    assert hint({"x-ratelimit-reset-tokens": value, "x-ratelimit-remaining-requests": "0"}) is None


@pytest.mark.parametrize("name", ["resetsAt", "resets_at", "reset_at", "resetAt"])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (NOW + 60, 60.0),
        (int(NOW) + 60, 60.0),
        (f"{NOW + 60:.0f}", 60.0),
        ((NOW + 60) * 1000, 60.0),
        ("2026-11-20T10:01:00Z", 60.0),
        ("2026-11-20T12:01:00+02:00", 60.0),
        ("2026-11-20T10:01:00", 60.0),
        (NOW - 1, None),
        (NOW + 367 * DAY, None),
        (None, None),
        (True, None),
        ("", None),
        ({}, None),
        (10**400, None),
    ],
)
def test_a_moment_in_the_body(name: str, value: Any, seconds: float | None) -> None:
    for body in ({name: value}, {"error": {name: value}}, [{"error": {"details": [{name: value}]}}]):
        assert hint(body=body) == seconds


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"retry_after": 7}, 7.0),
        ({"error": {"resets_in_seconds": 7200}}, 7200.0),
        ({"retry_after_seconds": "12"}, 12.0),
        ({"error": {"details": [{"retryDelay": "31s"}, {"retryDelay": "5.5s"}]}}, 31.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": None}, None),
        ({"retry_after": True}, None),
        ({"a": {"b": {"c": {"d": {"e": {"retry_after": 7}}}}}}, None),
        (7, None),
        ("retry_after", None),
    ],
)
def test_a_duration_in_the_body(body: Any, seconds: float | None) -> None:
    assert hint(body=body) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 1.4s. Visit ...", 1.4),
        ("Please try again in 6m0s.", 360.0),
        ("try again in 4 days 3 hours", 356400.0),
        ("Try again in 4 days, 3 hours and 5 minutes.", 356700.0),
        ("Please retry in 31.4s.", 31.4),
        ("Please retry after 30 seconds.", 30.0),
        ("limit reached, resets in 3 hours", 10800.0),
        ("resets 2pm (UTC)", 14400.0),
        ("resets at 2:30pm (UTC)", 16200.0),
        ("5-hour limit reached \u2219 resets 3pm", 18000.0),
        ("resets 9am (UTC)", 82800.0),
        ("resets 10am (UTC)", DAY),
        ("resets 12am (UTC)", 50400.0),
        ("resets 12pm (UTC)", 7200.0),
        ("resets 8pm (Asia/Tokyo)", 3600.0),
        ("resets 6am (America/New_York)", 3600.0),
        ("resets 2pm (Middle/Earth)", None),
        ("resets 2pm (../../etc/passwd)", 14400.0),
        ("resets 2:75pm (UTC)", None),
        ("You will regain access on 2026-11-21 at 00:00 UTC.", 50400.0),
        ("You will regain access on 2026-13-41 at 00:00 UTC.", None),
        ("try again in 20 days", 8 * DAY),
        ("try again in 2 years", None),
        ("try again later", None),
        ("try again in 5s, or retry after 7s", 7.0),
    ],
)
def test_words_of_a_message(text: str, seconds: float | None) -> None:
    assert hint(text=text) == (None if seconds is None else pytest.approx(seconds))


def test_a_clock_time_across_the_end_of_summer_time() -> None:
    """In Berlin the night of 25 October 2026 has 25 hours."""
    noon_before = datetime(2026, 10, 24, 10, 0, tzinfo=UTC).timestamp()
    assert hint(text="resets 11am (Europe/Berlin)", now=noon_before) == 24 * 3600.0


@pytest.mark.parametrize("now", [0.0, 1e15, -1e15])
def test_no_hour_of_the_clock_is_too_strange(now: float) -> None:
    assert hint(text="resets 2pm (UTC)", now=now) in (None, 50400.0)
