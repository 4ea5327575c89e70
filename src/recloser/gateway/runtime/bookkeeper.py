"""Takes what was spent to the ledger every second, and brings back what other processes spent.

The disk is waited for in a thread, and no request waits for it. Whoever kills the process loses what was spent within
that second; what cannot be written is kept and tried again.
"""

import asyncio
import contextlib
from typing import Self

from recloser.gateway.spending import Spending, enter
from recloser.ports import Emit, Ledger

EVERY = 1.0
_LAST_WORDS = 3.0
"""Seconds that the last entry may take."""


class Bookkeeper:
    """Keeps a gateway's spending in a ledger, from the first request to after the last. It closes the ledger."""

    def __init__(self, spending: Spending, ledger: Ledger, emit: Emit, *, every: float = EVERY) -> None:
        self._spending = spending
        self._ledger = ledger
        self._emit = emit
        self._every = every
        self._stopping = asyncio.Event()
        self.lost = False
        """Whether the ledger cannot be had at the moment."""

    async def __aenter__(self) -> Self:
        await self._keep()  # what was spent before counts from the first request on
        self._task = asyncio.create_task(self._keep_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._task  # not cancelled: nobody would know whether it has written
                await self._keep()
        await asyncio.to_thread(self._ledger.close)

    async def _keep_on(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._stopping.wait()
            await self._keep()

    async def _keep(self) -> None:
        entries = self._spending.take()
        try:
            entered = await asyncio.to_thread(enter, self._ledger, entries)
        except Exception:  # noqa: BLE001 - whatever a ledger raises, it is lost
            self.lost = True
            told = self._spending.lost()
        else:
            self.lost = False
            told = self._spending.settle(entered)
        for event in told:
            self._emit(event)
