"""Clients that ask all the time and check every answer word for word."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from recloser.simulate.reply import DEFAULT_TOKENS, answer_pieces

MODEL = "demo-1"
_PAUSE = 0.12
_PATIENCE = 30.0
_PATHS = {"Anthropic": "/v1/messages", "OpenAI": "/v1/chat/completions"}
_SUBJECTS = ("tides", "bridges", "clouds", "clocks", "lighthouses", "maps", "trains")


@dataclass(slots=True, kw_only=True)
class Outcome:
    """A request and what became of it. Times are Unix times."""

    number: int
    wire: str
    stream: bool
    started: float
    id: str = ""
    provider: str = ""
    first_byte: float = 0.0
    ended: float = 0.0
    fault: str | None = None
    """Why it counts as lost."""


class Clients:
    """Several clients, each asking one question after the other: both wires, plain and streaming."""

    def __init__(self, url: str, session: aiohttp.ClientSession, on_loss: Callable[[Outcome], None]) -> None:
        self.done: list[Outcome] = []
        self.waiting: dict[int, Outcome] = {}
        self._url = url
        self._session = session
        self._on_loss = on_loss
        self._numbers = itertools.count(1)
        self._stopping = asyncio.Event()

    @property
    def lost(self) -> list[Outcome]:
        """Every request that did not get its whole answer."""
        return [outcome for outcome in self.done if outcome.fault is not None]

    async def run(self, number_of_clients: int) -> None:
        """Ask until told to stop; open requests are finished."""
        async with asyncio.TaskGroup() as group:
            for at in range(number_of_clients):
                group.create_task(self._ask_on(at * _PAUSE / number_of_clients))

    def stop(self) -> None:
        """Ask nothing more."""
        self._stopping.set()

    async def _ask_on(self, delay: float) -> None:
        await asyncio.sleep(delay)
        while not self._stopping.is_set():
            await self._ask(next(self._numbers))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _PAUSE)

    async def _ask(self, number: int) -> None:
        wire = list(_PATHS)[number % 2]
        outcome = Outcome(number=number, wire=wire, stream=number // 2 % 2 == 0, started=time.time())
        self.waiting[number] = outcome
        try:
            outcome.fault = await self._answer(outcome)
        except TimeoutError:
            outcome.fault = f"no whole answer within {_PATIENCE:.0f} s"
        except (aiohttp.ClientError, OSError) as error:
            outcome.fault = f"no whole answer: {error!r}"
        finally:
            del self.waiting[number]
        outcome.ended = time.time()
        self.done.append(outcome)
        if outcome.fault is not None:
            self._on_loss(outcome)

    async def _answer(self, outcome: Outcome) -> str | None:
        """Ask, read all of it, and say what is wrong with it."""
        question = f"Question {outcome.number}: what do you know about {_SUBJECTS[outcome.number % len(_SUBJECTS)]}?"
        asked = {"model": MODEL, "stream": outcome.stream, "messages": [{"role": "user", "content": question}]}
        if outcome.wire == "Anthropic":
            asked["max_tokens"] = 100
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        async with self._session.post(self._url + _PATHS[outcome.wire], json=asked, timeout=timeout) as response:
            outcome.id = response.headers.get("x-recloser-request-id", "")
            outcome.provider = response.headers.get("x-recloser-target", "").partition("/")[0]
            body = b""
            async for piece in response.content.iter_any():
                outcome.first_byte = outcome.first_byte or time.time()
                body += piece
        if response.status != 200:
            return f"status {response.status}, {_message(body.decode('utf-8', 'replace'))}"
        return what_is_wrong(outcome.wire, body.decode(), "".join(answer_pieces(question, DEFAULT_TOKENS)), outcome)


def what_is_wrong(wire: str, body: str, expected: str, outcome: Outcome) -> str | None:
    """Why this is not the whole answer, or None. Reads the wires by itself, not with the gateway's own code."""
    try:
        if outcome.stream:
            data = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
            if data and '"error"' in data[-1]:
                return f"error in the stream, {_message(data[-1])}"
            text, ended = _STREAMS[wire](data)
        else:
            text, ended = _PLAIN[wire](json.loads(body))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"not readable: {error!r}"
    if text != expected:
        return f"wrong text: {text[:60]!r} instead of {expected[:60]!r}"
    return None if ended else "the text is whole, but its end is missing"


def _message(body: str) -> str:
    """What an error says, on either wire."""
    try:
        return str(json.loads(body)["error"]["message"])[:160]
    except (ValueError, KeyError, TypeError):
        return body[:160]


def _anthropic(answer: Any) -> tuple[str, bool]:
    return "".join(block["text"] for block in answer["content"]), answer["stop_reason"] == "end_turn"


def _anthropic_stream(data: list[str]) -> tuple[str, bool]:
    events = [json.loads(line) for line in data]
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    stops = [event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta"]
    return text, stops == ["end_turn"] and [event["type"] for event in events][-1:] == ["message_stop"]


def _openai(answer: Any) -> tuple[str, bool]:
    choice = answer["choices"][0]
    return choice["message"]["content"], choice["finish_reason"] == "stop"


def _openai_stream(data: list[str]) -> tuple[str, bool]:
    choices = [json.loads(line)["choices"][0] for line in data if line != "[DONE]"]
    finished = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, finished == ["stop"] and data.count("[DONE]") == 1 and data[-1] == "[DONE]"


_PLAIN: dict[str, Callable[[Any], tuple[str, bool]]] = {"Anthropic": _anthropic, "OpenAI": _openai}
_STREAMS: dict[str, Callable[[list[str]], tuple[str, bool]]] = {
    "Anthropic": _anthropic_stream,
    "OpenAI": _openai_stream,
}
