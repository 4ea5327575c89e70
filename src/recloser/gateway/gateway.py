"""A gateway as one object: what its requests share."""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from recloser.breaker import Breakers, SystemClock
from recloser.core.circuit import CircuitSettings
from recloser.gateway.settings import GatewaySettings, ProviderSettings
from recloser.gateway.targets import Routes
from recloser.ports import Clock, Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Settings, routes and circuits of a gateway."""

    settings: GatewaySettings
    routes: Routes
    breakers: Breakers
    emit: Emit
    clock: Clock = field(default_factory=SystemClock)
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


def circuit_settings(providers: Mapping[str, ProviderSettings], default: CircuitSettings, name: str) -> CircuitSettings:
    """What the circuit of that name is judged by: its provider's settings, or the default ones."""
    provider = providers.get(name.split("/", 2)[1]) if "/" in name else None
    return provider.circuit if provider is not None else default
