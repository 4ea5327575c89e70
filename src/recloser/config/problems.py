"""What is wrong with a configuration, and where."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
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
    """A configuration that cannot be used; `problems` holds all that is wrong with it, in the order of the file."""

    def __init__(self, path: Path | None, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems = sorted(dict.fromkeys(problems), key=lambda problem: problem.line)
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        told = (f"  {problem}" for problem in self.problems)
        super().__init__("\n".join([f"{path or 'the configuration'} has {count}:", *told]))


def dotted(key: Key) -> str:
    """A key as TOML writes it."""
    return ".".join(
        part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part, ensure_ascii=False) for part in key
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """For people: the known name that was probably meant, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(names)}" if names else "none is known"


def line_numbers(text: str) -> dict[Key, int]:
    """Where each key of a TOML text stands. Keys inside a value stand where the value begins."""
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, statement in _statements(text):
        paths = list(_paths(tomllib.loads(statement)))
        if statement.lstrip().startswith("["):
            table = max(paths, key=len)
            lines.setdefault(table, number)
        else:
            for path in paths:
                lines.setdefault(table + path, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each assignment by itself, with its line. TOML's own parser says where one ends."""
    begun, start = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not begun and (not line.strip() or line.lstrip().startswith("#")):
            continue
        begun, start = (f"{begun}\n{line}", start) if begun else (line, number)
        try:
            tomllib.loads(begun)
        except ValueError:
            continue  # a value of several lines
        yield start, begun
        begun = ""


def _paths(value: object) -> Iterator[Key]:
    """Every key path inside a decoded value."""
    inner = value[0] if isinstance(value, list) and value else value
    if isinstance(inner, dict):
        for name, below in inner.items():
            yield (name,)
            yield from ((name, *path) for path in _paths(below))
