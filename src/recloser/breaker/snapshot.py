"""A breaker, and a registry of them, at one moment."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from recloser.core import adaptive, window
from recloser.core import circuit as machine
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import REFUSING, Circuit, CircuitState
from recloser.core.failure import FailureKind

OUTCOMES = ("succeeded", "failed", "ignored", "cancelled", "expired")
"""What can become of a call that was admitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSnapshot:
    """A breaker at one moment. Times are on the breaker's monotonic clock, durations in seconds."""

    name: str
    state: CircuitState
    generation: int
    seq: int
    failures: int
    """Consecutive ones."""
    threshold: int
    """The consecutive failures that open it: the setting, or what adapting has made of it."""
    window_calls: int
    """Calls in the window, of which so many failed and so many were slow."""
    window_failures: int
    window_slow: int
    opened_at: float | None
    open_until: float | None
    """When open ends; infinite if time alone does not end it."""
    retry_after: float | None
    """What is left of it; None if it refuses nobody, or if time alone does not help."""
    authoritative: bool
    """Whether `open_until` is a server's own word."""
    cooldown: float
    """The last estimated cooldown."""
    open_count: int
    """How often it opened."""
    calls: int
    admitted: int
    succeeded: int
    failed: int
    ignored: int
    cancelled: int
    expired: int
    stale: int
    """Settled after the circuit had moved on; they are among the others."""
    live: int
    denied: int
    last_denied_at: float | None
    last_kind: FailureKind | None
    reason: str

    @property
    def refusing(self) -> bool:
        """Whether it refuses every call now. Once its time is over it does not, although nobody has asked yet."""
        return self.state in REFUSING and (self.retry_after is not None or self.open_until == math.inf)


@dataclass(frozen=True, slots=True)
class BreakersSnapshot:
    """Every breaker of a registry at one moment."""

    circuits: Mapping[str, CircuitSnapshot]

    @property
    def open(self) -> tuple[str, ...]:
        """The names of the circuits that refuse every call now."""
        return tuple(name for name, circuit in self.circuits.items() if circuit.refusing)

    @property
    def open_count(self) -> int:
        """How many circuits refuse every call now."""
        return len(self.open)


class Moment(NamedTuple):
    """What a snapshot is made of, taken under the breaker's lock."""

    name: str
    settings: CircuitSettings
    circuit: Circuit
    counts: Mapping[str, int]
    last_denied_at: float | None
    past: window.Slice
    """The window as one."""

    @property
    def live(self) -> int:
        """The permits that are out."""
        return self.counts["admitted"] - sum(self.counts[how] for how in OUTCOMES)

    def snapshot(self, now: float) -> CircuitSnapshot:
        """The snapshot of it."""
        circuit, counts, past = self.circuit, self.counts, self.past
        refused = machine.denial(circuit, self.settings, now)
        return CircuitSnapshot(
            name=self.name, state=circuit.state, generation=circuit.generation, seq=circuit.seq,
            failures=circuit.failures, threshold=adaptive.threshold(self.settings, circuit.window),
            window_calls=past.calls, window_failures=past.failures, window_slow=past.slow,
            opened_at=circuit.opened_at, open_until=circuit.open_until,
            retry_after=refused.retry_after if refused else None, authoritative=circuit.authoritative,
            cooldown=circuit.cooldown, open_count=counts["opened"], calls=counts["admitted"] + counts["denied"],
            admitted=counts["admitted"], succeeded=counts["succeeded"], failed=counts["failed"],
            ignored=counts["ignored"], cancelled=counts["cancelled"], expired=counts["expired"], stale=counts["stale"],
            live=self.live, denied=counts["denied"], last_denied_at=self.last_denied_at, last_kind=circuit.last_kind,
            reason=circuit.reason,
        )  # fmt: skip
