"""One process's way to a store: whether it answers, and a thread that looks what others have changed.

A store that fails is lost. No caller asks a store that is lost: it may hang for a second each time, and a whole event
loop with it. The look asks, and it is back once it has taken what there was to write.

All circuits of a process that are in one store go one way, however many breakers and registries they belong to.
"""

import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Protocol

from recloser.breaker.forks import set_up_anew
from recloser.breaker.listeners import Outbox
from recloser.breaker.looking import Looking
from recloser.breaker.reports import report_once
from recloser.core.circuit_state import Circuit
from recloser.core.events import StoreLost, StoreRegained
from recloser.ports import Clock, Store

LOOK_EVERY = 0.5
"""Seconds between two looks at what other processes have changed."""
COMPARE_EVERY = 300.0
"""Seconds after which a look compares everything, not only what has changed: whatever was missed ends here."""
_OVERLAP = 5.0
"""How much of the past each look goes over again: longer than a store lets anybody write."""


class Member(Protocol):
    """Somebody whose circuits are in the store."""

    outbox: Outbox

    def make_known(self) -> None:
        """Store what was decided without the store. Raises what the store raises."""
        ...

    def hear(self, stored: Mapping[str, Circuit], *, everything: bool) -> None:
        """Take over what others have changed; `everything` says that there is nothing else in the store."""
        ...


class Access:
    """The way to a store. Closed with the last member that leaves, and let go of with the last that is forgotten."""

    def __init__(self, store: Store, clock: Clock, look_every: float | None = LOOK_EVERY) -> None:
        self._store = store
        self._clock = clock
        self._look_every = look_every
        self._looking: Looking | None = None
        self.lock = threading.RLock()  # a finaliser may come back here in the same thread
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        self._asking: set[int] = set()
        """The threads that are in the store: a finaliser must not go there once more."""
        self.lost = False
        """Whether the store failed the last time it was asked."""
        self.closed = False
        self._losses = 0
        self._fault: Exception | None = None
        self._reason = ""
        self._seq = int(clock.time() * 1000)  # goes on over restarts
        self._looked_at = self._compared_at = -math.inf
        self._read_lately: tuple[float, Mapping[str, Circuit]] | None = None
        set_up_anew(self)

    # Members

    def join(self, member: Member) -> None:
        """Somebody's circuits are in the store from now on."""
        with self.lock:
            self._members.add(member)
            if self.lost:
                member.outbox.put((self._loss(),))

    def leave(self, member: Member) -> None:
        """Somebody has closed. The last one closes the store."""
        with self.lock:
            self._members.discard(member)
            if self._members or self.closed:
                return
            self.closed = True
            looking, self._looking = self._looking, None
        if looking is None or looking.end(timeout=5.0):  # else it is still in use
            try:
                self._store.close()
            except Exception as error:  # noqa: BLE001 - a store is a stranger; its failure must never reach a caller
                report_once(self._store, "store", error)

    def watch(self) -> None:
        """Look at intervals from now on."""
        with self.lock:
            if self._looking is None and self._look_every is not None and not self.closed:
                self._looking = Looking(self, self._look_every)

    def _present(self) -> list[Member]:
        with self.lock:
            return list(self._members)

    # Asking

    def begin(self, *, lost_too: bool = False) -> bool:
        """Whether this thread may ask the store now; if so, it says `end` after that."""
        me = threading.get_ident()
        with self.lock:
            if self.closed or me in self._asking or (self.lost and not lost_too):
                return False
            self._asking.add(me)
            return True

    def end(self) -> None:
        """This thread asks no more."""
        with self.lock:
            self._asking.discard(threading.get_ident())

    def ahead(self) -> float:
        """How far the store's clock is ahead of this process's."""
        before = self._clock.monotonic()
        stores = self._store.now()
        if not math.isfinite(stores):
            raise ValueError(f"the store's clock says {stores!r}")
        return stores - (before + self._clock.monotonic()) / 2

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> None:
        """Replace a stored circuit by `change` of it."""
        self._read_lately = None
        self._store.update(name, change)

    def load(self) -> Mapping[str, Circuit]:
        """Every stored circuit, as it was within the last half second; none while the store is lost."""
        lately = self._read_lately
        if lately is not None and time.monotonic() - lately[0] < LOOK_EVERY:
            return lately[1]
        if not self.begin():
            return {}
        try:
            stored = self._changed(None)
        except Exception as error:  # noqa: BLE001 - as above
            self.failed(error)
            return {}
        finally:
            self.end()
        self._read_lately = time.monotonic(), stored
        return stored

    def look(self) -> None:
        """See what others have changed, and tell the store what became of circuits while it failed."""
        if not self.begin(lost_too=True):
            return
        members, losses, everything = self._present(), self._losses, False
        self._read_lately = None
        stored: Mapping[str, Circuit] = {}
        try:
            for member in members:
                member.make_known()
            due = self._store.now() - self._compared_at >= COMPARE_EVERY
            everything = self.lost or due
            stored = self._changed(None if everything else self._looked_at - _OVERLAP)
        except Exception as error:  # noqa: BLE001 - as above
            self.failed(error)
            everything = False
        else:
            self._answered(losses)
        finally:
            self.end()
        self.report()
        for member in members:
            member.outbox.tell()
            member.hear(stored, everything=everything)

    def _changed(self, since: float | None) -> Mapping[str, Circuit]:
        """What is stored, on this process's clock."""
        now = self._store.now()
        stored = self._store.load(since)
        ahead = self.ahead()
        self._looked_at = now
        if since is None:
            self._compared_at = now
        return {name: circuit.shifted(-ahead) for name, circuit in stored.items()}

    # Losing it

    def failed(self, error: Exception) -> None:
        """The store has failed somebody."""
        with self.lock:
            self._losses += 1
            if self.lost or self.closed:
                return
            self.lost, self._fault, self._reason = True, error, f"{type(error).__name__}: {error}"
            self._seq += 1
            for member in self._present():
                member.outbox.put((self._loss(),))

    def _loss(self) -> StoreLost:
        return StoreLost(subject="store", seq=self._seq, reason=self._reason)

    def _answered(self, losses: int) -> None:
        """The store answers again, unless it has failed somebody else meanwhile."""
        with self.lock:
            if self.lost and self._losses == losses:
                self.lost = False
                self._seq += 1
                for member in self._present():
                    member.outbox.put((StoreRegained(subject="store", seq=self._seq),))

    def report(self) -> None:
        """Tell the log of a lost store, if nobody listens. No lock is held."""
        fault, self._fault = self._fault, None
        if fault is not None and not any(member.outbox.heard for member in self._present()):
            report_once(self._store, "store", fault)

    def forked(self) -> None:
        """This is a copy of the process: its locks are free, and its thread is another."""
        self.lock = threading.RLock()
        self._asking = set()
        if self._looking is not None:
            self._looking.forked()
            self._looking = None
            self.watch()


_open: "weakref.WeakValueDictionary[tuple[object, ...], Access]" = weakref.WeakValueDictionary()


def shared(key: tuple[object, ...], make: Callable[[], Access]) -> Access:
    """The way that is there already, or a new one; two that come at once may get two, which does no harm."""
    access = _open.get(key)
    if access is None or access.closed:
        access = _open[key] = make()
    return access
