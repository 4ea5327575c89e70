"""What a client asks, ready to be served."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from recloser.gateway import canonical
from recloser.gateway.targets import Target
from recloser.gateway.wires import CODECS
from recloser.gateway.wires.editor import Editor
from recloser.gateway.wires.wire import Envelope, Wire


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
    _read: canonical.Request | None = field(default=None, init=False, repr=False, compare=False)

    def read(self) -> canonical.Request:
        """What it says, in no vendor's words: read once, when somebody needs it. BadRequestError if it says nothing."""
        if self._read is None:
            envelope = self.envelope
            self._read = CODECS[self.wire.name].read_request(self.body, envelope.model, stream=envelope.stream)
        return self._read

    def edited(self, change: Callable[[Editor], None]) -> Self:
        """The same request with a few changes, on the client's own wire."""
        editor = CODECS[self.wire.name].editor(self.body)
        change(editor)
        return replace(self, body=editor.body())
