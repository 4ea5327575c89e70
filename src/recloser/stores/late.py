"""A store that need not be there yet."""

from collections.abc import Callable, Mapping
from pathlib import Path

from recloser.core.circuit_state import Circuit
from recloser.ports import Clock, Store
from recloser.stores import check_url, open_store
from recloser.stores.memory import MemoryStore


class LateStore:
    """The store behind a URL, opened when it is first needed; what needs it fails until that works."""

    def __init__(self, url: str, clock: Clock, base: Path = Path()) -> None:
        check_url(url)
        self._url = url
        self._base = base.absolute()
        self.place = str(self._base / url.partition(":")[2])
        """Where it is, however that is said."""
        self._store: Store | None = MemoryStore(clock) if url == "memory:" else None

    def _opened(self) -> Store:
        store = self._store
        if store is None:
            store = self._store = open_store(self._url, self._base)
        return store

    def now(self) -> float:
        """The store's clock."""
        return self._opened().now()

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        """What the store loads."""
        return self._opened().load(since)

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Update the store."""
        return self._opened().update(name, change)

    def close(self) -> None:
        """Close the store, if it was ever opened."""
        if self._store is not None:
            self._store.close()

    def __repr__(self) -> str:
        return f"<LateStore {self._url!r}>"
