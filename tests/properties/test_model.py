"""The real core in every state of many small worlds; and that each of its mechanisms is needed, one by one.

`pytest -s tests/properties/test_model.py` prints how many states each world has, and the shortest way to harm without
each mechanism.
"""

import math
import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from tests.properties.model_checker import bisimilar, search
from tests.properties.model_world import (
    BROKEN,
    CORE,
    HINTS,
    NAME,
    SLOW,
    UNTIL_PROVEN,
    Asked,
    Rules,
    Scene,
    World,
    moves,
)

from recloser.core import circuit as machine
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import TRANSITIONS, Circuit, CircuitState, Denied, Lease, Permit, Step
from recloser.core.failure import Failure

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY = CircuitState
BY_ITSELF = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, CLOSED), (HALF_OPEN, OPEN)}


def small(
    threshold: int = 2, permits: int = 1, cooldown: int = 2, lease: int = 2, factor: int = 1, **more: Any
) -> CircuitSettings:
    """Settings counted in ticks. The cooldown can grow twice."""
    rates: dict[str, Any] = {"failure_rate": 0.0, "slow_rate": 0.0, **more}
    return CircuitSettings(
        failure_threshold=threshold, half_open_permits=permits, cooldown=cooldown, permit_lease=lease,
        cooldown_factor=factor, cooldown_max=cooldown * factor**2, jitter=0.0, **rates,
    )  # fmt: skip


LAST_CALLS = {"window": 2.0, "window_calls": 3, "minimum_calls": 2}
SCENES = {
    "four calls under way": Scene(settings=small(3, 2, 3, 3, 2), in_flight=4),
    "three trials": Scene(settings=small(2, 3, 2, 3, 2), in_flight=4),
    "the server's own word": Scene(settings=small(2, 2, 2, 2, 2), failures=(BROKEN, *HINTS)),
    "until it is proven well": Scene(settings=small(2, 1, 2, 2, 2), failures=(BROKEN, UNTIL_PROVEN), hands=True),
    "by hand": Scene(settings=small(2, 2, 2, 2, 2), hands=True),
    "failure rate": Scene(settings=small(0, 1, 2, 2, 2, failure_rate=0.5, **LAST_CALLS)),
    "failure rate, by hand": Scene(settings=small(2, 1, 1, 1, 1, failure_rate=0.5, **LAST_CALLS), hands=True),
    "both rates": Scene(
        settings=small(3, 2, 1, 2, 1, failure_rate=0.6, slow_rate=1.0, slow_call=SLOW, **LAST_CALLS), slow=True
    ),
}


# All is well


@pytest.mark.parametrize("permits", [1, 2])
@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_no_state_of_a_small_world_breaks_an_invariant(threshold: int, permits: int) -> None:
    for cooldown, lease, factor in product((1, 2, 3), (1, 2, 3), (1, 2)):
        settings = small(threshold, permits, cooldown, lease, factor)
        found = search(Scene(settings=settings))
        print(f"threshold {threshold}, permits {permits}, cooldown {cooldown}, lease {lease}, x{factor}: {found}")
        assert not found.broken, str(found)
        assert found.transitions == BY_ITSELF


@pytest.mark.parametrize("name", SCENES)
def test_no_state_of_a_richer_world_breaks_an_invariant(name: str) -> None:
    scene = SCENES[name]
    found = search(scene)
    print(f"{name}: {found}")
    assert not found.broken, str(found)
    assert found.transitions == (set(TRANSITIONS) if scene.hands else BY_ITSELF)


# Each mechanism is needed


def current(circuit: Circuit, permit: Permit) -> Permit:
    """A permit as if it were of the present generation."""
    return permit._replace(generation=circuit.generation)


def anybodys(circuit: Circuit, permit: Permit) -> Permit:
    """A permit as if only their number were known: one of those that are out, whoever asks."""
    known = {lease.number for lease in circuit.leases}
    number = permit.number if permit.number in known else min(known, default=0)
    return Permit(circuit.generation, number)


def admit_without_limit(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    return CORE.admit(circuit, replace(settings, half_open_permits=1000), now)


def admit_without_deadline(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    return CORE.admit(circuit, replace(settings, permit_lease=1e6), now)


def admit_and_renew_when_denied(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    step, answer = CORE.admit(circuit, settings, now)
    if not isinstance(answer, Denied):
        return step, answer
    renewed = tuple(Lease(x.number, x.granted_at, now + float(settings.permit_lease)) for x in circuit.leases)
    return Step(replace(circuit, leases=renewed)), answer


def succeed_even_late(circuit: Circuit, settings: CircuitSettings, permit: Permit, now: float, took: float) -> Step:
    if circuit.state is OPEN:
        return machine.restore(circuit, settings, NAME, now)
    return CORE.succeed(circuit, settings, permit, now, took)


def fail_even_late(circuit: Circuit, settings: CircuitSettings, permit: Permit, failure: Failure, now: float) -> Step:
    if circuit.state is OPEN:
        return Step(replace(circuit, open_until=now + float(settings.cooldown)))
    return CORE.fail(circuit, settings, permit, failure, now)


def keep(circuit: Circuit, _settings: CircuitSettings, _permit: Permit, _now: float) -> Step:
    return Step(circuit)


NOBODY_IS_LATE = Rules(
    succeed=lambda c, s, permit, now, took: CORE.succeed(c, s, current(c, permit), now, took),
    fail=lambda c, s, permit, failure, now: CORE.fail(c, s, current(c, permit), failure, now),
    cancel=lambda c, s, permit, now: CORE.cancel(c, s, current(c, permit), now),
)
PERMITS_ARE_ONLY_COUNTED = Rules(
    succeed=lambda c, s, permit, now, took: CORE.succeed(c, s, anybodys(c, permit), now, took),
    fail=lambda c, s, permit, failure, now: CORE.fail(c, s, anybodys(c, permit), failure, now),
    cancel=lambda c, s, permit, now: CORE.cancel(c, s, anybodys(c, permit), now),
)
ABLATIONS = {
    "without the generation": (NOBODY_IS_LATE, "I3"),
    "without whose permit it is": (PERMITS_ARE_ONLY_COUNTED, "I1"),
    "without the limit of permits": (Rules(admit=admit_without_limit), "I1"),
    "without the deadline of a lease": (Rules(admit=admit_without_deadline), "I2"),
    "where refused calls renew leases": (Rules(admit=admit_and_renew_when_denied), "I5"),
    "where a late success closes": (Rules(succeed=succeed_even_late), "I3"),
    "where a late failure extends": (Rules(fail=fail_even_late), "I6"),
    "without release on cancel": (Rules(cancel=keep), "I8"),
    "without release and deadline": (Rules(cancel=keep, admit=admit_without_deadline), "I2"),
    "where a cancelled trial opens": (
        Rules(cancel=lambda c, s, permit, now: CORE.fail(c, s, permit, BROKEN, now)), "I8"
    ),
    "where a cancelled trial closes": (
        Rules(cancel=lambda c, s, permit, now: CORE.succeed(c, s, permit, now, 0.0)), "I8"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ABLATIONS)
def test_without_one_mechanism_there_is_a_way_to_harm(name: str) -> None:
    rules, invariant = ABLATIONS[name]
    found = search(Scene(settings=small(2, 1, 2, 2)), rules, only=frozenset({invariant}))
    print(f"\n{name}: {found}")
    assert invariant in found.broken


def test_with_the_lease_kept_a_cancelled_permit_wedges_nobody() -> None:
    """Release shortens a recovery; it is the deadline that ends a wedge."""
    assert not search(Scene(settings=small(2, 1, 2, 2)), Rules(cancel=keep), only=frozenset({"I1", "I2"})).broken


# Each check can fail


def admit_early(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    return CORE.admit(circuit, settings, now + 1.0)


def admit_one_at_a_time(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    return CORE.admit(circuit, replace(settings, half_open_permits=1), now)


def admit_under_one_number(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    return CORE.admit(replace(circuit, permits=0), settings, now)


def admit_and_tell_twice(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    step, answer = CORE.admit(circuit, settings, now)
    return Step(step.circuit, step.events * 2), answer


def admit_and_say_nothing(circuit: Circuit, settings: CircuitSettings, now: float) -> Asked:
    step, answer = CORE.admit(circuit, settings, now)
    return Step(replace(step.circuit, seq=circuit.seq)), answer


def succeed_at_the_first_trial(
    circuit: Circuit, settings: CircuitSettings, permit: Permit, now: float, took: float
) -> Step:
    return CORE.succeed(circuit, replace(settings, half_open_permits=1), permit, now, took)


def fail_for_longer(circuit: Circuit, settings: CircuitSettings, permit: Permit, failure: Failure, now: float) -> Step:
    return CORE.fail(circuit, replace(settings, cooldown_factor=5.0, cooldown_max=50.0), permit, failure, now)


def fail_in_closed_only(
    circuit: Circuit, settings: CircuitSettings, permit: Permit, failure: Failure, now: float
) -> Step:
    if circuit.state is HALF_OPEN:
        return CORE.cancel(circuit, settings, permit, now)
    return CORE.fail(circuit, settings, permit, failure, now)


FAULTS = {
    "I4": Rules(admit=admit_early),
    "I7": Rules(admit=admit_under_one_number),
    "I9": Rules(admit=admit_and_say_nothing),
    "E1": Rules(admit=admit_and_tell_twice),
    "T2": Rules(fail=fail_for_longer),
    "a reason": Rules(admit=admit_one_at_a_time),
    "a failed trial opens": Rules(fail=fail_in_closed_only),
    "enough good trials close": Rules(succeed=succeed_at_the_first_trial),
    "a sound value": Rules(cancel=lambda c, *_: Step(replace(c, successes=1))),
}


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_is_found_by_the_check_that_is_meant_for_it(check: str) -> None:
    found = search(Scene(settings=small(2, 2, 2, 2, 2)), FAULTS[check], only=frozenset({check}))
    assert check in found.broken


def test_calls_said_to_be_easy_although_they_are_not_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    always = machine.Easy(1, math.inf, math.inf, math.inf)
    monkeypatch.setattr(machine, "easy", lambda *_: always)
    assert "easy" in search(Scene(settings=small())).broken


# What the search leaves out makes no difference


@pytest.mark.parametrize("name", SCENES)
def test_worlds_that_count_as_one_have_the_same_future(name: str) -> None:
    scene, rng = SCENES[name], random.Random(name)
    for walk in range(10):
        world = World(circuit=Circuit(generation=3, seq=7, openings=walk, closed_at=999.0 - walk), now=1000.0)
        for _ in range(60):
            assert bisimilar(scene, world)
            world = rng.choice(list(moves(scene, world))).world


def test_worlds_that_only_seem_to_be_one_are_told_apart() -> None:
    """A rule that looks at what the search leaves out: how many trials there ever were."""
    stingy = Rules(admit=lambda c, s, now: CORE.admit(c, s, now if c.permits < 3 else 0.0))
    assert not bisimilar(
        Scene(settings=small()), World(Circuit(state=OPEN, opened_at=0.0, open_until=5.0, permits=3)), stingy
    )
