"""A breaker per name."""

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from recloser.breaker.breaker import CircuitBreaker
from recloser.breaker.clock import trusted
from recloser.breaker.forks import set_up_anew
from recloser.breaker.listeners import Listeners, Outbox, tell
from recloser.breaker.live import PATIENCE
from recloser.breaker.permit import HeldPermit
from recloser.breaker.snapshot import BreakersSnapshot, Moment
from recloser.core import circuit as machine
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Circuit, Denied
from recloser.core.errors import ConfigError
from recloser.core.events import CircuitForgotten, Event
from recloser.ports import Clock, Emit, Store

if TYPE_CHECKING:
    from recloser.breaker.sharing import Sharing
    from recloser.core.raised import Classify

_LOOKED_AT = 8
"""How many old breakers are looked at when a new one may need their place."""
_TRIES = 5


class Breakers:
    """A breaker per name, made when it is first asked for.

    `overrides` are the settings of names that differ from the default: by glob (the first match wins), or a function of
    the name. The other arguments are those of each breaker.

    Bounded: past `max_size`, breakers that hold no news (lastingly closed, no call in flight) are forgotten, those that
    nobody asked for again first. At twice the bound, open ones go as well if `expendable` says so of their name, and
    that is told.
    """

    def __init__(
        self,
        settings: CircuitSettings | None = None,
        *,
        overrides: Mapping[str, CircuitSettings] | Callable[[str], CircuitSettings | None] | None = None,
        expendable: Callable[[str], bool] = lambda _name: True,
        max_size: int = 10_000,
        classify: "Classify | None" = None,
        store: "str | Store | Sharing | None" = None,
        listeners: Iterable[Emit] = (),
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if type(max_size) is not int or max_size < 1:
            raise ConfigError(f"max_size must be a whole number of at least 1, not {max_size!r}")
        self._default = settings or CircuitSettings()
        self._overrides = overrides
        self._expendable = expendable
        self._max_size = max_size
        self._classify = classify
        self._clock = trusted(clock)
        self._rng = rng or random.Random()  # noqa: S311 - spreads cooldowns, keeps no secret
        self._listeners = Listeners(listeners)
        self._sharing: Sharing | None = None
        self._lock = threading.RLock()
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()
        self._still_held: WeakValueDictionary[str, CircuitBreaker] = WeakValueDictionary()
        """Forgotten here, but somebody has them, such as the function that one decorates."""
        self._forgotten = Circuit()
        """The highest generation and seq among the forgotten: a name that comes back must not count from 0 again."""
        set_up_anew(self)
        if store is not None:
            from recloser.breaker.sharing import sharing  # noqa: PLC0415 - who has no store need not load it

            self._sharing = sharing(store, self._clock, Outbox(self._listeners))
            self._take_over(self._sharing)

    def __getitem__(self, name: str) -> CircuitBreaker:
        breaker = self._breakers.get(name)
        if breaker is None:
            return self._added(name)
        breaker.asked_for = True
        return breaker

    def _added(self, name: str) -> CircuitBreaker:
        """The breaker of a new name; somebody else may have been quicker."""
        told: list[Event] = []
        with self._lock:
            breaker = self._breakers.get(name)
            if breaker is None:
                # what is shared counts on from the store, whatever has been forgotten here
                begin = self._forgotten if self._sharing is None else Circuit()
                made = self._still_held.get(name) or self._made(name, begin)
                breaker = self._breakers.setdefault(name, made)  # a finaliser or a signal handler may have come by
                told = self._forget_some(breaker)
        for event in told:
            tell(self._listeners.all, event)
        return breaker

    def __contains__(self, name: str) -> bool:
        return name in self._breakers

    def denial(self, name: str) -> Denied | None:
        """Why the circuit of that name would refuse the next call, or None. Makes no breaker."""
        breaker = self._breakers.get(name)
        if breaker is None:
            return None
        breaker.asked_for = True
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

    def should_pause(self, max_open: int) -> bool:
        """Whether at least `max_open` circuits are open now. It ends by itself, without a call, as cooldowns pass."""
        if type(max_open) is not int or max_open < 1:
            raise ConfigError(f"max_open must be a whole number of at least 1, not {max_open!r}")
        now = self._clock.monotonic()
        with self._lock:
            circuits = [breaker.circuit for breaker in self._oldest(len(self._breakers))]
        return sum(c.open_until is not None and c.open_until > now for c in circuits) >= max_open

    def listen(self, listener: Emit) -> None:
        """Have one more listener hear of every event from now on."""
        self._listeners.add(listener)

    def close(self) -> None:
        """Let go of the store. The circuits go on in memory."""
        if self._sharing is not None:
            self._sharing.close()

    @property
    def store_lost(self) -> bool:
        """Whether the store failed the last time it was asked."""
        return self._sharing is not None and self._sharing.lost

    def snapshot(self) -> BreakersSnapshot:
        """Every breaker at one moment. Changes nothing."""
        with self._lock:
            breakers = self._oldest(len(self._breakers))
        for _ in range(_TRIES):
            moments = self._moments(breakers)
            if moments:
                break
        else:  # somebody waits for us while we wait for them: one after the other, then
            moments = [breaker.moment() for breaker in breakers]
        now = self._clock.monotonic()
        return BreakersSnapshot({moment.name: moment.snapshot(now) for moment in moments})

    def _moments(self, breakers: list[CircuitBreaker]) -> list[Moment]:
        """All breakers at one moment; none if somebody is at one of them for long."""
        with ExitStack() as locks:
            for breaker in breakers:
                if not breaker._lock.acquire(timeout=PATIENCE):
                    return []
                locks.callback(breaker._lock.release)
            return [breaker.moment() for breaker in breakers]

    def _settings_of(self, name: str) -> CircuitSettings:
        if callable(self._overrides):
            return self._overrides(name) or self._default
        for glob, settings in (self._overrides or {}).items():
            if name == glob or fnmatchcase(name, glob):
                return settings
        return self._default

    def _made(self, name: str, circuit: Circuit) -> CircuitBreaker:
        return CircuitBreaker(
            name,
            self._settings_of(name),
            classify=self._classify,
            store=self._sharing,
            listeners=self._listeners,
            clock=self._clock,
            rng=self._rng,
            circuit=circuit,
        )

    def _take_over(self, shared: "Sharing") -> None:
        """Begin with what the store knows, and hear of what others change."""
        now = self._clock.monotonic()
        for name, circuit in shared.load().items():
            self._breakers[name] = made = self._made(name, circuit)
            no_news = not circuit.failures or len(self._breakers) > self._max_size
            if no_news and machine.forgettable(circuit, made.settings, now):
                self._forget(name)
        shared.watch(self._heard_of, self._known)

    def _known(self) -> list[tuple[str, Circuit]]:
        """The circuits that are here."""
        with self._lock:
            return [(breaker.name, breaker.circuit) for breaker in self._oldest(len(self._breakers))]

    def forked(self) -> None:
        """This is a copy of the process: nobody else holds a lock in it."""
        self._lock = threading.RLock()

    def _heard_of(self, name: str, circuit: Circuit) -> None:
        """Another process has changed a circuit."""
        breaker = self._breakers.get(name) or self._still_held.get(name)
        if breaker is None:
            news = circuit.failures or not machine.forgettable(
                circuit, self._settings_of(name), self._clock.monotonic()
            )
            breaker = self._added(name) if news else None
        if breaker is not None:
            breaker.heard_of(circuit)

    def _forget_some(self, newest: CircuitBreaker) -> list[Event]:
        """Make room for the newest breaker, if there is need; gives what is to be told. The lock is held.

        The oldest have no right to stay unless somebody asked for them since they were last looked at, or there is news
        in them. A few are looked at each time, so that no caller pays for all. At twice the bound, news goes too.
        """
        for _ in range(_LOOKED_AT):
            if len(self._breakers) <= self._max_size:
                return []
            (breaker,) = self._oldest(1)
            if breaker is not newest and not breaker.asked_for and breaker.forgettable:
                self._forget(breaker.name)
            elif breaker.name in self._breakers:
                breaker.asked_for = False
                self._breakers.move_to_end(breaker.name)
        if len(self._breakers) <= 2 * self._max_size:
            return []
        old = [b for b in self._oldest(_LOOKED_AT) if b is not newest and not b.asked_for and self._expendable(b.name)]
        if not old:
            return []
        self._forget(old[0].name)
        last = self._forgotten
        self._forgotten = replace(last, seq=last.seq + 1)
        return [CircuitForgotten(subject=old[0].name, seq=last.seq + 1, state=old[0].state)]

    def _oldest(self, most: int) -> list[CircuitBreaker]:
        while True:
            try:
                return list(islice(self._breakers.values(), most))
            except RuntimeError:  # a finaliser or a signal handler has come by in the middle, and added one
                continue

    def _forget(self, name: str) -> None:
        breaker = self._breakers.pop(name, None)
        if breaker is not None:
            self._still_held[name] = breaker
            gone, last = breaker.circuit, self._forgotten
            self._forgotten = Circuit(generation=max(gone.generation, last.generation), seq=max(gone.seq, last.seq))
