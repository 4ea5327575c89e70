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
        when = "until it is reset" if retry_after is None else f"try again in {format_duration(retry_after)}"
        super().__init__(f"circuit {name!r} is {state} ({reason}); {when}")
        self.name = name
        self.state = state
        self.retry_after = retry_after
        self.reason = reason
