"""Which permit a `with breaker:` block holds, and which trial a call is a part of."""

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from recloser.breaker.permit import HeldPermit

if TYPE_CHECKING:
    from recloser.breaker.breaker import CircuitBreaker
    from recloser.breaker.live import LiveCircuit

Blocks = dict[int, list[HeldPermit]]

# A chain from the innermost block outwards. A task that is started inside a block inherits it, and adds to its own end.
_innermost: ContextVar[HeldPermit | None] = ContextVar("recloser_held", default=None)


def enter(permit: HeldPermit) -> HeldPermit:
    """Remember the permit of a call that begins: what is called in it is a part of it."""
    outer = _innermost.get()
    while outer is not None and outer.left:
        outer = outer.outer
    permit.left = False
    permit.outer = outer
    _innermost.set(permit)
    return permit


def leave(permit: HeldPermit) -> None:
    """The call has ended."""
    permit.left = True
    held = _innermost.get()
    if held is permit:
        while held is not None and held.left:
            held = held.outer
        _innermost.set(held)


@contextlib.contextmanager
def part_of(permit: HeldPermit) -> Iterator[None]:
    """What runs in the block is a part of this call, and of its trial if it is one."""
    if not permit.trial:
        yield
        return
    enter(permit)
    try:
        yield
    finally:
        leave(permit)


def trial_under(circuit: "LiveCircuit") -> HeldPermit | None:
    """The trial of this circuit that what runs now is a part of."""
    held = _innermost.get()
    while held is not None:
        if held.breaker is circuit and held.trial and not held.left and not held.settled:
            return held
        held = held.outer
    return None


def push(permit: HeldPermit, blocks: Blocks) -> HeldPermit:
    """Remember the permit of a `with` block that begins, by the frame that it stands in."""
    blocks.setdefault(id(sys._getframe(2)), []).append(permit)
    return enter(permit)


def pop(breaker: "CircuitBreaker", blocks: Blocks) -> HeldPermit:
    """The permit of the `with` block that ends: that of its frame, whatever context or thread it ends in.

    An ExitStack enters and leaves in frames of its own; there it is the innermost block of this breaker.
    """
    frame = id(sys._getframe(2))
    held = blocks[frame].pop() if frame in blocks else _innermost_of(breaker, blocks)
    if not blocks.get(frame, True):
        del blocks[frame]
    leave(held)
    return held


def _innermost_of(breaker: "CircuitBreaker", blocks: Blocks) -> HeldPermit:
    held = _innermost.get()
    while held is not None and (held.left or held.breaker is not breaker):
        held = held.outer
    if held is None:
        raise RuntimeError(
            f"'with' of circuit {breaker.name!r} ends in another context than it began in: use `with breaker.acquire()`"
        )
    for frame, permits in list(blocks.items()):
        if held in permits:
            permits.remove(held)
            if not permits:
                del blocks[frame]
    return held
