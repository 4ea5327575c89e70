"""The deterministic answer: the same request always gets the same words, from any provider."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from recloser.simulate import conversation
from recloser.simulate.conversation import Question, Wanted
from recloser.simulate.faults import Group, Mode
from recloser.simulate.task import TaskTurn
from recloser.simulate.wire import Ask, End, Reply, Thought, ToolCall

DEFAULT_TOKENS = 20
MAX_TOKENS = 1_000_000
TOOL_PHRASE = "use the tool"
PREAMBLE = "Sure, continuing: "
NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."

_VOCABULARY = (
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor",
    "inlet", "juniper", "kelp", "lagoon", "meadow", "north", "orchard", "pebble",
    "quartz", "river", "summit", "tundra", "upland", "valley", "willow", "yarrow",
    "zephyr", "anchor", "birch", "copper", "dune", "eddy", "fern", "granite",
)  # fmt: skip
_HUGE_PIECE = 64 * 1024
_ENDS = {"max_tokens": End.LENGTH, "refusal": End.REFUSAL, "empty": End.STOP}
_REPEATED_PIECES = 6
_TOKEN = re.compile(r"\s*\S{1,12}|\s+\Z")


class PrefillRefusedError(Exception):
    """The request ends with the model's own words, and the mode says that the model does not take such."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the headers ask of an answer: how many pieces, and a tool's input."""

    tokens: int = DEFAULT_TOKENS
    tool_input: str = "{}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers, when, and how it signs what it thinks."""

    id: str
    created: int
    fingerprint: str
    sign: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Script:
    """A whole answer, before anything of it is left out."""

    thought: Sequence[str] = ()
    pieces: Sequence[str] = ()
    tool: ToolCall | None = None


def reply_to(ask: Ask, mode: Mode, wish: Wish, who: Identity, task: Sequence[TaskTurn] = ()) -> Reply:
    """The answer that the mode lets through, in no wire's words."""
    if mode.detail("resume") == "reject" and ask.turns and ask.turns[-1].by_model:
        raise PrefillRefusedError(NO_PREFILL)
    fault = mode.in_group(Group.REPLY)
    if fault is not None and fault.name in _ENDS:
        script, end = _Script(), _ENDS[fault.name]
    else:
        script = _script(ask, mode, wish, task)
        if fault is not None and fault.name == "huge":
            script = _Script(pieces=_huge(_asked(ask), int(fault.value or 0)))
        end = End.TOOL if script.tool is not None else End.STOP
    if mode.get("no-finish") is not None:
        end = End.NONE
    thought = Thought(script.thought, who.sign("".join(script.thought)), who.sign("")) if script.thought else None
    return Reply(who.id, who.created, who.fingerprint, thought, script.pieces, script.tool, end)


def answer_pieces(text: str, tokens: int) -> tuple[str, ...]:
    """As many pieces as tokens; the first one also repeats how the question began."""
    words = random.Random(text).choices(_VOCABULARY, k=tokens)
    opening = f"Answer to {' '.join(text.split())[:40]}:"
    return tuple(f"{opening} {word}" if index == 0 else f" {word}" for index, word in enumerate(words))


def after_prefill(pieces: Sequence[str], prefill: str) -> tuple[str, ...]:
    """What is left to say when the request already holds the answer's beginning, as a model would go on.

    A space that the beginning ended with may have been lost: the words are what counts.
    """
    whole = "".join(pieces)
    if not prefill or not _begins(whole, prefill):
        return tuple(pieces)
    rest: list[str] = []
    covered = len(prefill if whole.startswith(prefill) else prefill.rstrip())
    for piece in pieces:
        if covered < len(piece):
            rest.append(piece[covered:])
        covered = max(0, covered - len(piece))
    return tuple(rest)


def _script(ask: Ask, mode: Mode, wish: Wish, task: Sequence[TaskTurn]) -> _Script:
    for question in conversation.read(ask.turns):
        script = _whole(ask, question, mode, wish, task)
        if question.wanted is Wanted.WHOLE:
            return script
        whole = "".join(script.pieces)
        if _begins(whole, question.said) and (question.insists or len(question.said.rstrip()) < len(whole.rstrip())):
            told = question.wanted is Wanted.BY_WORDS
            script = _resumed(script, question.said, mode.detail("resume"), told=told)
            # Whoever is told to go on may think about it; whoever speaks already does not.
            return script if told else replace(script, thought=())
    raise AssertionError("a conversation asks for something at last")


def _whole(ask: Ask, question: Question, mode: Mode, wish: Wish, task: Sequence[TaskTurn]) -> _Script:
    """The answer to a question that nothing was said to yet."""
    words = int(mode.value("think")) if mode.get("think") else int(ask.thinks)
    thought = answer_pieces(f"thoughts on {question.text}", words)
    if task:
        return _scripted(ask, task[min(question.steps, len(task) - 1)], thought, wish)
    wants_tool = TOOL_PHRASE in question.text.lower() and not question.after_result
    if ask.tools and (ask.forced or wants_tool):
        return _Script(() if ask.forced else thought, (), ToolCall(ask.tools[0].name, wish.tool_input))
    return _Script(thought, answer_pieces(question.text, wish.tokens))


def _scripted(ask: Ask, turn: TaskTurn, thought: Sequence[str], wish: Wish) -> _Script:
    call = turn.tool_call(ask.tools)
    if ask.forced and ask.tools:  # then nothing is said or thought before
        fits = call is not None and call.name in {tool.name for tool in ask.tools}
        return _Script(tool=call if fits else ToolCall(ask.tools[0].name, wish.tool_input))
    return _Script(_tokens(turn.think) or thought, _tokens(turn.words(ask.tools)), call)


def _resumed(script: _Script, said: str, how: str, *, told: bool) -> _Script:
    """The rest of an answer, as models of all kinds give it. No model says nothing when it is told to go on."""
    if how == "restart":
        return script
    rest = after_prefill(script.pieces, said)
    if how == "tail" or (told and not rest and script.tool is None):
        known = said.rstrip()
        rest = (*_tokens(known)[-_REPEATED_PIECES:], *after_prefill(script.pieces, known))
    elif how == "preamble":
        rest = (PREAMBLE, *rest)
    return replace(script, pieces=rest)


def _asked(ask: Ask) -> str:
    *_, question = conversation.read(ask.turns)
    return question.text


def _begins(whole: str, said: str) -> bool:
    return bool(said.strip()) and whole.startswith(said.rstrip())


def _tokens(text: str) -> tuple[str, ...]:
    """A text in pieces about as long as tokens are."""
    return tuple(_TOKEN.findall(text))


def _huge(text: str, mebibytes: int) -> tuple[str, ...]:
    words = "".join(answer_pieces(text, 64)[1:])
    piece = (words * (_HUGE_PIECE // len(words) + 1))[:_HUGE_PIECE]
    return (piece,) * (mebibytes * 1024 * 1024 // _HUGE_PIECE)
