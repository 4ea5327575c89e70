"""What happens in a gateway."""

from dataclasses import dataclass
from typing import Any

from recloser.core.events import Event
from recloser.gateway.metering import Used


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
class SpendLimitReached(Event):
    """A spend limit is reached: `action` is what is done about requests until the day or month ends, in UTC.

    `scope` is what it counts: `all`, `key/NAME`, `agent/NAME` or `provider/NAME`. Told once a scope and period, by one
    of the processes that share the state.
    """

    scope: str
    per: str
    limit_usd: float
    spent_usd: float
    action: str
    retry_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResumed(Event):
    """A stream that had broken off at `target` goes on from `by`, after `said` characters.

    `failure` is what it broke off with. `style` is how the second one was asked: `prefill` (as the beginning of its own
    answer), `told` (to go on), or `call` (to call the tool that had been announced).
    """

    target: str
    by: str
    failure: str
    said: int
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFinished(Event):
    """A client's request came to its end. Times are in seconds.

    `outcome` is `ok`, the kind of the last failure, `refused` (nobody could be asked), `cancelled` (the client left),
    `stopped` (the gateway did) or `internal_error`.

    The tokens and the cost are those of all its attempts; null where nobody told and nothing was said, or no price is
    known. `input_tokens` include those of the cache. `estimated`: some of it is not what a provider told.
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
    failures: int = 0
    """How many of its attempts failed, each of which was told."""
    breaks: int = 0
    """How often its stream broke off after content; it was finished all the same if `outcome` is `ok`."""
    client: str = ""
    """Which client key it came with, by its reference."""
    agent: str = ""
    """Which agent it said it is from."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    estimated: bool = False
    used: tuple[Used, ...] = ()
    """Each attempt's part in it; written down only where there are several."""

    def facts(self) -> dict[str, Any]:
        """The event as a flat mapping."""
        facts = Event.facts(self)
        used = facts.pop("used")
        return facts | ({"used": [one._asdict() for one in used]} if len(used) > 1 else {})
