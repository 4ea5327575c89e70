"""Any sequence of events against the circuit, checked after every step.

The oracle (naive.py) remembers every call and every stay in a state and works everything out anew; this machine does
what callers, probes, hands and time do, and compares. The names of the invariants are those of the breaker reference,
section 3.1.
"""

import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.properties.naive import CLOSES, EIGHT_DAYS, EXTENDS, NOTHING, Call, Naive, Outcome, Seen, Stay

from recloser.core import circuit as machine
from recloser.core import circuit_control as hand
from recloser.core import window
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import COUNTING, TRANSITIONS, Circuit, CircuitState, Denied, Permit, Step
from recloser.core.events import (
    CircuitClosed,
    CircuitExtended,
    CircuitForced,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitWouldOpen,
    Event,
    PermitExpired,
)
from recloser.core.failure import Effect, Failure, FailureKind, Scope

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY = CircuitState
NAME = "x"
LEASE, CAP = 50.0, 80.0
STATE_AFTER = {CircuitOpened: OPEN, CircuitHalfOpened: HALF_OPEN, CircuitClosed: CLOSED}

failures = st.builds(
    Failure,
    kind=st.sampled_from([FailureKind.SERVER_ERROR, FailureKind.QUOTA]),
    scope=st.just(Scope.MODEL),
    effect=st.sampled_from([Effect.COUNTS, Effect.COUNTS, Effect.COUNTS, Effect.OPENS]),
    retry_after=st.none() | st.sampled_from([0.0, 3.0, 60.0, 1e9, -1.0, math.nan, math.inf]),
    authoritative=st.booleans(),
    until_proven=st.sampled_from([False, False, False, True]),
)
openers = failures.filter(lambda failure: not failure.until_proven)
BROKEN = Failure(kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS)
judged_by = st.builds(
    CircuitSettings,
    failure_threshold=st.integers(0, 3),
    failure_rate=st.sampled_from([0.0, 0.5, 0.8]),
    minimum_calls=st.sampled_from([2, 5, 10]),
    window=st.just(30.0),
    window_calls=st.sampled_from([0, 0, 10, 20, 25]),
    slow_call=st.sampled_from([0.0, 5.0]),
    slow_rate=st.sampled_from([0.0, 0.5, 1.0]),
    half_open_permits=st.integers(1, 3),
    permit_lease=st.just(LEASE),
    cooldown=st.just(5.0),
    cooldown_max=st.just(CAP),
    jitter=st.sampled_from([0.0, 0.2]),
    throttle=st.sampled_from([0.0, 0.0, 2.0]),
    adaptive=st.booleans(),
)
shares = st.floats(0.0, 1.0, exclude_max=True)
ways = st.sampled_from(["succeed", "succeed", "fail", "fail", "fail", "ignore", "cancel"])
durations = st.sampled_from([0.0, 0.0, 4.9, 5.0, 60.0])
turns = st.tuples(
    st.sampled_from([0.0, 0.0, 0.5, 3.0, 29.0]), ways, st.just(BROKEN) | st.just(BROKEN) | failures, durations, shares
)


class CircuitMachine(RuleBasedStateMachine):
    """A circuit, a clock, everybody who holds a permit, and the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = CircuitSettings()
        self.circuit = Circuit()
        self.now = 1000.0
        self.naive = Naive(self.settings, [Stay(CLOSED, self.now)])
        self.out: list[Call] = []
        """Whoever was let through and is not back, however late he is."""
        self.asked = self.denied = 0
        self.told_state = CLOSED
        self.told_seq = 0
        self.moves: Counter[tuple[CircuitState, CircuitState]] = Counter()

    @initialize(judged_by=judged_by, begins=st.sampled_from(["closed", "observed", *["tried"] * 4]), opener=openers)
    def begin(self, judged_by: CircuitSettings, begins: str, opener: Failure) -> None:
        """Many a story begins in half-open."""
        self.settings = self.naive.settings = judged_by
        if begins == "observed":
            self.let_pass(OBSERVE_ONLY)
        elif begins == "tried":
            self.break_it(opener, 0.3)
            self.wait_until_it_is_due_and_try()

    # Steps

    def take(self, step: Step) -> None:
        """Make a step the present, after looking at what it did."""
        before, after = self.circuit, step.circuit
        self.circuit = after
        if after.state is not before.state:
            assert (before.state, after.state) in TRANSITIONS, "I9"
            self.moves[before.state, after.state] += 1
        transitions = [e for e in step.events if isinstance(e, (*STATE_AFTER, CircuitForced))]
        assert len(transitions) == after.generation - before.generation <= 1, "I9: X -> X emits nothing"
        assert after.state is before.state or transitions
        for event in step.events:
            self.hear(event)

    def hear(self, event: Event) -> None:
        self.told_seq += 1
        assert event.seq == self.told_seq, "E1"
        if isinstance(event, CircuitForced):
            self.told_state = CircuitState(event.state)
        else:
            self.told_state = STATE_AFTER.get(type(event), self.told_state)

    # Callers

    @rule(rand=shares)
    def call(self, rand: float) -> None:
        self.call_and_look(rand)

    @rule(rands=st.lists(shares, min_size=2, max_size=6))
    def burst(self, rands: list[float]) -> None:
        for rand in rands:
            self.call_and_look(rand)

    def call_and_look(self, rand: float = 0.999) -> Call | None:
        before, expected = self.circuit, self.naive.waits(self.now)
        live = len([call for call in self.out if not call.taken_back])
        step, answer = machine.admit(before, self.settings, NAME, self.now, rand=rand, live=live)
        self.asked += 1
        if before.state is CLOSED:
            self.look_at_throttling(answer, rand, live)
        else:
            assert isinstance(answer, Denied) == (expected is not None), "I1, I2, I4"
        if isinstance(answer, Denied):
            self.denied += 1
            self.look_at_denial(step, answer, expected)
            self.take(step)
            return None
        return self.let_through(step, answer)

    def look_at_throttling(self, answer: Permit | Denied, rand: float, live: int) -> None:
        chances = self.naive.refusal_chances(self.now, live)
        if isinstance(answer, Denied):
            assert rand < max(chances) + 1e-9
            self.naive.seen.append(Seen(self.now, "refused"))
        else:
            assert rand >= min(chances) - 1e-9

    def look_at_denial(self, step: Step, answer: Denied, expected: float | None) -> None:
        assert step.events == ()
        if expected is None:  # throttled
            assert answer.retry_after == 1.0
            return
        assert step.circuit is self.circuit, "I5: a refusal is no news"
        assert answer == machine.denial(self.circuit, self.settings, self.now)
        if math.isinf(expected):
            assert answer.retry_after is None
            return
        assert answer.retry_after == pytest.approx(expected)
        longest = EIGHT_DAYS if self.hinted else CAP * (1 + self.settings.jitter)
        assert 0.0 < expected <= longest + 1e-6, "A3"

    hinted = False
    """Whether somebody else said how long the present opening lasts at least."""

    def let_through(self, step: Step, permit: Permit) -> Call:
        naive, was = self.naive, self.circuit.state
        if was in (OPEN, FORCED_OPEN):
            assert isinstance(step.events[0], CircuitHalfOpened)
            naive.enter(Stay(HALF_OPEN, self.now))
        late = [call for call in naive.trials() if call.at + LEASE <= self.now]
        expired = [event.held_for for event in step.events if isinstance(event, PermitExpired)]
        assert expired == pytest.approx([self.now - call.at for call in late])
        assert len(step.events) == len(late) + (was in (OPEN, FORCED_OPEN))
        for call in late:
            call.taken_back = True
        assert (permit.number > 0) == (naive.state is HALF_OPEN)
        call = Call(self.now, len(naive.stays) - 1, permit)
        naive.calls.append(call)
        self.out.append(call)
        self.take(step)
        return call

    @rule(turns=st.lists(turns, min_size=1, max_size=12))
    def one_after_the_other(self, turns: list[tuple[float, str, Failure, float, float]]) -> None:
        """A caller whose calls end before the next one begins."""
        for pause, how, failure, took, rand in turns:
            self.now += pause
            if call := self.call_and_look(rand):
                self.settle_it(call, how, failure, took, rand)
                self.it_stands_where_the_oracle_says()
                self.the_window_holds_the_recent_calls()

    # Settling

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 10**6), how=ways, failure=failures, took=durations, rand=shares)
    def settle(self, which: int, how: str, failure: Failure, took: float, rand: float) -> None:
        self.settle_it(self.out[which % len(self.out)], how, failure, took, rand)

    @precondition(lambda self: self.out)
    @rule(how=ways, failure=failures, took=durations, rand=shares)
    def settle_the_latest(self, how: str, failure: Failure, took: float, rand: float) -> None:
        self.settle_it(self.out[-1], how, failure, took, rand)

    @rule(which=st.integers(0, 10**6), how=ways, failure=failures, took=durations, rand=shares)
    def settle_again(self, which: int, how: str, failure: Failure, took: float, rand: float) -> None:
        """I7: a trial that has been settled is no trial any more."""
        settled = [c for c in self.naive.calls if c.settled_at is not None and c.permit and c.permit.number]
        if settled:
            self.settle_it(settled[which % len(settled)], how, failure, took, rand)

    def settle_it(self, call: Call, how: str, failure: Failure, took: float, rand: float) -> None:
        naive, before = self.naive, self.circuit
        assert call.permit is not None
        slow = how in ("succeed", "fail") and 0 < self.settings.slow_call <= took and self.settings.slow_rate > 0
        first = call.settled_at is None
        verdict = first and naive.current(call) and naive.state in COUNTING and how in ("succeed", "fail")
        if verdict:
            naive.seen.append(Seen(self.now, {"succeed": "success", "fail": "failure"}[how], slow))
        allowed = naive.may_follow(call, how, failure, self.now, slow=slow)
        opening = naive.opening(how, failure, self.now, rand)
        step = self.settled(call.permit, how, failure, took, rand)
        outcome = outcome_of(step)
        assert outcome in allowed, "I3, I8, and the rules"
        if first:
            call.settled_at, call.how, call.slow = self.now, how, slow
            self.out.remove(call)
        self.take(step)
        if outcome == NOTHING and not verdict:
            kept = tuple(x for x in before.leases if x.number != call.permit.number or not naive.current(call))
            unmoved = (before.state, before.failures, before.window, before.open_until, kept)
            after = self.circuit
            assert (after.state, after.failures, after.window, after.open_until, after.leases) == unmoved, "I8"
        self.record(outcome, opening, failure)

    def settled(self, permit: Permit, how: str, failure: Failure, took: float, rand: float) -> Step:
        circuit, now = self.circuit, self.now
        match how:
            case "succeed":
                return machine.succeed(circuit, self.settings, permit, NAME, now, took=took, rand=rand)
            case "fail":
                return machine.fail(circuit, self.settings, permit, failure, NAME, now, rand=rand, took=took)
            case "ignore":
                nothing = Failure(kind=FailureKind.NOT_FOUND, scope=Scope.NOBODY, effect=Effect.NOTHING)
                return machine.fail(circuit, self.settings, permit, nothing, NAME, now, rand=rand, took=took)
            case _:
                return machine.give_back(circuit, permit)

    def record(self, outcome: Outcome, opening: Stay, failure: Failure) -> None:
        match outcome[0]:
            case "opens":
                self.hinted = failure.retry_after is not None
                self.naive.enter(opening)
            case "closes":
                self.naive.enter(Stay(CLOSED, self.now))
            case "would open":
                self.naive.draw_a_line(self.now)
            case "extends":
                assert failure.retry_after is not None
                self.naive.now_in.until = self.now + min(failure.retry_after, EIGHT_DAYS)
                self.naive.now_in.seen = False
                self.hinted = True

    @rule(count=st.integers(1, 12))
    def succeed_without_a_decision(self, count: int) -> None:
        """What may just be counted is what would have been admitted, and would have changed nothing."""
        ready = machine.tally(self.circuit, self.settings, 0, self.now)
        easy = machine.easy(ready, self.settings, self.now)
        if easy is None:
            return
        naive = self.naive
        assert naive.state in (*COUNTING, DISABLED)
        assert naive.waits(self.now) is None
        if naive.state is CLOSED:
            assert min(naive.refusal_chances(self.now, len(self.out))) == 0.0
        assert naive.state is DISABLED or naive.row() == 0
        count = int(min(count, easy.calls))
        self.asked += count
        for _ in range(count):
            naive.calls.append(Call(self.now, len(naive.stays) - 1, Permit(easy.generation), self.now, "succeed"))
            if naive.state is not DISABLED:
                naive.seen.append(Seen(self.now, "success"))
        self.take(Step(machine.tally(ready, self.settings, count, self.now)))

    # Time

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 4.0, 6.0, 20.0, 29.0, 49.0, 51.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.circuit.state is CLOSED)
    @rule(failure=failures, rand=shares)
    def break_it(self, failure: Failure, rand: float) -> None:
        """Steers towards open: failures, and in the end one that opens under any settings."""
        at_once = Failure(kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=Effect.OPENS)
        for what in (*[failure] * 3, at_once):
            if self.circuit.state is CLOSED and (call := self.call_and_look()):
                self.settle_it(call, "fail", what, 0.0, rand)

    @precondition(lambda self: self.circuit.state is OPEN)
    @rule(idle=st.sampled_from([0.0, 0.0, 0.0, 1.0, 300.0]))
    def wait_and_try(self, idle: float) -> None:
        self.wait_until_it_is_due_and_try(idle)

    def wait_until_it_is_due_and_try(self, idle: float = 0.0) -> None:
        """Steers towards half-open; what needs proof gets it."""
        until = self.circuit.open_until
        if until is not None and math.isinf(until):
            self.prove()
        elif until is not None:
            # the oracle adds up in another order: the last bit of its end may be another
            self.now = max(self.now, until, self.naive.now_in.until) + idle
            assert self.call_and_look() is not None
            assert self.circuit.state is HALF_OPEN

    @precondition(lambda self: self.circuit.state in (OPEN, HALF_OPEN))
    @rule(idle=st.sampled_from([0.0, 0.0, 300.0]), health=st.sampled_from([0.0, 5.0, 100.0]))
    def heal(self, idle: float, health: float) -> None:
        """Steers towards closed again."""
        if self.circuit.state is OPEN:
            self.wait_until_it_is_due_and_try(idle)
        while self.circuit.state is HALF_OPEN:
            self.now += LEASE if self.naive.waits(self.now) is not None else 0.0
            call = self.call_and_look()
            assert call is not None
            self.settle_it(call, "succeed", BROKEN, 0.0, 0.5)
        self.now += health

    # Probes and hands

    @rule(sure=st.integers(0, 3))
    def restore(self, sure: int) -> None:
        if sure == 0:
            self.prove()

    def prove(self) -> None:
        before = self.circuit
        step = machine.restore(before, self.settings, NAME, self.now)
        assert outcome_of(step) == (CLOSES if before.state is OPEN else NOTHING)
        self.take(step)
        if before.state is OPEN:
            self.naive.enter(Stay(CLOSED, self.now))

    @rule(duration=st.none() | st.sampled_from([0.0, 10.0]), sure=st.integers(0, 9))
    def force_open(self, duration: float | None, sure: int) -> None:
        if sure:
            return
        self.take(hand.force_open(self.circuit, NAME, self.now, duration=duration, reason="r"))
        self.naive.enter(Stay(FORCED_OPEN, self.now, math.inf if duration is None else self.now + duration))

    @rule(state=st.sampled_from([DISABLED, OBSERVE_ONLY]), sure=st.integers(0, 9))
    def let_everything_pass(self, state: CircuitState, sure: int) -> None:
        if sure == 0:
            self.let_pass(state)

    def let_pass(self, state: CircuitState) -> None:
        before = self.circuit
        self.take((hand.disable if state is DISABLED else hand.observe_only)(before, NAME, reason="r"))
        if self.naive.state is state:
            assert self.circuit is before, "X -> X emits nothing"
        else:
            self.naive.enter(Stay(state, self.now))

    @precondition(lambda self: self.circuit.state in (FORCED_OPEN, DISABLED, OBSERVE_ONLY))
    @rule(sure=st.integers(0, 1))
    def release(self, sure: int) -> None:
        if sure:
            return
        into = HALF_OPEN if self.circuit.state is FORCED_OPEN else CLOSED
        self.take(hand.release(self.circuit, NAME, self.now, reason="r"))
        self.naive.enter(Stay(into, self.now, by_hand=True))

    @rule(sure=st.integers(0, 7))
    def release_where_there_is_nothing_to_release(self, sure: int) -> None:
        if self.circuit.state in (CLOSED, OPEN, HALF_OPEN):
            assert hand.release(self.circuit, NAME, self.now, reason="r").circuit is self.circuit

    @rule(sure=st.integers(0, 7))
    def reset(self, sure: int) -> None:
        if sure:
            return
        naive = self.naive
        self.take(hand.reset(self.circuit, NAME, self.now, reason="r"))
        if naive.state is CLOSED:
            naive.resets.append(len(naive.stays) - 1)
            naive.draw_a_line(self.now)
        else:
            naive.enter(Stay(CLOSED, self.now, forgets=True, by_hand=True))

    # Always

    @invariant()
    def it_stands_where_the_oracle_says(self) -> None:
        circuit, naive = self.circuit, self.naive
        assert circuit.state is naive.state
        assert circuit.generation == len(naive.stays) - 1, "every stay is a generation"
        assert (circuit.open_until is not None) == (circuit.state in (OPEN, FORCED_OPEN))
        if circuit.open_until is not None:
            assert circuit.open_until == pytest.approx(naive.now_in.until, abs=1e-6), "I6, T2"
        if circuit.state in COUNTING:
            assert circuit.failures == naive.row()
        assert circuit.openings == naive.openings(), "T3"
        assert (circuit.recovery is None) == (naive.recovery() is None)
        assert circuit.recovery is None or circuit.recovery == pytest.approx(naive.recovery(), abs=1e-6), "D2"
        assert circuit.recovery is None or circuit.recovery <= CAP, "D1"

    @invariant()
    def i1_no_more_trials_than_permits(self) -> None:
        naive = self.naive
        assert len(naive.live_trials(self.now)) <= self.settings.half_open_permits
        leases = {lease.number: lease.deadline for lease in self.circuit.leases}
        assert leases == {call.permit.number: call.at + LEASE for call in naive.trials() if call.permit}
        assert self.circuit.successes == naive.proven()

    @invariant()
    def i2_after_a_silence_somebody_is_admitted(self) -> None:
        end = self.circuit.open_until or 0.0
        if not math.isinf(end):
            silent = max(self.now + CAP * (1 + self.settings.jitter) + LEASE, end)
            assert machine.denial(self.circuit, self.settings, silent) is None

    @invariant()
    def a1_every_call_is_accounted_for(self) -> None:
        calls = self.naive.calls
        assert self.asked == len(calls) + self.denied
        assert sum(call.settled_at is None for call in calls) == len(self.out)
        assert self.circuit.permits == sum(bool(call.permit and call.permit.number) for call in calls), "I7"

    @invariant()
    def the_window_holds_the_recent_calls(self) -> None:
        if self.circuit.state not in COUNTING:
            assert self.circuit.window == ()
            return
        past = window.total(window.recent(self.circuit.window, self.settings, self.now))
        assert past[1:] in [counted(one) for one in self.naive.windows(self.now)]

    @invariant()
    def e2_who_only_hears_the_events_knows_the_state(self) -> None:
        assert self.told_state is self.circuit.state
        assert self.circuit.seq == self.told_seq


def outcome_of(step: Step) -> Outcome:
    """What a settlement has led to, by its events."""
    match step.events:
        case ():
            return NOTHING
        case (CircuitOpened(rule=rule),):
            return "opens", rule
        case (CircuitWouldOpen(rule=rule),):
            return "would open", rule
        case (CircuitClosed(),):
            return CLOSES
        case (CircuitExtended(),):
            return EXTENDS
    raise AssertionError(step.events)


def counted(seen: list[Seen]) -> tuple[int, int, int, int]:
    """Calls, failures, slow ones, refusals."""
    refused = sum(one.what == "refused" for one in seen)
    failed = sum(one.what == "failure" for one in seen)
    return len(seen) - refused, failed, sum(one.slow for one in seen), refused


def test_whatever_happens_the_circuit_does_what_the_oracle_says() -> None:
    runs = 0
    reached: Counter[CircuitState] = Counter()
    moves: Counter[tuple[CircuitState, CircuitState]] = Counter()

    class Counting(CircuitMachine):
        def teardown(self) -> None:
            nonlocal runs
            runs += 1
            reached.update({after for _, after in self.moves})
            moves.update(self.moves)

    run_state_machine_as_test(
        Counting,
        settings=settings(
            max_examples=250, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    print(f"\n{runs} runs reached half-open in {reached[HALF_OPEN] / runs:.0%}, and in them:")
    for state, share in reached.most_common():
        print(f"  {state:<13}{share / runs:>6.0%}")
    print(f"  {len(moves)} of {len(TRANSITIONS)} transitions")
    assert reached[HALF_OPEN] >= 0.3 * runs, "what is never reached is never checked"
