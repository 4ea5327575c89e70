"""Circuits that several processes decide together: in one test process, with a store that does as it is told."""

import asyncio
import gc
import logging
import math
import random
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.breaker.in_the_middle import in_time
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    LEASE,
    OPEN,
    SETTINGS,
    adds_up,
    fail,
)
from tests.breaker.sharing_scenes import NAME, Place, Process, Scene, look

from recloser.breaker import Breakers, CircuitBreaker, HeldPermit, sharing
from recloser.breaker.listeners import Listeners, Outbox
from recloser.breaker.owner import new_owner
from recloser.breaker.sharing import Sharing
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, Lease
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event, PermitExpired
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.ports import Store
from recloser.stores.memory import MemoryStore
from recloser.testing import ManualClock, RecordingSink, in_threads

QUOTA = Failure(
    kind=FailureKind.QUOTA, scope=Scope.ACCOUNT, effect=Effect.OPENS, retry_after=3600.0, authoritative=True
)
NO_KEY = Failure(kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True)
PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


@pytest.fixture
def scene() -> Scene:
    return Scene()


def kinds(process: Process) -> list[str]:
    return [event.kind for event in process.told()]


def held_by(process: Process) -> HeldPermit:
    permit = process.ask()
    assert permit is not None
    return permit


def is_lost(process: Process) -> bool:
    return process.sharing.lost


# Together


def test_a_healthy_call_asks_nobody(scene: Scene) -> None:
    """S6."""
    process = scene.processes[0]
    breaker, asked = process.breaker, scene.place.asked

    async def answer() -> int:
        return 42

    for _ in range(100):
        with breaker:
            pass
        breaker.call(int)
        breaker.acquire().cancel()
        asyncio.run(breaker.call_async(answer))
        scene.pass_time(1.0)
    assert scene.place.asked == asked
    assert breaker.snapshot().succeeded == 300


def test_a_refused_call_asks_nobody(scene: Scene) -> None:
    process = scene.processes[0]
    scene.open(process)
    asked = scene.place.asked
    assert [process.ask() for _ in range(100)] == [None] * 100
    assert scene.place.asked == asked


def test_what_one_opens_is_open_for_all_who_look(scene: Scene) -> None:
    one, other = scene.processes
    one.fail(2)
    other.look()
    assert other.breaker.state is OPEN
    (mine,), (theirs,) = one.told(), other.told()
    assert isinstance(mine, CircuitOpened)
    assert theirs == replace(mine, rule="shared")
    assert mine.retry_after == COOLDOWN
    assert other.circuit.open_until == other.clock.monotonic() + COOLDOWN
    scene.pass_time(COOLDOWN - 0.001)
    assert one.ask() is other.ask() is None


def test_failures_of_several_processes_add_up_whether_they_have_looked_or_not() -> None:
    scene = Scene(0.0, 300.0, -300.0, settings=replace(SETTINGS, failure_threshold=5))
    for number in range(4):
        scene.processes[number % 3].fail()
    assert [process.breaker.state for process in scene.processes] == [CLOSED] * 3
    scene.processes[1].fail()
    assert scene.processes[1].breaker.state is OPEN
    assert scene.place.has().failures == 5


def test_a_success_of_one_ends_the_row_of_failures_of_all(scene: Scene) -> None:
    one, other = scene.processes
    one.fail()
    other.look()
    held_by(other).succeed()
    one.fail()
    assert one.breaker.state is CLOSED
    assert scene.place.has().failures == 1


def test_there_is_one_trial_for_all_and_its_answer_counts_for_all(scene: Scene) -> None:
    one, other = scene.processes
    scene.due(one)
    trial = held_by(other)
    assert one.ask() is None
    assert one.breaker.state is HALF_OPEN
    trial.succeed()
    assert other.breaker.state is CLOSED
    one.look()
    assert one.breaker.state is CLOSED
    assert [type(event) for event in one.told()] == [CircuitOpened, CircuitHalfOpened, CircuitClosed]
    assert [event.seq for event in one.told()] == [event.seq for event in other.told()]
    held_by(one).succeed()


def test_a_late_answer_is_no_verdict_although_nobody_has_told_us_yet(scene: Scene) -> None:
    """I3, across processes: the permit is of an earlier generation than the one that is stored."""
    one, other = scene.processes
    late = held_by(other)
    one.fail(2)
    late.fail(BROKEN)
    assert scene.place.has() == one.circuit.shifted(4000.0)
    assert other.breaker.state is OPEN


def test_a_servers_later_reset_counts_for_all_whoever_hears_it(scene: Scene) -> None:
    one, other = scene.processes
    late = held_by(other)
    scene.open(one)
    late.fail(QUOTA)
    one.look()
    assert one.circuit.open_until == one.clock.monotonic() + 3600.0
    assert one.circuit.authoritative


@pytest.mark.parametrize("order", ["reset", "disable", "observe_only", "force_open", "release"])
def test_an_order_by_hand_is_decided_in_the_store_though_we_have_not_heard_yet_what_it_is_about(
    scene: Scene, order: str
) -> None:
    """M27: a reset that was read here and set there lost the opening in between, or was lost to it."""
    one, other = scene.processes
    other.fail(2) if order != "release" else other.breaker.force_open()
    before = scene.place.has()
    getattr(one.breaker, order)()
    after = scene.place.has()
    assert after.generation == before.generation + 1
    assert after == replace(one.circuit, window=()).shifted(4000.0)
    other.look()
    assert other.breaker.state is one.breaker.state
    assert [event.kind for event in one.told()][-1] == "circuit_forced"


def test_a_probe_that_has_proven_it_well_closes_it_for_all(scene: Scene) -> None:
    one, other = scene.processes
    scene.open(one)
    other.breaker.restore()
    one.look()
    assert one.breaker.state is CLOSED


def test_what_only_one_process_has_seen_lately_is_its_own(scene: Scene) -> None:
    """The window is never stored, and goes on when others change the circuit."""
    one, other = scene.processes
    for _ in range(7):
        held_by(one).succeed()
    other.fail()
    one.look()
    assert one.breaker.snapshot().window_calls == 7
    assert scene.place.has().window == ()


@pytest.mark.parametrize("seed", range(40))
def test_the_same_calls_lead_to_the_same_states_with_and_without_a_store(seed: int) -> None:
    """S3. Elsewhere a late success closed the circuit in memory and was ignored through the store."""
    rng = random.Random(seed)
    settings = CircuitSettings(
        failure_threshold=3, minimum_calls=4, cooldown=10.0, half_open_permits=rng.choice([1, 2]), permit_lease=30.0,
        jitter=0.0,  # so that times are exact on both clocks
    )  # fmt: skip
    scene = Scene(1000.0, settings=settings)
    shared, plain_clock, plain_sink = scene.processes[0], ManualClock(1000.0), RecordingSink()
    plain = CircuitBreaker(NAME, settings, clock=plain_clock, listeners=[plain_sink], rng=random.Random(seed))
    assert shared.breaker.state is CLOSED  # there it is, from the same moment on
    shared.breakers._rng.seed(seed)
    out: list[tuple[HeldPermit, HeldPermit]] = []
    for _ in range(150):
        if rng.random() < 0.5:
            pair = admitted(plain), admitted(shared.breaker)
            assert (pair[0] is None) == (pair[1] is None)
            out += [(one, other) for one, other in [pair] if one is not None and other is not None]
        elif out and rng.random() < 0.8:
            settle: Callable[[HeldPermit], None] = rng.choice([
                lambda p: p.succeed(), lambda p: p.fail(BROKEN), lambda p: p.fail(BROKEN), lambda p: p.cancel(),
                lambda p: p.fail(QUOTA),
            ])  # fmt: skip
            for permit in out.pop(rng.randrange(len(out))):
                settle(permit)
        elif rng.random() < 0.1:
            order = rng.choice(["reset", "force_open", "release", "disable"])
            for breaker in (plain, shared.breaker):
                getattr(breaker, order)()
        else:
            seconds = rng.choice([0.125, 1.0, 10.0, 31.0, 400.0])
            plain_clock.advance(seconds)
            scene.pass_time(seconds)
            shared.look()
        assert alike(plain.circuit) == alike(shared.circuit)
    assert [replace(event, seq=0) for event in plain_sink.events] == [replace(event, seq=0) for event in shared.told()]
    assert adds_up(shared.breaker)
    assert scene.place.has().window == ()


def admitted(breaker: CircuitBreaker) -> HeldPermit | None:
    try:
        return breaker.acquire()
    except CircuitOpenError:
        return None


def alike(circuit: Circuit) -> Circuit:
    """The circuit without what only a store needs."""
    return replace(circuit, seq=0, leases=tuple(lease._replace(owner="") for lease in circuit.leases))


def test_clocks_may_be_far_apart_and_the_wall_clock_may_jump() -> None:
    """S4, T1: times are compared on the store's clock alone."""
    scene = Scene(10.0, 1e6, 5000.0)
    one, other, third = scene.processes
    one.fail(2)
    other.clock.jump_wall(86400.0)
    scene.place.clock.jump_wall(-86400.0)
    scene.pass_time(COOLDOWN - 1.0)
    third.look()
    other.look()
    assert other.ask() is third.ask() is None
    scene.pass_time(1.0)
    trial = other.ask()
    assert trial is not None
    assert third.ask() is None
    trial.cancel()


# Permits of those who have ended


def stored_trial(scene: Scene, owner: str, *, deadline: float = LEASE) -> None:
    """Somebody else has a trial under way."""
    now = scene.place.clock.monotonic()
    trying = Circuit(
        state=HALF_OPEN, generation=2, seq=9, opened_at=now - 20.0, permits=7,
        leases=(Lease(7, now, now + deadline, owner),),
    )  # fmt: skip
    scene.place.update(NAME, lambda _: trying)
    look(scene.processes)


def ended_here() -> str:
    """An owner on this host whose process has ended."""

    class Somebody:
        pass

    host, _, _, number = new_owner(Somebody()).rsplit("/", 3)
    return f"{host}/999999999/1/{number}"


def test_a_trial_of_a_process_that_has_ended_is_free_at_once(scene: Scene) -> None:
    """M8: elsewhere everybody was refused until the record ran out."""
    stored_trial(scene, ended_here())
    one, other = scene.processes
    assert one.breaker.denial() is other.breaker.denial() is None
    trial = held_by(one)
    assert [lease.number for lease in scene.place.has().leases] == [8]
    assert isinstance(one.told()[-1], PermitExpired)
    assert other.ask() is None
    trial.succeed()
    look(scene.processes)
    assert one.breaker.state is other.breaker.state is CLOSED


def test_while_the_store_is_lost_it_is_free_as_well(scene: Scene) -> None:
    stored_trial(scene, ended_here())
    one = scene.processes[0]
    scene.place.down = True
    one.look()
    held_by(one).succeed()
    assert one.breaker.state is CLOSED


def test_a_trial_of_a_process_elsewhere_is_free_at_its_deadline(scene: Scene) -> None:
    """Whether it has ended, nobody here can know."""
    stored_trial(scene, "elsewhere/4026531836/4711/1/1")
    one = scene.processes[0]
    scene.pass_time(LEASE - 0.001)
    denial = one.breaker.denial()
    assert denial is not None
    assert denial.retry_after == pytest.approx(0.001)
    assert one.ask() is None
    scene.pass_time(0.001)
    assert one.ask() is not None
    assert [event.held_for for event in one.told() if isinstance(event, PermitExpired)] == [pytest.approx(LEASE)]


def test_a_trial_that_was_granted_without_our_hearing_of_it_is_free_when_we_ask_again(scene: Scene) -> None:
    """The store took it, and the answer was lost: nobody holds it, and only we can know."""
    one, other = scene.processes
    scene.due(one)
    scene.place.loses_answers = True
    assert one.ask() is None, "it may have been granted twice otherwise"
    scene.place.loses_answers = False
    assert len(scene.place.has().leases) == 1
    look(scene.processes)
    assert other.ask() is None, "to others it looks like a trial under way"
    trial = held_by(one)
    assert [lease.number for lease in scene.place.has().leases] == [trial.permit.number]
    trial.succeed()
    assert scene.place.has().state is CLOSED


def test_a_process_that_takes_leave_holds_nothing_any_more(scene: Scene) -> None:
    """Its verdict will not come: what it decides from then on stays with it."""
    one, other = scene.processes
    scene.due(one)
    late = held_by(one)
    one.breakers.close()
    other.look()
    held_by(other).succeed()
    late.fail(BROKEN)
    look(scene.processes)
    assert other.breaker.state is CLOSED


def test_a_permit_that_ran_out_elsewhere_is_counted_here_and_its_answer_is_late(scene: Scene) -> None:
    one, other = scene.processes
    scene.due(one)
    slow = held_by(one)
    scene.pass_time(LEASE)
    trial = held_by(other)
    one.look()
    assert one.breaker.snapshot().expired == 1
    slow.fail(BROKEN)
    assert other.breaker.state is HALF_OPEN
    assert one.breaker.snapshot().stale == 1
    trial.succeed()
    look(scene.processes)
    assert one.breaker.state is CLOSED
    assert adds_up(one.breaker)
    assert adds_up(other.breaker)


def test_as_many_may_try_at_once_as_the_settings_say_over_all_processes() -> None:
    scene = Scene(1.0, 2.0, 3.0, settings=replace(SETTINGS, half_open_permits=2))
    scene.due(scene.processes[0])
    trials = [permit for process in scene.processes for permit in (process.ask(), process.ask()) if permit]
    assert len(trials) == 2
    trials[0].succeed()
    assert [process.ask() for process in scene.processes] == [None] * 3, "two must succeed, and one is under way"
    trials[1].succeed()
    look(scene.processes)
    assert [process.breaker.state for process in scene.processes] == [CLOSED] * 3


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


def test_if_nobody_listens_the_log_is_told_of_a_lost_store_once(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    clock = ManualClock()
    breakers = Breakers(SETTINGS, store=Sharing(place, clock, Outbox(Listeners([])), look_every=None), clock=clock)
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
    assert kinds(one) == kinds(other) == ["circuit_opened"]
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
    one.sharing._settle(name, entry)
    assert scene.place.has() == before
    assert before.state is CLOSED


def test_what_the_store_has_forgotten_it_is_told_again(scene: Scene) -> None:
    """S5: an expired record means what was last known, not a closed circuit with full traffic."""
    one, _ = scene.processes
    held_by(one).fail(QUOTA)
    scene.place.forget()
    late = scene.join()
    assert late.breaker.state is CLOSED, "there is nothing that it could know"
    scene.pass_time(sharing.COMPARE_EVERY)
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


# The end, and what the next one finds


def test_closing_writes_what_is_pending_and_more_than_once_does_no_harm(scene: Scene) -> None:
    one = scene.processes[0]
    scene.place.down = True
    for number in range(50):
        fail(one.breakers[f"tool/{number}"], 2)
    scene.place.down = False
    one.breakers.close()
    one.breakers.close()
    assert {circuit.state for circuit in scene.place.load().values()} == {OPEN}
    assert len(scene.place.load()) == 50


def test_after_closing_decisions_go_on_in_memory_and_the_store_is_left_alone(scene: Scene) -> None:
    one = scene.processes[0]
    one.breakers.close()
    asked = scene.place.asked
    one.fail(2)
    assert one.breaker.state is OPEN
    one.clock.advance(COOLDOWN)
    trial = held_by(one)
    assert one.ask() is None
    trial.succeed()
    look([one])
    assert one.breaker.state is CLOSED
    assert scene.place.asked == asked
    assert one.sharing._alone == {}
    assert "store_lost" not in one.sink.kinds()


def test_closing_gives_up_on_a_store_that_fails_and_says_so(scene: Scene) -> None:
    one = scene.processes[0]
    scene.place.down = True
    one.fail()
    one.breakers.close()
    assert one.sink.kinds() == ["store_lost"]


def test_a_breaker_of_a_registry_does_not_close_the_store_of_all(scene: Scene) -> None:
    one, other = scene.processes
    one.breaker.close()
    one.fail(2)
    other.look()
    assert other.breaker.state is OPEN


@pytest.mark.parametrize("jump", [0.0, 86400.0, -86400.0])
def test_a_restart_keeps_the_remaining_time_whatever_the_wall_clock_says(scene: Scene, jump: float) -> None:
    one = scene.processes[0]
    held_by(one).fail(QUOTA)
    one.breakers.close()
    scene.pass_time(600.0)
    scene.place.clock.jump_wall(jump)
    late = Process(scene.place, start=77.0, wall=jump)
    assert late.circuit.open_until == 77.0 + 3000.0
    assert late.circuit.opened_at == 77.0 - 600.0
    assert late.circuit.authoritative


def test_an_opening_that_ended_meanwhile_is_due(scene: Scene) -> None:
    scene.open(scene.processes[0])
    scene.pass_time(COOLDOWN + 3.0)
    assert held_by(scene.join()).trial


def test_what_waited_for_proof_is_tried_after_a_restart_by_all(scene: Scene) -> None:
    """Restarting is how people mend a key."""
    one = scene.processes[0]
    held_by(one).fail(NO_KEY)
    late = scene.join()
    assert late.breaker.denial() is None
    look([late, one])
    trial = held_by(one)
    assert late.ask() is None
    trial.succeed()


def test_a_restart_does_not_open_again_what_another_has_just_closed(scene: Scene) -> None:
    one = scene.processes[0]
    held_by(one).fail(NO_KEY)
    late = scene.join()
    one.breaker.restore()
    look(scene.processes)
    assert scene.place.has().state is late.breaker.state is CLOSED


def test_a_breaker_alone_leaves_the_circuits_of_others_as_they_are() -> None:
    place = Place()
    opened = Circuit(state=OPEN, generation=1, seq=1, opened_at=4000.0, open_until=math.inf)
    place.update("account/x", lambda _: opened)
    place.update("search", lambda _: opened)
    breaker = CircuitBreaker("search", SETTINGS, store=place, clock=ManualClock())
    breaker.close()
    assert place.has("account/x") is opened
    assert place.has("search").open_until == 5000.0


def test_what_a_hand_has_opened_stays_open(scene: Scene) -> None:
    scene.processes[0].breaker.force_open()
    scene.pass_time(86400.0)
    late = scene.join()
    assert (late.circuit.state, late.circuit.open_until) == (FORCED_OPEN, math.inf)


def test_a_circuit_given_to_a_breaker_gives_way_to_the_stored_one() -> None:
    place = Place()
    stored = Circuit(state=OPEN, generation=1, seq=1, opened_at=5000.0, open_until=5600.0)
    given = Circuit(failures=1)
    fresh = CircuitBreaker(NAME, SETTINGS, store=place, clock=ManualClock(), circuit=given)
    assert fresh.circuit.failures == 1
    place.update(NAME, lambda _: stored)
    later = CircuitBreaker(NAME, SETTINGS, store=place, clock=ManualClock(), circuit=given)
    assert later.circuit.open_until == 1600.0
    fresh.close()
    later.close()


# A registry that shares


def test_a_name_that_comes_back_hears_of_its_own_circuit_though_others_were_forgotten() -> None:
    """What was forgotten had higher numbers than the stored circuit of this name has."""
    scene = Scene()
    one, other = scene.processes
    breakers = Breakers(SETTINGS, max_size=1, store=one.sharing, clock=one.clock)
    for _ in range(20):
        breakers["busy"].force_open()
        breakers["busy"].reset()
    scene.pass_time(SETTINGS.cooldown_max)
    for name in ("a", "b", "c"):
        assert breakers[name].state is CLOSED
    assert "busy" not in breakers
    other.fail(2)
    one.look()
    assert breakers[NAME].state is OPEN


def test_what_nobody_here_has_asked_for_is_heard_of_if_it_is_news(scene: Scene) -> None:
    one, other = scene.processes
    fail(other.breakers["opened"], 2)
    fail(other.breakers["failed once"])
    fail(other.breakers["well"])
    other.breakers["well"].reset()
    one.look()
    assert {name: circuit.failures for name, circuit in one.breakers.snapshot().circuits.items()} == {
        "opened": 2, "failed once": 1,
    }  # fmt: skip
    assert one.breakers.should_pause(1)


def test_settings_that_raise_for_a_name_that_is_heard_of_do_not_lose_the_store(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = scene.processes

    def overrides(name: str) -> CircuitSettings:
        if name == "bad":
            raise KeyError(name)
        return SETTINGS

    breakers = Breakers(overrides=overrides, store=one.sharing, clock=one.clock)
    fail(other.breakers["bad"], 2)
    fail(other.breakers["good"], 2)
    one.look()
    assert breakers["good"].state is OPEN
    assert not breakers.store_lost
    assert "settings for" in caplog.text


def test_ten_thousand_circuits_are_taken_over(scene: Scene) -> None:
    opened = Circuit(state=OPEN, generation=1, seq=1, opened_at=5000.0, open_until=6000.0)
    for number in range(10_000):
        scene.place.update(f"tool/{number}", lambda _: opened)
    late = scene.join()
    assert late.breakers.snapshot().open_count == 10_000
    assert late.sharing._alone == {}


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
