"""The provider's end: one call to a target over HTTP, with every way it can fail turned into a row of the table."""

import asyncio
import contextlib
import errno
import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp.tracing import Trace

from recloser.core.classify import INTERRUPTED, MALFORMED, TIMEOUT, UNREACHABLE, Row
from recloser.core.failure import Effect, Scope
from recloser.gateway.asks import Broke, Chunk, End, Head, Send
from recloser.gateway.credentials.credential import CredentialError
from recloser.gateway.runtime.deadline import Deadline
from recloser.gateway.runtime.responses import BoundedResponses
from recloser.gateway.wires.wire import Wire
from recloser.ports import Clock

_NOT_PASSED_ON = frozenset(
    {"accept-encoding", "api-key", "authorization", "connection", "content-length", "cookie", "expect", "host",
     "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
     "x-api-key", "x-goog-api-key", "x-goog-user-project"}
)  # fmt: skip
_OF_NO_WIRE = frozenset(
    {"accept", "accept-encoding", "accept-language", "baggage", "traceparent", "tracestate", "user-agent"}
)
"""Of the client's headers, those that mean the same to a provider of another wire."""
_WANTED_BY: dict[str, dict[str, str]] = {"anthropic": {"anthropic-version": "2023-06-01"}}
"""Headers without which a wire's providers take no request, for clients of other wires, which do not send them."""
_CREDENTIALS = frozenset({"key", "api_key", "api-key", "access_token"})
_LARGE_BODY = 2**20
_END_TIMEOUT = 1.0
_OUR_OWN_NEED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_OURS = replace(UNREACHABLE, seen="no socket to be had on this machine", scope=Scope.NOBODY, effect=Effect.NOTHING)
"""No provider is to blame when we are out of sockets."""
_LARGEST_HEADER = 2**16


def request_headers(client_headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The client's headers that a provider gets to see: not its credentials, nor what belongs to the connection."""
    headers: dict[str, str] = {}
    for raw_name, value in client_headers:
        name = raw_name.decode("latin-1")
        if name not in _NOT_PASSED_ON and not name.startswith(("x-recloser-", "x-amz-")):
            said = value.decode("utf-8", "replace")
            headers[name] = f"{headers[name]}, {said}" if name in headers else said
    headers["accept-encoding"] = "identity"  # what we pass through, we must be able to read
    return headers


def _without_oauth(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers without the word that the client's credential is a subscription's: who sees it gets another one."""
    betas = headers.get("anthropic-beta", "")
    if "oauth-" not in betas:
        return headers
    kept = ",".join(beta for beta in betas.split(",") if not beta.strip().startswith("oauth-"))
    others = {name: value for name, value in headers.items() if name != "anthropic-beta"}
    return {**others, "anthropic-beta": kept} if kept else others


def _headers_on(wire: str, client_headers: Mapping[str, str]) -> dict[str, str]:
    """The headers for a provider that does not speak the client's wire."""
    known = {name: value for name, value in client_headers.items() if name in _OF_NO_WIRE}
    return {**known, "content-type": "application/json", **_WANTED_BY.get(wire, {})}


def _query_on(wire: str, query: str) -> str:
    """The client's query without its credentials, and without what the address of the wire says itself."""
    ours = _CREDENTIALS | {"alt"} if wire == "gemini" else _CREDENTIALS
    return "&".join(pair for pair in query.split("&") if unquote(pair.partition("=")[0]) not in ours)


def open_session() -> aiohttp.ClientSession:
    """One session for all providers, without a ceiling on connections.

    Pooled connections are let go well before the 60 s and more after which providers close idle ones: a request that
    meets a closing connection would fail, and could not be repeated without risking that it is answered twice.
    """
    return aiohttp.ClientSession(
        connector=_Connector(limit=0, limit_per_host=0, ttl_dns_cache=60, keepalive_timeout=15),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("user-agent", "accept", "content-type"),
        read_bufsize=2**18,
        max_line_size=_LARGEST_HEADER,
        max_field_size=_LARGEST_HEADER,
    )


class _Connector(aiohttp.TCPConnector):
    """Gives no pooled connection on which something was said that nobody had asked for.

    It would be taken for the answer to the next request, which may be another client's.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory = partial(BoundedResponses, loop=self._loop)  # type: ignore[assignment] # a partial of a subclass

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - its name in aiohttp
    ) -> aiohttp.connector.Connection:
        """A connection from the pool, or a new one."""
        while True:
            connection = await super().connect(req, traces, timeout)
            if not connection.protocol:  # an empty queue of messages
                return connection
            connection.close()


class UpstreamCall:
    """One call to a target."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        wire: Wire,
        clock: Clock,
        *,
        headers: Mapping[str, str],
        credentials: Mapping[str, str] | None = None,
        query: str,
        deadline: Deadline,
    ) -> None:
        """`credentials` are the client's own: for providers that are asked with them, and nobody else."""
        self._session = session
        self._wire = wire
        self._clock = clock
        self._headers = headers
        self._credentials = credentials or {}
        self._query = _query_on(wire.name, query) if query else ""
        self._deadline = deadline
        self._response: aiohttp.ClientResponse | None = None

    async def send(self, ask: Send) -> Head | Broke:
        """Send the request and wait for the answer's head."""
        self.drop()
        endpoint = ask.target.endpoint
        url = endpoint.url_on(ask.wire) + ask.path
        headers = self._headers
        if not endpoint.settings.clients_own:
            headers = _without_oauth(headers)
        elif ask.wire == self._wire.name:
            headers = {**headers, **self._credentials}
        if ask.wire != self._wire.name:
            headers = _headers_on(ask.wire, headers)
        elif self._query and ask.wire not in endpoint.asked:
            url += ("&" if "?" in ask.path else "?") + self._query
        try:
            with self._deadline.within(ask.until - self._clock.monotonic()):
                proof = endpoint.credential and await endpoint.credential.headers("POST", url, ask.body)
                response = await self._session.post(
                    url,
                    data=io.BytesIO(ask.body) if len(ask.body) > _LARGE_BODY else ask.body,
                    headers={**headers, **endpoint.headers_on(ask.wire), **(proof or {})},
                    timeout=aiohttp.ClientTimeout(total=None, connect=endpoint.settings.connect_timeout),
                    allow_redirects=False,
                )
        except CredentialError as error:
            return Broke(error.row, str(error), self._clock.monotonic())
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            row, message = _named(error, answered=False)
            return Broke(row, message, self._clock.monotonic())
        self._response = response
        _hear_of_broken_framing(response)
        answered = {name.lower(): value for name, value in response.headers.items()}
        return Head(response.status, answered, self._clock.monotonic())

    async def read(self, until: float) -> Chunk | End | Broke:
        """The next piece of the answer."""
        assert self._response is not None
        content = self._response.content
        try:
            data = content.read_nowait()
            if not data and not content.at_eof():
                with self._deadline.within(until - self._clock.monotonic()):
                    data = await content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            row, message = _named(error, answered=True)
            return Broke(row, message, self._clock.monotonic())
        return Chunk(data, self._clock.monotonic()) if data else End(self._clock.monotonic())

    async def read_all(self, until: float, limit: int, idle: float | None = None) -> Chunk | Broke:
        """The rest of the answer, if it has at most `limit` bytes and, once begun, is never silent for `idle`."""
        pieces: list[bytes] = []
        size, patience = 0, until
        while isinstance(reading := await self.read(patience), Chunk):
            pieces.append(reading.data)
            size += len(reading.data)
            if idle is not None and (patience < until or not reading.data.isspace()):
                patience = min(until, reading.now + idle)
            if size > limit:
                return Broke(MALFORMED, f"an answer of more than {limit} bytes", reading.now)
        if isinstance(reading, Broke):
            return reading
        return Chunk(pieces[0] if len(pieces) == 1 else b"".join(pieces), reading.now)

    def take_leave(self) -> Awaitable[None] | None:
        """Let go of an answer that was delivered whole.

        If its connection has not ended it yet, this gives what to await elsewhere so that the connection can be used
        again: the end often comes in a packet of its own.
        """
        response, self._response = self._response, None
        if response is None:
            return None
        if response.content.at_eof():
            response.release()
            return None
        return _ended(response)

    def drop(self) -> None:
        """Let go of the answer; its connection is closed, unless it has ended."""
        if self._response is not None:
            if self._response.content.at_eof():
                self._response.release()
            else:
                self._response.close()
            self._response = None


def _hear_of_broken_framing(response: aiohttp.ClientResponse) -> None:
    """Have a reader learn of an answer that is no HTTP any more.

    aiohttp then closes the connection, but tells nobody who reads: the read would wait for its time to be over.
    """
    protocol = response.connection.protocol if response.connection is not None else None
    closed = protocol.closed if protocol is not None else None
    if closed is None:
        return
    content = response.content

    def tell(closed: asyncio.Future[None]) -> None:
        _heard(closed)
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the answer's framing broke"))

    closed.add_done_callback(tell)
    content.on_eof(partial(_forget, closed, tell))  # the connection outlives this answer


def _forget(closed: asyncio.Future[None], listener: Callable[[asyncio.Future[None]], None]) -> None:
    closed.remove_done_callback(listener)
    closed.remove_done_callback(_heard)
    closed.add_done_callback(_heard)


def _heard(closed: asyncio.Future[None]) -> None:
    """Take note of why an idle connection closed, which is of no interest to anybody."""
    if not closed.cancelled():
        closed.exception()


async def _ended(response: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of an answer of which everything was read that counts."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_END_TIMEOUT):
            if not await response.content.readany() or response.content.at_eof():
                response.release()
                return
    response.close()  # more of it, or nothing: not worth waiting for


def _named(error: Exception, *, answered: bool) -> tuple[Row, str]:
    """The row of the failure table for an exception of the HTTP client, and a sentence."""
    detail = str(error) or type(error).__name__
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno in _OUR_OWN_NEED:
        return _OURS, detail[:200]
    if isinstance(error, aiohttp.ServerTimeoutError):
        return UNREACHABLE, "no connection in time"
    if isinstance(error, TimeoutError):
        return TIMEOUT, "no answer in time" if not answered else "the answer stalled"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL | ValueError):
        return MALFORMED, detail[:200]
    return (INTERRUPTED if answered else UNREACHABLE), detail[:200]
