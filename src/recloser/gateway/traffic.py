"""What goes on at the providers, as this gateway sees it: requests under way, who waits for a place, first tokens.

Belongs to one event loop. Nothing here outlives the process: a new one learns it within minutes.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TypeVar

from recloser.core.ordering import Standing, by_speed, tried_first
from recloser.gateway.targets import Target

BUSY = "busy: max_concurrency requests are under way"
LONGEST_QUEUE = 500
"""Requests that may wait for a place at one provider; further ones are refused at once."""
MEASURED = 9
"""First tokens of a target that are remembered; their median counts."""
ENOUGH = 3
"""First tokens after which a target is known."""
REMEMBERED_FOR = 600.0
"""Seconds after which a first token says nothing any more."""
TRIED_EVERY = 60.0
"""Seconds between two requests that are sent to an unknown target to get to know it."""
_MOST = 1024
"""Targets and orders that are remembered: models' names come from clients."""

K = TypeVar("K")
V = TypeVar("V")


class Place:
    """One request's place in the lines before busy providers. It may stand in several."""

    __slots__ = ("_at", "_traffic", "granted", "wake")

    def __init__(self, traffic: "Traffic") -> None:
        self._traffic = traffic
        self._at: tuple[str, ...] = ()
        self.granted: str | None = None
        """The provider that is kept free for it."""
        self.wake: Callable[[], None] | None = None
        """Called when it is its turn."""

    def busy(self, target: Target) -> str | None:
        """Why the target's provider takes no request of ours now, if so."""
        provider, limit = target.endpoint.provider, target.endpoint.settings.max_concurrency
        free = not limit or provider == self.granted or self._traffic.under_way(provider) < limit
        return None if free else BUSY

    def line_up(self, targets: Iterable[Target]) -> bool:
        """Stand in the lines before these targets' providers and in no other; who stands there already stays.

        False if all of them are too long.
        """
        wanted = {target.endpoint.provider for target in targets}
        self._give_back()
        self._traffic.left(self, [provider for provider in self._at if provider not in wanted])
        self._at = tuple(provider for provider in wanted if self._traffic.joined(self, provider))
        return bool(self._at)

    def leave(self) -> None:
        """Leave all lines; what was kept free is given to the next."""
        lines, self._at = self._at, ()
        self._traffic.left(self, lines)
        self._give_back()

    def _give_back(self) -> None:
        provider, self.granted = self.granted, None
        if provider is not None:
            self._traffic.freed(provider)

    @contextmanager
    def call(self, target: Target) -> Iterator[None]:
        """A call to a target, from its beginning to its end."""
        provider, endpoint = target.endpoint.provider, target.path.endpoint
        self._traffic.begun(provider, endpoint, kept=provider == self.granted)
        if provider == self.granted:
            self.granted = None
        self.leave()
        try:
            yield
        finally:
            self._traffic.ended(provider, endpoint)

    def granted_at(self, provider: str) -> None:
        """A place is free, and is this one's; it need not wait anywhere else."""
        lines, self._at = self._at, ()
        self._traffic.left(self, lines)
        self.granted = provider
        if self.wake is not None:
            self.wake()


class Traffic:
    """The facts by which targets are put in order."""

    def __init__(self) -> None:
        self._at_providers: Counter[str] = Counter()
        self._at_endpoints: Counter[str] = Counter()
        self._lines: dict[str, OrderedDict[Place, None]] = {}
        self._first_tokens: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()
        self._tried: OrderedDict[str, float] = OrderedDict()
        self._standings: OrderedDict[tuple[str, ...], Standing] = OrderedDict()

    # Requests under way, and waiting ---------------------------------------------------------------------------------

    def under_way(self, provider: str) -> int:
        """Requests under way at a provider, and places kept free for those whose turn it is."""
        return self._at_providers[provider]

    def load(self, target: Target) -> int:
        """Requests under way at a target's endpoint."""
        return self._at_endpoints[target.path.endpoint]

    def waiting(self, provider: str) -> int:
        """Requests that wait for a place at a provider."""
        return len(self._lines.get(provider, ()))

    def begun(self, provider: str, endpoint: str, *, kept: bool) -> None:
        """A call began; `kept` if a place had been kept free for it."""
        self._at_endpoints[endpoint] += 1
        if not kept:
            self._at_providers[provider] += 1

    def ended(self, provider: str, endpoint: str) -> None:
        """A call ended."""
        self._at_endpoints[endpoint] -= 1
        self.freed(provider)

    def freed(self, provider: str) -> None:
        """A place is free: whoever has waited longest gets it."""
        line = self._lines.get(provider)
        if line:
            place, _ = line.popitem(last=False)
            place.granted_at(provider)
        else:
            self._at_providers[provider] -= 1

    def joined(self, place: Place, provider: str) -> bool:
        """Whether it stands in the line before a provider: at its end, unless it stood there before."""
        line = self._lines.setdefault(provider, OrderedDict())
        if len(line) < LONGEST_QUEUE:
            line.setdefault(place)
        return place in line

    def left(self, place: Place, providers: Iterable[str]) -> None:
        """Somebody waits there no longer."""
        for provider in providers:
            self._lines[provider].pop(place, None)

    # First tokens ----------------------------------------------------------------------------------------------------

    def first_token(self, target: Target, seconds: float, now: float) -> None:
        """A stream's first content came after so many seconds."""
        seen = self._first_tokens.get(target.path.model) or deque(maxlen=MEASURED)
        seen.append((now, seconds))
        _remember(self._first_tokens, target.path.model, seen)

    def seconds(self, target: Target, now: float) -> float | None:
        """How long a target takes to its first token; None if it is not known well enough."""
        seen = self._first_tokens.get(target.path.model, ())
        fresh = [seconds for at, seconds in seen if now - at <= REMEMBERED_FOR]
        return median(fresh) if len(fresh) >= ENOUGH else None

    def fastest(self, targets: Sequence[Target], now: float, *, measured: bool) -> Sequence[Target]:
        """The targets by their speed. `measured`: this request tells its first token, so it may try an unknown one."""
        key = tuple(target.path.model for target in targets)
        seconds = [self.seconds(target, now) for target in targets]
        standing = by_speed(self._standings.get(key) or Standing(tuple(range(len(targets)))), seconds, now)
        _remember(self._standings, key, standing)
        if not measured:
            return [targets[place] for place in standing.order]
        due = [known is None and self._due(target, now) for known, target in zip(seconds, targets, strict=True)]
        first, *others = (targets[place] for place in tried_first(standing.order, due))
        _remember(self._tried, first.path.model, now)
        return [first, *others]

    def _due(self, target: Target, now: float) -> bool:
        """Whether an unknown target has not been tried for a while."""
        tried = self._tried.get(target.path.model)
        return tried is None or now - tried >= TRIED_EVERY


def _remember(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep it; what has not been kept for longest is forgotten, if there is too much."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)
