"""The provider's end, against servers of a few bytes that do exactly what a story needs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from recloser.breaker import SystemClock
from recloser.gateway.asks import Broke, Chunk, End, Head, Send
from recloser.gateway.runtime.deadline import Deadline
from recloser.gateway.runtime.upstream import UpstreamCall, open_session, request_headers
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes
from recloser.gateway.wires import WIRES

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CLOCK = SystemClock()


@contextlib.asynccontextmanager
async def provider(handler: Handler) -> AsyncIterator[str]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


@contextlib.asynccontextmanager
async def calling(url: str) -> AsyncIterator[tuple[Callable[[], UpstreamCall], Send]]:
    settings = ProviderSettings(kind="compatible", wire="openai-chat", base_url=url)
    (target,) = Routes({"a": settings}, {"*": RouteSettings(targets=("a/m",))}, {}).targets("m") or ()
    ask = Send(target, b'{"model":"m","messages":[]}', CLOCK.monotonic() + 5, "openai-chat", "/chat/completions")
    async with open_session() as session:
        with contextlib.closing(Deadline()) as deadline:
            yield (
                lambda: UpstreamCall(
                    session, WIRES["openai-chat"], CLOCK, headers=request_headers([]), query="", deadline=deadline
                ),
                ask,
            )


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def play(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story

    asyncio.run(bounded())


def soon() -> float:
    return CLOCK.monotonic() + 5


def test_a_connection_whose_end_comes_a_little_later_is_used_again() -> None:
    connections = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while True:
            await request_of(reader)
            writer.write(CHUNKED + b"5\r\nhello\r\n")
            await asyncio.wait_for(delivered.wait(), 5)
            delivered.clear()
            writer.write(b"0\r\n\r\n")

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            for _ in range(2):
                upstream = call()
                assert isinstance(await upstream.send(ask), Head)
                answer = await upstream.read(soon())
                assert isinstance(answer, Chunk)
                assert answer.data == b"hello"
                ending = upstream.take_leave()
                assert ending is not None
                delivered.set()
                await ending
            assert len(connections) == 1

    delivered = asyncio.Event()
    play(story())


def test_a_connection_that_goes_on_talking_is_closed() -> None:
    left = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        writer.write(b"4\r\nmore\r\n")
        await reader.read()
        left.set()

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            upstream = call()
            await upstream.send(ask)
            await upstream.read(soon())
            ending = upstream.take_leave()
            if ending is not None:
                await ending
            await left.wait()

    play(story())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", "unreachable"),
        (b"HTTP/1.1 200", "unreachable"),
        (b"garbage\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n" + b"\r\n", "malformed"),
    ],
)
def test_a_head_that_is_none(said: bytes, kind: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(said)
        await writer.drain()

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            answer = await call().send(ask)
            assert isinstance(answer, Broke)
            assert answer.row.kind == kind

    play(story())


@pytest.mark.parametrize(
    "said",
    [
        CHUNKED + b"5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        CHUNKED + b"5\r\nhe",
    ],
)
def test_an_answer_that_ends_too_early_is_interrupted(said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(said)
        await writer.drain()

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            upstream = call()
            await upstream.send(ask)
            answer = await upstream.read_all(soon(), 1000)
            assert isinstance(answer, Broke)
            assert answer.row.kind == "interrupted"
            upstream.drop()

    play(story())


@pytest.mark.parametrize(("said", "broken"), [(b'{"half', True), (b" \n", False)])
def test_half_an_answer_is_not_waited_for_and_white_space_is_none(said: bytes, broken: bool) -> None:
    """Servers keep a connection alive with white space while the model thinks."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + said)
        await writer.drain()
        await reader.read()

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            upstream = call()
            await upstream.send(ask)
            until = soon() if broken else SystemClock().monotonic() + 0.2
            answer = await upstream.read_all(until, 1000, 0.05)
            assert isinstance(answer, Broke)
            assert answer.row.kind == "timeout"
            assert (answer.now < until) is broken
            upstream.drop()

    play(story())


def test_what_a_provider_says_unasked_is_nobody_s_answer() -> None:
    """Else it would be given to the next request, which may be another client's."""
    hello = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    unasked = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(hello + b"hello")
        await first_read.wait()
        writer.write(hello + b"other")
        await writer.drain()
        unasked.set()
        await reader.read()

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            for number in range(2):
                upstream = call()
                await upstream.send(ask)
                answer = await upstream.read_all(soon(), 1000)
                assert isinstance(answer, Chunk)
                assert answer.data == b"hello"
                upstream.drop()
                if number == 0:
                    first_read.set()
                    await unasked.wait()
                    await asyncio.get_running_loop().run_in_executor(None, lambda: None)

    first_read = asyncio.Event()
    play(story())


def test_framing_that_breaks_in_the_middle_is_noticed_at_once() -> None:
    """aiohttp tells nobody who reads: without our ear the read would wait for its whole time."""
    read = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await read.wait()
        writer.write(b"no length\r\n")
        await reader.read()

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            upstream = call()
            await upstream.send(ask)
            assert isinstance(await upstream.read(soon()), Chunk)
            read.set()
            broke = await upstream.read(CLOCK.monotonic() + 3600)
            assert isinstance(broke, Broke)
            assert broke.row.kind == "interrupted"
            upstream.drop()

    play(story())


def test_a_whole_answer_up_to_its_limit() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            for limit, whole in ((5, True), (4, False)):
                upstream = call()
                await upstream.send(ask)
                answer = await upstream.read_all(soon(), limit)
                assert isinstance(answer, Chunk if whole else Broke)
                assert not whole or isinstance(await upstream.read(soon()), End)
                upstream.drop()

    play(story())


def test_nothing_in_time_is_a_timeout_and_a_refusal_is_unreachable() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def story() -> None:
        async with provider(handler) as url, calling(url) as (call, ask):
            late = await call().send(ask._replace(until=CLOCK.monotonic() + 0.05))
            assert isinstance(late, Broke)
            assert late.row.kind == "timeout"
        async with calling("http://127.0.0.1:1/v1") as (call, ask):
            refused = await call().send(ask)
            assert isinstance(refused, Broke)
            assert refused.row.kind == "unreachable"

    play(story())


def test_a_header_that_comes_twice_is_sent_on_as_one() -> None:
    twice = [(b"anthropic-beta", b"tools"), (b"anthropic-beta", "é".encode())]
    assert request_headers(twice)["anthropic-beta"] == "tools, é"


def test_credentials_and_connection_headers_of_the_client_stay_here() -> None:
    sent = request_headers([
        (b"authorization", b"Bearer mine"), (b"x-api-key", b"mine"), (b"cookie", b"a=b"), (b"host", b"here"),
        (b"accept-encoding", b"br"), (b"x-recloser-profile", b"cheap"), (b"content-length", b"5"),
        (b"anthropic-beta", b"tools"), (b"content-type", b"application/json"),
    ])  # fmt: skip
    assert sent == {
        "anthropic-beta": "tools",
        "content-type": "application/json",
        "accept-encoding": "identity",
    }


class TestWhatAProviderGetsToSee:
    """Headers and query of the client's wire stay on it; its credentials stay here."""

    CLIENT = request_headers([
        (b"anthropic-version", b"2024-01-01"), (b"anthropic-beta", b"new-things"), (b"x-stainless-lang", b"python"),
        (b"user-agent", b"agent/1"), (b"content-type", b"application/json; odd=1"), (b"x-goog-api-key", b"secret-1"),
    ])  # fmt: skip

    def seen(self, client: str, asked_on: str, path: str, query: str) -> bytes:
        """The head of the request that a provider gets."""
        heads: list[bytes] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append((await request_of(reader)).partition(b"\r\n\r\n")[0])
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        async def story() -> None:
            async with provider(handler) as url:
                settings = ProviderSettings(kind="compatible", wire=asked_on, base_url=url)
                (target,) = Routes({"a": settings}, {"*": RouteSettings(targets=("a/m",))}, {}).targets("m") or ()
                async with open_session() as session:
                    with contextlib.closing(Deadline()) as deadline:
                        call = UpstreamCall(
                            session, WIRES[client], CLOCK, headers=self.CLIENT, query=query, deadline=deadline
                        )
                        await call.send(Send(target, b"{}", soon(), asked_on, path))

        play(story())
        return heads[0].lower()

    def test_on_its_own_wire_all_but_credentials(self) -> None:
        head = self.seen("anthropic", "anthropic", "/v1/messages", "beta=true&key=secret-2")
        assert head.startswith(b"post /v1/v1/messages?beta=true http")
        assert b"anthropic-version: 2024-01-01" in head
        assert b"anthropic-beta: new-things" in head
        assert b"content-type: application/json; odd=1" in head
        assert b"secret" not in head

    def test_on_another_wire_nothing_of_the_clients(self) -> None:
        head = self.seen("anthropic", "openai-chat", "/chat/completions", "beta=true&key=secret-2")
        assert head.startswith(b"post /v1/chat/completions http")
        assert b"user-agent: agent/1" in head
        assert b"content-type: application/json\r\n" in head
        for word in (b"anthropic", b"stainless", b"secret", b"beta"):
            assert word not in head

    def test_anthropic_is_told_a_version_by_clients_of_other_wires(self) -> None:
        assert b"anthropic-version: 2023-06-01" in self.seen("gemini", "anthropic", "/v1/messages", "")

    def test_gemini_is_asked_in_its_own_words(self) -> None:
        path = "/v1beta/models/m:streamGenerateContent?alt=sse"
        head = self.seen("gemini", "gemini", path, "key=secret-2&alt=json&trace=1")
        assert b"streamgeneratecontent?alt=sse&trace=1 http" in head
        assert b"secret" not in head
