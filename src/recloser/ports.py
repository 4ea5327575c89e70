"""What deciding needs of the world, as Protocols."""

from collections.abc import Callable, Mapping
from typing import Protocol

from recloser.core.circuit_state import Circuit
from recloser.core.events import Event

Emit = Callable[[Event], None]
"""Takes one event, after every lock is left. Must be quick and must not raise."""


class Clock(Protocol):
    """Two times: one to measure with, one to show people."""

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    def time(self) -> float:
        """Unix time."""
        ...


class Store(Protocol):
    """Keeps circuits beyond a process. Times in a stored circuit are on the store's own clock.

    Several threads use it at once: a caller decides in `update` while another thread looks what has changed. Whatever
    it raises means that it is lost; nobody but the looking thread asks it then.
    """

    def now(self) -> float:
        """The store's clock: seconds that mean the same to every process that uses the store."""
        ...

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        """Every circuit in the store; or those that were changed at `since` or later, on the store's clock.

        It may take its time, and is the place for what must not hold up an `update`.
        """
        ...

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Replace a circuit by `change` of it, atomically; what is not there yet is a fresh one.

        `change` may run more than once: the last run is the one that holds. Where it gives back what it was given,
        nothing is written. Takes a second at most; then it raises.
        """
        ...

    def close(self) -> None:
        """Let go of what the store holds."""
        ...


Sum = tuple[str, str]
"""The name of a sum: what it is of, and the period that it is over. Periods sort by time as text."""


class Ledger(Protocol):
    """Keeps sums beyond a process, whole numbers that only grow: what was spent.

    Several processes and threads add at once, and no amount is lost. Whatever it raises means that it is lost.
    """

    def add(self, amounts: Mapping[Sum, int]) -> Mapping[Sum, int]:
        """Add to sums, to all of them or, if it raises, to none; gives what each has come to.

        Takes a second at most; then it raises.
        """
        ...

    def sums(self, period: str) -> Mapping[str, int]:
        """Every sum over a period, by what it is of."""
        ...

    def close(self) -> None:
        """Let go of what the ledger holds."""
        ...
