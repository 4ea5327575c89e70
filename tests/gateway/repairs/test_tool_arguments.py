"""Arguments that are broken, or nearly what the schema wants."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.repairs.told import ASKED, answer, calls, mended

from recloser.gateway.canonical import Grew, Request, Stop, Thinking, Tool, ToolUse
from recloser.gateway.repairs.fitting import fitted
from recloser.gateway.repairs.lenient import value_of
from recloser.gateway.repairs.mending import mending
from recloser.gateway.repairs.tool_arguments import LONGEST_INPUT
from recloser.gateway.wires.telling import told

OSLO = {"city": "Oslo"}


def called(given_: str, request: Request = ASKED, *, stop: Stop = Stop.TOOL_USE, size: int = 0) -> str:
    """The input of a call, mended."""
    name = request.tools[0].name
    whole = answer(ToolUse(id="c", name=name, input=given_), stop=stop)
    ((_, found),) = calls(mended("tool_arguments", whole, request, size))
    return found


DEFINED = {
    "Count": {"type": "integer"},
    "Nest": {"type": "array", "items": {"$ref": "#/$defs/Nest"}},
    "Many": {"anyOf": [{"$ref": "#/$defs/More"}] * 50},
    "More": {"anyOf": [{"$ref": "#/$defs/Many"}, {"$ref": "#/$defs/More"}] * 50},
}
"""Parts of a schema, of which some go round in circles."""


def with_schema(**properties: Any) -> Request:
    """A request whose tool takes these."""
    schema = {"type": "object", "properties": properties, "$defs": DEFINED}
    return msgspec.structs.replace(ASKED, tools=(Tool(name="f", schema=schema),))


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('{"city": "Oslo",}', OSLO),
        ("{'city': 'Oslo'}", OSLO),
        ('{city: "Oslo"}', OSLO),
        ('{{"city": "Oslo"}}', OSLO),
        ('"{\\"city\\": \\"Oslo\\"}"', OSLO),
        ("\"{'city': 'Oslo'}\"", OSLO),
        ('{"city": "Os\nlo"}', {"city": "Os\nlo"}),
        ('{"city": "Oslo"', OSLO),
        ('{"city": "Oslo", "tags": ["a", "b"', {"city": "Oslo", "tags": ["a", "b"]}),
        ('{"city": "Oslo", "metric": True, "x": None}', {"city": "Oslo", "metric": True, "x": None}),
        ('{"city": "Oslo", "days": "3"}', {"city": "Oslo", "days": 3}),
        ('{"city": "Oslo", "metric": "false"}', {"city": "Oslo", "metric": False}),
        ('{"city": "Oslo", "tags": "a"}', {"city": "Oslo", "tags": ["a"]}),
        ('{"city": "Oslo", "tags": "[\\"a\\", \\"b\\"]"}', {"city": "Oslo", "tags": ["a", "b"]}),
    ],
)
def test_what_was_meant_is_told(written: str, meant: dict[str, Any], size: int) -> None:
    assert json.loads(called(written, size=size)) == meant


@pytest.mark.parametrize(
    "written",
    [
        '{"city": "Oslo"}',
        '{ "city" : "Oslo", "days": 3.0, "x": 1.10, "big": 123456789012345678901234567890 }',
        '{"city": "Os',
        '{"city": "Oslo", ',
        '{"city": "Oslo", "days": ',
        '{"city": "Oslo", "days": 1',
        '{"city": "Oslo", "tags": [',
        '{"days": 3',
        '{"city": 7}',
        '{"city": "Oslo", "days": "three"}',
        '{"city": "Oslo", "days": "3.5"}',
        '{"city": "Oslo", "metric": "yes"}',
        '{"city": "Oslo", "city": "Bergen",}',
        '{"city": "Oslo"} and more',
        '{"city": oslo}',
        "Oslo",
        '"Oslo"',
        "[1,]",
        "{'city': 'it's'}",
        '{"city": 1e999,}',
        '{"city": "\\ud800",}',
        '{"a":' * 200,
        "[" * 5000,
    ],
)
def test_what_is_in_doubt_or_in_order_stays_as_it_was_written(written: str) -> None:
    assert called(written) == written
    assert called(written, size=3) == written


def test_an_answer_that_was_cut_off_is_not_made_whole() -> None:
    written = '{"city": "Oslo"'
    assert called(written, stop=Stop.LENGTH, size=1) == written
    cut = answer(ToolUse(id="c", name="get_weather", input=written), Thinking(text="x"), stop=Stop.LENGTH)
    assert calls(mended("tool_arguments", cut)) == [("get_weather", '{"city":"Oslo"}')]  # something came after it


@pytest.mark.parametrize(
    ("schema", "value", "fit"),
    [
        ({"type": ["integer", "null"]}, "3", 3),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "3", 3),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "3", "3"),
        ({"type": ["integer", "string"]}, "3", "3"),
        ({"$ref": "#/$defs/Count"}, "3", 3),
        ({"$ref": "https://example.com/schema"}, "3", "3"),
        ({"$ref": "#/properties/p"}, "3", "3"),
        ({"type": "number"}, "-0.5e1", -5.0),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "integer"}, "9" * 30, "9" * 30),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, '{"n": "1"}', {"n": 1}),
        ({"type": "array", "items": {"type": "integer"}}, ["1", 2], [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, "1", [1]),
        ({"type": "array", "items": {"type": "integer"}}, "one", "one"),
        ({"type": "array"}, {"a": 1}, [{"a": 1}]),
        ({"type": "array", "items": {"type": "string"}}, None, None),
        ({"type": "boolean"}, 1, 1),
        ({"not": {"type": "string"}, "type": "integer"}, "3", "3"),
        (True, "3", "3"),
        ("nonsense", "3", "3"),
        ({"type": 3}, "3", "3"),
        ({"$ref": "#/$defs/Nest"}, "x", "x"),
        ({"$ref": "#/$defs/Many"}, "3", "3"),
        ({}, "3", "3"),
    ],
)
def test_a_value_is_turned_only_where_the_schema_takes_no_other(schema: Any, value: Any, fit: Any) -> None:
    request = with_schema(p=schema)
    assert json.loads(called(json.dumps({"p": value}), request)) == {"p": fit}


def test_a_call_of_an_unknown_tool_is_left_alone() -> None:
    unknown = answer(ToolUse(id="c", name="other", input="{'a': 1}"))
    assert mended("tool_arguments", unknown).parts == unknown.parts


def test_what_is_very_long_passes_as_it_is() -> None:
    long = "{'city': '" + "x" * LONGEST_INPUT + "'}"
    assert called(long, size=5000) == long


def test_a_signature_comes_through() -> None:
    repairs = mending(["tool_arguments"], ASKED)
    whole = list(told(answer(ToolUse(id="c", name="clock", input="{'a': 1}"))))
    whole.insert(2, Grew(index=0, text="", signature="s"))
    grown = [one for event in whole for one in repairs.feed(event) if isinstance(one, Grew)]
    assert [(one.text, one.signature) for one in grown] == [("", "s"), ('{"a":1}', "")]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
def test_the_lenient_reader_reads_all_json(value: Any) -> None:
    for ascii_ in (True, False):
        assert value_of(json.dumps(value, ensure_ascii=ascii_)) == value


PYTHON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("abc' \"\n\\é", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(value=PYTHON)
def test_the_lenient_reader_reads_pythons_literals(value: Any) -> None:
    assert value_of(repr(value)) == value


@given(value=st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_a_schema_without_a_word_changes_nothing(value: Any) -> None:
    assert fitted(value, {}) is value
    assert fitted(value, {"type": "object", "properties": {name: {} for name in value}}) is value


@given(value=JSON, end=st.integers(0, 200))
def test_what_is_made_whole_differs_in_brackets_alone(value: Any, end: int) -> None:
    whole = json.dumps({"a": value})
    cut = whole[:end]
    try:
        read = value_of(cut, unclosed=True)
    except ValueError:
        return
    assert json.dumps(read).startswith(cut.rstrip())
