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
from recloser.gateway.events import AttemptFailed, GuardTripped, RequestFinished
from recloser.gateway.metering import Used
from recloser.observe.hub import Stamped
from recloser.observe.prometheus import CircuitMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1800, 3600)
_MOST_MODELS = 500
_OTHERS = "(others)"


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
        self._tripped = Counter(
            "recloser_guard_tripped",
            "Requests in which a guard saw something, by what was done",
            ("guard", "action"),
            registry=own,
        )
        self._broken = Counter(
            "recloser_streams_broken",
            "Streams that broke off after content: finished by another target, or lost",
            ("wire", "outcome"),
            registry=own,
        )
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
        self._tokens = Counter(
            "recloser_tokens",
            "Tokens that answers used, told or estimated; those of the cache are a part of the input",
            ("provider", "model", "kind"),
            registry=own,
        )
        self._cost = Counter(
            "recloser_cost_usd", "US dollars that answers cost, where the price is known", ("provider", "model"),
            registry=own,
        )  # fmt: skip
        self._models: set[tuple[str, str]] = set()
        self.held = Gauge("recloser_held_requests", "Requests waiting for a circuit", registry=own)
        self._circuits = CircuitMetrics(registry=own, most_circuits=_MOST_MODELS, shared=_among_models)
        self._circuits.watch(breakers, listen=False)  # what happens to them is heard with everything else

    def __call__(self, stamped: Stamped) -> None:
        """Count an event."""
        event = stamped.event
        if isinstance(event, RequestFinished):
            self._requests.labels(event.wire, event.outcome).inc()
            if event.breaks:
                self._broken.labels(event.wire, "finished" if event.outcome == "ok" else "lost").inc()
            if event.attempts:  # a refusal in no time would make every provider look quick
                self._duration.labels(event.wire).observe(event.duration)
            if event.first_token is not None:
                self._first_token.labels(event.wire).observe(event.first_token)
            for used in event.used:
                self._count(used)
            if event.target is not None and event.attempts > event.failures:  # the last one was not told by itself
                self._attempts.labels(event.target.partition("/")[0], event.outcome).inc()
        elif isinstance(event, GuardTripped):
            self._tripped.labels(event.guard, event.action).inc()
        elif isinstance(event, AttemptFailed):
            self._attempts.labels(event.target.partition("/")[0], event.failure).inc()
        else:
            self._circuits(event)

    def _count(self, used: Used) -> None:
        """Count what an attempt used."""
        of = used.provider, used.model
        if of not in self._models and len(self._models) >= _MOST_MODELS:
            of = used.provider, _OTHERS
        else:
            self._models.add(of)
        for kind, tokens in (
            ("input", used.input_tokens),
            ("output", used.output_tokens),
            ("cache_read", used.cache_read_tokens),
            ("cache_write", used.cache_write_tokens),
        ):
            if tokens:
                self._tokens.labels(*of, kind).inc(tokens)
        if used.cost_usd is not None:
            self._cost.labels(*of).inc(used.cost_usd)

    def render(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)


def _among_models(circuit: str) -> str | None:
    """The label that a model's circuit shares with the others of its provider, and a tool's with those of all tools.

    All other circuits are few, and ours.
    """
    if circuit.startswith("tool/"):
        return "tool/(others)"
    return f"model/{circuit.split('/')[1]}/(others)" if circuit.startswith("model/") else None
