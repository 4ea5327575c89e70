"""Server-sent events from bytes and back, fed chunks of any size.

Only whole events are let through: whatever is sent to a client next, a keep-alive or an error, starts on a fresh line.
"""

import re
from collections.abc import Iterator

MEDIA_TYPE = "text/event-stream"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LARGEST_EVENT = 16 * 2**20
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")


class EventTooLargeError(ValueError):
    """An event grew past what any answer needs."""


class Splitter:
    """Cuts a byte stream after its last whole event. Each byte is looked at once, however long an event takes."""

    __slots__ = ("_pieces", "_size", "_tail")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._tail = b""
        """The last bytes of what has come, in which a boundary may have begun."""

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; give the whole events there are so far. EventTooLargeError if an event never ends."""
        tail = self._tail
        end = _last_boundary(tail + chunk) - len(tail)
        if end <= 0:
            self._keep(chunk)
            self._tail = (tail + chunk)[-3:]
            return b""
        whole = b"".join((*self._pieces, chunk[:end])) if self._pieces else chunk[:end]
        self._pieces.clear()
        self._size = 0
        self._keep(chunk[end:])
        self._tail = chunk[end:][-3:]
        return whole

    def end(self) -> bytes:
        """What is left at the end of the stream, completed to a whole event; the stream's owner judges it."""
        rest = b"".join(self._pieces).strip(b"\r\n")
        self._pieces.clear()
        return rest + b"\n\n" if rest else b""

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
            if self._size > LARGEST_EVENT:
                raise EventTooLargeError(f"an event of more than {LARGEST_EVENT} bytes")


def _last_boundary(data: bytes) -> int:
    """Where the last whole event ends, or a number below 1."""
    end = data.rfind(b"\n\n") + 2
    if b"\r" in data:
        crlf, cr = data.rfind(b"\n\r\n"), data.rfind(b"\r\r")
        end = max(end, crlf + 3 if crlf >= 0 else 0, cr + 2 if cr >= 0 else 0)
    return end if end > 1 else 0


def parse(whole: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """The events in a piece of stream that holds whole events only: name (empty for the default), data, and length."""
    if b"\r" not in whole:
        for block in whole.split(b"\n\n")[:-1]:
            name, data = _fields(block)
            yield name, data, len(block) + 2
        return
    start = 0
    for boundary in _BOUNDARY.finditer(whole):
        name, data = _fields(whole[start : boundary.start()])
        yield name, data, boundary.end() - start
        start = boundary.end()


def _fields(block: bytes) -> tuple[bytes, bytes]:
    """Name and data of one event."""
    if block.startswith(b"data: ") and block.find(b"\n") < 0 and block.find(b"\r") < 0:
        return b"", block[6:]  # by far the most frequent
    name, data = b"", b""
    for line in block.removeprefix(_BYTE_ORDER_MARK).splitlines():
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            data = data + b"\n" + value if data else value
        elif line.startswith(b"event:"):
            name = line[6:].strip()
    return name, data


def event(data: bytes, name: bytes = b"") -> bytes:
    """One event as bytes. `data` is one line."""
    return b"event: " + name + b"\ndata: " + data + b"\n\n" if name else b"data: " + data + b"\n\n"
