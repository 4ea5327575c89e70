"""Brings a value into the shape that a JSON Schema wants, where there is one way to do so and no doubt.

A number or a boolean in quotes where none but a number or a boolean is taken; an array or an object written as a
string; a single value where an array of such is wanted. Everything else stays what it is: the tool says what it misses.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from recloser.gateway.wires.wire import UNREADABLE

Schema = Mapping[str, Any]
DEEPEST = 32
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?(?:[eE][+-]?\d{1,2})?")
_BOOLEANS = {"true": True, "false": False, "True": True, "False": False}
_decode = msgspec.json.Decoder(strict=True).decode


def fitted(value: Any, schema: Schema) -> Any:
    """The value as the schema wants it, or the same object if nothing had to change."""
    return _Fitting(schema).fit(value, schema, DEEPEST)


def from_text(text: str, parameter: str, root: Schema) -> Any:
    """The value of a parameter of an input, written as bare text as XML-like calls do."""
    properties = root.get("properties")
    schema = properties.get(parameter) if isinstance(properties, dict) else None
    fitting = _Fitting(root)
    types = fitting.types(schema)
    if types is None or "string" in types:
        return text
    bare = text.strip()
    if "null" in types and bare in ("null", "None"):
        return None
    value = fitting.fit(bare, schema, DEEPEST)
    return text if value == bare else value


class _Fitting:
    """A schema, whose parts may refer to one another; what is found out of a part is found out once."""

    __slots__ = ("_known", "_root")

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._known: dict[int, frozenset[str] | None] = {}
        """The types that a part takes, by the part's identity."""

    def fit(self, value: Any, schema: Any, depth: int) -> Any:
        """The value as a part of the schema wants it; the same object if nothing had to change."""
        schema = self._resolved(schema)
        if depth <= 0 or not schema:
            return value
        types = self.types(schema)
        if types is not None and not types & _types_of(value):
            value = self._turned(value, types, schema, depth)
        if isinstance(value, dict):
            return self._fit_object(value, schema.get("properties"), depth)
        if isinstance(value, list) and isinstance(schema.get("items"), dict):
            fit = [self.fit(item, schema["items"], depth - 1) for item in value]
            return value if all(a is b for a, b in zip(fit, value, strict=True)) else fit
        return value

    def types(self, schema: Any, depth: int = DEEPEST) -> frozenset[str] | None:
        """The types that a part takes; None where it does not say, or says it in a way that is not read."""
        schema = self._resolved(schema)
        key = id(schema)
        if key not in self._known:
            self._known[key] = None  # whoever refers to itself does not say
            self._known[key] = self._types(schema, depth) if depth > 0 else None
        return self._known[key]

    def _types(self, schema: Schema, depth: int) -> frozenset[str] | None:
        if "allOf" in schema or "not" in schema:
            return None
        for word in ("anyOf", "oneOf"):
            if isinstance(given := schema.get(word), list):
                found = [self.types(one, depth - 1) for one in given]
                return None if None in found else frozenset().union(*(one for one in found if one))
        given = schema.get("type")
        if isinstance(given, str):
            return frozenset({given})
        if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
            return frozenset(given)
        return None

    def _fit_object(self, value: dict[str, Any], properties: Any, depth: int) -> dict[str, Any]:
        if not isinstance(properties, dict):
            return value
        fit = {
            key: self.fit(inner, properties[key], depth - 1) if key in properties else inner
            for key, inner in value.items()
        }
        return value if all(fit[key] is inner for key, inner in value.items()) else fit

    def _turned(self, value: Any, types: frozenset[str], schema: Schema, depth: int) -> Any:
        """A value of a type that is not taken, as one that is; the same if none is meant for sure."""
        if isinstance(value, str):
            for name, read in _READERS:
                if name in types and (found := read(value)) is not None:
                    return found
        if types == frozenset({"array"}) and value is not None and not isinstance(value, list):
            alone = self.fit(value, schema.get("items"), depth - 1)
            wanted = self.types(schema.get("items"))
            if wanted is None or wanted & _types_of(alone):
                return [alone]
        return value

    def _resolved(self, schema: Any) -> Schema:
        """A part in the place of a reference to it; an empty one for what is none."""
        for _ in range(DEEPEST):
            if not isinstance(schema, dict):
                return _NOTHING
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                return schema
            if not reference.startswith("#/"):
                return _NOTHING
            schema = _at(self._root, reference[2:].split("/"))
        return _NOTHING


_NOTHING: Schema = {}


def _boolean(text: str) -> bool | None:
    return _BOOLEANS.get(text.strip())


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text.strip()) else None


def _number(text: str) -> float | int | None:
    whole = _integer(text)
    return whole if whole is not None else float(text) if _NUMBER.fullmatch(text.strip()) else None


def _json_of(kind: type[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = _decode(text)
        except UNREADABLE:
            return None
        return value if isinstance(value, kind) else None

    return read


_READERS: Sequence[tuple[str, Callable[[str], Any]]] = (
    ("boolean", _boolean),
    ("integer", _integer),
    ("number", _number),
    ("array", _json_of(list)),
    ("object", _json_of(dict)),
)


def _at(root: Any, path: Sequence[str]) -> Any:
    for step in path:
        root = root.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(root, dict) else None
    return root


def _types_of(value: Any) -> frozenset[str]:
    match value:
        case bool():
            return frozenset({"boolean"})
        case int():
            return frozenset({"integer", "number"})
        case float():
            return frozenset({"number", "integer"} if value.is_integer() else {"number"})
        case str():
            return frozenset({"string"})
        case list():
            return frozenset({"array"})
        case dict():
            return frozenset({"object"})
        case None:
            return frozenset({"null"})
    return frozenset()
