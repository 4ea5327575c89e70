"""What came of it all, on half a screen."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recloser.demo.clients import Outcome
from recloser.demo.story import Chapter
from recloser.demo.telling import Teller, Tone, count, lasting

_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class Summary:
    """All that happened."""

    names: Sequence[str]
    outcomes: Sequence[Outcome]
    events: Sequence[dict[str, Any]]
    chapters: Sequence[Chapter]
    surprise: str | None
    started: float

    @property
    def lost(self) -> int:
        """Requests without a whole answer."""
        return sum(outcome.fault is not None for outcome in self.outcomes)

    @property
    def all_well(self) -> bool:
        """Nothing was lost, and the script came to its end."""
        return bool(self.outcomes) and not self.lost and self.surprise is None


def sum_up(teller: Teller, summary: Summary) -> None:
    """Tell it."""
    requests = len(summary.outcomes)
    finished = [event for event in summary.events if event["kind"] == "request_finished"]
    further = sum(max(0, event["attempts"] - 1) for event in finished)
    held = [event["held"] for event in finished if event["held"]]
    longest = f" ({lasting(max(held))} at most)" if held else ""
    teller.heading("Summary")
    teller.line(f"  requests   {requests}")
    teller.line(f"  answered   {requests - summary.lost}, complete and word for word")
    teller.line(f"  failovers  {further} (attempts beyond a request's first)")
    teller.line(f"  held       {len(held)}{longest}")
    teller.line(f"  lost       {summary.lost}", tone=Tone.LOST if summary.lost else Tone.WELL)
    teller.line()
    teller.line(f"  {'outage':<16}{'who stood in':<24}back by itself")
    for chapter in summary.chapters[1:]:
        teller.line(f"  {f'{chapter.number} {chapter.name}':<16}{chapter.over:<24}{chapter.back}")
    teller.line()
    _lanes(teller, summary, [event for event in finished if event["held"]])
    teller.line()
    took = f"{time.time() - summary.started:.1f} s in all, every process ended."
    if summary.all_well:
        teller.line(f"{took} Nothing was lost.", tone=Tone.WELL)
    else:
        what = f"{count(summary.lost, 'request')} lost" if summary.lost else f"gave up: {summary.surprise}"
        teller.line(f"{took} {what[0].upper()}{what[1:]}.", tone=Tone.LOST)


def _lanes(teller: Teller, summary: Summary, held: Sequence[dict[str, Any]]) -> None:
    """Who answered when: a lane for each provider."""
    end = max((outcome.ended for outcome in summary.outcomes), default=summary.started)
    width = max(0.5, math.ceil((end - summary.started) / _COLUMNS * 10) / 10)

    def columns(start: float, end: float) -> range:
        return range(int((start - summary.started) / width), int((end - summary.started) / width) + 1)

    def lane(name: str, times: Iterable[tuple[float, float]]) -> None:
        filled = {at for start, end in times for at in columns(start, end)}
        if filled:
            marks = (teller.block if at in filled else " " for at in range(max(filled) + 1))
            teller.line(f"  {name:<10}{''.join(marks)}".rstrip())

    numbers = {columns(chapter.began, chapter.began)[0]: str(chapter.number) for chapter in summary.chapters}
    teller.line(f"  {'part':<10}" + "".join(numbers.get(at, " ") for at in range(max(numbers, default=0) + 1)))
    for name in summary.names:
        lane(name, ((o.ended, o.ended) for o in summary.outcomes if o.provider == name and o.fault is None))
    lane("held", ((event["at"] - event["held"], event["at"]) for event in held))
    lane("lost", ((outcome.ended, outcome.ended) for outcome in summary.outcomes if outcome.fault is not None))
    teller.line(f"  {'':<10}who answered, and when; a column is {width:g} s")
