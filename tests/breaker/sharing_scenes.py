"""What the tests of shared circuits share: a store that does as it is told, and processes that use it."""

from collections.abc import Callable, Iterable, Mapping

from tests.breaker.scenes import COOLDOWN, SETTINGS, fail

from recloser.breaker import Breakers, CircuitBreaker, HeldPermit
from recloser.breaker.access import Access
from recloser.breaker.listeners import Listeners, Outbox
from recloser.breaker.sharing import Sharing
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit
from recloser.core.errors import CircuitOpenError
from recloser.core.events import Event
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.stores.memory import MemoryStore
from recloser.testing import ManualClock, RecordingSink

NAME = "model/a"
QUOTA = Failure(
    kind=FailureKind.QUOTA, scope=Scope.ACCOUNT, effect=Effect.OPENS, retry_after=3600.0, authoritative=True
)
NO_KEY = Failure(kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True)


class Place(MemoryStore):
    """A store on a clock of its own that fails as it is told, and counts how often it is asked."""

    def __init__(self) -> None:
        self.clock = ManualClock(start=5000.0)
        super().__init__(self.clock)
        self.down = False
        self.loses_answers = False
        """Whether what is asked for happens, and yet is answered by an error."""
        self.asked = 0

    def now(self) -> float:
        """Raises ConnectionError while it is down."""
        self._answer()
        return super().now()

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        """As `now`."""
        self._answer()
        return super().load(since)

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """As `now`; or it raises when it is done."""
        self._answer()
        changed = super().update(name, change)
        if self.loses_answers:
            raise ConnectionError("the answer was lost")
        return changed

    def _answer(self) -> None:
        self.asked += 1
        if self.down:
            raise ConnectionError("no route to the store")

    def has(self, name: str = NAME) -> Circuit:
        """What is stored."""
        return self._circuits[name][0]

    def forget(self, name: str = NAME) -> None:
        """As a store that keeps things for some time only."""
        del self._circuits[name]


class Process:
    """A process with circuits in a store: it looks when it is told to."""

    def __init__(
        self, place: Place, settings: CircuitSettings = SETTINGS, start: float = 1000.0, wall: float = 0.0
    ) -> None:
        self.place = place
        self.clock = ManualClock(start)
        self.clock.jump_wall(wall)
        self.sink = RecordingSink()
        self.access = Access(place, self.clock, look_every=None)
        self.sharing = Sharing(self.access, self.clock, Outbox(Listeners([self.sink])))
        self.breakers = Breakers(settings, store=self.sharing, clock=self.clock, listeners=[self.sink])

    @property
    def breaker(self) -> CircuitBreaker:
        """The circuit that most tests are about."""
        return self.breakers[NAME]

    @property
    def circuit(self) -> Circuit:
        """As this process knows it."""
        return self.breaker.circuit

    def fail(self, times: int = 1) -> None:
        """Let calls fail."""
        fail(self.breaker, times)

    def ask(self) -> HeldPermit | None:
        """A permit, or None if the call is refused."""
        try:
            return self.breaker.acquire()
        except CircuitOpenError:
            return None

    def look(self) -> None:
        """Look at the store."""
        self.sharing.look()

    def told(self) -> list[Event]:
        """What its listeners heard of the circuit."""
        return [event for event in self.sink.events if event.subject == NAME]


class Scene:
    """A store and some processes, each on a clock of its own, among which time passes together."""

    def __init__(self, *starts: float, settings: CircuitSettings = SETTINGS, place: Place | None = None) -> None:
        self.settings = settings
        self.place = place or Place()
        self.processes = [Process(self.place, settings, start) for start in starts or (1000.0, 77.0)]

    def pass_time(self, seconds: float) -> None:
        """For all of them and the store."""
        self.place.clock.advance(seconds)
        for process in self.processes:
            process.clock.advance(seconds)

    def join(self, start: float = 50_000.0) -> Process:
        """One more process begins."""
        self.processes.append(Process(self.place, self.settings, start))
        return self.processes[-1]

    def open(self, process: Process) -> None:
        """Open the circuit, and let all hear of it."""
        process.fail(self.settings.failure_threshold)
        look(self.processes)

    def due(self, process: Process) -> None:
        """Open it, and let the cooldown pass."""
        self.open(process)
        self.pass_time(COOLDOWN)


def look(processes: Iterable[Process]) -> None:
    """Let each of them look once."""
    for process in processes:
        process.look()


def held_by(process: Process) -> HeldPermit:
    """A permit, which there must be."""
    permit = process.ask()
    assert permit is not None
    return permit


def is_lost(process: Process) -> bool:
    """Whether the store is lost for it."""
    return process.sharing.lost


def admitted(breaker: CircuitBreaker) -> HeldPermit | None:
    """A permit, or None if the call is refused."""
    try:
        return breaker.acquire()
    except CircuitOpenError:
        return None
