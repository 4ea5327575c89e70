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

    args: tuple[str, str, float | None, str]

    def __init__(self, name: str, state: str, retry_after: float | None, reason: str, /) -> None:
        """Refusing must be cheap: `args` are set already, and nothing is put into words before somebody reads it."""

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self.args[0]

    @property
    def state(self) -> str:
        """The state in which it refused."""
        return self.args[1]

    @property
    def retry_after(self) -> float | None:
        """When to try again, in seconds; None when time alone will not reopen it."""
        return self.args[2]

    @property
    def reason(self) -> str:
        """What opened it."""
        return self.args[3]

    def __str__(self) -> str:
        again = "until it is reset" if self.retry_after is None else f"try again in {format_duration(self.retry_after)}"
        return f"circuit {self.name!r} is {self.state} ({self.reason}); {again}"
