"""A model that makes more calls of tools than it is meant to."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from recloser.core.duration import format_duration
from recloser.core.errors import ConfigError
from recloser.core.units import Duration
from recloser.gateway import canonical
from recloser.gateway.canonical import ToolUse, Turn
from recloser.gateway.guards.calls import fresh, is_the_users, since_the_user_spoke
from recloser.gateway.guards.guard import Action, Guard, Verdict, verdict
from recloser.gateway.guards.outline import calls_at_most, outlined
from recloser.gateway.request import Request

MOST_CALLERS = 1000
"""Clients and agents whose calls are counted over time; whoever has been silent longest is forgotten."""
MOST_AT_ONCE = 128
"""Calls in one step that are counted beyond the limit: how many more there are changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSettings:
    """[guards.tool_count]: how many calls are too many."""

    limit: int = 50
    """How many calls are fine."""
    since: Literal["user", "start"] = "user"
    """From where a conversation's calls are counted: from the user's last words, or from its start."""
    per: Duration = 0.0
    """Count over so much time instead: all calls of a client's agent, whatever the conversation."""
    action: Literal["warn", "hint", "refuse"] = "warn"
    """`warn`: an event and a header, each time the limit is passed once more. `hint`: the model is told as well.
    `refuse`: 400 `tool_count_exceeded` while there are too many."""

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigError(f"limit must be at least 1, not {self.limit}")
        if self.limit > 100_000:
            raise ConfigError(f"limit must be at most 100000, not {self.limit}")


class ToolCount(Guard):
    """Caps the calls of tools: since the user spoke last, in a whole conversation, or over time."""

    Settings = CountSettings
    usual = True

    def __init__(self, settings: CountSettings) -> None:
        self._settings = settings
        self._callers: OrderedDict[tuple[str, str], OrderedDict[int, float]] = OrderedDict()
        """When each call was first seen, of the last ones, by who made it."""

    def look(self, request: Request, now: float) -> Verdict | None:
        """Too many calls, right after one more of them."""
        if not request.envelope.after_tool_result:
            return None
        settings = self._settings
        if not settings.per and not self._may_be_too_many(request):
            return None
        asked = request.read()
        if settings.per:
            count, among = self._lately(request, asked, now), f"within {format_duration(settings.per)}"
        elif settings.since == "user":
            count, among = _calls(since_the_user_spoke(asked)), "since the user spoke last"
        else:
            count, among = _calls(asked.turns), "in this conversation"
        if count <= settings.limit or (settings.per and not self._is_news(count, len(fresh(asked)))):
            return None
        why = f"{count} tool calls {among}; the limit is {settings.limit}"
        hint = (
            f"You have made {count} tool calls {among}. If you are getting nowhere, stop: "
            "say what you have found out, and what you need to go on."
        )
        return verdict(request, Action(settings.action), why, kind="tool_count_exceeded", hint=hint)

    def _may_be_too_many(self, request: Request) -> bool:
        """Whether a closer look is needed. Most requests need none, and long conversations take long to read."""
        settings = self._settings
        if calls_at_most(request) <= settings.limit:
            return False
        outline = outlined(request, is_the_users if settings.since == "user" else None)
        if outline is None:
            return True
        return outline.calls > settings.limit and self._is_news(outline.calls, outline.last)

    def _is_news(self, count: int, last: int) -> bool:
        """Whether the last calls passed the limit, or passed it once more; to be refused is news each time."""
        limit = self._settings.limit
        return self._settings.action == "refuse" or (count - 1) // limit > (count - 1 - last) // limit

    def _lately(self, request: Request, asked: canonical.Request, now: float) -> int:
        """The calls of this caller in the last time, with those that are new. One that is sent again counts once."""
        who = (request.client, request.agent)
        times = self._callers.setdefault(who, OrderedDict())
        self._callers.move_to_end(who)
        if len(self._callers) > MOST_CALLERS:
            self._callers.popitem(last=False)
        while times and next(iter(times.values())) <= now - self._settings.per:
            times.popitem(last=False)
        conversation = (len(asked.turns), asked.turns[:1])
        for place, given in enumerate(fresh(asked)):
            times.setdefault(hash((conversation, place, given)), now)
        while len(times) > self._settings.limit + MOST_AT_ONCE:
            times.popitem(last=False)
        return len(times)


def _calls(turns: tuple[Turn, ...]) -> int:
    return sum(isinstance(part, ToolUse) for turn in turns for part in turn.parts)


offer = ToolCount
