"""Reads the event log back: the last lines without the rest of a large file, and what is being written now."""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from recloser.observe.audit import log_files

_BLOCK = 65536
_LONGEST_LINE = 2**20
_MOST_FILES = 100


class Line(NamedTuple):
    """A line of the log: as it stands there, and what it says."""

    raw: bytes
    facts: Mapping[str, Any]

    @property
    def time(self) -> float:
        """When it was told, as Unix time; the beginning of time if it does not say."""
        try:
            return datetime.fromisoformat(self.facts["ts"]).timestamp()
        except (KeyError, TypeError, ValueError):
            return 0.0


Wanted = Callable[[Line], bool]


def read(folder: Path, wanted: Wanted, *, since: float = 0.0) -> Iterator[Line]:
    """The lines of a log that are wanted, the oldest first. Files that were done before `since` are not opened."""
    for path in log_files(folder):
        try:
            if path.stat().st_mtime < since:
                continue
            with path.open("rb") as file:
                yield from filter(wanted, lines(file))
        except FileNotFoundError:  # just now put aside, or thrown away
            continue


def read_last(folder: Path, wanted: Wanted, count: int, *, ends: Mapping[int, int] | None = None) -> list[Line]:
    """The last `count` lines that are wanted, the oldest first. Reads backwards and stops when it has them.

    `ends` says, by inode, how far each file reaches; without it, as far as it does.
    """
    found: list[Line] = []
    for path in reversed(log_files(folder)):
        for raw in _backwards(path, ends):
            if len(found) >= count:
                break
            line = parsed(raw)
            if line is not None and wanted(line):
                found.append(line)
    return found[::-1]


class Tail:
    """What is written to a log from now on, over rotations: a file that is put aside keeps its inode."""

    def __init__(self, folder: Path, *, since: float | None = None) -> None:
        """Begins now; or with the files that were written to after `since`."""
        self._folder = folder
        self._read: dict[int, int] = {}
        """How far each file has been read, by inode: also of some that are gone, for one may just be changing names."""
        for path in log_files(folder):
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if since is None or stat.st_mtime < since:
                    self._read[stat.st_ino] = _end_of_whole_lines(file)

    @property
    def ends(self) -> Mapping[int, int]:
        """How far each file has been read, by inode."""
        return dict(self._read)

    def fresh(self) -> Iterator[Line]:
        """The lines written since the last time."""
        for path in log_files(self._folder):
            try:
                with path.open("rb") as file:
                    yield from self._fresh_of(file)
            except FileNotFoundError:
                continue
        while len(self._read) > _MOST_FILES:
            del self._read[next(iter(self._read))]

    def _fresh_of(self, file: BinaryIO) -> Iterator[Line]:
        stat = os.fstat(file.fileno())
        start = self._read.pop(stat.st_ino, 0)
        file.seek(start if start <= stat.st_size else 0)
        while (raw := file.readline()).endswith(b"\n"):
            if (line := parsed(raw)) is not None:
                yield line
        self._read[stat.st_ino] = file.tell() - len(raw)  # what is not ended yet is read the next time


def parsed(raw: bytes) -> Line | None:
    """A line, or None if it is torn."""
    try:
        facts = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Line(raw.strip(), facts) if isinstance(facts, dict) else None


def lines(file: BinaryIO) -> Iterator[Line]:
    """The whole lines of an open file."""
    while raw := file.readline(_LONGEST_LINE):
        if (line := parsed(raw)) is not None:
            yield line


def _backwards(path: Path, ends: Mapping[int, int] | None) -> Iterator[bytes]:
    """The lines of a file, the last first, a block at a time."""
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            position = stat.st_size if ends is None else ends.get(stat.st_ino, 0)
            rest = b""
            while position > 0:
                size = min(_BLOCK, position)
                position = file.seek(position - size)
                rest = file.read(size) + rest
                first, *whole = rest.split(b"\n")
                yield from reversed(whole)
                rest = first if len(first) <= _LONGEST_LINE else b""
            yield rest
    except FileNotFoundError:
        return


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Where the last whole line of an open file ends."""
    position = file.seek(0, 2)
    while position > 0:
        size = min(_BLOCK, position)
        file.seek(position - size)
        newline = file.read(size).rfind(b"\n")
        if newline >= 0:
            return position - size + newline + 1
        position -= size
    return 0
