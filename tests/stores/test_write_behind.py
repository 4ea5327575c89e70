import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from recloser.core import circuit as machine
from recloser.core.circuit import Circuit, CircuitSettings, CircuitState, Permit
from recloser.core.events import Event
from recloser.stores import write_behind
from recloser.stores.memory import MemoryStore
from recloser.stores.sqlite import SqliteStore
from recloser.stores.write_behind import WriteBehind
from recloser.testing import HALF_OPEN_CIRCUIT, OPEN_CIRCUIT, ManualClock, RecordingSink

FIRST_SEQ = int(ManualClock().time() * 1000) + 1
"""So that it goes on over restarts, although nobody keeps it."""
PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


class Scripted(MemoryStore):
    """A store on a clock of its own, that fails, hangs and counts as it is told."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.down = False
        self.clock_down = False
        self.tries = 0
        self.closed = False
        self.open_gate = threading.Event()
        self.open_gate.set()
        self.happened = threading.Condition()

    def now(self) -> float:
        if self.clock_down:
            raise ConnectionError("no time")
        return self.clock.monotonic()

    def load(self) -> Mapping[str, Circuit]:
        if self.down:
            raise OSError("unreadable")
        return super().load()

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        with self.happened:
            self.tries += 1
            self.happened.notify_all()
        assert self.open_gate.wait(PATIENCE)
        if self.down:
            raise OSError("disk full")
        written = super().update(name, change)
        with self.happened:
            self.happened.notify_all()
        return written

    def close(self) -> None:
        self.closed = True

    def wait_until(self, condition: Callable[[], bool]) -> None:
        with self.happened:
            assert self.happened.wait_for(condition, PATIENCE)


class Sink(RecordingSink):
    """Events, and a way to wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self.told:
            super().__call__(event)
            self.told.notify_all()

    def wait_for(self, kind: str) -> None:
        with self.told:
            assert self.told.wait_for(lambda: kind in self.kinds(), PATIENCE)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "_RETRY_AFTER", 0.001)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


@pytest.fixture
def store() -> Scripted:
    return Scripted(ManualClock(start=5000.0))


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def writer(store: Scripted, clock: ManualClock, sink: Sink) -> Iterator[WriteBehind]:
    writer = WriteBehind(store, clock, sink)
    yield writer
    store.down = store.clock_down = False
    store.open_gate.set()
    writer.close()
    assert not writer._thread.is_alive()


def test_a_circuit_is_written_on_the_stores_clock(writer: WriteBehind, store: Scripted) -> None:
    writer.put("model/a", OPEN_CIRCUIT)
    store.wait_until(lambda: "model/a" in store.load())
    assert store.load()["model/a"] == OPEN_CIRCUIT.shifted(4000.0)


def test_nobody_waits_for_a_store_that_hangs(writer: WriteBehind, store: Scripted) -> None:
    store.open_gate.clear()
    writer.put("model/a", OPEN_CIRCUIT)
    store.wait_until(lambda: store.tries == 1)
    for number in range(1000):  # the writer hangs in the store; these return all the same
        writer.put("model/b", replace(OPEN_CIRCUIT, generation=number))
    assert store.tries == 1
    store.open_gate.set()
    store.wait_until(lambda: "model/b" in store.load())
    assert store.load()["model/b"].generation == 999
    assert store.tries == 2, "only the newest state is written"


def test_a_state_never_replaces_a_newer_one(writer: WriteBehind, store: Scripted) -> None:
    newer_generation = replace(OPEN_CIRCUIT, generation=9, seq=1)
    newer_seq = replace(OPEN_CIRCUIT, seq=6)
    store.update("generation", lambda _: newer_generation)
    store.update("seq", lambda _: newer_seq)
    store.update("older", lambda _: replace(OPEN_CIRCUIT, generation=2, seq=9))
    for name in ("generation", "seq", "older"):
        writer.put(name, OPEN_CIRCUIT)
    writer.close()
    written = OPEN_CIRCUIT.shifted(4000.0)
    assert dict(store.load()) == {"generation": newer_generation, "seq": newer_seq, "older": written}


def test_a_failure_counted_without_an_event_is_written_too(writer: WriteBehind, store: Scripted) -> None:
    writer.put("model/a", Circuit(failures=1))
    store.wait_until(lambda: "model/a" in store.load())
    writer.put("model/a", Circuit(failures=2))
    writer.close()
    assert store.load()["model/a"].failures == 2


def test_a_store_that_fails_and_recovers_has_lost_nothing(writer: WriteBehind, store: Scripted, sink: Sink) -> None:
    store.down = True
    writer.put("model/a", OPEN_CIRCUIT)
    writer.put("model/b", OPEN_CIRCUIT)
    store.wait_until(lambda: store.tries >= 5)
    assert writer.lost
    writer.put("model/b", HALF_OPEN_CIRCUIT)  # news of the meantime
    store.down = False
    sink.wait_for("store_regained")
    writer.close()
    shifted = {"model/a": OPEN_CIRCUIT.shifted(4000.0), "model/b": HALF_OPEN_CIRCUIT.shifted(4000.0)}
    assert dict(store.load()) == shifted
    lost: bool = WriteBehind.lost.fget(writer)  # type: ignore[attr-defined]
    assert not lost
    assert [event.facts() for event in sink.events] == [
        {"seq": FIRST_SEQ, "kind": "store_lost", "subject": "store", "reason": "OSError: disk full"},
        {"seq": FIRST_SEQ + 1, "kind": "store_regained", "subject": "store"},
    ]


def test_what_could_not_be_written_gives_way_to_what_happened_meanwhile(writer: WriteBehind, store: Scripted) -> None:
    store.down = True
    store.open_gate.clear()
    writer.put("model/a", OPEN_CIRCUIT)
    store.wait_until(lambda: store.tries == 1)
    writer.put("model/a", HALF_OPEN_CIRCUIT)  # while the older one is on its way to failing
    store.open_gate.set()
    store.wait_until(lambda: store.tries >= 2)
    store.down = False
    writer.close()
    assert store.load()["model/a"] == HALF_OPEN_CIRCUIT.shifted(4000.0)


def test_each_loss_is_told_once(writer: WriteBehind, store: Scripted, sink: Sink) -> None:
    for round_ in (1, 2):
        store.down = True
        tries = store.tries
        writer.put(f"model/{round_}", OPEN_CIRCUIT)
        store.wait_until(lambda tries=tries: store.tries >= tries + 3)  # type: ignore[misc]
        store.down = False
        with sink.told:
            assert sink.told.wait_for(lambda n=2 * round_: len(sink.events) == n, PATIENCE)  # type: ignore[misc]
    assert sink.kinds() == ["store_lost", "store_regained"] * 2
    assert [event.seq - FIRST_SEQ for event in sink.events] == [0, 1, 2, 3]


def test_a_store_without_a_clock_is_a_store_that_fails(writer: WriteBehind, store: Scripted, sink: Sink) -> None:
    store.clock_down = True
    writer.put("model/a", OPEN_CIRCUIT)
    sink.wait_for("store_lost")
    store.clock_down = False
    sink.wait_for("store_regained")
    assert "model/a" in store.load()


def test_a_listener_that_raises_does_not_stop_the_writing(store: Scripted, clock: ManualClock) -> None:
    def raising(event: Event) -> None:
        raise ValueError(event)

    writer = WriteBehind(store, clock, raising)
    store.down = True
    writer.put("model/a", OPEN_CIRCUIT)
    store.wait_until(lambda: store.tries >= 3)
    store.down = False
    store.wait_until(lambda: "model/a" in store.load())
    writer.close()
    assert store.closed


def test_a_store_that_cannot_be_read_means_starting_afresh(writer: WriteBehind, store: Scripted, sink: Sink) -> None:
    store.down = True
    assert writer.load() == {}
    assert sink.kinds() == ["store_lost"]
    assert writer.lost
    store.down = False
    writer.put("model/a", OPEN_CIRCUIT)
    sink.wait_for("store_regained")


def test_closing_writes_what_is_pending(store: Scripted, clock: ManualClock, sink: Sink) -> None:
    writer = WriteBehind(store, clock, sink)
    for number in range(50):
        writer.put(f"tool/{number}", OPEN_CIRCUIT)
    writer.close()
    assert len(store.load()) == 50
    assert sink.events == []
    assert store.closed
    assert not writer._thread.is_alive()


def test_closing_gives_up_on_a_store_that_fails(store: Scripted, clock: ManualClock, sink: Sink) -> None:
    store.down = True
    writer = WriteBehind(store, clock, sink)
    writer.put("model/a", OPEN_CIRCUIT)
    writer.close(timeout=PATIENCE)
    assert not writer._thread.is_alive()
    assert store.closed
    assert sink.kinds() == ["store_lost"]


def test_closing_gives_up_on_a_store_that_hangs(writer: WriteBehind, store: Scripted) -> None:
    store.open_gate.clear()
    writer.put("model/a", OPEN_CIRCUIT)
    store.wait_until(lambda: store.tries == 1)
    writer.close(timeout=0.01)
    assert not store.closed, "it is still in use"


# What the next process finds


def restarted(store: Scripted, *, after: float, circuit: Circuit, jump: float = 0.0) -> tuple[Circuit, ManualClock]:
    """What becomes of a circuit when its process ends and another, with another clock, starts `after` seconds later."""
    clock = ManualClock(start=1000.0)
    first = WriteBehind(store, clock, RecordingSink())
    first.put("model/a", circuit)
    first.close()
    store.clock.advance(after)
    clock = ManualClock(start=77.0)
    clock.jump_wall(jump)
    store.clock.jump_wall(jump)
    second = WriteBehind(store, clock, RecordingSink())
    found = second.load()["model/a"]
    second.close()
    return found, clock


FORBIDDEN_UNTIL = replace(OPEN_CIRCUIT, opened_at=990.0, open_until=1060.0, closed_at=900.0)


@pytest.mark.parametrize("jump", [0.0, 86400.0, -86400.0])
def test_a_restart_keeps_the_remaining_time_whatever_the_wall_clock_says(store: Scripted, jump: float) -> None:
    found, _ = restarted(store, after=10.0, circuit=FORBIDDEN_UNTIL, jump=jump)
    assert found == replace(FORBIDDEN_UNTIL, opened_at=77.0 - 20.0, open_until=77.0 + 50.0, closed_at=77.0 - 110.0)


def test_an_opening_that_ended_meanwhile_is_due(store: Scripted) -> None:
    found, clock = restarted(store, after=61.0, circuit=FORBIDDEN_UNTIL)
    assert machine.denial(found, CircuitSettings(), clock.monotonic()) is None


def test_a_trial_died_with_its_process_and_the_next_call_is_the_next_trial(store: Scripted) -> None:
    trying = replace(HALF_OPEN_CIRCUIT, opened_at=990.0, closed_at=900.0)
    found, clock = restarted(store, after=0.0, circuit=trying)
    assert (found.state, found.leases, found.open_until) == (CircuitState.OPEN, (), clock.monotonic())
    step, permit = machine.admit(found, CircuitSettings(), "model/a", clock.monotonic())
    assert isinstance(permit, Permit)
    assert step.circuit.state is CircuitState.HALF_OPEN
    assert permit.generation > trying.generation


def test_what_waited_for_proof_is_tried_again(store: Scripted) -> None:
    found, clock = restarted(store, after=0.0, circuit=replace(FORBIDDEN_UNTIL, open_until=math.inf))
    assert found.open_until == clock.monotonic()


def test_what_a_hand_has_opened_stays_open(store: Scripted) -> None:
    by_hand = replace(FORBIDDEN_UNTIL, state=CircuitState.FORCED_OPEN, open_until=math.inf)
    found, _ = restarted(store, after=86400.0, circuit=by_hand)
    assert (found.state, found.open_until) == (CircuitState.FORCED_OPEN, math.inf)


def test_through_a_real_file(tmp_path: Path, clock: ManualClock) -> None:
    first = WriteBehind(SqliteStore(tmp_path / "state.db"), clock, RecordingSink())
    now = clock.monotonic()
    first.put("model/a", replace(OPEN_CIRCUIT, opened_at=now, open_until=now + 3600.0))
    first.close()
    second = WriteBehind(SqliteStore(tmp_path / "state.db"), clock, RecordingSink())
    found = second.load()["model/a"]
    second.close()
    assert found.open_until is not None
    assert now + 3500.0 < found.open_until <= now + 3600.0 + 1e-3
