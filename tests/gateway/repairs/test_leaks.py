"""What leaks out of a model's template: thoughts, marks of an end, bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.repairs.told import CUTS, after, answer, in_pieces, mended, text

from recloser.gateway.canonical import Part, Stop, Text, Thinking, ToolUse
from recloser.gateway.repairs.scanning import LONGEST_HELD
from recloser.gateway.repairs.stop_markers import MARKERS

HI = Text(text="Hi!")
HM = Thinking(text="Hm.\n")
CALL = ToolUse(id="c", name="clock", input="{}")


@pytest.mark.parametrize("size", [0, 1, 4])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("<think>\nHm.\n</think>\n\nHi!", [HM, HI]),
        ("\n<think>Hm.\n</think>Hi!", [HM, HI]),
        ("<thinking>Hm.\n</thinking>\nHi!", [HM, HI]),
        ("<think>\n\n</think>\n\nHi!", [HI]),
        ("<think></think>Hi!", [HI]),
        ("[THINK]Hm.\n[/THINK]Hi!", [HM, HI]),
        ("<seed:think>Hm.\n</seed:think>Hi!", [HM, HI]),
        ("<think>Hm.\n</think>\n<think>So.\n</think>\nHi!", [Thinking(text="Hm.\nSo.\n"), HI]),
        ("Hi!\n<think>Hm.\n</think>\nHi!", [Text(text="Hi!\n"), HM, HI]),
        ("<think>\n```\nHm.\n</think>\nHi!", [Thinking(text="```\nHm.\n"), HI]),
        ("<think>\n```\nHm.\n</think>\n<think>So.\n</think>\nHi!", [Thinking(text="```\nHm.\nSo.\n"), HI]),
        ("Hi!\n</think>\n", [Text(text="Hi!\n\n")]),
        (
            "<|channel|>analysis<|message|>Hm.\n<|end|><|start|>assistant<|channel|>final<|message|>Hi!<|return|>",
            [HM, HI],
        ),
        ("<|channel|>analysis<|message|>Hm.\n<|channel|>final<|message|>Hi!", [HM, HI]),
        (
            "<|channel|>analysis<|message|>Hm.\n<|end|><|start|>assistant<|channel|>commentary<|message|>Hi!<|end|>",
            [HM, HI],
        ),
        ("<think>Hm.\n", [HM, Text(text="Hm.\n")]),
        ("Hi!\n<think>Hm.\n", [Text(text="Hi!\n"), HM]),
    ],
)
def test_a_leaked_thought_is_a_thought(written: str, meant: list[Part], size: int) -> None:
    assert list(mended("reasoning_leak", written, size=size).parts) == meant


def test_a_thought_that_never_ends_is_the_answer_only_if_nothing_else_is() -> None:
    for whole in (answer("<think>Hm.\n", CALL), answer("<think>Hm.\n", stop=Stop.LENGTH)):
        assert text(mended("reasoning_leak", whole, size=1)) == ""
    long = "<think>" + "x" * (LONGEST_HELD + 1)
    assert text(mended("reasoning_leak", long)) == ""


def test_a_call_behind_a_thought_is_made() -> None:
    written = (
        "<|channel|>analysis<|message|>Hm.\n<|end|><|start|>assistant<|channel|>commentary to=functions.clock"
        " <|constrain|>json<|message|>{}<|call|>"
    )
    got = mended(["reasoning_leak", "tool_call_text", "stop_markers"], written, size=1)
    assert got.parts[0] == HM
    assert [type(part) for part in got.parts] == [Thinking, ToolUse]
    qwen = '<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call><|im_end|>'
    got = mended(["reasoning_leak", "tool_call_text", "stop_markers"], qwen, size=1)
    assert [type(part) for part in got.parts] == [Thinking, ToolUse]
    assert got.stop is Stop.TOOL_USE


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((f"Hi!{marker}", "Hi!") for marker in (*MARKERS, "</s>")),
        ("Hi!<|im_end|>\n", "Hi!"),
        ("Hi! <|im_end|>", "Hi! "),
        ("Hi!<|im_end|><|endoftext|></s>", "Hi!"),
        ("Hi!<|im_end|>\n<|im_start|>assistant\nAnd hi!", "Hi!\n\nAnd hi!"),
        ("Hi<|eot_id|>, you", "Hi, you"),
        ("```\ncode\n```<|im_end|>", "```\ncode\n```"),
        ("```\ncode<|im_end|>", "```\ncode"),
        ("<s>old</s> new</s>", "<s>old</s> new"),
        ("Hi!</s>you", "Hi!</s>you"),
        ("Hi!<|im_end", "Hi!<|im_end"),
    ],
)
def test_marks_of_an_end_are_taken_out(written: str, meant: str, size: int) -> None:
    assert text(mended("stop_markers", written, size=size)) == meant
    thought = answer(Thinking(text=written, signature="s"))
    assert mended("stop_markers", thought, size=size).parts == (Thinking(text=meant, signature="s"),)


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("<0xE4><0xBD><0xA0>好", "你好"),
        ("a<0x0A>b<0x09>c", "a\nb\tc"),
        ("<0xF0><0x9F><0x99><0x82>!", "🙂!"),
        ("<0xe4><0xbd><0xa0>", "你"),
        ("<0xE4><0xBD><0xE4><0xBD><0xA0>", "<0xE4><0xBD>你"),
        ("<0xFF><0x41>", "<0xFF>A"),
        ("<0xED><0xA0><0x80>", "<0xED><0xA0><0x80>"),
        ("<0xE4><0xBD>", "<0xE4><0xBD>"),
        ("<<0x41>>", "<A>"),
        ("```\n<0xC3><0xA9>\n```", "```\né\n```"),
        ("`<0xC3><0xA9>`", "`<0xC3><0xA9>`"),
    ],
)
def test_bytes_are_characters(written: str, meant: str, size: int) -> None:
    assert text(mended("byte_fallback", written, size=size)) == meant


@given(said=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="`<>")), cuts=CUTS)
def test_every_character_comes_back_from_its_bytes(said: str, cuts: list[int]) -> None:
    written = "".join(f"<0x{byte:02X}>" for byte in said.encode())
    assert text(after(["byte_fallback"], in_pieces(answer(written), lambda _: cuts))) == said
