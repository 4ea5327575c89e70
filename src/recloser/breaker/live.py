"""A circuit at work: one `Circuit` value, what becomes of it, and the accounts of its calls.

What becomes of it is decided in `core/circuit.py`, one decision at a time, under a lock. While the circuit is closed
and no call fails there is nothing to decide, and no lock is taken: the `Lane` says how far that holds, calls are
counted as they pass, and the circuit takes the counts in when the next decision comes.

A finaliser or a signal handler may come back here in the middle of a decision, in the same thread, and from the middle
of another circuit's decision, in another. So decisions wait their turn, and whoever settles a permit does not wait for
a lock for long: what is left in the inbox is done by whoever comes next.
"""

import math
import random
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from recloser.breaker.counts import Count
from recloser.breaker.forks import set_up_anew
from recloser.breaker.listeners import Listeners, Outbox
from recloser.breaker.permit import HeldPermit
from recloser.breaker.snapshot import OUTCOMES, Moment
from recloser.core import circuit as machine
from recloser.core import window
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_sharing import adopted, announcement, same_phase
from recloser.core.circuit_state import PASSING, REFUSING, Circuit, Denied, Permit, Step
from recloser.core.failure import Effect, Failure, FailureKind
from recloser.core.raised import failure_of
from recloser.ports import Clock

if TYPE_CHECKING:
    from recloser.breaker.sharing import Sharing

T = TypeVar("T")
Change = Callable[[Circuit, float], tuple[Step, T]]
Ask = Literal["never", "if needed", "always"]
"""Whether the store is asked. By hand, always: others may have changed what the order is about."""

PATIENCE = 0.1
"""Seconds for which somebody waits for the lock; twice crossed finalisers would wait for ever."""
_LOOKS = 100
"""How often it is looked again for a moment at which no call begins."""
_NO_LIMIT = 1 << 62


class Lane:
    """How far calls need no decision: from which generation, until when, for how many successes, how slow at most."""

    __slots__ = ("generation", "last", "permit", "slow_call", "until")

    def __init__(self, easy: machine.Easy, last: int) -> None:
        self.generation = easy.generation
        self.permit = Permit(easy.generation)
        self.until = easy.until
        self.slow_call = easy.slow_call
        self.last = last


class _Settlement(NamedTuple):
    """What became of a permit, and the decision that it asks for."""

    held: HeldPermit
    outcome: str
    change: Change[None] | None


class LiveCircuit(ABC):
    """The circuit of one name in this process, and the counters of its calls."""

    def __init__(
        self,
        name: str,
        settings: CircuitSettings,
        *,
        clock: Clock,
        rng: random.Random | None,
        listeners: Listeners,
    ) -> None:
        self.name = name
        self.settings = settings
        self._clock = clock
        self._monotonic = clock.monotonic
        self._own_rng = rng is None
        self._rng = rng or random.Random()  # noqa: S311 - spreads cooldowns, keeps no secret
        self._listeners = listeners
        self._outbox = Outbox(listeners)
        self._sharing: Sharing | None = None
        self._lock = threading.RLock()
        self._deciding = False
        self._postponed: deque[tuple[Change[None], Ask, int]] = deque()
        self._inbox: deque[_Settlement] = deque()
        self._admissions = Count()
        self._successes = Count()
        self._denials = Count()
        self._taken_in = 0
        """Of the successes, how many the circuit knows."""
        self._counts = dict.fromkeys((*OUTCOMES, "stale", "opened"), 0)
        self._expired: set[int] = set()
        """The numbers of expired permits whose owners are still silent."""
        self._trials: set[int] = set()
        """The numbers of the half-open permits that are out here."""
        self._last_denied_at: float | None = None
        self._circuit = Circuit()
        self._lane: Lane | None = None

    def _begin(self, circuit: Circuit | None) -> None:
        """Go on from this circuit."""
        now = self._monotonic()
        self._become(machine.tally(circuit or Circuit(), self.settings, 0, now), now)
        set_up_anew(self)

    @abstractmethod
    def classified(self, error: BaseException) -> Failure:
        """What an exception means to this circuit. Never raises."""

    # Asking

    def _asked(self) -> HeldPermit | Denied:
        """The answer to a call that wants to be admitted, where that has to be decided."""
        if not self._lock.acquire(timeout=PATIENCE):
            circuit = self._circuit
            if circuit.state not in PASSING:
                return Denied(circuit.state, PATIENCE, "somebody else is being decided about", circuit.last_kind)
            self._admissions.up()
            return HeldPermit(self, Permit(circuit.generation), self._monotonic())
        try:
            self._work_off()
            now = self._monotonic()
            answer = self._answered(now)
            if isinstance(answer, Denied):
                return answer
            self._admissions.up()
            if answer.number:
                self._trials.add(answer.number)
            return HeldPermit(self, answer, now)
        finally:
            self._lock.release()

    def _answered(self, now: float) -> Permit | Denied:
        circuit = self._circuit
        if circuit.state in PASSING and not self.settings.throttle:
            return Permit(circuit.generation)
        refused = machine.denial(self._living(), self.settings, now)
        if refused is not None:
            return refused
        if self._deciding:
            return Denied(circuit.state, 0.0, "asked in the middle of a decision", circuit.last_kind)
        rand, live, owner = self._rng.random(), self._moment().live, self._owner
        return self._decide(
            lambda c, now: machine.admit(c, self.settings, self.name, now, rand=rand, live=live, owner=owner)
        )

    @property
    def _owner(self) -> str:
        """Who the trials that are out here belong to."""
        return self._sharing.owner if self._sharing is not None else ""

    def _living(self) -> Circuit:
        """The circuit without the permits of those who have ended."""
        return self._circuit if self._sharing is None else self._sharing.living(self._circuit, self._trials)

    # Settling

    def _succeeded(self, held: HeldPermit, took: float | None) -> None:
        now, lane = self._monotonic(), self._lane
        took = now - held.began if took is None else took
        permit = held.permit
        ours = lane is not None and (permit is lane.permit or permit == lane.permit)
        if lane is not None and ours and now < lane.until and took < lane.slow_call:
            with self._lock:
                if held.settled:
                    return
                if self._lane is lane:
                    held.settled = True
                    if self._successes.up() >= lane.last:
                        self._lane_used_up()
                    return
        self._settle(held, "succeeded", self._success(held.permit, took))

    def _failed(self, held: HeldPermit, what: Failure | FailureKind | BaseException, took: float | None = None) -> None:
        if isinstance(what, BaseException) and not isinstance(what, Exception):
            return self._returned(held, "cancelled")  # whatever else it may mean to whom, it is no verdict
        try:
            failure = self._failure(what)
        except BaseException:  # an interrupt in a classifier
            self._returned(held, "cancelled")
            raise
        if failure.kind is FailureKind.CANCELLED:
            return self._returned(held, "cancelled")
        if failure.effect is Effect.NOTHING:
            return self._returned(held, "ignored")
        took = self._monotonic() - held.began if took is None else took
        return self._settle(held, "failed", self._charge(held.permit, failure.fit_to_note(), took))

    def _returned(self, held: HeldPermit, outcome: str) -> None:
        permit = held.permit
        if permit.number:
            self._settle(held, outcome, lambda c, _now: (machine.give_back(c, permit), None))
        else:
            self._settle(held, outcome, None)

    def _lane_left(self, lane: Lane, took: float) -> None:
        """A call that began in a lane succeeded beyond it."""
        self._settle(HeldPermit(self, lane.permit, 0.0), "succeeded", self._success(lane.permit, took))

    def _lane_used_up(self) -> None:
        """A lane's number of calls is reached: the circuit takes them in."""
        with self._lock:
            self._decide(lambda c, _now: (Step(c), None))

    def _lane_failed(self, lane: Lane, began: float, error: BaseException) -> None:
        self._failed(HeldPermit(self, lane.permit, began), error)

    def _failure(self, what: Failure | FailureKind | BaseException) -> Failure:
        if isinstance(what, Failure):
            return what
        return failure_of(what) if isinstance(what, FailureKind) else self.classified(what)

    def _success(self, permit: Permit, took: float) -> Change[None]:
        rand = self._rng.random()
        return lambda c, now: (machine.succeed(c, self.settings, permit, self.name, now, took=took, rand=rand), None)

    def _charge(self, permit: Permit, failure: Failure, took: float) -> Change[None]:
        rand = self._rng.random()
        return lambda c, now: (
            machine.fail(c, self.settings, permit, failure, self.name, now, rand=rand, took=took), None
        )  # fmt: skip

    def _settle(self, held: HeldPermit, outcome: str, change: Change[None] | None) -> None:
        """Count the settlement of a permit, and decide what it leads to; only the first one counts."""
        self._inbox.append(_Settlement(held, outcome, change))
        if self._lock.acquire(timeout=PATIENCE):
            try:
                self._work_off()
            finally:
                self._lock.release()
        self._tell()

    def _work_off(self) -> None:
        """Do what the inbox says. The lock is held."""
        while self._inbox:
            try:
                held, outcome, change = self._inbox.popleft()
            except IndexError:
                return  # a finaliser came in between
            if held.settled:
                continue
            held.settled = True
            number = held.permit.number
            expired = number in self._expired
            self._expired.discard(number)
            self._counts[outcome] += not expired  # else it was counted when its lease ran out
            self._counts["stale"] += expired or held.permit.generation != self._circuit.generation
            if change is not None and (not number or held.permit.owner == self._owner):
                self._decide(change, settles=number)  # what was copied with a process is settled by the original

    # Deciding. The lock is held.

    def _change(self, change: Callable[[Circuit, float], Step]) -> None:
        """Do what somebody orders by hand. Takes the lock."""
        with self._lock:
            self._work_off()
            self._decide(lambda c, now: (change(c, now), None), ask="always")
        self._tell()

    def _decide(self, change: Change[T], *, ask: Ask = "if needed", settles: int = 0) -> T:
        """Run a decision, and make what it leads to the present.

        `settles`: the number of the half-open permit that is not out any more then. Where this is the middle of another
        decision, it waits.
        """
        if self._deciding:
            self._postponed.append((lambda c, now: (change(c, now)[0], None), ask, settles))
            return None  # type: ignore[return-value]  # `_answered`, which wants an answer, never comes here then
        try:
            self._deciding = True
            answer = self._decided(change, ask, settles)
            while self._postponed:
                self._decided(*self._postponed.popleft())
        finally:
            self._deciding = False
        return answer

    def _decided(self, change: Change[T], ask: Ask, settles: int) -> T:
        now = self._monotonic()
        successes = self._successes.value()
        mine = machine.tally(self._circuit, self.settings, successes - self._taken_in, now)
        try:
            if self._sharing is None or ask == "never":
                step, answer = change(mine, now)
            else:
                step, answer = self._sharing.decide(
                    self.name, mine, lambda c: change(c, now), now, self._trials, always=ask == "always"
                )
        finally:
            self._trials.discard(settles)
        self._taken_in = successes
        self._note_expired(mine, step.circuit)
        self._outbox.put(step.events)
        self._become(step.circuit, now)
        return answer

    def _become(self, circuit: Circuit, now: float) -> None:
        """Make a circuit the present one."""
        if circuit.generation != self._circuit.generation and circuit.state in REFUSING:
            self._counts["opened"] += 1
        self._lane = None  # first: whoever is interrupted here must not leave a lane into an open circuit
        self._circuit = circuit
        easy = machine.easy(circuit, self.settings, now)
        if easy is not None:
            last = _NO_LIMIT if math.isinf(easy.calls) else self._successes.mark(int(easy.calls))
            self._lane = Lane(easy, last)

    def _note_expired(self, before: Circuit, after: Circuit) -> None:
        """Count the leases that ran out."""
        if not self._trials or before.generation != after.generation:
            return
        out, kept = ({x.number for x in circuit.leases if x.owner == self._owner} for circuit in (before, after))
        self._expire((out - kept) & self._trials)

    def _expire(self, numbers: set[int]) -> None:
        self._trials = self._trials - numbers
        self._expired |= numbers
        self._counts["expired"] += len(numbers)

    def _tell(self) -> None:
        """Tell the listeners what was committed. The lock is left."""
        self._outbox.tell()
        if self._sharing is not None:
            self._sharing.tell()

    # Other processes

    def heard_of(self, circuit: Circuit) -> None:
        """Take over a circuit that another process has changed."""

        def taken_over(mine: Circuit, now: float) -> tuple[Step, None]:
            if self._sharing is None or not self._sharing.takes_over(self.name, circuit, mine):
                return Step(mine), None
            theirs = machine.tally(adopted(circuit, mine), self.settings, 0, now)
            news = () if same_phase(circuit, mine) else (announcement(circuit, self.name, now),)
            return Step(theirs, news), None

        mine = self._circuit
        if circuit.seq == mine.seq and same_phase(circuit, mine):
            return  # most looks find what is known
        with self._lock:
            self._work_off()
            self._decide(taken_over, ask="never")
        self._tell()

    def forked(self) -> None:
        """This is a copy of the process: nobody else holds a lock in it, decides, or settles what is out."""
        self._lock = threading.RLock()
        self._deciding = False
        self._postponed.clear()
        self._inbox.clear()
        self._outbox.forked()
        if self._own_rng:
            self._rng.seed()  # else all copies would come back in step
        own = tuple(lease for lease in self._circuit.leases if lease.owner == "")
        self._expire(set(self._trials))
        circuit = self._circuit
        for lease in own:
            circuit = machine.give_back(circuit, Permit(circuit.generation, lease.number)).circuit
        self._become(circuit, self._monotonic())

    # A moment

    def moment(self) -> Moment:
        """Everything a snapshot tells, taken at once."""
        with self._lock:
            self._work_off()
            return self._moment()

    def _moment(self) -> Moment:
        """The same. The lock is held."""
        now, admitted = self._monotonic(), self._admissions.value()
        looks = 0
        while True:  # calls that take no lock go on meanwhile; so does who comes by in the middle
            looks, circuit, before = looks + 1, self._circuit, admitted
            counts = dict(self._counts)
            successes, taken_in = self._successes.value(), self._taken_in
            admitted = self._admissions.value()  # read last: nothing is settled before it is admitted
            if (admitted == before and circuit is self._circuit) or looks == _LOOKS:
                break
        counts["succeeded"] += successes
        counts["admitted"] = admitted
        counts["denied"] = self._denials.value()
        recent = window.recent(circuit.window, self.settings, now)
        new = successes - taken_in if recent else 0  # they belong to the last slice
        past = window.total(recent).plus(new, 0, 0, 0)
        return Moment(self.name, self.settings, circuit, counts, self._last_denied_at, past)
