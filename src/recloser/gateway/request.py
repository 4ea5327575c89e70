"""What a client asks, ready to be served."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from recloser.gateway import canonical
from recloser.gateway.targets import Target
from recloser.gateway.wires import CODECS
from recloser.gateway.wires.editor import Editor
from recloser.gateway.wires.foreign_thoughts import without_thoughts
from recloser.gateway.wires.wire import BadRequestError, Envelope, Wire


@dataclass(slots=True, kw_only=True)
class Request:
    """One request of a client. Nobody changes it; `edited` gives another."""

    id: str
    wire: Wire
    envelope: Envelope
    body: bytes
    targets: Sequence[Target]
    """Every target of the route, in order."""
    client: str = ""
    """Which key the client showed, by its reference; empty where none is needed."""
    agent: str = ""
    """Which agent it says it is, in `x-recloser-agent`."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The headers with the client's own credential; a key of this gateway is none."""
    unpaid: str = ""
    """Why it may not go to targets that cost money; empty where it may."""
    metered: bool = False
    """Whether what it uses must be known: targets are asked to tell it, also where the client did not ask."""
    dropped: tuple[str, ...] = ()
    """The names of what the client said and is not said any more."""
    _read: canonical.Request | None = field(default=None, init=False, repr=False, compare=False)

    def read(self) -> canonical.Request:
        """What it says, in no vendor's words: read once, when somebody needs it. BadRequestError if it says nothing."""
        if self._read is None:
            envelope = self.envelope
            codec = CODECS.get(self.wire.name)
            if codec is None:
                raise BadRequestError(f"no other wire has words for what is asked at {self.wire.path}")
            self._read = codec.read_request(self.body, envelope.model, stream=envelope.stream)
        return self._read

    def edited(self, change: Callable[[Editor], None]) -> Self:
        """The same request with a few changes, on the client's own wire."""
        editor = CODECS[self.wire.name].editor(self.body)
        change(editor)
        return replace(self, body=editor.body())

    def without_thoughts(self) -> Self | None:
        """The same request without what models thought before; None if there is no such thing in it."""
        body = without_thoughts(self.body, self.wire.name)
        return None if body is None else replace(self, body=body, dropped=(*self.dropped, "thinking"))

    def led_to(self, targets: Sequence[Target]) -> Self:
        """The same request for some of its targets alone."""
        led = replace(self, targets=targets)
        led._read = self._read  # noqa: SLF001 - it says the same
        return led
