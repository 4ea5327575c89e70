"""A call of a tool as a model writes it: what a finished piece of JSON, or of call syntax, calls."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from recloser.gateway.repairs.declared import Declared
from recloser.gateway.repairs.lenient import call_of, value_of
from recloser.gateway.repairs.scanning import Called
from recloser.gateway.wires.wire import UNREADABLE

NAMES = frozenset({"name", "tool", "tool_name", "function_name"})
INPUTS = frozenset({"arguments", "parameters", "input", "args"})
ENVELOPES = frozenset({"tool_calls", "tool_call", "function_call", "function"})
BESIDE = frozenset({"type", "id", "index", "call_id", "tool_call_id"})
"""Keys that may stand beside a call's own, and say nothing."""
KEYS = NAMES | INPUTS | ENVELOPES | BESIDE

_decode = msgspec.json.Decoder().decode


def calls_in_json(text: str, tools: Declared, *, marked: bool) -> Sequence[Called]:
    """The calls that a piece of JSON is; none if it is anything else, or if one of them is of no declared tool.

    `marked`: the model has said that it calls a tool, so arguments may be missing, and brackets at the end.
    """
    try:
        value = _decode(text)
    except UNREADABLE:
        try:
            value = value_of(text, unclosed=marked)
        except (ValueError, RecursionError):
            return ()
    try:
        return _calls(value, tools, marked=marked) or ()
    except RecursionError:
        return ()


def calls_in_python(text: str, tools: Declared) -> Sequence[Called]:
    """The call that a piece of call syntax is; none if it is anything else."""
    try:
        name, given = call_of(text)
    except (ValueError, RecursionError):
        return ()
    tool, encoded = tools.named(name), encoded_input(given)
    return (Called(tool, encoded),) if tool is not None and encoded is not None else ()


def encoded_input(value: Any) -> str | None:
    """Arguments as JSON text, if they can be written as such."""
    try:
        return msgspec.json.encode(value).decode() if isinstance(value, dict) else None
    except (*UNREADABLE, OverflowError):
        return None


def _calls(value: Any, tools: Declared, *, marked: bool) -> list[Called] | None:
    if isinstance(value, list):
        found = [_calls(one, tools, marked=marked) for one in value if isinstance(one, dict)]
        if len(found) < len(value) or not all(found):
            return None
        return [call for calls in found if calls for call in calls]
    if not isinstance(value, dict):
        return None
    envelopes = [key for key in value if key in ENVELOPES and isinstance(value[key], dict | list)]
    if envelopes:
        rest = value.keys() - set(envelopes) - BESIDE
        return None if len(envelopes) > 1 or rest else _calls(value[envelopes[0]], tools, marked=marked)
    call = _call(value, tools, marked=marked)
    return [call] if call else None


def _call(value: Mapping[str, Any], tools: Declared, *, marked: bool) -> Called | None:
    """One object that names a tool and its arguments, each once, and nothing else."""
    names = [key for key in value if key in NAMES or (key == "function" and isinstance(value[key], str))]
    inputs = [key for key in value if key in INPUTS]
    if len(names) != 1 or len(inputs) > 1 or value.keys() - set(names) - set(inputs) - BESIDE:
        return None
    name = value[names[0]]
    tool = tools.named(name) if isinstance(name, str) else None
    if tool is None or not (inputs or marked):
        return None
    given = input_of(value[inputs[0]]) if inputs else "{}"
    return None if given is None else Called(tool, given)


def input_of(given: Any, *, unclosed: bool = False) -> str | None:
    """Arguments as JSON text; None if they are none. Some models write them as a string of JSON, and none as null."""
    if isinstance(given, str):
        try:
            given = _decode(given) if given.strip() else {}
        except UNREADABLE:
            try:
                given = value_of(given, unclosed=unclosed)
            except (ValueError, RecursionError):
                return None
    return "{}" if given is None else encoded_input(given)


def parameters(pairs: Iterable[tuple[str, Any]]) -> str | None:
    """Arguments that were given one by one; None if one was given twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            return None
        found[name] = value
    return encoded_input(found)
