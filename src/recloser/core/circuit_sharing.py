"""A circuit between processes: what the next one takes over, and what is told of a change that another one made."""

import math
from dataclasses import replace

from recloser.core.circuit import LONGEST_OPENING
from recloser.core.circuit_state import Circuit, CircuitState, finite
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event
from recloser.core.failure import FailureKind
from recloser.core.window import EMPTY


def retried(circuit: Circuit, now: float) -> Circuit:
    """A circuit as the next process takes it over: what waits for proof is tried, a restart being how people mend."""
    if circuit.state is CircuitState.OPEN and circuit.open_until is not None:
        until = now if math.isinf(circuit.open_until) else min(circuit.open_until, now + LONGEST_OPENING)
        return circuit if until == circuit.open_until else replace(circuit, open_until=until)
    return circuit


def announcement(circuit: Circuit, subject: str, now: float) -> Event:
    """The event of being where the circuit is, for those who did not see it come here."""
    seq, kind = circuit.seq, circuit.last_kind or FailureKind.SERVER_ERROR
    remaining = finite(circuit.open_until - now if circuit.open_until is not None else None)
    open_for = now - circuit.opened_at if circuit.opened_at is not None else 0.0
    match circuit.state:
        case CircuitState.OPEN:
            return CircuitOpened(
                subject=subject, seq=seq, failure=kind, failures=circuit.failures, rule="shared",
                retry_after=remaining, authoritative=circuit.authoritative, reason=circuit.reason,
            )  # fmt: skip
        case CircuitState.HALF_OPEN:
            return CircuitHalfOpened(subject=subject, seq=seq, open_for=open_for)
        case CircuitState.CLOSED:
            return CircuitClosed(subject=subject, seq=seq, open_for=open_for)
        case _:
            return CircuitForced(
                subject=subject, seq=seq, state=circuit.state, retry_after=remaining, reason=circuit.reason
            )


def adopted(theirs: Circuit, mine: Circuit) -> Circuit:
    """A circuit as another process left it; what this process has seen of it recently goes on."""
    return replace(theirs, window=mine.window if theirs.generation == mine.generation else EMPTY)


def concerns_others(before: Circuit, after: Circuit) -> bool:
    """Whether a step changed what all processes share: everything but the window."""
    return after is not before and replace(after, window=before.window) != before


def agreed(stored: Circuit, mine: Circuit) -> Circuit:
    """What the next decision stands on: the stored circuit, unless this process has had to go on without the store."""
    return adopted(stored, mine) if stored.seq >= mine.seq else mine


def versioned(before: Circuit, after: Circuit) -> Circuit:
    """The circuit to store: every change of it has a version of its own, which is the event sequence."""
    return after if after.seq > before.seq else replace(after, seq=before.seq + 1)
