from pathlib import Path

import pytest

from recloser.core.errors import ConfigError
from recloser.stores import open_store
from recloser.stores.memory import MemoryStore
from recloser.stores.sqlite import SqliteStore
from recloser.testing import OPEN_CIRCUIT, StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()


def test_what_was_loaded_is_no_window_into_the_store() -> None:
    store = MemoryStore()
    loaded = store.load()
    store.update("tool/shell", lambda _: OPEN_CIRCUIT)
    assert dict(loaded) == {}


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
