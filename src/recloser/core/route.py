"""Which target next, and for each one passed over, why."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from recloser.core.circuit_state import Denied
from recloser.core.failure import Scope


class CircuitPath(NamedTuple):
    """The circuits a target depends on, the widest first. A target is admissible when every one of them admits."""

    account: str
    endpoint: str
    model: str

    def charged(self, scope: Scope) -> str | None:
        """The circuit that a failure of this scope is charged to."""
        return None if scope is Scope.NOBODY else str(getattr(self, scope.value))


def circuit_path(provider: str, region: str | None, model: str, account: str) -> CircuitPath:
    """The circuit names of a target; the region is left out where there is none."""
    place = f"{provider}/{region}" if region else provider
    return CircuitPath(f"account/{account}", f"endpoint/{place}", f"model/{place}/{model}")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passed(Generic[T]):
    """A target that was not chosen: its circuit refused, or it does not fit this request."""

    target: T
    why: str
    circuit: str | None = None
    denied: Denied | None = None

    @property
    def retry_after(self) -> float | None:
        """Seconds until the circuit reopens; None when time alone will not help."""
        return self.denied.retry_after if self.denied else None


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """The target to ask next, or None, and every one passed over on the way."""

    target: T | None
    passed: tuple[Passed[T], ...]

    @property
    def earliest(self) -> float | None:
        """Seconds until the first of the passed-over targets reopens by time alone."""
        return min((p.retry_after for p in self.passed if p.retry_after is not None), default=None)


def choose(
    targets: Iterable[T],
    path: Callable[[T], CircuitPath],
    denial: Callable[[str], Denied | None],
    unfit: Callable[[T], str | None],
    barred: Callable[[T], str | None] = lambda _: None,
) -> Choice[T]:
    """The first target in order whose whole path admits and that fits the request.

    `denial` says why a circuit would refuse; `unfit` why this request cannot go to a target now whatever its circuits
    say (already tried, busy); `barred` why it never can (too small): nobody waits for the circuits of such a target.
    """
    passed: list[Passed[T]] = []
    for target in targets:
        if (why := barred(target)) is not None:
            passed.append(Passed(target, why))
            continue
        refusal = _refusal(path(target), denial)
        if refusal is not None:
            circuit, denied = refusal
            passed.append(Passed(target, denied.reason, circuit, denied))
        elif (why := unfit(target)) is not None:
            passed.append(Passed(target, why))
        else:
            return Choice(target, tuple(passed))
    return Choice(None, tuple(passed))


def _refusal(path: CircuitPath, denial: Callable[[str], Denied | None]) -> tuple[str, Denied] | None:
    """The circuit of a path that refuses for longest, since the target waits for all of them."""
    worst: tuple[str, Denied] | None = None
    for circuit in path:
        denied = denial(circuit)
        if denied is not None and (worst is None or _longer(denied, worst[1])):
            worst = circuit, denied
    return worst


def _longer(one: Denied, other: Denied) -> bool:
    return other.retry_after is not None and (one.retry_after is None or one.retry_after > other.retry_after)
