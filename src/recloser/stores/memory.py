"""A store that forgets everything with the process: for tests, and where a restart may start afresh."""

import threading
import time
from collections.abc import Callable, Mapping

from recloser.core.circuit import Circuit


class MemoryStore:
    """Circuits in a dictionary."""

    def __init__(self) -> None:
        self._circuits: dict[str, Circuit] = {}
        self._lock = threading.Lock()

    def now(self) -> float:
        """The process's monotonic clock."""
        return time.monotonic()

    def load(self) -> Mapping[str, Circuit]:
        """Every circuit kept so far."""
        with self._lock:
            return dict(self._circuits)

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Replace a circuit by `change` of it."""
        with self._lock:
            circuit = self._circuits[name] = change(self._circuits.get(name, Circuit()))
            return circuit

    def close(self) -> None:
        """Nothing to let go of."""
