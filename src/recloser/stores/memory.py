"""A store that forgets everything with the process: for tests, and where a restart may start afresh."""

import threading
import time
from collections.abc import Callable, Mapping

from recloser.core.circuit_state import Circuit
from recloser.ports import Clock


class MemoryStore:
    """Circuits in a dictionary, on the given clock or the machine's monotonic one."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._monotonic = time.monotonic if clock is None else clock.monotonic
        self._circuits: dict[str, tuple[Circuit, float]] = {}
        self._lock = threading.RLock()  # a finaliser may come back here in the same thread

    def now(self) -> float:
        """The clock's monotonic time."""
        return self._monotonic()

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        """Every circuit kept so far, or those changed since."""
        with self._lock:
            kept = list(self._circuits.items())
        return {name: circuit for name, (circuit, changed) in kept if since is None or changed >= since}

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Replace a circuit by `change` of it. If somebody was quicker, that is changed in its turn."""
        while True:
            before = self._circuits.get(name)
            circuit = before[0] if before is not None else Circuit()
            after = change(circuit)
            with self._lock:
                if self._circuits.get(name) is not before:
                    continue
                if after is not circuit:
                    self._circuits[name] = after, self.now()
                return after

    def close(self) -> None:
        """Nothing to let go of."""
