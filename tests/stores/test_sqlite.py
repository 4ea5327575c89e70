import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recloser.core.circuit_state import Circuit
from recloser.stores import sqlite, sqlite_file
from recloser.stores.sqlite import SqliteStore
from recloser.testing import HALF_OPEN_CIRCUIT, OPEN_CIRCUIT, StoreContract, in_threads

PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


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
    "garbage", ["", "{}", "not json", '{"format":2}', "[" * 100_000, '{"format":2,"state":"open"}']
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


def test_nobody_of_before_a_reboot_holds_a_permit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process has ended, whatever its number is now."""
    monkeypatch.setattr(sqlite, "_boot", lambda: "before")
    store = SqliteStore(tmp_path / "state.db")
    store.update("trying", lambda _: HALF_OPEN_CIRCUIT)
    store.update("open", lambda _: OPEN_CIRCUIT)
    raw(tmp_path / "state.db", "INSERT INTO circuits SELECT 'bad', '{}', changed FROM circuits LIMIT 1")
    store.close()
    monkeypatch.setattr(sqlite, "_boot", lambda: "after")
    again = SqliteStore(tmp_path / "state.db")
    freed = replace(HALF_OPEN_CIRCUIT, leases=(), seq=HALF_OPEN_CIRCUIT.seq + 1)
    assert dict(again.load()) == {"trying": freed, "open": OPEN_CIRCUIT}
    again.close()


def test_a_wall_clock_that_begins_at_1970_after_a_reboot_does_not_go_back_behind_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_boot", lambda: "before")
    store = SqliteStore(tmp_path / "state.db")
    store.update("tool/shell", lambda _: OPEN_CIRCUIT)
    written = store.now()
    store.close()
    monkeypatch.setattr(sqlite, "_boot", lambda: "after")
    monkeypatch.setattr(time, "time", lambda: 12.0)
    again = SqliteStore(tmp_path / "state.db")
    assert written - 1.0 < again.now() < written + 60.0
    again.close()


def test_a_commit_that_fails_leaves_the_store_able_to_write_again(tmp_path: Path) -> None:
    """A disk that is full at the very moment of COMMIT must not leave a transaction behind that blocks all others."""
    store = SqliteStore(tmp_path / "state.db")
    with store._deciding.use(time.monotonic() + PATIENCE, store._prepare) as database:
        database.executescript(
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


# Waiting for others


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of a transaction."""
    SqliteStore(tmp_path / "state.db").close()
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None, check_same_thread=False)
    yield other
    other.close()


def test_a_busy_file_is_waited_for_and_can_be_read_meanwhile(tmp_path: Path, busy: sqlite3.Connection) -> None:
    store = SqliteStore(tmp_path / "state.db")
    busy.execute("BEGIN IMMEDIATE")
    started = threading.Event()

    def write() -> None:
        started.set()
        store.update("tool/shell", lambda _: OPEN_CIRCUIT)

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    assert dict(store.load()) == {}
    busy.execute("COMMIT")
    writer.join()
    assert dict(store.load()) == {"tool/shell": OPEN_CIRCUIT}
    store.close()


def test_nobody_waits_longer_because_others_wait_as_well(
    tmp_path: Path, busy: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, eight threads would wait for eight times as long."""
    store = SqliteStore(tmp_path / "state.db")
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.5)
    busy.execute("BEGIN IMMEDIATE")
    told: list[Exception] = []

    def write() -> None:
        try:
            store.update("tool/shell", lambda _: OPEN_CIRCUIT)
        except (sqlite3.OperationalError, TimeoutError) as error:
            told.append(error)

    began = time.monotonic()
    in_threads(write, 8)
    assert 0.5 <= time.monotonic() - began < 2.5
    assert len(told) == 8
    busy.execute("COMMIT")
    store.update("tool/shell", lambda _: OPEN_CIRCUIT)
    store.close()


def test_the_log_is_moved_into_the_file_by_those_who_look_and_not_by_those_who_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes as long as the disk does, and somebody's call would wait for it."""
    monkeypatch.setattr(sqlite_file, "_LONG_LOG", 1 << 20)
    store = SqliteStore(tmp_path / "state.db")
    file, log = tmp_path / "state.db", tmp_path / "state.db-wal"
    store.load()
    before, long = file.stat().st_size, replace(OPEN_CIRCUIT, reason="x" * 20_000)
    for number in range(400):  # half as much again as SQLite would wait for
        store.update(f"tool/{number}", lambda _: long)
    assert log.stat().st_size > 6 << 20
    assert file.stat().st_size == before
    store.load()
    assert file.stat().st_size > before + (1 << 20)
    for _ in range(3):
        store.update("tool/shell", lambda circuit: replace(circuit, seq=circuit.seq + 1))
    assert log.stat().st_size < 1 << 20, "it begins anew"
    store.close()


# A file that is removed


def test_a_file_that_is_removed_is_an_error_once_and_made_anew(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    store.update("tool/shell", lambda _: OPEN_CIRCUIT)
    before = store.now()
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(OSError, match=r"state\.db was removed; it is made anew"):
        store.update("tool/shell", lambda _: HALF_OPEN_CIRCUIT)
    assert dict(store.load()) == {}
    store.update("tool/shell", lambda _: HALF_OPEN_CIRCUIT)
    assert dict(store.load()) == {"tool/shell": HALF_OPEN_CIRCUIT}
    assert before <= store.now() < before + 60.0
    store.close()


def test_who_looks_finds_out_as_well_even_with_the_folder_gone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    store = SqliteStore(folder / "state.db")
    store.load()
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="was removed"):
        store.load()
    assert dict(store.load()) == {}
    store.update("tool/shell", lambda _: OPEN_CIRCUIT)
    store.close()


def test_a_file_that_another_made_anew_has_the_others_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SqliteStore(tmp_path / "state.db")
    for file in tmp_path.iterdir():
        file.unlink()
    wall = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: wall)
    second = SqliteStore(tmp_path / "state.db")
    with pytest.raises(OSError, match="was removed"):
        first.update("tool/shell", lambda _: OPEN_CIRCUIT)
    assert first.now() <= second.now() <= first.now()
    first.close()
    second.close()


# Letting go


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    store.close()
    with pytest.raises(ValueError, match=r"state\.db is closed"):
        store.update("tool/shell", lambda _: OPEN_CIRCUIT)
    with pytest.raises(ValueError, match=r"state\.db is closed"):
        store.load()


def test_a_store_that_nobody_has_any_more_is_closed(tmp_path: Path) -> None:
    """Python 3.13 warns of a connection that was left open."""
    store = SqliteStore(tmp_path / "state.db")
    store.load()
    connections = [store._deciding._database, store._looking._database]
    del store
    for connection in connections:
        assert connection is not None
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


# Several processes


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


FORK = """
import os, sys, threading
from dataclasses import replace
from pathlib import Path
from recloser.stores.sqlite import SqliteStore

def one_more(circuit):
    return replace(circuit, failures=circuit.failures + 1)

def write(times):
    for _ in range(times):
        store.update("shared", one_more)

store = SqliteStore(Path(sys.argv[1]))
store.load()
threads = [threading.Thread(target=write, args=(100,)) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        try:
            assert store._deciding._database is None and store._looking._database is None
            write(50)
            assert store.load()["shared"].failures >= 50
            store.close()
            os._exit(0)
        finally:
            os._exit(1)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
for thread in threads:
    thread.join()
print(store.load()["shared"].failures)
store.close()
"""


def test_a_copy_of_the_process_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """Four threads write while the process is copied four times, and every copy writes as well: nothing is lost."""
    said = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "state.db")], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "600\n"


FORK_IN_THE_MIDDLE = """
import os, sys, threading
from dataclasses import replace
from pathlib import Path
from recloser.stores.sqlite import SqliteStore

inside, go_on = threading.Event(), threading.Event()

def slow(circuit):
    inside.set()
    go_on.wait()
    return replace(circuit, failures=circuit.failures + 1)

store = SqliteStore(Path(sys.argv[1]))
writer = threading.Thread(target=store.update, args=("shared", slow))
writer.start()
inside.wait()
pid = os.fork()
if not pid:
    try:
        store.update("shared", lambda circuit: replace(circuit, failures=100))
    except Exception as error:
        print(type(error).__name__, flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
go_on.set()
writer.join()
print(store.load()["shared"].failures)
"""


def test_a_copy_made_in_the_middle_of_a_write_neither_hangs_nor_writes_into_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    said = subprocess.run(
        [sys.executable, "-c", FORK_IN_THE_MIDDLE, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "OperationalError\n1\n"
    assert raw(path, "PRAGMA integrity_check") == [("ok",)]


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


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE circuits (race TEXT)")
    theirs.execute("INSERT INTO circuits VALUES ('Monza')")
    theirs.commit()
    theirs.close()
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(OSError, match="another program's database"):
        SqliteStore(path).load()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (before, 0o644)
