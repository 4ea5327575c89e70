"""Visits every state of a small world, the nearest first, and finds the shortest way to a broken invariant."""

from dataclasses import dataclass, fields

from tests.properties.model_world import CORE, Call, Rules, Scene, World, moves, trials_of, wedged

from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import COUNTING, Circuit, CircuitState, Lease, Permit
from recloser.core.window import EMPTY, recent

# Making it finite


FORGOTTEN = {
    "seq", "last_kind", "authoritative", "outage_began", "failed_at", "recovery", "cooldown", "reason",
}  # fmt: skip
"""What is told and never read by a decision, as long as thresholds do not adapt."""
KEPT = {
    "state", "generation", "failures", "window", "opened_at", "open_until", "closed_at", "openings", "successes",
    "leases", "permits",
}  # fmt: skip
assert {field.name for field in fields(Circuit)} == FORGOTTEN | KEPT, "a new field: say below what is kept of it"


def canonical(scene: Scene, world: World) -> World:
    """One world for all that can have the same future. That they do is itself tested (`bisimilar`).

    - Times are relative to now, for decisions look at differences alone. What is over is over, however long.
    - Generations are compared for equality and only go up: what matters is whether a permit has the current one.
    - So are the numbers of permits: leases are numbered anew, and a permit without a lease gets a number of nobody.
    - `seq` only goes up, and what `FORGOTTEN` names is only told: each step checks it before it is forgotten.
    - Failures count in closed and observe-only; the way there sets them to 0.
    - Openings count up to where the cooldown has reached its limit. Where there were none, or from `cooldown_max` on,
      it does not matter since when the circuit is closed.
    - The window matters while a rate is watched, and never what is too old for it.
    """
    circuit, now, settings = world.circuit, world.now, scene.settings
    leases = sorted(circuit.leases, key=lambda lease: _place(world, lease))
    number = {lease.number: place for place, lease in enumerate(leases, start=1)}
    openings = min(circuit.openings, _growth_steps(settings))
    closed_at = None
    if circuit.state is CircuitState.CLOSED and openings and circuit.closed_at is not None:
        closed_at = circuit.closed_at - now if now - circuit.closed_at < settings.cooldown_max else None
    watched = settings.failure_rate or settings.slow_rate
    window = tuple(part._replace(began=part.began - now) for part in recent(circuit.window, settings, now))
    short = Circuit(
        state=circuit.state,
        generation=1,
        failures=circuit.failures if circuit.state in COUNTING and settings.failure_threshold else 0,
        window=window if watched else EMPTY,
        opened_at=None if circuit.opened_at is None else 0.0,
        open_until=None if circuit.open_until is None else max(circuit.open_until - now, 0.0),
        closed_at=closed_at,
        openings=openings,
        successes=circuit.successes,
        leases=tuple(Lease(number[x.number], 0.0, max(x.deadline - now, 0.0)) for x in leases),
        permits=len(leases),
    )
    calls = sorted(_shortened(call, circuit, number, now) for call in world.calls)
    return World(short, tuple(calls), max(world.refuses_until - now, 0.0))


def _place(world: World, lease: Lease) -> tuple[float, bool, int]:
    silent = any(call.permit.number == lease.number and call.silent for call in world.calls)
    return max(lease.deadline - world.now, 0.0), silent, lease.number


def _shortened(call: Call, circuit: Circuit, number: dict[int, int], now: float) -> Call:
    generation = int(call.permit.generation == circuit.generation)
    lost = -1 if generation and call.permit.number else 0
    permit = Permit(generation, number.get(call.permit.number, lost) if generation else 0)
    return Call(permit, call.current, None if call.expires is None else max(call.expires - now, 0.0), call.silent)


def _growth_steps(settings: CircuitSettings) -> int:
    """From how many openings on the cooldown grows no more."""
    steps, wait = 0, float(settings.cooldown)
    while wait < settings.cooldown_max and settings.cooldown_factor > 1.0:
        steps, wait = steps + 1, wait * settings.cooldown_factor
    return steps


def bisimilar(scene: Scene, world: World, rules: Rules = CORE) -> bool:
    """Whether the world and its canonical form can do the same, and come to the same by it."""
    short = canonical(scene, world)
    ours, theirs = (
        {(move.label, move.broken, canonical(scene, move.world)) for move in moves(scene, there, rules)}
        for there in (world, short)
    )
    return ours == theirs and wedged(scene, world, rules) == wedged(scene, short, rules)


# The search


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search came to: every state, or the shortest way to a broken invariant."""

    states: int
    transitions: frozenset[tuple[CircuitState, CircuitState]]
    broken: tuple[str, ...] = ()
    steps: tuple[tuple[str, World], ...] = ()

    def __str__(self) -> str:
        if not self.broken:
            return f"{self.states} states, no counterexample"
        lines = [f"{', '.join(self.broken)} broken after {len(self.steps)} steps ({self.states} states seen)"]
        for number, (label, world) in enumerate(self.steps, start=1):
            lines.append(f"  {number:2} {label:32} {_sketch(world)}")
        return "\n".join(lines)


def _sketch(world: World) -> str:
    trials = len(trials_of(world.calls, world.now))
    late = sum(not call.current for call in world.calls)
    until = world.circuit.open_until
    open_for = "" if until is None else f" for {until - world.now:g}"
    return f"{world.circuit.state}{open_for}, failures {world.circuit.failures}, trials {trials}, late calls {late}"


def search(scene: Scene, rules: Rules = CORE, *, only: frozenset[str] | None = None, limit: int = 200_000) -> Found:
    """Visit every state, the nearest first, until an invariant breaks (one of `only`, if given)."""
    start = canonical(scene, World())
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    transitions: set[tuple[CircuitState, CircuitState]] = set()
    frontier = [start]
    while frontier:
        further: list[World] = []
        for world in frontier:
            broken = ("I2",) * wedged(scene, world, rules)
            if broken and (only is None or "I2" in only):
                return _counterexample(came_from, transitions, world, broken)
            for move in moves(scene, world, rules):
                there = canonical(scene, move.world)
                if move.broken and (only is None or only.intersection(move.broken)):
                    return _counterexample(came_from, transitions, world, move.broken, (move.label, move.world))
                if there not in came_from:
                    came_from[there] = world, move.label
                    further.append(there)
                if there.circuit.state is not world.circuit.state:
                    transitions.add((world.circuit.state, there.circuit.state))
        frontier = further
        assert len(came_from) <= limit, f"more than {limit} states: is this world finite?"
    return Found(states=len(came_from), transitions=frozenset(transitions))


def _counterexample(
    came_from: dict[World, tuple[World, str] | None],
    transitions: set[tuple[CircuitState, CircuitState]],
    world: World,
    broken: tuple[str, ...],
    *last: tuple[str, World],
) -> Found:
    steps = list(last)
    origin = came_from[world]
    while origin is not None:
        before, label = origin
        steps.insert(0, (label, world))
        world, origin = before, came_from[before]
    return Found(states=len(came_from), transitions=frozenset(transitions), broken=broken, steps=tuple(steps))
