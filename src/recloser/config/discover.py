"""A configuration of what is there: keys in the usual environment variables, servers on their usual ports.

An own name comes first: the models that a local server lists, then each vendor's names. With no vendor's key at all,
any name goes to the first local model, so that every client works. With nothing at all, the simulated provider answers.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from recloser.config.model import Config
from recloser.config.problems import BadConfigError, Problem
from recloser.config.secrets import resolve
from recloser.gateway.credentials import ways
from recloser.gateway.providers import ProviderKind, provider_kinds
from recloser.gateway.runtime.models import NO_LIST, models_at
from recloser.gateway.settings import ProviderSettings, RouteSettings

_PROBED_FOR = 0.5
_MOST_MODELS = 100
_YES = ("1", "true", "yes", "on")
_WIRE = "openai-chat"
_RESOLD = {"openai": "openrouter/openai/{model}", "gemini": "openrouter/google/{model}"}
"""Names that OpenRouter knows letter for letter. Anthropic's it writes otherwise (`claude-sonnet-4.5`)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A provider that is there."""

    name: str
    """Its kind's, which also names it in routes."""
    title: str
    key_env: str | None = None
    told_by: str | None = None
    """The variable that says to use it, where no key does."""
    url: str | None = None
    models: tuple[str, ...] = ()
    """What a local one lists, without those that only embed."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, and the configuration made of it."""

    found: tuple[Found, ...]
    config: Config


def discover(environ: Mapping[str, str] | None = None, kinds: Mapping[str, ProviderKind] | None = None) -> Discovery:
    """Look for providers. Takes at most half a second."""
    environ = os.environ if environ is None else environ
    kinds = provider_kinds() if kinds is None else kinds
    vendors = tuple(
        Found(name, kind.title, key_env=key_env, told_by=told_by)
        for name, kind in kinds.items()
        for key_env, told_by in [(_key_env(kind, environ), _told_by(kind, environ))]
        if (key_env or told_by) and _complete(kind, environ)
    )
    local = asyncio.run(_local({name: kind for name, kind in kinds.items() if kind.local_port and _WIRE in kind.wires}))
    routes = _routes(vendors, local, kinds)
    config = Config(
        providers={found.name: _provider(found, environ, kinds) for found in (*vendors, *local)},
        routes={glob: RouteSettings(targets=targets) for glob, targets in routes.items()},
        simulated=not routes,
    )
    return Discovery((*vendors, *local), config)


def _key_env(kind: ProviderKind, environ: Mapping[str, str]) -> str | None:
    return kind.key_env if kind.key_env and environ.get(kind.key_env, "").strip() else None


def _told_by(kind: ProviderKind, environ: Mapping[str, str]) -> str | None:
    """The variable that tells every tool to use a vendor, if that takes no key and can be done here."""
    way = ways().get(kind.credential.get("way", ""))
    usable = way is not None and way.missing() is None
    return next((name for name in kind.use_env if usable and environ.get(name, "").lower() in _YES), None)


def _complete(kind: ProviderKind, environ: Mapping[str, str]) -> bool:
    """Whether the environment says all that the vendor's addresses need."""
    options = kind.usual_options(environ)
    return not any(kind.lacks(url, options) for url in kind.wires.values())


def _provider(found: Found, environ: Mapping[str, str], kinds: Mapping[str, ProviderKind]) -> ProviderSettings:
    kind = kinds[found.name]
    try:
        key = resolve(f"env:{found.key_env}", Path(), environ) if found.key_env else None
    except ValueError as error:
        raise BadConfigError(None, [Problem((f"{found.key_env}",), str(error))]) from None
    return ProviderSettings(kind=found.name, api_key=key, options=kind.usual_options(environ))


def _routes(
    vendors: Iterable[Found], local: Iterable[Found], kinds: Mapping[str, ProviderKind]
) -> dict[str, tuple[str, ...]]:
    """Routes in the order in which they are asked."""
    routes: dict[str, tuple[str, ...]] = {}
    for server in local:
        for model in server.models:
            routes[model] = (*routes.get(model, ()), f"{server.name}/{model}")
    names = {vendor.name for vendor in vendors}
    for vendor in sorted(vendors, key=lambda vendor: "*/*" in kinds[vendor.name].models):
        resold = (_RESOLD[vendor.name],) if vendor.name in _RESOLD and "openrouter" in names else ()
        for glob in kinds[vendor.name].models:
            routes[glob] = (*routes.get(glob, ()), f"{vendor.name}/{{model}}", *resold)
    first = tuple(f"{server.name}/{server.models[0]}" for server in local if server.models)
    if first and not names:
        routes["*"] = first
    return routes


async def _local(kinds: Mapping[str, ProviderKind]) -> tuple[Found, ...]:
    """The servers of these kinds that answer on this machine."""
    session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
    async with session:
        lists = await asyncio.gather(*(_models(session, kind.wires[_WIRE]) for kind in kinds.values()))
    return tuple(
        Found(name, kind.title, url=_root(kind.wires[_WIRE]), models=models)
        for (name, kind), models in zip(kinds.items(), lists, strict=True)
        if models is not None
    )


async def _models(session: aiohttp.ClientSession, base_url: str) -> tuple[str, ...] | None:
    """The models that a server lists; None if there is none, or it is something else."""
    try:
        listed = await models_at(session, f"{base_url}/models", {}, seconds=_PROBED_FOR)
    except NO_LIST:
        return None
    return tuple(dict.fromkeys(filter(_usable, listed)))[:_MOST_MODELS]


def _usable(model: str) -> bool:
    """Whether a name can be a route and a target: a chat model's, without the signs of a glob."""
    return bool(model.strip()) and model.isprintable() and "embed" not in model.lower() and not set(model) & set("*?[{")


def _root(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
