"""A circuit that two processes decided without each other: what both go on from, and that they agree on it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.story import CLOSED, DISABLED, FORCED_OPEN, HALF_OPEN, OBSERVE_ONLY, OPEN

from recloser.core.circuit_sharing import adopted, agreed, follows, same_phase
from recloser.core.circuit_state import Circuit, CircuitState, Lease
from recloser.core.window import Slice

COMMON = Circuit(generation=4, seq=10, failures=1)
SEEN = (Slice(12.0, calls=7, failures=2),)
ME, OTHER = "here/1", "there/1"


def opened(generation: int = 5, seq: int = 11, until: float = 30.0, **more: object) -> Circuit:
    return replace(COMMON, state=OPEN, generation=generation, seq=seq, opened_at=20.0, open_until=until, **more)  # type: ignore[arg-type]


def trying(generation: int, seq: int, *leases: Lease) -> Circuit:
    return replace(COMMON, state=HALF_OPEN, generation=generation, seq=seq, opened_at=20.0, leases=leases, permits=9)


def both(stored: Circuit, mine: Circuit, common: Circuit = COMMON) -> Circuit:
    return agreed(stored, mine, common, ME)


# Where only one side has moved


def test_what_nobody_else_has_touched_is_mine() -> None:
    mine = opened(window=SEEN)
    assert both(COMMON, mine) is mine


def test_what_i_have_not_touched_is_theirs() -> None:
    assert both(opened(), replace(COMMON, window=SEEN)) == opened()
    assert both(replace(COMMON, seq=11, failures=2), replace(COMMON, window=SEEN)).window == SEEN


def test_a_phase_that_only_one_side_entered_is_not_lost_to_a_count_of_the_other() -> None:
    counted = replace(COMMON, seq=15, failures=4)
    assert both(counted, opened()) == opened(seq=16)
    assert both(opened(seq=15), counted) == opened(seq=16)


# Where both have


def test_of_two_openings_the_later_end_holds() -> None:
    soon, late = opened(until=30.0), opened(until=90.0, authoritative=True)
    assert both(soon, late) == replace(late, seq=12)
    assert both(late, soon) == replace(late, seq=12)
    assert both(opened(until=math.inf), late).open_until == math.inf


def test_of_two_counts_the_larger_holds() -> None:
    few, many = replace(COMMON, seq=11, failures=2), replace(COMMON, seq=13, failures=4, window=SEEN)
    assert both(few, many) == replace(many, seq=14)
    assert both(many, few).failures == 4


def test_what_is_stored_holds_and_is_new_to_both() -> None:
    closed = replace(COMMON, state=CLOSED, generation=7, seq=14)
    assert both(closed, opened()) == replace(closed, seq=15)
    assert both(opened(), closed) == replace(opened(), generation=8, seq=15)
    assert both(opened(generation=7), closed) == replace(opened(), generation=8, seq=15)


def test_trials_that_nobody_could_settle_any_more_are_taken_back() -> None:
    stored = trying(6, 12, Lease(3, 20.0, 60.0, OTHER))
    taken = both(stored, opened(generation=6, seq=13))
    assert (taken.generation, taken.seq, taken.leases, taken.successes) == (7, 14, (), 0)
    kept = both(replace(stored, successes=1), opened(generation=5, seq=13))
    assert (kept.generation, kept.leases, kept.successes) == (6, stored.leases, 1)


def test_of_trials_on_both_sides_each_knows_its_own() -> None:
    mine, theirs = Lease(5, 20.0, 60.0, ME), Lease(5, 21.0, 61.0, OTHER)
    settled_by_me, settled_by_them = Lease(4, 20.0, 60.0, ME), Lease(4, 20.0, 60.0, OTHER)
    stored = replace(trying(5, 12, theirs, settled_by_me), successes=1)
    here = trying(5, 13, settled_by_them, mine)
    merged = both(stored, here)
    assert merged.leases == (theirs, mine)
    assert (merged.generation, merged.seq, merged.successes) == (5, 14, 1)


@pytest.mark.parametrize("state", [FORCED_OPEN, DISABLED, OBSERVE_ONLY])
def test_an_order_by_hand_holds_against_what_came_by_itself(state: CircuitState) -> None:
    until = 99.0 if state is FORCED_OPEN else None
    ordered = replace(COMMON, state=state, generation=5, seq=11, opened_at=20.0, open_until=until)
    closed = replace(COMMON, state=CLOSED, generation=7, seq=14)
    assert both(closed, ordered) == replace(ordered, generation=8, seq=15)
    assert both(replace(ordered, seq=15), closed).state is state
    by_both = replace(ordered, state=DISABLED, open_until=None, generation=9, seq=20)
    assert both(by_both, ordered) == replace(by_both, seq=21)


# Where the store has forgotten


def test_a_store_that_knows_nothing_is_told() -> None:
    mine = opened()
    assert agreed(Circuit(), mine) is mine
    assert both(Circuit(), mine) is mine


def test_a_new_beginning_there_gives_way_and_its_generation_does_not_come_again() -> None:
    mine = opened(generation=5, seq=11)
    assert agreed(opened(generation=1, seq=1), mine) is mine
    assert agreed(trying(5, 9), mine) == replace(mine, generation=6, seq=12)
    assert agreed(trying(8, 9), mine) == replace(mine, generation=9, seq=12)


def test_a_trial_of_a_new_beginning_is_a_trial() -> None:
    """It was given out by a store that did not know better."""
    theirs = Lease(3, 20.0, 60.0, OTHER)
    merged = agreed(trying(5, 7, theirs), trying(5, 11), None, ME)
    assert (merged.leases, merged.generation, merged.seq) == ((theirs,), 5, 12)


def test_a_new_beginning_that_has_come_further_holds_but_not_with_a_generation_of_ours() -> None:
    mine = opened(generation=5, seq=11)
    for stored in (trying(2, 30), trying(5, 30), trying(2, 11), trying(5, 11)):
        taken = agreed(stored, mine)
        assert (taken.state, taken.generation, taken.seq) == (HALF_OPEN, 6, stored.seq + 1)
    by_hand = replace(mine, state=DISABLED, open_until=None)
    assert agreed(trying(2, 30), by_hand) == replace(by_hand, seq=31)


# In any case


circuits = st.builds(
    lambda state, generation, seq, failures, until, number: Circuit(
        state=state, generation=generation, seq=seq, failures=failures, opened_at=5.0, permits=number,
        open_until=until if state in (OPEN, FORCED_OPEN) else None,
        leases=(Lease(number, 5.0, 55.0, ME if number % 2 else OTHER),) if state is HALF_OPEN else (),
    ),
    st.sampled_from(CircuitState), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3),
    st.sampled_from([9.0, 99.0]), st.integers(1, 4),
)  # fmt: skip


@given(circuits, circuits, circuits)
def test_what_is_agreed_on_follows_both_and_never_goes_back(stored: Circuit, mine: Circuit, common: Circuit) -> None:
    if mine.seq < common.seq:
        return  # that is no history
    after = agreed(stored, mine, common, ME)
    assert after.generation >= stored.generation or after is mine
    assert after.generation >= mine.generation
    assert after.seq >= max(stored.seq, mine.seq)
    if not same_phase(after, mine):
        assert after.seq > mine.seq, "E1: it is announced"
    if after.seq == stored.seq and stored.seq > common.seq:
        assert same_phase(after, stored), "one number, one phase"


@given(circuits, circuits)
def test_who_follows_may_be_taken_over_without_asking(theirs: Circuit, mine: Circuit) -> None:
    if follows(theirs, mine):
        assert agreed(theirs, mine) == adopted(theirs, mine)
        assert theirs.seq >= mine.seq
        assert theirs.generation >= mine.generation


def test_the_numbers_of_permits_never_go_back_lest_two_have_one() -> None:
    assert adopted(Circuit(permits=3), Circuit(permits=7)).permits == 7
    assert adopted(Circuit(permits=7), Circuit(permits=3)).permits == 7
