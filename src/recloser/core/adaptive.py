"""What a circuit is judged by when its settings follow what it has lived through, within their bounds."""

from recloser.core.circuit_settings import CircuitSettings
from recloser.core.window import Window, enough, total

_CALM, _ROUGH = 0.05, 0.5
"""Failure rates at which the threshold is at its highest and at its lowest; in between it follows."""
_WEIGHT = 0.3
"""Of the newest recovery in the moving average."""


def threshold(settings: CircuitSettings, window: Window) -> int:
    """Consecutive failures that open: twice the setting in calm weather, half of it in rough, within the bounds."""
    if not settings.adaptive or not settings.failure_threshold:
        return settings.failure_threshold
    past = total(window)
    if not enough(past, settings):
        return settings.failure_threshold
    roughness = (past.failures / past.calls - _CALM) / (_ROUGH - _CALM)
    factor = 2.0 - 1.5 * min(max(roughness, 0.0), 1.0)
    return min(max(round(settings.failure_threshold * factor), settings.threshold_min), settings.threshold_max)


def cooldown(settings: CircuitSettings, recovery: float | None) -> float:
    """How long a first opening lasts: as long as recoveries have taken, within the bounds."""
    if not settings.adaptive or recovery is None:
        return settings.cooldown
    return min(max(recovery, settings.cooldown_min), settings.cooldown_max)


def recovered(settings: CircuitSettings, recovery: float | None, downtime: float) -> float:
    """The moving average of recoveries with one more, which took `downtime` seconds.

    `downtime` ends with the last failure that was seen, not with the success that was seen first: in between we waited,
    and what we waited is no news of the other side. Where the first trial succeeds it is 0, and the average comes down.
    One that is longer than any cooldown says no more than the longest, or a single bad day would be felt for weeks.
    """
    before = settings.cooldown if recovery is None else recovery
    return (1.0 - _WEIGHT) * before + _WEIGHT * min(downtime, settings.cooldown_max)


def refusal_chance(settings: CircuitSettings, window: Window, live: int) -> float:
    """The share of calls to refuse although the circuit is closed: max(0, (requests - K x accepts) / (requests + 1)).

    Client-side throttling as in Google's Site Reliability Engineering, "Handling Overload". Requests are what callers
    asked for, the refused and the unfinished ones included: counting only what has finished lets a burst through.
    Where none has failed nothing is refused: a burst is no outage.
    """
    past = total(window)
    if not settings.throttle or not past.failures:
        return 0.0
    requests = past.calls + past.throttled + live
    if requests < settings.minimum_calls:
        return 0.0
    accepted = past.calls - past.failures
    return max(0.0, (requests - settings.throttle * accepted) / (requests + 1))
