"""The schemas of the Gemini wire, a dialect of OpenAPI's, as JSON Schema."""

from typing import Any

from recloser.gateway.wires.gemini_codec.shapes import camel

_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_UNKNOWN = frozenset({"propertyOrdering"})


def json_schema(given: dict[str, Any]) -> dict[str, Any]:
    """A schema with types in lower case, counts as numbers, and null as a type."""
    schema: dict[str, Any] = {}
    nullable = False
    for spelling, value in given.items():
        name = camel(spelling)
        match name, value:
            case "type", str():
                schema["type"] = value.lower()
            case "nullable", _:
                nullable = bool(value)
            case "properties", dict():
                schema[name] = {key: _schema(inner) for key, inner in value.items()}
            case "items" | "additionalProperties", dict():
                schema[name] = json_schema(value)
            case "anyOf" | "oneOf" | "allOf" | "prefixItems", list():
                schema[name] = [_schema(inner) for inner in value]
            case "example", _:
                schema["examples"] = [value]
            case counted, str() if counted in _COUNTS and value.isascii() and value.isdigit() and len(value) < 20:
                schema[name] = int(value)
            case unknown, _ if unknown not in _UNKNOWN:
                schema[name] = value
    if schema.get("type") == "type_unspecified":
        del schema["type"]
    if nullable and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    return schema


def _schema(given: Any) -> Any:
    return json_schema(given) if isinstance(given, dict) else given
