"""The circuit for ordinary code: one breaker, and a registry of them.

A breaker holds one `Circuit` value and swaps it under a lock; events are told after the lock is left, in the order of
the commits. What it decides is decided in `core/circuit.py`.
"""

import math
import random
import sys
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from recloser.core import circuit as machine
from recloser.core.circuit import Circuit, CircuitSettings, CircuitState, Denied, Permit, Step
from recloser.core.errors import CircuitOpenError
from recloser.core.events import CircuitForgotten, Event
from recloser.core.failure import Failure, FailureKind
from recloser.ports import Clock, Emit

_REFUSING = (CircuitState.OPEN, CircuitState.FORCED_OPEN)


_LOOKED_AT = 8
"""How many old breakers are looked at when a new one may need their place."""


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSnapshot:
    """A breaker at one moment. Times are on the breaker's monotonic clock, durations in seconds."""

    name: str
    state: CircuitState
    generation: int
    seq: int
    failures: int
    opened_at: float | None
    open_until: float | None
    retry_after: float | None
    cooldown: float
    open_count: int
    calls: int
    admitted: int
    succeeded: int
    failed: int
    ignored: int
    cancelled: int
    expired: int
    stale: int
    live: int
    denied: int
    last_denied_at: float | None
    last_kind: FailureKind | None
    reason: str


class HeldPermit:
    """A permit that is out: settle it exactly once. Only the first settlement counts."""

    __slots__ = ("_breaker", "_permit", "settled")

    def __init__(self, breaker: "CircuitBreaker", permit: Permit) -> None:
        self._breaker = breaker
        self._permit = permit
        self.settled = False

    @property
    def trial(self) -> bool:
        """Whether this is one of half-open's few permits, on whose outcome others wait."""
        return self._permit.number > 0

    def succeed(self) -> None:
        """The call went well."""
        self._breaker._succeeded(self)

    def fail(self, failure: Failure) -> None:
        """The call failed, and this circuit is charged with it."""
        self._breaker._failed(self, failure)

    def ignore(self) -> None:
        """The outcome says nothing about this circuit's health."""
        self._breaker._returned(self, "ignored")

    def cancel(self) -> None:
        """The caller gave up: the permit is free again at once, and that is no verdict."""
        self._breaker._returned(self, "cancelled")


class CircuitBreaker:
    """One circuit, safe across threads and asyncio tasks."""

    def __init__(
        self,
        name: str,
        settings: CircuitSettings | None = None,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        listeners: Iterable[Emit] = (),
        circuit: Circuit | None = None,
        on_change: Callable[[str, Circuit], None] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings or CircuitSettings()
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - spreads cooldowns, keeps no secret
        self._listeners = tuple(listeners)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._circuit = circuit or Circuit()
        self._outbox: deque[Event] = deque()
        self._emitting = threading.Lock()
        self._counts = dict.fromkeys(
            ("admitted", "succeeded", "failed", "ignored", "cancelled", "expired", "stale", "denied", "opened"), 0
        )
        self._asked_for = False
        self._expired: set[int] = set()
        """The numbers of expired permits whose owners are still silent."""
        self._last_denied_at: float | None = None

    @property
    def state(self) -> CircuitState:
        """Where the circuit stands. Reading it changes nothing."""
        return self._circuit.state

    @property
    def forgettable(self) -> bool:
        """Whether this breaker may make room for another: at most a count of failures is lost with it."""
        return not _live(self._counts) and machine.forgettable(self._circuit, self.settings, self._clock.monotonic())

    def denial(self) -> Denied | None:
        """Why the next call would be refused, or None. Changes nothing."""
        circuit = self._circuit
        if circuit.state is CircuitState.CLOSED:
            return None
        return machine.denial(circuit, self.settings, self._clock.monotonic())

    def acquire(self) -> HeldPermit:
        """A permit for one call; CircuitOpenError if the circuit refuses."""
        circuit = self._circuit
        if circuit.state is CircuitState.CLOSED:  # the everyday case: nothing to decide
            with self._lock:
                self._counts["admitted"] += 1
            return HeldPermit(self, Permit(circuit.generation))
        with self._lock:
            now = self._clock.monotonic()
            step, answer = machine.admit(self._circuit, self.settings, self.name, now)
            if step.events:
                self._note_expired(self._circuit, step.circuit)
            self._commit(step)
            if isinstance(answer, Denied):
                self._counts["denied"] += 1
                self._last_denied_at = now
            else:
                self._counts["admitted"] += 1
        if isinstance(answer, Denied):
            raise CircuitOpenError(self.name, answer.state, answer.retry_after, answer.reason)
        held = HeldPermit(self, answer)
        try:
            self._tell()
        except BaseException:  # an interrupt in a listener: the caller never learns of its permit
            held.cancel()
            raise
        return held

    def force_open(self, for_: float | None = None, *, reason: str = "by hand") -> None:
        """Refuse every call for `for_` seconds, or until reset."""
        self._change(lambda c, now: machine.force_open(c, self.name, now, duration=for_, reason=reason))

    def disable(self, *, reason: str = "by hand") -> None:
        """Let every call pass and count nothing, until reset."""
        self._change(lambda c, _now: machine.disable(c, self.name, reason=reason))

    def reset(self, *, reason: str = "by hand") -> None:
        """Close the circuit and forget its failures. Counters stay."""
        self._change(lambda c, now: machine.reset(c, self.name, now, reason=reason))

    def restore(self) -> None:
        """Close an open circuit because a probe succeeded."""
        self._change(lambda c, now: machine.restore(c, self.name, now))

    def snapshot(self) -> CircuitSnapshot:
        """The breaker at one moment. Changes nothing."""
        with self._lock:
            moment = self._moment()
        return self._snapshot(moment, self._clock.monotonic())

    def _moment(self) -> "_Moment":
        """Everything a snapshot tells, taken at once. The lock is held."""
        return _Moment(self._circuit, dict(self._counts), self._last_denied_at)

    def _snapshot(self, moment: "_Moment", now: float) -> CircuitSnapshot:
        circuit, counts, last_denied_at = moment
        refused = machine.denial(circuit, self.settings, now)
        return CircuitSnapshot(
            name=self.name, state=circuit.state, generation=circuit.generation, seq=circuit.seq,
            failures=circuit.failures, opened_at=circuit.opened_at, open_until=circuit.open_until,
            retry_after=refused.retry_after if refused else None, cooldown=circuit.cooldown,
            open_count=counts["opened"], calls=counts["admitted"] + counts["denied"], admitted=counts["admitted"],
            succeeded=counts["succeeded"], failed=counts["failed"], ignored=counts["ignored"],
            cancelled=counts["cancelled"], expired=counts["expired"], stale=counts["stale"], live=_live(counts),
            denied=counts["denied"], last_denied_at=last_denied_at, last_kind=circuit.last_kind, reason=circuit.reason,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self._circuit.state}>"

    def _succeeded(self, held: HeldPermit) -> None:
        permit = held._permit
        with self._lock:
            circuit = self._circuit
            if not self._accounted(held, "succeeded"):
                return
            if circuit.state is CircuitState.CLOSED and not circuit.failures:
                return  # the everyday case: nothing to decide
            self._commit(machine.succeed(circuit, self.settings, permit, self.name, self._clock.monotonic()))
        self._tell()

    def _failed(self, held: HeldPermit, failure: Failure) -> None:
        permit, rand = held._permit, self._rng.random()
        with self._lock:
            if self._accounted(held, "failed"):
                now = self._clock.monotonic()
                self._commit(machine.fail(self._circuit, self.settings, permit, failure, self.name, now, rand=rand))
        self._tell()

    def _returned(self, held: HeldPermit, outcome: str) -> None:
        with self._lock:
            if self._accounted(held, outcome):
                self._commit(machine.give_back(self._circuit, held._permit))
        self._tell()

    def _accounted(self, held: HeldPermit, outcome: str) -> bool:
        """Count the settlement of a permit; False if it was settled before. The lock is held."""
        if held.settled:
            return False
        held.settled = True
        permit = held._permit
        expired = permit.number in self._expired
        if expired:
            self._expired.remove(permit.number)  # counted as such when its lease ran out
        else:
            self._counts[outcome] += 1
        if expired or permit.generation != self._circuit.generation:
            self._counts["stale"] += 1
        return True

    def _note_expired(self, before: Circuit, after: Circuit) -> None:
        """Count the leases that ran out. The lock is held."""
        kept = {lease.number for lease in after.leases}
        expired = [lease.number for lease in before.leases if lease.number not in kept]
        self._expired.update(expired)
        self._counts["expired"] += len(expired)

    def _change(self, change: Callable[[Circuit, float], Step]) -> None:
        with self._lock:
            self._commit(change(self._circuit, self._clock.monotonic()))
        self._tell()

    def _commit(self, step: Step) -> None:
        """Make a step the present. The lock is held."""
        if step.circuit is self._circuit:
            return
        entered = step.circuit.generation != self._circuit.generation
        self._counts["opened"] += entered and step.circuit.state in _REFUSING
        self._circuit = step.circuit
        self._outbox.extend(step.events)
        if self._on_change is not None:
            self._on_change(self.name, step.circuit)

    def _tell(self) -> None:
        """Give the outbox to the listeners, in commit order. The lock is not held.

        Whoever tells already takes along what others commit meanwhile, so nobody waits and nothing is overtaken.
        """
        while self._outbox and self._emitting.acquire(blocking=False):
            try:
                while self._outbox:
                    event = self._outbox.popleft()
                    for listener in self._listeners:
                        _heard(listener, event)
            finally:
                self._emitting.release()


class _Moment(NamedTuple):
    circuit: Circuit
    counts: Mapping[str, int]
    last_denied_at: float | None


def _live(counts: Mapping[str, int]) -> int:
    """The permits that are out."""
    return counts["admitted"] - sum(counts[how] for how in ("succeeded", "failed", "ignored", "cancelled", "expired"))


_reported: set[int] = set()


def _heard(listener: Emit, event: Event) -> None:
    """Call a listener; what it raises is reported once on stderr and changes nothing."""
    try:
        listener(event)
    except Exception:  # noqa: BLE001 - a listener is a stranger; whatever it raises must not reach the caller
        if id(listener) not in _reported:
            _reported.add(id(listener))
            print(f"recloser: the listener {listener!r} raised; this is reported once:", file=sys.stderr)  # noqa: T201
            traceback.print_exc()


@dataclass(frozen=True, slots=True)
class BreakersSnapshot:
    """Every breaker of a registry at one moment."""

    circuits: Mapping[str, CircuitSnapshot]

    @property
    def open(self) -> tuple[str, ...]:
        """The names of the circuits that are open now. One whose time is over is not, although nobody has asked yet."""
        return tuple(
            name
            for name, c in self.circuits.items()
            if c.state in _REFUSING and (c.retry_after is not None or c.open_until == math.inf)
        )


class Breakers:
    """A breaker per name, made when it is first asked for.

    Bounded: past `max_size`, breakers that hold no news (lastingly closed, no call in flight) are forgotten, those that
    nobody asked for again first. At twice the bound, open ones go as well if `expendable` says so of their name, and
    that is told.
    """

    def __init__(
        self,
        settings: CircuitSettings | None = None,
        *,
        settings_for: Callable[[str], CircuitSettings] | None = None,
        expendable: Callable[[str], bool] = lambda _name: True,
        max_size: int = 10_000,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        listeners: Iterable[Emit] = (),
        circuits: Mapping[str, Circuit] | None = None,
        on_change: Callable[[str, Circuit], None] | None = None,
    ) -> None:
        self._default = settings or CircuitSettings()
        self._settings_for = settings_for or (lambda _name: self._default)
        self._expendable = expendable
        self._max_size = max_size
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - spreads cooldowns, keeps no secret
        self._listeners = tuple(listeners)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()
        self._forgotten = Circuit()
        """The highest generation and seq among the forgotten: a name that comes back must not count from 0 again."""
        now = self._clock.monotonic()
        for name, circuit in (circuits or {}).items():
            self._breakers[name] = made = self._made(name, circuit)
            no_news = not circuit.failures or len(self._breakers) > max_size
            if no_news and machine.forgettable(circuit, made.settings, now):
                self._forget(name)

    def __getitem__(self, name: str) -> CircuitBreaker:
        breaker = self._breakers.get(name)
        if breaker is None:
            return self._added(name)
        breaker._asked_for = True
        return breaker

    def _added(self, name: str) -> CircuitBreaker:
        """The breaker of a new name; somebody else may have been quicker."""
        told: list[Event] = []
        with self._lock:
            breaker = self._breakers.get(name)
            if breaker is None:
                breaker = self._breakers[name] = self._made(name, self._forgotten)
                told = self._forget_some(breaker)
        for event in told:
            for listener in self._listeners:
                _heard(listener, event)
        return breaker

    def __contains__(self, name: str) -> bool:
        return name in self._breakers

    def denial(self, name: str) -> Denied | None:
        """Why the circuit of that name would refuse the next call, or None. Makes no breaker."""
        breaker = self._breakers.get(name)
        if breaker is None:
            return None
        breaker._asked_for = True
        return breaker.denial()

    def acquire_all(self, names: Iterable[str]) -> tuple[HeldPermit, ...]:
        """A permit of every circuit, or CircuitOpenError and none."""
        held: list[HeldPermit] = []
        try:
            for name in names:
                held.append(self[name].acquire())  # noqa: PERF401 - what was taken must be given back
        except BaseException:
            for permit in held:
                permit.cancel()
            raise
        return tuple(held)

    def snapshot(self) -> BreakersSnapshot:
        """Every breaker at one moment. Changes nothing."""
        with self._lock, ExitStack() as locks:
            breakers = list(self._breakers.values())
            for breaker in breakers:
                locks.enter_context(breaker._lock)
            moments = [breaker._moment() for breaker in breakers]
            now = self._clock.monotonic()
        return BreakersSnapshot({b.name: b._snapshot(m, now) for b, m in zip(breakers, moments, strict=True)})

    def _made(self, name: str, circuit: Circuit) -> CircuitBreaker:
        return CircuitBreaker(
            name,
            self._settings_for(name),
            clock=self._clock,
            rng=self._rng,
            listeners=self._listeners,
            circuit=circuit,
            on_change=self._on_change,
        )

    def _forget_some(self, newest: CircuitBreaker) -> list[Event]:
        """Make room for the newest breaker, if there is need; gives what is to be told. The lock is held.

        The oldest have no right to stay unless somebody asked for them since they were last looked at, or there is news
        in them. A few are looked at each time, so that no caller pays for all. At twice the bound, news goes too.
        """
        for _ in range(_LOOKED_AT):
            if len(self._breakers) <= self._max_size:
                return []
            name, breaker = next(iter(self._breakers.items()))
            if breaker is not newest and not breaker._asked_for and breaker.forgettable:
                self._forget(name)
            else:
                breaker._asked_for = False
                self._breakers.move_to_end(name)
        if len(self._breakers) <= 2 * self._max_size:
            return []
        oldest = islice(self._breakers.items(), _LOOKED_AT)
        expendable = [(n, b) for n, b in oldest if b is not newest and not b._asked_for and self._expendable(n)]
        if not expendable:
            return []
        name, breaker = expendable[0]
        self._forget(name)
        last = self._forgotten
        self._forgotten = replace(last, seq=last.seq + 1)
        return [CircuitForgotten(subject=name, seq=last.seq + 1, state=breaker.state)]

    def _forget(self, name: str) -> None:
        gone, last = self._breakers.pop(name)._circuit, self._forgotten
        self._forgotten = Circuit(generation=max(gone.generation, last.generation), seq=max(gone.seq, last.seq))
