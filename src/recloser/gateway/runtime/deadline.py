"""One timer for all that a task waits for, one thing after the other.

A request waits half a dozen times, and nearly always for less than its deadline. Moving one timer's deadline costs an
assignment; only a deadline that is earlier than the armed timer arms it anew.
"""

import asyncio
import math
from types import TracebackType
from typing import Any, Self


class Deadline:
    """The current task's deadline. Seconds count from now, on the loop's clock.

    with deadline.within(5.0):
        await something()      # TimeoutError after 5 s
    """

    __slots__ = ("_armed_for", "_expired", "_loop", "_task", "_timer", "_until")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] = task
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = math.inf
        self._until = math.inf
        self._expired = False

    def within(self, seconds: float) -> Self:
        """Allow the `with` block this long."""
        self._until = self._loop.time() + seconds
        if self._until < self._armed_for:
            self._arm()
        return self

    def __enter__(self) -> None:
        self._expired = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._until = math.inf
        # As in asyncio.timeout: take back our own cancelling, and pass on that of others.
        if self._expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def close(self) -> None:
        """The task waits for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = self._until
        self._timer = self._loop.call_at(self._until, self._due)

    def _due(self) -> None:
        self._timer = None
        self._armed_for = math.inf
        if self._loop.time() < self._until:
            if self._until < math.inf:
                self._arm()
        else:
            self._expired = True
            self._task.cancel()
