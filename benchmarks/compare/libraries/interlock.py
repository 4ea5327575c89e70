"""interlock-cb. It judges by rates: N failures of the last N calls are what others call N consecutive ones.

`call_sync` and `call_async` are measured as `call`: they are its fastest form, without detection of coroutines.
"""

from collections.abc import Callable, Mapping
from typing import Any

import interlock  # type: ignore[import-not-found]
from benchmarks.compare.library import AsyncWith, Call, Decorator, Excluded, Library, Settings, Way, With
from benchmarks.compare.redis_client import client


class _Classifier:
    """An excluded error is no failure; a trial that ends in one is inconclusive, by `unreachable_exceptions`."""

    def is_failure(self, *, result: object, exception: Exception | None) -> bool:
        del result
        return exception is not None and not isinstance(exception, Excluded)


class _Interlock(Library):
    package = "interlock"
    refusal = interlock.CircuitOpenError
    store = "redis"

    def make(self, settings: Settings | None = None) -> Any:
        if settings is None:
            return interlock.CircuitBreaker(name="upstream")
        excluded = {"classifier": _Classifier(), "unreachable_exceptions": (Excluded,)} if settings.exclude else {}
        return interlock.CircuitBreaker(name="upstream", config=_config(settings), **excluded)

    def sync(self, breaker: Any) -> Mapping[str, Way]:
        return {
            "call": Call(breaker.call_sync),
            "decorator": Decorator(breaker),
            "with": With(lambda: breaker, kept=True),
        }

    def asynchronous(self, breaker: Any) -> Mapping[str, Way]:
        return {
            "call": Call(breaker.call_async),
            "decorator": Decorator(breaker),
            "with": AsyncWith(lambda: breaker, kept=True),
        }

    def decorate(self, breaker: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        decorated: Callable[..., Any] = breaker(function)
        return decorated

    def read(self, breaker: Any) -> None:
        _ = breaker.state, breaker.snapshot(), repr(breaker)

    def failures(self, breaker: Any) -> int:
        return int(breaker.snapshot().failed_calls)

    def retry_after(self, refusal: Exception) -> float | None:
        seconds: float | None = refusal.retry_after  # type: ignore[attr-defined]
        return seconds

    def shared(self, settings: Settings, url: str) -> Way:
        from interlock.integrations.redis import RedisStorage  # type: ignore[import-not-found]  # noqa: PLC0415

        storage = RedisStorage(client(url), state_ttl=settings.lease, poll_interval=0.1)
        breaker = interlock.CircuitBreaker(name="upstream", config=_config(settings), storage=storage)
        return Call(breaker.call_sync)


def _config(settings: Settings) -> Any:
    calls = 10 if settings.rate is not None else settings.failures
    return interlock.Config(
        failure_rate_threshold=1.0 if settings.rate is None else settings.rate,
        minimum_number_of_calls=calls,
        window_size=calls,
        slow_call_duration_threshold=60.0 if settings.slow is None else settings.slow,
        permitted_calls_in_half_open=1,
        wait_duration_in_open=settings.cooldown,
        wait_duration_backoff_multiplier=settings.growth,
    )


LIBRARY = _Interlock()
