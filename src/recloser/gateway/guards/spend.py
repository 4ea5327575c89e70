"""Spend limits: what may be spent in a day or a month, by everybody, or by each key, agent or provider.

Requests under way have no cost yet. So what one may cost is set aside when it begins (its input, and as much output as
it allows, at the dearest of its targets), and gives way to its true cost when it has ended. A request is let in while
what was spent and what is set aside are below the limit: a limit is passed by one request at most.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from recloser.core.duration import format_duration
from recloser.core.errors import ConfigError
from recloser.core.events import Event
from recloser.core.period import Per, ends, period
from recloser.gateway import estimate
from recloser.gateway.canonical import Usage
from recloser.gateway.events import RequestFinished, SpendLimitReached
from recloser.gateway.guards.guard import Action, Guard, Stage, Verdict
from recloser.gateway.metering import cost_usd, price_of, tokens_asked
from recloser.gateway.request import Request
from recloser.gateway.settings import PriceSettings, ProviderSettings
from recloser.gateway.spending import ALL, NANO, Spending, nano_usd
from recloser.gateway.targets import Target
from recloser.gateway.wires.wire import UNREADABLE, Refusal

USUAL_ANSWER = 4096
"""Tokens that are set aside for an answer of which the client does not say how long it may be."""
_LONGEST_ANSWER = 10**6
_MOST_USD = 1e12
"""Nobody has a limit above it, and whole billionths of it can still be counted with."""
SOON = 2.0
"""Seconds after which to ask again where the limit is not reached, but all that is left is set aside."""
_SMALL_SHARE = 0.01
"""Of what is left below a limit. What costs less by its bytes alone need not be looked at any closer."""

By = Literal["all", "key", "agent", "provider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimit:
    """One limit."""

    limit_usd: float
    """US dollars."""
    per: Per = "day"
    """`day` or `month`, in UTC."""
    by: By = "all"
    """Whom it is for: everybody together, each client key, each agent (by its header `x-recloser-agent`), or each
    provider."""
    action: Literal["warn", "refuse"] = "refuse"
    """`refuse`: 402 `spend_limit_reached`, and a provider over its limit is passed over while another one is left.
    `warn`: an event and a header."""

    def __post_init__(self) -> None:
        if not 0 < self.limit_usd <= _MOST_USD:
            raise ConfigError(f"limit_usd must be an amount above 0 and at most {_MOST_USD:g}, not {self.limit_usd!r}")

    @property
    def nano(self) -> int:
        """The limit as whole billionths of a dollar."""
        return round(self.limit_usd * NANO)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendSettings(SpendLimit):
    """[guards.spend]: a limit, and more of them."""

    also: tuple[SpendLimit, ...] = ()
    """Further limits, each with the keys above: all of them hold."""


class _Asked(msgspec.Struct):
    """How long an answer may be, on every wire."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    generation: Any = msgspec.field(default=None, name="generationConfig")


_decode_asked = msgspec.json.Decoder(_Asked).decode


class _Standing(NamedTuple):
    """How a limit stands for somebody."""

    limit: SpendLimit
    scope: str
    spent: int
    left: int
    """What is neither spent nor set aside."""

    @property
    def reached(self) -> bool:
        """Whether it is spent; else what is left is set aside."""
        return self.spent >= self.limit.nano

    def __str__(self) -> str:
        limit, whose = self.limit, "" if self.scope == ALL else f" for {self.scope}"
        name = f"the spend limit of {limit.limit_usd:g} USD a {limit.per}{whose}"
        if self.reached:
            return f"{name} is reached: {self.spent / NANO:.2f} USD"
        return f"what is left of {name} is set aside for requests under way"


class SpendGuard(Guard):
    """Looks what was spent before anything more is. What costs nothing, or nobody knows what, is let through."""

    Settings = SpendSettings
    stage: ClassVar[Stage] = Stage.SENT
    meters: ClassVar[bool] = True

    def __init__(self, settings: SpendSettings) -> None:
        self._limits: tuple[SpendLimit, ...] = (settings, *settings.also)
        self._seq = 0
        self.spending = Spending(time.time)

    @classmethod
    def contradiction(cls, settings: Any, providers: Mapping[str, ProviderSettings]) -> str | None:  # noqa: ARG003
        """A limit that would count nothing: nobody has a price."""
        if not providers or any(m.price is not None for p in providers.values() for m in p.models.values()):
            return None
        return "counts nothing, for no model has a price; say some under [providers.NAME.models]"

    @property
    def limits(self) -> Sequence[SpendLimit]:
        """All of them."""
        return self._limits

    def look(self, request: Request, now: float) -> Verdict | None:
        """Whether a limit is reached for it. If not, what it may cost is set aside until it has ended."""
        prices = self._prices(request)
        if not prices:
            return None
        over = list(self._over(self._scopes(request)))
        for one in over:
            self._note(one, now)
        refused = sorted((one for one in over if one.limit.action == "refuse"), key=lambda one: not one.reached)
        closed = {one.scope for one in refused if one.limit.by == "provider"}
        left = [target for target in request.targets if self._provider(target) not in closed]
        final = next((one for one in refused if one.limit.by != "provider" or not left), None)
        if final is not None:
            return _refusal(final, now)
        self._set_aside(request, {scope: of for scope, of in prices.items() if scope not in closed})
        told = [str(one) for one in over if one.scope in closed or one.reached]
        if not told:
            return None
        return Verdict(action=Action.WARN, why="; ".join(told), instead=request.led_to(left) if closed else None)

    def share(self, spending: Spending) -> None:
        """Look at what the whole gateway spent."""
        self.spending = spending

    def heard(self, event: Event) -> None:
        """What was spent may have reached a limit."""
        if isinstance(event, RequestFinished) and event.used:
            now = self.spending.wall_clock()
            for over in self._over(scope for scope, _ in self.spending.costs(event)):
                self._note(over, now)

    def _over(self, scopes: Iterable[str]) -> Iterator[_Standing]:
        """The limits of which nothing is left for any of these."""
        return (over for over in self._standing(scopes) if over.left <= 0)

    def _standing(self, scopes: Iterable[str]) -> Iterator[_Standing]:
        """How every limit of these stands."""
        for scope in scopes:
            by = scope.partition("/")[0]
            for limit in self._limits:
                if limit.by == by:
                    spent = self.spending.spent(scope, limit.per)
                    yield _Standing(limit, scope, spent, limit.nano - spent - self.spending.reserved(scope))

    def _scopes(self, request: Request) -> list[str]:
        """Whom a request counts for."""
        scope = self.spending.scope
        providers = dict.fromkeys(map(self._provider, request.targets))
        return [ALL, scope("key", request.client), scope("agent", request.agent), *providers]

    def _provider(self, target: Target) -> str:
        return self.spending.scope("provider", target.endpoint.provider)

    def _prices(self, request: Request) -> dict[str, list[PriceSettings]]:
        """What a request may be charged, by provider; nothing where it costs nothing, or nobody knows what."""
        prices: dict[str, list[PriceSettings]] = {}
        for target in request.targets:
            price = price_of(target)
            if price is not None and (price.input or price.output):
                prices.setdefault(self._provider(target), []).append(price)
        return prices

    def _set_aside(self, request: Request, prices: Mapping[str, Sequence[PriceSettings]]) -> None:
        scopes = self._scopes(request)
        by_bytes = round(len(request.body) / estimate.CHARACTERS_PER_TOKEN)
        little = min((one.left for one in self._standing(scopes)), default=0) * _SMALL_SHARE
        few = all(_most(of, by_bytes, 0) <= little for of in prices.values())
        asked, answer = by_bytes if few else tokens_asked(request), _answer(request)
        amounts = {scope: _most(of, asked, answer) for scope, of in prices.items()}
        if amounts:
            everybody = [scope for scope in scopes if not scope.startswith("provider/")]
            self.spending.reserve(request.id, amounts | dict.fromkeys(everybody, max(amounts.values())))

    def _note(self, over: _Standing, now: float) -> None:
        """Have it told that a limit is reached, once."""
        if not over.reached:
            return
        limit, scope = over.limit, over.scope
        self._seq = max(self._seq + 1, int(now * 1000))  # increases over restarts too
        reached = SpendLimitReached(
            subject=f"spend/{scope}", seq=self._seq, scope=scope, per=limit.per, limit_usd=limit.limit_usd,
            spent_usd=over.spent / NANO, action=limit.action, retry_after=ends(limit.per, now) - now,
        )  # fmt: skip
        self.spending.tell_once((f"{limit.limit_usd:g} USD {scope}", period(limit.per, now)), reached)


def _refusal(over: _Standing, now: float) -> Verdict:
    """What a client is told. Official SDKs ask again by themselves if a header says so, whatever the status."""
    wait = ends(over.limit.per, now) - now if over.reached else SOON
    why = f"{over}; " + (
        f"the next {over.limit.per} begins in {format_duration(wait)}" if over.reached else "ask again"
    )
    return Verdict(
        action=Action.REFUSE, why=why, refusal=Refusal(402, "spend_limit_reached", why), retry_after=wait,
        headers={"x-should-retry": "false" if over.reached else "true"},
    )  # fmt: skip


def _most(prices: Iterable[PriceSettings], asked: int, answer: int) -> int:
    """What so many tokens may cost at the dearest of some prices, all of the input being written to the cache."""
    usage = Usage(input=asked, cache_write=asked, output=answer), Usage(input=asked, output=answer)
    return max(nano_usd(cost_usd(one, price) or 0.0) for price in prices for one in usage)


def _answer(request: Request) -> int:
    """How many tokens the answer may have."""
    try:
        asked = _decode_asked(request.body)
    except UNREADABLE:
        return USUAL_ANSWER
    nested = asked.generation.get("maxOutputTokens") if isinstance(asked.generation, dict) else None
    said = (asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens, nested)
    return min(next((one for one in said if type(one) is int and one > 0), USUAL_ANSWER), _LONGEST_ANSWER)


offer = SpendGuard
