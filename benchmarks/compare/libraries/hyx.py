"""hyx: for coroutine functions alone."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.compare.library import AsyncWith, Decorator, Library, Settings, UpstreamError, Way
from hyx.circuitbreaker import consecutive_breaker  # type: ignore[import-not-found]
from hyx.circuitbreaker.exceptions import BreakerFailing  # type: ignore[import-not-found]


class _Hyx(Library):
    package = "hyx"
    refusal = BreakerFailing

    def make(self, settings: Settings | None = None) -> Any:
        """It is told what counts rather than what does not."""
        if settings is None:
            return consecutive_breaker()
        return consecutive_breaker(
            exceptions=(UpstreamError,) if settings.exclude else Exception,
            failure_threshold=settings.failures,
            recovery_time_secs=settings.cooldown,
            recovery_threshold=1,
        )

    def asynchronous(self, breaker: Any) -> Mapping[str, Way]:
        return {"decorator": Decorator(breaker), "with": AsyncWith(lambda: breaker, kept=True)}

    def decorate(self, breaker: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        decorated: Callable[..., Any] = breaker(function)
        return decorated

    def read(self, breaker: Any) -> None:
        state = breaker.state
        _ = state.name, [getattr(state, name, None) for name in ("until", "remain", "since")], repr(breaker)

    def failures(self, breaker: Any) -> int:
        return int(breaker.state.consecutive_exceptions)


LIBRARY = _Hyx()
