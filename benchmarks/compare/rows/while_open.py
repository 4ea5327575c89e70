"""While the circuit is open: what moves its end, and what the refused are told."""

import os
import time
import traceback
from collections.abc import Callable

from benchmarks.compare import clock
from benchmarks.compare.calls import Calls
from benchmarks.compare.library import Library, Settings, UpstreamError
from benchmarks.compare.row import Make, On, Told, fact, judged, one_way, scene
from benchmarks.compare.rows.half_open import DAY


@scene("An older call that succeeds late does not close it")
def late_success(make: Make) -> Told:
    calls = make()
    older = calls.held()
    calls.fail(3)
    older.end()
    return judged(calls.refuses())


@scene("An older call that is cancelled late does not close it", On.ASYNC)
def late_cancellation(make: Make) -> Told:
    calls = make()
    older = calls.held()
    calls.fail(3)
    older.cancel()
    return judged(calls.refuses())


@scene("An older call that fails late does not extend it")
def late_failure(make: Make) -> Told:
    calls = make()
    older = calls.held()
    calls.fail(3)
    clock.advance(50)
    older.end(UpstreamError())
    clock.advance(11)
    return judged(not calls.refuses())


@scene("A wall clock set a day forward or back changes nothing")
def wall_clock(make: Make) -> Told:
    forward = make()
    forward.fail(3)
    clock.jump_wall(DAY)
    ends_early = not forward.refuses()
    back = make()
    back.fail(3)
    clock.jump_wall(-DAY)
    clock.advance(61)
    stays_open = back.refuses()
    wrong = ["ends at once"] * ends_early + ["a day longer"] * stays_open
    return judged(not wrong, ", ".join(wrong))


@scene("The cooldown grows while trials go on failing (10 s, then?)")
def growth(make: Make) -> Told:
    calls = make(Settings(failures=1, cooldown=10.0, growth=2.0))
    calls.fail()
    lasted = [_seconds_until_let_through(calls, 100) for _ in range(3)]
    return judged(lasted[-1] > lasted[0], " ".join(str(seconds) for seconds in lasted))


def _seconds_until_let_through(calls: Calls, at_most: int) -> int:
    """In steps of a second; whoever gets through fails."""
    for waited in range(1, at_most + 1):
        clock.advance(1)
        call = calls.one()
        if call.reached:
            call.end(UpstreamError())
            return waited
    return at_most


@scene("10 circuits that open at the same moment for 100 s are not all tried at the same moment")
def jitter(make: Make) -> Told:
    waiting = [make(Settings(failures=1, cooldown=100.0, jitter=0.1)) for _ in range(10)]
    for calls in waiting:
        calls.fail()
    ends: list[int] = []
    clock.advance(86)
    for second in range(86, 122, 2):
        still = [calls for calls in waiting if calls.refuses()]
        ends += [second] * (len(waiting) - len(still))
        waiting = still
        clock.advance(2)
    apart = max(ends) - min(ends)
    return judged(apart > 2)


@scene("A 429 with `Retry-After: 300` is believed: nobody is let through before, somebody is after")
def server_hint(make: Make) -> Told:
    calls = make(Settings(failures=1, cooldown=10.0))
    calls.fail(1, _too_many_requests)
    clock.advance(290)
    too_early = not calls.refuses()
    clock.advance(11)
    return judged(not too_early and not calls.refuses())


def _too_many_requests() -> Exception:
    """As a real HTTP client raises it."""
    import httpx  # type: ignore[import-not-found]  # noqa: PLC0415 - only the libraries' own environment has it

    request = httpx.Request("POST", "http://127.0.0.1/")
    response = httpx.Response(429, headers={"retry-after": "300"}, request=request)
    error: Exception = httpx.HTTPStatusError("429 Too Many Requests", request=request, response=response)
    return error


@fact("Whoever is refused is told how long it lasts")
def told_how_long(library: Library) -> Told:
    told = {zone: _seconds_told(library, zone) for zone in ("UTC", "Asia/Tokyo")}
    right = [zone for zone, seconds in told.items() if seconds is not None and abs(seconds - 40) < 2]
    if len(right) == 1:
        return judged(False, f"only in {right[0]}")
    return judged(bool(right))


def _seconds_told(library: Library, zone: str) -> float | None:
    """20 seconds into a cooldown of 60, on a machine of that time zone."""
    os.environ["TZ"] = zone
    time.tzset()
    calls = one_way(library)
    calls.fail(3)
    clock.advance(20)
    refused = calls.one()
    try:
        return library.retry_after(refused.raised) if isinstance(refused.raised, library.refusal) else None
    except (AttributeError, TypeError):  # the library's own arithmetic failed
        return None


@scene("Refusals leave nothing behind: the traceback of the hundredth is as long as that of the first")
def refusals_leave_nothing(make: Make) -> Told:
    calls = make()
    calls.fail(3)
    first = _frames(calls.one().raised)
    for _ in range(98):
        calls.one()
    hundredth = _frames(calls.one().raised)
    return judged(hundredth == first, "" if hundredth == first else f"{first} frames, then {hundredth}")


def _frames(error: BaseException | None) -> int:
    assert error is not None
    return len(list(traceback.walk_tb(error.__traceback__)))


@scene("Reading everything that the breaker shows changes nothing of what it does")
def reading(make: Make) -> Told:
    unseen, seen = make(), make()
    return judged(_trace(unseen, lambda: None) == _trace(seen, seen.read))


_TRACE = (
    (0, "fails"), (0, "fails"), (0, "fails"), (0, "is refused"), (61, "fails"), (0, "is refused"), (61, "is good"),
    (0, "fails"), (0, "is good"), (0, "fails"), (0, "fails"), (0, "fails"), (0, "is refused"),
)  # fmt: skip
"""Seconds to wait, and what becomes of the call then: from closed over open and two trials back to closed and open."""


def _trace(calls: Calls, look: Callable[[], None]) -> list[bool]:
    """Whether each call got through."""
    reached = []
    for wait, becomes in _TRACE:
        clock.advance(wait)
        look()
        call = calls.one()
        look()
        reached.append(call.reached)
        if call.reached:
            call.end(UpstreamError() if becomes == "fails" else None)
    return reached
