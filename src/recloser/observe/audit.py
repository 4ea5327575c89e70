"""The event log: JSON lines in a folder, rotated by size and age, written by a thread of its own.

Several processes may write to one folder: they take turns, under a lock, batch by batch. A line is written whole or,
after a crash or a full disk, is followed by a fresh one: a torn line never hides the next. While the disk refuses,
events wait in memory, up to a bound; how many were dropped past it is written down as well.
"""

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from recloser.observe.hub import Stamped, rfc3339

CURRENT = "events.jsonl"
_ASIDE = re.compile(r"events-\d{8}T\d{6}-\d{6}\.jsonl")
_FLUSH_AFTER = 0.2
_RETRY_AFTER = 1.0
_MOST_WAITING = 50_000
_BATCH = 512
_encode = msgspec.json.Encoder(enc_hook=str).encode
_log = logging.getLogger("recloser")


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
        retry_after: float = _RETRY_AFTER,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._keep = keep
        self._max_waiting = max_waiting
        self._retry_after = retry_after
        self._waiting: deque[Stamped] = deque()
        self._dropped = 0
        self._refused = False
        self._counting = threading.Lock()
        self._note_seq = 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._file = -1
        self._begun = 0.0
        self._thread = threading.Thread(target=self._run, name="recloser-audit", daemon=True)
        self._thread.start()

    def __call__(self, stamped: Stamped) -> None:
        """Take an event; never waits for the disk."""
        if len(self._waiting) >= self._max_waiting:
            with self._counting:
                self._dropped += 1
            return
        self._waiting.append(stamped)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 5.0) -> None:
        """Write what is waiting, for at most `timeout` seconds. What the disk refuses even now is lost."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        stopping = False
        self._may_write(lambda: None)  # a folder that takes nothing is told at once, and not with the first event
        while not stopping:
            self._wake.wait()
            self._wake.clear()
            stopping = self._stopping.is_set()  # asked before the last batch, so that nothing is left behind it
            written = self._write_waiting()
            self._stopping.wait(_FLUSH_AFTER if written else self._retry_after)
            if not written:
                self._wake.set()
        if self._file >= 0:
            os.close(self._file)

    def _write_waiting(self) -> bool:
        """Write every waiting event. False if the disk refuses."""
        while self._waiting:
            if not self._may_write(self._write_batch):
                return False
        return True

    def _write_batch(self) -> None:
        self._append([_line(self._waiting[i]) for i in range(min(len(self._waiting), _BATCH))])
        self._note_dropped()

    def _may_write(self, write: Callable[[], None]) -> bool:
        """Write when it is our turn; False if the disk refuses, which is told once, and once that it no longer does."""
        try:
            with self._turn():
                write()
        except OSError as error:
            if not self._refused:
                _log.warning("the event log in %s cannot be written: %s; events wait in memory", self._folder, error)
            self._refused = True
            return False
        if self._refused:
            _log.warning("the event log in %s is written again", self._folder)
        self._refused = False
        return True

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the only one who writes to the folder, with the current file open."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._open(self._folder / CURRENT)
            yield

    def _append(self, lines: list[bytes]) -> None:
        """Write lines; those that the disk took whole, and only those, no longer wait."""
        fresh = b"" if self._ends_whole() else b"\n"
        data = fresh + b"".join(lines)
        written = os.write(self._file, data)
        for _ in range(data[:written].count(b"\n") - len(fresh) * (written > 0)):
            self._waiting.popleft()
        if written < len(data):
            raise OSError("the disk took only a part")

    def _note_dropped(self) -> None:
        if not self._dropped:
            return
        self._note_seq = max(self._note_seq + 1, int(time.time() * 1000))  # increases over restarts too
        note = {"ts": rfc3339(time.time()), "seq": self._note_seq, "kind": "events_dropped", "subject": "event_log"}
        dropped = self._dropped
        line = _encode({**note, "count": dropped}) + b"\n"
        if os.write(self._file, line) < len(line):
            raise OSError("the disk took only a part")
        with self._counting:
            self._dropped -= dropped

    def _ends_whole(self) -> bool:
        """Whether the file ends with a whole line: another process may have died in the middle of one."""
        size = os.fstat(self._file).st_size
        return size == 0 or os.pread(self._file, 1, size - 1) == b"\n"

    def _open(self, path: Path) -> None:
        """Have the current file open: a new one if the old one is too large, too old or gone."""
        if self._file >= 0 and not self._is(path):
            self._let_go()
        if self._file < 0:
            self._take(path)
        if self._full(os.fstat(self._file).st_size):
            self._let_go()
            self._rotate(path)
            self._take(path)

    def _take(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._begun = _first_written(path)

    def _let_go(self) -> None:
        os.close(self._file)
        self._file = -1

    def _is(self, path: Path) -> bool:
        """Whether that path still leads to the file that is open."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file), path.stat())
        return False

    def _full(self, size: int) -> bool:
        return size >= self._max_bytes or (size > 0 and time.time() - self._begun >= self._max_age)

    def _rotate(self, path: Path) -> None:
        """Put the current file aside, behind every other, whatever the wall clock has done since; drop the oldest."""
        name = f"events-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-000000.jsonl"
        aside = [file.name for file in log_files(self._folder) if file.name != CURRENT]
        if aside and name <= aside[-1]:
            date, _, number = Path(aside[-1]).stem.rpartition("-")
            name = f"{date}-{int(number) + 1:06}.jsonl"
        path.rename(self._folder / name)
        for stale in [*aside, name][: -self._keep]:
            (self._folder / stale).unlink(missing_ok=True)


def _line(stamped: Stamped) -> bytes:
    """An event as a line; of one that cannot be written, what it was."""
    try:
        return _encode(stamped.facts()) + b"\n"
    except Exception as error:  # noqa: BLE001 - one strange event must not end the log
        facts: dict[str, Any] = {"ts": rfc3339(stamped.time), "seq": stamped.event.seq, "kind": stamped.event.kind}
        subject = stamped.event.subject.encode("utf-8", "replace").decode("utf-8")
        return _encode({**facts, "subject": subject, "unwritable": type(error).__name__}) + b"\n"


def _first_written(path: Path) -> float:
    """When a log file was begun, by its own first line."""
    try:
        with path.open("rb") as file:
            first = msgspec.json.decode(file.readline(65536))
        return datetime.fromisoformat(first["ts"]).timestamp()
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return path.stat().st_mtime


def log_files(folder: Path) -> list[Path]:
    """The files of an event log, the oldest first."""
    rotated = sorted(file for file in folder.glob("events-*.jsonl") if _ASIDE.fullmatch(file.name))
    current = folder / CURRENT
    return [*rotated, *([current] if current.exists() else [])]
