"""Finds recloser.toml, reads it, and checks what the parts of it say about each other."""

import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recloser.config.model import Config, StateSettings
from recloser.config.problems import BadConfigError, Key, Problem, line_numbers
from recloser.config.values import Reader, circuit_settings
from recloser.core.circuit import CircuitSettings
from recloser.core.errors import ConfigError
from recloser.gateway.providers import provider_kinds
from recloser.gateway.settings import GatewaySettings, ProviderSettings, RouteSettings
from recloser.gateway.wires import WIRES
from recloser.stores import check_url

FILE_NAME = "recloser.toml"
_SECTIONS = ("gateway", "state", "circuit", "providers", "routes", "profiles")


def find(given: Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The configuration file: as given, by RECLOSER_CONFIG, in the working directory or above, in ~/.config/recloser.

    A file that is named but does not exist is a problem; none at all is not.
    """
    environ = os.environ if environ is None else environ
    named = given or (Path(environ["RECLOSER_CONFIG"]) if environ.get("RECLOSER_CONFIG") else None)
    if named is not None:
        if not named.is_file():
            raise BadConfigError(named, [Problem((), "there is no such file")])
        return named
    here = Path.cwd()
    home = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "recloser"
    return next((d / FILE_NAME for d in (here, *here.parents, home) if (d / FILE_NAME).is_file()), None)


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file; BadConfigError with everything that is wrong with it."""
    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise BadConfigError(path, [Problem((), f"cannot be read: {error.strerror}")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfigError(path, [Problem((), f"is not TOML: {error}")]) from None
    return read(tables, path=path, text=text, environ=environ)


def read(
    tables: Mapping[str, Any], *, path: Path | None = None, text: str = "", environ: Mapping[str, str] | None = None
) -> Config:
    """The configuration in decoded TOML."""
    reader = Reader(path.parent if path else Path(), environ)
    config = _read(reader, tables, path)
    reader.problems.extend(_contradictions(config))
    if reader.problems:
        lines = line_numbers(text)
        raise BadConfigError(path, [Problem(p.key, p.message, _line(lines, p.key)) for p in reader.problems])
    return config


def _line(lines: Mapping[Key, int], key: Key) -> int:
    """The line of a key, or of the nearest table around it."""
    return next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 0)


def _read(reader: Reader, tables: Mapping[str, Any], path: Path | None) -> Config:
    """The configuration; where something is wrong with a part, which the reader has noted, that part's defaults."""
    for name in tables:
        if name not in _SECTIONS:
            reader.unknown((name,), _SECTIONS)
    section = {name: reader.table(tables.get(name, {}), (name,)) for name in _SECTIONS}
    gateway = reader.settings(GatewaySettings, section["gateway"], ("gateway",))
    state = reader.settings(StateSettings, section["state"], ("state",))
    circuit = circuit_settings(reader, ("circuit",), section["circuit"])
    providers: dict[str, ProviderSettings | None] = {}
    for name, value in section["providers"].items():
        key = ("providers", name)
        table = reader.table(value, key)
        own_circuit = reader.table(table.get("circuit", {}), (*key, "circuit"))
        shared = section["circuit"] if circuit is not None else {}  # what is wrong with [circuit] is said once
        merged = circuit_settings(reader, (*key, "circuit"), shared, own_circuit)
        providers[name] = reader.settings(ProviderSettings, table, key, circuit=merged or CircuitSettings())
    routes, profiles = (
        {name: reader.settings(RouteSettings, value, (kind, name)) for name, value in section[kind].items()}
        for kind in ("routes", "profiles")
    )
    whole = {name: provider for name, provider in providers.items() if provider is not None}
    for place, message in _wrong_targets({"routes": routes, "profiles": profiles}, providers):
        reader.wrong(place, message)
    return Config(
        gateway=gateway or GatewaySettings(),
        state=state or StateSettings(),
        circuit=circuit or CircuitSettings(),
        providers=whole,
        routes={name: route for name, route in routes.items() if route is not None},
        profiles={name: profile for name, profile in profiles.items() if profile is not None},
        path=path,
    )


def _wrong_targets(
    sections: Mapping[str, Mapping[str, RouteSettings | None]], providers: Mapping[str, Any]
) -> Iterator[tuple[Key, str]]:
    for kind, routes in sections.items():
        for name, route in routes.items():
            key = (kind, name, "targets")
            if route is None:
                continue
            if not route.targets:
                yield key, "must name at least one target"
            for target in route.targets:
                provider, slash, model = target.partition("/")
                if not slash or not model:
                    yield key, f"{target!r} is no target; write 'provider/model'"
                elif provider not in providers:
                    known = ", ".join(sorted(providers)) or "none"
                    yield key, f"{target!r} names the provider {provider!r}, which is not configured (known: {known})"


def _contradictions(config: Config) -> Iterator[Problem]:
    """What is wrong although every value by itself is fine."""
    try:
        check_url(config.state.url)
    except ConfigError as error:
        yield Problem(("state", "url"), str(error))
    if wrong := wrong_listen(config.gateway):
        yield Problem(("gateway", "listen"), wrong)
    for name, provider in config.providers.items():
        for part, message in _wrong_provider(provider):
            yield Problem(("providers", name, part), message)


def _wrong_provider(provider: ProviderSettings) -> Iterator[tuple[str, str]]:
    kinds = provider_kinds()
    if provider.kind not in kinds:
        yield "kind", f"{provider.kind!r} is not known; known are {', '.join(sorted(kinds))}"
        return
    wires = kinds[provider.kind].wires
    if provider.wire is not None and provider.wire not in WIRES:
        yield "wire", f"{provider.wire!r} is not known; known are {', '.join(sorted(WIRES))}"
    elif provider.wire is None and not wires:
        yield "wire", f"is needed for the kind {provider.kind!r}: {' or '.join(sorted(WIRES))}"
    if provider.base_url is None and not provider.regions and (provider.wire or next(iter(wires), None)) not in wires:
        yield "base_url", f"is needed: the kind {provider.kind!r} has no usual address for this wire"
    if provider.base_url is not None and provider.regions:
        yield "base_url", "and regions exclude each other: each region has a base URL of its own"
    for url in (provider.base_url, *provider.regions.values()):
        parts = urlsplit(url or "http://ok")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield "base_url" if url == provider.base_url else "regions", f"{url!r} is no http or https address"


def wrong_listen(gateway: GatewaySettings) -> str | None:
    """What is wrong with where the gateway is to listen, or None."""
    try:
        host, _ = address(gateway.listen)
    except ValueError as error:
        return str(error)
    if not gateway.keys and not is_loopback(host):
        return f"without [gateway] keys only loopback may be listened on, and {host!r} is not loopback"
    return None


def address(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`; ValueError if it is neither."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{listen!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
