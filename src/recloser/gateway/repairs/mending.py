"""All repairs of one answer, one after another, whether it is streamed or plain."""

from collections.abc import Iterable, Sequence

from recloser.gateway.canonical import Answer, Event, Request
from recloser.gateway.repairs import repair_kinds
from recloser.gateway.repairs.repair import Repair
from recloser.gateway.wires.telling import gathered, told


class Mending:
    """The repairs of an answer, in order: each is given what the one before it makes of it."""

    __slots__ = ("_repairs",)

    def __init__(self, repairs: Sequence[Repair]) -> None:
        self._repairs = tuple(repairs)

    def __bool__(self) -> bool:
        return bool(self._repairs)

    def feed(self, event: Event) -> Iterable[Event]:
        """An event of the answer; gives what is to be told now."""
        events: Iterable[Event] = (event,)
        for repair in self._repairs:
            events = [mended for one in events for mended in repair.feed(one)]
        return events

    def whole(self, answer: Answer) -> Answer:
        """A plain answer."""
        if not self._repairs:
            return answer
        return gathered(mended for event in told(answer) for mended in self.feed(event))


def mending(names: Iterable[str], request: Request) -> Mending:
    """The repairs of these names for the answer to a request: those that have something to mend in it."""
    known = repair_kinds().found
    kinds = [known[name] for name in names if name in known]
    return Mending([kind(request) for kind in kinds if request.tools or not kind.only_with_tools])
