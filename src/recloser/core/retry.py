"""Whether a failed call is tried again, and when: a limit is waited out, a breakdown is backed off from.

A failure is met in one of four ways, the first three as MassGen meets a 429:

- WAIT: a limit whose end the server has told, near enough to be waited for. The permit is kept and nothing is counted.
- STOP: the failure opens the circuit: a limit that lasts too long to be waited for, a quota without an end. The caller
  gets the error now.
- CAP: what is behind the circuit seems broken. One failure is counted; the next try follows a growing, spread pause.
- REFUSE: of a kind that another try does not cure.

Durations are seconds.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from recloser.core.backoff import backoff
from recloser.core.circuit import LONGEST_OPENING
from recloser.core.duration import format_duration
from recloser.core.errors import ConfigError
from recloser.core.failure import LIMITS, Effect, Failure, FailureKind
from recloser.core.units import Duration, in_seconds, is_number

WORTH_A_RETRY = LIMITS | {
    FailureKind.UNREACHABLE,
    FailureKind.TIMEOUT,
    FailureKind.SERVER_ERROR,
    FailureKind.OVERLOADED,
    FailureKind.RESOURCES,
    FailureKind.MALFORMED,
    FailureKind.INTERRUPTED,
    FailureKind.EXECUTION_ERROR,
}
"""Kinds of failure that may be gone at the next try of the very same call: those that tell of health, and pass.
The others are refused at once: something is wrong with the request itself, or only a hand mends it, or it was given up.
"""

_DURATIONS = ("deadline", "wait_limit", "backoff", "backoff_max")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How often, how long and how patiently a call is retried. Durations are seconds (a `timedelta` is taken too).

    ConfigError names the setting that cannot work.
    """

    attempts: int = 3
    """Calls in all, the first one included; 1 means no retry."""
    deadline: Duration = 60.0
    """From the first call on, after this no further one is begun: waits and pauses count, and so does the time that
    calls take. It does not break off a call that runs."""
    wait_limit: Duration = 120.0
    """The longest limit that is waited out; one that lasts longer opens the circuit."""
    backoff: Duration = 0.5
    """The first pause after a failure without a hint."""
    backoff_factor: float = 2.0
    """Growth from one pause to the next."""
    backoff_max: Duration = 20.0
    """The longest pause, before it is spread."""
    jitter: float = 0.5
    """Spread of the pause: 0.5 is +-50 %."""

    def __post_init__(self) -> None:
        if not _whole(self.attempts) or self.attempts < 1:
            raise ConfigError(f"attempts must be a whole number of at least 1 (no retry), not {self.attempts!r}")
        for name in _DURATIONS:
            object.__setattr__(self, name, in_seconds(name, getattr(self, name)))
        if not is_number(self.backoff_factor) or not 1.0 <= self.backoff_factor < math.inf:
            raise ConfigError(f"backoff_factor must be finite and at least 1, not {self.backoff_factor!r}")
        if not is_number(self.jitter) or not 0.0 <= self.jitter < 1.0:
            raise ConfigError(f"jitter must be at least 0 and below 1, not {self.jitter!r}")
        if self.backoff_max < self.backoff:
            raise ConfigError(f"backoff_max ({self.backoff_max:g} s) must not be below backoff ({self.backoff:g} s)")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Verdict(StrEnum):
    """How a failure is met. The module says what each means."""

    WAIT = "wait"
    STOP = "stop"
    CAP = "cap"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from a failure."""

    verdict: Verdict
    wait: float | None
    """Seconds until the next try; None: there is none."""
    charge: Failure | None
    """What the circuit is told, now; None: nothing, and the permit is kept for the next try."""
    why: str = ""
    """Why there is no further try, for people."""


def decide(
    failure: Failure,
    settings: RetrySettings,
    *,
    tries: int,
    left: float,
    lease_left: float = math.inf,
    rand: float = 0.5,
) -> Decision:
    """What follows from the failure of the call number `tries`, counted from 1.

    `left` is what is left of the deadline, `lease_left` for how long the permit may be kept yet. `rand` in [0, 1)
    spreads the pause.
    """
    failure = _understood(failure)
    if failure.kind not in WORTH_A_RETRY:
        return given_up(failure, f"another try does not cure {failure.kind}")
    if tries >= settings.attempts:
        return given_up(failure, "no attempt is left")
    pause = backoff(
        settings.backoff, settings.backoff_factor, settings.backoff_max, tries - 1, jitter=settings.jitter, rand=rand
    )
    hint = failure.retry_after or 0.0
    if hint > settings.wait_limit:
        limit = format_duration(settings.wait_limit)
        return given_up(failure, f"the server asks for {format_duration(hint)}, more than wait_limit ({limit})")
    if failure.kind in LIMITS and failure.retry_after is not None:
        return _wait(failure, settings, max(hint, pause), min(left, lease_left))
    if failure.effect is Effect.OPENS:
        return given_up(failure, f"{failure.kind} opens the circuit")
    return _back_off(failure, max(hint, pause), left)


def given_up(failure: Failure, why: str) -> Decision:
    """There is no further try: the circuit is told of the failure, and the caller gets it now."""
    failure = _understood(failure)
    if failure.kind not in WORTH_A_RETRY:
        verdict = Verdict.REFUSE
    else:
        verdict = Verdict.STOP if failure.effect is Effect.OPENS else Verdict.CAP
    return Decision(verdict=verdict, wait=None, charge=failure, why=why)


def _wait(failure: Failure, settings: RetrySettings, wait: float, room: float) -> Decision:
    """A server that keeps saying "in 0 s" is asked at a growing pace, so that there is never a hot loop."""
    if wait >= room:  # the pace gives way to the deadline, the server's word does not
        wait = max(failure.retry_after or 0.0, settings.backoff)
    if wait >= room:
        return given_up(failure, f"the limit lasts {format_duration(wait)}, longer than there is time ({_shown(room)})")
    return Decision(verdict=Verdict.WAIT, wait=wait, charge=None)


def _back_off(failure: Failure, wait: float, left: float) -> Decision:
    if wait >= left:
        return given_up(
            failure, f"the next pause is {format_duration(wait)}, longer than there is time ({_shown(left)})"
        )
    return Decision(verdict=Verdict.CAP, wait=wait, charge=failure)


def _shown(left: float) -> str:
    return format_duration(max(0.0, left))


def _understood(failure: Failure) -> Failure:
    """The failure with a hint that can be relied on, and with what a limit does to the circuit.

    A hint that is negative or not finite counts as absent, one over eight days as eight days. A limit with a hint opens
    the circuit until then; a rate limit whose hint is absurd is a failure like another.
    """
    told = failure.retry_after
    hint = min(told, LONGEST_OPENING) if told is not None and 0 <= told < math.inf else None
    effect = failure.effect
    if failure.kind in LIMITS and hint is not None and effect is Effect.COUNTS:
        effect = Effect.OPENS
    elif failure.kind is FailureKind.RATE_LIMITED and hint is not told and hint is None and effect is Effect.OPENS:
        effect = Effect.COUNTS
    if (hint, effect) == (told, failure.effect):
        return failure
    return replace(failure, retry_after=hint, effect=effect)
