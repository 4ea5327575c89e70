"""Reads a text as it comes, piece by piece, and finds in it what is no text.

A scanner is a generator over what has come so far: where it needs more to decide, it yields. So the same text gives the
same pieces however it is cut, each character is looked at a bounded number of times, and only what is undecided is held
back. What stands in a fence or in inline code is known, because there a mark is spoken of and not used.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple, TypeVar

LONGEST_HELD = 256 * 1024
"""Characters that may be held back; more than this is text, whatever it looks like."""
MOST_LOOKS = 50_000
"""Places in one text at which something may begin. What comes after so many is text: no answer has them, and each takes
microseconds in which nobody else is served."""
LONGEST_INFO = 64
"""Characters after the fence on its line. Nobody names a language so long."""
TAIL = 240
"""Characters of what was said last that are kept to look back at."""

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A part of reading: yields when it needs more, and comes to a result."""


class Said(NamedTuple):
    """Text that stays what it is."""

    text: str


class Thought(NamedTuple):
    """Text that turned out to be a thought."""

    text: str


class Called(NamedTuple):
    """Text that turned out to be a call of a tool; `input` is JSON."""

    name: str
    input: str


Piece = Said | Thought | Called

BLANKS = re.compile(r"[ \t]*")
SPACE = re.compile(r"\s*")
_TICKS = re.compile(r"`*")
_TILDES = re.compile(r"~*")


class OtherwiseError(Exception):
    """What is held is nothing but text."""


class Scanner(ABC):
    """Reads one text. `feed` and `end` give what is certain by then."""

    marks = ""
    """The characters at which `candidate` is asked wherever they stand; at the beginning of a line it always is."""

    def __init__(self) -> None:
        self.window = ""
        """What has come and was not taken yet, from `at` on."""
        self.at = 0
        self.ended = False
        self.fence = ""
        """The fence that is open, as it was opened."""
        self.inline = False
        """Whether this is inline code."""
        self.fresh = True
        """Whether nothing but blanks has come on this line."""
        self.tail = ""
        """What was said last."""
        self.passing = False
        """Whether what is taken is text already: it is said at once."""
        self.voice: type[Said | Thought] = Said
        """What text is told as."""
        self._pieces: list[Piece] = []
        self._saying: list[str] = []
        self._taken: list[str] = []
        self._held = 0
        self._looks = 0
        """At how many places it was asked whether something begins."""
        self._flows = re.compile("[^\n`" + re.escape(self.marks) + "]*")
        self._steps = self._read()

    def feed(self, text: str) -> Sequence[Piece]:
        """More of the text has come."""
        self.window = self.window[self.at :] + text
        self.at = 0
        next(self._steps, None)
        return self._told()

    def end(self) -> Sequence[Piece]:
        """Nothing more will come."""
        self.ended = True
        return self.feed("")

    # What a scanner looks for ----------------------------------------------------------------------------------------

    @abstractmethod
    def candidate(self, char: str) -> Steps[bool]:
        """Look at what begins here, with this character: False if nothing does, and then nothing was taken.

        OtherwiseError if it is nothing after all: what was taken is said.
        """

    def opened(self, language: str) -> Steps[None]:  # noqa: ARG002 - most do not care
        """A fence was opened; its line is held still."""
        yield from ()

    def finish(self) -> None:  # noqa: B027 - most have nothing left
        """The text is over."""

    # What a scanner does ---------------------------------------------------------------------------------------------

    @property
    def quoted(self) -> bool:
        """Whether what stands here is code, in a line or in a fence."""
        return self.inline or bool(self.fence)

    def has(self, count: int = 1) -> Steps[bool]:
        """Whether so many characters follow."""
        while len(self.window) - self.at < count and not self.ended:
            yield
        return len(self.window) - self.at >= count

    def sees(self, *words: str) -> Steps[str]:
        """The longest of these words that follows, or nothing. Waits only as long as one of them may still come."""
        longest = max(map(len, words), default=0)
        while True:
            ahead = self.window[self.at : self.at + longest]
            short = len(ahead) < longest and not self.ended
            if not (short and any(len(word) > len(ahead) and word.startswith(ahead) for word in words)):
                return max((word for word in words if ahead.startswith(word)), key=len, default="")
            yield

    def next_char(self) -> Steps[str]:
        """The character that follows; empty at the end."""
        return self.window[self.at] if (yield from self.has()) else ""

    def take(self, count: int) -> str:
        """Hold back so many characters; OtherwiseError when that is too much."""
        if self.passing:
            text = self.window[self.at : self.at + count]
            self.at += len(text)
            self.say(text)
            return text
        room = LONGEST_HELD - self._held
        text = self.window[self.at : self.at + min(count, room)]
        self.at += len(text)
        self._held += len(text)
        self._taken.append(text)
        if count > room:
            raise OtherwiseError
        return text

    def take_while(self, run: re.Pattern[str]) -> Steps[str]:
        """Hold back whatever matches; the pattern is a class of characters, any number of them."""
        taken = []
        while True:
            match = run.match(self.window, self.at)
            assert match is not None
            taken.append(self.take(match.end() - self.at))
            if self.at < len(self.window) or self.ended:
                return "".join(taken)
            yield

    def let_go(self) -> None:
        """What is held is text: say it."""
        held = "".join(self._taken)
        self.drop()
        self.say(held)

    def let_pass(self) -> None:
        """What is held, and what is taken from here on up to the end of the candidate, is text."""
        self.let_go()
        self.passing = True

    def drop(self) -> None:
        """What is held was a mark, or has become something else."""
        self._taken = []
        self._held = 0

    def say(self, text: str) -> None:
        """Text goes on."""
        if not text:
            return
        self._saying.append(text)
        self.tail = (self.tail + text)[-TAIL:]
        self._look_at_line(text)

    def speak_as(self, voice: type[Said] | type[Thought]) -> None:
        """What is said from here on is told as this."""
        self._gather()
        self.voice = voice

    def give(self, piece: Piece) -> None:
        """Something else comes between."""
        self._gather()
        self._pieces.append(piece)

    # Reading ---------------------------------------------------------------------------------------------------------

    def _read(self) -> Steps[None]:
        while (yield from self.has()):
            if self._looks >= MOST_LOOKS:
                self.say(self.window[self.at :])
                self.at = len(self.window)
                continue
            char = self.window[self.at]
            try:
                used = yield from self._look(char)
            except OtherwiseError:
                used = True
            self.passing = False
            self.let_go()
            if not used:
                self._flow(char)
        self.finish()

    def _look(self, char: str) -> Steps[bool]:
        if self.fresh and char in "`~":
            yield from self._fence_line(char)
            return True
        if char in self.marks or (self.fresh and not char.isspace()):
            self._looks += 1
            return (yield from self.candidate(char))
        return False

    def _flow(self, char: str) -> None:
        """Say what is text for sure: up to where something may begin, or this line."""
        run = BLANKS if self.fresh and char in " \t" else self._flows
        match = run.match(self.window, self.at if run is BLANKS else self.at + 1)
        end = self.at + 1 if char in "\n`" or match is None else match.end()
        text = self.window[self.at : end]
        self.at = end
        self.say(text)

    def _look_at_line(self, text: str) -> None:
        newline = text.rfind("\n")
        if newline >= 0:
            self.fresh, self.inline = True, False
            text = text[newline + 1 :]
        if text:
            self.fresh = self.fresh and not text.strip(" \t")
            self.inline ^= bool(text.count("`") % 2)

    def _fence_line(self, char: str) -> Steps[None]:
        run = yield from self.take_while(_TICKS if char == "`" else _TILDES)
        if len(run) < 3:
            return
        if self.fence:
            yield from self.take_while(BLANKS)
            if run.startswith(self.fence) and (yield from self.next_char()) in ("\n", ""):
                self.fence = ""
            return
        info = ""
        while len(info) <= LONGEST_INFO and (yield from self.next_char()) not in ("\n", "`", ""):
            info += self.take(1)
        if (yield from self.next_char()) == "\n":
            self.fence = run
            yield from self.opened(info.strip().lower())

    def _told(self) -> Sequence[Piece]:
        self._gather()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _gather(self) -> None:
        if self._saying:
            self._pieces.append(self.voice("".join(self._saying)))
            self._saying = []


def pieces_of(scanner: Scanner, chunks: Iterable[str]) -> Sequence[Piece]:
    """All that a scanner makes of a text that comes in these pieces."""
    return [*(piece for chunk in chunks for piece in scanner.feed(chunk)), *scanner.end()]
