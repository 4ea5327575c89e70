"""A circuit that several processes share: what each takes over of it, and what it tells of what others did."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.story import (
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    NAME,
    NO_KEY,
    OBSERVE_ONLY,
    OPEN,
    TOLD_TO_WAIT,
    Story,
    opened,
    trying,
)

from recloser.core.circuit import LONGEST_OPENING
from recloser.core.circuit_sharing import (
    adopted,
    agreed,
    announcement,
    concerns_others,
    follows,
    retried,
    same_phase,
    versioned,
)
from recloser.core.circuit_state import Circuit, CircuitState, Lease
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event
from recloser.core.failure import FailureKind
from recloser.core.window import Slice

SEEN = (Slice(12.0, calls=7, failures=2),)


def reached() -> dict[CircuitState, Circuit]:
    story, trial = trying()
    return {
        OPEN: opened().circuit,
        HALF_OPEN: story.circuit,
        CLOSED: story.succeed(trial, 27.0),
        FORCED_OPEN: Story().force_open(16.0, 60.0),
        DISABLED: Story().disable(),
        OBSERVE_ONLY: Story().observe_only(),
    }


# After a restart


@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY])
def test_what_is_not_open_is_taken_over_as_it_is(state: CircuitState) -> None:
    circuit = reached()[state]
    assert retried(circuit, 1e9) is circuit


def test_what_was_forced_open_without_an_end_stays_so() -> None:
    circuit = Story().force_open(16.0)
    assert retried(circuit, 1e9) is circuit


@pytest.mark.parametrize("what", [None, TOLD_TO_WAIT])
def test_an_open_circuit_is_taken_over_with_its_end(what: object) -> None:
    circuit = (opened(what=TOLD_TO_WAIT) if what else opened()).circuit
    assert retried(circuit, 20.0) is circuit
    assert retried(circuit, 1e6) is circuit


def test_it_is_never_taken_over_for_longer_than_a_server_may_close_it() -> None:
    circuit = replace(opened().circuit, open_until=1e12)
    assert retried(circuit, 20.0) == replace(circuit, open_until=20.0 + LONGEST_OPENING)
    just = replace(circuit, open_until=20.0 + LONGEST_OPENING)
    assert retried(just, 20.0) is just


def test_what_waits_for_proof_is_tried() -> None:
    circuit = opened(what=NO_KEY).circuit
    due = retried(circuit, 30.0)
    assert due == replace(circuit, open_until=30.0)
    assert Story(circuit=due).admit(30.0).number == 1


# What is told of a change that another process made


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (
            OPEN,
            CircuitOpened(
                subject=NAME, seq=1, failure="server_error", failures=2, rule="shared", retry_after=7.0,
                authoritative=False, reason="server_error: internal error",
            ),
        ),
        (HALF_OPEN, CircuitHalfOpened(subject=NAME, seq=2, open_for=3.0)),
        (CLOSED, CircuitClosed(subject=NAME, seq=3, open_for=3.0)),
        (FORCED_OPEN, CircuitForced(subject=NAME, seq=1, state="forced_open", retry_after=57.0, reason="maintenance")),
        (DISABLED, CircuitForced(subject=NAME, seq=1, state="disabled", retry_after=None, reason="maintenance")),
        (OBSERVE_ONLY, CircuitForced(subject=NAME, seq=1, state="observe_only", retry_after=None, reason="a new rule")),
    ],
)  # fmt: skip
def test_who_did_not_see_it_is_told_where_it_is_now(state: CircuitState, event: Event) -> None:
    assert announcement(reached()[state], NAME, 19.0) == event


def test_of_what_has_no_end_none_is_told() -> None:
    told = announcement(opened(what=NO_KEY).circuit, NAME, 19.0)
    assert isinstance(told, CircuitOpened)
    assert (told.retry_after, told.failure) == (None, "auth")
    forced = announcement(Story().force_open(16.0), NAME, 19.0)
    assert isinstance(forced, CircuitForced)
    assert forced.retry_after is None


def test_of_the_servers_word_it_is_told_that_it_is_the_servers() -> None:
    told = announcement(opened(what=TOLD_TO_WAIT).circuit, NAME, 19.0)
    assert isinstance(told, CircuitOpened)
    assert told.authoritative


def test_a_record_that_does_not_say_why_or_when_is_told_all_the_same() -> None:
    told = announcement(Circuit(state=OPEN, open_until=math.inf, seq=9), NAME, 19.0)
    assert isinstance(told, CircuitOpened)
    assert (told.seq, told.failure) == (9, FailureKind.SERVER_ERROR)
    assert announcement(Circuit(), NAME, 19.0) == CircuitClosed(subject=NAME, seq=0, open_for=0.0)


# What is shared, and what is each one's own


def test_the_window_is_each_ones_own_and_goes_on_while_the_circuit_stays_where_it_is() -> None:
    theirs = Circuit(generation=3, seq=8, failures=1)
    assert adopted(theirs, Circuit(generation=3, seq=5, window=SEEN)) == replace(theirs, window=SEEN)
    assert adopted(theirs, Circuit(generation=2, seq=5, window=SEEN)) == theirs
    assert adopted(replace(theirs, window=SEEN), Circuit(generation=2)) == theirs


def test_only_what_changes_more_than_the_window_concerns_others() -> None:
    before = Circuit(generation=3, seq=8, failures=1)
    assert not concerns_others(before, before)
    assert not concerns_others(before, replace(before))
    assert not concerns_others(before, replace(before, window=SEEN))
    assert concerns_others(before, replace(before, failures=2))
    assert concerns_others(before, replace(before, failures=2, window=SEEN))


def test_a_healthy_call_concerns_nobody_and_a_failure_everybody() -> None:
    story = Story()
    before = story.circuit
    assert not concerns_others(before, story.good(10.0))
    before = story.circuit
    assert concerns_others(before, story.bad(10.0))


def test_every_change_has_a_version_of_its_own() -> None:
    before = Circuit(seq=5)
    silent, told = Circuit(seq=5, failures=1), Circuit(seq=7, generation=1)
    assert versioned(before, silent) == Circuit(seq=6, failures=1)
    assert versioned(before, told) is told


# Who goes on from whom


def test_the_numbers_of_permits_go_on_too() -> None:
    """One of ours that is still out must not get a namesake."""
    assert adopted(Circuit(permits=3), Circuit(permits=7)).permits == 7
    assert adopted(Circuit(permits=9), Circuit(permits=7)).permits == 9


def test_a_phase_is_a_state_of_one_generation() -> None:
    one = Circuit(state=OPEN, generation=3, open_until=20.0)
    assert same_phase(one, replace(one, open_until=90.0, seq=9))
    assert not same_phase(one, replace(one, generation=5))
    assert not same_phase(one, replace(one, state=FORCED_OPEN))


@pytest.mark.parametrize(
    ("generation", "seq", "state", "expected"),
    [
        (3, 5, CLOSED, True),
        (3, 6, CLOSED, True),
        (4, 6, OPEN, True),
        (9, 6, CLOSED, True),
        (3, 4, CLOSED, False),
        (4, 4, OPEN, False),
        (4, 5, OPEN, False),
        (3, 5, FORCED_OPEN, False),
        (3, 6, FORCED_OPEN, False),
        (2, 6, OPEN, False),
    ],
)
def test_what_another_left_is_simply_taken_over_where_it_can_have_come_of_ours(
    generation: int, seq: int, state: CircuitState, *, expected: bool
) -> None:
    mine = Circuit(generation=3, seq=5)
    assert follows(Circuit(state=state, generation=generation, seq=seq), mine) is expected


# After a time without the store. `COMMON` is what both sides last knew.

COMMON = Circuit(generation=2, seq=5)
MY_OPENING = Circuit(state=OPEN, generation=3, seq=6, opened_at=16.0, open_until=26.0, reason="mine")
THEIR_OPENING = replace(MY_OPENING, seq=8, open_until=90.0, reason="theirs")


def test_where_only_we_have_moved_ours_holds() -> None:
    assert agreed(COMMON, MY_OPENING, COMMON) is MY_OPENING
    assert agreed(replace(COMMON, failures=1), MY_OPENING, COMMON) is MY_OPENING


def test_where_only_the_store_has_moved_the_stored_one_holds_with_our_window() -> None:
    mine = replace(COMMON, window=SEEN)
    assert agreed(THEIR_OPENING, mine, COMMON) == THEIR_OPENING
    assert agreed(THEIR_OPENING, mine) == THEIR_OPENING
    assert agreed(replace(COMMON, seq=6, failures=1), mine) == replace(COMMON, seq=6, failures=1, window=SEEN)


def test_a_store_that_has_forgotten_is_told_anew() -> None:
    for forgot in (Circuit(), replace(COMMON, seq=4)):
        assert agreed(forgot, COMMON) is COMMON
        assert agreed(forgot, MY_OPENING, COMMON) is MY_OPENING


def test_two_that_came_to_the_same_number_by_different_ways_are_no_continuation() -> None:
    mine = replace(COMMON, seq=6, generation=3, state=HALF_OPEN, opened_at=1.0)
    assert agreed(MY_OPENING, mine) == replace(MY_OPENING, seq=7, generation=4)


def test_where_both_have_opened_the_later_end_holds() -> None:
    ours = agreed(THEIR_OPENING, MY_OPENING, COMMON)
    assert ours == replace(THEIR_OPENING, seq=9)
    later = replace(MY_OPENING, open_until=1000.0)
    assert agreed(THEIR_OPENING, later, COMMON) == replace(later, seq=9)


def test_where_both_count_the_higher_count_holds() -> None:
    stored, mine = replace(COMMON, seq=7, failures=2, permits=4), replace(COMMON, seq=6, failures=3, permits=1)
    assert agreed(stored, mine, COMMON) == replace(COMMON, seq=8, failures=3, permits=4)


def test_where_both_try_each_knows_its_own_permits_best() -> None:
    ours, theirs = Lease(4, 10.0, 60.0, "us"), Lease(4, 11.0, 61.0, "them")
    gone = Lease(3, 9.0, 59.0, "us")
    common = Circuit(state=HALF_OPEN, generation=4, seq=9, opened_at=1.0, permits=3, leases=(gone,))
    stored = replace(common, seq=10, permits=4, leases=(gone, theirs))
    mine = replace(common, seq=11, permits=4, successes=1, leases=(ours,))
    assert agreed(stored, mine, common, "us") == replace(common, seq=12, permits=4, successes=1, leases=(theirs, ours))


def test_where_only_we_have_entered_another_phase_ours_holds_and_is_new_to_all() -> None:
    stored = replace(COMMON, seq=9, failures=1)
    assert agreed(stored, MY_OPENING, COMMON) == replace(MY_OPENING, seq=10)


def test_where_both_have_the_stored_one_holds_and_is_new_to_all() -> None:
    mine = replace(MY_OPENING, seq=12, generation=7)
    assert agreed(replace(COMMON, state=HALF_OPEN, opened_at=1.0, generation=4, seq=9), mine, COMMON) == Circuit(
        state=HALF_OPEN, opened_at=1.0, generation=8, seq=13
    )


def test_what_was_ordered_by_hand_here_holds_against_what_happened_there() -> None:
    forced = Circuit(state=FORCED_OPEN, generation=3, seq=6, opened_at=10.0, open_until=math.inf, reason="hand")
    assert agreed(THEIR_OPENING, forced, COMMON) == replace(forced, generation=4, seq=9)


steps = st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(CircuitState))


def moved(circuit: Circuit, step: tuple[int, int, CircuitState]) -> Circuit:
    """The circuit after some changes, some of which were transitions."""
    changes, transitions, state = step
    return replace(
        circuit,
        seq=circuit.seq + changes + transitions,
        generation=circuit.generation + transitions,
        state=state if transitions else circuit.state,
    )


@given(st.sampled_from(CircuitState), steps, steps)
def test_whatever_became_of_it_both_sides_can_go_on_from_what_is_agreed(
    state: CircuitState, theirs: tuple[int, int, CircuitState], ours: tuple[int, int, CircuitState]
) -> None:
    """Else one of them would never take it over, or would take a new phase for an old one."""
    common = Circuit(state=state, generation=2, seq=5, opened_at=1.0, open_until=9.0)
    stored, mine = moved(common, theirs), moved(common, ours)
    result = agreed(stored, mine, common, "us")
    assert follows(result, stored)
    assert follows(result, mine)
