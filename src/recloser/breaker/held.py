"""Which permit a `with breaker:` block holds, by the context that it runs in."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Optional

from recloser.breaker.permit import HeldPermit

if TYPE_CHECKING:
    from recloser.breaker.breaker import CircuitBreaker


class _Held(NamedTuple):
    permit: HeldPermit
    outer: Optional["_Held"]


# Immutable links: a task that is started inside a block inherits what is held, and cannot disturb it.
_innermost: ContextVar[_Held | None] = ContextVar("recloser_held", default=None)


def push(permit: HeldPermit) -> HeldPermit:
    """Remember the permit of a block that begins."""
    _innermost.set(_Held(permit, _innermost.get()))
    return permit


def pop(breaker: "CircuitBreaker") -> HeldPermit:
    """The permit of this breaker's block that ends."""
    held = _innermost.get()
    if held is not None and held.permit.breaker is breaker:
        _innermost.set(held.outer)
        return held.permit
    passed: list[HeldPermit] = []
    while held is not None and held.permit.breaker is not breaker:
        passed.append(held.permit)
        held = held.outer
    if held is None:
        raise RuntimeError(
            f"'with' of circuit {breaker.name!r} ends in another context than it began in, as in a generator that is "
            "finished by somebody else; use `with breaker.acquire():` there"
        )
    rest = held.outer
    for permit in reversed(passed):
        rest = _Held(permit, rest)
    _innermost.set(rest)
    return held.permit
