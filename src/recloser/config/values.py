"""One table of TOML into one settings dataclass: every problem noted, none raised."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from recloser.config.problems import Key, Problem, nearest
from recloser.config.secrets import resolve
from recloser.core.duration import parse_duration
from recloser.core.errors import ConfigError
from recloser.core.units import Secret, Unit
from recloser.gateway.providers import provider_kinds
from recloser.gateway.settings import CLIENTS_OWN, ProviderSettings

_REFERENCES = ("env:", "file:", "cmd:")
S = TypeVar("S")
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_MAY_BE_ZERO = frozenset({"max_hold", "drain"})
"""Durations of which 0 means something: not to wait at all. Elsewhere it would mean that nothing ever succeeds."""
_MAY_BE_THE_CLIENTS = frozenset({"api_key"})
"""Secrets of which `client` may stand in place of a reference: not ours, but what the client brings."""
_LONGEST = 366 * 86400.0
_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "a table"}
_SCALARS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_PLURALS = {str: "strings", int: "whole numbers", float: "numbers"}


class Reader:
    """Reads tables and collects what is wrong with them.

    A lenient one passes over secrets that cannot be had here: for commands that only look at what a gateway with
    another environment does.
    """

    def __init__(self, base: Path, environ: Mapping[str, str] | None = None, *, lenient: bool = False) -> None:
        self.problems: list[Problem] = []
        self._base = base
        self._environ = os.environ if environ is None else environ
        self._lenient = lenient

    def wrong(self, key: Key, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(key, message))

    def doubted(self, key: Key) -> bool:
        """Whether something is wrong with that key itself."""
        return any(problem.key == key for problem in self.problems)

    def with_usual_options(self, provider: ProviderSettings) -> ProviderSettings:
        """The provider with those options of its kind that stand in the environment, and with whole paths of files."""
        kind = provider_kinds().get(provider.kind)
        if kind is None or not kind.options:
            return provider
        options = {**kind.usual_options(self._environ), **provider.options}
        files = {name for name, option in kind.options.items() if option.file}
        whole = {name: str(self._base / Path(v).expanduser()) if name in files else v for name, v in options.items()}
        return dataclasses.replace(provider, options=whole)

    def table(self, value: Any, key: Key) -> dict[str, Any]:
        """A table, or an empty one and a problem."""
        if isinstance(value, dict):
            return value
        self.wrong(key, f"must be a table, not {_kind(value)}")
        return {}

    def unknown(self, key: Key, known: Iterable[str]) -> None:
        """Note a key that means nothing, with the nearest one that does."""
        self.wrong(key, f"is no setting; {nearest(key[-1], known)}")

    def settings(self, cls: type[S], value: Any, key: Key, **given: Any) -> S | None:
        """The settings in a table; where one of them is wrong, its default. `given` needs no reading any more.

        None if there is nothing to make them of: one without a default is missing or wrong.
        """
        table = self.table(value, key)
        hints = get_type_hints(cls, include_extras=True)
        fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        read = dict(given)
        for name, setting in table.items():
            if name not in fields:
                self.unknown((*key, name), fields)
            elif name not in given:
                self._field(read, name, hints[name], setting, (*key, name))
        needed = _needed(cls)
        for name in sorted(needed - table.keys() - given.keys()) if isinstance(value, dict) else ():
            self.wrong((*key, name), "is missing")
        return None if needed - read.keys() else self._made(cls, read, key)

    def _made(self, cls: type[S], read: dict[str, Any], key: Key) -> S | None:
        """The settings, without those that the class itself refuses."""
        refused: set[str] = set()
        while not _needed(cls) - read.keys():
            try:
                return cls(**read)
            except ConfigError as error:
                name, _, rest = str(error).partition(" ")
                if name in refused:
                    return None
                about_several = rest.startswith("(")  # "cooldown_max (5 s) must not be below cooldown (10 s)"
                self.wrong((*key, name) if name in read else key, str(error) if about_several else rest)
                if read.pop(name, None) is None:
                    return None
                refused.add(name)
        return None

    def _field(self, read: dict[str, Any], name: str, hint: Any, value: Any, key: Key) -> None:
        try:
            read[name] = self._value(name, hint, value, key)
        except ValueError as error:
            self.wrong(key, str(error))

    def _value(self, name: str, hint: Any, value: Any, key: Key) -> Any:
        if Unit.SECONDS in get_args(hint):
            return _duration(value, zero=name in _MAY_BE_ZERO)
        if Unit.BYTES in get_args(hint):
            return _size(value)
        if hint == Secret | None:
            return CLIENTS_OWN if value == "client" and name in _MAY_BE_THE_CLIENTS else self._secret(value)
        if get_origin(hint) is tuple and get_args(hint)[0] is Secret:
            return self._secrets(_converted(tuple[str, ...], value), key)
        if hint == Mapping[str, str | Secret]:
            return self._headers(_converted(Mapping[str, str], value), key)
        if (cls := _settings_in(hint)) is not None:
            return self._nested(hint, cls, value, key)
        return _converted(hint, value)

    def _nested(self, hint: Any, cls: type[Any], value: Any, key: Key) -> Any:
        """Settings inside settings: one table, a table of named ones, or an array in which some entries are tables."""
        origin = get_origin(hint)
        if origin is tuple:
            entries = _converted(list[Any], value)
            read = [self._entry(hint, cls, entry, key) for entry in entries]
            return tuple(entry for entry in read if entry is not None)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            tables = _converted(Mapping[str, Any], value)
            made = {name: self.settings(cls, inner, (*key, name)) for name, inner in tables.items()}
            return {name: settings for name, settings in made.items() if settings is not None}
        return self.settings(cls, value, key)

    def _entry(self, hint: Any, cls: type[Any], value: Any, key: Key) -> Any:
        """One entry of an array; None, and a problem, if it is neither a table nor what may stand in its place."""
        if isinstance(value, dict):
            return self.settings(cls, value, key)
        plain = next((one for one in get_args(get_args(hint)[0]) if one is not cls), None)
        try:
            return _converted(plain, value) if plain is not None else self.settings(cls, value, key)
        except ValueError:
            self.wrong(key, f"must be {_described(hint)}")
            return None

    def _headers(self, headers: Mapping[str, str], key: Key) -> dict[str, str | Secret]:
        """Headers; a value that is a reference stands for the secret behind it."""
        read: dict[str, str | Secret] = {}
        for name, value in headers.items():
            try:
                read[name] = self._secret(value) if value.startswith(_REFERENCES) else value
            except ValueError as error:
                self.wrong((*key, name), str(error))
        return read

    def _secrets(self, references: Iterable[str], key: Key) -> tuple[Secret, ...]:
        secrets = []
        for reference in references:
            try:
                secrets.append(self._secret(reference))
            except ValueError as error:
                self.wrong(key, str(error))
        return tuple(secrets)

    def _secret(self, reference: Any) -> Secret:
        try:
            return resolve(reference, self._base, self._environ)
        except ValueError:
            if not self._lenient:
                raise
            return Secret("", str(reference))


def _settings_in(hint: Any) -> type[Any] | None:
    """The settings class that a hint is about: itself, in a union, in a table or in an array."""
    if dataclasses.is_dataclass(hint):
        return hint if isinstance(hint, type) else None
    return next((cls for inner in get_args(hint) if (cls := _settings_in(inner)) is not None), None)


def _needed(cls: type[Any]) -> set[str]:
    """The settings that have no default."""
    return {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}


def _converted(hint: Any, value: Any) -> Any:
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        wanted, got = _described(hint), _kind(value)
        if get_origin(hint) is Literal or (got == "a number" and "number" in wanted):
            got = repr(value)
        inside = isinstance(value, list | dict) and wanted.startswith(got)
        raise ValueError(f"must be {wanted}" if inside else f"must be {wanted}, not {got}") from None


def _described(hint: Any) -> str:
    """A type for people."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in inner)
    if origin is tuple or origin is list:
        first = inner[0]
        if _settings_in(first) is not None:
            return f"an array of {' and '.join(_PLURALS.get(one, 'tables') for one in get_args(first) or (first,))}"
        return f"an array of {_PLURALS.get(first, 'values')}"
    if origin is UnionType:
        return _described(inner[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a table of {_PLURALS.get(inner[1], 'values')}"
    return _SCALARS.get(hint, str(hint))


def _duration(value: Any, *, zero: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {Unit.SECONDS.value}, not {_kind(value)}")  # noqa: TRY004 - what is wrong is the value
    seconds = parse_duration(str(value))
    if seconds < 0 or (seconds == 0 and not zero):
        raise ValueError(f"must be {'at least' if zero else 'above'} 0, not {value!r}")
    if seconds > _LONGEST:
        raise ValueError(f"must be at most 366 days, not {value!r}")
    return seconds


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"must be {Unit.BYTES.value}, not {_kind(value)}")  # noqa: TRY004 - likewise
    match = re.fullmatch(r"([0-9]{1,15})\s*([a-z]*)", str(value).strip().lower())
    if match is None or match[2] not in _SIZES:
        raise ValueError(f"must be {Unit.BYTES.value}, not {value!r}")
    size = int(match[1]) * _SIZES[match[2]]
    if not size:
        raise ValueError("must be above 0")
    return size


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a date")
