"""The event log: JSON lines in a folder, rotated by size and age, written by a thread of its own.

A line is written whole or, after a crash or a full disk, is followed by a fresh one: a torn line never hides the next.
While the disk refuses, events wait in memory, up to a bound; how many were dropped past it is written down as well.
"""

import fcntl
import os
import threading
import time
from collections import deque
from datetime import datetime
from pathlib import Path

import msgspec

from recloser.observe.hub import Stamped, rfc3339

CURRENT = "events.jsonl"
_FLUSH_AFTER = 0.2
_RETRY_AFTER = 1.0
_MOST_WAITING = 50_000
_encode = msgspec.json.Encoder(enc_hook=str).encode


class AuditLog:
    """Writes every event it hears."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 64 * 2**20,
        max_age: float = 86400.0,
        keep: int = 14,
        max_waiting: int = _MOST_WAITING,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._keep = keep
        self._waiting: deque[Stamped] = deque()
        self._max_waiting = max_waiting
        self._dropped = 0
        self._wake = threading.Event()
        self._closing = False
        self._file = -1
        self._torn = False
        self._thread = threading.Thread(target=self._run, name="recloser-audit", daemon=True)
        self._thread.start()

    def __call__(self, stamped: Stamped) -> None:
        """Take an event; never waits for the disk."""
        if len(self._waiting) >= self._max_waiting:
            self._dropped += 1
            return
        self._waiting.append(stamped)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 5.0) -> None:
        """Write what is waiting, for at most `timeout` seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            written = self._write_waiting()
            if self._closing:
                break
            time.sleep(_FLUSH_AFTER if written else _RETRY_AFTER)
            if not written:
                self._wake.set()
        if self._file >= 0:
            os.close(self._file)

    def _write_waiting(self) -> bool:
        """Write every waiting event. False if the disk refuses."""
        try:
            while self._waiting:
                self._open()
                batch = [self._waiting[i] for i in range(min(len(self._waiting), 512))]
                self._append(b"".join(_encode(stamped.facts()) + b"\n" for stamped in batch))
                for _ in batch:
                    self._waiting.popleft()
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    note = {"ts": rfc3339(time.time()), "kind": "events_dropped", "count": dropped}
                    self._append(_encode(note) + b"\n")
        except OSError:
            return False
        return True

    def _append(self, data: bytes) -> None:
        start = b"\n" if self._torn else b""
        self._torn = True
        written = os.write(self._file, start + data)
        if written < len(start) + len(data):
            raise OSError("the disk took only a part")
        self._torn = False

    def _open(self) -> None:
        """Have the current file open, a new one if the old one is too large, too old or gone."""
        path = self._folder / CURRENT
        if self._file >= 0:
            mine = os.fstat(self._file)
            try:
                there = path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and there.st_ino == mine.st_ino and not self._full(path, mine.st_size):
                return
            os.close(self._file)
            self._file = -1
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and self._full(path, path.stat().st_size):
                self._rotate(path)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._file).st_size
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def _full(self, path: Path, size: int) -> bool:
        return size >= self._max_bytes or (size > 0 and time.time() - _first_written(path) >= self._max_age)

    def _rotate(self, path: Path) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        for number in range(1000):
            old = self._folder / f"events-{stamp}-{number:03}.jsonl"
            if not old.exists():
                path.rename(old)
                break
        for stale in log_files(self._folder)[: -self._keep]:
            if stale.name != CURRENT:
                stale.unlink(missing_ok=True)


def _first_written(path: Path) -> float:
    """When a log file was begun, by its own first line."""
    try:
        with path.open("rb") as file:
            first = msgspec.json.decode(file.readline(65536))
        return datetime.fromisoformat(first["ts"]).timestamp()
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError):
        return path.stat().st_mtime


def log_files(folder: Path) -> list[Path]:
    """The files of an event log, the oldest first."""
    rotated = sorted(folder.glob("events-*.jsonl"))
    current = folder / CURRENT
    return [*rotated, *([current] if current.exists() else [])]
