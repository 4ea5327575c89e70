"""Proves accounts well that time does not cure: a refused key, an unpaid bill.

Such a circuit waits for proof and not for a time. The cheapest check is the provider's list of models, asked with
the account's own key; while it is refused, it is asked again at the same pace. No client's request is risked.
"""

import asyncio
import contextlib
from typing import Self

import aiohttp

from recloser.breaker import CircuitBreaker
from recloser.core.circuit_state import CircuitState
from recloser.core.events import CircuitOpened, Event
from recloser.gateway.gateway import Gateway
from recloser.gateway.runtime.models import NO_LIST, list_models
from recloser.gateway.targets import Endpoint

PROBE_EVERY = 300.0


class Prober:
    """Probes the accounts whose circuits wait for proof, from when they open until they close."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, *, every: float = PROBE_EVERY) -> None:
        self._gateway = gateway
        self._session = session
        self._every = every
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def busy(self) -> bool:
        """Whether some account is being probed."""
        return bool(self._tasks)

    def heard(self, event: Event) -> None:
        """Begin to probe when a circuit opens until it is proven well."""
        if not isinstance(event, CircuitOpened) or event.retry_after is not None or event.subject in self._tasks:
            return
        endpoint = self._endpoint_of(event.subject)
        if endpoint is not None:
            task = asyncio.get_running_loop().create_task(self._prove(event.subject, endpoint))
            self._tasks[event.subject] = task

    def _endpoint_of(self, circuit: str) -> Endpoint | None:
        """An endpoint that uses this account."""
        kind, _, account = circuit.partition("/")
        if kind != "account":
            return None
        endpoints = (e for all_of_one in self._gateway.routes.endpoints.values() for e in all_of_one)
        return next((endpoint for endpoint in endpoints if endpoint.account == account), None)

    async def _prove(self, circuit: str, endpoint: Endpoint) -> None:
        breaker = self._gateway.breakers[circuit]
        try:
            while _waits_for_proof(breaker):
                await asyncio.sleep(self._every)
                with contextlib.suppress(*NO_LIST):
                    await list_models(self._session, endpoint)
                    if _waits_for_proof(breaker):  # else another failure opened it meanwhile
                        breaker.restore()
        finally:
            self._tasks.pop(circuit, None)


def _waits_for_proof(breaker: CircuitBreaker) -> bool:
    denied = breaker.denial()
    return denied is not None and denied.state is CircuitState.OPEN and denied.retry_after is None
