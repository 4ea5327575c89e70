"""A ledger that forgets everything with the process."""

import threading
from collections.abc import Mapping

from recloser.ports import Sum


class MemoryLedger:
    """Sums in a dictionary."""

    def __init__(self) -> None:
        self._sums: dict[Sum, int] = {}
        self._lock = threading.Lock()

    def add(self, amounts: Mapping[Sum, int]) -> Mapping[Sum, int]:
        """Add to sums; gives what each has come to."""
        with self._lock:
            after = {name: self._sums.get(name, 0) + amount for name, amount in amounts.items()}
            self._sums.update(after)
        return after

    def sums(self, period: str) -> Mapping[str, int]:
        """Every sum over a period."""
        with self._lock:
            return {of: total for (of, over), total in self._sums.items() if over == period}

    def close(self) -> None:
        """Nothing to let go of."""
