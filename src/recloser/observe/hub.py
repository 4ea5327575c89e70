"""Where every event passes: it is stamped with the time, once, and given to each sink."""

import sys
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from recloser.core.events import Event
from recloser.observe.redact import redacted
from recloser.ports import Clock

_LAST_MOMENT = 253_402_300_799.0


class Stamped(NamedTuple):
    """An event and when it was told, as Unix time."""

    time: float
    event: Event

    def facts(self) -> dict[str, Any]:
        """The event as it is written down: with no secret in it."""
        facts: dict[str, Any] = redacted(self.event.facts())
        return {"ts": rfc3339(self.time), **facts}


Sink = Callable[[Stamped], None]


class Hub:
    """Gives events to sinks, in the order in which they come."""

    def __init__(self, clock: Clock, sinks: Iterable[Sink] = ()) -> None:
        self._clock = clock
        self._sinks = list(sinks)
        self._reported: set[int] = set()

    def add(self, sink: Sink) -> None:
        """Have a sink hear every event from now on."""
        self._sinks.append(sink)

    def emit(self, event: Event) -> None:
        """Tell an event. What a sink raises is reported once and reaches neither the other sinks nor the caller."""
        stamped = Stamped(self._clock.time(), event)
        for sink in self._sinks:
            try:
                sink(stamped)
            except Exception:  # noqa: BLE001 - a request must not fail because somebody who listens does
                self._report(sink)

    def _report(self, sink: Sink) -> None:
        if id(sink) not in self._reported:
            self._reported.add(id(sink))
            trace = traceback.format_exc()
            sys.stderr.write(f"recloser: the sink {sink!r} raised; this is reported once:\n{redacted(trace)}\n")


def rfc3339(time: float) -> str:
    """Unix time as `2026-11-20T10:15:30.123Z`; what no calendar holds, as the first or last moment of ours."""
    moment = datetime.fromtimestamp(min(max(time, 0.0), _LAST_MOMENT), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
