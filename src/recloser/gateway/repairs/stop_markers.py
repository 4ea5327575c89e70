# ruff: noqa: RUF001 - DeepSeek's marks have a bar of their own
"""Marks by which a model ends its turn, and that a backend forgot to take out, are taken out.

At the end of a text they are leaks wherever they stand. In between, not in code, not in quotes, and not as a word of a
sentence: there they are spoken of.
"""

from recloser.gateway.canonical import Refusal, Request, Text, Thinking, ToolUse
from recloser.gateway.repairs.retelling import Retelling
from recloser.gateway.repairs.scanning import SPACE, Scanner, Steps

MARKERS = (
    "<|im_end|>",
    "<|im_start|>assistant",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|end_of_text|>",
    "<|begin_of_text|>",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<|endoftext|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<start_of_turn>model",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|start|>assistant",
    "<|endofresponse|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_sentence|>",
    "<｜end▁of▁sentence｜>",
    "<eos>",
    "[EOS]",
    "[/INST]",
)
STRUCK, END_OF_STRUCK = "<s>", "</s>"
"""The oldest mark of an end, and what HTML strikes words out with: it is a mark only where nothing was struck out."""


class StopMarkers(Retelling):
    """The repair."""

    def __init__(self, request: Request) -> None:  # noqa: ARG002
        super().__init__()

    def scanner(self, part: Text | Thinking | ToolUse | Refusal) -> Scanner | None:
        """Words and thoughts are read."""
        return StopScanner() if isinstance(part, Text | Thinking) else None


class StopScanner(Scanner):
    """Finds marks of an end."""

    marks = "<["

    def __init__(self) -> None:
        super().__init__()
        self._struck = 0

    def candidate(self, char: str) -> Steps[bool]:
        """Marks that follow one another, and the space around them."""
        if char not in self.marks:
            return False
        before = self.tail[-1:]
        spaces: list[str] = []
        certain = False
        while word := (yield from self.sees(*MARKERS, STRUCK, END_OF_STRUCK)):
            if word in (STRUCK, END_OF_STRUCK) and not self._is_mark(word):
                break
            certain = certain or word != END_OF_STRUCK
            self.take(len(word))
            spaces.append((yield from self.take_while(SPACE)))
        if not spaces:
            return (yield from self._strike())
        after = yield from self.next_char()
        if not after:
            self.drop()
        elif certain and not self.quoted and not _is_spoken_of(before, spaces[-1] or after):
            self.drop()
            self.say("".join(spaces))
        return True

    def _is_mark(self, word: str) -> bool:
        return word == END_OF_STRUCK and not self._struck

    def _strike(self) -> Steps[bool]:
        word = yield from self.sees(STRUCK, END_OF_STRUCK)
        if word:
            self._struck += 1 if word == STRUCK else -1
            self.take(len(word))
        return bool(word)


def _is_spoken_of(before: str, after: str) -> bool:
    """Whether a mark stands among words, or in quotes."""
    if before.isspace() and before != "\n":
        return after[0] != "\n"
    return before in ("'", '"', "(", "“") and after[0] in ("'", '"', ")", "”", ",")


offer = StopMarkers
