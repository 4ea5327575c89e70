"""What a repair is: it mends an answer on its way, as events in no vendor's words."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from recloser.gateway.canonical import Event, Request


class Repair(ABC):
    """Mends one answer. Made anew for each, plain or streamed.

    What need not be held back flows: a repair keeps only what may turn out to be something else. The events that it
    gives obey the rules of a stream (`canonical.Event`) as those that it takes do: parts are numbered from 0 in the
    order in which they begin.

    To add one: a file with a class like this, and `offer = TheClass` at its end; or the class by an entry point of the
    group `recloser.repairs`. Its name is the file's (the entry point's), as a provider's `repairs` lists it.
    """

    only_with_tools: ClassVar[bool] = False
    """Whether there is nothing to mend in the answer to a request that declares no tools."""

    @abstractmethod
    def __init__(self, request: Request) -> None:
        """`request` is what the answer answers: its tools are the only ones there are."""

    @abstractmethod
    def feed(self, event: Event) -> Iterable[Event]:
        """An event of the answer; gives what is to be told now. The last is `Ended`, unless the answer breaks off."""
