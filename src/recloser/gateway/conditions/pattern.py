r"""A regular expression that takes linear time, whatever the text: it is asked of names that strangers choose.

Python's `re` backtracks, and may take years for 30 characters. Here an expression becomes a small program of which all
ways are walked at once (Thompson's construction, as Russ Cox tells it in "Regular Expression Matching Can Be Simple And
Fast"). It knows characters, `.`, classes such as `[a-z]` and `\d`, groups, `|`, `^`, `$`, the repetitions `*`, `+`,
`?`, `{2,5}`, and `(?i)` at its beginning.
"""

import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

LONGEST_PATTERN = 200
LARGEST_PROGRAM = 1000
"""Steps; a repetition such as `{5,9}` multiplies those of what it repeats."""
_REPETITION = re.compile(r"\{(\d{0,3})(,?)(\d{0,3})\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_UNKNOWN_ESCAPE = re.compile(r"\\[0-9AbBzZuUxN]")


class _One(NamedTuple):
    """One character that the test takes."""

    takes: Callable[[str], object]


class _Fork(NamedTuple):
    """Both ways are gone; they count from here."""

    one: int
    other: int


class _Edge(NamedTuple):
    """Nothing is read; it goes on at the beginning, or at the end, of the text alone."""

    end: bool


_Step = _One | _Fork | _Edge


class Pattern:
    """A compiled expression; ValueError says what is wrong with it."""

    def __init__(self, source: str) -> None:
        if len(source) > LONGEST_PATTERN:
            raise ValueError(f"has more than {LONGEST_PATTERN} characters")
        self._steps = _Reader(source).steps

    def found_in(self, text: str) -> bool:
        """Whether it matches somewhere in the text."""
        ways: set[int] = set()
        for place in range(len(text) + 1):
            reached = self._reached({*ways, 0}, at_start=place == 0, at_end=place == len(text))
            if len(self._steps) in reached:
                return True
            ways = {number + 1 for number in reached if _takes(self._steps[number], text[place : place + 1])}
        return False

    def _reached(self, ways: set[int], *, at_start: bool, at_end: bool) -> set[int]:
        """Where one gets to from there without reading a character."""
        reached: set[int] = set()
        todo = list(ways)
        while todo:
            number = todo.pop()
            if number in reached:
                continue
            reached.add(number)
            match self._steps[number] if number < len(self._steps) else None:
                case _Fork(one, other):
                    todo += [number + one, number + other]
                case _Edge(end) if at_end if end else at_start:
                    todo.append(number + 1)
        return reached


def _takes(step: _Step, character: str) -> bool:
    return isinstance(step, _One) and character != "" and bool(step.takes(character))


class _Reader:
    """Reads an expression from left to right. Every part is a list of steps that goes on behind its last one."""

    def __init__(self, source: str) -> None:
        self._flags = re.DOTALL | (re.IGNORECASE if source.startswith("(?i)") else re.NOFLAG)
        self._source = source.removeprefix("(?i)")
        self._place = 0
        self.steps = tuple(self._choice())
        if self._place < len(self._source):
            raise ValueError("has a ')' without its '('")

    def _choice(self) -> list[_Step]:
        """Parts with `|` between them."""
        first = self._sequence()
        if not self._comes("|"):
            return first
        other = self._choice()
        over = len(other) + 1
        return _bounded([_Fork(1, len(first) + 2), *first, _Fork(over, over), *other])

    def _sequence(self) -> list[_Step]:
        steps: list[_Step] = []
        while self._next() not in ("", "|", ")"):
            steps = _bounded(steps + self._repeated(self._atom()))
        return steps

    def _repeated(self, one: list[_Step]) -> list[_Step]:
        """A part, as often as the sign behind it says."""
        sign = self._next()
        if sign not in ("*", "+", "?", "{"):
            return one
        if sign == "{":
            least, most = self._times()
        else:
            self._place += 1
            least, most = int(sign == "+"), 1 if sign == "?" else None
        if self._next() in ("*", "+", "?", "{"):
            raise ValueError("has a repetition of a repetition; put a group around the first")
        steps = _bounded(one * least)
        if most is None:
            back = -len(one) - 1
            return _bounded([*steps, _Fork(1, len(one) + 2), *one, _Fork(back, back)])
        return _bounded(steps + [_Fork(1, len(one) + 1), *one] * (most - least))

    def _times(self) -> tuple[int, int | None]:
        """`{2}`, `{2,}`, `{,5}` or `{2,5}`: how often at least, and at most."""
        match = _REPETITION.match(self._source, self._place)
        if match is None or not (match[1] or match[3]):
            raise ValueError(r"has a '{' that is no repetition; write '\{' for the character")
        self._place = match.end()
        least = int(match[1] or 0)
        most = int(match[3]) if match[3] else None if match[2] else least
        if most is not None and most < least:
            raise ValueError(f"has the repetition {match[0]!r}, which is never")
        return least, most

    def _atom(self) -> list[_Step]:
        """A character, a class, an end of the text, or a group."""
        sign = self._next()
        if sign in ("*", "+", "?", "{"):
            raise ValueError(f"has a {sign!r} with nothing to repeat")
        if sign in ("^", "$"):
            self._place += 1
            return [_Edge(end=sign == "$")]
        return self._group() if self._comes("(") else [self._character()]

    def _group(self) -> list[_Step]:
        if not self._comes("?:") and self._next() == "?":
            raise ValueError(f"has {self._source[self._place - 1 : self._place + 2]!r}, which is not known here")
        steps = self._choice()
        if not self._comes(")"):
            raise ValueError("has a '(' without its ')'")
        return steps

    def _character(self) -> _One:
        """What takes one character. `re` knows best what a class means, and cannot backtrack within one."""
        in_class = _CLASS.match(self._source, self._place)
        length = len(in_class[0]) if in_class else 2 if self._next() == "\\" else 1
        text = self._source[self._place : self._place + length]
        self._place += length
        if _UNKNOWN_ESCAPE.match(text):
            raise ValueError(f"has {text!r}, which is not known here")
        try:
            with warnings.catch_warnings(action="ignore"):  # that a class may mean something else one day
                return _One(re.compile(text, self._flags).fullmatch)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None

    def _next(self) -> str:
        return self._source[self._place : self._place + 1]

    def _comes(self, sign: str) -> bool:
        """Whether that is next; then it is passed."""
        comes = self._source.startswith(sign, self._place)
        self._place += len(sign) if comes else 0
        return comes


def _bounded(steps: list[_Step]) -> list[_Step]:
    if len(steps) > LARGEST_PROGRAM:
        raise ValueError("repeats too much")
    return steps
