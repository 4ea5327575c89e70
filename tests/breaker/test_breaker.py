"""The breaker around the circuit: its counts, its events, its threads, and the registry."""

import math
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from recloser.breaker import Breakers, CircuitBreaker, HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, CircuitState
from recloser.core.errors import CircuitOpenError
from recloser.core.events import CircuitClosed, Event
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.testing import ManualClock, RecordingSink, in_threads

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED = CircuitState
SETTINGS = CircuitSettings(failure_threshold=2, cooldown=10.0, jitter=0.0, permit_lease=100.0)
BROKEN = Failure(kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def breaker(clock: ManualClock, sink: RecordingSink) -> CircuitBreaker:
    return CircuitBreaker("search", SETTINGS, clock=clock, listeners=[sink])


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.acquire().fail(BROKEN)


def counts_add_up(breaker: CircuitBreaker) -> bool:
    """A1 and I7."""
    s = breaker.snapshot()
    settled = s.succeeded + s.failed + s.ignored + s.cancelled + s.expired
    return s.calls == s.admitted + s.denied and s.admitted == settled + s.live and s.live >= 0


# Calls


def test_a_breaker_needs_no_more_than_a_name() -> None:
    breaker = CircuitBreaker("search")
    breaker.acquire().succeed()
    assert breaker.settings == CircuitSettings()
    assert breaker.snapshot().succeeded == 1


def test_refused_says_who_and_why_and_for_how_long(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, 2)
    clock.advance(4.0)
    with pytest.raises(
        CircuitOpenError, match=r"circuit 'search' is open \(server_error\); try again in 6.0 s"
    ) as told:
        breaker.acquire()
    error = told.value
    assert (error.name, error.state, error.retry_after, error.reason) == ("search", OPEN, 6.0, "server_error")


def test_refused_for_good_says_that_time_does_not_help(breaker: CircuitBreaker) -> None:
    breaker.force_open(reason="maintenance")
    with pytest.raises(CircuitOpenError, match=r"is forced_open \(maintenance\); until it is reset") as told:
        breaker.acquire()
    assert told.value.retry_after is None


@pytest.mark.parametrize("first", ["succeed", "ignore", "cancel"])
def test_a_permit_is_settled_once(breaker: CircuitBreaker, first: str) -> None:
    permit = breaker.acquire()
    getattr(permit, first)()
    before = breaker.snapshot()
    permit.fail(BROKEN)
    permit.succeed()
    permit.ignore()
    permit.cancel()
    assert permit.settled
    assert breaker.snapshot() == before


def test_a_permit_that_sixteen_threads_settle_is_settled_once(breaker: CircuitBreaker) -> None:
    for _ in range(50):
        permit = breaker.acquire()
        together = threading.Barrier(16)

        def settle(permit: HeldPermit = permit, together: threading.Barrier = together) -> None:
            together.wait()
            permit.cancel()

        in_threads(settle, 16)
    assert breaker.snapshot().cancelled == 50
    assert counts_add_up(breaker)


# Counts


def test_the_snapshot_of_a_whole_life(breaker: CircuitBreaker, clock: ManualClock) -> None:
    slow, slower = breaker.acquire(), breaker.acquire()
    breaker.acquire().succeed()
    breaker.acquire().ignore()
    breaker.acquire().cancel()
    fail(breaker, 2)
    clock.advance(3.0)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    slow.succeed()
    s = breaker.snapshot()
    assert (s.name, s.state, s.generation, s.seq, s.failures) == ("search", OPEN, 1, 1, 2)
    assert (s.opened_at, s.open_until, s.retry_after, s.cooldown, s.open_count) == (1000.0, 1010.0, 7.0, 10.0, 1)
    assert (s.calls, s.admitted, s.denied, s.last_denied_at) == (8, 7, 1, 1003.0)
    assert (s.succeeded, s.failed, s.ignored, s.cancelled, s.expired, s.stale, s.live) == (2, 2, 1, 1, 0, 1, 1)
    assert (s.last_kind, s.reason) == (FailureKind.SERVER_ERROR, "server_error")
    slower.cancel()
    assert counts_add_up(breaker)


def test_a_probe_restores_what_time_does_not(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    no_key = Failure(kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True)
    breaker.acquire().fail(no_key)
    breaker.restore()
    breaker.acquire().succeed()
    assert sink.kinds() == ["circuit_opened", "circuit_closed"]


def test_counts_survive_a_reset(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.reset()
    s = breaker.snapshot()
    assert (s.state, s.failures, s.failed, s.open_count) == (CLOSED, 0, 2, 1)


def test_two_openings_at_one_moment_are_two(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.reset()
    fail(breaker, 2)
    breaker.force_open(5.0)
    assert breaker.snapshot().open_count == 3


def test_an_opening_that_a_server_extends_is_still_one(breaker: CircuitBreaker) -> None:
    late = breaker.acquire()
    fail(breaker, 2)
    late.fail(replace(BROKEN, effect=Effect.OPENS, retry_after=3600.0, authoritative=True))
    s = breaker.snapshot()
    assert (s.retry_after, s.open_count, s.stale) == (3600.0, 1, 1)


def test_an_expired_permit_is_counted_as_such_and_not_again_when_its_owner_comes_back(
    breaker: CircuitBreaker, clock: ManualClock, sink: RecordingSink
) -> None:
    fail(breaker, 2)
    clock.advance(10.0)
    silent = breaker.acquire()
    clock.advance(100.0)
    next_one = breaker.acquire()
    s = breaker.snapshot()
    assert (s.expired, s.live, s.stale) == (1, 1, 0)
    assert sink.kinds() == ["circuit_opened", "circuit_half_opened", "permit_expired"]
    silent.succeed()
    s = breaker.snapshot()
    assert (s.state, s.succeeded, s.expired, s.stale, s.live) == (HALF_OPEN, 0, 1, 1, 1)
    next_one.succeed()
    assert breaker.state is CLOSED
    assert counts_add_up(breaker)


@pytest.mark.parametrize("seed", range(20))
def test_the_counts_add_up_whatever_happens(seed: int) -> None:
    rng, clock = random.Random(seed), ManualClock()
    breaker = CircuitBreaker("x", replace(SETTINGS, half_open_permits=2), clock=clock, rng=rng)
    held: list[HeldPermit] = []
    waits: list[float | None] = []
    hands: list[Callable[[], None]] = [breaker.reset, breaker.disable, lambda: breaker.force_open(5.0)]
    for _ in range(400):
        clock.advance(rng.choice([0.0, 1.0, 11.0, 101.0]))
        if rng.random() < 0.03:
            rng.choice(hands)()
        if held and rng.random() < 0.5:
            permit = held.pop(rng.randrange(len(held)))
            settle: list[Callable[[], None]] = [
                permit.succeed,
                permit.cancel,
                permit.ignore,
                partial(permit.fail, BROKEN),
            ]
            rng.choice(settle)()
        else:
            try:
                held.append(breaker.acquire())
            except CircuitOpenError as refused:
                waits.append(refused.retry_after)
        assert counts_add_up(breaker)
    assert waits
    assert all(wait is None or wait >= 0 for wait in waits)
    assert breaker.snapshot().live == sum(permit._permit.number not in breaker._expired for permit in held)


# Looking


def test_looking_changes_nothing(breaker: CircuitBreaker, clock: ManualClock, sink: RecordingSink) -> None:
    """Not even when the cooldown is over: a dashboard is no caller."""
    fail(breaker, 2)
    clock.advance(1000.0)
    before = breaker._circuit
    for _ in range(3):
        assert breaker.state is OPEN
        assert breaker.denial() is None
        assert repr(breaker) == "<CircuitBreaker 'search' open>"
        assert breaker.snapshot().retry_after is None
    assert breaker._circuit is before
    assert sink.kinds() == ["circuit_opened"]


def test_denial_says_what_acquire_would_say(breaker: CircuitBreaker) -> None:
    assert breaker.denial() is None
    fail(breaker, 2)
    denied = breaker.denial()
    assert denied is not None
    assert (denied.state, denied.retry_after, denied.kind) == (OPEN, 10.0, FailureKind.SERVER_ERROR)


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_a_wall_clock_that_jumps_a_day_changes_nothing(
    breaker: CircuitBreaker, clock: ManualClock, jump: float
) -> None:
    fail(breaker, 2)
    before = breaker.snapshot()
    clock.jump_wall(jump)
    assert breaker.snapshot() == before
    clock.advance(9.9)
    clock.jump_wall(jump)
    with pytest.raises(CircuitOpenError):
        breaker.acquire()
    clock.advance(0.1)
    clock.jump_wall(-3 * jump)
    breaker.acquire().succeed()
    assert breaker.state is CLOSED


# Events


def test_events_are_told_in_the_order_of_the_commits(
    breaker: CircuitBreaker, clock: ManualClock, sink: RecordingSink
) -> None:
    fail(breaker, 2)
    clock.advance(10.0)
    breaker.acquire().fail(BROKEN)
    clock.advance(20.0)
    breaker.acquire().succeed()
    breaker.force_open(5.0)
    breaker.disable()
    breaker.reset()
    assert sink.kinds() == [
        "circuit_opened", "circuit_half_opened", "circuit_opened", "circuit_half_opened", "circuit_closed",
        "circuit_forced", "circuit_forced", "circuit_forced",
    ]  # fmt: skip
    assert [event.seq for event in sink.events] == list(range(1, 9))
    assert {event.subject for event in sink.events} == {"search"}


def test_a_listener_may_use_the_breaker_and_hears_what_it_causes_afterwards(clock: ManualClock) -> None:
    heard: list[str] = []

    def meddling(event: Event) -> None:
        heard.append(f"{event.kind} while {mine.state}")
        if event.kind == "circuit_opened":
            mine.reset()
            mine.snapshot()
            heard.append("meddled")

    mine = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[meddling])
    fail(mine, 2)
    assert heard == ["circuit_opened while open", "meddled", "circuit_forced while closed"]


def test_a_listener_that_raises_harms_nobody_and_is_reported_once(
    clock: ManualClock, sink: RecordingSink, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(event: Event) -> None:
        raise ZeroDivisionError(event.kind)

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[raising, sink])
    fail(breaker, 2)
    clock.advance(10.0)
    breaker.acquire().succeed()
    assert sink.kinds() == ["circuit_opened", "circuit_half_opened", "circuit_closed"]
    assert capsys.readouterr().err.count("ZeroDivisionError: circuit_opened") == 1


def test_an_interrupt_in_a_listener_leaves_no_permit_behind(clock: ManualClock, sink: RecordingSink) -> None:
    def interrupted(event: Event) -> None:
        if event.kind == "circuit_half_opened":
            raise KeyboardInterrupt

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[sink, interrupted])
    fail(breaker, 2)
    clock.advance(10.0)
    with pytest.raises(KeyboardInterrupt):
        breaker.acquire()
    assert breaker.snapshot().live == 0
    breaker.acquire().succeed()
    assert sink.kinds()[-1] == "circuit_closed"


def test_events_of_sixteen_threads_arrive_whole_and_in_order(clock: ManualClock) -> None:
    heard: list[int] = []
    together = threading.Barrier(16)
    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[lambda event: heard.append(event.seq)])

    def toggle() -> None:
        together.wait()
        for _ in range(100):
            breaker.force_open(1.0)
            breaker.reset()

    in_threads(toggle, 16)
    assert heard == list(range(1, breaker.snapshot().seq + 1))
    assert len(heard) > 1600


def test_an_event_committed_while_the_teller_packs_up_is_told_too(breaker: CircuitBreaker, sink: RecordingSink) -> None:
    class PackingUp:
        """The lock of whoever tells; just before it is free, somebody else commits and cannot have it."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.late: list[Callable[[], None]] = [breaker.reset]

        def acquire(self, *, blocking: bool) -> bool:
            return self.lock.acquire(blocking=blocking)

        def release(self) -> None:
            while self.late:
                self.late.pop()()
            self.lock.release()

    breaker._emitting = PackingUp()  # type: ignore[assignment]
    breaker.disable()
    assert [event.seq for event in sink.events] == [1, 2]


def test_a_slow_listener_holds_up_no_other_caller(clock: ManualClock) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(event: Event) -> None:
        entered.set()
        assert leave.wait(10)

    breaker = CircuitBreaker("x", SETTINGS, clock=clock, listeners=[slow])
    opener = threading.Thread(target=breaker.force_open, args=(5.0,))
    opener.start()
    assert entered.wait(10)
    breaker.reset()  # these return although the listener is still at its first event
    breaker.acquire().succeed()
    assert breaker.snapshot().succeeded == 1
    leave.set()
    opener.join()


# Threads


def test_of_sixteen_threads_exactly_one_may_try(clock: ManualClock) -> None:
    for _ in range(30):
        breaker = CircuitBreaker("x", SETTINGS, clock=clock)
        fail(breaker, 2)
        clock.advance(10.0)
        together = threading.Barrier(16)
        admitted: list[HeldPermit] = []
        refused: list[str] = []

        def call(
            breaker: CircuitBreaker = breaker,
            together: threading.Barrier = together,
            admitted: list[HeldPermit] = admitted,
            refused: list[str] = refused,
        ) -> None:
            together.wait()
            try:
                admitted.append(breaker.acquire())
            except CircuitOpenError as refusal:
                refused.append(refusal.state)

        in_threads(call, 16)
        assert len(admitted) == 1
        assert refused == [HALF_OPEN] * 15
        assert breaker.snapshot().denied == 15


def test_no_count_of_sixteen_threads_is_lost() -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=0))
    together = threading.Barrier(16)

    def call() -> None:
        together.wait()
        for number in range(200):
            permit = breaker.acquire()
            permit.succeed() if number % 2 else permit.fail(BROKEN)

    in_threads(call, 16)
    s = breaker.snapshot()
    assert (s.admitted, s.succeeded, s.failed, s.live) == (3200, 1600, 1600, 0)


# What is written down


def test_whoever_keeps_circuits_is_told_of_every_change_in_order(clock: ManualClock) -> None:
    kept: list[tuple[str, Circuit]] = []
    breaker = CircuitBreaker("x", SETTINGS, clock=clock, on_change=lambda name, circuit: kept.append((name, circuit)))
    breaker.acquire().succeed()
    assert kept == [], "a healthy call costs nothing"
    fail(breaker, 2)
    breaker.reset()
    assert [(name, circuit.state, circuit.failures) for name, circuit in kept] == [
        ("x", CLOSED, 1),
        ("x", OPEN, 2),
        ("x", CLOSED, 0),
    ]


def test_a_breaker_goes_on_from_a_circuit_that_was_kept(clock: ManualClock) -> None:
    first = CircuitBreaker("x", SETTINGS, clock=clock)
    fail(first, 2)
    second = CircuitBreaker("x", SETTINGS, clock=clock, circuit=first._circuit)
    with pytest.raises(CircuitOpenError):
        second.acquire()


# The registry


@pytest.fixture
def tools(clock: ManualClock, sink: RecordingSink) -> Breakers:
    return Breakers(SETTINGS, max_size=10, clock=clock, listeners=[sink])


def test_there_is_one_breaker_a_name(tools: Breakers) -> None:
    assert "shell" not in tools
    assert tools["shell"] is tools["shell"]
    assert tools["shell"] is not tools["search"]
    assert "shell" in tools
    assert tools["shell"].settings is SETTINGS


def test_sixteen_threads_get_the_same_new_breaker() -> None:
    for _ in range(30):
        tools, together = Breakers(), threading.Barrier(16)
        got: list[CircuitBreaker] = []

        def ask(
            tools: Breakers = tools, together: threading.Barrier = together, got: list[CircuitBreaker] = got
        ) -> None:
            together.wait()
            got.append(tools["shell"])

        in_threads(ask, 16)
        assert len(set(map(id, got))) == 1


def test_settings_may_differ_by_name() -> None:
    strict = replace(SETTINGS, failure_threshold=1)
    tools = Breakers(settings_for=lambda name: strict if name == "strict" else SETTINGS)
    assert (tools["strict"].settings, tools["other"].settings) == (strict, SETTINGS)


def test_asking_whether_it_would_refuse_makes_no_breaker(tools: Breakers) -> None:
    assert tools.denial("shell") is None
    assert "shell" not in tools
    fail(tools["shell"], 2)
    denied = tools.denial("shell")
    assert denied is not None
    assert denied.retry_after == 10.0


def names(tools: Breakers) -> set[str]:
    return set(tools.snapshot().circuits)


def test_it_is_bounded(tools: Breakers) -> None:
    for number in range(1000):
        tools[f"tool-{number}"].acquire().succeed()
        assert len(names(tools)) <= 10
    assert "tool-999" in tools


def test_what_is_in_use_is_forgotten_last(tools: Breakers) -> None:
    for number in range(100):
        tools["favourite"].acquire().succeed()
        tools[f"tool-{number}"].acquire().succeed()
    assert tools["favourite"].snapshot().succeeded == 100


def test_no_news_is_ever_forgotten(tools: Breakers, clock: ManualClock) -> None:
    """Open, half-open, forced, disabled, and busy breakers stay, even past the bound."""
    fail(tools["half-open"], 2)
    clock.advance(10.0)
    held = [tools["half-open"].acquire(), tools["busy"].acquire()]
    fail(tools["open"], 2)
    tools["forced"].force_open()
    tools["disabled"].disable()
    fail(tools["flapping"], 2)
    tools["flapping"].reset()
    fail(tools["flapping"], 2)
    clock.advance(10.0)
    tools["flapping"].acquire().succeed()
    news = {"half-open", "busy", "open", "forced", "disabled", "flapping"}
    for number in range(100):
        tools[f"tool-{number}"].acquire().succeed()
        assert news <= names(tools)
    assert len(names(tools)) == 10
    for permit in held:
        permit.succeed()


def test_when_nothing_may_be_forgotten_the_bound_gives_way_but_not_without_end(
    tools: Breakers, sink: RecordingSink
) -> None:
    for number in range(20):
        tools[f"tool-{number}"].force_open()
    assert len(names(tools)) == 20
    assert "circuit_forgotten" not in sink.kinds()
    for number in range(20, 40):
        tools[f"tool-{number}"].force_open()
    assert len(names(tools)) == 20
    assert sink.kinds().count("circuit_forgotten") == 20
    assert "tool-39" in tools


def test_growth_is_not_forgotten_with_the_breaker_before_it_is_forgotten_in_it(
    tools: Breakers, clock: ManualClock
) -> None:
    fail(tools["flapping"], 2)
    clock.advance(10.0)
    tools["flapping"].acquire().succeed()
    assert not tools["flapping"].forgettable
    clock.advance(SETTINGS.cooldown_max)
    assert tools["flapping"].forgettable


def test_a_name_that_comes_back_goes_on_counting(tools: Breakers, clock: ManualClock, sink: RecordingSink) -> None:
    """Else the store would take its news for old, and listeners would hear the same seq twice."""
    fail(tools["comeback"], 2)
    clock.advance(10.0)
    tools["comeback"].acquire().succeed()
    clock.advance(SETTINGS.cooldown_max)
    for number in range(30):
        tools[f"tool-{number}"].acquire().succeed()
    assert "comeback" not in tools
    fail(tools["comeback"], 2)
    assert [event.seq for event in sink.events] == [1, 2, 3, 4]
    assert tools["comeback"].snapshot().generation == 4


def test_of_kept_circuits_those_without_news_make_room_at_once(clock: ManualClock) -> None:
    over = Circuit(state=OPEN, generation=7, seq=9, opened_at=1.0, open_until=2.0, reason="not_found")
    tools = Breakers(SETTINGS, clock=clock, circuits={"over": over, "counted": Circuit(failures=1), "well": Circuit()})
    assert names(tools) == {"counted"}
    tools["over"].force_open()
    assert (tools["over"].snapshot().generation, tools["over"].snapshot().seq) == (8, 10)


def test_kept_circuits_are_there_from_the_start(clock: ManualClock) -> None:
    opened = Circuit(state=OPEN, generation=1, seq=1, opened_at=990.0, open_until=1060.0, reason="quota")
    kept: list[str] = []
    tools = Breakers(
        SETTINGS, clock=clock, circuits={"shell": opened}, on_change=lambda name, _circuit: kept.append(name)
    )
    assert tools.snapshot().open == ("shell",)
    tools["shell"].reset()
    assert kept == ["shell"]


def test_permits_of_a_whole_path(tools: Breakers) -> None:
    held = tools.acquire_all(["account", "endpoint", "model"])
    assert [tools[name].snapshot().live for name in ("account", "endpoint", "model")] == [1, 1, 1]
    for permit in held:
        permit.succeed()
    assert [tools[name].snapshot().live for name in ("account", "endpoint", "model")] == [0, 0, 0]


def test_a_path_that_is_refused_gives_everything_back(tools: Breakers, clock: ManualClock) -> None:
    fail(tools["account"], 2)
    clock.advance(10.0)
    tools["model"].force_open(reason="maintenance")
    for _ in range(3):  # the account's only trial is free again each time
        with pytest.raises(CircuitOpenError, match="'model'"):
            tools.acquire_all(["account", "endpoint", "model"])
    for name in ("account", "endpoint"):
        s = tools[name].snapshot()
        assert (s.live, s.cancelled, s.failures) == (0, 3, 2 if name == "account" else 0)
    assert tools["account"].state is HALF_OPEN


def test_a_path_that_is_interrupted_gives_everything_back(clock: ManualClock) -> None:
    def interrupted(event: Event) -> None:
        if event.kind == "circuit_half_opened":
            raise KeyboardInterrupt

    tools = Breakers(SETTINGS, clock=clock, listeners=[interrupted])
    fail(tools["model"], 2)
    clock.advance(10.0)
    with pytest.raises(KeyboardInterrupt):
        tools.acquire_all(["account", "endpoint", "model"])
    assert [tools[name].snapshot().live for name in ("account", "endpoint", "model")] == [0, 0, 0]


def test_only_what_is_open_now_is_open(tools: Breakers, clock: ManualClock) -> None:
    """A pause that waits for recovery must end although nobody calls meanwhile (U1)."""
    fail(tools["open"], 2)
    tools["forced"].force_open(reason="maintenance")
    tools["forced for a time"].force_open(5.0)
    fail(tools["failing"])
    assert tools.snapshot().open == ("open", "forced", "forced for a time")
    clock.advance(5.0)
    assert tools.snapshot().open == ("open", "forced")
    clock.advance(5.0)
    assert tools.snapshot().open == ("forced",)
    trial = tools["open"].acquire()
    assert tools.snapshot().open == ("forced",), "trying is not open"
    trial.succeed()


def test_what_waits_for_proof_is_open(tools: Breakers) -> None:
    no_key = Failure(kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True)
    tools["account"].acquire().fail(no_key)
    snapshot = tools.snapshot()
    assert snapshot.open == ("account",)
    assert snapshot.circuits["account"].open_until == math.inf


def test_the_registrys_snapshot_is_one_moment() -> None:
    """Every worker settles its permit of `one` before it takes one of `other`: no moment shows both out."""
    tools = Breakers(replace(SETTINGS, failure_threshold=0))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            tools["one"].acquire().succeed()
            tools["other"].acquire().fail(BROKEN)

    tools["one"].acquire().succeed()
    tools["other"].acquire().fail(BROKEN)
    seen: list[tuple[int, int]] = []

    def look() -> None:
        try:
            for _ in range(1000):
                circuits = tools.snapshot().circuits
                one, other = circuits["one"], circuits["other"]
                seen.append((one.live + other.live, one.succeeded - other.failed))
        finally:
            stop.set()

    jobs = iter([work, look])

    def either() -> None:
        job = next(jobs)
        job()

    in_threads(either, 2)
    assert {live for live, _ in seen} <= {0, 1}
    assert {ahead for _, ahead in seen} <= {0, 1}


def test_the_registrys_snapshot_changes_nothing(tools: Breakers, clock: ManualClock, sink: RecordingSink) -> None:
    fail(tools["open"], 2)
    clock.advance(1000.0)
    before = tools["open"]._circuit
    assert tools.snapshot() == tools.snapshot()
    assert tools["open"]._circuit is before
    assert sink.kinds() == ["circuit_opened"]


def test_the_cooldowns_of_two_breakers_are_spread() -> None:
    clock = ManualClock()
    tools = Breakers(CircuitSettings(failure_threshold=1, jitter=0.5), clock=clock, rng=random.Random(7))
    ends = set()
    for number in range(20):
        fail(tools[f"tool-{number}"])
        ends.add(tools[f"tool-{number}"].snapshot().open_until)
    assert len(ends) == 20
    assert all(end is not None and 2.5 <= end - 1000.0 <= 7.5 for end in ends)


def test_the_machines_own_clocks_are_the_default() -> None:
    breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=1))
    fail(breaker)
    retry_after = breaker.snapshot().retry_after
    assert retry_after is not None
    assert 9.0 < retry_after <= 10.0


# What the tests stand on


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    assert clock.monotonic() == 1000.0
    wall = clock.time()
    clock.advance(5.0)
    assert (clock.monotonic(), clock.time()) == (1005.0, wall + 5.0)
    clock.jump_wall(-86400.0)
    assert (clock.monotonic(), clock.time()) == (1005.0, wall + 5.0 - 86400.0)
    with pytest.raises(ValueError, match="jump_wall"):
        clock.advance(-1.0)


def test_a_sink_remembers() -> None:
    sink = RecordingSink()
    closed = CircuitClosed(subject="x", seq=1, open_for=2.0)
    sink(closed)
    assert (sink.events, sink.kinds()) == ([closed], ["circuit_closed"])
