"""Prometheus metrics, from events and from the circuits as they stand.

Every label is bounded: wires, outcomes and providers are ours, and of the circuits of models, whose names clients may
make up, only the first few hundred have a series of their own.
"""

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
_MOST_MODELS = 500
_ENTERED: dict[type[Event], str] = {CircuitOpened: "open", CircuitHalfOpened: "half_open", CircuitClosed: "closed"}


class Metrics:
    """Counts what it hears."""

    def __init__(self, breakers: Breakers) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._label = _Labels(_MOST_MODELS)
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
        own.register(_Circuits(breakers, self._label))

    def __call__(self, stamped: Stamped) -> None:
        """Count an event."""
        event = stamped.event
        if isinstance(event, RequestFinished):
            self._requests.labels(event.wire, event.outcome).inc()
            self._duration.labels(event.wire).observe(event.duration)
            if event.first_token is not None:
                self._first_token.labels(event.wire).observe(event.first_token)
            failed = event.seq - 1
            if event.target is not None and event.attempts > failed:  # the last attempt was not told as a failure
                self._attempts.labels(event.target.partition("/")[0], event.outcome).inc()
        elif isinstance(event, AttemptFailed):
            self._attempts.labels(event.target.partition("/")[0], event.failure).inc()
        elif isinstance(event, CircuitForced):
            self._transitions.labels(self._label(event.subject), event.state).inc()
        elif type(event) in _ENTERED:
            self._transitions.labels(self._label(event.subject), _ENTERED[type(event)]).inc()

    def render(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Labels:
    """The label of each circuit: its name, or that of all the models of its endpoint that came too late."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._models: set[str] = set()

    def __call__(self, circuit: str) -> str:
        if not circuit.startswith("model/") or circuit in self._models:
            return circuit
        if len(self._models) < self._most:
            self._models.add(circuit)
            return circuit
        return f"model/{circuit.split('/')[1]}/(others)"


class _Circuits(Collector):
    def __init__(self, breakers: Breakers, label: _Labels) -> None:
        self._breakers = breakers
        self._label = label

    def collect(self) -> Iterator[GaugeMetricFamily]:
        states = GaugeMetricFamily(
            "recloser_circuit_state", "0 closed, 1 half-open, 2 open, 3 forced open, 4 disabled", labels=("circuit",)
        )
        worst: dict[str, int] = {}
        for name, circuit in self._breakers.snapshot().circuits.items():
            label = self._label(name)
            worst[label] = max(worst.get(label, 0), _STATES[circuit.state])
        for label, state in worst.items():
            states.add_metric((label,), state)
        yield states
