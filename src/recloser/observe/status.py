"""How everything stands, as the JSON of `/api/status`."""

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from math import isinf
from typing import Any, Protocol

from recloser.core.circuit_state import CircuitState, Denied
from recloser.core.failure import FailureKind
from recloser.core.period import EVERY, period
from recloser.core.route import CircuitPath, circuit_path
from recloser.gateway.gateway import Gateway
from recloser.gateway.settings import RouteSettings
from recloser.gateway.spending import ALL, NANO, Spending
from recloser.observe.hub import rfc3339
from recloser.observe.redact import redacted

_MOST_MODELS = 200
"""Of the model names that clients asked a glob for, so many are listed as targets."""
_MOST_SCOPES = 200
"""Of the keys, agents and providers that something was spent for, so many are listed: those who spent most."""


class Standing(Protocol):
    """What is known of a circuit, whether it lives here or lies in a store."""

    @property
    def state(self) -> CircuitState: ...  # noqa: D102
    @property
    def failures(self) -> int: ...  # noqa: D102
    @property
    def last_kind(self) -> FailureKind | None: ...  # noqa: D102
    @property
    def opened_at(self) -> float | None: ...  # noqa: D102
    @property
    def open_until(self) -> float | None: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


def status(gateway: Gateway, *, held: int, store: dict[str, Any]) -> dict[str, Any]:
    """The state of a gateway at one moment."""
    wall = gateway.clock.time()
    ahead = wall - gateway.clock.monotonic()
    snapshot = gateway.breakers.snapshot()
    facts: dict[str, Any] = redacted({
        "circuits": [
            {**circuit_facts(name, c, lambda t: t + ahead, wall), "calls": c.admitted}
            for name, c in sorted(snapshot.circuits.items())
        ],
        "targets": [
            target_facts(label, path, gateway.breakers.denial, wall)
            for label, path in _targets(gateway, snapshot.circuits).items()
        ],
        "routes": [_route_facts(name, route) for name, route in gateway.routes.routes.items()]
        + [{"profile": name, "targets": list(p.names)} for name, p in gateway.routes.profiles.items()],
        "agents": [],
        "spend": spend_facts(gateway.spending, wall),
        "hold": {"requests": held, "max_hold_s": gateway.settings.max_hold},
        "store": store,
    })  # fmt: skip
    return facts


def _route_facts(name: str, route: RouteSettings) -> dict[str, Any]:
    """A route: the glob it takes, its targets, and what its requests must fulfil."""
    facts: dict[str, Any] = {"model": route.glob(name), "targets": list(route.names)}
    return facts | ({"when": dict(route.when)} if route.when else {})


def spend_facts(spending: Spending, now: float) -> dict[str, Any]:
    """What was spent today and this month (UTC): in all, and by provider, client key and agent."""
    facts: dict[str, Any] = {}
    for per in EVERY:
        spent = spending.scopes(per)
        most = sorted((scope for scope in spent if scope != ALL), key=lambda scope: -spent[scope])[:_MOST_SCOPES]
        facts[per] = {
            "period": period(per, now),
            "usd": spent.get(ALL, 0) / NANO,
            "by": {scope: spent[scope] / NANO for scope in most},
        }
    return facts


def circuit_facts(name: str, circuit: Standing, wall: Callable[[float], float], now: float) -> dict[str, Any]:
    """One circuit at the Unix time `now`; `wall` turns its times into such. What is over is no longer told."""
    clean = circuit.state is CircuitState.CLOSED and not circuit.failures
    until = None if circuit.open_until is None else wall(circuit.open_until)
    waiting = until is not None and not isinf(until) and until > now
    closed = circuit.state in (CircuitState.CLOSED, CircuitState.DISABLED)
    return {
        "name": name,
        "state": circuit.state.value,
        "kind": circuit.last_kind.value if circuit.last_kind and not clean else None,
        "failures": circuit.failures,
        "opened_at": None if closed or circuit.opened_at is None else rfc3339(wall(circuit.opened_at)),
        "retry_at": rfc3339(until) if waiting and until is not None else None,
        "until_proven": until is not None and isinf(until),
        "reason": circuit.reason or None,
    }


def target_facts(label: str, path: CircuitPath, denial: Callable[[str], Denied | None], now: float) -> dict[str, Any]:
    """One target: whether a request would go to it, and if not, what keeps it away and until when.

    Of several circuits that refuse it is the one that does so for longest, since a target waits for all of them.
    """
    refusals = [(circuit, denied) for circuit in path if (denied := denial(circuit)) is not None]
    longest = max(refusals, key=lambda refusal: _wait(refusal[1]), default=None)
    facts = {"name": label, "admissible": longest is None, "circuits": list(path)}
    if longest is None:
        return {**facts, "circuit": None, "reason": None, "retry_at": None}
    circuit, denied = longest
    retry_at = None if denied.retry_after is None else rfc3339(now + denied.retry_after)
    return {**facts, "circuit": circuit, "reason": denied.reason or denied.state.value, "retry_at": retry_at}


def _wait(denied: Denied) -> float:
    return float("inf") if denied.retry_after is None else denied.retry_after


def circuits_of(gateway: Gateway) -> set[str]:
    """The circuits that the routes lead over, also those that no request has needed yet."""
    return {circuit for path in _targets(gateway, {}).values() for circuit in path}


def _targets(gateway: Gateway, circuits: Mapping[str, Any]) -> dict[str, CircuitPath]:
    """Every target that the routes name, in their order, by its label.

    Behind a glob there are as many as clients ask for: those that have a circuit already, else the glob itself.
    """
    found: dict[str, CircuitPath] = {}
    routes = gateway.routes
    taken = ((route.glob(name), route) for name, route in routes.routes.items())
    for name, route in (*taken, *routes.profiles.items()):
        for entry in route.names:
            provider, _, model = entry.partition("/")
            for endpoint in routes.endpoints[provider]:
                for known in _models(model, name, endpoint.provider, endpoint.region, circuits):
                    path = circuit_path(endpoint.provider, endpoint.region, known, endpoint.account)
                    found[path.model.removeprefix("model/")] = path
    return found


def _models(model: str, name: str, provider: str, region: str | None, circuits: Mapping[str, Any]) -> Iterator[str]:
    """The models that an entry of a route stands for."""
    if "{model}" not in model or not re.search(r"[*?\[]", name):
        yield model.replace("{model}", name)
        return
    glob = model.replace("{model}", name)
    place = f"model/{provider}/{region}/" if region else f"model/{provider}/"
    asked = [circuit.removeprefix(place) for circuit in circuits if circuit.startswith(place)]
    yield from [one for one in asked if fnmatchcase(one, glob)][:_MOST_MODELS] or [glob]
