"""Circuits that several processes decide together, through a store.

The store holds the truth; each process keeps the last that it saw and goes by it. A healthy call asks nobody. What
changes a circuit is decided in the store, in one atomic step; what others changed is looked up at intervals. While the
store fails every process goes on with its own circuits, and nothing of that reaches a caller.
"""

import threading
import weakref
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar

from recloser.breaker.listeners import Outbox
from recloser.breaker.owner import gone, new_owner
from recloser.core.circuit import reclaim
from recloser.core.circuit_sharing import agreed, announcement, retried, versioned
from recloser.core.circuit_state import Circuit, Denied, Lease, Permit, Step
from recloser.core.events import Event, StoreLost, StoreRegained
from recloser.ports import Clock, Store

T = TypeVar("T")
Heard = Callable[[str, Circuit], None]

LOOK_EVERY = 0.5
"""Seconds between two looks at what other processes have changed."""
TRY_AGAIN_AFTER = 1.0
"""Seconds for which a store that failed is left alone."""
_OVERLAP = 5.0
"""How much of the past each look goes over again: longer than a store lets anybody write."""


class Sharing:
    """One process's part in the circuits of a store."""

    def __init__(self, store: Store, clock: Clock, outbox: Outbox, *, look_every: float | None = LOOK_EVERY) -> None:
        self._store = store
        self._clock = clock
        self._outbox = outbox
        self._look_every = look_every
        self.owner = new_owner()
        """Who the half-open permits of this process belong to."""
        self._lock = threading.Lock()
        self._try_again_at = -float("inf")
        self._lost = False
        self._alone: dict[str, Circuit] = {}
        """What became of circuits while the store failed."""
        self._heard: list[Heard] = []
        self._looked_at: float | None = None
        self._seq = int(clock.time() * 1000)  # goes on over restarts
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Whether the store failed the last time it was asked."""
        return self._lost

    def decide(
        self,
        name: str,
        mine: Circuit,
        change: Callable[[Circuit], tuple[Step, T]],
        alone: tuple[Step, T],
        held: Collection[int],
    ) -> tuple[Step, T]:
        """Run a decision in the store; give what it leads to here.

        `alone` is what the decision would be without the store, and is what happens if the store fails; except that no
        half-open permit is given out while it is only just failing. `held`: the half-open permits that are out here.
        """
        waiting = self._lost and self._clock.monotonic() < self._try_again_at
        if not waiting:
            try:
                decided = self._decided(name, mine, change, held)
            except Exception as error:  # noqa: BLE001 - a store is a stranger; its failure must never reach a caller
                just_lost = not self._lost
                self._failed(error)
                if just_lost and isinstance(alone[1], Permit) and alone[1].number:
                    denied = Denied(mine.state, TRY_AGAIN_AFTER, "the shared state does not answer", mine.last_kind)
                    return Step(mine), denied  # type: ignore[return-value]  # T is Permit | Denied here
            else:
                self._answered()
                return decided
        with self._lock:
            self._alone[name] = alone[0].circuit
        return alone

    def _decided(
        self, name: str, mine: Circuit, change: Callable[[Circuit], tuple[Step, T]], held: Collection[int]
    ) -> tuple[Step, T]:
        now = self._clock.monotonic()
        ahead = self._store.now() - now
        decided: list[tuple[Step, T]] = []

        def in_store(stored: Circuit) -> Circuit:
            base = agreed(stored.shifted(-ahead), mine)
            seen: tuple[Event, ...] = ()
            if base.generation != mine.generation:
                seen = (announcement(base, name, now),)
            freed, expired = reclaim(base, name, now, lambda lease: self._is_gone(lease, held))
            step, answer = change(freed)
            if step.circuit is base:
                decided.append((Step(base, seen), answer))
                return stored
            after = versioned(base, step.circuit)
            decided.append((Step(after, (*seen, *expired, *step.events)), answer))
            return replace(after, window=()).shifted(ahead)

        self._store.update(name, in_store)
        return decided[-1]

    def _is_gone(self, lease: Lease, held: Collection[int]) -> bool:
        """Whether nobody holds the permit: its process has ended, or ours never learned that it was granted."""
        return lease.number not in held if lease.owner == self.owner else gone(lease.owner)

    def load(self) -> dict[str, Circuit]:
        """Every stored circuit on this process's clock; none if the store fails."""
        try:
            ahead = self._store.now() - self._clock.monotonic()
            self._looked_at = self._store.now()
            stored = self._store.load()
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
            return {}
        return {name: self._taken_over(name, circuit.shifted(-ahead)) for name, circuit in stored.items()}

    def _taken_over(self, name: str, circuit: Circuit) -> Circuit:
        mine = retried(circuit, self._clock.monotonic())
        if mine is not circuit:
            mine = self._alone[name] = versioned(circuit, mine)
        return mine

    def watch(self, heard: Heard) -> None:
        """Call `heard` with every circuit that others change, from a thread of its own, until this is closed."""
        self._heard.append(heard)
        if self._thread is None and self._look_every is not None:
            stop, every, me = self._stop, self._look_every, weakref.ref(self)
            self._thread = threading.Thread(target=_look_on, args=(me, stop, every), name="recloser-store", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """See what others have changed, and tell the store what became of circuits while it failed."""
        if not self._lost or self._clock.monotonic() >= self._try_again_at:
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(error)
            else:
                self._answered()
        self._outbox.tell()

    def _look(self) -> None:
        self._make_known()
        now = self._store.now()
        changed = self._store.load(None if self._looked_at is None else self._looked_at - _OVERLAP)
        self._looked_at = now
        behind = self._clock.monotonic() - now
        for name, circuit in changed.items():
            for heard in self._heard:
                heard(name, circuit.shifted(behind))

    def close(self) -> None:
        """Tell the store what is still to be told, and let go of it."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        try:
            self._make_known()
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
            self._outbox.tell()
        self._store.close()

    def _make_known(self) -> None:
        """Store what was decided without the store, where nothing newer is stored."""
        for name, mine in list(self._alone.items()):
            ahead = self._store.now() - self._clock.monotonic()

            def newer(stored: Circuit, mine: Circuit = mine, ahead: float = ahead) -> Circuit:
                return stored if stored.seq >= mine.seq else replace(mine, window=()).shifted(ahead)

            self._store.update(name, newer)
            with self._lock:
                if self._alone.get(name) is mine:
                    del self._alone[name]

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self._try_again_at = self._clock.monotonic() + TRY_AGAIN_AFTER
            if self._lost:
                return
            self._lost = True
            self._seq += 1
            reason = f"{type(error).__name__}: {error}"
            self._outbox.put((StoreLost(subject="store", seq=self._seq, reason=reason),))

    def _answered(self) -> None:
        if not self._lost:
            return
        with self._lock:
            if self._lost:
                self._lost = False
                self._seq += 1
                self._outbox.put((StoreRegained(subject="store", seq=self._seq),))


def _look_on(me: "weakref.ref[Sharing]", stop: threading.Event, every: float) -> None:
    """Look at intervals for as long as somebody needs it."""
    while not stop.wait(every):
        sharing = me()
        if sharing is None:
            return
        sharing.look()
        del sharing


def sharing(store: "str | Store | Sharing", clock: Clock, outbox: Outbox) -> Sharing:
    """The part of this process in the circuits of a store, given by URL or as it is."""
    if isinstance(store, Sharing):
        return store
    if isinstance(store, str):
        from recloser.stores import open_store  # noqa: PLC0415 - SQLite is loaded by those who use it

        store = open_store(store)
    return Sharing(store, clock, outbox)
