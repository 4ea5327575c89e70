"""Tells what happened to those who listen, after the lock is left and in the order of the commits."""

import threading
from collections import deque
from collections.abc import Iterable

from recloser.breaker.forks import set_up_anew
from recloser.breaker.reports import report_once
from recloser.core.events import Event
from recloser.ports import Emit


class Listeners:
    """Those who hear of every event of a breaker, or of a registry and all its breakers."""

    def __init__(self, listeners: Iterable[Emit]) -> None:
        self._lock = threading.RLock()
        self.all = tuple(listeners)
        set_up_anew(self)

    def add(self, listener: Emit) -> None:
        """Have one more hear, from now on; one that hears already does not hear twice."""
        with self._lock:
            if listener not in self.all:
                self.all = (*self.all, listener)

    def forked(self) -> None:
        """This is a copy of the process: nobody else holds the lock in it."""
        self._lock = threading.RLock()


class Outbox:
    """Events on their way to the listeners.

    Whoever tells already takes along what others commit meanwhile, so nobody waits and nothing is overtaken: a slow
    listener holds up nobody's admission but its own thread's, and one that calls back in does no harm.
    """

    __slots__ = ("_events", "_listeners", "_teller")

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._events: deque[Event] = deque()
        self._teller: dict[str, object] = {}
        """Who tells now. No lock: an interrupt just after it is taken would leave it taken."""

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners.all)

    def put(self, events: Iterable[Event]) -> None:
        """Take events in the order of their commits. Those who commit hold their lock, so that it is one order."""
        if self._listeners.all:
            self._events.extend(events)

    def tell(self) -> None:
        """Give the events to the listeners. No lock is held."""
        me = object()
        try:
            while self._events and self._teller.setdefault("now", me) is me:
                while self._events:
                    tell(self._listeners.all, self._events.popleft())
                self._teller.clear()
        finally:
            if self._teller.get("now") is me:
                self._teller.clear()

    def forked(self) -> None:
        """This is a copy of the process: the original tells what is on its way."""
        self._events.clear()
        self._teller.clear()


def tell(listeners: Iterable[Emit], event: Event) -> None:
    """Give one event to every listener; what one of them raises is reported once and changes nothing."""
    for listener in listeners:
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 - a listener is a stranger; what it raises must not reach the caller
            report_once(listener, "listener", error)
