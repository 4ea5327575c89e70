"""A circuit set by hand: forced open, disabled, only observed, released, reset."""

import math
from dataclasses import replace

from recloser.core.circuit_state import Circuit, CircuitState, Step, entered, told
from recloser.core.errors import ConfigError
from recloser.core.events import CircuitForced
from recloser.core.units import is_number
from recloser.core.window import EMPTY


def force_open(circuit: Circuit, subject: str, now: float, *, duration: float | None, reason: str) -> Step:
    """Open by hand: for `duration` seconds, or until reset."""
    if duration is not None and not (is_number(duration) and 0.0 <= duration < math.inf):
        raise ConfigError(f"a circuit is forced open for a finite time of at least 0 seconds, not {duration!r}")
    until = math.inf if duration is None else now + duration
    forced = entered(circuit, CircuitState.FORCED_OPEN, opened_at=now, open_until=until, reason=reason)
    forced = replace(forced, last_kind=None, outage_began=None)  # no failure opened it
    return _forced(forced, subject, reason, duration)


def disable(circuit: Circuit, subject: str, *, reason: str) -> Step:
    """Let every call pass and count nothing, until released or reset."""
    if circuit.state is CircuitState.DISABLED:
        return Step(circuit)
    return _forced(entered(circuit, CircuitState.DISABLED, reason=reason), subject, reason)


def observe_only(circuit: Circuit, subject: str, *, reason: str) -> Step:
    """Let every call pass, count them, and only tell when the circuit would have opened, until released or reset."""
    if circuit.state is CircuitState.OBSERVE_ONLY:
        return Step(circuit)
    watching = replace(entered(circuit, CircuitState.OBSERVE_ONLY, reason=reason), failures=0)
    return _forced(watching, subject, reason)


def release(circuit: Circuit, subject: str, now: float, *, reason: str) -> Step:
    """Take the hand off: what was forced open is tried at once, what was let pass is judged again."""
    if circuit.state is CircuitState.FORCED_OPEN:
        return _forced(entered(circuit, CircuitState.HALF_OPEN, reason=reason), subject, reason)
    if circuit.state in (CircuitState.DISABLED, CircuitState.OBSERVE_ONLY):
        closed = replace(entered(circuit, CircuitState.CLOSED, reason=""), closed_at=now, failures=0)
        return _forced(closed, subject, reason)
    return Step(circuit)


def reset(circuit: Circuit, subject: str, now: float, *, reason: str) -> Step:
    """Close by hand and forget every failure."""
    fresh = replace(
        circuit, failures=0, window=EMPTY, openings=0, recovery=None, outage_began=None, failed_at=None
    )  # fmt: skip
    if circuit.state is CircuitState.CLOSED:
        return Step(circuit if fresh == circuit else fresh)
    closed = replace(entered(fresh, CircuitState.CLOSED, reason=""), closed_at=now)
    return _forced(closed, subject, reason)


def _reason_of(reason: object) -> str:
    if not isinstance(reason, str):
        raise ConfigError(f"the reason for a change by hand must be a string, not {reason!r}")
    return reason


def _forced(circuit: Circuit, subject: str, reason: str, duration: float | None = None) -> Step:
    told_reason = _reason_of(reason)
    return told(circuit, CircuitForced(
        subject=subject, seq=circuit.seq + 1, state=circuit.state, retry_after=duration, reason=told_reason
    ))  # fmt: skip
