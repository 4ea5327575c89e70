"""aiobreaker: pybreaker's heir for asyncio, with the plain calls kept.

Its decorator takes a method only in the form with brackets, `@breaker()`.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import aiobreaker  # type: ignore[import-not-found]
from aiobreaker.storage.redis import CircuitRedisStorage  # type: ignore[import-not-found]
from benchmarks.compare.library import Call, Decorator, Excluded, Library, Settings, Way
from benchmarks.compare.redis_client import client


class _AioBreaker(Library):
    package = "aiobreaker"
    refusal = aiobreaker.CircuitBreakerError
    store = "redis"

    def make(self, settings: Settings | None = None) -> Any:
        return self._made(settings, None) if settings else aiobreaker.CircuitBreaker()

    def sync(self, breaker: Any) -> Mapping[str, Way]:
        return {"call": Call(breaker.call), "decorator": Decorator(breaker())}

    def asynchronous(self, breaker: Any) -> Mapping[str, Way]:
        return {"call": Call(breaker.call_async), "decorator": Decorator(breaker())}

    def decorate(self, breaker: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        decorated: Callable[..., Any] = breaker()(function)
        return decorated

    def read(self, breaker: Any) -> None:
        _ = breaker.state, breaker.current_state, breaker.fail_counter, repr(breaker)

    def failures(self, breaker: Any) -> int:
        return int(breaker.fail_counter)

    def retry_after(self, refusal: Exception) -> float | None:
        remaining: timedelta = refusal.time_remaining  # type: ignore[attr-defined]
        return remaining.total_seconds()

    def shared(self, settings: Settings, url: str) -> Way:
        storage = CircuitRedisStorage(aiobreaker.CircuitBreakerState.CLOSED, client(url))
        return Call(self._made(settings, storage).call)

    def _made(self, settings: Settings, storage: Any) -> Any:
        return aiobreaker.CircuitBreaker(
            fail_max=settings.failures,
            timeout_duration=timedelta(seconds=settings.cooldown),
            exclude=[Excluded] if settings.exclude else [],
            state_storage=storage,
        )


LIBRARY = _AioBreaker()
