"""pybreaker. Its `call_async` is for Tornado; it says nothing of asyncio."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pybreaker  # type: ignore[import-not-found]
from benchmarks.compare.library import Call, Decorator, Excluded, Library, Settings, Way, With
from benchmarks.compare.redis_client import client


class _PyBreaker(Library):
    package = "pybreaker"
    refusal = pybreaker.CircuitBreakerError
    store = "redis"

    def make(self, settings: Settings | None = None) -> Any:
        return self._made(settings, None) if settings else pybreaker.CircuitBreaker()

    def sync(self, breaker: Any) -> Mapping[str, Way]:
        return {"call": Call(breaker.call), "decorator": Decorator(breaker), "with": With(breaker.calling)}

    def decorate(self, breaker: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        decorated: Callable[..., Any] = breaker(function)
        return decorated

    def read(self, breaker: Any) -> None:
        _ = breaker.state, breaker.current_state, breaker.fail_counter, breaker.success_counter, repr(breaker)

    def failures(self, breaker: Any) -> int:
        return int(breaker.fail_counter)

    def shared(self, settings: Settings, url: str) -> Way:
        storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client(url))
        return Call(self._made(settings, storage).call)

    def _made(self, settings: Settings, storage: Any) -> Any:
        make = partial(pybreaker.CircuitBreaker, exclude=[Excluded]) if settings.exclude else pybreaker.CircuitBreaker
        return make(fail_max=settings.failures, reset_timeout=settings.cooldown, state_storage=storage)


LIBRARY = _PyBreaker()
