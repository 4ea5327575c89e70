"""A connection to a SQLite file (WAL) that waits for its turn, but not for long, and is left behind by no fork."""

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LONGEST_PAUSE = 0.01
_LONG_LOG = 4 << 20
"""Bytes of the log from which on it is moved into the file."""
_FAR_TOO_LONG_LOG = 16_000
"""Pages of the log from which on a commit moves it, if nobody has looked for so long."""
_left_to_the_parent: list[sqlite3.Connection | None] = []

APPLICATION_ID = 0x7265636C
"""Says in the file that it is ours ("recl"): nobody else's is touched."""

Prepare = Callable[[sqlite3.Connection], None]


class Connection:
    """One connection and its lock; opened when it is needed, and again if the file is another one by then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._held_for_fork = False
        self._database: sqlite3.Connection | None = None
        self._closing: weakref.finalize[..., Connection] | None = None
        self.inode: int | None = None
        """Which file it is that was opened."""
        _all.add(self)

    @contextlib.contextmanager
    def use(self, give_up_at: float, prepare: Prepare) -> Iterator[sqlite3.Connection]:
        """The connection for one thread alone, prepared. TimeoutError if others have it for too long."""
        if not self._lock.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
            raise TimeoutError(f"{self._path} is in use")
        try:
            yield self._opened(give_up_at, prepare)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close it. It is opened again when it is needed."""
        with self._lock:
            if self._closing is not None:
                self._closing()
            self._database = None

    def shorten_log(self) -> None:
        """Move what was written from a long log into the file. It may take its time: no commit waits for it."""
        log = self._path.with_name(f"{self._path.name}-wal")
        with self._lock, contextlib.suppress(OSError, sqlite3.Error):
            if self._database is not None and log.stat().st_size > _LONG_LOG:
                self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _opened(self, give_up_at: float, prepare: Prepare) -> sqlite3.Connection:
        if self._database is not None and self.inode == _inode(self._path):
            return self._database
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)  # before SQLite would make it, readable for everybody
        inode = _inode(self._path)
        self.close()  # not before the new file has a number, lest it get that of the old one
        database = sqlite3.connect(self._path, timeout=0.0, isolation_level=None, check_same_thread=False)
        try:
            patiently(give_up_at, lambda: _refuse_foreign(database, self._path))
            self._path.chmod(0o600)
            patiently(give_up_at, lambda: database.execute("PRAGMA journal_mode=WAL"))
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(f"PRAGMA wal_autocheckpoint={_FAR_TOO_LONG_LOG}")
            database.execute(f"PRAGMA journal_size_limit={_LONG_LOG // 4}")
            patiently(give_up_at, lambda: prepare(database))
        except BaseException:
            database.close()
            raise
        self._database, self.inode = database, inode
        self._closing = weakref.finalize(self, database.close)
        return database

    # SQLite's locks belong to a process. A connection that is copied with it believes to hold what it does not, and so
    # does every further one to the same file. So none is open while the process is copied.

    def before_fork(self) -> None:
        """Wait until nobody uses it, and close it."""
        self._held_for_fork = self._lock.acquire(timeout=1.0)
        if self._held_for_fork:
            self.close()

    def after_fork(self) -> None:
        """In the original."""
        if self._held_for_fork:
            self._lock.release()

    def forked(self) -> None:
        """In the copy."""
        # In use for a second and more: to close it here would do harm there. So SQLite goes on to believe that it is in
        # use here, and refuses to write; this process is one whose store is lost.
        if not self._held_for_fork and self._closing is not None:
            self._closing.detach()
            _left_to_the_parent.append(self._database)
            self._database = None
        self._lock = threading.RLock()


_all: "weakref.WeakSet[Connection]" = weakref.WeakSet()


def _each(method: Callable[[Connection], None]) -> Callable[[], None]:
    def each() -> None:
        for connection in list(_all):
            method(connection)

    return each


os.register_at_fork(
    before=_each(Connection.before_fork),
    after_in_parent=_each(Connection.after_fork),
    after_in_child=_each(Connection.forked),
)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def patiently(give_up_at: float, work: Callable[[], T]) -> T:
    """Do what another process may keep us from doing, as soon as it does not any more.

    SQLite itself waits longer and longer, and in some cases not at all.
    """
    pause = _LONGEST_PAUSE / 32
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up_at:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


@contextlib.contextmanager
def transaction(database: sqlite3.Connection, give_up_at: float) -> Iterator[None]:
    """All of it or nothing, with nobody else writing meanwhile."""
    patiently(give_up_at, lambda: database.execute("BEGIN IMMEDIATE"))
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite itself rolls back after some errors
            database.execute("ROLLBACK")
        raise


def _refuse_foreign(database: sqlite3.Connection, path: Path) -> None:
    """OSError if the file is another program's database; sqlite3.DatabaseError if it is none."""
    # in this order: whoever makes the tables at this moment says whose they are in the same transaction
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise OSError(f"{path} is another program's database: name a file of its own for the state")
