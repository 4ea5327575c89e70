"""A thread that looks at intervals, for as long as somebody is there who wants to."""

import threading
import weakref
from typing import Protocol


class Looks(Protocol):
    """Somebody who wants to look."""

    def look(self) -> None:
        """Look once. Raises nothing."""
        ...


class Looking:
    """Lets somebody look every so many seconds, who holds this object; ends with it."""

    def __init__(self, who: Looks, every: float) -> None:
        stop = threading.Event()
        self._end = weakref.finalize(self, stop.set)
        arguments = (weakref.ref(who), stop, every)
        self._thread = threading.Thread(target=_look_on, args=arguments, name="recloser-store", daemon=True)
        self._thread.start()

    def end(self, timeout: float) -> bool:
        """Look no more. Whether the last look is over within so many seconds."""
        self._end()
        if self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def forked(self) -> None:
        """This is a copy of the process, which has no such thread: let go without a word to it."""
        self._end.detach()


def _look_on(who: "weakref.ref[Looks]", stop: threading.Event, every: float) -> None:
    while not stop.wait(every):
        one = who()
        if one is None:
            return
        one.look()
        del one
