"""Every exception of recloser.

RecloserError
 ├─ ConfigError (also a ValueError)   settings that cannot work
 └─ CircuitOpenError                  a circuit refused the call
"""

from recloser.core.duration import format_duration


class RecloserError(Exception):
    """Anything that recloser itself raises."""


class ConfigError(RecloserError, ValueError):
    """Settings that cannot work; the message names the key and what is allowed."""


class CircuitOpenError(RecloserError):
    """A circuit refused the call. `retry_after` is in seconds; None when time alone will not reopen it."""

    def __init__(self, name: str, state: str, retry_after: float | None, reason: str) -> None:
        super().__init__(name, state, retry_after, reason)
        self.name = name
        self.state = state
        self.retry_after = retry_after
        self.reason = reason

    def __str__(self) -> str:  # only where somebody reads it: refusing must be cheap
        again = "until it is reset" if self.retry_after is None else f"try again in {format_duration(self.retry_after)}"
        return f"circuit {self.name!r} is {self.state} ({self.reason}); {again}"
