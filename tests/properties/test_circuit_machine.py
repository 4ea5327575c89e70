"""Any sequence of events against the circuit, checked after every step.

The oracle is written from the invariants, not from the code: it knows permits and what became of them, and what the
circuit may do next; it computes no state itself. Its names are those of the breaker reference, section 3.1.
"""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from recloser.core import circuit as machine
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import TRANSITIONS, Circuit, CircuitState, Denied, Permit, Step
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event, PermitExpired
from recloser.core.failure import Effect, Failure, FailureKind, Scope

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED = CircuitState
NAME = "x"
LEASE, CAP = 50.0, 80.0
STATE_AFTER = {CircuitOpened: OPEN, CircuitHalfOpened: HALF_OPEN, CircuitClosed: CLOSED}

hints = st.none() | st.sampled_from([0.0, 3.0, 60.0, 1e9, -1.0, math.nan, math.inf])
failures = st.builds(
    Failure,
    kind=st.sampled_from([FailureKind.SERVER_ERROR, FailureKind.QUOTA]),
    scope=st.just(Scope.MODEL),
    effect=st.sampled_from([Effect.COUNTS, Effect.COUNTS, Effect.OPENS]),
    retry_after=hints,
    authoritative=st.booleans(),
)


@dataclass(eq=False)
class Out:
    """A permit that is out: what the oracle remembers of it."""

    permit: Permit
    at: float
    era: int
    in_half_open: bool


class CircuitMachine(RuleBasedStateMachine):
    """A circuit, a clock, and everybody who holds a permit."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = CircuitSettings()
        self.circuit = Circuit()
        self.now = 1000.0
        self.era = 0
        """Counts the transitions, by the oracle's own observation."""
        self.out: list[Out] = []
        self.issued = self.settled = self.expired = 0
        self.trials = 0
        """Trials that succeeded in this half-open."""
        self.row = 0
        """Failures in a row, as far as this era knows."""
        self.last_seq = 0
        self.told_state = CLOSED

    @initialize(
        threshold=st.integers(1, 3),
        permits=st.integers(1, 3),
        jitter=st.sampled_from([0.0, 0.2]),
        broken_by=st.none() | failures,
    )
    def begin(self, threshold: int, permits: int, jitter: float, broken_by: Failure | None) -> None:
        """Every other story begins in half-open."""
        self.settings = CircuitSettings(
            failure_threshold=threshold,
            half_open_permits=permits,
            permit_lease=LEASE,
            cooldown=5.0,
            cooldown_max=CAP,
            jitter=jitter,
        )
        if broken_by is not None:
            self.break_it(broken_by, 0.3)
            self.wait_until_it_is_due_and_try()

    # What the oracle knows

    def live_trials(self) -> list[Out]:
        """The trials of this half-open whose lease has not run out (I1)."""
        return [o for o in self.out if o.in_half_open and o.era == self.era and o.at + LEASE > self.now]

    def take(self, step: Step, *, may_change_state: bool) -> None:
        """Make a step the present, after looking at what it did."""
        before, after = self.circuit, step.circuit
        self.circuit = after
        if after.state is not before.state or after.generation != before.generation:
            assert may_change_state, "I3: a result of another era, or no verdict, changes no state"
            by_hand = any(isinstance(e, CircuitForced) for e in step.events)
            assert (before.state, after.state) in TRANSITIONS or (by_hand and after.state is FORCED_OPEN), "I9"
            assert after.generation == before.generation + 1
            self.era += 1
            self.trials = self.row = 0
            event(f"{before.state} -> {after.state}")
        else:
            assert after.open_until == before.open_until or self.extended, "I6: only a larger reset of the server"
            assert not [e for e in step.events if not isinstance(e, PermitExpired)], "I9: X -> X emits nothing"
        self.hear(step.events)

    extended = False

    def hear(self, events: tuple[Event, ...]) -> None:
        for told in events:
            assert told.seq == self.last_seq + 1, "E1"
            self.last_seq = told.seq
            if isinstance(told, CircuitForced):
                self.told_state = CircuitState(told.state)
            elif isinstance(told, PermitExpired):
                assert told.held_for >= LEASE - 1e-6
            else:
                self.told_state = STATE_AFTER[type(told)]

    # Callers

    @rule()
    def call(self) -> None:
        before, live, trials, era = self.circuit, self.live_trials(), self.trials, self.era
        open_for = before.open_until - self.now if before.open_until is not None else 0.0
        expected_denial = machine.denial(before, self.settings, self.now)
        step, answer = machine.admit(before, self.settings, NAME, self.now)
        self.take(step, may_change_state=True)
        if isinstance(answer, Denied):
            assert answer == expected_denial
            assert step == Step(before), "I5: a refusal is no news"
            if before.state is HALF_OPEN:
                assert live, "I2: refused in half-open only while somebody is trying"
                assert len(live) + trials >= self.settings.half_open_permits
                assert answer.retry_after is not None
                assert 0 <= answer.retry_after <= LEASE + 1e-6
            else:
                assert before.state in (OPEN, FORCED_OPEN)
                assert open_for > 0
                assert answer.retry_after == (None if math.isinf(open_for) else open_for)
            return
        assert expected_denial is None
        assert before.state not in (OPEN, FORCED_OPEN) or open_for <= 0, "I4: nobody passes before the end"
        if before.state is HALF_OPEN:
            assert era == self.era
            assert len(live) + trials < self.settings.half_open_permits, "I1"
        in_half_open = self.circuit.state is HALF_OPEN
        if in_half_open:
            event("admitted in half-open")
            gone = [o for o in self.out if o.in_half_open and o.era == self.era and o.at + LEASE <= self.now]
            fresh = [o for o in gone if o.permit.number != 0]
            self.expired += sum(isinstance(e, PermitExpired) for e in step.events)
            for o in fresh:
                o.era = -1  # taken back: from now on it is a stranger
        self.issued += 1
        self.out.append(Out(answer, self.now, self.era, in_half_open))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["succeed", "fail", "fail", "ignore", "cancel"]), failure=failures)
    def settle(self, data: st.DataObject, how: str, failure: Failure) -> None:
        out = self.out[data.draw(st.integers(0, len(self.out) - 1))]
        self.settle_it(out, how, failure, data.draw(st.floats(0, 0.99)))

    def settle_it(self, out: Out, how: str, failure: Failure, rand: float) -> None:
        self.out.remove(out)
        self.settled += 1
        before = self.circuit
        current = out.era == self.era
        event(f"{how} {'current' if current else 'stale'} in {before.state}")
        if how == "succeed":
            step = machine.succeed(before, self.settings, out.permit, NAME, self.now)
        elif how == "fail":
            step = machine.fail(before, self.settings, out.permit, failure, NAME, self.now, rand=rand)
        elif how == "ignore":
            nothing = replace(failure, effect=Effect.NOTHING)
            step = machine.fail(before, self.settings, out.permit, nothing, NAME, self.now)
        else:
            step = machine.give_back(before, out.permit)
        verdict = current and how in ("succeed", "fail") and before.state is not DISABLED
        if not current:
            self.look_at_stale(before, step, how, failure)
        elif how in ("ignore", "cancel"):
            kept = tuple(lease for lease in before.leases if lease.number != out.permit.number)
            assert step == Step(replace(before, leases=kept)), "I8: the permit is back, and nothing else happened"
        elif before.state is HALF_OPEN and how == "fail":
            assert step.circuit.state is OPEN
        elif before.state is HALF_OPEN:
            self.trials += 1
            wanted = self.settings.half_open_permits
            assert step.circuit.state is (CLOSED if self.trials >= wanted else HALF_OPEN)
        elif before.state is CLOSED:
            self.row = self.row + 1 if how == "fail" else 0
            opens = how == "fail" and (failure.effect is Effect.OPENS or self.row >= self.settings.failure_threshold)
            assert step.circuit.state is (OPEN if opens else CLOSED)
        self.take(step, may_change_state=verdict)
        self.extended = False
        self.look_at_opening(before, failure)

    def look_at_stale(self, before: Circuit, step: Step, how: str, failure: Failure) -> None:
        after = step.circuit
        assert step.events == ()
        if after is before:
            return
        assert how == "fail"
        assert before.state is OPEN
        assert failure.authoritative
        assert failure.retry_after is not None
        assert before.open_until is not None
        assert after.open_until is not None
        assert before.open_until < after.open_until <= self.now + failure.retry_after
        assert (
            replace(after, open_until=before.open_until, last_kind=before.last_kind, reason=before.reason) == before
        ), "a late reset moves the end and says why; nothing else"
        self.extended = True
        event("extended")

    def look_at_opening(self, before: Circuit, failure: Failure) -> None:
        """T2: the length of an opening."""
        after = self.circuit
        if after.state is not OPEN or before.state is OPEN:
            return
        assert after.open_until is not None
        length = after.open_until - self.now
        hint = failure.retry_after
        usable = hint is not None and math.isfinite(hint) and hint >= 0
        if usable and failure.effect is Effect.OPENS:
            assert hint is not None
            assert length == pytest.approx(min(hint, 8 * 86400.0))
            assert after.openings in (0, before.openings)
            return
        told = min(hint, 8 * 86400.0) if usable and hint is not None else 0.0
        assert max(5.0 * (1 - self.settings.jitter), told) - 1e-6 <= length
        assert length <= max(CAP * (1 + self.settings.jitter), told) + 1e-6
        assert after.openings in (before.openings + 1, 1)

    # Time

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 6.0, 20.0, 49.0, 51.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.circuit.state is CLOSED)
    @rule(failure=failures, rand=st.floats(0, 0.99))
    def break_it(self, failure: Failure, rand: float) -> None:
        """Steers towards open."""
        while self.circuit.state is CLOSED:
            self.call()
            self.settle_it(self.out[-1], "fail", failure, rand)

    @precondition(lambda self: self.circuit.state is OPEN)
    @rule()
    def wait_until_it_is_due_and_try(self) -> None:
        """Steers towards half-open."""
        assert self.circuit.open_until is not None
        self.now = max(self.now, self.circuit.open_until)
        self.call()
        assert self.circuit.state is HALF_OPEN

    # Probes and hands

    @rule(sure=st.integers(0, 3))
    def restore(self, sure: int) -> None:
        if sure == 0:
            before = self.circuit
            self.take(machine.restore(before, NAME, self.now), may_change_state=before.state is OPEN)
            assert self.circuit is before or self.circuit.state is CLOSED

    @rule(duration=st.sampled_from([None, 0.0, 10.0]), sure=st.integers(0, 3))
    def force_open(self, duration: float | None, sure: int) -> None:
        if sure == 0:
            step = machine.force_open(self.circuit, NAME, self.now, duration=duration, reason="r")
            self.take(step, may_change_state=True)
            assert self.circuit.state is FORCED_OPEN

    @rule(sure=st.integers(0, 3))
    def disable(self, sure: int) -> None:
        if sure == 0:
            self.take(machine.disable(self.circuit, NAME, reason="r"), may_change_state=True)
            assert self.circuit.state is DISABLED

    @precondition(lambda self: self.circuit.state in (FORCED_OPEN, DISABLED))
    @rule()
    def reset(self) -> None:
        self.take(machine.reset(self.circuit, NAME, self.now, reason="r"), may_change_state=True)
        assert self.circuit.state is CLOSED

    # Always

    @invariant()
    def i1_no_more_trials_than_permits(self) -> None:
        assert len(self.live_trials()) <= self.settings.half_open_permits
        live = {lease.number for lease in self.circuit.leases if lease.deadline > self.now}
        assert live == {o.permit.number for o in self.live_trials()}

    @invariant()
    def i2_after_a_silence_somebody_is_admitted(self) -> None:
        silent = self.now + CAP * (1 + self.settings.jitter) + LEASE
        end = self.circuit.open_until
        if self.circuit.state is FORCED_OPEN and end == math.inf:
            return
        assert machine.denial(self.circuit, self.settings, max(silent, end or 0.0)) is None

    @invariant()
    def i7_every_permit_is_accounted_for(self) -> None:
        assert self.issued == self.settled + len(self.out)
        assert self.circuit.permits >= self.expired

    @invariant()
    def e2_who_only_hears_the_events_knows_the_state(self) -> None:
        assert self.told_state is self.circuit.state
        assert self.circuit.seq == self.last_seq

    @invariant()
    def the_value_is_sound(self) -> None:
        circuit = self.circuit
        assert (circuit.open_until is not None) == (circuit.state in (OPEN, FORCED_OPEN))
        assert circuit.state is HALF_OPEN or not (circuit.leases or circuit.successes)
        assert circuit.generation == self.era


TestCircuitMachine = CircuitMachine.TestCase
TestCircuitMachine.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_machine_reaches_half_open_in_most_runs() -> None:
    """What is never reached is never checked."""
    reached: list[int] = []

    class Counting(CircuitMachine):
        def teardown(self) -> None:
            reached.append(self.circuit.permits)

    run_state_machine_as_test(
        Counting,
        settings=settings(max_examples=50, stateful_step_count=40, deadline=None, derandomize=True, database=None),
    )
    assert sum(permits > 0 for permits in reached) > len(reached) / 2
