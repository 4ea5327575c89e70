"""Clients that keep a server waiting, on real sockets. Their patience is short here, and ours shorter."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvicorn

from recloser.gateway.runtime.protocol import GuardedProtocol

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


class Hasty(GuardedProtocol):
    head_timeout = 0.1
    stuck_after = 0.1
    linger = 0.1
    largest_head = 10_000


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says how long the body was; `/large` says a lot, `/early` does not wait for the body."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"x" * 50_000_000 if scope["path"] == "/large" else str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Connect:
    """Connects to a server, and knows its side of the connections."""

    def __init__(self, port: int, server: uvicorn.Server) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.open = server.server_state.connections

    async def __call__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**16)
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Connect]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(echo, http=Hasty, lifespan="off", ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listening]))
    connect = Connect(listening.getsockname()[1], server)
    try:
        yield connect
    finally:
        connect.close()
        server.should_exit = True
        await task


def play(story: Callable[[Connect], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20), serving() as connect:
            await story(connect)

    asyncio.run(bounded())


async def cut_off(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes the connection, which it must."""
    seen = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(2**20):
            seen = (seen + piece)[:1000]
    return seen


async def answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    return await reader.readexactly(length)


@pytest.mark.parametrize("said", [b"", b"POST / HT", HEAD, HEAD + b"x: " + b"y" * 20_000, b"\r\n\r\n"])
def test_a_head_that_does_not_come_or_does_not_end(said: bytes) -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(said)
        assert await cut_off(reader) == b""

    play(story)


def test_a_client_that_takes_nothing_of_its_answer() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        await reader.readexactly(1)
        transport.pause_reading()
        while connect.open:  # noqa: ASYNC110 - until the server has let go, which nothing here can see otherwise
            await asyncio.sleep(0)
        transport.resume_reading()
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(2**20):
                taken += len(piece)
        assert taken < 50_000_000

    play(story)


def test_an_answer_before_the_end_of_the_request_is_heard_and_the_rest_is_not_read_for_ever() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1000)
        assert await answer(reader) == b"0"
        writer.write(b"x" * 1000)
        assert await cut_off(reader) == b""

    play(story)


def test_the_rest_of_a_request_that_comes_at_once_leaves_the_connection_usable() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        writer.write(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        assert await answer(reader) == b"0"
        writer.write(b"hello" + HEAD + b"content-length: 3\r\n\r\nabc")
        assert await answer(reader) == b"3"

    play(story)


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade"])
def test_a_wish_for_another_protocol_is_passed_over_and_the_body_kept(name: bytes) -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        wish = b"connection: Upgrade, HTTP2-Settings\r\n" + name + b": h2c\r\nhttp2-settings: AAA\r\n"
        writer.write(HEAD + wish + b"content-length: 5\r\n\r\nhello")
        assert await answer(reader) == b"5"

    play(story)


def test_two_requests_on_one_connection() -> None:
    async def story(connect: Connect) -> None:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(HEAD + b"content-length: 5\r\n\r\nhello")
            assert await answer(reader) == b"5"

    play(story)
