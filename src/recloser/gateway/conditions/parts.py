"""What conditions about the parts of a conversation share. It offers none itself."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from recloser.gateway.canonical import Document, Image, Part, ToolResult
from recloser.gateway.conditions.condition import Condition, yes_or_no
from recloser.gateway.request import Request


class HasPart(Condition):
    """Whether a sort of part is anywhere in the conversation, or (`false`) nowhere."""

    sort: ClassVar[type[Image | Document]]

    def __init__(self, value: Any) -> None:
        self._wanted = yes_or_no(value)

    def holds(self, request: Request) -> bool:
        """Whether there is one, also among what tools answered."""
        said = (part for turn in request.read().turns for part in _flat(turn.parts))
        return any(isinstance(part, self.sort) for part in said) is self._wanted


def _flat(parts: Iterable[Part]) -> Iterator[Part]:
    """All parts; in the place of a tool's result what is in it."""
    for part in parts:
        if isinstance(part, ToolResult):
            yield from part.parts
        else:
            yield part
