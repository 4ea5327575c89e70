"""A coroutine driven by hand, from one await to the next, as an event loop would; and cancelled at any of them."""

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def pause() -> Generator[None, None, None]:
    """Wait once for the hand that drives."""
    yield


def drive(work: Coroutine[Any, Any, Any]) -> int:
    """Drive to the end. How many awaits there were."""
    awaits = 0
    try:
        while True:
            work.send(None)
            awaits += 1
    except StopIteration:
        return awaits


def cancel_at(work: Coroutine[Any, Any, Any], nth: int) -> None:
    """Drive to the `nth` await and cancel there, just as a task does; 0 is before the first step.

    Raises what comes out of it: CancelledError if the work lets itself be cancelled.
    """
    for _ in range(nth):
        work.send(None)
    try:
        while True:  # awaits of its own while it is being cancelled
            work.throw(asyncio.CancelledError())
            while True:
                work.send(None)
    except StopIteration:
        return
