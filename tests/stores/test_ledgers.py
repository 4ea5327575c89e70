import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recloser.core.errors import ConfigError
from recloser.stores import open_ledger
from recloser.stores.memory_ledger import MemoryLedger
from recloser.stores.sqlite import SqliteStore
from recloser.stores.sqlite_ledger import SqliteLedger
from recloser.testing import OPEN_CIRCUIT, LedgerContract

TODAY = datetime.now(UTC).date()
_ADD = """
import os, sys
from pathlib import Path
from recloser.stores.sqlite_ledger import SqliteLedger
ledger = SqliteLedger(Path(sys.argv[1]))
for _ in range(100):
    ledger.add({("all", sys.argv[2]): 1})
os.kill(os.getpid(), 9)
"""


class TestMemoryLedger(LedgerContract):
    def make_ledger(self, tmp_path: Path) -> MemoryLedger:
        return MemoryLedger()


class TestSqliteLedger(LedgerContract):
    durable = True

    def make_ledger(self, tmp_path: Path) -> SqliteLedger:
        return SqliteLedger(tmp_path / "state.db")


def test_two_processes_add_to_one_sum_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    path, month = tmp_path / "state.db", f"{TODAY:%Y-%m}"
    writers = [subprocess.Popen([sys.executable, "-c", _ADD, str(path), month]) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [-9, -9]
    ledger = SqliteLedger(path)
    assert dict(ledger.sums(month)) == {"all": 200}
    ledger.close()


@pytest.mark.parametrize("ledger_first", [True, False])
def test_circuits_and_sums_share_a_file(tmp_path: Path, *, ledger_first: bool) -> None:
    path = tmp_path / "state.db"
    ledger = SqliteLedger(path)
    if ledger_first:
        ledger.add({("all", "2999-01"): 5})
    store = SqliteStore(path)
    store.update("model/a/m", lambda _: OPEN_CIRCUIT)
    ledger.add({("all", "2999-01"): 2})
    assert dict(ledger.sums("2999-01")) == {"all": 7 if ledger_first else 2}
    assert set(store.load()) == {"model/a/m"}
    store.close()
    ledger.close()


def test_circuits_of_another_version_are_thrown_away_and_sums_are_not(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store, ledger = SqliteStore(path), SqliteLedger(path)
    store.update("model/a/m", lambda _: OPEN_CIRCUIT)
    ledger.add({("all", "2999-01"): 5})
    store.close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    store = SqliteStore(path)
    assert (dict(store.load()), dict(ledger.sums("2999-01"))) == ({}, {"all": 5})
    store.close()
    ledger.close()


def test_what_is_long_over_is_forgotten_when_the_file_is_opened(tmp_path: Path) -> None:
    old, last_year = TODAY - timedelta(days=420), TODAY - timedelta(days=350)
    periods = [f"{old:%Y-%m-%d}", f"{old:%Y-%m}", f"{last_year:%Y-%m-%d}", f"{last_year:%Y-%m}"]
    ledger = SqliteLedger(tmp_path / "state.db")
    ledger.add({("all", period): 1 for period in periods})
    ledger.close()
    again = SqliteLedger(tmp_path / "state.db")
    assert [bool(again.sums(period)) for period in periods] == [False, False, True, True]
    again.close()


def test_a_file_that_cannot_be_opened_yet_is_opened_when_it_can(tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.touch()
    ledger = SqliteLedger(in_the_way / "state.db")
    for _ in range(2):
        with pytest.raises(OSError, match="state"):
            ledger.add({("all", "2999-01"): 1})
    in_the_way.unlink()
    assert ledger.add({("all", "2999-01"): 1}) == {("all", "2999-01"): 1}
    ledger.close()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.close()
    with pytest.raises(OSError, match="another program"):
        SqliteLedger(path).add({("all", "2999-01"): 1})
    database = sqlite3.connect(path)
    assert [name for (name,) in database.execute("SELECT name FROM sqlite_master")] == ["theirs"]
    database.close()


def test_it_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "state.db")
    ledger.add({("all", "2999-01"): 1})
    assert (tmp_path / "state.db").stat().st_mode & 0o077 == 0
    ledger.close()


def test_a_closed_one_says_so(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "state.db")
    ledger.close()
    with pytest.raises(ValueError, match="closed"):
        ledger.sums("2999-01")


def test_a_ledger_is_opened_by_the_url_of_the_state(tmp_path: Path) -> None:
    assert isinstance(open_ledger("memory:"), MemoryLedger)
    ledger = open_ledger("sqlite:state.db", tmp_path)
    ledger.add({("all", "2999-01"): 1})
    assert (tmp_path / "state.db").exists()
    ledger.close()
    with pytest.raises(ConfigError, match="is no store"):
        open_ledger("redis//")
