"""For tests, ours and yours: a clock that stands still, a listener that remembers, what stores and wires must do."""

import math
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recloser.core.circuit_state import Circuit, CircuitState, Lease
from recloser.core.events import Event
from recloser.core.failure import FailureKind
from recloser.ports import Ledger, Store

if TYPE_CHECKING:
    from recloser.testing_wires import WireContract as WireContract  # noqa: PLC0414 - offered from here

_FIRST_WALL_TIME = 1_790_000_000.0


def __getattr__(name: str) -> Any:
    """What needs more than the standard library is loaded when it is asked for."""
    if name == "WireContract":
        from recloser.testing_wires import WireContract  # noqa: PLC0415

        return WireContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class ManualClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: float = 1000.0) -> None:
        self._monotonic = start
        self._wall = _FIRST_WALL_TIME

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return self._monotonic

    def time(self) -> float:
        """Unix time."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        if seconds < 0:
            raise ValueError(f"time does not go back by {-seconds} s; jump_wall() moves the wall clock alone")
        self._monotonic += seconds
        self._wall += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock, forward or back; no time passes."""
        self._wall += seconds


class RecordingSink:
    """A listener that keeps every event it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def kinds(self) -> list[str]:
        """What happened, in order, by name."""
        return [event.kind for event in self.events]


OPEN_CIRCUIT = Circuit(
    state=CircuitState.OPEN,
    generation=3,
    seq=5,
    failures=2,
    last_kind=FailureKind.TIMEOUT,
    opened_at=100.0,
    open_until=130.5,
    authoritative=True,
    outage_began=99.5,
    failed_at=100.0,
    recovery=7.25,
    closed_at=90.25,
    openings=2,
    cooldown=30.5,
    permits=4,
    reason="timeout: no first token",
)
HALF_OPEN_CIRCUIT = replace(
    OPEN_CIRCUIT,
    state=CircuitState.HALF_OPEN,
    generation=4,
    seq=6,
    open_until=None,
    permits=5,
    authoritative=False,
    successes=1,
    leases=(Lease(4, 130.75, 730.75, "there/7/1"), Lease(5, 131.0, 731.0, "here/7/2")),
)


class StoreContract(ABC):
    """What every store must do. Inherit it in a test class named `Test...` and say how to make the store."""

    durable = False
    """Whether circuits outlive the store object: `make_store` of the same path finds them again."""

    @abstractmethod
    def make_store(self, tmp_path: Path) -> Store:
        """Open the store that lives in `tmp_path`."""

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        """Nothing is there before something is written."""
        store = self.make_store(tmp_path)
        assert dict(store.load()) == {}
        store.close()

    def test_what_is_updated_is_loaded(self, tmp_path: Path) -> None:
        """An update returns what it stored, and every circuit is found under its own name, field by field."""
        store = self.make_store(tmp_path)
        assert store.update("model/a", lambda _: OPEN_CIRCUIT) == OPEN_CIRCUIT
        assert store.update("model/b", lambda _: HALF_OPEN_CIRCUIT) == HALF_OPEN_CIRCUIT
        assert dict(store.load()) == {"model/a": OPEN_CIRCUIT, "model/b": HALF_OPEN_CIRCUIT}
        store.close()

    def test_a_change_is_given_what_is_stored(self, tmp_path: Path) -> None:
        """The first change of a name is given a fresh circuit, the next one what the first has left."""
        store = self.make_store(tmp_path)
        seen: list[Circuit] = []

        def change(circuit: Circuit) -> Circuit:
            seen.append(circuit)
            return OPEN_CIRCUIT

        store.update("tool/shell", change)
        store.update("tool/shell", change)
        assert (seen[0], seen[-1]) == (Circuit(), OPEN_CIRCUIT)
        store.close()

    def test_any_name_and_any_circuit_is_kept(self, tmp_path: Path) -> None:
        """Names come from clients, reasons from servers; and no end is an end as well."""
        store = self.make_store(tmp_path)
        for name in ("modèle/模型 ⚡", "it's; DROP TABLE circuits --", "\0", "a\nb", "x" * 10_000, "%", " "):
            circuit = replace(OPEN_CIRCUIT, open_until=math.inf, reason=name + "\ud800", generation=2**53)
            store.update(name, lambda _, circuit=circuit: circuit)  # type: ignore[misc]
            assert store.load()[name] == circuit
        store.update("\ud800", lambda _: OPEN_CIRCUIT)  # half a character: kept under whatever name, but no failure
        assert store.update("\ud800", lambda circuit: circuit) == OPEN_CIRCUIT
        store.close()

    def test_a_change_that_changes_nothing_writes_nothing(self, tmp_path: Path) -> None:
        """Not even that there is such a circuit."""
        store = self.make_store(tmp_path)
        assert store.update("tool/shell", lambda circuit: circuit) == Circuit()
        assert dict(store.load()) == {}
        store.close()

    def test_a_change_that_fails_changes_nothing(self, tmp_path: Path) -> None:
        """Whoever raises in the middle leaves the circuit as it was, and the store in working order."""
        store = self.make_store(tmp_path)
        store.update("tool/shell", lambda _: OPEN_CIRCUIT)

        def change(_: Circuit) -> Circuit:
            raise ZeroDivisionError

        raised = False
        try:
            store.update("tool/shell", change)
        except ZeroDivisionError:
            raised = True
        assert raised
        assert store.update("tool/shell", lambda circuit: circuit) == OPEN_CIRCUIT
        store.close()

    def test_the_last_run_of_a_change_is_the_one_that_holds(self, tmp_path: Path) -> None:
        """A change may run twice, when somebody else was quicker. What it came to last is stored and given back."""
        store = self.make_store(tmp_path)
        runs: list[Circuit] = []

        def change(circuit: Circuit) -> Circuit:
            runs.append(replace(circuit, seq=circuit.seq + 1, permits=len(runs)))
            return runs[-1]

        for _ in range(3):
            assert store.update("tool/shell", change) == runs[-1] == store.load()["tool/shell"]
        store.close()

    def test_no_update_of_several_threads_is_lost(self, tmp_path: Path) -> None:
        """Eight threads, fifty versions each: all four hundred, and none of them twice.

        Every other thread has a store of its own, where the same circuits can be found through that.
        """
        stores = [self.make_store(tmp_path), self.make_store(tmp_path) if self.durable else None]
        together = threading.Barrier(8)
        versions: list[int] = []

        def next_version(circuit: Circuit) -> Circuit:
            tmp_path.stat()  # lets other threads in, as any work would
            return replace(circuit, seq=circuit.seq + 1)

        def write() -> None:
            store = stores[together.wait() % 2] or stores[0]
            assert store is not None
            versions.extend([store.update("loop/nightly", next_version).seq for _ in range(50)])

        in_threads(write, 8)
        assert sorted(versions) == list(range(1, 401))
        for store in filter(None, stores):
            assert store.load()["loop/nightly"].seq == 400
            store.close()

    def test_what_has_changed_since_is_loaded_and_nothing_that_has_not(self, tmp_path: Path) -> None:
        """Others look at intervals; they need not read everything each time."""
        store = self.make_store(tmp_path)
        store.update("early", lambda _: OPEN_CIRCUIT)
        store.update("both", lambda _: OPEN_CIRCUIT)
        since = later_than(store.now(), store)
        store.update("both", lambda _: HALF_OPEN_CIRCUIT)
        store.update("late", lambda _: OPEN_CIRCUIT)
        store.update("early", lambda circuit: circuit)  # changes nothing
        assert dict(store.load(since)) == {"both": HALF_OPEN_CIRCUIT, "late": OPEN_CIRCUIT}
        assert dict(store.load(later_than(store.now(), store))) == {}
        assert set(store.load(-math.inf)) == set(store.load()) == {"early", "both", "late"}
        store.close()

    def test_its_clock_never_goes_back(self, tmp_path: Path) -> None:
        """Times in stored circuits are compared on this clock."""
        store = self.make_store(tmp_path)
        readings = [store.now() for _ in range(1000)]
        assert readings == sorted(readings)
        store.close()

    def test_a_durable_store_finds_its_circuits_again(self, tmp_path: Path) -> None:
        """Closed and opened again, the circuits are there and the clock went on."""
        store = self.make_store(tmp_path)
        store.update("model/a", lambda _: OPEN_CIRCUIT)
        before = store.now()
        store.close()
        store.close()  # once more does no harm
        again = self.make_store(tmp_path)
        assert dict(again.load()) == ({"model/a": OPEN_CIRCUIT} if self.durable else {})
        assert again.now() >= before
        again.close()

    def test_two_durable_stores_of_one_place_are_one(self, tmp_path: Path) -> None:
        """Each sees at once what the other has written, and their clocks agree."""
        one, other = self.make_store(tmp_path), self.make_store(tmp_path)
        since = one.now()
        one.update("model/a", lambda _: OPEN_CIRCUIT)
        other.update("model/a", lambda circuit: replace(circuit, failures=circuit.failures + 1))
        expected = {"model/a": replace(OPEN_CIRCUIT, failures=OPEN_CIRCUIT.failures + 1)}
        if self.durable:
            assert dict(one.load(since)) == dict(other.load(since)) == expected
            assert one.now() <= other.now() <= one.now() + 1e-3
        one.close()
        other.close()


class LedgerContract(ABC):
    """What every ledger must do. Inherit it in a test class named `Test...` and say how to make the ledger."""

    durable = False
    """Whether sums outlive the ledger object: `make_ledger` of the same path finds them again."""

    @abstractmethod
    def make_ledger(self, tmp_path: Path) -> Ledger:
        """Open the ledger that lives in `tmp_path`."""

    def test_a_new_ledger_is_empty(self, tmp_path: Path) -> None:
        """Nothing is there before something is added."""
        ledger = self.make_ledger(tmp_path)
        assert dict(ledger.sums("2026-11")) == {}
        ledger.close()

    def test_an_addition_tells_what_it_came_to(self, tmp_path: Path) -> None:
        """The total after it, by the names that were given, and of nothing else."""
        ledger = self.make_ledger(tmp_path)
        assert ledger.add({("all", "2026-11"): 5, ("all", "2026-11-20"): 5}) == {
            ("all", "2026-11"): 5, ("all", "2026-11-20"): 5,
        }  # fmt: skip
        assert ledger.add({("all", "2026-11"): 7}) == {("all", "2026-11"): 12}
        assert dict(ledger.add({})) == {}
        ledger.close()

    def test_periods_and_names_are_kept_apart(self, tmp_path: Path) -> None:
        """Names come from clients; numbers may be as large as a century of spending."""
        ledger = self.make_ledger(tmp_path)
        names = ("agent/modèle ⚡", "it's; DROP TABLE sums --", "", "a\nb", "%", "x" * 10_000)
        for number, name in enumerate(names):
            ledger.add({(name, "2026-11"): 2**52 + number, (name, "2026-12"): 1})
        assert dict(ledger.sums("2026-11")) == {name: 2**52 + number for number, name in enumerate(names)}
        assert dict(ledger.sums("2026-12")) == dict.fromkeys(names, 1)
        assert dict(ledger.sums("2026-1")) == {}
        ledger.add({("agent/\ud800", "2026-11"): 1})  # half a character: kept under whatever name, but no failure
        ledger.close()

    def test_no_addition_of_several_threads_is_lost(self, tmp_path: Path) -> None:
        """Eight threads, fifty additions each; every total is told once.

        Every other thread has a ledger of its own, where the same sums can be found through that.
        """
        ledgers = [self.make_ledger(tmp_path), self.make_ledger(tmp_path) if self.durable else None]
        together = threading.Barrier(8)
        told: list[int] = []

        def write() -> None:
            ledger = ledgers[together.wait() % 2] or ledgers[0]
            assert ledger is not None
            told.extend([ledger.add({("all", "2026-11"): 1})["all", "2026-11"] for _ in range(50)])

        in_threads(write, 8)
        assert sorted(told) == list(range(1, 401))
        for ledger in filter(None, ledgers):
            assert dict(ledger.sums("2026-11")) == {"all": 400}
            ledger.close()

    def test_a_durable_ledger_finds_its_sums_again(self, tmp_path: Path) -> None:
        """Closed and opened again, they are there."""
        ledger = self.make_ledger(tmp_path)
        ledger.add({("all", "2026-11"): 5})
        ledger.close()
        ledger.close()  # once more does no harm
        again = self.make_ledger(tmp_path)
        assert dict(again.sums("2026-11")) == ({"all": 5} if self.durable else {})
        again.close()


def later_than(moment: float, store: Store) -> float:
    """A later reading of the store's clock."""
    while (now := store.now()) <= moment:
        pass
    return now


def in_threads(work: Callable[[], None], count: int) -> None:
    """Run `work` in `count` threads that take turns at every chance; what one of them raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that is listened to
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    patient = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(patient)
    if raised:
        raise raised[0]
