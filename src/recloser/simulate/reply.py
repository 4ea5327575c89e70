"""The deterministic answer: the same request always gets the same words, from any provider."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from recloser.simulate.faults import Group, Mode
from recloser.simulate.wire import Ask, End, Reply, ToolCall

DEFAULT_TOKENS = 20
MAX_TOKENS = 1_000_000
TOOL_PHRASE = "use the tool"

_VOCABULARY = (
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor",
    "inlet", "juniper", "kelp", "lagoon", "meadow", "north", "orchard", "pebble",
    "quartz", "river", "summit", "tundra", "upland", "valley", "willow", "yarrow",
    "zephyr", "anchor", "birch", "copper", "dune", "eddy", "fern", "granite",
)  # fmt: skip
_HUGE_PIECE = 64 * 1024
_ENDS = {"max_tokens": End.LENGTH, "refusal": End.REFUSAL, "empty": End.STOP}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the headers ask of an answer: how many pieces, and a tool's input."""

    tokens: int = DEFAULT_TOKENS
    tool_input: str = "{}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers, and when."""

    id: str
    created: int
    fingerprint: str


def reply_to(ask: Ask, mode: Mode, wish: Wish, who: Identity) -> Reply:
    """The answer that the mode lets through, in no wire's words."""
    fault = mode.in_group(Group.REPLY)
    unfinished = mode.get("no-finish") is not None
    pieces: Sequence[str] = ()
    tool = None
    end = End.STOP
    if fault is not None and fault.name in _ENDS:
        end = _ENDS[fault.name]
    elif fault is not None and fault.name == "huge":
        pieces = _huge(ask.text, int(fault.value or 0))
    elif ask.tool is not None and TOOL_PHRASE in ask.text.lower():
        tool, end = ToolCall(ask.tool, wish.tool_input), End.TOOL
    else:
        pieces = after_prefill(answer_pieces(ask.text, wish.tokens), ask.prefill)
    end = End.NONE if unfinished else end
    return Reply(who.id, who.created, who.fingerprint, pieces, tool, end)


def answer_pieces(text: str, tokens: int) -> tuple[str, ...]:
    """As many pieces as tokens; the first one also repeats how the question began."""
    words = random.Random(text).choices(_VOCABULARY, k=tokens)
    opening = f"Answer to {' '.join(text.split())[:40]}:"
    return tuple(f"{opening} {word}" if index == 0 else f" {word}" for index, word in enumerate(words))


def after_prefill(pieces: Sequence[str], prefill: str) -> tuple[str, ...]:
    """What is left to say when the request already holds the answer's beginning, as a model would go on."""
    if not prefill or not "".join(pieces).startswith(prefill):
        return tuple(pieces)
    rest: list[str] = []
    covered = len(prefill)
    for piece in pieces:
        if covered < len(piece):
            rest.append(piece[covered:])
        covered = max(0, covered - len(piece))
    return tuple(rest)


def _huge(text: str, mebibytes: int) -> tuple[str, ...]:
    words = "".join(answer_pieces(text, 64)[1:])
    piece = (words * (_HUGE_PIECE // len(words) + 1))[:_HUGE_PIECE]
    return (piece,) * (mebibytes * 1024 * 1024 // _HUGE_PIECE)
