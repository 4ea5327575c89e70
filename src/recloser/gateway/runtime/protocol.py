"""HTTP/1.1 towards clients: uvicorn's protocol on httptools, with a bound on all that a client may make it wait for.

Bodies have a bound of their own, in the ingress.
"""

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_UPGRADE = re.compile(rb"(?i)(?<=\n)upgrade(?=\s*:)")


class GuardedProtocol(HttpToolsProtocol):
    """One connection of a client. Whoever keeps it waiting for too long is cut off."""

    largest_head = 2**17
    head_timeout = 20.0
    stuck_after = 60.0
    """Seconds a client may take nothing of what is waiting for it."""
    linger = 2.0
    """Seconds for which the rest of a request is read, and thrown away, that was answered before it was whole."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _linger_timer: asyncio.TimerHandle | None = None
    _stuck_timer: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: the head of its request is due."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left."""
        for timer in (self._head_timer, self._linger_timer, self._stuck_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    # What a client sends ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._head_timer is None and self._linger_timer is None and self.cycle.response_complete:
            self._expect_head()  # empty lines between requests are no request, and must not keep a connection
        if self._head_timer is not None and b"pgrade" in data:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.largest_head:
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

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_timeout, self.transport.abort)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # What a client takes ---------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """The answer is given. A request that is not whole by then is read on for a moment, so that it is heard."""
        unfinished = self.cycle.more_body
        super().on_response_complete()
        if unfinished and self._linger_timer is None:
            self._linger_timer = self.loop.call_later(self.linger, self.transport.abort)

    def pause_writing(self) -> None:
        """The client is slower than we are."""
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Nothing was asked for long. What the client did not take until now, it will not take."""
        self.transport.abort()

    def _watch_taking(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._stuck_timer = self.loop.call_later(self.stuck_after, self._still_stuck)

    def _still_stuck(self) -> None:
        if self.transport.get_write_buffer_size() >= self._unsent:
            self.transport.abort()
        else:
            self._watch_taking()


def _without_upgrade(data: bytes) -> bytes:
    """The head without a wish for another protocol, which a server may ignore; the parser would drop the body."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"ignored", head) + end + rest
