"""What is wrong with a configuration, and where."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from recloser.core.errors import ConfigError

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` counts from 1; 0 where it is nowhere in the file."""

    key: Key
    message: str
    line: int = 0

    def __str__(self) -> str:
        name = dotted(self.key)
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{name}: {self.message}" if name else f"{place}{self.message}"


class BadConfigError(ConfigError):
    """A configuration that cannot be used; `problems` holds all that is wrong with it."""

    def __init__(self, path: Path | None, problems: list[Problem]) -> None:
        self.path = path
        self.problems = sorted(problems, key=lambda problem: problem.line)
        count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
        super().__init__("\n".join([f"{path or 'the configuration'} has {count}:", *(f"  {p}" for p in self.problems)]))


def dotted(key: Key) -> str:
    """A key as TOML writes it."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in key)


def line_numbers(text: str) -> dict[Key, int]:
    """Where each key of a TOML text stands.

    A line is read by asking the TOML parser itself what its header or its key means, so that quoting needs no second
    set of rules. A line inside a multi-line value may be taken for a key; that can only point a message elsewhere.
    """
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            header = _keys_of(stripped)
            if header:
                table = header
                lines.setdefault(table, number)
        elif "=" in stripped and not stripped.startswith("#"):
            for end in (m.start() for m in re.finditer("=", stripped)):
                key = _keys_of(stripped[:end] + "= 0")
                if key:
                    lines.setdefault(table + key, number)
                    break
    return lines


def _keys_of(line: str) -> Key:
    """The key path that a header or a `key = value` line leads to, or nothing if it is no such line."""
    try:
        here: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(here, dict) and len(here) == 1:
        ((name, here),) = here.items()
        path.append(name)
        if isinstance(here, list):
            here = here[0]
    return tuple(path)
