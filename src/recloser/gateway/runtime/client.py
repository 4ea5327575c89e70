"""The client's end of an exchange: an ASGI connection, kept alive while it waits and noticed when it leaves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Self

from recloser.gateway.asks import ClientSide
from recloser.gateway.wires.wire import Hold

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
SendMessage = Callable[[Message], Awaitable[None]]

_WATCH_AFTER = 0.02
"""Seconds before the client is watched for leaving: most plain answers are faster than that, and need no watch."""
_STREAM_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


class ClientConnection:
    """Sends a client its answer; cancels the exchange's task when the client leaves."""

    def __init__(
        self,
        receive: Receive,
        send: SendMessage,
        *,
        hold: Hold | None,
        keepalive_after: float,
        request_id: str,
        dress: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """`hold` is what a stream is kept alive with; `dress` what the client wants around a whole answer."""
        self.seen = ClientSide()
        self.left = False
        self._receive = receive
        self._send = send
        self._hold = hold
        self._dress = dress
        self._keepalive_after = keepalive_after
        self._request_id = request_id
        self._task: asyncio.Task[Any] | None = None
        self._loop = asyncio.get_running_loop()
        self._last_sent = self._loop.time()
        self._sending = False
        self._watch_timer: asyncio.TimerHandle | None = None
        self._alive_timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._saying_alive: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._watch_timer = self._loop.call_later(_WATCH_AFTER, self._begin_to_watch)
        if self._hold is not None:
            self._alive_timer = self._loop.call_later(self._keepalive_after, self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        for waiting in (self._watch_timer, self._alive_timer, self._watching, self._saying_alive):
            if waiting is not None:
                waiting.cancel()

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Start the stream."""
        if self.seen.begun:
            return
        self.seen.begun = True
        await self._put(self._start(headers))

    def _start(self, headers: Mapping[str, str]) -> Message:
        passed = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        own = [pair for pair in _STREAM_HEADERS if pair[0].decode() not in headers]
        return {"type": "http.response.start", "status": 200, "headers": [*passed, *own]}

    async def forward(self, data: bytes) -> None:
        """Send a piece of the stream."""
        if self._hold is not None:
            data = self._hold.rewrite(data)
        await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        """End the stream."""
        await self._put({"type": "http.response.body", "body": b""})

    async def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole answer."""
        body = self._dress(body)
        passed = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        passed.append((b"content-length", str(len(body)).encode()))
        self.seen.begun = True
        await self._put({"type": "http.response.start", "status": status, "headers": passed})
        await self._put({"type": "http.response.body", "body": body})

    async def _put(self, message: Message) -> None:
        self._sending = True
        try:
            await self._send(message)
        finally:
            self._sending = False
        self._last_sent = self._loop.time()

    def _begin_to_watch(self) -> None:
        self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        """Wait for the client to leave."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._task is not None:
            self._task.cancel()

    def _tick(self) -> None:
        """Say that we are alive, if nothing was said for long enough and nothing is being said."""
        silent = self._loop.time() - self._last_sent
        due = silent >= self._keepalive_after - 0.01
        if due and not self._sending and (self._saying_alive is None or self._saying_alive.done()):
            self._saying_alive = self._loop.create_task(self._say_alive())
        again = self._keepalive_after if due else self._keepalive_after - silent
        self._alive_timer = self._loop.call_later(again, self._tick)

    async def _say_alive(self) -> None:
        assert self._hold is not None
        if self._sending:
            return  # something better came in between
        if not self.seen.begun:
            self.seen.begun = True
            await self._send(self._start({"x-recloser-request-id": self._request_id}))
        await self._send({"type": "http.response.body", "body": self._hold.keepalive(), "more_body": True})
        self._last_sent = self._loop.time()
