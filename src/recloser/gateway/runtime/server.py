"""The HTTP server: uvicorn, with a drain that tells open streams when their time is over."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from recloser.gateway.runtime.driver import Driver
from recloser.gateway.runtime.protocol import GuardedProtocol

_KEEP_ALIVE = 75.0
_AFTER_DRAIN = 5.0


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
        handlers = {
            signal.SIGINT: self._told_to_stop,
            signal.SIGTERM: self._told_to_stop,
            signal.SIGHUP: _told_to_reload,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _told_to_stop(self) -> None:
        if self.should_exit:
            self._driver.stop()
        self.should_exit = True


def _told_to_reload() -> None:
    """The sign that a terminal was closed, or that a configuration changed, must not cut anybody off."""
    logging.getLogger("recloser").warning("SIGHUP is passed over: a changed configuration needs a restart")
