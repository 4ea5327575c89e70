"""Who is asked first: orders of a route's targets, from facts.

An order is a tuple of positions in the list of targets. Whatever the facts are, every position is in it exactly once:
who does not come first is there for when the others fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log

MARGIN = 0.25
"""By which share a target must be faster to take another's place; less is noise."""
LEAST_GAIN = 0.1
"""Seconds to a first token that nobody notices, whatever share of it they are."""
PERSISTS = 30.0
"""Seconds for which it must stay so."""

Order = tuple[int, ...]


def by_least(values: Sequence[float]) -> Order:
    """The least value first (a price, a load); of equal ones, the one that is listed first."""
    return tuple(sorted(range(len(values)), key=lambda place: values[place]))


def by_weight(weights: Sequence[float], draws: Sequence[float]) -> Order:
    """At random, each target first as often as its weight says, and those behind it likewise.

    `draws` has one number from 0 to 1 for each. Weight 0 comes last. After Efraimidis and Spirakis, "Weighted random
    sampling with a reservoir" (2006): who waits an exponential time of the rate of its weight comes in that order.
    """
    return _by_share([-log(max(draw, 5e-324)) for draw in draws], weights)


def by_load(under_way: Sequence[int], weights: Sequence[float]) -> Order:
    """The least load first, counting the request that is to come, relative to what each can bear."""
    return _by_share([n + 1 for n in under_way], weights)


def _by_share(values: Sequence[float], weights: Sequence[float]) -> Order:
    """The least value for its weight first; who has no weight last, also behind who has next to none."""
    shares = [value / weight if weight > 0 else inf for value, weight in zip(values, weights, strict=True)]
    return tuple(sorted(range(len(shares)), key=lambda place: (weights[place] <= 0, shares[place])))


def tried_first(order: Order, due: Sequence[bool]) -> Order:
    """The same order, but the first target that is due to be tried comes before all others."""
    tried = next((place for place in order if due[place]), None)
    return order if tried is None else (tried, *(place for place in order if place != tried))


@dataclass(frozen=True, slots=True)
class Standing:
    """An order by speed, and who would take another's place in it if that stays so."""

    order: Order
    challenge: tuple[int, int] | None = None
    """At which place of the order, and who."""
    since: float = 0.0


def by_speed(standing: Standing, seconds: Sequence[float | None], now: float) -> Standing:
    """The fastest first, but the order changes only for a clear reason that lasts.

    `seconds` is how long each target takes to its first token; None where that is not known: who is unknown keeps its
    place, and nobody takes it. A target moves up past one that is slower by `MARGIN`, when it has been so for
    `PERSISTS`. A conversation stays where it is, and with it the provider's cache of its prompt.
    """
    better = _improved(standing.order, seconds)
    place = next((n for n, (old, new) in enumerate(zip(standing.order, better, strict=True)) if old != new), None)
    if place is None:
        return Standing(standing.order)
    challenge = (place, better[place])
    if challenge != standing.challenge:
        return Standing(standing.order, challenge, now)
    return Standing(better) if now - standing.since >= PERSISTS else standing


def _improved(order: Order, seconds: Sequence[float | None]) -> Order:
    """From the first place on, whoever holds it keeps it, unless the fastest of those behind is clearly faster."""
    left, improved = list(order), []
    while left:
        known = [place for place in left if seconds[place] is not None]
        fastest = min(known, key=lambda place: seconds[place] or 0.0, default=left[0])
        chosen = fastest if _clearly_faster(seconds[fastest], seconds[left[0]]) else left[0]
        left.remove(chosen)
        improved.append(chosen)
    return tuple(improved)


def _clearly_faster(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and other - one > max(MARGIN * other, LEAST_GAIN)
