"""What the tests of the breaker share: settings, a failure that counts, and the way to half-open."""

from recloser.breaker import Breakers, CircuitBreaker, CircuitSnapshot
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.testing import ManualClock

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY = CircuitState
COOLDOWN, LEASE = 10.0, 100.0
SETTINGS = CircuitSettings(failure_threshold=2, failure_rate=0.0, cooldown=COOLDOWN, jitter=0.0, permit_lease=LEASE)
BROKEN = Failure(kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS)


class BrokenError(Exception):
    """What the guarded functions of these tests raise: an error like any other, so it counts."""


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    """Let so many calls fail."""
    for _ in range(times):
        breaker.acquire().fail(BROKEN)


def to_half_open(breaker: CircuitBreaker, clock: ManualClock) -> None:
    """Open the circuit and let its cooldown pass; the next caller makes a trial."""
    fail(breaker, max(breaker.settings.failure_threshold, 1))
    clock.advance(breaker.circuit.cooldown)


def adds_up(of: CircuitBreaker | CircuitSnapshot) -> bool:
    """Every call is admitted or denied, every permit settled once or out: A1 and I7 of the breaker reference."""
    s = of if isinstance(of, CircuitSnapshot) else of.snapshot()
    settled = s.succeeded + s.failed + s.ignored + s.cancelled + s.expired
    return s.calls == s.admitted + s.denied and s.admitted == settled + s.live and s.live >= 0


def outcomes(breaker: CircuitBreaker) -> dict[str, int]:
    """What became of the calls, without what did not happen."""
    s = breaker.snapshot()
    assert adds_up(s)
    named = {
        "succeeded": s.succeeded, "failed": s.failed, "ignored": s.ignored, "cancelled": s.cancelled, "live": s.live,
        "denied": s.denied,
    }  # fmt: skip
    return {how: count for how, count in named.items() if count}


def names_in(registry: Breakers) -> set[str]:
    """The names that a registry has a breaker of."""
    return set(registry.snapshot().circuits)
