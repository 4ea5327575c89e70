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
    """A circuit as another process left it; what this process has seen of it recently goes on.

    So do the numbers of permits: one of ours that is still out must not get a namesake.
    """
    recent = mine.window if theirs.generation == mine.generation else EMPTY
    return replace(theirs, window=recent, permits=max(theirs.permits, mine.permits))


def concerns_others(before: Circuit, after: Circuit) -> bool:
    """Whether a step changed what all processes share: everything but the window."""
    return after is not before and replace(after, window=before.window) != before


def same_phase(one: Circuit, other: Circuit) -> bool:
    """Whether both are in one state, of one generation: nobody need be told of a way from one to the other."""
    return (one.generation, one.state) == (other.generation, other.state)


def follows(theirs: Circuit, mine: Circuit) -> bool:
    """Whether what another process left can have come of what is here, so that it may simply be taken over."""
    if theirs.seq == mine.seq:
        return same_phase(theirs, mine)
    return theirs.seq > mine.seq and (theirs.generation > mine.generation or same_phase(theirs, mine))


def agreed(stored: Circuit, mine: Circuit, common: Circuit | None = None, owner: str = "") -> Circuit:
    """What the next decision stands on: the stored circuit, unless this process has had to go on without the store.

    `common` is what this process last knew to be stored, before it went on alone as `owner`. Where only one side has
    moved since then, that side holds. Where both have, what is stored holds, for it is what several know, and a process
    that is cut off from the store may be cut off from everything; but no phase gets lost that only one side entered,
    and no order given by hand. Its generation and seq are then new to both sides.
    """
    common = common or mine
    theirs = adopted(stored, mine)
    if stored.seq < common.seq:  # the store has forgotten, and what it has may be somebody's new beginning
        if same_phase(stored, mine):
            return _merged(theirs, mine, owner) if stored.leases else mine
        return mine if mine.generation > stored.generation else _after_both(mine, stored)
    if mine.seq == common.seq and follows(stored, mine):
        return theirs
    if mine.seq > common.seq and stored.seq == common.seq and same_phase(stored, common):
        return mine
    if same_phase(stored, mine):
        return _merged(theirs, mine, owner)
    only_mine = mine.seq > common.seq and same_phase(stored, common)
    by_hand = mine.state in _BY_HAND and stored.state not in _BY_HAND
    return _after_both(mine, stored) if only_mine or by_hand else _after_both(theirs, mine)


def versioned(before: Circuit, after: Circuit) -> Circuit:
    """The circuit to store: every change of it has a version of its own, which is the event sequence."""
    return after if after.seq > before.seq else replace(after, seq=before.seq + 1)


def of_new_history(circuit: Circuit) -> Circuit:
    """The circuit to store where the store has forgotten: with a number that none comes to who remembers it as well."""
    return replace(circuit, seq=circuit.seq + _LEAP)


_LEAP = 1 << 20


_BY_HAND = (CircuitState.FORCED_OPEN, CircuitState.DISABLED, CircuitState.OBSERVE_ONLY)


def _after_both(kept: Circuit, other: Circuit) -> Circuit:
    """What is kept, as what comes after both; where the other's permits could be taken for its own, none is valid."""
    seq = max(kept.seq, other.seq) + 1
    if kept.generation > other.generation:
        return replace(kept, seq=seq)
    return replace(kept, seq=seq, generation=other.generation + 1, leases=(), successes=0, window=EMPTY)


def _merged(stored: Circuit, mine: Circuit, owner: str) -> Circuit:
    """Both in one phase: the later end, and every permit that is out, of which each process knows its own best."""
    later = mine.open_until is not None and stored.open_until is not None and mine.open_until > stored.open_until
    others = tuple(lease for lease in stored.leases if lease.owner != owner)
    return replace(
        mine if later else stored,
        seq=max(stored.seq, mine.seq) + 1,
        failures=max(stored.failures, mine.failures),
        successes=max(stored.successes, mine.successes),
        permits=max(stored.permits, mine.permits),
        leases=(*others, *(lease for lease in mine.leases if lease.owner == owner)),
    )
