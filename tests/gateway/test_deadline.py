"""One timer for all that a task waits for."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from recloser.gateway.runtime.deadline import Deadline


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def test_a_wait_that_is_too_long_times_out() -> None:
    async def story() -> None:
        with contextlib.closing(Deadline()) as deadline:
            with pytest.raises(TimeoutError), deadline.within(0.01):
                await asyncio.Event().wait()
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

    run(story())


def test_a_later_wait_may_be_shorter_or_longer_than_the_one_before() -> None:
    async def story() -> None:
        with contextlib.closing(Deadline()) as deadline:
            with deadline.within(60.0):
                pass
            with pytest.raises(TimeoutError), deadline.within(0.01):
                await asyncio.Event().wait()
            with pytest.raises(TimeoutError), deadline.within(0.02):
                await asyncio.Event().wait()

    run(story())


def test_a_deadline_that_was_armed_for_an_earlier_wait_does_not_end_a_later_one() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with contextlib.closing(Deadline()) as deadline:
            with deadline.within(0.01):
                pass
            arrived = loop.create_future()
            loop.call_later(0.05, arrived.set_result, "late, but in time")
            with deadline.within(60.0):
                assert await arrived == "late, but in time"

    run(story())


def test_a_cancel_from_outside_stays_a_cancel() -> None:
    async def story() -> None:
        waiting = asyncio.Event()

        async def wait() -> None:
            with contextlib.closing(Deadline()) as deadline, deadline.within(60.0):
                waiting.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(story())


def test_a_time_that_is_over_already_ends_the_wait_at_once() -> None:
    async def story() -> None:
        with contextlib.closing(Deadline()) as deadline, pytest.raises(TimeoutError), deadline.within(-5.0):
            await asyncio.Event().wait()

    run(story())
