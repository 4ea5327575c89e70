"""Circuits that several processes decide together, through a store.

The store holds the truth; each process keeps the last that it saw and goes by it. A healthy call asks nobody. What
changes a circuit is decided in the store, in one atomic step; what others changed is looked up at intervals.

While the store is lost every process goes on with its own circuits, and may have half-open permits of its own out.
What becomes of them is kept, and made known when the store is back. Nothing of that reaches a caller.

Locks are taken in this order: a circuit's, then the store's or that of the access. None is held while listeners are
told.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from recloser.breaker.access import LOOK_EVERY, Access, shared
from recloser.breaker.clock import SystemClock
from recloser.breaker.forks import set_up_anew
from recloser.breaker.listeners import Outbox
from recloser.breaker.owner import gone, new_owner, retire
from recloser.breaker.reports import report_once
from recloser.core.circuit import reclaim
from recloser.core.circuit_sharing import (
    adopted,
    agreed,
    announcement,
    concerns_others,
    follows,
    of_new_history,
    retried,
    same_phase,
    versioned,
)
from recloser.core.circuit_state import Circuit, CircuitState, Denied, Permit, Step
from recloser.core.events import Event
from recloser.ports import Clock, Store

T = TypeVar("T")
Change = Callable[[Circuit], tuple[Step, T]]
Heard = Callable[[str, Circuit], None]
Known = Callable[[], Iterable[tuple[str, Circuit]]]

TRY_AGAIN_AFTER = 1.0
"""Seconds after which it is worth asking again, for whom a store that fails keeps from a half-open permit."""
MOST_ALONE = 10_000
"""Circuits kept for a store that is lost; the first of them give way."""


class _Alone(NamedTuple):
    """What became of a circuit without the store."""

    mine: Circuit
    common: Circuit
    """The last of it that the store is known to have had."""


class Sharing:
    """The part that a breaker, or a registry of them, has in the circuits of a store."""

    def __init__(self, access: Access, clock: Clock, outbox: Outbox, only: str | None = None) -> None:
        self.access = access
        self._clock = clock
        self.outbox = outbox
        self._only = only
        self.owner = new_owner(self)
        """Who the half-open permits that are out here belong to."""
        self._closed = False
        self._alone: dict[str, _Alone] = {}
        self._heard: Heard = _nobody
        self._known: Known = tuple
        access.join(self)
        set_up_anew(self)

    @property
    def lost(self) -> bool:
        """Whether the store failed the last time it was asked."""
        return self.access.lost

    # Deciding. The circuit's lock is held.

    def decide(
        self,
        name: str,
        mine: Circuit,
        change: Change[T],
        now: float,
        held: Collection[int],
        *,
        always: bool = False,
    ) -> tuple[Step, T]:
        """Run a decision, in the store if it concerns others or `always`; give what it leads to here.

        While the store is lost the decision is made without it; but no half-open permit is given out by the decision
        that loses it, for the store may have given that out all the same. `held`: the half-open permits that are out.
        """
        alone = self._stepped(name, mine, change, now, held)
        if not (always or concerns_others(mine, alone[0].circuit)):
            return alone
        if not self._closed and self.access.begin():
            pending = self._take_back(name)
            try:
                return self._decided(name, mine, pending.common if pending else mine, change, now, held)
            except Exception as error:  # noqa: BLE001 - a store is a stranger; its failure must never reach a caller
                if pending is not None:
                    self._keep(name, pending)
                self.access.failed(error)
                if isinstance(alone[1], Permit) and alone[1].number:
                    denied = Denied(mine.state, TRY_AGAIN_AFTER, "the shared state does not answer", mine.last_kind)
                    alone = Step(mine), denied  # type: ignore[assignment]  # T is Permit | Denied here
            finally:
                self.access.end()
        return self._without_store(name, mine, alone)

    def living(self, circuit: Circuit, held: Collection[int]) -> Circuit:
        """The circuit without the permits that nobody holds any more."""
        return self._freed("", circuit, -float("inf"), held).circuit if circuit.leases else circuit

    def _stepped(
        self, name: str, circuit: Circuit, change: Change[T], now: float, held: Collection[int]
    ) -> tuple[Step, T]:
        freed, expired = self._freed(name, circuit, now, held)
        step, answer = change(freed)
        return Step(step.circuit, (*expired, *step.events)), answer

    def _freed(self, name: str, circuit: Circuit, now: float, held: Collection[int]) -> Step:
        """Take back what nobody holds: the permits of owners that ended, and ours of which we never learned."""
        over = {x for x in circuit.leases if (x.number not in held if x.owner == self.owner else gone(x.owner))}
        return reclaim(circuit, name, now, over.__contains__) if over else Step(circuit)

    def _decided(
        self, name: str, mine: Circuit, common: Circuit, change: Change[T], now: float, held: Collection[int]
    ) -> tuple[Step, T]:
        ahead = self.access.ahead()
        decided: list[tuple[Step, T]] = []

        def in_store(stored: Circuit) -> Circuit:
            found = stored.shifted(-ahead)
            base = agreed(found, mine, common, self.owner)
            seen: tuple[Event, ...] = () if same_phase(base, mine) else (announcement(base, name, now),)
            step, answer = self._stepped(name, base, change, now, held)
            after = versioned(base, step.circuit) if concerns_others(base, step.circuit) else step.circuit
            if stored.seq < common.seq:
                after = of_new_history(after)
            decided.append((Step(after, (*seen, *step.events)), answer))
            return replace(after, window=()).shifted(ahead) if concerns_others(adopted(found, mine), after) else stored

        self.access.update(name, in_store)
        return decided[-1]

    def _without_store(self, name: str, mine: Circuit, alone: tuple[Step, T]) -> tuple[Step, T]:
        step, answer = alone
        after = versioned(mine, step.circuit) if concerns_others(mine, step.circuit) else step.circuit
        with self.access.lock:
            before = self._take_back(name)
            if not self._closed:
                self._keep(name, _Alone(after, before.common if before else mine))
        return Step(after, step.events), answer

    def takes_over(self, name: str, theirs: Circuit, mine: Circuit) -> bool:
        """Whether a circuit that was heard of takes the place of this one. If neither can, the store settles it."""
        with self.access.lock:
            if self._closed or name in self._alone:
                return False
            if follows(theirs, mine):
                return theirs.seq > mine.seq
            self._keep(name, _Alone(mine, mine))
            return False

    def _keep(self, name: str, alone: _Alone) -> None:
        """Keep a circuit to be made known."""
        with self.access.lock:
            if len(self._alone) >= MOST_ALONE:
                del self._alone[next(iter(self._alone))]
            self._alone[name] = alone

    def _take_back(self, name: str) -> _Alone | None:
        with self.access.lock:
            return self._alone.pop(name, None)

    # Looking. No lock is held.

    def load(self) -> dict[str, Circuit]:
        """Every stored circuit that is of interest here, taken over for this process; none if the store fails."""
        stored = self.access.load()
        self.tell()
        names = stored if self._only is None else {self._only} & stored.keys()
        return {name: self._taken_over(name, stored[name]) for name in names}

    def _taken_over(self, name: str, circuit: Circuit) -> Circuit:
        mine = retried(circuit, self._clock.monotonic())
        if mine is not circuit:
            mine = versioned(circuit, mine)
            self._keep(name, _Alone(mine, circuit))
        return mine

    def watch(self, heard: Heard, known: Known) -> None:
        """Call `heard` with every circuit that others change, from a thread of its own, until this is closed.

        `known` gives the circuits that are here: the store may have forgotten some of them.
        """
        self._heard, self._known = heard, known
        self.access.watch()

    def look(self) -> None:
        """Look now."""
        self.access.look()

    def make_known(self) -> None:
        """Store what was decided without the store; bring together what went apart."""
        with self.access.lock:
            alone = list(self._alone.items())
        ahead = self.access.ahead() if alone else 0.0
        for name, entry in alone:
            try:
                self._settle(name, entry, ahead)
            except (TypeError, ValueError, RecursionError) as error:  # no fault of the store's: this cannot be written
                report_once(entry.mine, f"store of {name!r}, which cannot be shared", error)
                self._take_back(name)

    def _settle(self, name: str, entry: _Alone, ahead: float) -> None:
        runs: list[Circuit | None] = []

        def settled(stored: Circuit) -> Circuit:
            """What is stored then. A new object in any case, so that the store is seen to take it."""
            runs.append(None)
            if self._alone.get(name) is not entry:
                return replace(stored)  # a decision was quicker
            after = agreed(stored.shifted(-ahead), entry.mine, entry.common, self.owner)
            runs[-1] = after = of_new_history(after) if stored.seq < entry.common.seq else after
            return replace(after, window=()).shifted(ahead)

        self.access.update(name, settled)
        with self.access.lock:
            present = self._alone.get(name)
            if present is entry:
                del self._alone[name]
            elif present is not None and runs[-1] is entry.mine:
                self._alone[name] = present._replace(common=entry.mine)
        if not runs:
            raise RuntimeError("the store has changed nothing")

    def hear(self, stored: Mapping[str, Circuit], *, everything: bool) -> None:
        """Take over what others have changed. Where that is everything, tell the store what it has forgotten."""
        if everything:
            for name, mine in self._known():
                if name not in stored and mine.seq and (mine.state is not CircuitState.CLOSED or mine.failures):
                    with self.access.lock:
                        if name not in self._alone:
                            self._keep(name, _Alone(mine, mine))
        for name in stored if self._only is None else {self._only} & stored.keys():
            try:
                self._heard(name, stored[name])
            except Exception as error:  # noqa: BLE001 - the settings of a new name come from a function of the user's
                report_once(self._heard, "settings for", error)

    def tell(self) -> None:
        """Tell that the store was lost or regained. No lock is held."""
        self.access.report()
        self.outbox.tell()

    def close(self) -> None:
        """Tell the store what is still to be told, and let go of it. What is decided from then on stays here."""
        with self.access.lock:
            if self._closed:
                return
        if self.access.begin(lost_too=True):
            try:
                self.make_known()
            except Exception as error:  # noqa: BLE001 - as above
                self.access.failed(error)
            finally:
                self.access.end()
        self._closed = True
        retire(self.owner)
        self.tell()
        self.access.leave(self)

    def forked(self) -> None:
        """This is a copy of the process: another owner."""
        self.outbox.forked()
        self.owner = new_owner(self)


def _nobody(_name: str, _circuit: Circuit) -> None:
    """Hears nothing."""


def sharing(store: "str | Store | Sharing", clock: Clock, outbox: Outbox, only: str | None = None) -> Sharing:
    """A part in the circuits of a store, given by URL or as it is; `only` in that of one name.

    All of a process that use one store and one clock share the way there. A store that cannot be opened now is a store
    that is lost. ConfigError for a URL that is none.
    """
    if isinstance(store, Sharing):
        return store
    timed = None if isinstance(clock, SystemClock) else id(clock)
    if not isinstance(store, str):
        return Sharing(shared((id(store), timed), lambda: Access(store, clock, LOOK_EVERY)), clock, outbox, only)
    from recloser.stores.late import LateStore  # noqa: PLC0415 - SQLite is loaded by those who use it

    late = LateStore(store, clock)
    where = late if store == "memory:" else late.place  # what is in memory is a store of its own each time
    return Sharing(shared((where, timed), lambda: Access(late, clock, LOOK_EVERY)), clock, outbox, only)
