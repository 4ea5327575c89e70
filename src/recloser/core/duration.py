"""Durations as people and servers write them: "90s", "10m", "6m0s", "1.5h", "4 days 3 hours"."""

import math
import re

_UNITS = {
    "ms": 0.001, "msec": 0.001, "msecs": 0.001, "millisecond": 0.001, "milliseconds": 0.001,
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hrs": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
    "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip

_PART = r"(\d{1,12}(?:\.\d{1,9})?)\s{0,3}(" + "|".join(sorted(_UNITS, key=len, reverse=True)) + r")(?![a-z])"
_PART_PATTERN = re.compile(_PART, re.IGNORECASE)
# What stands between two parts can be read in one way only: with two, a hostile text takes exponential time.
WORDS = re.compile(_PART + rf"(?:[\s,]{{0,4}}(?:and\s{{1,3}})?{_PART})*", re.IGNORECASE)
"""Finds a duration inside a sentence; `parse_duration(match[0])` reads it."""
_LONGEST = 100


def parse_duration(text: str) -> float:
    """Seconds in a written duration; ValueError if it is none. A bare number is seconds."""
    text = text.strip().lower()
    try:
        seconds = float(text)
    except ValueError:
        if len(text) > _LONGEST or not WORDS.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is not a duration; write seconds or e.g. '90s', '10m', '1h30m'") from None
        seconds = sum(float(amount) * _UNITS[unit.lower()] for amount, unit in _PART_PATTERN.findall(text))
    if not math.isfinite(seconds):
        raise ValueError(f"{text[:40]!r} is not a finite duration")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration for people: `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 days 4 h`."""
    if math.isinf(seconds):
        return "until it is proven well"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    for size, name, rest_size, rest_name in (
        (86400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            whole, rest = divmod(round(seconds / rest_size), size // rest_size)
            unit = "day" if (whole, name) == (1, "days") else name
            return f"{whole} {unit} {rest} {rest_name}" if rest else f"{whole} {unit}"
    raise AssertionError
