"""Circuits in a SQLite file (WAL): kept over restarts, and safe where several processes of a host write them."""

import contextlib
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from recloser.core.circuit_state import Circuit
from recloser.stores import record

_VERSION = 1
_ANEW = "DROP TABLE IF EXISTS circuits; DROP TABLE IF EXISTS clock;"
"""A file of another version starts afresh: what is in it was of use for some hours at most."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS circuits (
  name TEXT PRIMARY KEY, circuit TEXT NOT NULL, changed REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS circuits_changed ON circuits (changed);
CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 0), boot TEXT NOT NULL, offset REAL NOT NULL);
"""
_BUSY_TIMEOUT = 1.0
"""Somebody's call waits for it."""
_KEPT_FOR = 30 * 86400.0
"""Longer than the longest opening: what did not change since is no news, and names of models come and go."""


class SqliteStore:
    """Circuits in a SQLite file.

    Its clock is the host's monotonic clock, which all processes of one boot share, plus an offset fixed by the first
    of them: a jump of the wall clock changes no circuit. After a reboot the offset is taken from the wall clock anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database = self._opened()
        self._offset = self._shared_offset()
        self._database.execute("DELETE FROM circuits WHERE changed < ?", (self.now() - _KEPT_FOR,))

    def now(self) -> float:
        """Seconds on the clock that every process using this file shares."""
        return time.monotonic() + self._offset

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        """Every circuit in the file, or those changed since; a record that cannot be read is passed over."""
        self._reopen_if_gone()
        circuits = {}
        with self._lock:
            rows = self._database.execute(
                "SELECT name, circuit FROM circuits WHERE changed >= ?", (-math.inf if since is None else since,)
            ).fetchall()
        for name, text in rows:
            with contextlib.suppress(ValueError):  # of another version: its circuit starts closed
                circuits[name] = record.load(text)
        return circuits

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Replace a circuit by `change` of it, in one transaction."""
        self._reopen_if_gone()
        with self._lock, self._transaction():
            row = self._database.execute("SELECT circuit FROM circuits WHERE name = ?", (name,)).fetchone()
            before = Circuit()
            if row is not None:
                with contextlib.suppress(ValueError):
                    before = record.load(row[0])
            after = change(before)
            if after is not before:
                self._database.execute(
                    "INSERT OR REPLACE INTO circuits VALUES (?, ?, ?)", (name, record.dump(after), self.now())
                )
            return after

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _opened(self) -> sqlite3.Connection:
        """The file, made if need be."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)  # before SQLite would make it, readable for everybody
        self._inode = self._path.stat().st_ino
        self._database = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        self._path.chmod(0o600)
        self._prepare()
        return self._database

    def _reopen_if_gone(self) -> None:
        """Make the file anew if somebody removed it. That is an error once: what was in it is lost, and is told so."""
        with self._lock:
            if self._path.exists() and self._path.stat().st_ino == self._inode:
                return
            self._database.close()
            self._database = self._opened()
            self._database.execute("INSERT OR REPLACE INTO clock VALUES (0, ?, ?)", (_boot(), self._offset))
        raise OSError(f"{self._path} was removed; it is made anew")

    def _prepare(self) -> None:
        """Set the file up. While another process does the same, SQLite refuses without waiting; so wait here."""
        give_up_at = time.monotonic() + _BUSY_TIMEOUT
        while True:
            try:
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=NORMAL")
                if self._database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                    self._database.executescript(f"{_ANEW}PRAGMA user_version={_VERSION};")
                self._database.executescript(_SCHEMA)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.01)
            else:
                return

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite itself rolls back after some errors
                self._database.execute("ROLLBACK")
            raise

    def _shared_offset(self) -> float:
        boot = _boot()
        with self._transaction():
            row = self._database.execute("SELECT boot, offset FROM clock").fetchone()
            if row is not None and row[0] == boot:
                return float(row[1])
            offset = time.time() - time.monotonic()
            self._database.execute("INSERT OR REPLACE INTO clock VALUES (0, ?, ?)", (boot, offset))
            return offset


def _boot() -> str:
    """Names this boot of the machine, so that a monotonic time of another boot is never compared with one of this."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"booted about {round((time.time() - time.monotonic()) / 60)}"
