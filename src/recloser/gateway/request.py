"""What a client asks, ready to be served."""

from collections.abc import Sequence
from dataclasses import dataclass

from recloser.gateway.targets import Target
from recloser.gateway.wires.wire import Envelope, Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a client."""

    id: str
    wire: Wire
    envelope: Envelope
    body: bytes
    targets: Sequence[Target]
    """Every target of the route, in order."""
