"""Events in plain words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.events import (
    CircuitClosed,
    CircuitExtended,
    CircuitForced,
    CircuitForgotten,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitWouldOpen,
    Event,
    PermitExpired,
    StoreLost,
    StoreRegained,
)
from recloser.gateway.events import AttemptFailed, GuardTripped, RequestFinished, SpendLimitReached, StreamResumed
from recloser.observe.words import _WORDS, in_words, printable

SUBJECT: dict[str, Any] = {"subject": "endpoint/ollama", "seq": 1}
FAILED: dict[str, Any] = {"target": "a/m", "failure": "overloaded", "status": 529, "circuit": "model/a/m",
                          "message": "busy", "retry_after": None, "duration": 0.25}  # fmt: skip
FINISHED: dict[str, Any] = {"wire": "anthropic", "model": "m", "stream": True, "target": "a/m", "status": 200,
                            "outcome": "ok", "attempts": 1, "held": 0.0, "first_token": 0.4,
                            "duration": 2.0}  # fmt: skip
OPENED: dict[str, Any] = {"failure": "unreachable", "failures": 5, "rule": "consecutive_failures", "retry_after": 30.0,
                          "authoritative": False, "reason": "unreachable: refused"}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (CircuitOpened(**SUBJECT, **OPENED), "endpoint/ollama opened for 30 s after 5 failures: unreachable: refused"),
        (
            CircuitOpened(**SUBJECT, **{**OPENED, "retry_after": 7500.0, "authoritative": True, "failures": 1}),
            "endpoint/ollama opened for 2 h 5 min (the server's word): unreachable: refused",
        ),
        (
            CircuitOpened(**SUBJECT, **{**OPENED, "retry_after": None, "failures": 1}),
            "endpoint/ollama opened until it is proven well: unreachable: refused",
        ),
        (
            CircuitExtended(**SUBJECT, failure="quota", retry_after=7500.0, reason="quota: 5 h limit"),
            "endpoint/ollama stays open for another 2 h 5 min (the server's word): quota: 5 h limit",
        ),
        (
            CircuitWouldOpen(**SUBJECT, failure="timeout", failures=3, rule="slow_rate", reason="timeout: slow"),
            "endpoint/ollama would have opened after 3 failures, and is only observed: timeout: slow",
        ),
        (
            CircuitWouldOpen(**SUBJECT, failure="timeout", failures=0, rule="slow_rate", reason="timeout: slow"),
            "endpoint/ollama would have opened, and is only observed: timeout: slow",
        ),
        (CircuitHalfOpened(**SUBJECT, open_for=30.0), "endpoint/ollama is tried again after 30 s"),
        (CircuitClosed(**SUBJECT, open_for=90.0), "endpoint/ollama is well again after 1 min 30 s"),
        (
            CircuitForced(**SUBJECT, state="forced_open", retry_after=600.0, reason="new driver"),
            "endpoint/ollama was opened for 10 min: new driver",
        ),
        (CircuitForced(**SUBJECT, state="closed", retry_after=None, reason="x"), "endpoint/ollama was closed: x"),
        (CircuitForced(**SUBJECT, state="disabled", retry_after=None, reason="x"), "endpoint/ollama was disabled: x"),
        (
            CircuitForced(**SUBJECT, state="observe_only", retry_after=None, reason="a new rule"),
            "endpoint/ollama was set to observe only: a new rule",
        ),
        (
            CircuitForced(**SUBJECT, state="half_open", retry_after=None, reason="mended"),
            "endpoint/ollama was released and is tried: mended",
        ),
        (
            CircuitForgotten(**SUBJECT, state="open"),
            "endpoint/ollama was forgotten although open: there are too many circuits",
        ),
        (
            PermitExpired(**SUBJECT, held_for=600.0),
            "endpoint/ollama took back a trial that was never settled, after 10 min",
        ),
        (StoreLost(**SUBJECT, reason="full"), "the store cannot be written (full); circuits go on in memory"),
        (StoreRegained(**SUBJECT), "the store can be written again"),
        (AttemptFailed(**SUBJECT, **FAILED), "a/m failed after 250 ms: overloaded 529: busy [model/a/m]"),
        (
            AttemptFailed(**SUBJECT, **{**FAILED, "status": None, "message": "", "circuit": None}),
            "a/m failed after 250 ms: overloaded",
        ),
        (
            StreamResumed(**SUBJECT, target="a/m", by="b/m", failure="timeout", said=240, style="told"),
            "a/m broke off after 240 characters (timeout); b/m finishes the answer",
        ),
        (
            GuardTripped(**SUBJECT, guard="tool_count", action="warn", message="51 calls", client="env:K", agent="ci"),
            "tool_count (env:K ci): warn: 51 calls",
        ),
        (
            SpendLimitReached(
                **{**SUBJECT, "subject": "spend/all"},
                scope="all",
                per="day",
                limit_usd=20.0,
                spent_usd=20.3,
                action="refuse",
                retry_after=7200.0,
            ),
            "the spend limit of 20 USD a day is reached: requests are refused; the next day begins in 2 h",
        ),
        (
            SpendLimitReached(
                **{**SUBJECT, "subject": "spend/agent/ci"},
                scope="agent/ci",
                per="month",
                limit_usd=0.5,
                spent_usd=0.5,
                action="warn",
                retry_after=3600.0,
            ),
            "the spend limit of 0.5 USD a month for agent/ci is reached: requests go on; the next month begins in 1 h",
        ),
        (RequestFinished(**SUBJECT, **FINISHED), "m answered by a/m in 2.0 s, first words after 400 ms"),
        (
            RequestFinished(**SUBJECT, **{**FINISHED, "stream": False, "attempts": 2, "held": 5.0}),
            "m answered by a/m in 2.0 s, 2 attempts, held 5.0 s",
        ),
        (
            RequestFinished(**SUBJECT, **{**FINISHED, "outcome": "cancelled", "status": None}),
            "m: the client left after 2.0 s",
        ),
        (
            RequestFinished(**SUBJECT, **{**FINISHED, "outcome": "timeout", "status": 503, "attempts": 3}),
            "m was not answered: timeout after 2.0 s, 3 attempts, the client got 503",
        ),
    ],
)
def test_events_in_words(event: Event, words: str) -> None:
    assert in_words(event.facts()) == words


def test_every_kind_of_event_has_words() -> None:
    kinds = {cls.kind for cls in Event.__subclasses__() if cls.__module__.startswith("recloser.")}
    assert kinds <= set(_WORDS)


def test_an_unknown_kind_is_told_with_all_it_has() -> None:
    facts = {"ts": "x", "seq": 1, "kind": "agent_stopped", "subject": "agent/nightly", "reason": "stalled", "code": 75}
    assert in_words(facts) == "agent/nightly: agent stopped reason=stalled code=75"


@given(
    st.dictionaries(st.text(), st.none() | st.text() | st.floats() | st.lists(st.integers())),
    st.sampled_from([*_WORDS]),
)
def test_no_facts_are_too_strange(facts: dict[str, Any], kind: str) -> None:
    words = in_words({**facts, "kind": kind})
    assert words.isprintable() or not words


def test_a_stranger_cannot_write_to_the_terminal() -> None:
    assert printable("a\033[2Jb\nc\x07") == "a\N{REPLACEMENT CHARACTER}[2Jb c\N{REPLACEMENT CHARACTER}"
