"""Many threads and event loops at one breaker: nobody is admitted too much, and no count is lost.

The threads take turns at every chance (`in_threads`), so that what may come between two lines does come between them.
"""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from tests.breaker.scenes import (
    BROKEN,
    CLOSED,
    COOLDOWN,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    to_half_open,
)

from recloser.breaker import Breakers, CircuitBreaker, CircuitSnapshot, HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import CircuitOpenError
from recloser.testing import ManualClock, in_threads

HERE = Path(__file__)
NEVER_OPENS = replace(SETTINGS, failure_threshold=0)


def all_at_once(work: Callable[[int], None], count: int) -> None:
    """Run `work` in so many threads, which begin together; each is given its number."""
    together, numbers = threading.Barrier(count), itertools.count()

    def run() -> None:
        number = next(numbers)
        together.wait(30)
        work(number)

    in_threads(run, count)


# Half-open


@pytest.mark.parametrize(("permits", "threads"), [(1, 8), (1, 32), (3, 16), (5, 32)])
def test_of_many_threads_exactly_as_many_may_try_as_the_settings_say(permits: int, threads: int) -> None:
    """MO1, V1, MO11: elsewhere all of them were let through."""
    for _ in range(10):
        clock = ManualClock()
        breaker = CircuitBreaker("x", replace(SETTINGS, half_open_permits=permits), clock=clock)
        to_half_open(breaker, clock)
        admitted: list[HeldPermit] = []
        refused: list[str] = []

        def call(
            _: int,
            breaker: CircuitBreaker = breaker,
            admitted: list[HeldPermit] = admitted,
            refused: list[str] = refused,
        ) -> None:
            try:
                admitted.append(breaker.acquire())
            except CircuitOpenError as refusal:
                refused.append(refusal.state)

        all_at_once(call, threads)
        assert len(admitted) == permits
        assert refused == [HALF_OPEN] * (threads - permits)
        assert breaker.snapshot().denied == threads - permits
        assert [trial.trial for trial in admitted] == [True] * permits


class Upstream:
    """Remembers how many calls it had at the same time; each waits a moment for company."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._now = 0
        self.calls = 0
        self.most = 0

    def __call__(self) -> None:
        with self._changed:
            self._now += 1
            self.calls += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._now > 1, 0.01)
        HERE.stat()  # lets other threads in, as any I/O would
        with self._changed:
            self._now -= 1


def test_never_are_there_more_trials_under_way_than_allowed(clock: ManualClock) -> None:
    """Rounds of half-open in which the trials are settled in every way, while others press in."""
    settings = replace(SETTINGS, half_open_permits=2, failure_threshold=1, permit_lease=1e9)
    breaker = CircuitBreaker("x", settings, clock=clock)
    upstream = Upstream()
    ways: list[Callable[[HeldPermit], None]] = [lambda permit: permit.fail(BROKEN), HeldPermit.cancel]
    settlements = itertools.cycle([*ways, HeldPermit.succeed, HeldPermit.ignore, HeldPermit.succeed])

    def press(_: int) -> None:
        while upstream.calls < 40:
            try:
                permit = breaker.acquire()
            except CircuitOpenError as refused:
                if refused.state is OPEN:
                    clock.advance(COOLDOWN)
                continue
            if permit.trial:
                upstream()
            next(settlements)(permit)

    all_at_once(press, 8)
    assert upstream.most == 2
    s = breaker.snapshot()
    assert adds_up(s)
    assert (s.live, s.expired) == (0, 0)
    assert s.open_count > 3


# Failures


def test_no_failure_of_many_threads_is_lost(clock: ManualClock) -> None:
    """The circuit opens at the very last of the failures that it takes (MO11)."""
    threads, each = 16, 25
    for one_more in (0, 1):
        breaker = CircuitBreaker("x", replace(SETTINGS, failure_threshold=threads * each + one_more), clock=clock)

        def break_down(_: int, breaker: CircuitBreaker = breaker) -> None:
            for _ in range(each):
                with pytest.raises(BrokenError):
                    breaker.call(raise_broken)

        all_at_once(break_down, threads)
        s = breaker.snapshot()
        assert (s.failures, s.failed, s.denied) == (threads * each, threads * each, 0)
        assert s.state is (CLOSED if one_more else OPEN)


def raise_broken() -> None:
    raise BrokenError


def test_the_circuit_opens_once_however_many_threads_fail_at_once(clock: ManualClock) -> None:
    breaker = CircuitBreaker("x", SETTINGS, clock=clock)
    held = [breaker.acquire() for _ in range(32)]
    all_at_once(lambda number: held[number].fail(BROKEN), 32)
    s = breaker.snapshot()
    assert (s.open_count, s.seq, s.failed, s.stale, s.open_until) == (1, 1, 32, 30, 1000.0 + COOLDOWN)


def test_a_permit_that_many_threads_settle_is_settled_once(breaker: CircuitBreaker, clock: ManualClock) -> None:
    ways: list[Callable[[HeldPermit], None]] = [HeldPermit.cancel, HeldPermit.ignore, HeldPermit.succeed]
    for round_ in range(30):
        if round_ % 2:
            breaker.force_open(0.0)  # the next one is a trial
        permit = breaker.acquire()
        assert permit.trial == bool(round_ % 2)
        all_at_once(lambda number, permit=permit: ways[number % 3](permit), 9)  # type: ignore[misc]
        breaker.reset()
    s = breaker.snapshot()
    assert (s.admitted, s.live, s.succeeded + s.ignored + s.cancelled) == (30, 0, 30)


# Counts


async def nothing_async() -> None:
    await asyncio.sleep(0)


async def broken_async() -> None:
    await asyncio.sleep(0)
    raise BrokenError


def nothing() -> None:
    pass


class Callers:
    """Threads and tasks that call in every form, and note what they met with."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.met: list[str] = []
        self._decorated = breaker(nothing)
        self._decorated_async = breaker(nothing_async)

    def in_a_thread(self, calls: int) -> None:
        forms = [
            lambda: self.breaker.call(nothing),
            self._decorated,
            lambda: self.breaker.call(raise_broken),
            self._block,
            self._ignored,
            self._cancelled,
        ]
        for number in range(calls):
            try:
                forms[number % len(forms)]()
            except CircuitOpenError:
                self.met.append("denied")
            except BrokenError:
                self.met.append("failed")
            except KeyboardInterrupt:
                self.met.append("cancelled")
            except PermissionError:
                self.met.append("ignored")
            else:
                self.met.append("succeeded")

    async def in_a_task(self, calls: int) -> None:
        forms = [
            lambda: self.breaker.call_async(nothing_async),
            self._decorated_async,
            lambda: self.breaker.call_async(broken_async),
            self._async_block,
        ]
        for number in range(calls):
            try:
                await forms[number % len(forms)]()
            except CircuitOpenError:
                self.met.append("denied")
            except BrokenError:
                self.met.append("failed")
            else:
                self.met.append("succeeded")

    def _block(self) -> None:
        with self.breaker:
            pass

    async def _async_block(self) -> None:
        async with self.breaker:
            await asyncio.sleep(0)

    def _ignored(self) -> None:
        with self.breaker:
            raise PermissionError

    def _cancelled(self) -> None:
        with self.breaker:
            raise KeyboardInterrupt

    def agree_with(self, s: CircuitSnapshot) -> bool:
        """Whether the breaker has counted just what happened."""
        counted = {
            "succeeded": s.succeeded, "failed": s.failed, "ignored": s.ignored, "cancelled": s.cancelled,
            "denied": s.denied,
        }  # fmt: skip
        return {how: count for how, count in counted.items() if count} == dict(Counter(self.met))


class Onlooker:
    """Takes snapshots all the while: each adds up, no count ever goes down, no more are out than can be (A1, A2)."""

    COUNTS = ("calls", "admitted", "succeeded", "failed", "ignored", "cancelled", "denied", "open_count", "seq")

    def __init__(self, breaker: CircuitBreaker, most: int) -> None:
        self._breaker = breaker
        self._most = most
        self._stop = threading.Event()
        self.seen = 0
        self.wrong: list[CircuitSnapshot] = []
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        last = self._breaker.snapshot()
        while not self._stop.is_set():
            now = self._breaker.snapshot()
            fell = any(getattr(now, name) < getattr(last, name) for name in self.COUNTS)
            if fell or not adds_up(now) or not 0 <= now.live <= self._most:
                self.wrong.append(now)
            self.seen += 1
            last = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize(
    "settings",
    [
        NEVER_OPENS,
        replace(NEVER_OPENS, window=0.01),
        replace(NEVER_OPENS, window_calls=20),
        replace(NEVER_OPENS, throttle=1.5),
        replace(SETTINGS, cooldown=1e-6),
    ],
    ids=["plain", "slices end all the time", "slices of two calls", "throttled", "opens and closes"],
)
def test_every_count_of_threads_and_event_loops_is_exact(settings: CircuitSettings) -> None:
    breaker = CircuitBreaker("x", settings)
    callers = Callers(breaker)

    async def tasks() -> None:
        await asyncio.gather(*(callers.in_a_task(50) for _ in range(8)))

    def work(number: int) -> None:
        if number % 4 == 0:
            asyncio.run(tasks())
        else:
            callers.in_a_thread(900)

    with Onlooker(breaker, most=6 + 2 * 8) as onlooker:
        all_at_once(work, 8)
    s = breaker.snapshot()
    assert onlooker.wrong == []
    assert onlooker.seen > 3
    assert adds_up(s)
    assert (s.calls, s.live) == (2 * 8 * 50 + 6 * 900, 0)
    assert callers.agree_with(s)


# The lane: calls that nobody decides upon


@pytest.mark.parametrize("decorated", [False, True])
@pytest.mark.parametrize("window_calls", [0, 20, 1000])
def test_calls_without_a_decision_are_counted_to_the_last_one(decorated: bool, window_calls: int) -> None:
    """Also where slices are full all the time, so that now and then one of the calls does need a decision."""
    breaker = CircuitBreaker("x", replace(SETTINGS, window=3600.0, window_calls=window_calls))
    assert breaker._lane is not None
    guarded = breaker(nothing) if decorated else lambda: breaker.call(nothing)

    def call(_: int) -> None:
        for _ in range(500):
            guarded()

    all_at_once(call, 8)
    s = breaker.snapshot()
    assert (s.calls, s.succeeded, s.live, s.stale) == (4000, 4000, 0, 0)
    if window_calls:
        assert 0.9 * window_calls <= s.window_calls <= window_calls
    else:
        assert s.window_calls == 4000


def test_calls_without_a_decision_reach_the_slice_in_which_they_ended(clock: ManualClock) -> None:
    """Time passes while they run; as long as no slice is too old, every call is in the window."""
    breaker = CircuitBreaker("x", replace(SETTINGS, window=10_000.0), clock=clock)

    def call(number: int) -> None:
        for _ in range(300):
            if number == 0:
                clock.advance(10.0)  # a slice ends every hundred calls
            breaker.call(nothing)

    all_at_once(call, 8)
    s = breaker.snapshot()
    assert (s.succeeded, s.window_calls, s.live) == (2400, 2400, 0)
    assert len(breaker.circuit.window) >= 3


def test_nothing_is_lost_or_kept_while_hands_open_and_close_the_circuit() -> None:
    """Calls begin in one phase and end in another, or in none that needs a decision."""
    breaker = CircuitBreaker("x", replace(SETTINGS, window_calls=50))
    met: list[str] = []
    hands = [
        breaker.force_open, breaker.release, breaker.disable, breaker.reset, breaker.observe_only, breaker.reset,
    ]  # fmt: skip

    def work(number: int) -> None:
        if number == 0:
            for hand in hands * 60:
                hand()
            return
        for _ in range(300):
            try:
                breaker.call(nothing)
            except CircuitOpenError:
                met.append("denied")
            else:
                met.append("succeeded")

    all_at_once(work, 8)
    s = breaker.snapshot()
    assert adds_up(s)
    assert (s.live, s.expired, s.succeeded, s.denied) == (0, 0, met.count("succeeded"), met.count("denied"))
    assert s.open_count == 60
    assert s.state is CLOSED


def has_lane(breaker: CircuitBreaker) -> bool:
    return breaker._lane is not None


def test_a_failure_beside_calls_without_a_decision_ends_their_lane_and_a_success_brings_it_back(
    breaker: CircuitBreaker,
) -> None:
    assert has_lane(breaker)
    with pytest.raises(BrokenError):
        breaker.call(raise_broken)
    assert not has_lane(breaker)
    breaker.call(nothing)
    assert has_lane(breaker)
    assert breaker.snapshot().failures == 0


def test_a_call_that_began_before_an_opening_and_ends_after_it_is_stale(breaker: CircuitBreaker) -> None:
    def opened_meanwhile() -> None:
        fail(breaker, 2)

    breaker.call(opened_meanwhile)
    s = breaker.snapshot()
    assert (s.state, s.failures, s.succeeded, s.stale) == (OPEN, 2, 1, 1)


# Nobody waits for anybody


def test_no_call_waits_for_another(breaker: CircuitBreaker) -> None:
    """All calls are inside at the same time; a lock held during a call would keep all but one out."""
    inside = threading.Barrier(16)

    def call(_: int) -> None:
        breaker.call(inside.wait, 30)

    all_at_once(call, 16)
    assert breaker.snapshot().succeeded == 16


def test_a_refusal_takes_no_lock(breaker: CircuitBreaker) -> None:
    """V12: whoever is refused must not queue up behind others who are refused."""
    fail(breaker, 2)
    refused: list[str] = []

    def call() -> None:
        try:
            breaker.acquire()
        except CircuitOpenError as error:
            refused.append(error.state)

    with breaker._lock:
        caller = threading.Thread(target=call)
        caller.start()
        caller.join(10)
        assert refused == [OPEN]
    assert breaker.snapshot().denied == 1


def test_a_healthy_call_takes_no_lock(breaker: CircuitBreaker) -> None:
    ended: list[bool] = []

    def call() -> None:
        breaker.call(nothing)
        breaker(nothing)()
        asyncio.run(breaker.call_async(nothing_async))
        ended.append(True)

    with breaker._lock:
        caller = threading.Thread(target=call)
        caller.start()
        caller.join(10)
        assert ended == [True]
    assert breaker.snapshot().succeeded == 3


# The registry


def test_many_threads_get_the_same_new_breaker() -> None:
    for _ in range(20):
        tools = Breakers()
        got: list[CircuitBreaker] = []
        all_at_once(lambda _, tools=tools, got=got: got.append(tools["shell"]), 16)  # type: ignore[misc]
        assert len(set(map(id, got))) == 1


def test_a_registry_stays_within_its_bound_while_many_threads_ask_for_ever_new_names() -> None:
    tools = Breakers(SETTINGS, max_size=20)

    def work(number: int) -> None:
        for name in range(150):
            tools["favourite"].call(nothing)
            tools[f"tool-{number}-{name}"].call(nothing)

    all_at_once(work, 8)
    assert len(tools.snapshot().circuits) <= 20
    assert tools["favourite"].snapshot().succeeded == 8 * 150


def test_the_registrys_snapshot_is_one_moment() -> None:
    """The worker settles its permit of `one` before it takes one of `other`: no moment shows both out."""
    tools = Breakers(NEVER_OPENS)
    stop = threading.Event()
    seen: list[tuple[int, int]] = []

    def work() -> None:
        while not stop.is_set():
            tools["one"].acquire().succeed()
            tools["other"].acquire().fail(BROKEN)

    def look() -> None:
        try:
            for _ in range(700):
                circuits = tools.snapshot().circuits
                one, other = circuits["one"], circuits["other"]
                seen.append((one.live + other.live, one.succeeded - other.failed))
        finally:
            stop.set()

    tools["one"].acquire().succeed()
    tools["other"].acquire().fail(BROKEN)
    all_at_once(lambda number: look() if number else work(), 2)
    assert {live for live, _ in seen} <= {0, 1}
    assert {ahead for _, ahead in seen} <= {0, 1}
