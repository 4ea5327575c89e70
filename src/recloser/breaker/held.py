"""Which permit a `with breaker:` block holds, by the context that it runs in."""

from contextvars import ContextVar
from typing import TYPE_CHECKING

from recloser.breaker.permit import HeldPermit

if TYPE_CHECKING:
    from recloser.breaker.breaker import CircuitBreaker

# A chain from the innermost block outwards. A task that is started inside a block inherits it, and adds to its own end.
_innermost: ContextVar[HeldPermit | None] = ContextVar("recloser_held", default=None)


def push(permit: HeldPermit) -> HeldPermit:
    """Remember the permit of a block that begins."""
    permit.left = False
    permit.outer = _innermost.get()
    _innermost.set(permit)
    return permit


def pop(breaker: "CircuitBreaker") -> HeldPermit:
    """The permit of this breaker's block that ends: the innermost, except where generators end out of turn."""
    held = _innermost.get()
    while held is not None and (held.left or held.breaker is not breaker):
        held = held.outer
    if held is None:
        raise RuntimeError(
            f"'with' of circuit {breaker.name!r} ends in another context than it began in, as in a generator that is "
            "finished by somebody else; use `with breaker.acquire():` there"
        )
    held.left = True
    rest = _innermost.get()
    while rest is not None and rest.left:
        rest = rest.outer
    _innermost.set(rest)
    return held
