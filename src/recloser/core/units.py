"""What a setting's number means, said in its type, so that a configuration file may write it as people do."""

from enum import Enum
from typing import Annotated


class Unit(Enum):
    """The unit of a setting."""

    SECONDS = "seconds, or a string such as '90s', '10m', '5h'"
    BYTES = "bytes, or a string such as '64MiB'"


Duration = Annotated[float, Unit.SECONDS]
Size = Annotated[int, Unit.BYTES]


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
