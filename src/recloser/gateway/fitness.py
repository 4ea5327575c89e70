"""Which targets a request may go to at all, whatever their circuits say, and what is told where there is none."""

from recloser.gateway.request import Request
from recloser.gateway.targets import Target
from recloser.gateway.windows import overflow
from recloser.gateway.wires.wire import Refusal


class Fitness:
    """What bars the targets of one request. No time changes it."""

    __slots__ = ("_overflows", "_request")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._overflows: dict[int, int | None] = {}

    def barred(self, target: Target) -> str | None:
        """Why the request cannot go to a target, or None."""
        return self.kept_away(target) or self._not_fitting(target)

    def kept_away(self, target: Target) -> str | None:
        """Why the target must not see the request, however large it is, or None."""
        return self._not_theirs(target) or self._not_paid(target)

    def refusal(self) -> Refusal | None:
        """What the client is told where every target is barred; None if some target is not."""
        targets = self._request.targets
        why = {target: self.barred(target) for target in targets}
        if not targets or None in why.values():
            return None
        said = "; ".join(f"{target.label}: {reason}" for target, reason in why.items())
        if any(self.kept_away(target) is None for target in targets):
            return self._too_large(said)
        if any(self._not_theirs(target) is None for target in targets):
            return Refusal(402, "paid_not_allowed", f"all that is left costs money ({said})")
        return Refusal(401, "auth", f"no target takes this request without a credential of the client's own ({said})")

    def _not_theirs(self, target: Target) -> str | None:
        """A client's own credential goes to the provider that is set so, on the client's wire, and nowhere else."""
        request = self._request
        if not target.endpoint.settings.clients_own:
            return None
        if target.wire_for(request.wire.name) != request.wire.name:
            return "is asked with the client's own credential, which belongs to another wire"
        return None if request.credentials else "is asked with the client's own credential, and none came"

    def _not_paid(self, target: Target) -> str | None:
        unpaid = self._request.unpaid
        return f"costs money, and {unpaid}" if unpaid and target.endpoint.paid else None

    def _not_fitting(self, target: Target) -> str | None:
        window = target.endpoint.window(target.model)
        needed = None if window is None else self._needed(window)
        return None if needed is None else f"has a window of {window} tokens, and about {needed} are needed"

    def _needed(self, window: int) -> int | None:
        """How many tokens there are too many for a window, if there are."""
        if window not in self._overflows:
            self._overflows[window] = overflow(self._request, window)
        return self._overflows[window]

    def _too_large(self, said: str) -> Refusal:
        """Begins with the words by which clients know that they have to shorten a conversation."""
        largest = max(window for window, needed in self._overflows.items() if needed is not None)
        needed = self._overflows[largest]
        message = f"prompt is too long: about {needed} tokens > {largest} maximum, the largest context window ({said})"
        return Refusal(400, "context_length_exceeded", message)
