"""What a circuit is judged by."""

import math
from dataclasses import dataclass

from recloser.core.errors import ConfigError
from recloser.core.units import Duration, in_seconds, is_number

_DURATIONS = ("permit_lease", "cooldown", "cooldown_min", "cooldown_max", "window")
_MAY_BE_OFF = ("slow_call",)
_COUNTS = (
    ("failure_threshold", 0), ("minimum_calls", 1), ("window_calls", 0), ("half_open_permits", 1),
    ("threshold_min", 1), ("threshold_max", 1),
)  # fmt: skip
_RATES = ("failure_rate", "slow_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSettings:
    """What a circuit is judged by. Durations are seconds (a `timedelta` is taken too).

    Three rules open a circuit, each by itself: consecutive failures, the failure rate and the rate of slow calls.
    ConfigError names the setting that cannot work.
    """

    failure_threshold: int = 5
    """Consecutive failures that open the circuit; 0 turns the rule off."""
    failure_rate: float = 0.5
    """Share of failed calls in the window that opens the circuit; 0 turns the rule off."""
    minimum_calls: int = 10
    """Calls that the window must hold before a rate says anything."""
    window: Duration = 60.0
    """How far back the rates look."""
    window_calls: int = 0
    """How many of the last calls the rates look at, at most; 0 sets no such limit."""
    slow_call: Duration = 0.0
    """From this duration on a call is slow; 0 turns it off. For a target of the gateway it is the time to first token,
    and 60 s unless the configuration says otherwise."""
    slow_rate: float = 1.0
    """Share of slow calls in the window that opens the circuit; 0 turns the rule off."""
    half_open_permits: int = 1
    """How many calls may try at once in half-open, and how many must succeed to close."""
    permit_lease: Duration = 600.0
    """When a half-open permit that was never settled is taken back. A call that takes longer loses its vote."""
    cooldown: Duration = 5.0
    """How long the first opening lasts."""
    cooldown_factor: float = 2.0
    """Growth from one opening to the next while there is no lasting health in between."""
    cooldown_max: Duration = 300.0
    """The longest estimated opening."""
    jitter: float = 0.1
    """Spread of the cooldown: 0.1 is +-10 %."""
    throttle: float = 0.0
    """Refuse a share of the calls while many fail, before opening: the number of calls that may be sent for each one
    that is accepted. For short calls: those under way count as not accepted yet. 2 is usual, 0 turns it off."""
    adaptive: bool = False
    """Let the threshold follow the failure rate, and the cooldown the time that recoveries have taken."""
    threshold_min: int = 2
    """The lowest threshold that adapting comes to."""
    threshold_max: int = 20
    """The highest threshold that adapting comes to."""
    cooldown_min: Duration = 1.0
    """The shortest first opening that adapting comes to."""

    def __post_init__(self) -> None:
        for name in (*_DURATIONS, *_MAY_BE_OFF):
            object.__setattr__(self, name, in_seconds(name, getattr(self, name), may_be_off=name in _MAY_BE_OFF))
        for name, least in _COUNTS:
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, not {count!r}")
        for name in _RATES:
            if not is_number(getattr(self, name)) or not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be a number from 0 to 1, not {getattr(self, name)!r}")
        if not is_number(self.cooldown_factor) or not 1.0 <= self.cooldown_factor < math.inf:
            raise ConfigError(f"cooldown_factor must be finite and at least 1, not {self.cooldown_factor!r}")
        if not is_number(self.jitter) or not 0.0 <= self.jitter < 1.0:
            raise ConfigError(f"jitter must be at least 0 and below 1, not {self.jitter!r}")
        if not is_number(self.throttle) or not (self.throttle == 0.0 or 1.0 <= self.throttle < math.inf):
            raise ConfigError(f"throttle must be 0 (off), or finite and at least 1, not {self.throttle!r}")
        adaptive: object = self.adaptive
        if not isinstance(adaptive, bool):
            raise ConfigError(f"adaptive must be True or False, not {adaptive!r}")
        self._check_bounds()

    def _check_bounds(self) -> None:
        if self.cooldown_max < self.cooldown:
            raise ConfigError(
                f"cooldown_max ({self.cooldown_max:g} s) must not be below cooldown ({self.cooldown:g} s)"
            )
        if self.threshold_max < self.threshold_min:
            raise ConfigError(
                f"threshold_max ({self.threshold_max}) must not be below threshold_min ({self.threshold_min})"
            )
        if self.adaptive and self.cooldown_max < self.cooldown_min:
            raise ConfigError(
                f"cooldown_max ({self.cooldown_max:g} s) must not be below cooldown_min ({self.cooldown_min:g} s)"
            )
        if 0 < self.window_calls < self.minimum_calls:
            raise ConfigError(
                f"window_calls ({self.window_calls}) must not be below minimum_calls ({self.minimum_calls}): "
                "the rates would never say anything"
            )
