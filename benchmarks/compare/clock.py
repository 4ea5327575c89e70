"""Every clock of this process, movable: the libraries run as they are, and see an hour pass when it is said so.

`install()` comes before a library is imported, so that whatever it imports of `time` or `datetime` is movable too.
"""

import datetime as dt
import time

real_monotonic = time.monotonic
_real_time = time.time
_real_datetime = dt.datetime


class _Shift:
    """How far the clocks stand from the machine's own, in seconds."""

    passed = 0.0
    jumped = 0.0


def advance(seconds: float) -> None:
    """Let time pass, on every clock."""
    _Shift.passed += seconds


def jump_wall(seconds: float) -> None:
    """Set the wall clock, forward or back; no time passes."""
    _Shift.jumped += seconds


def _monotonic() -> float:
    return real_monotonic() + _Shift.passed


def _wall() -> float:
    return _real_time() + _Shift.passed + _Shift.jumped


class _Datetime(_real_datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "_Datetime":
        return cls.fromtimestamp(_wall(), tz)

    @classmethod
    def utcnow(cls) -> "_Datetime":
        return cls.fromtimestamp(_wall(), dt.UTC).replace(tzinfo=None)


def install() -> None:
    """Put the movable clocks where the real ones are."""
    time.monotonic = time.perf_counter = _monotonic
    time.monotonic_ns = time.perf_counter_ns = lambda: int(_monotonic() * 1e9)
    time.time = _wall
    time.time_ns = lambda: int(_wall() * 1e9)
    dt.datetime = _Datetime  # type: ignore[misc]
