"""A load generator that believes nothing: every answer is checked, and what is wrong is counted by what is wrong.

Every connection asks again as soon as it has its answer. At the deadline nobody asks again and what is under way is
waited for: the rate is whole answers over the time to the last of them, so a slow proxy is not rounded down.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools
from benchmarks.answers import MARK

DRAIN = 30.0
CONNECT = 10.0
MAX_ERRORS = 200
_OK = b"HTTP/1.1 200 "

_MARK = MARK.encode()


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, on how many connections, for how long."""

    port: int
    request: bytes
    check: Callable[[bytes], str]
    connections: int
    seconds: float
    known: bytes = b""  # the body as the upstream sends it: an answer that ends with it needs no parsing
    spread: float = 0.0  # connections start this many seconds apart from first to last


@dataclass(slots=True)
class Outcome:
    """What came back. Times are in seconds."""

    done: int = 0
    began: float = 0.0
    ended: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the first question to the last answer."""
        return max(self.ended - self.began, 1e-9)

    @property
    def rate(self) -> float:
        """Whole, correct answers a second."""
        return self.done / self.seconds


class Client(asyncio.Protocol):
    """One connection that asks, checks and asks again, until `more` says no."""

    def __init__(self, load: Load, outcome: Outcome, more: Callable[[], bool]) -> None:
        self._load = load
        self._outcome = outcome
        self._more = more
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._parsing = False
        self._busy = False
        self._body: list[bytes] = []
        self._asked = 0.0
        self.first = 0.0  # when the first word of the present answer came
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first time."""
        self._transport = transport  # type: ignore[assignment] # a TCP client's is always a Transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that was under way is lost."""
        del exc
        if self._busy:
            self._outcome.errors["truncated" if self._parsing else "closed without an answer"] += 1
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """The whole known answer at once, or pieces for the parser."""
        known = self._load.known
        if known and not self._parsing and data.endswith(known) and data.startswith(_OK):
            self._answered("")
            return
        self._parsing = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._outcome.errors[f"not HTTP: {type(error).__name__}"] += 1
            self._busy = False
            self._transport.abort()

    def leave(self) -> None:
        """Go in the middle of an answer, which is then no error."""
        self._busy = False
        self._transport.abort()

    def on_body(self, body: bytes) -> None:
        """Called by the parser with the body, chunk framing removed."""
        if not self.first and _MARK in body:
            self.first = time.perf_counter()
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of an answer."""
        status = self._parser.get_status_code()
        body = b"".join(self._body)
        keep_alive = self._parser.should_keep_alive()
        try:
            wrong = self._load.check(body) if status == 200 else f"status {status}"
        except (json.JSONDecodeError, AttributeError, IndexError, TypeError):
            wrong = "not readable"
        self._answered(wrong)
        if not keep_alive:
            self._busy = False
            self._transport.close()

    def _answered(self, wrong: str) -> None:
        now = time.perf_counter()
        outcome = self._outcome
        outcome.ended = now
        self._busy = False
        if wrong:
            outcome.errors[wrong] += 1
        else:
            outcome.done += 1
            outcome.times.append(now - self._asked)
            if self.first:
                outcome.firsts.append(self.first - self._asked)
        if self._more():
            self._ask()
        else:
            self._transport.close()

    def _ask(self) -> None:
        self._parsing = False
        self._body.clear()
        self.first = 0.0
        self._busy = True
        self._asked = time.perf_counter()
        self._transport.write(self._load.request)


async def drive(load: Load) -> Outcome:
    """Put the load on and wait for the last answer, `DRAIN` seconds after the deadline at most."""
    outcome = Outcome(began=time.perf_counter())
    deadline = outcome.began + load.seconds

    def more() -> bool:
        return time.perf_counter() < deadline and outcome.errors.total() < MAX_ERRORS

    async def connection(delay: float) -> None:
        await asyncio.sleep(delay)
        again = True
        while again:
            client = await _connect(load, outcome, more)
            if client is not None:
                await client.closed
            again = more()

    delays = [load.spread * number / load.connections for number in range(load.connections)]
    tasks = [asyncio.ensure_future(connection(delay)) for delay in delays]
    _, late = await asyncio.wait(tasks, timeout=load.seconds + DRAIN)
    for task in late:
        task.cancel()
    if late:
        outcome.errors["unfinished"] += len(late)
        await asyncio.gather(*late, return_exceptions=True)
    return outcome


async def hold(load: Load, sample: Callable[[], float], few: int) -> tuple[float, Outcome]:
    """Bytes of a proxy's memory per open stream: sampled with `few` streams open, and with all of them.

    The slope between two counts is taken, so neither the idle proxy nor its warm-up enters.
    """
    outcome = Outcome(began=time.perf_counter())
    clients: list[Client] = []
    samples: list[float] = []
    for count in (few, load.connections):
        while len(clients) < count and outcome.errors.total() < MAX_ERRORS:
            batch = min(20, count - len(clients))
            made = await asyncio.gather(*(_connect(load, outcome, lambda: False) for _ in range(batch)))
            clients += [client for client in made if client is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                while not all(client.first or client.closed.done() for client in clients):  # noqa: ASYNC110 -- 400 events
                    await asyncio.sleep(0.05)
        await asyncio.sleep(load.seconds)
        outcome.errors["no first event"] += sum(not client.first for client in clients)
        samples.append(sample())
    for client in clients:
        client.leave()
    await asyncio.gather(*(client.closed for client in clients))
    outcome.done = len(clients)
    outcome.errors += Counter()  # drops the zeros
    return (samples[1] - samples[0]) / (load.connections - few), outcome


async def _connect(load: Load, outcome: Outcome, more: Callable[[], bool]) -> Client | None:
    try:
        async with asyncio.timeout(CONNECT):
            _, client = await asyncio.get_running_loop().create_connection(
                lambda: Client(load, outcome, more), "127.0.0.1", load.port
            )
    except OSError as error:
        outcome.errors[f"cannot connect: {type(error).__name__}"] += 1
        return None
    return client
