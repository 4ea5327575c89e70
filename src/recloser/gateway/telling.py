"""What a client is told: in headers about an answer, and in words when there is none."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from recloser.core.duration import format_duration
from recloser.core.failure import LIMITS, REFUSALS, Failure
from recloser.core.route import Choice
from recloser.gateway.targets import Target
from recloser.gateway.wires.wire import Refusal

_KEPT_TO_OURSELVES = frozenset(
    {"alt-svc", "connection", "content-encoding", "content-length", "date", "keep-alive", "server", "set-cookie",
     "trailer", "transfer-encoding", "upgrade"}
)  # fmt: skip

MOST_DROPPED = 20
"""Names of what could not be carried that are told."""
_LONGEST_DROPPED = 100


class Failed(NamedTuple):
    """A target that was asked, and what went wrong with it."""

    target: Target
    failure: Failure


def passed_on(upstream: Mapping[str, str]) -> dict[str, str]:
    """The headers of a target's answer that the client gets: not those that belong to the connection.

    A value that is no plain text is left out: what a provider smuggles into it must not reach our own framing.
    """
    return {
        name: value
        for name, value in upstream.items()
        if name not in _KEPT_TO_OURSELVES
        and not name.startswith("x-recloser-")
        and value.isascii()
        and value.isprintable()
    }


def in_a_header(name: str) -> str:
    """A name as a header may hold it: what is no plain text is percent-encoded. Model names come from clients."""
    return name if name.isascii() and name.isprintable() else quote(name, safe="/ :@+,;=()[]'")


def dropped_names(names: Sequence[str]) -> str:
    """What could not be carried to another wire, as `x-recloser-dropped` says it: some names, and how many more."""
    shown = [quote(name[:_LONGEST_DROPPED], safe="/ :@+;=()[]'") for name in names[:MOST_DROPPED]]
    if len(names) > MOST_DROPPED:
        shown.append(f"+{len(names) - MOST_DROPPED}")
    return ", ".join(shown)


def when_to_come_back(retry_after: float, longest: float, wall_now: float) -> dict[str, str]:
    """`retry-after`, never longer than agents bear, and the full time beside it."""
    moment = datetime.fromtimestamp(wall_now + retry_after, UTC).isoformat(timespec="seconds")
    seconds = max(1, math.ceil(min(retry_after, longest)))
    return {"retry-after": str(seconds), "x-recloser-reset": moment.replace("+00:00", "Z")}


def nobody_left(failed: Sequence[Failed], choice: Choice[Target]) -> Refusal:
    """The refusal when no target is left: 429 if every reason is a limit, else 503."""
    kinds = [f.failure.kind for f in failed] + [p.denied.kind for p in choice.passed if p.denied is not None]
    status = 429 if kinds and LIMITS.issuperset(kinds) else 503
    failures = {f.target: f.failure for f in failed}
    said = []
    for passed in choice.passed:
        failure = failures.get(passed.target)
        why = shown(failure) if failure is not None else (passed.denied and passed.denied.kind) or passed.why
        wait = "" if passed.retry_after is None else f", open again in {format_duration(passed.retry_after)}"
        said.append(f"{passed.target.label}: {why}{wait}")
    return Refusal(status, "all_targets_failed", f"no target could serve this request ({'; '.join(said)})")


def come_again(choice: Choice[Target]) -> Refusal:
    """The refusal when a client was held for as long as it bears: it is to ask again, and will be held again."""
    wait = "" if choice.earliest is None else f"; one is open again in {format_duration(choice.earliest)}"
    return Refusal(503, "overloaded", f"no target is open yet{wait}. Ask again to wait on")


def broken_off(target: Target, failure: Failure) -> Refusal:
    """The refusal when a stream broke after content."""
    return Refusal(503, failure.kind, f"the stream from {target.label} broke off: {shown(failure)}")


def shown(failure: Failure) -> str:
    """A failure for a client: what a provider says of our key or our bill is not for its ears."""
    if failure.kind in REFUSALS or not failure.message:
        return failure.kind
    return f"{failure.kind}: {failure.message[:200]}"
