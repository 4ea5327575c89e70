"""One circuit, step by step: what the stories about the circuit are told with. Every step is looked at on the way."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from recloser.core import circuit as machine
from recloser.core import circuit_control as hand
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import TRANSITIONS, Circuit, CircuitState, Denied, Permit, Step
from recloser.core.events import CircuitExtended, CircuitWouldOpen, Event, PermitExpired
from recloser.core.failure import Effect, Failure, FailureKind, Scope

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY = CircuitState
NAME = "model/anthropic/sonnet"
SETTINGS = CircuitSettings(failure_threshold=2, cooldown=10.0, cooldown_max=40.0, jitter=0.0, permit_lease=100.0)
TWO_TRIALS = replace(SETTINGS, half_open_permits=2)
NO_TRANSITION = (CircuitExtended, CircuitWouldOpen, PermitExpired)


def failure(effect: Effect = Effect.COUNTS, kind: FailureKind = FailureKind.SERVER_ERROR, **more: Any) -> Failure:
    return Failure(kind=kind, scope=Scope.MODEL, effect=effect, **more)


BROKEN = failure(message="internal error")
TOLD_TO_WAIT = failure(Effect.OPENS, FailureKind.QUOTA, retry_after=3600.0, authoritative=True, message="5 h limit")
NO_FAULT = failure(Effect.NOTHING, FailureKind.INVALID_REQUEST)
NO_KEY = failure(Effect.OPENS, FailureKind.AUTH, until_proven=True)


class Story:
    """One circuit and what was told of it."""

    def __init__(self, settings: CircuitSettings = SETTINGS, circuit: Circuit | None = None) -> None:
        self.settings = settings
        self.circuit = circuit or Circuit()
        self.events: list[Event] = []

    def take(self, step: Step) -> Circuit:
        look_at(self.circuit, step)
        self.events += step.events
        self.circuit = step.circuit
        return self.circuit

    def admit(self, now: float) -> Permit:
        step, answer = machine.admit(self.circuit, self.settings, NAME, now)
        self.take(step)
        assert isinstance(answer, Permit), answer
        return answer

    def refused(self, now: float) -> Denied:
        step, answer = machine.admit(self.circuit, self.settings, NAME, now)
        assert step == Step(self.circuit)
        assert step.circuit is self.circuit, "a refusal leaves nothing to store"
        assert answer == machine.denial(self.circuit, self.settings, now)
        assert isinstance(answer, Denied), answer
        return answer

    def succeed(self, permit: Permit, now: float, took: float = 0.0, rand: float = 0.5) -> Circuit:
        return self.take(machine.succeed(self.circuit, self.settings, permit, NAME, now, took=took, rand=rand))

    def fail(self, permit: Permit, now: float, what: Failure = BROKEN, rand: float = 0.5, took: float = 0.0) -> Circuit:
        return self.take(machine.fail(self.circuit, self.settings, permit, what, NAME, now, rand=rand, took=took))

    def give_back(self, permit: Permit) -> Circuit:
        return self.take(machine.give_back(self.circuit, permit))

    def restore(self, now: float) -> Circuit:
        return self.take(machine.restore(self.circuit, self.settings, NAME, now))

    def force_open(self, now: float, duration: float | None = None) -> Circuit:
        return self.take(hand.force_open(self.circuit, NAME, now, duration=duration, reason="maintenance"))

    def disable(self) -> Circuit:
        return self.take(hand.disable(self.circuit, NAME, reason="maintenance"))

    def observe_only(self) -> Circuit:
        return self.take(hand.observe_only(self.circuit, NAME, reason="a new rule"))

    def release(self, now: float) -> Circuit:
        return self.take(hand.release(self.circuit, NAME, now, reason="done"))

    def reset(self, now: float) -> Circuit:
        return self.take(hand.reset(self.circuit, NAME, now, reason="mended"))

    # Whole calls

    def good(self, now: float, count: int = 1, took: float = 0.0) -> Circuit:
        """So many calls that succeed at once."""
        for _ in range(count):
            self.succeed(self.admit(now), now, took)
        return self.circuit

    def bad(self, now: float, count: int = 1, what: Failure = BROKEN) -> Circuit:
        """So many calls that fail at once."""
        for _ in range(count):
            self.fail(self.admit(now), now, what)
        return self.circuit


LATE: list[Callable[[Story, Permit, float], Circuit]] = [
    lambda s, p, now: s.succeed(p, now),
    lambda s, p, now: s.succeed(p, now, took=1000.0),
    lambda s, p, now: s.fail(p, now),
    lambda s, p, now: s.fail(p, now, NO_KEY),
    lambda s, p, now: s.fail(p, now, NO_FAULT),
    lambda s, p, _now: s.give_back(p),
]
"""Every result that a call may come back with, too late."""


def look_at(before: Circuit, step: Step) -> None:
    """What holds for every step there is: legal transitions, each a new generation, and events numbered in a row."""
    after = step.circuit
    assert [event.seq for event in step.events] == list(range(before.seq + 1, after.seq + 1))
    assert all(event.subject == NAME for event in step.events)
    moves = [event for event in step.events if not isinstance(event, NO_TRANSITION)]
    assert len(moves) == after.generation - before.generation <= 1
    if after.state is not before.state:
        assert (before.state, after.state) in TRANSITIONS
    assert (after.state is before.state) or moves
    assert (after.open_until is not None) == (after.state in (OPEN, FORCED_OPEN))
    assert after.state is HALF_OPEN or not (after.leases or after.successes)


def opened(settings: CircuitSettings = SETTINGS, what: Failure = BROKEN) -> Story:
    """A circuit that opened at 16, until 26."""
    story = Story(settings)
    story.bad(15.0, what=what)
    if story.circuit.state is CLOSED:
        story.bad(16.0, what=what)
    assert story.circuit.state is OPEN
    story.events.clear()
    return story


def trying(settings: CircuitSettings = SETTINGS) -> tuple[Story, Permit]:
    """A circuit in half-open with one trial out since 26."""
    story = opened(settings)
    permit = story.admit(26.0)
    story.events.clear()
    return story, permit


def fail_trials(story: Story, count: int, rand: float = 0.5) -> list[float]:
    """Let trial after trial fail, each at its earliest; how long the circuit opened for."""
    cooldowns = []
    for _ in range(count):
        assert story.circuit.open_until is not None
        now = story.circuit.open_until
        story.fail(story.admit(now), now, rand=rand)
        cooldowns.append(story.circuit.open_until - now)
    return cooldowns


def reopen(story: Story, now: float) -> float:
    """As many failures at `now` as it takes; how long the circuit opened for."""
    while story.circuit.state is CLOSED:
        story.bad(now)
    assert story.circuit.open_until is not None
    return story.circuit.open_until - now


def heal(story: Story) -> float:
    """The trial at its earliest succeeds at once; when that was."""
    assert story.circuit.open_until is not None
    now = story.circuit.open_until
    story.succeed(story.admit(now), now)
    assert story.circuit.state is CLOSED
    return now
