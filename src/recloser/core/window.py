"""The recent past of a circuit: how many calls there were, how many failed, how many were slow.

The window slides by slices, a tenth of it each, so that its size is bounded however many calls there are. What falls
out of it falls out a slice at a time: it reaches back between nine and eleven tenths of its length.
"""

from typing import NamedTuple

from recloser.core.circuit_settings import CircuitSettings

SLICES = 10


class Slice(NamedTuple):
    """What happened from `began` until the next slice."""

    began: float
    calls: int = 0
    failures: int = 0
    slow: int = 0
    throttled: int = 0
    """Calls that were refused before they were sent, because too many failed. They are none of `calls`."""

    def plus(self, calls: int, failures: int, slow: int, throttled: int) -> "Slice":
        """The slice with some more in it."""
        return Slice(
            self.began,
            self.calls + calls,
            self.failures + failures,
            self.slow + slow,
            self.throttled + throttled,
        )


Window = tuple[Slice, ...]
"""The slices, the oldest first; none is older than the window is long."""

EMPTY: Window = ()


def total(window: Window) -> Slice:
    """All slices as one."""
    whole = Slice(window[0].began if window else 0.0)
    for part in window:
        whole = whole.plus(part.calls, part.failures, part.slow, part.throttled)
    return whole


def enough(past: Slice, settings: CircuitSettings) -> bool:
    """Whether a rate says something: there were the minimum of calls, or as many as the window always holds."""
    least = settings.minimum_calls
    if settings.window_calls:  # a slice at a time falls out, and a rule must not depend on where in a slice we are
        part = _slice_calls(settings)
        least = min(least, (settings.window_calls // part - 1) * part + 1)
    return past.calls >= least


def room(window: Window, settings: CircuitSettings, now: float) -> tuple[float, int | None]:
    """Until when, and for how many calls, the last slice takes what happens. Past the time: a slice must begin."""
    if not window:
        return now, 0
    last = window[-1]
    if settings.window_calls:
        return last.began + settings.window / SLICES, max(0, _slice_calls(settings) - last.calls)
    return last.began + settings.window / SLICES, None


def recent(window: Window, settings: CircuitSettings, now: float) -> Window:
    """The slices that are not too old."""
    return tuple(part for part in window if now - part.began < settings.window)


def begun(window: Window, settings: CircuitSettings, now: float) -> Window:
    """The window with a last slice that has room at `now`, and without the slices that are too old."""
    until, calls = room(window, settings, now)
    if now < until and calls != 0:
        return window
    kept = recent(window, settings, now)
    if settings.window_calls:
        most = settings.window_calls - _slice_calls(settings)
        held = sum(part.calls for part in kept)
        while kept and held > most:
            held -= kept[0].calls
            kept = kept[1:]
    return (*kept, Slice(now))


def count(
    window: Window,
    settings: CircuitSettings,
    now: float,
    *,
    calls: int = 0,
    failures: int = 0,
    slow: int = 0,
    throttled: int = 0,
) -> Window:
    """The window with what happened at `now`. Where a slice cannot take all calls, the next ones do."""
    while True:
        window = begun(window, settings, now)
        _, space = room(window, settings, now)
        here = calls if space is None else min(calls, space)
        window = (*window[:-1], window[-1].plus(here, failures, slow, throttled))
        calls, failures, slow, throttled = calls - here, 0, 0, 0
        if not calls:
            return window


def _slice_calls(settings: CircuitSettings) -> int:
    return max(1, settings.window_calls // SLICES)
