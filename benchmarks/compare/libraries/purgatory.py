"""purgatory: one factory for functions, another for coroutine functions; both are made here, as one breaker.

Its documented `with` asks the factory for the breaker every time; `with, kept` asks once.
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import purgatory  # type: ignore[import-not-found]
from benchmarks.compare.library import AsyncWith, Decorator, Excluded, Library, Settings, Way, With
from purgatory.domain.model import OpenedState  # type: ignore[import-not-found]

_NAME = "upstream"


@dataclass(frozen=True, slots=True)
class _Both:
    sync: Any
    asynchronous: Any


class _Purgatory(Library):
    package = "purgatory"
    refusal = OpenedState
    store = "redis"
    shared_is_async = True

    def make(self, settings: Settings | None = None) -> _Both:
        options = _options(settings) if settings else {}
        return _Both(purgatory.SyncCircuitBreakerFactory(**options), purgatory.AsyncCircuitBreakerFactory(**options))

    def sync(self, breaker: _Both) -> Mapping[str, Way]:
        kept = breaker.sync.get_breaker(_NAME)
        return {
            "decorator": Decorator(breaker.sync(_NAME)),
            "with": With(lambda: breaker.sync.get_breaker(_NAME)),
            "with, kept": With(lambda: kept, kept=True),
        }

    def asynchronous(self, breaker: _Both) -> Mapping[str, Way]:
        kept = _result(breaker.asynchronous.get_breaker(_NAME))
        return {"decorator": Decorator(breaker.asynchronous(_NAME)), "with, kept": AsyncWith(lambda: kept, kept=True)}

    def decorate(self, breaker: _Both, function: Callable[..., Any]) -> Callable[..., Any]:
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        factory = breaker.asynchronous if is_async else breaker.sync
        decorated: Callable[..., Any] = factory(_NAME)(function)
        return decorated

    def read(self, breaker: _Both) -> None:
        for one in (breaker.sync.get_breaker(_NAME), _result(breaker.asynchronous.get_breaker(_NAME))):
            _ = one.context.state, one.context.opened_at, one.context.failure_count, repr(one.context)

    def failures(self, breaker: _Both) -> int:
        return int(breaker.sync.get_breaker(_NAME).context.failure_count)

    def shared(self, settings: Settings, url: str) -> Way:
        """Only the asynchronous one: the plain one opens an asynchronous client and awaits nothing."""
        factory = purgatory.AsyncCircuitBreakerFactory(**_options(settings), uow=purgatory.AsyncRedisUnitOfWork(url))
        return Decorator(factory(_NAME))


def _options(settings: Settings) -> dict[str, Any]:
    exclude = [Excluded] if settings.exclude else []
    return {"default_threshold": settings.failures, "default_ttl": settings.cooldown, "exclude": exclude}


def _result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("purgatory waits for something, although its circuits are in memory")


LIBRARY = _Purgatory()
