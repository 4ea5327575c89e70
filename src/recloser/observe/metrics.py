"""Prometheus metrics, from events and from the circuits as they stand."""

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from recloser.breaker import Breakers
from recloser.core.circuit import CircuitState
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event
from recloser.gateway.events import AttemptFailed, RequestFinished
from recloser.observe.hub import Stamped

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = {
    CircuitState.CLOSED: 0,
    CircuitState.HALF_OPEN: 1,
    CircuitState.OPEN: 2,
    CircuitState.FORCED_OPEN: 3,
    CircuitState.DISABLED: 4,
}
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)
_ENTERED: dict[type[Event], str] = {CircuitOpened: "open", CircuitHalfOpened: "half_open", CircuitClosed: "closed"}


class Metrics:
    """Counts what it hears."""

    def __init__(self, breakers: Breakers) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        own = self.registry
        self._requests = Counter(
            "recloser_requests", "Requests of clients, by how they ended", ("wire", "outcome"), registry=own
        )
        self._attempts = Counter("recloser_attempts", "Calls to targets", ("provider", "outcome"), registry=own)
        self._transitions = Counter(
            "recloser_circuit_transitions", "Transitions of circuits", ("circuit", "to"), registry=own
        )
        self._first_token = Histogram(
            "recloser_first_token_seconds", "From request to first content", ("wire",), buckets=_SECONDS, registry=own
        )
        self._duration = Histogram(
            "recloser_request_seconds", "From request to end of answer", ("wire",), buckets=_SECONDS, registry=own
        )
        self.held = Gauge("recloser_held_requests", "Requests waiting for a circuit", registry=own)
        own.register(_Circuits(breakers))

    def __call__(self, stamped: Stamped) -> None:
        """Count an event."""
        event = stamped.event
        if isinstance(event, RequestFinished):
            self._requests.labels(event.wire, event.outcome).inc()
            self._duration.labels(event.wire).observe(event.duration)
            if event.first_token is not None:
                self._first_token.labels(event.wire).observe(event.first_token)
            if event.outcome == "ok" and event.target is not None:
                self._attempts.labels(event.target.partition("/")[0], "ok").inc()
        elif isinstance(event, AttemptFailed):
            self._attempts.labels(event.target.partition("/")[0], event.failure).inc()
        elif isinstance(event, CircuitForced):
            self._transitions.labels(event.subject, event.state).inc()
        elif type(event) in _ENTERED:
            self._transitions.labels(event.subject, _ENTERED[type(event)]).inc()

    def render(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Circuits(Collector):
    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers

    def collect(self) -> Iterator[GaugeMetricFamily]:
        states = GaugeMetricFamily(
            "recloser_circuit_state", "0 closed, 1 half-open, 2 open, 3 forced open, 4 disabled", labels=("circuit",)
        )
        for name, circuit in self._breakers.snapshot().circuits.items():
            states.add_metric((name,), _STATES[circuit.state])
        yield states
