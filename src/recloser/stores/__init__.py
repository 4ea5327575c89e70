"""Where circuits, and what was spent, outlive a process: one file a kind of store or ledger, opened by URL."""

from pathlib import Path

from recloser.core.errors import ConfigError
from recloser.ports import Ledger, Store
from recloser.stores.memory import MemoryStore
from recloser.stores.memory_ledger import MemoryLedger
from recloser.stores.sqlite import SqliteStore
from recloser.stores.sqlite_ledger import SqliteLedger


def check_url(url: str) -> None:
    """ConfigError unless there is a kind of store behind the URL."""
    kind, _, rest = url.partition(":")
    path = kind == "sqlite" and rest and not rest.startswith((":", "//"))
    if not path and not (kind == "memory" and not rest):
        raise ConfigError(f"{url!r} is no store; use 'memory:' or 'sqlite:PATH'")


def open_store(url: str, base: Path = Path()) -> Store:
    """The store behind a URL: `memory:` or `sqlite:PATH`, a relative path being relative to `base`."""
    check_url(url)
    kind, _, rest = url.partition(":")
    return MemoryStore() if kind == "memory" else SqliteStore(base / rest)


def open_ledger(url: str, base: Path = Path()) -> Ledger:
    """The ledger behind the same URL. Nothing is opened before it is needed, and what cannot be is tried again."""
    check_url(url)
    kind, _, rest = url.partition(":")
    return MemoryLedger() if kind == "memory" else SqliteLedger(base / rest)
