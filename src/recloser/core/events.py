"""What happened, as frozen dataclasses in the past tense.

A sink gets these after every lock is left. `kind` is the class name in snake case; `subject` names what it is about;
`seq` strictly increases per subject.
"""

import re
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of every event."""

    kind: ClassVar[str] = "event"
    subject: str
    seq: int

    def __init_subclass__(cls) -> None:
        cls.kind = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def facts(self) -> dict[str, Any]:
        """The event as a flat mapping, `kind` and `subject` first."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"seq": own.pop("seq"), "kind": self.kind, "subject": own.pop("subject"), **own}


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened(Event):
    """A circuit opened: no call passes until `retry_after` seconds have gone by (None: until it is proven well).

    `rule` is what opened it: consecutive_failures, failure_rate, slow_rate, at_once, trial; or shared, if another
    process did.
    """

    failure: str
    failures: int
    rule: str
    retry_after: float | None
    authoritative: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitExtended(Event):
    """An open circuit stays open for longer: a late answer of the server named a later time."""

    failure: str
    retry_after: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitWouldOpen(Event):
    """A circuit that only observes would have opened, by this rule."""

    failure: str
    failures: int
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitHalfOpened(Event):
    """The cooldown is over: a limited number of calls may try."""

    open_for: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitClosed(Event):
    """The trial succeeded: calls pass again. `open_for` is in seconds since it opened."""

    open_for: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitForced(Event):
    """Somebody set the circuit by hand."""

    state: str
    retry_after: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitExpired(Event):
    """A half-open permit was never settled; its lease ran out and it was taken back."""

    held_for: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitForgotten(Event):
    """There were too many circuits, and this one was dropped although it was not closed."""

    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLost(Event):
    """The shared state cannot be written; every process goes on with its own circuits."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRegained(Event):
    """The shared state can be written again."""
