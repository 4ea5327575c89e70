"""How a wire is read into the canonical form and written out of it: what translating needs of a wire.

Where both ends speak the same wire none of this is used: bytes pass.
"""

from collections.abc import Iterable
from typing import Protocol

from recloser.gateway.canonical import Answer, Event, Request, Written
from recloser.gateway.wires.editor import Editor


class StreamReader(Protocol):
    """Reads one upstream stream. What it is fed has been watched: whole events, none of them an error."""

    def read(self, name: bytes, data: bytes) -> Iterable[Event]:
        """What one server-sent event means; ValueError if it is none of this wire."""
        ...

    def end(self) -> Iterable[Event]:
        """The stream ended as it should: what is still to be told, so that every part and the answer are ended."""
        ...


class StreamWriter(Protocol):
    """Writes one stream for a client."""

    def write(self, event: Event) -> bytes:
        """An event as this wire's server-sent events, the stream's own terminator included; may be empty."""
        ...

    def go_on(self, sent: bytes) -> None:
        """Go on with a stream that somebody else began: `sent` is what the client was told, and says by which names.

        The events of it have been written before, into nowhere. ValueError if this stream cannot be gone on with.
        """
        ...


class Codec(Protocol):
    """One wire, read and written, as a client and as a provider speak it."""

    def read_request(self, body: bytes, model: str = "", *, stream: bool = False) -> Request:
        """A client's request; BadRequestError that names the field if it is none.

        `model` and `stream` are what the address says, on a wire where it does.
        """
        ...

    def write_request(self, request: Request) -> Written:
        """A request for a provider of this wire, and what it has no words for.

        BadRequestError if it cannot be written: it is nested too deeply.
        """
        ...

    def read_answer(self, body: bytes) -> Answer:
        """A provider's plain answer; ValueError if it is none."""
        ...

    def write_answer(self, answer: Answer) -> bytes:
        """A plain answer for a client of this wire."""
        ...

    def reader(self) -> StreamReader:
        """A reader for one stream of a provider."""
        ...

    def writer(self, request: Request) -> StreamWriter:
        """A writer for the stream that answers this request of a client."""
        ...

    def editor(self, body: bytes) -> Editor:
        """Changes one request of a client in a few places; the body has been read as one before."""
        ...
