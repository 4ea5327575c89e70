"""The recent past, sliced and counted, against a list of every call; and successes that are counted afterwards."""

from dataclasses import replace

from hypothesis import given, target
from hypothesis import strategies as st

from recloser.core import circuit as machine
from recloser.core import circuit_control as hand
from recloser.core import window
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import COUNTING, Circuit, CircuitState, Denied, Permit, Step
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.core.window import EMPTY, Window

BROKEN = Failure(kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS)
LENGTH = 60.0

pauses = st.sampled_from([0.0, 0.0, 0.1, 1.0, 5.9, 6.0, 6.1, 20.0, 59.0, 61.0]) | st.floats(0.0, 100.0)
judged_by = st.builds(
    CircuitSettings,
    failure_threshold=st.integers(0, 4),
    failure_rate=st.sampled_from([0.0, 0.5]),
    minimum_calls=st.sampled_from([1, 5, 10]),
    window=st.just(LENGTH),
    window_calls=st.sampled_from([0, 10, 25, 100]),
    slow_call=st.sampled_from([0.0, 5.0]),
    slow_rate=st.sampled_from([0.0, 0.5]),
    throttle=st.sampled_from([0.0, 2.0]),
    adaptive=st.booleans(),
)


class Past:
    """A window, and every call that was ever counted in it."""

    def __init__(self, settings: CircuitSettings) -> None:
        self.settings = settings
        self.window: Window = EMPTY
        self.calls: list[tuple[float, int, int]] = []

    def count(self, now: float, failed: int, slow: int) -> None:
        self.window = window.count(self.window, self.settings, now, calls=1, failures=failed, slow=slow)
        self.calls.append((now, failed, slow))

    def last(self, count: int) -> tuple[int, int, int]:
        """The sums of so many calls, the last ones."""
        kept = self.calls[len(self.calls) - count :]
        return count, sum(failed for _, failed, _ in kept), sum(slow for _, _, slow in kept)

    def younger(self, age: float, now: float) -> int:
        return sum(now - at < age for at, _, _ in self.calls)


@given(
    st.sampled_from([0, 10, 25, 100, 1000]),
    st.lists(st.tuples(pauses, st.integers(0, 1), st.integers(0, 1), st.integers(1, 30)), max_size=60),
)
def test_it_holds_the_last_calls_of_nine_to_eleven_tenths_of_its_length(
    window_calls: int, bursts: list[tuple[float, int, int, int]]
) -> None:
    past, now = Past(CircuitSettings(window=LENGTH, window_calls=window_calls)), 0.0
    for pause, failed, slow, times in bursts:
        now += pause
        for _ in range(times):
            past.count(now, failed, slow)
        held = window.total(past.window)
        assert held[1:4] == past.last(held.calls), "the last ones, and no other"
        assert held.calls <= past.younger(1.1 * LENGTH + 1e-6, now)
        least = past.younger(0.9 * LENGTH - 1e-6, now)
        if window_calls:
            assert held.calls <= window_calls
            least = min(least, window_calls - 2 * (window_calls // 10 or 1) + 1)
        assert held.calls >= least
        assert len(past.window) <= 32, "however many calls there are"
        assert [part.began for part in past.window] == sorted(part.began for part in past.window)


class Life:
    """A circuit to which something has happened."""

    def __init__(self, settings: CircuitSettings) -> None:
        self.settings = settings
        self.circuit = Circuit()
        self.now = 0.0

    def happen(self, what: str, pause: float) -> None:
        self.now += pause
        if what == "observe":
            self.circuit = hand.observe_only(self.circuit, "x", reason="r").circuit
        elif what == "release":
            self.circuit = hand.release(self.circuit, "x", self.now, reason="r").circuit
        else:
            self.call(what)

    def call(self, what: str) -> None:
        step, answer = machine.admit(self.circuit, self.settings, "x", self.now, rand=0.5)
        self.circuit = step.circuit
        if isinstance(answer, Denied):
            return
        if what == "fail":
            self.circuit = machine.fail(self.circuit, self.settings, answer, BROKEN, "x", self.now).circuit
        else:
            took = 5.0 if what == "slow" else 0.0
            self.circuit = machine.succeed(self.circuit, self.settings, answer, "x", self.now, took=took).circuit


happenings = st.lists(
    st.tuples(st.sampled_from(["good"] * 4 + ["fail"] * 2 + ["slow", "observe", "release"]), pauses), max_size=30
)


@given(judged_by, happenings, st.integers(1, 300), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_successes_taken_in_at_once_are_as_if_each_had_been_told(
    settings: CircuitSettings,
    before: list[tuple[str, float]],
    count: int,
    moments: list[float],
) -> None:
    life = Life(settings)
    for what, pause in before:
        life.happen(what, pause)
    ready = machine.tally(life.circuit, settings, 0, life.now)
    easy = machine.easy(ready, settings, life.now)
    if easy is None:
        return
    count = int(min(count, easy.calls))
    target(float(count))
    last = easy.until - 1e-6
    times = sorted(life.now + moment * (last - life.now) for moment in moments)
    told = ready
    for number in range(count):
        now = times[number * len(times) // count]
        told = succeeded_where_it_was_easy(told, settings, now)
    end = times[-1]
    at_once = machine.tally(ready, settings, count, end)
    assert at_once == machine.tally(told, settings, 0, end), "the same circuit, so every later decision is the same"


def succeeded_where_it_was_easy(circuit: Circuit, settings: CircuitSettings, now: float) -> Circuit:
    """One call that succeeds; it would have been admitted whatever chance and the others do, and decides nothing."""
    for live in (0, 1000):
        step, permit = machine.admit(circuit, settings, "x", now, rand=0.0, live=live)
        assert step == Step(circuit)
        assert permit == Permit(circuit.generation)
    step = machine.succeed(circuit, settings, Permit(circuit.generation), "x", now)
    assert step.events == ()
    assert replace(step.circuit, window=circuit.window) == circuit, "nothing but the window"
    return step.circuit


@given(judged_by, happenings)
def test_where_nothing_needs_deciding_it_is_easy(settings: CircuitSettings, before: list[tuple[str, float]]) -> None:
    """Else each call of a healthy circuit would take a lock."""
    life = Life(settings)
    for what, pause in before:
        life.happen(what, pause)
    ready = machine.tally(life.circuit, settings, 0, life.now)
    easy = machine.easy(ready, settings, life.now)
    healthy = ready.state in COUNTING and ready.failures == 0
    if easy is None:
        assert not healthy or (settings.throttle and any(part.failures for part in ready.window))
        return
    assert healthy
    assert ready.state is not CircuitState.CLOSED or machine.denial(ready, settings, life.now) is None
    assert life.now < easy.until <= life.now + LENGTH / 10
    assert easy.calls >= 1
    judges_slowness = settings.slow_call and settings.slow_rate
    assert easy.slow_call == (settings.slow_call if judges_slowness else float("inf"))
