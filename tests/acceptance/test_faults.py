"""The fault matrix: what a client gets from a gateway whose first provider is at fault and whose second is well.

Every fault, for a client of each wire, plain and streaming, to providers of its own wire and of another. docs/faults.md
holds what came of it; `RECLOSER_WRITE_FAULTS=1 pytest tests/acceptance/test_faults.py` writes it anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from recloser.gateway import sse
from recloser.gateway.wires import WIRES

if TYPE_CHECKING:
    from tests.acceptance.conftest import Fetched, Gateway, Provider, Starts, Until

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
QUESTION = "What holds the line up?"
AT_ONCE = 8
START, END = "<!-- seen: the fault matrix -->\n", "<!-- end -->"

# The matrix ----------------------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """One row: what is wrong with the first provider, and how `recloser chaos` is told so."""

    title: str
    mode: str
    streams_only: bool = False


BEFORE_CONTENT = [
    Fault("connection refused", "refused"),
    Fault("connection reset", "reset"),
    Fault("closed without an answer", "close"),
    Fault("no answer at all", "hang"),
    Fault("headers, and nothing more", "hang-headers"),
    *(Fault(f"status {status}", str(status)) for status in (401, 402, 403, 404, 408, 409, 413, 425, 429)),
    Fault("429 for ten minutes", "429=10m"),
    Fault("usage limit for two hours", "quota=2h"),
    *(Fault(f"status {status}", str(status)) for status in (500, 501, 502, 503, 504, 505, 507, 520, 524, 529)),
    Fault("out of memory", "oom"),
    Fault("prompt is too long", "too_long"),
    Fault("200 with a sign-in page", "html"),
    Fault("200 with broken JSON", "badjson"),
    Fault("200 with an error object", "error200"),
    Fault("200 and an empty body", "blank"),
    Fault("200 and nothing said", "empty"),
    Fault("a redirect", "redirect"),
    Fault("pings only", "pings", streams_only=True),
]
CLIENTS_OWN = [Fault(f"status {status}", str(status)) for status in (400, 418, 422)]
IN_THE_MIDDLE = [
    Fault("error event", "slow=20ms,error=5:overloaded_error", streams_only=True),
    Fault("clean end of the connection", "slow=20ms,eof=5"),
    Fault("connection cut", "slow=20ms,cut=5"),
    Fault("stall", "slow=20ms,stall=5"),
    Fault("a malformed chunk", "slow=20ms,badjson=5", streams_only=True),
    Fault("all of the text, and no ending", "slow=20ms,no-finish", streams_only=True),
]
HARMLESS = [
    Fault("no terminator", "no-terminator"),
    Fault("gzip, although nobody asked", "gzip"),
    Fault("64 bytes at a time", "slow-body=1ms"),
    Fault("keep-alives first", "pings=3", streams_only=True),
]
PARTS = {
    "Before the first content": BEFORE_CONTENT,
    "The client's own fault": CLIENTS_OWN,
    "In the middle of an answer, after five pieces": IN_THE_MIDDLE,
    "Odd, and whole": HARMLESS,
}
LATE = {"hang", "hang-headers", "pings", "slow=20ms,stall=5"}
"""Faults that are seen by the clock alone. All others get all the time they need: the machine may be busy."""
ABROAD = {
    "anthropic": "openai-chat",
    "openai-chat": "anthropic",
    "openai-responses": "anthropic",
    "gemini": "anthropic",
}


@dataclass(frozen=True)
class Cell:
    """A fault, as a client of some wire meets it."""

    fault: Fault
    client: str
    stream: bool
    spoken: str
    """The wire of the providers."""

    @property
    def model(self) -> str:
        """A name of its own, so that no cell meets another's circuits."""
        way = "home" if self.client == self.spoken else "abroad"
        plain = "".join(letter if letter.isalnum() else "-" for letter in self.fault.mode)
        return f"{plain}-{self.client}-{way}-{'stream' if self.stream else 'plain'}"


def cells() -> Iterator[Cell]:
    for faults in PARTS.values():
        for fault in faults:
            for client in WIRES:
                for spoken in (client, ABROAD[client]):
                    for stream in (False, True):
                        if stream or not fault.streams_only:
                            yield Cell(fault, client, stream, spoken)


# One cell ------------------------------------------------------------------------------------------------------------


def address(client: str, model: str, *, stream: bool) -> str:
    if client == "gemini":
        return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
    return WIRES[client].path


def body(client: str, model: str, *, stream: bool) -> bytes:
    asked: dict[str, Any] = {"model": model, "stream": stream}
    match client:
        case "gemini":
            asked = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
        case "openai-responses":
            asked["input"] = QUESTION
        case _:
            asked |= {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 1000}
    return json.dumps(asked).encode()


def ask(url: Any, client: str, model: str, *, stream: bool) -> Fetched:
    fetched: Fetched = url.fetch(
        address(client, model, stream=stream), body(client, model, stream=stream), {"content-type": "application/json"}
    )
    return fetched


def words(client: str, answer: Any) -> str:
    """What a whole answer says."""
    match client:
        case "anthropic":
            return "".join(block.get("text", "") for block in answer["content"])
        case "openai-chat":
            return str(answer["choices"][0]["message"]["content"])
        case "openai-responses":
            return "".join(part["text"] for item in answer["output"] for part in item.get("content", ()))
        case _:
            return "".join(part["text"] for part in answer["candidates"][0]["content"]["parts"])


def piece(client: str, event: Any) -> str:
    """What one event of a stream says."""
    match client:
        case "anthropic":
            return str(event.get("delta", {}).get("text", ""))
        case "openai-chat":
            return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
        case "openai-responses":
            return str(event["delta"]) if event["type"] == "response.output_text.delta" else ""
        case _:
            parts = [candidate.get("content", {}).get("parts", ()) for candidate in event.get("candidates", ())]
            return "".join(part.get("text", "") for some in parts for part in some)


def streamed(client: str, stream: bytes) -> tuple[str, str]:
    """What a stream says, and how it ended: whole, in an error, or as if somebody had cut it."""
    watch = WIRES[client].watch()
    watch.feed(stream)
    events = [data for _, data, _ in sse.parse(stream) if data and data != b"[DONE]"]
    said = "".join(piece(client, json.loads(data)) for data in events)
    if watch.fault() is not None:
        return said, "error"
    ended = watch.terminated or (client == "gemini" and watch.finished)
    return said, "whole" if ended else "cut"


def outcome(cell: Cell, answer: Fetched, expected: str, *, attempts: int) -> str:
    """What the client got, in a word or two."""
    if answer.status != 200:
        assert "error" in answer.json
        return str(answer.status)
    if cell.stream:
        said, ending = streamed(cell.client, answer.body)
    else:
        said, ending = words(cell.client, answer.json), "whole"
    if ending == "error":
        assert expected.startswith(said)
        return "error event"
    if ending == "cut":
        return "CUT"
    if said != expected:
        return "GARBLED"
    if answer.headers["x-recloser-target"].startswith("second"):
        return "second"
    return "resumed" if attempts > 1 else "first"


def attempts_by_request(gateway: Gateway) -> dict[str, int]:
    """How many providers were asked for each request that has come to its end."""
    ends = [event for event in gateway.events if event["kind"] == "request_finished"]
    return {event["subject"].removeprefix("request/"): event["attempts"] for event in ends}


# The run -------------------------------------------------------------------------------------------------------------


def base_url(provider: Provider, wire: str) -> str:
    return provider.base_url if wire.startswith("openai") else provider.url


@pytest.fixture(scope="module")
def outcomes(
    first: Provider, second: Provider, start_shared: Starts, refusing_port: int, until: Until
) -> Mapping[Cell, str]:
    """The whole matrix."""
    providers: dict[str, Any] = {
        f"second-{wire}": {"kind": "compatible", "wire": wire, "base_url": base_url(second, wire)} for wire in WIRES
    }
    routes: dict[str, Any] = {}
    for cell in cells():
        url = base_url(first, cell.spoken)
        seconds = "1s" if cell.fault.mode in LATE else "20s"
        patience = dict.fromkeys(("first_token_timeout", "total_timeout", "idle_timeout"), seconds)
        providers[f"first-{cell.model}"] = {
            "kind": "compatible", "wire": cell.spoken, **patience,
            "base_url": url.replace(str(first.address[1]), str(refusing_port)) if cell.fault.mode == "refused" else url,
            "headers": {} if cell.fault.mode == "refused" else {"x-chaos": cell.fault.mode},
        }  # fmt: skip
        routes[cell.model] = {"targets": [f"first-{cell.model}/{cell.model}", f"second-{cell.spoken}/{cell.model}"]}
    gateway = start_shared({
        "gateway": {"max_hold": "0s"},
        "circuit": {"failure_threshold": 100},
        "providers": providers,
        "routes": routes,
    })  # fmt: skip
    expected = words("openai-chat", ask(second, "openai-chat", "for comparison", stream=False).json)
    every = list(cells())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda cell: ask(gateway, cell.client, cell.model, stream=cell.stream), every))
    ids = [answer.headers["x-recloser-request-id"] for answer in answers]
    attempts = until(lambda: found if set(ids) <= set(found := attempts_by_request(gateway)) else None, "all ends")
    return {
        cell: outcome(cell, answer, expected, attempts=attempts[name])
        for cell, answer, name in zip(every, answers, ids, strict=True)
    }


def table(outcomes: Mapping[Cell, str], faults: list[Fault], *, home: bool) -> Iterator[str]:
    names = list(WIRES)
    head = [f"{name}, {how}" for name in (f"`{name}`" for name in names) for how in ("plain", "stream")]
    yield "| Fault | " + " | ".join(head) + " |"
    yield "| --- |" + " --- |" * len(head)
    for fault in faults:
        row = []
        for client in names:
            spoken = client if home else ABROAD[client]
            row += [outcomes.get(Cell(fault, client, stream, spoken), "") for stream in (False, True)]
        yield f"| {fault.title} | " + " | ".join(row) + " |"


def matrix(outcomes: Mapping[Cell, str]) -> str:
    lines: list[str] = []
    for title, faults in PARTS.items():
        lines += [f"## {title}", "", "Providers of the client's own wire:", ""]
        lines += [*table(outcomes, faults, home=True), ""]
        lines += [
            "Providers of another wire (`anthropic` for all but its own clients, and `openai-chat` for those):",
            "",
        ]
        lines += [*table(outcomes, faults, home=False), ""]
    return "\n".join(lines)


def may_be(cell: Cell) -> tuple[str, ...]:
    """What the client may get: never less than an honest error, and never an end that only looks whole."""
    if cell.fault in CLIENTS_OWN:
        return (cell.fault.mode,)
    if cell.fault in IN_THE_MIDDLE and cell.stream:
        return ("resumed", "error event")
    return ("first",) if cell.fault in HARMLESS else ("second",)


def test_each_cell_is_as_it_should_be_and_as_the_page_says(outcomes: Mapping[Cell, str]) -> None:
    """One test, so that the matrix is run once, however many processes the tests are spread over."""
    assert {cell.model: seen for cell, seen in outcomes.items() if seen not in may_be(cell)} == {}
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    said, _, after = rest.partition(END)
    seen = matrix(outcomes)
    if os.environ.get("RECLOSER_WRITE_FAULTS"):
        PAGE.write_text(before + START + seen + END + after, "utf-8")
        return
    assert said == seen, "docs/faults.md is stale: RECLOSER_WRITE_FAULTS=1 pytest tests/acceptance/test_faults.py"
