"""How everything stands, as the JSON of `/api/status`."""

from collections.abc import Callable
from typing import Any

from recloser.breaker import CircuitSnapshot
from recloser.gateway.gateway import Gateway
from recloser.observe.hub import rfc3339


def status(gateway: Gateway, *, held: int, store: dict[str, Any]) -> dict[str, Any]:
    """The state of a gateway at one moment."""
    clock = gateway.clock
    ahead = clock.time() - clock.monotonic()
    snapshot = gateway.breakers.snapshot()
    return {
        "circuits": [circuit_facts(c, lambda t: t + ahead) for _, c in sorted(snapshot.circuits.items())],
        "targets": [
            {
                "name": target.label,
                "circuits": list(target.path),
                "admissible": all(gateway.breakers.denial(name) is None for name in target.path),
            }
            for target in _targets(gateway)
        ],
        "routes": [{"model": glob, "targets": list(route.targets)} for glob, route in gateway.routes.routes.items()]
        + [{"profile": name, "targets": list(p.targets)} for name, p in gateway.routes.profiles.items()],
        "agents": [],
        "hold": {"requests": held},
        "store": store,
    }


def _targets(gateway: Gateway) -> list[Any]:
    seen = {}
    for name in (*gateway.routes.routes, *gateway.routes.profiles):
        for target in gateway.routes.targets(name) or ():
            seen[target.label] = target
    return list(seen.values())


def circuit_facts(circuit: CircuitSnapshot, wall: Callable[[float], float]) -> dict[str, Any]:
    """One circuit; `wall` turns its times into Unix time."""
    forever = circuit.open_until is None or circuit.open_until == float("inf")
    return {
        "name": circuit.name,
        "state": circuit.state.value,
        "kind": circuit.last_kind.value if circuit.last_kind else None,
        "failures": circuit.failures,
        "opened_at": None if circuit.opened_at is None else rfc3339(wall(circuit.opened_at)),
        "retry_at": None if forever or circuit.open_until is None else rfc3339(wall(circuit.open_until)),
        "reason": circuit.reason or None,
        "calls": circuit.calls,
        "denied": circuit.denied,
    }
