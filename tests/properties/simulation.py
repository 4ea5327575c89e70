"""Two to five processes that share circuits, in virtual time: one seed is one run, and the same run each time.

    python -m tests.properties.simulation --seeds 10000
    python -m tests.properties.simulation --seed 4711 --tell

The processes have real breakers and clocks up to five minutes apart. The store between them is slow, so that others act
in the middle of a decision and it runs twice; it loses questions and answers; processes are cut off, crash and begin
anew; records expire. After every step this must hold (the names are those of the invariants):

- I1: of one generation, at most N half-open permits that the store gave out are with somebody, over all processes; and
  each process has at most N, however it got them. So while K processes are cut off, at most N x (1 + K) are out.
- A1: in each process every call is admitted or refused, every permit is settled once or out.
- E1: what each process tells has rising numbers, and so has every record in the store; no generation comes again.
- E2: whoever goes by the event with the highest number knows the state.
- S1: nothing but a refusal ever reaches a caller. S2: alone, failures count as ever. S6: healthy calls ask nobody.

And at the end, when everything works again:

- F6: when each process has looked twice, all have the state that is stored. If records have expired, that is noticed
  after COMPARE_EVERY, and two looks more are needed; of two histories with the same numbers only times may differ.
- I2: after the longest cooldown and a lease, a call is admitted; and if it goes well, all hear that it is closed.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.properties.simulated_store import FORGETS_AFTER, BrokenError, CrashError, Link, Place, must, on_one_clock

from recloser.breaker import Breakers, CircuitBreaker, HeldPermit
from recloser.breaker.access import COMPARE_EVERY, Access
from recloser.breaker.listeners import Listeners, Outbox
from recloser.breaker.owner import retire
from recloser.breaker.sharing import Sharing
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import COUNTING, Circuit, CircuitState
from recloser.core.errors import CircuitOpenError
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.testing import ManualClock

COOLDOWN, COOLDOWN_MAX, LEASE = 4.0, 32.0, 50.0
SKEW = 300
STATE_AFTER: dict[type[Event], CircuitState] = {
    CircuitOpened: CircuitState.OPEN, CircuitHalfOpened: CircuitState.HALF_OPEN, CircuitClosed: CircuitState.CLOSED,
}  # fmt: skip


def _failure(kind: FailureKind, effect: Effect, hint: float | None = None, *, until_proven: bool = False) -> Failure:
    return Failure(
        kind=kind, scope=Scope.MODEL, effect=effect, retry_after=hint, authoritative=hint is not None,
        until_proven=until_proven,
    )  # fmt: skip


BROKEN = _failure(FailureKind.SERVER_ERROR, Effect.COUNTS)
LIMITED = _failure(FailureKind.QUOTA, Effect.OPENS, 20.0)
NO_KEY = _failure(FailureKind.AUTH, Effect.OPENS, until_proven=True)


@dataclass(eq=False)
class Out:
    """A permit that is out."""

    name: str
    held: HeldPermit
    deadline: float
    """In the world's time, if it is one of half-open's."""
    by_the_store: bool


@dataclass(eq=False)
class Process:
    """One process: what it has and what it was told."""

    number: int
    clock: ManualClock
    link: Link
    sharing: Sharing
    breakers: Breakers
    told: dict[str, list[Event]]
    reached: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The generation and seq that each circuit has come to."""
    out: list[Out] = field(default_factory=list)
    doing: "list[Act]" = field(default_factory=list)
    """What it is in the middle of, one thread in another."""

    def circuit_of(self, name: str) -> CircuitBreaker:
        return self.breakers[name]


class World:
    """One run."""

    def __init__(self, seed: int, say: Callable[[str], None] = lambda _: None) -> None:
        self.rng = Random(seed)
        self.say = say
        self.seen: Counter[str] = Counter()
        self.time = 0.0
        self.settings = CircuitSettings(
            failure_threshold=self.rng.choice([1, 2, 3]), failure_rate=self.rng.choice([0.0, 0.5]), minimum_calls=4,
            half_open_permits=self.rng.choice([1, 1, 2, 3]), permit_lease=LEASE, cooldown=COOLDOWN,
            cooldown_max=COOLDOWN_MAX, jitter=0.1,
        )  # fmt: skip
        self.names = ["model/a", "model/b"][: self.rng.choice([1, 1, 2])]
        self.place = Place(lambda: self.time + 1e6)
        self.trouble = self.rng.choice([0.0, 0.02, 0.05, 0.15])
        self.slowness = self.rng.choice([0.0, 0.1, 0.4])
        self.depth = 0
        self.number = 0
        self.processes: list[Process] = []
        self.ended: list[Process] = []
        """Kept, lest the garbage collector has a say in the run."""
        for _ in range(self.rng.randint(2, 5)):
            self.begin()

    # What may happen

    def run(self, steps: int = 250) -> None:
        """Some hundred steps, and the end of all troubles."""
        for _ in range(steps):
            self.step()
        self.come_to_an_end()

    def step(self) -> None:
        """One process does something, or something happens to it."""
        free = [process for process in self.processes if not process.doing]
        if free:
            process = self.rng.choice(free)
            self.act(process, self.choose(process))
        self.check()

    def choose(self, process: Process) -> "Act":
        if not (process.link.reached and not self.place.down) and self.rng.random() < 0.1:
            return World.mend
        if process.sharing.lost and self.rng.random() < 0.2:
            return World.look
        return self.rng.choices(list(ACTS), list(ACTS.values()))[0]

    def act(self, process: Process, what: "Act") -> None:
        process.doing.append(what)
        try:
            what(self, process)
        except CrashError as crash:
            if len(process.doing) > 1:
                raise  # all its threads end
            self.end(process, str(crash), gone=self.rng.random() < 0.5)
        except Exception as error:
            raise BrokenError(f"S1: {process.number} was raised {error!r}") from error
        finally:
            process.doing.pop()

    def meanwhile(self, process: Process) -> None:
        """In the middle of a decision, others act and time passes; and so do other threads of this process."""
        if self.depth >= 2:
            return
        self.depth += 1
        self.pass_time(self.rng.choice([0.0, 0.125, 0.5]))
        for _ in range(self.rng.randint(1, 3)):
            self.step()
        if len(process.doing) == 1 and self.rng.random() < 0.5:
            self.in_another_thread(process)
        self.depth -= 1

    def in_another_thread(self, process: Process) -> None:
        """Whoever decides holds the lock of a circuit; whoever looks holds none."""
        looking = process.doing == [World.look]
        access = process.sharing.access
        asking, access._asking = access._asking, set()
        self.seen["a call while looking" if looking else "a look while deciding"] += 1
        try:
            self.act(process, self.rng.choice([World.call, World.settle]) if looking else World.look)
        finally:
            access._asking = asking

    def begin(self) -> None:
        self.number += 1
        clock = ManualClock(start=self.time + 1000.0 + self.rng.randint(-SKEW, SKEW))
        link = Link(self.place, self.rng, lambda: self.meanwhile(process), self.seen)
        told: dict[str, list[Event]] = {}
        listeners = Listeners([lambda event: told.setdefault(event.subject, []).append(event)])
        sharing = Sharing(Access(link, clock, look_every=None), clock, Outbox(listeners))
        breakers = Breakers(self.settings, store=sharing, clock=clock, listeners=listeners.all, rng=self.rng)
        process = Process(self.number, clock, link, sharing, breakers, told)
        link.trouble, link.slowness = self.trouble, self.slowness
        for name in self.names:
            breakers[name]
        self.processes.append(process)
        self.say(f"{self.number} begins, {clock.monotonic() - self.time:+.0f} s")

    def end(self, process: Process, how: str, *, gone: bool) -> None:
        """Its permits are with nobody any more; whether others can see that it has ended depends on where it was."""
        self.say(f"{process.number} ends: {how}{', and nobody can know' if not gone else ''}")
        self.processes.remove(process)
        self.ended.append(process)
        if gone:
            retire(process.sharing.owner)
        self.begin()

    def call(self, process: Process) -> None:
        name = self.rng.choice(self.names)
        breaker = process.circuit_of(name)
        easy, asked = breaker._lane is not None, process.link.asked
        try:
            held = breaker.acquire()
        except CircuitOpenError as refusal:
            self.say(f"{process.number} is refused {name}: {refusal}")
            return
        must(not easy or process.link.asked == asked, "S6")
        number, deadline = held.permit.number, math.inf
        if held.trial:
            self.seen["a trial" + (" alone" if process.sharing.lost else "")] += 1
            its = [x.deadline for x in breaker.circuit.leases if (x.number, x.owner) == (number, process.sharing.owner)]
            deadline = its[0] - process.clock.monotonic() + self.time if its else self.time  # over already elsewhere
        process.out.append(Out(name, held, deadline, not process.sharing.lost))
        self.say(f"{process.number} may call {name}: {held.permit}{' alone' if process.sharing.lost else ''}")

    def settle(self, process: Process) -> None:
        if not process.out:
            return
        out = process.out.pop(self.rng.randrange(len(process.out)))
        breaker, lost = process.circuit_of(out.name), process.sharing.lost
        before = breaker.circuit
        what = self.rng.choices(["good", "bad", "limited", "no key", "cancelled"], [4, 6, 1, 0.2, 1])[0]
        match what:
            case "good":
                out.held.succeed()
            case "bad":
                out.held.fail(BROKEN)
            case "limited":
                out.held.fail(LIMITED)
            case "no key":
                out.held.fail(NO_KEY)
            case _:
                out.held.cancel()
        after = breaker.circuit
        self.say(
            f"{process.number} {what} {out.name}: {out.held.permit} -> {after.state} {after.generation} {after.seq}"
        )
        if what == "bad" and lost and before.state in COUNTING and out.held.permit.generation == before.generation:
            must(after.failures == before.failures + 1, "S2")
            must(after.state is CircuitState.OPEN or after.failures < self.settings.failure_threshold, "S2")

    def look(self, process: Process) -> None:
        process.sharing.look()
        self.say(f"{process.number} looks{', in vain' if process.sharing.lost else ''}")

    def order(self, process: Process) -> None:
        name = self.rng.choice(self.names)
        order = self.rng.choice(["reset", "reset", "force_open", "release", "release", "disable", "restore", "restore"])
        if order == "force_open":
            process.circuit_of(name).force_open(self.rng.choice([None, 5.0]))
        else:
            getattr(process.circuit_of(name), order)()
        self.say(f"{process.number} is told to {order} {name}: {process.circuit_of(name).circuit.state}")

    def wait(self, _process: Process) -> None:
        self.pass_time(self.rng.choice([0.125, 0.5, 1.0, COOLDOWN, COOLDOWN_MAX, LEASE]))

    def cut_off(self, process: Process) -> None:
        process.link.reached = False
        self.seen["a partition"] += 1
        self.say(f"{process.number} is cut off")

    def store_ends(self, _process: Process) -> None:
        self.place.down = True
        self.seen["no store"] += 1
        self.say("the store is down")

    def mend(self, process: Process) -> None:
        self.place.down, process.link.reached = False, True
        self.say(f"{process.number} reaches the store")

    def crash(self, process: Process) -> None:
        if self.trouble:
            raise CrashError("crash between two writes")

    def leave(self, process: Process) -> None:
        while process.out:
            process.out.pop().held.cancel()
        process.breakers.close()
        self.end(process, "in good order", gone=True)

    def forget(self, _process: Process) -> None:
        if self.trouble and self.place.forget(self.rng):
            self.seen["a record expired"] += 1
            self.say("a record expires")

    def jump(self, process: Process) -> None:
        process.clock.jump_wall(self.rng.choice([-86400.0, 86400.0]))

    def sleep(self, _process: Process) -> None:
        self.pass_time(FORGETS_AFTER * 1.5)

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        for process in self.processes:
            process.clock.advance(seconds)
        if seconds:
            self.say(f"{seconds} s pass: it is {self.time}")

    # What must hold

    def check(self) -> None:
        self.check_permits()
        for process in self.processes:
            if not process.doing:
                for name in self.names:
                    self.check_process(process, name)

    def check_permits(self) -> None:
        """I1."""
        most = self.settings.half_open_permits
        by_store: Counter[tuple[str, int]] = Counter()
        for process in self.processes:
            its: Counter[tuple[str, int]] = Counter()
            for out in process.out:
                if out.held.trial and out.deadline > self.time:
                    its[out.name, out.held.permit.generation] += 1
                    by_store[out.name, out.held.permit.generation] += out.by_the_store
            must(max(its.values(), default=0) <= most, f"I1: {process.number} has {its}")
        must(max(by_store.values(), default=0) <= most, f"I1: the store gave {by_store}")

    def check_process(self, process: Process, name: str) -> None:
        breaker, told = process.circuit_of(name), process.told.get(name, [])
        s = breaker.snapshot()
        settled = s.succeeded + s.failed + s.ignored + s.cancelled + s.expired
        must(s.calls == s.admitted + s.denied, f"A1: {process.number}")
        must(s.admitted == settled + s.live >= settled, f"A1: {process.number}")
        before, process.reached[name] = process.reached.get(name, (0, 0)), (s.generation, s.seq)
        must(s.generation >= before[0] and s.seq >= before[1], f"E1: {process.number} was at {before}, now {s}")
        seqs = [event.seq for event in told[-3:]]
        must(seqs == sorted(set(seqs)), f"E1: {process.number} was told {seqs}")
        for event in reversed(told):
            known = STATE_AFTER.get(type(event))
            if isinstance(event, CircuitForced):
                known = CircuitState(event.state)
            if known is not None:
                must(known is s.state, f"E2: {process.number} was told {known} last, and it is {s.state}")
                break

    def come_to_an_end(self) -> None:
        self.say("everything works again")
        self.place.down = False
        for process in self.processes:
            process.link.reached, process.link.trouble, process.link.slowness = True, 0.0, 0.0
        if self.seen["a record expired"]:
            self.pass_time(COMPARE_EVERY)  # that is when it is noticed
        self.converge("F6")
        self.pass_time(COOLDOWN_MAX * 1.1 + LEASE)
        for name in self.names:
            self.check_liveness(name)
        self.converge("at the end")

    def converge(self, when: str) -> None:
        for _ in range(4 if self.seen["a record expired"] else 2):
            for process in self.processes:
                process.sharing.look()
                must(not process.sharing.lost, f"{when}: {process.number} has no store")
                self.check()
        for name in self.names:
            known = [
                on_one_clock(process.circuit_of(name).circuit, self.place.now() - process.clock.monotonic())
                for process in self.processes
            ]
            if name in self.place.records:
                known.append(on_one_clock(self.place.records[name][0], 0.0))
            expired = self.seen["a record expired"]
            if all(circuit.state is CircuitState.CLOSED and not circuit.failures for circuit in known):
                # a newcomer need not know the past of what is well, and nobody restores that to the store
                known = [] if expired else [circuit for circuit in known if circuit.seq]
            if expired:
                known = [Circuit(state=x.state, generation=x.generation, seq=x.seq) for x in known]
            must(len(set(known)) <= 1, f"{when}: {known}")

    def check_liveness(self, name: str) -> None:
        """I2."""
        process = self.rng.choice(self.processes)
        breaker = process.circuit_of(name)
        if breaker.circuit.open_until == math.inf:
            return  # time alone does not help
        if breaker.circuit.state is CircuitState.OBSERVE_ONLY or breaker.circuit.state is CircuitState.DISABLED:
            return
        for _ in range(self.settings.half_open_permits):
            must(breaker.denial() is None, f"I2: {breaker.circuit}")
            with breaker:
                pass
        must(breaker.state is CircuitState.CLOSED, f"I2: {breaker.circuit}")


Act = Callable[[World, Process], None]
ACTS: dict[Act, float] = {
    World.call: 30, World.settle: 28, World.look: 18, World.wait: 10, World.order: 0.7, World.cut_off: 1,
    World.store_ends: 0.3, World.crash: 0.6, World.leave: 0.3, World.sleep: 0.8, World.forget: 6, World.jump: 0.3,
}  # fmt: skip
"""What may happen, and how often."""


def simulate(seed: int, say: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """One run; what it has seen. AssertionError, with the command that repeats it, if something did not hold."""
    world = World(seed, say)
    try:
        world.run()
    except BrokenError as broken:
        again = f"python -m tests.properties.simulation --seed {seed} --tell"
        raise AssertionError(f"{broken}\nagain: {again}") from broken
    world.seen["runs"] += 1
    for process in world.processes + world.ended:
        for events in process.told.values():
            world.seen.update(event.kind for event in events)
    return world.seen


def main() -> int:
    """Many seeds, or one that is told step by step."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=300, help="how many runs (300)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="this run alone")
    parser.add_argument("--tell", action="store_true", help="tell every step")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    seen: Counter[str] = Counter()
    for seed in seeds:
        try:
            seen += simulate(seed, print if given.tell else lambda _: None)
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
    for what, times in sorted(seen.items()):
        print(f"{times:10,}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
