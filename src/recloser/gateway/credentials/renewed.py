"""Something short-lived that takes a while to get: fetched on a thread, and again before it ends.

Requests take what is there. Only the first one may have to wait, and one after a sleep of the machine longer than what
was there lasts; they wait together, for one fetch.
"""

import asyncio
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from recloser.core.classify import UNREACHABLE
from recloser.gateway.credentials.credential import CredentialError

T = TypeVar("T")
WAIT = 15.0
"""Seconds that a request waits for a fetch."""
RETRY_AFTER = 10.0
"""Seconds after a failure before the next fetch. Until then requests hear of that failure at once."""


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """What a fetch gave. Both times are seconds from now."""

    value: T = field(repr=False)
    fresh_for: float
    """After that the next one is fetched."""
    good_for: float
    """After that this one is worth nothing."""


class Renewed(Generic[T]):
    """Keeps one. `fetch` blocks for a bounded time, on a thread; it raises CredentialError. Belongs to one loop."""

    def __init__(self, fetch: Callable[[], Fetched[T]]) -> None:
        self._fetch = fetch
        self._kept: Fetched[T] | None = None
        self._good_until = (0.0, 0.0)
        self._failure: CredentialError | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Fetch one now, unless that is being done."""
        if self._fetching is None:
            if self._timer is not None:
                self._timer.cancel()
            self._fetching = asyncio.get_running_loop().create_task(self._renew())

    async def get(self) -> T:
        """The current one; CredentialError if there is none to be had."""
        kept = self._good()
        if kept is not None:
            return kept.value
        if self._failure is None:
            await self._wait()
            kept = self._good()
        if kept is None:
            raise self._failure or CredentialError(UNREACHABLE, "the credentials ended while they were fetched")
        return kept.value

    async def _wait(self) -> None:
        self.begin()
        assert self._fetching is not None
        try:
            async with asyncio.timeout(WAIT):
                await asyncio.shield(self._fetching)
        except TimeoutError:
            raise CredentialError(UNREACHABLE, f"no credentials within {WAIT:.0f} s") from None

    def _good(self) -> Fetched[T] | None:
        """The one there is, if it is still good: the monotonic clock may stand while the machine sleeps."""
        steady, wall = self._good_until
        return self._kept if time.monotonic() < steady and time.time() < wall else None

    async def _renew(self) -> None:
        try:
            fetched = await asyncio.to_thread(self._fetch)
        except CredentialError as error:
            self._failure, again = error, RETRY_AFTER
        else:
            self._kept, self._failure, again = fetched, None, fetched.fresh_for
            self._good_until = (time.monotonic() + fetched.good_for, time.time() + fetched.good_for)
        finally:
            self._fetching = None
        self._timer = asyncio.get_running_loop().call_later(again, _begin, weakref.ref(self))


def _begin(forgotten: "weakref.ref[Renewed[T]]") -> None:
    """Fetch the next one, if anybody still keeps the last."""
    renewed = forgotten()
    if renewed is not None:
        renewed.begin()
