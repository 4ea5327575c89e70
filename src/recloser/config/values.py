"""One table of TOML into one settings dataclass: every problem noted, none raised."""

import dataclasses
import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from recloser.config.problems import Key, Problem
from recloser.core.circuit import CircuitSettings
from recloser.core.duration import parse_duration
from recloser.core.errors import ConfigError
from recloser.core.units import Secret, Unit

S = TypeVar("S")
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SECRET_TIMEOUT = 10.0


class Reader:
    """Reads tables and collects what is wrong with them."""

    def __init__(self, base: Path, environ: Mapping[str, str] | None = None) -> None:
        self.problems: list[Problem] = []
        self._base = base
        self._environ = os.environ if environ is None else environ

    def wrong(self, key: Key, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(key, message))

    def table(self, value: Any, key: Key) -> dict[str, Any]:
        """A table, or an empty one and a problem."""
        if isinstance(value, dict):
            return value
        self.wrong(key, f"must be a table, not {_kind(value)}")
        return {}

    def unknown(self, key: Key, known: Iterable[str]) -> None:
        """Note a key that means nothing, with the nearest one that does."""
        near = difflib.get_close_matches(key[-1], known := sorted(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        self.wrong(key, f"is no setting; {hint}")

    def settings(self, cls: type[S], value: Any, key: Key, **given: Any) -> S | None:
        """The settings in a table; None if something is wrong with them. `given` needs no reading any more."""
        table = self.table(value, key)
        hints = get_type_hints(cls, include_extras=True)
        fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        before = len(self.problems)
        read = dict(given)
        for name, setting in table.items():
            if name in given:
                continue
            if name not in fields:
                self.unknown((*key, name), fields)
            else:
                self._field(read, name, hints[name], setting, (*key, name))
        for name, field in fields.items():
            absent = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if absent and name not in table and name not in given:
                self.wrong((*key, name), "is missing")
        if len(self.problems) > before:
            return None
        try:
            return cls(**read)
        except ConfigError as error:
            name, _, rest = str(error).partition(" ")
            self.wrong((*key, name) if name in fields else key, rest if name in fields else str(error))
            return None

    def _field(self, read: dict[str, Any], name: str, hint: Any, value: Any, key: Key) -> None:
        try:
            read[name] = self._value(hint, value)
        except (ValueError, msgspec.ValidationError) as error:
            self.wrong(key, str(error).replace(" - at `$`", ""))

    def _value(self, hint: Any, value: Any) -> Any:
        if Unit.SECONDS in get_args(hint):
            return _duration(value)
        if Unit.BYTES in get_args(hint):
            return _size(value)
        if hint == Secret | None:
            return self._secret(value)
        if get_origin(hint) is tuple and get_args(hint)[0] is Secret:
            return tuple(self._secret(reference) for reference in msgspec.convert(value, list[str]))
        return msgspec.convert(value, hint)

    def _secret(self, value: Any) -> Secret:
        """The secret behind a reference."""
        kind, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
        sources = {"env": self._from_env, "file": self._from_file, "cmd": _from_command}
        if kind not in sources or not rest:
            raise ValueError("must be a reference to a secret: 'env:NAME', 'file:PATH' or 'cmd:ARGV', never the secret")
        secret = sources[kind](rest).strip()
        if not secret:
            raise ValueError(f"{value!r} is empty")
        return Secret(secret, value)

    def _from_env(self, name: str) -> str:
        if name not in self._environ:
            raise ValueError(f"the environment variable {name} is not set")
        return self._environ[name]

    def _from_file(self, path: str) -> str:
        try:
            return (self._base / Path(path).expanduser()).read_text("utf-8")
        except OSError as error:
            raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None


def _from_command(command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - an argv from the user's own file, and no shell
            shlex.split(command), capture_output=True, timeout=_SECRET_TIMEOUT, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(f"the command {command!r} gave no secret: {type(error).__name__}") from None
    return done.stdout.decode("utf-8", "replace")


def _duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {Unit.SECONDS.value}, not {_kind(value)}")  # noqa: TRY004 - what is wrong is the value
    seconds = parse_duration(str(value))
    if seconds < 0:
        raise ValueError(f"must not be negative, not {value!r}")
    return seconds


def _size(value: Any) -> int:
    match = re.fullmatch(r"(\d{1,18})\s*([a-z]*)", str(value).strip().lower())
    if isinstance(value, bool) or match is None or match[2] not in _SIZES:
        raise ValueError(f"must be {Unit.BYTES.value}, not {value!r}")
    return int(match[1]) * _SIZES[match[2]]


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(value), "a date")


def circuit_settings(reader: Reader, key: Key, *tables: Mapping[str, Any]) -> CircuitSettings | None:
    """Circuit settings from tables of which a later one overrides an earlier one."""
    return reader.settings(CircuitSettings, {name: value for table in tables for name, value in table.items()}, key)
