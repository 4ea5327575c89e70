"""What looks at a request before anything is sent, one file each."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from recloser.core.events import Event
from recloser.gateway.guards.guard import Guard, Verdict
from recloser.gateway.request import Request
from recloser.gateway.wires.wire import BadRequestError
from recloser.plugins import Offered, offered


class Seen(NamedTuple):
    """What a guard has seen in a request."""

    guard: str
    verdict: Verdict


class Guards:
    """All guards of a gateway."""

    __slots__ = ("_guards", "_wall_clock")

    def __init__(self, guards: Mapping[str, Guard], wall_clock: Callable[[], float]) -> None:
        self._guards = dict(guards)
        self._wall_clock = wall_clock

    def look(self, request: Request) -> tuple[Request, Sequence[Seen]]:
        """What is to be sent, and what was seen. The last that was seen may be a refusal: nobody looks after it.

        A request that cannot be read goes on as it is: whoever speaks its wire says what is wrong with it.
        """
        seen: list[Seen] = []
        now = self._wall_clock()
        for name, guard in self._guards.items():
            try:
                verdict = guard.look(request, now)
            except BadRequestError:
                break
            if verdict is None:
                continue
            seen.append(Seen(name, verdict))
            if verdict.refusal is not None:
                break
            request = verdict.instead or request
        return request, seen

    def heard(self, event: Event) -> None:
        """Tell them what happened."""
        for guard in self._guards.values():
            guard.heard(event)


@cache
def guard_kinds() -> Offered[type[Guard]]:
    """Every guard there is, by the name of its file or entry point."""
    return offered(__name__, lambda plugin: isinstance(plugin, type) and issubclass(plugin, Guard))
