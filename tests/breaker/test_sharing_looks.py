"""The thread that looks what others have changed, for all breakers of a process."""

import gc
import random
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    adds_up,
    fail,
)
from tests.breaker.sharing_scenes import NAME, Place, admitted

from recloser.breaker import Breakers, CircuitBreaker, SystemClock
from recloser.core.circuit_state import Circuit
from recloser.core.errors import ConfigError
from recloser.core.events import CircuitOpened, Event
from recloser.ports import Store
from recloser.stores.memory import MemoryStore
from recloser.testing import ManualClock, RecordingSink, in_threads

PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


# The thread that looks


class Ears(RecordingSink):
    """Hears, and lets others wait until it has."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self.heard:
            super().__call__(event)
            self.heard.notify_all()

    def wait_for(self, kind: str, times: int = 1) -> None:
        with self.heard:
            assert self.heard.wait_for(lambda: self.kinds().count(kind) >= times, PATIENCE), self.kinds()


def store_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "recloser-store"]


@pytest.fixture(autouse=True)
def no_thread_outlives_its_owner() -> Iterator[None]:
    yield
    gc.collect()
    for thread in store_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'state.db'}"


def test_two_processes_hear_of_each_other_without_being_told_to_look(url: str) -> None:
    ears = Ears()
    one, other = Breakers(SETTINGS, store=url), CircuitBreaker(NAME, SETTINGS, store=url, listeners=[ears])
    fail(one[NAME], 2)
    ears.wait_for("circuit_opened")
    assert other.state is OPEN
    other.reset()
    other.close()
    one.close()


def test_a_listener_that_raises_does_not_end_the_looking(url: str) -> None:
    ears = Ears()

    def raising(event: Event) -> None:
        raise ValueError(event)

    one, other = Breakers(SETTINGS, store=url), Breakers(SETTINGS, store=url, listeners=[raising, ears])
    fail(one["a"], 2)
    ears.wait_for("circuit_opened", 1)
    fail(one["b"], 2)
    ears.wait_for("circuit_opened", 2)
    one.close()
    other.close()


def test_a_listener_in_that_thread_may_act_on_what_it_hears(url: str) -> None:
    """It is no longer in the store then: what it orders is decided there."""
    ears, acted = Ears(), Ears()

    def act(event: Event) -> None:
        if isinstance(event, CircuitOpened):
            breaker.disable(reason="by a listener")

    breaker = CircuitBreaker(NAME, SETTINGS, store=url, listeners=[act, acted])
    other = CircuitBreaker(NAME, SETTINGS, store=url, listeners=[ears])
    fail(other, 2)
    ears.wait_for("circuit_forced")
    assert other.state is DISABLED
    assert "store_lost" not in acted.kinds()
    other.close()
    breaker.close()


def test_a_breaker_that_nobody_has_any_more_ends_its_thread_and_closes_its_store(url: str) -> None:
    breaker = CircuitBreaker(NAME, SETTINGS, store=url)
    (thread,) = store_threads()
    gone = weakref.ref(breaker)
    gc.disable()
    try:
        del breaker
        assert gone() is None, "without waiting for the garbage collector"
        thread.join(PATIENCE)
    finally:
        gc.enable()
    assert not thread.is_alive()


def test_so_does_a_registry(url: str) -> None:
    breakers = Breakers(SETTINGS, store=url)
    fail(breakers[NAME])
    (thread,) = store_threads()
    del breakers
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_one_breaker_of_it_that_is_kept_goes_on_hearing(url: str) -> None:
    ears = Ears()
    breaker = Breakers(SETTINGS, store=url, listeners=[ears])[NAME]
    gc.collect()
    other = CircuitBreaker(NAME, SETTINGS, store=url)
    fail(other, 2)
    ears.wait_for("circuit_opened")
    assert breaker.state is OPEN
    other.close()


def test_closing_in_a_listener_of_that_thread_does_not_hang(url: str) -> None:
    closed = threading.Event()

    def close(event: Event) -> None:
        if isinstance(event, CircuitOpened):
            breaker.close()
            closed.set()

    breaker = CircuitBreaker(NAME, SETTINGS, store=url, listeners=[close])
    other = CircuitBreaker(NAME, SETTINGS, store=url)
    fail(other, 2)
    assert closed.wait(PATIENCE)
    other.close()


class Hanging(MemoryStore):
    """A store that answers when it likes to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()
        self.waiting = threading.Event()

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Waits."""
        if not self.answers.is_set():
            self.waiting.set()
            assert self.answers.wait(PATIENCE)
            raise TimeoutError("at last")
        return super().update(name, change)


def test_who_waits_for_a_store_that_hangs_holds_up_no_other_circuit() -> None:
    store = Hanging()
    breakers = Breakers(SETTINGS, store=store)
    store.answers.clear()
    waiting = threading.Thread(target=fail, args=(breakers["hangs"],))
    waiting.start()
    assert store.waiting.wait(PATIENCE)
    with breakers["healthy"]:
        pass
    assert breakers["open"].denial() is None
    store.answers.set()
    waiting.join()
    assert breakers["hangs"].circuit.failures == 1
    breakers.close()


def test_a_store_that_cannot_be_opened_is_a_store_that_is_lost(tmp_path: Path) -> None:
    """A program must not need it in order to start."""
    ears = Ears()
    (tmp_path / "state").touch()
    breaker = CircuitBreaker(NAME, SETTINGS, store=f"sqlite:{tmp_path}/state/circuits.db", listeners=[ears])
    assert ears.kinds() == ["store_lost"]
    fail(breaker, 2)
    (tmp_path / "state").unlink()
    ears.wait_for("store_regained")
    again = CircuitBreaker(NAME, SETTINGS, store=f"sqlite:{tmp_path}/state/circuits.db")
    assert again.state is OPEN
    again.close()
    breaker.close()


def test_a_url_that_is_no_store_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="is no store"):
        CircuitBreaker(NAME, store="redis//localhost")


def test_a_file_that_is_removed_is_filled_again_with_what_is_known(tmp_path: Path, url: str) -> None:
    ears = Ears()
    breakers = Breakers(SETTINGS, store=url, listeners=[ears])
    fail(breakers["open"], 2)
    breakers["forced"].force_open()
    for file in tmp_path.iterdir():
        file.unlink()
    ears.wait_for("store_regained")
    breakers.close()
    again = Breakers(SETTINGS, store=url)
    assert {name: circuit.state for name, circuit in again.snapshot().circuits.items()} == {
        "open": OPEN, "forced": FORCED_OPEN,
    }  # fmt: skip
    assert ears.kinds().count("store_lost") == 1
    again.close()


def test_a_folder_that_is_removed_is_borne(tmp_path: Path) -> None:
    ears = Ears()
    breaker = CircuitBreaker(NAME, SETTINGS, store=f"sqlite:{tmp_path}/state/circuits.db", listeners=[ears])
    shutil.rmtree(tmp_path / "state")
    fail(breaker, 2)
    ears.wait_for("store_regained")
    assert breaker.state is OPEN
    breaker.close()


# Many breakers of one process


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_a_hundred_breakers_of_one_store_have_one_thread_and_a_few_open_files(url: str) -> None:
    """As a program has them that decorates its functions."""
    before = open_files()
    breakers = [CircuitBreaker(f"tool/{number}", SETTINGS, store=url) for number in range(100)]
    fail(breakers[0], 2)
    fail(breakers[99], 2)
    assert len(store_threads()) == 1
    assert open_files() - before < 12
    for breaker in breakers:
        breaker.close()
    assert store_threads() == []
    assert open_files() == before


def test_what_one_of_them_knows_to_be_lost_no_other_asks_and_each_is_told() -> None:
    """It may hang for a second, and there are a hundred."""
    place, clock, sinks = Place(), SystemClock(), [RecordingSink(), RecordingSink(), RecordingSink()]
    one, other = (CircuitBreaker(name, SETTINGS, store=place, clock=clock, listeners=[sink])
                  for name, sink in zip("ab", sinks, strict=False))  # fmt: skip
    place.down = True
    fail(one)
    asked = place.asked
    fail(other, 2)
    late = CircuitBreaker("c", SETTINGS, store=place, clock=clock, listeners=[sinks[2]])
    assert other.state is OPEN
    assert place.asked - asked <= 2, "but for a look that came by"
    assert [sink.kinds() for sink in sinks] == [["store_lost"], ["store_lost", "circuit_opened"], ["store_lost"]]
    assert len({sink.events[0].seq for sink in sinks}) == 1
    for breaker in (one, other, late):
        breaker.close()


def test_two_breakers_of_one_name_in_one_process_are_two_owners(url: str) -> None:
    one, other = (CircuitBreaker(NAME, replace(SETTINGS, cooldown=0.001, cooldown_max=1.0), store=url) for _ in "12")
    fail(one, 2)
    assert other._sharing is not None
    other._sharing.look()
    assert other.state is OPEN
    trial = None
    while trial is None:
        trial = admitted(one)
    assert admitted(other) is None
    other._sharing.look()
    assert admitted(other) is None, "it is held, if not here"
    trial.succeed()
    other._sharing.look()
    assert one.state is other.state is CLOSED
    one.close()
    other.close()


def test_one_that_closes_leaves_the_store_to_the_others_and_the_last_one_shuts_the_door(url: str) -> None:
    one, other = (CircuitBreaker(name, SETTINGS, store=url) for name in "ab")
    one.close()
    fail(other, 2)
    other.close()
    again = Breakers(SETTINGS, store=url)
    assert again["b"].state is OPEN
    again.close()


def test_a_memory_store_goes_by_the_breakers_clock() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker(NAME, SETTINGS, store="memory:", clock=clock)
    fail(breaker, 2)
    clock.advance(COOLDOWN)
    with breaker:
        assert breaker.state is HALF_OPEN
    assert breaker.state is CLOSED
    breaker.close()


def test_threads_of_two_processes_leave_one_truth(url: str) -> None:
    """Eight threads, four of each, fail and succeed and give orders; in the end both know what is stored."""
    settings = replace(SETTINGS, failure_threshold=3, cooldown=0.001, cooldown_max=0.01)
    ears = [RecordingSink(), RecordingSink()]
    breakers = [Breakers(settings, store=url, listeners=[sink]) for sink in ears]
    together = threading.Barrier(8)

    def work() -> None:
        number = together.wait()
        rng, breaker = random.Random(number), breakers[number % 2][NAME]
        for _ in range(60):
            permit = admitted(breaker)
            if permit is None:
                continue
            choice = rng.random()
            if choice < 0.6:
                permit.fail(BROKEN)
            elif choice < 0.9:
                permit.succeed()
            else:
                permit.cancel()
                breaker.reset()

    in_threads(work, 8)
    for _ in range(2):
        for one in breakers:
            assert one._sharing is not None
            one._sharing.look()
    first, second = (one[NAME].circuit for one in breakers)
    assert (first.state, first.generation, first.seq) == (second.state, second.generation, second.seq)
    for one, sink in zip(breakers, ears, strict=True):
        assert adds_up(one[NAME])
        seqs = [event.seq for event in sink.events if event.subject == NAME]
        assert seqs == sorted(set(seqs)), "E1"
        one.close()


def test_any_store_will_do_that_does_what_the_protocol_says() -> None:
    class Least:
        """Nothing but what it must."""

        def __init__(self) -> None:
            self.circuit = Circuit()

        def now(self) -> float:
            return 0.0

        def load(self, _since: float | None = None) -> dict[str, Circuit]:
            return {NAME: self.circuit}

        def update(self, _name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
            change(replace(self.circuit, failures=7))  # what it was when somebody else was quicker
            self.circuit = change(self.circuit)
            return self.circuit

        def close(self) -> None:
            pass

    store: Store = Least()
    breaker = CircuitBreaker(NAME, SETTINGS, store=store, clock=ManualClock())
    fail(breaker)
    assert breaker.circuit.failures == 1
    breaker.close()
