"""A circuit that forgets nothing, as an oracle for the real one.

It keeps every stay in a state and every call with its times, and works everything out anew from these lists: no count,
no window, no lease and no estimate is ever carried on. Where the documentation leaves room (a window reaches back
between nine and eleven tenths of its length), it names all that may follow.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState, Permit
from recloser.core.failure import Effect, Failure

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED, OBSERVE_ONLY = CircuitState
EIGHT_DAYS = 8 * 24 * 3600.0
Outcome = tuple[str, str]
"""What a settlement leads to, and by which rule."""
NOTHING: Outcome = ("nothing", "")
CLOSES: Outcome = ("closes", "")
EXTENDS: Outcome = ("extends", "")


@dataclass(eq=False, slots=True)
class Stay:
    """One stay in one state."""

    state: CircuitState
    since: float
    until: float = math.nan
    """When an opening ends."""
    estimated: bool = False
    """Whether the length of the opening was our own guess."""
    seen: bool = True
    """Whether its end would be a recovery: not where a server, a proof or a hand was waited for."""
    forgets: bool = False
    """Whether it was entered by a reset."""
    by_hand: bool = False


@dataclass(eq=False, slots=True)
class Call:
    """One call that was let through, and what became of it. One that throttling refused was never let through."""

    at: float
    stay: int
    permit: Permit | None
    settled_at: float | None = None
    how: str = ""
    slow: bool = False
    taken_back: bool = False


@dataclass(eq=False, slots=True)
class Seen:
    """What a window looks at: a verdict, a refusal, or a line under all that was before."""

    at: float
    what: str
    slow: bool = False


@dataclass(slots=True)
class Naive:
    """Everything that has happened, in order."""

    settings: CircuitSettings
    stays: list[Stay]
    calls: list[Call] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    """Of the present stay."""
    resets: list[int] = field(default_factory=list)
    """During which stays, closed ones, somebody reset the circuit."""

    @property
    def now_in(self) -> Stay:
        """The present stay."""
        return self.stays[-1]

    @property
    def state(self) -> CircuitState:
        return self.now_in.state

    def enter(self, stay: Stay) -> None:
        self.stays.append(stay)
        self.seen = []

    def draw_a_line(self, now: float) -> None:
        """Nothing that was seen before counts any more."""
        self.seen.append(Seen(now, "line"))

    # Calls

    def current(self, call: Call) -> bool:
        return call.stay == len(self.stays) - 1 and not call.taken_back

    def trials(self) -> list[Call]:
        """The trials of the present half-open that are still out, their lease over or not."""
        here = [call for call in self.calls if self.current(call) and call.permit and call.permit.number]
        return [call for call in here if call.settled_at is None]

    def live_trials(self, now: float) -> list[Call]:
        return [call for call in self.trials() if now < call.at + self.settings.permit_lease]

    def proven(self) -> int:
        """Trials of the present half-open that went well."""
        return sum(self.current(c) and c.how == "succeed" for c in self.calls) if self.state is HALF_OPEN else 0

    def waits(self, now: float) -> float | None:
        """How long the next call is told to wait; None if it passes. Throttling is another matter."""
        if self.state in (OPEN, FORCED_OPEN):
            return self.now_in.until - now if self.now_in.until > now else None
        if self.state is HALF_OPEN:
            live = self.live_trials(now)
            if live and len(live) + self.proven() >= self.settings.half_open_permits:
                return min(self.settings.cooldown, *(call.at + self.settings.permit_lease - now for call in live))
        return None

    # The recent past

    def row(self) -> int:
        """Failures since the last success."""
        count = 0
        for seen in reversed([one for one in self.seen if one.what != "refused"]):
            if seen.what != "failure":
                break
            count += 1
        return count

    def windows(self, now: float) -> Iterator[list[Seen]]:
        """Every window that there may be: the last of what was seen, cut off somewhere between 9 and 11 tenths."""
        past = self.seen
        lines = [place for place, one in enumerate(past) if one.what == "line"]
        past = past[lines[-1] + 1 :] if lines else past
        for start in range(len(past) + 1):
            kept, calls = past[start:], len([one for one in past[start:] if one.what != "refused"])
            if kept and now - kept[0].at >= 1.1 * self.settings.window + 1e-6:
                continue
            if self.settings.window_calls and calls > self.settings.window_calls:
                continue
            dropped_for_age = start == 0 or now - past[start - 1].at >= 0.9 * self.settings.window - 1e-6
            if dropped_for_age or (self.settings.window_calls and calls >= self._surely_held()):
                yield kept

    def _surely_held(self) -> int:
        return self.settings.window_calls - 2 * max(1, self.settings.window_calls // 10) + 1

    def broken_rules(self, now: float) -> set[str]:
        """The rules that may open it after this failure; the empty one where it may stay closed."""
        return {rule for window in self.windows(now) for rule in self._broken(window)}

    def _broken(self, window: list[Seen]) -> set[str]:
        settings, row = self.settings, self.row()
        calls = [one for one in window if one.what != "refused"]
        failed = sum(one.what == "failure" for one in calls)
        enough = self._enough(calls)
        thresholds = {settings.failure_threshold}
        if settings.adaptive and settings.failure_threshold and enough:
            thresholds = self._adapted(failed / len(calls))
        by_rate = enough and settings.failure_rate and failed / len(calls) >= settings.failure_rate
        otherwise = "failure_rate" if by_rate else "slow_rate" if self.too_slow(window) else ""
        return {"consecutive_failures" if 0 < threshold <= row else otherwise for threshold in thresholds}

    def too_slow(self, window: list[Seen]) -> bool:
        """Whether so many calls were slow that a slow one opens it."""
        calls = [one for one in window if one.what != "refused"]
        judged = self._enough(calls) and self.settings.slow_call and self.settings.slow_rate
        return bool(judged) and sum(one.slow for one in calls) / len(calls) >= self.settings.slow_rate

    def _enough(self, calls: list[Seen]) -> bool:
        return len(calls) >= self.settings.minimum_calls or self._full(len(calls))

    def _full(self, calls: int) -> bool:
        """As many calls as a window that is limited by calls always holds: all but the last slice of it."""
        size = self.settings.window_calls
        slice_of_it = max(1, size // 10)
        return size > 0 and calls > size - size % slice_of_it - slice_of_it

    def _adapted(self, rate: float) -> set[int]:
        """The threshold, or both where rounding decides."""
        base = self.settings.failure_threshold
        wanted = 2.0 * base if rate <= 0.05 else base / 2.0 if rate >= 0.5 else base * (2.0 - (rate - 0.05) / 0.3)
        either = {round(wanted - 1e-9), round(wanted + 1e-9)}
        return {min(max(one, self.settings.threshold_min), self.settings.threshold_max) for one in either}

    def refusal_chances(self, now: float, live: int) -> list[float]:
        """What share of the calls may be refused while it is closed."""
        return [self._refusal(window, live) for window in self.windows(now)]

    def _refusal(self, window: list[Seen], live: int) -> float:
        asked, failed = len(window) + live, sum(one.what == "failure" for one in window)
        went_well = sum(one.what == "success" for one in window)
        if not failed or not self.settings.throttle or asked < self.settings.minimum_calls:
            return 0.0
        return max(0.0, (asked - self.settings.throttle * went_well) / (asked + 1))

    # Settlements

    def may_follow(self, call: Call, how: str, failure: Failure, now: float, *, slow: bool) -> set[Outcome]:
        """What may follow when this call is settled in this way, of which `seen` knows already."""
        if not self.current(call) or call.settled_at is not None:
            extends = how == "fail" and self.state is OPEN and self._later_reset(failure, now)
            return {EXTENDS} if extends else {NOTHING}
        if how not in ("succeed", "fail") or self.state is DISABLED:
            return {NOTHING}
        if self.state is HALF_OPEN:
            if how == "fail" or slow:
                return {("opens", "trial")}
            return {CLOSES} if self.proven() + 1 >= self.settings.half_open_permits else {NOTHING}
        if how == "succeed":
            rules = {"slow_rate" if slow and self.too_slow(window) else "" for window in self.windows(now)}
        else:
            rules = {"at_once"} if failure.effect is Effect.OPENS else self.broken_rules(now)
        verb = "opens" if self.state is CLOSED else "would open"
        return {(verb, rule) if rule else NOTHING for rule in rules}

    def _later_reset(self, failure: Failure, now: float) -> bool:
        hint = sane(failure.retry_after)
        told = failure.effect is Effect.OPENS and failure.authoritative and hint is not None
        return told and now + (hint or 0.0) > self.now_in.until

    def opening(self, how: str, failure: Failure, now: float, rand: float) -> Stay:
        """The stay that this failure, or a slow success, begins."""
        hint = sane(failure.retry_after) if how == "fail" else None
        if how == "fail" and failure.until_proven:
            return Stay(OPEN, now, math.inf, seen=False)
        if hint is not None and failure.effect is Effect.OPENS:
            return Stay(OPEN, now, now + hint, seen=not failure.authoritative)
        guess = self.cooldown(now) * (1 - self.settings.jitter + 2 * self.settings.jitter * rand)
        by_word = hint is not None and hint >= guess and failure.authoritative
        return Stay(OPEN, now, now + max(guess, hint or 0.0), estimated=True, seen=not by_word)

    # The length of an opening

    def cooldown(self, now: float) -> float:
        """The length of an opening now, unspread."""
        settings, first = self.settings, self.settings.cooldown
        if settings.adaptive and (recovery := self.recovery()) is not None:
            first = min(max(recovery, settings.cooldown_min), settings.cooldown_max)
        for _ in range(0 if self._lastingly_well(self.stays, now) else self.openings()):
            first = min(first * settings.cooldown_factor, settings.cooldown_max)
        return first

    def openings(self) -> int:
        """Openings of our own guess since health last lasted, or somebody reset the circuit."""
        count = 0
        for place, stay in enumerate(self.stays):
            if stay.forgets:
                count = 0
            if stay.state is OPEN:
                if self._lastingly_well(self.stays[:place], stay.since):
                    count = 0
                count += stay.estimated
            if place in self.resets:
                count = 0
        return count

    def _lastingly_well(self, stays: list[Stay], now: float) -> bool:
        """Whether it had been closed for as long as the longest cooldown, or always."""
        if stays[-1].state is not CLOSED:
            return False
        return len(stays) == 1 or now - stays[-1].since >= self.settings.cooldown_max

    def recovery(self) -> float | None:
        """The moving average of what was seen of each outage, from first failure to last; nobody's waiting is in it."""
        average: float | None = None
        downtime: float | None = None
        for place, stay in enumerate(self.stays):
            before = self.stays[place - 1] if place else None
            if stay.state is HALF_OPEN:
                continue
            if before is None or stay.forgets:
                average = None
            elif stay.state is OPEN and before.state is CLOSED:
                downtime = 0.0
            elif stay.state is OPEN and downtime is not None:
                tried = self.stays[place - 2]
                downtime += (tried.until - tried.since) + (stay.since - before.since)
            elif stay.state is CLOSED and not stay.by_hand and downtime is not None:
                sample = min(downtime, self.settings.cooldown_max)
                average = (self.settings.cooldown if average is None else average) * 0.7 + sample * 0.3
            if stay.state is not OPEN or not stay.seen:
                downtime = None
            if place in self.resets:
                average = None
        return average


def sane(hint: float | None) -> float | None:
    """A server's time, if it is one."""
    return min(hint, EIGHT_DAYS) if hint is not None and 0.0 <= hint < math.inf else None
