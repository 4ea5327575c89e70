"""Finds recloser.toml and reads it."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recloser.config.checks import contradictions
from recloser.config.model import Config, StateSettings
from recloser.config.problems import BadConfigError, Key, Problem, line_numbers, nearest
from recloser.config.values import Reader
from recloser.core.circuit_settings import CircuitSettings
from recloser.gateway.guards import guard_kinds
from recloser.gateway.settings import GatewaySettings, ProviderSettings, RouteSettings

__all__ = ["FILE_NAME", "find", "load", "load_nearby", "read"]

FILE_NAME = "recloser.toml"
_SECTIONS = ("gateway", "state", "circuit", "providers", "routes", "profiles", "guards")


def find(given: Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The configuration file: as given, by RECLOSER_CONFIG, in the working directory or above, in ~/.config/recloser.

    A file that is named but does not exist is a problem; none at all is not.
    """
    environ = os.environ if environ is None else environ
    named = given or (Path(environ["RECLOSER_CONFIG"]) if environ.get("RECLOSER_CONFIG") else None)
    if named is not None:
        if not named.exists():
            by = "" if given else " (it is named by RECLOSER_CONFIG)"
            raise BadConfigError(named, [Problem((), f"there is no such file{by}")])
        return named
    here = Path.cwd()
    home = Path(environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "recloser"
    return next((d / FILE_NAME for d in (here, *here.parents, home) if (d / FILE_NAME).is_file()), None)


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file; BadConfigError with everything that is wrong with it."""
    tables, text = _decoded(path)
    return read(tables, path=path, text=text, environ=environ)


def load_nearby(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Only [gateway] and [state], and no secret is needed: for commands that look at what a gateway does or did."""
    tables, text = _decoded(path)
    reader = Reader(path.parent, environ, lenient=True)
    config = _read(reader, {name: tables[name] for name in ("gateway", "state") if name in tables}, path)
    _refuse(reader.problems, path, text)
    return config


def read(
    tables: Mapping[str, Any], *, path: Path | None = None, text: str = "", environ: Mapping[str, str] | None = None
) -> Config:
    """The configuration in decoded TOML; BadConfigError with everything that is wrong with it."""
    reader = Reader(path.parent if path else Path(), environ)
    config = _read(reader, tables, path)
    providers = tables.get("providers", {})
    found = contradictions(config, providers if isinstance(providers, dict) else ())
    keys_unknown = reader.doubted(("gateway", "keys"))  # then nobody knows whether it may listen there
    news = [
        problem
        for problem in found
        if not reader.doubted(problem.key) and not (keys_unknown and "loopback" in problem.message)
    ]
    _refuse([*reader.problems, *news], path, text)
    return config


def _decoded(path: Path) -> tuple[dict[str, Any], str]:
    data = b""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8").removeprefix("\N{BOM}").replace("\r\n", "\n")
        return tomllib.loads(text), text
    except OSError as error:
        raise BadConfigError(path, [Problem((), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadConfigError(path, [Problem((), "is no UTF-8 text", line)]) from None
    except (ValueError, RecursionError) as error:
        raise BadConfigError(path, [_syntax_problem(str(error), data)]) from None


def _syntax_problem(said: str, data: bytes) -> Problem:
    """What the TOML parser says, with its line in our place."""
    where = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", said)
    if where is None:
        return Problem((), f"is no TOML: {said}")
    line = int(where[1]) if where[1] else data.count(b"\n") + 1
    column = f" (column {where[2]})" if where[2] else " (at the end of the file)"
    return Problem((), f"is no TOML: {said[: where.start()]}{column}", line)


def _refuse(problems: list[Problem], path: Path | None, text: str) -> None:
    """Raise all problems there are, each with the line of its key or of the nearest table around it."""
    if problems:
        lines = line_numbers(text)
        raise BadConfigError(path, [Problem(p.key, p.message, _line(lines, p.key)) for p in problems])


def _line(lines: Mapping[Key, int], key: Key) -> int:
    """The line of a key, else of the nearest table around it, else of the first thing inside it."""
    around = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 0)
    return around or min((line for known, line in lines.items() if known[: len(key)] == key), default=0)


def _route(reader: Reader, key: Key, value: Any) -> RouteSettings | None:
    """A route. A name with a dot in it and no quotes around it is no table of its own, but several."""
    inner = next((name for name, below in value.items() if isinstance(below, dict)), "") if _parted(value) else ""
    if not inner:
        return reader.settings(RouteSettings, value, key)
    reader.wrong(key, f'a name with a dot is written in quotes: [{key[0]}."{key[1]}.{inner}"]')
    return None


def _parted(value: Any) -> bool:
    return isinstance(value, dict) and "targets" not in value and "when" not in value


_TARGETS_DIFFER = {"slow_call": 60.0}
"""Settings of targets that are not those of any call: of a call nobody knows how long it ought to take."""


def _read(reader: Reader, tables: Mapping[str, Any], path: Path | None) -> Config:
    """The configuration; where something is wrong with a part, which the reader has noted, its default."""
    for name in tables:
        if name not in _SECTIONS:
            reader.unknown((name,), _SECTIONS)
    section = {name: reader.table(tables.get(name, {}), (name,)) for name in _SECTIONS}
    gateway = reader.settings(GatewaySettings, section["gateway"], ("gateway",))
    state = reader.settings(StateSettings, section["state"], ("state",))
    circuit_table = {**_TARGETS_DIFFER, **section["circuit"]}
    circuit = reader.settings(CircuitSettings, circuit_table, ("circuit",))
    shared = {name: getattr(circuit, name) for name in circuit_table if hasattr(circuit, name)}
    providers = {
        name: _provider(reader, ("providers", name), value, shared) for name, value in section["providers"].items()
    }
    routes, profiles = (
        {name: _route(reader, (kind, name), value) for name, value in section[kind].items()}
        for kind in ("routes", "profiles")
    )
    return Config(
        gateway=gateway or GatewaySettings(),
        state=state or StateSettings(),
        circuit=circuit or CircuitSettings(),
        providers={name: provider for name, provider in providers.items() if provider is not None},
        routes={name: route for name, route in routes.items() if route is not None},
        profiles={name: profile for name, profile in profiles.items() if profile is not None},
        guards=_guards(reader, section["guards"]),
        path=path,
    )


def _guards(reader: Reader, section: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of each guard; None for one that is turned off by `false`."""
    kinds = guard_kinds()
    guards: dict[str, Any] = {}
    for name, value in section.items():
        key = ("guards", name)
        if name not in kinds.found:
            broken = kinds.broken.get(name)
            reader.wrong(key, f"cannot be loaded: {broken}" if broken else f"is no guard; {nearest(name, kinds.found)}")
        elif value is False:
            guards[name] = None
        elif (settings := reader.settings(kinds.found[name].Settings, value, key)) is not None:
            guards[name] = settings
    return guards


def _provider(reader: Reader, key: Key, value: Any, shared: Mapping[str, Any]) -> ProviderSettings | None:
    """A provider; its circuit has the values of [circuit] that are fine, `shared`, and its own above them."""
    table = reader.table(value, key)
    own = reader.table(table.get("circuit", {}), (*key, "circuit"))
    circuit = reader.settings(CircuitSettings, {**shared, **own}, (*key, "circuit"))
    provider = reader.settings(ProviderSettings, table, key, circuit=circuit or CircuitSettings())
    return provider and reader.with_usual_options(provider)
