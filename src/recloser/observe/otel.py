"""Circuits as OpenTelemetry metrics and, if wanted, as events on spans. Needs the extra `otel`.

    sink = OpenTelemetrySink()
    tools = Breakers(listeners=[sink])
    sink.watch(tools)

The instruments are those of `recloser.observe.prometheus` with dots in their names; what exports to Prometheus makes
the very same metrics of them. That is why the attributes have no prefix.
"""

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


class OpenTelemetrySink:
    """The circuits of breakers and registries as instruments of one meter: make one for all that share a provider.

    As a listener it counts transitions and, with `span_events`, adds each event to the span that is current in the
    thread that tells it: nearly always that of the call that caused it, but whoever tells takes along what others
    caused meanwhile. `most_circuits` and `shared` are those of `CircuitMetrics`. Without a `meter_provider` it is the
    global one.
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
        self._circuits.watch(sources)
        self._span_events = span_events
        meter = get_meter("recloser", __version__, meter_provider=meter_provider)
        self._transitions = meter.create_counter(
            "recloser.circuit.transitions", unit="{transition}", description=TRANSITIONS
        )
        state = self._gauge(lambda reading: reading.number)
        cooldown = self._gauge(lambda reading: reading.cooldown)
        remaining = self._gauge(lambda reading: reading.remaining)
        meter.create_observable_gauge("recloser.circuit.state", [state], description=meaning_of_states())
        meter.create_observable_gauge("recloser.circuit.cooldown", [cooldown], unit="s", description=COOLDOWN)
        meter.create_observable_gauge("recloser.circuit.remaining", [remaining], unit="s", description=REMAINING)
        meter.create_observable_counter("recloser.circuit.calls", [self._calls], unit="{call}", description=CALLS)

    def watch(self, *sources: Source) -> None:
        """Observe the circuits of these, too."""
        self._circuits.watch(sources)

    def __call__(self, event: Event) -> None:
        """Count a transition, and tell the current span."""
        transition = self._circuits.transition(event)
        if transition is not None:
            circuit, to = transition
            self._transitions.add(1, {"circuit": circuit, "to": to})
        if self._span_events:
            _tell_span(event)

    def _gauge(self, value: Callable[[Reading], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_options: CallbackOptions) -> Iterator[Observation]:
            for circuit, reading in self._circuits.read().items():
                if not isinf(value(reading)):  # the SDK logs a warning for each, and drops it
                    yield Observation(value(reading), {"circuit": circuit})

        return observed

    def _calls(self, _options: CallbackOptions) -> Iterator[Observation]:
        for circuit, reading in self._circuits.read().items():
            for outcome, count in reading.calls.items():
                yield Observation(count, {"circuit": circuit, "outcome": outcome})


def _tell_span(event: Event) -> None:
    span = trace.get_current_span()
    if span.is_recording():
        facts = {f"recloser.{name}": value for name, value in redacted(event.facts()).items() if value is not None}
        span.add_event(f"recloser.{event.kind}", facts)
