"""When a server says to come back: every way that is in use, read into seconds from now.

Precedence: `retry-after`, `retry-after-ms`, the reset headers of windows with nothing remaining, fields of the body,
words of the message. A hint over 8 days counts as 8 days; one that is negative, not finite, unreadable or over
366 days away counts as absent: an absurd hint must end neither in a hot loop nor in waiting for ever.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any

from recloser.core.duration import WORDS, parse_duration

Zone = Callable[[str], tzinfo | None]
LONGEST_HINT = 8 * 86400.0
_ABSURD = 366 * 86400.0
_BODY_TIMES = ("resetsAt", "resets_at", "reset_at", "resetAt")
_BODY_DURATIONS = ("resets_in_seconds", "retry_after", "retry_after_seconds", "retryDelay")
_TRY_AGAIN = re.compile(
    rf"(?:try again|retry|wait|available|resets?|replenished)\s+(?:again\s+)?(?:in|after)\s+({WORDS.pattern})",
    re.IGNORECASE,
)
_RESETS_AT = re.compile(
    r"resets?\s+(?:at\s+)?(\d{1,2})(?::(\d{2}))?\s*([ap]m)\s*(?:\(([A-Za-z][A-Za-z0-9_+\-/]{0,40})\))?", re.IGNORECASE
)

_RESETS = ("x-ratelimit-reset", "ratelimit-reset")
_RESET_AT_DATE = re.compile(r"resets? at (\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2})", re.IGNORECASE)
"""As Z.AI writes it, without a zone: its clock is that of Beijing."""
_REGAIN_ACCESS = re.compile(r"regain access on (\d{4}-\d{2}-\d{2}) at (\d{2}:\d{2}) UTC", re.IGNORECASE)


def utc_only(name: str) -> tzinfo | None:
    """The one time zone whose rules need no data."""
    return UTC if name.upper() in ("UTC", "GMT", "Z", "ETC/UTC") else None


def retry_after(
    headers: Mapping[str, str], body: Any, text: str, wall_now: float, zone: Zone = utc_only
) -> float | None:
    """Seconds until the server wants to be asked again, or None if it did not say.

    `headers` has lower-case names, `body` is the decoded JSON (or None), `wall_now` is Unix time; `zone` gives the time
    zone of a name, or None: what it does not know makes a hint unreadable.
    """
    if "retry-after" in headers:
        told = _sane(_retry_after_header(headers["retry-after"], wall_now))
        if told is not None:
            return told
    for candidates in (
        _header_hints(headers, wall_now),
        _body_hints(body, wall_now),
        _text_hints(text, wall_now, zone),
    ):
        usable = [seconds for seconds in map(_sane, candidates) if seconds is not None]
        if usable:
            return max(usable)
    return None


def _sane(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds <= _ABSURD:
        return None
    return min(seconds, LONGEST_HINT)


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError):
        return None


def _retry_after_header(value: str, wall_now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value[:64])
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - wall_now
    except (ValueError, TypeError, OverflowError):
        return None


def _until(moment: Any, wall_now: float) -> float | None:
    """Seconds until a moment given as epoch seconds, epoch milliseconds or ISO 8601."""
    epoch = _number(moment) if not isinstance(moment, bool) else None
    if epoch is not None:
        return (epoch / 1000.0 if epoch > 1e11 else epoch) - wall_now
    if not isinstance(moment, str):
        return None
    try:
        parsed = datetime.fromisoformat(moment)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() - wall_now
    except (ValueError, OverflowError):
        return None


def _duration(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, int | float) else parse_duration(str(value)[:64])
    except (ValueError, OverflowError):
        return None


def _header_hints(headers: Mapping[str, str], wall_now: float) -> Iterator[float | None]:
    if "retry-after-ms" in headers:
        milliseconds = _number(headers["retry-after-ms"])
        yield None if milliseconds is None else milliseconds / 1000.0
    if headers.get("anthropic-ratelimit-unified-status") == "rejected":
        yield _until(headers.get("anthropic-ratelimit-unified-reset"), wall_now)
    for name, value in headers.items():
        # anthropic-ratelimit-tokens-reset: RFC 3339; x-ratelimit-reset-tokens: 6m0s
        if name.startswith("anthropic-ratelimit-") and name.endswith("-reset"):
            if _spent(headers.get(name.removesuffix("-reset") + "-remaining")):
                yield _until(value, wall_now)
        elif not name.startswith(_RESETS):
            continue
        elif _spent(headers.get(name.replace("-reset", "-remaining", 1))):
            seconds = _duration(value)
            # some servers write the moment instead of the duration
            yield _until(value, wall_now) if seconds is None or seconds > 1e9 else seconds


def _spent(remaining: str | None) -> bool:
    return remaining is not None and _number(remaining) is not None and float(remaining) <= 0


def _body_hints(body: Any, wall_now: float) -> Iterator[float | None]:
    for mapping in _mappings(body, depth=4):
        for name in _BODY_TIMES:
            if name in mapping:
                yield _until(mapping[name], wall_now)
        for name in _BODY_DURATIONS:
            if name in mapping:
                yield _duration(mapping[name])
        if isinstance(headers := mapping.get("headers"), Mapping):  # of whom an aggregator has asked
            said = {str(name).lower(): str(value) for name, value in list(headers.items())[:64]}
            yield from _header_hints(said, wall_now)


def _mappings(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Every object in a decoded error body, not deeper than `depth`."""
    if isinstance(value, Mapping):
        yield value
    if depth and isinstance(value, Mapping | list):
        for inner in list(value.values() if isinstance(value, Mapping) else value)[:32]:
            yield from _mappings(inner, depth - 1)


def _text_hints(text: str, wall_now: float, zone: Zone) -> Iterator[float | None]:
    text = text[:4096]
    for match in _TRY_AGAIN.finditer(text):
        yield _duration(match[1].replace(",", " ").replace(" and ", " "))
    for match in _RESETS_AT.finditer(text):
        yield _until_clock_time(match, wall_now, zone)
    for match in _RESET_AT_DATE.finditer(text):
        yield _until(f"{match[1]}T{match[2]}+08:00", wall_now)
    for match in _REGAIN_ACCESS.finditer(text):
        yield _until(f"{match[1]}T{match[2]}Z", wall_now)


def _until_clock_time(match: re.Match[str], wall_now: float, zone: Zone) -> float | None:
    """Seconds until the next `2pm (UTC)`; without a named zone, UTC."""
    where = zone(match[4]) if match[4] else UTC
    if where is None:
        return None
    hour, minute = int(match[1]) % 12 + (12 if match[3].lower() == "pm" else 0), int(match[2] or 0)
    try:
        now = datetime.fromtimestamp(wall_now, where)
        moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except (ValueError, OSError, OverflowError):
        return None
    if moment <= now:
        moment = (moment + timedelta(days=1)).replace(hour=hour, minute=minute)
    return moment.timestamp() - wall_now
