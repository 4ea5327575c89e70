"""What a guard is: it looks at a request before anything is sent, on whatever wire it came."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

from recloser.breaker import Breakers
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.events import Event
from recloser.gateway.request import Request
from recloser.gateway.settings import ProviderSettings
from recloser.gateway.spending import Spending
from recloser.gateway.wires.wire import Refusal

HINT = "[recloser] "
"""What a hint begins with: a model is told by whom, and no guard takes it for words of the user."""


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


class Stage(IntEnum):
    """When a guard looks. Those of one stage look in the order of [guards]."""

    ASKED = 1
    """At the conversation as the client sent it."""
    TRIMMED = 2
    """It leaves something out of the conversation."""
    SENT = 3
    """At what is left to be sent."""


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
    retry_after: float | None = None
    """When it may come again, in seconds, if that is known (REFUSE)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers of the answer (REFUSE)."""


class Guard(ABC):
    """One guard with its settings, for all requests of a gateway.

    To add one: a file with a class like this, and `offer = TheClass` at its end; or the class by an entry point of the
    group `recloser.guards`. Its name is the file's (the entry point's), which is its key in [guards].
    """

    Settings: ClassVar[type[Any]]
    """A frozen dataclass; its fields are the keys of [guards] NAME."""
    usual: ClassVar[bool] = False
    """Whether it looks, with its default settings, where [guards] does not name it."""
    stage: ClassVar[Stage] = Stage.ASKED
    meters: ClassVar[bool] = False
    """Whether it has to hear what every answer used: targets are asked to tell, also where the client did not ask."""

    @abstractmethod
    def __init__(self, settings: Any) -> None: ...

    @abstractmethod
    def look(self, request: Request, now: float) -> Verdict | None:
        """What is wrong with a request, if anything; `now` is in Unix seconds. Must be quick.

        Whoever needs only what the envelope says should look at that first: reading a request takes time.
        """

    @classmethod
    def contradiction(cls, settings: Any, providers: Mapping[str, ProviderSettings]) -> str | None:  # noqa: ARG003
        """Why it would never see anything with such settings and providers, for whoever configured it; or None."""
        return None

    def circuit_settings(self, circuit: str) -> CircuitSettings | None:  # noqa: ARG002 - most have no circuits
        """What a circuit of its own is judged by; None if the one of this name is none of its."""
        return None

    def join(self, breakers: Breakers) -> None:  # noqa: B027 - as above
        """Keep its circuits among those of the gateway, where they are shown and outlive the process."""

    def share(self, spending: Spending) -> None:  # noqa: B027 - as above
        """Look at what the whole gateway spent, which hears by itself what happens."""

    def heard(self, event: Event) -> None:  # noqa: B027 - most guards need not hear anything
        """Something happened in the gateway."""


def verdict(request: Request, action: Action, why: str, *, kind: str, hint: str = "") -> Verdict:
    """What follows from an action: the model is told the hint, or the client that it was refused, with a 400."""
    match action:
        case Action.HINT:
            # at the end, where it costs no provider's cache anything
            told = request.edited(lambda editor: editor.say("user", HINT + hint))
            return Verdict(action=action, why=why, instead=told)
        case Action.REFUSE:
            return Verdict(action=action, why=why, refusal=Refusal(400, kind, why))
    return Verdict(action=Action.WARN, why=why)
