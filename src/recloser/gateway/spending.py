"""What was spent: by everybody, by each client key, agent and provider; today and this month.

Amounts are whole billionths of a dollar, so that no sum of small prices is ever rounded. They are kept in a ledger
that other processes share. Nobody waits for it: what is added here counts here at once, goes to the ledger a little
later (`runtime/bookkeeper.py`), and what others added is seen when it comes back.

Besides, what requests under way are expected to cost is set aside until they have ended and their true cost is known.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recloser.core.events import Event
from recloser.core.period import EVERY, Per, period
from recloser.gateway.events import RequestFinished
from recloser.ports import Ledger, Sum

NANO = 1_000_000_000
DAY = 86_400
ALL = "all"
OTHERS = "agent/(others)"
"""The agents after the first so many share a sum: their names come from clients."""
_MOST_AGENTS = 1000
_LONGEST_NAME = 100
_DEAREST = 10**6
"""Dollars of one attempt: whatever is more is a mistake of a price or a provider."""
_TOLD = "told/"
"""What a sum that only says whether something was told already begins with."""


def nano_usd(usd: float) -> int:
    """Dollars as whole billionths, upwards."""
    return math.ceil(min(usd, _DEAREST) * NANO)


@dataclass(frozen=True, slots=True)
class Entries:
    """What is to go to the ledger, and the periods that are wanted back."""

    amounts: Mapping[Sum, int]
    periods: Sequence[str]


@dataclass(frozen=True, slots=True)
class Entered:
    """What the ledger says after it."""

    after: Mapping[Sum, int]
    sums: Mapping[str, Mapping[str, int]]
    """By period; those that could not be read are not there."""


def enter(ledger: Ledger, entries: Entries) -> Entered:
    """Add to the ledger and read it. This waits for the disk; whatever it raises, nothing was added."""
    after = ledger.add(entries.amounts) if entries.amounts else {}
    sums: dict[str, Mapping[str, int]] = {}
    try:
        for one in entries.periods:
            sums[one] = ledger.sums(one)
    except Exception:
        if not after:
            raise
    return Entered(after, sums)


@dataclass(slots=True)
class Spending:
    """What was spent, as far as this process knows. For one thread."""

    wall_clock: Callable[[], float]
    _kept: dict[Sum, int] = field(default_factory=dict)
    """As the ledger last said."""
    _waiting: Counter[Sum] = field(default_factory=Counter)
    """What has yet to go there."""
    _on_the_way: Counter[Sum] = field(default_factory=Counter)
    _set_aside: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """By request, then by scope."""
    _reserved: Counter[str] = field(default_factory=Counter)
    _agents: set[str] = field(default_factory=set)
    _agents_of: str = ""
    """The month whose agents those are."""
    _day: int = -1
    _periods: dict[Per, str] = field(default_factory=dict)
    """Of that day."""
    _untold: dict[Sum, Event] = field(default_factory=dict)
    _told: set[Sum] = field(default_factory=set)

    # What was spent --------------------------------------------------------------------------------------------------

    def spent(self, scope: str, per: Per) -> int:
        """What was spent in this day or month."""
        return self._sum((scope, self._now()[per]))

    def reserved(self, scope: str) -> int:
        """What is set aside for requests under way."""
        return self._reserved[scope]

    def scopes(self, per: Per) -> Mapping[str, int]:
        """Everything that was spent in this day or month, by scope."""
        now = self._now()[per]
        known = {of for of, over in (*self._kept, *self._on_the_way, *self._waiting) if over == now}
        return {of: self._sum((of, now)) for of in sorted(known) if not of.startswith(_TOLD)}

    def _now(self) -> Mapping[Per, str]:
        """The day and the month that it is."""
        wall = self.wall_clock()
        if wall // DAY != self._day:
            self._day, self._periods = int(wall // DAY), {per: period(per, wall) for per in EVERY}
        return self._periods

    def _sum(self, name: Sum) -> int:
        return self._kept.get(name, 0) + self._on_the_way[name] + self._waiting[name]

    def scope(self, by: str, name: str) -> str:
        """The scope of a name: `key/NAME`, `agent/NAME`, `provider/NAME`."""
        scope = f"{by}/{name[:_LONGEST_NAME]}"
        if by != "agent" or scope in self._agents:
            return scope
        month = self._now()["month"]
        if month != self._agents_of:
            self._agents, self._agents_of = set(), month
        if len(self._agents) >= _MOST_AGENTS:
            return OTHERS
        self._agents.add(scope)
        return scope

    # What happens ----------------------------------------------------------------------------------------------------

    def reserve(self, request_id: str, amounts: Mapping[str, int]) -> None:
        """Set something aside for a request that begins, until it has ended."""
        self._release(request_id)
        self._set_aside[request_id] = amounts
        self._reserved.update(amounts)

    def heard(self, event: Event) -> None:
        """A request ended: what it cost takes the place of what was set aside for it."""
        if not isinstance(event, RequestFinished):
            return
        self._release(event.subject.removeprefix("request/"))
        for scope, amount in self.costs(event):
            for over in self._now().values():
                self._waiting[scope, over] += amount

    def costs(self, event: RequestFinished) -> Iterator[tuple[str, int]]:
        """What a request cost, by each scope that it counts for."""
        by_provider = Counter[str]()
        for one in event.used:
            if one.cost_usd:
                by_provider[self.scope("provider", one.provider)] += nano_usd(one.cost_usd)
        if total := by_provider.total():
            yield from by_provider.items()
            yield ALL, total
            yield self.scope("key", event.client), total
            yield self.scope("agent", event.agent), total

    def _release(self, request_id: str) -> None:
        for scope, amount in self._set_aside.pop(request_id, {}).items():
            self._reserved[scope] -= amount
            if not self._reserved[scope]:
                del self._reserved[scope]

    def tell_once(self, what: Sum, event: Event) -> None:
        """Have an event told that is to be told once in a period, by one of all processes."""
        mark = _TOLD + what[0], what[1]
        if mark not in self._untold and mark not in self._told:
            self._untold[mark] = event
            self._waiting[mark] += 1

    # With the ledger -------------------------------------------------------------------------------------------------

    def take(self) -> Entries:
        """What is to go to the ledger now. `settle` or `lost` must follow before this is asked again."""
        self._on_the_way, self._waiting = self._waiting, Counter()
        return Entries(dict(self._on_the_way), tuple(self._now().values()))

    def settle(self, entered: Entered) -> list[Event]:
        """The ledger has it. What may be told now."""
        current = set(entered.sums)
        kept = {name: total for name, total in self._kept.items() if name[1] not in current}
        kept.update(entered.after)
        for over, totals in entered.sums.items():
            kept.update({(of, over): total for of, total in totals.items()})
        periods = self._now().values()
        self._kept = {name: total for name, total in kept.items() if name[1] in periods}
        self._on_the_way = Counter()
        first = [name for name in self._untold if entered.after.get(name) == 1]
        return self._tell(first, forget=[name for name in self._untold if name in entered.after])

    def lost(self) -> list[Event]:
        """The ledger could not be written: what was on the way waits on. What must be told all the same."""
        self._on_the_way.update(self._waiting)
        self._waiting, self._on_the_way = self._on_the_way, Counter()
        return self._tell(list(self._untold), forget=list(self._untold))

    def _tell(self, names: list[Sum], *, forget: list[Sum]) -> list[Event]:
        events = [self._untold[name] for name in names]
        for name in forget:
            del self._untold[name]
            self._told.add(name)
        periods = self._now().values()
        self._told = {name for name in self._told if name[1] in periods}
        return events
