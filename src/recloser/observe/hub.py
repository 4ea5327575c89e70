"""Where every event passes: it is stamped with the time, once, and given to each sink."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from recloser.core.events import Event
from recloser.ports import Clock


class Stamped(NamedTuple):
    """An event and when it was told, as Unix time."""

    time: float
    event: Event

    def facts(self) -> dict[str, Any]:
        """The event as it is written down."""
        return {"ts": rfc3339(self.time), **self.event.facts()}


Sink = Callable[[Stamped], None]


class Hub:
    """Gives events to sinks, in the order in which they come."""

    def __init__(self, clock: Clock, sinks: Iterable[Sink] = ()) -> None:
        self._clock = clock
        self._sinks = list(sinks)

    def add(self, sink: Sink) -> None:
        """Have a sink hear every event from now on."""
        self._sinks.append(sink)

    def emit(self, event: Event) -> None:
        """Tell an event."""
        stamped = Stamped(self._clock.time(), event)
        for sink in self._sinks:
            sink(stamped)


def rfc3339(time: float) -> str:
    """Unix time as `2026-11-20T10:15:30.123Z`."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
