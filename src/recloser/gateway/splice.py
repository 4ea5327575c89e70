"""Putting another model's name into a request without touching any other byte of it."""

import re

import msgspec

_KEY = re.compile(rb'\s*[{,]\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*')

_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def with_model(body: bytes, old: str, new: str) -> bytes:
    """The same bytes with the top-level `model` changed from `old` to `new`."""
    if old == new:
        return body
    parts = _decode_parts(body)
    name = msgspec.json.encode(new)
    span = _model_span(body, parts)
    if span is None:
        # A key stands there twice, and decoders take the last: so do we, and only the first goes.
        return msgspec.json.encode(parts | {"model": msgspec.Raw(name)})
    start, end = span
    return body[:start] + name + body[end:]


def _model_span(body: bytes, parts: dict[str, msgspec.Raw]) -> tuple[int, int] | None:
    """Where the value of the top-level `model` stands; None if the keys are not what they seem.

    The decoder knows where each value ends but does not tell; it gives the values, though, and adding up their lengths
    leads from key to key without a look at what may be megabytes in between.
    """
    view = memoryview(body)
    place, span = 0, None
    for _ in range(len(parts)):
        key = _KEY.match(body, place)
        if key is None:
            return None
        name = msgspec.json.decode(key[1])
        value = memoryview(parts[name])
        place = key.end() + len(value)
        if view[key.end() : place] != value:
            return None
        if name == "model":
            span = key.end(), place
    return span if body[place:].strip() == b"}" else None
