"""Circuits that several processes decide together, through a store.

The store holds the truth; each process keeps the last that it saw and goes by it. A healthy call asks nobody. What
changes a circuit is decided in the store, in one atomic step; what others changed is looked up at intervals.

A store that fails is lost: every process goes on with its own circuits, and nothing of that reaches a caller. No caller
waits for a store that is lost; the looking thread finds out when it takes what is written again, and makes known what
happened meanwhile. While it is lost, every process may have half-open permits of its own out.

Locks are taken in this order: a breaker's, then the store's or the one here. None is held while listeners are told.
"""

import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from recloser.breaker.forks import set_up_anew
from recloser.breaker.listeners import Outbox
from recloser.breaker.looking import Looking
from recloser.breaker.owner import gone, new_owner, retire
from recloser.breaker.reports import report_once
from recloser.core.circuit import reclaim
from recloser.core.circuit_sharing import (
    adopted,
    agreed,
    announcement,
    concerns_others,
    follows,
    retried,
    same_phase,
    versioned,
)
from recloser.core.circuit_state import Circuit, CircuitState, Denied, Permit, Step
from recloser.core.events import Event, StoreLost, StoreRegained
from recloser.ports import Clock, Store

T = TypeVar("T")
Change = Callable[[Circuit], tuple[Step, T]]
Heard = Callable[[str, Circuit], None]
Known = Callable[[], Iterable[tuple[str, Circuit]]]

LOOK_EVERY = 0.5
"""Seconds between two looks at what other processes have changed."""
COMPARE_EVERY = 300.0
"""Seconds after which a look compares everything, not only what has changed: whatever was missed ends here."""
TRY_AGAIN_AFTER = 1.0
"""Seconds after which it is worth asking again, for whom a store that fails keeps from a half-open permit."""
MOST_ALONE = 10_000
"""Circuits kept for a store that is lost; the first of them give way."""
_OVERLAP = 5.0
"""How much of the past each look goes over again: longer than a store lets anybody write."""


class _Alone(NamedTuple):
    """What became of a circuit without the store."""

    mine: Circuit
    common: Circuit
    """The last of it that the store is known to have had."""


class Sharing:
    """One process's part in the circuits of a store."""

    def __init__(self, store: Store, clock: Clock, outbox: Outbox, *, look_every: float | None = LOOK_EVERY) -> None:
        self._store = store
        self._clock = clock
        self._outbox = outbox
        self._look_every = look_every
        self._looking: Looking | None = None
        self.owner = new_owner(self)
        """Who the half-open permits of this process belong to."""
        self._lock = threading.RLock()  # a finaliser may come back here in the same thread
        self._asking: set[int] = set()
        """The threads that are in the store: a finaliser must not go there once more."""
        self._closed = self._lost = False
        self._losses = 0
        self._fault: Exception | None = None
        self._alone: dict[str, _Alone] = {}
        self._heard: Heard = _nobody
        self._known: Known = tuple
        self._looked_at = self._compared_at = -float("inf")
        self._seq = int(clock.time() * 1000)  # goes on over restarts
        set_up_anew(self)

    @property
    def lost(self) -> bool:
        """Whether the store failed the last time it was asked."""
        return self._lost

    # Deciding. The lock of the circuit's breaker is held.

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
        if self._begin_asking():
            pending = self._take_back(name)
            try:
                return self._decided(name, mine, pending.common if pending else mine, change, now, held)
            except Exception as error:  # noqa: BLE001 - a store is a stranger; its failure must never reach a caller
                self._failed(error, name, pending)
                if isinstance(alone[1], Permit) and alone[1].number:
                    denied = Denied(mine.state, TRY_AGAIN_AFTER, "the shared state does not answer", mine.last_kind)
                    alone = Step(mine), denied  # type: ignore[assignment]  # T is Permit | Denied here
            finally:
                self._end_asking()
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
        """Take back what nobody holds: the permits of processes that ended, and ours of which we never learned."""
        over = {x for x in circuit.leases if (x.number not in held if x.owner == self.owner else gone(x.owner))}
        return reclaim(circuit, name, now, over.__contains__) if over else Step(circuit)

    def _decided(
        self, name: str, mine: Circuit, common: Circuit, change: Change[T], now: float, held: Collection[int]
    ) -> tuple[Step, T]:
        ahead = self._ahead()
        decided: list[tuple[Step, T]] = []

        def in_store(stored: Circuit) -> Circuit:
            found = stored.shifted(-ahead)
            base = agreed(found, mine, common, self.owner)
            seen: tuple[Event, ...] = () if same_phase(base, mine) else (announcement(base, name, now),)
            step, answer = self._stepped(name, base, change, now, held)
            after = versioned(base, step.circuit) if concerns_others(base, step.circuit) else step.circuit
            decided.append((Step(after, (*seen, *step.events)), answer))
            return replace(after, window=()).shifted(ahead) if concerns_others(adopted(found, mine), after) else stored

        self._store.update(name, in_store)
        return decided[-1]

    def _without_store(self, name: str, mine: Circuit, alone: tuple[Step, T]) -> tuple[Step, T]:
        step, answer = alone
        after = versioned(mine, step.circuit) if concerns_others(mine, step.circuit) else step.circuit
        with self._lock:
            before = self._take_back(name)
            if not self._closed:
                self._keep(name, _Alone(after, before.common if before else mine))
        return Step(after, step.events), answer

    def takes_over(self, name: str, theirs: Circuit, mine: Circuit) -> bool:
        """Whether a circuit that was heard of takes the place of this one. If neither can, the store settles it."""
        with self._lock:
            if self._closed or name in self._alone:
                return False
            if follows(theirs, mine):
                return theirs.seq > mine.seq
            self._keep(name, _Alone(mine, mine))
            return False

    def _keep(self, name: str, alone: _Alone) -> None:
        """Keep a circuit to be made known. The lock is held."""
        if len(self._alone) >= MOST_ALONE:
            del self._alone[next(iter(self._alone))]
        self._alone[name] = alone

    def _take_back(self, name: str) -> _Alone | None:
        with self._lock:
            return self._alone.pop(name, None)

    # Looking. No lock is held.

    def load(self, only: str | None = None) -> dict[str, Circuit]:
        """Every stored circuit, or the one, taken over for this process and its clock; none if the store fails."""
        try:
            stored = self._changed(None)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
            stored = {}
        self.tell()
        return {name: self._taken_over(name, circuit) for name, circuit in stored.items() if only in (None, name)}

    def _taken_over(self, name: str, circuit: Circuit) -> Circuit:
        mine = retried(circuit, self._clock.monotonic())
        if mine is not circuit:
            mine = versioned(circuit, mine)
            with self._lock:
                self._keep(name, _Alone(mine, circuit))
        return mine

    def watch(self, heard: Heard, known: Known) -> None:
        """Call `heard` with every circuit that others change, from a thread of its own, until this is closed.

        `known` gives the circuits that are here: the store may have forgotten some of them.
        """
        self._heard, self._known = heard, known
        if self._look_every is not None:
            self._looking = Looking(self, self._look_every)

    def look(self) -> None:
        """See what others have changed, and tell the store what became of circuits while it failed."""
        if not self._begin_asking(lost_too=True):
            return
        losses = self._losses
        changed: Mapping[str, Circuit] = {}
        try:
            self._make_known()
            everything = self._lost or self._store.now() - self._compared_at >= COMPARE_EVERY
            changed = self._changed(None if everything else self._looked_at - _OVERLAP)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
        else:
            self._answered(losses)
            if everything:
                self._make_up_for(changed)
        finally:
            self._end_asking()
        self.tell()
        for name, circuit in changed.items():
            self._pass_on(name, circuit)

    def _changed(self, since: float | None) -> Mapping[str, Circuit]:
        """What is stored, on this process's clock."""
        now = self._store.now()
        stored = self._store.load(since)
        ahead = self._ahead()
        self._looked_at = now
        if since is None:
            self._compared_at = now
        return {name: circuit.shifted(-ahead) for name, circuit in stored.items()}

    def _pass_on(self, name: str, circuit: Circuit) -> None:
        try:
            self._heard(name, circuit)
        except Exception as error:  # noqa: BLE001 - the settings of a new name come from a function of the user's
            report_once(self._heard, "settings for", error)

    def _make_up_for(self, stored: Mapping[str, Circuit]) -> None:
        """Have made known what the store has forgotten and others ought to know."""
        for name, mine in self._known():
            if name not in stored and mine.seq and (mine.state is not CircuitState.CLOSED or mine.failures):
                with self._lock:
                    if name not in self._alone:
                        self._keep(name, _Alone(mine, mine))

    def _make_known(self) -> None:
        """Store what was decided without the store; bring together what went apart."""
        with self._lock:
            alone = list(self._alone.items())
        for name, entry in alone:
            self._settle(name, entry)

    def _settle(self, name: str, entry: _Alone) -> None:
        ahead = self._ahead()
        runs: list[Circuit | None] = []

        def settled(stored: Circuit) -> Circuit:
            """What is stored then. A new object in any case, so that the store is seen to take it."""
            runs.append(None)
            if self._alone.get(name) is not entry:
                return replace(stored)  # a decision was quicker
            runs[-1] = after = agreed(stored.shifted(-ahead), entry.mine, entry.common, self.owner)
            return replace(after, window=()).shifted(ahead)

        self._store.update(name, settled)
        with self._lock:
            present = self._alone.get(name)
            if present is entry:
                del self._alone[name]
            elif present is not None and runs[-1] is entry.mine:
                self._alone[name] = present._replace(common=entry.mine)
        if not runs:
            raise RuntimeError("the store has changed nothing")

    # The store

    def _ahead(self) -> float:
        """How far the store's clock is ahead of this process's."""
        before = self._clock.monotonic()
        stores = self._store.now()
        if not math.isfinite(stores):
            raise ValueError(f"the store's clock says {stores!r}")
        return stores - (before + self._clock.monotonic()) / 2

    def _begin_asking(self, *, lost_too: bool = False) -> bool:
        me = threading.get_ident()
        with self._lock:
            if self._closed or me in self._asking or (self._lost and not lost_too):
                return False
            self._asking.add(me)
            return True

    def _end_asking(self) -> None:
        with self._lock:
            self._asking.discard(threading.get_ident())

    def _failed(self, error: Exception, name: str = "", pending: _Alone | None = None) -> None:
        with self._lock:
            self._losses += 1
            if pending is not None:
                self._keep(name, pending)
            if self._lost or self._closed:
                return
            self._lost = True
            self._fault = error
            self._seq += 1
            reason = f"{type(error).__name__}: {error}"
            self._outbox.put((StoreLost(subject="store", seq=self._seq, reason=reason),))

    def _answered(self, losses: int) -> None:
        """The store answers again, unless it has failed somebody else meanwhile."""
        with self._lock:
            if self._lost and self._losses == losses:
                self._lost = False
                self._seq += 1
                self._outbox.put((StoreRegained(subject="store", seq=self._seq),))

    def tell(self) -> None:
        """Tell that the store was lost or regained; the log, if nobody listens. No lock is held."""
        fault, self._fault = self._fault, None
        if fault is not None and not self._outbox._listeners.all:
            report_once(self._store, "store", fault)
        self._outbox.tell()

    def close(self) -> None:
        """Tell the store what is still to be told, and let go of it. What is decided from then on stays here."""
        with self._lock:
            if self._closed:
                return
            looking, self._looking = self._looking, None
        looked = looking is None or looking.end(timeout=5.0)
        self._begin_asking(lost_too=True)
        try:
            self._make_known()
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
        finally:
            self._end_asking()
        with self._lock:
            self._closed = True
        retire(self.owner)
        if looked:  # else it is still in use
            self._store.close()
        self.tell()

    def forked(self) -> None:
        """This is a copy of the process: another owner, with locks and a thread of its own."""
        self._lock = threading.RLock()
        self._asking = set()
        self._outbox.forked()
        self.owner = new_owner(self)
        if self._looking is not None and self._look_every is not None:
            self._looking = Looking(self, self._look_every)


def _nobody(_name: str, _circuit: Circuit) -> None:
    """Hears nothing."""


def sharing(store: "str | Store | Sharing", clock: Clock, outbox: Outbox) -> Sharing:
    """The part of this process in the circuits of a store, given by URL or as it is.

    A store that cannot be opened now is a store that is lost. ConfigError for a URL that is none.
    """
    if isinstance(store, Sharing):
        return store
    if isinstance(store, str):
        from recloser.stores.late import LateStore  # noqa: PLC0415 - SQLite is loaded by those who use it

        store = LateStore(store, clock)
    return Sharing(store, clock, outbox)
