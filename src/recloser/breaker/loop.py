"""A coordinator's loop that is paced by its circuit and cannot spin."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from recloser.breaker.held import enter, leave
from recloser.breaker.permit import HeldPermit
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import Failure, FailureKind
from recloser.core.units import in_seconds

if TYPE_CHECKING:
    from recloser.breaker.breaker import CircuitBreaker

_SHORTEST_WAIT = 0.05
"""However soon a circuit may admit again, it is not asked more often than this."""


class Turn:
    """One round of a loop. `with turn:` (or `async with turn:`) around its work lets the circuit judge it.

    An exception that leaves the block is charged to the circuit, kept in `error`, logged, and ends the turn, not the
    loop. What is no `Exception` (a cancellation, an interrupt) goes through.
    """

    def __init__(self, number: int, name: str, held: HeldPermit) -> None:
        self.number = number
        """From 1."""
        self.error: Exception | None = None
        self._name = name
        self._held = held

    def fail(self, what: Failure | FailureKind | BaseException) -> None:
        """The turn failed, although nothing was raised."""
        self._held.fail(what)

    def ignore(self) -> None:
        """The turn says nothing about health, as when there was nothing to do."""
        self._held.ignore()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._held.__exit__(kind, error, trace)
        if not isinstance(error, Exception):
            return False
        self.error = error
        import logging  # noqa: PLC0415 - a third of the library's import time, for those who have failures

        logging.getLogger("recloser").warning("turn %d of %s failed", self.number, self._name, exc_info=error)
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self.__exit__(kind, error, trace)


class Loop:
    """Turns, at least `interval` seconds apart, and none while the circuit refuses.

    The pause comes after each turn, however it ended. While the circuit is open nothing is asked of it but whether it
    is open still, at most every `interval` seconds, so that a reset by hand is seen. `sleep` and `sleep_async` wait for
    so many seconds.
    """

    def __init__(
        self,
        breaker: "CircuitBreaker",
        interval: float = 5.0,
        *,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self.interval = in_seconds("interval", interval)
        self.turns = 0
        """How many turns began."""
        self._breaker = breaker
        self._sleep = sleep
        self._sleep_async = sleep_async
        self._stopped = False

    def stop(self) -> None:
        """End after the turn or pause that goes on. From any thread, and from signal handlers."""
        self._stopped = True

    def __iter__(self) -> Iterator[Turn]:
        while not self._stopped:
            held, wait = self._next()
            if held is not None:
                try:
                    yield self._turn(held)
                except BaseException:  # the loop is left in the middle of a turn: no verdict
                    held.cancel()
                    raise
                finally:
                    leave(held)
                held.succeed()
            if not self._stopped:
                self._sleep(wait)

    def __aiter__(self) -> AsyncIterator[Turn]:
        return _AsyncTurns(self)

    def _next(self) -> tuple[HeldPermit | None, float]:
        """A permit for the next turn and the pause after it; or none, and how long to wait until asking again."""
        refused = self._breaker.denial()
        if refused is None:
            try:
                return self._breaker.acquire(), self.interval
            except CircuitOpenError as error:
                wait = error.retry_after
        else:
            wait = refused.retry_after
        wait = self.interval if wait is None else max(wait, _SHORTEST_WAIT)
        return None, min(wait, self.interval)

    async def _pause(self, wait: float) -> None:
        if self._sleep_async is None:
            import asyncio  # noqa: PLC0415 - those who loop so have it; the others need not wait for it

            self._sleep_async = asyncio.sleep
        await self._sleep_async(wait)

    def _turn(self, held: HeldPermit) -> Turn:
        self.turns += 1
        enter(held)  # what the turn calls through the same circuit is a part of it
        return Turn(self.turns, self._breaker.name, held)


class _AsyncTurns:
    """The turns of one `async for`.

    No async generator: whoever leaves one early, or is cancelled, leaves it to the event loop, which closes it some
    time. This gives its permit back at once.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._held: HeldPermit | None = None
        self._wait: float | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Turn:
        if self._held is not None:
            leave(self._held)
            self._held.succeed()
        while not self._loop._stopped:
            if self._wait is not None:
                wait, self._wait = self._wait, None
                await self._loop._pause(wait)
                continue
            self._held, self._wait = self._loop._next()
            if self._held is not None:
                return self._loop._turn(self._held)
        raise StopAsyncIteration

    def __del__(self) -> None:
        if self._held is not None:
            self._held.cancel()  # the loop is left in the middle of a turn: no verdict
