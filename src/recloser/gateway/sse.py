"""Server-sent events from bytes and back, fed chunks of any size.

Only whole events are let through: whatever is sent to a client next, a keep-alive or an error, starts on a fresh line.
"""

import re
from collections.abc import Iterator

MEDIA_TYPE = "text/event-stream"
LARGEST_EVENT = 16 * 2**20
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")


class EventTooLargeError(ValueError):
    """An event grew past what any answer needs."""


class Splitter:
    """Cuts a byte stream after its last whole event."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk; give the whole events there are so far. EventTooLargeError if an event never ends."""
        data = self._rest + chunk if self._rest else chunk
        end = data.rfind(b"\n\n") + 2
        if b"\r" in chunk or end == 1:
            end = max(end, data.rfind(b"\n\r\n") + 3 if b"\n\r\n" in data else 0, data.rfind(b"\r\r") + 2)
        if end <= 1:
            whole, self._rest = b"", data
        else:
            whole, self._rest = data[:end], data[end:]
        if len(self._rest) > LARGEST_EVENT:
            raise EventTooLargeError(f"an event of more than {LARGEST_EVENT} bytes")
        return whole

    def end(self) -> bytes:
        """What is left at the end of the stream, completed to a whole event; the stream's owner judges it."""
        rest, self._rest = self._rest.strip(b"\r\n"), b""
        return rest + b"\n\n" if rest else b""


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
    for line in block.splitlines():
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            data = data + b"\n" + value if data else value
        elif line.startswith(b"event:"):
            name = line[6:].strip()
    return name, data


def event(data: bytes, name: bytes = b"") -> bytes:
    """One event as bytes. `data` is one line."""
    return b"event: " + name + b"\ndata: " + data + b"\n\n" if name else b"data: " + data + b"\n\n"
