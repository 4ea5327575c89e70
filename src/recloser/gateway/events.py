"""What happens in a gateway."""

from dataclasses import dataclass

from recloser.core.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Event):
    """A call to a target failed and was charged to `circuit` (None: to nobody). Times are in seconds."""

    target: str
    failure: str
    status: int | None
    circuit: str | None
    message: str
    retry_after: float | None
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTripped(Event):
    """A guard saw something in a request. `action` is what was done about it: warn, hint, trim or refuse."""

    guard: str
    action: str
    message: str
    client: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFinished(Event):
    """A client's request came to its end. Times are in seconds.

    `outcome` is `ok`, the kind of the last failure, `refused` (nobody could be asked), `cancelled` (the client left),
    `stopped` (the gateway did) or `internal_error`.
    """

    wire: str
    model: str
    stream: bool
    target: str | None
    status: int | None
    outcome: str
    attempts: int
    held: float
    first_token: float | None
    duration: float
    target_wire: str | None = None
    """The wire on which the last target was asked."""
    dropped: tuple[str, ...] = ()
    """What of the request could not be carried to that wire, by name."""
