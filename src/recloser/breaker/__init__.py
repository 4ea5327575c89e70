"""The circuit for ordinary code: one breaker, and a registry of them."""

from recloser.breaker.breaker import CircuitBreaker
from recloser.breaker.clock import SystemClock
from recloser.breaker.permit import HeldPermit
from recloser.breaker.registry import Breakers
from recloser.breaker.snapshot import BreakersSnapshot, CircuitSnapshot

__all__ = ["Breakers", "BreakersSnapshot", "CircuitBreaker", "CircuitSnapshot", "HeldPermit", "SystemClock"]
