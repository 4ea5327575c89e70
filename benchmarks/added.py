"""What the gateway adds by itself, without any socket: CPU time per request and per event of a stream.

    make bench-added                  one to two minutes
    make bench-added ARGS='--quick'   to see that it works
    make bench-added ARGS='--write'   and put the tables into benchmarks/ADDED.md

An exchange is talked through as the driver does it, with the target's bytes at hand. Each figure stands beside that of
the standard library's `json`, decoding and encoding the same bytes, timed in the same round: read the ratios.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

sys.path[0] = str(Path(__file__).resolve().parents[1])  # `benchmarks` is a package to its parts

from recloser.breaker import Breakers  # noqa: E402 -- after the path
from recloser.core.circuit_settings import CircuitSettings  # noqa: E402
from recloser.gateway import sse  # noqa: E402
from recloser.gateway.asks import Chunk, ClientSide, End, Head, Now, Read, ReadAll, Send  # noqa: E402
from recloser.gateway.canonical import Answer, Event, Grew, Request, Role, Text, Tool, ToolResult, ToolUse, Turn, Usage  # noqa: E402
from recloser.gateway.exchange import Exchange  # noqa: E402
from recloser.gateway.guards import Guards, made  # noqa: E402
from recloser.gateway.request import Request as Asked  # noqa: E402
from recloser.gateway.resuming.resumption import Refusals  # noqa: E402
from recloser.gateway.settings import GatewaySettings, ProviderSettings, RouteSettings  # noqa: E402
from recloser.gateway.targets import Routes  # noqa: E402
from recloser.gateway.wires import CODECS, WIRES  # noqa: E402
from recloser.gateway.wires.telling import told  # noqa: E402

RESULTS = Path(__file__).with_name("ADDED.md")
EVENTS = 1000
AIMS = {"same": 20.0, "cross": 60.0}
_SSE, _JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}


class World:
    """Targets at hand, one a wire."""

    def __init__(self, *, guarded: bool, resume: bool = True) -> None:
        self.settings = GatewaySettings(midstream="resume" if resume else "error")
        self.breakers = Breakers(CircuitSettings())
        self.guards = Guards(made({}) if guarded else {}, time.time)
        self.guards.join(self.breakers)
        self.refusals = Refusals()

    def targets(self, wire: str) -> Any:
        """A target that speaks this wire alone."""
        provider = ProviderSettings(kind="compatible", wire=wire, base_url="http://127.0.0.1:1/v1")
        return Routes({"a": provider}, {"*": RouteSettings(targets=("a/m",))}, {}).targets("m")

    def serve(self, client: str, body: bytes, targets: Any, answer: list[bytes], *, stream: bool) -> int:
        """One exchange from its first byte to its last; gives how many bytes the client got."""
        envelope = WIRES[client].read(body, "m", stream=stream)
        request = Asked(id="req_1", wire=WIRES[client], envelope=envelope, body=body, targets=targets)
        side = ClientSide()
        exchange = Exchange(
            request, self.settings, self.breakers, guards=self.guards, refusals=self.refusals, client=side,
            emit=lambda _: None, wall_clock=time.time, now=1.0,
        ).run()  # fmt: skip
        pieces, received = iter(answer), 0
        try:
            ask = next(exchange)
            while True:
                match ask:
                    case Send():
                        reading: Any = Head(200, _SSE if stream else _JSON, 1.0)
                    case Read() | ReadAll():
                        piece = next(pieces, None)
                        reading = End(1.0) if piece is None else Chunk(piece, 1.0)
                    case _:
                        side.begun = True
                        received += len(getattr(ask, "data", b""))
                        reading = Now(1.0)
                ask = exchange.send(reading)
        except StopIteration:
            return received


def conversation(size: int, *, tools: bool) -> Request:
    """A coding agent's history of about so many bytes; or one question."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"}}}
    names = [
        "Read",
        "Write",
        "Edit",
        "Glob",
        "Grep",
        "Bash",
        "WebFetch",
        "TodoWrite",
        "Task",
        "Notebook",
        "Kill",
        "Ask",
    ]
    turns = [Turn(role=Role.USER, parts=(Text(text="Why does the test fail?"),))]
    for number in range(max(0, size - 5000) // 2150 if tools else 0):
        call = ToolUse(id=f"call_{number}", name=names[number % 12], input=json.dumps({"path": f"src/{number}.py"}))
        turns.append(Turn(role=Role.ASSISTANT, parts=(Text(text="I look at the next file."), call)))
        code = "".join(f"line {line} of file {number}\n" for line in range(95))
        turns.append(Turn(role=Role.USER, parts=(ToolResult(id=call.id, parts=(Text(text=code),)),)))
    return Request(
        model="m", turns=tuple(turns), max_tokens=4096, stream=True,
        tools=tuple(Tool(name=name, description="A tool. " * 20, schema=schema) for name in names) if tools else (),
    )  # fmt: skip


def streamed(wire: str) -> list[bytes]:
    """A provider's stream of a thousand pieces of words, one at a time."""
    began, part, _, *rest = told(Answer(id="answer-1", model="m", parts=(Text(text="word"),)))
    events: list[Event] = [began, part, *(Grew(index=0, text=f"word {n} ") for n in range(EVENTS)), *rest]
    writer = CODECS[wire].writer(conversation(0, tools=False))
    return [written for event in events if (written := writer.write(event))]


def body(wire: str, request: Request) -> bytes:
    """As a client of this wire asks it."""
    return CODECS[wire].write_request(request).body


def timed(work: Callable[[], object], seconds: float) -> float:
    """CPU microseconds of one run, the median of several."""
    work()
    taken: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(taken) < 5:
        began = time.process_time_ns()
        work()
        taken.append((time.process_time_ns() - began) / 1000)
    return median(taken)


def by_json(stream: list[bytes]) -> None:
    """What the standard library takes to decode and encode each event's data."""
    for piece in stream:
        for _, data, _ in sse.parse(piece):
            if data and data != b"[DONE]":
                json.dumps(json.loads(data))


def events(seconds: float) -> Iterator[str]:
    """Per event of a stream, every pair of wires."""
    yield "| client | target | µs per event | json = 1 | without resume | aim |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    world, plain = World(guarded=True), World(guarded=False, resume=False)
    asked = conversation(0, tools=False)
    for client, target in product(WIRES, repeat=2):
        sent, stream, targets = body(client, asked), streamed(target), world.targets(target)
        bare = timed(partial(by_json, stream), seconds)
        whole = timed(partial(world.serve, client, sent, targets, stream, stream=True), seconds)
        without = timed(partial(plain.serve, client, sent, targets, stream, stream=True), seconds)
        aim = AIMS["same" if client == target else "cross"]
        yield (
            f"| {client} | {target} | {whole / len(stream):.1f} | {whole / bare:.2f} | {without / len(stream):.1f} | "
            f"{aim:.0f}{'' if whole / len(stream) < aim else ' **missed**'} |"
        )


def requests(seconds: float) -> Iterator[str]:
    """Per request, with a short answer."""
    yield "| request | client | target | no guards, µs | usual guards, µs | json = 1 |"
    yield "| --- | --- | --- | ---: | ---: | ---: |"
    sizes = {"1 KB question": conversation(0, tools=False), "200 KB agent's turn": conversation(200_000, tools=True)}
    plain, guarded = World(guarded=False), World(guarded=True)
    for name, asked in sizes.items():
        for client, target in (("anthropic", "anthropic"), ("anthropic", "openai-chat"), ("openai-chat", "openai-chat"),
                               ("openai-responses", "anthropic")):  # fmt: skip
            sent, targets = body(client, msgspec.structs.replace(asked, stream=False)), plain.targets(target)
            short = Answer(id="a", model="m", parts=(Text(text="Because."),), usage=Usage(input=9, output=9))
            answer = [CODECS[target].write_answer(short)]
            bare = timed(partial(by_json, [sse.event(sent)]), seconds)
            costs = [
                timed(partial(of.serve, client, sent, targets, answer, stream=False), seconds)
                for of in (plain, guarded)
            ]
            yield f"| {name} | {client} | {target} | {costs[0]:.0f} | {costs[1]:.0f} | {costs[1] / bare:.2f} |"


def machine() -> str:
    """Where this was measured."""
    python, load = platform.python_version(), os.getloadavg()[0]
    where = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, CPython {python}"
    return f"Machine: {where}, load average before: {load:.2f}, {datetime.now(UTC):%Y-%m-%d}."


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter rounds, for a look")
    parser.add_argument("--write", action="store_true", help=f"put the tables into benchmarks/{RESULTS.name}")
    given = parser.parse_args()
    seconds = 0.05 if given.quick else 1.0
    assert __doc__ is not None
    lines = [
        "# Benchmark: what the gateway adds", "", __doc__.partition("\n\n    make")[0].strip(), "",
        __doc__.rpartition("\n\n")[2].strip(), "",
        machine(), "",
        f"## A stream of {EVENTS:,} events", "", *events(seconds), "",
        '`without resume`: `midstream = "error"`, and no guards.', "",
        "## A request with a short answer", "", *requests(seconds), "",
        "Made by `make bench-added ARGS=--write`.", "",
    ]  # fmt: skip
    text = "\n".join(lines)
    print(text)
    if given.write:
        RESULTS.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
