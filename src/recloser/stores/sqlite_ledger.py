"""Sums in a SQLite file (WAL), beside the circuits: kept over restarts and kills, and shared by processes of a host."""

import sqlite3
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from recloser.ports import Sum
from recloser.stores.sqlite_file import APPLICATION_ID, Connection, patiently, transaction

_PATIENCE = 1.0
"""Seconds."""
_KEPT_FOR = timedelta(days=400)
"""Long enough to compare a month with that of a year before."""
_TABLE = (
    "CREATE TABLE sums (of TEXT NOT NULL, over TEXT NOT NULL, total INTEGER NOT NULL, PRIMARY KEY (over, of))"
    " WITHOUT ROWID"
)


class SqliteLedger:
    """Sums in a table of their own, so that another version's circuits, which are thrown away, leave them alone.

    A file that cannot be opened yet is opened as soon as it can.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = Connection(path)
        self._closed = False

    def add(self, amounts: Mapping[Sum, int]) -> Mapping[Sum, int]:
        """Add to sums, in one transaction; gives what each has come to."""
        give_up_at = time.monotonic() + _PATIENCE
        after: dict[Sum, int] = {}
        with self._connection.use(give_up_at, self._prepare) as database, transaction(database, give_up_at):
            for (of, over), amount in amounts.items():
                row = database.execute(
                    "INSERT INTO sums VALUES (?, ?, ?)"
                    " ON CONFLICT (over, of) DO UPDATE SET total = total + excluded.total RETURNING total",
                    (_text(of), over, amount),
                ).fetchone()
                after[of, over] = int(row[0])
        return after

    def sums(self, period: str) -> Mapping[str, int]:
        """Every sum over a period."""
        give_up_at = time.monotonic() + _PATIENCE
        with self._connection.use(give_up_at, self._prepare) as database:
            rows = patiently(
                give_up_at,
                lambda: database.execute("SELECT of, total FROM sums WHERE over = ?", (period,)).fetchall(),
            )
        return {of: int(total) for of, total in rows}

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._connection.close()

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Make the table unless it is there, and forget what is long over."""
        if self._closed:
            raise ValueError(f"{self._path} is closed")
        with transaction(database, 0.0):
            if not database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sums'").fetchone()[0]:
                database.execute(_TABLE)
                database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            oldest = (datetime.fromtimestamp(time.time(), UTC) - _KEPT_FOR).date().isoformat()
            database.execute("DELETE FROM sums WHERE over < ?", (oldest,))


def _text(name: str) -> str:
    """A name as SQLite takes it: half a surrogate pair is no text to it."""
    return name.encode("utf-8", "backslashreplace").decode()
