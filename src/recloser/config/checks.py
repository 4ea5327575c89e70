"""What is wrong with a configuration although each value by itself is fine."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from recloser.config.listening import wrong_listen
from recloser.config.model import Config
from recloser.config.problems import Key, Problem, dotted, nearest
from recloser.core.errors import ConfigError
from recloser.core.units import Secret
from recloser.gateway.conditions import condition_kinds
from recloser.gateway.credentials import ways
from recloser.gateway.guards import guard_kinds
from recloser.gateway.providers import Option, ProviderKind, plugged_in, provider_kinds
from recloser.gateway.repairs import repair_kinds
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import options_at
from recloser.gateway.wires import WIRES
from recloser.stores import check_url

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAME_RULE = "letters, digits, '.', '_' and '-' make a name; it is part of circuits' names"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
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
            for below, message in _wrong_conditions(route) if kind == "routes" else _meant_for_routes(route):
                yield Problem((kind, name, *below), message)
    for name, settings in config.guards.items():
        if settings is not None and (wrong := guard_kinds().found[name].contradiction(settings, config.providers)):
            yield Problem(("guards", name), wrong)
    yield from _never_asked(config)


def _wrong_targets(route: RouteSettings, providers: Collection[str]) -> Iterator[str]:
    if not route.targets:
        yield "must name at least one target"
    if route.order == "weighted" and route.targets and not any(route.weights):
        yield "must have a weight above 0 at one target at least"
    for target in route.names:
        provider, slash, model = target.partition("/")
        if not slash or not model.strip():
            yield f"{target!r} is no target; write 'provider/model' or 'provider/{{model}}'"
        elif provider not in providers:
            yield f"{target!r} names the provider {provider!r}, which is not configured; {nearest(provider, providers)}"
        elif other := re.search(r"\{(?!model\})[^}]*\}?", model):
            yield f"{target!r}: {other[0]!r} stands for nothing; only '{{model}}' does, for the request's model"


def _wrong_conditions(route: RouteSettings) -> Iterator[tuple[Key, str]]:
    kinds = condition_kinds()
    for name, value in route.when.items():
        if name in kinds.broken and name not in kinds.found:
            yield ("when", name), f"cannot be loaded: {kinds.broken[name]}"
        elif name not in kinds.found:
            yield ("when", name), f"is no condition; {nearest(name, kinds.found)}"
        else:
            try:
                kinds.found[name](value)
            except ValueError as error:
                yield ("when", name), str(error)


def _meant_for_routes(profile: RouteSettings) -> Iterator[tuple[Key, str]]:
    """What a profile cannot have: it is chosen by its name alone."""
    given = {"model": profile.model is not None, "when": bool(profile.when)}
    for part in (part for part, there in given.items() if there):
        yield (part,), "is of use in [routes] only: a profile is chosen by its name"


# Routes that no request gets to ------------------------------------------------------------------------------------


def _never_asked(config: Config) -> Iterator[Problem]:
    """Routes whose every name is taken by somebody before them: a mistake that would send requests elsewhere."""
    routes = list(config.routes.items())
    for place, (name, route) in enumerate(routes):
        key: Key = ("routes", name)
        glob = route.glob(name)
        if glob in config.profiles:
            yield Problem(key, f"is never asked: {dotted(('profiles', glob))} answers to that name; rename one of them")
            continue
        before = routes[:place]
        first = next((name for name, earlier in before if _takes(earlier, earlier.glob(name), route, glob)), None)
        if first is not None:
            taken = dotted(("routes", first))
            yield Problem(key, f"is never asked: {taken} stands before it and takes every such name; put it above that")


def _takes(earlier: RouteSettings, earlier_glob: str, later: RouteSettings, later_glob: str) -> bool:
    """Whether a route leaves nothing to a later one: it asks for no more, and takes every name."""
    asks_no_more = all(name in later.when and later.when[name] == value for name, value in earlier.when.items())
    return asks_no_more and _covers(earlier_glob, later_glob)


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
        reason = plugged_in().broken.get(provider.kind)
        why = f"cannot be loaded: {reason}" if reason else f"is not known; {nearest(provider.kind, kinds)}"
        yield "kind", f"{provider.kind!r} {why}"
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
    yield from (("repairs", message) for message in _wrong_repairs(provider.repairs))


def _wrong_repairs(names: Iterable[str]) -> Iterator[str]:
    kinds = repair_kinds()
    for name in names:
        if name in kinds.broken and name not in kinds.found:
            yield f"{name!r} cannot be loaded: {kinds.broken[name]}"
        elif name not in kinds.found:
            yield f"{name!r} is not known; {nearest(name, kinds.found)}"


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
        keyed = kind.key_env and not kind.credential and provider.api_key is None
        if keyed and not names & {"authorization", "x-api-key", "x-goog-api-key"}:
            yield "api_key", f'is needed: {kind.title} takes nobody without a key; try "env:{kind.key_env}"'
    yield from _wrong_options(provider, kind)
    at_home = "region" in kind.options  # then a place may be named alone: its address follows from its name
    places = [("regions", url) for url in provider.regions.values() if url or not at_home]
    for place, url in (*given.items(), *places):
        if wrong := _wrong_url(url, wire):
            yield place, wrong


def _wrong_options(provider: ProviderSettings, kind: ProviderKind) -> Iterator[tuple[str, str]]:
    """What is wrong with what the kind needs to know besides, and with what it needs to have installed."""
    for name, value in provider.options.items():
        if name not in kind.options:
            yield "options", f"{name!r} is no option of the kind {provider.kind!r}; {nearest(name, kind.options)}"
        elif kind.options[name].needed and not _OPTION.fullmatch(value):
            yield "options", f"{value!r} cannot be {name}: it becomes part of an address"
        elif kind.options[name].file and not Path(value).is_file():
            yield "options", f"{name}: there is no file {value!r}"
    way = ways().get(kind.credential["way"]) if kind.credential and provider.api_key is None else None
    if way is not None and not provider.clients_own and (missing := way.missing()):
        yield "kind", f"{provider.kind!r} without an api_key {missing}"
    for name in _lacking(provider, kind, () if way is None else way.wants):
        yield "options", f"needs {name}, {kind.options[name].about}{_where(kind.options[name])}"


def _lacking(provider: ProviderSettings, kind: ProviderKind, wanted: Iterable[str]) -> Iterable[str]:
    """The options that are needed where the provider is, and that nobody gave."""
    place = next(iter(provider.regions), None)
    options = options_at(kind, provider.options, place)
    usual = not provider.base_url and not any(provider.regions.values())
    asked = kind.asked_with(options).values()
    addresses = [*(kind.wires.values() if usual else ()), *(one.path for one in asked)]
    missing = {name for address in addresses for name in kind.lacks(address, options)}
    return [name for name in kind.options if name in missing or (name in wanted and name not in options)]


def _where(option: Option) -> str:
    names = [place.partition("=")[0] for place in option.env]
    return f": give it here or in {' or '.join(names)}" if names else ""


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
