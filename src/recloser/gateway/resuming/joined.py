"""The second model's answer, written as the rest of the first's."""

from collections.abc import Iterable
from itertools import chain

import msgspec

from recloser.gateway.canonical import (
    Began,
    Ended,
    Event,
    Grew,
    PartBegan,
    PartEnded,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from recloser.gateway.estimate import len_of
from recloser.gateway.resuming.said import Missing, Said
from recloser.gateway.resuming.seam import Seam
from recloser.gateway.wires.codec import StreamWriter


class OtherwiseError(ValueError):
    """The second model says something else than what the client already knows of the answer."""


class Joined:
    """Writes what a second model says to the client of the first: a writer for its stream.

    Its parts get the numbers that come next; words go on in the part that is open; thoughts are left out, for they are
    the second model's own.
    """

    __slots__ = ("_next", "_numbers", "_open", "_said", "_seam", "_wanted", "_words", "_writer")

    def __init__(self, writer: StreamWriter, said: Said, *, told: bool) -> None:
        """`writer` has gone on with what was said; `told`: as in `Seam`."""
        self._writer = writer
        self._said = said
        self._next = len(said.parts)
        last = said.parts[-1]
        self._open: int | None = None if last.ended else last.index
        """The first model's part that has not ended, until the second goes on with it."""
        self._wanted = said.called if said.missing() is Missing.CALL else ""
        """The tool that must be called first of all."""
        self._numbers: dict[int, int] = {}
        """The second model's parts, by its own numbers."""
        self._words: set[int] = set()
        """Those of them that are text: nothing else has a seam."""
        self._seam: Seam | None = Seam(said.words, told=told)
        """None once something else than words came."""

    def write(self, event: Event) -> bytes:
        """An event of the second model's, as the rest of the client's stream."""
        return b"".join(map(self._writer.write, self._moved(event)))

    def go_on(self, sent: bytes) -> None:
        """Nothing: whoever begins this one has."""

    def _moved(self, event: Event) -> Iterable[Event]:
        match event:
            case Grew():
                return self._grown(event)
            case PartBegan():
                return self._begun(event)
            case PartEnded():
                return self._part_ended(event.index)
            case Ended():
                return self._finished(event)
            case Began():
                return ()

    def _begun(self, event: PartBegan) -> Iterable[Event]:
        part = event.part
        if isinstance(part, Text):
            self._words.add(event.index)
        elif isinstance(part, ToolUse) and self._seam is not None and self._seam.untouched:
            self._seam = None
        if isinstance(part, Thinking) or (self._wanted and not isinstance(part, ToolUse)):
            return ()
        if isinstance(part, Text) and self._open is not None and not self._wanted:
            self._take_over(event.index)
            return ()
        if self._wanted:
            if not isinstance(part, ToolUse) or part.name != self._wanted or self._open is None:
                raise OtherwiseError("another tool is called than the one that was announced")
            self._take_over(event.index)
            self._wanted = ""
            return ()
        ended = self._ended()
        self._numbers[event.index] = self._next
        self._next += 1
        return (*ended, PartBegan(index=self._numbers[event.index], part=part))

    def _take_over(self, index: int) -> None:
        """The second model's part is the rest of the open one, which ends when that does."""
        assert self._open is not None
        self._numbers[index], self._open = self._open, None

    def _grown(self, event: Grew) -> Iterable[Event]:
        number = self._numbers.get(event.index)
        if number is None:
            return ()
        seam = self._seam if event.index in self._words else None
        text = event.text if seam is None else seam.feed(event.text)
        return (Grew(index=number, text=text, signature=event.signature),) if text or event.signature else ()

    def _part_ended(self, index: int) -> Iterable[Event]:
        number = self._numbers.pop(index, None)
        if number is None:
            return ()
        return chain(self._rest(number) if index in self._words else (), (PartEnded(index=number),))

    def _rest(self, number: int) -> Iterable[Event]:
        """What the seam still holds back at the end of a part."""
        seam = self._seam
        if seam is None or seam.untouched:  # an empty part: its words come in the next
            return ()
        self._seam = None
        text = seam.end()
        return (Grew(index=number, text=text),) if text else ()

    def _ended(self) -> Iterable[Event]:
        """The end of the open part, if nobody goes on with it."""
        number, self._open = self._open, None
        return () if number is None else (PartEnded(index=number),)

    def _finished(self, event: Ended) -> Iterable[Event]:
        if self._wanted:
            raise OtherwiseError("the tool that was announced is not called")
        return (*self._ended(), msgspec.structs.replace(event, usage=self._usage(event.usage)))

    def _usage(self, second: Usage) -> Usage:
        """The client's usage: what it asked, and what both said. Of the first model's words nobody told the number."""
        first = self._said.began.usage
        said = round(sum(len_of(part.text) for part in self._said.parts))
        return msgspec.structs.replace(
            first if first.input is not None else second,
            output=None if second.output is None else second.output + said,
            reasoning=None,
        )


def finished(said: Said) -> Iterable[Event]:
    """The end of an answer of which nothing else is missing: its last call is whole."""
    used = msgspec.structs.replace(said.began.usage, output=round(sum(len_of(part.text) for part in said.parts)))
    ended = (PartEnded(index=part.index) for part in said.parts if not part.ended)
    return (*ended, Ended(stop=Stop.TOOL_USE, usage=used))
