"""A conversation that fills the context window."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from recloser.core.errors import ConfigError
from recloser.gateway import canonical
from recloser.gateway.canonical import ToolResult
from recloser.gateway.estimate import of_parts, tokens
from recloser.gateway.guards.bounds import tokens_at_most
from recloser.gateway.guards.guard import HINT, Action, Guard, Stage, Verdict
from recloser.gateway.providers import provider_kinds
from recloser.gateway.request import Request
from recloser.gateway.settings import ProviderSettings
from recloser.gateway.wires.editor import Editor

SMALLEST = 60
"""Tokens of a result that is worth leaving out; the note in its place has about thirty."""
_NOTE = HINT + "This result of about {} tokens was left out to make room. Call the tool again if you need it."


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """[guards.context_budget]: how large a conversation may be, and what goes first."""

    limit: int = 0
    """Tokens; 0 = the context window of the route's targets, as far as it is known."""
    window: Literal["smallest", "largest"] = "smallest"
    """Whose context window that is: so that every target can serve the request, or that one can."""
    share: float = 0.8
    """From which share of it on something is done."""
    down_to: float = 0.6
    """To which share the conversation is brought: the lower, the more rarely its beginning changes."""
    keep_turns: int = 6
    """The last turns, of the user, the model and its tools, of which nothing is left out."""
    action: Literal["warn", "trim"] = "warn"
    """`warn`: an event and a header. `trim`: the oldest results of tools are left out."""

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ConfigError(f"limit must be at least 0, not {self.limit}")
        if self.keep_turns < 1:
            raise ConfigError(f"keep_turns must be at least 1, not {self.keep_turns}")
        for name in ("share", "down_to"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be above 0 and at most 1, not {getattr(self, name)!r}")
        if self.down_to >= self.share:
            raise ConfigError(f"down_to ({self.down_to:g}) must be below share ({self.share:g})")


class _Old(NamedTuple):
    """A result that may be left out: which one of all it is, and its tokens."""

    place: int
    tokens: float


class ContextBudget(Guard):
    """Warns before the context window is full, or leaves out what tools gave long ago.

    The task, what was said, and the last turns stay. Tokens are estimated, of everything: tools, pictures, files. Where
    the limit is a context window, the answer's room (`max_tokens`, at most half the window) is counted too.
    """

    Settings = ContextSettings
    stage = Stage.TRIMMED

    def __init__(self, settings: ContextSettings) -> None:
        self._settings = settings

    @classmethod
    def contradiction(cls, settings: ContextSettings, providers: Mapping[str, ProviderSettings]) -> str | None:
        """Without a limit, and with targets of which nothing is known, there is nothing to compare with."""
        kinds = provider_kinds()
        known = any(
            any(model.context_window for model in provider.models.values())
            or (provider.kind in kinds and kinds[provider.kind].windows)
            for provider in providers.values()
        )
        if settings.limit or known:
            return None
        return "never sees anything: it needs a limit, or a provider with models.NAME = { context_window = TOKENS }"

    def look(self, request: Request, now: float) -> Verdict | None:  # noqa: ARG002 - a window has no clock
        """A conversation that is too large."""
        settings = self._settings
        limit = settings.limit or self._window(request)
        if limit is None or tokens_at_most(request.body) + limit / 2 <= settings.share * limit:
            return None
        asked = request.read()
        answer = 0 if settings.limit else min(asked.max_tokens or 0, limit // 2)
        used = tokens(asked) + answer
        if used <= settings.share * limit:
            return None
        why = f"about {used} tokens of {limit}" + (f", {answer} of them for the answer" if answer else "")
        chosen = self._chosen(asked, used, limit) if settings.action == "trim" else []
        if not chosen:
            return Verdict(action=Action.WARN, why=why)
        freed = round(sum(old.tokens for old in chosen))
        left = "1 old result" if len(chosen) == 1 else f"{len(chosen)} old results"
        return Verdict(
            action=Action.TRIM,
            why=f"{why}; {left} of tools, about {freed} tokens, left out",
            instead=request.edited(lambda editor: _leave_out(editor, chosen)),
        )

    def _window(self, request: Request) -> int | None:
        """The context window that counts, among those that are known."""
        windows = (target.endpoint.window(target.model) for target in request.targets)
        known = [window for window in windows if window is not None]
        wanted = min if self._settings.window == "smallest" else max
        return wanted(known, default=None)

    def _chosen(self, asked: canonical.Request, used: int, limit: int) -> list[_Old]:
        """The oldest results, as many as make enough room.

        Room is made in steps of the same size, so that what is left of the conversation begins alike for many requests
        on end: a provider's cache is worth more than the few tokens between one step and the next.
        """
        step = (self._settings.share - self._settings.down_to) * limit
        needed = math.ceil((used - self._settings.share * limit) / step) * step
        chosen: list[_Old] = []
        for old in self._old(asked):
            if needed <= 0:
                break
            chosen.append(old)
            needed -= old.tokens
        return chosen

    def _old(self, asked: canonical.Request) -> list[_Old]:
        """The results before the last turns that are worth leaving out."""
        early = asked.turns[: -self._settings.keep_turns]
        results = [part for turn in early for part in turn.parts if isinstance(part, ToolResult)]
        sizes = (_Old(place, of_parts(result.parts)) for place, result in enumerate(results))
        return [old for old in sizes if old.tokens >= SMALLEST]


def _leave_out(editor: Editor, chosen: list[_Old]) -> None:
    results = editor.results()
    for old in chosen:
        results[old.place](_NOTE.format(round(old.tokens)))


offer = ContextBudget
