"""A store between simulated processes: it is slow, loses questions and answers, forgets, and can be out of reach."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from recloser.core.circuit_state import Circuit

FORGETS_AFTER = 100.0
"""Seconds after which an unchanged record may expire: longer than a lease, as everywhere."""


class CrashError(BaseException):
    """The process ends here."""


class BrokenError(BaseException):
    """Something did not hold. No exception like others: those are what a store may raise, and nobody hears of them."""


def must(holds: object, what: str) -> None:
    """BrokenError unless it holds."""
    if not holds:
        raise BrokenError(what)


class Place:
    """What is stored, on the store's own clock. Checks what must hold of every record (E1)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.records: dict[str, tuple[Circuit, float]] = {}
        self.down = False

    def write(self, name: str, before: Circuit, after: Circuit) -> None:
        must(after.window == (), "a window is one process's own")
        if replace(after, permits=before.permits) != before:
            must(after.seq > before.seq, f"E1: {before} became {after}")
            must(after.generation >= before.generation, f"E1: {before} became {after}")
        self.records[name] = after, self.now()

    def forget(self, rng: Random) -> bool:
        """Let a record expire that has not changed for long."""
        old = [name for name, (_, changed) in self.records.items() if self.now() - changed > FORGETS_AFTER]
        if not old:
            return False
        del self.records[rng.choice(old)]
        return True


class Link:
    """One process's way to the store."""

    def __init__(self, place: Place, rng: Random, meanwhile: Callable[[], None], seen: Counter[str]) -> None:
        self._place = place
        self._rng = rng
        self._meanwhile = meanwhile
        """Lets other processes do something."""
        self._seen = seen
        self.reached = True
        """False while the process is cut off."""
        self.trouble = 0.0
        """How often something goes wrong."""
        self.slowness = 0.0
        """How often others act in the middle of a decision."""
        self.asked = 0

    def now(self) -> float:
        self._ask()
        return self._place.now()

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        self._ask()
        records = self._place.records.items()
        return {name: circuit for name, (circuit, changed) in records if since is None or changed >= since}

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        self._ask()
        self._maybe_crash("crash before a write")
        while True:
            before = self._place.records.get(name)
            circuit = before[0] if before is not None else Circuit()
            after = change(circuit)
            if self._rng.random() < self.slowness:
                self._meanwhile()
            if self._place.records.get(name) is before:
                break
            self._seen["a change ran twice"] += 1
        if after is not circuit:
            self._place.write(name, circuit, after)
        if self._rng.random() < self.slowness:
            self._meanwhile()
        self._maybe_crash("crash after a write")
        if self._happens():
            self._seen["an answer was lost"] += 1
            raise TimeoutError("no answer")
        return after

    def close(self) -> None:
        pass

    def _ask(self) -> None:
        self.asked += 1
        if not self.reached or self._place.down:
            raise ConnectionError("no route to the store")
        if self._happens(0.3):
            self._seen["a question was lost"] += 1
            raise ConnectionError("reset by peer")

    def _happens(self, share: float = 1.0) -> bool:
        return self._rng.random() < self.trouble * share

    def _maybe_crash(self, when: str) -> None:
        if self._happens(0.2):
            self._seen[when] += 1
            raise CrashError(when)


def on_one_clock(circuit: Circuit, ahead: float) -> Circuit:
    """A process's circuit as it would be stored: what must be the same for all."""
    shifted = replace(circuit, window=(), permits=0).shifted(ahead)
    leases = tuple(lease._replace(granted_at=0.0, deadline=round(lease.deadline, 3)) for lease in shifted.leases)
    return replace(
        shifted,
        opened_at=_rounded(shifted.opened_at),
        open_until=_rounded(shifted.open_until),
        closed_at=_rounded(shifted.closed_at),
        outage_began=_rounded(shifted.outage_began),
        failed_at=_rounded(shifted.failed_at),
        leases=leases,
    )


def _rounded(time: float | None) -> float | None:
    return None if time is None else round(time, 3)
