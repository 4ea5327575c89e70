"""A circuit that several processes share: what each takes over of it, and what it tells of what others did."""

import math
from dataclasses import replace

import pytest
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
from recloser.core.circuit_sharing import adopted, agreed, announcement, concerns_others, retried, versioned
from recloser.core.circuit_state import Circuit, CircuitState
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


def test_the_stored_circuit_decides_unless_we_had_to_go_on_without_it() -> None:
    mine = Circuit(generation=1, seq=5, window=SEEN)
    for seq in (5, 6):
        stored = Circuit(generation=1, seq=seq, failures=2)
        assert agreed(stored, mine) == replace(stored, window=SEEN)
    assert agreed(Circuit(seq=4, failures=2), mine) is mine


def test_every_change_has_a_version_of_its_own() -> None:
    before = Circuit(seq=5)
    silent, told = Circuit(seq=5, failures=1), Circuit(seq=7, generation=1)
    assert versioned(before, silent) == Circuit(seq=6, failures=1)
    assert versioned(before, told) is told
