"""What is wrong with a configuration although each value by itself is fine."""

import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from recloser.config.listening import wrong_listen
from recloser.config.model import Config
from recloser.config.problems import Key, Problem, dotted, nearest
from recloser.core.errors import ConfigError
from recloser.core.units import Secret
from recloser.gateway.providers import ProviderKind, provider_kinds
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.wires import WIRES
from recloser.stores import check_url

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAME_RULE = "letters, digits, '.', '_' and '-' make a name; it is part of circuits' names"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_GLOB_SIGNS = "*?["


def contradictions(config: Config, providers: Collection[str]) -> Iterator[Problem]:
    """Everything of that sort. `providers` are the names of all there are, also of those that could not be read."""
    try:
        check_url(config.state.url)
    except ConfigError as error:
        yield Problem(("state", "url"), str(error))
    if wrong := wrong_listen(config.gateway):
        yield Problem(("gateway", "listen"), wrong)
    for name in providers:
        if not _NAME.fullmatch(name):
            yield Problem(("providers", name), f"is no name for a provider: {_NAME_RULE}")
    for name, provider in config.providers.items():
        for part, message in _wrong_provider(provider):
            yield Problem(("providers", name, part), message)
    for kind, routes in (("routes", config.routes), ("profiles", config.profiles)):
        for name, route in routes.items():
            for message in _wrong_targets(route, providers):
                yield Problem((kind, name, "targets"), message)
    yield from _never_asked(config)


def _wrong_targets(route: RouteSettings, providers: Collection[str]) -> Iterator[str]:
    if not route.targets:
        yield "must name at least one target"
    for target in route.targets:
        provider, slash, model = target.partition("/")
        if not slash or not model.strip():
            yield f"{target!r} is no target; write 'provider/model' or 'provider/{{model}}'"
        elif provider not in providers:
            yield f"{target!r} names the provider {provider!r}, which is not configured; {nearest(provider, providers)}"
        elif other := re.search(r"\{(?!model\})[^}]*\}?", model):
            yield f"{target!r}: {other[0]!r} stands for nothing; only '{{model}}' does, for the request's model"


# Routes that no request gets to ------------------------------------------------------------------------------------


def _never_asked(config: Config) -> Iterator[Problem]:
    """Routes whose every name is taken by somebody before them: a mistake that would send requests elsewhere."""
    names = list(config.routes)
    for place, name in enumerate(names):
        key: Key = ("routes", name)
        if name in config.profiles:
            yield Problem(key, f"is never asked: {dotted(('profiles', name))} answers to that name; rename one of them")
            continue
        first = next((earlier for earlier in names[:place] if _covers(earlier, name)), None)
        if first is not None:
            taken = dotted(("routes", first))
            yield Problem(key, f"is never asked: {taken} stands before it and takes every such name; put it above that")


def _covers(earlier: str, later: str) -> bool:
    """Whether a glob matches whatever another one matches. In doubt it does not."""
    if not any(sign in later for sign in _GLOB_SIGNS):
        return fnmatchcase(later, earlier)
    if not earlier.strip("*"):
        return bool(earlier)
    if "[" in earlier or "[" in later:
        return False
    # A `*` stands for nothing at all, or for something that no letter of the earlier glob and no number of its `?` fits
    strange = "\0" * (len(earlier) + 1)
    shapes = (later.replace("?", "\0").replace("*", stretch) for stretch in ("", strange))
    return all(fnmatchcase(shape, earlier) for shape in shapes)


# Providers ----------------------------------------------------------------------------------------------------------


def _wrong_provider(provider: ProviderSettings) -> Iterator[tuple[str, str]]:
    kinds = provider_kinds()
    if provider.kind not in kinds:
        yield "kind", f"{provider.kind!r} is not known; {nearest(provider.kind, kinds)}"
    if provider.wire is not None and provider.wire not in WIRES:
        yield "wire", f"{provider.wire!r} is not known; {nearest(provider.wire, WIRES)}"
    elif provider.kind in kinds:
        yield from _wrong_place(provider, kinds[provider.kind])
    for region in provider.regions:
        if not _NAME.fullmatch(region):
            yield "regions", f"{region!r} is no name for a region: {_NAME_RULE}"
    if provider.account is not None and not re.fullmatch(r"[^\s/]+", provider.account):
        yield "account", f"{provider.account!r} is no name for an account: without spaces and '/', please"
    yield from (("headers", message) for message in _wrong_headers(provider.headers))


def _wrong_place(provider: ProviderSettings, kind: ProviderKind) -> Iterator[tuple[str, str]]:
    """What is wrong with where the provider is and how it is spoken to."""
    wire = provider.wire or next(iter(kind.wires), None)
    if wire is None:
        yield "wire", f"is needed for the kind {provider.kind!r}: {' or '.join(sorted(WIRES))}"
    given = {"base_url": provider.base_url} if provider.base_url is not None else {}
    if given and provider.regions:
        yield "base_url", "and regions exclude each other: each region has a base URL of its own"
    if not given and not provider.regions:
        if wire is not None and wire not in kind.wires:
            yield "base_url", f"is needed: the kind {provider.kind!r} has no usual address for the wire {wire!r}"
        names = {name.lower() for name in provider.headers}
        if kind.key_env and provider.api_key is None and not names & {"authorization", "x-api-key", "x-goog-api-key"}:
            yield "api_key", f'is needed: {kind.title} takes nobody without a key; try "env:{kind.key_env}"'
    for place, url in (*given.items(), *(("regions", url) for url in provider.regions.values())):
        if wrong := _wrong_url(url, wire):
            yield place, wrong


def _wrong_url(url: str, wire: str | None) -> str | None:
    if "@" in url:
        return "must not carry credentials: those belong into api_key"
    if not _is_http(url):
        return f"{url!r} is no http or https address"
    if "?" in url or "#" in url:
        return f"{url!r} must have no '?' and no '#': paths are added to it"
    own = WIRES[wire].upstream_path if wire else ""
    for tail in (own, own.rpartition("/")[0], own.rpartition("/models/")[0]):
        if tail and url.rstrip("/").endswith(tail):
            return f"{url!r} must not end in {tail!r}: that is added to it, as the SDK does"
    return None


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return reachable and parts.scheme in ("http", "https") and url.isprintable() and " " not in url


def _wrong_headers(headers: Mapping[str, str | Secret]) -> Iterator[str]:
    for name, given in headers.items():
        value = given.reveal() if isinstance(given, Secret) else given
        if not _HEADER_NAME.fullmatch(name):
            yield f"{name!r} is no name of a header"
        if not (value.isascii() and value.isprintable()):
            yield f"the value of {name!r} cannot be sent: it is not one line of ASCII"
