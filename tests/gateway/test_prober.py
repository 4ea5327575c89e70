"""Accounts that wait for proof: a refused key is proven well by the provider's own list of models."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from recloser.breaker import Breakers
from recloser.core.circuit_state import CircuitState
from recloser.core.classify import AUTH
from recloser.core.events import CircuitClosed, Event
from recloser.gateway.gateway import Gateway
from recloser.gateway.runtime.prober import Prober
from recloser.gateway.settings import GatewaySettings, ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes
from recloser.simulate.provider import Provider


class Stage:
    """A gateway with one account that the provider has refused, and a prober that is in a hurry."""

    def __init__(self, url: str) -> None:
        self.closed = asyncio.Event()
        self.prober: Prober | None = None
        provider = ProviderSettings(kind="simulated", base_url=f"{url}/v1")
        self.breakers = Breakers(listeners=[self.hears])
        routes = Routes({"a": provider}, {"*": RouteSettings(targets=("a/{model}",))}, {})
        self.gateway = Gateway(settings=GatewaySettings(), routes=routes, breakers=self.breakers, emit=self.hears)

    def hears(self, event: Event) -> None:
        if isinstance(event, CircuitClosed):
            self.closed.set()
        if self.prober is not None:
            self.prober.heard(event)


@asynccontextmanager
async def staged(mode: str = "off") -> AsyncIterator[tuple[Stage, Provider]]:
    provider = Provider("p", mode=mode)
    stage = Stage(f"http://127.0.0.1:{await provider.start()}")
    try:
        async with aiohttp.ClientSession() as session, Prober(stage.gateway, session, every=0.01) as stage.prober:
            yield stage, provider
    finally:
        await provider.stop()


def play(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await story

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something is true; the play is bounded."""
    while not condition():  # noqa: ASYNC110 - what is waited for are other tasks
        await asyncio.sleep(0)


def test_an_account_comes_back_once_its_key_is_taken_again() -> None:
    async def story() -> None:
        async with staged() as (stage, _):
            stage.breakers["account/a"].acquire().fail(AUTH.failure(status=401))
            await stage.closed.wait()
            assert stage.breakers["account/a"].state is CircuitState.CLOSED

    play(story())


def test_a_key_that_is_still_refused_is_asked_about_again_and_the_circuit_stays_open() -> None:
    async def story() -> None:
        async with staged("401") as (stage, provider):
            stage.breakers["account/a"].acquire().fail(AUTH.failure(status=401))
            await until(lambda: provider.tally.counts.requests >= 3)
            assert stage.breakers["account/a"].state is CircuitState.OPEN

    play(story())


def test_what_reopened_for_another_reason_is_not_closed_by_an_old_probe() -> None:
    async def story() -> None:
        async with staged("first=50ms") as (stage, provider):
            breaker = stage.breakers["account/a"]
            breaker.acquire().fail(AUTH.failure(status=401))
            await until(lambda: provider.tally.counts.requests >= 1)
            breaker.reset()
            breaker.force_open(3600.0, reason="a quota until later")
            stage.closed.clear()
            await until(lambda: stage.prober is not None and not stage.prober.busy)
            assert breaker.state is CircuitState.FORCED_OPEN

    play(story())
