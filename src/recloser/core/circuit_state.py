"""What there is to know of a circuit, as one value, and every way from one state to another."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from recloser.core.events import Event
from recloser.core.failure import FailureKind
from recloser.core.window import EMPTY, Window


class CircuitState(StrEnum):
    """Where a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    OBSERVE_ONLY = "observe_only"


_C, _O, _H, _F, _D, _W = CircuitState
PASSING = (_C, _D, _W)
"""States in which every call passes."""
REFUSING = (_O, _F)
"""States in which no call passes until their time is over."""
COUNTING = (_C, _W)
"""States in which failures are counted towards an opening."""
TRANSITIONS: dict[tuple[CircuitState, CircuitState], str] = {
    (_C, _O): "a rule is broken, or a failure that opens at once",
    (_O, _H): "cooldown over",
    (_H, _C): "enough trials succeeded",
    (_H, _O): "a trial failed",
    (_F, _H): "the time given by hand is over, or released by hand",
    **{(state, _F): "forced open by hand" for state in (_C, _O, _H, _D, _W)},
    **{(state, _D): "disabled by hand" for state in (_C, _O, _H, _F, _W)},
    **{(state, _W): "set to observe only by hand" for state in (_C, _O, _H, _F, _D)},
    (_O, _C): "a probe succeeded, or reset by hand",
    (_F, _C): "reset by hand",
    **{(state, _C): "released or reset by hand" for state in (_D, _W)},
}
"""Every legal transition and what causes it. The documentation's state diagram is drawn from this table."""


class Permit(NamedTuple):
    """The right to make one call. `number` is 0 outside half-open, where permits are not counted."""

    generation: int
    number: int = 0
    owner: str = ""
    """Who holds it, where several processes share the circuit."""


class Lease(NamedTuple):
    """A half-open permit that is out, and when it is taken back."""

    number: int
    granted_at: float
    deadline: float
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The whole state of a circuit."""

    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    """Goes up with every transition."""
    seq: int = 0
    """Goes up with every event, and is the version where the circuit is shared."""
    failures: int = 0
    """Consecutive failures since the last success."""
    window: Window = EMPTY
    """The recent past while closed, in this process alone."""
    last_kind: FailureKind | None = None
    opened_at: float | None = None
    open_until: float | None = None
    """When open ends; infinite if only proof or a hand ends it. None unless open."""
    authoritative: bool = False
    """Whether `open_until` is a server's own word."""
    outage_began: float | None = None
    """When it opened first without having closed since; later by the time in which nobody asked."""
    failed_at: float | None = None
    """When it was last seen to fail in this outage; likewise."""
    recovery: float | None = None
    """How long recoveries take, as far as we have seen."""
    closed_at: float | None = None
    openings: int = 0
    """Openings without lasting health in between: the exponent of the cooldown."""
    cooldown: float = 0.0
    """The last estimated cooldown."""
    successes: int = 0
    """Trials that succeeded in this half-open."""
    leases: tuple[Lease, ...] = ()
    permits: int = 0
    """Half-open permits ever granted: the number of the last one."""
    reason: str = ""

    def shifted(self, delta: float) -> "Circuit":
        """The same circuit on a clock that is `delta` seconds ahead."""

        def moved(time: float | None) -> float | None:
            return None if time is None else time + delta

        return replace(
            self,
            opened_at=moved(self.opened_at),
            open_until=moved(self.open_until),
            outage_began=moved(self.outage_began),
            failed_at=moved(self.failed_at),
            closed_at=moved(self.closed_at),
            window=tuple(part._replace(began=part.began + delta) for part in self.window),
            leases=tuple(Lease(x.number, x.granted_at + delta, x.deadline + delta, x.owner) for x in self.leases),
        )


class Denied(NamedTuple):
    """Refused. `retry_after` is in seconds; None when time alone will not help."""

    state: CircuitState
    retry_after: float | None
    reason: str
    kind: FailureKind | None = None
    """What opened the circuit."""


class Step(NamedTuple):
    """The next state and the events that led to it."""

    circuit: Circuit
    events: tuple[Event, ...] = ()


def entered(
    circuit: Circuit,
    state: CircuitState,
    *,
    reason: str,
    opened_at: float | None = None,
    open_until: float | None = None,
) -> Circuit:
    """The circuit in another state: a new generation, with no permit out."""
    assert circuit.state is state or (circuit.state, state) in TRANSITIONS
    return replace(
        circuit,
        state=state,
        generation=circuit.generation + 1,
        opened_at=opened_at if opened_at is not None else circuit.opened_at,
        open_until=open_until,
        authoritative=False,
        successes=0,
        leases=(),
        window=EMPTY,
        reason=reason,
    )


def told(circuit: Circuit, event: Event) -> Step:
    """The step that led to this circuit, with the event of it."""
    return Step(replace(circuit, seq=event.seq), (event,))


def finite(wait: float | None) -> float | None:
    """The wait, or None where time alone does not end it."""
    return None if wait is None or math.isinf(wait) else wait
