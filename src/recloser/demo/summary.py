"""What came of it all, on half a screen."""

import math
import time
from collections.abc import Sequence
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
    if summary.chapters:
        teller.line()
        teller.line(f"  {'outage':<37}{'failed over':<17}back by itself")
        for chapter in summary.chapters:
            teller.line(f"  {chapter.title:<37}{chapter.over:<17}{chapter.back}")
    teller.line()
    _lanes(teller, summary)
    teller.line()
    took = f"{time.time() - summary.started:.1f} s in all, every process ended."
    if summary.all_well:
        teller.line(f"{took} Nothing was lost.", tone=Tone.WELL)
    else:
        what = f"{count(summary.lost, 'request')} lost" if summary.lost else f"gave up: {summary.surprise}"
        teller.line(f"{took} {what[0].upper()}{what[1:]}.", tone=Tone.LOST)


def _lanes(teller: Teller, summary: Summary) -> None:
    """Who answered when: a lane for each provider."""
    end = max((outcome.ended for outcome in summary.outcomes), default=summary.started)
    column = max(0.5, math.ceil((end - summary.started) / _COLUMNS * 10) / 10)
    teller.line(f"  who answered, and when: a column is {column:g} s")
    lanes = {name: [o.ended for o in summary.outcomes if o.provider == name and not o.fault] for name in summary.names}
    lanes["lost"] = [outcome.ended for outcome in summary.outcomes if outcome.fault]
    for name, times in lanes.items():
        if times:
            filled = {int((moment - summary.started) / column) for moment in times}
            teller.line(f"  {name:<8}" + "".join("#" if at in filled else " " for at in range(max(filled) + 1)))
