"""Something short-lived that takes a while to get."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from recloser.core.classify import AUTH, UNREACHABLE
from recloser.gateway.credentials import renewed
from recloser.gateway.credentials.credential import CredentialError
from recloser.gateway.credentials.renewed import Fetched, Renewed


class Source:
    """Gives 1, 2, 3 and so on, from another thread, when it is allowed to."""

    def __init__(self, *, fresh_for: float = 60.0, good_for: float = 120.0) -> None:
        self.fetches = 0
        self.open = threading.Event()
        self.open.set()
        self.failure: CredentialError | None = None
        self.threads: set[int] = set()
        self._times = (fresh_for, good_for)

    def __call__(self) -> Fetched[int]:
        self.fetches += 1
        self.threads.add(threading.get_ident())
        assert self.open.wait(10)
        if self.failure is not None:
            raise self.failure
        return Fetched(self.fetches, *self._times)


def play(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is true; the play is bounded."""
    while not condition():  # noqa: ASYNC110 - what is waited for is another thread
        await asyncio.sleep(0.001)


def test_what_is_there_is_given_at_once_and_fetched_on_another_thread() -> None:
    async def story() -> None:
        source = Source()
        kept = Renewed(source)
        assert [await kept.get() for _ in range(3)] == [1, 1, 1]
        assert source.fetches == 1
        assert threading.get_ident() not in source.threads

    play(story())


def test_all_who_come_too_early_wait_for_one_fetch_and_the_loop_goes_on() -> None:
    async def story() -> None:
        source = Source()
        source.open.clear()
        kept = Renewed(source)
        waiting = [asyncio.create_task(kept.get()) for _ in range(5)]
        await until(lambda: source.fetches == 1)
        assert not any(task.done() for task in waiting)
        source.open.set()
        assert await asyncio.gather(*waiting) == [1] * 5
        assert source.fetches == 1

    play(story())


def test_the_next_one_is_fetched_ahead_while_the_old_one_is_given() -> None:
    async def story() -> None:
        source = Source(fresh_for=0.0)
        kept = Renewed(source)
        assert await kept.get() == 1
        source.open.clear()
        await until(lambda: source.fetches >= 2)  # nobody asked for it
        before = source.fetches - 1
        assert await kept.get() in (before, before + 1), "nobody waits for the next one"
        source.open.set()
        seen = source.fetches
        await until(lambda: source.fetches > seen)

    play(story())


def test_a_failure_to_renew_is_hidden_as_long_as_the_old_one_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewed, "RETRY_AFTER", 0.0)

    async def story() -> None:
        source = Source(fresh_for=0.0)
        kept = Renewed(source)
        await kept.get()
        source.failure = CredentialError(UNREACHABLE, "no way")
        seen = source.fetches
        await until(lambda: source.fetches > seen + 2)
        assert await kept.get() <= seen + 1
        source.failure = None

    play(story())


def test_a_failure_with_nothing_to_fall_back_on_is_told_at_once_until_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewed, "RETRY_AFTER", 1000.0)

    async def story() -> None:
        source = Source()
        source.failure = CredentialError(AUTH, "who are you")
        kept = Renewed(source)
        for _ in range(3):
            with pytest.raises(CredentialError, match="who are you") as told:
                await kept.get()
            assert told.value.row is AUTH
        assert source.fetches == 1, "a refusal is not asked for again with each request"
        source.failure = None
        kept.begin()
        await until(lambda: source.fetches == 2)
        await until(lambda: kept._fetching is None)
        assert await kept.get() == 2

    play(story())


def test_one_that_has_ended_is_fetched_anew() -> None:
    async def story() -> None:
        source = Source(good_for=-1.0)
        kept = Renewed(source)
        for fetches in (1, 2):
            with pytest.raises(CredentialError, match="ended while"):
                await kept.get()
            assert source.fetches == fetches

    play(story())


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewed, "WAIT", 0.01)

    async def story() -> None:
        source = Source()
        source.open.clear()
        kept = Renewed(source)
        with pytest.raises(CredentialError, match="no credentials within") as told:
            await kept.get()
        assert told.value.row is UNREACHABLE
        source.open.set()

    play(story())


def test_a_request_that_is_given_up_does_not_give_up_the_fetch() -> None:
    async def story() -> None:
        source = Source()
        source.open.clear()
        kept = Renewed(source)
        impatient = asyncio.create_task(kept.get())
        await until(lambda: source.fetches == 1)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        source.open.set()
        assert await kept.get() == 1
        assert source.fetches == 1

    play(story())


def test_one_that_nobody_keeps_is_not_renewed() -> None:
    async def story() -> None:
        source = Source()
        kept = Renewed(source)
        await kept.get()
        forgotten = weakref.ref(kept)
        del kept
        gc.collect()
        assert forgotten() is None, "its timer does not keep it"
        renewed._begin(forgotten)  # what its timer does when its time has come
        assert source.fetches == 1

    play(story())
