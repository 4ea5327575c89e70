"""What can be seen of a conversation without reading all of it: long ones come again with every step of an agent.

What a message holds is told by signs in its raw JSON. In a text they would have a backslash before their last quote.
"""

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

import msgspec

from recloser.gateway.canonical import Turn
from recloser.gateway.request import Request
from recloser.gateway.wires import CODECS
from recloser.gateway.wires.wire import read_request

MOST_READ = 30
"""Messages that are read one by one, before it is quicker to read them all."""


class _Signs(NamedTuple):
    """How a wire says things."""

    field: str
    """Where the conversation stands."""
    call: tuple[bytes, ...]
    """What stands in every call of a tool."""
    result: tuple[bytes, ...]
    """What stands in every result."""
    user: Callable[[bytes], bool]
    """Whether a message may be the user's."""
    words_beside: bool
    """Whether words may stand beside a result in one message."""


_SIGNS = {
    "anthropic": _Signs("messages", (b'"tool_use"',), (b'"tool_result"',), lambda raw: b'"user"' in raw, True),
    "openai-chat": _Signs(
        "messages", (b'"arguments"', b'"custom"'), (b'"tool_call_id"',), lambda raw: b'"user"' in raw, False
    ),
    "openai-responses": _Signs("input", (b'_call"',), (b'_output"',), lambda raw: b'"user"' in raw, False),
    "gemini": _Signs(
        "contents",
        (b'"functionCall"', b'"function_call"'),
        (b'"functionResponse"', b'"function_response"'),
        lambda raw: b'"model"' not in raw,
        True,
    ),
}
_Items = list[msgspec.Raw] | dict[str, msgspec.Raw] | str | None


class _Conversation(msgspec.Struct):
    messages: _Items = None
    input: _Items = None
    contents: _Items = None


_decode_conversation = msgspec.json.Decoder(_Conversation).decode


class Outline(NamedTuple):
    """About how many calls there are: as many as the request has, or more."""

    calls: int
    last: int
    """Those of the last step."""


def last_turns(request: Request, count: int) -> tuple[Turn, ...]:
    """The turns in the last so many messages.

    Empty where the wire is not known, or the conversation is no list. BadRequestError if that is nothing to be read.
    """
    signs = _SIGNS.get(request.wire.name)
    return _read(request, signs.field, _items(request, signs)[-count:]) if signs else ()


def calls_at_most(request: Request) -> float:
    """As many calls of tools as there are in the whole request, or more."""
    signs = _SIGNS.get(request.wire.name)
    return inf if signs is None else sum(map(request.body.count, signs.call))


def outlined(request: Request, ends: Callable[[Turn], bool] | None) -> Outline | None:
    """The outline of the last turns, back to one that `ends` them; None if only reading everything can tell."""
    signs = _SIGNS.get(request.wire.name)
    if signs is None:
        return None
    if ends is None:
        return Outline(sum(map(request.body.count, signs.call)), _last(_items(request, signs), signs))
    items = _items(request, signs)
    calls = read = 0
    for place in range(len(items) - 1, -1, -1):
        raw = bytes(items[place])
        found = sum(map(raw.count, signs.call))
        calls += found
        if found or not signs.user(raw) or _is_result(raw, signs):
            continue
        read += 1
        if read > MOST_READ:
            return None
        turns = _read(request, signs.field, items[max(0, place - 1) : place + 1])  # it may go on from the one before
        if turns and ends(turns[-1]):
            break
    return Outline(calls, _last(items, signs))


def _last(items: list[msgspec.Raw], signs: _Signs) -> int:
    """The calls in the last messages that have any."""
    last = 0
    for item in reversed(items):
        found = sum(map(bytes(item).count, signs.call))
        if last and not found:
            break
        last += found
    return last


def _is_result(raw: bytes, signs: _Signs) -> bool:
    """Whether a message holds results and no words beside them."""
    return any(sign in raw for sign in signs.result) and not (signs.words_beside and b'"text"' in raw)


def _items(request: Request, signs: _Signs) -> list[msgspec.Raw]:
    given = getattr(read_request(_decode_conversation, request.body), signs.field)
    return given if isinstance(given, list) else []


def _read(request: Request, field: str, items: list[msgspec.Raw]) -> tuple[Turn, ...]:
    few: dict[str, Any] = {"model": "m", "max_tokens": 1, field: items}
    return CODECS[request.wire.name].read_request(msgspec.json.encode(few), "m").turns
