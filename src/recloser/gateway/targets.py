"""Targets: a model at an endpoint of a provider. And routes: which targets a request's model name leads to."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from recloser.breaker import Breakers, HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.failure import Failure, Scope
from recloser.core.route import CircuitPath, circuit_path
from recloser.core.units import Secret
from recloser.gateway.providers import provider_kinds
from recloser.gateway.settings import ProviderSettings, RouteSettings


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

    def headers_on(self, wire: str) -> Mapping[str, str]:
        """The headers that every request on this wire needs."""
        return self.headers[wire]

    def without_secrets(self, failure: Failure) -> Failure:
        """The failure, fit to be written down: some providers repeat the key that they refuse."""
        message = failure.message
        for secret in (self.settings.api_key, *self.settings.headers.values()):
            if isinstance(secret, Secret):
                message = message.replace(secret.reveal(), "[key]")
        return failure if message == failure.message else failure.saying(message)


@dataclass(frozen=True, slots=True)
class Target:
    """A model at an endpoint."""

    endpoint: Endpoint
    model: str
    path: CircuitPath

    def wire_for(self, client_wire: str) -> str:
        """The wire on which a client's request is put to it: the client's own, if it speaks that, else its first."""
        urls = self.endpoint.urls
        return client_wire if client_wire in urls else next(iter(urls))

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
        return {**(kind.auth_headers(key.reveal(), wire) if key else {}), **own}

    wire = provider.wire or next(iter(kind.wires), None)

    def urls(base_url: str | None) -> Mapping[str, str]:
        if base_url is None:
            return kind.wires if provider.wire is None else {provider.wire: kind.wires[provider.wire]}
        assert wire is not None
        return _wires_at(base_url.rstrip("/"), wire, kind.wires if provider.wire is None else {})

    places: Iterable[tuple[str | None, str | None]] = provider.regions.items() or [(None, provider.base_url)]
    spoken = [(region, urls(base)) for region, base in places]
    return tuple(Endpoint(name, region, account, at, {w: headers(w) for w in at}, provider) for region, at in spoken)


def _revealed(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name.lower(): v.reveal() if isinstance(v, Secret) else v for name, v in headers.items()}


def _wires_at(base_url: str, wire: str, spoken: Mapping[str, str]) -> Mapping[str, str]:
    """Where a server of a kind that speaks several wires speaks each of them, given the address of its first.

    The address differs from the kind's usual one by its root; what a wire adds to the root (`/v1`) stays.
    """
    if wire not in spoken or len(spoken) <= 1:
        return {wire: base_url}
    usual_root = min(spoken.values(), key=len)
    root = base_url.removesuffix(spoken[wire].removeprefix(usual_root))
    return {name: root + usual.removeprefix(usual_root) for name, usual in spoken.items()}


def _accounts(providers: Mapping[str, ProviderSettings]) -> dict[str, str]:
    """Whose quota each provider entry uses up: entries with the same key are one account, named after the first."""
    by_key: dict[str, str] = {}
    return {
        name: provider.account
        or (by_key.setdefault(provider.api_key.reference, name) if provider.api_key is not None else name)
        for name, provider in providers.items()
    }


class Routes:
    """Which targets a request leads to, in order."""

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
        self.targets = lru_cache(maxsize=1024)(self._targets)  # bounded: model names come from outside

    def _targets(self, model: str, profile: str | None = None) -> tuple[Target, ...] | None:
        """The targets for a model name (or a profile), in order; None if no route matches."""
        chosen = self.profiles.get(profile or model)
        if chosen is None:
            chosen = next((route for glob, route in self.routes.items() if fnmatchcase(model, glob)), None)
        if chosen is None:
            return None
        return tuple(target for entry in chosen.targets for target in self._expanded(entry, model))

    def listed(self) -> Iterator[tuple[str, tuple[Target, ...]]]:
        """Every route and profile by its name, with its targets; where a target takes the request's model, the glob."""
        for name, route in (*self.routes.items(), *self.profiles.items()):
            yield name, tuple(target for entry in route.targets for target in self._expanded(entry, name))

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
