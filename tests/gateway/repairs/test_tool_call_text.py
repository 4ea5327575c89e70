# ruff: noqa: RUF001 - DeepSeek's marks have a bar of their own
"""Calls that models write as text, in the shapes in which they do."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.gateway.repairs.told import ASKED, BARE, CLOCK, answer, calls, mended, text

from recloser.gateway.canonical import OutputSchema, Request, Stop, Text, Thinking, Tool, ToolChoice, ToolUse

Call = tuple[str, dict[str, Any]]
OSLO: Call = ("get_weather", {"city": "Oslo"})
NOW: Call = ("clock", {})
WRITTEN: dict[str, tuple[str, list[Call]]] = {
    "bare JSON": ('{"name": "get_weather", "arguments": {"city": "Oslo"}}', [OSLO]),
    "fenced JSON": ('```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```', [OSLO]),
    "fenced without a language": ('```\n{"tool": "get_weather", "input": {"city": "Oslo"}}\n```', [OSLO]),
    "a fence that is not closed": ('```json\n{"name": "clock", "args": {}}\n', [NOW]),
    "other names of the keys": ('{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}', [OSLO]),
    "arguments as a string": ('{"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}', [OSLO]),
    "a sequence": ('{"name": "clock", "arguments": {}}\n{"name": "clock", "arguments": {}}', [NOW, NOW]),
    "a sequence on one line": ('{"name": "clock", "arguments": {}}, {"name": "clock", "arguments": {}}', [NOW, NOW]),
    "an array": ('[{"name": "clock", "arguments": {}},\n {"name": "clock", "arguments": null}]', [NOW, NOW]),
    "an envelope": (
        '{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]}',
        [NOW],
    ),
    "an old envelope": ('{"function_call": {"name": "clock", "arguments": {}}}', [NOW]),
    "Python's quotes": ("{'name': 'get_weather', 'arguments': {'city': 'Oslo',},}", [OSLO]),
    "keys without quotes": ('{name: "get_weather", arguments: {city: "Oslo"}}', [OSLO]),
    "a template's braces": ('{{"name": "clock", "arguments": {}}}', [NOW]),
    "a line break in a string": (
        '{"name": "write_file", "arguments": {"path": "a", "content": "1\n\n2"}}',
        [("write_file", {"path": "a", "content": "1\n\n2"})],
    ),
    "Hermes": ('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>', [OSLO]),
    "Hermes twice": (
        (
            '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>\n'
            '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
        ),
        [NOW, OSLO],
    ),
    "Hermes without its end": ('<tool_call>{"name": "clock", "arguments": {}}', [NOW]),
    "Hermes with a brace too few": ('<tool_call>{"name": "clock", "arguments": {}</tool_call>', [NOW]),
    "Hermes with a brace too many": ('<tool_call>{"name": "clock", "arguments": {}}}\n</tool_call>', [NOW]),
    "Hermes without arguments": ('<tool_call>{"name": "clock"}</tool_call>', [NOW]),
    "Hermes around call syntax": ('<tool_call>get_weather(city="Oslo")</tool_call>', [OSLO]),
    "Hermes behind a word": ('I look:<tool_call>{"name": "clock", "arguments": {}}</tool_call>', [NOW]),
    "Qwen Coder": (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
        [OSLO],
    ),
    "Qwen Coder without its beginning": (
        "<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
        [OSLO],
    ),
    "Qwen Coder with what looks like its own tags": (
        (
            "<function=write_file>\n<parameter=path>\na.html\n</parameter>\n<parameter=content>\n"
            "<p>\n</parameter> is no end, nor is </function> here\n</p>\n</parameter>\n</function>"
        ),
        [("write_file", {"path": "a.html", "content": "<p>\n</parameter> is no end, nor is </function> here\n</p>"})],
    ),
    "Qwen Coder's numbers": (
        (
            "<function=get_weather><parameter=city>7</parameter><parameter=days>3</parameter>"
            '<parameter=metric>True</parameter><parameter=tags>["a"]</parameter></function>'
        ),
        [("get_weather", {"city": "7", "days": 3, "metric": True, "tags": ["a"]})],
    ),
    "Llama's function tag": ('<function=get_weather>{"city": "Oslo"}</function>', [OSLO]),
    "Llama's python tag": (
        (
            '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Oslo"}}; '
            '{"name": "clock", "parameters": {}}<|eom_id|>'
        ),
        [OSLO, NOW],
    ),
    "Llama's list": ('[get_weather(city="Oslo"), clock()]', [OSLO, NOW]),
    "Mistral": ('[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Oslo"}}]', [OSLO]),
    "Mistral's later form": (
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]clock[CALL_ID]8zhBq3RqX[ARGS]{}',
        [OSLO, NOW],
    ),
    "Mistral without marks between": ('[TOOL_CALLS]get_weather{"city": "Oslo"}', [OSLO]),
    "GLM": (
        (
            "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
            "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>"
        ),
        [("get_weather", {"city": "Oslo", "days": 3})],
    ),
    "Kimi": (
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
            '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>'
        ),
        [OSLO],
    ),
    "DeepSeek V3": (
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
            '```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
        ),
        [OSLO],
    ),
    "DeepSeek V3.1": (
        (
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Oslo"}'
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        [OSLO],
    ),
    "gpt-oss": (
        (
            "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json"
            '<|message|>{"city":"Oslo"}<|call|>'
        ),
        [OSLO],
    ),
    "Anthropic-like": (
        (
            '<function_calls>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n</invoke>\n'
            '<invoke name="clock">\n</invoke>\n</function_calls>'
        ),
        [OSLO, NOW],
    ),
    "the tool's own tag": ("<get_weather><city>Oslo</city></get_weather>", [OSLO]),
    "the tool's own tag around JSON": ('<get_weather>{"city": "Oslo"}</get_weather>', [OSLO]),
    "the tool's own tag with attributes": (
        '<get_weather city="Oslo &amp; Bergen" days="2"/>',
        [("get_weather", {"city": "Oslo & Bergen", "days": 2})],
    ),
    "nested tags": ('<tools><function name="get_weather" arguments=\'{"city": "Oslo"}\'/></tools>', [OSLO]),
    "call syntax on its own line": ("get_weather(city='Oslo')", [OSLO]),
    "Gemini": ('```tool_code\nprint(default_api.get_weather(city="Oslo"))\n```', [OSLO]),
    "Gemini on its own line": (
        'print(default_api.get_weather(city="Oslo", metric=True))',
        [("get_weather", {"city": "Oslo", "metric": True})],
    ),
    "three quotes": (
        'write_file(path="a", content="""x = "1"\ny""")',
        [("write_file", {"path": "a", "content": 'x = "1"\ny'})],
    ),
    "a namespace": ('{"name": "functions.clock", "arguments": {}}', [NOW]),
}


def decoded(found: Sequence[tuple[str, str]]) -> list[tuple[str, object]]:
    return [(name, json.loads(given)) for name, given in found]


@pytest.mark.parametrize("size", [0, 1, 3, 16])
@pytest.mark.parametrize("form", WRITTEN)
def test_a_written_call_becomes_a_call(form: str, size: int) -> None:
    written, expected = WRITTEN[form]
    got = mended("tool_call_text", f"I will look.\n\n{written}", size=size)
    assert decoded(calls(got)) == expected
    assert text(got).startswith("I will look.\n\n")
    assert text(got).removeprefix("I will look.\n\n") in ("", "I look:")
    assert got.stop is Stop.TOOL_USE


@pytest.mark.parametrize("form", WRITTEN)
def test_what_follows_a_call_is_text_again(form: str) -> None:
    written, expected = WRITTEN[form]
    got = mended("tool_call_text", f"{written}\n\nThat was it.", size=1)
    if form == "a fence that is not closed":
        assert got.parts == (Text(text=f"{written}\n\nThat was it."),)
    else:
        assert decoded(calls(got)) == expected
        assert text(got).endswith("That was it.")


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize(
    "around",
    ["For example:\n{}", "```python\n{}\n```", "~~~\nx\n{}\n~~~", "<think>\n{}\n</think>", "It looks like this:\n\n{}"],
)
def test_what_is_only_shown_stays_text(form: str, around: str) -> None:
    written = WRITTEN[form][0]
    shown = answer(around.format(written if "example" in around or "looks" in around else written.replace("```", "")))
    assert mended("tool_call_text", shown).parts == shown.parts
    assert mended("tool_call_text", shown, size=1).parts == shown.parts


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize(
    "request_",
    [
        BARE,
        msgspec.structs.replace(ASKED, tool_choice=ToolChoice.NONE),
        msgspec.structs.replace(ASKED, tools=(Tool(name="another_thing"),)),
    ],
    ids=["none declared", "none allowed", "another declared"],
)
def test_only_declared_tools_are_called(form: str, request_: Request) -> None:
    written = answer(WRITTEN[form][0])
    assert mended("tool_call_text", written, request_).parts == written.parts
    assert mended("tool_call_text", written, request_).stop is Stop.END


def test_a_thought_is_left_alone() -> None:
    thought = Thinking(text=WRITTEN["Hermes"][0])
    assert mended("tool_call_text", answer(thought, "Done.")).parts == (thought, Text(text="Done."))


def test_after_a_thought_calls_are_made() -> None:
    got = mended("tool_call_text", "<think>\n```\nhm\n</think>\n" + WRITTEN["Hermes"][0])
    assert decoded(calls(got)) == [OSLO]


def test_where_json_was_asked_for_it_is_the_answer() -> None:
    wants_json = msgspec.structs.replace(ASKED, output=OutputSchema())
    for form in ("bare JSON", "fenced JSON", "call syntax on its own line"):
        assert not calls(mended("tool_call_text", WRITTEN[form][0], wants_json))
    assert calls(mended("tool_call_text", WRITTEN["Hermes"][0], wants_json))


def test_every_call_has_an_id_of_its_own_and_the_same_each_time() -> None:
    twice = WRITTEN["a sequence"][0]
    first, second = [part.id for part in mended("tool_call_text", twice).parts if isinstance(part, ToolUse)]
    assert first != second
    streamed = mended("tool_call_text", twice, size=1)
    assert [part.id for part in streamed.parts if isinstance(part, ToolUse)] == [first, second]


def test_real_calls_stay_beside_those_that_were_written() -> None:
    real = ToolUse(id="call_1", name="clock", input="{}")
    got = mended("tool_call_text", answer(WRITTEN["Hermes"][0], real, stop=Stop.TOOL_USE))
    assert decoded(calls(got)) == [OSLO, NOW]
    assert got.parts[1] == real


def test_an_example_does_not_speak_for_what_comes_after_it() -> None:
    shown = 'For example:\n```json\n{"name": "clock", "arguments": {}}\n```\n'
    assert not calls(mended("tool_call_text", shown + "or\n" + WRITTEN["fenced JSON"][0]))
    for words in ("Now I do it.\n", "Now\n", "Now: "):
        assert decoded(calls(mended("tool_call_text", shown + words + WRITTEN["Hermes"][0]))) == [OSLO]


def test_a_tool_with_the_name_of_a_mark_can_be_called() -> None:
    tools = msgspec.structs.replace(ASKED, tools=(Tool(name="tool"), CLOCK))
    assert calls(mended("tool_call_text", '<tool>{"name": "tool", "arguments": {}}</tool>', tools)) == [("tool", "{}")]
