import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import ConfigError

DURATIONS = ["permit_lease", "cooldown", "cooldown_min", "cooldown_max", "window", "slow_call"]
COUNTS = {
    "failure_threshold": 0, "minimum_calls": 1, "window_calls": 0, "half_open_permits": 1,
    "threshold_min": 1, "threshold_max": 1,
}  # fmt: skip
RATES = ["failure_rate", "slow_rate"]
NO_NUMBERS: list[Any] = ["5", "5s", None, True, False, [5.0], 1j, math.nan]
BEYOND_FLOATS = 10**400


def made(**given_: Any) -> CircuitSettings:
    return CircuitSettings(**given_)


def refused(key: str, value: Any, allowed: str) -> None:
    """It is refused with the name of the setting, what is allowed, and what it was."""
    with pytest.raises(ConfigError) as caught:
        made(**{key: value})
    message = str(caught.value)
    assert key in message
    assert allowed in message
    assert repr(value) in message


def test_the_defaults_work_and_say_what_the_documentation_says() -> None:
    settings = CircuitSettings()
    assert (settings.failure_threshold, settings.failure_rate, settings.minimum_calls) == (5, 0.5, 10)
    assert (settings.cooldown, settings.cooldown_factor, settings.cooldown_max) == (5.0, 2.0, 300.0)
    assert (settings.adaptive, settings.throttle, settings.window_calls) == (False, 0.0, 0)


@pytest.mark.parametrize("key", DURATIONS)
def test_durations_are_numbers_or_timedeltas(key: str) -> None:
    for given_, seconds in ((60, 60.0), (60.5, 60.5), (timedelta(minutes=1), 60.0)):
        value = getattr(made(**{key: given_}), key)
        assert value == seconds
        assert isinstance(value, float)


@pytest.mark.parametrize("key", [key for key in DURATIONS if key != "slow_call"])
@pytest.mark.parametrize(
    "value", [*NO_NUMBERS, 0, 0.0, -1.0, -1e-300, math.inf, -math.inf, timedelta(0), timedelta(-1), BEYOND_FLOATS]
)
def test_a_duration_is_finite_and_above_0(key: str, value: Any) -> None:
    refused(key, value, "must be a finite duration above 0")


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1.0, math.inf, timedelta(-1), BEYOND_FLOATS])
def test_only_the_slow_call_may_be_0(value: Any) -> None:
    assert CircuitSettings(slow_call=0).slow_call == 0.0
    refused("slow_call", value, "must be a finite duration of at least 0 (0 turns it off)")


@pytest.mark.parametrize(("key", "least"), COUNTS.items())
def test_a_count_is_a_whole_number_with_a_least(key: str, least: int) -> None:
    for value in (*NO_NUMBERS, least - 1, -1, 2.5, 5.0, math.inf, timedelta(1)):
        refused(key, value, f"must be a whole number of at least {least}")
    assert getattr(made(**{"threshold_min": 1, key: least}), key) == least


@pytest.mark.parametrize("key", RATES)
def test_a_rate_is_from_0_to_1(key: str) -> None:
    for value in (*NO_NUMBERS, -0.01, 1.01, -1, 2, math.inf, BEYOND_FLOATS):
        refused(key, value, "must be a number from 0 to 1")
    for value in (0, 0.0, 0.5, 1, 1.0):
        assert getattr(made(**{key: value}), key) == value


def test_the_growth_is_finite_and_at_least_1() -> None:
    for value in (*NO_NUMBERS, 0.99, 0, -2.0, math.inf, BEYOND_FLOATS):
        refused("cooldown_factor", value, "must be finite and at least 1")
    for value in (1, 1.0, 1.5, 1e308):
        assert CircuitSettings(cooldown_factor=value).cooldown_factor == value


def test_the_jitter_is_below_1() -> None:
    for value in (*NO_NUMBERS, -0.01, 1.0, 1, 2.0, math.inf, BEYOND_FLOATS):
        refused("jitter", value, "must be at least 0 and below 1")
    for value in (0, 0.0, 0.5, 0.999):
        assert CircuitSettings(jitter=value).jitter == value


def test_throttling_is_off_or_lets_at_least_every_accepted_call_be_sent() -> None:
    for value in (*NO_NUMBERS, 0.5, -1.0, -2, math.inf, BEYOND_FLOATS):
        refused("throttle", value, "must be 0 (off), or finite and at least 1")
    for value in (0, 0.0, 1, 1.1, 2.0):
        assert CircuitSettings(throttle=value).throttle == value


# Settings that contradict each other


def test_the_longest_cooldown_is_not_below_the_first() -> None:
    CircuitSettings(cooldown=7.0, cooldown_max=7.0)
    with pytest.raises(ConfigError, match=r"cooldown_max \(6\.9 s\) must not be below cooldown \(7 s\)"):
        CircuitSettings(cooldown=7.0, cooldown_max=6.9)


def test_the_highest_threshold_is_not_below_the_lowest() -> None:
    CircuitSettings(threshold_min=7, threshold_max=7)
    with pytest.raises(ConfigError, match=r"threshold_max \(6\) must not be below threshold_min \(7\)"):
        CircuitSettings(threshold_min=7, threshold_max=6)


def test_the_longest_cooldown_is_not_below_the_shortest_where_it_adapts() -> None:
    CircuitSettings(cooldown=1.0, cooldown_max=2.0, cooldown_min=3.0)
    CircuitSettings(cooldown=1.0, cooldown_max=3.0, cooldown_min=3.0, adaptive=True)
    with pytest.raises(ConfigError, match=r"cooldown_max \(2 s\) must not be below cooldown_min \(3 s\)"):
        CircuitSettings(cooldown=1.0, cooldown_max=2.0, cooldown_min=3.0, adaptive=True)


def test_a_window_of_few_calls_holds_at_least_the_minimum() -> None:
    CircuitSettings(window_calls=10, minimum_calls=10)
    CircuitSettings(window_calls=0, minimum_calls=10)
    with pytest.raises(ConfigError, match=r"window_calls \(9\) must not be below minimum_calls \(10\)"):
        CircuitSettings(window_calls=9, minimum_calls=10)


# Anything at all

anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.timedeltas()
    | st.sampled_from([0, 1, 2, 0.5, BEYOND_FLOATS, -BEYOND_FLOATS])
)  # fmt: skip


keys = st.sampled_from([*DURATIONS, *COUNTS, *RATES, "cooldown_factor", "jitter", "throttle"])


@given(st.dictionaries(keys, anything))
def test_whatever_is_given_either_works_or_is_a_config_error_that_names_it(given_: dict[str, Any]) -> None:
    problem = ""
    try:
        settings = made(**given_)
    except ConfigError as error:
        problem = str(error)
    else:
        for key in DURATIONS:
            assert type(getattr(settings, key)) is float
            assert math.isfinite(getattr(settings, key))
    assert not problem or (any(key in problem for key in given_) and "must" in problem)
