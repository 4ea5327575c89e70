"""Circuits as OpenTelemetry metrics and, if wanted, as events on spans. Needs the extra `otel`.

    tools = Breakers()
    OpenTelemetrySink(tools)

The instruments are those of `recloser.observe.prometheus` with dots in their names; what exports to Prometheus makes
the very same metrics of them. That is why the attributes have no prefix.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from math import isinf

from recloser._version import __version__
from recloser.core.events import Event
from recloser.observe.circuits import (
    CALLS,
    COOLDOWN,
    MOST_CIRCUITS,
    OTHERS,
    REMAINING,
    TRANSITIONS,
    Circuits,
    Reading,
    Shared,
    Source,
    meaning_of_states,
)
from recloser.observe.redact import redacted

try:
    from opentelemetry import trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
except ImportError as error:
    missing = "recloser.observe.otel needs opentelemetry-api: pip install recloser[otel]"
    raise ImportError(missing, name=error.name) from error

_Observed = Callable[[CallbackOptions], Iterable[Observation]]


class OpenTelemetrySink:
    """The circuits of breakers and registries as instruments of one meter: make one for all that share a provider.

    It listens to them by itself: it counts transitions and, with `span_events`, adds each event to the span that is
    current in the thread that tells it. Nearly always that is the span of the call that caused it, but whoever tells
    takes along what others caused meanwhile. `most_circuits` and `shared` are those of `CircuitMetrics`. Without a
    `meter_provider` it is the global one.
    """

    def __init__(
        self,
        *sources: Source,
        meter_provider: MeterProvider | None = None,
        span_events: bool = False,
        most_circuits: int = MOST_CIRCUITS,
        shared: Shared = lambda _circuit: OTHERS,
    ) -> None:
        self._circuits = Circuits(most=most_circuits, shared=shared)
        self._span_events = span_events
        self._lock = threading.Lock()
        self._reading: dict[str, Reading] | None = None
        self._told: set[str] = set()
        """The instruments that have told of this reading."""
        meter = get_meter("recloser", __version__, meter_provider=meter_provider)
        self._transitions = meter.create_counter(
            "recloser.circuit.transitions", unit="{transition}", description=TRANSITIONS
        )
        state = self._gauge("state", lambda reading: reading.number)
        cooldown = self._gauge("cooldown", lambda reading: reading.cooldown)
        remaining = self._gauge("remaining", lambda reading: reading.remaining)
        meter.create_observable_gauge("recloser.circuit.state", [state], description=meaning_of_states())
        meter.create_observable_gauge("recloser.circuit.cooldown", [cooldown], unit="s", description=COOLDOWN)
        meter.create_observable_gauge("recloser.circuit.remaining", [remaining], unit="s", description=REMAINING)
        meter.create_observable_counter("recloser.circuit.calls", [self._calls], unit="{call}", description=CALLS)
        self.watch(*sources)

    def watch(self, *sources: Source, listen: bool = True) -> None:
        """Observe the circuits of these, too. Without `listen`, somebody else calls this object with their events."""
        for source in self._circuits.watch(sources):
            if listen:
                source.listen(self)

    def __call__(self, event: Event) -> None:
        """Count a transition, and tell the current span."""
        transition = self._circuits.transition(event)
        if transition is not None:
            circuit, to = transition
            self._transitions.add(1, {"circuit": circuit, "to": to})
        if self._span_events:
            _tell_span(event)

    def _gauge(self, instrument: str, value: Callable[[Reading], float]) -> _Observed:
        def observed(_options: CallbackOptions) -> Iterator[Observation]:
            for circuit, reading in self._read(instrument).items():
                if not isinf(value(reading)):  # the SDK logs a warning for each, and drops it
                    yield Observation(value(reading), {"circuit": circuit})

        return observed

    def _calls(self, _options: CallbackOptions) -> Iterator[Observation]:
        for circuit, reading in self._read("calls").items():
            for outcome, count in reading.calls.items():
                yield Observation(count, {"circuit": circuit, "outcome": outcome})

    def _read(self, instrument: str) -> dict[str, Reading]:
        """The circuits, at one moment for all instruments: they are read anew when an instrument asks again."""
        with self._lock:
            if self._reading is None or instrument in self._told:
                self._reading, self._told = self._circuits.read(), set()
            self._told.add(instrument)
            return self._reading


def _tell_span(event: Event) -> None:
    span = trace.get_current_span()
    if span.is_recording():
        facts = {f"recloser.{name}": value for name, value in redacted(event.facts()).items() if value is not None}
        span.add_event(f"recloser.{event.kind}", facts)
