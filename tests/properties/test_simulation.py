"""Three hundred runs of the simulation; `python -m tests.properties.simulation --seeds 10000` makes more of them."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from tests.properties.simulation import simulate

from recloser.breaker import live, sharing
from recloser.breaker.access import Access
from recloser.breaker.sharing import Sharing
from recloser.core import circuit_sharing
from recloser.core.circuit_sharing import adopted
from recloser.core.circuit_state import Circuit

RUNS, CHUNKS = 300, 10
REACHED = {
    "a trial", "a trial alone", "a change ran twice", "a partition", "no store", "a question was lost",
    "an answer was lost", "crash before a write", "crash after a write", "a record expired", "a look while deciding",
    "a call while looking", "permit_expired", "store_lost", "store_regained", "circuit_forced", "circuit_closed",
}  # fmt: skip
"""What every thirty runs must have seen, lest the simulation become a walk in the park."""


@pytest.mark.parametrize("first", range(0, RUNS, RUNS // CHUNKS))
def test_several_processes_on_a_bad_store_keep_every_promise(first: int) -> None:
    seen = sum((simulate(seed) for seed in range(first, first + RUNS // CHUNKS)), start=Counter())
    assert {what for what in REACHED if not seen[what]} == set()


def test_a_seed_is_a_run_and_the_same_each_time() -> None:
    runs: list[list[str]] = [[], []]
    for told in runs:
        seen = simulate(4711, told.append)
        assert seen["runs"] == 1
    first, second = ([line.partition("Permit")[0] for line in told] for told in runs)  # owners have other names
    assert first == second
    assert len(first) > 200


# That it would notice


def by_seq_alone(stored: Circuit, mine: Circuit, _common: Circuit, _owner: str) -> Circuit:
    """The one with the higher number, and of two alike the stored one: neither need hear of the other."""
    return adopted(stored, mine) if stored.seq >= mine.seq else mine


def without_new_numbers(kept: Circuit, other: Circuit) -> Circuit:
    return replace(kept, seq=max(kept.seq, other.seq) + 1)


def nobody_holds(
    decide: Callable[..., Any], own: Sharing, name: str, mine: Circuit, change: Any, now: float, _: Collection[int],
    **more: Any,
) -> Any:  # fmt: skip
    return decide(own, name, mine, change, now, (), **more)


DECIDE = Sharing.decide
HARM: dict[str, tuple[object, str, object]] = {
    "circuits that went apart are told from each other by number alone": (sharing, "agreed", by_seq_alone),
    "what comes after both keeps the generation of one": (circuit_sharing, "_after_both", without_new_numbers),
    "what was decided alone is not made known": (Sharing, "make_known", lambda _: None),
    "what is adopted is not announced": (live, "same_phase", lambda *_: True),
    "what the store decides on is not announced": (sharing, "same_phase", lambda *_: True),
    "permits that are out count as lost": (Sharing, "decide", lambda *a, **k: nobody_holds(DECIDE, *a, **k)),
    "times are not brought to one clock": (Access, "ahead", lambda _: 1e6),
    "an error of the store reaches the caller": (
        Access,
        "failed",
        lambda _own, error, *_: (_ for _ in ()).throw(error),
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_it_is_noticed_if(harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, instead = HARM[harm]
    monkeypatch.setattr(where, what, instead)
    with pytest.raises(AssertionError, match=r"again: python -m tests\.properties\.simulation --seed \d+ --tell"):
        run(60)


def run(seeds: int) -> None:
    for seed in range(seeds):
        simulate(seed)
