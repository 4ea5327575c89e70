"""A store that forgets everything with the process: for tests, and where a restart may start afresh."""

import threading
import time
from collections.abc import Callable, Mapping

from recloser.core.circuit_state import Circuit


class MemoryStore:
    """Circuits in a dictionary."""

    def __init__(self) -> None:
        self._circuits: dict[str, tuple[Circuit, float]] = {}
        self._lock = threading.Lock()

    def now(self) -> float:
        """The process's monotonic clock."""
        return time.monotonic()

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        """Every circuit kept so far, or those changed since."""
        with self._lock:
            kept = list(self._circuits.items())
        return {name: circuit for name, (circuit, changed) in kept if since is None or changed >= since}

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Replace a circuit by `change` of it."""
        with self._lock:
            before, _ = self._circuits.get(name, (Circuit(), 0.0))
            after = change(before)
            if after is not before:
                self._circuits[name] = after, self.now()
            return after

    def close(self) -> None:
        """Nothing to let go of."""
