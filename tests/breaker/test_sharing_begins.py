"""How sharing ends, what the next process takes over, and what a registry has to do with it."""

import math

import pytest
from tests.breaker.scenes import (
    CLOSED,
    COOLDOWN,
    FORCED_OPEN,
    OPEN,
    SETTINGS,
    fail,
)
from tests.breaker.sharing_scenes import NAME, NO_KEY, QUOTA, Place, Process, Scene, held_by, look

from recloser.breaker import Breakers, CircuitBreaker
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit
from recloser.testing import ManualClock


@pytest.fixture
def scene() -> Scene:
    return Scene()


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


def test_closing_gives_up_on_a_store_that_fails_and_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def close() -> None:
        raise OSError("not even that")

    one = scene.processes[0]
    held_by(one).fail(NO_KEY)
    late = scene.join()  # has something to tell: that it is tried now
    scene.place.down = True
    late.breakers.close()
    assert late.sink.kinds() == ["store_lost"]
    assert not caplog.records, "those who listen were told"
    monkeypatch.setattr(scene.place, "close", close)
    one.breakers.close()
    assert "not even that" in caplog.text


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
