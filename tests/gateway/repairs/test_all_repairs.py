"""What holds for every repair, however a stream is cut."""

import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.repairs.ordinary import ORDINARY
from tests.gateway.repairs.told import ASKED, BARE, CUTS, after, answer, calls, in_pieces, mended, text

from recloser.gateway.canonical import Grew, Refusal, Stop, Text, Thinking, ToolUse
from recloser.gateway.repairs import repair_kinds
from recloser.gateway.repairs.call_formats import CLOSERS, OPENERS
from recloser.gateway.repairs.mending import mending
from recloser.gateway.repairs.reasoning_leak import ALOUD, ANALYSIS, MARKS, TAGS
from recloser.gateway.repairs.scanning import LONGEST_HELD
from recloser.gateway.repairs.stop_markers import MARKERS
from recloser.gateway.wires.telling import gathered, told

OURS = ["byte_fallback", "reasoning_leak", "tool_call_text", "tool_names", "tool_arguments", "stop_markers"]
EACH = [[name] for name in OURS] + [OURS]
BITS = [
    *OPENERS,
    *CLOSERS,
    *TAGS,
    *TAGS.values(),
    *MARKS,
    *ANALYSIS,
    *ALOUD,
    *MARKERS,
    *(
        '{"name": "clock", "arguments": {}}',
        '{"name":',
        '"clock"',
        '"get_weather"',
        ', "arguments": {',
        '"city": "Oslo"',
    ),
    *(
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "'",
        '"',
        "\\",
        ",",
        ":",
        "<",
        ">",
        "/>",
        "=",
        "`",
        "```",
        "```json",
        "~~~",
        "\n",
        " ",
    ),
    *("clock", "clock()", "get_weather(", "city='Oslo'", "print(", "default_api.", "for example", "\n\n", "\r", "12"),
    *(
        "<function=clock>",
        "<function=get_weather>",
        "<parameter=city>",
        "</parameter>",
        "</function>",
        "<clock",
        "</clock>",
    ),
    *("<invoke name=", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "[ARGS]", "[CALL_ID]", "<|message|>"),
    *(
        "<0xE4>",
        "<0xBD>",
        "<0xA0>",
        "<0x0A>",
        "<0x",
        "<s>",
        "</s>",
        "Oslo",
        "你",
        "functions.clock:0",
        "<|call|>",
        "to=",
    ),
]
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<[{(")).filter(
    lambda said: "clock" not in said
)
TEXTS = st.lists(st.sampled_from(BITS) | st.text(max_size=3), max_size=25).map("".join)


def test_ours_are_all_there_are() -> None:
    assert sorted(repair_kinds().found) == sorted(OURS)
    assert not repair_kinds().broken


@pytest.mark.parametrize("repairs", EACH, ids="+".join)
@given(said=TEXTS, thought=TEXTS, given_=TEXTS, cuts=CUTS, stop=st.sampled_from([Stop.END, Stop.LENGTH]))
def test_how_a_stream_is_cut_changes_nothing(
    repairs: list[str], said: str, thought: str, given_: str, cuts: list[int], stop: Stop
) -> None:
    called = ToolUse(id="c", name="Get-Weather", input=given_)
    whole = answer(Thinking(text=thought, signature="s"), said, called, said, stop=stop)
    streamed = after(repairs, in_pieces(whole, lambda _: cuts))
    assert streamed == mended(repairs, whole)
    assert streamed == after(repairs, in_pieces(whole, lambda text: range(len(text))))


@pytest.mark.parametrize("repairs", EACH, ids="+".join)
@pytest.mark.parametrize("sample", ORDINARY)
@pytest.mark.parametrize("size", [0, 1, 5])
def test_an_ordinary_answer_passes_unchanged(repairs: list[str], sample: str, size: int) -> None:
    whole = answer(sample)
    assert mended(repairs, whole, size=size) == gathered(told(whole))


@pytest.mark.parametrize("repairs", EACH, ids="+".join)
@given(said=WORDS, thought=WORDS, refused=WORDS.filter(bool), cuts=CUTS)
def test_any_answer_without_marks_passes_unchanged(
    repairs: list[str], said: str, thought: str, refused: str, cuts: list[int]
) -> None:
    call = ToolUse(id="c", name="clock", input="{}")
    parts = Thinking(text=thought, signature="sig", issuer="anthropic"), said, call, Refusal(text=refused)
    whole = gathered(told(answer(*parts)))
    assert after(repairs, in_pieces(whole, lambda _: cuts)) == whole


@given(said=TEXTS)
def test_of_a_text_only_marks_and_calls_are_taken_out(said: str) -> None:
    place = 0
    for part in mended("tool_call_text", said).parts:
        if isinstance(part, Text):
            found = said.find(part.text.lstrip(), place)
            assert found >= 0
            place = found + len(part.text.lstrip())
    if not calls(mended("tool_call_text", said)):
        lost = len(said) - len(text(mended("tool_call_text", said)))
        assert not lost


@pytest.mark.parametrize("repairs", EACH, ids="+".join)
def test_parts_that_grow_by_turns_keep_their_order(repairs: list[str]) -> None:
    events = list(told(answer("", Thinking(text=""))))
    events[2:2] = [Grew(index=0, text=" ")]
    by_turns = [
        events[0],
        events[1],
        events[4],
        Grew(index=0, text="a"),
        Grew(index=1, text="b"),
        Grew(index=0, text="c"),
    ]
    streamed = after(repairs, [*by_turns, events[3], *events[5:]])
    assert [(type(part), getattr(part, "text", "")) for part in streamed.parts] == [(Text, "ac"), (Thinking, "b")]


def test_text_flows_and_only_what_may_be_something_else_is_held() -> None:
    repairs = mending(OURS, ASKED)
    prose = "It is < 5, so {a} [b] `c` and\nso on. "
    call = '{"name": "clock", "arguments": {"zone": "UTC"}}'
    fed, heard, behind = 0, "", []
    for event in in_pieces(answer(prose + "\n" + call), lambda said: range(len(said))):
        heard += "".join(one.text for one in repairs.feed(event) if isinstance(one, Grew))
        fed += len(event.text) if isinstance(event, Grew) else 0
        behind.append(fed - len(heard))
    assert max(behind[: len(prose)]) <= 2
    assert max(behind) == len(call)
    assert heard == prose + "\n" + '{"zone":"UTC"}'


@pytest.mark.parametrize(
    "whole",
    [
        '{"people": [{"name": "clock"}, 7, "x"], "arguments": {"a": "b"}}',
        '{"name": "Ada", "arguments": "none of them was ever written down"}',
        "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]",
        "<article>\n<functional>programming</functional>\n<clocks>are no tools</clocks>\n</article>",
        "```python\nfor word in words:\n    print(word)\n```\nThat prints every word there is.",
        "`clock()` and `get_weather(city='Oslo')` are what I can call, `write_file` is another.",
    ],
)
def test_what_cannot_be_a_call_is_not_held_back(whole: str) -> None:
    repairs = mending(OURS, ASKED)
    fed = heard = 0
    for event in in_pieces(answer(whole), lambda said: range(len(said))):
        heard += sum(len(one.text) for one in repairs.feed(event) if isinstance(one, Grew))
        fed += len(event.text) if isinstance(event, Grew) else 0
        assert fed - heard <= 16
    assert heard == len(whole)


def test_without_tools_the_repairs_of_calls_have_nothing_to_do() -> None:
    assert not mending(["tool_call_text", "tool_names", "tool_arguments"], BARE)
    assert mending(["stop_markers"], BARE)


@pytest.mark.parametrize(
    ("name", "text_of"),
    [
        ("tool_call_text", lambda n: '{"name": "clock", "arguments": {"a": "' + "x" * n + '"}}'),
        ("tool_call_text", lambda n: "{" * n),
        ("tool_call_text", lambda n: "[" * n),
        ("tool_call_text", lambda n: '{"name":' * (n // 8)),
        ("tool_call_text", lambda n: "<tool_call>" * (n // 11)),
        ("tool_call_text", lambda n: "<function=clock>\n<parameter=a>\n" + "</parameter>x" * (n // 13)),
        ("tool_call_text", lambda n: "clock(a='" + "\\'" * (n // 2)),
        ("tool_call_text", lambda n: "```\n" * (n // 4)),
        ("tool_call_text", lambda n: "<clock " + "a='b' " * (n // 6)),
        ("reasoning_leak", lambda n: "<think>" + "</think" * (n // 7)),
        ("stop_markers", lambda n: "<|im_end|> " * (n // 11) + "x"),
        ("stop_markers", lambda n: "x" + "\n" * n + "x"),
        ("byte_fallback", lambda n: "<0xF0><0x9F>" * (n // 12)),
    ],
)
def test_time_grows_with_the_text_and_no_faster(name: str, text_of: Callable[[int], str]) -> None:
    def took(length: int) -> float:
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            mended(name, text_of(length), size=16)
            best = min(best, time.process_time() - started)
        return best

    small = LONGEST_HELD // 64
    assert took(16 * small) < 64 * took(small)  # sixteen times as much; squared it would be 256


def test_more_than_may_be_held_is_text() -> None:
    long = '{"name": "clock", "arguments": {"a": "' + "x" * LONGEST_HELD + '"}}'
    for size in (0, 1000, 7):
        assert mended("tool_call_text", long, size=size).parts == (Text(text=long),)


def test_a_stop_that_says_more_stays() -> None:
    cut = answer('{"name": "clock", "arguments": {}}', stop=Stop.LENGTH)
    assert mended("tool_call_text", cut).stop is Stop.LENGTH
    assert mended("tool_call_text", msgspec.structs.replace(cut, stop=Stop.END)).stop is Stop.TOOL_USE
