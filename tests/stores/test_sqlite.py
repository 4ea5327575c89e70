import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recloser.core.circuit_state import Circuit
from recloser.ports import Store
from recloser.stores import sqlite
from recloser.stores.sqlite import SqliteStore
from recloser.testing import HALF_OPEN_CIRCUIT, OPEN_CIRCUIT, StoreContract


class TestSqliteStore(StoreContract):
    durable = True

    def make_store(self, tmp_path: Path) -> SqliteStore:
        return SqliteStore(tmp_path / "state.db")


def raw(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """What somebody does to the file behind the store's back."""
    database = sqlite3.connect(path, isolation_level=None)
    try:
        return database.execute(statement, values).fetchall()
    finally:
        database.close()


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "state.db")
        store.update("tool/shell", lambda _: OPEN_CIRCUIT)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    store.close()


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch(mode=0o644)
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_not_even_for_a_moment_may_others_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    modes: list[int] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def spying(*args: Any, **options: Any) -> sqlite3.Connection:
        modes.append(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o777)
        return connect(*args, **options)

    monkeypatch.setattr(sqlite3, "connect", spying)
    SqliteStore(path).close()
    assert modes == [0o600]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "a" / "b" / "state.db").close()
    assert (tmp_path / "a" / "b" / "state.db").exists()


@pytest.mark.parametrize(
    "garbage", ["", "{}", "not json", '{"format":2}', "[" * 100_000, '{"format":1,"state":"open"}']
)
def test_a_record_that_cannot_be_read_is_passed_over_and_written_anew(tmp_path: Path, garbage: str) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    store.update("good", lambda _: OPEN_CIRCUIT)
    raw(path, "INSERT INTO circuits VALUES ('bad', ?, 1e12)", garbage)
    assert dict(store.load()) == {"good": OPEN_CIRCUIT}
    seen: list[Circuit] = []

    def change(circuit: Circuit) -> Circuit:
        seen.append(circuit)
        return HALF_OPEN_CIRCUIT

    store.update("bad", change)
    assert seen == [Circuit()]
    assert dict(store.load()) == {"good": OPEN_CIRCUIT, "bad": HALF_OPEN_CIRCUIT}
    store.close()


def test_a_change_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    store.update("tool/shell", lambda circuit: circuit)
    assert raw(path, "SELECT * FROM circuits") == []
    store.close()


def test_every_process_of_one_boot_has_one_clock_though_the_wall_clock_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SqliteStore(tmp_path / "state.db")
    day_ahead = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: day_ahead)
    second = SqliteStore(tmp_path / "state.db")
    before, between, after = first.now(), second.now(), first.now()
    assert before <= between <= after
    first.close()
    second.close()


def test_after_a_reboot_the_clock_is_taken_from_the_wall_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_boot", lambda: "before")
    SqliteStore(tmp_path / "state.db").close()
    uptime, wall = 7.0, time.time() + 3600  # the machine was off for an hour
    monkeypatch.setattr(sqlite, "_boot", lambda: "after")
    monkeypatch.setattr(time, "monotonic", lambda: uptime)
    monkeypatch.setattr(time, "time", lambda: wall)
    store = SqliteStore(tmp_path / "state.db")
    assert store.now() == pytest.approx(wall)
    assert raw(tmp_path / "state.db", "SELECT boot FROM clock") == [("after",)]
    store.close()


def test_a_commit_that_fails_leaves_the_store_able_to_write_again(tmp_path: Path) -> None:
    """A disk that is full at the very moment of COMMIT must not leave a transaction behind that blocks all others."""
    store = SqliteStore(tmp_path / "state.db")
    store._database.executescript(
        "PRAGMA foreign_keys=ON;"
        "CREATE TABLE circuits_allowed (name TEXT PRIMARY KEY);"
        "DROP TABLE circuits;"
        "CREATE TABLE circuits (name TEXT PRIMARY KEY REFERENCES circuits_allowed DEFERRABLE INITIALLY DEFERRED,"
        " circuit TEXT NOT NULL, changed REAL NOT NULL);"
        "INSERT INTO circuits_allowed VALUES ('good')"
    )
    with pytest.raises(sqlite3.IntegrityError):  # found only by COMMIT
        store.update("bad", lambda _: OPEN_CIRCUIT)
    store.update("good", lambda _: OPEN_CIRCUIT)
    assert dict(store.load()) == {"good": OPEN_CIRCUIT}
    store.close()


def test_a_busy_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    started = threading.Event()

    def write() -> None:
        started.set()
        store.update("tool/shell", lambda _: OPEN_CIRCUIT)

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    assert dict(store_of_another(path).load()) == {}
    other.execute("COMMIT")
    other.close()
    writer.join()
    assert dict(store.load()) == {"tool/shell": OPEN_CIRCUIT}
    store.close()


def store_of_another(path: Path) -> Store:
    """A reader that needs no lock: the schema and the clock are there already."""
    store = SqliteStore.__new__(SqliteStore)
    store._lock = threading.Lock()
    store._database = sqlite3.connect(path, isolation_level=None)
    return store


INCREMENT = """
import sys
from dataclasses import replace
from pathlib import Path
from recloser.stores.sqlite import SqliteStore

print("ready", flush=True)
sys.stdin.readline()
store = SqliteStore(Path(sys.argv[1]))
for _ in range(100):
    store.update("shared", lambda circuit: replace(circuit, failures=circuit.failures + 1))
print(store.now())
store.close()
"""


def test_two_processes_lose_no_update_and_agree_on_the_time(tmp_path: Path) -> None:
    """Both open the new file at once: the one that comes second finds the clock of the first."""
    path = tmp_path / "state.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", INCREMENT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    ends = [float(words) for words in said]
    store = SqliteStore(path)
    assert store.load()["shared"].failures == 300
    assert max(ends) <= store.now() < min(ends) + 60
    store.close()


def test_what_did_not_change_for_a_month_is_gone(tmp_path: Path) -> None:
    """Names of models come and go; a file must not keep them all."""
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    store.update("new", lambda _: OPEN_CIRCUIT)
    store.update("old", lambda _: OPEN_CIRCUIT)
    store.close()
    raw(path, "UPDATE circuits SET changed = changed - 31 * 86400 WHERE name = ?", "old")
    reopened = SqliteStore(path)
    assert set(reopened.load()) == {"new"}
    reopened.close()
