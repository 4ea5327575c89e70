"""circuitbreaker. The decorator is its one documented way; its `with` and `call` count, but refuse nobody."""

from collections.abc import Callable, Mapping
from typing import Any

import circuitbreaker  # type: ignore[import-not-found]
from benchmarks.compare.library import Decorator, Excluded, Library, Settings, Way


class _CircuitBreaker(Library):
    package = "circuitbreaker"
    refusal = circuitbreaker.CircuitBreakerError

    def make(self, settings: Settings | None = None) -> Any:
        if settings is None:
            return circuitbreaker.CircuitBreaker()
        counts = (lambda kind, _: not issubclass(kind, Excluded)) if settings.exclude else Exception
        return circuitbreaker.CircuitBreaker(
            failure_threshold=settings.failures, recovery_timeout=settings.cooldown, expected_exception=counts
        )

    def sync(self, breaker: Any) -> Mapping[str, Way]:
        return {"decorator": Decorator(breaker)}

    def asynchronous(self, breaker: Any) -> Mapping[str, Way]:
        return {"decorator": Decorator(breaker)}

    def decorate(self, breaker: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        decorated: Callable[..., Any] = breaker(function)
        return decorated

    def read(self, breaker: Any) -> None:
        _ = breaker.state, breaker.opened, breaker.closed, breaker.open_until, breaker.open_remaining
        _ = breaker.failure_count, breaker.last_failure, str(breaker), repr(breaker)

    def failures(self, breaker: Any) -> int:
        return int(breaker.failure_count)


LIBRARY = _CircuitBreaker()
