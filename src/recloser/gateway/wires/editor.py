"""A request changed in a few places on its own wire; everything else stays as the client wrote it.

For what the gateway adds by itself: a guard's hint, a trimmed result, the rest of an answer that broke off. A request
that nobody changes is never decoded for this.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

Fields = dict[str, Any]
Speaker = Literal["user", "assistant"]
Result = Callable[[str], None]
"""Puts a text in the place of what a tool gave."""


class Editor(ABC):
    """Changes one request. What it is given has been read as a request of this wire before."""

    __slots__ = ("fields",)

    def __init__(self, body: bytes) -> None:
        self.fields: Fields = msgspec.json.decode(body, type=dict)

    def body(self) -> bytes:
        """The request as it is now."""
        return msgspec.json.encode(self.fields)

    @abstractmethod
    def say(self, speaker: Speaker, text: str) -> None:
        """Add words at the end: to the last turn if it is the same speaker's, else as a turn of their own."""

    @abstractmethod
    def think_no_more(self) -> None:
        """Ask for no thoughts, where the wire asks for them."""

    @abstractmethod
    def answer_in_any_form(self) -> None:
        """Ask for no form of the answer, such as a JSON schema. What goes on in the middle of one has none."""

    @abstractmethod
    def must_call(self, tool: str) -> None:
        """Have the model call this tool, once."""

    @abstractmethod
    def without_tool(self, tool: str) -> None:
        """Take a tool from those that the model may call. One that it must call is none that it must call any more."""

    @abstractmethod
    def results(self) -> Sequence["Result"]:
        """The tools' results of the whole conversation, in order: as many as the canonical form has."""


def in_place(holder: Fields, name: str) -> Result:
    """A result that is a field of something."""

    def put(text: str) -> None:
        holder[name] = text

    return put


def inside(holder: Fields, *names: str) -> Fields:
    """An object within objects, by the names that lead to it; an empty one where something else stands."""
    for name in names:
        found = holder.get(name)
        if not isinstance(found, dict):
            return {}
        holder = found
    return holder
