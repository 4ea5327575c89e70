"""What there is to tell about one request, and the events that tell it."""

from dataclasses import dataclass, field

from recloser.core.failure import Failure
from recloser.gateway.events import AttemptFailed, GuardTripped, RequestFinished, StreamResumed
from recloser.gateway.guards import Seen
from recloser.gateway.metering import Used, sums
from recloser.gateway.request import Request
from recloser.gateway.resuming.rest import Rest
from recloser.gateway.targets import Target
from recloser.gateway.telling import MOST_DROPPED, Failed, dropped_names, in_a_header
from recloser.gateway.translation import Passage
from recloser.ports import Emit


@dataclass(slots=True)
class Account:
    """The account of one request. Times are on the exchange's clock."""

    request: Request
    """As it is said to the targets now."""
    emit: Emit
    started: float
    attempts: int = 0
    passed_over: int = 0
    """Targets on whose wire the request could not be said, so that they were not asked."""
    held: float = 0.0
    breaks: int = 0
    content_at: float | None = None
    target: Target | None = None
    status: int | None = None
    outcome: str = "refused"
    guards: tuple[str, ...] = ()
    """Those that saw something in the request."""
    passage: Passage | None = None
    """The way to the last target that was asked."""
    failed: list[Failed] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)
    _told: int = 0

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of what could not be said to the last target."""
        return (*self.request.dropped, *(self.passage.dropped if self.passage else ()))

    def headers(self, target: Target | None) -> dict[str, str]:
        """What every answer says of itself."""
        own = {"x-recloser-request-id": self.request.id, "x-recloser-attempts": str(self.attempts)}
        if self.guards:
            own["x-recloser-guard"] = ", ".join(self.guards)
        if target is not None:
            own["x-recloser-target"] = in_a_header(target.label)
        return own

    def headers_of_answer(self, target: Target) -> dict[str, str]:
        """What an answer of a target's says. A translated one has its media type from us, if it is no stream."""
        own = self.headers(target)
        if dropped := self.dropped:
            own["x-recloser-dropped"] = dropped_names(dropped)
        if self.passage is not None and not self.passage.verbatim and not self.request.envelope.stream:
            own["content-type"] = "application/json"
        return own

    # Events ----------------------------------------------------------------------------------------------------------

    def note_guard(self, seen: Seen) -> None:
        """A guard saw something."""
        self.guards = (*self.guards, seen.guard)
        self.emit(GuardTripped(
            subject=self._subject, seq=self._next(), guard=seen.guard, action=seen.verdict.action,
            message=seen.verdict.why, client=self.request.client, agent=self.request.agent,
        ))  # fmt: skip

    def note_failure(self, target: Target, failure: Failure, duration: float) -> None:
        """An attempt failed. The failure is fit to be written down."""
        self.outcome = failure.kind
        self.emit(AttemptFailed(
            subject=self._subject, seq=self._next(), target=target.label, failure=failure.kind, status=failure.status,
            circuit=target.path.charged(failure.scope), message=failure.message, retry_after=failure.retry_after,
            duration=duration,
        ))  # fmt: skip

    def note_resumed(self, first: Failed, said: int, target: Target, rest: Rest) -> None:
        """Content came from a target that finishes what another began."""
        self.emit(StreamResumed(
            subject=self._subject, seq=self._next(), target=first.target.label, by=target.label,
            failure=first.failure.kind, said=said, style=rest.style,
        ))  # fmt: skip

    def finish(self, now: float, *, begun: bool) -> None:
        """It is over. `begun`: the client's stream had begun."""
        request, passage = self.request, self.passage
        self.emit(RequestFinished(
            subject=self._subject, seq=self._next(), wire=request.wire.name, model=request.envelope.model,
            stream=request.envelope.stream, target=self.target.label if self.target else None,
            status=200 if self.status is None and begun else self.status, outcome=self.outcome, attempts=self.attempts,
            failures=len(self.failed) - self.passed_over, held=self.held,
            first_token=None if self.content_at is None else self.content_at - self.started,
            duration=now - self.started, target_wire=passage.wire.name if passage else None,
            dropped=self.dropped[:MOST_DROPPED], breaks=self.breaks, client=request.client, agent=request.agent,
            used=tuple(self.used), **sums(self.used)._asdict(),
        ))  # fmt: skip

    @property
    def _subject(self) -> str:
        return f"request/{self.request.id}"

    def _next(self) -> int:
        self._told += 1
        return self._told
