"""A small world around a circuit: what can happen in it, and what must never.

The steps are those of the real core. What is known beside them is in `Call` and `World`: who was admitted, until when
a trial may take, and whether the circuit has moved on since, by our own observation. The invariants have the names of
the breaker reference: I1 to I9 for admission, E1 for events, T2 for the length of an opening.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from recloser.core import circuit as machine
from recloser.core import circuit_control as hand
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import (
    COUNTING,
    REFUSING,
    TRANSITIONS,
    Circuit,
    CircuitState,
    Denied,
    Permit,
    Step,
)
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event, PermitExpired
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.core.window import EMPTY, total

NAME = "x"
TICK = 1.0
SLOW = 50.0
CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY = CircuitState


def failed(effect: Effect = Effect.COUNTS, retry_after: float | None = None, *, until_proven: bool = False) -> Failure:
    """A failure of the only kind that matters here. A server's own word is one that opens."""
    return Failure(
        kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=effect, retry_after=retry_after,
        authoritative=effect is Effect.OPENS and not until_proven, until_proven=until_proven,
    )  # fmt: skip


BROKEN = failed()
HINTS = (failed(retry_after=2.0), failed(Effect.OPENS, 3.0), failed(Effect.OPENS, 5.0), failed(Effect.OPENS))
UNTIL_PROVEN = failed(Effect.OPENS, until_proven=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A small world: the settings, how many calls may be under way, and what may happen besides calls and time."""

    settings: CircuitSettings
    in_flight: int = 3
    failures: tuple[Failure, ...] = (BROKEN,)
    slow: bool = False
    hands: bool = False


class Call(NamedTuple):
    """A call that was admitted and has not been settled."""

    permit: Permit
    current: bool = True
    """Whether the circuit is still in the phase in which the call was admitted."""
    expires: float | None = None
    """When the lease of a trial runs out; None for other calls, and once the lease was taken back."""
    silent: bool = False
    """Whether its owner will never be heard of again."""


class World(NamedTuple):
    """A circuit and everybody around it."""

    circuit: Circuit = Circuit()
    calls: tuple[Call, ...] = ()
    refuses_until: float = -math.inf
    """Nobody may be admitted before: the end of the opening, as it was told when it began."""
    now: float = 0.0


class Move(NamedTuple):
    """Something that can happen, the world after it, and which invariants it breaks."""

    label: str
    world: World
    broken: tuple[str, ...] = ()


Asked = tuple[Step, Permit | Denied]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The functions that decide. An ablation puts a weaker one in the place of a real one."""

    admit: Callable[[Circuit, CircuitSettings, float], Asked] = lambda c, s, now: machine.admit(c, s, NAME, now)
    succeed: Callable[[Circuit, CircuitSettings, Permit, float, float], Step] = lambda c, s, permit, now, took: (
        machine.succeed(c, s, permit, NAME, now, took=took)
    )
    fail: Callable[[Circuit, CircuitSettings, Permit, Failure, float], Step] = lambda c, s, permit, failure, now: (
        machine.fail(c, s, permit, failure, NAME, now)
    )
    cancel: Callable[[Circuit, CircuitSettings, Permit, float], Step] = lambda c, _s, permit, _now: machine.give_back(
        c, permit
    )


CORE = Rules()


# What can happen


def moves(scene: Scene, world: World, rules: Rules = CORE) -> Iterator[Move]:
    """Everything that can happen next."""
    calls = [call for call in world.calls if not call.silent]
    if len(calls) < scene.in_flight:
        yield _ask(scene, world, rules)
    for call in dict.fromkeys(calls):
        yield _cancel(scene, world, call, rules)
        yield Move("silent", world._replace(calls=_silenced(world.calls, call)))
        for took in (0.0, SLOW) if scene.slow else (0.0,):
            yield _succeed(scene, world, call, took, rules)
        for failure in scene.failures:
            yield _fail(scene, world, call, failure, rules)
    yield Move("tick", world._replace(now=world.now + TICK))
    if scene.hands:
        yield from _by_hand(scene, world)


def _ask(scene: Scene, world: World, rules: Rules) -> Move:
    before, now = world.circuit, world.now
    step, answer = rules.admit(before, scene.settings, now)
    if isinstance(answer, Denied):
        trials = trials_of(world.calls, now)
        room = not trials or len(trials) + before.successes < scene.settings.half_open_permits
        due = now >= world.refuses_until if before.state in REFUSING else room
        changed = step.circuit is not before or bool(step.events)
        return Move("ask: denied", world, tuple(filter(None, ("a reason" * due, "I5" * changed))))
    after = step.circuit
    calls = _noticed(world, step)
    lapsed = [c for c in calls if c.expires is not None and c.current and c.expires <= now]
    expired = [e for e in step.events if isinstance(e, PermitExpired)]
    calls = [c._replace(expires=None) if c in lapsed else c for c in calls if not (c in lapsed and c.silent)]
    trial = now + scene.settings.permit_lease if after.state is HALF_OPEN else None
    calls.append(Call(answer, expires=trial))
    broken = [
        *_wrong_step(world, step),
        "I1" * (len(trials_of(calls, now)) > scene.settings.half_open_permits),
        "I4" * (now < world.refuses_until),
        "I7" * (len(expired) != len(lapsed)),
        "I7" * any(answer == c.permit for c in world.calls if answer.number),
    ]
    return _moved("ask: admitted", scene, world, step, tuple(calls), broken)


def _cancel(scene: Scene, world: World, call: Call, rules: Rules) -> Move:
    before = world.circuit
    step = rules.cancel(before, scene.settings, call.permit, world.now)
    broken = [*_wrong_step(world, step), *_settled_again(scene, world, call, step, rules)]
    returned = before
    if call.current and call.expires is not None:
        returned = replace(before, leases=tuple(x for x in before.leases if x.number != call.permit.number))
    if step != Step(returned):
        broken.append("I8")
    return _moved(_named("cancel", call), scene, world, step, _without(_noticed(world, step), call), broken)


def _succeed(scene: Scene, world: World, call: Call, took: float, rules: Rules) -> Move:
    step = rules.succeed(world.circuit, scene.settings, call.permit, world.now, took)
    return _settled("slow success" if took else "success", scene, world, call, step, rules)


def _fail(scene: Scene, world: World, call: Call, failure: Failure, rules: Rules) -> Move:
    step = rules.fail(world.circuit, scene.settings, call.permit, failure, world.now)
    told = "" if failure is BROKEN else f" ({failure.effect}, {failure.retry_after or 'no'} hint)"
    return _settled("failure" + told, scene, world, call, step, rules, failure)


def _settled(
    label: str, scene: Scene, world: World, call: Call, step: Step, rules: Rules, failure: Failure | None = None
) -> Move:
    before, after = world.circuit, step.circuit
    broken = [*_wrong_step(world, step, failure), *_settled_again(scene, world, call, step, rules)]
    trial = before.state is HALF_OPEN and call.expires is not None
    if after.state is OPEN and before.state is not OPEN:
        broken.append("" if _right_length(scene, step, world.now, failure) else "T2")
    if not call.current:
        late = replace(before, open_until=after.open_until, last_kind=after.last_kind, reason=after.reason)
        extended = replace(late, authoritative=after.authoritative, outage_began=after.outage_began, seq=after.seq)
        later = failure and before.state is OPEN and after.open_until != before.open_until
        if after != (extended if later else before):
            broken.append("I3")
    elif before.state is HALF_OPEN and not trial and after is not before:
        broken.append("I7")  # it was settled when its lease ran out
    elif trial and failure is not None and after.state is not OPEN:
        broken.append("a failed trial opens")
    elif trial and label == "success":
        enough = before.successes + 1 >= scene.settings.half_open_permits
        broken.append("" if after.state is (CLOSED if enough else HALF_OPEN) else "enough good trials close")
    return _moved(_named(label, call), scene, world, step, _without(_noticed(world, step), call), broken)


def _by_hand(scene: Scene, world: World) -> Iterator[Move]:
    circuit, now = world.circuit, world.now
    steps = {
        "force open for 2": hand.force_open(circuit, NAME, now, duration=2.0, reason=""),
        "force open": hand.force_open(circuit, NAME, now, duration=None, reason=""),
        "disable": hand.disable(circuit, NAME, reason=""),
        "observe only": hand.observe_only(circuit, NAME, reason=""),
        "release": hand.release(circuit, NAME, now, reason=""),
        "reset": hand.reset(circuit, NAME, now, reason=""),
        "restore": machine.restore(circuit, scene.settings, NAME, now),
    }
    for label, step in steps.items():
        yield _moved(label, scene, world, step, tuple(_noticed(world, step)), _wrong_step(world, step))


# What must hold


def _wrong_step(world: World, step: Step, failure: Failure | None = None) -> list[str]:
    """I6, I9 and E1: what holds for a step, whatever led to it."""
    before, after = world.circuit, step.circuit
    seqs = [before.seq, *(event.seq for event in step.events), after.seq]
    rising = all(b == a + 1 for a, b in pairwise(seqs[:-1])) and seqs[-1] == seqs[-2]
    told = _told_state(step.events)
    moved = after.state is not before.state
    forced_again = after.state is FORCED_OPEN and told is FORCED_OPEN
    legal = not moved or (before.state, after.state) in TRANSITIONS
    heard = told is after.state if moved else told is None or forced_again
    era = before.generation + (moved or forced_again)
    later = (after.open_until or 0.0) > (before.open_until or 0.0) and not moved and not forced_again
    hinted = (
        failure is not None and failure.authoritative and after.open_until == world.now + (failure.retry_after or 0)
    )
    return [
        "E1" * (not rising),
        "I6" * (later and not hinted),
        "I9" * (not legal or not heard or after.generation != era),
    ]


def _right_length(scene: Scene, step: Step, now: float, failure: Failure | None) -> bool:
    """T2: how long an opening lasts."""
    settings, end = scene.settings, step.circuit.open_until
    hint = failure.retry_after if failure else None
    if failure and failure.until_proven:
        return end == math.inf
    if failure and failure.authoritative and hint is not None:
        return end == now + hint
    least, most = max(float(settings.cooldown), hint or 0.0), max(float(settings.cooldown_max), hint or 0.0)
    return end is not None and now + least <= end <= now + most


def _settled_again(scene: Scene, world: World, call: Call, step: Step, rules: Rules) -> list[str]:
    """I7: a trial is settled once; who settles it again changes nothing."""
    if not call.current or not call.permit.number:
        return []
    again = (
        rules.succeed(step.circuit, scene.settings, call.permit, world.now, 0.0),
        rules.fail(step.circuit, scene.settings, call.permit, BROKEN, world.now),
        rules.cancel(step.circuit, scene.settings, call.permit, world.now),
    )
    return ["I7" * any(other != Step(step.circuit) for other in again)]


def _wrong_world(scene: Scene, world: World) -> list[str]:
    """I7, and what makes a value sound."""
    circuit = world.circuit
    out = sorted(call.permit.number for call in world.calls if call.current and call.expires is not None)
    sound = (
        (circuit.open_until is not None) == (circuit.state in REFUSING)
        and (circuit.state is HALF_OPEN or not (circuit.leases or circuit.successes))
        and (circuit.state in COUNTING or circuit.window == EMPTY)
        and circuit.successes < scene.settings.half_open_permits
        and (circuit.state is not CLOSED or circuit.failures < (scene.settings.failure_threshold or math.inf))
    )
    return [
        "I7" * (out != sorted(lease.number for lease in circuit.leases)),
        "a sound value" * (not sound),
        "easy" * _easy_is_wrong(scene, world),
    ]


def _easy_is_wrong(scene: Scene, world: World) -> bool:
    """Whether calls that are said to need no decision would be decided otherwise."""
    circuit, settings, now = world.circuit, scene.settings, world.now
    easy = machine.easy(circuit, settings, now)
    if easy is None:
        return False
    step, permit = machine.admit(circuit, settings, NAME, now)
    if step != Step(circuit) or not isinstance(permit, Permit) or easy.generation != permit.generation:
        return True
    decided = machine.succeed(circuit, settings, permit, NAME, now)
    tallied = machine.tally(circuit, settings, 1, now)
    same = total(decided.circuit.window) == total(tallied.window) or circuit.state is DISABLED
    return bool(decided.events) or not same or replace(tallied, window=EMPTY) != replace(decided.circuit, window=EMPTY)


def wedged(scene: Scene, world: World, rules: Rules = CORE) -> bool:
    """I2: whether the next caller is refused although everybody was silent for long enough."""
    circuit, settings = world.circuit, scene.settings
    assert isinstance(settings.cooldown_max, float)
    assert isinstance(settings.permit_lease, float)
    end = max(world.now + settings.cooldown_max + settings.permit_lease, circuit.open_until or 0.0)
    if math.isinf(end):
        return False  # opened by hand, or until it is proven well: time alone is not meant to end that
    return isinstance(rules.admit(circuit, settings, end)[1], Denied)


# What the checker remembers


_TOLD = {CircuitOpened: OPEN, CircuitHalfOpened: HALF_OPEN, CircuitClosed: CLOSED}


def _told_state(events: tuple[Event, ...]) -> CircuitState | None:
    """The state that somebody who only hears the events believes in; None if they tell of no change."""
    told = None
    for event in events:
        told = CircuitState(event.state) if isinstance(event, CircuitForced) else _TOLD.get(type(event), told)
    return told


def _noticed(world: World, step: Step) -> list[Call]:
    """The calls, after a step that may have begun another phase."""
    if step.circuit.state is world.circuit.state and _told_state(step.events) is None:
        return list(world.calls)
    return [call._replace(current=False, expires=None) for call in world.calls if not call.silent]


def _moved(
    label: str, scene: Scene, world: World, step: Step, calls: tuple[Call, ...] | list[Call], broken: list[str]
) -> Move:
    after = step.circuit
    until = -math.inf if after.open_until is None else after.open_until
    if after.open_until is not None and _told_state(step.events) is None:
        until = max(world.refuses_until, until)
    there = World(after, tuple(calls), until, world.now)
    found = dict.fromkeys(filter(None, (*broken, *_wrong_world(scene, there))))
    return Move(f"{label} -> {after.state}" if after.state is not world.circuit.state else label, there, tuple(found))


def trials_of(calls: tuple[Call, ...] | list[Call], now: float) -> list[Call]:
    """The trials of this half-open whose leases have not run out."""
    return [call for call in calls if call.current and call.expires is not None and call.expires > now]


def _without(calls: list[Call], gone: Call) -> list[Call]:
    """The calls without one: it may have been told in the meantime that it is late."""
    index = next(i for i, call in enumerate(calls) if call.permit == gone.permit and not call.silent)
    return calls[:index] + calls[index + 1 :]


def _silenced(calls: tuple[Call, ...], call: Call) -> tuple[Call, ...]:
    """Nobody waits for a silent call but for its lease."""
    rest = list(calls)
    rest.remove(call)
    return (*rest, call._replace(silent=True)) if call.expires is not None else tuple(rest)


def _named(label: str, call: Call) -> str:
    return f"{label} of {'a late call' if not call.current else 'a trial' if call.permit.number else 'a call'}"
