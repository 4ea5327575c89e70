"""What can be measured of circuits, for whoever measures: Prometheus and OpenTelemetry tell the same.

States, waits and calls are read from snapshots at the moment somebody asks, so that a call pays nothing for it. Only
transitions are counted when they are heard: a snapshot does not know how it came about.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from recloser.breaker import Breakers, BreakersSnapshot, CircuitBreaker, CircuitSnapshot
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event

Source = CircuitBreaker | Breakers
Shared = Callable[[str], str | None]
"""Gives the label that a circuit shares with others once there are too many; None: it always has its own."""

OUTCOMES = ("succeeded", "failed", "ignored", "cancelled", "expired", "denied")
"""What can become of a call; the names are those of a snapshot's counters."""
STATES = {"closed": 0, "half_open": 1, "open": 2, "forced_open": 3, "disabled": 4, "observe_only": 5}
UNKNOWN_STATE = -1
OTHERS = "(others)"
MOST_CIRCUITS = 300
"""How many circuits have a label of their own. Six outcomes of each stay below the 2000 series of one instrument past
which OpenTelemetry's SDK throws all together."""

COOLDOWN = "The last cooldown that was estimated"
REMAINING = "How long calls are still refused, unless time alone does not help"
CALLS = "Calls, by what became of them"
TRANSITIONS = "Transitions of circuits"

_MILDEST_FIRST = ("closed", "disabled", "observe_only", "half_open", "open", "forced_open")
_ENTERED: Mapping[type[Event], str] = {
    CircuitOpened: "open",
    CircuitHalfOpened: "half_open",
    CircuitClosed: "closed",
}


@dataclass(slots=True, kw_only=True)
class Reading:
    """The circuits of one label at one moment: the gravest state, the longest waits in seconds, and all calls."""

    state: str
    cooldown: float
    """The last cooldown that was estimated."""
    remaining: float
    """How long calls are still refused: 0 if the next one may pass, infinite if time alone does not help."""
    calls: Mapping[str, int]
    """How many came to each outcome, since the first reading knew of them. They never fall."""

    @property
    def number(self) -> int:
        """The state as a gauge shows it."""
        return STATES.get(self.state, UNKNOWN_STATE)


class Labels:
    """The label of each circuit: its name, or what it shares with all those that came too late.

    A circuit keeps its label for good, so that over time, too, there are never more than so many.
    """

    def __init__(self, most: int, shared: Shared) -> None:
        self._most = most
        self._shared = shared
        self._own: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, circuit: str) -> str:
        """The label of a circuit."""
        if circuit in self._own:
            return circuit
        shared = self._shared(circuit)
        if shared is None:
            return circuit
        with self._lock:
            if len(self._own) < self._most:
                self._own.add(circuit)
        return circuit if circuit in self._own else shared


class Circuits:
    """The circuits of some breakers and registries."""

    def __init__(self, *, most: int = MOST_CIRCUITS, shared: Shared = lambda _circuit: OTHERS) -> None:
        self._label = Labels(most, shared)
        self._lock = threading.Lock()
        self._sources: tuple[Source, ...] = ()
        self._seen: dict[tuple[int, str], tuple[int, ...]] = {}
        """The counters of each circuit as they were last read."""
        self._totals: dict[str, list[int]] = {}

    def watch(self, sources: Iterable[Source]) -> list[Source]:
        """Read these, too, from now on; gives those that were not read before."""
        with self._lock:
            new = [source for source in sources if source not in self._sources]
            self._sources += tuple(new)
        return new

    def transition(self, event: Event) -> tuple[str, str] | None:
        """The label of the circuit and the state that it entered, if the event tells of such a thing."""
        to = event.state if isinstance(event, CircuitForced) else _ENTERED.get(type(event))
        return None if to is None else (self._label(event.subject), str(to))

    def read(self) -> dict[str, Reading]:
        """Every label as it stands now."""
        with self._lock:  # one reader at a time, or an older snapshot could be counted after a newer one
            readings: dict[str, Reading] = {}
            seen: dict[tuple[int, str], tuple[int, ...]] = {}
            for key, circuit in self._snapshots():
                seen[key] = tuple(getattr(circuit, outcome) for outcome in OUTCOMES)
                label = self._label(circuit.name)
                self._count(label, seen[key], self._seen.get(key))
                readings[label] = _together(readings.get(label), circuit)
            self._seen = seen
            for label, reading in readings.items():
                reading.calls = dict(zip(OUTCOMES, self._totals[label], strict=True))
        return readings

    def _snapshots(self) -> Iterator[tuple[tuple[int, str], CircuitSnapshot]]:
        for number, source in enumerate(self._sources):
            snapshot = source.snapshot()
            circuits = snapshot.circuits.values() if isinstance(snapshot, BreakersSnapshot) else (snapshot,)
            yield from (((number, circuit.name), circuit) for circuit in circuits)

    def _count(self, label: str, counts: tuple[int, ...], before: tuple[int, ...] | None) -> None:
        """Add what is new to the totals of a label.

        Were the counters of its circuits merely added up, the sum would fall with each one that a registry forgets, and
        a counter that falls is taken for one that began again.
        """
        total = self._totals.setdefault(label, [0] * len(OUTCOMES))
        if before is None or any(now < then for now, then in zip(counts, before, strict=True)):
            before = (0,) * len(OUTCOMES)  # forgotten and made anew
        for index, now in enumerate(counts):
            total[index] += now - before[index]


def _together(reading: Reading | None, circuit: CircuitSnapshot) -> Reading:
    """The reading of a label with one circuit more."""
    state, remaining = str(circuit.state), circuit.retry_after or 0.0
    if circuit.retry_after is None and circuit.open_until == inf:
        remaining = inf
    if reading is None:
        return Reading(state=state, cooldown=circuit.cooldown, remaining=remaining, calls={})
    reading.state = max(reading.state, state, key=_gravity)
    reading.cooldown = max(reading.cooldown, circuit.cooldown)
    reading.remaining = max(reading.remaining, remaining)
    return reading


def _gravity(state: str) -> int:
    return _MILDEST_FIRST.index(state) if state in _MILDEST_FIRST else UNKNOWN_STATE


def meaning_of_states() -> str:
    """Which number stands for which state, for whoever looks at a gauge."""
    return ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in STATES.items())
