"""A breaker on a clock that stands still, with somebody who listens."""

import pytest
from tests.breaker.scenes import SETTINGS

from recloser.breaker import CircuitBreaker
from recloser.testing import ManualClock, RecordingSink


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def breaker(clock: ManualClock, sink: RecordingSink) -> CircuitBreaker:
    return CircuitBreaker("search", SETTINGS, clock=clock, listeners=[sink])
