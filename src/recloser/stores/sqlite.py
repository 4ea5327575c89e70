"""Circuits in a SQLite file (WAL): kept over restarts, and safe where several processes of a host write them."""

import contextlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from recloser.core.circuit_state import Circuit
from recloser.stores import record
from recloser.stores.sqlite_file import APPLICATION_ID, Connection, patiently, transaction

_VERSION = 1
_SCHEMA = (
    "DROP TABLE IF EXISTS circuits",  # of another version: what is in it was of use for some hours at most
    "DROP TABLE IF EXISTS clock",
    "CREATE TABLE circuits (name TEXT PRIMARY KEY, circuit TEXT NOT NULL, changed REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX circuits_changed ON circuits (changed)",
    "CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 0), boot TEXT NOT NULL, offset REAL NOT NULL)",
    f"PRAGMA application_id={APPLICATION_ID}",
    f"PRAGMA user_version={_VERSION}",
)
_PATIENCE = 1.0
"""Seconds: somebody's call waits."""
_KEPT_FOR = 30 * 86400.0
"""Longer than the longest opening: what did not change since is no news, and names of models come and go."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SqliteStore:
    """Circuits in a SQLite file.

    Its clock is the host's monotonic clock, which all processes of one boot share, plus an offset fixed by the first
    of them: a jump of the wall clock changes no circuit. After a reboot the offset is taken from the wall clock anew.

    Whoever decides waits for others for a second at most. What is long, reading everything and moving SQLite's log into
    the file, is done by `load` on a connection of its own: callers do not wait for that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: float | None = None
        self._deciding, self._looking = Connection(path), Connection(path)
        self._inode: int | None = None
        self._closed = False
        give_up_at = time.monotonic() + _PATIENCE
        with self._using(self._deciding, give_up_at) as database, transaction(database, give_up_at):
            database.execute("DELETE FROM circuits WHERE changed < ?", (self.now() - _KEPT_FOR,))

    def now(self) -> float:
        """Seconds on the clock that every process using this file shares."""
        assert self._offset is not None
        return time.monotonic() + self._offset

    def load(self, since: float | None = None) -> Mapping[str, Circuit]:
        """Every circuit in the file, or those changed since; a record that cannot be read is passed over."""
        give_up_at = time.monotonic() + _PATIENCE
        earliest = -math.inf if since is None else since
        with self._using(self._looking, give_up_at) as database:
            rows = patiently(
                give_up_at,
                lambda: database.execute(
                    "SELECT name, circuit FROM circuits WHERE changed >= ?", (earliest,)
                ).fetchall(),
            )
        self._looking.shorten_log()
        circuits = {}
        for name, text in rows:
            with contextlib.suppress(ValueError):  # of another version: its circuit starts closed
                circuits[name] = record.load(text)
        return circuits

    def update(self, name: str, change: Callable[[Circuit], Circuit]) -> Circuit:
        """Replace a circuit by `change` of it, in one transaction."""
        give_up_at = time.monotonic() + _PATIENCE
        key = name.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is no text to SQLite
        with self._using(self._deciding, give_up_at) as database, transaction(database, give_up_at):
            row = database.execute("SELECT circuit FROM circuits WHERE name = ?", (key,)).fetchone()
            before = Circuit()
            if row is not None:
                with contextlib.suppress(ValueError):
                    before = record.load(row[0])
            after = change(before)
            if after is not before:
                changed = (key, record.dump(after), self.now())
                database.execute("INSERT OR REPLACE INTO circuits VALUES (?, ?, ?)", changed)
            return after

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._deciding.close()
        self._looking.close()

    @contextlib.contextmanager
    def _using(self, connection: Connection, give_up_at: float) -> Iterator[sqlite3.Connection]:
        """A connection to the file; to a new one, if somebody removed it.

        That is an error once: what was in it is lost, and is told so.
        """
        if self._closed:
            raise ValueError(f"{self._path} is closed")
        with connection.use(give_up_at, self._prepare) as database:
            known, self._inode = self._inode, connection.inode
            if known not in (None, self._inode):
                raise OSError(f"{self._path} was removed; it is made anew")
            yield database

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Make the tables unless they are there, and take over the clock of those who were here first."""
        if self._takes_over_clock(database):
            return
        with transaction(database, 0.0):
            if not self._takes_over_clock(database):  # nobody has been quicker
                if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                    for statement in _SCHEMA:
                        database.execute(statement)
                self._begin_clock(database)

    def _takes_over_clock(self, database: sqlite3.Connection) -> bool:
        if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            return False
        row = database.execute("SELECT boot, offset FROM clock").fetchone()
        if row is None or row[0] != _boot():
            return False
        self._offset = float(row[1])
        return True

    def _begin_clock(self, database: sqlite3.Connection) -> None:
        """A file made anew goes on with our clock. After a reboot, the wall clock says how long that took."""
        if self._offset is None:
            latest = database.execute("SELECT max(changed) FROM circuits").fetchone()[0]
            wall = (
                time.time() if latest is None else max(time.time(), latest)
            )  # a clock without a battery starts at 1970
            self._offset = wall - time.monotonic()
            _free(database)
        database.execute("INSERT OR REPLACE INTO clock VALUES (0, ?, ?)", (_boot(), self._offset))


def _free(database: sqlite3.Connection) -> None:
    """Take back the permits of before a reboot: none of those who held them is alive."""
    if not _BOOT_ID.exists():  # then it is not certain that there was one
        return
    for name, text in database.execute("SELECT name, circuit FROM circuits").fetchall():
        with contextlib.suppress(ValueError):
            circuit = record.load(text)
            if circuit.leases:
                freed = record.dump(replace(circuit, leases=(), seq=circuit.seq + 1))
                database.execute("UPDATE circuits SET circuit = ? WHERE name = ?", (freed, name))


def _boot() -> str:
    """Names this boot of the machine, so that a monotonic time of another boot is never compared with one of this."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return f"booted about {round((time.time() - time.monotonic()) / 60)}"
