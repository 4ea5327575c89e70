from dataclasses import FrozenInstanceError

import pytest

from recloser.core import events
from recloser.core.events import CircuitOpened, Event, PermitExpired, StoreLost

OPENED = CircuitOpened(
    subject="model/a", seq=7, failure="quota", failures=1, rule="at_once", retry_after=5.0, authoritative=True,
    reason="quota",
)  # fmt: skip


def test_an_event_is_named_after_its_class_in_the_past_tense() -> None:
    kinds = {event.kind for event in vars(events).values() if isinstance(event, type) and issubclass(event, Event)}
    assert kinds == {
        "event", "circuit_opened", "circuit_extended", "circuit_would_open", "circuit_half_opened", "circuit_closed",
        "circuit_forced", "permit_expired", "circuit_forgotten", "store_lost", "store_regained",
    }  # fmt: skip


def test_its_facts_are_flat_and_begin_with_what_is_common_to_all() -> None:
    assert list(OPENED.facts().items()) == [
        ("seq", 7),
        ("kind", "circuit_opened"),
        ("subject", "model/a"),
        ("failure", "quota"),
        ("failures", 1),
        ("rule", "at_once"),
        ("retry_after", 5.0),
        ("authoritative", True),
        ("reason", "quota"),
    ]
    assert PermitExpired(subject="a", seq=1, held_for=2.0).facts()["held_for"] == 2.0
    assert StoreLost(subject="store", seq=1, reason="x").kind == "store_lost"


def test_what_happened_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        OPENED.seq = 8  # type: ignore[misc]
