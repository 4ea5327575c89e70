"""Circuits that several processes decide together, while all is well with the store."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    HALF_OPEN,
    LEASE,
    OPEN,
    SETTINGS,
    adds_up,
)
from tests.breaker.sharing_scenes import NAME, QUOTA, Scene, admitted, held_by, look

from recloser.breaker import CircuitBreaker, HeldPermit
from recloser.breaker.owner import new_owner
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, Lease
from recloser.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, PermitExpired
from recloser.testing import ManualClock, RecordingSink


@pytest.fixture
def scene() -> Scene:
    return Scene()


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


def test_a_trial_is_settled_by_the_process_that_made_it_and_not_by_a_copy_of_that(scene: Scene) -> None:
    """A copy has the permit as well, and gives it back when it ends; the call is still under way in the original."""
    one, other = scene.processes
    scene.due(one)
    trial = held_by(one)
    for copied in (one.access, one.sharing, one.breaker):
        copied.forked()
    trial.cancel()
    assert len(scene.place.has().leases) == 1
    assert one.ask() is other.ask() is None
    assert adds_up(one.breaker)
