"""A coroutine driven by hand, from one await to the next, as an event loop would; and cancelled at any of them."""

import asyncio
import contextvars
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def pause() -> Generator[None, None, None]:
    """Wait once for the hand that drives."""
    yield


class Driven:
    """A coroutine in a context of its own, as a task is."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._context = contextvars.copy_context()

    def step(self) -> bool:
        """Go on to the next await. Whether there is one."""
        try:
            self._context.run(self._work.send, None)
        except StopIteration:
            return False
        return True

    def cancel(self) -> None:
        """Cancel it where it waits; drive on whatever it still does. Raises what comes out of it."""
        try:
            self._context.run(self._work.throw, asyncio.CancelledError())
        except StopIteration:
            return
        while self.step():
            pass

    def close(self) -> None:
        """Leave it where it is."""
        self._context.run(self._work.close)


def drive(work: Coroutine[Any, Any, Any]) -> int:
    """Drive to the end. How many awaits there were."""
    driven, awaits = Driven(work), 0
    while driven.step():
        awaits += 1
    return awaits


def cancel_at(work: Coroutine[Any, Any, Any], nth: int) -> None:
    """Drive to the `nth` await and cancel there; 0 is before the first step. Raises what comes out of it."""
    driven = Driven(work)
    for _ in range(nth):
        assert driven.step()
    driven.cancel()
