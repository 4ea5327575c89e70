"""The gateway's parts without the gateway: uvicorn, msgspec and aiohttp put together in the shortest way.

`python -m benchmarks.bare_parts PORT UPSTREAM_PORT`. What recloser takes longer than this is what recloser costs.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import msgspec
import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_KEEP = {b"content-type", b"authorization", b"x-api-key", b"anthropic-version", b"anthropic-beta"}
_DROP = {b"transfer-encoding", b"connection", b"keep-alive", b"content-length"}


class Proxy:
    """One ASGI application with one shared client session."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI's three arguments."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] == "/healthz":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
        else:
            await self._forward(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forward(self, scope: Message, receive: Receive, send: Send) -> None:
        parts = []
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        request = msgspec.json.decode(body)
        if not isinstance(request.get("model"), str):
            raise TypeError("the request names no model")
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name in _KEEP}
        mine = asyncio.current_task()
        leaving = asyncio.ensure_future(receive())

        def left(_: asyncio.Task[Message]) -> None:
            if mine is not None:
                mine.cancel()

        leaving.add_done_callback(left)
        try:
            await self._pass_through(scope["path"], body, headers, send)
        except asyncio.CancelledError:
            if not leaving.done():
                raise
        finally:
            leaving.remove_done_callback(left)
            leaving.cancel()

    async def _pass_through(self, path: str, body: bytes, headers: dict[str, str], send: Send) -> None:
        async with self._session.post(self._upstream + path, data=body, headers=headers) as answer:
            kept = [(name, value) for name, value in answer.raw_headers if name.lower() not in _DROP]
            if answer.content_length is not None:
                kept.append((b"content-length", b"%d" % answer.content_length))
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        Proxy(f"http://127.0.0.1:{sys.argv[2]}"),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        backlog=4096,
    )
