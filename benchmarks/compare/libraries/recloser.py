"""recloser itself, judged like the others."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.compare.library import AsyncWith, Call, Decorator, Excluded, Library, Settings, Way, With

from recloser import CircuitBreaker, CircuitOpenError, CircuitSettings, FailureKind


class _Recloser(Library):
    package = "recloser"
    refusal = CircuitOpenError
    store = "sqlite"

    def make(self, settings: Settings | None = None) -> CircuitBreaker:
        return self._made(settings, None) if settings else CircuitBreaker("upstream")

    def sync(self, breaker: CircuitBreaker) -> Mapping[str, Way]:
        return {"call": Call(breaker.call), "decorator": Decorator(breaker), "with": With(lambda: breaker, kept=True)}

    def asynchronous(self, breaker: CircuitBreaker) -> Mapping[str, Way]:
        return {
            "call": Call(breaker.call_async),
            "decorator": Decorator(breaker),
            "with": AsyncWith(lambda: breaker, kept=True),
        }

    def decorate(self, breaker: CircuitBreaker, function: Callable[..., Any]) -> Callable[..., Any]:
        return breaker(function)

    def read(self, breaker: CircuitBreaker) -> None:
        _ = breaker.state, breaker.snapshot(), repr(breaker)

    def failures(self, breaker: CircuitBreaker) -> int:
        return breaker.snapshot().failures

    def retry_after(self, refusal: Exception) -> float | None:
        assert isinstance(refusal, CircuitOpenError)
        return refusal.retry_after

    def shared(self, settings: Settings, url: str) -> Way:
        return Call(self._made(settings, url).call)

    def _made(self, settings: Settings, store: str | None) -> CircuitBreaker:
        return CircuitBreaker(
            "upstream",
            CircuitSettings(
                failure_threshold=settings.failures,
                failure_rate=0.0 if settings.rate is None else settings.rate,
                slow_call=60.0 if settings.slow is None else settings.slow,
                cooldown=settings.cooldown,
                cooldown_factor=settings.growth,
                jitter=settings.jitter,
                permit_lease=settings.lease,
            ),
            classify={Excluded: FailureKind.INVALID_REQUEST} if settings.exclude else None,
            store=store,
        )


LIBRARY = _Recloser()
