"""Where circuits outlive a process: one file a kind of store, opened by URL."""

from pathlib import Path

from recloser.core.errors import ConfigError
from recloser.ports import Store
from recloser.stores.memory import MemoryStore
from recloser.stores.sqlite import SqliteStore


def open_store(url: str, base: Path = Path()) -> Store:
    """The store behind a URL: `memory:` or `sqlite:PATH`, a relative path being relative to `base`."""
    kind, _, rest = url.partition(":")
    if kind == "memory" and not rest:
        return MemoryStore()
    if kind == "sqlite" and rest:
        return SqliteStore(base / rest)
    raise ConfigError(f"{url!r} is no store; use 'memory:' or 'sqlite:PATH'")
