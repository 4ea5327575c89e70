"""What the stories pass by: defaults that no story leaves out, and values that no story comes to.

Mutation testing found each of them (`make mutation`).
"""

import math
from dataclasses import replace

import pytest
from tests.core.story import BROKEN, NAME, SETTINGS, opened

from recloser.core import circuit as machine
from recloser.core.backoff import backoff
from recloser.core.circuit_state import Circuit, CircuitState, Permit
from recloser.core.window import Slice

SPREAD = replace(SETTINGS, failure_threshold=1, jitter=0.1)
SLOW = replace(SETTINGS, slow_call=0.5, slow_rate=0.5, failure_rate=0.0, minimum_calls=1, jitter=0.1)
PERMIT = Permit(0)


# What is not said


def test_without_jitter_the_random_number_spreads_nothing() -> None:
    assert backoff(5.0, 2.0, 300.0, 1, rand=0.0) == 10.0


def test_without_a_random_number_jitter_spreads_nothing() -> None:
    assert backoff(5.0, 2.0, 300.0, 1, jitter=0.5) == 10.0


def test_a_failure_without_a_random_number_opens_for_the_middle() -> None:
    assert machine.fail(Circuit(), SPREAD, PERMIT, BROKEN, NAME, 16.0).circuit.open_until == 26.0


def test_a_slow_success_without_a_random_number_opens_for_the_middle() -> None:
    assert machine.succeed(Circuit(), SLOW, PERMIT, NAME, 16.0, took=0.5).circuit.open_until == 26.0


def test_a_result_without_a_duration_is_not_slow() -> None:
    assert machine.succeed(Circuit(), SLOW, PERMIT, NAME, 16.0).circuit.window == (Slice(16.0, calls=1),)
    assert machine.fail(Circuit(), SLOW, PERMIT, BROKEN, NAME, 16.0).circuit.window == (Slice(16.0, 1, failures=1),)


# Values from elsewhere


@pytest.mark.parametrize("state", [CircuitState.OPEN, CircuitState.FORCED_OPEN, CircuitState.HALF_OPEN])
def test_where_not_everybody_passes_nothing_is_easy_whatever_the_window_says(state: CircuitState) -> None:
    circuit = replace(opened().circuit, state=state, failures=0, window=(Slice(16.0),))
    assert machine.easy(circuit, SETTINGS, 16.0) is None


def test_while_throttling_one_bad_slice_of_several_is_enough_to_ask() -> None:
    throttling = replace(SETTINGS, throttle=2.0)
    circuit = Circuit(window=(Slice(10.0, calls=5, failures=1), Slice(16.0, calls=5)))
    assert machine.easy(circuit, throttling, 16.0) is None


@pytest.mark.parametrize(("slow_call", "slow_rate"), [(0.0, 1.0), (5.0, 0.0)])
def test_where_no_call_is_slow_none_is_to_be_told(slow_call: float, slow_rate: float) -> None:
    settings = replace(SETTINGS, slow_call=slow_call, slow_rate=slow_rate)
    easy = machine.easy(Circuit(window=(Slice(16.0),)), settings, 16.0)
    assert easy is not None
    assert easy.slow_call == math.inf


def test_successes_are_taken_in_from_when_the_last_slice_began() -> None:
    few = replace(SETTINGS, window_calls=20, minimum_calls=5)
    circuit = Circuit(window=(Slice(10.0, calls=2), Slice(14.0, calls=1)))
    assert machine.tally(circuit, few, 3, 15.0).window == (
        Slice(10.0, calls=2),
        Slice(14.0, calls=2),
        Slice(14.0, calls=2),
        Slice(15.0),
    )


def test_calls_that_were_slow_count_for_nothing_once_the_rule_is_off() -> None:
    circuit = Circuit(window=(Slice(16.0, calls=9, slow=9),))
    off = replace(SETTINGS, failure_rate=0.0, slow_call=0.0, slow_rate=0.5)
    assert machine.fail(circuit, off, PERMIT, BROKEN, NAME, 16.0).circuit.state is CircuitState.CLOSED


def test_what_is_not_closed_is_not_lastingly_healthy() -> None:
    assert machine.lastingly_healthy(opened().circuit, SETTINGS, 1e9) is False


# What others read


def test_a_new_circuit_has_seen_nothing() -> None:
    assert Circuit() == Circuit(
        state=CircuitState.CLOSED, generation=0, seq=0, failures=0, window=(), last_kind=None, opened_at=None,
        open_until=None, authoritative=False, outage_began=None, failed_at=None, recovery=None, closed_at=None,
        openings=0, cooldown=0.0, successes=0, leases=(), permits=0, reason="",
    )  # fmt: skip


def test_states_have_the_names_that_events_and_metrics_and_stores_know() -> None:
    assert [str(state) for state in CircuitState] == [
        "closed", "open", "half_open", "forced_open", "disabled", "observe_only",
    ]  # fmt: skip
