"""What a guard is: it looks at a request before anything is sent, on whatever wire it came."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from recloser.core.events import Event
from recloser.gateway.request import Request
from recloser.gateway.wires.wire import Refusal


class Action(StrEnum):
    """What is done about what a guard sees. The request is served unless it is refused."""

    WARN = "warn"
    """An event and a header; nothing else changes."""
    HINT = "hint"
    """The model is told as well, at the end of the conversation."""
    TRIM = "trim"
    """Something of the request is left out."""
    REFUSE = "refuse"
    """The client gets an error, and nothing is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a guard has to say of a request."""

    action: Action
    why: str
    """For people: numbers and names of tools, nothing that was said."""
    instead: Request | None = None
    """What is sent in its place (HINT, TRIM)."""
    refusal: Refusal | None = None
    """What the client is told (REFUSE)."""


class Guard(ABC):
    """One guard with its settings, for all requests of a gateway.

    To add one: a file with a class like this, and `offer = TheClass` at its end; or the class by an entry point of the
    group `recloser.guards`. Its name is the file's (the entry point's), which is its key in [guards].
    """

    Settings: ClassVar[type[Any]]
    """A frozen dataclass; its fields are the keys of [guards] NAME."""
    usual: ClassVar[bool] = False
    """Whether it looks, with its default settings, where [guards] does not name it."""

    @abstractmethod
    def __init__(self, settings: Any) -> None: ...

    @abstractmethod
    def look(self, request: Request, now: float) -> Verdict | None:
        """What is wrong with a request, if anything; `now` is in Unix seconds. Must be quick.

        Whoever needs only what the envelope says should look at that first: reading a request takes time.
        """

    def heard(self, event: Event) -> None:  # noqa: B027 - most guards need not hear anything
        """Something happened in the gateway."""
