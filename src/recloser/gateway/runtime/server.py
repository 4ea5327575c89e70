"""The HTTP server: uvicorn, with bounds on what a client may make it wait for, and a drain that tells open streams."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recloser.gateway.runtime.driver import Driver

_LARGEST_HEAD = 2**17
_HEAD_TIMEOUT = 20.0
_KEEP_ALIVE = 75.0
_AFTER_DRAIN = 5.0


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 by httptools; a request's head must come in time and must not be endless."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: the head of its request is due."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _LARGEST_HEAD:
                self._head_arrived()
                self.transport.abort()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head_arrived()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head_arrived()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_HEAD_TIMEOUT, self._head_overdue)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_overdue(self) -> None:
        self._head_timer = None
        self.transport.abort()


class GatewayServer(uvicorn.Server):
    """Serves until told to stop, then lets open requests finish for the drain time."""

    def __init__(self, app: Any, driver: Driver, drain: float) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                app,
                http=GuardedProtocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                backlog=4096,
                timeout_keep_alive=int(_KEEP_ALIVE),
                timeout_graceful_shutdown=int(drain + _AFTER_DRAIN) + 1,
            )
        )
        self._driver = driver
        self._drain = drain
        self._announce: Callable[[], None] = lambda: None

    async def serve_on(self, taken: socket.socket, announce: Callable[[], None]) -> None:
        """Serve on a bound socket; `announce` is called once requests, and orders to stop, are taken."""
        self._announce = announce
        await self.serve(sockets=[taken])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests."""
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests; tell those that outlast the drain time that it is over."""
        over = asyncio.get_running_loop().call_later(self._drain, self._driver.stop)
        try:
            await super().shutdown(sockets)
        finally:
            over.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask for the drain; a second one ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._told_to_stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _told_to_stop(self) -> None:
        if self.should_exit:
            self._driver.stop()
        self.should_exit = True
