import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.circuit_state import Circuit, CircuitState, Lease
from recloser.core.failure import FailureKind
from recloser.core.window import Slice
from recloser.stores import record
from recloser.testing import HALF_OPEN_CIRCUIT, OPEN_CIRCUIT

numbers = st.integers(0, 2**40)
times = st.floats(-1e12, 1e12)
REFUSING = (CircuitState.OPEN, CircuitState.FORCED_OPEN)


@st.composite
def circuits(draw: st.DrawFn) -> Circuit:
    state = draw(st.sampled_from(CircuitState))
    was_open = state in REFUSING or state is CircuitState.HALF_OPEN
    return Circuit(
        state=state,
        generation=draw(numbers),
        seq=draw(numbers),
        failures=draw(numbers),
        last_kind=draw(st.none() | st.sampled_from(FailureKind)),
        opened_at=draw(times if was_open else st.none() | times),
        open_until=draw(times | st.just(math.inf)) if state in REFUSING else None,
        authoritative=draw(st.booleans()),
        outage_began=draw(st.none() | times),
        failed_at=draw(st.none() | times),
        recovery=draw(st.none() | times),
        closed_at=draw(st.none() | times),
        openings=draw(numbers),
        cooldown=draw(times),
        successes=draw(numbers),
        leases=tuple(draw(st.lists(st.builds(Lease, numbers, times, times, st.text()), max_size=3))),
        permits=draw(numbers),
        reason=draw(st.text()),
    )


@given(circuits())
def test_what_is_written_is_read(circuit: Circuit) -> None:
    read = record.load(record.dump(circuit))
    assert read == circuit
    assert all(isinstance(lease, Lease) for lease in read.leases)
    assert type(read.state) is CircuitState


@given(circuits())
def test_a_record_is_one_line_of_json_that_any_reader_takes(circuit: Circuit) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = record.dump(circuit)
    assert "\n" not in text
    assert json.loads(text, parse_constant=refuse)["format"] == 2


def test_the_window_is_not_written_for_it_is_one_processs_own() -> None:
    seen = replace(OPEN_CIRCUIT, window=(Slice(90.0, calls=7, failures=2),))
    assert record.dump(seen) == record.dump(OPEN_CIRCUIT)


def test_a_circuit_that_only_proof_closes_says_so_in_a_word() -> None:
    text = record.dump(Circuit(state=CircuitState.OPEN, opened_at=1.0, open_until=math.inf))
    assert json.loads(text)["open_until"] == "never"
    assert record.load(text).open_until == math.inf


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        record.load(text)


def with_fields(circuit: Circuit, **fields: Any) -> str:
    return json.dumps({**json.loads(record.dump(circuit)), **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"format": 1},
        {"format": 3},
        {"state": "ajar"},
        {"last_kind": "boredom"},
        {"unheard_of": 1},
        {"window": []},
        {"generation": "3"},
        {"generation": -1},
        {"failures": 1.5},
        {"failures": True},
        {"permits": None},
        {"opened_at": None},
        {"opened_at": "yesterday"},
        {"opened_at": math.inf},
        {"open_until": None},
        {"open_until": math.nan},
        {"open_until": 10**400},
        {"closed_at": -math.inf},
        {"failed_at": "noon"},
        {"outage_began": math.nan},
        {"recovery": math.inf},
        {"authoritative": None},
        {"authoritative": 1},
        {"cooldown": math.nan},
        {"reason": None},
        {"leases": ["abc"]},
        {"leases": [[1, 2.0]]},
        {"leases": [[1, 2.0, math.nan]]},
        {"leases": [["one", 2.0, 3.0]]},
        {"leases": [[1, 2.0, 3.0, 4]]},
        {"leases": [[1, 2.0, 3.0, "x", 5]]},
        {"state": "closed"},
    ],
)
def test_an_open_circuit_the_machine_could_not_go_on_from_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        record.load(with_fields(OPEN_CIRCUIT, **fields))


def test_a_half_open_circuit_must_know_since_when() -> None:
    with pytest.raises(ValueError):
        record.load(with_fields(HALF_OPEN_CIRCUIT, opened_at=None))


def test_records_of_this_format_stay_readable() -> None:
    """A file written by the first release; if this test must change, so must `format`."""
    text = (
        '{"format":2,"state":"half_open","generation":4,"seq":6,"failures":2,"last_kind":"timeout","opened_at":100.0,'
        '"open_until":null,"authoritative":false,"outage_began":99.5,"failed_at":100.0,"recovery":7.25,'
        '"closed_at":90.25,"openings":2,"cooldown":30.5,"successes":1,'
        '"leases":[[4,130.75,730.75,"there/7/1"],[5,131.0,731.0,"here/7/2"]],"permits":5,'
        '"reason":"timeout: no first token"}'
    )
    assert record.load(text) == HALF_OPEN_CIRCUIT
    assert record.dump(HALF_OPEN_CIRCUIT) == text
