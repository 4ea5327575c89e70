"""What an adapter offers: one small file in `libraries/` says how a library is made and how it is called.

The words of the adapter are the library's own; nothing of its behaviour is repaired or imitated.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any

DISTRIBUTIONS = {
    "recloser": "recloser",
    "pybreaker": "pybreaker",
    "aiobreaker": "aiobreaker",
    "circuitbreaker": "circuitbreaker",
    "purgatory": "purgatory",
    "hyx": "hyx",
    "interlock": "interlock-cb",
}
"""The columns, from left to right: the package, which is also the file in `libraries/`, and its name in the index."""

NAMES = tuple(DISTRIBUTIONS)

Work = Callable[[], Any]
"""What is protected: a function, or a coroutine function."""


class UpstreamError(Exception):
    """What the protected work raises when it fails."""


class Excluded(Exception):  # noqa: N818 - it is no error of the upstream, that is the point
    """What the library is told not to count, where `Settings.exclude` is set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a row asks for. What a library cannot do it is not given; the row then shows what happens."""

    failures: int = 3
    """Consecutive failures that open."""
    cooldown: float = 60.0
    growth: float = 1.0
    """Of the cooldown, with every trial that fails."""
    jitter: float = 0.0
    lease: float = 600.0
    """How long a trial may take before its permit is given to another, or the nearest there is."""
    exclude: bool = False
    rate: float | None = None
    """Share of failed calls among the last 10 that opens."""
    slow: float | None = None
    """Seconds after which a call is slow; only slow calls open."""


@dataclass(frozen=True, slots=True)
class Call:
    """The breaker calls the work."""

    run: Callable[[Work], Any]


@dataclass(frozen=True, slots=True)
class Decorator:
    """The breaker wraps the work."""

    wrap: Callable[[Work], Work]


@dataclass(frozen=True, slots=True)
class With:
    """A block of code inside `with`. `kept`: `make` gives the same object every time, which may be reused."""

    make: Callable[[], AbstractContextManager[Any]]
    kept: bool = False


@dataclass(frozen=True, slots=True)
class AsyncWith:
    """A block of code inside `async with`."""

    make: Callable[[], AbstractAsyncContextManager[Any]]
    kept: bool = False


Way = Call | Decorator | With | AsyncWith
"""A documented way to protect some work."""


class Library(ABC):
    """A circuit breaker library. `breaker` is whatever `make` returned."""

    package: str
    """What is imported."""
    refusal: type[Exception]
    """What a caller gets from an open circuit."""
    store: str = ""
    """What several processes can share a circuit in: `redis`, `sqlite` or nothing."""
    shared_is_async: bool = False

    @abstractmethod
    def make(self, settings: Settings | None = None) -> Any:
        """A new breaker; without settings, as the library makes it by itself."""

    def sync(self, breaker: Any) -> Mapping[str, Way]:  # noqa: ARG002 - of a library without any
        """Every documented way to protect a function, by name."""
        return {}

    def asynchronous(self, breaker: Any) -> Mapping[str, Way]:  # noqa: ARG002 - likewise
        """Every documented way to protect a coroutine function, by name."""
        return {}

    @abstractmethod
    def decorate(self, breaker: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """The library's decorator, on whatever function."""

    @abstractmethod
    def read(self, breaker: Any) -> None:
        """Read all that the breaker shows of itself."""

    @abstractmethod
    def failures(self, breaker: Any) -> int:
        """The failures counted so far."""

    def retry_after(self, refusal: Exception) -> float | None:  # noqa: ARG002 - of a library that tells nothing
        """Seconds to wait, as the refusal says; None if it does not."""
        return None

    def shared(self, settings: Settings, url: str) -> Way:
        """A breaker whose circuit is in the store at `url`, and a way to call it."""
        raise NotImplementedError(f"{self.package} has no store for {settings} at {url}")


def load(name: str) -> Library:
    """The adapter in `libraries/NAME.py`."""
    adapter: Library = importlib.import_module(f"benchmarks.compare.libraries.{name}").LIBRARY
    return adapter


def protected(way: Way, work: Work) -> Work:
    """Some work, called in a library's way."""
    match way:
        case Call(run):
            return lambda: run(work)
        case Decorator(wrap):
            return wrap(work)
        case With():

            def inside() -> Any:
                with way.make():
                    return work()

            return inside
        case AsyncWith():

            async def inside_async() -> Any:
                async with way.make():
                    return await work()

            return inside_async
