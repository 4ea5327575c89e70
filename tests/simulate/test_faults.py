"""The words users write for faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.simulate.faults import (
    KINDS,
    STATUS,
    Fault,
    Group,
    Mode,
    Takes,
    describe,
    parse_mode,
    seconds_of,
    written,
)

SECONDS = st.one_of(
    st.floats(0, 1e9, allow_nan=False), st.integers(0, 10**6).map(float), st.integers(1, 999).map(lambda ms: ms / 1000)
)


@st.composite
def faults(draw: st.DrawFn, group: Group) -> Fault:
    kind = draw(st.sampled_from([kind for kind in KINDS.values() if kind.group is group]))
    name = str(draw(st.integers(400, 599))) if kind is STATUS else kind.name
    if kind.takes is Takes.NOTHING or (kind.default is None and draw(st.booleans())):
        return Fault(name, kind.default)
    if kind.takes is Takes.DURATION:
        return Fault(name, draw(SECONDS))
    detail = draw(st.sampled_from(["", "api_error", "overloaded_error"])) if kind.takes is Takes.ERROR else ""
    return Fault(name, float(draw(st.integers(0, kind.limit))), detail)


@st.composite
def modes(draw: st.DrawFn) -> Mode:
    single = [draw(faults(group)) for group in (Group.OUTCOME, Group.REPLY) if draw(st.booleans())]
    several = [
        fault
        for group in (Group.PACE, Group.DRESS)
        for fault in draw(st.lists(faults(group), unique_by=lambda fault: fault.name))
    ]
    return Mode(tuple(draw(st.permutations(single + several))))


@given(modes())
def test_every_mode_reads_back_as_it_was_written(mode: Mode) -> None:
    assert parse_mode(str(mode)) == mode


@given(SECONDS)
def test_every_duration_reads_back_as_it_was_written(seconds: float) -> None:
    assert seconds_of(written(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("529", Mode((Fault("529"),))),
        ("429=7s", Mode((Fault("429", 7.0),))),
        ("hang", Mode((Fault("hang"),))),
        ("cut", Mode((Fault("cut", 3.0),))),
        ("cut=0", Mode((Fault("cut", 0.0),))),
        ("error=2:api_error", Mode((Fault("error", 2.0, "api_error"),))),
        ("pings", Mode((Fault("pings"),))),
        ("Slow=200ms", Mode((Fault("slow", 0.2),))),
        ("quota=5m", Mode((Fault("quota", 300.0),))),
        ("reset", Mode((Fault("reset"),))),
        ("reset=120s", Mode((Fault("quota", 120.0),))),
        (" slow=50ms , cut=3 ", Mode((Fault("slow", 0.05), Fault("cut", 3.0)))),
        ("off", Mode()),
    ],
)
def test_modes_mean(text: str, mode: Mode) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hagn", "did you mean 'hang'"),
        ("cuts=3", "did you mean 'cut'"),
        ("", "unknown mode ''"),
        ("200", "400 to 599"),
        ("4000", "400 to 599"),
        ("400..599", "unknown mode"),
        ("cut=-1", "cut takes a count"),
        ("cut=many", "cut takes a count"),
        ("huge=4096", "from 0 to 1024"),
        ("cut=3:api_error", "no error type"),
        ("error=1:what ever", "no error type"),
        ("html=3", "takes no value"),
        ("slow=soon", "slow: 'soon' is not a duration"),
        ("slow=-1s", "not a (finite )?duration"),
        ("slow=1e999", "not a (finite )?duration"),
        ("slow=1s,slow=2s", "'slow' is given twice"),
        ("529,cut=3", "'529' and 'cut=3' cannot both happen"),
        ("empty,refusal", "cannot both happen"),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace(".", r"\.")):
        parse_mode(text)


def test_the_table_describes_every_fault_once() -> None:
    rows = dict(describe())
    assert len(rows) == len(KINDS) + 1
    assert rows["off"]
    assert all(rows.values())
    assert {"cut[=N]", "slow[=TIME]", "error[=N[:TYPE]]", "hang"} <= rows.keys()
