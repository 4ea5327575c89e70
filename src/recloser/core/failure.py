"""What went wrong, named once: the kinds of failure, what each is charged to and what follows from it."""

from dataclasses import dataclass, replace
from enum import StrEnum


class FailureKind(StrEnum):
    """Every kind of failure recloser knows. docs/failures.md explains each."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    BILLING = "billing"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    RESOURCES = "resources"
    TOO_LARGE = "too_large"
    INVALID_REQUEST = "invalid_request"
    MALFORMED = "malformed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    # No answer of a provider means these; exceptions of ordinary code and of tools do.
    EXECUTION_ERROR = "execution_error"
    PERMISSION_DENIED = "permission_denied"
    POLICY_REFUSED = "policy_refused"
    SANDBOX = "sandbox"
    CIRCUIT_OPEN = "circuit_open"


LIMITS = frozenset({FailureKind.RATE_LIMITED, FailureKind.QUOTA})
"""Kinds that say "you, later" rather than "I am broken": a caller who only met these is told 429."""

REFUSALS = frozenset({FailureKind.AUTH, FailureKind.BILLING})
"""Kinds that time does not cure: the circuit stays open until a probe, a restart or a hand closes it."""


PLAIN_SPOKEN = LIMITS | REFUSALS | {FailureKind.OVERLOADED, FailureKind.NOT_FOUND, FailureKind.RESOURCES}
"""Kinds whose messages speak of the provider. Others may repeat the prompt that they are about."""


class Scope(StrEnum):
    """The smallest circuit that a failure proves broken. Wider ones come first on a circuit path."""

    ACCOUNT = "account"
    ENDPOINT = "endpoint"
    MODEL = "model"
    NOBODY = "nobody"


class Effect(StrEnum):
    """What a failure does to the circuit that it is charged to."""

    COUNTS = "counts"
    OPENS = "opens"
    NOTHING = "nothing"


class Then(StrEnum):
    """What follows for the request that met the failure."""

    NEXT_TARGET = "next target"
    LARGER_TARGET = "next target with a larger window"
    TELL_CALLER = "the client gets it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure, classified. `retry_after` is in seconds from when it was seen.

    With `Effect.OPENS` the circuit opens for `retry_after`; without one it opens for its own estimated cooldown,
    or, if `until_proven`, until a probe, a restart or a hand closes it.
    """

    kind: FailureKind
    scope: Scope
    effect: Effect
    then: Then = Then.NEXT_TARGET
    retry_after: float | None = None
    authoritative: bool = False
    """True if `retry_after` is the server's own word, which is used verbatim."""
    until_proven: bool = False
    status: int | None = None
    message: str = ""
    quoted: bool = False
    """True if `message` is the other side's own words: they may repeat a prompt, and are written down with care."""

    def __post_init__(self) -> None:
        # users make these, in classifiers: what is wrong is better told there than in the middle of a decision
        if not isinstance(self.message, str):
            raise TypeError(f"a failure's message must be a string, not {self.message!r}")
        wait: object = self.retry_after
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float)):
            raise TypeError(f"a failure's retry_after must be a number of seconds or None, not {wait!r}")

    def saying(self, message: str) -> "Failure":
        """The same failure with another message."""
        return replace(self, message=message)

    def fit_to_note(self) -> "Failure":
        """The failure as events and circuits keep it: without a word of the other side that could be the caller's."""
        return self.saying("") if self.quoted and self.kind not in PLAIN_SPOKEN else self
