"""The circuit: one state machine for everything that can fail.

Every function takes the whole state as one value and returns the next one with the events that led to it; a function
that changes nothing returns the very same object, so that `is` tells whether there is anything to store.

Three mechanisms make half-open correct, and all three are needed:

1. generation: a permit carries the circuit's generation; a result from an earlier one is no verdict on this one;
2. limited permits: half-open admits at most `half_open_permits` at a time;
3. lease: a permit that is never settled is taken back at its deadline; a cancelled one at once.

Times are seconds on one clock of the caller's choosing.
"""

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from recloser.core.backoff import backoff
from recloser.core.errors import ConfigError
from recloser.core.events import (
    CircuitClosed,
    CircuitForced,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    PermitExpired,
)
from recloser.core.failure import Effect, Failure, FailureKind
from recloser.core.units import Duration

LONGEST_OPENING = 8 * 86400.0
"""No server may close a circuit to us for longer than this many seconds; a weekly limit fits."""


class CircuitState(StrEnum):
    """Where a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


_C, _O, _H, _F, _D = CircuitState
TRANSITIONS: dict[tuple[CircuitState, CircuitState], str] = {
    (_C, _O): "threshold reached, or a failure that opens at once",
    (_O, _H): "cooldown over",
    (_H, _C): "enough trials succeeded",
    (_H, _O): "a trial failed",
    (_F, _H): "the time given by hand is over",
    **{(state, _F): "forced open by hand" for state in (_C, _O, _H, _D)},
    **{(state, _D): "disabled by hand" for state in (_C, _O, _H, _F)},
    (_O, _C): "a probe succeeded, or reset by hand",
    **{(state, _C): "reset by hand" for state in (_F, _D)},
}
"""Every legal transition and what causes it. The documentation's state diagram is drawn from this table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSettings:
    """What a circuit is judged by. Durations are seconds (a `timedelta` is taken too)."""

    failure_threshold: int = 5
    """Consecutive failures that open the circuit; 0 turns the rule off."""
    half_open_permits: int = 1
    """How many calls may try at once in half-open, and how many must succeed to close."""
    permit_lease: Duration = 600.0
    """When a half-open permit that was never settled is taken back. A call that takes longer loses its vote."""
    cooldown: Duration = 5.0
    """How long the first opening lasts."""
    cooldown_factor: float = 2.0
    """Growth from one opening to the next while there is no lasting health in between."""
    cooldown_max: Duration = 300.0
    """The longest estimated opening."""
    jitter: float = 0.1
    """Spread of the cooldown: 0.1 is +-10 %."""

    def __post_init__(self) -> None:
        for name in ("permit_lease", "cooldown", "cooldown_max"):
            given = getattr(self, name)
            seconds = given.total_seconds() if isinstance(given, timedelta) else given
            if not (isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0):
                raise ConfigError(f"{name} must be a finite duration above 0, not {given!r}")
            object.__setattr__(self, name, float(seconds))
        for name, least in (("failure_threshold", 0), ("half_open_permits", 1)):
            count = getattr(self, name)
            if not isinstance(count, int) or count < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {count!r}")
        if not 1.0 <= self.cooldown_factor < math.inf:
            raise ConfigError(f"cooldown_factor must be finite and at least 1, not {self.cooldown_factor!r}")
        if not 0.0 <= self.jitter < 1.0:
            raise ConfigError(f"jitter must be at least 0 and below 1, not {self.jitter!r}")
        if self.cooldown_max < self.cooldown:
            raise ConfigError(
                f"cooldown_max ({self.cooldown_max:g} s) must not be below cooldown ({self.cooldown:g} s)"
            )


class Permit(NamedTuple):
    """The right to make one call. `number` is 0 outside half-open, where permits are not counted."""

    generation: int
    number: int = 0


class Lease(NamedTuple):
    """A half-open permit that is out, and when it is taken back."""

    number: int
    granted_at: float
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The whole state of a circuit."""

    state: CircuitState = CircuitState.CLOSED
    generation: int = 0
    """Goes up with every transition."""
    seq: int = 0
    """Goes up with every event."""
    failures: int = 0
    """Consecutive failures since the last success."""
    last_kind: FailureKind | None = None
    opened_at: float | None = None
    open_until: float | None = None
    """When open ends; infinite if only proof or a hand ends it. None unless open."""
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
            closed_at=moved(self.closed_at),
            leases=tuple(Lease(x.number, x.granted_at + delta, x.deadline + delta) for x in self.leases),
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


def denial(circuit: Circuit, settings: CircuitSettings, now: float) -> Denied | None:
    """Why the next call would be refused, or None if it would be admitted. Changes nothing."""
    if circuit.state in (CircuitState.CLOSED, CircuitState.DISABLED):
        return None
    if circuit.state is CircuitState.HALF_OPEN:
        live = [lease.deadline for lease in circuit.leases if lease.deadline > now]
        # with no trial under way one is always admitted, even if fewer are wanted now than have succeeded
        if not live or len(live) + circuit.successes < settings.half_open_permits:
            return None
        # a trial is under way and settles at a time that nobody knows: at the latest when its lease runs out
        return Denied(circuit.state, min(min(live) - now, settings.cooldown), circuit.reason, circuit.last_kind)
    assert circuit.open_until is not None
    if circuit.open_until <= now:
        return None
    wait = circuit.open_until - now
    return Denied(circuit.state, None if math.isinf(wait) else wait, circuit.reason, circuit.last_kind)


def admit(circuit: Circuit, settings: CircuitSettings, subject: str, now: float) -> tuple[Step, Permit | Denied]:
    """Ask for a permit."""
    if circuit.state is CircuitState.CLOSED or circuit.state is CircuitState.DISABLED:
        return Step(circuit), Permit(circuit.generation)
    refused = denial(circuit, settings, now)
    if refused is not None:
        return Step(circuit), refused
    events: tuple[Event, ...] = ()
    if circuit.state is not CircuitState.HALF_OPEN:
        circuit, events = _half_open(circuit, subject, now)
    circuit, expired = _reclaim(circuit, subject, now)
    number = circuit.permits + 1
    lease = Lease(number, now, now + settings.permit_lease)
    circuit = replace(circuit, permits=number, leases=(*circuit.leases, lease))
    return Step(circuit, events + expired), Permit(circuit.generation, number)


def succeed(circuit: Circuit, settings: CircuitSettings, permit: Permit, subject: str, now: float) -> Step:
    """The call went well."""
    if permit.generation != circuit.generation:
        return Step(circuit)  # a late answer says nothing about the phase we are in now
    if circuit.state is CircuitState.HALF_OPEN:
        returned = _give_back(circuit, permit)
        if returned is circuit:
            return Step(circuit)  # its lease had run out: somebody else is trying now
        if circuit.successes + 1 < settings.half_open_permits:
            return Step(replace(returned, successes=circuit.successes + 1))
        return _close(returned, subject, now)
    if circuit.state is CircuitState.CLOSED and circuit.failures:
        return Step(replace(circuit, failures=0))
    return Step(circuit)


def fail(
    circuit: Circuit,
    settings: CircuitSettings,
    permit: Permit,
    failure: Failure,
    subject: str,
    now: float,
    *,
    rand: float = 0.5,
) -> Step:
    """The call failed and this circuit is charged with it. `rand` in [0, 1) spreads the cooldown."""
    if permit.generation != circuit.generation:
        return Step(_extended(circuit, failure, now))
    if failure.effect is Effect.NOTHING:
        return give_back(circuit, permit)
    if circuit.state is CircuitState.DISABLED:
        return Step(circuit)
    if circuit.state is CircuitState.HALF_OPEN:
        returned = _give_back(circuit, permit)
        if returned is circuit:
            return Step(circuit)
        return _open(replace(returned, failures=circuit.failures + 1), settings, failure, subject, now, rand)
    charged = replace(circuit, failures=circuit.failures + 1, last_kind=failure.kind)
    threshold_reached = 0 < settings.failure_threshold <= charged.failures
    if failure.effect is Effect.OPENS or threshold_reached:
        return _open(charged, settings, failure, subject, now, rand)
    return Step(charged)


def give_back(circuit: Circuit, permit: Permit) -> Step:
    """The call was cancelled or says nothing about health: the permit is back at once, and that is no verdict."""
    if permit.generation != circuit.generation:
        return Step(circuit)
    return Step(_give_back(circuit, permit))


def force_open(circuit: Circuit, subject: str, now: float, *, duration: float | None, reason: str) -> Step:
    """Open by hand: for `duration` seconds, or until reset."""
    if duration is not None and not (math.isfinite(duration) and duration >= 0):
        raise ConfigError(f"a circuit is forced open for a finite time of at least 0 seconds, not {duration!r}")
    until = math.inf if duration is None else now + duration
    step = _enter(circuit, CircuitState.FORCED_OPEN, opened_at=now, open_until=until, reason=reason)
    step = replace(step, last_kind=None)  # no failure opened it
    return _told(step, CircuitForced(
        subject=subject, seq=step.seq + 1, state=step.state, retry_after=duration, reason=reason
    ))  # fmt: skip


def disable(circuit: Circuit, subject: str, *, reason: str) -> Step:
    """Let every call pass and count nothing, until reset."""
    if circuit.state is CircuitState.DISABLED:
        return Step(circuit)
    step = _enter(circuit, CircuitState.DISABLED, reason=reason)
    return _told(step, CircuitForced(
        subject=subject, seq=step.seq + 1, state=step.state, retry_after=None, reason=reason
    ))  # fmt: skip


def reset(circuit: Circuit, subject: str, now: float, *, reason: str) -> Step:
    """Close by hand and forget every failure."""
    if circuit.state is CircuitState.CLOSED:
        if not circuit.failures and not circuit.openings:
            return Step(circuit)
        return Step(replace(circuit, failures=0, openings=0))
    step = replace(_enter(circuit, CircuitState.CLOSED, reason=""), closed_at=now, failures=0, openings=0)
    return _told(step, CircuitForced(
        subject=subject, seq=step.seq + 1, state=step.state, retry_after=None, reason=reason
    ))  # fmt: skip


def restore(circuit: Circuit, subject: str, now: float) -> Step:
    """A probe has proven well what is behind an open circuit: calls pass again, without a trial on live traffic."""
    return _close(circuit, subject, now) if circuit.state is CircuitState.OPEN else Step(circuit)


def revived(circuit: Circuit, now: float) -> Circuit:
    """A circuit as the next process takes it over from the store.

    Permits that were out died with their owner; an opening that waits for proof is tried again, since a restart is
    how people act after mending a key. Every other opening keeps its remaining time.
    """
    if circuit.state is CircuitState.HALF_OPEN:
        return replace(_enter(circuit, CircuitState.OPEN, reason=circuit.reason), open_until=now)
    if circuit.state is CircuitState.OPEN and circuit.open_until is not None:
        until = now if math.isinf(circuit.open_until) else min(circuit.open_until, now + LONGEST_OPENING)
        return replace(circuit, open_until=until)
    return circuit


def _enter(
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
        successes=0,
        leases=(),
        reason=reason,
    )


def _told(circuit: Circuit, event: Event) -> Step:
    return Step(replace(circuit, seq=event.seq), (event,))


def _open(circuit: Circuit, settings: CircuitSettings, failure: Failure, subject: str, now: float, rand: float) -> Step:
    openings = 0 if lastingly_healthy(circuit, settings, now) else circuit.openings
    cooldown = backoff(
        settings.cooldown,
        settings.cooldown_factor,
        settings.cooldown_max,
        openings,
        jitter=settings.jitter,
        rand=rand,
    )
    hint = _usable_hint(failure)
    if failure.until_proven:
        wait = math.inf
    elif hint is not None and failure.effect is Effect.OPENS:
        wait = hint  # the server's word, neither grown nor spread
    else:
        wait = max(cooldown, hint or 0.0)
        openings += 1
    reason = _reason(failure)
    opened = replace(
        _enter(circuit, CircuitState.OPEN, opened_at=now, open_until=now + wait, reason=reason),
        openings=openings,
        cooldown=cooldown,
        last_kind=failure.kind,
    )
    return _told(opened, CircuitOpened(
        subject=subject, seq=opened.seq + 1, failure=failure.kind, failures=circuit.failures,
        retry_after=None if math.isinf(wait) else wait, authoritative=failure.authoritative and wait == hint,
        reason=reason,
    ))  # fmt: skip


def lastingly_healthy(circuit: Circuit, settings: CircuitSettings, now: float) -> bool:
    """Whether growth is forgotten: closed for as long as the longest cooldown, not merely one lucky success."""
    if circuit.state is not CircuitState.CLOSED:
        return False
    return circuit.closed_at is None or now - circuit.closed_at >= settings.cooldown_max


def _reason(failure: Failure) -> str:
    return f"{failure.kind}: {failure.message}" if failure.message else str(failure.kind)


def forgettable(circuit: Circuit, settings: CircuitSettings, now: float) -> bool:
    """Whether a circuit nobody asks for may be dropped: it is well, or its opening has long been over."""
    if circuit.state is CircuitState.OPEN and circuit.open_until is not None:
        return now - circuit.open_until >= settings.cooldown_max
    return lastingly_healthy(circuit, settings, now)


def _usable_hint(failure: Failure) -> float | None:
    if failure.retry_after is None or not math.isfinite(failure.retry_after) or failure.retry_after < 0:
        return None
    return min(failure.retry_after, LONGEST_OPENING)


def _extended(circuit: Circuit, failure: Failure, now: float) -> Circuit:
    """A late failure is no verdict, but a server's later reset is a fact: the only thing that moves `open_until`."""
    hint = _usable_hint(failure)
    if circuit.state is not CircuitState.OPEN or circuit.open_until is None:
        return circuit
    if failure.effect is not Effect.OPENS or not failure.authoritative or hint is None:
        return circuit
    if now + hint <= circuit.open_until:
        return circuit
    return replace(circuit, open_until=now + hint, last_kind=failure.kind, reason=_reason(failure))


def _half_open(circuit: Circuit, subject: str, now: float) -> Step:
    assert circuit.opened_at is not None
    trying = _enter(circuit, CircuitState.HALF_OPEN, reason=circuit.reason)
    return _told(trying, CircuitHalfOpened(
        subject=subject, seq=trying.seq + 1, open_for=now - circuit.opened_at
    ))  # fmt: skip


def _close(circuit: Circuit, subject: str, now: float) -> Step:
    assert circuit.opened_at is not None
    closed = replace(_enter(circuit, CircuitState.CLOSED, reason=""), closed_at=now, failures=0)
    return _told(closed, CircuitClosed(
        subject=subject, seq=closed.seq + 1, open_for=now - circuit.opened_at
    ))  # fmt: skip


def _give_back(circuit: Circuit, permit: Permit) -> Circuit:
    """The circuit without this permit's lease; the very same circuit if it holds none."""
    kept = tuple(lease for lease in circuit.leases if lease.number != permit.number)
    return circuit if len(kept) == len(circuit.leases) else replace(circuit, leases=kept)


def _reclaim(circuit: Circuit, subject: str, now: float) -> Step:
    """Take back the permits whose lease has run out."""
    events: list[Event] = []
    for lease in circuit.leases:
        if lease.deadline <= now:
            circuit = replace(_give_back(circuit, Permit(circuit.generation, lease.number)), seq=circuit.seq + 1)
            events.append(PermitExpired(subject=subject, seq=circuit.seq, held_for=now - lease.granted_at))
    return Step(circuit, tuple(events))
