"""What a condition is: it holds for a request, or it does not."""

from abc import ABC, abstractmethod
from typing import Any

from recloser.gateway.request import Request


class Condition(ABC):
    """One condition of a route, with the value that its key in `when` has.

    To add one: a file with a class like this, and `offer = TheClass` at its end; or the class by an entry point of the
    group `recloser.conditions`. Its name is the file's (the entry point's), which is its key in `when`.
    """

    @abstractmethod
    def __init__(self, value: Any) -> None:
        """`value` is what stands in the configuration; ValueError that says what it must be."""

    @abstractmethod
    def holds(self, request: Request) -> bool:
        """Whether it holds for a request. Must be quick."""


def yes_or_no(value: Any) -> bool:
    """The value of a condition that holds or does not; ValueError if it is neither `true` nor `false`."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")  # noqa: TRY004 - what is wrong is the value
    return value
