"""What the provider received, for tests and demos to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

KEPT_BODY = 1024 * 1024
_MAX_NAMES = 256
_SECRET_HEADERS = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie"}
)


@dataclass(slots=True)
class Counts:
    """Numbers since the start or the last reset."""

    requests: int = 0
    cancelled: int = 0
    completed: int = 0
    by_path: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)
    by_mode: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class LastPost:
    """The last request that asked for something; of a large body the beginning is kept."""

    headers: dict[str, str]
    body: bytes
    body_bytes: int
    body_sha256: str


class Tally:
    """Counts requests; those still open survive a reset of the numbers."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.live = 0
        self.last: LastPost | None = None

    def reset(self) -> None:
        """Begin anew; what was open before ends unnoticed."""
        self.counts = Counts()
        self.last = None

    def begin(self, path: str) -> Counts:
        """A request arrives; its end is told to the same counts."""
        self.live += 1
        self.counts.requests += 1
        _count(self.counts.by_path, path)
        return self.counts

    def classify(self, counts: Counts, model: str, mode: str) -> None:
        """What was asked for, and which mode it met."""
        if model:
            _count(counts.by_model, model)
        _count(counts.by_mode, mode)

    def keep(self, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Remember this request as the last one."""
        shown = {name.lower(): _redact(name.lower(), _printable(value)) for name, value in headers}
        self.last = LastPost(shown, body[:KEPT_BODY], len(body), sha256(body).hexdigest())

    def report(self) -> dict[str, Any]:
        """All of it, but for the last body itself."""
        counts, last = self.counts, self.last
        return {
            "requests": counts.requests,
            "live": self.live,
            "completed": counts.completed,
            "cancelled": counts.cancelled,
            "by_path": dict(counts.by_path),
            "by_model": dict(counts.by_model),
            "by_mode": dict(counts.by_mode),
            "last_headers": last.headers if last else None,
            "last_body_bytes": last.body_bytes if last else None,
            "last_body_sha256": last.body_sha256 if last else None,
        }


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < _MAX_NAMES else "other"] += 1


def _printable(value: str) -> str:
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _redact(name: str, value: str) -> str:
    if name not in _SECRET_HEADERS:
        return value
    scheme, space, secret = value.rpartition(" ")
    return f"{scheme}{space}sha256:{sha256(secret.encode()).hexdigest()[:12]}"
