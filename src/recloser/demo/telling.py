"""Tells a story to a terminal of 80 columns, or to a file: calm, and with the time of everything."""

import shutil
import textwrap
import time
from enum import Enum
from typing import TextIO

from recloser.core.duration import format_duration

_WIDTH = 80
_MARGIN = 12


class Tone(Enum):
    """What a line is about: its mark, and the colour of the mark."""

    PLAIN = (" ", "")
    TROUBLE = ("!", "33")
    WELL = ("+", "32")
    LOST = ("x", "1;31")


class Teller:
    """Writes lines as they happen; on a terminal it keeps a running line below them."""

    def __init__(self, out: TextIO, *, colour: bool, live: bool) -> None:
        self.started = time.time()
        self._out = out
        self._colour = colour
        self._live = live
        self._running = ""
        self.block = "█" if (out.encoding or "").lower().startswith("utf") else "#"
        self._columns = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)

    def say(self, text: str, *, at: float | None = None, tone: Tone = Tone.PLAIN) -> None:
        """A sentence and when it happened (now, unless told otherwise)."""
        since = (time.time() if at is None else at) - self.started
        mark, colour = tone.value
        first, *rest = textwrap.wrap(text, self._columns - _MARGIN, break_on_hyphens=False)
        self._line(f"{self._paint(f'{since:5.1f} s', '2')}  {self._paint(mark, colour)} {first}")
        for line in rest:
            self._line(" " * (_MARGIN - 1) + line)

    def heading(self, text: str) -> None:
        """The beginning of a part."""
        self._line("")
        self._line(self._paint(text, "1"))

    def line(self, text: str = "", *, tone: Tone = Tone.PLAIN) -> None:
        """A line without a time."""
        self._line(self._paint(text, tone.value[1]))

    def running(self, text: str) -> None:
        """The line that changes all the time; only a terminal has one."""
        if self._live:
            shown = f"{time.time() - self.started:5.1f} s    {text}"[: self._columns - 1]
            self._write(f"\r{self._paint(shown, '2')}{' ' * (len(self._running) - len(shown))}")
            self._running = shown

    def _line(self, text: str) -> None:
        if self._running:
            self._write("\r" + " " * len(self._running) + "\r")
            self._running = ""
        self._write(text.rstrip() + "\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour and text.strip() else text


def lasting(seconds: float) -> str:
    """A duration for people; clocks of two processes never make it negative."""
    return format_duration(max(seconds, 0.0))


def count(number: int, what: str) -> str:
    """`1 request`, `3 requests`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
