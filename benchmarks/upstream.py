"""A provider that answers at once with canned bytes: Chat Completions and Messages, plain and streamed.

`python -m benchmarks.upstream PORT`. A body with `"stream": true` gets 100 server-sent events, each written by itself
as a model's are: as fast as possible, or one every N ms by the header `x-pace-ms: N` or the words `x-pace-ms=N`
anywhere in the body (a proxy may drop the header).
"""

import asyncio
import re
import sys

import uvloop
from benchmarks.answers import WIRES

_PACE = re.compile(rb"x-pace-ms(?::\s*|=)(\d+)")
_MODELS = b'{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1760000000,"owned_by":"bench"}]}'
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"request-id: req_bench\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _plain(body: bytes, status: bytes = b"200 OK") -> bytes:
    return (
        b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\nx-request-id: req_bench\r\n"
        b"content-length: %d\r\n\r\n%s" % (status, len(body), body)
    )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_ANSWERS = {wire.path.encode(): _plain(wire.plain) for wire in WIRES.values()}
_STREAMS = {
    wire.path.encode(): (
        _STREAM_HEAD + _chunk(wire.stream[0]),
        *map(_chunk, wire.stream[1:-1]),
        _chunk(wire.stream[-1]) + b"0\r\n\r\n",
    )
    for wire in WIRES.values()
}


class Upstream(asyncio.Protocol):
    """One connection, read by hand: it knows just enough HTTP to find where a request ends."""

    __slots__ = ("_loop", "_missing", "_parts", "_timer", "_transport")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._missing = 0
        self._timer: asyncio.Handle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport  # type: ignore[assignment] # a TCP server's is always a Transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left: no further events."""
        del exc
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is now complete."""
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        while data:
            end = self._request_end(data)
            if end < 0:
                self._parts.append(data)
                return
            data = data[end:]

    def _request_end(self, data: bytes) -> int:
        """Answer the request at the front; where it ends, or -1 when the rest is still to come."""
        self._missing = 0
        head_end = data.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return -1
        head = data[:head_end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            end = head_end + int(head[at + 17 : head.find(b"\r\n", at + 2)])
            self._missing = end - len(data)
            if self._missing > 0:
                return -1
        elif head.find(b"\r\ntransfer-encoding:") >= 0:
            end = _chunked_end(data, head_end)
            if end < 0:
                return -1
        else:
            end = head_end
        self._answer(head, data, head_end, end)
        return end

    def _answer(self, head: bytes, data: bytes, start: int, end: int) -> None:
        path = data[5 : data.find(b" ", 5)].partition(b"?")[0] if head.startswith(b"post ") else b""
        if path not in _ANSWERS:
            found = head.startswith(b"get /v1/models")
            self._transport.write(_plain(_MODELS) if found else _plain(b'{"error":"no such path"}', b"404 Not Found"))
        elif data.find(b'"stream":true', start, end) < 0 and data.find(b'"stream": true', start, end) < 0:
            self._transport.write(_ANSWERS[path])
        elif pace := _PACE.search(head) or _PACE.search(data, start, end):
            self._paced(_STREAMS[path], 0, self._loop.time(), int(pace[1]) / 1000)
        else:
            self._flat_out(_STREAMS[path], 0)

    def _flat_out(self, events: tuple[bytes, ...], index: int) -> None:
        self._transport.write(events[index])
        index += 1
        if index < len(events):
            self._timer = self._loop.call_soon(self._flat_out, events, index)

    def _paced(self, events: tuple[bytes, ...], index: int, begin: float, pace: float) -> None:
        self._transport.write(events[index])
        index += 1
        if index < len(events):
            self._timer = self._loop.call_at(begin + index * pace, self._paced, events, index, begin, pace)


def _chunked_end(data: bytes, at: int) -> int:
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            return -1
        size = int(data[at:line].partition(b";")[0], 16)
        at = line + 2 + size + 2
        if at > len(data):
            return -1
        if size == 0:
            return at


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
