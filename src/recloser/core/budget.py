"""The retry budget: retries help in a hiccup, and must not make an outage worse.

A token bucket. Each first call puts in `ratio` tokens, time puts in `per_second`, a retry takes one out. Whatever
happens, and whatever the clock does:

    retries <= capacity + ratio x calls + per_second x seconds

The shape is that of Finagle's RetryBudget (a share of the calls, plus a floor for clients that make few), the numbers
are those of gRPC's retry throttling (proposal A6: 10 tokens, 0.1 back a call). All of them start full, as does the
retry quota of the AWS SDKs: a new process makes few calls and would otherwise have no retry just when it connects for
the first time, while a restart costs an upstream that is down no more than `capacity`. Empty means fail fast.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from recloser.core.errors import ConfigError
from recloser.core.units import is_number

_WHOLE = 1.0 - 1e-9
"""A token in spite of rounding: ten times 0.1 is a little less than 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """How many retries a stream of calls may cause."""

    ratio: float = 0.1
    """Retries that each first call pays for: 0.1 is one retry for ten calls."""
    per_second: float = 0.5
    """Retries a second that are free: a floor for those who make few calls."""
    capacity: float = 10.0
    """The most that is ever saved up, and what there is at the start."""

    def __post_init__(self) -> None:
        for name, least, most, allowed in (
            ("ratio", 0.0, 1.0, "from 0 to 1"),
            ("per_second", 0.0, math.inf, "of at least 0"),
            ("capacity", 1.0, math.inf, "of at least 1"),
        ):
            given = getattr(self, name)
            if not (is_number(given) and least <= given <= most and given < math.inf):
                raise ConfigError(f"{name} must be a finite number {allowed}, not {given!r}")


class Budget(NamedTuple):
    """What is in the bucket, and up to when time has been paid out. Times are on one clock, which may go back."""

    tokens: float
    paid_until: float


def full(settings: BudgetSettings, now: float) -> Budget:
    """The budget at the start."""
    return Budget(settings.capacity, now)


def balance(budget: Budget, settings: BudgetSettings, now: float) -> float:
    """How many retries are in the bucket."""
    earned = settings.per_second * max(0.0, now - budget.paid_until)
    return min(settings.capacity, budget.tokens + earned)


def deposit(budget: Budget, settings: BudgetSettings, now: float, *, calls: int = 1) -> Budget:
    """So many first calls were made. Until something is taken out it is the same whether they are told one by one."""
    tokens = min(settings.capacity, balance(budget, settings, now) + settings.ratio * calls)
    return Budget(tokens, max(budget.paid_until, now))


def withdraw(budget: Budget, settings: BudgetSettings, now: float) -> Budget | None:
    """A retry is wanted: what is left after it, or None if there is not enough for one."""
    tokens = balance(budget, settings, now)
    if tokens < _WHOLE:
        return None
    return Budget(max(0.0, tokens - 1.0), max(budget.paid_until, now))
