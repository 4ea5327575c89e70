"""What an exchange asks of the world, and what it is answered.

Every answer says what time it is; that is how an exchange knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from recloser.core.classify import Row
from recloser.gateway.targets import Target
from recloser.gateway.traffic import Place


class Send(NamedTuple):
    """Ask a target. Answered by `Head` or `Broke`; whatever was open before is dropped."""

    target: Target
    body: bytes
    until: float
    wire: str
    """The wire it is asked on; its own headers and query reach the client's wire alone."""
    path: str
    """Where it is asked, after the base URL."""


class Read(NamedTuple):
    """The next piece of the answer. Answered by `Chunk`, `End` or `Broke`."""

    until: float


class ReadAll(NamedTuple):
    """The rest of the answer. Answered by `Chunk` or `Broke`; more than `limit` bytes are a `Broke`."""

    until: float
    limit: int
    idle: float | None = None
    """How long it may be silent once something but white space has come: nobody writes half an answer and thinks."""


class Hold(NamedTuple):
    """Wait until then, or until some circuit changes, or until it is one's turn. Answered by `Now`."""

    until: float
    place: Place | None = None
    """The place in the lines before busy providers, if one stands there."""


class Begin(NamedTuple):
    """Start the client's stream. Answered by `Now`."""

    headers: Mapping[str, str]


class Forward(NamedTuple):
    """Give the client a piece of its stream. Answered by `Now`."""

    data: bytes


class Finish(NamedTuple):
    """The client's stream ends. Answered by `Now`."""


class Reply(NamedTuple):
    """The client's whole answer. Answered by `Now`."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Head(NamedTuple):
    """The target's answer begins. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    now: float


class Chunk(NamedTuple):
    """A piece of the target's answer."""

    data: bytes
    now: float


class End(NamedTuple):
    """The target's answer ended, as the connection's framing says it should."""

    now: float


class Broke(NamedTuple):
    """The call failed below HTTP, or its time is over."""

    row: Row
    message: str
    now: float


class Now(NamedTuple):
    """Done."""

    now: float


Ask = Send | Read | ReadAll | Hold | Begin | Forward | Finish | Reply
Reading = Head | Chunk | End | Broke | Now


@dataclass(slots=True)
class ClientSide:
    """What the client has seen so far. Whoever sends a keep-alive sets `begun` as well."""

    begun: bool = False
    """Whether its stream has begun: from then on an error is an event of it."""


class GatewayStops(Exception):  # noqa: N818 - not an error of the exchange, but word that its time is over
    """Thrown into an exchange whose drain time is over."""
