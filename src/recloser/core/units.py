"""What a setting's number means, said in its type, so that a configuration file may write it as people do."""

import math
import sys
from enum import Enum
from typing import Annotated, TypeGuard

from recloser.core.errors import ConfigError


class Unit(Enum):
    """The unit of a setting."""

    SECONDS = "seconds, or a string such as '90s', '10m', '5h'"
    BYTES = "bytes, or a string such as '64MiB'"


Duration = Annotated[float, Unit.SECONDS]
Size = Annotated[int, Unit.BYTES]


def in_seconds(name: str, given: object, *, may_be_off: bool = False) -> float:
    """A duration that code has set: a number of seconds or a `timedelta`, finite and above 0.

    `may_be_off`: 0 is taken too, and turns off what it is about. ConfigError names what cannot work.
    """
    value = given.total_seconds() if hasattr(given, "total_seconds") else given
    if is_number(value) and math.isfinite(value) and (value > 0 or (may_be_off and value == 0)):
        return float(value)
    least = "of at least 0 (0 turns it off)" if may_be_off else "above 0"
    raise ConfigError(f"{name} must be a finite duration {least}, not {given!r}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that can be reckoned with; a truth value is none, nor is a whole number beyond floats."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float)


class Secret:
    """A value that must not be shown, with the reference it came from: `env:NAME`, `file:PATH` or `cmd:ARGV`."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str) -> None:
        self._value = value
        self.reference = reference

    def reveal(self) -> str:
        """The value itself: only for the request that needs it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._value, self.reference) == (other._value, other.reference)

    def __hash__(self) -> int:
        return hash(self.reference)
