"""The usage of a Chat Completions stream, for us alone: the wire tells it only to those who ask.

It is asked for where a spend limit applies and the client did not ask. What comes of it is kept from the client, whose
code may take a chunk without choices for a fault; everything else stays as it is, to the byte.
"""

import re
from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.wires.wire import UNREADABLE

_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_ASKED = b'"stream_options":{"include_usage":true}'


class _Body(msgspec.Struct):
    stream_options: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: Any = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def asking(body: bytes) -> bytes:
    """The request with the wish for the usage; everything else of it stays as it is."""
    given = _decode_body(body).stream_options
    if given is msgspec.UNSET:
        return body.replace(b"{", b"{" + _ASKED + b",", 1)
    try:
        options = msgspec.json.decode(given, type=dict[str, msgspec.Raw] | None) or {}
    except UNREADABLE:  # whoever speaks the wire says what is wrong with it
        return body
    wished = msgspec.Raw(msgspec.json.encode(options | {"include_usage": msgspec.Raw(b"true")}))
    return msgspec.json.encode(_decode_parts(body) | {"stream_options": wished})


def complains_of_it(answer: bytes) -> bool:
    """Whether a target's error is about the wish. Not every server knows such a field."""
    return b"stream_options" in answer or b"include_usage" in answer


def untold(whole: bytes) -> bytes:
    """Whole events of a stream, without the one that tells the usage and nothing else."""
    if not _NO_CHOICES.search(whole):
        return whole
    kept, start = [], 0
    for _, data, length in sse.parse(whole):
        if not _tells_usage_alone(data):
            kept.append(whole[start : start + length])
        start += length
    return b"".join(kept)


def _tells_usage_alone(data: bytes) -> bool:
    if not _NO_CHOICES.search(data):
        return False
    chunk = _decode_chunk(data)
    return not chunk.choices and chunk.usage is not None
