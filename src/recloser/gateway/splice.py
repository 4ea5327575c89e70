"""Putting another model's name into a request without touching any other byte of it."""

import re

import msgspec

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]', re.DOTALL)


class _Named(msgspec.Struct):
    model: str


_decode = msgspec.json.Decoder(_Named).decode


def with_model(body: bytes, old: str, new: str) -> bytes:
    """The same bytes with the top-level `model` changed from `old` to `new`."""
    if old == new:
        return body
    name = msgspec.json.encode(new)
    # Nearly always the first mention is the right one, and asking the decoder is cheaper than scanning.
    mention = re.search(rb'"model"\s*:\s*(' + re.escape(msgspec.json.encode(old)) + rb")", body)
    if mention is not None:
        changed = body[: mention.start(1)] + name + body[mention.end(1) :]
        if _decode(changed).model == new:
            return changed
    start, end = _model_span(body)
    return body[:start] + name + body[end:]


def _model_span(body: bytes) -> tuple[int, int]:
    """Where the value of the top-level `model` stands; of several, the last, which is the one that decoders take."""
    depth, key, span = 0, b"", (0, 0)
    expects_value = False
    for token in _TOKEN.finditer(body):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth != 1:
            continue
        elif text == b":":
            expects_value = True
        elif text == b",":
            expects_value = False
        elif not expects_value:
            key = text
        elif msgspec.json.decode(key) == "model":
            span = token.span()
    return span
