"""Arguments of a call that are broken, or not what the tool's schema wants, become what was meant.

Where that is in doubt they stay as the model wrote them: the tool then says what it misses, and the model tries again.
The arguments of a call are told once they are whole.
"""

from collections.abc import Iterable

import msgspec

from recloser.gateway.canonical import Ended, Event, Grew, PartBegan, PartEnded, Request, Stop, ToolUse
from recloser.gateway.repairs.declared import Declared
from recloser.gateway.repairs.fitting import fitted
from recloser.gateway.repairs.lenient import value_of
from recloser.gateway.repairs.repair import Repair
from recloser.gateway.repairs.written_call import encoded_input
from recloser.gateway.wires.wire import UNREADABLE

LONGEST_INPUT = 2**20
"""Characters of a call's arguments that are held back. What is longer is passed on as it is."""

_decode = msgspec.json.Decoder().decode


class _Input:
    """The arguments of one call as far as they have come."""

    __slots__ = ("length", "name", "pieces")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pieces: list[str] = []
        self.length = 0


class ToolArguments(Repair):
    """The repair."""

    only_with_tools = True

    def __init__(self, request: Request) -> None:
        self._tools = Declared(request)
        self._open: dict[int, _Input] = {}
        self._cut: tuple[int, str, str] | None = None
        """A call whose last brackets are missing: its number, its arguments as written, and with them."""

    def feed(self, event: Event) -> Iterable[Event]:
        """An event of the answer; gives what is to be told now."""
        before = self._settle(whole=not (isinstance(event, Ended) and event.stop is Stop.LENGTH))
        match event:
            case PartBegan(part=ToolUse(name=name)) if name in self._tools:
                self._open[event.index] = _Input(name)
            case Grew() if event.index in self._open:
                return (*before, *self._grow(event))
            case PartEnded() if event.index in self._open:
                return (*before, *self._end(event))
        return (*before, event)

    def _grow(self, event: Grew) -> Iterable[Event]:
        given = self._open[event.index]
        given.pieces.append(event.text)
        given.length += len(event.text)
        if given.length > LONGEST_INPUT:
            del self._open[event.index]
            return (msgspec.structs.replace(event, text="".join(given.pieces)),)
        return (msgspec.structs.replace(event, text=""),) if event.signature else ()

    def _end(self, event: PartEnded) -> Iterable[Event]:
        given = self._open.pop(event.index)
        text = "".join(given.pieces)
        mended, whole = self._mended(text, given.name)
        if not whole:
            self._cut = event.index, text, mended
            return ()
        return (*_grown(event.index, mended), event)

    def _settle(self, *, whole: bool) -> Iterable[Event]:
        """Tell a call that was cut, now that it is known whether the answer was."""
        if self._cut is None:
            return ()
        (index, text, mended), self._cut = self._cut, None
        return (*_grown(index, mended if whole else text), PartEnded(index=index))

    def _mended(self, text: str, name: str) -> tuple[str, bool]:
        """Arguments as they were meant, or as they are; and whether nothing is missing at their end."""
        try:
            value, whole, changed = _decode(text), True, False
        except UNREADABLE:
            try:
                value, whole = _leniently(text)
            except (ValueError, RecursionError):
                return text, True
            changed = True
        if isinstance(value, str):
            value, changed = _inner(value), True
        if not isinstance(value, dict):
            return text, True
        schema = self._tools.schema(name)
        fit = fitted(value, schema)
        if not whole and not _has_all(fit, schema.get("required")):
            return text, True
        if fit is value and not changed:
            return text, True
        encoded = encoded_input(fit)
        return (text, True) if encoded is None else (encoded, whole)


def _leniently(text: str) -> tuple[object, bool]:
    """What a text writes, and whether it is whole; ValueError if nobody knows."""
    if not text.strip():
        raise ValueError("nothing")
    try:
        return value_of(text), True
    except ValueError:
        return value_of(text, unclosed=True), False


def _inner(text: str) -> object:
    """What stands in a string in the place of an object."""
    try:
        return _decode(text)
    except UNREADABLE:
        try:
            return value_of(text)
        except (ValueError, RecursionError):
            return None


def _has_all(value: object, required: object) -> bool:
    wanted = required if isinstance(required, list) else []
    return isinstance(value, dict) and all(name in value for name in wanted)


def _grown(index: int, text: str) -> Iterable[Event]:
    return (Grew(index=index, text=text),) if text else ()


offer = ToolArguments
