"""What looks at a request before anything is sent, one file each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any, NamedTuple

from recloser.breaker import Breakers
from recloser.breaker.reports import report_once
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.events import Event
from recloser.gateway.guards.guard import Guard, Verdict
from recloser.gateway.request import Request
from recloser.gateway.spending import Spending
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
        self._guards = dict(sorted(guards.items(), key=lambda named: named[1].stage))
        self._wall_clock = wall_clock

    @property
    def metering(self) -> bool:
        """Whether one of them has to hear what every answer used."""
        return any(guard.meters for guard in self._guards.values())

    def look(self, request: Request) -> tuple[Request, Sequence[Seen]]:
        """What is to be sent, and what was seen. The last that was seen may be a refusal: nobody looks after it.

        A request that cannot be read goes on as it is: whoever speaks its wire says what is wrong with it. A guard that
        fails is passed over, and that is logged once.
        """
        seen: list[Seen] = []
        now = self._wall_clock()
        for name, guard in self._guards.items():
            try:
                verdict = guard.look(request, now)
            except BadRequestError:
                continue  # others may see what they look for without reading it
            except Exception as fault:  # noqa: BLE001 - a guard may be a stranger's; no request is lost by it
                report_once(guard, f"guard {name}", fault)
                continue
            if verdict is None:
                continue
            seen.append(Seen(name, verdict))
            if verdict.refusal is not None:
                break
            request = verdict.instead or request
        return request, seen

    def circuit_settings(self, circuit: str) -> CircuitSettings | None:
        """What a circuit of a guard is judged by; None if the one of this name belongs to none."""
        found = (guard.circuit_settings(circuit) for guard in self._guards.values())
        return next((settings for settings in found if settings is not None), None)

    def join(self, breakers: Breakers) -> None:
        """Keep the circuits of guards among those of the gateway."""
        for guard in self._guards.values():
            guard.join(breakers)

    def share(self, spending: Spending) -> None:
        """Have guards look at what the whole gateway spent."""
        for guard in self._guards.values():
            guard.share(spending)

    def heard(self, event: Event) -> None:
        """Tell them what happened."""
        for name, guard in self._guards.items():
            try:
                guard.heard(event)
            except Exception as fault:  # noqa: BLE001 - as above
                report_once(guard, f"guard {name}", fault)


@cache
def guard_kinds() -> Offered[type[Guard]]:
    """Every guard there is, by the name of its file or entry point."""
    return offered(__name__, _is_guard)


def made(given: Mapping[str, Any]) -> dict[str, Guard]:
    """The guards that look: those with settings, and the usual ones unless they are given None."""
    kinds = guard_kinds().found
    usual = {name: kind.Settings() for name, kind in kinds.items() if kind.usual}
    wanted = {**usual, **given}
    return {name: kinds[name](settings) for name, settings in wanted.items() if settings is not None}


def _is_guard(plugin: object) -> bool:
    return isinstance(plugin, type) and issubclass(plugin, Guard) and is_dataclass(getattr(plugin, "Settings", None))
