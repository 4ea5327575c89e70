"""What a conversation asks for: an answer to a question, or the rest of one that broke off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from recloser.simulate.wire import Turn

_GO_ON = re.compile(
    r"\b(?:continue|continuation|go on|carry on|resume|interrupted|cut off|broke off|unfinished|left off|stopped)\b",
    re.IGNORECASE,
)


class Wanted(Enum):
    """How a conversation asks for the rest of an answer."""

    WHOLE = auto()
    """It does not."""
    BY_PREFIX = auto()
    """Its last turn is the model's: an answer that is to be gone on with."""
    BY_WORDS = auto()
    """The user says so, after a turn of the model."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be answered, and what was said of the answer already."""

    text: str
    said: str = ""
    wanted: Wanted = Wanted.WHOLE
    insists: bool = False
    """Whether it wants the answer gone on with even if it looks whole."""
    steps: int = 0
    """How often tools were called before."""
    after_result: bool = False
    """Whether a tool has just answered."""


def read(turns: Sequence[Turn]) -> Iterator[Question]:
    """What may be asked, the likeliest first: the rest of an answer, if that is what was begun; else a new one."""
    yield from _begun(turns)
    yield _question(turns)


def _question(turns: Sequence[Turn]) -> Question:
    asked = next((turn.text for turn in reversed(turns) if not turn.by_model and turn.text), "")
    steps = sum(turn.by_model and turn.calls for turn in turns)
    return Question(" ".join(asked.split()), steps=steps, after_result=bool(turns) and turns[-1].results)


def _begun(turns: Sequence[Turn]) -> Iterator[Question]:
    """The question before an answer that was begun, perhaps in several turns: it may have broken off more than once."""
    by_prefix = bool(turns) and turns[-1].by_model
    wanted = Wanted.BY_PREFIX if by_prefix else Wanted.BY_WORDS
    insists = by_prefix or (bool(turns) and _asks_to_go_on(turns[-1]))
    if not by_prefix and turns and turns[-1].results:
        return
    said = ""
    end = len(turns) if by_prefix else len(turns) - 1
    while end >= 2 and (begun := turns[end - 1]).by_model and begun.text and not begun.calls:
        said = begun.text + said
        yield replace(_question(turns[: end - 1]), said=said, wanted=wanted, insists=insists)
        if not _asks_to_go_on(turns[end - 2]):
            return
        end -= 2


def _asks_to_go_on(turn: Turn) -> bool:
    return not turn.by_model and _GO_ON.search(turn.text) is not None
