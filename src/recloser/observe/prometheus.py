"""Circuits as Prometheus metrics, for any program that has breakers. Needs the extra `prometheus`.

    tools = Breakers()
    CircuitMetrics(tools)

Everything but the transitions is read from snapshots when Prometheus asks. A call that was refused is counted as
`denied` and nothing else: no time is measured of it. In prometheus_client's multiprocess mode there are no custom
collectors, and so none of these metrics: scrape each process by itself there.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator

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

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    missing = "recloser.observe.prometheus needs prometheus-client: pip install recloser[prometheus]"
    raise ImportError(missing, name=error.name) from error


class CircuitMetrics(Collector):
    """The circuits of breakers and registries, registered as one collector: make one for all that share a registry.

    It listens to them by itself, to count transitions. `most_circuits` circuits have a label of their own, the first
    that come; later ones share the label that `shared` gives. ValueError if the registry has these metrics already.
    """

    def __init__(
        self,
        *sources: Source,
        registry: CollectorRegistry = REGISTRY,
        most_circuits: int = MOST_CIRCUITS,
        shared: Shared = lambda _circuit: OTHERS,
    ) -> None:
        self._circuits = Circuits(most=most_circuits, shared=shared)
        self._transitions: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()
        registry.register(self)
        self.watch(*sources)

    def watch(self, *sources: Source, listen: bool = True) -> None:
        """Show the circuits of these, too. Without `listen`, somebody else calls this object with their events."""
        for source in self._circuits.watch(sources):
            if listen:
                source.listen(self)

    def __call__(self, event: Event) -> None:
        """Count a transition; other events pass."""
        transition = self._circuits.transition(event)
        if transition is not None:
            with self._counting:
                self._transitions[transition] += 1

    def describe(self) -> Iterable[Metric]:
        """The metrics without a value: what the registry compares with those that it has."""
        yield from _families({}, {})

    def collect(self) -> Iterable[Metric]:
        """The metrics as they stand now."""
        with self._counting:
            transitions = dict(self._transitions)
        yield from _families(self._circuits.read(), transitions)


def _families(readings: dict[str, Reading], transitions: dict[tuple[str, str], int]) -> Iterator[Metric]:
    one = ("circuit",)
    states = GaugeMetricFamily("recloser_circuit_state", meaning_of_states(), labels=one)
    cooldowns = GaugeMetricFamily("recloser_circuit_cooldown_seconds", COOLDOWN, labels=one)
    remaining = GaugeMetricFamily("recloser_circuit_remaining_seconds", f"{REMAINING}: +Inf", labels=one)
    calls = CounterMetricFamily("recloser_circuit_calls", CALLS, labels=(*one, "outcome"))
    entered = CounterMetricFamily("recloser_circuit_transitions", TRANSITIONS, labels=(*one, "to"))
    for label, reading in readings.items():
        states.add_metric((label,), reading.number)
        cooldowns.add_metric((label,), reading.cooldown)
        remaining.add_metric((label,), reading.remaining)
        for outcome, count in reading.calls.items():
            calls.add_metric((label, outcome), count)
    for transition, count in transitions.items():
        entered.add_metric(transition, count)
    yield from (states, cooldowns, remaining, calls, entered)
