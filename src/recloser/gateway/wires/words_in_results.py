"""Requests for models whose users may not speak right after a tool."""

import msgspec

from recloser.gateway.canonical import Document, Image, Part, Request, Role, Text, ToolResult, Turn

_NOTE = "A note from the user:\n"


def with_words_in_results(request: Request) -> Request:
    """The same request; what a user says beside a tool's result stands in that result, marked as the user's words."""
    turns = tuple(map(_moved, request.turns))
    return msgspec.structs.replace(request, turns=turns)


def _moved(turn: Turn) -> Turn:
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    beside = tuple(part for part in turn.parts if isinstance(part, Text | Image | Document))
    if turn.role is not Role.USER or not results or not beside:
        return turn
    *others, last = results
    noted = tuple(Text(text=_NOTE + part.text) if isinstance(part, Text) else part for part in beside)
    parts: tuple[Part, ...] = (*others, msgspec.structs.replace(last, parts=(*last.parts, *noted)))
    return msgspec.structs.replace(turn, parts=parts)
