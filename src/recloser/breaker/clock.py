"""Clocks of a breaker."""

import math
import time

from recloser.breaker.reports import report_once
from recloser.ports import Clock


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


class TrustedClock:
    """Somebody else's clock, whose faults change nothing: when it raises or says nonsense, time stands still."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._monotonic = 0.0
        self._wall = 0.0

    def monotonic(self) -> float:
        """Seconds that never jump back."""
        try:
            now = self._clock.monotonic()
            if not math.isfinite(now):
                raise ValueError(f"monotonic() gave {now!r}")
        except Exception as error:  # noqa: BLE001 - a clock is a stranger
            report_once(self._clock, "clock", error)
        else:
            self._monotonic = max(now, self._monotonic)
        return self._monotonic

    def time(self) -> float:
        """Unix time."""
        try:
            now = self._clock.time()
            if not math.isfinite(now):
                raise ValueError(f"time() gave {now!r}")
        except Exception as error:  # noqa: BLE001 - as above
            report_once(self._clock, "clock", error)
        else:
            self._wall = now
        return self._wall


def trusted(clock: Clock | None) -> Clock:
    """A clock that never raises."""
    if clock is None:
        return SystemClock()
    return clock if isinstance(clock, SystemClock | TrustedClock) else TrustedClock(clock)
