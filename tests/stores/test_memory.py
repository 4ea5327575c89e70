from dataclasses import replace
from pathlib import Path

import pytest

from recloser.core.circuit_state import Circuit
from recloser.core.errors import ConfigError
from recloser.stores import open_store
from recloser.stores.memory import MemoryStore
from recloser.stores.sqlite import SqliteStore
from recloser.testing import OPEN_CIRCUIT, ManualClock, StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()


def test_what_was_loaded_is_no_window_into_the_store() -> None:
    store = MemoryStore()
    loaded = store.load()
    store.update("tool/shell", lambda _: OPEN_CIRCUIT)
    assert dict(loaded) == {}


def test_its_clock_may_be_given() -> None:
    clock = ManualClock(start=7.0)
    store = MemoryStore(clock)
    store.update("early", lambda _: OPEN_CIRCUIT)
    clock.advance(3.0)
    store.update("late", lambda _: OPEN_CIRCUIT)
    assert store.now() == 10.0
    assert set(store.load(7.0)) == {"early", "late"}
    assert set(store.load(7.5)) == set(store.load(10.0)) == {"late"}


def test_a_change_that_somebody_overtakes_runs_again_on_what_they_left() -> None:
    store = MemoryStore()
    seen: list[int] = []

    def one_more(circuit: Circuit) -> Circuit:
        seen.append(circuit.failures)
        if len(seen) == 1:
            store.update("tool/shell", lambda c: replace(c, failures=c.failures + 10))
        return replace(circuit, failures=circuit.failures + 1)

    assert store.update("tool/shell", one_more).failures == 11
    assert seen == [0, 10]


def test_a_store_is_opened_by_its_url(tmp_path: Path) -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    store = open_store("sqlite:state/circuits.db", base=tmp_path)
    assert isinstance(store, SqliteStore)
    assert (tmp_path / "state" / "circuits.db").exists()
    store.close()


@pytest.mark.parametrize("url", ["", "memory:x", "sqlite:", "sqlite", "mysql://localhost", "/state.db"])
def test_a_url_that_is_no_store_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match="memory:"):
        open_store(url)
