"""Thoughts that a model wrote into its answer become thoughts.

`<think>` at the beginning of a line, the marks of a few families wherever they stand, and gpt-oss' channels. A thought
that never ends does not swallow the answer: where nothing else was said, and the answer ended as usual, what was
thought is said as well. An end without a beginning is taken out: what came before was told as text already.
"""

from collections.abc import Iterable

from recloser.gateway.canonical import Ended, Refusal, Request, Stop, Text, Thinking, ToolUse
from recloser.gateway.repairs.retelling import Retelling
from recloser.gateway.repairs.scanning import BLANKS, LONGEST_HELD, Piece, Said, Scanner, Steps, Thought

TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}
"""Tags that a text may also speak of: they count at the beginning of a line."""
MARKS = {
    "[THINK]": "[/THINK]",
    "<seed:think>": "</seed:think>",
    "<mm:think>": "</mm:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel>thought": "<channel|>",
}
_STARTS = ("", "<|start|>assistant")
ANALYSIS = tuple(f"{start}<|channel|>analysis<|message|>" for start in _STARTS)
"""gpt-oss thinks in a channel of its own."""
ALOUD = tuple(f"{start}<|channel|>{name}<|message|>" for start in _STARTS for name in ("final", "commentary"))
"""And speaks in these. A message to a tool is none of them."""
ENDS = ("<|end|>", "<|return|>")


class ReasoningLeak(Retelling):
    """The repair."""

    def __init__(self, request: Request) -> None:  # noqa: ARG002
        super().__init__()
        self._answered = False
        self._scanners: list[ThoughtScanner] = []

    def scanner(self, part: Text | Thinking | ToolUse | Refusal) -> Scanner | None:
        """Words are read."""
        if not isinstance(part, Text):
            self._answered = self._answered or not isinstance(part, Thinking)
            return None
        self._scanners.append(ThoughtScanner())
        return self._scanners[-1]

    def last_words(self, event: Ended) -> Iterable[Piece]:
        """A thought that never ended, and was all there is."""
        if event.stop is not Stop.END or self._answered or any(scanner.answered for scanner in self._scanners):
            return ()
        return [Said(text) for scanner in self._scanners if (text := scanner.unended())]


class ThoughtScanner(Scanner):
    """Finds thoughts in a text."""

    marks = "<["

    def __init__(self) -> None:
        super().__init__()
        self.answered = False
        """Whether something was said that is no thought."""
        self._ends: tuple[str, ...] = ()
        """What ends the thought that is told."""
        self._channels = False
        self._open: list[str] = []
        self._length = 0

    def unended(self) -> str:
        """The thought that has no end, if it is not too long to be kept."""
        return "".join(self._open) if self._ends and self._length <= LONGEST_HELD else ""

    def say(self, text: str) -> None:
        """Text goes on, or a thought does."""
        super().say(text)
        if not self._ends:
            self.answered = self.answered or bool(text.strip())
            return
        self._length += len(text)
        if self._length <= LONGEST_HELD:
            self._open.append(text)

    def candidate(self, char: str) -> Steps[bool]:
        """Where a thought begins or ends."""
        if char not in self.marks:
            return False
        if self._ends:
            return (yield from self._end())
        if self.quoted:
            return False
        tags = (*TAGS, *TAGS.values()) if self.fresh else ()
        ends = ENDS if self._channels else ()
        word = yield from self.sees(*tags, *MARKS, *ANALYSIS, *ALOUD, *ends)
        if not word:
            return False
        self.take(len(word))
        if word in TAGS.values():
            yield from self._stray()
        elif word in ANALYSIS:
            self._begin((*ENDS, *ALOUD))
        elif word in TAGS or word in MARKS:
            self._begin((TAGS.get(word) or MARKS[word],))
        self._channels = self._channels or word in (*ANALYSIS, *ALOUD)
        self.drop()
        return True

    def _stray(self) -> Steps[None]:
        """An end without a beginning, alone on its line."""
        yield from self.take_while(BLANKS)
        if (yield from self.next_char()) not in ("\n", ""):
            self.let_go()

    def _begin(self, ends: tuple[str, ...]) -> None:
        self.drop()
        self._ends, self._open, self._length = ends, [], 0
        self.speak_as(Thought)
        self.give(Thought(""))  # an empty one is one, too

    def _end(self) -> Steps[bool]:
        word = yield from self.sees(*self._ends)
        if not word:
            return False
        self.take(len(word))
        self.drop()
        self.speak_as(Said)
        self._ends = ()
        self.fence, self.inline, self.fresh = "", False, True
        return True


offer = ReasoningLeak
