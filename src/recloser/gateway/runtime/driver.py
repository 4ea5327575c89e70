"""Performs what an exchange asks, and reports back."""

import asyncio
import contextlib
from collections.abc import Generator
from functools import partial
from typing import Any

from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, Event
from recloser.gateway.asks import (
    Ask,
    Begin,
    Finish,
    Forward,
    GatewayStops,
    Hold,
    Now,
    Read,
    ReadAll,
    Reading,
    Reply,
    Send,
)
from recloser.gateway.runtime.client import ClientConnection
from recloser.gateway.runtime.upstream import UpstreamCall
from recloser.gateway.traffic import Place
from recloser.ports import Clock


class Held:
    """The exchanges that wait for a circuit. They wake in the order in which they came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, until: float, place: Place | None = None) -> None:
        """Until that time, or until some circuit admits again, or until it is this place's turn."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[woken] = None
        if place is not None:
            place.wake = partial(_wake, woken)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - self._clock.monotonic()):
                    await woken
        finally:
            self._waiting.pop(woken, None)

    def heard(self, event: Event) -> None:
        """Wake everybody when a circuit admits again."""
        if isinstance(event, CircuitClosed | CircuitHalfOpened | CircuitForced):
            for woken in list(self._waiting):
                _wake(woken)


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)


class Driver:
    """Drives exchanges to their end; stops them all when the drain time is over."""

    def __init__(self, clock: Clock, held: Held) -> None:
        self._clock = clock
        self._held = held
        self._tasks: set[asyncio.Task[Any]] = set()
        self._endings: set[asyncio.Future[None]] = set()
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether the drain time is over: no exchange begins any more."""
        return self._stopping

    def stop(self) -> None:
        """End every exchange now, with the wire's own words to its client."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()

    async def drive(
        self, exchange: Generator[Ask, Reading, None], client: ClientConnection, upstream: UpstreamCall
    ) -> None:
        """Drive one exchange to its end. Returns quietly if the client has left."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(exchange, client, upstream)
            self._see_off(upstream)
        except asyncio.CancelledError:
            if not client.left and not self._stopping:
                raise
            task.uncancel()
            if self._stopping and not client.left:
                upstream.drop()
                await self._last_words(exchange, client, upstream)
        finally:
            exchange.close()
            upstream.drop()
            self._tasks.discard(task)

    def _see_off(self, upstream: UpstreamCall) -> None:
        """Have the end of the answer awaited beside; the client need not wait for it."""
        ending = upstream.take_leave()
        if ending is not None:
            task = asyncio.ensure_future(ending)
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    async def _converse(
        self, exchange: Generator[Ask, Reading, None], client: ClientConnection, upstream: UpstreamCall
    ) -> None:
        with contextlib.suppress(StopIteration):
            ask = next(exchange)
            while True:
                ask = exchange.send(await self._perform(ask, client, upstream))

    async def _last_words(
        self, exchange: Generator[Ask, Reading, None], client: ClientConnection, upstream: UpstreamCall
    ) -> None:
        with contextlib.suppress(StopIteration):
            ask = exchange.throw(GatewayStops())
            while True:
                ask = exchange.send(await self._perform(ask, client, upstream))

    async def _perform(self, ask: Ask, client: ClientConnection, upstream: UpstreamCall) -> Reading:
        match ask:
            case Read(until):
                return await upstream.read(until)
            case Forward(data):
                await client.forward(data)
            case Send():
                return await upstream.send(ask)
            case ReadAll(until, limit, idle):
                return await upstream.read_all(until, limit, idle)
            case Reply(status, headers, body):
                await client.reply(status, headers, body)
            case Begin(headers):
                await client.begin(headers)
            case Finish():
                await client.finish()
            case Hold(until, place):
                await self._held.wait(until, place)
        return Now(self._clock.monotonic())
