"""A gateway as one object: what its requests share."""

import itertools
import secrets
from dataclasses import dataclass, field

from recloser.breaker import Breakers, SystemClock
from recloser.gateway.guards import Guards
from recloser.gateway.resuming.resumption import Refusals
from recloser.gateway.settings import GatewaySettings
from recloser.gateway.spending import Spending
from recloser.gateway.targets import Routes
from recloser.gateway.traffic import Traffic
from recloser.ports import Clock, Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Settings, routes and circuits of a gateway."""

    settings: GatewaySettings
    routes: Routes
    breakers: Breakers
    emit: Emit
    clock: Clock = field(default_factory=SystemClock)
    refusals: Refusals = field(default_factory=Refusals)
    """Who does not go on with an answer from a turn of its own."""
    traffic: Traffic = field(default_factory=Traffic)
    """What goes on at the providers."""
    spending: Spending = field(default_factory=lambda: Spending(SystemClock().time))
    """What was spent."""
    guards: Guards = field(default_factory=lambda: Guards({}, SystemClock().time))
    _prefix: str = field(default_factory=lambda: secrets.token_hex(4))
    _count: "itertools.count[int]" = field(default_factory=itertools.count)

    def request_id(self) -> str:
        """A name for the next request, unlike that of any other."""
        return f"req_{self._prefix}{next(self._count):08x}"

    @property
    def ready(self) -> bool:
        """Whether some route has an admissible target right now."""
        return any(
            all(self.breakers.denial(circuit) is None for circuit in target.path)
            for _, targets in self.routes.listed()
            for target in targets
        )
