from pathlib import Path

import pytest

from recloser.core.errors import ConfigError
from recloser.ports import Store
from recloser.stores.late import LateStore
from recloser.testing import OPEN_CIRCUIT, ManualClock, StoreContract


class TestLateStore(StoreContract):
    durable = True

    def make_store(self, tmp_path: Path) -> Store:
        return LateStore("sqlite:state.db", ManualClock(), tmp_path)


def test_a_store_that_cannot_be_opened_yet_is_opened_when_it_can(tmp_path: Path) -> None:
    in_the_way = tmp_path / "state"
    in_the_way.touch()
    store = LateStore("sqlite:state/circuits.db", ManualClock(), tmp_path)
    for _ in range(2):
        with pytest.raises(OSError, match="state"):
            store.load()
    store.close()  # there is nothing to close
    in_the_way.unlink()
    assert store.update("tool/shell", lambda _: OPEN_CIRCUIT) == OPEN_CIRCUIT
    assert store.now() > 0
    store.close()


def test_it_stays_where_it_was_meant_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = LateStore("sqlite:state.db", ManualClock())
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.load()
    assert (tmp_path / "state.db").exists()
    store.close()


def test_in_memory_it_is_on_the_given_clock() -> None:
    clock = ManualClock(start=7.0)
    assert LateStore("memory:", clock).now() == 7.0


@pytest.mark.parametrize("url", ["memory:x", "sqlite:", "redis//", ""])
def test_a_url_that_is_no_store_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="is no store"):
        LateStore(url, ManualClock())


def test_it_says_whose_it_is() -> None:
    assert repr(LateStore("sqlite:state.db", ManualClock())) == "<LateStore 'sqlite:state.db'>"
