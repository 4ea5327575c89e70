"""recloser: a circuit breaker for everything an LLM agent depends on."""

from typing import TYPE_CHECKING, Any

from recloser.breaker import Breakers, CircuitBreaker
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.failure import Failure, FailureKind

if TYPE_CHECKING:
    from recloser.breaker.retrying import RetryBudget

__all__ = [
    "Breakers",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitSettings",
    "CircuitState",
    "ConfigError",
    "Failure",
    "FailureKind",
    "RetryBudget",
]


def __getattr__(name: str) -> Any:
    if name == "RetryBudget":  # loaded by those who share one between breakers
        from recloser.breaker.retrying import RetryBudget  # noqa: PLC0415

        return RetryBudget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
