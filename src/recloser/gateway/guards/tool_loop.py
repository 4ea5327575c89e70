"""A model that makes the same calls again and again, and gets the same results."""

import re
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Literal, NamedTuple

import msgspec

from recloser.core.errors import ConfigError
from recloser.gateway.canonical import Text, ToolUse
from recloser.gateway.guards.calls import Call, calls_backwards, named
from recloser.gateway.guards.guard import Action, Guard, Verdict, verdict
from recloser.gateway.guards.outline import last_turns
from recloser.gateway.request import Request
from recloser.gateway.wires.wire import UNREADABLE

LONGEST_CYCLE = 4
"""Calls that may come by turns and still are one loop."""
_LONGEST_NORMALISED = 2**16
"""Characters of arguments that are compared by what they mean; longer ones must be written alike."""

_LAST_ITEMS = 8
"""Messages in which the last call stands nearly always, with its result."""
_PIECE = re.compile(r"[A-Za-z0-9 .,:;_-]{16,64}")
"""A piece of a text that everybody writes alike in JSON."""
_SEARCHED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """[guards.tool_loop]: when calls are a loop."""

    window: int = 5
    """How many of the last rounds are looked at. A round is one call, or a sequence of two to four."""
    repeats: int = 3
    """How many of them must be the same as the last one: calls, arguments and results."""
    action: Literal["warn", "hint", "refuse"] = "warn"
    """`warn`: an event and a header. `hint`: the model is told. `refuse`: 400 `tool_loop_detected`."""

    def __post_init__(self) -> None:
        if self.repeats < 2:
            raise ConfigError(f"repeats must be at least 2, not {self.repeats}")
        if self.window > 100:
            raise ConfigError(f"window must be at most 100, not {self.window}")
        if self.window < self.repeats:
            raise ConfigError(
                f"window ({self.window}) must not be below repeats ({self.repeats}): so many are never seen in it"
            )


class Loop(NamedTuple):
    """What is repeated, the first call first, and how often it came."""

    calls: tuple[Call, ...]
    times: int


class ToolLoop(Guard):
    """Sees identical calls, and cycles of up to four, that change nothing.

    Polling is no loop as long as what comes back is different; nor is a call with the same arguments after something
    else has changed its result.
    """

    Settings = LoopSettings
    usual = True

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings

    def look(self, request: Request, now: float) -> Verdict | None:  # noqa: ARG002 - a loop has no clock
        """A loop, right after one more round of it."""
        if not request.envelope.after_tool_result or not self._may_be_one(request):
            return None
        found = self._loop(list(islice(calls_backwards(request.read().turns), LONGEST_CYCLE * self._settings.window)))
        if found is None:
            return None
        tools = named([call.use.name for call in found.calls])
        one = len(found.calls) == 1
        same = f"the same call of {tools}" if one else f"the same {len(found.calls)} calls ({tools})"
        why = f"{same}, with the same {'result' if one else 'results'}, {found.times} times in the last rounds"
        hint = (
            f"You have made {same} {found.times} times, with the same arguments, and got the same results each time. "
            "Doing so again will not change them. Use what you have, try something else, or say what you need."
        )
        return verdict(request, Action(self._settings.action), why, kind="tool_loop_detected", hint=hint)

    def _may_be_one(self, request: Request) -> bool:
        """Whether what the last call gave stands often enough in the request; most requests need no closer look."""
        last = next(calls_backwards(last_turns(request, _LAST_ITEMS)), None)
        if last is None or last.result is None:
            return True
        texts = (part.text for part in last.result.parts if isinstance(part, Text))
        piece = next((found[0] for text in texts if (found := _PIECE.search(text, 0, _SEARCHED))), None)
        return piece is None or request.body.count(piece.encode()) >= self._settings.repeats

    def _loop(self, calls: list[Call]) -> Loop | None:
        """The shortest cycle that came often enough: in a row if there is one, else with others in between.

        `calls` are the last ones, the very last first.
        """
        same_call, settings = _Arguments().same_call, self._settings
        scattered: Loop | None = None
        for length in range(1, min(LONGEST_CYCLE, len(calls)) + 1):
            last = calls[:length]
            rounds = (calls[start : start + length] for start in range(0, settings.window * length, length))
            alike = [len(one) == length and all(map(same_call, last, one)) for one in rounds]
            in_a_row = len(list(takewhile(bool, alike)))
            if in_a_row >= settings.repeats:
                return Loop(tuple(reversed(last)), in_a_row)
            if scattered is None and sum(alike) >= settings.repeats:
                scattered = Loop(tuple(reversed(last)), sum(alike))
        return scattered


class _Arguments:
    """Compares calls. What the arguments of one mean is found out at most once, and only where it matters."""

    def __init__(self) -> None:
        self._meanings: dict[int, bytes] = {}

    def same_call(self, a: Call, b: Call) -> bool:
        """Whether two calls are the same, as is what came of them."""
        return a.use.name == b.use.name and _answer(a) == _answer(b) and self._same(a.use, b.use)

    def _same(self, a: ToolUse, b: ToolUse) -> bool:
        return a.input == b.input or self._meaning(a) == self._meaning(b)

    def _meaning(self, use: ToolUse) -> bytes:
        """Arguments without what does not matter in JSON: the order of names, and white space."""
        known = self._meanings.get(id(use))
        if known is None:
            known = self._meanings[id(use)] = normalised(use.input)
        return known


def _answer(call: Call) -> object:
    return None if call.result is None else (call.result.is_error, call.result.parts)


def normalised(arguments: str) -> bytes:
    """JSON in one way of writing; what is none, or too long to be looked into, as it is."""
    written = arguments.strip().encode("utf-8", "surrogatepass")
    if len(written) > _LONGEST_NORMALISED:
        return written
    try:
        return msgspec.json.encode(msgspec.json.decode(written), order="sorted")
    except UNREADABLE:
        return written


offer = ToolLoop
