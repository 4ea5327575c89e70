from dataclasses import replace

import pytest

from recloser.core import window
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.window import EMPTY, Slice, Window

MINUTE = CircuitSettings(window=60.0)
LAST_100 = replace(MINUTE, window_calls=100)
LAST_7 = replace(MINUTE, window_calls=7, minimum_calls=1)


def counted(settings: CircuitSettings, *times: float) -> Window:
    recent = EMPTY
    for now in times:
        recent = window.count(recent, settings, now, calls=1)
    return recent


def test_an_empty_window_has_nothing_in_it_and_no_room() -> None:
    assert window.total(EMPTY) == Slice(0.0)
    assert window.room(EMPTY, MINUTE, 5.0) == (5.0, 0)


def test_what_happens_within_a_tenth_of_the_window_is_one_slice() -> None:
    assert counted(MINUTE, 10.0, 12.0, 15.9) == (Slice(10.0, calls=3),)
    assert counted(MINUTE, 10.0, 16.0) == (Slice(10.0, calls=1), Slice(16.0, calls=1))


def test_everything_is_added_to_the_last_slice() -> None:
    recent = window.count(EMPTY, MINUTE, 10.0, calls=5, failures=2, slow=1)
    recent = window.count(recent, MINUTE, 11.0, throttled=3)
    assert recent == (Slice(10.0, calls=5, failures=2, slow=1, throttled=3),)
    assert recent[0].plus(1, 2, 3, 4) == Slice(10.0, calls=6, failures=4, slow=4, throttled=7)


def test_the_whole_is_the_sum_of_its_slices_and_begins_with_the_first() -> None:
    recent = (Slice(10.0, 1, 2, 3, 4), Slice(16.0, 10, 20, 30, 40))
    assert window.total(recent) == Slice(10.0, 11, 22, 33, 44)


def test_a_slice_falls_out_once_it_began_a_window_ago() -> None:
    recent = counted(MINUTE, 10.0, 40.0)
    assert window.recent(recent, MINUTE, 69.9) == recent
    assert window.recent(recent, MINUTE, 70.0) == (Slice(40.0, calls=1),)
    assert window.begun(recent, MINUTE, 70.0) == (Slice(40.0, calls=1), Slice(70.0))


def test_it_falls_out_when_the_next_slice_begins_not_before() -> None:
    """It reaches back eleven tenths of its length at most."""
    recent = counted(MINUTE, 10.0, 64.5)
    assert window.begun(recent, MINUTE, 70.4) is recent
    assert window.begun(recent, MINUTE, 70.5) == (Slice(64.5, calls=1), Slice(70.5))


def test_a_slice_that_has_room_is_begun_already() -> None:
    recent = counted(MINUTE, 10.0)
    assert window.begun(recent, MINUTE, 15.9) is recent
    assert window.begun(EMPTY, MINUTE, 15.9) == (Slice(15.9),)


def test_after_a_long_silence_it_begins_anew() -> None:
    assert counted(MINUTE, 10.0, 20.0, 30.0, 1000.0) == (Slice(1000.0, calls=1),)


def test_however_many_calls_there_are_it_stays_small() -> None:
    recent = counted(MINUTE, *(number / 100 for number in range(20_000)))
    assert len(recent) <= 11
    assert 5400 <= window.total(recent).calls <= 6600


# Where calls limit it, too


@pytest.mark.parametrize("window_calls", [10, 19, 20, 25, 99, 100, 1000])
def test_it_holds_the_last_calls_and_never_more_than_so_many(window_calls: int) -> None:
    settings = replace(MINUTE, window_calls=window_calls)
    recent = EMPTY
    for number in range(3 * window_calls):
        recent = window.count(recent, settings, number / 1e6, calls=1)
        held = window.total(recent).calls
        assert held <= window_calls
        if number + 1 >= window_calls:
            assert held > window_calls - 2 * (window_calls // 10 or 1)
            assert window.enough(window.total(recent), replace(settings, minimum_calls=window_calls))


def test_few_calls_are_exactly_the_last_ones() -> None:
    recent = EMPTY
    for number in range(20):
        recent = window.count(recent, LAST_7, 1.0, calls=1, failures=int(number in (12, 13)))
    assert window.total(recent) == Slice(1.0, calls=7, failures=1)


def test_a_full_slice_has_no_room_though_its_time_is_not_over() -> None:
    recent = window.count(EMPTY, LAST_100, 10.0, calls=10)
    assert window.room(recent, LAST_100, 11.0) == (16.0, 0)
    assert window.room(recent[:0], LAST_100, 11.0) == (11.0, 0)
    assert window.begun(recent, LAST_100, 11.0) == (Slice(10.0, calls=10), Slice(11.0))


def test_a_slice_that_is_fuller_than_it_may_be_now_has_no_room() -> None:
    """The settings were reloaded, with fewer calls."""
    recent = window.count(EMPTY, LAST_100, 10.0, calls=10)
    assert window.room(recent, LAST_7, 11.0) == (16.0, 0)
    assert window.count(recent, LAST_7, 11.0, calls=1) == (Slice(11.0, calls=1),)


def test_more_calls_than_fit_go_on_in_the_next_slices() -> None:
    assert window.count(EMPTY, LAST_100, 10.0, calls=25, failures=3) == (
        Slice(10.0, calls=10, failures=3), Slice(10.0, calls=10), Slice(10.0, calls=5)
    )  # fmt: skip


def test_what_is_refused_takes_no_room_from_the_calls() -> None:
    recent = EMPTY
    for _ in range(1000):
        recent = window.count(recent, LAST_100, 10.0, throttled=1)
    assert recent == (Slice(10.0, throttled=1000),)


def test_time_ends_a_slice_before_it_is_full() -> None:
    recent = counted(LAST_100, 10.0, 16.0, 70.0)
    assert recent == (Slice(16.0, calls=1), Slice(70.0, calls=1))


# Enough


def test_the_minimum_of_calls_is_enough_to_judge_by() -> None:
    assert not window.enough(Slice(0.0, calls=9), MINUTE)
    assert window.enough(Slice(0.0, calls=10), MINUTE)


@pytest.mark.parametrize(("window_calls", "enough"), [(10, 10), (19, 10), (100, 10)])
def test_a_limit_above_the_minimum_changes_nothing_about_that(window_calls: int, enough: int) -> None:
    settings = replace(MINUTE, window_calls=window_calls)
    assert not window.enough(Slice(0.0, calls=enough - 1), settings)
    assert window.enough(Slice(0.0, calls=enough), settings)


@pytest.mark.parametrize(("window_calls", "enough"), [(10, 10), (19, 19), (20, 19), (25, 23), (100, 91)])
def test_what_a_full_window_always_holds_is_enough(window_calls: int, enough: int) -> None:
    settings = replace(MINUTE, window_calls=window_calls, minimum_calls=window_calls)
    assert not window.enough(Slice(0.0, calls=enough - 1), settings)
    assert window.enough(Slice(0.0, calls=enough), settings)
