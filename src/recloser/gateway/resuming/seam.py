"""The seam between the words of two models: what the second repeats of the first is told once."""

from collections.abc import Iterator

SHORTEST_REPEAT = 16
"""Characters: what is shorter may be the same by chance."""
SHORTEST_ANCHOR = 24
"""Characters: what is shorter may come again soon."""
LONGEST_LOOK_BACK = 512
"""How far back the second model may begin to repeat; or it begins again from the very start. Bounds the work, too."""
LONGEST_PREAMBLE = 200
"""What it may say of itself ("Sure, here is the rest:") before it repeats the words that it was told to begin with."""
_ANCHOR = 48
_FEWEST_KINDS = 6


def anchor(said: str) -> str:
    """The last words of what was said, for the second model to begin with: so that the seam is found for certain."""
    said = said.rstrip()
    tail = said[-_ANCHOR:]
    if len(tail) < len(said):  # rather from the beginning of a line, or of a word, on
        for shorter in ("\n" in tail and tail.rpartition("\n")[2], tail.partition(" ")[2]):
            if shorter and len(shorter) >= SHORTEST_ANCHOR and telling(shorter):
                return shorter.lstrip()
    return tail.lstrip()


def telling(text: str) -> bool:
    """Whether a text is unlike its surroundings: a line of dashes goes on with dashes."""
    return len(set(text[:99])) >= _FEWEST_KINDS


class Seam:
    """Takes the second model's words as they come, and gives those that are new.

    `told` says that it was told to begin with the `anchor`; otherwise it was given what was said as the beginning of
    its own answer, and goes on with the next letter. Either may begin again from the start, or repeat some words.
    Nothing is given before that is decided: at most as much is held back as is thrown away, and a preamble.
    """

    __slots__ = ("_anchor", "_decided", "_held", "_length", "_said", "_space", "_starts", "_told")

    def __init__(self, said: str, *, told: bool) -> None:
        self._said = said.rstrip()
        self._space = said[len(self._said) :]
        """Was not shown to the second model, which says it again or leaves it out."""
        self._told = told
        self._anchor = anchor(said) if told else ""
        self._starts = list(self._possible())
        self._held: list[str] = []
        """What came so far, and is not decided."""
        self._length = 0
        """How many characters that is, without white space before it."""
        self._decided = not self._said

    def _possible(self) -> Iterator[int]:
        """Where in what was said a repetition may begin."""
        said, least = self._said, SHORTEST_REPEAT if self._told else 2 * SHORTEST_REPEAT
        if said and (self._told or len(said) >= SHORTEST_REPEAT):
            yield 0
        anchored = len(said) - len(self._anchor) if self._anchor else -1
        for start in range(max(1, len(said) - LONGEST_LOOK_BACK), len(said)):
            long_enough = len(said) - start >= least and not said[start].isspace()
            if start == anchored or (long_enough and telling(said[start:])):
                yield start

    @property
    def untouched(self) -> bool:
        """Whether no word has come yet, and some are held against."""
        return not self._decided and not self._length

    def feed(self, text: str) -> str:
        """More words; gives what is new."""
        return self._after_space(text) if self._decided else self._take(text, ended=False)

    def end(self) -> str:
        """No more will come; gives what is still new."""
        return "" if self._decided else self._take("", ended=True)

    def _take(self, text: str, *, ended: bool) -> str:
        self._held.append(text)
        new = text if self._length else text.lstrip()
        said, had = self._said, self._length
        self._length += len(new)
        if not self._length and not ended:
            return ""
        # What lies beyond the end of what was said is new, whatever it is.
        self._starts = [at for at in self._starts if new.startswith(said[at + had : at + had + len(new)])]
        return self._decide(ended=ended)

    def _decide(self, *, ended: bool) -> str:
        whole = next((at for at in self._starts if len(self._said) - at <= self._length), None)
        waiting = bool(self._starts) and self._starts[0] != whole
        if waiting and not ended:
            return ""
        held = "".join(self._held)
        if whole is not None:  # the first is the longest repetition
            return self._give(held.lstrip()[len(self._said) - whole :])
        if waiting:  # it began to repeat, and ended
            return self._give("" if self._length >= SHORTEST_REPEAT or self._starts[0] == 0 else held)
        return self._after_preamble(held, ended=ended)

    def _after_preamble(self, held: str, *, ended: bool) -> str:
        """It repeats nothing right away: perhaps after a word of its own."""
        if self._told and telling(self._anchor):
            for known in (self._said, self._anchor):
                at = held.find(known, 0, LONGEST_PREAMBLE + len(known))
                if at >= 0:
                    return self._give(held[at + len(known) :])
            if not ended and len(held) < LONGEST_PREAMBLE + len(self._anchor):
                return ""
        return self._give(held)

    def _after_space(self, text: str) -> str:
        """The text without the white space that the client has already."""
        known = 0
        while known < min(len(self._space), len(text)) and self._space[known] == text[known]:
            known += 1
        if text:
            self._space = self._space[known:] if known == len(text) else ""
        return text[known:]

    def _give(self, text: str) -> str:
        self._decided, self._held, self._starts = True, [], []
        return self._after_space(text)
