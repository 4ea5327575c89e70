"""Events in the standard library's log, one record each.

    breaker = CircuitBreaker("search", listeners=[LogSink()])

The message is one line in plain words; the facts are attributes of the record, `recloser_` before each name, where
a formatter that writes JSON finds them. Secrets are hidden in both, as in the event log.
"""

import logging
from collections.abc import Mapping

from recloser.core.errors import ConfigError
from recloser.core.events import Event
from recloser.observe.redact import redacted
from recloser.observe.words import in_words

LEVELS: Mapping[str, int] = {
    "circuit_opened": logging.WARNING,
    "circuit_would_open": logging.WARNING,
    "circuit_extended": logging.WARNING,
    "circuit_forced": logging.WARNING,
    "circuit_forgotten": logging.WARNING,
    "permit_expired": logging.WARNING,
    "store_lost": logging.ERROR,
}
"""The level of each kind of event that is more than information."""


class LogSink:
    """A listener that logs each event.

    `levels` says for kinds of events which level they have instead of the usual one; ConfigError if one is no number.
    Records are handled in the thread of the call that caused the event: put a slow handler behind a
    `logging.handlers.QueueHandler`.
    """

    def __init__(self, logger: str | logging.Logger = "recloser", *, levels: Mapping[str, int] | None = None) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._levels = {**LEVELS, **(levels or {})}
        for kind, level in self._levels.items():
            if not isinstance(level, int):
                raise ConfigError(f"levels[{kind!r}] must be a number such as logging.INFO, not {level!r}")

    def __call__(self, event: Event) -> None:
        """Log an event."""
        level = self._levels.get(event.kind, logging.INFO)
        if self._logger.isEnabledFor(level):
            facts = redacted(event.facts())
            extra = {f"recloser_{name}": fact for name, fact in facts.items()}  # a bare `message` or `args` is refused
            self._logger.log(level, in_words(facts), extra=extra)
