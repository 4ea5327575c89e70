"""Tells an answer again in which some of the text has become something else: what repairs of text share."""

from abc import abstractmethod
from collections.abc import Iterable
from hashlib import sha256
from secrets import token_hex

import msgspec

from recloser.gateway.canonical import (
    Began,
    Ended,
    Event,
    Grew,
    PartBegan,
    PartEnded,
    Refusal,
    Stop,
    Text,
    Thinking,
    ToolUse,
)
from recloser.gateway.repairs.repair import Repair
from recloser.gateway.repairs.scanning import Called, Piece, Said, Scanner, Thought

_Part = Text | Thinking | ToolUse | Refusal


class _Read:
    """A part of the answer that is being read."""

    __slots__ = ("blanks", "kind", "out", "part", "scanner", "touched")

    def __init__(self, part: _Part, scanner: Scanner | None = None) -> None:
        self.part = part
        self.scanner = scanner
        self.out: int | None = None
        """The number of what is being told of it, if something is."""
        self.kind: type[Piece] = Said
        """What that is."""
        self.blanks: list[str] = []
        """Space that was not told: it goes with what is taken out beside it."""
        self.touched = False
        """Whether something became another thing."""


class Retelling(Repair):
    """A repair that reads some parts with a scanner and passes the others on."""

    def __init__(self) -> None:
        self._read: dict[int, _Read] = {}
        self._passed: dict[int, int] = {}
        self._parts = 0
        self._calls = 0
        self._id = ""
        self._told: list[Event] = []

    @abstractmethod
    def scanner(self, part: _Part) -> Scanner | None:
        """What reads this part, if something does."""

    def feed(self, event: Event) -> Iterable[Event]:
        """An event of the answer; gives what is to be told now."""
        match event:
            case Grew():
                self._grow(event)
            case PartBegan():
                self._begin_part(event)
            case PartEnded():
                self._end_part(event.index)
            case Began():
                self._id = event.id or token_hex(12)
                self._told.append(event)
            case Ended():
                self._end(event)
        told, self._told = self._told, []
        return told

    def last_words(self, event: Ended) -> Iterable[Piece]:  # noqa: ARG002
        """What is to be told once all parts are over."""
        return ()

    def _begin_part(self, event: PartBegan) -> None:
        for open_ in self._read.values():
            if open_.out is None and not open_.touched:
                self._open(open_, Said)  # parts that grow by turns keep their order
        scanner = self.scanner(event.part)
        if scanner is None:
            self._passed[event.index] = self._begin(event.part)
        else:
            self._read[event.index] = _Read(event.part, scanner)

    def _grow(self, event: Grew) -> None:
        if event.index in self._passed:
            self._told.append(msgspec.structs.replace(event, index=self._passed[event.index]))
            return
        read = self._read[event.index]
        assert read.scanner is not None
        for piece in read.scanner.feed(event.text):
            self._tell(read, piece)
        if event.signature:
            self._told.append(Grew(index=self._open(read, Said), signature=event.signature))

    def _end_part(self, index: int) -> None:
        if index in self._passed:
            self._told.append(PartEnded(index=self._passed.pop(index)))
            return
        read = self._read.pop(index)
        assert read.scanner is not None
        for piece in read.scanner.end():
            self._tell(read, piece)
        if not read.touched:
            self._open(read, Said)  # nobody takes anything out of a part that is empty, or blank
        self._close(read)

    def _end(self, event: Ended) -> None:
        for index in [*self._read, *self._passed]:
            self._end_part(index)
        last = _Read(Text(text=""))
        for piece in self.last_words(event):
            self._tell(last, piece)
        self._close(last)
        if self._calls and event.stop is Stop.END:
            event = msgspec.structs.replace(event, stop=Stop.TOOL_USE)
        self._told.append(event)

    # Telling ---------------------------------------------------------------------------------------------------------

    def _tell(self, read: _Read, piece: Piece) -> None:
        if isinstance(piece, Called):
            self._call(read, piece)
            return
        read.touched = read.touched or isinstance(piece, Thought)
        text = piece.text
        if read.out is None or read.kind is not type(piece):
            if not text.strip():
                read.blanks.append(text)
                return
            text = text.lstrip() if read.touched else text
        index = self._open(read, type(piece))
        self._told.append(Grew(index=index, text=text))

    def _call(self, read: _Read, call: Called) -> None:
        self._close(read)
        read.touched, read.blanks = True, []
        id_ = sha256(f"{self._id} {self._calls}".encode()).hexdigest()[:24]
        self._calls += 1
        index = self._begin(ToolUse(id=f"call_{id_}", name=call.name))
        self._told += [Grew(index=index, text=call.input), PartEnded(index=index)]

    def _open(self, read: _Read, kind: type[Said] | type[Thought]) -> int:
        """The number of the part that this goes into: the one that is told, or a new one."""
        if read.out is not None and read.kind is kind:
            return read.out
        self._close(read)
        read.kind = kind
        read.out = index = self._begin(Thinking() if kind is Thought else read.part)
        blanks, read.blanks = "".join(read.blanks), []
        if blanks and not read.touched:
            self._told.append(Grew(index=index, text=blanks))
        return index

    def _begin(self, part: _Part) -> int:
        self._told.append(PartBegan(index=self._parts, part=part))
        self._parts += 1
        return self._parts - 1

    def _close(self, read: _Read) -> None:
        if read.out is not None:
            self._told.append(PartEnded(index=read.out))
            read.out = None
