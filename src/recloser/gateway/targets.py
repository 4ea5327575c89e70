"""Targets: a model at an endpoint of a provider. And routes: which targets a request's model name leads to."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import takewhile
from math import inf
from typing import NamedTuple

from recloser.breaker import Breakers, HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.failure import Failure, Scope
from recloser.core.route import CircuitPath, circuit_path
from recloser.core.units import Secret
from recloser.gateway.credentials import ways
from recloser.gateway.credentials.credential import Credential
from recloser.gateway.providers import Asked, ProviderKind, provider_kinds
from recloser.gateway.settings import ProviderSettings, RouteSettings

LONGEST_NAME = 256
"""Of a model. Names come from clients, and what is known by name is kept."""
_BESIDE = {"openai-embeddings": ("openai-chat", "openai-responses")}
"""A wire that nobody declares: where one of the others is spoken, it is at the same base URL."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One address of a provider, with what every request to it needs."""

    provider: str
    region: str | None
    account: str
    urls: Mapping[str, str]
    """Base URL by wire."""
    headers: Mapping[str, Mapping[str, str]] = field(repr=False)
    """What every request needs, by wire: a vendor may want its key in different places."""
    settings: ProviderSettings = field(repr=False)
    credential: Credential | None = field(default=None, repr=False)
    """What proves who asks, where no key does."""
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """By wire: how it takes requests in a way of its own."""
    lists: str | None = None
    """Where its models are listed, if not beside its first wire."""

    def headers_on(self, wire: str) -> Mapping[str, str]:
        """The headers that every request on this wire needs."""
        return self.headers[self._declared(wire) or wire]

    def url_on(self, wire: str) -> str:
        """The base URL of this wire."""
        return self.urls[self._declared(wire) or wire]

    def speaks(self, wire: str) -> bool:
        """Whether it can be asked on this wire."""
        return self._declared(wire) is not None

    def wire_of(self, model: str) -> str:
        """The wire for strangers' requests to this model: the first one that takes it."""
        kind = provider_kinds()[self.settings.kind]
        return next((wire for wire in self.urls if kind.takes(model, wire)), next(iter(self.urls)))

    def _declared(self, wire: str) -> str | None:
        """The wire of `urls` at whose address this one is spoken: itself, but for embeddings."""
        if wire in self.urls:
            return wire
        beside = _BESIDE.get(wire, ())
        return next((other for other in beside if other in self.urls and other not in self.asked), None)

    @property
    def paid(self) -> bool:
        """Whether it costs money: as the configuration says, else unless its kind is known to be free."""
        said = self.settings.paid
        return not provider_kinds()[self.settings.kind].costs_nothing if said is None else said

    def window(self, model: str) -> int | None:
        """The context window of a model, in tokens, if it is known. The configuration knows best."""
        kind = provider_kinds()[self.settings.kind]
        return self.settings.of_model(model).context_window or kind.window(model)

    def price(self, model: str) -> float:
        """What a model costs, in one figure to compare by: nothing here, or infinite if nobody said it."""
        price = self.settings.of_model(model).price
        if price is not None:
            return price.blended
        return inf if self.paid else 0.0

    def without_secrets(self, failure: Failure) -> Failure:
        """The failure, fit to be written down: some providers repeat the key that they refuse."""
        message = self.without_keys(failure.message)
        return failure if message == failure.message else failure.saying(message)

    def without_keys(self, text: str) -> str:
        """A provider's words without the keys that we showed it."""
        for secret in (self.settings.api_key, *self.settings.headers.values()):
            if isinstance(secret, Secret) and secret.reveal():
                text = text.replace(secret.reveal(), "[key]")
        return text


@dataclass(frozen=True, slots=True)
class Target:
    """A model at an endpoint."""

    endpoint: Endpoint
    model: str
    path: CircuitPath

    def wire_for(self, client_wire: str) -> str:
        """The wire on which a client's request is put to it: the client's own, if it speaks that, else its first."""
        return client_wire if self.takes(client_wire) else self.endpoint.wire_of(self.model)

    def takes(self, wire: str) -> bool:
        """Whether this model can be asked on this wire."""
        kind = provider_kinds()[self.endpoint.settings.kind]
        return self.endpoint.speaks(wire) and kind.takes(self.model, wire)

    @property
    def label(self) -> str:
        """The target for people and headers: `provider[/region]/model`."""
        endpoint = self.endpoint
        place = f"{endpoint.provider}/{endpoint.region}" if endpoint.region else endpoint.provider
        return f"{place}/{self.model}"


class PathPermit:
    """Permits of every circuit on a target's path, settled together."""

    __slots__ = ("_held",)

    def __init__(self, held: tuple[HeldPermit, ...]) -> None:
        self._held = held

    @classmethod
    def acquire(cls, breakers: Breakers, path: CircuitPath) -> "PathPermit":
        """A permit of the whole path; CircuitOpenError if one circuit refuses."""
        return cls(breakers.acquire_all(path))

    def content_came(self) -> None:
        """Content proves the account and the endpoint: a trial of theirs is won, and others need not wait for the end.

        What was no trial is settled at the end of the stream, as is the model, which may still break off.
        """
        for permit in self._held[:-1]:
            if permit.trial:
                permit.succeed(took=0.0)

    def succeed(self, *, first_token: float = 0.0) -> None:
        """All of them did their part; the model, after so many seconds (0 where nothing tells how soon it began)."""
        *wider, model = self._held
        for permit in wider:
            permit.succeed(took=0.0)
        model.succeed(took=first_token)

    def fail(self, failure: Failure) -> None:
        """Charge the circuit that the failure proves broken; it says nothing about the others."""
        for scope, permit in zip((Scope.ACCOUNT, Scope.ENDPOINT, Scope.MODEL), self._held, strict=True):
            if scope is failure.scope:
                permit.fail(failure)
            else:
                permit.ignore()

    def cancel(self) -> None:
        """The caller left: no verdict on anybody."""
        for permit in self._held:
            permit.cancel()


def endpoints(name: str, provider: ProviderSettings, account: str) -> tuple[Endpoint, ...]:
    """The endpoints of a provider entry: one a region, home first; or one."""
    kind = provider_kinds()[provider.kind]
    key = provider.api_key
    own = _revealed(provider.headers)

    def headers(wire: str) -> Mapping[str, str]:
        return {**(kind.auth_headers(key.reveal(), wire) if key and not provider.clients_own else {}), **own}

    wire = provider.wire or next(iter(kind.wires), None)

    def urls(base_url: str | None) -> Mapping[str, str]:
        if base_url is None:
            return kind.wires if provider.wire is None else {provider.wire: kind.wires[provider.wire]}
        assert wire is not None
        return _wires_at(base_url.rstrip("/"), wire, kind.wires if provider.wire is None else {})

    def endpoint(region: str | None, base_url: str | None) -> Endpoint:
        options = options_at(kind, provider.options, region)
        at = {wire: kind.filled(url, options) for wire, url in urls(base_url or None).items()}
        return Endpoint(
            name,
            region,
            account,
            at,
            {wire: headers(wire) for wire in at},
            provider,
            _credential(kind, provider, options),
            kind.asked_with(options),
            kind.filled(kind.lists, options) if kind.lists and not base_url else None,
        )

    places: Iterable[tuple[str | None, str | None]] = provider.regions.items() or [(None, provider.base_url)]
    return tuple(endpoint(region, base_url) for region, base_url in places)


def options_at(kind: ProviderKind, options: Mapping[str, str], region: str | None) -> Mapping[str, str]:
    """The options of a place: a vendor who has to know its region is told the name that it has here."""
    return {**options, "region": region} if region and "region" in kind.options else options


def _credential(kind: ProviderKind, provider: ProviderSettings, options: Mapping[str, str]) -> Credential | None:
    """What proves who asks, if no key does."""
    own = provider.api_key is not None or provider.clients_own or "authorization" in map(str.lower, provider.headers)
    return None if own or not kind.credential else ways()[kind.credential["way"]](kind.credential, options)


def _revealed(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name.lower(): v.reveal() if isinstance(v, Secret) else v for name, v in headers.items()}


def _wires_at(base_url: str, wire: str, spoken: Mapping[str, str]) -> Mapping[str, str]:
    """Where a server of a kind that speaks several wires speaks each of them, given the address of its first.

    The address differs from the kind's usual one by its root; what a wire adds to the root (`/v1`) stays.
    """
    if wire not in spoken or len(spoken) <= 1:
        return {wire: base_url}
    usual_root = _common_root(list(spoken.values()))
    root = base_url.removesuffix(spoken[wire].removeprefix(usual_root))
    return {name: root + usual.removeprefix(usual_root) for name, usual in spoken.items()}


def _common_root(urls: Sequence[str]) -> str:
    """What the addresses have in common, up to the end of a step of their paths."""
    steps = [url.split("/") for url in urls]
    alike = takewhile(lambda same: len(set(same)) == 1, zip(*steps, strict=False))
    return "/".join(same[0] for same in alike)


def _accounts(providers: Mapping[str, ProviderSettings]) -> dict[str, str]:
    """Whose quota each provider entry uses up: entries with the same key are one account, named after the first."""
    by_key: dict[str, str] = {}
    return {
        name: provider.account
        or (by_key.setdefault(provider.api_key.reference, name) if provider.api_key is not None else name)
        for name, provider in providers.items()
    }


class Way(NamedTuple):
    """A route, or a profile, for one model name."""

    name: str
    settings: RouteSettings
    targets: tuple[Target, ...]
    weights: tuple[float, ...]
    """One for each target."""


class Routes:
    """Which targets a model's name leads to, as they are listed."""

    def __init__(
        self,
        providers: Mapping[str, ProviderSettings],
        routes: Mapping[str, RouteSettings],
        profiles: Mapping[str, RouteSettings],
    ) -> None:
        accounts = _accounts(providers)
        self.endpoints = {name: endpoints(name, provider, accounts[name]) for name, provider in providers.items()}
        self.routes = dict(routes)
        self.profiles = dict(profiles)
        # bounded: model names come from outside
        self.ways = lru_cache(maxsize=1024)(self._ways)
        self.targets = lru_cache(maxsize=1024)(self._targets)

    def _ways(self, model: str, profile: str | None = None) -> tuple[Way, ...]:
        """The profile, or the routes for a model name down to the first that takes every request for it."""
        chosen = self.profiles.get(profile or model)
        if chosen is not None:
            return (self._way(profile or model, chosen, model),)
        ways = []
        for name, route in self.routes.items():
            if fnmatchcase(model, route.glob(name)):
                ways.append(self._way(name, route, model))
                if not route.when:
                    break
        return tuple(ways)

    def _targets(self, model: str, profile: str | None = None) -> tuple[Target, ...] | None:
        """The targets for a model name (or a profile), whatever the request says; None if no route matches."""
        ways = self.ways(model, profile)
        return ways[-1].targets if ways else None

    def listed(self) -> Iterator[tuple[str, tuple[Target, ...]]]:
        """Every route and profile by its name, with its targets; where a target takes the request's model, the glob."""
        taken = ((route.glob(name), route) for name, route in self.routes.items())
        for name, route in (*taken, *self.profiles.items()):
            yield name, tuple(target for entry in route.names for target in self._expanded(entry, name))

    def _way(self, name: str, route: RouteSettings, model: str) -> Way:
        targets: list[Target] = []
        weights: list[float] = []
        for entry, weight in zip(route.names, route.weights, strict=True):
            expanded = self._expanded(entry, model)
            targets += expanded
            weights += [weight / len(expanded)] * len(expanded)  # regions share the weight of their entry
        return Way(name, route, tuple(targets), tuple(weights))

    def _expanded(self, entry: str, model: str) -> Sequence[Target]:
        provider, _, name = entry.partition("/")
        name = name.replace("{model}", model)
        return [Target(e, name, circuit_path(e.provider, e.region, name, e.account)) for e in self.endpoints[provider]]


def circuit_settings(routes: Routes, default: CircuitSettings) -> Callable[[str], CircuitSettings]:
    """What the circuit of a name is judged by: the settings of its provider, or of the first one with that account."""
    own: dict[str, CircuitSettings] = {}
    for name, endpoints in routes.endpoints.items():
        settings = endpoints[0].settings.circuit
        own.setdefault(f"account/{endpoints[0].account}", settings)
        own[f"endpoint/{name}"] = own[f"model/{name}"] = settings
    return lambda name: own.get("/".join(name.split("/", 2)[:2]), default)
