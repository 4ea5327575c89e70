"""recloser: a circuit breaker for everything an LLM agent depends on."""

from recloser.breaker import Breakers, CircuitBreaker
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState
from recloser.core.errors import CircuitOpenError
from recloser.core.failure import Failure, FailureKind

__all__ = [
    "Breakers",
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitSettings",
    "CircuitState",
    "Failure",
    "FailureKind",
]
