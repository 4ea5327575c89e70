"""Reads what the gateway writes down about itself: every told fact comes from here or from a client."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

_TICK = 0.0011
"""The log's times are in whole milliseconds."""


class EventLog:
    """The gateway's event log, followed while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.events: list[dict[str, Any]] = []

    def refresh(self) -> list[dict[str, Any]]:
        """All events so far, each with `at`, its Unix time."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in filter(None, whole.splitlines()):
                event = json.loads(line)
                self.events.append(event | {"at": datetime.fromisoformat(event["ts"]).timestamp()})
        return self.events

    def first(self, kind: str, after: float, **facts: Any) -> dict[str, Any] | None:
        """The first event of that kind and with those facts since a time."""
        return next(
            (
                event
                for event in self.refresh()
                if event["kind"] == kind and event["at"] > after - _TICK and facts.items() <= event.items()
            ),
            None,
        )
