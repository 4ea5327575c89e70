"""A request that is larger than it is meant to be."""

from dataclasses import dataclass
from typing import Literal

from recloser.core.errors import ConfigError
from recloser.core.units import Size
from recloser.gateway.estimate import tokens
from recloser.gateway.guards.bounds import tokens_at_most
from recloser.gateway.guards.guard import Action, Guard, Stage, Verdict
from recloser.gateway.request import Request
from recloser.gateway.wires.wire import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSettings:
    """[guards.request_size]: how large a request may be."""

    tokens: int = 0
    """At most so many tokens, estimated; 0 = no limit."""
    bytes: Size = 0
    """At most so many bytes; 0 = no limit but [gateway] max_body."""
    action: Literal["warn", "refuse"] = "refuse"
    """`warn`: an event and a header. `refuse`: 413 for the bytes; for the tokens 400 `context_length_exceeded`, in the
    words by which agents know that they have to shorten the conversation."""

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise ConfigError(f"tokens must be at least 0, not {self.tokens}")
        if not self.tokens and not self.bytes:
            raise ConfigError("it needs tokens, bytes or both: without them every request is small enough")


class RequestSize(Guard):
    """Caps the bytes and the tokens of a request: what is left of it after the others have trimmed it."""

    Settings = SizeSettings
    stage = Stage.SENT

    def __init__(self, settings: SizeSettings) -> None:
        self._settings = settings

    def look(self, request: Request, now: float) -> Verdict | None:  # noqa: ARG002 - a size has no clock
        """A request that is too large."""
        size, most = len(request.body), self._settings
        if most.bytes and size > most.bytes:
            why = f"the request has {size} bytes; the limit is {most.bytes}"
            return self._verdict(Refusal(413, "too_large", why))
        if not most.tokens or tokens_at_most(request.body) <= most.tokens:
            return None
        count = tokens(request.read())
        if count <= most.tokens:
            return None
        why = f"prompt is too long: {count} tokens > {most.tokens} maximum (estimated; the gateway's own limit)"
        return self._verdict(Refusal(400, "context_length_exceeded", why))

    def _verdict(self, refusal: Refusal) -> Verdict:
        if self._settings.action == "warn":
            return Verdict(action=Action.WARN, why=refusal.message)
        return Verdict(action=Action.REFUSE, why=refusal.message, refusal=refusal)


offer = RequestSize
