"""Where requests come in: a bare ASGI application. What is no request for a model goes on to the operating pages."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import aiohttp

from recloser.core.units import Secret
from recloser.gateway.asks import ClientSide
from recloser.gateway.counters import COUNTERS, Counter
from recloser.gateway.counting import Counting, Uncounted
from recloser.gateway.delivery import Conversation
from recloser.gateway.exchange import Exchange
from recloser.gateway.gateway import Gateway
from recloser.gateway.own_credentials import own_credentials
from recloser.gateway.request import Request
from recloser.gateway.routing import Routing, may_cost
from recloser.gateway.runtime.client import ClientConnection, Receive, SendMessage
from recloser.gateway.runtime.deadline import Deadline
from recloser.gateway.runtime.driver import Driver
from recloser.gateway.runtime.upstream import UpstreamCall, request_headers
from recloser.gateway.targets import LONGEST_NAME
from recloser.gateway.wires import ALL_WIRES, WIRES
from recloser.gateway.wires.gemini import address, array
from recloser.gateway.wires.wire import BadRequestError, Refusal, Wire

Scope = Mapping[str, Any]
_log = logging.getLogger("recloser")
_NO_KEY = "a key of this gateway is needed, as x-api-key, x-goog-api-key, x-recloser-key or Authorization: Bearer"
_LATE = Refusal(408, "timeout", "the request did not arrive in time")
_LONGEST_AGENT = 100
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})


class Door:
    """Who may come in: by Host and Origin, against what a web page makes a browser do, and by key."""

    def __init__(self, hosts: Iterable[str], keys: Iterable[Secret]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._keys = tuple((sha256(key.reveal().encode()).digest(), key.reference) for key in keys)

    def refusal(self, path: str, headers: Mapping[bytes, bytes], query: str = "") -> Refusal | None:
        """Why a request may not come in, or None."""
        host = _host(headers.get(b"host", b"").decode("latin-1"))
        if host not in self._hosts:
            return Refusal(403, "forbidden", f"the host {host[:100]!r} is not served here; see [gateway] hosts")
        if not self._same_site(headers):
            return Refusal(403, "forbidden", "requests from pages of other sites are not served")
        if not self._keys or path in _OPEN_PATHS or any(map(self.knows, _presented(headers, query))):
            return None
        return Refusal(401, "auth", _NO_KEY)

    def client(self, headers: Mapping[bytes, bytes], query: str = "") -> str:
        """Which key a client that may come in has shown, by its reference; empty where none is needed."""
        shown = (reference for key in _presented(headers, query) for reference in self._references(key))
        return next(shown, "")

    def _same_site(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether no browser says that the request was made by a foreign page, which needs no key and no preflight."""
        origin = headers.get(b"origin")
        if origin is not None and _host(origin.decode("latin-1").partition("://")[2]) not in self._hosts:
            return False
        return headers.get(b"sec-fetch-site") not in (b"cross-site", b"same-site")

    def knows(self, key: bytes) -> bool:
        """Whether it is a key of this gateway."""
        return bool(self._references(key))

    def _references(self, key: bytes) -> list[str]:
        """The references of a key, looked for among all of them: in constant time."""
        digest = sha256(key).digest()
        return [reference for known, reference in self._keys if hmac.compare_digest(digest, known)]


def _host(header: str) -> str:
    """A Host header without its port."""
    name, _, port = header.rpartition(":")
    return (name if name and port.isdecimal() else header).lower()


def _presented(headers: Mapping[bytes, bytes], query: str) -> Iterator[bytes]:
    """The keys that a request brings along; a client may have one of old, or of its provider, beside the right one."""
    yield headers.get(b"x-recloser-key", b"")
    yield headers.get(b"x-api-key", b"")
    yield headers.get(b"x-goog-api-key", b"")
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer":
        yield token.strip()
    if "key=" in query:
        yield from (key.encode() for key in parse_qs(query).get("key", ()))


class Place(NamedTuple):
    """Where a client asks, and what the address says of its request."""

    wire: Wire
    model: str = ""
    stream: bool = False
    dress: Callable[[bytes], bytes] = bytes
    """What the client wants around a whole answer."""
    counter: Counter | None = None
    """Whether it asks only how many tokens the request has, and how it is answered."""


_FIXED = {wire.path: Place(wire) for wire in ALL_WIRES.values() if wire.model_in_body} | {
    counter.path: Place(WIRES[counter.wire], counter=counter) for counter in COUNTERS.values() if counter.path
}


def place(path: str, query: str) -> Place | None:
    """Where a client asks; None if that is no wire's address."""
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    said = address(path, query)
    if said is None:
        return None
    in_pieces = said.streamed and not said.events
    counter = COUNTERS["gemini"] if said.counted else None
    return Place(WIRES["gemini"], said.model, said.stream, array if in_pieces else bytes, counter)


class Ingress:
    """The gateway as an ASGI application."""

    def __init__(
        self, gateway: Gateway, driver: Driver, session: aiohttp.ClientSession, door: Door, pages: Any
    ) -> None:
        self._gateway = gateway
        self._driver = driver
        self._session = session
        self._door = door
        self._pages = pages
        self._uncounted = Uncounted()
        self._routing = Routing(gateway.routes, gateway.settings, gateway.traffic, now=gateway.clock.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        path = scope["path"]
        query = scope["query_string"].decode("latin-1")
        there = place(path, query)
        refusal = self._door.refusal(path, headers, query)
        if refusal is not None:
            wire = there.wire if there else WIRES["openai-chat"]
            await _refuse(send, wire, refusal, self._gateway.request_id())
        elif there is None:
            await self._show_page(scope, receive, send)
        elif scope["method"] != "POST":
            await _refuse(send, there.wire, Refusal(405, "invalid_request", "use POST"), self._gateway.request_id())
        else:
            await self._serve(there, scope, headers, receive, send)

    async def _show_page(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        try:
            async with asyncio.timeout(self._gateway.settings.body_timeout):
                await self._pages(scope, receive, send)
        except TimeoutError:
            await _refuse(send, WIRES["openai-chat"], _LATE, self._gateway.request_id())

    async def _serve(
        self, there: Place, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: SendMessage
    ) -> None:
        request_id = self._gateway.request_id()
        with contextlib.closing(Deadline()) as deadline:
            try:
                body = await self._body(headers, receive, deadline)
                if body is None:
                    return
                request = self._request(request_id, there, headers, scope["query_string"].decode("latin-1"), body)
            except _RefusedError as refused:
                await _refuse(send, there.wire, refused.refusal, request_id)
                return
            await self._exchange(request, there, scope, receive, send, deadline)

    async def _exchange(
        self, request: Request, there: Place, scope: Scope, receive: Receive, send: SendMessage, deadline: Deadline
    ) -> None:
        wire, request_id, envelope = request.wire, request.id, request.envelope
        settings, clock = self._gateway.settings, self._gateway.clock
        client = ClientConnection(
            receive,
            send,
            hold=wire.hold(request_id, envelope.model, int(clock.time())) if envelope.stream else None,
            keepalive_after=settings.keepalive_after,
            request_id=request_id,
            dress=there.dress,
        )
        conversation = self._counting(request) if there.counter is not None else self._asking(request, client.seen)
        upstream = UpstreamCall(
            self._session,
            wire,
            clock,
            headers=request_headers(scope["headers"]),
            credentials=request.credentials,
            query=scope["query_string"].decode("latin-1"),
            deadline=deadline,
        )
        with client:
            try:
                await self._driver.drive(conversation, client, upstream)
            except Exception:
                _log.exception("request %s met a fault of the gateway", request_id)
                if client.seen.begun:
                    raise  # the connection is cut: better than an answer that seems whole
                await _refuse(send, wire, Refusal(500, "internal_error", "internal error of the gateway"), request_id)

    def _asking(self, request: Request, seen: ClientSide) -> Conversation[None]:
        gateway = self._gateway
        exchange = Exchange(
            request,
            gateway.settings,
            gateway.breakers,
            guards=gateway.guards,
            refusals=gateway.refusals,
            traffic=gateway.traffic,
            client=seen,
            emit=gateway.emit,
            wall_clock=gateway.clock.time,
            now=gateway.clock.monotonic(),
        )
        return exchange.run()

    def _counting(self, request: Request) -> Conversation[None]:
        gateway = self._gateway
        counting = Counting(
            request,
            gateway.breakers,
            uncounted=self._uncounted,
            emit=gateway.emit,
            wall_clock=gateway.clock.time,
            now=gateway.clock.monotonic(),
        )
        return counting.run()

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive, deadline: Deadline) -> bytes | None:
        """The request's body; None if the client left while sending it."""
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise _RefusedError(Refusal(415, "invalid_request", "an encoded body cannot be routed; send it as it is"))
        limit = self._gateway.settings.max_body
        too_large = Refusal(413, "too_large", f"the request is larger than this gateway takes ({limit} bytes)")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            raise _RefusedError(too_large)
        pieces: list[bytes] = []
        size = 0
        try:
            with deadline.within(self._gateway.settings.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > limit:
                        raise _RefusedError(too_large)
                    if not message.get("more_body", False):
                        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        except TimeoutError:
            raise _RefusedError(_LATE) from None

    def _request(
        self, request_id: str, there: Place, headers: Mapping[bytes, bytes], query: str, body: bytes
    ) -> Request:
        if self._driver.stopping:
            raise _RefusedError(Refusal(503, "stopping", "the gateway is shutting down"))
        try:
            if there.counter is not None:
                body = there.counter.counted(body)
            envelope = there.wire.read(body, there.model, stream=there.stream)
            paid = may_cost(headers.get(b"x-recloser-paid", b"").decode("latin-1"))
        except BadRequestError as error:
            raise _RefusedError(Refusal(400, "invalid_request", str(error), error.field)) from error
        routes = self._gateway.routes
        profile = headers.get(b"x-recloser-profile", b"").decode("latin-1")
        if profile and profile not in routes.profiles:
            raise _RefusedError(Refusal(400, "invalid_request", f"there is no profile {profile[:100]!r}"))
        model = envelope.model
        if len(model) > LONGEST_NAME:
            said = f"model: a name has at most {LONGEST_NAME} characters"
            raise _RefusedError(Refusal(400, "invalid_request", said, "model"))
        own = own_credentials(there.wire.name, headers, query, self._door.knows)
        request = Request(
            id=request_id, wire=there.wire, envelope=envelope, body=body, targets=(), credentials=own,
            client=self._door.client(headers, query), agent=_agent(headers), metered=self._gateway.guards.metering,
        )  # fmt: skip
        if not self._routing.lead(request, profile or None, may_cost=paid):
            raise _RefusedError(Refusal(404, "not_found", f"no route leads to the model {model!r}", "model"))
        return request


def _agent(headers: Mapping[bytes, bytes]) -> str:
    """Which agent a request says it is from."""
    name = headers.get(b"x-recloser-agent", b"")[:_LONGEST_AGENT].decode("latin-1")
    return name if name.isprintable() else ""


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


async def _refuse(send: SendMessage, wire: Wire, refusal: Refusal, request_id: str) -> None:
    body = wire.error(refusal, request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-recloser-request-id", request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
