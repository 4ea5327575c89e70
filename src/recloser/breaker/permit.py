"""A permit that is out."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from recloser.core.circuit_state import Permit
from recloser.core.failure import Failure, FailureKind

if TYPE_CHECKING:
    from recloser.breaker.live import LiveCircuit


class HeldPermit:
    """The right to make one call. Settle it exactly once: only the first settlement counts.

    As a context manager it settles itself: by what leaves the block, unless it was settled inside.
    """

    __slots__ = ("began", "breaker", "left", "outer", "permit", "settled")

    def __init__(self, breaker: "LiveCircuit", permit: Permit, began: float) -> None:
        self.breaker = breaker
        self.permit = permit
        self.began = began
        """When its call began, on the breaker's clock."""
        self.settled = False

    left: bool
    """Whether the `with breaker:` block that holds it has ended. Set where there is such a block, like `outer`."""
    outer: "HeldPermit | None"
    """The permit of the block around that one."""

    @property
    def trial(self) -> bool:
        """Whether this is one of half-open's few permits, on whose outcome others wait."""
        return self.permit.number > 0

    def succeed(self, *, took: float | None = None) -> None:
        """The call went well. `took`: the seconds by which its slowness is judged; by default, since it was taken."""
        self.breaker._succeeded(self, took)

    def fail(self, what: Failure | FailureKind | BaseException, *, took: float | None = None) -> None:
        """The call failed. What the failure means decides whether it counts: some say nothing about health."""
        self.breaker._failed(self, what, took)

    def ignore(self) -> None:
        """The outcome says nothing about this circuit's health."""
        self.breaker._returned(self, "ignored")

    def cancel(self) -> None:
        """The caller gave up: the permit is free again at once, and that is no verdict."""
        self.breaker._returned(self, "cancelled")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.succeed()
        else:
            self.fail(error)

    def __repr__(self) -> str:
        return f"<HeldPermit of {self.breaker.name!r}{', settled' if self.settled else ''}>"
