"""Where a request goes: by its model or profile, by what it says, and in which order."""

import random
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from recloser.core.ordering import by_least, by_load, by_weight
from recloser.gateway.conditions import condition_kinds
from recloser.gateway.conditions.condition import Condition
from recloser.gateway.request import Request
from recloser.gateway.settings import GatewaySettings, RouteSettings
from recloser.gateway.targets import Routes, Target, Way
from recloser.gateway.traffic import Traffic
from recloser.gateway.wires.wire import BadRequestError

_NOT_ALLOWED = "allow_paid is false; set it on the route, the profile or [gateway]"
_NOT_WANTED = "the request forbids that with x-recloser-paid"
_PAID_WORDS = {"no": False, "false": False, "0": False, "off": False, "yes": True, "true": True, "1": True, "on": True}


def may_cost(header: str) -> bool:
    """Whether `x-recloser-paid` lets a request cost money; BadRequestError if it says something else."""
    said = header.strip().lower()
    if said and said not in _PAID_WORDS:
        raise BadRequestError(f"x-recloser-paid: {header[:20]!r} is neither yes nor no")
    return _PAID_WORDS.get(said, True)


class Routing:
    """Leads requests to their targets."""

    def __init__(
        self,
        routes: Routes,
        settings: GatewaySettings,
        traffic: Traffic,
        *,
        now: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._routes = routes
        self._settings = settings
        self._traffic = traffic
        self._now = now
        self._draw = draw
        self._conditions = {name: _conditions(route) for name, route in routes.routes.items()}

    def lead(self, request: Request, profile: str | None = None, *, may_cost: bool = True) -> bool:
        """Give a new request its targets, in the order in which they are asked. False if no route takes it."""
        way = self._way(request, profile)
        if way is None:
            return False
        allowed = self._settings.allow_paid if way.settings.allow_paid is None else way.settings.allow_paid
        request.unpaid = "" if allowed and may_cost else _NOT_WANTED if allowed else _NOT_ALLOWED
        request.targets = [_of_client(target, request) for target in self._ordered(way, request)]
        return True

    def _way(self, request: Request, profile: str | None) -> Way | None:
        """The profile, or the first route whose conditions hold."""
        ways = self._routes.ways(request.envelope.model, profile)
        return next((way for way in ways if not way.settings.when or self._holds(way.name, request)), None)

    def _holds(self, route: str, request: Request) -> bool:
        """Whether all conditions of a route hold. Of a request that cannot be read none does."""
        try:
            return all(condition.holds(request) for condition in self._conditions[route])
        except BadRequestError:
            return False

    def _ordered(self, way: Way, request: Request) -> Sequence[Target]:
        targets, weights = way.targets, way.weights
        match way.settings.order if len(targets) > 1 else "listed":
            case "weighted":
                order = by_weight(weights, [self._draw() for _ in targets])
            case "least_loaded":
                order = by_load([self._traffic.load(target) for target in targets], weights)
            case "cheapest":
                order = by_least([target.endpoint.price(target.model) for target in targets])
            case "fastest":
                return self._traffic.fastest(targets, self._now(), measured=request.envelope.stream)
            case _:
                return targets
        return [targets[place] for place in order]


def _conditions(route: RouteSettings) -> Sequence[Condition]:
    kinds: Mapping[str, type[Condition]] = condition_kinds().found
    return [kinds[name](value) for name, value in route.when.items()]


def _of_client(target: Target, request: Request) -> Target:
    """A target that is asked with the client's own credential has an account of its own for each of them.

    One client's used-up quota closes nothing to another; the account's name tells nothing of the credential.
    """
    if not target.endpoint.settings.clients_own or not request.credentials:
        return target
    shown = "\n".join(f"{name}: {value}" for name, value in sorted(request.credentials.items()))
    account = f"{target.path.account}/{sha256(shown.encode()).hexdigest()[:8]}"
    return Target(target.endpoint, target.model, target.path._replace(account=account))
