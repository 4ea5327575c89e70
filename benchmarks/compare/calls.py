"""Calls in flight: each is held inside the breaker until the scene says how it ends.

Scenes are written once, in plain sequence. Plain functions run in a thread each, coroutine functions in a task each of
a loop that runs only while a scene asks for something.
"""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from benchmarks.compare.clock import real_monotonic
from benchmarks.compare.library import Library, UpstreamError, Way, Work, protected

PATIENCE = 1.0
"""Real seconds within which a call reaches the upstream or is refused; after that it is waiting for another call."""


class OneAtATime(Exception):  # noqa: N818 - what a scene finds out, not what went wrong
    """A call waits until another one ends: the scene cannot be played."""


class NotPossible(Exception):  # noqa: N818
    """The library's way of calling knows no such thing."""


class InFlight(ABC):
    """One call. `reached` the upstream or not; `over` or still held."""

    def __init__(self) -> None:
        self.reached = False
        self.over = False
        self.raised: BaseException | None = None
        self._outcome: BaseException | None = None

    @property
    def waits(self) -> bool:
        """Neither let through nor refused: it waits for another call."""
        return not self.reached and not self.over

    @property
    def refused(self) -> bool:
        """Sent away without reaching the upstream."""
        return self.over and not self.reached

    @abstractmethod
    def end(self, error: BaseException | None = None) -> None:
        """Let the work return, or raise, and wait for what the breaker makes of it."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the caller, and wait until it is gone."""


class Calls(ABC):
    """Callers of one breaker, who all call it in the same way."""

    def __init__(self, library: Library, breaker: Any, way: Way) -> None:
        self.library = library
        self.breaker = breaker
        self._way = way

    @abstractmethod
    def begin(self, count: int) -> list[InFlight]:
        """So many callers at once; each is then held upstream, refused, or waits for another."""

    def read(self) -> None:
        """Look at the breaker."""
        self.library.read(self.breaker)

    def one(self) -> InFlight:
        """One caller."""
        (call,) = self.begin(1)
        if call.waits:
            raise OneAtATime
        return call

    def held(self) -> InFlight:
        """One caller that must get through."""
        call = self.one()
        if not call.reached:
            raise AssertionError(f"the scene needs a call to get through, and it got {call.raised!r}")
        return call

    def refuses(self) -> bool:
        """Whether one caller is sent away. One that gets through succeeds."""
        call = self.one()
        if call.reached:
            call.end()
        return call.refused

    def succeed(self, times: int = 1) -> None:
        """So many good calls, one after the other."""
        for _ in range(times):
            self.held().end()

    def fail(self, times: int = 1, error: Callable[[], BaseException] = UpstreamError) -> None:
        """So many failing calls, one after the other."""
        for _ in range(times):
            self.held().end(error())

    def is_closed(self) -> bool:
        """Whether one failure more leaves the circuit as it is: in half-open and in open it does not pass unnoticed."""
        call = self.one()
        if call.refused:
            return False
        call.end(UpstreamError())
        return not self.refuses()


class ThreadCalls(Calls):
    """Callers of plain functions."""

    def begin(self, count: int) -> list[InFlight]:
        """A thread each."""
        calls = [_ThreadCall(self._way) for _ in range(count)]
        give_up_at = real_monotonic() + PATIENCE
        while any(call.waits for call in calls) and real_monotonic() < give_up_at:
            time.sleep(0.001)
        return list(calls)


class _ThreadCall(InFlight):
    def __init__(self, way: Way) -> None:
        super().__init__()
        self._gate = threading.Event()
        self._call = protected(way, self._work)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        self.reached = True
        self._gate.wait()
        if self._outcome is not None:
            raise self._outcome

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - what comes out is what the scene looks at
            self.raised = error
        self.over = True

    def end(self, error: BaseException | None = None) -> None:
        self._outcome = error
        self._gate.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise OneAtATime

    def cancel(self) -> None:
        raise NotPossible


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose own time is real, whatever the scene does to the clocks."""

    def time(self) -> float:
        return real_monotonic()


class TaskCalls(Calls):
    """Callers of coroutine functions."""

    def __init__(self, library: Library, breaker: Any, way: Way) -> None:
        super().__init__(library, breaker, way)
        self._loop = _Loop()
        self._tasks: list[asyncio.Task[Any]] = []
        """All of them, for ever: a held task that nobody knows is collected, which ends its call."""

    def begin(self, count: int) -> list[InFlight]:
        """A task each."""
        calls = [_TaskCall(self, self._way) for _ in range(count)]
        self.run_until(lambda: not any(call.waits for call in calls))
        return list(calls)

    def run_until(self, done: Callable[[], bool]) -> None:
        """Let the tasks run, until it is so or patience ends."""
        give_up_at = real_monotonic() + PATIENCE
        try:
            self._loop.run_until_complete(self._turns(done, give_up_at))
        except (KeyboardInterrupt, SystemExit):  # an interrupt inside a task stops the loop as well
            self._loop.run_until_complete(self._turns(done, give_up_at))

    async def _turns(self, done: Callable[[], bool], give_up_at: float) -> None:
        turns = 0
        while not done() and real_monotonic() < give_up_at:
            turns += 1
            await asyncio.sleep(0 if turns < 100 else 0.001)

    def task(self, work: Work) -> "asyncio.Task[Any]":
        """Start a coroutine function."""
        task = self._loop.create_task(work())
        self._tasks.append(task)
        return task


class _TaskCall(InFlight):
    def __init__(self, calls: TaskCalls, way: Way) -> None:
        super().__init__()
        self._calls = calls
        self._gate = asyncio.Event()
        self._call = protected(way, self._work)
        self._task = calls.task(self._run)

    async def _work(self) -> None:
        self.reached = True
        await self._gate.wait()
        if self._outcome is not None:
            raise self._outcome

    async def _run(self) -> None:
        try:
            await self._call()
        except BaseException as error:  # noqa: BLE001 - what comes out is what the scene looks at
            self.raised = error
        self.over = True

    def end(self, error: BaseException | None = None) -> None:
        self._outcome = error
        self._gate.set()
        self._gone()

    def cancel(self) -> None:
        self._task.cancel()
        self._gone()

    def _gone(self) -> None:
        self._calls.run_until(lambda: self.over)
        if not self.over:
            raise OneAtATime
