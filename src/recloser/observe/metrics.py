"""Prometheus metrics of a gateway: of its requests, from events, and of its circuits.

Every label is bounded: wires, outcomes and providers are ours, and of the circuits of models, whose names clients may
make up, only the first few hundred have a series of their own.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from recloser.breaker import Breakers
from recloser.gateway.events import AttemptFailed, RequestFinished
from recloser.observe.hub import Stamped
from recloser.observe.prometheus import CircuitMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)
_MOST_MODELS = 500


class Metrics:
    """Counts what it hears."""

    def __init__(self, breakers: Breakers) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        own = self.registry
        self._requests = Counter(
            "recloser_requests", "Requests of clients, by how they ended", ("wire", "outcome"), registry=own
        )
        self._attempts = Counter("recloser_attempts", "Calls to targets", ("provider", "outcome"), registry=own)
        self._first_token = Histogram(
            "recloser_first_token_seconds", "From request to first content", ("wire",), buckets=_SECONDS, registry=own
        )
        self._duration = Histogram(
            "recloser_request_seconds",
            "From request to end of answer, if a target was asked",
            ("wire",),
            buckets=_SECONDS,
            registry=own,
        )
        self.held = Gauge("recloser_held_requests", "Requests waiting for a circuit", registry=own)
        self._circuits = CircuitMetrics(registry=own, most_circuits=_MOST_MODELS, shared=_among_models)
        self._circuits.watch(breakers, listen=False)  # what happens to them is heard with everything else

    def __call__(self, stamped: Stamped) -> None:
        """Count an event."""
        event = stamped.event
        if isinstance(event, RequestFinished):
            self._requests.labels(event.wire, event.outcome).inc()
            if event.attempts:  # a refusal in no time would make every provider look quick
                self._duration.labels(event.wire).observe(event.duration)
            if event.first_token is not None:
                self._first_token.labels(event.wire).observe(event.first_token)
            failed = event.seq - 1
            if event.target is not None and event.attempts > failed:  # the last attempt was not told as a failure
                self._attempts.labels(event.target.partition("/")[0], event.outcome).inc()
        elif isinstance(event, AttemptFailed):
            self._attempts.labels(event.target.partition("/")[0], event.failure).inc()
        else:
            self._circuits(event)

    def render(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)


def _among_models(circuit: str) -> str | None:
    """The label that a model's circuit shares with the others of its provider. All other circuits are few, and ours."""
    return f"model/{circuit.split('/')[1]}/(others)" if circuit.startswith("model/") else None
