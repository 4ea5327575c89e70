"""A store that fails: what each process does alone, and how they come together again."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.breaker.in_the_middle import in_time
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    DISABLED,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    adds_up,
    fail,
)
from tests.breaker.sharing_scenes import NAME, QUOTA, Place, Process, Scene, held_by, is_lost, look

from recloser.breaker import Breakers, HeldPermit, sharing
from recloser.breaker.access import COMPARE_EVERY, Access
from recloser.breaker.listeners import Listeners, Outbox
from recloser.breaker.sharing import Sharing
from recloser.core.circuit_state import Circuit
from recloser.core.errors import CircuitOpenError
from recloser.core.events import CircuitForced
from recloser.testing import ManualClock


@pytest.fixture
def scene() -> Scene:
    return Scene()


# A store that fails


def test_a_store_that_fails_changes_no_answer_and_is_told_once(scene: Scene) -> None:
    """S1, S2; M9: elsewhere healthy calls failed, and an answer that was paid for was thrown away."""
    one = scene.processes[0]
    scene.place.down = True
    assert one.breaker.call(lambda: 42) == 42
    assert not is_lost(one), "nobody has asked it"
    one.fail()
    assert is_lost(one)
    assert one.breakers.store_lost
    assert one.breaker.call(lambda: 42) == 42
    one.fail()
    assert one.breaker.state is CLOSED
    one.fail()
    assert one.breaker.state is OPEN
    look([one, one, one])
    assert one.sink.kinds() == ["store_lost", "circuit_opened"]
    assert one.sink.events[0].facts()["reason"] == "ConnectionError: no route to the store"


def test_a_store_that_comes_back_is_told_what_happened_and_so_are_the_others(scene: Scene) -> None:
    one, other = scene.processes
    scene.place.down = True
    one.fail(2)
    scene.pass_time(3.0)
    scene.place.down = False
    look(scene.processes)
    assert not is_lost(one)
    assert one.sink.kinds() == ["store_lost", "circuit_opened", "store_regained"]
    assert other.breaker.state is OPEN
    assert other.circuit.open_until == other.clock.monotonic() + COOLDOWN - 3.0
    assert other.sink.kinds() == ["circuit_opened"], "it has never asked the store in vain"


def test_each_loss_and_each_return_is_told_once_and_in_order(scene: Scene) -> None:
    one = scene.processes[0]
    for _ in range(3):
        scene.place.down = True
        one.fail()
        look([one, one])
        scene.place.down = False
        look([one, one])
        one.breaker.reset()
    stores = [event for event in one.sink.events if event.subject == "store"]
    assert [event.kind for event in stores] == ["store_lost", "store_regained"] * 3
    first = int(ManualClock().time() * 1000) + 1
    assert [event.seq for event in stores] == list(range(first, first + 6)), "they go on over restarts"


def test_no_caller_asks_a_store_that_is_lost(scene: Scene) -> None:
    """It may hang for a second each time, and a whole event loop with it. Only the look asks."""
    one = scene.processes[0]
    scene.place.down = True
    one.fail()
    asked = scene.place.asked
    for _ in range(50):
        one.breaker.reset()
        one.fail(2)
        scene.pass_time(60.0)
        held_by(one).succeed()
    assert scene.place.asked == asked


def test_a_trial_is_not_given_out_by_the_call_that_finds_the_store_lost_but_by_the_next(scene: Scene) -> None:
    """The store may have given it to somebody. After that every process that cannot reach it tries for itself."""
    one, other = scene.processes
    scene.due(one)
    scene.place.down = True
    with pytest.raises(CircuitOpenError, match=r"the shared state does not answer.*try again in 1\.0 s"):
        one.breaker.acquire()
    trial = held_by(one)
    assert one.ask() is None
    assert other.ask() is None
    assert other.ask() is not None
    trial.succeed()
    assert one.breaker.state is CLOSED


def test_a_store_that_can_be_read_and_not_written_is_not_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk. Each look would tell that it is back, and the next call that it is lost."""
    one = scene.processes[0]
    scene.due(one)

    def full(name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        before = scene.place.has(name)
        if change(before) is not before:
            raise OSError("No space left on device")
        return before

    monkeypatch.setattr(scene.place, "update", full)
    assert one.ask() is None  # decided nothing, so there is nothing to make known
    look([one, one, one])
    assert is_lost(one)
    monkeypatch.undo()
    look([one])
    assert not is_lost(one)
    assert [event.kind for event in one.sink.events if event.subject == "store"] == ["store_lost", "store_regained"]


def test_a_store_that_says_nonsense_is_a_store_that_fails(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """S1: an error, a wrong time, garbage. A time that is none would keep a circuit open for ever."""
    one = scene.processes[0]
    for nonsense in (math.nan, math.inf, "noon", None):
        monkeypatch.setattr(scene.place, "now", lambda nonsense=nonsense: nonsense)
        one.fail(2)
        one.look()
        assert is_lost(one)
        monkeypatch.undo()
        one.look()
        assert not is_lost(one)
        assert one.circuit.open_until == one.clock.monotonic() + COOLDOWN
        one.breaker.reset()
    for name, garbage in (("load", 17), ("load", {"x": "y"}), ("update", None)):
        monkeypatch.setattr(scene.place, name, lambda *_, garbage=garbage: garbage)
        one.fail(2)
        one.look()
        assert is_lost(one)
        monkeypatch.undo()
        one.look()
        one.breaker.reset()


def test_a_store_that_fails_at_the_start_means_starting_afresh() -> None:
    scene = Scene()
    scene.open(scene.processes[0])
    scene.place.down = True
    late = scene.join()
    assert late.sink.kinds() == ["store_lost"]
    assert late.breaker.state is CLOSED
    scene.place.down = False
    late.look()
    assert late.breaker.state is OPEN
    assert late.sink.kinds() == ["store_lost", "store_regained", "circuit_opened"]


def test_what_is_kept_for_a_lost_store_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from clients. The last ones are kept; of the others this process knows as long as it has them."""
    monkeypatch.setattr(sharing, "MOST_ALONE", 5)
    one = scene.processes[0]
    scene.place.down = True
    for number in range(20):
        fail(one.breakers[f"model/{number}"])
    assert list(one.sharing._alone) == [f"model/{number}" for number in range(15, 20)]
    scene.place.down = False
    look([one])
    assert set(scene.place.load()) == {f"model/{number}" for number in range(15, 20)}
    for _ in range(3):
        look([one])
    fail(one.breakers["model/3"])
    assert scene.place.has("model/3").failures == 2


def test_a_circuit_that_cannot_be_written_keeps_no_other_from_being_shared(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = scene.processes[0]
    update = scene.place.update

    def picky(name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        if name == "bad":
            raise TypeError("Object of type Reason is not JSON serializable")
        return update(name, change)

    monkeypatch.setattr(scene.place, "update", picky)
    fail(one.breakers["bad"], 2)
    fail(one.breakers["good"], 2)
    look([one])
    assert not is_lost(one)
    assert scene.place.has("good").state is OPEN
    assert one.breakers["bad"].state is OPEN
    assert "the store of 'bad', which cannot be shared" in caplog.text


def test_if_nobody_listens_the_log_is_told_of_a_lost_store_once(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    clock = ManualClock()
    breakers = Breakers(
        SETTINGS, store=Sharing(Access(place, clock, look_every=None), clock, Outbox(Listeners([]))), clock=clock
    )
    place.down = True
    for _ in range(3):
        fail(breakers[NAME])
        breakers[NAME].reset()
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, f"the store {place!r} raised; it is passed over, and this is reported once")
    ]


# Going apart, and coming together


def apart(scene: Scene, mine: Callable[[Process], object], theirs: Callable[[Process], object]) -> tuple[Circuit, ...]:
    """What becomes of the circuit when one process goes on without the store and the other with it."""
    one, other = scene.processes
    scene.place.down = True
    one.look()
    scene.place.down = False
    theirs(other)
    mine(one)
    look(scene.processes)
    look(scene.processes)
    stored = scene.place.has()
    circuits = tuple(replace(p.circuit, window=(), permits=stored.permits) for p in scene.processes)
    assert circuits == tuple(stored.shifted(p.clock.monotonic() - 5000.0 - passed(scene)) for p in scene.processes)
    for process in scene.processes:
        assert [event.seq for event in process.told()] == sorted({event.seq for event in process.told()}), "E1"
        assert adds_up(process.breaker)
    return stored, *circuits


def passed(scene: Scene) -> float:
    return scene.place.clock.monotonic() - 5000.0


def open_it(process: Process) -> None:
    process.fail(2)


def open_and_close(process: Process) -> None:
    process.fail(2)
    process.clock.advance(COOLDOWN)
    process.place.clock.advance(COOLDOWN)
    held_by(process).succeed()


def test_two_that_both_opened_it_agree_on_the_later_end(scene: Scene) -> None:
    """Each counted the same and made the same event: by number alone neither is newer."""
    stored, *_ = apart(scene, lambda one: held_by(one).fail(QUOTA), open_it)
    assert (stored.state, stored.authoritative) == (OPEN, True)
    assert stored.open_until == 5000.0 + 3600.0


def test_what_only_one_of_them_did_holds() -> None:
    nothing: Callable[[Process], None] = lambda _: None  # noqa: E731
    assert apart(Scene(), open_it, nothing)[0].state is OPEN
    assert apart(Scene(), nothing, open_it)[0].state is OPEN
    assert apart(Scene(), lambda one: one.fail(), nothing)[0].failures == 1
    assert apart(Scene(), open_it, lambda other: other.fail())[0].state is OPEN
    assert apart(Scene(), lambda one: one.fail(), open_it)[0].state is OPEN


def test_failures_counted_apart_are_not_forgotten(scene: Scene) -> None:
    stored, *_ = apart(scene, lambda one: one.fail(), lambda other: other.fail())
    assert (stored.state, stored.failures) == (CLOSED, 1), "the larger count: which of them came first nobody knows"
    scene.processes[0].fail()
    assert scene.processes[0].breaker.state is OPEN


def test_where_both_went_on_what_is_stored_holds() -> None:
    """A process that cannot reach the store may have been cut off from everything."""
    stored, mine, _ = apart(Scene(), open_it, open_and_close)
    assert stored.state is CLOSED
    assert mine.generation == 3
    stored, mine, theirs = apart(Scene(), open_and_close, open_it)
    assert stored.state is OPEN
    assert mine.generation == theirs.generation == 4, "new to both: permits of neither third generation count in it"


def test_an_order_given_by_hand_is_not_lost_because_the_store_was(scene: Scene) -> None:
    stored, *_ = apart(scene, lambda one: one.breaker.disable(), open_and_close)
    assert stored.state is DISABLED
    assert isinstance(scene.processes[1].told()[-1], CircuitForced)


def test_trials_of_both_sides_are_settled_by_those_who_made_them() -> None:
    scene = Scene()
    one, other = scene.processes
    scene.due(one)
    trials: list[HeldPermit] = []

    def attempt(process: Process) -> None:
        trials.append(held_by(process))

    stored, *_ = apart(scene, attempt, attempt)
    assert stored.state is HALF_OPEN
    assert {lease.owner for lease in stored.leases} == {one.sharing.owner, other.sharing.owner}
    assert one.ask() is other.ask() is None
    trials[0].succeed()
    look(scene.processes)
    assert one.breaker.state is other.breaker.state is CLOSED
    trials[1].fail(BROKEN)
    assert one.breaker.state is CLOSED


def test_a_trial_that_was_settled_while_we_were_away_is_not_taken_back_by_us(scene: Scene) -> None:
    settings = replace(SETTINGS, half_open_permits=2)
    scene = Scene(settings=settings)
    one, other = scene.processes
    scene.due(one)
    theirs = held_by(other)
    one.look()
    stored, *_ = apart(scene, lambda process: held_by(process).cancel(), lambda _: theirs.succeed())
    assert (stored.state, stored.leases, stored.successes) == (HALF_OPEN, (), 1)


def test_an_answer_of_the_store_that_was_lost_is_not_counted_twice(scene: Scene) -> None:
    """The opening was stored, and decided once more without the store."""
    one, other = scene.processes
    one.fail()
    scene.place.loses_answers = True
    one.fail()
    assert one.breaker.state is OPEN
    scene.place.loses_answers = False
    look(scene.processes)
    look(scene.processes)
    assert scene.place.has().generation == 1
    assert [event.kind for p in (one, other) for event in p.told()] == ["circuit_opened"] * 2
    assert other.circuit.open_until == other.clock.monotonic() + COOLDOWN


def test_a_look_does_not_undo_what_was_decided_while_it_was_on_its_way(scene: Scene) -> None:
    """It had seen that the circuit is to be forced open; meanwhile that was made known, and taken back by hand."""
    one, _ = scene.processes
    scene.place.down = True
    one.breaker.force_open()
    ((name, entry),) = one.sharing._alone.items()
    scene.place.down = False
    look([one])
    one.breaker.reset()
    before = scene.place.has()
    one.sharing._settle(name, entry, one.access.ahead())
    assert scene.place.has() == before
    assert before.state is CLOSED


def test_what_the_store_has_forgotten_it_is_told_again(scene: Scene) -> None:
    """S5: an expired record means what was last known, not a closed circuit with full traffic."""
    one, _ = scene.processes
    held_by(one).fail(QUOTA)
    scene.place.forget()
    late = scene.join()
    assert late.breaker.state is CLOSED, "there is nothing that it could know"
    scene.pass_time(COMPARE_EVERY)
    look(scene.processes)
    look(scene.processes)
    assert late.breaker.state is OPEN
    assert [process.circuit.authoritative for process in scene.processes] == [True, True, True]


def test_a_decision_after_that_stands_on_what_was_last_known(scene: Scene) -> None:
    one, other = scene.processes
    scene.due(one)
    scene.place.forget()
    trial = held_by(one)
    assert trial.trial
    assert scene.place.has().seq > 1_000_000, "no number comes again that others may remember"
    assert other.ask() is None
    trial.succeed()
    look(scene.processes)
    assert other.breaker.state is CLOSED


@pytest.mark.parametrize("failures", [1, 2, 3, 4, 5, 8])
def test_a_newcomer_that_began_afresh_in_a_store_that_had_forgotten_comes_to_terms_with_the_others(
    failures: int,
) -> None:
    """Whatever numbers its history has come to: lower, equal or higher than those of the others."""
    scene = Scene(settings=replace(SETTINGS, failure_threshold=9))
    one, other = scene.processes
    held_by(one).fail(QUOTA)
    other.look()
    one.breaker.force_open()
    one.breaker.release()
    other.look()
    scene.place.forget()
    late = scene.join()
    fail(late.breaker, failures)
    for _ in range(3):
        look(scene.processes)
    stored = scene.place.has()
    for process in scene.processes:
        ahead = 5000.0 - {0: 1000.0, 1: 77.0, 2: 50_000.0}[scene.processes.index(process)]
        assert replace(process.circuit, window=()).shifted(ahead) == stored
        told = [event.seq for event in process.told()]
        assert told == sorted(set(told))


class Visited(Place):
    """A store in the middle of which somebody comes by, in the same thread, at the nth time that it is asked.

    As a database, it does not begin a transaction in the middle of another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nth = math.inf
        self.visit: Callable[[], object] = bool
        self._in_the_middle = False

    def _answer(self) -> None:
        super()._answer()
        if self._in_the_middle:
            raise RuntimeError("cannot start a transaction within a transaction")
        self._in_the_middle = True
        try:
            if self.asked == self.nth:
                self.visit()
        finally:
            self._in_the_middle = False


def test_a_finaliser_may_come_by_in_the_middle_of_the_store() -> None:
    """It gives back a trial of another circuit, in the same thread: nobody hangs, nothing is lost or told as lost."""
    visits = 0
    while visited_in_the_middle(visits + 1):
        visits += 1
    assert visits >= 8


def visited_in_the_middle(nth: int) -> bool:
    """Whether a decision and a look ask the store so often."""
    scene = Scene(settings=replace(SETTINGS, failure_threshold=1), place=Visited())
    one, place = scene.processes[0], scene.place
    assert isinstance(place, Visited)
    fail(one.breakers["other"])
    scene.due(one)
    trial = one.breakers["other"].acquire()
    place.asked, place.nth, place.visit = 0, nth, trial.cancel
    in_time(lambda: held_by(one).fail(BROKEN))
    in_time(one.look)
    visited = place.asked >= nth
    place.nth = math.inf
    trial.cancel()
    look([one, one])
    assert one.breakers["other"].snapshot().live == one.breaker.snapshot().live == 0
    assert place.has("other").leases == ()
    assert place.has().state is OPEN
    assert not is_lost(one)
    assert "store_lost" not in one.sink.kinds()
    return visited
