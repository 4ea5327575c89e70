"""The driver and the client's end, with a client that is a list and an exchange that is a few lines."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

from recloser.breaker import SystemClock
from recloser.core.events import CircuitClosed
from recloser.gateway import sse
from recloser.gateway.asks import Ask, Begin, Finish, Forward, GatewayStops, Hold, Reading, Reply
from recloser.gateway.runtime.client import ClientConnection
from recloser.gateway.runtime.driver import Driver, Held
from recloser.gateway.runtime.upstream import UpstreamCall
from recloser.gateway.wires import WIRES
from recloser.gateway.wires.wire import SteadyHold

CLOCK = SystemClock()
Script = Generator[Ask, Reading, None]


class Client:
    """An ASGI client: `sent` is what it got; `leave` and `gate` are its moods."""

    def __init__(self, keepalive: bytes | None = b": alive\n\n", after: float = 0.01) -> None:
        self.sent: list[bytes] = []
        self.leave = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.news = asyncio.Event()
        self.connection = ClientConnection(
            self.receive,
            self.send,
            hold=None if keepalive is None else SteadyHold(keepalive),
            keepalive_after=after,
            request_id="req_1",
        )

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.gate.wait()
        self.sent.append(b"<start>" if message["type"] == "http.response.start" else message["body"])
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.news.clear()
            await self.news.wait()


class NoUpstream:
    """An exchange that asks nobody needs none."""

    def drop(self) -> None: ...

    def take_leave(self) -> None: ...


def play(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story

    asyncio.run(bounded())


class Stage:
    def __init__(self) -> None:
        self.held = Held(CLOCK)
        self.driver = Driver(CLOCK, self.held)

    def drive(self, script: Script, client: Client) -> "asyncio.Task[int]":
        async def driven() -> int:
            with client.connection:
                await self.driver.drive(script, client.connection, cast("UpstreamCall", NoUpstream()))
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        return asyncio.get_running_loop().create_task(driven())


def test_what_an_exchange_asks_is_done_in_order() -> None:
    async def story() -> None:
        def script() -> Script:
            yield Begin({})
            yield Forward(b"a")
            yield Forward(b"b")
            yield Finish()

        client = Client(keepalive=None)
        await Stage().drive(script(), client)
        assert client.sent == [b"<start>", b"a", b"b", b""]

    play(story())


def test_a_held_client_hears_that_it_is_alive_and_the_stream_begins_only_once() -> None:
    async def story() -> None:
        def script() -> Script:
            yield Hold(CLOCK.monotonic() + 3600)
            yield Begin({})
            yield Forward(b"a")
            yield Finish()

        client, stage = Client(), Stage()
        task = stage.drive(script(), client)
        await client.until(lambda: client.sent.count(b": alive\n\n") >= 2)
        stage.held.heard(CircuitClosed(subject="model/a", seq=1, open_for=1.0))
        await task
        assert client.sent[0] == b"<start>"
        assert client.sent.count(b"<start>") == 1
        assert client.sent[-2:] == [b"a", b""]

    play(story())


def test_nothing_is_said_into_something_that_is_being_said() -> None:
    async def story() -> None:
        def script() -> Script:
            yield Begin({})
            yield Forward(b"slow")
            yield Hold(CLOCK.monotonic() + 3600)

        client, stage = Client(), Stage()
        client.gate.clear()
        task = stage.drive(script(), client)
        quiet = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(
            0.1, quiet.set_result, None
        )  # ten times the time between two signs of life
        await quiet
        client.gate.set()
        await client.until(lambda: b": alive\n\n" in client.sent)
        assert client.sent[:2] == [b"<start>", b"slow"]
        client.leave.set()
        await task

    play(story())


def test_a_client_that_leaves_ends_its_exchange_and_leaves_no_cancel_behind() -> None:
    async def story() -> None:
        closed: list[str] = []

        def script() -> Script:
            try:
                yield Hold(CLOCK.monotonic() + 3600)
            except GeneratorExit:
                closed.append("closed")
                raise

        client = Client(keepalive=None)
        client.leave.set()
        assert await Stage().drive(script(), client) == 0
        assert closed == ["closed"]
        assert client.sent == []

    play(story())


def test_when_the_drain_is_over_an_exchange_has_its_last_words() -> None:
    async def story() -> None:
        def script() -> Script:
            try:
                yield Hold(CLOCK.monotonic() + 3600)
            except GatewayStops:
                yield Reply(503, {}, b"good bye")

        client, stage = Client(keepalive=None), Stage()
        task = stage.drive(script(), client)
        while not len(stage.held):  # noqa: ASYNC110 - until it waits
            await asyncio.sleep(0)
        stage.driver.stop()
        assert stage.driver.stopping
        assert await task == 0
        assert client.sent == [b"<start>", b"good bye"]

    play(story())


def test_those_who_wait_wake_in_the_order_in_which_they_came() -> None:
    async def story() -> None:
        woken: list[int] = []
        stage = Stage()

        def script(number: int) -> Script:
            yield Hold(CLOCK.monotonic() + 3600)
            woken.append(number)

        tasks = [stage.drive(script(number), Client(keepalive=None)) for number in range(5)]
        while len(stage.held) < 5:  # noqa: ASYNC110 - until all wait
            await asyncio.sleep(0)
        stage.held.heard(CircuitClosed(subject="model/a", seq=1, open_for=1.0))
        await asyncio.gather(*tasks)
        assert woken == [0, 1, 2, 3, 4]
        assert len(stage.held) == 0

    play(story())


def test_a_wait_ends_by_itself() -> None:
    async def story() -> None:
        def script() -> Script:
            yield Hold(CLOCK.monotonic() + 0.01)
            yield Reply(200, {}, b"done")

        client = Client(keepalive=None)
        await Stage().drive(script(), client)
        assert client.sent == [b"<start>", b"done"]

    play(story())


def test_a_held_client_of_responses_hears_of_one_response_which_is_then_answered() -> None:
    async def story() -> None:
        stream = (
            sse.event(
                b'{"type":"response.created","sequence_number":0,"response":{"id":"theirs"}}', b"response.created"
            )
            + sse.event(b'{"type":"response.output_text.delta","sequence_number":1,"delta":"hi"}')
            + sse.event(b'{"type":"response.completed","sequence_number":2,"response":{"id":"theirs"}}')
        )

        def script() -> Script:
            yield Hold(CLOCK.monotonic() + 3600)
            yield Begin({})
            yield Forward(stream)
            yield Finish()

        client, stage = Client(), Stage()
        client.connection = ClientConnection(
            client.receive,
            client.send,
            hold=WIRES["openai-responses"].hold("req_1", "m", 1),
            keepalive_after=0.01,
            request_id="req_1",
        )
        task = stage.drive(script(), client)
        await client.until(lambda: len(client.sent) >= 3)
        stage.held.heard(CircuitClosed(subject="model/a", seq=1, open_for=1.0))
        await task
        told = [json.loads(data) for _, data, _ in sse.parse(b"".join(client.sent[1:]))]
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        assert [event["type"] for event in told].count("response.created") == 1
        assert len({event["response"]["id"] for event in told if "response" in event}) == 1
        assert told[-1]["type"] == "response.completed"

    play(story())
