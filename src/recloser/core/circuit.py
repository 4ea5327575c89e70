"""The circuit: one state machine for everything that can fail.

Every function takes the whole state as one value and returns the next one with the events that led to it; a function
that changes nothing returns the very same object, so that `is` tells whether there is anything to store.

While a circuit is closed and no call fails, nothing has to be decided: `easy` says until when and for how many calls,
and `tally` takes in afterwards how many there were.

Three mechanisms make half-open correct, and all three are needed:

1. generation: a permit carries the circuit's generation; a result from an earlier one is no verdict on this one;
2. limited permits: half-open admits at most `half_open_permits` at a time;
3. lease: a permit that is never settled is taken back at its deadline; a cancelled one at once.

Times are seconds on one clock of the caller's choosing.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from recloser.core import adaptive, window
from recloser.core.backoff import backoff
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import (
    COUNTING,
    PASSING,
    Circuit,
    CircuitState,
    Denied,
    Lease,
    Permit,
    Step,
    entered,
    finite,
    told,
)
from recloser.core.duration import format_duration
from recloser.core.events import (
    CircuitClosed,
    CircuitExtended,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitWouldOpen,
    Event,
    PermitExpired,
)
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.core.window import EMPTY, Window

LONGEST_OPENING = 8 * 86400.0
"""No server may close a circuit to us for longer than this many seconds; a weekly limit fits."""


class Easy(NamedTuple):
    """While nothing needs deciding: calls are admitted, and successes may just be counted."""

    generation: int
    until: float
    calls: float
    """How many successes, at most."""
    slow_call: float
    """From this duration on a success is not to be counted but told."""


def easy(circuit: Circuit, settings: CircuitSettings, now: float) -> Easy | None:
    """How far the next calls need no decision; None if the very next one does."""
    if circuit.state is CircuitState.DISABLED:
        return Easy(circuit.generation, math.inf, math.inf, math.inf)
    if circuit.state not in COUNTING or circuit.failures:
        return None
    if settings.throttle and any(part.failures for part in circuit.window):
        return None
    until, calls = window.room(circuit.window, settings, now)
    if now >= until or calls == 0:
        return None
    slow = settings.slow_call if settings.slow_call and settings.slow_rate else math.inf
    return Easy(circuit.generation, until, math.inf if calls is None else calls, slow)


def tally(circuit: Circuit, settings: CircuitSettings, successes: int, now: float) -> Circuit:
    """The circuit with the successes of easy calls taken in, and ready for more of them at `now`."""
    if circuit.state not in COUNTING:
        return circuit
    before = circuit.window
    if successes:
        last = before[-1].began if before else now
        before = window.count(before, settings, last, calls=successes)
    after = window.begun(before, settings, now)
    return circuit if after is circuit.window else replace(circuit, window=after)


def denial(circuit: Circuit, settings: CircuitSettings, now: float) -> Denied | None:
    """Why the next call would be refused, or None if it would be admitted. Changes nothing."""
    if circuit.state in PASSING:
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


def admit(
    circuit: Circuit,
    settings: CircuitSettings,
    subject: str,
    now: float,
    *,
    rand: float = 1.0,
    live: int = 0,
    owner: str = "",
) -> tuple[Step, Permit | Denied]:
    """Ask for a permit. `rand` in [0, 1) decides whom throttling refuses, given the number of calls under way."""
    if circuit.state in PASSING:
        if circuit.state is CircuitState.CLOSED and settings.throttle:
            return _throttled(circuit, settings, now, rand, live)
        return Step(circuit), Permit(circuit.generation)
    refused = denial(circuit, settings, now)
    if refused is not None:
        return Step(circuit), refused
    events: tuple[Event, ...] = ()
    if circuit.state is not CircuitState.HALF_OPEN:
        circuit, events = _half_open(circuit, subject, now)
    circuit, expired = reclaim(circuit, subject, now)
    number = circuit.permits + 1
    lease = Lease(number, now, now + settings.permit_lease, owner)
    circuit = replace(circuit, permits=number, leases=(*circuit.leases, lease))
    return Step(circuit, events + expired), Permit(circuit.generation, number, owner)


def succeed(
    circuit: Circuit, settings: CircuitSettings, permit: Permit, subject: str, now: float, *, took: float = 0.0,
    rand: float = 0.5,
) -> Step:  # fmt: skip
    """The call went well and took so many seconds; `rand` as for `fail`, if it was a slow one too many."""
    if permit.generation != circuit.generation:
        return Step(circuit)  # a late answer says nothing about the phase we are in now
    slow = _is_slow(settings, took)
    if circuit.state is CircuitState.HALF_OPEN:
        returned = _give_back(circuit, permit)
        if returned is circuit:
            return Step(circuit)  # its lease had run out: somebody else is trying now
        if slow:
            return _open(returned, settings, _slowness(settings), "trial", subject, now, rand)
        if circuit.successes + 1 < settings.half_open_permits:
            return Step(replace(returned, successes=circuit.successes + 1))
        return _close(returned, settings, subject, now)
    if circuit.state not in COUNTING:
        return Step(circuit)
    past = window.count(circuit.window, settings, now, calls=1, slow=int(slow))
    counted = replace(circuit, failures=0, window=past)
    if slow and _too_slow(past, settings):
        return _tripped(counted, settings, _slowness(settings), "slow_rate", subject, now, rand)
    return Step(counted)


def fail(
    circuit: Circuit,
    settings: CircuitSettings,
    permit: Permit,
    failure: Failure,
    subject: str,
    now: float,
    *,
    rand: float = 0.5,
    took: float = 0.0,
) -> Step:
    """The call failed and this circuit is charged with it. `rand` in [0, 1) spreads the cooldown."""
    if permit.generation != circuit.generation:
        return _extended(circuit, failure, subject, now)
    if failure.effect is Effect.NOTHING:
        return give_back(circuit, permit)
    if circuit.state is CircuitState.HALF_OPEN:
        returned = _give_back(circuit, permit)
        if returned is circuit:
            return Step(circuit)
        returned = replace(returned, failures=circuit.failures + 1)
        return _open(returned, settings, failure, "trial", subject, now, rand)
    if circuit.state not in COUNTING:
        return Step(circuit)
    past = window.count(circuit.window, settings, now, calls=1, failures=1, slow=int(_is_slow(settings, took)))
    charged = replace(circuit, failures=circuit.failures + 1, window=past, last_kind=failure.kind)
    rule = "at_once" if failure.effect is Effect.OPENS else _broken_rule(charged, settings)
    return _tripped(charged, settings, failure, rule, subject, now, rand) if rule else Step(charged)


def give_back(circuit: Circuit, permit: Permit) -> Step:
    """The call was cancelled or says nothing about health: the permit is back at once, and that is no verdict."""
    if permit.generation != circuit.generation:
        return Step(circuit)
    return Step(_give_back(circuit, permit))


def restore(circuit: Circuit, settings: CircuitSettings, subject: str, now: float) -> Step:
    """A probe has proven well what is behind an open circuit: calls pass again, without a trial on live traffic."""
    return _close(circuit, settings, subject, now) if circuit.state is CircuitState.OPEN else Step(circuit)


def reclaim(circuit: Circuit, subject: str, now: float, gone: Callable[[Lease], bool] = lambda _lease: False) -> Step:
    """Take back the permits whose lease has run out, or whose owner is `gone`."""
    events: list[Event] = []
    for lease in circuit.leases:
        if lease.deadline <= now or gone(lease):
            kept = tuple(other for other in circuit.leases if other is not lease)
            circuit = replace(circuit, leases=kept, seq=circuit.seq + 1)
            events.append(PermitExpired(subject=subject, seq=circuit.seq, held_for=now - lease.granted_at))
    return Step(circuit, tuple(events))


def _throttled(
    circuit: Circuit, settings: CircuitSettings, now: float, rand: float, live: int
) -> tuple[Step, Permit | Denied]:
    past = window.recent(circuit.window, settings, now)
    chance = adaptive.refusal_chance(settings, past, live)
    if rand >= chance:
        return Step(circuit), Permit(circuit.generation)
    counted = replace(circuit, window=window.count(circuit.window, settings, now, throttled=1))
    reason = f"throttled: {chance:.0%} of the calls are refused while many fail"
    return Step(counted), Denied(circuit.state, min(settings.cooldown, 1.0), reason, circuit.last_kind)


def _is_slow(settings: CircuitSettings, took: float) -> bool:
    return 0.0 < settings.slow_call <= took and settings.slow_rate > 0.0


def _slowness(settings: CircuitSettings) -> Failure:
    message = f"calls take {format_duration(settings.slow_call)} or more"
    return Failure(kind=FailureKind.TIMEOUT, scope=Scope.MODEL, effect=Effect.COUNTS, message=message)


def _broken_rule(circuit: Circuit, settings: CircuitSettings) -> str:
    """The rule that opens this circuit; empty if none does."""
    if 0 < adaptive.threshold(settings, circuit.window) <= circuit.failures:
        return "consecutive_failures"
    past = window.total(circuit.window)
    failing = past.failures >= settings.failure_rate * past.calls
    if settings.failure_rate and window.enough(past, settings) and failing:
        return "failure_rate"
    return "slow_rate" if _too_slow(circuit.window, settings) else ""


def _too_slow(recent: Window, settings: CircuitSettings) -> bool:
    past = window.total(recent)
    judged = settings.slow_call and settings.slow_rate and window.enough(past, settings)
    return bool(judged) and past.slow >= settings.slow_rate * past.calls


def _tripped(
    circuit: Circuit, settings: CircuitSettings, failure: Failure, rule: str, subject: str, now: float, rand: float
) -> Step:
    """Open; or, where we only watch, tell that it would have opened, and watch on from here."""
    if circuit.state is CircuitState.CLOSED:
        return _open(circuit, settings, failure, rule, subject, now, rand)
    return told(replace(circuit, failures=0, window=EMPTY), CircuitWouldOpen(
        subject=subject, seq=circuit.seq + 1, failure=failure.kind, failures=circuit.failures, rule=rule,
        reason=_reason(failure),
    ))  # fmt: skip


def _open(
    circuit: Circuit, settings: CircuitSettings, failure: Failure, rule: str, subject: str, now: float, rand: float
) -> Step:
    openings = 0 if lastingly_healthy(circuit, settings, now) else circuit.openings
    cooldown = backoff(
        adaptive.cooldown(settings, circuit.recovery),
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
    reason, authoritative = _reason(failure), failure.authoritative and wait == hint
    began = circuit.outage_began if circuit.state is CircuitState.HALF_OPEN else now
    if authoritative or failure.until_proven:
        began = None  # what is waited for is no recovery that we could have seen
    opened = replace(
        entered(circuit, CircuitState.OPEN, opened_at=now, open_until=now + wait, reason=reason),
        openings=openings,
        cooldown=cooldown,
        last_kind=failure.kind,
        authoritative=authoritative,
        outage_began=began,
        failed_at=now,
    )
    return told(opened, CircuitOpened(
        subject=subject, seq=opened.seq + 1, failure=failure.kind, failures=circuit.failures, rule=rule,
        retry_after=finite(wait), authoritative=authoritative, reason=reason,
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
    if failure.retry_after is None or not 0.0 <= failure.retry_after < math.inf:
        return None
    return min(failure.retry_after, LONGEST_OPENING)


def _extended(circuit: Circuit, failure: Failure, subject: str, now: float) -> Step:
    """A late failure is no verdict, but a server's later reset is a fact: the only thing that moves `open_until`."""
    hint = _usable_hint(failure)
    if circuit.state is not CircuitState.OPEN or circuit.open_until is None:
        return Step(circuit)
    if failure.effect is not Effect.OPENS or not failure.authoritative or hint is None:
        return Step(circuit)
    if now + hint <= circuit.open_until:
        return Step(circuit)
    reason = _reason(failure)
    extended = replace(
        circuit,
        open_until=now + hint,
        authoritative=True,
        outage_began=None,  # as in `_open`
        last_kind=failure.kind,
        reason=reason,
    )
    return told(extended, CircuitExtended(
        subject=subject, seq=extended.seq + 1, failure=failure.kind, retry_after=hint, reason=reason
    ))  # fmt: skip


def _half_open(circuit: Circuit, subject: str, now: float) -> Step:
    assert circuit.opened_at is not None
    assert circuit.open_until is not None
    trying = entered(circuit, CircuitState.HALF_OPEN, reason=circuit.reason)
    if circuit.outage_began is not None and circuit.failed_at is not None:
        idle = now - circuit.open_until  # nobody asked, and that is no part of an outage
        trying = replace(trying, outage_began=circuit.outage_began + idle, failed_at=circuit.failed_at + idle)
    return told(trying, CircuitHalfOpened(
        subject=subject, seq=trying.seq + 1, open_for=now - circuit.opened_at
    ))  # fmt: skip


def _close(circuit: Circuit, settings: CircuitSettings, subject: str, now: float) -> Step:
    assert circuit.opened_at is not None
    recovery = circuit.recovery
    if circuit.outage_began is not None and circuit.failed_at is not None:
        recovery = adaptive.recovered(settings, recovery, circuit.failed_at - circuit.outage_began)
    closed = replace(
        entered(circuit, CircuitState.CLOSED, reason=""),
        closed_at=now,
        failures=0,
        outage_began=None,
        failed_at=None,
        recovery=recovery,
    )
    return told(closed, CircuitClosed(
        subject=subject, seq=closed.seq + 1, open_for=now - circuit.opened_at
    ))  # fmt: skip


def _give_back(circuit: Circuit, permit: Permit) -> Circuit:
    """The circuit without this permit's lease; the very same circuit if it holds none."""
    kept = tuple(x for x in circuit.leases if (x.number, x.owner) != (permit.number, permit.owner))
    return circuit if len(kept) == len(circuit.leases) else replace(circuit, leases=kept)
